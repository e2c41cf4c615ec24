//! Authentication: users and services that a policy names, found. One that is not there closes the routes: nobody else
//! can say who may pass.

use std::sync::Arc;
use std::time::Duration;

use genkan_policies::{AuthProtocol, BasicAuthSettings, ExternalAuthSettings, PasswordLayout};
use genkan_routing::model::{Filter, Filters, Rule};
use genkan_routing::name::Origin;
use genkan_routing::policy::basic_auth::BasicAuth;
use genkan_routing::policy::external_auth::ExternalAuth;

use super::GROUP;
use super::merge::{Level, decide, order};
use super::settings::{Fault, Field, Value, lasting};
use crate::resources::{NamespacedName, UserList};
use crate::translate::assembly::ClusterWant;
use crate::translate::cluster::ClusterSpec;
use crate::translate::gateway::allowed::RouteKind;
use crate::translate::gateway::backend::{self, Invalid, Reference};
use crate::translate::gateway::external_auth::{self, TIMEOUT};
use crate::translate::gateway::filter_spec::AuthSpec;
use crate::translate::gateway::findings::Findings;
use crate::translate::gateway::grant::GrantFrom;
use crate::translate::gateway::reason::INVALID_SECRET_REF;
use crate::translate::reader::Reader;
use crate::translate::users;

/// The longest that a service may take: while it thinks, requests and their bodies are kept.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// Who is asked, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// The question.
    pub(crate) auth: Arc<ExternalAuth>,
    /// The cluster that it goes to.
    pub(crate) cluster: ClusterSpec,
    /// The field that names it.
    pub(crate) origin: Origin,
}

/// Where settings stand: the policy, `spec.defaults` or `spec.overrides`, and the world around.
#[derive(Clone, Copy)]
pub(super) struct Site<'a, 'r> {
    pub(super) policy: &'a NamespacedName,
    pub(super) part: &'a str,
    pub(super) reader: &'a Reader<'r>,
}

/// The service that is asked about the requests of a rule, by what is said at these levels.
pub(crate) fn asked<'l>(levels: &[&'l Level]) -> Option<&'l Service> {
    match decide(&order(levels.iter().copied()), Field::ExternalAuth)?.value {
        Value::ExternalAuth(service) => service.as_deref(),
        _ => None,
    }
}

impl Service {
    /// Asks it about the requests of a rule, where its cluster is this one.
    pub(crate) fn ask(&self, rule: &mut Rule, cluster: ClusterSpec) -> ClusterWant {
        let want = ClusterWant::new(cluster, self.origin.clone());
        let auth = ExternalAuth { target: want.id.clone(), ..(*self.auth).clone() };
        let filters = rule.filters.iter().cloned().chain([Filter::ExternalAuth(Arc::new(auth))]);
        rule.filters = Filters::sorted(filters.collect());
        want
    }
}

/// Reads `basicAuth` of a policy.
pub(super) fn read_basic(
    written: &BasicAuthSettings,
    site: Site<'_, '_>,
    findings: &mut Findings,
) -> Result<Value, Fault> {
    if written.enabled == Some(false) {
        return Ok(Value::BasicAuth(None));
    }
    let Some(secret) = &written.secret_name else { return Err(Fault::of("secretName", "it is missing")) };
    let secret = NamespacedName::new(site.policy.namespace.clone(), secret.as_str());
    let map = written.layout == Some(PasswordLayout::Map);
    let list = users::find(&secret, map, site.reader).map_err(|(why, mend)| Fault {
        reason: INVALID_SECRET_REF,
        mend: mend.to_owned(),
        ..Fault::of("secretName", why)
    })?;
    tell_unusable(list, &secret, &format!("spec.{}.basicAuth.secretName", site.part), findings);
    Ok(Value::BasicAuth(Some(Arc::new(BasicAuth {
        realm: realm(written.realm.as_deref().unwrap_or_default())?,
        users: Arc::clone(&list.users),
        forward_credentials: written.forward_credentials.unwrap_or_default(),
    }))))
}

/// It is sent in a field of the answer.
fn realm(written: &str) -> Result<String, Fault> {
    let is_printable = written.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_printable { Ok(written.to_owned()) } else { Err(Fault::of("realm", "it has letters that no header has")) }
}

/// Says how many users can't get in, and not who: a status is read by people who may not read Secrets.
fn tell_unusable(list: &UserList, secret: &NamespacedName, field: &str, findings: &mut Findings) {
    let (users, unusable) = (&list.users, list.unusable.len());
    let message = match unusable {
        0 if users.is_empty() => format!("Secret {secret} names no users: nobody gets in"),
        0 => return,
        _ => format!(
            "Secret {secret} has entries that are no user with a hash that can be checked ({unusable}): they let nobody in"
        ),
    };
    findings.warning(field, INVALID_SECRET_REF, message, "write users with `htpasswd -B`");
}

/// Reads `externalAuth` of a policy.
pub(super) fn read_external(
    written: &ExternalAuthSettings,
    site: Site<'_, '_>,
    findings: &mut Findings,
) -> Result<Value, Fault> {
    if written.enabled == Some(false) {
        return Ok(Value::ExternalAuth(None));
    }
    let Some(spec) = spec(written)? else { return Err(Fault::of("backendRef", "it is missing")) };
    let (call, body_limit) = external_auth::parse(&spec).map_err(|error| Fault::of("", error.to_string()))?;
    let timeout = lasting("timeout", written.timeout.as_ref())?.unwrap_or(TIMEOUT);
    if timeout > MAX_TIMEOUT {
        return Err(Fault::of("timeout", "it must be at most 1m"));
    }
    let kind = if spec.grpc { RouteKind::Grpc } else { RouteKind::Http };
    let from = GrantFrom { group: GROUP, kind: "RoutePolicy", namespace: &site.policy.namespace };
    let cluster = backend::resolve_from(spec.backend, kind, from, site.reader).map_err(Fault::from)?;
    let cluster = external_auth::spoken_to(cluster, &call);
    let auth = Arc::new(ExternalAuth { target: cluster.id(), call, body_limit, timeout });
    let field = format!("spec.{}.externalAuth", site.part);
    external_auth::tell_unlisted(&auth.call, &field, findings);
    let origin = findings.origin(format!("{field}.backendRef"));
    Ok(Value::ExternalAuth(Some(Arc::new(Service { auth, cluster, origin }))))
}

/// The same as the filter says it; `None` without a backend.
fn spec(written: &ExternalAuthSettings) -> Result<Option<AuthSpec<'_>>, Fault> {
    let Some(backend) = &written.backend_ref else { return Ok(None) };
    let grpc = written.protocol == Some(AuthProtocol::Grpc);
    match (grpc, &written.http, &written.grpc) {
        (true, Some(_), _) => return Err(Fault::of("http", "it belongs to the protocol HTTP")),
        (false, _, Some(_)) => return Err(Fault::of("grpc", "it belongs to the protocol GRPC")),
        _ => {}
    }
    let http = written.http.as_ref();
    let of_grpc = written.grpc.as_ref().map(|grpc| grpc.allowed_headers.as_slice());
    Ok(Some(AuthSpec {
        backend: Reference {
            group: backend.group.as_deref(),
            kind: backend.kind.as_deref(),
            namespace: backend.namespace.as_deref(),
            name: &backend.name,
            port: backend.port,
        },
        grpc,
        path: http.and_then(|http| http.path.as_deref()),
        request_headers: http.map(|http| http.allowed_headers.as_slice()).or(of_grpc).unwrap_or_default(),
        response_headers: http.map_or(&[], |http| &http.allowed_response_headers),
        max_body: written.forward_body.as_ref().map(|body| body.max_size),
    }))
}

impl From<Invalid> for Fault {
    fn from(invalid: Invalid) -> Self {
        Self { reason: invalid.reason, mend: invalid.mend, ..Self::of("backendRef", invalid.message) }
    }
}
