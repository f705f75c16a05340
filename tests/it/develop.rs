//! An app runs from its folder beside the installed one, is built again when its context changed, is taken through its states,
//! and leaves nothing.

use anyhow::{Context, ensure};
use archy_tests::http;
use archy_tests::node::Bed;
use archy_tests::stage::{Archyd, HELLO, Programs, Stage, app_images, repository};
use archyd::api::types::JobState;
use serde_json::Value;

/// The shipped image is the base of what is built here: no registry is needed.
const CONTAINERFILE: &str = "FROM localhost/shipped:1\nCOPY www/ /www/\n";
/// What the shipped manifest has not: data.
const VOLUME: &str = "    volumes: [{name: data, target: /data}]\n";
const EXPORT: &str =
    "exports: [{name: url, value: \"http://${app.host.web}:8080/${app.id}.html\"}]\n";
/// An app that asks another one.
const READER: &str = r#"
app: {id: reader, name: Reader, version: 1.0.0, tagline: Reads hello, category: other}
containers:
  - name: web
    source: {type: pull, image: "localhost/shipped:1", pull_policy: never}
    user: "1000:1000"
    readonly_root: true
    environment: {HELLO: "${dependency.hello.url}"}
    stop_timeout: 1s
dependencies: [{publisher: "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK", app: hello}]
"#;

#[tokio::test]
async fn an_app_is_developed_beside_the_installed_one() -> anyhow::Result<()> {
    let stage = Stage::set_up(Bed::new("develop"), &Programs::built()?, ["b"]).await?;
    stage.logged("develop", develops(&stage)).await
}

async fn develops(stage: &Stage<1>) -> anyhow::Result<()> {
    let (a, [b]) = (&stage.publisher, &stage.stores);
    a.publish(&HELLO).await?;
    let app = b.hears_of(HELLO.slug).await?;
    let job = b.install(&app).await?;
    ensure!(
        job.state == JobState::Succeeded,
        "the install ended {:?}",
        job.problem
    );
    let real = b.instance("hello").await?.context("hello is there")?;
    let real_page = b.page_of(&real).await?;
    let before = started(b).await?;
    folder(b).await?;

    beside(b, &real_page).await?;
    rebuilt(b).await?;
    by_hand(b).await?;
    depended_on(b).await?;
    tried(b).await?;
    removed(b).await?;

    ensure!(started(b).await? == before, "the installed app was touched");
    ensure!(http::status(&real_page).await? == 200);
    Ok(())
}

/// Brings the shipped app's folder, with data and an export, and its image under the name of a base.
async fn folder(b: &Archyd) -> anyhow::Result<()> {
    let hello = repository().join("apps/hello");
    b.node.push(&hello, "hello").await?;
    let scratch = tempfile::tempdir()?;
    let manifest = std::fs::read_to_string(hello.join("manifest.yml"))?;
    let manifest = manifest.replace("    resources:\n", &format!("{VOLUME}    resources:\n"));
    for (path, text) in [
        ("hello/manifest.yml", format!("{manifest}{EXPORT}")),
        ("hello/web/Containerfile", CONTAINERFILE.to_owned()),
        ("reader/manifest.yml", READER.to_owned()),
    ] {
        let local = scratch.path().join("file");
        std::fs::write(&local, text)?;
        b.node.push(&local, path).await?;
    }
    page_is(b, "first").await?;
    let archive = app_images().join("hello/web.oci.tar");
    ensure!(archive.is_file(), "the images are missing: run make apps");
    b.node.push(&archive, "shipped.tar").await?;
    let load = "set -e; podman load --quiet --input shipped.tar; podman tag localhost/hello-web:latest localhost/shipped:1; podman untag localhost/hello-web:latest localhost/hello-web:latest";
    shell(b, load).await?;
    Ok(())
}

async fn beside(b: &Archyd, real_page: &str) -> anyhow::Result<()> {
    let said = installs(b, "hello").await?;
    ensure!(
        said.contains("localhost/hello-web:latest: built\n"),
        "{said}"
    );
    let page = page(b).await?;
    ensure!(page != real_page, "both are at {page}");
    ensure!(http::status(real_page).await? == 200);
    ensure!(reads(b, &page).await? == "first");
    let instance = instance(b, "hello-dev").await?;
    let data = instance["data_dir"].as_str().unwrap_or_default();
    ensure!(
        data.ends_with(".local/share/archy/dev/apps/hello-dev/data"),
        "{data}"
    );
    // A file that the developer would miss.
    shell(b, &format!("podman unshare touch {data}/data/mine")).await?;
    ensure!(
        b.instance("hello-dev").await?.is_none(),
        "the node lists it"
    );
    Ok(())
}

async fn rebuilt(b: &Archyd) -> anyhow::Result<()> {
    let same = installs(b, "hello").await?;
    ensure!(
        same.contains("built before from the same context"),
        "{same}"
    );
    page_is(b, "second").await?;
    let changed = installs(b, "hello").await?;
    ensure!(changed.contains("hello-web:latest: built\n"), "{changed}");
    ensure!(reads(b, &page(b).await?).await? == "second");
    let kept = ".local/share/archy/dev/apps/hello-dev/data/data/mine";
    shell(b, &format!("podman unshare test -e {kept}")).await?;
    Ok(())
}

/// A tag that ends in `:local` is the developer's; here in Docker's form, whose ID no release names.
async fn by_hand(b: &Archyd) -> anyhow::Result<()> {
    let tag = "sed --in-place s/hello-web:latest/hello-web:local/ hello/manifest.yml";
    shell(b, tag).await?;
    let missing = b
        .node
        .exec(&["archy", "app", "install", "--dev", "hello"])
        .await?;
    ensure!(
        missing.status.code() == Some(5)
            && missing
                .stderr
                .contains("podman has no image localhost/hello-web:local"),
        "{missing:?}"
    );
    page_is(b, "third").await?;
    shell(
        b,
        "podman build --format docker --tag localhost/hello-web:local hello/web",
    )
    .await?;
    page_is(b, "fourth").await?;
    let said = installs(b, "hello").await?;
    ensure!(said.contains("yours, made by hand"), "{said}");
    ensure!(reads(b, &page(b).await?).await? == "third");
    shell(
        b,
        "sed --in-place s/hello-web:local/hello-web:latest/ hello/manifest.yml",
    )
    .await?;
    Ok(())
}

async fn depended_on(b: &Archyd) -> anyhow::Result<()> {
    installs(b, "reader").await?;
    let asks = "podman exec reader-dev /bin/busybox sh -c '/bin/busybox wget -q -O- \"${HELLO%/*}/page.html\"'";
    ensure!(shell(b, asks).await? == "third");
    let told = shell(b, "podman exec reader-dev /bin/busybox env").await?;
    ensure!(
        told.contains("HELLO=http://hello-dev:8080/hello.html"),
        "{told}"
    );
    let needed = b
        .node
        .exec(&["archy", "app", "uninstall", "--dev", "hello"])
        .await?;
    ensure!(
        needed.status.code() == Some(3) && needed.stderr.contains("reader-dev"),
        "{needed:?}"
    );
    // What is made anew is found again.
    installs(b, "hello").await?;
    ensure!(shell(b, asks).await? == "fourth");
    shell(b, "archy app uninstall --dev reader --purge").await?;
    left_of(b, "reader-dev").await
}

async fn tried(b: &Archyd) -> anyhow::Result<()> {
    let said = shell(b, "archy --json app test hello").await?;
    let said: Value = serde_json::from_str(&said)?;
    let states = said["states"].as_array().context("no states")?;
    let states: Vec<&str> = states
        .iter()
        .filter_map(|state| state["state"].as_str())
        .collect();
    ensure!(
        states
            == [
                "install",
                "page answers",
                "stop",
                "start",
                "restart",
                "reinstall keeps data",
                "uninstall keeps data",
                "install finds data",
                "purge leaves nothing"
            ],
        "{states:?}"
    );
    left_of(b, "hello-test").await?;
    // It is ended well also when somebody interrupts it.
    let interrupted = b
        .node
        .exec(&[
            "timeout",
            "--signal=INT",
            "--preserve-status",
            "2",
            "archy",
            "app",
            "test",
            "hello",
        ])
        .await?;
    ensure!(
        interrupted.status.code() == Some(1) && interrupted.stderr.contains("interrupted")
            || interrupted.stderr.contains("cancelled"),
        "{interrupted:?}"
    );
    left_of(b, "hello-test").await?;
    // Units of somebody else are not replaced.
    let theirs = ".config/containers/systemd/archy/hello-test";
    shell(b, &format!("mkdir {theirs} && touch {theirs}/theirs")).await?;
    let refused = b.node.exec(&["archy", "app", "test", "hello"]).await?;
    ensure!(
        refused.status.code() == Some(3) && refused.stderr.contains(theirs),
        "{refused:?}"
    );
    shell(b, &format!("rm {theirs}/theirs && rmdir {theirs}")).await?;
    // An app that fails is told of, and leaves nothing either.
    let broken = "printf 'FROM localhost/shipped:1\\nENTRYPOINT [\"/bin/busybox\", \"sh\", \"-c\", \"echo no cheese >&2; exit 7\"]\\n' >hello/web/Containerfile";
    shell(b, broken).await?;
    let failed = b.node.exec(&["archy", "app", "test", "hello"]).await?;
    ensure!(
        failed.status.code() == Some(1)
            && failed
                .stderr
                .contains("install: container web of hello-test did not come up")
            && failed.stderr.contains("no cheese"),
        "{failed:?}"
    );
    left_of(b, "hello-test").await?;
    ensure!(reads(b, &page(b).await?).await? == "fourth");
    Ok(())
}

async fn removed(b: &Archyd) -> anyhow::Result<()> {
    shell(b, "archy app logs --dev hello").await?;
    shell(b, "archy app uninstall --dev hello").await?;
    shell(
        b,
        "podman unshare test -e .local/share/archy/dev/apps/hello-dev/data/data/mine",
    )
    .await?;
    shell(b, "archy app uninstall --dev hello --purge").await?;
    left_of(b, "hello-dev").await
}

/// Nothing of an instance is left: units, containers, networks, volumes, secrets, images, directories.
async fn left_of(b: &Archyd, name: &str) -> anyhow::Result<()> {
    let left = b.left_of(name).await?;
    ensure!(left.is_empty(), "left of {name}: {left:?}");
    let all = "podman volume ls --quiet; podman secret ls --quiet --format '{{.Name}}'; podman images --format '{{.Repository}}'; ls .local/share/archy/dev/apps .local/share/archy/dev/snapshots .config/containers/archy-staging 2>/dev/null || true";
    let all = shell(b, all).await?;
    ensure!(!all.contains(name), "{all}");
    Ok(())
}

/// Installs from a folder and returns what was said on the way.
async fn installs(b: &Archyd, folder: &str) -> anyhow::Result<String> {
    let installed = b
        .node
        .exec(&["archy", "app", "install", "--dev", folder])
        .await?;
    ensure!(installed.status.success(), "{installed:?}");
    Ok(installed.stderr)
}

async fn instance(b: &Archyd, name: &str) -> anyhow::Result<Value> {
    let listed = shell(b, "archy --json app list --dev").await?;
    let listed: Vec<Value> = serde_json::from_str(&listed)?;
    let app = format!("/{name}");
    let mut found = listed.into_iter();
    let found = found.find(|one| one["app"].as_str().is_some_and(|id| id.ends_with(&app)));
    found.with_context(|| format!("{name} is not listed"))
}

async fn page(b: &Archyd) -> anyhow::Result<String> {
    let instance = instance(b, "hello-dev").await?;
    let port = instance["interfaces"][0]["host_port"].as_u64();
    let port = port.context("no port")?;
    Ok(format!("http://{}:{port}/", b.node.ip().await?))
}

async fn page_is(b: &Archyd, text: &str) -> anyhow::Result<()> {
    shell(b, &format!("printf {text} >hello/web/www/page.html")).await?;
    Ok(())
}

async fn reads(b: &Archyd, page: &str) -> anyhow::Result<String> {
    let page = format!("{page}page.html");
    Ok(b.node
        .exec_ok(&["curl", "--silent", "--fail", &page])
        .await?)
}

/// Which container the installed app is, and since when.
async fn started(b: &Archyd) -> anyhow::Result<String> {
    shell(
        b,
        "podman inspect --format '{{.Id}} {{.State.StartedAt}}' hello",
    )
    .await
}

async fn shell(b: &Archyd, script: &str) -> anyhow::Result<String> {
    Ok(b.node.exec_ok(&["sh", "-c", script]).await?)
}
