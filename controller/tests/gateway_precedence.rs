//! Whom a request reaches among HTTPRoutes and Gateways that compete for it, asked through the compiled table and held
//! against a naive reading of the API: all listeners of the port, all rules of all routes, sorted by its text.

use std::cmp::Reverse;

use genkan_controller::resources::{Object, Resources};
use genkan_controller::settings::Settings;
use genkan_controller::translate::translate;
use genkan_routing::name::ListenerId;
use genkan_routing::snapshot::{RequestView, Snapshot};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

const PORT: u16 = 8081;
const LISTENER: &str = "gateway/8081";
const PATTERNS: &[&str] = &["a.example.com", "x.a.example.com", "*.a.example.com", "*.example.com", "*.com", "b.org"];
const HOSTS: &[&str] =
    &["a.example.com", "x.a.example.com", "y.a.example.com", "b.example.com", "c.com", "b.org", "d.net"];

/// Two Gateways on one port, the older first, with the hostnames of their listeners, and the routes.
#[derive(Clone, Debug)]
struct World {
    gateways: [Vec<Option<&'static str>>; 2],
    routes: Vec<Route>,
}

#[derive(Clone, Debug)]
struct Route {
    namespace: &'static str,
    name: String,
    age: u8,
    /// Gateways, and the listeners of each by their places.
    parents: Vec<(usize, Option<usize>)>,
    hostnames: Vec<&'static str>,
    rules: Vec<Vec<Condition>>,
}

/// What a match asks for.
#[derive(Clone, Debug)]
struct Condition {
    path: Option<(&'static str, &'static str)>,
    method: Option<&'static str>,
    headers: Vec<&'static str>,
    query: Vec<&'static str>,
}

#[derive(Clone, Debug)]
struct Request {
    host: &'static str,
    path: &'static str,
    method: &'static str,
    headers: Vec<&'static str>,
    query: Vec<&'static str>,
}

/// A rule: namespace and name of its route, and its place in it.
type Reached = (String, String, usize);

fn world() -> impl Strategy<Value = World> {
    let hostnames = || {
        (any::<bool>(), subsequence(PATTERNS, 0..4))
            .prop_map(|(any, names)| names.into_iter().map(Some).chain(any.then_some(None)).collect::<Vec<_>>())
    };
    (hostnames(), hostnames(), vec(route(), 1..6)).prop_map(|(older, younger, mut routes)| {
        // Names are told apart, so that every rule has its own.
        for (number, route) in routes.iter_mut().enumerate() {
            route.name = format!("{}{number}", route.name);
        }
        World { gateways: [older, younger], routes }
    })
}

fn route() -> impl Strategy<Value = Route> {
    let place = (select(vec!["x", "x-y", "y"]), select(vec!["a", "b"]), 0..3u8);
    let parent = (0..2usize, option::weighted(0.3, 0..3usize));
    let hostnames = prop_oneof![Just(vec![]), subsequence(PATTERNS, 1..3)];
    let rules = vec(vec(condition(), 0..3), 1..3);
    (place, vec(parent, 1..3), hostnames, rules).prop_map(|((namespace, name, age), parents, hostnames, rules)| Route {
        namespace,
        name: name.to_owned(),
        age,
        parents,
        hostnames,
        rules,
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    let path = select(vec![
        ("Exact", "/"),
        ("Exact", "/a"),
        ("Exact", "/a/b"),
        ("PathPrefix", "/"),
        ("PathPrefix", "/a"),
        ("PathPrefix", "/a/b"),
        ("RegularExpression", "/a.*"),
        ("RegularExpression", "/[a-z]"),
    ]);
    let method = option::weighted(0.3, select(vec!["GET", "POST"]));
    (option::weighted(0.8, path), method, subsequence(&["x-one", "x-two"], 0..3), subsequence(&["p", "q"], 0..3))
        .prop_map(|(path, method, headers, query)| Condition { path, method, headers, query })
}

fn request() -> impl Strategy<Value = Request> {
    let line = (select(HOSTS), select(vec!["/", "/a", "/a/b", "/a/b/c", "/ab", "/z"]), select(vec!["GET", "POST"]));
    (line, subsequence(&["x-one", "x-two"], 0..3), subsequence(&["p", "q"], 0..3))
        .prop_map(|((host, path, method), headers, query)| Request { host, path, method, headers, query })
}

impl World {
    fn snapshot(&self) -> Snapshot {
        let mut resources = Resources::default();
        let class = json!({"controllerName": "genkan.dev/gateway-controller"});
        resources.apply(Object::GatewayClass(object(json!({"metadata": {"name": "genkan"}, "spec": class}))));
        for (number, hostnames) in self.gateways.iter().enumerate().filter(|(_, hostnames)| !hostnames.is_empty()) {
            let listener = |(place, hostname): (usize, &Option<&str>)| {
                let mut listener = json!({
                    "name": format!("l{place}"), "port": PORT, "protocol": "HTTP",
                    "allowedRoutes": {"namespaces": {"from": "All"}},
                });
                if let Some(hostname) = hostname {
                    listener["hostname"] = json!(hostname);
                }
                listener
            };
            let listeners: Vec<_> = hostnames.iter().enumerate().map(listener).collect();
            let created = format!("2024-01-0{}T00:00:00Z", number + 1);
            let metadata = json!({"namespace": "x", "name": format!("g{number}"), "creationTimestamp": created});
            let spec = json!({"gatewayClassName": "genkan", "listeners": listeners});
            resources.apply(Object::Gateway(object(json!({"metadata": metadata, "spec": spec}))));
        }
        for route in &self.routes {
            resources.apply(Object::HttpRoute(object(route.manifest())));
        }
        Snapshot::compile(translate(&resources, &Settings::default()).model)
    }

    /// A route of each listener that takes every request.
    fn one_for_each_listener(&self) -> Vec<Route> {
        let all = self
            .gateways
            .iter()
            .enumerate()
            .flat_map(|(gateway, all)| (0..all.len()).map(move |place| (gateway, place)));
        let route = |(gateway, place)| Route {
            namespace: "x",
            name: format!("all-{gateway}-{place}"),
            age: 0,
            parents: vec![(gateway, Some(place))],
            hostnames: vec![],
            rules: vec![vec![]],
        };
        all.map(route).collect()
    }

    /// The listener that a host belongs to: the one with the most specific hostname. A younger Gateway has no hostname
    /// that the older one has.
    fn listener(&self, host: &str) -> Option<(usize, usize)> {
        let all = self.gateways.iter().enumerate().flat_map(|(gateway, hostnames)| {
            hostnames.iter().enumerate().map(move |(place, hostname)| ((gateway, place), hostname))
        });
        let covering = all.filter(|(_, hostname)| hostname.is_none_or(|hostname| covers(hostname, host)));
        let best =
            covering.max_by_key(|((gateway, _), hostname)| (hostname.map_or((0, 0), specificity), Reverse(*gateway)));
        best.map(|(listener, _)| listener)
    }

    /// `HTTPRouteSpec.hostnames`, then `HTTPRouteRule.matches`.
    fn reached(&self, request: &Request) -> Option<Reached> {
        let listener = self.listener(request.host)?;
        let own = self.gateways[listener.0][listener.1];
        let mut all = Vec::new();
        for route in self.routes.iter().filter(|route| route.names(listener)) {
            let Some(hostname) = route.hostname(own, request.host) else { continue };
            for (place, rule) in route.rules.iter().enumerate() {
                let any = Condition { path: None, method: None, headers: vec![], query: vec![] };
                let any = [any];
                let conditions = if rule.is_empty() { &any[..] } else { rule };
                for (index, condition) in conditions.iter().enumerate().filter(|(_, it)| it.satisfied(request)) {
                    let said = Reverse((hostname, condition.rank()));
                    let name = format!("{}/{}", route.namespace, route.name);
                    all.push(((said, route.age, name, place, index), (route, place)));
                }
            }
        }
        let (_, (route, place)) = all.into_iter().min_by(|(one, _), (other, _)| one.cmp(other))?;
        Some((route.namespace.to_owned(), route.name.clone(), place))
    }
}

impl Route {
    fn manifest(&self) -> Value {
        let parent = |(gateway, place): &(usize, Option<usize>)| match place {
            Some(place) => json!({"namespace": "x", "name": format!("g{gateway}"), "sectionName": format!("l{place}")}),
            None => json!({"namespace": "x", "name": format!("g{gateway}")}),
        };
        let rule = |conditions: &Vec<Condition>| {
            let matches: Vec<_> = conditions.iter().map(Condition::manifest).collect();
            json!({"matches": matches, "backendRefs": []})
        };
        json!({
            "metadata": {
                "namespace": self.namespace, "name": self.name,
                "creationTimestamp": format!("2024-02-0{}T00:00:00Z", self.age + 1),
            },
            "spec": {
                "parentRefs": self.parents.iter().map(parent).collect::<Vec<_>>(), "hostnames": self.hostnames,
                "rules": self.rules.iter().map(rule).collect::<Vec<_>>(),
            },
        })
    }

    fn names(&self, listener: (usize, usize)) -> bool {
        self.parents
            .iter()
            .any(|(gateway, place)| *gateway == listener.0 && place.is_none_or(|place| place == listener.1))
    }

    /// How much is said about a host by the most specific of what both the listener and the route cover; nothing where
    /// the route is not for the host. Hostnames that have nothing in common with the listener's are passed over.
    fn hostname(&self, listener: Option<&str>, host: &str) -> Option<(usize, usize)> {
        let own = listener.map_or((0, 0), specificity);
        if self.hostnames.is_empty() {
            return Some(own);
        }
        // Of two that cover the same host, the more specific one is what both cover.
        let named = self.hostnames.iter().filter(|name| covers(name, host));
        named.map(|name| specificity(name).max(own)).max()
    }
}

impl Condition {
    fn manifest(&self) -> Value {
        let named = |names: &[&str]| names.iter().map(|name| json!({"name": name, "value": "1"})).collect::<Vec<_>>();
        let mut manifest = json!({"headers": named(&self.headers), "queryParams": named(&self.query)});
        if let Some((kind, value)) = self.path {
            manifest["path"] = json!({"type": kind, "value": value});
        }
        if let Some(method) = self.method {
            manifest["method"] = json!(method);
        }
        manifest
    }

    fn satisfied(&self, request: &Request) -> bool {
        let path = match self.path.unwrap_or(("PathPrefix", "/")) {
            ("Exact", path) => path == request.path,
            ("RegularExpression", "/a.*") => request.path.starts_with("/a"),
            ("RegularExpression", _) => request.path.len() == 2,
            (_, prefix) => {
                let elements = |path: &'static str| path.split('/').filter(|element| !element.is_empty());
                elements(request.path).take(elements(prefix).count()).eq(elements(prefix))
            }
        };
        path && self.method.is_none_or(|method| method == request.method)
            && self.headers.iter().all(|name| request.headers.contains(name))
            && self.query.iter().all(|name| request.query.contains(name))
    }

    /// Greater comes first. Where regular expressions stand the API leaves open: after exact paths, the longer first.
    fn rank(&self) -> (usize, usize, bool, usize, usize) {
        let (kind, path) = self.path.unwrap_or(("PathPrefix", "/"));
        let (kind, length) = match kind {
            "Exact" => (2, 0),
            "RegularExpression" => (1, path.len()),
            _ => (0, path.len()),
        };
        (kind, length, self.method.is_some(), self.headers.len(), self.query.len())
    }
}

impl Request {
    fn ask(&self, snapshot: &Snapshot) -> Option<Reached> {
        let field = |name: &&'static str| (HeaderName::from_static(name), HeaderValue::from_static("1"));
        let headers: HeaderMap = self.headers.iter().map(field).collect();
        let query: Vec<_> = self.query.iter().map(|name| format!("{name}=1")).collect();
        let (query, method) = (query.join("&"), Method::from_bytes(self.method.as_bytes()).expect("a method"));
        let view =
            RequestView { host: self.host, path: self.path, query: Some(&query), method: &method, headers: &headers };
        let rule = snapshot.route(&ListenerId::new(LISTENER), &view)?.rule;
        let id: Vec<_> = rule.id.as_str().split('/').collect();
        let ["httproute", namespace, name, place] = id[..] else { panic!("{:?} is no rule of a route", rule.id) };
        Some((namespace.to_owned(), name.to_owned(), place.parse().expect("a number")))
    }
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> std::sync::Arc<T> {
    std::sync::Arc::new(serde_json::from_value(value).expect("an object of its kind"))
}

fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => host == pattern,
    }
}

/// Characters in a hostname without wildcard, then characters in any.
fn specificity(pattern: &str) -> (usize, usize) {
    if pattern.starts_with('*') { (0, pattern.len()) } else { (pattern.len(), pattern.len()) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_request_reaches_the_rule_that_the_api_puts_first(world in world(), requests in vec(request(), 1..12)) {
        let snapshot = world.snapshot();
        for request in requests {
            prop_assert_eq!(request.ask(&snapshot), world.reached(&request), "{:?} of {:#?}", request, world);
        }
    }

    #[test]
    fn only_the_most_specific_listener_answers(world in world()) {
        let world = World { routes: world.one_for_each_listener(), ..world };
        let snapshot = world.snapshot();
        for host in HOSTS {
            let request = Request { host, path: "/any", method: "GET", headers: vec![], query: vec![] };
            let name = world.listener(host).map(|(gateway, place)| format!("all-{gateway}-{place}"));
            prop_assert_eq!(request.ask(&snapshot).map(|(_, name, _)| name), name, "{} of {:#?}", host, world);
        }
    }
}
