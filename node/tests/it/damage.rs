//! Databases that a disk spoiled: the daemon starts, says what is lost, and installs nothing it could be deceived with.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bed::{layer, scene_with_notes};

fn named(dir: &Path, name: &str) -> PathBuf {
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_name() == name {
                return entry.path();
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    panic!("no {name}");
}

/// Spoils all but the first page, as a power cut does, and the order in which the daemon ended.
fn tear(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(path, bytes).unwrap();
    std::fs::write(path.with_extension("db-wal"), "").unwrap();
}

fn part<'a>(status: &'a Value, name: &str) -> &'a Value {
    let mut parts = status["components"].as_array().unwrap().iter();
    parts
        .find(|part| part["name"] == name)
        .unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_what_was_known_of_publishers_apps_run_on_and_nothing_new_comes() {
    let (relay, publisher, node, notes) = scene_with_notes().await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    let of_publisher = json!({"publisher": publisher.did().to_string()});
    let node = node
        .restart_after(|dir| tear(&named(dir, "archy.db")))
        .await;
    let list = node.rpc("package.list", json!({})).await.unwrap();
    assert_eq!(list["instances"][0]["state"], "running");
    let status = node.rpc("node.status", json!({})).await.unwrap();
    let evidence = part(&status, "evidence");
    assert_eq!(evidence["state"], "degraded");
    let words = evidence["lastError"].as_str().unwrap();
    let aside = words.split("set aside as ").nth(1).unwrap();
    let aside = PathBuf::from(aside.split(". ").next().unwrap());
    assert!(aside.is_file(), "{words}");
    assert!(words.contains("put a copy of"), "{words}");

    // What is signed is heard again, and waits.
    publisher.publish(&relay, "notes", 2, &layer("two")).await;
    let page = node.page(&notes, |page| page["release"]["seq"] == 2).await;
    let waits = page["instance"]["offer"]["waits"].as_array().unwrap();
    assert!(waits.iter().any(|wait| wait["kind"] == "evidenceLost"));
    assert_eq!(page["instance"]["offer"]["byItself"], false);
    let begun = node.rpc("package.update", json!({"slug": "notes"})).await;
    let refused = match begun {
        Ok(begun) => node.ended(begun["job"].as_str().unwrap()).await["problem"].clone(),
        Err(problem) => problem,
    };
    assert_eq!(refused["kind"], "evidenceLost", "{refused}");

    // It stands until the owner decides.
    let node = node.restart_after(|_| ()).await;
    let status = node.rpc("node.status", json!({})).await.unwrap();
    assert_eq!(part(&status, "evidence")["state"], "degraded");
    let node = node
        .restart_after(|dir| std::fs::rename(&aside, dir.join("elsewhere")).unwrap())
        .await;
    let status = node.rpc("node.status", json!({})).await.unwrap();
    assert_eq!(*part(&status, "evidence"), Value::Null);
    node.rpc("trust.show", of_publisher).await.unwrap();
    let updated = node.done("package.update", json!({"slug": "notes"})).await;
    assert_eq!(updated["state"], "succeeded", "{updated}");
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_past_jobs_everything_goes_on() {
    let (_relay, _publisher, node, notes) = scene_with_notes().await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    let garbage = |dir: &Path| {
        let database = named(dir, "node.db");
        std::fs::write(&database, "this is no database".repeat(400)).unwrap();
        // What is not in it yet would make it whole again.
        std::fs::write(database.with_extension("db-wal"), "").unwrap();
    };
    let node = node.restart_after(garbage).await;
    let status = node.rpc("node.status", json!({})).await.unwrap();
    let history = part(&status, "history");
    assert!(
        history["lastError"]
            .as_str()
            .unwrap()
            .contains("node.db.damaged-"),
        "{history}"
    );
    assert_eq!(*part(&status, "evidence"), Value::Null);
    let node = node.restart_after(|dir| tear(&named(dir, "node.db"))).await;
    let restarted = node.done("package.restart", json!({"slug": "notes"})).await;
    assert_eq!(restarted["state"], "succeeded", "{restarted}");
    node.daemon.stop().await;
}
