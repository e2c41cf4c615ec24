//! The resolver against a name server of its own on a port that the system chose.

use std::sync::Mutex;

use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    Ingress, IngressBackend, IngressServiceBackend, IngressSpec, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::control::Control;
use crate::resources::Object;
use crate::settings::Settings;

const LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
struct Zone(Arc<Mutex<ZoneData>>);

#[derive(Default)]
struct ZoneData {
    records: BTreeMap<String, Vec<IpAddr>>,
    ttl: u32,
    /// Answers SERVFAIL to questions of these types.
    broken: Vec<RecordType>,
}

struct Server {
    zone: Zone,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (zone, address) = (Zone::default(), socket.local_addr().unwrap());
        let served = zone.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                let question = Message::from_vec(&buffer[..length]).unwrap();
                socket.send_to(&served.answer(&question).to_vec().unwrap(), peer).await.unwrap();
            }
        });
        Self { zone, address, task }
    }

    fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        self.zone.0.lock().unwrap().records.insert(name.to_owned(), addresses);
    }

    fn remove(&self, name: &str) {
        self.zone.0.lock().unwrap().records.remove(name);
    }

    fn break_types(&self, types: &[RecordType]) {
        self.zone.0.lock().unwrap().broken = types.to_vec();
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(self.options()).unwrap()
    }

    fn options(&self) -> Options {
        let soon = Duration::from_millis(2);
        Options {
            name_servers: Some(vec![self.address]),
            search: vec!["search.test.".to_owned()],
            min_ttl: soon,
            min_retry: soon,
            max_retry: soon,
            ..Options::default()
        }
    }
}

impl Zone {
    fn answer(&self, question: &Message) -> Message {
        let zone = self.0.lock().unwrap();
        let query = question.queries[0].clone();
        let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        if zone.broken.contains(&query.query_type()) {
            answer.metadata.response_code = ResponseCode::ServFail;
            return answer;
        }
        let Some(addresses) = zone.records.get(&query.name().to_ascii().to_lowercase()) else {
            answer.metadata.response_code = ResponseCode::NXDomain;
            return answer;
        };
        for address in addresses {
            let data = match address {
                IpAddr::V4(v4) if query.query_type() == RecordType::A => RData::A((*v4).into()),
                IpAddr::V6(v6) if query.query_type() == RecordType::AAAA => RData::AAAA((*v6).into()),
                _ => continue,
            };
            answer.add_answer(Record::from_rdata(query.name().clone(), zone.ttl, data));
        }
        answer
    }
}

fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

async fn next(resolver: &mut Resolver) -> Answer {
    timeout(LIMIT, resolver.next()).await.expect("no answer")
}

#[tokio::test]
async fn both_families_are_found_and_followed_as_they_change() {
    let server = Server::start().await;
    server.set("a.test.", &["10.0.0.2", "10.0.0.1", "fd00::1"]);
    let mut resolver = server.resolver();
    resolver.set_names(names(&["a.test"]));
    let answer = next(&mut resolver).await;
    assert_eq!((answer.addresses, answer.failure), (ips(&["10.0.0.1", "10.0.0.2", "fd00::1"]), None));
    server.set("a.test.", &["10.0.0.3"]);
    // The two families are asked for apart, so a mixture may be seen on the way.
    while next(&mut resolver).await.addresses != ips(&["10.0.0.3"]) {}
}

#[tokio::test]
async fn the_last_good_answer_is_kept_while_servers_fail() {
    let server = Server::start().await;
    server.set("a.test.", &["10.0.0.1"]);
    let mut resolver = server.resolver();
    resolver.set_names(names(&["a.test"]));
    next(&mut resolver).await;
    server.break_types(&[RecordType::A, RecordType::AAAA]);
    let mut answer = next(&mut resolver).await;
    assert_eq!(answer.addresses, ips(&["10.0.0.1"]));
    assert!(answer.failure.is_some());
    assert_eq!(resolver.problems().len(), 1);
    server.break_types(&[]);
    while answer.failure.is_some() {
        answer = next(&mut resolver).await;
        assert_eq!(answer.addresses, ips(&["10.0.0.1"]));
    }
    assert_eq!(resolver.problems(), []);
}

#[tokio::test]
async fn a_family_that_cannot_be_asked_for_does_not_spoil_the_other() {
    let server = Server::start().await;
    server.set("a.test.", &["10.0.0.1"]);
    server.break_types(&[RecordType::AAAA]);
    let mut resolver = server.resolver();
    resolver.set_names(names(&["a.test"]));
    let answer = next(&mut resolver).await;
    assert_eq!((answer.addresses, answer.failure), (ips(&["10.0.0.1"]), None));
}

#[tokio::test]
async fn a_name_that_is_gone_for_good_loses_its_addresses() {
    let server = Server::start().await;
    server.set("a.test.", &["10.0.0.1"]);
    let mut resolver = server.resolver();
    resolver.set_names(names(&["a.test"]));
    next(&mut resolver).await;
    server.remove("a.test.");
    while !next(&mut resolver).await.addresses.is_empty() {}
    server.set("a.test.", &["10.0.0.2"]);
    while next(&mut resolver).await.addresses != ips(&["10.0.0.2"]) {}
}

#[tokio::test]
async fn search_domains_are_tried_after_the_name_itself() {
    let server = Server::start().await;
    server.set("a.b.search.test.", &["10.0.0.1"]);
    server.set("c.d.", &["10.0.0.2"]);
    server.set("c.d.search.test.", &["10.0.0.3"]);
    let mut resolver = server.resolver();
    resolver.set_names(names(&["a.b"]));
    assert_eq!(next(&mut resolver).await.addresses, ips(&["10.0.0.1"]));
    resolver.set_names(names(&["c.d"]));
    assert_eq!(next(&mut resolver).await.addresses, ips(&["10.0.0.2"]));
}

#[tokio::test]
async fn what_is_local_to_this_host_is_refused_unless_allowed() {
    let server = Server::start().await;
    server.set("evil.test.", &["127.0.0.1", "169.254.169.254"]);
    server.set("mixed.test.", &["127.0.0.1", "10.0.0.1"]);
    let mut resolver = server.resolver();
    for name in ["evil.test", "localhost", "127.0.0.1", "::1"] {
        resolver.set_names(names(&[name]));
        let answer = next(&mut resolver).await;
        assert_eq!(answer.addresses, [] as [IpAddr; 0], "{name}");
        assert!(answer.failure.unwrap().contains("refused"), "{name}");
    }
    resolver.set_names(names(&["mixed.test"]));
    assert_eq!(next(&mut resolver).await.addresses, ips(&["10.0.0.1"]));
    let mut resolver = Resolver::new(Options { allow_local: true, ..server.options() }).unwrap();
    resolver.set_names(names(&["127.0.0.1"]));
    assert_eq!(next(&mut resolver).await.addresses, ips(&["127.0.0.1"]));
}

/// The endpoints of all clusters, and the reasons of the problems.
fn served(control: &Control) -> (Vec<String>, Vec<&'static str>) {
    let clusters = control.snapshot().model().clusters.values();
    let endpoints = clusters.flat_map(|cluster| &cluster.endpoints).map(|endpoint| endpoint.address.to_string());
    (endpoints.collect(), control.report().problems().map(|problem| problem.reason).collect())
}

/// An Ingress that sends everything to port 8080 of a Service.
fn ingress_of(service: &str) -> Object {
    let port = ServiceBackendPort { number: Some(8080), ..ServiceBackendPort::default() };
    let service = IngressServiceBackend { name: service.to_owned(), port: Some(port) };
    let backend = IngressBackend { service: Some(service), ..IngressBackend::default() };
    let spec = IngressSpec { default_backend: Some(backend), ..IngressSpec::default() };
    let metadata = ObjectMeta { name: Some("a".to_owned()), ..ObjectMeta::default() };
    Object::Ingress(Arc::new(Ingress { metadata, spec: Some(spec), status: None }.into()))
}

#[tokio::test]
async fn an_external_service_has_the_addresses_of_its_name_however_it_is_written() {
    let server = Server::start().await;
    server.set("a.test.", &["10.0.0.1"]);
    let mut resolver = server.resolver();
    let mut resources = Resources::default();
    resources.dns.insert("old.test".into(), Vec::new());
    let spec = ServiceSpec {
        type_: Some("ExternalName".to_owned()),
        external_name: Some("A.Test.".to_owned()),
        ..ServiceSpec::default()
    };
    let metadata = ObjectMeta { name: Some("a".to_owned()), ..ObjectMeta::default() };
    resources.apply(Object::Service(Arc::new(Service { metadata, spec: Some(spec), status: None }.into())));
    resources.apply(ingress_of("a"));
    assert_eq!(resolver.follow(&mut resources), BTreeSet::from([Change::Dns("old.test".into())]));
    let mut control = Control::new(Settings::directory_mode(), &resources);
    assert_eq!(served(&control), (vec![], vec!["ExternalNameUnresolved"]));

    let answer = next(&mut resolver).await;
    let change = answer.clone().apply(&mut resources).unwrap();
    assert_eq!(answer.apply(&mut resources), None, "it is no news twice");
    control.apply(&resources, &BTreeSet::from([change]));
    assert_eq!(served(&control), (vec!["10.0.0.1:8080".to_owned()], vec![]));

    // A name that is gone is disbelieved for a while.
    server.remove("a.test.");
    while !resources.dns["a.test"].is_empty() {
        let change = next(&mut resolver).await.apply(&mut resources);
        control.apply(&resources, &change.into_iter().collect());
    }
    assert_eq!(served(&control), (vec![], vec!["ExternalNameUnresolved"]));
}

#[tokio::test]
async fn of_services_only_those_that_changed_are_looked_at_for_names() {
    let mut resolver = Server::start().await.resolver();
    let mut resources = Resources::default();
    let external = |object: &str, name: &str| {
        let spec = ServiceSpec {
            type_: Some("ExternalName".to_owned()),
            external_name: Some(name.to_owned()),
            ..ServiceSpec::default()
        };
        let metadata = ObjectMeta { name: Some(object.to_owned()), ..ObjectMeta::default() };
        Object::Service(Arc::new(Service { metadata, spec: Some(spec), status: None }.into()))
    };
    let mut change = |resources: &mut Resources, changed: Object| {
        let key = Key::of(&changed);
        resources.apply(changed);
        resolver.follow_changes(resources, &BTreeSet::from([Change::Object(key)]));
        resolver.names.borrow().clone()
    };
    assert_eq!(change(&mut resources, external("a", "a.test")), names(&["a.test"]));
    resources.apply(external("silent", "silent.test"));
    assert_eq!(change(&mut resources, external("b", "b.test")), names(&["a.test", "b.test"]));
    assert_eq!(change(&mut resources, ingress_of("a")), names(&["a.test", "b.test"]));
    assert_eq!(change(&mut resources, external("a", "b.test")), names(&["b.test"]));
    // Two have that name: it stays with the second.
    assert_eq!(change(&mut resources, external("b", "c.test")), names(&["b.test", "c.test"]));
    resources.dns.insert("b.test".into(), Vec::new());
    let key = Key::of(&external("a", "b.test"));
    assert!(resources.remove(&key));
    let stale = resolver.follow_changes(&mut resources, &BTreeSet::from([Change::Object(key)]));
    assert_eq!(stale, BTreeSet::from([Change::Dns("b.test".into())]));
    assert_eq!(*resolver.names.borrow(), names(&["c.test"]));
    assert_eq!(resolver.follow(&mut resources), BTreeSet::new());
    assert_eq!(*resolver.names.borrow(), names(&["c.test", "silent.test"]));
}

#[test]
fn pauses_follow_the_records_and_grow_with_failures() {
    let options = Options::default();
    let mut state = State::default();
    let found = |ttl| Ok(Found { addresses: ips(&["10.0.0.1"]), ttl: Some(Duration::from_secs(ttl)) });
    let seconds: Vec<_> = [0, 20, 4000].map(|ttl| state.take(found(ttl), &options).as_secs()).into();
    assert_eq!(seconds, [1, 20, 300]);
    let fails: Vec<_> = (0..7).map(|_| state.take(Err(LookupError::Nothing), &options).as_secs()).collect();
    assert_eq!(fails, [1, 2, 4, 8, 16, 30, 30]);
    assert!(state.addresses.is_empty());
    assert_eq!(state.take(found(5), &options).as_secs(), 5);
    assert_eq!(state.take(Err(LookupError::Failed("no".to_owned())), &options).as_secs(), 1);
    assert_eq!(state.addresses, ips(&["10.0.0.1"]));
}

#[test]
fn a_bad_configuration_is_told() {
    let options = Options { name_servers: Some(Vec::new()), search: vec!["a..b".to_owned()], ..Options::default() };
    assert!(matches!(Client::new(&options), Err(DnsError::Configuration(_))));
}
