//! What to delete: a pure function.

use std::time::Duration;

use moorline_base::files::DiskSpace;
use moorline_core::Timestamp;
use moorline_core::port::Listed;
use moorline_core::segment::{ObjectKey, Retention};

use super::SweepPolicy;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A stored object of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Object {
    /// A listed object; `None` if its key is not ours.
    pub fn of(listed: &Listed) -> Option<Self> {
        let key = listed.key.parse().ok()?;
        Some(Self {
            key,
            bytes: listed.bytes,
        })
    }

    /// When its class lets it go; `None`: never.
    pub(super) fn expires(&self) -> Option<Timestamp> {
        match self.key.place().retention {
            Retention::Days(days) => Some(self.key.range().to + DAY * u32::from(days)),
            Retention::Keep => None,
        }
    }

    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires().is_some_and(|expires| expires <= now)
    }
}

/// How full the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The disk.
    pub disk: DiskSpace,
    /// What all recordings take, in bytes.
    pub used: u64,
}

impl Room {
    /// Bytes over the bounds.
    fn excess(&self, policy: &SweepPolicy) -> u64 {
        self.over_share(policy)
            .max(policy.min_free.saturating_sub(self.disk.available))
    }

    /// Bytes to free, so that the bounds hold for a while.
    fn wanted(&self, policy: &SweepPolicy) -> u64 {
        let free = policy.min_free.saturating_add(policy.headroom());
        let tight = policy.is_tight(self.disk.available);
        let missing = free.saturating_sub(self.disk.available);
        self.over_share(policy).max(if tight { missing } else { 0 })
    }

    fn over_share(&self, policy: &SweepPolicy) -> u64 {
        let share = u128::from(self.disk.total) * u128::from(policy.max_percent) / 100;
        self.used
            .saturating_sub(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

/// What is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In this order, the oldest first.
    pub delete: Vec<Object>,
    /// Everything before this instant goes, or has gone, for room; `None` if age alone is enough.
    pub room_before: Option<Timestamp>,
    /// Bytes over the bounds that these objects cannot free.
    pub short: u64,
}

/// Decides over `objects`: those that expired, and the oldest ones.
pub fn plan(objects: &[Object], room: Option<Room>, policy: &SweepPolicy, now: Timestamp) -> Plan {
    let mut oldest: Vec<&Object> = objects.iter().collect();
    oldest.sort_by_key(|object| object.key.range().from);
    let (expired, kept): (Vec<&Object>, Vec<&Object>) = oldest
        .into_iter()
        .partition(|object| object.is_expired(now));
    let wanted = room.map_or(0, |room| room.wanted(policy));
    let excess = room.map_or(0, |room| room.excess(policy));
    let mut freed: u64 = expired.iter().map(|object| object.bytes).sum();
    let mut delete = expired;
    let mut room_before = None;
    let spared = now - policy.spare;
    for object in &kept {
        let segment = matches!(object.key, ObjectKey::Segment(_)) && object.expires().is_some();
        if freed < wanted && segment && object.key.range().to <= spared {
            delete.push(object);
            room_before = room_before.max(Some(object.key.range().to));
            freed = freed.saturating_add(object.bytes);
        }
    }
    if let Some(before) = room_before {
        let midnight = before.floor_day();
        let with_their_day = kept.iter().filter(|object| {
            let marker = matches!(object.key, ObjectKey::Gap(_)) && object.expires().is_some();
            marker && object.key.range().to <= midnight
        });
        delete.extend(with_their_day);
    }
    delete.sort_by_key(|object| object.key.range().from);
    Plan {
        delete: delete.into_iter().cloned().collect(),
        room_before,
        short: excess.saturating_sub(freed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn object(class: &str, camera: &str, minute: u32, bytes: u64) -> Object {
        let (day, hour, minute) = (1 + minute / 1440, minute / 60 % 24, minute % 60);
        let key = format!(
            "v1/{class}/home/{camera}/2026/11/{day:02}/{hour:02}{minute:02}00.000Z_00060000_g0000000001_00000001_000000_000000_full.mp4"
        );
        Object {
            key: key.parse().unwrap(),
            bytes,
        }
    }

    fn marker(class: &str, minute: u32) -> Object {
        let (day, hour, minute) = (1 + minute / 1440, minute / 60 % 24, minute % 60);
        let key = format!(
            "v1/{class}/home/a/2026/11/{day:02}/{hour:02}{minute:02}00.000Z_00030000_g0000000001_gap_restart_full.json"
        );
        Object {
            key: key.parse().unwrap(),
            bytes: 2,
        }
    }

    fn room(used: u64, available: u64) -> Option<Room> {
        Some(Room {
            disk: DiskSpace {
                total: 100 * GIB,
                available,
            },
            used,
        })
    }

    #[test]
    fn age_goes_by_the_class_of_the_key() {
        let objects = [
            object("r001", "a", 0, 1),
            object("r002", "a", 0, 1),
            object("keep", "a", 0, 1),
            marker("r001", 10),
        ];
        let plan = plan(
            &objects,
            None,
            &SweepPolicy::default(),
            at("2026-11-02T00:10:30Z"),
        );
        assert_eq!(plan.delete, [objects[0].clone(), objects[3].clone()]);
        assert_eq!((plan.room_before, plan.short), (None, 0));
        let earlier = super::plan(
            &objects,
            None,
            &SweepPolicy::default(),
            at("2026-11-02T00:00:59Z"),
        );
        assert_eq!(earlier.delete, []);
    }

    #[test]
    fn for_room_the_oldest_of_all_cameras_go_first_and_kept_ones_stay() {
        let objects = [
            object("r014", "b", 2, GIB),
            object("keep", "a", 0, GIB),
            object("r030", "a", 1, GIB),
            object("r014", "b", 3, GIB),
        ];
        let now = at("2026-11-02T00:00:00Z");
        // 82 GiB used of 80: two have to go.
        let plan = plan(
            &objects,
            room(82 * GIB, 10 * GIB),
            &SweepPolicy::default(),
            now,
        );
        assert_eq!(plan.delete, [objects[2].clone(), objects[0].clone()]);
        assert_eq!(plan.room_before, Some(at("2026-11-01T00:03:00Z")));
        // Somebody else fills the disk: 4 GiB free of 5, and 7.5 are to be free afterwards, of which three can be had.
        let plan = super::plan(
            &objects,
            room(10 * GIB, 4 * GIB),
            &SweepPolicy::default(),
            now,
        );
        let gone = [objects[2].clone(), objects[0].clone(), objects[3].clone()];
        assert_eq!((plan.delete.as_slice(), plan.short), (&gone[..], 0));
        // Near the bound the same; well above it nothing goes.
        for (available, gone) in [(5 * GIB + GIB / 2, 2), (6 * GIB, 0)] {
            let policy = SweepPolicy::default();
            let plan = super::plan(&objects, room(10 * GIB, available), &policy, now);
            assert_eq!((plan.delete.len(), plan.short), (gone, 0));
        }
    }

    #[test]
    fn the_last_hour_is_spared_and_what_is_missing_is_told() {
        let objects = [object("r014", "a", 0, GIB), object("r014", "a", 50, GIB)];
        let plan = plan(
            &objects,
            room(10 * GIB, 0),
            &SweepPolicy::default(),
            at("2026-11-01T01:10:00Z"),
        );
        assert_eq!(plan.delete, [objects[0].clone()]);
        assert_eq!(plan.short, 4 * GIB);
    }

    #[test]
    fn markers_go_with_their_day() {
        let objects = [
            marker("r014", 5),
            object("r014", "a", 10, GIB),
            object("r014", "a", 1450, GIB),
            marker("r014", 1442),
        ];
        let now = at("2026-11-03T00:00:00Z");
        let one = plan(
            &objects,
            room(81 * GIB, 10 * GIB),
            &SweepPolicy::default(),
            now,
        );
        assert_eq!(one.delete, [objects[1].clone()]);
        let two = plan(
            &objects,
            room(82 * GIB, 10 * GIB),
            &SweepPolicy::default(),
            now,
        );
        assert_eq!(
            two.delete,
            [objects[0].clone(), objects[1].clone(), objects[2].clone()]
        );
    }

    proptest! {
        #[test]
        fn nothing_kept_or_spared_goes_and_enough_goes_if_there_is_enough(
            minutes in proptest::collection::vec((0_u32..2000, 1_u64..4, 0_u8..3), 0..60),
            used in 60_u64..120, now in 1000_u32..3000,
        ) {
            let class = |index: u8| ["r001", "r014", "keep"][usize::from(index)];
            let objects: Vec<_> = minutes.iter().map(|(minute, gib, index)| object(class(*index), "a", *minute, gib * GIB)).collect();
            let now = at("2026-11-01T00:00:00Z") + Duration::from_secs(u64::from(now) * 60);
            let policy = SweepPolicy::default();
            let plan = plan(&objects, room(used * GIB, 50 * GIB), &policy, now);
            let freed: u64 = plan.delete.iter().map(|object| object.bytes).sum();
            prop_assert!(freed + plan.short >= used.saturating_sub(80) * GIB);
            for gone in &plan.delete {
                prop_assert!(gone.expires().is_some());
                prop_assert!(gone.is_expired(now) || gone.key.range().to <= now - policy.spare);
                // Whatever goes for room lies before the instant that is told.
                prop_assert!(gone.is_expired(now) || Some(gone.key.range().to) <= plan.room_before);
            }
            if plan.short > 0 {
                let left = objects.iter().filter(|object| object.expires().is_some() && object.key.range().to <= now - policy.spare);
                prop_assert_eq!(left.filter(|object| !plan.delete.contains(object)).count(), 0);
            }
        }
    }
}
