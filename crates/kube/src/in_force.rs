//! The record that is in force, made of what the owner wrote, what the camera's agent finds, and what the uplink can carry; and the owner's part of it.
//!
//! ```text
//! spec            ┐
//! status.found    ├─ in_force ─▶ the record that all parts go by ─ a change of it ─ written ─▶ spec
//! status.uplink   ┘
//! ```
//! What the owner wrote stands: only what it leaves open is filled in. All that the status says is foreign text or follows from it, and makes no camera
//! one that is not served. A path leads nowhere but into the camera's own tunnel.

use moorline_core::camera::{Camera, Record, RecordBy, Source};
use moorline_core::check;

use crate::convert::is_timezone;
use crate::resource::{CameraStatus, Found, FoundSource};

/// What is in force of a record as its owner wrote it.
pub(crate) fn in_force(written: Camera, status: &CameraStatus) -> Camera {
    let mut record = match &status.found {
        Some(found) => filled(written, found),
        None => written,
    };
    let is_open = record.record_by == RecordBy::Auto && record.sub.is_some();
    if is_open && status.uplink.is_some() {
        (record.record, record.record_by) = (Record::Sub, RecordBy::Uplink);
    }
    record
}

/// Fills in the paths that are left open, all that are found or, where the record would be wrong then, none.
fn filled(written: Camera, found: &Found) -> Camera {
    let mut record = written.clone();
    let path = |source: Option<&FoundSource>| source.map(|source| source.path.clone());
    if record.main.path.is_none() {
        record.main.path = path(found.main.as_ref());
    }
    // One path for both would be one stream recorded twice.
    let bare = |path: &str| path.trim_end_matches('/').to_owned();
    let main = record.main.path.as_deref().map(bare);
    if let Some(sub) = path(found.sub.as_ref()).filter(|sub| main != Some(bare(sub))) {
        let like = Source {
            path: None,
            ..record.main.clone()
        };
        record.sub.get_or_insert(like).path.get_or_insert(sub);
    }
    match check::camera(&record, is_timezone) {
        Ok(()) => record,
        Err(_) => written,
    }
}

/// The owner's part of a record that was in force as `before` and is to be `after`: what was filled in and is as it was stays out, so that it goes on
/// following the camera.
pub(crate) fn written(after: Camera, owners: &Camera, before: &Camera) -> Camera {
    let mut record = after;
    if owners.main.path.is_none() && record.main.path == before.main.path {
        record.main.path = None;
    }
    let chosen = record.record == Record::Sub && record.record_by == RecordBy::Owner;
    if owners.sub.is_none() && record.sub == before.sub && !chosen {
        record.sub = None;
    }
    let was_open = owners.sub.as_ref().is_none_or(|sub| sub.path.is_none());
    if let Some(sub) = &mut record.sub
        && was_open
        && Some(&sub.path) == before.sub.as_ref().map(|sub| &sub.path)
    {
        sub.path = None;
    }
    if record.record_by == RecordBy::Uplink {
        (record.record, record.record_by) = (Record::Main, RecordBy::Auto);
    }
    record
}

#[cfg(test)]
mod tests {
    use moorline_core::Timestamp;
    use moorline_core::camera::Login;
    use serde_json::{Value, json};

    use super::*;
    use crate::convert::of_spec;
    use crate::resource::{self, Newer, UplinkStatus};

    fn owners(spec: Value) -> Camera {
        let mut camera = resource::Camera::new("yard", serde_json::from_value(spec).unwrap());
        camera.metadata.namespace = Some("t-acme".into());
        of_spec(&camera).unwrap()
    }

    fn found(main: Option<&str>, sub: Option<&str>) -> CameraStatus {
        let source = |path: &str| FoundSource {
            path: path.to_owned(),
            codec: Some("h264".into()),
            size: None,
            newer: Newer::new(),
        };
        CameraStatus {
            found: Some(Found {
                main: main.map(source),
                sub: sub.map(source),
                newer: Newer::new(),
            }),
            ..CameraStatus::default()
        }
    }

    fn slow(status: CameraStatus) -> CameraStatus {
        CameraStatus {
            uplink: Some(UplinkStatus {
                since: Timestamp::from_millis(1),
                newer: Newer::new(),
            }),
            ..status
        }
    }

    fn paths(record: &Camera) -> (Option<&str>, Option<&str>) {
        let sub = record.sub.as_ref().and_then(|sub| sub.path.as_deref());
        (record.main.path.as_deref(), sub)
    }

    #[test]
    fn what_is_open_is_filled_in_and_what_the_owner_wrote_stands() {
        let thingino = found(Some("/ch0"), Some("/ch1"));
        for (spec, paths_in_force) in [
            (json!({}), (Some("/ch0"), Some("/ch1"))),
            (
                json!({"sources": {"main": {"path": "/own"}}}),
                (Some("/own"), Some("/ch1")),
            ),
            (
                json!({"sources": {"sub": {"path": "/small"}}}),
                (Some("/ch0"), Some("/small")),
            ),
            (
                json!({"sources": {"sub": {}}}),
                (Some("/ch0"), Some("/ch1")),
            ),
            // Read twice for one picture otherwise.
            (
                json!({"sources": {"main": {"path": "/ch1/"}}}),
                (Some("/ch1/"), None),
            ),
            (
                json!({"sources": {"sub": {"path": "/ch0"}}}),
                (None, Some("/ch0")),
            ),
        ] {
            let record = in_force(owners(spec.clone()), &thingino);
            assert_eq!(paths(&record), paths_in_force, "{spec}");
        }
        let foreign = in_force(owners(json!({})), &found(Some("rtsp://192.0.2.1/"), None));
        assert_eq!(foreign, owners(json!({})), "such as no agent may say");
    }

    #[test]
    fn a_stream_that_is_found_has_the_login_of_the_main_one() {
        let login =
            json!({"user": "admin", "passwordSecretRef": {"name": "yard-rtsp", "key": "main"}});
        let spec = json!({"sources": {"main": {"login": login, "allowBasic": true}}});
        let record = in_force(owners(spec), &found(Some("/ch0"), Some("/ch1")));
        let sub = record.sub.unwrap();
        assert_eq!(sub.login.unwrap().user, "admin");
        assert!(sub.allow_basic);
    }

    #[test]
    fn the_uplink_moves_whom_the_owner_left_to_it_alone() {
        let auto = json!({"recordBy": "auto"});
        let both = || found(Some("/ch0"), Some("/ch1"));
        let record = |spec: &Value, status: &CameraStatus| {
            let record = in_force(owners(spec.clone()), status);
            (record.record, record.record_by)
        };
        assert_eq!(record(&auto, &both()), (Record::Main, RecordBy::Auto));
        assert_eq!(
            record(&auto, &slow(both())),
            (Record::Sub, RecordBy::Uplink)
        );
        assert_eq!(
            record(&auto, &slow(found(Some("/ch0"), None))),
            (Record::Main, RecordBy::Auto),
            "there is no other stream"
        );
        assert_eq!(
            record(&json!({}), &slow(both())),
            (Record::Main, RecordBy::Owner)
        );
        assert_eq!(
            record(&json!({"record": "off"}), &slow(both())),
            (Record::Off, RecordBy::Owner)
        );
    }

    #[test]
    fn a_change_of_something_else_makes_nothing_that_was_found_the_owners() {
        let owners = owners(json!({"recordBy": "auto", "title": "Yard"}));
        let before = in_force(owners.clone(), &slow(found(Some("/ch0"), Some("/ch1"))));
        let after = Camera {
            title: "Einfahrt".into(),
            ..before.clone()
        };
        let renamed = Camera {
            title: "Einfahrt".into(),
            ..owners.clone()
        };
        assert_eq!(written(after, &owners, &before), renamed);
        let mut after = before.clone();
        let login = Login {
            user: "admin".into(),
            password: "hunter2".to_owned().into(),
        };
        for source in std::iter::once(&mut after.main).chain(after.sub.as_mut()) {
            source.login = Some(login.clone());
        }
        let kept = written(after, &owners, &before);
        assert_eq!(paths(&kept), (None, None));
        assert_eq!(kept.sub.unwrap().login, Some(login), "that is the owner's");
    }

    #[test]
    fn an_owner_may_choose_the_sub_stream_that_was_found_and_change_its_path() {
        let owners = owners(json!({"recordBy": "auto"}));
        let before = in_force(owners.clone(), &found(Some("/ch0"), Some("/ch1")));
        let chosen = Camera {
            record: Record::Sub,
            record_by: RecordBy::Owner,
            ..before.clone()
        };
        let kept = written(chosen, &owners, &before);
        assert_eq!((kept.record, paths(&kept)), (Record::Sub, (None, None)));
        assert!(kept.sub.is_some(), "a rule of the resource wants it");
        let mut other = before.clone();
        other.main.path = Some("/own".into());
        let kept = written(other, &owners, &before);
        assert_eq!(paths(&kept), (Some("/own"), None));
    }
}
