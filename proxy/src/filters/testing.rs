//! A request for the tests of filters: plain data that becomes a [`RequestContext`].

use std::net::IpAddr;
use std::time::{Duration, Instant};

use genkan_routing::model::{Match, PathMatch, PathPrefix};
use genkan_routing::name::RuleId;
use genkan_routing::policy::pattern::Pattern;
use genkan_routing::policy::redirect::Scheme;
use genkan_routing::request::normalize_path;
use http::Method;

use crate::exchange::context::RequestContext;

/// `GET http://example.com/` from 192.0.2.1, unless told otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    head: http::request::Parts,
    scheme: Scheme,
    tls: bool,
    authority: String,
    port: u16,
    client: IpAddr,
    peer: IpAddr,
    matched: PathMatch,
    path: Option<String>,
    start: Instant,
    now: Instant,
}

impl Request {
    pub(crate) fn new(method: Method, target: &str) -> Self {
        let (head, ()) = http::Request::builder().method(method).uri(target).body(()).unwrap().into_parts();
        let now = Instant::now();
        Self {
            head,
            scheme: Scheme::Http,
            tls: false,
            authority: "example.com".to_owned(),
            port: 80,
            client: IpAddr::from([192, 0, 2, 1]),
            peer: IpAddr::from([192, 0, 2, 1]),
            matched: PathMatch::Prefix(PathPrefix::parse("/").unwrap()),
            path: None,
            start: now,
            now,
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new(Method::GET, target)
    }

    pub(crate) fn post(target: &str) -> Self {
        Self::new(Method::POST, target)
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.head.headers.append(name, value.parse().unwrap());
        self
    }

    pub(crate) fn version(mut self, version: http::Version) -> Self {
        self.head.version = version;
        self
    }

    /// Over TLS, port 443.
    pub(crate) fn tls(self) -> Self {
        Self { tls: true, scheme: Scheme::Https, port: 443, ..self }
    }

    /// As a trusted proxy in front saw it.
    pub(crate) fn seen(self, scheme: Scheme, port: u16) -> Self {
        Self { scheme, port, ..self }
    }

    pub(crate) fn authority(self, authority: &str) -> Self {
        Self { authority: authority.to_owned(), ..self }
    }

    pub(crate) fn client(self, client: &str) -> Self {
        Self { client: client.parse().unwrap(), ..self }
    }

    pub(crate) fn peer(self, peer: &str) -> Self {
        Self { peer: peer.parse().unwrap(), ..self }
    }

    pub(crate) fn prefix(self, prefix: &str) -> Self {
        Self { matched: PathMatch::Prefix(PathPrefix::parse(prefix).unwrap()), ..self }
    }

    pub(crate) fn regex(self, source: &str) -> Self {
        Self { matched: PathMatch::Regex(Pattern::nginx_location(source).unwrap()), ..self }
    }

    /// The routed path, whatever the head says.
    pub(crate) fn set_path(&mut self, path: &str) {
        self.path = Some(path.to_owned());
    }

    /// This long after the request was made.
    pub(crate) fn after(self, time: Duration) -> Self {
        let now = self.start + time;
        Self { now, ..self }
    }

    /// Calls `f` with the context of this request.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&RequestContext<'_>) -> R) -> R {
        let matched = Match {
            path: self.matched.clone(),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
            rule: RuleId::new("rule"),
        };
        let normalized = normalize_path(self.head.uri.path()).unwrap();
        let path = self.path.as_deref().unwrap_or(&normalized);
        f(&RequestContext {
            head: &self.head,
            scheme: self.scheme,
            tls: self.tls,
            authority: &self.authority,
            host: self.authority.split(':').next().unwrap_or_default(),
            port: self.port,
            client: self.client,
            client_text: None,
            peer: self.peer,
            request_id: "0123456789abcdef0123456789abcdef",
            path,
            matched: Some(&matched),
            now: self.now,
        })
    }
}
