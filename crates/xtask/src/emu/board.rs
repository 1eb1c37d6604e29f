//! The kernel and the first file system of the emulated camera.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{archive::Archive, kernel};
use crate::{
    debian::{self, Package, output},
    dist::MIPSEL,
    process::root,
};

/// What the camera is made of.
const PACKAGES: &[Package] = &[
    Package::Behind("linux-image-4kc-malta"),
    Package::Named("busybox-static"),
    Package::Named("dropbear-bin"),
    Package::Named("libc6"),
    Package::Named("libtomcrypt1"),
    Package::Named("libtommath1"),
    Package::Named("zlib1g"),
    Package::Named("libgmp10"),
];
/// Programs of these, and what they load.
const PROGRAMS: &[&str] = &["bin/busybox", "usr/bin/dbclient", "usr/bin/dropbearkey"];
const LIBRARIES: &[&str] = &[
    "ld.so.1",
    "libc.so.6",
    "libtomcrypt.so.1",
    "libtommath.so.1",
    "libgmp.so.10",
    "libz.so.1",
];

/// Writes `vmlinux` and `initrd.gz` into `board`.
pub(super) fn make(agent: &Path, board: &Path) -> Result<()> {
    let debian = debian::unpacked("camera", "mipsel", PACKAGES)?;
    fs::create_dir_all(board)?;
    let vmlinuz = only(&debian.join("boot"), "vmlinuz-")?;
    let version = vmlinuz
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    // Unpacking takes seconds, and the kernel rarely changes.
    let named = board.join("kernel");
    if !fs::read_to_string(&named).is_ok_and(|had| had == version) {
        fs::write(board.join("vmlinux"), kernel::unpack(&fs::read(&vmlinuz)?)?)?;
        fs::write(&named, &version)?;
    }

    let tree = board.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    output(
        Command::new(root().join("firmware/overlay"))
            .arg("--agent")
            .arg(agent)
            .arg(&tree),
    )?;
    copy_tree(&root().join("firmware/emu/rootfs"), &tree)?;
    for program in PROGRAMS {
        copy(&debian.join(program), &tree.join(program))?;
    }
    for library in LIBRARIES {
        let lies = ["lib", "lib/mipsel-linux-gnu", "usr/lib/mipsel-linux-gnu"]
            .map(|place| debian.join(place).join(library));
        let found = lies.iter().find(|path| path.exists());
        let found = found.with_context(|| format!("Debian's packages hold no {library}"))?;
        copy(found, &tree.join("lib").join(library))?;
    }
    modules(&debian, &tree)?;
    old_kernel(&tree)?;

    let mut archive = Archive::default();
    archive.tree(&tree)?;
    archive.directory("dev")?;
    archive.device("dev/console", 0o600, (5, 1))?;
    archive.device("dev/null", 0o666, (1, 3))?;
    let initrd = board.join("initrd");
    fs::write(&initrd, archive.finish()?)?;
    output(Command::new("gzip").args(["-n", "-f", "-6"]).arg(&initrd))?;
    Ok(())
}

/// Which system calls a program finds: `firmware/emu/linux-3.10.c`. No C library is linked, and nothing that moves.
const OLD_KERNEL: &[&str] = &[
    "-Os",
    "-Wall",
    "-ffreestanding",
    "-fno-pic",
    "-no-pie",
    "-mno-abicalls",
    "-fno-stack-protector",
    "-nostdlib",
    "-static",
];

/// What runs the agent as a camera's kernel does, where a test wants it.
fn old_kernel(tree: &Path) -> Result<()> {
    let mut gcc = Command::new(format!("{}-gcc", MIPSEL.tools));
    gcc.args(OLD_KERNEL)
        .arg("-o")
        .arg(tree.join("usr/bin/linux-3.10"))
        .arg(root().join("firmware/emu/linux-3.10.c"));
    output(&mut gcc).map(drop)
}

/// Those that `etc/modules` names, without what debuggers need.
fn modules(debian: &Path, tree: &Path) -> Result<()> {
    let kernels = only(&debian.join("lib/modules"), "")?;
    let found = output(Command::new("find").arg(&kernels).args(["-name", "*.ko"]))?;
    let list = fs::read_to_string(tree.join("etc/modules"))?;
    for (file, module) in named(&list, &found)? {
        let to = tree.join("lib/modules").join(file);
        copy(module, &to)?;
        let strip = format!("{}-strip", MIPSEL.tools);
        output(Command::new(strip).arg("-g").arg(&to))?;
    }
    Ok(())
}

/// The file name of each module in a list, and where it was found. A line is a module and its options.
fn named<'a>(list: &str, found: &'a str) -> Result<Vec<(String, &'a Path)>> {
    let mut all = Vec::new();
    for line in list.lines() {
        let file = format!("{}.ko", line.split(' ').next().unwrap_or_default());
        let module = found
            .lines()
            .map(Path::new)
            .find(|path| path.file_name().is_some_and(|name| *name == *file))
            .with_context(|| format!("Debian's kernel has no {file}"))?;
        all.push((file, module));
    }
    Ok(all)
}

/// The first file there whose name begins so.
fn only(directory: &Path, prefix: &str) -> Result<PathBuf> {
    fs::read_dir(directory)?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .with_context(|| format!("no {prefix}* in {}", directory.display()))
}

/// The file behind a link, which programs and libraries of packages often are.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// Scripts as they are in the repository, all of them executable or not as git keeps it.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy_tree(&entry.path(), &target)?;
        } else {
            copy(&entry.path(), &target)?;
            // Whoever builds may have a narrow umask; the camera has one user.
            let mode = fs::metadata(&target)?.permissions().mode() | 0o444;
            fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_by_their_whole_name_and_one_that_is_missing_is_named() {
        let found = "/m/net/net_failover.ko\n/m/net/failover.ko\n/m/mtd/block2mtd.ko\n";
        let list = "failover\nblock2mtd block2mtd=/dev/vda,65536\n";
        let all = named(list, found).unwrap();
        assert_eq!(
            all,
            [
                ("failover.ko".to_owned(), Path::new("/m/net/failover.ko")),
                ("block2mtd.ko".to_owned(), Path::new("/m/mtd/block2mtd.ko")),
            ]
        );
        let error = named("virtio\n", found).map_err(|error| error.to_string());
        assert_eq!(error, Err("Debian's kernel has no virtio.ko".to_owned()));
    }

    #[test]
    fn the_camera_s_own_files_can_be_read_and_run_whatever_the_umask_of_who_builds() {
        let place = std::env::temp_dir().join(format!("moorline-board-{}", std::process::id()));
        let (from, to) = (place.join("from"), place.join("to"));
        for (name, mode) in [("init", 0o700), ("etc/inittab", 0o600)] {
            let file = from.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, name).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir_all(&to).unwrap();
        copy_tree(&from, &to).unwrap();
        let made = |name: &str| {
            let file = to.join(name);
            let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            (fs::read_to_string(&file).unwrap(), mode)
        };
        let seen = (made("init"), made("etc/inittab"));
        fs::remove_dir_all(&place).unwrap();
        assert_eq!(
            seen,
            (
                ("init".to_owned(), 0o744),
                ("etc/inittab".to_owned(), 0o644)
            )
        );
    }

    #[test]
    fn what_a_camera_is_made_of_must_be_there() {
        assert!(only(Path::new("/nonexistent"), "vmlinuz-").is_err());
        let here = root().join("firmware/emu");
        assert_eq!(only(&here, "cam").ok(), Some(here.join("camera")));
        let error = only(&here, "vmlinuz-").map_err(|error| error.to_string());
        let error = error.unwrap_err();
        assert!(error.starts_with("no vmlinuz-* in "), "{error}");
    }
}
