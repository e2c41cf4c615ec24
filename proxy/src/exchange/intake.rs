//! Intake: from a request's head to the decision what to do with it.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use genkan_routing::model::Action;
use genkan_routing::request::{canonical_host, normalize_path};
use genkan_routing::snapshot::RequestView;
use http::{HeaderMap, StatusCode, Version};

use super::{Exchange, hop_by_hop};
use crate::error::Failure;
use crate::reply::Reply;
use crate::table::ClusterNumber;

/// Which cluster serves a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) cluster: ClusterNumber,
}

impl Exchange {
    /// Routes the request and decides whether it is forwarded or answered here.
    pub(crate) fn intake(&mut self, head: &http::request::Parts) -> Result<ControlFlow<Reply>, Failure> {
        self.upgrade = hop_by_hop::upgrade(head).is_some();
        let authority = authority(head)?;
        let host = canonical_host(authority).map_err(|_| Failure::BadRequest("the host is malformed"))?;
        let path = normalize_path(head.uri.path()).map_err(|_| Failure::BadRequest("the path is malformed"))?;
        let view = RequestView {
            host: &host,
            path: &path,
            query: head.uri.query(),
            method: &head.method,
            headers: &head.headers,
        };
        let Some(matched) = self.table.snapshot.route(&self.connection.listener, &view) else {
            return Ok(ControlFlow::Break(page(StatusCode::NOT_FOUND)));
        };
        self.rule = self.table.rule_number(matched.rule);
        match &matched.rule.action {
            Action::Respond(direct) => Ok(ControlFlow::Break(page(status(direct.status)))),
            Action::Forward(_) => self.choose(),
        }
    }

    fn choose(&mut self) -> Result<ControlFlow<Reply>, Failure> {
        let backend = self.rule_entry().and_then(|rule| rule.backends.first());
        let Some(cluster) = backend.and_then(|backend| backend.cluster) else {
            return Ok(ControlFlow::Break(page(StatusCode::INTERNAL_SERVER_ERROR)));
        };
        self.choice = Some(Choice { cluster });
        if self.cluster().is_none_or(|cluster| cluster.cluster.endpoints.is_empty()) {
            return Ok(ControlFlow::Break(page(StatusCode::SERVICE_UNAVAILABLE)));
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The endpoint of the next attempt: preferably one that was not tried yet.
    pub(super) fn pick(&mut self) -> Result<SocketAddr, Failure> {
        let Some(entry) = self.cluster() else {
            return Err(Failure::Internal("an attempt without a cluster".to_owned()));
        };
        let tried = |address: &SocketAddr| self.attempts.iter().any(|attempt| attempt.address == *address);
        let mut addresses = entry.cluster.endpoints.iter().map(|endpoint| endpoint.address);
        let fresh = addresses.clone().find(|address| !tried(address));
        fresh.or_else(|| addresses.next()).ok_or_else(|| Failure::NoEndpoint(entry.cluster.name.to_string()))
    }
}

/// The host that a request names: the target's authority (HTTP/2, absolute form) before the `Host` field. Only an
/// HTTP/1.0 client may name none (RFC 9112, section 3.2).
fn authority(head: &http::request::Parts) -> Result<&str, Failure> {
    if let Some(authority) = head.uri.authority() {
        return Ok(authority.as_str());
    }
    match head.headers.get(http::header::HOST) {
        Some(host) => host.to_str().map_err(|_| Failure::BadRequest("the host is malformed")),
        None if head.version <= Version::HTTP_10 => Ok(""),
        None => Err(Failure::BadRequest("the request names no host")),
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn page(status: StatusCode) -> Reply {
    Reply { status, headers: HeaderMap::new(), body: bytes::Bytes::new() }
}
