//! A camera as the API shows it: how it is set, what it does, and what to do about what is wrong.

use std::time::Duration;

use moorline_core::Cause;
use moorline_core::camera::{Access as Reach, Camera, RecordBy, RefusalReason, Source};
use moorline_core::network::listed;
use moorline_core::segment::Tier;
use moorline_core::status::{ArchiveState, CameraStatus, LinkStatus, RelayState};

use crate::api::{CameraView, KeyView, SourceView, USUAL_BITRATE};
use crate::site::Site;

/// A camera calls within this, if all is well.
const SOON: Duration = Duration::from_secs(60);

/// A camera as the API shows it.
pub(super) fn view(site: &Site, camera: &Camera) -> CameraView {
    shown(site, camera, disk_days(site))
}

/// The same, where it is known how long the disk holds: all cameras are asked for that, so once for a whole list.
pub(super) fn shown(site: &Site, camera: &Camera, disk_days: Option<u32>) -> CameraView {
    let status = site.statuses.get(&camera.id);
    let bytes_per_day = recorded_rate(camera, status.as_ref()).map(|bits| bits / 8 * 86_400);
    let source = |source: &Source| SourceView {
        path: source.path.clone(),
        user: source.login.as_ref().map(|login| login.user.clone()),
        allow_basic: source.allow_basic,
    };
    CameraView {
        id: camera.id.to_string(),
        title: camera.title.clone(),
        site: camera.site.clone(),
        timezone: camera.timezone.clone(),
        created: camera.created,
        keys: camera
            .keys
            .iter()
            .map(|key| KeyView {
                fingerprint: key.key.fingerprint(),
                key: key.key.clone(),
                added: key.added,
                comment: key.comment.clone(),
            })
            .collect(),
        access: camera.access.clone(),
        main: source(&camera.main),
        sub: camera.sub.as_ref().map(source),
        record: camera.record,
        record_by: camera.record_by,
        streampoint: camera.streampoint.clone(),
        allow_from: camera.allow_from.clone(),
        tier: camera.record.source().map(Tier::of_source),
        retention: camera.retention,
        enabled: camera.enabled,
        bytes_per_day,
        disk_days,
        notes: called_from_elsewhere(site, camera)
            .or_else(|| does_not_call(site, camera, status.as_ref()))
            .into_iter()
            .chain(notes(camera, status.as_ref()))
            .collect(),
        status: CameraView::status_value(status.as_ref()),
        rtsp_url: format!(
            "rtsp://{}:{}/{}",
            site.place.viewer_host,
            site.place.ports.rtsp,
            camera.id.name()
        ),
    }
}

/// Bits per second of what is recorded of a camera, once it flows.
fn recorded_rate(camera: &Camera, status: Option<&CameraStatus>) -> Option<u64> {
    let recorded = camera.record.source()?;
    let relay = status?
        .relays
        .iter()
        .find(|relay| relay.source == recorded)?;
    (relay.bits_per_second > 0).then_some(relay.bits_per_second)
}

/// The same of a camera that is away, too: whoever was recorded is recorded again. One that has never come takes no room.
fn expected_rate(camera: &Camera, status: Option<&CameraStatus>) -> Option<u64> {
    let comes_back = || {
        let was_recorded = status?.recorded_until.is_some();
        let is_wanted = camera.enabled.is_yes() && camera.record.source().is_some();
        (was_recorded && is_wanted).then_some(USUAL_BITRATE)
    };
    recorded_rate(camera, status).or_else(comes_back)
}

/// How many days of all cameras the disk holds.
pub(super) fn disk_days(site: &Site) -> Option<u32> {
    let disk = site.operations.disk()?;
    let set = site.cameras.snapshot();
    let rates = set
        .iter()
        .filter_map(|camera| expected_rate(camera, site.statuses.get(&camera.id).as_ref()));
    let per_day = rates.sum::<u64>() / 8 * 86_400;
    disk.bound
        .checked_div(per_day)
        .map(|days| u32::try_from(days).unwrap_or(u32::MAX))
}

/// That its key was offered from a network that its owner does not list, and how it is let in from there.
fn called_from_elsewhere(site: &Site, camera: &Camera) -> Option<String> {
    if camera.allow_from.is_empty() {
        return None;
    }
    let refused = site.strangers.pending().into_iter().find(|stranger| {
        stranger.reason == RefusalReason::Elsewhere.as_str()
            && !camera.may_call_from(stranger.peer.ip())
            && camera.keys.iter().any(|key| key.key == stranger.key)
    })?;
    let from = refused.peer.ip().to_canonical();
    let allowed = listed(&camera.allow_from);
    Some(format!(
        "a call with its key from {from} was refused at {}: it may call from {allowed} alone; moorline camera set {} --allow-from {allowed},{from} lets it in from there",
        refused.last,
        camera.id.in_command()
    ))
}

/// Where to look when there is no tunnel: whether it was refused stands elsewhere, under the key that it offered. Nothing in its first moments: it
/// was just added, or is about to come back.
fn does_not_call(site: &Site, camera: &Camera, status: Option<&CameraStatus>) -> Option<String> {
    let status = status?;
    let gap = status.open_gap()?;
    let is_away = site.now().since(gap.since) >= SOON
        && matches!(camera.access, Reach::Tunnel { .. })
        && camera.streampoint.is_none()
        && status.link == LinkStatus::Absent
        && gap.cause == Cause::TunnelDown;
    let teller = match site.strangers.are_shown() {
        true => "moorline camera pending",
        false => "moorline camera pending --cluster",
    };
    is_away.then(|| {
        format!("no tunnel: see whether the camera has power and network, and runs its tunnel; if it calls and is refused, {teller} says why")
    })
}

/// What is wrong, and what to do about it.
fn notes(camera: &Camera, status: Option<&CameraStatus>) -> Vec<String> {
    let Some(status) = status else {
        return Vec::new();
    };
    let mut notes = status.troubles.clone();
    if camera.record_by == RecordBy::Uplink {
        notes.push("records the sub-stream, since the uplink dropped pictures of the main one; it goes back by itself".to_owned());
    }
    if let Some(there) = &camera.streampoint {
        let stands = status.said.iter().find(|(key, _)| key == "elsewhere");
        let stands = stands.map_or_else(
            // On a cluster what an agent says of it is written nowhere.
            || "how that stands is not known here: that server says whether it came".to_owned(),
            |(_, said)| format!("its agent says: {said}"),
        );
        notes.push(format!(
            "its stream goes to {}:{}, not here; {stands}",
            there.host, there.port
        ));
    }
    let is_seen = |(key, value): &(String, String)| key == "enroll" && value == "1";
    if status.said.iter().any(is_seen) {
        notes.push("its agent found a file enroll and ignores it, since the camera is enrolled: did somebody else put a card in? moorline-agent reset on the camera lets it enrol anew".to_owned());
    }
    for relay in &status.relays {
        let why = match relay.state {
            RelayState::Refused { fault } => fault.as_str(),
            _ => "unreachable",
        };
        if let Some(hint) = relay.state.hint(camera) {
            notes.push(format!("{} stream ({why}): {hint}", relay.source));
        }
    }
    if let Some(archive) = &status.archive {
        notes.extend(archive.audio_note.clone());
        if archive.state == ArchiveState::DiskFull {
            notes.push("the disk for recordings is full: make room on it, or lower archive.disk_free; recording goes on by itself".to_owned());
        }
        notes.extend(archive.store_error.as_ref().map(|error| {
            format!("nothing can be stored: {error}; it waits on the disk meanwhile (moorline doctor tries the store and says what to do)")
        }));
    }
    notes
}
