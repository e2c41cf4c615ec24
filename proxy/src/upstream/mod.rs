//! Clusters at run time: balancing and endpoint state.
