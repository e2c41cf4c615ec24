//! The Dockerfile: what it copies is there and is not ignored, and it agrees with the chart and the workspace. Building
//! it needs a container engine, which tests do without.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e is a folder of the repository").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The instructions with their arguments, lines that are continued put together.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap()).map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
}

/// What is copied from the repository.
fn copied() -> Vec<String> {
    let copies = instructions().into_iter().filter(|(name, rest)| name == "COPY" && !rest.starts_with("--from"));
    copies
        .flat_map(|(_, rest)| {
            let mut paths: Vec<_> = rest.split_whitespace().map(str::to_owned).collect();
            paths.pop();
            paths
        })
        .collect()
}

fn values() -> Value {
    serde_saphyr::from_str(&read("charts/genkan/values.yaml")).unwrap()
}

#[test]
fn what_is_copied_is_there_and_nothing_else_is_sent() {
    let copied = copied();
    assert!(copied.len() > 5, "{copied:?}");
    for path in &copied {
        assert!(root().join(path).exists(), "{path}");
    }
    let mut sent: Vec<_> =
        read(".dockerignore").lines().filter_map(|line| line.strip_prefix('!').map(str::to_owned)).collect();
    let mut copied = copied;
    copied.sort();
    sent.sort();
    assert_eq!(sent, copied);
}

#[test]
fn every_member_of_the_workspace_is_copied() {
    let manifest = read("Cargo.toml");
    let (members, _) = manifest.split_once("members = [").unwrap().1.split_once(']').unwrap();
    for member in members.lines().filter_map(|line| line.split('"').nth(1)) {
        let there = copied().iter().any(|path| path == member || path == &format!("{member}/Cargo.toml"));
        assert!(there, "{member} is not copied: Cargo would refuse the workspace");
    }
}

#[test]
fn the_compiler_is_the_one_that_the_workspace_asks_for() {
    let manifest = read("Cargo.toml");
    let asked = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    let given = instructions().into_iter().find_map(|(_, rest)| rest.strip_prefix("RUST_VERSION=").map(str::to_owned));
    assert_eq!(given.as_deref(), Some(asked));
}

#[test]
fn the_user_and_the_commands_are_those_of_the_chart() {
    let image = &values()["controller"]["image"];
    let user = format!("{}:{}", image["runAsUser"], image["runAsGroup"]);
    let instructions = instructions();
    let last =
        |name: &str| instructions.iter().rev().find(|(it, _)| it == name).map(|(_, rest)| rest.as_str()).unwrap();
    assert_eq!(last("USER"), user);
    assert!(instructions.iter().any(|(_, rest)| rest.contains(&format!("genkan:x:{user}:"))));
    let command = values()["controller"]["lifecycle"]["preStop"]["exec"]["command"][0].clone();
    let link = format!("ln -s genkan /image{}", command.as_str().unwrap());
    assert!(instructions.iter().any(|(_, rest)| rest.contains(&link)), "{link}");
}
