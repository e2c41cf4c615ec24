//! Kubernetes objects, from files or an API server, to a model and a report; the command line.
//!
//! ```text
//!  files ---+
//!           +--> Resources --translate--> Translation { model, report } --> snapshot --> proxy
//!  watch ---+    (typed objects)   (pure)                      +--> check, explain, /problems, metrics
//! ```
//!
//! Only `main.rs` and the `run` command touch the proxy crate. Nothing here knows pingora.

pub mod admin;
pub mod admission;
pub mod authorities;
pub mod certificate;
pub mod cli;
pub mod control;
pub mod dns;
pub mod echo;
#[cfg(test)]
mod fake_api;
pub mod files;
mod kinds;
pub mod label_selector;
pub mod leader;
pub mod resources;
pub mod settings;
mod side_server;
pub mod small_map;
pub mod status;
pub mod translate;
mod trouble;
pub mod watch;
