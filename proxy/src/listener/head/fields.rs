//! Header fields: their form, and those that say where the request ends.

use super::super::body::BodyLength;
use super::{HeadError, Minor, is_token};

/// What the header fields so far say.
#[derive(Debug, Default)]
pub(super) struct Fields {
    count: usize,
    host: bool,
    /// The host that the target names, which `Host` has to repeat.
    target_host: Option<Box<[u8]>>,
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    /// Takes a header line, not empty and without control bytes. There may be `limit` of them.
    pub(super) fn add(&mut self, line: &[u8], limit: usize) -> Result<(), HeadError> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(HeadError::Folded);
        }
        let colon = line.iter().position(|&byte| byte == b':').ok_or(HeadError::BadFieldName)?;
        let (name, rest) = line.split_at(colon);
        if !is_token(name) {
            return Err(HeadError::BadFieldName);
        }
        self.count += 1;
        if self.count > limit {
            return Err(HeadError::TooManyFields);
        }
        self.interpret(name, trim(rest.get(1..).unwrap_or_default()))
    }

    /// Notes the host that the target names, if it does.
    pub(super) fn expect_host(&mut self, authority: Option<&[u8]>) {
        self.target_host = authority.map(Box::from);
    }

    /// What follows the head, once all fields are known (RFC 9112 section 6.3).
    pub(super) fn finish(&self, minor: Minor) -> Result<BodyLength, HeadError> {
        if !self.host && (minor == Minor::One || self.target_host.is_some()) {
            return Err(HeadError::MissingHost);
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(HeadError::BadTransferEncoding),
            (true, None) if minor == Minor::Zero => Err(HeadError::BadTransferEncoding),
            (true, None) => Ok(BodyLength::Chunked),
            (false, Some(length)) => Ok(BodyLength::Known(length)),
            (false, None) => Ok(BodyLength::Known(0)),
        }
    }

    fn interpret(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        // Only a few lengths are of interest, so most fields cost one comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                once(&mut self.host, HeadError::RepeatedHost)?;
                if self.target_host.as_deref().is_some_and(|target| target != value) {
                    return Err(HeadError::OtherHost);
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = decimal(value).ok_or(HeadError::BadContentLength)?;
                if self.length.replace(length).is_some() {
                    return Err(HeadError::BadContentLength);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                once(&mut self.chunked, HeadError::BadTransferEncoding)?;
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadError::UnknownTransferEncoding);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Sets a mark that must not be set yet.
fn once(mark: &mut bool, error: HeadError) -> Result<(), HeadError> {
    if std::mem::replace(mark, true) { Err(error) } else { Ok(()) }
}

/// Without the spaces and tabs around it (RFC 9110 section 5.6.3).
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Digits only: `+3`, `3, 3` and nothing at all are no lengths.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, &byte| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}
