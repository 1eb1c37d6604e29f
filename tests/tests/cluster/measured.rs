//! How long it takes: the figures of `docs/reference/benchmarks.md`. Nothing is asserted but that each camera did what it was to do.
//!
//! `cargo xtask test --cluster --long --released measured` prints them, with what is released in the pods. Times are taken from the stamps of the pictures
//! that were recorded: the instant at which the camera sent the first one that lies in the archive, less the instant of its call.

use moorline_testkit::{child::Signal, cluster::SOON, eventually};

use crate::support::{Camera, Moorline, Tenant, now_us};

/// Cameras, one after another. Each connects, flaps and takes over once: the fourth claim of one within a minute would be damped.
const CAMERAS: u32 = 30;

/// Prints the distribution of some times.
fn tell(what: &str, mut micros: Vec<u64>) {
    micros.sort_unstable();
    let at = |share: usize| {
        let index = (micros.len() * share).div_ceil(100).clamp(1, micros.len()) - 1;
        micros[index] as f64 / 1e6
    };
    println!(
        "MEASURED {what}: n {}, p50 {:.2} s, p90 {:.2} s, p99 {:.2} s, longest {:.2} s",
        micros.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    );
}

/// Resident memory of a pod's process: all of it, and what is not backed by a file.
async fn resident(moorline: &Moorline, node: &str, pod: &str) -> String {
    let status = moorline.status_of(node, pod).await;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    format!(
        "{} resident, {} of it anonymous",
        field("VmRSS:"),
        field("RssAnon:")
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: measures for minutes"]
async fn connecting_flapping_and_taking_over_are_measured() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("measured").await;
    let [first, second] = moorline.pair().await;
    let (mut connects, mut flaps, mut takeovers, mut ends) = (vec![], vec![], vec![], vec![]);
    for number in 1..=CAMERAS {
        let camera = tenant.camera(&format!("camera-{number}"), number).await;
        let called = now_us();
        let mut old = camera.call(&moorline, &first);
        until_generation(&tenant, &camera, 1).await;
        plays(&camera).await;
        old.child.signal(Signal::KILL);
        old.child.wait(SOON).await.unwrap();
        let again = now_us();
        let mut old = camera.call(&moorline, &second);
        until_generation(&tenant, &camera, 2).await;
        plays(&camera).await;
        let over = now_us();
        let mut call = camera.call_with_agent(&moorline, &first);
        // Its end is what the older one is told.
        old.child.wait(SOON).await.unwrap();
        ends.push(now_us() - over);
        until_generation(&tenant, &camera, 3).await;
        plays(&camera).await;
        if number == CAMERAS {
            residents(&moorline, &tenant, &camera).await;
        }
        call.child.write(b"BYE\n").await.unwrap();
        tenant.until_gone(&camera).await;
        let archive = tenant.archive(&camera);
        let pictures = archive.pictures(&moorline.bucket, number).await;
        let sent: Vec<u64> = pictures.iter().map(|stamp| stamp.sent_us).collect();
        let after = |instant: u64| sent.iter().find(|sent| **sent > instant).unwrap() - instant;
        connects.push(after(called));
        flaps.push(after(again));
        // Pictures of the older session still come until it is over: what is without a picture counts.
        let silence = sent.windows(2).filter(|pair| pair[1] > over);
        takeovers.push(silence.map(|pair| pair[1] - pair[0]).max().unwrap());
    }
    tell("first connection to first picture archived", connects);
    tell("reconnect after a kill to first picture archived", flaps);
    tell(
        "takeover at the other replica to the end of the older session",
        ends,
    );
    tell(
        "takeover at the other replica: longest time without a picture",
        takeovers,
    );
}

/// Prints what the processes of one camera, and the replicas, take of memory.
async fn residents(moorline: &Moorline, tenant: &Tenant<'_>, camera: &Camera) {
    for pod in tenant.pair(camera).await {
        println!(
            "MEASURED {} pod: {}",
            pod.role,
            resident(moorline, &pod.node, &pod.uid).await
        );
    }
    for replica in moorline.pair().await {
        println!(
            "MEASURED mon: {}",
            resident(moorline, &replica.node, &replica.uid).await
        );
    }
}

async fn until_generation(tenant: &Tenant<'_>, camera: &Camera, generation: u64) {
    tenant
        .until(camera, "the newer generation", |camera| {
            (camera["status"]["session"]["generation"] == generation).then_some(())
        })
        .await;
}

/// Waits until three more seconds were filmed and sent.
async fn plays(camera: &Camera) {
    let from = camera.source.counters().pictures;
    eventually("pictures", SOON, || async {
        (camera.source.counters().pictures > from + 60).then_some(())
    })
    .await;
}
