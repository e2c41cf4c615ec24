//! Flags that several commands share. Names and defaults are ingress-nginx's where it has one.

use std::net::IpAddr;

use clap::{ArgAction, Args};

use super::compatible::boolean;
use crate::resources::NamespacedName;
use crate::settings::{DEFAULT_CONFIG_MAP, Settings};

/// What is Genkan's, and which ports it serves.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What is served")]
pub(super) struct TranslateFlags {
    /// Value of the annotation kubernetes.io/ingress.class that is ours
    #[arg(long, value_name = "NAME", default_value = "nginx")]
    pub(super) ingress_class: String,

    /// spec.controller of the IngressClasses that are ours [default: k8s.io/ingress-nginx, and besides
    /// genkan.dev/ingress-controller]
    #[arg(long, value_name = "NAME")]
    pub(super) controller_class: Option<String>,

    /// IngressClasses named like --ingress-class are ours too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "false", action = ArgAction::Set)]
    pub(super) ingress_class_by_name: bool,

    /// Serve Ingresses that name no class [default: false in a cluster, true for files]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean)]
    pub(super) watch_ingress_without_class: Option<bool>,

    /// Prefix of the annotations
    #[arg(long, value_name = "PREFIX", default_value = "nginx.ingress.kubernetes.io")]
    pub(super) annotations_prefix: String,

    /// spec.controllerName of the GatewayClasses that are ours
    #[arg(long, value_name = "NAME", default_value = "genkan.dev/gateway-controller")]
    pub(super) gateway_controller_name: String,

    /// ConfigMap with the settings of the whole proxy
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_namespaced_name,
        help = format!("ConfigMap with the settings of the whole proxy [default for files: {DEFAULT_CONFIG_MAP}, if there is one]"))]
    pub(super) configmap: Option<NamespacedName>,

    /// ConfigMap of TCP ports to open: PORT: NAMESPACE/SERVICE:PORT[:PROXY[:PROXY]]
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_namespaced_name)]
    pub(super) tcp_services_configmap: Option<NamespacedName>,

    /// ConfigMap of UDP ports to open: PORT: NAMESPACE/SERVICE:PORT
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_namespaced_name)]
    pub(super) udp_services_configmap: Option<NamespacedName>,

    /// Service that answers requests which no rule matches
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_namespaced_name)]
    pub(super) default_backend_service: Option<NamespacedName>,

    /// Secret with the certificate for hosts that have none of their own
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = parse_namespaced_name)]
    pub(super) default_ssl_certificate: Option<NamespacedName>,

    /// Ignore Ingresses that have a spec.defaultBackend
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "false", action = ArgAction::Set)]
    pub(super) disable_catch_all: bool,

    /// ExternalName Services get no endpoints
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "false", action = ArgAction::Set)]
    pub(super) disable_svc_external_name: bool,

    /// The annotation ssl-passthrough acts: TLS connections for its hosts are handed to their Service unopened
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = boolean,
        default_value = "false", action = ArgAction::Set)]
    pub(super) enable_ssl_passthrough: bool,

    /// Address to listen on, several with commas; without it every address
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub(super) bind_address: Vec<IpAddr>,

    /// Port for HTTP; Gateway listeners with port 80 are served here too [default: 80 in a cluster, 8080 for files]
    #[arg(long, value_name = "PORT")]
    pub(super) http_port: Option<u16>,

    /// Port for HTTPS; Gateway listeners with port 443 are served here too [default: 443 in a cluster, 8443 for files]
    #[arg(long, value_name = "PORT")]
    pub(super) https_port: Option<u16>,
}

impl TranslateFlags {
    /// The settings of directory mode with these flags.
    pub(super) fn settings(&self) -> Settings {
        let mut settings = self.over(Settings::directory_mode());
        settings.config_map_required = self.configmap.is_some();
        settings.config_map = settings.config_map.or_else(|| parse_namespaced_name(DEFAULT_CONFIG_MAP).ok());
        settings
    }

    /// The settings of cluster mode with these flags.
    pub(super) fn cluster_settings(&self) -> Settings {
        self.over(Settings { record_addresses: true, ..Settings::default() })
    }

    /// Settings with what the flags say.
    fn over(&self, base: Settings) -> Settings {
        let http_port = self.http_port.unwrap_or(base.http_port);
        let https_port = self.https_port.unwrap_or(base.https_port);
        Settings {
            ingress_class: self.ingress_class.clone(),
            controller_class: self.controller_class.clone().unwrap_or(base.controller_class),
            own_controller_class: self.controller_class.is_none(),
            ingress_class_by_name: self.ingress_class_by_name,
            watch_ingress_without_class: self.watch_ingress_without_class.unwrap_or(base.watch_ingress_without_class),
            annotations_prefix: self.annotations_prefix.clone(),
            gateway_controller_name: self.gateway_controller_name.clone(),
            config_map: self.configmap.clone(),
            tcp_services_config_map: self.tcp_services_configmap.clone(),
            udp_services_config_map: self.udp_services_configmap.clone(),
            default_backend_service: self.default_backend_service.clone(),
            default_ssl_certificate: self.default_ssl_certificate.clone(),
            disable_catch_all: self.disable_catch_all,
            disable_external_name: self.disable_svc_external_name,
            ssl_passthrough: self.enable_ssl_passthrough,
            bind_addresses: self.bind_address.clone(),
            http_port,
            https_port,
            gateway_ports: [(80, http_port), (443, https_port)].into(),
            ..base
        }
    }
}

/// Parses `namespace/name`.
pub(super) fn parse_namespaced_name(text: &str) -> Result<NamespacedName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(NamespacedName::new(namespace, name))
        }
        _ => Err(format!("{text:?} is not of the form NAMESPACE/NAME, as in ingress-nginx/ingress-nginx-controller")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_its_namespace() {
        assert!(parse_namespaced_name("a/b").is_ok());
        for text in ["", "a", "/b", "a/", "a/b/c"] {
            assert!(parse_namespaced_name(text).is_err(), "{text}");
        }
    }
}
