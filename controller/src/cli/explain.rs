//! `genkan explain`: which rule serves a request, and why no other does.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Args;
use genkan_routing::model::{Listener, Protocol};
use genkan_routing::request::{canonical_host, normalize_path};
use genkan_routing::snapshot::{Explanation, Handshake, RequestView, Snapshot};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::Serialize;

use super::Output;
use super::flags::TranslateFlags;
use super::input::Input;
use super::served::{PassedOn, Served};

/// Explain which listener, host, rule, filters and backend serve a request, and what lost against them
///
/// The URL's port chooses the listener; without one, the first listener of the URL's scheme is taken.
#[derive(Args, Debug)]
pub(super) struct Explain {
    /// A manifest, or a folder of manifests
    path: PathBuf,

    /// The request's URL, as in http://shop.localhost/cart?id=1
    url: Uri,

    /// The request's method
    #[arg(short = 'X', long, default_value = "GET", value_name = "METHOD")]
    method: Method,

    /// A header field, as in 'X-Canary: always'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,

    #[command(flatten)]
    flags: TranslateFlags,
}

/// Routing, and what happens before and after it.
#[derive(Serialize)]
struct Explained<'m> {
    /// Then the rest is for whoever got here by another server name.
    #[serde(skip_serializing_if = "Option::is_none")]
    passthrough: Option<PassedOn<'m>>,
    /// The same, but the TLS connection is opened first.
    #[serde(skip_serializing_if = "Option::is_none")]
    terminated: Option<PassedOn<'m>>,
    #[serde(flatten)]
    explanation: Explanation,
    #[serde(skip_serializing_if = "Option::is_none")]
    served: Option<Served<'m>>,
}

impl Explain {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let input = Input::read(&self.path, self.flags.settings())?;
        let snapshot = input.control.snapshot();
        let listener = self.listener(snapshot)?;
        let headers: HeaderMap = self.headers.iter().cloned().collect();
        let host_field = headers.get(http::header::HOST).map(|value| value.to_str()).transpose();
        let host_text = match host_field.context("the Host header is no text")? {
            Some(host) => host,
            None => self.url.authority().map_or("", |authority| authority.as_str()),
        };
        let host = canonical_host(host_text).with_context(|| format!("{host_text:?} (answered with 400)"))?;
        let path =
            normalize_path(self.url.path()).with_context(|| format!("{:?} (answered with 400)", self.url.path()))?;
        let request =
            RequestView { host: &host, path: &path, query: self.url.query(), method: &self.method, headers: &headers };
        let explanation = snapshot.explain(&listener.id, &request);
        let winner = explanation.winner.as_ref().and_then(|winner| snapshot.model().rules.get(&winner.rule));
        let served = winner.map(|rule| Served::by(rule, snapshot.model()));
        let handshake = snapshot.handshake(&listener.id, Some(&host));
        let model = snapshot.model();
        let (passthrough, terminated) = match handshake.filter(|_| listener.protocol == Protocol::Https) {
            Some(Handshake::PassedOn(stream)) => (Some(PassedOn::unopened(stream, model)), None),
            Some(Handshake::Terminated(to)) => (None, Some(PassedOn::opened(&to.stream, model))),
            Some(Handshake::Opened(_)) | None => (None, None),
        };
        self.print(&Explained { passthrough, terminated, explanation, served })?;
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, explained: &Explained<'_>) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match self.output {
            Output::Text => {
                if let Some(passed_on) = explained.passthrough.as_ref().or(explained.terminated.as_ref()) {
                    writeln!(out, "{passed_on}so what follows is for connections with another server name")?;
                }
                writeln!(out, "{}", explained.explanation.to_string().trim_end())?;
                if let Some(served) = &explained.served {
                    write!(out, "{served}")?;
                }
            }
            Output::Json => {
                serde_json::to_writer_pretty(&mut out, explained)?;
                writeln!(out)?;
            }
        }
        Ok(())
    }

    /// The listener that the URL leads to.
    fn listener<'s>(&self, snapshot: &'s Snapshot) -> anyhow::Result<&'s Listener> {
        let protocol = match self.url.scheme_str() {
            Some("http") | None => Protocol::Http,
            Some("https") => Protocol::Https,
            Some(other) => bail!("{other}:// URLs are not served: use http:// or https://"),
        };
        ensure!(self.url.host().is_some(), "the URL has no host: write it as http://shop.localhost/cart");
        let listeners = || snapshot.model().listeners.values().filter(|listener| listener.protocol == protocol);
        let port = self.url.port_u16();
        let found = match port {
            Some(port) => listeners().find(|listener| listener.port == port || listener.public_port == port),
            None => {
                listeners().find(|listener| matches!(listener.public_port, 80 | 443)).or_else(|| listeners().next())
            }
        };
        found.map(AsRef::as_ref).with_context(|| {
            let ports: Vec<_> = listeners().map(|listener| listener.port.to_string()).collect();
            format!("nothing listens there: the {protocol:?} ports are {}", ports.join(", "))
        })
    }
}

/// Parses `Name: value`.
fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("{text:?} is not of the form 'Name: value'"))?;
    let name = name.trim().parse().map_err(|error| format!("{name:?}: {error}"))?;
    let value = value.trim().parse().map_err(|error| format!("{value:?}: {error}"))?;
    Ok((name, value))
}
