//! Parents: what routes refer to with their parentRefs, in one form for every kind of route.

use std::fmt;
use std::sync::{Arc, LazyLock};

use gateway_api::apis::experimental::grpcroutes::GrpcRouteParentRefs;
use gateway_api::apis::experimental::httproutes::HttpRouteParentRefs;

use super::grant::GATEWAY_GROUP;
use super::status::ParentReference;
use crate::resources::{self, NamespacedName};

/// What has listeners.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParentKey {
    /// A Gateway.
    Gateway(NamespacedName),
    /// A ListenerSet.
    ListenerSet(NamespacedName),
}

impl ParentKey {
    /// Its kind.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Gateway(_) => "Gateway",
            Self::ListenerSet(_) => "ListenerSet",
        }
    }

    /// Its namespace and name.
    pub(crate) fn name(&self) -> &NamespacedName {
        match self {
            Self::Gateway(name) | Self::ListenerSet(name) => name,
        }
    }
}

impl fmt::Display for ParentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

impl ParentReference {
    /// The namespace that it leads to.
    pub(crate) fn namespace_or<'r>(&'r self, own: &'r Arc<str>) -> &'r Arc<str> {
        self.namespace.as_ref().filter(|namespace| !namespace.is_empty()).unwrap_or(own)
    }
}

/// What nearly every reference says.
static GROUP: LazyLock<Arc<str>> = LazyLock::new(|| GATEWAY_GROUP.into());
static KIND: LazyLock<Arc<str>> = LazyLock::new(|| "Gateway".into());

/// A text; `usual` itself where it is that.
fn same(usual: &Arc<str>, text: &str) -> Arc<str> {
    if **usual == *text { usual.clone() } else { text.into() }
}

/// Group and kind are filled in, as the API server does; files may lack them.
macro_rules! parent_reference {
    ($($type:ty),+) => {
        $(impl From<&$type> for ParentReference {
            fn from(reference: &$type) -> Self {
                Self {
                    group: reference.group.as_deref().map_or_else(|| GROUP.clone(), |group| same(&GROUP, group)),
                    kind: reference.kind.as_deref().map_or_else(|| KIND.clone(), |kind| same(&KIND, kind)),
                    namespace: reference.namespace.as_deref().map(Into::into),
                    name: reference.name.as_str().into(),
                    section_name: reference.section_name.as_deref().map(Into::into),
                    port: reference.port,
                }
            }
        })+
    };
}

parent_reference!(HttpRouteParentRefs, GrpcRouteParentRefs, resources::ParentReference);
