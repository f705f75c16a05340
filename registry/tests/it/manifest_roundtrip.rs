//! Properties of manifests: what is written into a release is read back, whatever it holds.

use archy_registry::key_state::KeyState;
use archy_registry::manifest::{self, Manifest};
use archy_registry::{release, sign};
use proptest::prelude::*;

use crate::common::{SITE, draft, image, key, now};

/// Texts that pass as one line: anything but what hides or breaks.
fn line(max: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 1..max)
        .prop_map(|chars| chars.into_iter().collect::<String>())
        .prop_filter("hidden characters", |text| {
            !text.chars().any(|c| {
                c.is_control()
                    || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
            })
        })
}

/// Values that the node gives as they are: what would begin a value that it fills in is escaped.
fn value(max: usize) -> impl Strategy<Value = String> {
    line(max).prop_map(|text| text.replace("${", "$${"))
}

prop_compose! {
    fn manifests()(
        name in line(60),
        tagline in line(120),
        version in "[0-9][0-9A-Za-z.+~-]{0,20}",
        command in proptest::collection::vec(line(200), 0..5),
        environment in proptest::collection::btree_map("[A-Za-z_][A-Za-z0-9_]{0,12}", value(80), 0..6),
        ports in proptest::collection::btree_set(1_u16.., 1..5),
        memory in 6_u64..1_000_000,
        cpus in 1_u32..64_000,
        seconds in 0_u64..3600,
        readonly in any::<bool>(),
        policy in prop_oneof![Just("isolated"), Just("outbound"), Just("host")],
    ) -> Manifest {
        let mut manifest = manifest::parse(SITE).unwrap().manifest;
        manifest.app.name = name;
        manifest.app.tagline = tagline;
        manifest.app.version = version;
        manifest.network_policy = serde_json::from_value(policy.into()).unwrap();
        manifest.interfaces[0].port = *ports.first().unwrap();
        let container = &mut manifest.containers[0];
        container.command = command;
        container.environment = environment;
        container.ports = ports
            .into_iter()
            .map(|port| serde_json::from_value(serde_json::json!({"container": port})).unwrap())
            .collect();
        container.resources.memory = Some(format!("{memory}M").parse().unwrap());
        container.resources.cpus = Some(format!("{}.{:03}", cpus / 1000, cpus % 1000).parse().unwrap());
        container.stop_timeout = Some(format!("{seconds}s").parse().unwrap());
        container.readonly_root = readonly;
        manifest
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_manifest_comes_out_of_a_release_as_it_went_in(manifest in manifests()) {
        let key = key(7);
        let mut draft = draft(key.did(), 1);
        draft.manifest = manifest.clone();
        draft.images = vec![image("web", "amd64")];
        let signed = sign(&release::assemble(draft).unwrap(), &key, now()).unwrap();
        let state = KeyState::implicit(key.did());
        let read = release::verify(&signed.bytes, &state, now()).unwrap();
        prop_assert_eq!(&read.manifest, &manifest);
    }

    #[test]
    fn a_manifest_in_normal_form_is_valid_yaml_that_reads_the_same(manifest in manifests()) {
        let yaml = serde_json::to_string(&manifest).unwrap();
        let parsed = manifest::parse(&yaml).unwrap();
        prop_assert_eq!(parsed.manifest, manifest);
        prop_assert!(parsed.warnings.is_empty());
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = manifest::parse(&text);
    }

    #[test]
    fn no_mutilated_manifest_makes_the_reader_panic(from in 0_usize..300, len in 0_usize..40, put in "[ \\n:{}\\[\\],&*!|>'\"%#a0-]{0,6}") {
        let mut text = SITE.to_owned();
        let from = from.min(text.len());
        let to = (from + len).min(text.len());
        text.replace_range(from..to, &put);
        if let Ok(parsed) = manifest::parse(&text) {
            prop_assert!(parsed.manifest.check().is_ok());
        }
    }
}
