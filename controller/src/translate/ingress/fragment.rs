//! Fragments: what one Ingress says, understood without regard to any other. One unit of work per Ingress.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_annotations::{Context, IngressSettings, Parsed};
use genkan_routing::name::{HostPattern, ObjectRef, Origin};
use genkan_routing::policy::basic_auth::BasicAuth;
use genkan_routing::policy::cors::Cors;
use genkan_routing::policy::ip_access::IpAccess;
use genkan_routing::report::Problem;
use k8s_openapi::api::networking::v1::{HTTPIngressPath, IngressBackend, IngressRule, IngressSpec};
use k8s_openapi::jiff::Timestamp;

use super::class::{self, Class};
use super::path::{Path, PathError};
use super::{basic_auth, passthrough};
use crate::resources::{Ingress, NamespacedName};
use crate::translate::assembly::Contribution;
use crate::translate::memo::Output;
use crate::translate::reader::Reader;

/// Why the paths of a rejected Ingress answer 503.
const REJECTED: &str = "the Ingress is rejected, and its paths are not for everybody";

/// The place of an Ingress among others: the oldest first, those of one age by name from the last to the first, as
/// ingress-nginx sorts them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    created: Option<Timestamp>,
    name: Reverse<NamespacedName>,
}

/// What an Ingress says.
#[derive(Debug, PartialEq)]
pub(super) struct Fragment {
    /// Its place among others.
    pub(super) rank: Rank,
    /// Whether it is of our class.
    pub(super) ours: bool,
    /// What is served of it; nothing of an Ingress that is not ours, nor of one that was rejected, unless it is guarded.
    pub(super) body: Option<Body>,
    /// Its problems, as a contribution.
    pub(super) told: Option<Arc<Contribution>>,
}

impl Output for Fragment {}

/// The part of an Ingress that is served.
#[derive(Debug, PartialEq)]
pub(super) struct Body {
    /// Whether its paths are not for everybody. What can't be served of them answers 503: a shorter path, which may be
    /// another's, would serve it without asking.
    pub(super) guarded: bool,
    /// Whether the Ingress was rejected: its hosts and paths are kept to answer 503.
    pub(super) closed: bool,
    /// What the annotations say.
    pub(super) settings: Arc<IngressSettings>,
    /// Whether `backend-protocol` is written: then it goes before `appProtocol`.
    pub(super) protocol_written: bool,
    /// CORS, shared by the rules.
    pub(super) cors: Option<Arc<Cors>>,
    /// Access lists, shared by the rules.
    pub(super) ip_access: Option<Arc<IpAccess>>,
    /// Whom the paths ask for a password, but those that ask for no authentication.
    pub(super) basic_auth: Option<Arc<BasicAuth>>,
    /// `spec.rules`, except broken ones.
    pub(super) rules: Box<[HostRules]>,
    /// Whether `spec.rules` was empty: then `default_backend` is for every host.
    pub(super) catch_all: bool,
    /// `spec.defaultBackend`.
    pub(super) default_backend: Option<BackendRef>,
    /// `spec.tls`.
    pub(super) tls: Vec<TlsEntry>,
}

/// One of `spec.rules`.
#[derive(Debug, PartialEq)]
pub(super) struct HostRules {
    /// Its host.
    pub(super) host: HostPattern,
    /// Its paths, except broken ones.
    pub(super) paths: Box<[PathRule]>,
}

/// One of `spec.rules[].http.paths`.
#[derive(Debug, PartialEq)]
pub(super) struct PathRule {
    /// The numbers of the rule and of the path.
    pub(super) index: (usize, usize),
    /// The path.
    pub(super) path: Path,
    /// What serves it; `None` is the default backend.
    pub(super) backend: Option<BackendRef>,
    /// Whether it can't be served and answers 503; then it has no backend.
    pub(super) closed: bool,
}

impl Body {
    /// The Service of `/` where no rule says it.
    pub(super) fn root_backend(&self) -> Option<&BackendRef> {
        self.default_backend.as_ref().filter(|_| !self.closed)
    }
}

impl PathRule {
    /// `spec.rules[0].http.paths[1]`.
    pub(super) fn field(&self) -> String {
        format!("spec.rules[{}].http.paths[{}]", self.index.0, self.index.1)
    }
}

/// A Service's port, as an Ingress names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BackendRef {
    /// The Service, in the Ingress's namespace.
    pub(super) service: Arc<str>,
    /// Number or name.
    pub(super) port: Arc<str>,
}

/// One of `spec.tls`.
#[derive(Debug, PartialEq)]
pub(super) struct TlsEntry {
    /// Its hosts in lower case, without final dots.
    pub(super) hosts: Vec<String>,
    /// Its Secret.
    pub(super) secret: Option<NamespacedName>,
}

impl Fragment {
    /// Reads an Ingress.
    pub(super) fn read(name: &NamespacedName, ingress: &Ingress, reader: &Reader<'_>) -> Self {
        let object = object_ref(name);
        let mut problems = Vec::new();
        let class = class::of(ingress, &object, reader);
        let ours = class == Class::Ours;
        let body = match class {
            Class::Ours => read_body(name, ingress, &object, reader, &mut problems),
            Class::Foreign => None,
            Class::Lost(problem) => {
                problems.push(*problem);
                None
            }
        };
        let created = ingress.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let told = Contribution { problems, ..Contribution::default() }.into_shared();
        Self { rank: Rank { created, name: Reverse(name.clone()) }, ours, body, told }
    }

    /// The hosts that it has something for.
    pub(super) fn hosts(&self) -> BTreeSet<HostPattern> {
        let Some(body) = &self.body else { return BTreeSet::new() };
        let mut hosts: BTreeSet<_> = body.rules.iter().map(|rules| rules.host.clone()).collect();
        if body.catch_all && body.default_backend.is_some() {
            hosts.insert(HostPattern::Any);
        }
        hosts
    }

    /// A problem's place.
    pub(super) fn origin(&self, field: impl Into<String>) -> Origin {
        Origin::new(object_ref(self.name()), field)
    }

    /// `namespace/name`, for ids and messages.
    pub(super) fn name(&self) -> &NamespacedName {
        &self.rank.name.0
    }
}

fn object_ref(name: &NamespacedName) -> ObjectRef {
    ObjectRef::new("Ingress", name.namespace.clone(), name.name.clone())
}

/// What is served of an Ingress of ours; `None` when it is rejected as a whole and nothing of it needs to stay closed.
fn read_body(
    name: &NamespacedName,
    ingress: &Ingress,
    object: &ObjectRef,
    reader: &Reader<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Body> {
    let none = (IngressSpec::default(), BTreeMap::new());
    let spec = ingress.spec.as_deref().unwrap_or(&none.0);
    let annotations = ingress.metadata.annotations.as_ref().unwrap_or(&none.1);
    let (settings, config) = (reader.settings(), reader.config());
    let refused = settings.disable_catch_all && spec.default_backend.is_some();
    problems.extend(refused.then(|| catch_all_disabled(object)));
    let context = Context { prefix: &settings.annotations_prefix, object, global: &config.global };
    let Parsed { settings: mut parsed, guarded, problems: found } = genkan_annotations::parse(annotations, &context);
    problems.extend(found);
    if parsed.passthrough && !settings.ssl_passthrough {
        problems.push(passthrough::not_enabled(object, settings));
    }
    let basic_auth = find_users(&mut parsed, name, object, reader, problems);
    let strict = config.global.strict_validate_path_type;
    let mut reading = Reading { object, strict, guarded, rejected: parsed.rejected || refused, problems };
    let listed = spec.rules.as_deref().unwrap_or_default();
    let mut rules: Box<[HostRules]> =
        listed.iter().enumerate().filter_map(|(index, rule)| reading.rule(index, rule)).collect();
    let default_backend = spec.default_backend.as_ref().filter(|_| !refused);
    let default_backend = default_backend.and_then(|backend| reading.backend("spec.defaultBackend", backend));
    let closed = reading.rejected;
    if closed {
        // A canary has no path of its own: without it the path has the guards of whom it belongs to.
        let kept = guarded && parsed.canary.is_none();
        problems.push(rejection(object, kept));
        if !kept {
            return None;
        }
        close(&mut parsed, &mut rules);
    }
    Some(Body {
        guarded,
        closed,
        protocol_written: annotations.contains_key(&format!("{}/backend-protocol", settings.annotations_prefix)),
        cors: parsed.cors.clone().map(Arc::new),
        ip_access: parsed.ip_access.clone().map(Arc::new),
        basic_auth,
        settings: config.share(parsed),
        rules,
        catch_all: listed.is_empty(),
        default_backend,
        tls: if closed { Vec::new() } else { tls_entries(name, spec) },
    })
}

/// Whom the paths ask for a password. What can't be found closes them.
fn find_users(
    settings: &mut IngressSettings,
    name: &NamespacedName,
    object: &ObjectRef,
    reader: &Reader<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<BasicAuth>> {
    let asked = settings.basic_auth.as_ref()?;
    match basic_auth::resolve(asked, name, object, reader, problems) {
        Ok(found) => Some(found),
        Err(reason) => {
            settings.deny_authentication.get_or_insert(reason);
            None
        }
    }
}

fn catch_all_disabled(object: &ObjectRef) -> Problem {
    let message = "spec.defaultBackend is turned off (--disable-catch-all); the Ingress is not served";
    let problem = Problem::error(Origin::new(object.clone(), "spec.defaultBackend"), "CatchAllDisabled", message);
    problem.with_mend("remove spec.defaultBackend, or start without --disable-catch-all")
}

/// Leaves nothing of a rejected Ingress but that its paths are its own.
fn close(settings: &mut IngressSettings, rules: &mut [HostRules]) {
    settings.deny.get_or_insert_with(|| REJECTED.to_owned());
    settings.passthrough = false;
    settings.app_root = None;
    for path in rules.iter_mut().flat_map(|rules| rules.paths.iter_mut()) {
        (path.backend, path.closed) = (None, true);
    }
}

fn rejection(object: &ObjectRef, kept: bool) -> Problem {
    let message = if kept {
        "the Ingress is not served because of its other problems: its paths answer 503, as they are not for everybody"
    } else {
        "the Ingress is not served because of its other problems"
    };
    Problem::error(Origin::new(object.clone(), ""), "IngressRejected", message)
}

/// The state of reading one Ingress.
struct Reading<'r> {
    object: &'r ObjectRef,
    strict: bool,
    guarded: bool,
    rejected: bool,
    problems: &'r mut Vec<Problem>,
}

impl Reading<'_> {
    fn error(&mut self, field: String, reason: &'static str, message: String, mend: &str) {
        let problem = Problem::error(Origin::new(self.object.clone(), field), reason, message);
        self.problems.push(problem.with_mend(mend));
    }

    fn rule(&mut self, index: usize, rule: &IngressRule) -> Option<HostRules> {
        let paths = rule.http.as_ref().map(|http| http.paths.as_slice()).unwrap_or_default();
        // The paths are read even if the host is bad: every problem is told at once.
        let paths = paths.iter().enumerate().filter_map(|(number, path)| self.path((index, number), path)).collect();
        match HostPattern::parse_one_label(rule.host.as_deref().unwrap_or_default()) {
            Ok(host) => Some(HostRules { host, paths }),
            Err(error) => {
                let message = format!("{error}; the rule is not served");
                let mend = "write a name like shop.example.com or *.example.com";
                self.error(format!("spec.rules[{index}].host"), "InvalidHost", message, mend);
                None
            }
        }
    }

    fn path(&mut self, index: (usize, usize), written: &HTTPIngressPath) -> Option<PathRule> {
        let field = format!("spec.rules[{}].http.paths[{}]", index.0, index.1);
        let backend = self.backend(&format!("{field}.backend"), &written.backend);
        match Path::read(written, self.strict) {
            Ok(path) => Some(PathRule { index, path, backend, closed: false }),
            Err(error) => {
                let path = Path::read_leniently(written).ok().filter(|_| self.guarded);
                self.bad_path(&field, &error, path.is_some());
                path.map(|path| PathRule { index, path, backend: None, closed: true })
            }
        }
    }

    fn bad_path(&mut self, field: &str, error: &PathError, closed: bool) {
        let part = if matches!(error, PathError::Type(_)) { "pathType" } else { "path" };
        let origin = Origin::new(self.object.clone(), format!("{field}.{part}"));
        if let PathError::Strict(_) = error {
            self.rejected = true;
            let problem = Problem::error(origin, "InvalidPath", error.to_string());
            let mend = "use pathType ImplementationSpecific for regular expressions, or set strict-validate-path-type \
                        to false";
            self.problems.push(problem.with_mend(mend));
        } else {
            let follows = if closed { "the path answers 503" } else { "the path is not served" };
            self.problems.push(Problem::error(origin, "InvalidPath", format!("{error}; {follows}")));
        }
    }

    fn backend(&mut self, field: &str, backend: &IngressBackend) -> Option<BackendRef> {
        let Some(service) = &backend.service else {
            let message = "only Services can be backends; the default backend answers".to_owned();
            self.error(field.to_owned(), "UnsupportedBackend", message, "name a Service");
            return None;
        };
        let port = service.port.as_ref();
        let number = port.and_then(|port| port.number).filter(|number| *number != 0).map(|number| number.to_string());
        let name = || port.and_then(|port| port.name.clone()).filter(|name| !name.is_empty());
        let Some(port) = number.or_else(name) else {
            let message = "the Service's port is not named; the default backend answers".to_owned();
            self.error(format!("{field}.service.port"), "UnsupportedBackend", message, "write its number or its name");
            return None;
        };
        Some(BackendRef { service: service.name.as_str().into(), port: port.into() })
    }
}

fn tls_entries(name: &NamespacedName, spec: &IngressSpec) -> Vec<TlsEntry> {
    let host = |host: &String| host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let entries = spec.tls.as_deref().unwrap_or_default().iter();
    entries
        .map(|entry| TlsEntry {
            hosts: entry.hosts.iter().flatten().map(host).collect(),
            secret: entry
                .secret_name
                .as_deref()
                .filter(|secret| !secret.is_empty())
                .map(|secret| NamespacedName::new(name.namespace.clone(), secret)),
        })
        .collect()
}
