//! The API server as a source, and what is written back to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use genkan_proxy::Proxy;
use genkan_routing::name::ObjectRef;
use genkan_routing::report::{Problem, Report, Severity};
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::Api;
use tokio::sync::watch::Receiver;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, Interval, interval_at, sleep, timeout};

use super::admission::{Admission, AdmissionFlags};
use super::flags::ClusterFlags;
use super::place;
use super::unwritten;
use super::writing::{LEAVE_TIME, Writing};
use crate::admin::Details;
use crate::cli::input::{LocatedProblem, Place};
use crate::cli::run::source::{Source, touches};
use crate::control::Control;
use crate::resources::{Key, Kind, NamespacedName, Place as PodPlace, Resources};
use crate::settings::Settings;
use crate::status::{Bound, IngressState, News, OwnPod, Publish, SeenObject, Told, Unwritten};
use crate::translate::{Change, Infrastructure, Statuses};
use crate::watch::{Health, Scopes, Update, Watch};

/// How often Secrets and ConfigMaps that nobody refers to any more are let go.
const RELEASE: Duration = Duration::from_secs(60);
/// In this time a Service that a flag names must be looked up, or that is tried again.
const LOOK_TIME: Duration = Duration::from_secs(10);

/// An API server, and us as one of its controllers.
pub(super) struct Cluster {
    client: Client,
    pod: OwnPod,
    watch: Watch,
    writing: Writing,
    admission: Option<Admission>,
    /// Services that must exist at the start: by which flag, and which.
    required: Vec<(&'static str, NamespacedName)>,
    /// Objects whose facts changed since [`Source::settle`].
    facts: BTreeSet<Key>,
    /// What the writer of infrastructure was told last.
    infrastructure: Arc<BTreeMap<NamespacedName, Infrastructure>>,
    /// What of it can't be written.
    unwritten: Receiver<Unwritten>,
    /// Those of them that have a status of Gateway API, since [`Source::served`].
    gateway_facts: BTreeSet<Key>,
    /// What was told then.
    told: (Arc<Statuses>, Arc<Bound>),
    revision: u64,
    /// Whether everything that is wrong is to be told once more: to a leader that is new.
    retell: bool,
    release: Interval,
    /// Finds out where we are.
    finding: JoinSet<PodPlace>,
    leaving: Option<JoinHandle<()>>,
}

impl Cluster {
    /// Begins to follow the API server and to stand for election. Nothing is known yet.
    pub(super) fn start(
        client: Client,
        pod: OwnPod,
        settings: &Settings,
        (flags, admission): (&ClusterFlags, &AdmissionFlags),
        proxy: &Arc<Proxy>,
    ) -> anyhow::Result<Self> {
        let cache = flags.cache_file.as_deref();
        let controller = &settings.gateway_controller_name;
        let watch = Watch::begin(client.clone(), scopes(settings, flags), controller, cache)
            .with_context(|| format!("--cache-file {}", cache.unwrap_or(Path::new("")).display()))?;
        let writing = Writing::start(&client, &pod, controller, flags, proxy);
        let admission = admission.start(&client, flags.watch_namespace.clone(), &writing.leading, proxy)?;
        let backend = settings.default_backend_service.clone().map(|name| ("--default-backend-service", name));
        let publish = match flags.publish() {
            Publish::Service(name) if flags.update_status => Some(("--publish-service", name)),
            _ => None,
        };
        let mut finding = JoinSet::new();
        if flags.enable_topology_aware_routing {
            finding.spawn(place::of_pod(client.clone(), pod.clone()));
        }
        Ok(Self {
            client,
            pod,
            watch,
            admission,
            required: backend.into_iter().chain(publish).collect(),
            facts: BTreeSet::new(),
            unwritten: writing.infrastructure.unwritten(),
            writing,
            infrastructure: Arc::default(),
            gateway_facts: BTreeSet::new(),
            told: Default::default(),
            revision: 0,
            retell: false,
            release: interval_at(Instant::now() + RELEASE, RELEASE),
            finding,
            leaving: None,
        })
    }

    /// What the admin port tells besides: how the API server is doing, and what keeps us from writing to it.
    pub(super) fn details(&self) -> impl Fn() -> Details + Send + Sync + use<> {
        let health: Health = self.watch.health().clone();
        let (writing, admission) = (self.writing.troubles(), self.admission.as_ref().map(Admission::troubles));
        move || {
            let mut readiness = health.details();
            readiness.extend(writing());
            readiness.extend(admission.iter().flat_map(|troubles| troubles()));
            Details { readiness, metrics: health.metrics() }
        }
    }

    fn take(&mut self, update: Update) -> BTreeSet<Change> {
        self.gateway_facts.extend(update.facts.iter().filter(|key| key.kind.has_status()).cloned());
        self.facts.extend(update.facts);
        self.revision += u64::from(update.problems_changed);
        update.changes
    }

    /// A Service that a flag names and that is not there is a mistake in the flag.
    async fn check_required(&self) -> anyhow::Result<()> {
        for (flag, name) in &self.required {
            let services: Api<Service> = Api::namespaced(self.client.clone(), &name.namespace);
            loop {
                match timeout(LOOK_TIME, services.get_opt(&name.name)).await {
                    Ok(Ok(Some(_))) => break,
                    Ok(Ok(None)) => bail!("{flag} {name}: there is no such Service"),
                    Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                        bail!("{flag} {name}: the Service may not be read: {}", status.message)
                    }
                    Err(_) => tracing::warn!("{flag} {name} can't be looked up yet: the API server does not answer"),
                    Ok(Err(error)) => tracing::warn!(%error, "{flag} {name} can't be looked up yet"),
                }
                sleep(Duration::from_secs(1)).await;
            }
        }
        Ok(())
    }

    /// Tells the status writer about an Ingress.
    fn tell_status(&self, name: &NamespacedName, control: &Control) {
        let Some(status) = &self.writing.status else { return };
        let facts = self.watch.facts(&Key { kind: Kind::Ingress, name: name.clone() });
        let state = facts
            .filter(|_| control.is_ours(name))
            .map(|facts| IngressState { uid: facts.uid.clone(), published: facts.published.clone() });
        status.seen(name.clone(), state);
    }

    /// Tells the writer of infrastructure what is to become of Services and how they are, if either changed.
    fn tell_infrastructure(&mut self, control: &Control, changes: &BTreeSet<Change>) {
        let wanted = control.infrastructure();
        let touched = |change: &Change| matches!(change, Change::Object(key) if key.kind == Kind::Service && wanted.contains_key(&key.name));
        let is_news = !Arc::ptr_eq(wanted, &self.infrastructure) || changes.iter().any(touched);
        // What the cache holds may be long gone.
        if !is_news || !self.watch.is_listed() {
            return;
        }
        let services = &self.watch.resources().services;
        let view = |(name, wanted): (&NamespacedName, &Infrastructure)| {
            (name.clone(), (wanted.clone(), services.get(name).cloned()))
        };
        self.writing.infrastructure.look(wanted.iter().map(view).collect());
        // What can't be written is told of what is wanted.
        let retell = !Arc::ptr_eq(wanted, &self.infrastructure) && !self.unwritten.borrow().is_empty();
        self.revision += u64::from(retell);
        self.infrastructure = wanted.clone();
    }

    /// What the API server has of an object's status; `None` when it is gone.
    fn seen_object(&self, key: &Key) -> Option<SeenObject> {
        let facts = self.watch.facts(key)?;
        let status = facts.status.clone()?;
        Some(SeenObject { uid: facts.uid.clone(), generation: facts.generation, status })
    }

    /// `Sync`, as ingress-nginx says it when it takes an Ingress.
    fn tell_sync(&self, key: &Key) {
        let Some(facts) = self.watch.facts(key) else { return };
        self.writing.events.tell(Told {
            about: key.clone(),
            uid: facts.uid.to_string(),
            warning: false,
            reason: "Sync",
            field: String::new(),
            note: "Scheduled for sync".to_owned(),
            counts: true,
        });
    }

    fn tell_problem(&self, problem: &Problem, counts: bool) {
        let object = &problem.origin.object;
        let Some(kind) = Kind::ALL.iter().copied().find(|kind| kind.as_str() == object.kind) else { return };
        let about = Key::new(kind, object.namespace.clone(), object.name.clone());
        // Without a uid nobody would find the Event at its object.
        let Some(facts) = self.watch.facts(&about) else { return };
        let mend = if problem.mend.is_empty() { String::new() } else { format!("; {}", problem.mend) };
        let field = problem.origin.field.to_string();
        let place = if field.is_empty() { String::new() } else { format!("{field}: ") };
        self.writing.events.tell(Told {
            uid: facts.uid.to_string(),
            about,
            warning: problem.severity != Severity::Info,
            reason: problem.reason,
            note: format!("{place}{}{mend}", problem.message),
            field,
            counts,
        });
    }
}

/// What is followed.
fn scopes(settings: &Settings, flags: &ClusterFlags) -> Scopes {
    let named = [
        (Kind::ConfigMap, &settings.config_map),
        (Kind::ConfigMap, &settings.tcp_services_config_map),
        (Kind::ConfigMap, &settings.udp_services_config_map),
        (Kind::Secret, &settings.default_ssl_certificate),
        (Kind::Service, &settings.default_backend_service),
    ];
    let mut named: Vec<_> = named.into_iter().filter_map(|(kind, name)| Some((kind, name.clone()?))).collect();
    if let Some(service) = &settings.default_backend_service {
        // Its slices have names that nobody knows before: the namespace's are followed.
        named.push((Kind::EndpointSlice, NamespacedName::new(service.namespace.clone(), "")));
    }
    Scopes { namespace: flags.watch_namespace.as_deref().map(Into::into), named }
}

impl Source for Cluster {
    async fn load(&mut self) -> anyhow::Result<()> {
        if self.watch.is_restored() {
            tracing::info!("serving what the cache holds until the API server was heard");
            return Ok(());
        }
        while !self.watch.is_listed() {
            tokio::select! {
                update = self.watch.changed(|_| false) => drop(self.take(update)),
                place = found(&mut self.finding) => self.watch.resources_mut().place = Some(place),
            }
        }
        self.check_required().await
    }

    async fn complete(&mut self, control: &mut Control) {
        self.watch.begin_on_demand();
        while !self.watch.is_listed() && !self.watch.is_restored() {
            let update = self.watch.changed(|key| control.refers_to(key)).await;
            let changes = self.take(update);
            if !changes.is_empty() {
                control.apply(self.watch.resources(), &changes);
            }
        }
        // Everything was passed over while nobody referred to it.
        self.watch.fetch(control.take_missing());
        let names: Vec<_> = self.watch.resources().ingresses.keys().cloned().collect();
        names.iter().for_each(|name| self.tell_status(name, control));
        self.tell_infrastructure(control, &BTreeSet::new());
        self.facts.clear();
        // What the cache held came without news, and stays without if it is as it was.
        self.gateway_facts.extend(self.watch.known().filter(|key| key.kind.has_status()).cloned());
    }

    async fn changed(&mut self, control: &Control) -> BTreeSet<Change> {
        tokio::select! {
            update = self.watch.changed(|key| control.refers_to(key)) => self.take(update),
            leading = self.writing.changed() => {
                self.retell |= leading;
                BTreeSet::new()
            }
            Ok(()) = self.unwritten.changed() => {
                self.revision += 1;
                BTreeSet::new()
            }
            place = found(&mut self.finding) => {
                tracing::info!(zone = place.zone, "our zone is known");
                self.watch.resources_mut().place = Some(place);
                BTreeSet::from([Change::Place])
            }
            question = Admission::next(&mut self.admission) => {
                if let Some(admission) = &mut self.admission {
                    admission.take(question, control, &self.watch);
                }
                BTreeSet::new()
            }
            _ = self.release.tick() => {
                self.watch.release(|key| control.refers_to(key));
                BTreeSet::new()
            }
        }
    }

    fn resources(&self) -> &Resources {
        self.watch.resources()
    }

    fn resources_mut(&mut self) -> &mut Resources {
        self.watch.resources_mut()
    }

    async fn settle(&mut self, control: &mut Control, changes: &BTreeSet<Change>) {
        self.watch.fetch(control.take_missing());
        let mut ingresses: BTreeSet<_> = std::mem::take(&mut self.facts)
            .into_iter()
            .filter(|key| key.kind == Kind::Ingress)
            .map(|key| key.name)
            .collect();
        let anyone = touches(changes, Kind::IngressClass)
            || touches(changes, Kind::Namespace)
            || changes.iter().any(|change| matches!(change, Change::Readable(_)));
        if anyone {
            ingresses.extend(self.watch.resources().ingresses.keys().cloned());
        }
        for change in changes {
            if let Change::Object(key) = change
                && key.kind == Kind::Ingress
            {
                ingresses.insert(key.name.clone());
                if self.writing.sync_events && control.is_ours(&key.name) {
                    self.tell_sync(key);
                }
            }
        }
        ingresses.iter().for_each(|name| self.tell_status(name, control));
        self.tell_infrastructure(control, changes);
    }

    fn served(&mut self, control: &Control, bound: &Arc<Bound>) {
        // A leader would write what follows from the cache and from the first lists that came.
        if !self.watch.is_listed() {
            return;
        }
        let keys = std::mem::take(&mut self.gateway_facts);
        let Some(writer) = &self.writing.gateway_status else { return };
        let now = (control.statuses().clone(), bound.clone());
        // Most of what changes is no business of Gateway API's.
        if keys.is_empty() && Arc::ptr_eq(&now.0, &self.told.0) && Arc::ptr_eq(&now.1, &self.told.1) {
            return;
        }
        let seen = keys.into_iter().map(|key| (self.seen_object(&key), key)).map(|(seen, key)| (key, seen)).collect();
        writer.tell(News { seen, statuses: now.0.clone(), bound: now.1.clone() });
        self.told = now;
    }

    fn problems(&self) -> Vec<LocatedProblem> {
        let unwritten = unwritten::problems(&self.unwritten.borrow(), &self.infrastructure);
        let all = self.watch.problems().cloned().chain(unwritten);
        all.map(|problem| LocatedProblem { place: Place::default(), problem }).collect()
    }

    fn place(&self, _: &ObjectRef) -> Place {
        Place::default()
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn found(&self, problem: &Problem) {
        self.tell_problem(problem, true);
    }

    fn retell(&mut self, problems: &Report) {
        if std::mem::take(&mut self.retell) {
            problems.problems().for_each(|problem| self.tell_problem(problem, false));
        }
    }

    fn leave(&mut self, delay: Duration) {
        let leave = self.writing.leave(self.client.clone(), self.pod.clone());
        self.leaving = Some(tokio::spawn(async move {
            sleep(delay).await;
            leave.await;
        }));
    }

    async fn left(&mut self) {
        // From here on nobody answers: the API server is to ask another replica.
        self.admission = None;
        if let Some(leaving) = self.leaving.take()
            && timeout(LEAVE_TIME, leaving).await.is_err()
        {
            tracing::warn!("the API server does not answer: statuses and the Lease stay as they are");
        }
    }
}

/// Waits until it is found where we are; for ever when nobody looks for it any more.
async fn found(finding: &mut JoinSet<PodPlace>) -> PodPlace {
    match finding.join_next().await {
        Some(Ok(place)) => place,
        _ => std::future::pending().await,
    }
}
