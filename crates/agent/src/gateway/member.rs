//! The agent of one camera: a process of its own, so that none ends with another, whose output is told under the camera's name.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use moorline_control::LineSplitter;

use super::approved::Approved;
use crate::moment::Moments;
use crate::relay::spawn;
use crate::run::Places;

/// How often an end is looked for: std waits for one child without a deadline, or not at all.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running agent.
#[derive(Debug)]
pub(super) struct Member {
    /// As it was approved when it was started.
    pub(super) approved: Approved,
    child: Child,
}

impl Member {
    pub(super) fn start(places: &Places, approved: Approved) -> io::Result<Self> {
        let program = std::env::current_exe().unwrap_or_else(|_| "/usr/bin/moorline-agent".into());
        let mut child = Command::new(program)
            .args(["run", "--leash", "--lan", &approved.name, "--dir"])
            .arg(&places.directory)
            .arg("--run")
            .arg(&places.run)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(stderr) = child.stderr.take() {
            let name = approved.name.clone();
            let telling = spawn("telling", move || tell(&name, stderr));
            if let Err(error) = telling {
                // Nobody would read what it says, and it would wait for that for ever.
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        }
        Ok(Member { approved, child })
    }

    /// How it ended, if it has.
    pub(super) fn has_ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// The end of its input is a restart, the word says that the camera is given up.
    fn tell_to_end(&mut self, hang_up: bool) {
        if let Some(mut stdin) = self.child.stdin.take()
            && hang_up
        {
            let _ = stdin.write_all(b"stop\n");
        }
    }
}

/// Ends agents, all at once; who has not ended by then is killed, and its session is lost like any other.
pub(super) fn end(mut members: Vec<Member>, hang_up: bool, within: Duration) {
    for member in &mut members {
        member.tell_to_end(hang_up);
    }
    let begin = Moments::begin();
    while begin.now() < within {
        members.retain_mut(|member| member.has_ended().is_none());
        if members.is_empty() {
            return;
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
    for mut member in members {
        let _ = member.child.kill();
        let _ = member.child.wait();
    }
}

fn tell(name: &str, mut stderr: ChildStderr) {
    let mut lines = LineSplitter::new();
    let mut room = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut room) {
        lines.push(room.get(..count).unwrap_or_default(), |line| {
            let line = String::from_utf8_lossy(line);
            let _ = writeln!(io::stderr(), "{name}: {line}");
        });
    }
}
