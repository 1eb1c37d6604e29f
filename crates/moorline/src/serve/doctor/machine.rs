//! What the machine gives: open files, and room on the disks.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use moorline_base::clock::{self, Clock};
use moorline_base::files::{DiskSpace, disk_space};
use moorline_base::net::OpenFiles;
use moorline_core::port::CameraDirectory as _;
use moorline_registry::Reserved;
use moorline_web::api::DoctorFinding;

use super::super::operations::Operator;
use super::{ok, problem};
use crate::output;

/// Files and sockets that a camera needs: session, relay, recorder, spool, some viewers.
const FILES_PER_CAMERA: u64 = 5;

/// Whether as many files may be open as the cameras want.
pub(super) fn open_files(operator: &Operator) -> Option<DoctorFinding> {
    let running = operator.facts.running.as_ref()?;
    let cameras = operator.registry.cameras().snapshot().len() as u64;
    Some(enough(running.open_files, cameras))
}

pub(super) fn enough(files: OpenFiles, cameras: u64) -> DoctorFinding {
    let wanted = cameras.max(100) * FILES_PER_CAMERA;
    if files.enough_for(wanted) {
        return ok("open files", format!("{} may be open", files.now));
    }
    let finding = format!("{} may be open; {cameras} cameras want {wanted}", files.now);
    problem(
        "open files",
        finding,
        "raise the limit: LimitNOFILE=65536 in the systemd unit, or ulimit -n 65536",
    )
}

/// What a disk gets to say how much room it has.
const ANSWER: Duration = Duration::from_secs(5);

/// The disk with recordings, and the spool's where that is another one.
pub(super) async fn disks(operator: &Operator) -> Vec<DoctorFinding> {
    let free = operator.settings.get().archive.disk_free.bytes();
    let spool = operator.data.join("spool");
    let store = operator.store.directory.as_ref();
    // What lies in the place of a disk that is not mounted says nothing; the store's own line tells.
    let archive = store.map(|store| (store.path().to_owned(), store.absent().is_none()));
    let looking = move || match archive {
        None => vec![room(
            "disk of the spool",
            &spool,
            disk_space(&spool),
            free / 2,
        )],
        Some((archive, is_there)) => {
            let mut found = Vec::new();
            if is_there {
                found.push(room("disk", &archive, disk_space(&archive), free));
            }
            if !same_disk(&archive, &spool) {
                let space = disk_space(&spool);
                found.push(room("disk of the spool", &spool, space, free / 2));
            }
            found
        }
    };
    answered(looking, &*operator.clock).await
}

/// What blocks on a disk, on a thread of its own: one that hangs holds up no other.
pub(super) async fn answered(
    looking: impl FnOnce() -> Vec<DoctorFinding> + Send + 'static,
    clock: &dyn Clock,
) -> Vec<DoctorFinding> {
    match clock::timeout(clock, ANSWER, tokio::task::spawn_blocking(looking)).await {
        Ok(found) => found.unwrap_or_default(),
        Err(_) => vec![problem(
            "disk",
            "the disk of recordings or of the spool does not answer",
            "look at the kernel's log (dmesg) and at the disk: recording and reading there wait for it",
        )],
    }
}

/// What the registry lives on when its disk is full.
pub(super) fn reserve(reserved: Reserved) -> Option<DoctorFinding> {
    const CHECK: &str = "room for the registry";
    match reserved {
        Reserved::Whole => Some(ok(CHECK, "held ahead: a full disk keeps no camera out")),
        Reserved::Gone => Some(problem(
            CHECK,
            "its disk is full or nearly, and nothing is held ahead any more: cameras may not be let in",
            "make room on the disk of the data directory: from 48 MiB on the reserve is there again within a minute",
        )),
        Reserved::Unsupported => None,
    }
}

/// Whether both lie on one file system; of one that cannot be looked at nobody knows.
fn same_disk(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    device(one).is_some_and(|one| device(other) == Some(one))
}

/// `least` bytes are to stay free; below that recordings go.
pub(super) fn room(
    check: &str,
    path: &Path,
    space: io::Result<DiskSpace>,
    least: u64,
) -> DoctorFinding {
    let space = match space {
        Ok(space) => space,
        Err(error) => {
            let hint = "nothing can be recorded there: see whether its disk is mounted, and who may read it";
            let finding = format!("cannot look at {}: {error}", path.display());
            return problem(check, finding, hint);
        }
    };
    let told = format!(
        "{} of {} free",
        output::bytes(space.available),
        output::bytes(space.total)
    );
    if space.available < least {
        let hint =
            "make room, or lower archive.disk_free; recordings are being deleted to keep it free";
        return problem(check, told, hint);
    }
    ok(check, told)
}
