//! Passwords compared with hashes of `htpasswd` and crypt.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use genkan_routing::policy::basic_auth::{PasswordHash, Scheme};
use md5::{Digest, Md5};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN, SHA256};
use sha_crypt::{PasswordHashRef, PasswordVerifier, ShaCrypt};

/// The letters of crypt's own base 64.
const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Whether the comparison takes so long that nobody else must wait for it.
pub(crate) fn is_slow(hash: &PasswordHash) -> bool {
    !matches!(hash.scheme(), Ok(Scheme::Sha1 | Scheme::Plain) | Err(_))
}

/// Whether the password is the one that was hashed. No hash that can't be read is anybody's.
pub(crate) fn matches(hash: &PasswordHash, password: &[u8]) -> bool {
    let text = hash.text();
    match hash.scheme() {
        Ok(Scheme::Bcrypt) => bcrypt::verify(password, text).unwrap_or(false),
        Ok(Scheme::Md5) => md5_crypt(text, password).unwrap_or(false),
        Ok(Scheme::ShaCrypt) => {
            PasswordHashRef::new(text).is_ok_and(|hash| ShaCrypt::default().verify_password(password, hash).is_ok())
        }
        Ok(Scheme::Sha1) => sha1(text, password).unwrap_or(false),
        Ok(Scheme::Plain) => text.strip_prefix("{PLAIN}").is_some_and(|own| {
            // Of digests, so that the time does not tell the length.
            let digest = |text: &[u8]| ring::digest::digest(&SHA256, text);
            equal(digest(own.as_bytes()).as_ref(), digest(password).as_ref())
        }),
        Err(_) => false,
    }
}

/// Compares in a time that depends on lengths alone.
fn equal(own: &[u8], other: &[u8]) -> bool {
    own.len() == other.len() && own.iter().zip(other).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

fn sha1(text: &str, password: &[u8]) -> Option<bool> {
    let encoded = text.strip_prefix("{SHA}").or_else(|| text.strip_prefix("{SSHA}"))?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (own, salt) = bytes.split_at_checked(SHA1_OUTPUT_LEN)?;
    if text.starts_with("{SHA}") && !salt.is_empty() {
        return None;
    }
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(password);
    context.update(salt);
    Some(equal(own, context.finish().as_ref()))
}

/// `$apr1$salt$hash` and `$1$salt$hash`, as FreeBSD's crypt makes them.
fn md5_crypt(text: &str, password: &[u8]) -> Option<bool> {
    let magic = ["$apr1$", "$1$"].into_iter().find(|magic| text.starts_with(magic))?;
    let (salt, own) = text.strip_prefix(magic)?.split_once('$')?;
    let salt = salt.as_bytes().get(..8).unwrap_or(salt.as_bytes());
    let digest = md5_rounds(magic.as_bytes(), salt, password);
    Some(equal(own.as_bytes(), &md5_text(&digest)))
}

fn md5_rounds(magic: &[u8], salt: &[u8], password: &[u8]) -> [u8; 16] {
    let of = |parts: &[&[u8]]| -> [u8; 16] {
        let mut hasher = Md5::new();
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finalize().into()
    };
    let inner = of(&[password, salt, password]);
    let mut hasher = Md5::new();
    [password, magic, salt].iter().for_each(|part| hasher.update(part));
    for part in password.chunks(16) {
        hasher.update(&inner[..part.len()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        // A slip of the first program, kept ever since: a zero byte, or the first letter.
        hasher.update(if bits & 1 == 1 { &[0] } else { &password[..1] });
        bits >>= 1;
    }
    let mut digest: [u8; 16] = hasher.finalize().into();
    for round in 0..1000 {
        let mut parts: Vec<&[u8]> = Vec::with_capacity(4);
        parts.push(if round % 2 == 1 { password } else { &digest });
        if round % 3 != 0 {
            parts.push(salt);
        }
        if round % 7 != 0 {
            parts.push(password);
        }
        parts.push(if round % 2 == 1 { &digest } else { password });
        digest = of(&parts);
    }
    digest
}

/// The digest in crypt's order of bytes and letters.
fn md5_text(digest: &[u8; 16]) -> Vec<u8> {
    const ORDER: [(usize, usize, usize); 5] = [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)];
    let mut text = Vec::with_capacity(22);
    let mut push = |mut value: u32, letters: usize| {
        for _ in 0..letters {
            text.push(LETTERS[(value & 63) as usize]);
            value >>= 6;
        }
    };
    for (first, second, third) in ORDER {
        push(u32::from(digest[first]) << 16 | u32::from(digest[second]) << 8 | u32::from(digest[third]), 4);
    }
    push(u32::from(digest[11]), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASHES: [&str; 9] = [
        "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/",
        "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1",
        "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.",
        "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.",
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0",
        "{PLAIN}secret",
        "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
        "$6$rounds=1234$abcdefgh$JYy1Bl2SyLJWf33X/ypLFfV0PTI7kUcSv1KagEAuF6T.jEole3EQfDDZRy9BRYEi9Zd6aYdRKWdcJwCEXNseD1",
    ];

    #[test]
    fn hashes_of_htpasswd_and_crypt_are_compared() {
        // Made of "secret" by `openssl passwd`, glibc's crypt, and as RFC 2307 says.
        for hash in HASHES {
            let hash = PasswordHash::new(hash);
            assert!(matches(&hash, b"secret"), "{}", hash.text());
            for other in [&b"Secret"[..], b"secre", b"secrets", b"", b"\0secret"] {
                assert!(!matches(&hash, other), "{}: {other:?}", hash.text());
            }
        }
    }

    #[test]
    fn broken_hashes_match_nothing() {
        for hash in [
            "",
            "secret",
            "rqXexS6ZhobKA",
            "{SHA}",
            "{SHA}????",
            "$apr1$",
            "$apr1$salt",
            "$2y$05$",
            "$6$",
            "$5$salt$",
            "$6$rounds=1000$salt",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfRhYmM=",
        ] {
            assert!(!matches(&PasswordHash::new(hash), b"secret"), "{hash}");
            assert!(!matches(&PasswordHash::new(hash), b""), "{hash}");
        }
        assert!(matches(&PasswordHash::new("{PLAIN}"), b""), "an empty password that somebody wrote down");
    }
}
