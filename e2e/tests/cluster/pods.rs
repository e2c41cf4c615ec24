//! The life of Pods: rollouts, probes, hooks and grace periods are as in any cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use genkan_e2e::Cluster;
use genkan_e2e::cluster::Namespace;

/// A Deployment of echoes that listen on port 8080, named by their Pods, and a Service.
fn echoes(name: &str, replicas: u32, version: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations: {{version: "{version}"}}
    spec:
      containers:
      - name: echo
        image: echo
        args: ["--listen", "0.0.0.0:8080", "--name", "$(VERSION)-$(POD)"]
        env:
        - {{name: VERSION, value: "{version}"}}
        - {{name: POD, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{type: LoadBalancer, selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: http}}]}}
"#
    )
}

/// A Pod with one container, `main`, that runs this shell script.
fn shell(name: &str, script: &str, container: &str, pod: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!(
        r#"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}}}, spec: {{{pod}
containers: [{{name: main, image: host, command: [sh, -c, {script}], {container}}}]}}}}"#
    )
}

/// The names that the ready endpoints of a Service tell.
fn ready_endpoints(namespace: &Namespace<'_>, service: &str) -> usize {
    let selector = format!("kubernetes.io/service-name={service}");
    let text = namespace.kubectl(&["get", "endpointslices", "--selector", &selector, "--output", "json"]);
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let slices = list["items"].as_array().unwrap().iter();
    let endpoints = slices.filter_map(|slice| slice["endpoints"].as_array()).flatten();
    endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true).count()
}

#[test]
fn twenty_pods_become_ready_and_answer() {
    let namespace = Cluster::shared().namespace("twenty");
    namespace.apply(&echoes("echo", 20, "one"));
    namespace.wait_rolled_out("deployment/echo");
    let pods = namespace.pods("app=echo");
    assert_eq!(pods.len(), 20);
    for pod in &pods {
        assert_eq!(pod.echo(8080).expect("a ready Pod answers")["name"], format!("one-{}", pod.name));
    }
    let nodes: BTreeSet<_> = pods.iter().map(|pod| pod.object["spec"]["nodeName"].to_string()).collect();
    assert_eq!(nodes.len(), 3, "they are spread over all nodes: {nodes:?}");
    namespace.wait_until("all are endpoints", || ready_endpoints(&namespace, "echo") == 20);
    let service = namespace.get("service/echo").unwrap();
    assert!(service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string(), "{service}");
}

#[test]
fn a_rolling_update_keeps_enough_pods_ready() {
    let namespace = Cluster::shared().namespace("rolling");
    namespace.apply(&echoes("echo", 4, "one"));
    namespace.wait_rolled_out("deployment/echo");
    namespace.apply(&echoes("echo", 4, "two"));
    let mut fewest = usize::MAX;
    namespace.wait_until("all Pods are of the second version", || {
        fewest = fewest.min(ready_endpoints(&namespace, "echo"));
        let pods = namespace.pods("app=echo");
        pods.len() == 4 && pods.iter().all(|pod| pod.ready && pod.object["metadata"]["annotations"]["version"] == "two")
    });
    // A quarter may be unavailable.
    assert!(fewest >= 3, "{fewest} were ready");
    for pod in namespace.pods("app=echo") {
        assert_eq!(pod.echo(8080).expect("a ready Pod answers")["name"], format!("two-{}", pod.name));
    }
}

#[test]
fn a_pod_that_fails_its_readiness_probe_is_no_endpoint_and_goes_on() {
    let namespace = Cluster::shared().namespace("unready");
    let probe = "readinessProbe: {exec: {command: [test, -e, /tmp/good]}, periodSeconds: 1, failureThreshold: 1}, \
                 lifecycle: {postStart: {exec: {command: [touch, /tmp/good]}}}";
    namespace.apply(&shell(
        "flaky",
        "while sleep 0.1; do [ -e /switch/off ] && rm -f /tmp/good; done",
        &format!("{probe}, volumeMounts: [{{name: switch, mountPath: /switch}}]"),
        "volumes: [{name: switch, configMap: {name: switch, optional: true}}],",
    ));
    namespace.kubectl(&["wait", "--for=condition=Ready", "pod/flaky", "--timeout=120s"]);
    namespace.kubectl(&["create", "configmap", "switch", "--from-literal=off=1"]);
    namespace.kubectl(&["wait", "--for=condition=Ready=false", "pod/flaky", "--timeout=120s"]);
    assert_eq!(namespace.pods("app=flaky")[0].restarts(), 0);
}

#[test]
fn a_container_that_fails_its_liveness_probe_is_started_again() {
    let namespace = Cluster::shared().namespace("dead");
    let probe = "livenessProbe: {exec: {command: [test, -e, /tmp/none]}, periodSeconds: 1, failureThreshold: 2}";
    namespace.apply(&shell("dead", "exec sleep 600", probe, "terminationGracePeriodSeconds: 1,"));
    namespace.wait_until("it is started again", || namespace.pods("app=dead")[0].restarts() > 0);
}

#[test]
fn pre_stop_comes_before_sigterm_and_both_before_the_end() {
    let namespace = Cluster::shared().namespace("stop");
    let script = "trap 'echo terminated; sleep 0.5; echo done; exit 0' TERM; while :; do [ -e /tmp/hook ] && \
                  echo hooked && rm /tmp/hook; sleep 0.1; done";
    let hook = "lifecycle: {preStop: {exec: {command: [sh, -c, 'touch /tmp/hook; while [ -e /tmp/hook ]; do sleep 0.1; done']}}}";
    namespace.apply(&shell("polite", script, hook, "terminationGracePeriodSeconds: 60,"));
    namespace.kubectl(&["wait", "--for=condition=Ready", "pod/polite", "--timeout=120s"]);
    namespace.kubectl(&["delete", "pod", "polite"]);
    assert_eq!(namespace.log("polite"), "hooked\nterminated\ndone\n");
}

#[test]
fn a_pod_that_ignores_sigterm_is_killed_after_its_grace_period() {
    let namespace = Cluster::shared().namespace("stubborn");
    namespace.apply(&shell(
        "stubborn",
        "trap '' TERM; while :; do sleep 0.1; done",
        "",
        "terminationGracePeriodSeconds: 3,",
    ));
    namespace.kubectl(&["wait", "--for=condition=Ready", "pod/stubborn", "--timeout=120s"]);
    let begun = std::time::Instant::now();
    namespace.kubectl(&["delete", "pod", "stubborn"]);
    assert!(begun.elapsed() >= Duration::from_secs(3), "it had {:?}", begun.elapsed());
}

#[test]
fn a_container_sees_its_own_processes_and_no_others() {
    let namespace = Cluster::shared().namespace("alone");
    namespace.apply(&shell("alone", "cd /proc && echo [0-9]* && exec sleep 600", "", ""));
    namespace.wait_until("it printed", || !namespace.log("alone").is_empty());
    assert_eq!(namespace.log("alone"), "1\n");
}

#[test]
fn init_containers_run_in_order_before_the_others() {
    let namespace = Cluster::shared().namespace("init");
    let mounts = "volumeMounts: [{name: work, mountPath: /srv}]";
    let init =
        |name: &str| format!("{{name: {name}, image: host, command: [sh, -c, 'echo {name} >> /srv/order'], {mounts}}}");
    let pod =
        format!("volumes: [{{name: work, emptyDir: {{}}}}], initContainers: [{}, {}],", init("first"), init("second"));
    namespace.apply(&shell("ordered", "cat /srv/order; exec sleep 600", mounts, &pod));
    namespace.kubectl(&["wait", "--for=condition=Ready", "pod/ordered", "--timeout=120s"]);
    namespace.wait_until("it printed", || namespace.log("ordered") == "first\nsecond\n");
}

#[test]
fn jobs_complete_and_fail() {
    let namespace = Cluster::shared().namespace("jobs");
    let job = |name: &str, script: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec: {{backoffLimit: 0, template: {{spec: \
             {{restartPolicy: Never, containers: [{{name: main, image: host, command: [sh, -c, '{script}']}}]}}}}}}\n---\n"
        )
    };
    namespace.apply(&(job("good", "exit 0") + &job("bad", "exit 3")));
    namespace.kubectl(&["wait", "--for=condition=Complete", "job/good", "--timeout=120s"]);
    namespace.kubectl(&["wait", "--for=condition=Failed", "job/bad", "--timeout=120s"]);
    let pods = namespace.pods("job-name=bad");
    assert_eq!(pods[0].object["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
}

#[test]
fn names_that_only_the_image_has_mean_its_executable() {
    let namespace = Cluster::shared().namespace("names");
    namespace.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: names}, spec: {terminationGracePeriodSeconds: 5, containers: [{name: \
         main, image: 'registry.test/some/genkan:1.0', command: [/named/otherwise, echo], args: [--listen, '0.0.0.0:80'], \
         readinessProbe: {exec: {command: [/also/otherwise, --version]}, periodSeconds: 1}}]}}",
    );
    namespace.kubectl(&["wait", "--for=condition=Ready", "pod/names", "--timeout=120s"]);
}

#[test]
fn host_network_pods_have_their_nodes_addresses() {
    let namespace = Cluster::shared().namespace("host-network");
    namespace.apply(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: echo}\nspec:\n  selector: {matchLabels: {app: echo}}\n  \
         template:\n    metadata: {labels: {app: echo}}\n    spec:\n      hostNetwork: true\n      containers:\n      \
         - {name: echo, image: echo, args: [--listen, '0.0.0.0:8088'], readinessProbe: {tcpSocket: {port: 8088}}}\n",
    );
    namespace.wait_rolled_out("daemonset/echo");
    let pods = namespace.pods("app=echo");
    assert_eq!(pods.len(), 3);
    for pod in pods {
        assert_eq!(pod.object["status"]["hostIP"], pod.object["status"]["podIP"]);
        assert!(pod.echo(8088).is_some(), "{} answers at its node's address", pod.name);
    }
}
