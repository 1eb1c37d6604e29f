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
/// Of one user, whose oldest goes before anybody else's: four exports run at most, and refused ones have receipts too.
const PER_USER: usize = 16;
/// Characters of a receipt.
const LONGEST: usize = 40;

/// Whose export of what: nobody asks for another's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    login: String,
    camera: CameraId,
    receipt: String,
}

/// What is known of one export.
#[derive(Debug)]
struct Kept {
    name: Name,
    /// Which export of that name: a browser may ask for the same file twice.
    number: u64,
    view: ExportView,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    /// By age.
    kept: VecDeque<Kept>,
}

/// All that is known. Clones are the same book.
#[derive(Debug, Clone, Default)]
pub(crate) struct Receipts(Arc<Mutex<Book>>);

/// An export that is asked for or runs. Dropped before it is told to have ended, it was refused or broke off.
#[derive(Debug)]
pub(crate) struct Receipt {
    receipts: Receipts,
    number: u64,
    has_ended: bool,
}

impl Book {
    fn begin(&mut self, name: Name) -> u64 {
        self.next += 1;
        self.kept.retain(|kept| kept.name != name);
        let of_user = |kept: &Kept| kept.name.login == name.login;
        if self.kept.iter().filter(|kept| of_user(kept)).count() >= PER_USER {
            if let Some(oldest) = self.kept.iter().position(of_user) {
                self.kept.remove(oldest);
            }
        } else if self.kept.len() >= MOST {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept {
            name,
            number: self.next,
            view: ExportView {
                state: ExportState::Running,
                unread: Vec::new(),
            },
        });
        self.next
    }
}

impl Receipts {
    fn with<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
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
        Ok(Receipt {
            receipts: self.clone(),
            number: self.with(|book| book.begin(name)),
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
        self.with(|book| {
            let found = book.kept.iter().find(|kept| kept.name == name);
            found.map(|kept| kept.view.clone())
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
        self.receipts.with(|book| {
            let mut all = book.kept.iter_mut();
            if let Some(kept) = all.find(|kept| kept.number == self.number) {
                kept.view = ExportView { state, unread };
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
    use moorline_core::user::{Role, User};
    use moorline_core::{TenantId, Timestamp};

    use super::*;

    fn user(login: &str) -> Access {
        Access::User(User {
            login: login.parse().unwrap(),
            tenant: TenantId::home(),
            role: Role::Viewer,
            created: Timestamp::default(),
        })
    }

    fn camera() -> CameraId {
        "home/yard".parse().unwrap()
    }

    #[test]
    fn what_nobody_asks_for_any_more_is_forgotten() {
        let (receipts, camera) = (Receipts::default(), camera());
        let names: Vec<String> = (0..=MOST).map(|number| format!("u{number}")).collect();
        let find = |login: &str| receipts.find(&user(login), &camera, "one");
        let begin = |login: &str| receipts.begin(&user(login), &camera, "one").unwrap();
        let first = begin(&names[0]);
        for login in &names[1..] {
            begin(login).end(Vec::new());
        }
        first.end(Vec::new());
        assert_eq!(find(&names[0]), None);
        let last = find(&names[MOST]).map(|view| view.state);
        assert_eq!(last, Some(ExportState::Ended));
        assert_eq!(receipts.with(|book| book.kept.len()), MOST);
    }

    /// P9.
    #[test]
    fn who_asks_without_end_makes_the_server_forget_nobody_elses() {
        let (receipts, camera) = (Receipts::default(), camera());
        let vera = receipts.begin(&user("vera"), &camera, "one").unwrap();
        for number in 0..2 * MOST {
            let number = number.to_string();
            drop(receipts.begin(&user("mallory"), &camera, &number).unwrap());
        }
        let running = receipts.find(&user("vera"), &camera, "one");
        assert_eq!(running.map(|view| view.state), Some(ExportState::Running));
        vera.end(Vec::new());
        assert_eq!(receipts.with(|book| book.kept.len()), PER_USER + 1);
    }

    #[test]
    fn a_file_that_is_asked_for_again_is_told_as_its_newer_answer_goes() {
        let (receipts, camera) = (Receipts::default(), camera());
        let vera = user("vera");
        let state = || receipts.find(&vera, &camera, "one").map(|view| view.state);
        let older = receipts.begin(&vera, &camera, "one").unwrap();
        let newer = receipts.begin(&vera, &camera, "one").unwrap();
        drop(older);
        assert_eq!(state(), Some(ExportState::Running));
        newer.end(Vec::new());
        assert_eq!(state(), Some(ExportState::Ended));
    }
}
