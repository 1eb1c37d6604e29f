//! A camera with the agent on it, hung on a wall with nothing but the file of `camera enroll` on its SD card.

use std::net::SocketAddr;
use std::path::PathBuf;

use moorline_testkit::child::Child;
use moorline_testkit::tempfile::TempDir;
use moorline_testkit::{eventually, temp_dir};
use tokio::process::Command;

use crate::support::{Moorline, SOON, exported, listening, numbers, quick};

/// A camera's file system, as far as the agent sees it.
pub(crate) struct Camera(TempDir);

impl Camera {
    /// Its firmware knows its streamer; simulated ones have no family.
    pub(crate) fn new(streamer: SocketAddr) -> Self {
        let home = temp_dir().unwrap();
        for name in ["etc", "card"] {
            std::fs::create_dir(home.path().join(name)).unwrap();
        }
        let local =
            format!("source {streamer}\nmain /main\nrelay-port 0\nclock off\nmodel simcam\n");
        std::fs::write(home.path().join("etc/local.conf"), local).unwrap();
        Camera(home)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn power_on(&self) -> Child {
        self.start("run")
    }

    /// Its init script: `daemon` starts the agent again when it has put a new one in its place.
    pub(crate) fn start(&self, how: &str) -> Child {
        let mut command = Command::new(moorline_tests::agent());
        command.arg(how);
        for (option, name) in [("--dir", "etc"), ("--run", "run"), ("--card", "card")] {
            command.arg(option).arg(self.path(name));
        }
        Child::spawn("moorline-agent", command).unwrap()
    }
}

/// The camera's power is cut: its agent is gone, and all that it started.
pub(crate) async fn power_off(agent: Child) {
    let gone = agent.kill(SOON).await;
    gone.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_flash_to_recorded_pictures_by_the_file_on_its_card() {
    let moorline = Moorline::with_short_segments().await;
    let (_source, streamer) = listening(quick(7));
    let camera = Camera::new(streamer);
    let card = camera.path("card/enroll");
    let made = moorline
        .cli(&[
            "camera",
            "enroll",
            "roof",
            "--title",
            "On the roof",
            "--file",
            card.to_str().unwrap(),
        ])
        .await;
    assert_eq!(
        (&made["camera"], &made["left"]),
        (&"home/roof".into(), &1.into())
    );
    assert!(
        !made.to_string().contains("token "),
        "the token is in the file alone"
    );

    let agent = camera.power_on();
    let view = moorline.until_recording("roof").await;
    assert_eq!(view["title"], "On the roof");
    assert_eq!(view["keys"].as_array().unwrap().len(), 1);
    assert!(!card.exists(), "the token is still on the card");
    let kept = std::fs::read_to_string(camera.path("etc/agent.conf")).unwrap();
    assert!(kept.starts_with("ENROLLED home/roof\n"), "{kept}");
    assert!(!kept.contains("token"), "{kept}");

    // What the agent found is the camera's record now, without any typing.
    let view = moorline
        .until("roof", "its path", |view| view["main"]["path"] == "/main")
        .await;
    let said = view["status"]["said"].to_string();
    assert!(
        said.contains("\"agent\"") && said.contains("source.main"),
        "{said}"
    );
    let spent = moorline.cli(&["camera", "enrolments"]).await;
    assert_eq!(
        (&spent[0]["left"], &spent[0]["cameras"][0]),
        (&0.into(), &"home/roof".into())
    );

    let links = moorline.diagnose("roof").await;
    let failed: Vec<_> = links
        .iter()
        // The machine of the tests may have no interface but loopback.
        .filter(|link| link["ok"] == false && link["step"] != "link")
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(links.len() > 10, "{links:?}");

    // Settings go to the agent and are kept there; what is wrong is refused before it is sent.
    moorline
        .cli(&["camera", "agent", "roof", "queue", "1000000"])
        .await;
    eventually("the agent keeps it", SOON, async || {
        let kept = std::fs::read_to_string(camera.path("etc/agent.conf")).ok()?;
        kept.contains("CONFIG queue 1000000\n").then_some(())
    })
    .await;
    let wrong = moorline
        .try_cli(&["camera", "agent", "roof", "queue", "9000000"])
        .await;
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("CONFIG.queue"), "{told}");

    // Power cut: it comes back as the same camera, and no second one appears.
    power_off(agent).await;
    let _agent = camera.power_on();
    let file = camera.path("roof.mp4");
    eventually("pictures after the power cut", SOON, async || {
        let view = moorline.camera("roof").await;
        (view["status"]["link"]["state"] == "up"
            && view["status"]["link"]["generation"].as_u64()? > 1)
            .then_some(())
    })
    .await;
    moorline.until_recording("roof").await;
    assert_eq!(
        moorline
            .cli(&["camera", "list"])
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let export = [
        "segments",
        "export",
        "roof",
        "--from",
        "1h",
        "-f",
        file.to_str().unwrap(),
    ];
    moorline.cli(&export).await;
    // What was filmed while the camera was away is missing, nothing else.
    let recorded = exported(&file).await;
    assert!(recorded.iter().all(|stamp| stamp.camera == 7));
    let gaps = recorded
        .windows(2)
        .filter(|two| two[1].frame != two[0].frame + 1);
    assert!(gaps.count() <= 1, "{:?}", numbers(&recorded));
    assert!(recorded.len() >= 20, "{} pictures", recorded.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_card_makes_no_second_camera() {
    let mut moorline = Moorline::start().await;
    let (_source, streamer) = listening(quick(7));
    let (first, second) = (Camera::new(streamer), Camera::new(streamer));
    let card = first.path("card/enroll");
    moorline
        .cli(&["camera", "enroll", "roof", "--file", card.to_str().unwrap()])
        .await;
    std::fs::copy(&card, second.path("card/enroll")).unwrap();
    let _first = first.power_on();
    moorline.until_recording("roof").await;
    let thief = second.power_on();
    // It proves a key, is told nothing, and calls again.
    thief
        .wait_for_line("session with the endpoint ended", SOON)
        .await
        .unwrap();
    let told = "an enrolment token was used by a second key";
    let line = moorline.child().wait_for_line(told, SOON).await;
    line.unwrap_or_else(|error| panic!("the token was not shown: {error}"));
    let view = moorline.camera("roof").await;
    assert_eq!(view["keys"].as_array().unwrap().len(), 1, "{view}");
    assert!(!second.path("etc/agent.conf").exists());
}

/// S3: whoever can put a card into a camera cannot take it, and its owner hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_card_in_a_camera_that_is_enrolled_is_told_and_ignored() {
    let (here, there) = (Moorline::start().await, Moorline::start().await);
    let (_source, streamer) = listening(quick(7));
    let camera = Camera::new(streamer);
    let card = camera.path("card/enroll");
    let file = card.to_str().unwrap();
    here.cli(&["camera", "enroll", "roof", "--file", file])
        .await;
    let _agent = camera.power_on();
    here.until_recording("roof").await;
    assert!(!card.exists());
    let told = |view: &serde_json::Value| view["notes"].to_string().contains("found a file enroll");
    assert!(!told(&here.camera("roof").await));

    there
        .cli(&["camera", "enroll", "mine", "--file", file])
        .await;
    here.until("roof", "that a card was put in", told).await;
    assert!(card.exists(), "its token was used");
    let spent = there.cli(&["camera", "enrolments"]).await;
    assert_eq!(spent[0]["left"], 1, "{spent}");
    let kept = std::fs::read_to_string(camera.path("etc/agent.conf")).unwrap();
    assert!(kept.starts_with("ENROLLED home/roof\n"), "{kept}");

    std::fs::remove_file(&card).unwrap();
    here.until("roof", "that it is gone", |view| !told(view))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_used_up_hides_no_fresh_one() {
    let moorline = Moorline::start().await;
    let (_source, streamer) = listening(quick(7));
    let (first, second) = (Camera::new(streamer), Camera::new(streamer));
    let (card, fresh) = (first.path("card/enroll"), second.path("etc/enroll"));
    for (name, file) in [("roof", &card), ("yard", &fresh)] {
        let file = file.to_str().unwrap();
        moorline
            .cli(&["camera", "enroll", name, "--file", file])
            .await;
    }
    std::fs::copy(&card, second.path("card/enroll")).unwrap();
    let _first = first.power_on();
    moorline.until_recording("roof").await;
    // Its card, which comes first, has a token that is spent.
    let _second = second.power_on();
    moorline.until_recording("yard").await;
    assert!(!fresh.exists(), "the token is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_moved_to_another_server_and_comes_home_when_that_is_gone() {
    let (here, mut there) = (Moorline::start().await, Moorline::start().await);
    let (_source, streamer) = listening(quick(7));
    let camera = Camera::new(streamer);
    let card = camera.path("card/enroll");
    here.cli(&["camera", "enroll", "roof", "--file", card.to_str().unwrap()])
        .await;
    let _agent = camera.power_on();
    let view = here.until_recording("roof").await;
    let key = view["keys"][0]["key"].as_str().unwrap().to_owned();
    there
        .cli(&["camera", "add", "roof", "--key", &key, "--path", "/main"])
        .await;
    let pin = there.ready()["known_hosts"][0].as_str().unwrap().to_owned();
    let pin = pin.split(' ').nth(2).unwrap();
    let to = there.address("ssh").to_string();
    here.until("roof", "its agent's words", |view| {
        view["status"]["said"].to_string().contains("\"agent\"")
    })
    .await;
    here.cli(&["camera", "move", "roof", "--to", &to, "--key", pin])
        .await;
    eventually("the agent keeps it", SOON, async || {
        let kept = std::fs::read_to_string(camera.path("etc/agent.conf")).ok()?;
        kept.contains("CONFIG endpoint.0 ").then_some(())
    })
    .await;
    here.cli(&["camera", "hang-up", "roof"]).await;
    there.until_recording("roof").await;
    // It is gone: two calls, and the camera is back where it was enrolled.
    there.child().signal(moorline_testkit::child::Signal::KILL);
    here.until_recording("roof").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_card_image_makes_a_batch() {
    let moorline = Moorline::start().await;
    let image = moorline.place().join("image");
    let leaflet = moorline.place().join("leaflet.svg");
    let made = moorline
        .cli(&[
            "camera",
            "enroll",
            "shop",
            "--batch",
            "2",
            "--file",
            image.to_str().unwrap(),
            "--svg",
            leaflet.to_str().unwrap(),
        ])
        .await;
    // The link for whoever unpacks them, and its code as a picture.
    let link = made["link"].as_str().unwrap();
    assert!(link.ends_with("/?claim=home/shop"), "{link}");
    let leaflet = std::fs::read_to_string(leaflet).unwrap();
    assert!(leaflet.contains("<svg"), "{leaflet}");
    let mut agents = Vec::new();
    for number in 1..=3 {
        let (source, streamer) = listening(quick(number));
        let camera = Camera::new(streamer);
        std::fs::copy(&image, camera.path("card/enroll")).unwrap();
        agents.push((camera.power_on(), camera, source));
        if number < 3 {
            moorline.until_recording(&format!("shop-{number}")).await;
        }
    }
    agents[2]
        .0
        .wait_for_line("session with the endpoint ended", SOON)
        .await
        .unwrap();
    let list = moorline.cli(&["camera", "enrolments"]).await;
    assert_eq!(
        (
            &list[0]["left"],
            list[0]["cameras"].as_array().unwrap().len()
        ),
        (&0.into(), 2)
    );
    assert_eq!(
        moorline
            .cli(&["camera", "list"])
            .await
            .as_array()
            .unwrap()
            .len(),
        2
    );
}
