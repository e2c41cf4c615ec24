//! Shown: what the status of a Gateway says about where it is reached. Controllers write it and tenants can't, so it tells
//! whether what stands in a tenant's namespace besides is true.
//!
//! The API has no field for the ports of our Pods that a Gateway's Service leads to: a condition of our own tells them.

use std::net::IpAddr;

use serde_json::Value;

use super::PublicPort;

/// The type of the condition that tells ports.
pub const TARGET_PORTS: &str = "genkan.dev/TargetPorts";
/// So many ports fit into the message of a condition (API: 32,768 bytes). Others are as well known as a record alone.
const MAX_TOLD: usize = 1000;

/// What the status of a Gateway says about where it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `status.addresses` of type `IPAddress`.
    pub addresses: Box<[IpAddr]>,
    /// Ports of the Gateway, and those of our Pods that its Service leads to.
    pub ports: Box<[(PublicPort, u16)]>,
}

impl Shown {
    /// Reads a Gateway as the API server has it.
    pub fn read(gateway: &Value) -> Self {
        let addresses = gateway.pointer("/status/addresses").and_then(Value::as_array);
        let ip = |entry: &Value| entry.get("value").and_then(Value::as_str)?.parse().ok();
        let conditions = gateway.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let mut told = conditions.filter(|it| it.get("type").and_then(Value::as_str) == Some(TARGET_PORTS));
        let message = told.next().and_then(|condition| condition.get("message")?.as_str()).unwrap_or_default();
        Self {
            addresses: addresses.into_iter().flatten().filter_map(ip).collect(),
            ports: message.split(", ").filter_map(read_port).collect(),
        }
    }

    /// How the condition tells ports.
    pub fn tell<'a>(ports: impl Iterator<Item = (&'a PublicPort, &'a u16)>) -> String {
        let ports: Vec<_> = ports.take(MAX_TOLD).map(|(public, target)| format!("{public} at {target}")).collect();
        ports.join(", ")
    }
}

fn read_port(text: &str) -> Option<(PublicPort, u16)> {
    let (public, target) = text.split_once(" at ")?;
    Some((PublicPort::parse(public)?, target.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::resources::Wire;

    #[test]
    fn ports_that_were_told_are_read() {
        let port = |number| PublicPort { wire: Wire::Tcp, number };
        let ports = BTreeMap::from([(port(80), 20000), (port(443), 20001)]);
        let told = json!({"type": TARGET_PORTS, "message": Shown::tell(ports.iter())});
        let conditions = json!([{"type": "Accepted", "message": "1/tcp at 1"}, told]);
        let shown = Shown::read(&json!({"status": {"conditions": conditions}}));
        assert_eq!(shown.ports[..], ports.into_iter().collect::<Vec<_>>());
        assert!(
            Shown::read(&json!({"status": {"conditions": [{"type": TARGET_PORTS, "message": "x"}]}})).ports.is_empty()
        );
    }

    #[test]
    fn addresses_that_are_none_are_left_out() {
        let addresses = json!([{"type": "IPAddress", "value": "10.0.0.1"}, {"type": "Hostname", "value": "lb.test"}]);
        let shown = Shown::read(&json!({"status": {"addresses": addresses}}));
        assert_eq!(shown.addresses[..], [IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(Shown::read(&json!({"spec": {}})), Shown::default());
    }
}
