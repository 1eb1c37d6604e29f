//! `EnrollTokens` and `Enrolment`.

use std::sync::Arc;

use moorline_core::camera::{Enabled, Record, RecordBy};
use moorline_core::port::{
    CameraAdmin, CameraAdminError, CameraChange, CameraDirectory, CameraLike, EnrollAsked,
    EnrollError, EnrollTokens, Enrolment, NewToken, TokenMakes,
};
use moorline_core::segment::Retention;
use moorline_core::{CameraId, Masked, PublicKey, TenantId, Timestamp};

use super::id;

/// Instants of the suites begin here; tokens live a day.
const EXPIRES: i64 = 1_800_000_000_000 + 86_400_000;

fn key(seed: u8) -> PublicKey {
    super::key(seed).key
}

fn new(makes: TokenMakes) -> NewToken {
    NewToken {
        tenant: TenantId::home(),
        makes,
        like: CameraLike {
            title: None,
            site: Some("Summer house".into()),
            timezone: "Europe/Berlin".into(),
            record: Record::Main,
            record_by: RecordBy::Auto,
            retention: Retention::Days(30),
        },
        expires: Timestamp::from_millis(EXPIRES),
        comment: "for the roof".into(),
    }
}

fn batch(prefix: &str, count: u32) -> NewToken {
    new(TokenMakes::Batch {
        prefix: prefix.into(),
        count,
    })
}

fn asks(token: &str, key: &PublicKey) -> EnrollAsked {
    EnrollAsked {
        token: Masked::new(token.to_owned()),
        key: key.clone(),
        model: "xiaofang".into(),
        mac: "00:01:02:03:04:05".into(),
        peer: "192.0.2.7:40000".parse().unwrap(),
    }
}

/// When an adapter makes a token's camera.
#[allow(dead_code, reason = "each adapter is one of them")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// When its device calls.
    WithItsKey,
    /// With the token, without a key.
    WithTheToken,
}

impl Made {
    /// How many keys a camera has before its device has called, if it is there.
    fn before(self) -> Option<usize> {
        (self == Self::WithTheToken).then_some(0)
    }
}

fn keys_of(directory: &impl CameraDirectory, name: &str) -> Option<usize> {
    let camera = directory.snapshot().get(&id(name)).cloned();
    camera.map(|camera| camera.keys.len())
}

async fn issue(book: &impl EnrollTokens, new: NewToken) -> String {
    book.issue(new).await.unwrap().0.reveal().clone()
}

pub(crate) async fn a_token_is_spent_once_and_the_same_key_may_repeat<
    B: EnrollTokens + Enrolment,
>(
    book: &B,
    directory: &impl CameraDirectory,
    admin: &impl CameraAdmin,
    made: Made,
) {
    let token = issue(book, new(TokenMakes::Camera(id("roof")))).await;
    assert!(token.len() >= 22, "at least 128 bits");
    assert_eq!(
        keys_of(directory, "roof"),
        made.before(),
        "a token alone is no key"
    );
    for _ in 0..3 {
        assert_eq!(
            book.enroll(asks(&token, &key(1))).await.unwrap(),
            id("roof")
        );
    }
    let camera = directory.snapshot().get(&id("roof")).cloned().unwrap();
    assert_eq!(camera.keys.len(), 1);
    assert_eq!(
        camera.keys[0].comment,
        "enrolled: xiaofang 00:01:02:03:04:05"
    );
    assert_eq!(
        (
            camera.title.as_str(),
            camera.site.as_deref(),
            camera.timezone.as_str()
        ),
        ("roof", Some("Summer house"), "Europe/Berlin")
    );
    assert_eq!(camera.retention, Retention::Days(30));
    let second = book.enroll(asks(&token, &key(2))).await;
    assert!(
        matches!(&second, Err(EnrollError::Spent { camera: Some(camera) }) if *camera == id("roof")),
        "{second:?}"
    );
    let _ = book.enroll(asks(&token, &key(3))).await;
    let reused = book.list(&TenantId::home()).await.unwrap().remove(0).reused;
    let reused = reused.expect("it is written down");
    assert_eq!(
        (reused.times, reused.key, reused.from.to_string()),
        (2, key(3).fingerprint(), "192.0.2.7".to_owned())
    );
    assert_eq!(directory.snapshot().get(&id("roof")).unwrap().keys.len(), 1);
    // Another device under the same name: a second token adds its key.
    let token = issue(book, new(TokenMakes::Camera(id("roof")))).await;
    book.enroll(asks(&token, &key(2))).await.unwrap();
    assert_eq!(directory.snapshot().get(&id("roof")).unwrap().keys.len(), 2);
    // A key that was taken away does not come back by its old token.
    admin.revoke_key(&id("roof"), &key(2)).await.unwrap();
    let again = book.enroll(asks(&token, &key(2))).await;
    assert!(
        matches!(again, Err(EnrollError::Refused("revoked"))),
        "{again:?}"
    );
}

pub(crate) async fn a_batch_makes_as_many_cameras_as_it_counts<B: EnrollTokens + Enrolment>(
    book: &B,
    directory: &impl CameraDirectory,
) {
    let token = issue(book, batch("shop", 3)).await;
    let mut made = Vec::new();
    for seed in 10..13 {
        made.push(book.enroll(asks(&token, &key(seed))).await.unwrap());
    }
    assert_eq!(made, ["shop-1", "shop-2", "shop-3"].map(id));
    assert_eq!(
        book.enroll(asks(&token, &key(11))).await.unwrap(),
        id("shop-2"),
        "the same key again"
    );
    let fourth = book.enroll(asks(&token, &key(13))).await;
    assert!(
        matches!(&fourth, Err(EnrollError::Spent { camera: Some(camera) }) if *camera == id("shop-3")),
        "{fourth:?}"
    );
    assert!(directory.snapshot().get(&id("shop-4")).is_none());
    let stock = book.stock(&TenantId::home()).await.unwrap();
    let stock: std::collections::BTreeSet<_> = stock.into_iter().map(|it| it.camera).collect();
    assert_eq!(stock, made.iter().cloned().collect());
    assert!(book.claim(&id("shop-2")).await.unwrap());
    assert!(!book.claim(&id("shop-2")).await.unwrap(), "once");
    assert!(!book.claim(&id("roof")).await.unwrap(), "none of a batch");
    assert_eq!(book.stock(&TenantId::home()).await.unwrap().len(), 2);
    let all = book.list(&TenantId::home()).await.unwrap();
    assert_eq!(all[0].cameras, made, "newest first");
    assert_eq!(
        (
            all[0].left(Timestamp::from_millis(0)),
            all[0].token.comment.as_str()
        ),
        (0, "for the roof")
    );
}

pub(crate) async fn a_revoked_or_expired_token_makes_nothing<B: EnrollTokens + Enrolment>(
    book: &B,
    directory: &impl CameraDirectory,
    later: impl Fn(u64),
    made: Made,
) {
    let (token, info) = book.issue(batch("gone", 2)).await.unwrap();
    assert_eq!(info.left(Timestamp::from_millis(0)), 2);
    book.enroll(asks(token.reveal(), &key(20))).await.unwrap();
    assert!(book.revoke(&TenantId::home(), info.id).await.unwrap());
    assert!(
        book.revoke(&TenantId::home(), info.id).await.unwrap(),
        "idempotent"
    );
    assert!(
        !book
            .revoke(&"other".parse().unwrap(), info.id)
            .await
            .unwrap(),
        "another tenant's"
    );
    let refused = book.enroll(asks(token.reveal(), &key(21))).await;
    assert!(
        matches!(refused, Err(EnrollError::Refused("revoked"))),
        "{refused:?}"
    );
    book.enroll(asks(token.reveal(), &key(20)))
        .await
        .expect("what it made stays");
    // A copy of a spent file is told of whenever it comes: who has it should not.
    let copied = issue(book, new(TokenMakes::Camera(id("copied")))).await;
    book.enroll(asks(&copied, &key(23))).await.unwrap();
    let ours = book.list(&TenantId::home()).await.unwrap();
    let ours = ours.iter().find(|it| it.cameras == [id("copied")]).unwrap();
    book.revoke(&TenantId::home(), ours.id).await.unwrap();
    let expires = issue(book, new(TokenMakes::Camera(id("expired")))).await;
    book.enroll(asks(&expires, &key(24))).await.unwrap();
    let token = issue(book, batch("late", 2)).await;
    later(86_400_001);
    for (copy, camera) in [(&copied, id("copied")), (&expires, id("expired"))] {
        let refused = book.enroll(asks(copy, &key(25))).await;
        assert!(
            matches!(&refused, Err(EnrollError::Spent { camera: Some(told) }) if *told == camera),
            "{camera}: {refused:?}"
        );
    }
    let refused = book.enroll(asks(&token, &key(22))).await;
    assert!(
        matches!(refused, Err(EnrollError::Refused("expired"))),
        "{refused:?}"
    );
    let refused = book
        .enroll(asks("never-was-a-token-of-ours", &key(22)))
        .await;
    assert!(
        matches!(refused, Err(EnrollError::Refused("unknown"))),
        "{refused:?}"
    );
    for name in ["late-1", "late-2"] {
        assert_eq!(keys_of(directory, name), made.before(), "{name}");
    }
}

pub(crate) async fn a_wrong_token_is_named_before_it_is_made(book: &impl EnrollTokens) {
    let far = |new: NewToken| NewToken {
        expires: Timestamp::from_millis(EXPIRES * 2),
        ..new
    };
    let field = async |new: NewToken| match book.issue(new).await {
        Err(CameraAdminError::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(far(batch("shop", 0))).await, "count");
    assert_eq!(field(far(batch("shop", 10_001))).await, "count");
    assert_eq!(field(far(batch("Shop", 1))).await, "prefix");
    assert_eq!(field(far(batch(&"x".repeat(51), 1))).await, "prefix");
    let past = NewToken {
        expires: Timestamp::from_millis(1),
        ..batch("shop", 1)
    };
    assert_eq!(field(past).await, "expires");
    let foreign = CameraId::new("other".parse().unwrap(), "yard".parse().unwrap());
    assert_eq!(field(far(new(TokenMakes::Camera(foreign)))).await, "camera");
}

pub(crate) async fn keys_of_other_cameras_and_disabled_cameras_are_refused<
    B: EnrollTokens + Enrolment,
>(
    book: &B,
    directory: &impl CameraDirectory,
    admin: &impl CameraAdmin,
) {
    let far = Timestamp::from_millis(EXPIRES * 2);
    let make = |name: &str| NewToken {
        expires: far,
        ..new(TokenMakes::Camera(id(name)))
    };
    let first = issue(book, make("taken")).await;
    book.enroll(asks(&first, &key(30))).await.unwrap();
    let second = issue(book, make("other")).await;
    let refused = book.enroll(asks(&second, &key(30))).await;
    assert!(
        matches!(
            refused,
            Err(EnrollError::Camera(CameraAdminError::KeyTaken { .. }))
        ),
        "{refused:?}"
    );
    book.enroll(asks(&second, &key(31)))
        .await
        .expect("nothing was spent by it");
    let off = CameraChange {
        enabled: Some(Enabled::Stolen),
        ..CameraChange::default()
    };
    admin.set(&id("taken"), off).await.unwrap();
    let again = issue(book, make("taken")).await;
    let refused = book.enroll(asks(&again, &key(32))).await;
    assert!(
        matches!(refused, Err(EnrollError::Refused("its camera is disabled"))),
        "{refused:?}"
    );
    assert_eq!(
        directory.snapshot().get(&id("taken")).unwrap().keys.len(),
        1
    );
}

pub(crate) async fn many_keys_at_once_spend_one_token_once<
    B: EnrollTokens + Enrolment + 'static,
>(
    book: Arc<B>,
    directory: &impl CameraDirectory,
) {
    let one = NewToken {
        expires: Timestamp::from_millis(EXPIRES * 2),
        ..batch("crowd", 5)
    };
    let token = issue(&*book, one).await;
    let tries = (0..40).map(|seed| {
        let (book, asked) = (Arc::clone(&book), asks(&token, &key(100 + seed)));
        tokio::spawn(async move { book.enroll(asked).await.is_ok() })
    });
    let tries: Vec<_> = tries.collect();
    let mut made = 0;
    for one in tries {
        made += u32::from(one.await.unwrap());
    }
    assert_eq!(made, 5);
    let crowd = directory.snapshot();
    assert_eq!(
        crowd
            .iter()
            .filter(|camera| camera.id.name().starts_with("crowd-"))
            .count(),
        5
    );
}

/// A camera that was enrolled: its token and its key.
pub(crate) async fn enrolled<B: EnrollTokens + Enrolment>(
    book: &B,
    name: &str,
) -> (String, PublicKey) {
    let token = issue(book, new(TokenMakes::Camera(id(name)))).await;
    book.enroll(asks(&token, &key(1))).await.unwrap();
    (token, key(1))
}

pub(crate) async fn is_spent<B: EnrollTokens + Enrolment>(
    book: &B,
    token: &str,
    owner: &PublicKey,
) {
    book.enroll(asks(token, owner)).await.unwrap();
    let second = book.enroll(asks(token, &key(9))).await;
    assert!(
        matches!(second, Err(EnrollError::Spent { .. })),
        "{second:?}"
    );
}
