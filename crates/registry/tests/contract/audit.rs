//! `Audit`.

use moorline_core::port::{Audit, AuditEntry, AuditEvent, AuditFilter, Users};
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

async fn all_of(audit: &dyn Audit, tenant: &TenantId, limit: u32) -> Vec<AuditEntry> {
    let all = AuditFilter::default();
    audit.read(tenant, &all, limit).await.unwrap()
}

pub(crate) async fn entries_are_found_by_time_camera_and_user(audit: &dyn Audit) {
    for (number, actor, event, subject) in [
        (10, "anna", AuditEvent::View, "home/gate"),
        (20, "bert", AuditEvent::Export, "home/gate 1 2"),
        (30, "camera home/gate", AuditEvent::Takeover, "192.0.2.1"),
        (40, "anna", AuditEvent::View, "home/gate-2"),
        (50, "operator", AuditEvent::UserChange, "anna"),
    ] {
        audit.write(entry(number, actor, event, subject));
    }
    let found = async |filter: AuditFilter| -> Vec<i64> {
        let read = audit.read(&TenantId::home(), &filter, 100).await.unwrap();
        read.iter().map(|entry| entry.at.as_millis()).collect()
    };
    let gate = AuditFilter {
        camera: Some("home/gate".parse().unwrap()),
        ..AuditFilter::default()
    };
    assert_eq!(found(gate.clone()).await, [30, 20, 10]);
    let anna = AuditFilter {
        user: Some("anna".to_owned()),
        ..AuditFilter::default()
    };
    assert_eq!(found(anna.clone()).await, [50, 40, 10]);
    let both = AuditFilter {
        user: anna.user,
        from: Some(Timestamp::from_millis(10)),
        to: Some(Timestamp::from_millis(20)),
        ..gate
    };
    assert_eq!(found(both).await, [10]);
    let none = AuditFilter {
        user: Some("%".to_owned()),
        ..AuditFilter::default()
    };
    assert_eq!(found(none).await, [0_i64; 0]);
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
    let read = all_of(audit, &TenantId::home(), 3).await;
    let times: Vec<_> = read.iter().map(|entry| entry.at.as_millis()).collect();
    assert_eq!(times, [49, 48, 47]);
    assert_eq!(
        read[0],
        entry(49, "operator", AuditEvent::CameraChange, "home/yard")
    );
    assert_eq!(all_of(audit, &TenantId::home(), 1_000).await.len(), 50);
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
    audit.write(entry(1, "operator", AuditEvent::ReachIn, "shop/door"));
    audit.write(entry(2, "nora", AuditEvent::SignIn, ""));
    audit.write(entry(3, "camera shop/door", AuditEvent::Takeover, ""));
    // Whatever a stranger types as a login: no camera's name brings it into its tenant's audit.
    audit.write(entry(4, "shop/door", AuditEvent::SignInFailed, "192.0.2.7"));
    audit.write(entry(
        5,
        "stranger\x1b[2J",
        AuditEvent::SignInFailed,
        &"x".repeat(10_000),
    ));
    audit.write(entry(6, "nora", AuditEvent::SignInFailed, "192.0.2.7"));
    let read = all_of(audit, &shop, 10).await;
    let times: Vec<_> = read.iter().map(|entry| entry.at.as_millis()).collect();
    assert_eq!(times, [6, 3, 2, 1]);
    let home = all_of(audit, &TenantId::home(), 1).await;
    assert_eq!(
        (home[0].event, home[0].subject.len()),
        (AuditEvent::SignInFailed, 256)
    );
}
