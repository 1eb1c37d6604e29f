//! What the server set, and who enrolled this camera: the file `agent.conf`.
//!
//! It holds MOORLINE/1 lines as the server said them, so that there is one grammar: `ENROLLED <id>`, a `REFER` line for each endpoint that
//! enrolled the camera (S6: they stay last in the list until changed locally), `CONFIG` lines, and `PRIVATE` when the enrolling endpoint lay
//! in a private network at the enrolment (S7).

use std::fmt::{self, Display};
use std::time::Duration;

use moorline_control::{Host, Id, ServerLine, Setting, Target};

use crate::address::is_private;
use crate::endpoint::Endpoint;

/// What the server set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Which camera this is; `None` until it is enrolled.
    pub camera: Option<Id>,
    /// The endpoints that enrolled it, or that its owner wrote down.
    pub enrolled: Vec<Endpoint>,
    /// Whether the endpoint that enrolled it lay in a private network then.
    pub private: bool,
    /// The endpoints that the server set, in the order of their numbers.
    pub endpoints: Vec<(u8, Target)>,
    /// The streamer's address.
    pub source: Option<(Host, u16)>,
    /// The relay's bound in bytes.
    pub queue: Option<u32>,
    /// Whether the hardware watchdog is fed.
    pub watchdog: Option<bool>,
    /// Seconds without a server after which the camera reboots.
    pub reboot_after: Option<u32>,
}

impl Settings {
    /// Reads the file; what is no line of it is left out and counted.
    #[must_use]
    pub fn parse(text: &str) -> (Self, usize) {
        let mut settings = Settings::default();
        let mut wrong = 0;
        for line in text.lines().filter(|line| !line.is_empty()) {
            match ServerLine::parse(line.as_bytes()) {
                Ok(ServerLine::Enrolled(id)) => settings.camera = Some(id),
                Ok(ServerLine::Refer(target)) => {
                    Endpoint::gather(&mut settings.enrolled, &target);
                }
                Ok(ServerLine::Config(setting)) => {
                    settings.set(setting);
                }
                _ if line == "PRIVATE" => settings.private = true,
                _ => wrong += 1,
            }
        }
        (settings, wrong)
    }

    /// Takes a setting; says whether it changed anything.
    pub fn set(&mut self, setting: Setting) -> bool {
        fn replace<T: PartialEq>(slot: &mut Option<T>, value: T) -> bool {
            let changed = slot.as_ref() != Some(&value);
            *slot = Some(value);
            changed
        }
        match setting {
            Setting::Endpoint(place, target) => {
                let all = &mut self.endpoints;
                match all.iter().position(|(other, _)| *other >= place) {
                    Some(at) if all.get(at).is_some_and(|(other, _)| *other == place) => {
                        let Some((_, before)) = all.get_mut(at) else {
                            return false;
                        };
                        let changed = *before != target;
                        *before = target;
                        changed
                    }
                    at => {
                        all.insert(at.unwrap_or(all.len()), (place, target));
                        true
                    }
                }
            }
            Setting::NoEndpoint(place) => {
                let before = self.endpoints.len();
                self.endpoints.retain(|(other, _)| *other != place);
                self.endpoints.len() != before
            }
            Setting::Source(host, port) => replace(&mut self.source, (host, port)),
            Setting::Queue(bytes) => replace(&mut self.queue, bytes),
            Setting::Watchdog(on) => replace(&mut self.watchdog, on),
            Setting::RebootAfter(seconds) => replace(&mut self.reboot_after, seconds),
        }
    }

    /// Where to call, main endpoint first, with whether its address may be private in any case.
    #[must_use]
    pub fn calls(&self) -> Vec<(Endpoint, Trust)> {
        let mut calls = Vec::new();
        for (_, target) in &self.endpoints {
            calls.push((Endpoint::from(target), Trust::Told));
        }
        for endpoint in &self.enrolled {
            calls.push((endpoint.clone(), Trust::Owner));
        }
        calls
    }

    /// Whether the owner's endpoint lies in a private network: as it was at the enrolment, or by its literal address. Its name may be poisoned at any
    /// later time.
    #[must_use]
    pub fn is_private(&self) -> bool {
        let literal = |own: &Endpoint| own.host.as_str().parse().is_ok_and(is_private);
        self.private || self.enrolled.iter().any(literal)
    }

    /// After how long without a server the camera reboots, if at all.
    #[must_use]
    pub fn reboots_after(&self) -> Option<Duration> {
        let seconds = self.reboot_after.filter(|seconds| *seconds > 0)?;
        Some(Duration::from_secs(seconds.into()))
    }
}

/// Who named an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The owner, by enrolling or in a local file: it may lie anywhere.
    Owner,
    /// A server: not in private networks, unless the enrolling endpoint lies in one (S7).
    Told,
}

impl Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = &self.camera {
            writeln!(f, "{}", ServerLine::Enrolled(id.clone()))?;
        }
        for target in self.enrolled.iter().flat_map(Endpoint::targets) {
            writeln!(f, "{}", ServerLine::Refer(target))?;
        }
        if self.private {
            writeln!(f, "PRIVATE")?;
        }
        let mut all: Vec<Setting> = Vec::new();
        for (place, target) in &self.endpoints {
            all.push(Setting::Endpoint(*place, target.clone()));
        }
        if let Some((host, port)) = &self.source {
            all.push(Setting::Source(host.clone(), *port));
        }
        all.extend(self.queue.map(Setting::Queue));
        all.extend(self.watchdog.map(Setting::Watchdog));
        all.extend(self.reboot_after.map(Setting::RebootAfter));
        for setting in all {
            writeln!(f, "{}", ServerLine::Config(setting))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    fn text() -> String {
        format!(
            "ENROLLED home/yard\n\
             REFER home/yard own.example.com 2222 {KEY}\n\
             REFER home/yard own.example.com 443 {KEY}\n\
             PRIVATE\n\
             CONFIG endpoint.0 home/yard a.example.com 2222 {KEY}\n\
             CONFIG endpoint.1 home/yard b.example.com 2222 {KEY}\n\
             CONFIG source 127.0.0.1:554\n\
             CONFIG queue 1000000\n\
             CONFIG watchdog on\n\
             CONFIG reboot-after 86400\n"
        )
    }

    #[test]
    fn it_prints_what_it_read() {
        let (settings, wrong) = Settings::parse(&text());
        assert_eq!((settings.to_string(), wrong), (text(), 0));
    }

    #[test]
    fn the_endpoint_that_enrolled_the_camera_stays_last_whatever_the_server_sets() {
        let (settings, _) = Settings::parse(&text());
        let calls = settings.calls();
        let places: Vec<_> = calls
            .iter()
            .map(|(call, trust)| (call.host.as_str(), call.port, *trust))
            .collect();
        assert_eq!(
            places,
            [
                ("a.example.com", 2222, Trust::Told),
                ("b.example.com", 2222, Trust::Told),
                ("own.example.com", 2222, Trust::Owner),
                ("own.example.com", 443, Trust::Owner),
            ]
        );
    }

    #[test]
    fn a_server_is_taken_off_the_list_and_who_enrolled_the_camera_is_not() {
        let (mut settings, _) = Settings::parse(&text());
        for (place, changes) in [(0, true), (0, false), (1, true), (15, false)] {
            assert_eq!(settings.set(Setting::NoEndpoint(place)), changes, "{place}");
        }
        let hosts: Vec<_> = settings
            .calls()
            .into_iter()
            .map(|(call, _)| call.host)
            .collect();
        assert!(hosts.len() == 2 && hosts.iter().all(|host| host.as_str() == "own.example.com"));
        assert!(!settings.to_string().contains("endpoint"), "{settings}");
    }

    #[test]
    fn a_torn_or_foreign_line_costs_itself_only() {
        let torn = text().replace(
            "CONFIG queue 1000000",
            "CONFIG queue 9000000\nwhat\nCONFIG qu",
        );
        let (settings, wrong) = Settings::parse(&torn);
        assert_eq!((settings.queue, wrong), (None, 3));
        assert_eq!(settings.watchdog, Some(true));
    }
}
