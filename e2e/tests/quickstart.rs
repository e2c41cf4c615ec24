//! The examples: each is free of problems, and every host of the quickstart answers as its comments say.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use genkan_e2e::genkan::{binary, free_address};
use genkan_e2e::http1::{self, Answer, Client};
use genkan_e2e::tls::{self, Hello};
use genkan_e2e::{Genkan, Options};
use tempfile::TempDir;

/// The ports that the quickstart's backends have.
const PORTS: [&str; 3] = ["9101", "9102", "9103"];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e is a folder of the repository").join("examples")
}

/// The quickstart, with ports that are free in place of its own.
fn quickstart() -> Genkan {
    let folder = TempDir::new().unwrap();
    let free: BTreeMap<_, _> = PORTS.iter().map(|port| (port, free_address().port().to_string())).collect();
    for entry in fs::read_dir(examples().join("quickstart")).unwrap() {
        let path = entry.unwrap().path();
        let mut text = fs::read_to_string(&path).unwrap();
        for (port, free) in &free {
            text = text.replace(*port, free);
        }
        fs::write(folder.path().join(path.file_name().unwrap()), text).unwrap();
    }
    let genkan = Genkan::serve_folder(folder, Options::default());
    // Its backends start with it.
    genkan.wait_until("the backends", || get(&genkan, "shop.localhost", "/").status == 200);
    genkan
}

fn get(genkan: &Genkan, host: &str, path: &str) -> Answer {
    http1::get(genkan.http(), host, path)
}

/// Which backend answered, and the path that it saw.
fn served(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    (told["name"].as_str().unwrap().to_owned(), told["path"].as_str().unwrap().to_owned())
}

fn pair(name: &str, path: &str) -> (String, String) {
    (name.to_owned(), path.to_owned())
}

#[test]
fn every_example_is_free_of_problems() {
    let mut count = 0;
    for entry in fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let output = Command::new(binary()).arg("check").arg(&path).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}:\n{printed}", path.display());
        assert!(printed.ends_with(": 0 errors, 0 warnings\n"), "{}:\n{printed}", path.display());
        count += 1;
    }
    assert!(count > 0, "there are no examples");
}

#[test]
fn every_host_of_the_quickstart_is_requested_here() {
    // Keeps the tests below complete: a new host in the example needs a request.
    let own = include_str!("quickstart.rs");
    let genkan = quickstart();
    let (_, snapshot) = genkan.admin_get("/snapshot");
    let model: serde_json::Value = serde_saphyr::from_str(&snapshot).unwrap();
    let tables = model["tables"].as_object().unwrap().values();
    let hosts: Vec<&String> = tables.flat_map(|table| table["hosts"].as_object().unwrap().keys()).collect();
    assert!(hosts.len() > 5, "{hosts:?}");
    for host in hosts.iter().filter(|host| **host != "*") {
        assert!(own.contains(&format!("\"{host}\"")), "{host} is not requested by a test");
    }
}

#[test]
fn hosts_and_paths_choose_the_backend() {
    let genkan = quickstart();
    assert_eq!(served(&get(&genkan, "shop.localhost", "/cart")), pair("shop", "/cart"));
    assert_eq!(served(&get(&genkan, "shop.localhost", "/api")), pair("api", "/api"));
    assert_eq!(served(&get(&genkan, "shop.localhost", "/api/users")), pair("api", "/api/users"));
    // Prefixes count by element.
    assert_eq!(served(&get(&genkan, "shop.localhost", "/apis")), pair("shop", "/apis"));
    assert_eq!(get(&genkan, "unknown.localhost", "/").status, 404);
}

#[test]
fn the_rewrite_passes_on_what_its_second_group_matched() {
    let genkan = quickstart();
    assert_eq!(served(&get(&genkan, "rewrite.localhost", "/v1/users")), pair("api", "/users"));
    assert_eq!(served(&get(&genkan, "rewrite.localhost", "/v1")), pair("api", "/"));
    assert_eq!(get(&genkan, "rewrite.localhost", "/v2").status, 404);
}

#[test]
fn the_tls_host_redirects_http_and_shows_its_certificate() {
    let genkan = quickstart();
    let redirect = get(&genkan, "secure.localhost", "/a?b=c");
    assert_eq!(redirect.status, 308, "{redirect:?}");
    let location = redirect.field("location").unwrap();
    assert!(location.starts_with("https://secure.localhost") && location.ends_with("/a?b=c"), "{location}");

    let stream = tls::connect(genkan.https(), &Hello::to("secure.localhost")).unwrap();
    let other = tls::connect(genkan.https(), &Hello::to("other.localhost")).unwrap();
    assert!(tls::shown(&stream) != tls::shown(&other), "it has a certificate of its own");
    let name = b"secure.localhost";
    assert!(tls::shown(&stream).windows(name.len()).any(|window| window == name));
    let answer = Client::new(stream).get("secure.localhost", "/a").unwrap();
    assert_eq!(served(&answer), pair("shop", "/a"));
    assert!(answer.field("strict-transport-security").is_some(), "{answer:?}");
}

#[test]
fn the_canary_takes_its_share_and_obeys_its_header() {
    let genkan = quickstart();
    let mut client = Client::connect(genkan.http()).unwrap();
    let mut canaries = |header: Option<&str>, requests: usize| {
        let fields: Vec<_> = header.map(|value| ("X-Canary", value)).into_iter().collect();
        let mut count = 0;
        for _ in 0..requests {
            let answer = client.request("GET", "canary.localhost", "/", &fields, b"").unwrap();
            count += usize::from(served(&answer).0 == "shop-next");
        }
        count
    };
    assert_eq!(canaries(Some("always"), 30), 30);
    assert_eq!(canaries(Some("never"), 30), 0);
    // 10 of 100 asked 600 times gives 60; chance gives less than 20 or more than 130 once in 10^8 runs.
    let share = canaries(None, 600);
    assert!((20..130).contains(&share), "{share} of 600");
}

#[test]
fn the_api_answers_preflights_and_limits_each_client() {
    let genkan = quickstart();
    let fields = |origin| [("Origin", origin), ("Access-Control-Request-Method", "POST")];
    let preflight = |origin| http1::request(genkan.http(), "OPTIONS", "api.localhost", "/", &fields(origin), b"");
    let allowed = preflight("https://app.example.com");
    assert_eq!(allowed.status, 204, "{allowed:?}");
    assert_eq!(allowed.field("access-control-allow-origin"), Some("https://app.example.com"));
    let methods = allowed.field("access-control-allow-methods").unwrap();
    assert_eq!(methods.replace(' ', ""), "GET,POST,OPTIONS");
    assert_eq!(preflight("https://evil.example.com").field("access-control-allow-origin"), None);

    // Two a second with a burst of ten: of so many at once, some pass and the rest are refused.
    let statuses: Vec<u16> = (0..60).map(|_| get(&genkan, "api.localhost", "/").status).collect();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    let passed = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(refused + passed, 60, "{statuses:?}");
    assert!(refused > 0 && passed > 0, "{statuses:?}");
    // Other hosts are not limited by it.
    assert_eq!(get(&genkan, "shop.localhost", "/").status, 200);
}

#[test]
fn responses_are_compressed_for_clients_that_can() {
    let genkan = quickstart();
    let fields = [("Accept-Encoding", "gzip"), ("X-Long", &*"long ".repeat(100))];
    let answer = http1::request(genkan.http(), "GET", "shop.localhost", "/zip", &fields, b"");
    assert_eq!(answer.field("content-encoding"), Some("gzip"), "{answer:?}");
    assert!(answer.field("vary").is_some_and(|names| names.eq_ignore_ascii_case("accept-encoding")), "{answer:?}");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*answer.body).read_to_string(&mut text).expect("gzip");
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["path"], "/zip");
    let plain = http1::request(genkan.http(), "GET", "shop.localhost", "/zip", &fields[1..], b"");
    assert_eq!(plain.field("content-encoding"), None);
    assert_eq!(served(&plain), pair("shop", "/zip"));
}

#[test]
fn the_gateway_redirects_and_shares_by_weight() {
    let genkan = quickstart();
    let redirect = get(&genkan, "shop.gateway.localhost", "/old/thing");
    assert_eq!(redirect.status, 301, "{redirect:?}");
    assert!(redirect.field("location").unwrap().ends_with("/new/thing"), "{redirect:?}");
    let mut client = Client::connect(genkan.http()).unwrap();
    let mut next = 0;
    for _ in 0..600 {
        let (name, path) = served(&client.get("shop.gateway.localhost", "/a").unwrap());
        assert!(name == "shop" || name == "shop-next", "{name}");
        assert_eq!(path, "/a");
        next += usize::from(name == "shop-next");
    }
    assert!((20..130).contains(&next), "{next} of 600");
}
