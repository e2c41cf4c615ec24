//! Forwarded: whom to believe about the client's address, scheme and host (`use-forwarded-headers`, ...).

use http::HeaderName;
use ipnet::IpNet;
use serde::Serialize;

/// Which information of a proxy in front is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forwarded {
    /// Believe `X-Forwarded-Proto`, `-Host`, `-Port` and the client address of trusted peers (`use-forwarded-headers`).
    pub use_forwarded_headers: bool,
    /// Believe only the client address (`enable-real-ip`).
    pub enable_real_ip: bool,
    /// Append the peer to the incoming `X-Forwarded-For` instead of replacing it (`compute-full-forwarded-for`).
    pub compute_full_forwarded_for: bool,
    /// Where the client address is read (`forwarded-for-header`, `X-Forwarded-For`).
    #[serde(serialize_with = "super::headers::serialize_name")]
    pub forwarded_for_header: HeaderName,
    /// Peers that are believed (`proxy-real-ip-cidr`, everyone).
    pub trusted: Vec<IpNet>,
    /// `X-Original-URI` to the backend (`proxy-add-original-uri-header`, false).
    pub original_uri_header: bool,
    /// Make an `X-Request-ID` where the client sent none (`generate-request-id`, true).
    pub generate_request_id: bool,
}

impl Default for Forwarded {
    fn default() -> Self {
        Self {
            use_forwarded_headers: false,
            enable_real_ip: false,
            compute_full_forwarded_for: false,
            forwarded_for_header: HeaderName::from_static("x-forwarded-for"),
            trusted: vec![IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())],
            original_uri_header: false,
            generate_request_id: true,
        }
    }
}
