//! What RTSP needs of URLs: splitting without losing how they were typed.
//!
//! A general URL library normalises, and a camera's `a=control` or a client's Digest `uri` must come back byte for byte.

/// An absolute URL in parts, as typed. User information is left out: it never belongs into a log or an answer (P10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UrlParts<'a> {
    /// Before `://`.
    pub scheme: &'a str,
    /// Host and port.
    pub authority: &'a str,
    /// What follows the authority: empty, or beginning with `/` or `?`.
    pub rest: &'a str,
}

/// Splits an absolute URL; `None` for a path, `*`, or a URL without a host.
#[must_use]
pub fn split(url: &str) -> Option<UrlParts<'_>> {
    let (scheme, after) = url.split_once("://")?;
    if scheme.is_empty()
        || !scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    {
        return None;
    }
    let end = after.find(['/', '?']).unwrap_or(after.len());
    let (authority, rest) = after.split_at_checked(end)?;
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    if authority.is_empty() {
        None
    } else {
        Some(UrlParts {
            scheme,
            authority,
            rest,
        })
    }
}

/// Path and query of a URL or path; what stands before is dropped.
#[must_use]
pub fn path_and_query(url: &str) -> &str {
    split(url).map_or(url, |parts| parts.rest)
}

/// `base` + one slash + `tail`, as ffmpeg and live555 join (a query of the base stays in the middle: Dahua wants it so).
#[must_use]
pub fn append(base: &str, tail: &str) -> String {
    format!(
        "{}/{}",
        base.trim_end_matches('/'),
        tail.trim_start_matches('/')
    )
}

/// The target of a request as a server reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Scheme as typed; `None` where the client sent a path only.
    pub scheme: Option<String>,
    /// Host and port as typed.
    pub authority: Option<String>,
    /// Path without track, query and outer slashes: `camera-1/sub`. Empty for `*` or a bare host.
    pub path: String,
    /// Query without `?`, empty if there is none.
    pub query: String,
    /// The number after the last `trackID=` or `streamid=`.
    pub track: Option<usize>,
}

impl Target {
    /// Reads a request URI. Never fails: what names nothing has an empty path.
    #[must_use]
    pub fn parse(uri: &str) -> Self {
        let parts = split(uri);
        let rest = parts.map_or(uri, |p| p.rest);
        let rest = if rest == "*" { "" } else { rest };
        let (rest, track) = split_track(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Self {
            scheme: parts.map(|p| p.scheme.to_owned()),
            authority: parts.map(|p| p.authority.to_owned()),
            path: path.trim_matches('/').to_owned(),
            query: query.trim_end_matches('/').to_owned(),
            track,
        }
    }

    /// The value of a query parameter (`start=gop`).
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// `rtsp://host/path` with the scheme and host that the client typed, without query and trailing slash. `fallback` stands in for the
    /// scheme and host of a path-only request.
    #[must_use]
    pub fn base(&self, fallback: &str) -> String {
        match (&self.scheme, &self.authority) {
            (Some(scheme), Some(authority)) => {
                append(&format!("{scheme}://{authority}"), &self.path)
            }
            _ => append(fallback, &self.path),
        }
    }
}

fn split_track(rest: &str) -> (&str, Option<usize>) {
    let lower = rest.to_ascii_lowercase();
    let found = ["trackid=", "streamid="]
        .iter()
        .filter_map(|key| lower.rfind(key).map(|at| (at, key.len())))
        .max();
    let Some((at, key_len)) = found else {
        return (rest, None);
    };
    let digits = rest.get(at + key_len..).unwrap_or_default();
    let digits = digits
        .get(
            ..digits
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(digits.len()),
        )
        .unwrap_or_default();
    match digits.parse() {
        Ok(track) => (
            rest.get(..at)
                .unwrap_or_default()
                .trim_end_matches(['/', '&', '?']),
            Some(track),
        ),
        Err(_) => (rest, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn track_is_found_after_path_and_after_query() {
        let plain = Target::parse("rtsp://h:8554/camera-1/sub/trackID=3");
        assert_eq!(
            (plain.path.as_str(), plain.track),
            ("camera-1/sub", Some(3))
        );
        let ffmpeg = Target::parse("rtsp://h/ch0?x=1&y=2/trackID=0");
        assert_eq!(
            (ffmpeg.path.as_str(), ffmpeg.query.as_str(), ffmpeg.track),
            ("ch0", "x=1&y=2", Some(0))
        );
        assert_eq!(ffmpeg.parameter("y"), Some("2"));
        let other = Target::parse("/cam/StreamID=1");
        assert_eq!(
            (other.path.as_str(), other.track, other.authority),
            ("cam", Some(1), None)
        );
        assert_eq!(Target::parse("*").path, "");
    }

    #[test]
    fn user_information_never_comes_back() {
        let target = Target::parse("rtsp://admin:secret@h/cam?x=1/");
        assert_eq!(target.base("rtsp://x"), "rtsp://h/cam");
        assert_eq!(target.query, "x=1");
        assert_eq!(
            Target::parse("/cam").base("rtsp://fallback:1"),
            "rtsp://fallback:1/cam"
        );
    }

    #[test]
    fn no_host_is_no_url() {
        assert_eq!(split("rtsp://"), None);
        assert_eq!(split("192.168.1.2/stream"), None);
        assert_eq!(split("rtsp://h?x").map(|p| p.rest), Some("?x"));
    }
}
