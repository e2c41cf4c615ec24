//! What tests over real sockets share: backends of many kinds, models in a few words, clients that see every byte.

// Every test binary uses its own part of the kit.
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, clippy::unwrap_used)]

pub mod backend;
pub mod buffering;
pub mod client;
pub mod model;
pub mod running;
pub mod tls;

pub use backend::Backend;
pub use client::{Answer, Client};
pub use model::Site;
pub use running::Running;
