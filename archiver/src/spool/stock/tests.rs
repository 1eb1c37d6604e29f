//! What is next, what is durable and what is given up.

use std::time::Duration;

use super::*;

fn key(camera: &str, start: i64, sequence: u32) -> ObjectKey {
    format!(
        "v1/r030/home/{camera}/{}",
        format_args!(
            "1970/01/01/{:02}{:02}{:02}.000Z_00060000_g0000000001_00000001_{sequence:06}_aabbcc_full.mp4",
            start / 3600, start / 60 % 60, start % 60
        )
    )
    .parse()
    .unwrap()
}

fn lane(camera: &str) -> Lane {
    Lane {
        camera: camera.parse().unwrap(),
        tier: Tier::Full,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn stock(camera: &str, segments: i64) -> Stock {
    let mut stock = Stock::default();
    for n in 0..segments {
        stock.add(key(camera, n * 60, n as u32), PathBuf::from("x"), 100);
    }
    stock
}

#[test]
fn durable_is_the_start_of_the_first_thing_that_is_not() {
    let mut stock = stock("yard", 3);
    stock.set_cursor(&lane("yard"), at(180), None);
    assert_eq!(stock.durable_until(&lane("yard")), Some(at(0)));
    let first = stock.pick(false).unwrap();
    let second = stock.pick(false).unwrap();
    stock.remove(second);
    assert_eq!(
        stock.durable_until(&lane("yard")),
        Some(at(0)),
        "out of order counts for nothing"
    );
    stock.remove(first);
    assert_eq!(stock.durable_until(&lane("yard")), Some(at(120)));
    let last = stock.pick(false).unwrap();
    stock.remove(last);
    assert_eq!(stock.durable_until(&lane("yard")), Some(at(180)));
    assert_eq!(stock.durable_until(&lane("door")), None);
    assert_eq!((stock.bytes(), stock.len()), (0, 0));
}

#[test]
fn what_waits_of_the_former_tier_is_not_durable() {
    let mut stock = stock("yard", 1);
    let low = Lane {
        tier: Tier::Low,
        ..lane("yard")
    };
    stock.set_cursor(&low, at(180), None);
    assert_eq!(stock.durable_until(&low), Some(at(0)));
    let first = stock.pick(false).unwrap();
    stock.remove(first);
    assert_eq!(stock.durable_until(&low), Some(at(180)));
}

#[test]
fn an_unwritten_gap_before_an_open_segment_is_not_durable() {
    let mut stock = stock("yard", 1);
    let first = stock.pick(false).unwrap();
    stock.remove(first);
    stock.set_cursor(&lane("yard"), at(60), None);
    let ObjectKey::Segment(open) = key("yard", 90, 0) else {
        panic!()
    };
    stock.opened(
        &lane("yard"),
        7,
        Open {
            key: open,
            path: PathBuf::new(),
            bytes: 5,
        },
    );
    assert_eq!(stock.durable_until(&lane("yard")), Some(at(60)));
}

#[test]
fn the_camera_that_holds_most_gives_up_its_oldest() {
    let mut stock = stock("yard", 3);
    stock.add(key("door", 0, 0), PathBuf::from("d"), 100);
    let (first, evicted) = stock.evictable().unwrap();
    assert_eq!((evicted.place.camera.name(), evicted.sequence), ("yard", 0));
    assert_eq!(stock.pick(false), Some(first), "the oldest goes up first");
    assert_eq!(
        stock.evictable().unwrap().1.sequence,
        1,
        "what is under way stays"
    );
}

#[test]
fn fresh_and_urgent_objects_have_their_share() {
    let mut stock = stock("yard", 5);
    stock.add(key("door", 30, 0), PathBuf::from("d"), 100);
    let sequence = |stock: &Stock, id: ItemId| stock.item(id).unwrap().key.range().from;
    let newest = stock.pick(true).unwrap();
    assert_eq!(sequence(&stock, newest), at(240));
    stock.hurry(&lane("door"), true);
    let urgent = stock.pick(false).unwrap();
    assert_eq!(
        stock.item(urgent).unwrap().key.place().camera.name(),
        "door"
    );
    stock.hurry(&lane("door"), false);
    let oldest = stock.pick(false).unwrap();
    assert_eq!(sequence(&stock, oldest), at(0));
}

#[test]
fn an_object_that_fails_while_others_succeed_has_itself_to_blame() {
    let mut stock = stock("yard", 3);
    let first = stock.pick(false).unwrap();
    assert_eq!(stock.failed(first, 5), 0, "the store's, for all we know");
    assert_eq!(stock.failed(first, 5), 0);
    assert_eq!(stock.failed(first, 6), 1);
    assert_eq!(stock.failed(first, 6), 0, "an outage has begun since");
    assert_eq!(stock.failed(first, 9), 2);
    stock.put_back(first, None);
    let others: BTreeSet<_> = (0..2)
        .map(|number| {
            let other = stock.pick_other(number).unwrap();
            stock.put_back(other, None);
            other
        })
        .collect();
    assert!(others.len() == 2 && !others.contains(&first), "{others:?}");
    for id in others {
        stock.remove(id);
    }
    assert_eq!(stock.pick_other(7), Some(first), "the only one");
}

#[test]
fn what_is_erased_is_not_taken_from_under_an_upload() {
    let mut stock = stock("yard", 2);
    let (idle, uploading) = stock.of_camera(&lane("yard").camera);
    assert_eq!((idle.len(), uploading), (2, 0));
    // An upload begins between the look and the removal.
    assert_eq!(stock.pick(false), Some(idle[0]));
    assert!(stock.remove_idle(idle[0]).is_none());
    assert!(stock.remove_idle(idle[1]).is_some());
    assert_eq!(stock.of_camera(&lane("yard").camera), (Vec::new(), 1));
    stock.put_back(idle[0], None);
    assert!(stock.remove_idle(idle[0]).is_some());
    assert_eq!(stock.bytes(), 0);
}

#[test]
fn what_failed_alone_waits_alone() {
    let mut stock = stock("yard", 2);
    let now = Instant::now();
    let bad = stock.pick(false).unwrap();
    stock.put_back(bad, Some(now + Duration::from_secs(10)));
    let good = stock.pick(false).unwrap();
    assert_ne!(good, bad);
    assert_eq!(stock.pick(false), None);
    assert_eq!(stock.ripen(now), Some(now + Duration::from_secs(10)));
    assert_eq!(stock.ripen(now + Duration::from_secs(10)), None);
    assert_eq!(stock.pick(false), Some(bad));
}

#[test]
fn what_is_given_up_is_not_uploaded_when_its_time_comes() {
    let mut stock = stock("yard", 1);
    let now = Instant::now();
    let bad = stock.pick(false).unwrap();
    stock.put_back(bad, Some(now));
    assert_eq!(stock.evictable().unwrap().0, bad);
    stock.hold(bad);
    stock.ripen(now);
    stock.ripen_all();
    assert_eq!(stock.pick(false), None);
    // It cannot be removed, and stays.
    stock.put_back(bad, None);
    assert_eq!(stock.pick(false), Some(bad));
}
