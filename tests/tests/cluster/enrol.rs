//! A camera that nobody made known but by the file of `camera enroll` on its card, with the agent on it; and whoever else holds such a file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use moorline_base::SystemClock;
use moorline_simcam::{Source, SourceConfig, video::Shape};
use moorline_testkit::child::{Child, run};
use moorline_testkit::cluster::{SOON, condition};
use moorline_testkit::tempfile::TempDir;
use moorline_testkit::{eventually, peer, temp_dir};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Moorline, Replica};

/// What its pictures are stamped with.
const NUMBER: u32 = 281;

/// A camera with the agent, whose firmware knows its streamer.
struct Device {
    home: TempDir,
    _source: Source,
}

impl Device {
    fn new() -> Self {
        let shape = Shape {
            width: 320,
            height: 176,
            fps: 20,
            gop: 10,
            bitrate: 300_000,
            ..Shape::default()
        };
        let listener = moorline_base::net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let streamer = listener.local_addr().unwrap();
        let source = Source::new(
            SourceConfig::generated(NUMBER, shape),
            SystemClock::shared(),
        );
        source.listen(listener);
        let home = temp_dir().unwrap();
        for name in ["etc", "card"] {
            std::fs::create_dir(home.path().join(name)).unwrap();
        }
        let local =
            format!("source {streamer}\nmain /main\nrelay-port 0\nclock off\nmodel simcam\n");
        std::fs::write(home.path().join("etc/local.conf"), local).unwrap();
        Self {
            home,
            _source: source,
        }
    }

    fn card(&self) -> PathBuf {
        self.home.path().join("card/enroll")
    }

    fn power_on(&self) -> Child {
        let mut command = Command::new(moorline_tests::agent());
        command.arg("run");
        for (option, name) in [("--dir", "etc"), ("--run", "run"), ("--card", "card")] {
            command.arg(option).arg(self.home.path().join(name));
        }
        Child::spawn("moorline-agent", command).unwrap()
    }
}

/// Makes a token for a camera, and the file that leads its device to that replica.
async fn file_for(
    moorline: &Moorline,
    name: &str,
    at: &Replica,
    file: &Path,
    more: &[&str],
) -> Value {
    let (host, port) = (at.ip.to_string(), at.ssh().port().to_string());
    let path = file.display().to_string();
    let words = ["camera", "enroll", name, "--file", &path, "--cluster"];
    let place = ["--host", &host, "--port", &port];
    moorline.cli(&[&words[..], &place, more].concat()).await
}

fn token_in(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let token = text.lines().find_map(|line| line.strip_prefix("token "));
    token.unwrap().to_owned()
}

/// Another device says a token, with a key of its own; gives all that it was told.
async fn says(moorline: &Moorline, at: &Replica, token: &str) -> String {
    let home = temp_dir().unwrap();
    let key = home.path().join("key");
    let mut make = peer::DROPBEARKEY.command().unwrap();
    make.args(["-t", "ed25519", "-f"]).arg(&key);
    run("dropbearkey", make, SOON).await.unwrap();
    std::fs::create_dir(home.path().join(".ssh")).unwrap();
    let hosts = home.path().join(".ssh/known_hosts");
    std::fs::write(hosts, moorline.known_hosts(at.ip)).unwrap();
    let mut command = peer::DBCLIENT.command().unwrap();
    command
        .env("HOME", home.path())
        .args(["-T", "-K", "15", "-p", &at.ssh().port().to_string(), "-i"])
        .arg(&key)
        .arg(format!("enroll@{}", at.ip));
    let mut call = Child::spawn("dbclient", command).unwrap();
    call.wait_for_line("MOORLINE/1 enroll -", SOON)
        .await
        .unwrap();
    let line = format!("ENROLL {token} simcam 00:01:02:03:04:05\n");
    call.write(line.as_bytes()).await.unwrap();
    call.wait(SOON).await.unwrap();
    call.tail()
}

/// S3.
#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_flash_to_recorded_pictures_by_the_file_on_its_card_and_by_no_copy_of_it() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("enrol").await;
    let [first, second] = moorline.pair().await;
    let name = |camera: &str| format!("{}/{camera}", tenant.name);
    let yard = name("yard");
    let device = Device::new();
    let title = ["--title", "Back yard"];
    let made = file_for(&moorline, &yard, &first, &device.card(), &title).await;
    assert_eq!(
        (&made["camera"], &made["left"]),
        (&json!(yard), &json!(1)),
        "{made}"
    );
    let token = token_in(&device.card());
    let waiting = tenant.space.get(&["camera/yard"]).await.unwrap();
    assert!(!waiting.to_string().contains(&token), "its hash alone");
    moorline
        .cli(&["camera", "set", &yard, "--path", "/main", "--cluster"])
        .await;

    let _agent = device.power_on();
    let recorded = |camera: &Value| {
        let is_true = |kind: &&str| condition(camera, kind) == Some("True");
        let all = ["Connected", "Archiving", "Ready"].iter().all(is_true);
        all.then(|| camera.clone())
    };
    let seen = tenant
        .space
        .until("camera/yard", "recorded", SOON * 2, recorded)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(!device.card().exists(), "the token is still on the card");
    assert_eq!(seen["spec"]["title"], "Back yard");
    assert_eq!(seen["spec"]["keys"], json!([]), "nobody wrote its spec");
    let enrolments = ["camera", "enrolments", "--tenant", &tenant.name];
    let enrolments = [&enrolments[..], &["--cluster"]].concat();
    let spent = moorline.cli(&enrolments).await;
    assert_eq!(
        (&spent[0]["left"], &spent[0]["cameras"]),
        (&json!(0), &json!([yard])),
        "{spent}"
    );

    // A copy of the card, at whichever replica: nothing is told to it, and the owner is.
    let told = says(&moorline, &second, &token).await;
    assert!(!told.contains("ENROLLED"), "{told}");
    let reused = tenant
        .space
        .until("camera/yard", "the second key", SOON, |camera| {
            let spent = &camera["status"]["enrolledKey"];
            spent["reused"]["times"].as_u64().map(|_| spent.clone())
        })
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(reused["key"], seen["status"]["enrolledKey"]["key"]);

    // Too late, and taken back.
    let place = temp_dir().unwrap();
    let [late, back] = ["late", "back"].map(|file| place.path().join(file));
    let short = ["--expires", "1s"];
    let expired = file_for(&moorline, &name("gate"), &second, &late, &short).await;
    eventually("its end", SOON, || async {
        let all = moorline.cli(&enrolments).await;
        let mut all = all.as_array().unwrap().iter();
        let gate = all.find(|token| token["id"] == expired["id"]).unwrap();
        (gate["left"] == 0).then_some(())
    })
    .await;
    let revoked = file_for(&moorline, &name("shed"), &second, &back, &[]).await;
    let id = revoked["id"].to_string();
    let unenroll = ["camera", "unenroll", &id, "--tenant", &tenant.name];
    moorline
        .cli(&[&unenroll[..], &["--cluster"]].concat())
        .await;
    for (file, camera) in [(&late, "camera/gate"), (&back, "camera/shed")] {
        let told = says(&moorline, &second, &token_in(file)).await;
        assert!(!told.contains("ENROLLED"), "{camera}: {told}");
        let camera = tenant.space.get(&[camera]).await.unwrap();
        assert_eq!(camera["status"]["enrolledKey"], Value::Null, "{camera:#}");
    }

    // What a token made stays when it is taken back.
    let id = made["id"].to_string();
    let unenroll = ["camera", "unenroll", &id, "--tenant", &tenant.name];
    moorline
        .cli(&[&unenroll[..], &["--cluster"]].concat())
        .await;
    let kept = tenant.space.get(&["camera/yard"]).await.unwrap();
    assert_eq!(
        kept["spec"]["keys"][0], reused["key"],
        "it is the owner's now"
    );
    assert_eq!(
        kept["status"]["session"]["generation"], seen["status"]["session"]["generation"],
        "its tunnel stayed"
    );
}
