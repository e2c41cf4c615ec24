//! What all workers of a proxy share.
