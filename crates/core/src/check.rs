//! What a camera's fields may be (promise P11), in every adapter: each refusal names the field, the value and what would be right.

use std::net::IpAddr;

use crate::camera::{Access, Camera, CameraKey, Record, RecordBy, Source};
use crate::network::listed;
use crate::port::CameraAdminError;
use crate::segment::Retention;

/// The longest title, site, comment, user or password, in characters.
const TEXT: usize = 200;
/// The longest path of a source, in bytes: what fits one RTSP request line everywhere.
const PATH: usize = 1_024;
/// More keys than a camera has firmware slots for.
pub const KEYS: usize = 16;
/// More networks than a camera travels through.
const NETWORKS: usize = 16;
/// More forwards than a camera has services.
const FORWARDS: usize = 8;

fn invalid(
    field: &'static str,
    value: impl Into<String>,
    expected: &'static str,
) -> CameraAdminError {
    CameraAdminError::Invalid {
        field,
        value: value.into().chars().take(TEXT).collect(),
        expected,
    }
}

fn is_text(text: &str) -> bool {
    text.chars().count() <= TEXT && !text.chars().any(char::is_control)
}

/// Checks a whole record. `is_timezone` tells whether a text names a zone of the IANA database, which is a file of the system's.
///
/// # Errors
/// [`CameraAdminError::Invalid`] for the first field that is wrong.
pub fn camera(
    camera: &Camera,
    is_timezone: impl FnOnce(&str) -> bool,
) -> Result<(), CameraAdminError> {
    const PLAIN: &str = "use at most 200 characters on one line";
    if !is_text(&camera.title) {
        return Err(invalid("title", camera.title.as_str(), PLAIN));
    }
    if let Some(site) = &camera.site
        && (!is_text(site) || site.trim().is_empty())
    {
        return Err(invalid(
            "site",
            site.as_str(),
            "use 1 to 200 characters on one line",
        ));
    }
    if !is_timezone(&camera.timezone) {
        let expected = "use a name of the IANA time zone database, such as Europe/Berlin or UTC";
        return Err(invalid("timezone", camera.timezone.as_str(), expected));
    }
    match &camera.access {
        Access::Tunnel { forwards } => {
            let reserved = forwards.iter().any(|name| name.as_str() == "rtsp");
            let repeated = forwards
                .iter()
                .enumerate()
                .any(|(index, name)| forwards.iter().take(index).any(|other| other == name));
            if forwards.len() > FORWARDS || reserved || repeated {
                let names: Vec<_> = forwards.iter().map(|name| name.as_str()).collect();
                let expected =
                    "name at most 8 forwards after the first, each once; rtsp is the first already";
                return Err(invalid("forwards", names.join(","), expected));
            }
        }
        Access::Lan { host, port } => {
            if !is_host(host) {
                let expected =
                    "give a host name or an address without scheme and port, such as 192.168.1.5";
                return Err(invalid("host", host.as_str(), expected));
            }
            if *port == 0 {
                return Err(invalid(
                    "port",
                    "0",
                    "use 1 to 65535; RTSP servers listen on 554",
                ));
            }
        }
    }
    source(&camera.main, ["main.path", "main.user", "main.password"])?;
    if let Some(sub) = &camera.sub {
        source(sub, ["sub.path", "sub.user", "sub.password"])?;
        if let (Some(main), Some(path)) = (&camera.main.path, &sub.path)
            && main.trim_end_matches('/') == path.trim_end_matches('/')
        {
            return Err(invalid(
                "sub.path",
                path.as_str(),
                "this is the path of main, and the camera would be read twice for one picture: name its second stream, or leave sub out",
            ));
        }
    }
    if camera.record == Record::Sub && camera.sub.is_none() {
        return Err(invalid(
            "record",
            "sub",
            "the camera has no sub source: give it one, or use main or off",
        ));
    }
    let chosen = match camera.record_by {
        RecordBy::Owner => true,
        RecordBy::Auto => camera.record == Record::Main,
        RecordBy::Uplink => camera.record == Record::Sub,
    };
    if !chosen {
        return Err(invalid(
            "record_by",
            camera.record_by.as_str(),
            "auto goes with main, uplink with sub",
        ));
    }
    if let Some(streampoint) = &camera.streampoint {
        streampoint.check()?;
        if matches!(camera.access, Access::Lan { .. }) {
            return Err(invalid(
                "streampoint",
                streampoint.to_string(),
                "only a camera with a tunnel can take its stream elsewhere",
            ));
        }
    }
    if !camera.allow_from.is_empty() {
        let refused = |expected| Err(invalid("allow_from", listed(&camera.allow_from), expected));
        if matches!(camera.access, Access::Lan { .. }) {
            return refused(
                "only a camera with a tunnel calls: a camera in your own network is called",
            );
        }
        if camera.allow_from.len() > NETWORKS {
            return refused("list at most 16 networks, or none for any");
        }
    }
    if let Retention::Days(days) = camera.retention
        && !(1..=999).contains(&days)
    {
        return Err(invalid(
            "retention",
            days.to_string(),
            "use 1 to 999 days, or keep",
        ));
    }
    keys(&camera.keys)
}

/// Checks the keys of a record.
///
/// # Errors
/// [`CameraAdminError::Invalid`]: too many, or a comment that is no text.
pub fn keys(keys: &[CameraKey]) -> Result<(), CameraAdminError> {
    if keys.len() > KEYS {
        return Err(invalid(
            "keys",
            format!("{} keys", keys.len()),
            "use at most 16: revoke old ones first",
        ));
    }
    match keys.iter().find(|key| !is_text(&key.comment)) {
        Some(key) => Err(invalid(
            "comment",
            key.comment.as_str(),
            "use at most 200 characters on one line",
        )),
        None => Ok(()),
    }
}

/// Whether a text can be path and query of an RTSP URL.
pub fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.len() <= PATH && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn source(
    source: &Source,
    [path, user, password]: [&'static str; 3],
) -> Result<(), CameraAdminError> {
    if let Some(text) = &source.path
        && !is_path(text)
    {
        let expected = "give path and query of the RTSP URL from the first / on, without spaces, such as /ch0?stream=1";
        return Err(invalid(path, text.as_str(), expected));
    }
    let Some(login) = &source.login else {
        return Ok(());
    };
    // RFC 7617: a colon would end the user in Basic.
    if !is_text(&login.user) || login.user.is_empty() || login.user.contains(':') {
        return Err(invalid(
            user,
            login.user.as_str(),
            "use 1 to 200 characters on one line, without a colon",
        ));
    }
    if !is_text(login.password.reveal()) {
        return Err(invalid(
            password,
            "***",
            "use at most 200 characters on one line",
        ));
    }
    Ok(())
}

/// A host name (RFC 1123; underscores occur in real networks) or an address, bare.
fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A name whose last label is a number is an address that was mistyped: 192.168.1.500.
    let numeric = |host: &str| {
        host.rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
    };
    host.parse::<IpAddr>().is_ok()
        || (host.len() <= 253 && host.split('.').all(label) && !numeric(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_bare_names_or_addresses() {
        for good in [
            "192.168.1.5",
            "fe80::1",
            "camera",
            "cam_1.lan",
            "a-b.example.com",
        ] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            "rtsp://192.168.1.5",
            "192.168.1.500",
            "192.168.1.5:554",
            "[fe80::1]",
            "a b",
            "-a",
            "a..b",
            "1234",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
