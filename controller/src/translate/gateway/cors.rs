//! CORS: the filter of HTTPRoutes (`HTTPCORSFilter`).

use genkan_routing::policy::cors::{Cors, CorsList, CorsOrigin, CorsOrigins, Preflights};
use genkan_routing::policy::pattern::Pattern;

use super::filter_spec::CorsSpec;

/// `Access-Control-Max-Age` when `maxAge` is not given, in seconds (API default).
const DEFAULT_MAX_AGE: i64 = 5;

/// What is allowed whether `allowMethods` says so or not (Fetch standard, CORS-safelisted methods).
const SAFELISTED_METHODS: &str = "GET, HEAD, POST";

/// Why a CORS filter can't be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CorsError {
    /// An origin is not `scheme://host[:port]`.
    #[error("allowOrigins has {0:?}, which is not scheme://host[:port] with scheme http or https")]
    Origin(String),
    /// Methods and header names are tokens.
    #[error("{0} has {1:?}, which is no method or header name")]
    Token(&'static str, String),
}

/// The policy that a filter asks for.
pub(crate) fn parse(spec: &CorsSpec<'_>) -> Result<Cors, CorsError> {
    let methods = allowed("allowMethods", spec.methods)?;
    let headers = allowed("allowHeaders", spec.headers)?;
    // A literal `*` is not allowed beside credentials: nothing is exposed then.
    let expose = list("exposeHeaders", spec.expose)?;
    let exposed = !(spec.expose.is_empty() || spec.credentials && has_wildcard(spec.expose));
    Ok(Cors {
        origins: origins(spec)?,
        methods: if spec.methods.is_empty() { CorsList::These(SAFELISTED_METHODS.to_owned()) } else { methods },
        headers,
        expose_headers: exposed.then_some(expose),
        credentials: spec.credentials,
        max_age: spec.max_age.map_or(DEFAULT_MAX_AGE, i64::from),
        preflights: Preflights::All,
    })
}

fn has_wildcard(texts: &[String]) -> bool {
    texts.iter().any(|text| text == "*")
}

/// What is allowed. `*` repeats what is asked for, with credentials or without: to browsers, a literal `*` leaves
/// `Authorization` out.
fn allowed(field: &'static str, texts: &[String]) -> Result<CorsList, CorsError> {
    if has_wildcard(texts) { Ok(CorsList::Requested) } else { Ok(CorsList::These(list(field, texts)?)) }
}

/// The value of a header that lists these. `*` swallows the others.
fn list(field: &'static str, texts: &[String]) -> Result<String, CorsError> {
    if has_wildcard(texts) {
        return Ok("*".to_owned());
    }
    for text in texts {
        // Methods and field names are both tokens (RFC 9110, section 5.6.2).
        if http::Method::from_bytes(text.as_bytes()).is_err() {
            return Err(CorsError::Token(field, text.clone()));
        }
    }
    Ok(texts.join(", "))
}

fn origins(spec: &CorsSpec<'_>) -> Result<CorsOrigins, CorsError> {
    if has_wildcard(spec.origins) {
        // With credentials the header must repeat the request's origin.
        return if spec.credentials {
            let any = Pattern::full(".*").map_err(|_| CorsError::Origin("*".to_owned()))?;
            Ok(CorsOrigins::List(vec![CorsOrigin::Wildcard(any)]))
        } else {
            Ok(CorsOrigins::All)
        };
    }
    spec.origins.iter().map(|text| origin(text)).collect::<Result<_, _>>().map(CorsOrigins::List)
}

/// One origin. Browsers leave a scheme's own port out, so it is left out here.
fn origin(text: &str) -> Result<CorsOrigin, CorsError> {
    let refused = || CorsError::Origin(text.to_owned());
    let lower = text.to_ascii_lowercase();
    let (scheme, authority) = lower.split_once("://").ok_or_else(refused)?;
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return Err(refused()),
    };
    let authority = authority.strip_suffix(default_port).unwrap_or(authority);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']' | '*');
    if authority.is_empty() || !authority.chars().all(allowed) {
        return Err(refused());
    }
    if !authority.contains('*') {
        return Ok(CorsOrigin::Exact(format!("{scheme}://{authority}")));
    }
    // A star stands for any number of labels, but never reaches into the port.
    let host = authority.split('*').map(regex_escape).collect::<Vec<_>>().join("[^/:]+");
    let pattern = Pattern::full(&format!("(?i){scheme}://{host}")).map_err(|_| refused())?;
    Ok(CorsOrigin::Wildcard(pattern))
}

/// Escapes the few characters that an authority may have and an expression reads as something else.
fn regex_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '.' | '[' | ']' | '-') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn wildcard_matches(origin_text: &str, request: &str) -> bool {
        match origin(origin_text).unwrap() {
            CorsOrigin::Wildcard(pattern) => pattern.regex().is_match(request),
            CorsOrigin::Exact(text) => text == request,
        }
    }

    #[test]
    fn a_star_in_an_origin_stands_for_labels_and_not_for_a_port() {
        assert!(wildcard_matches("https://*.bar.com", "https://a.b.bar.com"));
        assert!(!wildcard_matches("https://*.bar.com", "https://bar.com"));
        assert!(!wildcard_matches("https://*.bar.com", "https://a.bar.com:8443"));
        assert!(!wildcard_matches("https://*.bar.com", "https://evil.com/.bar.com"));
        assert!(!wildcard_matches("https://*.bar.com", "https://axbar.com"));
        assert!(!wildcard_matches("https://*", "http://a.com"));
    }

    #[test]
    fn the_schemes_own_port_is_left_out() {
        assert_eq!(origin("https://a.com:443"), Ok(CorsOrigin::Exact("https://a.com".to_owned())));
        assert_eq!(origin("http://A.com:8080"), Ok(CorsOrigin::Exact("http://a.com:8080".to_owned())));
    }

    #[test]
    fn origins_that_are_none_are_refused() {
        for text in ["a.com", "ftp://a.com", "https://", "https://a.com/x", "https://a(b"] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn any_origin_with_credentials_is_repeated_and_not_starred() {
        let origins = texts(&["*"]);
        let spec = CorsSpec { origins: &origins, ..CorsSpec::default() };
        assert_eq!(parse(&spec).unwrap().origins, CorsOrigins::All);
        let credentials = CorsSpec { credentials: true, ..spec };
        assert!(matches!(parse(&credentials).unwrap().origins, CorsOrigins::List(_)));
    }

    #[test]
    fn a_wildcard_repeats_what_is_asked_for() {
        let star = texts(&["*"]);
        for credentials in [false, true] {
            let spec = CorsSpec { methods: &star, headers: &star, credentials, expose: &star, ..CorsSpec::default() };
            let cors = parse(&spec).unwrap();
            assert_eq!((cors.methods, cors.headers), (CorsList::Requested, CorsList::Requested));
            assert_eq!(cors.expose_headers.as_deref(), (!credentials).then_some("*"));
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let bad = texts(&["GET, x"]);
        let spec = CorsSpec { methods: &bad, ..CorsSpec::default() };
        assert!(matches!(parse(&spec), Err(CorsError::Token("allowMethods", _))));
    }

    #[test]
    fn defaults_are_those_of_the_api() {
        let cors = parse(&CorsSpec::default()).unwrap();
        assert_eq!(cors.methods, CorsList::These("GET, HEAD, POST".to_owned()));
        assert_eq!((cors.max_age, cors.expose_headers, cors.preflights), (5, None, Preflights::All));
    }
}
