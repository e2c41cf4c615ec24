//! An API server that goes away, and kinds that come later: what was last seen is served. Each in a cluster of its own.

use std::time::{Duration, Instant};

use genkan_e2e::cluster::Options;
use genkan_e2e::http1::{self, Client};
use genkan_e2e::load::Requests;
use genkan_e2e::{Cluster, Echo, Genkan};

use crate::site::{Site, backend, fixed_service, status};

/// How long the API server stays away.
const AWAY: Duration = Duration::from_secs(60);

fn backends(cluster: &Cluster) -> [Echo; 2] {
    ["one", "two"].map(|name| Echo::start_at(name, cluster.host_address()))
}

/// Whether Ingresses are followed, as the metrics say.
fn up(genkan: &Genkan) -> bool {
    genkan.admin_get("/metrics").1.contains("genkan_watch_up{kind=\"Ingress\"} 1\n")
}

/// The lines of `/readyz`.
fn readiness(genkan: &Genkan) -> (u16, String) {
    genkan.admin_get("/readyz")
}

#[test]
fn while_the_api_server_is_away_nothing_fails_and_afterwards_changes_are_served() {
    let cluster = Cluster::start(&Options::default());
    let site = Site::within(&cluster, "away");
    let [one, two] = backends(&cluster);
    let web = fixed_service("web", one.address()) + &site.ingress("web", "web.test", "web", &[]);
    let other = fixed_service("other", one.address()) + &site.ingress("other", "other.test", "other", &[]);
    site.namespace.apply(&(web + &other));
    let genkan = site.control_as("genkan-0", &["--publish-status-address=1.2.3.4"]);
    genkan.wait_until("both are served", || status(&genkan, "web.test") == 200 && status(&genkan, "other.test") == 200);
    let address = genkan.http();
    let load = Requests::start("web.test", move || address);

    cluster.stop_api_server();
    let stopped = Instant::now();
    genkan.wait_until("readiness tells of it", || {
        let (status, text) = readiness(&genkan);
        status == 200 && text.contains("Ingress: not followed for")
    });
    assert!(!up(&genkan));
    while stopped.elapsed() < AWAY {
        let done = load.done();
        genkan.wait_until("requests go on", || load.done() > done + 100);
    }
    cluster.start_api_server();
    site.namespace.apply(&fixed_service("other", two.address()));
    genkan.wait_until("the change is served", || backend(&genkan, "other.test") == "two");
    genkan.wait_until("all is well", || readiness(&genkan).1 == "ready\n" && up(&genkan));
    load.finish();
}

#[test]
fn a_restart_without_the_api_server_serves_what_the_cache_holds() {
    let cluster = Cluster::start(&Options::default());
    let site = Site::within(&cluster, "cache");
    let [one, two] = backends(&cluster);
    site.namespace.apply(&(fixed_service("web", one.address()) + &site.ingress("web", "web.test", "web", &[])));
    let folder = tempfile::tempdir().unwrap();
    let cache = format!("--cache-file={}", folder.path().join("cache").display());
    let mut genkan = site.control(&[&cache]);
    genkan.wait_until("it is served", || backend(&genkan, "web.test") == "one");
    genkan.kill();
    cluster.stop_api_server();
    // Without the cache there is nothing to serve, and it says what it waits for.
    let mut options = site.options("genkan-1", &["--update-status=false"]);
    options.unready = true;
    let empty = Genkan::control(&site.kubeconfig(), options);
    empty.wait_until("it says what is missing", || {
        let (status, text) = readiness(&empty);
        status == 503 && text.contains("Ingress: not followed for")
    });
    let genkan = site.control(&[&cache]);
    assert_eq!(backend(&genkan, "web.test"), "one");
    cluster.start_api_server();
    site.namespace.apply(&fixed_service("web", two.address()));
    genkan.wait_until("the API server is heard", || backend(&genkan, "web.test") == "two");
    empty.wait_until("so it is by the other", || readiness(&empty).0 == 200);
    for genkan in [&genkan, &empty] {
        genkan.wait_until("all is well", || readiness(genkan).1 == "ready\n" && up(genkan));
    }
}

#[test]
fn a_crd_that_is_installed_later_is_served_without_a_restart() {
    let cluster = Cluster::start(&Options::default());
    let site = Site::within(&cluster, "crd");
    let [one, _] = backends(&cluster);
    site.namespace.apply(&fixed_service("web", one.address()));
    let gateway_port = genkan_e2e::genkan::free_address();
    let genkan = site.control(&["--gateway-controller-name=genkan.test/gateway"]);
    cluster.kubectl(&["apply", "--server-side", "--kustomize", &cluster.gateway_api_crds().display().to_string()]);
    let objects = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: genkan}}\nspec: \
         {{controllerName: genkan.test/gateway}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: front}}\nspec: {{gatewayClassName: \
         genkan, listeners: [{{name: http, protocol: HTTP, port: {}}}]}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web}}\nspec: {{parentRefs: \
         [{{name: front}}], hostnames: [a.test], rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{name: calls}}\nspec: {{parentRefs: \
         [{{name: front}}], hostnames: [b.test], rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}\n",
        gateway_port.port()
    );
    site.namespace.wait_until("the kinds are served", || site.namespace.try_apply(&objects).is_ok());
    for host in ["a.test", "b.test"] {
        genkan.wait_until("its route is served", || {
            Client::connect(gateway_port).is_ok_and(|mut client| client.get(host, "/").is_ok_and(|a| a.status == 200))
        });
        assert_eq!(http1::get(gateway_port, host, "/").field("x-echo-name"), Some("one"), "{host}");
    }
}
