//! Every supported annotation with good and bad values: a good one acts and is not complained about, a bad one has the
//! consequence that its definition says.

mod common;

use std::collections::BTreeSet;

use common::parse;
use genkan_annotations::definition::OnInvalid;
use genkan_annotations::table;
use genkan_routing::report::Severity;

/// Name, what it needs beside it, good values, bad values.
type Row = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str], &'static [&'static str]);

const CORS: &[(&str, &str)] = &[("enable-cors", "true")];
const PASSWORDS: &[(&str, &str)] = &[("auth-type", "basic"), ("auth-secret", "users")];
const CANARY: &[(&str, &str)] = &[("canary", "true")];
const CANARY_HEADER: &[(&str, &str)] = &[("canary", "true"), ("canary-by-header", "x-canary")];

const ROWS: &[Row] = &[
    ("ssl-redirect", &[], &["false", "0", "F"], &["no", "False ", "off"]),
    ("force-ssl-redirect", &[], &["true", "1", "T"], &["yes", "on"]),
    ("preserve-trailing-slash", &[], &["true"], &["2"]),
    ("use-port-in-redirects", &[], &["true"], &["2"]),
    ("app-root", &[], &["/app", "/app/$1", "/app\n"], &["app", "https://a.b/", "//evil.example", "/a b", "/a\n/b"]),
    ("permanent-redirect", &[], &["https://example.com/a?b=c", "/here"], &["https://a.b/#x", "/a%20b", "/a\r\nX: y"]),
    ("permanent-redirect-code", &[("permanent-redirect", "/here")], &["308", "300"], &["301x", "3.1"]),
    ("temporal-redirect", &[], &["https://example.com"], &["https://a.b/;x", "https://a.b/\0"]),
    ("temporal-redirect-code", &[("temporal-redirect", "http://a.b")], &["307"], &["many"]),
    ("rewrite-target", &[], &["/$2", "/", "$1"], &["/a;b", "/a b", "/\u{7f}"]),
    ("use-regex", &[], &["true"], &["maybe"]),
    ("upstream-vhost", &[], &["example.com", "$service_name.$namespace.svc"], &["a;b", "a b", "a\nb"]),
    ("limit-rps", &[], &["1", "4294967295"], &["ten", "-1", "1.5", "4294967296", "1\n"]),
    ("limit-rpm", &[], &["300"], &["5m", "-5"]),
    ("limit-burst-multiplier", &[("limit-rps", "1")], &["1", "0"], &["-1", "x"]),
    ("limit-allowlist", &[("limit-rps", "1")], &["10.0.0.0/8, ::1", "192.0.2.1"], &["10.0.0.0/40", "home"]),
    ("limit-connections", &[], &["10"], &["x", "-1"]),
    ("enable-cors", &[], &["true"], &["yes"]),
    (
        "cors-allow-origin",
        CORS,
        &["https://a.example", "https://*.a.example:8443,", "null", "tauri://localhost", "http://a, https://b:1"],
        &["https://a b", "https://*", "https://*.*.a", "https://a/b", "https://a:x", "https://a\nb", ",", "a;b"],
    ),
    ("cors-allow-methods", CORS, &["GET", "PUT, GET,OPTIONS"], &["GET;", "GET\nPUT", "*"]),
    ("cors-allow-headers", CORS, &["X-One, x_two"], &["X:1", "X\r\nY"]),
    ("cors-expose-headers", CORS, &["*", "X-One,X-Two"], &["X:1", "X\nY"]),
    ("cors-allow-credentials", CORS, &["false"], &["no"]),
    ("cors-max-age", CORS, &["0", "-1", "600"], &["10m"]),
    ("proxy-body-size", &[], &["0", "8m", "1G", "5"], &["8mb", "-1", "1b", "8 m", "big"]),
    ("proxy-request-buffering", &[], &["on"], &["true", "yes"]),
    ("client-body-buffer-size", &[], &["16k", "2m"], &["8mb", "-1", "big"]),
    ("proxy-buffering", &[], &["on"], &["true", "yes"]),
    ("proxy-buffers-number", &[], &["0", "8"], &["-1", "all"]),
    ("proxy-buffer-size", &[], &["8k", "1m"], &["8kb", "-1"]),
    ("proxy-max-temp-file-size", &[], &["0", "64m"], &["1tb", "-1"]),
    ("proxy-connect-timeout", &[], &["1", "300"], &["0", "5s", "-1"]),
    ("proxy-send-timeout", &[], &["1"], &["0", "5s"]),
    ("proxy-read-timeout", &[], &["3600"], &["1h", "99999999999999999999"]),
    ("service-upstream", &[], &["true"], &["yes"]),
    ("ssl-passthrough", &[], &["true", "1"], &["yes", "on"]),
    ("proxy-next-upstream", &[], &["off", "error", "error timeout http_502 non_idempotent"], &["errors", "http_505"]),
    ("proxy-next-upstream-timeout", &[], &["10"], &["10s", "-1"]),
    ("proxy-next-upstream-tries", &[], &["0", "1"], &["-1", "all"]),
    ("allowlist-source-range", &[], &["10.0.0.0/8,192.0.2.7", "::/0"], &["10.0.0.0/8,x", ",", " ", "", "10.0.0.1/x"]),
    ("denylist-source-range", &[], &["10.0.0.0/8"], &["10.0.0.0-10.0.0.9", "", "a\nb"]),
    ("canary", &[], &["true"], &["yes"]),
    ("canary-by-header", CANARY, &["X-Canary"], &["x canary", "x:y", "ü"]),
    ("canary-by-header-value", CANARY_HEADER, &["blue"], &["a b", "a;"]),
    ("canary-by-header-pattern", CANARY_HEADER, &["^(a|b)$"], &["a b", "a\nb"]),
    ("canary-by-cookie", CANARY, &["canary"], &["a b", "a;b", "a=b"]),
    ("canary-weight", CANARY, &["1", "100"], &["10%", "x"]),
    ("canary-weight-total", CANARY, &["1000"], &["x"]),
    ("backend-protocol", &[], &["HTTPS", "grpc", "GRPCS"], &["HTTP2", "H2C"]),
    ("load-balance", &[], &["ewma", "round_robin"], &["EWMA", "least_conn", "random"]),
    (
        "upstream-hash-by",
        &[],
        &["$remote_addr", "$binary_remote_addr", "${request_uri}", "$host", "$http_x_user", "$cookie_session"],
        &["$a b", "$a.b", "a\n$b"],
    ),
    ("enable-access-log", &[], &["false"], &["off"]),
    // Neither acts without the other: see annotation_rules.
    ("auth-type", &[], &[], &["Basic", "ntlm", "basic auth"]),
    ("auth-secret", &[], &[], &["a/b/c", "a b", "users;"]),
    ("auth-secret-type", PASSWORDS, &["auth-map"], &["file", "AUTH-MAP"]),
    ("auth-realm", PASSWORDS, &["Staff only", "off"], &["ü", "a\nb"]),
    // Acts only with global-auth-url: see annotation_rules.
    ("enable-global-auth", &[], &[], &["no"]),
];

#[test]
fn every_supported_annotation_is_in_the_table() {
    let tested: BTreeSet<&str> = ROWS.iter().map(|row| row.0).collect();
    let supported: BTreeSet<&str> = table::annotations().filter(|row| row.is_supported()).map(|row| row.name).collect();
    assert_eq!(tested, supported);
}

#[test]
fn a_good_value_acts_and_is_not_complained_about() {
    for (name, beside, good, _) in ROWS {
        let before = parse(beside);
        assert_eq!(before.problems, [], "{name}");
        for value in *good {
            let mut annotations = beside.to_vec();
            annotations.push((name, value));
            let after = parse(&annotations);
            assert_eq!(after.problems, [], "{name}: {value:?}");
            assert_ne!(after.settings, before.settings, "{name}: {value:?} has no effect");
        }
    }
}

#[test]
fn a_bad_value_has_the_consequence_of_its_definition() {
    for (name, beside, _, bad) in ROWS {
        let definition = table::annotation(name).expect("every row is an annotation");
        let before = parse(beside).settings;
        for value in *bad {
            let mut annotations = beside.to_vec();
            annotations.push((name, value));
            let after = parse(&annotations);
            let [problem] = &after.problems[..] else { panic!("{name}: {value:?}: {:?}", after.problems) };
            assert_eq!(problem.reason, "InvalidAnnotation", "{name}: {value:?}");
            assert!(problem.origin.field.ends_with(&format!("io/{name}]")), "{}", problem.origin);
            assert!(!problem.message.contains('\n') && !problem.mend.is_empty(), "{problem}");
            let (severity, rejected, denied) = match definition.on_invalid {
                OnInvalid::FailsClosed => (Severity::Error, false, true),
                OnInvalid::RejectsIngress => (Severity::Error, true, false),
                OnInvalid::FallsBack | OnInvalid::TurnsOff => (Severity::Warning, false, false),
            };
            assert_eq!(problem.severity, severity, "{name}: {value:?}");
            assert_eq!(after.settings.rejected, rejected, "{name}: {value:?}");
            assert_eq!(after.settings.deny.is_some(), denied, "{name}: {value:?}");
            match definition.on_invalid {
                OnInvalid::FallsBack => assert_eq!(after.settings, before, "{name}: {value:?}"),
                OnInvalid::TurnsOff => assert_eq!(after.settings.cors, None, "{name}: {value:?}"),
                OnInvalid::FailsClosed | OnInvalid::RejectsIngress => {}
            }
        }
    }
}

#[test]
fn a_blank_value_counts_as_none_unless_that_would_open_something() {
    for (name, beside, ..) in ROWS {
        let definition = table::annotation(name).expect("every row is an annotation");
        for blank in ["", " ", "\n"] {
            let mut annotations = beside.to_vec();
            annotations.push((name, blank));
            let after = parse(&annotations);
            assert_eq!(after.problems.len(), 1, "{name}: {:?}", after.problems);
            if definition.on_invalid == OnInvalid::FailsClosed {
                assert!(after.settings.deny.is_some(), "{name}");
            } else {
                assert_eq!(after.settings, parse(beside).settings, "{name}");
            }
        }
    }
}
