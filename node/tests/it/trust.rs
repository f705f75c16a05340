//! The owner's policy and word: what they refuse, what they lift, and what they leave behind.

use archy_nostr::{Draft, Label, NostrKey, PublishOptions, publish};
use archy_registry::SigningKey;
use archy_registry::trust::Event;
use archyd::api::types::{KeptSetting, Right, RightWeight, RightsDiff, SettingKind};
use archyd::machine::Compared;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bed::{Node, Publisher, Relay, app, layer};

async fn policy(node: &Node, change: &[(&str, u32)]) -> Result<Value, Value> {
    let mut policy = node.rpc("policy.show", json!({})).await.unwrap()["policy"].clone();
    for (name, value) in change {
        policy[name] = json!(value);
    }
    node.rpc("policy.set", policy).await
}

/// Which apps of the publisher the store lists.
async fn listed(node: &Node) -> usize {
    let found = node.rpc("store.search", json!({})).await.unwrap();
    found["apps"].as_array().unwrap().len()
}

fn of(publisher: &Publisher, more: Value) -> Value {
    let mut params = json!({"publisher": publisher.did().to_string()});
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_refuses_with_its_reason_and_a_pin_lifts_it() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let notes = app(&publisher, "notes");
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    let page = node.has_release(&notes).await;
    assert!(page["problem"].is_null());
    assert_eq!(page["warning"]["kind"], "unproven");

    policy(&node, &[("installPointsMin", 60), ("showPointsMin", 60)])
        .await
        .unwrap();
    let node = node.restart().await;
    assert_eq!(listed(&node).await, 0);
    let page = node.has_release(&notes).await;
    assert_eq!(page["problem"]["kind"], "policyScore");
    assert!(page["warning"]["kind"] == "unproven");
    let job = node.install(&notes).await;
    assert_eq!(job["state"], "failed");
    assert_eq!(job["problem"]["kind"], "policyScore");
    assert!(!job["problem"]["details"].as_array().unwrap().is_empty());
    assert!(node.app_tags().await.is_empty());

    let page = node
        .rpc("trust.pin", of(&publisher, json!({"pinned": true})))
        .await
        .unwrap();
    assert_eq!(page["publisher"]["pinned"], true);
    assert!(page["refusal"].is_null());
    let pinned = page["observations"].as_array().unwrap().iter();
    let said: Vec<&Value> = pinned
        .filter(|row| row["text"] == "You vouched for the publisher")
        .collect();
    assert_eq!(said.len(), 1, "{page}");
    assert_eq!(listed(&node).await, 1);

    policy(&node, &[("signaturesMin", 2)]).await.unwrap();
    let job = node.install(&notes).await;
    assert_eq!(job["problem"]["kind"], "policySignatures");
    policy(&node, &[("signaturesMin", 1)]).await.unwrap();
    assert_eq!(node.install(&notes).await["state"], "succeeded");

    let wrong = policy(&node, &[("installPointsMin", 101)]).await;
    assert_eq!(wrong.unwrap_err()["kind"], "invalid");
    let misspelt = node.rpc("policy.set", json!({"installPoints": 1})).await;
    assert_eq!(misspelt.unwrap_err()["kind"], "invalid");
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_hides_and_refuses_until_it_is_lifted() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let notes = app(&publisher, "notes");
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;

    node.rpc("trust.block", of(&publisher, json!({"blocked": true})))
        .await
        .unwrap();
    let found = node.rpc("store.search", json!({})).await.unwrap();
    assert_eq!(found["apps"], json!([]));
    assert_eq!((&found["total"], &found["hidden"]), (&json!(1), &json!(1)));
    let page = node.rpc("store.show", notes.clone()).await.unwrap();
    assert_eq!(page["problem"]["kind"], "blocked");
    assert_eq!(node.install(&notes).await["problem"]["kind"], "blocked");
    let shown = node.rpc("policy.show", json!({})).await.unwrap();
    assert_eq!(
        shown["blocked"][0]["publisher"],
        publisher.did().to_string()
    );
    assert_eq!(shown["blocked"][0]["apps"], json!(["Notes 1"]));

    node.rpc("trust.block", of(&publisher, json!({"blocked": false})))
        .await
        .unwrap();
    assert_eq!(listed(&node).await, 1);
    let shown = node.rpc("policy.show", json!({})).await.unwrap();
    assert_eq!(shown["blocked"], json!([]));
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_has_its_observations_and_the_history_has_all_of_them() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let notes = app(&publisher, "notes");
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    let report = json!({"kind": "broken", "text": "It forgets what I write"});
    let given = node
        .rpc("trust.report", of(&publisher, report))
        .await
        .unwrap();
    assert!(given["published"].is_null());
    let page = &given["page"];
    let rows = page["observations"].as_array().unwrap();
    for reason in page["publisher"]["reasons"].as_array().unwrap() {
        for reference in reason["evidence"].as_array().unwrap() {
            assert!(
                rows.iter().any(|row| row["reference"] == *reference),
                "{reason}"
            );
        }
    }
    let complaint = "You complained about notes: broken: It forgets what I write";
    assert!(rows.iter().any(|row| row["text"] == complaint), "{page}");
    assert!(
        !page["publisher"]["wouldChange"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    let mut texts = Vec::new();
    let mut before = Value::Null;
    loop {
        let params = of(&publisher, json!({"limit": 1, "before": before}));
        let answer = node.rpc("trust.history", params).await.unwrap();
        let rows = answer["observations"].as_array().unwrap();
        texts.extend(
            rows.iter()
                .map(|row| row["text"].as_str().unwrap().to_owned()),
        );
        if answer["next"].is_null() {
            break;
        }
        before = answer["next"].clone();
    }
    assert_eq!(
        texts,
        [
            complaint,
            "notes was installed here",
            "First heard of release 1 of notes"
        ]
    );
    let lost = of(&publisher, json!({"before": "yesterday"}));
    let lost = node.rpc("trust.history", lost).await.unwrap_err();
    assert_eq!(lost["kind"], "invalid");
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_in_public_is_signed_by_one_key_of_this_node() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let notes = app(&publisher, "notes");
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;

    let key = node
        .dir
        .path()
        .join("home/.local/share/archy/keys/nostr.nsec");
    let quiet = json!({"opinion": "recommend"});
    let given = node
        .rpc("trust.vouch", of(&publisher, quiet))
        .await
        .unwrap();
    assert_eq!(given["page"]["publisher"]["pinned"], true);
    assert!(given["published"].is_null() && !key.exists());

    let aloud = json!({"opinion": "recommend", "text": "Runs well", "public": true});
    let given = node
        .rpc("trust.vouch", of(&publisher, aloud))
        .await
        .unwrap();
    let vouched = &given["published"];
    assert_eq!(
        vouched["accepted"],
        json!([relay.url().to_string()]),
        "{given}"
    );
    // No Nostr account of the publisher is known, so nothing could name it in a report of malware.
    let aloud = json!({"kind": "malware", "text": "It mines coins", "public": true});
    let given = node
        .rpc("trust.report", of(&publisher, aloud))
        .await
        .unwrap();
    let reported = &given["published"];
    assert_eq!(reported["pubkey"], vouched["pubkey"]);
    assert!(
        reported["note"].as_str().unwrap().contains("caution"),
        "{given}"
    );
    assert_ne!(reported["eventId"], vouched["eventId"]);

    let long = json!({"opinion": "caution", "text": "x".repeat(1001)});
    let refused = node
        .rpc("trust.vouch", of(&publisher, long))
        .await
        .unwrap_err();
    assert_eq!(refused["kind"], "invalid");
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_waits_for_its_owner_when_it_gains_a_right() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let notes = app(&publisher, "notes");
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    let page = node.rpc("store.show", notes.clone()).await.unwrap();
    assert!(page["instance"]["offer"].is_null());

    let right = Right {
        kind: "network".to_owned(),
        text: "Can reach the internet and your local network.".to_owned(),
        weight: RightWeight::Notable,
    };
    let kept = KeptSetting {
        container: "app".to_owned(),
        kind: SettingKind::Memory,
        name: None,
        yours: "64M".to_owned(),
        before: None,
        now: Some("128M".to_owned()),
        is_used: true,
    };
    *node.machine.compared.lock().unwrap() = Compared {
        rights: RightsDiff {
            gained: vec![right],
            lost: Vec::new(),
        },
        kept: vec![kept],
        notices: vec!["The app teller needs notes ^1.".to_owned()],
    };
    publisher.publish(&relay, "notes", 2, &layer("two")).await;
    let page = node.page(&notes, |page| page["release"]["seq"] == 2).await;
    let offer = &page["instance"]["offer"];
    assert_eq!(
        (&offer["version"], &offer["byItself"]),
        (&json!("1.2.0"), &json!(false))
    );
    let kinds = |offer: &Value| -> Vec<String> {
        let waits = offer["waits"].as_array().unwrap().iter();
        waits
            .map(|wait| wait["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(kinds(offer), ["rightsGained", "policyScore"]);
    assert_eq!(
        offer["waits"][0]["details"],
        json!(["Can reach the internet and your local network."])
    );

    assert_eq!(
        offer["kept"],
        json!([{"container": "app", "kind": "memory", "name": null, "yours": "64M", "before": null, "now": "128M", "isUsed": true}])
    );
    assert_eq!(offer["notices"], json!(["The app teller needs notes ^1."]));

    node.rpc("trust.pin", of(&publisher, json!({"pinned": true})))
        .await
        .unwrap();
    let status = node
        .rpc("package.status", json!({"slug": "notes"}))
        .await
        .unwrap();
    assert_eq!(kinds(&status["offer"]), ["rightsGained"]);
    let compared = &node.machine.compared;
    compared.lock().unwrap().rights.gained.clear();
    // It waits for its owner while there is something to be told.
    for (told, by_itself) in [(true, false), (false, true)] {
        if !told {
            compared.lock().unwrap().notices.clear();
        }
        let status = node
            .rpc("package.status", json!({"slug": "notes"}))
            .await
            .unwrap();
        assert_eq!(status["offer"]["byItself"], by_itself, "{status}");
    }
    let list = node.rpc("package.list", json!({})).await.unwrap();
    assert_eq!(list["instances"][0]["update"], "1.2.0");
    assert!(list["instances"][0]["offer"].is_null());
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_go_by_the_scores_of_now() {
    let relay = Relay::start().await;
    let (known, new) = (Publisher::start().await, Publisher::start().await);
    let node = Node::start(&relay, &[]).await;
    for publisher in [&known, &new] {
        publisher.publish(&relay, "notes", 1, &layer("one")).await;
        node.has_release(&app(publisher, "notes")).await;
    }
    let search = async |params: Value| -> Vec<String> {
        let found = node.rpc("store.search", params).await.unwrap();
        let apps = found["apps"].as_array().unwrap().iter();
        apps.map(|card| card["app"]["publisher"].as_str().unwrap().to_owned())
            .collect()
    };
    let domain = Event::DomainLinked {
        domain: "notes.example".to_owned(),
    };
    let points = async |publisher: &Publisher| {
        let page = node.rpc("trust.show", of(publisher, json!({}))).await;
        page.unwrap()["publisher"]["trust"]["points"]
            .as_f64()
            .unwrap()
    };
    let both = points(&known).await.max(points(&new).await);
    let above = both.floor() as u8 + 1;
    assert_eq!(search(json!({"pointsMin": above})).await.len(), 0);

    let store = &node.daemon.node.store;
    store
        .record(&known.did(), &domain, Timestamp::now())
        .await
        .unwrap();
    // Nobody has looked at the publisher since.
    assert_eq!(
        search(json!({"pointsMin": above})).await,
        [known.did().to_string()]
    );
    let order = search(json!({"sort": "score"})).await;
    assert_eq!(order, [&known, &new].map(|by| by.did().to_string()));

    node.rpc("trust.block", of(&known, json!({"blocked": true})))
        .await
        .unwrap();
    assert_eq!(search(json!({"pointsMin": above})).await.len(), 0);
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_an_owner_trusts_in_public_is_heard_by_those_who_trust_the_owner() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let (speaker, listener) = (
        Node::start(&relay, &[]).await,
        Node::start(&relay, &[]).await,
    );
    let reviewer = NostrKey::generate();
    let pubkey = reviewer.pubkey().to_string();

    let trusted = json!({"pubkey": pubkey, "trusted": true});
    let quiet = speaker.rpc("trust.reviewer", trusted).await.unwrap();
    assert_eq!(quiet["reviewers"], json!([pubkey]));
    assert!(
        quiet["published"].is_null() && quiet["own"].is_null(),
        "{quiet}"
    );

    let aloud = json!({"pubkey": pubkey, "trusted": true, "public": true});
    let said = speaker.rpc("trust.reviewer", aloud).await.unwrap();
    assert_eq!(
        said["published"]["accepted"],
        json!([relay.url().to_string()]),
        "{said}"
    );
    let own = said["own"].as_str().unwrap();
    assert_eq!(said["published"]["pubkey"], own);

    let chosen = json!({"pubkey": own, "trusted": true});
    listener.rpc("trust.reviewer", chosen).await.unwrap();
    let words = "Took my photos hostage";
    let draft = Draft::vote(publisher.did(), None, Label::Caution, words).unwrap();
    let options = PublishOptions::default();
    let vote = publish(&[relay.url()], &reviewer, &draft, &options).await;
    let vote = vote.unwrap().event_id.to_string();

    let heard = |page: &Value| {
        let rows = page["observations"].as_array().unwrap();
        rows.iter().any(|row| row["eventId"] == vote.as_str())
    };
    let page = listener.trust(&publisher, heard).await;
    let reasons = page["publisher"]["reasons"].as_array().unwrap();
    let against = reasons.iter().find(|reason| {
        let named = reason["evidence"].as_array().unwrap().iter();
        named
            .filter_map(Value::as_str)
            .any(|reference| reference.contains(&vote))
    });
    assert!(against.unwrap()["points"].as_f64().unwrap() < 0.0, "{page}");

    // Whom the owner trusts no longer is not heard through them any more, once that is public as well.
    let away = json!({"pubkey": pubkey, "trusted": false, "public": true});
    let said = speaker.rpc("trust.reviewer", away).await.unwrap();
    assert_eq!(said["reviewers"], json!([]));
    listener.trust(&publisher, |page| !heard(page)).await;
    speaker.daemon.stop().await;
    listener.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_malware_names_the_publishers_own_account() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let (speaker, listener) = (
        Node::start(&relay, &[]).await,
        Node::start(&relay, &[]).await,
    );
    for node in [&speaker, &listener] {
        publisher.publish(&relay, "notes", 1, &layer("one")).await;
        node.has_release(&app(&publisher, "notes")).await;
    }
    let state = publisher.first_keys(&SigningKey::generate().unwrap());
    publisher
        .publish_keys(&relay, &[(&state, &publisher.key)])
        .await;
    let linked = |page: &Value| page["publisher"]["linked"] == true;
    speaker.trust(&publisher, linked).await;

    let said = json!({"kind": "malware", "text": "It mines coins", "public": true});
    let said = speaker
        .rpc("trust.report", of(&publisher, said))
        .await
        .unwrap();
    let published = &said["published"];
    assert!(published["note"].is_null(), "{said}");
    let chosen = json!({"pubkey": published["pubkey"], "trusted": true});
    listener.rpc("trust.reviewer", chosen).await.unwrap();
    let page = listener
        .trust(&publisher, |page| {
            let notices = page["publisher"]["notices"].as_array().unwrap();
            notices.iter().any(|notice| notice["kind"] == "malware")
        })
        .await;
    let reported = page["observations"].as_array().unwrap().iter();
    let mut reported = reported.filter(|row| row["eventId"] == published["eventId"]);
    assert_eq!(
        reported.next().unwrap()["pubkey"],
        published["pubkey"],
        "{page}"
    );
    speaker.daemon.stop().await;
    listener.daemon.stop().await;
}
