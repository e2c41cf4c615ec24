//! Statuses of Gateway API, and of the policies attached to it: what translation says about an object, with what only
//! the API server and the proxy know, written by the leader and only where it differs.
//!
//! ```text
//!  translation: what is to be said --+
//!  proxy: which ports are bound    --+--> finish --> ledger: what differs, most urgent first
//!  API server: what is there       --+                 |
//!              ^                                       v
//!              +-- server-side apply, a few at once -- writer
//! ```
//!
//! Lists that several controllers write into (`parents`, `ancestors`) are one value to the API server: they are written
//! as a whole, with what others said, and only onto the version that this was read from.

mod finish;
mod ledger;
mod pace;
mod queue;
mod version;
mod write;
mod writer;

pub use self::finish::{Bound, shown};
pub use self::ledger::SeenObject;
pub use self::writer::{GatewayStatusWriter, News};
