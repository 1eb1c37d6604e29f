//! What the API server showed of one camera, read as times and counts. Pure: instants come in.
//!
//! Writes are counted by what they leave behind: each version of the Camera, each pod made, each pod ordered to go. A write that changed nothing,
//! was refused, or made an Event leaves nothing here; the lab's test `writes` reads the audit log instead. A tenant of the bench's own has nobody
//! else who would write to its Cameras.

use std::collections::BTreeSet;
use std::time::Instant;

/// One thing that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A version of the Camera.
    Camera(Version),
    /// A version of one of its pods.
    Pod {
        /// Which.
        uid: String,
        /// It is ordered to go.
        leaving: bool,
    },
    /// A pod is gone.
    PodGone {
        /// Which.
        uid: String,
    },
}

/// What a version of the Camera says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// Its resource version.
    pub number: String,
    /// Counts its claims.
    pub generation: u64,
    /// The replica that holds its tunnel.
    pub mon: Option<String>,
    /// The condition Archiving holds.
    pub archives: bool,
    /// It tells up to when recordings are durable.
    pub recorded: bool,
    /// The conditions that do not hold, in words.
    pub wrong: Vec<String>,
}

/// A write that left something behind. Each is one however often it is seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Write<'a> {
    Version(&'a str),
    Made(&'a str),
    Ended(&'a str),
}

impl Fact {
    fn writes(&self) -> Vec<Write<'_>> {
        match self {
            Self::Camera(version) => vec![Write::Version(&version.number)],
            Self::Pod {
                uid,
                leaving: false,
            } => vec![Write::Made(uid)],
            Self::Pod { uid, leaving: true } => vec![Write::Made(uid), Write::Ended(uid)],
            Self::PodGone { uid } => vec![Write::Ended(uid)],
        }
    }
}

/// All that was shown of a camera, in its order.
#[derive(Debug, Clone, Default)]
pub struct Story(Vec<(Instant, Fact)>);

impl Story {
    /// Something was shown.
    pub fn add(&mut self, at: Instant, fact: Fact) {
        self.0.push((at, fact));
    }

    /// The newest version of the Camera.
    pub fn newest(&self) -> Option<&Version> {
        let mut versions = self.versions();
        versions.next_back().map(|(_, version)| version)
    }

    fn versions(&self) -> impl DoubleEndedIterator<Item = (Instant, &Version)> {
        self.0.iter().filter_map(|(at, fact)| match fact {
            Fact::Camera(version) => Some((*at, version)),
            _ => None,
        })
    }

    /// When the condition Archiving was first shown after that instant.
    pub fn archives(&self, after: Instant) -> Option<Instant> {
        let mut versions = self.versions();
        let found = versions.find(|(at, version)| *at > after && version.archives);
        found.map(|(at, _)| at)
    }

    /// When no pod was left, if none is: after that instant.
    pub fn without_pods(&self, after: Instant) -> Option<Instant> {
        let (mut there, mut empty) = (BTreeSet::new(), None);
        for (at, fact) in &self.0 {
            match fact {
                Fact::Pod { uid, .. } => {
                    there.insert(uid);
                    empty = None;
                }
                Fact::PodGone { uid } => {
                    if there.remove(uid) && there.is_empty() {
                        empty = Some(*at);
                    }
                }
                Fact::Camera(_) => {}
            }
        }
        empty.filter(|at| *at > after)
    }

    /// Writes that showed after `from`, and not after `to`.
    pub fn writes(&self, from: Instant, to: Instant) -> usize {
        self.between(from, to).len()
    }

    /// Pods that were made or ordered to go in that time.
    pub fn touched(&self, from: Instant, to: Instant) -> usize {
        let writes = self.between(from, to).into_iter();
        writes
            .filter(|write| !matches!(write, Write::Version(_)))
            .count()
    }

    fn between(&self, from: Instant, to: Instant) -> Vec<Write<'_>> {
        let (mut known, mut found) = (BTreeSet::new(), Vec::new());
        for (at, fact) in &self.0 {
            for write in fact.writes() {
                if known.insert(write.clone()) && *at > from && *at <= to {
                    found.push(write);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn version(number: &str, archives: bool) -> Fact {
        Fact::Camera(Version {
            number: number.to_owned(),
            archives,
            ..Version::default()
        })
    }

    fn pod(uid: &str, leaving: bool) -> Fact {
        let uid = uid.to_owned();
        Fact::Pod { uid, leaving }
    }

    fn gone(uid: &str) -> Fact {
        Fact::PodGone {
            uid: uid.to_owned(),
        }
    }

    /// A fact a second, and the instant of each second.
    fn story(facts: Vec<Fact>) -> (Story, impl Fn(u64) -> Instant) {
        let began = Instant::now();
        let at = move |second| began + Duration::from_secs(second);
        let mut story = Story::default();
        for (second, fact) in (1..).zip(facts) {
            story.add(at(second), fact);
        }
        (story, at)
    }

    #[test]
    fn a_write_counts_once_however_often_what_it_left_is_seen() {
        let (story, at) = story(vec![
            version("1", false),
            version("2", false),
            pod("relay", false),
            pod("archiver", false),
            // The kubelet's words of a pod, and a list that tells all again.
            pod("relay", false),
            version("2", false),
            version("3", true),
            pod("relay", true),
            gone("relay"),
            // It was gone before anybody saw that it leaves.
            gone("archiver"),
        ]);
        assert_eq!(story.writes(at(1), at(7)), 4, "a claim, two pods, a status");
        assert_eq!(story.touched(at(1), at(7)), 2);
        assert_eq!(story.writes(at(7), at(10)), 2, "two pods ended");
        assert_eq!(story.touched(at(4), at(7)), 0, "nobody touched a pod");
    }

    #[test]
    fn archiving_counts_from_the_call_on_and_pods_are_gone_when_the_last_is() {
        let (story, at) = story(vec![
            version("1", true),
            version("2", false),
            pod("old", false),
            gone("old"),
            pod("relay", false),
            pod("archiver", false),
            version("3", true),
            version("4", true),
            gone("relay"),
            gone("archiver"),
        ]);
        assert_eq!(story.archives(at(1)), Some(at(7)));
        assert_eq!(story.archives(at(8)), None);
        assert_eq!(story.without_pods(at(8)), Some(at(10)));
        assert_eq!(story.without_pods(at(10)), None, "that was before");
        assert_eq!(story.newest().unwrap().number, "4");
    }

    #[test]
    fn a_pod_that_comes_back_is_a_pod_that_is_there() {
        let (story, at) = story(vec![pod("a", false), gone("a"), pod("b", false)]);
        assert_eq!(story.without_pods(at(0)), None);
    }
}
