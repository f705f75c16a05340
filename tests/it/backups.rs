//! A database with a generated password is backed up by archyd, proven, lost with the app, and put back.

use anyhow::{Context, ensure};
use archy_tests::http;
use archy_tests::node::Bed;
use archy_tests::stage::{Archyd, Programs, ShippedApp, Stage};
use archyd::api::types::{
    BackupCreateParams, BackupInfo, BackupListParams, BackupPage, BackupRemoveParams,
    BackupRestoreParams, BackupVerifyParams, InstanceState, JobState, UninstallParams,
};

/// A reader of news with its database: two containers, a hook, data of a user of its own, two generated secrets.
const MINIFLUX: ShippedApp = ShippedApp {
    slug: "miniflux",
    containers: &["db", "web"],
};
/// Everything of the app's data, with owners and modes.
const DATA: &str = "podman unshare find .local/share/archy/apps/miniflux/data -mindepth 1 -printf '%P %U:%G %m %y\\n' | sort";
const SECRETS: &str =
    "cd .local/share/archy/apps/miniflux/secrets && stat -c '%n %a' * && head -v *";

#[tokio::test]
async fn a_purged_app_comes_back_with_its_data_and_secrets() -> anyhow::Result<()> {
    let stage = Stage::set_up(Bed::new("backups"), &Programs::built()?, ["b"]).await?;
    stage.logged("backups", comes_back(&stage)).await
}

async fn comes_back(stage: &Stage<1>) -> anyhow::Result<()> {
    let (a, [b]) = (&stage.publisher, &stage.stores);
    a.publish(&MINIFLUX).await?;
    let app = b.hears_of(MINIFLUX.slug).await?;
    let job = b.install(&app).await?;
    ensure!(
        job.state == JobState::Succeeded,
        "the install ended {:?}: {:?}",
        job.state,
        job.problem
    );
    sql(
        b,
        "CREATE TABLE kept AS SELECT 'what the owner wrote' AS text",
    )
    .await?;
    let secrets = b.node.exec_ok(&["sh", "-c", SECRETS]).await?;
    let data = owners(b).await?;

    let slug = || MINIFLUX.slug.to_owned();
    b.does("backup.create", BackupCreateParams { slug: slug() })
        .await?;
    b.becomes(MINIFLUX.slug, InstanceState::Running).await?;
    let made = only_backup(b).await?;
    ensure!(made.app == app, "the backup is of {:?}", made.app);
    ensure!(made.size_bytes > 1_000_000, "no database: {made:?}");

    let newest = BackupVerifyParams {
        slug: Some(slug()),
        backup: None,
    };
    b.does("backup.verify", newest).await?;
    let proof = only_backup(b).await?.proof.context("it is not proven")?;
    ensure!(proof.failure.is_none(), "{proof:?}");

    sql(b, "DROP TABLE kept").await?;
    let purge = UninstallParams {
        slug: slug(),
        purge: true,
        force: false,
    };
    b.does("package.uninstall", purge).await?;
    b.nothing_runs_of(MINIFLUX.slug).await?;

    let restore = BackupRestoreParams {
        backup: made.id.clone(),
    };
    b.does("backup.restore", restore).await?;
    b.becomes(MINIFLUX.slug, InstanceState::Running).await?;
    let read = sql(b, "SELECT text FROM kept, users WHERE username = 'owner'").await?;
    ensure!(
        read.trim() == "what the owner wrote",
        "the database has {read:?}"
    );
    ensure!(
        b.node.exec_ok(&["sh", "-c", SECRETS]).await? == secrets,
        "the secrets are others"
    );
    let restored = owners(b).await?;
    let changed: Vec<&String> = data
        .iter()
        .filter(|line| !restored.contains(line))
        .collect();
    ensure!(
        changed.is_empty(),
        "files are gone or another's: {changed:?}"
    );
    let instance = b.instance(MINIFLUX.slug).await?;
    let page = b.page_of(&instance.context("it is not installed")?).await?;
    let status = http::status(&page).await?;
    ensure!((200..400).contains(&status), "{page} answered {status}");

    let remove = BackupRemoveParams { backup: made.id };
    let left: BackupPage = b.call("backup.remove", remove).await?;
    ensure!(left.backups.is_empty(), "{:?} is left", left.backups);
    Ok(())
}

async fn sql(store: &Archyd, statement: &str) -> anyhow::Result<String> {
    let psql = [
        "podman",
        "exec",
        "miniflux-db",
        "psql",
        "--host=/tmp",
        "--username=miniflux",
    ];
    let said = [
        "--quiet",
        "--tuples-only",
        "--no-align",
        "--command",
        statement,
    ];
    Ok(store.node.exec_ok(&[&psql[..], &said].concat()).await?)
}

/// Lists what the database keeps for good: its files of relations come and go, its directories and settings stay.
async fn owners(store: &Archyd) -> anyhow::Result<Vec<String>> {
    let listed = store.node.exec_ok(&["sh", "-c", DATA]).await?;
    let stays = |line: &&str| line.ends_with(" d") || line.contains("PG_VERSION");
    let lines: Vec<String> = listed.lines().filter(stays).map(str::to_owned).collect();
    ensure!(lines.len() > 10, "no database: {listed}");
    Ok(lines)
}

async fn only_backup(store: &Archyd) -> anyhow::Result<BackupInfo> {
    let params = BackupListParams {
        slug: Some(MINIFLUX.slug.to_owned()),
        refresh: true,
    };
    let page: BackupPage = store.call("backup.list", params).await?;
    ensure!(page.backups.len() == 1, "{:?}", page.backups);
    page.backups.into_iter().next().context("no backup")
}
