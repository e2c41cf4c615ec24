//! Mirrors: where copies of a rule's requests go (`RequestMirror`).
//!
//! A mirror that leads nowhere is told and left out; the rule serves on (`HTTPRequestMirrorFilter.backendRef`).

use std::sync::Arc;

use genkan_routing::model::Filter;
use genkan_routing::policy::mirror::Mirror;

use super::allowed::RouteKind;
use super::backend;
use super::filter_spec::FilterSpec;
use super::filters::parse_share;
use super::findings::Findings;
use crate::resources::{Key, NamespacedName};
use crate::translate::assembly::ClusterWant;
use crate::translate::reader::Reader;

/// The mirrors of a rule.
#[derive(Debug, Default)]
pub(crate) struct Mirrors {
    /// In the order of the rule.
    pub(crate) filters: Vec<Filter>,
    /// The clusters that they refer to.
    pub(crate) clusters: Vec<ClusterWant>,
    /// The first reason of the route's `ResolvedRefs`, when it is false.
    pub(crate) unresolved: Option<&'static str>,
    /// Whether a reference is sound and leads nowhere all the same.
    pub(crate) broken: bool,
    /// XBackends that get nothing.
    pub(crate) idle: Vec<Key>,
}

/// Resolves the mirrors among the filters of a rule whose field is `field`.
pub(crate) fn resolve_all(
    specs: &[FilterSpec<'_>],
    kind: RouteKind,
    route: &NamespacedName,
    field: &str,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Mirrors {
    let mut mirrors = Mirrors::default();
    for (index, spec) in specs.iter().enumerate() {
        // A share that is none is an error of the filter, told where filters are parsed.
        let FilterSpec::Mirror(spec) = spec else { continue };
        let Ok(share) = parse_share(spec) else { continue };
        let field = format!("{field}.filters[{index}].requestMirror.backendRef");
        match backend::resolve(spec.backend, kind, route, reader) {
            Ok(cluster) => {
                let want = reader.want(cluster, findings.origin(field));
                mirrors.filters.push(Filter::Mirror(Arc::new(Mirror { target: want.id.clone(), share })));
                mirrors.clusters.push(want);
            }
            Err(invalid) => {
                match invalid.unresolved {
                    Some(reason) => mirrors.unresolved = mirrors.unresolved.or(Some(reason)),
                    None => mirrors.broken = true,
                }
                mirrors.idle.extend(invalid.idle(&spec.backend, route));
                let message = format!("{}; nothing is mirrored there", invalid.message);
                findings.error(field, invalid.reason, message, invalid.mend);
            }
        }
    }
    mirrors
}
