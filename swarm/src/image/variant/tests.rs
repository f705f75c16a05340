use archy_registry::Blake3Hash;
use archy_registry::release::{Platform, Tar};

use super::super::delta::Form;
use super::*;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: sha256(bytes),
        size_bytes: bytes.len() as u64,
        blake3: Blake3Hash::of(bytes),
        diff_id: None,
    }
}

/// An image of two gzip layers, its manifest and its configuration; `change` may break both before they are signed.
fn image(
    manifest_type: &str,
    change: impl FnOnce(&mut Value, &mut Value),
) -> (Image, Vec<u8>, Vec<u8>) {
    let diff_ids = [sha256(b"tar one"), sha256(b"tar two")];
    let mut config = json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let layer_type = model::layer_type(manifest_type, model::Compression::Gzip).unwrap();
    let mut layers = ["gz one", "gz two"].map(|bytes| descriptor(layer_type, bytes.as_bytes()));
    for (layer, diff_id) in layers.iter_mut().zip(diff_ids) {
        layer.diff_id = Some(diff_id);
    }
    let described = |blob: &Descriptor| json!({"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size_bytes});
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": null,
        "layers": layers.iter().map(described).collect::<Vec<_>>(),
        "annotations": {"org.example": "kept"},
    });
    manifest["layers"][1]["annotations"] = json!({"toc": "of the compressed bytes"});
    change(&mut manifest, &mut config);
    let config = config.to_string().into_bytes();
    let signed = descriptor("application/vnd.oci.image.config.v1+json", &config);
    if manifest["config"].is_null() {
        manifest["config"] = described(&signed);
    }
    let manifest = manifest.to_string().into_bytes();
    let image = Image {
        container: "web".parse().unwrap(),
        platform: Platform::host(),
        manifest: descriptor(manifest_type, &manifest),
        config: signed,
        layers: layers.into(),
    };
    (image, manifest, config)
}

fn plain(tar: &[u8]) -> VerifiedForm {
    let size_bytes = tar.len() as u64;
    let blake3 = Blake3Hash::of(tar);
    VerifiedForm::new(Form::of_tar(sha256(tar), &Tar { blake3, size_bytes }))
}

#[test]
fn exactly_the_layers_in_another_form_are_replaced() {
    for manifest_type in [OCI, DOCKER] {
        let (image, manifest, config) = image(manifest_type, |_, _| {});
        assert_eq!(check_agreement(&image, &manifest, &config), Ok(()));
        let forms = [plain(b"tar two"), plain(b"of another image")];
        let made = variant(&image, &manifest, &config, &forms)
            .unwrap()
            .unwrap();
        assert_eq!(made.digest, sha256(&made.manifest));
        assert_ne!(made.digest, image.manifest.digest);
        assert_eq!(made.media_type, manifest_type);

        let mut expected: Value = serde_json::from_slice(&manifest).unwrap();
        let plain_type = model::layer_type(manifest_type, model::Compression::None).unwrap();
        expected["layers"][1] =
            json!({"mediaType": plain_type, "digest": sha256(b"tar two"), "size": 7});
        let actual: Value = serde_json::from_slice(&made.manifest).unwrap();
        assert_eq!(actual, expected);

        let served: Vec<_> = made
            .blobs
            .iter()
            .map(|blob| (blob.digest, blob.blake3))
            .collect();
        let by_content = |bytes: &[u8]| (sha256(bytes), Blake3Hash::of(bytes));
        assert_eq!(
            served,
            [
                by_content(&config),
                by_content(b"gz one"),
                by_content(b"tar two")
            ]
        );
    }
}

#[test]
fn an_image_whose_layers_are_all_here_as_signed_has_no_variant() {
    let (image, manifest, config) = image(OCI, |_, _| {});
    let own = VerifiedForm::new(Form::of_layer(&image.layers[0]).unwrap());
    let forms = [own, plain(b"of another image")];
    assert_eq!(variant(&image, &manifest, &config, &forms), Ok(None));
    assert_eq!(variant(&image, b"", b"", &[]), Ok(None));
}

#[test]
fn documents_that_contradict_each_other_make_no_variant() {
    type Change = fn(&mut Value, &mut Value);
    let cases: [(&str, Change, VariantError); 6] = [
        (
            "the configuration names another layer",
            |_, config| config["rootfs"]["diff_ids"][1] = json!(sha256(b"other")),
            VariantError::Layers,
        ),
        (
            "the configuration names fewer layers",
            |_, config| {
                config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop();
            },
            VariantError::Layers,
        ),
        (
            "the manifest names another layer",
            |manifest, _| manifest["layers"][0]["digest"] = json!(sha256(b"other")),
            VariantError::Layers,
        ),
        (
            "the manifest names more layers",
            |manifest, _| {
                let more = manifest["layers"][0].clone();
                manifest["layers"].as_array_mut().unwrap().push(more);
            },
            VariantError::Layers,
        ),
        (
            "the manifest names another configuration",
            |manifest, _| {
                manifest["config"] =
                    json!({"mediaType": "x", "digest": sha256(b"other"), "size": 5});
            },
            VariantError::Layers,
        ),
        (
            "the manifest is no manifest",
            |manifest, _| *manifest = json!({"config": 1}),
            VariantError::Document {
                what: "manifest",
                reason: String::new(),
            },
        ),
    ];
    for (case, change, expected) in cases {
        let (image, manifest, config) = image(OCI, change);
        let refused = variant(&image, &manifest, &config, &[plain(b"tar two")]).unwrap_err();
        let disagree = check_agreement(&image, &manifest, &config);
        assert_eq!(disagree.as_ref(), Err(&refused), "{case}");
        match (&refused, &expected) {
            (VariantError::Document { what, .. }, VariantError::Document { what: wanted, .. }) => {
                assert_eq!(what, wanted, "{case}");
            }
            _ => assert_eq!(refused, expected, "{case}"),
        }
    }
}

#[test]
fn a_member_that_podman_takes_for_another_is_refused() {
    type Change = fn(&mut Value, &mut Value);
    let cases: [(&str, &str, Change); 7] = [
        ("manifest", "\"Layers\"", |manifest, _| {
            manifest["Layers"] = json!([]);
        }),
        ("manifest", "\"layer\u{17f}\"", |manifest, _| {
            manifest["layer\u{17f}"] = json!([]);
        }),
        ("manifest", "\"CONFIG\"", |manifest, _| {
            manifest["CONFIG"] = json!({});
        }),
        ("manifest", "\"Digest\"", |manifest, _| {
            manifest["layers"][1]["Digest"] = json!(sha256(b"other"));
        }),
        ("configuration", "\"rootFS\"", |_, config| {
            config["rootFS"] = json!({"type": "layers", "diff_ids": []});
        }),
        ("configuration", "\"Config\"", |_, config| {
            config["Config"] = json!({});
        }),
        ("configuration", "\"Diff_IDs\"", |_, config| {
            config["rootfs"]["Diff_IDs"] = json!([]);
        }),
    ];
    for (document, member, change) in cases {
        let (image, manifest, config) = image(OCI, change);
        let refused = check_agreement(&image, &manifest, &config).unwrap_err();
        let VariantError::Document { what, reason } = &refused else {
            panic!("{member}: {refused}");
        };
        assert_eq!(*what, document, "{member}");
        assert!(reason.contains(member), "{member}: {reason}");
    }
    // What nobody reads may be named as it likes.
    let (image, manifest, config) = image(OCI, |manifest, config| {
        manifest["annotations"] = json!({"Layers": "two", "Digest": "none"});
        manifest["layers"][0]["annotations"] = json!({"Size": "1"});
        config["config"] = json!({"Labels": {"RootFS": "x"}});
        config["Rootfs_note"] = json!("x");
    });
    assert_eq!(check_agreement(&image, &manifest, &config), Ok(()));
}

#[test]
fn other_documents_than_the_signed_ones_make_no_variant() {
    let (image, manifest, config) = image(OCI, |_, _| {});
    let forms = [plain(b"tar two")];
    let spaced = [&manifest[..], b" "].concat();
    assert_eq!(
        variant(&image, &spaced, &config, &forms),
        Err(VariantError::NotSigned { what: "manifest" })
    );
    let spaced = [&config[..], b" "].concat();
    assert_eq!(
        variant(&image, &manifest, &spaced, &forms),
        Err(VariantError::NotSigned {
            what: "configuration"
        })
    );
}
