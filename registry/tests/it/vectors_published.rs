//! RFC 8785 and did:key against published vectors. Those of eddsa-jcs-2022 need the inside of the proof
//! module and are tested there.

use archy_registry::{Did, SigningKey, json};

const JCS: [(&str, &str, &str, &str); 6] = [
    (
        "arrays",
        include_str!("vectors/rfc8785/input/arrays.json"),
        include_str!("vectors/rfc8785/output/arrays.json"),
        include_str!("vectors/rfc8785/outhex/arrays.txt"),
    ),
    (
        "french",
        include_str!("vectors/rfc8785/input/french.json"),
        include_str!("vectors/rfc8785/output/french.json"),
        include_str!("vectors/rfc8785/outhex/french.txt"),
    ),
    (
        "structures",
        include_str!("vectors/rfc8785/input/structures.json"),
        include_str!("vectors/rfc8785/output/structures.json"),
        include_str!("vectors/rfc8785/outhex/structures.txt"),
    ),
    (
        "unicode",
        include_str!("vectors/rfc8785/input/unicode.json"),
        include_str!("vectors/rfc8785/output/unicode.json"),
        include_str!("vectors/rfc8785/outhex/unicode.txt"),
    ),
    (
        "values",
        include_str!("vectors/rfc8785/input/values.json"),
        include_str!("vectors/rfc8785/output/values.json"),
        include_str!("vectors/rfc8785/outhex/values.txt"),
    ),
    (
        "weird",
        include_str!("vectors/rfc8785/input/weird.json"),
        include_str!("vectors/rfc8785/output/weird.json"),
        include_str!("vectors/rfc8785/outhex/weird.txt"),
    ),
];

#[test]
fn canonical_json_is_that_of_rfc_8785() {
    for (name, input, output, hex_output) in JCS {
        // Beneath the profile: these vectors hold fractions, which our statements never do.
        let value: serde_json::Value = serde_json::from_str(input).unwrap();
        let canonical = json::canonical(&value).unwrap();
        assert_eq!(
            String::from_utf8(canonical.clone()).unwrap(),
            output,
            "{name}"
        );
        let hex_output: String = hex_output.split_whitespace().collect();
        assert_eq!(hex::encode(&canonical), hex_output, "{name}");
    }
}

#[test]
fn did_keys_are_those_of_the_did_key_method() {
    #[derive(serde::Deserialize)]
    struct Vector {
        did: String,
        seed: String,
    }
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("vectors/did-key.json")).unwrap();
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        let mut seed = [0; 32];
        hex::decode_to_slice(&vector.seed, &mut seed).unwrap();
        let did = SigningKey::from_seed(&seed).did();
        assert_eq!(did.to_string(), vector.did);
        assert_eq!(vector.did.parse::<Did>().unwrap(), did);
    }
}
