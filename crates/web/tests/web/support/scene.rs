//! A site as people have it: cameras that are up, silent and away, and a day with gaps.

use std::time::Duration;

use moorline_base::clock::{Clock as _, SystemClock};
use moorline_core::status::{
    ArchiveReport, ArchiveState, CameraStatus, LinkStatus, OpenGap, RelayReport, RelayState,
    RtspFault,
};
use moorline_core::{CameraId, Cause, Generation, SessionId, SourceName, TimeRange, Timestamp};

use super::cameras::camera;
use super::server::House;

/// The wall clock, in whole seconds.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(SystemClock.wall_ms() / 1000 * 1000)
}

/// So many seconds ago.
pub(crate) fn ago(seconds: u64) -> Timestamp {
    now() - Duration::from_secs(seconds)
}

pub(crate) fn id(text: &str) -> CameraId {
    text.parse().unwrap()
}

/// A zone in which it is this hour, 11 to 13.
pub(crate) fn zone_at(hour: i64) -> String {
    let utc = i64::from(now().time_of_day().hour);
    // The sign of these names is that of POSIX: west is positive.
    format!("Etc/GMT{:+}", utc - hour)
}

/// Front door (live), yard (silent), gate (away), and a camera of somebody else.
pub(crate) async fn house() -> House {
    let created = ago(3 * 86_400);
    let mut cameras = vec![
        camera("front-door", "Front door", 1, created),
        camera("yard", "Yard <b>& garden</b>", 2, created),
        camera("gate", "Gate", 3, created),
        camera("acme/shop", "Their shop", 4, created),
    ];
    cameras[0].site = Some("Main street 5".to_owned());
    // One in the afternoon, so that what happened an hour ago happened today.
    cameras[0].timezone = zone_at(13);
    let house = House::open(cameras).await;
    house.relays.start(&id("front-door"));
    house.relays.start(&id("acme/shop"));
    tell(&house);
    record(&house);
    house
}

/// A camera that is up, plays and is recorded.
pub(crate) fn live_status(camera: &str) -> CameraStatus {
    CameraStatus {
        relays: vec![RelayReport {
            source: SourceName::Main,
            state: RelayState::Playing,
            since: ago(3 * 3600),
            path: Some("/ch0".to_owned()),
            media: vec!["H.264 640x360".to_owned()],
            bits_per_second: 1_870_000,
            readers: 2,
            pictures: 162_000,
            pictures_lost: 3,
            resyncs: 0,
        }],
        archive: Some(ArchiveReport {
            state: ArchiveState::Recording,
            synced_until: Some(now()),
            durable_until: Some(ago(22)),
            silent_since: None,
            spool_bytes: 9_000_000,
            audio_note: None,
            store_error: None,
            waits: Default::default(),
            shut_out: false,
        }),
        durable_until: Some(ago(22)),
        recorded_until: Some(ago(22)),
        said: vec![("temp".to_owned(), "41".to_owned())],
        client: Some("SSH-2.0-dropbear_2022.83".to_owned()),
        ..CameraStatus::new(
            id(camera),
            LinkStatus::Up {
                generation: Generation(7),
                session: SessionId(3),
                peer: Some("203.0.113.9:40122".parse().unwrap()),
            },
            ago(3 * 3600 + 700),
        )
    }
}

fn tell(house: &House) {
    house.cameras.tell(live_status("front-door"));
    house.cameras.tell(live_status("acme/shop"));
    let mut silent = live_status("yard");
    silent.relays[0].state = RelayState::Refused {
        fault: RtspFault::Unauthorized,
    };
    silent.relays[0].pictures = 0;
    silent.gaps = vec![(
        OpenGap {
            since: ago(260),
            cause: Cause::RtspError,
        },
        None,
    )];
    house.cameras.tell(silent);
    let mut away = live_status("gate");
    away.link = LinkStatus::Absent;
    away.link_since = ago(9000);
    away.relays.clear();
    away.archive = None;
    away.durable_until = Some(ago(9000));
    away.recorded_until = Some(ago(9000));
    away.gaps = vec![(
        OpenGap {
            since: ago(9000),
            cause: Cause::TunnelDown,
        },
        None,
    )];
    house.cameras.tell(away);
}

/// Three hours of the front door with three gaps, the newest 70 s ago, and media since: so that the end of no segment of 60 s falls into the
/// seconds in which a test asks.
fn record(house: &House) {
    let door = id("front-door");
    let span = |from, to| TimeRange::new(house.before(from), house.before(to));
    let archive = &house.archive;
    archive.expire(&door, house.before(40_000));
    archive.record(&door, span(30_000, 10_800));
    archive.gap(&door, span(10_800, 7_200), Cause::TunnelDown);
    archive.record(&door, span(7_200, 3_000));
    archive.gap(&door, span(3_000, 2_000), Cause::CameraSilent);
    archive.record(&door, span(2_000, 310));
    archive.gap(&door, span(310, 70), Cause::Restart);
    archive.record_on(&door, house.before(70));
    archive.gap(&door, span(40_000, 30_000), Cause::Disabled);
}
