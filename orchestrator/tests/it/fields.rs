//! The manifest of the injection table uses every field of the contract.
//!
//! Each type is taken apart without `..`, so that a new field does not compile until it is here, and must be used then.

use archy_registry::manifest::{
    App, Backup, Container, Dependency, DependsOn, Export, Extensions, GeneratedSecret,
    HealthCheck, Hook, Hooks, Interface, Manifest, Port, Resources, Source, Tmpfs, UserNamespace,
    Volume,
};

use crate::injection_table::bases;

/// Fields of which an example was seen.
#[derive(Default)]
struct Seen(std::collections::BTreeMap<&'static str, bool>);

impl Seen {
    fn field(&mut self, name: &'static str, is_used: bool) {
        *self.0.entry(name).or_default() |= is_used;
    }

    fn app(&mut self, app: &App) {
        let App {
            id: _,
            name,
            version,
            tagline,
            description,
            category: _,
            icon,
            screenshots,
            website,
            source,
            license,
            release_notes,
        } = app;
        for (field, text) in [
            ("app.name", name),
            ("app.version", version),
            ("app.tagline", tagline),
            ("app.description", description),
        ] {
            self.field(field, !text.is_empty());
        }
        self.field("app.icon", icon.is_some());
        self.field("app.screenshots", !screenshots.is_empty());
        self.field("app.website", website.is_some());
        self.field("app.source", source.is_some());
        self.field("app.license", license.is_some());
        self.field("app.release_notes", release_notes.is_some());
    }

    fn container(&mut self, container: &Container) {
        let Container {
            name: _,
            source,
            command,
            entrypoint,
            user,
            user_namespace,
            environment,
            secret_env,
            ports,
            volumes,
            tmpfs,
            network_aliases,
            capabilities,
            readonly_root: _,
            devices,
            resources,
            health_check,
            depends_on,
            stop_timeout,
        } = container;
        self.field("command", !command.is_empty());
        self.field("entrypoint", !entrypoint.is_empty());
        self.field("user", user.is_some());
        self.field("user_namespace", *user_namespace == UserNamespace::Own);
        self.field("environment", !environment.is_empty());
        self.field("secret_env", !secret_env.is_empty());
        self.field("network_aliases", !network_aliases.is_empty());
        self.field("capabilities", !capabilities.is_empty());
        self.field("devices", !devices.is_empty());
        self.field("stop_timeout", stop_timeout.is_some());
        self.source(source);
        self.field("ports", !ports.is_empty());
        for port in ports {
            let Port {
                name,
                container: _,
                host,
                protocol: _,
            } = port;
            self.field("ports.name", name.is_some());
            self.field("ports.host", host.is_some());
        }
        self.field("volumes", !volumes.is_empty());
        for volume in volumes {
            let Volume {
                name: _,
                target: _,
                read_only,
                data_uid,
            } = volume;
            self.field("volumes.read_only", *read_only);
            self.field("volumes.data_uid", data_uid.is_some());
        }
        self.field("tmpfs", !tmpfs.is_empty());
        for tmpfs in tmpfs {
            let Tmpfs { target: _, size } = tmpfs;
            self.field("tmpfs.size", size.is_some());
        }
        let Resources { memory, cpus, pids } = resources;
        self.field("resources.memory", memory.is_some());
        self.field("resources.cpus", cpus.is_some());
        self.field("resources.pids", pids.is_some());
        self.field("health_check", health_check.is_some());
        if let Some(check) = health_check {
            let HealthCheck {
                kind: _,
                port,
                path,
                command,
                interval,
                timeout,
                retries,
                start_period,
            } = check;
            self.field("health_check.port", port.is_some());
            self.field("health_check.path", path.is_some());
            self.field("health_check.command", !command.is_empty());
            self.field("health_check.interval", interval.is_some());
            self.field("health_check.timeout", timeout.is_some());
            self.field("health_check.retries", retries.is_some());
            self.field("health_check.start_period", start_period.is_some());
        }
        self.field("depends_on", !depends_on.is_empty());
        for needed in depends_on {
            let DependsOn {
                container: _,
                condition: _,
            } = needed;
        }
    }

    fn source(&mut self, source: &Source) {
        match source {
            Source::Pull {
                image: _,
                pull_policy: _,
            } => {
                self.field("source.pull", true);
                self.field("source.build", false);
            }
            Source::Build {
                context: _,
                dockerfile,
                tag,
                build_args,
                pull_policy: _,
            } => {
                self.field("source.build", true);
                self.field("source.build.dockerfile", dockerfile.is_some());
                self.field("source.build.tag", tag.is_some());
                self.field("source.build.build_args", !build_args.is_empty());
            }
        }
    }

    fn hooks(&mut self, hooks: &Hooks) {
        let Hooks {
            post_install,
            pre_update,
            post_update,
            pre_uninstall,
        } = hooks;
        for (field, steps) in [
            ("hooks.post_install", post_install),
            ("hooks.pre_update", pre_update),
            ("hooks.post_update", post_update),
            ("hooks.pre_uninstall", pre_uninstall),
        ] {
            self.field(field, !steps.is_empty());
            for step in steps {
                match step {
                    Hook::Exec {
                        container: _,
                        command,
                        timeout,
                    } => {
                        self.field("exec.command", !command.is_empty());
                        self.field("exec.timeout", timeout.is_some());
                    }
                    Hook::CopyFromHost {
                        from: _,
                        container: _,
                        to: _,
                    } => self.field("copy_from_host", true),
                }
            }
        }
        self.field("copy_from_host", false);
    }

    fn manifest(&mut self, manifest: &Manifest) {
        let Manifest {
            app,
            containers,
            generated_secrets,
            dependencies,
            exports,
            network_policy: _,
            hooks,
            interfaces,
            backup,
            extensions,
        } = manifest;
        self.app(app);
        containers
            .iter()
            .for_each(|container| self.container(container));
        self.hooks(hooks);
        self.field("generated_secrets", !generated_secrets.is_empty());
        for secret in generated_secrets {
            let GeneratedSecret {
                name: _,
                kind: _,
                from,
            } = secret;
            self.field("generated_secrets.from", from.is_some());
        }
        self.field("dependencies", !dependencies.is_empty());
        for dependency in dependencies {
            let Dependency {
                publisher: _,
                app: _,
                version,
            } = dependency;
            self.field("dependencies.version", version.is_some());
        }
        self.field("exports", !exports.is_empty());
        for export in exports {
            let Export { name: _, value } = export;
            self.field("exports.value", !value.is_empty());
        }
        self.field("interfaces", !interfaces.is_empty());
        for interface in interfaces {
            let Interface {
                name: _,
                port: _,
                path,
                kind: _,
            } = interface;
            self.field("interfaces.path", path.is_some());
        }
        let Backup { exclude } = backup;
        self.field("backup.exclude", !exclude.is_empty());
        let Extensions { container_name } = extensions;
        self.field("extensions.container_name", container_name.is_some());
    }
}

#[test]
fn the_injection_table_has_every_field() {
    let mut seen = Seen::default();
    bases().iter().for_each(|manifest| seen.manifest(manifest));
    let unused: Vec<_> = seen.0.iter().filter(|(_, used)| !**used).collect();
    assert!(unused.is_empty(), "no example of {unused:?}");
}
