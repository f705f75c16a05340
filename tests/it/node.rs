//! The test node itself: what every other end-to-end test takes for granted.

use std::net::IpAddr;
use std::time::Duration;

use archy_tests::node::{Bed, NodeError, TestNode, wait_until};

const ANSWER: Duration = Duration::from_secs(30);

/// Serves `/` on port 8080 from an image that needs no registry, and comes back at every boot.
const CONTAINERFILE: &str =
    "FROM scratch\nCOPY busybox /bin/busybox\nENTRYPOINT [\"/bin/busybox\"]\n";
const QUADLET: &str = "\
[Container]
Image=localhost/busybox
Pull=never
RunInit=true
PublishPort=8080:8080
Exec=httpd -f -p 8080 -h /

[Quadlet]
DefaultDependencies=false

[Install]
WantedBy=default.target
";

async fn install_web(node: &TestNode) -> Result<(), NodeError> {
    let context = tempfile::tempdir().expect("a scratch folder");
    std::fs::write(context.path().join("Containerfile"), CONTAINERFILE).expect("scratch file");
    std::fs::write(context.path().join("web.container"), QUADLET).expect("scratch file");
    node.push(context.path(), "image").await?;
    node.exec_ok(&["cp", "/bin/busybox", "image/busybox"])
        .await?;
    node.exec_ok(&[
        "podman",
        "build",
        "--quiet",
        "--tag",
        "localhost/busybox",
        "image",
    ])
    .await?;
    node.push(
        &context.path().join("web.container"),
        ".config/containers/systemd/",
    )
    .await?;
    node.exec_ok(&["systemctl", "--user", "daemon-reload"])
        .await?;
    node.exec_ok(&["systemctl", "--user", "start", "web.service"])
        .await
        .map(drop)
}

async fn fetches(from: &TestNode, url: &str) -> bool {
    let url = format!("{url}/nothing-here");
    let output = from
        .exec(&[
            "curl",
            "--silent",
            "--max-time",
            "2",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            &url,
        ])
        .await;
    output.is_ok_and(|output| output.stdout == "404")
}

async fn pings(from: &TestNode, address: IpAddr) -> bool {
    from.exec_ok(&["ping", "-c", "1", "-W", "1", &address.to_string()])
        .await
        .is_ok()
}

#[tokio::test]
async fn nodes_run_containers_and_survive_reboots_power_cuts_and_lost_networks() {
    let bed = Bed::new("survival");
    let [a, b] = bed.nodes(["a", "b"]).await.expect("two nodes boot");
    let address = a.ip().await.expect("an address");
    let web = a.url(8080).await.expect("a URL");
    assert!(pings(&b, address).await, "b reaches a");

    install_web(&a).await.expect("a rootless container runs");
    wait_until("the container answers the neighbour", ANSWER, async || {
        fetches(&b, &web).await
    })
    .await
    .expect("answers");

    let boot_id = ["cat", "/proc/sys/kernel/random/boot_id"];
    let before = a.exec_ok(&boot_id).await.expect("boot id");
    a.reboot().await.expect("reboots");
    assert_ne!(a.exec_ok(&boot_id).await.expect("boot id"), before);
    wait_until("the container is back after a reboot", ANSWER, async || {
        fetches(&b, &web).await
    })
    .await
    .expect("answers");

    a.kill().await.expect("power cut");
    assert!(
        !fetches(&b, &web).await,
        "a node without power serves nothing"
    );
    assert!(
        a.exec_ok(&["true"]).await.is_err(),
        "a node without power runs nothing"
    );
    assert!(
        a.logs(&["-u", "user@1000"])
            .await
            .expect("logs of a node that is off")
            .contains("User Manager")
    );
    a.start().await.expect("boots again");
    wait_until(
        "the container is back after a power cut",
        ANSWER,
        async || fetches(&b, &web).await,
    )
    .await
    .expect("answers");
    assert_eq!(
        a.ip().await.expect("an address"),
        address,
        "a node keeps its address"
    );

    a.cut().await.expect("cable out");
    assert!(!fetches(&b, &web).await, "a cut node is unreachable");
    assert!(
        fetches(&a, "http://127.0.0.1:8080").await,
        "and goes on by itself"
    );
    a.join().await.expect("cable in");
    wait_until("a is reachable again", ANSWER, async || {
        fetches(&b, &web).await
    })
    .await
    .expect("answers");
}

#[tokio::test]
async fn exec_passes_arguments_streams_and_exit_codes_through() {
    let bed = Bed::new("exec");
    let node = bed.node("a").await.expect("a node boots");
    let hostile = "$(id) 'quoted' \"too\"; exit 3 \\ *";
    assert_eq!(
        node.exec_ok(&["printf", "%s|", hostile, "", "--"])
            .await
            .expect("prints"),
        format!("{hostile}||--|")
    );
    assert_eq!(node.exec_ok(&["id", "-un"]).await.expect("id"), "archy\n");
    assert_eq!(node.exec_root(&["id", "-un"]).await.expect("id"), "root\n");

    let output = node
        .exec(&["sh", "-c", "echo out; echo err >&2; exit 7"])
        .await
        .expect("runs");
    assert_eq!(
        (
            output.status.code(),
            output.stdout.as_str(),
            output.stderr.as_str()
        ),
        (Some(7), "out\n", "err\n")
    );
    let error = node
        .exec_ok(&["ls", "/nowhere"])
        .await
        .expect_err("fails")
        .to_string();
    assert!(
        error.contains("ls /nowhere") && error.contains("No such file"),
        "{error}"
    );
}

#[tokio::test]
async fn nodes_hear_each_other_s_multicast_and_reach_nothing_outside() {
    let bed = Bed::new("multicast");
    let [a, b] = bed.nodes(["a", "b"]).await.expect("two nodes boot");
    // The listener answers from the group's port, so the sender needs no guess about when it is ready.
    let _listener = b
        .spawn(&[
            "socat",
            "UDP4-RECVFROM:5353,ip-add-membership=224.0.0.251:eth0,fork",
            "SYSTEM:echo heard",
        ])
        .expect("listens");
    wait_until("multicast from a is answered by b", ANSWER, async || {
        let asked = a
            .exec(&[
                "sh",
                "-c",
                "echo hello | socat -t 1 - UDP4-DATAGRAM:224.0.0.251:5353",
            ])
            .await;
        asked.is_ok_and(|output| output.stdout == "heard\n")
    })
    .await
    .expect("heard");

    let outside = a
        .exec(&["ping", "-c", "1", "-W", "1", "192.88.99.1"])
        .await
        .expect("runs");
    assert!(outside.stdout.contains("Unreachable"), "{}", outside.stdout);
}
