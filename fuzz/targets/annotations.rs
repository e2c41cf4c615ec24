//! Annotations of an Ingress and keys of the ConfigMap.
//!
//! The input is lines `name=value`: keys of the ConfigMap up to an empty line, then annotations. In names, a number
//! stands for the row of that number in the table of annotations or keys; in values, `↵` stands for a line feed.
//!
//! - Both are read twice the same way, and problems are only about what is written.
//! - No control character gets into a setting or a message.
//! - Where an error is told, nothing is open: the Ingress is rejected or denies, the ConfigMap's key is unusable.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use genkan_annotations::{Context, GlobalConfig, config_map, parse, table};
use genkan_fuzz::assert_no_control_characters;
use genkan_routing::name::ObjectRef;
use genkan_routing::report::{Problem, Severity};
use libfuzzer_sys::fuzz_target;

/// The annotations whose errors close what asks for authentication.
const AUTHENTICATION: [&str; 4] = ["auth-type", "auth-secret", "auth-url", "satisfy"];
const PREFIX: &str = "nginx.ingress.kubernetes.io";

static ANNOTATIONS: LazyLock<Vec<&str>> =
    LazyLock::new(|| table::annotations().flat_map(|row| row.spellings()).collect());
static KEYS: LazyLock<Vec<&str>> = LazyLock::new(|| table::keys().map(|row| row.name).collect());

fuzz_target!(|input: &str| {
    let (data, annotations) = input.split_once("\n\n").unwrap_or(("", input));
    let data = entries(data, "", &KEYS);
    let annotations = entries(annotations, &format!("{PREFIX}/"), &ANNOTATIONS);
    let global = check_config_map(&data);
    check_annotations(&annotations, &global);
});

fn entries(text: &str, prefix: &str, names: &[&str]) -> BTreeMap<String, String> {
    let entry = |line: &str| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        let row = name.parse::<usize>().ok().and_then(|row| names.get(row % names.len()));
        (format!("{prefix}{}", row.unwrap_or(&name)), value.replace('↵', "\n"))
    };
    text.lines().map(entry).collect()
}

fn check_config_map(data: &BTreeMap<String, String>) -> GlobalConfig {
    let object = ObjectRef::new("ConfigMap", "ingress-nginx", "ingress-nginx-controller");
    let (global, problems) = config_map::parse(data, &object);
    assert!((&global, &problems) == (&config_map::parse(data, &object).0, &config_map::parse(data, &object).1));
    assert_no_control_characters("settings of the ConfigMap", &(&global.proxy, &global.compression, &global.hsts));
    assert_no_control_characters("problems of the ConfigMap", &problems);
    assert_about("data[", data.keys(), &problems);
    for problem in problems.iter().filter(|problem| problem.severity == Severity::Error) {
        let told = global.unusable.keys().any(|key| problem.origin.field == format!("data[{key}]"));
        assert!(told || problem.reason == "SnippetRefused", "an error leaves everything open: {problem}");
    }
    global
}

fn check_annotations(annotations: &BTreeMap<String, String>, global: &GlobalConfig) {
    let object = ObjectRef::new("Ingress", "default", "web");
    let context = Context { prefix: PREFIX, object: &object, global };
    let parsed = parse(annotations, &context);
    assert!(parsed == parse(annotations, &context));
    // Words of the blocklist are quoted only in problems, where they are escaped.
    assert_no_control_characters("settings of the Ingress", &parsed.settings);
    assert_no_control_characters("problems of the Ingress", &parsed.problems);
    assert_about("metadata.annotations[", annotations.keys(), &parsed.problems);
    let settings = &parsed.settings;
    let closed = settings.rejected || settings.deny.is_some();
    for problem in parsed.problems.iter().filter(|problem| problem.severity == Severity::Error) {
        // no-auth-locations stay open.
        let of_authentication = AUTHENTICATION.iter().any(|name| problem.origin.field.ends_with(&format!("/{name}]")));
        let denied = closed || of_authentication && settings.deny_authentication.is_some();
        assert!(denied, "an error leaves everything open: {problem}");
    }
}

/// Every problem names a field that was written.
fn assert_about<'n>(before: &str, names: impl Iterator<Item = &'n String>, problems: &[Problem]) {
    let fields: Vec<_> = names.map(|name| format!("{before}{}]", name.escape_debug())).collect();
    for problem in problems {
        assert!(fields.contains(&problem.origin.field), "{problem} is about nothing that was written");
    }
}
