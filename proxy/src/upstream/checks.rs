//! Checks: endpoints are asked for their health, for clusters whose policy wants that.
//!
//! One task per cluster, all on one worker: a round asks the endpoints that the table of now has, a few at a time. What
//! is found is noted in the endpoints' state, which every worker reads when it picks one.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use genkan_routing::model::Cluster;
use genkan_routing::name::ClusterId;
use genkan_routing::policy::health::{ActiveHealth, HttpProbe, Probe};
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::client::{CallBody, Client, Destination};
use super::endpoint::{EndpointState, Picked};
use super::grpc_health;
use super::tls::Secure;
use crate::random;
use crate::shared::Shared;

/// Endpoints of one cluster that are asked at a time.
const AT_ONCE: usize = 16;

/// Endpoints of all clusters that are asked at a time: requests go before checks, and whoever writes policies is not alone.
const AT_ONCE_IN_ALL: usize = 128;

/// The longest time before a cluster's first round, so that many do not begin at the same moment.
const FIRST_ROUND: Duration = Duration::from_secs(1);

/// Who asks, as endpoints see it in their logs.
const AGENT: HeaderValue = HeaderValue::from_static("genkan-health-check");

/// Answers in a row of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    good: u32,
    bad: u32,
}

/// A task per cluster; ends with it.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps a task for each cluster that is to be checked, as tables come and go.
pub(crate) async fn run(shared: Arc<Shared>) {
    let client = Arc::new(Client::default());
    let room = Arc::new(Semaphore::new(AT_ONCE_IN_ALL));
    let mut tasks: BTreeMap<ClusterId, Task> = BTreeMap::new();
    let mut known = Arc::default();
    loop {
        let wanted = Arc::clone(shared.table.load().checked());
        if !Arc::ptr_eq(&wanted, &known) {
            tasks.retain(|id, _| wanted.contains(id));
            for id in wanted.iter().filter(|id| !tasks.contains_key(*id)).cloned().collect::<Vec<_>>() {
                let check = check(id.clone(), Arc::clone(&shared), Arc::clone(&client), Arc::clone(&room));
                tasks.insert(id, Task(tokio::spawn(check)));
            }
            known = wanted;
        }
        shared.published.notified().await;
    }
}

/// Asks the endpoints of a cluster, round after round.
async fn check(id: ClusterId, shared: Arc<Shared>, client: Arc<Client>, room: Arc<Semaphore>) {
    let mut rows: HashMap<SocketAddr, Row> = HashMap::new();
    let mut next = share(FIRST_ROUND);
    loop {
        // So that replicas and clusters that began together do not ask at the same moment for ever.
        sleep(next).await;
        next = FIRST_ROUND;
        // Not held while the endpoints are asked: a table is large.
        let round = {
            let table = shared.table.load();
            table.cluster_of(&id).map(|entry| {
                (Arc::clone(&entry.cluster), Arc::clone(&entry.balancer), entry.secure.clone(), entry.group())
            })
        };
        // Whoever keeps this task will end it, or a table that is about to come has the cluster again.
        let Some((cluster, balancer, secure, group)) = round else { continue };
        let Some(policy) = cluster.active_health() else { continue };
        rows.retain(|address, _| cluster.endpoints.iter().any(|endpoint| endpoint.address == *address));
        let answers = stream::iter(balancer.endpoints().iter().cloned())
            .map(|state| {
                let asked = Asked { cluster: &cluster, policy, secure: &secure, group, client: &client, room: &room };
                async move { (asked.is_healthy(&state).await, state) }
            })
            .buffer_unordered(AT_ONCE);
        tokio::pin!(answers);
        while let Some((healthy, state)) = answers.next().await {
            rows.entry(state.address()).or_default().note(healthy, policy, &state, &cluster);
        }
        next = policy.interval + share(policy.interval / 10);
    }
}

/// A random part of a time.
fn share(time: Duration) -> Duration {
    time.mul_f64(random::below(1000, random::next()) as f64 / 1000.0)
}

impl Row {
    fn note(&mut self, healthy: bool, policy: &ActiveHealth, state: &EndpointState, cluster: &Cluster) {
        *self = match healthy {
            true => Self { good: self.good.saturating_add(1), bad: 0 },
            false => Self { good: 0, bad: self.bad.saturating_add(1) },
        };
        let (address, name) = (state.address(), &cluster.name);
        if self.bad >= policy.unhealthy.get() && state.fitness().checked(false) {
            tracing::warn!(%address, cluster = %name, "an endpoint is unhealthy: {} checks in a row failed", self.bad);
        } else if self.good >= policy.healthy.get() && state.fitness().checked(true) {
            tracing::info!(%address, cluster = %name, "an endpoint is healthy again");
        }
    }
}

/// How the endpoints of a cluster are asked.
struct Asked<'a> {
    cluster: &'a Arc<Cluster>,
    policy: &'a ActiveHealth,
    secure: &'a Secure,
    group: u64,
    client: &'a Arc<Client>,
    room: &'a Semaphore,
}

impl Asked<'_> {
    async fn is_healthy(&self, state: &Arc<EndpointState>) -> bool {
        let address = state.address();
        // Never closed.
        let _place = self.room.acquire().await;
        let answer = async {
            match &self.policy.probe {
                Probe::Tcp => TcpStream::connect(address).await.is_ok(),
                Probe::Http(probe) => self.http(state, probe).await.is_some_and(|healthy| healthy),
                Probe::Grpc { service } => self.grpc(state, service).await.is_some_and(|healthy| healthy),
            }
        };
        let healthy = timeout(self.policy.timeout, answer).await.unwrap_or(false);
        tracing::debug!(%address, cluster = %self.cluster.name, healthy, "an endpoint was asked for its health");
        healthy
    }

    async fn http(&self, state: &Arc<EndpointState>, probe: &HttpProbe) -> Option<bool> {
        let host = probe.host.as_ref().map_or_else(|| state.address().to_string(), ToString::to_string);
        let mut head = Request::new(()).into_parts().0;
        head.uri = probe.path.clone().into();
        head.headers.insert(HOST, HeaderValue::try_from(host).ok()?);
        head.headers.insert(USER_AGENT, AGENT);
        let (response, used) = self.client.send(&self.destination(state), head, CallBody::Empty).await.ok()?;
        let status = response.status().as_u16();
        // Its connection is not kept: whether new ones are taken is part of the question.
        drop(used);
        Some(probe.statuses.iter().any(|range| range.contains(&status)))
    }

    async fn grpc(&self, state: &Arc<EndpointState>, service: &str) -> Option<bool> {
        let mut head = Request::new(()).into_parts().0;
        head.method = Method::POST;
        head.uri = grpc_health::PATH.parse().ok()?;
        let fields = [
            (HOST, HeaderValue::try_from(state.address().to_string()).ok()?),
            (USER_AGENT, AGENT),
            (CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
            (TE, HeaderValue::from_static("trailers")),
        ];
        head.headers = HeaderMap::from_iter(fields);
        let body = CallBody::Whole(Bytes::from(grpc_health::request(service)));
        let (response, _used) = self.client.send(&self.destination(state), head, body).await.ok()?;
        grpc_health::is_serving(response).await
    }

    /// A check does not count for the limits of requests.
    fn destination(&self, state: &Arc<EndpointState>) -> Destination {
        Destination {
            picked: Picked::uncounted(state),
            cluster: Arc::clone(self.cluster),
            secure: self.secure.clone(),
            group: self.group,
            connect_timeout: self.policy.timeout,
            idle_timeout: Duration::ZERO,
        }
    }
}
