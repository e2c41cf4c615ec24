//! TLS towards clients: which versions and ciphers a server name is opened with.

use serde::{Serialize, Serializer};

/// Versions and ciphers. The default is everything that is known, which are the ones that are safe.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsSettings {
    /// The oldest version.
    pub min_version: TlsVersion,
    /// The newest version; not older than the oldest.
    pub max_version: TlsVersion,
    /// In order of preference. A version none of whose ciphers is named has all of its own, so that no list can make
    /// handshakes impossible.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ciphers: Vec<Cipher>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TlsVersion {
    /// 1.2, RFC 5246.
    #[serde(rename = "TLSv1.2")]
    Tls12,
    /// 1.3, RFC 8446.
    #[serde(rename = "TLSv1.3")]
    Tls13,
}

/// A cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cipher {
    /// TLS 1.3, AES with 128 bits.
    Aes128Gcm,
    /// TLS 1.3, AES with 256 bits.
    Aes256Gcm,
    /// TLS 1.3, ChaCha20.
    Chacha20,
    /// TLS 1.2, an elliptic certificate, AES with 128 bits.
    EcdsaAes128Gcm,
    /// TLS 1.2, an elliptic certificate, AES with 256 bits.
    EcdsaAes256Gcm,
    /// TLS 1.2, an elliptic certificate, ChaCha20.
    EcdsaChacha20,
    /// TLS 1.2, an RSA certificate, AES with 128 bits.
    RsaAes128Gcm,
    /// TLS 1.2, an RSA certificate, AES with 256 bits.
    RsaAes256Gcm,
    /// TLS 1.2, an RSA certificate, ChaCha20.
    RsaChacha20,
}

impl TlsVersion {
    /// All, with the names that OpenSSL, nginx and logs have for them.
    pub const ALL: &[(&str, Self)] = &[("TLSv1.2", Self::Tls12), ("TLSv1.3", Self::Tls13)];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

impl Cipher {
    /// All, with OpenSSL's names, as `ssl_ciphers` and logs have them.
    pub const ALL: &[(&str, Self)] = &[
        ("TLS_AES_128_GCM_SHA256", Self::Aes128Gcm),
        ("TLS_AES_256_GCM_SHA384", Self::Aes256Gcm),
        ("TLS_CHACHA20_POLY1305_SHA256", Self::Chacha20),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", Self::EcdsaAes128Gcm),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", Self::EcdsaAes256Gcm),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", Self::EcdsaChacha20),
        ("ECDHE-RSA-AES128-GCM-SHA256", Self::RsaAes128Gcm),
        ("ECDHE-RSA-AES256-GCM-SHA384", Self::RsaAes256Gcm),
        ("ECDHE-RSA-CHACHA20-POLY1305", Self::RsaChacha20),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, cipher)| *cipher == self).map_or("", |(name, _)| name)
    }

    /// The version that it belongs to.
    pub fn version(self) -> TlsVersion {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm | Self::Chacha20 => TlsVersion::Tls13,
            _ => TlsVersion::Tls12,
        }
    }
}

impl Serialize for Cipher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl TlsSettings {
    /// Whether a version may be used.
    pub fn has(&self, version: TlsVersion) -> bool {
        (self.min_version..=self.max_version).contains(&version)
    }

    /// The ciphers of a version, in order of preference; empty: all that there are.
    pub fn ciphers_of(&self, version: TlsVersion) -> impl Iterator<Item = Cipher> {
        self.ciphers.iter().copied().filter(move |cipher| cipher.version() == version)
    }

    /// Whether a connection could have come about with these: by the names of its version and cipher.
    pub fn admit(&self, version: &str, cipher: &str) -> bool {
        let Some((_, version)) = TlsVersion::ALL.iter().find(|(name, _)| *name == version) else { return false };
        let mut named = self.ciphers_of(*version).peekable();
        self.has(*version) && (named.peek().is_none() || named.any(|known| known.as_str() == cipher))
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { min_version: TlsVersion::Tls12, max_version: TlsVersion::Tls13, ciphers: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cipher_has_one_name() {
        for (name, cipher) in Cipher::ALL {
            assert_eq!(cipher.as_str(), *name);
            assert_eq!(name.starts_with("TLS_"), cipher.version() == TlsVersion::Tls13);
        }
    }

    #[test]
    fn a_version_without_a_named_cipher_has_all_of_its_own() {
        let settings = TlsSettings { ciphers: vec![Cipher::RsaAes256Gcm], ..TlsSettings::default() };
        for (version, cipher, admitted) in [
            ("TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384", true),
            ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", false),
            ("TLSv1.3", "TLS_AES_128_GCM_SHA256", true),
            ("", "", false),
        ] {
            assert_eq!(settings.admit(version, cipher), admitted, "{version} {cipher}");
        }
        let newest = TlsSettings { min_version: TlsVersion::Tls13, ..settings };
        assert!(!newest.admit("TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384"));
    }
}
