//! Enrolment that is written down (S35): a token that made a camera, and one that a second key tried.

use std::sync::Arc;

use async_trait::async_trait;
use moorline_base::SharedClock;
use moorline_core::port::{Audit, AuditEntry, AuditEvent, EnrollAsked, EnrollError, Enrolment};
use moorline_core::{CameraId, Timestamp};

/// Before another enrolment.
pub struct Audited {
    /// What decides.
    pub next: Arc<dyn Enrolment>,
    /// Where it is written.
    pub audit: Arc<dyn Audit>,
    /// Time.
    pub clock: SharedClock,
}

#[async_trait]
impl Enrolment for Audited {
    async fn enroll(&self, asked: EnrollAsked) -> Result<CameraId, EnrollError> {
        let from = format!("key {} from {}", asked.key.fingerprint(), asked.peer);
        let enrolled = self.next.enroll(asked).await;
        let (actor, subject) = match &enrolled {
            Ok(camera) => (format!("camera {camera}"), format!("{camera} {from}")),
            Err(EnrollError::Spent { .. }) => (
                "stranger".to_owned(),
                format!("refused, the token was spent by another key: {from}"),
            ),
            Err(_) => return enrolled,
        };
        self.audit.write(AuditEntry {
            at: Timestamp::from_millis(self.clock.wall_ms()),
            actor,
            event: AuditEvent::Enrolment,
            subject,
        });
        enrolled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use moorline_base::SystemClock;
    use moorline_core::port::{AuditFilter, PortError};
    use moorline_core::{Masked, PublicKey, TenantId};

    use super::*;

    struct Decided(fn() -> Result<CameraId, EnrollError>);

    #[async_trait]
    impl Enrolment for Decided {
        async fn enroll(&self, _: EnrollAsked) -> Result<CameraId, EnrollError> {
            (self.0)()
        }
    }

    #[derive(Default)]
    struct Written(Mutex<Vec<AuditEntry>>);

    #[async_trait]
    impl Audit for Written {
        fn write(&self, entry: AuditEntry) {
            self.0.lock().unwrap().push(entry);
        }

        async fn read(
            &self,
            _: &TenantId,
            _: &AuditFilter,
            _: u32,
        ) -> Result<Vec<AuditEntry>, PortError> {
            Ok(Vec::new())
        }
    }

    async fn written(decided: fn() -> Result<CameraId, EnrollError>) -> Vec<(String, String)> {
        let audit = Arc::new(Written::default());
        let enrolment = Audited {
            next: Arc::new(Decided(decided)),
            audit: Arc::clone(&audit) as _,
            clock: SystemClock::shared(),
        };
        let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        blob.extend([7; 32]);
        let asked = EnrollAsked {
            token: Masked::new("a token".to_owned()),
            key: PublicKey::from_blob(&blob).unwrap(),
            model: String::new(),
            mac: String::new(),
            peer: "192.0.2.7:4000".parse().unwrap(),
        };
        let _ = enrolment.enroll(asked).await;
        let entries = audit.0.lock().unwrap();
        let told = entries.iter().map(|entry| {
            assert_eq!(entry.event, AuditEvent::Enrolment);
            (entry.actor.clone(), entry.subject.clone())
        });
        told.collect()
    }

    #[tokio::test]
    async fn s35_a_token_that_is_spent_is_audited_and_so_is_a_second_key() {
        let made = written(|| Ok("home/yard".parse().unwrap())).await;
        assert_eq!(made[0].0, "camera home/yard");
        assert!(made[0].1.starts_with("home/yard key SHA256:"), "{made:?}");
        assert!(made[0].1.ends_with("from 192.0.2.7:4000"), "{made:?}");
        let second = written(|| Err(EnrollError::Spent { camera: None })).await;
        assert!(
            second[0].1.starts_with("refused, the token was spent"),
            "{second:?}"
        );
        let unknown = written(|| Err(EnrollError::Refused("there is no such token"))).await;
        assert!(unknown.is_empty(), "strangers do not fill the audit");
    }
}
