//! `genkan check`: every problem of manifests, without serving them.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use genkan_routing::report::Severity;

use super::Output;
use super::flags::TranslateFlags;
use super::input::{Input, count};

/// Report every problem of manifests, with file, object, field and mend
///
/// Exits with 1 when there is an error: something that would not be served as written. Warnings alone exit with 0.
#[derive(Args, Debug)]
pub(super) struct Check {
    /// A manifest, or a folder of manifests
    path: PathBuf,

    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,

    #[command(flatten)]
    flags: TranslateFlags,
}

impl Check {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let input = Input::read(&self.path, self.flags.settings())?;
        let problems = input.problems();
        let mut out = std::io::stdout().lock();
        match self.output {
            Output::Json => {
                serde_json::to_writer_pretty(&mut out, &problems)?;
                writeln!(out)?;
            }
            Output::Text => {
                for problem in &problems {
                    writeln!(out, "{problem}")?;
                }
                let objects = input.loaded.resources.keys().count();
                writeln!(out, "{objects} objects: {}", count(&problems))?;
            }
        }
        let failed = problems.iter().any(|located| located.problem.severity == Severity::Error);
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
