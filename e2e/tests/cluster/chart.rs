//! The chart, installed for real: its Pods run as processes, with their rights, users and capabilities, and answer at
//! their addresses.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use genkan_e2e::Cluster;
use genkan_e2e::cluster::{Namespace, Options};
use genkan_e2e::helm::chart;
use genkan_e2e::load::Requests;
use serde_json::Value;

use crate::site::echoes;

pub(crate) const RELEASE: &str = "front";
/// The name that the chart gives to its controller's objects.
const CONTROLLER: &str = "front-genkan-controller";

/// A release of the chart in a namespace.
pub(crate) struct Release<'n> {
    pub(crate) namespace: &'n Namespace<'n>,
}

impl Release<'_> {
    /// `helm` in the namespace; what it prints.
    fn helm(&self, arguments: &[&str]) -> String {
        let mut command = self.namespace.cluster().helm();
        command.args(arguments).args(["--namespace", self.namespace.name()]);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "helm {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// `install` or `upgrade` with the values that every test needs, and these.
    pub(crate) fn apply(&self, verb: &str, values: &[&str]) {
        let chart = chart().display().to_string();
        let class = self.namespace.name();
        let own = [
            format!("controller.ingressClass={class}"),
            format!("controller.ingressClassResource.name={class}"),
            format!("controller.ingressClassResource.controllerValue=genkan.test/{class}"),
            "controller.replicaCount=2".to_owned(),
            "controller.extraArgs.election-ttl=5s".to_owned(),
            "controller.extraArgs.post-shutdown-grace-period=0".to_owned(),
        ];
        let values = own.iter().map(String::as_str).chain(values.iter().copied());
        let values: Vec<_> = values.flat_map(|value| ["--set-string", value]).collect();
        self.helm(&[&[verb, RELEASE, &chart, "--wait", "--timeout", "120s"], &values[..]].concat());
    }

    /// Where the Service's ready endpoints are, as a load balancer would follow them.
    fn ready(&self) -> Vec<SocketAddr> {
        ready_endpoints(self.namespace, CONTROLLER, "http")
    }

    fn ingress(&self, host: &str) -> String {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: {}}}, spec: {{ingressClassName: {}, rules: \
             [{{host: {host}, http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: \
             {{number: 80}}}}}}}}]}}}}]}}}}",
            host.replace('.', "-"),
            self.namespace.name()
        )
    }
}

/// Where a Service's ready endpoints are, at a port of this name.
pub(crate) fn ready_endpoints(namespace: &Namespace<'_>, service: &str, port: &str) -> Vec<SocketAddr> {
    let [found] = ready_endpoints_of(namespace, [(service, port)]);
    found
}

/// The same of several Services at one time.
pub(crate) fn ready_endpoints_of<const N: usize>(
    namespace: &Namespace<'_>,
    services: [(&str, &str); N],
) -> [Vec<SocketAddr>; N] {
    let list = namespace.kubectl(&["get", "endpointslices", "--output", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    services.map(|(service, port)| ready_in(&list, service, port))
}

fn ready_in(list: &Value, service: &str, port: &str) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    let is_of_service = |slice: &&Value| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service;
    for slice in list["items"].as_array().unwrap().iter().filter(is_of_service) {
        let port = slice["ports"].as_array().and_then(|ports| ports.iter().find(|it| it["name"] == port));
        let Some(port) = port.and_then(|port| port["port"].as_u64()) else { continue };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            if endpoint["conditions"]["ready"] == true {
                let address = format!("{}:{port}", endpoint["addresses"][0].as_str().unwrap());
                found.push(address.parse().unwrap());
            }
        }
    }
    found
}

/// Load balancers: follow the endpoints that are `ready`, of each host, while `during` runs, with requests from several
/// clients.
pub(crate) fn under_load<const N: usize>(
    namespace: &Namespace<'_>,
    hosts: [&str; N],
    ready: impl Fn() -> [Vec<SocketAddr>; N] + Sync,
    during: impl FnOnce(),
) {
    let targets = ready().map(|targets| Arc::new(Mutex::new(targets)));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (targets, ready) in targets.iter().zip(ready()).filter(|(_, ready)| !ready.is_empty()) {
                    *targets.lock().unwrap() = ready;
                }
            }
        });
        let turn = Arc::new(AtomicUsize::new(0));
        let clients = hosts.iter().zip(&targets).flat_map(|client| [client; 3]);
        let loads: Vec<_> = clients
            .map(|(host, targets)| {
                let (targets, turn) = (targets.clone(), turn.clone());
                Requests::start(host, move || {
                    let targets = targets.lock().unwrap();
                    targets[turn.fetch_add(1, Ordering::Relaxed) % targets.len()]
                })
            })
            .collect();
        during();
        for load in &loads {
            let before = load.done();
            namespace.wait_until("requests go on", || load.done() > before + 20);
        }
        over.store(true, Ordering::Relaxed);
        loads.into_iter().for_each(Requests::finish);
    });
}

/// The names of our Pods that are to stay.
pub(crate) fn pods(namespace: &Namespace<'_>) -> Vec<String> {
    let pods = namespace.pods("app.kubernetes.io/component=controller");
    pods.into_iter().filter(|pod| !pod.terminating).map(|pod| pod.name).collect()
}

#[test]
fn the_chart_is_installed_upgraded_rolled_back_and_uninstalled_and_no_request_fails() {
    // A cluster of its own: the webhook judges the Ingresses of every namespace.
    let cluster = Cluster::start(&Options { nodes: 2, ..Options::default() });
    let namespace = cluster.namespace("chart");
    let release = Release { namespace: &namespace };
    namespace.apply(&echoes("web", 2));
    release.apply("install", &[]);
    namespace.wait_rolled_out("deployment/web");
    // The webhook judges it: Genkan made its certificate itself.
    namespace.wait_until("the webhook takes an Ingress", || namespace.try_apply(&release.ingress("web.test")).is_ok());
    let serves = |host: &str| {
        let answer = |at: &SocketAddr| genkan_e2e::http1::Client::connect(*at).ok()?.get(host, "/").ok();
        let ready = release.ready();
        ready.len() == 2 && ready.iter().all(|at| answer(at).is_some_and(|answer| answer.status == 200))
    };
    namespace.wait_until("both Pods serve", || serves("web.test"));
    let published = || {
        let path = "jsonpath={.status.loadBalancer.ingress[0].ip}";
        namespace.kubectl(&["get", "ingress", "web-test", "--output", path])
    };
    let balancer = namespace.get(&format!("service/{CONTROLLER}")).unwrap();
    let address = balancer["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap().to_owned();
    namespace.wait_until("the Service's address is published", || published() == address);

    let ready = || [release.ready()];
    let first = pods(&namespace);
    under_load(&namespace, ["web.test"], ready, || {
        release.apply("upgrade", &["controller.podAnnotations.version=two"]);
        namespace.wait_until("other Pods run", || {
            let now = pods(&namespace);
            now.len() == 2 && now.iter().all(|pod| !first.contains(pod))
        });
    });
    let second = pods(&namespace);
    under_load(&namespace, ["web.test"], ready, || {
        release.helm(&["rollback", RELEASE, "1", "--wait", "--timeout", "120s"]);
        namespace.wait_until("other Pods run", || {
            let now = pods(&namespace);
            now.len() == 2 && now.iter().all(|pod| !second.contains(pod))
        });
    });
    assert_eq!(published(), address, "the addresses stay while replicas follow one another");

    // Not by uninstalling: that takes their rights away before they have stopped.
    let scale = |replicas: usize| {
        let count = format!("--replicas={replicas}");
        namespace.kubectl(&["scale", &format!("deployment/{CONTROLLER}"), &count]);
    };
    // One after the other: two that stop at once may each take the other for one that stays.
    scale(1);
    let lease = format!("lease/{RELEASE}-genkan-leader");
    namespace.wait_until("the one that stays leads", || {
        let left = pods(&namespace);
        let lease = namespace.get(&lease).expect("the Lease");
        left.len() == 1 && lease["spec"]["holderIdentity"] == *left[0]
    });
    assert_eq!(published(), address, "one is enough");
    scale(0);
    namespace.wait_until("the last one took the addresses away", || published().is_empty());
    release.helm(&["uninstall", RELEASE, "--wait", "--timeout", "120s"]);
    let selector = format!("app.kubernetes.io/instance={RELEASE}");
    let kinds = "deployments,services,configmaps,serviceaccounts,roles,rolebindings,poddisruptionbudgets";
    assert_eq!(namespace.kubectl(&["get", kinds, "--selector", &selector, "--output", "name"]), "");
    let cluster_wide = "clusterroles,clusterrolebindings,ingressclasses,validatingwebhookconfigurations";
    let left = namespace.cluster().kubectl(&["get", cluster_wide, "--output", "name"]);
    assert!(!left.contains(namespace.name()) && !left.contains("front-genkan"), "{left}");
}
