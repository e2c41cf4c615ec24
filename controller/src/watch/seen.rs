//! What the API server has of a Gateway API status: of what we wrote ourselves only as much as tells whether it is still
//! what it is to be and since when, of what other controllers wrote everything, as lists of several controllers are
//! written as a whole.
//!
//! ```text
//!  status --> conditions, listeners, addresses, features ----------------------+--> digest, times
//!         --> parents, ancestors   with our controllerName --------------------+
//!                                  with another's --> kept as it is
//! ```

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::translate::gateway::status::CondKind;

/// The status of an object of Gateway API, or of a policy, as the API server has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenStatus {
    /// `metadata.resourceVersion`: whoever writes lists of several controllers says which version that follows from.
    pub version: Arc<str>,
    /// Equal for statuses in which we say the same, whenever we said it and in whatever order; 0 when we say nothing. Two
    /// that differ are taken for the same once in 2^64 times.
    pub digest: u64,
    /// Entries of other controllers as JSON, in their order. There may be thousands, and most are never written.
    pub foreign: Box<[Box<str>]>,
    /// Whether we wrote any of the object's status.
    pub marked: bool,
    /// What is there that stays while nobody knows better.
    pub kept: Option<Box<Kept>>,
    /// When our conditions came to be as they are, in seconds since 1970; sorted.
    since: Box<[(u64, i64)]>,
}

/// What a status says that a controller finds out only some time after it began. Until then it stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// The addresses of a Gateway: type and value.
    pub addresses: Vec<(String, String)>,
    /// `SupportedVersion` of a class: whether it holds, and the message.
    pub supported_version: Option<(bool, String)>,
}

/// Under which name we write statuses. Of what has no `controllerName` in its status, this tells what is ours.
pub(crate) const STATUS_MANAGER: &str = "genkan-gateway-controller";

/// The lists of several controllers, and the field that tells their entries apart.
const LISTS: [(&str, &str); 2] = [("parents", "parentRef"), ("ancestors", "ancestorRef")];

impl SeenStatus {
    /// Reads an object; `controller` is the `controllerName` that is ours.
    pub fn read(object: &Value, controller: &str) -> Self {
        let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        let mut seen = object.get("status").map(|status| Self::of(status, controller)).unwrap_or_default();
        seen.version = version.into();
        seen
    }

    /// Reads a `status`.
    pub fn of(status: &Value, controller: &str) -> Self {
        let (mut parts, mut since, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
        let own = conditions(status, hash(&""), &mut since);
        for listener in items(status, "listeners") {
            let name = text(listener, "name");
            let kinds = sorted(items(listener, "supportedKinds").map(|kind| (text(kind, "group"), text(kind, "kind"))));
            let conditions = conditions(listener, hash(&name), &mut since);
            parts.push(hash(&(name, kinds, number(listener, "attachedRoutes"), conditions)));
        }
        for (list, reference) in LISTS {
            for entry in items(status, list) {
                if text(entry, "controllerName") == controller {
                    let place = place(entry, reference);
                    parts.push(hash(&(place, conditions(entry, place, &mut since))));
                } else {
                    foreign.push(entry.to_string().into_boxed_str());
                }
            }
        }
        let addresses: Vec<_> = items(status, "addresses").map(|at| (text(at, "type"), text(at, "value"))).collect();
        // Older releases have names only.
        let feature = |feature: &'_ Value| feature.as_str().unwrap_or_else(|| text(feature, "name")).to_owned();
        let features = sorted(items(status, "supportedFeatures").map(feature));
        let sets = number(status, "attachedListenerSets");
        if !(own.is_empty() && addresses.is_empty() && features.is_empty() && sets.is_none()) {
            parts.push(hash(&(own, addresses, features, sets)));
        }
        parts.sort_unstable();
        since.sort_unstable();
        let digest = if parts.is_empty() { 0 } else { hash(&parts) };
        Self {
            version: Arc::default(),
            digest,
            foreign: foreign.into(),
            marked: false,
            kept: Kept::of(status).map(Box::new),
            since: since.into(),
        }
    }

    /// The same in this version of the object, with a word about whether we wrote any of it.
    pub fn at(self, version: &str, marked: bool) -> Self {
        Self { version: version.into(), marked, ..self }
    }

    /// Adds to the conditions of a status of ours which generation of the object they are about, and since when they are
    /// as they are: what was so before keeps its time.
    pub fn stamp(&self, status: &mut Value, generation: i64, now: i64) {
        self.stamp_conditions(status, hash(&""), generation, now);
        for listener in items_mut(status, "listeners") {
            let place = hash(&text(listener, "name"));
            self.stamp_conditions(listener, place, generation, now);
        }
        for (list, reference) in LISTS {
            for entry in items_mut(status, list) {
                let place = place(entry, reference);
                self.stamp_conditions(entry, place, generation, now);
            }
        }
    }

    fn stamp_conditions(&self, owner: &mut Value, place: u64, generation: i64, now: i64) {
        for condition in items_mut(owner, "conditions") {
            let state = state(condition, place);
            let known = self.since.binary_search_by_key(&state, |(known, _)| *known).ok();
            let since = known.and_then(|at| self.since.get(at)).map_or(now, |(_, since)| *since);
            // Times out of a calendar's range are none that anybody wrote.
            let since = Timestamp::from_second(since).unwrap_or_default().to_string();
            if let Some(fields) = condition.as_object_mut() {
                fields.insert("observedGeneration".to_owned(), generation.into());
                fields.insert("lastTransitionTime".to_owned(), since.into());
            }
        }
    }
}

impl Kept {
    fn of(status: &Value) -> Option<Self> {
        let owned = |at: &Value| (text(at, "type").to_owned(), text(at, "value").to_owned());
        let addresses: Vec<_> = items(status, "addresses").map(owned).collect();
        let name = CondKind::SupportedVersion.as_str();
        let told = items(status, "conditions").find(|condition| text(condition, "type") == name);
        let supported_version =
            told.map(|condition| (text(condition, "status") == "True", text(condition, "message").to_owned()));
        (!addresses.is_empty() || supported_version.is_some()).then_some(Self { addresses, supported_version })
    }
}

/// What the conditions of an object, a listener or an entry say, in order. Types that we never write are others'.
fn conditions<'s>(
    owner: &'s Value,
    place: u64,
    since: &mut Vec<(u64, i64)>,
) -> Vec<(&'s str, &'s str, &'s str, &'s str, Option<i64>)> {
    let known = items(owner, "conditions").filter(|condition| CondKind::is_known(text(condition, "type")));
    let said = known.map(|condition| {
        let time = text(condition, "lastTransitionTime").parse::<Timestamp>();
        since.extend(time.ok().map(|time| (state(condition, place), time.as_second())));
        (
            text(condition, "type"),
            text(condition, "status"),
            text(condition, "reason"),
            text(condition, "message"),
            number(condition, "observedGeneration"),
        )
    });
    sorted(said)
}

/// Whose condition it is, its type, and whether it holds.
fn state(condition: &Value, place: u64) -> u64 {
    hash(&(place, text(condition, "type"), text(condition, "status")))
}

/// What an entry of a list of several controllers is about.
fn place(entry: &Value, reference: &str) -> u64 {
    let to = entry.get(reference).unwrap_or(&Value::Null);
    let names = ["group", "kind", "namespace", "name", "sectionName"].map(|field| text(to, field));
    hash(&(reference, names, number(to, "port")))
}

fn items<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn items_mut<'v>(value: &'v mut Value, field: &str) -> impl Iterator<Item = &'v mut Value> {
    value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, field: &str) -> Option<i64> {
    value.get(field).and_then(Value::as_i64)
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.collect();
    items.sort_unstable();
    items
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OURS: &str = "genkan.dev/gateway-controller";

    fn condition(kind: &str, status: &str, time: &str) -> Value {
        json!({"type": kind, "status": status, "reason": "R", "message": "m", "observedGeneration": 3,
            "lastTransitionTime": time})
    }

    fn parent(controller: &str, name: &str, conditions: Value) -> Value {
        json!({"parentRef": {"name": name}, "controllerName": controller, "conditions": conditions})
    }

    #[test]
    fn neither_order_nor_times_nor_the_words_of_others_make_a_difference() {
        let accepted = |time| condition("Accepted", "True", time);
        let resolved = |time| condition("ResolvedRefs", "True", time);
        let a = json!({"parents": [
            parent(OURS, "a", json!([accepted("2026-01-01T00:00:00Z"), resolved("2026-01-01T00:00:00Z")])),
            parent(OURS, "b", json!([])),
            parent("other.test/x", "a", json!([])),
        ]});
        let b = json!({"parents": [
            parent(OURS, "b", json!([])),
            parent(OURS, "a", json!([
                resolved("2026-01-02T00:00:00Z"), accepted("2026-01-02T00:00:00Z"),
                condition("other.test/Checked", "False", "2026-01-02T00:00:00Z"),
            ])),
        ]});
        let (a, b) = (SeenStatus::of(&a, OURS), SeenStatus::of(&b, OURS));
        assert_eq!(a.digest, b.digest);
        assert_eq!((a.foreign.len(), b.foreign.len()), (1, 0));
        assert_ne!(a.digest, SeenStatus::of(&json!({"parents": [parent(OURS, "a", json!([]))]}), OURS).digest);
    }

    #[test]
    fn every_part_of_a_status_counts() {
        let status = json!({
            "conditions": [condition("Accepted", "True", "2026-01-01T00:00:00Z")],
            "addresses": [{"type": "IPAddress", "value": "10.0.0.1"}],
            "supportedFeatures": [{"name": "Gateway"}],
            "attachedListenerSets": 1,
            "listeners": [{"name": "web", "attachedRoutes": 1, "supportedKinds": [{"group": "g", "kind": "k"}],
                "conditions": [condition("Programmed", "True", "2026-01-01T00:00:00Z")]}],
            "parents": [parent(OURS, "a", json!([condition("Accepted", "True", "2026-01-01T00:00:00Z")]))],
            "ancestors": [{"ancestorRef": {"name": "a"}, "controllerName": OURS}],
        });
        let whole = SeenStatus::of(&status, OURS).digest;
        for (pointer, other) in [
            ("/conditions/0/reason", json!("S")),
            ("/conditions/0/observedGeneration", json!(4)),
            ("/addresses/0/value", json!("10.0.0.2")),
            ("/supportedFeatures/0/name", json!("HTTPRoute")),
            ("/attachedListenerSets", json!(2)),
            ("/listeners/0/attachedRoutes", json!(2)),
            ("/listeners/0/supportedKinds/0/kind", json!("l")),
            ("/listeners/0/conditions/0/status", json!("False")),
            ("/parents/0/parentRef/name", json!("b")),
            ("/parents/0/conditions/0/message", json!("n")),
            ("/ancestors/0/ancestorRef/name", json!("b")),
        ] {
            let mut changed = status.clone();
            *changed.pointer_mut(pointer).unwrap() = other;
            assert_ne!(SeenStatus::of(&changed, OURS).digest, whole, "{pointer}");
        }
    }

    #[test]
    fn what_we_say_nothing_in_is_like_no_status() {
        for status in [json!({}), json!(null), json!({"parents": [parent("other.test/x", "a", json!([]))]})] {
            assert_eq!(SeenStatus::of(&status, OURS).digest, 0, "{status}");
        }
        let object = json!({"metadata": {"resourceVersion": "7"}});
        assert_eq!(SeenStatus::read(&object, OURS), SeenStatus { version: "7".into(), ..SeenStatus::default() });
    }

    #[test]
    fn a_condition_that_stays_as_it_is_keeps_its_time() {
        let old = json!({
            "conditions": [condition("Accepted", "True", "2026-01-01T00:00:00Z")],
            "listeners": [{"name": "web", "conditions": [condition("Accepted", "True", "2026-01-02T00:00:00Z")]}],
            "parents": [parent(OURS, "a", json!([condition("Accepted", "False", "2026-01-03T00:00:00Z")]))],
        });
        let bare = |status: &str| json!({"type": "Accepted", "status": status, "reason": "S", "message": ""});
        let mut new = json!({
            "conditions": [bare("True")],
            "listeners": [{"name": "web", "conditions": [bare("False")]}],
            "parents": [parent(OURS, "a", json!([bare("False")]))],
        });
        let now = "2026-02-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second();
        SeenStatus::of(&old, OURS).stamp(&mut new, 4, now);
        let time = |pointer: &str| new.pointer(pointer).unwrap()["lastTransitionTime"].clone();
        assert_eq!(time("/conditions/0"), "2026-01-01T00:00:00Z");
        assert_eq!(time("/listeners/0/conditions/0"), "2026-02-01T00:00:00Z", "it holds no longer");
        assert_eq!(time("/parents/0/conditions/0"), "2026-01-03T00:00:00Z");
        assert_eq!(new.pointer("/parents/0/conditions/0/observedGeneration"), Some(&json!(4)));
    }
}
