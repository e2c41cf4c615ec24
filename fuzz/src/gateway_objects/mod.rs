//! Objects of Gateway API out of bytes. Names, ports and hostnames come from small vocabularies, so that objects refer
//! to each other, replace each other and compete; now and then a value is replaced by one that nobody foresaw.
//!
//! ```text
//!  bytes --Words--> Edit: an object (gateways.rs, routes.rs, services.rs, policies.rs), many copies of one, a name, an
//!                         address
//! ```

mod decode;
mod gateways;
mod policies;
mod routes;
mod schema;
mod services;

use std::net::{IpAddr, Ipv4Addr};

use genkan_controller::resources::{Kind, Object};
use libfuzzer_sys::arbitrary::Unstructured;
use serde_json::{Map, Value, json};

/// How many copies of an object one edit makes at most.
const MAX_COPIES: usize = 24;

/// A change of what is known.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Objects are added or replaced.
    Apply(Vec<Object>),
    /// An object is removed, if it is there.
    Remove(Kind, &'static str, String),
    /// A name outside of the cluster has these addresses.
    Dns(&'static str, Vec<IpAddr>),
}

/// A source of choices. When its bytes are at an end, every choice is the first one.
pub struct Words<'a>(Unstructured<'a>);

/// The kinds that edits are about, the frequent ones several times.
const KINDS: &[Kind] = &[
    Kind::Gateway,
    Kind::HttpRoute,
    Kind::Gateway,
    Kind::HttpRoute,
    Kind::GrpcRoute,
    Kind::TlsRoute,
    Kind::TlsRoute,
    Kind::TcpRoute,
    Kind::UdpRoute,
    Kind::ListenerSet,
    Kind::ListenerSet,
    Kind::Service,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::ReferenceGrant,
    Kind::ReferenceGrant,
    Kind::Secret,
    Kind::ConfigMap,
    Kind::Namespace,
    Kind::GatewayClass,
    Kind::GatewayParameters,
    Kind::BackendTlsPolicy,
    Kind::BackendTlsPolicy,
    Kind::XBackendTrafficPolicy,
    Kind::RoutePolicy,
    Kind::RoutePolicy,
    Kind::ListenerPolicy,
    Kind::XBackend,
    Kind::Ingress,
];

/// What is put where something else belongs.
const TEXTS: &[&str] = &["", "*", "/", "a", "x", "Service", "-1", "é", "*.", "a.b", "GET", "(", "1s", "Same"];

const NAMESPACES: &[&str] = &["x", "y"];

impl<'a> Words<'a> {
    /// Choices out of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// Whether there are no bytes left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A number from 0 to `most`.
    pub fn up_to(&mut self, most: usize) -> usize {
        self.0.int_in_range(0..=most).unwrap_or_default()
    }

    /// One of these.
    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.up_to(all.len() - 1)]
    }

    /// True in one of `times` cases.
    fn rarely(&mut self, times: usize) -> bool {
        self.up_to(times - 1) == times - 1
    }

    /// A value in every second case.
    fn maybe(&mut self, make: impl FnOnce(&mut Self) -> Value) -> Value {
        if self.rarely(2) { make(self) } else { Value::Null }
    }

    /// A value in one of four cases.
    fn seldom(&mut self, make: impl FnOnce(&mut Self) -> Value) -> Value {
        if self.rarely(4) { make(self) } else { Value::Null }
    }

    fn list(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> Value) -> Value {
        let count = self.up_to(most);
        (0..count).map(|_| make(self)).collect()
    }

    fn text(&mut self, all: &[&str]) -> Value {
        self.of(all).into()
    }

    fn namespace(&mut self) -> &'static str {
        self.of(NAMESPACES)
    }

    fn hostname(&mut self) -> Value {
        self.text(&[
            "a.example.com",
            "b.example.com",
            "*.example.com",
            "*.a.example.com",
            "example.org",
            "bad..host",
            "*",
        ])
    }

    fn port(&mut self) -> Value {
        self.of(&[80, 443, 9000, 9001, 8443, 10254, 20_001, 0, 70_000]).into()
    }

    fn metadata(&mut self, names: &[&str]) -> Value {
        let created = self.maybe(|words| format!("2024-01-0{}T00:00:00Z", words.up_to(2) + 1).into());
        let labels = self.seldom(|_| json!({"team": "web"}));
        json!({"namespace": self.namespace(), "name": self.of(names), "creationTimestamp": created, "labels": labels})
    }

    /// The next change.
    pub fn edit(&mut self) -> Edit {
        let kind = self.of(KINDS);
        match self.up_to(11) {
            0..=8 => Edit::Apply(self.object(kind, 1)),
            9 => {
                let copies = self.up_to(MAX_COPIES);
                Edit::Apply(self.object(kind, copies))
            }
            10 => {
                let namespace = if kind.namespaced() { self.namespace() } else { "" };
                Edit::Remove(kind, namespace, self.of(names(kind)).to_owned())
            }
            _ => {
                let last: Vec<u8> = (0..self.up_to(2)).map(|_| self.of(&[1, 2, 127])).collect();
                let address = |last| Ipv4Addr::new(192, 0, 2, last).into();
                Edit::Dns(self.of(&services::EXTERNAL), last.into_iter().map(address).collect())
            }
        }
    }

    /// An object, and copies of it under other names. None where a value has got a type that the kind does not take.
    fn object(&mut self, kind: Kind, copies: usize) -> Vec<Object> {
        let mut value = match kind {
            Kind::GatewayClass => gateways::class(self),
            Kind::GatewayParameters => gateways::parameters(self),
            Kind::Gateway => gateways::gateway(self),
            Kind::ListenerSet => gateways::listener_set(self),
            Kind::ReferenceGrant => gateways::grant(self),
            Kind::Namespace => gateways::namespace(self),
            Kind::HttpRoute => routes::http(self),
            Kind::GrpcRoute => routes::grpc(self),
            Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => routes::stream(self),
            Kind::EndpointSlice => services::slice(self),
            Kind::Secret => services::secret(self),
            Kind::ConfigMap => services::config_map(self),
            Kind::BackendTlsPolicy => services::backend_tls_policy(self),
            Kind::XBackendTrafficPolicy => services::traffic_policy(self),
            Kind::RoutePolicy => policies::route_policy(self),
            Kind::ListenerPolicy => policies::listener_policy(self),
            Kind::XBackend => services::x_backend(self),
            Kind::Ingress => services::ingress(self),
            _ => services::service(self),
        };
        if self.rarely(6) {
            self.twist(&mut value["spec"]);
        }
        let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut objects = Vec::new();
        for copy in 0..copies.max(1) {
            if copy > 0 {
                value["metadata"]["name"] = format!("{name}-{copy}").into();
            }
            objects.extend(decode::object(kind, pruned(value.clone())));
        }
        objects
    }

    /// Replaces something inside of a value by something else.
    fn twist(&mut self, value: &mut Value) {
        let below = match value {
            Value::Object(fields) => fields.len(),
            Value::Array(values) => values.len(),
            _ => 0,
        };
        if below > 0 && !self.rarely(6) {
            let chosen = self.up_to(below - 1);
            if let Some(inside) = nth(value, chosen) {
                self.twist(inside);
            }
            return;
        }
        *value = match self.up_to(6) {
            0 => Value::Null,
            1 => self.text(TEXTS),
            2 => self.of(&[0i64, -1, 1, 101, 65_535, 65_536, 2_147_483_647, -2_147_483_648]).into(),
            3 => self.rarely(2).into(),
            4 => json!([]),
            5 => json!({}),
            _ => {
                let bytes = self.up_to(24);
                let bytes = self.0.bytes(bytes).unwrap_or_default();
                String::from_utf8_lossy(bytes).into_owned().into()
            }
        };
    }
}

/// What there is before anything changes: without classes and a Service little of all else would mean anything.
pub fn preamble() -> Vec<Object> {
    let class = |name, parameters: Value| {
        let spec = json!({"controllerName": "genkan.dev/gateway-controller", "parametersRef": parameters});
        (Kind::GatewayClass, json!({"metadata": {"name": name}, "spec": spec}))
    };
    let parameters = json!({"group": "genkan.dev", "kind": "GatewayParameters", "namespace": "x", "name": "pool"});
    let pool = json!({"dynamic": ["192.0.2.1-192.0.2.9"], "reserved": ["192.0.2.128/26"]});
    let objects = [
        class("genkan", Value::Null),
        class("pool", parameters),
        (
            Kind::GatewayParameters,
            json!({
                "metadata": {"namespace": "x", "name": "pool"}, "spec": {"addresses": {"mode": "Pool", "pool": pool}},
            }),
        ),
        (
            Kind::Service,
            json!({
                "metadata": {"namespace": "x", "name": "a"}, "spec": {"ports": [{"name": "http", "port": 80}]},
            }),
        ),
    ];
    objects.into_iter().filter_map(|(kind, value)| decode::object(kind, pruned(value))).collect()
}

/// The names that objects of a kind have.
fn names(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::GatewayClass => gateways::CLASSES,
        Kind::GatewayParameters => &["pool"],
        Kind::Gateway => gateways::GATEWAYS,
        Kind::ListenerSet => gateways::SETS,
        Kind::ReferenceGrant => &["g1", "g2"],
        Kind::Namespace => NAMESPACES,
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => routes::ROUTES,
        Kind::Secret => services::SECRETS,
        Kind::ConfigMap => &["ca"],
        Kind::BackendTlsPolicy | Kind::XBackendTrafficPolicy | Kind::RoutePolicy | Kind::ListenerPolicy => {
            &["p1", "p2"]
        }
        Kind::EndpointSlice => &["s1", "s2"],
        Kind::Ingress => &["i1"],
        Kind::Service => &["a", "b", "g1-gateway", "g2-gateway"],
        _ => services::SERVICES,
    }
}

fn nth(value: &mut Value, chosen: usize) -> Option<&mut Value> {
    match value {
        Value::Object(fields) => fields.values_mut().nth(chosen),
        Value::Array(values) => values.get_mut(chosen),
        _ => None,
    }
}

/// The same without fields that are null, which an API server would not show.
fn pruned(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, pruned(value))).collect::<Map<_, _>>())
        }
        Value::Array(values) => values.into_iter().map(pruned).collect(),
        other => other,
    }
}
