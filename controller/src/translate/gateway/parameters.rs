//! Parameters: what `parametersRef` of a GatewayClass and of a Gateway says about addresses.
//!
//! Whoever makes classes says where addresses come from. A Gateway's own parameters choose within that, never beyond it:
//! its author may be a tenant, and addresses are the host's.

use std::str::FromStr;
use std::sync::Arc;

use gateway_api::apis::experimental::gatewayclasses::GatewayClass;
use gateway_api::apis::experimental::gateways::Gateway;
use genkan_policies::{AddressMode, AddressPool, Addresses, GROUP, IpRange, ServiceKind, ServiceTemplate};

use super::addresses::Pool;
use crate::resources::{Kind, NamespacedName};
use crate::translate::reader::Reader;

/// What the parameters of a class or a Gateway say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// Where the addresses come from.
    pub(crate) addresses: AddressSource,
}

/// Where the addresses of a Gateway come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum AddressSource {
    /// They are the controller's own.
    #[default]
    Shared,
    /// Each Gateway has its own, of this host.
    Pool(Arc<Pool>),
    /// Each Gateway has a Service like this, and its addresses.
    Service(Arc<ServiceTemplate>),
}

/// Why parameters can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidParameters {
    /// What is wrong.
    pub(crate) message: String,
    /// What to do.
    pub(crate) mend: String,
}

impl InvalidParameters {
    fn new(message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { message: message.into(), mend: mend.into() }
    }
}

/// Where addresses come from when nothing says it: from Services, where there can be such.
fn by_default(reader: &Reader<'_>) -> Parameters {
    let addresses = match reader.settings().target_ports {
        Some(_) => AddressSource::Service(Arc::default()),
        None => AddressSource::Shared,
    };
    Parameters { addresses }
}

/// The parameters of a class; also of one without `parametersRef`.
pub(crate) fn of_class(class: &GatewayClass, reader: &Reader<'_>) -> Result<Parameters, InvalidParameters> {
    let Some(reference) = &class.spec.parameters_ref else { return Ok(by_default(reader)) };
    check_kind(&reference.group, &reference.kind)?;
    let Some(namespace) = reference.namespace.as_deref().filter(|namespace| !namespace.is_empty()) else {
        return Err(InvalidParameters::new(
            "parametersRef of the GatewayClass names no namespace",
            "GatewayParameters live in namespaces: add parametersRef.namespace",
        ));
    };
    let name = NamespacedName::new(namespace, reference.name.as_str());
    let Some(addresses) = find(&name, reader)? else { return Ok(by_default(reader)) };
    let settings = reader.settings();
    let addresses = match (addresses.mode, &addresses.pool) {
        // Tenants write records. Without statuses the older Gateway's would win after each restart, true or not.
        (AddressMode::Pool, _) if settings.record_addresses && !settings.update_status => {
            let message = format!("GatewayParameters {name}: mode Pool needs statuses that tell who has which address");
            return Err(InvalidParameters::new(message, "start the controller without --update-status=false"));
        }
        (AddressMode::Shared, None) => AddressSource::Shared,
        (AddressMode::Pool, Some(pool)) => AddressSource::Pool(Arc::new(read_pool(&name, pool)?)),
        (AddressMode::Pool, None) => {
            let mend = "add spec.addresses.pool.dynamic, addresses of this host";
            return Err(InvalidParameters::new(format!("GatewayParameters {name}: mode Pool needs a pool"), mend));
        }
        (AddressMode::Service, None) => service(&name, addresses, reader)?,
        (AddressMode::Shared | AddressMode::Service, Some(_)) => return Err(pool_without_mode(&name)),
    };
    Ok(Parameters { addresses })
}

/// The parameters of a Gateway whose class has these.
pub(crate) fn of_gateway(
    gateway: &Gateway,
    namespace: &Arc<str>,
    class: &Parameters,
    reader: &Reader<'_>,
) -> Result<Parameters, InvalidParameters> {
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let Some(reference) = infrastructure.and_then(|infrastructure| infrastructure.parameters_ref.as_ref()) else {
        return Ok(class.clone());
    };
    check_kind(&reference.group, &reference.kind)?;
    let name = NamespacedName::new(namespace.clone(), reference.name.as_str());
    let Some(own) = find(&name, reader)? else { return Ok(class.clone()) };
    let addresses = match (own.mode, &own.pool, &class.addresses) {
        (AddressMode::Shared | AddressMode::Service, Some(_), _) => return Err(pool_without_mode(&name)),
        (AddressMode::Service, None, AddressSource::Service(class)) => match service(&name, own, reader)? {
            AddressSource::Service(own) => AddressSource::Service(Arc::new(narrowed(&name, &own, class)?)),
            other => other,
        },
        // Without a cluster the one is as the other.
        (AddressMode::Service, None, AddressSource::Shared) if !reader.settings().record_addresses => {
            AddressSource::Shared
        }
        (AddressMode::Shared, None, AddressSource::Shared) => AddressSource::Shared,
        (AddressMode::Pool, None, AddressSource::Pool(pool)) => AddressSource::Pool(pool.clone()),
        (AddressMode::Pool, Some(own), AddressSource::Pool(pool)) => {
            let own = read_pool(&name, own)?;
            check_within(&name, &own, pool)?;
            AddressSource::Pool(Arc::new(own))
        }
        _ => {
            let message = format!("GatewayParameters {name}: the mode is not the one of the GatewayClass");
            return Err(InvalidParameters::new(message, "leave spec.addresses out, or use another GatewayClass"));
        }
    };
    Ok(Parameters { addresses })
}

fn check_kind(group: &str, kind: &str) -> Result<(), InvalidParameters> {
    if (group, kind) == (GROUP, Kind::GatewayParameters.as_str()) {
        return Ok(());
    }
    let message = format!("parameters of kind {kind} are not supported");
    Err(InvalidParameters::new(message, format!("name a GatewayParameters of group {GROUP}, or remove parametersRef")))
}

/// Whether objects of a namespace are read at all.
pub(crate) fn in_scope(namespace: &str, reader: &Reader<'_>) -> bool {
    reader.settings().watch_namespace.as_deref().is_none_or(|watched| watched == namespace)
}

/// What an object says about addresses, if anything.
fn find<'a>(name: &NamespacedName, reader: &Reader<'a>) -> Result<Option<&'a Addresses>, InvalidParameters> {
    if !in_scope(&name.namespace, reader) {
        let message =
            format!("GatewayParameters {name} is outside of the namespace that is watched (--watch-namespace)");
        return Err(InvalidParameters::new(message, "move it there, or watch all namespaces"));
    }
    match reader.gateway_parameters(name) {
        Some(parameters) => Ok(parameters.spec.addresses.as_ref()),
        None if reader.can_read(Kind::GatewayParameters) => {
            let message = format!("GatewayParameters {name} does not exist");
            Err(InvalidParameters::new(message, "create it, or remove parametersRef"))
        }
        None => {
            let message = format!("GatewayParameters {name} may not be read");
            Err(InvalidParameters::new(message, "allow the controller to get, list and watch gatewayparameters"))
        }
    }
}

/// Services as parameters want them.
fn service(
    name: &NamespacedName,
    addresses: &Addresses,
    reader: &Reader<'_>,
) -> Result<AddressSource, InvalidParameters> {
    let settings = reader.settings();
    if !settings.record_addresses {
        // Manifests of a cluster are to be served as they are, and without one there are no Services to make.
        return Ok(AddressSource::Shared);
    }
    if settings.target_ports.is_none() {
        let message =
            format!("GatewayParameters {name}: mode Service needs to know which Service leads to the controller");
        let mend = "start the controller with --gateway-service (the chart: rbac.gatewayServices), or use another mode";
        return Err(InvalidParameters::new(message, mend));
    }
    Ok(AddressSource::Service(Arc::new(addresses.service.clone().unwrap_or_default())))
}

/// The Service that a Gateway's own parameters choose within what its class gives: what lies behind a load balancer may
/// cost something, and who may be reached from where is not a tenant's to say.
fn narrowed(
    name: &NamespacedName,
    own: &ServiceTemplate,
    class: &ServiceTemplate,
) -> Result<ServiceTemplate, InvalidParameters> {
    // What is left out is the class's.
    let kind = own.kind.unwrap_or_else(|| class.kind());
    if kind > class.kind() {
        let (own, class) = (kind.as_str(), class.kind().as_str());
        let message = format!("GatewayParameters {name}: type {own} reaches further than {class}, the GatewayClass's");
        return Err(InvalidParameters::new(message, format!("use type {class}, or another GatewayClass")));
    }
    if own.load_balancer_class.as_ref().is_some_and(|own| Some(own) != class.load_balancer_class.as_ref()) {
        let message = format!("GatewayParameters {name}: loadBalancerClass is not the one of the GatewayClass");
        return Err(InvalidParameters::new(message, "leave it out, or use another GatewayClass"));
    }
    if own.external_traffic_policy.is_some() && kind == ServiceKind::ClusterIp {
        let message = format!("GatewayParameters {name}: externalTrafficPolicy is not for type ClusterIP");
        return Err(InvalidParameters::new(message, "leave it out, or use another GatewayClass"));
    }
    Ok(ServiceTemplate {
        kind: Some(kind),
        load_balancer_class: class.load_balancer_class.clone(),
        external_traffic_policy: own.external_traffic_policy.or(class.external_traffic_policy),
    })
}

fn pool_without_mode(name: &NamespacedName) -> InvalidParameters {
    let message = format!("GatewayParameters {name}: a pool is only for mode Pool");
    InvalidParameters::new(message, "set spec.addresses.mode: Pool, or remove the pool")
}

fn read_pool(name: &NamespacedName, pool: &AddressPool) -> Result<Pool, InvalidParameters> {
    let read = |field: &str, texts: &[String]| {
        let parse = |(index, text): (usize, &String)| {
            IpRange::from_str(text).map_err(|error| {
                let message = format!("GatewayParameters {name}: spec.addresses.pool.{field}[{index}]: {error}");
                InvalidParameters::new(message, "write 192.0.2.10-192.0.2.20, 192.0.2.0/28 or 192.0.2.10")
            })
        };
        texts.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()
    };
    let pool = Pool { dynamic: read("dynamic", &pool.dynamic)?, reserved: read("reserved", &pool.reserved)? };
    if pool.dynamic.is_empty() && pool.reserved.is_empty() {
        let message = format!("GatewayParameters {name}: the pool has no addresses");
        return Err(InvalidParameters::new(message, "add some to spec.addresses.pool.dynamic"));
    }
    Ok(pool)
}

/// A Gateway may name its class's reserved addresses, so its own parameters may, too.
fn check_within(name: &NamespacedName, own: &Pool, class: &Pool) -> Result<(), InvalidParameters> {
    let allowed = |range: &&IpRange| class.dynamic.iter().chain(&class.reserved).any(|outer| outer.covers(range));
    match own.dynamic.iter().chain(&own.reserved).find(|range| !allowed(range)) {
        None => Ok(()),
        Some(range) => {
            let message = format!("GatewayParameters {name}: {range} is not in a range of the GatewayClass");
            Err(InvalidParameters::new(message, "name addresses of the pool of the GatewayClass only"))
        }
    }
}
