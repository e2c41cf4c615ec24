//! Annotations at work in the built binary: each of them changes an answer, and its neighbour without it does not.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use genkan_e2e::http1::{self, Answer};
use genkan_e2e::manifests::{ingress, secret, service, tls_ingress};
use genkan_e2e::tls::{self, Hello, Pair};
use genkan_e2e::{Echo, Genkan};

type Annotations<'a> = &'a [(&'a str, &'a str)];

/// An Ingress for each host, all to one backend.
fn serve(ingresses: &[(&str, Annotations<'_>)]) -> (Echo, Genkan) {
    let echo = Echo::start("web");
    let named = |(host, annotations): &(&str, Annotations<'_>)| ingress(host, host, "web", annotations);
    let text = ingresses.iter().map(named).collect::<String>() + &service("web", &[echo.address()]);
    (echo, Genkan::serve(&text))
}

fn with(genkan: &Genkan, method: &str, host: &str, fields: &[(&str, &str)]) -> Answer {
    http1::request(genkan.http(), method, host, "/a?b=c", fields, b"")
}

fn get(genkan: &Genkan, host: &str) -> Answer {
    with(genkan, "GET", host, &[])
}

#[test]
fn redirects_go_where_and_with_the_status_that_they_say() {
    let (_echo, genkan) = serve(&[
        ("permanent.test", &[("permanent-redirect", "https://new.test/p")]),
        ("code.test", &[("permanent-redirect", "https://new.test/p"), ("permanent-redirect-code", "308")]),
        ("temporal.test", &[("temporal-redirect", "https://new.test/t")]),
        ("temporal-code.test", &[("temporal-redirect", "https://new.test/t"), ("temporal-redirect-code", "307")]),
        ("root.test", &[("app-root", "/start")]),
        ("forced.test", &[("force-ssl-redirect", "true")]),
        ("plain.test", &[]),
    ]);
    for (host, status, location) in [
        ("permanent.test", 301, Some("https://new.test/p")),
        ("code.test", 308, Some("https://new.test/p")),
        ("temporal.test", 302, Some("https://new.test/t")),
        ("temporal-code.test", 307, Some("https://new.test/t")),
        ("root.test", 200, None),
        ("forced.test", 308, Some("https://forced.test/a?b=c")),
        ("plain.test", 200, None),
    ] {
        let answer = get(&genkan, host);
        assert_eq!((answer.status, answer.field("location")), (status, location), "{host}");
    }
    let root = http1::get(genkan.http(), "root.test", "/");
    assert_eq!((root.status, root.field("location")), (302, Some("http://root.test/start")));
}

#[test]
fn addresses_that_may_not_come_in_get_403() {
    let (_echo, genkan) = serve(&[
        ("allowed.test", &[("whitelist-source-range", "127.0.0.0/8,::1/128")]),
        ("other.test", &[("allowlist-source-range", "192.0.2.0/24")]),
        ("denied.test", &[("denylist-source-range", "127.0.0.0/8")]),
    ]);
    let statuses = ["allowed.test", "other.test", "denied.test"].map(|host| get(&genkan, host).status);
    assert_eq!(statuses, [200, 403, 403]);
}

#[test]
fn requests_a_minute_are_limited_but_not_for_listed_addresses() {
    let (_echo, genkan) = serve(&[
        ("minute.test", &[("limit-rpm", "1"), ("limit-burst-multiplier", "2")]),
        ("listed.test", &[("limit-rpm", "1"), ("limit-allowlist", "127.0.0.0/8")]),
    ]);
    let passed = |host| (0..10).filter(|_| get(&genkan, host).status == 200).count();
    // One and a burst of two; another may have come with a minute's time, never ten.
    assert!((3..5).contains(&passed("minute.test")));
    assert_eq!(passed("listed.test"), 10);
}

#[test]
fn every_cors_annotation_shows() {
    let cors = [
        ("enable-cors", "true"),
        ("cors-allow-origin", "https://*.app.test, https://one.test"),
        ("cors-allow-methods", "GET, PATCH"),
        ("cors-allow-headers", "X-Wanted"),
        ("cors-expose-headers", "X-Shown"),
        ("cors-allow-credentials", "false"),
        ("cors-max-age", "77"),
    ];
    let (_echo, genkan) = serve(&[("cors.test", &cors), ("plain.test", &[])]);
    let origin = ("Origin", "https://deep.app.test");
    let preflight = with(&genkan, "OPTIONS", "cors.test", &[origin, ("Access-Control-Request-Method", "PATCH")]);
    assert_eq!(preflight.status, 204);
    let simple = with(&genkan, "GET", "cors.test", &[origin]);
    for (answer, name, expected) in [
        (&preflight, "access-control-allow-origin", Some(origin.1)),
        (&preflight, "access-control-allow-methods", Some("GET, PATCH")),
        (&preflight, "access-control-allow-headers", Some("X-Wanted")),
        (&preflight, "access-control-max-age", Some("77")),
        (&simple, "access-control-allow-origin", Some(origin.1)),
        (&simple, "access-control-expose-headers", Some("X-Shown")),
        (&simple, "access-control-allow-credentials", None),
    ] {
        assert_eq!(answer.field(name), expected, "{name}");
    }
    let stranger = with(&genkan, "GET", "cors.test", &[("Origin", "https://app.test.evil")]);
    assert_eq!(stranger.field("access-control-allow-origin"), None);
    assert_eq!(with(&genkan, "GET", "plain.test", &[origin]).field("access-control-allow-origin"), None);
}

#[test]
fn canaries_take_what_header_pattern_and_cookie_say() {
    let (stable, canary) = (Echo::start("stable"), Echo::start("canary"));
    let serve = |annotations: Annotations<'_>| {
        let annotations: Vec<_> = [("canary", "true")].into_iter().chain(annotations.iter().copied()).collect();
        let text = [
            service("stable", &[stable.address()]),
            service("canary", &[canary.address()]),
            ingress("stable", "web.test", "stable", &[]),
            ingress("canary", "web.test", "canary", &annotations),
        ];
        Genkan::serve(&text.concat())
    };
    let by_value = serve(&[("canary-by-header", "X-Region"), ("canary-by-header-value", "eu")]);
    let by_pattern = serve(&[("canary-by-header", "X-Region"), ("canary-by-header-pattern", "^eu-[0-9]+$")]);
    let by_cookie = serve(&[("canary-by-cookie", "try")]);
    for (genkan, field, expected) in [
        (&by_value, ("X-Region", "eu"), "canary"),
        (&by_value, ("X-Region", "us"), "stable"),
        (&by_pattern, ("X-Region", "eu-12"), "canary"),
        (&by_pattern, ("X-Region", "eu-x"), "stable"),
        (&by_cookie, ("Cookie", "a=b; try=always"), "canary"),
        (&by_cookie, ("Cookie", "try=never"), "stable"),
    ] {
        assert_eq!(with(genkan, "GET", "web.test", &[field]).field("x-echo-name"), Some(expected), "{field:?}");
    }
}

#[test]
fn a_secret_of_type_opaque_is_served_and_adds_hsts() {
    let (echo, pair) = (Echo::start("web"), Pair::new(&["tls.test"]));
    let text = [
        service("web", &[echo.address()]),
        tls_ingress("tls", "tls.test", "web", "pair"),
        secret("pair", &pair.certificate, &pair.key).replace("kubernetes.io/tls", "Opaque"),
    ];
    let genkan = Genkan::serve(&text.concat());
    let stream = tls::connect(genkan.https(), &Hello::to("tls.test")).unwrap();
    assert!(tls::shown(&stream) == pair.der, "another certificate");
    let answer = http1::Client::new(stream).get("tls.test", "/").unwrap();
    assert_eq!(answer.field("strict-transport-security"), Some("max-age=31536000; includeSubDomains"));
    assert_eq!(get(&genkan, "tls.test").field("strict-transport-security"), None);
}
