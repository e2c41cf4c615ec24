//! Log formats, and what requests can put into log lines.
//!
//! The input is lines: the format, the request target, then header fields.
//!
//! - The parts of a format are the format; it is accepted if all its variables are known.
//! - Nothing in a request ends a quoted value or the line: by default nor in JSON, which reads back.
#![no_main]

use genkan_proxy::fuzzing::log_line;
use genkan_routing::policy::access_log::{Escape, FormatPart, format_parts, is_variable};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Uri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let format = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let target = lines.next().unwrap_or_default();
    let variables = check_parts(&format);
    let Some(head) = head(target, lines) else { return };
    let known = variables.iter().all(|name| is_variable(name));
    for escape in [Escape::Default, Escape::Json, Escape::None] {
        assert_eq!(log_line(&format, escape, &head).is_some(), known, "{format:?}");
    }
    for name in variables.iter().filter(|name| is_variable(name)) {
        check_value(name, &head);
    }
});

/// The variables of a format whose parts, put together, must give it again.
fn check_parts(format: &str) -> Vec<&str> {
    let mut rest = format;
    let mut variables = Vec::new();
    for part in format_parts(format) {
        let after = match part {
            FormatPart::Literal(text) => rest.strip_prefix(text),
            FormatPart::Variable(name) => {
                variables.push(name);
                rest.strip_prefix(&format!("${name}")).or_else(|| rest.strip_prefix(&format!("${{{name}}}")))
            }
        };
        rest = after.unwrap_or_else(|| panic!("{part:?} is not at {rest:?} in {format:?}"));
    }
    assert_eq!(rest, "", "{format:?}");
    variables
}

fn head<'i>(target: &[u8], fields: impl Iterator<Item = &'i [u8]>) -> Option<Parts> {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::try_from(target).ok()?;
    for field in fields.take(100) {
        let mut parts = field.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    Some(request.into_parts().0)
}

fn check_value(name: &str, head: &Parts) {
    let line = |format: &str, escape| log_line(format, escape, head).expect("the variable is known");
    let format = format!("\"${{{name}}}\"");
    let plain = line(&format, Escape::Default);
    let inside = plain.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).expect("literals stay");
    assert!(inside.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"'), "{plain}");
    let json = line(&format, Escape::Json);
    assert!(serde_json::from_str::<String>(&json).is_ok(), "{json}");
}
