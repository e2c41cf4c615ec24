//! Objects of Gateway API in any number of changes, all the way to a compiled table.
//!
//! - Following the changes gives the model, the report, the statuses and the Services that a translation of everything
//!   gives at once, whatever came, went, moved or was replaced. What was given to Gateways, where that is recorded, has a
//!   memory: there it is the translation of everything by one who remembers the same.
//! - Compiled tables answer as the model specifies, also those that share parts with their predecessors.
//! - What a Gateway serves is written in routes that name it, and whose namespaces it takes; see `isolation.rs`.
//! - Work and memory are bounded by what the objects say: measured in bytes that are allocated, which is the same on
//!   every machine.
#![no_main]

use std::alloc::System;
use std::collections::{BTreeMap, BTreeSet};

use cap::Cap;
use genkan_controller::resources::{Key, NamespacedName, Object, Resources};
use genkan_controller::settings::Settings;
use genkan_controller::translate::{Change, GatewayService, Infrastructure, Translation, Translator, translate};
use genkan_fuzz::assert_routes_what_it_names;
use genkan_fuzz::gateway_objects::{Edit, Words, preamble};
use genkan_fuzz::isolation::{assert_isolated, assert_ports_apart};
use genkan_fuzz::weight::weight;
use genkan_routing::snapshot::Snapshot;
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// After each of them everything is compared.
const ROUNDS: usize = 10;
/// In each of them.
const EDITS: usize = 4;

/// What translation may allocate: so many bytes besides, and for each unit of [`weight`].
const AT_LEAST: usize = 512 << 10;
const FOR_EACH: usize = 32 << 10;

fuzz_target!(|bytes: &[u8]| {
    let mut words = Words::new(bytes);
    let settings = settings(&mut words);
    let mut resources = Resources::default();
    for object in preamble() {
        resources.apply(object);
    }
    let mut translator = Translator::new(settings.clone());
    // Remembers what the other one does, and looks at everything each time.
    let mut thorough = settings.record_addresses.then(|| Translator::new(settings.clone()));
    let _ = thorough.as_mut().map(|thorough| thorough.update(&resources, &BTreeSet::new()));
    let mut snapshot = Snapshot::compile(translator.update(&resources, &BTreeSet::new()).model);
    let mut before = weight(&resources);
    for _ in 0..ROUNDS {
        if words.is_empty() {
            return;
        }
        let edits = words.up_to(EDITS - 1) + 1;
        let known: BTreeSet<_> = resources.keys().map(Change::Object).collect();
        let changes: BTreeSet<_> = (0..edits).flat_map(|_| take(&mut resources, words.edit())).collect();
        let bound = AT_LEAST + FOR_EACH * weight(&resources);
        let (anew, mut whole) = measured(|| translate(&resources, &settings));
        if whole > bound {
            // It may have made what a process makes once.
            whole = measured(|| translate(&resources, &settings)).1;
        }
        assert!(whole <= bound, "translation allocates {whole} bytes, {bound} would be in proportion");
        let anew = match &mut thorough {
            Some(thorough) => thorough.update(&resources, &everything(known, &changes)),
            None => anew,
        };
        let (followed, step) = measured(|| translator.update(&resources, &changes));
        assert_equal(&followed, &anew, &changes);
        assert_nothing_twice(&followed);
        // What was there before has to be taken back, and shared parts of it are copied.
        let bound = bound + FOR_EACH * before;
        assert!(step <= bound, "a change allocates {step} bytes, {bound} would be in proportion");
        before = weight(&resources);
        assert_isolated(&resources, &followed.model);
        assert_ports_apart(&followed.model);
        snapshot = Snapshot::compile_from(followed.model, &snapshot);
        assert_routes_what_it_names(&snapshot);
    }
});

/// How Genkan may be started.
fn settings(words: &mut Words<'_>) -> Settings {
    let record_addresses = words.up_to(1) == 1;
    let ports = [BTreeMap::new(), BTreeMap::from([(80, 8080), (443, 8443)])];
    Settings {
        gateway_ports: ports[words.up_to(1)].clone(),
        record_addresses,
        target_ports: (record_addresses && words.up_to(1) == 1).then_some(20_000..=20_003),
        watch_ingress_without_class: true,
        ssl_passthrough: words.up_to(1) == 1,
        default_ssl_certificate: Some(NamespacedName::new("x", "tls-wild")),
        ..Settings::default()
    }
}

fn take(resources: &mut Resources, edit: Edit) -> Vec<Change> {
    match edit {
        Edit::Apply(objects) => {
            let apply = |object: Object| {
                let key = Key::of(&object);
                resources.apply(object);
                Change::Object(key)
            };
            objects.into_iter().map(apply).collect()
        }
        Edit::Remove(kind, namespace, name) => {
            let key = Key::new(kind, namespace, name);
            resources.remove(&key);
            vec![Change::Object(key)]
        }
        Edit::Dns(name, addresses) => {
            resources.dns.insert(name.into(), addresses);
            vec![Change::Dns(name.into())]
        }
    }
}

/// That everything changed: what there was, what changed, and so what there is.
fn everything(known: BTreeSet<Change>, changes: &BTreeSet<Change>) -> BTreeSet<Change> {
    known.into_iter().chain(changes.iter().cloned()).collect()
}

/// What comes out, and how many bytes were allocated for it.
fn measured(make: impl FnOnce() -> Translation) -> (Translation, usize) {
    let before = ALLOCATOR.total_allocated();
    let made = make();
    (made, ALLOCATOR.total_allocated() - before)
}

fn assert_equal(followed: &Translation, anew: &Translation, changes: &BTreeSet<Change>) {
    assert_eq!(followed.model, anew.model, "the model is another one after {changes:?}");
    assert_eq!(followed.report, anew.report, "the report is another one after {changes:?}");
    assert_eq!(followed.statuses, anew.statuses, "the statuses are other ones after {changes:?}");
    assert_eq!(followed.infrastructure, anew.infrastructure, "the Services are other ones after {changes:?}");
}

/// No address and no port of ours is given to two Gateways.
fn assert_nothing_twice(translation: &Translation) {
    let (mut taken, mut ports) = (BTreeMap::new(), BTreeMap::new());
    for (name, infrastructure) in &*translation.infrastructure {
        let Infrastructure::Service(service) = infrastructure else { continue };
        let addresses = service.annotations.get(GatewayService::ADDRESSES).into_iter().flat_map(|all| all.split(','));
        for address in addresses.map(str::trim).filter(|address| !address.is_empty()) {
            let before = taken.insert(address, name);
            assert!(before.is_none(), "{address} is given to {name} and to {before:?}");
        }
        for port in service.spec.iter().flat_map(|spec| &spec.ports) {
            let before = ports.insert(port.target, name);
            assert!(before.is_none(), "port {} is given to {name} and to {before:?}", port.target);
        }
    }
}
