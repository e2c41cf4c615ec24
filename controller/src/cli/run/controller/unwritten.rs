//! What is said at Gateways whose Services can't be written: without them they get no addresses. And at Services that are
//! to go and can't be deleted: a load balancer costs something, and leads to ports that nobody listens on.

use std::collections::BTreeMap;

use genkan_routing::name::Origin;
use genkan_routing::report::Problem;

use crate::resources::{Key, Kind, NamespacedName};
use crate::status::Unwritten;
use crate::translate::Infrastructure;

/// The API's word for a Gateway without an address.
const REASON: &str = "AddressNotAssigned";

/// A problem for each Gateway whose Service can't be written as it is wanted, and each Service that can't be deleted.
pub(super) fn problems(unwritten: &Unwritten, wanted: &BTreeMap<NamespacedName, Infrastructure>) -> Vec<Problem> {
    let told = unwritten.iter().filter_map(|(name, code)| match wanted.get(name) {
        Some(Infrastructure::Service(service)) => {
            let gateway = Key::new(Kind::Gateway, name.namespace.clone(), service.gateway.clone());
            let origin = Origin::new(gateway.object_ref(), "");
            Some(Problem::error(origin, REASON, message(name, *code)).with_mend(mend(*code)))
        }
        Some(Infrastructure::Nothing) => {
            let service = Key::new(Kind::Service, name.namespace.clone(), name.name.clone());
            let why = cause(*code);
            let message = format!("Service {name}, which a Gateway no longer needs, can't be deleted: {why}");
            let mend = "delete it, or allow the controller to (the chart: rbac.gatewayServices)";
            Some(Problem::warning(Origin::new(service.object_ref(), ""), REASON, message).with_mend(mend))
        }
        Some(Infrastructure::Idle) | None => None,
    });
    told.collect()
}

fn message(service: &NamespacedName, code: u16) -> String {
    format!("Service {service}, which records where the Gateway is reached, can't be written: {}", cause(code))
}

fn cause(code: u16) -> String {
    if code == 0 { "no answer".to_owned() } else { format!("HTTP status {code}") }
}

fn mend(code: u16) -> &'static str {
    match code {
        403 => {
            "allow the controller to create, patch and delete services (the chart: rbac.gatewayServices), and look \
             for quotas and webhooks in the namespace"
        }
        _ => "see the log of the replica that leads",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use genkan_routing::report::Severity;

    use super::*;
    use crate::translate::GatewayService;

    #[test]
    fn a_gateway_is_told_why_it_gets_no_address_and_a_service_why_it_stays() {
        let [wanted, gone] = ["edge-gateway", "gone"].map(|name| NamespacedName::new("web", name));
        let service = GatewayService {
            gateway: "edge".into(),
            owner: "1".into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            spec: None,
        };
        let infrastructure = BTreeMap::from([
            (wanted.clone(), Infrastructure::Service(Arc::new(service))),
            (gone.clone(), Infrastructure::Nothing),
        ]);
        let told = problems(&Arc::new([(wanted, 403), (gone, 403)].into()), &infrastructure);
        assert_eq!(told.len(), 2);
        assert_eq!(
            (told[1].origin.object.to_string(), told[1].severity),
            ("Service web/gone".to_owned(), Severity::Warning)
        );
        assert_eq!(told[0].origin.object.to_string(), "Gateway web/edge");
        assert!(told[0].message.ends_with("HTTP status 403") && told[0].mend.contains("rbac.gatewayServices"));
    }
}
