//! What a camera costs the API server: a connection, a flap, a hang-up.

use moorline_testkit::{child::Signal, cluster::SOON};
use serde_json::Value;

use crate::support::{Moorline, Tenant, now_us};

/// What the replicas of mon have written to the tenant's namespace so far. Events have a budget of their own.
fn writes(moorline: &Moorline, tenant: &Tenant<'_>) -> Vec<String> {
    let all = moorline.cluster().lab().unwrap().writes().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ours = all.iter().filter(|event| {
        event["objectRef"]["namespace"] == tenant.space.name()
            && event["objectRef"]["resource"] != "events"
            && text(&event["user"]["username"]).ends_with(":moorline-mon")
    });
    let line = |event: &Value| {
        let object = &event["objectRef"];
        let (verb, resource) = (text(&event["verb"]), text(&object["resource"]));
        let (part, code) = (
            text(&object["subresource"]),
            &event["responseStatus"]["code"],
        );
        format!("{verb} {resource}/{part} {code}")
    };
    ours.map(line).collect()
}

/// The targets of the design: connect 4, a flap 1, or 2 if it is longer than 5 s, a hang-up 5.
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_costs_few_writes() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("writes").await;
    let [first, second] = moorline.pair().await;
    let yard = tenant.camera("yard", 41).await;
    // The janitor's finalizer is none of the way from tunnel to pods.
    tenant
        .until(&yard, "its finalizer", |camera| {
            camera["metadata"]["finalizers"].is_array().then_some(())
        })
        .await;
    let mut before = writes(&moorline, &tenant).len();
    let mut since = |what: &str, most: usize| {
        let all = writes(&moorline, &tenant);
        let new = all[before..].to_vec();
        before = all.len();
        assert!(new.len() <= most, "{what}: {new:#?}");
        println!("{what}: {new:?}");
    };
    let mut call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    tenant.until_stored(&yard).await;
    since("a first connection", 4);

    for (generation, replica) in [(2, &first), (3, &second)] {
        call.child.signal(Signal::KILL);
        call.child.wait(SOON).await.unwrap();
        call = yard.call_with_agent(&moorline, replica);
        tenant
            .until(&yard, "the next generation", |camera| {
                (camera["status"]["session"]["generation"] == generation).then_some(())
            })
            .await;
        let returned = now_us() / 1000;
        tenant
            .until_archived(&yard, "recordings after the flap", |archive| {
                let last = archive.segments.last().unwrap();
                u64::try_from(last.start.as_millis()).unwrap() > returned
            })
            .await;
        since("a short flap", 1);
    }
    call.child.write(b"BYE\n").await.unwrap();
    tenant.until_gone(&yard).await;
    since("a hang-up", 5);
}
