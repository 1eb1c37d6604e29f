//! What the registry has on a disk that somebody else fills to the last byte.
//!
//! A tunnel serves only once its claim is durable (promise P1), so without room for a claim no camera comes back in, and nobody sees anything.
//! Three things, in the order in which they are used:
//!
//! - The write-ahead log has its blocks ahead. SQLite begins it anew after each checkpoint (1,000 pages, 4 MiB) and shortens it only when it closes.
//! - The database has free pages, for what grows: a new camera's first claim, the audit. Without them no checkpoint could end, and the log would grow.
//! - A file of its own is given up when those are used up, and at a start on a full disk, where the log has no blocks yet. It is made again when
//!   there is room.
//!
//! A file system that gives no blocks ahead (NFS, ZFS) has none of this but the free pages.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use moorline_base::CancellationToken;
use moorline_base::clock::{SharedClock, sleep};
use moorline_base::files::{allocate, disk_space};
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;

use crate::database::beside;

/// Blocks of the log: twice what it grows to before a checkpoint begins it anew.
const LOG: u64 = 8 << 20;
/// The file: once more the log's, and as much again in the database.
const FILE: u64 = 12 << 20;
/// What SQLite needs besides to open it.
const SLACK: u64 = 1 << 20;
/// Free pages of the database, of 4 KiB: some 10,000 entries of the audit.
const PAGES: i64 = 256;
/// The file is made only where so much is free: not of what others need more.
const PLENTY: u64 = 4 * FILE;
/// How often it is looked whether there is room for it again.
const LOOK: Duration = Duration::from_secs(60);

/// How much of a full disk the registry would survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// It has room ahead.
    Whole,
    /// There is no such file: it was given up for want of room, or there never was enough.
    Gone,
    /// The file system gives no room ahead.
    Unsupported,
}

/// The room of one registry.
#[derive(Debug)]
pub(crate) struct Reserve {
    log: PathBuf,
    file: PathBuf,
    directory: PathBuf,
    unsupported: AtomicBool,
    /// Blocks that the log has.
    blocks: AtomicU64,
}

impl Reserve {
    /// Of the database at `path`, which is open.
    pub(crate) fn of(path: &Path) -> Arc<Self> {
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        Arc::new(Self {
            log: beside(path, "-wal"),
            file: path.with_extension("reserve"),
            directory: directory.unwrap_or(Path::new(".")).to_owned(),
            unsupported: AtomicBool::new(false),
            blocks: AtomicU64::new(0),
        })
    }

    /// Before the database is opened: SQLite makes files for that. On a full disk they get the reserve's room. Blocks for moments.
    pub(crate) fn make_way(&self) {
        let full = disk_space(&self.directory).is_ok_and(|space| space.available < LOG + SLACK);
        if full {
            self.give_up();
        }
    }

    /// Takes all the room that is to be had. A registry that gets none works all the same. Blocks for moments.
    pub(crate) fn hold(&self) {
        match self.lengthen_log() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull && self.give_up() => {
                self.lengthen();
            }
            Err(error) if error.kind() == ErrorKind::StorageFull => {}
            Err(error) => {
                self.unsupported.store(true, Ordering::Relaxed);
                tracing::debug!(%error, "the disk gives no room ahead");
            }
        }
        self.keep();
    }

    /// How it stands.
    pub(crate) fn state(&self) -> Reserved {
        match (self.unsupported.load(Ordering::Relaxed), self.file.exists()) {
            (true, _) => Reserved::Unsupported,
            (false, true) => Reserved::Whole,
            (false, false) => Reserved::Gone,
        }
    }

    /// Blocks for the log that go beyond what it has.
    fn lengthen_log(&self) -> io::Result<()> {
        // No lock of SQLite's is on the log: to close another handle of it harms none.
        let log = File::options().write(true).open(&self.log)?;
        let blocks = self.blocks.load(Ordering::Relaxed) + LOG;
        allocate(&log, blocks)?;
        self.blocks.store(blocks, Ordering::Relaxed);
        Ok(())
    }

    /// The disk is full while the registry is open: the log gets the file's room. False if there is no file any more. Blocks for moments.
    pub(crate) fn lend(&self) -> bool {
        let given_up = self.give_up();
        if given_up {
            self.lengthen();
        }
        given_up
    }

    fn lengthen(&self) {
        if let Err(error) = self.lengthen_log() {
            tracing::debug!(%error, "somebody else took the room");
        }
    }

    /// Removes the file. False if there is none any more.
    fn give_up(&self) -> bool {
        if fs::remove_file(&self.file).is_err() {
            return false;
        }
        let disk = self.directory.display();
        tracing::error!(%disk, "the disk is full, and the registry lives on its reserve: make room, or cameras will not be let in");
        true
    }

    /// Makes the file, if it is missing and there is plenty of room. Blocks for moments.
    fn keep(&self) {
        let plenty = disk_space(&self.directory).is_ok_and(|space| space.available >= PLENTY);
        if !plenty || self.state() != Reserved::Gone {
            return;
        }
        let mut private = File::options();
        private.write(true).create_new(true).mode(0o600);
        let made = private.open(&self.file).and_then(|file| {
            allocate(&file, FILE)?;
            file.set_len(FILE)
        });
        if let Err(error) = made {
            let _ = fs::remove_file(&self.file);
            tracing::debug!(%error, "no reserve for the registry");
        }
    }

    /// Looks again and again whether there is room for the file. Ends with `stop`.
    pub(crate) async fn run(self: Arc<Self>, clock: SharedClock, stop: CancellationToken) {
        while !sleep(&*clock, LOOK, &stop).await.is_cancelled() {
            let before = self.state();
            let reserve = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || reserve.keep()).await;
            if before == Reserved::Gone && self.state() == Reserved::Whole {
                tracing::info!("the registry has its reserve on the disk again");
            }
        }
    }
}

/// Sees to it that the database has free pages. One that cannot get them works all the same.
pub(crate) async fn free_pages(writer: &SqlitePool) {
    let made = async {
        let free: i64 = sqlx::query("PRAGMA freelist_count")
            .fetch_one(writer)
            .await?
            .try_get(0)?;
        if free < PAGES {
            // Two commits: what one commit makes and drops is never written, and has no blocks.
            for step in [
                "DROP TABLE IF EXISTS room_ahead",
                "CREATE TABLE room_ahead (room BLOB) STRICT",
                "INSERT INTO room_ahead (room) VALUES (zeroblob(1048576))",
                "DROP TABLE room_ahead",
                "PRAGMA wal_checkpoint(PASSIVE)",
            ] {
                sqlx::query(step).execute(writer).await?;
            }
        }
        Ok::<_, sqlx::Error>(())
    };
    if let Err(error) = made.await {
        tracing::debug!(%error, "no free pages in the registry");
    }
}

/// `SQLITE_FULL` (13), or `SQLITE_IOERR_SHMSIZE` (4874): the log's index found no room to grow.
pub(crate) fn is_full(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<i32>().ok())
        .is_some_and(|code| code & 0xff == 13 || code == 4874)
}
