use serde_json::json;

use super::*;

const UNSIGNED: &str = include_str!("../../tests/it/vectors/eddsa-jcs-2022/unsigned.json");
const CONFIG: &str = include_str!("../../tests/it/vectors/eddsa-jcs-2022/proofConfigJCS.json");
const SIGNED: &str = include_str!("../../tests/it/vectors/eddsa-jcs-2022/signedJCS.json");
const KEY_PAIR: &str = include_str!("../../tests/it/vectors/eddsa-jcs-2022/keyPair.json");

macro_rules! vector {
    ($file:literal) => {
        include_str!(concat!("../../tests/it/vectors/eddsa-jcs-2022/", $file)).trim_end()
    };
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_step_gives_the_values_that_the_w3c_published() {
    let (document, config, pair) = (value(UNSIGNED), value(CONFIG), value(KEY_PAIR));
    let key = SigningKey::from_multibase(pair["privateKeyMultibase"].as_str().unwrap()).unwrap();
    assert_eq!(key.did().multikey(), pair["publicKeyMultibase"]);
    assert_eq!(key.to_multibase().as_str(), pair["privateKeyMultibase"]);

    let canonical = json::canonical(&document).unwrap();
    assert_eq!(canonical, vector!("canonDocJCS.txt").as_bytes());
    assert_eq!(
        hex::encode(Sha256::digest(&canonical)),
        vector!("docHashJCS.txt")
    );
    let canonical = json::canonical(&config).unwrap();
    assert_eq!(canonical, vector!("proofCanonJCS.txt").as_bytes());
    assert_eq!(
        hex::encode(Sha256::digest(&canonical)),
        vector!("proofHashJCS.txt")
    );

    let data = hash_data(&document, &config).unwrap();
    assert_eq!(hex::encode(data), vector!("combinedHashJCS.txt"));
    let signature = key.dalek().sign(&data);
    assert_eq!(hex::encode(signature.to_bytes()), vector!("sigHexJCS.txt"));
    assert_eq!(encode_signature(&signature), vector!("sigBTC58JCS.txt"));
    let decoded = decode_signature(vector!("sigBTC58JCS.txt")).unwrap();
    key.did().key().verify_strict(&data, &decoded).unwrap();

    let mut signed = document;
    let mut proof = config;
    proof["proofValue"] = Value::String(encode_signature(&signature));
    signed["proof"] = proof;
    assert_eq!(signed, value(SIGNED));
}

#[test]
fn the_signed_example_is_outside_our_profile() {
    let bytes = json::canonical(&value(SIGNED)).unwrap();
    let refused = open(&bytes, 4096, now()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the proof does not fit the profile: @context is not used"
    );
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn signed() -> (SigningKey, Signed) {
    let key = SigningKey::from_seed(&[7; 32]);
    let statement =
        json!({"type": "test", "text": "ä\u{20ac}\n", "list": [1, -2, {}], "none": null});
    let signed = sign(&statement, &key, now()).unwrap();
    (key, signed)
}

#[test]
fn what_is_signed_opens() {
    let (key, signed) = signed();
    let opened = open(&signed.bytes, 4096, now()).unwrap();
    assert_eq!(opened.signers, [key.did()]);
    assert_eq!(opened.hash, signed.hash);
    assert_eq!(opened.r#type, "test");
    let document: Value = serde_json::from_slice(&opened.document).unwrap();
    assert_eq!(document["list"], json!([1, -2, {}]));
    assert!(document.get("proof").is_none());
    assert_eq!(json::canonical(&document).unwrap(), opened.document);
}

#[test]
fn no_bit_can_be_flipped() {
    let (_, signed) = signed();
    for at in 0..signed.bytes.len() {
        for bit in 0..8 {
            let mut bytes = signed.bytes.clone();
            bytes[at] ^= 1 << bit;
            assert!(open(&bytes, 4096, now()).is_err(), "byte {at} bit {bit}");
        }
    }
}

/// Changes the signed statement, keeping it canonical.
fn changed(change: impl FnOnce(&mut Value)) -> ProofError {
    let mut statement: Value = serde_json::from_slice(&signed().1.bytes).unwrap();
    change(&mut statement);
    open(&json::canonical(&statement).unwrap(), 4096, now()).unwrap_err()
}

/// Changes the proof's options and signs again with the same key: only the profile can refuse it.
fn resigned(change: impl FnOnce(&mut Value)) -> String {
    let key = SigningKey::from_seed(&[7; 32]);
    let mut statement: Value = serde_json::from_slice(&signed().1.bytes).unwrap();
    let mut proof = statement["proof"].take();
    statement.as_object_mut().unwrap().remove("proof");
    proof.as_object_mut().unwrap().remove("proofValue");
    change(&mut proof);
    let data = hash_data(&statement, &proof).unwrap();
    proof["proofValue"] = Value::String(encode_signature(&key.dalek().sign(&data)));
    statement["proof"] = proof;
    let bytes = json::canonical(&statement).unwrap();
    open(&bytes, 4096, now()).unwrap_err().to_string()
}

#[test]
fn proofs_outside_the_profile_are_refused_even_when_the_signature_holds() {
    let cases: [(&str, &str, Value); 8] = [
        ("type", "type must be", json!("DataIntegrityProof2")),
        (
            "cryptosuite",
            "cryptosuite must be",
            json!("eddsa-rdfc-2022"),
        ),
        (
            "proofPurpose",
            "proofPurpose must be",
            json!("authentication"),
        ),
        (
            "created",
            "created must be",
            json!("2026-11-21T12:00:00+00:00"),
        ),
        (
            "created",
            "created must be",
            json!("2026-11-21T12:00:00.5Z"),
        ),
        (
            "created",
            "more than 15 minutes ahead",
            json!("2026-11-21T12:15:01Z"),
        ),
        (
            "@context",
            "its members must be",
            json!(["https://www.w3.org/ns/credentials/v2"]),
        ),
        (
            "expires",
            "its members must be",
            json!("2027-01-01T00:00:00Z"),
        ),
    ];
    for (member, message, value) in cases {
        let refused = resigned(|proof| proof[member] = value);
        assert!(refused.contains(message), "{member}: {refused}");
    }
    let did = SigningKey::from_seed(&[7; 32]).did();
    for method in [
        did.to_string(),
        format!("{did}#{did}"),
        format!("{did}#other"),
        format!("{}#{}", did.multikey(), did.multikey()),
        String::new(),
    ] {
        let refused = resigned(|proof| proof["verificationMethod"] = json!(method));
        let expected =
            refused.contains("verificationMethod must be") || refused.contains("key is not");
        assert!(expected, "{method}: {refused}");
    }
}

#[test]
fn the_proof_may_be_dated_up_to_a_quarter_of_an_hour_ahead() {
    let (_, signed) = signed();
    let minutes = |minutes| now() - SignedDuration::from_mins(minutes);
    assert!(open(&signed.bytes, 4096, minutes(15)).is_ok());
    assert!(matches!(
        open(&signed.bytes, 4096, minutes(16)),
        Err(ProofError::Future { .. })
    ));
}

#[test]
fn one_proof_is_an_object() {
    let none = changed(|statement| {
        statement.as_object_mut().unwrap().remove("proof");
    });
    assert!(matches!(none, ProofError::NoProof));
    let list = changed(|statement| statement["proof"] = json!([statement["proof"]]));
    assert!(matches!(list, ProofError::NoProof));
    let null = changed(|statement| statement["proof"] = Value::Null);
    assert!(matches!(null, ProofError::NoProof));
}

#[test]
fn signature_texts_have_one_spelling() {
    let (_, signed) = signed();
    let statement: Value = serde_json::from_slice(&signed.bytes).unwrap();
    let good = statement["proof"]["proofValue"]
        .as_str()
        .unwrap()
        .to_owned();
    for text in [
        String::new(),
        "z".to_owned(),
        good[1..].to_owned(),
        format!("z1{}", &good[1..]),
        format!("{good}1"),
        format!("{good} "),
        good.replace('z', "u"),
        format!("z{}", "2".repeat(1 << 16)),
    ] {
        let mut changed = statement.clone();
        changed["proof"]["proofValue"] = json!(text);
        let bytes = json::canonical(&changed).unwrap();
        assert!(open(&bytes, 1 << 20, now()).is_err(), "{text:.100}");
    }
}

#[test]
fn another_keys_signature_does_not_pass_under_this_ones_name() {
    let other = SigningKey::from_seed(&[8; 32]).did();
    let refused = changed(|statement| {
        statement["proof"]["verificationMethod"] = json!(format!("{other}#{}", other.multikey()));
    });
    assert!(matches!(refused, ProofError::Signature { signer } if signer == other));
}

#[test]
fn what_does_not_fit_the_profile_cannot_be_signed() {
    let key = SigningKey::from_seed(&[7; 32]);
    let sign = |value: Value| sign(&value, &key, now());
    assert!(matches!(sign(json!([])), Err(SignError::Shape)));
    assert!(matches!(sign(json!({"proof": 1})), Err(SignError::Shape)));
    assert!(matches!(
        sign(json!({"@context": 1})),
        Err(SignError::Shape)
    ));
    assert!(matches!(sign(json!({"a": 1.5})), Err(SignError::Json(_))));
    assert!(matches!(
        sign(json!({"a": 1_u64 << 53})),
        Err(SignError::Json(_))
    ));
}

fn proof_set() -> ([SigningKey; 3], Signed) {
    let keys = [7, 8, 9].map(|seed| SigningKey::from_seed(&[seed; 32]));
    let first = sign(&json!({"type": "test", "text": "x"}), &keys[0], now()).unwrap();
    let second = add_proof(&first.bytes, &keys[1], now()).unwrap();
    let third = add_proof(&second.bytes, &keys[2], now()).unwrap();
    (keys, third)
}

#[test]
fn whoever_signs_first_a_proof_set_has_the_same_bytes() {
    let (keys, set) = proof_set();
    let opened = open(&set.bytes, 8192, now()).unwrap();
    let mut signers: Vec<Did> = keys.iter().map(SigningKey::did).collect();
    signers.sort_by_key(ToString::to_string);
    assert_eq!(opened.signers, signers);
    let last = sign(&json!({"type": "test", "text": "x"}), &keys[2], now()).unwrap();
    let turned = add_proof(&last.bytes, &keys[0], now()).unwrap();
    let turned = add_proof(&turned.bytes, &keys[1], now()).unwrap();
    assert_eq!(turned, set);
    assert!(matches!(
        add_proof(&set.bytes, &keys[1], now()),
        Err(SignError::Full(did)) if did == keys[1].did()
    ));
}

#[test]
fn a_proof_set_has_one_order_and_no_key_twice() {
    let (_, set) = proof_set();
    let change = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut statement: Value = serde_json::from_slice(&set.bytes).unwrap();
        change(statement["proof"].as_array_mut().unwrap());
        open(&json::canonical(&statement).unwrap(), 1 << 20, now()).unwrap_err()
    };
    assert!(matches!(
        change(&|proofs| proofs.swap(0, 1)),
        ProofError::ProofOrder
    ));
    assert!(matches!(
        change(&|proofs| proofs[1] = proofs[0].clone()),
        ProofError::ProofOrder
    ));
    assert!(matches!(
        change(&|proofs| proofs.truncate(1)),
        ProofError::NoProof
    ));
    assert!(matches!(
        change(&|proofs| proofs.clear()),
        ProofError::NoProof
    ));
    assert!(matches!(
        change(&|proofs| *proofs = vec![proofs[0].clone(); PROOFS_MAX + 1]),
        ProofError::NoProof
    ));
    assert!(matches!(
        change(&|proofs| proofs[2]["proofValue"] = proofs[1]["proofValue"].clone()),
        ProofError::Signature { .. }
    ));
}

#[test]
fn what_was_changed_is_not_countersigned() {
    let (_, signed) = signed();
    let text = String::from_utf8(signed.bytes).unwrap();
    let forged = text.replace("\"test\"", "\"Test\"");
    let key = SigningKey::from_seed(&[8; 32]);
    assert!(matches!(
        add_proof(forged.as_bytes(), &key, now()),
        Err(SignError::Proof(_))
    ));
}
