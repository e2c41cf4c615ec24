//! `genkan crds`: the definitions of our own kinds, from the types that read them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

/// Print the CustomResourceDefinitions of the kinds of genkan.dev
///
/// They are what the Helm chart installs: genkan crds | kubectl apply --server-side -f -
#[derive(Args, Debug)]
pub(super) struct Crds {}

impl Crds {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        std::io::stdout().write_all(text()?.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// All of them, as YAML.
fn text() -> anyhow::Result<String> {
    let mut text = String::new();
    for definition in genkan_policies::definitions() {
        let yaml = serde_saphyr::to_string(&definition).context("a definition can't be written as YAML")?;
        write!(text, "---\n{}\n", yaml.trim_end())?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_chart_has_the_definitions_of_the_types() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/genkan/crds/genkan.dev.yaml");
        let text = text().unwrap();
        if std::env::var_os("GENKAN_UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let shipped = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(shipped == text, "{} differs from `genkan crds`: run with GENKAN_UPDATE_GOLDEN=1", path.display());
    }
}
