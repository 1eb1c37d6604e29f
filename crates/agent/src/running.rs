//! What a running agent tells of itself, its file `state`; and that it is the only one.

use std::fs::{File, TryLockError};
use std::time::Duration;

use moorline_control::Reason;

use crate::mailbox::mailbox;
use crate::moment::Moments;
use crate::run::Places;
use crate::uplink::Uplink;
use crate::words::number;
use crate::{files, system};

/// A running agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    /// Its version and target.
    pub(crate) version: Option<String>,
    /// Where it stands.
    pub(crate) state: String,
    /// Why its session with the endpoint ended last, if it is not up again.
    pub(crate) last_end: Option<Reason>,
    /// The server that has its session, or was called last.
    pub(crate) server: Option<(String, u16)>,
    /// What its server's clock said last, and the uptime then.
    pub(crate) clock: Option<(u64, u64)>,
    /// What its relay dropped in the last minutes.
    pub(crate) uplink: Option<Uplink>,
}

impl Running {
    /// The one whose files these are, if it runs.
    pub(crate) fn of(places: &Places) -> Option<Self> {
        pid(places)?;
        let text = files::read(&places.state()).ok().flatten()?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim_ascii().to_owned())
        };
        let reason = value("last-end ")?;
        let known = |known: &&Reason| known.as_str() == reason;
        let server = value("server ").and_then(|server| {
            let (host, port) = server.split_once(' ')?;
            Some((host.to_owned(), number(port)?))
        });
        let clock = value("clock ").and_then(|clock| {
            let (told, uptime) = clock.split_once(' ')?;
            Some((number(told)?, number(uptime)?))
        });
        Some(Running {
            version: value("version "),
            state: value("state ")?,
            last_end: Reason::ALL.iter().find(known).copied(),
            server,
            clock,
            uplink: value("uplink ").and_then(|text| Uplink::parse(&text)),
        })
    }

    /// Whether its session with the endpoint is up.
    pub(crate) fn is_up(&self) -> bool {
        self.state == "session" || (self.state == "streaming" && self.last_end.is_none())
    }
}

/// Makes this the one agent of its directory, as long as what it gives is held: two would take each other's sessions. A lock, not the pid in
/// `state`: that may be another's since. `None` where the file system knows no locks.
///
/// # Errors
/// Another one has it.
pub(crate) fn alone(places: &Places) -> Result<Option<File>, String> {
    /// One that was told to end, or whose gateway is gone, may need so long.
    const WITHIN: Duration = Duration::from_secs(3);
    let _ = files::make_directory(&places.directory);
    let Ok(directory) = File::open(places.directory.as_path()) else {
        return Ok(None);
    };
    let (_never, pause) = mailbox::<()>(0);
    let begin = Moments::begin();
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(Some(directory)),
            Err(TryLockError::Error(_)) => return Ok(None),
            Err(TryLockError::WouldBlock) if begin.now() < WITHIN => {
                let _ = pause.take_within(Duration::from_millis(100));
            }
            Err(TryLockError::WouldBlock) => {
                let pid =
                    pid(places).map_or_else(|| "-".to_owned(), |pid| u64::from(pid).to_string());
                let directory = files::shown(&places.directory);
                return Err(format!("another agent runs on {directory}: pid {pid}"));
            }
        }
    }
}

/// The running agent's process.
pub(crate) fn pid(places: &Places) -> Option<u32> {
    let text = files::read(&places.state()).ok().flatten()?;
    let line = text.lines().find_map(|line| line.strip_prefix("pid "))?;
    number(line.trim_ascii()).filter(|pid| is_agent(*pid))
}

/// A pid that went to another process is no agent, and neither is a process that has ended and is not waited for.
pub(crate) fn is_agent(pid: u32) -> bool {
    let of = |name| system::text(&format!("/proc/{pid}/{name}")).unwrap_or_default();
    of("comm").starts_with("moorline-agent") && !of("cmdline").is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_wrote_is_read() {
        let text = "pid 7\nversion 0.1.9 mipsel\nstate connecting\nlast-end hello\nrelay 8555\nserver cctv.example.com 443\nclock 1900000000 77\n";
        let expected = Running {
            version: Some("0.1.9 mipsel".to_owned()),
            state: "connecting".to_owned(),
            last_end: Some(Reason::Hello),
            server: Some(("cctv.example.com".to_owned(), 443)),
            clock: Some((1_900_000_000, 77)),
            uplink: None,
        };
        assert_eq!(Running::parse(text), Some(expected));
        let nothing = Running::parse("pid 7\nstate key\nlast-end -\nrelay 8555\n");
        assert_eq!(
            nothing.map(|agent| (agent.last_end, agent.server)),
            Some((None, None))
        );
        assert_eq!(Running::parse(""), None);
    }
}
