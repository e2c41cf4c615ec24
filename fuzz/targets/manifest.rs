//! The content of a manifest file, all the way to answers about requests.
//!
//! - Whatever the file says, it is read and translated, twice the same way.
//! - Taking objects away and giving them back, a few at a time, leads a `Translator` to what `translate` says at once.
//! - Compiled tables answer as the model specifies, also those that share parts with their predecessors.
//! - Nothing of a private key is in what is printed. Every second Secret whose certificate is broken gets one whose key
//!   was made when this process began, which no input can contain by itself.
#![no_main]

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use genkan_controller::files::{self, Loaded};
use genkan_controller::resources::{Key, NamespacedName, Resources, Secret, SecretError};
use genkan_controller::settings::Settings;
use genkan_controller::translate::{Change, Translation, Translator, translate};
use genkan_fuzz::assert_routes_what_it_names;
use genkan_routing::snapshot::Snapshot;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use libfuzzer_sys::fuzz_target;

/// In how many steps objects leave and come back.
const STEPS: usize = 4;

struct Generated {
    certificate: v1::Secret,
    /// Pieces of the private key, as text and as numbers.
    secrets: Vec<String>,
}

static GENERATED: LazyLock<Generated> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["secure.example".to_owned()]).expect("a certificate can be made");
    let pem = made.signing_key.serialize_pem();
    let der = made.signing_key.serialize_der();
    // The scalar stands in the first OCTET STRING of 32 bytes. What is behind it is the public key, no secret.
    let scalar = der.windows(2).position(|pair| pair == [0x04, 0x20]).expect("a P-256 key") + 2;
    let numbers = |separator| der[scalar..][..32].iter().map(u8::to_string).collect::<Vec<_>>().join(separator);
    let lines = pem.lines().filter(|line| !line.starts_with('-'));
    let mut secrets: Vec<_> = lines.take(2).map(str::to_owned).collect();
    secrets.extend([numbers(","), numbers(", ")]);
    let data = [("tls.crt", made.cert.pem()), ("tls.key", pem)];
    let data = data.map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes())));
    let certificate = v1::Secret { data: Some(data.into()), ..v1::Secret::default() };
    Generated { certificate, secrets }
});

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| Settings {
    config_map: Some(NamespacedName::new("ingress-nginx", "ingress-nginx-controller")),
    config_map_required: false,
    default_ssl_certificate: Some(NamespacedName::new("default", "default-tls")),
    ssl_passthrough: true,
    ..Settings::directory_mode()
});

/// The resources with some of their objects away, and the changes that lead here from the state before.
struct State {
    resources: Resources,
    changes: BTreeSet<Change>,
    at_once: Translation,
}

fuzz_target!(|content: &[u8]| {
    let name = if content.first() == Some(&b'{') { "input.json" } else { "input.yaml" };
    let mut loaded = files::parse(name, content);
    assert!(loaded == files::parse(name, content), "reading is not deterministic");
    let given = give_keys(&mut loaded.resources);
    let states = states(&loaded.resources, content.len());
    let Some(whole) = states.first() else { return };
    assert!(whole.at_once == translate(&loaded.resources, &SETTINGS), "translation is not deterministic");
    if given {
        assert_no_secret(&loaded, &whole.at_once);
    }
    walk(&states);
});

/// Returns whether there was a Secret to give one to.
fn give_keys(resources: &mut Resources) -> bool {
    let broken = |secret: &&mut Arc<Secret>| matches!(secret.certificate, Err(SecretError::Broken { .. }));
    let mut given = false;
    for secret in resources.secrets.values_mut().filter(broken).step_by(2) {
        let text = |name: &Option<Arc<str>>| name.as_deref().map(str::to_owned);
        let (namespace, name) = (text(&secret.metadata.namespace), text(&secret.metadata.name));
        let metadata = ObjectMeta { namespace, name, ..ObjectMeta::default() };
        *secret = Arc::new(v1::Secret { metadata, ..GENERATED.certificate.clone() }.into());
        assert!(secret.certificate.is_ok(), "the generated certificate is not read");
        given = true;
    }
    given
}

/// All objects, then fewer and fewer of them, then none. Which ones go first depends on `seed`.
fn states(resources: &Resources, seed: usize) -> Vec<State> {
    let mut keys: Vec<Key> = resources.keys().collect();
    let middle = seed % keys.len().max(1);
    keys.rotate_left(middle);
    let state = |resources: Resources, changes| {
        let at_once = translate(&resources, &SETTINGS);
        State { resources, changes, at_once }
    };
    let mut states = vec![state(resources.clone(), BTreeSet::new())];
    let mut left = resources.clone();
    for leaving in keys.chunks(keys.len().div_ceil(STEPS).max(1)) {
        for key in leaving {
            left.remove(key);
        }
        states.push(state(left.clone(), leaving.iter().cloned().map(Change::Object).collect()));
    }
    states
}

fn walk(states: &[State]) {
    let mut translator = Translator::new(SETTINGS.clone());
    let mut snapshot: Option<Snapshot> = None;
    let mut arrive = |at: usize, changes: &BTreeSet<Change>| {
        let Some(state) = states.get(at) else { return };
        let translation = translator.update(&state.resources, changes);
        assert_eq!(translation.model, state.at_once.model, "the model of state {at} is another one step by step");
        assert_eq!(translation.report, state.at_once.report, "the report of state {at} is another one step by step");
        let next = match &snapshot {
            Some(previous) => Snapshot::compile_from(translation.model, previous),
            None => Snapshot::compile(translation.model),
        };
        assert_routes_what_it_names(&next);
        snapshot = Some(next);
    };
    for (at, state) in states.iter().enumerate() {
        arrive(at, &state.changes);
    }
    // The way back undoes the changes that led to the state after.
    for (at, after) in states.iter().skip(1).enumerate().rev() {
        arrive(at, &after.changes);
    }
}

fn assert_no_secret(loaded: &Loaded, translation: &Translation) {
    let json = |value: serde_json::Result<String>| value.expect("plain data serializes");
    let printed = [
        json(serde_json::to_string(&*translation.model)),
        json(serde_json::to_string(&*translation.report)),
        format!("{:?}", translation.model),
        format!("{:?}", loaded.problems),
    ];
    for text in &printed {
        for secret in &GENERATED.secrets {
            assert!(!text.contains(secret), "a private key is printed: {text}");
        }
    }
}
