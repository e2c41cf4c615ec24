//! Every supported ConfigMap key with good and bad values, and what keys mean together.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{parse_with, read, said};
use genkan_annotations::definition::{OnInvalid, Support};
use genkan_annotations::{GlobalConfig, table};
use genkan_routing::policy::access_log::{DEFAULT_FORMAT, Escape};
use genkan_routing::policy::compression::MediaTypes;
use genkan_routing::report::Severity;

/// Name, what it needs beside it, good values, bad values.
type Row = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str], &'static [&'static str]);

const GZIP: &[(&str, &str)] = &[("use-gzip", "true")];
const LISTS: &[&str] = &["10.0.0.0/8", "10.0.0.1,::1"];
const BAD_LISTS: &[&str] = &["10.0.0.0/8,x", ",", "10.0.0.0/33"];

const ROWS: &[Row] = &[
    ("ssl-redirect", &[], &["false"], &["no"]),
    ("force-ssl-redirect", &[], &["true", " 1\n"], &["yes"]),
    ("preserve-trailing-slash", &[], &["true"], &["on"]),
    ("use-port-in-redirects", &[], &["true"], &["on"]),
    ("http-redirect-code", &[], &["301", "302", "307"], &["303", "200", "x"]),
    ("no-auth-locations", &[], &["/a, /b", "/a\n/b", "/.well-known/"], &["/a\tb"]),
    ("no-tls-redirect-locations", &[], &["/a, /b", "/a\n/b", "/.well-known/"], &["/a\tb"]),
    ("limit-req-status-code", &[], &["429"], &["200", "600", "x"]),
    ("limit-conn-status-code", &[], &["429"], &["399"]),
    ("proxy-body-size", &[], &["0", "8m"], &["8mb"]),
    ("proxy-request-buffering", &[], &["on"], &["true"]),
    ("client-body-buffer-size", &[], &["16k"], &["8mb"]),
    ("proxy-buffering", &[], &["on"], &["true"]),
    ("proxy-buffers-number", &[], &["0"], &["x"]),
    ("proxy-buffer-size", &[], &["8k"], &["8kb"]),
    ("proxy-max-temp-file-size", &[], &["0"], &["1tb"]),
    ("proxy-connect-timeout", &[], &["1"], &["0", "1s"]),
    ("proxy-send-timeout", &[], &["1"], &["0"]),
    ("proxy-read-timeout", &[], &["1"], &["x"]),
    ("proxy-next-upstream", &[], &["off", "error http_429"], &["http_418"]),
    ("proxy-next-upstream-timeout", &[], &["5"], &["-1"]),
    ("proxy-next-upstream-tries", &[], &["0"], &["x"]),
    ("retry-non-idempotent", &[], &["true"], &["x"]),
    ("whitelist-source-range", &[], LISTS, BAD_LISTS),
    ("denylist-source-range", &[], LISTS, BAD_LISTS),
    ("block-cidrs", &[], LISTS, BAD_LISTS),
    ("load-balance", &[], &["ewma"], &["chash", "EWMA"]),
    ("service-upstream", &[], &["true"], &["yes"]),
    ("proxy-stream-timeout", &[], &["90", "1h30m", "1ms"], &["0", "0s", "-1", "soon"]),
    ("proxy-stream-next-upstream", &[], &["false"], &["off"]),
    ("proxy-stream-next-upstream-timeout", &[], &["0", "5s"], &["-1", "x"]),
    ("proxy-stream-next-upstream-tries", &[], &["0", "5"], &["-1", "x"]),
    ("proxy-stream-responses", &[], &["0", "2"], &["-1", "x"]),
    ("disable-access-log", &[], &["true"], &["x"]),
    ("disable-http-access-log", &[], &["true"], &["x"]),
    ("disable-stream-access-log", &[], &["true"], &["x"]),
    ("enable-access-log-for-default-backend", &[], &["true"], &["x"]),
    (
        "log-format-upstream",
        &[],
        &["$remote_addr\t${status} $http_x_y $cookie_a $arg_b $sent_http_c $upstream_http_d", "$ 5$", "plain"],
        &["$no_such_thing", "a\nb", "${http_}", "$geoip2_city", "$5"],
    ),
    (
        "log-format-stream",
        &[],
        &["$remote_addr\t${protocol} $upstream_addr", "$ 5$", "plain"],
        &["$request", "$http_host", "a\nb", "$5"],
    ),
    ("log-format-escape-json", &[], &["true"], &["x"]),
    ("log-format-escape-none", &[], &["true"], &["x"]),
    ("use-gzip", &[], &["true"], &["x"]),
    ("gzip-level", GZIP, &["9"], &["0", "10"]),
    ("gzip-min-length", GZIP, &["0"], &["-1", "1k"]),
    ("gzip-types", GZIP, &["*", "text/css Text/Plain", "application/json,image/svg+xml"], &["css", "text/", "a/b;q=1"]),
    ("hsts", &[], &["false"], &["x"]),
    ("hsts-max-age", &[], &["0", "15724800"], &["-1", "1y"]),
    ("hsts-include-subdomains", &[], &["false"], &["x"]),
    ("hsts-preload", &[], &["true"], &["x"]),
    ("use-forwarded-headers", &[], &["true"], &["x"]),
    ("enable-real-ip", &[], &["true"], &["x"]),
    ("compute-full-forwarded-for", &[], &["true"], &["x"]),
    ("forwarded-for-header", &[], &["CF-Connecting-IP"], &["a b", "proxy_protocol"]),
    ("proxy-real-ip-cidr", &[], LISTS, &[]),
    ("proxy-add-original-uri-header", &[], &["true"], &["x"]),
    ("generate-request-id", &[], &["false"], &["x"]),
    ("keep-alive", &[], &["0", "10"], &["-1", "10s"]),
    ("keep-alive-requests", &[], &["1"], &["0", "x"]),
    ("client-header-timeout", &[], &["1"], &["0", "x"]),
    ("client-body-timeout", &[], &["1"], &["0", "x"]),
    ("large-client-header-buffers", &[], &["8 16k", "1 1024"], &["8", "8 16k 1", "0 8k", "4 0", "4 4g", "x y"]),
    ("enable-underscores-in-headers", &[], &["true"], &["x"]),
    ("use-http2", &[], &["false"], &["x"]),
    ("http2-max-concurrent-streams", &[], &["1"], &["0"]),
    ("use-proxy-protocol", &[], &["true"], &["x"]),
    ("worker-shutdown-timeout", &[], &["1s", "2m"], &["x", "-1s"]),
    ("upstream-keepalive-connections", &[], &["0"], &["-1"]),
    ("upstream-keepalive-timeout", &[], &["1"], &["1h"]),
    ("upstream-keepalive-time", &[], &["30m", "90"], &["x", "1y"]),
    ("upstream-keepalive-requests", &[], &["1"], &["0"]),
    ("strict-validate-path-type", &[], &["false"], &["x"]),
    ("annotation-value-word-blocklist", &[], &["lua, {", "lua\n{", "a\tb"], &[]),
    ("annotations-risk-level", &[], &["Low", "Medium", "Critical"], &["low", "None"]),
    // Only false is supported: see below.
    ("allow-snippet-annotations", &[], &[], &["x"]),
];

#[test]
fn every_supported_key_is_in_the_table() {
    let tested: BTreeSet<&str> = ROWS.iter().map(|row| row.0).collect();
    let supported: BTreeSet<&str> = table::keys().filter(|row| row.is_supported()).map(|row| row.name).collect();
    assert_eq!(tested, supported);
}

#[test]
fn a_good_value_acts_and_is_not_complained_about() {
    for (name, beside, good, _) in ROWS {
        let (before, problems) = read(beside);
        assert_eq!(problems, [], "{name}");
        for value in *good {
            let (after, problems) = read(&[*beside, &[(name, value)]].concat());
            assert_eq!(problems, [], "{name}: {value:?}");
            assert_ne!(after, before, "{name}: {value:?} has no effect");
        }
    }
}

#[test]
fn a_bad_value_costs_only_its_own_key() {
    for (name, beside, _, bad) in ROWS {
        let definition = table::key(name).expect("every row is a key");
        // Before and after it in the order of names.
        let others = [&[("aaa", "1"), ("worker-processes", "auto"), ("zzz", "1")], *beside].concat();
        let (before, problems_before) = read(&others);
        for value in *bad {
            let (mut after, problems) = read(&[&others[..], &[(name, value)]].concat());
            assert_eq!(problems.len(), problems_before.len() + 1, "{name}: {value:?}: {problems:?}");
            let problem = problems.iter().find(|problem| problem.reason == "InvalidConfigMapKey").expect("is told");
            assert_eq!(problem.origin.field, format!("data[{name}]"));
            let fails_closed = definition.on_invalid == OnInvalid::FailsClosed;
            assert_eq!(problem.severity, if fails_closed { Severity::Error } else { Severity::Warning }, "{name}");
            assert_eq!(after.unusable.remove(name).is_some(), fails_closed, "{name}");
            assert_eq!(after, before, "{name}: {value:?}");
        }
    }
}

#[test]
fn an_empty_config_map_and_blank_values_give_the_defaults() {
    assert_eq!(read(&[]), (GlobalConfig::default(), vec![]));
    for (name, ..) in ROWS {
        assert_eq!(read(&[(name, " ")]), (GlobalConfig::default(), vec![]), "{name}");
    }
    assert_eq!(read(&[("global-auth-url", ""), ("main-snippet", "")]), (GlobalConfig::default(), vec![]));
}

#[test]
fn written_defaults_change_nothing_and_are_not_complained_about() {
    let defaults = [
        ("allow-snippet-annotations", "false"),
        ("proxy-buffering", "off"),
        ("ssl-protocols", "TLSv1.2 TLSv1.3"),
        ("http-redirect-code", "308"),
        ("enable-modsecurity", "false"),
        ("server-tokens", "False"),
    ];
    assert_eq!(read(&defaults), (GlobalConfig::default(), vec![]));
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_name() {
    let (config, problems) = read(&[("use-gzipp", "true"), ("frobnicate", "1")]);
    assert_eq!(config, GlobalConfig::default());
    assert_eq!(
        said(&problems),
        [
            (
                Severity::Warning,
                "UnknownConfigMapKey",
                "unknown key \"frobnicate\" on ConfigMap ingress-nginx/controller"
            ),
            (
                Severity::Warning,
                "UnknownConfigMapKey",
                "unknown key \"use-gzipp\" on ConfigMap ingress-nginx/controller: did you mean use-gzip?"
            ),
        ]
    );
}

#[test]
fn keys_that_do_not_act_say_so() {
    let (config, problems) = read(&[("enable-brotli", "true"), ("main-snippet", "x"), ("max-worker-open-files", "9")]);
    assert_eq!(config, GlobalConfig::default());
    assert_eq!(
        problems.iter().map(|problem| (problem.severity, problem.reason)).collect::<Vec<_>>(),
        [
            (Severity::Warning, "UnsupportedConfigMapKey"),
            (Severity::Error, "SnippetRefused"),
            (Severity::Info, "IgnoredConfigMapKey"),
        ]
    );
}

#[test]
fn every_key_that_does_not_act_says_so() {
    for row in table::keys() {
        let (severity, unusable) = match row.support {
            Support::Supported(_) => continue,
            Support::Ignored => (Severity::Info, false),
            Support::NotYet(_) => (Severity::Warning, false),
            Support::NotYetSecurity(_) => (Severity::Error, true),
            Support::Refused => (Severity::Error, false),
        };
        let (mut config, problems) = read(&[(row.name, "something")]);
        assert_eq!(problems.iter().map(|problem| problem.severity).collect::<Vec<_>>(), [severity], "{}", row.name);
        assert_eq!(config.unusable.remove(row.name).is_some(), unusable, "{}", row.name);
        assert_eq!(config, GlobalConfig::default(), "{}", row.name);
    }
}

#[test]
fn snippets_cannot_be_allowed() {
    let (config, problems) = read(&[("allow-snippet-annotations", "true")]);
    assert_eq!((problems.len(), problems[0].severity), (1, Severity::Warning));
    assert!(parse_with(&config, &[("configuration-snippet", "return 200;")]).settings.rejected);
}

#[test]
fn an_unreadable_peer_is_not_trusted_and_never_everyone() {
    let (config, problems) = read(&[("proxy-real-ip-cidr", "10.0.0.0/8,oops")]);
    assert_eq!(config.proxy.forwarded.trusted, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!((problems.len(), problems[0].severity), (1, Severity::Error));
    let (config, _) = read(&[("proxy-real-ip-cidr", "oops")]);
    assert_eq!(config.proxy.forwarded.trusted, []);
}

#[test]
fn a_format_with_an_unknown_variable_leaves_the_default_line() {
    let (config, problems) = read(&[("log-format-upstream", "$remote_addr $remote_adr"), ("hsts", "false")]);
    assert_eq!(config.proxy.access_log.format, DEFAULT_FORMAT);
    assert_eq!(config.hsts, None);
    assert!(problems[0].message.contains("unknown variable $remote_adr"), "{}", problems[0].message);
}

#[test]
fn no_escaping_counts_before_json_and_either_switch_turns_the_log_off() {
    let escape = |data: &[(&str, &str)]| read(data).0.proxy.access_log.escape;
    assert_eq!(escape(&[("log-format-escape-json", "true")]), Escape::Json);
    assert_eq!(escape(&[("log-format-escape-json", "true"), ("log-format-escape-none", "true")]), Escape::None);
    for key in ["disable-access-log", "disable-http-access-log"] {
        assert!(!read(&[(key, "true")]).0.proxy.access_log.enabled, "{key}");
    }
}

#[test]
fn gzip_settings_wait_for_gzip() {
    assert_eq!(read(&[("gzip-level", "9")]).0, GlobalConfig::default());
    let (config, _) = read(&[("use-gzip", "true"), ("gzip-level", "9"), ("gzip-types", "text/CSS text/css a/b")]);
    let compression = config.compression.unwrap();
    assert_eq!((compression.level, compression.min_length), (9, 256));
    assert_eq!(compression.types, MediaTypes::List(vec!["a/b".to_owned(), "text/css".to_owned()]));
}

#[test]
fn header_buffers_bound_the_line_and_the_head() {
    let client = read(&[("large-client-header-buffers", "8 16k")]).0.proxy.client;
    assert_eq!((client.max_header_line, client.max_request_line, client.max_head), (16 << 10, 16 << 10, 128 << 10));
    assert_eq!(
        read(&[("upstream-keepalive-time", "1h30m")]).0.proxy.upstream.keepalive_time,
        Duration::from_secs(5400)
    );
}
