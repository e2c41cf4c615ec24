//! Several replicas: all serve, one writes, and another takes over when it is gone.

use std::time::{Duration, Instant};

use genkan_e2e::Genkan;
use genkan_e2e::load::Requests;

use crate::site::{Site, echoes, status};

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
fn without_an_election_everybody_writes() {
    let site = Site::new("unelected");
    let genkan = site.control_as("genkan-0", &["--disable-leader-election", "--publish-status-address=1.2.3.4"]);
    site.namespace.apply(&site.ingress("web", "web.test", "web", &[]));
    genkan.wait_until("it is published", || site.published("web") == "1.2.3.4");
    assert_eq!(site.namespace.kubectl(&["get", "leases", "--output", "name"]), "");
}
