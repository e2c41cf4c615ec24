//! Statuses of Gateway API as an API server keeps them: an older release, a restart, and a thousand routes. In a cluster
//! of its own, as the kinds are installed for everybody.

use std::time::Instant;

use genkan_e2e::cluster::Options;
use genkan_e2e::{Cluster, Genkan};
use serde_json::{Value, json};

use crate::site::{Site, fixed_service};

/// How many routes come at once.
const ROUTES: usize = 1000;

const CONTROLLER: &str = "genkan.test/gateway";

/// Gateway API without `supportedFeatures` in the status of classes, as its releases before v1.4 are.
fn install(cluster: &Cluster) {
    cluster.kubectl(&["apply", "--server-side", "--kustomize", &cluster.gateway_api_crds().display().to_string()]);
    let name = "gatewayclasses.gateway.networking.k8s.io";
    let text = cluster.kubectl(&["get", "crd", name, "--output", "json"]);
    let definition: Value = serde_json::from_str(&text).unwrap();
    let versions = definition["spec"]["versions"].as_array().unwrap().len();
    let remove = |index: usize| {
        let status = "schema/openAPIV3Schema/properties/status/properties";
        json!({"op": "remove", "path": format!("/spec/versions/{index}/{status}/supportedFeatures")})
    };
    let patch = Value::from((0..versions).map(remove).collect::<Vec<_>>()).to_string();
    cluster.kubectl(&["patch", "crd", name, "--type", "json", "--patch", &patch]);
}

fn front() -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: genkan}}\nspec: \
         {{controllerName: {CONTROLLER}}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: front}}\nspec: {{gatewayClassName: \
         genkan, listeners: [{{name: http, protocol: HTTP, port: {}}}]}}\n---\n",
        genkan_e2e::genkan::free_address().port()
    )
}

fn route(name: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec: {{parentRefs: \
         [{{name: front}}], hostnames: [{name}.test], rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}\n---\n"
    )
}

/// The condition of a type: status and reason.
fn condition(owner: &Value, kind: &str) -> Option<String> {
    let all = owner["conditions"].as_array()?;
    let found = all.iter().find(|condition| condition["type"] == kind)?;
    Some(format!("{} {}", found["status"].as_str()?, found["reason"].as_str()?))
}

fn attached(site: &Site<'_>) -> Option<u64> {
    site.namespace.get("gateway/front")?["status"]["listeners"][0]["attachedRoutes"].as_u64()
}

fn at_route(site: &Site<'_>, name: &str, kind: &str) -> Option<String> {
    condition(&site.namespace.get(&format!("httproute/{name}"))?["status"]["parents"][0], kind)
}

#[test]
fn statuses_fit_an_older_release_and_follow_what_changed_during_a_restart() {
    let cluster = Cluster::start(&Options::default());
    let site = Site::within(&cluster, "statuses");
    install(&cluster);
    let folder = tempfile::tempdir().unwrap();
    let cache = format!("--cache-file={}", folder.path().join("cache").display());
    let named = format!("--gateway-controller-name={CONTROLLER}");
    let arguments = [&*cache, &named, "--publish-status-address=1.2.3.4", "--disable-leader-election"];
    let mut genkan = site.control_as("genkan-0", &arguments);
    let service = fixed_service("web", "192.0.2.1:9".parse().unwrap());
    let objects = service + &front() + &route("before");
    site.namespace.wait_until("the kinds are served", || site.namespace.try_apply(&objects).is_ok());
    let class = || site.namespace.get("gatewayclass/genkan").unwrap()["status"].clone();
    genkan.wait_until("the class is accepted", || condition(&class(), "Accepted").as_deref() == Some("True Accepted"));
    assert_eq!(class().get("supportedFeatures"), None);
    genkan.wait_until("the route counts", || attached(&site) == Some(1));
    genkan.wait_until("its backend is there", || {
        at_route(&site, "before", "ResolvedRefs").as_deref() == Some("True ResolvedRefs")
    });

    genkan.kill();
    site.namespace.kubectl(&["delete", "service", "web"]);
    site.namespace.apply(&route("meanwhile"));
    let genkan = site.control_as("genkan-0", &arguments);
    genkan.wait_until("the new route counts", || attached(&site) == Some(2));
    for name in ["before", "meanwhile"] {
        genkan.wait_until("the backend is gone", || {
            at_route(&site, name, "ResolvedRefs").as_deref() == Some("False BackendNotFound")
        });
    }
    a_word_that_is_new_is_told(&cluster, &site, &genkan);
    what_another_controller_left_goes(&site, &genkan);
}

/// As of a newer release, whose CRDs are installed before us.
fn a_word_that_is_new_is_told(cluster: &Cluster, site: &Site<'_>, genkan: &Genkan) {
    let name = "httproutes.gateway.networking.k8s.io";
    let text = cluster.kubectl(&["get", "crd", name, "--output", "json"]);
    let mut definition: Value = serde_json::from_str(&text).unwrap();
    for version in definition["spec"]["versions"].as_array_mut().unwrap() {
        let rules = "/schema/openAPIV3Schema/properties/spec/properties/rules/items";
        let path = version.pointer_mut(&format!("{rules}/properties/matches/items/properties/path")).unwrap();
        // They name the words that there are.
        path.as_object_mut().unwrap().remove("x-kubernetes-validations");
        path.pointer_mut("/properties/type/enum").unwrap().as_array_mut().unwrap().push(json!("Glob"));
    }
    cluster.kubectl_with(&["replace", "--filename", "-"], &definition.to_string()).unwrap();
    let newer = route("newer").replace("rules: [{", "rules: [{matches: [{path: {type: Glob, value: /a}}], ");
    site.namespace.wait_until("the word is served", || site.namespace.try_apply(&newer).is_ok());
    genkan.wait_until("the route is not accepted", || {
        at_route(site, "newer", "Accepted").as_deref() == Some("False UnsupportedValue")
    });
    assert_eq!(attached(site), Some(2), "it does not count");
}

/// Lists of a Gateway have entries by name, and the API server keeps those of other owners.
fn what_another_controller_left_goes(site: &Site<'_>, genkan: &Genkan) {
    let mut gateway = site.namespace.get("gateway/front").unwrap();
    let time = gateway["status"]["conditions"][0]["lastTransitionTime"].clone();
    let theirs = |kind: &str| json!({"type": kind, "status": "True", "reason": "Old", "message": "", "lastTransitionTime": time});
    let status = &mut gateway["status"];
    status["conditions"].as_array_mut().unwrap().push(theirs("other.test/Checked"));
    let old = json!({"name": "old", "attachedRoutes": 7, "supportedKinds": [], "conditions": [theirs("Programmed")]});
    status["listeners"].as_array_mut().unwrap().push(old);
    let patch = json!({"status": status}).to_string();
    site.namespace.kubectl(&[
        "patch",
        "gateway/front",
        "--subresource=status",
        "--type=merge",
        "--field-manager=other",
        "--patch",
        &patch,
    ]);
    genkan.wait_until("the listener that it left is gone", || {
        let status = site.namespace.get("gateway/front").unwrap()["status"].clone();
        status["listeners"].as_array().unwrap().len() == 1
    });
    let status = site.namespace.get("gateway/front").unwrap()["status"].clone();
    assert_eq!(condition(&status, "other.test/Checked").as_deref(), Some("True Old"), "what is not ours stays");
    assert_eq!(condition(&status, "Programmed").as_deref(), Some("True Programmed"));
}

/// How many statuses of a resource were written, as the API server counts.
fn writes(cluster: &Cluster, resource: &str) -> usize {
    let metrics = cluster.kubectl(&["get", "--raw", "/metrics"]);
    let labels = [format!("resource=\"{resource}\""), "subresource=\"status\"".to_owned()];
    let counted = metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_request_total{") && labels.iter().all(|label| line.contains(label)));
    counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).map(|count| count as usize).sum()
}

/// How long it took is printed.
#[test]
fn a_thousand_routes_are_counted_by_few_writes() {
    let cluster = Cluster::start(&Options::default());
    let site = Site::within(&cluster, "thousand");
    install(&cluster);
    let named = format!("--gateway-controller-name={CONTROLLER}");
    let arguments = [&*named, "--publish-status-address=1.2.3.4", "--disable-leader-election"];
    let genkan = site.control_as("genkan-0", &arguments);
    let objects = fixed_service("web", "192.0.2.1:9".parse().unwrap()) + &front();
    site.namespace.wait_until("the kinds are served", || site.namespace.try_apply(&objects).is_ok());
    genkan.wait_until("the Gateway is served", || attached(&site) == Some(0));
    let routes: String = (0..ROUTES).map(|index| route(&format!("r{index:04}"))).collect();
    let (before, began) = (writes(&cluster, "gateways"), Instant::now());
    std::thread::scope(|scope| {
        let apply = scope.spawn(|| {
            site.namespace.apply(&routes);
            Instant::now()
        });
        site.namespace.wait_until("all are counted", || attached(&site) == Some(ROUTES as u64));
        let counted = Instant::now();
        let applied = apply.join().unwrap();
        let took = |at: Instant| at.saturating_duration_since(began).as_millis();
        eprintln!("{ROUTES} routes applied in {} ms, counted after {} ms", took(applied), took(counted));
    });
    let accepted = || {
        let text = site.namespace.kubectl(&["get", "httproutes", "--output", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        items.filter(|route| condition(&route["status"]["parents"][0], "Accepted").is_some()).count()
    };
    genkan.wait_until("every route has a status", || accepted() == ROUTES);
    eprintln!("every status was seen after {} ms", began.elapsed().as_millis());
    let took = began.elapsed();
    assert_eq!(attached(&site), Some(ROUTES as u64));
    let (of_gateway, of_routes) = (writes(&cluster, "gateways") - before, writes(&cluster, "httproutes"));
    eprintln!("{of_gateway} writes of the Gateway, {of_routes} of routes");
    assert_eq!(of_routes, ROUTES, "each is written once");
    // At the slowest pace, with some room for the quick ones before it.
    let most = took.as_millis() / 400 + 8;
    assert!((of_gateway as u128) <= most, "{of_gateway} writes in {took:?}");
}
