//! The three ways to write a variable into a line (nginx `log_format escape=`).

use std::fmt::Write;

use genkan_routing::policy::access_log::Escape;

/// Appends `bytes` to a line. What is no UTF-8 becomes U+FFFD, except by default, which escapes it.
pub(super) fn push(escape: Escape, bytes: &[u8], out: &mut String) {
    match escape {
        Escape::Default => push_default(bytes, out),
        Escape::Json => push_json(&String::from_utf8_lossy(bytes), out),
        Escape::None => out.push_str(&String::from_utf8_lossy(bytes)),
    }
}

/// `\xNN` for `"`, `\`, control bytes and everything outside ASCII.
fn push_default(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{byte:02X}");
            }
            _ => out.push(char::from(*byte)),
        }
    }
}

/// The escapes of a JSON string (RFC 8259, section 7).
fn push_json(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(escape: Escape, bytes: &[u8]) -> String {
        let mut out = String::new();
        push(escape, bytes, &mut out);
        out
    }

    #[test]
    fn each_escape_has_its_own_notation() {
        let bytes = "a\"b\\c\n\u{1}é".as_bytes();
        assert_eq!(escaped(Escape::Default, bytes), r"a\x22b\x5Cc\x0A\x01\xC3\xA9");
        assert_eq!(escaped(Escape::Json, bytes), r#"a\"b\\c\n\u0001é"#);
        assert_eq!(escaped(Escape::None, bytes), "a\"b\\c\n\u{1}é");
    }

    proptest! {
        #[test]
        fn nothing_breaks_out_of_a_quoted_default_value(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = escaped(Escape::Default, &bytes);
            prop_assert!(text.bytes().all(|byte| (b' '..0x7f).contains(&byte) && byte != b'"'), "{text}");
            prop_assert!(text.replace("\\x", "").bytes().all(|byte| byte != b'\\'), "{text}");
        }

        #[test]
        fn json_values_can_be_read_back(text in any::<String>()) {
            let json = format!("\"{}\"", escaped(Escape::Json, text.as_bytes()));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
