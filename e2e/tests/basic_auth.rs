//! Basic authentication: users of a Secret, in every form that it may have, and none that left it.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use genkan_e2e::manifests::{ingress, service};
use genkan_e2e::{Echo, Genkan, http1};

/// Of "secret", as `htpasswd -m`, `openssl passwd -6`, `htpasswd -B` and `htpasswd -s` write it.
const HASHES: [(&str, &str); 4] = [
    ("md5", "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"),
    (
        "sha",
        "$6$rounds=1234$abcdefgh$JYy1Bl2SyLJWf33X/ypLFfV0PTI7kUcSv1KagEAuF6T.jEole3EQfDDZRy9BRYEi9Zd6aYdRKWdcJwCEXNseD1",
    ),
    ("bcrypt", "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"),
    ("sha1", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
];

/// `user:secret` in base 64, for each user and for somebody else.
const WORDS: [(&str, &str); 5] = [
    ("md5", "bWQ1OnNlY3JldA=="),
    ("sha", "c2hhOnNlY3JldA=="),
    ("bcrypt", "YmNyeXB0OnNlY3JldA=="),
    ("sha1", "c2hhMTpzZWNyZXQ="),
    ("eve", "ZXZlOnNlY3JldA=="),
];

fn secret(fields: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: users }}\nstringData:\n{fields}---\n")
}

fn file(users: &[(&str, &str)]) -> String {
    let lines: String = users.iter().map(|(user, hash)| format!("    {user}:{hash}\n")).collect();
    secret(&format!("  auth: |\n{lines}"))
}

fn as_user(genkan: &Genkan, user: &str) -> http1::Answer {
    let (_, word) = WORDS.iter().find(|(known, _)| *known == user).unwrap();
    let word = format!("Basic {word}");
    http1::request(genkan.http(), "GET", "web.test", "/", &[("authorization", &word)], b"")
}

fn manifests(echo: &Echo, annotations: &[(&str, &str)], secret: &str) -> String {
    let all = [&[("auth-type", "basic"), ("auth-secret", "users")], annotations].concat();
    [service("web", &[echo.address()]), ingress("web", "web.test", "web", &all), secret.to_owned()].concat()
}

#[test]
fn users_get_in_with_their_password_and_the_backend_does_not_see_it() {
    let echo = Echo::start("web");
    let genkan = Genkan::serve(&manifests(&echo, &[("auth-realm", "Staff only")], &file(&HASHES)));
    let answer = http1::get(genkan.http(), "web.test", "/");
    let asked = Some("Basic realm=\"Staff only\", charset=\"UTF-8\"");
    assert_eq!((answer.status, answer.field("www-authenticate")), (401, asked));
    assert!(answer.text().contains("401 Authorization Required"), "{}", answer.text());
    for (user, _) in HASHES {
        // Once compared, once remembered.
        for _ in 0..2 {
            let answer = as_user(&genkan, user);
            assert_eq!(answer.status, 200, "{user}");
            assert!(!answer.text().to_lowercase().contains("authorization"), "{}", answer.text());
        }
    }
    assert_eq!(as_user(&genkan, "eve").status, 401);
    assert!(genkan.admin_get("/metrics").1.contains("genkan_basic_auth_total"));
}

#[test]
fn a_user_who_is_taken_out_of_the_secret_stays_out() {
    let echo = Echo::start("web");
    let genkan = Genkan::serve(&manifests(&echo, &[], &file(&HASHES)));
    assert_eq!(as_user(&genkan, "md5").status, 200);
    genkan.write("manifests.yaml", &manifests(&echo, &[], &file(&HASHES[1..])));
    genkan.wait_until("the user is out", || as_user(&genkan, "md5").status == 401);
    assert_eq!(as_user(&genkan, "sha").status, 200);
    genkan.write("manifests.yaml", &manifests(&echo, &[], ""));
    genkan.wait_until("nobody can be let in", || as_user(&genkan, "sha").status == 503);
}

#[test]
fn users_may_be_fields_of_the_secret() {
    let echo = Echo::start("web");
    let fields: String = HASHES.iter().map(|(user, hash)| format!("  {user}: \"{hash}\"\n")).collect();
    let genkan = Genkan::serve(&manifests(&echo, &[("auth-secret-type", "auth-map")], &secret(&fields)));
    assert_eq!(http1::get(genkan.http(), "web.test", "/").status, 401);
    for (user, _) in HASHES {
        assert_eq!(as_user(&genkan, user).status, 200, "{user}");
    }
}

#[test]
fn what_is_not_supported_stays_closed() {
    let echo = Echo::start("web");
    for annotations in
        [[("auth-type", "digest"), ("auth-secret", "users")], [("auth-type", "basic"), ("auth-secret", "x/users")]]
    {
        let text = [service("web", &[echo.address()]), ingress("web", "web.test", "web", &annotations), file(&HASHES)];
        let genkan = Genkan::serve(&text.concat());
        assert_eq!(as_user(&genkan, "md5").status, 503, "{annotations:?}");
    }
}

#[test]
fn what_a_rejected_ingress_protects_is_not_left_to_a_shorter_path() {
    let echo = Echo::start("web");
    let guards = [("auth-type", "basic"), ("auth-secret", "users")];
    for (path, flaw) in [
        ("/admin", ("configuration-snippet", "more_set_headers 'X: y';")),
        ("/admin(?!/public)", ("use-regex", "true")),
    ] {
        let manifests = |guards: &[(&str, &str)]| {
            let admin = ingress("admin", "web.test", "web", &[guards, &[flaw]].concat());
            let admin =
                admin.replace("path: /\n", &format!("path: {path}\n")).replace("Prefix", "ImplementationSpecific");
            let web = ingress("web", "web.test", "web", &[]);
            [service("web", &[echo.address()]), web, admin, file(&HASHES)].concat()
        };
        let genkan = Genkan::serve(&manifests(&guards));
        let status = |path| http1::get(genkan.http(), "web.test", path).status;
        assert_eq!(["/", "/admin/x", "/admin"].map(status), [200, 503, 503], "{path}");
        genkan.write("manifests.yaml", &manifests(&[]));
        genkan.wait_until("what nobody guards is left to the shorter path", || status("/admin/x") == 200);
    }
}
