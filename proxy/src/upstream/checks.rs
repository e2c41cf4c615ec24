//! Checks: endpoints are asked for their health, for clusters whose policy wants that.
//!
//! One task per cluster, all on one worker: it asks the endpoints that the table of now has, each when its time has come, a
//! few at a time. What is found is noted where every worker looks when it picks one.

mod rooms;
mod schedule;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use genkan_routing::model::{Cluster, HttpVersion, SharedMap};
use genkan_routing::name::ClusterId;
use genkan_routing::policy::health::{ActiveHealth, Health, HttpProbe, Probe};
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use self::rooms::Rooms;
use self::schedule::Schedule;
use super::balance::Balancer;
use super::client::{CallBody, Client, Destination};
use super::endpoint::{EndpointState, Picked};
use super::grpc_health;
use super::health::Finding;
use super::tls::Secure;
use crate::random;
use crate::shared::Shared;

/// Endpoints of one cluster that are asked at a time.
const AT_ONCE: usize = 16;

/// The longest time before an endpoint is asked for the first time, so that many are not asked at the same moment.
const FIRST: Duration = Duration::from_secs(1);

/// How often the table is looked at for new endpoints, at least.
const LOOK: Duration = Duration::from_secs(5);

/// Who asks, as endpoints see it in their logs.
const AGENT: HeaderValue = HeaderValue::from_static("genkan-health-check");

/// Answers in a row of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    good: u32,
    bad: u32,
}

/// A task per cluster; ends with it, and with the policy that it was begun with.
struct Task {
    policy: Arc<Health>,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Keeps a task for each cluster that is to be checked, as tables come and go.
pub(crate) async fn run(shared: Arc<Shared>) {
    let client = Arc::new(Client::default());
    let rooms = Arc::new(Rooms::default());
    let mut tasks: BTreeMap<ClusterId, Task> = BTreeMap::new();
    let mut known = SharedMap::default();
    loop {
        let wanted = shared.table.load().checked().clone();
        for (id, _, policy) in known.unshared(&wanted) {
            if tasks.get(id).is_some_and(|task| policy.is_some_and(|policy| policy.active == task.policy.active)) {
                continue;
            }
            tasks.remove(id);
            let Some((policy, active)) = policy.and_then(|policy| Some((policy, policy.active.clone()?))) else {
                continue;
            };
            let (shared, client, rooms) = (Arc::clone(&shared), Arc::clone(&client), Arc::clone(&rooms));
            let checks = Checks { policy: Arc::new(active), shared, client, rooms };
            let task = Task { policy: Arc::clone(policy), handle: tokio::spawn(checks.run(id.clone())) };
            tasks.insert(id.clone(), task);
        }
        known = wanted;
        shared.published.notified().await;
    }
}

/// The checks of a cluster.
struct Checks {
    policy: Arc<ActiveHealth>,
    shared: Arc<Shared>,
    client: Arc<Client>,
    rooms: Arc<Rooms>,
}

/// What there is of the cluster in a table; the table itself is large.
struct Seen {
    cluster: Arc<Cluster>,
    balancer: Arc<Balancer>,
    secure: Secure,
    group: u64,
}

impl Checks {
    /// Asks the endpoints of a cluster again and again, each when its time has come.
    async fn run(self, id: ClusterId) {
        let mut schedule = Schedule::default();
        let mut rows: HashMap<SocketAddr, Row> = HashMap::new();
        let mut asking = FuturesUnordered::new();
        let mut seen: Option<Seen> = None;
        loop {
            let now = Instant::now();
            // Without an entry: whoever keeps this task will end it, or a table that is about to come has it again.
            if let Some(new) = Seen::of(&self.shared, &id) {
                if seen.as_ref().is_none_or(|old| !Arc::ptr_eq(&old.balancer, &new.balancer)) {
                    schedule.follow(new.cluster.endpoints.iter().map(|it| it.address), || now + share(FIRST));
                    rows.retain(|address, _| schedule.has(*address));
                }
                seen = Some(new);
            }
            while asking.len() < AT_ONCE
                && let Some(address) = schedule.take(now)
            {
                asking.extend(seen.as_ref().and_then(|seen| self.question(seen, address)).map(Question::ask));
            }
            let look = now + LOOK;
            let next = schedule.next().filter(|_| asking.len() < AT_ONCE).map_or(look, |next| next.min(look));
            tokio::select! {
                Some((question, healthy)) = asking.next() => {
                    let address = question.state.address();
                    rows.entry(address).or_default().note(healthy, &question);
                    let interval = self.policy.interval;
                    // So that replicas and clusters that began together do not ask at the same moment for ever.
                    schedule.again(address, Instant::now() + interval + share(interval / 10));
                }
                () = sleep_until(next.into()) => {}
            }
        }
    }

    /// `None` for an endpoint that has gone, or is in a cluster without checks by now.
    fn question(&self, seen: &Seen, address: SocketAddr) -> Option<Question> {
        let member = seen.balancer.member(address)?;
        Some(Question {
            state: Arc::clone(member.state()),
            finding: Arc::clone(member.finding()?),
            policy: Arc::clone(&self.policy),
            cluster: Arc::clone(&seen.cluster),
            secure: seen.secure.clone(),
            group: seen.group,
            client: Arc::clone(&self.client),
            rooms: Arc::clone(&self.rooms),
        })
    }
}

impl Seen {
    fn of(shared: &Shared, id: &ClusterId) -> Option<Self> {
        let table = shared.table.load();
        let entry = table.cluster_of(id)?;
        let (cluster, balancer) = (Arc::clone(&entry.cluster), Arc::clone(&entry.balancer));
        Some(Self { cluster, balancer, secure: entry.secure.clone(), group: entry.group() })
    }
}

/// A random part of a time.
fn share(time: Duration) -> Duration {
    time.mul_f64(random::below(1000, random::next()) as f64 / 1000.0)
}

impl Row {
    fn note(&mut self, healthy: bool, question: &Question) {
        *self = match healthy {
            true => Self { good: self.good.saturating_add(1), bad: 0 },
            false => Self { good: 0, bad: self.bad.saturating_add(1) },
        };
        let Question { policy, finding, cluster, state, .. } = question;
        let (address, name) = (state.address(), &cluster.name);
        if self.bad >= policy.unhealthy.get() && finding.set(false) {
            tracing::warn!(%address, cluster = %name, "an endpoint is unhealthy: {} checks in a row failed", self.bad);
        } else if self.good >= policy.healthy.get() && finding.set(true) {
            tracing::info!(%address, cluster = %name, "an endpoint is healthy again");
        }
    }
}

/// What one endpoint is asked, and how.
struct Question {
    state: Arc<EndpointState>,
    finding: Arc<Finding>,
    policy: Arc<ActiveHealth>,
    cluster: Arc<Cluster>,
    secure: Secure,
    group: u64,
    client: Arc<Client>,
    rooms: Arc<Rooms>,
}

impl Question {
    /// Asks; whether the endpoint is healthy.
    async fn ask(self) -> (Self, bool) {
        let address = self.state.address();
        let place = self.rooms.enter(&self.cluster.service.namespace).await;
        let answer = async {
            match &self.policy.probe {
                Probe::Tcp => TcpStream::connect(address).await.is_ok(),
                Probe::Http(probe) => self.http(probe).await.is_some_and(|healthy| healthy),
                Probe::Grpc { service } => self.grpc(service).await.is_some_and(|healthy| healthy),
            }
        };
        let healthy = timeout(self.policy.timeout, answer).await.unwrap_or(false);
        drop(place);
        tracing::debug!(%address, cluster = %self.cluster.name, healthy, "an endpoint was asked for its health");
        (self, healthy)
    }

    async fn http(&self, probe: &HttpProbe) -> Option<bool> {
        let host = probe.host.as_ref().map_or_else(|| self.state.address().to_string(), ToString::to_string);
        let mut head = Request::new(()).into_parts().0;
        head.uri = probe.path.clone().into();
        head.headers.insert(HOST, HeaderValue::try_from(host).ok()?);
        head.headers.insert(USER_AGENT, AGENT);
        let destination = self.destination(self.cluster.version);
        let (response, used) = self.client.send(&destination, head, CallBody::Empty).await.ok()?;
        let status = response.status().as_u16();
        // Its connection is not kept: whether new ones are taken is part of the question.
        drop(used);
        Some(probe.statuses.iter().any(|range| range.contains(&status)))
    }

    /// gRPC is HTTP/2, also where requests are not.
    async fn grpc(&self, service: &str) -> Option<bool> {
        let mut head = Request::new(()).into_parts().0;
        head.method = Method::POST;
        head.uri = grpc_health::PATH.parse().ok()?;
        let fields = [
            (HOST, HeaderValue::try_from(self.state.address().to_string()).ok()?),
            (USER_AGENT, AGENT),
            (CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
            (TE, HeaderValue::from_static("trailers")),
        ];
        head.headers = HeaderMap::from_iter(fields);
        let body = CallBody::Whole(Bytes::from(grpc_health::request(service)));
        let (response, _used) = self.client.send(&self.destination(HttpVersion::Http2), head, body).await.ok()?;
        grpc_health::is_serving(response).await
    }

    /// A check does not count for the limits of requests.
    fn destination(&self, version: HttpVersion) -> Destination {
        Destination {
            picked: Picked::uncounted(&self.state),
            cluster: Arc::clone(&self.cluster),
            version,
            secure: self.secure.clone(),
            group: self.group,
            connect_timeout: self.policy.timeout,
            idle_timeout: Duration::ZERO,
        }
    }
}
