//! Led: which ports of our Pods connections come to through Services of Gateways, as EndpointSlices say.
//!
//! A Gateway that no longer has a port is soon forgotten, and what leads there is not: its Service waits for a load
//! balancer to be taken down, is of a namespace that is no longer served, or somebody wrote into it. Whoever got the port
//! meanwhile would answer another's clients. Slices are what connections follow, and what tenants have no right to write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::resources::{EndpointSlice, Key, Kind, NamespacedName, Resources};
use crate::translate::reader::{Dependency, Dirty};

/// The slices that are kept for Services of Gateways.
#[derive(Debug, Default)]
pub(crate) struct Led {
    slices: BTreeMap<NamespacedName, Leading>,
}

/// Where a slice leads.
#[derive(Debug, PartialEq, Eq)]
struct Leading {
    service: NamespacedName,
    ports: BTreeSet<u16>,
}

/// By whom each port is led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LedPorts(BTreeMap<u16, By>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum By {
    One(NamespacedName),
    Several,
}

impl Led {
    /// Follows the changes; all is read when `first`. Returns whether any slice leads elsewhere now.
    pub(crate) fn update(&mut self, resources: &Resources, first: bool, dirty: &Dirty) -> bool {
        if first {
            let all = resources.endpoint_slices.iter();
            self.slices = all.filter_map(|(name, slice)| Some((name.clone(), Leading::read(name, slice)?))).collect();
            return true;
        }
        let mut any = false;
        for dependency in dirty {
            if let Dependency::Object(Key { kind: Kind::EndpointSlice, name }) = dependency {
                let now = resources.endpoint_slices.get(name).and_then(|slice| Leading::read(name, slice));
                any |= self.slices.get(name) != now.as_ref();
                match now {
                    Some(now) => drop(self.slices.insert(name.clone(), now)),
                    None => drop(self.slices.remove(name)),
                }
            }
        }
        any
    }

    /// By whom each port is led to; of a namespace as many as it may have: nobody takes all of them by writing slices.
    pub(crate) fn ports(&self, of_namespace: usize) -> LedPorts {
        let mut counts: BTreeMap<&Arc<str>, BTreeSet<u16>> = BTreeMap::new();
        let mut ports = LedPorts::default();
        for Leading { service, ports: led } in self.slices.values() {
            let counted = counts.entry(&service.namespace).or_default();
            for port in led {
                if counted.len() < of_namespace || counted.contains(port) {
                    counted.insert(*port);
                    ports.add(*port, service);
                }
            }
        }
        ports
    }
}

impl Leading {
    fn read(name: &NamespacedName, slice: &EndpointSlice) -> Option<Self> {
        let service = slice.service.as_ref().filter(|_| slice.of_gateway && !slice.endpoints.is_empty())?;
        Some(Self {
            service: NamespacedName::new(name.namespace.clone(), service.clone()),
            ports: slice.ports.iter().map(|port| port.number).collect(),
        })
    }
}

impl LedPorts {
    fn add(&mut self, port: u16, service: &NamespacedName) {
        let by = self.0.entry(port).or_insert_with(|| By::One(service.clone()));
        if *by != By::One(service.clone()) {
            *by = By::Several;
        }
    }

    /// Whether another Service than this one leads to a port.
    pub(crate) fn is_led_by_another(&self, port: u16, service: &NamespacedName) -> bool {
        match self.0.get(&port) {
            None => false,
            Some(By::One(one)) => one != service,
            Some(By::Several) => true,
        }
    }

    /// Whether any Service leads to a port.
    pub(crate) fn is_led(&self, port: u16) -> bool {
        self.0.contains_key(&port)
    }
}

#[cfg(test)]
impl LedPorts {
    /// That these Services lead to these ports.
    pub(crate) fn of(all: &[(u16, &NamespacedName)]) -> Self {
        let mut ports = Self::default();
        all.iter().for_each(|(port, service)| ports.add(*port, service));
        ports
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::{Object, SLICE_KEEPER};

    fn slice(namespace: &str, name: &str, service: &str, ports: &[u16], keeper: &str) -> Object {
        let ports: Vec<_> = ports.iter().map(|port| json!({"port": port})).collect();
        let labels = json!({"kubernetes.io/service-name": service, SLICE_KEEPER.0: keeper});
        let slice = json!({
            "metadata": {"namespace": namespace, "name": name, "labels": labels}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.1.0.1"]}], "ports": ports,
        });
        Object::EndpointSlice(Arc::new(serde_json::from_value(slice).unwrap()))
    }

    #[test]
    fn ports_are_led_to_by_the_services_whose_slices_we_keep() {
        let mut resources = Resources::default();
        let ours = SLICE_KEEPER.1;
        resources.apply(slice("x", "a-1", "a", &[20000, 20001], ours));
        resources.apply(slice("x", "a-2", "a", &[20000], ours));
        resources.apply(slice("y", "a-1", "a", &[20001], ours));
        resources.apply(slice("x", "b-1", "b", &[20002], "endpointslice-controller.k8s.io"));
        let mut led = Led::default();
        assert!(led.update(&resources, true, &Dirty::default()));
        let ports = led.ports(9);
        let [a, b] = ["a", "b"].map(|name| NamespacedName::new("x", name));
        assert!(!ports.is_led_by_another(20000, &a) && ports.is_led_by_another(20000, &b));
        assert!(ports.is_led_by_another(20001, &a), "one in the other namespace");
        assert!(!ports.is_led(20002));
        // Nothing that changes at the endpoints of one matters.
        let key = Key::new(Kind::EndpointSlice, "y", "a-1");
        let dirty: Dirty = [Dependency::Object(key.clone())].into_iter().collect();
        assert!(!led.update(&resources, false, &dirty));
        assert!(resources.remove(&key) && led.update(&resources, false, &dirty));
        assert!(!led.ports(9).is_led_by_another(20001, &a));
    }

    #[test]
    fn of_a_namespace_no_more_ports_count_than_it_may_have() {
        let mut resources = Resources::default();
        resources.apply(slice("x", "a-1", "a", &(20000..20090).collect::<Vec<_>>(), SLICE_KEEPER.1));
        resources.apply(slice("y", "a-1", "a", &[20095], SLICE_KEEPER.1));
        let mut led = Led::default();
        led.update(&resources, true, &Dirty::default());
        let ports = led.ports(10);
        assert_eq!((20000..20100).filter(|port| ports.is_led(*port)).count(), 11);
        assert!(ports.is_led(20095));
    }
}
