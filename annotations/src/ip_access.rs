//! IP access: `allowlist-source-range`, `denylist-source-range`, and the ConfigMap's lists.

use genkan_routing::policy::ip_access::IpAccess;
use ipnet::IpNet;

use crate::annotation::{Annotation, Builder, set};
use crate::config_map::Key;
use crate::definition::Risk;
use crate::value::networks;

const LIST: &str = "IP addresses and networks, separated by commas";

pub(crate) const ANNOTATIONS: &[Annotation] = &[
    Annotation::on(
        "allowlist-source-range",
        LIST,
        "ConfigMap whitelist-source-range",
        |b, v| set(&mut b.ip_access.allow, networks(v).map(Some)),
        "Only these clients pass, others get 403; takes the place of the ConfigMap's list",
    )
    .aliases(&["whitelist-source-range"])
    .risk(Risk::Medium)
    .fails_closed(),
    Annotation::on(
        "denylist-source-range",
        LIST,
        "ConfigMap denylist-source-range",
        |b, v| set(&mut b.ip_access.deny, networks(v).map(Some)),
        "These clients get 403, judged before the allow list; takes the place of the ConfigMap's list",
    )
    .risk(Risk::Medium)
    .fails_closed(),
];

pub(crate) const KEYS: &[Key] = &[
    Key::on(
        ALLOW_KEY,
        LIST,
        "none",
        |b, v| set(&mut b.config.allow, networks(v)),
        "Default of the annotation allowlist-source-range",
    )
    .fails_closed(),
    Key::on(DENY_KEY, LIST, "none", |b, v| set(&mut b.config.deny, networks(v)), "Default of the annotation")
        .fails_closed(),
    Key::on(
        "block-cidrs",
        LIST,
        "none",
        |b, v| set(&mut b.config.block_cidrs, networks(v)),
        "These clients get 403 everywhere, whatever annotations say",
    )
    .fails_closed(),
];

const ALLOW_KEY: &str = "whitelist-source-range";
const DENY_KEY: &str = "denylist-source-range";

/// What the annotations say; `None` leaves the ConfigMap's list in its place.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    allow: Option<Vec<IpNet>>,
    deny: Option<Vec<IpNet>>,
}

pub(crate) fn finish(builder: &mut Builder<'_>) {
    let parts = std::mem::take(&mut builder.ip_access);
    for (key, list) in [(ALLOW_KEY, &parts.allow), (DENY_KEY, &parts.deny)] {
        if list.is_some() {
            builder.replaced_keys.push(key);
        }
    }
    let global = builder.context.global;
    let allow = parts.allow.unwrap_or_else(|| global.allow.clone());
    let deny = parts.deny.unwrap_or_else(|| global.deny.clone());
    builder.settings.ip_access = combine(&global.block_cidrs, deny, allow);
}

/// The lists in force: what is blocked everywhere is denied everywhere. `None` when nothing is said.
pub fn combine(blocked: &[IpNet], mut deny: Vec<IpNet>, allow: Vec<IpNet>) -> Option<IpAccess> {
    deny.extend_from_slice(blocked);
    deny.sort();
    deny.dedup();
    let access = IpAccess { deny, allow };
    (access != IpAccess::default()).then_some(access)
}
