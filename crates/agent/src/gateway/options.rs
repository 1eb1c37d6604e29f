//! The gateway's part of the command line, and what `discover` says.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::approved::{Approved, approved};
use crate::discovery::seek::{Answer, seek};
use crate::files;
use crate::run::Places;

/// Cameras answer within half a second of the last question.
const SECONDS: u64 = 4;
/// ONVIF says nothing about it without a login; it is the port of nearly all.
const RTSP: u16 = 554;

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// The one camera that is meant.
    lan: Option<String>,
    /// Whether the agent ends with its standard input.
    pub(crate) leash: bool,
    from: Ipv4Addr,
    seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            lan: None,
            leash: false,
            from: Ipv4Addr::UNSPECIFIED,
            seconds: SECONDS,
        }
    }
}

impl Options {
    pub(crate) fn take(&mut self, option: &str, value: Option<String>) -> Result<(), String> {
        let wrong = |what: &str| format!("{option} needs {what}");
        match (option, value) {
            ("--lan", Some(name)) => self.lan = Some(name),
            ("--lan", None) => return Err(wrong("the name of a camera in local.conf")),
            ("--from", value) => {
                let address = value.and_then(|value| value.parse().ok());
                self.from = address.ok_or_else(|| wrong("an IPv4 address of this box"))?;
            }
            (_, value) => {
                let seconds = value.and_then(|value| value.parse().ok());
                let seconds = seconds.filter(|seconds| (1..=60).contains(seconds));
                self.seconds = seconds.ok_or_else(|| wrong("a number from 1 to 60"))?;
            }
        }
        Ok(())
    }

    /// The places of the camera that is meant, or those of the box.
    pub(crate) fn places(&self, places: Places) -> Result<Places, String> {
        let Some(name) = &self.lan else {
            return Ok(places);
        };
        let file = places.local_file();
        let all = of_file(&places)?;
        let approved = all.iter().find(|approved| approved.name == *name);
        let approved = approved.ok_or_else(|| {
            format!(
                "{name}: not approved: no line `lan {name} <address>:<port>` in {}",
                file.display()
            )
        })?;
        let mut own = places.of_lan(approved);
        if let Some(lan) = &mut own.lan {
            lan.leash = self.leash;
        }
        Ok(own)
    }

    /// Asks the network, and says who answered.
    pub(crate) fn proposals(&self, places: &Places) -> Result<String, String> {
        let answers = seek(self.from, Duration::from_secs(self.seconds)).map_err(|error| {
            let hint = "--from names the interface by one of this box's addresses";
            format!("the network cannot be asked: {error}\nhint: {hint}")
        })?;
        Ok(proposed(&answers, &of_file(places)?))
    }
}

fn of_file(places: &Places) -> Result<Vec<Approved>, String> {
    let file = places.local_file();
    let text = files::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(approved(&text.unwrap_or_default()).0)
}

/// Lines for `local.conf`, commented out: to approve is the owner's to do.
fn proposed(answers: &[Answer], approved: &[Approved]) -> String {
    let mut out = match answers.len() {
        0 => "# no ONVIF camera answered; one that does not speak ONVIF is approved by its address all the same".to_owned(),
        count => format!("# {count} answered. Nobody is connected to until the # before its `lan` is removed, in local.conf"),
    };
    for answer in answers {
        let said = [&answer.camera.name, &answer.camera.hardware];
        let said: Vec<&str> = said.into_iter().flatten().map(String::as_str).collect();
        let said = if said.is_empty() {
            "says no name".to_owned()
        } else {
            format!("says it is {}", said.join(", "))
        };
        let known = approved
            .iter()
            .find(|one| one.address.ip() == answer.address);
        // Nothing of what it says becomes a name: it is a stranger.
        let line = match (known, answer.address) {
            (Some(known), _) => format!(
                "approved as {}: lan {} {}",
                known.name, known.name, known.address
            ),
            (None, IpAddr::V4(address)) => {
                let [_, _, third, fourth] = address.octets();
                format!("lan cam-{third}-{fourth} {address}:{RTSP}")
            }
            (None, IpAddr::V6(address)) => format!("lan cam [{address}]:{RTSP}"),
        };
        let _ = write!(out, "\n\n# {} {said}\n# {line}", answer.address);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::message::Camera;

    #[test]
    fn proposals_approve_nothing_until_somebody_does() {
        let answer = |address: &str, name: Option<&str>| Answer {
            address: address.parse().unwrap(),
            camera: Camera {
                name: name.map(str::to_owned),
                hardware: None,
            },
        };
        let answers = [
            answer("192.168.1.20", Some("Back yard")),
            answer("192.168.1.21", None),
        ];
        let (known, _) = approved("lan yard 192.168.1.20:8554\n");
        let text = proposed(&answers, &known);
        assert_eq!(
            text,
            "# 2 answered. Nobody is connected to until the # before its `lan` is removed, in local.conf\n\n\
             # 192.168.1.20 says it is Back yard\n# approved as yard: lan yard 192.168.1.20:8554\n\n\
             # 192.168.1.21 says no name\n# lan cam-1-21 192.168.1.21:554"
        );
        assert_eq!(approved(&text).0, [], "as it is, it approves nobody");
        let (now, wrong) = approved(&text.replace("# lan ", "lan "));
        assert_eq!((now.len(), wrong), (1, vec![]));
        assert!(proposed(&[], &[]).starts_with("# no ONVIF camera"));
    }

    #[test]
    fn options_name_what_they_need() {
        let mut options = Options::default();
        for (option, value, told) in [
            (
                "--from",
                Some("eth0"),
                "--from needs an IPv4 address of this box",
            ),
            (
                "--seconds",
                Some("0"),
                "--seconds needs a number from 1 to 60",
            ),
            ("--seconds", None, "--seconds needs a number from 1 to 60"),
            (
                "--lan",
                None,
                "--lan needs the name of a camera in local.conf",
            ),
        ] {
            let taken = options.take(option, value.map(str::to_owned));
            assert_eq!(taken, Err(told.to_owned()));
        }
        assert_eq!(options, Options::default());
    }
}
