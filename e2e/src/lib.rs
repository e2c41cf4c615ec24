//! Black-box tests of Genkan: the built binary, real sockets, real files; and the rules of the architecture.
//!
//! [`Genkan`] runs the binary on a folder of its own and stops it when dropped. Tests talk to it over sockets and read
//! what it prints; they know nothing of its insides. Clients are blocking and one thread each, so that a test reads
//! from top to bottom; only HTTP/2 needs a runtime. [`Cluster`] is a real Kubernetes cluster.

// A test kit: what fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

pub mod cluster;
pub mod echo;
pub mod edits;
pub mod frames;
pub mod genkan;
pub mod grpc;
pub mod helm;
pub mod http1;
pub mod judge;
pub mod load;
pub mod manifests;
pub mod steady;
pub mod streams;
pub mod tls;
pub mod tls_front;
pub mod websocket;

pub use cluster::Cluster;
pub use echo::Echo;
pub use genkan::{Genkan, Options, PATIENCE};
