//! Whether somebody is told: the channels of the alarms, what they have not told yet, and the heartbeat.

use moorline_core::Timestamp;
use moorline_core::alarm::Untold;
use moorline_notify::Heartbeat;
use moorline_web::api::DoctorFinding;

use super::super::operations::Operator;
use super::{ok, problem, warning};
use crate::output;
use crate::settings::Alert;

/// The heartbeat, as far as doctor looks at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beat {
    /// When it got out last.
    pub(super) last: Option<Timestamp>,
    /// The last one did not.
    pub(super) failing: bool,
}

impl From<&Heartbeat> for Beat {
    fn from(heartbeat: &Heartbeat) -> Self {
        Self {
            last: heartbeat.last(),
            failing: heartbeat.is_failing(),
        }
    }
}

/// Everything about being told.
pub(super) fn alarms(operator: &Operator) -> DoctorFinding {
    let running = operator.facts.running.as_ref();
    let beat = running.and_then(|running| running.heartbeats.now());
    let settings = operator.settings.get();
    look(
        &settings.alert,
        &operator.statuses.untold(),
        beat.as_ref().map(Beat::from),
        Timestamp::from_millis(operator.clock.wall_ms()),
    )
}

/// The worst first: alarms that do not get out, no channel, no heartbeat.
pub(super) fn look(
    alert: &Alert,
    untold: &[Untold],
    beat: Option<Beat>,
    now: Timestamp,
) -> DoctorFinding {
    let names = [
        ("webhook", !alert.webhook.is_empty()),
        ("e-mail", !alert.email_to.is_empty()),
    ];
    let set: Vec<&str> = names
        .iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| *name)
        .collect();
    if set.is_empty() {
        let hint = "set alert.webhook, or alert.email_to and alert.smtp; then send the server SIGHUP, and try moorline alert test";
        return warning("alarms", "nobody is told when recording stops", hint);
    }
    let failing: Vec<String> = untold.iter().filter_map(|one| told_of(one, now)).collect();
    if !failing.is_empty() {
        let hint = "they are told as one message once the channel works: moorline alert test";
        return problem("alarms", failing.join("; "), hint);
    }
    if alert.heartbeat.is_empty() {
        let hint =
            "set alert.heartbeat to a URL of a service that tells you when it is no longer fetched";
        return warning(
            "alarms",
            format!(
                "{}; but nobody is told when this server itself dies",
                set.join(", ")
            ),
            hint,
        );
    }
    let set = set.join(", ");
    match beat {
        Some(Beat {
            last,
            failing: true,
        }) => {
            let last = last.map_or_else(
                || "it never did since the start".to_owned(),
                |last| format!("last {} ago", output::duration(now.since(last))),
            );
            let hint = "see whether this server reaches alert.heartbeat; its service believes that the server is dead";
            problem(
                "alarms",
                format!("the heartbeat does not get out, {last}"),
                hint,
            )
        }
        Some(Beat {
            last: Some(last), ..
        }) => {
            let ago = output::duration(now.since(last));
            ok("alarms", format!("{set}, heartbeat {ago} ago"))
        }
        _ => ok("alarms", format!("{set}, heartbeat")),
    }
}

/// A channel on which nothing gets out.
fn told_of(untold: &Untold, now: Timestamp) -> Option<String> {
    let since = output::duration(now.since(untold.failing_since?));
    let why = untold.why.as_deref().unwrap_or_default();
    let cameras = match untold.cameras {
        0 => "no camera's alarm waits".to_owned(),
        1 => "the alarm of 1 camera waits".to_owned(),
        several => format!("the alarms of {several} cameras wait"),
    };
    Some(format!(
        "{} does not get out for {since}: {why}; {cameras}",
        untold.channel
    ))
}
