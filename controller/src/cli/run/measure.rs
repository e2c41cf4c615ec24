//! What this process tells the proxy's metrics besides requests: publishing, problems, certificates.

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
}
