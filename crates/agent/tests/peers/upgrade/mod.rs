//! Upgrades of the real agent, over a session and by its owner: what is taken, what is refused, and what a trial ends with.
//!
//! A newer agent is this one with another version in its stamp; a bad one is a shell script with a stamp.

mod installed;
mod offers;
mod trial;

use std::path::Path;
use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA512, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use moorline_control::{Data, Model, Offer, STAMP_MARK, ServerLine, Stamp, Version, base64_of};
use moorline_core::SessionId;
use moorline_core::port::TunnelEnd;
use moorline_testkit::child::{Child, Signal};
use moorline_testkit::temp_dir;

use crate::agent::{Camera, PROGRAM};
use crate::server::{SOON, Seen, Server, yard};

const NEW: &str = "0.1.9";

/// This agent without its symbols: with them it is larger than an agent may be.
fn stripped() -> Vec<u8> {
    static STRIPPED: OnceLock<Vec<u8>> = OnceLock::new();
    let strip = || {
        let home = temp_dir().unwrap();
        let file = home.path().join("agent");
        let mut command = std::process::Command::new("strip");
        assert!(
            command
                .arg("-o")
                .arg(&file)
                .arg(PROGRAM)
                .status()
                .unwrap()
                .success()
        );
        std::fs::read(file).unwrap()
    };
    STRIPPED.get_or_init(strip).clone()
}

fn own() -> Stamp {
    Stamp::find(&stripped()).unwrap()
}

/// This agent, as if it were newer.
fn newer() -> Vec<u8> {
    let mut program = stripped();
    let old = format!("{STAMP_MARK}{} ", own().version);
    let new = format!("{STAMP_MARK}{NEW} ");
    assert_eq!(old.len(), new.len());
    let places: Vec<usize> = program
        .windows(old.len())
        .enumerate()
        .filter(|(_, window)| *window == old.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 1, "the stamp stands in the file once");
    program[places[0]..places[0] + new.len()].copy_from_slice(new.as_bytes());
    program
}

/// A program that says that it is a newer agent, and does something else.
fn script(what: &str) -> Vec<u8> {
    format!("#!/bin/sh\n# {STAMP_MARK}{NEW} {}\n{what}\n", own().target).into_bytes()
}

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn sha512(program: &[u8]) -> [u8; 64] {
    digest(&SHA512, program).as_ref().try_into().unwrap()
}

fn hex(program: &[u8]) -> String {
    sha512(program)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Signed by the key that the camera has.
fn offer(program: &[u8], version: Version, target: Model) -> Offer {
    let mut offer = Offer {
        target,
        version,
        bytes: u32::try_from(program.len()).unwrap(),
        sha512: sha512(program),
        signature: [0; 64],
    };
    let signature = key(1).sign(offer.signed_text().as_bytes());
    offer.signature = signature.as_ref().try_into().unwrap();
    offer
}

fn good(program: &[u8]) -> Offer {
    offer(program, Version(0, 1, 9), own().target)
}

/// A camera that knows the release key, connected.
struct Scene {
    camera: Camera,
    server: Server,
    agent: Child,
    session: SessionId,
    /// Sessions so far.
    sessions: usize,
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(options: &[&str]) -> Self {
        let mut camera = Camera::new();
        let server = Server::start("both", vec![yard(camera.key.public())]);
        camera.calls(server.address, &server.pins());
        let public = base64_of(key(1).public_key().as_ref());
        camera.write(
            "etc/release-keys",
            format!("ed25519 {public} ours\n").as_bytes(),
        );
        let agent = camera.start_with(options);
        let session = server.up(0).await;
        server.line("STATUS").await;
        Scene {
            camera,
            server,
            agent,
            session,
            sessions: 1,
        }
    }

    fn say(&self, line: &ServerLine) {
        self.server.say(self.session, &line.to_string());
    }

    /// The session of an agent on trial follows a loss.
    async fn trial_session(&mut self) {
        assert_eq!(self.server.ended(self.session).await, TunnelEnd::Lost);
        self.session = self.server.up(self.sessions).await;
        self.sessions += 1;
    }

    /// The next session, in which the agent says how it is.
    async fn next_session(&mut self) {
        self.trial_session().await;
        let session = self.session;
        self.server
            .told("STATUS of the next session", move |seen| {
                seen.iter().find_map(|seen| match seen {
                    Seen::Line(of, line) if *of == session => {
                        line.starts_with("STATUS").then_some(())
                    }
                    _ => None,
                })
            })
            .await;
    }

    /// The last offset that was told in this session, once it is at least this.
    async fn told(&self, at_least: usize) -> usize {
        let session = self.session;
        self.server
            .told(&format!("upgrade={at_least}"), move |seen| {
                let mut offsets = seen.iter().filter_map(|seen| match seen {
                    Seen::Line(of, line) if *of == session => {
                        let word = line
                            .split(' ')
                            .find_map(|word| word.strip_prefix("upgrade="))?;
                        word.parse::<usize>().ok()
                    }
                    _ => None,
                });
                offsets.next_back().filter(|offset| *offset >= at_least)
            })
            .await
    }

    /// Offers it and sends it from where the agent is, up to an offset.
    async fn send(&self, offer: &Offer, program: &[u8], until: usize) {
        self.say(&ServerLine::Upgrade(offer.clone()));
        let mut sent = self.told(0).await;
        while sent < until {
            // Eight parts, and the agent tells.
            let stop = (sent + 8 * Data::MAX).min(program.len());
            for (index, piece) in program[sent..stop].chunks(Data::MAX).enumerate() {
                let offset = u32::try_from(sent + index * Data::MAX).unwrap();
                let data = Data::new(piece.to_vec()).unwrap();
                self.say(&ServerLine::Part { offset, data });
            }
            sent = stop;
            if sent < program.len() {
                assert_eq!(self.told(sent).await, sent);
            }
        }
    }

    /// Sends all of it.
    async fn transfer(&self, program: &[u8]) {
        self.send(&good(program), program, program.len()).await;
    }

    /// What a STATUS of this session reports, asked for by a PING.
    async fn reports(&self, what: &str) -> String {
        self.server.say(self.session, "PING 77");
        let (session, wanted) = (self.session, what.to_owned());
        self.server
            .told(what, move |seen| {
                seen.iter().find_map(|seen| match seen {
                    Seen::Line(of, line) if *of == session && line.starts_with("STATUS") => line
                        .split(' ')
                        .any(|word| word == wanted)
                        .then(|| line.clone()),
                    _ => None,
                })
            })
            .await
    }

    fn has(&self, name: &str) -> bool {
        self.camera.path("etc").join(name).exists()
    }

    /// The camera's power is cut, and comes back.
    async fn power_cycle(&mut self) {
        self.power_cycle_before(|_| {}).await;
    }

    /// The same; meanwhile its flash becomes another one.
    async fn power_cycle_before(&mut self, change: impl FnOnce(&Camera)) {
        self.agent.signal(Signal::KILL);
        self.agent.wait(SOON).await.unwrap();
        for child in children_of_init(&self.camera.path("etc")) {
            let pid = rustix::process::Pid::from_raw(child).unwrap();
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        self.server.end(self.session);
        change(&self.camera);
        self.agent = self.camera.start();
    }
}

/// The processes that work on this directory: what a power cut ends, too.
fn children_of_init(directory: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&directory.display().to_string()) {
            found.push(pid);
        }
    }
    found
}
