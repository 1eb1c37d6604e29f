//! The emulated camera: a 64 MB MIPS machine in QEMU with the agent that is released, on the board of `cargo xtask test --emu`.
//!
//! [`Wall`] is what survives a power cut: flash and SD card, and how the firmware is set. [`Camera`] is the machine while it has power; dropping it is
//! a power cut. Its first serial port is its console, where the agent tells what it does; on the second one it takes [`Camera::order`]s.
//!
//! ```no_run
//! # async fn test() -> Result<(), moorline_testkit::Error> {
//! use moorline_testkit::{emu::Wall, or_skip};
//! let Some(wall) = or_skip(Wall::new(&["local.source=10.0.2.2:8554"])) else { return Ok(()) };
//! let camera = wall.power_on().await?;
//! assert_eq!(camera.order("ls /etc/moorline").await?, "id\nlocal.conf\n");
//! # Ok(()) }
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        UnixListener,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::Command,
    sync::Mutex,
};

use crate::{Error, child, child::Child, dns::Dns, patience, temp_dir};

mod names;
mod standstill;

/// As the camera sees the loopback of this machine.
pub const HOST: &str = "10.0.2.2";
/// Its own address.
pub const CAMERA: &str = "10.0.2.15";
/// Where it can ask for names, if [`Wall::names`] serves some.
pub const RESOLVER: &str = "10.0.2.3";

/// Starts QEMU; the same for who starts a camera by hand.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../firmware/emu/camera");
/// Bytes of the flash: what is left of the 8 MB of small cameras. Erased flash is all ones.
const FLASH: usize = 2 << 20;
/// Bytes of the card.
const CARD: u64 = 1_474_560;
/// A boot takes 6 s on a quiet machine, and ten times as long on one that compiles.
const BOOT: Duration = Duration::from_secs(150);
/// What an order may take.
const ORDER: Duration = Duration::from_secs(60);

/// Flash and card of one camera, and the settings of its firmware.
#[derive(Debug)]
pub struct Wall {
    board: PathBuf,
    place: TempDir,
    boot: String,
    resolv_conf: Option<PathBuf>,
}

impl Wall {
    /// A new camera: an empty flash, an empty card. `boot`: words for its first process, see `firmware/emu/camera`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] outside `cargo xtask test --emu`; others when its files cannot be made.
    pub fn new(boot: &[&str]) -> Result<Self, Error> {
        let Some(board) = std::env::var_os("MOORLINE_EMU") else {
            return Err(Error::Unavailable {
                peer: "the emulated camera",
                reason: "`cargo xtask test --emu` brings one".to_owned(),
            });
        };
        let place = temp_dir()?;
        let failed = |source| Error::io("make an empty flash", source);
        fs::write(place.path().join("flash"), vec![0xFF; FLASH]).map_err(failed)?;
        Ok(Self {
            board: board.into(),
            place,
            boot: boot.join(" "),
            resolv_conf: None,
        })
    }

    /// Names as a test makes them up, from the next power on: the camera asks at [`RESOLVER`], which stands in no file of it yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without root, or where a container forbids it.
    pub async fn names(&mut self) -> Result<Dns, Error> {
        let resolv_conf = self.place.path().join("resolv.conf");
        let dns = names::serve(&resolv_conf).await?;
        self.resolv_conf = Some(resolv_conf);
        Ok(dns)
    }

    /// What it boots from: the kernel, and below `tree` the files of its system.
    #[must_use]
    pub fn board(&self) -> &Path {
        &self.board
    }

    /// Puts a file onto the card as `moorline/<name>`, from a reader of cards; while the camera has no power.
    ///
    /// # Errors
    /// When the card cannot be written.
    pub async fn put(&self, file: &Path, name: &str) -> Result<(), Error> {
        if !self.card().exists() {
            let made = fs::File::create(self.card()).and_then(|card| card.set_len(CARD));
            made.map_err(|source| Error::io("make a card", source))?;
            self.mtools("mformat", &["-f", "1440", "::"]).await?;
            self.mtools("mmd", &["::/moorline"]).await?;
        }
        let file = file.display().to_string();
        self.mtools("mcopy", &["-o", &file, &format!("::/moorline/{name}")])
            .await
            .map(drop)
    }

    /// The names in the card's directory `moorline`.
    ///
    /// # Errors
    /// When there is no card.
    pub async fn on_card(&self) -> Result<String, Error> {
        self.mtools("mdir", &["-b", "::/moorline"]).await
    }

    fn card(&self) -> PathBuf {
        self.place.path().join("card")
    }

    async fn mtools(&self, program: &str, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(program);
        command.arg("-i").arg(self.card()).args(arguments);
        let output = child::run(program, command, Duration::from_secs(10)).await?;
        if !output.status.success() {
            return Err(Error::Refused {
                peer: "mtools",
                message: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Gives it power, and waits until it takes orders.
    ///
    /// # Errors
    /// When it does not boot.
    pub async fn power_on(&self) -> Result<Camera, Error> {
        self.power_on_with(&[]).await
    }

    /// The same with further options of QEMU.
    ///
    /// # Errors
    /// As [`Wall::power_on`].
    pub async fn power_on_with(&self, options: &[&str]) -> Result<Camera, Error> {
        let camera = self.plug_in(options).await?;
        camera.until_booted().await?;
        Ok(camera)
    }

    /// The same without waiting for its boot: QEMU's process runs. [`Camera::until_booted`] comes before the first order.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub async fn plug_in(&self, options: &[&str]) -> Result<Camera, Error> {
        let failed = |source| Error::io("start the emulated camera", source);
        let mut card = self.card();
        if !card.exists() {
            // No card in the slot: a disk that holds nothing.
            card = self.place.path().join("no-card");
            let made = fs::File::create(&card).and_then(|card| card.set_len(CARD));
            made.map_err(failed)?;
        }
        let socket = self.place.path().join("orders");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        let monitor = self.place.path().join("monitor");
        let mut command = match &self.resolv_conf {
            Some(file) => names::seeing(file, SCRIPT),
            None => Command::new(SCRIPT),
        };
        command
            .arg(&self.board)
            .arg(self.place.path().join("flash"))
            .arg(card)
            .args(["-serial", "stdio", "-serial"])
            .arg(format!("unix:{}", socket.display()))
            .arg("-monitor")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .args(options)
            .env("MOORLINE_EMU_BOOT", &self.boot);
        let qemu = Child::spawn("camera", command)?;
        let accepted = tokio::time::timeout(patience(BOOT), listener.accept()).await;
        let (stream, _) = accepted
            .map_err(|_| Error::Timeout {
                what: "QEMU's start".to_owned(),
                patience: BOOT,
                detail: qemu.tail(),
            })?
            .map_err(failed)?;
        let (from, to) = stream.into_split();
        Ok(Camera {
            qemu,
            monitor,
            orders: Mutex::new(Orders {
                from: BufReader::new(from),
                to,
            }),
        })
    }
}

/// The second serial port.
#[derive(Debug)]
struct Orders {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
}

/// A camera that has power.
#[derive(Debug)]
pub struct Camera {
    qemu: Child,
    monitor: PathBuf,
    orders: Mutex<Orders>,
}

impl Camera {
    /// QEMU: its lines are the console; freezing it is a camera whose network is dead.
    #[must_use]
    pub fn machine(&self) -> &Child {
        &self.qemu
    }

    /// For a test that gives it up: the end of its console, and what tells why it stands still (QEMU's registers and interrupts, who waits in its
    /// kernel, what this machine was short of). The kernel answers on the console, so nothing is awaited there afterwards.
    pub async fn given_up(&self) -> String {
        let console = self.qemu.tail();
        console + &standstill::told(&self.qemu, &self.monitor).await
    }

    /// Cuts its power, and waits until it has none: flash and card can be used again then.
    ///
    /// # Errors
    /// When QEMU does not end.
    pub async fn power_cut(mut self) -> Result<(), Error> {
        self.qemu.signal(child::Signal::KILL);
        self.qemu.wait(Duration::from_secs(10)).await.map(drop)
    }

    /// Waits until it takes orders, also after a reboot of its own.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn until_booted(&self) -> Result<(), Error> {
        let mut orders = self.orders.lock().await;
        self.read(&mut orders, BOOT, "the boot", "[ready]")
            .await
            .map(drop)
    }

    /// Runs a line of shell in it and gives its output.
    ///
    /// # Errors
    /// When it fails, or takes longer than a minute.
    pub async fn order(&self, line: &str) -> Result<String, Error> {
        let mut orders = self.orders.lock().await;
        let written = orders.to.write_all(format!("{line}\n").as_bytes()).await;
        written.map_err(|source| Error::io(format!("order {line}"), source))?;
        let (output, how) = self.read(&mut orders, ORDER, line, "[ended ").await?;
        if how != "0]" {
            return Err(Error::Refused {
                peer: "the emulated camera",
                message: format!("{line}: {how} {output}"),
            });
        }
        Ok(output)
    }

    /// Lines until one that begins with `end`: those before it, and what stands behind it in its line.
    async fn read(
        &self,
        orders: &mut Orders,
        deadline: Duration,
        what: &str,
        end: &str,
    ) -> Result<(String, String), Error> {
        let deadline = patience(deadline);
        let mut output = String::new();
        let reading = async {
            loop {
                let mut bytes = Vec::new();
                if orders.from.read_until(b'\n', &mut bytes).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                let line = String::from_utf8_lossy(&bytes);
                let line = line.trim_end_matches(['\r', '\n']);
                if let Some(how) = line.strip_prefix(end) {
                    return Ok(how.to_owned());
                }
                output.push_str(line);
                output.push('\n');
            }
        };
        match tokio::time::timeout(deadline, reading).await {
            Ok(Ok(how)) => Ok((output, how)),
            Ok(Err(source)) => Err(Error::io(
                format!("hear the end of {what}: {}", self.qemu.tail()),
                source,
            )),
            Err(_) => Err(Error::Timeout {
                what: format!("the end of {what}"),
                patience: deadline,
                detail: self.given_up().await,
            }),
        }
    }
}
