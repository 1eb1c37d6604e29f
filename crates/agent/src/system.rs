//! The camera's system, through `/proc`, `/sys` and busybox applets: std has neither ioctl nor settimeofday.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use moorline_control::{HostKey, Mac, Model};

use crate::files;
use crate::words::number;

/// No clock of a server is below this: when the agent was built.
#[must_use]
pub fn built_at() -> u64 {
    // 2026-11-29: when this was written, for builds that do not say.
    const WRITTEN: u64 = 1_795_910_400;
    let told = option_env!("SOURCE_DATE_EPOCH").and_then(number);
    told.unwrap_or(WRITTEN)
}

/// The wall clock in seconds.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "std only: there is no base here; only TIME and the check look at it"
)]
pub fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Sets the clock by busybox's `date`. Waits for it: milliseconds.
///
/// # Errors
/// It is not there, or may not.
pub fn set_wall(unix: u64) -> io::Result<()> {
    run(Command::new("date").arg("-s").arg(format!("@{unix}")))
}

/// Syncs and reboots. The watchdog stays armed: a reboot that hangs is cut.
///
/// # Errors
/// There is no `reboot`.
pub fn reboot() -> io::Result<()> {
    // A flash that cannot be written must not keep the camera up.
    let _ = run(&mut Command::new("sync"));
    run(&mut Command::new("reboot"))
}

/// Runs a program to its end, without output.
fn run(command: &mut Command) -> io::Result<()> {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = quiet.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("{status}")))
    }
}

/// Starts a program of the owner's, and waits for it in the background.
pub fn start(words: &[String]) {
    let Some((program, arguments)) = words.split_first() else {
        return;
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let _ = crate::relay::spawn("restart", move || {
        let _ = run(&mut command);
    });
}

/// What a program says, on standard output and standard error alike; `None` when it cannot be started.
pub(crate) fn said(mut command: Command) -> Option<String> {
    let (mut said, says) = io::pipe().ok()?;
    let quiet = command.stdin(Stdio::null());
    let started = quiet.stdout(says.try_clone().ok()?).stderr(says).spawn();
    // It holds our ends of the pipe.
    drop(command);
    let mut child = started.ok()?;
    let mut text = Vec::new();
    let _ = files::read_on(&mut said, &mut text, MOST_SAID);
    let _ = child.wait();
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// No program that we ask says more.
const MOST_SAID: usize = 16 * 1024;

/// The beginning of a file of the kernel's.
pub(crate) fn text(path: &str) -> Option<String> {
    let text = files::beginning(path.as_ref(), MOST_SAID).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Standard output, without std's buffer: what is written is out.
pub(crate) fn stdout() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Seconds since boot.
#[must_use]
pub fn uptime() -> Option<u64> {
    number(text("/proc/uptime")?.split('.').next()?)
}

/// KiB that are free or can be freed.
#[must_use]
pub fn memory() -> Option<u64> {
    available(&text("/proc/meminfo")?)
}

/// `MemAvailable` exists since Linux 3.14; cameras have 3.10.
fn available(meminfo: &str) -> Option<u64> {
    let field = |name: &str| {
        let line = meminfo
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        number::<u64>(line.split_ascii_whitespace().nth(1)?)
    };
    field("MemAvailable").or_else(|| {
        Some(field("MemFree")? + field("Buffers").unwrap_or(0) + field("Cached").unwrap_or(0))
    })
}

/// The relay's bound in bytes, of what the server set.
#[must_use]
pub fn queue_limit(set: Option<u32>) -> usize {
    const GREATEST: u64 = 2_000_000;
    // Below this not even one picture of a 2 Mbit/s stream fits.
    const LEAST: u64 = 128 * 1024;
    let room = memory().map_or(LEAST, |kib| kib * 1024 / 16);
    let set = set.map_or(GREATEST, u64::from).min(GREATEST);
    usize::try_from(set.min(room).max(LEAST)).unwrap_or(usize::MAX)
}

/// The hardware address of the first interface that is not loopback.
#[must_use]
pub fn mac() -> Mac {
    let mut first: Option<(String, Mac)> = None;
    for name in interfaces() {
        let text = text(&format!("/sys/class/net/{name}/address")).unwrap_or_default();
        let mac = mac_in(&text).filter(|mac| *mac != Mac([0; 6]));
        if let Some(mac) = mac
            && first.as_ref().is_none_or(|(known, _)| name < *known)
        {
            first = Some((name, mac));
        }
    }
    first.map_or(Mac([0; 6]), |(_, mac)| mac)
}

/// The hardware address of a machine of the local network, if the kernel knows it.
#[must_use]
pub fn neighbour(address: IpAddr) -> Option<Mac> {
    let table = text("/proc/net/arp")?;
    neighbour_in(&table, address)
}

/// `/proc/net/arp`: address, kind, flags, hardware address, …
fn neighbour_in(table: &str, address: IpAddr) -> Option<Mac> {
    let wanted = address.to_string();
    let line = table
        .lines()
        .find(|line| line.split_ascii_whitespace().next() == Some(&wanted))?;
    let mac = mac_in(line.split_ascii_whitespace().nth(3)?)?;
    (mac != Mac([0; 6])).then_some(mac)
}

fn mac_in(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut pairs = text.trim_ascii().split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(pairs.next()?, 16).ok()?;
    }
    Some(Mac(mac))
}

/// The network interfaces, without loopback.
#[must_use]
pub fn interfaces() -> Vec<String> {
    files::names("/sys/class/net", &|name| name != "lo")
}

/// Whether an interface has its link.
#[must_use]
pub fn is_up(interface: &str) -> bool {
    let state = text(&format!("/sys/class/net/{interface}/operstate"));
    // Some drivers of cameras say `unknown` for ever.
    state.is_some_and(|state| matches!(state.trim_ascii(), "up" | "unknown"))
}

/// The machine's model, as far as the kernel knows it.
#[must_use]
pub fn model() -> Option<Model> {
    let tree = text("/proc/device-tree/model");
    let cpu = || {
        let info = text("/proc/cpuinfo")?;
        let line = info
            .lines()
            .find(|line| line.starts_with("machine") || line.starts_with("Hardware"))?;
        Some(line.split_once(':')?.1.trim_ascii().to_owned())
    };
    let name = tree.or_else(cpu)?;
    let clean: String = name
        .bytes()
        // A text of the device tree ends with it.
        .filter(|byte| *byte != 0)
        .take(64)
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' => char::from(byte),
            _ => '_',
        })
        .collect();
    Model::new(&clean)
}

/// The version of dbclient: `2022.83` of `Dropbear v2022.83`.
#[must_use]
pub fn dbclient_version() -> Option<Model> {
    let mut dbclient = Command::new("dbclient");
    dbclient.arg("-V");
    let all = said(dbclient)?;
    let mut words = all.split_ascii_whitespace();
    Model::new(words.find_map(|word| word.strip_prefix("v"))?)
}

/// A number that nobody else has.
#[must_use]
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if read.is_err() {
        return wall() ^ u64::from(std::process::id());
    }
    u64::from_le_bytes(bytes)
}

/// Makes the camera's key, in dropbear's format: ed25519, or what an older dropbear can. Gives its fingerprint.
///
/// # Errors
/// There is no `dropbearkey`, or no room.
pub fn make_key(path: &Path) -> io::Result<String> {
    // Blocks until the kernel has gathered enough: a key of a camera's first second would be guessable.
    File::open("/dev/random")?.read_exact(&mut [0; 16])?;
    let temporary = files::beside(path, ".new");
    let _ = fs::remove_file(&temporary);
    let make = |kind: &[&str]| {
        run(Command::new("dropbearkey")
            .args(kind)
            .arg("-f")
            .arg(&temporary))
    };
    make(&["-t", "ed25519"]).or_else(|_| make(&["-t", "ecdsa", "-s", "256"]))?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, path)?;
    Ok(fingerprint(path).unwrap_or_default())
}

/// Whether a file is a key of dropbear's, as far as this camera can tell.
#[must_use]
pub fn is_key(path: &Path) -> bool {
    let empty = fs::metadata(path).is_ok_and(|file| file.len() == 0);
    let mut dropbearkey = Command::new("dropbearkey");
    dropbearkey.arg("-y").arg("-f").arg(path);
    // Without the program nobody can tell, nor make another one.
    !empty && said(dropbearkey).is_none_or(|text| !public_lines(&text).is_empty())
}

/// Whether there is a dbclient.
#[must_use]
pub fn has_dbclient() -> bool {
    let mut dbclient = Command::new("dbclient");
    dbclient.arg("-V");
    said(dbclient).is_some()
}

/// What `dropbearkey -y` says of the camera's key: its public line and its fingerprint.
#[must_use]
pub fn fingerprint(path: &Path) -> Option<String> {
    let mut dropbearkey = Command::new("dropbearkey");
    dropbearkey.arg("-y").arg("-f").arg(path);
    let lines = public_lines(&said(dropbearkey)?);
    (!lines.is_empty()).then_some(lines)
}

/// The key in what [`fingerprint`] gives.
pub(crate) fn public_half(told: &str) -> Option<HostKey> {
    HostKey::new(told.split_ascii_whitespace().nth(1)?)
}

/// Of what dropbearkey says the lines of the public half.
fn public_lines(text: &str) -> String {
    let wanted = |line: &&str| {
        line.starts_with("ssh-") || line.starts_with("ecdsa-") || line.starts_with("Fingerprint")
    };
    let mut lines = String::new();
    for line in text.lines().filter(wanted) {
        if !lines.is_empty() {
            lines.push('\n');
        }
        lines.push_str(line);
    }
    lines
}

/// The hardware watchdog, fed by the main loop alone.
#[derive(Debug)]
pub struct Watchdog(File);

impl Watchdog {
    /// Opens it, which arms it.
    ///
    /// # Errors
    /// There is none, or somebody else has it: the device opens once.
    pub fn open(path: &str) -> io::Result<Self> {
        OpenOptions::new().write(true).open(path).map(Watchdog)
    }

    /// The main loop turns.
    pub fn feed(&mut self) {
        let _ = self.0.write_all(b"\n");
    }

    /// A clean stop: the magic character disarms it.
    pub fn disarm(mut self) {
        let _ = self.0.write_all(b"V");
    }
}

/// Who hears the words that are said to the running agent.
pub(crate) type Word = Box<dyn Fn(&str) + Send>;

fn words(from: &mut dyn Read, word: &dyn Fn(&str)) {
    let mut lines = moorline_control::LineSplitter::new();
    let mut room = [0; 128];
    while let Ok(count @ 1..) = from.read(&mut room) {
        lines.push(room.get(..count).unwrap_or_default(), |line| {
            word(String::from_utf8_lossy(line).trim_ascii());
        });
    }
}

/// Reads words from a FIFO, for ever; `word` is called with each line. Made by busybox's `mkfifo`: std cannot.
///
/// # Errors
/// It cannot be made or opened.
pub(crate) fn listen_fifo(path: &Path, word: Word) -> io::Result<()> {
    let _ = fs::remove_file(path);
    run(Command::new("mkfifo").args(["-m", "600"]).arg(path))?;
    // Also open for writing: it never ends, and opening it does not wait for a writer.
    let mut fifo = OpenOptions::new().read(true).write(true).open(path)?;
    crate::relay::spawn("fifo", move || {
        words(&mut fifo, &*word);
    })?;
    Ok(())
}

/// Reads words from standard input, as [`listen_fifo`] does; its end is the word `restart`: whoever held it is gone.
///
/// # Errors
/// No thread can be had.
pub(crate) fn listen_leash(word: Word) -> io::Result<()> {
    crate::relay::spawn("leash", move || {
        // Without std's buffer, which nobody else reads from.
        if let Ok(input) = io::stdin().as_fd().try_clone_to_owned() {
            words(&mut File::from(input), &*word);
        }
        word("restart");
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_of_neighbours() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
            192.168.1.2      0x1         0x0         00:00:00:00:00:00     *        eth0\n\
            192.168.1.20     0x1         0x2         a4:14:37:01:02:ff     *        eth0\n";
        let of = |address: &str| neighbour_in(table, address.parse().unwrap());
        assert_eq!(of("192.168.1.20"), Some(Mac([0xa4, 0x14, 0x37, 1, 2, 255])));
        assert_eq!(of("192.168.1.2"), None);
        assert_eq!(of("192.168.1.1"), None);
    }

    #[test]
    fn memory_of_new_and_old_kernels() {
        let new = "MemTotal: 50000 kB\nMemFree: 4000 kB\nMemAvailable: 20000 kB\n";
        assert_eq!(available(new), Some(20_000));
        let old = "MemTotal: 36900 kB\nMemFree: 4600 kB\nBuffers: 100 kB\nCached: 12000 kB\nSwapCached: 7 kB\n";
        assert_eq!(available(old), Some(16_700));
        assert_eq!(available(""), None);
    }
}
