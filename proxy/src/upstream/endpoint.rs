//! Endpoints at run time: requests under way, and how fast they were. Outlives changes of the table: an endpoint that
//! stays with its Service keeps its state.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::health::{Failures, Place};

/// After this long an old latency counts for 1/e (ingress-nginx's decay).
const DECAY: Duration = Duration::from_secs(10);

/// What is known about one endpoint; shared by all workers, and by all clusters of its Service.
#[derive(Debug)]
pub(crate) struct EndpointState {
    address: SocketAddr,
    active: AtomicU32,
    latency: Mutex<Latency>,
}

/// An endpoint that was chosen for a request. The request counts as under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Picked {
    state: Arc<EndpointState>,
    /// The request's places, where there are limits of them.
    _places: Places,
    /// Where failures are counted, if they are.
    failures: Option<Arc<Failures>>,
    /// Whether it is among the requests under way.
    counted: bool,
}

/// A request's places: at the Service, and at the endpoint.
pub(super) type Places = [Option<Place>; 2];

/// A moving average of latency that follows peaks at once and forgets them slowly.
#[derive(Clone, Copy, Debug)]
struct Latency {
    seconds: f64,
    at: Instant,
}

impl EndpointState {
    /// An endpoint whose latency is taken to be `seconds`.
    pub(super) fn new(address: SocketAddr, seconds: f64, now: Instant) -> Self {
        let latency = Mutex::new(Latency { seconds, at: now });
        Self { address, active: AtomicU32::new(0), latency }
    }

    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests under way.
    pub(crate) fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// The average latency in seconds.
    pub(super) fn latency(&self) -> f64 {
        self.latency.lock().seconds
    }

    /// What a request would have to wait for: the latency once for every request under way and for itself.
    pub(super) fn cost(&self, now: Instant) -> f64 {
        let latency = *self.latency.lock();
        latency.decayed(now) * (f64::from(self.active()) + 1.0)
    }

    fn observe(&self, seconds: f64, now: Instant) {
        let mut latency = self.latency.lock();
        let weight = latency.weight(now);
        latency.seconds =
            if seconds > latency.seconds { seconds } else { latency.seconds * weight + seconds * (1.0 - weight) };
        latency.at = latency.at.max(now);
    }
}

impl Latency {
    /// What remains of an old average after the time since then.
    fn weight(self, now: Instant) -> f64 {
        (-now.saturating_duration_since(self.at).as_secs_f64() / DECAY.as_secs_f64()).exp()
    }

    fn decayed(self, now: Instant) -> f64 {
        self.seconds * self.weight(now)
    }
}

impl Picked {
    /// Counts a request as under way.
    pub(super) fn new(state: &Arc<EndpointState>, places: Places, failures: Option<Arc<Failures>>) -> Self {
        state.active.fetch_add(1, Ordering::Relaxed);
        Self { state: Arc::clone(state), _places: places, failures, counted: true }
    }

    /// For what is no request of a client, and takes no place of one.
    pub(super) fn uncounted(state: &Arc<EndpointState>) -> Self {
        Self { state: Arc::clone(state), _places: [None, None], failures: None, counted: false }
    }

    /// Where its failures are counted, if they are.
    pub(super) fn failures(&self) -> Option<&Failures> {
        self.failures.as_deref()
    }

    /// Where to connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// Notes how long the endpoint took from the start of the attempt to the head of its response, or to its failure.
    pub(crate) fn observe(&self, latency: Duration, now: Instant) {
        self.state.observe(latency.as_secs_f64(), now);
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        if self.counted {
            self.state.active.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(now: Instant) -> Arc<EndpointState> {
        Arc::new(EndpointState::new("192.0.2.1:80".parse().unwrap(), 0.0, now))
    }

    fn picked(state: &Arc<EndpointState>) -> Picked {
        Picked::new(state, [None, None], None)
    }

    #[test]
    fn a_request_is_under_way_until_it_is_dropped() {
        let state = state(Instant::now());
        let (first, second) = (picked(&state), picked(&state));
        assert_eq!(state.active(), 2);
        drop(first);
        assert_eq!(state.active(), 1);
        drop(second);
        assert_eq!(state.active(), 0);
    }

    #[test]
    fn a_peak_counts_at_once_and_fades_with_time() {
        let now = Instant::now();
        let state = state(now);
        state.observe(1.0, now);
        assert_eq!(state.latency(), 1.0);
        state.observe(0.1, now);
        assert_eq!(state.latency(), 1.0, "no time has passed");
        state.observe(0.1, now + DECAY);
        assert!((state.latency() - (0.1 + 0.9 / std::f64::consts::E)).abs() < 1e-9);
        assert!(state.cost(now + 2 * DECAY) < state.cost(now + DECAY));
    }

    #[test]
    fn requests_under_way_make_an_endpoint_dearer() {
        let now = Instant::now();
        let state = state(now);
        state.observe(0.5, now);
        let picked = picked(&state);
        assert_eq!(state.cost(now), 1.0);
        drop(picked);
        assert_eq!(state.cost(now), 0.5);
    }
}
