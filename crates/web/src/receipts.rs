//! How exports ended, for the page: a browser that saves a file shows neither what stands behind it (trailers) nor why it broke off.
//!
//! A page names its export by a receipt of its own making, and asks for it while the file is sent. Kept in memory, by the process that sends
//! the file.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use moorline_core::CameraId;

use crate::access::Access;
use crate::api::{ExportState, ExportView, UnreadView};
use crate::problem::Problem;

/// The oldest goes first: 16 exports run at most, and how one ended is asked for within seconds. Each holds some 10 KiB at most.
const MOST: usize = 256;
/// Characters of a receipt.
const LONGEST: usize = 40;

/// Whose export of what: nobody asks for another's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    login: String,
    camera: CameraId,
    receipt: String,
}

/// All that is known. Clones are the same book.
#[derive(Debug, Clone, Default)]
pub(crate) struct Receipts {
    kept: Arc<Mutex<VecDeque<(Name, ExportView)>>>,
}

/// An export that is asked for or runs. Dropped before it is told to have ended, it was refused or broke off.
#[derive(Debug)]
pub(crate) struct Receipt {
    receipts: Receipts,
    name: Name,
    has_ended: bool,
}

impl Receipts {
    fn with<T>(&self, change: impl FnOnce(&mut VecDeque<(Name, ExportView)>) -> T) -> T {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An export begins.
    ///
    /// # Errors
    /// 422: that is no receipt.
    pub(crate) fn begin(
        &self,
        access: &Access,
        camera: &CameraId,
        receipt: &str,
    ) -> Result<Receipt, Problem> {
        let is_ours = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        if !(1..=LONGEST).contains(&receipt.len()) || !receipt.chars().all(is_ours) {
            let expected = format!("at most {LONGEST} letters, digits and hyphens");
            return Err(Problem::invalid("receipt", receipt, expected));
        }
        let name = name(access, camera, receipt);
        let begun = ExportView {
            state: ExportState::Running,
            unread: Vec::new(),
        };
        self.with(|kept| {
            kept.retain(|(other, _)| *other != name);
            kept.push_back((name.clone(), begun));
            if kept.len() > MOST {
                kept.pop_front();
            }
        });
        Ok(Receipt {
            receipts: self.clone(),
            name,
            has_ended: false,
        })
    }

    /// How it goes on; `None`: it never began here, or is forgotten.
    pub(crate) fn find(
        &self,
        access: &Access,
        camera: &CameraId,
        receipt: &str,
    ) -> Option<ExportView> {
        let name = name(access, camera, receipt);
        self.with(|kept| {
            let found = kept.iter().find(|(other, _)| *other == name);
            found.map(|(_, view)| view.clone())
        })
    }
}

fn name(access: &Access, camera: &CameraId, receipt: &str) -> Name {
    Name {
        login: access.login().to_owned(),
        camera: camera.clone(),
        receipt: receipt.to_owned(),
    }
}

impl Receipt {
    /// The file was sent to its end, without this.
    pub(crate) fn end(mut self, unread: Vec<UnreadView>) {
        self.has_ended = true;
        self.tell(ExportState::Ended, unread);
    }

    fn tell(&self, state: ExportState, unread: Vec<UnreadView>) {
        self.receipts.with(|kept| {
            if let Some((_, view)) = kept.iter_mut().find(|(other, _)| *other == self.name) {
                *view = ExportView { state, unread };
            }
        });
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.has_ended {
            self.tell(ExportState::Broken, Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asks_for_any_more_is_forgotten() {
        let (receipts, camera) = (Receipts::default(), "home/yard".parse().unwrap());
        let find = |number: usize| receipts.find(&Access::Local, &camera, &number.to_string());
        let begin = |number: usize| receipts.begin(&Access::Local, &camera, &number.to_string());
        let first = begin(0).unwrap();
        for number in 1..=MOST {
            begin(number).unwrap().end(Vec::new());
        }
        first.end(Vec::new());
        assert_eq!(find(0), None);
        assert_eq!(find(MOST).map(|view| view.state), Some(ExportState::Ended));
    }
}
