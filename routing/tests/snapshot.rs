//! The compiled snapshot against its specification, on models and requests that collide as often as possible.

mod common;

use std::sync::Arc;

use common::{Change, any_change, any_model, any_request, host_text, identity, model_of, path_match, prefix};
use genkan_routing::model::{ListenerSettings, Model, Section};
use genkan_routing::name::{CertificateId, HostPattern, ListenerId, TableId};
use genkan_routing::policy::access_log::AccessLog;
use genkan_routing::policy::tls::{TlsSettings, TlsVersion};
use genkan_routing::snapshot::{Handshake, RequestView, Snapshot};
use http::{HeaderMap, Method};
use proptest::collection::vec;
use proptest::prelude::*;

/// By search: exact, one label, longest suffix, any, default; of one name passthrough first, then what is terminated.
fn handshake_by_search<'m>(model: &'m Model, listener: &ListenerId, name: Option<&str>) -> Option<Handshake<'m>> {
    let listener = model.listeners.get(listener)?;
    let specificity = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(_) => (3, 0),
        HostPattern::OneLabel(_) => (2, 0),
        HostPattern::Suffix(suffix) => (1, suffix.as_str().len()),
        HostPattern::Any => (0, 0),
    };
    let certificates = listener.certificates.iter().filter(|(_, ids)| !ids.is_empty());
    let opened = certificates.map(|(pattern, ids)| (pattern, 0, Handshake::Opened(ids)));
    let terminated = listener.terminated.iter().map(|(pattern, to)| (pattern, 1, Handshake::Terminated(to)));
    let passed_on = listener.passthrough.iter().map(|(pattern, stream)| (pattern, 2, Handshake::PassedOn(stream)));
    let covering = opened.chain(terminated).chain(passed_on).filter(|(pattern, kind, _)| match name {
        Some(name) => pattern.matches(name),
        None => *kind > 0 && **pattern == HostPattern::Any,
    });
    let best = covering.max_by_key(|(pattern, kind, _)| (specificity(pattern), *kind));
    let default = listener.default_certificate.as_ref().map(std::slice::from_ref).map(Handshake::Opened);
    best.map(|(.., handshake)| handshake).or(default)
}

fn listeners() -> [ListenerId; 2] {
    ["l0", "l1"].map(ListenerId::new)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn compiled_routes_as_the_search_does(model in any_model(), requests in vec(any_request(), 30)) {
        let snapshot = Snapshot::compile(Arc::new(model));
        for request in &requests {
            for listener in listeners() {
                let (fast, slow) =
                    (snapshot.route(&listener, &request.view()), snapshot.route_by_search(&listener, &request.view()));
                prop_assert_eq!(identity(fast), identity(slow), "{:?}: {:?} {:?}", request, fast, slow);
            }
        }
    }

    #[test]
    fn handshakes_are_decided_as_the_search_does(model in any_model(), names in vec(host_text(), 10)) {
        let snapshot = Snapshot::compile(Arc::new(model));
        for name in &names {
            for listener in listeners() {
                let canonical = name.strip_suffix('.').unwrap_or(name);
                let expected = handshake_by_search(snapshot.model(), &listener, Some(canonical));
                prop_assert_eq!(snapshot.handshake(&listener, Some(name)), expected, "{}", name);
                prop_assert_eq!(snapshot.handshake(&listener, Some(&name.to_ascii_uppercase())), expected);
            }
        }
        for listener in listeners() {
            let expected = handshake_by_search(snapshot.model(), &listener, None);
            prop_assert_eq!(snapshot.handshake(&listener, None), expected);
        }
    }

    #[test]
    fn a_patched_snapshot_equals_a_new_one(
        model in any_model(),
        changes in vec(vec(any_change(), 1..4), 1..8),
        requests in vec(any_request(), 20),
    ) {
        let mut snapshot = Snapshot::compile(Arc::new(model));
        for step in &changes {
            let model = Arc::new(step.iter().fold(Model::clone(snapshot.model()), |model, change| change.apply(&model)));
            let patched = Snapshot::compile_from(Arc::clone(&model), &snapshot);
            let whole = Snapshot::compile(model);
            for (request, listener) in requests.iter().flat_map(|request| listeners().map(|id| (request, id))) {
                let (fast, new) = (patched.route(&listener, &request.view()), whole.route(&listener, &request.view()));
                prop_assert_eq!(identity(fast), identity(new), "{:?} after {:?}", request, step);
                let name = Some(request.host.as_str());
                prop_assert_eq!(patched.handshake(&listener, name), whole.handshake(&listener, name));
                prop_assert_eq!(patched.handshake(&listener, None), whole.handshake(&listener, None));
            }
            let stats = patched.stats();
            let hosts: usize = patched.model().tables.values().map(|table| table.hosts.len()).sum();
            prop_assert_eq!(stats.hosts_compiled + stats.hosts_shared, hosts);
            prop_assert_eq!(stats.tables_compiled + stats.tables_shared, patched.model().tables.len());
            if step.iter().all(|change| matches!(change, Change::Nothing | Change::TouchTable(_))) {
                prop_assert_eq!((stats.hosts_compiled, stats.tables_compiled), (0, 0));
            }
            snapshot = patched;
        }
    }
}

#[test]
fn settings_are_those_of_the_section_that_serves() {
    let own = |format: &str| {
        let access_log = AccessLog { format: format.to_owned(), ..AccessLog::default() };
        Some(Arc::new(ListenerSettings { access_log, ..ListenerSettings::default() }))
    };
    let mut model = model_of([(HostPattern::parse_suffix("b.a.test").unwrap(), vec![path_match(prefix("/"), "r")])]);
    let id = ListenerId::new("l0");
    let name = HostPattern::parse_suffix("*.a.test").unwrap();
    let listener = Arc::make_mut(model.listeners.get_mut(&id).unwrap());
    // The table of the first section does not exist, so what is served there is the second's.
    listener.sections = vec![
        Section { settings: own("first"), ..Section::new(name.clone(), TableId::new("none")) },
        Section { settings: own("second"), ..Section::new(name, TableId::new("t0")) },
        Section::new(HostPattern::Any, TableId::new("t0")),
    ];
    let snapshot = Snapshot::compile(Arc::new(model));
    let headers = HeaderMap::new();
    let view = RequestView { host: "b.a.test", path: "/", query: None, method: &Method::GET, headers: &headers };
    for matched in [snapshot.route(&id, &view), snapshot.route_by_search(&id, &view)] {
        assert_eq!(matched.unwrap().settings.unwrap().access_log.format, "second");
    }
    assert_eq!(snapshot.settings(&id, "c.a.test").unwrap().access_log.format, "first");
    assert!(snapshot.settings(&id, "b.test").is_none());
}

#[test]
fn a_name_has_the_tls_settings_of_what_decides_its_handshake() {
    let tls = |min_version| Arc::new(TlsSettings { min_version, ..TlsSettings::default() });
    let pattern = |text| HostPattern::parse_suffix(text).unwrap();
    let mut model = model_of([]);
    let id = ListenerId::new("l0");
    let listener = Arc::make_mut(model.listeners.get_mut(&id).unwrap());
    let certificate = vec![CertificateId::new("c")];
    listener.certificates = ["*.test", "a.test"].map(|name| (pattern(name), certificate.clone())).into();
    listener.tls = [(pattern("*.test"), tls(TlsVersion::Tls13))].into();
    let snapshot = Snapshot::compile(Arc::new(model));
    let min = |name| snapshot.tls_settings(&id, name).map(|settings| settings.min_version);
    assert_eq!(min(Some("B.test.")), Some(TlsVersion::Tls13));
    assert_eq!(min(Some("a.test")), None, "a more specific name without any");
    assert_eq!(min(Some("elsewhere")), None);
    assert_eq!(min(None), None);
}

#[test]
fn a_host_of_another_section_than_the_server_names_is_misdirected() {
    let (id, table) = (ListenerId::new("l0"), TableId::new("t0"));
    let misdirected = |hostnames: &[&str], server_name: &str, host: &str| {
        let mut model = model_of([]);
        let sections = hostnames.iter().map(|text| {
            let hostname = if text.is_empty() { HostPattern::Any } else { HostPattern::parse_suffix(text).unwrap() };
            Section::new(hostname, table.clone())
        });
        Arc::make_mut(model.listeners.get_mut(&id).unwrap()).sections = sections.collect();
        Snapshot::compile(Arc::new(model)).is_misdirected(&id, server_name, host)
    };
    let hostnames = ["a.test", "b.test", "*.test", "*.b.test"];
    for (server_name, host, expected) in [
        ("a.test", "a.test", false),
        ("a.test", "b.test", true),
        ("a.test", "c.test", true),
        ("c.test", "a.test", true),
        ("c.test", "d.c.test", false),
        ("c.test", "x.b.test", true),
        ("elsewhere", "a.test", true),
        // Nowhere is not elsewhere: it is 404.
        ("a.test", "elsewhere", false),
        ("elsewhere", "nowhere", false),
    ] {
        assert_eq!(misdirected(&hostnames, server_name, host), expected, "{host} for {server_name}");
    }
    assert!(!misdirected(&[""], "a.test", "b.test"), "one section has every host");
    assert!(misdirected(&["", "a.test"], "b.test", "a.test") && misdirected(&["", "a.test"], "a.test", "b.test"));
    assert!(!misdirected(&["", "a.test"], "b.test", "c.test"));
}
