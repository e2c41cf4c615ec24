//! What the tests of this crate share.
#![allow(dead_code, unreachable_pub)] // Each test binary uses its part.

use std::collections::BTreeMap;

use genkan_annotations::{Context, GlobalConfig, Parsed, config_map};
use genkan_routing::name::ObjectRef;
use genkan_routing::report::{Problem, Severity};

pub const PREFIX: &str = "nginx.ingress.kubernetes.io";

pub fn ingress() -> ObjectRef {
    ObjectRef::new("Ingress", "default", "web")
}

/// Parses annotations that are written without the prefix.
pub fn parse(annotations: &[(&str, &str)]) -> Parsed {
    parse_with(&GlobalConfig::default(), annotations)
}

pub fn parse_with(global: &GlobalConfig, annotations: &[(&str, &str)]) -> Parsed {
    let prefixed = |(name, value): &(&str, &str)| (format!("{PREFIX}/{name}"), (*value).to_owned());
    parse_raw(global, &annotations.iter().map(prefixed).collect())
}

pub fn parse_raw(global: &GlobalConfig, annotations: &BTreeMap<String, String>) -> Parsed {
    genkan_annotations::parse(annotations, &Context { prefix: PREFIX, object: &ingress(), global })
}

/// Reads keys of a ConfigMap.
pub fn read(data: &[(&str, &str)]) -> (GlobalConfig, Vec<Problem>) {
    let data = data.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    config_map::parse(&data, &ObjectRef::new("ConfigMap", "ingress-nginx", "controller"))
}

/// Severity, reason and message of each problem.
pub fn said(problems: &[Problem]) -> Vec<(Severity, &'static str, &str)> {
    problems.iter().map(|problem| (problem.severity, problem.reason, problem.message.as_str())).collect()
}
