//! TLS towards endpoints as policies ask for it: authorities, names, certificates of our own, and who shares what.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use genkan_routing::model::{
    Authority, ClientCertificate, HttpVersion, Protocol, SubjectAltName, Trust, UpstreamTls, Verify,
};
use genkan_routing::policy::mirror::{Mirror, Share};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kit::client::{Body, PATIENCE, full};
use kit::model::rule;
use kit::tls::Pair;
use kit::{Backend, Client, Running, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// The names of most endpoints here.
const NAMES: [&str; 3] = ["backend.test", "other.test", "uri:spiffe://backend.test/one"];

fn self_signed() -> Pair {
    Pair::with_names(&NAMES)
}

/// An endpoint that answers over TLS: the version and target, what the client's certificate is, and the body's length. With
/// `clients`, only those get in that show one of these certificates.
async fn endpoint(pair: &Pair, clients: &[&Pair]) -> Backend {
    pair.serving(clients, |stream| async move {
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().map(|chain| chain[0].len());
        let http2 = session.alpn_protocol() == Some(b"h2");
        let service = service_fn(move |request| answer(request, shown));
        let io = TokioIo::new(stream);
        // A proxy that hangs up is part of many tests.
        if http2 {
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
        } else {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        }
    })
    .await
}

async fn answer(request: Request<Incoming>, shown: Option<usize>) -> Result<Response<Body>, Infallible> {
    let asked = format!("{:?} {}", request.version(), request.uri());
    let length = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
    Ok(Response::new(full(format!("{asked} {shown:?} {length}"))))
}

fn authority(der: &[u8]) -> Authority {
    Authority { fingerprint: "".into(), der: der.into() }
}

fn trust(authorities: &[&[u8]], names: &[SubjectAltName]) -> Verify {
    let authorities = authorities.iter().map(|der| authority(der)).collect();
    Verify::Trust(Arc::new(Trust { id: "default/policy".into(), authorities: Some(authorities), names: names.into() }))
}

fn dns(name: &str) -> SubjectAltName {
    SubjectAltName::Dns(name.into())
}

fn uri(name: &str) -> SubjectAltName {
    SubjectAltName::Uri(name.into())
}

fn tls(server_name: &str, verify: Verify) -> UpstreamTls {
    UpstreamTls { server_name: Some(server_name.into()), verify, client: None }
}

/// Serves `/0`, `/1` and so on from the endpoint, each with its settings.
fn serve(address: SocketAddr, version: HttpVersion, settings: &[UpstreamTls]) -> Running {
    let site = settings.iter().enumerate().fold(Site::new(), |site, (number, tls)| {
        let site = site.cluster_with(&number.to_string(), &[address], |cluster| {
            cluster.tls = Some(tls.clone());
            cluster.version = version;
        });
        site.rule(rule(&format!("/{number}")).to(&number.to_string()))
    });
    Running::start(site)
}

/// The statuses of `/0`, `/1` and so on.
async fn statuses(running: &Running, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for number in 0..count {
        statuses.push(running.get(&format!("/{number}")).await.status);
    }
    statuses
}

#[tokio::test]
async fn an_endpoint_must_have_a_trusted_certificate_with_a_name_that_is_asked_for() {
    let (pair, stranger) = (self_signed(), self_signed());
    let backend = endpoint(&pair, &[]).await;
    let (own, other): (&[u8], &[u8]) = (&pair.der, &stranger.der);
    let all = [
        (200, tls("backend.test", trust(&[own], &[]))),
        (200, tls("backend.test", trust(&[other, own], &[]))),
        (502, tls("backend.test", trust(&[other], &[]))),
        (502, tls("wrong.test", trust(&[own], &[]))),
        // Names count instead of the server name, whatever that is.
        (200, tls("wrong.test", trust(&[own], &[dns("other.test")]))),
        (200, tls("wrong.test", trust(&[own], &[dns("nobody.test"), uri("spiffe://backend.test/one")]))),
        (502, tls("backend.test", trust(&[own], &[dns("nobody.test")]))),
        (502, tls("backend.test", trust(&[own], &[uri("spiffe://backend.test/two")]))),
        (502, tls("backend.test", trust(&[own], &[uri("spiffe://backend.test/")]))),
        (502, tls("backend.test", trust(&[own], &[dns("spiffe://backend.test/one"), uri("backend.test")]))),
        (502, tls("backend.test", trust(&[other], &[dns("backend.test")]))),
        (502, tls("backend.test", Verify::Refused("no such ConfigMap".into()))),
        (502, tls("backend.test", Verify::System)),
        (200, tls("backend.test", Verify::Nothing)),
    ];
    let settings: Vec<_> = all.iter().map(|(_, tls)| tls.clone()).collect();
    let expected: Vec<_> = all.iter().map(|(status, _)| *status).collect();
    let running = serve(backend.address, HttpVersion::Http1, &settings);
    // The second time there are kept connections, of which none is for those who were refused.
    assert_eq!(statuses(&running, all.len()).await, expected);
    assert_eq!(statuses(&running, all.len()).await, expected);
}

#[tokio::test]
async fn broken_authorities_are_passed_over_and_nothing_is_trusted_when_none_is_left() {
    let pair = self_signed();
    let backend = endpoint(&pair, &[]).await;
    // Cut short, it begins like a certificate.
    let (own, cut): (&[u8], &[u8]) = (&pair.der, &pair.der[..pair.der.len() / 2]);
    let names = [dns("backend.test")];
    let settings = [
        tls("backend.test", trust(&[cut, b"", b"nonsense"], &[])),
        tls("backend.test", trust(&[cut, b"", b"nonsense"], &names)),
        tls("backend.test", trust(&[], &[])),
        tls("backend.test", trust(&[], &names)),
        tls("backend.test", trust(&[cut, own], &[])),
        tls("backend.test", trust(&[cut, own], &names)),
    ];
    let running = serve(backend.address, HttpVersion::Http1, &settings);
    for _ in 0..2 {
        assert_eq!(statuses(&running, settings.len()).await, [502, 502, 502, 502, 200, 200]);
    }
}

#[tokio::test]
async fn connections_are_kept_but_never_for_another_policy() {
    let (pair, another) = (self_signed(), self_signed());
    let backend = endpoint(&pair, &[]).await;
    let (own, other): (&[u8], &[u8]) = (&pair.der, &another.der);
    let mut with_certificate = tls("backend.test", trust(&[own], &[]));
    with_certificate.client = Some(ClientCertificate(another.certificate("default/own")));
    let settings = [
        tls("backend.test", trust(&[own], &[])),
        tls("backend.test", trust(&[own, other], &[])),
        tls("backend.test", trust(&[own], &[dns("backend.test")])),
        tls("backend.test", trust(&[own], &[dns("other.test")])),
        with_certificate,
        tls("backend.test", Verify::Nothing),
    ];
    let running = serve(backend.address, HttpVersion::Http1, &settings);
    for _ in 0..5 {
        assert_eq!(statuses(&running, settings.len()).await, [200; 6]);
    }
    assert_eq!(backend.connections(), settings.len());
}

#[tokio::test]
async fn an_endpoint_sees_the_certificate_that_is_shown_to_it() {
    let (pair, client, stranger) = (self_signed(), Pair::new("genkan.test"), Pair::new("stranger.test"));
    let backend = endpoint(&pair, &[&client]).await;
    let shown = |shown: &Pair, verify| UpstreamTls {
        client: Some(ClientCertificate(shown.certificate("default/own"))),
        ..tls("backend.test", verify)
    };
    let settings = [
        shown(&client, trust(&[&pair.der], &[])),
        shown(&client, trust(&[&pair.der], &[dns("other.test")])),
        shown(&client, Verify::Nothing),
        shown(&stranger, Verify::Nothing),
        tls("backend.test", Verify::Nothing),
    ];
    let running = serve(backend.address, HttpVersion::Http1, &settings);
    for _ in 0..2 {
        assert_eq!(statuses(&running, settings.len()).await, [200, 200, 200, 502, 502]);
    }
    assert_eq!(running.get("/0").await.text(), format!("HTTP/1.1 /0 Some({}) 0", client.der.len()));
}

#[tokio::test]
async fn all_of_it_works_over_http2() {
    let (pair, client) = (self_signed(), Pair::new("genkan.test"));
    let backend = endpoint(&pair, &[&client]).await;
    let with = |verify| UpstreamTls {
        client: Some(ClientCertificate(client.certificate("default/own"))),
        ..tls("backend.test", verify)
    };
    let settings = [
        with(trust(&[&pair.der], &[])),
        with(trust(&[&pair.der], &[uri("spiffe://backend.test/one")])),
        with(trust(&[&pair.der], &[dns("nobody.test")])),
    ];
    let running = serve(backend.address, HttpVersion::Http2, &settings);
    for _ in 0..3 {
        assert_eq!(statuses(&running, settings.len()).await, [200, 200, 502]);
    }
    // The scheme is that of the connection, whoever makes its TLS and whatever the client's was.
    assert_eq!(running.get("/1").await.text(), format!("HTTP/2.0 https://test/1 Some({}) 0", client.der.len()));
    let mut sender = kit::client::h2(running.address).await;
    let request = Request::get("http://other.test/1?a=b").body(full("")).unwrap();
    let body = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"HTTP/2.0 https://other.test/1?a=b "), "{body:?}");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_taken_for_whole() {
    let (pair, head_is_there) = (self_signed(), Arc::new(Notify::new()));
    let may_end = Arc::clone(&head_is_there);
    let backend = pair
        .serving(&[], move |mut stream| {
            let may_end = Arc::clone(&may_end);
            async move {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap();
                let length = if head[..read].starts_with(b"GET /0/known") { "Content-Length: 4" } else { "X-None: 1" };
                let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{length}\r\n\r\nhalf");
                let _ = stream.write_all(answer.as_bytes()).await;
                may_end.notified().await;
                // Otherwise it ends without a word, as if somebody had cut the connection.
                if head[..read].starts_with(b"GET /0/whole") {
                    let _ = stream.shutdown().await;
                }
            }
        })
        .await;
    for names in [vec![dns("other.test")], vec![]] {
        let settings = [tls("backend.test", trust(&[&pair.der], &names))];
        let running = serve(backend.address, HttpVersion::Http1, &settings);
        for (path, whole) in [("/0/whole", true), ("/0/known", true), ("/0/cut", false)] {
            let mut client = running.connect().await;
            client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")).await;
            assert_eq!(client.head().await.0, 200);
            head_is_there.notify_one();
            let body = String::from_utf8(client.rest().await).unwrap();
            assert!(body.contains("half"), "{path} {names:?}: {body}");
            assert_eq!(body == "half" || body.ends_with("0\r\n\r\n"), whole, "{path} {names:?}: {body}");
        }
    }
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions() {
    let pair = self_signed();
    let backend = endpoint(&pair, &[]).await;
    let running =
        serve(backend.address, HttpVersion::Http1, &[tls("backend.test", trust(&[&pair.der], &[dns("other.test")]))]);
    let body = vec![b'x'; 5 << 20];
    let mut client = running.connect().await;
    for _ in 0..3 {
        client.send(format!("POST /0 HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len())).await;
        client.send(&body).await;
        assert_eq!(client.answer().await.text(), format!("HTTP/1.1 /0 None {}", body.len()));
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_up_takes_its_kept_connection_along() {
    let pair = self_signed();
    let backend = pair
        .serving(&[], |mut stream| async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        })
        .await;
    let settings = [tls("backend.test", trust(&[&pair.der], &[dns("other.test")]))];
    let running = serve(backend.address, HttpVersion::Http1, &settings);
    let mut client = Client::connect(running.address).await;
    for _ in 0..5 {
        assert_eq!(client.get("/0").await.text(), "ok");
    }
}

#[tokio::test]
async fn streams_are_verified_too_and_end_in_each_direction_by_itself() {
    let (pair, stranger) = (self_signed(), self_signed());
    let backend = pair.backend().await;
    let open = |authority: &[u8], names: &[SubjectAltName]| {
        let tls = tls("backend.test", trust(&[authority], names));
        let site = Site::new().cluster_with("own", &[backend.address], |cluster| cluster.tls = Some(tls));
        Running::start(site.stream("tcp", Protocol::Tcp, "own", |_| {}))
    };
    let good = open(&pair.der, &[uri("spiffe://backend.test/one")]);
    let mut client = TcpStream::connect(good.address_of("tcp").unwrap()).await.unwrap();
    client.write_all(b"over TLS and back").await.unwrap();
    client.shutdown().await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(PATIENCE, client.read_to_string(&mut text)).await.unwrap().unwrap();
    assert_eq!(text, "over TLS and back");
    for (authority, names) in [(&stranger.der, vec![]), (&pair.der, vec![dns("nobody.test")])] {
        let running = open(authority, &names);
        let mut client = TcpStream::connect(running.address_of("tcp").unwrap()).await.unwrap();
        client.write_all(b"never sent").await.unwrap();
        let mut text = Vec::new();
        // Closed or reset, with nothing before.
        let _ = tokio::time::timeout(PATIENCE, client.read_to_end(&mut text)).await.unwrap();
        assert_eq!(text, b"");
    }
}

#[tokio::test]
async fn mirrors_are_verified_as_backends_are() {
    let (pair, client) = (self_signed(), Pair::new("genkan.test"));
    let (own, copies) = (Backend::named("own").await, endpoint(&pair, &[&client]).await);
    let verified = |names: &[SubjectAltName]| UpstreamTls {
        client: Some(ClientCertificate(client.certificate("default/own"))),
        ..tls("backend.test", trust(&[&pair.der], names))
    };
    for (version, names, result) in [
        (HttpVersion::Http1, vec![], "answered"),
        (HttpVersion::Http2, vec![dns("other.test")], "answered"),
        (HttpVersion::Http1, vec![dns("nobody.test")], "failed"),
    ] {
        let site = Site::new().cluster("own", &[own.address]).cluster_with("copies", &[copies.address], |cluster| {
            cluster.tls = Some(verified(&names));
            cluster.version = version;
        });
        let target = genkan_routing::name::ClusterId::new("copies");
        let mirror = genkan_routing::model::Filter::Mirror(Arc::new(Mirror { target, share: Share::ALL }));
        let running = Running::start(site.rule(rule("/").to("own").filter(mirror)));
        assert_eq!(running.get("/").await.text(), "own");
        let done = || running.proxy.metrics().encode().contains(&format!("result=\"{result}\"}} 1\n"));
        let counted = async {
            while !done() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.expect(result);
    }
}
