//! Affinity: tokens that name an endpoint, where clients carry them, and what they are told.
//!
//! A token is `tag` or `tag` and `begun`, in hexadecimal digits: a keyed hash (SipHash-2-4) of cluster, endpoint and
//! `begun`, and the second at which the session began where its lifetime is limited. Whoever has the key, which is part
//! of the model, finds the endpoint again by trying those that there are. So replicas agree, an endpoint that is gone is
//! not found, and nobody without the key can make a session younger than it is. (Manifests from files have no secret to
//! make a key of: see [`SessionKey`](genkan_routing::policy::affinity::SessionKey).) Time is an argument.

use std::borrow::Cow;
#[expect(
    deprecated,
    reason = "only as std's default hasher; it is the one hash of std with a key and a fixed algorithm"
)]
use std::hash::{Hasher, SipHasher};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use genkan_routing::model::{Match, PathMatch};
use genkan_routing::name::ClusterId;
use genkan_routing::policy::affinity::{Affinity, Carrier};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cookie;

/// Digits of a tag.
const TAG_DIGITS: usize = 16;

/// A token of a session, which may or may not name an endpoint of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    tag: u64,
    /// Seconds since 1970; 0 where the lifetime has no limit.
    begun: u64,
}

/// The keys of a policy's tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys(u64, u64);

impl Token {
    fn parse(text: &[u8]) -> Option<Self> {
        let (tag, begun) = text.split_at_checked(TAG_DIGITS)?;
        let begun = if begun.is_empty() { 0 } else { number(begun)? };
        Some(Self { tag: number(tag)?, begun })
    }

    /// Whether a session of this policy would still live.
    fn lives(self, policy: &Affinity, now: SystemTime) -> bool {
        match policy.lifetime {
            None => self.begun == 0,
            // One that begins in the future is of a replica whose clock is ahead.
            Some(lifetime) => self.begun != 0 && seconds(now).saturating_sub(self.begun) < whole_seconds(lifetime),
        }
    }

    /// Whether it names this endpoint of this cluster.
    pub(crate) fn names(self, keys: Keys, cluster: &ClusterId, endpoint: SocketAddr) -> bool {
        self.tag == keys.tag(cluster, endpoint, self.begun)
    }

    fn text(self) -> String {
        if self.begun == 0 { format!("{:016x}", self.tag) } else { format!("{:016x}{:x}", self.tag, self.begun) }
    }
}

impl Keys {
    /// The keys of a policy.
    pub(crate) fn of(policy: &Affinity) -> Self {
        let half = |number| {
            let mut hasher = sip(Self(number, !number));
            hasher.write(policy.key.as_bytes());
            hasher.finish()
        };
        Self(half(0), half(1))
    }

    fn tag(self, cluster: &ClusterId, endpoint: SocketAddr, begun: u64) -> u64 {
        let mut hasher = sip(self);
        hasher.write(cluster.as_str().as_bytes());
        // No id of a cluster has this byte.
        hasher.write(&[0xff]);
        match endpoint.ip().to_canonical() {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        hasher.write(&endpoint.port().to_be_bytes());
        hasher.write(&begun.to_be_bytes());
        hasher.finish()
    }
}

#[expect(deprecated, reason = "see the import")]
fn sip(keys: Keys) -> SipHasher {
    SipHasher::new_with_keys(keys.0, keys.1)
}

/// The tokens of sessions that still live, as the client carries them. There may be several: browsers send the cookies
/// of all paths that cover the request's.
pub(crate) fn tokens<'h>(
    policy: &'h Affinity,
    headers: &'h HeaderMap,
    now: SystemTime,
) -> impl Iterator<Item = Token> + 'h {
    let cookies = match &policy.carrier {
        Carrier::Cookie(cookie) => Some(cookie::values(headers, &cookie.name)),
        Carrier::Header(_) => None,
    };
    let fields = match &policy.carrier {
        Carrier::Cookie(_) => None,
        Carrier::Header(name) => Some(headers.get_all(name).iter().map(HeaderValue::as_bytes)),
    };
    let texts = cookies.into_iter().flatten().chain(fields.into_iter().flatten());
    texts.filter_map(Token::parse).filter(move |token| token.lives(policy, now))
}

/// What tells the client that its session is with this endpoint from now on. `path` is the cookie's, `secure` whether
/// the client came over TLS.
pub(crate) fn tell(
    policy: &Affinity,
    cluster: &ClusterId,
    endpoint: SocketAddr,
    (path, secure): (Option<&str>, bool),
    now: SystemTime,
) -> Option<(HeaderName, HeaderValue)> {
    let begun = policy.lifetime.map_or(0, |_| seconds(now));
    let token = Token { tag: Keys::of(policy).tag(cluster, endpoint, begun), begun }.text();
    let cookie = match &policy.carrier {
        Carrier::Header(name) => return Some((name.clone(), HeaderValue::try_from(token).ok()?)),
        Carrier::Cookie(cookie) => cookie,
    };
    let mut text = format!("{}={token}", cookie.name);
    if let Some(path) = path.filter(|_| cookie.path_of_match) {
        text.push_str("; Path=");
        text.push_str(path);
    }
    if let Some(lifetime) = policy.lifetime.filter(|_| cookie.permanent) {
        text.push_str(&format!("; Max-Age={}", whole_seconds(lifetime)));
    }
    text.push_str("; HttpOnly; SameSite=Strict");
    text.push_str(if secure { "; Secure" } else { "" });
    Some((SET_COOKIE, HeaderValue::try_from(text).ok()?))
}

/// The `Path` of the cookies of a match: its own path, or of a regular expression what its first segments say literally
/// (GEP-1619). `/` where the path has a character that the attribute can't.
pub(crate) fn cookie_path(matched: &Match) -> Cow<'_, str> {
    let path = match &matched.path {
        PathMatch::Exact(path) => path.as_str(),
        PathMatch::Prefix(prefix) => prefix.as_str(),
        PathMatch::Regex(pattern) => literal_segments(pattern.source()),
    };
    let sound = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
    Cow::Borrowed(if sound { path } else { "/" })
}

/// The segments that every path which an expression matches begins with.
fn literal_segments(expression: &str) -> &str {
    let expression = expression.strip_prefix('^').unwrap_or(expression);
    if expression.contains('|') {
        return "/";
    }
    let is_literal = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_~%!&',:;=@".contains(&byte);
    let end = expression.bytes().position(|byte| !is_literal(byte)).unwrap_or(expression.len());
    // What repeats a character, or makes it optional, takes it away from the literals.
    let repeats = expression.as_bytes().get(end).is_some_and(|byte| b"?*+{".contains(byte));
    let literal = &expression[..end.saturating_sub(usize::from(repeats))];
    match literal.rfind('/') {
        None | Some(0) => "/",
        Some(last) => &literal[..last],
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    // A sign is no digit.
    let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u64::from_str_radix(digits, 16).ok()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// At least one, for a cookie of less would be none.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use genkan_routing::model::PathPrefix;
    use genkan_routing::name::RuleId;
    use genkan_routing::policy::affinity::AffinityCookie;
    use genkan_routing::policy::pattern::Pattern;

    use super::*;

    fn cookie(lifetime: Option<u64>) -> Affinity {
        let cookie = AffinityCookie { name: "s".into(), permanent: lifetime.is_some(), path_of_match: true };
        let lifetime = lifetime.map(Duration::from_secs);
        Affinity { carrier: Carrier::Cookie(cookie), key: "rule uid".into(), lifetime }
    }

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn endpoint(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// The token that a client is told, and the rest of the cookie.
    fn told(policy: &Affinity, cluster: &str, address: &str, second: u64) -> (String, String) {
        let where_to = (Some("/p"), false);
        let (name, value) = tell(policy, &ClusterId::new(cluster), endpoint(address), where_to, at(second)).unwrap();
        let text = value.to_str().unwrap();
        if name != SET_COOKIE {
            return (text.to_owned(), String::new());
        }
        let (pair, attributes) = text.split_once("; ").unwrap();
        (pair.strip_prefix("s=").unwrap().to_owned(), attributes.to_owned())
    }

    /// Whether a token leads to this endpoint.
    fn leads(policy: &Affinity, token: &str, cluster: &str, address: &str, second: u64) -> bool {
        let mut headers = HeaderMap::new();
        match &policy.carrier {
            Carrier::Cookie(_) => headers.append("cookie", format!("a=b; s=x; s={token}").parse().unwrap()),
            Carrier::Header(name) => headers.append(name, token.parse().unwrap()),
        };
        let (keys, cluster) = (Keys::of(policy), ClusterId::new(cluster));
        tokens(policy, &headers, at(second)).any(|token| token.names(keys, &cluster, endpoint(address)))
    }

    #[test]
    fn a_token_names_its_cluster_and_endpoint_and_no_other() {
        let header = Affinity { carrier: Carrier::Header("x-s".parse().unwrap()), ..cookie(None) };
        for policy in [cookie(None), header] {
            let (token, _) = told(&policy, "a", "10.0.0.1:80", 5);
            assert_eq!(token.len(), 16);
            assert!(leads(&policy, &token, "a", "10.0.0.1:80", 1 << 40));
            assert!(!leads(&policy, &token, "b", "10.0.0.1:80", 5));
            assert!(!leads(&policy, &token, "a", "10.0.0.2:80", 5));
            assert!(!leads(&policy, &token, "a", "10.0.0.1:81", 5));
            let other = Affinity { key: "other".into(), ..policy };
            assert!(!leads(&other, &token, "a", "10.0.0.1:80", 5));
        }
    }

    #[test]
    fn tokens_are_the_same_in_every_build() {
        assert_eq!(told(&cookie(None), "default/web:80", "10.0.0.1:8080", 0).0, "9a49d99e956d5b91");
    }

    #[test]
    fn a_session_ends_with_its_lifetime_however_it_is_carried() {
        let policy = cookie(Some(60));
        let (token, _) = told(&policy, "a", "10.0.0.1:80", 1000);
        assert!(leads(&policy, &token, "a", "10.0.0.1:80", 1059));
        assert!(leads(&policy, &token, "a", "10.0.0.1:80", 990), "a replica's clock is behind");
        assert!(!leads(&policy, &token, "a", "10.0.0.1:80", 1060));
        // Nobody makes himself a younger one.
        let forged = format!("{}{:x}", &token[..16], 2000);
        assert!(!leads(&policy, &forged, "a", "10.0.0.1:80", 2000));
        assert!(!leads(&policy, &token[..16], "a", "10.0.0.1:80", 1000));
    }

    #[test]
    fn what_is_no_token_is_nothing() {
        for text in ["", "1", "+123456789abcdef", "0123456789abcdefg", "0123456789abcdef0123456789abcdef01"] {
            assert_eq!(Token::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn cookies_say_how_long_they_last_and_are_hidden_from_scripts_and_other_sites() {
        let attributes = |policy: &Affinity| told(policy, "a", "10.0.0.1:80", 1000).1;
        assert_eq!(attributes(&cookie(None)), "Path=/p; HttpOnly; SameSite=Strict");
        assert_eq!(attributes(&cookie(Some(60))), "Path=/p; Max-Age=60; HttpOnly; SameSite=Strict");
        let session = AffinityCookie { name: "s".into(), permanent: false, path_of_match: false };
        let policy = Affinity { carrier: Carrier::Cookie(session), ..cookie(Some(60)) };
        assert_eq!(attributes(&policy), "HttpOnly; SameSite=Strict");
        let secure = tell(&policy, &ClusterId::new("a"), endpoint("10.0.0.1:80"), (None, true), at(0)).unwrap().1;
        assert!(secure.to_str().unwrap().ends_with("; SameSite=Strict; Secure"));
    }

    #[test]
    fn the_path_is_that_of_the_match() {
        let path = |path: PathMatch| {
            let matched = Match { path, method: None, headers: vec![], query: vec![], rule: RuleId::new("r") };
            cookie_path(&matched).into_owned()
        };
        assert_eq!(path(PathMatch::Exact("/a/b".to_owned())), "/a/b");
        assert_eq!(path(PathMatch::Prefix(PathPrefix::parse("/").unwrap())), "/");
        assert_eq!(path(PathMatch::Prefix(PathPrefix::parse("/a;b").unwrap())), "/");
        for (expression, expected) in [
            ("/p1/p2/.*/p3", "/p1/p2"),
            ("/p1/p2", "/p1"),
            ("/p1/?p2", "/"),
            ("/p1/p2/?", "/p1"),
            ("/a/b|/c/d", "/"),
            ("(?i)/a/b", "/"),
        ] {
            assert_eq!(path(PathMatch::Regex(Pattern::full(expression).unwrap())), expected, "{expression}");
        }
    }
}
