//! The command line: what each command prints, and its exit code.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use genkan_e2e::genkan::binary;
use genkan_e2e::manifests::{ingress, secret, service, tls_ingress};
use genkan_e2e::tls::Pair;
use genkan_e2e::{Echo, Genkan, Options, http1};
use serde_json::Value;
use tempfile::TempDir;

fn run(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().expect("genkan runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with one file `web.yaml`.
fn folder(manifests: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("web.yaml"), manifests).unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    (folder, path)
}

/// A Service and an Ingress that are fine.
fn good() -> String {
    service("web", &["127.0.0.1:9".parse().unwrap()]) + &ingress("web", "web.test", "web", &[])
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e is a folder of the repository").to_owned()
}

#[test]
fn check_tells_where_a_mistyped_annotation_is_and_what_was_meant() {
    let typo = ingress("typo", "typo.test", "web", &[("rate-limit-rps", "5")]);
    let (_folder, path) = folder(&(good() + &typo));
    let output = run(&["check", &path]);
    let printed = text(&output.stdout);
    let line = text(good().as_bytes()).lines().count() + 1;
    let expected = format!(
        "{path}/web.yaml:{line}: warning: Ingress default/typo: \
         metadata.annotations[nginx.ingress.kubernetes.io/rate-limit-rps]: unknown annotation \
         nginx.ingress.kubernetes.io/rate-limit-rps on Ingress default/typo: did you mean limit-rps? \
         (UnknownAnnotation)"
    );
    assert_eq!(printed.lines().next(), Some(expected.as_str()), "{printed}");
    assert!(printed.ends_with("4 objects: 0 errors, 1 warning\n"), "{printed}");
    assert_eq!(output.status.code(), Some(0), "warnings alone are no failure");
}

#[test]
fn check_fails_on_errors() {
    let (_folder, path) = folder(&ingress("web", "web.test", "missing", &[]));
    let output = run(&["check", &path]);
    assert_eq!(output.status.code(), Some(1));
    let printed = text(&output.stdout);
    assert!(printed.contains("error: Ingress default/web: spec.rules[0].http.paths[0].backend: "), "{printed}");
    assert!(printed.contains("Service default/missing does not exist"), "{printed}");

    let (_folder, path) = folder(&good());
    let output = run(&["check", &path]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "3 objects: 0 errors, 0 warnings\n"));
}

#[test]
fn check_gives_json_with_the_place_of_each_problem() {
    let (_folder, path) = folder(&format!("{}a: [b\n", good()));
    let output = run(&["check", "-o", "json", &path]);
    assert_eq!(output.status.code(), Some(1));
    let problems: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let place = problems[0]["place"].as_str().unwrap();
    let mut parts = place.strip_prefix(&format!("{path}/web.yaml:")).expect(place).split(':');
    let (line, column): (usize, usize) =
        (parts.next().unwrap().parse().unwrap(), parts.next().expect("a column").parse().unwrap());
    assert!(line > good().lines().count() && column > 0, "{place}");
    assert_eq!((&problems[0]["severity"], &problems[0]["reason"]), (&"error".into(), &"InvalidSyntax".into()));

    let (_folder, path) = folder(&good());
    assert_eq!(text(&run(&["check", "-o", "json", &path]).stdout), "[]\n");
}

#[test]
fn translate_prints_yaml_that_can_be_read_and_no_private_key() {
    let pair = Pair::new(&["tls.test"]);
    let manifests =
        good() + &tls_ingress("tls", "tls.test", "web", "tls") + &secret("tls", &pair.certificate, &pair.key);
    let (_folder, path) = folder(&manifests);
    let yaml = run(&["translate", &path]);
    assert_eq!(yaml.status.code(), Some(0), "{}", text(&yaml.stderr));
    let printed = text(&yaml.stdout);
    let from_yaml: Value = serde_saphyr::from_str(&printed).unwrap_or_else(|error| panic!("{error}:\n{printed}"));
    let from_json: Value = serde_json::from_slice(&run(&["translate", "--json", &path]).stdout).expect("JSON");
    // The generated default certificate is another one in each process.
    let without = |mut value: Value| {
        value["model"]["certificates"].as_object_mut().unwrap().retain(|id, _| id.contains("default/tls"));
        value
    };
    assert_eq!(without(from_yaml), without(from_json));
    for line in pair.key.lines().filter(|line| !line.starts_with("---")) {
        assert!(!printed.contains(line), "a line of the private key is printed");
    }
    assert!(printed.contains("127.0.0.1:9"), "{printed}");
}

#[test]
fn explain_says_what_serves_a_request_and_why_nothing_else_does() {
    let api = ingress("api", "web.test", "web", &[("limit-rps", "5")]).replace("path: /\n", "path: /api\n");
    let canary = [("canary", "true"), ("canary-by-header", "X-Canary"), ("canary-weight", "10")];
    let next = service("next", &["127.0.0.1:7".parse().unwrap()]) + &ingress("next", "web.test", "next", &canary);
    let (_folder, path) = folder(&(good() + &api + &next));
    let output = run(&["explain", &path, "http://web.test/api/x?y=1", "-X", "POST", "-H", "X-Canary: always"]);
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for expected in [
        "POST web.test/api/x?y=1 on listener http",
        "(prefix /api) -> ingress/default/api/0/0, from Ingress default/api: spec.rules[0].http.paths[0]",
        "(prefix /) -> ingress/default/web/0/0, from Ingress default/web: spec.rules[0].http.paths[0]",
        "because path / is a shorter prefix than /api",
        "because less specific host *",
        "rateLimit",
        "default/web:80 -> 127.0.0.1:9",
    ] {
        assert!(printed.contains(expected), "{expected} is missing:\n{printed}");
    }
    let output = run(&["explain", &path, "http://web.test/", "-o", "json"]);
    let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(explained["winner"]["rule"], "ingress/default/web/0/0", "{explained:#}");
    let canary = text(&run(&["explain", &path, "http://web.test/"]).stdout);
    assert!(canary.contains("canary: header x-canary, then 10 of 100"), "{canary}");
}

#[test]
fn explain_says_where_tls_connections_go_unopened() {
    let passing = ingress("pass", "pass.test", "web", &[("ssl-passthrough", "true")]);
    let (_folder, path) = folder(&(good() + &passing));
    let explained = |url: &str, flags: &[&str]| text(&run(&[&["explain", &path, url], flags].concat()).stdout);
    let (flag, line) =
        ("--enable-ssl-passthrough", "tls: passed on unopened, 1 of 1: default/web:80+tcp -> 127.0.0.1:9");
    let printed = explained("https://pass.test/", &[flag]);
    assert!(printed.starts_with(line), "{printed}");
    for printed in [
        explained("https://pass.test/", &[]),
        explained("http://pass.test/", &[flag]),
        explained("https://web.test/", &[flag]),
    ] {
        assert!(!printed.contains("unopened") && printed.contains("-> 127.0.0.1:9"), "{printed}");
    }
    let json = explained("https://pass.test/", &[flag, "-o", "json"]);
    let explained: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(explained["passthrough"]["backends"][0]["endpoints"], serde_json::json!(["127.0.0.1:9"]));
}

#[test]
fn explain_follows_methods_and_headers() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: genkan }\n\
        spec: { controllerName: genkan.dev/gateway-controller }\n---\n\
        apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: front }\n\
        spec: { gatewayClassName: genkan, listeners: [{ name: http, port: 80, protocol: HTTP }] }\n---\n\
        apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: route }\n\
        spec:\n  parentRefs: [{ name: front }]\n  hostnames: [route.test]\n  rules:\n\
        \x20   - matches: [{ method: POST }]\n      backendRefs: [{ name: web, port: 80 }]\n\
        \x20   - matches: [{ headers: [{ name: X-Who, value: me }] }]\n      backendRefs: [{ name: web, port: 80 }]\n";
    let (_folder, path) = folder(&(good() + "---\n" + route));
    let winner = |arguments: &[&str]| {
        let output = run(&[&["explain", &path, "http://route.test/", "-o", "json"], arguments].concat());
        let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        explained["winner"]["origin"].as_str().map(str::to_owned)
    };
    let posted = winner(&["-X", "POST"]).expect("the first rule");
    assert!(posted.contains("spec.rules[0]"), "{posted}");
    let mine = winner(&["-H", "X-Who: me"]).expect("the second rule");
    assert!(mine.contains("spec.rules[1]"), "{mine}");
    assert_ne!(winner(&["-H", "X-Who: you"]), Some(mine));
}

#[test]
fn the_reference_pages_are_those_of_the_tables() {
    for (name, arguments) in [("annotations.md", &["--markdown"][..]), ("configmap.md", &["--markdown", "--configmap"])]
    {
        let printed = text(&run(&[&["annotations"], arguments].concat()).stdout);
        let page = fs::read_to_string(root().join("docs").join(name)).unwrap();
        let command = format!("genkan annotations {} > docs/{name}", arguments.join(" "));
        assert!(page == printed, "docs/{name} is not up to date: run `{command}`");
    }
    assert!(text(&run(&["annotations"]).stdout).contains("limit-rps"));
}

#[test]
fn echo_tells_what_it_received() {
    let echo = Echo::start("parrot");
    let answer = http1::request(echo.address(), "PUT", "any.test", "/a?b=c", &[("X-One", "1")], b"text");
    let told = answer.json();
    assert_eq!(told["name"], "parrot");
    assert_eq!((&told["method"], &told["path"], &told["query"]), (&"PUT".into(), &"/a".into(), &"b=c".into()));
    assert_eq!((&told["headers"]["x-one"][0], &told["body"]), (&"1".into(), &"text".into()));
}

#[test]
fn wrong_arguments_are_explained() {
    for (arguments, code, expected) in [
        (&["check", "/does/not/exist"][..], 1, "/does/not/exist does not exist: give a manifest or a folder"),
        (&["run", "/does/not/exist"], 1, "/does/not/exist does not exist"),
        (&["check", "--outptu", "json"], 2, "a similar argument exists: '--output'"),
        (&["chekc", "."], 2, "'check'"),
        (&["run", ".", "--http-port", "x"], 2, "--http-port"),
        (&["run", ".", "--configmap", "x"], 2, "NAMESPACE/NAME"),
        (&["run", ".", "--log-level", "=,"], 1, "genkan: "),
        (&["explain", ".", "ftp://x/"], 1, "ftp:// URLs are not served: use http:// or https://"),
        (&["explain", ".", "/path"], 1, "the URL has no host"),
        (&["explain", ".", "http://x:1/"], 1, "nothing listens there"),
        (&["explain", ".", "http://x/", "-H", "bad"], 2, "'Name: value'"),
        (&["echo", "--listen", "nowhere"], 2, "--listen"),
        (&[], 2, "Usage: genkan"),
    ] {
        let output = run(arguments);
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {printed}");
        assert!(printed.contains(expected), "{arguments:?}: {expected:?} is not in:\n{printed}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (_folder, path) = folder(&good());
    let output = run(&["run", &path, "--healthz-port", &port]);
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    let expected = format!("cannot listen on 127.0.0.1:{port}: choose another --healthz-port");
    assert!(printed.contains(&expected), "{printed}");

    let output = run(&["echo", "--listen", &format!("127.0.0.1:{port}")]);
    assert!(text(&output.stderr).contains(&format!("cannot listen on 127.0.0.1:{port}")), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn rubbish_costs_only_itself() {
    let echo = Echo::start("web");
    let files = [
        ("a.yaml", "\u{1}\u{2} not: [yaml"),
        ("b.json", "{"),
        ("c.yaml", "kind: 5\n---\n- list\n---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: 7\n"),
        ("d.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: other }\n"),
        ("e.yaml", ""),
        ("f.txt", "not read"),
        ("web.yaml", &(service("web", &[echo.address()]) + &ingress("web", "web.test", "web", &[]))),
    ];
    let genkan = Genkan::serve_with(&files, Options::default());
    assert_eq!(http1::get(genkan.http(), "web.test", "/").status, 200);
    let problems = genkan.problems();
    for name in ["a.yaml", "b.json", "c.yaml"] {
        let told = problems.iter().any(|problem| problem["origin"].as_str().unwrap().contains(name));
        assert!(told, "{name} is not reported: {problems:#?}");
    }
    let other = ["d.yaml", "e.yaml", "f.txt"];
    assert!(
        !problems.iter().any(|problem| other.iter().any(|name| problem.to_string().contains(name))),
        "{problems:#?}"
    );
    assert!(genkan.errors().contains("Deployment"), "other kinds are counted: {}", genkan.errors());
}
