//! What operators see: the admin port and the access log.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use genkan_e2e::http1;
use genkan_e2e::manifests::{config_map, ingress, secret, service, tls_ingress};
use genkan_e2e::tls::Pair;
use genkan_e2e::{Echo, Genkan, Options};

fn serve(more: &str) -> (Echo, Genkan) {
    let echo = Echo::start("web");
    let text = service("web", &[echo.address()]) + &ingress("web", "web.test", "web", &[]) + more;
    let genkan = Genkan::serve(&text);
    (echo, genkan)
}

/// The names of the series, and the series themselves without their values.
fn series(genkan: &Genkan) -> (BTreeSet<String>, BTreeSet<String>) {
    let (status, text) = genkan.admin_get("/metrics");
    assert_eq!(status, 200);
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let all: BTreeSet<String> = samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect();
    (all.iter().map(|series| series.split('{').next().unwrap().to_owned()).collect(), all)
}

/// The value of the series whose text holds all of `parts`.
fn value(genkan: &Genkan, parts: &[&str]) -> Option<f64> {
    let (_, text) = genkan.admin_get("/metrics");
    let line = text.lines().find(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)))?;
    Some(line.rsplit_once(' ')?.1.parse().unwrap_or_else(|error| panic!("{line}: {error}")))
}

#[test]
fn probes_answer_and_unknown_paths_do_not() {
    let (_echo, genkan) = serve("");
    assert_eq!(genkan.admin_get("/healthz").0, 200);
    assert_eq!(genkan.admin_get("/readyz").0, 200);
    assert_eq!(genkan.admin_get("/nothing").0, 404);
    let posted = http1::request(genkan.admin(), "POST", "admin", "/problems", &[], b"x");
    assert_eq!((posted.status, posted.field("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn metrics_carry_the_names_that_dashboards_know() {
    let (_echo, genkan) = serve(&tls_ingress("gone", "gone.test", "web", "gone"));
    assert_eq!(http1::get(genkan.http(), "web.test", "/a").status, 200);
    assert_eq!(http1::get(genkan.http(), "web.test", "/status/404").status, 404);
    let counted = |status: &str| {
        let labels = ["nginx_ingress_controller_requests{", "ingress=\"web\"", &format!("status=\"{status}\"")];
        value(&genkan, &labels)
    };
    genkan.wait_until("both requests are counted", || counted("200").is_some() && counted("404").is_some());
    assert_eq!((counted("200"), counted("404")), (Some(1.0), Some(1.0)));
    let (names, _) = series(&genkan);
    for name in [
        "nginx_ingress_controller_requests",
        "nginx_ingress_controller_request_duration_seconds_bucket",
        "nginx_ingress_controller_request_duration_seconds_count",
        "nginx_ingress_controller_response_duration_seconds_sum",
        "nginx_ingress_controller_success",
        "nginx_ingress_controller_config_last_reload_successful",
        "nginx_ingress_controller_config_hash",
        "nginx_ingress_controller_build_info",
        "genkan_problems",
    ] {
        assert!(names.contains(name), "{name} is missing: {names:#?}");
    }
    assert_eq!(value(&genkan, &["config_last_reload_successful{"]), Some(1.0));
    assert_eq!(value(&genkan, &["genkan_problems{", "severity=\"error\"", "SecretNotFound"]), Some(1.0));
}

#[test]
fn a_certificate_is_counted_with_its_expiry() {
    let pair = Pair::new(&["tls.test"]);
    let more = tls_ingress("tls", "tls.test", "web", "tls") + &secret("tls", &pair.certificate, &pair.key);
    let (_echo, genkan) = serve(&more);
    let parts = ["ssl_expire_time_seconds{", "namespace=\"default\"", "host=\"tls.test\"", "secret_name=\"tls\""];
    let expiry = value(&genkan, &parts).expect("a series for the certificate");
    // After 2026.
    assert!(expiry > 1_767_000_000.0, "{expiry}");
}

#[test]
fn hosts_that_clients_make_up_make_no_series() {
    let wildcard = ingress("wild", "*.wild.test", "web", &[]);
    let (_echo, genkan) = serve(&wildcard);
    // One of each kind first, so that all series are there.
    for (host, status) in [("web.test", 200), ("first.wild.test", 200), ("first.unknown", 404)] {
        assert_eq!(http1::get(genkan.http(), host, "/").status, status, "{host}");
    }
    let wild = ["nginx_ingress_controller_requests{", "ingress=\"wild\"", "status=\"200\""];
    genkan.wait_until("the first is counted", || value(&genkan, &wild) == Some(1.0));
    let (_, before) = series(&genkan);
    for index in 0..50 {
        assert_eq!(http1::get(genkan.http(), &format!("h{index}.wild.test"), "/").status, 200);
        assert_eq!(http1::get(genkan.http(), &format!("h{index}.unknown"), "/").status, 404);
        assert_eq!(http1::get(genkan.http(), "web.test", &format!("/{index}?{index}")).status, 200);
    }
    genkan.wait_until("all are counted", || value(&genkan, &wild) == Some(51.0));
    let (_, after) = series(&genkan);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:#?}");
    assert!(!after.iter().any(|series| series.contains("h7.") || series.contains("first")), "{after:#?}");
}

#[test]
fn the_snapshot_is_shown_without_private_keys() {
    let pair = Pair::new(&["tls.test"]);
    let more = tls_ingress("tls", "tls.test", "web", "tls") + &secret("tls", &pair.certificate, &pair.key);
    let (_echo, genkan) = serve(&more);
    let (status, text) = genkan.admin_get("/snapshot");
    assert_eq!(status, 200);
    let model: serde_json::Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    assert!(model["listeners"]["http"].is_object(), "{text}");
    assert!(text.contains("tls.test") && text.contains("ingress/default/web/0/0"), "{text}");
    for line in pair.key.lines().filter(|line| !line.starts_with("---")) {
        assert!(!text.contains(line), "a line of the private key is printed");
    }
    genkan.write("more.yaml", &ingress("more", "more.test", "web", &[]));
    genkan.wait_until("the snapshot follows", || genkan.admin_get("/snapshot").1.contains("more.test"));
}

#[test]
fn problems_are_told_as_text_and_as_json() {
    let (_echo, genkan) = serve(&ingress("typo", "typo.test", "web", &[("rate-limit-rps", "5")]));
    let message = "unknown annotation nginx.ingress.kubernetes.io/rate-limit-rps on Ingress default/typo: \
                   did you mean limit-rps?";
    let (status, text) = genkan.admin_get("/problems");
    assert_eq!(status, 200);
    assert!(text.contains(message), "{text}");
    let problems = genkan.problems();
    let found =
        problems.iter().find(|problem| problem["message"] == message).unwrap_or_else(|| panic!("{problems:#?}"));
    assert_eq!((&found["severity"], &found["reason"]), (&"warning".into(), &"UnknownAnnotation".into()));
    assert!(genkan.errors().contains(message), "it is told at the start, too: {}", genkan.errors());
}

#[test]
fn the_access_log_has_nginx_s_default_format() {
    let (echo, genkan) = serve("");
    let fields = [("User-Agent", "a \"quoted\" agent"), ("Referer", "http://from.test/")];
    let answer = http1::request(genkan.http(), "GET", "web.test", "/bytes/5?q=1", &fields, b"");
    assert_eq!(answer.status, 200);
    let line = genkan.log_line();
    let begin = "127.0.0.1 - - [";
    assert!(line.starts_with(begin), "{line}");
    let middle = "] \"GET /bytes/5?q=1 HTTP/1.1\" 200 5 \"http://from.test/\" \"a \\x22quoted\\x22 agent\" ";
    assert!(line.contains(middle), "{line}");
    // Request length and time, the backend's names, its address, length, time and status, the request's id.
    let (_, rest) = line.split_once(middle).unwrap();
    let rest: Vec<_> = rest.split(' ').collect();
    assert_eq!(rest.len(), 9, "{line}");
    assert!(rest[0].parse::<u64>().unwrap() > 50 && rest[1].parse::<f64>().is_ok(), "{line}");
    assert_eq!((rest[2], rest[3]), ("[default-web-80]", "[]"), "{line}");
    assert_eq!((rest[4], rest[5], rest[7]), (&*echo.address().to_string(), "5", "200"), "{line}");
    assert_eq!((rest[8].len(), rest[6].parse::<f64>().is_ok()), (32, true), "{line}");
}

#[test]
fn the_access_log_can_be_json_and_follows_its_config_map() {
    let (_echo, genkan) = serve("");
    let format = r#"{"host":"$host","status":$status,"who_is":"$http_user_agent","uri":"$request_uri","id":"$req_id"}"#;
    genkan.write("settings.yaml", &config_map(&[("log-format-upstream", format), ("log-format-escape-json", "true")]));
    genkan.wait_until("the format is live", || genkan.admin_get("/snapshot").1.contains("who_is"));
    let fields = [("User-Agent", "\"quoted\"\\\tagent")];
    assert_eq!(http1::request(genkan.http(), "GET", "web.test", "/x?y", &fields, b"").status, 200);
    let line = genkan.log_line();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(line["host"], "web.test");
    assert_eq!(line["status"], 200);
    assert_eq!(line["who_is"], "\"quoted\"\\\tagent");
    assert_eq!(line["uri"], "/x?y");
    assert_eq!(line["id"].as_str().map(str::len), Some(32));
}

#[test]
fn messages_can_be_json() {
    let echo = Echo::start("web");
    let text = service("web", &[echo.address()]) + &ingress("web", "web.test", "web", &[]);
    let arguments = vec!["--log-format".to_owned(), "json".to_owned()];
    let genkan = Genkan::serve_with(&[("all.yaml", &text)], Options { arguments, ..Options::default() });
    genkan.write("typo.yaml", &ingress("typo", "typo.test", "web", &[("limit-rp", "5")]));
    genkan.wait_until("a message", || genkan.errors().contains("UnknownAnnotation"));
    let errors = genkan.errors();
    let message = errors.lines().find(|line| line.contains("UnknownAnnotation")).unwrap();
    let message: serde_json::Value = serde_json::from_str(message).unwrap_or_else(|error| panic!("{error}: {message}"));
    assert_eq!(message["level"], "WARN");
}
