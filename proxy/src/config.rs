//! Configuration of the proxy that is fixed at start.

use std::time::Duration;

use crate::metrics::{ConstantLabels, MetricSettings};

/// What does not change while the proxy runs.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Worker threads, each with its own accept queues, connections and upstream pools. 0 means one per CPU that this
    /// process may use.
    pub workers: usize,
    /// How long connections are still accepted after a drain began (`--shutdown-grace-period`, 0).
    pub drain_delay: Duration,
    /// How long running requests may take once connections are no longer accepted, zero: as long as they want; without
    /// it what the snapshot says
    /// ([`drain_timeout`](genkan_routing::policy::client::ClientSettings::drain_timeout)).
    pub drain_timeout: Option<Duration>,
    /// Where access log lines go.
    pub access_log: AccessLogOutput,
    /// Labels of every metric.
    pub metrics_labels: ConstantLabels,
    /// How requests are counted; `None` when they are not, which costs nothing.
    pub metrics: Option<MetricSettings>,
    /// The most bytes of requests and responses that are held in memory (`--buffer-memory`, 256 MiB). The rules of one
    /// namespace have no more than they leave free.
    pub buffer_memory: usize,
}

/// Where access log lines go.
#[derive(Clone, Debug)]
pub enum AccessLogOutput {
    /// Standard output.
    Stdout,
    /// A channel (tests): one message per line, without its newline.
    Channel(std::sync::mpsc::Sender<String>),
    /// Nowhere.
    Off,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            workers: 0,
            drain_delay: Duration::ZERO,
            drain_timeout: None,
            access_log: AccessLogOutput::Stdout,
            metrics_labels: ConstantLabels::default(),
            metrics: Some(MetricSettings::default()),
            buffer_memory: 256 << 20,
        }
    }
}
