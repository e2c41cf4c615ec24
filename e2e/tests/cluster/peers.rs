//! Programs of others that run in the cluster beside Genkan, as Pods.

use std::path::PathBuf;

use genkan_e2e::cluster::{self, Namespace, Pod};

/// Builds a peer of `e2e/peers`, or finds it built, and lets Pods name it: each image is the peer with these arguments.
/// Returns the folder that it was built into.
pub(crate) fn provide(namespace: &Namespace<'_>, peer: &'static str, images: &[(&str, &str)]) -> PathBuf {
    let executable = cluster::executable(peer);
    for (image, arguments) in images {
        let image = format!("{image}={} {arguments}", executable.display());
        namespace.cluster().ctl(&["image", image.trim_end()]);
    }
    executable.parent().expect("it is in a folder").to_owned()
}

/// Lets the Pods of the namespace do everything: which rights each of them needs is not what is tested with peers.
pub(crate) fn allow_everything(namespace: &Namespace<'_>) {
    let name = namespace.name();
    namespace.apply(&format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {{name: {name}}}, roleRef: \
         {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}, subjects: [{{kind: \
         ServiceAccount, namespace: {name}, name: default}}]}}"
    ));
}

/// Starts a Pod with this `spec`, and waits until it is ready.
pub(crate) fn start(namespace: &Namespace<'_>, name: &str, spec: &serde_json::Value) -> Pod {
    let metadata = serde_json::json!({"name": name, "labels": {"app": name}});
    let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    namespace.apply(&pod.to_string());
    let selector = format!("app={name}");
    let mut ready = None;
    namespace.wait_until(&format!("{name} is ready"), || {
        ready = namespace.pods(&selector).into_iter().find(|pod| pod.ready);
        ready.is_some()
    });
    ready.expect("it is ready")
}
