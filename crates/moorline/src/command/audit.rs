//! `moorline audit`

use moorline_base::clock::{Clock as _, SystemClock};
use moorline_core::{CameraId, Timestamp};
use moorline_web::api::AuditView;

use crate::args::{self, Output};
use crate::client::{Client, segment};
use crate::moments;
use crate::output::{self, Table};

/// Entries of one answer; where there are so many, older ones are left out.
const MOST: usize = 1_000;

/// Tells who did what, newest first, in the tenant that is named, else in that of the camera.
///
/// # Errors
/// A time or a camera's name cannot be read, or the server refuses.
pub async fn run(client: &Client, wanted: &args::Audit, format: Output) -> anyhow::Result<()> {
    let zone = moments::machine_zone();
    let mut query = Vec::new();
    if wanted.from.is_some() || wanted.to.is_some() {
        let now = Timestamp::from_millis(SystemClock.wall_ms());
        let (from, to) = (wanted.from.as_deref(), wanted.to.as_deref());
        let range = moments::stretch(from, to, &zone, now, Timestamp::default())?;
        query.push(format!("from={}", segment(&range.from.to_string())));
        query.push(format!("to={}", segment(&range.to.to_string())));
    }
    let camera = wanted.camera.as_deref().map(str::parse::<CameraId>);
    let camera = camera.transpose()?;
    if let Some(camera) = &camera {
        query.push(format!("camera={}", camera.name()));
    }
    if let Some(user) = &wanted.user {
        query.push(format!("user={}", segment(user)));
    }
    let tenant = match (&wanted.of.tenant, &camera) {
        (None, Some(camera)) => camera.tenant().clone(),
        _ => wanted.of.tenant(),
    };
    let path = format!("/tenants/{tenant}/audit?{}", query.join("&"));
    let entries: Vec<AuditView> = client.get(&path).await?;
    output::print(format, &entries, || table(&entries, &zone))
}

/// Asks a front door of a cluster.
///
/// # Errors
/// No tenant is known, no front door is reached, or as [`run`].
#[cfg(feature = "kube")]
pub async fn on_cluster(mut wanted: args::Audit, format: Output) -> anyhow::Result<()> {
    use crate::cluster::choice::needed_of_context;
    use crate::cluster::entered::Entered;
    let chosen = wanted.on.which.connect().await?;
    let names_tenant = |camera: &String| camera.contains('/');
    if wanted.of.tenant.is_none() && !wanted.camera.as_ref().is_some_and(names_tenant) {
        wanted.of.tenant = Some(needed_of_context(&chosen)?);
    }
    let client = Client::Entered(Box::new(Entered::front_door(wanted.on.clone())));
    run(&client, &wanted, format).await
}

fn table(entries: &[AuditView], zone: &str) -> String {
    let mut table = Table::new(&["WHEN", "WHO", "WHAT", "ON WHAT"]);
    for entry in entries {
        let event = serde_json::to_value(entry.event).unwrap_or_default();
        let event = event.as_str().unwrap_or_default().replace('_', " ");
        table.row([
            moments::local(entry.at, zone),
            entry.actor.clone(),
            event,
            entry.subject.clone(),
        ]);
    }
    let mut text = table.render();
    if entries.len() >= MOST {
        text.push_str("older ones are left out: --to asks for what was before\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use moorline_core::port::AuditEvent;

    use super::*;

    #[test]
    fn foreign_text_in_the_audit_does_not_reach_the_terminal_as_it_is() {
        let entry = AuditView {
            at: "2026-11-20T21:10:05Z".parse().unwrap(),
            actor: "stranger\u{1b}[2J".to_owned(),
            event: AuditEvent::SignInFailed,
            subject: "home/yard".to_owned(),
        };
        let text = table(&[entry], "UTC");
        assert!(text.contains("2026-11-20 21:10:05 UTC"), "{text}");
        assert!(
            text.contains("sign in failed") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
}
