//! Flags of ingress-nginx that can have no effect here. They are accepted, so that an existing Deployment starts, and a
//! warning says for each one that is given why it does nothing.

use clap::Args;

macro_rules! accepted {
    ($($(#[$bool:ident])? $field:ident, $flag:literal, $why:literal;)*) => {
        /// Flags without effect.
        #[derive(Args, Debug, Default)]
        #[command(next_help_heading = "Accepted and without effect")]
        pub(super) struct AcceptedFlags {
            $(
                #[doc = $why]
                #[arg(long = $flag, value_name = "VALUE", hide_short_help = true, num_args = accepted!(@values $($bool)?),
                    require_equals = accepted!(@equals $($bool)?), default_missing_value = "true")]
                $field: Option<String>,
            )*
        }

        impl AcceptedFlags {
            /// A sentence for each flag that is given.
            pub(super) fn warnings(&self) -> Vec<String> {
                let mut warnings: Vec<String> = Vec::new();
                $(
                    // Without the value: one of them is a secret.
                    if self.$field.is_some() {
                        warnings.push(concat!("--", $flag, " has no effect: ", $why).to_owned());
                    }
                )*
                warnings
            }
        }
    };
    (@values) => { 1..=1 };
    (@values $bool:ident) => { 0..=1 };
    (@equals) => { false };
    (@equals $bool:ident) => { true };
}

accepted! {
    default_server_port, "default-server-port", "what no rule matches is answered without a server of its own";
    ssl_passthrough_proxy_port, "ssl-passthrough-proxy-port", "there is no second TLS port inside";
    status_port, "status-port", "there is no nginx to ask";
    stream_port, "stream-port", "there is no nginx to configure";
    health_check_timeout, "health-check-timeout", "probes are answered from memory";
    #[bool] disable_full_test, "disable-full-test", "every change is judged against all objects, at once";
    #[bool] enable_annotation_validation, "enable-annotation-validation", "annotations are always validated";
    #[bool] enable_ssl_chain_completion, "enable-ssl-chain-completion",
        "no certificate is fetched from addresses that another certificate names: put the whole chain into the Secret";
    sync_period, "sync-period", "changes are watched; nothing is synchronised by the clock";
    sync_rate_limit, "sync-rate-limit", "a change costs no reload, so none has to wait";
    dynamic_configuration_retries, "dynamic-configuration-retries", "there is no nginx to configure";
    bucket_factor, "bucket-factor", "native histograms need Prometheus's binary format, and /metrics is text";
    max_buckets, "max-buckets", "native histograms need Prometheus's binary format, and /metrics is text";
    monitor_max_batch_size, "monitor-max-batch-size", "metrics are counted where requests are served";
    internal_logger_address, "internal-logger-address", "the log is written to standard output and error";
    #[bool] profiling, "profiling", "there is no Go runtime to profile";
    profiler_port, "profiler-port", "there is no Go runtime to profile";
    profiler_address, "profiler-address", "there is no Go runtime to profile";
    maxmind_edition_ids, "maxmind-edition-ids", "GeoIP is not supported";
    maxmind_mirror, "maxmind-mirror", "GeoIP is not supported";
    maxmind_license_key, "maxmind-license-key", "GeoIP is not supported";
    maxmind_retries_count, "maxmind-retries-count", "GeoIP is not supported";
    maxmind_retries_timeout, "maxmind-retries-timeout", "GeoIP is not supported";
    #[bool] logtostderr, "logtostderr", "messages are always written to standard error";
    #[bool] alsologtostderr, "alsologtostderr", "messages are always written to standard error";
    stderrthreshold, "stderrthreshold", "use --log-level";
    log_dir, "log_dir", "messages are always written to standard error";
    log_file, "log_file", "messages are always written to standard error";
    log_file_max_size, "log_file_max_size", "messages are always written to standard error";
    log_backtrace_at, "log_backtrace_at", "lines of Go code have no meaning here";
    vmodule, "vmodule", "use --log-level, as in --log-level=info,genkan_controller=debug";
    #[bool] add_dir_header, "add_dir_header", "messages have headers of their own";
    #[bool] skip_headers, "skip_headers", "messages have headers of their own";
    #[bool] skip_log_headers, "skip_log_headers", "messages are always written to standard error";
    #[bool] one_output, "one_output", "messages are always written to standard error";
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        accepted: AcceptedFlags,
    }

    #[test]
    fn each_flag_that_is_given_is_told_once() {
        let line = Line::parse_from(["genkan", "--profiling", "--status-port", "1", "--disable-full-test=false"]);
        let warnings = line.accepted.warnings();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings.iter().any(|warning| warning.starts_with("--disable-full-test has no effect: ")));
        assert!(Line::parse_from(["genkan"]).accepted.warnings().is_empty());
    }

    #[test]
    fn what_may_be_secret_is_not_told() {
        let line = Line::parse_from(["genkan", "--maxmind-license-key=hidden"]);
        let warnings = line.accepted.warnings();
        assert!(warnings.len() == 1 && !warnings[0].contains("hidden"), "{warnings:?}");
    }
}
