//! Files and disks that fail: nothing is overwritten, the cure is named, and recording goes on when it can.

use std::path::{Path, PathBuf};

use moorline_testkit::{child::run, eventually};
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use tokio::process::Command;

use crate::faults_device::{missing, small};
use crate::faults_rig::{SHORT, SOON, Server, said, serve};

/// A directory that has recorded a little, with its server stopped.
async fn recorded(data: &Path) -> Vec<u64> {
    let server = Server::start_in(data, SHORT).await;
    let camera = server.healthy("yard", 2).await;
    drop(camera);
    server.stop().await;
    let server = Server::start_in(data, SHORT).await;
    let frames = frames(&server).await;
    server.stop().await;
    frames
}

async fn frames(server: &Server) -> Vec<u64> {
    let stamps = server.exported("yard").await;
    stamps.iter().map(|stamp| stamp.frame).collect()
}

/// `serve` ends with exit code 1; what it said.
async fn refuses(data: &Path) -> String {
    let command = serve(data, &data.with_extension("toml"));
    let output = run("moorline serve", command, SOON).await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    said(&output)
}

#[tokio::test]
async fn a_damaged_registry_is_named_left_alone_and_replaceable() {
    let place = moorline_testkit::temp_dir().unwrap();
    let data = place.path().join("data");
    let before = recorded(&data).await;
    assert!(!before.is_empty());
    let file = data.join("registry.sqlite");
    let whole = std::fs::read(&file).unwrap();

    let mut no_database = whole.clone();
    no_database[..16].copy_from_slice(b"definitely not a");
    let mut torn = whole.clone();
    torn[4096..].fill(0xa5);
    for damaged in [no_database, torn] {
        std::fs::write(&file, &damaged).unwrap();
        let told = refuses(&data).await;
        assert!(told.contains("registry.sqlite is damaged"), "{told}");
        assert!(told.contains("hint:"), "{told}");
        assert!(told.contains("moorline restore"), "{told}");
        assert_eq!(std::fs::read(&file).unwrap(), damaged, "it was changed");
    }

    std::fs::write(&file, &whole).unwrap();
    let server = Server::start_in(&data, SHORT).await;
    assert_eq!(frames(&server).await, before, "recordings were lost");
    server.stop().await;
}

#[tokio::test]
async fn a_registry_of_a_newer_version_is_not_touched() {
    let place = moorline_testkit::temp_dir().unwrap();
    let data = place.path().join("data");
    Server::start_in(&data, SHORT).await.stop().await;
    let file = data.join("registry.sqlite");
    let mut database = SqliteConnectOptions::new()
        .filename(&file)
        .connect()
        .await
        .unwrap();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (4711, 'later', 1, x'00', 0)";
    sqlx::raw_sql(later).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    let before = std::fs::read(&file).unwrap();

    let told = refuses(&data).await;
    assert!(told.contains("schema 4711"), "{told}");
    assert!(
        told.contains("hint: run the Moorline that wrote it"),
        "{told}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), before, "it was changed");
}

/// A small disk. It is unmounted when the value is dropped.
struct SmallDisk {
    path: PathBuf,
    _place: moorline_testkit::tempfile::TempDir,
}

impl SmallDisk {
    /// A tmpfs of so many MiB, or why there can be none here.
    async fn mount(mib: u32) -> Result<Self, String> {
        let place = moorline_testkit::temp_dir().unwrap();
        let path = place.path().join("disk");
        std::fs::create_dir(&path).unwrap();
        let mut command = Command::new("mount");
        let size = format!("size={mib}m,mode=0700");
        command
            .args(["-t", "tmpfs", "-o", &size, "moorline-test"])
            .arg(&path);
        let output = run("mount", command, SOON)
            .await
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("no tmpfs can be mounted: {}", said(&output)));
        }
        Ok(Self {
            path,
            _place: place,
        })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server of a failed test may still have files open.
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.path)
            .status();
    }
}

fn grow(ballast: &Path, bytes: usize) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new();
    let mut file = file.create(true).append(true).open(ballast)?;
    file.write_all(&vec![0; bytes])
}

/// Not a byte is left.
fn fill(ballast: &Path) {
    for power in (0..=20).rev() {
        while grow(ballast, 1 << power).is_ok() {}
    }
}

/// A claim is durable before a tunnel serves (P1): who cannot write it lets nobody in, and nobody sees anything.
#[tokio::test]
async fn p1_a_disk_that_is_full_to_the_last_byte_keeps_no_camera_out_also_at_a_start() {
    let disk = match SmallDisk::mount(128).await {
        Ok(disk) => disk,
        Err(reason) => return moorline_testkit::skip(&reason),
    };
    let data = disk.path.join("data");
    let config = "[archive]\ndisk_percent = 100\ndisk_free = \"4MiB\"\n";
    let server = Server::start_in(&data, config).await;
    let key = server.add("yard", &["--record", "off"]).await;
    let yard = server.call("yard", &key, small(2), &[]);
    yard.up().await;
    let ballast = disk.path.join("ballast");
    let comes_back = async |server: &Server, generation: u64| {
        fill(&ballast);
        server.cli(&["camera", "hang-up", "yard"]).await;
        server
            .until("yard", "not let in", |camera| {
                let link = &camera["status"]["link"];
                (link["state"] == "up" && link["generation"].as_u64()? > generation).then_some(())
            })
            .await;
    };
    let generation = async |server: &Server| {
        server
            .until("yard", "not let in", |camera| {
                let link = &camera["status"]["link"];
                link["generation"].as_u64()
            })
            .await
    };
    comes_back(&server, generation(&server).await).await;
    server.stop().await;

    fill(&ballast);
    let server = Server::start_in(&data, config).await;
    let yard = server.call("yard", &key, small(2), &[]);
    yard.up().await;
    comes_back(&server, generation(&server).await).await;
    let told = said(&server.command(&["doctor"]).await);
    assert!(told.contains("nothing is held ahead any more"), "{told}");
    let line = server.child().wait_for_line("lives on its reserve", SOON);
    line.await.unwrap_or_else(|error| panic!("{error}"));
    std::fs::remove_file(&ballast).unwrap();
    server.stop().await;

    let server = Server::start_in(&data, config).await;
    let told = said(&server.command(&["doctor"]).await);
    assert!(told.contains("held ahead: a full disk"), "{told}");
    server.stop().await;
}

#[tokio::test]
async fn a_full_disk_pauses_recording_and_room_resumes_it() {
    let disk = match SmallDisk::mount(48).await {
        Ok(disk) => disk,
        Err(reason) => return moorline_testkit::skip(&reason),
    };
    let data = disk.path.join("data");
    let config = "[archive]\nsegment = \"2s\"\ndisk_percent = 100\ndisk_free = \"4MiB\"\nspool = \"40MiB\"\n";
    let server = Server::start_in(&data, config).await;
    let yard = server.healthy("yard", 2).await;
    let before = frames(&server).await;

    // Somebody else fills the disk, but for some pages.
    let ballast = disk.path.join("ballast");
    eventually("the disk does not fill up", SOON, || async {
        grow(&ballast, 1 << 16).err().map(drop)
    })
    .await;
    server
        .until("yard", "nothing tells that the disk is full", |camera| {
            (camera["status"]["archive"]["state"] == "disk_full").then_some(())
        })
        .await;
    let shown = server.command(&["camera", "show", "yard"]).await;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("the disk for recordings was full"),
        "{shown}"
    );
    assert!(shown.contains("make room on it"), "the cure: {shown}");
    assert_eq!(
        server.camera("yard").await["status"]["relays"][0]["state"]["state"],
        "playing",
        "viewers lose nothing"
    );

    // Long enough for a gap of its own: what is shorter than a second is a hole.
    let filmed = yard.source.counters().pictures;
    eventually("the camera films nothing more", SOON, || async {
        (yard.source.counters().pictures > filmed + 30).then_some(())
    })
    .await;
    std::fs::remove_file(&ballast).unwrap();
    server
        .until("yard", "recording does not resume", |camera| {
            (camera["status"]["archive"]["state"] == "recording").then_some(())
        })
        .await;
    server.moves_on("yard").await;
    let after = frames(&server).await;
    assert!(after.starts_with(&before), "what was recorded is gone");
    let gaps = server.gaps("yard").await;
    assert!(gaps.iter().any(|gap| gap == "spool_full"), "{gaps:?}");
    assert!(gaps.iter().all(|gap| gap != "unexplained"), "{gaps:?}");
    assert!(!missing(&after).is_empty(), "there was a pause");
    server.stop().await;
}
