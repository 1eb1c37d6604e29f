//! A tunnel is lost or hung up: grace keeps the pods, its end drains them, and what is missing has its cause.

use std::time::Duration;

use moorline_testkit::{
    child::{Child, Signal},
    cluster::SOON,
};

use crate::support::{Moorline, Tenant, assert_in_order, now_us};

/// From the call to the first new picture in the archive, with room for a busy machine: the bar of the design is 2 s.
const BACK: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn a_flap_shorter_than_grace_keeps_the_pods_and_costs_one_gap() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("flap").await;
    let [first, second] = moorline.pair().await;
    // Its neighbour is not touched, and no picture of one gets into the other's recordings.
    let (yard, gate) = (
        tenant.camera("yard", 11).await,
        tenant.camera("gate", 12).await,
    );
    let mut call = yard.call(&moorline, &first);
    let _gate = gate.call(&moorline, &second);
    for camera in [&yard, &gate] {
        tenant.until_recorded(camera).await;
    }
    let pods = tenant.pair(&yard).await;
    tenant.until_stored(&yard).await;

    call.child.signal(Signal::KILL);
    call.child.wait(SOON).await.unwrap();
    let lost = now_us();
    // Long enough for a gap: what is shorter than a second is a hole.
    moorline_testkit::eventually("an absence of more than a second", SOON, || async {
        (now_us() > lost + 2_000_000).then_some(())
    })
    .await;
    let returned = now_us();
    let _call = yard.call(&moorline, &first);
    tenant
        .until(&yard, "generation 2", |camera| {
            (camera["status"]["session"]["generation"] == 2).then_some(())
        })
        .await;
    let archive = tenant.until_goes_on(&yard, returned).await;
    assert_eq!(tenant.pair(&yard).await, pods, "a flap touches no pod");
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    let first_back = pictures.iter().find(|stamp| stamp.sent_us > returned);
    let waited = Duration::from_micros(first_back.unwrap().sent_us - returned);
    println!("pictures go on {waited:?} after the call");
    assert!(waited < BACK, "pictures go on after {waited:?}");
    assert_eq!(archive.causes(), ["tunnel_down"], "{archive:#?}");
    let neighbour = tenant.until_goes_on(&gate, returned).await;
    assert_eq!(neighbour.causes(), Vec::<String>::new());
    neighbour.pictures(&moorline.bucket, gate.number).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_says_bye_is_drained_at_once_and_its_pods_go() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("bye").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 21).await;
    let mut call = yard.call_with_agent(&moorline, &first);
    tenant.until_recorded(&yard).await;
    // Its archiver is there a moment later.
    tenant.until_stored(&yard).await;
    let pods = tenant.pair(&yard).await;
    yard.filmed(40).await;
    call.child.write(b"BYE\n").await.unwrap();
    let bye = now_us();
    call.child.wait(SOON).await.unwrap();
    let seen = tenant.until_gone(&yard).await;
    let status = &seen["status"];
    assert_eq!(status["session"]["generation"], 1, "{status:#}");
    assert_eq!(status["away"]["cause"], "hung_up", "{status:#}");
    let after = Duration::from_micros(now_us() - bye);
    assert!(after < SOON / 2, "drained after {after:?}");
    for pod in pods {
        let object = format!("pod/{}", pod.name);
        tenant.space.until_gone(&object, SOON).await.unwrap();
    }
    // Drained: what was recorded is in the bucket, up to the last second.
    let archive = tenant.archive(&yard);
    archive.assert_covered();
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    let last = pictures.last().unwrap();
    assert!(
        last.sent_us + 1_500_000 > bye,
        "recorded until the end: {archive:#?}"
    );
    assert_in_order(&pictures, yard.number);
    assert!(
        !archive.causes().iter().any(|cause| cause != "hung_up"),
        "{archive:#?}"
    );
}

/// `kubectl get … -w`, as the guide tells to type it.
struct Watch(Child);

fn watch(tenant: &Tenant<'_>, kind: &str) -> Watch {
    let mut command = tenant.space.cluster().command();
    command.args(["-n", tenant.space.name(), "get", kind, "-w"]);
    Watch(Child::spawn("kubectl get -w", command).unwrap())
}

impl Watch {
    /// How much of it there is.
    fn shown(&self) -> usize {
        self.0.lines().len()
    }

    /// Waits for a row of this object with these words in it, behind so many others.
    async fn until(&self, after: usize, name: &str, words: &[&str]) {
        let what = format!("a row of {name} with {words:?}");
        moorline_testkit::eventually(&what, SOON, || async {
            let rows = self.0.lines();
            rows.iter()
                .skip(after)
                .filter(|row| row.starts_with(name))
                .any(|row| words.iter().all(|word| row.contains(word)))
                .then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_dbclient_is_waited_for_and_then_drained() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("kill").await;
    let [first, second] = moorline.pair().await;
    let yard = tenant.camera("yard", 31).await;
    let (cameras, running) = (watch(&tenant, "cam"), watch(&tenant, "pods"));
    let mut call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    let pods = tenant.pair(&yard).await;
    cameras.until(0, "yard", &[&first.name, "True"]).await;
    for pod in &pods {
        running.until(0, &pod.name, &["Running"]).await;
    }
    moorline_testkit::eventually("pictures", SOON, || async {
        (yard.source.counters().pictures > 40).then_some(())
    })
    .await;
    let shown = cameras.shown();
    call.child.signal(Signal::KILL);
    call.child.wait(SOON).await.unwrap();
    let lost = now_us();
    for pod in &pods {
        let object = format!("pod/{}", pod.name);
        tenant.space.until_gone(&object, SOON).await.unwrap();
    }
    let waited = Duration::from_micros(now_us() - lost);
    for pod in &pods {
        running.until(0, &pod.name, &["Terminating"]).await;
    }
    cameras.until(shown, "yard", &["False"]).await;
    let header = cameras.0.lines().into_iter().next().unwrap_or_default();
    let columns: Vec<&str> = header.split_whitespace().collect();
    let wanted = ["NAME", "READY", "MON", "ARCHIVING", "SINCE", "AGE"];
    assert_eq!(columns, wanted, "what `kubectl get cam` shows");
    assert!(
        waited >= crate::support::GRACE - Duration::from_millis(500),
        "the pods went after {waited:?}"
    );
    let seen = tenant.until_gone(&yard).await;
    assert_eq!(seen["status"]["away"]["cause"], "tunnel_down", "{seen:#}");
    let event = tenant.until_event(&yard, "Lost").await;
    let note = event["note"].as_str().unwrap_or_default();
    assert!(note.contains("power and network"), "{event:#}");
    let archive = tenant.archive(&yard);
    archive.assert_covered();
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    assert!(pictures.last().unwrap().sent_us + 1_500_000 > lost);

    // It comes back, at another replica: the next archiver explains the absence.
    let returned = now_us();
    let _call = yard.call(&moorline, &second);
    let seen = tenant.until_recorded(&yard).await;
    assert_eq!(seen["status"]["session"]["generation"], 2, "{seen:#}");
    assert_eq!(seen["status"]["session"]["mon"], second.name, "{seen:#}");
    let archive = tenant.until_goes_on(&yard, returned).await;
    assert!(
        !archive.causes().iter().any(|cause| cause != "tunnel_down"),
        "{archive:#?}"
    );
    archive.pictures(&moorline.bucket, yard.number).await;
}
