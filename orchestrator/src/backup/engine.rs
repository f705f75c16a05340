//! restic, the program that keeps backups: the only module that knows its arguments and its words.
//!
//! It reads and writes apps' data in the user namespace of podman's containers, where the data's owners are its own. The
//! password is in a file that only its name is told of.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use archy_registry::{AppId, Blake3Hash};
use futures_util::StreamExt;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio_util::codec::{FramedRead, LinesCodec};

use super::{Backup, BackupId, Keep};
use crate::disk;
use crate::runtime::transient::{Order, Transient, Work};

/// What marks a backup that is whole, among whatever else the repository may hold.
const WHOLE: &str = "archy";
/// What marks one that is being made; it is not one as long as it has this mark.
const UNFINISHED: &str = "archy-unfinished";
/// The name that stands for this machine's: a backup does not tell where it was made.
const HOST: &str = "archy";
/// Its exit code when it was asked to end.
const ENDED: i32 = 130;
/// What it does when it can find damage.
const CHECKING: &str = "find the repository whole";
const FETCHING: &str = "read the backup";
/// Words of what a machine lacks, whatever the repository holds.
const LACKS: [&str; 8] = [
    "no space left on device",
    "disk quota exceeded",
    "permission denied",
    "operation not permitted",
    "read-only file system",
    "cannot allocate memory",
    "out of memory",
    "stale file handle",
];
/// Bytes of one line of the engine's output; a list of many thousand backups is one.
const LINE_BYTES_MAX: usize = 64 << 20;
/// Characters of its words that are shown.
const SHOWN_MAX: usize = 400;
/// Characters of a version on a label.
const VERSION_MAX: usize = 100;
/// Random bytes in a password.
const PASSWORD_BYTES: usize = 32;
/// Variables that would have it use another repository or password.
const FOREIGN: [&str; 8] = [
    "RESTIC_REPOSITORY",
    "RESTIC_REPOSITORY_FILE",
    "RESTIC_PASSWORD",
    "RESTIC_PASSWORD_FILE",
    "RESTIC_PASSWORD_COMMAND",
    "RESTIC_KEY_HINT",
    "RESTIC_CACHE_DIR",
    "RESTIC_HOST",
];

/// The engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It is not installed.
    #[error("backups need restic, and {program} is not there; as root: apt install restic")]
    Absent {
        /// Where it was looked for.
        program: PathBuf,
    },
    /// The repository has a password that this node does not have.
    #[error(
        "the backups in {repository} are locked with a password that this node does not have; write it into {file} (mode 0600)"
    )]
    Locked {
        /// The repository.
        repository: PathBuf,
        /// Where the password belongs.
        file: PathBuf,
    },
    /// Others can read the password.
    #[error("others can read the password of the backups in {0}; run chmod 600 on it")]
    Exposed(PathBuf),
    /// Randomness.
    #[error("cannot read random bytes from the operating system")]
    Random(#[source] getrandom::Error),
    /// What lies in the repository is damaged.
    #[error("could not {doing}: {said}")]
    Damaged {
        /// What it was doing.
        doing: &'static str,
        /// Its words.
        said: String,
    },
    /// It failed.
    #[error("could not {doing}: {said}")]
    Failed {
        /// What it was doing.
        doing: &'static str,
        /// Its words.
        said: String,
    },
    /// It was ended before it was done, or did not say why it failed.
    #[error("could not {doing}: restic ended with {status}")]
    Ended {
        /// What it was doing.
        doing: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A file or directory, or the program could not be run.
    #[error("cannot access {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl EngineError {
    /// Tells whether what lies in the repository is to blame, and not this machine.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> EngineError + '_ {
    move |source| EngineError::Io {
        path: path.to_owned(),
        source,
    }
}

/// How far it is: bytes done and in all.
pub(super) type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// What is written on a new backup.
pub(super) struct Label<'a> {
    pub(super) app: &'a AppId,
    pub(super) release: Blake3Hash,
    pub(super) version: &'a str,
    pub(super) taken: Timestamp,
    pub(super) bytes: u64,
}

/// The repository and the program that keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    program: PathBuf,
    transient: Transient,
    repository: PathBuf,
    password: PathBuf,
}

/// One run of the program.
struct Run<'a> {
    doing: &'static str,
    /// Whether it needs to be in podman's user namespace.
    inside: bool,
    directory: Option<&'a Path>,
    arguments: Vec<OsString>,
}

impl<'a> Run<'a> {
    fn new(doing: &'static str, arguments: &[&str]) -> Self {
        Self {
            doing,
            inside: false,
            directory: None,
            arguments: arguments.iter().map(OsString::from).collect(),
        }
    }

    fn inside(mut self, directory: &'a Path) -> Self {
        self.inside = true;
        self.directory = Some(directory);
        self
    }
}

impl Engine {
    pub(super) fn new(config: &crate::Config, transient: &Transient) -> Self {
        Self {
            program: config.restic.clone(),
            transient: transient.clone(),
            repository: config.backup_dir.join("restic"),
            password: config.data_dir.join("keys/backups.password"),
        }
    }

    pub(super) fn repository(&self) -> &Path {
        &self.repository
    }

    pub(super) fn password_file(&self) -> &Path {
        &self.password
    }

    /// Tells whether there is a repository.
    pub(super) fn exists(&self) -> bool {
        self.repository.join("config").exists()
    }

    /// Makes sure that program and password are there, and that nobody dead holds the repository.
    pub(super) async fn open(&self) -> Result<(), EngineError> {
        self.check_program()?;
        self.check_password()?;
        self.run(Run::new("take the repository over", &["unlock"]))
            .await
    }

    /// Makes the repository and its password, unless they are there, and opens it.
    pub(super) async fn make(&self) -> Result<(), EngineError> {
        self.check_program()?;
        if self.exists() {
            return self.open().await;
        }
        if !self.password.exists() {
            let mut random = [0; PASSWORD_BYTES];
            getrandom::fill(&mut random).map_err(EngineError::Random)?;
            let directory = self.password.parent().unwrap_or(&self.password);
            disk::create_private_dir(directory)
                .and_then(|()| disk::replace(&self.password, hex::encode(random).as_bytes(), 0o600))
                .map_err(io_at(&self.password))?;
        }
        self.check_password()?;
        let parent = self.repository.parent().unwrap_or(&self.repository);
        disk::create_private_dir(parent).map_err(io_at(parent))?;
        // A killed node leaves no half of a repository under its name.
        let fresh = Self {
            repository: self.repository.with_extension("new"),
            ..self.clone()
        };
        disk::remove_dir(&fresh.repository).map_err(io_at(&fresh.repository))?;
        fresh
            .run(Run::new("make the repository", &["init"]))
            .await?;
        std::fs::rename(&fresh.repository, &self.repository)
            .and_then(|()| disk::sync_dir(parent))
            .map_err(io_at(&self.repository))
    }

    fn check_program(&self) -> Result<(), EngineError> {
        match self.program.exists() {
            true => Ok(()),
            false => Err(EngineError::Absent {
                program: self.program.clone(),
            }),
        }
    }

    fn check_password(&self) -> Result<(), EngineError> {
        match std::fs::metadata(&self.password) {
            Ok(found) if found.permissions().mode() & 0o077 != 0 => {
                Err(EngineError::Exposed(self.password.clone()))
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.locked()),
            Err(error) => Err(io_at(&self.password)(error)),
        }
    }

    fn locked(&self) -> EngineError {
        EngineError::Locked {
            repository: self.repository.clone(),
            file: self.password.clone(),
        }
    }

    /// Marks a repository with something in it that may never be of any use.
    fn unfinished_file(&self) -> PathBuf {
        self.repository.with_extension("unfinished")
    }

    /// Does what leaves something in the repository when it is cut off. A mark that was there is for what others left.
    async fn marked(
        &self,
        work: impl Future<Output = Result<(), EngineError>>,
    ) -> Result<(), EngineError> {
        let mark = self.unfinished_file();
        let is_ours = !mark.exists();
        if is_ours {
            disk::write_synced(&mark, b"", 0o600).map_err(io_at(&mark))?;
        }
        work.await?;
        if is_ours && let Err(error) = disk::remove_file(&mark) {
            tracing::warn!(%error, path = %mark.display(), "the repository is looked through once more than it needs");
        }
        Ok(())
    }

    /// Puts what lies in `directory` into the repository. `exclude` are globs below its directory `data`.
    pub(super) async fn store(
        &self,
        directory: &Path,
        label: &Label<'_>,
        exclude: &[String],
        progress: Progress<'_>,
    ) -> Result<Backup, EngineError> {
        let doing = "store the backup";
        let taken = format!("taken={}", label.taken);
        let tags = [
            UNFINISHED.to_owned(),
            format!("app={}", label.app),
            format!("release={}", label.release),
            format!("version={}", plain_version(label.version)),
            taken.clone(),
            format!("bytes={}", label.bytes),
        ];
        let mut run = Run::new(doing, &["backup", "--json", "--host", HOST]).inside(directory);
        for tag in tags {
            run.arguments.extend(["--tag".into(), tag.into()]);
        }
        for glob in exclude {
            let pattern = excluded(directory, glob);
            run.arguments.extend(["--exclude".into(), pattern]);
        }
        run.arguments.push(".".into());
        let missing = || EngineError::Failed {
            doing,
            said: "it did not say under which name".to_owned(),
        };
        self.marked(async {
            let mut stored = None;
            self.lines(run, |line| {
                if let Ok(said) = serde_json::from_str::<Said>(line) {
                    match said.message_type.as_str() {
                        "status" => progress(said.bytes_done, said.total_bytes),
                        "summary" => stored = said.snapshot_id,
                        _ => {}
                    }
                }
            })
            .await?;
            let id = stored.ok_or_else(missing)?;
            // From here on it is one: the program ended well, so nothing of it is missing.
            let arguments = ["tag", "--add", WHOLE, "--remove", UNFINISHED, &id];
            self.run(Run::new(doing, &arguments)).await
        })
        .await?;
        let all = self.list().await?;
        all.into_iter()
            .find(|backup| backup.app == *label.app && backup.taken == label.taken)
            .ok_or_else(missing)
    }

    /// Lists the backups that are whole, oldest first.
    pub(super) async fn list(&self) -> Result<Vec<Backup>, EngineError> {
        let doing = "list the backups";
        let arguments = ["snapshots", "--json", "--no-lock", "--tag", WHOLE];
        let mut found = Vec::new();
        let mut failed = None;
        self.lines(Run::new(doing, &arguments), |line| {
            if !line.starts_with('[') {
                return;
            }
            match serde_json::from_str::<Vec<Stored>>(line) {
                Ok(stored) => found.extend(stored.into_iter().filter_map(|stored| backup(&stored))),
                Err(error) => failed = Some(error.to_string()),
            }
        })
        .await?;
        if let Some(said) = failed {
            return Err(EngineError::Failed { doing, said });
        }
        found.sort_by(|a: &Backup, b: &Backup| (a.taken, &a.id).cmp(&(b.taken, &b.id)));
        Ok(found)
    }

    /// Writes a backup into a directory.
    pub(super) async fn fetch(
        &self,
        backup: &Backup,
        directory: &Path,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let mut run = Run::new(FETCHING, &["restore", "--json", "--no-lock"]).inside(directory);
        run.arguments.extend(["--target".into(), ".".into()]);
        if self.keeps_holes().await? {
            run.arguments.push("--sparse".into());
        }
        run.arguments.push(backup.id.0.clone().into());
        self.lines(run, |line| {
            if let Ok(said) = serde_json::from_str::<Said>(line)
                && said.message_type == "status"
            {
                progress(said.bytes_restored, said.total_bytes);
            }
        })
        .await
    }

    /// Tells whether it leaves holes where a file had them; before version 0.15 it writes them out.
    async fn keeps_holes(&self) -> Result<bool, EngineError> {
        let mut version = None;
        self.lines(Run::new("tell its version", &["version"]), |line| {
            version = version.or_else(|| parsed_version(line));
        })
        .await?;
        Ok(version.is_some_and(|version| version >= (0, 15)))
    }

    /// Reads one file of a backup, no larger than `bytes_max`.
    pub(super) async fn read(
        &self,
        id: &BackupId,
        name: &str,
        bytes_max: u64,
    ) -> Result<Vec<u8>, EngineError> {
        let doing = "read a file of the backup";
        let run = Run::new(doing, &["dump", "--no-lock", &id.0, &format!("/{name}")]);
        let (mut work, output) = self.begin(&run).await?;
        let reading = async move {
            let mut bytes = Vec::new();
            let mut limited = output.take(bytes_max + 1);
            limited.read_to_end(&mut bytes).await.map(|_| bytes)
        };
        let (read, said) = tokio::join!(reading, work.said());
        let bytes = read.map_err(io_at(&self.program))?;
        if bytes.len() as u64 > bytes_max {
            return Err(EngineError::Failed {
                doing,
                said: format!("{name} is larger than any that archy writes"),
            });
        }
        self.end(work, doing, &said).await?;
        Ok(bytes)
    }

    /// Checks the repository's structure. A disk that is full, or takes nothing, holds no backup back: there is no lock.
    pub(super) async fn check(&self) -> Result<(), EngineError> {
        self.run(Run::new(CHECKING, &["check", "--no-lock"])).await
    }

    /// Lets go of what is not kept of an app's backups, and of what was never finished, with what only they hold. Those that
    /// a clock which was ahead has put into the future, `ahead` of them, take no other's place.
    pub(super) async fn thin(
        &self,
        app: &AppId,
        keep: Keep,
        ahead: usize,
    ) -> Result<(), EngineError> {
        let doing = "let go of old backups";
        let tags = format!("{WHOLE},app={app}");
        let mut run = Run::new(
            doing,
            &["forget", "--prune", "--group-by", "", "--tag", &tags],
        );
        for (option, count) in [
            // The newest always stays.
            ("--keep-last", keep.last.max(1)),
            ("--keep-daily", keep.daily),
            ("--keep-weekly", keep.weekly),
            ("--keep-monthly", keep.monthly),
        ] {
            if count > 0 {
                let count = usize::from(count) + ahead;
                run.arguments
                    .extend([option.into(), count.to_string().into()]);
            }
        }
        self.marked(self.run(run)).await?;
        self.drop_unfinished().await
    }

    /// Lets go of one backup, with what only it holds.
    pub(super) async fn remove(&self, id: &BackupId) -> Result<(), EngineError> {
        let run = Run::new("remove the backup", &["forget", "--prune", &id.0]);
        self.marked(self.run(run)).await
    }

    /// Lets go of all that was written for backups that came to nothing, because the node was killed, the disk was full or
    /// their owner changed their mind, and of what was left of those that were removed.
    pub(super) async fn drop_unfinished(&self) -> Result<(), EngineError> {
        let mark = self.unfinished_file();
        if !mark.exists() {
            return Ok(());
        }
        // What was cut off may have left its lock.
        self.open().await?;
        let doing = "let go of unfinished backups";
        let mut unfinished: Vec<String> = Vec::new();
        let arguments = ["snapshots", "--json", "--no-lock", "--tag", UNFINISHED];
        self.lines(Run::new(doing, &arguments), |line| {
            let stored: Vec<Stored> = serde_json::from_str(line).unwrap_or_default();
            unfinished.extend(stored.into_iter().map(|stored| stored.id));
        })
        .await?;
        unfinished.retain(|id| BackupId::try_from(id.clone()).is_ok());
        if !unfinished.is_empty() {
            let mut run = Run::new(doing, &["forget"]);
            run.arguments
                .extend(unfinished.into_iter().map(OsString::from));
            self.run(run).await?;
        }
        // What was cut off has no name, so that only this finds it.
        self.run(Run::new(doing, &["prune"])).await?;
        disk::remove_file(&mark).map_err(io_at(&mark))
    }

    async fn run(&self, run: Run<'_>) -> Result<(), EngineError> {
        self.lines(run, |_| {}).await
    }

    /// Runs the program to its end; `hear` gets each line of its output.
    async fn lines(&self, run: Run<'_>, mut hear: impl FnMut(&str)) -> Result<(), EngineError> {
        let (mut work, output) = self.begin(&run).await?;
        let hearing = async {
            let codec = LinesCodec::new_with_max_length(LINE_BYTES_MAX);
            let mut lines = FramedRead::new(output, codec);
            while let Some(line) = lines.next().await {
                match line {
                    Ok(line) => hear(&line),
                    Err(error) => return Err(error.to_string()),
                }
            }
            Ok(())
        };
        let (heard, said) = tokio::join!(hearing, work.said());
        self.end(work, run.doing, &said).await?;
        heard.map_err(|said| EngineError::Failed {
            doing: run.doing,
            said,
        })
    }

    /// Begins the program; given up, it is asked to end, and gives the repository back then.
    async fn begin(&self, run: &Run<'_>) -> Result<(Work, pipe::Receiver), EngineError> {
        let order = Order::new(&self.program)
            .arg("--repo")
            .arg(&self.repository)
            .arg("--password-file")
            .arg(&self.password)
            .arg("--no-cache")
            .args(&run.arguments)
            .env("RESTIC_PROGRESS_FPS", "4")
            .env_remove(&FOREIGN)
            .current_dir(run.directory.unwrap_or(Path::new("/")));
        let order = match run.inside {
            true => order.inside(),
            false => order,
        };
        let begun = self.transient.begin(order).await;
        let mut work = begun.map_err(io_at(&self.program))?;
        work.input = None;
        let output = work.output.take();
        let output = output.ok_or_else(|| io_at(Path::new("-"))(io::ErrorKind::BrokenPipe.into()));
        output.map(|output| (work, output))
    }

    async fn end(&self, work: Work, doing: &'static str, said: &str) -> Result<(), EngineError> {
        let status = work.end().await.map_err(io_at(&self.program))?;
        if status.success() {
            return Ok(());
        }
        let of_machine = of_machine(said);
        let said = words(of_machine.unwrap_or(said));
        if status.code() == Some(12) || said.contains("wrong password") {
            return Err(self.locked());
        }
        // A repository that went away with its disk is not damaged.
        let reads = [CHECKING, FETCHING].contains(&doing) && of_machine.is_none() && self.exists();
        match status.code() {
            Some(code) if said.is_empty() || code == ENDED => {
                Err(EngineError::Ended { doing, status })
            }
            Some(_) if reads => Err(EngineError::Damaged { doing, said }),
            Some(_) => Err(EngineError::Failed { doing, said }),
            None => Err(EngineError::Ended { doing, status }),
        }
    }
}

/// What it says while it works; each version adds members.
#[derive(Deserialize)]
struct Said {
    message_type: String,
    #[serde(default)]
    total_bytes: u64,
    #[serde(default)]
    bytes_done: u64,
    #[serde(default)]
    bytes_restored: u64,
    #[serde(default)]
    snapshot_id: Option<String>,
}

/// A backup as it lists it.
#[derive(Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    tags: Vec<String>,
}

/// Reads a label. Whoever has the password may have written it, so one that makes no sense is passed over.
fn backup(stored: &Stored) -> Option<Backup> {
    let tag = |name: &str| {
        let mut tags = stored.tags.iter();
        tags.find_map(|tag| tag.strip_prefix(name)?.strip_prefix('='))
    };
    Some(Backup {
        id: stored.id.clone().try_into().ok()?,
        app: tag("app")?.parse().ok()?,
        release: tag("release")?.parse().ok()?,
        version: plain_version(tag("version")?),
        taken: tag("taken")?.parse().ok()?,
        bytes: tag("bytes")?.parse().ok()?,
    })
}

/// Reads `restic 0.18.0 compiled with go1.24.4 on linux/amd64`.
fn parsed_version(line: &str) -> Option<(u32, u32)> {
    let mut parts = line
        .strip_prefix("restic ")?
        .split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A version as a label carries it: a comma would end the label.
fn plain_version(version: &str) -> String {
    let plain = version.chars().filter(|c| !c.is_control() && *c != ',');
    plain.take(VERSION_MAX).collect()
}

/// A glob below the data as one that nothing else matches. To restic a `**` at the end is the directory before it too, and
/// that may be the data itself: what is below it is meant.
fn excluded(directory: &Path, glob: &str) -> OsString {
    let mut pattern = String::new();
    for c in directory.to_string_lossy().chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push_str("/data/");
    let mut parts: Vec<&str> = glob.trim_start_matches('/').split('/').collect();
    if parts.last() == Some(&"**") {
        while parts.pop_if(|part| *part == "**").is_some() {}
        parts.push("*");
    }
    pattern.push_str(&parts.join("/"));
    pattern.into()
}

/// Finds the line of its error output that tells what the machine lacks.
fn of_machine(said: &str) -> Option<&str> {
    said.lines().find(|line| {
        let line = line.to_ascii_lowercase();
        LACKS.iter().any(|lack| line.contains(lack))
    })
}

/// The words for a person in its error output.
fn words(said: &str) -> String {
    #[derive(Deserialize)]
    struct Line {
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        error: Option<Inner>,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(default)]
        message: String,
    }
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut spoken = lines.map(|line| match serde_json::from_str::<Line>(line) {
        Ok(Line { message, error }) => {
            let inner = error.map(|error| error.message);
            message.or(inner).unwrap_or_default()
        }
        Err(_) => line.to_owned(),
    });
    let last = spoken.rfind(|line| !line.is_empty());
    let last = last.unwrap_or_default();
    let plain = last.trim_start_matches("Fatal: ").chars();
    plain.filter(|c| !c.is_control()).take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const APP: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/notes";

    /// An engine whose `podman unshare` runs what it is told to.
    fn engine(root: &Path) -> Engine {
        let podman = root.join("podman");
        std::fs::write(&podman, "#!/bin/sh\nshift\nexec \"$@\"\n").unwrap();
        std::fs::set_permissions(&podman, std::fs::Permissions::from_mode(0o755)).unwrap();
        Engine {
            program: PathBuf::from("/usr/bin/restic"),
            transient: Transient::of_children(&podman),
            repository: root.join("backups/restic"),
            password: root.join("keys/backups.password"),
        }
    }

    const NEWEST: Keep = Keep {
        last: 1,
        daily: 0,
        weekly: 0,
        monthly: 0,
    };

    fn staged(root: &Path, text: &str) -> PathBuf {
        let staged = root.join("staged");
        std::fs::create_dir_all(staged.join("data/v/cache")).unwrap();
        std::fs::write(staged.join("data/v/file"), text).unwrap();
        std::fs::write(staged.join("data/v/cache/big"), text).unwrap();
        std::fs::write(staged.join("backup.json"), "{}").unwrap();
        staged
    }

    fn label(app: &AppId, second: i64) -> Label<'_> {
        Label {
            app,
            release: Blake3Hash::of(b"release"),
            version: "1.0, final",
            taken: Timestamp::from_second(second).unwrap(),
            bytes: 7,
        }
    }

    #[tokio::test]
    async fn what_was_stored_is_listed_read_and_let_go() {
        let root = tempfile::tempdir().unwrap();
        let engine = engine(root.path());
        let app: AppId = APP.parse().unwrap();
        assert!(!engine.exists());
        engine.make().await.unwrap();
        engine.make().await.unwrap();
        let mode = std::fs::metadata(&engine.password)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut made = Vec::new();
        for second in [1, 2, 3] {
            let staged = staged(root.path(), &format!("text {second}"));
            let exclude = ["v/cache/**".to_owned()];
            let label = label(&app, second);
            let stored = engine.store(&staged, &label, &exclude, &|_, _| {});
            made.push(stored.await.unwrap());
        }
        assert_eq!(made[0].version, "1.0 final");
        assert_eq!(engine.list().await.unwrap(), made);
        let read = engine.read(&made[0].id, "backup.json", 10).await;
        assert_eq!(read.unwrap(), b"{}");
        assert!(engine.read(&made[0].id, "backup.json", 1).await.is_err());
        assert!(engine.read(&made[0].id, "missing", 10).await.is_err());
        let out = root.path().join("out");
        std::fs::create_dir(&out).unwrap();
        engine.fetch(&made[1], &out, &|_, _| {}).await.unwrap();
        assert_eq!(std::fs::read(out.join("data/v/file")).unwrap(), b"text 2");
        assert!(
            !out.join("data/v/cache/big").exists(),
            "the manifest excludes it"
        );
        engine.check().await.unwrap();
        engine.thin(&app, NEWEST, 0).await.unwrap();
        assert_eq!(engine.list().await.unwrap(), made[2..]);
        engine.remove(&made[2].id).await.unwrap();
        assert_eq!(engine.list().await.unwrap(), []);
        let packs = std::fs::read_dir(engine.repository.join("data")).unwrap();
        let packs = packs.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        assert_eq!(packs.count(), 0, "nothing is left of it");
    }

    #[tokio::test]
    async fn what_was_not_finished_is_no_backup() {
        let root = tempfile::tempdir().unwrap();
        let engine = engine(root.path());
        let app: AppId = APP.parse().unwrap();
        engine.make().await.unwrap();
        let staged = staged(root.path(), "text");
        let label = label(&app, 1);
        let tag = format!("app={app}");
        let arguments = ["backup", "--tag", UNFINISHED, "--tag", &tag, "."];
        engine
            .run(Run::new("test", &arguments).inside(&staged))
            .await
            .unwrap();
        std::fs::write(engine.unfinished_file(), "").unwrap();
        assert_eq!(engine.list().await.unwrap(), []);
        engine.drop_unfinished().await.unwrap();
        engine
            .store(&staged, &label, &[], &|_, _| {})
            .await
            .unwrap();
        assert!(!engine.unfinished_file().exists());
        assert_eq!(engine.list().await.unwrap().len(), 1);
        let snapshots = std::fs::read_dir(engine.repository.join("snapshots")).unwrap();
        assert_eq!(snapshots.count(), 1, "the unfinished one is gone");
    }

    /// Counts the packs; one that was cut off itself has no such name, and stays.
    fn packs(engine: &Engine) -> usize {
        let folders = std::fs::read_dir(engine.repository.join("data")).unwrap();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        let names = files.map(|file| file.unwrap().file_name());
        names.filter(|name| name.len() == 64).count()
    }

    #[tokio::test]
    async fn what_was_cut_off_takes_no_room() {
        let root = tempfile::tempdir().unwrap();
        let engine = engine(root.path());
        let app: AppId = APP.parse().unwrap();
        engine.make().await.unwrap();
        let staged = staged(root.path(), "text");
        let label = label(&app, 1);
        let mut noise = vec![0; 96 << 20];
        getrandom::fill(&mut noise).unwrap();
        std::fs::write(staged.join("data/v/noise"), noise).unwrap();
        let storing = engine.store(&staged, &label, &[], &|_, _| {});
        let has_some = async {
            while packs(&engine) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            stored = storing => panic!("it was not cut off: {stored:?}"),
            () = has_some => {}
        }
        assert_ne!(packs(&engine), 0, "something was written");
        assert_eq!(engine.list().await.unwrap(), []);
        // It holds the repository until it has ended.
        while engine.drop_unfinished().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(packs(&engine), 0);
        assert!(!engine.unfinished_file().exists());
    }

    #[tokio::test]
    async fn what_others_left_is_not_forgotten_by_who_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let engine = engine(root.path());
        let app: AppId = APP.parse().unwrap();
        engine.make().await.unwrap();
        std::fs::write(engine.unfinished_file(), "").unwrap();
        let staged = staged(root.path(), "text");
        let label = label(&app, 1);
        let stored = engine.store(&staged, &label, &[], &|_, _| {}).await;
        engine.remove(&stored.unwrap().id).await.unwrap();
        assert!(engine.unfinished_file().exists());
        engine.drop_unfinished().await.unwrap();
        assert!(!engine.unfinished_file().exists());
    }

    #[tokio::test]
    async fn a_backup_of_the_future_takes_no_others_place() {
        let root = tempfile::tempdir().unwrap();
        let engine = engine(root.path());
        let app: AppId = APP.parse().unwrap();
        engine.make().await.unwrap();
        let staged = staged(root.path(), "text");
        let hash = Blake3Hash::of(b"release");
        let tags = format!(
            "{WHOLE},app={app},release={hash},version=1,taken=2099-01-01T00:00:00Z,bytes=1"
        );
        let arguments = [
            "backup",
            "--time",
            "2099-01-01 00:00:00",
            "--tag",
            &tags,
            ".",
        ];
        let future = Run::new("test", &arguments).inside(&staged);
        engine.run(future).await.unwrap();
        for second in [1, 2] {
            let label = label(&app, second);
            let stored = engine.store(&staged, &label, &[], &|_, _| {}).await;
            engine.thin(&app, NEWEST, 1).await.unwrap();
            let listed = engine.list().await.unwrap();
            assert_eq!(listed.len(), 2);
            assert_eq!(listed[0], stored.unwrap(), "the newest stays");
        }
    }

    #[test]
    fn versions_are_read() {
        let read = parsed_version;
        assert_eq!(read("restic 0.18.0 compiled with go1.24.4"), Some((0, 18)));
        assert_eq!(read("restic 0.14.0-dev (compiled)"), Some((0, 14)));
        assert_eq!(read("restic latest"), None);
        assert_eq!(read("warning"), None);
    }

    #[tokio::test]
    async fn a_repository_with_another_password_is_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let engine = engine(root.path());
        engine.make().await.unwrap();
        std::fs::write(&engine.password, "another").unwrap();
        assert!(matches!(
            engine.open().await,
            Err(EngineError::Locked { .. })
        ));
        std::fs::set_permissions(&engine.password, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(engine.open().await, Err(EngineError::Exposed(_))));
        std::fs::remove_file(&engine.password).unwrap();
        assert!(
            matches!(engine.make().await, Err(EngineError::Locked { .. })),
            "no other password is made"
        );
        let absent = Engine {
            program: root.path().join("restic"),
            ..engine
        };
        assert!(matches!(
            absent.make().await,
            Err(EngineError::Absent { .. })
        ));
    }

    #[tokio::test]
    async fn damage_is_found() {
        let root = tempfile::tempdir().unwrap();
        let engine = engine(root.path());
        let app: AppId = APP.parse().unwrap();
        engine.make().await.unwrap();
        let staged = staged(root.path(), "text");
        let backup = engine
            .store(&staged, &label(&app, 1), &[], &|_, _| {})
            .await
            .unwrap();
        let packs = std::fs::read_dir(engine.repository.join("data"))
            .unwrap()
            .flatten();
        for pack in packs.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten()) {
            std::fs::set_permissions(pack.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
            let bytes = std::fs::read(pack.path()).unwrap();
            let spoilt: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
            std::fs::write(pack.path(), spoilt).unwrap();
        }
        assert!(engine.check().await.unwrap_err().is_damage());
        let out = root.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let read = engine.fetch(&backup, &out, &|_, _| {}).await;
        assert!(read.unwrap_err().is_damage());
        std::fs::rename(&engine.repository, root.path().join("away")).unwrap();
        assert!(!engine.open().await.unwrap_err().is_damage());
    }

    #[tokio::test]
    async fn what_ends_the_program_is_no_damage() {
        let root = tempfile::tempdir().unwrap();
        let engine = engine(root.path());
        engine.make().await.unwrap();
        for end in [
            "kill -9 $$",
            "exit 1",
            "echo 'Fatal: context canceled' >&2; exit 130",
            "echo 'ignoring error for /v: write: No space left on device' >&2; echo 'Fatal: There were 1 errors' >&2; exit 1",
            "mv \"$2\" \"$2.away\"; echo 'Fatal: unable to open' >&2; exit 1",
        ] {
            let program = root.path().join("restic");
            std::fs::write(&program, format!("#!/bin/sh\n{end}\n")).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            let ended = Engine {
                program,
                ..engine.clone()
            };
            let error = ended.check().await.unwrap_err();
            assert!(!error.is_damage(), "{end}: {error}");
        }
    }

    #[test]
    fn labels_that_make_no_sense_are_passed_over() {
        let hash = Blake3Hash::of(b"r").to_string();
        let good = vec![
            "archy".to_owned(),
            format!("app={APP}"),
            format!("release={hash}"),
            "version=1\u{7}.0".to_owned(),
            "taken=2026-01-31T23:59:59.123Z".to_owned(),
            "bytes=10".to_owned(),
        ];
        let stored = |tags: Vec<String>| Stored {
            id: "0".repeat(64),
            tags,
        };
        let read = backup(&stored(good.clone())).unwrap();
        assert_eq!((read.version.as_str(), read.bytes), ("1.0", 10));
        for (index, wrong) in [
            (1, "app=../notes"),
            (1, "app=did:key:z6Mk/../x"),
            (2, "release=latest"),
            (4, "taken=yesterday"),
            (5, "bytes=-1"),
            (5, "bytes"),
        ] {
            let mut tags = good.clone();
            tags[index] = wrong.to_owned();
            assert_eq!(backup(&stored(tags)), None, "{wrong}");
        }
    }

    #[test]
    fn its_words_are_told_without_their_wrapping() {
        let cases = [
            ("", ""),
            ("Fatal: no space left\n", "no space left"),
            (
                "warning\n{\"message_type\":\"exit_error\",\"code\":1,\"message\":\"Fatal: locked\"}\n",
                "locked",
            ),
            (
                "{\"message_type\":\"error\",\"error\":{\"message\":\"open x: denied\"}}\n",
                "open x: denied",
            ),
        ];
        for (said, told) in cases {
            assert_eq!(words(said), told);
        }
    }

    #[test]
    fn a_glob_matches_below_the_data_alone() {
        let pattern = |glob| excluded(Path::new("/srv/a[1]/x"), glob);
        assert_eq!(pattern("/../*.log"), "/srv/a\\[1\\]/x/data/../*.log");
        assert_eq!(pattern("v/cache/**"), "/srv/a\\[1\\]/x/data/v/cache/*");
        assert_eq!(pattern("v/**/**"), "/srv/a\\[1\\]/x/data/v/*");
        assert_eq!(pattern("v/**/x**"), "/srv/a\\[1\\]/x/data/v/**/x**");
    }

    #[tokio::test]
    async fn the_data_is_there_whatever_is_left_out_of_it() {
        let root = tempfile::tempdir().unwrap();
        let engine = engine(root.path());
        let app: AppId = APP.parse().unwrap();
        engine.make().await.unwrap();
        let all = [
            "data",
            "data/v",
            "data/v/cache",
            "data/v/cache/big",
            "data/v/file",
        ];
        let cases: [(&str, &[&str]); 5] = [
            ("**", &all[..1]),
            ("**/**/**", &all[..1]),
            ("v/**", &all[..2]),
            ("v/[a-e]*", &["data", "data/v", "data/v/file"]),
            ("[[*?a-z]]", &all),
        ];
        for (second, (glob, left)) in cases.iter().enumerate() {
            let staged = staged(root.path(), "text");
            let label = label(&app, second as i64);
            let exclude = [(*glob).to_owned()];
            let stored = engine.store(&staged, &label, &exclude, &|_, _| {}).await;
            let out = root.path().join(format!("out-{second}"));
            std::fs::create_dir(&out).unwrap();
            let fetched = engine.fetch(&stored.unwrap(), &out, &|_, _| {}).await;
            fetched.unwrap();
            let there: Vec<&str> = all
                .iter()
                .copied()
                .filter(|name| out.join(name).exists())
                .collect();
            assert_eq!(there, *left, "{glob}");
        }
    }
}
