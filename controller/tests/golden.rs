//! Golden files: `golden/NAME.in.yaml` is translated and compared with `golden/NAME.out.yaml`, one fact each. With
//! `GENKAN_UPDATE_GOLDEN=1` the latter are written anew.
//!
//! Every case also sees `golden/services.yaml`. Flags stand in the case's first lines as `#: --flag=value`, and the zone
//! of topology-aware routing as `#: zone=value`; `#: unreadable` says that something can't be read. `#: record-addresses` is as in a cluster. Left out of
//! the output is what says nothing: ids that repeat their key, empty texts and lists, settings that are as without any
//! annotation and ConfigMap. Of a filter that is as without them only the name is left, and of the settings of a listener
//! what differs from those of the whole proxy.

#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use genkan_controller::files;
use genkan_controller::resources::{Kind, NamespacedName, Place, Resources};
use genkan_controller::settings::Settings;
use genkan_controller::translate::{Infrastructure, Translation, translate};
use genkan_routing::model::{ListenerSettings, ProxySettings};
use genkan_routing::policy::body_limit::BodyLimit;
use genkan_routing::policy::client::ClientSettings;
use genkan_routing::policy::hsts::Hsts;
use genkan_routing::policy::retry::Retry;
use genkan_routing::policy::timeouts::Timeouts;
use serde::Serialize;
use serde_json::Value;

#[test]
fn golden_files_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = std::env::var_os("GENKAN_UPDATE_GOLDEN").is_some();
    let mut stale = Vec::new();
    let mut cases = 0;
    for input in inputs(&folder) {
        cases += 1;
        let output = PathBuf::from(input.to_string_lossy().replace(".in.yaml", ".out.yaml"));
        let actual = render(&folder, &input);
        if fs::read_to_string(&output).unwrap_or_default() == actual {
            continue;
        }
        if update {
            fs::write(&output, actual).unwrap();
        } else {
            eprintln!("--- {}\n{actual}", output.display());
            stale.push(output);
        }
    }
    assert!(cases > 0, "no case found in {}", folder.display());
    assert!(stale.is_empty(), "differ from what translation gives (printed above): {stale:#?}");
}

#[test]
fn every_kind_that_is_read_has_a_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut missing: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    for input in inputs(&folder) {
        for key in load(&folder, &input).keys() {
            missing.remove(key.kind.as_str());
        }
    }
    assert!(missing.is_empty(), "of no {missing:?} is shown what it means");
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut inputs: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(".in.yaml")).collect();
    inputs.sort();
    inputs
}

/// The output for an input.
fn render(folder: &Path, input: &Path) -> String {
    let text = fs::read_to_string(input).unwrap();
    let mut resources = load(folder, input);
    let zone = text.lines().find_map(|line| line.strip_prefix("#: zone="));
    resources.place = zone.map(|zone| Place { node: None, zone: Some(zone.to_owned()) });
    // What the API server would have in a Gateway's status.
    for (gateway, address) in text.lines().filter_map(|line| line.strip_prefix("#: shown=")?.split_once(' ')) {
        let (namespace, name) = gateway.split_once('/').unwrap();
        let shown =
            genkan_controller::resources::Shown { addresses: [address.parse().unwrap()].into(), ..Default::default() };
        resources.shown.insert(NamespacedName::new(namespace, name), shown);
    }
    let translation = translate(&resources, &settings(&text));
    let infrastructure = translation.infrastructure.iter().map(|(name, it)| (name.to_string(), it.clone())).collect();
    let shown = Shown {
        model: shown_model(&translation),
        infrastructure,
        statuses: shown_statuses(&translation),
        problems: shown_problems(&translation),
    };
    let yaml = serde_saphyr::to_string(&shown).unwrap();
    assert!(!yaml.contains("PRIVATE KEY"), "{}: a private key is printed", input.display());
    yaml
}

#[derive(Serialize)]
struct Shown {
    model: Value,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    infrastructure: BTreeMap<String, Infrastructure>,
    #[serde(skip_serializing_if = "is_empty")]
    statuses: Value,
    problems: Vec<String>,
}

fn load(folder: &Path, input: &Path) -> Resources {
    let together = tempfile::tempdir().unwrap();
    for path in [folder.join("services.yaml"), input.to_owned()] {
        fs::copy(&path, together.path().join(path.file_name().unwrap())).unwrap();
    }
    let loaded = files::load(together.path());
    let unreadable = fs::read_to_string(input).unwrap().starts_with("#: unreadable\n");
    assert_eq!(!loaded.problems.is_empty(), unreadable, "{}: {:#?}", input.display(), loaded.problems);
    loaded.resources
}

/// The flags that a case gives in its first lines.
fn settings(text: &str) -> Settings {
    let mut settings = Settings {
        config_map: Some(NamespacedName::new("ingress-nginx", "ingress-nginx-controller")),
        config_map_required: false,
        watch_ingress_without_class: true,
        ..Settings::default()
    };
    let name = |value: &str| {
        let (namespace, name) = value.split_once('/').unwrap();
        Some(NamespacedName::new(namespace, name))
    };
    for line in text.lines().map_while(|line| line.strip_prefix('#')).filter_map(|line| line.strip_prefix(": ")) {
        let (flag, value) = line.split_once('=').unwrap_or((line, "true"));
        match flag {
            "--configmap" => {
                settings.config_map = name(value);
                settings.config_map_required = true;
            }
            "--tcp-services-configmap" => settings.tcp_services_config_map = name(value),
            "--udp-services-configmap" => settings.udp_services_config_map = name(value),
            // They are no flags.
            "zone" | "unreadable" => {}
            // As in a cluster.
            "shown" => {}
            "target-ports" => {
                let (first, last) = value.split_once('-').unwrap();
                settings.target_ports = Some(first.parse().unwrap()..=last.parse().unwrap());
            }
            "record-addresses" => settings.record_addresses = value == "true",
            "--update-status" => settings.update_status = value == "true",
            "--watch-namespace" => settings.watch_namespace = Some(value.into()),
            "--default-backend-service" => settings.default_backend_service = name(value),
            "--default-ssl-certificate" => settings.default_ssl_certificate = name(value),
            "--bind-address" => settings.bind_addresses = vec![value.parse().unwrap()],
            "--enable-ssl-passthrough" => settings.ssl_passthrough = value == "true",
            "--disable-catch-all" => settings.disable_catch_all = value == "true",
            "--disable-svc-external-name" => settings.disable_external_name = value == "true",
            "--ingress-class-by-name" => settings.ingress_class_by_name = value == "true",
            "--watch-ingress-without-class" => settings.watch_ingress_without_class = value == "true",
            other => panic!("flag {other} is not known here"),
        }
    }
    settings
}

fn shown_problems(translation: &Translation) -> Vec<String> {
    translation.report.problems().map(ToString::to_string).collect()
}

/// Statuses, with a line for each condition. What a class supports is not shown: every case would have to tell.
fn shown_statuses(translation: &Translation) -> Value {
    let mut statuses = serde_json::to_value(&*translation.statuses).unwrap();
    for status in statuses.as_object_mut().unwrap().values_mut() {
        let fields = status.as_object_mut().unwrap();
        fields.retain(|name, field| name != "supportedFeatures" && !(name == "addresses" && is_empty(field)));
        show_conditions(status);
    }
    statuses
}

fn show_conditions(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(conditions)) = fields.get_mut("conditions") {
                *conditions = conditions.iter().filter_map(shown_condition).map(Value::String).collect();
            }
            if let Some(Value::Array(kinds)) = fields.get_mut("supportedKinds") {
                kinds.iter_mut().for_each(|kind| *kind = kind["kind"].take());
            }
            for usual in [("group", "gateway.networking.k8s.io"), ("kind", "Gateway")] {
                fields.retain(|name, field| (name.as_str(), field.as_str()) != (usual.0, Some(usual.1)));
            }
            fields.values_mut().for_each(show_conditions);
        }
        Value::Array(items) => items.iter_mut().for_each(show_conditions),
        _ => {}
    }
}

/// A condition that is as it should be says why only where that is not obvious.
fn shown_condition(condition: &Value) -> Option<String> {
    let text = |field: &str| condition[field].as_str().unwrap();
    let (kind, reason, message) = (text("type"), text("reason"), text("message"));
    let good = (text("status") == "True") != matches!(kind, "Conflicted" | "PartiallyInvalid");
    match text("status") {
        // Whom a policy concerns is told there, and what does not act.
        "True"
            if kind == reason
                && !["the policy acts on", "not all is as it is written"].iter().any(|it| message.contains(it)) =>
        {
            Some(kind.to_owned())
        }
        "False" if good => None,
        "True" => Some(format!("{kind} ({reason}): {message}")),
        _ => Some(format!("not {kind} ({reason}): {message}")),
    }
}

fn shown_model(translation: &Translation) -> Value {
    let mut model = serde_json::to_value(&*translation.model).unwrap();
    let defaults = BTreeMap::from([
        ("settings", serde_json::to_value(ProxySettings::default()).unwrap()),
        ("timeouts", serde_json::to_value(Timeouts::default()).unwrap()),
        ("retry", serde_json::to_value(Retry::default()).unwrap()),
        ("bodyLimit", serde_json::to_value(BodyLimit(1 << 20)).unwrap()),
        ("hsts", serde_json::to_value(Hsts::default()).unwrap()),
        ("loadBalance", "roundRobin".into()),
        ("version", "http1".into()),
        ("accessLog", true.into()),
        ("weight", 1.into()),
    ]);
    let usual = BTreeMap::from([
        ("client", serde_json::to_value(ClientSettings::default()).unwrap()),
        ("settings", serde_json::to_value(ListenerSettings::default()).unwrap()),
    ]);
    keep_differences(&mut model["listeners"], &usual);
    leave_out(&mut model, &defaults);
    model
}

/// Reduces objects of these names to what is not as usual.
fn keep_differences(value: &mut Value, usual: &BTreeMap<&str, Value>) {
    fn differ(value: &mut Value, usual: &Value) {
        let Some(fields) = value.as_object_mut() else { return };
        fields.retain(|name, field| usual.get(name) != Some(field));
        fields.iter_mut().for_each(|(name, field)| differ(field, &usual[name]));
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match usual.get(name.as_str()) {
                    Some(usual) => differ(field, usual),
                    None => keep_differences(field, usual),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| keep_differences(item, usual)),
        _ => {}
    }
}

/// Removes fields that have their default, that are empty, or that repeat the key of their object.
fn leave_out(value: &mut Value, defaults: &BTreeMap<&str, Value>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                leave_out(field, defaults);
                if let Some(fields) = field.as_object_mut()
                    && fields.get("id").is_some_and(|id| id == key)
                {
                    fields.remove("id");
                }
            }
            fields.retain(|name, field| defaults.get(name.as_str()) != Some(field) && !is_empty(field));
        }
        Value::Array(items) => {
            for item in items.iter_mut() {
                match default_filter(item, defaults) {
                    Some(name) => *item = Value::String(name),
                    None => leave_out(item, defaults),
                }
            }
        }
        _ => {}
    }
}

/// The name of a filter that is as without any setting.
fn default_filter(item: &Value, defaults: &BTreeMap<&str, Value>) -> Option<String> {
    let fields = item.as_object().filter(|fields| fields.len() == 1)?;
    let (name, value) = fields.iter().next()?;
    (defaults.get(name.as_str()) == Some(value)).then(|| name.clone())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}
