//! The ConfigMap: settings of the whole controller, and defaults for annotations.
//!
//! Every key is judged alone: a bad value costs only its own key.

use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_routing::model::ProxySettings;
use genkan_routing::name::ObjectRef;
use genkan_routing::policy::body_limit::BodyLimit;
use genkan_routing::policy::compression::Compression;
use genkan_routing::policy::hsts::Hsts;
use genkan_routing::policy::load_balance::LoadBalance;
use genkan_routing::policy::retry::Retry;
use genkan_routing::policy::timeouts::Timeouts;
use genkan_routing::report::{Problem, Severity};
use ipnet::IpNet;
use serde::Serialize;

use crate::buffering::BufferingSettings;
use crate::definition::{Definition, MEND_UNSUPPORTED, MEND_UNSUPPORTED_SECURITY, OnInvalid, Risk, Support};
use crate::notes::Notes;
use crate::settings::HttpsRedirectSettings;
use crate::suggest::nearest;
use crate::value::{ValueError, quoted};
use crate::{access_log, authentication, compression, hsts, table};

/// A row of the table of ConfigMap keys.
pub type Key = Definition<Effect>;

/// Puts a value, which is not blank, into effect.
pub type Effect = fn(&mut GlobalBuilder, &str) -> Result<(), ValueError>;

/// Settings under construction: what single keys set, and the parts of what takes several.
#[derive(Debug)]
pub struct GlobalBuilder {
    pub(crate) config: GlobalConfig,
    pub(crate) compression: compression::Parts,
    pub(crate) hsts: hsts::Parts,
    pub(crate) log: access_log::Parts,
    pub(crate) retry_non_idempotent: bool,
    notes: Notes,
}

/// Settings of the whole controller. The default is a ConfigMap without keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GlobalConfig {
    /// Settings of the proxy: client connections, upstream connections, forwarded headers, access log, TCP and UDP.
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
    /// Rules whose path text begins with one of these ask for no authentication (`no-auth-locations`,
    /// `/.well-known/acme-challenge`).
    pub no_auth_locations: Vec<String>,
    /// The status of `limit-rps` and `limit-rpm` (`limit-req-status-code`, 503).
    pub limit_req_status_code: u16,
    /// The status of `limit-connections` (`limit-conn-status-code`, 503).
    pub limit_conn_status_code: u16,
    /// `proxy-body-size`, 1 MiB; `None` is without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<BodyLimit>,
    /// Defaults of `proxy-request-buffering` and what belongs to `proxy-buffering`.
    pub buffering: BufferingSettings,
    /// Defaults of `proxy-*-timeout`.
    pub timeouts: Arc<Timeouts>,
    /// Defaults of `proxy-next-upstream*`, and `retry-non-idempotent`.
    pub retry: Arc<Retry>,
    /// Default of `load-balance`.
    pub load_balance: LoadBalance,
    /// Default of `service-upstream`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub service_upstream: bool,
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
            no_auth_locations: vec!["/.well-known/acme-challenge".to_owned()],
            limit_req_status_code: 503,
            limit_conn_status_code: 503,
            body_limit: Some(BodyLimit(1 << 20)),
            buffering: BufferingSettings::default(),
            timeouts: Arc::default(),
            retry: Arc::default(),
            load_balance: LoadBalance::default(),
            service_upstream: false,
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

impl GlobalConfig {
    /// Why every rule answers 503, unless an annotation took the place of one of `replaced` keys.
    pub(crate) fn denial(&self, replaced: &[&str]) -> Option<&String> {
        let denies = |key: &str| key != authentication::GLOBAL_KEY && !replaced.contains(&key);
        self.unusable.iter().find(|(key, _)| denies(key)).map(|(_, reason)| reason)
    }

    /// As [`Self::denial`], for every rule that asks for authentication.
    pub(crate) fn authentication_denial(&self, replaced: &[&str]) -> Option<&String> {
        self.unusable.get(authentication::GLOBAL_KEY).filter(|_| !replaced.contains(&authentication::GLOBAL_KEY))
    }
}

/// Reads the ConfigMap's `data`. Never fails: every problem is reported, and its key keeps its default or fails closed.
pub fn parse(data: &BTreeMap<String, String>, object: &ObjectRef) -> (GlobalConfig, Vec<Problem>) {
    let mut builder = GlobalBuilder::new(object);
    for (name, value) in data {
        builder.notes.at(format!("data[{}]", name.escape_debug()));
        match table::key(name) {
            Some(definition) => builder.apply(definition, value),
            None => builder.unknown(name),
        }
    }
    builder.finish()
}

impl GlobalBuilder {
    fn new(object: &ObjectRef) -> Self {
        Self {
            config: GlobalConfig::default(),
            compression: compression::Parts::default(),
            hsts: hsts::Parts::default(),
            log: access_log::Parts::default(),
            retry_non_idempotent: false,
            notes: Notes::new(object),
        }
    }

    /// Says something about the key that is being read.
    pub(crate) fn note(&mut self, severity: Severity, reason: &'static str, message: impl Into<String>, mend: &str) {
        self.notes.add(severity, reason, message, mend);
    }

    /// A blank value is as none: charts write keys that are not set.
    fn apply(&mut self, definition: &Key, value: &str) {
        let name = definition.name;
        let asks_nothing = |idle: &[&str]| idle.iter().any(|idle| idle.eq_ignore_ascii_case(value.trim()));
        match definition.support {
            _ if value.trim().is_empty() => {}
            Support::Supported(effect) => {
                if let Err(error) = effect(self, value) {
                    self.invalid(definition, value, &error);
                }
            }
            Support::Ignored => {
                let message = format!("{name} tunes the inside of nginx and is ignored");
                self.note(Severity::Info, "IgnoredConfigMapKey", message, "");
            }
            Support::NotYet(idle) | Support::NotYetSecurity(idle) if asks_nothing(idle) => {}
            Support::NotYet(_) => {
                let message = format!("{name} is not supported and has no effect");
                self.note(Severity::Warning, "UnsupportedConfigMapKey", message, MEND_UNSUPPORTED);
            }
            Support::NotYetSecurity(_) => {
                let message = format!("{name} is not supported: every path answers 503, so that nothing is open");
                self.unusable(name, "is not supported");
                self.note(Severity::Error, "UnsupportedConfigMapKey", message, MEND_UNSUPPORTED_SECURITY);
            }
            Support::Refused => {
                let message = format!("{name} is raw nginx configuration, which is never run, and has no effect");
                self.note(Severity::Error, "SnippetRefused", message, "say it with other keys and remove this one");
            }
        }
    }

    fn invalid(&mut self, definition: &Key, value: &str, error: &ValueError) {
        let mut severity = Severity::Warning;
        if definition.on_invalid == OnInvalid::FailsClosed {
            severity = Severity::Error;
            self.unusable(definition.name, "can't be understood");
        }
        let message = format!("{}: {} {error}: {}", definition.name, quoted(value), definition.on_invalid);
        self.note(severity, "InvalidConfigMapKey", message, &format!("write {}", definition.value));
    }

    fn unusable(&mut self, name: &'static str, why: &str) {
        self.config.unusable.insert(name, format!("the ConfigMap key {name} {why}"));
    }

    fn unknown(&mut self, name: &str) {
        let mut message = format!("unknown key {} on {}", quoted(name), self.notes.object());
        if let Some(known) = nearest(name, table::key_names()) {
            message.push_str(&format!(": did you mean {known}?"));
        }
        self.note(Severity::Warning, "UnknownConfigMapKey", message, "");
    }

    /// Combines the parts.
    fn finish(mut self) -> (GlobalConfig, Vec<Problem>) {
        access_log::finish(&mut self);
        compression::finish(&mut self);
        hsts::finish(&mut self);
        Arc::make_mut(&mut self.config.retry).non_idempotent |= self.retry_non_idempotent;
        (self.config, self.notes.into_problems())
    }
}
