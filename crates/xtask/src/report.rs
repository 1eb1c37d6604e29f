//! What came of it: counted, and told so that the last line says all.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How one check or test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// With what it printed.
    Failed(String),
    /// With the reason.
    Skipped(String),
}

/// Counts and stories of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: Vec<String>,
    skipped: BTreeMap<String, Vec<String>>,
    peers: BTreeSet<String>,
    slow: Vec<(String, Duration)>,
}

impl Report {
    /// A test slower than this is told.
    const SLOW: Duration = Duration::from_secs(10);

    /// Takes down how `name` ended. A failure is shown at once.
    pub(crate) fn add(&mut self, name: &str, verdict: Verdict, took: Duration) {
        if took > Self::SLOW {
            self.slow.push((name.to_owned(), took));
        }
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(output) => {
                println!("FAILED {name} ({:.1} s)", took.as_secs_f64());
                for line in output.lines() {
                    println!("    {line}");
                }
                self.failed.push(name.to_owned());
            }
            Verdict::Skipped(reason) => self
                .skipped
                .entry(reason)
                .or_default()
                .push(name.to_owned()),
        }
    }

    /// Takes down which peer was met: `ffmpeg 5.1.9`.
    pub(crate) fn met(&mut self, peer: &str) {
        self.peers.insert(peer.to_owned());
    }

    /// Whether anything failed so far.
    pub(crate) fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// How much failed so far.
    pub(crate) fn failures(&self) -> usize {
        self.failed.len()
    }

    /// The end of the run's output. Nothing may be printed after it.
    pub(crate) fn summary(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let mut line = |line: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{line}");
        };
        if !self.peers.is_empty() {
            let peers: Vec<_> = self.peers.iter().map(String::as_str).collect();
            line(format_args!("peers met: {}", peers.join(", ")));
        }
        for (name, took) in &self.slow {
            line(format_args!(
                "slow: {name} took {:.1} s",
                took.as_secs_f64()
            ));
        }
        for (reason, names) in &self.skipped {
            line(format_args!("skipped, {reason}:"));
            for name in names {
                line(format_args!("    {name}"));
            }
        }
        for name in &self.failed {
            line(format_args!("failed: {name}"));
        }
        let skipped: usize = self.skipped.values().map(Vec::len).sum();
        line(format_args!(
            "{} passed, {} failed, {skipped} skipped",
            self.passed,
            self.failed.len()
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_and_every_skip_has_its_reason() {
        let mut report = Report::default();
        report.add("a", Verdict::Passed, Duration::ZERO);
        report.add(
            "b",
            Verdict::Skipped("live555 cannot be had here".to_owned()),
            Duration::ZERO,
        );
        report.add(
            "c",
            Verdict::Skipped("live555 cannot be had here".to_owned()),
            Duration::from_secs(11),
        );
        report.met("ffmpeg 5.1.9");
        let summary = report.summary();
        assert!(
            summary.ends_with("\n1 passed, 0 failed, 2 skipped\n"),
            "{summary}"
        );
        assert!(
            summary.contains("skipped, live555 cannot be had here:\n    b\n    c\n"),
            "{summary}"
        );
        assert!(summary.contains("peers met: ffmpeg 5.1.9\n"), "{summary}");
        assert!(summary.contains("slow: c took 11.0 s"), "{summary}");
        assert!(!report.has_failures());
    }
}
