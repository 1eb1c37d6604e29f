//! What each line of a server changes.

use std::net::IpAddr;
use std::time::Duration;

use moorline_control::{
    AgentLine, BadField, Fault, FieldError, Host, Level, Reason, Role, ServerLine, Setting,
};

use super::{Action, Link, Machine, NO_REBOOT_BEFORE};

/// So often another key writes onto the flash.
const REKEY_WRITES: u32 = 4;
/// A diagnosis costs the uplink: at most one a minute.
const DIAGNOSIS_EVERY: Duration = Duration::from_secs(60);

impl Machine {
    pub(super) fn line(&mut self, now: Duration, link: Link, line: &[u8], out: &mut Vec<Action>) {
        let parsed = ServerLine::parse(line);
        if !self.leg(link).is_up() {
            // Nothing counts before the hello.
            match parsed {
                Ok(ServerLine::Hello { role, .. }) => self.hello(now, link, role, out),
                Ok(ServerLine::OtherMajor(major)) => {
                    let what = format!("the server speaks MOORLINE/{major}");
                    out.push(Action::Note(Level::Error, what));
                    out.push(Action::Kill(link));
                    self.lost(now, link, Reason::Exit, out);
                }
                _ => {}
            }
            return;
        }
        match (link, parsed) {
            (_, Ok(ServerLine::Ping(n))) => {
                self.leg(link).ping(now);
                out.push(Action::Say(link, AgentLine::Pong(n)));
                if link == Link::Endpoint && self.settings.camera.is_some() {
                    out.push(Action::Report);
                }
            }
            // S6: whatever else it says, it was reached by REFER.
            (Link::Streampoint, _) => {}
            (Link::Endpoint, Ok(line)) => self.endpoint_line(now, line, out),
            (Link::Endpoint, Err(error)) => out.push(Action::Bad(error.into())),
        }
    }

    fn hello(&mut self, now: Duration, link: Link, role: Role, out: &mut Vec<Action>) {
        match link {
            Link::Endpoint => self.endpoint_hello(now, role, out),
            Link::Streampoint => self.streampoint_hello(now, role, out),
        }
    }

    fn endpoint_line(&mut self, now: Duration, line: ServerLine, out: &mut Vec<Action>) {
        // A stranger's enrolment may name the camera and say its settings, no more.
        let enrolling = self.endpoint.role() == Some(Role::Enroll);
        match line {
            ServerLine::Enrolled(id) => self.enrolled(id, out),
            ServerLine::Config(setting) if self.settings.camera.is_some() => {
                self.config(now, setting, out);
            }
            ServerLine::Time(unix) if !enrolling => out.push(Action::Clock(unix)),
            ServerLine::Upgrade(offer) if !enrolling => out.push(Action::Offer(offer)),
            ServerLine::Part { offset, data } if !enrolling => out.push(Action::Part(offset, data)),
            ServerLine::Refer(target) if !enrolling => self.refer(now, target, out),
            ServerLine::Diag if !enrolling => {
                let again = self.last_diagnosis.map(|last| last + DIAGNOSIS_EVERY);
                if again.is_none_or(|again| now >= again) {
                    self.last_diagnosis = Some(now);
                    out.push(Action::Diagnose);
                }
            }
            ServerLine::Rekey if self.settings.camera.is_some() => self.rekey(now, out),
            ServerLine::Rekeyed(key) if self.next_key.as_ref() == Some(&key) => {
                self.next_key = None;
                let owner = self.endpoint.is_owner_s();
                let what = "the camera has another key from now on";
                out.push(Action::Note(Level::Warn, what.into()));
                out.push(Action::TakeNextKey { owner, key });
                // It calls again with it at once: a key that is never used would only be found wrong when it is needed.
                out.push(Action::Kill(Link::Endpoint));
                self.endpoint.rekeyed();
                self.streampoint.rekeyed();
                self.endpoint.wait(now);
            }
            ServerLine::Reboot if !enrolling && now >= NO_REBOOT_BEFORE => {
                out.push(Action::Note(
                    Level::Warn,
                    "the server asks to reboot".into(),
                ));
                self.reboot(out);
            }
            _ => {}
        }
    }

    fn rekey(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.making_next_key {
            // Two at once would write over each other's; the one that is made is said.
            return;
        }
        if self.endpoint.is_owner_s() || self.flash.spends(now, REKEY_WRITES) {
            self.making_next_key = true;
            out.push(Action::MakeNextKey);
        } else {
            let what =
                "no other key for the camera: the flash was written often, and rests some minutes";
            out.push(Action::Note(Level::Warn, what.into()));
        }
    }

    fn config(&mut self, now: Duration, setting: Setting, out: &mut Vec<Action>) {
        if let Setting::Source(host, port) = &setting
            && !self.allows_source(host, *port)
        {
            out.push(Action::Bad(BadField::from(FieldError {
                line: "CONFIG",
                field: "source",
                fault: Fault::Wrong,
            })));
            return;
        }
        if self.settings.set(setting.clone()) {
            self.flash.changed();
            if self.flash.writes(now) {
                self.keep(out);
            }
            out.push(Action::Apply(setting));
        }
    }

    /// Loopback, on a port of the owner's list: else a server could walk the owner's network (S7).
    fn allows_source(&self, host: &Host, port: u16) -> bool {
        let loopback = host.as_str().parse::<IpAddr>();
        loopback.is_ok_and(|address| address.is_loopback())
            && self.fixed.source_ports.contains(&port)
    }
}
