//! RoutePolicies that say who is asked about requests: users and services, and nobody passes while they are not there.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use genkan_e2e::genkan::free_address;
use genkan_e2e::http1::{self, Answer};
use genkan_e2e::manifests::service;
use genkan_e2e::{Echo, Genkan, Options, judge};

const ROUTES: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: genkan }\n\
                      spec: { controllerName: genkan.dev/gateway-controller }\n---\n\
                      apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: gate }\nspec:\n  \
                      gatewayClassName: genkan\n  listeners: [{ name: http, port: 80, protocol: HTTP }]\n---\n\
                      apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: web }\nspec:\n  \
                      parentRefs: [{ name: gate }]\n  hostnames: [web.test]\n  rules:\n  \
                      - { name: login, matches: [{ path: { value: /login } }], backendRefs: [{ name: web, port: 80 }] }\n  \
                      - name: cors\n    matches: [{ path: { value: /cors } }]\n    \
                        filters: [{ type: CORS, cors: { allowOrigins: [\"https://a.test\"] } }]\n    \
                        backendRefs: [{ name: web, port: 80 }]\n  \
                      - backendRefs: [{ name: web, port: 80 }]\n---\n\
                      apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: { name: calls }\nspec:\n  \
                      parentRefs: [{ name: gate }]\n  hostnames: [calls.test]\n  \
                      rules: [{ backendRefs: [{ name: web, port: 80 }] }]\n---\n";

const GATE: &str = "group: gateway.networking.k8s.io, kind: Gateway, name: gate";
const WEB: &str = "group: gateway.networking.k8s.io, kind: HTTPRoute, name: web";
const LOGIN: &str = "group: gateway.networking.k8s.io, kind: HTTPRoute, name: web, sectionName: login";
const PASSWORD: &str = "basicAuth: { secretName: users, realm: Staff }";
const SERVICE: &str =
    "externalAuth: { backendRef: { name: judge, port: 80 }, http: { path: /check, allowedResponseHeaders: [X-User] } }";

/// Of "secret".
const HASH: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
/// `ada:secret`, `eve:secret` and `ada:wrong`.
const ADA: &str = "Basic YWRhOnNlY3JldA==";
const EVE: &str = "Basic ZXZlOnNlY3JldA==";
const WRONG: &str = "Basic YWRhOndyb25n";

/// A policy `name` of one target that says something.
fn policy(name: &str, target: &str, says: &str) -> String {
    format!(
        "apiVersion: genkan.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{ name: {name} }}\nspec:\n  \
         targetRefs: [{{ {target} }}]\n  {says}\n---\n"
    )
}

fn defaults(name: &str, target: &str, says: &str) -> String {
    policy(name, target, &format!("defaults: {{ {says} }}"))
}

fn users(user: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: users }}\nstringData: {{ auth: \"{user}:{HASH}\" }}\n")
}

fn serve(echo: &Echo, policies: &str, besides: &str) -> Genkan {
    let web = service("web", &[echo.address()]) + ROUTES;
    let files = [("web.yaml", &*web), ("policy.yaml", policies), ("besides.yaml", besides)];
    Genkan::serve_with(&files, Options::default())
}

/// What somebody who says this about himself gets.
fn ask(genkan: &Genkan, path: &str, authorization: &str) -> Answer {
    http1::request(genkan.http(), "GET", "web.test", path, &[("authorization", authorization)], b"")
}

/// The status of a call of gRPC.
fn call(genkan: &Genkan, authorization: &str) -> String {
    let fields = [("content-type", "application/grpc"), ("authorization", authorization)];
    let answer = http1::request(genkan.http(), "POST", "calls.test", "/echo.Echo/Other", &fields, b"");
    answer.field("grpc-status").unwrap_or("none").to_owned()
}

#[test]
fn passwords_are_asked_for_and_a_secret_that_changes_acts_at_once() {
    let echo = Echo::start("web");
    let genkan = serve(&echo, &defaults("gate", GATE, PASSWORD), &users("ada"));
    let answer = http1::get(genkan.http(), "web.test", "/");
    let asked = Some("Basic realm=\"Staff\", charset=\"UTF-8\"");
    assert_eq!((answer.status, answer.field("www-authenticate")), (401, asked));
    let statuses = |user: [&str; 3]| user.map(|word| ask(&genkan, "/", word).status);
    assert_eq!(statuses([ADA, EVE, WRONG]), [200, 401, 401]);
    assert!(!ask(&genkan, "/", ADA).text().to_lowercase().contains("authorization"));
    assert_eq!(call(&genkan, WRONG), "16");
    assert_ne!(call(&genkan, ADA), "16");
    genkan.write("besides.yaml", &users("eve"));
    genkan.wait_until("another user", || statuses([ADA, EVE, WRONG]) == [401, 200, 401]);
    // Without the Secret nobody gets in, and without the policy everybody does.
    std::fs::remove_file(genkan.folder().join("besides.yaml")).unwrap();
    genkan.wait_until("no users", || statuses([ADA, EVE, WRONG]) == [503; 3]);
    // What is told follows what is served.
    genkan.wait_until("the problem", || genkan.problem("InvalidSecretRef").is_some());
    let told = genkan.problem("InvalidSecretRef").unwrap().concat();
    assert!(told.contains("Secret default/users does not exist"), "{told}");
    std::fs::remove_file(genkan.folder().join("policy.yaml")).unwrap();
    genkan.wait_until("no policy", || statuses([ADA, EVE, WRONG]) == [200; 3]);
}

#[test]
fn the_backend_sees_the_password_where_a_policy_says_so() {
    let echo = Echo::start("web");
    let says = "basicAuth: { secretName: users, forwardCredentials: true }";
    let genkan = serve(&echo, &defaults("web", WEB, says), &users("ada"));
    assert!(ask(&genkan, "/", ADA).text().contains(ADA));
}

#[test]
fn a_service_says_who_passes_and_closes_the_routes_while_it_is_away() {
    let echo = Echo::start("web");
    let judge = |endpoints: &[_]| service("judge", endpoints);
    let genkan = serve(&echo, &defaults("gate", GATE, SERVICE), &judge(&[judge::of_words()]));
    let fields = [("authorization", "open"), ("x-user", "root")];
    let answer = http1::request(genkan.http(), "GET", "web.test", "/", &fields, b"");
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("ada") && !answer.text().contains("root"), "{}", answer.text());
    let answer = ask(&genkan, "/", "shut");
    assert_eq!((answer.status, answer.field("x-why"), answer.text().as_str()), (403, Some("word"), "no"));
    assert_eq!(call(&genkan, "shut"), "7");
    // Nobody listens there; there is no endpoint; there is no Service.
    genkan.write("besides.yaml", &judge(&[free_address()]));
    genkan.wait_until("nobody listens", || ask(&genkan, "/", "open").status == 503);
    genkan.write("besides.yaml", &judge(&[]));
    genkan.wait_until("no endpoint", || genkan.admin_get("/statuses").1.contains("everything that it names is there"));
    assert_eq!(ask(&genkan, "/", "open").status, 503);
    std::fs::remove_file(genkan.folder().join("besides.yaml")).unwrap();
    genkan.wait_until("no Service", || genkan.problem("BackendNotFound").is_some());
    assert_eq!(ask(&genkan, "/", "open").status, 503);
    genkan.write("besides.yaml", &judge(&[judge::of_words()]));
    genkan.wait_until("the service is back", || ask(&genkan, "/", "open").status == 200);
}

#[test]
fn a_service_of_another_namespace_is_asked_only_where_a_grant_allows_it() {
    let echo = Echo::start("web");
    let says = "externalAuth: { backendRef: { name: judge, namespace: staff, port: 80 }, http: { path: /check } }";
    let elsewhere = service("judge", &[judge::of_words()]).replace("metadata: {", "metadata: { namespace: staff,");
    let genkan = serve(&echo, &defaults("gate", GATE, says), &elsewhere);
    assert_eq!(ask(&genkan, "/", "open").status, 503);
    assert!(genkan.problem("RefNotPermitted").is_some(), "{:?}", genkan.problems());
    let grant = |kind: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {{ name: judge, namespace: staff }}\n\
             spec:\n  from: [{{ group: genkan.dev, kind: {kind}, namespace: default }}]\n  \
             to: [{{ group: \"\", kind: Service }}]\n"
        )
    };
    genkan.write("grant.yaml", &grant("RoutePolicy"));
    genkan.wait_until("the grant", || ask(&genkan, "/", "open").status == 200);
    genkan.write("grant.yaml", &grant("ListenerPolicy"));
    genkan.wait_until("a grant of others", || ask(&genkan, "/", "open").status == 503);
}

#[test]
fn a_rule_is_opened_against_defaults_and_not_against_overrides() {
    let echo = Echo::start("web");
    let login = defaults("login", LOGIN, "basicAuth: { enabled: false }, externalAuth: { enabled: false }");
    let gate = |part: &str| policy("gate", GATE, &format!("{part}: {{ {PASSWORD}, {SERVICE} }}"));
    let besides = users("ada") + "---\n" + &service("judge", &[judge::of_words()]);
    let genkan = serve(&echo, &(gate("defaults") + &login), &besides);
    let paths = || ["/login", "/"].map(|path| http1::get(genkan.http(), "web.test", path).status);
    assert_eq!(paths(), [200, 401]);
    // Both are asked: the password is right, and the service says no.
    assert_eq!(ask(&genkan, "/", ADA).status, 403);
    genkan.write("policy.yaml", &(gate("overrides") + &login));
    genkan.wait_until("an override", || paths() == [401, 401]);
}

#[test]
fn a_preflight_is_answered_and_nobody_asked() {
    let echo = Echo::start("web");
    let genkan = serve(&echo, &defaults("web", WEB, PASSWORD), &users("ada"));
    let fields = [("origin", "https://a.test"), ("access-control-request-method", "GET")];
    let preflight = |path: &str| http1::request(genkan.http(), "OPTIONS", "web.test", path, &fields, b"");
    let answer = preflight("/cors");
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (204, Some("https://a.test")));
    assert_eq!(preflight("/").status, 401);
    assert_eq!(http1::get(genkan.http(), "web.test", "/cors").status, 401);
}
