//! `Memories`.

use moorline_core::alarm::{Notice, NoticeKind};
use moorline_core::port::{CameraAdmin, Memories, Memory};
use moorline_core::status::OpenGap;
use moorline_core::{CameraId, Cause, Timestamp};

use super::{camera, id};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn memory(seed: i64) -> Memory {
    let gap = |since, cause| OpenGap {
        since: at(since),
        cause,
    };
    Memory {
        durable_until: Some(at(seed)),
        recorded_until: Some(at(seed - 1)),
        gaps: vec![
            (gap(seed, Cause::TunnelDown), Some(at(seed + 5))),
            (gap(seed + 5, Cause::CameraSilent), None),
        ],
        alarmed_since: Some(at(seed + 7)),
        networks: vec![
            "198.51.100.0".parse().unwrap(),
            "2001:db8:7::".parse().unwrap(),
        ],
        clients: vec![format!("SSH-2.0-dropbear_{seed}")],
        notices: vec![Notice {
            at: at(seed + 9),
            what: NoticeKind::NewNetwork,
            peer: Some("198.51.100.7:4000".parse().unwrap()),
            client: "SSH-2.0-\u{1b}[2J".to_owned(),
        }],
        alive_until: None,
    }
}

pub(crate) async fn the_last_sign_of_life_comes_with_every_memory(
    admin: &dyn CameraAdmin,
    memories: &dyn Memories,
) {
    let names = ["alive-1", "alive-2"].map(id);
    for (name, key) in ["alive-1", "alive-2"].into_iter().zip([123, 124]) {
        admin.add(camera(name, &[key])).await.unwrap();
        memories.store(&id(name), &memory(1)).await.unwrap();
    }
    for instant in [500, 900] {
        memories.alive(at(instant)).await.unwrap();
        for name in &names {
            let read = of(memories, name).await.unwrap();
            assert_eq!(read.alive_until, Some(at(instant)));
        }
    }
}

pub(crate) async fn of(memories: &dyn Memories, camera: &CameraId) -> Option<Memory> {
    let all = memories.load().await.unwrap();
    all.into_iter()
        .find(|(id, _)| id == camera)
        .map(|(_, memory)| memory)
}

pub(crate) async fn the_last_memory_stays(admin: &dyn CameraAdmin, memories: &dyn Memories) {
    admin.add(camera("memory", &[121])).await.unwrap();
    let name = id("memory");
    assert_eq!(of(memories, &name).await, None);
    memories.store(&name, &memory(1)).await.unwrap();
    memories.store(&name, &memory(2)).await.unwrap();
    assert_eq!(of(memories, &name).await, Some(memory(2)));
    memories.store(&name, &Memory::default()).await.unwrap();
    assert_eq!(of(memories, &name).await, Some(Memory::default()));
    memories.store(&id("nobody"), &memory(3)).await.unwrap();
    assert_eq!(of(memories, &id("nobody")).await, None);
    memories.store(&name, &memory(4)).await.unwrap();
    admin.remove(&name).await.unwrap();
    admin.add(camera("memory", &[121])).await.unwrap();
    assert_eq!(
        of(memories, &name).await,
        None,
        "a camera that returns begins anew"
    );
}

pub(crate) async fn too_many_gaps_merge(admin: &dyn CameraAdmin, memories: &dyn Memories) {
    admin.add(camera("gaps", &[122])).await.unwrap();
    let gap = |number: i64| {
        let gap = OpenGap {
            since: at(number * 10),
            cause: Cause::TunnelDown,
        };
        (gap, Some(at(number * 10 + 5)))
    };
    let memory = Memory {
        gaps: (0..1_500).map(gap).collect(),
        ..Memory::default()
    };
    memories.store(&id("gaps"), &memory).await.unwrap();
    let kept = of(memories, &id("gaps")).await.unwrap().gaps;
    assert_eq!(kept.len(), 1_000);
    assert_eq!(
        kept[0],
        (gap(0).0, gap(500).1),
        "the oldest are one stretch"
    );
    assert_eq!(kept[1..], memory.gaps[501..]);
}
