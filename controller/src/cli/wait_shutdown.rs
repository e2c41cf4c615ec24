//! `genkan wait-shutdown`: the preStop command of ingress-nginx's manifests. It tells the controller in this container to
//! stop, and returns when it has: so a Pod is not killed before its requests are done.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

/// How often it is looked whether the controller is gone.
const LOOK: Duration = Duration::from_millis(200);

/// Tell the controller in this container to stop, and wait until it has: for preStop
#[derive(Args, Debug)]
pub(super) struct WaitShutdown {}

impl WaitShutdown {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let controllers = controllers(Path::new("/proc")).context("processes can't be listed")?;
        if controllers.is_empty() {
            eprintln!("genkan: no controller runs here");
        }
        let mut told = Vec::new();
        for pid in controllers {
            match kill_process(pid, Signal::TERM) {
                Ok(()) => told.push(pid),
                // It was faster, or is not of this container: then there is nothing to wait for.
                Err(rustix::io::Errno::SRCH) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("process {} can't be told", pid.as_raw_nonzero()));
                }
            }
        }
        while told.iter().any(|pid| is_running(Path::new("/proc"), *pid)) {
            sleep(LOOK);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The processes that run `genkan controller`.
fn controllers(proc: &Path) -> std::io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(proc)? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // One that just ended can't be read.
        let arguments = fs::read(proc.join(pid.to_string()).join("cmdline")).unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
        let program = arguments.next().unwrap_or_default();
        let command = arguments.next().unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default();
        if program == super::CONTROLLER_NAME || program == "genkan" && command == "controller" {
            found.push(pid);
        }
    }
    Ok(found)
}

/// One that ended and was not waited for yet has ended.
fn is_running(proc: &Path, pid: Pid) -> bool {
    let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_found_by_what_they_run() {
        let folder = tempfile::tempdir().unwrap();
        for (pid, cmdline) in [
            ("10", "/genkan\0controller\0--http-port\0"),
            ("11", "/nginx-ingress-controller\0--http-port\0"),
            ("12", "genkan\0wait-shutdown\0"),
            ("13", "/bin/sh\0controller\0"),
            ("self", "genkan\0controller\0"),
            ("14", ""),
        ] {
            fs::create_dir(folder.path().join(pid)).unwrap();
            fs::write(folder.path().join(pid).join("cmdline"), cmdline).unwrap();
        }
        let mut found: Vec<_> =
            controllers(folder.path()).unwrap().iter().map(|pid| pid.as_raw_nonzero().get()).collect();
        found.sort_unstable();
        assert_eq!(found, [10, 11]);
    }

    #[test]
    fn a_process_that_nobody_waited_for_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let pid = Pid::from_raw(10).unwrap();
        assert!(!is_running(folder.path(), pid));
        fs::create_dir(folder.path().join("10")).unwrap();
        for (state, running) in [("S", true), ("R", true), ("Z", false)] {
            fs::write(folder.path().join("10/stat"), format!("10 (a) b) {state} 1 1")).unwrap();
            assert_eq!(is_running(folder.path(), pid), running, "{state}");
        }
    }
}
