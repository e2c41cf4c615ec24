//! A real Kubernetes cluster whose Pods are processes (`e2e/cluster`), for tests.
//!
//! [`Cluster::shared`] is one for all tests of a process, started at its first use; a test gets a [`Namespace`] of its own
//! in it. A test that stops components starts a cluster of its own. Whatever happens to the test's process, nothing of a
//! cluster outlives it: the cluster ends when its standard input is closed.

mod namespace;

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::Value;

pub use self::namespace::{Namespace, Pod};
use crate::genkan::binary;

/// How long anything that must happen in a cluster may take. Generous: it decides only when a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How a [`Cluster`] is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes; they are in zones `zone-a`, `zone-b` and `zone-c` in turn.
    pub nodes: u32,
    /// Whether the CRDs of Gateway API are installed.
    pub gateway_api: bool,
    /// Whether the nodes have addresses of type ExternalIP as well.
    pub external_ips: bool,
    /// What stands for images, besides `genkan` and `echo`: `NAME=EXECUTABLE ARGUMENT...`.
    pub images: Vec<String>,
}

/// A running cluster. Ended when dropped.
pub struct Cluster {
    child: Child,
    executable: PathBuf,
    folder: PathBuf,
    network: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self { nodes: 1, gateway_api: false, external_ips: false, images: Vec::new() }
    }
}

impl Cluster {
    /// The cluster of this process: three nodes, and the CRDs of Gateway API. It ends with the process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&Options { nodes: 3, gateway_api: true, ..Options::default() }))
    }

    /// Starts a cluster, and waits until it can be used.
    pub fn start(options: &Options) -> Self {
        let executable = executable("cluster");
        let folder = tempfile::Builder::new().prefix("genkan-cluster-").tempdir().expect("a temporary folder").keep();
        let mut command = Command::new(&executable);
        command.arg("up").arg("--dir").arg(&folder).args(["--nodes", &options.nodes.to_string()]);
        command.arg("--until-stdin-closes");
        // Left behind on request, for a look at the logs.
        if std::env::var_os("GENKAN_KEEP_CLUSTER").is_none() {
            command.arg("--remove-dir");
        }
        if options.gateway_api {
            command.args(["--crds", "gateway-api"]);
        }
        if options.external_ips {
            command.arg("--external-ips");
        }
        let genkan = binary().display().to_string();
        let own = [format!("genkan={genkan}"), format!("echo={genkan} echo")];
        for image in own.iter().chain(&options.images) {
            command.args(["--image", image]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the cluster's executable starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        assert!(
            lines.any(|line| line == "ready"),
            "the cluster did not start; its logs may be in {}",
            folder.display()
        );
        let layout: Value = serde_json::from_slice(&fs::read(folder.join("cluster.json")).unwrap()).unwrap();
        let network = layout["net"].as_u64().and_then(|net| u8::try_from(net).ok()).expect("the network's number");
        Self { child, executable, folder, network }
    }

    /// A namespace that nobody else uses, whose name begins with `prefix`.
    pub fn namespace(&self, prefix: &str) -> Namespace<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Namespace::create(self, format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The administrator's kubeconfig; it leads to the API server from the host as well as from Pods.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The folder of state and logs: `kube-apiserver.log`, `kubelet.log`, `pods/NAMESPACE_POD.log` and so on.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The host's address as Pods and the API server see it: for webhooks that run beside the test.
    pub fn host_address(&self) -> IpAddr {
        Ipv4Addr::new(10, self.network, 0, 1).into()
    }

    /// The name of the network interface that joins the host to the cluster.
    pub fn host_link(&self) -> String {
        format!("genkan{}", self.network)
    }

    /// The number of the cluster's network, which no other cluster on this machine has.
    pub fn network(&self) -> u8 {
        self.network
    }

    /// The folder with the manifests of Gateway API's CRDs.
    pub fn gateway_api_crds(&self) -> PathBuf {
        self.executable.with_file_name("crds").join("gateway-api")
    }

    /// The id of the process that everything else ends with.
    pub fn supervisor(&self) -> u32 {
        self.child.id()
    }

    /// `kubectl` with these arguments; what it prints.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// `kubectl` with these arguments; what it prints, or its complaint.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl_with(arguments, "")
    }

    /// `kubectl` with these arguments and this standard input; what it prints, or its complaint.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(&self.executable);
        command.arg("kubectl").arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        text(&run(command, input))
    }

    /// A command for `helm` against this cluster, to be given arguments. The first use on a machine builds it.
    pub fn helm(&self) -> Command {
        let mut command = Command::new(executable("helm"));
        command.env("KUBECONFIG", self.kubeconfig()).env("HELM_CACHE_HOME", self.folder.join("helm"));
        command
    }

    /// Tells the cluster something, as `genkan-cluster ctl` does: `["stop", "kube-apiserver"]`.
    pub fn ctl(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.executable);
        command.arg("ctl").arg("--dir").arg(&self.folder).args(arguments);
        if let Err(error) = text(&run(command, "")) {
            panic!("ctl {arguments:?}: {error}");
        }
    }

    /// Ends the API server as a crash does. Only in a cluster of the test's own.
    pub fn stop_api_server(&self) {
        self.ctl(&["stop", "kube-apiserver"]);
    }

    /// Starts the API server again, and waits until it answers.
    pub fn start_api_server(&self) {
        self.ctl(&["start", "kube-apiserver"]);
        self.wait_until("the API server answers", || self.try_kubectl(&["get", "--raw", "/readyz"]).is_ok());
    }

    /// Waits until `happened`, which is asked again and again.
    pub fn wait_until(&self, what: &str, mut happened: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !happened() {
            assert!(Instant::now() < deadline, "{what}: did not happen");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It returns when nothing is left.
        let _ = self.child.wait();
    }
}

/// The path of an executable that `scripts/cluster-build` builds, or has built before.
pub fn executable(name: &'static str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/cluster-build");
    let output = Command::new(script).arg(name).stderr(Stdio::inherit()).output().expect("the script runs");
    assert!(output.status.success(), "scripts/cluster-build {name} failed: see above");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}

/// Runs a command to its end with this standard input.
fn run(mut command: Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    // From a thread: a command that prints much before it reads would wait for us.
    let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    // A command that did not want its input says so by its status.
    let _ = writer.join();
    output
}

fn text(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
