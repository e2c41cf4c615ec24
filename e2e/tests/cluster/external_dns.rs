//! ExternalDNS, the real one, with its provider that keeps records in memory and logs what it does with them.

use serde_json::json;

use crate::peers;
use crate::site::Site;

#[test]
fn external_dns_makes_the_records_that_the_status_asks_for() {
    let site = Site::new("external-dns");
    let namespace = &site.namespace;
    peers::provide(namespace, "external-dns", &[("external-dns", "")]);
    peers::allow_everything(namespace);
    // Of another class, so that nobody writes its status.
    let foreign = site.ingress("foreign", "foreign.example.test", "web", &[]);
    let foreign = foreign.replace(&format!("ingressClassName: {}", site.class()), "ingressClassName: elsewhere");
    namespace.apply(&(site.ingress("shop", "shop.example.test", "web", &[]) + &foreign));
    let arguments = [
        "--source=ingress",
        "--provider=inmemory",
        "--inmemory-zone=example.test",
        "--registry=noop",
        "--policy=sync",
        "--interval=1s",
        &format!("--namespace={}", namespace.name()),
    ];
    let container = json!({"name": "main", "image": "external-dns", "args": arguments});
    peers::start(namespace, "external-dns", &json!({"containers": [container]}));
    let did = |what: &str| {
        let log = namespace.log("external-dns");
        // `CREATE: NAME TTL IN TYPE SET TARGETS ...`, with as many blanks as the version likes.
        log.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").contains(what))
    };

    let genkan = site.control_as("genkan-0", &["--publish-status-address=192.0.2.10"]);
    namespace.wait_until("the record is made", || did("CREATE: shop.example.test 0 IN A 192.0.2.10"));
    drop(genkan);
    let genkan = site.control_as("genkan-1", &["--publish-status-address=192.0.2.11", "--election-ttl=2s"]);
    namespace.wait_until("the record follows", || did("UPDATE (new): shop.example.test 0 IN A 192.0.2.11"));
    namespace.kubectl(&["delete", "ingress", "shop"]);
    namespace.wait_until("the record is taken away", || did("DELETE: shop.example.test 0 IN A 192.0.2.11"));
    drop(genkan);
    assert!(!did("foreign.example.test"), "{}", namespace.log("external-dns"));
}
