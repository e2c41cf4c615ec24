//! One resolution of one name: A and AAAA records, and for how long they hold.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::Instant;

use super::{DnsError, Options};

/// What a name is known to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Sorted, without duplicates.
    pub(super) addresses: Vec<IpAddr>,
    /// For how long the answer holds by its records; `None` for a literal address.
    pub(super) ttl: Option<Duration>,
}

/// Why a name has no (new) addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    /// The name servers say that there is nothing.
    #[error("the name does not exist or has no addresses")]
    Nothing,
    /// A name of this host, or one whose every address is local to it.
    #[error("{0} is local to this host and is refused")]
    Local(String),
    /// Not a name.
    #[error("not a valid DNS name")]
    NotAName,
    /// No answer, or an error.
    #[error("{0}")]
    Failed(String),
}

/// Asks name servers.
#[derive(Clone)]
pub(super) struct Client {
    resolver: Arc<TokioResolver>,
    allow_local: bool,
}

impl Client {
    pub(super) fn new(options: &Options) -> Result<Self, DnsError> {
        let mut builder = match &options.name_servers {
            None => TokioResolver::builder_tokio().map_err(|error| DnsError::Configuration(error.to_string()))?,
            Some(servers) => {
                let search: Result<Vec<Name>, _> = options.search.iter().map(Name::from_utf8).collect();
                let search = search.map_err(|error| DnsError::Configuration(error.to_string()))?;
                let servers = servers.iter().map(name_server).collect();
                let config = ResolverConfig::from_parts(None, search, servers);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let settings = builder.options_mut();
        // A name with a dot is first asked for as it is written: an ExternalName is a CNAME's target (a whole name), and
        // the five dots that a pod's resolv.conf demands would multiply the questions.
        settings.ndots = settings.ndots.min(1);
        // We keep the answers ourselves and ask only when they have ended.
        settings.cache_size = 0;
        settings.timeout = options.timeout;
        let resolver = builder.build().map_err(|error| DnsError::Configuration(error.to_string()))?;
        Ok(Self { resolver: Arc::new(resolver), allow_local: options.allow_local })
    }

    /// Addresses of both families. A family that cannot be asked for keeps those of `last`, as long as the other
    /// gives an answer.
    pub(super) async fn resolve(&self, name: &str, last: &[IpAddr]) -> Result<Found, LookupError> {
        if let Ok(address) = name.parse() {
            return self.guard(name, Found { addresses: vec![address], ttl: None });
        }
        if !self.allow_local && is_localhost(name) {
            return Err(LookupError::Local(name.to_owned()));
        }
        let parsed = Name::from_utf8(name).map_err(|_| LookupError::NotAName)?;
        let (v4, v6) = tokio::join!(self.ask(&parsed, RecordType::A), self.ask(&parsed, RecordType::AAAA));
        let (mut failures, mut ttls, mut addresses, mut answered) = (Vec::new(), Vec::new(), Vec::new(), false);
        for (answer, is_v4) in [(v4, true), (v6, false)] {
            match answer {
                Ok(found) => {
                    answered |= !found.addresses.is_empty();
                    addresses.extend(found.addresses);
                    ttls.extend(found.ttl);
                }
                Err(LookupError::Nothing) => {}
                Err(error) => {
                    addresses.extend(last.iter().filter(|address| address.is_ipv4() == is_v4));
                    failures.push(error);
                }
            }
        }
        match failures.pop() {
            Some(error) if !answered => Err(error),
            _ if addresses.is_empty() => Err(LookupError::Nothing),
            _ => {
                addresses.sort_unstable();
                addresses.dedup();
                self.guard(name, Found { addresses, ttl: ttls.into_iter().min() })
            }
        }
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Found, LookupError> {
        let answer = self.resolver.lookup(name.clone(), kind).await.map_err(|error: NetError| {
            if error.is_no_records_found() { LookupError::Nothing } else { LookupError::Failed(error.to_string()) }
        })?;
        let addresses: Vec<_> = answer.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
        if addresses.is_empty() {
            return Err(LookupError::Nothing);
        }
        let ttl = answer.valid_until().saturating_duration_since(Instant::now().into_std());
        Ok(Found { addresses, ttl: Some(ttl) })
    }

    /// Leaves out addresses of this host; an error if nothing else is there.
    fn guard(&self, name: &str, mut found: Found) -> Result<Found, LookupError> {
        if !self.allow_local {
            found.addresses.retain(|address| !is_local(*address));
        }
        if found.addresses.is_empty() { Err(LookupError::Local(name.to_owned())) } else { Ok(found) }
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// RFC 6761, section 6.3.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Addresses that name this host or its link, never a service elsewhere: also the cloud's metadata server.
fn is_local(address: IpAddr) -> bool {
    let v4_is_local = |v4: std::net::Ipv4Addr| {
        v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()
    };
    match address.to_canonical() {
        IpAddr::V4(v4) => v4_is_local(v4),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_host_and_its_link_are_local() {
        for text in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "::1", "::", "fe80::1", "::ffff:127.0.0.1"]
        {
            assert!(is_local(text.parse().unwrap()), "{text}");
        }
        for text in ["10.0.0.1", "192.168.0.1", "8.8.8.8", "fd00::1", "2001:db8::1"] {
            assert!(!is_local(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn names_under_localhost_are_local() {
        assert!(["localhost", "LOCALHOST.", "a.localhost"].into_iter().all(is_localhost));
        assert!(!is_localhost("localhost.example.com"));
    }
}
