//! The chain to a camera as its resource tells it: who holds the tunnel, and which condition does not hold.

use moorline_kube::Known;
use moorline_web::api::CameraView;

use super::{Link, is_up, server};

/// The link that a condition is about, by the condition. Away from its tunnel a camera has no pods, and nothing is told of them.
const OF_PODS: [(&str, &str); 3] = [
    ("WorkloadsReady", "pods"),
    ("RelayReady", "pictures"),
    ("Archiving", "archive"),
];
/// What holds with and without a tunnel.
const DUPLICATE: &str = "DuplicateKey";
const READY: &str = "Ready";
/// A camera that is set not to record is well.
const RECORD_OFF: &str = "RecordOff";
/// The reason of a resource with a field that is wrong.
const INVALID: &str = "Invalid";

/// What the cluster sees.
pub(super) fn links(camera: &CameraView, known: &Known) -> Vec<Link> {
    let link = |step: &str, ok, text| Link {
        who: "cluster",
        step: step.to_owned(),
        ok,
        text,
    };
    let up = is_up(camera);
    let mut links: Vec<Link> = server(camera).into_iter().take(1).collect();
    for tunnel in &mut links {
        tunnel.who = "cluster";
        let holder = known.session().and_then(|session| session.mon.as_deref());
        if let Some(holder) = holder.filter(|_| up) {
            tunnel.text.push_str(&format!(", held by {holder}"));
        }
    }
    let status = known.object.status.as_ref();
    let conditions = || status.into_iter().flat_map(|status| &status.conditions);
    let of = |kind: &str| conditions().find(|condition| condition.type_ == kind);
    let told = |reason: &str, message: &str| match message {
        "" => reason.to_owned(),
        message => format!("{reason}: {message}"),
    };
    let of_pods = OF_PODS.iter().filter(|_| up);
    for (kind, step) in of_pods {
        links.extend(of(kind).map(|condition| {
            let well = condition.status == "True" || condition.reason == RECORD_OFF;
            link(step, well, told(&condition.reason, &condition.message))
        }));
    }
    let duplicate = of(DUPLICATE).filter(|condition| condition.status == "True");
    let invalid = of(READY).filter(|condition| condition.reason == INVALID);
    for (step, condition) in [("key", duplicate), ("resource", invalid)] {
        links.extend(
            condition
                .map(|condition| link(step, false, told(&condition.reason, &condition.message))),
        );
    }
    links
}

#[cfg(test)]
mod tests {
    use moorline_kube::{Cache, resource};
    use serde_json::{Value, json};

    use super::*;

    fn view(state: &str) -> CameraView {
        let view = json!({
            "id": "acme/yard", "title": "yard", "site": null, "timezone": "UTC", "created": "2026-11-20T20:00:00Z", "keys": [],
            "access": {"kind": "tunnel", "forwards": []}, "main": {"path": null, "user": null, "allow_basic": false}, "sub": null,
            "record": "main", "record_by": "owner", "tier": "full", "retention": "r014", "enabled": "yes", "bytes_per_day": null, "disk_days": null,
            "status": {"link": {"state": state}, "link_since": "2026-11-20T21:00:00Z", "gaps": []}, "rtsp_url": "rtsp://h:8554/yard", "notes": [],
        });
        serde_json::from_value(view).unwrap()
    }

    fn known(status: Value) -> Known {
        let spec = serde_json::from_value(json!({})).unwrap();
        let mut camera = resource::Camera::new("yard", spec);
        camera.metadata.namespace = Some("t-acme".into());
        camera.metadata.uid = Some("u".into());
        camera.metadata.resource_version = Some("1".into());
        camera.status = Some(serde_json::from_value(status).unwrap());
        let cache = Cache::default();
        cache.saw_camera(camera);
        cache.camera(&"acme/yard".parse().unwrap()).unwrap()
    }

    fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-11-20T21:10:05Z"})
    }

    fn steps(links: &[Link]) -> Vec<(&str, bool, &str)> {
        let steps = links.iter();
        steps
            .map(|link| (link.step.as_str(), link.ok, link.text.as_str()))
            .collect()
    }

    #[test]
    fn each_link_of_the_chain_has_the_words_of_its_condition() {
        let known = known(json!({
            "session": {"generation": 3, "mon": "moorline-mon-1"},
            "conditions": [
                condition("WorkloadsReady", "True", "Running", ""),
                condition("RelayReady", "False", "CameraRefuses", "401 Unauthorized"),
                condition("Archiving", "False", "RecordOff", ""),
                condition("Ready", "False", "CameraRefuses", "401 Unauthorized"),
            ],
        }));
        assert_eq!(
            steps(&links(&view("up"), &known)),
            [
                ("tunnel", true, "up, held by moorline-mon-1"),
                ("pods", true, "Running"),
                ("pictures", false, "CameraRefuses: 401 Unauthorized"),
                ("archive", true, "RecordOff"),
            ]
        );
    }

    #[test]
    fn of_pods_that_are_gone_nothing_is_told_and_of_a_key_of_another_camera_all_the_same() {
        let known = known(json!({
            "session": {"generation": 3},
            "conditions": [
                condition("WorkloadsReady", "False", "Lost", "the tunnel was lost"),
                condition("DuplicateKey", "True", "KeyOfOlderCamera", "acme/gate has it"),
            ],
        }));
        assert_eq!(
            steps(&links(&view("absent"), &known)),
            [
                ("tunnel", false, "absent since 2026-11-20 21:00:00 UTC"),
                ("key", false, "KeyOfOlderCamera: acme/gate has it"),
            ]
        );
    }
}
