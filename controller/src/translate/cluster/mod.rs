//! Clusters: a Service's port to endpoints, protocol and balancing. One unit of work each, so that a change of endpoints
//! touches no rule.

mod endpoints;
mod external_name;
pub(crate) mod protocol;
mod topology;

use std::fmt;
use std::sync::Arc;

use genkan_routing::model::{ClientCertificate, Cluster, HttpVersion, ServiceRef, UpstreamTls, Verify};
use genkan_routing::name::{ClusterId, Origin};
use genkan_routing::policy::affinity::Affinity;
use genkan_routing::policy::health::{CircuitBreaker, Counted, Health};
use genkan_routing::policy::load_balance::{HashKey, LoadBalance};
use genkan_routing::report::Problem;
use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub use external_name::{external_name, external_names};

use super::gateway::backend_tls;
use super::gateway::traffic_policy::{self, TrafficPolicy};
use super::memo::Output;
use super::reader::Reader;
use crate::resources::{NamespacedName, PortProtocol, Service};

/// What a cluster is made from. Equal specs make one cluster; anything that sets two apart is in [`ClusterSpec::id`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusterSpec {
    /// What passes through it.
    pub usage: Usage,
    /// The Service and its port as the route writes it.
    pub service: ServiceRef,
    /// What the endpoints speak; `None` leaves it to the Service port's `appProtocol`.
    pub transport: Option<Transport>,
    /// What endpoints see of us where a policy asks for TLS.
    pub shown: Shown,
    /// How an endpoint is chosen.
    pub load_balance: LoadBalance,
    /// How clients are kept with one endpoint.
    pub sessions: Sessions,
    /// Which endpoints are passed over.
    pub health: Option<Counted<Arc<Health>>>,
    /// The limits of requests under way.
    pub circuit_breaker: Option<Counted<CircuitBreaker>>,
    /// The name outside the cluster that is meant, where `service` names no Service but an XBackend. The XBackend is read
    /// with the reference to it.
    pub external: Option<Arc<str>>,
    /// Send to the Service's own address instead of its endpoints (`service-upstream`).
    pub service_upstream: bool,
}

/// What passes through a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Usage {
    /// HTTP requests.
    #[default]
    Http,
    /// Calls of gRPC: HTTP/2, whatever the Service says.
    Grpc,
    /// TCP connections as they are.
    Tcp,
    /// What TLS carried that ended here. Endpoints may get it in TLS again.
    Opened,
    /// UDP sessions.
    Udp,
}

/// How clients are kept with one endpoint of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sessions {
    /// As the XBackendTrafficPolicy of the Service says, if there is one.
    #[default]
    Service,
    /// Not at all.
    Off,
    /// As a policy says for those who come by some route.
    By {
        /// What sets it apart from what other policies say.
        id: Arc<str>,
        /// It.
        affinity: Arc<Affinity>,
    },
}

/// What is shown to an endpoint that asks for a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Shown {
    /// Nothing.
    #[default]
    Nothing,
    /// A certificate.
    Certificate(ClientCertificate),
    /// There should be a certificate and there is none that can be used.
    Broken,
}

/// What endpoints speak.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Transport {
    /// The HTTP version.
    pub version: HttpVersion,
    /// TLS towards them; `None` is plaintext.
    pub tls: Option<UpstreamTls>,
}

impl ClusterSpec {
    /// A Service's port with nothing else said about it.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>, port: impl Into<Arc<str>>) -> Self {
        Self {
            usage: Usage::Http,
            service: ServiceRef { namespace: namespace.into(), name: name.into(), port: port.into() },
            transport: None,
            shown: Shown::Nothing,
            load_balance: LoadBalance::default(),
            sessions: Sessions::default(),
            health: None,
            circuit_breaker: None,
            external: None,
            service_upstream: false,
        }
    }

    /// The Service that is meant, if it is one.
    pub fn service_name(&self) -> Option<NamespacedName> {
        let name = || NamespacedName::new(self.service.namespace.clone(), self.service.name.clone());
        self.external.is_none().then(name)
    }

    /// The cluster's id: `default/web:80`, of an XBackend `xbackend/default/web:80+name=example.org`, with `+` and a word for every setting that is not the default.
    pub fn id(&self) -> ClusterId {
        ClusterId::new(self.to_string())
    }
}

impl fmt::Display for ClusterSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServiceRef { namespace, name, port } = &self.service;
        match &self.external {
            None => write!(f, "{namespace}/{name}:{port}")?,
            Some(external) => write!(f, "xbackend/{namespace}/{name}:{port}+name={external}")?,
        }
        f.write_str(self.usage.suffix())?;
        if let Some(Transport { version, tls }) = &self.transport {
            f.write_str(match (version, tls) {
                (HttpVersion::Http1, None) => "+http",
                (HttpVersion::Http1, Some(_)) => "+https",
                (HttpVersion::Http2, None) => "+grpc",
                (HttpVersion::Http2, Some(_)) => "+grpcs",
            })?;
            if let Some(UpstreamTls { server_name, verify, client }) = tls {
                if let Some(name) = server_name {
                    write!(f, "+sni={name}")?;
                }
                match verify {
                    Verify::Nothing => {}
                    Verify::System => f.write_str("+verify")?,
                    Verify::Trust(trust) => write!(f, "+verify={}", trust.id)?,
                    Verify::Refused(_) => f.write_str("+refused")?,
                }
                if let Some(client) = client {
                    write!(f, "+client={}", client.id)?;
                }
            }
        }
        f.write_str(&self.shown.suffix())?;
        match &self.load_balance {
            LoadBalance::RoundRobin => {}
            LoadBalance::LeastConnections => f.write_str("+least-connections")?,
            LoadBalance::PeakEwma => f.write_str("+ewma")?,
            LoadBalance::ConsistentHash(key) => match key {
                HashKey::ClientAddress => f.write_str("+hash=address")?,
                HashKey::RequestUri => f.write_str("+hash=uri")?,
                HashKey::Host => f.write_str("+hash=host")?,
                HashKey::Header(name) => write!(f, "+hash=header:{name}")?,
                HashKey::Cookie(name) => write!(f, "+hash=cookie:{name}")?,
            },
        }
        match &self.sessions {
            Sessions::Service => {}
            Sessions::Off => f.write_str("+affinity=none")?,
            Sessions::By { id, .. } => write!(f, "+affinity={id}")?,
        }
        if let Some(Counted { id, .. }) = &self.health {
            write!(f, "+health={id}")?;
        }
        if let Some(Counted { id, .. }) = &self.circuit_breaker {
            write!(f, "+breaker={id}")?;
        }
        f.write_str(if self.service_upstream { "+service" } else { "" })
    }
}

impl Shown {
    /// What tells it from others in ids.
    pub fn suffix(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Certificate(certificate) => format!("+shown={}", certificate.id),
            Self::Broken => "+shown=none".to_owned(),
        }
    }
}

impl Usage {
    fn suffix(self) -> &'static str {
        match self {
            Self::Http => "",
            Self::Grpc => "+h2",
            Self::Tcp => "+tcp",
            Self::Opened => "+opened",
            Self::Udp => "+udp",
        }
    }

    /// What begins the names of its clusters, as of ingress-nginx's upstreams.
    fn prefix(self) -> &'static str {
        match self {
            Self::Http | Self::Grpc => "",
            Self::Tcp | Self::Opened => "tcp-",
            Self::Udp => "udp-",
        }
    }

    /// The protocol that a port must have.
    fn protocol(self) -> PortProtocol {
        match self {
            Self::Http | Self::Grpc | Self::Tcp | Self::Opened => PortProtocol::Tcp,
            Self::Udp => PortProtocol::Udp,
        }
    }
}

/// A cluster, and what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// The cluster; without endpoints where something is wrong.
    pub cluster: Arc<Cluster>,
    /// What is wrong.
    pub issues: Vec<ClusterIssue>,
}

impl Output for Built {
    fn share(&mut self, old: &Self) {
        if self.cluster == old.cluster {
            self.cluster = old.cluster.clone();
        }
    }
}

/// Why a cluster is not what its referrers want. Told at each of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterIssue {
    /// There is no such Service.
    #[error("Service {0} does not exist")]
    NoService(NamespacedName),
    /// The Service has no such port.
    #[error("Service {service} has no port {port}")]
    NoPort {
        /// The Service.
        service: NamespacedName,
        /// The port as the route writes it.
        port: Arc<str>,
        /// The ports that it has.
        known: String,
    },
    /// Nothing is ready.
    #[error("Service {0} has no ready endpoint")]
    NoEndpoints(NamespacedName),
    /// An EndpointSlice of names.
    #[error("EndpointSlice {0} has addressType FQDN, which has no defined meaning; its endpoints are not used")]
    NamesAsEndpoints(NamespacedName),
    /// `service-upstream` on a Service without an address.
    #[error("Service {0} is headless and has no address for service-upstream; its endpoints are used")]
    NoAddress(NamespacedName),
    /// An ExternalName that is not served.
    #[error("the external name {name:?} of {object} is refused: {why}")]
    ExternalNameRefused {
        /// Whose name it is, with its kind.
        object: String,
        /// The name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// An ExternalName without addresses.
    #[error("the external name {name:?} of {object} has no address")]
    ExternalNameUnresolved {
        /// Whose name it is, with its kind.
        object: String,
        /// The name.
        name: String,
    },
    /// `sessionAffinity: ClientIP`, which is kube-proxy's, where requests go past it.
    #[error("sessionAffinity ClientIP of Service {0} does not act on requests that go straight to its endpoints")]
    AffinityNotUsed(NamespacedName),
    /// An `appProtocol` that Genkan does not speak.
    #[error("appProtocol {protocol:?} of Service {service} is not known; HTTP/1.1 in plaintext is spoken")]
    UnknownProtocol {
        /// The Service.
        service: NamespacedName,
        /// `spec.ports[].appProtocol`.
        protocol: String,
    },
}

impl ClusterIssue {
    /// The problem at a field that refers to the cluster.
    pub fn problem(&self, origin: &Origin, usage: Usage) -> Problem {
        let consequence = match usage {
            // The request itself goes elsewhere.
            Usage::Http | Usage::Grpc if origin.field.ends_with(".requestMirror.backendRef") => {
                "nothing is mirrored there"
            }
            Usage::Http | Usage::Grpc => "requests are answered with 503",
            Usage::Tcp | Usage::Opened => "connections are closed",
            Usage::Udp => "datagrams are dropped",
        };
        self.problem_as(origin, consequence)
    }

    /// The problem at a field that refers to the cluster; `consequence` is what follows from a cluster without
    /// endpoints.
    pub fn problem_as(&self, origin: &Origin, consequence: &str) -> Problem {
        let (origin, mut message) = (origin.clone(), self.to_string());
        if self.leaves_it_without_endpoints() {
            message = format!("{message}; {consequence}");
        }
        match self {
            Self::NoService(_) => Problem::error(origin, "ServiceNotFound", message)
                .with_mend("create the Service, or name one of the same namespace that exists"),
            Self::NoPort { known, .. } => {
                let problem = Problem::error(origin, "ServicePortNotFound", message);
                if known.is_empty() { problem } else { problem.with_mend(format!("its ports are {known}")) }
            }
            Self::NoEndpoints(_) => Problem::warning(origin, "NoEndpoints", message)
                .with_mend("see whether its selector names Pods and whether they are ready"),
            Self::NamesAsEndpoints(_) => Problem::warning(origin, "UnsupportedAddressType", message)
                .with_mend("write addresses, or use a Service of type ExternalName"),
            Self::NoAddress(_) => {
                Problem::warning(origin, "NoServiceAddress", message).with_mend("remove service-upstream")
            }
            Self::ExternalNameRefused { .. } => Problem::error(origin, "ExternalNameRefused", message),
            Self::ExternalNameUnresolved { .. } => Problem::warning(origin, "ExternalNameUnresolved", message)
                .with_mend("see whether the name is right and whether the name servers of this machine know it"),
            Self::UnknownProtocol { .. } => Problem::warning(origin, "UnknownAppProtocol", message),
            Self::AffinityNotUsed(_) => Problem::info(origin, "SessionAffinityNotUsed", message).with_mend(
                "for HTTP set the annotation upstream-hash-by to \"$remote_addr\", or service-upstream, with which \
                 kube-proxy chooses",
            ),
        }
    }

    fn leaves_it_without_endpoints(&self) -> bool {
        match self {
            Self::NoAddress(_)
            | Self::NamesAsEndpoints(_)
            | Self::UnknownProtocol { .. }
            | Self::AffinityNotUsed(_) => false,
            Self::NoService(_)
            | Self::NoPort { .. }
            | Self::NoEndpoints(_)
            | Self::ExternalNameRefused { .. }
            | Self::ExternalNameUnresolved { .. } => true,
        }
    }
}

/// Builds the cluster of a spec. What is missing leaves it without endpoints.
pub fn build(id: ClusterId, spec: &ClusterSpec, reader: &Reader<'_>) -> Built {
    let name = NamespacedName::new(spec.service.namespace.clone(), spec.service.name.clone());
    let mut issues = Vec::new();
    let service = if spec.external.is_none() { reader.service(&name) } else { None };
    let port = service.and_then(|service| find_port(service, spec));
    let mut transport = match (&spec.transport, spec.usage) {
        (Some(transport), _) => transport.clone(),
        (None, Usage::Http) => protocol::of_port(&name, port, &mut issues),
        (None, Usage::Grpc) => {
            // A word that is not known changes nothing.
            let Transport { tls, .. } = protocol::of_port(&name, port, &mut Vec::new());
            Transport { version: HttpVersion::Http2, tls }
        }
        // Bytes are passed on whatever they mean.
        (None, Usage::Tcp | Usage::Opened | Usage::Udp) => Transport::default(),
    };
    let is_in_the_open = matches!(spec.usage, Usage::Http | Usage::Grpc | Usage::Opened);
    if spec.transport.is_none() && spec.external.is_none() && is_in_the_open {
        let tls = backend_tls::of_port(&name, port, &spec.shown, reader);
        transport.tls = tls.or(transport.tls);
    }
    let policy = match spec.usage {
        _ if spec.external.is_some() => TrafficPolicy::default(),
        Usage::Http | Usage::Grpc => traffic_policy::of_service(&name, reader),
        Usage::Tcp | Usage::Opened | Usage::Udp => TrafficPolicy::default(),
    };
    let endpoints = match (&spec.external, service) {
        (Some(external), _) => external_name::of_backend(&name, external, spec, reader),
        (None, None) => Err(ClusterIssue::NoService(name)),
        (None, Some(service)) => match (&service.external_name, port) {
            (Some(external), port) => external_name::of_service(&name, external, port, spec, reader),
            (None, None) => Err(no_port(&name, service, spec)),
            (None, Some(port)) => endpoints::of_service(&name, service, port, spec, reader, &mut issues),
        },
    };
    let endpoints = endpoints.unwrap_or_else(|issue| {
        issues.push(issue);
        Vec::new()
    });
    let ServiceRef { namespace, name, port } = &spec.service;
    let cluster = Cluster {
        id,
        name: format!("{}{namespace}-{name}-{port}", spec.usage.prefix()).into(),
        service: spec.service.clone(),
        version: transport.version,
        tls: transport.tls,
        load_balance: spec.load_balance.clone(),
        affinity: match &spec.sessions {
            Sessions::Service => policy.affinity,
            Sessions::Off => None,
            Sessions::By { affinity, .. } => Some(Arc::clone(affinity)),
        },
        retry_budget: policy.retry_budget,
        health: spec.health.clone(),
        circuit_breaker: spec.circuit_breaker.clone(),
        endpoints,
    };
    Built { cluster: Arc::new(cluster), issues }
}

fn no_port(name: &NamespacedName, service: &Service, spec: &ClusterSpec) -> ClusterIssue {
    let known: Vec<_> = ports(service, spec.usage.protocol())
        .map(|port| match &port.name {
            Some(name) => format!("{} ({name})", port.port),
            None => port.port.to_string(),
        })
        .collect();
    ClusterIssue::NoPort { service: name.clone(), port: spec.service.port.clone(), known: known.join(", ") }
}

/// The port of a Service that a route means: by number, then by `targetPort`, then by name; for TCP and UDP by number
/// or name only (ingress-nginx).
fn find_port<'s>(service: &'s Service, spec: &ClusterSpec) -> Option<&'s ServicePort> {
    let wanted = &*spec.service.port;
    let ports = || ports(service, spec.usage.protocol());
    let by_number = |port: &&ServicePort| wanted.parse() == Ok(port.port);
    let by_target = |port: &&ServicePort| match &port.target_port {
        Some(IntOrString::Int(number)) => wanted.parse() == Ok(*number),
        Some(IntOrString::String(name)) => name == wanted,
        None => false,
    };
    let by_name = |port: &&ServicePort| port.name.as_deref() == Some(wanted);
    let of_target = || if spec.usage == Usage::Http { ports().find(by_target) } else { None };
    ports().find(by_number).or_else(of_target).or_else(|| ports().find(by_name))
}

/// The number of a Service's first TCP port.
pub fn first_port(service: &Service) -> Option<i32> {
    ports(service, PortProtocol::Tcp).next().map(|port| port.port)
}

/// The ports of a Service that have a protocol.
fn ports(service: &Service, wanted: PortProtocol) -> impl Iterator<Item = &ServicePort> {
    service.ports.iter().filter(move |port| PortProtocol::parse(port.protocol.as_deref()) == wanted)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1;

    use super::*;

    fn port(number: i32, target: Option<IntOrString>, name: Option<&str>) -> ServicePort {
        ServicePort { port: number, target_port: target, name: name.map(str::to_owned), ..ServicePort::default() }
    }

    #[test]
    fn a_port_is_found_by_number_then_target_then_name() {
        let ports = vec![
            port(8080, Some(IntOrString::Int(80)), Some("metrics")),
            port(80, Some(IntOrString::String("web".to_owned())), Some("http")),
            port(9090, None, Some("web")),
        ];
        let spec = v1::ServiceSpec { ports: Some(ports), ..v1::ServiceSpec::default() };
        let service = v1::Service { spec: Some(spec), ..v1::Service::default() }.into();
        for (wanted, found) in
            [("80", Some(80)), ("8080", Some(8080)), ("web", Some(80)), ("metrics", Some(8080)), ("x", None)]
        {
            let spec = ClusterSpec::new("default", "web", wanted);
            assert_eq!(find_port(&service, &spec).map(|port| port.port), found, "{wanted}");
        }
    }

    #[test]
    fn a_port_of_tcp_or_udp_is_found_by_number_or_name_and_must_have_the_protocol() {
        let with = |protocol: &str, port| ServicePort { protocol: Some(protocol.to_owned()), ..port };
        let ports = vec![
            with("UDP", port(53, Some(IntOrString::Int(1053)), Some("dns"))),
            with("TCP", port(53, Some(IntOrString::Int(1054)), Some("dns-tcp"))),
        ];
        let spec = v1::ServiceSpec { ports: Some(ports), ..v1::ServiceSpec::default() };
        let service = v1::Service { spec: Some(spec), ..v1::Service::default() }.into();
        for (wanted, usage, found) in [
            ("53", Usage::Udp, Some("dns")),
            ("53", Usage::Tcp, Some("dns-tcp")),
            ("dns", Usage::Udp, Some("dns")),
            ("dns", Usage::Tcp, None),
            ("1053", Usage::Udp, None),
        ] {
            let spec = ClusterSpec { usage, ..ClusterSpec::new("default", "dns", wanted) };
            let found_port = find_port(&service, &spec).and_then(|port| port.name.as_deref());
            assert_eq!(found_port, found, "{wanted} {usage:?}");
        }
    }

    #[test]
    fn ids_tell_settings_apart() {
        let plain = ClusterSpec::new("default", "web", "80");
        assert_eq!(plain.id().as_str(), "default/web:80");
        let tls = UpstreamTls { server_name: Some("a.b".into()), verify: Verify::System, client: None };
        let transport = Some(Transport { version: HttpVersion::Http2, tls: Some(tls) });
        let rich = ClusterSpec { transport, load_balance: LoadBalance::PeakEwma, service_upstream: true, ..plain };
        assert_eq!(rich.id().as_str(), "default/web:80+grpcs+sni=a.b+verify+ewma+service");
        let udp = ClusterSpec { usage: Usage::Udp, ..ClusterSpec::new("default", "dns", "53") };
        assert_eq!(udp.id().as_str(), "default/dns:53+udp");
    }
}
