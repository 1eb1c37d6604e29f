//! A disk that somebody else fills to the last byte: claims and memories go on, at first on room held ahead, then on the reserve.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may write files and look at the real clock"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use moorline_base::SimulatedClock;
use moorline_core::camera::{Camera, CameraKey, Record, RecordBy};
use moorline_core::port::{CameraAdmin as _, CameraLike, Claims as _, Memories as _, Memory};
use moorline_core::segment::Retention;
use moorline_core::{CameraId, Generation, PublicKey, SessionId, Timestamp};
use moorline_registry::{Registry, Reserved};

/// A small disk of its own; unmounted when it is dropped.
struct Disk {
    path: PathBuf,
    _place: tempfile::TempDir,
}

impl Disk {
    fn mount() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("disk");
        std::fs::create_dir(&path).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=96m", "moorline-test"]);
        let mounted = command.arg(&path).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            moorline_testkit::skip("no tmpfs can be mounted");
            return None;
        }
        Some(Self {
            path,
            _place: place,
        })
    }

    /// Not a byte is left.
    fn fill(&self) {
        let mut ballast = std::fs::File::options();
        let ballast = ballast.create(true).append(true);
        let mut ballast = ballast.open(self.ballast()).unwrap();
        let mut piece = vec![0; 1 << 16];
        while !piece.is_empty() {
            if ballast.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.path)
            .status();
    }
}

fn id(name: &str) -> CameraId {
    name.parse().unwrap()
}

fn camera(name: &str, seed: u8) -> Camera {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend([seed; 32]);
    let like = CameraLike {
        title: None,
        site: None,
        timezone: "UTC".to_owned(),
        record: Record::Main,
        record_by: RecordBy::Auto,
        retention: Retention::Days(14),
    };
    let key = CameraKey {
        key: PublicKey::from_blob(&blob).unwrap(),
        added: Timestamp::from_millis(1_000),
        comment: String::new(),
    };
    like.make(id(name), key)
}

async fn open(directory: &Path) -> Registry {
    let clock = Arc::new(SimulatedClock::new(1_800_000_000_000));
    let file = |name| directory.join(name);
    Registry::open(&file("registry.sqlite"), &file("registry.key"), clock)
        .await
        .unwrap()
}

async fn claim(registry: &Registry) -> Result<Generation, String> {
    let claimed = registry.claims().claim(&id("yard"), SessionId(1)).await;
    claimed.map_err(|error| error.to_string())
}

/// P1.
#[tokio::test]
async fn on_a_full_disk_claims_go_on_for_as_long_as_it_lasts_and_after_a_restart() {
    let Some(disk) = Disk::mount() else { return };
    let registry = open(&disk.path).await;
    registry.cameras().add(camera("yard", 1)).await.unwrap();
    assert_eq!(registry.reserved(), Reserved::Whole);
    disk.fill();
    // Many times what the log holds.
    for number in 1..=4_000 {
        assert_eq!(claim(&registry).await, Ok(Generation(number)));
    }
    assert_eq!(
        registry.reserved(),
        Reserved::Whole,
        "room ahead was enough"
    );
    registry.close().await.unwrap();

    // What the log had is somebody else's now.
    disk.fill();
    let registry = open(&disk.path).await;
    assert_eq!(registry.reserved(), Reserved::Gone, "given up for the log");
    disk.fill();
    for number in 4_001..=6_000 {
        assert_eq!(claim(&registry).await, Ok(Generation(number)));
    }
    registry.close().await.unwrap();

    std::fs::remove_file(disk.ballast()).unwrap();
    let registry = open(&disk.path).await;
    assert_eq!(registry.reserved(), Reserved::Whole, "there is room again");
    assert_eq!(claim(&registry).await, Ok(Generation(6_001)));
    registry.close().await.unwrap();
}

#[tokio::test]
async fn what_grows_beyond_the_room_ahead_takes_the_reserve() {
    let Some(disk) = Disk::mount() else { return };
    let registry = open(&disk.path).await;
    for number in 0..200 {
        let name = format!("cam-{number}");
        registry.cameras().add(camera(&name, number)).await.unwrap();
    }
    registry.cameras().add(camera("yard", 250)).await.unwrap();
    disk.fill();
    let long = Memory {
        clients: vec!["SSH-2.0-x".repeat(800); 8],
        ..Memory::default()
    };
    let mut stored = 0;
    while registry.reserved() == Reserved::Whole {
        let name = format!("cam-{}", stored % 200);
        let done = registry.memories().store(&id(&name), &long).await;
        done.unwrap_or_else(|error| panic!("{stored}: {error}"));
        stored += 1;
        assert!(stored < 20_000, "the disk is not full");
    }
    let claimed = claim(&registry).await.unwrap();
    // It may not find the room to bring its log into the database. The next start reads the log.
    let _ = registry.close().await;
    std::fs::remove_file(disk.ballast()).unwrap();
    let registry = open(&disk.path).await;
    assert_eq!(claim(&registry).await, Ok(claimed.next()));
    registry.close().await.unwrap();
}

/// SQLite undoes by itself what a full disk refused, and the driver used to count that transaction as open for ever.
#[tokio::test]
async fn when_a_full_disk_has_room_again_the_registry_goes_on_without_a_restart() {
    let Some(disk) = Disk::mount() else { return };
    let registry = open(&disk.path).await;
    for number in 0..200 {
        let name = format!("cam-{number}");
        registry.cameras().add(camera(&name, number)).await.unwrap();
    }
    disk.fill();
    let long = Memory {
        // Of all cameras together more than the registry has ahead and in reserve.
        clients: vec!["SSH-2.0-x".repeat(800); 20],
        ..Memory::default()
    };
    let memories = registry.memories();
    let mut stored = 0;
    let refused = loop {
        let name = format!("cam-{}", stored % 200);
        match memories.store(&id(&name), &long).await {
            Ok(()) => {
                disk.fill();
                stored += 1;
                assert!(stored < 1_000, "the disk is not full");
            }
            Err(refused) => break refused.to_string(),
        }
    };
    // It is full, or the log's index does not grow (an I/O error, says SQLite).
    assert!(refused.contains("disk"), "{refused}");
    // For something small there may be room.
    let _ = registry.cameras().add(camera("more", 250)).await;
    std::fs::remove_file(disk.ballast()).unwrap();
    registry.cameras().add(camera("yard", 251)).await.unwrap();
    assert_eq!(claim(&registry).await, Ok(Generation(1)));
    memories.store(&id("cam-0"), &long).await.unwrap();
    registry.close().await.unwrap();
}
