//! What a claim does when its write did not come back as hoped: a pure table.
//!
//! ```text
//! PUT status {generation + 1, mon, since, peer} with the resource version that was read
//!   taken    → serve
//!   conflict → read again ┐
//!   unknown  → read again ┤ session is mine, by mon, since and peer      → it was taken: serve
//!                         │ generation is the one that I read            → only a condition was written: claim again
//!                         └ a rival's: my session lives and is the later → claim again
//!                                      else                              → end my session
//! ```
//! The newest connection wins, wherever it arrives; at a tie both stand back but the one that was written, and the camera redials.

use moorline_core::{Generation, Timestamp};

use crate::resource::Session;

/// What a claim wants to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Intent {
    /// This replica.
    pub(crate) mon: String,
    /// When the session came up.
    pub(crate) since: Timestamp,
    /// Where it calls from.
    pub(crate) peer: Option<String>,
    /// The generation that the last write was based on.
    pub(crate) read: Generation,
    /// The generation that it wanted.
    pub(crate) wanted: Generation,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The write was done after all.
    Taken,
    /// Claim again, on what was read.
    Again,
    /// A rival has it.
    Lost,
}

/// Judges what was read after a write that conflicted or whose outcome is unknown.
pub(crate) fn judge(intent: &Intent, found: Option<&Session>, session_lives: bool) -> Verdict {
    let Some(found) = found else {
        return Verdict::Again;
    };
    let mine = found.mon.as_deref() == Some(&intent.mon)
        && found.since == Some(intent.since)
        && found.peer == intent.peer;
    if mine && Generation(found.generation) == intent.wanted {
        return Verdict::Taken;
    }
    if Generation(found.generation) == intent.read {
        return Verdict::Again;
    }
    // Nobody holds it: the rival has come and gone.
    let later = found.mon.is_none() || found.since.is_none_or(|since| intent.since > since);
    if session_lives && later {
        Verdict::Again
    } else {
        Verdict::Lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(generation: u64, mon: &str, since: i64) -> Session {
        Session {
            generation,
            mon: Some(mon.into()),
            since: Some(Timestamp::from_millis(since)),
            ..Session::default()
        }
    }

    #[test]
    fn every_branch_of_the_claim() {
        let mine = Intent {
            mon: "mon-0".into(),
            since: Timestamp::from_millis(100),
            peer: None,
            read: Generation(7),
            wanted: Generation(8),
        };
        let judge = |found: Session, lives| judge(&mine, Some(&found), lives);
        assert_eq!(judge(session(8, "mon-0", 100), false), Verdict::Taken);
        assert_eq!(
            judge(session(7, "mon-1", 200), true),
            Verdict::Again,
            "a condition was written"
        );
        assert_eq!(
            judge(session(8, "mon-1", 99), true),
            Verdict::Again,
            "the rival is the older one"
        );
        assert_eq!(
            judge(session(8, "mon-1", 99), false),
            Verdict::Lost,
            "my session is gone"
        );
        assert_eq!(judge(session(8, "mon-1", 101), true), Verdict::Lost);
        assert_eq!(
            judge(session(8, "mon-1", 100), true),
            Verdict::Lost,
            "a tie"
        );
        assert_eq!(
            judge(session(8, "mon-0", 101), true),
            Verdict::Lost,
            "a later session of this replica"
        );
    }
}
