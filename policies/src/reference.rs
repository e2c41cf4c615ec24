//! For tests: the pages of the reference under `docs/`, held against the definitions.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// Fails unless a page has a line for every field within a field of the spec, and the line names the fields of that one.
pub(crate) fn every_field_has_its_line(page: &str, definition: &CustomResourceDefinition, within: &str) {
    let definition = serde_json::to_value(definition).unwrap();
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let fields = spec["properties"][within]["properties"].as_object().unwrap();
    assert!(!fields.is_empty());
    for (name, field) in fields {
        let line = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let line = line.unwrap_or_else(|| panic!("{name} has no line"));
        for part in field["properties"].as_object().into_iter().flat_map(|parts| parts.keys()) {
            assert!(line.contains(&format!("`{part}`")), "{name} says nothing of {part}");
        }
    }
}
