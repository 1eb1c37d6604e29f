use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The conditions of a Camera, in the order in which they are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionKind {
    /// A tunnel is held.
    Connected,
    /// Both pods exist and may run.
    WorkloadsReady,
    /// The relay has said its key and reads its camera, as far as it has said.
    RelayReady,
    /// The archiver is told to record, and has not said since that it cannot.
    Archiving,
    /// All that is wanted is there.
    Ready,
    /// A key of it belongs to an older camera of its tenant, which keeps it.
    DuplicateKey,
    /// The uplink cannot carry the main stream, and the sub-stream is recorded.
    UplinkSlow,
}

impl ConditionKind {
    /// Its name in the resource.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "Connected",
            Self::WorkloadsReady => "WorkloadsReady",
            Self::RelayReady => "RelayReady",
            Self::Archiving => "Archiving",
            Self::Ready => "Ready",
            Self::DuplicateKey => "DuplicateKey",
            Self::UplinkSlow => "UplinkSlow",
        }
    }
}

/// Sets a condition; the time of its last transition moves only when its status does. Returns whether anything changed.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: jiff::Timestamp,
) -> bool {
    let status = if holds { "True" } else { "False" };
    let message: String = message.chars().take(1_024).collect();
    match conditions.iter_mut().find(|known| known.type_ == kind) {
        Some(known)
            if known.status == status && known.reason == reason && known.message == message =>
        {
            false
        }
        Some(known) => {
            if known.status != status {
                known.last_transition_time = Time(now);
            }
            known.status = status.into();
            known.reason = reason.into();
            known.message = message;
            true
        }
        None => {
            conditions.push(Condition {
                last_transition_time: Time(now),
                message,
                observed_generation: None,
                reason: reason.into(),
                status: status.into(),
                type_: kind.into(),
            });
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transition_is_timed_and_a_repeated_word_is_no_change() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let mut all = Vec::new();
        assert!(set_condition(
            &mut all,
            "Ready",
            false,
            "Starting",
            "",
            at(1)
        ));
        assert!(!set_condition(
            &mut all,
            "Ready",
            false,
            "Starting",
            "",
            at(2)
        ));
        assert!(set_condition(
            &mut all,
            "Ready",
            false,
            "QuotaExceeded",
            "pods",
            at(3)
        ));
        assert_eq!(
            all[0].last_transition_time.0,
            at(1),
            "the status is the same"
        );
        assert!(set_condition(&mut all, "Ready", true, "Running", "", at(4)));
        assert_eq!((all.len(), all[0].last_transition_time.0), (1, at(4)));
    }
}
