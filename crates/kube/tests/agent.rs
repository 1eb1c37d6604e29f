//! What a camera's agent says of its streams and of its uplink: how it gets into the Camera, at what cost, and that the owner's word stands.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use moorline_core::alarm::NoticeKind;
use moorline_core::camera::{Camera, Record, RecordBy, Source};
use moorline_core::port::{CameraAdmin as _, CameraChange, CameraDirectory as _, Statuses};
use moorline_core::status::{CameraStatus, LinkStatus};
use moorline_core::uplink::Rule;
use moorline_core::{CameraId, TenantId, Timestamp};
use moorline_kube::{KubeSources, KubeUplinks};
use serde_json::{Value, json};
use support::workloads::{Replica, cluster, yard};
use support::{Api, CAMERAS, Fault, condition};
use tokio::sync::watch;

const RULE: Rule = Rule {
    percent: 5,
    after: Duration::from_secs(10),
    back: Duration::from_secs(30),
};
/// More than any of its patience.
const A_WHILE: Duration = Duration::from_secs(60);

/// Key and value, as a monitor keeps them.
type Words = Vec<(String, String)>;

/// A monitor of the yard alone: it hears what a test has its agent say.
struct Agent {
    said: watch::Sender<(u64, Words)>,
    noticed: Mutex<Vec<NoticeKind>>,
}

impl Agent {
    /// Speaks to what that replica runs.
    fn of(replica: &Replica, rule: Option<Rule>) -> Arc<Self> {
        let agent = Arc::new(Self {
            said: watch::Sender::new((1, Words::new())),
            noticed: Mutex::default(),
        });
        let sources = KubeSources::new(replica.mon.writer.clone());
        let (monitor, stop): (Arc<dyn Statuses>, _) = (agent.clone(), replica.mon.stop.clone());
        tokio::spawn(async move { sources.run(monitor, stop).await });
        let uplinks = KubeUplinks::new(replica.pods.clone(), rule);
        let (monitor, stop): (Arc<dyn Statuses>, _) = (agent.clone(), replica.mon.stop.clone());
        tokio::spawn(async move { uplinks.run(monitor, stop).await });
        agent
    }

    fn says(&self, key: &str, value: &str) {
        self.said.send_modify(|(count, words)| {
            *count += 1;
            words.retain(|(known, _)| known != key);
            words.push((key.to_owned(), value.to_owned()));
        });
    }

    /// Reports every two seconds, for a while, that so many of a hundred pictures were dropped.
    async fn reports(&self, from: u64, dropped: u64) -> u64 {
        let mut reports = from;
        let mut lost = self.lost();
        for _ in 0..A_WHILE.as_secs() / 2 {
            reports += 1;
            lost += dropped;
            self.says("pictures-dropped", &lost.to_string());
            self.says("pictures", &(reports * 100).to_string());
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        reports
    }

    /// What it has said that it dropped so far.
    fn lost(&self) -> u64 {
        let said = self.said.borrow();
        let dropped = said.1.iter().find(|(key, _)| key == "pictures-dropped");
        dropped.map_or(0, |(_, lost)| lost.parse().unwrap())
    }

    fn noticed(&self) -> Vec<NoticeKind> {
        self.noticed.lock().unwrap().clone()
    }
}

#[async_trait]
impl Statuses for Agent {
    fn get(&self, camera: &CameraId) -> Option<CameraStatus> {
        (*camera == yard()).then(|| CameraStatus {
            said: self.said.borrow().1.clone(),
            ..CameraStatus::new(yard(), LinkStatus::Absent, Timestamp::default())
        })
    }

    fn list(&self, _: &TenantId) -> Vec<CameraStatus> {
        self.get(&yard()).into_iter().collect()
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut said = self.said.subscribe();
        let changed = said.wait_for(|(count, _)| *count != seen).await;
        changed.map_or(seen, |said| said.0)
    }

    fn version(&self) -> u64 {
        self.said.borrow().0
    }

    fn hang_up(&self, _: &CameraId) {}

    fn notice(&self, _: &CameraId, what: NoticeKind) {
        self.noticed.lock().unwrap().push(what);
    }
}

/// The yard as the API server has it.
fn object(api: &Api) -> Value {
    api.get(CAMERAS, "t-acme", "yard").unwrap()
}

/// The yard as all parts go by it.
fn record(replica: &Replica) -> Camera {
    let all = replica.mon.directory.snapshot();
    Camera::clone(all.get(&yard()).unwrap())
}

fn paths(replica: &Replica) -> [Option<String>; 2] {
    let record = record(replica);
    [record.main.path, record.sub.and_then(|sub| sub.path)]
}

fn some(paths: [&str; 2]) -> [Option<String>; 2] {
    paths.map(|path| Some(path.to_owned()))
}

async fn a_while() {
    tokio::time::sleep(A_WHILE).await;
}

/// A cluster whose yard somebody has prepared, the replica that holds its tunnel, and its agent.
async fn connected(rule: Option<Rule>, prepare: impl FnOnce(&Api)) -> (Api, Replica, Arc<Agent>) {
    let (api, clock) = cluster();
    prepare(&api);
    let replica = Replica::new(&api, &clock, 0).await;
    let agent = Agent::of(&replica, rule);
    replica.claim(1).await;
    (api, replica, agent)
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_finds_fills_in_what_is_open_and_costs_one_write_in_a_cameras_life() {
    let (api, replica, agent) = connected(None, |_| ()).await;
    a_while().await;
    api.forget_requests();
    agent.says("source.main", "/ch0 h264 1920x1080 20 1024");
    agent.says("source.sub", "/ch1 h264 - - -");
    a_while().await;
    assert_eq!(api.writes().len(), 1, "{:#?}", api.writes());
    let found = json!({
        "main": {"path": "/ch0", "codec": "h264", "size": "1920x1080"},
        "sub": {"path": "/ch1", "codec": "h264"},
    });
    assert_eq!(object(&api)["status"]["found"], found);
    assert_eq!(object(&api)["spec"], json!({"keys": []}));
    assert_eq!(paths(&replica), some(["/ch0", "/ch1"]));

    // A flap, and the rates that it says anew each time.
    api.forget_requests();
    replica.claim(2).await;
    agent.says("source.main", "/ch0 h264 1920x1080 15 900");
    a_while().await;
    assert_eq!(api.writes().len(), 1, "the claim: {:#?}", api.writes());

    // After another firmware the old paths lead nowhere.
    agent.says("source.main", "/stream=0 h265 2560x1440 20 -");
    agent.says("source.sub", "/stream=1 h264 - - -");
    a_while().await;
    assert_eq!(paths(&replica), some(["/stream=0", "/stream=1"]));
}

#[tokio::test(start_paused = true)]
async fn what_the_owner_writes_stands_and_nothing_that_was_found_becomes_the_owners() {
    let (api, replica, agent) = connected(None, |_| ()).await;
    agent.says("source.main", "/ch0 h264 - - -");
    agent.says("source.sub", "/ch1 h264 - - -");
    a_while().await;
    let change = CameraChange {
        title: Some("Einfahrt".into()),
        main: Some(Source {
            path: Some("/own".into()),
            ..Source::default()
        }),
        decided_on: Some(Box::new(record(&replica))),
        ..CameraChange::default()
    };
    let changed = replica.mon.admin.set(&yard(), change).await.unwrap();
    assert_eq!(changed.sub.unwrap().path.as_deref(), Some("/ch1"));
    let spec = object(&api)["spec"].clone();
    assert_eq!(spec["sources"]["main"]["path"], "/own");
    assert!(spec["sources"]["sub"].is_null(), "{spec:#}");
    assert_eq!(paths(&replica), some(["/own", "/ch1"]));
    // The stream that was found may be chosen, as one that was written.
    let change = CameraChange {
        record: Some(Record::Sub),
        record_by: Some(RecordBy::Owner),
        ..CameraChange::default()
    };
    replica.mon.admin.set(&yard(), change).await.unwrap();
    assert!(object(&api)["spec"]["sources"]["sub"].is_object());
    assert_eq!(record(&replica).record, Record::Sub);
    assert_eq!(paths(&replica), some(["/own", "/ch1"]));
}

/// The Secret has no other: it lies there under the main one's key.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_found_and_chosen_has_the_password_of_the_main_one() {
    let login = json!({"user": "admin", "passwordSecretRef": {"name": "yard-rtsp", "key": "main"}});
    let spec = json!({"spec": {"sources": {"main": {"login": login}}}});
    let has_a_login = |api: &Api| api.patch(CAMERAS, "t-acme", "yard", &spec);
    let (api, replica, agent) = connected(None, has_a_login).await;
    agent.says("source.main", "/ch0 h264 - - -");
    agent.says("source.sub", "/ch1 h264 - - -");
    a_while().await;
    let change = CameraChange {
        record: Some(Record::Sub),
        ..CameraChange::default()
    };
    replica.mon.admin.set(&yard(), change).await.unwrap();
    let sub = object(&api)["spec"]["sources"]["sub"].clone();
    assert_eq!(sub["login"], login, "{sub:#}");
}

/// A yard with two streams whose owner left it to the uplink which is recorded.
fn left_to_the_uplink(api: &Api) {
    let sources = json!({"main": {"path": "/main"}, "sub": {"path": "/sub"}});
    let spec = json!({"spec": {"recordBy": "auto", "sources": sources}});
    api.patch(CAMERAS, "t-acme", "yard", &spec);
}

fn recorded(replica: &Replica) -> (Record, RecordBy) {
    let record = record(replica);
    (record.record, record.record_by)
}

const ON_MAIN: (Record, RecordBy) = (Record::Main, RecordBy::Auto);
const ON_SUB: (Record, RecordBy) = (Record::Sub, RecordBy::Uplink);

/// A yard whose uplink has led to its sub stream, and how many reports that took.
async fn on_sub() -> (Api, Replica, Arc<Agent>, u64) {
    let (api, replica, agent) = connected(Some(RULE), left_to_the_uplink).await;
    let reports = agent.reports(0, 50).await;
    assert_eq!(recorded(&replica), ON_SUB);
    (api, replica, agent, reports)
}

#[tokio::test(start_paused = true)]
async fn a_slow_uplink_leads_to_the_sub_stream_and_says_so_and_a_quiet_one_back() {
    let (api, replica, agent) = connected(Some(RULE), left_to_the_uplink).await;
    let spec = object(&api)["spec"].clone();
    let reports = agent.reports(0, 4).await;
    assert_eq!(recorded(&replica), ON_MAIN, "few enough");
    api.forget_requests();
    let reports = agent.reports(reports, 10).await;
    assert_eq!(recorded(&replica), ON_SUB);
    assert_eq!(api.writes().len(), 1, "{:#?}", api.writes());
    let says = |status: &str, reason: &str| Some((status.to_owned(), reason.to_owned()));
    let told = || condition(&api, "acme", "yard", "UplinkSlow");
    assert_eq!(told(), says("True", "PicturesDropped"));
    assert!(object(&api)["status"]["uplink"]["since"].is_string());
    agent.reports(reports, 0).await;
    assert_eq!(recorded(&replica), ON_MAIN);
    assert_eq!(told(), says("False", "MainAgain"));
    assert!(object(&api)["status"]["uplink"].is_null());
    assert_eq!(
        agent.noticed(),
        [NoticeKind::MovedToSub, NoticeKind::MovedToMain]
    );
    let events = api.list("/apis/events.k8s.io/v1/events");
    let mut reasons: Vec<&str> = events
        .iter()
        .filter_map(|event| event["reason"].as_str())
        .collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["MainAgain", "PicturesDropped"]);
    assert_eq!(object(&api)["spec"], spec, "the owner's");
}

#[tokio::test(start_paused = true)]
async fn the_owners_choice_ends_the_uplinks() {
    let (api, replica, agent, reports) = on_sub().await;
    let set = async |record_by: RecordBy| {
        let change = CameraChange {
            record: Some(Record::Main),
            record_by: Some(record_by),
            ..CameraChange::default()
        };
        replica.mon.admin.set(&yard(), change).await.unwrap();
    };
    set(RecordBy::Auto).await;
    assert_eq!(recorded(&replica), ON_SUB, "so it was already");
    set(RecordBy::Owner).await;
    assert_eq!(recorded(&replica), (Record::Main, RecordBy::Owner));
    let reports = agent.reports(reports, 50).await;
    assert_eq!(recorded(&replica), (Record::Main, RecordBy::Owner));
    let told = condition(&api, "acme", "yard", "UplinkSlow").unwrap();
    assert_eq!((&*told.0, &*told.1), ("False", "OwnerChose"));
    set(RecordBy::Auto).await;
    assert_eq!(recorded(&replica), ON_MAIN, "the old choice is forgotten");
    agent.reports(reports, 50).await;
    assert_eq!(recorded(&replica), ON_SUB);
    assert_eq!(agent.noticed(), [NoticeKind::MovedToSub; 2]);
}

#[tokio::test(start_paused = true)]
async fn without_the_rule_whoever_was_moved_goes_back() {
    let (api, clock) = cluster();
    left_to_the_uplink(&api);
    let moved = json!({"status": {"uplink": {"since": "2026-11-20T21:10:05Z"}}});
    api.patch(CAMERAS, "t-acme", "yard", &moved);
    let replica = Replica::new(&api, &clock, 0).await;
    let agent = Agent::of(&replica, None);
    assert_eq!(recorded(&replica), ON_SUB);
    replica.claim(1).await;
    agent.reports(0, 50).await;
    assert_eq!(recorded(&replica), ON_MAIN);
    assert_eq!(agent.noticed(), [NoticeKind::MovedToMain]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_who_takes_the_sub_stream_away_leaves_nothing_that_says_it_is_recorded() {
    let (api, replica, agent, reports) = on_sub().await;
    let alone = json!({"spec": {"sources": {"sub": null}}});
    api.patch(CAMERAS, "t-acme", "yard", &alone);
    agent.reports(reports, 50).await;
    assert_eq!(recorded(&replica), ON_MAIN);
    let told = condition(&api, "acme", "yard", "UplinkSlow").unwrap();
    assert_eq!((&*told.0, &*told.1), ("False", "OwnerChose"));
    assert!(object(&api)["status"]["uplink"].is_null());
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_does_not_take_back_is_tried_again_ever_more_seldom() {
    let (api, _replica, agent, reports) = on_sub().await;
    let busy = Fault::Refused(503, "ServiceUnavailable", "no room".to_owned());
    api.trap(http::Method::PUT, "/cameras/yard/status", 1_000, busy);
    let alone = json!({"spec": {"sources": {"sub": null}}});
    api.patch(CAMERAS, "t-acme", "yard", &alone);
    api.forget_requests();
    // Thirty looks in a minute.
    agent.reports(reports, 0).await;
    let is_put = |request: &&String| request.starts_with("PUT") && request.ends_with("/status");
    let tries = api.requests().iter().filter(is_put).count();
    assert!((2..20).contains(&tries), "{tries}");
}

/// S5: each change begins the camera's pods anew.
#[tokio::test(start_paused = true)]
async fn an_agent_that_says_other_paths_all_the_time_changes_them_seldom() {
    let (api, replica, agent) = connected(None, |_| ()).await;
    a_while().await;
    api.forget_requests();
    for number in 0..60 {
        agent.says("source.main", &format!("/{number} h264 - - -"));
        tokio::time::sleep(Duration::from_secs(9)).await;
    }
    assert_eq!(api.writes().len(), 4, "{:#?}", api.writes());
    assert_eq!(paths(&replica)[0].as_deref(), Some("/3"));
    // What it says in the end is taken.
    tokio::time::sleep(Duration::from_secs(600)).await;
    agent.says("uptime", "1200");
    a_while().await;
    assert_eq!(paths(&replica)[0].as_deref(), Some("/59"));
}
