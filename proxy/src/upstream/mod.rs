//! Upstream: clusters and Services at run time (balancing and the state of endpoints), TLS towards endpoints, and requests to them
//! that are not the engine's.

pub(crate) mod affinity;
pub(crate) mod authentication;
pub(crate) mod balance;
pub(crate) mod checks;
pub(crate) mod client;
pub(crate) mod endpoint;
mod grpc_health;
pub(crate) mod health;
pub(crate) mod mirror;
pub(crate) mod retry_budget;
pub(crate) mod services;
pub(crate) mod tls;
