//! A Camera resource as the record that all parts know, and its owner's part of that back. Errors name the field as the resource calls it (promise P11).

use moorline_core::camera::{Access, Camera, CameraKey, Enabled, Login, Record, RecordBy, Source};
use moorline_core::id::ForwardName;
use moorline_core::network::Network;
use moorline_core::port::CameraAdminError;
use moorline_core::segment::Retention;
use moorline_core::streampoint::Streampoint;
use moorline_core::{CameraId, Masked, PublicKey, Timestamp, check};

use crate::in_force::in_force;
use crate::names;
use crate::resource::{
    self, CameraSpec, EnrolledKey, LoginSpec, OnDelete, PasswordReference, SourceSpec, Sources,
    StreampointSpec,
};

/// A field that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value:?}: {expected}")]
pub struct FieldError {
    /// The field, as a path of the resource.
    pub field: String,
    /// What stands there, shortened.
    pub value: String,
    /// What would be right.
    pub expected: String,
}

impl FieldError {
    fn new(field: impl Into<String>, value: &str, expected: impl std::fmt::Display) -> Self {
        Self {
            field: field.into(),
            value: value.chars().take(80).collect(),
            expected: expected.to_string(),
        }
    }
}

/// The record of a resource that is in force: what its owner wrote, filled in by what is known of the camera (see `in_force`).
///
/// # Errors
/// The first field of the owner's that is wrong.
pub fn to_record(camera: &resource::Camera) -> Result<Camera, FieldError> {
    let written = of_spec(camera)?;
    Ok(match &camera.status {
        Some(status) => in_force(written, status),
        None => written,
    })
}

/// The record of a resource as its owner wrote it.
///
/// Passwords are not in it: they lie in a Secret that only the relay's pod mounts, and stand here empty. A key's time of addition is the
/// resource's creation, since the resource does not say it. A key that came by a token stands behind the owner's.
///
/// # Errors
/// The first field that is wrong.
pub(crate) fn of_spec(camera: &resource::Camera) -> Result<Camera, FieldError> {
    let metadata = &camera.metadata;
    let (namespace, name) = (
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    );
    let id = names::camera(namespace, name).ok_or_else(|| {
        let full = format!("{namespace}/{name}");
        FieldError::new(
            "metadata.name",
            &full,
            "a camera is a DNS label in a namespace t-<tenant>",
        )
    })?;
    let created = born(camera);
    let spec = &camera.spec;
    let forwards = spec.forwards.iter().map(|name| {
        name.parse::<ForwardName>()
            .map_err(|error| FieldError::new("spec.forwards", name, error))
    });
    let networks = spec.allow_from.iter().map(|text| {
        text.parse::<Network>()
            .map_err(|error| FieldError::new("spec.allowFrom", text, error))
    });
    let keys = spec.keys.iter().map(|line| key(line, created));
    let mut keys = keys.collect::<Result<Vec<_>, _>>()?;
    // Where the owner left no room it is not let in, and the camera is served by the others.
    if let Some(enrolled) = enrolled(camera)
        && keys.len() < check::KEYS
        && !keys.iter().any(|known| known.key == enrolled.key)
    {
        keys.push(enrolled);
    }
    let record = Camera {
        title: spec.title.clone().unwrap_or_else(|| name.to_owned()),
        site: spec.site.clone(),
        timezone: spec.timezone.clone(),
        created,
        keys,
        access: Access::Tunnel {
            forwards: forwards.collect::<Result<_, _>>()?,
        },
        main: source(&spec.sources.main),
        sub: spec.sources.sub.as_ref().map(source),
        record: match spec.record.as_str() {
            "main" => Record::Main,
            "sub" => Record::Sub,
            "off" => Record::Off,
            other => {
                return Err(FieldError::new(
                    "spec.record",
                    other,
                    "use main, sub or off",
                ));
            }
        },
        retention: retention("spec.retention", &spec.retention)?,
        enabled: match (spec.stolen, spec.enabled) {
            (true, _) => Enabled::Stolen,
            (false, true) => Enabled::Yes,
            (false, false) => Enabled::Disabled,
        },
        record_by: match spec.record_by.as_deref() {
            None | Some("owner") => RecordBy::Owner,
            Some("auto") => RecordBy::Auto,
            Some(other) => {
                return Err(FieldError::new("spec.recordBy", other, "use owner or auto"));
            }
        },
        streampoint: spec.streampoint.as_ref().map(streampoint).transpose()?,
        allow_from: networks.collect::<Result<_, _>>()?,
        id,
    };
    match check::camera(&record, is_timezone) {
        Ok(()) => Ok(record),
        Err(CameraAdminError::Invalid {
            field,
            value,
            expected,
        }) => Err(FieldError::new(path_of(field), &value, expected)),
        Err(other) => Err(FieldError::new("spec", "", other)),
    }
}

/// Whether a text names a zone of the IANA database.
pub(crate) fn is_timezone(name: &str) -> bool {
    jiff::tz::db().get(name).is_ok()
}

/// Where the resource keeps a field of the record.
fn path_of(field: &str) -> String {
    match field.split_once('.') {
        Some(("streampoint", part)) => format!("spec.streampoint.{part}"),
        Some((source, "path")) => format!("spec.sources.{source}.path"),
        Some((source, "user")) => format!("spec.sources.{source}.login.user"),
        Some((source, _)) => format!("spec.sources.{source}.login"),
        None if field == "comment" => "spec.keys".into(),
        None if field == "record_by" => "spec.recordBy".into(),
        None if field == "allow_from" => "spec.allowFrom".into(),
        None => format!("spec.{field}"),
    }
}

/// Who spent the token that the spec has (rule S3), taken back or not.
pub(crate) fn spent(camera: &resource::Camera) -> Option<&EnrolledKey> {
    let token = camera.spec.enrolment.as_ref()?;
    let spent = camera.status.as_ref()?.enrolled_key.as_ref()?;
    (spent.token_hash == token.token_hash).then_some(spent)
}

/// The key that came by that token, unless it was taken back. What no key of a record may be is none: a status makes no camera one that is not served.
pub(crate) fn enrolled(camera: &resource::Camera) -> Option<CameraKey> {
    let token = camera.spec.enrolment.as_ref()?;
    let spent = spent(camera).filter(|_| !token.revoked)?;
    let enrolled = key(&spent.key, spent.since).ok();
    enrolled.filter(|enrolled| check::keys(std::slice::from_ref(enrolled)).is_ok())
}

pub(crate) fn key(line: &str, added: Timestamp) -> Result<CameraKey, FieldError> {
    let key: PublicKey = line
        .parse()
        .map_err(|error| FieldError::new("spec.keys", line, error))?;
    // Two words are the key; the rest, however many words, is the note.
    let comment = line
        .trim()
        .splitn(3, [' ', '\t'])
        .nth(2)
        .unwrap_or_default();
    Ok(CameraKey {
        key,
        added,
        comment: comment.trim().to_owned(),
    })
}

fn streampoint(spec: &StreampointSpec) -> Result<Streampoint, FieldError> {
    let keys = spec.keys.iter().map(|line| {
        line.parse::<PublicKey>()
            .map_err(|error| FieldError::new("spec.streampoint.keys", line, error))
    });
    Ok(Streampoint {
        user: spec.user.clone(),
        host: spec.host.clone(),
        port: spec.port,
        keys: keys.collect::<Result<_, _>>()?,
        ttl: spec.ttl,
    })
}

/// Whether both name the same server: a key may have a note behind it.
pub(crate) fn is_same_server(one: &StreampointSpec, other: &StreampointSpec) -> bool {
    matches!((streampoint(one), streampoint(other)), (Ok(one), Ok(other)) if one == other)
}

fn source(source: &SourceSpec) -> Source {
    Source {
        path: source.path.clone(),
        login: source.login.as_ref().map(|login| Login {
            user: login.user.clone(),
            password: Masked::default(),
        }),
        allow_basic: source.allow_basic,
    }
}

/// `30d` or `keep`, as people write it; stored keys say `r030`.
pub(crate) fn retention(field: &str, text: &str) -> Result<Retention, FieldError> {
    let days = text.strip_suffix('d').filter(|days| !days.starts_with('0'));
    match days.map(str::parse::<u16>) {
        Some(Ok(days)) if (1..=999).contains(&days) => Ok(Retention::Days(days)),
        None if text == "keep" => Ok(Retention::Keep),
        _ => Err(FieldError::new(field, text, "use 1d to 999d, or keep")),
    }
}

pub(crate) fn retention_text(retention: Retention) -> String {
    match retention {
        Retention::Days(days) => format!("{days}d"),
        Retention::Keep => "keep".into(),
    }
}

/// The spec of a record as its owner wrote it (`in_force::written` takes the rest out), without a token. Passwords are left to the Secret
/// `<camera>-rtsp`, under the keys `main` and `sub`.
///
/// # Errors
/// [`CameraAdminError::Invalid`] for what a cluster does not have.
pub fn to_spec(camera: &Camera, class: &str) -> Result<CameraSpec, CameraAdminError> {
    let Access::Tunnel { forwards } = &camera.access else {
        return Err(CameraAdminError::Invalid {
            field: "access",
            value: "lan".into(),
            expected: "a cluster reaches cameras by their tunnels only; a camera in the local network needs `moorline serve` there",
        });
    };
    let name = camera.id.name();
    Ok(CameraSpec {
        enabled: camera.enabled.is_yes(),
        stolen: camera.enabled == Enabled::Stolen,
        title: Some(camera.title.clone()).filter(|title| title != name && !title.is_empty()),
        site: camera.site.clone(),
        timezone: camera.timezone.clone(),
        class: class.to_owned(),
        keys: camera.keys.iter().map(key_line).collect(),
        enrolment: None,
        forwards: forwards.iter().map(ToString::to_string).collect(),
        allow_from: camera.allow_from.iter().map(ToString::to_string).collect(),
        streampoint: camera.streampoint.as_ref().map(streampoint_spec),
        sources: Sources {
            main: source_spec(name, "main", &camera.main),
            sub: camera.sub.as_ref().map(|sub| source_spec(name, "sub", sub)),
        },
        record: match camera.record {
            Record::Main => "main",
            Record::Sub => "sub",
            Record::Off => "off",
        }
        .into(),
        record_by: (camera.record_by == RecordBy::Auto).then(|| "auto".to_owned()),
        retention: retention_text(camera.retention),
        on_delete: OnDelete::default(),
        newer: resource::Newer::new(),
    })
}

pub(crate) fn key_line(key: &CameraKey) -> String {
    format!("{} {}", key.key, key.comment).trim_end().to_owned()
}

fn streampoint_spec(streampoint: &Streampoint) -> StreampointSpec {
    StreampointSpec {
        user: streampoint.user.clone(),
        host: streampoint.host.clone(),
        port: streampoint.port,
        keys: streampoint.keys.iter().map(ToString::to_string).collect(),
        ttl: streampoint.ttl,
    }
}

fn source_spec(camera: &str, name: &str, source: &Source) -> SourceSpec {
    SourceSpec {
        path: source.path.clone(),
        login: source.login.as_ref().map(|login| LoginSpec {
            user: login.user.clone(),
            password_secret_ref: PasswordReference {
                name: names::password_secret(camera),
                key: name.to_owned(),
            },
        }),
        allow_basic: source.allow_basic,
    }
}

/// When the resource was made.
pub(crate) fn born(camera: &resource::Camera) -> Timestamp {
    let created = camera.metadata.creation_timestamp.as_ref();
    Timestamp::from_millis(created.map_or(0, |time| time.0.as_millisecond()))
}

/// The id of a resource, if it can be a camera's.
pub(crate) fn id_of(camera: &resource::Camera) -> Option<CameraId> {
    let metadata = &camera.metadata;
    names::camera(metadata.namespace.as_deref()?, metadata.name.as_deref()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT";

    fn elsewhere() -> StreampointSpec {
        StreampointSpec {
            user: "acme/yard".into(),
            host: "b.example.com".into(),
            port: 2222,
            keys: vec![KEY.into()],
            ttl: Some(3_600),
        }
    }

    fn camera(change: impl FnOnce(&mut CameraSpec)) -> resource::Camera {
        let mut spec: CameraSpec = serde_json::from_str("{}").unwrap();
        change(&mut spec);
        let mut camera = resource::Camera::new("yard", spec);
        camera.metadata.namespace = Some("t-acme".into());
        camera
    }

    #[test]
    fn an_empty_spec_is_a_camera_with_the_defaults() {
        let record = to_record(&camera(|_| ())).unwrap();
        assert_eq!(record.id.to_string(), "acme/yard");
        assert_eq!(
            (record.title.as_str(), record.retention),
            ("yard", Retention::Days(14))
        );
        assert_eq!(record.enabled, Enabled::Yes);
    }

    #[test]
    fn a_record_comes_back_from_its_spec() {
        let mut record = to_record(&camera(|spec| {
            spec.keys = vec![format!("{KEY} the old board")];
            spec.title = Some("Einfahrt «Süd»".into());
            spec.stolen = true;
            spec.enabled = false;
            spec.retention = "keep".into();
            spec.forwards = vec!["http".into()];
            spec.allow_from = vec!["192.0.2.0/24".into(), "2001:db8::7".into()];
            spec.record_by = Some("auto".into());
            spec.streampoint = Some(elsewhere());
        }))
        .unwrap();
        record.main.login = Some(Login {
            user: "admin".into(),
            password: Masked::new("hunter2".into()),
        });
        let spec = to_spec(&record, "standard").unwrap();
        assert!(!serde_json::to_string(&spec).unwrap().contains("hunter2"));
        let back = to_record(&camera(|given| *given = spec)).unwrap();
        record.main.login.as_mut().unwrap().password = Masked::default();
        assert_eq!(back, record);
        assert_eq!(back.keys[0].comment, "the old board");
    }

    #[test]
    fn a_wrong_field_is_named_as_the_resource_calls_it() {
        type Change = fn(&mut CameraSpec);
        let cases: [(&str, Change); 14] = [
            ("spec.keys", |spec| spec.keys = vec!["ssh-dss AAAA".into()]),
            ("spec.retention", |spec| spec.retention = "0d".into()),
            ("spec.retention", |spec| spec.retention = "030d".into()),
            ("spec.timezone", |spec| {
                spec.timezone = "Europe/Nowhere".into()
            }),
            ("spec.forwards", |spec| spec.forwards = vec!["RTSP".into()]),
            ("spec.allowFrom", |spec| {
                spec.allow_from = vec!["192.0.2.7/24".into()];
            }),
            ("spec.allowFrom", |spec| {
                spec.allow_from = vec!["192.0.2.7".into(); 17];
            }),
            ("spec.streampoint.user", |spec| {
                let user = "-oProxyCommand".into();
                spec.streampoint = Some(StreampointSpec {
                    user,
                    ..elsewhere()
                });
            }),
            ("spec.streampoint.keys", |spec| {
                let keys = vec!["ssh-dss AAAA".into()];
                spec.streampoint = Some(StreampointSpec {
                    keys,
                    ..elsewhere()
                });
            }),
            ("spec.streampoint.keys", |spec| {
                let keys = vec![KEY.into(), KEY.into()];
                spec.streampoint = Some(StreampointSpec {
                    keys,
                    ..elsewhere()
                });
            }),
            ("spec.sources.main.path", |spec| {
                spec.sources.main.path = Some("a b".into());
            }),
            ("spec.record", |spec| spec.record = "everything".into()),
            ("spec.recordBy", |spec| {
                spec.record_by = Some("uplink".into());
            }),
            ("spec.recordBy", |spec| {
                spec.record = "off".into();
                spec.record_by = Some("auto".into());
            }),
        ];
        for (field, change) in cases {
            let error = to_record(&camera(change)).unwrap_err();
            assert_eq!(error.field, field, "{error}");
        }
        let mut elsewhere = camera(|_| ());
        elsewhere.metadata.namespace = Some("default".into());
        assert_eq!(to_record(&elsewhere).unwrap_err().field, "metadata.name");
    }

    #[test]
    fn a_key_counts_while_the_token_by_which_it_came_stands() {
        let hash = |of: char| format!("sha256:{}", of.to_string().repeat(64));
        let token = |spec: &mut CameraSpec| {
            spec.enrolment = Some(resource::EnrolmentSpec {
                token_hash: hash('a'),
                expires: Timestamp::from_millis(1),
                revoked: false,
                created: None,
                batch: None,
                claimed: false,
                comment: None,
            });
        };
        let mut camera = camera(token);
        camera.status = Some(resource::CameraStatus {
            enrolled_key: Some(EnrolledKey {
                key: format!("{KEY} enrolled: t31 02:00:00:00:00:07"),
                token_hash: hash('a'),
                since: Timestamp::from_millis(7),
                reused: None,
                newer: resource::Newer::new(),
            }),
            ..resource::CameraStatus::default()
        });
        let keys = |camera: &resource::Camera| to_record(camera).unwrap().keys;
        let key = keys(&camera).remove(0);
        assert_eq!(
            (key.added, key.comment.as_str()),
            (Timestamp::from_millis(7), "enrolled: t31 02:00:00:00:00:07")
        );
        let mut kept = camera.clone();
        kept.spec.keys = vec![format!("{KEY} kept")];
        assert_eq!(keys(&kept).len(), 1, "it is one key");
        let mut foreign = camera.clone();
        let spent = foreign.status.as_mut().unwrap().enrolled_key.as_mut();
        spent.unwrap().key = format!("{KEY} {}", "x".repeat(201));
        assert_eq!(keys(&foreign), [], "no note of a key, and a camera");
        let mut revoked = camera.clone();
        revoked.spec.enrolment.as_mut().unwrap().revoked = true;
        let mut another = camera.clone();
        another.spec.enrolment.as_mut().unwrap().token_hash = hash('b');
        let mut none = camera;
        none.spec.enrolment = None;
        for camera in [revoked, another, none] {
            assert_eq!(keys(&camera), [], "{:?}", camera.spec.enrolment);
        }
    }

    #[test]
    fn the_camera_of_the_guide_is_one() {
        let page =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/kubernetes.md");
        let text = std::fs::read_to_string(page).unwrap();
        let blocks = text
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next());
        let cameras: Vec<&str> = blocks
            .filter(|block| block.contains("kind: Camera\n"))
            .collect();
        assert_eq!(cameras.len(), 1);
        let camera: resource::Camera = serde_saphyr::from_str(cameras[0]).unwrap();
        let record = to_record(&camera).unwrap();
        assert_eq!(
            (record.id.to_string().as_str(), record.keys.len()),
            ("acme/gate", 1)
        );
    }
}
