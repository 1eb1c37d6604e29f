//! What follows from the other conditions: worked out at every write of a status, so that none goes stale and none costs a write of its own.
//!
//! ```text
//! tunnel lost, draining   → nothing is recorded now; told to drain: nothing may be read either
//! tunnel back             → what stood before a loss stands again; what was over (absent, drained) is starting
//! Ready                   = a record that can be served ∧ Connected ∧ WorkloadsReady ∧ RelayReady ∧ (Archiving ∨ nothing is to be recorded)
//! ```

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{ConditionKind, set_condition};

/// The record has a field that is wrong.
pub(crate) const INVALID: &str = "Invalid";
/// Why a camera is not connected while its pods wait for it.
pub(crate) const LOST: &str = "Lost";
/// Why a camera is not connected while its pods are told to drain.
pub(crate) const DRAINING: &str = "Draining";
/// Nobody holds it and nothing of it runs.
pub(crate) const ABSENT: &str = "Absent";
/// Pods are made, or have not said anything yet.
pub(crate) const STARTING: &str = "Starting";
/// What of the pods follows from the tunnel alone, and is nobody's trouble.
pub(crate) const FOLLOWS: [&str; 4] = [LOST, DRAINING, ABSENT, STARTING];
/// The camera is set not to record.
pub(crate) const RECORD_OFF: &str = "RecordOff";
/// What an archiver does unless something says otherwise.
pub(crate) const RECORDING: &str = "Recording";

const OF_PODS: [ConditionKind; 3] = [
    ConditionKind::WorkloadsReady,
    ConditionKind::RelayReady,
    ConditionKind::Archiving,
];

/// The condition of that kind.
pub(crate) fn find(conditions: &[Condition], kind: ConditionKind) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())
}

/// Sets what follows. `invalid`: the field of the record that is wrong, in words.
pub(crate) fn settle(conditions: &mut Vec<Condition>, invalid: Option<&str>, now: jiff::Timestamp) {
    if let Some(connected) = find(conditions, ConditionKind::Connected).cloned() {
        follow(conditions, &connected, now);
    }
    let known = find(conditions, ConditionKind::Ready).map(|ready| ready.reason.as_str());
    let Some((holds, reason, message)) = ready(conditions, invalid, known) else {
        return;
    };
    let kind = ConditionKind::Ready.as_str();
    set_condition(conditions, kind, holds, &reason, &message, now);
}

/// What the tunnel's coming and going makes of the conditions of the pods.
fn follow(conditions: &mut Vec<Condition>, connected: &Condition, now: jiff::Timestamp) {
    let is_up = connected.status == "True";
    for kind in OF_PODS {
        let Some(known) = find(conditions, kind) else {
            continue;
        };
        let (holds, reason) = (known.status == "True", known.reason.as_str());
        let next = match (is_up, reason) {
            (true, ABSENT | DRAINING) => Some((false, STARTING, "")),
            (true, LOST) => Some((true, RECORDING, "")),
            (false, _) if holds && connected.reason == DRAINING => {
                Some((false, DRAINING, "the tunnel is over"))
            }
            (false, _) if holds && kind == ConditionKind::Archiving => {
                Some((false, LOST, "the tunnel was lost"))
            }
            // Told to drain after it was lost: what stood then does not come back.
            (false, LOST) if connected.reason == DRAINING => {
                Some((false, DRAINING, "the tunnel is over"))
            }
            _ => None,
        };
        if let Some((holds, reason, message)) = next {
            set_condition(conditions, kind.as_str(), holds, reason, message, now);
        }
    }
}

/// `Ready`: whether, why, in words. `None`: nothing is to be said of a camera that never called.
fn ready(
    conditions: &[Condition],
    invalid: Option<&str>,
    known: Option<&str>,
) -> Option<(bool, String, String)> {
    if let Some(why) = invalid {
        return Some((false, INVALID.into(), why.into()));
    }
    let fails = |condition: &Condition| {
        (
            false,
            condition.reason.clone(),
            condition.message.to_owned(),
        )
    };
    let Some(connected) = find(conditions, ConditionKind::Connected) else {
        let word = "it has not called yet";
        return (known == Some(INVALID)).then(|| (false, ABSENT.into(), word.into()));
    };
    if connected.status != "True" {
        return Some(fails(connected));
    }
    let mut reason = RECORDING.to_owned();
    for kind in OF_PODS {
        match find(conditions, kind) {
            Some(condition) if kind == ConditionKind::Archiving => {
                if condition.status != "True" && condition.reason != RECORD_OFF {
                    return Some(fails(condition));
                }
                reason.clone_from(&condition.reason);
            }
            Some(condition) if condition.status == "True" => {}
            Some(condition) => return Some(fails(condition)),
            None => return Some((false, STARTING.into(), "its pods start".into())),
        }
    }
    Some((true, reason, String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    fn with(all: &[(ConditionKind, bool, &str)]) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for (kind, holds, reason) in all {
            set_condition(&mut conditions, kind.as_str(), *holds, reason, "", at(1));
        }
        settle(&mut conditions, None, at(1));
        conditions
    }

    fn set(conditions: &mut Vec<Condition>, kind: ConditionKind, holds: bool, reason: &str) {
        set_condition(conditions, kind.as_str(), holds, reason, "", at(2));
        settle(conditions, None, at(2));
    }

    fn says(conditions: &[Condition], kind: ConditionKind) -> (&str, &str) {
        let found = find(conditions, kind).unwrap();
        (&found.status, &found.reason)
    }

    fn recorded() -> Vec<Condition> {
        with(&[
            (ConditionKind::Connected, true, "Claimed"),
            (ConditionKind::WorkloadsReady, true, "Running"),
            (ConditionKind::RelayReady, true, "Announced"),
            (ConditionKind::Archiving, true, RECORDING),
        ])
    }

    #[test]
    fn ready_is_what_the_others_make_of_it() {
        use ConditionKind::{Archiving, Connected, Ready, RelayReady, WorkloadsReady};
        let mut all = recorded();
        assert_eq!(says(&all, Ready), ("True", RECORDING));
        set(&mut all, Archiving, false, RECORD_OFF);
        assert_eq!(says(&all, Ready), ("True", RECORD_OFF));
        for (kind, reason) in [
            (Archiving, "StoreAway"),
            (RelayReady, "CameraSilent"),
            (WorkloadsReady, "QuotaExceeded"),
            (Connected, LOST),
        ] {
            set(&mut all, kind, false, reason);
            assert_eq!(says(&all, Ready), ("False", reason));
        }
        settle(&mut all, Some("spec.timezone: Nowhere"), at(3));
        assert_eq!(says(&all, Ready), ("False", INVALID));
    }

    #[test]
    fn a_loss_that_is_over_leaves_what_was_before_it_and_a_drain_does_not() {
        use ConditionKind::{Archiving, Connected, Ready, RelayReady};
        let mut all = recorded();
        set(&mut all, Connected, false, LOST);
        assert_eq!(says(&all, Archiving), ("False", LOST));
        assert_eq!(says(&all, RelayReady), ("True", "Announced"));
        set(&mut all, Connected, true, "Claimed");
        assert_eq!(says(&all, Archiving), ("True", RECORDING));
        assert_eq!(says(&all, Ready), ("True", RECORDING));
        set(&mut all, Connected, false, LOST);
        set(&mut all, Connected, false, DRAINING);
        set(&mut all, Connected, true, "Claimed");
        assert_eq!(says(&all, Archiving), ("False", STARTING));
        assert_eq!(says(&all, RelayReady), ("False", STARTING));
        assert_eq!(says(&all, Ready), ("False", STARTING));
    }

    #[test]
    fn what_was_wrong_with_a_record_is_not_said_of_one_that_is_right() {
        let mut all = Vec::new();
        settle(&mut all, Some("spec.timezone: Nowhere"), at(1));
        assert_eq!(says(&all, ConditionKind::Ready), ("False", INVALID));
        settle(&mut all, None, at(2));
        assert_eq!(says(&all, ConditionKind::Ready), ("False", ABSENT));
        let mut none = Vec::new();
        settle(&mut none, None, at(1));
        assert_eq!(none, []);
    }
}
