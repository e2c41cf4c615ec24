//! Listeners over real sockets.

mod establish;
mod http1;
pub(crate) mod support;
mod tls;
