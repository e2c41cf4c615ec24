//! External authentication: which service says whether the requests of a rule may pass (`ExternalAuth`).
//!
//! A service that is not there closes the rule: nobody else can say that a request may pass.

use std::sync::Arc;
use std::time::Duration;

use genkan_routing::model::{Deny, Filter, HttpVersion};
use genkan_routing::policy::external_auth::{AuthCall, ExternalAuth, GrpcAuth, HttpAuth};
use http::HeaderName;

use super::allowed::RouteKind;
use super::backend;
use super::filter_spec::{AuthSpec, FilterSpec};
use super::filters::FilterError;
use super::findings::Findings;
use super::reason::UNGUARDED_HEADERS;
use crate::resources::{Key, NamespacedName};
use crate::translate::assembly::ClusterWant;
use crate::translate::cluster::{ClusterSpec, Usage};
use crate::translate::reader::Reader;

/// How long a service may take, for which the API has no field: longer than any good one needs, and shorter than a person
/// waits.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// The services that a rule asks.
#[derive(Debug, Default)]
pub(crate) struct Services {
    /// In the order of the rule.
    pub(crate) filters: Vec<Filter>,
    /// The clusters that they refer to.
    pub(crate) clusters: Vec<ClusterWant>,
    /// The first reason of the route's `ResolvedRefs`, when it is false.
    pub(crate) unresolved: Option<&'static str>,
    /// Why a reference is sound and leads nowhere all the same.
    pub(crate) broken: Option<&'static str>,
    /// XBackends that get nothing.
    pub(crate) idle: Vec<Key>,
}

/// Resolves the services among the filters of a rule whose field is `field`.
pub(crate) fn resolve_all(
    specs: &[FilterSpec<'_>],
    kind: RouteKind,
    route: &NamespacedName,
    field: &str,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Services {
    let mut services = Services::default();
    for (index, spec) in specs.iter().enumerate() {
        // What is wrong with the filter itself is told where filters are parsed.
        let FilterSpec::ExternalAuth(spec) = spec else { continue };
        let Ok((call, body_limit)) = parse(spec) else { continue };
        let filter = format!("{field}.filters[{index}].externalAuth");
        let field = format!("{filter}.backendRef");
        match backend::resolve(spec.backend, kind, route, reader) {
            Ok(cluster) => {
                tell_unlisted(&call, &filter, findings);
                let cluster = spoken_to(cluster, &call);
                let want = reader.want(cluster, findings.origin(field));
                let auth = ExternalAuth { target: want.id.clone(), call, body_limit, timeout: TIMEOUT };
                services.filters.push(Filter::ExternalAuth(Arc::new(auth)));
                services.clusters.push(want);
            }
            Err(invalid) => {
                match invalid.unresolved {
                    Some(reason) => services.unresolved = services.unresolved.or(Some(reason)),
                    None => services.broken = services.broken.or(Some(invalid.reason)),
                }
                services.idle.extend(invalid.idle(&spec.backend, route));
                let message =
                    format!("{}; nobody says which requests may pass, and the rule answers 500", invalid.message);
                findings.error(field, invalid.reason, message, invalid.mend);
                services.filters.push(Filter::Deny(Deny { status: 500, reason: invalid.message }));
            }
        }
    }
    services
}

/// Tells that clients may write what the service says of them. Only listed names are taken out of every request.
pub(super) fn tell_unlisted(call: &AuthCall, field: &str, findings: &mut Findings) {
    if let AuthCall::Http(HttpAuth { response_headers: None, .. }) = call {
        let message = "no allowedResponseHeaders are listed: a header that an answer leaves out reaches the backend as the \
                       client wrote it";
        findings.warning(
            format!("{field}.http"),
            UNGUARDED_HEADERS,
            message,
            "list what the service says of users, like X-User",
        );
    }
}

/// The cluster as the protocol needs it, whatever else is spoken there.
pub(super) fn spoken_to(mut cluster: ClusterSpec, call: &AuthCall) -> ClusterSpec {
    if matches!(call, AuthCall::Grpc(_)) {
        cluster.usage = Usage::Grpc;
        if let Some(transport) = &mut cluster.transport {
            transport.version = HttpVersion::Http2;
        }
    }
    cluster
}

/// What is asked, and the most bytes of a body that go along.
pub(super) fn parse(spec: &AuthSpec<'_>) -> Result<(AuthCall, u16), FilterError> {
    let max = spec.max_body.unwrap_or_default();
    let body_limit = u16::try_from(max).map_err(|_| FilterError::Number("forwardBody.maxSize", max))?;
    let all_if_empty = |names: Vec<HeaderName>| (!names.is_empty()).then_some(names);
    let call = if spec.grpc {
        AuthCall::Grpc(GrpcAuth { request_headers: all_if_empty(names(spec.request_headers)?) })
    } else {
        AuthCall::Http(HttpAuth {
            prefix: prefix(spec.path.unwrap_or_default())?,
            request_headers: names(spec.request_headers)?,
            response_headers: all_if_empty(names(spec.response_headers)?),
        })
    };
    Ok((call, body_limit))
}

fn names(texts: &[String]) -> Result<Vec<HeaderName>, FilterError> {
    let name = |text: &String| HeaderName::try_from(text).map_err(|_| FilterError::Header(text.clone(), "the name"));
    texts.iter().map(name).collect()
}

/// What comes before the client's path. The API demands that nothing slips in with it.
fn prefix(text: &str) -> Result<String, FilterError> {
    let path = text.trim_matches('/');
    if path.is_empty() {
        return Ok(String::new());
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._~!$&'()*+,;=:@-".contains(&byte);
    let is_coded = |rest: &[u8]| rest.len() > 2 && rest[1].is_ascii_hexdigit() && rest[2].is_ascii_hexdigit();
    let bytes = path.as_bytes();
    let is_sound = |at: usize| is_plain(bytes[at]) || bytes[at] == b'%' && is_coded(&bytes[at..]);
    let climbs = path.split('/').any(|segment| matches!(segment, "." | ".."));
    if climbs || !(0..bytes.len()).all(is_sound) {
        return Err(FilterError::Path(text.to_owned()));
    }
    Ok(format!("/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_begins_with_a_slash_and_does_not_end_with_one() {
        for (text, expected) in [("", ""), ("/", ""), ("check", "/check"), ("/a/b/", "/a/b"), ("/a%2Fb", "/a%2Fb")] {
            assert_eq!(prefix(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_prefix_with_anything_else_than_a_path_is_refused() {
        for text in ["/a b", "/a?b", "/a#b", "/a/../b", "/.", "/a\r\nx", "/a%2", "/a%zz", "/ä"] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }
}
