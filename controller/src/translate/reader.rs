//! Reader: access to resources that remembers what was asked for, also what was not there.
