//! Basic authentication: `auth-type`, `auth-secret`, `auth-secret-type` and `auth-realm`.
//!
//! The Secret is the translator's to find. A realm of `off` is a realm like any other; nginx would let everybody in.

use genkan_routing::report::Severity;

use crate::annotation::{Annotation, Builder, set};
use crate::definition::{MEND_UNSUPPORTED_SECURITY, Risk};
use crate::settings::{BasicAuthSettings, PasswordLayout};
use crate::value::{BASIC, Charset, ValueError, choice, text};

pub(crate) const ANNOTATIONS: &[Annotation] = &[
    Annotation::on(
        "auth-type",
        "basic; digest is not supported and answers 503",
        "none",
        auth_type,
        "Asks for a user and password of auth-secret; backends don't see them",
    )
    .fails_closed(),
    Annotation::on(
        "auth-secret",
        "a Secret of the Ingress's namespace: name or namespace/name",
        "none",
        |b, v| set(&mut b.basic_auth.secret, secret(v).map(Some)),
        "Users and password hashes of auth-type: bcrypt, MD5 (apr1), SHA-256 and SHA-512 of crypt, SHA-1",
    )
    .risk(Risk::Medium)
    .fails_closed(),
    Annotation::on(
        "auth-secret-type",
        "auth-file or auth-map",
        "auth-file",
        |b, v| set(&mut b.basic_auth.layout, choice(v.trim(), LAYOUTS)),
        "How the Secret of auth-secret is laid out: one key auth with lines of htpasswd, or a key for each user",
    )
    .fails_closed(),
    Annotation::on(
        "auth-realm",
        "text",
        "none",
        |b, v| set(&mut b.basic_auth.realm, realm(v)),
        "What browsers show when they ask for the password",
    )
    .risk(Risk::Medium),
];

const LAYOUTS: &[(&str, PasswordLayout)] = &[("auth-file", PasswordLayout::File), ("auth-map", PasswordLayout::Map)];

/// What the annotations say.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    enabled: bool,
    /// The namespace, if it is written, and the name.
    secret: Option<(Option<String>, String)>,
    layout: PasswordLayout,
    realm: String,
}

fn auth_type(builder: &mut Builder<'_>, value: &str) -> Result<(), ValueError> {
    match value.trim() {
        "basic" => builder.basic_auth.enabled = true,
        "digest" => {
            builder.deny_authentication("the annotation auth-type asks for digest, which is not supported");
            let message = "auth-type digest is not supported: every path answers 503, so that nothing is open";
            builder.note(Severity::Error, "UnsupportedAnnotation", message, MEND_UNSUPPORTED_SECURITY);
        }
        other => return Err(ValueError::Choice(other.to_owned(), "basic, digest".to_owned())),
    }
    Ok(())
}

fn secret(value: &str) -> Result<(Option<String>, String), ValueError> {
    let value = text(value, BASIC)?;
    let (namespace, name) = value.split_once('/').map_or((None, value), |(namespace, name)| (Some(namespace), name));
    let is_name =
        |text: &str| !text.contains(['/', ':', '~', '_']) && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !is_name(name) || !namespace.is_none_or(is_name) {
        return Err(ValueError::Other("names no Secret"));
    }
    Ok((namespace.map(str::to_owned), name.to_owned()))
}

fn realm(value: &str) -> Result<String, ValueError> {
    /// What prints, of ASCII: other text has no agreed meaning in a field.
    const PRINTABLE: Charset = Charset::new(" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~");
    text(value, PRINTABLE).map(str::to_owned)
}

pub(crate) fn finish(builder: &mut Builder<'_>) {
    let parts = std::mem::take(&mut builder.basic_auth);
    match (parts.enabled, parts.secret) {
        (true, Some((namespace, secret))) => {
            let Parts { layout, realm, .. } = parts;
            builder.settings.basic_auth = Some(BasicAuthSettings { namespace, secret, layout, realm });
        }
        (true, None) => {
            builder.deny_authentication("auth-type is there and no auth-secret");
            builder.at("auth-type");
            let message = "auth-type without auth-secret lets nobody in: every path answers 503";
            builder.note(Severity::Error, "InvalidAnnotation", message, "name a Secret with auth-secret");
        }
        (false, Some(_)) if builder.settings.deny_authentication.is_none() => {
            builder.at("auth-secret");
            let message = "auth-secret has no effect without auth-type: every path is open";
            builder.note(Severity::Warning, "InvalidAnnotation", message, "add auth-type: basic, or remove it");
        }
        (false, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_name_with_or_without_a_namespace() {
        let own = |namespace: Option<&str>, name: &str| Ok((namespace.map(str::to_owned), name.to_owned()));
        assert_eq!(secret("users"), own(None, "users"));
        assert_eq!(secret("default/users.v1"), own(Some("default"), "users.v1"));
        for text in ["", "/", "a/", "/a", "a/b/c", "a b", "a_b", "../a"] {
            assert!(secret(text).is_err(), "{text}");
        }
    }
}
