//! Flags of `genkan run` that say what is served, and where.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::net::{SocketAddr, TcpStream};

use genkan_e2e::http1::{self, Answer};
use genkan_e2e::manifests::{config_map, ingress, secret, service, tls_ingress};
use genkan_e2e::tls::{self, Hello, Pair};
use genkan_e2e::{Echo, Genkan, Options};

/// What the answer's backend calls itself; the status where there is none.
fn served(answer: &Answer) -> String {
    answer.field("x-echo-name").map_or_else(|| answer.status.to_string(), str::to_owned)
}

fn get(genkan: &Genkan, host: &str, path: &str) -> String {
    served(&http1::get(genkan.http(), host, path))
}

/// An Ingress of a class: by field (`=nginx`), by annotation (`nginx`), or of none (empty).
fn classed(name: &str, class: &str) -> String {
    let plain = ingress(name, &format!("{name}.test"), "web", &[]);
    match class.strip_prefix('=') {
        Some(class) => plain.replace("spec:\n", &format!("spec:\n  ingressClassName: {class}\n")),
        None if class.is_empty() => plain,
        None => plain.replace("example.com/none: none", &format!("kubernetes.io/ingress.class: {class}")),
    }
}

fn ingress_class(name: &str, controller: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{ name: {name} }}\n\
         spec: {{ controller: {controller} }}\n---\n"
    )
}

#[test]
fn the_default_backend_answers_what_no_rule_matches() {
    let (web, fallback) = (Echo::start("web"), Echo::start("fallback"));
    let narrow = ingress("web", "web.test", "web", &[]).replace("path: /\n", "path: /app\n");
    let text = service("web", &[web.address()]) + &service("fallback", &[fallback.address()]) + &narrow;
    let genkan =
        Genkan::serve_with(&[("all.yaml", &text)], Options::with(&["--default-backend-service", "default/fallback"]));
    for (host, path, expected) in [
        ("web.test", "/app", "web"),
        ("web.test", "/app/x", "web"),
        ("web.test", "/other", "fallback"),
        ("elsewhere.test", "/app", "fallback"),
        ("127.0.0.1", "/", "fallback"),
    ] {
        assert_eq!(get(&genkan, host, path), expected, "{host}{path}");
    }
    let mut client = http1::Client::new(tls::connect(genkan.https(), &Hello::to("elsewhere.test")).unwrap());
    assert_eq!(served(&client.get("elsewhere.test", "/").unwrap()), "fallback");
}

#[test]
fn a_default_backend_that_cannot_answer_is_404_and_told_until_it_is_mended() {
    let echo = Echo::start("fallback");
    let genkan = Genkan::serve_with(&[], Options::with(&["--default-backend-service", "other/fallback"]));
    assert_eq!(get(&genkan, "web.test", "/"), "404");
    let [origin, message, _] = genkan.problem("ServiceNotFound").unwrap();
    assert_eq!(origin, "Service other/fallback");
    assert!(message.contains("404"), "{message}");

    let other = |text: String| text.replace("metadata: { name", "metadata: { namespace: other, name");
    genkan.write("late.yaml", &other(service("fallback", &[])));
    genkan.wait_until("another reason", || genkan.problem("NoEndpoints").is_some());
    assert_eq!(get(&genkan, "web.test", "/"), "404");

    genkan.write("late.yaml", &other(service("fallback", &[echo.address()])));
    genkan.wait_until("the default backend", || get(&genkan, "web.test", "/") == "fallback");
    genkan.wait_until("nothing is wrong", || genkan.problems().is_empty());
}

#[test]
fn a_default_certificate_that_is_missing_is_told_and_is_shown_once_it_is_there() {
    let (default, own) = (Pair::new(&["default.test"]), Pair::new(&["own.test"]));
    let text = tls_ingress("own", "own.test", "web", "own") + &secret("own", &own.certificate, &own.key);
    let genkan =
        Genkan::serve_with(&[("all.yaml", &text)], Options::with(&["--default-ssl-certificate", "default/fallback"]));
    let shown = |name: &str| tls::shown(&tls::connect(genkan.https(), &Hello::to(name)).unwrap());
    let generated = shown("elsewhere.test");
    assert!(!generated.is_empty() && generated != own.der);
    let problems = genkan.problems();
    let about = problems.iter().find(|problem| problem["origin"].as_str().unwrap().contains("default/fallback"));
    let message = about.unwrap_or_else(|| panic!("{problems:#?}"))["message"].as_str().unwrap();
    assert!(message.contains("as the default certificate, the generated one is shown"), "{message}");

    genkan.write("default.yaml", &secret("fallback", &default.certificate, &default.key));
    genkan.wait_until("the default certificate", || shown("elsewhere.test") == default.der);
    assert_eq!(shown("own.test"), own.der, "a host with a certificate keeps it");
}

/// Of these Ingresses, the hosts that are served.
fn hosts_served(classes: &[(&str, &str)], arguments: &[&str]) -> Vec<String> {
    let echo = Echo::start("web");
    let mut text = service("web", &[echo.address()]);
    text += &ingress_class("nginx", "k8s.io/ingress-nginx");
    text += &ingress_class("named-otherwise", "k8s.io/ingress-nginx");
    text += &ingress_class("own", "genkan.dev/ingress-controller");
    text += &ingress_class("foreign", "example.com/controller");
    text += &ingress_class("inner", "example.com/inner");
    for (name, class) in classes {
        text += &classed(name, class);
    }
    let genkan = Genkan::serve_with(&[("all.yaml", &text)], Options::with(arguments));
    let all = classes.iter().map(|(name, _)| (*name).to_owned());
    all.filter(|name| get(&genkan, &format!("{name}.test"), "/") == "web").collect()
}

#[test]
fn the_class_says_which_ingresses_are_served() {
    const CLASSES: &[(&str, &str)] = &[
        ("none", ""),
        ("annotated", "nginx"),
        ("annotated-foreign", "foreign"),
        ("annotated-inner", "inner"),
        ("field", "=nginx"),
        ("field-otherwise", "=named-otherwise"),
        ("field-own", "=own"),
        ("field-foreign", "=foreign"),
        ("field-inner", "=inner"),
        ("field-missing", "=missing"),
    ];
    let default = hosts_served(CLASSES, &[]);
    assert_eq!(default, ["none", "annotated", "field", "field-otherwise", "field-own"]);
    let strict = hosts_served(CLASSES, &["--watch-ingress-without-class=false"]);
    assert_eq!(strict, ["annotated", "field", "field-otherwise", "field-own"]);
    let inner = ["--ingress-class", "inner", "--controller-class", "example.com/inner"];
    assert_eq!(hosts_served(CLASSES, &inner), ["none", "annotated-inner", "field-inner"]);
    let by_name = ["--ingress-class", "foreign", "--ingress-class-by-name"];
    let by_name = hosts_served(CLASSES, &by_name);
    assert_eq!(by_name, ["none", "annotated-foreign", "field", "field-otherwise", "field-own", "field-foreign"]);
}

#[test]
fn an_ingress_that_changes_its_class_comes_and_goes() {
    let echo = Echo::start("web");
    let text = service("web", &[echo.address()]) + &ingress_class("nginx", "k8s.io/ingress-nginx");
    let genkan =
        Genkan::serve_with(&[("all.yaml", &text), ("web.yaml", &classed("web", "=nginx"))], Options::default());
    assert_eq!(get(&genkan, "web.test", "/"), "web");
    genkan.write("web.yaml", &classed("web", "=other"));
    genkan.wait_until("it goes", || get(&genkan, "web.test", "/") == "404");
    genkan.write("other.yaml", &ingress_class("other", "k8s.io/ingress-nginx"));
    genkan.wait_until("its class comes", || get(&genkan, "web.test", "/") == "web");
    genkan.write("web.yaml", &classed("web", "foreign"));
    genkan.wait_until("it goes again", || get(&genkan, "web.test", "/") == "404");

    // Our own class that is not there is a slip, not another controller's.
    genkan.write("all.yaml", &service("web", &[echo.address()]));
    genkan.write("web.yaml", &classed("web", "=nginx"));
    genkan.wait_until("the report", || genkan.problem("IngressClassNotFound").is_some());
    let [origin, message, mend] = genkan.problem("IngressClassNotFound").unwrap();
    assert_eq!(origin, "Ingress default/web: spec.ingressClassName");
    assert!(message.contains("nginx") && mend.contains("k8s.io/ingress-nginx"), "{message}; {mend}");
}

#[test]
fn listeners_are_bound_to_the_addresses_of_the_flag_and_to_no_others() {
    let echo = Echo::start("web");
    let text = service("web", &[echo.address()]) + &ingress("web", "web.test", "web", &[]);
    let at = |ip: &str, port: u16| SocketAddr::new(ip.parse().unwrap(), port);
    for (flag, open, closed) in [
        ("127.0.0.2", &["127.0.0.2"][..], &["127.0.0.1", "::1"][..]),
        ("::1", &["::1"], &["127.0.0.1"]),
        ("127.0.0.1,::1", &["127.0.0.1", "::1"], &["127.0.0.2"]),
        ("0.0.0.0", &["127.0.0.1", "127.0.0.2"], &["::1"]),
        ("0.0.0.0,::", &["127.0.0.1", "::1"], &[]),
    ] {
        let genkan = Genkan::serve_with(&[("web.yaml", &text)], Options::with(&["--bind-address", flag]));
        let (http, https) = (genkan.http().port(), genkan.https().port());
        for ip in open {
            let answer = http1::get(at(ip, http), "web.test", "/");
            let peer = ip.parse::<std::net::IpAddr>().unwrap();
            assert_eq!(served(&answer), "web", "{flag}: {ip}");
            let client = answer.json()["headers"]["x-real-ip"][0].as_str().unwrap().parse::<std::net::IpAddr>();
            assert_eq!(client.unwrap().is_ipv4(), peer.is_ipv4(), "{flag}: {ip}");
            tls::connect(at(ip, https), &Hello::to("web.test")).unwrap_or_else(|error| panic!("{flag}: {ip}: {error}"));
        }
        for ip in closed {
            for port in [http, https] {
                assert!(TcpStream::connect(at(ip, port)).is_err(), "{flag}: {ip}:{port} is open");
            }
        }
    }
}

#[test]
fn a_config_map_that_the_flag_names_is_told_while_it_is_missing() {
    let named = |text: String| {
        text.replace("namespace: ingress-nginx, name: ingress-nginx-controller", "namespace: a, name: b")
    };
    let web = ingress("web", "web.test", "web", &[("permanent-redirect", "https://to.test/")]);
    let default = config_map(&[("keep-alive", "0")]);
    let files = [("web.yaml", &*web), ("default.yaml", &*default)];
    let closes = |genkan: &Genkan| http1::get(genkan.http(), "web.test", "/").closes();
    // Without the flag it may be missing, and it is the one of ingress-nginx's chart.
    let genkan = Genkan::serve(&web);
    assert_eq!(genkan.problem("ConfigMapNotFound"), None);
    genkan.write("default.yaml", &default);
    genkan.wait_until("the chart's ConfigMap", || closes(&genkan));

    let genkan = Genkan::serve_with(&files, Options::with(&["--configmap", "a/b"]));
    assert!(!closes(&genkan), "another ConfigMap has no effect");
    let [origin, message, mend] = genkan.problem("ConfigMapNotFound").unwrap();
    assert_eq!(origin, "ConfigMap a/b");
    assert!(message.contains("every setting has its default") && mend.contains("--configmap"), "{message}; {mend}");
    genkan.write("named.yaml", &named(config_map(&[("keep-alive", "0")])));
    genkan.wait_until("the named ConfigMap", || closes(&genkan));
    genkan.wait_until("nothing is missing", || genkan.problem("ConfigMapNotFound").is_none());
    std::fs::remove_file(genkan.folder().join("named.yaml")).unwrap();
    genkan.wait_until("the defaults", || !closes(&genkan));
    genkan.wait_until("it is missing again", || genkan.problem("ConfigMapNotFound").is_some());
}

#[test]
fn catch_all_ingresses_can_be_turned_off() {
    let echo = Echo::start("web");
    let backend = "defaultBackend: { service: { name: web, port: { number: 80 } } }";
    let both = ingress("both", "both.test", "web", &[]).replace("spec:\n", &format!("spec:\n  {backend}\n"));
    let all = format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{ name: all }}\nspec: {{ {backend} }}\n---\n"
    );
    let text = [service("web", &[echo.address()]), both, all, ingress("web", "web.test", "web", &[])].concat();
    let served = |genkan: &Genkan| ["any.test", "both.test", "web.test"].map(|host| get(genkan, host, "/"));
    assert_eq!(served(&Genkan::serve(&text)), ["web", "web", "web"]);
    let genkan = Genkan::serve_with(&[("all.yaml", &text)], Options::with(&["--disable-catch-all"]));
    assert_eq!(served(&genkan), ["404", "404", "web"], "an Ingress with a default backend is ignored as a whole");
    for name in ["all", "both"] {
        let origin = format!("Ingress default/{name}: spec.defaultBackend");
        let problems = genkan.problems();
        let told = problems.iter().find(|problem| problem["origin"] == *origin);
        let told = told.unwrap_or_else(|| panic!("{name} is not reported: {problems:#?}"));
        assert!(told["message"].as_str().unwrap().contains("--disable-catch-all"), "{told}");
    }
}

#[test]
fn annotations_have_the_prefix_of_the_flag() {
    let theirs = ingress("web", "web.test", "none", &[("permanent-redirect", "https://nginx/")]);
    let ours = ingress("own", "own.test", "none", &[("permanent-redirect", "https://own/")])
        .replace("nginx.ingress.kubernetes.io", "example.com");
    let genkan =
        Genkan::serve_with(&[("all.yaml", &(theirs + &ours))], Options::with(&["--annotations-prefix", "example.com"]));
    assert_eq!((&*get(&genkan, "web.test", "/"), &*get(&genkan, "own.test", "/")), ("503", "301"));
}
