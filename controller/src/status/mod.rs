//! Status: what the leader writes to the API server. The addresses of Ingresses, the statuses of Gateway API, the Services
//! of Gateways, and Events about what is wrong.

mod address;
mod clear;
mod events;
mod failing;
mod gateway;
mod hosts;
mod infrastructure;
mod ledger;
mod writer;
mod writes;

pub use self::address::{OwnPod, Publish, has_siblings};
pub use self::events::{Events, Told};
pub use self::gateway::{Bound, GatewayStatusWriter, News, SeenObject, shown};
pub use self::hosts::follow_hosts;
pub use self::infrastructure::{InfrastructureWriter, Leading, Unwritten, View};
pub use self::writer::{END_TIME, IngressState, StatusWriter};
