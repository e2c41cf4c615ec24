//! Compression: `use-gzip`, `gzip-level`, `gzip-types`, `gzip-min-length`.

use genkan_routing::policy::compression::{Compression, MediaTypes};

use crate::annotation::set;
use crate::config_map::{GlobalBuilder, Key};
use crate::value::{ValueError, boolean, integer_in};

pub(crate) const KEYS: &[Key] = &[
    Key::on(
        "use-gzip",
        "true or false",
        "false",
        |b, v| set(&mut b.compression.enabled, boolean(v.trim())),
        "Compresses responses with gzip",
    ),
    Key::on(
        "gzip-level",
        "1 to 9",
        "1",
        |b, v| set(&mut b.compression.settings.level, integer_in(v.trim(), 1, 9)),
        "How hard gzip tries",
    ),
    Key::on(
        "gzip-min-length",
        "bytes",
        "256",
        |b, v| set(&mut b.compression.settings.min_length, integer_in(v.trim(), 0, i64::MAX)),
        "Responses with a smaller Content-Length are left alone",
    ),
    Key::on(
        "gzip-types",
        "media types, separated by spaces, or *",
        "text, scripts, JSON, XML, SVG and fonts",
        |b, v| set(&mut b.compression.settings.types, media_types(v)),
        "Which media types are compressed, besides text/html",
    ),
];

/// The settings, and whether they are used.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    enabled: bool,
    settings: Compression,
}

/// Media types, separated by spaces or commas; `*` is all of them.
pub fn media_types(text: &str) -> Result<MediaTypes, ValueError> {
    let separators = |c: char| c.is_ascii_whitespace() || c == ',';
    let words = text.split(separators).filter(|word| !word.is_empty());
    let mut types: Vec<String> = words.map(str::to_ascii_lowercase).collect();
    if types.iter().any(|name| name == "*") {
        return Ok(MediaTypes::All);
    }
    let part_is_sound =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c));
    let is_sound =
        |name: &String| name.split_once('/').is_some_and(|(main, sub)| part_is_sound(main) && part_is_sound(sub));
    if !types.iter().all(is_sound) {
        return Err(ValueError::Other("contains a word that is not a media type like text/css"));
    }
    types.sort();
    types.dedup();
    Ok(MediaTypes::List(types))
}

pub(crate) fn finish(builder: &mut GlobalBuilder) {
    let parts = std::mem::take(&mut builder.compression);
    builder.config.compression = parts.enabled.then_some(parts.settings);
}
