use std::os::unix::fs::PermissionsExt;

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_saved_key_is_loaded_again_and_only_its_owner_can_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("publisher.key");
    let key = SigningKey::generate().unwrap();
    key.save_new(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(SigningKey::load(&path).unwrap().did(), key.did());
    assert_ne!(SigningKey::generate().unwrap().did(), key.did());
}

#[test]
fn a_key_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("publisher.key");
    std::fs::write(&path, "precious").unwrap();
    let refused = SigningKey::from_seed(&[1; 32]).save_new(&path);
    assert!(matches!(refused, Err(KeyFileError::Create { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), dir.path().join("link")).unwrap();
    let refused = SigningKey::from_seed(&[1; 32]).save_new(&dir.path().join("link"));
    assert!(matches!(refused, Err(KeyFileError::Create { .. })));
}

#[test]
fn a_key_that_others_can_get_at_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("publisher.key");
    SigningKey::from_seed(&[1; 32]).save_new(&path).unwrap();
    for bits in [0o640, 0o620, 0o604, 0o602, 0o610, 0o777] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits)).unwrap();
        let refused = SigningKey::load(&path).unwrap_err();
        assert!(matches!(refused, KeyFileError::Exposed { mode, .. } if mode == bits));
        assert!(refused.to_string().contains("chmod 600"));
    }
}

#[test]
fn what_is_not_a_key_is_refused_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("publisher.key");
    for content in ["", "\n", "secret words", "z6Mk", &"z".repeat(300)] {
        let _ = std::fs::remove_file(&path);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let refused = SigningKey::load(&path).unwrap_err();
        assert!(matches!(refused, KeyFileError::Content { .. }), "{content}");
        assert!(content.len() < 5 || !refused.to_string().contains(content));
    }
    assert!(matches!(
        SigningKey::load(&dir.path().join("none")),
        Err(KeyFileError::Read { .. })
    ));
    assert!(matches!(
        SigningKey::load(dir.path()),
        Err(KeyFileError::Content { .. })
    ));
}

#[test]
fn a_key_does_not_print_itself() {
    let key = SigningKey::from_seed(&[1; 32]);
    assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.did()));
}
