//! Cards that enrol nobody.

use std::path::Path;

use super::{LATER, recorded, says, server, wall};
use crate::support::{Moorline, listening, quick};

/// A key that no server has.
const NOBODY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

/// Changes the lines of a card's file.
fn forge(file: &Path, change: impl Fn(&str) -> String) {
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<String> = text.lines().map(change).collect();
    std::fs::write(file, lines.join("\n") + "\n").unwrap();
}

async fn left(server: &Moorline) -> u64 {
    let list = server.cli(&["camera", "enrolments"]).await;
    list[0]["left"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_is_never_talked_to() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let server = server("").await;
    let card = super::card(&server, "roof").await;
    forge(&card, |line| match line.strip_prefix("key ") {
        Some(key) if key.len() == NOBODY.len() => format!("key {NOBODY}"),
        // One pin, of the algorithm that is negotiated.
        Some(_) => String::new(),
        None => line.to_owned(),
    });
    wall.put(&card, "enroll").await.unwrap();
    let camera = wall.power_on().await.unwrap();
    for _ in 0..2 {
        // dbclient ends, or is ended, and is called again.
        let mark = camera.machine().mark();
        says(&camera, mark, "session with the endpoint ended: hostkey").await;
    }
    assert_eq!(
        left(&server).await,
        1,
        "the token has been shown to somebody"
    );
    assert!(wall.on_card().await.unwrap().contains("enroll"));
    camera
        .order("! test -e /etc/moorline/agent.conf")
        .await
        .unwrap();
}

/// The token came to it: a call that fails before makes no camera either.
async fn logs(server: &mut Moorline, what: &str) {
    let line = server.child().wait_for_line(what, LATER).await;
    line.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_was_used_or_is_wrong_makes_no_camera() {
    let (_source, streamer) = listening(quick(7));
    let (Some(first), Some(second), Some(third)) = (wall(streamer), wall(streamer), wall(streamer))
    else {
        return;
    };
    let mut server = server("").await;
    let _first = recorded(&server, &first, "roof").await;
    // What the card held, kept by somebody.
    let used = server.place().join("card-roof");
    second.put(&used, "enroll").await.unwrap();
    let camera = second.power_on().await.unwrap();
    says(&camera, 0, "session with the endpoint ended").await;
    logs(&mut server, "an enrolment token was used by a second key").await;
    camera
        .order("! test -e /etc/moorline/agent.conf")
        .await
        .unwrap();
    camera.power_cut().await.unwrap();

    let guessed = super::card(&server, "yard").await;
    forge(&guessed, |line| match line.strip_prefix("token ") {
        Some(token) => format!("token {}", token.chars().rev().collect::<String>()),
        None => line.to_owned(),
    });
    third.put(&guessed, "enroll").await.unwrap();
    let camera = third.power_on().await.unwrap();
    says(&camera, 0, "session with the endpoint ended").await;
    logs(&mut server, "enrolment refused").await;
    camera
        .order("! test -e /etc/moorline/agent.conf")
        .await
        .unwrap();

    let list = server.cli(&["camera", "list"]).await;
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    let view = server.camera("roof").await;
    assert_eq!(view["keys"].as_array().unwrap().len(), 1, "{view}");
}
