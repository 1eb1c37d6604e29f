//! The new agent as a child of the running one. Its standard input is its leash: words come by it, and its end ends the child, so that it never
//! outlives the agent that tries it. Its standard output says `hello`, once.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use moorline_control::LineSplitter;

use super::Event;
use crate::mailbox::{Receiver, Sender, mailbox};
use crate::relay::spawn;
use crate::run::{Input, Places};
use crate::words::{number, split_last};
use crate::{files, system};

/// What the child says.
pub(crate) const HELLO: &str = "hello\n";

/// A running new agent.
#[derive(Debug)]
pub(crate) struct Trial {
    child: Child,
    stdin: Option<ChildStdin>,
    ended: Receiver<()>,
}

impl Trial {
    /// Starts it with the same files, in a process group of its own, and with a run directory of its own.
    pub(crate) fn start(
        program: &Path,
        places: &Places,
        inputs: Sender<Input>,
    ) -> std::io::Result<Self> {
        let mut command = Command::new(program);
        command.args(["run", "--trial", "--dir"]);
        command.arg(&places.directory);
        command.arg("--run").arg(places.run.join("trial"));
        for card in &places.cards {
            command.arg("--card").arg(card);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.process_group(0).spawn()?;
        let (say, ended) = mailbox(1);
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        spawn("trial", move || {
            let mut lines = LineSplitter::new();
            let mut room = [0; 64];
            if let Some(mut stdout) = stdout {
                while let Ok(count @ 1..) = stdout.read(&mut room) {
                    lines.push(room.get(..count).unwrap_or_default(), |line| {
                        if line == HELLO.trim_ascii_end().as_bytes() {
                            inputs.send(Input::Upgrade(Event::Hello));
                        }
                    });
                }
            }
            say.try_send(());
            inputs.send(Input::Upgrade(Event::Ended));
        })?;
        Ok(Trial {
            child,
            stdin,
            ended,
        })
    }

    /// Tells it to end.
    pub(crate) fn end(&mut self) {
        self.stdin = None;
    }

    /// The camera is being switched off: it says `BYE`, and gets 2 s for it.
    pub(crate) fn hang_up(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(b"stop\n");
        }
        let _ = self.ended.take_within(Duration::from_secs(2));
    }

    /// Kills it, and its dbclients with it.
    ///
    /// They are found by their process group and killed one by one: std has no `killpg`, and a group must never be given to the program `kill`.
    /// procps 4.0.2 takes `kill -9 -1234` for `kill -9 -1`, which ends every process of the machine (seen).
    pub(crate) fn kill(mut self) {
        let group = self.child.id();
        let _ = self.child.kill();
        let members = members_of(group);
        if !members.is_empty() {
            let _ = Command::new("kill")
                .arg("-9")
                .args(members)
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
        // Not before: until it is waited for, its id is nobody else's.
        let _ = self.child.wait();
    }
}

/// The processes of a group, but for its leader: ids as `/proc` has them, digits and nothing else.
fn members_of(group: u32) -> Vec<String> {
    let leader = u64::from(group).to_string();
    files::names("/proc", &|pid| {
        let member = || {
            let stat = system::text(&format!("/proc/{pid}/stat")).unwrap_or_default();
            group_in(&stat) == Some(group)
        };
        pid.bytes().all(|byte| byte.is_ascii_digit()) && pid != leader && member()
    })
}

/// `pid (name) state parent group …`: the name may hold anything.
fn group_in(stat: &str) -> Option<u32> {
    let (_, rest) = split_last(stat, b')')?;
    number(rest.split_ascii_whitespace().nth(2)?)
}

/// In the child: it has its hello.
pub(crate) fn passed() {
    let _ = system::stdout().and_then(|mut stdout| stdout.write_all(HELLO.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_process_whatever_its_name() {
        assert_eq!(group_in("7 (a) b) S 1 55 55 0 -1 4194560"), Some(55));
        assert_eq!(group_in("7 (dbclient) S 1"), None);
        assert_eq!(group_in(""), None);
    }
}
