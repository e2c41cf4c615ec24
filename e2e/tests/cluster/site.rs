//! What tests of the controller begin with: a namespace and a class of their own, and `genkan controller` for them.

use std::path::PathBuf;

use genkan_e2e::cluster::{Namespace, Pod};
use genkan_e2e::http1;
use genkan_e2e::{Cluster, Genkan, Options};
use serde_json::json;

use crate::peers;

/// A namespace and a class of its own.
pub(crate) struct Site<'c> {
    /// The namespace; the class has its name.
    pub(crate) namespace: Namespace<'c>,
}

impl Site<'static> {
    /// In the cluster that all tests share.
    pub(crate) fn new(prefix: &str) -> Self {
        Site::within(Cluster::shared(), prefix)
    }
}

impl<'c> Site<'c> {
    /// In a cluster.
    pub(crate) fn within(cluster: &'c Cluster, prefix: &str) -> Self {
        let site = Self { namespace: cluster.namespace(prefix) };
        site.namespace.apply(&format!(
            "{{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {{name: {}}}, spec: {{controller: {}}}}}",
            site.class(),
            site.controller()
        ));
        site
    }

    /// The name of the class.
    pub(crate) fn class(&self) -> &str {
        self.namespace.name()
    }

    /// The `spec.controller` of the class.
    pub(crate) fn controller(&self) -> String {
        format!("genkan.test/{}", self.class())
    }

    /// Starts a controller of the class that writes no status, and waits until it is ready.
    pub(crate) fn control(&self, arguments: &[&str]) -> Genkan {
        self.control_as("genkan-0", &[&["--update-status=false"], arguments].concat())
    }

    /// Starts a controller of the class in a Pod of this name, and waits until it is ready.
    pub(crate) fn control_as(&self, pod: &str, arguments: &[&str]) -> Genkan {
        Genkan::control(&self.kubeconfig(), self.options(pod, arguments))
    }

    /// Starts a controller of the class in a Pod `genkan` that writes no status, on its usual ports, and waits until it
    /// is ready.
    pub(crate) fn pod(&self, arguments: &[&str]) -> Pod {
        peers::allow_everything(&self.namespace);
        let always = ["--update-status=false", "--post-shutdown-grace-period=0"];
        let options = self.options("genkan", &[&always, arguments].concat());
        let arguments: Vec<_> = std::iter::once("controller".to_owned()).chain(options.arguments).collect();
        let environment: Vec<_> =
            options.environment.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let probe = json!({"httpGet": {"path": "/readyz", "port": 10254}, "periodSeconds": 1});
        let container =
            json!({"name": "main", "image": "genkan", "args": arguments, "env": environment, "readinessProbe": probe});
        peers::start(&self.namespace, "genkan", &json!({"containers": [container]}))
    }

    /// What a controller of the class is started with.
    pub(crate) fn options(&self, pod: &str, arguments: &[&str]) -> Options {
        let class = [format!("--controller-class={}", self.controller()), format!("--ingress-class={}", self.class())];
        let arguments = class.into_iter().chain(arguments.iter().map(|argument| (*argument).to_owned())).collect();
        let environment = [("POD_NAMESPACE", self.class()), ("POD_NAME", pod)];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Options { arguments, environment, ..Options::default() }
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.namespace.cluster().kubeconfig()
    }

    /// A kubeconfig of a ServiceAccount in the namespace.
    pub(crate) fn kubeconfig_of(&self, account: &str) -> PathBuf {
        let token = self.namespace.kubectl(&["create", "token", account]);
        let text = self.namespace.kubectl(&["config", "view", "--raw", "--output", "json"]);
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config["users"][0]["user"] = serde_json::json!({"token": token.trim()});
        let path = self.namespace.cluster().folder().join(format!("{}-{account}.kubeconfig", self.class()));
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// An Ingress of the class for all of a host.
    pub(crate) fn ingress(&self, name: &str, host: &str, service: &str, annotations: &[(&str, &str)]) -> String {
        let annotations: String = annotations
            .iter()
            .map(|(key, value)| format!("    nginx.ingress.kubernetes.io/{key}: '{value}'\n"))
            .collect();
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  annotations:\n    a.test/b: c\n\
             {annotations}spec:\n  ingressClassName: {}\n  rules:\n  - host: {host}\n    http:\n      paths:\n      \
             - path: /\n        pathType: Prefix\n        backend: {{service: {{name: {service}, port: {{number: 80}}}}}}\n\
             ---\n",
            self.class()
        )
    }

    /// The object's `status.loadBalancer.ingress`, as `1.2.3.4 lb.test`.
    pub(crate) fn published(&self, ingress: &str) -> String {
        let path = "{range .status.loadBalancer.ingress[*]}{.ip}{.hostname} {end}";
        let text = self.namespace.kubectl(&["get", "ingress", ingress, "--output", &format!("jsonpath={path}")]);
        text.trim().to_owned()
    }

    /// The reasons of the Events about an object, sorted, each once.
    pub(crate) fn events(&self, object: &str) -> Vec<String> {
        let selector = format!("regarding.name={object}");
        let path = "jsonpath={range .items[*]}{.reason} {end}";
        let arguments = ["get", "events.events.k8s.io", "--field-selector", &selector, "--output", path];
        let mut reasons: Vec<_> = self.namespace.kubectl(&arguments).split_whitespace().map(str::to_owned).collect();
        reasons.sort();
        reasons.dedup();
        reasons
    }
}

/// A Deployment of echoes that answer with their Pod's name on port 8080, and its Service. Its Pods are spread over the
/// nodes whatever else runs there: the scheduler alone would rather look at what the nodes have left.
pub(crate) fn echoes(name: &str, replicas: u32) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: DoNotSchedule
        labelSelector: {{matchLabels: {{app: {name}}}}}
      terminationGracePeriodSeconds: 30
      containers:
      - name: echo
        image: echo
        args: ["--listen", "0.0.0.0:8080", "--name", "$(POD)"]
        env: [{{name: POD, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
        lifecycle: {{preStop: {{sleep: {{seconds: 2}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: http}}]}}
---
"#
    )
}

/// A Service without Pods whose one endpoint is at this address, through an EndpointSlice of its own.
pub(crate) fn fixed_service(name: &str, address: std::net::SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, labels: \
         {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{port: {port}}}]\n\
         endpoints: [{{addresses: ['{ip}'], conditions: {{ready: true}}}}]\n---\n"
    )
}

/// Whether a controller says that it leads.
pub(crate) fn leads(genkan: &Genkan) -> bool {
    let metrics = genkan.admin_get("/metrics").1;
    metrics
        .lines()
        .any(|line| line.starts_with("nginx_ingress_controller_leader_election_status{") && line.ends_with(" 1"))
}

/// The status of `GET /`; 0 when there is no answer.
pub(crate) fn status(genkan: &Genkan, host: &str) -> u16 {
    http1::Client::connect(genkan.http()).ok().and_then(|mut client| client.get(host, "/").ok()).map_or(0, |a| a.status)
}

/// The name of the backend that answers `GET /`; the status where there is none.
pub(crate) fn backend(genkan: &Genkan, host: &str) -> String {
    let answer = http1::get(genkan.http(), host, "/");
    answer.field("x-echo-name").map_or_else(|| answer.status.to_string(), str::to_owned)
}
