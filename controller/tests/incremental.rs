//! A translator that follows changes gives what a translation of everything gives, whatever the changes: the whole
//! model and the whole report. What did not change keeps its pointer.

#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use genkan_controller::resources::{Key, Kind, NamespacedName, Object, Place, Resources};
use genkan_controller::settings::Settings;
use genkan_controller::translate::{Change, Translation, Translator, translate};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[path = "incremental/gateway_api.rs"]
mod gateway_api;
#[path = "incremental/policies.rs"]
mod policies;
#[path = "incremental/selection.rs"]
mod selection;

/// One change of the world.
#[derive(Clone, Debug)]
enum Step {
    Apply(Object),
    Remove(Key),
    Dns(&'static str, Vec<IpAddr>),
    /// The API server lets us read a kind, or no longer does.
    Readable(Kind, bool),
    /// We learn where we are.
    Place(Option<&'static str>),
}

fn settings() -> Settings {
    Settings {
        config_map: Some(NamespacedName::new("x", "config")),
        tcp_services_config_map: Some(NamespacedName::new("x", "tcp")),
        udp_services_config_map: Some(NamespacedName::new("x", "udp")),
        default_backend_service: Some(NamespacedName::new("x", "c")),
        default_ssl_certificate: Some(NamespacedName::new("x", "tls-wild")),
        watch_ingress_without_class: true,
        ssl_passthrough: true,
        ..Settings::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn following_changes_equals_translating_everything(
        rounds in vec(vec(step(), 1..6), 1..14),
        selective in proptest::bool::weighted(0.3),
    ) {
        let settings = if selective { selection::settings() } else { settings() };
        follow(&settings, Resources::default(), rounds)?;
    }

    // Where policies have something to act on, as they have by chance alone in few of the worlds above.
    #[test]
    fn following_policies_equals_translating_everything(
        filters in gateway_api::filters(),
        rounds in vec(vec(policies::step(), 1..3), 1..10),
    ) {
        follow(&settings(), policies::world(&filters), rounds)?;
    }
}

/// Follows rounds of changes, each held against a translation of everything.
fn follow(settings: &Settings, mut resources: Resources, rounds: Vec<Vec<Step>>) -> TestCaseResult {
    let mut translator = Translator::new(settings.clone());
    let mut before = translator.update(&resources, &BTreeSet::new());
    for round in rounds {
        let changes: BTreeSet<_> = round.into_iter().map(|step| take(&mut resources, step)).collect();
        let followed = translator.update(&resources, &changes);
        let anew = translate(&resources, settings);
        prop_assert_eq!(&followed.report, &anew.report, "after {:?}", changes);
        prop_assert_eq!(&followed.model, &anew.model, "after {:?}", changes);
        prop_assert_eq!(&followed.infrastructure, &anew.infrastructure, "after {:?}", changes);
        prop_assert_eq!(&followed.statuses, &anew.statuses, "after {:?}", changes);
        assert_shared(&before, &followed);
        before = followed;
    }
    Ok(())
}

#[test]
fn an_address_that_is_being_recorded_is_given_to_nobody_else() {
    let settings = Settings { record_addresses: true, ..settings() };
    let gateway = |name| {
        let listener = json!({"name": "web", "port": 80, "protocol": "HTTP"});
        let spec = json!({"gatewayClassName": "genkan", "listeners": [listener]});
        Object::Gateway(object(json!({"metadata": {"namespace": "x", "name": name}, "spec": spec})))
    };
    let reference = json!({"group": "genkan.dev", "kind": "GatewayParameters", "namespace": "x", "name": "pool"});
    let class = json!({"controllerName": "genkan.dev/gateway-controller", "parametersRef": reference});
    let addresses = json!({"mode": "Pool", "pool": {"dynamic": ["192.0.2.1-192.0.2.9"]}});
    let parameters = json!({"metadata": {"namespace": "x", "name": "pool"}, "spec": {"addresses": addresses}});
    let rounds = [
        vec![
            Object::GatewayClass(object(json!({"metadata": {"name": "genkan"}, "spec": class}))),
            Object::GatewayParameters(object(parameters)),
            gateway("younger"),
        ],
        // Created in the same second, it counts as older by its name.
        vec![gateway("a")],
    ];
    let mut resources = Resources::default();
    let mut translator = Translator::new(settings);
    let mut wanted = Vec::new();
    for round in rounds {
        let changes = round.iter().map(|object| Change::Object(Key::of(object))).collect();
        for object in round {
            resources.apply(object);
        }
        let services = translator.update(&resources, &changes).infrastructure;
        let texts = services.iter().map(|(name, it)| (name.to_string(), serde_json::to_string(it).unwrap()));
        wanted.push(texts.collect::<std::collections::BTreeMap<_, _>>());
    }
    assert!(wanted[0]["x/younger-gateway"].contains("192.0.2.1"), "{wanted:#?}");
    assert_eq!(wanted[1]["x/younger-gateway"], wanted[0]["x/younger-gateway"]);
    assert!(wanted[1]["x/a-gateway"].contains("192.0.2.2"), "{wanted:#?}");
}

#[test]
fn a_host_loses_its_tls_in_the_round_that_changes_the_default_certificate() {
    let ingress = |tls: Value| {
        let metadata = json!({"namespace": "y", "name": "i"});
        Object::Ingress(object(
            json!({"metadata": metadata, "spec": {"tls": tls, "rules": [{"host": "a.example.com"}]}}),
        ))
    };
    let secret = |(chain, key): &(String, String)| {
        let data = json!({"tls.crt": chain, "tls.key": key});
        Object::Secret(object(json!({"metadata": {"namespace": "x", "name": "tls-wild"}, "stringData": data})))
    };
    let mut resources = Resources::default();
    let mut translator = Translator::new(settings());
    let rounds =
        [[secret(&PAIRS[0]), ingress(json!([{"hosts": ["a.example.com"]}]))], [secret(&PAIRS[1]), ingress(json!([]))]];
    for (round, served) in rounds.into_iter().zip([1, 0]) {
        let changes = round.iter().map(|object| Change::Object(Key::of(object))).collect();
        for object in round {
            resources.apply(object);
        }
        let followed = translator.update(&resources, &changes);
        assert_eq!(followed, translate(&resources, &settings()));
        assert_eq!(followed.model.listeners["https"].certificates.len(), served);
    }
}

#[test]
fn a_rejected_ingress_that_goes_takes_nothing_along_that_is_for_everybody_else() {
    // Its host is kept closed, and has no `/` of anybody.
    let annotations = json!({
        "nginx.ingress.kubernetes.io/whitelist-source-range": "10.0.0.0/8",
        "nginx.ingress.kubernetes.io/configuration-snippet": "x",
    });
    let backend = json!({"service": {"name": "a", "port": {"number": 80}}});
    let paths = json!([{"path": "/admin", "pathType": "Exact", "backend": backend}]);
    let rejected = Object::Ingress(object(json!({
        "metadata": {"namespace": "x", "name": "i", "annotations": annotations},
        "spec": {"rules": [{"host": "a.example.com", "http": {"paths": paths}}]},
    })));
    let (mut resources, mut translator) = (Resources::default(), Translator::new(settings()));
    let key = Key::of(&rejected);
    resources.apply(rejected);
    let served = translator.update(&resources, &BTreeSet::new());
    assert!(served.model.tables.values().any(|table| table.hosts.len() == 2), "its host is kept");
    resources.remove(&key);
    let followed = translator.update(&resources, &BTreeSet::from([Change::Object(key)]));
    assert_eq!(followed.model, translate(&resources, &settings()).model);
}

/// A cluster of many tenants: one Service, EndpointSlice and Ingress each.
fn tenants(count: usize) -> Resources {
    let mut resources = Resources::default();
    for number in 0..count {
        resources.apply(tenant_ingress(number, "Prefix"));
        resources.apply(tenant_slice(number, 1));
        resources.apply(Object::Service(object(json!({
            "metadata": {"namespace": "t", "name": format!("s{number}")}, "spec": {"ports": [{"port": 80}]},
        }))));
    }
    resources
}

fn tenant_ingress(number: usize, path_type: &str) -> Object {
    let backend = json!({"service": {"name": format!("s{number}"), "port": {"number": 80}}});
    Object::Ingress(object(json!({
        "metadata": {"namespace": "t", "name": format!("i{number}")},
        "spec": {"rules": [{"host": format!("h{number}.example.com"), "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": backend},
            {"path": "/x", "pathType": path_type, "backend": backend},
        ]}}]},
    })))
}

fn tenant_slice(number: usize, last: usize) -> Object {
    Object::EndpointSlice(object(json!({
        "metadata": {
            "namespace": "t", "name": format!("e{number}"),
            "labels": {"kubernetes.io/service-name": format!("s{number}")},
        },
        "addressType": "IPv4",
        "ports": [{"port": 8080}],
        "endpoints": [{"addresses": [format!("10.0.0.{last}")]}],
    })))
}

/// How many entries are not at the pointer that they had.
fn moved<'m, K: Ord + 'm, V: 'm>(
    before: impl IntoIterator<Item = (&'m K, &'m Arc<V>)>,
    after: impl IntoIterator<Item = (&'m K, &'m Arc<V>)>,
) -> usize {
    let before: BTreeMap<_, _> = before.into_iter().collect();
    after.into_iter().filter(|(id, part)| before.get(id).is_none_or(|before| !Arc::ptr_eq(before, part))).count()
}

#[test]
fn one_changed_ingress_moves_only_its_host_and_rule() {
    let mut resources = tenants(50);
    let mut translator = Translator::new(settings());
    let before = translator.update(&resources, &BTreeSet::new());
    let change = take(&mut resources, Step::Apply(tenant_ingress(7, "Exact")));
    let after = translator.update(&resources, &BTreeSet::from([change]));
    let hosts = |translation: &Translation| translation.model.tables.values().next().unwrap().hosts.clone();
    assert_eq!(moved(&hosts(&before), &hosts(&after)), 1);
    assert_eq!(moved(&before.model.rules, &after.model.rules), 0, "the rules are the same, only their match changed");
    assert_eq!(moved(&before.model.clusters, &after.model.clusters), 0);
}

#[test]
fn changed_endpoints_move_only_their_cluster() {
    let mut resources = tenants(50);
    let mut translator = Translator::new(settings());
    let before = translator.update(&resources, &BTreeSet::new());
    let change = take(&mut resources, Step::Apply(tenant_slice(7, 2)));
    let after = translator.update(&resources, &BTreeSet::from([change]));
    assert_eq!(moved(&before.model.clusters, &after.model.clusters), 1);
    assert_eq!(moved(&before.model.tables, &after.model.tables), 0);
    assert_eq!(moved(&before.model.rules, &after.model.rules), 0);
    assert!(Arc::ptr_eq(&before.report, &after.report));
}

fn take(resources: &mut Resources, step: Step) -> Change {
    match step {
        Step::Apply(object) => {
            let key = Key::of(&object);
            resources.apply(object);
            Change::Object(key)
        }
        Step::Remove(key) => {
            resources.remove(&key);
            Change::Object(key)
        }
        Step::Dns(name, addresses) => {
            resources.dns.insert(name.into(), addresses);
            Change::Dns(name.into())
        }
        Step::Readable(kind, readable) => {
            if readable {
                resources.unreadable.remove(&kind)
            } else {
                resources.unreadable.insert(kind)
            };
            Change::Readable(kind)
        }
        Step::Place(zone) => {
            resources.place = zone.map(|zone| Place { node: None, zone: Some(zone.to_owned()) });
            Change::Place
        }
    }
}

/// Whatever is equal in both translations is the same object in both.
fn assert_shared(before: &Translation, after: &Translation) {
    if before.model == after.model {
        assert!(Arc::ptr_eq(&before.model, &after.model), "an equal model was made anew");
    }
    if before.report == after.report {
        assert!(Arc::ptr_eq(&before.report, &after.report), "an equal report was made anew");
    }
    if before.statuses == after.statuses {
        assert!(Arc::ptr_eq(&before.statuses, &after.statuses), "equal statuses were made anew");
    }
    shared("status", &before.statuses.objects, &after.statuses.objects);
    let (old, new) = (&before.model, &after.model);
    shared("listener", &old.listeners, &new.listeners);
    shared("cluster", &old.clusters, &new.clusters);
    shared("certificate", &old.certificates, &new.certificates);
    shared("table", &old.tables, &new.tables);
    for (id, table) in &old.tables {
        if let Some(now) = new.tables.get(id) {
            shared("host", &table.hosts, &now.hosts);
        }
    }
}

fn shared<'m, K: Ord + std::fmt::Debug + 'm, V: PartialEq + 'm>(
    what: &str,
    before: impl IntoIterator<Item = (&'m K, &'m Arc<V>)>,
    after: impl IntoIterator<Item = (&'m K, &'m Arc<V>)>,
) {
    let after: BTreeMap<_, _> = after.into_iter().collect();
    for (id, part) in before {
        if let Some(now) = after.get(id) {
            assert!(part != *now || Arc::ptr_eq(part, now), "the equal {what} {id:?} was made anew");
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => ingress().prop_map(Step::Apply),
        3 => service().prop_map(Step::Apply),
        3 => slice().prop_map(Step::Apply),
        2 => secret().prop_map(Step::Apply),
        1 => config_map().prop_map(Step::Apply),
        2 => stream_entries().prop_map(Step::Apply),
        1 => class().prop_map(Step::Apply),
        4 => gateway_api::gateway_kind().prop_map(Step::Apply),
        5 => key().prop_map(Step::Remove),
        1 => (select(vec![Kind::IngressClass, Kind::Namespace]), any::<bool>())
            .prop_map(|(kind, readable)| Step::Readable(kind, readable)),
        1 => select(vec![None, Some("a"), Some("b")]).prop_map(Step::Place),
        1 => select(vec![vec![], vec!["192.0.2.1"], vec!["127.0.0.1"], vec!["192.0.2.2", "192.0.2.1"]])
            .prop_map(|all| Step::Dns("external.example.org", all.iter().map(|ip| ip.parse().unwrap()).collect())),
    ]
}

fn object<T: DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn namespace() -> impl Strategy<Value = &'static str> {
    select(vec!["x", "y"])
}

fn host() -> impl Strategy<Value = Option<&'static str>> {
    select(vec![None, Some("a.example.com"), Some("b.example.com"), Some("*.example.com"), Some("bad..host")])
}

fn backend() -> impl Strategy<Value = Value> {
    let service = (select(vec!["a", "b", "c", "d"]), select(vec![json!({"number": 80}), json!({"name": "http"})]))
        .prop_map(|(name, port)| json!({"service": {"name": name, "port": port}}));
    prop_oneof![9 => service, 1 => Just(json!({"resource": {"kind": "Bucket", "name": "x"}}))]
}

fn path() -> impl Strategy<Value = Value> {
    let texts = select(vec!["/", "/foo", "/foo/", "/foo/bar", "/f(o+)", "(", "/(?=x)", ""]);
    let types = select(vec!["Prefix", "Prefix", "Exact", "ImplementationSpecific"]);
    (texts, types, backend())
        .prop_map(|(path, kind, backend)| json!({"path": path, "pathType": kind, "backend": backend}))
}

fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    let one = select(vec![
        ("rewrite-target", "/$1"),
        ("use-regex", "true"),
        ("canary", "true"),
        ("canary-weight", "20"),
        ("app-root", "/app"),
        ("ssl-redirect", "false"),
        ("ssl-passthrough", "true"),
        ("force-ssl-redirect", "true"),
        ("load-balance", "ewma"),
        ("backend-protocol", "HTTPS"),
        ("permanent-redirect", "https://example.org/"),
        ("limit-rps", "x"),
        ("whitelist-source-range", "10.0.0.0/8"),
        ("configuration-snippet", "x"),
        ("no-such-annotation", "x"),
    ]);
    vec(one, 0..3).prop_map(|all| {
        let key = |name| format!("nginx.ingress.kubernetes.io/{name}");
        all.into_iter().map(|(name, value)| (key(name), value.to_owned())).collect()
    })
}

fn ingress() -> impl Strategy<Value = Object> {
    let metadata = (namespace(), select(vec!["i1", "i2", "i3", "i4"]), option::of(0u8..3), annotations());
    let rules = vec((host(), option::of(vec(path(), 0..3))), 0..3);
    let tls = option::of((option::of(select(vec!["tls-a", "tls-wild", "broken", "none"])), host()));
    let class = select(vec![None, None, Some("nginx"), Some("other")]);
    (metadata, rules, tls, class, option::weighted(0.3, backend())).prop_map(|(metadata, rules, tls, class, default)| {
        let (namespace, name, age, annotations) = metadata;
        let created = age.map(|age| format!("2024-01-0{}T00:00:00Z", age + 1));
        let rule = |(host, paths): (Option<&str>, Option<Vec<Value>>)| {
            json!({"host": host, "http": paths.map(|paths| json!({"paths": paths}))})
        };
        let entry = |(secret, host): (Option<&str>, Option<&str>)| {
            json!([{"secretName": secret, "hosts": host.into_iter().collect::<Vec<_>>()}])
        };
        Object::Ingress(object(json!({
            "metadata": {
                "namespace": namespace, "name": name, "creationTimestamp": created, "annotations": annotations,
            },
            "spec": {
                "ingressClassName": class,
                "defaultBackend": default,
                "rules": rules.into_iter().map(rule).collect::<Vec<_>>(),
                "tls": tls.map(entry),
            },
        })))
    })
}

fn service() -> impl Strategy<Value = Object> {
    let spec = select(vec![
        json!({"ports": [{"name": "http", "port": 80}]}),
        json!({"ports": [{"name": "http", "port": 80, "appProtocol": "kubernetes.io/h2c"}]}),
        json!({"ports": [{"name": "other", "port": 81, "targetPort": 80}], "clusterIP": "10.1.0.1"}),
        json!({"type": "ExternalName", "externalName": "external.example.org"}),
        json!({"type": "ExternalName", "externalName": "localhost"}),
    ]);
    (namespace(), select(vec!["a", "b", "c"]), spec).prop_map(|(namespace, name, spec)| {
        Object::Service(object(json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec})))
    })
}

fn slice() -> impl Strategy<Value = Object> {
    let readiness = select(vec![Some(true), Some(false), None]);
    let zone = select(vec!["a", "b"]);
    let endpoint = (1u8..5, readiness, any::<bool>(), zone).prop_map(|(last, ready, leaving, zone)| {
        let conditions = json!({"ready": ready, "serving": leaving, "terminating": leaving});
        let hints = json!({"forZones": [{"name": zone}]});
        json!({"addresses": [format!("10.0.0.{last}")], "conditions": conditions, "hints": hints})
    });
    let names = (namespace(), select(vec!["s1", "s2", "s3"]), option::of(select(vec!["a", "b", "c"])));
    (names, vec(endpoint, 0..3), select(vec!["http", "other"])).prop_map(|((namespace, name, of), endpoints, port)| {
        let labels: BTreeMap<_, _> = of.map(|of| ("kubernetes.io/service-name", of)).into_iter().collect();
        Object::EndpointSlice(object(json!({
            "metadata": {"namespace": namespace, "name": name, "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": port, "port": 8080}],
            "endpoints": endpoints,
        })))
    })
}

/// Pairs of chain and key, made once.
static PAIRS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let pair = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    vec![pair("a.example.com"), pair("*.example.com"), pair("other.example.org")]
});

fn secret() -> impl Strategy<Value = Object> {
    let names = select(vec!["tls-a", "tls-wild", "broken", "authority"]);
    (namespace(), names, 0..PAIRS.len(), 0..PAIRS.len()).prop_map(|(namespace, name, chain, key)| {
        let data = match name {
            "authority" => json!({"ca.crt": PAIRS[chain].0}),
            _ => json!({"tls.crt": PAIRS[chain].0, "tls.key": PAIRS[key].1}),
        };
        Object::Secret(object(json!({"metadata": {"namespace": namespace, "name": name}, "stringData": data})))
    })
}

fn config_map() -> impl Strategy<Value = Object> {
    let data = select(vec![
        json!({}),
        json!({"hsts": "false"}),
        json!({"use-gzip": "true", "strict-validate-path-type": "false"}),
        json!({"ssl-redirect": "false", "proxy-body-size": "8m"}),
        json!({"no-such-key": "x"}),
    ]);
    let config = data.prop_map(|data| {
        Object::ConfigMap(object(json!({"metadata": {"namespace": "x", "name": "config"}, "data": data})))
    });
    let authority = option::of(0..PAIRS.len()).prop_map(|pair| pair.map(|pair| &*PAIRS[pair].0));
    let authorities = (namespace(), authority).prop_map(|(namespace, authority)| {
        let data = json!({"ca.crt": authority.unwrap_or_default()});
        Object::ConfigMap(object(json!({"metadata": {"namespace": namespace, "name": "ca"}, "data": data})))
    });
    prop_oneof![config, authorities]
}

/// TCP and UDP ports: some that Gateways ask for as well, some that are reserved or broken.
fn stream_entries() -> impl Strategy<Value = Object> {
    let key = select(vec!["9000", "9001", "8443", "80", "x"]);
    let value = select(vec!["x/a:80", "x/a:http:PROXY", "x/b:81", "y/c:80", "x/none:80", "rubbish"]);
    let entries = proptest::collection::btree_map(key, value, 0..4);
    (select(vec!["tcp", "udp"]), entries).prop_map(|(name, data)| {
        Object::ConfigMap(object(json!({"metadata": {"namespace": "x", "name": name}, "data": data})))
    })
}

fn class() -> impl Strategy<Value = Object> {
    (select(vec!["nginx", "other"]), select(vec!["k8s.io/ingress-nginx", "example.org/other"])).prop_map(
        |(name, controller)| {
            Object::IngressClass(object(json!({"metadata": {"name": name}, "spec": {"controller": controller}})))
        },
    )
}

fn key() -> impl Strategy<Value = Key> {
    let named = |kind, names: &'static [&'static str]| {
        (namespace(), select(names)).prop_map(move |(namespace, name)| Key::new(kind, namespace, name))
    };
    prop_oneof![
        4 => named(Kind::Ingress, &["i1", "i2", "i3", "i4"]),
        2 => named(Kind::Service, &["a", "b", "c"]),
        2 => named(Kind::EndpointSlice, &["s1", "s2", "s3"]),
        2 => named(Kind::Secret, &["tls-a", "tls-wild", "broken", "authority"]),
        1 => select(vec!["config", "tcp", "udp"]).prop_map(|name| Key::new(Kind::ConfigMap, "x", name)),
        1 => select(vec!["nginx", "other"]).prop_map(|name| Key::new(Kind::IngressClass, "", name)),
        1 => Just(Key::new(Kind::GatewayClass, "", "genkan")),
        1 => namespace().prop_map(|name| Key::new(Kind::Namespace, "", name)),
        1 => named(Kind::Gateway, &["g1", "g2"]),
        1 => named(Kind::ListenerSet, &["l1", "l2"]),
        1 => Just(Key::new(Kind::GatewayParameters, "x", "pool")),
        1 => named(Kind::HttpRoute, &["r1", "r2"]),
        1 => named(Kind::GrpcRoute, &["r1", "r2"]),
        1 => select(vec![Kind::TlsRoute, Kind::TcpRoute, Kind::UdpRoute]).prop_flat_map(move |kind| {
            named(kind, &["r1", "r2"])
        }),
        1 => named(Kind::ReferenceGrant, &["grant"]),
        1 => named(Kind::XBackend, &["out"]),
        1 => named(Kind::XBackendTrafficPolicy, &["p1", "p2"]),
        1 => named(Kind::BackendTlsPolicy, &["p1", "p2"]),
        1 => named(Kind::RoutePolicy, &["p1", "p2", "p3"]),
        1 => named(Kind::ConfigMap, &["ca"]),
    ]
}
