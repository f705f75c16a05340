use super::*;
use crate::quadlet::unit::{Argument, Entry, Plain, Section, Word};

fn unit(exec: &[&str], environment: &[&str]) -> Unit {
    let word = |text: &&str| Word::new(*text).unwrap();
    let image = Value::Plain(Plain::new("localhost/x@sha256:00").unwrap());
    Unit {
        sections: vec![Section {
            name: "Container",
            entries: vec![
                Entry {
                    key: "Image",
                    value: image,
                },
                Entry {
                    key: "Environment",
                    value: Value::Words(environment.iter().map(word).collect()),
                },
                Entry {
                    key: "Entrypoint",
                    value: Value::Json(vec![Argument::new("/x y").unwrap()]),
                },
                Entry {
                    key: "Exec",
                    value: Value::Words(exec.iter().map(word).collect()),
                },
            ],
        }],
    }
}

const GOOD: &str = "ExecStart=/usr/bin/podman run --name x --cidfile=%t/%N.cid --env \"A=b c\" --entrypoint \"[\\\"/x y\\\"]\" localhost/x@sha256:00 -v \"$$HOME %%h\"\n";

#[test]
fn a_command_must_be_the_one_that_was_meant() {
    let meant = unit(&["-v", "$HOME %h"], &["A=b c"]);
    assert_eq!(check_command(&meant, GOOD), Ok(()));
    for changed in [
        GOOD.replace("A=b c", "A=b d"),
        GOOD.replace("--env \"A=b c\"", ""),
        GOOD.replace("--env", "--env B=1 --env"),
        GOOD.replace("/x y", "/x z"),
        GOOD.replace("$$HOME", "$HOME"),
        GOOD.replace("%%h", "%h"),
        GOOD.replace(" -v", " ; -v"),
        GOOD.replace("-v", "-w"),
        format!("{GOOD}ExecStart=/bin/sh\n"),
        String::new(),
    ] {
        assert!(check_command(&meant, &changed).is_err(), "{changed}");
    }
}

#[test]
fn complaints_are_told_from_progress() {
    let stderr = "quadlet-generator[4]: Loading source unit file /x\nquadlet-generator[4]: converting \"x.container\": unsupported key 'Memory'\nsecond line\n";
    assert_eq!(
        complaints(stderr),
        [
            "converting \"x.container\": unsupported key 'Memory'",
            "second line"
        ]
    );
}

#[test]
fn services_are_named_as_quadlet_does() {
    assert_eq!(service_name("archy.a.b.container"), "archy.a.b.service");
    assert_eq!(service_name("archy.a.network"), "archy.a-network.service");
    assert_eq!(
        service_name("archy.a.volume.d.volume"),
        "archy.a.volume.d-volume.service"
    );
}
