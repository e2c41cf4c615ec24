//! Models in a few words: one HTTP listener, hosts, path prefixes, clusters.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use genkan_routing::model::{
    Action, Backend, Certificate, Cluster, DirectResponse, Endpoint, Filter, Filters, Forward, HeaderMatch, Host,
    HttpVersion, Listener, Match, Model, PathMatch, PathPrefix, Protocol, ProxySettings, Rule, RuleLabels, Section,
    ServiceRef, SharedMap, Stream, StreamBackend, Table, Target, Terminated, UpstreamTls, ValueMatch,
};
use genkan_routing::name::{ClusterId, HostPattern, ListenerId, ObjectRef, Origin, RuleId, TableId};
use genkan_routing::policy::load_balance::LoadBalance;
use genkan_routing::policy::retry::Retry;
use genkan_routing::policy::timeouts::Timeouts;
use genkan_routing::snapshot::Snapshot;
use http::HeaderName;

/// A model under construction. Rules are tried in the order in which they were added.
#[derive(Clone, Default)]
pub struct Site {
    model: Model,
    hosts: BTreeMap<HostPattern, Host>,
}

/// A rule under construction.
pub struct RuleBuilder {
    pub namespace: String,
    pub host: String,
    pub path: PathMatch,
    pub headers: Vec<HeaderMatch>,
    pub filters: Vec<Filter>,
    pub forward: Forward,
    pub respond: Option<u16>,
}

/// A rule for a path prefix of every host.
pub fn rule(prefix: &str) -> RuleBuilder {
    RuleBuilder {
        namespace: "default".to_owned(),
        host: String::new(),
        path: PathMatch::Prefix(PathPrefix::parse(prefix).unwrap()),
        headers: Vec::new(),
        filters: Vec::new(),
        forward: Forward {
            backends: Vec::new(),
            canary: None,
            timeouts: Arc::default(),
            retry: Arc::default(),
            affinity: None,
            buffering: None,
        },
        respond: None,
    }
}

impl RuleBuilder {
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = ValueMatch::Exact(value.to_owned());
        self.headers.push(HeaderMatch { name: HeaderName::from_static(name), value });
        self
    }

    pub fn filter(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    pub fn to(self, cluster: &str) -> Self {
        self.weighted(cluster, 1)
    }

    pub fn weighted(mut self, cluster: &str, weight: u32) -> Self {
        self.forward.backends.push(backend(cluster, weight));
        self
    }

    pub fn invalid(mut self, weight: u32) -> Self {
        let target = Target::Invalid { reason: "no such service".to_owned() };
        self.forward.backends.push(Backend { weight, target, filters: Vec::new() });
        self
    }

    pub fn timeouts(mut self, change: impl FnOnce(&mut Timeouts)) -> Self {
        change(Arc::make_mut(&mut self.forward.timeouts));
        self
    }

    pub fn retry(mut self, change: impl FnOnce(&mut Retry)) -> Self {
        change(Arc::make_mut(&mut self.forward.retry));
        self
    }

    pub fn forward(mut self, change: impl FnOnce(&mut Forward)) -> Self {
        change(&mut self.forward);
        self
    }

    pub fn respond(mut self, status: u16) -> Self {
        self.respond = Some(status);
        self
    }
}

/// A reference to a cluster.
pub fn backend(cluster: &str, weight: u32) -> Backend {
    Backend { weight, target: Target::Cluster(ClusterId::new(cluster)), filters: Vec::new() }
}

/// A listener on a port of the system's choice.
fn bound(id: &str, public_port: u16, protocol: Protocol, sections: Vec<Section>) -> Listener {
    Listener {
        id: ListenerId::new(id),
        addresses: vec![std::net::Ipv4Addr::LOCALHOST.into()],
        port: 0,
        public_port,
        protocol,
        sections,
        certificates: SharedMap::default(),
        default_certificate: None,
        passthrough: SharedMap::default(),
        terminated: SharedMap::default(),
        client_auth: None,
        unknown_name: Default::default(),
        client: None,
        tls: SharedMap::default(),
        stream: None,
    }
}

/// Everything to a cluster.
fn stream(origin: Origin, cluster: &str) -> Stream {
    let backends = vec![StreamBackend { weight: 1, target: Target::Cluster(ClusterId::new(cluster)) }];
    Stream { origin, accept_proxy_protocol: false, send_proxy_protocol: false, settings: None, backends }
}

impl Site {
    pub fn new() -> Self {
        Self::default()
    }

    /// A cluster of HTTP/1 endpoints.
    pub fn cluster(self, name: &str, endpoints: &[SocketAddr]) -> Self {
        self.cluster_with(name, endpoints, |_| {})
    }

    /// A cluster whose endpoints speak HTTP/2 in plaintext.
    pub fn h2c_cluster(self, name: &str, endpoints: &[SocketAddr]) -> Self {
        self.cluster_with(name, endpoints, |cluster| cluster.version = HttpVersion::Http2)
    }

    /// A cluster whose endpoints speak TLS with a certificate that is not verified.
    pub fn tls_cluster(self, name: &str, endpoints: &[SocketAddr], version: HttpVersion) -> Self {
        self.cluster_with(name, endpoints, |cluster| {
            cluster.tls = Some(UpstreamTls::UNVERIFIED);
            cluster.version = version;
        })
    }

    pub fn cluster_with(mut self, name: &str, endpoints: &[SocketAddr], change: impl FnOnce(&mut Cluster)) -> Self {
        let mut cluster = Cluster {
            id: ClusterId::new(name),
            name: format!("default-{name}-80").into(),
            service: ServiceRef { namespace: "default".into(), name: name.into(), port: "80".into() },
            version: HttpVersion::Http1,
            tls: None,
            load_balance: LoadBalance::RoundRobin,
            affinity: None,
            retry_budget: None,
            health: None,
            circuit_breaker: None,
            endpoints: endpoints.iter().map(|address| Endpoint { address: *address }).collect(),
        };
        cluster.endpoints.sort();
        change(&mut cluster);
        self.model.clusters.insert(cluster.id.clone(), Arc::new(cluster));
        self
    }

    pub fn rule(mut self, builder: RuleBuilder) -> Self {
        let id = RuleId::new(format!("rule-{}", self.model.rules.len()));
        let origin = Origin::new(ObjectRef::new("Ingress", &*builder.namespace, "web"), "spec.rules[0]");
        let action = match builder.respond {
            Some(status) => Action::Respond(DirectResponse { status }),
            None => Action::Forward(builder.forward),
        };
        let labels = RuleLabels { namespace: "default".into(), ingress: "web".into(), ..RuleLabels::default() };
        let filters = Filters::sorted(builder.filters);
        let rule = Rule { id: id.clone(), origin, labels, filters, action, access_log: true };
        self.model.rules.insert(id.clone(), Arc::new(rule));
        let host = HostPattern::parse_one_label(&builder.host).unwrap();
        let matched = Match { path: builder.path, method: None, headers: builder.headers, query: Vec::new(), rule: id };
        self.hosts.entry(host).or_default().matches.push(matched);
        self
    }

    pub fn settings(mut self, change: impl FnOnce(&mut ProxySettings)) -> Self {
        change(Arc::make_mut(&mut self.model.settings));
        self
    }

    /// A listener of TCP or UDP on a port of the system's choice, that leads to a cluster.
    pub fn stream(mut self, id: &str, protocol: Protocol, cluster: &str, change: impl FnOnce(&mut Stream)) -> Self {
        let origin = Origin::new(ObjectRef::new("ConfigMap", "default", "services"), format!("data[{id}]"));
        let mut stream = stream(origin, cluster);
        change(&mut stream);
        let listener = Listener { stream: Some(Arc::new(stream)), ..bound(id, 9000, protocol, Vec::new()) };
        self.model.listeners.insert(listener.id.clone(), Arc::new(listener));
        self
    }

    /// An HTTPS listener `https` on a port of the system's choice, that opens connections with this certificate, for
    /// the hosts of the plaintext one.
    pub fn https(mut self, certificate: &Arc<Certificate>) -> Self {
        let listener = Listener {
            default_certificate: Some(certificate.id.clone()),
            ..bound("https", 443, Protocol::Https, vec![Section::new(HostPattern::Any, TableId::new("t"))])
        };
        self.model.certificates.insert(certificate.id.clone(), Arc::clone(certificate));
        self.model.listeners.insert(listener.id.clone(), Arc::new(listener));
        self
    }

    /// Passes TLS connections for a server name on to a cluster. The empty name stands for every other, and for none.
    pub fn passthrough(mut self, name: &str, cluster: &str, change: impl FnOnce(&mut Stream)) -> Self {
        let origin = Origin::new(ObjectRef::new("Ingress", "default", "passing"), "spec.rules[0]");
        let mut stream = stream(origin, cluster);
        change(&mut stream);
        let listener = self.model.listeners.get_mut(&ListenerId::new("https")).expect("call https() before");
        let name = HostPattern::parse_suffix(name).unwrap();
        Arc::make_mut(listener).passthrough.insert(name, Arc::new(stream));
        self
    }

    /// Opens TLS connections for a server name with this certificate, and passes what they carry on to a cluster.
    pub fn terminated(self, name: &str, certificate: &Arc<Certificate>, cluster: &str) -> Self {
        self.terminated_with(name, certificate, cluster, |_| {})
    }

    pub fn terminated_with(
        mut self,
        name: &str,
        certificate: &Arc<Certificate>,
        cluster: &str,
        change: impl FnOnce(&mut Stream),
    ) -> Self {
        let origin = Origin::new(ObjectRef::new("TLSRoute", "default", "opened"), "spec.rules[0]");
        let mut stream = stream(origin, cluster);
        change(&mut stream);
        let terminated = Terminated { certificates: vec![certificate.id.clone()], stream: Arc::new(stream) };
        self.model.certificates.insert(certificate.id.clone(), Arc::clone(certificate));
        let name = HostPattern::parse_suffix(name).unwrap();
        self.https_listener(|listener| drop(listener.terminated.insert(name, Arc::new(terminated))))
    }

    /// Changes the HTTPS listener.
    pub fn https_listener(self, change: impl FnOnce(&mut Listener)) -> Self {
        self.listener("https", change)
    }

    /// Gives these addresses to the listeners that name them, alone.
    pub fn own_addresses(mut self, addresses: &[IpAddr]) -> Self {
        self.model.own_addresses = Arc::new(addresses.iter().copied().collect());
        self
    }

    /// Changes a listener that was added before.
    pub fn listener(mut self, id: &str, change: impl FnOnce(&mut Listener)) -> Self {
        change(Arc::make_mut(self.model.listeners.get_mut(&ListenerId::new(id)).expect("it was added before")));
        self
    }

    /// The snapshot, with one plaintext listener on a port of the system's choice.
    pub fn snapshot(mut self) -> Arc<Snapshot> {
        let table = TableId::new("t");
        let hosts = self.hosts.into_iter().map(|(pattern, host)| (pattern, Arc::new(host))).collect();
        self.model.tables.insert(table.clone(), Arc::new(Table { hosts }));
        let listener = bound("http", 80, Protocol::Http, vec![Section::new(HostPattern::Any, table)]);
        self.model.listeners.insert(listener.id.clone(), Arc::new(listener));
        Arc::new(Snapshot::compile(Arc::new(self.model)))
    }
}
