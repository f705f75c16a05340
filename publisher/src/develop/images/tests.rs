use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// Answers like podman for images that files in its folder stand for, and writes down what it is asked.
const PODMAN: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$@" >>"$here/asked"
for last; do :; done
case $1 in
  image)
    file="$here/$(echo "$last" | tr /: __)"
    case $2 in
      exists) [ -e "$file" ] ;;
      inspect) cat "$file" ;;
    esac ;;
  build)
    [ ! -e "$here/broken" ] || { echo "STEP 1/1: FROM nothing"; echo "Error: no such base" >&2; exit 125; }
    for argument; do
      case $argument in
        --label=io.archy.context=*) label=${argument#--label=io.archy.context=} ;;
        --tag=*) tag=${argument#--tag=} ;;
      esac
    done
    echo "{\"io.archy.context\":\"$label\"}" >"$here/$(echo "$tag" | tr /: __)" ;;
  pull) : >"$here/$(echo "$last" | tr /: __)" ;;
esac
"#;

const QUIET: Output = Output::quiet();

struct Bench {
    place: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("podman");
        std::fs::write(&program, PODMAN).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let app = place.path().join("app/web");
        std::fs::create_dir_all(&app).unwrap();
        std::fs::write(app.join("Containerfile"), "FROM scratch\n").unwrap();
        Self { place }
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.place.path().join(path), text).unwrap();
    }

    async fn makes(&self, source: &str) -> Result<Made, Failure> {
        let yaml = format!(
            "app: {{id: notes, name: N, version: 1.0.0, tagline: A, category: other}}\ncontainers: [{{name: web, source: {source}}}]"
        );
        let manifest = archy_registry::manifest::parse(&yaml).unwrap().manifest;
        let container = &manifest.containers[0];
        let podman = Podman {
            program: self.place.path().join("podman"),
            output: &QUIET,
        };
        let name = name(&manifest.app.id, container);
        podman
            .make_one(&self.place.path().join("app"), container, &name)
            .await
    }

    fn builds(&self) -> Vec<String> {
        let asked = std::fs::read_to_string(self.place.path().join("asked")).unwrap_or_default();
        let builds = asked.lines().filter(|line| line.starts_with("build "));
        builds.map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn an_image_is_built_again_only_when_its_context_changed() {
    let bench = Bench::new();
    let source =
        "{type: build, context: web, tag: 'localhost/notes:latest', build_args: {BASE: a}}";
    assert_eq!(bench.makes(source).await, Ok(Made::Built));
    assert_eq!(bench.makes(source).await, Ok(Made::Unchanged));
    bench.write("app/web/page", "new");
    assert_eq!(bench.makes(source).await, Ok(Made::Built));
    assert_eq!(bench.makes(source).await, Ok(Made::Unchanged));
    let other = source.replace("BASE: a", "BASE: b");
    assert_eq!(bench.makes(&other).await, Ok(Made::Built));
    // By hand, without the label.
    bench.write("localhost_notes_latest", "null");
    assert_eq!(bench.makes(&other).await, Ok(Made::Built));
    let builds = bench.builds();
    assert_eq!(builds.len(), 4);
    let context = bench.place.path().join("app/web").canonicalize().unwrap();
    for part in [
        "--format=oci",
        "--pull=missing",
        "--tag=localhost/notes:latest",
        "--build-arg=BASE=a",
        &format!("--file {}/Containerfile", context.display()),
    ] {
        assert!(builds[0].contains(part), "{part}: {}", builds[0]);
    }
    assert!(builds[0].ends_with(&context.display().to_string()));
}

#[tokio::test]
async fn an_image_of_the_developers_own_is_never_built() {
    let bench = Bench::new();
    let source = "{type: build, context: web, tag: 'localhost/notes:local'}";
    let failure = bench.makes(source).await.unwrap_err();
    assert_eq!(failure.error, "podman has no image localhost/notes:local");
    bench.write("localhost_notes_local", "null");
    assert_eq!(bench.makes(source).await, Ok(Made::ByHand));
    bench.write("app/web/page", "new");
    assert_eq!(bench.makes(source).await, Ok(Made::ByHand));
    assert!(bench.builds().is_empty());
}

#[tokio::test]
async fn what_podman_said_last_is_the_reason() {
    let bench = Bench::new();
    bench.write("broken", "");
    let source = "{type: build, context: web}";
    let failure = bench.makes(source).await.unwrap_err();
    assert_eq!(
        failure.error,
        "podman cannot build the image localhost/notes-web:latest: Error: no such base"
    );
    assert_eq!(failure.details.len(), 2, "{:?}", failure.details);
    std::fs::remove_file(bench.place.path().join("app/web/Containerfile")).unwrap();
    let failure = bench.makes(source).await.unwrap_err();
    assert!(failure.error.starts_with("there is no "), "{failure:?}");
    let failure = bench
        .makes("{type: build, context: none}")
        .await
        .unwrap_err();
    assert_eq!(failure.class, Class::NotFound, "{failure:?}");
}

#[tokio::test]
async fn images_of_others_are_pulled_as_the_manifest_says() {
    let bench = Bench::new();
    let never = "{type: pull, image: 'localhost/a:1', pull_policy: never}";
    assert!(bench.makes(never).await.is_err());
    let missing = "{type: pull, image: 'localhost/a:1'}";
    assert_eq!(bench.makes(missing).await, Ok(Made::Pulled));
    assert_eq!(bench.makes(missing).await, Ok(Made::There));
    assert_eq!(bench.makes(never).await, Ok(Made::There));
    let always = "{type: pull, image: 'localhost/a:1', pull_policy: always}";
    assert_eq!(bench.makes(always).await, Ok(Made::Pulled));
}

#[tokio::test]
async fn a_build_reads_nothing_outside_of_the_apps_folder() {
    let bench = Bench::new();
    let app = bench.place.path().join("app");
    bench.write("Containerfile", "FROM scratch\n");
    bench.write("app/Shared", "FROM scratch\n");
    for (link, target) in [
        ("up", ".."),
        ("twice", "up"),
        ("web/Elsewhere", "../../Containerfile"),
        ("here", "web"),
        ("web/Within", "../Shared"),
    ] {
        std::os::unix::fs::symlink(target, app.join(link)).unwrap();
    }
    for source in [
        "{type: build, context: up}",
        "{type: build, context: twice}",
        "{type: build, context: web, dockerfile: Elsewhere}",
        "{type: build, context: ., dockerfile: up/Containerfile}",
    ] {
        let failure = bench.makes(source).await.unwrap_err();
        assert_eq!(failure.class, Class::Refused, "{source}: {failure:?}");
        let text = &failure.error;
        assert!(text.contains("leads out of the app's folder"), "{text}");
    }
    // podman has the C preprocessor read these, and that includes what it is told to.
    bench.write("app/web/Containerfile.in", "#include \"/etc/passwd\"\n");
    bench.write("app/web/.in", "FROM scratch\n");
    std::os::unix::fs::symlink("Containerfile.in", app.join("web/Plain")).unwrap();
    std::os::unix::fs::symlink("Containerfile", app.join("web/Linked.in")).unwrap();
    for name in ["Containerfile.in", ".in", "Plain", "Linked.in"] {
        let source = format!("{{type: build, context: web, dockerfile: {name}}}");
        let failure = bench.makes(&source).await.unwrap_err();
        assert_eq!(failure.class, Class::Refused, "{name}: {failure:?}");
        let text = &failure.error;
        assert!(text.contains("C preprocessor"), "{text}");
        assert!(!failure.hints.is_empty(), "{name}");
    }
    assert!(bench.builds().is_empty());
    bench.write("app/web/Containerfile.IN", "FROM scratch\n");
    for source in [
        "{type: build, context: here}",
        "{type: build, context: web, dockerfile: Containerfile.IN}",
        "{type: build, context: web, dockerfile: Within}",
        "{type: build, context: ., dockerfile: web/Containerfile}",
    ] {
        assert_eq!(bench.makes(source).await, Ok(Made::Built), "{source}");
    }
}

#[tokio::test]
async fn a_build_takes_no_name_that_may_be_anothers() {
    let bench = Bench::new();
    for tag in [
        "docker.io/library/postgres:16",
        "quay.io/a/b",
        "localhost:5000/notes:1",
        "localhost/archy/notes/web:1",
        "archy/notes/web:1",
    ] {
        let source = format!("{{type: build, context: web, tag: '{tag}'}}");
        let failure = bench.makes(&source).await.unwrap_err();
        assert_eq!(failure.class, Class::Refused, "{tag}: {failure:?}");
    }
    assert!(bench.builds().is_empty());
    // As podman names what it builds.
    for (tag, name) in [
        ("postgres:16", "localhost/postgres:16"),
        ("library/redis", "localhost/library/redis"),
        ("localhost/notes:1", "localhost/notes:1"),
    ] {
        let source = format!("{{type: build, context: web, tag: '{tag}'}}");
        assert_eq!(bench.makes(&source).await, Ok(Made::Built), "{tag}");
        let builds = bench.builds();
        let last = builds.last().unwrap();
        assert!(last.contains(&format!("--tag={name} ")), "{last}");
    }
    // What somebody made by hand is only taken.
    bench.write("docker.io_library_postgres_local", "null");
    let source = "{type: build, context: web, tag: 'docker.io/library/postgres:local'}";
    assert_eq!(bench.makes(source).await, Ok(Made::ByHand));
}
