//! Upgrades of the real agent, over a session and by its owner: what is taken, what is refused, and what a trial ends with.
//!
//! A newer agent is this one with another version in its stamp; a bad one is a shell script with a stamp.

use std::path::Path;
use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA512, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use moorline_control::{Data, Model, Offer, STAMP_MARK, ServerLine, Stamp, Version, base64_of};
use moorline_core::SessionId;
use moorline_core::port::TunnelEnd;
use moorline_testkit::child::{Child, Signal};
use moorline_testkit::{eventually, temp_dir};

use crate::agent::{Camera, PROGRAM, children};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_good_one_is_tried_installed_and_started_by_the_image_s_own_agent() {
    let mut scene = Scene::start().await;
    let target = own().target;
    scene.reports(&format!("target={target}")).await;
    let program = newer();
    scene.transfer(&program).await;
    // The trial's session, and then nothing more of this agent.
    scene.trial_session().await;
    let status = scene.agent.wait(SOON).await.unwrap();
    assert_eq!(status.code(), Some(3), "to be started again");
    assert_eq!(
        std::fs::read(scene.camera.path("etc/moorline-agent")).unwrap(),
        program
    );
    assert!(!scene.has("agent.new") && !scene.has("agent.trial") && !scene.has("agent.bad"));

    scene.agent = scene.camera.start();
    scene.next_session().await;
    scene.reports(&format!("agent={NEW}")).await;
    assert_eq!(
        scene.camera.read("etc/agent.tries"),
        "1",
        "its starts are counted"
    );
    let (_, text) = scene.camera.run(&["check", "--report"]).await;
    let runs = format!("moorline-agent {NEW} {target}\n");
    assert!(text.contains(&runs), "the one that runs is meant: {text}");
    let (code, text) = scene.camera.run(&["run"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(
        scene.camera.read("etc/agent.tries"),
        "1",
        "one that is refused beside it counts for nothing"
    );
    let (code, text) = scene.camera.run(&["stop"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(scene.agent.wait(SOON).await.unwrap().success());
    assert!(
        !scene.has("agent.tries"),
        "a start that ended as it was told is no failure"
    );
}

/// An agent that passes its trial and dies at every start after it.
fn dies_later() -> Vec<u8> {
    script(&format!(
        "case \" $* \" in *' --trial '*) exec {PROGRAM} \"$@\" ;; esac\nexit 1"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_passes_its_trial_and_dies_later_gives_way_to_the_image_s_own() {
    let mut scene = Scene::start().await;
    let program = dies_later();
    scene.transfer(&program).await;
    scene.trial_session().await;
    assert_eq!(scene.agent.wait(SOON).await.unwrap().code(), Some(3));
    assert!(scene.has("moorline-agent"), "it has passed");
    for start in 1..=5 {
        scene.agent = scene.camera.start();
        let status = scene.agent.wait(SOON).await.unwrap();
        assert_eq!(status.code(), Some(1), "start {start}");
        assert_eq!(scene.camera.read("etc/agent.tries"), start.to_string());
    }
    scene.agent = scene.camera.start();
    scene.next_session().await;
    scene.reports(&format!("rolled-back={NEW}")).await;
    scene.reports(&format!("agent={}", own().version)).await;
    assert!(scene.has("agent.bad") && !scene.has("moorline-agent") && !scene.has("agent.tries"));
    // No server brings the same one again, also when what failed is not kept any more.
    std::fs::remove_file(scene.camera.path("etc/agent.bad")).unwrap();
    scene.say(&ServerLine::Upgrade(good(&program)));
    scene.reports("bad=UPGRADE.sha512").await;
    assert!(!scene.has("agent.part") && !scene.has("agent.offer"));
    // Another one is taken.
    scene.transfer(&newer()).await;
    scene.trial_session().await;
    assert_eq!(scene.agent.wait(SOON).await.unwrap().code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_dies_later_gives_way_also_when_the_flash_takes_no_count() {
    let mut scene = Scene::start().await;
    scene.transfer(&dies_later()).await;
    scene.trial_session().await;
    assert_eq!(scene.agent.wait(SOON).await.unwrap().code(), Some(3));
    // Nothing can be written there.
    std::fs::create_dir(scene.camera.path("etc/agent.tries")).unwrap();
    for start in 1..=5 {
        scene.agent = scene.camera.start();
        let status = scene.agent.wait(SOON).await.unwrap();
        assert_eq!(status.code(), Some(1), "start {start}");
    }
    scene.agent = scene.camera.start();
    scene.next_session().await;
    scene.reports(&format!("rolled-back={NEW}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_of_the_image_outlives_the_agent_that_it_started() {
    let mut scene = Scene::start().await;
    scene.agent.signal(Signal::KILL);
    scene.agent.wait(SOON).await.unwrap();
    let program = script("exit 1");
    scene.camera.write("etc/moorline-agent", &program);
    scene.camera.make_program("etc/moorline-agent");
    scene
        .camera
        .write("etc/moorline-agent.sha512", hex(&program).as_bytes());
    // It has failed four times already: each costs five seconds.
    scene.camera.write("etc/agent.tries", b"4");
    scene.server.end(scene.session);
    scene.agent = scene.camera.start_daemon();
    scene.next_session().await;
    scene.reports(&format!("rolled-back={NEW}")).await;
    let died = |line: &&String| line.contains("the agent died");
    let lines = scene.agent.lines();
    assert_eq!(
        lines.iter().filter(died).count(),
        1,
        "{}",
        scene.agent.tail()
    );
    let (code, text) = scene.camera.run(&["stop"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(scene.agent.wait(SOON).await.unwrap().success());
}

/// S8.
#[tokio::test(flavor = "multi_thread")]
async fn forged_foreign_and_older_offers_are_refused_by_the_field_that_is_wrong() {
    let scene = Scene::start().await;
    let program = newer();
    let mut forged = good(&program);
    forged.version = Version(9, 9, 9);
    let foreign = offer(&program, Version(0, 1, 9), Model::new("sparc64").unwrap());
    let older = offer(&program, Version(0, 0, 9), own().target);
    for (offer, field) in [
        (forged, "signature"),
        (foreign, "target"),
        (older, "version"),
    ] {
        scene.say(&ServerLine::Upgrade(offer));
        scene.say(&ServerLine::Part {
            offset: 0,
            data: Data::new(vec![1; 756]).unwrap(),
        });
        scene.reports(&format!("bad=UPGRADE.{field}")).await;
    }
    for name in ["agent.part", "agent.offer", "agent.new"] {
        assert!(!scene.has(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_release_key_nothing_is_taken() {
    let mut scene = Scene::start().await;
    scene.agent.signal(Signal::KILL);
    std::fs::remove_file(scene.camera.path("etc/release-keys")).unwrap();
    scene.agent.wait(SOON).await.unwrap();
    scene.server.end(scene.session);
    scene.agent = scene.camera.start();
    scene.next_session().await;
    let session = scene.session;
    let lines = scene.server.all().into_iter();
    let mut statuses = lines.filter_map(|seen| match seen {
        Seen::Line(of, line) if of == session && line.starts_with("STATUS") => Some(line),
        _ => None,
    });
    let status = statuses.next().unwrap();
    assert!(
        !status.contains(" target="),
        "who would refuse all of them is offered none: {status}"
    );
    scene.say(&ServerLine::Upgrade(good(&newer())));
    scene.reports("bad=UPGRADE.signature").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_what_was_signed_are_thrown_away() {
    let scene = Scene::start().await;
    let program = script("exit 0");
    let mut spoiled = program.clone();
    *spoiled.last_mut().unwrap() ^= 1;
    scene.send(&good(&program), &spoiled, spoiled.len()).await;
    scene.reports("bad=UPGRADE.sha512").await;
    assert!(!scene.has("agent.part") && !scene.has("agent.new"));
    assert_eq!(scene.sessions, 1, "no trial");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_transfer_goes_on_where_it_was_also_after_a_power_cut() {
    let mut scene = Scene::start().await;
    let program = newer();
    scene.send(&good(&program), &program, 50_000).await;
    scene.server.end(scene.session);
    scene.next_session().await;
    scene.say(&ServerLine::Upgrade(good(&program)));
    assert!(scene.told(50_000).await >= 50_000, "the session was cut");
    scene.send(&good(&program), &program, 100_000).await;
    scene.power_cycle().await;
    scene.next_session().await;
    scene.say(&ServerLine::Upgrade(good(&program)));
    assert!(scene.told(100_000).await >= 100_000, "the power was cut");
    scene.transfer(&program).await;
    scene.trial_session().await;
    assert_eq!(scene.agent.wait(SOON).await.unwrap().code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_crashes_is_taken_back_kept_and_reported() {
    let mut scene = Scene::start().await;
    let pid = scene.agent.pid();
    scene.transfer(&script("exit 1")).await;
    scene.next_session().await;
    scene.reports(&format!("rolled-back={NEW}")).await;
    scene
        .server
        .line("LOG error agent 0.1.9 is taken back: it ended by itself")
        .await;
    assert_eq!(scene.agent.pid(), pid);
    assert!(scene.has("agent.bad") && !scene.has("agent.new") && !scene.has("moorline-agent"));

    // It knows of it after a reboot, and a better one makes it forgotten.
    scene.power_cycle().await;
    scene.next_session().await;
    scene.reports(&format!("rolled-back={NEW}")).await;
    scene.transfer(&newer()).await;
    scene.trial_session().await;
    assert_eq!(scene.agent.wait(SOON).await.unwrap().code(), Some(3));
    assert!(!scene.has("agent.bad"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_one_is_killed_with_all_of_its_children() {
    // Longer than a loaded machine takes to start a shell: it has to be there to be killed.
    let mut scene = Scene::start_with(&["--patience", "8"]).await;
    let mark = format!(
        "echo $$ >{}; sleep 3607; sleep 3607",
        scene.camera.path("pid").display()
    );
    scene.transfer(&script(&mark)).await;
    scene.next_session().await;
    scene.reports(&format!("rolled-back={NEW}")).await;
    let shell: u32 = scene.camera.read("pid").trim().parse().unwrap();
    eventually("the new agent is gone", SOON, async || {
        let gone = !Path::new(&format!("/proc/{shell}")).exists();
        (gone && children(shell, "sleep").is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_in_the_trial_leaves_the_old_one_and_counts_against_the_new_one() {
    let mut scene = Scene::start().await;
    let mark = format!("echo >{}; exec cat", scene.camera.path("tried").display());
    scene.transfer(&script(&mark)).await;
    scene.camera.file_says("tried", "\n").await;
    assert!(scene.has("agent.trial") && scene.has("agent.new"));
    scene.power_cycle().await;
    scene.next_session().await;
    scene.reports(&format!("rolled-back={NEW}")).await;
    assert!(scene.has("agent.bad") && !scene.has("agent.trial") && !scene.has("agent.new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_before_and_after_the_trial_is_gone_on_from() {
    // Before: it is whole and not yet tried. After: it has its name, and the mark of the trial is still there.
    let mut scene = Scene::start().await;
    let program = newer();
    scene.agent.signal(Signal::KILL);
    scene.agent.wait(SOON).await.unwrap();
    scene.camera.write("etc/agent.new", &program);
    scene
        .camera
        .write("etc/agent.new.sha512", hex(&program).as_bytes());
    scene.server.end(scene.session);
    scene.agent = scene.camera.start();
    // It gives its session up for the trial, perhaps before it has said anything.
    scene.trial_session().await;
    scene.trial_session().await;
    assert_eq!(scene.agent.wait(SOON).await.unwrap().code(), Some(3));

    scene.camera.write("etc/agent.trial", b"x");
    scene.agent = scene.camera.start();
    scene.next_session().await;
    scene.reports(&format!("agent={NEW}")).await;
    assert!(!scene.has("agent.trial") && !scene.has("agent.bad"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_installed_agent_is_not_started() {
    let mut scene = Scene::start().await;
    scene.agent.signal(Signal::KILL);
    scene.agent.wait(SOON).await.unwrap();
    // One bit of the flash, of a program that would be loaded, and has its stamp.
    let program = newer();
    let mut rotten = program.clone();
    let at = rotten.len() / 2;
    rotten[at] ^= 1;
    assert!(Stamp::find(&rotten).is_some());
    scene.camera.write("etc/moorline-agent", &rotten);
    scene.camera.make_program("etc/moorline-agent");
    scene
        .camera
        .write("etc/moorline-agent.sha512", hex(&program).as_bytes());
    scene.server.end(scene.session);
    scene.agent = scene.camera.start();
    scene.next_session().await;
    let status = scene.reports(&format!("rolled-back={NEW}")).await;
    assert!(
        status.contains(&format!(" agent={} ", own().version)),
        "{status}"
    );
    assert!(!scene.has("moorline-agent"));
    scene
        .agent
        .wait_for_line("it is not what was installed", SOON)
        .await
        .unwrap();

    // An upgrade of an upgrade, and the power is cut between its digest and its name: the one before is still whole.
    scene
        .power_cycle_before(|camera| {
            camera.write("etc/moorline-agent", &program);
            camera.make_program("etc/moorline-agent");
            let both = format!("{}\n{}", hex(b"the next one"), hex(&program));
            camera.write("etc/moorline-agent.sha512", both.as_bytes());
        })
        .await;
    scene.next_session().await;
    scene.reports(&format!("agent={NEW}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_brings_one_with_its_digest_and_no_signature() {
    let mut scene = Scene::start().await;
    let program = newer();
    std::fs::write(scene.camera.path("brought"), &program).unwrap();
    let path = scene.camera.path("brought").display().to_string();
    let (code, text) = scene
        .camera
        .run(&["upgrade", &path, &hex(b"another")])
        .await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("does not have this digest"), "{text}");
    assert!(!scene.has("agent.new") && !scene.has("agent.brought"));
    let df = "echo 'Filesystem 1024-blocks Used Available'; echo 'flash 3072 3052 20 99% /etc'";
    scene.camera.program("df", df);
    let (code, text) = scene.camera.run(&["upgrade", &path, &hex(&program)]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no room"), "{text}");
    assert!(!scene.has("agent.new") && !scene.has("agent.brought"));
    std::fs::remove_file(scene.camera.path("bin/df")).unwrap();

    let (code, text) = scene.camera.run(&["upgrade", &path, &hex(&program)]).await;
    assert_eq!(code, Some(0), "{text}");
    scene.trial_session().await;
    assert_eq!(scene.agent.wait(SOON).await.unwrap().code(), Some(3));
    assert!(scene.has("moorline-agent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_one_on_the_overlay_is_told_and_left_alone() {
    let scene = Scene::start().await;
    let program = newer();
    scene
        .camera
        .write("etc/agent.new", &program[..program.len() / 2]);
    // At once: the agent looks every ten seconds, and reads what is there.
    scene.camera.write(
        "etc/brought",
        format!("{}  agent.new\n", hex(&program)).as_bytes(),
    );
    let at = |name: &str| scene.camera.path("etc").join(name);
    std::fs::rename(at("brought"), at("agent.new.sha512")).unwrap();
    scene
        .server
        .line("LOG error agent.new does not have the digest")
        .await;
    assert!(!scene.has("agent.new.sha512") && !scene.has("agent.bad"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_trial_hangs_up_and_tries_again_at_the_next_start() {
    let mut scene = Scene::start().await;
    let said = scene.camera.path("said").display().to_string();
    // By the shell itself: it has two seconds, and a program would have to start in them.
    scene
        .transfer(&script(&format!(
            "echo >{said}.on; read -r word; echo \"$word\" >{said}; exit 0"
        )))
        .await;
    scene.camera.file_says("said.on", "\n").await;
    let (code, text) = scene.camera.run(&["stop"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(scene.agent.wait(SOON).await.unwrap().success());
    assert_eq!(scene.camera.read("said"), "stop\n");
    assert!(scene.has("agent.new") && scene.has("agent.new.sha512") && !scene.has("agent.trial"));
}
