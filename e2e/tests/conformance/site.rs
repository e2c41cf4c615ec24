//! A cluster, Genkan on the host beside it, and a run of the suite between them.
//!
//! ```text
//!  suite --> API server <-- Genkan (host) --> Pods
//!    +------- 127.N.1.x:80 --^
//! ```
//! The suite dials what the status of a Gateway says: an address of loopback, which Genkan binds. N is the number of the
//! cluster's network, so that runs side by side do not meet. Whatever happens to the test, nothing outlives it: the
//! kernel ends both processes with it (`setpriv --pdeathsig`), and the cluster sees to itself.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use genkan_e2e::Cluster;
use genkan_e2e::cluster::{self, Options, PATIENCE};
use genkan_e2e::genkan::{binary, free_address};
use genkan_e2e::http1::Client;

use crate::output::{Event, Output, State};

/// The name of the class.
const CLASS: &str = "genkan";

/// The third octets of addresses that Gateways are given, and that they may name.
const ANY: u8 = 1;
const NAMED: u8 = 2;

/// Images of the suite, by the last part of their names, and what stands for them beside the suite.
const IMAGES: [(&str, &str); 2] = [("echo-basic", "echo-basic"), ("coredns", "dns")];

/// Everything that a run needs. Ended when dropped.
pub(crate) struct Site {
    genkan: Child,
    cluster: Cluster,
    suite: PathBuf,
    logs: PathBuf,
}

/// What a run found.
pub(crate) struct Found {
    /// The tests that passed.
    pub(crate) passed: BTreeSet<String>,
    /// The tests that failed.
    pub(crate) failed: Vec<String>,
    /// The report, if the suite came to write one.
    pub(crate) report: Option<String>,
}

impl Found {
    /// Those that failed, and those of `tests` that did not pass: what was skipped shows nothing.
    pub(crate) fn not_passed(&self, tests: &str) -> Vec<String> {
        let named = tests.split(',').map(str::trim).filter(|test| !test.is_empty() && !self.passed.contains(*test));
        let all: BTreeSet<_> = named.chain(self.failed.iter().map(String::as_str)).collect();
        all.into_iter().map(str::to_owned).collect()
    }
}

impl Site {
    /// Starts a cluster and Genkan, which leave their logs in this folder, and waits until the class is accepted.
    pub(crate) fn start(logs: &Path) -> Self {
        let started = Instant::now();
        let suite = cluster::executable("conformance");
        let images = IMAGES.map(|(image, file)| format!("{image}={}", suite.with_file_name(file).display()));
        let cluster = Cluster::start(&Options { gateway_api: true, images: images.into(), ..Options::default() });
        eprintln!("   {} s: the cluster is ready", started.elapsed().as_secs());
        let definitions = Command::new(binary()).arg("crds").output().expect("genkan runs");
        apply(&cluster, &String::from_utf8(definitions.stdout).expect("YAML"));
        cluster.kubectl(&["wait", "--for=condition=Established", "crd", "gatewayparameters.genkan.dev"]);
        apply(&cluster, &class(&cluster));
        let started = Instant::now();
        let (genkan, admin) = start_genkan(&cluster.kubeconfig(), logs);
        let mut site = Self { genkan, cluster, suite, logs: logs.to_owned() };
        site.wait_ready(admin);
        site.wait_accepted();
        eprintln!("   {} s: Genkan is ready, and the class accepted", started.elapsed().as_secs());
        site
    }

    /// Runs these tests, by their names with commas between, or all tests.
    pub(crate) fn run(&self, tests: &str) -> Found {
        let report = self.logs.join("report.yaml");
        // A former run's.
        let _ = fs::remove_file(&report);
        let mut suite = with_us(&self.suite);
        suite.args(["-test.v", "-test.parallel=8", "-test.timeout=40m", &format!("-tests={tests}")]);
        suite.arg(format!("-report={}", if tests.is_empty() { report.as_path() } else { Path::new("") }.display()));
        suite.args(self.options()).env("KUBECONFIG", self.cluster.kubeconfig());
        let log = File::create(self.logs.join("suite.log")).unwrap();
        suite.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone().unwrap());
        let mut child = suite.spawn().expect("setpriv runs");
        let (passed, failed) = watch(BufReader::new(child.stdout.take().expect("piped")), log);
        let status = child.wait().unwrap();
        if !failed.is_empty() || !status.success() {
            eprintln!("   the suite: {status}; logs of everything are in {}", self.logs.display());
        }
        assert!(status.success() || !failed.is_empty(), "the suite failed, and none of its tests");
        Found { passed, failed, report: fs::read_to_string(report).ok() }
    }

    /// What the suite is told about us.
    fn options(&self) -> Vec<String> {
        let repository = env!("CARGO_PKG_REPOSITORY");
        vec![
            format!("-gateway-class={CLASS}"),
            "-organization=genkan".to_owned(),
            "-project=genkan".to_owned(),
            format!("-url={repository}"),
            format!("-version={}", env!("CARGO_PKG_VERSION")),
            format!("-contact={repository}/issues"),
            format!("-usable-address={}", loopback(&self.cluster, NAMED, 1)),
            // TEST-NET-1: nobody has it.
            "-unusable-address=192.0.2.1".to_owned(),
        ]
    }

    fn wait_ready(&mut self, admin: SocketAddr) {
        let deadline = Instant::now() + PATIENCE;
        let ready = || Client::connect(admin).ok()?.get("admin", "/readyz").ok().filter(|answer| answer.status == 200);
        while ready().is_none() {
            let ended = self.genkan.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "Genkan is not ready: see {}", self.logs.display());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_accepted(&self) {
        let path = "jsonpath={.status.conditions[?(@.type=='Accepted')].status}";
        self.cluster.wait_until("the class is accepted", || {
            self.cluster.kubectl(&["get", "gatewayclass", CLASS, "--output", path]) == "True"
        });
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.genkan.kill();
        let _ = self.genkan.wait();
    }
}

/// A command that ends when the thread does that starts it, however that ends.
fn with_us(executable: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(executable);
    command
}

fn start_genkan(kubeconfig: &Path, logs: &Path) -> (Child, SocketAddr) {
    let [http, https, admin] = [(); 3].map(|()| free_address());
    let child = with_us(&binary())
        .arg("controller")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--bind-address", "127.0.0.1", "--workers", "2", "--post-shutdown-grace-period", "0"])
        .args(["--http-port", &http.port().to_string(), "--https-port", &https.port().to_string()])
        .args(["--healthz-port", &admin.port().to_string()])
        .env("POD_NAMESPACE", "default")
        .env("POD_NAME", "genkan")
        .stdin(Stdio::null())
        .stdout(File::create(logs.join("access.log")).unwrap())
        .stderr(File::create(logs.join("genkan.log")).unwrap())
        .spawn()
        .expect("setpriv runs");
    (child, admin)
}

/// The class, whose Gateways get addresses of this run's own.
fn class(cluster: &Cluster) -> String {
    let [any, named] = [ANY, NAMED].map(|third| loopback(cluster, third, 0));
    format!(
        "apiVersion: genkan.dev/v1alpha1\nkind: GatewayParameters\nmetadata: {{namespace: default, name: {CLASS}}}\n\
         spec: {{addresses: {{mode: Pool, pool: {{dynamic: [{any}/24], reserved: [{named}/24]}}}}}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: {CLASS}}}\nspec:\n  \
         controllerName: genkan.dev/gateway-controller\n  \
         parametersRef: {{group: genkan.dev, kind: GatewayParameters, namespace: default, name: {CLASS}}}\n"
    )
}

/// An address of a run's own.
fn loopback(cluster: &Cluster, third: u8, fourth: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, cluster.network(), third, fourth)
}

fn apply(cluster: &Cluster, manifests: &str) {
    cluster.kubectl_with(&["apply", "-f", "-"], manifests).unwrap_or_else(|error| panic!("{error}\n{manifests}"));
}

/// Follows the suite to its end: prints how each test ended, and the last lines of those that failed. Returns the names of
/// those that passed, and of those that failed.
fn watch(lines: impl BufRead, mut log: impl Write) -> (BTreeSet<String>, Vec<String>) {
    let started = Instant::now();
    let mut output = Output::default();
    let (mut passed, mut failed, mut set_up) = (BTreeSet::new(), Vec::new(), false);
    for line in lines.lines().map_while(Result::ok) {
        writeln!(log, "{line}").unwrap();
        match output.take(&line) {
            Some(Event::SetUp) => {
                set_up = true;
                eprintln!("   {} s: the suite is set up", started.elapsed().as_secs());
            }
            Some(Event::Ended { test, state: State::Passed, seconds }) => {
                eprintln!("   passed {test} ({seconds} s)");
                passed.insert(test);
            }
            Some(Event::Ended { test, state: State::Failed, seconds }) => {
                eprintln!("   FAILED {test} ({seconds} s)\n{}", output.tail(&test));
                failed.push(test);
            }
            Some(Event::Ended { test, state: State::Skipped, .. }) => eprintln!("   skipped {test}"),
            None => {}
        }
    }
    if !set_up {
        eprintln!("   the suite was not set up:\n{}", output.tail(""));
    }
    eprintln!("   {} s: the suite has ended", started.elapsed().as_secs());
    (passed, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_skipped_or_does_not_exist_has_not_passed() {
        let text = "setup is done\n    --- PASS: TestGatewayAPI/One (0.10s)\n    --- SKIP: TestGatewayAPI/Two (0.00s)\n\
                    \x20   --- FAIL: TestGatewayAPI/Three (0.20s)\n";
        let (passed, failed) = watch(text.as_bytes(), std::io::sink());
        let found = Found { passed, failed, report: None };
        assert_eq!(found.not_passed("One"), ["Three"]);
        assert_eq!(found.not_passed("One, Two,None"), ["None", "Three", "Two"]);
    }
}
