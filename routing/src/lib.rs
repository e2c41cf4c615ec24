//! What to do with a request: the [`Model`](model::Model), its policies, and the compiled
//! [`Snapshot`](snapshot::Snapshot) that a proxy asks.
//!
//! This crate owns the words of Genkan's architecture (listener, hostname, rule, match, filter, policy, cluster,
//! backend, endpoint) and refuses to know where they come from or how bytes move: no I/O, no Kubernetes, no pingora,
//! no tokio, no clock, no randomness. Time and random numbers are arguments.
//!
//! ```text
//!  front ends --> Model --compile--> Snapshot --route(request)--> Matched { rule, path }
//!                   |                                               |
//!                   +-- Serialize: golden files, `translate`        +-- the proxy applies the rule's filters
//! ```

pub mod model;
pub mod name;
pub mod policy;
pub mod report;
pub mod request;
pub mod snapshot;
