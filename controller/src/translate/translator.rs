//! The translator: runs the steps of translation in order, redoing what changes touch.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use genkan_routing::model::Model;
use genkan_routing::name::TableId;

use super::assembly::{Assembly, Batch};
use super::clusters::Clusters;
use super::config::Config;
use super::gateway::GatewayFrontEnd;
use super::gateway::status::Statuses;
use super::ingress::{IngressFrontEnd, TABLE as INGRESS_TABLE, Trial};
use super::listeners::{Joined, Part};
use super::made_once::MadeOnce;
use super::memo::Memo;
use super::policy_index::PolicyIndex;
use super::reader::{Dependency, Dirty};
use super::stream::StreamFrontEnd;
use super::world::{SliceIndex, World, dirty};
use super::{Change, Translation};
use crate::resources::{Ingress, Key, NamespacedName, Resources};
use crate::settings::Settings;

/// Translates again and again, redoing only what changes touch.
#[derive(Debug)]
pub struct Translator {
    settings: Settings,
    seen: bool,
    slices: SliceIndex,
    policies: PolicyIndex,
    made: MadeOnce,
    config: Memo<(), Config>,
    ingress: IngressFrontEnd,
    gateway: GatewayFrontEnd,
    stream: StreamFrontEnd,
    assembly: Assembly,
    clusters: Clusters,
    joined: Joined,
    last: Translation,
    missing: RefCell<BTreeSet<Key>>,
}

impl Translator {
    /// A translator that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            seen: false,
            slices: SliceIndex::default(),
            policies: PolicyIndex::default(),
            made: MadeOnce::default(),
            config: Memo::default(),
            ingress: IngressFrontEnd::default(),
            gateway: GatewayFrontEnd::default(),
            stream: StreamFrontEnd::default(),
            assembly: Assembly::default(),
            clusters: Clusters::default(),
            joined: Joined::default(),
            last: Translation::default(),
            missing: RefCell::default(),
        }
    }

    /// Brings the translation up to `resources`, which differ from those of the last call by exactly `changes`. The
    /// first call looks at everything whatever `changes` says. Equal to [`translate`](super::translate) of the same
    /// resources.
    pub fn update(&mut self, resources: &Resources, changes: &BTreeSet<Change>) -> Translation {
        let first = !std::mem::replace(&mut self.seen, true);
        if first {
            self.slices.rebuild(resources);
            self.policies.rebuild(resources);
        }
        let mut dirty = dirty(changes, resources, &mut self.slices, &mut self.policies);
        let config = self.refresh_config(resources, first, &mut dirty);
        let world = World {
            resources,
            settings: &self.settings,
            slices: &self.slices,
            policies: &self.policies,
            made: &self.made,
            config: Some(&config),
            lent: None,
            missing: &self.missing,
        };
        let mut batch = Batch::default();
        self.ingress.update(&world, first, &mut dirty, &mut batch);
        self.stream.read_maps(&world, first, &dirty, &mut batch);
        self.gateway.update(&world, first, self.stream.held(), &mut dirty, &mut batch);
        self.stream.update(&world, &dirty, &mut batch);
        self.assembly.apply(batch);
        self.clusters.refresh(&world, &dirty, &mut self.assembly);
        self.publish(&config)
    }

    /// Whether somebody refers to an object, there or not.
    pub fn refers_to(&self, key: &Key) -> bool {
        let object = Dependency::Object(key.clone());
        self.config.is_read(&object)
            || self.ingress.is_read(&object)
            || self.gateway.is_read(&object)
            || self.stream.is_read(&object)
    }

    /// Secrets and ConfigMaps that were asked for since the last call and are not in the resources.
    pub fn take_missing(&mut self) -> BTreeSet<Key> {
        self.missing.take()
    }

    /// The flags.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether an Ingress is ours to serve.
    pub fn is_ours(&self, ingress: &NamespacedName) -> bool {
        self.ingress.is_ours(ingress)
    }

    /// Tries an Ingress on what is there: on `resources`, which are those of the last [`Self::update`], and on `lent`
    /// besides. Also gives the Secrets and ConfigMaps that are in neither. Nothing is remembered of it.
    pub fn try_on(
        &self,
        resources: &Resources,
        lent: &Resources,
        name: &NamespacedName,
        ingress: &Ingress,
    ) -> (Trial, BTreeSet<Key>) {
        let config = self.config.get(&()).cloned().unwrap_or_default();
        let missing = RefCell::default();
        let world = World {
            resources,
            settings: &self.settings,
            slices: &self.slices,
            policies: &self.policies,
            made: &self.made,
            config: Some(&config),
            lent: Some(lent),
            missing: &missing,
        };
        let trial = self.ingress.try_on(&world, name, ingress);
        (trial, missing.into_inner())
    }

    /// Reads the ConfigMap; what depends on it is redone only if it says something else.
    fn refresh_config(&mut self, resources: &Resources, first: bool, dirty: &mut Dirty) -> Arc<Config> {
        let world = World {
            resources,
            settings: &self.settings,
            slices: &self.slices,
            policies: &self.policies,
            made: &self.made,
            config: None,
            lent: None,
            missing: &self.missing,
        };
        if first || !self.config.stale(dirty).is_empty() {
            let changed = self.config.refresh(&(), world.reader(), |reader| Some(Config::read(reader)));
            if let Some(changed) = changed {
                self.assembly.remove_problems(changed.old.as_ref().map_or(&[], |old| &old.problems));
                self.assembly.add_problems(changed.new.as_ref().map_or(&[], |new| &new.problems));
                dirty.insert(Dependency::Config);
            }
        }
        self.config.get(&()).cloned().unwrap_or_default()
    }

    /// A new model of the parts; the old one when no part changed.
    fn publish(&mut self, config: &Config) -> Translation {
        // Gateways in front: the catch-all host of the Ingresses would answer everything else on a shared port.
        let of_gateways = self
            .gateway
            .listeners()
            .map(|listener| Part { listener, hostnames: self.gateway.hostnames_beside_ingresses(&listener.id) });
        let others = self.ingress.listeners().iter().chain(self.stream.listeners());
        let others = others.map(|listener| Part { listener, hostnames: None });
        let hosts = self.assembly.tables.get(&TableId::new(INGRESS_TABLE));
        let model = Model {
            listeners: self.joined.join(of_gateways.chain(others), hosts),
            own_addresses: Arc::clone(self.gateway.own_addresses()),
            tables: self.assembly.tables.clone(),
            rules: self.assembly.rules.clone(),
            clusters: self.clusters.parts.clone(),
            certificates: self.assembly.certificates.clone(),
            settings: config.proxy.clone(),
        };
        // Parts that stayed equal stayed at their pointers, where comparison stops at once.
        if model != *self.last.model {
            self.last.model = Arc::new(model);
        }
        self.last.report = self.assembly.report(&self.last.report);
        self.last.infrastructure = self.gateway.infrastructure().clone();
        if self.last.statuses.objects != self.assembly.statuses {
            self.last.statuses = Arc::new(Statuses { objects: self.assembly.statuses.clone() });
        }
        self.last.clone()
    }
}

#[cfg(test)]
mod tests {
    use genkan_routing::model::Verify;
    use serde_json::json;

    use super::*;
    use crate::resources::{Kind, Object};

    fn object<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Arc<T> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn policy(number: usize, hostname: &str) -> Object {
        Object::BackendTlsPolicy(object(json!({
            "metadata": {"namespace": "x", "name": format!("p{number}")},
            "spec": {
                "targetRefs": [{"group": "", "kind": "Service", "name": format!("s{number}")}],
                "validation": {
                    "hostname": hostname, "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
                },
            },
        })))
    }

    /// A Gateway, and Services with a route and a policy each; the first has a GRPCRoute too.
    fn world(count: usize) -> Resources {
        let mut resources = Resources::default();
        let class = json!({"controllerName": "genkan.dev/gateway-controller"});
        resources.apply(Object::GatewayClass(object(json!({"metadata": {"name": "genkan"}, "spec": class}))));
        let listener = |name| json!({"name": name, "hostname": name, "port": 80, "protocol": "HTTP"});
        let listeners = ["web", "grpc"].map(listener);
        let gateway = json!({"gatewayClassName": "genkan", "listeners": listeners});
        resources.apply(Object::Gateway(object(json!({"metadata": {"namespace": "x", "name": "g"}, "spec": gateway}))));
        let ca = rcgen::generate_simple_self_signed(vec!["ca.test".to_owned()]).unwrap().cert.pem();
        let ca = json!({"metadata": {"namespace": "x", "name": "ca"}, "data": {"ca.crt": ca}});
        resources.apply(Object::ConfigMap(object(ca)));
        let route = |number: usize, section: &str| {
            let backend = json!({"name": format!("s{number}"), "port": 80});
            json!({
                "metadata": {"namespace": "x", "name": format!("r{number}")},
                "spec": {
                    "parentRefs": [{"name": "g", "sectionName": section}], "rules": [{"backendRefs": [backend]}],
                },
            })
        };
        resources.apply(Object::GrpcRoute(object(route(0, "grpc"))));
        for number in 0..count {
            let metadata = json!({"namespace": "x", "name": format!("s{number}")});
            resources.apply(Object::Service(object(json!({"metadata": metadata, "spec": {"ports": [{"port": 80}]}}))));
            resources.apply(Object::HttpRoute(object(route(number, "web"))));
            resources.apply(policy(number, "web.test"));
        }
        resources
    }

    #[test]
    fn a_policy_that_changes_redoes_the_clusters_of_its_services_alone() {
        let mut resources = world(20);
        let mut translator = Translator::new(Settings::default());
        translator.update(&resources, &BTreeSet::new());
        resources.apply(policy(7, "other.test"));
        resources.apply(policy(99, "nobody.test"));
        let changes = [7, 99].map(|number| Change::Object(Key::new(Kind::BackendTlsPolicy, "x", format!("p{number}"))));
        let dirty = dirty(&changes.into(), &resources, &mut translator.slices, &mut translator.policies);
        let stale = translator.clusters.memo.stale(&dirty);
        assert_eq!(stale.iter().map(ToString::to_string).collect::<Vec<_>>(), ["x/s7:80"]);
    }

    #[test]
    fn hosts_that_the_same_routes_are_for_are_one() {
        let mut resources = world(0);
        let listener = |number: u16| json!({"name": format!("l{number}"), "port": 8000 + number, "protocol": "HTTP"});
        let gateway = json!({"gatewayClassName": "genkan", "listeners": (0..8).map(listener).collect::<Vec<_>>()});
        resources
            .apply(Object::Gateway(object(json!({"metadata": {"namespace": "x", "name": "many"}, "spec": gateway}))));
        let names: Vec<_> = (0..16).map(|number| format!("h{number}.test")).collect();
        let route = json!({"parentRefs": [{"name": "many"}], "hostnames": names, "rules": [{"backendRefs": []}]});
        resources.apply(Object::HttpRoute(object(json!({"metadata": {"namespace": "x", "name": "r"}, "spec": route}))));
        let model = Translator::new(Settings::default()).update(&resources, &BTreeSet::new()).model;
        let of_route = |table: &&Arc<genkan_routing::model::Table>| table.hosts.len() == 16;
        let hosts: Vec<_> = model.tables.values().filter(of_route).flat_map(|table| table.hosts.values()).collect();
        assert_eq!(hosts.len(), 8 * 16);
        assert!(hosts.iter().all(|host| Arc::ptr_eq(host, hosts[0])));
    }

    #[test]
    fn clusters_of_a_policy_share_what_it_trusts_and_policies_share_authorities() {
        let model = Translator::new(Settings::default()).update(&world(3), &BTreeSet::new()).model;
        let trusts: Vec<_> = model
            .clusters
            .values()
            .filter_map(|cluster| match &cluster.tls.as_ref()?.verify {
                Verify::Trust(trust) => Some(trust),
                _ => None,
            })
            .collect();
        let count = |pointers: BTreeSet<*const u8>| pointers.len();
        assert_eq!(trusts.len(), 4);
        assert_eq!(count(trusts.iter().map(|trust| Arc::as_ptr(trust).cast()).collect()), 3);
        let authorities = trusts.iter().flat_map(|trust| trust.authorities.iter().flatten());
        assert_eq!(count(authorities.map(|authority| authority.der.as_ptr()).collect()), 1);
    }
}
