//! Rewrite: the host and path that the backend sees.
//!
//! Only path and query ever change; scheme and authority are not part of the result, so no template can send a request
//! elsewhere. What comes out is percent-encoded: text from the request cannot become a query, a fragment or a space.

use genkan_routing::model::PathMatch;
use genkan_routing::policy::rewrite::{PathRewrite, Rewrite, Template, TemplatePart};
use http::HeaderValue;
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::Admitted;
use crate::exchange::context::RequestContext;

/// What no URI may carry (RFC 3986).
const ILLEGAL: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');
/// Text of a decoded path.
const PATH: &AsciiSet = &ILLEGAL.add(b'%').add(b'?').add(b'#');
/// Text of a capture group inside a query.
const QUERY: &AsciiSet = &PATH.add(b'&').add(b'+').add(b';').add(b'=');

/// A [`Rewrite`], its `Host` built.
#[derive(Debug)]
pub(super) struct CompiledRewrite {
    host: Option<HeaderValue>,
    path: Option<PathRewrite>,
}

impl CompiledRewrite {
    pub(super) fn new(rewrite: &Rewrite) -> Self {
        let host = rewrite.hostname.as_ref().and_then(|name| {
            let name = name.as_str();
            let bracketed = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
            HeaderValue::from_str(&bracketed).ok()
        });
        Self { host, path: rewrite.path.clone() }
    }

    /// Notes the new host and target.
    pub(super) fn request(&self, ctx: &RequestContext<'_>, admitted: &mut Admitted) {
        if let Some(host) = &self.host {
            admitted.host = Some(host.clone());
        }
        if let Some(path) = &self.path {
            // Every byte that a URI may not have was encoded; `None` would keep the client's own target.
            admitted.target = PathAndQuery::try_from(target(ctx, path)).ok();
        }
    }
}

/// The path and query of the request with its path replaced.
pub(super) fn target(ctx: &RequestContext<'_>, rewrite: &PathRewrite) -> String {
    let own = ctx.head.uri.query();
    match rewrite {
        PathRewrite::Full(text) => with_query(rooted(utf8_percent_encode(text, ILLEGAL).to_string()), own),
        PathRewrite::Prefix(replacement) => with_query(replace_prefix(ctx, replacement), own),
        PathRewrite::Template(template) => expand(ctx, template),
    }
}

fn rooted(path: String) -> String {
    if path.starts_with('/') { path } else { format!("/{path}") }
}

fn with_query(mut path: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(query);
    }
    path
}

/// `/foo/bar` with `/foo` replaced (Gateway API `ReplacePrefixMatch`): whole segments, never a doubled slash.
fn replace_prefix(ctx: &RequestContext<'_>, replacement: &str) -> String {
    let prefix = match ctx.matched.map(|matched| &matched.path) {
        Some(PathMatch::Prefix(prefix)) => prefix.as_str().trim_end_matches('/'),
        // Nothing but a prefix leaves a rest.
        Some(PathMatch::Exact(_) | PathMatch::Regex(_)) | None => ctx.path,
    };
    let rest = rest_of_path(ctx, prefix);
    let replacement = utf8_percent_encode(replacement, ILLEGAL).to_string();
    if rest.is_empty() {
        return rooted(replacement);
    }
    rooted(format!("{}{rest}", replacement.trim_end_matches('/')))
}

/// What follows `prefix`, encoded; empty or beginning with `/`. The client's own encoding is kept where decoding is all
/// that normalization did, so that `%2F` in the rest stays what it is.
fn rest_of_path(ctx: &RequestContext<'_>, prefix: &str) -> String {
    let raw = ctx.head.uri.path();
    let only_decoded = percent_decode_str(raw).eq(ctx.path.bytes());
    match raw.strip_prefix(prefix) {
        Some(rest) if only_decoded && (rest.is_empty() || rest.starts_with('/')) => rest.to_owned(),
        _ => {
            let mut encoded = String::new();
            push_encoded(ctx.path.strip_prefix(prefix).unwrap_or_default(), PATH, &mut encoded);
            encoded
        }
    }
}

/// Appends text of a normalized path, encoded. Normalization leaves bytes that are no UTF-8 as `%FF`; they are encoded
/// already.
pub(super) fn push_encoded(text: &str, set: &'static AsciiSet, out: &mut String) {
    for (number, piece) in text.split('%').enumerate() {
        if number > 0 {
            let encoded = matches!(piece.as_bytes(), [b'8'..=b'9' | b'A'..=b'F', b'0'..=b'9' | b'A'..=b'F', ..]);
            out.push_str(if encoded { "%" } else { "%25" });
        }
        out.extend(utf8_percent_encode(piece, set));
    }
}

/// Fills a template from the regular expression that matched. A `?` of the template begins a query, which the request's
/// own follows; a final `?` drops the request's own (nginx `rewrite`).
fn expand(ctx: &RequestContext<'_>, template: &Template) -> String {
    let captures = match ctx.matched.map(|matched| &matched.path) {
        Some(PathMatch::Regex(pattern)) => pattern.regex().captures(ctx.path),
        Some(PathMatch::Exact(_) | PathMatch::Prefix(_)) | None => None,
    };
    let mut text = String::with_capacity(ctx.path.len() + 16);
    let mut in_query = false;
    for part in template.parts() {
        match part {
            TemplatePart::Group(group) => {
                let found =
                    captures.as_ref().and_then(|captures| captures.get(*group)).map_or("", |found| found.as_str());
                push_encoded(found, if in_query { QUERY } else { PATH }, &mut text);
            }
            TemplatePart::Literal(literal) if in_query => text.extend(utf8_percent_encode(literal, ILLEGAL)),
            TemplatePart::Literal(literal) => {
                let (path, query) = literal.split_once('?').map_or((literal.as_str(), None), |(p, q)| (p, Some(q)));
                text.extend(utf8_percent_encode(path, PATH));
                if let Some(query) = query {
                    in_query = true;
                    text.push('?');
                    text.extend(utf8_percent_encode(query, ILLEGAL));
                }
            }
        }
    }
    let text = rooted(text);
    match text.strip_suffix('?') {
        Some(path) => path.to_owned(),
        None => with_query(text, ctx.head.uri.query()),
    }
}

#[cfg(test)]
mod tests {
    use genkan_routing::name::Hostname;
    use proptest::prelude::*;

    use super::*;
    use crate::filters::testing::Request;

    fn prefix(target: &str, matched: &str, replacement: &str) -> String {
        Request::get(target)
            .prefix(matched)
            .with(|ctx| super::target(ctx, &PathRewrite::Prefix(replacement.to_owned())))
    }

    fn template(target: &str, regex: &str, text: &str) -> String {
        Request::get(target).regex(regex).with(|ctx| super::target(ctx, &PathRewrite::Template(Template::parse(text))))
    }

    #[test]
    fn a_prefix_is_replaced_by_whole_segments_without_doubling_slashes() {
        for (target_, matched, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/bar", "/", "/xyz", "/xyz/bar"),
            ("/", "/", "/xyz", "/xyz/"),
            ("/foo/bar?a=/foo", "/foo", "/xyz", "/xyz/bar?a=/foo"),
        ] {
            assert_eq!(prefix(target_, matched, replacement), expected, "{target_} {matched} {replacement}");
        }
    }

    #[test]
    fn the_rest_of_a_path_keeps_the_clients_encoding() {
        let rewrite = PathRewrite::Prefix("/x".to_owned());
        for (raw, normalized, expected) in [
            ("/foo/a%20b%2Fc", "/foo/a b/c", "/x/a%20b%2Fc"),
            ("/f%6Fo/a%20b", "/foo/a b", "/x/a%20b"),
            ("/foo//a/../b%3F", "/foo/b?", "/x/b%3F"),
        ] {
            let mut request = Request::get(raw).prefix("/foo");
            request.set_path(normalized);
            assert_eq!(request.with(|ctx| target(ctx, &rewrite)), expected, "{raw}");
        }
    }

    #[test]
    fn the_whole_path_is_replaced_and_the_query_kept() {
        let full = |text: &str| PathRewrite::Full(text.to_owned());
        assert_eq!(Request::get("/a?b=c").with(|ctx| target(ctx, &full("/x y"))), "/x%20y?b=c");
        assert_eq!(Request::get("/a").with(|ctx| target(ctx, &full("x%20y"))), "/x%20y");
        assert_eq!(Request::get("/a?").with(|ctx| target(ctx, &full(""))), "/?");
    }

    #[test]
    fn a_template_takes_groups_of_the_match() {
        for (target_, regex, text, expected) in [
            ("/something/new?q=1", "/something(/|$)(.*)", "/$2", "/new?q=1"),
            ("/something", "/something(/|$)(.*)", "/$2", "/"),
            ("/something/a/b/", "/something(/|$)(.*)", "/$2", "/a/b/"),
            ("/SOMETHING/a", "/something(/|$)(.*)", "$2", "/a"),
            ("/a/b", "/a/(b)(c)?", "/x/$2$1", "/x/b"),
            ("/a", "/a", "", "/"),
            ("/a/%ff%2541%C3%A9", "/a/(.*)", "/x/$1", "/x/%FF%2541%C3%A9"),
            ("/a/b?q=1", "/a/(.*)", "/index.php?path=$1", "/index.php?path=b&q=1"),
            ("/a/b?q=1", "/a/(.*)", "/x?p=$1?", "/x?p=b"),
            ("/a/b?q=1", "/a/(.*)", "/$1?", "/b"),
        ] {
            assert_eq!(template(target_, regex, text), expected, "{target_} {text}");
        }
    }

    #[test]
    fn a_template_without_a_regular_expression_has_empty_groups() {
        let rewrite = PathRewrite::Template(Template::parse("/x$1"));
        assert_eq!(Request::get("/a/b?c").prefix("/a").with(|ctx| target(ctx, &rewrite)), "/x?c");
    }

    #[test]
    fn a_rewrite_notes_host_and_target() {
        let rewrite = Rewrite {
            hostname: Some(Hostname::parse("inner.example").unwrap()),
            path: Some(PathRewrite::Full("/x".to_owned())),
        };
        let mut admitted = Admitted::default();
        Request::get("/a?b").with(|ctx| CompiledRewrite::new(&rewrite).request(ctx, &mut admitted));
        assert_eq!(admitted.host.unwrap(), "inner.example");
        assert_eq!(admitted.target.unwrap(), "/x?b");
    }

    proptest! {
        #[test]
        fn every_result_is_a_target_with_the_requests_query(decoded in "/[ -~é]{0,20}", text in "[ -~é]{0,20}") {
            let mut request = Request::get("/a?own=1").regex("/(.*)");
            request.set_path(&decoded);
            for rewrite in [
                PathRewrite::Full(text.replace(['?', '#'], "")),
                PathRewrite::Prefix(text.replace(['?', '#'], "")),
                PathRewrite::Template(Template::parse("/t/$1/x?y=$1")),
            ] {
                let result = request.with(|ctx| target(ctx, &rewrite));
                let parsed = PathAndQuery::try_from(result.as_str()).unwrap();
                prop_assert!(parsed.path().starts_with('/'));
                prop_assert!(parsed.query().unwrap().ends_with("own=1"), "{result}");
                prop_assert!(!result.contains('#'));
            }
        }
    }
}
