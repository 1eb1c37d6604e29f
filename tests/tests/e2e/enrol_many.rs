//! A pallet of cameras that get power at once: each makes its key, enrols with the one token of the batch, and calls again as the camera that
//! it is now.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use moorline_testkit::child::Child;
use moorline_testkit::tempfile::TempDir;
use moorline_testkit::{eventually, temp_dir};
use tokio::process::Command;

use crate::support::Moorline;

/// Enough for a machine of two cores that does other things, too.
const PATIENCE: Duration = Duration::from_secs(400);

struct Camera {
    agent: Child,
    home: TempDir,
}

impl Camera {
    /// Its streamer is away, so that the time is that of enrolling, not of five hundred streams.
    fn power_on(card: &std::path::Path) -> Self {
        let home = temp_dir().unwrap();
        let path = |name: &str| home.path().join(name);
        std::fs::create_dir(path("etc")).unwrap();
        let local = "source 127.0.0.1:9\nmain /main\nrelay-port 0\nclock off\nmodel simcam\n";
        std::fs::write(path("etc/local.conf"), local).unwrap();
        std::fs::copy(card, path("etc/enroll")).unwrap();
        let mut command = Command::new(moorline_tests::agent());
        command.arg("run");
        for (option, name) in [("--dir", "etc"), ("--run", "run"), ("--card", "card")] {
            command.arg(option).arg(path(name));
        }
        let agent = Child::spawn("moorline-agent", command).unwrap();
        Camera { agent, home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn is_enrolled(&self) -> bool {
        self.path("etc/agent.conf").exists()
    }

    /// How many sessions ended: one is that of its enrolment.
    fn ended(&self) -> usize {
        let lines = self.agent.lines();
        let ends = lines
            .iter()
            .filter(|line| line.contains("session with the endpoint ended"));
        ends.count()
    }
}

/// What it took, in words.
async fn enrol_at_once(count: usize) -> String {
    let moorline = Moorline::start().await;
    let card = moorline.place().join("card");
    let batch = count.to_string();
    moorline
        .cli(&[
            "camera",
            "enroll",
            "shop",
            "--batch",
            &batch,
            "--file",
            card.to_str().unwrap(),
        ])
        .await;
    let begin = Instant::now();
    let cameras: Vec<Camera> = (0..count).map(|_| Camera::power_on(&card)).collect();
    let started = begin.elapsed();
    let times = Mutex::new(vec![None; count]);
    eventually("all are enrolled", PATIENCE, async || {
        let mut times = times.lock().unwrap();
        for (camera, time) in cameras.iter().zip(times.iter_mut()) {
            if time.is_none() && camera.is_enrolled() {
                *time = Some(begin.elapsed());
            }
        }
        times.iter().all(Option::is_some).then_some(())
    })
    .await;
    let up = eventually("all are up", PATIENCE, async || {
        let list = moorline.cli(&["camera", "list"]).await;
        let up = list
            .as_array()?
            .iter()
            .filter(|camera| camera["status"]["link"]["state"] == "up");
        (up.count() == count).then(|| begin.elapsed())
    })
    .await;

    // None is lost, none is there twice, and the token is spent and gone.
    let list = moorline.cli(&["camera", "list"]).await;
    assert_eq!(list.as_array().unwrap().len(), count);
    let spent = moorline.cli(&["camera", "enrolments"]).await;
    assert_eq!(spent[0]["left"], 0, "{spent}");
    let mut ids: Vec<String> = cameras
        .iter()
        .map(|camera| std::fs::read_to_string(camera.path("etc/agent.conf")).unwrap())
        .map(|kept| kept.lines().next().unwrap().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "two cameras share a name");
    assert!(
        cameras
            .iter()
            .all(|camera| !camera.path("etc/enroll").exists())
    );

    let times = times.into_inner().unwrap().into_iter().flatten();
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    let ends: Vec<usize> = cameras.iter().map(Camera::ended).collect();
    let again = ends.iter().filter(|ends| **ends > 1).count();
    format!(
        "{count} agents started in {started:.1?}; enrolled: half after {:.1?}, 99 % after {:.1?}, all after {:.1?}; all up after {up:.1?}; \
         {again} called more than twice, at most {} times",
        times[count / 2],
        times[count * 99 / 100],
        times[count - 1],
        ends.iter().max().unwrap() + 1,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dozen_cameras_enrol_at_once() {
    println!("{}", enrol_at_once(12).await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: five hundred agents, each with its dbclient"]
async fn five_hundred_cameras_enrol_at_once_and_none_is_lost() {
    println!("{}", enrol_at_once(500).await);
}
