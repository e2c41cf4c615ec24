//! Matches of GRPCRoute rules (`GRPCRouteMatch`), parsed: a call of gRPC is a request for `/service/method` (gRPC over
//! HTTP/2, "Requests").

use gateway_api::apis::experimental::grpcroutes::{
    GrpcRouteRulesMatches, GrpcRouteRulesMatchesHeadersType, GrpcRouteRulesMatchesMethod,
    GrpcRouteRulesMatchesMethodType,
};
use genkan_routing::model::{Match, PathMatch, PathPrefix};
use genkan_routing::name::RuleId;
use genkan_routing::policy::pattern::Pattern;

use super::findings::Findings;
use super::matches::{self, HeaderSpec};
use super::reason::UNSUPPORTED_VALUE;

/// One part of a path, whatever it is.
const ANY_PART: &str = "[^/]+";

/// How much a match says about service and method: what its precedence goes by, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Specificity {
    pub(crate) service: usize,
    pub(crate) method: usize,
}

/// Parses one match; `None` when part of it is not understood, as for HTTPRoutes.
pub(crate) fn parse(
    spec: &GrpcRouteRulesMatches,
    rule: &RuleId,
    field: &str,
    findings: &mut Findings,
) -> Option<(Match, Specificity)> {
    let mend = "without it this match serves nothing; the rule's other matches do";
    let path = parse_method(spec.method.as_ref()).map_err(|error| {
        findings.error(format!("{field}.method"), UNSUPPORTED_VALUE, error, mend);
    });
    let headers = spec.headers.iter().flatten().map(|header| HeaderSpec {
        name: &header.name,
        value: &header.value,
        regex: matches!(header.r#type, Some(GrpcRouteRulesMatchesHeadersType::RegularExpression)),
    });
    let headers = matches::parse_headers(headers).map_err(|(index, error)| {
        findings.error(format!("{field}.headers[{index}]"), UNSUPPORTED_VALUE, error, mend);
    });
    let matched =
        Match { path: path.ok()?, method: None, headers: headers.ok()?, query: Vec::new(), rule: rule.clone() };
    let chars = |text: fn(&GrpcRouteRulesMatchesMethod) -> Option<&str>| {
        spec.method.as_ref().and_then(text).map_or(0, |text| text.chars().count())
    };
    Some((matched, Specificity { service: chars(service), method: chars(method) }))
}

/// What labels of the rule say about the path: `/service/method`, as far as it is written.
pub(crate) fn label(spec: &GrpcRouteRulesMatches) -> String {
    let Some(spec) = &spec.method else { return "/".to_owned() };
    match (service(spec), method(spec)) {
        (None, None) => "/".to_owned(),
        (Some(service), None) => format!("/{service}"),
        (service, Some(method)) => format!("/{}/{method}", service.unwrap_or("*")),
    }
}

fn service(spec: &GrpcRouteRulesMatchesMethod) -> Option<&str> {
    spec.service.as_deref().filter(|text| !text.is_empty())
}

fn method(spec: &GrpcRouteRulesMatchesMethod) -> Option<&str> {
    spec.method.as_deref().filter(|text| !text.is_empty())
}

fn parse_method(spec: Option<&GrpcRouteRulesMatchesMethod>) -> Result<PathMatch, String> {
    let parts = spec.map_or((None, None), |spec| (service(spec), method(spec)));
    let regex =
        matches!(spec.and_then(|spec| spec.r#type.as_ref()), Some(GrpcRouteRulesMatchesMethodType::RegularExpression));
    match parts {
        (None, None) => Ok(matches::every_path()),
        (service, method) if regex => {
            let part = |part: Option<&str>| part.map_or_else(|| ANY_PART.to_owned(), |part| format!("(?:{part})"));
            expression(&part(service), &part(method))
        }
        (Some(service), Some(method)) => {
            check(service).and(check(method))?;
            Ok(PathMatch::Exact(format!("/{service}/{method}")))
        }
        (Some(service), None) => {
            check(service)?;
            PathPrefix::parse(&format!("/{service}")).map(PathMatch::Prefix).map_err(|error| error.to_string())
        }
        // Letters, digits and `_` mean themselves in an expression.
        (None, Some(method)) => {
            check(method)?;
            if method.contains('.') {
                return Err(format!("{method:?} is no name of a method"));
            }
            expression(ANY_PART, method)
        }
    }
}

fn expression(service: &str, method: &str) -> Result<PathMatch, String> {
    let refused = |error| format!("the regular expression is refused: {error}");
    Pattern::full(&format!("/{service}/{method}")).map(PathMatch::Regex).map_err(refused)
}

/// Names of services and methods consist of letters, digits, `_` and, between them, `.` (`GRPCMethodMatch`).
fn check(name: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let sound = name.chars().all(known) && !name.contains("..") && name != ".";
    if sound { Ok(()) } else { Err(format!("{name:?} is no name of a gRPC service or method")) }
}

#[cfg(test)]
mod tests {
    use genkan_routing::name::ObjectRef;
    use serde_json::{Value, json};

    use super::*;

    fn matched(spec: Value) -> Option<(Match, Specificity)> {
        let mut findings = Findings::new(ObjectRef::new("GRPCRoute", "default", "calls"));
        let spec = serde_json::from_value(spec).unwrap();
        let parsed = parse(&spec, &RuleId::new("rule"), "spec.rules[0].matches[0]", &mut findings);
        assert_eq!(parsed.is_none(), !findings.into_problems().is_empty(), "{spec:?}");
        parsed
    }

    fn path(method: Value) -> Option<PathMatch> {
        matched(json!({"method": method})).map(|(matched, _)| matched.path)
    }

    #[test]
    fn a_call_is_a_path() {
        let regex = |text| Some(PathMatch::Regex(Pattern::full(text).unwrap()));
        let prefix = |text| Some(PathMatch::Prefix(PathPrefix::parse(text).unwrap()));
        for (method, expected) in [
            (json!({"service": "a.B", "method": "C"}), Some(PathMatch::Exact("/a.B/C".to_owned()))),
            (json!({"service": "a.B"}), prefix("/a.B")),
            (json!({"method": "C"}), regex("/[^/]+/C")),
            (json!({}), prefix("/")),
            (json!({"type": "Exact", "service": "a.B"}), prefix("/a.B")),
            (json!({"type": "RegularExpression", "service": "a|b", "method": "C+"}), regex("/(?:a|b)/(?:C+)")),
            (json!({"type": "RegularExpression", "service": "a"}), regex("/(?:a)/[^/]+")),
            (json!({"type": "RegularExpression", "method": "C"}), regex("/[^/]+/(?:C)")),
        ] {
            assert_eq!(path(method.clone()), expected, "{method}");
        }
        assert_eq!(matched(json!({})).unwrap().0.path, matches::every_path());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for method in [
            json!({"service": "a/b"}),
            json!({"service": ".."}),
            json!({"service": "a", "method": "b c"}),
            json!({"method": "a.b"}),
            json!({"type": "RegularExpression", "method": "("}),
        ] {
            assert_eq!(path(method.clone()), None, "{method}");
        }
        assert_eq!(matched(json!({"headers": [{"name": "a b", "value": ""}]})), None);
    }

    #[test]
    fn precedence_goes_by_characters() {
        let (_, specificity) = matched(json!({"method": {"service": "a.B", "method": "C"}})).unwrap();
        assert_eq!(specificity, Specificity { service: 3, method: 1 });
        assert_eq!(matched(json!({})).unwrap().1, Specificity::default());
    }
}
