//! Upstream: connections to endpoints that are kept for further requests.

use crate::annotation::set;
use crate::config_map::Key;
use crate::value::{count, integer_in, seconds, time};

pub(crate) const KEYS: &[Key] = &[
    Key::on(
        "upstream-keepalive-connections",
        "a whole number; 0 keeps none",
        "320",
        |b, v| set(&mut b.config.proxy.upstream.keepalive_connections, count(v.trim())),
        "Idle connections to endpoints per worker",
    ),
    Key::on(
        "upstream-keepalive-timeout",
        "whole seconds, without a unit",
        "60",
        |b, v| set(&mut b.config.proxy.upstream.keepalive_timeout, seconds(v.trim(), 0)),
        "Idle time before a connection to an endpoint is closed",
    ),
    Key::on(
        "upstream-keepalive-time",
        "a time: 90s, 1h30m",
        "1h",
        |b, v| set(&mut b.config.proxy.upstream.keepalive_time, time(v)),
        "Age at which a connection to an endpoint is no longer used",
    ),
    Key::on(
        "upstream-keepalive-requests",
        "a whole number from 1",
        "10000",
        |b, v| set(&mut b.config.proxy.upstream.keepalive_requests, integer_in(v.trim(), 1, i64::from(u32::MAX))),
        "Requests after which a connection to an endpoint is no longer used",
    ),
];
