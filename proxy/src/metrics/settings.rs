//! How requests are counted: which metrics, under which labels, in which buckets. Fixed at start.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::text;

/// How requests are counted. The defaults are ingress-nginx's.
#[derive(Clone, Debug)]
pub struct MetricSettings {
    /// What the label `host` tells.
    pub hosts: HostLabel,
    /// Whether the label `status` is a class, as `2xx`, instead of the code (`--report-status-classes`, false).
    pub status_classes: bool,
    /// Buckets of times, in seconds (`--time-buckets`).
    pub time_buckets: Buckets,
    /// Buckets of the sizes of requests and responses, in bytes (`--length-buckets`).
    pub length_buckets: Buckets,
    /// Buckets of the deprecated `bytes_sent`, in bytes (`--size-buckets`).
    pub size_buckets: Buckets,
    /// What is neither counted nor shown (`--exclude-socket-metrics`, none).
    pub excluded: BTreeSet<RequestMetric>,
}

/// What the label `host` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostLabel {
    /// Nothing: there is none, and every request counts (`--metrics-per-host=false`).
    None,
    /// The host as its object writes it, `*.example.com` included. Requests that are served by rules for every host
    /// do not count.
    Defined,
    /// The host that the request names, also where no object does (`--metrics-per-undefined-host`). Clients make series
    /// so; past a bound they share those of the host as the object writes it, `_` for every host.
    Requested,
}

/// A metric of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestMetric {
    /// `requests`
    Requests,
    /// `request_duration_seconds`
    RequestDuration,
    /// `response_duration_seconds`
    ResponseDuration,
    /// `header_duration_seconds`
    HeaderDuration,
    /// `connect_duration_seconds`
    ConnectDuration,
    /// `request_size`
    RequestSize,
    /// `response_size`
    ResponseSize,
    /// `bytes_sent`
    BytesSent,
}

/// Upper bounds of a histogram's buckets, inclusive and ascending. The bucket for what is over all of them is implied.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets(Arc<[f64]>);

/// Why a list is none of buckets.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BucketsError {
    /// An item is no number.
    #[error("{0:?} is no number")]
    NotANumber(String),
    /// An item is no bound.
    #[error("{} is no bound: only the last may be +Inf", text::number(*.0))]
    NotFinite(f64),
    /// An item is not above the one before.
    #[error("{} after {}: every bound must be above the one before", text::number(*.after), text::number(*.before))]
    NotAscending {
        /// The bound before.
        before: f64,
        /// The one that is not above it.
        after: f64,
    },
}

/// A name is none of a metric of requests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no metric of requests; these are: {known}", known = RequestMetric::names())]
pub struct UnknownMetric(String);

/// What the names of ingress-nginx's metrics begin with.
pub(super) const PREFIX: &str = "nginx_ingress_controller_";

impl Default for MetricSettings {
    fn default() -> Self {
        Self {
            hosts: HostLabel::Defined,
            status_classes: false,
            time_buckets: Buckets::times(),
            length_buckets: Buckets::lengths(),
            size_buckets: Buckets::sizes(),
            excluded: BTreeSet::new(),
        }
    }
}

impl RequestMetric {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Requests,
        Self::RequestDuration,
        Self::ResponseDuration,
        Self::HeaderDuration,
        Self::ConnectDuration,
        Self::RequestSize,
        Self::ResponseSize,
        Self::BytesSent,
    ];

    /// The names of all, to be read by people.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Its name without the prefix `nginx_ingress_controller_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::RequestDuration => "request_duration_seconds",
            Self::ResponseDuration => "response_duration_seconds",
            Self::HeaderDuration => "header_duration_seconds",
            Self::ConnectDuration => "connect_duration_seconds",
            Self::RequestSize => "request_size",
            Self::ResponseSize => "response_size",
            Self::BytesSent => "bytes_sent",
        }
    }
}

impl FromStr for RequestMetric {
    type Err = UnknownMetric;

    /// Reads the name, with or without its prefix.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_prefix(PREFIX).unwrap_or(text);
        Self::ALL.into_iter().find(|metric| metric.name() == name).ok_or_else(|| UnknownMetric(text.to_owned()))
    }
}

impl Buckets {
    /// Those of times: the default of Prometheus's clients.
    pub fn times() -> Self {
        Self([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0].into())
    }

    /// Those of the sizes of requests and responses: 10 to 100 in steps of 10.
    pub fn lengths() -> Self {
        Self((1..=10_u8).map(|tens| f64::from(tens) * 10.0).collect())
    }

    /// Those of bytes sent: powers of ten, up to 10 million.
    pub fn sizes() -> Self {
        Self((1..=7).map(|power| 10_f64.powi(power)).collect())
    }

    pub(super) fn bounds(&self) -> &[f64] {
        &self.0
    }
}

impl TryFrom<Vec<f64>> for Buckets {
    type Error = BucketsError;

    fn try_from(mut bounds: Vec<f64>) -> Result<Self, Self::Error> {
        // Allowed by Prometheus's clients, which imply it as well.
        bounds.pop_if(|last| *last == f64::INFINITY);
        if let Some(bound) = bounds.iter().find(|bound| !bound.is_finite()) {
            return Err(BucketsError::NotFinite(*bound));
        }
        match bounds.iter().zip(bounds.iter().skip(1)).find(|(before, after)| before >= after) {
            Some((&before, &after)) => Err(BucketsError::NotAscending { before, after }),
            None => Ok(Self(bounds.into())),
        }
    }
}

impl FromStr for Buckets {
    type Err = BucketsError;

    /// Reads bounds with commas between them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bound = |item: &str| item.trim().parse::<f64>().map_err(|_| BucketsError::NotANumber(item.to_owned()));
        text.split(',').map(bound).collect::<Result<Vec<_>, _>>()?.try_into()
    }
}

impl fmt::Display for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds: Vec<_> = self.0.iter().copied().map(text::number).collect();
        f.write_str(&bounds.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_buckets_are_those_of_ingress_nginx() {
        assert_eq!(Buckets::times().to_string(), "0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,2.5,5,10");
        assert_eq!(Buckets::lengths().to_string(), "10,20,30,40,50,60,70,80,90,100");
        assert_eq!(Buckets::sizes().to_string(), "10,100,1000,10000,100000,1e+06,1e+07");
        for buckets in [Buckets::times(), Buckets::lengths(), Buckets::sizes()] {
            assert_eq!(Buckets::try_from(buckets.bounds().to_vec()), Ok(buckets));
        }
    }

    #[test]
    fn buckets_are_ascending_numbers() {
        let read = |text: &str| text.parse::<Buckets>().map(|buckets| buckets.to_string());
        assert_eq!(read("-1, .5,1e3,+Inf"), Ok("-1,0.5,1000".to_owned()));
        assert_eq!(read("1,1"), Err(BucketsError::NotAscending { before: 1.0, after: 1.0 }));
        assert_eq!(read("1,3,2"), Err(BucketsError::NotAscending { before: 3.0, after: 2.0 }));
        for text in ["", "1,", "1,,2", "a", "1s"] {
            assert!(matches!(read(text), Err(BucketsError::NotANumber(_))), "{text}");
        }
        for text in ["nan", "1,nan", "-inf,1", "inf,1", "1,inf,inf"] {
            assert!(matches!(read(text), Err(BucketsError::NotFinite(_))), "{text}");
        }
    }

    #[test]
    fn metrics_are_named_with_or_without_the_prefix() {
        for metric in RequestMetric::ALL {
            assert_eq!(metric.name().parse(), Ok(metric));
            assert_eq!(format!("{PREFIX}{}", metric.name()).parse(), Ok(metric));
        }
        let refused = "request_size_bucket".parse::<RequestMetric>().unwrap_err().to_string();
        assert!(refused.contains("request_size_bucket") && refused.contains("header_duration_seconds"), "{refused}");
    }
}
