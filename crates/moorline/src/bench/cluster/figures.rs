//! The numbers of all cameras, and the rows that they make.

use crate::bench::report::{Bar, Report, Row, quantile};

/// What the writes of a step may be at most: the targets of the lab's test `writes`, where a flap may last long.
const CONNECT: f64 = 4.0;
const FLAP: f64 = 2.0;
const HANG_UP: f64 = 5.0;

/// One number for each camera that came so far. Times are seconds.
#[derive(Debug, Default)]
pub struct Figures {
    /// From the call until the forward was granted.
    pub up: Vec<f64>,
    /// From the call until the relay took the first picture.
    pub first: Vec<f64>,
    /// From the call until the condition Archiving was shown.
    pub archiving: Vec<f64>,
    /// From the call after a flap until the relay took pictures again.
    pub again: Vec<f64>,
    /// From the call at another replica until the older session had ended.
    pub over: Vec<f64>,
    /// From that call until the relay took pictures of the newer session.
    pub over_pictures: Vec<f64>,
    /// From the hang-up until both pods were gone.
    pub gone: Vec<f64>,
    /// Writes that a connection left behind.
    pub connect_writes: Vec<f64>,
    /// Writes that a flap left behind.
    pub flap_writes: Vec<f64>,
    /// Writes that a hang-up left behind.
    pub hang_up_writes: Vec<f64>,
    /// Pods that were made or ended by a flap or a takeover.
    pub touched: Vec<f64>,
    /// Takeovers that met the same replica again: they are in no other number.
    pub same: usize,
    /// Cameras that told after their hang-up up to when they are recorded.
    pub recorded: usize,
    /// Watches that broke: writes may be missing.
    pub broke: usize,
}

impl Figures {
    /// Makes rows of what there is.
    pub fn tell(mut self, report: &mut Report) {
        let (none, at_most) = (Bar::None, Bar::AtMost);
        let what = "call → forward granted";
        times(report, what, &mut self.up, none, none);
        let what = "call → the relay takes the first picture";
        times(report, what, &mut self.first, none, none);
        let what = "call → condition Archiving";
        times(
            report,
            what,
            &mut self.archiving,
            at_most(4.0),
            at_most(8.0),
        );
        let what = "reconnect → the relay takes pictures again";
        times(report, what, &mut self.again, none, at_most(2.0));
        let what = "takeover at another replica → the older session ends";
        times(report, what, &mut self.over, none, at_most(1.0));
        let what = "takeover → the relay takes pictures of the newer session";
        times(report, what, &mut self.over_pictures, none, none);
        let what = "pods made or ended by a flap or a takeover";
        most(report, what, &mut self.touched, "pods", at_most(0.0));
        let what = "hang-up → both pods gone";
        times(report, what, &mut self.gone, none, none);
        for (step, all, bar) in [
            ("a connection", &mut self.connect_writes, CONNECT),
            ("a flap", &mut self.flap_writes, FLAP),
            ("a hang-up", &mut self.hang_up_writes, HANG_UP),
        ] {
            let what = format!("writes that Camera and pods show of {step}");
            most(report, &what, all, "writes", at_most(bar));
        }
        if !self.gone.is_empty() {
            let (of, recorded) = (self.gone.len(), self.recorded as f64);
            let what = format!("of {of} cameras that hung up: recorded, as they tell");
            let bar = Bar::AtLeast(of as f64);
            report.row(Row::new(what, recorded, "cameras", None, bar));
        }
        if self.same > 0 {
            report.note(format!(
                "{} takeovers met the replica that held the camera and are left out: name each replica's own address with --ssh",
                self.same
            ));
        }
        if self.broke > 0 {
            report.note(format!(
                "a watch broke {} times: writes and short changes may be missing from the counts",
                self.broke
            ));
        }
    }
}

/// The middle and the end of some times.
fn times(report: &mut Report, what: &str, all: &mut [f64], half: Bar, most: Bar) {
    if all.is_empty() {
        return;
    }
    let shares = [
        (format!("{what}, p50 of {}", all.len()), 0.5, half),
        ("the same, p99".to_owned(), 0.99, most),
    ];
    for (what, share, bar) in shares {
        report.row(Row::new(what, quantile(all, share), "s", None, bar));
    }
}

/// The greatest of some counts.
fn most(report: &mut Report, what: &str, all: &mut [f64], unit: &'static str, bar: Bar) {
    if all.is_empty() {
        return;
    }
    let what = format!("{what}, most of {}", all.len());
    report.row(Row::new(what, quantile(all, 1.0), unit, None, bar));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(report: &Report, what: &str) -> Vec<Option<bool>> {
        let rows = report.rows.iter();
        rows.skip_while(|row| !row.what.starts_with(what))
            .take(2)
            .map(|row| row.met)
            .collect()
    }

    #[test]
    fn a_time_is_judged_by_its_own_bar_and_what_was_not_measured_has_no_row() {
        let mut report = Report::new("cluster");
        let figures = Figures {
            archiving: vec![3.0, 3.5, 9.0],
            again: vec![0.5, 1.9],
            ..Figures::default()
        };
        figures.tell(&mut report);
        let archiving = met(&report, "call → condition Archiving");
        assert_eq!(archiving, [Some(true), Some(false)]);
        assert_eq!(met(&report, "reconnect"), [None, Some(true)]);
        assert_eq!(report.rows.len(), 4);
        assert!(!report.is_met());
    }

    #[test]
    fn one_touched_pod_and_one_unrecorded_camera_miss_their_bars() {
        let told = |touched: f64, recorded: usize| {
            let mut report = Report::new("cluster");
            let figures = Figures {
                gone: vec![2.0, 3.0],
                touched: vec![0.0, touched],
                recorded,
                ..Figures::default()
            };
            figures.tell(&mut report);
            report.is_met()
        };
        assert!(told(0.0, 2));
        assert!(!told(1.0, 2) && !told(0.0, 1));
    }
}
