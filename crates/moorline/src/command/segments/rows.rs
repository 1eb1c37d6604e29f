//! The tables in which a person reads what is recorded, and what is not.

use std::path::Path;

use moorline_core::Cause;
use moorline_core::segment::Tier;
use moorline_web::api::{SegmentView, UnreadView};

use super::save::Saved;
use crate::moments;
use crate::output::{self, TERMINAL, Table};

/// A row in which the other stream was recorded.
const OTHER: &str = "other";

/// Of one stream's rows those in which it was not to be recorded, divided where the other one was: that is no switching off.
pub(super) fn beside(rows: Vec<SegmentView>, all: &[SegmentView]) -> Vec<SegmentView> {
    let mut told = Vec::with_capacity(rows.len());
    for row in rows {
        if row.cause != Some(Cause::Disabled) {
            told.push(row);
            continue;
        }
        let mut at = row.from;
        for other in all.iter().filter(|other| other.kind == "recorded") {
            let (from, to) = (other.from.max(at), other.to.min(row.to));
            if from >= to {
                continue;
            }
            if from > at {
                told.push(SegmentView {
                    from: at,
                    to: from,
                    open: false,
                    ..row.clone()
                });
            }
            let tier = other.tier;
            match told.last_mut() {
                Some(last) if last.kind == OTHER && last.tier == tier && last.to == from => {
                    last.to = to;
                }
                _ => told.push(SegmentView {
                    from,
                    to,
                    kind: OTHER.to_owned(),
                    cause: None,
                    open: false,
                    held: None,
                    tier,
                    key: None,
                }),
            }
            at = to;
        }
        if at < row.to {
            told.push(SegmentView { from: at, ..row });
        }
    }
    told
}

/// A tier in the word that `--source` takes.
fn stream(tier: Tier) -> &'static str {
    match tier {
        Tier::Full => "main",
        Tier::Low => "sub",
        Tier::Idr => "key frames",
    }
}

/// One line a row, more where its cause is long: it fits a terminal of 80 columns.
pub(super) fn table(rows: &[SegmentView], zone: &str) -> String {
    let mut table = Table::new(&["FROM", "LENGTH", "WHAT", "WHERE OR WHY"]);
    for row in rows {
        let why = match (row.kind.as_str(), row.tier) {
            (OTHER, Some(tier)) => Some(format!("only {} was recorded", stream(tier))),
            _ => row.cause.map(|cause| match row.open {
                true => format!("still open: {}", cause.explanation()),
                false => cause.explanation().to_owned(),
            }),
        };
        let lesser = row.tier.filter(|tier| *tier != Tier::Full);
        let held = row.held.clone().map(|held| match lesser {
            Some(tier) => format!("{held}, {}", stream(tier)),
            None => held,
        });
        let place = why.or(held).unwrap_or_default();
        let length = output::duration(row.to.since(row.from));
        table.row([
            moments::local(row.from, zone),
            length,
            row.kind.clone(),
            place,
        ]);
    }
    table.render_wrapped(TERMINAL)
}

pub(super) fn exported(file: &Path, saved: &Saved, gaps: &[&SegmentView], zone: &str) -> String {
    let written = output::bytes(saved.bytes);
    let mut text = format!("{written} written to {}\n", file.display());
    if !saved.unread.is_empty() {
        text.push('\n');
        text.push_str(&left_out(&saved.unread, zone));
    }
    if !gaps.is_empty() {
        text.push_str("\nNot in it:\n");
        let rows: Vec<SegmentView> = gaps.iter().map(|row| (*row).clone()).collect();
        text.push_str(&table(&rows, zone));
    }
    text
}

/// What is recorded and cannot be read.
pub(super) fn left_out(unread: &[UnreadView], zone: &str) -> String {
    let mut table = Table::new(&["FROM", "LENGTH", "WHAT IS WRONG"]);
    for stretch in unread {
        table.row([
            moments::local(stretch.from, zone),
            output::duration(stretch.to.since(stretch.from)),
            stretch.why.clone(),
        ]);
    }
    let rows = table.render_wrapped(TERMINAL);
    format!(
        "Recorded, and cannot be read (moorline segments verify --full looks for more):\n{rows}"
    )
}
