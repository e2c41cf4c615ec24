//! Rewrites: `rewrite-target`, `use-regex` and `upstream-vhost`.

use genkan_routing::policy::access_log::{FormatPart, format_parts};
use genkan_routing::policy::rewrite::Template;

use crate::annotation::{Annotation, Builder, set};
use crate::definition::{Risk, Scope};
use crate::settings::{RewriteTarget, UpstreamVhost, VhostPart};
use crate::value::{CAPTURE, REGEX, ValueError, boolean, text};

pub(crate) const ANNOTATIONS: &[Annotation] = &[
    Annotation::on(
        "rewrite-target",
        "a path with $1 to $9 for the groups of the rule's path",
        "none",
        rewrite_target,
        "Replaces the whole path; makes all paths of the host regular expressions, unless it equals the rule's path",
    )
    .risk(Risk::Medium),
    Annotation::on(
        "use-regex",
        "true or false",
        "false",
        |b, v| set(&mut b.settings.use_regex, boolean(v)),
        "Makes all paths of the Ingress's hosts regular expressions, without regard to case, longest text first",
    )
    .scope(Scope::Host),
    Annotation::on(
        "upstream-vhost",
        "a hostname; $namespace, $ingress_name, $service_name and $service_port may stand in it",
        "the client's Host",
        upstream_vhost,
        "The Host that the backend sees",
    )
    .rejects(),
];

fn rewrite_target(builder: &mut Builder<'_>, value: &str) -> Result<(), ValueError> {
    let source = text(value, CAPTURE)?.to_owned();
    let template = Template::parse(&source);
    builder.settings.rewrite_target = Some(RewriteTarget { source, template });
    Ok(())
}

fn upstream_vhost(builder: &mut Builder<'_>, value: &str) -> Result<(), ValueError> {
    let object = builder.context.object;
    let mut parts = Vec::new();
    for part in format_parts(text(value, REGEX)?) {
        parts.push(match part {
            FormatPart::Literal(text) => VhostPart::Literal(text.to_owned()),
            FormatPart::Variable("namespace") => VhostPart::Literal(object.namespace.as_ref().to_owned()),
            FormatPart::Variable("ingress_name") => VhostPart::Literal(object.name.as_ref().to_owned()),
            FormatPart::Variable("service_name") => VhostPart::ServiceName,
            FormatPart::Variable("service_port") => VhostPart::ServicePort,
            FormatPart::Variable(name) => {
                builder.unsupported_value(format!(
                    "upstream-vhost has no effect, because ${name} is not supported; $namespace, $ingress_name, \
                     $service_name and $service_port are"
                ));
                return Ok(());
            }
        });
    }
    let vhost = UpstreamVhost::new(parts);
    // A Service's name and port are labels, so any label tells whether the rest is sound.
    match vhost.resolve("service", "80") {
        Ok(_) => builder.settings.upstream_vhost = Some(vhost),
        Err(error) => builder.unsupported_value(format!("upstream-vhost has no effect: {error}")),
    }
    Ok(())
}
