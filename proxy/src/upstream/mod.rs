//! Clusters at run time: balancing and endpoint state.

pub(crate) mod affinity;
pub(crate) mod balance;
pub(crate) mod endpoint;
pub(crate) mod retry_budget;
