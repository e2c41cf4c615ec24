//! Keys of the ConfigMap about client connections, limits and redirects: each is edited while Genkan runs, and acts.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;

use genkan_e2e::frames::{Frames, MAX_CONCURRENT_STREAMS};
use genkan_e2e::http1::{self, Client};
use genkan_e2e::manifests::{config_map, ingress, secret, service, tls_ingress};
use genkan_e2e::tls::{self, Hello, Pair};
use genkan_e2e::{Echo, Genkan, PATIENCE};

/// Genkan with a host `web.test`, also over TLS, and a host `plain.test` without.
fn serve() -> (Echo, Genkan) {
    let echo = Echo::start("web");
    let pair = Pair::new(&["web.test"]);
    let text = [
        service("web", &[echo.address()]),
        tls_ingress("web", "web.test", "web", "web"),
        secret("web", &pair.certificate, &pair.key),
        ingress("plain", "plain.test", "web", &[]),
    ];
    let genkan = Genkan::serve(&text.concat());
    (echo, genkan)
}

fn set(genkan: &Genkan, data: &[(&str, &str)]) {
    genkan.write("settings.yaml", &config_map(data));
}

fn connect(genkan: &Genkan) -> TcpStream {
    let stream = TcpStream::connect(genkan.http()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes back for these bytes until the connection ends.
fn answer_to(genkan: &Genkan, bytes: &str) -> String {
    let mut stream = connect(genkan);
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn protocol(genkan: &Genkan) -> Option<String> {
    let hello = Hello { protocols: &["h2", "http/1.1"], ..Hello::to("web.test") };
    let stream = tls::connect(genkan.https(), &hello).unwrap();
    stream.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
}

#[test]
fn use_http2_false_ends_alpn_and_prior_knowledge() {
    let (_echo, genkan) = serve();
    assert_eq!(protocol(&genkan).as_deref(), Some("h2"));
    assert!(Frames::open(connect(&genkan)).unwrap().announced(MAX_CONCURRENT_STREAMS).is_ok());
    set(&genkan, &[("use-http2", "false")]);
    genkan.wait_until("HTTP/1.1 by ALPN", || protocol(&genkan).as_deref() == Some("http/1.1"));
    let answer = answer_to(&genkan, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer:?}");
    assert_eq!(http1::get(genkan.http(), "plain.test", "/").status, 200);
    set(&genkan, &[("use-http2", "true")]);
    genkan.wait_until("HTTP/2 by ALPN", || protocol(&genkan).as_deref() == Some("h2"));
}

#[test]
fn the_number_of_concurrent_streams_is_announced() {
    let (_echo, genkan) = serve();
    let announced = || Frames::open(connect(&genkan)).unwrap().announced(MAX_CONCURRENT_STREAMS).unwrap();
    assert_eq!(announced(), Some(128));
    set(&genkan, &[("http2-max-concurrent-streams", "7")]);
    genkan.wait_until("another limit", || announced() == Some(7));
}

#[test]
fn keep_alive_ends_idle_connections_and_zero_turns_it_off() {
    let (_echo, genkan) = serve();
    let closes = || http1::get(genkan.http(), "plain.test", "/").closes();
    assert!(!closes());
    set(&genkan, &[("keep-alive", "0")]);
    genkan.wait_until("keep-alive is off", closes);
    set(&genkan, &[("keep-alive", "1")]);
    genkan.wait_until("keep-alive is on", || !closes());
    let mut idle = Client::connect(genkan.http()).unwrap();
    assert_eq!(idle.get("plain.test", "/").unwrap().status, 200);
    // By default this would take longer than a read of the client may.
    assert_eq!(idle.rest().unwrap(), b"");
}

#[test]
fn keep_alive_requests_ends_a_connection_after_so_many() {
    let (_echo, genkan) = serve();
    set(&genkan, &[("keep-alive-requests", "3")]);
    genkan.wait_until("the limit acts", || {
        let mut client = Client::connect(genkan.http()).unwrap();
        (0..3).map(|_| client.get("plain.test", "/").unwrap()).any(|answer| answer.closes())
    });
    let mut client = Client::connect(genkan.http()).unwrap();
    let closes: Vec<_> = (0..3).map(|_| client.get("plain.test", "/").unwrap().closes()).collect();
    assert_eq!(closes, [false, false, true]);
    assert_eq!(client.rest().unwrap(), b"");
}

#[test]
fn clients_that_do_not_finish_their_request_get_408() {
    let (_echo, genkan) = serve();
    set(&genkan, &[("client-header-timeout", "1"), ("client-body-timeout", "1")]);
    genkan.wait_until("the times are live", || genkan.admin_get("/snapshot").1.contains("headerTimeout: 1s"));
    let head = answer_to(&genkan, "GET / HTTP/1.1\r\nHost: plain.test\r\n");
    assert!(head.starts_with("HTTP/1.1 408 "), "{head:?}");
    let body = answer_to(&genkan, "POST / HTTP/1.1\r\nHost: plain.test\r\nContent-Length: 10\r\n\r\nab");
    assert!(body.starts_with("HTTP/1.1 408 "), "{body:?}");
}

#[test]
fn large_client_header_buffers_limits_lines_and_heads() {
    let (_echo, genkan) = serve();
    let line = |length: usize| {
        http1::request(genkan.http(), "GET", "plain.test", "/", &[("X-Long", &"x".repeat(length))], b"").status
    };
    assert_eq!(line(1500), 200);
    set(&genkan, &[("large-client-header-buffers", "2 1k")]);
    genkan.wait_until("a long line is refused", || line(1500) == 431);
    assert_eq!(line(900), 200);
    let many: Vec<_> = ["X-A", "X-B", "X-C"].into_iter().map(|name| (name, "x".repeat(900))).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (*name, &**value)).collect();
    assert_eq!(http1::request(genkan.http(), "GET", "plain.test", "/", &many, b"").status, 431);
    let path = format!("/{}", "x".repeat(1100));
    assert_eq!(http1::get(genkan.http(), "plain.test", &path).status, 414);
    set(&genkan, &[("large-client-header-buffers", "4 16k")]);
    genkan.wait_until("a larger limit", || line(15_000) == 200);
}

#[test]
fn proxy_body_size_is_the_default_of_every_host() {
    let (_echo, genkan) = serve();
    let post =
        |length: usize| http1::request(genkan.http(), "POST", "plain.test", "/", &[], &vec![b'x'; length]).status;
    assert_eq!((post(1 << 20), post((1 << 20) + 1)), (200, 413), "1m by default");
    set(&genkan, &[("proxy-body-size", "10")]);
    genkan.wait_until("ten bytes", || post(11) == 413);
    assert_eq!(post(10), 200);
    set(&genkan, &[("proxy-body-size", "0")]);
    genkan.wait_until("no limit", || post((1 << 20) + 1) == 200);
}

#[test]
fn redirects_to_https_follow_their_keys() {
    let (_echo, genkan) = serve();
    // This Ingress says nothing of redirects, so the ConfigMap does.
    let pair = Pair::new(&["tls.test"]);
    let tls = tls_ingress("tls", "tls.test", "web", "tls").replace("ssl-redirect: \"false\"", "enable-cors: \"false\"");
    genkan.write("tls.yaml", &(tls + &secret("tls", &pair.certificate, &pair.key)));
    let status = |host: &str| http1::get(genkan.http(), host, "/path").status;
    genkan.wait_until("the host", || status("tls.test") == 308);
    assert_eq!((status("web.test"), status("plain.test")), (200, 200));
    set(&genkan, &[("http-redirect-code", "301")]);
    genkan.wait_until("another code", || status("tls.test") == 301);
    set(&genkan, &[("ssl-redirect", "false")]);
    genkan.wait_until("no redirect", || status("tls.test") == 200);
    set(&genkan, &[("force-ssl-redirect", "true")]);
    genkan.wait_until("hosts without TLS too", || status("plain.test") == 308);
    let location = http1::get(genkan.http(), "plain.test", "/path?q").field("location").map(str::to_owned);
    assert_eq!(location.as_deref(), Some("https://plain.test/path?q"));
    set(&genkan, &[("force-ssl-redirect", "true"), ("no-tls-redirect-locations", "/other, /")]);
    genkan.wait_until("exempt locations", || status("plain.test") == 200);
}

#[test]
fn hsts_is_sent_over_tls_as_its_keys_say() {
    let (_echo, genkan) = serve();
    let sent = || {
        let stream = tls::connect(genkan.https(), &Hello::to("web.test")).unwrap();
        Client::new(stream).get("web.test", "/").unwrap().field("strict-transport-security").map(str::to_owned)
    };
    assert_eq!(sent().as_deref(), Some("max-age=31536000; includeSubDomains"));
    for (data, expected) in [
        (&[("hsts-max-age", "60")][..], Some("max-age=60; includeSubDomains")),
        (&[("hsts-include-subdomains", "false")], Some("max-age=31536000")),
        (&[("hsts-preload", "true")], Some("max-age=31536000; includeSubDomains; preload")),
        (&[("hsts", "false")], None),
    ] {
        set(&genkan, data);
        genkan.wait_until(&format!("{data:?}"), || sent().as_deref() == expected);
    }
    set(&genkan, &[]);
    genkan.wait_until("the default", || sent().is_some());
    assert_eq!(http1::get(genkan.http(), "plain.test", "/").field("strict-transport-security"), None);
}

#[test]
fn a_bad_value_is_told_and_the_default_holds() {
    const BAD: &[(&str, &str)] = &[
        ("keep-alive", "75s"),
        ("keep-alive-requests", "0"),
        ("client-header-timeout", "-1"),
        ("large-client-header-buffers", "8k"),
        ("use-http2", "maybe"),
        ("http2-max-concurrent-streams", "many"),
        ("use-proxy-protocol", "v2"),
        ("upstream-keepalive-connections", "-1"),
        ("upstream-keepalive-requests", "0"),
        ("upstream-keepalive-timeout", "1m"),
        ("proxy-body-size", "ten"),
        ("proxy-read-timeout", "60s"),
        ("proxy-connect-timeout", "0.5"),
        ("proxy-next-upstream", "sometimes"),
        ("gzip-level", "10"),
        ("gzip-min-length", "1k"),
        ("use-gzip", "2"),
        ("hsts-max-age", "1y"),
        ("http-redirect-code", "200"),
        ("load-balance", "random"),
        ("use-forwarded-headers", "always"),
        ("limit-req-status-code", "200"),
        ("log-format-upstream", "$nonsense"),
    ];
    let (_echo, genkan) = serve();
    let model = || genkan.admin_get("/snapshot").1;
    let before = model();
    // A good key beside them shows when the others are read.
    let mut data = BAD.to_vec();
    data.push(("forwarded-for-header", "X-Marker"));
    set(&genkan, &data);
    genkan.wait_until("the ConfigMap is read", || model().to_lowercase().contains("x-marker"));
    // They are told once the model is served.
    genkan.wait_until("the report", || !genkan.problems().is_empty());
    let problems = genkan.problems();
    for (key, value) in BAD {
        let origin = format!("ConfigMap ingress-nginx/ingress-nginx-controller: data[{key}]");
        let told: Vec<_> = problems.iter().filter(|problem| problem["origin"] == *origin).collect();
        assert_eq!(told.len(), 1, "{key}: {problems:#?}");
        let (message, mend) = (told[0]["message"].as_str().unwrap(), told[0]["mend"].as_str().unwrap());
        assert!(message.contains(key) && message.contains(value.trim_start_matches('$')), "{message}");
        assert!(!mend.is_empty(), "{key}: {message}");
    }
    let unmarked = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.to_lowercase().contains("forwardedforheader"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(unmarked(&model()), unmarked(&before), "nothing else changes");
    assert_eq!(http1::get(genkan.http(), "plain.test", "/").status, 200);
    set(&genkan, &[]);
    genkan.wait_until("the report is empty", || genkan.problems().is_empty());
}

#[test]
fn a_key_without_effect_or_with_a_mistake_says_so() {
    let (_echo, genkan) = serve();
    let told = |reason: &str| genkan.problem(reason);
    set(
        &genkan,
        &[("max-worker-connections", "10"), ("keepalive", "5"), ("enable-brotli", "true"), ("http-snippet", "x;")],
    );
    genkan.wait_until("the ConfigMap is read", || told("UnknownConfigMapKey").is_some());
    let at = |key: &str| format!("ConfigMap ingress-nginx/ingress-nginx-controller: data[{key}]");
    for (reason, key, words) in [
        ("IgnoredConfigMapKey", "max-worker-connections", "is ignored"),
        ("UnknownConfigMapKey", "keepalive", "did you mean keep-alive?"),
        ("UnsupportedConfigMapKey", "enable-brotli", "is not supported and has no effect"),
        ("SnippetRefused", "http-snippet", "is never run"),
    ] {
        let [origin, message, _] = told(reason).unwrap_or_else(|| panic!("{reason}: {:?}", genkan.problems()));
        assert_eq!(origin, at(key));
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(http1::get(genkan.http(), "plain.test", "/").status, 200);
}

#[test]
fn a_security_key_that_is_not_supported_closes_every_path_until_it_is_gone() {
    let (_echo, genkan) = serve();
    let status = || http1::get(genkan.http(), "plain.test", "/").status;
    for (key, value) in [("global-auth-url", "http://auth.test/"), ("whitelist-source-range", "10.0.0.0/33")] {
        set(&genkan, &[(key, value)]);
        genkan.wait_until(key, || status() == 503);
        let origin = format!("ConfigMap ingress-nginx/ingress-nginx-controller: data[{key}]");
        genkan.wait_until("the report", || {
            genkan.problems().iter().any(|problem| problem["origin"] == *origin && problem["severity"] == "error")
        });
        set(&genkan, &[]);
        genkan.wait_until("open again", || status() == 200);
    }
}
