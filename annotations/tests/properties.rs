//! Whatever is written: nothing panics, everything is answered the same way twice, and no control character gets through.

mod common;

use std::collections::BTreeMap;

use common::{PREFIX, parse_raw};
use genkan_annotations::{GlobalConfig, IngressSettings, config_map, table};
use genkan_routing::name::ObjectRef;
use genkan_routing::report::Problem;
use proptest::prelude::*;
use serde_json::Value;

/// Text of all kinds: anything, what grammars are made of, and numbers at their borders.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z0-9/$.:*,?=(){}\\[\\]\\\\ |^+\\n\\r\\t-]{0,40}",
        "(https?://)?(\\*\\.)?[a-z.*]{0,12}(:[0-9]{0,6})?(, ?null)?",
        "(\\$[a-z_]{0,14}|\\$\\{[a-z_]{0,14}\\}|[a-z ]){0,4}",
        "[0-9.:/,a-f]{0,30}",
        "-?[0-9]{0,22}[kmgshd]?",
        Just("true".to_owned()),
        Just("4294967296".to_owned()),
        Just("-9223372036854775808".to_owned()),
    ]
}

fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    let names: Vec<&'static str> = table::annotations().flat_map(|row| row.spellings()).collect();
    let known = prop::sample::select(names).prop_map(|name| format!("{PREFIX}/{name}"));
    let key =
        prop_oneof![8 => known, 1 => any::<String>().prop_map(|name| format!("{PREFIX}/{name}")), 1 => any::<String>()];
    prop::collection::btree_map(key, value(), 0..12)
}

fn data() -> impl Strategy<Value = BTreeMap<String, String>> {
    let names: Vec<&'static str> = table::keys().map(|row| row.name).collect();
    let known = prop::sample::select(names).prop_map(str::to_owned);
    prop::collection::btree_map(prop_oneof![8 => known, 1 => any::<String>()], value(), 0..12)
}

fn read(data: &BTreeMap<String, String>) -> (GlobalConfig, Vec<Problem>) {
    config_map::parse(data, &ObjectRef::new("ConfigMap", "ingress-nginx", "controller"))
}

/// Every text inside a value.
fn texts<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn has_control_characters(value: &impl serde::Serialize) -> bool {
    let value = serde_json::to_value(value).expect("settings are plain data");
    let mut found = Vec::new();
    texts(&value, &mut found);
    found.iter().any(|text| text.chars().any(|c| c.is_control() && c != '\t'))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn annotations_never_panic_and_let_no_control_character_through(annotations in annotations(), data in data()) {
        let (global, _) = read(&data);
        let parsed = parse_raw(&global, &annotations);
        prop_assert_eq!(&parsed, &parse_raw(&global, &annotations));
        prop_assert!(!has_control_characters(&parsed.settings));
        prop_assert!(!has_control_characters(&parsed.problems));
    }

    #[test]
    fn keys_never_panic_and_let_no_control_character_through(data in data()) {
        let (global, problems) = read(&data);
        prop_assert_eq!((&global, &problems), (&read(&data).0, &read(&data).1));
        prop_assert!(!has_control_characters(&(&global.proxy, &global.https_redirect, &global.compression)));
        prop_assert!(!has_control_characters(&problems));
    }

    #[test]
    fn an_ingress_without_annotations_has_the_settings_of_the_config_map(data in data()) {
        let (global, _) = read(&data);
        let parsed = parse_raw(&global, &BTreeMap::new());
        prop_assert_eq!(parsed.settings, IngressSettings::from_global(&global));
        prop_assert_eq!(parsed.problems, vec![]);
    }
}
