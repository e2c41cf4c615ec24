//! Backend protocol: `backend-protocol`.

use genkan_routing::report::Severity;

use crate::annotation::{Annotation, Builder};
use crate::settings::BackendProtocol;
use crate::value::ValueError;

const PROTOCOLS: &str = "HTTP, HTTPS, GRPC or GRPCS";

pub(crate) const ANNOTATIONS: &[Annotation] = &[Annotation::on(
    "backend-protocol",
    PROTOCOLS,
    "HTTP",
    protocol,
    "What endpoints speak; HTTPS and GRPCS verify no certificate and send no server name",
)];

fn protocol(builder: &mut Builder<'_>, value: &str) -> Result<(), ValueError> {
    let name = value.trim().to_ascii_uppercase();
    builder.settings.backend_protocol = match name.as_str() {
        "HTTP" => BackendProtocol::Http,
        "HTTPS" => BackendProtocol::Https,
        "GRPC" => BackendProtocol::Grpc,
        "GRPCS" => BackendProtocol::Grpcs,
        // Plain HTTP in their place would send to a backend what it cannot read, or in the clear what the client
        // encrypted.
        "AUTO_HTTP" | "FCGI" => {
            let message = format!("backend-protocol {name} is not supported: every path answers 503");
            builder.deny(format!("the backend-protocol {name} is not supported"));
            builder.note(Severity::Error, "UnsupportedAnnotation", message, &format!("write {PROTOCOLS}"));
            return Ok(());
        }
        _ => return Err(ValueError::Choice(value.trim().to_owned(), PROTOCOLS.to_owned())),
    };
    Ok(())
}
