//! `genkan translate`: what manifests mean, in Genkan's words.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use genkan_routing::model::Model;
use genkan_routing::report::Report;
use serde::Serialize;

use super::flags::TranslateFlags;
use super::input::Input;
use crate::translate::Statuses;

/// Print what manifests mean: the model (listeners, hosts, rules, clusters), the report and statuses, as YAML
///
/// Private keys are never printed.
#[derive(Args, Debug)]
pub(super) struct Translate {
    /// A manifest, or a folder of manifests
    path: PathBuf,

    /// Print JSON instead of YAML
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    flags: TranslateFlags,
}

#[derive(Serialize)]
struct Printed<'a> {
    model: &'a Model,
    report: &'a Report,
    #[serde(skip_serializing_if = "Statuses::is_empty")]
    statuses: &'a Statuses,
}

impl Translate {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let input = Input::read(&self.path, self.flags.settings())?;
        let printed = Printed {
            model: input.control.snapshot().model(),
            report: input.control.report(),
            statuses: input.control.statuses(),
        };
        let text = if self.json {
            serde_json::to_string_pretty(&printed)? + "\n"
        } else {
            serde_saphyr::to_string(&printed).context("the model can't be written as YAML")?
        };
        std::io::stdout().write_all(text.as_bytes())?;
        for problem in &input.loaded.problems {
            eprintln!("genkan: {}", problem.problem());
        }
        Ok(ExitCode::SUCCESS)
    }
}
