//! What annotations mean together, and what is said about those that do not act.

mod common;

use std::collections::BTreeMap;

use common::{PREFIX, ingress, parse, parse_raw, parse_with, read, said};
use genkan_annotations::definition::Support;
use genkan_annotations::{BackendProtocol, Context, GlobalConfig, Parsed, table};
use genkan_routing::policy::canary::CanaryHeaderRule;
use genkan_routing::policy::cors::{CorsList, CorsOrigin, CorsOrigins, Preflights};
use genkan_routing::policy::load_balance::{HashKey, LoadBalance};
use genkan_routing::policy::rate_limit::RateUnit;
use genkan_routing::policy::redirect::{Redirect, RedirectTarget};
use genkan_routing::report::Severity;
use ipnet::IpNet;

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}

#[test]
fn an_unknown_annotation_is_told_with_the_nearest_name() {
    let parsed = parse(&[("rate-limit-rps", "5")]);
    let message = "unknown annotation nginx.ingress.kubernetes.io/rate-limit-rps on Ingress default/web: \
        did you mean limit-rps?";
    assert_eq!(said(&parsed.problems), [(Severity::Warning, "UnknownAnnotation", message)]);
    assert_eq!(parsed.problems[0].origin.field, format!("metadata.annotations[{PREFIX}/rate-limit-rps]"));
    assert_eq!(parsed.settings, parse(&[]).settings);
}

#[test]
fn usual_misspellings_lead_to_the_right_name() {
    for (written, meant) in [
        ("ssl-redirects", "ssl-redirect"),
        ("force-ssl", "force-ssl-redirect"),
        ("rewrite-targets", "rewrite-target"),
        ("whitelist-source", "whitelist-source-range"),
        ("proxy_body_size", "proxy-body-size"),
        ("body-size", "proxy-body-size"),
        ("cors-enable", "enable-cors"),
        ("read-timeout", "proxy-read-timeout"),
        ("backend-protocols", "backend-protocol"),
        ("limit-rsp", "limit-rps"),
        ("canary-header", "canary-by-header"),
    ] {
        let parsed = parse(&[(written, "1")]);
        let message = &parsed.problems[0].message;
        assert!(message.ends_with(&format!(": did you mean {meant}?")), "{message}");
    }
}

#[test]
fn nothing_is_suggested_for_what_is_far_from_everything() {
    let parsed = parse(&[("frobnicate", "1")]);
    let message = "unknown annotation nginx.ingress.kubernetes.io/frobnicate on Ingress default/web";
    assert_eq!(said(&parsed.problems), [(Severity::Warning, "UnknownAnnotation", message)]);
}

#[test]
fn annotations_of_others_are_left_alone() {
    let global = GlobalConfig::default();
    let keys = ["cert-manager.io/issuer", "nginx.ingress.kubernetes.iox/limit-rps", "nginx.ingress.kubernetes.io", "a"];
    let others: BTreeMap<_, _> = keys.into_iter().map(|key| (key.to_owned(), "1".to_owned())).collect();
    let parsed = parse_raw(&global, &others);
    assert_eq!((parsed.problems, parsed.settings), (vec![], parse(&[]).settings));
}

#[test]
fn the_name_wins_over_its_alias_unless_it_is_blank() {
    let parsed = parse(&[("allowlist-source-range", "10.0.0.0/8"), ("whitelist-source-range", "192.0.2.0/24")]);
    assert_eq!(parsed.settings.ip_access.unwrap().allow, networks(&["10.0.0.0/8"]));
    let message = "whitelist-source-range is not used, because allowlist-source-range says the same and counts";
    assert_eq!(said(&parsed.problems), [(Severity::Warning, "IgnoredAnnotation", message)]);

    let parsed = parse(&[("allowlist-source-range", " "), ("whitelist-source-range", "192.0.2.0/24")]);
    assert_eq!(parsed.settings.ip_access.unwrap().allow, networks(&["192.0.2.0/24"]));
    assert_eq!(parsed.settings.deny, None);
}

#[test]
fn all_paths_of_an_ingress_share_the_zones_of_its_limits() {
    let (global, _) = read(&[("limit-req-status-code", "429"), ("limit-conn-status-code", "420")]);
    let parsed = parse_with(
        &global,
        &[
            ("limit-rps", "10"),
            ("limit-rpm", "100"),
            ("limit-connections", "7"),
            ("limit-burst-multiplier", "3"),
            ("limit-whitelist", "10.0.0.0/8"),
        ],
    );
    assert_eq!(parsed.problems, []);
    let [second, minute] = &parsed.settings.rate_limits[..] else { panic!("{:?}", parsed.settings.rate_limits) };
    assert_eq!((&*second.zone, second.requests, second.burst, second.status), ("default/web/rps", 10, 30, 429));
    assert_eq!(
        (&*minute.zone, minute.requests, minute.burst, minute.unit),
        ("default/web/rpm", 100, 300, RateUnit::Minute)
    );
    let connections = parsed.settings.connection_limit.unwrap();
    assert_eq!((&*connections.zone, connections.max, connections.status), ("default/web", 7, 420));
    for exempt in [&second.exempt, &minute.exempt, &connections.exempt] {
        assert_eq!(*exempt, networks(&["10.0.0.0/8"]));
    }
}

#[test]
fn the_burst_is_five_times_the_limit_and_zero_is_no_limit() {
    let parsed = parse(&[("limit-rps", "4"), ("limit-rpm", "0"), ("limit-connections", "0")]);
    assert_eq!(parsed.settings.rate_limits.iter().map(|limit| limit.burst).collect::<Vec<_>>(), [20]);
    assert_eq!(parsed.settings.connection_limit, None);
}

fn redirect(status: u16, to: &str) -> Option<Redirect> {
    Some(Redirect { status, to: RedirectTarget::Verbatim(to.to_owned()) })
}

#[test]
fn a_temporal_redirect_wins_over_a_permanent_one() {
    let permanent = ("permanent-redirect", "/old");
    assert_eq!(parse(&[permanent]).settings.redirect, redirect(301, "/old"));
    let both = [permanent, ("temporal-redirect", "https://new.example")];
    assert_eq!(parse(&both).settings.redirect, redirect(302, "https://new.example"));
}

#[test]
fn a_temporal_redirect_without_http_turns_both_redirects_off() {
    let parsed = parse(&[("permanent-redirect", "/old"), ("temporal-redirect", "/new")]);
    assert_eq!(parsed.settings.redirect, None);
    let message = "temporal-redirect does not begin with http: the feature stays off";
    assert_eq!(said(&parsed.problems), [(Severity::Warning, "InvalidAnnotation", message)]);
    assert!(!parsed.settings.rejected);
}

#[test]
fn redirect_codes_out_of_range_count_as_the_default() {
    for (code, expected) in [("299", 301), ("309", 301), ("-1", 301), ("308", 308), ("300", 300)] {
        let parsed = parse(&[("permanent-redirect", "/x"), ("permanent-redirect-code", code)]);
        assert_eq!(parsed.settings.redirect, redirect(expected, "/x"), "{code}");
        assert_eq!(parsed.problems.is_empty(), code == expected.to_string(), "{code}");
    }
    let parsed = parse(&[("temporal-redirect", "http://x"), ("temporal-redirect-code", "308")]);
    assert_eq!(parsed.settings.redirect, redirect(302, "http://x"));
}

#[test]
fn a_broken_origin_never_becomes_everyone() {
    for origins in ["https://good.example, https://*bad.example", "https://a.example, b c", "https://", "a;b,*"] {
        let parsed = parse(&[("enable-cors", "true"), ("cors-allow-origin", origins)]);
        assert_eq!(parsed.settings.cors, None, "{origins}");
        assert_eq!(parsed.problems.len(), 1, "{origins}: {:?}", parsed.problems);
    }
}

#[test]
fn cors_defaults_are_those_of_ingress_nginx() {
    let cors = parse(&[("enable-cors", "true")]).settings.cors.unwrap();
    assert_eq!((cors.origins, cors.credentials, cors.max_age), (CorsOrigins::All, true, 1_728_000));
    assert_eq!(cors.methods, CorsList::These("GET, PUT, POST, DELETE, PATCH, OPTIONS".to_owned()));
    assert_eq!((cors.expose_headers, cors.preflights), (None, Preflights::OfAllowedOrigins));
    let all = parse(&[("enable-cors", "true"), ("cors-allow-origin", "https://a.example, *")]).settings.cors.unwrap();
    assert_eq!(all.origins, CorsOrigins::All);
    assert_eq!(parse(&[("cors-allow-origin", "*")]).settings.cors, None);
}

#[test]
fn an_origin_without_a_scheme_is_passed_over() {
    let parsed = parse(&[("enable-cors", "true"), ("cors-allow-origin", "a.example, https://b.example")]);
    let exact = CorsOrigin::Exact("https://b.example".to_owned());
    assert_eq!(parsed.settings.cors.unwrap().origins, CorsOrigins::List(vec![exact]));
    assert_eq!(parsed.problems.len(), 1);
    let parsed = parse(&[("enable-cors", "true"), ("cors-allow-origin", "a.example")]);
    assert_eq!(parsed.settings.cors, None);
}

#[test]
fn a_star_in_an_origin_stands_for_one_label() {
    let parsed = parse(&[("enable-cors", "true"), ("cors-allow-origin", "https://*.a.example:8443")]);
    let CorsOrigins::List(origins) = parsed.settings.cors.unwrap().origins else { panic!("not everyone") };
    let [CorsOrigin::Wildcard(pattern)] = &origins[..] else { panic!("{origins:?}") };
    for (origin, expected) in [
        ("https://x.a.example:8443", true),
        ("HTTPS://X-1.A.example:8443", true),
        ("https://x.y.a.example:8443", false),
        ("https://a.example:8443", false),
        ("https://.a.example:8443", false),
        ("https://x.a.example", false),
        ("http://x.a.example:8443", false),
        ("https://xxa.example:8443", false),
        ("https://x.a.example:8443.evil.example", false),
        ("https://evil.example/https://x.a.example:8443", false),
    ] {
        assert_eq!(pattern.regex().is_match(origin), expected, "{origin}");
    }
}

#[test]
fn a_canary_rule_needs_a_canary() {
    let parsed = parse(&[("canary-weight", "10")]);
    assert_eq!(parsed.settings.canary, None);
    let message = "canary-weight has no effect without canary: \"true\": the Ingress is served as any other";
    assert_eq!(said(&parsed.problems), [(Severity::Warning, "AnnotationWithoutEffect", message)]);
}

#[test]
fn canary_weights_are_brought_into_range() {
    for (weight, total, expected) in
        [("-5", "50", (0, 100)), ("30", "200", (30, 200)), ("99999999999", "-1", (u32::MAX, 100))]
    {
        let parsed = parse(&[("canary", "true"), ("canary-weight", weight), ("canary-weight-total", total)]);
        let canary = parsed.settings.canary.unwrap();
        assert_eq!((canary.weight, canary.total), expected);
    }
}

#[test]
fn a_canary_value_counts_before_its_pattern_and_a_broken_pattern_takes_the_primary() {
    let header = |extra: &[(&str, &str)]| {
        let annotations = [&[("canary", "true"), ("canary-by-header", "X-Canary")], extra].concat();
        let parsed = parse(&annotations);
        (parsed.settings.canary.unwrap().header.unwrap().rule, parsed.problems.len())
    };
    assert_eq!(header(&[]), (CanaryHeaderRule::AlwaysNever, 0));
    let value = ("canary-by-header-value", "blue");
    assert_eq!(header(&[value, ("canary-by-header-pattern", "b.*")]), (CanaryHeaderRule::Value("blue".to_owned()), 0));
    assert_eq!(header(&[("canary-by-header-pattern", "(")]), (CanaryHeaderRule::Broken, 1));
    let parsed = parse(&[("canary", "true"), value]);
    assert_eq!((parsed.settings.canary.unwrap().header, parsed.problems.len()), (None, 1));
}

#[test]
fn lists_of_an_ingress_replace_those_of_the_config_map_but_not_what_is_blocked() {
    let lists = [
        ("whitelist-source-range", "10.0.0.0/8"),
        ("denylist-source-range", "10.1.0.0/16"),
        ("block-cidrs", "203.0.113.0/24"),
    ];
    let (global, problems) = read(&lists);
    assert_eq!(problems, []);
    let inherited = parse_with(&global, &[]).settings.ip_access.unwrap();
    assert_eq!(inherited.allow, networks(&["10.0.0.0/8"]));
    assert_eq!(inherited.deny, networks(&["10.1.0.0/16", "203.0.113.0/24"]));
    let own = [("allowlist-source-range", "192.0.2.0/24"), ("denylist-source-range", "192.0.2.1")];
    let replaced = parse_with(&global, &own).settings.ip_access.unwrap();
    assert_eq!(replaced.allow, networks(&["192.0.2.0/24"]));
    assert_eq!(replaced.deny, networks(&["192.0.2.1/32", "203.0.113.0/24"]));
}

#[test]
fn a_bad_list_of_the_config_map_denies_every_ingress_without_its_own() {
    let (global, _) = read(&[("whitelist-source-range", "10.0.0.0/8, oops")]);
    let denied = parse_with(&global, &[]).settings.deny;
    assert_eq!(denied.as_deref(), Some("the ConfigMap key whitelist-source-range can't be understood"));
    let own = parse_with(&global, &[("whitelist-source-range", "192.0.2.0/24")]);
    assert_eq!(own.settings.deny, None);
    let (global, _) = read(&[("block-cidrs", "oops")]);
    assert!(parse_with(&global, &[("denylist-source-range", "192.0.2.0/24")]).settings.deny.is_some());
}

#[test]
fn security_that_is_not_enforced_closes_the_ingress() {
    for (name, value) in [
        ("auth-tls-secret", "default/ca"),
        ("auth-tls-verify-client", "optional"),
        ("auth-tls-match-cn", "CN=a"),
        ("enable-modsecurity", "true"),
        ("proxy-ssl-verify", "on"),
        ("proxy-ssl-secret", "default/upstream"),
    ] {
        let parsed = parse(&[(name, value)]);
        assert_eq!(parsed.settings.deny, Some(format!("the annotation {name} is not supported")));
        assert_eq!(parsed.problems.len(), 1, "{name}");
        assert_eq!(
            (parsed.problems[0].severity, parsed.problems[0].reason),
            (Severity::Error, "UnsupportedAnnotation")
        );
    }
}

#[test]
fn authentication_that_is_not_enforced_closes_the_paths_that_ask_for_it() {
    for (name, value) in [("auth-url", "https://auth.example"), ("satisfy", "any")] {
        let Parsed { settings, problems, .. } = parse(&[(name, value)]);
        let reason = format!("the annotation {name} is not supported");
        assert_eq!((settings.deny, settings.deny_authentication), (None, Some(reason)));
        assert_eq!(problems.len(), 1, "{name}");
        assert_eq!((problems[0].severity, problems[0].reason), (Severity::Error, "UnsupportedAnnotation"));
    }
}

#[test]
fn passwords_are_asked_for_with_both_their_kind_and_their_secret() {
    let Parsed { settings, problems, .. } = parse(&[("auth-type", "basic"), ("auth-secret", "users")]);
    assert_eq!((problems.len(), settings.deny, settings.deny_authentication), (0, None, None));
    assert_eq!(settings.basic_auth.map(|basic| basic.secret).as_deref(), Some("users"));
    // Without a Secret nobody could come in; without a kind everybody does, as with nginx, and that is told.
    let Parsed { settings, problems, .. } = parse(&[("auth-type", "basic")]);
    assert!(settings.basic_auth.is_none() && settings.deny_authentication.is_some());
    assert_eq!((problems.len(), problems[0].severity), (1, Severity::Error));
    let Parsed { settings, problems, .. } = parse(&[("auth-secret", "users")]);
    assert!(settings.basic_auth.is_none() && settings.deny_authentication.is_none());
    assert_eq!((problems.len(), problems[0].severity), (1, Severity::Warning));
}

#[test]
fn switches_that_ask_for_nothing_are_passed_over() {
    let idle = [
        ("enable-modsecurity", "false"),
        ("proxy-ssl-verify", "off"),
        ("satisfy", "all"),
        ("auth-url", ""),
        ("proxy-buffering", "off"),
        ("affinity-mode", "balanced"),
    ];
    let parsed = parse(&idle);
    assert_eq!((parsed.problems, parsed.settings), (vec![], parse(&[]).settings));
}

#[test]
fn comfort_without_effect_says_so_and_tuning_of_nginx_only_informs() {
    let parsed = parse(&[("affinity", "cookie"), ("proxy-busy-buffers-size", "8k")]);
    assert_eq!(
        said(&parsed.problems),
        [
            (Severity::Warning, "UnsupportedAnnotation", "affinity is not supported and has no effect"),
            (Severity::Info, "IgnoredAnnotation", "proxy-busy-buffers-size tunes the inside of nginx and is ignored"),
        ]
    );
    assert_eq!(parsed.settings, parse(&[]).settings);
}

#[test]
fn every_annotation_that_does_not_act_says_so() {
    let before = parse(&[]).settings;
    for row in table::annotations() {
        let (severity, denied, rejected) = match row.support {
            Support::Supported(_) => continue,
            Support::Ignored => (Severity::Info, false, false),
            Support::NotYet(_) => (Severity::Warning, false, false),
            Support::NotYetSecurity(_) => (Severity::Error, true, false),
            Support::Refused => (Severity::Error, false, true),
        };
        let Parsed { mut settings, problems, .. } = parse(&[(row.name, "something")]);
        assert_eq!(problems.iter().map(|problem| problem.severity).collect::<Vec<_>>(), [severity], "{}", row.name);
        let closed = settings.deny.take().or(settings.deny_authentication.take()).is_some();
        assert_eq!((closed, settings.rejected), (denied, rejected), "{}", row.name);
        settings.rejected = false;
        assert_eq!(settings, before, "{}", row.name);
    }
}

#[test]
fn another_prefix_takes_the_place_of_the_usual_one() {
    let annotations = BTreeMap::from([
        ("example.org/limit-rps".to_owned(), "5".to_owned()),
        (format!("{PREFIX}/limit-rpm"), "5".to_owned()),
    ]);
    let context = Context { prefix: "example.org", object: &ingress(), global: &GlobalConfig::default() };
    let parsed = genkan_annotations::parse(&annotations, &context);
    assert_eq!(parsed.problems, []);
    assert_eq!(parsed.settings.rate_limits.iter().map(|limit| &*limit.zone).collect::<Vec<_>>(), ["default/web/rps"]);
}

#[test]
fn snippets_keep_the_ingress_from_being_used() {
    let names = ["configuration-snippet", "server-snippet", "stream-snippet", "auth-snippet", "modsecurity-snippet"];
    for name in names.into_iter().chain(["some-new-snippet"]) {
        for level in ["High", "Critical"] {
            let (global, _) = read(&[("annotations-risk-level", level)]);
            let parsed = parse_with(&global, &[(name, "return 200;")]);
            assert!(parsed.settings.rejected, "{name}");
            assert_eq!(parsed.problems.len(), 1, "{name}");
            assert_eq!((parsed.problems[0].severity, parsed.problems[0].reason), (Severity::Error, "SnippetRefused"));
        }
    }
}

#[test]
fn a_risk_above_the_level_keeps_the_ingress_from_being_used() {
    let (low, _) = read(&[("annotations-risk-level", "Low")]);
    let parsed = parse_with(&low, &[("rewrite-target", "/")]);
    assert!(parsed.settings.rejected);
    assert_eq!(parsed.problems[0].reason, "AnnotationRiskTooHigh");
    assert!(!parse_with(&low, &[("limit-rps", "1")]).settings.rejected);
    let (medium, _) = read(&[("annotations-risk-level", "Medium")]);
    assert!(!parse_with(&medium, &[("rewrite-target", "/")]).settings.rejected);
}

#[test]
fn blocked_words_keep_the_ingress_from_being_used() {
    let (global, _) = read(&[("annotation-value-word-blocklist", "load_module, lua")]);
    for (name, value) in [("rewrite-target", "/lua"), ("some-unknown", "xload_modulex")] {
        let parsed = parse_with(&global, &[(name, value)]);
        assert!(parsed.settings.rejected, "{name}");
        assert_eq!(parsed.problems[0].reason, "BlockedAnnotationValue");
    }
    assert!(!parse_with(&global, &[("rewrite-target", "/lu")]).settings.rejected);
}

#[test]
fn global_auth_closes_every_ingress_that_is_not_exempt() {
    let (global, problems) = read(&[("global-auth-url", "https://auth.example")]);
    assert_eq!(problems.len(), 1);
    let closed = |annotations| parse_with(&global, annotations).settings.deny_authentication.is_some();
    assert!(closed(&[]));
    assert!(closed(&[("enable-global-auth", "true")]));
    assert!(!closed(&[("enable-global-auth", "false")]));
    assert_eq!(parse_with(&global, &[]).settings.deny, None);
    let (global, _) = read(&[("enable-modsecurity", "true")]);
    assert!(parse_with(&global, &[]).settings.deny.is_some());
    assert_eq!(parse_with(&global, &[("enable-modsecurity", "false")]).settings.deny, None);
}

#[test]
fn protocols_that_are_not_spoken_close_the_ingress() {
    for protocol in ["AUTO_HTTP", "fcgi"] {
        let parsed = parse(&[("backend-protocol", protocol)]);
        assert!(parsed.settings.deny.is_some(), "{protocol}");
        assert_eq!(parsed.problems[0].severity, Severity::Error);
    }
    assert_eq!(parse(&[("backend-protocol", "grpcs")]).settings.backend_protocol, BackendProtocol::Grpcs);
}

#[test]
fn a_hash_counts_before_an_algorithm_and_an_unknown_variable_is_told() {
    let both = parse(&[("load-balance", "ewma"), ("upstream-hash-by", "$http_x_user_id")]);
    let header = http::HeaderName::from_static("x-user-id");
    assert_eq!(both.settings.load_balance, LoadBalance::ConsistentHash(HashKey::Header(header)));
    for text in ["$uri", "$request_uri$host", "static", "$http_", "$cookie_", "${host", "$"] {
        let parsed = parse(&[("load-balance", "ewma"), ("upstream-hash-by", text)]);
        assert_eq!(parsed.settings.load_balance, LoadBalance::PeakEwma, "{text}");
        assert_eq!(parsed.problems[0].reason, "UnsupportedAnnotation", "{text}");
    }
}

#[test]
fn an_algorithm_that_cannot_stand_alone_leaves_the_default() {
    let (global, _) = read(&[("load-balance", "ewma")]);
    let parsed = parse_with(&global, &[("load-balance", "sticky_balanced")]);
    assert_eq!((parsed.settings.load_balance, parsed.problems.len()), (LoadBalance::PeakEwma, 1));
    assert!(!parsed.settings.load_balance_explicit);
}

#[test]
fn a_vhost_knows_its_namespace_ingress_and_service() {
    for (text, expected) in [
        ("Example.com", "example.com"),
        ("$service_name.$namespace.svc.cluster.local", "api.default.svc.cluster.local"),
        ("${service_name}-${ingress_name}.x", "api-web.x"),
        ("p$service_port.x", "p8080.x"),
    ] {
        let parsed = parse(&[("upstream-vhost", text)]);
        assert_eq!(parsed.problems, [], "{text}");
        assert_eq!(parsed.settings.upstream_vhost.unwrap().resolve("api", "8080").unwrap().as_str(), expected);
    }
    for text in ["$host", "$namespaces.x", "a:80", "a..b", "$http_x"] {
        let parsed = parse(&[("upstream-vhost", text)]);
        assert_eq!(parsed.settings.upstream_vhost, None, "{text}");
        assert_eq!(parsed.problems[0].reason, "UnsupportedAnnotation", "{text}");
    }
}

#[test]
fn annotations_stand_over_the_config_map() {
    let (global, _) = read(&[
        ("proxy-body-size", "2m"),
        ("ssl-redirect", "false"),
        ("proxy-read-timeout", "10"),
        ("proxy-next-upstream-tries", "7"),
        ("retry-non-idempotent", "true"),
    ]);
    let inherited = parse_with(&global, &[]).settings;
    assert_eq!((inherited.body_limit.unwrap().0, inherited.https_redirect.ssl_redirect), (2 << 20, false));
    assert_eq!((inherited.timeouts.read.as_secs(), inherited.retry.tries), (10, 7));
    let own = [("proxy-body-size", "0"), ("ssl-redirect", "true"), ("proxy-next-upstream", "http_503 http_502 off")];
    let own = parse_with(&global, &own).settings;
    assert_eq!((own.body_limit, own.https_redirect.ssl_redirect), (None, true));
    assert!(!own.retry.on_error && own.retry.on_status.is_empty());
    assert!(own.retry.non_idempotent, "retry-non-idempotent holds for every rule");
    assert_eq!(own.retry.tries, 7);
}

#[test]
fn what_fails_closed_says_that_the_paths_are_not_for_everybody() {
    for (annotation, guarded) in [
        (("auth-type", "basic"), true),
        (("auth-url", "http://auth.example.com"), true),
        (("whitelist-source-range", "10.0.0.0/8"), true),
        (("allowlist-source-range", "10.0.0.0/8"), true),
        (("denylist-source-range", ""), true),
        (("enable-modsecurity", "true"), true),
        (("enable-modsecurity", "false"), false),
        (("satisfy", "all"), false),
        (("limit-rps", "many"), false),
        (("configuration-snippet", "deny all;"), false),
        (("app-root", "/a"), false),
    ] {
        assert_eq!(parse(&[annotation]).guarded, guarded, "{annotation:?}");
    }
    let rejected = parse(&[("auth-type", "basic"), ("configuration-snippet", "x")]);
    assert!(rejected.guarded && rejected.settings.rejected);
}
