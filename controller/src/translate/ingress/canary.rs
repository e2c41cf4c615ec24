//! Canaries: Ingresses that take requests away from another's path instead of having paths of their own.
//!
//! ingress-nginx hangs a canary on the primary's upstream, so that it also acts on other hosts and paths that use the
//! same Service port. Here it acts only where host, path and pathType are equal.

use genkan_routing::name::HostPattern;
use genkan_routing::policy::canary::Canary;
use genkan_routing::report::Problem;

use super::fragment::BackendRef;
use super::location::{Content, Locations, Served};
use super::rule::{backend, cluster_spec};
use crate::translate::assembly::{ClusterWant, Contribution};
use crate::translate::cluster::ClusterSpec;

/// Attaches the canaries of a host to its locations. The first of several on one location is used.
pub(super) fn attach(
    host: &HostPattern,
    canaries: &[Served<'_>],
    locations: &mut Locations<'_>,
    out: &mut Contribution,
) {
    for canary in canaries {
        for rule in canary.paths(host) {
            let primary =
                locations.get(&rule.path.text, rule.path.is_exact()).and_then(|location| match location.content {
                    Content::Path(primary, there) if there.path.path_type == rule.path.path_type => {
                        Some((primary, there.backend.as_ref()?))
                    }
                    _ => None,
                });
            let Some(reference) = &rule.backend else { continue };
            let place = Place { host, path: &rule.path.text, exact: rule.path.is_exact(), field: rule.field() };
            attach_one(&place, *canary, reference, primary, locations, out);
        }
        if *host == HostPattern::Any && canary.body.catch_all {
            let root = "/".into();
            let primary = locations.get(&root, false).and_then(|location| match location.content {
                Content::Root(primary, reference, _) => Some((primary, reference?)),
                _ => None,
            });
            let Some(reference) = &canary.body.default_backend else { continue };
            let place = Place { host, path: "/", exact: false, field: "spec.defaultBackend".to_owned() };
            attach_one(&place, *canary, reference, primary, locations, out);
        }
    }
}

/// Where a canary wants to be.
struct Place<'p> {
    host: &'p HostPattern,
    path: &'p str,
    exact: bool,
    field: String,
}

fn attach_one(
    place: &Place<'_>,
    canary: Served<'_>,
    reference: &BackendRef,
    primary: Option<(Served<'_>, &BackendRef)>,
    locations: &mut Locations<'_>,
    out: &mut Contribution,
) {
    let Place { host, path, .. } = place;
    let origin = canary.fragment.origin(place.field.clone());
    let Some((primary, primary_backend)) = primary else {
        let message = format!(
            "the canary has nothing to stand beside: no other Ingress serves a Service at path {path} with the same \
             pathType of host {host}"
        );
        let mend = "give another Ingress, without canary, the same host, path and pathType";
        out.problems.push(Problem::error(origin, "CanaryWithoutPrimary", message).with_mend(mend));
        return;
    };
    let spec = ClusterSpec {
        transport: cluster_spec(primary.fragment, primary.body, primary_backend).transport,
        ..cluster_spec(canary.fragment, canary.body, reference)
    };
    if spec.service == cluster_spec(primary.fragment, primary.body, primary_backend).service {
        let message = "the canary's Service is the primary's: the canary does nothing";
        out.problems
            .push(Problem::warning(origin, "CanaryIsPrimary", message).with_mend("name the canary's own Service"));
        return;
    }
    let Some(location) = locations.get_mut(&(*path).into(), place.exact) else { return };
    if location.canary.is_some() {
        let message = format!("path {path} of host {host} already has a canary; only the first of several is used");
        out.problems.push(Problem::error(origin, "CanaryConflict", message).with_mend("remove one of them"));
        return;
    }
    let Some(settings) = canary.body.settings.canary.clone() else { return };
    let origin = canary.fragment.origin(format!("{}{}", place.field, backend_suffix(place)));
    let backend = backend(ClusterWant::new(spec, origin), out);
    let (header, cookie) = (settings.header, settings.cookie);
    let canary = Canary { backend, header, cookie, weight: settings.weight, total: settings.total };
    location.canary = Some(Box::new(canary));
}

/// From the field of the place to that of its backend.
fn backend_suffix(place: &Place<'_>) -> &'static str {
    if place.field == "spec.defaultBackend" { "" } else { ".backend" }
}
