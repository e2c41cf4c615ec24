//! Clearing: takes addresses away from Ingresses at the end.
//!
//! Not by server-side apply: that takes away only what nobody else ever wrote, and an address that ingress-nginx wrote
//! before us belongs to both. A JSON Patch removes what is there if it is what we think it is, and nothing else.

use http::Request;
use http::header::CONTENT_TYPE;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::failing::Failure;
use super::writer::{AT_ONCE, IngressState, MANAGER, WRITE_TIME, entry};
use crate::resources::NamespacedName;

/// Takes away what these Ingresses have, a few at once. What can't be taken away is told.
pub(super) async fn clear(client: &Client, ingresses: Vec<(NamespacedName, IngressState)>) {
    let mut ingresses = ingresses.into_iter();
    let mut writes = JoinSet::new();
    loop {
        while writes.len() < AT_ONCE
            && let Some((name, state)) = ingresses.next()
        {
            let client = client.clone();
            writes.spawn(async move {
                let outcome = remove(&client, &name, &state).await;
                (name, outcome)
            });
        }
        match writes.join_next().await {
            Some(Ok((name, Err(Failure { error, .. })))) => {
                tracing::warn!(ingress = %name, %error, "its status is not cleared");
            }
            Some(_) => {}
            None => return,
        }
    }
}

/// Removes the addresses of one Ingress. One that is gone, or has others by now, is no error.
async fn remove(client: &Client, name: &NamespacedName, state: &IngressState) -> Result<(), Failure> {
    let NamespacedName { namespace, name } = name;
    // Both are names that the API server gave us: they need no escaping.
    let path =
        format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/{name}/status?fieldManager={MANAGER}");
    let request = Request::patch(path)
        .header(CONTENT_TYPE, "application/json-patch+json")
        .body(removal(state).to_string().into_bytes())
        .map_err(|error| Failure { code: 0, error: error.to_string(), retry_after: None })?;
    match timeout(WRITE_TIME, client.request::<Ingress>(request)).await {
        Ok(Ok(_)) => Ok(()),
        // 422: a test of the patch did not hold.
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409 | 422) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::silent()),
    }
}

/// The JSON Patch.
fn removal(state: &IngressState) -> Value {
    const PATH: &str = "/status/loadBalancer/ingress";
    let known: Vec<_> = state.published.iter().map(entry).collect();
    json!([
        {"op": "test", "path": "/metadata/uid", "value": &*state.uid},
        {"op": "test", "path": PATH, "value": known},
        {"op": "remove", "path": PATH},
    ])
}
