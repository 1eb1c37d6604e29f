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
    if let Some(file) = &options.enroll {
        // Before the board is made, which takes minutes the first time.
        fs::metadata(file).with_context(|| format!("--enroll {}", file.display()))?;
    }
    let board = board()?;
    let place = match &options.keep {
        Some(place) => place.clone(),
        None => {
            let forgotten = target_directory()?.join("emu-by-hand");
            let _ = fs::remove_dir_all(&forgotten);
            forgotten
        }
    };
    hang_up(&place, options.enroll.as_deref())?;
    println!("{}", GREETING.trim());
    succeed(&mut camera(&board, &place, options))
}

/// Flash and card of a camera, new where there are none: erased, and empty but for the file that enrols it.
fn hang_up(place: &Path, enroll: Option<&Path>) -> Result<()> {
    fs::create_dir_all(place)?;
    let (flash, card) = (place.join("flash"), place.join("card"));
    if !flash.exists() {
        fs::write(&flash, vec![0xFF; FLASH])?;
    }
    if !card.exists() {
        fs::File::create(&card)?.set_len(CARD)?;
        output(mtools("mformat", &card).args(["-f", "1440", "::"]))?;
        output(mtools("mmd", &card).arg("::/moorline"))?;
    }
    if let Some(file) = enroll {
        output(
            mtools("mcopy", &card)
                .arg("-o")
                .arg(file)
                .arg("::/moorline/enroll"),
        )
        .with_context(|| format!("cannot put {} onto the card", file.display()))?;
    }
    Ok(())
}

/// Gives it power: its console is this terminal.
fn camera(board: &Path, place: &Path, options: &Options) -> Command {
    let boot = format!(
        "local.source={} local.main={}",
        options.source, options.path
    );
    let mut camera = Command::new(root().join("firmware/emu/camera"));
    camera
        .args([board, &place.join("flash"), &place.join("card")])
        .args(["-serial", "stdio", "-serial", "null"])
        .env("MOORLINE_EMU_BOOT", boot)
        .stdin(Stdio::inherit());
    camera
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{Cli, Task};

    fn typed(words: &[&str]) -> Options {
        let line = ["xtask", "emu"].into_iter().chain(words.iter().copied());
        let Task::Emu(options) = Cli::try_parse_from(line).unwrap().task else {
            panic!("another task");
        };
        options
    }

    /// A directory that nobody else uses, removed at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("moorline-emu-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn on_card(&self, name: &str) -> String {
            let file = format!("::/moorline/{name}");
            output(mtools("mtype", &self.0.join("card")).arg(file)).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_camera_by_hand_has_its_console_here_and_its_streamer_where_it_was_said() {
        let (board, place) = (Path::new("/board"), Path::new("/place"));
        let told = |words: &[&str]| {
            let command = camera(board, place, &typed(words));
            let program = command.get_program().to_owned();
            assert!(Path::new(&program).is_file(), "{program:?}");
            let arguments: Vec<_> = command
                .get_args()
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect();
            assert_eq!(
                arguments.join(" "),
                "/board /place/flash /place/card -serial stdio -serial null"
            );
            let boot = command
                .get_envs()
                .find(|(name, _)| *name == "MOORLINE_EMU_BOOT");
            let boot = boot.and_then(|(_, words)| words).unwrap();
            boot.to_string_lossy().into_owned()
        };
        assert_eq!(told(&[]), "local.source=10.0.2.2:8555 local.main=/main");
        assert_eq!(
            told(&["--source", "10.0.2.2:554", "--path", "/ch0"]),
            "local.source=10.0.2.2:554 local.main=/ch0"
        );
    }

    #[test]
    fn a_new_camera_has_an_erased_flash_and_a_card_with_nothing_but_its_file() {
        let place = Place::new("new");
        let file = place.0.join("given");
        fs::create_dir_all(&place.0).unwrap();
        fs::write(&file, "host 10.0.2.2\n").unwrap();
        hang_up(&place.0, Some(&file)).unwrap();
        let flash = fs::read(place.0.join("flash")).unwrap();
        assert_eq!(flash.len(), FLASH);
        assert!(flash.iter().all(|byte| *byte == 0xFF), "not erased");
        let size = fs::metadata(place.0.join("card")).unwrap().len();
        assert_eq!(size, CARD);
        assert_eq!(place.on_card("enroll"), "host 10.0.2.2\n");
        let all = output(mtools("mdir", &place.0.join("card")).args(["-b", "::/moorline"]));
        assert_eq!(all.unwrap().trim(), "::/moorline/enroll");
    }

    #[test]
    fn what_was_kept_is_the_same_camera_again() {
        let place = Place::new("kept");
        hang_up(&place.0, None).unwrap();
        fs::write(place.0.join("flash"), "its key").unwrap();
        let file = place.0.join("given");
        for token in ["first", "second"] {
            fs::write(&file, token).unwrap();
            hang_up(&place.0, Some(&file)).unwrap();
            assert_eq!(place.on_card("enroll"), token);
        }
        hang_up(&place.0, None).unwrap();
        assert_eq!(fs::read(place.0.join("flash")).unwrap(), b"its key");
        assert_eq!(place.on_card("enroll"), "second");
    }

    #[test]
    fn a_file_that_is_not_there_is_told_before_anything_is_made() {
        let error = run(&typed(&["--enroll", "/nonexistent/enroll"])).err();
        let error = error.map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(
            error.starts_with("--enroll /nonexistent/enroll: "),
            "{error}"
        );
    }
}
