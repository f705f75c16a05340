//! Room for blobs on real stores: what stays, what goes, and what happens when there is none.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use archy_registry::Blake3Hash;
use archy_swarm::storage::{Bound, Wrong};
use archy_swarm::{Class, FetchError, FetchRequest, ProvideError, Role, RoomLimits};
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, Fault, Node, bad_peer, bytes, request, tag, until, wanted};

const MB: usize = 1_000_000;

fn quota(config: &mut archy_swarm::Config, quota_bytes: u64) {
    config.room = RoomLimits {
        quota_bytes: Some(quota_bytes),
        free_bytes_min: Some(0),
    };
}

fn under(name: &str, class: Class, data: &[u8], origin: &Node) -> FetchRequest {
    FetchRequest {
        tag: tag(name),
        class,
        ..request(&[data], &[&origin.endpoint()], &[])
    }
}

async fn fetch(node: &Node, request: FetchRequest) -> Result<archy_swarm::Fetched, FetchError> {
    node.fetch(request, &CancellationToken::new())
        .finish()
        .await
}

fn class(node: &Node, name: &str) -> Option<Class> {
    let usage = node.tags().into_iter().find(|usage| usage.tag == tag(name));
    usage.map(|usage| usage.class)
}

#[tokio::test]
async fn of_fetched_blobs_that_are_let_go_no_file_stays() {
    let origin = Node::start().await;
    let node = Node::start_with(|config| quota(config, 100 * MB as u64)).await;
    // Their outboards are smaller and larger than what the store's database takes in by itself.
    for (n, size) in [20_000, MB, 5 * MB].into_iter().enumerate() {
        let (name, data) = (format!("t{n}"), bytes(size, 30 + n as u64));
        let provided = origin.provide(&tag(&name), &data[..], None).await;
        provided.unwrap();
        let fetched = fetch(&node, under(&name, Class::Cache, &data, &origin)).await;
        fetched.unwrap();
        node.withdraw(&tag(&name)).await.unwrap();
    }
    node.collect().await.unwrap();
    let young = node.data_file(Blake3Hash::of(b"young"));
    let files = || std::fs::read_dir(young.parent().unwrap()).unwrap();
    // What is about to become a blob is young.
    let long_ago = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    for file in files() {
        let file = std::fs::File::open(file.unwrap().path()).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    std::fs::write(&young, [1; 100]).unwrap();
    let check = node.fsck(&CancellationToken::new(), |_| {}).await.unwrap();
    assert_eq!(check.progress.blobs_total, 0);
    let left: Vec<_> = files().map(|file| file.unwrap().path()).collect();
    assert_eq!(left, [young]);
}

#[tokio::test]
async fn old_files_of_what_is_here_stay() {
    let data = bytes(MB, 40);
    let origin = Node::with_blob(&data).await;
    let node = Node::start().await;
    fetch(&node, under("app", Class::Cache, &data, &origin))
        .await
        .unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    let file = node.data_file(wanted(&data).blake3);
    for file in [file.with_extension("obao4"), file] {
        let file = std::fs::File::open(file).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    node.fsck(&CancellationToken::new(), |_| {}).await.unwrap();
    let read = node.read(wanted(&data).blake3, MB as u64).await.unwrap();
    assert_eq!(read, data);
}

#[tokio::test]
async fn cache_makes_room_and_what_is_installed_stays_and_is_served() {
    let data: Vec<Vec<u8>> = (0..4).map(|seed| bytes(MB, seed + 1)).collect();
    let origin = Node::start().await;
    for (n, data) in data.iter().enumerate() {
        origin
            .provide(&tag(&format!("o{n}")), &data[..], None)
            .await
            .unwrap();
    }
    let node = Node::start_with(|config| quota(config, 3 * MB as u64 + 100_000)).await;
    for (n, name) in ["old", "app", "new"].into_iter().enumerate() {
        fetch(&node, under(name, Class::Cache, &data[n], &origin))
            .await
            .unwrap();
        if name == "app" {
            node.set_class(&tag("app"), Class::Installed).await.unwrap();
        }
    }
    let room = node.room().unwrap();
    assert!(room.used_bytes <= room.quota_bytes, "{room:?}");
    fetch(&node, under("next", Class::Cache, &data[3], &origin))
        .await
        .unwrap();
    assert_eq!(class(&node, "app"), Some(Class::Installed));
    assert_eq!(class(&node, "old"), None, "what was used longest ago went");
    assert!(!node.has(wanted(&data[0]).blake3).await.unwrap());
    assert!(
        !node.data_file(wanted(&data[0]).blake3).exists(),
        "its room is free"
    );
    // Others can still install it from here.
    let other = Node::start().await;
    fetch(&other, under("app", Class::Cache, &data[1], &node))
        .await
        .unwrap();
    until(async || node.uploaded(&tag("app")) >= MB as u64).await;
}

#[tokio::test]
async fn a_fetch_that_does_not_fit_is_refused_with_numbers() {
    let (installed, more) = (bytes(2 * MB, 1), bytes(2 * MB, 2));
    let origin = Node::with_blob(&more).await;
    let node = Node::start_with(|config| quota(config, 3 * MB as u64)).await;
    node.provide(&tag("mine"), &installed[..], None)
        .await
        .unwrap();
    let error = fetch(&node, under("more", Class::Cache, &more, &origin))
        .await
        .unwrap_err();
    let FetchError::Full(full) = &error else {
        panic!("{error}");
    };
    assert_eq!(full.needed_bytes, 2 * MB as u64);
    assert_eq!(full.room_bytes, MB as u64);
    assert_eq!(full.freeable_bytes, 0);
    assert_eq!(
        full.bound,
        Bound::Quota {
            quota_bytes: 3 * MB as u64
        }
    );
    assert!(
        error
            .to_string()
            .contains("2.0 MB are needed, 1.0 MB are free of the 3.0 MB"),
        "{error}"
    );
    assert_eq!(node.tags().len(), 1, "nothing is left of it");
    let error = node
        .provide(&tag("mine"), &more[..], None)
        .await
        .unwrap_err();
    assert!(matches!(error, ProvideError::Full(_)), "{error}");
    // With what was there gone, it fits.
    node.withdraw(&tag("mine")).await.unwrap();
    node.collect().await.unwrap();
    fetch(&node, under("more", Class::Cache, &more, &origin))
        .await
        .unwrap();
    assert_eq!(node.room().unwrap().used_bytes, 2 * MB as u64);
}

#[tokio::test]
async fn what_is_used_or_offered_to_podman_does_not_go() {
    let data: Vec<Vec<u8>> = (0..3).map(|seed| bytes(MB, seed + 10)).collect();
    let origin = Node::start().await;
    for data in &data {
        origin.provide(&tag("o"), &data[..], None).await.unwrap();
    }
    let node = Node::start_with(|config| quota(config, 2_300_000)).await;
    fetch(&node, under("a", Class::Cache, &data[0], &origin))
        .await
        .unwrap();
    fetch(&node, under("b", Class::Cache, &data[1], &origin))
        .await
        .unwrap();
    let using = node.use_tag(&tag("a"));
    let layer = archy_registry::release::Descriptor {
        digest: archy_registry::OciDigest::from_sha256([7; 32]),
        media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        size_bytes: MB as u64,
        blake3: wanted(&data[1]).blake3,
        diff_id: None,
    };
    node.oci().serve("demo", [&layer]).unwrap();
    let refused = fetch(&node, under("c", Class::Cache, &data[2], &origin)).await;
    assert!(matches!(refused, Err(FetchError::Full(_))), "{refused:?}");
    node.oci().withdraw("demo");
    fetch(&node, under("c", Class::Cache, &data[2], &origin))
        .await
        .unwrap();
    assert_eq!(
        (class(&node, "a"), class(&node, "b")),
        (Some(Class::Cache), None)
    );
    drop(using);
}

const CHILD: &str = "ARCHY_SWARM_STORAGE_CHILD";

/// Not a test of its own: the process that is killed below.
#[tokio::test]
async fn child_that_holds_and_is_killed() {
    let Ok(job) = std::env::var(CHILD) else {
        return;
    };
    let (dir, origin): (std::path::PathBuf, archy_registry::release::Endpoint) =
        serde_json::from_str(&job).unwrap();
    let node = Node::start_in(&dir, |_| {}).await;
    node.provide(&tag("kept"), &bytes(MB, 1)[..], None)
        .await
        .unwrap();
    let app = FetchRequest {
        tag: tag("app"),
        ..request(&[&bytes(MB, 2)], &[&origin], &[])
    };
    fetch(&node, app).await.unwrap();
    node.set_class(&tag("app"), Class::Installed).await.unwrap();
    // No flush, no destructors.
    let killed =
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    killed.unwrap();
}

#[tokio::test]
async fn holds_survive_a_kill_the_moment_they_are_made() {
    let temp = tempfile::tempdir().unwrap();
    let (kept, fetched) = (bytes(MB, 1), bytes(MB, 2));
    let origin = Node::with_blob(&fetched).await;
    let job = serde_json::to_string(&(temp.path(), origin.endpoint())).unwrap();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["storage::child_that_holds_and_is_killed", "--exact"])
        .env(CHILD, job)
        .stdout(std::process::Stdio::null())
        .spawn();
    let ended = tokio::task::spawn_blocking(move || child.unwrap().wait().unwrap());
    let ended = tokio::time::timeout(DEADLINE, ended)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&ended),
        Some(9)
    );
    let node = Node::start_in(temp.path(), |_| {}).await;
    let tags: Vec<_> = node
        .tags()
        .into_iter()
        .map(|usage| {
            (
                usage.tag.to_string(),
                usage.class,
                usage.complete,
                usage.shared,
            )
        })
        .collect();
    assert_eq!(
        tags,
        [
            ("app".to_owned(), Class::Installed, true, true),
            ("kept".to_owned(), Class::Publishing, true, true),
        ]
    );
    node.collect().await.unwrap();
    for data in [&kept, &fetched] {
        let blob = wanted(data).blake3;
        assert!(node.serves(blob));
        assert_eq!(node.read(blob, MB as u64).await.unwrap(), data[..]);
    }
}

#[tokio::test]
async fn an_older_store_is_taken_over_with_its_tags() {
    use iroh_blobs::store::fs::FsStore;
    let temp = tempfile::tempdir().unwrap();
    let (shared, kept) = (bytes(MB, 1), bytes(MB, 2));
    let missing = wanted(b"not here");
    let store = FsStore::load(temp.path().join("blobs")).await.unwrap();
    for (data, hold) in [(&shared, "shared"), (&kept, "kept")] {
        let added = store.add_slice(data).temp_tag().await.unwrap();
        let name = format!("{hold}#old/1#{}", wanted(data).blake3);
        store
            .tags()
            .set(name, added.hash_and_format())
            .await
            .unwrap();
    }
    let hash = iroh_blobs::Hash::from_bytes(*missing.blake3.as_bytes());
    let name = format!("partial-shared#other#{}", missing.blake3);
    store
        .tags()
        .set(name, iroh_blobs::HashAndFormat::raw(hash))
        .await
        .unwrap();
    store.sync_db().await.unwrap();
    store.shutdown().await.unwrap();

    for _ in 0..2 {
        let node = Node::start_in(temp.path(), |_| {}).await;
        let tags: Vec<_> = node
            .tags()
            .into_iter()
            .map(|usage| {
                (
                    usage.tag.to_string(),
                    usage.class,
                    usage.blobs,
                    usage.complete,
                )
            })
            .collect();
        assert_eq!(
            tags,
            [
                ("old/1".to_owned(), Class::Publishing, 2, true),
                ("other".to_owned(), Class::Publishing, 1, false),
            ]
        );
        node.collect().await.unwrap();
        assert!(node.serves(wanted(&shared).blake3) && !node.serves(wanted(&kept).blake3));
        assert_eq!(
            node.read(wanted(&kept).blake3, MB as u64).await.unwrap(),
            kept[..]
        );
        node.shutdown().await;
    }
    let store = FsStore::load(temp.path().join("blobs")).await.unwrap();
    assert_eq!(
        store.tags().delete_all().await.unwrap(),
        0,
        "iroh's tags are not used any more"
    );
}

/// Gives fsck something to find.
fn flip_a_bit(file: &Path) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 500_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 500_000).unwrap();
}

#[tokio::test]
async fn fsck_finds_a_flipped_bit_and_a_missing_file_and_the_next_fetch_mends_them() {
    let data: Vec<Vec<u8>> = (0..3).map(|seed| bytes(MB, seed + 20)).collect();
    let small = bytes(1000, 30);
    let origin = Node::start().await;
    let node = Node::start().await;
    let all: Vec<&[u8]> = data.iter().chain([&small]).map(Vec::as_slice).collect();
    for data in &all {
        origin.provide(&tag("o"), *data, None).await.unwrap();
    }
    let fetch_all = FetchRequest {
        tag: tag("app"),
        ..request(&all, &[&origin.endpoint()], &[])
    };
    fetch(&node, fetch_all.clone()).await.unwrap();
    node.set_class(&tag("app"), Class::Installed).await.unwrap();
    let blob = |n: usize| wanted(&data[n]).blake3;
    flip_a_bit(&node.data_file(blob(0)));
    std::fs::remove_file(node.data_file(blob(1))).unwrap();
    let orphan = Blake3Hash::of(b"orphan");
    std::fs::write(node.data_file(orphan), vec![1; 10_000]).unwrap();

    let mut told = Vec::new();
    let stop = CancellationToken::new();
    let found = node
        .fsck(&stop, |progress| told.push(progress))
        .await
        .unwrap();
    assert_eq!(told.last().unwrap().blobs_done, 4);
    assert_eq!(found.progress.bytes_done, found.progress.bytes_total);
    let mut bad: Vec<_> = found
        .bad
        .iter()
        .map(|damage| (damage.blob, damage.wrong))
        .collect();
    bad.sort_by_key(|(blob, _)| *blob);
    let mut expected = vec![(blob(0), Wrong::Damaged), (blob(1), Wrong::Missing)];
    expected.sort_by_key(|(blob, _)| *blob);
    assert_eq!(bad, expected);
    assert_eq!(found.bad[0].tags, [(tag("app"), Class::Installed)]);
    assert!(
        (10_000..50_000).contains(&found.unheld_bytes),
        "{}",
        found.unheld_bytes
    );
    assert!(!node.has(blob(0)).await.unwrap() && !node.has(blob(1)).await.unwrap());
    assert!(node.has(blob(2)).await.unwrap());
    assert!(!node.tags()[0].complete);

    let fetched = fetch(&node, fetch_all).await.unwrap();
    assert_eq!(fetched.bytes_reused, (MB + small.len()) as u64);
    assert_eq!(class(&node, "app"), Some(Class::Installed));
    for data in &all {
        assert_eq!(
            node.read(wanted(data).blake3, MB as u64).await.unwrap(),
            *data
        );
    }
    let found = node.fsck(&stop, |_| {}).await.unwrap();
    assert!(found.bad.is_empty(), "{found:?}");
    stop.cancel();
    let found = node.fsck(&stop, |_| {}).await.unwrap();
    assert_eq!(found.progress.blobs_done, 0, "it is stopped");
}

#[tokio::test]
async fn damage_is_remembered_over_a_restart_and_mended_by_providing_the_blob_again() {
    let temp = tempfile::tempdir().unwrap();
    let data = bytes(MB, 40);
    let blob = wanted(&data).blake3;
    let node = Node::start_in(temp.path(), |_| {}).await;
    node.provide(&tag("mine"), &data[..], None).await.unwrap();
    flip_a_bit(&node.data_file(blob));
    node.fsck(&CancellationToken::new(), |_| {}).await.unwrap();
    assert_eq!(node.tags()[0].class, Class::Publishing);
    node.shutdown().await;
    let node = Node::start_in(temp.path(), |_| {}).await;
    assert!(!node.has(blob).await.unwrap() && !node.tags()[0].complete);
    node.provide_as(&tag("mine"), Some(Role::Layer), &data[..], None)
        .await
        .unwrap();
    assert!(node.serves(blob) && node.tags()[0].complete);
    assert_eq!(node.read(blob, MB as u64).await.unwrap(), data);
}

#[tokio::test]
async fn a_collector_that_ends_comes_back_and_a_fetch_goes_on() {
    let (held, dropped) = (bytes(MB, 1), bytes(MB, 2));
    let slow = bytes(3 * MB, 3);
    let half = bad_peer(&[&slow], Fault::StallsAfter(2 * MB)).await;
    let node = Node::start_with(|config| {
        config.gc_interval = Duration::from_millis(20);
        config.patience.stall = DEADLINE;
    })
    .await;
    node.provide(&tag("held"), &held[..], None).await.unwrap();
    node.provide(&tag("dropped"), &dropped[..], None)
        .await
        .unwrap();
    let slow_request = request(&[&slow], &[&half.endpoint()], &[]);
    let running = node.fetch(slow_request, &CancellationToken::new());
    let mut progress = running.progress();
    let began = progress.wait_for(|progress| progress.bytes_done > MB as u64);
    tokio::time::timeout(DEADLINE, began)
        .await
        .unwrap()
        .unwrap();

    node.kill_collector().await;
    node.withdraw(&tag("dropped")).await.unwrap();
    // This returns only when a collector has run.
    tokio::time::timeout(DEADLINE, node.collect())
        .await
        .unwrap()
        .unwrap();
    assert!(!node.has(wanted(&dropped).blake3).await.unwrap());
    assert!(!node.data_file(wanted(&dropped).blake3).exists());
    assert_eq!(
        node.read(wanted(&held).blake3, MB as u64).await.unwrap(),
        held
    );
    // The one that was under way was not ended by that, and what it has is still here.
    let whole = Node::with_blob(&slow).await;
    drop(running);
    let rest = request(&[&slow], &[&whole.endpoint()], &[]);
    let fetched = fetch(&node, rest).await.unwrap();
    assert!(fetched.bytes_reused >= MB as u64, "{fetched:?}");
    // Another node can still fetch from here.
    let other = Node::start().await;
    fetch(&other, request(&[&held], &[&node.endpoint()], &[]))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_fetch_finishes_although_the_store_is_opened_again_underneath_it() {
    let data = bytes(24 * MB, 5);
    let origin = Node::with_blob(&data).await;
    let node = Node::start().await;
    let running = node.fetch(
        request(&[&data], &[&origin.endpoint()], &[]),
        &CancellationToken::new(),
    );
    let mut progress = running.progress();
    let began = progress.wait_for(|progress| progress.bytes_total > 0);
    tokio::time::timeout(DEADLINE, began)
        .await
        .unwrap()
        .unwrap();
    node.kill_collector().await;
    node.collect().await.unwrap();
    let fetched = tokio::time::timeout(DEADLINE, running.finish())
        .await
        .unwrap();
    fetched.unwrap();
    assert_eq!(
        node.read(wanted(&data).blake3, data.len() as u64)
            .await
            .unwrap(),
        data
    );
}

#[tokio::test]
async fn uploads_are_kept_over_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let data = bytes(MB, 50);
    let node = Node::start_in(temp.path(), |_| {}).await;
    node.provide(&tag("mine"), &data[..], None).await.unwrap();
    let other = Node::start().await;
    fetch(&other, request(&[&data], &[&node.endpoint()], &[]))
        .await
        .unwrap();
    // More when a request was broken off and made again.
    until(async || node.uploaded(&tag("mine")) >= MB as u64).await;
    assert_eq!(node.uploaded_since(u32::MAX), 0);
    node.shutdown().await;
    let sent = node.uploaded(&tag("mine"));
    assert_eq!(node.uploaded_since(0), sent);
    let node = Node::start_in(temp.path(), |_| {}).await;
    assert_eq!(node.uploaded(&tag("mine")), sent);
    assert_eq!(node.uploaded_since(0), sent);
}

/// A small file system in memory; gone with the value. Only root can make one.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=700"),
                "tmpfs",
            ])
            .arg(dir.path())
            .output()
            .expect("mount is installed (package mount)");
        assert!(
            mounted.status.success(),
            "cannot mount a tmpfs; run this test as root or in a container that may mount: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all but so many bytes, whoever else is writing.
    fn fill(&self, leave_bytes: u64) {
        let mut filler = std::fs::File::create(self.path().join("filler")).unwrap();
        let piece = vec![1; 64 * 1024];
        loop {
            let stat = rustix::fs::statvfs(self.path()).unwrap();
            let free = stat.f_bavail * stat.f_frsize;
            let left = usize::try_from(free.saturating_sub(leave_bytes)).unwrap();
            if left == 0 || filler.write_all(&piece[..left.min(piece.len())]).is_err() {
                return;
            }
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn small_disk(config: &mut archy_swarm::Config) {
    config.room = RoomLimits {
        quota_bytes: Some(u64::MAX),
        free_bytes_min: Some(3 * MB as u64),
    };
}

#[tokio::test]
async fn a_full_disk_refuses_before_the_first_byte() {
    let disk = Tmpfs::new("48m");
    let data = bytes(20 * MB, 60);
    let origin = Node::with_blob(&data).await;
    let node = Node::start_in(disk.path(), small_disk).await;
    disk.fill(10 * MB as u64);
    let error = fetch(&node, under("app", Class::Cache, &data, &origin))
        .await
        .unwrap_err();
    let FetchError::Full(full) = &error else {
        panic!("{error}");
    };
    assert_eq!(full.needed_bytes, 20 * MB as u64);
    assert!(
        (6 * MB as u64..=7 * MB as u64).contains(&full.room_bytes),
        "{full:?}"
    );
    assert!(matches!(&full.bound, Bound::Disk { kept_bytes, .. } if *kept_bytes == 3 * MB as u64));
    assert!(
        error
            .to_string()
            .contains(&disk.path().display().to_string()),
        "{error}"
    );
    assert_eq!(node.status().bytes_fetched, 0);
    disk.empty();
    fetch(&node, under("app", Class::Cache, &data, &origin))
        .await
        .unwrap();
    node.shutdown().await;
}

#[tokio::test]
async fn a_disk_that_fills_up_meanwhile_ends_the_fetch_with_numbers_and_it_goes_on_later() {
    let disk = Tmpfs::new("64m");
    let data = bytes(24 * MB, 61);
    let peer = bad_peer(&[&data], Fault::StallsAfter(8 * MB)).await;
    let node = Node::start_in(disk.path(), |config| {
        small_disk(config);
        config.patience.attempts_max = 1000;
        config.patience.idle = DEADLINE;
    })
    .await;
    let held = bytes(MB, 62);
    node.provide(&tag("mine"), &held[..], None).await.unwrap();
    let all = request(&[&data], &[&peer.endpoint()], &[]);
    let running = node.fetch(all.clone(), &CancellationToken::new());
    let mut progress = running.progress();
    // What is broken off and asked for again counts among what the provider sends before it stalls.
    let half = progress.wait_for(|progress| progress.bytes_done > 2 * MB as u64);
    tokio::time::timeout(DEADLINE, half).await.unwrap().unwrap();
    // Room was reserved for all of it; now somebody else takes it.
    disk.fill(0);
    peer.recover();
    let ended = tokio::time::timeout(DEADLINE, running.finish())
        .await
        .unwrap();
    let error = ended.unwrap_err();
    let FetchError::Full(full) = &error else {
        panic!("{error}");
    };
    assert!(
        (1..=22 * MB as u64).contains(&full.needed_bytes),
        "what is here is not needed again: {full:?}"
    );
    assert_eq!(full.room_bytes, 0);
    // As long as the disk is full it stays so, and says so at once.
    let again = tokio::time::timeout(DEADLINE, fetch(&node, all.clone()))
        .await
        .unwrap();
    assert!(matches!(again, Err(FetchError::Full(_))), "{again:?}");
    disk.empty();
    let fetched = fetch(&node, all).await.unwrap();
    assert!(fetched.bytes_reused > MB as u64, "{fetched:?}");
    assert_eq!(
        node.read(wanted(&data).blake3, data.len() as u64)
            .await
            .unwrap(),
        data
    );
    assert_eq!(
        node.read(wanted(&held).blake3, MB as u64).await.unwrap(),
        held
    );
    node.shutdown().await;
}
