//! Admission: what an Ingress may write at all.

use genkan_routing::report::Severity;

use crate::annotation::{Annotation, set};
use crate::config_map::{GlobalBuilder, Key};
use crate::definition::Risk;
use crate::value::{ValueError, boolean, choice, list};

pub(crate) const ANNOTATIONS: &[Annotation] = &[Annotation::on(
    "enable-global-auth",
    "true or false",
    "true",
    |b, v| {
        if !boolean(v)? {
            b.replaced_keys.push(GLOBAL_AUTH);
        }
        Ok(())
    },
    "false exempts the Ingress from the ConfigMap's global-auth-url, which is not supported and fails closed",
)];

pub(crate) const KEYS: &[Key] = &[
    Key::on(
        "strict-validate-path-type",
        "true or false",
        "true",
        |b, v| set(&mut b.config.strict_validate_path_type, boolean(v.trim())),
        "Refuses paths of type Exact or Prefix with other characters than letters, digits and ._-/",
    ),
    Key::on(
        "annotation-value-word-blocklist",
        "words, separated by commas",
        "none",
        blocklist,
        "An annotation whose value contains one of these keeps its Ingress from being used",
    ),
    Key::on(
        "annotations-risk-level",
        "Low, Medium, High or Critical",
        "High",
        |b, v| set(&mut b.config.annotations_risk_level, choice(v.trim(), RISKS)),
        "An annotation of a higher risk keeps its Ingress from being used; raw nginx configuration never counts",
    ),
    Key::on(
        "allow-snippet-annotations",
        "false",
        "false",
        allow_snippets,
        "Only false: raw nginx configuration is never run",
    ),
];

/// The key of the ConfigMap that `enable-global-auth` is about.
const GLOBAL_AUTH: &str = "global-auth-url";

const RISKS: &[(&str, Risk)] =
    &[("Low", Risk::Low), ("Medium", Risk::Medium), ("High", Risk::High), ("Critical", Risk::Critical)];

/// Takes every word as it is: a refused one would open what it should block.
fn blocklist(builder: &mut GlobalBuilder, value: &str) -> Result<(), ValueError> {
    builder.config.annotation_value_word_blocklist = value.lines().flat_map(list).map(str::to_owned).collect();
    Ok(())
}

fn allow_snippets(builder: &mut GlobalBuilder, value: &str) -> Result<(), ValueError> {
    if boolean(value.trim())? {
        let message = "allow-snippet-annotations has no effect: raw nginx configuration is never run, and an Ingress \
            with a snippet is not used";
        builder.note(Severity::Warning, "UnsupportedConfigMapKey", message, "say it with other annotations");
    }
    Ok(())
}
