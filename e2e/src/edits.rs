//! Two Gateways, and what people do to them: whatever is edited here leaves the listeners `web`, `steady` and `stream`
//! as they are. The same for files and for an API server.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::genkan::free_address;
use crate::http1::Client;
use crate::steady::Targets;
use crate::tls::{self, Hello, Pair};

/// The host of the listener `steady`, whose certificate stays.
pub const SECURE: &str = "secure.test";
/// The host whose certificate is swapped.
pub const SWAPPED: &str = "swapped.test";

/// Two Gateways as they are now.
#[derive(Clone, Debug)]
pub struct Gateways {
    /// `spec.gatewayClassName`.
    pub class: String,
    /// Where each plaintext listener is, but for the one on [`Self::secure`].
    ports: [SocketAddr; 6],
    /// Where TLS is opened.
    pub secure: SocketAddr,
    /// The port of Gateways that is served there.
    pub secure_port: u16,
    /// The listener `added` is there.
    pub added: bool,
    /// The listener `added` is for this host only.
    pub named: bool,
    /// The listener `moving` is at its second port.
    pub moved: bool,
    /// The route `weighted` leads to the second backend.
    pub weighted: bool,
    /// The route `wandering` is with the second Gateway.
    pub wandered: bool,
    /// The second certificate is shown for [`SWAPPED`].
    pub swapped: bool,
}

/// A change of the manifests.
pub type Edit = fn(&mut Gateways);

/// What is changed, one after the other; the last one undoes the first.
pub const EDITS: [(&str, Edit); 10] = [
    ("a listener is added", |it| it.added = true),
    ("a listener moves to another port", |it| it.moved = !it.moved),
    ("a certificate is swapped", |it| it.swapped = !it.swapped),
    ("a Gateway is edited", |it| it.named = true),
    ("a route is weighted anew", |it| it.weighted = !it.weighted),
    ("a route goes to another Gateway", |it| it.wandered = true),
    ("several things happen at once", |it| {
        it.moved = !it.moved;
        it.weighted = !it.weighted;
    }),
    ("the Gateway is edited back", |it| it.named = false),
    ("the route comes back", |it| it.wandered = false),
    ("the listener is removed", |it| it.added = false),
];

impl Gateways {
    /// Gateways of a class whose TLS port is served here.
    pub fn new(class: &str, secure: SocketAddr, secure_port: u16) -> Self {
        Self {
            class: class.to_owned(),
            ports: [(); 6].map(|()| free_address()),
            secure,
            secure_port,
            added: false,
            named: false,
            moved: false,
            weighted: false,
            wandered: false,
            swapped: false,
        }
    }

    fn web(&self) -> SocketAddr {
        self.ports[0]
    }

    fn stream(&self) -> SocketAddr {
        self.ports[1]
    }

    fn second(&self) -> SocketAddr {
        self.ports[2]
    }

    fn added_at(&self) -> SocketAddr {
        self.ports[3]
    }

    /// Where the listener `moving` is, and where it is not.
    fn moving_at(&self) -> [SocketAddr; 2] {
        if self.moved { [self.ports[5], self.ports[4]] } else { [self.ports[4], self.ports[5]] }
    }

    /// What does not change.
    pub fn targets(&self, steady: &Pair) -> Targets {
        Targets {
            web: (self.web(), "web.test"),
            secure: (self.secure, SECURE, steady.der.clone()),
            stream: self.stream(),
        }
    }

    /// The Gateways and their routes. Services `one`, `two` and `stream`, and Secrets `steady` and `swapped`, are the
    /// test's.
    pub fn manifests(&self) -> String {
        let http = |name: &str, at: SocketAddr, more: &str| {
            format!("{{ name: {name}, port: {}, protocol: HTTP{more} }}", at.port())
        };
        let https = |host: &str, secret: &str| {
            format!(
                "{{ name: {secret}, port: {}, protocol: HTTPS, hostname: {host}, \
                 tls: {{ certificateRefs: [{{ name: {secret} }}] }} }}",
                self.secure_port
            )
        };
        let mut listeners = vec![
            http("web", self.web(), ""),
            format!("{{ name: stream, port: {}, protocol: TCP }}", self.stream().port()),
            https(SECURE, "steady"),
            https(SWAPPED, "swapped"),
            http("moving", self.moving_at()[0], ""),
        ];
        if self.added {
            listeners.push(http("added", self.added_at(), if self.named { ", hostname: named.test" } else { "" }));
        }
        let mut text = self.gateway("first", &listeners) + &self.gateway("second", &[http("web", self.second(), "")]);
        let steady = "hostnames: [web.test], rules: [{ backendRefs: [{ name: one, port: 80 }] }]";
        text += &route("HTTPRoute", "web", "{ name: first, sectionName: web }", steady);
        text +=
            &route("HTTPRoute", "secure", "{ name: first, sectionName: steady }", &steady.replace("web.test", SECURE));
        text += &route(
            "HTTPRoute",
            "swapped",
            "{ name: first, sectionName: swapped }",
            &steady.replace("web.test", SWAPPED),
        );
        text += &route(
            "TCPRoute",
            "stream",
            "{ name: first, sectionName: stream }",
            "rules: [{ backendRefs: [{ name: stream, port: 80 }] }]",
        );
        for listener in ["moving", "added"] {
            let parent = format!("{{ name: first, sectionName: {listener} }}");
            text += &route("HTTPRoute", listener, &parent, "rules: [{ backendRefs: [{ name: one, port: 80 }] }]");
        }
        let [one, two] = if self.weighted { [0, 3] } else { [3, 0] };
        let backends = format!("{{ name: one, port: 80, weight: {one} }}, {{ name: two, port: 80, weight: {two} }}");
        let weighted = format!("hostnames: [weighted.test], rules: [{{ backendRefs: [{backends}] }}]");
        text += &route("HTTPRoute", "weighted", "{ name: first, sectionName: web }", &weighted);
        let parent = if self.wandered { "{ name: second }" } else { "{ name: first, sectionName: web }" };
        text + &route("HTTPRoute", "wandering", parent, &steady.replace("web.test", "wandering.test"))
    }

    fn gateway(&self, name: &str, listeners: &[String]) -> String {
        let mut text =
            format!("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{ name: {name} }}\n");
        // Writing into a String cannot fail.
        let _ = writeln!(text, "spec:\n  gatewayClassName: {}\n  listeners:", self.class);
        for listener in listeners {
            let _ = writeln!(text, "  - {listener}");
        }
        text + "---\n"
    }

    /// Whether everything is served as it is written.
    pub fn are_served(&self, swapped: &[Pair; 2]) -> bool {
        let [here, not_here] = self.moving_at();
        let wandering = if self.wandered { [404, 200] } else { [200, 404] };
        let shown = || {
            tls::connect(self.secure, &Hello::to(SWAPPED))
                .is_ok_and(|stream| tls::shown(&stream) == swapped[usize::from(self.swapped)].der)
        };
        let added = match (self.added, self.named) {
            (false, _) => [None, None],
            (true, false) => [Some(200), Some(200)],
            (true, true) => [Some(404), Some(200)],
        };
        [status(self.added_at(), "any.test"), status(self.added_at(), "named.test")] == added
            && [status(here, "any.test"), status(not_here, "any.test")] == [Some(200), None]
            && [self.web(), self.second()].map(|at| status(at, "wandering.test")) == wandering.map(Some)
            && backend(self.web(), "weighted.test").as_deref() == Some(if self.weighted { "two" } else { "one" })
            && shown()
    }

    /// Where the route `weighted` is served, and its host: it is served whatever its weights.
    pub fn weighted(&self) -> (SocketAddr, &'static str) {
        (self.web(), "weighted.test")
    }
}

fn route(kind: &str, name: &str, parent: &str, rest: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{ name: {name} }}\n\
         spec: {{ parentRefs: [{parent}], {rest} }}\n---\n"
    )
}

/// The status of an answer; none where nobody listens.
fn status(at: SocketAddr, host: &str) -> Option<u16> {
    Some(Client::connect(at).ok()?.get(host, "/").ok()?.status)
}

fn backend(at: SocketAddr, host: &str) -> Option<String> {
    Client::connect(at).ok()?.get(host, "/").ok()?.field("x-echo-name").map(str::to_owned)
}
