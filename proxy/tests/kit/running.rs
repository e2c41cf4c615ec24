//! A proxy under test.

use std::net::SocketAddr;

use genkan_proxy::config::{AccessLogOutput, ProxyConfig};
use genkan_proxy::{Proxy, Published};

use super::client::{Answer, Client, get};
use super::model::Site;

/// A running proxy with one plaintext listener.
pub struct Running {
    pub proxy: Proxy,
    pub address: SocketAddr,
    log: std::sync::Mutex<std::sync::mpsc::Receiver<String>>,
}

impl Running {
    /// Serves `site`.
    pub fn start(site: Site) -> Self {
        Self::start_with(site, |_| {})
    }

    /// Serves `site` with another configuration.
    pub fn start_with(site: Site, change: impl FnOnce(&mut ProxyConfig)) -> Self {
        let (sender, log) = std::sync::mpsc::channel();
        let mut config =
            ProxyConfig { workers: 1, access_log: AccessLogOutput::Channel(sender), ..ProxyConfig::default() };
        change(&mut config);
        let proxy = Proxy::start(config).unwrap();
        let Published { bound, failed } = proxy.publish(site.snapshot());
        assert!(failed.is_empty(), "{failed:?}");
        let address = bound.first().expect("the listener's address").1;
        Self { proxy, address, log: std::sync::Mutex::new(log) }
    }

    /// Where a listener is bound; `None` when it is not.
    pub fn address_of(&self, listener: &str) -> Option<SocketAddr> {
        let addresses = self.proxy.addresses();
        addresses.iter().find(|(id, _)| id.as_str() == listener).map(|(_, address)| *address)
    }

    /// A raw connection.
    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// `GET path` on a connection of its own.
    pub async fn get(&self, path: &str) -> Answer {
        get(self.address, path).await
    }

    /// The next line of the access log.
    pub fn log_line(&self) -> String {
        self.log.lock().unwrap().recv_timeout(super::client::PATIENCE).expect("a log line")
    }

    /// Waits until the metrics have a line with this name, these first labels and this status, and this value; or, for
    /// `None`, until they no longer have it.
    pub async fn until_counted(&self, name: &str, labels: &str, status: &str, value: Option<u64>) {
        let labels = format!("{labels}{status}}} ");
        let count = || {
            let text = self.proxy.metrics().encode();
            let line = text.lines().find(|line| line.starts_with(name) && line.contains(&labels)).map(str::to_owned);
            line.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        };
        // What a client has may be counted a moment later.
        let counted = async {
            while count() != value {
                tokio::task::yield_now().await;
            }
        };
        let counted = tokio::time::timeout(super::client::PATIENCE, counted).await;
        assert!(counted.is_ok(), "{name} {labels}:\n{}", self.proxy.metrics().encode());
    }
}
