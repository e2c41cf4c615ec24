//! The binary, running on a folder of its own or against a cluster.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::{NamedTempFile, TempDir};

use crate::http1::{self, Client};

/// How long anything that must happen may take. Generous: it decides only when a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How a [`Genkan`] is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further arguments. `--bind-address` and `--workers` among them take the place of the kit's own.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Whether to return before it is ready.
    pub unready: bool,
    /// Whether to listen on every address, as without `--bind-address`.
    pub everywhere: bool,
    /// What `/etc/hosts` says to it and to nobody else, if not the same as to all; see [`can_have_hosts`].
    pub hosts: Option<String>,
}

impl Options {
    /// With these further arguments.
    pub fn with(arguments: &[&str]) -> Self {
        Self { arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(), ..Self::default() }
    }
}

/// A running `genkan run` or `genkan controller`. Killed when dropped.
pub struct Genkan {
    child: Child,
    folder: TempDir,
    /// It is there as long as the process may read it.
    _hosts: Option<NamedTempFile>,
    /// Lines of standard error so far.
    errors: Arc<Mutex<Vec<String>>>,
    /// Lines of standard output: the access log.
    output: Mutex<Receiver<String>>,
    http: SocketAddr,
    https: SocketAddr,
    admin: SocketAddr,
}

/// The address by which this machine would reach others; none without a network. Nothing is sent.
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // TEST-NET-1 of RFC 5737.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

/// Whether a process may have an `/etc/hosts` of its own here.
pub fn can_have_hosts() -> bool {
    let tried = in_own_mounts().args(["mount", "--bind", HOSTS, HOSTS]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

const HOSTS: &str = "/etc/hosts";

/// Runs what follows with mounts of its own.
fn in_own_mounts() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "--"]);
    command
}

/// Runs what follows with another `/etc/hosts`. It is one process all the way, so that its id is known.
fn with_hosts(hosts: &Path) -> Command {
    let mut command = in_own_mounts();
    command.args(["sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]).arg(hosts).arg(binary());
    command
}

/// The built binary: beside the test's own executable.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    let folder = own.ancestors().nth(2).expect("tests are built into target/PROFILE/deps");
    let binary = folder.join("genkan");
    assert!(binary.exists(), "{} is missing: run `cargo build` first", binary.display());
    binary
}

/// A loopback address on which nothing listens. Below the ports that the system gives to whoever asks for any, so that
/// nobody is given it before it is bound; different in every call, and most likely in every process.
pub fn free_address() -> SocketAddr {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let next = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + next % COUNT).expect("below 32,768");
        if let Ok(address) = TcpListener::bind(("127.0.0.1", port)).and_then(|socket| socket.local_addr()) {
            return address;
        }
    }
    panic!("loopback has no free port");
}

impl Genkan {
    /// Serves one file with this text.
    pub fn serve(manifests: &str) -> Self {
        Self::serve_with(&[("manifests.yaml", manifests)], Options::default())
    }

    /// Serves these files, and waits until it is ready.
    pub fn serve_with(files: &[(&str, &str)], options: Options) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("files are in folders")).unwrap();
            fs::write(path, text).unwrap();
        }
        Self::serve_folder(folder, options)
    }

    /// Serves a folder that is prepared already.
    pub fn serve_folder(folder: TempDir, options: Options) -> Self {
        let path = folder.path().display().to_string();
        Self::start(&["run", &path, "--quiet"], folder, options)
    }

    /// Serves what an API server says.
    pub fn control(kubeconfig: &Path, options: Options) -> Self {
        let kubeconfig = kubeconfig.display().to_string();
        let own = ["controller", "--kubeconfig", &kubeconfig, "--post-shutdown-grace-period", "0"];
        Self::start(&own, TempDir::new().expect("a temporary folder"), options)
    }

    fn start(command: &[&str], folder: TempDir, options: Options) -> Self {
        let (http, https, admin) = (free_address(), free_address(), free_address());
        let own = [["--bind-address", "127.0.0.1"], ["--workers", "2"]];
        let everywhere = |flag: &str| options.everywhere && flag == "--bind-address";
        let given = |flag: &str| everywhere(flag) || options.arguments.iter().any(|argument| argument == flag);
        let hosts = options.hosts.as_ref().map(|text| {
            let file = NamedTempFile::new().expect("a temporary file");
            fs::write(&file, text).unwrap();
            file
        });
        let mut program = hosts.as_ref().map_or_else(|| Command::new(binary()), |hosts| with_hosts(hosts.path()));
        let mut child = program
            .args(command)
            .envs(options.environment.iter().map(|(name, value)| (name, value)))
            .args(own.iter().filter(|[flag, _]| !given(flag)).flatten())
            .args(["--http-port", &http.port().to_string(), "--https-port", &https.port().to_string()])
            .args(["--healthz-port", &admin.port().to_string()])
            .args(&options.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("genkan starts");
        let errors = Arc::new(Mutex::new(Vec::new()));
        let (sender, output) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let kept = errors.clone();
        thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line)));
        thread::spawn(move || {
            // The test may be over before the log is: then nobody listens.
            stdout.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        let mut genkan = Self { child, folder, _hosts: hosts, errors, output: Mutex::new(output), http, https, admin };
        if !options.unready {
            genkan.wait_ready();
        }
        genkan
    }

    /// Waits until it is ready.
    pub fn wait_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("genkan ended with {status}:\n{}", self.errors());
            }
            if TcpStream::connect(self.admin).is_ok() && self.admin_get("/readyz").0 == 200 {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("genkan is not ready:\n{}", self.errors());
    }

    /// The plaintext address.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The TLS address.
    pub fn https(&self) -> SocketAddr {
        self.https
    }

    /// The folder that is served.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a file of the folder as editors do: a temporary file, renamed.
    pub fn write(&self, name: &str, text: &str) {
        let temporary = self.folder.path().join(format!(".{name}.tmp"));
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.folder.path().join(name)).unwrap();
    }

    /// Everything on standard error so far.
    pub fn errors(&self) -> String {
        self.errors.lock().unwrap().join("\n")
    }

    /// The next line of the access log.
    pub fn log_line(&self) -> String {
        match self.output.lock().unwrap().recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("no line in the access log:\n{}", self.errors()),
            Err(RecvTimeoutError::Disconnected) => panic!("genkan ended:\n{}", self.errors()),
        }
    }

    /// Status and body of a path of the admin port; status 0 when it does not answer.
    pub fn admin_get(&self, path: &str) -> (u16, String) {
        let answer = Client::connect(self.admin).ok().and_then(|mut client| client.get("admin", path).ok());
        answer.map(|answer| (answer.status, answer.text())).unwrap_or_default()
    }

    /// The admin port.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What `/problems` says now.
    pub fn problems(&self) -> Vec<serde_json::Value> {
        let answer = http1::request(self.admin, "GET", "admin", "/problems", &[("Accept", "application/json")], b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json().as_array().cloned().unwrap_or_else(|| panic!("no list: {answer:?}"))
    }

    /// The first problem with this reason, as its origin, message and mend.
    pub fn problem(&self, reason: &str) -> Option<[String; 3]> {
        let problems = self.problems();
        let found = problems.iter().find(|problem| problem["reason"] == reason)?;
        Some(["origin", "message", "mend"].map(|field| found[field].as_str().unwrap_or_default().to_owned()))
    }

    /// Resident memory of the process, in bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Waits until `happened`, which is asked again and again.
    pub fn wait_until(&self, what: &str, mut happened: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !happened() {
            assert!(Instant::now() < deadline, "{what} did not happen:\n{}", self.errors());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills it as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let status = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "genkan does not end:\n{}", self.errors());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Genkan {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
