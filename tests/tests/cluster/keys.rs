//! The ticket key is renewed by `moorline keys rotate` under a camera that records: as the guide says, each step as soon as the last is seen to have
//! arrived.

use moorline_testkit::{child::run, cluster::SOON, eventually, temp_dir};
use tokio::process::Command;

use crate::support::{Inside, Moorline, now_us};

/// Makes the next step out of what is in force, and applies it.
async fn renew(moorline: &Moorline) {
    let place = temp_dir().unwrap();
    let file = place.path().join("secrets.json");
    let secrets = moorline.system.get(&["secrets"]).await.unwrap();
    std::fs::write(&file, secrets.to_string()).unwrap();
    let mut rotate = Command::new(moorline_tests::moorline());
    rotate
        .args(["keys", "rotate", "--only", "tickets", "--now", "--secrets"])
        .arg(&file);
    let output = run("moorline keys rotate", rotate, SOON).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let file = file.display().to_string();
    let apply = ["apply", "-f", &*file];
    moorline.cluster().kubectl(&apply).await.unwrap();
}

/// What relays are told; a replica that does not hold the camera tells nothing.
async fn told(moorline: &Moorline, head: &str) -> Option<Vec<String>> {
    let answer = moorline.ask(Inside::Gateway, head, "").await;
    let mut lines = answer.text.lines();
    let keys = lines.find_map(|line| line.strip_prefix("Moorline-Ticket-Keys: "))?;
    Some(keys.trim().split(',').map(str::to_owned).collect())
}

/// Waits until they are told such keys.
async fn until(
    moorline: &Moorline,
    head: &str,
    what: &str,
    wanted: impl Fn(&[String]) -> bool,
) -> Vec<String> {
    eventually(what, SOON * 2, || async {
        told(moorline, head).await.filter(|keys| wanted(keys))
    })
    .await
}

/// S24: the new key is known before it is used, and the old one forgotten after that.
#[tokio::test(flavor = "multi_thread")]
async fn the_ticket_key_is_renewed_and_recording_goes_on() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("renewed").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 281).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    let [relay, _] = tenant.pair(&yard).await;
    let token = tenant.token_for(&relay, Inside::Gateway).await;
    let head = format!(
        "CONNECT {}/yard HTTP/1.1\r\nHost: moorline-mon.moorline-system.svc\r\nAuthorization: Bearer {token}\r\n",
        tenant.name
    );
    let before = until(&moorline, &head, "one key", |keys| keys.len() == 1).await;
    renew(&moorline).await;
    let both = until(&moorline, &head, "the new key behind the old one", |keys| {
        keys.len() == 2 && keys[0] == before[0]
    })
    .await;
    renew(&moorline).await;
    until(&moorline, &head, "the old key behind the new one", |keys| {
        keys == [both[1].clone(), both[0].clone()]
    })
    .await;
    renew(&moorline).await;
    until(&moorline, &head, "the new key alone", |keys| {
        keys == [both[1].clone()]
    })
    .await;

    // Another relay knows no other key, so that the archiver reads it by a ticket of the new one.
    let words = ["delete", "pod", &relay.name, "--wait=false"];
    tenant.space.kubectl(&words).await.unwrap();
    let another = eventually("another relay", SOON, || async {
        let pods = tenant.pods(&yard).await;
        let mut new = pods.iter().filter(|pod| pod.uid != relay.uid);
        let is_there = new.any(|pod| pod.role == "relay" && !pod.deleting);
        is_there.then(now_us)
    })
    .await;
    tenant.until_goes_on(&yard, another).await;
}
