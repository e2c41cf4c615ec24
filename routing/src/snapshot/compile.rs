//! Compiling a model: whole, or from a predecessor whose unchanged parts are shared.
//!
//! What may be shared is decided by pointers alone (see [`RuleChanges`]); equal values behind different pointers are
//! compiled again.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::changes::{RuleChanges, RuleMarks};
use super::host::CompiledHost;
use super::hosts::HostIndex;
use super::{CompileStats, Snapshot};
use crate::model::{Host, Listener, ListenerSettings, Model, Stream, Table, Terminated};
use crate::name::{CertificateId, HostPattern, ListenerId, TableId};
use crate::policy::client::ClientSettings;
use crate::policy::tls::TlsSettings;

/// The hosts of a table.
#[derive(Debug)]
pub(super) struct CompiledTable {
    /// By pattern.
    pub(super) hosts: HostIndex<HostSlot>,
}

/// A host in a table, with what tells most hosts apart from changed rules without a look at the host itself.
#[derive(Clone, Debug)]
pub(super) struct HostSlot {
    /// The host.
    pub(super) host: Arc<CompiledHost>,
    rules: RuleMarks,
}

/// A listener with its sections' tables.
#[derive(Debug)]
pub(super) struct CompiledListener {
    /// By hostname.
    pub(super) sections: HostIndex<Sections>,
    /// By server name.
    pub(super) names: Arc<HostIndex<ServerName>>,
    /// For server names that no other covers.
    pub(super) default_certificate: Option<CertificateId>,
    /// By server name, what is opened otherwise than by default. Empty on most listeners, else every name is in it that
    /// is opened at all.
    pub(super) tls: Arc<HostIndex<Option<Arc<TlsSettings>>>>,
}

/// The sections of one hostname.
#[derive(Clone, Debug, Default)]
pub(super) struct Sections {
    /// In their order, each table once.
    pub(super) tables: SmallVec<[CompiledSection; 1]>,
    /// Of requests that none of them serves.
    pub(super) settings: Option<Arc<ListenerSettings>>,
}

/// A section whose table exists.
#[derive(Clone, Debug)]
pub(super) struct CompiledSection {
    pub(super) table: Arc<CompiledTable>,
    pub(super) settings: Option<Arc<ListenerSettings>>,
}

/// What a listener has for a server name.
#[derive(Clone, Debug)]
pub(super) enum ServerName {
    /// At least one.
    Certificates(SmallVec<[CertificateId; 1]>),
    /// Connections are passed on unopened.
    Passthrough(Arc<Stream>),
    /// Connections are opened, and what they carry is passed on.
    Terminated(Arc<Terminated>),
}

pub(super) type Tables = FxHashMap<TableId, Arc<CompiledTable>>;
pub(super) type Listeners = FxHashMap<ListenerId, Arc<CompiledListener>>;
/// Of the listeners that have settings of their own.
pub(super) type Clients = FxHashMap<ListenerId, Arc<ClientSettings>>;

/// Compiles `model`, sharing with `previous` what did not change.
pub(super) fn compile(model: Arc<Model>, previous: Option<&Snapshot>) -> Snapshot {
    let changes = previous.map(|previous| RuleChanges::between(&previous.model, &model)).unwrap_or_default();
    let mut compiler = Compiler { model: &model, previous, changes, stats: CompileStats::default() };
    let tables: Tables = model.tables.iter().map(|(id, table)| (id.clone(), compiler.table(id, table))).collect();
    let listeners: Listeners =
        model.listeners.iter().map(|(id, listener)| (id.clone(), compiler.listener(id, listener, &tables))).collect();
    let stats = compiler.stats;
    let own = |listener: &Arc<Listener>| Some((listener.id.clone(), listener.client.clone()?));
    let clients: Clients = model.listeners.values().filter_map(own).collect();
    Snapshot { model, tables, listeners, clients, stats }
}

struct Compiler<'c> {
    model: &'c Model,
    previous: Option<&'c Snapshot>,
    changes: RuleChanges,
    stats: CompileStats,
}

impl Compiler<'_> {
    fn table(&mut self, id: &TableId, table: &Arc<Table>) -> Arc<CompiledTable> {
        let previous = self.previous.and_then(|old| Some((old.model.tables.get(id)?, old.tables.get(id)?)));
        match previous {
            Some((old, compiled)) => self.patched_table(old, compiled, table),
            None => {
                self.stats.tables_compiled += 1;
                let mut hosts = HostIndex::with_capacity(table.hosts.len());
                for (pattern, host) in &table.hosts {
                    hosts.insert(pattern.clone(), self.host(pattern, host));
                }
                Arc::new(CompiledTable { hosts })
            }
        }
    }

    fn patched_table(
        &mut self,
        old: &Arc<Table>,
        compiled: &Arc<CompiledTable>,
        new: &Arc<Table>,
    ) -> Arc<CompiledTable> {
        let mut edits: BTreeMap<&HostPattern, Option<&Arc<Host>>> = BTreeMap::new();
        for (pattern, old, new) in old.hosts.unshared(&new.hosts) {
            if !matches!((old, new), (Some(old), Some(new)) if Arc::ptr_eq(old, new)) {
                edits.insert(pattern, new);
            }
        }
        if !self.changes.is_empty() {
            let slots = compiled.hosts.values().filter(|slot| self.changes.may_touch(slot.rules));
            for slot in slots.filter(|slot| self.changes.touch(&slot.host)) {
                let pattern = slot.host.pattern();
                edits.insert(pattern, new.hosts.get(pattern));
            }
        }
        let rebuilt = edits.values().filter(|host| host.is_some()).count();
        self.stats.hosts_shared += new.hosts.len() - rebuilt;
        if edits.is_empty() {
            self.stats.tables_shared += 1;
            return Arc::clone(compiled);
        }
        self.stats.tables_compiled += 1;
        let mut hosts = compiled.hosts.clone();
        for (pattern, host) in edits {
            match host {
                Some(host) => hosts.insert(pattern.clone(), self.host(pattern, host)),
                None => hosts.remove(pattern),
            }
        }
        Arc::new(CompiledTable { hosts })
    }

    fn host(&mut self, pattern: &HostPattern, host: &Arc<Host>) -> HostSlot {
        self.stats.hosts_compiled += 1;
        let host = CompiledHost::build(pattern, host, |rule| self.model.rules.get(rule));
        HostSlot { rules: RuleMarks::of(host.rules()), host: Arc::new(host) }
    }

    fn listener(&self, id: &ListenerId, listener: &Arc<Listener>, tables: &Tables) -> Arc<CompiledListener> {
        let previous = self.previous.and_then(|old| Some((old, old.model.listeners.get(id)?, old.listeners.get(id)?)));
        let Some((snapshot, old, compiled)) = previous else {
            return Arc::new(assemble(listener, tables, Arc::new(names(listener)), tls(listener)));
        };
        if !Arc::ptr_eq(old, listener) {
            let names = patched_names(old, &compiled.names, listener);
            return Arc::new(assemble(listener, tables, names, tls(listener)));
        }
        let same_table = |table: &TableId| match (snapshot.tables.get(table), tables.get(table)) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (old, new) => old.is_none() && new.is_none(),
        };
        if listener.sections.iter().all(|section| same_table(&section.table)) {
            return Arc::clone(compiled);
        }
        Arc::new(assemble(listener, tables, Arc::clone(&compiled.names), Arc::clone(&compiled.tls)))
    }
}

fn assemble(
    listener: &Listener,
    tables: &Tables,
    names: Arc<HostIndex<ServerName>>,
    tls: Arc<HostIndex<Option<Arc<TlsSettings>>>>,
) -> CompiledListener {
    let mut grouped: BTreeMap<&HostPattern, Sections> = BTreeMap::new();
    for section in &listener.sections {
        // A section whose table is missing still keeps its hosts from less specific ones.
        let first = || Sections { settings: section.settings.clone(), ..Sections::default() };
        let group = grouped.entry(&section.hostname).or_insert_with(first);
        if let Some(table) = tables.get(&section.table)
            && !group.tables.iter().any(|known| Arc::ptr_eq(&known.table, table))
        {
            group.tables.push(CompiledSection { table: Arc::clone(table), settings: section.settings.clone() });
        }
    }
    let mut sections = HostIndex::with_capacity(grouped.len());
    for (hostname, group) in grouped {
        sections.insert(hostname.clone(), group);
    }
    CompiledListener { sections, names, default_certificate: listener.default_certificate.clone(), tls }
}

fn tls(listener: &Listener) -> Arc<HostIndex<Option<Arc<TlsSettings>>>> {
    let mut index = HostIndex::default();
    let of_stream = |terminated: &Arc<Terminated>| terminated.stream.settings.as_ref().and_then(|own| own.tls.clone());
    if listener.tls.is_empty() && listener.terminated.values().all(|terminated| of_stream(terminated).is_none()) {
        return Arc::new(index);
    }
    for (name, _) in listener.certificates.iter().filter(|(_, ids)| !ids.is_empty()) {
        index.insert(name.clone(), listener.tls.get(name).cloned());
    }
    // They come before certificates for the same name.
    for (name, terminated) in &listener.terminated {
        index.insert(name.clone(), of_stream(terminated));
    }
    Arc::new(index)
}

fn names(listener: &Listener) -> HostIndex<ServerName> {
    let Listener { certificates, passthrough, terminated, .. } = listener;
    let mut index = HostIndex::with_capacity(certificates.len() + passthrough.len() + terminated.len());
    for pattern in certificates.keys().chain(passthrough.keys()).chain(terminated.keys()) {
        if let Some(name) = server_name(listener, pattern) {
            index.insert(pattern.clone(), name);
        }
    }
    index
}

/// What a listener has for the name itself. A name without any certificate is left out, so that less specific names
/// serve it.
fn server_name(listener: &Listener, pattern: &HostPattern) -> Option<ServerName> {
    if let Some(stream) = listener.passthrough.get(pattern) {
        return Some(ServerName::Passthrough(Arc::clone(stream)));
    }
    if let Some(terminated) = listener.terminated.get(pattern) {
        return Some(ServerName::Terminated(Arc::clone(terminated)));
    }
    let ids = listener.certificates.get(pattern).filter(|ids| !ids.is_empty())?;
    Some(ServerName::Certificates(ids.iter().cloned().collect()))
}

fn patched_names(old: &Listener, compiled: &Arc<HostIndex<ServerName>>, new: &Listener) -> Arc<HostIndex<ServerName>> {
    let certificates = old.certificates.unshared(&new.certificates);
    let certificates = certificates.filter(|(_, old, new)| old != new).map(|(pattern, ..)| pattern);
    let passthrough = old.passthrough.unshared(&new.passthrough);
    let passthrough = passthrough.filter(|(_, old, new)| old != new).map(|(pattern, ..)| pattern);
    let terminated = old.terminated.unshared(&new.terminated);
    let terminated = terminated.filter(|(_, old, new)| old != new).map(|(pattern, ..)| pattern);
    let mut changed = certificates.chain(passthrough).chain(terminated).peekable();
    if changed.peek().is_none() {
        return Arc::clone(compiled);
    }
    let mut index = HostIndex::clone(compiled);
    for pattern in changed {
        match server_name(new, pattern) {
            Some(name) => index.insert(pattern.clone(), name),
            None => index.remove(pattern),
        }
    }
    Arc::new(index)
}
