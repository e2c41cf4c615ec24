//! Addresses: where clients find us, as Ingresses' `status.loadBalancer` tells (ExternalDNS and Argo CD read it).
//!
//! `--publish-status-address` says it, or it is read off a Service (`--publish-service`), or off the nodes on which our
//! Pods run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::Client;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::resources::NamespacedName;
use crate::watch::Address;

/// Labels that differ between Pods of one workload, or between its versions: an upgrade must not look as if nobody were
/// left.
const LABELS_OF_A_POD: [&str; 9] = [
    // The API server copies them from the node.
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "app.kubernetes.io/version",
    "helm.sh/chart",
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
];

/// How soon the API server is asked again after an error.
const RETRY: Duration = Duration::from_secs(2);

/// In this time it must answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Service is watched no longer at a time: it is noticed this soon that the other end is gone without a word.
const WATCH_TIME: Duration = Duration::from_secs(60);

/// Where the addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    /// These (`--publish-status-address`).
    Addresses(BTreeSet<Address>),
    /// Those of a Service (`--publish-service`).
    Service(NamespacedName),
    /// Those of the nodes of our Pods: `ExternalIP`, or `InternalIP` where a node has no other. `internal`: `InternalIP`
    /// of all of them (`--report-node-internal-ip-address`).
    Nodes {
        /// Which kind of address.
        internal: bool,
    },
}

/// The Pod that we run in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPod {
    /// Its namespace (`POD_NAMESPACE`).
    pub namespace: String,
    /// Its name (`POD_NAME`).
    pub name: String,
}

impl OwnPod {
    /// The Pod that `POD_NAMESPACE` and `POD_NAME` name. Without them, the namespace of our credentials and the name of
    /// the machine, which in a Pod is the Pod's.
    pub fn from_environment(default_namespace: &str) -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let namespace = variable("POD_NAMESPACE").unwrap_or_else(|| default_namespace.to_owned());
        let name = variable("POD_NAME").or_else(|| variable("HOSTNAME"));
        Self { namespace, name: name.unwrap_or_else(|| format!("genkan-{}", std::process::id())) }
    }
}

impl Address {
    /// An address as `--publish-status-address` writes it.
    pub fn from_text(text: &str) -> Self {
        let text = text.trim();
        if text.parse::<IpAddr>().is_ok() { Self::Ip(text.to_owned()) } else { Self::Hostname(text.to_owned()) }
    }
}

impl Publish {
    /// Keeps `addresses` up to date until nobody listens. `None` while nothing is known: then nothing is written.
    pub async fn follow(
        self,
        client: Client,
        pod: OwnPod,
        every: Duration,
        addresses: watch::Sender<Option<BTreeSet<Address>>>,
    ) {
        let set = |found: BTreeSet<Address>| {
            addresses.send_if_modified(|now| {
                let changed = now.as_ref() != Some(&found);
                *now = Some(found);
                changed
            });
        };
        match self {
            Self::Addresses(all) => {
                set(all);
                addresses.closed().await;
            }
            Self::Service(name) => {
                let services: Api<Service> = Api::namespaced(client, &name.namespace);
                let every = every.clamp(Duration::from_secs(5), WATCH_TIME);
                while !addresses.is_closed() {
                    let began = Instant::now();
                    if let Err(error) =
                        within(every + PATIENCE, follow_service(&services, &name.name, every, &set)).await
                    {
                        tracing::debug!(service = %name, error, "the addresses of --publish-service can't be read");
                    }
                    // Nor may a watch that ends at once be begun again without a pause.
                    sleep_until(began + RETRY).await;
                }
            }
            Self::Nodes { internal } => {
                while !addresses.is_closed() {
                    match within(PATIENCE, of_nodes(&client, &pod, internal)).await {
                        Ok(found) => {
                            // At the start of a workload nobody is ready yet, and soon somebody is.
                            let wait = if found.is_empty() { RETRY.min(every) } else { every };
                            set(found);
                            sleep(wait).await;
                        }
                        Err(error) => {
                            tracing::debug!(error, "the addresses of our nodes can't be read");
                            sleep(RETRY).await;
                        }
                    }
                }
            }
        }
    }
}

/// What is said within a time.
async fn within<T>(time: Duration, call: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    let silent = |_| "the API server does not answer".to_owned();
    timeout(time, call).await.map_err(silent)?.map_err(|error| error.to_string())
}

/// Tells the addresses of a Service now and whenever it changes, for a while.
async fn follow_service(
    services: &Api<Service>,
    name: &str,
    every: Duration,
    set: &impl Fn(BTreeSet<Address>),
) -> kube::Result<()> {
    let list = services.list(&ListParams::default().fields(&format!("metadata.name={name}"))).await?;
    // One that is gone has no addresses, but what was published may still be true: it is left alone.
    if let Some(service) = list.items.first() {
        set(of_service(service));
    }
    let seconds = u32::try_from(every.as_secs()).unwrap_or(u32::MAX);
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(seconds);
    let version = list.metadata.resource_version.unwrap_or_default();
    let mut events = services.watch(&params, &version).await?.boxed();
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(service) | WatchEvent::Modified(service) => set(of_service(&service)),
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(())
}

/// The addresses of a Service, by its type.
fn of_service(service: &Service) -> BTreeSet<Address> {
    let Some(spec) = &service.spec else { return BTreeSet::new() };
    let external = || spec.external_ips.iter().flatten().map(|ip| Address::from_text(ip));
    let cluster =
        || spec.cluster_ip.iter().filter(|ip| !ip.is_empty() && *ip != "None").map(|ip| Address::from_text(ip));
    match spec.type_.as_deref() {
        Some("ExternalName") => spec.external_name.iter().map(|name| Address::Hostname(name.clone())).collect(),
        Some("LoadBalancer") => {
            let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let entries = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
            let given = entries.filter_map(|entry| {
                let hostname = || entry.hostname.clone().filter(|name| !name.is_empty()).map(Address::Hostname);
                entry.ip.clone().filter(|ip| !ip.is_empty()).map(Address::Ip).or_else(hostname)
            });
            given.chain(external()).collect()
        }
        Some("NodePort") if spec.external_ips.iter().flatten().next().is_some() => external().collect(),
        _ => cluster().collect(),
    }
}

/// The labels by which our Pods are found: our own, without what differs between them.
fn shared_labels(pod: &Pod) -> BTreeMap<String, String> {
    let mut labels = pod.metadata.labels.clone().unwrap_or_default();
    labels.retain(|key, _| !LABELS_OF_A_POD.contains(&key.as_str()));
    labels
}

/// The Pods of our workload, ourselves among them.
pub(super) async fn our_pods(client: &Client, own: &OwnPod) -> kube::Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &own.namespace);
    let labels = shared_labels(&pods.get(&own.name).await?);
    if labels.is_empty() {
        return Ok(Vec::new());
    }
    let selector: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Ok(pods.list(&ListParams::default().labels(&selector.join(","))).await?.items)
}

/// Whether another Pod of our workload runs: then the published addresses stay when we go.
pub async fn has_siblings(client: &Client, own: &OwnPod) -> kube::Result<bool> {
    let others = our_pods(client, own).await?;
    Ok(others.iter().any(|pod| {
        let leaving = pod.metadata.deletion_timestamp.is_some();
        let running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        pod.metadata.name.as_deref() != Some(&own.name) && running && !leaving
    }))
}

async fn of_nodes(client: &Client, own: &OwnPod, internal: bool) -> kube::Result<BTreeSet<Address>> {
    let pods = our_pods(client, own).await?;
    let names: BTreeSet<_> =
        pods.iter().filter(|pod| is_ready(pod)).filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
    let nodes: Api<Node> = Api::all(client.clone());
    let mut addresses = BTreeSet::new();
    for name in names {
        if let Some(node) = nodes.get_opt(&name).await? {
            addresses.extend(of_node(&node, internal));
        }
    }
    Ok(addresses)
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The addresses of a node. One without an external address, as on bare metal, is reached by its internal one.
fn of_node(node: &Node, internal: bool) -> Vec<Address> {
    let all = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let of_type = |wanted: &str| -> Vec<_> {
        let found = all.into_iter().flatten().filter(|it| it.type_ == wanted && !it.address.is_empty());
        found.map(|it| Address::from_text(&it.address)).collect()
    };
    let external = if internal { Vec::new() } else { of_type("ExternalIP") };
    if external.is_empty() { of_type("InternalIP") } else { external }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::watch::scripted::{Answer, api_server};

    fn service(spec: Value, status: Value) -> Vec<Address> {
        of_service(&serde_json::from_value(json!({"spec": spec, "status": status})).unwrap()).into_iter().collect()
    }

    fn ip(text: &str) -> Address {
        Address::Ip(text.to_owned())
    }

    #[test]
    fn the_addresses_of_a_service_follow_from_its_type() {
        let none = json!({});
        let balancer =
            json!({"loadBalancer": {"ingress": [{"hostname": "lb.test"}, {"ip": "1.2.3.4"}, {"ip": "1.2.3.4"}]}});
        let host = Address::Hostname("lb.test".to_owned());
        for (spec, status, expected) in [
            (json!({"type": "ExternalName", "externalName": "lb.test"}), &none, vec![host.clone()]),
            (json!({"type": "ClusterIP", "clusterIP": "10.0.0.1"}), &none, vec![ip("10.0.0.1")]),
            (json!({"clusterIP": "None"}), &none, vec![]),
            (json!({"type": "NodePort", "clusterIP": "10.0.0.1"}), &none, vec![ip("10.0.0.1")]),
            (
                json!({"type": "NodePort", "clusterIP": "10.0.0.1", "externalIPs": ["5.6.7.8"]}),
                &none,
                vec![ip("5.6.7.8")],
            ),
            (json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1"}), &none, vec![]),
            (
                json!({"type": "LoadBalancer", "externalIPs": ["5.6.7.8"]}),
                &balancer,
                vec![ip("1.2.3.4"), ip("5.6.7.8"), host.clone()],
            ),
        ] {
            assert_eq!(service(spec.clone(), status.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn pods_of_one_workload_share_their_labels() {
        let labels = json!({
            "app": "genkan", "pod-template-hash": "x", "topology.kubernetes.io/zone": "y",
            "helm.sh/chart": "genkan-0.1.0", "app.kubernetes.io/version": "0.1.0",
        });
        let pod: Pod = serde_json::from_value(json!({"metadata": {"labels": labels}})).unwrap();
        assert_eq!(shared_labels(&pod), BTreeMap::from([("app".to_owned(), "genkan".to_owned())]));
    }

    #[test]
    fn nodes_have_addresses_inside_and_outside() {
        let addresses = json!([
            {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "1.2.3.4"},
            {"type": "Hostname", "address": "node"},
        ]);
        let node: Node = serde_json::from_value(json!({"status": {"addresses": addresses}})).unwrap();
        assert_eq!(of_node(&node, true), [ip("10.0.0.1")]);
        assert_eq!(of_node(&node, false), [ip("1.2.3.4")]);
        let inside = json!([{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": ""}]);
        let node: Node = serde_json::from_value(json!({"status": {"addresses": inside}})).unwrap();
        assert_eq!(of_node(&node, false), [ip("10.0.0.1")], "there is no other");
    }

    #[tokio::test]
    async fn a_watch_or_an_answer_that_hangs_is_given_up() {
        let spec = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "10.0.0.1"}});
        let list =
            json!({"kind": "ServiceList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [spec]});
        let script = vec![Answer::lines(200, &[list]), Answer::lines(200, &[]).and_holds()];
        let (client, requests) = api_server(script).await;
        let services: Api<Service> = Api::namespaced(client.clone(), "n");
        let (found, _) = watch::channel(BTreeSet::new());
        let set = |addresses| drop(found.send_replace(addresses));
        let silent = Err("the API server does not answer".to_owned());
        let short = Duration::from_secs(1);
        assert_eq!(within(short, follow_service(&services, "s", WATCH_TIME, &set)).await, silent);
        assert_eq!(*found.borrow(), BTreeSet::from([ip("10.0.0.1")]));
        assert!(requests.lock()[1].contains("timeoutSeconds=60"), "{:?}", requests.lock());
        let own = OwnPod { namespace: "n".to_owned(), name: "p".to_owned() };
        assert_eq!(within(short, of_nodes(&client, &own, true)).await.map(drop), silent);
    }
}
