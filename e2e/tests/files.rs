//! Live edits of the folder that is served.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;

use genkan_e2e::http1;
use genkan_e2e::manifests::{ingress, service};
use genkan_e2e::{Genkan, Options};
use tempfile::TempDir;

/// An Ingress whose host answers with a redirect to `target`: needs no backend.
fn redirect(host: &str, target: &str) -> String {
    ingress(host.split('.').next().unwrap(), host, "none", &[("permanent-redirect", &format!("https://{target}/"))])
}

/// Where a host redirects to; `None` when nothing serves it.
fn target(genkan: &Genkan, host: &str) -> Option<String> {
    let answer = http1::get(genkan.http(), host, "/");
    match answer.status {
        301 => answer.field("location").map(|location| location.trim_matches('/').replace("https://", "")),
        404 => None,
        other => panic!("{host}: {other}: {answer:?}"),
    }
}

fn wait_for(genkan: &Genkan, host: &str, expected: Option<&str>) {
    genkan.wait_until(&format!("{host} -> {expected:?}"), || target(genkan, host).as_deref() == expected);
}

/// Problems of files, as `/problems` gives them.
fn file_problems(genkan: &Genkan) -> Vec<String> {
    let all = genkan.problems().into_iter();
    all.map(|problem| problem["origin"].as_str().unwrap().to_owned())
        .filter(|origin| origin.starts_with("File"))
        .collect()
}

#[test]
fn files_come_change_and_go() {
    let genkan = Genkan::serve_with(&[("a.yaml", &redirect("a.test", "one"))], Options::default());
    assert_eq!(target(&genkan, "a.test").as_deref(), Some("one"));

    // A new file, written in place.
    fs::write(genkan.folder().join("b.yaml"), redirect("b.test", "b")).unwrap();
    wait_for(&genkan, "b.test", Some("b"));
    // Changed in place, and by an editor that renames.
    fs::write(genkan.folder().join("a.yaml"), redirect("a.test", "two")).unwrap();
    wait_for(&genkan, "a.test", Some("two"));
    genkan.write("a.yaml", &redirect("a.test", "three"));
    wait_for(&genkan, "a.test", Some("three"));
    // Deleted.
    fs::remove_file(genkan.folder().join("b.yaml")).unwrap();
    wait_for(&genkan, "b.test", None);
    assert_eq!(target(&genkan, "a.test").as_deref(), Some("three"));

    // A folder that was not there, with a file in it; then the file under another name, in another format.
    fs::create_dir_all(genkan.folder().join("deep/er")).unwrap();
    fs::write(genkan.folder().join("deep/er/c.yaml"), redirect("c.test", "c")).unwrap();
    wait_for(&genkan, "c.test", Some("c"));
    let json = r#"{"apiVersion": "v1", "kind": "List", "items": [{
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "j", "annotations": {"nginx.ingress.kubernetes.io/permanent-redirect": "https://json/"}},
        "spec": {"rules": [{"host": "j.test", "http": {"paths": [{"path": "/", "pathType": "Prefix",
            "backend": {"service": {"name": "none", "port": {"number": 80}}}}]}}]}}]}"#;
    fs::write(genkan.folder().join("deep/j.json"), json).unwrap();
    wait_for(&genkan, "j.test", Some("json"));
    fs::remove_dir_all(genkan.folder().join("deep")).unwrap();
    wait_for(&genkan, "c.test", None);
    wait_for(&genkan, "j.test", None);
}

#[test]
fn a_backup_and_rename_by_an_editor_is_one_change() {
    let genkan = Genkan::serve_with(&[("a.yaml", &redirect("a.test", "one"))], Options::default());
    let at = |name: &str| genkan.folder().join(name);
    // As vim does with backups: the old file away, a new one in its place, the old one gone.
    fs::rename(at("a.yaml"), at("a.yaml~")).unwrap();
    fs::write(at("a.yaml"), redirect("a.test", "two")).unwrap();
    fs::remove_file(at("a.yaml~")).unwrap();
    let mut seen = vec![];
    genkan.wait_until("the new content", || {
        let now = target(&genkan, "a.test");
        if seen.last() != Some(&now) {
            seen.push(now.clone());
        }
        now.as_deref() == Some("two")
    });
    assert!(!seen.contains(&None), "the host was away in between: {seen:?}");
}

#[test]
fn the_symlink_swap_of_a_config_map_volume_is_one_change() {
    let folder = TempDir::new().unwrap();
    // As the kubelet lays a volume out: names -> ..data -> a folder per version.
    let version = |name: &str, target: &str| {
        let version = folder.path().join(name);
        fs::create_dir(&version).unwrap();
        fs::write(version.join("a.yaml"), redirect("a.test", target)).unwrap();
        fs::write(version.join("b.yaml"), redirect("b.test", target)).unwrap();
    };
    version("..one", "one");
    symlink("..one", folder.path().join("..data")).unwrap();
    for name in ["a.yaml", "b.yaml"] {
        symlink(format!("..data/{name}"), folder.path().join(name)).unwrap();
    }
    let path = folder.path().to_owned();
    let genkan = Genkan::serve_folder(folder, Options::default());
    assert_eq!(target(&genkan, "a.test").as_deref(), Some("one"));
    for (old, new) in [("one", "two"), ("two", "three")] {
        let at = path.join(format!("..{new}"));
        fs::create_dir(&at).unwrap();
        for name in ["a", "b"] {
            fs::write(at.join(format!("{name}.yaml")), redirect(&format!("{name}.test"), new)).unwrap();
        }
        symlink(format!("..{new}"), path.join("..data_tmp")).unwrap();
        fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
        fs::remove_dir_all(path.join(format!("..{old}"))).unwrap();
        wait_for(&genkan, "a.test", Some(new));
        wait_for(&genkan, "b.test", Some(new));
    }
}

#[test]
fn a_half_written_file_keeps_its_last_good_content_and_is_reported() {
    let files = [("a.yaml", &*redirect("a.test", "one")), ("b.yaml", &redirect("b.test", "one"))];
    let genkan = Genkan::serve_with(&files, Options::default());
    assert_eq!(file_problems(&genkan), Vec::<String>::new());

    // The writer stops in the middle of the document and stays there.
    let text = redirect("a.test", "two");
    let middle = text.find("spec:").unwrap() + "spec:\n  rules: [".len();
    let broken = format!("{}  rules: [", &text[..text.find("  rules:").unwrap()]);
    assert!(broken.len() <= middle);
    let mut file = File::create(genkan.folder().join("a.yaml")).unwrap();
    file.write_all(broken.as_bytes()).unwrap();
    file.sync_all().unwrap();
    genkan.wait_until("the report", || !file_problems(&genkan).is_empty());
    let problems = file_problems(&genkan);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("a.yaml: line "), "{problems:?}");
    assert!(problems[0].contains(", column "), "{problems:?}");
    assert_eq!(target(&genkan, "a.test").as_deref(), Some("one"), "the last good content is served");

    // Everything else goes on, also changes.
    genkan.write("b.yaml", &redirect("b.test", "two"));
    wait_for(&genkan, "b.test", Some("two"));
    assert_eq!(target(&genkan, "a.test").as_deref(), Some("one"));

    // The writer ends.
    file.write_all(b"]\n").unwrap();
    drop(file);
    genkan.write("a.yaml", &text);
    wait_for(&genkan, "a.test", Some("two"));
    genkan.wait_until("the report is empty", || file_problems(&genkan).is_empty());
    assert!(genkan.errors().contains("mended"), "{}", genkan.errors());
}

#[test]
fn an_object_of_the_wrong_form_costs_only_itself() {
    let genkan = Genkan::serve_with(&[("a.yaml", &redirect("a.test", "one"))], Options::default());
    let wrong = redirect("c.test", "c").replace("rules:", "rules: 5 #");
    let wrong = wrong.split(" #").next().unwrap().to_owned();
    genkan.write("more.yaml", &format!("{}{wrong}\n---\n{}", redirect("b.test", "b"), redirect("d.test", "d")));
    wait_for(&genkan, "b.test", Some("b"));
    wait_for(&genkan, "d.test", Some("d"));
    assert_eq!(target(&genkan, "c.test"), None);
    let problems = file_problems(&genkan);
    assert!(problems.iter().any(|origin| origin.contains("more.yaml: line ")), "{problems:?}");

    // Endpoints too are live.
    let silent = genkan_e2e::genkan::free_address();
    genkan.write("e.yaml", &(service("web", &[silent]) + &ingress("e", "e.test", "web", &[])));
    genkan.wait_until("a host without a living backend", || http1::get(genkan.http(), "e.test", "/").status == 502);
    let echo = genkan_e2e::Echo::start("web");
    genkan.write("e.yaml", &(service("web", &[echo.address()]) + &ingress("e", "e.test", "web", &[])));
    genkan.wait_until("a living backend", || http1::get(genkan.http(), "e.test", "/").status == 200);
}
