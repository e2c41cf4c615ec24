//! Infrastructure: the objects that are kept in the cluster for a Gateway, as they are to be.
//!
//! A Gateway with addresses of a pool has a Service without selector and ports. It records the addresses, so that every
//! replica and every restart agrees, and carries the labels and annotations of `spec.infrastructure`. A Gateway with a
//! Service of its own has one whose ports lead to ports of our Pods, which it records by that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use gateway_api::apis::experimental::gateways::Gateway;
use genkan_policies::{ExternalTrafficPolicy, ServiceKind, ServiceTemplate};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};

use super::target_ports::Target;
use crate::resources::{GATEWAY_CONTROLLER, GATEWAY_NAME, NamespacedName, OfGateway, PublicPort, Service, Wire};
use crate::translate::reader::Reader;

/// A Service's name and a label's value are no longer than this.
const MAX_NAME: usize = 63;

/// What is to become of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Infrastructure {
    /// It is to be so.
    Service(Arc<GatewayService>),
    /// It stays and leads nowhere, as there is nothing that it could lead to.
    Idle,
    /// It is ours, and to go.
    Nothing,
}

/// The Service of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayService {
    /// The Gateway's name; its namespace is the Service's.
    pub gateway: Arc<str>,
    /// The Gateway's uid.
    pub owner: Arc<str>,
    /// Everything that its labels are to have.
    pub labels: BTreeMap<String, String>,
    /// Everything that its annotations are to have.
    pub annotations: BTreeMap<String, String>,
    /// What it is like. `None`: it has neither ports nor an address, and only records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<ServiceSpec>,
}

/// What a Service that leads to our Pods is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `type`.
    #[serde(rename = "type")]
    pub kind: ServiceKind,
    /// `ports`, in order.
    pub ports: Vec<TargetPort>,
    /// `loadBalancerClass`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer_class: Option<String>,
    /// `externalTrafficPolicy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// `loadBalancerIP`, or `clusterIP` where the cluster gives the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

/// A port of a Service, and the port of our Pods that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetPort {
    /// As clients see it.
    #[serde(flatten)]
    pub public: PublicPort,
    /// `targetPort`.
    pub target: u16,
}

impl ServiceSpec {
    /// A Service of this kind with these ports.
    pub(crate) fn new(template: &ServiceTemplate, ports: &[Target], address: Option<IpAddr>) -> Self {
        let balanced = template.kind() == ServiceKind::LoadBalancer;
        let mut ports: Vec<_> =
            ports.iter().map(|(public, target)| TargetPort { public: *public, target: *target }).collect();
        ports.sort_unstable();
        Self {
            kind: template.kind(),
            ports,
            load_balancer_class: template.load_balancer_class.clone().filter(|_| balanced),
            external_traffic_policy: template
                .external_traffic_policy
                .filter(|_| template.kind() != ServiceKind::ClusterIp),
            address,
        }
    }
}

impl TargetPort {
    /// The name of the port: it is the same as long as clients see the same port, so that its node port stays.
    pub fn name(self) -> String {
        format!("{}-{}", self.public.wire.as_str(), self.public.number)
    }
}

impl GatewayService {
    /// The label that says what made an object.
    pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "genkan");
    /// The annotation with the addresses, separated by commas.
    pub const ADDRESSES: &str = "genkan.dev/addresses";
    /// The annotation with the `controllerName` of who keeps the Service: there may be several Genkans in a cluster.
    pub const CONTROLLER: &str = GATEWAY_CONTROLLER;
    /// The annotation that notes which labels and annotations the Gateway gives ([`GivenKeys`]), so that they go with it;
    /// not there when it gives none.
    pub const GIVEN: &str = "genkan.dev/infrastructure";

    /// The `controllerName` of who keeps it.
    pub fn controller(&self) -> &str {
        self.annotations.get(Self::CONTROLLER).map_or("", String::as_str)
    }
}

/// The keys of what a Gateway gives its Service in `spec.infrastructure`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GivenKeys {
    /// Those of annotations.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub annotations: BTreeSet<String>,
    /// Those of labels.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
}

impl GivenKeys {
    /// Reads what [`Display`](fmt::Display) writes. Versions before wrote something else, of which nothing is known.
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

impl fmt::Display for GivenKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Lists of texts: nothing can go wrong.
        formatter.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

/// What a Gateway's Service says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Record {
    /// There is none.
    #[default]
    Missing,
    /// It is the Gateway's.
    Own(Box<Recorded>),
    /// It was made for a Gateway of this name that is no more.
    Stale,
    /// Somebody else made it.
    Foreign,
}

/// What the Service of a Gateway tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// The addresses of a pool that it says the Gateway has.
    addresses: Vec<IpAddr>,
    /// The ports that it leads to.
    ports: Vec<Target>,
    /// Its type.
    pub(crate) kind: Box<str>,
    /// Where it is reached inside of the cluster.
    pub(crate) cluster_ips: Box<[IpAddr]>,
    /// Where its load balancer is reached: IP addresses, or names.
    pub(crate) balancer: Box<[Box<str>]>,
}

/// What a Gateway says about its Service, and what there is of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The Gateway's uid.
    pub(crate) uid: Arc<str>,
    /// `spec.infrastructure.labels`.
    labels: BTreeMap<String, String>,
    /// `spec.infrastructure.annotations`.
    annotations: BTreeMap<String, String>,
    /// The Service as it is.
    pub(crate) record: Record,
}

impl Wish {
    /// Reads a Gateway and its Service.
    pub(crate) fn read(name: &NamespacedName, gateway: &Gateway, reader: &Reader<'_>) -> Self {
        let infrastructure = gateway.spec.infrastructure.as_ref();
        let uid = gateway.metadata.uid.as_deref().unwrap_or_default();
        Self {
            uid: uid.into(),
            labels: infrastructure.and_then(|it| it.labels.clone()).unwrap_or_default(),
            annotations: infrastructure.and_then(|it| it.annotations.clone()).unwrap_or_default(),
            record: match reader.settings().record_addresses.then(|| reader.service(&service_of(name))).flatten() {
                None => Record::Missing,
                Some(service) => read_record(service, uid, &reader.settings().gateway_controller_name),
            },
        }
    }

    /// The Service that is to be: one that records these addresses.
    pub(crate) fn service(&self, gateway: &NamespacedName, addresses: &[IpAddr], controller: &str) -> GatewayService {
        let mut service = self.leading(gateway, None, controller);
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        service.annotations.insert(GatewayService::ADDRESSES.to_owned(), addresses.join(","));
        service
    }

    /// The Service that is to be: one like this.
    pub(crate) fn leading(
        &self,
        gateway: &NamespacedName,
        spec: Option<ServiceSpec>,
        controller: &str,
    ) -> GatewayService {
        let (mut labels, mut annotations) = (self.labels.clone(), self.annotations.clone());
        if !labels.is_empty() || !annotations.is_empty() {
            let given = GivenKeys {
                annotations: annotations.keys().cloned().collect(),
                labels: labels.keys().cloned().collect(),
            };
            annotations.insert(GatewayService::GIVEN.to_owned(), given.to_string());
        }
        let (key, value) = GatewayService::MANAGED_BY;
        labels.insert(key.to_owned(), value.to_owned());
        labels.insert(GATEWAY_NAME.to_owned(), label_value(&gateway.name));
        // Of what a Gateway gives, this would be a record.
        annotations.remove(GatewayService::ADDRESSES);
        annotations.insert(GatewayService::CONTROLLER.to_owned(), controller.to_owned());
        GatewayService { gateway: gateway.name.clone(), owner: self.uid.clone(), labels, annotations, spec }
    }
}

impl Record {
    /// The Service, if it is the Gateway's.
    pub(crate) fn own(&self) -> Option<&Recorded> {
        match self {
            Self::Own(recorded) => Some(recorded),
            Self::Missing | Self::Stale | Self::Foreign => None,
        }
    }

    /// The addresses that are recorded.
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        self.own().map(|recorded| &recorded.addresses[..]).unwrap_or_default()
    }

    /// The ports that are recorded.
    pub(crate) fn ports(&self) -> &[Target] {
        self.own().map(|recorded| &recorded.ports[..]).unwrap_or_default()
    }
}

impl OfGateway {
    /// Whether a Genkan made it.
    pub(crate) fn is_managed(&self) -> bool {
        let (key, value) = GatewayService::MANAGED_BY;
        self.labels.get(key).is_some_and(|by| by == value)
    }

    /// Whether this controller keeps it for the Gateway of this uid, or for one of its name that is no more. One that
    /// lost its labels or its owner is adopted.
    pub(crate) fn is_kept_by(&self, controller: &str, uid: &str) -> bool {
        self.annotations.get(GatewayService::CONTROLLER).is_some_and(|name| name == controller)
            && (self.is_managed() || self.owner.as_deref() == Some(uid))
    }

    /// Whether it is another Gateway's than that of this uid.
    pub(crate) fn is_of_another(&self, uid: &str) -> bool {
        self.owner.as_deref().is_some_and(|owner| owner != uid)
    }
}

/// What a Service says that the writer of infrastructure takes for ours as well: else nobody would mend it.
fn read_record(service: &Service, uid: &str, controller: &str) -> Record {
    match service.of_gateway.as_deref() {
        Some(kept) if kept.is_kept_by(controller, uid) => {
            if kept.is_of_another(uid) {
                return Record::Stale;
            }
            let texts = kept.annotations.get(GatewayService::ADDRESSES).map_or("", String::as_str).split(',');
            Record::Own(Box::new(Recorded {
                // What is no address was not written by us, and can't be had.
                addresses: texts.filter_map(|text| text.trim().parse().ok()).collect(),
                ports: service.targets().filter(|_| !kept.form.headless).collect(),
                kind: kept.form.kind.clone(),
                cluster_ips: kept.form.cluster_ips.clone(),
                balancer: kept.form.balancer.clone(),
            }))
        }
        _ => Record::Foreign,
    }
}

impl Service {
    /// Its ports that lead to a number.
    pub(crate) fn targets(&self) -> impl Iterator<Item = Target> {
        self.ports.iter().filter_map(|port| {
            let wire = Wire::of_service(port.protocol.as_deref())?;
            let Some(IntOrString::Int(target)) = port.target_port else { return None };
            let public = PublicPort { wire, number: port.port.try_into().ok()? };
            Some((public, target.try_into().ok()?))
        })
    }
}

/// The name of a Gateway's Service. Names of Services are narrower than those of Gateways.
pub(crate) fn service_of(gateway: &NamespacedName) -> NamespacedName {
    let plain = format!("{}-gateway", gateway.name);
    let fits = plain.len() <= MAX_NAME && !plain.contains('.') && plain.starts_with(|c: char| c.is_ascii_lowercase());
    let name = if fits { plain } else { with_digest("gateway-", &gateway.name.replace('.', "-"), &gateway.name) };
    NamespacedName::new(gateway.namespace.clone(), name)
}

/// A Gateway's name as the value of a label.
fn label_value(name: &str) -> String {
    if name.len() <= MAX_NAME { name.to_owned() } else { with_digest("", name, name) }
}

/// As much of `text` as fits, and a digest of `whole` that tells it from others.
fn with_digest(prefix: &str, text: &str, whole: &str) -> String {
    let digest = digest(whole);
    let room = MAX_NAME - prefix.len() - digest.len() - 1;
    let kept: String = text.chars().take(room).collect();
    format!("{prefix}{kept}-{digest}")
}

/// The same in every version of Genkan.
fn digest(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_after_its_gateway_as_far_as_names_of_services_go() {
        let named = |name: &str| service_of(&NamespacedName::new("default", name)).name.to_string();
        assert_eq!(named("edge"), "edge-gateway");
        assert_eq!(named("a.b"), "gateway-a-b-2e7336dc");
        assert_ne!(named("a.b"), named("a-b"));
        assert_eq!(named("1"), "gateway-1-6b86b273");
        let (one, other) = (named(&format!("{}1", "x".repeat(80))), named(&format!("{}2", "x".repeat(80))));
        assert!(one != other && one.len() == MAX_NAME && other.len() == MAX_NAME, "{one} {other}");
    }

    #[test]
    fn a_record_counts_only_on_a_service_that_is_kept_by_us() {
        let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let annotations = pairs(&[(GatewayService::CONTROLLER, "us"), (GatewayService::ADDRESSES, "10.0.0.1, x")]);
        let whole = OfGateway {
            owner: Some("1".into()),
            labels: pairs(&[GatewayService::MANAGED_BY]),
            annotations,
            ..OfGateway::default()
        };
        let service = |kept: &OfGateway| -> Service {
            let mut service: Service = serde_json::from_value(serde_json::json!({"metadata": {"name": "s"}})).unwrap();
            service.of_gateway = Some(Box::new(kept.clone()));
            service
        };
        let read = |kept: &OfGateway| read_record(&service(kept), "1", "us");
        let own =
            Record::Own(Box::new(Recorded { addresses: vec!["10.0.0.1".parse().unwrap()], ..Recorded::default() }));
        assert_eq!(read(&whole), own);
        assert_eq!(read(&OfGateway { labels: BTreeMap::new(), ..whole.clone() }), own, "labels come again");
        assert_eq!(read(&OfGateway { owner: None, ..whole.clone() }), own, "so does an owner");
        assert_eq!(read(&OfGateway { owner: None, labels: BTreeMap::new(), ..whole.clone() }), Record::Foreign);
        assert_eq!(read(&OfGateway { owner: Some("2".into()), ..whole.clone() }), Record::Stale);
        assert_eq!(read(&OfGateway { annotations: BTreeMap::new(), ..whole.clone() }), Record::Foreign);
        assert_eq!(read_record(&service(&whole), "1", "them"), Record::Foreign);
    }

    #[test]
    fn what_we_say_goes_before_what_the_gateway_says() {
        let gateway = NamespacedName::new("default", "edge");
        let pair = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let labels = pair(GatewayService::MANAGED_BY.0, "me");
        let annotations = pair(GatewayService::ADDRESSES, "0.0.0.0");
        let wish = Wish { labels, annotations, ..Wish::default() };
        let service = wish.service(&gateway, &["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()], "genkan.dev/c");
        assert_eq!(service.labels[GatewayService::MANAGED_BY.0], "genkan");
        assert_eq!(service.annotations[GatewayService::ADDRESSES], "10.0.0.1,::1");
        assert_eq!(service.labels[GATEWAY_NAME], "edge");
    }
}
