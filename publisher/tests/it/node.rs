//! A node for tests: the real swarm and the real relay behind the socket's methods that publishing needs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use archy_nostr::relay;
use archy_registry::Blake3Hash;
use archy_swarm::{Config, Discovery, Swarm};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_util::io::StreamReader;
use tokio_util::sync::CancellationToken;

/// What the node answers to a method: a result, or a problem.
type Script = BTreeMap<&'static str, Result<Value, Value>>;

pub(crate) struct TestNode {
    pub(crate) swarm: Swarm,
    pub(crate) relay: relay::Relay,
    pub(crate) socket: PathBuf,
    inner: Arc<Inner>,
    _tasks: JoinSet<()>,
    _dir: tempfile::TempDir,
    _cancel: tokio_util::sync::DropGuard,
}

struct Inner {
    swarm: Swarm,
    relay: String,
    script: Mutex<Script>,
    calls: Mutex<Vec<(String, Value)>>,
    tags: Mutex<Vec<String>>,
    forgets_blobs: bool,
}

impl TestNode {
    pub(crate) async fn start() -> Self {
        Self::make(false).await
    }

    /// Starts a node that takes every blob and keeps none.
    pub(crate) async fn forgetful() -> Self {
        Self::make(true).await
    }

    async fn make(forgets_blobs: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cancel = CancellationToken::new();
        let config = Config {
            bind: vec!["127.0.0.1:0".parse().unwrap()],
            discovery: Discovery {
                mdns: false,
                n0: false,
                gossip: true,
            },
            ..Config::new(dir.path())
        };
        let swarm = Swarm::start(config, cancel.clone()).await.unwrap();
        let config =
            relay::Config::new("127.0.0.1:0".parse().unwrap(), dir.path().join("relay.db"));
        let relay = relay::start(config, &cancel).await.unwrap();
        let inner = Arc::new(Inner {
            swarm: swarm.clone(),
            relay: relay.url().to_string(),
            script: Mutex::default(),
            calls: Mutex::default(),
            tags: Mutex::default(),
            forgets_blobs,
        });
        let socket = dir.path().join("archyd.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let router = Router::new()
            .route("/rpc/v1", post(rpc))
            .route("/blobs/{hash}", put(blob))
            .route("/events", get(events))
            .with_state(Arc::clone(&inner));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            swarm,
            relay,
            socket,
            inner,
            _tasks: tasks,
            _dir: dir,
            _cancel: cancel.drop_guard(),
        }
    }

    /// Answers a method from now on with a result or a problem.
    pub(crate) fn answers(&self, method: &'static str, answer: Result<Value, Value>) {
        self.inner.script.lock().unwrap().insert(method, answer);
    }

    /// The parameters of each call of a method.
    pub(crate) fn calls(&self, method: &str) -> Vec<Value> {
        let calls = self.inner.calls.lock().unwrap();
        calls
            .iter()
            .filter(|(name, _)| name == method)
            .map(|(_, params)| params.clone())
            .collect()
    }

    /// The tags under which blobs were handed over, each once.
    pub(crate) fn tags(&self) -> Vec<String> {
        let mut tags = self.inner.tags.lock().unwrap().clone();
        tags.sort();
        tags.dedup();
        tags
    }
}

async fn rpc(State(node): State<Arc<Inner>>, Json(request): Json<Value>) -> Json<Value> {
    let method = request["method"].as_str().unwrap();
    node.calls
        .lock()
        .unwrap()
        .push((method.to_owned(), request["params"].clone()));
    let scripted = node.script.lock().unwrap().get(method).cloned();
    let answer = scripted.unwrap_or_else(|| {
        assert_eq!(method, "publish.state", "the test says what this answers");
        let endpoint = node.swarm.endpoint();
        let endpoint = json!({ "id": endpoint.id, "addresses": endpoint.addresses, "relays": [] });
        Ok(json!({ "highestSeq": null, "release": null, "relays": [node.relay], "endpoint": endpoint }))
    });
    let id = &request["id"];
    Json(match answer {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(problem) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32000, "message": problem["message"], "data": problem } })
        }
    })
}

async fn blob(
    State(node): State<Arc<Inner>>,
    Path(hash): Path<Blake3Hash>,
    Query(query): Query<BTreeMap<String, String>>,
    body: Body,
) -> Response {
    let tag = &query["tag"];
    node.tags.lock().unwrap().push(tag.clone());
    let mut bytes = StreamReader::new(body.into_data_stream().map_err(std::io::Error::other));
    if node.forgets_blobs {
        tokio::io::copy(&mut bytes, &mut tokio::io::sink())
            .await
            .unwrap();
        return Json(json!({})).into_response();
    }
    match node
        .swarm
        .provide(&tag.parse().unwrap(), bytes, Some(hash))
        .await
    {
        Ok(provided) => Json(json!({ "hash": provided.blake3, "sizeBytes": provided.size_bytes }))
            .into_response(),
        Err(error) => {
            let problem = json!({ "kind": "content", "message": error.to_string(), "details": [] });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(problem)).into_response()
        }
    }
}

/// A stream that says nothing: what the owner's commands wait for has happened before.
async fn events() -> Response {
    let silence = futures_util::stream::pending::<std::io::Result<bytes::Bytes>>();
    (
        [("content-type", "text/event-stream")],
        Body::from_stream(silence),
    )
        .into_response()
}
