//! Every way to change what runs is refused by the same policy, with the same words; what an owner does with what runs
//! already is refused by none.

use archy_registry::key_state::{self, KeyState};
use archy_registry::{SigningKey, sign};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::adopt::foreign;
use crate::bed::{Node, Publisher, Relay, app, layer, scene_with_notes};

/// A node on which every change is possible: `notes` can be updated, brought back, set, made anew and restored, `old` is
/// claimed and can be migrated, `page` can be installed or claimed.
struct Scene {
    relay: Relay,
    publisher: Publisher,
    node: Node,
    backup: Value,
}

impl Scene {
    async fn new() -> Self {
        let (relay, publisher, node, notes) = scene_with_notes().await;
        node.install(&notes).await;
        succeeds(&node, "backup.create", json!({"slug": "notes"})).await;
        let list = node.rpc("backup.list", json!({})).await.unwrap();
        let backup = list["backups"][0]["id"].clone();
        publisher.publish(&relay, "notes", 2, &layer("two")).await;
        node.page(&notes, |page| page["release"]["seq"] == 2).await;
        succeeds(&node, "package.update", json!({"slug": "notes"})).await;
        publisher.publish(&relay, "notes", 3, &layer("three")).await;
        node.page(&notes, |page| page["release"]["seq"] == 3).await;
        for slug in ["old", "page"] {
            publisher.publish(&relay, slug, 1, &layer(slug)).await;
            node.has_release(&app(&publisher, slug)).await;
        }
        *node.machine.foreign.lock().unwrap() = vec![foreign("old"), foreign("page")];
        let old = json!({"app": app(&publisher, "old")});
        succeeds(&node, "package.adopt", old).await;
        Self {
            relay,
            publisher,
            node,
            backup,
        }
    }

    /// Method and parameters of each way.
    fn ways(&self) -> Vec<(&'static str, Value)> {
        let page = json!({"app": app(&self.publisher, "page")});
        let notes = json!({"slug": "notes"});
        let limits = json!({"slug": "notes", "containers": {"web": {"environment": {"A": "b"}}}});
        vec![
            ("package.install", page.clone()),
            ("package.adopt", page),
            ("package.update", notes.clone()),
            ("package.rollback", notes.clone()),
            ("package.reinstall", notes),
            ("package.configure", limits),
            ("package.migrate", json!({"slug": "old"})),
            ("backup.restore", json!({"backup": self.backup})),
            ("backup.verify", json!({"backup": self.backup})),
        ]
    }

    /// Tries each way; all are refused for one of these reasons, in the same words if it is one, and nothing has changed.
    async fn refuses_all(&self, kinds: &[&str]) {
        let machine = &self.node.machine;
        let (before, loaded) = (machine.known(), machine.loaded.lock().unwrap().len());
        let mut said: Option<Value> = None;
        for (method, params) in self.ways() {
            let job = self.node.done(method, params).await;
            let problem = &job["problem"];
            let kind = problem["kind"].as_str();
            assert!(
                kind.is_some_and(|kind| kinds.contains(&kind)),
                "{method}: {job}"
            );
            assert_eq!(job["state"], "failed", "{method}");
            let said = said.get_or_insert_with(|| problem.clone());
            if kinds.len() == 1 {
                assert_eq!(problem["message"], said["message"], "{method}");
                assert_eq!(problem["hint"], said["hint"], "{method}");
            }
        }
        assert_eq!(machine.known(), before, "{kinds:?}");
        assert_eq!(machine.loaded.lock().unwrap().len(), loaded, "{kinds:?}");
    }

    async fn policy(&self, name: &str, value: u32) {
        let mut policy = self.node.rpc("policy.show", json!({})).await.unwrap()["policy"].clone();
        policy[name] = json!(value);
        self.node.rpc("policy.set", policy).await.unwrap();
    }

    async fn block(&self, blocked: bool) {
        let publisher = self.publisher.did().to_string();
        let params = json!({"publisher": publisher, "blocked": blocked});
        self.node.rpc("trust.block", params).await.unwrap();
    }

    /// The publisher revokes its keys.
    async fn revoke(&self) {
        let publisher = &self.publisher;
        let first = publisher.first_keys(&SigningKey::generate().unwrap());
        let signed = sign(&first, &publisher.key, first.created).unwrap();
        let known = key_state::verify(&signed.bytes, None, Timestamp::now()).unwrap();
        let created = first.created + SignedDuration::from_secs(1);
        let revoked = KeyState {
            keys: Vec::new(),
            ..KeyState::after(&known, created, first.expires)
        };
        let states = [(&first, &publisher.key), (&revoked, &publisher.key)];
        publisher.publish_keys(&self.relay, &states).await;
        let page = app(publisher, "page");
        // What the store shows is what the score follows from.
        let is_refused = |page: &Value| page["problem"]["kind"] == "refused";
        self.node.page(&page, is_refused).await;
    }
}

async fn succeeds(node: &Node, method: &str, params: Value) {
    let job = node.done(method, params).await;
    assert_eq!(job["state"], "succeeded", "{method}: {job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_change_what_runs_asks_the_same_policy() {
    let scene = Scene::new().await;
    scene.block(true).await;
    scene.refuses_all(&["blocked"]).await;
    scene.block(false).await;

    scene.policy("installPointsMin", 60).await;
    scene.refuses_all(&["policyScore"]).await;
    scene.policy("installPointsMin", 0).await;

    scene.policy("signaturesMin", 2).await;
    scene.refuses_all(&["policySignatures"]).await;
    scene.policy("signaturesMin", 1).await;

    // None of this was refused for another reason: with the policy lifted, each way is open. What is installed by one way
    // cannot be by another, so that is taken away again.
    for (method, params) in scene.ways() {
        succeeds(&scene.node, method, params).await;
        if matches!(method, "package.install" | "package.adopt") {
            let purge = json!({"slug": "page", "purge": true});
            succeeds(&scene.node, "package.uninstall", purge).await;
        }
    }
    scene.node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_keys_close_every_way() {
    let scene = Scene::new().await;
    scene.revoke().await;
    // Of the keys, or of the score that follows from them.
    scene.refuses_all(&["revoked", "refused"]).await;
    scene.node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_already_is_its_owners() {
    let scene = Scene::new().await;
    succeeds(&scene.node, "package.migrate", json!({"slug": "old"})).await;
    scene.revoke().await;
    scene.block(true).await;
    for (method, slug) in [
        ("package.stop", "notes"),
        ("package.start", "notes"),
        ("package.restart", "notes"),
        ("backup.create", "notes"),
        ("package.uninstall", "notes"),
        ("package.unmigrate", "old"),
        ("package.finish", "old"),
    ] {
        succeeds(&scene.node, method, json!({"slug": slug})).await;
    }
    let finish = scene
        .node
        .rpc("package.finish", json!({"slug": "old"}))
        .await;
    assert_eq!(finish.unwrap_err()["kind"], "notAdopted");
    let purge = json!({"slug": "old", "purge": true});
    succeeds(&scene.node, "package.uninstall", purge).await;
    scene.node.daemon.stop().await;
}
