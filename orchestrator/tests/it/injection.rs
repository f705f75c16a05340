//! No text of a manifest becomes more than the value that it should be.

use archy_orchestrator::quadlet::{self, UnitSet, unit};

use std::collections::BTreeMap;

use archy_orchestrator::settings::{ContainerEdit, Settings, SettingsEdit};
use archy_registry::manifest::Manifest;

use crate::injection_table::{bases, cases, full, hostile};

/// Files, sections and keys, in order: what a hostile value must not change.
fn shape(set: &UnitSet) -> Vec<(usize, String, String)> {
    let lines = set
        .files()
        .into_values()
        .enumerate()
        .flat_map(|(index, text)| {
            let lines = unit::read(&text).expect("a rendered unit is in form");
            lines
                .into_iter()
                .map(move |line| (index, line.section, line.key))
        });
    lines.collect()
}

#[test]
fn every_string_is_refused_or_stays_a_value() {
    let shapes: BTreeMap<String, _> = bases()
        .iter()
        .map(|base| {
            (
                base.app.id.to_string(),
                shape(&quadlet::preview(base).unwrap()),
            )
        })
        .collect();
    let (mut refused, mut rendered) = (0, 0);
    for case in cases() {
        let text: String = case.text.chars().take(60).collect();
        let Some(set) = case
            .manifest
            .and_then(|manifest| quadlet::preview(&manifest).ok())
        else {
            refused += 1;
            continue;
        };
        rendered += 1;
        for (name, unit) in &set.units {
            let written = unit.text();
            assert_eq!(
                unit.reads_back_from(&written),
                Ok(()),
                "{name}: {} = {text:?}",
                case.field
            );
        }
        // Renamed containers and volumes sort elsewhere; what each file holds must be the same all the same.
        let mut found = shape(&set);
        let mut expected = shapes[&case.base].clone();
        for list in [&mut found, &mut expected] {
            list.iter_mut().for_each(|line| line.0 = 0);
            // A user without a group is a user all the same.
            list.retain(|line| line.2 != "Group");
            // A renamed volume may be a further one, with a file of its own.
            if case.field.contains("/volumes/") && case.field.ends_with("/name") {
                list.retain(|line| line.1 == "Container" || line.1 == "Service");
            }
            // Another dependency is one whose values nobody uses, so that there is no network with it.
            let uses_other = case.field.ends_with("/environment/NEWS");
            if case.field.starts_with("/dependencies/") || uses_other {
                list.retain(|line| !line.2.starts_with("Network") && line.1 == "Container");
            }
            // A value without a secret in it is an ordinary variable.
            if case.field.ends_with("/environment/DSN") {
                let secrets = list.iter_mut().filter(|line| line.2 == "Secret");
                secrets.for_each(|line| line.2 = "Environment".to_owned());
            }
            list.sort();
        }
        assert!(
            found == expected,
            "{} = {text:?}: {:?}",
            case.field,
            set.files()
        );
    }
    assert!(
        refused > 500 && rendered > 500,
        "{refused} refused, {rendered} rendered"
    );
}

#[test]
fn the_registry_refuses_what_rendering_refuses_or_more() {
    for case in cases() {
        let Some(manifest) = case.manifest else {
            continue;
        };
        if manifest.check().is_ok()
            && let Err(error) = quadlet::preview(&manifest)
        {
            let text: String = case.text.chars().take(60).collect();
            // Quadlet's own limits, which the packaging contract does not know.
            let known = error.to_string().contains("is not possible here");
            assert!(known, "{} = {text:?}: {error}", case.field);
        }
    }
}

/// What an owner sets is put to the same test as what a publisher writes.
#[test]
fn every_variable_that_an_owner_sets_is_refused_or_stays_a_value() {
    let manifest = full();
    let lines =
        |manifest: &Manifest| quadlet::preview(manifest).map(|set| (shape(&set).len(), set));
    let (expected, _) = lines(&manifest).unwrap();
    let settings = Settings::assign(&manifest, &Settings::default(), |_, _| true).unwrap();
    let (mut refused, mut rendered) = (0, 0);
    for text in hostile() {
        for (name, value) in [("ADDED", text.as_str()), (text.as_str(), "value")] {
            let edit = ContainerEdit {
                environment: [(name.to_owned(), value.to_owned())].into(),
                ..ContainerEdit::default()
            };
            let edit = SettingsEdit {
                containers: [("db".parse().unwrap(), edit)].into(),
                ..SettingsEdit::default()
            };
            let edited = settings.edited(&edit, &manifest).ok();
            let edited = edited.and_then(|edited| lines(&edited.applied_to(&manifest)).ok());
            let Some((found, set)) = edited else {
                refused += 1;
                continue;
            };
            rendered += 1;
            let shown: String = format!("{name}={value}").chars().take(60).collect();
            assert_eq!(found, expected + 1, "{shown:?}");
            for unit in set.units.values() {
                assert_eq!(unit.reads_back_from(&unit.text()), Ok(()), "{shown:?}");
            }
        }
    }
    assert!(
        refused > 50 && rendered > 30,
        "{refused} refused, {rendered} rendered"
    );
}
