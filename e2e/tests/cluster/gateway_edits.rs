//! Gateways edited under load, against a real API server: whatever changes, nothing fails of what did not.

use genkan_e2e::edits::{EDITS, Gateways, SECURE, SWAPPED};
use genkan_e2e::genkan::free_address;
use genkan_e2e::manifests::secret;
use genkan_e2e::steady::Steady;
use genkan_e2e::streams::tcp_echo_at;
use genkan_e2e::tls::Pair;
use genkan_e2e::{Cluster, Echo};

use crate::site::{Site, fixed_service};

#[test]
fn edits_of_gateways_fail_nothing_of_what_did_not_change() {
    let site = Site::new("gateway-edits");
    let host = Cluster::shared().host_address();
    let (one, two, stream) = (Echo::start_at("one", host), Echo::start_at("two", host), tcp_echo_at(host, ""));
    let (steady, swapped) = (Pair::new(&[SECURE]), [Pair::new(&[SWAPPED]), Pair::new(&[SWAPPED])]);
    let port = free_address();
    let mut gateways = Gateways::new(site.class(), port, port.port());
    let text = |gateways: &Gateways| {
        let shown = &swapped[usize::from(gateways.swapped)];
        secret("swapped", &shown.certificate, &shown.key) + &gateways.manifests()
    };
    let controller = format!("genkan.test/gateway-{}", site.class());
    let class = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: {}}}\n\
         spec: {{controllerName: {controller}}}\n---\n",
        site.class()
    );
    // No connection is closed because it was used often enough.
    let settings = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, \
                    data: {keep-alive-requests: '100000000'}}\n---\n";
    let always = [
        class,
        settings.to_owned(),
        fixed_service("one", one.address()),
        fixed_service("two", two.address()),
        fixed_service("stream", stream),
        secret("steady", &steady.certificate, &steady.key),
        text(&gateways),
    ];
    site.namespace.apply(&always.concat());
    let genkan = site.control(&[
        &format!("--gateway-controller-name={controller}"),
        &format!("--configmap={}/settings", site.namespace.name()),
    ]);
    genkan.wait_until("everything is served", || gateways.are_served(&swapped));

    let load = Steady::start(&gateways.targets(&steady));
    for (edit, change) in EDITS {
        change(&mut gateways);
        site.namespace.apply(&text(&gateways));
        genkan.wait_until(edit, || gateways.are_served(&swapped));
        load.some_more();
    }
    load.finish();
}
