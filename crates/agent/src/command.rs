//! The command line: `run`, `daemon`, `check [--report]`, `stop`, `restart`, `reset [--key]`, `--version`; with the feature `gateway` also `gateway` and `discover`.

use std::fmt;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use moorline_control::Level;

use crate::mailbox::mailbox;
use crate::moment::Moments;
use crate::run::{Ended, Places, RESET, RESET_KEY, console, run};
use crate::upgrade::sha512::{from_hex, to_hex};
use crate::upgrade::store::{self, Store};
use crate::words::number;
use crate::{checking, files, log, running, stamp, system};

const USAGE: &str = "usage: moorline-agent run | daemon | check [--report] | upgrade FILE SHA512 | stop | restart | reset [--key] | --version [--dir DIR] [--run DIR] [--card DIR]\n\
    \n\
    run      keep the camera connected\n\
    daemon   the same in a child that is started again when it dies: where no init does that\n\
    check    walk from the network to the pictures and say which link is broken; exit 1 when one is\n\
    upgrade  try the agent in FILE, which has this digest; the running agent takes it back when it does not connect\n\
    --report print a block to paste into a question, without secrets\n\
    stop     the camera is being switched off: hang up, then end the running agent\n\
    restart  end the running agent without hanging up\n\
    reset    forget whose camera this is and what servers set: it waits for a file enroll again; --key makes another key for it, too\n\
    --patience how many seconds a new agent gets to connect (300)\n\
    --dir    what is kept (/etc/moorline); --run: what a reboot forgets (/run/moorline); --card: where an SD card's enroll lies\n";

#[cfg(feature = "gateway")]
const GATEWAY_USAGE: &str = "\n\
    on a Linux box that stands for cameras of its network:\n\
    gateway  an agent for each `lan <name> <address>:<port>` of DIR/local.conf\n\
    discover ask the network for ONVIF cameras, and propose such lines; connects to nobody [--from ADDRESS] [--seconds 1-60]\n\
    --lan    with run and check: the one camera of this name\n";
#[cfg(not(feature = "gateway"))]
const GATEWAY_USAGE: &str = "";

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Run,
    Daemon,
    Check,
    Upgrade,
    Word(&'static str),
    Reset,
    #[cfg(feature = "gateway")]
    Gateway,
    #[cfg(feature = "gateway")]
    Discover,
}

/// Runs the command line: 0 done, 1 failed, 2 a usage error.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let (mut asked, mut report, mut places) = (None, false, Places::default());
    let mut key = false;
    let mut cards: Vec<PathBuf> = Vec::new();
    #[cfg(feature = "gateway")]
    let mut site = crate::gateway::options::Options::default();
    let mut words: Vec<String> = Vec::new();
    let all: Vec<String> = arguments.collect();
    let mut arguments = all.iter().cloned();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "run" => asked = Some(Asked::Run),
            "daemon" => asked = Some(Asked::Daemon),
            "check" => asked = Some(Asked::Check),
            "stop" => asked = Some(Asked::Word("stop")),
            "restart" => asked = Some(Asked::Word("restart")),
            "upgrade" => asked = Some(Asked::Upgrade),
            "reset" => asked = Some(Asked::Reset),
            "--key" if matches!(asked, Some(Asked::Reset)) => key = true,
            "--report" => report = true,
            #[cfg(feature = "gateway")]
            "gateway" => asked = Some(Asked::Gateway),
            #[cfg(feature = "gateway")]
            "discover" => asked = Some(Asked::Discover),
            #[cfg(feature = "gateway")]
            "--leash" => site.leash = true,
            #[cfg(feature = "gateway")]
            option @ ("--lan" | "--from" | "--seconds") => {
                if let Err(error) = site.take(option, arguments.next()) {
                    console(Level::Error, format_args!("{error}"));
                    return ExitCode::from(2);
                }
            }
            "--trial" => places.trial = true,
            "--patience" => match arguments.next().and_then(|word| number(&word)) {
                Some(seconds) => places.patience = Duration::from_secs(seconds),
                None => {
                    console(Level::Error, format_args!("--patience needs seconds"));
                    return ExitCode::from(2);
                }
            },
            "--version" => {
                say(format_args!("moorline-agent {}", name()));
                return ExitCode::SUCCESS;
            }
            "--help" | "-h" => {
                say(format_args!("{USAGE}{GATEWAY_USAGE}"));
                return ExitCode::SUCCESS;
            }
            option @ ("--dir" | "--run" | "--card") => {
                let Some(value) = arguments.next() else {
                    console(Level::Error, format_args!("{option} needs a directory"));
                    return ExitCode::from(2);
                };
                match option {
                    "--dir" => places.directory = value.into(),
                    "--run" => places.run = value.into(),
                    _ => cards.push(value.into()),
                }
            }
            word if matches!(asked, Some(Asked::Upgrade)) && words.len() < 2 => {
                words.push(word.to_owned());
            }
            other => {
                console(Level::Error, format_args!("{other}: unknown\n{USAGE}"));
                return ExitCode::from(2);
            }
        }
    }
    // Whoever only looks starts nothing.
    let Some(asked) = asked else {
        console(
            Level::Error,
            format_args!("no word\n{USAGE}{GATEWAY_USAGE}"),
        );
        return ExitCode::from(2);
    };
    if !cards.is_empty() {
        places.cards = cards;
    }
    #[cfg(feature = "gateway")]
    match site.places(places) {
        Ok(own) => places = own,
        Err(error) => {
            console(Level::Error, format_args!("{error}"));
            return ExitCode::FAILURE;
        }
    }
    // One on trial runs beside the agent that tries it.
    let alone = (asked == Asked::Run && !places.trial).then(|| running::alone(&places));
    let _alone = match alone.transpose() {
        Ok(alone) => alone,
        Err(error) => return ended(Err(error)),
    };
    // Not the daemon: the image's own starts whoever has its turn, and outlives it.
    if asked == Asked::Run {
        give_way(&places, &all);
    }
    match asked {
        Asked::Run => match run(places) {
            // Whoever started it starts it again, as after any other end that is no success.
            Ok(Ended::Replaced) => ExitCode::from(REPLACED),
            result => ended(result.map(drop)),
        },
        #[cfg(feature = "gateway")]
        Asked::Gateway => ended(crate::gateway::run(places)),
        #[cfg(feature = "gateway")]
        Asked::Discover => ended(
            site.proposals(&places)
                .map(|text| say(format_args!("{text}"))),
        ),
        Asked::Daemon => daemon(&places),
        Asked::Check if checking::check(&places, report) => ExitCode::SUCCESS,
        Asked::Check => ExitCode::FAILURE,
        Asked::Upgrade => upgrade(&places, &words),
        Asked::Word(word) => ended(tell(&places, word)),
        Asked::Reset => reset(&places, key),
    }
}

fn ended(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console(Level::Error, format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

/// How `run` ends when a new agent has its place.
const REPLACED: u8 = 3;

/// What it is, for people: after the program's name.
pub(crate) fn name() -> String {
    match stamp::own() {
        Some(own) => format!("{} {}", own.version, own.target),
        None => stamp::version(),
    }
}

/// Becomes the agent that was installed by an upgrade, unless that is older than this one: then the image is newer. The image's own file is never
/// touched: it may lie on a file system that nobody can write, and it is there when the flash is wiped or the new one damaged, or crashes at each
/// start although it passed its trial.
fn give_way(places: &Places, arguments: &[String]) {
    let installed = Store::new(places).installed();
    let own = files::identity("/proc/self/exe".as_ref());
    let same = match (own, files::identity(&installed)) {
        (Ok(own), Ok(other)) => own == other,
        _ => true,
    };
    if !places.upgrades() || same {
        return;
    }
    let newer = store::stamp_of(&installed).is_some_and(|stamp| stamp::is_not_older(stamp.version));
    if newer {
        if let Err(why) = Store::new(places).start() {
            console(
                Level::Error,
                format_args!("{}: {why}: this one runs again", files::shown(&installed)),
            );
            return;
        }
        let error = Command::new(&installed).args(arguments).exec();
        console(
            Level::Error,
            format_args!(
                "{}: {error}: this one runs instead",
                files::shown(&installed)
            ),
        );
    }
}

/// The owner brings a new agent: its digest is checked here, and again by the agent that tries it.
fn upgrade(places: &Places, words: &[String]) -> ExitCode {
    let [file, told] = words else {
        console(
            Level::Error,
            format_args!("upgrade needs a file and its SHA-512"),
        );
        return ExitCode::from(2);
    };
    let Some(digest) = from_hex(told) else {
        console(
            Level::Error,
            format_args!(
                "the SHA-512 is 128 hexadecimal digits: sha512sum FILE prints it on the machine that built it"
            ),
        );
        return ExitCode::from(2);
    };
    let brought = Store::new(places).bring(file.as_ref(), &to_hex(&digest));
    match brought {
        Ok(()) => {
            say(format_args!(
                "it is tried within 10 s of the next session, and taken back when it does not connect"
            ));
            ExitCode::SUCCESS
        }
        Err(error) => {
            console(Level::Error, format_args!("{file}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// To standard output: a closed pipe is no error.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    let line = format!("{text}\n");
    let _ = system::stdout().and_then(|mut stdout| stdout.write_all(line.as_bytes()));
}

/// Runs the agent in a child until it ends well: nobody can visit the camera to start it again. The child gives way to an agent that was installed
/// by an upgrade; this process never does.
fn daemon(places: &Places) -> ExitCode {
    /// Never sent to: what waits for it waits so long.
    const PAUSE: Duration = Duration::from_secs(5);
    if places.lan().is_some() {
        console(
            Level::Error,
            format_args!("daemon is for a camera's own agent: `gateway` starts those of --lan"),
        );
        return ExitCode::from(2);
    }
    let (_never, pause) = mailbox::<()>(0);
    let log = places.log();
    // Once: after an upgrade the running file has no name any more.
    let program = std::env::current_exe().unwrap_or_else(|_| "/usr/bin/moorline-agent".into());
    loop {
        let mut command = Command::new(&program);
        with_places(command.arg("run"), places);
        // Init scripts send our own to nowhere.
        if let Ok(end) = log::to(&log) {
            command.stderr(end);
        }
        let ended = command.status();
        // It holds the end of what is logged.
        drop(command);
        match ended {
            Ok(status) if status.success() => return ExitCode::SUCCESS,
            Ok(status) if status.code() == Some(REPLACED.into()) => continue,
            Ok(status) => console(
                Level::Error,
                format_args!("the agent died: {status}; it is started again"),
            ),
            Err(error) => console(
                Level::Error,
                format_args!("the agent cannot be started: {error}"),
            ),
        }
        let _ = pause.take_within(PAUSE);
    }
}

fn with_places<'a>(command: &'a mut Command, places: &Places) -> &'a mut Command {
    command.arg("--dir").arg(&places.directory);
    command.arg("--run").arg(&places.run);
    for card in &places.cards {
        command.arg("--card").arg(card);
    }
    let patience = places.patience.as_secs().to_string();
    command.arg("--patience").arg(patience)
}

/// A word for the running agent.
fn tell(places: &Places, word: &str) -> Result<(), String> {
    if running::pid(places).is_none() {
        return Err("no agent runs".to_owned());
    }
    // Opened for reading too: an agent that died since must not block us.
    let fifo = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(places.fifo());
    let told = fifo.and_then(|mut fifo| fifo.write_all(format!("{word}\n").as_bytes()));
    told.map_err(|error| format!("{}: {error}", files::shown(&places.fifo())))
}

/// The local reset: whoever can write the agent's directory may do it, and nobody else.
fn reset(places: &Places, key: bool) -> ExitCode {
    let done = forget(places, key);
    if done.is_err() {
        return ended(done);
    }
    let (local, _) = places.local().unwrap_or_default();
    if local.camera.is_some() || !local.endpoints.is_empty() {
        say(format_args!(
            "local.conf still says whose camera this is: remove `camera` and `endpoint` there"
        ));
    }
    let told = if key {
        "this camera is nobody's, and has no key: it makes one, and waits for a file enroll"
    } else {
        "this camera is nobody's: it keeps its key, and waits for a file enroll"
    };
    say(format_args!("{told}"));
    say(format_args!(
        "its server still knows it: `moorline camera key revoke` or `camera rm` there"
    ));
    ExitCode::SUCCESS
}

/// The running agent forgets and ends. Without one it is done here: also where one died before it had heard of it, started again or not.
fn forget(places: &Places, key: bool) -> Result<(), String> {
    const TRIES: usize = 3;
    let before = places.forgotten_last(key);
    for _ in 0..TRIES {
        let Some(pid) = running::pid(places) else {
            return places.forget(key).map_err(|error| error.to_string());
        };
        match tell(places, if key { RESET_KEY } else { RESET }) {
            Err(error) if running::is_agent(pid) => return Err(error),
            Err(_) => {}
            Ok(()) => ends(pid, places)?,
        }
        let after = places.forgotten_last(key);
        if after.is_none() || after != before {
            return Ok(());
        }
    }
    Err("the running agent ends and does not forget: see its log".to_owned())
}

/// Waits for a running agent's end.
fn ends(pid: u32, places: &Places) -> Result<(), String> {
    const WITHIN: Duration = Duration::from_secs(10);
    let begin = Moments::begin();
    let (_never, pause) = mailbox::<()>(0);
    while running::is_agent(pid) && running::pid(places) == Some(pid) {
        if begin.now() > WITHIN {
            return Err("the running agent does not end".to_owned());
        }
        let _ = pause.take_within(Duration::from_millis(100));
    }
    Ok(())
}
