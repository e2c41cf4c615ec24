//! Helm, run on the chart of this repository. It asks no cluster and reads no settings of the user.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

/// What is rendered for: the oldest Kubernetes that still gets every field which the chart gives by version.
pub const KUBERNETES: &str = "1.34.0";

/// The namespace of releases.
pub const NAMESPACE: &str = "web";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e is a folder of the repository").to_owned()
}

/// The chart.
pub fn chart() -> PathBuf {
    root().join("charts/genkan")
}

/// Helm's executable: what `GENKAN_HELM` names, or built from its Go module, which is done once.
pub fn executable() -> &'static Path {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    HELM.get_or_init(|| {
        if let Some(given) = std::env::var_os("GENKAN_HELM") {
            return given.into();
        }
        let script = root().join("scripts/cluster-build");
        let output = Command::new(&script).arg("helm").output().expect("scripts/cluster-build runs");
        assert!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    })
}

/// Runs Helm.
pub fn helm(arguments: &[&str]) -> Output {
    let home = TempDir::new().expect("a folder for Helm's own files");
    Command::new(executable())
        .args(arguments)
        .env_clear()
        .env("HOME", home.path())
        .env("KUBECONFIG", home.path().join("none"))
        .output()
        .expect("helm runs")
}

/// What Helm printed, or the errors it told.
pub fn printed(output: Output) -> Result<String, String> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// The objects of a release, as YAML documents.
pub fn template(release: &str, arguments: &[&str]) -> Result<String, String> {
    let chart = chart().to_string_lossy().into_owned();
    let mut all = vec!["template", release, &chart, "--namespace", NAMESPACE, "--kube-version", KUBERNETES];
    all.extend(arguments);
    printed(helm(&all))
}

/// The notes that an installation prints.
pub fn notes(release: &str, arguments: &[&str]) -> Result<String, String> {
    let chart = chart().to_string_lossy().into_owned();
    let mut all = vec!["install", release, &chart, "--namespace", NAMESPACE, "--dry-run=client", "--hide-secret"];
    all.extend(arguments);
    let told = printed(helm(&all))?;
    let (_, notes) = told.split_once("\nNOTES:\n").ok_or_else(|| format!("no notes in {told}"))?;
    Ok(notes.to_owned())
}
