//! Variants: the rules of a route that is attached to Gateways which show backends different certificates, or of which
//! policies say different things. What is sent through one Gateway must not go out with another's certificate, so such
//! rules lead to clusters of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::model::{Action, Filter, Filters, Rule, Target};
use genkan_routing::name::{ClusterId, RuleId, TableId};
use genkan_routing::policy::external_auth::ExternalAuth;
use genkan_routing::policy::mirror::Mirror;

use super::policy::{self, Acts, Hooks, Level, Lookup, Noting, Subject};
use super::rule::RankedMatch;
use crate::resources::{Key, NamespacedName};
use crate::translate::assembly::ClusterWant;
use crate::translate::cluster::{ClusterSpec, Shown};

/// What the rules of a route give.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// The matches.
    pub(crate) matches: Arc<Vec<RankedMatch>>,
    /// Tables that have other matches.
    pub(crate) apart: BTreeMap<TableId, Arc<Vec<RankedMatch>>>,
    /// What the matches lead to.
    pub(crate) rules: Vec<Arc<Rule>>,
    /// What the rules lead to.
    pub(crate) clusters: Vec<ClusterWant>,
}

/// A rule before it is known where its matches go.
#[derive(Debug)]
pub(crate) struct Draft {
    /// The rule.
    pub(crate) rule: Rule,
    /// The clusters of its backends.
    pub(crate) clusters: Vec<ClusterWant>,
    /// The clusters of mirrors and of services that are asked about requests.
    pub(crate) aside: Vec<ClusterWant>,
    /// What policies need to know of it.
    pub(crate) hooks: Hooks,
}

/// What makes the rules of one table other than those of another.
#[derive(Debug, PartialEq)]
pub(crate) struct Side {
    /// The certificate that backends see.
    pub(crate) shown: Shown,
    /// What policies say of the listener, its ListenerSet and Gateway.
    pub(crate) levels: Vec<Level>,
}

/// A table where the matches of a route go.
#[derive(Debug)]
pub(crate) struct Place {
    /// The Gateway that it belongs to.
    pub(crate) gateway: NamespacedName,
    /// What is said of it.
    pub(crate) side: Side,
}

/// The rules of a route that are to be made.
pub(crate) struct Making<'a> {
    /// The route.
    pub(crate) route: &'a Key,
    /// Its `metadata.uid`.
    pub(crate) uid: Option<&'a str>,
    /// Its matches.
    pub(crate) matches: Vec<RankedMatch>,
    /// Its rules.
    pub(crate) drafts: Vec<Draft>,
    /// All policies.
    pub(crate) policies: Lookup<'a>,
}

/// Tables whose rules are the same.
struct Group {
    side: Side,
    tables: Vec<TableId>,
    gateways: BTreeSet<NamespacedName>,
}

impl Making<'_> {
    /// Makes the rules for each table where their matches go: with the certificate that its Gateway shows, and with what
    /// policies say. What these do is noted. `verifies` says whether a policy asks for TLS towards a cluster; others see no
    /// certificate, and stay one for all Gateways.
    pub(crate) fn split(
        self,
        tables: BTreeMap<TableId, Place>,
        verifies: impl Fn(&ClusterSpec) -> bool,
        acts: &mut Acts,
    ) -> Rules {
        let shown = tables.values().any(|place| place.side.shown != Shown::Nothing);
        let own: Vec<_> = self.drafts.iter().map(|it| self.policies.of_rule(self.route, &it.hooks)).collect();
        let seeing = if shown { self.seeing(&tables, &own, verifies) } else { BTreeSet::new() };
        let mut groups: Vec<Group> = Vec::new();
        for (table, Place { gateway, mut side }) in tables {
            if seeing.is_empty() {
                side.shown = Shown::Nothing;
            }
            match groups.iter_mut().find(|group| group.side == side) {
                Some(group) => {
                    group.tables.push(table);
                    group.gateways.insert(gateway);
                }
                None => groups.push(Group { side, tables: vec![table], gateways: [gateway].into() }),
            }
        }
        let mut all = Rules::default();
        if groups.is_empty() || self.policies.all.is_empty() && groups.iter().all(|it| it.side.shown == Shown::Nothing)
        {
            all.clusters = self.drafts.iter().flat_map(Draft::wants).cloned().collect();
            all.rules = self.drafts.into_iter().map(|draft| Arc::new(draft.rule)).collect();
            all.matches = Arc::new(self.matches);
            return all;
        }
        let several = groups.len() > 1;
        for (at, group) in groups.into_iter().enumerate() {
            let suffix = if several { group.suffix() } else { String::new() };
            let variant = self.variant(&group, (&own, &seeing), &suffix, acts);
            if at == 0 {
                all.matches = variant.matches;
            } else {
                all.apart.extend(group.tables.into_iter().map(|table| (table, Arc::clone(&variant.matches))));
            }
            all.rules.extend(variant.rules);
            all.clusters.extend(variant.clusters);
        }
        all
    }

    /// The clusters of the rules, and of the services that policies ask about them, that would see a certificate.
    fn seeing(
        &self,
        tables: &BTreeMap<TableId, Place>,
        own: &[Vec<Level>],
        verifies: impl Fn(&ClusterSpec) -> bool,
    ) -> BTreeSet<ClusterId> {
        let wanted = self.drafts.iter().flat_map(Draft::wants);
        let mut specs: Vec<&ClusterSpec> = wanted.map(|want| &*want.spec).collect();
        for place in tables.values() {
            for own in own {
                let levels: Vec<_> = place.side.levels.iter().chain(own).collect();
                specs.extend(policy::asked(&levels).map(|service| &service.cluster));
            }
        }
        specs.into_iter().filter(|spec| verifies(spec)).map(ClusterSpec::id).collect()
    }

    /// `own` are the levels of each rule, `seeing` the clusters that see the certificate.
    fn variant(
        &self,
        group: &Group,
        (own, seeing): (&[Vec<Level>], &BTreeSet<ClusterId>),
        suffix: &str,
        acts: &mut Acts,
    ) -> Rules {
        let id = |id: &RuleId| RuleId::new(format!("{id}{suffix}"));
        let (mut rules, mut clusters) = (Vec::new(), Vec::new());
        let (reader, mut noting) = (self.policies.reader, Noting { acts, gateways: &group.gateways });
        for (draft, own) in self.drafts.iter().zip(own) {
            let mut rule = Rule { id: id(&draft.rule.id), ..draft.rule.clone() };
            let show = |want: &ClusterWant| group.show(&want.spec, seeing);
            let [mut specs, mut aside] =
                [&draft.clusters, &draft.aside].map(|wants| wants.iter().map(show).collect::<Vec<_>>());
            let levels: Vec<_> = group.side.levels.iter().chain(own).collect();
            let service = policy::asked(&levels);
            let mut asked = service.map(|service| group.show(&service.cluster, seeing));
            let subject = Subject {
                rule: &mut rule,
                id: &draft.rule.id,
                clusters: &mut specs,
                aside: &mut aside,
                asked: asked.as_mut(),
                own: draft.hooks.own,
                uid: self.uid,
            };
            policy::apply(subject, &levels, self.policies, &mut noting);
            // Apart, as a mirror may be the Service that a backend is too.
            let [of_backends, of_filters] = [(specs, &draft.clusters), (aside, &draft.aside)].map(|(specs, wants)| {
                let made = specs.into_iter().zip(wants).map(|(spec, want)| reader.want(spec, want.origin.clone()));
                let made: Vec<_> = made.collect();
                let ids = wants.iter().zip(&made).map(|(want, made)| (want.id.clone(), made.id.clone())).collect();
                clusters.extend(made);
                ids
            });
            retarget(&mut rule, &of_backends, &of_filters);
            clusters.extend(service.zip(asked).map(|(service, asked)| service.ask(&mut rule, asked)));
            rules.push(Arc::new(rule));
        }
        let matched = |ranked: &RankedMatch| {
            let mut ranked = ranked.clone();
            ranked.matched.rule = id(&ranked.matched.rule);
            ranked
        };
        let matches = Arc::new(self.matches.iter().map(matched).collect());
        Rules { matches, apart: BTreeMap::new(), rules, clusters }
    }
}

impl Draft {
    fn wants(&self) -> impl Iterator<Item = &ClusterWant> {
        self.clusters.iter().chain(&self.aside)
    }
}

impl Group {
    /// A cluster as the Gateways see it: with their certificate if it is one of `seeing`.
    fn show(&self, spec: &ClusterSpec, seeing: &BTreeSet<ClusterId>) -> ClusterSpec {
        match !seeing.is_empty() && seeing.contains(&spec.id()) {
            true => ClusterSpec { shown: self.side.shown.clone(), ..spec.clone() },
            false => spec.clone(),
        }
    }

    /// What tells its rules from those of others.
    fn suffix(&self) -> String {
        let shown = self.side.shown.suffix();
        match self.side.levels.last() {
            None => shown,
            // The levels above the last one are its own.
            Some(level) => format!("{shown}+{}", level.target.path()),
        }
    }
}

/// Leads a rule to other clusters: its backends, and its filters.
fn retarget(rule: &mut Rule, backends: &BTreeMap<ClusterId, ClusterId>, filters: &BTreeMap<ClusterId, ClusterId>) {
    if rule.filters.iter().any(|filter| matches!(filter, Filter::Mirror(_) | Filter::ExternalAuth(_))) {
        let filters = rule.filters.iter().map(|filter| match filter {
            Filter::Mirror(mirror) => {
                let target = filters.get(&mirror.target).unwrap_or(&mirror.target).clone();
                Filter::Mirror(Arc::new(Mirror { target, ..(**mirror).clone() }))
            }
            Filter::ExternalAuth(auth) => {
                let target = filters.get(&auth.target).unwrap_or(&auth.target).clone();
                Filter::ExternalAuth(Arc::new(ExternalAuth { target, ..(**auth).clone() }))
            }
            other => other.clone(),
        });
        rule.filters = Filters::sorted(filters.collect());
    }
    let Action::Forward(forward) = &mut rule.action else { return };
    for backend in &mut forward.backends {
        if let Target::Cluster(id) = &mut backend.target
            && let Some(own) = backends.get(id)
        {
            *id = own.clone();
        }
    }
}
