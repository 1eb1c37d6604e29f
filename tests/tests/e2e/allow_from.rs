//! Networks from which a camera may call (rule S4): set while it is connected, felt at its next login, told with the cure.

use moorline_testkit::eventually;

use crate::faults_device::small;
use crate::faults_rig::{SHORT, SOON, Server, notes, said};

#[tokio::test]
async fn s4_a_camera_is_refused_from_elsewhere_and_told_with_the_cure() {
    let server = Server::start(SHORT).await;
    let yard = server.device("yard", small(2), &[]).await;
    yard.up().await;
    let set = ["camera", "set", "yard", "--allow-from"];
    let set = |networks| [&set[..], &[networks]].concat();
    let told = server.refused(&set("192.0.2.7/24")).await;
    assert!(
        told.contains("write 192.0.2.0/24 for the network"),
        "{told}"
    );
    let told = server.refused(&set("any,192.0.2.0/24")).await;
    assert!(told.contains("any stands alone"), "{told}");

    let output = server.command(&set("192.0.2.0/24,2001:db8::/32")).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("counts from its next login on"),
        "{}",
        said(&output)
    );
    let state = server.camera("yard").await["status"]["link"]["state"].clone();
    assert_eq!(state, "up", "a tunnel that is up stays");

    server.cli(&["camera", "hang-up", "yard"]).await;
    let cure = "--allow-from 192.0.2.0/24,2001:db8::/32,127.0.0.1 lets it in from there";
    server
        .until("yard", "no note with the cure", |camera| {
            notes(camera).contains(cure).then_some(())
        })
        .await;
    let shown = said(&server.command(&["camera", "show", "yard"]).await);
    assert!(shown.contains("192.0.2.0/24, 2001:db8::/32"), "{shown}");
    let pending = server.cli(&["camera", "pending"]).await;
    assert_eq!(pending[0]["reason"], "other_network", "{pending}");
    let counted = "moorline_ssh_logins_refused_total{reason=\"other_network\"}";
    let metrics = server.metrics().await;
    let line = metrics.lines().find(|line| line.starts_with(counted));
    assert!(line.is_some_and(|line| !line.ends_with(" 0")), "{line:?}");
    for told in ["other_network", "--allow-from"] {
        let line = server.child().wait_for_line(told, SOON).await;
        line.unwrap_or_else(|error| panic!("{error}"));
    }

    server.command(&set("192.0.2.0/24,127.0.0.1")).await;
    yard.up().await;
    eventually("the note stays", SOON, || async {
        (!notes(&server.camera("yard").await).contains("--allow-from")).then_some(())
    })
    .await;
    let free = server.cli(&set("any")).await;
    assert!(free.get("allow_from").is_none(), "{free}");
    server.stop().await;
}
