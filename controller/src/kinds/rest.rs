//! Rest: what is left of an object of which a part can't be read.
//!
//! Of most kinds an object is taken whole or not at all. Of some the rest matters: to what a route attaches, and on what
//! a policy acts: what it keeps out must not come in because of one word that is new, or of a wrong type.

use serde_json::{Value, json};

use super::Entry;
use super::path::{Step, display};
use super::typed::{TypeError, Unknown};
use crate::resources::{Kind, Object, UnreadablePart};

/// How many parts are left out before the object counts as rubbish. Policies have less than that.
const MOST_PARTS: usize = 64;

impl Entry {
    /// Whether the rest of an object matters.
    pub(crate) fn keeps_rest(&self) -> bool {
        matches!(self.kind, Kind::HttpRoute | Kind::GrpcRoute) || self.keeps_parts()
    }

    /// Whether each field of an object stands for itself, so that the rest acts. Of a route the rest tells where it is to
    /// be told that the route is not served.
    pub(crate) fn keeps_parts(&self) -> bool {
        matches!(self.kind, Kind::RoutePolicy | Kind::ListenerPolicy)
    }

    /// What can be read of an object that can't be read as a whole, and the parts without which it can; `None` where that
    /// is of no use.
    pub(crate) fn decode_rest(&self, value: &Value, mut error: TypeError) -> Option<(Object, Vec<UnreadablePart>)> {
        let mut value = value.clone();
        let mut parts = Vec::new();
        for _ in 0..MOST_PARTS {
            let (part, inside) = error.path.split_at_checked(self.part(&error.path)?)?;
            take_out(&mut value, part)?;
            let dots = if inside.is_empty() { "" } else { ": " };
            let why = format!("{}{dots}{}", display(inside), self.explain(&error).0);
            parts.push(UnreadablePart { field: display(part), why, partly: false });
            match (self.decode)(&value) {
                Ok((object, unknown)) => {
                    parts.extend(self.doubts(&unknown));
                    return Some((object, parts));
                }
                Err(next) => error = next,
            }
        }
        None
    }

    /// The parts of a policy in which something is not known, so that they may be meant otherwise than they are read.
    pub(crate) fn doubts(&self, unknown: &[Unknown]) -> Vec<UnreadablePart> {
        if !self.keeps_parts() {
            return Vec::new();
        }
        let doubt = |Unknown { path, nearest }: &Unknown| {
            // What is not known of a target is told, and the target is what is known.
            let [spec, part, Step::Key(field), inside @ ..] = &path[..] else { return None };
            // Of a field that is not known itself nothing is known but what it may be meant to be.
            let (field, written) = match inside {
                [] => ((*nearest)?, field.clone()),
                inside => (field.as_str(), display(inside)),
            };
            let meant = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            let why = format!("{written} is no field that is known{meant}");
            let field = display(&[spec.clone(), part.clone(), Step::Key(field.to_owned())]);
            Some(UnreadablePart { field, why, partly: true })
        };
        unknown.iter().filter_map(doubt).collect()
    }

    /// How many of the steps to an error lead to the part that is left out for it.
    fn part(&self, path: &[Step]) -> Option<usize> {
        let key = |at: usize| match path.get(at) {
            Some(Step::Key(key)) => key.as_str(),
            _ => "",
        };
        match (key(0), key(1)) {
            ("spec", "rules") if !self.keeps_parts() && self.keeps_rest() => Some(2),
            ("spec", "defaults" | "overrides" | "targetRefs") if self.keeps_parts() => Some(path.len().min(3)),
            _ => None,
        }
    }
}

/// Takes a part out of a value, if it is there.
fn take_out(value: &mut Value, part: &[Step]) -> Option<()> {
    let (last, above) = part.split_last()?;
    let mut place = value;
    for step in above {
        place = match step {
            Step::Key(key) => place.get_mut(key.as_str())?,
            Step::Index(index) => place.get_mut(*index)?,
        };
    }
    match last {
        Step::Key(key) => drop(place.as_object_mut()?.remove(key)?),
        // The other targets keep their places: problems name them.
        Step::Index(index) => *place.get_mut(*index)? = json!({"kind": "", "name": ""}),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use genkan_policies::RoutePolicy;

    use super::super::entry;
    use super::*;

    fn policy(spec: &Value) -> Value {
        json!({"metadata": {"namespace": "n", "name": "a"}, "spec": spec})
    }

    fn rest(spec: &Value) -> Option<(RoutePolicy, Vec<(String, String)>)> {
        let (entry, value) = (entry(Kind::RoutePolicy), policy(spec));
        let (object, parts) = entry.decode_rest(&value, (entry.decode)(&value).err()?)?;
        let Object::RoutePolicy(policy) = object else { return None };
        Some((policy.as_ref().clone(), parts.into_iter().map(|part| (part.field, part.why)).collect()))
    }

    #[test]
    fn of_a_policy_only_the_fields_go_that_can_not_be_read() {
        let (policy, parts) = rest(&json!({
            "targetRefs": [{"kind": "Gateway", "name": 5}, {"kind": "HTTPRoute", "name": "web"}],
            "defaults": {"rateLimit": {"requestsPerSecond": "5"}, "bodySize": {"max": "1m"}},
            "overrides": {"affinity": {"type": "Fingerprint"}, "ipAccess": {"allow": "10.0.0.0/8"}},
        }))
        .unwrap();
        let (defaults, overrides) = (policy.spec.defaults.unwrap(), policy.spec.overrides.unwrap());
        assert!(defaults.rate_limit.is_none() && defaults.body_size.is_some());
        assert!(overrides.affinity.is_none() && overrides.ip_access.is_none());
        let names: Vec<_> = policy.spec.target_refs.iter().map(|target| &*target.name).collect();
        assert_eq!(names, ["", "web"]);
        let fields: BTreeSet<_> = parts.iter().map(|(field, _)| field.as_str()).collect();
        let expected =
            ["spec.defaults.rateLimit", "spec.overrides.affinity", "spec.overrides.ipAccess", "spec.targetRefs[0]"];
        assert_eq!(fields, BTreeSet::from(expected));
        let (_, why) = parts.iter().find(|(field, _)| field == "spec.defaults.rateLimit").unwrap();
        assert!(why.starts_with("requestsPerSecond: invalid type: string \"5\""), "{why}");
    }

    #[test]
    fn a_part_that_holds_no_fields_goes_as_a_whole() {
        let (policy, parts) = rest(&json!({"targetRefs": [], "defaults": ["rateLimit"]})).unwrap();
        assert!(policy.spec.defaults.is_none());
        assert_eq!((parts.len(), parts[0].0.as_str()), (1, "spec.defaults"));
        // An empty list is no object either: it would lift what others say.
        let (policy, parts) = rest(&json!({"targetRefs": [], "defaults": {"ipAccess": []}})).unwrap();
        assert_eq!(policy.spec.defaults, Some(Default::default()));
        assert_eq!((parts.len(), parts[0].0.as_str()), (1, "spec.defaults.ipAccess"));
        assert!(rest(&json!("none")).is_none());
    }

    #[test]
    fn a_field_that_is_not_known_puts_in_doubt_what_it_stands_in_or_is_meant_to_be() {
        let entry = entry(Kind::RoutePolicy);
        let doubts = |spec: Value| -> Vec<(String, String)> {
            let (_, unknown) = (entry.decode)(&policy(&spec)).unwrap();
            entry.doubts(&unknown).into_iter().map(|part| (part.field, part.why)).collect()
        };
        assert_eq!(
            doubts(json!({"defaults": {"ipAccess": {"alow": []}, "ratLimit": {}, "novelty": {}}})),
            [
                ("spec.defaults.rateLimit", "ratLimit is no field that is known; did you mean rateLimit?"),
                ("spec.defaults.ipAccess", "alow is no field that is known; did you mean allow?"),
            ]
            .map(|(field, why)| (field.to_owned(), why.to_owned()))
        );
        assert_eq!(doubts(json!({"targetRefs": [{"kind": "Gateway", "name": "a", "scope": "b"}]})), []);
    }
}
