//! What the node tells its clients by itself.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{InstanceList, Job, NodeStatus};

/// One message of `GET /events` (server-sent events; the SSE `event` field repeats `type`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "type", content = "data", rename_all = "camelCase")]
#[ts(export_to = "./")]
pub enum Event {
    /// A job changed.
    Job(Job),
    /// An instance changed; the new list.
    Instances(InstanceList),
    /// The catalog changed; refetch.
    Catalog,
    /// The node's status changed.
    Node(NodeStatus),
    /// This client was too slow and missed messages: refetch everything. The stream ends here.
    Refetch,
}
