//! Canary: whether a request goes to the canary instead of the rule's own backends (`canary-by-*`, `canary-weight`).

use genkan_routing::policy::canary::{Canary, CanaryHeader, CanaryHeaderRule};

use crate::exchange::context::RequestContext;
use crate::{cookie, random};

/// Whether the canary takes the request: header, then cookie, then weight by one random number. The caller keeps to
/// the primary when the canary has no endpoints.
pub(crate) fn takes(ctx: &RequestContext<'_>, canary: &Canary, random: u64) -> bool {
    by_header(ctx, canary.header.as_ref())
        .or_else(|| by_cookie(ctx, canary.cookie.as_deref()))
        .unwrap_or_else(|| random::below(u64::from(canary.total.max(1)), random) < u64::from(canary.weight))
}

/// `None` when the header decides nothing.
fn by_header(ctx: &RequestContext<'_>, header: Option<&CanaryHeader>) -> Option<bool> {
    let header = header?;
    let value = ctx.head.headers.get(&header.name)?.as_bytes();
    match &header.rule {
        CanaryHeaderRule::AlwaysNever => always_or_never(value),
        CanaryHeaderRule::Value(wanted) => (value == wanted.as_bytes()).then_some(true),
        CanaryHeaderRule::Pattern(pattern) => pattern.regex().is_match(&String::from_utf8_lossy(value)).then_some(true),
        CanaryHeaderRule::Broken => Some(false),
    }
}

/// `None` when the cookie decides nothing.
fn by_cookie(ctx: &RequestContext<'_>, name: Option<&str>) -> Option<bool> {
    always_or_never(cookie::value(&ctx.head.headers, name?)?)
}

fn always_or_never(value: &[u8]) -> Option<bool> {
    match value {
        b"always" => Some(true),
        b"never" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use genkan_routing::model::{Backend, Target};
    use genkan_routing::policy::pattern::Pattern;

    use super::*;
    use crate::filters::testing::Request;

    fn canary(rule: Option<CanaryHeaderRule>, weight: u32) -> Canary {
        Canary {
            backend: Backend { weight: 1, target: Target::Invalid { reason: String::new() }, filters: vec![] },
            header: rule.map(|rule| CanaryHeader { name: "x-canary".parse().unwrap(), rule }),
            cookie: Some("canary".to_owned()),
            weight,
            total: 100,
        }
    }

    fn taken(request: &Request, canary: &Canary) -> bool {
        request.with(|ctx| takes(ctx, canary, u64::MAX / 2))
    }

    #[test]
    fn the_header_is_judged_before_the_cookie_and_the_weight() {
        let always = Some(CanaryHeaderRule::AlwaysNever);
        let request = |value: &str| Request::get("/").header("x-canary", value);
        assert!(taken(&request("always").header("cookie", "canary=never"), &canary(always.clone(), 0)));
        assert!(!taken(&request("never").header("cookie", "canary=always"), &canary(always.clone(), 100)));
        assert!(taken(&request("other").header("cookie", "canary=always"), &canary(always.clone(), 0)));
        assert!(!taken(&request("Always"), &canary(always, 0)));
    }

    #[test]
    fn a_value_or_pattern_that_misses_falls_through() {
        let request = Request::get("/").header("x-canary", "tester-7");
        let value = |text: &str| Some(CanaryHeaderRule::Value(text.to_owned()));
        let pattern = |text: &str| Some(CanaryHeaderRule::Pattern(Pattern::search(text).unwrap()));
        assert!(taken(&request, &canary(value("tester-7"), 0)));
        assert!(!taken(&request, &canary(value("Tester-7"), 0)));
        assert!(taken(&request, &canary(value("Tester-7"), 100)));
        assert!(taken(&request, &canary(pattern("er-[0-9]"), 0)));
        assert!(!taken(&request, &canary(pattern("^er"), 0)));
    }

    #[test]
    fn a_broken_pattern_keeps_to_the_primary() {
        let broken = canary(Some(CanaryHeaderRule::Broken), 100);
        assert!(!taken(&Request::get("/").header("x-canary", "x"), &broken));
        assert!(taken(&Request::get("/"), &broken), "without the header the weight decides");
    }

    #[test]
    fn the_cookie_is_judged_before_the_weight() {
        assert!(!taken(&Request::get("/").header("cookie", "a=b; canary=never"), &canary(None, 100)));
        assert!(taken(&Request::get("/").header("cookie", "canary=maybe"), &canary(None, 100)));
    }

    #[test]
    fn the_weight_is_a_share_of_the_total() {
        let request = Request::get("/");
        for weight in [0, 1, 30, 99, 100, 200] {
            let canary = canary(None, weight);
            let points = (0..100_u64).map(|step| step * (u64::MAX / 100) + u64::MAX / 200);
            let hits = points.filter(|random| request.with(|ctx| takes(ctx, &canary, *random))).count();
            assert_eq!(hits, weight.min(100) as usize, "{weight}");
        }
    }
}
