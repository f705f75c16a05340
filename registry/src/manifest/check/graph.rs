//! Checks who waits for whom: `depends_on` names containers that exist and has no circle.

use std::collections::{BTreeMap, BTreeSet};

use super::Report;
use crate::id::Slug;
use crate::manifest::{Condition, Container, Manifest};

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    let containers: BTreeMap<&Slug, &Container> = manifest
        .containers
        .iter()
        .map(|container| (&container.name, container))
        .collect();
    for (index, container) in manifest.containers.iter().enumerate() {
        report.at(format!("containers[{index}]"), |report| {
            edges(container, &containers, report);
        });
    }
    if let Some((index, circle)) = find_circle(manifest, &containers) {
        let circle: Vec<&str> = circle.iter().map(|name| name.as_str()).collect();
        report.at(format!("containers[{index}].depends_on"), |report| {
            report.problem(format!("goes in a circle: {}", circle.join(" → ")));
        });
    }
}

fn edges(container: &Container, containers: &BTreeMap<&Slug, &Container>, report: &mut Report) {
    let mut seen = BTreeSet::new();
    report.each(
        "depends_on",
        &container.depends_on,
        16,
        |report, _, edge| {
            let name = &edge.container;
            let Some(target) = containers.get(name) else {
                return report.problem(format!(
                    "names {name}, which is not a container of this app"
                ));
            };
            if !seen.insert(name.clone()) {
                report.problem(format!("names {name} twice"));
            }
            if edge.condition == Condition::Healthy && target.health_check.is_none() {
                report.problem(format!(
                    "waits until {name} is healthy, but {name} has no health_check; \
                 give it one or write condition: started"
                ));
            }
        },
    );
}

/// Follows every edge depth first; at most 16 containers with 16 edges each.
fn find_circle<'m>(
    manifest: &'m Manifest,
    containers: &BTreeMap<&'m Slug, &'m Container>,
) -> Option<(usize, Vec<&'m Slug>)> {
    let mut cleared = BTreeSet::new();
    manifest
        .containers
        .iter()
        .enumerate()
        .find_map(|(index, container)| {
            let circle = walk(&container.name, containers, &mut Vec::new(), &mut cleared)?;
            Some((index, circle))
        })
}

fn walk<'m>(
    name: &'m Slug,
    containers: &BTreeMap<&'m Slug, &'m Container>,
    path: &mut Vec<&'m Slug>,
    cleared: &mut BTreeSet<&'m Slug>,
) -> Option<Vec<&'m Slug>> {
    if let Some(start) = path.iter().position(|earlier| *earlier == name) {
        let mut circle = path[start..].to_vec();
        circle.push(name);
        return Some(circle);
    }
    if cleared.contains(name) {
        return None;
    }
    path.push(name);
    let circle = containers
        .get(name)
        .into_iter()
        .flat_map(|container| &container.depends_on)
        .find_map(|edge| walk(&edge.container, containers, path, cleared));
    path.pop();
    cleared.insert(name);
    circle
}
