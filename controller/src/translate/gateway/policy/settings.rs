//! Settings: what a policy says, field by field, understood. The values are judged by the same functions as those of
//! annotations.
//!
//! A field whose value is broken counts as if it were not written, so that the next policy's holds; one that keeps
//! somebody out closes its routes instead.

use std::sync::Arc;
use std::time::Duration;

use genkan_annotations::value::{self, ValueError};
use genkan_annotations::{Rates, body_limit, ip_access, media_types};
use genkan_policies::{
    AffinityKind, AffinitySettings, BodySizeSettings, CompressionSettings, ConnectionLimitSettings, HashBy,
    HashSettings, IpAccessSettings, LoadBalancingAlgorithm, LoadBalancingSettings, RateLimitSettings, RetryOn,
    RetrySettings, RouteSettings, TimeoutSettings,
};
use genkan_routing::name::ObjectRef;
use genkan_routing::policy::basic_auth::BasicAuth;
use genkan_routing::policy::body_limit::BodyLimit;
use genkan_routing::policy::buffering::Buffering;
use genkan_routing::policy::compression::Compression;
use genkan_routing::policy::health::{CircuitBreaker, Health};
use genkan_routing::policy::ip_access::IpAccess;
use genkan_routing::policy::load_balance::{HashKey, LoadBalance};
use genkan_routing::policy::retry::Retry;
use ipnet::IpNet;

use super::authentication::{self, Service, Site};
use super::buffering::read_buffering;
use super::faults::{self, Part};
use super::fields::{Fields, PolicyField};
use super::health;
use super::index::Outcome;
use crate::resources::{Kind, NamespacedName};
use crate::translate::gateway::affinity::{self, SessionOwner, SessionSpec};
use crate::translate::gateway::findings::Findings;
use crate::translate::gateway::reason::INVALID;
use crate::translate::gateway::timing;
use crate::translate::reader::Reader;

/// A field of which policies say something. Each is taken from one policy as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Field {
    RateLimit,
    ConnectionLimit,
    BodySize,
    Buffering,
    Timeouts,
    Compression,
    IpAccess,
    BasicAuth,
    ExternalAuth,
    Affinity,
    LoadBalancing,
    HealthCheck,
    CircuitBreaking,
    Retries,
}

/// What a policy says of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Who the limits are shared with is said where they act.
    RateLimit {
        rates: Rates,
        status: u16,
    },
    /// As for rates; 0 is without limit.
    ConnectionLimit {
        max: u32,
        status: u16,
        exempt: Vec<IpNet>,
    },
    /// `None` is without limit.
    BodySize(Option<BodyLimit>),
    /// `None` holds nothing.
    Buffering(Option<Buffering>),
    Timeouts(Limits),
    /// `None` is off.
    Compression(Option<Arc<Compression>>),
    /// `None` lets everybody in.
    IpAccess(Option<Arc<IpAccess>>),
    /// `None` asks nobody.
    BasicAuth(Option<Arc<BasicAuth>>),
    /// `None` asks nobody.
    ExternalAuth(Option<Arc<Service>>),
    /// `None` keeps nobody. The sessions belong to what it acts on, so that it is completed there.
    Affinity(Option<Arc<AffinitySettings>>),
    LoadBalancing(LoadBalance),
    /// `None` passes over nobody.
    HealthCheck(Option<Arc<Health>>),
    /// `None` is without limit.
    CircuitBreaking(Option<CircuitBreaker>),
    Retries(Arc<Retry>),
    /// It can't be understood, and without it somebody would get in who should not.
    Closed(String),
}

/// Time-outs; `None` says nothing, and inside that zero is without limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) connect: Option<Duration>,
    pub(crate) send: Option<Duration>,
    pub(crate) read: Option<Duration>,
    pub(crate) request: Option<Option<Duration>>,
    pub(crate) backend_request: Option<Option<Duration>>,
}

/// What `defaults` or `overrides` of a policy say.
pub(crate) type Settings = Fields<Field>;

/// The part of a field that is broken, and why.
pub(super) type Broken = (&'static str, String);

/// What is wrong with a field.
pub(super) struct Fault {
    /// The part of the field.
    pub(super) part: &'static str,
    /// What is wrong.
    pub(super) why: String,
    /// The condition's reason.
    pub(super) reason: &'static str,
    /// What helps.
    pub(super) mend: String,
}

impl PolicyField for Field {
    type Value = Value;

    const KIND: Kind = Kind::RoutePolicy;

    fn as_str(self) -> &'static str {
        match self {
            Self::RateLimit => "rateLimit",
            Self::ConnectionLimit => "connectionLimit",
            Self::BodySize => "bodySize",
            Self::Buffering => "buffering",
            Self::Timeouts => "timeouts",
            Self::Compression => "compression",
            Self::IpAccess => "ipAccess",
            Self::BasicAuth => "basicAuth",
            Self::ExternalAuth => "externalAuth",
            Self::Affinity => "affinity",
            Self::LoadBalancing => "loadBalancing",
            Self::HealthCheck => "healthCheck",
            Self::CircuitBreaking => "circuitBreaking",
            Self::Retries => "retries",
        }
    }

    fn read(name: &NamespacedName, reader: &Reader<'_>) -> Option<Outcome<Self>> {
        super::read(name, reader)
    }
}

impl Field {
    /// Whether it keeps somebody or something out: a broken one closes the rules.
    fn closes(self) -> bool {
        matches!(
            self,
            Self::RateLimit
                | Self::ConnectionLimit
                | Self::BodySize
                | Self::IpAccess
                | Self::BasicAuth
                | Self::ExternalAuth
        )
    }

    /// Whether it says something about endpoints, so that a Service may have it.
    pub(crate) fn is_of_services(self) -> bool {
        matches!(self, Self::Affinity | Self::LoadBalancing | Self::HealthCheck | Self::CircuitBreaking)
    }
}

impl Fault {
    /// A value that can't be understood.
    pub(super) fn of(part: &'static str, why: impl Into<String>) -> Self {
        Self { part, why: why.into(), reason: INVALID, mend: String::new() }
    }
}

impl From<Broken> for Fault {
    fn from((part, why): Broken) -> Self {
        Self::of(part, why)
    }
}

impl Settings {
    /// Reads `defaults` or `overrides`, which `part` is, of the policy of that name.
    pub(crate) fn read(
        part: Part<'_>,
        written: &RouteSettings,
        (policy, reader): (&NamespacedName, &Reader<'_>),
        findings: &mut Findings,
    ) -> Self {
        let RouteSettings {
            rate_limit,
            connection_limit,
            body_size,
            buffering,
            timeouts,
            compression,
            ip_access,
            basic_auth,
            external_auth,
            affinity,
            load_balancing,
            health_check,
            circuit_breaking,
            retries,
        } = written;
        if let Some(why) = part.whole() {
            findings.error(format!("spec.{}", part.name), INVALID, format!("{why}; its routes answer 503"), "");
        }
        let mut settings = Self::default();
        let site = Site { policy, part: part.name, reader };
        let basic_auth = basic_auth.as_ref().map(|it| authentication::read_basic(it, site, findings));
        let external_auth = external_auth.as_ref().map(|it| authentication::read_external(it, site, findings));
        settings.put(part, Field::BasicAuth, basic_auth, findings);
        settings.put(part, Field::ExternalAuth, external_auth, findings);
        let mut put = |field, value: Option<Result<Value, Broken>>| {
            settings.put(part, field, value.map(|value| value.map_err(Fault::from)), findings);
        };
        put(Field::RateLimit, rate_limit.as_ref().map(read_rates));
        put(Field::ConnectionLimit, connection_limit.as_ref().map(read_connection_limit));
        put(Field::BodySize, body_size.as_ref().map(read_body_size));
        put(Field::Buffering, buffering.as_ref().map(read_buffering));
        put(Field::Timeouts, timeouts.as_ref().map(read_timeouts));
        put(Field::Compression, compression.as_ref().map(read_compression));
        put(Field::IpAccess, ip_access.as_ref().map(read_ip_access));
        put(Field::Affinity, affinity.as_ref().map(read_affinity));
        put(Field::LoadBalancing, load_balancing.as_ref().map(read_load_balancing));
        put(Field::HealthCheck, health_check.as_ref().map(health::read_health_check));
        put(Field::CircuitBreaking, circuit_breaking.as_ref().map(health::read_circuit_breaking));
        put(Field::Retries, retries.as_ref().map(read_retries));
        settings
    }

    fn put(&mut self, part: Part<'_>, field: Field, value: Option<Result<Value, Fault>>, findings: &mut Findings) {
        let value = match part.fault(field.as_str()) {
            Some(faults::Fault::Whole(why)) => {
                if field.closes() {
                    self.set(field, Value::Closed(format!("{}: {why}", part.name)));
                }
                return;
            }
            Some(faults::Fault::Broken(why)) => Some(Err(Fault::of("", why))),
            // What it was to keep out is not known.
            Some(faults::Fault::Partly(why)) if field.closes() => Some(Err(Fault::of("", why))),
            Some(faults::Fault::Partly(_)) | None => value,
        };
        match value {
            None => {}
            Some(Ok(value)) => self.set(field, value),
            Some(Err(Fault { part: sub, why, reason, mend })) => {
                let dot = if sub.is_empty() { "" } else { "." };
                let place = format!("{}{dot}{sub}", field.as_str());
                let follows = if field.closes() { "its routes answer 503" } else { "the field is left out" };
                findings.error(format!("spec.{}.{place}", part.name), reason, format!("{why}; {follows}"), mend);
                if field.closes() {
                    self.set(field, Value::Closed(format!("{place}: {why}")));
                }
            }
        }
    }
}

/// Puts the name of a part to what is wrong with it.
pub(super) fn at<T>(
    part: &'static str,
    value: Result<T, ValueError>,
    written: impl std::fmt::Display,
) -> Result<T, Broken> {
    value.map_err(|error| (part, format!("{written} {error}")))
}

pub(super) fn count(part: &'static str, written: Option<i32>) -> Result<u32, Broken> {
    let number = written.unwrap_or_default();
    at(part, value::count(&number.to_string()), number)
}

fn status(written: Option<i32>, default: u16) -> Result<u16, Broken> {
    written.map_or(Ok(default), |status| at("status", value::integer_in(&status.to_string(), 400, 599), status))
}

fn networks(part: &'static str, written: &[String]) -> Result<Vec<IpNet>, Broken> {
    let network = |text: &String| at(part, value::network(text), value::quoted(text));
    let mut networks = written.iter().map(network).collect::<Result<Vec<_>, _>>()?;
    networks.sort();
    networks.dedup();
    Ok(networks)
}

fn duration(part: &'static str, written: Option<&String>) -> Result<Option<Option<Duration>>, Broken> {
    written.map(|text| timing::parse_duration(text).map_err(|error| (part, error))).transpose()
}

/// A time that there always is one of.
pub(super) fn lasting(part: &'static str, written: Option<&String>) -> Result<Option<Duration>, Broken> {
    match duration(part, written)? {
        None => Ok(None),
        Some(Some(duration)) => Ok(Some(duration)),
        Some(None) => Err((part, "it must be more than zero".to_owned())),
    }
}

fn read_rates(written: &RateLimitSettings) -> Result<Value, Broken> {
    let rates = Rates {
        per_second: count("requestsPerSecond", written.requests_per_second)?,
        per_minute: count("requestsPerMinute", written.requests_per_minute)?,
        burst_multiplier: written.burst_multiplier.map(|it| count("burstMultiplier", Some(it))).transpose()?,
        exempt: networks("exempt", &written.exempt)?,
    };
    Ok(Value::RateLimit { rates, status: status(written.status, 429)? })
}

fn read_connection_limit(written: &ConnectionLimitSettings) -> Result<Value, Broken> {
    let max = count("max", Some(written.max))?;
    let exempt = networks("exempt", &written.exempt)?;
    Ok(Value::ConnectionLimit { max, status: status(written.status, 503)?, exempt })
}

fn read_body_size(written: &BodySizeSettings) -> Result<Value, Broken> {
    at("max", body_limit(&written.max), value::quoted(&written.max)).map(Value::BodySize)
}

fn read_timeouts(written: &TimeoutSettings) -> Result<Value, Broken> {
    Ok(Value::Timeouts(Limits {
        connect: lasting("connect", written.connect.as_ref())?,
        send: lasting("send", written.send.as_ref())?,
        read: lasting("read", written.read.as_ref())?,
        request: duration("request", written.request.as_ref())?,
        backend_request: duration("backendRequest", written.backend_request.as_ref())?,
    }))
}

fn read_compression(written: &CompressionSettings) -> Result<Value, Broken> {
    let mut compression = Compression::default();
    if let Some(level) = written.level {
        compression.level = at("level", value::integer_in(&level.to_string(), 1, 9), level)?;
    }
    if let Some(length) = written.min_length {
        compression.min_length = at("minLength", value::integer_in(&length.to_string(), 0, i64::MAX), length)?;
    }
    if let Some(types) = &written.types {
        let types = types.join(",");
        compression.types = at("types", media_types(&types), value::quoted(&types))?;
    }
    let enabled = written.enabled != Some(false);
    Ok(Value::Compression(enabled.then(|| Arc::new(compression))))
}

fn read_ip_access(written: &IpAccessSettings) -> Result<Value, Broken> {
    let (allow, deny) = (networks("allow", &written.allow)?, networks("deny", &written.deny)?);
    Ok(Value::IpAccess(ip_access(&[], deny, allow).map(Arc::new)))
}

/// Read as `sessionPersistence` is; whom the sessions belong to is of no matter for whether it is sound.
fn read_affinity(written: &AffinitySettings) -> Result<Value, Broken> {
    let Some(spec) = SessionSpec::of_policy(written) else { return Ok(Value::Affinity(None)) };
    if written.permanent == Some(true) && (written.kind != AffinityKind::Cookie || written.lifetime.is_none()) {
        return Err(("permanent", "only a cookie with a lifetime can be permanent".to_owned()));
    }
    let mut findings = Findings::new(ObjectRef::new("RoutePolicy", "", ""));
    affinity::affinity(spec, SessionOwner { id: "", uid: None, path_of_match: true }, "", &mut findings);
    match findings.into_problems().into_iter().next() {
        None => Ok(Value::Affinity(Some(Arc::new(written.clone())))),
        Some(problem) => Err(("", problem.message.to_string())),
    }
}

fn read_load_balancing(written: &LoadBalancingSettings) -> Result<Value, Broken> {
    let balance = match (written.algorithm, &written.hash) {
        (LoadBalancingAlgorithm::ConsistentHash, Some(hash)) => LoadBalance::ConsistentHash(read_hash(hash)?),
        (LoadBalancingAlgorithm::ConsistentHash, None) => {
            return Err(("hash", "ConsistentHash needs to know what of".to_owned()));
        }
        (_, Some(_)) => return Err(("hash", "it belongs to ConsistentHash alone".to_owned())),
        (LoadBalancingAlgorithm::RoundRobin, None) => LoadBalance::RoundRobin,
        (LoadBalancingAlgorithm::LeastConnections, None) => LoadBalance::LeastConnections,
        (LoadBalancingAlgorithm::PeakEwma, None) => LoadBalance::PeakEwma,
    };
    Ok(Value::LoadBalancing(balance))
}

fn read_hash(written: &HashSettings) -> Result<HashKey, Broken> {
    // Both kinds of names are tokens (RFC 9110, section 5.6.2).
    let named = || match &written.name {
        Some(name) => at("hash.name", value::header_name(name), value::quoted(name)),
        None => Err(("hash.name", "a header or cookie needs a name".to_owned())),
    };
    Ok(match written.by {
        HashBy::Header => HashKey::Header(named()?),
        HashBy::Cookie => named().map(|_| HashKey::Cookie(written.name.clone().unwrap_or_default()))?,
        _ if written.name.is_some() => return Err(("hash.name", "only a header or cookie has a name".to_owned())),
        HashBy::ClientAddress => HashKey::ClientAddress,
        HashBy::RequestUri => HashKey::RequestUri,
        HashBy::Host => HashKey::Host,
    })
}

fn read_retries(written: &RetrySettings) -> Result<Value, Broken> {
    let mut retry = Retry::default();
    if let Some(attempts) = written.attempts {
        retry.tries = count("attempts", Some(attempts))?.saturating_add(1);
    }
    if let Some(on) = &written.on {
        retry.on_error = on.contains(&RetryOn::Error);
        retry.on_timeout = on.contains(&RetryOn::Timeout);
        retry.on_invalid_header = on.contains(&RetryOn::InvalidHeader);
    }
    let code = |code: &i32| at("codes", value::integer_in(&code.to_string(), 400, 599), code);
    retry.on_status = written.codes.iter().map(code).collect::<Result<Vec<_>, _>>()?;
    retry.on_status.sort_unstable();
    retry.on_status.dedup();
    retry.backoff = duration("backoff", written.backoff.as_ref())?.flatten();
    retry.timeout = duration("within", written.within.as_ref())?.flatten();
    retry.non_idempotent = written.non_idempotent.unwrap_or_default();
    Ok(Value::Retries(Arc::new(retry)))
}
