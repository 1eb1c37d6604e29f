//! A Linux box that stands for cameras of its network which carry no agent: proposed, approved, enrolled, recorded; nobody else is connected to.
//!
//! The site is a network namespace: the box is 192.168.7.1, its cameras are 192.168.7.11 and so on, and nothing of it reaches the real network.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use moorline_base::SystemClock;
use moorline_simcam::{Login, Source};
use moorline_testkit::child::Child;
use moorline_testkit::netns::Netns;
use moorline_testkit::tempfile::TempDir;
use moorline_testkit::{eventually, or_skip, temp_dir};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::{Moorline, SOON, exported, quick};

const BOX: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);
/// WS-Discovery's group.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);

struct Site {
    netns: Arc<Netns>,
    home: TempDir,
}

impl Site {
    /// From which the server is reached at its own address. `None` where there are no namespaces; then the test was skipped.
    async fn before(moorline: &Moorline) -> Option<Self> {
        let netns = Arc::new(or_skip(Netns::new().await)?);
        netns.add_address(BOX.into()).await.unwrap();
        let server = moorline.address("ssh");
        let listener = netns.listen_at(server).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut inside, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut outside = TcpStream::connect(server).await.ok()?;
                    tokio::io::copy_bidirectional(&mut inside, &mut outside)
                        .await
                        .ok()
                });
            }
        });
        let home = temp_dir().unwrap();
        std::fs::create_dir(home.path().join("etc")).unwrap();
        Some(Site { netns, home })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn agent(&self, words: &[&str]) -> Command {
        let mut command = self.netns.command(moorline_tests::agent());
        command.args(words);
        for (option, name) in [("--dir", "etc"), ("--run", "run")] {
            command.arg(option).arg(self.path(name));
        }
        command
    }

    /// What a word of the agent says; it succeeds.
    async fn says(&self, words: &[&str]) -> String {
        let output = self.agent(words).output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {output:?}");
        text
    }

    /// A camera of the network: its RTSP port.
    async fn camera(&self, last: u8) -> TcpListener {
        let address = camera(last);
        self.netns.add_address(address.into()).await.unwrap();
        let rtsp = self.netns.listen_at((address, 554).into()).await.unwrap();
        rtsp.into_std().unwrap()
    }

    /// These cameras say that they are there, each from its own address. They lie of where they are: that must lead nobody anywhere.
    async fn cameras_answer(&self, all: &[u8]) {
        let ear = self.netns.datagrams((GROUP, 3702).into()).await.unwrap();
        ear.join_multicast_v4(GROUP, Ipv4Addr::LOCALHOST).unwrap();
        let mut mouths = Vec::new();
        for last in all {
            let mouth = self.netns.datagrams((camera(*last), 0).into()).await;
            mouths.push((*last, mouth.unwrap()));
        }
        tokio::spawn(async move {
            let mut room = [0; 4096];
            while let Ok((length, asker)) = ear.recv_from(&mut room).await {
                let question = String::from_utf8_lossy(&room[..length]).into_owned();
                let id = question
                    .split_once("MessageID>")
                    .and_then(|(_, rest)| rest.split_once('<'));
                let Some((id, _)) = id.filter(|_| question.contains("NetworkVideoTransmitter"))
                else {
                    continue;
                };
                for (last, mouth) in &mouths {
                    let _ = mouth.send_to(answer(id, *last).as_bytes(), asker).await;
                }
            }
        });
    }
}

fn camera(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 7, last)
}

fn answer(id: &str, last: u8) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Header>\
         <a:RelatesTo>{id}</a:RelatesTo></s:Header><s:Body><d:ProbeMatches><d:ProbeMatch>\
         <d:Types>dn:NetworkVideoTransmitter</d:Types><d:Scopes>onvif://www.onvif.org/name/Camera%20{last}</d:Scopes>\
         <d:XAddrs>http://192.168.7.99/onvif/device_service</d:XAddrs></d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
    )
}

fn source(number: u32, login: Option<Login>, rtsp: TcpListener) -> Source {
    let mut config = quick(number);
    config.login = login;
    let source = Source::new(config, SystemClock::shared());
    source.listen(tokio::net::TcpListener::from_std(rtsp).unwrap());
    source
}

/// Nobody has connected.
#[track_caller]
fn untouched(listener: &TcpListener) {
    let came = listener.accept().map(|(_, from)| from);
    assert_eq!(came.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread")]
async fn proposed_approved_enrolled_and_recorded_and_nobody_else_is_connected_to() {
    let moorline = Moorline::with_short_segments().await;
    let Some(site) = Site::before(&moorline).await else {
        return;
    };
    let login = Login {
        user: "owner".to_owned(),
        password: "a secret: of the shop".to_owned(),
        basic: false,
    };
    let _open = source(11, None, site.camera(11).await);
    let _locked = source(12, Some(login), site.camera(12).await);
    let stranger = site.camera(13).await;
    site.cameras_answer(&[11, 12, 13]).await;
    // Where they say that they are.
    let lie = camera(99);
    site.netns.add_address(lie.into()).await.unwrap();
    let mut elsewhere = Vec::new();
    for port in [80, 554] {
        let listener = site.netns.listen_at(SocketAddr::from((lie, port))).await;
        elsewhere.push(listener.unwrap().into_std().unwrap());
    }

    let enroll = site.path("etc/enroll");
    let file = enroll.to_str().unwrap();
    moorline
        .cli(&["camera", "enroll", "shop", "--batch", "3", "--file", file])
        .await;
    let mut gateway = Child::spawn("gateway", site.agent(&["gateway"])).unwrap();
    gateway
        .wait_for_line("no camera is approved", SOON)
        .await
        .unwrap();

    // Asking proposes, and approves nobody.
    let from = BOX.to_string();
    let proposals = site
        .says(&["discover", "--from", &from, "--seconds", "6"])
        .await;
    for last in [11, 12, 13] {
        let said = format!(
            "# 192.168.7.{last} says it is Camera {last}\n# lan cam-7-{last} 192.168.7.{last}:554"
        );
        assert!(proposals.contains(&said), "{proposals}");
    }
    assert!(!proposals.contains("192.168.7.99"), "{proposals}");
    let approve = |names: &[&str], further: &str| {
        let mut text = proposals.clone();
        for name in names {
            text = text.replace(&format!("# lan {name} "), &format!("lan {name} "));
        }
        std::fs::write(site.path("etc/local.conf"), format!("{text}\n{further}")).unwrap();
    };
    let further = "lan.cam-7-11 main /main\nlan.cam-7-12 main /main\nlan.cam-7-12 login owner:a secret: of the shop\n";
    approve(&["cam-7-11", "cam-7-12"], further);

    // Each enrols for itself, with a key of its own; the token is wiped after the last.
    let mut keys = Vec::new();
    for name in ["shop-1", "shop-2"] {
        let view = moorline.until_recording(name).await;
        keys.push(view["keys"][0]["key"].as_str().unwrap().to_owned());
    }
    assert_ne!(keys[0], keys[1]);
    gateway
        .wait_for_line("enroll is wiped", SOON)
        .await
        .unwrap();
    assert!(!enroll.exists());
    let id_of = |name: &str| {
        let kept =
            std::fs::read_to_string(site.path(&format!("etc/lan/{name}/agent.conf"))).unwrap();
        let id = kept
            .lines()
            .find_map(|line| line.strip_prefix("ENROLLED home/"));
        id.unwrap().to_owned()
    };
    let ids = [(11, id_of("cam-7-11")), (12, id_of("cam-7-12"))];

    // Each records its own camera; its login stays in the box.
    for (number, id) in &ids {
        let file = site.path(&format!("{id}.mp4"));
        let export = [
            "segments",
            "export",
            id,
            "--from",
            "1h",
            "-f",
            file.to_str().unwrap(),
        ];
        let recorded = eventually("ten pictures", SOON, async || {
            if !moorline.try_cli(&export).await.status.success() {
                return None;
            }
            let recorded = exported(&file).await;
            let _ = std::fs::remove_file(&file);
            (recorded.len() >= 10).then_some(recorded)
        })
        .await;
        assert!(recorded.iter().all(|stamp| stamp.camera == *number), "{id}");
    }
    let shown = moorline.camera(&ids[1].1).await.to_string();
    assert!(!shown.contains("a secret"), "{shown}");

    // An approval that is taken back ends that camera, and no other.
    approve(
        &["cam-7-12"],
        "lan.cam-7-12 main /main\nlan.cam-7-12 login owner:a secret: of the shop\n",
    );
    moorline
        .until(&ids[0].1, "its end", |view| {
            view["status"]["link"]["state"] != "up"
        })
        .await;
    assert_eq!(
        moorline.camera(&ids[1].1).await["status"]["link"]["state"],
        "up"
    );

    // Switched off: it hangs up, and nobody is left.
    site.says(&["stop"]).await;
    assert!(
        gateway.wait(SOON).await.unwrap().success(),
        "{}",
        gateway.tail()
    );
    moorline
        .until(&ids[1].1, "its end", |view| {
            view["status"]["link"]["state"] != "up"
        })
        .await;
    untouched(&stranger);
    elsewhere.iter().for_each(untouched);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_leaves_no_agent_behind() {
    let moorline = Moorline::start().await;
    let Some(site) = Site::before(&moorline).await else {
        return;
    };
    let _source = source(11, None, site.camera(11).await);
    std::fs::write(
        site.path("etc/local.conf"),
        "lan yard 192.168.7.11:554\nlan.yard main /main\n",
    )
    .unwrap();
    let enroll = site.path("etc/enroll");
    moorline
        .cli(&[
            "camera",
            "enroll",
            "yard",
            "--file",
            enroll.to_str().unwrap(),
        ])
        .await;
    let gateway = Child::spawn("gateway", site.agent(&["gateway"])).unwrap();
    moorline.until_recording("yard").await;
    let state = std::fs::read_to_string(site.path("run/lan/yard/state")).unwrap();
    let pid = state
        .lines()
        .find_map(|line| line.strip_prefix("pid "))
        .unwrap();
    let process = PathBuf::from(format!("/proc/{pid}"));
    assert!(process.exists(), "{state}");
    gateway.signal(moorline_testkit::child::Signal::KILL);
    eventually("its agent ends", SOON, async || {
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    })
    .await;
    moorline
        .until("yard", "its end", |view| {
            view["status"]["link"]["state"] != "up"
        })
        .await;
}
