//! Place: the Node that we run on and its zone, for topology-aware routing. Looked up until it is known, and then never
//! again: neither changes while a Pod lives.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client};
use tokio::time::{sleep, timeout};

use crate::resources::Place;
use crate::status::OwnPod;

/// The label of a Node that names its zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// In this time the API server must answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon, and at last how seldom, it is asked again; by chance up to twice as seldom.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// Where a Pod runs, as soon as that can be known. Until then endpoints are used wherever they are, and a warning says
/// why.
pub(super) async fn of_pod(client: Client, pod: OwnPod) -> Place {
    let [min, max] = WAITS;
    let waits = ExponentialBuilder::default().with_min_delay(min).with_max_delay(max).with_jitter();
    let mut waits = waits.without_max_times().build();
    let mut told = String::new();
    loop {
        let why = match timeout(PATIENCE, look_up(&client, &pod)).await {
            Ok(Ok(Some(place))) => return place,
            Ok(Ok(None)) => "our Pod or its Node does not exist".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the API server does not answer".to_owned(),
        };
        if why != told {
            tracing::warn!(why, "--enable-topology-aware-routing has no effect as long as our zone is not known");
            told = why;
        }
        sleep(waits.next().unwrap_or(max)).await;
    }
}

async fn look_up(client: &Client, pod: &OwnPod) -> kube::Result<Option<Place>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let Some(node) = pods.get_opt(&pod.name).await?.and_then(|pod| pod.spec?.node_name) else { return Ok(None) };
    let nodes: Api<Node> = Api::all(client.clone());
    Ok(nodes.get_opt(&node).await?.map(|found| place_of(node, &found)))
}

fn place_of(name: String, node: &Node) -> Place {
    let labels = node.metadata.labels.as_ref();
    Place { node: Some(name), zone: labels.and_then(|labels| labels.get(ZONE_LABEL).cloned()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::watch::scripted::{Answer, api_server, failure};

    #[test]
    fn the_zone_is_the_label_of_the_node() {
        let node = |labels| serde_json::from_value(json!({"metadata": {"name": "n1", "labels": labels}})).unwrap();
        let place = place_of("n1".to_owned(), &node(json!({ZONE_LABEL: "eu-1a"})));
        assert_eq!(place, Place { node: Some("n1".to_owned()), zone: Some("eu-1a".to_owned()) });
        assert_eq!(place_of("n1".to_owned(), &node(json!({}))).zone, None);
    }

    #[tokio::test]
    async fn it_is_looked_for_until_the_api_server_says_it() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "n1", "containers": []}});
        let node = json!({"metadata": {"name": "n1", "labels": {ZONE_LABEL: "eu-1a"}}});
        let answers = vec![failure(503), Answer::lines(200, &[pod]), Answer::lines(200, &[node])];
        let (client, requests) = api_server(answers).await;
        let own = OwnPod { namespace: "n".to_owned(), name: "p".to_owned() };
        assert_eq!(of_pod(client, own).await.zone.as_deref(), Some("eu-1a"));
        assert_eq!(requests.lock()[1..], ["/api/v1/namespaces/n/pods/p", "/api/v1/nodes/n1"]);
    }
}
