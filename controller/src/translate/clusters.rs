//! The clusters that somebody refers to, and what is wrong with them at each field that does.

use std::sync::Arc;

use genkan_routing::model::{Cluster, SharedMap};
use genkan_routing::name::{ClusterId, Origin};
use genkan_routing::report::Problem;

use super::assembly::Assembly;
use super::cluster::{self, Built, ClusterIssue, Usage};
use super::memo::Memo;
use super::reader::Dirty;
use super::world::World;

/// The clusters that somebody refers to.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    pub(super) memo: Memo<ClusterId, Built>,
    pub(super) parts: SharedMap<ClusterId, Arc<Cluster>>,
}

impl Clusters {
    /// Redoes the clusters that `dirty` meets, and what is told at fields that began or ceased to refer to one. Thousands
    /// of routes may lead to a cluster: the others are not looked at unless something else is wrong with it than before.
    pub(super) fn refresh(&mut self, world: &World<'_>, dirty: &Dirty, assembly: &mut Assembly) {
        let mut touched = assembly.take_touched_clusters();
        for id in self.memo.stale(dirty) {
            touched.entry(id).or_default().build = true;
        }
        for (id, touched) in touched {
            let Some(wanted) = assembly.wanted(&id) else { continue };
            let usage = wanted.spec.usage;
            let old = self.memo.get(&id).cloned();
            let is_wanted = !wanted.origins.is_empty();
            if is_wanted && (old.is_none() || touched.build) {
                self.memo.refresh(&id, world.reader(), |reader| Some(cluster::build(id.clone(), &wanted.spec, reader)));
            }
            let new = self.memo.get(&id).filter(|_| is_wanted);
            let (old_issues, new_issues) = (issues(old.as_deref()), issues(new.map(|new| &**new)));
            let (gone, told) = if is_wanted && old_issues != new_issues {
                let before = problems(touched.before(wanted), old_issues, usage);
                (before, problems(wanted.origins.keys(), new_issues, usage))
            } else {
                (problems(touched.went(wanted), old_issues, usage), problems(touched.came(wanted), new_issues, usage))
            };
            match new {
                None => drop(self.parts.remove(&id)),
                Some(new) if self.parts.get(&id).is_some_and(|known| Arc::ptr_eq(known, &new.cluster)) => {}
                Some(new) => drop(self.parts.insert(id.clone(), new.cluster.clone())),
            }
            assembly.remove_problems(&gone);
            assembly.add_problems(&told);
            if !is_wanted {
                self.memo.remove(&id);
                assembly.forget(&id);
            }
        }
    }
}

fn issues(built: Option<&Built>) -> &[ClusterIssue] {
    built.map_or(&[], |built| &built.issues)
}

/// What is wrong at each field that refers to a cluster.
fn problems<'o>(at: impl Iterator<Item = &'o Origin>, issues: &[ClusterIssue], usage: Usage) -> Vec<Problem> {
    // Nearly always nothing is wrong.
    if issues.is_empty() {
        return Vec::new();
    }
    at.flat_map(|at| issues.iter().map(move |issue| issue.problem(at, usage))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use genkan_routing::report::Report;
    use serde_json::{Value, json};

    use crate::resources::{Key, Kind, Object, Resources};
    use crate::settings::Settings;
    use crate::translate::{Change, Translation, Translator, translate};

    fn ingress(number: usize, service: &str) -> Object {
        let backend = json!({"service": {"name": service, "port": {"number": 80}}});
        let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
        object(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"namespace": "x", "name": format!("i{number:03}")},
            "spec": {"rules": [{"host": format!("h{number}.test"), "http": {"paths": [path]}}]},
        }))
    }

    fn object(value: Value) -> Object {
        match value["kind"].as_str().unwrap() {
            "Ingress" => Object::Ingress(serde_json::from_value(value).unwrap()),
            _ => Object::Service(serde_json::from_value(value).unwrap()),
        }
    }

    fn service() -> Object {
        object(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "x", "name": "s"},
            "spec": {"ports": [{"port": 80}]},
        }))
    }

    struct World {
        resources: Resources,
        translator: Translator,
    }

    impl World {
        fn take(&mut self, object: Object) -> Translation {
            let key = Key::of(&object);
            self.resources.apply(object);
            self.follow(key)
        }

        fn follow(&mut self, key: Key) -> Translation {
            let followed = self.translator.update(&self.resources, &BTreeSet::from([Change::Object(key)]));
            assert_eq!(followed, translate(&self.resources, &settings()));
            followed
        }
    }

    fn settings() -> Settings {
        Settings { watch_ingress_without_class: true, ..Settings::default() }
    }

    /// Problems of the second report that are not those of the first, but may be equal.
    fn made(old: &Report, new: &Report) -> usize {
        let known: BTreeSet<_> = old.problems().map(std::sync::Arc::as_ptr).collect();
        new.problems().filter(|problem| !known.contains(&std::sync::Arc::as_ptr(problem))).count()
    }

    #[test]
    fn a_route_to_a_cluster_that_many_lead_to_makes_its_own_problem_alone() {
        let mut world = World { resources: Resources::default(), translator: Translator::new(settings()) };
        for number in 0..100 {
            world.resources.apply(ingress(number, "s"));
        }
        let before = world.translator.update(&world.resources, &BTreeSet::new()).report;
        assert_eq!(before.len(), 100);
        let more = world.take(ingress(100, "s")).report;
        assert_eq!((more.len(), made(&before, &more)), (101, 1));
        // It moves away, then goes.
        let moved = world.take(ingress(100, "other")).report;
        assert_eq!((moved.len(), made(&more, &moved)), (101, 1));
        let key = Key::new(Kind::Ingress, "x", "i100");
        world.resources.remove(&key);
        let gone = world.follow(key).report;
        assert_eq!((gone.len(), made(&before, &gone)), (100, 0));
        // Something else is wrong with the cluster: that is told at each.
        let other = world.take(service()).report;
        assert_eq!((other.len(), made(&gone, &other)), (100, 100));
        world.resources.apply(ingress(100, "s"));
        world.resources.remove(&Key::new(Kind::Service, "x", "s"));
        let both = [Key::new(Kind::Service, "x", "s"), Key::new(Kind::Ingress, "x", "i100")].map(Change::Object);
        let back = world.translator.update(&world.resources, &both.into());
        assert_eq!(back, translate(&world.resources, &settings()));
        assert_eq!(back.report.len(), 101);
    }
}
