//! Compression: gzip of responses (ConfigMap `use-gzip`, `gzip-level`, `gzip-types`, `gzip-min-length`).

use serde::Serialize;

/// ingress-nginx's default `gzip-types`; `text/html` is always compressed besides.
pub const DEFAULT_TYPES: &[&str] = &[
    "application/atom+xml",
    "application/javascript",
    "application/x-javascript",
    "application/json",
    "application/rss+xml",
    "application/vnd.ms-fontobject",
    "application/x-font-ttf",
    "application/x-web-app-manifest+json",
    "application/xhtml+xml",
    "application/xml",
    "font/opentype",
    "image/svg+xml",
    "image/x-icon",
    "text/css",
    "text/javascript",
    "text/plain",
    "text/x-component",
];

/// Which responses are compressed with gzip, and how hard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compression {
    /// 1 (fast) to 9 (small); 1 by default (`gzip-level`).
    pub level: u8,
    /// Bytes: shorter responses by `Content-Length` are left alone; an unknown length is compressed
    /// (`gzip-min-length`, 256).
    pub min_length: u64,
    /// Which media types, besides `text/html`.
    pub types: MediaTypes,
}

/// A set of media types, without parameters, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum MediaTypes {
    /// `*`: every type.
    All,
    /// These, sorted.
    List(Vec<String>),
}

impl Default for Compression {
    fn default() -> Self {
        let types = DEFAULT_TYPES.iter().map(|name| (*name).to_owned()).collect();
        Self { level: 1, min_length: 256, types: MediaTypes::List(types) }
    }
}
