//! Session: which endpoint a client's requests are kept with, and what the client is told about it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use genkan_routing::model::Forward;
use genkan_routing::policy::affinity::Affinity;
use genkan_routing::policy::redirect::Scheme;
use http::HeaderMap;
use http::header::SET_COOKIE;

use super::Exchange;
use super::context::RequestContext;
use super::intake::Chosen;
use crate::table::{ClusterEntry, ClusterNumber, RuleEntry};
use crate::upstream::affinity::{self, Keys};
use crate::upstream::endpoint::Picked;

/// A request whose client is to be kept with one endpoint.
#[derive(Debug)]
pub(super) struct Session {
    policy: Arc<Affinity>,
    /// The endpoint that the client's token names, of the chosen cluster.
    named: Option<SocketAddr>,
    /// The path of the cookie.
    path: Option<Box<str>>,
}

/// The endpoint that a client's token names.
#[derive(Debug)]
pub(super) struct Kept {
    chosen: Chosen,
    cluster: ClusterNumber,
    pub(super) endpoint: Picked,
}

impl Kept {
    /// The backend and its cluster.
    pub(super) fn choice(&self) -> (Chosen, ClusterNumber) {
        (self.chosen, self.cluster)
    }
}

impl Exchange {
    /// Where the client's session is. It goes before weights: a backend that gets no new sessions keeps its old ones.
    pub(super) fn kept(&self, ctx: &RequestContext<'_>, entry: &RuleEntry, forward: &Forward) -> Option<Kept> {
        let clusters = || {
            let numbers =
                entry.backends.iter().enumerate().filter_map(|(place, backend)| Some((place, backend.cluster?)));
            numbers.filter_map(|(place, number)| Some((place, number, self.table.cluster(number)?)))
        };
        if forward.affinity.is_none() && clusters().all(|(.., cluster)| cluster.cluster.affinity.is_none()) {
            return None;
        }
        clusters().find_map(|(place, number, cluster)| {
            let endpoint = named(ctx, policy(forward, cluster)?, cluster)?;
            Some(Kept { chosen: Chosen::Own(place), cluster: number, endpoint })
        })
    }

    /// What is remembered of the session until the response; `None` where clients are not kept with an endpoint.
    pub(super) fn session_of(
        &self,
        ctx: &RequestContext<'_>,
        forward: &Forward,
        cluster: ClusterNumber,
        kept: Option<&Kept>,
    ) -> Option<Box<Session>> {
        let policy = Arc::clone(policy(forward, self.table.cluster(cluster)?)?);
        let path = ctx.matched.map(|matched| affinity::cookie_path(matched).into());
        Some(Box::new(Session { policy, named: kept.map(|kept| kept.endpoint.address()), path }))
    }

    /// Tells the client who answered, unless it knows. After a retry that may be another endpoint than the token's.
    pub(super) fn tell_session(&self, client: &http::request::Parts, headers: &mut HeaderMap) {
        let (Some(session), Some(endpoint), Some(cluster)) = (&self.session, self.endpoint(), self.cluster()) else {
            return;
        };
        if session.named == Some(endpoint) {
            return;
        }
        let secure = self.with_context(client, Instant::now(), |ctx| ctx.scheme == Scheme::Https);
        let cookie = (session.path.as_deref(), secure);
        match affinity::tell(&session.policy, &cluster.cluster.id, endpoint, cookie, SystemTime::now()) {
            Some((name, value)) if name == SET_COOKIE => {
                headers.append(name, value);
            }
            Some((name, value)) => {
                headers.insert(name, value);
            }
            None => {}
        }
    }
}

/// The rule's word goes before the cluster's.
fn policy<'a>(forward: &'a Forward, cluster: &'a ClusterEntry) -> Option<&'a Arc<Affinity>> {
    forward.affinity.as_ref().or(cluster.cluster.affinity.as_ref())
}

/// Tokens of a client that are looked at. Each is held against every endpoint, and a head has room for a thousand; true
/// ones are as many as rules of the host keep sessions by this name.
const MAX_TOKENS: usize = 4;

/// The endpoint of the cluster that a token of the client names.
fn named(ctx: &RequestContext<'_>, policy: &Affinity, cluster: &ClusterEntry) -> Option<Picked> {
    let mut tokens = affinity::tokens(policy, &ctx.head.headers, SystemTime::now()).take(MAX_TOKENS).peekable();
    tokens.peek()?;
    let keys = Keys::of(policy);
    tokens.find_map(|token| cluster.balancer.find(ctx.now, |endpoint| token.names(keys, &cluster.cluster.id, endpoint)))
}
