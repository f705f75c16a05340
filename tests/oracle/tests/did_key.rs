//! Our did:key encoding and that of the `did-key` crate agree, both ways.

use archy_registry::{Did, SigningKey};
use did_key::{DIDCore, Ed25519KeyPair, Fingerprint, KeyMaterial, generate, resolve};

/// Seeds that are not alike: 0, 1, 2, … hashed by multiplication and rotation.
fn seeds() -> impl Iterator<Item = [u8; 32]> {
    (0_u64..2000).map(|number| {
        let mut seed = [0; 32];
        let mut state = number;
        for chunk in seed.chunks_mut(8) {
            state = state
                .wrapping_add(0x9e37_79b9_7f4a_7c15)
                .wrapping_mul(0xbf58_476d_1ce4_e5b9)
                .rotate_left(31);
            chunk.copy_from_slice(&state.to_le_bytes());
        }
        seed
    })
}

#[test]
fn both_name_the_same_key_alike() {
    for seed in seeds() {
        let ours = SigningKey::from_seed(&seed).did();
        let theirs = generate::<Ed25519KeyPair>(Some(&seed));
        assert_eq!(ours.key().to_bytes().to_vec(), theirs.public_key_bytes());
        assert_eq!(
            ours.to_string(),
            format!("did:key:{}", theirs.fingerprint())
        );
        assert_eq!(ours.multikey(), theirs.fingerprint());
    }
}

#[test]
fn each_reads_what_the_other_writes() {
    for seed in seeds() {
        let ours = SigningKey::from_seed(&seed).did();
        let resolved = resolve(&ours.to_string()).expect("did-key reads our text");
        assert_eq!(resolved.public_key_bytes(), ours.key().to_bytes().to_vec());

        let theirs = generate::<Ed25519KeyPair>(Some(&seed));
        let written = theirs.get_did_document(did_key::Config::default()).id;
        assert_eq!(written.parse::<Did>().expect("we read its text"), ours);
    }
}
