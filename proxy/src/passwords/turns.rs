//! Whose password is compared next: comparisons are slow, so that few of them run at a time, and what waits is bounded.
//!
//! ```text
//!  take -> tenants in turn -> of each: clients in turn -> of each: first come, first served -> Turn
//! ```
//!
//! Nobody's turn depends on how much others ask: a tenant whose hashes are costly, or who is guessed at, waits for itself.
//! When no more may wait, who has most waiting makes room.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How much may run and wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) running: usize,
    /// Of one tenant.
    pub(super) tenant_running: usize,
    /// Of one client.
    pub(super) client_running: usize,
    pub(super) waiting: usize,
    /// Of one tenant.
    pub(super) tenant_waiting: usize,
    /// Of one client of a tenant.
    pub(super) client_waiting: usize,
    /// How long anybody waits.
    pub(super) patience: Duration,
}

/// Gives turns.
#[derive(Debug)]
pub(super) struct Turns {
    limits: Limits,
    state: Mutex<State>,
}

/// May compare; others may as soon as it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    tenant: Arc<str>,
    client: IpAddr,
}

/// Too many passwords wait to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be compared")]
pub(crate) struct Overloaded;

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: usize,
    /// How many run, by client.
    clients: FxHashMap<IpAddr, usize>,
    tenants: FxHashMap<Arc<str>, Tenant>,
    /// Tenants of whom somebody waits; whoever is next is in front.
    order: VecDeque<Arc<str>>,
    last: u64,
}

#[derive(Debug, Default)]
struct Tenant {
    running: usize,
    waiting: usize,
    /// Clients that wait; whoever is next is in front.
    clients: VecDeque<(IpAddr, VecDeque<Place>)>,
}

/// Somebody who waits.
#[derive(Debug)]
struct Place {
    number: u64,
    called: oneshot::Sender<Turn>,
}

/// Leaves the queue when dropped.
struct Waiting {
    turns: Arc<Turns>,
    tenant: Arc<str>,
    client: IpAddr,
    number: u64,
}

impl Turns {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// Waits for a turn.
    pub(super) async fn take(self: &Arc<Self>, tenant: &Arc<str>, client: IpAddr) -> Result<Turn, Overloaded> {
        let client = network(client);
        let (called, turn) = oneshot::channel();
        let number = self.state.lock().enter(&self.limits, tenant, client, called).ok_or(Overloaded)?;
        let _waiting = Waiting { turns: Arc::clone(self), tenant: Arc::clone(tenant), client, number };
        self.call();
        // Whose turn it was when its time was over goes with the channel.
        timeout(self.limits.patience, turn).await.map_err(|_| Overloaded)?.map_err(|_| Overloaded)
    }

    /// Calls everybody for whom there is room.
    fn call(self: &Arc<Self>) {
        loop {
            let next = self.state.lock().next(&self.limits);
            let Some((tenant, client, place)) = next else { return };
            // Who left meanwhile gives it back, by dropping it.
            let _ = place.called.send(Turn { turns: Arc::clone(self), tenant, client });
        }
    }
}

impl State {
    /// A place in the queue, if there is one.
    fn enter(
        &mut self,
        limits: &Limits,
        tenant: &Arc<str>,
        client: IpAddr,
        called: oneshot::Sender<Turn>,
    ) -> Option<u64> {
        let queue = self.tenants.get(tenant);
        let of_tenant = queue.map_or(0, |queue| queue.waiting);
        let of_client = queue.and_then(|queue| queue.clients.iter().find(|(waiting, _)| *waiting == client));
        if of_tenant >= limits.tenant_waiting
            || of_client.is_some_and(|(_, places)| places.len() >= limits.client_waiting)
            || (self.waiting >= limits.waiting && !self.make_room(of_tenant))
        {
            return None;
        }
        self.last += 1;
        let place = Place { number: self.last, called };
        let queue = self.tenants.entry(Arc::clone(tenant)).or_default();
        match queue.clients.iter_mut().find(|(waiting, _)| *waiting == client) {
            Some((_, places)) => places.push_back(place),
            None => queue.clients.push_back((client, VecDeque::from([place]))),
        }
        if queue.waiting == 0 {
            self.order.push_back(Arc::clone(tenant));
        }
        queue.waiting += 1;
        self.waiting += 1;
        Some(self.last)
    }

    /// Refuses somebody of the tenant with most waiting, in favour of one with `fewer`: of its clients the one with most
    /// waiting, of that one whoever came last. Whether that made room; between equals it would be none.
    fn make_room(&mut self, fewer: usize) -> bool {
        let waiting = |tenant: &&Arc<str>| self.tenants.get(*tenant).map_or(0, |queue| queue.waiting);
        let Some(tenant) = self.order.iter().max_by_key(waiting).filter(|tenant| waiting(tenant) > fewer + 1) else {
            return false;
        };
        let most = self.tenants.get(tenant).and_then(|queue| queue.clients.iter().max_by_key(|(_, it)| it.len()));
        let last = most.and_then(|(client, places)| Some((*client, places.back()?.number)));
        let (tenant, Some((client, number))) = (Arc::clone(tenant), last) else { return false };
        // Whoever waits there is told by the channel, which goes with the place.
        self.leave(&tenant, client, number);
        true
    }

    /// Whoever is next, if there is room; counts as running.
    fn next(&mut self, limits: &Limits) -> Option<(Arc<str>, IpAddr, Place)> {
        if self.running >= limits.running {
            return None;
        }
        let running = &self.clients;
        let (tenants, order) = (&mut self.tenants, &mut self.order);
        let found = order.iter().enumerate().find_map(|(at, tenant)| {
            let queue = tenants.get_mut(tenant).filter(|queue| queue.running < limits.tenant_running)?;
            let may_run = |(client, _): &(IpAddr, _)| running.get(client).is_none_or(|n| *n < limits.client_running);
            let (client, mut places) =
                queue.clients.iter().position(may_run).and_then(|it| queue.clients.remove(it))?;
            let place = places.pop_front()?;
            if !places.is_empty() {
                queue.clients.push_back((client, places));
            }
            queue.waiting -= 1;
            queue.running += 1;
            Some((at, client, place, queue.waiting > 0))
        });
        let (at, client, place, more) = found?;
        let tenant = order.remove(at)?;
        if more {
            order.push_back(Arc::clone(&tenant));
        }
        self.waiting -= 1;
        self.running += 1;
        *self.clients.entry(client).or_default() += 1;
        Some((tenant, client, place))
    }

    /// Somebody who was not called has left, or has to.
    fn leave(&mut self, tenant: &Arc<str>, client: IpAddr, number: u64) {
        let Some(queue) = self.tenants.get_mut(tenant) else { return };
        let Some(at) = queue.clients.iter().position(|(waiting, _)| *waiting == client) else { return };
        let Some((_, places)) = queue.clients.get_mut(at) else { return };
        let Some(place) = places.iter().position(|place| place.number == number) else { return };
        places.remove(place);
        if places.is_empty() {
            queue.clients.remove(at);
        }
        queue.waiting -= 1;
        self.waiting -= 1;
        if queue.waiting == 0 {
            self.order.retain(|waiting| waiting != tenant);
        }
        self.forget(tenant);
    }

    /// A comparison has ended.
    fn end(&mut self, tenant: &Arc<str>, client: IpAddr) {
        self.running -= 1;
        if let Some(running) = self.clients.get_mut(&client) {
            *running -= 1;
            if *running == 0 {
                self.clients.remove(&client);
            }
        }
        if let Some(queue) = self.tenants.get_mut(tenant) {
            queue.running -= 1;
        }
        self.forget(tenant);
    }

    fn forget(&mut self, tenant: &Arc<str>) {
        if self.tenants.get(tenant).is_some_and(|queue| queue.running == 0 && queue.waiting == 0) {
            self.tenants.remove(tenant);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.state.lock().end(&self.tenant, self.client);
        self.turns.call();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.turns.state.lock().leave(&self.tenant, self.client, self.number);
    }
}

/// Who has one address of IPv6 has 2^64.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    const LIMITS: Limits = Limits {
        running: 1,
        tenant_running: 1,
        client_running: 1,
        waiting: 6,
        tenant_waiting: 4,
        client_waiting: 2,
        patience: Duration::from_secs(3600),
    };

    fn turns(limits: Limits) -> Arc<Turns> {
        Arc::new(Turns::new(limits))
    }

    fn client(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    /// Enters the queue at once; the turn comes later.
    fn enter(turns: &Arc<Turns>, tenant: &str, number: u8) -> impl Future<Output = Result<Turn, Overloaded>> + use<> {
        let (turns, tenant) = (Arc::clone(turns), Arc::from(tenant));
        let mut waiting = Box::pin(async move { turns.take(&tenant, client(number)).await });
        let ready = at_once(waiting.as_mut());
        async move {
            match ready {
                Some(done) => done,
                None => waiting.await,
            }
        }
    }

    /// What a future gives without waiting.
    fn at_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    fn is_empty(turns: &Turns) -> bool {
        let state = turns.state.lock();
        state.running + state.waiting + state.clients.len() + state.tenants.len() + state.order.len() == 0
    }

    #[tokio::test]
    async fn tenants_and_their_clients_are_served_in_turn() {
        let turns = turns(LIMITS);
        let first = enter(&turns, "a", 1).await.unwrap();
        let mut queue: Vec<_> = [("a", 1), ("a", 1), ("a", 2), ("b", 3), ("b", 1)]
            .map(|(tenant, number)| (tenant, number, Box::pin(enter(&turns, tenant, number))))
            .into();
        let mut order = Vec::new();
        let mut running = Some(first);
        while !queue.is_empty() {
            drop(running.take());
            let next = queue.iter_mut().position(|(_, _, waiting)| {
                running = at_once(waiting.as_mut()).map(Result::unwrap);
                running.is_some()
            });
            let (tenant, number, _) = queue.remove(next.unwrap());
            order.push((tenant, number));
        }
        assert_eq!(order, [("a", 1), ("b", 3), ("a", 2), ("b", 1), ("a", 1)]);
        drop(running);
        assert!(is_empty(&turns));
    }

    #[tokio::test]
    async fn what_waits_is_bounded_by_client_and_tenant_and_in_all() {
        let turns = turns(LIMITS);
        let running = enter(&turns, "a", 1).await.unwrap();
        let mut waiting = Vec::new();
        let mut enters = |tenant: &str, number| {
            let mut place = Box::pin(enter(&turns, tenant, number));
            let refused = at_once(place.as_mut()).is_some_and(|turn| turn.is_err());
            waiting.push(place);
            !refused
        };
        assert_eq!([1, 1, 1, 2, 2, 3].map(|number| enters("a", number)), [true, true, false, true, true, false]);
        assert_eq!([("b", 1), ("b", 2)].map(|(tenant, number)| enters(tenant, number)), [true, true]);
        assert_eq!(turns.state.lock().waiting, LIMITS.waiting);
        drop(running);
        // Who leaves makes room.
        waiting.clear();
        assert!(is_empty(&turns));
    }

    #[tokio::test]
    async fn who_has_most_waiting_makes_room() {
        let turns = turns(LIMITS);
        let running = enter(&turns, "a", 1).await.unwrap();
        let mut queue = Vec::new();
        // Who is refused when somebody comes.
        let mut comes = |tenant: &'static str, number: u8| {
            queue.push((tenant, number, Box::pin(enter(&turns, tenant, number))));
            let mut refused = Vec::new();
            queue.retain_mut(|(tenant, number, place)| {
                let is_refused = at_once(place.as_mut()).is_some_and(|turn| turn.is_err());
                refused.extend(is_refused.then_some((*tenant, *number)));
                !is_refused
            });
            refused
        };
        for (tenant, number) in [("a", 3), ("a", 1), ("a", 1), ("a", 2), ("b", 1), ("b", 2)] {
            assert_eq!(comes(tenant, number), [], "there is room");
        }
        assert_eq!(comes("c", 4), [("a", 1)], "of the largest tenant the client with most");
        assert_eq!(comes("c", 5), [("a", 2)], "its last one");
        assert_eq!(comes("c", 6), [("c", 6)], "nobody has more");
        assert_eq!(comes("d", 1), [("c", 5)]);
        assert_eq!(comes("d", 2), [("d", 2)], "the others would have no more than this one");
        queue.clear();
        drop(running);
        assert!(is_empty(&turns));
    }

    #[tokio::test]
    async fn a_tenant_and_a_client_leave_room_to_others() {
        let turns = turns(Limits { running: 4, tenant_running: 2, client_running: 1, ..LIMITS });
        let of = |tenant, number| enter(&turns, tenant, number);
        let running = (of("a", 1).await.unwrap(), of("a", 2).await.unwrap());
        let (mut third, mut busy) = (pin!(of("a", 3)), pin!(of("b", 1)));
        assert!(at_once(third.as_mut()).is_none() && at_once(busy.as_mut()).is_none());
        let other = of("b", 4).await.unwrap();
        drop(running.0);
        assert!(at_once(third.as_mut()).is_some_and(|turn| turn.is_ok()));
        assert!(at_once(busy.as_mut()).is_some_and(|turn| turn.is_ok()));
        drop((running.1, other));
        assert!(is_empty(&turns));
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let turns = turns(Limits { patience: Duration::ZERO, ..LIMITS });
        let running = enter(&turns, "a", 1).await.unwrap();
        assert_eq!(enter(&turns, "b", 2).await.map(drop), Err(Overloaded));
        drop(running);
        assert!(is_empty(&turns));
    }

    #[test]
    fn a_client_is_its_network() {
        let same = |one: &str, other: &str| network(one.parse().unwrap()) == network(other.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:1") && !same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
    }
}
