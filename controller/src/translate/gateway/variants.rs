//! Variants: the rules of a route that is attached to Gateways which show backends different certificates. What is sent
//! through one Gateway must not go out with another's certificate, so such rules lead to clusters of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use genkan_routing::model::{Action, Filter, Filters, Rule, Target};
use genkan_routing::name::{ClusterId, RuleId, TableId};
use genkan_routing::policy::external_auth::ExternalAuth;
use genkan_routing::policy::mirror::Mirror;

use super::rule::RankedMatch;
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

/// Gives the rules the certificate of each table where their matches go. `verifies` says whether a policy asks for TLS
/// towards a cluster; others see no certificate, and stay one for all Gateways.
pub(crate) fn split(rules: Rules, tables: BTreeMap<TableId, Shown>, verifies: impl Fn(&ClusterSpec) -> bool) -> Rules {
    let mut groups: Vec<(Shown, Vec<TableId>)> = Vec::new();
    for (table, shown) in tables {
        match groups.iter_mut().find(|(known, _)| *known == shown) {
            Some((_, tables)) => tables.push(table),
            None => groups.push((shown, vec![table])),
        }
    }
    if groups.iter().all(|(shown, _)| *shown == Shown::Nothing) {
        return rules;
    }
    let seeing = rules.clusters.iter().filter(|want| verifies(&want.spec)).map(|want| want.id.clone());
    let seeing: BTreeSet<ClusterId> = seeing.collect();
    if seeing.is_empty() {
        return rules;
    }
    let several = groups.len() > 1;
    let mut all = Rules::default();
    for (at, (shown, tables)) in groups.into_iter().enumerate() {
        let suffix = if several { shown.suffix() } else { String::new() };
        let variant = variant(&rules, &seeing, &shown, &suffix);
        if at == 0 {
            all.matches = variant.matches;
        } else {
            all.apart.extend(tables.into_iter().map(|table| (table, Arc::clone(&variant.matches))));
        }
        all.rules.extend(variant.rules);
        all.clusters.extend(variant.clusters);
    }
    all
}

fn variant(rules: &Rules, seeing: &BTreeSet<ClusterId>, shown: &Shown, suffix: &str) -> Rules {
    let mut clusters = BTreeMap::new();
    let want = |want: &ClusterWant| {
        if !seeing.contains(&want.id) {
            return want.clone();
        }
        let spec = ClusterSpec { shown: shown.clone(), ..(*want.spec).clone() };
        let made = ClusterWant::new(spec, want.origin.clone());
        clusters.insert(want.id.clone(), made.id.clone());
        made
    };
    let wants = rules.clusters.iter().map(want).collect();
    let id = |id: &RuleId| RuleId::new(format!("{id}{suffix}"));
    let lead = |rule: &Arc<Rule>| {
        let mut rule = Rule { id: id(&rule.id), ..(**rule).clone() };
        retarget(&mut rule, &clusters);
        Arc::new(rule)
    };
    let matched = |ranked: &RankedMatch| {
        let mut ranked = ranked.clone();
        ranked.matched.rule = id(&ranked.matched.rule);
        ranked
    };
    Rules {
        matches: Arc::new(rules.matches.iter().map(matched).collect()),
        apart: BTreeMap::new(),
        rules: rules.rules.iter().map(lead).collect(),
        clusters: wants,
    }
}

fn retarget(rule: &mut Rule, clusters: &BTreeMap<ClusterId, ClusterId>) {
    if rule.filters.iter().any(|filter| matches!(filter, Filter::Mirror(_) | Filter::ExternalAuth(_))) {
        let filters = rule.filters.iter().map(|filter| match filter {
            Filter::Mirror(mirror) => {
                let target = clusters.get(&mirror.target).unwrap_or(&mirror.target).clone();
                Filter::Mirror(Arc::new(Mirror { target, ..(**mirror).clone() }))
            }
            Filter::ExternalAuth(auth) => {
                let target = clusters.get(&auth.target).unwrap_or(&auth.target).clone();
                Filter::ExternalAuth(Arc::new(ExternalAuth { target, ..(**auth).clone() }))
            }
            other => other.clone(),
        });
        rule.filters = Filters::sorted(filters.collect());
    }
    let Action::Forward(forward) = &mut rule.action else { return };
    for backend in &mut forward.backends {
        if let Target::Cluster(id) = &mut backend.target
            && let Some(own) = clusters.get(id)
        {
            *id = own.clone();
        }
    }
}
