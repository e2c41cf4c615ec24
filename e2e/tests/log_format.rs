//! `log-format-upstream` and what hostile clients can do to its lines: nothing.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use genkan_e2e::http1;
use genkan_e2e::manifests::{config_map, ingress, service};
use genkan_e2e::{Echo, Genkan, Options, PATIENCE};
use serde_json::Value;

const JSON: &str = r#"{"agent": "$http_user_agent", "request": "$request", "uri": "$uri", "host": "$host", "args": "$args", "cookie": "$http_cookie", "status": $status}"#;

fn serve(data: &[(&str, &str)]) -> (Echo, Genkan) {
    let echo = Echo::start("web");
    let text = service("web", &[echo.address()]) + &ingress("web", "web.test", "web", &[]);
    let files = [("web.yaml", &*text), ("settings.yaml", &*config_map(data))];
    let genkan = Genkan::serve_with(&files, Options::default());
    (echo, genkan)
}

/// Sends these bytes on a connection of their own; the status of the answer.
fn send(genkan: &Genkan, bytes: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(genkan.http()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {answer:?}"))
}

/// A request for `/` with this value of User-Agent.
fn agent(value: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\nUser-Agent: ", value, b"\r\n\r\n"].concat()
}

fn line(genkan: &Genkan) -> Value {
    let line = genkan.log_line();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_json_line_is_one_valid_line_whatever_a_client_sends() {
    let (_echo, genkan) = serve(&[("log-format-upstream", JSON), ("log-format-escape-json", "true")]);
    for (value, expected) in [
        (&br#"", "status": 999, "x": ""#[..], r#"", "status": 999, "x": ""#),
        (br"\", r"\"),
        (br#"\"}\n{\u0000"#, r#"\"}\n{\u0000"#),
        (b"tab\there", "tab\there"),
        ("münchen 玄関".as_bytes(), "münchen 玄関"),
        (b"\xff\xfe not UTF-8 \xc3", "\u{fffd}\u{fffd} not UTF-8 \u{fffd}"),
        (b"$status ${request}", "$status ${request}"),
    ] {
        assert_eq!(send(&genkan, &agent(value)), 200, "{value:?}");
        let line = line(&genkan);
        assert_eq!((&line["agent"], &line["status"]), (&expected.into(), &200.into()), "{value:?}");
    }
    // Control bytes are refused before anything else, and what there is of such a request is logged all the same.
    for value in [&b"a\nb"[..], b"a\rb", b"a\0b", b"a\x1b[31mb", b"a\x7fb"] {
        assert_eq!(send(&genkan, &agent(value)), 400, "{value:?}");
        let line = line(&genkan);
        assert_eq!((&line["request"], &line["status"]), (&"GET / HTTP/1.1".into(), &400.into()), "{value:?}");
    }
}

#[test]
fn a_path_cannot_break_a_json_line_either() {
    let (_echo, genkan) = serve(&[("log-format-upstream", JSON), ("log-format-escape-json", "true")]);
    let target = r#"/a"b\c%22%5C?q=%22%0a\"#;
    let request = format!("GET {target} HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\nCookie: a=\"\\\r\n\r\n");
    assert_eq!(send(&genkan, request.as_bytes()), 200);
    let shown = line(&genkan);
    // Decoded, as nginx has it.
    assert_eq!(shown["uri"], "/a\"b\\c\"\\");
    assert_eq!(shown["request"], format!("GET {target} HTTP/1.1"));
    assert_eq!((&shown["args"], &shown["cookie"]), (&r"q=%22%0a\".into(), &r#"a="\"#.into()));
    // What is refused is logged too: what is there of the line.
    for text in [
        "\"}\\ / HTTP/1.1",
        "GET  HTTP/1.1",
        "GET /\u{7}\" HTTP/1.1",
        "GET /\"\\ HTTP/9.9",
        "GET /?q=\" HTTP/1.1",
        "GET /a%zz HTTP/1.1",
        "GET /a%00%0a%1b HTTP/1.1",
    ] {
        let status = send(&genkan, format!("{text}\r\nHost: web.test\r\n\r\n").as_bytes());
        assert_eq!(line(&genkan)["status"], status, "{text:?}");
    }
}

#[test]
fn the_default_line_stays_one_line_of_ascii() {
    let (_echo, genkan) = serve(&[]);
    assert_eq!(send(&genkan, &agent(b"\" 200 \"-\" \xff\\ \xe7\x8e\x84")), 200);
    let line = genkan.log_line();
    assert!(line.contains(r#""\x22 200 \x22-\x22 \xFF\x5C \xE7\x8E\x84""#), "{line}");
    assert!(line.is_ascii() && !line.bytes().any(|byte| byte.is_ascii_control()), "{line}");
}

#[test]
fn a_format_with_an_unknown_variable_is_told_and_the_default_is_used() {
    let (_echo, genkan) = serve(&[("log-format-upstream", "only $status")]);
    assert_eq!(http1::get(genkan.http(), "web.test", "/").status, 200);
    assert_eq!(genkan.log_line(), "only 200");
    genkan.write("settings.yaml", &config_map(&[("log-format-upstream", "$status $stauts")]));
    genkan.wait_until("the report", || genkan.problem("InvalidConfigMapKey").is_some());
    let [origin, message, _] = genkan.problem("InvalidConfigMapKey").unwrap();
    assert!(origin.ends_with("data[log-format-upstream]") && message.contains("stauts"), "{origin}: {message}");
    assert_eq!(http1::get(genkan.http(), "web.test", "/").status, 200);
    assert!(genkan.log_line().starts_with("127.0.0.1 - - ["));
}

#[test]
fn the_log_is_turned_off_and_on_by_its_keys() {
    let format = ("log-format-upstream", "$request_uri");
    let (_echo, genkan) = serve(&[format]);
    let get = |host: &str, path: &str| drop(http1::get(genkan.http(), host, path));
    let model = |words: &str| genkan.admin_get("/snapshot").1.contains(words);
    get("elsewhere.test", "/no-rule");
    genkan.write("settings.yaml", &config_map(&[format, ("disable-access-log", "true")]));
    genkan.wait_until("it is off", || model("enabled: false"));
    get("web.test", "/off");
    genkan.write("settings.yaml", &config_map(&[format, ("enable-access-log-for-default-backend", "true")]));
    genkan.wait_until("it is on", || !model("enabled: false"));
    get("elsewhere.test", "/default-backend");
    get("web.test", "/on");
    // A line follows its response, and the two may be of different threads.
    let lines = BTreeSet::from([genkan.log_line(), genkan.log_line()]);
    assert_eq!(lines, BTreeSet::from(["/default-backend", "/on"].map(str::to_owned)), "and nothing before");
}
