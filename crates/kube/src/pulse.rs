//! Whether the API server answers, for the metrics of every role.
//!
//! It is asked: roles without a Lease make no calls of their own for minutes, and an idle watch looks the same whether it lives or not. What is
//! known by it is shown and decides nothing; that is `Freshness`'s.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, Client};
use moorline_base::clock::sleep;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::Timestamp;

use crate::call::{CALL, Fault, call};
use crate::resource::Tenant;

/// Between two questions: one object's metadata costs the API server nothing, and an alarm waits for minutes anyway.
const EVERY: Duration = Duration::from_secs(15);

/// What came of the questions so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// Whether the last one was answered, be it by a refusal.
    pub answers: bool,
    /// When one was answered last; `None`: never yet.
    pub last: Option<Timestamp>,
}

/// The question, and what came of it. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Mutex<Heard>>);

impl Pulse {
    /// What is known now.
    pub fn heard(&self) -> Heard {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, answers: bool, now: Timestamp) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.answers = answers;
        if answers {
            heard.last = Some(now);
        }
    }

    /// Asks at once, and again and again until `cancel`. Every role may list Tenants.
    pub async fn run(&self, client: Client, clock: SharedClock, cancel: CancellationToken) {
        let api: Api<Tenant> = Api::all(client);
        let one = ListParams::default().limit(1);
        loop {
            let asked = tokio::select! {
                () = cancel.cancelled() => return,
                asked = call(&*clock, CALL, api.list_metadata(&one)) => asked,
            };
            let now = Timestamp::from_millis(clock.wall_ms());
            self.note(is_answer(asked.as_ref().err()), now);
            if sleep(&*clock, EVERY, &cancel).await.is_cancelled() {
                return;
            }
        }
    }
}

/// A server that has no time for us is as good as none; one that refuses is there.
fn is_answer(fault: Option<&Fault>) -> bool {
    !matches!(fault, Some(Fault::Unknown(_) | Fault::Busy(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_answer_and_a_silence_is_none() {
        assert!(is_answer(None));
        assert!(is_answer(Some(&Fault::Forbidden("no".into()))));
        assert!(!is_answer(Some(&Fault::Busy("slow down".into()))));
        assert!(!is_answer(Some(&Fault::Unknown("not done in time".into()))));
    }
}
