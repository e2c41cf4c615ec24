//! Intake: from a request's head to the decision what to do with it.

use std::ops::ControlFlow;
use std::time::Instant;

use genkan_routing::model::{Action, Forward};
use genkan_routing::request::{canonical_host, normalize_path};
use genkan_routing::snapshot::RequestView;
use http::header::HOST;
use http::{StatusCode, Version};

use super::context::RequestContext;
use super::session::{Kept, Session};
use super::{Copies, Exchange, grpc, hop_by_hop, limits};
use crate::error::Failure;
use crate::filters::{self, Admitted, Compiled, canary, forwarded, weighted};
use crate::random;
use crate::reply::Reply;
use crate::table::{BackendEntry, ClusterNumber, RuleEntry};
use crate::upstream::endpoint::Picked;

/// Which backend and cluster serve a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) backend: Chosen,
    pub(super) cluster: ClusterNumber,
}

/// Which of a rule's backends was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// The rule's own, by its place.
    Own(usize),
    /// The canary's.
    Canary,
}

impl Chosen {
    pub(super) fn entry(self, rule: &RuleEntry) -> Option<&BackendEntry> {
        match self {
            Self::Own(place) => rule.backends.get(place),
            Self::Canary => rule.canary.as_deref(),
        }
    }
}

/// What intake decided, before it is noted in the exchange.
struct Decision {
    choice: Option<Choice>,
    admitted: Admitted,
    session: Option<Box<Session>>,
    copies: Copies,
    outcome: Outcome,
}

/// What becomes of a request.
enum Outcome {
    /// It is answered here.
    Reply(Reply),
    /// Somebody has to say first who sends it, or its body is read first.
    Wait,
    /// It goes to an endpoint.
    Pass(Picked),
}

impl Decision {
    /// A decision about a request for which no backend is chosen.
    fn of(outcome: Outcome, admitted: Admitted) -> Self {
        Self { choice: None, admitted, session: None, copies: Copies::new(), outcome }
    }
}

impl Exchange {
    /// Routes the request, asks the filters, and unless it has to [wait](Self::waits) chooses backend and endpoint. A
    /// reply answers the request here.
    pub(crate) fn intake(
        &mut self,
        head: &http::request::Parts,
        has_body: bool,
        now: Instant,
    ) -> Result<ControlFlow<Reply>, Failure> {
        self.upgrade = hop_by_hop::upgrade(head).is_some();
        self.has_body = has_body;
        let settings = &self.table.snapshot.model().settings.forwarded;
        self.request_id = forwarded::request_id(settings, &head.headers, random::next).into_owned();
        if self.table.logs().has_own() {
            // For what is refused before it is known which section has it.
            self.settings = self.table.snapshot.settings(&self.connection.listener, self.server_name()).cloned();
        }
        if let Some(status) = limits::refusal(self.client_settings(), head) {
            let reply = Reply::page(status, &head.headers, &self.request_id);
            return Ok(ControlFlow::Break(self.finish_reply(head, reply)));
        }
        check_host(head)?;
        self.route(head, now, None)
    }

    /// Goes on with a request that everybody who was asked lets pass, and whose body was read if that had to be.
    pub(crate) fn admit(&mut self, head: &http::request::Parts, now: Instant) -> Result<ControlFlow<Reply>, Failure> {
        let admitted = std::mem::take(&mut self.admitted);
        self.route(head, now, Some(admitted))
    }

    /// `admitted` is what the filters said when they were asked before.
    fn route(
        &mut self,
        head: &http::request::Parts,
        now: Instant,
        admitted: Option<Admitted>,
    ) -> Result<ControlFlow<Reply>, Failure> {
        let decision = {
            let table = &*self.table;
            let host = canonical_host(forwarded::own_authority(head));
            let host = host.map_err(|_| Failure::BadRequest("the host is malformed"))?;
            let path = normalize_path(head.uri.path()).map_err(|_| Failure::BadRequest("the path is malformed"))?;
            let view = RequestView {
                host: &host,
                path: &path,
                query: head.uri.query(),
                method: &head.method,
                headers: &head.headers,
            };
            let misdirected = self.is_misdirected(&host);
            let matched = table.snapshot.route(&self.connection.listener, &view).filter(|_| !misdirected);
            if let Some(matched) = &matched {
                self.settings = matched.settings.cloned();
            } else if !misdirected && table.logs().has_own() {
                self.settings = table.snapshot.settings(&self.connection.listener, &host).cloned();
            }
            let refused = |status| {
                let reply = Reply::page(status, &head.headers, &self.request_id);
                Ok(ControlFlow::Break(self.finish_reply(head, reply)))
            };
            if misdirected || !self.is_secure_enough() {
                return refused(StatusCode::MISDIRECTED_REQUEST);
            }
            let Some(matched) = matched else {
                return refused(StatusCode::NOT_FOUND);
            };
            let rule = table.rule_number(matched.rule);
            // The engine may have taken a field away since, which a rule may match on; of another rule nobody was asked.
            if admitted.is_some() && rule != self.rule {
                return refused(StatusCode::SERVICE_UNAVAILABLE);
            }
            self.rule = rule;
            let entry = self.rule.and_then(|number| table.rule(number));
            let entry = entry.ok_or_else(|| Failure::Internal("a rule that is not in its table".to_owned()))?;
            let ctx = RequestContext { matched: Some(matched.matched), ..self.view(head, &host, &path, now) };
            let decision = match admitted {
                None => self.decide(&ctx, entry),
                Some(admitted) => self.place(&ctx, entry, admitted),
            };
            let canary = decision.choice.filter(|choice| choice.backend == Chosen::Canary);
            let canary = canary.and_then(|choice| table.cluster(choice.cluster)).map(|entry| &*entry.cluster.name);
            self.metrics = entry.metrics(&self.shared.metrics, (matched.host, &host), canary.unwrap_or_default());
            decision
        };
        self.choice = decision.choice;
        self.admitted = decision.admitted;
        self.session = decision.session;
        match decision.outcome {
            Outcome::Pass(picked) => {
                self.picked = Some(picked);
                self.copies = decision.copies;
            }
            Outcome::Wait => self.begin_waiting(),
            Outcome::Reply(reply) => return Ok(ControlFlow::Break(self.finish_reply(head, reply))),
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether the host belongs to another section than the server name that the connection was made for. Without a
    /// server name no section was chosen, so the host alone decides.
    fn is_misdirected(&self, host: &str) -> bool {
        let server_name = self.connection.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        server_name.is_some_and(|name| self.table.snapshot.is_misdirected(&self.connection.listener, name, host))
    }

    /// The server name that the connection was made for; empty without one.
    fn server_name(&self) -> &str {
        self.connection.tls.as_ref().and_then(|tls| tls.server_name.as_deref()).unwrap_or_default()
    }

    /// Whether the connection is one that the host's section would have been opened with. It is not if the client named
    /// no server and so got the usual versions and ciphers, or if the section's have changed since: on a new connection
    /// the client gets what the section wants.
    fn is_secure_enough(&self) -> bool {
        let wanted = self.settings.as_ref().and_then(|settings| settings.tls.as_ref());
        match (wanted, &self.connection.tls) {
            (Some(wanted), Some(tls)) => wanted.admit(tls.version, tls.cipher),
            _ => true,
        }
    }

    /// Asks the rule's filters, then the chosen backend's.
    fn decide(&self, ctx: &RequestContext<'_>, entry: &RuleEntry) -> Decision {
        let mut admitted = Admitted::default();
        match filters::request(ctx, &entry.filters, &mut admitted) {
            ControlFlow::Break(reply) => Decision::of(Outcome::Reply(reply), admitted),
            ControlFlow::Continue(()) if filters::authentication(&entry.filters).next().is_some() => {
                let outcome = match filters::keep_judged(ctx, &mut admitted) {
                    ControlFlow::Break(reply) => Outcome::Reply(reply),
                    ControlFlow::Continue(()) => Outcome::Wait,
                };
                Decision::of(outcome, admitted)
            }
            ControlFlow::Continue(()) if self.request_buffering(ctx.head).is_some() => {
                Decision::of(Outcome::Wait, admitted)
            }
            ControlFlow::Continue(()) => self.place(ctx, entry, admitted),
        }
    }

    /// Chooses backend and endpoint for a request that the rule's filters let pass.
    fn place(&self, ctx: &RequestContext<'_>, entry: &RuleEntry, mut admitted: Admitted) -> Decision {
        let refused = |reply: Reply, admitted| Decision::of(Outcome::Reply(reply), admitted);
        let forward = match &entry.rule.action {
            Action::Respond(direct) => {
                let status = StatusCode::from_u16(direct.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return refused(Reply::refuse(ctx, status), admitted);
            }
            Action::Forward(forward) => forward,
        };
        let kept = self.kept(ctx, entry, forward);
        let chosen = kept.as_ref().map(Kept::choice).or_else(|| self.choose(ctx, entry, forward));
        let Some((chosen, cluster)) = chosen else {
            // Gateway API wants 500, and of calls the gRPC status UNAVAILABLE, which is 503.
            let call = grpc::is_call(&ctx.head.headers);
            let status = if call { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR };
            return refused(Reply::refuse(ctx, status), admitted);
        };
        let choice = Some(Choice { backend: chosen, cluster });
        let copies = self.copies(ctx, entry, &admitted);
        if let Some(backend) = chosen.entry(entry).filter(|backend| !backend.filters.is_empty())
            && let ControlFlow::Break(reply) = filters::request(ctx, &backend.filters, &mut admitted)
        {
            return Decision { choice, ..refused(reply, admitted) };
        }
        let session = self.session_of(ctx, forward, cluster, kept.as_ref());
        let balancer = self.table.cluster(cluster).map(|cluster| &cluster.balancer);
        let pick = || balancer.and_then(|balancer| balancer.pick(ctx, &[], random::next()));
        let picked = kept.map(|kept| kept.endpoint).or_else(pick);
        let unavailable = || Outcome::Reply(Reply::refuse(ctx, StatusCode::SERVICE_UNAVAILABLE));
        let outcome = picked.map_or_else(unavailable, Outcome::Pass);
        Decision { choice, admitted, session, copies, outcome }
    }

    /// The canary if it takes the request and has endpoints, else a backend by weight. `None` when the backend is
    /// invalid or there is none.
    fn choose(
        &self,
        ctx: &RequestContext<'_>,
        entry: &RuleEntry,
        forward: &Forward,
    ) -> Option<(Chosen, ClusterNumber)> {
        let has_endpoints =
            |cluster: &ClusterNumber| self.table.cluster(*cluster).is_some_and(|entry| !entry.balancer.is_empty());
        if let (Some(policy), Some(backend)) = (&forward.canary, &entry.canary)
            && let Some(cluster) = backend.cluster.filter(has_endpoints)
            && canary::takes(ctx, policy, random::next())
        {
            return Some((Chosen::Canary, cluster));
        }
        let place = weighted::choose(&forward.backends, random::next())?;
        Some((Chosen::Own(place), entry.backends.get(place)?.cluster?))
    }

    /// The endpoint of a further attempt: one that was not tried, if there is one. A kept connection that was closed is
    /// no try of its endpoint, and a session does not leave its endpoint because of one.
    pub(super) fn pick_again(&self, head: &http::request::Parts, now: Instant) -> Result<Picked, Failure> {
        let entry = self.cluster().ok_or_else(|| Failure::Internal("an attempt without a cluster".to_owned()))?;
        let stale = self.attempts.last().filter(|attempt| attempt.stale && self.session.is_some());
        let same = stale.and_then(|stale| entry.balancer.find(now, |endpoint| endpoint == stale.address));
        let tried = || self.attempts.iter().filter(|attempt| !attempt.stale).map(|attempt| attempt.address);
        let other = || {
            let tried: smallvec::SmallVec<[_; 4]> = tried().collect();
            self.with_context(head, now, |ctx| entry.balancer.pick(ctx, &tried, random::next()))
        };
        same.or_else(other).ok_or_else(|| Failure::NoEndpoint(entry.cluster.name.to_string()))
    }

    /// Dresses a reply of ours for the client: what the rule does to responses, and what gRPC clients understand.
    pub(super) fn finish_reply(&self, head: &http::request::Parts, mut reply: Reply) -> Reply {
        if let Some(entry) = self.rule_entry().filter(|entry| !entry.filters.is_empty()) {
            self.with_context(head, Instant::now(), |ctx| filters::reply(ctx, &entry.filters, &mut reply));
        }
        if grpc::is_call(&head.headers) { grpc::translate(reply) } else { reply }
    }

    /// Runs `f` with the request as filters see it, after intake.
    pub(super) fn with_context<T>(
        &self,
        head: &http::request::Parts,
        now: Instant,
        f: impl FnOnce(&RequestContext<'_>) -> T,
    ) -> T {
        // Both were sound at intake, or the request did not get past it.
        let host = canonical_host(forwarded::own_authority(head)).unwrap_or_default();
        let path = normalize_path(head.uri.path()).unwrap_or_default();
        f(&self.view(head, &host, &path, now))
    }

    fn view<'v>(
        &'v self,
        head: &'v http::request::Parts,
        host: &'v str,
        path: &'v str,
        now: Instant,
    ) -> RequestContext<'v> {
        let believed = forwarded::believe(self.forwarded(), &self.connection, head);
        RequestContext {
            head,
            scheme: believed.scheme,
            tls: self.connection.tls.is_some(),
            authority: believed.authority,
            host,
            port: believed.port,
            client: believed.client,
            client_text: (believed.client == believed.peer).then(|| self.connection.client_text()),
            peer: believed.peer,
            request_id: &self.request_id,
            path,
            matched: None,
            now,
        }
    }

    /// The filters of the chosen backend, if it has any.
    pub(super) fn backend_filters(&self) -> Option<&Compiled> {
        let backend = self.choice?.backend.entry(self.rule_entry()?)?;
        (!backend.filters.is_empty()).then_some(&backend.filters)
    }
}

/// Only an HTTP/1.0 client may name no host (RFC 9112, section 3.2); a host of other than visible ASCII is none.
fn check_host(head: &http::request::Parts) -> Result<(), Failure> {
    if head.uri.authority().is_some() {
        return Ok(());
    }
    match head.headers.get(HOST) {
        Some(host) if host.to_str().is_ok() => Ok(()),
        None if head.version <= Version::HTTP_10 => Ok(()),
        Some(_) => Err(Failure::BadRequest("the host is malformed")),
        None => Err(Failure::BadRequest("the request names no host")),
    }
}
