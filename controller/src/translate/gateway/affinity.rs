//! Affinity: `sessionPersistence` of rules and of policies (GEP-1619).

use std::sync::Arc;

use gateway_api::apis::experimental::grpcroutes as grpc;
use gateway_api::apis::experimental::httproutes as http_routes;
use gateway_api::apis::experimental::xbackendtrafficpolicies as traffic;
use genkan_policies::{AffinityKind, AffinitySettings};
use genkan_routing::policy::affinity::{Affinity, AffinityCookie, Carrier};
use http::HeaderName;

use super::findings::Findings;
use super::reason::UNSUPPORTED_VALUE;
use super::timing;

/// The field of a session whose name nobody chose.
const HEADER: &str = "genkan-session";

/// `sessionPersistence`, which several kinds have alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionSpec<'a> {
    name: Option<&'a str>,
    header: bool,
    cookie_config: bool,
    permanent: bool,
    absolute: Option<&'a String>,
    idle: Option<&'a String>,
}

/// What sessions belong to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionOwner<'a> {
    /// The id of the rule or policy.
    pub(crate) id: &'a str,
    /// The object's `metadata.uid`.
    pub(crate) uid: Option<&'a str>,
    /// Whether a cookie is for the path of the match: the API wants it so for rules, and never for policies.
    pub(crate) path_of_match: bool,
}

macro_rules! session_spec {
    ($($spec:ty: $kind:path, $lifetime:path;)*) => {
        $(
            impl<'a> From<&'a $spec> for SessionSpec<'a> {
                fn from(spec: &'a $spec) -> Self {
                    let lifetime = spec.cookie_config.as_ref().and_then(|config| config.lifetime_type.as_ref());
                    Self {
                        name: spec.session_name.as_deref().filter(|name| !name.is_empty()),
                        header: spec.r#type == Some($kind),
                        cookie_config: spec.cookie_config.is_some(),
                        permanent: lifetime == Some(&$lifetime),
                        absolute: spec.absolute_timeout.as_ref(),
                        idle: spec.idle_timeout.as_ref(),
                    }
                }
            }
        )*
    };
}

session_spec! {
    http_routes::HttpRouteRulesSessionPersistence:
        http_routes::HttpRouteRulesSessionPersistenceType::Header,
        http_routes::HttpRouteRulesSessionPersistenceCookieConfigLifetimeType::Permanent;
    grpc::GrpcRouteRulesSessionPersistence:
        grpc::GrpcRouteRulesSessionPersistenceType::Header,
        grpc::GrpcRouteRulesSessionPersistenceCookieConfigLifetimeType::Permanent;
    traffic::XBackendTrafficPolicySessionPersistence:
        traffic::XBackendTrafficPolicySessionPersistenceType::Header,
        traffic::XBackendTrafficPolicySessionPersistenceCookieConfigLifetimeType::Permanent;
}

impl<'a> SessionSpec<'a> {
    /// What a policy writes; `None` keeps nobody.
    pub(crate) fn of_policy(written: &'a AffinitySettings) -> Option<Self> {
        let permanent = written.permanent == Some(true);
        Some(Self {
            name: written.name.as_deref().filter(|name| !name.is_empty()),
            header: match written.kind {
                AffinityKind::Cookie => false,
                AffinityKind::Header => true,
                AffinityKind::None => return None,
            },
            cookie_config: permanent,
            permanent,
            absolute: written.lifetime.as_ref(),
            idle: None,
        })
    }
}

/// How clients are kept with one endpoint. What is not understood is reported, and a session is kept without it.
pub(crate) fn affinity(
    spec: SessionSpec<'_>,
    owner: SessionOwner<'_>,
    field: &str,
    findings: &mut Findings,
) -> Arc<Affinity> {
    let lifetime = timing::duration(spec.absolute, &format!("{field}.absoluteTimeout"), findings);
    if spec.absolute.is_some_and(|text| timing::is_zero(text)) {
        let message = "a session of no time would be none; it has no end instead";
        findings.warning(format!("{field}.absoluteTimeout"), UNSUPPORTED_VALUE, message, "leave it out");
    }
    if spec.idle.is_some() {
        let message = "idleTimeout does not act: how long a session was idle is not known to every replica";
        findings.warning(format!("{field}.idleTimeout"), UNSUPPORTED_VALUE, message, "write absoluteTimeout instead");
    }
    let carrier = if spec.header {
        if spec.cookie_config {
            let message = "cookieConfig says nothing of a session that is carried in a header";
            findings.warning(format!("{field}.cookieConfig"), UNSUPPORTED_VALUE, message, "remove it");
        }
        Carrier::Header(header_name(spec.name, field, findings))
    } else {
        let permanent = spec.permanent && lifetime.is_some();
        if spec.permanent && !permanent {
            let message = "a Permanent cookie needs an absoluteTimeout; it is one of the browser's session";
            findings.error(format!("{field}.cookieConfig"), UNSUPPORTED_VALUE, message, "write absoluteTimeout");
        }
        let name = cookie_name(spec.name, owner, field, findings);
        Carrier::Cookie(AffinityCookie { name, permanent, path_of_match: owner.path_of_match })
    };
    // The uid is what nobody outside of the cluster can guess, and every replica knows. Files have none, and no secret.
    let key = match owner.uid {
        Some(uid) => format!("{} {uid}", owner.id),
        None => owner.id.to_owned(),
    };
    Arc::new(Affinity { carrier, key: key.into(), lifetime })
}

fn header_name(name: Option<&str>, field: &str, findings: &mut Findings) -> HeaderName {
    let Some(name) = name else { return HeaderName::from_static(HEADER) };
    HeaderName::try_from(name).unwrap_or_else(|_| {
        bad_name(name, HEADER, field, findings);
        HeaderName::from_static(HEADER)
    })
}

/// Rules may share paths, and then must not share a cookie: the name that nobody chose is each rule's own.
fn cookie_name(name: Option<&str>, owner: SessionOwner<'_>, field: &str, findings: &mut Findings) -> Arc<str> {
    let default = || -> Arc<str> { format!("genkan-{:08x}", fnv1a(owner.id.as_bytes())).into() };
    match name {
        None => default(),
        // Both are tokens (RFC 9110, section 5.6.2).
        Some(name) if HeaderName::try_from(name).is_ok() => name.into(),
        Some(name) => {
            let default = default();
            bad_name(name, &default, field, findings);
            default
        }
    }
}

fn bad_name(name: &str, default: &str, field: &str, findings: &mut Findings) {
    let message = format!("{name:?} can't be the name of a cookie or header; {default} is used");
    let mend = "write letters, digits and dashes";
    findings.error(format!("{field}.sessionName"), UNSUPPORTED_VALUE, message, mend);
}

/// The same in every version of Genkan, unlike the standard library's.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use genkan_routing::name::ObjectRef;
    use serde_json::{Value, json};

    use super::*;

    fn read(spec: Value) -> (Affinity, Vec<String>) {
        let spec: http_routes::HttpRouteRulesSessionPersistence = serde_json::from_value(spec).unwrap();
        let mut findings = Findings::new(ObjectRef::new("HTTPRoute", "default", "web"));
        let owner = SessionOwner { id: "rule", uid: Some("u-1"), path_of_match: true };
        let affinity = affinity(SessionSpec::from(&spec), owner, "s", &mut findings);
        let fields = findings.into_problems().into_iter().map(|problem| problem.origin.field.to_string()).collect();
        (Arc::unwrap_or_clone(affinity), fields)
    }

    fn cookie(name: &str, permanent: bool) -> Carrier {
        Carrier::Cookie(AffinityCookie { name: name.into(), permanent, path_of_match: true })
    }

    #[test]
    fn nothing_said_is_a_cookie_of_the_rules_own() {
        let (affinity, problems) = read(json!({}));
        assert_eq!(affinity.carrier, cookie("genkan-fc2e40d3", false));
        assert_eq!((affinity.key.as_bytes(), affinity.lifetime), (&b"rule u-1"[..], None));
        assert!(problems.is_empty());
    }

    #[test]
    fn cookies_last_as_long_as_they_say() {
        let (affinity, problems) = read(json!({
            "sessionName": "Shop", "type": "Cookie", "absoluteTimeout": "1h",
            "cookieConfig": {"lifetimeType": "Permanent"},
        }));
        assert_eq!((affinity.carrier, affinity.lifetime), (cookie("Shop", true), Some(Duration::from_secs(3600))));
        assert!(problems.is_empty());
        let (affinity, problems) = read(json!({"sessionName": "s", "absoluteTimeout": "90s"}));
        assert_eq!((affinity.carrier, affinity.lifetime), (cookie("s", false), Some(Duration::from_secs(90))));
        assert!(problems.is_empty());
    }

    #[test]
    fn headers_are_named() {
        let (affinity, problems) = read(json!({"type": "Header"}));
        assert_eq!((affinity.carrier, problems.len()), (Carrier::Header(HeaderName::from_static(HEADER)), 0));
        let (affinity, _) = read(json!({"type": "Header", "sessionName": "X-Shop"}));
        assert_eq!(affinity.carrier, Carrier::Header(HeaderName::from_static("x-shop")));
    }

    #[test]
    fn what_cannot_act_is_told() {
        let (affinity, problems) = read(json!({
            "sessionName": "a b", "idleTimeout": "5m", "absoluteTimeout": "long",
            "cookieConfig": {"lifetimeType": "Permanent"},
        }));
        assert_eq!(affinity.carrier, cookie("genkan-fc2e40d3", false));
        assert_eq!(problems, ["s.absoluteTimeout", "s.idleTimeout", "s.cookieConfig", "s.sessionName"]);
        let (affinity, problems) = read(json!({"type": "Header", "sessionName": "a;b", "cookieConfig": {}}));
        assert_eq!(affinity.carrier, Carrier::Header(HeaderName::from_static(HEADER)));
        assert_eq!(problems, ["s.cookieConfig", "s.sessionName"]);
    }
}
