//! Network namespaces on one bridge, each with a link of its own whose two directions are shaped.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

const BRIDGE: &str = "archybench";
const SUBNET: [u8; 3] = [10, 215, 77];

/// A network that goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Lab {
    next: AtomicU8,
}

/// A place in the network for one process.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) address: Ipv4Addr,
    cable: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        clear();
        run("ip", &["link", "add", BRIDGE, "type", "bridge"]);
        let address = format!("{}/24", address(1));
        run("ip", &["address", "add", &address, "dev", BRIDGE]);
        run("ip", &["link", "set", BRIDGE, "up"]);
        Self {
            next: AtomicU8::new(2),
        }
    }

    /// Makes a place that sends at most `up` and receives at most `down` bits per second (`tc`'s spelling), or as
    /// fast as the machine can.
    pub(crate) fn place(&self, up: Option<&str>, down: Option<&str>) -> Place {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let place = Place {
            namespace: format!("archybench-{number}"),
            address: address(number),
            cable: format!("archyb{number}"),
        };
        let name = place.namespace.as_str();
        run("ip", &["netns", "add", name]);
        let cable = place.cable.as_str();
        run(
            "ip",
            &[
                "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name,
            ],
        );
        run("ip", &["link", "set", cable, "master", BRIDGE]);
        run("ip", &["link", "set", cable, "up"]);
        let address = format!("{}/24", place.address);
        run(
            "ip",
            &["-n", name, "address", "add", &address, "dev", "eth0"],
        );
        run("ip", &["-n", name, "link", "set", "lo", "up"]);
        run("ip", &["-n", name, "link", "set", "eth0", "up"]);
        if let Some(up) = up {
            let inside = ["netns", "exec", name, "tc"];
            run("ip", &[&inside[..], &shape("eth0", up)].concat());
        }
        if let Some(down) = down {
            run("tc", &shape(cable, down));
        }
        place
    }

    /// Returns the address of the machine itself, whose link is not shaped.
    pub(crate) fn address(&self) -> Ipv4Addr {
        address(1)
    }

    /// Takes the cable out.
    pub(crate) fn cut(&self, place: &Place) {
        run("ip", &["link", "set", &place.cable, "down"]);
    }

    /// Puts the cable in again, at another address.
    pub(crate) fn renumber(&self, place: &mut Place) {
        place.address = address(self.next.fetch_add(1, Ordering::Relaxed));
        let name = place.namespace.as_str();
        run("ip", &["-n", name, "address", "flush", "dev", "eth0"]);
        let address = format!("{}/24", place.address);
        run(
            "ip",
            &["-n", name, "address", "add", &address, "dev", "eth0"],
        );
        run("ip", &["link", "set", &place.cable, "up"]);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        clear();
    }
}

fn address(number: u8) -> Ipv4Addr {
    let [a, b, c] = SUBNET;
    Ipv4Addr::new(a, b, c, number)
}

fn shape<'a>(device: &'a str, rate: &'a str) -> [&'a str; 12] {
    [
        "qdisc", "add", "dev", device, "root", "tbf", "rate", rate, "burst", "64kb", "latency",
        "50ms",
    ]
}

/// Removes what an earlier run left.
fn clear() {
    for number in 2..=u8::MAX {
        let name = format!("archybench-{number}");
        if !std::path::Path::new("/run/netns").join(&name).exists() {
            continue;
        }
        run("ip", &["netns", "del", &name]);
        // Its cable goes with it, but later.
        let cable = format!("archyb{number}");
        if std::path::Path::new("/sys/class/net").join(&cable).exists() {
            Command::new("ip")
                .args(["link", "del", &cable])
                .output()
                .ok();
        }
    }
    if std::path::Path::new("/sys/class/net").join(BRIDGE).exists() {
        run("ip", &["link", "del", BRIDGE]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
