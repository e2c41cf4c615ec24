//! Place: the Node that we run on and its zone, for topology-aware routing. Looked up once, as neither changes while a
//! Pod lives.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client};
use tokio::time::timeout;

use crate::settings::Place;
use crate::status::OwnPod;

/// The label of a Node that names its zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Start does not wait longer than this for an API server that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a Pod runs; `None`, with a warning, when that can't be known: then endpoints are used wherever they are.
pub(super) async fn of_pod(client: &Client, pod: &OwnPod) -> Option<Place> {
    let unknown = |why: &str| {
        tracing::warn!(why, "--enable-topology-aware-routing has no effect: our zone is not known");
        None
    };
    match timeout(PATIENCE, look_up(client, pod)).await {
        Ok(Ok(Some(place))) => Some(place),
        Ok(Ok(None)) => unknown("our Pod or its Node does not exist"),
        Ok(Err(error)) => unknown(&error.to_string()),
        Err(_) => unknown("the API server does not answer"),
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

    #[test]
    fn the_zone_is_the_label_of_the_node() {
        let node = |labels| serde_json::from_value(json!({"metadata": {"name": "n1", "labels": labels}})).unwrap();
        let place = place_of("n1".to_owned(), &node(json!({ZONE_LABEL: "eu-1a"})));
        assert_eq!(place, Place { node: Some("n1".to_owned()), zone: Some("eu-1a".to_owned()) });
        assert_eq!(place_of("n1".to_owned(), &node(json!({}))).zone, None);
    }
}
