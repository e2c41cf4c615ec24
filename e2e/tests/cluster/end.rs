//! The end of a cluster: nothing is left, however it comes; and clusters do not meet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use genkan_e2e::Cluster;
use genkan_e2e::cluster::Options;

const ECHO: &str = "{apiVersion: v1, kind: Pod, metadata: {name: echo, labels: {app: echo}}, spec: {containers: [{name: \
                    echo, image: echo, args: [--listen, '0.0.0.0:8080'], readinessProbe: {tcpSocket: {port: 8080}}}]}}";

/// A process, told apart from a later one with the same id by its start.
pub(crate) type Process = (u32, String);

/// Every process that descends from `root`, itself included.
pub(crate) fn descendants(root: u32) -> BTreeSet<Process> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process may end while we look.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        parents.insert(id, (fields[1].parse::<u32>().unwrap(), fields[19].to_owned()));
    }
    let below = |mut id: u32| {
        while id != root {
            match parents.get(&id) {
                Some((parent, _)) => id = *parent,
                None => return false,
            }
        }
        true
    };
    parents.iter().filter(|(id, _)| below(**id)).map(|(id, (_, start))| (*id, start.clone())).collect()
}

fn exists((id, start): &Process) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // A zombie is gone but for its name: its parent, this test, has not asked for it yet.
    fields.next().is_some_and(|state| state != "Z") && fields.nth(18) == Some(start)
}

#[test]
fn killing_the_supervisor_leaves_nothing_behind() {
    let cluster = Cluster::start(&Options::default());
    let namespace = cluster.namespace("killed");
    namespace.apply(ECHO);
    namespace.kubectl(&["wait", "--for=condition=Ready", "pod/echo", "--timeout=120s"]);
    let pod = namespace.pods("app=echo").remove(0);
    assert!(pod.echo(8080).is_some());

    let processes = descendants(cluster.supervisor());
    let link = format!("/sys/class/net/{}", cluster.host_link());
    assert!(processes.len() >= 7, "up, inside, four components and the Pod: {processes:?}");
    assert!(fs::exists(&link).unwrap());

    let killed = Command::new("kill").args(["-KILL", &cluster.supervisor().to_string()]).status().unwrap();
    assert!(killed.success());
    cluster.wait_until("every process ends", || !processes.iter().any(exists));
    // Its other end was inside: it goes when the network namespace does.
    cluster.wait_until("the network interface goes", || !fs::exists(&link).unwrap());
    let folder = cluster.folder().display().to_string();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&folder), "mounts are left:\n{mounts}");
    drop(namespace);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_cluster_that_is_dropped_leaves_nothing_behind() {
    let cluster = Cluster::start(&Options::default());
    let processes = descendants(cluster.supervisor());
    let (link, folder) = (format!("/sys/class/net/{}", cluster.host_link()), cluster.folder().to_owned());
    drop(cluster);
    assert!(!processes.iter().any(exists));
    assert!(!fs::exists(link).unwrap());
    assert!(!folder.exists() || std::env::var_os("GENKAN_KEEP_CLUSTER").is_some());
}

#[test]
fn two_clusters_live_side_by_side() {
    let (shared, own) = (Cluster::shared(), Cluster::start(&Options::default()));
    assert_ne!(shared.host_address(), own.host_address());
    let namespaces = [shared.namespace("beside"), own.namespace("beside")];
    for namespace in &namespaces {
        namespace.apply(ECHO);
    }
    for namespace in &namespaces {
        namespace.kubectl(&["wait", "--for=condition=Ready", "pod/echo", "--timeout=120s"]);
        assert!(namespace.pods("app=echo")[0].echo(8080).is_some());
    }
}

#[test]
fn pods_serve_while_the_api_server_is_away_and_are_known_again_after() {
    let cluster = Cluster::start(&Options::default());
    let namespace = cluster.namespace("away");
    namespace.apply(ECHO);
    namespace.kubectl(&["wait", "--for=condition=Ready", "pod/echo", "--timeout=120s"]);
    let pod = namespace.pods("app=echo").remove(0);
    cluster.stop_api_server();
    assert!(cluster.try_kubectl(&["get", "nodes"]).is_err(), "the API server answers though it was stopped");
    assert!(pod.echo(8080).is_some());
    cluster.start_api_server();
    let after = namespace.pods("app=echo").remove(0);
    assert_eq!((after.address, after.restarts()), (pod.address, 0));
    namespace.kubectl(&["delete", "pod", "echo"]);
}
