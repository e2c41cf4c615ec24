//! Access log: the line per request (ConfigMap `log-format-upstream`, `log-format-escape-json`, ...).

use serde::Serialize;

/// ingress-nginx's default line (`log-format-upstream`).
pub const DEFAULT_FORMAT: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
    \"$http_referer\" \"$http_user_agent\" $request_length $request_time [$proxy_upstream_name] \
    [$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length $upstream_response_time \
    $upstream_status $req_id";

/// How variables are written into the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Escape {
    /// nginx's default: `\xNN` for `"`, `\` and control bytes; an empty value is `-`.
    #[default]
    Default,
    /// JSON string escapes; an empty value stays empty (`log-format-escape-json`).
    Json,
    /// No escaping; an empty value stays empty (`log-format-escape-none`).
    None,
}

/// Where and how requests are logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLog {
    /// False turns the log off (`disable-access-log`, `disable-http-access-log`).
    pub enabled: bool,
    /// nginx log format text with `$variables`; each is known, checked when the ConfigMap was read.
    pub format: String,
    /// How variables are escaped.
    pub escape: Escape,
    /// Also log requests that no rule of a user matched (`enable-access-log-for-default-backend`).
    pub default_backend: bool,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { enabled: true, format: DEFAULT_FORMAT.to_owned(), escape: Escape::Default, default_backend: false }
    }
}
