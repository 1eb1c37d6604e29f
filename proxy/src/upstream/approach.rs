//! Which path and login are tried next.
//!
//! A path in the camera's record is the only one; without one the known paths are tried, by DESCRIBE. A login in the record is the only one;
//! without one none is tried first, then those that known firmware is delivered with, each at its path (which is the record's where it has
//! one). What has worked is tried first next time. A camera that asked for a login wants one, whatever it says of other firmware's paths.

use moorline_core::SourceName;
use moorline_core::camera::{Login, Source};
use moorline_rtsp::auth::Credentials;
use moorline_rtsp::client::ClientConfig;

use crate::config::{Candidate, Candidates};

#[derive(Debug, Default)]
pub(super) struct Approach {
    record: Option<Source>,
    candidates: Vec<Candidate>,
    paths: Vec<String>,
    first: usize,
    login: Option<Login>,
    /// Candidates whose login was tried.
    tried: Vec<usize>,
    /// Narrowed to what was seen to exist.
    narrowed: bool,
    /// A path asked for a login, and known ones are being tried.
    asked: bool,
}

impl Approach {
    /// Begins anew if the record has changed.
    pub(super) fn prepare(&mut self, record: &Source, known: &Candidates, name: SourceName) {
        if self.record.as_ref() == Some(record) {
            return;
        }
        self.record = Some(record.clone());
        self.candidates = match name {
            SourceName::Main => known.main.clone(),
            SourceName::Sub => known.sub.clone(),
        };
        self.reset();
    }

    /// The record that is being followed.
    pub(super) fn record(&self) -> Option<Source> {
        self.record.clone()
    }

    fn reset(&mut self) {
        self.first = 0;
        self.tried.clear();
        self.narrowed = false;
        self.asked = false;
        self.login = self.record.as_ref().and_then(|record| record.login.clone());
        self.paths = match self.record.as_ref().and_then(|record| record.path.clone()) {
            Some(path) => vec![path],
            None => {
                let mut paths: Vec<String> = Vec::new();
                for candidate in &self.candidates {
                    if !paths.contains(&candidate.path) {
                        paths.push(candidate.path.clone());
                    }
                }
                if paths.is_empty() {
                    paths.push("/".to_owned());
                }
                paths
            }
        };
    }

    /// The settings of the next try.
    pub(super) fn config(&self, authority: &str) -> ClientConfig {
        let mut config = ClientConfig::new(authority, self.paths.clone(), rand::random());
        config.first_path = self.first;
        config.credentials = self.login.as_ref().map(|login| Credentials {
            user: login.user.clone(),
            password: login.password.reveal().clone(),
        });
        config.allow_basic = self
            .record
            .as_ref()
            .is_some_and(|record| record.allow_basic);
        config
    }

    /// It plays: this path and login come first from now on.
    pub(super) fn plays(&mut self, path_index: usize) {
        if let Some(path) = self.paths.get(path_index).cloned() {
            self.paths = vec![path];
            self.first = 0;
            self.narrowed = true;
            self.asked = false;
        }
    }

    /// Whether the camera asked for a login that it has not been given yet.
    pub(super) fn wants_login(&self) -> bool {
        self.asked
    }

    /// The camera closed while a path was being tried. `true`: there is another to try at once.
    pub(super) fn go_on_at(&mut self, path_index: usize) -> bool {
        self.first = path_index;
        path_index < self.paths.len()
    }

    /// The path wants another login. `true`: there is one to try at once.
    pub(super) fn unauthorized(&mut self, path_index: usize) -> bool {
        let has_own = self
            .record
            .as_ref()
            .is_some_and(|record| record.login.is_some());
        let has_path = self
            .record
            .as_ref()
            .is_some_and(|record| record.path.is_some());
        let path = self.paths.get(path_index).cloned();
        let untried = |same_path: bool| {
            let mut known = self.candidates.iter().enumerate();
            known.find(|(at, candidate)| {
                candidate.login.is_some()
                    && (!same_path || Some(&candidate.path) == path.as_ref())
                    && !self.tried.contains(at)
            })
        };
        // Many streamers ask for a login before they look at the path: then the path that was asked for means nothing.
        let next = untried(true)
            .or_else(|| untried(false).filter(|_| !has_path))
            .map(|(at, candidate)| (at, candidate.clone()));
        match next.filter(|_| !has_own) {
            Some((at, candidate)) => {
                self.tried.push(at);
                self.paths = vec![candidate.path];
                self.first = 0;
                self.login = candidate.login;
                self.narrowed = true;
                self.asked = true;
                true
            }
            None => {
                self.reset();
                false
            }
        }
    }

    /// Nothing is there. `true`: what worked before is gone, and the whole list is worth a try at once.
    pub(super) fn failed(&mut self) -> bool {
        let narrowed = self.narrowed && self.paths.len() == 1;
        self.reset();
        narrowed && self.paths.len() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Candidates {
        let candidate = |path: &str, user: Option<&str>| Candidate {
            path: path.to_owned(),
            login: user.map(|user| Login {
                user: user.to_owned(),
                password: "x".to_owned().into(),
            }),
        };
        Candidates {
            main: vec![
                candidate("/ch0", Some("thingino")),
                candidate("/stream=0", None),
                candidate("/ch0", Some("root")),
            ],
            sub: vec![],
        }
    }

    #[test]
    fn known_logins_are_tried_at_their_path_alone() {
        let mut approach = Approach::default();
        approach.prepare(&Source::default(), &known(), SourceName::Main);
        let config = approach.config("h:1");
        assert_eq!(config.paths, ["/ch0", "/stream=0"]);
        assert_eq!(config.credentials, None);
        let mut users = Vec::new();
        while approach.unauthorized(0) {
            let config = approach.config("h:1");
            assert_eq!(config.paths, ["/ch0"]);
            users.push(config.credentials.map(|credentials| credentials.user));
        }
        assert_eq!(users, [Some("thingino".into()), Some("root".into())]);
        assert_eq!(
            approach.config("h:1").paths.len(),
            2,
            "from the start again"
        );
        assert!(
            approach.unauthorized(1),
            "a login may be asked for before the path is looked at"
        );
        assert_eq!(approach.config("h:1").paths, ["/ch0"]);
    }

    #[test]
    fn a_path_of_the_record_is_the_only_one_also_when_it_wants_a_login() {
        let mut approach = Approach::default();
        let record = Source {
            path: Some("/live".into()),
            ..Source::default()
        };
        approach.prepare(&record, &known(), SourceName::Main);
        assert!(!approach.unauthorized(0), "no known login is for /live");
        assert_eq!(approach.config("h:1").paths, ["/live"]);
        let record = Source {
            path: Some("/ch0".into()),
            ..Source::default()
        };
        approach.prepare(&record, &known(), SourceName::Main);
        assert!(approach.unauthorized(0));
        assert_eq!(approach.config("h:1").paths, ["/ch0"]);
    }

    #[test]
    fn a_login_of_the_record_is_the_only_one() {
        let mut approach = Approach::default();
        let record = Source {
            login: Some(Login {
                user: "me".into(),
                password: "y".to_owned().into(),
            }),
            ..Source::default()
        };
        approach.prepare(&record, &known(), SourceName::Main);
        assert!(!approach.unauthorized(0));
        let credentials = approach.config("h:1").credentials;
        assert_eq!(
            credentials.map(|credentials| credentials.user),
            Some("me".into())
        );
    }

    #[test]
    fn what_has_worked_is_tried_alone_until_it_fails() {
        let mut approach = Approach::default();
        approach.prepare(&Source::default(), &known(), SourceName::Main);
        approach.plays(1);
        assert_eq!(approach.config("h:1").paths, ["/stream=0"]);
        assert!(approach.failed());
        assert!(!approach.failed());
        assert_eq!(approach.config("h:1").paths.len(), 2);
    }
}
