//! What is held in memory between clients and backends, as RoutePolicy says it.

#![allow(unreachable_pub, reason = "the derived code repeats the types where nobody sees them")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What is held in memory between clients and backends, never on disk. Calls of gRPC and upgraded connections are not. With
/// neither part nothing is held.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BufferingSettings {
    /// Reads the whole body of a request before a backend is chosen: a client that sends slowly holds no backend, and the
    /// request can be sent to another endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestBufferingSettings>,
    /// Reads responses ahead of clients that take them slowly, so that the backend is free early. Not those of media type
    /// text/event-stream, nor those that say X-Accel-Buffering: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<ResponseBufferingSettings>,
}

/// How bodies of requests are held.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RequestBufferingSettings {
    /// The most bytes, with an optional unit of 1024: 8m, 512k; up to 64m. A larger body is answered with 413, and one for
    /// which there is no memory with 503.
    #[schemars(length(max = 20), regex(pattern = "^[0-9]{1,19}[kKmMgG]?$"))]
    pub max_size: String,
}

/// How bodies of responses are held.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ResponseBufferingSettings {
    /// The most bytes that wait for a client, with an optional unit of 1024: 8m, 512k; up to 64m. The rest of a larger
    /// response is read as the client takes it, as is all of it while there is no memory.
    #[schemars(length(max = 20), regex(pattern = "^[0-9]{1,19}[kKmMgG]?$"))]
    pub max_size: String,
}
