//! A Camera of which its owner wrote nothing but a key: what its agent finds is recorded, and the smaller stream while its uplink is slow.

use std::collections::BTreeSet;

use moorline_core::segment::Tier;
use moorline_simcam::video::{Generated, Shape};
use moorline_simcam::{SourceConfig, Stream};
use moorline_testkit::{
    cluster::{SOON, condition},
    eventually,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::support::{Archive, Call, Camera, Moorline, Tenant, now_us};

/// Two streams at paths that no firmware has, so that nobody finds them who is not told.
fn films(number: u32) -> SourceConfig {
    let stream = |path: &str, width, height| {
        let shape = Shape {
            width,
            height,
            fps: 10,
            bitrate: 200_000,
            gop: 10,
            ..Shape::default()
        };
        Stream {
            path: path.to_owned(),
            film: Generated::shared(shape),
            other_film: None,
            audio: None,
        }
    };
    let streams = vec![stream("own-big", 320, 176), stream("own-small", 160, 96)];
    SourceConfig::of(number, streams)
}

/// What its agent has counted.
struct Agent {
    call: Call,
    pictures: u64,
    dropped: u64,
}

impl Agent {
    async fn says(&mut self, lines: &str) {
        self.call.child.write(lines.as_bytes()).await.unwrap();
    }

    /// A hundred pictures more, so many of them dropped.
    async fn reports(&mut self, dropped: u64) {
        self.pictures += 100;
        self.dropped += dropped;
        let (pictures, dropped) = (self.pictures, self.dropped);
        let line = format!("STATUS agent=0.1.0 pictures={pictures} pictures-dropped={dropped}\n");
        self.says(&line).await;
    }
}

/// Reports until the resource is as wanted.
async fn reports_until(
    agent: &Mutex<Agent>,
    tenant: &Tenant<'_>,
    camera: &Camera,
    dropped: u64,
    wanted: impl Fn(&Value) -> bool,
) {
    let object = ["camera", camera.name.as_str()];
    eventually("what the uplink decides", SOON * 2, || async {
        agent.lock().await.reports(dropped).await;
        let seen = tenant.space.get(&object).await.unwrap();
        wanted(&seen).then_some(())
    })
    .await;
}

/// Waits until a segment of this tier that begins after `instant` is stored, and all before it.
async fn until_stored(tenant: &Tenant<'_>, camera: &Camera, tier: Tier, instant: u64) -> Archive {
    let begun = i64::try_from(instant / 1000).unwrap();
    tenant
        .until_archived(camera, "recordings of that tier", |archive| {
            let last = archive.segments.last();
            let is_it = last.is_some_and(|segment| {
                segment.place.tier == tier && segment.start.as_millis() > begun
            });
            is_it && archive.uncovered().is_none()
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_recorded_by_what_its_agent_finds_and_what_its_uplink_carries() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("source").await;
    let [first, second] = moorline.pair().await;
    let spec = json!({"recordBy": "auto"});
    let yard = tenant.camera_filming("yard", spec, films(281)).await;
    let name = format!("{}/yard", tenant.name);
    let call = yard.call_with_agent(&moorline, &first);
    call.child.wait_for_line("MOORLINE/1", SOON).await.unwrap();
    let mut agent = Agent {
        call,
        pictures: 0,
        dropped: 0,
    };
    let found =
        "SOURCE main /own-big h264 320x176 10 200\nSOURCE sub /own-small h264 160x96 10 200\n";
    agent.says(found).await;
    agent.reports(0).await;
    tenant.until_recorded(&yard).await;
    tenant.until_stored(&yard).await;
    let seen = tenant.space.get(&["camera", "yard"]).await.unwrap();
    let found = json!({
        "main": {"path": "/own-big", "codec": "h264", "size": "320x176"},
        "sub": {"path": "/own-small", "codec": "h264", "size": "160x96"},
    });
    assert_eq!(seen["status"]["found"], found);
    let written = seen["spec"].clone();
    assert_eq!(written["sources"]["main"]["path"], Value::Null);
    let show = ["camera", "show", &name, "--cluster"];
    let shown = moorline.cli(&show).await;
    let chosen = |shown: &Value| (shown["record"].clone(), shown["record_by"].clone());
    assert_eq!(chosen(&shown), (json!("main"), json!("auto")));
    assert_eq!(shown["main"]["path"], "/own-big");

    let agent = Mutex::new(agent);
    let is_moved = |seen: &Value| seen["status"]["uplink"]["since"].is_string();
    reports_until(&agent, &tenant, &yard, 10, is_moved).await;
    let moved = now_us();
    let event = tenant.until_event(&yard, "PicturesDropped").await;
    assert_eq!(event["type"], "Warning", "{event:#}");
    let shown = moorline.cli(&show).await;
    assert_eq!(chosen(&shown), (json!("sub"), json!("uplink")));
    until_stored(&tenant, &yard, Tier::Low, moved).await;

    // Another replica finds how it is, too.
    let before = {
        let mut agent = agent.lock().await;
        agent.says("BYE\n").await;
        agent.call.child.wait(SOON).await.unwrap();
        let call = yard.call_with_agent(&moorline, &second);
        call.child.wait_for_line("MOORLINE/1", SOON).await.unwrap();
        agent.call = call;
        now_us()
    };
    tenant.until_held(&yard, 2, &second.name).await;
    until_stored(&tenant, &yard, Tier::Low, before).await;

    let is_back = |seen: &Value| condition(seen, "UplinkSlow") == Some("False");
    reports_until(&agent, &tenant, &yard, 0, is_back).await;
    let back = now_us();
    tenant.until_event(&yard, "MainAgain").await;
    let archive = until_stored(&tenant, &yard, Tier::Full, back).await;
    let causes: BTreeSet<String> = archive.causes().into_iter().collect();
    let known = ["hung_up", "restart", "tunnel_down"].map(str::to_owned);
    assert!(causes.is_subset(&known.into()), "{archive:#?}");
    let seen = tenant.space.get(&["camera", "yard"]).await.unwrap();
    assert_eq!(seen["spec"], written, "the owner's");
}
