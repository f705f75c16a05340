//! The user's systemd over D-Bus: starts and stops units and waits for the outcome that systemd itself reports.
//!
//! Only this module and `network` name zbus. A lost connection is opened again by the next call.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use zbus::proxy::CacheProperties;
use zbus::{Connection, Fd, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Variant};
use zbus_systemd::systemd1::{JobRemovedStream, ManagerProxy};

/// systemd could not be asked or said no.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// No connection to the user's bus.
    #[error(
        "cannot reach the user's systemd over {address}: is this user lingering (`loginctl enable-linger`)?"
    )]
    Connect {
        /// The bus.
        address: String,
        /// Why.
        #[source]
        source: Box<zbus::Error>,
    },
    /// A call failed.
    #[error("systemd does not {action}")]
    Call {
        /// What was asked for.
        action: String,
        /// Why.
        #[source]
        source: Box<zbus::Error>,
    },
    /// The connection went away while waiting.
    #[error("the connection to systemd was lost while waiting for {0}")]
    Lost(String),
}

/// What systemd is asked to do with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Verb {
    Start,
    Stop,
    Restart,
}

/// How a job ended (org.freedesktop.systemd1(5), `JobRemoved`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobResult {
    /// The unit is where it should be.
    Done,
    /// The unit failed.
    Failed,
    /// A unit that it needs failed.
    Dependency,
    /// `canceled`, `timeout`, `skipped` or a later word.
    Other(String),
}

/// A unit in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitState {
    /// Its name.
    pub name: String,
    /// `loaded`, `not-found`, …
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// `running`, `auto-restart`, …
    pub sub: String,
}

/// A service in detail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceState {
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// `running`, `auto-restart`, …
    pub sub: String,
    /// `success`, `exit-code`, `timeout`, `oom-kill`, …
    pub result: String,
    /// Why the main process ended: 1 it left, 2 a signal ended it, 3 with a core file.
    pub exec_main_code: i32,
    /// Its exit code or signal.
    pub exec_main_status: i32,
    /// Restarts by systemd itself since the last start.
    pub restarts: u32,
    /// Names this run of the unit, in hexadecimal; empty when it never ran.
    pub invocation: String,
    /// `loaded`, `not-found`, …
    pub load: String,
    /// Its main process; 0 when it does not run.
    pub main_pid: u32,
    /// The file that it was made from, such as a Quadlet file, or else its own.
    pub source: String,
    /// What it runs to start, each with its arguments, the program first.
    pub starts_with: Vec<Vec<String>>,
}

/// A command of a service as systemd tells it (`ExecStart`, org.freedesktop.systemd1(5)): the program, its arguments, and
/// how it last ran.
type Command = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

/// A program that systemd runs as a transient service.
#[derive(Debug)]
pub(crate) struct Run {
    /// What a person reads in the list of units.
    pub(crate) description: &'static str,
    /// The program, by its whole path, and its arguments, itself the first.
    pub(crate) argv: Vec<String>,
    /// `NAME=value`, besides what systemd gives every service.
    pub(crate) environment: Vec<String>,
    /// Variables that it does not get.
    pub(crate) without: Vec<&'static str>,
    /// Where it works.
    pub(crate) directory: String,
    /// Its input, output and error output.
    pub(crate) pipes: [OwnedFd; 3],
    /// A unit that is started first.
    pub(crate) after: Option<&'static str>,
    /// Settings of systemd.exec(5) that are switched on.
    pub(crate) protections: &'static [&'static str],
}

/// The user's systemd.
#[derive(Debug)]
pub struct Systemd {
    address: String,
    connection: Mutex<Option<Connection>>,
    /// Two generators at once can spoil each other's output, so reloads wait for one another.
    reload: Mutex<()>,
}

impl Systemd {
    /// Names the bus at `socket`, usually `$XDG_RUNTIME_DIR/bus`; connects on the first call.
    pub fn new(socket: &Path) -> Self {
        Self {
            address: format!("unix:path={}", socket.display()),
            connection: Mutex::new(None),
            reload: Mutex::new(()),
        }
    }

    async fn connection(&self) -> Result<Connection, SystemdError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref() {
            return Ok(connection.clone());
        }
        let failed = |source| SystemdError::Connect {
            address: self.address.clone(),
            source: Box::new(source),
        };
        let builder = zbus::connection::Builder::address(self.address.as_str());
        let connection = builder.build().await.map_err(failed)?;
        // Without it systemd sends no signals.
        let manager = ManagerProxy::new(&connection).await.map_err(failed)?;
        manager.subscribe().await.map_err(failed)?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    async fn manager(&self) -> Result<ManagerProxy<'static>, SystemdError> {
        let connection = self.connection().await?;
        let builder = ManagerProxy::builder(&connection).cache_properties(CacheProperties::No);
        let built = builder.build().await;
        built.map_err(|source| self.call_failed("answer", source))
    }

    /// Forgets a broken connection, so that the next call opens a new one.
    fn call_failed(&self, action: &str, source: zbus::Error) -> SystemdError {
        if matches!(source, zbus::Error::InputOutput(_))
            && let Ok(mut slot) = self.connection.try_lock()
        {
            *slot = None;
        }
        SystemdError::Call {
            action: action.to_owned(),
            source: Box::new(source),
        }
    }

    /// Asks for a job and waits until systemd has finished it.
    ///
    /// # Errors
    ///
    /// [`SystemdError`] when systemd cannot be asked; a job that fails is a [`JobResult`].
    pub async fn job(&self, verb: Verb, unit: &str) -> Result<JobResult, SystemdError> {
        let action = match verb {
            Verb::Start => format!("start {unit}"),
            Verb::Stop => format!("stop {unit}"),
            Verb::Restart => format!("restart {unit}"),
        };
        let manager = self.manager().await?;
        let failed = |source| self.call_failed(&action, source);
        let removed = manager.receive_job_removed().await.map_err(failed)?;
        let (name, mode) = (unit.to_owned(), "replace".to_owned());
        let job = match verb {
            Verb::Start => manager.start_unit(name, mode).await,
            Verb::Stop => manager.stop_unit(name, mode).await,
            Verb::Restart => manager.restart_unit(name, mode).await,
        };
        let job = match job {
            Ok(job) => job,
            Err(error) if verb == Verb::Stop && is_no_such_unit(&error) => {
                return Ok(JobResult::Done);
            }
            Err(error) => return Err(failed(error)),
        };
        self.ended(removed, &job, action).await
    }

    /// Begins a program as a transient service, whose start lasts until the program ends: the task that is returned waits
    /// for that. A service that failed stays until it is [forgotten](Self::forget).
    ///
    /// # Errors
    ///
    /// [`SystemdError`] when systemd cannot be asked; a program that fails or cannot be run is a [`JobResult`].
    pub(crate) async fn run(
        self: &Arc<Self>,
        unit: &str,
        run: Run,
    ) -> Result<JoinSet<Result<JobResult, SystemdError>>, SystemdError> {
        let action = format!("run {unit}");
        let failed = |source| self.call_failed(&action, source);
        let manager = self.manager().await?;
        let removed = manager.receive_job_removed().await.map_err(failed)?;
        // No word of it is another than what is given: systemd would put variables in place of `$NAME`.
        let flags = vec!["no-env-expand"];
        let program = run.argv.first().cloned().unwrap_or_default();
        let command = vec![(program, run.argv, flags)];
        let [input, output, errors] = run.pipes;
        let mut properties: Vec<(&str, Variant<'_>)> = vec![
            ("Description", run.description.into()),
            // Of this type no signal is a clean end, and systemd closes the pipes with it.
            ("Type", "oneshot".into()),
            ("ExecStartEx", Variant::new(command)),
            ("Environment", run.environment.into()),
            ("UnsetEnvironment", run.without.into()),
            ("WorkingDirectory", run.directory.into()),
            ("StandardInputFileDescriptor", Fd::from(input).into()),
            ("StandardOutputFileDescriptor", Fd::from(output).into()),
            ("StandardErrorFileDescriptor", Fd::from(errors).into()),
        ];
        if let Some(unit) = run.after {
            properties.push(("Wants", vec![unit].into()));
            properties.push(("After", vec![unit].into()));
        }
        for &protection in run.protections {
            properties.push((protection, true.into()));
        }
        let auxiliary: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let connection = self.connection().await?;
        let reply = connection
            .call_method(
                Some("org.freedesktop.systemd1"),
                "/org/freedesktop/systemd1",
                Some("org.freedesktop.systemd1.Manager"),
                "StartTransientUnit",
                &(unit, "fail", properties, auxiliary),
            )
            .await
            .map_err(failed)?;
        let job: OwnedObjectPath = reply.body().deserialize().map_err(failed)?;
        let systemd = Arc::clone(self);
        // Signals that nobody takes would hold up everybody on this connection.
        let mut waiting = JoinSet::new();
        waiting.spawn(async move { systemd.ended(removed, &job, action).await });
        Ok(waiting)
    }

    /// Tells whether a service begins with settings of systemd.exec(5) switched on.
    ///
    /// # Errors
    ///
    /// [`SystemdError`] when systemd cannot be asked.
    pub(crate) async fn can_protect(
        self: &Arc<Self>,
        protections: &'static [&'static str],
    ) -> Result<bool, SystemdError> {
        let unit = format!("archy-probe-{}.service", std::process::id());
        let nothing = || std::fs::File::open("/dev/null").map(OwnedFd::from);
        let Ok(pipes) = nothing().and_then(|one| Ok([one, nothing()?, nothing()?])) else {
            return Ok(false);
        };
        let run = Run {
            description: "Looks whether archy can be confined",
            argv: vec!["/bin/true".to_owned()],
            environment: Vec::new(),
            without: Vec::new(),
            directory: "/".to_owned(),
            pipes,
            after: None,
            protections,
        };
        let ended = self.run(&unit, run).await?.join_next().await;
        self.forget(&unit).await?;
        Ok(matches!(ended, Some(Ok(Ok(JobResult::Done)))))
    }

    /// Stops a transient service and has systemd forget it.
    ///
    /// # Errors
    ///
    /// [`SystemdError`].
    pub(crate) async fn forget(&self, unit: &str) -> Result<(), SystemdError> {
        self.job(Verb::Stop, unit).await?;
        self.reset_failed(unit).await
    }

    /// Waits for a job's end.
    async fn ended(
        &self,
        mut removed: JobRemovedStream,
        job: &OwnedObjectPath,
        action: String,
    ) -> Result<JobResult, SystemdError> {
        let failed = |source| self.call_failed(&action, source);
        while let Some(signal) = removed.next().await {
            let arguments = signal.args().map_err(failed)?;
            if arguments.job == *job {
                return Ok(match arguments.result.as_str() {
                    "done" => JobResult::Done,
                    "failed" => JobResult::Failed,
                    "dependency" => JobResult::Dependency,
                    other => JobResult::Other(other.to_owned()),
                });
            }
        }
        *self.connection.lock().await = None;
        Err(SystemdError::Lost(action))
    }

    /// Makes systemd read its units again.
    ///
    /// # Errors
    ///
    /// [`SystemdError`].
    pub async fn reload(&self) -> Result<(), SystemdError> {
        let _one_at_a_time = self.reload.lock().await;
        let manager = self.manager().await?;
        let reloaded = manager.reload().await;
        reloaded.map_err(|source| self.call_failed("read its units again", source))
    }

    /// Forgets a unit's failures, so that it may start again. A unit that is not loaded has none.
    ///
    /// # Errors
    ///
    /// [`SystemdError`].
    pub async fn reset_failed(&self, unit: &str) -> Result<(), SystemdError> {
        let manager = self.manager().await?;
        match manager.reset_failed_unit(unit.to_owned()).await {
            Err(error) if !is_no_such_unit(&error) => {
                Err(self.call_failed(&format!("reset {unit}"), error))
            }
            _ => Ok(()),
        }
    }

    /// Enables unit files for the next start of the user's systemd.
    ///
    /// # Errors
    ///
    /// [`SystemdError`].
    pub async fn enable(&self, units: &[&str]) -> Result<(), SystemdError> {
        let manager = self.manager().await?;
        let names = units.iter().map(|&unit| unit.to_owned()).collect();
        let enabled = manager.enable_unit_files(names, false, true).await;
        let (_, changes) = enabled.map_err(|source| self.call_failed("enable units", source))?;
        if changes.is_empty() {
            return Ok(());
        }
        // Until it has read the links, systemd calls its own picture of the units outdated.
        self.reload().await
    }

    /// Lists loaded units whose names match `pattern`.
    ///
    /// # Errors
    ///
    /// [`SystemdError`].
    pub async fn list(&self, pattern: &str) -> Result<Vec<UnitState>, SystemdError> {
        let manager = self.manager().await?;
        let listed = manager.list_units_by_patterns(Vec::new(), vec![pattern.to_owned()]);
        let listed = listed
            .await
            .map_err(|source| self.call_failed("list units", source))?;
        let state =
            |(name, _, load, active, sub, ..): (String, _, _, _, _, _, _, _, _, _)| UnitState {
                name,
                load,
                active,
                sub,
            };
        Ok(listed.into_iter().map(state).collect())
    }

    /// Reads a service's state.
    ///
    /// # Errors
    ///
    /// [`SystemdError`].
    pub async fn service(&self, unit: &str) -> Result<ServiceState, SystemdError> {
        let action = format!("tell the state of {unit}");
        let failed = |source| self.call_failed(&action, source);
        let manager = self.manager().await?;
        let path = manager.load_unit(unit.to_owned()).await.map_err(failed)?;
        let connection = self.connection().await?;
        let mut properties: HashMap<String, OwnedVariant> = HashMap::new();
        for interface in [
            "org.freedesktop.systemd1.Unit",
            "org.freedesktop.systemd1.Service",
        ] {
            let reply = connection
                .call_method(
                    Some("org.freedesktop.systemd1"),
                    &path,
                    Some("org.freedesktop.DBus.Properties"),
                    "GetAll",
                    &(interface,),
                )
                .await
                .map_err(failed)?;
            let all: HashMap<String, OwnedVariant> = reply.body().deserialize().map_err(failed)?;
            properties.extend(all);
        }
        let source: String = take(&mut properties, "SourcePath");
        let own: String = take(&mut properties, "FragmentPath");
        let commands: Vec<Command> = take(&mut properties, "ExecStart");
        Ok(ServiceState {
            load: take(&mut properties, "LoadState"),
            main_pid: take(&mut properties, "MainPID"),
            source: if source.is_empty() { own } else { source },
            starts_with: commands.into_iter().map(|command| command.1).collect(),
            active: take(&mut properties, "ActiveState"),
            sub: take(&mut properties, "SubState"),
            result: take(&mut properties, "Result"),
            exec_main_code: take(&mut properties, "ExecMainCode"),
            exec_main_status: take(&mut properties, "ExecMainStatus"),
            restarts: take(&mut properties, "NRestarts"),
            invocation: hex::encode(take::<Vec<u8>>(&mut properties, "InvocationID")),
        })
    }

    /// Names the unit that a process is in; `None` when it is in none of this systemd's units, or gone.
    ///
    /// # Errors
    ///
    /// [`SystemdError`].
    pub(crate) async fn unit_of(&self, process: u32) -> Result<Option<String>, SystemdError> {
        let manager = self.manager().await?;
        match manager.get_unit_by_pid(process).await {
            Ok(path) => Ok(unit_name(path.as_str())),
            Err(error) if is_in_no_unit(&error) => Ok(None),
            Err(error) => {
                let action = format!("tell the unit of process {process}");
                Err(self.call_failed(&action, error))
            }
        }
    }

    /// Returns how often systemd itself has started a service again since its last start, with one call.
    ///
    /// # Errors
    ///
    /// [`SystemdError`].
    pub async fn restarts(&self, unit: &str) -> Result<u32, SystemdError> {
        let failed =
            |source| self.call_failed(&format!("tell how often {unit} was started"), source);
        let connection = self.connection().await?;
        let path = format!("/org/freedesktop/systemd1/unit/{}", escape(unit));
        let reply = connection
            .call_method(
                Some("org.freedesktop.systemd1"),
                path.as_str(),
                Some("org.freedesktop.DBus.Properties"),
                "Get",
                &("org.freedesktop.systemd1.Service", "NRestarts"),
            )
            .await
            .map_err(failed)?;
        let value: OwnedVariant = reply.body().deserialize().map_err(failed)?;
        Ok(u32::try_from(value).unwrap_or_default())
    }

    /// Follows changes of units whose names start with `prefix`: gives a hint whenever one changed state.
    ///
    /// # Errors
    ///
    /// [`SystemdError`] when the subscription fails.
    pub async fn changes(&self, prefix: &str) -> Result<Changes, SystemdError> {
        let failed = |source| self.call_failed("send signals", source);
        let connection = self.connection().await?;
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .interface("org.freedesktop.DBus.Properties")
            .member("PropertiesChanged")
            .path_namespace("/org/freedesktop/systemd1/unit")
            .arg(0, "org.freedesktop.systemd1.Unit")
            .build()
            .map_err(failed)?;
        let stream = MessageStream::for_match_rule(rule, &connection, Some(CHANGES_CAPACITY))
            .await
            .map_err(failed)?;
        Ok(Changes {
            stream,
            prefix: format!("/org/freedesktop/systemd1/unit/{}", escape(prefix)),
        })
    }
}

/// Signals that wait for a reader; later ones are lost, and a lost hint costs no more than the next regular look.
const CHANGES_CAPACITY: std::num::NonZeroUsize =
    std::num::NonZeroUsize::new(256).expect("256 is not zero");

/// Hints that units changed.
#[derive(Debug)]
pub struct Changes {
    stream: MessageStream,
    prefix: String,
}

impl Changes {
    /// Waits for the next change; `None` once the connection is lost.
    pub async fn next(&mut self) -> Option<()> {
        loop {
            let message = self.stream.next().await?.ok()?;
            let header = message.header();
            if header
                .path()
                .is_some_and(|path| path.as_str().starts_with(&self.prefix))
            {
                return Some(());
            }
        }
    }
}

/// Escapes a unit name as in a D-Bus path (sd_bus_path_encode(3)).
fn escape(name: &str) -> String {
    let mut out = String::new();
    for (index, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || index > 0 && byte.is_ascii_digit() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("_{byte:02x}"));
        }
    }
    out
}

/// Takes a unit's name from its D-Bus path (sd_bus_path_decode(3)).
fn unit_name(path: &str) -> Option<String> {
    let mut bytes = path.rsplit('/').next()?.bytes();
    let mut name = Vec::new();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'_' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}

fn take<T: TryFrom<OwnedVariant> + Default>(
    properties: &mut HashMap<String, OwnedVariant>,
    name: &str,
) -> T {
    let value = properties.remove(name);
    value
        .and_then(|value| T::try_from(value).ok())
        .unwrap_or_default()
}

fn is_no_such_unit(error: &zbus::Error) -> bool {
    let zbus::Error::MethodError(name, ..) = error else {
        return false;
    };
    name.as_str() == "org.freedesktop.systemd1.NoSuchUnit"
}

/// Tells whether a process is in no unit of this systemd, or gone; which of these words it is depends on its version.
fn is_in_no_unit(error: &zbus::Error) -> bool {
    let zbus::Error::MethodError(name, ..) = error else {
        return false;
    };
    [
        "org.freedesktop.systemd1.NoUnitForPID",
        "org.freedesktop.DBus.Error.UnixProcessIdUnknown",
        "System.Error.ESRCH",
    ]
    .contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use zbus::{OwnedVariant, Variant};

    use super::{Command, escape, take, unit_name};

    #[test]
    fn unit_names_are_escaped_as_systemd_does() {
        assert_eq!(escape("archy.a-1.service"), "archy_2ea_2d1_2eservice");
    }

    #[test]
    fn a_unit_is_named_by_its_path() {
        for name in [
            "archy.a-1.service",
            "container-notes.service",
            "a@b\\x2dc.service",
        ] {
            let path = format!("/org/freedesktop/systemd1/unit/{}", escape(name));
            assert_eq!(unit_name(&path).as_deref(), Some(name));
        }
        for path in ["", "/", "/unit/a_", "/unit/a_2", "/unit/a_zz", "/unit/_ff"] {
            assert_eq!(unit_name(path), None, "{path}");
        }
    }

    #[test]
    fn the_commands_of_a_service_are_read() {
        let argv = ["/usr/bin/podman", "start", "notes"].map(str::to_owned);
        let told: Vec<Command> = vec![(argv[0].clone(), argv.to_vec(), false, 1, 2, 3, 4, 5, 1, 0)];
        let value = OwnedVariant::try_from(Variant::new(told.clone())).unwrap();
        let mut properties = HashMap::from([("ExecStart".to_owned(), value)]);
        let read: Vec<Command> = take(&mut properties, "ExecStart");
        assert_eq!(read, told);
    }
}
