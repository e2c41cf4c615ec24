//! Grammars of values: text -> typed value. Everything here refuses control characters, so that no value can carry a
//! line break into a header or a log.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use genkan_routing::name::HostnameError;
use genkan_routing::policy::pattern::PatternError;
use http::HeaderName;
use ipnet::IpNet;

/// Why a value was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not one of Go's booleans.
    #[error("is neither true nor false")]
    Boolean,
    /// Not an integer of 64 bits.
    #[error("is not a whole number")]
    Integer,
    /// An integer outside its range.
    #[error("is not between {0} and {1}")]
    Range(i64, i64),
    /// Not digits with an optional unit, or more than 64 bits.
    #[error("is not a size")]
    Size,
    /// Not nginx's time.
    #[error("is not a time")]
    Time,
    /// A character that the grammar does not know.
    #[error("contains {0:?}, which is not allowed here")]
    Character(char),
    /// An element that is neither an address nor a network.
    #[error("contains {0:?}, which is no IP address or network")]
    Network(String),
    /// Not one of a closed set.
    #[error("contains {0:?}, which is not one of {1}")]
    Choice(String, String),
    /// No header name (RFC 9110, section 5.1).
    #[error("is not a header name")]
    HeaderName,
    /// No hostname.
    #[error("is not a hostname: {0}")]
    Hostname(#[from] HostnameError),
    /// No regular expression.
    #[error("is not a regular expression: {0}")]
    Pattern(#[from] PatternError),
    /// A `$variable` that is not known.
    #[error("contains the unknown variable ${0}")]
    Variable(String),
    /// Anything else, as the end of a sentence that begins with the value.
    #[error("{0}")]
    Other(&'static str),
}

/// A set of characters: letters, digits and these.
#[derive(Clone, Copy, Debug)]
pub struct Charset(&'static str);

impl Charset {
    /// Letters, digits and these.
    pub const fn new(others: &'static str) -> Self {
        Self(others)
    }
}

/// ingress-nginx's basic characters of a path or name.
pub const BASIC: Charset = Charset("/-._~:");
/// Characters of a URL; no `$`, `%`, `#`, `+`, `;` or `@`.
pub const URL: Charset = Charset("/-._~:,?&=");
/// Characters of a path with references to groups.
pub const CAPTURE: Charset = Charset("/-._~:$");
/// Characters of a regular expression.
pub const REGEX: Charset = Charset("/-._~:^$[](){}*+?|&=\\");
/// Characters of a list of header names.
pub const HEADERS: Charset = Charset("-_, ");
/// Characters of a text with nginx variables.
pub const VARIABLES: Charset = Charset("-_${}");

/// Go's `strconv.ParseBool`: `1 t T TRUE true True 0 f F FALSE false False`, without spaces.
pub fn boolean(text: &str) -> Result<bool, ValueError> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(ValueError::Boolean),
    }
}

/// Go's `strconv.Atoi`: decimal digits with an optional sign, without spaces.
pub fn integer(text: &str) -> Result<i64, ValueError> {
    text.parse().map_err(|_| ValueError::Integer)
}

/// An integer in a range.
pub fn integer_in<T: TryFrom<i64>>(text: &str, min: i64, max: i64) -> Result<T, ValueError> {
    let number = integer(text)?;
    let range = ValueError::Range(min, max);
    if (min..=max).contains(&number) { T::try_from(number).map_err(|_| range) } else { Err(range) }
}

/// A number of things: 0 to 2^32 - 1.
pub fn count(text: &str) -> Result<u32, ValueError> {
    integer_in(text, 0, i64::from(u32::MAX))
}

/// Whole seconds, at least `min` and at most 100 years.
pub fn seconds(text: &str, min: i64) -> Result<Duration, ValueError> {
    integer_in(text, min, 100 * 365 * 86_400).map(Duration::from_secs)
}

/// nginx's time: `90`, `90s`, `1h30m`, `500ms`; a number alone is seconds.
pub fn time(text: &str) -> Result<Duration, ValueError> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(ValueError::Time);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u32 = rest[..digits].parse().map_err(|_| ValueError::Time)?;
        let after = &rest[digits..];
        let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit_time = match &after[..unit] {
            "ms" => Duration::from_millis(1),
            "" | "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86_400),
            "w" => Duration::from_secs(7 * 86_400),
            _ => return Err(ValueError::Time),
        };
        total = unit_time.checked_mul(number).and_then(|part| total.checked_add(part)).ok_or(ValueError::Time)?;
        rest = after[unit..].trim_start();
    }
    Ok(total)
}

/// Bytes: digits with an optional `k`, `m` or `g` of either case (1024 each).
pub fn size(text: &str) -> Result<u64, ValueError> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match &text[digits..] {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return Err(ValueError::Size),
    };
    let number: u64 = text[..digits].parse().map_err(|_| ValueError::Size)?;
    number.checked_mul(1 << shift).ok_or(ValueError::Size)
}

/// Text whose lines are trimmed, of letters, digits and the characters of `charset`. A final line break, as block
/// scalars of YAML have it, is trimmed away; one inside is refused.
pub fn text(text: &str, charset: Charset) -> Result<&str, ValueError> {
    let text = text.trim();
    match text.chars().find(|&c| !(c.is_ascii_alphanumeric() || charset.0.contains(c))) {
        Some(bad) => Err(ValueError::Character(bad)),
        None => Ok(text),
    }
}

/// The trimmed elements of a comma-separated list, without empty ones.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|element| !element.is_empty())
}

/// The trimmed words of a list separated by commas or line breaks, without empty ones; other control characters are
/// refused.
pub fn words(text: &str) -> Result<Vec<String>, ValueError> {
    match text.chars().find(|&c| c.is_control() && !matches!(c, '\n' | '\r')) {
        Some(bad) => Err(ValueError::Character(bad)),
        None => Ok(text.lines().flat_map(list).map(str::to_owned).collect()),
    }
}

/// A comma-separated list of IP addresses and networks; host bits are cut. Sorted, without duplicates.
pub fn networks(text: &str) -> Result<Vec<IpNet>, ValueError> {
    let mut networks = list(text).map(network).collect::<Result<Vec<_>, _>>()?;
    if networks.is_empty() {
        return Err(ValueError::Other("lists no IP address or network"));
    }
    networks.sort();
    networks.dedup();
    Ok(networks)
}

/// One IP address or network; host bits are cut.
pub fn network(text: &str) -> Result<IpNet, ValueError> {
    IpNet::from_str(text)
        .map(|network| network.trunc())
        .or_else(|_| IpAddr::from_str(text).map(IpNet::from))
        .map_err(|_| ValueError::Network(text.to_owned()))
}

/// One of a closed set, by exact spelling.
pub fn choice<T: Copy>(text: &str, choices: &[(&'static str, T)]) -> Result<T, ValueError> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        ValueError::Choice(text.to_owned(), names.join(", "))
    })
}

/// A header's name.
pub fn header_name(text: &str) -> Result<HeaderName, ValueError> {
    HeaderName::from_str(text.trim()).map_err(|_| ValueError::HeaderName)
}

/// A value for a message: quoted, escaped, at most 80 characters.
pub fn quoted(text: &str) -> impl Display + use<> {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_those_of_go() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(boolean(text), Ok(true), "{text}");
        }
        for text in ["yes", "on", "tRUE", " true", ""] {
            assert_eq!(boolean(text), Err(ValueError::Boolean), "{text}");
        }
    }

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, bytes) in [("0", 0), ("10", 10), ("8k", 8192), ("1M", 1 << 20), ("2g", 2 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1.5m", "10b", "1mb", "99999999999g"] {
            assert_eq!(size(text), Err(ValueError::Size), "{text}");
        }
    }

    #[test]
    fn times_are_those_of_nginx() {
        for (text, millis) in [("0", 0), ("90", 90_000), ("1h30m", 5_400_000), ("500ms", 500), ("1d 2s", 86_402_000)] {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "1x", "1.5s", "-1s", "99999999999"] {
            assert_eq!(time(text), Err(ValueError::Time), "{text}");
        }
    }

    #[test]
    fn networks_are_cut_sorted_and_unique() {
        let text: Vec<String> =
            networks("10.1.2.3/8, ::1 ,192.0.2.1,10.0.0.0/8,").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(text, ["10.0.0.0/8", "192.0.2.1/32", "::1/128"]);
        assert_eq!(networks("10.0.0.0/33"), Err(ValueError::Network("10.0.0.0/33".to_owned())));
        assert!(networks(" , ").is_err());
    }

    #[test]
    fn text_is_trimmed_and_line_breaks_inside_are_refused() {
        assert_eq!(text(" /a/b\n", BASIC), Ok("/a/b"));
        for value in ["/a\n/b", "/a\rb", "/a\0", "/a b", "/ä", "/a;"] {
            assert!(matches!(text(value, BASIC), Err(ValueError::Character(_))), "{value:?}");
        }
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        assert_eq!(quoted("a\nb").to_string(), r#""a\nb""#);
        assert!(quoted(&"ä".repeat(1000)).to_string().len() < 200);
    }
}
