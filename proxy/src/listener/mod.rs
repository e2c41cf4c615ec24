//! Listeners: sockets, PROXY protocol, TLS by SNI, client streams with deadlines.
//!
//! ```text
//!  ports -> socket (one per worker) -> accept -> establish: PROXY header, TLS by SNI, HTTP version -> ClientStream
//!              ^ opened and closed by publish       ^ one ListenerTable per connection          to the engine
//!                                                   +--> a server name that is passed on --> Passage, to l4
//! ```
//!
//! Nothing here knows what a request means: it hands the engine complete, strictly checked HTTP/1 heads or HTTP/2, and
//! refuses the rest by itself.

pub(crate) mod accept;
pub(crate) mod body;
mod client_auth;
pub(crate) mod client_hello;
pub(crate) mod establish;
pub(crate) mod head;
mod passthrough;
pub(crate) mod ports;
pub(crate) mod proxy_protocol;
mod refusal;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
