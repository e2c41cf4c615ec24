//! Policies: validated settings of one concern each. One concept has one file name here, in the annotations, in the
//! proxy's filters and in the tests.
//!
//! Policies are plain, comparable data. What enforces them lives in the proxy.

pub mod access_log;
pub mod affinity;
pub mod basic_auth;
pub mod body_limit;
pub mod buffering;
pub mod canary;
pub mod client;
pub mod compression;
pub mod connection_limit;
pub mod cors;
pub mod duration;
pub mod external_auth;
pub mod forwarded;
pub mod headers;
pub mod health;
pub mod hsts;
pub mod ip_access;
pub mod load_balance;
pub mod mirror;
pub mod pattern;
pub mod rate_limit;
pub mod redirect;
pub mod retry;
pub mod retry_budget;
pub mod rewrite;
pub mod stream;
pub mod timeouts;
pub mod tls;
pub mod upstream;
