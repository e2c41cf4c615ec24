//! The rules of ARCHITECTURE.md that the compiler does not keep: who may depend on whom, and the wall around pingora.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e is a folder of the repository").to_owned()
}

/// Every `.rs` file below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                // Build output, wherever a build was told to put it.
                if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("target")) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The code of a line: without its comment.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// Direct, normal dependencies of every member of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
            let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
            (text(&package["name"]), normal.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

#[test]
fn only_the_engine_names_pingora() {
    let root = root();
    let engine = root.join("proxy/src/engine");
    let baseline = root.join("bench");
    let own = root.join("e2e/tests/architecture.rs");
    let mut seen_in_engine = false;
    for path in sources(&root) {
        let text = fs::read_to_string(&path).unwrap();
        let named = text.lines().position(|line| code(line).contains("pingora"));
        if path.starts_with(&engine) {
            seen_in_engine |= named.is_some();
        } else if !path.starts_with(&baseline) && path != own {
            assert_eq!(named, None, "{} names pingora: only proxy/src/engine may", path.display());
        }
    }
    assert!(seen_in_engine, "the engine does not name pingora: this test looks at the wrong place");
}

#[test]
fn crates_depend_only_on_those_they_may() {
    let dependencies = dependencies();
    let ours = |name: &str| -> BTreeSet<&str> {
        dependencies[name].iter().map(String::as_str).filter(|name| name.starts_with("genkan-")).collect()
    };
    assert_eq!(ours("genkan-routing"), [].into());
    assert_eq!(ours("genkan-annotations"), ["genkan-routing"].into());
    assert_eq!(ours("genkan-policies"), [].into());
    assert_eq!(ours("genkan-proxy"), ["genkan-routing"].into());
    let controller = ["genkan-annotations", "genkan-policies", "genkan-proxy", "genkan-routing"];
    assert_eq!(ours("genkan-controller"), controller.into());

    let forbidden: &[(&str, &[&str])] = &[
        ("genkan-routing", &["tokio", "kube", "k8s-openapi", "gateway-api", "pingora-core", "pingora-proxy", "hyper"]),
        ("genkan-annotations", &["tokio", "kube", "k8s-openapi", "gateway-api", "pingora-core", "hyper"]),
        ("genkan-policies", &["tokio", "gateway-api", "pingora-core", "hyper"]),
        ("genkan-proxy", &["kube", "k8s-openapi", "gateway-api"]),
        ("genkan-controller", &["pingora-core", "pingora-proxy", "pingora-http"]),
    ];
    for (package, names) in forbidden {
        for name in *names {
            assert!(!dependencies[*package].contains(*name), "{package} must not depend on {name}");
        }
    }
}

#[test]
fn only_the_run_command_touches_the_proxy() {
    let root = root();
    let folder = root.join("controller/src");
    let run = [folder.join("cli/run.rs"), folder.join("cli/run"), folder.join("main.rs")];
    for path in sources(&folder) {
        if run.iter().any(|allowed| path.starts_with(allowed)) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let named = text.lines().position(|line| code(line).contains("genkan_proxy"));
        assert_eq!(named, None, "{} names the proxy crate: only the run command may", path.display());
    }
}

#[test]
fn the_pure_crates_read_no_clock_and_do_no_io() {
    let root = root();
    let forbidden =
        ["std::fs", "std::net::Tcp", "std::thread", "SystemTime::now", "Instant::now", "std::env", "rand::"];
    for folder in ["routing/src", "annotations/src", "policies/src", "controller/src/translate"] {
        for path in sources(&root.join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
            for line in shipped.lines() {
                for name in forbidden {
                    assert!(!code(line).contains(name), "{}: {name} in {line:?}", path.display());
                }
            }
        }
    }
}

#[test]
fn files_stay_readable() {
    const LIMIT: usize = 600;
    for path in sources(&root()) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LIMIT, "{} has {lines} lines: split it (at most {LIMIT})", path.display());
    }
}
