//! One `dbclient`: started with its pins, read line by line, killed.
//!
//! A thread resolves the name, checks the address (S7), writes `known_hosts` and starts it, then reads its output; one reads its errors; one writes
//! what we say, so that a server that does not read holds up nobody. All end with the child's pipes. Nothing is passed through a shell, and the
//! host is an address (CVE-2025-47203).

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moorline_control::{HostKey, LineSplitter, Reason};

use crate::address::is_private;
use crate::files;
use crate::machine::{Dial, Event, Forwards};
use crate::mailbox::{Receiver, Sender, mailbox};
use crate::reason;
use crate::relay::{spawn, spawn_and_wait};
use crate::run::Input;

/// What the client needs to know beside the call.
#[derive(Debug, Clone)]
pub(crate) struct Kit {
    /// The camera's key.
    pub(crate) key: PathBuf,
    /// A directory of its own, for `known_hosts`.
    pub(crate) home: PathBuf,
    /// The relay's port.
    pub(crate) relay: u16,
    /// The port of the camera's web server.
    pub(crate) http: Option<u16>,
}

/// Lines that wait for a server that does not read.
const SAID: usize = 32;

/// A running call.
#[derive(Debug)]
pub(crate) struct Client {
    shared: Arc<Mutex<Shared>>,
    say: Sender<String>,
}

#[derive(Debug, Default)]
struct Shared {
    child: Option<Child>,
    /// It was killed before it was started.
    over: bool,
}

impl Client {
    /// Starts a call. Ends with [`Event::Ended`] on `inputs`, unless it is killed before.
    pub(crate) fn start(dial: Dial, kit: Kit, inputs: Sender<Input>) -> std::io::Result<Client> {
        let (say, said) = mailbox(SAID);
        let shared = Arc::new(Mutex::new(Shared::default()));
        let own = Arc::clone(&shared);
        spawn("dbclient", move || {
            let reason = attend(&dial, &kit, &own, said, &inputs);
            let ended = Event::Ended {
                link: dial.link,
                serial: dial.serial,
                reason,
            };
            inputs.send(Input::Event(ended));
        })?;
        Ok(Client { shared, say })
    }

    /// Says a line. False when the server does not read.
    pub(crate) fn say(&self, line: String) -> bool {
        self.say.try_send(line)
    }

    /// Kills it: the server sees a lost connection.
    pub(crate) fn kill(self) {
        let mut shared = lock(&self.shared);
        shared.over = true;
        if let Some(child) = &mut shared.child {
            // SIGKILL: it ends at once, however it hangs; then there is nothing to wait for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// From the name to the end of the client.
fn attend(
    dial: &Dial,
    kit: &Kit,
    shared: &Arc<Mutex<Shared>>,
    said: Receiver<String>,
    inputs: &Sender<Input>,
) -> Reason {
    let Some(address) = resolve(dial) else {
        return Reason::Connect;
    };
    let private = Event::Private {
        serial: dial.serial,
        private: is_private(address),
    };
    inputs.send(Input::Event(private));
    if pin(&kit.home, address, &dial.pins).is_err() {
        return Reason::Exit;
    }
    let (stdout, stderr) = {
        let mut shared = lock(shared);
        if shared.over {
            return Reason::Exit;
        }
        let Ok(mut child) = command(dial, kit, address).spawn() else {
            return Reason::Exit;
        };
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        shared.child = Some(child);
        if let Some(mut stdin) = stdin {
            let _ = spawn("say", move || {
                // The pipe stays open until the call is over: its end would be the channel's end of input.
                while let Some(line) = said.take() {
                    if stdin.write_all(line.as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
        (stdout, stderr)
    };
    let told = stderr.and_then(|stderr| {
        let inputs = inputs.clone();
        let told = Arc::new(Mutex::new(None));
        let own = Arc::clone(&told);
        let child = Arc::clone(shared);
        let reading =
            spawn_and_wait("stderr", move || read_errors(stderr, &own, &child, &inputs)).ok()?;
        Some((told, reading))
    });
    if let Some(stdout) = stdout {
        read_lines(stdout, dial, inputs);
    }
    // Its output has ended: so has it, or it is of no use any more.
    if let Some(child) = &mut lock(shared).child {
        let _ = child.kill();
        let _ = child.wait();
    }
    let reason = told.and_then(|(told, reading)| {
        let _ = reading.join();
        *told.lock().unwrap_or_else(PoisonError::into_inner)
    });
    reason.unwrap_or(Reason::Exit)
}

fn resolve(dial: &Dial) -> Option<IpAddr> {
    let host = dial.endpoint.host.as_str();
    let found = (host, dial.endpoint.port).to_socket_addrs().ok()?;
    let mut found = found.map(|address| address.ip());
    // The checked address is the one that is dialled: a second answer of the resolver changes nothing (S7).
    let found: Vec<IpAddr> = found
        .by_ref()
        .filter(|address| dial.private || !is_private(*address))
        .collect();
    // One may be dead, or of a kind (IPv6) that this network only promises: the next call tries the next one.
    found
        .get(dial.nth_address.checked_rem(found.len())?)
        .copied()
}

/// `known_hosts` of this attempt: dbclient looks at the host without its port, and at the first line of an algorithm only.
fn pin(home: &Path, address: IpAddr, pins: &[HostKey]) -> std::io::Result<()> {
    let directory = home.join(".ssh");
    files::make_directory(&directory)?;
    let mut text = String::new();
    for key in pins {
        text.push_str(&format!("{address} {} {key}\n", key.algorithm().as_str()));
    }
    files::replace(&directory.join("known_hosts"), &text)
}

fn command(dial: &Dial, kit: &Kit, address: IpAddr) -> Command {
    let mut command = Command::new("dbclient");
    command.env("HOME", &kit.home);
    // Never -N (no session channel, no lines), never -y.
    command.args(["-T", "-K", "15", "-i"]).arg(&kit.key);
    command.args(["-l", dial.endpoint.user.as_str(), "-p"]);
    command.arg(dial.endpoint.port.to_string());
    let forward = |port: u16| ["-R".to_owned(), format!("0:127.0.0.1:{port}")];
    if dial.forwards != Forwards::None {
        command.args(forward(kit.relay));
    }
    if let (Forwards::RtspAndHttp, Some(port)) = (dial.forwards, kit.http) {
        command.args(forward(port));
    }
    if dial.forwards == Forwards::RtspOrEnd {
        command.args(["-o", "ExitOnForwardFailure=yes"]);
    }
    command.arg(address.to_string());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn read_lines(mut stdout: ChildStdout, dial: &Dial, inputs: &Sender<Input>) {
    let mut splitter = LineSplitter::new();
    let mut room = [0; 2048];
    while let Ok(count @ 1..) = stdout.read(&mut room) {
        splitter.push(room.get(..count).unwrap_or_default(), |line| {
            let event = Event::Line {
                link: dial.link,
                serial: dial.serial,
                line: line.to_vec(),
            };
            inputs.send(Input::Event(event));
        });
    }
}

/// The last reason that it told; its lines go to the console.
fn read_errors(
    mut stderr: ChildStderr,
    told: &Mutex<Option<Reason>>,
    shared: &Mutex<Shared>,
    inputs: &Sender<Input>,
) {
    let mut splitter = LineSplitter::new();
    let mut room = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut room) {
        splitter.push(room.get(..count).unwrap_or_default(), |line| {
            let line = String::from_utf8_lossy(line).trim().to_owned();
            if let Some(reason) = reason::of_stderr(&line) {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                if reason == Reason::HostKey
                    && let Some(child) = &mut lock(shared).child
                {
                    // A key that is not pinned is asked about, and nobody answers: that would look like a server without a hello.
                    let _ = child.kill();
                }
            }
            if !line.is_empty() {
                inputs.try_send(Input::Said(line));
            }
        });
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a TCP connection to a server can be had: for the check.
pub(crate) fn reachable(address: SocketAddr) -> std::io::Result<()> {
    std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(5)).map(drop)
}
