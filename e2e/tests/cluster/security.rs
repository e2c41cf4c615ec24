//! What a Pod may do is what its security context says, so that the chart's is really tried; and what Genkan shows to
//! other Pods.

use std::net::SocketAddr;

use genkan_e2e::{Cluster, Genkan, http1};

use crate::site::Site;

/// Tells who it is, whether it can write to `/`, and whether it can listen on port 80; then it waits.
const SCRIPT: &str = r#"
id -u; id -g; grep NoNewPrivs /proc/self/status
touch /written 2>/dev/null && echo writable || echo read-only
exec python3 -c '
import socket, time
try:
    socket.socket().bind(("0.0.0.0", 80)); print("port 80", flush=True)
except PermissionError:
    print("no port 80", flush=True)
time.sleep(600)'
"#;

fn tells(context: &str) -> String {
    let namespace = Cluster::shared().namespace("security");
    let script = serde_json::to_string(SCRIPT).unwrap();
    namespace.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: who}}, spec: {{terminationGracePeriodSeconds: 0, containers: [\
         {{name: main, image: host, command: [sh, -c, {script}], securityContext: {context}}}]}}}}"
    ));
    namespace.wait_until("it tells", || namespace.log("who").contains("port 80"));
    namespace.log("who")
}

#[test]
fn a_restricted_pod_with_the_capability_listens_on_port_80() {
    let told = tells(
        "{runAsUser: 101, runAsGroup: 82, runAsNonRoot: true, readOnlyRootFilesystem: true, \
         allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}",
    );
    assert_eq!(told, "101\n82\nNoNewPrivs:\t1\nread-only\nport 80\n");
}

#[test]
fn without_the_capability_it_does_not() {
    let told = tells("{runAsUser: 101, runAsGroup: 82, capabilities: {drop: [ALL]}}");
    assert_eq!(told, "101\n82\nNoNewPrivs:\t0\nread-only\nno port 80\n");
    let told = tells("{capabilities: {drop: [ALL]}}");
    assert_eq!(told, "0\n0\nNoNewPrivs:\t0\nwritable\nno port 80\n");
}

#[test]
fn a_pod_that_must_not_be_root_and_is_does_not_start() {
    let namespace = Cluster::shared().namespace("root");
    namespace.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: root, labels: {app: root}}, spec: {securityContext: \
         {runAsNonRoot: true}, containers: [{name: main, image: host, command: [id]}]}}",
    );
    namespace.wait_until("it is refused", || {
        let pod = &namespace.pods("app=root")[0].object;
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    });
}

#[test]
fn only_loopback_sees_what_is_served_unless_a_flag_opens_it() {
    let site = Site::new("inside");
    site.namespace.apply(&site.ingress("web", "secret-project.test", "web", &[]));
    let closed = site.control(&[]);
    let open = site.control(&["--expose-configuration"]);
    // From the host's own address, as from any Pod's.
    let far = |genkan: &Genkan, path: &str| {
        let address = SocketAddr::new(Cluster::shared().host_address(), genkan.admin().port());
        let answer = http1::get(address, "admin", path);
        (answer.status, answer.text())
    };
    assert_eq!(closed.admin_get("/snapshot").0, 200);
    for path in ["/snapshot", "/problems"] {
        let (status, text) = far(&closed, path);
        assert!(status == 403 && text.contains("kubectl port-forward"), "{status} {text}");
        assert!(!text.contains("secret-project"), "{text}");
        assert_eq!(far(&open, path).0, 200, "{path}");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(far(&closed, path).0, 200, "{path}");
    }
}
