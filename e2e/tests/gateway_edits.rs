//! Gateways edited under load: whatever changes, nothing fails of what did not.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use genkan_e2e::edits::{EDITS, Gateways, SECURE, SWAPPED};
use genkan_e2e::genkan::free_address;
use genkan_e2e::http1::Client;
use genkan_e2e::manifests::{config_map, secret, service};
use genkan_e2e::steady::Steady;
use genkan_e2e::streams::tcp_echo;
use genkan_e2e::tls::Pair;
use genkan_e2e::{Echo, Genkan, Options};

/// How often everything is edited and edited back.
const ROUNDS: usize = 5;

const CLASS: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: genkan }\n\
                     spec: { controllerName: genkan.dev/gateway-controller }\n---\n";

#[test]
fn edits_of_gateways_fail_nothing_of_what_did_not_change() {
    let (one, two) = (Echo::start("one"), Echo::start("two"));
    let (steady, swapped) = (Pair::new(&[SECURE]), [Pair::new(&[SWAPPED]), Pair::new(&[SWAPPED])]);
    let port = free_address();
    let mut gateways = Gateways::new("genkan", port, port.port());
    let text = |gateways: &Gateways| {
        let shown = &swapped[usize::from(gateways.swapped)];
        secret("swapped", &shown.certificate, &shown.key) + &gateways.manifests()
    };
    let always = [
        CLASS.to_owned(),
        service("one", &[one.address()]),
        service("two", &[two.address()]),
        service("stream", &[tcp_echo("")]),
        secret("steady", &steady.certificate, &steady.key),
        // No connection is closed because it was used often enough.
        config_map(&[("keep-alive-requests", "100000000")]),
    ];
    let files = [("always.yaml", always.concat()), ("gateways.yaml", text(&gateways))];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let genkan = Genkan::serve_with(&files, Options::default());
    genkan.wait_until("everything is served", || gateways.are_served(&swapped));

    let mut load = Steady::start(&gateways.targets(&steady));
    let (at, host) = gateways.weighted();
    let mut kept = Client::connect(at).unwrap();
    load.run("a route that is weighted anew", move |_| {
        let answer = kept.get(host, "/").expect("a kept connection");
        assert_eq!(answer.status, 200, "{answer:?}");
    });
    for (edit, change) in EDITS.iter().cycle().take(ROUNDS * EDITS.len()) {
        change(&mut gateways);
        genkan.write("gateways.yaml", &text(&gateways));
        genkan.wait_until(edit, || gateways.are_served(&swapped));
        load.some_more();
    }
    load.finish();
}
