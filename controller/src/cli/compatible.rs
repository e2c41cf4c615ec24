//! The spellings of flags that ingress-nginx takes, so that the arguments of an existing Deployment start Genkan.
//! ingress-nginx reads them with Go's pflag: <https://pkg.go.dev/github.com/spf13/pflag>.

use std::ffi::OsString;
use std::time::Duration;

/// Flags that may be given with nothing, which is as if they were not given: texts that are empty by default.
const MAY_BE_EMPTY: [&str; 16] = [
    "--apiserver-host",
    "--certificate-authority",
    "--configmap",
    "--default-backend-service",
    "--default-ssl-certificate",
    "--healthz-host",
    "--kubeconfig",
    "--publish-service",
    "--publish-status-address",
    "--tcp-services-configmap",
    "--udp-services-configmap",
    "--validating-webhook",
    "--validating-webhook-certificate",
    "--validating-webhook-key",
    "--watch-namespace",
    "--watch-namespace-selector",
];

/// The arguments as clap reads them: without flags that say nothing, and with `-v` by its long name.
pub(super) fn spelled_out(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut spelled = Vec::with_capacity(arguments.len());
    let mut rest = arguments.into_iter().peekable();
    while let Some(argument) = rest.next() {
        let text = argument.to_str().unwrap_or_default();
        if text.strip_suffix('=').is_some_and(|flag| MAY_BE_EMPTY.contains(&flag)) {
            continue;
        }
        if MAY_BE_EMPTY.contains(&text) && rest.next_if(|next| next.is_empty()).is_some() {
            continue;
        }
        match text.strip_prefix("-v") {
            // `-v=2`, `-v2` and `-v 2`
            Some(level) if level.is_empty() || level.trim_start_matches('=').parse::<u8>().is_ok() => {
                let separator = if level.is_empty() { "" } else { "=" };
                spelled.push(format!("--v{separator}{}", level.trim_start_matches('=')).into());
            }
            _ => spelled.push(argument),
        }
    }
    spelled
}

/// A truth value: `true`, `false`, and what else [strconv.ParseBool](https://pkg.go.dev/strconv#ParseBool) takes.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// A time of a second or more as [time.ParseDuration](https://pkg.go.dev/time#ParseDuration) reads it: `30s`, `1m30s`,
/// `1.5h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("{text:?} is no duration: write it like 30s, 1m30s or 1500ms");
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refuse)?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        let number: f64 = number.parse().map_err(|_| refuse())?;
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refuse()),
        };
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| refuse())?;
        total = total.checked_add(part).ok_or_else(refuse)?;
        rest = after;
    }
    if total < Duration::from_secs(1) { Err(format!("{text:?} is shorter than a second")) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_go() {
        for (text, seconds) in [
            ("30s", 30.0),
            ("1m30s", 90.0),
            ("1500ms", 1.5),
            ("1h", 3600.0),
            ("1.5s", 1.5),
            ("0.5m", 30.0),
            ("1.s", 1.0),
        ] {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for text in
            ["", "30", "s", ".s", "1..5s", "30x", "-1s", "0s", "1e3s", "99999999999999999999s", "99999999999999999h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn truth_values_are_written_as_in_go() {
        for text in ["1", "t", "T", "true", "True", "TRUE"] {
            assert_eq!(boolean(text), Ok(true));
        }
        for text in ["0", "f", "F", "false", "False", "FALSE"] {
            assert_eq!(boolean(text), Ok(false));
        }
        for text in ["", "yes", "tRUE", "2"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn flags_that_say_nothing_are_left_out() {
        let spelled = |arguments: &[&str]| spelled_out(arguments.iter().map(Into::into).collect());
        assert_eq!(spelled(&["--configmap=", "--http-port=80"]), ["--http-port=80"]);
        assert_eq!(spelled(&["--watch-namespace", "", "--kubeconfig", "x"]), ["--kubeconfig", "x"]);
        assert_eq!(spelled(&["--http-port=", "--ingress-class="]), ["--http-port=", "--ingress-class="]);
        assert_eq!(
            spelled(&["-v=3", "-v2", "-v", "5", "-version", "--v=1"]),
            ["--v=3", "--v=2", "--v", "5", "-version", "--v=1"]
        );
    }
}
