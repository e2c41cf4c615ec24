//! Replies of Genkan's own: redirects, refusals, preflights, error pages.
//!
//! An error page says its status and the request's id, in the words of nginx (clients and tests look for them), as
//! HTML, JSON (RFC 9457) or plain text, whichever the client asks for. It never shows a version or an inner reason.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::accept;
use crate::exchange::context::RequestContext;

/// A complete response that no backend made.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: StatusCode,
    /// The header fields; `Content-Length` is added when it is written.
    pub(crate) headers: HeaderMap,
    /// The body; left out for HEAD.
    pub(crate) body: Bytes,
}

/// The media type of an error page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Html,
    Json,
    Text,
}

impl Reply {
    /// A status without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// The small page of `status`, in the form that the request's `headers` (`Accept`) prefer.
    pub(crate) fn page(status: StatusCode, headers: &HeaderMap, request_id: &str) -> Self {
        let form = Form::preferred(headers);
        let mut reply = Self::empty(status);
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
        reply.body = form.render(status, request_id).into();
        reply
    }

    /// The page of `status` for a request that a filter refuses.
    pub(crate) fn refuse(ctx: &RequestContext<'_>, status: StatusCode) -> Self {
        Self::page(status, &ctx.head.headers, ctx.request_id)
    }

    /// A redirect to `location`.
    pub(crate) fn redirect(ctx: &RequestContext<'_>, status: StatusCode, location: HeaderValue) -> Self {
        let mut reply = Self::refuse(ctx, status);
        reply.headers.insert(LOCATION, location);
        reply
    }
}

/// The text of a status line as nginx words it, which differs from the registry for a few statuses.
pub(crate) fn reason(status: StatusCode) -> &'static str {
    match status.as_u16() {
        302 => "Moved Temporarily",
        401 => "Authorization Required",
        405 => "Not Allowed",
        408 => "Request Time-out",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        416 => "Requested Range Not Satisfiable",
        431 => "Request Header Or Cookie Too Large",
        499 => "Client Closed Request",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => status.canonical_reason().unwrap_or("Unknown Status"),
    }
}

impl Form {
    /// The form that is named with the highest weight; HTML before JSON before text among equals. Plain text when the
    /// client names none of them (`*/*`: command lines, probes).
    fn preferred(headers: &HeaderMap) -> Self {
        let mut best = (Self::Text, 0);
        for (name, weight) in headers.get_all(ACCEPT).iter().flat_map(|field| accept::items(field.as_bytes())) {
            let form = match name {
                "text/html" | "application/xhtml+xml" => Self::Html,
                "application/json" | "application/problem+json" => Self::Json,
                "text/plain" => Self::Text,
                _ => continue,
            };
            if weight > best.1 || (weight == best.1 && weight > 0 && (form as u8) < best.0 as u8) {
                best = (form, weight);
            }
        }
        best.0
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/problem+json",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    fn render(self, status: StatusCode, request_id: &str) -> String {
        let (code, reason) = (status.as_u16(), reason(status));
        let mut body = String::with_capacity(256);
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Html => {
                let _ = write!(
                    body,
                    "<!doctype html>\n<html lang=\"en\">\n<head><title>{code} {reason}</title></head>\n<body>\n\
                     <h1>{code} {reason}</h1>\n<p>Request id: "
                );
                escape_html(request_id, &mut body);
                write!(body, "</p>\n</body>\n</html>\n")
            }
            Self::Json => {
                let id = serde_json::Value::from(request_id);
                writeln!(
                    body,
                    "{{\"type\":\"about:blank\",\"title\":\"{reason}\",\"status\":{code},\
                     \"detail\":\"{code} {reason}\",\"request_id\":{id}}}"
                )
            }
            Self::Text => {
                let printable = |c: &char| !c.is_control();
                let id: String = request_id.chars().filter(printable).collect();
                writeln!(body, "{code} {reason}\nrequest id: {id}")
            }
        };
        body
    }
}

/// The request's id may be the client's own text.
fn escape_html(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(status: u16, accept: Option<&str>) -> (String, String) {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(ACCEPT, accept.parse().unwrap());
        }
        let reply = Reply::page(StatusCode::from_u16(status).unwrap(), &headers, "abc");
        let media_type = reply.headers[CONTENT_TYPE].to_str().unwrap().to_owned();
        (media_type, String::from_utf8(reply.body.to_vec()).unwrap())
    }

    #[test]
    fn the_form_is_what_the_client_prefers() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, expected) in [
            (None, "text/plain"),
            (Some("*/*"), "text/plain"),
            (Some(browser), "text/html"),
            (Some("application/json"), "application/problem+json"),
            (Some("application/json, text/plain, */*"), "application/problem+json"),
            (Some("application/json;q=0.5, text/html"), "text/html"),
            (Some("application/json;q=0.5, text/html;q=0.4"), "application/problem+json"),
            (Some("text/html;q=0, application/json;q=0"), "text/plain"),
            (Some("TEXT/HTML"), "text/html"),
        ] {
            let (media_type, _) = page(404, accept);
            assert!(media_type.starts_with(expected), "{accept:?}: {media_type}");
        }
    }

    #[test]
    fn pages_carry_the_words_of_nginx_and_the_request_id() {
        for accept in ["text/html", "application/json", "text/plain"] {
            for (status, words) in [
                (401, "401 Authorization Required"),
                (404, "404 Not Found"),
                (413, "413 Request Entity Too Large"),
                (502, "502 Bad Gateway"),
                (503, "503 Service Temporarily Unavailable"),
                (504, "504 Gateway Time-out"),
            ] {
                let (_, body) = page(status, Some(accept));
                assert!(body.contains(words) && body.contains("abc"), "{accept}: {body}");
            }
        }
    }

    #[test]
    fn a_request_id_cannot_break_out_of_the_page() {
        let mut headers = HeaderMap::new();
        let id = "</p><script>\"'&\u{7}";
        for (accept, expected) in [
            ("text/html", "&lt;/p&gt;&lt;script&gt;&quot;&#39;&amp;<"),
            ("application/json", r#""request_id":"</p><script>\"'&"#),
        ] {
            headers.insert(ACCEPT, accept.parse().unwrap());
            let body = Reply::page(StatusCode::NOT_FOUND, &headers, id).body;
            let body = std::str::from_utf8(&body).unwrap();
            assert!(body.contains(expected), "{body}");
        }
        headers.insert(ACCEPT, "application/json".parse().unwrap());
        let body = Reply::page(StatusCode::NOT_FOUND, &headers, id).body;
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["request_id"], id);
        assert_eq!(json["status"], 404);
    }
}
