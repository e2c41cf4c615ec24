//! Keys of the ConfigMap about gzip, edited while Genkan runs.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::io::Read;

use flate2::read::GzDecoder;
use genkan_e2e::http1::{self, Answer};
use genkan_e2e::manifests::{config_map, ingress, service};
use genkan_e2e::{Echo, Genkan, Options};

fn serve(data: &[(&str, &str)]) -> (Echo, Genkan) {
    let echo = Echo::start("web");
    let web = service("web", &[echo.address()]) + &ingress("web", "web.test", "web", &[]);
    let files = [("web.yaml", &*web), ("settings.yaml", &*config_map(data))];
    let genkan = Genkan::serve_with(&files, Options::default());
    (echo, genkan)
}

fn set(genkan: &Genkan, data: &[(&str, &str)]) {
    genkan.write("settings.yaml", &config_map(data));
}

/// What the echo says of this body (JSON that repeats it), asked for with gzip.
fn post(genkan: &Genkan, body: &str) -> Answer {
    http1::request(genkan.http(), "POST", "web.test", "/", &[("Accept-Encoding", "gzip")], body.as_bytes())
}

/// Zeroes as application/octet-stream.
fn bytes(genkan: &Genkan, count: usize) -> Answer {
    http1::request(genkan.http(), "GET", "web.test", &format!("/bytes/{count}"), &[("Accept-Encoding", "gzip")], b"")
}

fn is_encoded(answer: &Answer) -> bool {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.field("content-encoding") == Some("gzip")
}

/// Text on which trying harder pays: words in an order without a short period.
fn text() -> String {
    let words = ["genkan", "listener", "route", "rule", "match", "filter", "policy", "cluster", "backend", "endpoint"];
    let (mut state, mut text) = (1_u32, String::new());
    while text.len() < 3900 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(words[(state >> 16) as usize % words.len()]);
        text.push(' ');
    }
    text
}

#[test]
fn use_gzip_encodes_for_clients_that_take_it() {
    let (_echo, genkan) = serve(&[]);
    assert!(!is_encoded(&post(&genkan, &text())), "off by default");
    set(&genkan, &[("use-gzip", "true")]);
    genkan.wait_until("gzip", || is_encoded(&post(&genkan, &text())));
    let answer = post(&genkan, &text());
    let mut plain = String::new();
    GzDecoder::new(&*answer.body).read_to_string(&mut plain).unwrap();
    let described: serde_json::Value = serde_json::from_str(&plain).unwrap();
    assert_eq!(described["body"], text());
    assert!(answer.field("vary").is_some_and(|vary| vary.eq_ignore_ascii_case("accept-encoding")), "{answer:?}");
    let unasked = http1::request(genkan.http(), "POST", "web.test", "/", &[], text().as_bytes());
    assert!(!is_encoded(&unasked));
    set(&genkan, &[("use-gzip", "false")]);
    genkan.wait_until("no gzip", || !is_encoded(&post(&genkan, &text())));
}

#[test]
fn a_higher_gzip_level_gives_a_smaller_body() {
    let (_echo, genkan) = serve(&[("use-gzip", "true"), ("gzip-level", "1")]);
    // Request ids are of one length, so only the level decides.
    let size = || post(&genkan, &text()).body.len();
    let quick = size();
    set(&genkan, &[("use-gzip", "true"), ("gzip-level", "9")]);
    genkan.wait_until("a smaller body", || size() + 100 < quick);
}

#[test]
fn gzip_types_and_gzip_min_length_choose_what_is_encoded() {
    let (_echo, genkan) = serve(&[("use-gzip", "true")]);
    assert!(is_encoded(&post(&genkan, &text())) && !is_encoded(&bytes(&genkan, 5000)), "JSON, but not bytes");
    set(&genkan, &[("use-gzip", "true"), ("gzip-types", "application/octet-stream")]);
    genkan.wait_until("bytes", || is_encoded(&bytes(&genkan, 5000)));
    assert!(!is_encoded(&post(&genkan, &text())), "the list is the whole list");
    assert!(is_encoded(&bytes(&genkan, 256)) && !is_encoded(&bytes(&genkan, 255)), "256 bytes by default");
    set(&genkan, &[("use-gzip", "true"), ("gzip-types", "*"), ("gzip-min-length", "4000")]);
    genkan.wait_until("every type", || is_encoded(&post(&genkan, &text())));
    assert!(is_encoded(&bytes(&genkan, 4000)) && !is_encoded(&bytes(&genkan, 3999)));
}
