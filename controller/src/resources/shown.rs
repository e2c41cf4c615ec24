//! Shown: what the status of a Gateway says about where it is reached. Controllers write it and tenants can't, so it tells
//! whether what stands in a tenant's namespace besides is true.

use std::net::IpAddr;

use serde_json::Value;

/// What the status of a Gateway says about where it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `status.addresses` of type `IPAddress`.
    pub addresses: Box<[IpAddr]>,
}

impl Shown {
    /// Reads a Gateway as the API server has it.
    pub fn read(gateway: &Value) -> Self {
        let addresses = gateway.pointer("/status/addresses").and_then(Value::as_array);
        let ip = |entry: &Value| entry.get("value").and_then(Value::as_str)?.parse().ok();
        Self { addresses: addresses.into_iter().flatten().filter_map(ip).collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_that_are_none_are_left_out() {
        let addresses = json!([{"type": "IPAddress", "value": "10.0.0.1"}, {"type": "Hostname", "value": "lb.test"}]);
        let shown = Shown::read(&json!({"status": {"addresses": addresses}}));
        assert_eq!(shown.addresses[..], [IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(Shown::read(&json!({"spec": {}})), Shown::default());
    }
}
