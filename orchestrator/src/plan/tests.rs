use proptest::prelude::*;

use super::{steps as steps_of, *};
use crate::quadlet::LABEL_CONTAINER;
use crate::samples;

const ROOT: &str = "root";

fn desired(slug: &str, wish: Wish, stage: Stage) -> Desired {
    let release = samples::release(
        slug,
        r#"
  - name: db
    source: {type: pull, image: "localhost/a/db:latest"}
    volumes: [{name: data, target: /data}]
    secret_env: {PASSWORD: password}
  - name: web
    source: {type: pull, image: "localhost/a/web:latest"}
    depends_on: [{container: db, condition: started}]
generated_secrets: [{name: password, kind: hex16}]
"#,
    );
    let mut desired = samples::installed(release, wish);
    desired.stage = stage;
    desired.units = BTreeMap::from([("a.container".to_owned(), "text".to_owned())]);
    desired
}

fn unit(name: &str, active: &str) -> UnitState {
    UnitState {
        name: name.to_owned(),
        load: "loaded".to_owned(),
        active: active.to_owned(),
        sub: "running".to_owned(),
    }
}

fn container(desired: &Desired, name: &Slug) -> podman::Container {
    let labels = [
        (LABEL_APP, desired.app.to_string()),
        (LABEL_ROOT, ROOT.to_owned()),
        (LABEL_CONTAINER, name.to_string()),
    ];
    podman::Container {
        id: format!("{}-{name}", desired.slug()),
        names: vec![format!("{}-{name}", desired.slug())],
        state: "running".to_owned(),
        status: "healthy".to_owned(),
        labels: Some(
            labels
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        ),
        started_at: 0,
        image_id: String::new(),
        ports: None,
        networks: None,
        is_infra: false,
        pod: String::new(),
    }
}

/// What a step does to the machine, as far as the planner sees it.
fn apply(step: &Step, desired: Option<&Desired>, app: &Slug, machine: &mut Machine) {
    match step {
        Step::Undo | Step::TearDown => {
            machine.live.remove(app);
            machine.wanted.remove(app);
            machine.containers.retain(|container| {
                !container
                    .label(LABEL_APP)
                    .is_some_and(|id| id.ends_with(&format!("/{app}")))
            });
            let prefix = format!("{}{app}", names::PREFIX);
            let ours = |name: &String| *name == prefix || name.starts_with(&format!("{prefix}."));
            machine.networks.retain(|name| !ours(name));
            machine.volumes.retain(|name| !ours(name));
            machine.secrets.retain(|name| !ours(name));
            let network = names::network_unit(app);
            machine
                .units
                .retain(|name, _| *name != network && !ours(name));
        }
        Step::Allow(true) => {
            machine.wanted.insert(app.clone());
        }
        Step::Allow(false) => {
            machine.wanted.remove(app);
        }
        Step::AskForData(volume) => {
            machine.data.insert((app.clone(), volume.clone()));
        }
        // Either way one version of the app is installed, and `perform` goes on from there.
        Step::FinishChange | Step::FinishReturn | Step::FinishMigration | Step::FinishUndo => {}
        Step::StoreSecret(secret) => {
            machine.secrets.insert(names::secret_named(app, secret));
            machine
                .different_secrets
                .remove(&names::secret_named(app, secret));
        }
        Step::Refresh => {
            machine.outdated.remove(app);
        }
        Step::Join => {}
        Step::WriteUnits => {
            let desired = desired.expect("only installed apps have units to write");
            machine.live.insert(app.clone(), desired.units.clone());
            for unit in machine.units.values_mut() {
                unit.load = "loaded".to_owned();
            }
        }
        Step::Remake(unit) => {
            make(unit, app, desired, machine);
            for container in desired.into_iter().flat_map(Desired::containers) {
                machine.units.remove(&names::container_unit(app, container));
            }
        }
        Step::Stop(unit) => {
            machine.units.remove(unit);
            machine.ailing.remove(unit);
        }
        Step::Start(name) => {
            assert!(
                machine.wanted.contains(app),
                "a unit starts only while it is wanted"
            );
            let desired = desired.expect("only installed apps start");
            for volume in desired.volumes() {
                assert!(machine.data.contains(&(app.clone(), volume.clone())));
                make(
                    &names::volume_unit(app, volume),
                    app,
                    Some(desired),
                    machine,
                );
            }
            make(&names::network_unit(app), app, Some(desired), machine);
            machine.units.insert(name.clone(), unit(name, "active"));
        }
    }
}

fn make(name: &str, app: &Slug, desired: Option<&Desired>, machine: &mut Machine) {
    machine.units.insert(name.to_owned(), unit(name, "active"));
    if name == names::network_unit(app) {
        machine.networks.insert(names::network(app));
    }
    for volume in desired.into_iter().flat_map(Desired::volumes) {
        if name == names::volume_unit(app, volume) {
            machine.volumes.insert(names::volume(app, volume));
        }
    }
}

fn plan_all(desired: &[Desired], machine: &Machine) -> Plan {
    plan(desired, &BTreeSet::new(), machine, ROOT)
}

/// Performs a plan; an undone install becomes an app that is removed, a finished change one that is installed.
fn perform(plan: &Plan, desired: &mut [Desired], machine: &mut Machine) {
    for (app, steps) in &plan.apps {
        for step in steps {
            let found = desired.iter_mut().find(|desired| desired.slug() == app);
            if let (Step::Undo, Some(desired)) = (step, found) {
                desired.stage = Stage::Installed;
                desired.wish = Wish::Removed;
            }
            let found = desired.iter_mut().find(|desired| desired.slug() == app);
            if let (Step::FinishUndo, Some(desired)) = (step, found) {
                desired.stage = Stage::Adopted;
            }
            let found = desired.iter_mut().find(|desired| desired.slug() == app);
            let finishes = matches!(
                step,
                Step::FinishChange | Step::FinishReturn | Step::FinishMigration
            );
            if let (true, Some(desired)) = (finishes, found) {
                desired.stage = Stage::Installed;
                machine
                    .data
                    .extend(with_data(std::slice::from_ref(desired)).data);
                for step in steps_of(desired, machine, ROOT) {
                    apply(&step, Some(desired), app, machine);
                }
            }
            let found = desired.iter().find(|desired| desired.slug() == app);
            apply(step, found, app, machine);
        }
    }
}

/// A machine with the data of some apps, and nothing else.
fn with_data(desired: &[Desired]) -> Machine {
    let data = desired.iter().flat_map(|app| {
        let volumes = app.volumes().into_iter();
        volumes.map(|volume| (app.slug().clone(), volume.clone()))
    });
    Machine {
        data: data.collect(),
        ..Machine::default()
    }
}

/// A machine on which all is as wished.
fn settled(desired: &[Desired]) -> Machine {
    let mut machine = with_data(desired);
    perform(
        &plan_all(desired, &machine),
        &mut desired.to_vec(),
        &mut machine,
    );
    machine
}

#[test]
fn a_new_app_is_brought_up_in_order() {
    let desired = [desired("a", Wish::Running, Stage::Installed)];
    insta::assert_snapshot!(plan_all(&desired, &with_data(&desired)), @r"
    a
      allow it to start
      give podman the secret password
      put the units in place
      start archy.a.db.service
      start archy.a.web.service
    ");
}

#[test]
fn an_app_whose_data_is_gone_does_not_begin_anew() {
    let desired = [desired("a", Wish::Running, Stage::Installed)];
    let mut machine = settled(&desired);
    machine.data.clear();
    let asks = "a\n  ask for the data of volume data, which is gone\n";
    assert_eq!(plan_all(&desired, &machine).to_string(), asks);
    assert_eq!(plan_all(&desired, &Machine::default()).to_string(), asks);
}

#[test]
fn what_is_as_wished_is_left_alone() {
    let desired = [
        desired("a", Wish::Running, Stage::Installed),
        desired("b", Wish::Stopped, Stage::Installed),
        desired("c", Wish::Removed, Stage::Installed),
    ];
    assert!(plan_all(&desired, &settled(&desired)).is_empty());
}

#[test]
fn what_went_missing_comes_back() {
    let desired = [desired("a", Wish::Running, Stage::Installed)];
    let mut machine = settled(&desired);
    machine.live.clear();
    machine.networks.clear();
    machine.volumes.clear();
    machine.secrets.clear();
    insta::assert_snapshot!(plan_all(&desired, &machine), @r"
    a
      give podman the secret password
      put the units in place
      run archy.a-network.service again
      run archy.a.volume.data-volume.service again
      start archy.a.db.service
      start archy.a.web.service
    ");
}

#[test]
fn one_stopped_container_is_started_alone() {
    let desired = [desired("a", Wish::Running, Stage::Installed)];
    let mut machine = settled(&desired);
    machine.units.insert(
        "archy.a.web.service".to_owned(),
        unit("archy.a.web.service", "failed"),
    );
    insta::assert_snapshot!(plan_all(&desired, &machine), @r"
    a
      start archy.a.web.service
    ");
}

#[test]
fn systemd_s_own_restart_is_waited_for() {
    let desired = [desired("a", Wish::Running, Stage::Installed)];
    let mut machine = settled(&desired);
    machine.units.insert(
        "archy.a.web.service".to_owned(),
        unit("archy.a.web.service", "activating"),
    );
    assert!(plan_all(&desired, &machine).is_empty());
}

#[test]
fn a_stopped_app_is_stopped() {
    let running = [desired("a", Wish::Running, Stage::Installed)];
    let machine = settled(&running);
    let desired = [desired("a", Wish::Stopped, Stage::Installed)];
    insta::assert_snapshot!(plan_all(&desired, &machine), @r"
    a
      keep it from starting
      stop archy.a.db.service
      stop archy.a.web.service
    ");
}

#[test]
fn interrupted_installs_and_leftovers_go() {
    let app = desired("a", Wish::Running, Stage::Installing);
    let other = desired("gone", Wish::Running, Stage::Installed);
    let mut machine = settled(&[desired("gone", Wish::Running, Stage::Installed)]);
    machine
        .containers
        .push(container(&other, &"web".parse().unwrap()));
    insta::assert_snapshot!(plan_all(&[app], &machine), @r"
    a
      undo the interrupted install
    gone
      remove what is left, keep the data
    ");
}

#[test]
fn an_app_whose_state_cannot_be_read_is_left_alone() {
    let machine = settled(&[desired("a", Wish::Running, Stage::Installed)]);
    let damaged = BTreeSet::from(["a".parse().unwrap()]);
    assert!(plan(&[], &damaged, &machine, ROOT).is_empty());
}

#[test]
fn containers_of_another_node_are_left_alone() {
    let mut machine = Machine::default();
    let mut theirs = container(
        &desired("a", Wish::Running, Stage::Installed),
        &"web".parse().unwrap(),
    );
    theirs
        .labels
        .get_or_insert_default()
        .insert(LABEL_ROOT.to_owned(), "another".to_owned());
    machine.containers.push(theirs);
    assert!(plan_all(&[], &machine).is_empty());
}

#[test]
fn interrupted_changes_are_finished_before_anything_else() {
    let machine = Machine::default();
    let apps = [
        desired("a", Wish::Running, Stage::Changing),
        desired("b", Wish::Stopped, Stage::Returning),
    ];
    insta::assert_snapshot!(plan_all(&apps, &machine), @r"
    a
      finish the interrupted change
    b
      finish taking the change back
    ");
}

#[test]
fn what_others_made_is_left_alone_while_it_is_claimed() {
    let apps = [
        desired("a", Wish::Running, Stage::Adopted),
        desired("b", Wish::Stopped, Stage::Adopted),
    ];
    for machine in [Machine::default(), settled(&apps)] {
        assert!(plan_all(&apps, &machine).is_empty());
    }
    let between = [
        desired("a", Wish::Running, Stage::Migrating),
        desired("b", Wish::Running, Stage::Unmigrating),
    ];
    insta::assert_snapshot!(plan_all(&between, &Machine::default()), @r"
    a
      finish the interrupted migration
    b
      finish undoing the migration
    ");
}

/// A machine that runs `app` with containers that carry the mark and ports of `unit`.
fn running(app: &mut Desired, unit: &str, mark: &str, host_port: u16) -> Machine {
    let web: Slug = "web".parse().unwrap();
    let file = names::container_file(app.slug(), &web);
    app.units = BTreeMap::from([(file, unit.to_owned())]);
    let mut machine = settled(std::slice::from_ref(app));
    let mut container = container(app, &web);
    let labels = container.labels.get_or_insert_default();
    labels.insert(crate::quadlet::LABEL_UNIT.to_owned(), mark.to_owned());
    container.ports = Some(vec![podman::PublishedPort {
        host_port,
        container_port: 80,
        range: 1,
        protocol: "tcp".to_owned(),
    }]);
    machine.containers.push(container);
    machine
}

#[test]
fn a_container_that_is_not_what_its_unit_says_is_started_again() {
    let unit = "[Container]\nPublishPort=8080:80/tcp\nLabel=\"io.archy.unit=new\"\n";
    for (mark, port, drifted) in [
        ("new", 8080, false),
        ("old", 8080, true),
        ("new", 9999, true),
    ] {
        let mut app = desired("a", Wish::Running, Stage::Installed);
        let machine = running(&mut app, unit, mark, port);
        let plan = plan_all(&[app], &machine).to_string();
        let expected = match drifted {
            true => "a\n  stop archy.a.web.service\n  start archy.a.web.service\n",
            false => "",
        };
        assert_eq!(plan, expected, "{mark} {port}");
    }
}

#[test]
fn a_container_that_ails_behind_systemd_s_back_is_started_again() {
    let mut app = desired("a", Wish::Running, Stage::Installed);
    let unit = "[Container]\nPublishPort=8080:80/tcp\n";
    let mut machine = running(&mut app, unit, "any", 8080);
    machine.ailing.insert("archy.a.web.service".to_owned());
    insta::assert_snapshot!(plan_all(&[app], &machine), @r"
    a
      stop archy.a.web.service
      start archy.a.web.service
    ");
}

#[test]
fn what_systemd_starts_again_and_again_is_not_as_wished() {
    let mut app = desired("a", Wish::Running, Stage::Installed);
    let mut machine = settled(std::slice::from_ref(&app));
    assert!(is_settled(&app, &machine));
    let web = "archy.a.web.service";
    machine
        .units
        .insert(web.to_owned(), unit(web, "activating"));
    assert!(!is_settled(&app, &machine));
    app.wish = Wish::Stopped;
    assert!(is_settled(&app, &machine));
}

#[test]
fn a_unit_of_before_marks_is_left_alone() {
    let mut app = desired("a", Wish::Running, Stage::Installed);
    let machine = running(
        &mut app,
        "[Container]\nPublishPort=8080:80/tcp\n",
        "any",
        8080,
    );
    assert!(plan_all(&[app], &machine).is_empty());
}

#[test]
fn who_has_a_secret_that_is_another_now_is_down_before_it_is_given() {
    let mut app = desired("a", Wish::Running, Stage::Installed);
    let unit = "[Container]\nSecret=\"archy.a.password,type=env,target=P\"\n";
    let mut machine = running(&mut app, unit, "", 80);
    machine.containers[0].ports = None;
    machine
        .different_secrets
        .insert("archy.a.password".to_owned());
    insta::assert_snapshot!(plan_all(&[app], &machine), @r"
    a
      stop archy.a.web.service
      give podman the secret password
      start archy.a.web.service
    ");
}

#[test]
fn what_depends_on_something_that_changed_is_rendered_again_first() {
    let desired = [desired("a", Wish::Running, Stage::Installed)];
    let mut machine = settled(&desired);
    machine.secrets.clear();
    machine.outdated.insert("a".parse().unwrap());
    insta::assert_snapshot!(plan_all(&desired, &machine), @r"
    a
      render it again with what it depends on now
    ");
}

fn wishes() -> impl Strategy<Value = (Wish, Stage)> {
    prop_oneof![
        Just((Wish::Running, Stage::Installed)),
        Just((Wish::Stopped, Stage::Installed)),
        Just((Wish::Removed, Stage::Installed)),
        Just((Wish::Running, Stage::Installing)),
        Just((Wish::Running, Stage::Changing)),
        Just((Wish::Stopped, Stage::Changing)),
        Just((Wish::Running, Stage::Returning)),
        Just((Wish::Running, Stage::Adopted)),
        Just((Wish::Stopped, Stage::Adopted)),
        Just((Wish::Running, Stage::Migrating)),
        Just((Wish::Running, Stage::Unmigrating)),
    ]
}

/// Breaks a settled machine here and there.
fn broken(apps: Vec<Desired>, seed: Vec<u8>) -> Machine {
    let running: Vec<Desired> = apps
        .iter()
        .map(|app| desired(app.slug().as_str(), Wish::Running, Stage::Installed))
        .collect();
    let mut machine = settled(&running);
    for app in &running {
        machine
            .containers
            .extend(app.containers().map(|name| container(app, name)));
    }
    let mut seed = seed.into_iter().cycle();
    let mut flip = move |_: &()| seed.next().is_some_and(|byte| byte % 3 != 0);
    machine.networks.retain(|_| flip(&()));
    machine.volumes.retain(|_| flip(&()));
    machine.secrets.retain(|_| flip(&()));
    machine.wanted.retain(|_| flip(&()));
    machine.data.retain(|_| flip(&()));
    machine.live.retain(|_, _| flip(&()));
    machine.containers.retain(|_| flip(&()));
    machine.units.retain(|_, unit| {
        if !flip(&()) {
            unit.active = "failed".to_owned();
        }
        if !flip(&()) {
            unit.load = "not-found".to_owned();
        }
        flip(&())
    });
    machine
}

proptest! {
    #[test]
    fn performing_a_plan_leaves_nothing_to_do(
        wishes in prop::collection::vec(wishes(), 0..4),
        known in 0..4_usize,
        seed in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let named = wishes.iter().zip(["a", "b", "a-b", "network"]);
        let all: Vec<Desired> = named.map(|((wish, stage), slug)| desired(slug, *wish, *stage)).collect();
        let mut machine = broken(all.clone(), seed);
        // Some of the apps on the machine are not desired at all.
        let mut wanted: Vec<Desired> = all.into_iter().take(known).collect();
        let mut first = plan_all(&wanted, &machine);
        perform(&first, &mut wanted, &mut machine);
        if first.apps.values().flatten().any(|step| matches!(step, Step::AskForData(_))) {
            // Once the owner has put it back, or one directory of many.
            machine.data.extend(with_data(&wanted).data);
            first = plan_all(&wanted, &machine);
            perform(&first, &mut wanted, &mut machine);
        }
        let second = plan_all(&wanted, &machine);
        prop_assert!(second.is_empty(), "first:\n{first}\nsecond:\n{second}");
    }
}
