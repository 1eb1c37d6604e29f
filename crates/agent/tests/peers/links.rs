//! A camera without a network looks for what is broken: the first link that is missing is the one that is told first.

use std::process::Command;

use moorline_testkit::skip;

use crate::agent::Camera;

/// Whose camera it is, and a server that no network leads to.
const LOCAL: &[u8] = b"camera home/yard\n\
    endpoint home/yard 192.0.2.1 2222 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n";

/// A cable that is plugged in.
const CABLE: &str =
    "ip link add eth0 type veth peer name far && ip link set far up && ip link set eth0 up";

/// Its own network, and the `/sys` of that.
const ALONE: [&str; 5] = ["unshare", "--net", "--mount", "--", "sh"];

fn is_lent() -> bool {
    let script = format!("mount -t sysfs none /sys && {CABLE}");
    let able = Command::new(ALONE[0])
        .args(&ALONE[1..])
        .args(["-c", &script])
        .output();
    able.is_ok_and(|output| output.status.success())
}

/// What `check` finds first, but for an agent that does not run, with no network but what this line of shell makes.
async fn first_broken(network: &str) -> String {
    let mut camera = Camera::new();
    camera.write("etc/local.conf", LOCAL);
    // `exec` keeps the pid.
    let script = format!("mount -t sysfs none /sys && {network} && exec \"$@\"");
    let runner = ALONE.into_iter().chain(["-c", &script, "sh"]);
    camera.run_by(runner.map(str::to_owned).collect());
    let (code, text) = camera.run(&["check"]).await;
    assert_eq!(code, Some(1), "{text}");
    let mut broken = text.lines().filter_map(|line| line.strip_prefix("FAIL "));
    let broken = broken.find(|line| !line.starts_with("agent "));
    broken.unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cable_that_is_out_and_a_router_that_is_missing_are_told_apart() {
    if !is_lent() {
        skip("a camera's own network needs root, network and mount namespaces here");
        return;
    }
    let link = first_broken("true").await;
    assert!(
        link.starts_with("link ") && link.ends_with("check cable or Wi-Fi"),
        "{link}"
    );
    // The kernel says a moment later that the link is there.
    let cable =
        format!("{CABLE} && until grep -qx up /sys/class/net/eth0/operstate; do sleep 0.1; done");
    let route = first_broken(&cable).await;
    assert!(
        route.starts_with("route ") && route.ends_with("check gateway and DHCP"),
        "{route}"
    );
}
