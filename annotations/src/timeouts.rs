//! Time-outs towards backends: `proxy-connect-timeout`, `proxy-send-timeout`, `proxy-read-timeout`.

use std::sync::Arc;

use crate::annotation::{Annotation, set};
use crate::config_map::Key;
use crate::value::seconds;

const SECONDS: &str = "whole seconds, without a unit";

pub(crate) const ANNOTATIONS: &[Annotation] = &[
    Annotation::on(
        "proxy-connect-timeout",
        SECONDS,
        "ConfigMap proxy-connect-timeout (5)",
        |b, v| set(&mut Arc::make_mut(&mut b.settings.timeouts).connect, seconds(v, 1)),
        "Time to connect to the backend; over it 504",
    ),
    Annotation::on(
        "proxy-send-timeout",
        SECONDS,
        "ConfigMap proxy-send-timeout (60)",
        |b, v| set(&mut Arc::make_mut(&mut b.settings.timeouts).send, seconds(v, 1)),
        "Time between two writes to the backend; over it 504, once proxy-read-timeout has passed without an early answer",
    ),
    Annotation::on(
        "proxy-read-timeout",
        SECONDS,
        "ConfigMap proxy-read-timeout (60)",
        |b, v| set(&mut Arc::make_mut(&mut b.settings.timeouts).read, seconds(v, 1)),
        "Time between two reads from the backend, idle WebSockets included; before the response's head 504",
    ),
];

pub(crate) const KEYS: &[Key] = &[
    Key::on(
        "proxy-connect-timeout",
        SECONDS,
        "5",
        |b, v| set(&mut Arc::make_mut(&mut b.config.timeouts).connect, seconds(v.trim(), 1)),
        "Default of the annotation",
    ),
    Key::on(
        "proxy-send-timeout",
        SECONDS,
        "60",
        |b, v| set(&mut Arc::make_mut(&mut b.config.timeouts).send, seconds(v.trim(), 1)),
        "Default of the annotation",
    ),
    Key::on(
        "proxy-read-timeout",
        SECONDS,
        "60",
        |b, v| set(&mut Arc::make_mut(&mut b.config.timeouts).read, seconds(v.trim(), 1)),
        "Default of the annotation",
    ),
];
