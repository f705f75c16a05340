use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

fn recipe(build_args: &BTreeMap<String, String>) -> Recipe<'_> {
    Recipe {
        containerfile: "Containerfile",
        build_args,
    }
}

fn of(directory: &Path) -> Blake3Hash {
    hash(directory, recipe(&BTreeMap::new())).unwrap()
}

fn entry() -> impl Strategy<Value = Entry> {
    let mode = 0..=PERMISSIONS;
    let kind = prop_oneof![
        mode.clone().prop_map(|mode| Kind::Directory { mode }),
        (mode, any::<[u8; 32]>()).prop_map(|(mode, content)| Kind::File {
            mode,
            content: Blake3Hash::from_bytes(content),
        }),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(|target| Kind::Link { target }),
        Just(Kind::Other),
    ];
    (prop::collection::vec(any::<u8>(), 1..8), kind).prop_map(|(path, kind)| Entry { path, kind })
}

/// Entries of different paths, as a directory has them.
fn tree() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec(entry(), 0..8).prop_map(|mut entries| {
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        entries.dedup_by(|one, other| one.path == other.path);
        entries
    })
}

proptest! {
    #[test]
    fn the_order_of_reading_does_not_count(tree in tree(), seed in any::<prop::sample::Index>()) {
        let args = BTreeMap::new();
        let mut turned = tree.clone();
        turned.rotate_left(if tree.is_empty() { 0 } else { seed.index(tree.len()) });
        let mut reversed = tree.clone();
        reversed.reverse();
        let expected = digest(tree, recipe(&args));
        prop_assert_eq!(digest(turned, recipe(&args)), expected);
        prop_assert_eq!(digest(reversed, recipe(&args)), expected);
    }

    #[test]
    fn different_trees_and_recipes_have_different_hashes(
        one in tree(),
        other in tree(),
        one_args in prop::collection::btree_map(".{0,3}", ".{0,3}", 0..3),
        other_args in prop::collection::btree_map(".{0,3}", ".{0,3}", 0..3),
    ) {
        let same = one == other && one_args == other_args;
        let hashes = [digest(one, recipe(&one_args)), digest(other, recipe(&other_args))];
        prop_assert_eq!(hashes[0] == hashes[1], same);
    }

    #[test]
    fn any_change_of_an_entry_changes_the_hash(
        tree in tree(),
        which in any::<prop::sample::Index>(),
        changed in entry(),
    ) {
        prop_assume!(!tree.is_empty());
        let args = BTreeMap::new();
        let which = which.index(tree.len());
        let mut other = tree.clone();
        other[which] = changed.clone();
        let same = tree[which] == changed;
        prop_assert_eq!(digest(tree.clone(), recipe(&args)) == digest(other, recipe(&args)), same);
        let mut fewer = tree.clone();
        fewer.remove(which);
        prop_assert_ne!(digest(tree, recipe(&args)), digest(fewer, recipe(&args)));
    }
}

#[test]
fn what_changes_on_disk_changes_the_hash() {
    let place = tempfile::tempdir().unwrap();
    let context = place.path().join("context");
    fs::create_dir_all(context.join("www")).unwrap();
    fs::write(context.join("Containerfile"), "FROM scratch\n").unwrap();
    fs::write(context.join("www/page"), "one").unwrap();
    let mut seen = vec![of(&context)];
    let mut news = |what: &str| {
        let now = of(&context);
        assert!(!seen.contains(&now), "{what}");
        assert_eq!(of(&context), now, "it is the same each time");
        seen.push(now);
    };
    fs::write(context.join("www/page"), "two").unwrap();
    news("content");
    fs::rename(context.join("www/page"), context.join("www/index")).unwrap();
    news("name");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(context.join("www/index"), executable).unwrap();
    news("mode");
    symlink("index", context.join("www/link")).unwrap();
    news("a link");
    fs::remove_file(context.join("www/link")).unwrap();
    symlink("nowhere", context.join("www/link")).unwrap();
    news("a link's target");
    fs::create_dir(context.join("empty")).unwrap();
    news("a directory");
}

#[test]
fn links_are_not_followed() {
    let place = tempfile::tempdir().unwrap();
    let context = place.path().join("context");
    fs::create_dir(&context).unwrap();
    fs::write(place.path().join("outside"), "one").unwrap();
    symlink("../outside", context.join("file")).unwrap();
    // A circle would never end.
    symlink("..", context.join("directory")).unwrap();
    let before = of(&context);
    fs::write(place.path().join("outside"), "two").unwrap();
    assert_eq!(of(&context), before);
}

#[test]
fn what_is_made_of_it_counts() {
    let context = tempfile::tempdir().unwrap();
    let none = BTreeMap::new();
    let one = BTreeMap::from([("BASE".to_owned(), "a".to_owned())]);
    let other = BTreeMap::from([("BASE".to_owned(), "b".to_owned())]);
    let plain = hash(context.path(), recipe(&none)).unwrap();
    let with = hash(context.path(), recipe(&one)).unwrap();
    assert_ne!(plain, with);
    assert_ne!(hash(context.path(), recipe(&other)).unwrap(), with);
    let dockerfile = Recipe {
        containerfile: "Dockerfile",
        build_args: &none,
    };
    assert_ne!(hash(context.path(), dockerfile).unwrap(), plain);
}

#[test]
fn what_cannot_be_read_is_named() {
    let failure = hash(Path::new("/nowhere/at/all"), recipe(&BTreeMap::new())).unwrap_err();
    assert!(
        failure.error.contains("/nowhere/at/all"),
        "{}",
        failure.error
    );
}
