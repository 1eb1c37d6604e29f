//! New agents for the cameras of a cluster: what one replica hears of a release counts at the other.

use std::path::Path;

use moorline_testkit::{cluster::SOON, eventually, temp_dir};
use serde_json::{Value, json};

use crate::support::{Call, Camera, Moorline, Replica, Tenant};

/// No other test's camera has it.
const TARGET: &str = "lab-of-this-test";
const NEW: &str = "0.2.0";

/// Signs a program that says that it is the new agent.
async fn signed(moorline: &Moorline, place: &Path) -> String {
    let at = |name: &str| place.join(name).display().to_string();
    let [program, key, release] = ["program", "key", "release"].map(at);
    std::fs::write(&program, format!("moorline-agent-stamp {NEW} {TARGET}\n")).unwrap();
    let keygen = ["agent-release", "keygen", "--file", &key];
    moorline.cli(&keygen).await;
    let sign = ["agent-release", "sign", &program, "--key", &key];
    let sign = [&sign[..], &["--out", &release]].concat();
    moorline.cli(&sign).await;
    release
}

/// The camera calls that replica, and its agent says this of itself.
async fn calls(moorline: &Moorline, camera: &Camera, at: &Replica, says: &str) -> Call {
    let mut call = camera.call_with_agent(moorline, at);
    call.child.wait_for_line("MOORLINE/1", SOON).await.unwrap();
    let line = format!("STATUS uptime=1 target={TARGET} {says}\n");
    call.child.write(line.as_bytes()).await.unwrap();
    call
}

async fn state(tenant: &Tenant<'_>, camera: &Camera) -> Value {
    let seen = tenant.space.get(&["camera", &camera.name]).await.unwrap();
    seen["status"]["upgrade"]["state"].clone()
}

/// What `agent-release list` says of it.
async fn listed(moorline: &Moorline) -> Value {
    let all = moorline.cli(&["agent-release", "list"]).await;
    let mut all = all.as_array().unwrap().iter();
    let ours = all.find(|release| release["target"] == TARGET);
    ours.cloned().unwrap_or_default()
}

/// S8: what it offers is the cameras' to judge; here agents say what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_onto_one_camera_of_all_replicas_and_a_roll_back_stops_it_at_each() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("agents").await;
    let [first, second] = moorline.pair().await;
    let system = &moorline.system;
    let clean = ["delete", "configmap", "-l", "moorline.dev/agent-release"];
    system.kubectl(&clean).await.unwrap();
    let place = temp_dir().unwrap();
    let release = signed(&moorline, place.path()).await;
    let added = moorline.cli(&["agent-release", "add", &release]).await;
    assert_eq!(added["roll_out"], "off", "{added}");
    let [yard, gate] = [
        tenant.camera("yard", 291).await,
        tenant.camera("gate", 292).await,
    ];
    let old = "agent=0.1.0";
    let mut yards = calls(&moorline, &yard, &first, old).await;
    let mut gates = calls(&moorline, &gate, &second, old).await;
    tenant.until_recorded(&yard).await;
    tenant.until_recorded(&gate).await;

    let roll_out = async |to: &str| {
        let words = ["agent-release", "roll-out", NEW, "--target", TARGET];
        let words = [&words[..], &["--to", to]].concat();
        moorline.cli(&words).await
    };
    roll_out("one").await;
    let is_yard = eventually("one camera is offered it", SOON, || async {
        let states = [state(&tenant, &yard).await, state(&tenant, &gate).await];
        let offered = states.map(|state| state == "offered");
        assert_ne!(offered, [true; 2], "one is one");
        (offered != [false; 2]).then_some(offered[0])
    })
    .await;
    let (one, other, at, elsewhere) = match is_yard {
        true => (&yard, &gate, &mut yards, &second),
        false => (&gate, &yard, &mut gates, &first),
    };
    let offer = format!("UPGRADE {TARGET} {NEW} ");
    at.child.wait_for_line(&offer, SOON).await.unwrap();

    // Its trial: it is away, and comes to the other replica as the new one.
    at.child.write(b"BYE\n").await.unwrap();
    at.child.wait(SOON).await.unwrap();
    *at = calls(&moorline, one, elsewhere, &format!("agent={NEW}")).await;
    let name = |camera: &Camera| format!("{}/{}", tenant.name, camera.name);
    eventually("it is told", SOON, || async {
        let list = listed(&moorline).await;
        (list["updated"] == json!([name(one)])).then_some(())
    })
    .await;
    assert!(state(&tenant, other).await.is_null(), "one is one");

    roll_out("all").await;
    eventually("the other is offered it", SOON, || async {
        (state(&tenant, other).await == "offered").then_some(())
    })
    .await;
    let (at, elsewhere) = match is_yard {
        true => (&mut gates, &first),
        false => (&mut yards, &second),
    };
    at.child.wait_for_line(&offer, SOON).await.unwrap();
    at.child.write(b"BYE\n").await.unwrap();
    at.child.wait(SOON).await.unwrap();
    let failed = format!("{old} rolled-back={NEW}");
    *at = calls(&moorline, other, elsewhere, &failed).await;
    let stopped = eventually("the stop", SOON, || async {
        let list = listed(&moorline).await;
        list["stopped"].as_str().map(str::to_owned)
    })
    .await;
    let told = format!(
        "for tenant {} alone: camera {} took it back",
        tenant.name,
        name(other)
    );
    assert_eq!(stopped, told);
    eventually("who failed", SOON, || async {
        let list = listed(&moorline).await;
        (list["failed"] == json!([name(other)])).then_some(())
    })
    .await;
    system.kubectl(&clean).await.unwrap();
}
