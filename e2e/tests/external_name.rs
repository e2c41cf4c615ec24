//! Services of type ExternalName: addresses and names, and those that are not served.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use genkan_e2e::genkan::own_address;
use genkan_e2e::manifests::{config_map, ingress};
use genkan_e2e::{Echo, Genkan, Options, http1};

/// An ExternalName Service without ports, and an Ingress whose host leads to this port of it.
fn external(name: &str, target: &str, port: u16) -> String {
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\n\
         spec: {{ type: ExternalName, externalName: \"{target}\" }}\n---\n"
    );
    service + &ingress(name, &format!("{name}.test"), name, &[]).replace("number: 80", &format!("number: {port}"))
}

/// The problem about an Ingress, as reason and message.
fn problem(genkan: &Genkan, ingress: &str) -> Option<(String, String)> {
    let about = format!("Ingress default/{ingress}");
    let problems = genkan.problems();
    let found = problems.iter().find(|problem| problem["origin"].as_str().unwrap().starts_with(&about))?;
    let text = |field: &str| found[field].as_str().unwrap().to_owned();
    Some((text("reason"), text("message")))
}

#[test]
fn names_that_do_not_resolve_and_names_of_this_machine_are_503_and_told() {
    let echo = Echo::start("web");
    let port = echo.address().port();
    let text = [
        external("nowhere", "nowhere.invalid", port),
        external("loopback", "127.0.0.1", port),
        external("local", "LocalHost.", port),
        external("metadata", "169.254.169.254", port),
        external("mapped", "::ffff:127.0.0.1", port),
        external("rubbish", "no name", port),
    ];
    let genkan = Genkan::serve(&text.concat());
    for (name, reason, words) in [
        ("nowhere", "ExternalNameUnresolved", "\"nowhere.invalid\" of Service default/nowhere has no address"),
        ("loopback", "ExternalNameRefused", "it leads to this machine"),
        ("local", "ExternalNameRefused", "it leads to this machine"),
        ("metadata", "ExternalNameRefused", "it leads to this machine"),
        ("mapped", "ExternalNameRefused", "it leads to this machine"),
        ("rubbish", "ExternalNameRefused", "it is no hostname"),
    ] {
        assert_eq!(http1::get(genkan.http(), &format!("{name}.test"), "/").status, 503, "{name}");
        let (told, message) = problem(&genkan, name).unwrap_or_else(|| panic!("{name} is not reported"));
        assert_eq!(told, reason, "{message}");
        assert!(message.contains(words) && message.contains("503"), "{message}");
    }
}

#[test]
fn an_address_as_external_name_is_served_live_unless_the_flag_turns_that_off() {
    let Some(own) = own_address() else {
        // Loopback is refused on purpose, so nothing could be reached.
        return eprintln!("not tested: this machine has no other address than loopback");
    };
    let echo = Echo::start_at("outside", own);
    let port = echo.address().port();
    let genkan = Genkan::serve(&external("web", "127.0.0.1", port));
    assert_eq!(http1::get(genkan.http(), "web.test", "/").status, 503);
    genkan.write("manifests.yaml", &external("web", &own.to_string(), port));
    genkan.wait_until("the address is served", || http1::get(genkan.http(), "web.test", "/").status == 200);
    let answer = http1::get(genkan.http(), "web.test", "/");
    assert_eq!((answer.field("x-echo-name"), answer.json()["host"].as_str()), (Some("outside"), Some("web.test")));
    genkan.wait_until("nothing is wrong", || problem(&genkan, "web").is_none());

    let arguments = vec!["--disable-svc-external-name".to_owned()];
    let files = [("web.yaml", &*external("web", &own.to_string(), port)), ("settings.yaml", &config_map(&[]))];
    let genkan = Genkan::serve_with(&files, Options { arguments, ..Options::default() });
    assert_eq!(http1::get(genkan.http(), "web.test", "/").status, 503);
    let (reason, message) = problem(&genkan, "web").expect("it is reported");
    assert_eq!(reason, "ExternalNameRefused");
    assert!(message.contains("--disable-svc-external-name"), "{message}");
}
