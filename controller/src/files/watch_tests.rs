//! Folders that change under a watcher. Every test awaits what it expects; the limit only ends a test that fails.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use tokio::time::timeout;

use super::super::tests::{folder, service, write};
use super::*;
use crate::resources::{Key, Kind, NamespacedName};

const LIMIT: Duration = Duration::from_secs(30);

fn port(watcher: &Watcher, name: &str) -> Option<i32> {
    let service = watcher.store().resources().services.get(&NamespacedName::new("default", name))?;
    Some(service.ports.first()?.port)
}

fn changed(name: &str) -> BTreeSet<Change> {
    BTreeSet::from([Change::Object(Key::new(Kind::Service, "default", name))])
}

async fn next(watcher: &mut Watcher) -> Update {
    timeout(LIMIT, watcher.changed()).await.expect("nothing changed")
}

/// Waits until a condition holds and gives all changes on the way.
async fn until(watcher: &mut Watcher, condition: impl Fn(&Watcher) -> bool) -> BTreeSet<Change> {
    let mut changes = BTreeSet::new();
    while !condition(watcher) {
        changes.extend(next(watcher).await.changes);
    }
    changes
}

fn start(files: &[(&str, &str)]) -> (TempDir, Watcher) {
    let folder = folder(files);
    let watcher = Watcher::open(folder.path());
    (folder, watcher)
}

#[tokio::test]
async fn changed_new_and_deleted_files_are_followed() {
    let (folder, mut watcher) = start(&[("a.yaml", &service("a", 1)), ("b.yaml", &service("b", 1))]);
    write(folder.path(), "a.yaml", &service("a", 2));
    assert_eq!(until(&mut watcher, |w| port(w, "a") == Some(2)).await, changed("a"));
    write(folder.path(), "c.yaml", &service("c", 1));
    assert_eq!(until(&mut watcher, |w| port(w, "c") == Some(1)).await, changed("c"));
    fs::remove_file(folder.path().join("b.yaml")).unwrap();
    assert_eq!(until(&mut watcher, |w| port(w, "b").is_none()).await, changed("b"));
}

#[tokio::test]
async fn a_file_that_was_written_and_closed_is_taken_before_it_could_rest() {
    let (folder, mut watcher) = start(&[("a.yaml", &service("a", 1))]);
    write(folder.path(), "a.yaml", &service("a", 2));
    let event = timeout(LIMIT, async {
        loop {
            let event = watcher.events.recv().await.unwrap();
            if event.as_ref().is_ok_and(|event| event.kind == EventKind::Access(WRITTEN)) {
                return event;
            }
        }
    });
    let event = event.await.unwrap();
    let now = Instant::now();
    watcher.note_all(event, now);
    assert_eq!(watcher.act(now).changes, changed("a"));
}

#[tokio::test]
async fn a_file_that_is_renamed_into_place_is_followed() {
    let (folder, mut watcher) = start(&[("a.yaml", &service("a", 1))]);
    write(folder.path(), ".a.yaml.swp", &service("a", 2));
    fs::rename(folder.path().join(".a.yaml.swp"), folder.path().join("a.yaml")).unwrap();
    until(&mut watcher, |w| port(w, "a") == Some(2)).await;
}

#[tokio::test]
async fn a_file_that_is_moved_away_and_written_anew_never_loses_its_objects() {
    let (folder, mut watcher) = start(&[("a.yaml", &service("a", 1))]);
    let path = folder.path().join("a.yaml");
    // Time stands still, so that no doubt ends.
    let now = Instant::now();
    let step = async |watcher: &mut Watcher| {
        let event = timeout(LIMIT, watcher.events.recv()).await.unwrap().unwrap();
        watcher.note_all(event, now);
        watcher.act(now)
    };
    fs::rename(&path, folder.path().join("a.yaml~")).unwrap();
    assert_eq!(step(&mut watcher).await, Update::default());
    assert!(watcher.doubts.contains_key(&path));
    write(folder.path(), "a.yaml", &service("a", 2));
    while port(&watcher, "a") != Some(2) {
        step(&mut watcher).await;
        assert!(port(&watcher, "a").is_some());
    }
    assert!(watcher.doubts.is_empty());
}

#[tokio::test]
async fn a_broken_file_keeps_its_last_good_content_until_it_is_mended() {
    let (folder, mut watcher) = start(&[("a.yaml", &service("a", 1)), ("b.yaml", &service("b", 1))]);
    write(folder.path(), "a.yaml", &format!("{}  bad: [\n", service("a", 2)));
    let update = next(&mut watcher).await;
    assert_eq!((update.changes, update.problems_changed), (BTreeSet::new(), true));
    let problems = watcher.store().problems();
    assert_eq!((problems.len(), problems[0].reason), (1, "InvalidSyntax"));
    assert!(problems[0].line > 0 && problems[0].column > 0, "{}", problems[0]);
    assert_eq!(port(&watcher, "a"), Some(1));
    write(folder.path(), "b.yaml", &service("b", 2));
    until(&mut watcher, |w| port(w, "b") == Some(2)).await;
    write(folder.path(), "a.yaml", &service("a", 3));
    until(&mut watcher, |w| w.store().problems().is_empty()).await;
    assert_eq!(port(&watcher, "a"), Some(3));
}

#[tokio::test]
async fn a_file_that_shrinks_is_doubted_and_then_believed() {
    let (folder, mut watcher) = start(&[("a.yaml", &format!("{}---\n{}", service("a", 1), service("b", 1)))]);
    write(folder.path(), "a.yaml", "");
    assert_eq!(next(&mut watcher).await.changes.len(), 2);
    assert_eq!(port(&watcher, "a"), None);
}

#[tokio::test]
async fn a_shorter_file_that_is_renamed_into_place_is_believed_at_once() {
    let (folder, mut watcher) = start(&[("a.yaml", &format!("{}---\n{}", service("a", 1), service("b", 1)))]);
    // Time stands still, so that no doubt ends.
    let now = Instant::now();
    write(folder.path(), ".a.yaml.swp", &service("a", 1));
    fs::rename(folder.path().join(".a.yaml.swp"), folder.path().join("a.yaml")).unwrap();
    while port(&watcher, "b").is_some() {
        let event = timeout(LIMIT, watcher.events.recv()).await.expect("the removal is not taken").unwrap();
        watcher.note_all(event, now);
        watcher.act(now);
    }
    assert_eq!(port(&watcher, "a"), Some(1));
    assert!(watcher.doubts.is_empty());
}

#[tokio::test]
async fn folders_are_followed_however_they_come_and_go() {
    let (folder, mut watcher) = start(&[("a.yaml", &service("a", 1))]);
    write(folder.path(), "new/deep/b.yaml", &service("b", 1));
    until(&mut watcher, |w| port(w, "b") == Some(1)).await;
    write(folder.path(), "new/deep/b.yaml", &service("b", 2));
    until(&mut watcher, |w| port(w, "b") == Some(2)).await;
    fs::rename(folder.path().join("new"), folder.path().join("other")).unwrap();
    let moved = |w: &Watcher| w.store().sources().values().any(|source| source.file.ends_with("other/deep/b.yaml"));
    until(&mut watcher, moved).await;
    write(folder.path(), "other/deep/b.yaml", &service("b", 3));
    until(&mut watcher, |w| port(w, "b") == Some(3)).await;
    fs::remove_dir_all(folder.path().join("other")).unwrap();
    until(&mut watcher, |w| port(w, "b").is_none()).await;
    assert_eq!(port(&watcher, "a"), Some(1));
}

#[tokio::test]
async fn the_swap_of_a_mounted_config_map_is_followed_again_and_again() {
    let folder = folder(&[("..1/a.yaml", &service("a", 1)), ("..1/b.yaml", &service("b", 1))]);
    let path = folder.path();
    symlink("..1", path.join("..data")).unwrap();
    for name in ["a.yaml", "b.yaml"] {
        symlink(Path::new("..data").join(name), path.join(name)).unwrap();
    }
    let mut watcher = Watcher::open(path);
    assert_eq!(port(&watcher, "b"), Some(1));
    for round in 2..5 {
        write(path, &format!("..{round}/a.yaml"), &service("a", round));
        symlink(format!("..{round}"), path.join("..data_tmp")).unwrap();
        fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
        if round == 2 {
            fs::remove_file(path.join("b.yaml")).unwrap();
        }
        fs::remove_dir_all(path.join(format!("..{}", round - 1))).unwrap();
        until(&mut watcher, |w| port(w, "a") == Some(round.into())).await;
    }
    until(&mut watcher, |w| port(w, "b").is_none()).await;
    assert_eq!(watcher.store().problems(), []);
}

#[tokio::test]
async fn a_root_that_is_a_link_may_be_pointed_elsewhere() {
    let folder = folder(&[("one/a.yaml", &service("a", 1)), ("two/a.yaml", &service("a", 2))]);
    let root = folder.path().join("current");
    symlink("one", &root).unwrap();
    let mut watcher = Watcher::open(&root);
    symlink("two", folder.path().join("next")).unwrap();
    fs::rename(folder.path().join("next"), &root).unwrap();
    until(&mut watcher, |w| port(w, "a") == Some(2)).await;
    write(folder.path(), "two/a.yaml", &service("a", 3));
    until(&mut watcher, |w| port(w, "a") == Some(3)).await;
}

#[tokio::test]
async fn one_file_is_followed_through_writes_and_replacements() {
    let folder = folder(&[("a.manifest", &service("a", 1)), ("b.yaml", &service("b", 1))]);
    let mut watcher = Watcher::open(folder.path().join("a.manifest"));
    write(folder.path(), "a.manifest", &service("a", 2));
    until(&mut watcher, |w| port(w, "a") == Some(2)).await;
    write(folder.path(), "new", &service("a", 3));
    fs::rename(folder.path().join("new"), folder.path().join("a.manifest")).unwrap();
    until(&mut watcher, |w| port(w, "a") == Some(3)).await;
    assert_eq!(port(&watcher, "b"), None);
}

#[tokio::test]
async fn a_target_of_a_link_outside_of_the_folder_is_followed() {
    let outside = folder(&[("real.yaml", &service("a", 1))]);
    let folder = TempDir::new().unwrap();
    symlink(outside.path().join("real.yaml"), folder.path().join("a.yaml")).unwrap();
    let mut watcher = Watcher::open(folder.path());
    write(outside.path(), "real.yaml", &service("a", 2));
    until(&mut watcher, |w| port(w, "a") == Some(2)).await;
}

#[tokio::test]
async fn a_folder_that_does_not_exist_yet_is_awaited() {
    let parent = TempDir::new().unwrap();
    let mut watcher = Watcher::open(parent.path().join("later"));
    assert_eq!(watcher.store().problems().len(), 1);
    write(parent.path(), "later/a.yaml", &service("a", 1));
    until(&mut watcher, |w| port(w, "a") == Some(1)).await;
    until(&mut watcher, |w| w.store().problems().is_empty()).await;
}

#[tokio::test]
async fn polling_follows_the_same_changes() {
    let folder = folder(&[("a.yaml", &service("a", 1))]);
    let mut watcher = Watcher::open_polling(folder.path(), Duration::from_millis(5));
    write(folder.path(), "a.yaml", &service("a", 22));
    until(&mut watcher, |w| port(w, "a") == Some(22)).await;
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    until(&mut watcher, |w| port(w, "a").is_none()).await;
}
