//! Upstream: clusters at run time (balancing and the state of endpoints), and TLS towards endpoints.

pub(crate) mod affinity;
pub(crate) mod balance;
pub(crate) mod endpoint;
pub(crate) mod retry_budget;
pub(crate) mod tls;
