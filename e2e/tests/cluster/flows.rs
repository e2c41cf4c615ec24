//! What happens in every cluster: applying, rolling out, scaling, rotating, deleting.

use std::collections::BTreeSet;

use genkan_e2e::cluster::Namespace;
use genkan_e2e::load::Requests;
use genkan_e2e::tls::{self, Hello, Pair};
use genkan_e2e::{Genkan, manifests};

use crate::site::{Site, backend, echoes, status};

/// Some requests more have been made.
fn some_requests(namespace: &Namespace<'_>, load: &Requests) {
    let before = load.done();
    namespace.wait_until("requests are made", || load.done() > before + 20);
}

fn shown(genkan: &Genkan, host: &str) -> Vec<u8> {
    tls::shown(&tls::connect(genkan.https(), &Hello::to(host)).unwrap())
}

#[test]
fn what_is_applied_is_served_and_goes_with_its_namespace() {
    let site = Site::new("apply");
    let genkan = site.control(&[]);
    assert_eq!(status(&genkan, "web.test"), 404);
    site.namespace.apply(&(echoes("web", 2) + &site.ingress("web", "web.test", "web", &[])));
    genkan.wait_until("the first 200", || status(&genkan, "web.test") == 200);
    site.namespace.wait_rolled_out("deployment/web");
    let pods: BTreeSet<_> = site.namespace.pods("app=web").into_iter().map(|pod| pod.name).collect();
    genkan.wait_until("both Pods answer", || {
        (0..4).map(|_| backend(&genkan, "web.test")).collect::<BTreeSet<_>>() == pods
    });
    site.namespace.kubectl(&["delete", "namespace", site.namespace.name(), "--wait=false"]);
    site.namespace.wait_until("nothing of it is served", || status(&genkan, "web.test") == 404);
    assert!(genkan.problems().is_empty(), "{:?}", genkan.problems());
}

#[test]
fn a_rolling_update_of_the_backend_fails_no_request() {
    let site = Site::new("backend-update");
    site.namespace.apply(&(echoes("web", 2) + &site.ingress("web", "web.test", "web", &[])));
    site.namespace.wait_rolled_out("deployment/web");
    let genkan = site.control(&[]);
    genkan.wait_until("it is served", || status(&genkan, "web.test") == 200);
    let before: BTreeSet<_> = site.namespace.pods("app=web").into_iter().map(|pod| pod.name).collect();
    let address = genkan.http();
    let loads = [(); 4].map(|()| Requests::start("web.test", move || address));
    some_requests(&site.namespace, &loads[0]);
    site.namespace.kubectl(&["rollout", "restart", "deployment/web"]);
    site.namespace.wait_rolled_out("deployment/web");
    site.namespace.wait_until("the old Pods are gone", || {
        site.namespace.pods("app=web").iter().all(|pod| !before.contains(&pod.name))
    });
    some_requests(&site.namespace, &loads[0]);
    loads.into_iter().for_each(Requests::finish);
}

#[test]
fn a_backend_that_is_scaled_to_zero_is_503_until_it_comes_back() {
    let site = Site::new("zero");
    site.namespace.apply(&(echoes("web", 1) + &site.ingress("web", "web.test", "web", &[])));
    let genkan = site.control(&[]);
    site.namespace.wait_until("it is served", || status(&genkan, "web.test") == 200);
    site.namespace.kubectl(&["scale", "deployment/web", "--replicas=0"]);
    site.namespace.wait_until("nobody is there", || status(&genkan, "web.test") == 503);
    genkan.wait_until("it is told", || genkan.problem("NoEndpoints").is_some());
    site.namespace.kubectl(&["scale", "deployment/web", "--replicas=1"]);
    site.namespace.wait_until("it is back", || status(&genkan, "web.test") == 200);
    genkan.wait_until("nothing is wrong", || genkan.problems().is_empty());
}

#[test]
fn a_secret_is_served_whenever_it_comes_and_whatever_it_becomes() {
    let site = Site::new("secret");
    let (unused, first, second) = (Pair::new(&["web.test"]), Pair::new(&["web.test"]), Pair::new(&["web.test"]));
    let secret = |name: &str, pair: &Pair| manifests::secret(name, &pair.certificate, &pair.key);
    // It is there before anybody refers to it: then it is not kept, and fetched later.
    site.namespace.apply(&(echoes("web", 1) + &secret("early", &first) + &secret("never", &unused)));
    let genkan = site.control(&[]);
    let tls = |name: &str| {
        let ingress = site.ingress("web", "web.test", "web", &[]);
        ingress.replace("spec:\n", &format!("spec:\n  tls: [{{hosts: [web.test], secretName: {name}}}]\n"))
    };
    site.namespace.apply(&tls("early"));
    genkan.wait_until("the Secret of before", || shown(&genkan, "web.test") == first.der);
    site.namespace.apply(&secret("early", &second));
    genkan.wait_until("it is rotated", || shown(&genkan, "web.test") == second.der);
    site.namespace.apply(&tls("late"));
    genkan.wait_until("it is missed", || genkan.problem("SecretNotFound").is_some());
    site.namespace.apply(&secret("late", &first));
    genkan.wait_until("it came", || shown(&genkan, "web.test") == first.der);
    genkan.wait_until("nothing is wrong", || genkan.problem("SecretNotFound").is_none());
    site.namespace.apply(&manifests::secret("late", "rubbish", "rubbish"));
    genkan.wait_until("rubbish is told", || genkan.problem("InvalidCertificate").is_some());
    site.namespace.kubectl(&["delete", "secret", "late"]);
    genkan.wait_until("it is missed again", || genkan.problem("SecretNotFound").is_some());
}

#[test]
fn the_config_map_acts_whenever_it_is_edited() {
    let site = Site::new("config-map");
    site.namespace.apply(&(echoes("web", 1) + &site.ingress("web", "web.test", "web", &[])));
    let genkan = site.control(&[&format!("--configmap={}/settings", site.namespace.name())]);
    site.namespace.wait_until("it is served", || status(&genkan, "web.test") == 200);
    genkan.wait_until("the ConfigMap is missed", || genkan.problem("ConfigMapNotFound").is_some());
    let settings = |data: &str| {
        site.namespace
            .apply(&format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: settings}}, data: {{{data}}}}}"));
    };
    settings("denylist-source-range: 127.0.0.0/8");
    genkan.wait_until("it denies us", || status(&genkan, "web.test") == 403);
    settings("use-gzip: 'true'");
    genkan.wait_until("it does not any more", || status(&genkan, "web.test") == 200);
    settings("use-gzip: maybe");
    genkan.wait_until("a bad value is told", || !genkan.problems().is_empty());
    assert_eq!(status(&genkan, "web.test"), 200);
    site.namespace.kubectl(&["delete", "configmap", "settings"]);
    genkan.wait_until("it is missed again", || genkan.problem("ConfigMapNotFound").is_some());
}

#[test]
fn classes_are_live() {
    let site = Site::new("class");
    let name = site.class().to_owned();
    site.namespace.apply(&(echoes("web", 1) + &site.ingress("web", "web.test", "web", &[])));
    let genkan = site.control(&[]);
    site.namespace.wait_until("it is served", || status(&genkan, "web.test") == 200);
    let rename = |class: &str| {
        let patch = format!(r#"{{"spec": {{"ingressClassName": "{class}"}}}}"#);
        site.namespace.kubectl(&["patch", "ingress", "web", "--patch", &patch]);
    };
    rename("elsewhere");
    genkan.wait_until("another's", || status(&genkan, "web.test") == 404);
    assert!(genkan.problems().is_empty(), "what is not ours is not judged: {:?}", genkan.problems());
    rename(&name);
    genkan.wait_until("ours again", || status(&genkan, "web.test") == 200);
    site.namespace.kubectl(&["delete", "ingressclass", &name]);
    genkan.wait_until("without its class", || status(&genkan, "web.test") == 404);
}

#[test]
fn only_watched_namespaces_are_served() {
    let (one, other) = (Site::new("watched"), Site::new("unwatched"));
    for (site, host) in [(&one, "one.test"), (&other, "other.test")] {
        let ingress = one.ingress("web", host, "web", &[]);
        site.namespace.apply(&(echoes("web", 1) + &ingress));
        site.namespace.wait_rolled_out("deployment/web");
    }
    let single = one.control(&["--watch-namespace", one.namespace.name()]);
    one.namespace.wait_until("the namespace", || status(&single, "one.test") == 200);
    assert_eq!(status(&single, "other.test"), 404);

    let selected = one.control(&["--watch-namespace-selector=genkan.test/watched in (yes,always)"]);
    let label = |site: &Site<'_>, label: &str| {
        site.namespace.kubectl(&["label", "namespace", site.namespace.name(), "--overwrite", label]);
    };
    label(&other, "genkan.test/watched=yes");
    selected.wait_until("the labelled one", || status(&selected, "other.test") == 200);
    assert_eq!(status(&selected, "one.test"), 404);
    label(&other, "genkan.test/watched=no");
    selected.wait_until("not any more", || status(&selected, "other.test") == 404);
}
