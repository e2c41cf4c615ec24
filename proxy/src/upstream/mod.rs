//! Clusters at run time: balancing and endpoint state.

pub(crate) mod balance;
pub(crate) mod endpoint;
