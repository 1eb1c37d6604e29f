//! MOORLINE/1 on the monitor's channel of one session, the server's side (docs/design: firmware, "MOORLINE/1").
//!
//! Pure: instants are arguments, lines out are returned. Owns: hello, TIME, PING every 15 s, what the camera said of itself, and whether
//! it fell silent. A peer that never answered a PING is never silent: the stdin of a stock dbclient is a terminal or /dev/null.
//! Everything that the camera says is bounded and escaped before it is logged (S33).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_base::Untrusted;
use moorline_base::rate::TokenBucket;
use moorline_control::{AgentLine, Id, Level, Role, ServerLine};
use moorline_core::CameraId;
use moorline_core::port::AgentRelease;
use moorline_core::streampoint::Streampoint;

use crate::transfer::{Transfer, offer_of};

const PING_EVERY: Duration = Duration::from_secs(15);
const SILENT_AFTER: Duration = Duration::from_secs(45);
/// A camera's crystal drifts some seconds a day, and a session may stand for weeks.
const TIME_EVERY: Duration = Duration::from_secs(3600);
/// What a STATUS leaves out when it is over. One that tells how long the camera runs is a whole one.
const PASSING: [&str; 4] = ["bad", "enroll", "rolled-back", "upgrade"];
const LOGS_A_MINUTE: u32 = 20;
/// Keys that a camera may say of itself: the fourteen of STATUS, two sources, the eleven steps of a diagnosis and when it was asked for, how
/// the session elsewhere stands, a new key, the count of refused lines, and the release that it was offered.
const SAID: usize = 32;
/// A diagnosis costs the camera's uplink: so often at most.
const DIAGNOSE_EVERY: Duration = Duration::from_secs(60);

/// What follows from a line or from time passing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing but, perhaps, another [`Conversation::said`].
    Nothing,
    /// The camera hangs up.
    Bye,
    /// It answered once and does not answer any more.
    Silent,
}

/// The line that sends a camera there. `None`: the record holds what no line can say, which its check prevents.
pub(crate) fn refer(streampoint: &Streampoint) -> Option<ServerLine> {
    let line = ServerLine::parse(format!("REFER {streampoint}").as_bytes());
    line.ok()
        .filter(|line| matches!(line, ServerLine::Refer(_)))
}

/// One session's conversation.
#[derive(Debug)]
pub(crate) struct Conversation {
    next_ping: Instant,
    next_time: Instant,
    number: u64,
    last_pong: Option<Instant>,
    logs: TokenBucket,
    logs_dropped: u64,
    bad_lines: u64,
    diagnosed: Option<Instant>,
    transfer: Option<Transfer>,
    said: BTreeMap<String, String>,
}

impl Conversation {
    /// The channel was opened: the conversation, and its first lines. `unix` is the wall clock in seconds. A camera whose stream another server
    /// takes is told so at once: this one is its endpoint alone.
    pub(crate) fn open(
        camera: &CameraId,
        streampoint: Option<&Streampoint>,
        unix: u64,
        now: Instant,
    ) -> (Self, Vec<ServerLine>) {
        let hello = ServerLine::Hello {
            role: match streampoint {
                Some(_) => Role::Endpoint,
                None => Role::Both,
            },
            id: Id::new(&camera.to_string()),
        };
        let refer = streampoint.and_then(refer);
        let lines = [hello, ServerLine::Time(unix)].into_iter().chain(refer);
        let per_second = f64::from(LOGS_A_MINUTE) / 60.0;
        let conversation = Self {
            next_ping: now + PING_EVERY,
            next_time: now + TIME_EVERY,
            number: 0,
            last_pong: None,
            logs: TokenBucket::new(LOGS_A_MINUTE, per_second, now),
            logs_dropped: 0,
            bad_lines: 0,
            diagnosed: None,
            transfer: None,
            said: BTreeMap::new(),
        };
        (conversation, lines.collect())
    }

    /// When [`Conversation::tick`] is to be called next.
    pub(crate) fn due(&self) -> Instant {
        self.next_ping
    }

    /// Time has passed: a PING if one is due, and with it the time once an hour. `unix` is the wall clock in seconds.
    pub(crate) fn tick(&mut self, unix: u64, now: Instant) -> (Outcome, Vec<ServerLine>) {
        if now < self.next_ping {
            return (Outcome::Nothing, Vec::new());
        }
        let silent = |last: Instant| now.saturating_duration_since(last) > SILENT_AFTER;
        if self.last_pong.is_some_and(silent) {
            return (Outcome::Silent, Vec::new());
        }
        self.next_ping = now + PING_EVERY;
        self.number += 1;
        let mut lines = vec![ServerLine::Ping(self.number)];
        if now >= self.next_time {
            self.next_time = now + TIME_EVERY;
            lines.push(ServerLine::Time(unix));
        }
        (Outcome::Nothing, lines)
    }

    /// The operator says this line to the agent.
    pub(crate) fn told(&mut self, line: &str) {
        if line == "REKEY" {
            // What it answered to an earlier one is no answer to this one.
            self.said.remove("new-key");
        }
    }

    /// The operator asks for a diagnosis: the line, unless one was asked for less than a minute ago. `unix` is the wall clock in seconds.
    pub(crate) fn diagnose(&mut self, unix: u64, now: Instant) -> Option<ServerLine> {
        let again = self.diagnosed.map(|last| last + DIAGNOSE_EVERY);
        if again.is_some_and(|again| now < again) {
            return None;
        }
        self.diagnosed = Some(now);
        // What the last one said is not this one's answer.
        self.said.retain(|key, _| !key.starts_with("diag."));
        self.say("diag.asked", &unix.to_string());
        Some(ServerLine::Diag)
    }

    /// The operator offers a release: the line, unless it is under way already or does not fit into one.
    pub(crate) fn offer(&mut self, release: &Arc<AgentRelease>) -> Option<ServerLine> {
        if self
            .transfer
            .as_ref()
            .is_some_and(|known| known.is_of(release))
        {
            return None;
        }
        let offer = offer_of(release).ok()?;
        // What was said of an earlier one is no answer to this one.
        for key in ["bad", "upgrade"] {
            self.said.remove(key);
        }
        self.say("offered", &release.version);
        self.transfer = Some(Transfer::new(Arc::clone(release)));
        Some(ServerLine::Upgrade(offer))
    }

    /// Says the parts that may go, until one cannot be said.
    pub(crate) fn parts(&mut self, mut say: impl FnMut(&ServerLine) -> bool) {
        let Some(transfer) = &mut self.transfer else {
            return;
        };
        while let Some(part) = transfer.next() {
            if !say(&part) {
                return;
            }
            transfer.sent();
        }
    }

    /// The camera said a line.
    pub(crate) fn line(&mut self, line: &[u8], now: Instant) -> Outcome {
        match AgentLine::parse(line) {
            Ok(AgentLine::Bye) => return Outcome::Bye,
            // Any number that we have said counts: a late answer is an answer.
            Ok(AgentLine::Pong(number)) if (1..=self.number).contains(&number) => {
                self.last_pong = Some(now);
            }
            Ok(AgentLine::Status(status)) => {
                self.status(&status.to_string());
                if let (Some(transfer), Some(offset)) = (&mut self.transfer, status.upgrade) {
                    transfer.told(offset);
                }
                let refused = status.bad.as_ref();
                if refused.is_some_and(|bad| bad.as_str().starts_with("UPGRADE.")) {
                    self.transfer = None;
                }
            }
            Ok(AgentLine::Source(source)) => {
                let text = source.to_string();
                if let Some((name, rest)) = text.split_once(' ') {
                    self.say(&format!("source.{name}"), rest);
                }
            }
            Ok(AgentLine::UpState {
                state,
                host,
                port,
                reason,
            }) => {
                let reason = reason.map_or_else(String::new, |reason| format!(" {reason}"));
                self.say("elsewhere", &format!("{state} {host} {port}{reason}"));
            }
            Ok(AgentLine::NewKey(key)) => self.say("new-key", &key.to_string()),
            Ok(AgentLine::Log(level, text)) => self.log(level, text.as_str(), now),
            Ok(AgentLine::Diag { step, ok, text }) => {
                let result = if ok { "ok" } else { "fail" };
                self.say(
                    &format!("diag.{step}"),
                    &format!("{result} {}", text.as_str()),
                );
                if let Some(dropped) = self.may_log(now) {
                    let text = Untrusted::new(text.as_str());
                    tracing::info!(%step, ok, dropped, %text, "camera's diagnosis");
                }
            }
            Ok(_) => {}
            Err(error) => {
                self.bad_lines += 1;
                self.say("bad-lines", &self.bad_lines.to_string());
                tracing::debug!(field = %error, "camera said a line with a wrong field");
            }
        }
        Outcome::Nothing
    }

    /// What the camera said of itself, by key; its text is foreign.
    pub(crate) fn said(&self) -> Vec<(String, String)> {
        let pairs = self.said.iter();
        pairs
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// A STATUS replaces what the last one said, key by key; a whole one also what is over.
    fn status(&mut self, pairs: &str) {
        let keys = || pairs.split_ascii_whitespace();
        if keys().any(|pair| pair.starts_with("uptime=")) {
            self.said.retain(|key, _| !PASSING.contains(&key.as_str()));
        }
        for pair in keys() {
            if let Some((key, value)) = pair.split_once('=') {
                self.say(key, value);
            }
        }
    }

    fn say(&mut self, key: &str, value: &str) {
        if self.said.len() < SAID || self.said.contains_key(key) {
            self.said.insert(key.to_owned(), value.to_owned());
        }
    }

    /// Whether one more line of the camera may go into our log, and how many could not before it. A camera whose key was read from its
    /// flash fills no disk.
    fn may_log(&mut self, now: Instant) -> Option<u64> {
        if self.logs.try_take(now).is_err() {
            self.logs_dropped += 1;
            return None;
        }
        Some(std::mem::take(&mut self.logs_dropped))
    }

    fn log(&mut self, level: Level, text: &str, now: Instant) {
        let Some(dropped) = self.may_log(now) else {
            return;
        };
        let text = Untrusted::new(text);
        match level {
            Level::Error | Level::Warn => {
                tracing::warn!(%level, dropped, %text, "camera's log");
            }
            Level::Info => tracing::info!(%level, dropped, %text, "camera's log"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn open() -> (Conversation, Instant, Vec<String>) {
        let now = Instant::now();
        let camera = "yard".parse().unwrap();
        let (conversation, lines) = Conversation::open(&camera, None, 1_790_000_000, now);
        (
            conversation,
            now,
            lines.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn it_opens_with_hello_and_time() {
        let (_, _, lines) = open();
        assert_eq!(lines, ["MOORLINE/1 both home/yard", "TIME 1790000000"]);
    }

    #[test]
    fn a_camera_that_streams_elsewhere_is_told_where_and_says_how_it_stands() {
        let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        blob.extend([7; 32]);
        let there = Streampoint {
            user: "home/yard".into(),
            host: "b.example.com".into(),
            port: 443,
            keys: vec![moorline_core::PublicKey::from_blob(&blob).unwrap()],
            ttl: Some(60),
        };
        let now = Instant::now();
        let (mut talk, lines) = Conversation::open(&"yard".parse().unwrap(), Some(&there), 7, now);
        let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
        assert_eq!(lines[..2], ["MOORLINE/1 endpoint home/yard", "TIME 7"]);
        assert_eq!(lines[2], format!("REFER {there}"));
        talk.line(b"UPSTATE trying b.example.com 443", now);
        talk.line(b"UPSTATE down b.example.com 443 hostkey", now);
        let said = (
            "elsewhere".to_owned(),
            "down b.example.com 443 hostkey".to_owned(),
        );
        assert_eq!(talk.said(), [said]);
    }

    #[test]
    fn a_camera_that_answered_and_stops_answering_is_silent_after_45_s() {
        let (mut talk, start, _) = open();
        let lines = talk.tick(7, start + 15 * SECOND).1;
        assert_eq!(lines, [ServerLine::Ping(1)]);
        assert_eq!(talk.line(b"PONG 1", start + 16 * SECOND), Outcome::Nothing);
        for turn in 2..=4 {
            assert_eq!(talk.tick(7, start + turn * 15 * SECOND).0, Outcome::Nothing);
        }
        assert_eq!(talk.tick(7, start + 75 * SECOND).0, Outcome::Silent);
    }

    #[test]
    fn a_stock_dbclient_never_answers_and_is_never_silent() {
        let (mut talk, start, _) = open();
        assert_eq!(
            talk.line(b"PONG 7", start),
            Outcome::Nothing,
            "nobody asked"
        );
        for turn in 1..1_000 {
            let (outcome, lines) = talk.tick(7, start + turn * 15 * SECOND);
            assert_eq!(outcome, Outcome::Nothing);
            assert!(matches!(lines[..], [ServerLine::Ping(_), ..]));
        }
    }

    #[test]
    fn a_session_that_stands_for_hours_hears_the_time_each_hour() {
        let (mut talk, start, _) = open();
        let mut heard = Vec::new();
        for turn in 1..=(2 * 3600 + 60) / 15 {
            let (_, lines) = talk.tick(turn, start + SECOND * u32::try_from(turn).unwrap() * 15);
            let times = lines.into_iter().filter_map(|line| match line {
                ServerLine::Time(unix) => Some(unix),
                _ => None,
            });
            heard.extend(times);
        }
        assert_eq!(heard, [240, 480]);
    }

    #[test]
    fn what_is_over_is_not_told_of_any_more() {
        let (mut talk, now, _) = open();
        talk.line(
            b"STATUS uptime=5 enroll=1 upgrade=7 rolled-back=0.2.0 bad=REFER.host",
            now,
        );
        // A part of one: where a transfer goes on.
        talk.line(b"STATUS upgrade=756", now);
        assert_eq!(talk.said().len(), 5);
        talk.line(b"STATUS uptime=65 rolled-back=0.2.0", now);
        let keys: Vec<_> = talk.said().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["rolled-back", "uptime"]);
    }

    #[test]
    fn the_answer_to_an_earlier_rekey_is_forgotten_when_it_is_asked_again() {
        let (mut talk, now, _) = open();
        let key = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
        talk.line(format!("NEWKEY {key}").as_bytes(), now);
        talk.told("CONFIG queue 1000000");
        assert_eq!(talk.said(), [("new-key".to_owned(), key.to_owned())]);
        talk.told("REKEY");
        assert_eq!(talk.said(), []);
    }

    #[test]
    fn bye_hangs_up_and_what_is_unknown_or_wrong_does_nothing() {
        let (mut talk, now, _) = open();
        for line in [
            &b"BYEBYE"[..],
            b"bye",
            b"\xff\x00",
            b"",
            b"EVENT x y",
            b"PONG x",
            b"STATUS",
        ] {
            assert_eq!(talk.line(line, now), Outcome::Nothing, "{line:?}");
        }
        assert_eq!(talk.line(b"BYE", now), Outcome::Bye);
        assert_eq!(talk.said(), [("bad-lines".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn what_the_camera_says_of_itself_is_kept_by_key() {
        let (mut talk, now, _) = open();
        talk.line(b"STATUS uptime=5 memory=20000", now);
        talk.line(b"STATUS uptime=9", now);
        talk.line(b"SOURCE main /ch0 h264 1920x1080 20 1024", now);
        let said = talk.said();
        let said: Vec<_> = said.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(
            said,
            [
                ("memory", "20000"),
                ("source.main", "/ch0 h264 1920x1080 20 1024"),
                ("uptime", "9")
            ]
        );
    }

    #[test]
    fn a_diagnosis_is_asked_for_once_a_minute_and_its_steps_are_kept() {
        let (mut talk, now, _) = open();
        talk.line(b"DIAG tcp ok an old one", now);
        assert_eq!(talk.diagnose(7, now), Some(ServerLine::Diag));
        assert_eq!(talk.diagnose(8, now + 59 * SECOND), None);
        for step in moorline_control::DiagStep::ALL {
            let line = format!("DIAG {step} fail not there");
            talk.line(line.as_bytes(), now);
        }
        talk.line(b"STATUS uptime=1 memory=2 probe=ok agent=0.1.0 target=mipsel dbclient=2022.83 pictures=9 pictures-dropped=1 log-dropped=2 relay-faults=3 enroll=1 upgrade=7 rolled-back=0.2.0 bad=REFER.host", now);
        talk.line(b"SOURCE main /a - - - -", now);
        talk.line(b"SOURCE sub /b - - - -", now);
        let said = talk.said();
        assert_eq!(said.len(), 14 + 1 + 11 + 2, "all of it has room");
        assert!(said.contains(&("diag.tcp".to_owned(), "fail not there".to_owned())));
        assert!(said.contains(&("diag.asked".to_owned(), "7".to_owned())));
        assert!(talk.diagnose(9, now + 60 * SECOND).is_some());
        assert_eq!(talk.said().len(), 14 + 1 + 2);
    }

    #[test]
    fn a_release_is_offered_sent_as_the_agent_asks_and_given_up_when_it_refuses() {
        let (mut talk, now, _) = open();
        let release = Arc::new(AgentRelease {
            target: "mipsel".into(),
            version: "0.2.0".into(),
            sha512: [1; 64],
            signature: [2; 64],
            file: vec![7; 100_000].into(),
        });
        talk.line(b"STATUS agent=0.1.0 bad=PING.n", now);
        let line = talk.offer(&release).unwrap().to_string();
        assert!(line.starts_with("UPGRADE mipsel 0.2.0 100000 "), "{line}");
        assert_eq!(talk.offer(&release), None, "it is under way");
        let said = |talk: &Conversation, key: &str| {
            let said = talk.said().into_iter().find(|(name, _)| name == key);
            said.map(|(_, value)| value)
        };
        assert_eq!(said(&talk, "offered").as_deref(), Some("0.2.0"));
        assert_eq!(said(&talk, "bad"), None);
        let count = |talk: &mut Conversation, room: usize| {
            let mut sent = 0;
            talk.parts(|_| {
                sent += 1;
                sent <= room
            });
            sent.min(room)
        };
        assert_eq!(count(&mut talk, 100), 0, "it has told nothing yet");
        talk.line(b"STATUS upgrade=0", now);
        assert_eq!(count(&mut talk, 10), 10, "a full channel stops it");
        assert_eq!(count(&mut talk, 100), 2, "and it goes on");
        talk.line(b"STATUS upgrade=7560", now);
        assert_eq!(count(&mut talk, 100), 10);
        talk.line(b"STATUS bad=UPGRADE.sha512", now);
        talk.line(b"STATUS upgrade=15120", now);
        assert_eq!(count(&mut talk, 100), 0);
        assert!(talk.offer(&release).is_some(), "the operator may try again");
    }

    #[test]
    fn twenty_lines_of_log_a_minute_are_let_through() {
        let (mut talk, now, _) = open();
        for _ in 0..50 {
            talk.line(b"LOG info hello", now);
            talk.line(b"DIAG tcp ok up", now);
        }
        assert_eq!(talk.logs_dropped, 80, "a diagnosis is a line of log too");
        talk.line(b"LOG info hello", now + 3 * SECOND);
        assert_eq!(talk.logs_dropped, 0, "told with the next one");
    }
}
