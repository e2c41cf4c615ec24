//! Models, certificates and connections for tests.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use genkan_routing::model::{Certificate, Listener, Model, PrivateKey, Protocol, ProxySettings, SharedMap};
use genkan_routing::name::{CertificateId, HostPattern, ListenerId};
use genkan_routing::policy::client::ClientSettings;
use genkan_routing::snapshot::Snapshot;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::config::{AccessLogOutput, ProxyConfig};
use crate::listener::establish::{Accept, EstablishError, Established, establish};
use crate::listener::stream::ClientStream;
use crate::listener::table::{PortKey, Wire};
use crate::shared::Shared;
use crate::table::ProxyTable;

/// Longer than anything may take that is going to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A deadline that a test lets pass.
pub(crate) const SOON: Duration = Duration::from_millis(100);

pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A listener at 127.0.0.1 and a port that the system chooses.
pub(crate) fn listener(id: &str, protocol: Protocol) -> Listener {
    Listener {
        id: ListenerId::new(id),
        addresses: vec![LOCALHOST],
        port: 0,
        public_port: 80,
        protocol,
        sections: Vec::new(),
        certificates: SharedMap::default(),
        default_certificate: None,
        passthrough: SharedMap::default(),
        terminated: SharedMap::default(),
        client_auth: None,
        unknown_name: Default::default(),
        client: None,
        tls: SharedMap::default(),
        stream: None,
    }
}

pub(crate) fn snapshot(
    listeners: impl IntoIterator<Item = Listener>,
    certificates: impl IntoIterator<Item = Arc<Certificate>>,
    client: ClientSettings,
) -> Arc<Snapshot> {
    let model = Model {
        listeners: listeners.into_iter().map(|listener| (listener.id.clone(), Arc::new(listener))).collect(),
        certificates: certificates.into_iter().map(|certificate| (certificate.id.clone(), certificate)).collect(),
        settings: Arc::new(ProxySettings { client, ..ProxySettings::default() }),
        ..Model::default()
    };
    Arc::new(Snapshot::compile(Arc::new(model)))
}

/// A certificate for `names`, signed by itself.
pub(crate) fn certificate(id: &str, names: &[&str]) -> Arc<Certificate> {
    certificate_with(id, names, &rcgen::PKCS_ECDSA_P256_SHA256)
}

pub(super) fn signing_key(key: &rcgen::KeyPair) -> PrivateKey {
    let der = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    PrivateKey::new(rustls::crypto::ring::sign::any_supported_type(&der).unwrap())
}

pub(crate) fn certificate_with(
    id: &str,
    names: &[&str],
    algorithm: &'static rcgen::SignatureAlgorithm,
) -> Arc<Certificate> {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let params = rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let leaf = params.unwrap().self_signed(&key).unwrap();
    Arc::new(Certificate {
        id: CertificateId::new(id),
        origin: None,
        names: names.iter().map(|name| HostPattern::parse_one_label(name).unwrap()).collect(),
        fingerprint: String::new(),
        not_after: 0,
        chain: vec![Arc::from(leaf.der().as_ref())],
        key: signing_key(&key),
    })
}

/// The server's side of one listener, without workers and engine: tests take the client stream themselves.
pub(crate) struct Hall {
    shared: Arc<Shared>,
    socket: TcpListener,
    port: PortKey,
    log: mpsc::Receiver<String>,
}

impl Hall {
    pub(crate) async fn new(listener: Listener, client: ClientSettings) -> Self {
        let port = PortKey::Chosen(Wire::Tcp, listener.addresses.first().copied(), listener.id.clone());
        let table = ProxyTable::build(snapshot([listener], [], client), None);
        let (log, lines) = mpsc::channel();
        let config = ProxyConfig { access_log: AccessLogOutput::Channel(log), ..ProxyConfig::default() };
        let shared = Arc::new(Shared::new(config, Arc::new(table)).unwrap());
        Self { shared, socket: TcpListener::bind((LOCALHOST, 0)).await.unwrap(), port, log: lines }
    }

    /// The next line of the access log, if one has been written.
    pub(crate) fn logged(&self) -> Option<String> {
        self.log.try_recv().ok()
    }

    /// A plaintext one.
    pub(crate) async fn plain(client: ClientSettings) -> Self {
        Self::new(listener("http", Protocol::Http), client).await
    }

    /// A client's socket, and what becomes of it at our end.
    pub(crate) async fn connect(
        &self,
    ) -> (TcpStream, impl Future<Output = Result<ClientStream, EstablishError>> + use<>) {
        let client = TcpStream::connect(self.socket.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (tcp, peer) = self.socket.accept().await.unwrap();
        let table = self.shared.table.load_full();
        let entrance = Arc::clone(table.listeners.entrance(&self.port).unwrap());
        let open = self.shared.connections.open(usize::MAX).unwrap();
        let established = establish(Accept { tcp, open, table, entrance, peer }, Arc::clone(&self.shared));
        let server = async {
            match established.await? {
                Established::Client(stream) => Ok(stream),
                Established::Passage(passage) => panic!("nothing is passed on here: {passage:?}"),
            }
        };
        (client, server)
    }
}

/// Everything until the end of the stream, which must not be a reset.
pub(crate) async fn read_all(client: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = Vec::new();
    soon(client.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// One read, as text.
pub(crate) async fn read_some(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = vec![0; 64 << 10];
    let count = soon(stream.read(&mut bytes)).await.unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

/// The outcome of something that must happen.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it must happen")
}
