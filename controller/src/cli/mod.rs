//! The command line: what `genkan` can be asked to do.

mod annotations;
mod check;
mod echo;
mod explain;
mod flags;
mod input;
mod run;
mod served;
mod translate;
mod try_it;

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
    Echo(echo::Echo),
}

/// How a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For machines
    Json,
}

/// Runs the command that the process's arguments name. Errors are printed; the answer is the process's exit code.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(command) => command.run(),
        Command::Controller(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Translate(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Annotations(command) => command.run(),
        Command::Echo(command) => command.run(),
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
    fn flags_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
