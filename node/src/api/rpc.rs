//! `POST /rpc/v1`: JSON-RPC 2.0 (jsonrpc.org/specification), single requests and batches.

use std::future::Future;
use std::sync::{Arc, Weak};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jsonrpsee::RpcModule;
use jsonrpsee::types::{ErrorCode, ErrorObjectOwned, Params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::problem::{problem, rpc_error};
use super::types::{AppRef, JobKind, JobParams, Problem};
use super::{Api, Backend};

/// Requests of one batch.
const BATCH_MAX: usize = 20;

/// Registers every method. The API holds the module, so the module holds it weakly.
pub(super) fn module<B: Backend>(api: Weak<Api<B>>) -> RpcModule<()> {
    let mut methods = Methods {
        module: RpcModule::new(()),
        api,
    };
    methods.add(
        "store.search",
        |b, p| async move { b.backend.search(p).await },
    );
    methods.add("store.show", |b, p| async move { b.backend.show(p).await });
    methods.add("package.install", |b, p| async move {
        b.backend.install(p).await
    });
    methods.add("package.uninstall", |b, p| async move {
        b.backend.uninstall(p).await
    });
    for (method, kind) in [
        ("package.start", JobKind::Start),
        ("package.stop", JobKind::Stop),
        ("package.restart", JobKind::Restart),
        ("package.reinstall", JobKind::Reinstall),
        ("package.unmigrate", JobKind::Unmigrate),
        ("package.finish", JobKind::Finish),
    ] {
        methods.add(method, move |b, p| async move {
            b.backend.operate(kind, p).await
        });
    }
    methods.add(
        "package.update",
        |b, p| async move { b.backend.update(p).await },
    );
    methods.add("package.rollback", |b, p| async move {
        b.backend.roll_back(p).await
    });
    methods.add("package.configure", |b, p| async move {
        b.backend.configure(p).await
    });
    methods.add("package.settings", |b, p| async move {
        b.backend.settings(p).await
    });
    methods.add("package.adoptable", |b, Nothing {}| async move {
        b.backend.adoptable().await
    });
    methods.add(
        "package.adopt",
        |b, p| async move { b.backend.adopt(p).await },
    );
    methods.add("package.migration", |b, p| async move {
        b.backend.migration(p).await
    });
    methods.add("package.migrate", |b, p| async move {
        b.backend.migrate(p).await
    });
    methods.add("package.list", |b, Nothing {}| async move {
        b.backend.instances().await
    });
    methods.add("package.status", |b, p| async move {
        b.backend.instance(p).await
    });
    methods.add(
        "package.health",
        |b, p| async move { b.backend.health(p).await },
    );
    methods.add(
        "package.logs",
        |b, p| async move { b.backend.logs(p).await },
    );
    methods.add("backup.create", |b, p| async move {
        b.backend.create_backup(p).await
    });
    methods.add(
        "backup.list",
        |b, p| async move { b.backend.backups(p).await },
    );
    methods.add("backup.restore", |b, p| async move {
        b.backend.restore(p).await
    });
    methods.add(
        "backup.verify",
        |b, p| async move { b.backend.verify(p).await },
    );
    methods.add("backup.remove", |b, p| async move {
        b.backend.remove_backup(p).await
    });
    methods.add("backup.schedule", |b, p| async move {
        b.backend.schedule(p).await
    });
    methods.add("job.list", |b, p| async move { b.backend.jobs(p).await });
    methods.add("job.show", |b, p: JobParams| async move {
        b.backend.job(p.job).await
    });
    methods.add("job.cancel", |b, p: JobParams| async move {
        b.backend.cancel(p.job).await
    });
    methods.add("node.status", |b, Nothing {}| async move {
        b.backend.status().await
    });
    methods.add("publish.state", |b, p: AppRef| async move {
        b.backend.publish_state(p).await
    });
    methods.add("publish.missing", |b, p| async move {
        b.backend.missing(p).await
    });
    methods.add("registry.list", |b, Nothing {}| async move {
        b.backend.registries().await
    });
    methods.add("registry.add", |b, p| async move {
        b.backend.add_registry(p).await
    });
    methods.add("registry.remove", |b, p| async move {
        b.backend.remove_registry(p).await
    });
    methods.add("registry.move", |b, p| async move {
        b.backend.move_registry(p).await
    });
    methods.add("registry.test", |b, p| async move {
        b.backend.test_registry(p).await
    });
    methods.add("trust.show", |b, p| async move { b.backend.trust(p).await });
    methods.add(
        "trust.history",
        |b, p| async move { b.backend.history(p).await },
    );
    methods.add("trust.pin", |b, p| async move { b.backend.pin(p).await });
    methods.add(
        "trust.block",
        |b, p| async move { b.backend.block(p).await },
    );
    methods.add(
        "trust.report",
        |b, p| async move { b.backend.report(p).await },
    );
    methods.add(
        "trust.vouch",
        |b, p| async move { b.backend.vouch(p).await },
    );
    methods.add("trust.reviewers", |b, Nothing {}| async move {
        b.backend.reviewers().await
    });
    methods.add("trust.reviewer", |b, p| async move {
        b.backend.reviewer(p).await
    });
    methods.add("storage.show", |b, Nothing {}| async move {
        b.backend.storage().await
    });
    methods.add(
        "storage.fsck",
        |b, p| async move { b.backend.fsck(p).await },
    );
    methods.add("seeding.show", |b, Nothing {}| async move {
        b.backend.seeding().await
    });
    methods.add("seeding.set", |b, p| async move {
        b.backend.set_seeding(p).await
    });
    methods.add("policy.show", |b, Nothing {}| async move {
        b.backend.policy().await
    });
    methods.add(
        "policy.set",
        |b, p| async move { b.backend.set_policy(p).await },
    );
    methods.module
}

/// Parameters of a method that has none: absent, `{}` or `[]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

struct Methods<B> {
    module: RpcModule<()>,
    api: Weak<Api<B>>,
}

impl<B: Backend> Methods<B> {
    fn add<P, R, F, Fut>(&mut self, name: &'static str, method: F)
    where
        P: DeserializeOwned + Send + 'static,
        R: Serialize + Clone + Send + 'static,
        F: Fn(Arc<Api<B>>, P) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Problem>> + Send,
    {
        let api = self.api.clone();
        self.module
            .register_async_method(name, move |params, _, _| {
                let (api, method) = (api.clone(), method.clone());
                async move {
                    let params = parse(&params)?;
                    let api = api.upgrade().ok_or_else(stopping)?;
                    method(api, params).await.map_err(rpc_error)
                }
            })
            .expect("every method has one name");
    }
}

/// Parameters are always named; absent ones are an empty object.
fn parse<P: DeserializeOwned>(params: &Params<'_>) -> Result<P, ErrorObjectOwned> {
    let text = match params.as_str().unwrap_or("{}") {
        "" | "[]" | "null" => "{}",
        text => text,
    };
    serde_json::from_str(text).map_err(|error| {
        let message = format!("invalid parameters: {error}");
        let data = problem("invalid", message.clone(), "");
        ErrorObjectOwned::owned(ErrorCode::InvalidParams.code(), message, Some(data))
    })
}

fn stopping() -> ErrorObjectOwned {
    rpc_error(problem(
        "stopping",
        "The node is shutting down",
        "Try again in a moment",
    ))
}

/// Answers a request or a batch.
pub(super) async fn handle<B: Backend>(State(api): State<Arc<Api<B>>>, body: Bytes) -> Response {
    let Ok(text) = std::str::from_utf8(&body) else {
        return failure(ErrorCode::ParseError, "the request is not UTF-8");
    };
    if text.trim_start().starts_with('[') {
        return batch(&api, text).await;
    }
    match call(&api, text).await {
        Some(answer) => json(answer),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn batch<B: Backend>(api: &Api<B>, text: &str) -> Response {
    let requests: Vec<&RawValue> = match serde_json::from_str(text) {
        Ok(requests) => requests,
        Err(error) => return failure(ErrorCode::ParseError, &error.to_string()),
    };
    if requests.is_empty() {
        return failure(ErrorCode::InvalidRequest, "the batch is empty");
    }
    if requests.len() > BATCH_MAX {
        let message = format!("a batch holds at most {BATCH_MAX} requests");
        return failure(ErrorCode::InvalidRequest, &message);
    }
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.extend(call(api, request.get()).await);
    }
    if answers.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    json(format!("[{}]", answers.join(",")))
}

/// A request's envelope, checked before the method runs.
#[derive(Deserialize)]
struct Envelope<'a> {
    jsonrpc: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// Answers one request; a notification (no `id`) is carried out without an answer.
async fn call<B: Backend>(api: &Api<B>, text: &str) -> Option<String> {
    let envelope: Envelope<'_> = match serde_json::from_str(text) {
        Ok(envelope) => envelope,
        Err(error) if error.is_data() => {
            return Some(error_text(ErrorCode::InvalidRequest, &error.to_string()));
        }
        Err(error) => return Some(error_text(ErrorCode::ParseError, &error.to_string())),
    };
    if envelope.jsonrpc != "2.0" {
        return Some(error_text(
            ErrorCode::InvalidRequest,
            "jsonrpc must be \"2.0\"",
        ));
    }
    let notification = envelope.id.is_none();
    let with_id;
    let text = if notification {
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).ok()?;
        object.insert("id".to_owned(), serde_json::Value::Null);
        with_id = serde_json::Value::Object(object).to_string();
        &with_id
    } else {
        text
    };
    let answer = match api.module.raw_json_request(text, 1).await {
        Ok((answer, _)) => answer.get().to_owned(),
        Err(error) => error_text(ErrorCode::InvalidRequest, &error.to_string()),
    };
    (!notification).then_some(answer)
}

fn error_text(code: ErrorCode, message: &str) -> String {
    let data = problem("invalid", message, "");
    serde_json::json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": { "code": code.code(), "message": message, "data": data },
    })
    .to_string()
}

fn failure(code: ErrorCode, message: &str) -> Response {
    json(error_text(code, message))
}

fn json(text: String) -> Response {
    let mut response = text.into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
