//! What the admission webhook did last, under ingress-nginx's names. Those about rendering a configuration are missing:
//! none is rendered.

use std::time::Duration;

use super::GaugeVec;
use super::text::Text;

/// The last review.
#[derive(Debug)]
pub struct AdmissionMetrics([GaugeVec<0>; 4]);

impl Default for AdmissionMetrics {
    fn default() -> Self {
        let gauge = |name, help| GaugeVec::new(name, help, []);
        Self([
            gauge(
                "nginx_ingress_controller_admission_tested_ingresses",
                "Ingresses that the admission controller looked at in its last review.",
            ),
            gauge(
                "nginx_ingress_controller_admission_tested_duration",
                "How long the last review was judged (seconds).",
            ),
            gauge(
                "nginx_ingress_controller_admission_roundtrip_duration",
                "How long the last review took from request to answer (seconds).",
            ),
            gauge("nginx_ingress_controller_admission_config_size", "The size of the last review (bytes)."),
        ])
    }
}

impl AdmissionMetrics {
    /// An Ingress was reviewed: how many were looked at, how long that took, and all of it, and how large it was.
    pub fn reviewed(&self, ingresses: usize, judged: Duration, roundtrip: Duration, size: usize) {
        let values = [ingresses as f64, judged.as_secs_f64(), roundtrip.as_secs_f64(), size as f64];
        for (gauge, value) in self.0.iter().zip(values) {
            gauge.replace([([], value)]);
        }
    }

    pub(super) fn encode(&self, text: &mut Text<'_>) {
        self.0.iter().for_each(|gauge| gauge.encode(text));
    }
}
