//! Volumes follow their objects, and the service account's volume leads to the API server.

use genkan_e2e::Cluster;

#[test]
fn a_mounted_secret_follows_its_object() {
    let namespace = Cluster::shared().namespace("secret");
    namespace.kubectl(&["create", "secret", "generic", "word", "--from-literal=word=one"]);
    namespace.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: reader}, spec: {terminationGracePeriodSeconds: 0, volumes: \
         [{name: word, secret: {secretName: word}}], containers: [{name: main, image: host, volumeMounts: [{name: word, \
         mountPath: /etc/word, readOnly: true}], command: [sh, -c, 'while :; do now=$(cat /etc/word/word); \
         [ \"$now\" = \"$last\" ] || echo \"$now\"; last=$now; sleep 0.1; done']}]}}",
    );
    namespace.wait_until("the first word is read", || namespace.log("reader") == "one\n");
    namespace.kubectl(&["patch", "secret", "word", "--patch", r#"{"stringData": {"word": "two"}}"#]);
    namespace.wait_until("the second word is read", || namespace.log("reader") == "one\ntwo\n");
}

#[test]
fn a_pod_waits_for_the_secret_that_it_mounts() {
    let namespace = Cluster::shared().namespace("late");
    namespace.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: late, labels: {app: late}}, spec: {terminationGracePeriodSeconds: \
         0, volumes: [{name: word, secret: {secretName: word}}], containers: [{name: main, image: host, volumeMounts: \
         [{name: word, mountPath: /etc/word}], command: [sh, -c, 'cat /etc/word/word; exec sleep 600']}]}}",
    );
    namespace.wait_until("it says why it waits", || {
        let events = namespace.kubectl(&["get", "events", "--output", "jsonpath={.items[*].message}"]);
        events.contains(r#"secrets "word" not found"#)
    });
    assert!(!namespace.pods("app=late")[0].ready);
    namespace.kubectl(&["create", "secret", "generic", "word", "--from-literal=word=here"]);
    namespace.wait_until("it has started", || namespace.log("late") == "here");
}

#[test]
fn the_service_account_is_who_the_api_server_sees() {
    let namespace = Cluster::shared().namespace("account");
    let ask = "curl -sS --cacert $D/ca.crt -H \"Authorization: Bearer $(cat $D/token)\" -H 'Content-Type: application/json' \
               -d '{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"SelfSubjectReview\"}' \
               https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let script =
        serde_json::to_string(&format!("D=/var/run/secrets/kubernetes.io/serviceaccount; {ask}; echo end")).unwrap();
    namespace.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: asks}}, spec: {{restartPolicy: Never, containers: [{{name: main, \
         image: host, command: [sh, -c, {script}]}}]}}}}"
    ));
    namespace.wait_until("it has asked", || namespace.log("asks").contains("end"));
    let user = format!("system:serviceaccount:{}:default", namespace.name());
    assert!(namespace.log("asks").contains(&user), "{}", namespace.log("asks"));
}
