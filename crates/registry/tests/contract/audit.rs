//! `Audit`.

use moorline_core::port::{Audit, AuditEntry, AuditEvent, Users};
use moorline_core::user::Role;
use moorline_core::{TenantId, Timestamp};

use super::users::login;
use super::word;

fn entry(number: i64, actor: &str, event: AuditEvent, subject: &str) -> AuditEntry {
    AuditEntry {
        at: Timestamp::from_millis(number),
        actor: actor.into(),
        event,
        subject: subject.into(),
    }
}

pub(crate) async fn entries_are_read_newest_first(audit: &dyn Audit) {
    for number in 0..50 {
        audit.write(entry(
            number,
            "operator",
            AuditEvent::CameraChange,
            "home/yard",
        ));
    }
    let read = audit.read(&TenantId::home(), 3).await.unwrap();
    let times: Vec<_> = read.iter().map(|entry| entry.at.as_millis()).collect();
    assert_eq!(times, [49, 48, 47]);
    assert_eq!(
        read[0],
        entry(49, "operator", AuditEvent::CameraChange, "home/yard")
    );
    assert_eq!(
        audit.read(&TenantId::home(), 1_000).await.unwrap().len(),
        50
    );
}

pub(crate) async fn a_tenant_sees_its_own(audit: &dyn Audit, users: &dyn Users) {
    let shop: TenantId = "shop".parse().unwrap();
    users
        .add(
            login("nora"),
            shop.clone(),
            Role::Viewer,
            word("a long password"),
        )
        .await
        .unwrap();
    audit.write(entry(1, "operator", AuditEvent::View, "shop/door"));
    audit.write(entry(2, "nora", AuditEvent::SignIn, ""));
    audit.write(entry(3, "camera shop/door", AuditEvent::Takeover, ""));
    audit.write(entry(
        4,
        "stranger\x1b[2J",
        AuditEvent::SignInFailed,
        &"x".repeat(10_000),
    ));
    let read = audit.read(&shop, 10).await.unwrap();
    let times: Vec<_> = read.iter().map(|entry| entry.at.as_millis()).collect();
    assert_eq!(times, [3, 2, 1]);
    let home = audit.read(&TenantId::home(), 1).await.unwrap();
    assert_eq!(
        (home[0].event, home[0].subject.len()),
        (AuditEvent::SignInFailed, 256)
    );
}
