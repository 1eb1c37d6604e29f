//! The directory store: the contract, and what only a file system can do to it.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod common;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use moorline_base::{SimulatedClock, SystemClock};
use moorline_core::port::{SealedFile, SegmentSink as _, SegmentStore as _, StoreError};
use moorline_store::{DirectoryStore, SweepPolicy, SweepState, Sweeper};

struct Setup {
    folder: tempfile::TempDir,
    store: DirectoryStore,
    spool: Spool,
}

fn setup() -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let store =
        DirectoryStore::open(&folder.path().join("archive"), SystemClock::shared()).unwrap();
    let spool = Spool::at(&folder.path().join("spool"));
    Setup {
        folder,
        store,
        spool,
    }
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn keeps_the_contract() {
    let Setup {
        folder: _folder,
        store,
        spool,
    } = setup();
    suite(&store, &spool, Seed::Files(store.path())).await;
}

/// A folder on another file system than the store's; `None` after the skip was told.
fn elsewhere() -> Option<tempfile::TempDir> {
    let far = tempfile::tempdir_in("/dev/shm").ok();
    let far = far.filter(|far| device(far.path()) != device(&std::env::temp_dir()));
    if far.is_none() {
        moorline_testkit::skip("no second file system at /dev/shm");
    }
    far
}

#[tokio::test]
async fn keeps_the_contract_when_the_spool_is_on_another_file_system() {
    let Some(far) = elsewhere() else {
        return;
    };
    let Setup {
        folder: _folder,
        store,
        spool: _,
    } = setup();
    let far = Spool::at(&far.path().join("spool"));
    suite(&store, &far, Seed::Files(store.path())).await;
    assert_eq!(names(&store.path().join(".incoming")), Vec::<String>::new());
}

#[tokio::test]
async fn a_copy_with_other_bytes_gets_no_key() {
    let Some(far) = elsewhere() else {
        return;
    };
    let Setup {
        folder: _folder,
        store,
        spool: _,
    } = setup();
    let key = segment("r030", "2026/11/20/211005.250", 1, 0, "full");
    let sealed = Spool::at(&far.path().join("spool")).seal(&key, &media(5_000));
    let spoiled = SealedFile {
        md5: Some([7; 16]),
        ..sealed.clone()
    };
    let put = store.put(&spoiled).await;
    assert!(matches!(put, Err(StoreError::Digest(_))), "{put:?}");
    assert!(sealed.path.exists());
    is_missing(store.head(&key.to_string()).await);
    assert_eq!(names(&store.path().join(".incoming")), Vec::<String>::new());
    store.put(&sealed).await.unwrap();
}

fn device(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).unwrap().dev()
}

#[tokio::test]
async fn on_one_file_system_the_put_is_a_rename() {
    use std::os::unix::fs::MetadataExt as _;
    let Setup {
        folder: _folder,
        store,
        spool,
    } = setup();
    let key = segment("r030", "2026/11/20/211005.250", 1, 0, "full");
    let file = spool.seal(&key, &media(5_000));
    let inode = std::fs::metadata(&file.path).unwrap().ino();
    store.put(&file).await.unwrap();
    assert_eq!(
        std::fs::metadata(store.path().join(key.to_string()))
            .unwrap()
            .ino(),
        inode
    );
    assert!(!store.wants_md5());
}

#[tokio::test]
async fn links_lead_nowhere() {
    let Setup {
        folder,
        store,
        spool,
    } = setup();
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret.mp4"), b"secret").unwrap();
    let tenant = store.path().join("v1/r030");
    std::fs::create_dir_all(&tenant).unwrap();
    symlink(&outside, tenant.join("home")).unwrap();
    symlink(outside.join("secret.mp4"), tenant.join("file.mp4")).unwrap();

    is_missing(store.get("v1/r030/home/secret.mp4", 0..10).await);
    is_missing(store.get("v1/r030/file.mp4", 0..10).await);
    assert_eq!(store.list("v1/", "").await.unwrap(), Default::default());
    assert_eq!(
        store.list("v1/r030/home/", "").await.unwrap(),
        Default::default()
    );
    store.delete("v1/r030/home/secret.mp4").await.unwrap();
    let file = spool.seal(
        &segment("r030", "2026/11/20/211005.250", 1, 0, "full"),
        &media(100),
    );
    is_refused(store.put(&file).await);
    assert!(file.path.exists(), "an error unlinked the spool's file");
    assert_eq!(names(&outside), ["secret.mp4"]);
    assert_eq!(
        std::fs::read(outside.join("secret.mp4")).unwrap(),
        b"secret"
    );
}

#[tokio::test]
async fn what_is_no_file_is_no_object() {
    let Setup {
        folder: _folder,
        store,
        ..
    } = setup();
    std::fs::create_dir_all(store.path().join("v1/folder")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        store.path().join("v1/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let looked = tokio::time::timeout(Duration::from_secs(30), store.get("v1/pipe", 0..1)).await;
    is_missing(looked.expect("a pipe held the reader"));
    is_missing(store.head("v1/folder").await);
    assert_eq!(store.list("", "").await.unwrap(), Default::default());
}

#[tokio::test]
async fn deleting_the_last_object_removes_its_folders_and_a_put_makes_them_again() {
    let Setup {
        folder: _folder,
        store,
        spool,
    } = setup();
    let key = segment("r030", "2026/11/20/211005.250", 1, 0, "full");
    for _ in 0..2 {
        store.put(&spool.seal(&key, &media(100))).await.unwrap();
        store.delete(&key.to_string()).await.unwrap();
        assert_eq!(names(store.path()), [".incoming"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_survives_sweeps_of_its_folder() {
    let Setup {
        folder: _folder,
        store,
        spool,
    } = setup();
    let sweeping = {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..300 {
                store
                    .delete("v1/r030/home/yard/2026/11/20/nothing.mp4")
                    .await
                    .unwrap();
            }
        })
    };
    for sequence in 0..100 {
        let key = segment("r030", "2026/11/20/211005.250", 1, sequence, "full");
        let put = store.put(&spool.seal(&key, &media(100))).await;
        assert!(
            matches!(put, Ok(()) | Err(StoreError::Unavailable(_))),
            "{put:?}"
        );
        store.delete(&key.to_string()).await.unwrap();
    }
    sweeping.await.unwrap();
}

#[tokio::test]
async fn an_unfinished_copy_is_removed_at_the_next_start() {
    let Setup {
        folder: _folder,
        store,
        ..
    } = setup();
    let torn = store.path().join(".incoming/0123");
    std::fs::write(&torn, b"half").unwrap();
    assert_eq!(store.list("", "").await.unwrap(), Default::default());
    DirectoryStore::open(store.path(), SystemClock::shared()).unwrap();
    assert!(!torn.exists());
}

#[tokio::test]
async fn a_root_that_is_a_file_is_refused_by_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = DirectoryStore::open(file.path(), SystemClock::shared())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&file.path().display().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_disk_that_is_not_mounted_is_awaited_and_nothing_is_written_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (place, disk) = (folder.path().join("mnt"), folder.path().join("disk"));
    let memory = folder.path().join("archive-mark");
    std::fs::create_dir(&disk).unwrap();
    // A link stands for the mount.
    symlink(&disk, &place).unwrap();
    let clock = SimulatedClock::new(0);
    let open = || DirectoryStore::open_remembered(&place, &memory, Arc::new(clock.clone()));
    let store = open().unwrap();
    assert_eq!(store.absent(), None);
    let key = "v1/x.mp4";
    store.put_bytes(key, "one".into()).await.unwrap();
    let again = open().unwrap();
    assert_eq!(again.absent(), None, "the same disk after a restart");

    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    let store = open().unwrap();
    let why = store.absent().unwrap();
    assert!(
        why.contains("not mounted") && why.contains("archive-mark"),
        "{why}"
    );
    let put = store.put_bytes(key, "two".into()).await;
    assert!(matches!(put, Err(StoreError::Unavailable(_))), "{put:?}");
    assert!(
        store.list("v1/", "").await.is_err(),
        "it is not empty, it is away"
    );
    assert!(names(&place).is_empty(), "{:?}", names(&place));

    std::fs::remove_dir(&place).unwrap();
    symlink(&disk, &place).unwrap();
    assert!(store.head(key).await.is_err(), "looked for every 5 s");
    clock.advance(Duration::from_secs(5));
    assert_eq!(store.head(key).await.unwrap(), 3, "without a restart");
    assert_eq!(store.absent(), None);

    std::fs::remove_file(&place).unwrap();
    std::fs::remove_file(&memory).unwrap();
    let anew = open().unwrap();
    anew.put_bytes(key, "three".into()).await.unwrap();
    assert!(
        names(&place).contains(&"v1".to_owned()),
        "whoever wants it begins anew"
    );
}

#[tokio::test]
async fn a_disk_that_drops_out_and_comes_back_is_used_again_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (place, disk) = (folder.path().join("mnt"), folder.path().join("disk"));
    let memory = folder.path().join("archive-mark");
    std::fs::create_dir(&disk).unwrap();
    symlink(&disk, &place).unwrap();
    let clock = SimulatedClock::new(0);
    let shared = Arc::new(clock.clone());
    let store = DirectoryStore::open_remembered(&place, &memory, shared).unwrap();
    store.put_bytes("v1/one.mp4", "one".into()).await.unwrap();

    // It is unmounted, with our descriptor still open.
    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    clock.advance(Duration::from_secs(5));
    let put = store.put_bytes("v1/two.mp4", "two".into()).await;
    assert!(matches!(put, Err(StoreError::Unavailable(_))), "{put:?}");
    assert!(store.absent().unwrap().contains("not mounted"));
    assert!(names(&place).is_empty(), "{:?}", names(&place));
    std::fs::remove_dir(&place).unwrap();
    clock.advance(Duration::from_secs(5));
    assert!(
        store.list("v1/", "").await.is_err(),
        "nor is anything made there"
    );
    assert!(!place.exists());

    // Mounted again it is another directory, with the same files.
    let again = folder.path().join("again");
    std::fs::create_dir_all(again.join("v1")).unwrap();
    for file in [".moorline-archive", "v1/one.mp4"] {
        std::fs::copy(disk.join(file), again.join(file)).unwrap();
    }
    symlink(&again, &place).unwrap();
    clock.advance(Duration::from_secs(5));
    store.put_bytes("v1/two.mp4", "two".into()).await.unwrap();
    assert_eq!(store.absent(), None);
    assert_eq!(store.head("v1/one.mp4").await.unwrap(), 3);
    assert!(again.join("v1/two.mp4").exists() && !disk.join("v1/two.mp4").exists());

    // As fast as this nobody looks: it is another directory at once.
    std::fs::remove_file(&place).unwrap();
    symlink(&disk, &place).unwrap();
    clock.advance(Duration::from_secs(5));
    store
        .put_bytes("v1/three.mp4", "three".into())
        .await
        .unwrap();
    assert!(disk.join("v1/three.mp4").exists());
}

#[tokio::test]
async fn a_directory_that_somebody_removed_is_made_again() {
    let Setup { folder, spool, .. } = setup();
    let path = folder.path().join("data/archive");
    let clock = SimulatedClock::new(0);
    let store = DirectoryStore::open(&path, Arc::new(clock.clone())).unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    clock.advance(Duration::from_secs(5));
    let key = segment("r030", "2026/11/20/211005.250", 1, 1, "full");
    store.put(&spool.seal(&key, &media(100))).await.unwrap();
    assert_eq!(store.head(&key.to_string()).await.unwrap(), 100);
}

/// A small disk of its own, unmounted when the value is dropped. `None` where none may be mounted.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700")]);
        let mounted = mount.arg("moorline-test").arg(place.path()).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        mounted.then_some(Self(place))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut umount = std::process::Command::new("umount");
        let _ = umount.arg("--lazy").arg(self.0.path()).output();
    }
}

/// Writes until not one more page fits.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    let full = loop {
        if let Err(cause) = file.write_all(&[7; 4096]) {
            break cause;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
}

#[tokio::test]
async fn room_is_made_on_a_disk_without_room_for_the_note_of_what_expires() {
    let Some(disk) = SmallDisk::mount("4m") else {
        moorline_testkit::skip("no tmpfs may be mounted here (needs root)");
        return;
    };
    let path = disk.0.path().join("store");
    let store = DirectoryStore::open(&path, SystemClock::shared()).unwrap();
    let spool = Spool::at(&disk.0.path().join("spool"));
    let mut all = Vec::new();
    for minute in 10..14 {
        let start = format!("2026/11/20/21{minute}05.250");
        let key = segment("r030", &start, 1, minute, "full");
        store.put(&spool.seal(&key, &media(700_000))).await.unwrap();
        all.push(key);
    }
    let swept = disk.0.path().join("swept.json");
    let state = SweepState::open(swept.clone()).unwrap();
    fill(&disk.0.path().join("others"));
    let policy = SweepPolicy {
        max_percent: 100,
        min_free: 1_000_000,
        ..SweepPolicy::default()
    };
    let now = at("2026-11-21T12:00:00Z");
    let clock: moorline_base::SharedClock = Arc::new(SimulatedClock::new(now.as_millis()));
    let sweeper = Sweeper::of_directory(store.clone(), policy, state, clock);
    let done = sweeper.run_once().await.unwrap();
    // 1.5 MB are to be free.
    assert_eq!((done.objects, done.short), (3, 0), "{done:?}");
    for (index, key) in all.iter().enumerate() {
        assert_eq!(store.head(&key.to_string()).await.is_ok(), index == 3);
    }
    let remembered = SweepState::open(swept).unwrap().room_before();
    assert_eq!(remembered, Some(all[2].range().to));
}

/// A file system in a file, whose writes hang while it is frozen, and which can be spoiled. `None` where none may be mounted.
struct LoopDisk(tempfile::TempDir);

impl LoopDisk {
    fn mount() -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let image = disk.0.path().join("image");
        std::fs::create_dir(disk.place()).unwrap();
        std::fs::File::create(&image)
            .unwrap()
            .set_len(16 << 20)
            .unwrap();
        let made = run("mkfs.ext4", &[Path::new("-q"), &image]);
        let mounted = made
            && run(
                "mount",
                &[Path::new("-o"), Path::new("loop"), &image, &disk.place()],
            );
        let freezes = mounted && disk.freeze("-f") && disk.freeze("-u");
        freezes.then_some(disk)
    }

    fn place(&self) -> std::path::PathBuf {
        self.0.path().join("place")
    }

    /// Loses the inode of a folder.
    fn spoil(&self, folder: &str) -> bool {
        let (place, image) = (self.place(), self.0.path().join("image"));
        let order = format!("clri {folder}");
        let arguments = [Path::new("-w"), Path::new("-R"), Path::new(&order), &image];
        run("umount", &[&place])
            && run("debugfs", &arguments)
            && run(
                "mount",
                &[Path::new("-o"), Path::new("loop"), &image, &place],
            )
    }

    fn freeze(&self, how: &str) -> bool {
        run("fsfreeze", &[Path::new(how), &self.place()])
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        self.freeze("-u");
        run("umount", &[Path::new("--lazy"), &self.place()]);
    }
}

fn run(program: &str, arguments: &[&Path]) -> bool {
    let output = std::process::Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

/// A file system that was hurt by a crash or a bad sector.
#[tokio::test]
async fn a_folder_that_cannot_be_read_keeps_retention_from_no_other() {
    let Some(disk) = LoopDisk::mount() else {
        moorline_testkit::skip("no file system may be mounted here (needs root and loop devices)");
        return;
    };
    let path = disk.place().join("store");
    let keys: Vec<_> = ["2026/11/01/100000.000", "2026/11/02/100000.000"]
        .into_iter()
        .zip(1..)
        .map(|(start, sequence)| segment("r030", start, 1, sequence, "full"))
        .collect();
    let store = DirectoryStore::open(&path, SystemClock::shared()).unwrap();
    for key in &keys {
        store.put_bytes(&key.to_string(), "x".into()).await.unwrap();
    }
    drop(store);
    let first = keys[0].to_string();
    let (folder, _) = first.rsplit_once('/').unwrap();
    if !disk.spoil(&format!("/store/{folder}")) {
        moorline_testkit::skip("debugfs is not installed");
        return;
    }
    let store = DirectoryStore::open(&path, SystemClock::shared()).unwrap();
    assert!(
        store.list("v1/", "").await.is_err(),
        "who reads must not take it for missing"
    );
    let state = SweepState::in_memory();
    let now = at("2027-01-21T12:00:00Z");
    let clock = Arc::new(SimulatedClock::new(now.as_millis()));
    let sweeper = Sweeper::of_directory(store.clone(), SweepPolicy::default(), state, clock);
    let swept = sweeper.run_once().await.unwrap();
    assert_eq!(swept.objects, 1);
    assert!(store.head(&keys[1].to_string()).await.is_err());
}

#[tokio::test]
async fn a_disk_that_hangs_holds_nobody_and_is_used_when_it_goes_on() {
    let Some(disk) = LoopDisk::mount() else {
        moorline_testkit::skip("no file system may be mounted here (needs root and loop devices)");
        return;
    };
    let clock = SimulatedClock::new(0);
    let path = disk.place().join("store");
    let store = DirectoryStore::open(&path, Arc::new(clock.clone())).unwrap();
    assert!(disk.freeze("-f"));
    // More than may stand in the kernel at once.
    let puts: Vec<_> = (0..20)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .put_bytes(&format!("v1/{number}.json"), "x".into())
                    .await
            })
        })
        .collect();
    clock.sleepers(puts.len()).await;
    clock.advance(Duration::from_secs(31));
    for put in puts {
        let put = put.await.unwrap();
        assert!(
            matches!(&put, Err(StoreError::Unavailable(why)) if why.contains("did not answer")),
            "{put:?}"
        );
    }
    assert_eq!(store.absent(), None, "whoever asks this does not wait");
    assert!(disk.freeze("-u"));
    store.put_bytes("v1/after.json", "x".into()).await.unwrap();
    assert_eq!(store.head("v1/after.json").await.unwrap(), 1);
}
