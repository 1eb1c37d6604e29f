//! A tenant is suspended, resumed and removed while its cameras are connected.

use moorline_testkit::cluster::{SOON, condition};
use serde_json::Value;

use crate::support::{Moorline, now_us};

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_suspended_resumed_and_removed_under_live_tunnels() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let (tenant, bystander) = (
        moorline.tenant("leaves").await,
        moorline.tenant("stays").await,
    );
    let (yard, gate) = (
        tenant.camera("yard", 241).await,
        bystander.camera("gate", 242).await,
    );
    let [first, second] = moorline.pair().await;
    // Each calls once: what is refused again and again is held off for a while, and with it the network of all tests.
    let (mut call, _gate) = (yard.call(&moorline, &first), gate.call(&moorline, &second));
    tenant.until_recorded(&yard).await;
    bystander.until_recorded(&gate).await;
    let kept = bystander.pair(&gate).await;
    yard.filmed(60).await;

    let suspended = now_us();
    moorline
        .cli(&["tenant", "suspend", &tenant.name, "--cluster"])
        .await;
    call.child.wait(SOON).await.unwrap();
    let seen = tenant.until_gone(&yard).await;
    let away = &seen["status"]["away"];
    assert_eq!(away["cause"], "disabled", "{seen:#}");
    tenant.until_without_pods(&yard).await;
    let archive = tenant.archive(&yard);
    archive.assert_covered();
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    let last = pictures.last().unwrap().sent_us;
    assert!(
        last + 1_500_000 > suspended,
        "recorded up to its end: {archive:#?}"
    );
    let says = |tenant: &Value| {
        let all = tenant["status"]["conditions"].as_array()?;
        let ready = all.iter().find(|one| one["type"] == "Ready")?;
        (ready["reason"] == "Suspended").then_some(())
    };
    let object = ["tenant", &*tenant.name];
    moorline
        .cluster()
        .until(&object, "suspended", SOON, says)
        .await
        .unwrap();

    moorline
        .cli(&["tenant", "resume", &tenant.name, "--cluster"])
        .await;
    let resumed = now_us();
    // The replica has heard of it a moment later.
    let back = yard.keeps_calling(&moorline, first.ssh());
    tenant.until_recorded(&yard).await;
    let archive = tenant.until_goes_on(&yard, resumed).await;
    archive.pictures(&moorline.bucket, yard.number).await;
    let mut strange = archive.causes();
    strange.retain(|cause| cause != "disabled" && cause != "tunnel_down");
    assert_eq!(strange, Vec::<String>::new(), "{archive:#?}");

    drop(back);
    let third = now_us();
    let mut call = yard.call(&moorline, &second);
    tenant
        .until(&yard, "the last session", |camera| {
            let session = &camera["status"]["session"];
            (session["generation"] == 3 && session["mon"] == second.name.as_str()).then_some(())
        })
        .await;
    // Its archiver hears of it a moment later.
    tenant.until_goes_on(&yard, third).await;
    yard.filmed(60).await;
    let removed = now_us();
    moorline
        .cli(&["tenant", "rm", &tenant.name, "--yes", "--cluster"])
        .await;
    call.child.wait(SOON).await.unwrap();
    let gone = |seen: &Value| seen.is_null().then_some(());
    moorline
        .cluster()
        .until(&object, "gone", SOON * 2, gone)
        .await
        .unwrap();
    // Kubernetes takes its time with a namespace in which a pod with a long grace was just ending.
    let space = ["namespace", tenant.space.name()];
    let going = |seen: &Value| {
        let told = &seen["metadata"]["deletionTimestamp"];
        (seen.is_null() || told.is_string()).then_some(())
    };
    let waited = moorline.cluster().until(&space, "going", SOON, going);
    waited.await.unwrap();
    // Its recordings stay, up to the end.
    let archive = tenant.archive(&yard);
    archive.assert_covered();
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    let last = pictures.last().unwrap().sent_us;
    assert!(
        last + 1_500_000 > removed,
        "recorded up to its end: {archive:#?}"
    );

    // The other's camera has noticed nothing.
    let archive = bystander.until_goes_on(&gate, removed).await;
    assert_eq!(archive.causes(), Vec::<String>::new(), "{archive:#?}");
    archive.pictures(&moorline.bucket, gate.number).await;
    assert_eq!(bystander.pair(&gate).await, kept);
    let seen = bystander.until_recorded(&gate).await;
    assert_eq!(condition(&seen, "Ready"), Some("True"));
}
