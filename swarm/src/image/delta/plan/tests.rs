use archy_registry::release::{Platform, Tar};
use proptest::prelude::*;

use super::*;

fn hash(name: &str) -> Blake3Hash {
    Blake3Hash::of(name.as_bytes())
}

fn digest(name: &str) -> OciDigest {
    OciDigest::from_sha256(*hash(&format!("sha256 {name}")).as_bytes())
}

fn blob(name: &str, kind: &str, size_bytes: u64) -> Descriptor {
    Descriptor {
        media_type: format!("application/vnd.oci.image.{kind}"),
        digest: digest(name),
        size_bytes,
        blake3: hash(name),
        diff_id: None,
    }
}

/// A gzip layer `name.gz` of the tar `name`.
fn layer(name: &str, size_bytes: u64) -> Descriptor {
    layer_as(name, "gz", "layer.v1.tar+gzip", size_bytes)
}

fn layer_as(name: &str, suffix: &str, kind: &str, size_bytes: u64) -> Descriptor {
    Descriptor {
        diff_id: Some(digest(name)),
        ..blob(&format!("{name}.{suffix}"), kind, size_bytes)
    }
}

fn image(name: &str, layers: Vec<Descriptor>) -> Image {
    Image {
        container: "web".parse().unwrap(),
        platform: Platform::host(),
        manifest: blob(&format!("{name} manifest"), "manifest.v1+json", 10),
        config: blob(&format!("{name} config"), "config.v1+json", 20),
        layers,
    }
}

fn delta(from: &str, to: &str, size_bytes: u64) -> Delta {
    Delta {
        from: digest(from),
        to: digest(to),
        blake3: hash(&format!("{from}-{to}")),
        size_bytes,
        tar: tar(to),
    }
}

fn tar(name: &str) -> Tar {
    Tar {
        blake3: hash(&format!("{name}.tar")),
        size_bytes: 10_000,
    }
}

/// A node that has these blobs, and these layers in some form.
fn here(blobs: &[&str], forms: &[Form]) -> Here {
    let mut here = Here::default();
    for name in blobs {
        here.add_blob(hash(name));
    }
    for form in forms {
        here.add_form(*form);
    }
    here
}

fn form(layer: &Descriptor) -> Form {
    Form::of_layer(layer).unwrap()
}

/// What a plan says, in short.
fn told(plan: &Plan) -> String {
    let ways: Vec<&str> = plan
        .steps
        .iter()
        .map(|step| match &step.path {
            Path::Here => "here",
            Path::Form(_) => "form",
            Path::Delta { delta, .. } if delta.from == digest("a1") => "delta from a1",
            Path::Delta { .. } => "delta",
            Path::Whole => "whole",
        })
        .collect();
    format!(
        "{}; {} of {}",
        ways.join(", "),
        plan.bytes_needed,
        plan.bytes_of_all
    )
}

#[test]
fn the_fewest_bytes_win() {
    let (base, a3) = (layer("base", 1000), layer("a3", 500));
    let images = [image("new", vec![base.clone(), a3.clone()])];
    let (a1, a2) = (layer("a1", 480), layer("a2", 490));
    let from_a1 = delta("a1", "a3", 90);
    let from_a2 = delta("a2", "a3", 40);
    let both = [from_a1.clone(), from_a2.clone()];
    let larger = [delta("a1", "a3", 500), delta("a2", "a3", 501)];
    let documents = ["new manifest", "new config"];
    let with = |more: &[&'static str]| [&documents[..], more].concat();
    let zst = layer_as("a3", "zst", "layer.v1.tar+zstd", 450);
    let cases: Vec<(&str, &[Delta], Here, &str)> = vec![
        (
            "a fresh node",
            &both,
            here(&[], &[]),
            "whole, whole; 1530 of 1530",
        ),
        (
            "all is here",
            &both,
            here(&with(&["base.gz", "a3.gz"]), &[]),
            "here, here; 0 of 1530",
        ),
        (
            "only the documents are missing",
            &both,
            here(&["base.gz", "a3.gz"], &[]),
            "here, here; 30 of 1530",
        ),
        (
            "no deltas",
            &[],
            here(&[], &[form(&base), form(&a2)]),
            "here, whole; 530 of 1530",
        ),
        (
            "one earlier release",
            &both,
            here(&[], &[form(&base), form(&a1)]),
            "here, delta from a1; 120 of 1530",
        ),
        (
            "two earlier releases",
            &both,
            here(&[], &[form(&base), form(&a1), form(&a2)]),
            "here, delta; 70 of 1530",
        ),
        (
            "a delta without its base",
            std::slice::from_ref(&from_a2),
            here(&[], &[form(&base), form(&a1)]),
            "here, whole; 530 of 1530",
        ),
        (
            "a larger delta that came before counts as nothing",
            &both,
            here(&["a1-a3"], &[form(&base), form(&a1), form(&a2)]),
            "here, delta from a1; 30 of 1530",
        ),
        (
            "deltas that save nothing",
            &larger,
            here(&[], &[form(&base), form(&a1), form(&a2)]),
            "here, whole; 530 of 1530",
        ),
        (
            "the tar was made before",
            &both,
            here(
                &[],
                &[
                    form(&base),
                    form(&a1),
                    Form::of_tar(digest("a3"), &tar("a3")),
                ],
            ),
            "here, form; 30 of 1530",
        ),
        (
            "the same layer, compressed differently",
            &both,
            here(&[], &[form(&a1), form(&zst)]),
            "whole, form; 1030 of 1530",
        ),
        (
            "the layer's own blob before any other form",
            &both,
            here(&["a3.gz"], &[form(&a1), form(&zst)]),
            "whole, here; 1030 of 1530",
        ),
    ];
    for (case, deltas, here, expected) in cases {
        assert_eq!(told(&plan(&images, deltas, &here)), expected, "{case}");
    }
}

#[test]
fn what_several_images_share_counts_once() {
    let base = layer("base", 1000);
    let images = [
        image("web", vec![base.clone(), layer("a3", 500), base.clone()]),
        image("db", vec![base.clone(), layer("a3", 500)]),
    ];
    let plan = plan(
        &images,
        &[delta("a1", "a3", 40)],
        &here(&[], &[form(&layer("a1", 480))]),
    );
    assert_eq!(told(&plan), "whole, delta from a1; 1100 of 1560");
    assert_eq!(plan.documents.len(), 4);
    let kinds: Vec<u64> = plan.blobs().iter().map(|blob| blob.size_bytes).collect();
    assert_eq!(kinds, [10, 20, 10, 20, 40, 1000], "small ones first");
}

#[test]
fn one_tar_stands_for_a_layer_that_is_wanted_in_two_compressions() {
    let twice = vec![
        layer("a3", 60),
        layer_as("a3", "zst", "layer.v1.tar+zstd", 50),
    ];
    let images = [image("web", twice)];
    // Dearer than each of them, and cheaper than both.
    let deltas = [delta("a1", "a3", 100)];
    let plan = plan(&images, &deltas, &here(&[], &[form(&layer("a1", 480))]));
    assert_eq!(told(&plan), "delta from a1, delta from a1; 130 of 140");
    assert_eq!(plan.missing().len(), 3);
}

#[test]
fn of_two_forms_the_one_that_is_read_faster_is_taken() {
    let (gz, zst) = (
        layer("a1", 480),
        layer_as("a1", "zst", "layer.v1.tar+zstd", 450),
    );
    let tar = Form::of_tar(digest("a1"), &tar("a1"));
    for forms in [[form(&gz), form(&zst), tar], [tar, form(&zst), form(&gz)]] {
        let images = [image("new", vec![layer("a3", 500)])];
        let plan = plan(&images, &[delta("a1", "a3", 40)], &here(&[], &forms));
        let Path::Delta { base, .. } = &plan.steps[0].path else {
            panic!("{plan:?}");
        };
        assert_eq!(*base, tar);
    }
}

/// Layers 0 to 3 of the new release, 10 to 13 of earlier ones.
fn any_here() -> impl Strategy<Value = Here> {
    let blobs = proptest::collection::vec(0..40u8, 0..8);
    let forms = proptest::collection::vec((0..14u8, 0..3u8), 0..6);
    (blobs, forms).prop_map(|(blobs, forms)| {
        let mut all = Here::default();
        for number in blobs {
            let name = match number {
                0..4 => format!("{number}.gz"),
                4 => "web manifest".to_owned(),
                5 => "db config".to_owned(),
                _ => format!("{}-{}", 10 + number % 4, number / 10),
            };
            all.add_blob(hash(&name));
        }
        for (number, kind) in forms {
            let name = number.to_string();
            all.add_form(match kind {
                0 => form(&layer(&name, 100)),
                1 => form(&layer_as(&name, "zst", "layer.v1.tar+zstd", 90)),
                _ => Form::of_tar(digest(&name), &tar(&name)),
            });
        }
        all
    })
}

proptest! {
    #[test]
    fn a_plan_covers_every_layer_and_never_costs_more_than_whole_layers(
        web in proptest::collection::vec((0..4u8, 1..1000u64), 0..5),
        db in proptest::collection::vec((0..4u8, 1..1000u64), 0..5),
        deltas in proptest::collection::vec((10..14u8, 0..4u8, 1..1500u64), 0..10),
        here in any_here(),
    ) {
        // A layer has one size, wherever it is named.
        let mut sizes = BTreeMap::new();
        let mut layers = |numbers: &[(u8, u64)]| numbers.iter().map(|(number, size)| {
            layer(&number.to_string(), *sizes.entry(*number).or_insert(*size))
        }).collect::<Vec<_>>();
        let images = [image("web", layers(&web)), image("db", layers(&db))];
        let mut sizes = BTreeMap::new();
        let deltas: Vec<Delta> = deltas.iter().map(|(from, to, size)| {
            let size = *sizes.entry((*from, *to)).or_insert(*size);
            delta(&from.to_string(), &to.to_string(), size)
        }).collect();
        let chosen = plan(&images, &deltas, &here);
        let whole = plan(&images, &[], &Here { forms: HashMap::new(), ..here.clone() });

        prop_assert!(chosen.bytes_needed <= whole.bytes_needed);
        prop_assert!(whole.bytes_needed <= whole.bytes_of_all);
        prop_assert_eq!(chosen.bytes_of_all, whole.bytes_of_all);
        let missing: u64 = chosen.missing().iter().map(|blob| blob.size_bytes).sum();
        prop_assert_eq!(missing, chosen.bytes_needed);

        let fetched: HashSet<Blake3Hash> = chosen.blobs().iter().map(|blob| blob.blake3).collect();
        let is_or_will_be_here = |blob: &Blake3Hash| here.blobs.contains(blob) || fetched.contains(blob);
        for image in &images {
            for document in [&image.manifest, &image.config] {
                prop_assert!(is_or_will_be_here(&document.blake3));
            }
            for wanted in &image.layers {
                let step = chosen.steps.iter().find(|step| step.layer == *wanted);
                match &step.expect("every layer has a step").path {
                    Path::Here => prop_assert!(here.blobs.contains(&wanted.blake3)),
                    Path::Form(form) => {
                        prop_assert!(here.blobs.contains(&form.blake3));
                        prop_assert_eq!(Some(form.diff_id), wanted.diff_id);
                    }
                    Path::Delta { delta, base } => {
                        prop_assert!(is_or_will_be_here(&delta.blake3));
                        prop_assert!(here.blobs.contains(&base.blake3));
                        prop_assert_eq!(base.diff_id, delta.from);
                        prop_assert_eq!(Some(delta.to), wanted.diff_id);
                    }
                    Path::Whole => prop_assert!(fetched.contains(&wanted.blake3)),
                }
            }
        }
        let mut steps = HashSet::new();
        prop_assert!(chosen.steps.iter().all(|step| steps.insert(step.layer.blake3)));
    }
}
