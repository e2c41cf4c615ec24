//! The Ingress front end: networking.k8s.io/v1 Ingress with ingress-nginx's annotations and order of precedence.
//!
//! ```text
//!  Ingress --> fragment (one per Ingress) --> members of its hosts, by rank
//!                                                |            |
//!  default Secret --> default certificate       TLS        host (one each) --> rules, matches, wanted clusters
//!                              +--------> certificates of https     ^  |
//!  default Service --> default backend -----------------------------+  +--> passthrough of https
//! ```

mod basic_auth;
mod canary;
mod class;
mod default_backend;
mod fragment;
mod host;
mod location;
mod passthrough;
mod path;
mod rule;
mod tls;
mod trial;

use std::collections::BTreeSet;
use std::sync::Arc;

use genkan_routing::model::{Listener, Protocol, Section, SharedMap, Stream};
use genkan_routing::name::{CertificateId, HostPattern, ListenerId, TableId};
use rustc_hash::FxHashMap;

use self::default_backend::DefaultBackend;
use self::fragment::{Fragment, Rank};
pub(in crate::translate) use self::host::TABLE;
use self::rule::{FilterPool, HostContext};
use self::tls::{DefaultTls, HostTls};
pub use self::trial::{Overlap, Trial};
use super::assembly::{Batch, Contribution};
use super::memo::{Changed, Memo, Output};
use super::reader::{Dependency, Dirty};
use super::world::World;
use crate::resources::{Key, Kind, NamespacedName};
use crate::settings::Settings;
use crate::small_map::SmallMap;

/// The units of work of Ingresses, and what they gave last.
#[derive(Debug, Default)]
pub struct IngressFrontEnd {
    fragments: Memo<NamespacedName, Fragment>,
    members: FxHashMap<HostPattern, SmallMap<Rank, Arc<Fragment>>>,
    default_tls: Memo<(), DefaultTls>,
    default_backend: Memo<(), DefaultBackend>,
    tls: Memo<HostPattern, HostTls>,
    hosts: Memo<HostPattern, Contribution>,
    certificates: SharedMap<HostPattern, Vec<CertificateId>>,
    passthrough: SharedMap<HostPattern, Arc<Stream>>,
    listeners: Vec<Arc<Listener>>,
    pool: FilterPool,
}

impl IngressFrontEnd {
    /// Redoes the units that `dirty` meets (all of them when `first`), and adds their changes to `batch`.
    pub fn update(&mut self, world: &World<'_>, first: bool, dirty: &mut Dirty, batch: &mut Batch) {
        let mut touched = self.refresh_fragments(world, first, dirty, batch);
        if first {
            touched.insert(HostPattern::Any);
        }
        self.refresh_default_backend(world, first, dirty, batch);
        let certificates_changed = self.refresh_tls(world, first, &touched, dirty, batch);
        let passthrough_changed = self.refresh_hosts(world, &touched, dirty, batch);
        if first || certificates_changed || passthrough_changed {
            self.listen(world.settings);
        }
    }

    /// Whether any unit read this.
    pub fn is_read(&self, dependency: &Dependency) -> bool {
        self.fragments.is_read(dependency)
            || self.default_tls.is_read(dependency)
            || self.default_backend.is_read(dependency)
            || self.tls.is_read(dependency)
            || self.hosts.is_read(dependency)
    }

    /// Whether an Ingress is of our class.
    pub fn is_ours(&self, ingress: &NamespacedName) -> bool {
        self.fragments.get(ingress).is_some_and(|fragment| fragment.ours)
    }

    /// `http` and `https`.
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    /// Reads Ingresses again. Returns the hosts that they have, or had, something for.
    fn refresh_fragments(
        &mut self,
        world: &World<'_>,
        first: bool,
        dirty: &Dirty,
        batch: &mut Batch,
    ) -> BTreeSet<HostPattern> {
        let mut names = self.fragments.stale(dirty);
        if first {
            names.extend(world.resources.ingresses.keys().cloned());
        }
        names.extend(dirty.iter().filter_map(|dependency| match dependency {
            Dependency::Object(Key { kind: Kind::Ingress, name }) => Some(name.clone()),
            _ => None,
        }));
        let mut touched = BTreeSet::new();
        for name in names {
            // The Ingress itself need not be remembered as read: whenever it changes, it is among `names`.
            let ingress = world.resources.ingresses.get(&name);
            let changed =
                self.fragments.refresh(&name, world.reader(), |reader| Some(Fragment::read(&name, ingress?, reader)));
            let Some(changed) = changed else { continue };
            if let Some(old) = &changed.old {
                for host in old.hosts() {
                    self.leave(&host, &old.rank);
                    touched.insert(host);
                }
            }
            if let Some(new) = &changed.new {
                for host in new.hosts() {
                    self.members.entry(host.clone()).or_default().insert(new.rank.clone(), new.clone());
                    touched.insert(host);
                }
            }
            tell(batch, &changed, |fragment| &fragment.told);
        }
        touched
    }

    fn leave(&mut self, host: &HostPattern, rank: &Rank) {
        if let Some(members) = self.members.get_mut(host) {
            members.remove(rank);
            if members.is_empty() {
                self.members.remove(host);
            }
        }
    }

    fn refresh_default_backend(&mut self, world: &World<'_>, first: bool, dirty: &mut Dirty, batch: &mut Batch) {
        if first || !self.default_backend.stale(dirty).is_empty() {
            let read = |reader: &_| Some(DefaultBackend::read(reader));
            if let Some(changed) = self.default_backend.refresh(&(), world.reader(), read) {
                tell(batch, &changed, |backend| &backend.told);
                dirty.insert(Dependency::IngressDefaultBackend);
            }
        }
    }

    /// Chooses certificates again. Returns whether those of the listener changed.
    fn refresh_tls(
        &mut self,
        world: &World<'_>,
        first: bool,
        touched: &BTreeSet<HostPattern>,
        dirty: &mut Dirty,
        batch: &mut Batch,
    ) -> bool {
        let mut default_changed = false;
        if first || !self.default_tls.stale(dirty).is_empty() {
            let changed = self.default_tls.refresh(&(), world.reader(), |reader| Some(DefaultTls::read(reader)));
            default_changed = changed.is_some();
            if let Some(changed) = changed {
                tell(batch, &changed, |tls| &tls.told);
            }
        }
        let mut hosts = self.tls.stale(dirty);
        hosts.extend(touched.iter().cloned());
        let mut changed_hosts = Vec::new();
        for host in hosts {
            let members = self.members.get(&host);
            // The host's Ingresses need not be remembered as read: whenever they change, it is among `touched`.
            let changed =
                self.tls.refresh(&host, world.reader(), |reader| tls::of_host(&host, members?.values(), reader));
            let Some(changed) = changed else { continue };
            if changed.old.is_some() != changed.new.is_some() {
                dirty.insert(Dependency::IngressTls(host.clone()));
            }
            tell(batch, &changed, |tls| &tls.told);
            changed_hosts.push(host);
        }
        if default_changed {
            // Besides those that changed: a host that has no TLS any more is no unit any more.
            changed_hosts.extend(self.tls.units().cloned());
        }
        changed_hosts.into_iter().fold(default_changed, |any, host| self.certify(host) || any)
    }

    /// Brings the listener's certificate of a host up to date. Returns whether it changed.
    fn certify(&mut self, host: HostPattern) -> bool {
        let default = self.default_tls.get(&()).and_then(|tls| tls.certificate.clone());
        let certificate = self.tls.get(&host).and_then(|tls| tls.certificate.clone().or(default));
        match certificate.map(|certificate| vec![certificate.id.clone()]) {
            None => self.certificates.remove(&host).is_some(),
            Some(ids) => self.certificates.insert(host, ids.clone()).is_none_or(|before| before != ids),
        }
    }

    /// Assembles hosts again. Returns whether what is passed on unopened changed.
    fn refresh_hosts(
        &mut self,
        world: &World<'_>,
        touched: &BTreeSet<HostPattern>,
        dirty: &Dirty,
        batch: &mut Batch,
    ) -> bool {
        let mut passthrough_changed = false;
        let mut hosts = self.hosts.stale(dirty);
        hosts.extend(touched.iter().cloned());
        // Its own Ingresses and certificate entry need not be remembered as read.
        hosts.extend(dirty.iter().filter_map(|dependency| match dependency {
            Dependency::IngressTls(host) if self.hosts.get(host).is_some() => Some(host.clone()),
            _ => None,
        }));
        let default_backend = self.default_backend.get(&()).cloned().unwrap_or_default();
        let table = TableId::new(TABLE);
        for host in hosts {
            let members = self.members.get(&host);
            let (tls, pool) = (&self.tls, &self.pool);
            let changed = self.hosts.refresh(&host, world.reader(), |reader| {
                if members.is_none() && host != HostPattern::Any {
                    return None;
                }
                reader.note(Dependency::IngressDefaultBackend);
                let above = wildcard_above(&host).is_some_and(|wildcard| {
                    let present = tls.get(&wildcard).is_some();
                    reader.note(Dependency::IngressTls(wildcard));
                    present
                });
                let tls = above || tls.get(&host).is_some();
                let config = reader.config();
                let context = HostContext { reader, config: &config, pool, table: &table, tls };
                Some(host::assemble(&host, members.into_iter().flat_map(SmallMap::values), context, &default_backend))
            });
            if let Some(changed) = &changed {
                let stream = changed.new.as_ref().and_then(|new| new.passthrough.clone());
                passthrough_changed |= self.pass_through(&host, stream);
            }
            batch.push(changed);
        }
        passthrough_changed
    }

    /// Brings the listener's passthrough of a host up to date. Returns whether it changed.
    fn pass_through(&mut self, host: &HostPattern, stream: Option<Arc<Stream>>) -> bool {
        match stream {
            None => self.passthrough.remove(host).is_some(),
            Some(stream) => self.passthrough.insert(host.clone(), stream.clone()).is_none_or(|before| before != stream),
        }
    }

    fn listen(&mut self, settings: &Settings) {
        let default = self.default_tls.get(&()).and_then(|tls| tls.certificate.clone());
        let listener = |id: &'static str, port, public_port, protocol| Listener {
            id: ListenerId::new(id),
            addresses: settings.bind_addresses.clone(),
            port,
            public_port,
            protocol,
            sections: vec![Section::new(HostPattern::Any, TableId::new(TABLE))],
            certificates: SharedMap::default(),
            default_certificate: None,
            passthrough: SharedMap::default(),
            terminated: SharedMap::default(),
            client_auth: None,
            unknown_name: Default::default(),
            client: None,
            tls: SharedMap::default(),
            stream: None,
        };
        let http = listener("http", settings.http_port, 80, Protocol::Http);
        let https = Listener {
            certificates: self.certificates.clone(),
            default_certificate: default.map(|certificate| certificate.id.clone()),
            passthrough: self.passthrough.clone(),
            ..listener("https", settings.https_port, 443, Protocol::Https)
        };
        self.listeners = vec![Arc::new(http), Arc::new(https)];
    }
}

/// Adds to a batch what a unit told besides its own output.
fn tell<V: Output>(batch: &mut Batch, changed: &Changed<V>, told: impl Fn(&V) -> &Option<Arc<Contribution>>) {
    let told = |side: &Option<Arc<V>>| side.as_ref().and_then(|side| told(side).clone());
    let (old, new) = (told(&changed.old), told(&changed.new));
    if old.is_some() || new.is_some() {
        batch.push(Some(Changed { old, new }));
    }
}

/// `*.example.com` above `a.example.com`.
fn wildcard_above(host: &HostPattern) -> Option<HostPattern> {
    let HostPattern::Exact(name) = host else { return None };
    let (_, suffix) = name.as_str().split_once('.')?;
    HostPattern::parse_one_label(&format!("*.{suffix}")).ok()
}
