//! What this process tells the proxy's metrics besides requests: publishing, problems, certificates.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use genkan_proxy::metrics::Metrics;
use genkan_routing::model::Model;
use genkan_routing::report::{Problem, Report};

/// A table was published; `whole` when every port of it is bound. `generation` counts the tables of this process.
pub(super) fn published(metrics: &Metrics, model: &Model, class: &str, generation: u64, whole: bool) {
    if whole {
        // A clock before 1970 has nothing to say about when.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        // Hashing the model would cost as much as all of it, on every change. The generation tells tables of one
        // process apart as well; the metric keeps the upper 53 bits.
        metrics.reload_succeeded(generation << 11, now);
    } else {
        metrics.reload_failed();
    }
    let certificates =
        model.certificates.values().filter_map(|certificate| Some((certificate, certificate.origin.as_ref()?)));
    metrics.certificate_expiry.replace(certificates.flat_map(|(certificate, origin)| {
        certificate.names.iter().map(move |host| {
            let object = &origin.object;
            let labels = [
                object.namespace.to_string(),
                class.to_owned(),
                host.to_string(),
                object.name.to_string(),
                certificate.fingerprint.clone(),
            ];
            // Seconds since 1970 are far below 2^52.
            (labels, certificate.not_after as f64)
        })
    }));
}

/// What is wrong now, of files, names and objects.
pub(super) fn problems(metrics: &Metrics, problems: &[Problem]) {
    metrics.set_problems(&Report::new(problems.to_vec()));
    let orphans: BTreeSet<_> = problems.iter().filter_map(orphan).collect();
    metrics.orphans.replace(orphans.into_iter().map(|labels| (labels, 1.0)));
}

/// Namespace, name and kind of want of an Ingress whose backend is missing or empty.
fn orphan(problem: &Problem) -> Option<[String; 3]> {
    let object = &problem.origin.object;
    let want = match problem.reason {
        "ServiceNotFound" => "no-service",
        "NoEndpoints" => "no-endpoint",
        _ => return None,
    };
    (object.kind == "Ingress").then(|| [object.namespace.to_string(), object.name.to_string(), want.to_owned()])
}

#[cfg(test)]
mod tests {
    use genkan_proxy::metrics::ConstantLabels;
    use genkan_routing::name::{ObjectRef, Origin};

    use super::*;

    #[test]
    fn ingresses_without_backends_are_orphans_until_mended() {
        let metrics = Metrics::new(&ConstantLabels::default(), None);
        let origin = |kind, name: &str| Origin::new(ObjectRef::new(kind, "default", name), "spec");
        let found = [
            Problem::error(origin("Ingress", "gone"), "ServiceNotFound", "no Service"),
            Problem::warning(origin("Ingress", "empty"), "NoEndpoints", "no endpoint"),
            Problem::error(origin("HTTPRoute", "other"), "ServiceNotFound", "no Service"),
        ];
        let orphans = || {
            let text = metrics.encode();
            let lines = text.lines().filter(|line| line.starts_with("nginx_ingress_controller_orphan_ingress{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        problems(&metrics, &found);
        let lines = orphans();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("\"gone\"") && line.contains("no-service")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("\"empty\"") && line.contains("no-endpoint")), "{lines:?}");
        problems(&metrics, &[]);
        assert!(orphans().is_empty());
    }
}
