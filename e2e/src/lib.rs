//! Black-box tests of Genkan: the built binary, real sockets, real files; and the rules of the architecture.
//!
//! [`Genkan`] runs the binary on a folder of its own and stops it when dropped. Tests talk to it over sockets and read
//! what it prints; they know nothing of its insides.

// A test kit: what fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

pub mod genkan;
pub mod manifests;

pub use genkan::{Genkan, Options};
