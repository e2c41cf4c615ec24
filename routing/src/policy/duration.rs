//! Durations as people write them: `5s`, `1500ms`.

use std::time::Duration;

use serde::Serializer;

/// Serializes whole seconds as `5s`, anything finer in milliseconds.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    if duration.subsec_nanos() == 0 {
        serializer.collect_str(&format_args!("{}s", duration.as_secs()))
    } else {
        serializer.collect_str(&format_args!("{}ms", duration.as_millis()))
    }
}

/// As [`serialize`], for an optional duration.
pub fn serialize_option<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize(duration, serializer),
        None => serializer.serialize_none(),
    }
}
