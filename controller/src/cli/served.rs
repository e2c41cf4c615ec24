//! What a rule does with a request that it won: filters in their order, backends with their shares and endpoints. And
//! where a TLS connection goes that is passed on, unopened or opened.

use std::fmt;

use genkan_routing::model::{Action, Backend, Filter, Model, Rule, Stream, Target};
use serde::Serialize;

/// The rest of an explanation: what happens after routing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Served<'m> {
    /// In the order in which they act.
    filters: &'m [Filter],
    /// An answer without a backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    respond: Option<u16>,
    backends: Vec<Share<'m>>,
    /// Takes requests away from the backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<Canary<'m>>,
}

/// Where a TLS connection goes, or what it carries.
#[derive(Debug, Serialize)]
pub(super) struct PassedOn<'m> {
    #[serde(skip)]
    how: &'static str,
    backends: Vec<Share<'m>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Share<'m> {
    weight: u32,
    of: u64,
    #[serde(flatten)]
    destination: Destination<'m>,
}

/// A backend resolved in the model.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Destination<'m> {
    cluster: &'m str,
    /// Why its requests are answered with 500, or its connections closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    invalid: Option<&'m str>,
    endpoints: Vec<std::net::SocketAddr>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Canary<'m> {
    /// `header x-canary (always/never), then 10 of 100 requests`.
    takes: String,
    #[serde(flatten)]
    destination: Destination<'m>,
}

impl<'m> Served<'m> {
    /// What `rule` does.
    pub(super) fn by(rule: &'m Rule, model: &'m Model) -> Self {
        let mut served = Self { filters: &rule.filters, respond: None, backends: Vec::new(), canary: None };
        match &rule.action {
            Action::Respond(direct) => served.respond = Some(direct.status),
            Action::Forward(forward) => {
                let of = forward.backends.iter().map(|backend| u64::from(backend.weight)).sum();
                let share = |backend: &'m Backend| {
                    let destination = Destination::of(&backend.target, model);
                    Share { weight: backend.weight, of, destination }
                };
                served.backends = forward.backends.iter().map(share).collect();
                served.canary = forward.canary.as_ref().map(|canary| {
                    let header = canary.header.as_ref().map(|header| format!("header {}", header.name));
                    let cookie = canary.cookie.as_ref().map(|cookie| format!("cookie {cookie}"));
                    let weight = Some(format!("{} of {} requests", canary.weight, canary.total));
                    let takes = header.into_iter().chain(cookie).chain(weight).collect::<Vec<_>>().join(", then ");
                    Canary { takes, destination: Destination::of(&canary.backend.target, model) }
                });
            }
        }
        served
    }
}

impl<'m> PassedOn<'m> {
    /// Where `stream` leads unopened connections.
    pub(super) fn unopened(stream: &'m Stream, model: &'m Model) -> Self {
        Self::to("passed on unopened", stream, model)
    }

    /// Where `stream` leads what is left of connections when they are opened.
    pub(super) fn opened(stream: &'m Stream, model: &'m Model) -> Self {
        Self::to("opened and passed on", stream, model)
    }

    fn to(how: &'static str, stream: &'m Stream, model: &'m Model) -> Self {
        let of = stream.backends.iter().map(|backend| u64::from(backend.weight)).sum();
        let share = |weight, target| Share { weight, of, destination: Destination::of(target, model) };
        Self { how, backends: stream.backends.iter().map(|backend| share(backend.weight, &backend.target)).collect() }
    }
}

impl<'m> Destination<'m> {
    fn of(target: &'m Target, model: &'m Model) -> Self {
        match target {
            Target::Invalid { reason } => Self { cluster: "", invalid: Some(reason), endpoints: Vec::new() },
            Target::Cluster(id) => {
                let endpoints = model.clusters.get(id).map(|cluster| &cluster.endpoints);
                let endpoints = endpoints.into_iter().flatten().map(|endpoint| endpoint.address).collect();
                Self { cluster: id.as_str(), invalid: None, endpoints }
            }
        }
    }
}

impl fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = self.invalid {
            return write!(f, "nothing (answers 500: {reason})");
        }
        write!(f, "{}", self.cluster)?;
        if self.endpoints.is_empty() {
            return f.write_str(" (no endpoint: answers 503)");
        }
        let endpoints: Vec<_> = self.endpoints.iter().map(ToString::to_string).collect();
        write!(f, " -> {}", endpoints.join(", "))
    }
}

/// One line for each backend.
impl fmt::Display for PassedOn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Share { weight, of, destination } in &self.backends {
            write!(f, "tls: {}, {weight} of {of}: ", self.how)?;
            let endpoints: Vec<_> = destination.endpoints.iter().map(ToString::to_string).collect();
            match destination.invalid {
                Some(reason) => writeln!(f, "to nothing (closes: {reason})")?,
                None if endpoints.is_empty() => writeln!(f, "{} (no endpoint: closes)", destination.cluster)?,
                None => writeln!(f, "{} -> {}", destination.cluster, endpoints.join(", "))?,
            }
        }
        Ok(())
    }
}

/// One line for each filter, backend and the canary.
impl fmt::Display for Served<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for filter in self.filters {
            // A filter that can't be written is still named.
            let text = serde_json::to_string(filter).unwrap_or_else(|_| format!("{:?}", filter.stage()));
            writeln!(f, "filter: {text}")?;
        }
        if let Some(status) = self.respond {
            writeln!(f, "answer: {status}, by Genkan itself")?;
        }
        if let Some(canary) = &self.canary {
            writeln!(f, "canary: {}: {}", canary.takes, canary.destination)?;
        }
        for Share { weight, of, destination } in &self.backends {
            writeln!(f, "backend: {weight} of {of}: {destination}")?;
        }
        Ok(())
    }
}
