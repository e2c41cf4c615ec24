//! The command line: what `genkan` can be asked to do.

mod annotations;
mod check;
mod compatible;
mod crds;
mod echo;
mod explain;
mod flags;
mod input;
mod run;
mod served;
mod translate;
mod try_it;
mod wait_shutdown;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Ingress controller and reverse proxy: the successor of ingress-nginx.
///
/// Genkan reads Ingresses (with nginx.ingress.kubernetes.io annotations), Gateway API, Services, EndpointSlices, Secrets
/// and a ConfigMap, and serves what they say. Changes are served at once: there is no reload, and no connection drops.
#[derive(Debug, Parser)]
#[command(name = "genkan", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Run>),
    Controller(Box<run::Controller>),
    Check(check::Check),
    Translate(translate::Translate),
    Explain(explain::Explain),
    Annotations(annotations::Annotations),
    Crds(crds::Crds),
    Echo(echo::Echo),
    WaitShutdown(wait_shutdown::WaitShutdown),
}

/// How a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For machines
    Json,
}

/// The command that takes ingress-nginx's flags.
const CONTROLLER: &str = "controller";
/// What ingress-nginx's image calls its controller: by this name we are the command `controller`.
const CONTROLLER_NAME: &str = "nginx-ingress-controller";
/// What ingress-nginx's image calls its preStop command.
const WAIT_SHUTDOWN_NAME: &str = "wait-shutdown";

/// The arguments with the command that the program's own name stands for, if it stands for one.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = given.collect();
    let name = arguments.first().and_then(|name| Path::new(name).file_name()?.to_str());
    match name {
        Some(CONTROLLER_NAME) => arguments.insert(1, CONTROLLER.into()),
        Some(WAIT_SHUTDOWN_NAME) => arguments.insert(1, "wait-shutdown".into()),
        _ => {}
    }
    if arguments.get(1).is_some_and(|command| command == CONTROLLER) {
        arguments = compatible::spelled_out(arguments);
    }
    arguments
}

/// Runs the command that the process's arguments name. Errors are printed; the answer is the process's exit code.
pub fn main() -> ExitCode {
    let result = match Cli::parse_from(arguments(std::env::args_os())).command {
        Command::Run(command) => command.run(),
        Command::Controller(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Translate(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Annotations(command) => command.run(),
        Command::Crds(command) => command.run(),
        Command::Echo(command) => command.run(),
        Command::WaitShutdown(command) => command.run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("genkan: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn names_of_ingress_nginx_stand_for_commands() {
        let of = |arguments: &[&str]| super::arguments(arguments.iter().map(|argument| (*argument).into()));
        assert_eq!(of(&["/wait-shutdown"]), ["/wait-shutdown", "wait-shutdown"]);
        assert_eq!(of(&["/nginx-ingress-controller", "--v=2"]), ["/nginx-ingress-controller", "controller", "--v=2"]);
        assert_eq!(of(&["genkan", "run", "x"]), ["genkan", "run", "x"]);
    }

    #[test]
    fn flags_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
