//! Client: limits and time-outs of client connections.

use crate::annotation::set;
use crate::config_map::{GlobalBuilder, Key};
use crate::value::{ValueError, boolean, integer_in, seconds, size, time};

const SECONDS: &str = "whole seconds, without a unit";
const MAX: i64 = u32::MAX as i64;

pub(crate) const KEYS: &[Key] = &[
    Key::on(
        "keep-alive",
        "whole seconds, without a unit; 0 turns it off",
        "75",
        |b, v| set(&mut b.config.proxy.client.keep_alive, seconds(v.trim(), 0)),
        "Idle time before a client connection is closed",
    ),
    Key::on(
        "keep-alive-requests",
        "a whole number from 1",
        "1000",
        |b, v| set(&mut b.config.proxy.client.keep_alive_requests, at_least_one(v.trim())),
        "Requests per client connection",
    ),
    Key::on(
        "client-header-timeout",
        SECONDS,
        "60",
        |b, v| set(&mut b.config.proxy.client.header_timeout, seconds(v.trim(), 1)),
        "Time for a request's head; over it 408",
    ),
    Key::on(
        "client-body-timeout",
        SECONDS,
        "60",
        |b, v| set(&mut b.config.proxy.client.body_timeout, seconds(v.trim(), 1)),
        "Time between two reads of a request's body; over it 408",
    ),
    Key::on(
        "worker-shutdown-timeout",
        "a time: 240s",
        "240s",
        |b, v| set(&mut b.config.proxy.client.drain_timeout, time(v.trim())),
        "How long running requests may take at the end of the process; 0: as long as they want",
    ),
    Key::on(
        "large-client-header-buffers",
        "a number and a size: 4 8k",
        "4 8k",
        set_header_buffers,
        "The largest header line and request line, and how many such lines a head may fill",
    ),
    Key::on(
        "enable-underscores-in-headers",
        "true or false",
        "false",
        |b, v| set(&mut b.config.proxy.client.underscores_in_headers, boolean(v.trim())),
        "Passes request headers with an underscore in their names on to backends",
    ),
    Key::on(
        "use-http2",
        "true or false",
        "true",
        |b, v| set(&mut b.config.proxy.client.http2, boolean(v.trim())),
        "HTTP/2 by ALPN and by prior knowledge",
    ),
    Key::on(
        "http2-max-concurrent-streams",
        "a whole number from 1",
        "128",
        |b, v| set(&mut b.config.proxy.client.max_concurrent_streams, at_least_one(v.trim())),
        "Concurrent requests per HTTP/2 connection",
    ),
    Key::on(
        "use-proxy-protocol",
        "true or false",
        "false",
        |b, v| set(&mut b.config.proxy.client.proxy_protocol, boolean(v.trim())),
        "Requires a PROXY header, version 1 or 2, on every connection",
    ),
];

/// A number of things of which there has to be one.
pub fn at_least_one(text: &str) -> Result<u32, ValueError> {
    integer_in(text, 1, MAX)
}

/// How large a request's head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderBuffers {
    /// Bytes of the request line, and of a header line.
    pub line: u32,
    /// Bytes of the whole head.
    pub head: u32,
}

fn set_header_buffers(builder: &mut GlobalBuilder, value: &str) -> Result<(), ValueError> {
    let HeaderBuffers { line, head } = header_buffers(value)?;
    let client = &mut builder.config.proxy.client;
    (client.max_header_line, client.max_request_line, client.max_head) = (line, line, head);
    Ok(())
}

/// A number and the size of a line, as nginx's `large_client_header_buffers`: `4 8k`.
pub fn header_buffers(value: &str) -> Result<HeaderBuffers, ValueError> {
    const BAD: ValueError = ValueError::Other("is not a number and a size like 4 8k");
    let mut words = value.split_ascii_whitespace();
    let (Some(number), Some(line), None) = (words.next(), words.next(), words.next()) else { return Err(BAD) };
    let number: u64 = integer_in(number, 1, 1024)?;
    let line = size(line)?;
    let narrow = |bytes: u64| u32::try_from(bytes).ok().filter(|bytes| *bytes > 0).ok_or(BAD);
    let head = narrow(line.checked_mul(number).ok_or(BAD)?)?;
    Ok(HeaderBuffers { line: narrow(line)?, head })
}
