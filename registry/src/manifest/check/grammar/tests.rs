use super::*;

/// Checks both lists of a grammar.
fn table(check: fn(&str) -> Result<(), Complaint>, good: &[&str], bad: &[&str]) {
    for text in good {
        assert_eq!(check(text), Ok(()), "{text:?}");
    }
    for text in bad {
        assert!(check(text).is_err(), "{text:?}");
    }
}

#[test]
fn images() {
    let digest = format!("busybox@sha256:{}", "0".repeat(64));
    table(
        image,
        &[
            "busybox",
            "busybox:1.36",
            "library/busybox",
            "docker.io/library/nginx:1.27-alpine",
            "localhost/site:1",
            "localhost:5000/a/b/c:V1.2_x",
            "127.0.0.1:5000/a",
            "a__b/c--d/e.f",
            &digest,
        ],
        &[
            "",
            ":",
            "a:",
            "a@",
            "/a",
            "a/",
            "a//b",
            "A/b",
            "a b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a:-x",
            "a:.x",
            "http://a/b",
            "host.example:0/a",
            "host.example:99999/a",
            "a@sha256:00",
            "a\n",
            "a;b",
            "$(a)",
            "--help",
            "../a",
            "a/../b",
            ".example/a",
        ],
    );
}

#[test]
fn users() {
    table(
        |text| user(text, ID_MAX),
        &[
            "0",
            "1000",
            "33:33",
            "www-data",
            "_apt",
            "postgres:postgres",
            "65535",
        ],
        &[
            "", ":", "1:", ":1", "65536", "+1", "-1", "Root", "a b", "1:2:3", "root\n", "%h",
        ],
    );
}

#[test]
fn paths_in_containers() {
    table(
        container_path,
        &[
            "/data",
            "/var/lib/a-b_c.d",
            "/srv/@x+y",
            "/processes",
            "/device",
            "/sysroot",
        ],
        &[
            "",
            "/",
            "data",
            "//data",
            "/data/",
            "/a/./b",
            "/a/../b",
            "/a b",
            "/a:b",
            "/a,b",
            "/a%h",
            "/a\"",
            "/a\\",
            "/proc",
            "/proc/1",
            "/sys/x",
            "/dev",
            "/dev/shm",
            "/.archy/probe",
            "/run/secrets/x",
            "/ä",
        ],
    );
}

#[test]
fn devices() {
    table(
        device,
        &[
            "/dev/dri",
            "/dev/dri/renderD128",
            "/dev/ttyUSB0",
            "/dev/net/tun",
            "/dev/kvm",
            "nvidia.com/gpu=all",
            "intel.com/gpu=card0",
        ],
        &[
            "nvidia.com/gpu",
            "nvidia/gpu=all",
            "nvidia.com/gpu=",
            "Nvidia.com/gpu=all",
            "nvidia.com/gpu=all,/dev/sda",
            "nvidia.com/gpu=a:b",
            "a.b/c=d e",
            "",
            "/dev",
            "/dev/",
            "/dev/sda",
            "/dev/mem",
            "/dev/kmsg",
            "/dev/dri/",
            "/dev/ttyUSB",
            "/dev/dri/../sda",
            "dev/dri",
            "/dev/kvm:rwm",
        ],
    );
}

#[test]
fn url_paths() {
    table(
        url_path,
        &["/", "/a/b?c=d&e=%20#f", "/~x/(y)"],
        &[
            "",
            "a",
            "//evil.example/",
            "/a b",
            "/a\n",
            "/<x>",
            "/\"",
            "/a\\b",
            "/ä",
            "https://a/",
        ],
    );
}

#[test]
fn environment_names() {
    table(
        env_name,
        &["A", "_", "a1", "PATH_2"],
        &["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "%A"],
    );
}

#[test]
fn globs_and_versions_and_licences() {
    table(
        glob,
        &["*", "**", "cache/**", "a/[0-9]?.tmp", "a]", "[[*?a-z]]"],
        &[
            "", "/a", "../a", "a/../b", "a b", "a//b", "./a", "{a,b}", "cache/[", "[]", "[]a]",
            "[a/b]", "[-a]", "[a-]", "[a-b-c]",
        ],
    );
    table(
        version,
        &["1", "1.2.3-rc.1+x~y", "v2", "2:1.0"],
        &["", "-1", ".1", "1 2", "1\n", "1/2"],
    );
    table(
        license,
        &[
            "MIT",
            "MIT OR Apache-2.0",
            "(GPL-2.0-or-later WITH X) AND MIT",
        ],
        &["", "MIT/Apache", "M\nIT"],
    );
}
