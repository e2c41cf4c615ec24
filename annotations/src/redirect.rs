//! Redirects: `permanent-redirect`, `temporal-redirect`, `app-root`, and HTTP to HTTPS.

use genkan_routing::policy::redirect::{Redirect, RedirectTarget};
use genkan_routing::report::Severity;

use crate::annotation::{Annotation, Builder, set};
use crate::config_map::Key;
use crate::definition::{OnInvalid, Risk, Scope};
use crate::value::{CAPTURE, URL, ValueError, boolean, choice, integer, text, words};

pub(crate) const ANNOTATIONS: &[Annotation] = &[
    Annotation::on(
        "ssl-redirect",
        "true or false",
        "ConfigMap ssl-redirect (true)",
        |b, v| set(&mut b.settings.https_redirect.ssl_redirect, boolean(v)),
        "Sends HTTP to HTTPS where the host has a certificate",
    ),
    Annotation::on(
        "force-ssl-redirect",
        "true or false",
        "ConfigMap force-ssl-redirect (false)",
        |b, v| set(&mut b.settings.https_redirect.force, boolean(v)),
        "Sends HTTP to HTTPS also where the host has no certificate",
    )
    .risk(Risk::Medium),
    Annotation::on(
        "preserve-trailing-slash",
        "true or false",
        "ConfigMap preserve-trailing-slash (false)",
        |b, v| set(&mut b.settings.https_redirect.preserve_trailing_slash, boolean(v)),
        "Keeps a final slash of the URI when HTTP is sent to HTTPS; otherwise one is cut",
    )
    .risk(Risk::Medium),
    Annotation::on(
        "use-port-in-redirects",
        "true or false",
        "ConfigMap use-port-in-redirects (false)",
        |b, v| set(&mut b.settings.https_redirect.use_port, boolean(v)),
        "Writes the HTTPS port into the Location when HTTP is sent to HTTPS",
    ),
    Annotation::on(
        "app-root",
        "a path that begins with /",
        "none",
        app_root,
        "Answers / of the Ingress's hosts with 302 to this path, before anything else is judged",
    )
    .scope(Scope::Host)
    .risk(Risk::Medium),
    Annotation::on(
        "permanent-redirect",
        "a URL or path of letters, digits and /-._~:,?&=",
        "none",
        |b, v| set(&mut b.redirect.permanent, text(v, URL).map(|url| Some(url.to_owned()))),
        "Answers with this Location as it is; comes before HTTPS redirect, access lists and limits",
    )
    .risk(Risk::Medium)
    .rejects(),
    Annotation::on(
        "permanent-redirect-code",
        "300 to 308",
        "301",
        |b, v| set(&mut b.redirect.permanent_code, integer(v).map(Some)),
        "The status of permanent-redirect; one out of range counts as 301",
    )
    .rejects(),
    Annotation::on(
        "temporal-redirect",
        "a URL with http or https of letters, digits and /-._~:,?&=",
        "none",
        temporal,
        "As permanent-redirect, with 302; wins when both are written",
    )
    .risk(Risk::Medium)
    .rejects(),
    Annotation::on(
        "temporal-redirect-code",
        "300 to 307",
        "302",
        |b, v| set(&mut b.redirect.temporal_code, integer(v).map(Some)),
        "The status of temporal-redirect; one out of range counts as 302",
    )
    .rejects(),
];

pub(crate) const KEYS: &[Key] = &[
    Key::on(
        "ssl-redirect",
        "true or false",
        "true",
        |b, v| set(&mut b.config.https_redirect.ssl_redirect, boolean(v.trim())),
        "Default of the annotation",
    ),
    Key::on(
        "force-ssl-redirect",
        "true or false",
        "false",
        |b, v| set(&mut b.config.https_redirect.force, boolean(v.trim())),
        "Default of the annotation",
    ),
    Key::on(
        "preserve-trailing-slash",
        "true or false",
        "false",
        |b, v| set(&mut b.config.https_redirect.preserve_trailing_slash, boolean(v.trim())),
        "Default of the annotation",
    ),
    Key::on(
        "use-port-in-redirects",
        "true or false",
        "false",
        |b, v| set(&mut b.config.https_redirect.use_port, boolean(v.trim())),
        "Default of the annotation",
    ),
    Key::on(
        "http-redirect-code",
        "301, 302, 307 or 308",
        "308",
        |b, v| set(&mut b.config.https_redirect.status, choice(v.trim(), HTTPS_CODES)),
        "The status when HTTP is sent to HTTPS",
    ),
    Key::on(
        "no-tls-redirect-locations",
        "paths, separated by commas",
        "/.well-known/acme-challenge",
        |b, v| set(&mut b.config.no_tls_redirect_locations, words(v)),
        "Rules whose path text begins with one of these are never sent to HTTPS",
    ),
];

const HTTPS_CODES: &[(&str, u16)] = &[("301", 301), ("302", 302), ("307", 307), ("308", 308)];

/// What the redirect annotations say, before it is known which one wins.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    permanent: Option<String>,
    permanent_code: Option<i64>,
    temporal: Option<String>,
    temporal_code: Option<i64>,
    /// A temporal target that is no HTTP URL turns both redirects off, as ingress-nginx does.
    off: bool,
}

fn app_root(builder: &mut Builder<'_>, value: &str) -> Result<(), ValueError> {
    let path = text(value, CAPTURE)?;
    // `//host` would lead a browser to another host.
    if !path.starts_with('/') || path.starts_with("//") {
        return Err(ValueError::Other("is not a path that begins with one /"));
    }
    builder.settings.app_root = Some(path.to_owned());
    Ok(())
}

fn temporal(builder: &mut Builder<'_>, value: &str) -> Result<(), ValueError> {
    let url = text(value, URL)?;
    if url.starts_with("http") {
        builder.redirect.temporal = Some(url.to_owned());
        return Ok(());
    }
    builder.redirect.off = true;
    let message = format!("temporal-redirect does not begin with http: {}", OnInvalid::TurnsOff);
    builder.note(Severity::Warning, "InvalidAnnotation", message, "write a URL with http or https");
    Ok(())
}

/// Temporal wins over permanent.
pub(crate) fn finish(builder: &mut Builder<'_>) {
    let parts = std::mem::take(&mut builder.redirect);
    if parts.off {
        return;
    }
    let (name, target, code, default, max) = match (parts.temporal, parts.permanent) {
        (Some(target), _) => ("temporal-redirect-code", target, parts.temporal_code, 302, 307),
        (None, Some(target)) => ("permanent-redirect-code", target, parts.permanent_code, 301, 308),
        (None, None) => return,
    };
    let in_range = |code: i64| u16::try_from(code).ok().filter(|code| (300..=max).contains(code));
    let status = code.map_or(Some(default), in_range);
    if status.is_none() {
        let message = format!("{name} is not between 300 and {max}: {default} is used");
        builder.at(name);
        builder.note(Severity::Warning, "InvalidAnnotation", message, "");
    }
    let to = RedirectTarget::Verbatim(target);
    builder.settings.redirect = Some(Redirect { status: status.unwrap_or(default), to });
}
