//! The agent as a site gateway: on any Linux box, for cameras of the local network that carry no agent.
//!
//! ```text
//!  local.conf ─ lan yard 192.168.1.20:554 ─▶ moorline-agent run --lan yard ─▶ dbclient, key and relay of `yard`
//!             ─ lan door 192.168.1.21:554 ─▶ moorline-agent run --lan door ─▶ dbclient, key and relay of `door`
//! ```
//!
//! Owns: who is approved (`approved`), an agent's process for each (`member`), the shared `enroll` file of a batch. Does not own:
//! calling, relaying, enrolling: each camera has an agent like any other, with a key, a directory and a session of its own.
//!
//! **Nothing is connected to but the addresses that the owner wrote into `local.conf`.** They are addresses, not names, so that nobody can
//! rebind them; no server can add one (a camera behind a gateway takes no `source`), and discovery only proposes.
//!
//! An agent of a camera ends when its standard input does: a gateway that was killed leaves nobody behind.

pub mod approved;
mod member;
pub(crate) mod options;
mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use moorline_control::Level;

use crate::mailbox::{Empty, Receiver, mailbox};
use crate::moment::Moments;
use crate::run::{Places, console};
use crate::settings::Settings;
use crate::{files, running, system};
use approved::{Approved, approved};
use member::Member;

/// How often the file is looked at, and whether everybody lives.
const EVERY: Duration = Duration::from_secs(1);
/// An agent that died is started again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Agents that were told to end have this long: two seconds to say `BYE`, and some to spare.
const END_WITHIN: Duration = Duration::from_secs(4);

struct Gateway {
    places: Places,
    /// The text of `local.conf`, as it was read last.
    text: Option<String>,
    approved: Vec<Approved>,
    members: BTreeMap<String, Member>,
    /// Who died, and when it may be started again.
    again: BTreeMap<String, Duration>,
    moments: Moments,
    told_of_nobody: bool,
}

/// Runs an agent for each approved camera until it is told to stop (`true`: the cameras hang up) or to restart.
///
/// # Errors
/// Another one runs; a directory or the FIFO cannot be made: without it nobody can stop the gateway cleanly.
pub fn run(places: Places) -> Result<(), String> {
    let _alone = running::alone(&places)?;
    let told = |what: String, error: std::io::Error| format!("{what}: {error}");
    for directory in [&places.directory, &places.run] {
        files::make_directory(directory)
            .map_err(|error| told(directory.display().to_string(), error))?;
    }
    let (words, heard) = mailbox(4);
    let word: system::Word = Box::new(move |word| {
        let hang_up = match word {
            "stop" => true,
            "restart" => false,
            _ => return,
        };
        words.send(hang_up);
    });
    let listening = system::listen_fifo(&places.fifo(), word);
    listening.map_err(|error| told(places.fifo().display().to_string(), error))?;
    let state = format!("pid {}\nstate gateway\nlast-end -\n", std::process::id());
    files::replace(&places.state(), &state)
        .map_err(|error| told(places.state().display().to_string(), error))?;
    let mut gateway = Gateway {
        places,
        text: None,
        approved: Vec::new(),
        members: BTreeMap::new(),
        again: BTreeMap::new(),
        moments: Moments::begin(),
        told_of_nobody: false,
    };
    let hang_up = gateway.turn(&heard);
    gateway.end(hang_up);
    Ok(())
}

impl Gateway {
    /// Until a word comes: whether it is one to hang up.
    fn turn(&mut self, heard: &Receiver<bool>) -> bool {
        loop {
            self.read();
            self.bury();
            self.start();
            self.wipe_spent_token();
            match heard.take_within(EVERY) {
                Ok(hang_up) => return hang_up,
                Err(Empty::Late) => {}
                Err(Empty::Over) => return false,
            }
        }
    }

    /// The owner's file, when it has changed. Who is not in it any more ends at once, whose line changed begins anew.
    fn read(&mut self) {
        // A file that cannot be read for a moment approves what it approved.
        let Ok(text) = files::read(&self.places.local_file()) else {
            return;
        };
        let text = text.unwrap_or_default();
        if self.text.as_ref() == Some(&text) {
            return;
        }
        let (approved, wrong) = approved(&text);
        for wrong in wrong {
            console(Level::Warn, format_args!("local.conf: {wrong}"));
        }
        self.text = Some(text);
        let running = self.members.iter();
        let running = running.map(|(name, member)| (name.as_str(), &member.approved));
        let ends = plan::ends(running, &approved);
        for name in &ends {
            console(
                Level::Info,
                format_args!("{name}: its line in local.conf is gone or another one"),
            );
        }
        let ended: Vec<Member> = ends
            .iter()
            .filter_map(|name| self.members.remove(name))
            .collect();
        member::end(ended, false, END_WITHIN);
        self.again.clear();
        self.approved = approved;
        if self.approved.is_empty() && !std::mem::replace(&mut self.told_of_nobody, true) {
            console(
                Level::Warn,
                format_args!(
                    "no camera is approved: `moorline-agent discover` proposes lines for local.conf"
                ),
            );
        }
    }

    /// Who died.
    fn bury(&mut self) {
        let now = self.moments.now();
        let again = &mut self.again;
        self.members.retain(|name, member| {
            let Some(how) = member.has_ended() else {
                return true;
            };
            console(
                Level::Error,
                format_args!("{name}: its agent ended: {how}; it is started again"),
            );
            again.insert(name.clone(), now + AGAIN_AFTER);
            false
        });
    }

    /// Who is approved and does not run.
    fn start(&mut self) {
        let now = self.moments.now();
        for approved in &self.approved {
            let name = &approved.name;
            let early = self.again.get(name).is_some_and(|at| now < *at);
            if early || self.members.contains_key(name) {
                continue;
            }
            self.again.remove(name);
            match Member::start(&self.places, approved.clone()) {
                Ok(member) => {
                    console(Level::Info, format_args!("{name}: {}", approved.address));
                    self.members.insert(name.clone(), member);
                }
                Err(error) => {
                    console(
                        Level::Error,
                        format_args!("{name}: its agent cannot be started: {error}"),
                    );
                    self.again.insert(name.clone(), now + AGAIN_AFTER);
                }
            }
        }
    }

    /// The batch's token lies there until the last approved camera has used it.
    fn wipe_spent_token(&self) {
        let file = self.places.directory.join("enroll");
        if self.approved.is_empty() || !file.exists() {
            return;
        }
        let all = self.approved.iter().all(|approved| {
            let settings = self.places.of_lan(approved).settings_file();
            let text = files::read(&settings).ok().flatten().unwrap_or_default();
            approved.local.camera.is_some() || Settings::parse(&text).0.camera.is_some()
        });
        if !all {
            return;
        }
        match files::wipe(&file) {
            Ok(()) => console(
                Level::Info,
                format_args!("every approved camera is enrolled: enroll is wiped"),
            ),
            Err(error) => console(
                Level::Warn,
                format_args!("{}: {error}: remove it yourself", file.display()),
            ),
        }
    }

    fn end(self, hang_up: bool) {
        let members = self.members.into_values().collect();
        member::end(members, hang_up, END_WITHIN);
        let _ = std::fs::remove_file(self.places.state());
    }
}
