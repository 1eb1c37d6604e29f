//! What the agent says of itself: STATUS on change and at most once per PING, SOURCE on change, 20 lines of LOG a minute.

use std::time::Duration;

use moorline_control::{AgentLine, BadField, Level, Probe, Source, Status, Text, Version};

/// Lines of log per minute; the rest is counted.
const LOGS: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// What changes by itself, read when it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Seconds since the camera's boot.
    pub uptime: Option<u64>,
    /// KiB that are free or can be freed.
    pub memory: Option<u64>,
    /// Pictures that the relay took in, dropped ones too. Alone they are no change.
    pub pictures: u64,
    /// Pictures that the relay dropped.
    pub pictures_dropped: u64,
    /// Its faults.
    pub relay_faults: u64,
}

/// What is said again as soon as it changes.
type Changing = (
    Option<Probe>,
    u64,
    u64,
    u64,
    bool,
    Option<u32>,
    Option<Version>,
);

/// Composes the lines.
#[derive(Debug, Default)]
pub struct Report {
    /// What does not change: versions.
    pub fixed: Status,
    /// How the streamer answered last.
    pub probe: Option<Probe>,
    /// Its streams.
    pub sources: Vec<Source>,
    /// An `enroll` file is there and ignored.
    pub enroll: bool,
    /// The offset from which an upgrade's transfer goes on, while one is under way.
    pub upgrade: Option<u32>,
    /// The version that failed its trial, while it is kept.
    pub rolled_back: Option<Version>,
    bad: Option<BadField>,
    said: Option<Changing>,
    said_at: Duration,
    said_sources: Vec<Source>,
    log_since: Duration,
    logs: u32,
    log_dropped: u64,
}

impl Report {
    /// After a hello: everything, once.
    pub fn greet(&mut self, facts: &Facts, now: Duration) -> Vec<AgentLine> {
        self.said = None;
        self.said_sources = Vec::new();
        self.lines(facts, now)
    }

    /// After a PING: what changed. Uptime and memory alone are told once a minute.
    pub fn lines(&mut self, facts: &Facts, now: Duration) -> Vec<AgentLine> {
        let changing = (
            self.probe,
            facts.pictures_dropped,
            self.log_dropped,
            facts.relay_faults,
            self.enroll,
            self.upgrade,
            self.rolled_back,
        );
        let stale = now.saturating_sub(self.said_at) >= MINUTE;
        let mut lines = Vec::new();
        if self.said != Some(changing) || self.bad.is_some() || stale {
            self.said = Some(changing);
            self.said_at = now;
            lines.push(AgentLine::Status(Status {
                uptime: facts.uptime,
                memory: facts.memory,
                probe: self.probe,
                pictures: Some(facts.pictures),
                pictures_dropped: Some(facts.pictures_dropped),
                log_dropped: Some(self.log_dropped),
                relay_faults: Some(facts.relay_faults),
                enroll: self.enroll,
                upgrade: self.upgrade.map(u64::from),
                rolled_back: self.rolled_back,
                bad: self.bad.take(),
                ..self.fixed.clone()
            }));
        }
        if self.said_sources != self.sources {
            lines.extend(self.sources.iter().cloned().map(AgentLine::Source));
            self.said_sources.clone_from(&self.sources);
        }
        lines
    }

    /// Where an upgrade's transfer goes on, at once: the one STATUS that does not wait for a PING, since parts wait for it.
    pub fn offset(&mut self, offset: u32) -> AgentLine {
        self.upgrade = Some(offset);
        if let Some((.., said, _)) = &mut self.said {
            *said = Some(offset);
        }
        AgentLine::Status(Status {
            upgrade: Some(offset.into()),
            ..Status::default()
        })
    }

    /// A line was refused: said with the next STATUS, the first of several.
    pub fn bad(&mut self, field: BadField) {
        self.bad.get_or_insert(field);
    }

    /// A line of log, or `None` when there were too many in this minute.
    pub fn log(&mut self, level: Level, text: &str, now: Duration) -> Option<AgentLine> {
        if now.saturating_sub(self.log_since) >= MINUTE {
            self.log_since = now;
            self.logs = 0;
        }
        if self.logs >= LOGS {
            self.log_dropped += 1;
            return None;
        }
        self.logs += 1;
        Some(AgentLine::Log(level, Text::clean(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(lines: &[AgentLine]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    fn source(line: &str) -> Source {
        match AgentLine::parse(format!("SOURCE {line}").as_bytes()) {
            Ok(AgentLine::Source(source)) => source,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn status_and_sources_are_said_at_the_hello_and_then_on_change() {
        let mut report = Report {
            sources: vec![source("main /ch0 h264 1920x1080 25 3000")],
            ..Report::default()
        };
        let facts = Facts {
            uptime: Some(5),
            ..Facts::default()
        };
        let at = Duration::from_secs;
        let all = [
            "STATUS uptime=5 pictures=0 pictures-dropped=0 log-dropped=0 relay-faults=0",
            "SOURCE main /ch0 h264 1920x1080 25 3000",
        ];
        assert_eq!(say(&report.greet(&facts, at(0))), all);
        assert_eq!(
            say(&report.lines(
                &Facts {
                    uptime: Some(20),
                    ..facts
                },
                at(15)
            )),
            [""; 0]
        );
        report.bad(BadField::from(
            moorline_control::ServerLine::parse(b"PING x").unwrap_err(),
        ));
        assert_eq!(
            say(&report.lines(&facts, at(30))),
            [
                "STATUS uptime=5 pictures=0 pictures-dropped=0 log-dropped=0 relay-faults=0 bad=PING.n"
            ]
        );
        report.probe = Some(Probe::Fail);
        assert_eq!(report.lines(&facts, at(45)).len(), 1);
        assert_eq!(report.lines(&facts, at(60)).len(), 0);
        assert_eq!(
            report.lines(&facts, at(106)).len(),
            1,
            "once a minute in any case"
        );
        assert_eq!(
            report.greet(&facts, at(107)).len(),
            2,
            "another session knows nothing"
        );
    }

    #[test]
    fn of_a_hundred_lines_of_log_twenty_and_a_count() {
        let mut report = Report::default();
        let now = Duration::from_secs(100);
        let passed = (0..100).filter(|_| report.log(Level::Info, "x", now).is_some());
        assert_eq!(passed.count(), 20);
        let lines = say(&report.greet(&Facts::default(), now));
        assert!(lines[0].contains(" log-dropped=80 "), "{lines:?}");
        assert!(report.log(Level::Info, "x", now + MINUTE).is_some());
    }
}
