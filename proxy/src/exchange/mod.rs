//! One request's life, on plain heads.

pub(crate) mod context;
