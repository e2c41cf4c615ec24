//! Listeners over real sockets.

mod client_auth;
mod establish;
mod http1;
pub(crate) mod support;
mod tls;
mod tls_settings;
