//! Affinity: clients stay with one endpoint by what they carry, and nobody remembers anything.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod kit;

use std::collections::BTreeSet;
use std::sync::Arc;

use genkan_routing::policy::affinity::{Affinity, AffinityCookie, Carrier};
use kit::backend::read_head;
use kit::model::{RuleBuilder, rule};
use kit::{Answer, Backend, Running, Site};
use tokio::io::AsyncWriteExt;

fn by_cookie() -> Affinity {
    let cookie = AffinityCookie { name: "s".into(), permanent: false, path_of_match: true };
    Affinity { carrier: Carrier::Cookie(cookie), key: "a rule".into(), lifetime: None }
}

fn by_header() -> Affinity {
    Affinity { carrier: Carrier::Header("x-session".parse().unwrap()), ..by_cookie() }
}

fn kept(rule: RuleBuilder, affinity: Affinity) -> RuleBuilder {
    rule.forward(|forward| forward.affinity = Some(Arc::new(affinity)))
}

/// A client that carries what it was told last.
#[derive(Default)]
struct Visitor {
    session: Option<String>,
    /// How often it was told.
    told: usize,
}

impl Visitor {
    /// The endpoint that answers.
    async fn ask(&mut self, running: &Running, path: &str) -> String {
        let answer = self.get(running, path).await;
        assert_eq!(answer.status, 200);
        if let Some(cookie) = answer.field("set-cookie") {
            self.told += 1;
            self.session = Some(format!("Cookie: other=1; {}", cookie.split(';').next().unwrap()));
        }
        if let Some(token) = answer.field("x-session") {
            self.told += 1;
            self.session = Some(format!("X-Session: {token}"));
        }
        answer.text()
    }

    async fn get(&self, running: &Running, path: &str) -> Answer {
        let mut client = running.connect().await;
        let session = self.session.as_deref().unwrap_or("X-None: 1");
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{session}\r\n\r\n")).await;
        client.answer().await
    }
}

#[tokio::test]
async fn a_client_stays_with_its_endpoint_and_is_told_once() {
    let (one, other) = (Backend::named("one").await, Backend::named("other").await);
    for affinity in [by_cookie(), by_header()] {
        let site = Site::new().cluster("a", &[one.address, other.address]).rule(kept(rule("/").to("a"), affinity));
        let running = Running::start(site);
        let mut met = BTreeSet::new();
        for _ in 0..4 {
            let mut visitor = Visitor::default();
            let first = visitor.ask(&running, "/").await;
            for _ in 0..6 {
                assert_eq!(visitor.ask(&running, "/x").await, first);
            }
            assert_eq!(visitor.told, 1);
            met.insert(first);
        }
        assert_eq!(met.len(), 2, "new clients are balanced");
    }
}

#[tokio::test]
async fn a_session_goes_before_weights_and_every_replica_knows_it() {
    let (one, other) = (Backend::named("one").await, Backend::named("other").await);
    let site = |weights: [u32; 2]| {
        let rule = rule("/").weighted("a", weights[0]).weighted("b", weights[1]);
        Site::new().cluster("a", &[one.address]).cluster("b", &[other.address]).rule(kept(rule, by_cookie()))
    };
    let running = Running::start(site([0, 1]));
    let mut visitor = Visitor::default();
    assert_eq!(visitor.ask(&running, "/").await, "other");
    // Nobody new goes there any more.
    running.proxy.publish(site([1, 0]).snapshot());
    assert_eq!(Visitor::default().ask(&running, "/").await, "one");
    let replica = Running::start(site([1, 0]));
    for _ in 0..3 {
        assert_eq!(visitor.ask(&running, "/").await, "other");
        assert_eq!(visitor.ask(&replica, "/").await, "other");
    }
    assert_eq!(visitor.told, 1);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_replaced_and_the_client_told() {
    let (one, other) = (Backend::named("one").await, Backend::named("other").await);
    let site =
        |backend: &Backend| Site::new().cluster("a", &[backend.address]).rule(kept(rule("/").to("a"), by_cookie()));
    let running = Running::start(site(&one));
    let mut visitor = Visitor::default();
    assert_eq!(visitor.ask(&running, "/").await, "one");
    running.proxy.publish(site(&other).snapshot());
    for _ in 0..3 {
        assert_eq!(visitor.ask(&running, "/").await, "other");
    }
    assert_eq!(visitor.told, 2);
}

#[tokio::test]
async fn a_session_moves_to_whoever_answered_in_the_end() {
    let (dead, alive) = (Backend::nobody().await, Backend::named("alive").await);
    let running =
        Running::start(Site::new().cluster("a", &[dead, alive.address]).rule(kept(rule("/").to("a"), by_cookie())));
    for _ in 0..2 {
        let mut visitor = Visitor::default();
        for _ in 0..4 {
            assert_eq!(visitor.ask(&running, "/").await, "alive");
        }
        assert_eq!(visitor.told, 1);
    }
}

#[tokio::test]
async fn cookies_belong_to_the_path_of_the_match() {
    let backend = Backend::named("one").await;
    let site = Site::new().cluster("a", &[backend.address]).rule(kept(rule("/shop").to("a"), by_cookie()));
    let running = Running::start(site);
    let answer = running.get("/shop/basket?x").await;
    let cookie = answer.field("set-cookie").unwrap();
    assert!(cookie.starts_with("s=") && cookie.ends_with("; Path=/shop; HttpOnly; SameSite=Strict"), "{cookie}");
    // What we answer ourselves says nothing of a session.
    assert_eq!(running.get("/elsewhere").await.field("set-cookie"), None);
}

#[tokio::test]
async fn sessions_of_a_cluster_hold_for_every_rule_but_one_with_its_own() {
    let (one, other) = (Backend::named("one").await, Backend::named("other").await);
    let of_cluster = AffinityCookie { name: "c".into(), permanent: false, path_of_match: false };
    let of_cluster = Affinity { carrier: Carrier::Cookie(of_cluster), key: "a cluster".into(), lifetime: None };
    let site = Site::new().cluster_with("a", &[one.address, other.address], |cluster| {
        cluster.affinity = Some(Arc::new(of_cluster));
    });
    let site = site.rule(kept(rule("/own").to("a"), by_cookie())).rule(rule("/x").to("a")).rule(rule("/y").to("a"));
    let running = Running::start(site);
    for _ in 0..2 {
        let mut visitor = Visitor::default();
        let first = visitor.ask(&running, "/x").await;
        let cookie = visitor.session.clone().unwrap();
        assert!(cookie.starts_with("Cookie: other=1; c="), "{cookie}");
        for _ in 0..4 {
            assert_eq!(visitor.ask(&running, "/y").await, first);
        }
        assert_eq!(visitor.told, 1);
        let answer = visitor.get(&running, "/own").await;
        assert!(answer.field("set-cookie").unwrap().starts_with("s="));
    }
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_a_new_client() {
    let backend = Backend::named("one").await;
    let site = Site::new().cluster("a", &[backend.address]).rule(kept(rule("/").to("a"), by_cookie()));
    let running = Running::start(site);
    for token in ["", "x", "0123456789abcdef", "0123456789abcdef65000000"] {
        let mut visitor = Visitor { session: Some(format!("Cookie: s={token}")), told: 0 };
        assert_eq!(visitor.ask(&running, "/").await, "one");
        assert_eq!(visitor.told, 1, "{token}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_does_not_move_a_session() {
    // Each answers one request per connection, and closes when the next one has come.
    let once = |name: &'static str| {
        Backend::raw(move |mut stream| async move {
            read_head(&mut stream).await;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            read_head(&mut stream).await;
        })
    };
    let (one, other) = (once("one").await, once("other").await);
    let site = Site::new().cluster("a", &[one.address, other.address]).rule(kept(rule("/").to("a"), by_cookie()));
    let running = Running::start(site);
    for _ in 0..2 {
        let mut visitor = Visitor::default();
        let first = visitor.ask(&running, "/").await;
        for _ in 0..4 {
            assert_eq!(visitor.ask(&running, "/").await, first);
        }
        assert_eq!(visitor.told, 1);
    }
}
