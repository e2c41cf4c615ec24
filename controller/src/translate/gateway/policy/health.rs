//! Health: `healthCheck` and `circuitBreaking` of a policy, understood.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use genkan_policies::{
    ActiveHealthSettings, CircuitBreakingSettings, HealthCheckSettings, HealthCheckType, HttpHealthSettings,
    PassiveHealthSettings,
};
use genkan_routing::policy::health::{ActiveHealth, CircuitBreaker, Health, HttpProbe, PassiveHealth, Probe};

use super::settings::{Broken, Value, at, count, lasting};
use genkan_annotations::value;

/// Reads `healthCheck`. Without any part nothing is passed over.
pub(super) fn read_health_check(written: &HealthCheckSettings) -> Result<Value, Broken> {
    let passive = written.passive.as_ref().map(read_passive).transpose()?;
    let active = written.active.as_ref().map(read_active).transpose()?;
    let says = passive.is_some() || active.is_some();
    Ok(Value::HealthCheck(says.then(|| Arc::new(Health { passive, active }))))
}

/// Reads `circuitBreaking`. Zero is without limit.
pub(super) fn read_circuit_breaking(written: &CircuitBreakingSettings) -> Result<Value, Broken> {
    let requests = NonZeroU32::new(count("maxRequests", written.max_requests)?);
    let requests_per_endpoint = NonZeroU32::new(count("maxRequestsPerEndpoint", written.max_requests_per_endpoint)?);
    let breaker = CircuitBreaker { requests, requests_per_endpoint };
    Ok(Value::CircuitBreaking((breaker != CircuitBreaker::default()).then_some(breaker)))
}

fn read_passive(written: &PassiveHealthSettings) -> Result<PassiveHealth, Broken> {
    let status = |status: &i32| at("passive.statuses", value::integer_in(&status.to_string(), 400, 599), status);
    let mut statuses = match &written.statuses {
        Some(statuses) => statuses.iter().map(status).collect::<Result<Vec<_>, _>>()?,
        None => vec![502, 503, 504],
    };
    statuses.sort_unstable();
    statuses.dedup();
    let percent = written.max_percent.unwrap_or(50);
    Ok(PassiveHealth {
        failures: times("passive.failures", written.failures, 5, 1000)?,
        statuses,
        time: lasting("passive.time", written.time.as_ref())?.unwrap_or(Duration::from_secs(30)),
        max_percent: at("passive.maxPercent", value::integer_in(&percent.to_string(), 1, 100), percent)?,
    })
}

fn read_active(written: &ActiveHealthSettings) -> Result<ActiveHealth, Broken> {
    let http = written.http.clone().unwrap_or_default();
    let probe = match written.kind {
        HealthCheckType::Http if written.grpc.is_none() => Probe::Http(read_http(&http)?),
        HealthCheckType::Grpc if written.http.is_none() => {
            Probe::Grpc { service: written.grpc.clone().unwrap_or_default().service.unwrap_or_default() }
        }
        HealthCheckType::Tcp if written.http.is_none() && written.grpc.is_none() => Probe::Tcp,
        _ => return Err(("active", "http belongs to type HTTP, grpc to type GRPC".to_owned())),
    };
    let interval = lasting("active.interval", written.interval.as_ref())?.unwrap_or(Duration::from_secs(10));
    let timeout = lasting("active.timeout", written.timeout.as_ref())?.unwrap_or(Duration::from_secs(2));
    if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&interval) {
        return Err(("active.interval", "it must be from 1s to 1h".to_owned()));
    }
    if timeout > Duration::from_secs(60) {
        return Err(("active.timeout", "it must be at most 1m".to_owned()));
    }
    Ok(ActiveHealth {
        probe,
        interval,
        timeout,
        unhealthy: times("active.unhealthy", written.unhealthy, 3, 100)?,
        healthy: times("active.healthy", written.healthy, 2, 100)?,
    })
}

fn read_http(written: &HttpHealthSettings) -> Result<HttpProbe, Broken> {
    let path = written.path.as_deref().unwrap_or("/");
    let path = match path.parse() {
        Ok(path) if written.path.as_deref().is_none_or(|written| written.starts_with('/')) => path,
        _ => return Err(("active.http.path", format!("{} is no path", value::quoted(path)))),
    };
    let host = written
        .host
        .as_deref()
        .map(|host| host.parse().map_err(|_| ("active.http.host", format!("{} is no host", value::quoted(host)))));
    let status = |status: &i32| at("active.http.statuses", value::integer_in(&status.to_string(), 200, 599), status);
    let statuses: Vec<RangeInclusive<u16>> = match &written.statuses {
        Some(statuses) => statuses.iter().map(|it| status(it).map(|it: u16| it..=it)).collect::<Result<_, _>>()?,
        None => vec![200..=399],
    };
    Ok(HttpProbe { path, host: host.transpose()?, statuses })
}

fn times(part: &'static str, written: Option<i32>, default: u32, most: i64) -> Result<NonZeroU32, Broken> {
    let times = match written {
        Some(times) => at(part, value::integer_in(&times.to_string(), 1, most), times)?,
        None => default,
    };
    // What is read above is at least one, and so are the defaults.
    Ok(NonZeroU32::new(times).unwrap_or(NonZeroU32::MIN))
}
