//! Authentication: `no-auth-locations`, which does without, and what asks for it and is not enforced so far, so that it
//! answers 503, save where nobody would have been asked.

use crate::annotation::set;
use crate::config_map::Key;
use crate::value::words;

/// The annotations without support that `no-auth-locations` takes the effect from. Client certificates belong to the connection, and
/// are asked for everywhere.
pub(crate) const ANNOTATIONS: &[&str] = &["auth-url", "satisfy"];

/// The key of the ConfigMap that `no-auth-locations` takes the effect from.
pub(crate) const GLOBAL_KEY: &str = "global-auth-url";

pub(crate) const KEYS: &[Key] = &[Key::on(
    "no-auth-locations",
    "paths, separated by commas",
    "/.well-known/acme-challenge",
    |b, v| set(&mut b.config.no_auth_locations, words(v)),
    "Rules whose path text begins with one of these ask for no authentication",
)];
