//! RoutePolicies from files: every field acts on requests, and a policy that changes or goes does so live.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use genkan_e2e::genkan::free_address;
use genkan_e2e::http1::{self, Answer, Client};
use genkan_e2e::manifests::service;
use genkan_e2e::{Echo, Genkan, Options};

const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: genkan }\n\
                     spec: { controllerName: genkan.dev/gateway-controller }\n---\n\
                     apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: gate }\nspec:\n  \
                     gatewayClassName: genkan\n  listeners: [{ name: http, port: 80, protocol: HTTP }]\n---\n\
                     apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: web }\nspec:\n  \
                     parentRefs: [{ name: gate }]\n  rules: [{ name: all, backendRefs: [{ name: web, port: 80 }] }]\n---\n";

/// A policy `name` of one target that says something.
fn policy(name: &str, target: &str, says: &str) -> String {
    format!(
        "apiVersion: genkan.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{ name: {name} }}\nspec:\n  \
         targetRefs: [{{ {target} }}]\n  {says}\n---\n"
    )
}

const WEB: &str = "group: gateway.networking.k8s.io, kind: HTTPRoute, name: web";
const GATE: &str = "group: gateway.networking.k8s.io, kind: Gateway, name: gate";

/// What a policy of the route says by default.
fn defaults(says: &str) -> String {
    policy("web", WEB, &format!("defaults: {{ {says} }}"))
}

fn serve(endpoints: &[SocketAddr], policy: &str) -> Genkan {
    let web = service("web", endpoints) + ROUTE;
    Genkan::serve_with(&[("web.yaml", &*web), ("policy.yaml", policy)], Options::default())
}

fn get(genkan: &Genkan, path: &str) -> Answer {
    http1::get(genkan.http(), "web.test", path)
}

fn status(genkan: &Genkan) -> u16 {
    get(genkan, "/").status
}

/// Changes what is said, and waits until something follows from it.
fn say(genkan: &Genkan, policy: &str, what: &str, follows: impl FnMut() -> bool) {
    genkan.write("policy.yaml", policy);
    genkan.wait_until(what, follows);
}

/// Takes the policy away, and waits until all is as without it.
fn unsay(genkan: &Genkan, follows: impl FnMut() -> bool) {
    std::fs::remove_file(genkan.folder().join("policy.yaml")).unwrap();
    genkan.wait_until("no policy", follows);
}

/// The backend that answered.
fn backend(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.field("x-echo-name").unwrap().to_owned()
}

#[test]
fn rates_are_limited() {
    let echo = Echo::start("web");
    let limit =
        |status: u16| defaults(&format!("rateLimit: {{ requestsPerMinute: 1, burstMultiplier: 1, status: {status} }}"));
    let genkan = serve(&[echo.address()], &limit(429));
    assert_eq!([status(&genkan), status(&genkan), status(&genkan)], [200, 200, 429]);
    say(&genkan, &limit(430), "another status", || status(&genkan) == 430);
    unsay(&genkan, || (0..4).all(|_| status(&genkan) == 200));
}

#[test]
fn requests_under_way_are_limited() {
    let echo = Echo::start("web");
    let genkan = serve(&[echo.address()], &defaults("connectionLimit: { max: 1, status: 503 }"));
    let mut busy = Client::connect(genkan.http()).unwrap();
    busy.send("GET", "web.test", "/delay/600000", &[], b"").unwrap();
    genkan.wait_until("the first request", || status(&genkan) == 503);
    say(&genkan, &defaults("connectionLimit: { max: 2 }"), "a higher limit", || status(&genkan) == 200);
}

#[test]
fn requests_of_a_service_are_limited_whoever_sends_them() {
    let echo = Echo::start("web");
    let limit = |max: u32| {
        policy(
            "web",
            "group: \"\", kind: Service, name: web",
            &format!("defaults: {{ circuitBreaking: {{ maxRequests: {max} }} }}"),
        )
    };
    // Another route chooses endpoints in another way, which gives it no requests of its own.
    let other = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: other }\nspec:\n  \
                 parentRefs: [{ name: gate }]\n  hostnames: [other.test]\n  \
                 rules: [{ backendRefs: [{ name: web, port: 80 }] }]\n---\n";
    let target = WEB.replace("name: web", "name: other");
    let others = other.to_owned()
        + &policy(
            "other",
            &target,
            "defaults: { loadBalancing: { algorithm: LeastConnections }, affinity: { type: Header } }",
        );
    let genkan = serve(&[echo.address()], &(limit(1) + &others));
    let of_other = || http1::get(genkan.http(), "other.test", "/").status;
    assert_eq!(of_other(), 200);
    // A request counts for a moment after its answer: one that came then was refused, and is sent again.
    let mut busy = None;
    genkan.wait_until("the first request", || {
        if status(&genkan) == 200 {
            let mut client = Client::connect(genkan.http()).unwrap();
            client.send("GET", "web.test", "/delay/600000", &[], b"").unwrap();
            busy = Some(client);
            return false;
        }
        busy.is_some() && of_other() == 503
    });
    say(&genkan, &(limit(2) + &others), "a higher limit", || status(&genkan) == 200);
    genkan.wait_until("room for the other route", || of_other() == 200);
}

#[test]
fn endpoints_that_fail_are_passed_over() {
    let (good, bad) = (Echo::start("good"), free_address());
    let passive = |failures: u32| {
        defaults(&format!(
            "healthCheck: {{ passive: {{ failures: {failures}, time: 1h }} }}, retries: {{ attempts: 0 }}"
        ))
    };
    let genkan = serve(&[good.address(), bad], &passive(3));
    let failed = (0..20).filter(|_| status(&genkan) != 200).count();
    assert_eq!(failed, 3);
    let active = "healthCheck: { active: { type: HTTP, http: { path: /status/404 }, interval: 1s, unhealthy: 1 } }";
    say(&genkan, &defaults("retries: { attempts: 0 }"), "no check", || (0..4).any(|_| status(&genkan) != 200));
    let asked = active.replace("/status/404", "/");
    say(&genkan, &defaults(&format!("{asked}, retries: {{ attempts: 0 }}")), "checks", || {
        (0..20).all(|_| status(&genkan) == 200)
    });
    // Where all are unhealthy none is passed over.
    let requests = |genkan: &Genkan| (0..20).any(|_| status(genkan) != 200);
    say(&genkan, &defaults(&format!("{active}, retries: {{ attempts: 0 }}")), "all fail", || requests(&genkan));
}

#[test]
fn bodies_are_limited() {
    let echo = Echo::start("web");
    let genkan = serve(&[echo.address()], &defaults("bodySize: { max: \"10\" }"));
    let post = || http1::request(genkan.http(), "POST", "web.test", "/", &[], &[b'a'; 100]).status;
    assert_eq!((post(), status(&genkan)), (413, 200));
    say(&genkan, &defaults("bodySize: { max: 1k }"), "a larger size", || post() == 200);
    say(&genkan, &defaults("bodySize: { max: 1 metre }"), "a size that is none", || post() == 503);
    unsay(&genkan, || post() == 200);
}

#[test]
fn bodies_are_read_as_a_whole() {
    let echo = Echo::start("web");
    let hold = |size: &str| defaults(&format!("buffering: {{ request: {{ maxSize: {size} }} }}"));
    let genkan = serve(&[echo.address()], &hold("\"10\""));
    let post = || http1::request(genkan.http(), "POST", "web.test", "/", &[], &[b'a'; 100]).status;
    assert_eq!((post(), status(&genkan)), (413, 200));
    // What a client says of its request takes it out of nothing.
    let call = [("content-type", "application/grpc")];
    let answer = http1::request(genkan.http(), "POST", "web.test", "/", &call, &[b'a'; 100]);
    assert_eq!(answer.field("grpc-status"), Some("8"), "{answer:?}");
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    assert_eq!(http1::request(genkan.http(), "POST", "web.test", "/", &upgrade, &[b'a'; 100]).status, 413);
    say(&genkan, &hold("\"100\""), "a larger size", || post() == 200);
    say(&genkan, &hold("\"99\""), "a smaller size", || post() == 413);
    // Nobody gets in by it who should not: what can't be understood is left out.
    say(&genkan, &hold("65m"), "a size that may not be", || post() == 200);
    say(&genkan, &defaults("buffering: { response: { maxSize: 1m } }"), "responses", || status(&genkan) == 200);
    unsay(&genkan, || post() == 200);
}

#[test]
fn time_outs_end_requests() {
    let echo = Echo::start("web");
    let genkan = serve(&[echo.address()], &defaults("timeouts: { request: 100ms }"));
    assert_eq!(get(&genkan, "/delay/600000").status, 504);
    let slow = || get(&genkan, "/delay/200").status;
    say(&genkan, &defaults("timeouts: { request: 1m, read: 1m }"), "a longer time", || slow() == 200);
    say(&genkan, &defaults("timeouts: { read: 50ms }, retries: { attempts: 0 }"), "between reads", || slow() == 504);
    unsay(&genkan, || slow() == 200);
}

#[test]
fn responses_are_compressed() {
    let echo = Echo::start("web");
    let genkan = serve(&[echo.address()], &defaults("compression: { types: [\"*\"], minLength: 10 }"));
    let encoded = |count: usize| {
        let fields = [("Accept-Encoding", "gzip")];
        let answer = http1::request(genkan.http(), "GET", "web.test", &format!("/bytes/{count}"), &fields, b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.field("content-encoding") == Some("gzip")
    };
    assert_eq!((encoded(1000), encoded(5)), (true, false));
    say(&genkan, &defaults("compression: { enabled: false }"), "none", || !encoded(1000));
    say(&genkan, &defaults("compression: { types: [\"*\"] }"), "compression again", || encoded(1000));
    unsay(&genkan, || !encoded(1000));
}

#[test]
fn addresses_are_let_in_or_not() {
    let echo = Echo::start("web");
    let genkan = serve(&[echo.address()], &defaults("ipAccess: { deny: [127.0.0.0/8] }"));
    assert_eq!(status(&genkan), 403);
    say(&genkan, &defaults("ipAccess: { allow: [127.0.0.1] }"), "those that may", || status(&genkan) == 200);
    say(&genkan, &defaults("ipAccess: { allow: [192.0.2.1] }"), "others that may", || status(&genkan) == 403);
    // What can't be understood lets nobody in.
    say(&genkan, &defaults("ipAccess: { allow: [home] }"), "a broken list", || status(&genkan) == 503);
    // Told once it is served.
    genkan.wait_until("the problem", || genkan.problem("Invalid").is_some());
    unsay(&genkan, || status(&genkan) == 200);
}

#[test]
fn a_policy_that_can_not_be_read_closes_what_it_is_about() {
    let echo = Echo::start("web");
    // It was never readable, so nobody knows who may come in.
    let genkan = serve(&[echo.address()], &defaults("ipAccess: { allow: 127.0.0.1 }, timeouts: { read: 5 }"));
    assert_eq!(status(&genkan), 503);
    assert!(genkan.problem("Invalid").is_some(), "{:?}", genkan.problems());
    say(&genkan, &defaults("ipAccess: { alow: [192.0.2.1], allow: [127.0.0.1] }"), "another", || {
        genkan.problem("UnknownField").is_some()
    });
    assert_eq!(status(&genkan), 503);
    say(&genkan, &defaults("ipAccess: { allow: [127.0.0.1] }"), "a sound one", || status(&genkan) == 200);
    // Now that one holds until the next sound one.
    say(&genkan, &defaults("ipAccess: { allow: 192.0.2.1 }"), "a broken one", || {
        genkan.problem("InvalidObject").is_some()
    });
    assert_eq!(status(&genkan), 200);
    say(&genkan, &defaults("affinity: { type: Fingerprint }"), "another", || {
        genkan.problem("InvalidObject").is_some_and(|[_, told, _]| told.contains("Fingerprint"))
    });
    assert_eq!(status(&genkan), 200);
}

#[test]
fn clients_stay_with_an_endpoint() {
    let (one, two) = (Echo::start("one"), Echo::start("two"));
    let genkan = serve(&[one.address(), two.address()], &defaults("affinity: { type: Cookie, name: shop }"));
    let first = get(&genkan, "/");
    let cookie = first.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("shop="), "{cookie}");
    let again = || http1::request(genkan.http(), "GET", "web.test", "/", &[("Cookie", &cookie)], b"");
    assert!((0..8).all(|_| backend(&again()) == backend(&first)));
    say(&genkan, &defaults("affinity: { type: Header, name: x-shop }"), "a header", || {
        let answer = get(&genkan, "/");
        answer.field("set-cookie").is_none() && answer.field("x-shop").is_some()
    });
    unsay(&genkan, || get(&genkan, "/").field("x-shop").is_none());
}

#[test]
fn endpoints_are_chosen_as_a_policy_says() {
    let (one, two) = (Echo::start("one"), Echo::start("two"));
    let target = "group: \"\", kind: Service, name: web";
    let hash = "loadBalancing: { algorithm: ConsistentHash, hash: { by: Header, name: x-user } }";
    let hashed = policy("web", target, &format!("defaults: {{ {hash} }}"));
    let genkan = serve(&[one.address(), two.address()], &hashed);
    let same = || {
        let ask = || http1::request(genkan.http(), "GET", "web.test", "/", &[("x-user", "a")], b"");
        let first = backend(&ask());
        (0..7).all(|_| backend(&ask()) == first)
    };
    assert!(same());
    // In turn both are met.
    unsay(&genkan, || !same());
}

#[test]
fn attempts_are_made_as_a_policy_says() {
    let echo = Echo::start("web");
    // Nobody listens at the second endpoint.
    let genkan = serve(&[echo.address(), free_address()], &defaults("retries: { attempts: 0 }"));
    let statuses = || -> Vec<u16> { (0..8).map(|_| status(&genkan)).collect() };
    assert!(statuses().contains(&502));
    say(&genkan, &defaults("retries: { attempts: 3 }"), "further attempts", || statuses().iter().all(|it| *it == 200));
}

#[test]
fn a_gateway_overrides_its_routes_and_the_status_tells() {
    let echo = Echo::start("web");
    let nobody = "ipAccess: { deny: [127.0.0.0/8] }";
    let anybody = "ipAccess: {}";
    let of_gate = |part: &str, says: &str| policy("gate", GATE, &format!("{part}: {{ {says} }}"));
    let genkan = serve(&[echo.address()], &(of_gate("defaults", nobody) + &defaults(anybody)));
    assert_eq!(status(&genkan), 200);
    let told = |text: &str| genkan.admin_get("/statuses").1.contains(text);
    assert!(told("ipAccess by RoutePolicy default/web (HTTPRoute default/web)"));
    say(&genkan, &(of_gate("overrides", nobody) + &defaults(anybody)), "an override", || status(&genkan) == 403);
    genkan.wait_until("the status", || told("ipAccess by RoutePolicy default/gate (HTTPRoute default/web)"));
    assert!(told("the policy acts on HTTPRoute default/web"));
    // Of a rule only what the rule is for.
    let rule = policy("rule", &format!("{WEB}, sectionName: all"), &format!("defaults: {{ {nobody} }}"));
    say(&genkan, &(rule + &defaults(anybody)), "a rule's default", || status(&genkan) == 403);
    unsay(&genkan, || status(&genkan) == 200);
}

#[test]
fn a_filter_names_a_policy_that_acts_on_its_rule() {
    let echo = Echo::start("web");
    let named = "apiVersion: genkan.dev/v1alpha1\nkind: RoutePolicy\nmetadata: { name: closed }\nspec: { defaults: { \
                 ipAccess: { deny: [127.0.0.0/8] } } }\n";
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: filtered }\nspec:\n  \
                 parentRefs: [{ name: gate }]\n  hostnames: [filtered.test]\n  rules:\n  \
                 - matches: [{ path: { value: /closed } }]\n    filters: [{ type: ExtensionRef, extensionRef: { group: \
                 genkan.dev, kind: RoutePolicy, name: closed } }]\n    backendRefs: [{ name: web, port: 80 }]\n  \
                 - backendRefs: [{ name: web, port: 80 }]\n";
    let genkan = serve(&[echo.address()], named);
    genkan.write("route.yaml", route);
    let status = |path: &str| http1::get(genkan.http(), "filtered.test", path).status;
    genkan.wait_until("the route", || status("/") == 200);
    assert_eq!(status("/closed"), 403);
    // Without the policy the rule must not be open.
    unsay(&genkan, || status("/closed") == 500);
    assert_eq!(status("/"), 200);
}

#[test]
fn the_example_does_what_its_comments_say() {
    let folder = tempfile::tempdir().unwrap();
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/route-policy");
    for entry in std::fs::read_dir(example).unwrap() {
        let path = entry.unwrap().path();
        // Other tests serve their examples at the same time: the backend is where the system has room.
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("9111", &free_address().port().to_string());
        std::fs::write(folder.path().join(path.file_name().unwrap()), text).unwrap();
    }
    let genkan = Genkan::serve_folder(folder, Options::default());
    let post =
        |path: &str, size: usize| http1::request(genkan.http(), "POST", "shop.localhost", path, &[], &vec![b'a'; size]);
    genkan.wait_until("the backend", || post("/", 10).status == 200);
    assert_eq!(post("/", 2000).status, 413);
    assert!(post("/", 10).field("set-cookie").unwrap().starts_with("shop="));
    assert_eq!(post("/staff", 10).status, 403);
    assert_eq!(post("/accounts", 10).status, 401);
    let ada = [("authorization", "Basic YWRhOnNlY3JldA==")];
    assert_eq!(http1::request(genkan.http(), "GET", "shop.localhost", "/accounts", &ada, b"").status, 200);
    // Who is asked is the shop's own echo, which says yes to all.
    let orders = http1::request(genkan.http(), "GET", "shop.localhost", "/orders", &[("x-user", "root")], b"");
    assert_eq!(orders.status, 200);
    assert!(!orders.text().contains("root"), "{}", orders.text());
    let checkout: Vec<_> = (0..4).map(|_| post("/checkout", 2000).status).collect();
    assert_eq!(checkout, [200, 200, 200, 429]);
}
