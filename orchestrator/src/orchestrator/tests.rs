use archy_registry::Blake3Hash;
use archy_registry::release::{Descriptor, Platform};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use super::*;

/// What is pulled: the configuration of [`image`].
const ID: &str = "0202020202020202020202020202020202020202020202020202020202020202";
const REFERENCE: &str = "127.0.0.1:5000/secret/notes/web";

/// Answers like podman: `known` has what it tells of an image by the name in the path; writes down what it is asked.
async fn podman(listener: UnixListener, known: &[(String, Value)], asked: &Mutex<Vec<String>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 16 * 1024];
        let read = stream.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..read]).into_owned();
        let line = request.lines().next().unwrap_or_default().to_owned();
        let image = known
            .iter()
            .find(|(name, _)| line.contains(&format!("/images/{name}/json ")));
        let (status, body) = if let Some((_, image)) = image {
            ("200 OK", image.clone())
        } else if line.starts_with("POST") && line.contains("/images/pull?") {
            ("200 OK", json!({"id": ID}))
        } else if line.starts_with("POST") && line.contains("/tag?") {
            ("201 Created", json!({}))
        } else if line.starts_with("GET") && line.contains("/info ") {
            (
                "200 OK",
                json!({"store": {"graphRoot": std::env::temp_dir()}}),
            )
        } else if line.starts_with("DELETE") {
            ("200 OK", json!([]))
        } else {
            ("404 Not Found", json!({"message": "no such image"}))
        };
        asked.lock().unwrap().push(line);
        let body = body.to_string();
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn orchestrator(place: &std::path::Path, podman_socket: std::path::PathBuf) -> Orchestrator {
    let config = Config {
        podman: place.join("none"),
        podman_socket,
        ..Config::usual(place, place, place.join("data"))
    };
    Orchestrator::connect(config).unwrap()
}

fn image() -> Image {
    Image {
        container: "web".parse().unwrap(),
        platform: Platform::host(),
        manifest: descriptor(1),
        config: descriptor(2),
        layers: Vec::new(),
    }
}

fn descriptor(content: u8) -> Descriptor {
    Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest: archy_registry::OciDigest::from_sha256([content; 32]),
        size_bytes: 1,
        blake3: Blake3Hash::of(&[content]),
        diff_id: None,
    }
}

/// Loads the image from a podman that knows these; returns why it did not, and what podman was asked.
async fn refused(known: &[(String, Value)]) -> (LoadError, Vec<String>) {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("podman.sock");
    let orchestrator = orchestrator(place.path(), socket.clone());
    let listener = UnixListener::bind(&socket).unwrap();
    let asked = Mutex::default();
    let (app, image) = ("notes".parse().unwrap(), image());
    let reference = format!("{REFERENCE}@{}", image.manifest.digest);
    let loaded = tokio::select! {
        loaded = orchestrator.load_image(&app, &image, &reference, &|_| {}) => loaded,
        () = podman(listener, known, &asked) => panic!("podman never ends"),
    };
    (loaded.unwrap_err(), asked.into_inner().unwrap())
}

#[tokio::test]
async fn an_image_that_hands_down_too_much_gets_no_name() {
    let image = image();
    let cases = [
        (
            json!({"Labels": {"a": "<".repeat(65_536)}}),
            "the image of container web has 393217 bytes of labels in JSON, more than the 393216 allowed",
        ),
        (
            json!({"Volumes": (0..65).map(|n| (format!("/{n:02}"), json!({}))).collect::<serde_json::Map<_, _>>()}),
            "the image of container web has 65 volumes, more than the 64 allowed",
        ),
    ];
    for (config, expected) in cases {
        let id = image.config.digest.to_hex();
        let told = json!({"Id": id, "Digest": image.manifest.digest, "Config": config});
        let (error, asked) = refused(&[(id, told)]).await;
        assert_eq!(error.to_string(), expected);
        assert!(
            !asked.iter().any(|line| line.contains("/tag?")),
            "{asked:?}"
        );
        let dropped = asked.last().unwrap();
        assert!(
            dropped.starts_with("DELETE") && dropped.contains(REFERENCE),
            "{asked:?}"
        );
    }
}

/// A prune, or another program's `podman rmi`, between the steps of a load.
#[tokio::test]
async fn an_image_that_podman_loses_meanwhile_is_not_the_publishers_fault() {
    let image = image();
    assert_eq!(image.config.digest.to_hex(), ID);
    let ours = names::image_name(
        &"notes".parse().unwrap(),
        &image.container,
        &image.manifest.digest,
    );
    let told = |id: &str| json!({"Id": id, "Digest": image.manifest.digest, "Config": {}});
    let another = "f".repeat(64);
    let by_id = (ID.to_owned(), told(ID));
    let vanished = "podman lost the image of container web while it was being brought in";
    let cases = [
        ("after the pull", vec![], vanished),
        ("after it got its name", vec![by_id.clone()], vanished),
        (
            "and another has its name",
            vec![by_id, (ours, told(&another))],
            vanished,
        ),
        (
            "another was pulled",
            vec![(ID.to_owned(), told(&another))],
            "the image of container web is not the one that its publisher signed",
        ),
    ];
    for (case, known, expected) in cases {
        let (error, _) = refused(&known).await;
        assert!(error.to_string().starts_with(expected), "{case}: {error:?}");
        let is_vanished = matches!(error, LoadError::Vanished { .. });
        assert_eq!(is_vanished, expected == vanished, "{case}");
    }
}

#[tokio::test]
async fn an_image_that_only_another_app_has_is_not_run() {
    let place = tempfile::tempdir().unwrap();
    let image = image();
    let mut release = crate::samples::release("notes", "  - {name: web, image: localhost/a}\n");
    release.images.push(image.clone());
    let desired = crate::samples::installed(release, crate::desired::Wish::Running);
    let id = image.config.digest.to_hex();
    let ours = names::image_name(desired.slug(), &image.container, &image.manifest.digest);
    let told = |id: &str| json!({"Id": id, "Digest": image.manifest.digest});
    let another = "f".repeat(64);
    let cases = [
        ("ours", vec![(ours.clone(), told(&id))], true),
        ("by its ID alone", vec![(id.clone(), told(&id))], false),
        ("another by our name", vec![(ours, told(&another))], false),
        ("nothing", Vec::new(), false),
    ];
    for (number, (case, known, runs)) in cases.into_iter().enumerate() {
        let socket = place.path().join(format!("podman-{number}.sock"));
        let orchestrator = orchestrator(place.path(), socket.clone());
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Mutex::default();
        let checked = tokio::select! {
            checked = orchestrator.check_names(&desired) => checked,
            () = podman(listener, &known, &asked) => panic!("podman never ends"),
        };
        let expected = "container web of notes did not come up: its image is not on this machine";
        match checked {
            Ok(()) => assert!(runs, "{case}"),
            Err(error) => assert!(!runs && error.to_string() == expected, "{case}: {error}"),
        }
        assert_eq!(asked.into_inner().unwrap().len(), 1, "{case}");
    }
    let orchestrator = orchestrator(place.path(), place.path().join("nobody.sock"));
    let unasked = orchestrator.check_names(&desired).await.unwrap_err();
    assert!(matches!(unasked, crate::StartError::Podman(_)), "{unasked}");
}
