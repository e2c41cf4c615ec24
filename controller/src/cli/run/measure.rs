//! What this process tells the proxy's metrics besides requests: publishing, problems, certificates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use genkan_proxy::metrics::Metrics;
use genkan_routing::model::{Certificate, Model, SharedMap};
use genkan_routing::name::CertificateId;
use genkan_routing::report::{Change, Problem, Severity};

/// What was told last, so that only what changed has to be told.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// How many problems there are of each kind.
    problems: BTreeMap<(Severity, &'static str), usize>,
    /// How many of them each Ingress without backends has.
    orphans: BTreeMap<[String; 3], usize>,
    certificates: SharedMap<CertificateId, Arc<Certificate>>,
}

impl Measured {
    /// A table was published; `whole` when every port of it is bound. `generation` counts the tables of this process.
    pub(super) fn published(&mut self, metrics: &Metrics, model: &Model, class: &str, generation: u64, whole: bool) {
        if whole {
            // A clock before 1970 has nothing to say about when.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
            // Hashing the model would cost as much as all of it, on every change. The generation tells tables of one
            // process apart as well; the metric keeps the upper 53 bits.
            metrics.reload_succeeded(generation << 11, now);
        } else {
            metrics.reload_failed();
        }
        // Those that stayed are at their pointers.
        if self.certificates != model.certificates {
            self.certificates = model.certificates.clone();
            metrics.certificate_expiry.replace(expiry(model, class));
        }
    }

    /// A problem is new or gone.
    pub(super) fn problem(&mut self, metrics: &Metrics, news: Change, problem: &Problem) {
        let kind = (problem.severity, problem.reason);
        let count = counted(&mut self.problems, kind, news);
        metrics
            .problems
            .set([problem.severity.to_string(), problem.reason.to_owned()], count.map(|count| count as f64));
        if let Some(orphan) = orphan(problem) {
            let count = counted(&mut self.orphans, orphan.clone(), news);
            metrics.orphans.set(orphan, count.map(|_| 1.0));
        }
    }
}

/// How many there are with one more or less; `None` when none is left.
fn counted<K: Ord + Clone>(counts: &mut BTreeMap<K, usize>, key: K, news: Change) -> Option<usize> {
    let count = counts.entry(key.clone()).or_default();
    *count = match news {
        Change::Came => *count + 1,
        Change::Went => count.saturating_sub(1),
    };
    let count = *count;
    if count == 0 {
        counts.remove(&key);
    }
    (count > 0).then_some(count)
}

/// When each certificate of an object ends, for each of its names.
fn expiry<'m>(model: &'m Model, class: &'m str) -> impl Iterator<Item = ([String; 5], f64)> + use<'m> {
    let certificates =
        model.certificates.values().filter_map(|certificate| Some((certificate, certificate.origin.as_ref()?)));
    certificates.flat_map(move |(certificate, origin)| {
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
    })
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
            Problem::error(origin("Ingress", "gone"), "ServiceNotFound", "no other Service"),
        ];
        let orphans = || {
            let text = metrics.encode();
            let lines = text.lines().filter(|line| line.starts_with("nginx_ingress_controller_orphan_ingress{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let mut measured = Measured::default();
        found.iter().for_each(|problem| measured.problem(&metrics, Change::Came, problem));
        let lines = orphans();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("\"gone\"") && line.contains("no-service")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("\"empty\"") && line.contains("no-endpoint")), "{lines:?}");
        // The second problem of the first keeps it an orphan.
        for (count, problem) in [2, 2, 1, 0].into_iter().zip([&found[2], &found[3], &found[0], &found[1]]) {
            measured.problem(&metrics, Change::Went, problem);
            assert_eq!(orphans().len(), count);
        }
        assert!(!metrics.encode().contains("genkan_problems{"));
    }
}
