//! A namespace of one test, and what tests ask of the objects in it.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Cluster, PATIENCE};
use crate::http1::Client;

/// A namespace. Deleted when dropped; nobody waits for that.
pub struct Namespace<'c> {
    cluster: &'c Cluster,
    name: String,
}

/// A Pod as the API server knows it.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its address, once it has one.
    pub address: Option<IpAddr>,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The whole object.
    pub object: Value,
}

impl<'c> Namespace<'c> {
    pub(super) fn create(cluster: &'c Cluster, name: String) -> Self {
        cluster.kubectl(&["create", "namespace", &name]);
        let namespace = Self { cluster, name };
        // Admission refuses Pods without this account, and starts none without this ConfigMap.
        namespace.wait_for(&["serviceaccount/default", "configmap/kube-root-ca.crt"]);
        namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster that it is in.
    pub fn cluster(&self) -> &'c Cluster {
        self.cluster
    }

    /// `kubectl` in this namespace; what it prints.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// `kubectl` in this namespace; what it prints, or its complaint.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.cluster.try_kubectl(&[&["--namespace", &self.name], arguments].concat())
    }

    /// Applies manifests; what `kubectl` prints, warnings not included.
    pub fn apply(&self, manifests: &str) -> String {
        self.try_apply(manifests).unwrap_or_else(|error| panic!("{error}\n{manifests}"))
    }

    /// Applies manifests; what `kubectl` prints, or its complaint.
    pub fn try_apply(&self, manifests: &str) -> Result<String, String> {
        self.cluster.kubectl_with(&["--namespace", &self.name, "apply", "-f", "-"], manifests)
    }

    /// An object, by `kind/name`; nothing if there is none.
    pub fn get(&self, object: &str) -> Option<Value> {
        let text = self.kubectl(&["get", object, "--ignore-not-found", "--output", "json"]);
        (!text.trim().is_empty()).then(|| serde_json::from_str(&text).unwrap())
    }

    /// Waits until these objects exist, by `kind/name`.
    pub fn wait_for(&self, objects: &[&str]) {
        for object in objects {
            self.wait_until(&format!("{object} exists"), || self.get(object).is_some());
        }
    }

    /// Waits until a Deployment or DaemonSet is rolled out, by `kind/name`.
    pub fn wait_rolled_out(&self, object: &str) {
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        if let Err(error) = self.try_kubectl(&["rollout", "status", object, &timeout]) {
            panic!("{error}\n{}", self.kubectl(&["describe", "pods"]));
        }
    }

    /// The Pods that a label selector selects, in the order of their names.
    pub fn pods(&self, selector: &str) -> Vec<Pod> {
        let text = self.kubectl(&["get", "pods", "--selector", selector, "--output", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().expect("a list").iter().map(|object| Pod::of(object.clone())).collect()
    }

    /// What a Pod has printed so far, by its name; nothing if it was never started.
    pub fn log(&self, pod: &str) -> String {
        let path = self.cluster.folder().join("pods").join(format!("{}_{pod}.log", self.name));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// The last lines of what each Pod has printed.
    fn ends_of_logs(&self) -> String {
        let prefix = format!("{}_", self.name);
        let entries = std::fs::read_dir(self.cluster.folder().join("pods")).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let pods = names.filter_map(|name| Some(name.strip_prefix(&prefix)?.strip_suffix(".log")?.to_owned()));
        pods.map(|pod| {
            let log = self.log(&pod);
            let lines: Vec<_> = log.lines().collect();
            format!("== log of {pod}\n{}\n", lines[lines.len().saturating_sub(20)..].join("\n"))
        })
        .collect()
    }

    /// Waits until `happened`, which is asked again and again.
    pub fn wait_until(&self, what: &str, mut happened: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !happened() {
            if Instant::now() > deadline {
                let pods = self.try_kubectl(&["describe", "pods"]).unwrap_or_else(|error| error);
                panic!("in namespace {}, {what}: did not happen\n{pods}\n{}", self.name, self.ends_of_logs());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Pod {
    fn of(object: Value) -> Self {
        let conditions = object["status"]["conditions"].as_array();
        let ready =
            conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
        Self {
            name: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            address: object["status"]["podIP"].as_str().and_then(|address| address.parse().ok()),
            ready,
            terminating: !object["metadata"]["deletionTimestamp"].is_null(),
            object,
        }
    }

    /// Its address with a port.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address.unwrap_or_else(|| panic!("{} has no address", self.name)), port)
    }

    /// The description that an echo on this port gives; nothing if it does not answer.
    pub fn echo(&self, port: u16) -> Option<Value> {
        let answer = Client::connect(self.at(port)).ok()?.get("echo", "/").ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    /// How often its first container was started again.
    pub fn restarts(&self) -> u64 {
        self.object["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        // Gone with the cluster is as good.
        let _ = self.cluster.try_kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}
