//! The snapshot: a model compiled for lookup. Immutable; shares with its predecessor whatever did not change.
//!
//! ```text
//!  ListenerId -> sections by hostname -> tables -> hosts by pattern -> paths -> Matched { host, match, rule }
//!                      hosts.rs         compile.rs      hosts.rs     paths.rs, regexes.rs
//! ```
//!
//! What a lookup answers is specified by `reference.rs`, a linear search that property tests compare with; how fast it
//! answers depends on the length of the request's host and path only. [`Snapshot::explain`] tells an operator why.

mod changes;
mod compile;
mod conditions;
mod explain;
mod host;
mod hosts;
mod names;
mod paths;
mod reasons;
mod reference;
mod regexes;

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, Method};

use self::compile::{Clients, Listeners, ServerName, Tables};
pub use self::explain::{Candidate, Explanation, Loser};
use self::hosts::steps;
use crate::model::{ListenerSettings, Match, Model, Rule, Stream, Terminated};
use crate::name::{CertificateId, HostPattern, ListenerId};
use crate::policy::client::ClientSettings;
use crate::policy::tls::TlsSettings;

/// What routing looks at.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'r> {
    /// After [`canonical_host`](crate::request::canonical_host): lower case, without port and final dot; empty when the
    /// client named none.
    pub host: &'r str,
    /// The path after [`normalize_path`](crate::request::normalize_path).
    pub path: &'r str,
    /// The raw query, without `?`.
    pub query: Option<&'r str>,
    /// The method.
    pub method: &'r Method,
    /// The header fields.
    pub headers: &'r HeaderMap,
}

/// What serves a request.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'s> {
    /// The host whose match won.
    pub host: &'s HostPattern,
    /// The match that won; its path feeds rewrites.
    pub matched: &'s Match,
    /// The rule it leads to.
    pub rule: &'s Arc<Rule>,
    /// The settings of the section that has the rule, where they are not those of the whole proxy.
    pub settings: Option<&'s Arc<ListenerSettings>>,
}

/// What becomes of a TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake<'s> {
    /// It is opened here, with one of these certificates, which differ in key type.
    Opened(&'s [CertificateId]),
    /// It is passed on unopened.
    PassedOn(&'s Arc<Stream>),
    /// It is opened here, and what it carries is passed on.
    Terminated(&'s Arc<Terminated>),
}

/// What compiling a snapshot took, for logs, metrics and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompileStats {
    /// Hosts that were compiled.
    pub hosts_compiled: usize,
    /// Hosts taken over from the predecessor.
    pub hosts_shared: usize,
    /// Tables that were compiled, be it for one host.
    pub tables_compiled: usize,
    /// Tables taken over from the predecessor as they are.
    pub tables_shared: usize,
}

/// A model, compiled.
#[derive(Debug)]
pub struct Snapshot {
    model: Arc<Model>,
    tables: Tables,
    listeners: Listeners,
    clients: Clients,
    stats: CompileStats,
}

impl Snapshot {
    /// Compiles a model.
    pub fn compile(model: Arc<Model>) -> Self {
        compile::compile(model, None)
    }

    /// Compiles a model, sharing with `previous` the hosts and tables that did not change: those whose parts are the
    /// same allocations ([`Arc::ptr_eq`]) in both models.
    pub fn compile_from(model: Arc<Model>, previous: &Self) -> Self {
        compile::compile(model, Some(previous))
    }

    /// The model that was compiled.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What compiling took.
    pub fn stats(&self) -> CompileStats {
        self.stats
    }

    /// The match that serves a request on a listener.
    pub fn route(&self, listener: &ListenerId, request: &RequestView<'_>) -> Option<Matched<'_>> {
        let sections = self.listeners.get(listener)?.sections.most_specific(request.host)?;
        steps(request.host).find_map(|step| {
            sections.tables.iter().find_map(|section| {
                let matched = section.table.hosts.get(step)?.host.find(request)?;
                Some(Matched { settings: section.settings.as_ref(), ..matched })
            })
        })
    }

    /// The settings of a request that nothing serves, or of a connection for a server name, where they are not those of
    /// the whole proxy. Of a request that is served, [`Matched::settings`] decides.
    pub fn settings(&self, listener: &ListenerId, host: &str) -> Option<&Arc<ListenerSettings>> {
        self.listeners.get(listener)?.sections.most_specific(host)?.settings.as_ref()
    }

    /// Settings of a listener's client connections.
    pub fn client(&self, listener: &ListenerId) -> &ClientSettings {
        // Without a listener of its own settings, which is most often the case, this is one comparison.
        self.clients.get(listener).map_or(&self.model.settings.client, |settings| settings)
    }

    /// What TLS connections to a listener are opened with that [`Self::handshake`] says are opened; `None`: the default.
    pub fn tls_settings(&self, listener: &ListenerId, server_name: Option<&str>) -> Option<&Arc<TlsSettings>> {
        let listener = self.listeners.get(listener)?;
        listener.tls.most_specific(&canonical(server_name.unwrap_or_default()))?.as_ref()
    }

    /// Whether a TLS connection that was made for `server_name` (in lower case) must not serve `host`: another section of
    /// the listener has it, and perhaps asks clients for more. The answer is 421 (Gateway API, HTTPS listeners). A host
    /// that no section has is not misdirected, but nowhere.
    pub fn is_misdirected(&self, listener: &ListenerId, server_name: &str, host: &str) -> bool {
        let Some(listener) = self.listeners.get(listener) else { return false };
        let section = |name| listener.sections.most_specific(name);
        section(host).is_some_and(|wanted| !section(server_name).is_some_and(|own| std::ptr::eq(own, wanted)))
    }

    /// The same answer as [`Self::route`] by linear search through the model: its specification. For tests, and for
    /// whoever doubts an answer.
    pub fn route_by_search(&self, listener: &ListenerId, request: &RequestView<'_>) -> Option<Matched<'_>> {
        reference::route(&self.model, listener, request)
    }

    /// What becomes of a TLS connection to a listener: what the most specific name that covers `server_name` says, else
    /// it is opened with the listener's default certificate. `None`: the handshake is to be refused.
    ///
    /// `server_name` is the name of the ClientHello as it came; `None` when the client sent none.
    pub fn handshake(&self, listener: &ListenerId, server_name: Option<&str>) -> Option<Handshake<'_>> {
        let listener = self.listeners.get(listener)?;
        let found = match server_name {
            // Certificates for every name are not for none: that is what the default is for.
            None => listener.names.most_specific("").filter(|name| !matches!(name, ServerName::Certificates(_))),
            Some(name) => listener.names.most_specific(&canonical(name)),
        };
        match found {
            Some(ServerName::Passthrough(stream)) => Some(Handshake::PassedOn(stream)),
            Some(ServerName::Terminated(terminated)) => Some(Handshake::Terminated(terminated)),
            Some(ServerName::Certificates(ids)) => Some(Handshake::Opened(ids)),
            None => listener.default_certificate.as_ref().map(|id| Handshake::Opened(std::slice::from_ref(id))),
        }
    }

    /// The certificate for server names that no other covers.
    pub fn default_certificate(&self, listener: &ListenerId) -> Option<&CertificateId> {
        self.listeners.get(listener)?.default_certificate.as_ref()
    }
}

/// A server name in lower case, without the final dot.
fn canonical(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}
