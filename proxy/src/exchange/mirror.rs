//! Copies of a request for its rule's mirrors: the head that they get, and where they go.

use std::sync::Arc;

use genkan_routing::model::HttpVersion;
use genkan_routing::policy::mirror::Mirror;
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::context::RequestContext;
use super::{Exchange, kept_for};
use crate::filters::{self, Admitted};
use crate::metrics::MirrorResult;
use crate::random;
use crate::table::RuleEntry;
use crate::upstream::client::Destination;
use crate::upstream::mirror::Copy;

/// What every copy carries. A mirror may lead back here, and a copy that is copied again would go round for ever, ever
/// more of it with several mirrors. Clients that write it themselves only do without mirrors.
const MIRRORED: HeaderName = HeaderName::from_static("x-genkan-mirrored");

/// Most rules have no mirror.
pub(crate) type Copies = SmallVec<[Box<Copy>; 1]>;

impl Exchange {
    /// The copies of a request that the rule's filters let pass. Each has what these change; what the backend's own
    /// filters do concerns that backend. Requests that ask to leave HTTP are not copied, nor are copies.
    pub(super) fn copies(&self, ctx: &RequestContext<'_>, entry: &RuleEntry, admitted: &Admitted) -> Copies {
        let copied = || !self.upgrade && !ctx.head.headers.contains_key(MIRRORED);
        let chosen = |mirror: &&Mirror| copied() && mirror.share.takes(random::next());
        filters::mirrors(&entry.filters)
            .filter(chosen)
            .filter_map(|mirror| {
                let copy = self.copy(ctx, entry, admitted, mirror);
                if copy.is_none() {
                    self.shared.metrics.mirrors.count(MirrorResult::Failed);
                }
                copy.map(Box::new)
            })
            .collect()
    }

    /// A copy; `None` when the mirror has no endpoint.
    fn copy(&self, ctx: &RequestContext<'_>, entry: &RuleEntry, admitted: &Admitted, mirror: &Mirror) -> Option<Copy> {
        let cluster = self.table.cluster_of(&mirror.target)?;
        let settings = &self.table.snapshot.model().settings;
        let destination = Destination {
            picked: cluster.balancer.pick(ctx, &[], random::next())?,
            cluster: cluster.cluster.clone(),
            version: cluster.cluster.version,
            secure: cluster.secure.clone(),
            group: cluster.connection_group(settings.upstream.keepalive_time, ctx.now),
            connect_timeout: entry.forward()?.timeouts.connect,
            idle_timeout: kept_for(&settings.upstream),
        };
        let mut head = ctx.head.clone();
        self.clean_head(&mut head, None, cluster.cluster.version == HttpVersion::Http2);
        filters::upstream_head(ctx, self.forwarded(), &entry.filters, None, admitted, &mut head);
        head.headers.insert(MIRRORED, HeaderValue::from_static("1"));
        Some(Copy { destination, balancer: Arc::clone(&cluster.balancer), head })
    }

    /// The copies that are to be sent, once.
    pub(crate) fn take_copies(&mut self) -> Copies {
        std::mem::take(&mut self.copies)
    }
}
