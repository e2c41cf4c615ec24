//! Targets: what a policy acts on, in one form for every kind of policy.

use std::fmt;
use std::sync::Arc;

use genkan_policies::PolicyTarget;

use super::faults::Faults;
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::gateway::findings::Findings;
use crate::translate::gateway::grant::GATEWAY_GROUP;
use crate::translate::gateway::parent::ParentKey;
use crate::translate::gateway::reason::INVALID;
use crate::translate::gateway::status::ParentReference;

/// Something that policies act on: an object, or a section of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Target {
    /// The object.
    pub(crate) object: Key,
    /// The name of its listener or rule; `None` is all of it.
    pub(crate) section: Option<Arc<str>>,
}

/// The kinds that a policy may target, with their groups.
pub(crate) type Kinds = &'static [(Kind, &'static str)];

/// The kinds that a RoutePolicy may target.
pub(crate) const OF_ROUTES: Kinds = &[
    (Kind::Gateway, GATEWAY_GROUP),
    (Kind::ListenerSet, GATEWAY_GROUP),
    (Kind::HttpRoute, GATEWAY_GROUP),
    (Kind::GrpcRoute, GATEWAY_GROUP),
    (Kind::Service, ""),
];

/// The targets of the policy of this name that may be targets, with their places in the policy.
pub(crate) fn read_all(
    written: &[PolicyTarget],
    (name, kinds): (&NamespacedName, Kinds),
    faults: Faults<'_>,
    findings: &mut Findings,
) -> Vec<(usize, Target)> {
    if let Some(why) = faults.at("spec.targetRefs") {
        findings.error("spec.targetRefs", INVALID, why, "");
    }
    let mut targets = Vec::new();
    for (index, written) in written.iter().enumerate() {
        let field = format!("spec.targetRefs[{index}]");
        let target = match faults.at(&field) {
            Some(why) => Err(why.to_owned()),
            None => Target::read(written, &name.namespace, kinds),
        };
        match target {
            Ok(target) => targets.push((index, target)),
            Err(why) => findings.error(field, INVALID, why, format!("name {}", one_of(kinds))),
        }
    }
    targets
}

/// `a Gateway or ListenerSet`.
fn one_of(kinds: Kinds) -> String {
    let names: Vec<_> = kinds.iter().map(|(kind, _)| kind.as_str()).collect();
    match names.split_last() {
        Some((last, [])) => format!("a {last}"),
        Some((last, others)) => format!("a {} or {last}", others.join(", ")),
        None => String::new(),
    }
}

impl Target {
    /// All of an object.
    pub(crate) fn whole(kind: Kind, name: NamespacedName) -> Self {
        Self { object: Key { kind, name }, section: None }
    }

    /// All of what has listeners.
    pub(crate) fn parent(parent: &ParentKey) -> Self {
        let kind = match parent {
            ParentKey::Gateway(_) => Kind::Gateway,
            ParentKey::ListenerSet(_) => Kind::ListenerSet,
        };
        Self::whole(kind, parent.name().clone())
    }

    /// What a policy of `namespace` writes; why not, if it is nothing that such a policy may target.
    pub(crate) fn read(written: &PolicyTarget, namespace: &Arc<str>, kinds: Kinds) -> Result<Self, String> {
        let same = |(kind, group): &&(Kind, &str)| kind.as_str() == written.kind && *group == written.group;
        let Some((kind, _)) = kinds.iter().find(same) else {
            let group = if written.group.is_empty() { String::new() } else { format!(".{}", written.group) };
            return Err(format!("a target can't be of kind {}{group}", written.kind));
        };
        let section = written.section_name.as_deref().filter(|name| !name.is_empty());
        if section.is_some() && *kind == Kind::Service {
            return Err("a Service has no section".to_owned());
        }
        let name = NamespacedName::new(namespace.clone(), written.name.as_str());
        Ok(Self { object: Key { kind: *kind, name }, section: section.map(Arc::from) })
    }

    /// What has listeners, if it is that.
    pub(crate) fn as_parent(&self) -> Option<ParentKey> {
        match self.object.kind {
            Kind::Gateway => Some(ParentKey::Gateway(self.object.name.clone())),
            Kind::ListenerSet => Some(ParentKey::ListenerSet(self.object.name.clone())),
            _ => None,
        }
    }

    /// As ids name it: `httproute/shop/web/checkout`.
    pub(crate) fn path(&self) -> String {
        let Key { kind, name } = &self.object;
        let path = format!("{}/{name}", kind.as_str().to_ascii_lowercase());
        self.section.as_ref().map_or(path.clone(), |section| format!("{path}/{section}"))
    }

    /// As a status names it.
    pub(crate) fn reference(&self) -> ParentReference {
        let Key { kind, name } = &self.object;
        let group = if *kind == Kind::Service { "" } else { GATEWAY_GROUP };
        ParentReference {
            group: group.into(),
            kind: kind.as_str().into(),
            namespace: Some(name.namespace.clone()),
            name: name.name.clone(),
            section_name: self.section.clone(),
            port: None,
        }
    }
}

/// `HTTPRoute shop/web#checkout`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        self.section.as_ref().map_or(Ok(()), |section| write!(f, "#{section}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(group: &str, kind: &str, section: Option<&str>) -> Result<String, String> {
        let section_name = section.map(str::to_owned);
        let written =
            PolicyTarget { group: group.to_owned(), kind: kind.to_owned(), name: "a".to_owned(), section_name };
        Target::read(&written, &"n".into(), OF_ROUTES).map(|target| target.to_string())
    }

    #[test]
    fn targets_are_of_the_policys_namespace() {
        assert_eq!(read(GATEWAY_GROUP, "HTTPRoute", Some("r")).unwrap(), "HTTPRoute n/a#r");
        assert_eq!(read("", "Service", Some("")).unwrap(), "Service n/a");
    }

    #[test]
    fn what_has_another_group_or_no_section_is_no_target() {
        for (group, kind, section) in
            [("", "HTTPRoute", None), (GATEWAY_GROUP, "Service", None), (GATEWAY_GROUP, "TCPRoute", None)]
        {
            assert!(read(group, kind, section).unwrap_err().starts_with("a target can't be of kind"), "{group} {kind}");
        }
        assert_eq!(read("", "Service", Some("http")).unwrap_err(), "a Service has no section");
    }
}
