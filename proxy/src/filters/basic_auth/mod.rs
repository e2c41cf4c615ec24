//! Basic authentication (RFC 7617): credentials of a request, and the question for them.
//!
//! Comparing takes up to a second, so it is not done here; see [`Passwords`](crate::passwords::Passwords).

pub(crate) mod hash;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use genkan_routing::policy::basic_auth::BasicAuth;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Admitted;
use crate::exchange::context::RequestContext;
use crate::reply::Reply;

/// The longest password that is compared: some hashes cost the square of its length.
const MAX_PASSWORD: usize = 256;

/// A policy, ready to ask.
#[derive(Debug)]
pub(crate) struct CompiledBasicAuth {
    pub(crate) policy: Arc<BasicAuth>,
    challenge: HeaderValue,
}

/// A name and a password that a client wrote. Shows nobody the password.
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: Vec<u8>,
}

impl CompiledBasicAuth {
    pub(crate) fn new(policy: &Arc<BasicAuth>) -> Self {
        let realm: String = policy.realm.chars().filter(|c| !c.is_control()).collect();
        let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
        let challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
        let challenge = challenge.unwrap_or_else(|_| HeaderValue::from_static("Basic realm=\"\""));
        Self { policy: Arc::clone(policy), challenge }
    }

    /// Asks for a password.
    pub(crate) fn refuse(&self, ctx: &RequestContext<'_>) -> Reply {
        let mut reply = Reply::refuse(ctx, StatusCode::UNAUTHORIZED);
        reply.headers.insert(WWW_AUTHENTICATE, self.challenge.clone());
        reply
    }

    /// Notes that the password was right.
    pub(crate) fn admit(&self, admitted: &mut Admitted) {
        if !self.policy.forward_credentials {
            admitted.identity.remove.push(AUTHORIZATION);
        }
    }
}

/// What a request says about its sender; `None` when that is nothing of this kind. Of several fields none counts: who
/// reads the first would see another user than who reads the last.
pub(crate) fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, encoded) = field.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = STANDARD.decode(encoded.trim_matches(' ')).ok()?;
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let (user, password) = bytes.split_at(colon);
    let password = password.get(1..).unwrap_or_default();
    let user = String::from_utf8(user.to_vec()).ok()?;
    (password.len() <= MAX_PASSWORD).then(|| Credentials { user, password: password.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::testing::Request;

    fn read(fields: &[&str]) -> Option<(String, Vec<u8>)> {
        let fields = fields.iter().map(|text| (AUTHORIZATION, HeaderValue::from_str(text).unwrap()));
        let mut headers = HeaderMap::new();
        fields.for_each(|(name, value)| {
            headers.append(name, value);
        });
        credentials(&headers).map(|found| (found.user, found.password))
    }

    #[test]
    fn a_password_may_have_colons_and_a_user_may_not() {
        let text = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(read(&[&text("ada:a:b")]), Some(("ada".to_owned(), b"a:b".to_vec())));
        assert_eq!(read(&["bAsIc YWRhOg=="]), Some(("ada".to_owned(), Vec::new())));
        assert_eq!(read(&[&text("nobody")]), None);
        assert_eq!(read(&[&text(&format!("ada:{}", "x".repeat(MAX_PASSWORD + 1)))]), None);
    }

    #[test]
    fn what_is_doubtful_is_nobody() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["Basic"]), None);
        assert_eq!(read(&["Basic !!"]), None);
        assert_eq!(read(&["Bearer YWRhOg=="]), None);
        assert_eq!(read(&["Basic YWRhOg==", "Basic YWRhOg=="]), None);
    }

    #[test]
    fn the_realm_can_say_anything_and_end_nothing() {
        let policy = |realm: &str| {
            let realm = realm.to_owned();
            CompiledBasicAuth::new(&Arc::new(BasicAuth { realm, users: Arc::default(), forward_credentials: false }))
        };
        let asked = |realm| Request::get("/").with(|ctx| policy(realm).refuse(ctx).headers[WWW_AUTHENTICATE].clone());
        assert_eq!(asked("off"), "Basic realm=\"off\", charset=\"UTF-8\"");
        assert_eq!(asked("a \"b\" \\\r\n"), "Basic realm=\"a \\\"b\\\" \\\\\", charset=\"UTF-8\"");
    }
}
