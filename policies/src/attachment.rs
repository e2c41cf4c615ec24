//! Attachment: what the policies have in common: the objects that they target, and their status (GEP-713).
//!
//! A policy says the same things in `defaults`, which what is more specific may replace, and in `overrides`, which
//! replace what is more specific.

#![allow(unreachable_pub, reason = "the derived code repeats the types where nobody sees them")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An object that a policy targets. It is in the policy's namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTarget {
    /// Its API group: gateway.networking.k8s.io, or empty for a Service.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub group: String,
    /// Its kind.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// A part of it: the name of a listener of a Gateway or ListenerSet, or of a rule of a route. Without it the whole
    /// object is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// What became of a policy.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// One entry for each Gateway through which the policy acts.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub ancestors: Vec<PolicyAncestorStatus>,
}

/// What became of a policy at a Gateway.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAncestorStatus {
    /// The Gateway.
    pub ancestor_ref: PolicyAncestor,
    /// The controller that wrote the entry.
    #[schemars(length(min = 1, max = 253))]
    pub controller_name: String,
    /// What is true of the policy there.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub conditions: Vec<PolicyCondition>,
}

/// What a policy acts through.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAncestor {
    /// Its API group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// A part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// A port of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// A condition.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyCondition {
    /// What it is about: Accepted, ResolvedRefs, Overridden.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub kind: String,
    /// True, False or Unknown.
    #[schemars(regex(pattern = "^(True|False|Unknown)$"))]
    pub status: String,
    /// Why, in a word.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Why, for people.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// The generation of the policy that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Since when.
    #[schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$"))]
    pub last_transition_time: String,
}
