//! What goes wrong with a tenant, and is well again, as Events of its Tenant.
//!
//! One place tells of every condition, whoever wrote it (the signer and the sweeper write whether a tenant's own bucket works): so one account makes these
//! Events. What was so before this process began is not told again.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use moorline_core::TenantId;

use super::{ERASING, QUOTA_PENDING, QUOTA_UNKNOWN, WAITS_FOR_CAMERAS};
use crate::call::Fault;
use crate::events::{Events, Grade};
use crate::resource::Tenant;

/// They need no more than time.
const PASS: [&str; 5] = [
    QUOTA_PENDING,
    QUOTA_UNKNOWN,
    WAITS_FOR_CAMERAS,
    ERASING,
    "Conflict",
];
/// Somebody wanted it so.
const SUSPENDED: &str = "Suspended";

/// By condition, why it does not hold; `None`: it holds.
type Troubles = BTreeMap<String, Option<String>>;

/// What was told.
#[derive(Debug)]
pub(super) struct Told {
    events: Events,
    /// By uid: a tenant that is made anew is another one.
    known: HashMap<String, Troubles>,
}

impl Told {
    pub(super) fn new(events: Events) -> Self {
        Self {
            events,
            known: HashMap::new(),
        }
    }

    /// Looks at a tenant as it is now.
    pub(super) fn look(&mut self, tenant: &Tenant) {
        let (Some(uid), Ok(id)) = (tenant.uid(), tenant.name_any().parse::<TenantId>()) else {
            return;
        };
        let conditions = tenant.status.iter().flat_map(|status| &status.conditions);
        let Some(troubles) = self.known.get_mut(&uid) else {
            let mut troubles = Troubles::new();
            for condition in conditions {
                news(&mut troubles, condition);
            }
            self.known.insert(uid, troubles);
            return;
        };
        for condition in conditions {
            if let Some((message, grade)) = news(troubles, condition) {
                let reason = &condition.reason;
                self.events
                    .tell_of_tenant(&id, tenant, reason, &message, grade);
            }
        }
    }

    /// Forgets all others.
    pub(super) fn keep<'a>(&mut self, tenants: impl Iterator<Item = &'a Tenant>) {
        let mut before = std::mem::take(&mut self.known);
        let kept = tenants.filter_map(|tenant| before.remove_entry(&tenant.uid()?));
        self.known = kept.collect();
    }
}

/// Notes how a condition is, and says what is to be told of it.
fn news(troubles: &mut Troubles, condition: &Condition) -> Option<(String, Grade)> {
    let holds = condition.status == "True";
    if !holds && PASS.contains(&condition.reason.as_str()) {
        return None;
    }
    let now = (!holds).then(|| condition.reason.clone());
    let kind = &condition.type_;
    let before = troubles.insert(kind.clone(), now.clone()).flatten();
    if before == now {
        return None;
    }
    let told = match (holds, condition.message.as_str()) {
        (true, "") => format!("{kind} holds again"),
        (true, message) => format!("{kind} holds again: {message}"),
        (false, message) => message.to_owned(),
    };
    let grade = Grade::of(holds || condition.reason == SUSPENDED);
    Some((told, grade))
}

/// The cluster's words about what a tenant needs, and what to do about them.
pub(super) fn advised(fault: &Fault) -> String {
    let advice = match fault {
        Fault::Forbidden(_) | Fault::Quota(_) => {
            "look at the rights of the account of moorline tenants, which the chart gives, and at policies and quotas of the cluster"
        }
        Fault::Invalid(_) => {
            "put right what this names: the Tenant, networkPolicies.dns of the chart, or a policy of the cluster"
        }
        Fault::Busy(_) | Fault::Unknown(_) => {
            "look at the control plane if it stays so: it is tried again by itself"
        }
        Fault::Missing | Fault::Conflict | Fault::Exists => "it is tried again by itself",
    };
    format!("{fault}; {advice}")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn condition(status: &str, reason: &str, message: &str) -> Condition {
        Condition {
            last_transition_time: Time(jiff::Timestamp::default()),
            message: message.into(),
            observed_generation: None,
            reason: reason.into(),
            status: status.into(),
            type_: "StoreReady".into(),
        }
    }

    #[test]
    fn a_trouble_is_told_once_and_its_end_and_what_passes_by_itself_is_not() {
        let mut troubles = Troubles::new();
        let mut told = |status, reason, message| {
            news(&mut troubles, &condition(status, reason, message))
                .map(|(message, grade)| (message, format!("{grade:?}")))
        };
        let said = |message: &str, grade: &str| Some((message.to_owned(), grade.to_owned()));
        assert_eq!(told("False", QUOTA_PENDING, "wait"), None);
        assert_eq!(told("True", "Works", ""), None, "nothing was wrong");
        assert_eq!(
            told("False", "SecretMissing", "type this"),
            said("type this", "Warning")
        );
        assert_eq!(told("False", "SecretMissing", "type that"), None);
        assert_eq!(
            told("False", "StoreRefused", "403"),
            said("403", "Warning"),
            "another reason"
        );
        assert_eq!(
            told("True", "Works", ""),
            said("StoreReady holds again", "Normal")
        );
        assert_eq!(
            told("False", SUSPENDED, "no camera"),
            said("no camera", "Normal")
        );
    }
}
