//! `CameraDirectory` and `CameraAdmin`.

use std::time::Duration;

use moorline_core::camera::{Access, Camera, Enabled, Login, Record, Source};
use moorline_core::network::Network;
use moorline_core::port::{CameraAdmin, CameraAdminError, CameraChange, CameraDirectory};
use moorline_core::segment::Retention;
use moorline_core::{Masked, Timestamp};

use super::{camera, id, key, word};

/// What an adapter keeps of a record, beyond what every adapter keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keeps {
    /// Cameras in the local network.
    pub(crate) lan: bool,
    /// Passwords, and when camera and keys were added, as they were given.
    pub(crate) secrets_and_times: bool,
    /// A key is unique in its tenant alone: among tenants the user name chooses.
    pub(crate) keys_by_tenant: bool,
}

impl Keeps {
    /// A record as this adapter gives it back.
    fn of(self, camera: &Camera) -> Camera {
        let mut camera = camera.clone();
        if !self.secrets_and_times {
            camera.created = Timestamp::default();
            for key in &mut camera.keys {
                key.added = Timestamp::default();
            }
            for source in std::iter::once(&mut camera.main).chain(&mut camera.sub) {
                if let Some(login) = &mut source.login {
                    login.password = Masked::default();
                }
            }
        }
        camera
    }
}

/// Every field differs from its default.
pub(crate) fn full(name: &str) -> Camera {
    Camera {
        title: "Einfahrt Süd «東門» 'x'".into(),
        site: Some("Farm \"2\"".into()),
        timezone: "Europe/Berlin".into(),
        keys: vec![key(101), key(102)],
        access: Access::Tunnel {
            forwards: vec!["http".parse().unwrap(), "https".parse().unwrap()],
        },
        main: Source {
            path: Some("/cam/realmonitor?channel=1&subtype=0".into()),
            login: Some(Login {
                user: "admin".into(),
                password: word("hunter2 'ü'"),
            }),
            allow_basic: true,
        },
        sub: Some(Source {
            path: Some("/sub".into()),
            login: None,
            allow_basic: false,
        }),
        record: Record::Sub,
        retention: Retention::Keep,
        enabled: Enabled::Stolen,
        ..camera(name, &[])
    }
}

pub(crate) async fn a_change_is_seen_at_once(
    directory: &dyn CameraDirectory,
    admin: &dyn CameraAdmin,
    keeps: Keeps,
) {
    let before = directory.version();
    let seen = directory.snapshot();
    let (changed, added) = tokio::join!(directory.changed(before), admin.add(full("seen")));
    added.unwrap();
    assert_ne!(changed, before);
    assert_eq!(directory.version(), changed);
    assert!(
        seen.get(&id("seen")).is_none(),
        "a snapshot does not change"
    );
    assert_eq!(
        keeps.of(directory.snapshot().get(&id("seen")).unwrap()),
        keeps.of(&full("seen"))
    );
    let later = tokio::time::timeout(Duration::from_millis(50), directory.changed(changed)).await;
    assert!(later.is_err(), "nothing changed since");
}

pub(crate) async fn fields_change_together_or_not_at_all(
    directory: &dyn CameraDirectory,
    admin: &dyn CameraAdmin,
    keeps: Keeps,
) {
    admin.add(camera("fields", &[11])).await.unwrap();
    let present = || Camera::clone(directory.snapshot().get(&id("fields")).unwrap());
    let lan = Access::Lan {
        host: "192.168.1.5".into(),
        port: 554,
    };
    let forwards = vec!["http".parse().unwrap()];
    let access = if keeps.lan {
        lan
    } else {
        Access::Tunnel { forwards }
    };
    // A camera in the local network does not call.
    let networks = ["192.0.2.0/24", "2001:db8::7"];
    let fenced = (!keeps.lan).then(|| {
        networks
            .map(|text| text.parse::<Network>().unwrap())
            .to_vec()
    });
    let change = CameraChange {
        title: Some("Gate".into()),
        site: Some(Some("Farm".into())),
        timezone: Some("Asia/Tokyo".into()),
        access: Some(access.clone()),
        main: Some(Source {
            path: Some("/main".into()),
            ..Source::default()
        }),
        sub: Some(Some(Source::default())),
        record: Some(Record::Sub),
        record_by: None,
        retention: Some(Retention::Days(7)),
        enabled: Some(Enabled::Disabled),
        streampoint: None,
        allow_from: fenced.clone(),
        decided_on: None,
    };
    let now = admin.set(&id("fields"), change).await.unwrap();
    assert_eq!(now, present());
    assert_eq!(
        (now.title.as_str(), now.record, now.retention),
        ("Gate", Record::Sub, Retention::Days(7))
    );
    assert_eq!(now.access, access);
    assert_eq!(now.allow_from, fenced.unwrap_or_default());
    assert_eq!(
        keeps.of(&now).keys,
        keeps.of(&camera("fields", &[11])).keys,
        "what was not named stays"
    );

    let half = CameraChange {
        title: Some("Other".into()),
        timezone: Some("Europe/Nowhere".into()),
        ..CameraChange::default()
    };
    let error = admin.set(&id("fields"), half).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "timezone = \"Europe/Nowhere\": use a name of the IANA time zone database, such as Europe/Berlin or UTC"
    );
    assert_eq!(present(), now, "nothing is half applied");
    let clear = CameraChange {
        site: Some(None),
        record: Some(Record::Main),
        sub: Some(None),
        ..CameraChange::default()
    };
    let now = admin.set(&id("fields"), clear).await.unwrap();
    assert_eq!((now.site, now.sub), (None, None));

    let version = directory.version();
    admin
        .set(&id("fields"), CameraChange::default())
        .await
        .unwrap();
    assert_eq!(directory.version(), version, "a change of nothing is none");
}

pub(crate) async fn of_two_changes_decided_on_one_record_the_later_is_told(
    directory: &dyn CameraDirectory,
    admin: &dyn CameraAdmin,
) {
    let both = id("both");
    admin.add(camera("both", &[12])).await.unwrap();
    let seen = Camera::clone(directory.snapshot().get(&both).unwrap());
    let source = |change: fn(&mut Source)| {
        let mut main = seen.main.clone();
        change(&mut main);
        CameraChange {
            main: Some(main),
            decided_on: Some(Box::new(seen.clone())),
            ..CameraChange::default()
        }
    };
    let path = source(|main| main.path = Some("/stream".into()));
    let basic = source(|main| main.allow_basic = true);
    let (one, other) = tokio::join!(admin.set(&both, path), admin.set(&both, basic.clone()));
    let lost = [&one, &other].into_iter().filter(|set| set.is_err());
    assert_eq!(lost.count(), 1, "{one:?} {other:?}");
    let lost = one.and(other).unwrap_err();
    assert!(matches!(lost, CameraAdminError::Changed(id) if id == both));
    let now = Camera::clone(directory.snapshot().get(&both).unwrap());
    assert_ne!(now.main, seen.main, "the first stands");
    let again = CameraChange {
        decided_on: Some(Box::new(now)),
        ..basic
    };
    admin.set(&both, again).await.unwrap();
}

pub(crate) async fn a_wrong_field_is_named(
    directory: &dyn CameraDirectory,
    admin: &dyn CameraAdmin,
) {
    let wrong = |change: fn(&mut Camera)| {
        let mut camera = camera("wrong", &[21]);
        change(&mut camera);
        camera
    };
    let path = |text: &str| Source {
        path: Some(text.to_owned()),
        ..Source::default()
    };
    let login = |user: &str, password: &str| Source {
        login: Some(Login {
            user: user.to_owned(),
            password: word(password),
        }),
        ..Source::default()
    };
    let with_main = |main: Source| Camera {
        main,
        ..camera("wrong", &[21])
    };
    let cases = [
        ("title", wrong(|camera| camera.title = "a\nb".into())),
        ("title", wrong(|camera| camera.title = "ä".repeat(201))),
        (
            "site",
            wrong(|camera| camera.site = Some("\u{1b}[2J".into())),
        ),
        ("site", wrong(|camera| camera.site = Some(" ".into()))),
        (
            "timezone",
            wrong(|camera| camera.timezone = "../../etc/passwd".into()),
        ),
        ("timezone", wrong(|camera| camera.timezone = String::new())),
        ("main.path", with_main(path("stream"))),
        ("main.path", with_main(path("/a b"))),
        ("main.path", with_main(path("/a\r\nCSeq: 1"))),
        ("main.user", with_main(login("a:b", "secret"))),
        ("main.user", with_main(login("", "secret"))),
        ("main.password", with_main(login("a", "sec\nret"))),
        (
            "sub.path",
            wrong(|camera| {
                camera.sub = Some(Source {
                    path: Some("x".into()),
                    ..Source::default()
                })
            }),
        ),
        (
            "sub.path",
            wrong(|camera| {
                let of = |path: &str| Source {
                    path: Some(path.into()),
                    ..Source::default()
                };
                (camera.main, camera.sub) = (of("/ch0"), Some(of("/ch0/")));
            }),
        ),
        ("record", wrong(|camera| camera.record = Record::Sub)),
        (
            "retention",
            wrong(|camera| camera.retention = Retention::Days(0)),
        ),
        (
            "retention",
            wrong(|camera| camera.retention = Retention::Days(1000)),
        ),
        (
            "host",
            wrong(|camera| {
                camera.access = Access::Lan {
                    host: "rtsp://192.168.1.5".into(),
                    port: 554,
                }
            }),
        ),
        (
            "port",
            wrong(|camera| {
                camera.access = Access::Lan {
                    host: "192.168.1.5".into(),
                    port: 0,
                }
            }),
        ),
        (
            "forwards",
            wrong(|camera| {
                camera.access = Access::Tunnel {
                    forwards: vec!["rtsp".parse().unwrap()],
                }
            }),
        ),
        (
            "keys",
            wrong(|camera| camera.keys = (30..47).map(key).collect()),
        ),
        (
            "comment",
            wrong(|camera| camera.keys[0].comment = "\0".into()),
        ),
    ];
    for (field, camera) in cases {
        match admin.add(camera).await {
            Err(CameraAdminError::Invalid {
                field: named,
                value,
                expected,
            }) => {
                assert_eq!(named, field);
                assert!(
                    !expected.is_empty() && !value.contains("sec"),
                    "{field}: {value:?}"
                );
            }
            other => panic!("{field}: {other:?}"),
        }
        assert!(directory.snapshot().get(&id("wrong")).is_none(), "{field}");
    }
    let utf8 = Camera {
        title: "ä".repeat(200),
        ..camera("right", &[22])
    };
    admin.add(utf8).await.unwrap();
}

pub(crate) async fn a_key_belongs_to_one_camera(
    directory: &dyn CameraDirectory,
    admin: &dyn CameraAdmin,
    keeps: Keeps,
) {
    admin.add(camera("one", &[51])).await.unwrap();
    admin.add(camera("two", &[52])).await.unwrap();
    match admin.add(camera("three", &[53, 51])).await {
        Err(CameraAdminError::KeyTaken { owner, fingerprint }) => {
            assert_eq!(owner, "camera home/one");
            assert_eq!(fingerprint, key(51).key.fingerprint());
        }
        other => panic!("{other:?}"),
    }
    assert!(directory.snapshot().get(&id("three")).is_none());
    assert!(matches!(
        admin.add_key(&id("two"), key(51)).await,
        Err(CameraAdminError::KeyTaken { .. })
    ));
    match admin.add(camera("acme/one", &[51])).await {
        Ok(()) if keeps.keys_by_tenant => admin.remove(&id("acme/one")).await.unwrap(),
        Err(CameraAdminError::KeyTaken { owner, .. }) if !keeps.keys_by_tenant => {
            assert!(!owner.contains("one"), "a foreign name was told: {owner}")
        }
        other => panic!("{other:?}"),
    }
    admin.revoke_key(&id("one"), &key(51).key).await.unwrap();
    admin.add_key(&id("two"), key(51)).await.unwrap();
    assert_eq!(directory.snapshot().having(&key(51).key), [id("two")]);
}

pub(crate) async fn keys_are_added_once_and_revoked(
    directory: &dyn CameraDirectory,
    admin: &dyn CameraAdmin,
    keeps: Keeps,
) {
    admin.add(camera("keys", &[61, 61])).await.unwrap();
    let keys = || {
        keeps
            .of(directory.snapshot().get(&id("keys")).unwrap())
            .keys
    };
    let key = |seed| keeps.of(&camera("keys", &[seed])).keys.remove(0);
    assert_eq!(keys(), [key(61)]);
    admin.add_key(&id("keys"), key(62)).await.unwrap();
    admin.add_key(&id("keys"), key(62)).await.unwrap();
    assert_eq!(
        keys(),
        [key(61), key(62)],
        "in the order in which they were added"
    );
    admin.revoke_key(&id("keys"), &key(61).key).await.unwrap();
    assert_eq!(keys(), [key(62)]);
    assert!(matches!(
        admin.revoke_key(&id("keys"), &key(61).key).await,
        Err(CameraAdminError::UnknownKey { .. })
    ));
    for seed in 63..78 {
        admin.add_key(&id("keys"), key(seed)).await.unwrap();
    }
    assert_eq!(keys().len(), 16);
    assert!(matches!(
        admin.add_key(&id("keys"), key(78)).await,
        Err(CameraAdminError::Invalid { field: "keys", .. })
    ));
    let (left, right) = tokio::join!(
        admin.add(camera("racer", &[79])),
        admin.add(camera("racer", &[80])),
    );
    assert_eq!(
        [&left, &right]
            .iter()
            .filter(|result| result.is_ok())
            .count(),
        1,
        "{left:?} {right:?}"
    );
}

pub(crate) async fn what_does_not_exist_is_unknown(admin: &dyn CameraAdmin) {
    let ghost = id("ghost");
    admin.add(camera("exists", &[91])).await.unwrap();
    assert!(matches!(
        admin.add(camera("exists", &[92])).await,
        Err(CameraAdminError::Exists(_))
    ));
    assert!(matches!(
        admin.set(&ghost, CameraChange::default()).await,
        Err(CameraAdminError::Unknown(_))
    ));
    assert!(matches!(
        admin.remove(&ghost).await,
        Err(CameraAdminError::Unknown(_))
    ));
    assert!(matches!(
        admin.add_key(&ghost, key(93)).await,
        Err(CameraAdminError::Unknown(_))
    ));
    assert!(matches!(
        admin.revoke_key(&ghost, &key(93).key).await,
        Err(CameraAdminError::Unknown(_))
    ));
    admin.remove(&id("exists")).await.unwrap();
    assert!(matches!(
        admin.remove(&id("exists")).await,
        Err(CameraAdminError::Unknown(_))
    ));
    admin.add(camera("exists", &[91])).await.unwrap();
}
