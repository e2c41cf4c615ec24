//! Authentication: who is asked about a request, one after the other, and what their answers mean for it.
//!
//! ```text
//!  begin_waiting -> asks? -> password -> password_compared --+
//!                     |  \-> call -> answered ---------------+-> asks? ... -> admit
//!                     +--- nobody (left): admit              +-> Reply
//! ```
//!
//! Between these steps the engine waits. Whatever keeps an answer from coming, the request does not pass.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use genkan_routing::policy::external_auth::ExternalAuth;
use http::StatusCode;
use smallvec::SmallVec;

use super::{Exchange, kept_for};
use crate::filters::basic_auth::{self, CompiledBasicAuth};
use crate::filters::external_auth::{self, Answer, Verdict};
use crate::filters::{self, Authentication, forwarded};
use crate::metrics::AuthResult;
use crate::passwords::{Overloaded, Question};
use crate::random;
use crate::reply::Reply;
use crate::shared::Shared;
use crate::table::ClusterEntry;
use crate::upstream::authentication::{AskError, Call};
use crate::upstream::client::Destination;

/// The most endpoints of a service that one question goes to.
const MAX_TRIED: usize = 3;

/// How far the asking has come.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    /// Which of those who are to be asked.
    place: usize,
    /// Its endpoints that could not be reached.
    tried: SmallVec<[SocketAddr; 2]>,
    /// When it must have answered.
    until: Option<Instant>,
}

/// Who is to be asked next.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// The client, for a password.
    Client(Arc<CompiledBasicAuth>),
    /// A service.
    Service(Arc<ExternalAuth>),
}

impl Exchange {
    /// Somebody has to be asked before the request may go on, or its body has to be read.
    pub(super) fn begin_waiting(&mut self) {
        self.asking = Some(Box::default());
    }

    /// Who is to be asked next; `None` when nobody is, or nobody is left. After the last one the request is to be
    /// [admitted](Self::admit).
    pub(crate) fn asks(&self) -> Option<Asked> {
        let place = self.asking.as_ref()?.place;
        filters::authentication(&self.rule_entry()?.filters).nth(place).map(|next| match next {
            Authentication::Basic(policy) => Asked::Client(Arc::clone(policy)),
            Authentication::External(policy) => Asked::Service(Arc::clone(policy)),
        })
    }

    /// Whether the request has to wait: for those who are [asked](Self::asks), and then for its
    /// [body](Self::request_buffering).
    pub(crate) fn waits(&self) -> bool {
        self.asking.is_some()
    }

    /// What all workers share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The credentials to be compared with those of the users. A reply asks for some.
    pub(crate) fn password(
        &self,
        head: &http::request::Parts,
        asked: &CompiledBasicAuth,
    ) -> ControlFlow<Reply, Question> {
        let Some(given) = basic_auth::credentials(&head.headers) else {
            return ControlFlow::Break(self.ask_client(head, asked));
        };
        ControlFlow::Continue(Question {
            users: Arc::clone(&asked.policy.users),
            given,
            tenant: self.tenant(),
            client: forwarded::believe(self.forwarded(), &self.connection, head).client,
        })
    }

    /// Takes note of what the comparison said.
    pub(crate) fn password_compared(
        &mut self,
        head: &http::request::Parts,
        asked: &CompiledBasicAuth,
        right: Result<bool, Overloaded>,
    ) -> ControlFlow<Reply> {
        match right {
            Ok(true) => {
                self.shared.metrics.authentication.basic.count(AuthResult::Allowed);
                asked.admit(&mut self.admitted);
                self.next_asked();
                ControlFlow::Continue(())
            }
            Ok(false) => ControlFlow::Break(self.ask_client(head, asked)),
            Err(Overloaded) => {
                self.shared.metrics.authentication.basic.count(AuthResult::Failed);
                ControlFlow::Break(self.unavailable(head))
            }
        }
    }

    fn ask_client(&self, head: &http::request::Parts, asked: &CompiledBasicAuth) -> Reply {
        self.shared.metrics.authentication.basic.count(AuthResult::Denied);
        let reply = self.with_context(head, Instant::now(), |ctx| asked.refuse(ctx));
        self.finish_reply(head, reply)
    }

    /// The question to a service; `body` is the request's, if the policy asks for it.
    pub(crate) fn call(
        &mut self,
        head: &http::request::Parts,
        policy: &ExternalAuth,
        body: &Bytes,
        now: Instant,
    ) -> ControlFlow<Reply, Call> {
        let is_question = head.headers.contains_key(external_auth::ASKED);
        match self.question(head, policy, body, now).filter(|_| !is_question) {
            Some(call) => ControlFlow::Continue(call),
            None => {
                self.shared.metrics.authentication.external.count(AuthResult::Failed);
                let status = if is_question { StatusCode::LOOP_DETECTED } else { StatusCode::SERVICE_UNAVAILABLE };
                ControlFlow::Break(self.page(head, status))
            }
        }
    }

    /// `None` when the service has no endpoint that was not tried, and for a target that can't be asked about.
    fn question(
        &mut self,
        head: &http::request::Parts,
        policy: &ExternalAuth,
        body: &Bytes,
        now: Instant,
    ) -> Option<Call> {
        let whole = self.whole_deadline();
        let asking = self.asking.as_deref_mut()?;
        let until = *asking.until.get_or_insert_with(|| {
            let until = now + policy.timeout;
            whole.map_or(until, |whole| whole.min(until))
        });
        let asking = self.asking.as_deref()?;
        let cluster = self.table.cluster_of(&policy.target)?;
        let upstream = &self.table.snapshot.model().settings.upstream;
        let mut seen = head.clone();
        self.clean_head(&mut seen, None, false);
        let fields = seen.headers;
        let settings = self.forwarded();
        let (picked, question) = self.with_context(head, now, |ctx| {
            let picked = cluster.balancer.pick(ctx, &asking.tried, random::next());
            (picked, external_auth::question(ctx, settings, fields, policy, &name_of(cluster), body))
        });
        let question = question?;
        let picked = picked.filter(|picked| !asking.tried.contains(&picked.address()))?;
        let left = until.saturating_duration_since(now);
        let destination = Destination {
            picked,
            cluster: cluster.cluster.clone(),
            version: cluster.cluster.version,
            secure: cluster.secure.clone(),
            group: cluster.connection_group(upstream.keepalive_time, now),
            // Time for another endpoint, if there is one.
            connect_timeout: left / 2,
            idle_timeout: kept_for(upstream),
        };
        let balancer = Arc::clone(&cluster.balancer);
        Some(Call { destination, balancer, question, until, limit: policy.timeout })
    }

    /// Takes note of a service's answer. `Continue` means that the request may pass it, or that another endpoint is to be
    /// asked: see [`Self::asks`].
    pub(crate) fn answered(
        &mut self,
        head: &http::request::Parts,
        policy: &ExternalAuth,
        endpoint: SocketAddr,
        answer: Result<Answer, AskError>,
    ) -> ControlFlow<Reply> {
        let verdict = match answer {
            Ok(answer) => self
                .with_context(head, Instant::now(), |ctx| external_auth::verdict(ctx, policy, answer))
                .map_err(|error| (AuthResult::Failed, error.to_string())),
            Err(error) if error.is_unseen() && self.may_try_another(endpoint) => return ControlFlow::Continue(()),
            Err(AskError::Timeout) => Err((AuthResult::Timeout, AskError::Timeout.to_string())),
            Err(error) => Err((AuthResult::Failed, error.to_string())),
        };
        let external = &self.shared.metrics.authentication.external;
        match verdict {
            Ok(Verdict::Permit(permit)) => {
                external.count(AuthResult::Allowed);
                permit.note(&mut self.admitted);
                self.next_asked();
                ControlFlow::Continue(())
            }
            Ok(Verdict::Refuse(reply)) => {
                external.count(AuthResult::Denied);
                ControlFlow::Break(self.finish_reply(head, reply))
            }
            Err((result, error)) => {
                external.count(result);
                tracing::warn!(cluster = %policy.target, %endpoint, %error, "external authentication failed");
                ControlFlow::Break(self.unavailable(head))
            }
        }
    }

    /// Notes an endpoint that could not be reached.
    fn may_try_another(&mut self, endpoint: SocketAddr) -> bool {
        let Some(asking) = &mut self.asking else { return false };
        asking.tried.push(endpoint);
        asking.tried.len() < MAX_TRIED && asking.until.is_none_or(|until| Instant::now() < until)
    }

    fn next_asked(&mut self) {
        if let Some(asking) = &mut self.asking {
            **asking = Asking { place: asking.place + 1, ..Asking::default() };
        }
    }

    /// Nobody said that the request may pass.
    fn unavailable(&self, head: &http::request::Parts) -> Reply {
        self.page(head, StatusCode::SERVICE_UNAVAILABLE)
    }

    /// The reply to a body that is too large to be shown.
    pub(crate) fn body_too_large(&self, head: &http::request::Parts) -> Reply {
        self.page(head, StatusCode::PAYLOAD_TOO_LARGE)
    }

    fn page(&self, head: &http::request::Parts, status: StatusCode) -> Reply {
        self.finish_reply(head, Reply::page(status, &head.headers, &self.request_id))
    }
}

/// How a service is addressed that has no name of the client's: by its certificate's name, else by its own.
fn name_of(cluster: &ClusterEntry) -> String {
    let tls = cluster.cluster.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
    let service = &cluster.cluster.service;
    tls.map_or_else(|| format!("{}.{}", service.name, service.namespace), str::to_owned)
}
