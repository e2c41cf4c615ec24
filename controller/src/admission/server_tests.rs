//! The server over sockets.

use hyper::client::conn::{http1, http2};
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::sync::Mutex;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::desk::desk;
use super::super::judge::Verdict;
use super::super::{CertificateFiles, Questions};
use super::*;

const NAME: &str = "webhook.test";

/// A certificate in files.
struct Pair {
    folder: tempfile::TempDir,
    roots: RootCertStore,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self { folder: tempfile::tempdir().unwrap(), roots: RootCertStore::empty() };
        pair.renew();
        pair
    }

    /// Writes another certificate; it alone is trusted then.
    fn renew(&mut self) {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
        std::fs::write(self.files().key, made.signing_key.serialize_pem()).unwrap();
        std::fs::write(self.files().certificate, made.cert.pem()).unwrap();
        self.roots = RootCertStore::empty();
        self.roots.add(made.cert.der().clone()).unwrap();
    }

    fn files(&self) -> CertificateFiles {
        CertificateFiles { certificate: self.folder.path().join("tls.crt"), key: self.folder.path().join("tls.key") }
    }
}

/// A server, and whoever answers its questions: that every Ingress is refused.
struct Hall {
    server: AdmissionServer,
    serving: Arc<Serving>,
    pair: Pair,
    seen: Arc<Mutex<Vec<Observation>>>,
    runtime: Runtime,
}

impl Hall {
    fn new() -> Self {
        let (desk, mut questions) = desk();
        let hall = Self::with(desk);
        hall.runtime.spawn(async move {
            loop {
                let question = Questions::next(&mut questions).await;
                let message = format!("not {}", question.review.name);
                question.answer(Verdict { allowed: false, message, warnings: vec!["careful".to_owned()] }, 3);
            }
        });
        hall
    }

    fn with(desk: Desk) -> Self {
        let (serving, pair) = (Serving::new(), Pair::new());
        pair.files().load(&serving).unwrap();
        let seen: Arc<Mutex<Vec<Observation>>> = Arc::default();
        let tell = Arc::clone(&seen);
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let observe = move |observation: &Observation| tell.lock().unwrap().push(*observation);
        let server = AdmissionServer::start(local, &serving, desk, observe).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { server, serving, pair, seen, runtime }
    }

    async fn connect(&self, protocol: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.unwrap().with_root_certificates(self.pair.roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(self.server.address()).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
    }

    /// Sends a request by HTTP/1.1.
    fn send(&self, method: &str, body: impl Into<Bytes>) -> (u16, String) {
        let body = Full::new(body.into());
        self.runtime.block_on(async {
            let stream = self.connect(b"http/1.1").await.unwrap();
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let request = Request::builder().method(method).uri("/networking/v1/ingresses").header("host", NAME);
            answer(sender.send_request(request.body(body).unwrap()).await.unwrap()).await
        })
    }
}

async fn answer(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn review() -> String {
    let resource = json!({"group": "networking.k8s.io", "version": "v1", "resource": "ingresses"});
    let object = json!({"metadata": {"namespace": "ns", "name": "web"}, "spec": {}});
    let request = json!({"uid": "u", "resource": resource, "operation": "CREATE", "namespace": "ns", "object": object});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string()
}

#[test]
fn a_review_is_answered_and_told() {
    let hall = Hall::new();
    let (status, text) = hall.send("POST", review());
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["response"]["allowed"], json!(false));
    assert_eq!(answer["response"]["status"]["message"], json!("not ns/web"));
    assert_eq!(answer["response"]["warnings"], json!(["careful"]));
    let seen = hall.seen.lock().unwrap().clone();
    assert_eq!((seen.len(), seen[0].ingresses, seen[0].size), (1, 3, review().len()));
}

#[test]
fn http_2_is_spoken_too() {
    let hall = Hall::new();
    let (status, text) = hall.runtime.block_on(async {
        let stream = hall.connect(b"h2").await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post(format!("https://{NAME}/")).body(Full::new(Bytes::from(review()))).unwrap();
        answer(sender.send_request(request).await.unwrap()).await
    });
    assert_eq!(status, 200);
    assert!(text.contains("not ns/web"), "{text}");
}

#[test]
fn what_is_no_review_gets_a_reason() {
    let hall = Hall::new();
    let (status, text) = hall.send("POST", "{");
    assert_eq!(status, 400);
    assert!(text.starts_with("this is no AdmissionReview"), "{text}");
    assert_eq!(hall.send("GET", "").0, 405);
    let (status, text) = hall.send("POST", vec![b' '; MAX_BODY + 1]);
    assert_eq!((status, text.as_str()), (413, "the body is larger than 9437184 bytes\n"));
    assert_eq!(hall.send("POST", vec![b' '; MAX_BODY]).0, 400);
    assert!(hall.seen.lock().unwrap().is_empty());
}

#[test]
fn when_nobody_answers_the_api_server_may_ask_another() {
    let (desk, questions) = desk();
    drop(questions);
    assert_eq!(Hall::with(desk).send("POST", review()).0, 503);
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    let mut hall = Hall::new();
    let follow = hall.pair.files().follow(hall.serving.clone(), Duration::from_millis(5));
    let following = hall.runtime.spawn(follow);
    // The folder's certificate was shown before; a broken one in between changes nothing.
    std::fs::write(hall.pair.files().certificate, "broken").unwrap();
    assert_eq!(hall.send("POST", review()).0, 200);
    hall.pair.renew();
    hall.runtime.block_on(async {
        let shown = async {
            while hall.connect(b"http/1.1").await.is_err() {
                tokio::task::yield_now().await
            }
        };
        timeout(Duration::from_secs(30), shown).await.expect("the new certificate is shown");
    });
    assert_eq!(hall.send("POST", review()).0, 200);
    following.abort();
}

#[test]
fn without_a_certificate_there_is_no_handshake() {
    let (desk, _questions) = desk();
    let mut hall = Hall::with(desk);
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let (desk, _none) = super::super::desk::desk();
    hall.server = AdmissionServer::start(local, &Serving::new(), desk, |_| {}).unwrap();
    assert!(hall.runtime.block_on(hall.connect(b"http/1.1")).is_err());
}

#[test]
fn room_for_bodies_is_given_back() {
    let bodies = AtomicUsize::new(0);
    let mut many = Vec::new();
    while {
        let mut held = Held { bytes: 0, of: &bodies };
        let room = held.take(MAX_BODY).is_ok();
        many.push(held);
        room
    } {}
    assert_eq!(many.len(), MAX_BODIES / MAX_BODY + 1);
    drop(many);
    assert_eq!(bodies.into_inner(), 0);
}
