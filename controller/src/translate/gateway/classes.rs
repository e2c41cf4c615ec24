//! GatewayClasses: one unit of work per class. All that it gives is the class's status: what a class means for its
//! Gateways is read with each of them.

use std::sync::Arc;

use super::features::supported;
use super::parameters::{self, AddressSource};
use super::reason::{ACCEPTED, INVALID_PARAMETERS, SUPPORTED_VERSION};
use super::status::{ClassStatus, Cond, CondKind, Wanted};
use crate::resources::{Key, Kind, NamespacedName};
use crate::translate::assembly::Contribution;
use crate::translate::reader::Reader;

/// Reads a class; `None` when it does not exist or is another controller's, or its parameters can't be seen from here:
/// then another installation of our name speaks about it.
pub(crate) fn read(name: &NamespacedName, reader: &Reader<'_>) -> Option<Contribution> {
    let class = reader.gateway_class(name)?;
    if class.spec.controller_name != reader.settings().gateway_controller_name {
        return None;
    }
    let parameters = class.spec.parameters_ref.as_ref().and_then(|reference| reference.namespace.as_deref());
    if parameters.is_some_and(|namespace| !parameters::in_scope(namespace, reader)) {
        return None;
    }
    let (accepted, source) = match parameters::of_class(class, reader) {
        Ok(read) => (Cond::holds(CondKind::Accepted, ACCEPTED, "Gateways of this class are served"), read.addresses),
        Err(invalid) => {
            (Cond::fails(CondKind::Accepted, INVALID_PARAMETERS, invalid.message), AddressSource::default())
        }
    };
    // Of objects that are not in a cluster this is always so. What a cluster has installed is seen when it is written.
    let version = Cond::holds(CondKind::SupportedVersion, SUPPORTED_VERSION, "");
    let status = ClassStatus { conditions: vec![accepted, version], supported_features: supported(&source) };
    let key = Key { kind: Kind::GatewayClass, name: name.clone() };
    Some(Contribution { statuses: vec![(key, Arc::new(Wanted::Class(status)))], ..Contribution::default() })
}
