//! The routing table at work on sockets.
//!
//! ```text
//!  listener/  accept -> PROXY header -> TLS by SNI -> ClientStream (deadlines, strict HTTP/1 heads)
//!  engine/    HTTP/1.1 and HTTP/2 both ways; the only module that names pingora
//!  l4/        TCP and UDP, passed on as they are
//!  exchange/  one request's life on plain heads: route, filters, endpoint, retries, error page, log line
//!  filters/   one small pure decision each
//!  upstream/  clusters at run time: balancing, endpoint state
//!  table      what one publish swaps: snapshot, TLS configurations, run-time state of rules and clusters
//! ```
//!
//! One publish, one pointer: a request sees one table from its first byte to its log line, and an old table is freed
//! when its last request ends.

// Modules are declared here once; each module's own documentation says what it owns.
pub(crate) mod accept;
pub mod access_log;
#[cfg(test)]
mod any_bytes;
pub(crate) mod buffers;
pub mod config;
pub(crate) mod connection;
pub(crate) mod cookie;
pub(crate) mod engine;
pub mod error;
pub(crate) mod exchange;
pub(crate) mod filters;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod keyed;
pub(crate) mod l4;
mod listener;
pub mod metrics;
pub(crate) mod passwords;
mod proxy;
pub(crate) mod random;
pub(crate) mod reply;
pub(crate) mod shared;
pub(crate) mod slots;
pub(crate) mod table;
pub(crate) mod tls_provider;
pub(crate) mod upstream;
mod worker;

pub use proxy::{Proxy, Published, StartError};
