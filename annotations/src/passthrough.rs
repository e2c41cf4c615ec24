//! `ssl-passthrough`: TLS connections are handed to the backend unopened.

use crate::annotation::{Annotation, set};
use crate::definition::Scope;
use crate::value::boolean;

pub(crate) const ANNOTATIONS: &[Annotation] = &[Annotation::on(
    "ssl-passthrough",
    "true or false",
    "false",
    |b, v| set(&mut b.settings.passthrough, boolean(v)),
    "With --enable-ssl-passthrough: hands TLS connections for the Ingress's hosts unopened to the Service of path /; \
     other annotations then act on plain HTTP alone",
)
.scope(Scope::Host)
.rejects()];
