//! What only a real cluster can show. All of it is one process, so that the cluster is started once.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

mod end;
mod pods;
mod security;
mod volumes;
