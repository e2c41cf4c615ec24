//! Generators of models, changes and requests that collide as often as possible: few labels, few segments, few rules.
//! Each test file uses its own part of them.
#![allow(dead_code, reason = "every test binary compiles this module and uses another part of it")]
#![allow(clippy::unwrap_used, reason = "a generator that fails is a broken test")]

use std::sync::{Arc, LazyLock};

use genkan_routing::model::{
    Action, DirectResponse, Filters, HeaderMatch, Host, Listener, Match, Model, PathMatch, PathPrefix, Protocol,
    QueryMatch, Rule, RuleLabels, Section, SharedMap, Stream, Table, Terminated, ValueMatch,
};
use genkan_routing::name::{CertificateId, HostPattern, Hostname, ListenerId, ObjectRef, Origin, RuleId, TableId};
use genkan_routing::policy::pattern::Pattern;
use genkan_routing::snapshot::{Matched, RequestView};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// A request that owns what a [`RequestView`] borrows.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
}

impl Request {
    pub(crate) fn get(host: &str, path: &str) -> Self {
        Self { host: host.into(), path: path.into(), query: None, method: Method::GET, headers: HeaderMap::new() }
    }

    pub(crate) fn view(&self) -> RequestView<'_> {
        RequestView {
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            method: &self.method,
            headers: &self.headers,
        }
    }
}

/// One step in the life of a model.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    SetHost(TableId, HostPattern, Host),
    RemoveHost(TableId, HostPattern),
    /// Another allocation of the same value.
    TouchHost(TableId, HostPattern),
    SetTable(TableId, Table),
    RemoveTable(TableId),
    TouchTable(TableId),
    SetRule(RuleId),
    RemoveRule(RuleId),
    SetListener(Listener),
    RemoveListener(ListenerId),
    Nothing,
}

impl Change {
    /// The model after the change; everything else keeps its allocation.
    pub(crate) fn apply(&self, model: &Model) -> Model {
        let mut model = model.clone();
        match self {
            Self::SetHost(table, pattern, host) => {
                Arc::make_mut(model.tables.entry(table.clone()).or_default())
                    .hosts
                    .insert(pattern.clone(), Arc::new(host.clone()));
            }
            Self::RemoveHost(table, pattern) => {
                Arc::make_mut(model.tables.entry(table.clone()).or_default()).hosts.remove(pattern);
            }
            Self::TouchHost(table, pattern) => {
                let table = Arc::make_mut(model.tables.entry(table.clone()).or_default());
                if let Some(host) = table.hosts.get_mut(pattern) {
                    *host = Arc::new(Host::clone(host));
                }
            }
            Self::SetTable(id, table) => drop(model.tables.insert(id.clone(), Arc::new(table.clone()))),
            Self::RemoveTable(id) => drop(model.tables.remove(id)),
            Self::TouchTable(id) => {
                if let Some(table) = model.tables.get_mut(id) {
                    *table = Arc::new(Table::clone(table));
                }
            }
            Self::SetRule(id) => drop(model.rules.insert(id.clone(), rule(id))),
            Self::RemoveRule(id) => drop(model.rules.remove(id)),
            Self::SetListener(listener) => {
                model.listeners.insert(listener.id.clone(), Arc::new(listener.clone()));
            }
            Self::RemoveListener(id) => drop(model.listeners.remove(id)),
            Self::Nothing => {}
        }
        model
    }
}

/// A rule that answers by itself.
pub(crate) fn rule(id: &RuleId) -> Arc<Rule> {
    Arc::new(Rule {
        id: id.clone(),
        origin: Origin::new(ObjectRef::new("Ingress", "default", id.as_str()), "spec.rules[0]"),
        labels: RuleLabels::default(),
        filters: Filters::default(),
        action: Action::Respond(DirectResponse { status: 200 }),
        access_log: true,
    })
}

/// A match on the path alone.
pub(crate) fn path_match(path: PathMatch, rule: &str) -> Match {
    Match { path, method: None, headers: Vec::new(), query: Vec::new(), rule: RuleId::new(rule) }
}

pub(crate) fn prefix(text: &str) -> PathMatch {
    PathMatch::Prefix(PathPrefix::parse(text).unwrap())
}

pub(crate) fn exact(text: &str) -> PathMatch {
    PathMatch::Exact(text.to_owned())
}

/// An HTTPS listener of one section for every host.
pub(crate) fn listener(id: &str, table: &str) -> Listener {
    Listener {
        id: ListenerId::new(id),
        addresses: Vec::new(),
        port: 443,
        public_port: 443,
        protocol: Protocol::Https,
        sections: vec![Section::new(HostPattern::Any, TableId::new(table))],
        certificates: SharedMap::default(),
        default_certificate: None,
        passthrough: SharedMap::default(),
        terminated: SharedMap::default(),
        client_auth: None,
        unknown_name: Default::default(),
        client: None,
        tls: SharedMap::default(),
        stream: None,
    }
}

/// One listener `l0` with one table `t0` of these hosts, and every rule that they name.
pub(crate) fn model_of(hosts: impl IntoIterator<Item = (HostPattern, Vec<Match>)>) -> Model {
    let hosts: SharedMap<_, _> =
        hosts.into_iter().map(|(pattern, matches)| (pattern, Arc::new(Host { matches }))).collect();
    let rules = hosts.values().flat_map(|host| &host.matches).map(|one| (one.rule.clone(), rule(&one.rule))).collect();
    Model {
        listeners: [(ListenerId::new("l0"), Arc::new(listener("l0", "t0")))].into(),
        tables: [(TableId::new("t0"), Arc::new(Table { hosts }))].into(),
        rules,
        ..Model::default()
    }
}

/// What two answers are compared by: the host, and the very allocations of match and rule.
pub(crate) fn identity(matched: Option<Matched<'_>>) -> Option<(HostPattern, *const Match, *const Rule)> {
    matched.map(|found| (found.host.clone(), std::ptr::from_ref(found.matched), Arc::as_ptr(found.rule)))
}

pub(crate) fn host_text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => vec(select(vec!["a", "b", "ab"]), 1..5).prop_map(|labels| labels.join(".")),
        1 => select(vec!["", ".", ".a", "a.", "a..b", "..a", "é", "::1"]).prop_map(str::to_owned),
    ]
}

pub(crate) fn host_pattern() -> impl Strategy<Value = HostPattern> {
    let name = vec(select(vec!["a", "b", "ab"]), 1..4).prop_map(|labels| Hostname::parse(&labels.join(".")).unwrap());
    prop_oneof![
        3 => name.clone().prop_map(HostPattern::Exact),
        2 => name.clone().prop_map(HostPattern::OneLabel),
        2 => name.prop_map(HostPattern::Suffix),
        1 => Just(HostPattern::Any),
    ]
}

pub(crate) fn path_text() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => (vec(select(vec!["a", "b", "ab", "c", "A"]), 0..5), any::<bool>()).prop_map(|(segments, slash)| {
            let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
            if slash || path.is_empty() { format!("{path}/") } else { path }
        }),
        1 => select(vec!["", "*", "a", "a/b", "//", "/a//", "//a", "/a//b", "/é/b"]).prop_map(str::to_owned),
    ]
}

/// Compiled once for all cases: compiling an expression takes longer than everything else here.
static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let sources = ["/a", "a", "/a/.*", "/[ab]+/b", "b$", "(/|$)", "/ab|/c", "^/b", "(?x) a # x", "", "/B"];
    let build = |source| [Pattern::search(source), Pattern::full(source), Pattern::nginx_location(source)];
    // A final comment can't stand in a group, so two of them are refused.
    sources.into_iter().flat_map(build).flatten().collect()
});

static VALUES: LazyLock<Vec<Pattern>> =
    LazyLock::new(|| ["1", "[12]", ".*"].into_iter().flat_map(Pattern::full).collect());

pub(crate) fn pattern() -> impl Strategy<Value = Pattern> {
    select(PATTERNS.as_slice())
}

fn value_match() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        select(vec!["1", "2", "1, 2"]).prop_map(|text| ValueMatch::Exact(text.to_owned())),
        select(VALUES.as_slice()).prop_map(ValueMatch::Regex),
    ]
}

/// Any match, conditions being rarer than none.
pub(crate) fn any_match() -> impl Strategy<Value = Match> {
    let path = prop_oneof![
        2 => path_text().prop_map(PathMatch::Exact),
        4 => path_text().prop_filter_map("prefix", |path| PathPrefix::parse(&path).ok()).prop_map(PathMatch::Prefix),
        2 => pattern().prop_map(PathMatch::Regex),
    ];
    let header = (select(vec!["x-a", "x-b"]), value_match())
        .prop_map(|(name, value)| HeaderMatch { name: HeaderName::from_static(name), value });
    let query =
        (select(vec!["q", "r"]), value_match()).prop_map(|(name, value)| QueryMatch { name: name.to_owned(), value });
    let conditions = (
        option::weighted(0.2, select(vec![Method::GET, Method::POST])),
        prop_oneof![4 => Just(Vec::new()), 1 => vec(header, 1..3)],
        prop_oneof![4 => Just(Vec::new()), 1 => vec(query, 1..3)],
    );
    (path, conditions, rule_id()).prop_map(|(path, (method, headers, query), rule)| Match {
        path,
        method,
        headers,
        query,
        rule,
    })
}

/// Few or many matches, or many expressions, so that every way of looking them up is taken.
pub(crate) fn any_host() -> impl Strategy<Value = Host> {
    let expression =
        (any_match(), pattern()).prop_map(|(matched, pattern)| Match { path: PathMatch::Regex(pattern), ..matched });
    let matches = prop_oneof![
        9 => vec(any_match(), 0..9),
        9 => vec(any_match(), 9..40),
        2 => vec(prop_oneof![any_match(), expression], 20..40),
    ];
    matches.prop_map(|matches| Host { matches })
}

pub(crate) fn rule_id() -> impl Strategy<Value = RuleId> {
    (0..12).prop_map(|number| RuleId::new(format!("r{number}")))
}

fn table_id() -> impl Strategy<Value = TableId> {
    (0..3).prop_map(|number| TableId::new(format!("t{number}")))
}

fn listener_id() -> impl Strategy<Value = ListenerId> {
    (0..2).prop_map(|number| ListenerId::new(format!("l{number}")))
}

fn any_table() -> impl Strategy<Value = Table> {
    btree_map(host_pattern(), any_host().prop_map(Arc::new), 0..6)
        .prop_map(|hosts| Table { hosts: hosts.into_iter().collect() })
}

fn any_listener() -> impl Strategy<Value = Listener> {
    // The fourth table never exists.
    let hostname = prop_oneof![1 => Just(HostPattern::Any), 1 => host_pattern()];
    let section =
        (hostname, 0..4).prop_map(|(hostname, table)| Section::new(hostname, TableId::new(format!("t{table}"))));
    let certificate = (0..4).prop_map(|number| CertificateId::new(format!("c{number}")));
    let certificates = btree_map(host_pattern(), vec(certificate.clone(), 0..3), 0..4);
    let passthrough = btree_map(host_pattern(), (0..3_u32).prop_map(stream), 0..3);
    let terminated = btree_map(host_pattern(), (vec(certificate.clone(), 0..2), 3..6_u32).prop_map(terminated), 0..3);
    (listener_id(), vec(section, 0..5), certificates, option::of(certificate), passthrough, terminated).prop_map(
        |(id, sections, certificates, default_certificate, passthrough, terminated)| Listener {
            sections,
            certificates: certificates.into_iter().collect(),
            default_certificate,
            passthrough: passthrough.into_iter().collect(),
            terminated: terminated.into_iter().collect(),
            ..listener(id.as_str(), "t0")
        },
    )
}

fn terminated((certificates, number): (Vec<CertificateId>, u32)) -> Arc<Terminated> {
    Arc::new(Terminated { certificates, stream: stream(number) })
}

/// A stream of this number, that leads nowhere.
fn stream(number: u32) -> Arc<Stream> {
    Arc::new(Stream {
        origin: Origin::new(ObjectRef::new("Ingress", "default", format!("s{number}")), ""),
        accept_proxy_protocol: false,
        send_proxy_protocol: false,
        settings: None,
        backends: Vec::new(),
    })
}

/// Any model; a few rules and tables that it names don't exist.
pub(crate) fn any_model() -> impl Strategy<Value = Model> {
    let listeners = vec(any_listener(), 1..3);
    let tables = btree_map(table_id(), any_table().prop_map(Arc::new), 1..4);
    (listeners, tables, vec(rule_id(), 8..24)).prop_map(|(listeners, tables, rules)| Model {
        listeners: listeners.into_iter().map(|listener| (listener.id.clone(), Arc::new(listener))).collect(),
        tables,
        rules: rules.into_iter().map(|id| (id.clone(), rule(&id))).collect(),
        ..Model::default()
    })
}

pub(crate) fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (table_id(), host_pattern(), any_host()).prop_map(|(table, at, host)| Change::SetHost(table, at, host)),
        2 => (table_id(), host_pattern()).prop_map(|(table, at)| Change::RemoveHost(table, at)),
        1 => (table_id(), host_pattern()).prop_map(|(table, at)| Change::TouchHost(table, at)),
        1 => (table_id(), any_table()).prop_map(|(id, table)| Change::SetTable(id, table)),
        1 => table_id().prop_map(Change::RemoveTable),
        1 => table_id().prop_map(Change::TouchTable),
        4 => rule_id().prop_map(Change::SetRule),
        2 => rule_id().prop_map(Change::RemoveRule),
        2 => any_listener().prop_map(Change::SetListener),
        1 => listener_id().prop_map(Change::RemoveListener),
        1 => Just(Change::Nothing),
    ]
}

pub(crate) fn any_request() -> impl Strategy<Value = Request> {
    let values = prop_oneof![3 => Just(vec![]), 2 => vec(select(vec!["1", "2", "x"]), 1..3)];
    let headers = (values.clone(), values).prop_map(|(a, b)| {
        let fields = a.into_iter().map(|value| ("x-a", value)).chain(b.into_iter().map(|value| ("x-b", value)));
        fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    });
    let query = option::of(select(vec!["", "q=1", "q=2&r=1", "r=2&q=1", "q=x&q=1", "%71=%31", "q"]));
    let method = select(vec![Method::GET, Method::POST, Method::DELETE]);
    (host_text(), path_text(), query, method, headers).prop_map(|(host, path, query, method, headers)| Request {
        host,
        path,
        query: query.map(str::to_owned),
        method,
        headers,
    })
}
