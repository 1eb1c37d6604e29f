//! SIGHUP: what an operator edits most is taken while cameras, players and tasks go on. A file that is wrong changes nothing at all (P11), and what
//! waits for a restart is named.

use moorline_testkit::{child::Signal, eventually, http::Receiver};

use crate::support::{Moorline, SOON, assert_in_order, ffmpeg, simulated, unplayable};

/// Writes the file anew (`settings` begin within `[archive]`), has it read, and gives the line that says what became of it.
async fn reload(moorline: &mut Moorline, settings: &str, said: &str) -> String {
    let text = format!("[archive]\ndisk_free = \"64MiB\"\ndrain = \"10s\"\n{settings}");
    std::fs::write(moorline.place().join("moorline.toml"), text).unwrap();
    let child = moorline.child();
    let mark = child.mark();
    child.signal(Signal::HUP);
    let pick = |line: &str| line.contains(said).then(|| line.to_owned());
    let told = child.wait_for_after(mark, said, SOON, pick).await;
    told.unwrap_or_else(|error| panic!("{error}"))
}

fn alert(hook: &Receiver) -> String {
    format!(
        "[alert]\nwebhook = \"{}\"\nwebhook_private = [\"127.0.0.0/8\"]\nwebhook_http = true\n",
        hook.url("/hook")
    )
}

fn calls(hook: &Receiver, target: &str) -> usize {
    let requests = hook.requests();
    let calls = requests.iter().filter(|request| request.target == target);
    calls.count()
}

/// The retention that a new camera gets.
async fn kept(moorline: &Moorline, name: &str) -> String {
    moorline.cli(&["camera", "add", name]).await;
    let shown = moorline.cli(&["camera", "show", name]).await;
    shown["retention"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_retention_and_limits_are_taken_and_what_is_not_is_named() {
    let (first, second) = (
        Receiver::start().await.unwrap(),
        Receiver::start().await.unwrap(),
    );
    let mut moorline = Moorline::start().await;
    let _camera = simulated(&moorline, "yard", 1).await;
    moorline.until_recording("yard").await;
    let url = moorline.url("rtsp", "yard");
    let player = ffmpeg(&["-rtsp_transport", "tcp"], &url);
    player.pictures(10).await;
    assert_eq!(kept(&moorline, "before").await, "r014");

    let settings = format!(
        "keep_days = 3\n{}[rtsp]\nstreams_per_user = 1\n[tunnel]\ngrace = \"7s\"\n",
        alert(&first)
    );
    reload(&mut moorline, &settings, "reloaded: ").await;
    let log = moorline.child().lines();
    let waits = |line: &&String| line.contains("take effect at a restart");
    let told = log.iter().find(waits).unwrap();
    assert!(told.contains("\"tunnel.grace\""), "that alone: {told}");
    moorline.cli(&["alert", "test"]).await;
    first.wait_for(1, SOON).await.unwrap();
    assert_eq!(kept(&moorline, "after").await, "r003");
    let refused = unplayable(&url).await;
    assert!(refused.contains("453"), "the player has it: {refused}");

    let settings = format!(
        "keep_days = 5\n{}heartbeat = \"{}\"\n[rtsp]\nstreams_per_user = 2\n",
        alert(&second),
        second.url("/beat")
    );
    reload(&mut moorline, &settings, "reloaded: ").await;
    moorline.cli(&["alert", "test"]).await;
    eventually("the new addresses are called", SOON, async || {
        let both = calls(&second, "/hook") == 1 && calls(&second, "/beat") >= 1;
        both.then_some(())
    })
    .await;
    assert_eq!(calls(&first, "/hook"), 1, "the old one is called no more");
    assert_eq!(kept(&moorline, "later").await, "r005");
    ffmpeg(&["-rtsp_transport", "tcp"], &url).pictures(5).await;

    let seen = player.stamps().len();
    assert_in_order(&player.pictures(seen + 20).await, 1);
    moorline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_file_that_is_wrong_changes_nothing_and_is_told_with_field_value_and_cure() {
    let hook = Receiver::start().await.unwrap();
    let mut moorline = Moorline::start().await;
    let right = format!("keep_days = 3\n{}", alert(&hook));
    reload(&mut moorline, &right, "reloaded: ").await;
    // Each beside something that is right, and would be seen if it were taken.
    for (number, (wrong, parts)) in [
        (
            "[rtsp]\nstreams_per_user = 0\n",
            ["rtsp.streams_per_user = 0", "write 1 to 4096"],
        ),
        (
            "[alert]\nheartbeat_every = \"1s\"\nheartbeat = \"https://example.com/\"\n",
            ["alert.heartbeat_every", "10s"],
        ),
        (
            "[server]\nlog = \"inof\"\n",
            ["server.log = ", "write a level"],
        ),
        (
            "[server]\ntls_certificate = \"/nowhere.pem\"\ntls_key = \"/nowhere.key\"\n",
            ["/nowhere.pem", "server.tls_certificate"],
        ),
        // The segment would wait for a restart: by the one of now it would alarm all the time.
        (
            "segment = \"2s\"\n[alert]\nafter = \"5s\"\n",
            ["alert.after = 5s", "restart"],
        ),
        ("[allert]\n", ["allert", "alert"]),
    ]
    .into_iter()
    .enumerate()
    {
        let settings = format!("keep_days = 9\n{wrong}");
        let told = reload(&mut moorline, &settings, "not reloaded").await;
        for part in parts {
            assert!(told.contains(part), "no {part:?} in {told}");
        }
        assert_eq!(kept(&moorline, &format!("yard-{number}")).await, "r003");
        moorline.cli(&["alert", "test"]).await;
        hook.wait_for(number + 1, SOON).await.unwrap();
    }
    moorline.stop().await;
}
