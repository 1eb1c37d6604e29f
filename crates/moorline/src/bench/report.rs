//! What a bench tells: rows with their bars, the peers that were met, the machine, and what was left out with the reason.

use serde::Serialize;

use super::machine::Machine;
use crate::args::Output;
use crate::output::{self, Table};

/// What a number must keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// At most this times the peer's number of the same run.
    RatioAtMost(f64),
    /// No bar: told because it explains the others.
    None,
}

/// One number.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The number.
    pub measured: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The peer's number of the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<f64>,
    /// Ours divided by the peer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// The bar in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bar: Option<String>,
    /// Whether it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

impl Row {
    /// A number, with the peer's if there is one.
    pub fn new(
        what: impl Into<String>,
        measured: f64,
        unit: &'static str,
        peer: Option<f64>,
        bar: Bar,
    ) -> Self {
        let ratio = peer.filter(|peer| *peer > 0.0).map(|peer| measured / peer);
        let (bar, met) = match bar {
            Bar::AtMost(most) => (Some(format!("≤ {}", number(most))), Some(measured <= most)),
            Bar::AtLeast(least) => (
                Some(format!("≥ {}", number(least))),
                Some(measured >= least),
            ),
            Bar::RatioAtMost(most) => {
                (Some(format!("≤ {most}x")), ratio.map(|ratio| ratio <= most))
            }
            Bar::None => (None, None),
        };
        Self {
            what: what.into(),
            measured,
            unit,
            peer,
            ratio,
            bar,
            met,
        }
    }
}

/// All that a bench found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Which bench.
    pub bench: &'static str,
    /// Version of Moorline.
    pub version: &'static str,
    /// Whether it is a build whose numbers count.
    pub optimised: bool,
    /// The machine.
    pub machine: Option<Machine>,
    /// Peers and their versions.
    pub peers: Vec<(String, String)>,
    /// The numbers.
    pub rows: Vec<Row>,
    /// What was not measured and why, and what one must know to read the numbers.
    pub notes: Vec<String>,
}

impl Report {
    /// An empty one.
    pub fn new(bench: &'static str) -> Self {
        Self {
            bench,
            version: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            machine: None,
            peers: Vec::new(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a number, and says it at once: a long run shows what it has.
    pub fn row(&mut self, row: Row) {
        let beside = row
            .peer
            .map(|peer| format!(" (peer: {})", number(peer)))
            .unwrap_or_default();
        output::say(&format!(
            "  {}: {} {}{beside}",
            row.what,
            number(row.measured),
            row.unit
        ));
        self.rows.push(row);
    }

    /// Adds what one must know.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        output::say(&format!("  note: {note}"));
        self.notes.push(note);
    }

    /// Adds a peer that was met.
    pub fn peer(&mut self, name: &str, version: &str) {
        if !self.peers.iter().any(|(known, _)| known == name) {
            self.peers.push((name.to_owned(), version.to_owned()));
        }
    }

    /// Whether every bar is kept.
    pub fn is_met(&self) -> bool {
        self.rows.iter().all(|row| row.met != Some(false))
    }

    /// Prints it.
    ///
    /// # Errors
    /// What standard output says.
    pub fn print(&self, format: Output) -> anyhow::Result<()> {
        output::print(format, self, || self.text())
    }

    fn text(&self) -> String {
        let mut table = Table::new(&["WHAT", "MEASURED", "PEER", "RATIO", "BAR", "MET"]);
        for row in &self.rows {
            table.row([
                row.what.clone(),
                format!("{} {}", number(row.measured), row.unit),
                row.peer.map(number).unwrap_or_default(),
                row.ratio
                    .map(|ratio| format!("{ratio:.2}x"))
                    .unwrap_or_default(),
                row.bar.clone().unwrap_or_default(),
                row.met
                    .map(|met| if met { "yes" } else { "NO" })
                    .unwrap_or_default()
                    .to_owned(),
            ]);
        }
        let mut text = format!(
            "moorline {} bench {}\n\n{}\n",
            self.version,
            self.bench,
            table.render()
        );
        if let Some(machine) = &self.machine {
            text.push_str(&format!(
                "machine  {}, {} cores, {} MiB, Linux {}, {}\nothers   used {:.1} % of it, steal {:.1} %, load before {}{}\n",
                machine.cpu,
                machine.cores,
                machine.memory_mib,
                machine.kernel,
                machine.date,
                machine.others_percent,
                machine.steal_percent,
                machine.load_before,
                if machine.noisy { ": the machine was BUSY, times and CPU are worse than they would be" } else { "" },
            ));
        }
        let peers: Vec<String> = self
            .peers
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        if !peers.is_empty() {
            text.push_str(&format!("peers    {}\n", peers.join(", ")));
        }
        if !self.optimised {
            text.push_str("build    not optimised: these numbers mean nothing\n");
        }
        for note in &self.notes {
            text.push_str(&format!("note     {note}\n"));
        }
        text
    }
}

/// Three significant digits, as far as they mean anything.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 0.1 => format!("{value:.4}"),
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A quantile of samples, by the nearest rank; 0 without any.
pub fn quantile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    let rank = (samples.len() as f64 * share).ceil() as usize;
    samples
        .get(rank.saturating_sub(1).min(last))
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_judged() {
        assert_eq!(
            Row::new("a", 2.0, "s", None, Bar::AtMost(2.0)).met,
            Some(true)
        );
        assert_eq!(
            Row::new("a", 2.1, "s", None, Bar::AtMost(2.0)).met,
            Some(false)
        );
        assert_eq!(
            Row::new("a", 1.0, "s", Some(4.0), Bar::RatioAtMost(0.2)).met,
            Some(false)
        );
        // Without the peer nothing is judged.
        assert_eq!(
            Row::new("a", 1.0, "s", None, Bar::RatioAtMost(0.2)).met,
            None
        );
        let mut report = Report::new("ssh");
        report
            .rows
            .push(Row::new("a", 2.1, "s", None, Bar::AtMost(2.0)));
        assert!(!report.is_met());
        assert!(report.text().contains("NO"), "{}", report.text());
    }

    #[test]
    fn quantiles_take_the_nearest_rank() {
        let mut samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(
            [0.5, 0.95, 0.99, 1.0].map(|share| quantile(&mut samples, share)),
            [50.0, 95.0, 99.0, 100.0]
        );
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
