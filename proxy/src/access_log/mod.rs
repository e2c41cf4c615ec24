//! Access log: format text compiled once, one line per request, written in batches.
