//! The engine on real sockets, without the listener: whether its own parts fit together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use tokio::net::TcpListener;
use tokio::sync::watch;

use self::backend::Backend;
use self::client::Client;
use self::model::{Site, rule};
use super::Engine;
use crate::config::ProxyConfig;
use crate::connection::{ConnectionInfo, Phase};
use crate::listener::stream::{ClientProtocol, ClientStream, Transport};
use crate::shared::{Connections, Shared};
use crate::table::ProxyTable;

#[allow(dead_code)]
#[path = "../../../tests/kit/backend.rs"]
mod backend;
#[allow(dead_code)]
#[path = "../../../tests/kit/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../../../tests/kit/model.rs"]
mod model;

/// Serves `site` over HTTP/1 on this test's own runtime.
async fn serve(site: Site) -> (SocketAddr, watch::Sender<bool>) {
    let table = Arc::new(ProxyTable::build(site.snapshot(), None));
    let listener_id = table.snapshot.model().listeners.keys().next().unwrap().clone();
    let shared = Arc::new(Shared::new(ProxyConfig::default(), table));
    let connections = Arc::new(Connections::default());
    let engine = Arc::new(Engine::new(Arc::clone(&shared)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (drain, shutdown) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let open = connections.open(100).unwrap();
            let info = Arc::new(ConnectionInfo {
                id: open.id(),
                listener: listener_id.clone(),
                public_port: 80,
                peer,
                local: address,
                proxied: None,
                tls: None,
                requests: AtomicU32::new(0),
                phase: Phase::default(),
            });
            let transport = Transport::Plain(stream);
            let http1 = ClientProtocol::Http1;
            let stream =
                ClientStream::new(transport, open, http1, Vec::new(), info, Arc::clone(&shared), &Default::default());
            let (engine, shutdown) = (Arc::clone(&engine), shutdown.clone());
            tokio::spawn(async move { engine.serve(stream, shutdown).await });
        }
    });
    (address, drain)
}

#[tokio::test]
async fn requests_reach_the_backend_and_reuse_connections() {
    let backend = Backend::echo().await;
    let (address, _drain) = serve(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a"))).await;
    let mut client = Client::connect(address).await;
    for _ in 0..3 {
        let answer = client.get("/x?y=1").await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        assert!(answer.text().starts_with("GET /x?y=1 HTTP/1.1\n"), "{}", answer.text());
        assert!(answer.text().contains("host: test\n"), "{}", answer.text());
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_drain_ends_idle_connections() {
    let backend = Backend::echo().await;
    let (address, drain) = serve(Site::new().cluster("a", &[backend.address]).rule(rule("/").to("a"))).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/").await.status, 200);
    drain.send(true).unwrap();
    let answer = client.get("/").await;
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    client.closed().await;
}
