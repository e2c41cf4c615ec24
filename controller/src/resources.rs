//! Resources: typed objects by kind and key. Nothing is decided here. Of the kinds that a cluster has most of, only what
//! is read is kept.
//!
//! Files and the API server fill it; [`translate`](crate::translate) reads it. Objects are behind [`Arc`]s, so a
//! snapshot of all resources is cheap.

mod endpoint_slice;
mod ingress;
mod listener_set;
mod metadata;
mod passwords;
mod secret;
mod service;
mod shown;
mod stream_route;
mod wire;
mod x_backend;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

// The experimental channel's types have every field of the standard ones, and those that would else be dropped unread:
// `retry`, `sessionPersistence`, external authentication, `defaultScope`.
use gateway_api::apis::experimental::gatewayclasses::GatewayClass;
use gateway_api::apis::experimental::gateways::Gateway;
use gateway_api::apis::experimental::grpcroutes::GrpcRoute;
use gateway_api::apis::experimental::httproutes::HttpRoute;
use gateway_api::apis::experimental::xbackendtrafficpolicies::XBackendTrafficPolicy;
use gateway_api::apis::standard::backendtlspolicies::BackendTlsPolicy;
use gateway_api::apis::standard::referencegrants::ReferenceGrant;
use genkan_policies::{GatewayParameters, ListenerPolicy, RoutePolicy};
use genkan_routing::name::ObjectRef;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use self::endpoint_slice::{Endpoint, EndpointSlice, Hints, Port, PortProtocol, SLICE_KEEPER, State};
pub use self::ingress::{Ingress, IngressMetadata};
pub use self::listener_set::{ListenerSet, ListenerSetParent, ListenerSetSpec};
pub use self::metadata::Metadata;
pub(crate) use self::metadata::slim;
pub use self::passwords::{Flaw, Passwords, Unusable, UserList};
pub use self::secret::{AuthoritiesOutcome, CertificateOutcome, Secret, SecretError};
pub use self::service::{Form, GATEWAY_CONTROLLER, GATEWAY_NAME, OfGateway, Service};
pub use self::shown::{Shown, TARGET_PORTS};
pub use self::stream_route::{BackendReference, ParentReference, StreamRoute, StreamRouteSpec, StreamRule};
pub use self::wire::{PublicPort, Wire};
pub use self::x_backend::{XBackend, XBackendExternalHostname, XBackendPort, XBackendSpec, XBackendTls};

/// A namespace and a name. The namespace is empty for cluster-scoped kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedName {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl NamespacedName {
    /// A key; pass an empty namespace for a cluster-scoped kind.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// The namespace and name in an object's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// `metadata.namespace`.
    pub namespace: Option<Arc<str>>,
    /// `metadata.name`.
    pub name: Option<Arc<str>>,
}

impl From<ObjectMeta> for Names {
    fn from(metadata: ObjectMeta) -> Self {
        Self { namespace: metadata.namespace.map(Into::into), name: metadata.name.map(Into::into) }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// A place in the cluster, as hints of EndpointSlices name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The Node's name.
    pub node: Option<String>,
    /// Its zone (label `topology.kubernetes.io/zone`).
    pub zone: Option<String>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($type:ty) in $field:ident, $kind:literal, namespaced: $namespaced:literal;)*) => {
        /// The kinds of objects that Genkan reads.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Kind] = &[$(Kind::$variant),*];

            /// The API's name of the kind.
            pub fn as_str(self) -> &'static str {
                match self { $(Kind::$variant => $kind,)* }
            }

            /// Whether its objects live in namespaces.
            pub fn namespaced(self) -> bool {
                match self { $(Kind::$variant => $namespaced,)* }
            }
        }

        /// An object of any kind that Genkan reads.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Object {
            $($(#[$doc])* $variant(Arc<$type>),)*
        }

        impl Object {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self { $(Object::$variant(_) => Kind::$variant,)* }
            }

            /// Its namespace and name, as they are written.
            fn names(&self) -> Names {
                match self {
                    $(Object::$variant(object) => Names {
                        namespace: object.metadata.namespace.clone().map(Into::into),
                        name: object.metadata.name.clone().map(Into::into),
                    },)*
                }
            }
        }

        /// Every object that is known, the addresses of names outside the cluster, and where we are.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Resources {
            $($(#[$doc])* pub $field: BTreeMap<NamespacedName, Arc<$type>>,)*
            /// Kinds that the API server does not let us read. They count as empty.
            pub unreadable: BTreeSet<Kind>,
            /// Routes and policies of which something can't be read, though to what they attach can.
            pub unreadable_objects: BTreeMap<Key, Unreadable>,
            /// Addresses of ExternalName Services' names, as DNS last gave them. Names that were asked for and have no
            /// address are present and empty.
            pub dns: BTreeMap<Arc<str>, Vec<IpAddr>>,
            /// Where we are, with `--enable-topology-aware-routing` and once it is known; `None` uses endpoints wherever
            /// they are.
            pub place: Option<Place>,
            /// What statuses of Gateways say about where they are reached. A status is a fact: that it differs is no change.
            pub shown: BTreeMap<NamespacedName, Shown>,
        }

        impl Resources {
            /// Adds or replaces an object. Returns whether anything changed.
            pub fn apply(&mut self, object: Object) -> bool {
                self.set(Key::of(&object).name, object)
            }

            /// As [`Self::apply`] for whoever has the object's key already: names are kept, so they should be shared.
            pub fn set(&mut self, key: NamespacedName, object: Object) -> bool {
                match self.share(&key, object) {
                    $(Object::$variant(object) => match self.$field.get(&key) {
                        Some(present) if Arc::ptr_eq(present, &object) || *present == object => false,
                        _ => { self.$field.insert(key, object); true }
                    },)*
                }
            }

            /// Removes an object. Returns whether it was there.
            pub fn remove(&mut self, key: &Key) -> bool {
                match key.kind { $(Kind::$variant => self.$field.remove(&key.name).is_some(),)* }
            }

            /// Notes what can't be read of an object, if anything. Returns whether that changed.
            pub fn set_unreadable(&mut self, key: &Key, unreadable: Option<Unreadable>) -> bool {
                if self.unreadable_objects.get(key) == unreadable.as_ref() {
                    return false;
                }
                match unreadable {
                    Some(unreadable) => drop(self.unreadable_objects.insert(key.clone(), unreadable)),
                    None => drop(self.unreadable_objects.remove(key)),
                }
                true
            }

            /// Whether an object is there.
            pub fn contains(&self, key: &Key) -> bool {
                match key.kind { $(Kind::$variant => self.$field.contains_key(&key.name),)* }
            }

            /// The names of a kind's objects, in order.
            pub fn names_of(&self, kind: Kind) -> Box<dyn Iterator<Item = &NamespacedName> + '_> {
                match kind { $(Kind::$variant => Box::new(self.$field.keys()),)* }
            }

            /// The keys of all objects, by kind.
            pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
                let keys: Vec<Box<dyn Iterator<Item = Key> + '_>> = vec![
                    $(Box::new(self.$field.keys().map(|name| Key { kind: Kind::$variant, name: name.clone() })),)*
                ];
                keys.into_iter().flatten()
            }
        }
    };
}

/// What can't be read of the newest version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// For people.
    pub why: Arc<str>,
    /// Whether an earlier version is there, which is served. Otherwise there is only what could be read: nothing of a
    /// route's rules, and a policy without these parts.
    pub served: bool,
    /// The parts of a policy that can't be read, when no earlier version of it is served.
    pub parts: Vec<UnreadablePart>,
}

/// A part of a policy that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadablePart {
    /// Where it stands: `spec.defaults.rateLimit`.
    pub field: String,
    /// For people.
    pub why: String,
    /// Whether it is there without what is not known in it. Otherwise all of it is left out.
    pub partly: bool,
}

impl Unreadable {
    /// An object that is there, with something in these parts that is not known.
    pub(crate) fn in_doubt(parts: Vec<UnreadablePart>) -> Option<Self> {
        let first = parts.first()?;
        Some(Self { why: format!("{}: {}", first.field, first.why).into(), served: false, parts })
    }
}

kinds! {
    /// networking.k8s.io/v1 Ingress.
    Ingress(Ingress) in ingresses, "Ingress", namespaced: true;
    /// networking.k8s.io/v1 IngressClass.
    IngressClass(IngressClass) in ingress_classes, "IngressClass", namespaced: false;
    /// v1 Service.
    Service(Service) in services, "Service", namespaced: true;
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice(EndpointSlice) in endpoint_slices, "EndpointSlice", namespaced: true;
    /// v1 Secret.
    Secret(Secret) in secrets, "Secret", namespaced: true;
    /// v1 ConfigMap.
    ConfigMap(ConfigMap) in config_maps, "ConfigMap", namespaced: true;
    /// v1 Namespace.
    Namespace(Namespace) in namespaces, "Namespace", namespaced: false;
    /// gateway.networking.k8s.io/v1 GatewayClass.
    GatewayClass(GatewayClass) in gateway_classes, "GatewayClass", namespaced: false;
    /// gateway.networking.k8s.io/v1 Gateway.
    Gateway(Gateway) in gateways, "Gateway", namespaced: true;
    /// gateway.networking.k8s.io/v1 HTTPRoute.
    HttpRoute(HttpRoute) in http_routes, "HTTPRoute", namespaced: true;
    /// gateway.networking.k8s.io/v1 (or v1beta1) ReferenceGrant.
    ReferenceGrant(ReferenceGrant) in reference_grants, "ReferenceGrant", namespaced: true;
    /// gateway.networking.k8s.io/v1 ListenerSet.
    ListenerSet(ListenerSet) in listener_sets, "ListenerSet", namespaced: true;
    /// gateway.networking.k8s.io/v1 GRPCRoute.
    GrpcRoute(GrpcRoute) in grpc_routes, "GRPCRoute", namespaced: true;
    /// gateway.networking.k8s.io/v1 (or v1alpha3, v1alpha2) TLSRoute.
    TlsRoute(StreamRoute) in tls_routes, "TLSRoute", namespaced: true;
    /// gateway.networking.k8s.io/v1 (or v1alpha2) TCPRoute.
    TcpRoute(StreamRoute) in tcp_routes, "TCPRoute", namespaced: true;
    /// gateway.networking.k8s.io/v1 (or v1alpha2) UDPRoute.
    UdpRoute(StreamRoute) in udp_routes, "UDPRoute", namespaced: true;
    /// gateway.networking.k8s.io/v1 (or v1alpha3) BackendTLSPolicy.
    BackendTlsPolicy(BackendTlsPolicy) in backend_tls_policies, "BackendTLSPolicy", namespaced: true;
    /// gateway.networking.x-k8s.io/v1alpha1 XBackendTrafficPolicy.
    XBackendTrafficPolicy(XBackendTrafficPolicy) in x_backend_traffic_policies, "XBackendTrafficPolicy", namespaced: true;
    /// gateway.networking.x-k8s.io/v1alpha1 XBackend.
    XBackend(XBackend) in x_backends, "XBackend", namespaced: true;
    /// genkan.dev/v1alpha1 GatewayParameters.
    GatewayParameters(GatewayParameters) in gateway_parameters, "GatewayParameters", namespaced: true;
    /// genkan.dev/v1alpha1 ListenerPolicy.
    ListenerPolicy(ListenerPolicy) in listener_policies, "ListenerPolicy", namespaced: true;
    /// genkan.dev/v1alpha1 RoutePolicy.
    RoutePolicy(RoutePolicy) in route_policies, "RoutePolicy", namespaced: true;
}

impl Resources {
    /// A new version of an object that shares with the present one what stayed equal and is compared often.
    fn share(&self, key: &NamespacedName, object: Object) -> Object {
        match (object, self.secrets.get(key)) {
            (Object::Secret(new), Some(old)) if new != *old => Object::Secret(Arc::new(Secret::clone(&new).share(old))),
            (object, _) => object,
        }
    }
}

impl Kind {
    /// Whether only those objects of a cluster are kept that somebody refers to: there are many, and they are large or
    /// secret.
    pub fn kept_on_demand(self) -> bool {
        matches!(self, Self::Secret | Self::ConfigMap)
    }
}

/// An object's kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub name: NamespacedName,
}

impl Key {
    /// A key from its parts.
    pub fn new(kind: Kind, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: NamespacedName::new(namespace, name) }
    }

    /// The key of an object. A namespaced object without a namespace is in `default`, as for kubectl.
    pub fn of(object: &Object) -> Self {
        let kind = object.kind();
        let Names { namespace, name } = object.names();
        let namespace = match namespace {
            _ if !kind.namespaced() => "".into(),
            Some(namespace) if !namespace.is_empty() => namespace,
            _ => "default".into(),
        };
        Self::new(kind, namespace, name.unwrap_or_default())
    }

    /// The same as a reference for problems.
    pub fn object_ref(&self) -> ObjectRef {
        ObjectRef::new(self.kind.as_str(), self.name.namespace.clone(), self.name.name.clone())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}
