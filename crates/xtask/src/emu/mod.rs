//! `cargo xtask emu`: the emulated camera by hand, and the board on which the tests of `cargo xtask test --emu` boot.
//!
//! The board (`<target>/emu`: a kernel and an initramfs) is made of Debian's mipsel packages, of `firmware/emu`, and of what `firmware/overlay` makes
//! of the agent that is released. `firmware/emu/camera` starts QEMU.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    debian::output,
    dist,
    process::{root, succeed, target_directory},
    setup,
};

mod archive;
mod board;
mod kernel;
mod tier;

pub(crate) use tier::run as test;

/// QEMU, and what puts files onto a card.
const PACKAGES: &[&str] = &["qemu-system-mips", "mtools", "xz-utils", "gzip"];

/// Bytes of an emulated flash: as much as cameras with 8 MB leave.
const FLASH: usize = 2 << 20;
/// Bytes of an emulated card.
const CARD: u64 = 1_474_560;

#[derive(Args)]
pub(crate) struct Options {
    /// The file of `moorline camera enroll`, which is put onto the card; its server must be reachable as 10.0.2.2
    #[arg(long, value_name = "FILE")]
    enroll: Option<PathBuf>,
    /// Where the camera's streamer is, as the camera sees it: 10.0.2.2 is this machine's loopback
    #[arg(long, value_name = "HOST:PORT", default_value = "10.0.2.2:8555")]
    source: String,
    /// The path of the streamer's pictures
    #[arg(long, value_name = "PATH", default_value = "/main")]
    path: String,
    /// What flash and card hold is kept here, and used again [default: forgotten]
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
}

/// All packages that the board, and starting it, need.
pub(crate) fn packages() -> Vec<&'static str> {
    [dist::packages(&dist::MIPSEL), PACKAGES.to_vec()].concat()
}

/// Makes the board, or finds that it is as it would be made.
pub(crate) fn board() -> Result<PathBuf> {
    setup::install(&packages())?;
    let agent = dist::agent(&dist::MIPSEL)?;
    let board = target_directory()?.join("emu");
    board::make(&agent, &board)?;
    Ok(board)
}

/// Starts one on this terminal.
pub(crate) fn run(options: &Options) -> Result<()> {
    let board = board()?;
    let forgotten = target_directory()?.join("emu-by-hand");
    let place = match &options.keep {
        Some(place) => place.clone(),
        None => {
            let _ = fs::remove_dir_all(&forgotten);
            forgotten
        }
    };
    fs::create_dir_all(&place)?;
    let (flash, card) = (place.join("flash"), place.join("card"));
    if !flash.exists() {
        fs::write(&flash, vec![0xFF; FLASH])?;
    }
    if !card.exists() {
        fs::File::create(&card)?.set_len(CARD)?;
        output(mtools("mformat", &card).args(["-f", "1440", "::"]))?;
        output(mtools("mmd", &card).arg("::/moorline"))?;
    }
    if let Some(file) = &options.enroll {
        output(
            mtools("mcopy", &card)
                .arg("-o")
                .arg(file)
                .arg("::/moorline/enroll"),
        )
        .with_context(|| format!("cannot put {} onto the card", file.display()))?;
    }
    println!("{}", GREETING.trim());
    let boot = format!(
        "local.source={} local.main={}",
        options.source, options.path
    );
    let mut camera = Command::new(root().join("firmware/emu/camera"));
    camera
        .args([&board, &flash, &card])
        .args(["-serial", "stdio", "-serial", "null"])
        .env("MOORLINE_EMU_BOOT", boot)
        .stdin(Stdio::inherit());
    succeed(&mut camera)
}

fn mtools(program: &str, card: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-i").arg(card);
    command
}

const GREETING: &str = "
The camera boots in some seconds. Enter gives a shell in it; Ctrl-C switches it off as a power cut does.
A streamer and a server for it, and a file for its card (--enroll enroll), on this machine:

  cargo run -p moorline-simcam --example streamer
  moorline serve --public-host 10.0.2.2
  moorline camera enroll yard --file enroll

In the camera: `moorline-agent check`, `cat /run/moorline/state`, `ls /etc/moorline`.
";
