//! Settings: what the flags say about translation. The same for files and for a cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use genkan_routing::model::Certificate;

use crate::label_selector::LabelSelector;
use crate::resources::NamespacedName;

/// The ConfigMap that directory mode reads without `--configmap`: the one that ingress-nginx's chart makes, so that
/// manifests exported from a cluster mean the same here.
pub const DEFAULT_CONFIG_MAP: &str = "ingress-nginx/ingress-nginx-controller";

/// Inputs of translation that are not objects. Names and defaults are ingress-nginx's flags where one exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `--ingress-class`: the value of the annotation `kubernetes.io/ingress.class` that is ours (`nginx`).
    pub ingress_class: String,
    /// `--controller-class`: the `spec.controller` of IngressClasses that are ours (`k8s.io/ingress-nginx`).
    pub controller_class: String,
    /// Whether IngressClasses with `genkan.dev/ingress-controller` are ours besides: unless `--controller-class` says
    /// which are, as of several controllers in a cluster each has its own (true).
    pub own_controller_class: bool,
    /// `--ingress-class-by-name`: IngressClasses named like `ingress_class` are ours too (false).
    pub ingress_class_by_name: bool,
    /// `--watch-ingress-without-class` (false; true in directory mode).
    pub watch_ingress_without_class: bool,
    /// `--annotations-prefix` (`nginx.ingress.kubernetes.io`).
    pub annotations_prefix: String,
    /// `--gateway-controller-name`: the `spec.controllerName` of GatewayClasses that are ours
    /// (`genkan.dev/gateway-controller`).
    pub gateway_controller_name: String,
    /// `--configmap`.
    pub config_map: Option<NamespacedName>,
    /// Whether a missing ConfigMap is a problem: not when its name is only a default (true).
    pub config_map_required: bool,
    /// `--tcp-services-configmap`.
    pub tcp_services_config_map: Option<NamespacedName>,
    /// `--udp-services-configmap`.
    pub udp_services_config_map: Option<NamespacedName>,
    /// `--default-backend-service`.
    pub default_backend_service: Option<NamespacedName>,
    /// `--default-ssl-certificate`.
    pub default_ssl_certificate: Option<NamespacedName>,
    /// What is shown where no usable `default_ssl_certificate` is: made at start, see
    /// [`generate_fallback`](crate::certificate::generate_fallback). Without it such handshakes are refused.
    pub fallback_certificate: Option<Arc<Certificate>>,
    /// `--watch-namespace`: nothing of other namespaces is read. `None`: of all.
    pub watch_namespace: Option<Arc<str>>,
    /// `--watch-namespace-selector`: Ingresses, Gateways and routes of other namespaces are not served. `None`: of all.
    pub namespace_selector: Option<LabelSelector>,
    /// `--disable-catch-all` (false).
    pub disable_catch_all: bool,
    /// `--disable-svc-external-name` (false).
    pub disable_external_name: bool,
    /// `--enable-ssl-passthrough` (false).
    pub ssl_passthrough: bool,
    /// `--bind-address`; empty binds every address.
    pub bind_addresses: Vec<IpAddr>,
    /// `--http-port` (80; 8080 in directory mode).
    pub http_port: u16,
    /// `--https-port` (443; 8443 in directory mode).
    pub https_port: u16,
    /// `--healthz-port` (10254): not for TCP and UDP services.
    pub healthz_port: u16,
    /// The port of `--validating-webhook`.
    pub webhook_port: Option<u16>,
    /// Gateway listener ports that are served on another port: 80 on `http_port` and 443 on `https_port` in directory
    /// mode, where those ports need privileges.
    pub gateway_ports: BTreeMap<u16, u16>,
    /// Whether a Gateway has an address of a pool only once that is recorded on its Service, as it must be where there
    /// are replicas (false; true in a cluster).
    pub record_addresses: bool,
    /// `--update-status` (true): whether statuses tell what Gateways have, which no tenant can write.
    pub update_status: bool,
    /// `--gateway-target-ports`, where `--gateway-service` says which Service leads to us: ports of ours that Services of
    /// Gateways lead to, and nothing else is served at. `None`: Gateways have no Services.
    pub target_ports: Option<RangeInclusive<u16>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ingress_class: "nginx".to_owned(),
            controller_class: "k8s.io/ingress-nginx".to_owned(),
            own_controller_class: true,
            ingress_class_by_name: false,
            watch_ingress_without_class: false,
            annotations_prefix: "nginx.ingress.kubernetes.io".to_owned(),
            gateway_controller_name: "genkan.dev/gateway-controller".to_owned(),
            config_map: None,
            config_map_required: true,
            tcp_services_config_map: None,
            udp_services_config_map: None,
            default_backend_service: None,
            default_ssl_certificate: None,
            fallback_certificate: None,
            watch_namespace: None,
            namespace_selector: None,
            disable_catch_all: false,
            disable_external_name: false,
            ssl_passthrough: false,
            bind_addresses: Vec::new(),
            http_port: 80,
            https_port: 443,
            healthz_port: 10254,
            webhook_port: None,
            gateway_ports: BTreeMap::new(),
            record_addresses: false,
            update_status: true,
            target_ports: None,
        }
    }
}

impl Settings {
    /// Whether a port is kept for Services of Gateways.
    pub fn is_target_port(&self, number: u16) -> bool {
        self.target_ports.as_ref().is_some_and(|range| range.contains(&number))
            && self.own_ports().all(|port| port != number)
    }

    /// The ports that flags say.
    pub fn own_ports(&self) -> impl Iterator<Item = u16> {
        [self.http_port, self.https_port, self.healthz_port].into_iter().chain(self.webhook_port)
    }

    /// The defaults of directory mode: unprivileged ports, Ingresses without a class are served.
    pub fn directory_mode() -> Self {
        let (http_port, https_port) = (8080, 8443);
        Self {
            watch_ingress_without_class: true,
            http_port,
            https_port,
            gateway_ports: BTreeMap::from([(80, http_port), (443, https_port)]),
            ..Self::default()
        }
    }
}
