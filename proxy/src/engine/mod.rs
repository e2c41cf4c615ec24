//! The engine: HTTP on both sides. The only module that names pingora.
