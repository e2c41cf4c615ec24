//! `genkan annotations`: the reference of annotations and ConfigMap keys, from the tables that parse them.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use genkan_annotations::reference;

/// Print every annotation, or every key of the ConfigMap, with its type, default and effect
#[derive(Args, Debug)]
pub(super) struct Annotations {
    /// Print as Markdown: docs/annotations.md is made so
    #[arg(long)]
    markdown: bool,

    /// Print the keys of the ConfigMap instead: docs/configmap.md is made so
    #[arg(long)]
    configmap: bool,
}

impl Annotations {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let text = match (self.configmap, self.markdown) {
            (false, false) => reference::annotations_text(),
            (false, true) => reference::annotations_markdown(),
            (true, false) => reference::keys_text(),
            (true, true) => reference::keys_markdown(),
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
