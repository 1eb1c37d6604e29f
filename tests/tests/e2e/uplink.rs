//! A camera whose uplink cannot carry its main stream is recorded from its sub-stream by itself, says so, and goes back.

use serde_json::Value;
use tokio::sync::Mutex;

use moorline_testkit::eventually;

use crate::agent_release::said;
use crate::support::{Dbclient, Moorline, SOON, Setup, listening};
use crate::tiers::two_streams;

/// Speaks as an agent would, by the real dbclient.
struct Agent {
    client: Mutex<(Dbclient, u64, u64)>,
}

impl Agent {
    /// A further report: so many pictures, and so many of them dropped.
    async fn reports(&self, pictures: u64, dropped: u64) {
        let mut agent = self.client.lock().await;
        agent.1 += pictures;
        agent.2 += dropped;
        let line = format!(
            "STATUS agent=0.1.0 pictures={} pictures-dropped={}\n",
            agent.1, agent.2
        );
        agent.0.child.write(line.as_bytes()).await.unwrap();
    }

    /// Reports until the camera is as wanted.
    async fn until(&self, moorline: &Moorline, dropped: u64, wanted: impl Fn(&Value) -> bool) {
        eventually("the recorded stream", SOON, async || {
            self.reports(100, dropped).await;
            wanted(&moorline.camera("yard").await).then_some(())
        })
        .await;
    }
}

async fn start(more: &[&str]) -> (Moorline, Agent, moorline_simcam::Source) {
    let moorline = Moorline::with(Setup {
        archive: "segment = \"2s\"\n".to_owned(),
        sections: "[alert]\nafter = \"10s\"\n[uplink]\nafter = \"1s\"\nback = \"2s\"\n".to_owned(),
        ..Setup::default()
    })
    .await;
    let add = [
        "camera",
        "add",
        "yard",
        "--path",
        "/main",
        "--sub-path",
        "/sub",
    ];
    let added = moorline.cli(&[&add[..], more].concat()).await;
    let (source, address) = listening(two_streams(7));
    let client = Dbclient::with_monitor(&added, address);
    moorline.until_recording("yard").await;
    let client = Mutex::new((client, 0, 0));
    (moorline, Agent { client }, source)
}

fn records(view: &Value, record: &str, by: &str) -> bool {
    view["record"] == record && view["record_by"] == by
}

/// Until something of that tier is stored.
async fn stored(moorline: &Moorline, tier: &str) {
    eventually(tier, SOON, async || {
        let rows = moorline.segments("yard").await;
        let of_tier = |row: &Value| row["tier"] == tier && row["held"] == "store";
        rows.iter().any(of_tier).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_uplink_leads_to_the_sub_stream_and_a_quiet_one_back() {
    let (moorline, agent, _source) = start(&[]).await;
    assert!(records(&moorline.camera("yard").await, "main", "auto"));
    stored(&moorline, "full").await;
    // One in ten.
    agent
        .until(&moorline, 10, |view| records(view, "sub", "uplink"))
        .await;
    let says = |view: &Value| {
        view["notes"].to_string().contains("the uplink dropped")
            && view["status"]["notices"]
                .to_string()
                .contains("moved_to_sub")
    };
    moorline.until("yard", "that it says so", says).await;
    // It does not go back while the sub-stream, too, loses pictures.
    for _ in 0..3 {
        agent.reports(100, 10).await;
        stored(&moorline, "low").await;
    }
    assert!(records(&moorline.camera("yard").await, "sub", "uplink"));
    agent
        .until(&moorline, 0, |view| records(view, "main", "auto"))
        .await;
    moorline
        .until("yard", "that it is back", |view| {
            view["status"]["notices"]
                .to_string()
                .contains("moved_to_main")
        })
        .await;
    moorline.until_recording("yard").await;
    let rows = moorline.segments("yard").await;
    let tiers: std::collections::BTreeSet<_> =
        rows.iter().filter_map(|row| row["tier"].as_str()).collect();
    assert_eq!(tiers.into_iter().collect::<Vec<_>>(), ["full", "low"]);
    let unexplained = rows.iter().filter(|row| row["kind"] == "unexplained");
    assert_eq!(unexplained.count(), 0, "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_owner_chose_stays_whatever_is_dropped() {
    let (moorline, agent, _source) = start(&["--record", "main"]).await;
    let before = moorline.camera("yard").await;
    assert!(records(&before, "main", "owner"));
    // Longer than the rule looks back, and every report is read.
    let recorded = async || {
        let rows = moorline.segments("yard").await;
        let full = |row: &&Value| row["tier"] == "full" && row["held"] == "store";
        rows.iter().filter(full).count()
    };
    let enough = recorded().await + 2;
    eventually("two more segments of two seconds", SOON, async || {
        agent.reports(100, 50).await;
        let told = agent.client.lock().await.1.to_string();
        moorline
            .until("yard", "that the report is read", |view| {
                said(view, "pictures") == Some(told.as_str())
            })
            .await;
        (recorded().await >= enough).then_some(())
    })
    .await;
    assert!(records(&moorline.camera("yard").await, "main", "owner"));
    // Left to the server again, the same uplink leads to the sub-stream.
    moorline
        .cli(&["camera", "set", "yard", "--record", "auto"])
        .await;
    agent
        .until(&moorline, 50, |view| records(view, "sub", "uplink"))
        .await;
}
