//! The answers of the admin server, apart from any connection.

use std::net::IpAddr;

use bytes::Bytes;
use genkan_routing::report::Problem;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

use super::AdminState;
use crate::status::shown;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
/// The Prometheus text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What whoever may not see it is told instead.
const REFUSAL: &str = "\
    this shows the configuration of every namespace, and answers to loopback only:\n\
    kubectl port-forward POD 10254 (the port of --healthz-port) makes it localhost:10254 for you;\n\
    --expose-configuration opens it to everybody who reaches this port\n";

pub(super) fn respond<B>(state: &AdminState, peer: IpAddr, request: &Request<B>) -> Response<Full<Bytes>> {
    let answer: fn(&AdminState, &HeaderMap) -> Answer = match request.uri().path() {
        "/healthz" => healthz,
        path if path == state.health_path => healthz,
        "/readyz" => readyz,
        "/metrics" => |state, _| Answer {
            status: StatusCode::OK,
            kind: METRICS,
            text: (state.metrics)() + &state.details().metrics,
        },
        "/snapshot" | "/problems" | "/statuses" if !state.trusts(peer) => {
            |_, _| Answer::text(StatusCode::FORBIDDEN, REFUSAL)
        }
        "/snapshot" => snapshot,
        "/problems" => problems,
        "/statuses" => statuses,
        _ => return Answer::text(StatusCode::NOT_FOUND, "not found\n").into(),
    };
    // hyper leaves the body out for HEAD.
    if *request.method() != Method::GET && *request.method() != Method::HEAD {
        let mut response: Response<_> = Answer::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n").into();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    answer(state, request.headers()).into()
}

struct Answer {
    status: StatusCode,
    kind: &'static str,
    text: String,
}

impl Answer {
    fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, kind: TEXT, text: text.into() }
    }
}

impl From<Answer> for Response<Full<Bytes>> {
    fn from(answer: Answer) -> Self {
        let mut response = Response::new(Full::new(answer.text.into()));
        *response.status_mut() = answer.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.kind));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn healthz(state: &AdminState, _: &HeaderMap) -> Answer {
    if state.is_draining() {
        Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "draining\n")
    } else {
        Answer::text(StatusCode::OK, "ok\n")
    }
}

fn readyz(state: &AdminState, _: &HeaderMap) -> Answer {
    match state.ready() {
        Ok(()) => {
            let details: String = state.details().readiness.iter().map(|line| format!("- {line}\n")).collect();
            Answer::text(StatusCode::OK, format!("ready\n{details}"))
        }
        Err(missing) => {
            let details = state.details().readiness;
            let lines: String = missing
                .into_iter()
                .chain(details.iter().map(String::as_str))
                .map(|line| format!("- {line}\n"))
                .collect();
            Answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{lines}"))
        }
    }
}

fn snapshot(state: &AdminState, _: &HeaderMap) -> Answer {
    yaml(&**state.model.load())
}

fn statuses(state: &AdminState, _: &HeaderMap) -> Answer {
    let statuses = state.statuses.load();
    yaml(&shown(&statuses.0, &statuses.1))
}

fn yaml(what: &impl Serialize) -> Answer {
    match serde_saphyr::to_string(what) {
        Ok(text) => Answer { status: StatusCode::OK, kind: YAML, text },
        Err(error) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot be written as YAML: {error}\n")),
    }
}

fn problems(state: &AdminState, headers: &HeaderMap) -> Answer {
    let report = state.problems.load();
    let problems = || report.problems().map(|problem| &**problem);
    if wants_json(headers) {
        let all: Vec<&Problem> = problems().collect();
        return match serde_json::to_string_pretty(&all) {
            Ok(text) => Answer { status: StatusCode::OK, kind: JSON, text: text + "\n" },
            Err(error) => {
                Answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot be written as JSON: {error}\n"))
            }
        };
    }
    let lines: String = problems().map(|problem| format!("{problem}\n")).collect();
    Answer::text(StatusCode::OK, if lines.is_empty() { "no problems\n".to_owned() } else { lines })
}

/// Whether JSON is named among what is accepted; a mere `*/*` (curl) gets text.
fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(',')).filter_map(|kind| kind.split(';').next());
    kinds.any(|kind| kind.trim().eq_ignore_ascii_case(JSON))
}
