//! Reader: access to resources that remembers what was asked for, also what was not there.
//!
//! Every unit of work reads the world through a fresh [`Reader`]. What it asked for becomes the unit's
//! [`Dependency`] set; a change makes exactly those units stale whose set it meets. The reader decides nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use gateway_api::apis::experimental::gatewayclasses::GatewayClass;
use gateway_api::apis::experimental::gateways::Gateway;
use gateway_api::apis::experimental::grpcroutes::GrpcRoute;
use gateway_api::apis::experimental::httproutes::HttpRoute;
use gateway_api::apis::experimental::xbackendtrafficpolicies::XBackendTrafficPolicy;
use gateway_api::apis::standard::backendtlspolicies::BackendTlsPolicy;
use gateway_api::apis::standard::referencegrants::ReferenceGrant;
use genkan_policies::{GatewayParameters, ListenerPolicy, RoutePolicy};
use genkan_routing::model::Trust;
use genkan_routing::name::{HostPattern, Origin};
use genkan_routing::policy::retry::Retry;
use genkan_routing::policy::timeouts::Timeouts;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::networking::v1::IngressClass;
use rustc_hash::FxHashSet;

use super::assembly::ClusterWant;
use super::cluster::ClusterSpec;
use super::config::Config;
use super::gateway::ParentKey;
use super::world::World;
use crate::authorities::AuthoritiesError;
use crate::resources::{
    AuthoritiesOutcome, CertificateOutcome, EndpointSlice, Ingress, Key, Kind, ListenerSet, NamespacedName, Place,
    Resources, Secret, SecretError, Service, StreamRoute, Unreadable, XBackend,
};
use crate::settings::Settings;

/// Something that a unit of work looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependency {
    /// One object, also when it was absent.
    Object(Key),
    /// The list of all objects of a kind.
    All(Kind),
    /// The list of a kind's objects in a namespace.
    AllIn(Kind, Arc<str>),
    /// The policies of a kind that target a Service.
    PoliciesOf(Kind, NamespacedName),
    /// A Service and its EndpointSlices.
    Endpoints(NamespacedName),
    /// Whether the API server lets us read a kind.
    Readable(Kind),
    /// The addresses of a name outside the cluster.
    Dns(Arc<str>),
    /// Where we are.
    Place,
    /// The settings that the ConfigMap gives.
    Config,
    /// Whether a host of Ingresses has a certificate entry.
    IngressTls(HostPattern),
    /// What routes may attach to at a Gateway or ListenerSet: its listeners as they stand beside all others.
    Parent(ParentKey),
    /// Which Gateways take routes that do not name them.
    DefaultGateways,
    /// Through which Gateways a Service or an XBackend gets requests.
    Users(Key),
    /// Who answers what no Ingress matches.
    IngressDefaultBackend,
}

impl Dependency {
    /// Whether nearly every unit has it. Such are not recorded for each of them: when one changes, which is rare,
    /// everything is redone.
    pub fn is_common(&self) -> bool {
        matches!(self, Self::Place | Self::Config | Self::IngressDefaultBackend)
    }
}

/// The dependencies that a round of changes meets.
pub type Dirty = FxHashSet<Dependency>;

/// What a unit of work looked at: sorted, without duplicates. Kept for every unit, so it takes no more than it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reads(Box<[Dependency]>);

impl Reads {
    /// All of it, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Dependency> {
        self.0.iter()
    }

    /// Whether the unit looked at this.
    pub fn contains(&self, dependency: &Dependency) -> bool {
        self.0.binary_search(dependency).is_ok()
    }
}

/// Access to the world for one unit of work; see the [module](self).
#[derive(Debug)]
pub struct Reader<'a> {
    world: &'a World<'a>,
    reads: RefCell<FxHashSet<Dependency>>,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $get:ident: $type:ty, $field:ident, $kind:ident;)*) => {
        /// One object by name. An absent object is a dependency too.
        impl<'a> Reader<'a> {
            $(
                $(#[$doc])*
                pub fn $get(&self, name: &NamespacedName) -> Option<&'a Arc<$type>> {
                    let key = Key { kind: Kind::$kind, name: name.clone() };
                    let lent = || self.world.lent.and_then(|lent| lent.$field.get(name));
                    let found = self.world.resources.$field.get(name).or_else(lent);
                    if found.is_none() {
                        self.world.note_missing(&key);
                    }
                    self.note(Dependency::Object(key));
                    found
                }
            )*
        }
    };
}

getters! {
    /// An Ingress.
    ingress: Ingress, ingresses, Ingress;
    /// An IngressClass; its namespace is empty.
    ingress_class: IngressClass, ingress_classes, IngressClass;
    /// A Service.
    service: Service, services, Service;
    /// A Secret.
    secret: Secret, secrets, Secret;
    /// A ConfigMap.
    config_map: ConfigMap, config_maps, ConfigMap;
    /// A Namespace; its namespace is empty.
    namespace: Namespace, namespaces, Namespace;
    /// A GatewayClass; its namespace is empty.
    gateway_class: GatewayClass, gateway_classes, GatewayClass;
    /// A Gateway.
    gateway: Gateway, gateways, Gateway;
    /// An HTTPRoute.
    http_route: HttpRoute, http_routes, HttpRoute;
    /// A ListenerSet.
    listener_set: ListenerSet, listener_sets, ListenerSet;
    /// A GRPCRoute.
    grpc_route: GrpcRoute, grpc_routes, GrpcRoute;
    /// A TLSRoute.
    tls_route: StreamRoute, tls_routes, TlsRoute;
    /// A TCPRoute.
    tcp_route: StreamRoute, tcp_routes, TcpRoute;
    /// A UDPRoute.
    udp_route: StreamRoute, udp_routes, UdpRoute;
    /// A BackendTLSPolicy.
    backend_tls_policy: BackendTlsPolicy, backend_tls_policies, BackendTlsPolicy;
    /// An XBackendTrafficPolicy.
    x_backend_traffic_policy: XBackendTrafficPolicy, x_backend_traffic_policies, XBackendTrafficPolicy;
    /// An XBackend.
    x_backend: XBackend, x_backends, XBackend;
    /// How Gateways get their addresses.
    gateway_parameters: GatewayParameters, gateway_parameters, GatewayParameters;
    /// A ListenerPolicy.
    listener_policy: ListenerPolicy, listener_policies, ListenerPolicy;
    /// A RoutePolicy.
    route_policy: RoutePolicy, route_policies, RoutePolicy;
}

impl<'a> Reader<'a> {
    /// A reader that has recorded nothing.
    pub fn new(world: &'a World<'a>) -> Self {
        Self { world, reads: RefCell::default() }
    }

    /// What was asked for.
    pub fn into_reads(self) -> Reads {
        let mut reads: Box<[_]> = self.reads.into_inner().into_iter().collect();
        reads.sort_unstable();
        Reads(reads)
    }

    /// Whether `--watch-namespace-selector` selects a namespace.
    pub fn is_watched(&self, namespace: &Arc<str>) -> bool {
        let Some(selector) = &self.settings().namespace_selector else { return true };
        let none = BTreeMap::new();
        let namespace = self.namespace(&NamespacedName::new("", namespace.clone()));
        namespace.is_some_and(|namespace| selector.matches(namespace.metadata.labels.as_ref().unwrap_or(&none)))
    }

    /// Whether there is an object for a unit of work of its own, in a namespace that is watched. The unit is redone
    /// whenever the object comes or goes, so that is nothing read: of units whose objects are gone nothing stays.
    pub fn is_served(&self, kind: Kind, name: &NamespacedName) -> bool {
        let key = Key { kind, name: name.clone() };
        self.world.resources.contains(&key) && (!kind.namespaced() || self.is_watched(&name.namespace))
    }

    /// Whether the API server lets us read a kind. Always, for files.
    pub fn can_read(&self, kind: Kind) -> bool {
        self.note(Dependency::Readable(kind));
        !self.world.resources.unreadable.contains(&kind)
    }

    /// What can't be read of the newest version of a route or policy, if anything.
    pub fn unreadable(&self, object: &Key) -> Option<&'a Unreadable> {
        self.note(Dependency::Object(object.clone()));
        self.world.resources.unreadable_objects.get(object)
    }

    /// Records a dependency of something that is not read through this reader.
    pub fn note(&self, dependency: Dependency) {
        if !dependency.is_common() {
            self.reads.borrow_mut().insert(dependency);
        }
    }

    /// The flags. They never change while a translator lives, so they are no dependency.
    pub fn settings(&self) -> &'a Settings {
        self.world.settings
    }

    /// All objects of a kind: note the kind, then pick its map.
    pub fn all(&self, kind: Kind) -> &'a Resources {
        self.note(Dependency::All(kind));
        self.world.resources
    }

    /// The ReferenceGrants of a namespace.
    pub fn reference_grants_in(&self, namespace: &Arc<str>) -> impl Iterator<Item = &'a Arc<ReferenceGrant>> + use<'a> {
        self.note(Dependency::AllIn(Kind::ReferenceGrant, namespace.clone()));
        let namespace = namespace.clone();
        self.world
            .resources
            .reference_grants
            .range(NamespacedName::new(namespace.clone(), "")..)
            .take_while(move |(name, _)| name.namespace == namespace)
            .map(|(_, grant)| grant)
    }

    /// The XBackendTrafficPolicies that target a Service.
    pub fn x_backend_traffic_policies_of(
        &self,
        service: &NamespacedName,
    ) -> impl Iterator<Item = (&'a NamespacedName, &'a Arc<XBackendTrafficPolicy>)> + use<'a> {
        let policies = &self.world.resources.x_backend_traffic_policies;
        self.policies_of(Kind::XBackendTrafficPolicy, service).filter_map(|name| policies.get_key_value(name))
    }

    /// The BackendTLSPolicies that target a Service.
    pub fn backend_tls_policies_of(
        &self,
        service: &NamespacedName,
    ) -> impl Iterator<Item = (&'a NamespacedName, &'a Arc<BackendTlsPolicy>)> + use<'a> {
        let policies = &self.world.resources.backend_tls_policies;
        self.policies_of(Kind::BackendTlsPolicy, service).filter_map(|name| policies.get_key_value(name))
    }

    fn policies_of(&self, kind: Kind, service: &NamespacedName) -> impl Iterator<Item = &'a NamespacedName> + use<'a> {
        self.note(Dependency::PoliciesOf(kind, service.clone()));
        self.world.policies.of(kind, service)
    }

    /// The EndpointSlices of a Service, in order of name. The dependency covers the Service itself, which whoever asks
    /// has read: one dependency instead of two for every cluster.
    pub fn endpoint_slices(&self, service: &NamespacedName) -> impl Iterator<Item = &'a Arc<EndpointSlice>> + use<'a> {
        self.reads.borrow_mut().remove(&Dependency::Object(Key { kind: Kind::Service, name: service.clone() }));
        self.note(Dependency::Endpoints(service.clone()));
        let resources = self.world.resources;
        self.world.slices.of(service).filter_map(move |slice| resources.endpoint_slices.get(slice))
    }

    /// The addresses of a name outside the cluster; `None` when it was never resolved.
    pub fn dns(&self, name: &Arc<str>) -> Option<&'a [IpAddr]> {
        self.note(Dependency::Dns(name.clone()));
        self.world.resources.dns.get(name).map(Vec::as_slice)
    }

    /// Where we are, if endpoints are chosen by that.
    pub fn place(&self) -> Option<&'a Place> {
        self.note(Dependency::Place);
        self.world.resources.place.as_ref()
    }

    /// The certificate of a Secret.
    pub fn certificate(&self, secret: &NamespacedName) -> CertificateOutcome {
        let missing = || Err(SecretError::Missing(secret.clone()));
        self.secret(secret).map_or_else(missing, |secret| secret.certificate.clone())
    }

    /// The authorities in `ca.crt` of a ConfigMap.
    pub fn authorities_of_config_map(&self, name: &NamespacedName) -> AuthoritiesOutcome {
        let kind = Kind::ConfigMap;
        let missing = || AuthoritiesError::Missing { kind, name: name.clone() };
        let config_map = self.config_map(name).ok_or_else(missing)?;
        self.world.made.authorities(name, config_map)
    }

    /// The same trust where other units made it before.
    pub fn made_once(&self, trust: Trust) -> Arc<Trust> {
        self.world.made.trust(trust)
    }

    /// A reference from a field to the cluster of a spec; what it is made from is the same where other units made it.
    pub fn want(&self, spec: ClusterSpec, origin: Origin) -> ClusterWant {
        let (id, spec) = self.world.made.cluster(spec);
        ClusterWant { id, spec, origin }
    }

    /// The same time-outs where other units made them before.
    pub fn timeouts(&self, timeouts: Timeouts) -> Arc<Timeouts> {
        self.world.made.timeouts(timeouts)
    }

    /// The same settings of retries where other units made them before.
    pub fn retry(&self, retry: Retry) -> Arc<Retry> {
        self.world.made.retry(retry)
    }

    /// The authorities in `ca.crt` of a Secret.
    pub fn authorities_of_secret(&self, name: &NamespacedName) -> AuthoritiesOutcome {
        let missing = || Err(AuthoritiesError::Missing { kind: Kind::Secret, name: name.clone() });
        self.secret(name).map_or_else(missing, |secret| secret.authorities.clone())
    }

    /// The settings that the ConfigMap gives; the defaults while it is being read.
    pub fn config(&self) -> Arc<Config> {
        self.note(Dependency::Config);
        self.world.config.cloned().unwrap_or_default()
    }
}
