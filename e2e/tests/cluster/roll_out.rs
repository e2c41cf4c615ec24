//! The roll-out of Genkan itself, and the death of one of its Pods, seen at the Services of Gateways: by clients that
//! follow the Services' endpoints as kube-proxies and load balancers do.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use genkan_e2e::Cluster;
use genkan_e2e::cluster::{Namespace, Options};
use genkan_e2e::http1::Client;
use genkan_e2e::load::{Load, Requests};

use crate::chart::{RELEASE, Release, pods, ready_endpoints_of, under_load};
use crate::end::descendants;
use crate::gateways::{CONTROLLER, Tenant, class, gateway};
use crate::site::echoes;

/// Two Gateways of a tenant, with a Service of type LoadBalancer and one of type ClusterIP, and their ports.
const GATEWAYS: [(&str, &str, u16); 2] = [("edge", "plain", 80), ("inner", "inside", 8080)];

/// The chart with two replicas, and the Gateways, served by both.
fn begin(own: &Namespace<'_>, tenant: &Tenant<'_>) {
    roll(own, "install", "one");
    for (name, kind) in [("plain", None), ("inside", Some("ClusterIP"))] {
        own.apply(&class(name, own.name(), kind).to_string());
    }
    tenant.namespace.apply(&echoes("web", 2));
    for (name, class, port) in GATEWAYS {
        tenant.namespace.apply(&gateway(name, class, &[port]));
    }
    tenant.namespace.wait_rolled_out("deployment/web");
    for (name, _, port) in GATEWAYS {
        tenant.programmed(name);
        tenant.namespace.wait_until("both Pods serve it", || tenant.is_served(name, port));
    }
}

/// Installs or upgrades; another version means other Pods.
fn roll(own: &Namespace<'_>, verb: &str, version: &str) {
    let values = [
        format!("controller.extraArgs.gateway-controller-name={CONTROLLER}"),
        format!("controller.podAnnotations.version={version}"),
        // Clients here learn of endpoints by asking for them, which takes much longer than a kube-proxy's watch.
        "controller.shutdownGracePeriodSeconds=20".to_owned(),
    ];
    Release { namespace: own }.apply(verb, &values.each_ref().map(String::as_str));
}

/// What of the Gateways is not to change whoever serves them.
fn recorded(tenant: &Tenant<'_>) -> Vec<(Option<u64>, Vec<String>)> {
    GATEWAYS.iter().map(|(name, _, port)| (tenant.target(name, *port), tenant.programmed(name))).collect()
}

/// The addresses of our Pods.
fn addresses(own: &Namespace<'_>) -> BTreeSet<IpAddr> {
    own.pods("app.kubernetes.io/component=controller").iter().filter_map(|pod| pod.address).collect()
}

#[test]
fn a_roll_out_fails_no_request_at_the_services_of_gateways() {
    let cluster = Cluster::start(&Options { nodes: 2, gateway_api: true, ..Options::default() });
    let (own, team) = (cluster.namespace("chart"), cluster.namespace("team"));
    let tenant = Tenant { namespace: &team };
    begin(&own, &tenant);
    let (first, before) = (pods(&own), recorded(&tenant));

    let ready = || ready_endpoints_of(&team, [("edge-gateway", "tcp-80"), ("inner-gateway", "tcp-8080")]);
    under_load(&team, ["edge.test", "inner.test"], ready, || {
        roll(&own, "upgrade", "two");
        own.wait_until("other Pods run, and no former ones", || {
            let now = pods(&own);
            now.len() == 2 && now.iter().all(|pod| !first.contains(pod)) && addresses(&own).len() == 2
        });
        team.wait_until("Services lead to them alone", || {
            let now = addresses(&own);
            ready().iter().all(|ready| ready.iter().map(SocketAddr::ip).collect::<BTreeSet<_>>() == now)
        });
    });
    assert_eq!(recorded(&tenant), before, "ports and addresses stay while replicas follow one another");
}

/// Asks all of these until one answers, as a client does that is refused. Anything but 200 is a failure.
fn ask_any(all: &[SocketAddr], host: &str) {
    let answer = all.iter().find_map(|at| Client::connect(*at).ok()?.get(host, "/").ok()).expect("one of two answers");
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Kills every process of a Pod, as running out of memory does.
fn kill(cluster: &Cluster, pod: &str) {
    let name = format!("POD_NAME={pod}");
    let is_of_pod = |id: &u32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == name.as_bytes())
    };
    let ids = descendants(cluster.supervisor()).into_iter().map(|(id, _)| id).filter(is_of_pod);
    let ids: Vec<_> = ids.map(|id| id.to_string()).collect();
    assert!(!ids.is_empty(), "{pod} has no process");
    // One may end with another.
    let _ = Command::new("kill").arg("-KILL").args(&ids).output().unwrap();
}

#[test]
fn a_pod_that_is_killed_costs_only_what_it_was_asked() {
    let cluster = Cluster::start(&Options { nodes: 2, gateway_api: true, ..Options::default() });
    let (own, team) = (cluster.namespace("chart"), cluster.namespace("team"));
    let tenant = Tenant { namespace: &team };
    begin(&own, &tenant);
    let before = recorded(&tenant);

    let lease = format!("lease/{RELEASE}-genkan-leader");
    for leading in [false, true] {
        let leader = own.get(&lease).unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_owned();
        let mut all = own.pods("app.kubernetes.io/component=controller");
        all.sort_by_key(|pod| (pod.name == leader) != leading);
        let [killed, other] = &all[..] else { panic!("{} Pods", all.len()) };
        let port = u16::try_from(tenant.target("edge", 80).unwrap()).unwrap();
        let (to_other, of_any) = (other.at(port), [killed.at(port), other.at(port)]);
        let steady = Requests::start("edge.test", move || to_other);
        let load = Load::default();
        let any = load.run(move |_| ask_any(&of_any, "edge.test"));
        let restarts = killed.restarts();
        kill(&cluster, &killed.name);
        own.wait_until("it is started again", || {
            let now = own.pods("app.kubernetes.io/component=controller");
            now.iter().any(|pod| pod.name == killed.name && pod.ready && pod.restarts() > restarts)
        });
        team.wait_until("both serve again", || GATEWAYS.iter().all(|(name, _, port)| tenant.is_served(name, *port)));
        steady.finish();
        load.end();
        assert!(any.join().expect("every request was answered by one of them") > 0);
        assert_eq!(recorded(&tenant), before);
    }
}
