//! `UsedClasses`.

use moorline_core::camera::{Record, Source};
use moorline_core::port::{CameraAdmin, CameraChange, UsedClass, UsedClasses};
use moorline_core::segment::{Retention, Tier};

use super::{camera, id};

fn class(retention: Retention, tier: Tier) -> UsedClass {
    UsedClass { retention, tier }
}

pub(crate) async fn what_a_camera_records_is_noted_with_its_record(
    admin: &dyn CameraAdmin,
    used: &dyn UsedClasses,
) {
    let shelves = id("shelves");
    assert_eq!(used.of(&shelves), []);
    admin.add(camera("shelves", &[121])).await.unwrap();
    let full = class(Retention::Days(14), Tier::Full);
    assert_eq!(used.of(&shelves), [full]);
    let change = |record, retention| CameraChange {
        record,
        retention,
        ..CameraChange::default()
    };
    let off = change(Some(Record::Off), Some(Retention::Days(30)));
    admin.set(&shelves, off).await.unwrap();
    assert_eq!(used.of(&shelves), [full], "nothing is recorded for 30 days");
    let sub = CameraChange {
        sub: Some(Some(Source::default())),
        ..change(Some(Record::Sub), None)
    };
    admin.set(&shelves, sub).await.unwrap();
    let low = class(Retention::Days(30), Tier::Low);
    assert_eq!(used.of(&shelves), [full, low]);
    admin.remove(&shelves).await.unwrap();
    assert_eq!(
        used.of(&shelves),
        [full, low],
        "recordings outlive the record"
    );
    admin.add(camera("shelves", &[121])).await.unwrap();
    assert_eq!(used.of(&shelves), [full, low]);
    used.forget(&shelves).await.unwrap();
    assert_eq!(used.of(&shelves), [full], "what it records now stays");
    admin.remove(&shelves).await.unwrap();
    used.forget(&shelves).await.unwrap();
    used.forget(&shelves).await.unwrap();
    assert_eq!(used.of(&shelves), []);
}

pub(crate) async fn what_the_store_holds_is_added_once(used: &dyn UsedClasses) {
    let (gone, other) = (id("gone-camera"), id("acme/gone-camera"));
    let keep = class(Retention::Keep, Tier::Low);
    let week = class(Retention::Days(7), Tier::Full);
    let found = [
        (gone.clone(), keep),
        (gone.clone(), week),
        (other.clone(), keep),
    ];
    used.note(&found).await.unwrap();
    used.note(&found).await.unwrap();
    assert_eq!(used.of(&gone), [week, keep]);
    assert_eq!(used.of(&other), [keep]);
    assert!(!used.is_complete());
    used.completed().await.unwrap();
    used.completed().await.unwrap();
    assert!(used.is_complete());
}
