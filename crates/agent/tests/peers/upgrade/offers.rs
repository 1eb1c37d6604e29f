//! What is offered or brought: taken whole and as it was signed, or refused by the field that is wrong.

use moorline_control::{Data, Model, ServerLine, Version};
use moorline_testkit::child::Signal;

use super::{Scene, good, hex, newer, offer, own, script};
use crate::server::{SOON, Seen};

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
