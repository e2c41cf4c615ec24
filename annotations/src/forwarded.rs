//! Forwarded: whom to believe about the client, and what the backend is told.

use genkan_routing::report::Severity;
use http::HeaderName;

use crate::annotation::set;
use crate::config_map::{GlobalBuilder, Key};
use crate::value::{ValueError, boolean, header_name, list, network, quoted};

pub(crate) const KEYS: &[Key] = &[
    Key::on(
        "use-forwarded-headers",
        "true or false",
        "false",
        |b, v| set(&mut b.config.proxy.forwarded.use_forwarded_headers, boolean(v.trim())),
        "Believes X-Forwarded-Proto, -Host, -Port and the client address of trusted peers",
    ),
    Key::on(
        "enable-real-ip",
        "true or false",
        "false",
        |b, v| set(&mut b.config.proxy.forwarded.enable_real_ip, boolean(v.trim())),
        "Believes only the client address of trusted peers",
    ),
    Key::on(
        "compute-full-forwarded-for",
        "true or false",
        "false",
        |b, v| set(&mut b.config.proxy.forwarded.compute_full_forwarded_for, boolean(v.trim())),
        "Appends to an incoming X-Forwarded-For instead of replacing it",
    ),
    Key::on(
        "forwarded-for-header",
        "a header name",
        "X-Forwarded-For",
        set_forwarded_for_header,
        "Where the client address is read",
    ),
    Key::on(
        "proxy-real-ip-cidr",
        "IP addresses and networks, separated by commas",
        "0.0.0.0/0, ::/0",
        trusted,
        "Peers that are believed about the client",
    ),
    Key::on(
        "proxy-add-original-uri-header",
        "true or false",
        "false",
        |b, v| set(&mut b.config.proxy.forwarded.original_uri_header, boolean(v.trim())),
        "Sends X-Original-URI to the backend",
    ),
    Key::on(
        "generate-request-id",
        "true or false",
        "true",
        |b, v| set(&mut b.config.proxy.forwarded.generate_request_id, boolean(v.trim())),
        "Makes an X-Request-ID where the client sent none",
    ),
];

fn set_forwarded_for_header(builder: &mut GlobalBuilder, value: &str) -> Result<(), ValueError> {
    set(&mut builder.config.proxy.forwarded.forwarded_for_header, forwarded_for_header(value))
}

/// The header in which proxies in front tell the client's address.
pub fn forwarded_for_header(value: &str) -> Result<HeaderName, ValueError> {
    // nginx reads the PROXY header then; as a header name it would let every client say who it is.
    if value.trim() == "proxy_protocol" {
        return Err(ValueError::Other(
            "is not supported; the address of a PROXY header is used with use-proxy-protocol",
        ));
    }
    header_name(value)
}

/// Fails closed: what can't be read is not trusted, and the default, everyone, never takes its place.
fn trusted(builder: &mut GlobalBuilder, value: &str) -> Result<(), ValueError> {
    let mut networks = Vec::new();
    for element in list(value) {
        match network(element) {
            Ok(network) => networks.push(network),
            Err(_) => {
                let message = format!("proxy-real-ip-cidr: {} is no network and is not trusted", quoted(element));
                builder.note(Severity::Error, "InvalidConfigMapKey", message, "write networks like 10.0.0.0/8");
            }
        }
    }
    networks.sort();
    networks.dedup();
    builder.config.proxy.forwarded.trusted = networks;
    Ok(())
}
