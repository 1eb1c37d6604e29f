//! A request's fields become changes of a camera record, each checked, all or none (promise P11).

use moorline_core::Masked;
use moorline_core::camera::{Access, Camera, Login, Source};
use moorline_core::network::Network;
use moorline_core::port::CameraChange;
use moorline_core::segment::Retention;

use crate::api::{CameraPatch, RecordAsked};
use crate::problem::Problem;

/// The port of RTSP (RFC 2326).
const RTSP_PORT: u16 = 554;

/// What Basic is allowed with.
const LOGIN_ANEW: &str = "give the camera's login and password with it (--login): Basic shows the stored one to whoever calls as the camera";

/// What `patch` asks to change in `camera`.
///
/// # Errors
/// The first field that is wrong.
pub(super) fn change(camera: &Camera, patch: CameraPatch) -> Result<CameraChange, Problem> {
    let chosen = patch.record.map(RecordAsked::chosen);
    let mut change = CameraChange {
        title: patch.new_title.map(|title| titled(camera, title)),
        site: patch
            .site
            .map(|site| Some(site).filter(|site| !site.is_empty())),
        timezone: patch.timezone,
        record: chosen.map(|(record, _)| record),
        record_by: chosen.map(|(_, by)| by),
        retention: patch.keep_days.map(retention).transpose()?,
        enabled: patch.enabled,
        allow_from: patch.allow_from.as_deref().map(networks).transpose()?,
        ..CameraChange::default()
    };
    let mut main = camera.main.clone();
    let mut sub = camera.sub.clone();
    let had_login = std::iter::once(&main)
        .chain(&sub)
        .any(|source| source.login.is_some());
    if let Some(names) = patch.forwards {
        let title = "a camera in your own network has no tunnel, and so no forwards: remove it, and add it without --rtsp";
        if patch.rtsp.is_some() || matches!(camera.access, Access::Lan { .. }) {
            return Err(Problem::invalid("forwards", &names.join(","), title));
        }
        let forwards = names.iter().map(|name| {
            name.parse()
                .map_err(|error| invalid("forwards", name, &error))
        });
        change.access = Some(Access::Tunnel {
            forwards: forwards.collect::<Result<_, _>>()?,
        });
    }
    if let Some(url) = patch.rtsp {
        let (access, path) = lan(&url)?;
        main.path = path.or(main.path);
        // A stored password is for the device that it was given for: another address must not draw it out (S23).
        if access != camera.access {
            main.login = None;
            sub.iter_mut().for_each(|sub| sub.login = None);
        }
        change.access = Some(access);
    }
    if let Some(path) = patch.path {
        main.path = checked_path("path", path)?;
    }
    if let Some(path) = patch.sub_path {
        sub = checked_path("sub_path", path)?.map(|path| Source {
            path: Some(path),
            ..sub.unwrap_or(main.clone())
        });
    }
    let given = patch.password.as_deref();
    let given = given.is_some_and(|password| !password.is_empty());
    let login = match (patch.user, patch.password) {
        (Some(user), _) if user.is_empty() => Some(None),
        (Some(user), password) => Some(Some(Login {
            user,
            password: Masked::new(password.unwrap_or_default()),
        })),
        (None, Some(_)) => return Err(Problem::invalid("user", "", "a password needs a user")),
        (None, None) => None,
    };
    for source in std::iter::once(&mut main).chain(sub.as_mut()) {
        if let Some(login) = &login {
            source.login.clone_from(login);
        }
        let allows = patch.allow_basic == Some(true) && !source.allow_basic;
        // Nor may Basic, which shows it to whoever calls as the camera, draw it out: with a key that was added a moment ago, say (S23).
        if allows && source.login.is_some() && had_login && !given {
            return Err(Problem::invalid("allow_basic", "true", LOGIN_ANEW));
        }
        source.allow_basic = patch.allow_basic.unwrap_or(source.allow_basic);
    }
    change.main = (main != camera.main).then_some(main);
    change.sub = (sub != camera.sub).then_some(sub);
    Ok(change)
}

fn networks(texts: &[String]) -> Result<Vec<Network>, Problem> {
    let network = |text: &String| {
        let read = text.trim().parse();
        read.map_err(|error| invalid("allow_from", text, &error))
    };
    texts.iter().map(network).collect()
}

/// A title without a letter is none: the camera has its name again.
fn titled(camera: &Camera, title: String) -> String {
    if title.trim().is_empty() {
        camera.id.name().to_owned()
    } else {
        title
    }
}

/// A number of days as a retention class.
///
/// # Errors
/// More than 999 days.
pub(super) fn retention(days: u16) -> Result<Retention, Problem> {
    match days {
        0 => Ok(Retention::Keep),
        1..=999 => Ok(Retention::Days(days)),
        _ => Err(Problem::invalid(
            "keep_days",
            &days.to_string(),
            "write 1 to 999, or 0 for ever",
        )),
    }
}

fn invalid(field: &str, value: &str, error: &dyn std::fmt::Display) -> Problem {
    Problem::invalid(field, value, error.to_string())
}

fn checked_path(field: &str, path: String) -> Result<Option<String>, Problem> {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
    match path.as_str() {
        "" => Ok(None),
        text if text.starts_with('/') && plain && text.len() <= 1024 => Ok(Some(path)),
        text => Err(Problem::invalid(
            field,
            text,
            "write the part of the URL after host and port, from / on",
        )),
    }
}

/// `rtsp://host[:port][/path]` of a camera in our own network.
fn lan(url: &str) -> Result<(Access, Option<String>), Problem> {
    let wrong = |expected: &str| {
        // Without the login, which may be a password.
        let shown = match url.rsplit_once('@') {
            Some((_, rest)) if url.starts_with("rtsp://") => format!("rtsp://{rest}"),
            Some((_, rest)) => rest.to_owned(),
            None => url.to_owned(),
        };
        Problem::invalid("rtsp", &shown, expected)
    };
    let rest = url
        .strip_prefix("rtsp://")
        .ok_or_else(|| wrong("write it like rtsp://192.168.1.5/stream"))?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    if authority.contains('@') {
        return Err(wrong(
            "leave the login out of the URL and set it with user and password (--login)",
        ));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (
            host,
            port.parse().map_err(|_| wrong("the port is 1 to 65535"))?,
        ),
        _ => (authority, RTSP_PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:_".contains(&byte);
    if host.is_empty() || port == 0 || !host.bytes().all(plain) {
        return Err(wrong("write it like rtsp://192.168.1.5/stream"));
    }
    Ok((
        Access::Lan {
            host: host.to_owned(),
            port,
        },
        checked_path("rtsp", path.to_owned())?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hall() -> Camera {
        let login = Login {
            user: "admin".to_owned(),
            password: Masked::new("hunter2".to_owned()),
        };
        Camera {
            title: "Hall".to_owned(),
            access: Access::Lan {
                host: "192.168.1.5".to_owned(),
                port: 554,
            },
            main: Source {
                path: None,
                login: Some(login),
                allow_basic: false,
            },
            ..Camera::new(
                "hall".parse().unwrap(),
                moorline_core::Timestamp::default(),
                Retention::Days(14),
            )
        }
    }

    #[test]
    fn a_camera_in_the_own_network_does_not_become_one_behind_a_tunnel_by_a_slip() {
        let patch = CameraPatch {
            forwards: Some(vec!["http".to_owned()]),
            ..CameraPatch::default()
        };
        assert!(change(&hall(), patch).is_err());
    }

    #[test]
    fn a_stored_login_does_not_follow_to_another_address() {
        let camera = hall();
        let moved = |url: &str| {
            let patch = CameraPatch {
                rtsp: Some(url.to_owned()),
                ..CameraPatch::default()
            };
            change(&camera, patch).unwrap()
        };
        assert_eq!(moved("rtsp://192.168.1.6/").main.unwrap().login, None);
        assert_eq!(
            moved("rtsp://192.168.1.5/x").main.unwrap().login,
            camera.main.login
        );
    }

    /// S23.
    #[test]
    fn basic_does_not_draw_out_a_stored_password() {
        let camera = hall();
        let allowed = |camera: &Camera, user: Option<&str>, password: Option<&str>| {
            let patch = CameraPatch {
                allow_basic: Some(true),
                user: user.map(str::to_owned),
                password: password.map(str::to_owned),
                ..CameraPatch::default()
            };
            change(camera, patch).map(|change| change.main.map(|main| main.allow_basic))
        };
        let told = format!("{:?}", allowed(&camera, None, None).unwrap_err());
        assert!(told.contains("--login"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
        for password in [None, Some("")] {
            assert!(allowed(&camera, Some("admin"), password).is_err());
        }
        let anew = allowed(&camera, Some("admin"), Some("hunter2"));
        assert_eq!(anew.unwrap(), Some(true));
        assert_eq!(allowed(&camera, Some(""), None).unwrap(), Some(true));

        let mut allows = hall();
        allows.main.allow_basic = true;
        assert_eq!(allowed(&allows, None, None).unwrap(), None, "as it is");
        let mut without = hall();
        without.main.login = None;
        assert_eq!(allowed(&without, None, None).unwrap(), Some(true));
    }

    #[test]
    fn s4_networks_are_taken_all_or_none() {
        let asked = |networks: &[&str]| {
            let patch = CameraPatch {
                allow_from: Some(networks.iter().map(|&text| text.to_owned()).collect()),
                ..CameraPatch::default()
            };
            change(&hall(), patch).map(|change| change.allow_from)
        };
        let shop: Network = "192.0.2.0/24".parse().unwrap();
        assert_eq!(asked(&["192.0.2.0/24"]).unwrap(), Some(vec![shop]));
        assert_eq!(asked(&[]).unwrap(), Some(Vec::new()), "from anywhere again");
        let told = format!(
            "{:?}",
            asked(&["192.0.2.0/24", "192.0.2.7/24"]).unwrap_err()
        );
        assert!(told.contains("allow_from"), "{told}");
        assert!(told.contains("or 192.0.2.7 for that address"), "{told}");
    }

    #[test]
    fn a_camera_whose_title_is_taken_away_has_its_name() {
        let titled = |title: &str| {
            let patch = CameraPatch {
                new_title: Some(title.to_owned()),
                ..CameraPatch::default()
            };
            change(&hall(), patch).unwrap().title
        };
        assert_eq!(titled("  "), Some("hall".to_owned()));
        assert_eq!(titled("The hall"), Some("The hall".to_owned()));
    }

    #[test]
    fn a_lan_url_is_taken_apart_and_a_login_in_it_refused() {
        let lan_of = |host: &str, port| Access::Lan {
            host: host.to_owned(),
            port,
        };
        assert_eq!(
            lan("rtsp://192.168.1.5/ch0?x=1").unwrap(),
            (lan_of("192.168.1.5", 554), Some("/ch0?x=1".to_owned()))
        );
        assert_eq!(
            lan("rtsp://cam.local:8554").unwrap(),
            (lan_of("cam.local", 8554), None)
        );
        assert_eq!(
            lan("rtsp://[fe80::1]:8554/").unwrap(),
            (lan_of("fe80::1", 8554), Some("/".to_owned()))
        );
        for bad in [
            "http://x/",
            "rtsp://",
            "rtsp://a:b@x/",
            "rtsp://x:0/",
            "rtsp://x:70000/",
            "rtsp://a b/",
        ] {
            assert!(lan(bad).is_err(), "{bad}");
        }
        let Err(problem) = lan("rtsp://admin:hunter2@x/") else {
            panic!("a login in a URL")
        };
        assert!(
            !format!("{problem:?}").contains("hunter2"),
            "the password is not repeated"
        );
    }
}
