//! Follow: EndpointSlices as the API server has them, with everything in them. Translation keeps of slices only what it
//! reads, for there are many; these are few: those of our own Service, and those that are kept for Gateways.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::slices::{SERVICE_NAME, Slices};
use crate::resources::{NamespacedName, SLICE_KEEPER};
use crate::trouble::Trouble;

/// How soon the API server is asked again after an error.
const RETRY: Duration = Duration::from_secs(2);
/// In this time it must answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// It is noticed this soon that the other end is gone without a word.
const WATCH_TIME: Duration = Duration::from_secs(120);

/// Some EndpointSlices; `None` while they are not known.
pub(super) type Followed = watch::Receiver<Option<Slices>>;

/// Nothing that is followed: nothing is ever known.
pub(super) fn nothing() -> Followed {
    watch::channel(None).1
}

/// Those of our own Service.
pub(super) fn of_service(client: Client, service: &NamespacedName, trouble: Trouble) -> Followed {
    let slices = Api::namespaced(client, &service.namespace);
    begin(slices, format!("{SERVICE_NAME}={}", service.name), trouble)
}

/// Those that are kept for Gateways, in one namespace or all.
pub(super) fn of_gateways(client: Client, namespace: Option<&str>, trouble: Trouble) -> Followed {
    let slices = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let (key, value) = SLICE_KEEPER;
    begin(slices, format!("{key}={value}"), trouble)
}

/// Follows until nobody listens.
fn begin(slices: Api<EndpointSlice>, selector: String, trouble: Trouble) -> Followed {
    let (sender, followed) = watch::channel(None);
    tokio::spawn(async move {
        let following = async {
            loop {
                if let Err(error) = follow(&slices, &selector, &sender, &trouble).await {
                    let line = "EndpointSlices for Services of Gateways can't be followed";
                    if trouble.set(line, &error) {
                        tracing::warn!(%error, selector, "{line}; it will be tried again");
                    }
                }
                sleep(RETRY).await;
            }
        };
        tokio::select! {
            () = following => {}
            () = sender.closed() => {}
        }
    });
    followed
}

/// Lists and watches until the watch ends.
async fn follow(
    api: &Api<EndpointSlice>,
    selector: &str,
    sender: &watch::Sender<Option<Slices>>,
    trouble: &Trouble,
) -> Result<(), String> {
    let silent = |_| "the API server does not answer".to_owned();
    let told = |error: kube::Error| error.to_string();
    let params = ListParams::default().labels(selector);
    let list = timeout(PATIENCE, api.list(&params)).await.map_err(silent)?.map_err(told)?;
    let mut version = list.metadata.resource_version.unwrap_or_default();
    let all: Slices = list.items.into_iter().map(keyed).collect();
    sender.send_if_modified(|known| {
        let news = known.as_ref() != Some(&all);
        *known = Some(all);
        news
    });
    trouble.clear();
    let seconds = u32::try_from(WATCH_TIME.as_secs()).unwrap_or(u32::MAX);
    let params = WatchParams::default().labels(selector).timeout(seconds);
    loop {
        let events = timeout(PATIENCE, api.watch(&params, &version)).await.map_err(silent)?.map_err(told)?;
        let mut events = Box::pin(events);
        while let Some(event) = timeout(WATCH_TIME + PATIENCE, events.next()).await.map_err(silent)? {
            let (slice, is_there) = match event.map_err(told)? {
                WatchEvent::Added(slice) | WatchEvent::Modified(slice) => (slice, true),
                WatchEvent::Deleted(slice) => (slice, false),
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                // The version is too old, most likely: everything is listed anew.
                WatchEvent::Error(status) if status.code == 410 => return Ok(()),
                WatchEvent::Error(status) => return Err(status.to_string()),
            };
            version = slice.metadata.resource_version.clone().unwrap_or_default();
            let (name, slice) = keyed(slice);
            sender.send_modify(|known| {
                let known = known.get_or_insert_default();
                match is_there {
                    true => drop(known.insert(name, slice)),
                    false => drop(known.remove(&name)),
                }
            });
        }
    }
}

fn keyed(slice: EndpointSlice) -> (NamespacedName, Arc<EndpointSlice>) {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let name = NamespacedName::new(of(&slice.metadata.namespace), of(&slice.metadata.name));
    (name, Arc::new(slice))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::watch::scripted::{Answer, api_server};

    #[tokio::test]
    async fn slices_are_listed_then_watched() {
        let slice = |name: &str| {
            json!({"metadata": {"namespace": "genkan", "name": name, "resourceVersion": "2"},
            "addressType": "IPv4", "endpoints": []})
        };
        let list = json!({"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"resourceVersion": "1"}, "items": [slice("a")]});
        let events = [json!({"type": "ADDED", "object": slice("b")}), json!({"type": "DELETED", "object": slice("a")})];
        let script = vec![Answer::lines(200, &[list]), Answer::lines(200, &events).and_holds()];
        let (client, requests) = api_server(script).await;
        let mut followed = of_service(client, &NamespacedName::new("genkan", "front"), Trouble::default());
        let is_b =
            |known: &Option<Slices>| known.as_ref().is_some_and(|known| known.keys().map(|name| &*name.name).eq(["b"]));
        followed.wait_for(is_b).await.unwrap();
        assert!(requests.lock()[0].contains("service-name%3Dfront"), "{:?}", requests.lock());
    }
}
