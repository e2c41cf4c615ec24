//! User-written strings -> validated settings: the annotations of an Ingress and the keys of the ConfigMap.
//!
//! This crate owns what every annotation and key means, and refuses to know where the strings come from: no I/O, no
//! Kubernetes, no clock. Nothing that a user wrote leaves it unparsed, and nothing that it does not understand leaves
//! it unsaid.
//!
//! ```text
//!  ConfigMap data --config_map::parse--> GlobalConfig --+
//!                                                       v
//!  Ingress annotations ------------- annotation::parse --> IngressSettings + problems
//!
//!  table: one row per annotation and key; the file of each concept holds its rows, their effects, and how they combine
//! ```

pub mod annotation;
pub mod config_map;
pub mod definition;
pub mod reference;
pub mod settings;
pub mod table;
pub mod value;

mod access_log;
mod admission;
mod authentication;
mod backend_protocol;
mod basic_auth;
mod body_limit;
mod buffering;
mod canary;
mod client;
mod compression;
mod connection_limit;
mod cors;
mod forwarded;
mod hsts;
mod ip_access;
mod known_annotations;
mod known_keys;
mod load_balance;
mod notes;
mod passthrough;
mod rate_limit;
mod redirect;
mod retry;
mod rewrite;
mod service_upstream;
mod stream;
mod suggest;
mod timeouts;
mod upstream;

pub use access_log::{request_format, stream_format};
pub use annotation::{Context, Parsed, parse};
pub use body_limit::body_limit;
pub use buffering::BufferingSettings;
pub use client::{HeaderBuffers, at_least_one, header_buffers};
pub use compression::media_types;
pub use config_map::GlobalConfig;
pub use connection_limit::connection_limit;
pub use forwarded::forwarded_for_header;
pub use ip_access::combine as ip_access;
pub use rate_limit::Rates;
pub use settings::{
    BackendProtocol, BasicAuthSettings, CanarySettings, HttpsRedirectSettings, IngressSettings, PasswordLayout,
    RewriteTarget, UpstreamVhost,
};
pub use stream::idle_time;
