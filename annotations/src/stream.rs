//! TCP, TLS passthrough and UDP: `proxy-stream-*`.

use std::time::Duration;

use crate::annotation::set;
use crate::config_map::Key;
use crate::value::{ValueError, boolean, count, time};

pub(crate) const KEYS: &[Key] = &[
    Key::on(
        "proxy-stream-timeout",
        "a time from 1ms: 90s, 1h30m",
        "600s",
        |b, v| set(&mut b.config.proxy.stream.timeout, idle_time(v)),
        "Idle time after which a TCP connection, also one of TLS passthrough, or a UDP session ends",
    ),
    Key::on(
        "proxy-stream-next-upstream",
        "true or false",
        "true",
        |b, v| set(&mut b.config.proxy.stream.next_upstream, boolean(v.trim())),
        "Whether another endpoint is tried when a TCP connect fails",
    ),
    Key::on(
        "proxy-stream-next-upstream-timeout",
        "a time: 90s, 1h30m; 0 is without limit",
        "600s",
        |b, v| set(&mut b.config.proxy.stream.next_upstream_timeout, time_limit(v)),
        "The time in which another endpoint may be tried for TCP",
    ),
    Key::on(
        "proxy-stream-next-upstream-tries",
        "a whole number; 0 is without limit",
        "3",
        |b, v| set(&mut b.config.proxy.stream.next_upstream_tries, count(v.trim())),
        "How many endpoints are tried in all for TCP",
    ),
    Key::on(
        "proxy-stream-responses",
        "a whole number",
        "1",
        |b, v| set(&mut b.config.proxy.stream.responses, count(v.trim())),
        "Datagrams in answer to each of a UDP client's, after which its session ends; 0 expects none",
    ),
];

/// A time that is more than none.
pub fn idle_time(text: &str) -> Result<Duration, ValueError> {
    time(text).and_then(|idle| if idle.is_zero() { Err(ValueError::Other("is no time at all")) } else { Ok(idle) })
}

fn time_limit(text: &str) -> Result<Option<Duration>, ValueError> {
    time(text).map(|limit| (!limit.is_zero()).then_some(limit))
}
