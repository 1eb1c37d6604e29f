//! One `dbclient`: started with its pins, read line by line, killed.
//!
//! A thread resolves the name, checks each address (S7), writes `known_hosts` and starts it, then reads its output; one reads its errors; one writes
//! what we say, so that a server that does not read holds up nobody. All end with the child's pipes. Nothing is passed through a shell, and the
//! host is an address (CVE-2025-47203).
//!
//! Where a name has several addresses, one that does not answer does not hide the others: a network with a broken IPv6 is common.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use moorline_control::{HostKey, LineSplitter, Reason, Text};

use crate::address::is_private;
use crate::files;
use crate::machine::{Dial, Event, Forwards};
use crate::mailbox::{Empty, Receiver, Sender, mailbox};
use crate::names;
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

/// The first of several addresses may stay silent so long; the next one has the rest of the 20 s. Each is the first in some call, and the last in
/// another.
const FIRST_WITHIN: Duration = Duration::from_secs(6);

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

/// The input of the client that runs.
type Stdin = Arc<Mutex<Option<ChildStdin>>>;

/// From the name to the end of the client.
fn attend(
    dial: &Dial,
    kit: &Kit,
    shared: &Arc<Mutex<Shared>>,
    said: Receiver<String>,
    inputs: &Sender<Input>,
) -> Reason {
    let addresses = resolve(dial);
    let stdin = Stdin::default();
    let own = Arc::clone(&stdin);
    let writing = spawn("say", move || {
        // The pipe stays open until the call is over: its end would be the channel's end of input.
        while let Some(line) = said.take() {
            let mut stdin = own.lock().unwrap_or_else(PoisonError::into_inner);
            let written = stdin.as_mut().map(|pipe| pipe.write_all(line.as_bytes()));
            if written.is_some_and(|written| written.is_err()) {
                break;
            }
        }
    });
    if writing.is_err() {
        return Reason::Exit;
    }
    let mut last = Reason::Connect;
    let many = addresses.len() > 1;
    for (nth, address) in addresses.into_iter().enumerate() {
        let patience = (many && nth == 0).then_some(FIRST_WITHIN);
        let (heard, reason) = call(dial, kit, shared, &stdin, inputs, address, patience);
        match reason {
            // Nobody is there, or somebody else.
            Reason::Connect if !heard => {}
            Reason::HostKey if !heard => last = reason,
            _ => return reason,
        }
    }
    last
}

/// One address: whether the server said anything, and why it ended.
fn call(
    dial: &Dial,
    kit: &Kit,
    shared: &Arc<Mutex<Shared>>,
    stdin: &Stdin,
    inputs: &Sender<Input>,
    address: IpAddr,
    patience: Option<Duration>,
) -> (bool, Reason) {
    let private = Event::Private {
        serial: dial.serial,
        private: is_private(address),
    };
    inputs.send(Input::Event(private));
    let (stdout, stderr) = {
        let mut shared = lock(shared);
        // Together: the next call may have written its pins since this one was killed.
        if shared.over || pin(&kit.home, address, &dial.pins).is_err() {
            return (false, Reason::Exit);
        }
        let Ok(mut child) = command(dial, kit, address).spawn() else {
            return (false, Reason::Exit);
        };
        let (input, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        shared.child = Some(child);
        *stdin.lock().unwrap_or_else(PoisonError::into_inner) = input;
        (stdout, stderr)
    };
    let told = stderr.and_then(|stderr| {
        let inputs = inputs.clone();
        let told = Arc::new(Mutex::new(None));
        let (own, shared) = (Arc::clone(&told), Arc::clone(shared));
        let reading = spawn_and_wait("stderr", move || {
            read_errors(stderr, &own, &shared, &inputs);
        });
        Some((told, reading.ok()?))
    });
    let silent = Arc::new(AtomicBool::new(false));
    let (here, waiting) = wait_for_a_word(shared, patience, &silent);
    let mut heard = false;
    if let Some(stdout) = stdout {
        read_lines(stdout, dial, inputs, || {
            heard = true;
            here.try_send(());
        });
    }
    drop(here);
    // Its output has ended: so has it, or it is of no use any more.
    end(shared);
    if let Some(waiting) = waiting {
        let _ = waiting.join();
    }
    let reason = told.and_then(|(told, reading)| {
        let _ = reading.join();
        *told.lock().unwrap_or_else(PoisonError::into_inner)
    });
    let otherwise = if silent.load(Ordering::Relaxed) {
        Reason::Connect
    } else {
        Reason::Exit
    };
    (heard, reason.unwrap_or(otherwise))
}

/// Ends the client that runs.
fn end(shared: &Mutex<Shared>) {
    if let Some(child) = &mut lock(shared).child {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Ends the client if nothing is told within that time, and notes that it did.
fn wait_for_a_word(
    shared: &Arc<Mutex<Shared>>,
    patience: Option<Duration>,
    silent: &Arc<AtomicBool>,
) -> (Sender<()>, Option<JoinHandle<()>>) {
    let (here, word) = mailbox(1);
    let (shared, silent) = (Arc::clone(shared), Arc::clone(silent));
    let waiting = patience.and_then(|patience| {
        let waiting = spawn_and_wait("patience", move || {
            if word.take_within(patience) == Err(Empty::Late) {
                silent.store(true, Ordering::Relaxed);
                end(&shared);
            }
        });
        waiting.ok()
    });
    (here, waiting)
}

/// The addresses that may be dialled, the one whose turn it is first.
fn resolve(dial: &Dial) -> Vec<IpAddr> {
    // Each checked address is the one that is dialled: a second answer of the resolver changes nothing (S7).
    let may = |address: &IpAddr| dial.private || !is_private(*address);
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in names::addresses(dial.endpoint.host.as_str()) {
        if may(&address) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if let Some(turn) = dial.address.checked_rem(addresses.len()) {
        // One by one: they are few, and std's turning of a list is made for long ones.
        for _ in 0..turn {
            let first = addresses.remove(0);
            addresses.push(first);
        }
    }
    addresses
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

fn read_lines(
    mut stdout: ChildStdout,
    dial: &Dial,
    inputs: &Sender<Input>,
    mut heard: impl FnMut(),
) {
    let mut splitter = LineSplitter::new();
    let mut room = [0; 2048];
    while let Ok(count @ 1..) = stdout.read(&mut room) {
        heard();
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

/// The last reason that it told; its lines go to the console, cleaned: a server's banner is among them (S33).
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
            let line = String::from_utf8_lossy(line).trim_ascii().to_owned();
            if let Some(reason) = reason::of_stderr(&line) {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                if reason == Reason::HostKey {
                    // A key of which it knows none asks for an answer on the terminal, and waits.
                    end(shared);
                }
            }
            if !line.is_empty() {
                inputs.try_send(Input::Said(Text::clean(&line).to_string()));
            }
        });
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a TCP connection to a server can be had: for the check.
pub(crate) fn reachable(address: SocketAddr) -> std::io::Result<()> {
    std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;
    use crate::machine::{Link, Serial};
    use crate::settings::Trust;

    #[test]
    fn a_call_that_was_killed_does_not_write_its_pins_over_those_of_the_next_one() {
        let home = tempfile::tempdir().unwrap();
        let dial = Dial {
            link: Link::Endpoint,
            serial: Serial(1),
            endpoint: Endpoint {
                user: moorline_control::SshUser::new("home/yard").unwrap(),
                host: moorline_control::Host::new("127.0.0.1").unwrap(),
                port: 2222,
                keys: Vec::new(),
            },
            pins: Vec::new(),
            trust: Trust::Owner,
            key: 0,
            address: 0,
            forwards: Forwards::Rtsp,
            private: true,
        };
        let kit = Kit {
            key: home.path().join("id"),
            home: home.path().join("endpoint"),
            relay: 8555,
            http: None,
        };
        let shared = Arc::new(Mutex::new(Shared {
            child: None,
            over: true,
        }));
        let (inputs, _events) = mailbox(8);
        let address = IpAddr::from([127, 0, 0, 1]);
        let stdin = Stdin::default();
        let ended = call(&dial, &kit, &shared, &stdin, &inputs, address, None);
        assert_eq!(ended, (false, Reason::Exit));
        assert!(!kit.home.exists());
    }
}
