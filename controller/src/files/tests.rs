//! What a folder of manifests becomes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use genkan_routing::report::Severity;
use tempfile::TempDir;

use super::*;
use crate::resources::{Kind, NamespacedName};
use crate::translate::Change;

pub(super) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

pub(super) fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub(super) fn service(name: &str, port: u16) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - port: {port}\n")
}

fn key(kind: Kind, name: &str) -> Key {
    Key::new(kind, "default", name)
}

fn load_text(text: &str) -> Loaded {
    load(folder(&[("a.yaml", text)]).path())
}

fn only_problem(loaded: &Loaded) -> &FileProblem {
    assert_eq!(loaded.problems.len(), 1, "{:#?}", loaded.problems);
    &loaded.problems[0]
}

#[test]
fn content_reads_as_the_same_file_would() {
    let text = format!("{}---\n{}---\nkind: [\n", service("a", 1), service("a", 2));
    let folder = folder(&[("a.yaml", &text)]);
    let path = folder.path().join("a.yaml");
    let loaded = parse(&path, text.as_bytes());
    assert_eq!((loaded.resources.services.len(), loaded.problems.len()), (1, 2));
    assert_eq!(loaded, load(&path));
}

#[test]
fn nested_folders_documents_lists_and_json_are_read() {
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", service("c", 3).replace('\n', "\n  "));
    let typed = "{\"apiVersion\": \"v1\", \"kind\": \"ServiceList\", \"items\": [{\"metadata\": {\"name\": \"d\"}}]}";
    let folder = folder(&[
        ("a.yaml", &format!("{}---\n{}", service("a", 1), service("b", 2))),
        ("deep/er/list.yml", &list),
        ("deep/typed.json", typed),
        ("notes.txt", "not read"),
        (".hidden.yaml", "not: [read"),
        (".git/x.yaml", "not: [read"),
    ]);
    let loaded = load(folder.path());
    assert_eq!(loaded.problems, []);
    let names: Vec<_> = loaded.resources.services.keys().map(|key| key.name.to_string()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert_eq!(loaded.sources[&key(Kind::Service, "b")], Source { file: folder.path().join("a.yaml").into(), line: 9 });
    assert_eq!(loaded.sources[&key(Kind::Service, "c")].line, 4);
}

#[test]
fn one_file_can_be_named_outright() {
    let folder = folder(&[("a.manifest", &service("a", 1)), ("b.yaml", &service("b", 2))]);
    let loaded = load(folder.path().join("a.manifest"));
    assert_eq!(loaded.resources.services.len(), 1);
    assert_eq!(loaded.problems, []);
}

#[test]
fn a_path_that_does_not_exist_is_a_problem() {
    let loaded = load("does/not/exist");
    assert_eq!(only_problem(&loaded).reason, "UnreadableFile");
}

#[test]
fn objects_without_a_namespace_are_in_default() {
    let loaded = load_text(&service("a", 1));
    let service = &loaded.resources.services[&NamespacedName::new("default", "a")];
    assert_eq!(service.metadata.namespace.as_deref(), Some("default"));
}

#[test]
fn cluster_scoped_objects_have_no_namespace() {
    let loaded = load_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: x, namespace: y}\n");
    assert_eq!(loaded.resources.namespaces[&NamespacedName::new("", "x")].metadata.namespace, None);
}

#[test]
fn other_kinds_are_counted_and_left_alone() {
    let loaded = load_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\napiVersion: apps/v1\nkind: Deployment\n---\n\
         apiVersion: v1\nkind: Pod\n---\napiVersion: networking.internal.knative.dev/v1\nkind: Ingress\n",
    );
    assert_eq!(loaded.problems, []);
    let kinds: Vec<_> = loaded.other_kinds.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(kinds, [("Deployment.apps", 2), ("Ingress.networking.internal.knative.dev", 1), ("Pod", 1)]);
}

#[test]
fn old_versions_are_reported_with_the_one_to_write() {
    for version in ["extensions/v1beta1", "networking.k8s.io/v1beta1"] {
        let loaded = load_text(&format!("kind: Ingress\napiVersion: {version}\nmetadata: {{name: a}}\n"));
        let problem = only_problem(&loaded);
        assert_eq!((problem.reason, problem.line, problem.severity), ("UnsupportedVersion", 2, Severity::Error));
        assert!(problem.message.contains("networking.k8s.io/v1"), "{problem}");
    }
    let loaded = load_text("kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1alpha2\nmetadata: {name: a}\n");
    assert_eq!(only_problem(&loaded).reason, "UnsupportedVersion");
}

#[test]
fn v1beta1_of_gateway_api_is_read_as_v1() {
    let loaded = load_text(
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: a, namespace: b}\n\
         spec:\n  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: c}]\n  to: [{group: '', kind: Secret}]\n",
    );
    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.resources.reference_grants.len(), 1);
}

#[test]
fn type_errors_name_field_line_and_column() {
    let loaded = load_text(
        "# a comment\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\n  annotations:\n    \
         nginx.ingress.kubernetes.io/ssl-redirect: true\n",
    );
    let problem = only_problem(&loaded);
    assert_eq!(problem.field, "metadata.annotations[nginx.ingress.kubernetes.io/ssl-redirect]");
    assert_eq!((problem.line, problem.column), (7, 47));
    assert_eq!(problem.key, Some(key(Kind::Ingress, "web")));
    assert_eq!(problem.mend, "put the value in quotes");
    let reported = problem.problem().to_string();
    assert!(reported.contains("a.yaml: line 7, column 47: Ingress default/web: metadata.annotations["), "{reported}");

    let loaded = load_text(&service("a", 1).replace("port: 1", "port: http"));
    assert_eq!((only_problem(&loaded).field.as_str(), only_problem(&loaded).line), ("spec.ports[0].port", 7));
    assert!(loaded.resources.services.is_empty());
}

#[test]
fn unknown_fields_are_warnings_that_name_the_nearest_known_one() {
    let loaded = load_text(&service("a", 1).replace("ports:", "sessionAfinity: None\n  ports:"));
    let problem = only_problem(&loaded);
    assert_eq!((problem.reason, problem.severity, problem.line), ("UnknownField", Severity::Warning, 6));
    assert!(problem.message.contains("did you mean sessionAffinity?"), "{problem}");
    assert_eq!(loaded.resources.services.len(), 1);
    let loaded = load_text(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n  gatewayClassName: x\n  \
         listeners: [{name: http, protocol: HTTP, port: 80, hostnme: a}]\n",
    );
    assert_eq!(only_problem(&loaded).field, "spec.listeners[0].hostnme");
}

#[test]
fn a_gateway_with_a_wrong_field_is_located() {
    let loaded = load_text(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n  gatewayClassName: x\n  \
         listeners:\n  - name: http\n    protocol: HTTP\n    port: eighty\n",
    );
    assert_eq!((only_problem(&loaded).field.as_str(), only_problem(&loaded).line), ("spec.listeners[0].port", 9));
}

#[test]
fn names_are_checked() {
    for metadata in ["{}", "{name: A}", "{name: a_b}", "{generateName: x-}", "{name: 5}", "{name: a, namespace: B}"] {
        let loaded = load_text(&format!("apiVersion: v1\nkind: Service\nmetadata: {metadata}\n"));
        assert_eq!(only_problem(&loaded).reason, "InvalidName", "{metadata}");
    }
}

#[test]
fn secret_values_are_never_quoted() {
    for text in
        ["data: {tls.key: 12345678}", "data: {tls.key: '*secret*'}", "data: '*secret*'", "stringData: {a: 12345678}"]
    {
        let loaded = load_text(&format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{text}\n"));
        let told = format!("{:?} {}", loaded.problems, only_problem(&loaded));
        assert!(!told.contains("*secret*") && !told.contains("12345678"), "{told}");
    }
}

#[test]
fn the_first_of_two_definitions_in_path_order_wins() {
    let folder = folder(&[("b.yaml", &service("x", 2)), ("a/z.yaml", &service("x", 1)), ("c.yaml", &service("x", 1))]);
    let loaded = load(folder.path());
    assert_eq!(loaded.sources[&key(Kind::Service, "x")].file.as_ref(), folder.path().join("a/z.yaml"));
    assert_eq!(loaded.problems.len(), 2);
    let (different, same) = (&loaded.problems[0], &loaded.problems[1]);
    assert_eq!((different.reason, different.severity), ("DuplicateObject", Severity::Error));
    assert!(different.file.ends_with("b.yaml") && different.message.contains("a/z.yaml line 1"), "{different}");
    assert_eq!((same.reason, same.severity), ("DuplicateObject", Severity::Warning));
}

#[test]
fn what_is_no_object_is_told_but_a_foreign_map_is_no_error() {
    let loaded = load_text("image: nginx\n---\nkind: Service\n---\njust text\n");
    let told: Vec<_> = loaded.problems.iter().map(|problem| (problem.line, problem.severity)).collect();
    assert_eq!(told, [(1, Severity::Warning), (3, Severity::Error), (5, Severity::Error)]);
}

#[test]
fn text_that_is_not_utf8_is_located() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.yaml"), b"a: 1\nb: \xff\n").unwrap();
    assert_eq!(only_problem(&load(folder.path())).line, 2);
}

#[test]
fn a_mounted_config_map_is_read_once() {
    let folder = folder(&[("..2026_01/a.yaml", &service("a", 1)), ("..2026_01/b.yaml", &service("b", 1))]);
    let path = folder.path();
    std::os::unix::fs::symlink("..2026_01", path.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/a.yaml", path.join("a.yaml")).unwrap();
    std::os::unix::fs::symlink("..data/b.yaml", path.join("b.yaml")).unwrap();
    let loaded = load(path);
    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.resources.services.len(), 2);
    assert_eq!(loaded.sources[&key(Kind::Service, "a")].file.as_ref(), path.join("a.yaml"));
}

#[test]
fn a_link_back_to_a_parent_ends() {
    let folder = folder(&[("in/a.yaml", &service("a", 1))]);
    std::os::unix::fs::symlink("..", folder.path().join("in/loop")).unwrap();
    let loaded = load(folder.path());
    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.resources.services.len(), 1);
}

/// A folder with a store over it, and what a rewritten file changes.
struct Followed {
    folder: TempDir,
    store: FileStore,
}

impl Followed {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = folder(files);
        let store = FileStore::open(folder.path());
        Self { folder, store }
    }

    fn rewrite(&mut self, name: &str, text: &str) -> Vec<String> {
        write(self.folder.path(), name, text);
        self.refresh(name)
    }

    fn remove(&mut self, name: &str) -> Vec<String> {
        fs::remove_file(self.folder.path().join(name)).unwrap();
        self.refresh(name)
    }

    fn refresh(&mut self, name: &str) -> Vec<String> {
        let changes = self.store.refresh(&BTreeSet::from([self.folder.path().join(name)]));
        let mut fresh = FileStore::open(self.folder.path());
        if self.store.problems().is_empty() {
            assert_eq!(self.store.resources(), fresh.resources(), "not what reading everything gives");
            assert_eq!(self.store.sources(), fresh.sources());
        }
        assert_eq!(fresh.rescan(), BTreeSet::new());
        changes
            .into_iter()
            .map(|change| match change {
                Change::Object(key) => key.name.name.to_string(),
                other => panic!("files change objects only: {other:?}"),
            })
            .collect()
    }

    fn services(&self) -> Vec<&str> {
        self.store.resources().services.keys().map(|key| &*key.name).collect()
    }
}

#[test]
fn a_change_of_one_document_costs_no_parsing_of_the_others() {
    let text = |port| [service("a", 1), service("b", port), service("c", 3)].join("---\n");
    let mut followed = Followed::new(&[("a.yaml", &text(2))]);
    let of =
        |followed: &Followed, name| followed.store.resources().services[&NamespacedName::new("default", name)].clone();
    let before = ["a", "b", "c"].map(|name| of(&followed, name));
    assert_eq!(followed.rewrite("a.yaml", &format!("# moved\n\n{}", text(20))), ["b"]);
    let after = ["a", "b", "c"].map(|name| of(&followed, name));
    let kept = [0, 1, 2].map(|at| Arc::ptr_eq(&before[at], &after[at]));
    // The first document has another text now, which says the same.
    assert_eq!((kept, after[1].ports[0].port), ([true, false, true], 20));
    assert_eq!(followed.store.source(&key(Kind::Service, "c")).unwrap().line, 19);
}

#[test]
fn a_document_that_was_mended_and_broken_again_is_told_again() {
    let good = format!("{}---\n{}", service("a", 1), service("b", 1));
    let bad = good.replacen("port: 1", "port: x", 1);
    let mut followed = Followed::new(&[("a.yaml", &good)]);
    for text in [&bad, &good, &bad] {
        followed.rewrite("a.yaml", text);
        assert_eq!(followed.store.problems().len(), usize::from(text == &bad));
        assert_eq!(followed.store.resources().services.len(), 2);
    }
}

#[test]
fn only_what_differs_is_a_change() {
    let mut followed = Followed::new(&[("a.yaml", &format!("{}---\n{}", service("a", 1), service("b", 1)))]);
    let text = format!("{}---\n# comment\n{}---\n{}", service("a", 2), service("b", 1), service("c", 1));
    assert_eq!(followed.rewrite("a.yaml", &text), ["a", "c"]);
    assert_eq!(followed.rewrite("a.yaml", &text), [""; 0]);
    assert_eq!(followed.rewrite("a.yaml", &service("c", 1)), ["a", "b"]);
    assert_eq!(followed.remove("a.yaml"), ["c"]);
}

#[test]
fn a_document_with_a_known_name_that_breaks_keeps_only_its_own_object() {
    let all = [service("a", 1), service("b", 1), service("c", 1)].join("---\n");
    let mut followed = Followed::new(&[("a.yaml", &all)]);
    let text = [service("a", 2), service("b", 1).replace("port: 1", "port: x")].join("---\n");
    assert_eq!(followed.rewrite("a.yaml", &text), ["a", "c"]);
    assert_eq!(followed.services(), ["a", "b"]);
    assert_eq!(followed.store.problems()[0].key, Some(key(Kind::Service, "b")));
    assert!(followed.store.problems()[0].mend.contains("last good"));
    assert_eq!(followed.rewrite("a.yaml", &service("a", 2)), ["b"]);
    assert_eq!(followed.store.problems(), []);
}

#[test]
fn a_document_that_cannot_be_named_keeps_everything_that_may_have_been_in_it() {
    let all = [service("a", 1), service("b", 1)].join("---\n");
    let mut followed = Followed::new(&[("a.yaml", &all)]);
    let text = [service("a", 2), "kind: [\n".to_owned()].join("---\n");
    assert_eq!(followed.rewrite("a.yaml", &text), ["a"]);
    assert_eq!(followed.services(), ["a", "b"]);
    assert_eq!(followed.rewrite("a.yaml", &service("a", 2)), ["b"]);
}

#[test]
fn the_next_definition_takes_over_when_the_first_goes() {
    let mut followed = Followed::new(&[("a.yaml", &service("x", 1)), ("b.yaml", &service("x", 2))]);
    assert_eq!(followed.store.problems().len(), 1);
    assert_eq!(followed.rewrite("b.yaml", &service("x", 3)), [""; 0]);
    assert_eq!(followed.remove("a.yaml"), ["x"]);
    assert_eq!(followed.store.problems(), []);
    assert_eq!(followed.rewrite("a.yaml", &service("x", 4)), ["x"]);
    assert_eq!(followed.store.problems().len(), 1);
}

#[test]
fn one_change_among_many_files_reads_only_that_file() {
    let files: Vec<_> = (0..300).map(|n| (format!("{n}.yaml"), service(&format!("s{n}"), 1))).collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let mut followed = Followed::new(&files);
    // Not in the set of changed paths, so it must not be seen.
    write(followed.folder.path(), "1.yaml", &service("s1", 2));
    write(followed.folder.path(), "2.yaml", &service("s2", 2));
    let path = followed.folder.path().join("2.yaml");
    assert_eq!(followed.store.refresh(&BTreeSet::from([path])).len(), 1);
    assert_eq!(followed.store.rescan().len(), 1);
}

#[test]
fn of_a_policy_that_can_not_be_read_the_rest_is_taken_unless_there_was_a_sound_one() {
    let text = |says: &str| {
        format!(
            "apiVersion: genkan.dev/v1alpha1\nkind: RoutePolicy\nmetadata:\n  name: a\nspec:\n  targetRefs: []\n  \
             defaults:\n    bodySize:\n      max: 1m\n    ipAccess: {says}\n"
        )
    };
    let folder = folder(&[("a.yaml", &text("here"))]);
    let mut store = FileStore::open(folder.path());
    let key = key(Kind::RoutePolicy, "a");
    let kept = |store: &FileStore| {
        let defaults = store.resources().route_policies[&key.name].spec.defaults.clone().unwrap();
        (defaults.body_size.is_some(), defaults.ip_access.is_some())
    };
    let parts = |store: &FileStore| -> Vec<_> {
        let unreadable = store.resources().unreadable_objects.get(&key);
        unreadable.into_iter().flat_map(|it| &it.parts).map(|part| (part.field.clone(), part.partly)).collect()
    };
    assert_eq!((kept(&store), parts(&store)), ((true, false), vec![("spec.defaults.ipAccess".to_owned(), false)]));
    assert_eq!(store.problems().len(), 1);
    let say = |store: &mut FileStore, says: &str| {
        write(folder.path(), "a.yaml", &text(says));
        store.rescan()
    };
    assert_eq!(say(&mut store, "{alow: []}"), BTreeSet::from([Change::Object(key.clone())]));
    assert_eq!((kept(&store), parts(&store)), ((true, true), vec![("spec.defaults.ipAccess".to_owned(), true)]));
    say(&mut store, "{allow: []}");
    assert_eq!((kept(&store), parts(&store)), ((true, true), vec![]));
    assert_eq!(say(&mut store, "nowhere"), BTreeSet::new());
    assert_eq!((kept(&store), parts(&store)), ((true, true), vec![]));
    assert!(store.problems()[0].mend.contains("last good version"), "{:?}", store.problems());
}
