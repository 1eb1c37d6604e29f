//! An installed agent that dies or is damaged gives way to the image's own.

use moorline_control::{ServerLine, Stamp};
use moorline_testkit::child::Signal;

use super::{NEW, Scene, good, hex, newer, own, script};
use crate::agent::PROGRAM;
use crate::server::SOON;

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
