//! The trial of a new agent: a good one is installed, any other is taken back and kept, whatever cuts the trial short.

use std::path::Path;

use moorline_testkit::child::Signal;
use moorline_testkit::eventually;

use super::{NEW, Scene, hex, newer, own, script};
use crate::agent::children;
use crate::server::SOON;

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
