//! The admin server over real connections.

use std::io::{Read, Write};
use std::net::TcpStream as StdStream;

use genkan_routing::model::SharedMap;
use genkan_routing::name::{ListenerId, ObjectRef, Origin};

use super::*;
use crate::resources::{Key, Kind};
use crate::translate::gateway::status::{Cond, CondKind, GatewayStatus, ListenerStatus, Wanted};
use genkan_routing::report::Problem;

fn start() -> (Arc<AdminState>, AdminServer) {
    let state = AdminState::new("/healthz", Audience::Loopback, || "requests_total 7\n".to_owned());
    let server = AdminServer::start("127.0.0.1:0".parse().unwrap(), state.clone()).unwrap();
    (state, server)
}

/// The status, the head in lower case, and the body.
fn send(server: &AdminServer, request: &str) -> (u16, String, String) {
    let mut stream = StdStream::connect(server.address()).unwrap();
    stream.write_all(format!("{request}host: a\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
}

fn get(server: &AdminServer, path: &str) -> (u16, String) {
    let (status, _, body) = send(server, &format!("GET {path} HTTP/1.1\r\n"));
    (status, body)
}

#[test]
fn ready_only_when_everything_holds_and_the_rest_is_named() {
    let (state, server) = start();
    let (status, body) = get(&server, "/readyz");
    assert_eq!((status, body.lines().count()), (503, 4), "{body}");
    state.set(Condition::SourcesListed, true);
    state.set(Condition::TableLive, true);
    assert_eq!(get(&server, "/readyz"), (503, "not ready\n- the ports are not bound\n".to_owned()));
    state.set(Condition::PortsBound, true);
    assert_eq!(get(&server, "/readyz"), (200, "ready\n".to_owned()));
    state.set(Condition::PortsBound, false);
    assert_eq!(get(&server, "/readyz").0, 503);
}

#[test]
fn draining_is_neither_healthy_nor_ready() {
    let (state, server) = start();
    Condition::ALL.iter().for_each(|condition| state.set(*condition, true));
    assert_eq!((get(&server, "/healthz").0, get(&server, "/readyz").0), (200, 200));
    state.drain();
    assert_eq!((get(&server, "/healthz").0, get(&server, "/readyz").0), (500, 503));
}

#[test]
fn metrics_are_those_of_the_moment() {
    let (_, server) = start();
    assert_eq!(get(&server, "/metrics"), (200, "requests_total 7\n".to_owned()));
}

#[test]
fn problems_are_text_or_json() {
    let (state, server) = start();
    assert_eq!(get(&server, "/problems"), (200, "no problems\n".to_owned()));
    let origin = Origin::new(ObjectRef::new("Ingress", "default", "web"), "spec");
    let problem = Problem::error(origin, "ServiceNotFound", "there is no Service x");
    state.set_problems(Report::new([problem]));
    assert!(get(&server, "/problems").1.starts_with("error: Ingress default/web: spec: there is no Service x"));
    let (_, head, body) = send(&server, "GET /problems HTTP/1.1\r\naccept: text/html, application/json;q=0.5\r\n");
    assert!(head.contains("content-type: application/json"), "{head}");
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told[0]["reason"], "ServiceNotFound");
}

#[test]
fn the_snapshot_is_the_model_as_yaml() {
    let (state, server) = start();
    state.set_model(Arc::new(Model::default()));
    let (status, body) = get(&server, "/snapshot");
    assert_eq!(status, 200);
    let told: serde_json::Value = serde_saphyr::from_str(&body).unwrap();
    assert_eq!(told, serde_json::to_value(Model::default()).unwrap());
}

#[test]
fn statuses_are_shown_with_what_is_bound() {
    let (state, server) = start();
    let listener = ListenerStatus {
        name: "web".into(),
        supported_kinds: vec!["HTTPRoute"],
        attached_routes: 1,
        conditions: vec![Cond::holds(CondKind::Programmed, "Programmed", "")],
        bound: vec![ListenerId::new("http")],
    };
    let status = GatewayStatus {
        addresses: Vec::new(),
        node_addresses: false,
        shared_addresses: true,
        conditions: vec![Cond::holds(CondKind::Programmed, "Programmed", "")],
        listeners: vec![listener],
        attached_listener_sets: None,
    };
    let mut objects = SharedMap::default();
    objects.insert(Key::new(Kind::Gateway, "infra", "edge"), Arc::new(Wanted::Gateway(status)));
    let statuses = Arc::new(Statuses { objects });
    let bound = Bound { bound: [ListenerId::new("http")].into(), ..Bound::default() };
    for (bound, reason) in [(Bound::default(), "Pending"), (bound, "Programmed")] {
        state.set_statuses(statuses.clone(), Arc::new(bound));
        let (code, body) = get(&server, "/statuses");
        let told: serde_json::Value = serde_saphyr::from_str(&body).unwrap();
        let told = &told["Gateway infra/edge"]["listeners"][0]["conditions"][0]["reason"];
        assert_eq!((code, told), (200, &reason.into()));
    }
}

#[test]
fn only_loopback_is_told_what_is_served() {
    let answer = |audience, peer: &str, path: &str| {
        let state = AdminState::new("/healthz", audience, String::new);
        let request = Request::get(path).body(()).unwrap();
        respond::respond(&state, peer.parse().unwrap(), &request).status().as_u16()
    };
    for path in ["/snapshot", "/problems", "/statuses"] {
        for near in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(answer(Audience::Loopback, near, path), 200, "{near}{path}");
        }
        for far in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"] {
            assert_eq!(answer(Audience::Loopback, far, path), 403, "{far}{path}");
            assert_eq!(answer(Audience::Everybody, far, path), 200, "{far}{path}");
        }
    }
    for path in ["/healthz", "/metrics"] {
        assert_eq!(answer(Audience::Loopback, "10.1.2.3", path), 200, "{path}");
    }
    assert_eq!(answer(Audience::Loopback, "10.1.2.3", "/readyz"), 503, "not ready, and not refused");
}

#[test]
fn other_paths_and_methods_are_refused() {
    let (_, server) = start();
    assert_eq!(get(&server, "/").0, 404);
    let (status, head, _) = send(&server, "POST /healthz HTTP/1.1\r\ncontent-length: 0\r\n");
    assert_eq!(status, 405);
    assert!(head.contains("allow: get, head"), "{head}");
    assert_eq!(send(&server, "HEAD /healthz HTTP/1.1\r\n").2, "");
}

#[test]
fn a_dropped_server_has_ended() {
    let (state, server) = start();
    let open = StdStream::connect(server.address()).unwrap();
    assert_eq!(get(&server, "/healthz").0, 200);
    drop(server);
    assert_eq!(Arc::strong_count(&state), 1);
    drop(open);
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let (state, server) = start();
    assert!(AdminServer::start(server.address(), state).is_err());
}
