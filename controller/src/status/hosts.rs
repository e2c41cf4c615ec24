//! Hosts: the nodes that our Pods run on, by which Gateways with a Service of type NodePort are reached. Our Pods tell
//! them, so that no right to read Nodes is needed.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::address::{OwnPod, is_ready, our_pods};
use crate::watch::Address;

/// In this time the API server must answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How soon it is asked again after an error, or while no Pod is ready.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the addresses up to date until nobody listens. `None` while nothing is known.
pub async fn follow_hosts(
    client: Client,
    pod: OwnPod,
    every: Duration,
    addresses: watch::Sender<Option<BTreeSet<Address>>>,
) {
    while !addresses.is_closed() {
        let wait = match timeout(PATIENCE, our_pods(&client, &pod)).await {
            Ok(Ok(pods)) => {
                let found: BTreeSet<_> = pods.iter().filter(|pod| is_ready(pod)).flat_map(hosts).collect();
                let wait = if found.is_empty() { RETRY } else { every };
                addresses.send_if_modified(|now| {
                    let news = !found.is_empty() && now.as_ref() != Some(&found);
                    if news {
                        *now = Some(found);
                    }
                    news
                });
                wait
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "the nodes of our Pods can't be read");
                RETRY
            }
            Err(_) => RETRY,
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = addresses.closed() => {}
        }
    }
}

/// The addresses of a Pod's node.
fn hosts(pod: &Pod) -> Vec<Address> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all = status.host_ips.iter().flatten().map(|host| host.ip.clone());
    all.chain(status.host_ip.clone()).filter(|ip| !ip.is_empty()).map(Address::Ip).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_tells_all_addresses_of_its_node() {
        let of = |status| hosts(&serde_json::from_value(json!({"status": status})).unwrap());
        let ip = |text: &str| Address::Ip(text.to_owned());
        assert_eq!(of(json!({"hostIP": "10.0.0.1"})), [ip("10.0.0.1")]);
        let both = of(json!({"hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}));
        assert_eq!(BTreeSet::from_iter(both), BTreeSet::from([ip("10.0.0.1"), ip("fd00::1")]));
        assert!(of(json!({})).is_empty());
    }
}
