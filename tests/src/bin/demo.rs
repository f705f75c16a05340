//! `make demo`: three nodes on this machine, the three apps published, one store to open in a browser.
#![expect(
    clippy::print_stdout,
    reason = "the three lines are what the command is for"
)]

use archy_tests::node::Bed;
use archy_tests::stage::{Programs, SHIPPED_APPS, Stage};

/// The bed's name; `ARCHY_BED=demo tests/node/node …` reaches its nodes.
const BED: &str = "demo";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::set_up(Bed::kept(BED), &Programs::built()?, ["b", "c"]).await?;
    let [store, _] = &stage.stores;
    for app in SHIPPED_APPS {
        if stage.publisher.knows(app.slug).await?.is_none() {
            stage.publisher.publish(app).await?;
        }
        store.hears_of(app.slug).await?;
    }
    println!("store: {}", store.store_url().await?);
    match store.claim_code().await {
        Ok(code) => println!("claim: {code}"),
        Err(_) => println!("claim: done before; log in with the password you chose"),
    }
    println!("stop: make demo-stop");
    Ok(())
}
