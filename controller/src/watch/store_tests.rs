//! What streams tell, and what follows.

use serde_json::json;

use super::super::ask::Failure;
use super::*;

fn raw(value: Value) -> Box<RawObject> {
    Box::new(RawObject::from(value))
}

fn service(name: &str) -> Box<RawObject> {
    raw(json!({"metadata": {"namespace": "default", "name": name}, "spec": {}}))
}

fn failure() -> Failure {
    Failure { brief: "HTTP status 403".to_owned(), detail: "no".to_owned() }
}

fn key(kind: Kind, name: &str) -> Key {
    Key::new(kind, "default", name)
}

struct Told {
    store: Store,
    wanted: BTreeSet<Key>,
}

impl Told {
    fn new(kind: Kind) -> Self {
        let mut store = Store::default();
        store.expect(0, kind, Scope::default());
        Self { store, wanted: BTreeSet::new() }
    }

    fn tell(&mut self, kind: Kind, events: Vec<Event>) -> Update {
        let mut update = Update::default();
        for event in events {
            let wanted = |key: &Key| self.wanted.contains(key);
            self.store.take(0, kind, event, &wanted, &mut update);
        }
        update
    }

    fn services(&self) -> Vec<&str> {
        self.store.resources.services.keys().map(|name| &*name.name).collect()
    }
}

fn changed(update: &Update) -> Vec<String> {
    update.changes.iter().map(|change| format!("{change:?}")).collect()
}

#[test]
fn what_a_new_list_does_not_hold_is_gone() {
    let mut told = Told::new(Kind::Service);
    assert!(!told.store.is_listed());
    let listed = |names: &[&str]| {
        let objects = names.iter().map(|name| Event::Applied(service(name)));
        [Event::Listing].into_iter().chain(objects).chain([Event::Listed]).collect::<Vec<_>>()
    };
    told.tell(Kind::Service, listed(&["a", "b"]));
    assert!(told.store.is_listed());
    let update = told.tell(Kind::Service, listed(&["b", "c"]));
    assert_eq!(told.services(), ["b", "c"]);
    // What stayed equal is no change.
    assert_eq!(changed(&update).len(), 2, "{:?}", update.changes);
    let update = told.tell(Kind::Service, vec![Event::Failed(failure()), Event::Watching]);
    assert!(update.changes.is_empty());
    assert_eq!(told.services(), ["b", "c"]);
    told.tell(Kind::Service, vec![Event::Absent]);
    assert!(told.services().is_empty());
}

#[test]
fn a_list_that_breaks_off_takes_nothing_away() {
    let mut told = Told::new(Kind::Service);
    told.tell(Kind::Service, vec![Event::Listing, Event::Applied(service("a")), Event::Listed]);
    told.tell(Kind::Service, vec![Event::Listing, Event::Failed(failure())]);
    told.tell(Kind::Service, vec![Event::Forbidden(failure())]);
    assert_eq!(told.services(), ["a"]);
}

#[test]
fn an_object_that_can_not_be_read_keeps_its_last_good_version_and_is_told() {
    let mut told = Told::new(Kind::Gateway);
    let gateway = |listeners: Value| {
        let spec = json!({"gatewayClassName": "c", "listeners": listeners});
        Event::Applied(raw(json!({"metadata": {"namespace": "default", "name": "g"}, "spec": spec})))
    };
    told.tell(Kind::Gateway, vec![gateway(json!([]))]);
    let update = told.tell(Kind::Gateway, vec![gateway(json!("none"))]);
    assert!(update.changes.is_empty() && update.problems_changed);
    let problem = told.store.problems().next().unwrap().to_string();
    assert!(problem.contains("Gateway default/g: spec.listeners: "), "{problem}");
    assert!(problem.contains("last good version"), "{problem}");
    assert_eq!(told.store.resources.gateways.len(), 1);
    let update = told.tell(Kind::Gateway, vec![gateway(json!([]))]);
    assert!(update.problems_changed);
    assert_eq!(told.store.problems().count(), 0);
}

#[test]
fn a_route_with_a_word_that_is_new_is_kept_without_its_rules() {
    let mut told = Told::new(Kind::HttpRoute);
    let route = |generation: i64, filter: &str| {
        let metadata = json!({"namespace": "default", "name": "r", "uid": "u", "generation": generation});
        let rules = json!([{"filters": [{"type": filter, "requestHeaderModifier": {}}]}]);
        let spec = json!({"parentRefs": [{"name": "edge"}], "rules": rules});
        Event::Applied(raw(json!({"metadata": metadata, "spec": spec})))
    };
    let key = key(Kind::HttpRoute, "r");
    let unreadable = |told: &Told| told.store.resources.unreadable_objects.get(&key).cloned();
    let update = told.tell(Kind::HttpRoute, vec![route(1, "Teleport")]);
    assert_eq!(update.changes.len(), 1);
    let kept = told.store.resources.http_routes.values().next().unwrap();
    assert_eq!((kept.spec.rules.is_none(), &*kept.spec.parent_refs.as_ref().unwrap()[0].name), (true, "edge"));
    let why = unreadable(&told).unwrap();
    assert!(!why.served && why.why.starts_with("spec.rules[0].filters[0].type: "), "{}", why.why);
    assert_eq!(told.store.facts(&key).unwrap().generation, 1);
    // Another word of this kind does not make it one that was served.
    told.tell(Kind::HttpRoute, vec![route(2, "Beam")]);
    assert!(!unreadable(&told).unwrap().served);
    told.tell(Kind::HttpRoute, vec![route(3, "RequestHeaderModifier")]);
    assert_eq!(unreadable(&told), None);
    let update = told.tell(Kind::HttpRoute, vec![route(4, "Teleport")]);
    assert_eq!(update.changes.len(), 1);
    assert!(unreadable(&told).unwrap().served);
    assert!(told.store.resources.http_routes.values().next().unwrap().spec.rules.is_some());
    assert_eq!(told.store.facts(&key).unwrap().generation, 4);
    told.tell(Kind::HttpRoute, vec![Event::Listing, Event::Listed]);
    assert_eq!((unreadable(&told), told.store.resources.http_routes.len()), (None, 0));
}

#[test]
fn of_a_policy_all_is_kept_that_can_be_read() {
    let mut told = Told::new(Kind::RoutePolicy);
    let policy = |generation: i64, says: Value| {
        let metadata = json!({"namespace": "default", "name": "p", "uid": "u", "generation": generation});
        let spec = json!({"targetRefs": [{"kind": "Service", "name": "s"}], "defaults": says});
        Event::Applied(raw(json!({"metadata": metadata, "spec": spec})))
    };
    let key = key(Kind::RoutePolicy, "p");
    let unreadable = |told: &Told| told.store.resources.unreadable_objects.get(&key).cloned();
    let parts = |told: &Told| -> Vec<_> {
        unreadable(told).unwrap().parts.into_iter().map(|part| (part.field, part.partly)).collect()
    };
    let limits = |told: &Told| {
        let kept = told.store.resources.route_policies.values().next().unwrap().spec.defaults.clone().unwrap();
        (kept.ip_access.is_some(), kept.body_size.is_some())
    };
    // A word that is new, at a policy that was never readable.
    let says = json!({"ipAccess": {"allow": "all"}, "bodySize": {"max": "1m"}});
    assert_eq!(told.tell(Kind::RoutePolicy, vec![policy(1, says)]).changes.len(), 1);
    assert_eq!((limits(&told), parts(&told)), ((false, true), vec![("spec.defaults.ipAccess".to_owned(), false)]));
    assert!(!unreadable(&told).unwrap().served && told.store.facts(&key).unwrap().generation == 1);
    // A field that is new, in one that can be read.
    told.tell(Kind::RoutePolicy, vec![policy(2, json!({"ipAccess": {"allow": [], "countries": []}}))]);
    assert_eq!((limits(&told), parts(&told)), ((true, false), vec![("spec.defaults.ipAccess".to_owned(), true)]));
    // What is sound stays when the next version is not.
    told.tell(Kind::RoutePolicy, vec![policy(3, json!({"bodySize": {"max": "2m"}}))]);
    assert_eq!(unreadable(&told), None);
    let update = told.tell(Kind::RoutePolicy, vec![policy(4, json!({"bodySize": 5}))]);
    assert_eq!((limits(&told), update.changes.len(), parts(&told)), ((false, true), 1, vec![]));
    assert!(unreadable(&told).unwrap().served);
    told.tell(Kind::RoutePolicy, vec![Event::Listing, Event::Listed]);
    assert_eq!(unreadable(&told), None);
}

#[test]
fn only_config_maps_that_somebody_refers_to_are_kept() {
    let mut told = Told::new(Kind::ConfigMap);
    let object = || Event::Applied(raw(json!({"metadata": {"namespace": "default", "name": "a"}})));
    let key = key(Kind::ConfigMap, "a");
    assert!(told.tell(Kind::ConfigMap, vec![object()]).changes.is_empty());
    assert!(told.store.passed_over(&key) && !told.store.resources.contains(&key));
    told.wanted.insert(key.clone());
    assert_eq!(told.tell(Kind::ConfigMap, vec![object()]).changes.len(), 1);
    assert!(!told.store.passed_over(&key));
    told.store.release(|_| true);
    assert!(told.store.resources.contains(&key));
    told.store.release(|_| false);
    assert!(told.store.passed_over(&key) && !told.store.resources.contains(&key));
    told.tell(Kind::ConfigMap, vec![Event::Fetched(key.clone(), None)]);
    assert!(!told.store.passed_over(&key));
}

#[test]
fn a_kind_that_we_may_not_read_is_empty_unless_nothing_works_without_it() {
    let mut told = Told::new(Kind::IngressClass);
    let update = told.tell(Kind::IngressClass, vec![Event::Forbidden(failure())]);
    assert_eq!(changed(&update), ["Readable(IngressClass)"]);
    assert!(told.store.is_listed() && told.store.resources.unreadable.contains(&Kind::IngressClass));
    let update = told.tell(Kind::IngressClass, vec![Event::Listing, Event::Listed]);
    assert_eq!(changed(&update), ["Readable(IngressClass)"]);
    assert!(told.store.resources.unreadable.is_empty());

    let mut told = Told::new(Kind::Ingress);
    told.tell(Kind::Ingress, vec![Event::Forbidden(failure())]);
    assert!(!told.store.is_listed());
}

#[test]
fn a_status_is_a_fact_and_no_change() {
    let mut told = Told::new(Kind::Ingress);
    let ingress = |ip: &str| {
        let metadata = json!({"namespace": "default", "name": "a", "uid": "u"});
        let status = json!({"loadBalancer": {"ingress": [{"ip": ip, "ports": []}, {"hostname": "lb.test"}, {}]}});
        Event::Applied(raw(json!({"metadata": metadata, "spec": {}, "status": status})))
    };
    told.tell(Kind::Ingress, vec![ingress("1.2.3.4")]);
    let update = told.tell(Kind::Ingress, vec![ingress("5.6.7.8")]);
    let key = key(Kind::Ingress, "a");
    assert!(update.changes.is_empty() && update.facts.contains(&key));
    let published = [Address::Ip("5.6.7.8".to_owned()), Address::Hostname("lb.test".to_owned())];
    assert_eq!(told.store.facts(&key).unwrap().published[..], published);
    told.tell(Kind::Ingress, vec![Event::Listing, Event::Listed]);
    assert_eq!(told.store.facts(&key), None);
}

#[test]
fn what_the_cache_held_is_there_until_the_api_server_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let mut told = Told::new(Kind::Service);
    assert_eq!(told.store.restore(&path).unwrap(), 0);
    told.tell(Kind::Service, vec![Event::Listing, Event::Applied(service("a")), Event::Applied(service("b"))]);
    told.tell(Kind::Service, vec![Event::Listed, Event::Deleted(service("a"))]);
    drop(told);
    let mut told = Told::new(Kind::Service);
    assert_eq!(told.store.restore(&path).unwrap(), 1);
    assert_eq!(told.services(), ["b"]);
    assert!(!told.store.is_listed());
    told.tell(Kind::Service, vec![Event::Listing, Event::Applied(service("c")), Event::Listed]);
    assert_eq!(told.services(), ["c"]);
}
