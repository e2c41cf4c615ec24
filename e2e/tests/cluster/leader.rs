//! Several replicas: all serve, one writes, and another takes over when it is gone.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use genkan_e2e::load::Requests;
use genkan_e2e::{Cluster, Genkan, http1};

use crate::site::{Site, echoes, fixed_service, leads, status};

const TTL: Duration = Duration::from_secs(6);

fn holder(site: &Site<'_>) -> String {
    site.namespace.kubectl(&["get", "lease", "vote", "--output", "jsonpath={.spec.holderIdentity}"])
}

#[test]
fn when_the_leader_is_killed_another_writes_within_the_ttl_and_all_go_on_serving() {
    let site = Site::new("leader");
    site.namespace.apply(&(echoes("web", 1) + &site.ingress("web", "web.test", "web", &[])));
    site.namespace.wait_rolled_out("deployment/web");
    let ttl = format!("--election-ttl={}s", TTL.as_secs());
    let arguments = ["--election-id=vote", &ttl, "--publish-status-address=1.2.3.4"];
    let mut replicas: Vec<(String, Genkan)> = ["genkan-0", "genkan-1", "genkan-2"]
        .iter()
        .map(|pod| ((*pod).to_owned(), site.control_as(pod, &arguments)))
        .collect();
    site.namespace.wait_until("it is published", || site.published("web") == "1.2.3.4");
    let first = holder(&site);
    let at = replicas.iter().position(|(pod, _)| *pod == first).expect("one of them holds the Lease");
    let (_, mut leader) = replicas.remove(at);
    let loads: Vec<_> = replicas
        .iter()
        .map(|(_, genkan)| {
            let address = genkan.http();
            Requests::start("web.test", move || address)
        })
        .collect();

    leader.kill();
    let killed = Instant::now();
    site.namespace.apply(&site.ingress("later", "later.test", "web", &[]));
    site.namespace.wait_until("another writes", || site.published("later") == "1.2.3.4");
    // Waiting is all there is to it: the time tells whether it was the end of the Lease that was waited for.
    assert!(killed.elapsed() < TTL + Duration::from_secs(10), "it took {:?}", killed.elapsed());
    assert_ne!(holder(&site), first);
    for (_, genkan) in &replicas {
        assert_eq!(status(genkan, "later.test"), 200);
    }
    loads.into_iter().for_each(Requests::finish);
}

#[test]
fn a_leader_that_stops_gives_its_lease_back_and_another_takes_it_at_once() {
    let site = Site::new("release");
    // So long that nobody waits for its end.
    let arguments = ["--election-id=vote", "--election-ttl=10m", "--publish-status-address=1.2.3.4"];
    let mut first = site.control_as("genkan-0", &arguments);
    first.wait_until("it leads", || site.namespace.get("lease/vote").is_some() && holder(&site) == "genkan-0");
    let second = site.control_as("genkan-1", &arguments);
    first.terminate();
    assert!(first.wait().success(), "{}", first.errors());
    second.wait_until("the second leads", || holder(&site) == "genkan-1");
    let transitions = site.namespace.get("lease/vote").unwrap()["spec"]["leaseTransitions"].clone();
    assert_eq!(transitions, 1);
    site.namespace.apply(&site.ingress("web", "web.test", "web", &[]));
    second.wait_until("the second writes", || site.published("web") == "1.2.3.4");
}

#[test]
fn a_leader_that_is_stopped_before_it_serves_gives_its_lease_back() {
    let site = Site::new("early");
    site.namespace.kubectl(&["create", "serviceaccount", "voter"]);
    let account = format!("--serviceaccount={}:voter", site.class());
    // It may vote, and that is all: without Ingresses there is nothing to serve.
    site.namespace.kubectl(&["create", "role", "voter", "--verb=*", "--resource=leases.coordination.k8s.io"]);
    site.namespace.kubectl(&["create", "rolebinding", "voter", "--role=voter", &account]);
    let mut options = site.options("genkan-0", &["--election-id=vote", "--election-ttl=10m"]);
    options.unready = true;
    let mut genkan = Genkan::control(&site.kubeconfig_of("voter"), options);
    genkan.wait_until("it leads", || site.namespace.get("lease/vote").is_some() && holder(&site) == "genkan-0");
    genkan.terminate();
    assert!(genkan.wait().success(), "{}", genkan.errors());
    let told = "told to stop before anything was served";
    genkan.wait_until("it served nothing so far", || genkan.errors().contains(told));
    assert_eq!(holder(&site), "");
}

#[test]
fn a_leader_that_drains_writes_nothing_after_it_gave_its_lease_back() {
    let site = Site::new("drain-writes");
    // A backend that answers when it is told to: so long its request is open.
    let slow = TcpListener::bind((Cluster::shared().host_address(), 0)).unwrap();
    let service = fixed_service("slow", slow.local_addr().unwrap());
    site.namespace.apply(&(service + &site.ingress("web", "web.test", "slow", &[])));
    let start = |pod: &str, address: &str| {
        let address = format!("--publish-status-address={address}");
        site.control_as(pod, &["--election-id=vote", "--election-ttl=10m", &address])
    };
    let mut first = start("genkan-0", "1.1.1.1");
    first.wait_until("the first writes", || site.published("web") == "1.1.1.1");
    let second = start("genkan-1", "2.2.2.2");
    let mut client = http1::Client::connect(first.http()).unwrap();
    client.send("GET", "web.test", "/", &[], b"").unwrap();
    slow.set_nonblocking(true).unwrap();
    let mut open = None;
    first.wait_until("the backend is asked", || {
        open = slow.accept().ok();
        open.is_some()
    });
    let (mut open, _) = open.unwrap();
    open.set_nonblocking(false).unwrap();

    first.terminate();
    second.wait_until("the second writes", || site.published("web") == "2.2.2.2");
    assert_eq!(holder(&site), "genkan-1");
    assert!(!leads(&first) && leads(&second));
    let version = || site.namespace.get("ingress/web").unwrap()["metadata"]["resourceVersion"].clone();
    let written = version();
    // The first still follows: when it knows of a later Ingress it has seen what the second wrote as well.
    site.namespace.apply(&site.ingress("later", "later.test", "slow", &[]));
    first.wait_until("the first follows", || first.admin_get("/snapshot").1.contains("later.test"));
    second.wait_until("the second writes another", || site.published("later") == "2.2.2.2");

    open.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert_eq!(client.answer("GET").unwrap().text(), "ok");
    assert!(first.wait().success(), "{}", first.errors());
    assert_eq!((site.published("web").as_str(), version()), ("2.2.2.2", written));
}

#[test]
fn a_lease_that_may_not_be_written_is_told() {
    let site = Site::new("no-lease");
    site.namespace.kubectl(&["create", "serviceaccount", "reader"]);
    let account = format!("--serviceaccount={}:reader", site.class());
    let name = format!("{}-reader", site.class());
    site.namespace.kubectl(&["create", "clusterrole", &name, "--verb=get,list,watch", "--resource=*.*"]);
    site.namespace.kubectl(&["create", "clusterrolebinding", &name, &format!("--clusterrole={name}"), &account]);
    let kubeconfig = site.kubeconfig_of("reader");
    let mut options = site.options("genkan-0", &["--election-id=vote"]);
    options.arguments.push("--publish-status-address=1.2.3.4".to_owned());
    let genkan = Genkan::control(&kubeconfig, options);
    let told = "the Lease by which a leader is elected can't be taken: HTTP status 403; the log says more";
    genkan.wait_until("it is told", || genkan.admin_get("/readyz").1.contains(told));
    let (status, text) = genkan.admin_get("/readyz");
    assert!(status == 200 && !text.contains("reader"), "whose right it is, is for the log alone: {status} {text}");
    genkan.wait_until("the log says whose", || genkan.errors().contains(":reader"));
    let errors = genkan.errors();
    assert_eq!(errors.lines().filter(|line| line.contains("can't be taken")).count(), 1, "{errors}");
    for kind in ["clusterrolebinding", "clusterrole"] {
        site.namespace.kubectl(&["delete", kind, &name]);
    }
}

#[test]
fn without_an_election_everybody_writes() {
    let site = Site::new("unelected");
    let genkan = site.control_as("genkan-0", &["--disable-leader-election", "--publish-status-address=1.2.3.4"]);
    site.namespace.apply(&site.ingress("web", "web.test", "web", &[]));
    genkan.wait_until("it is published", || site.published("web") == "1.2.3.4");
    assert_eq!(site.namespace.kubectl(&["get", "leases", "--output", "name"]), "");
}
