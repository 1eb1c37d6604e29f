//! A camera that others watch too: GStreamer's server takes their player's PLAY for a seek, and its RTP time starts anew for all.

use moorline_testkit::gst::{GstCamera, GstOptions, Video};
use moorline_testkit::or_skip;

use crate::support::foreign::{Foreign, codecs, export, flushes, pictures, watch};
use crate::support::{Moorline, SOON};

/// Pictures from one key frame to the next, and in two seconds.
const GOP: u32 = 30;
/// Pictures that a flush takes out of the camera's own queues, behind the place where they are told.
const IN_THE_PIPE: usize = 2;
/// Pictures before and after each event.
const ENOUGH: usize = 45;

#[tokio::test(flavor = "multi_thread")]
async fn time_that_others_set_back_costs_a_group_of_pictures_and_nothing_else() {
    let options = GstOptions {
        tell: true,
        key_interval: GOP,
        ..GstOptions::default()
    };
    let Some(camera) = or_skip(GstCamera::start(options).await) else {
        return;
    };
    // Somebody watches before us, and we are no reason for a jump of theirs.
    let _first = watch(&camera);
    let seen = camera.sends("pictures for the first", SOON, |sent| {
        pictures(sent).len() >= ENOUGH
    });
    let before = flushes(&seen.await.unwrap()).len();
    let mut moorline = Moorline::with_short_segments().await;
    let yard = Foreign::near(&moorline, camera, Video::H264).await;
    moorline.until_recording("yard").await;
    yard.recorded_further(&moorline, ENOUGH).await;
    assert_eq!(yard.flushes().len(), before, "our PLAY was a seek");

    // Twice somebody else comes, whose player asks for the beginning.
    let mut others = Vec::new();
    for jumps in 1..=2 {
        others.push(yard.watched_directly());
        let flushed = yard
            .camera
            .sends("a seek", SOON, |sent| flushes(sent).len() >= before + jumps);
        flushed.await.unwrap_or_else(|error| panic!("{error}"));
        yard.recorded_further(&moorline, ENOUGH).await;
    }

    let file = export(&moorline).await;
    let recorded = yard.places(&file).await;
    let (first, last) = (recorded[0], *recorded.last().unwrap());
    let missing: Vec<usize> = (first..last)
        .filter(|at| recorded.binary_search(at).is_err())
        .collect();
    let jumps = yard.flushes().split_off(before);
    assert!(
        jumps.iter().all(|at| (first..last).contains(at)),
        "{jumps:?}"
    );
    let excused = |at: &usize| {
        let near =
            |jump: &usize| (jump.saturating_sub(IN_THE_PIPE)..jump + GOP as usize).contains(at);
        jumps.iter().any(near)
    };
    assert!(
        missing.iter().all(excused),
        "missing: {missing:?}, jumps before {jumps:?}"
    );
    assert_eq!(codecs(file.to_str().unwrap()).await, ["h264"]);

    // What is missing for a second or more says why; nothing has another cause.
    let rows = moorline.segments("yard").await;
    let rows = rows.iter().skip_while(|row| row["kind"] != "recorded");
    for row in rows.filter(|row| row["kind"] != "recorded") {
        assert_eq!(row["cause"], "clock_step", "{row}");
    }
    let lines = moorline.child().lines();
    let ended = lines
        .iter()
        .filter(|line| line.contains("a new take begins") && line.contains("clock_step"));
    assert_eq!(ended.count(), 2, "each jump ends a take");
}
