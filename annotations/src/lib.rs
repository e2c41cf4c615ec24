//! User-written strings -> validated settings: the annotations of an Ingress and the keys of the ConfigMap.
//!
//! This crate owns what every annotation and key means, and refuses to know where the strings come from: no I/O, no
//! Kubernetes, no clock. Nothing that a user wrote leaves it unparsed, and nothing that it does not understand leaves
//! it unsaid.
//!
//! ```text
//!  ConfigMap data --config_map::parse--> GlobalConfig --+
//!                                                       v
//!  Ingress annotations ----------------annotation::parse--> IngressSettings + problems
//! ```

pub mod annotation;
pub mod config_map;
pub mod definition;
pub mod settings;

pub use annotation::{Context, Parsed, parse};
pub use config_map::GlobalConfig;
pub use settings::{
    BackendProtocol, CanarySettings, HttpsRedirectSettings, IngressSettings, RewriteTarget, UpstreamVhost,
};
