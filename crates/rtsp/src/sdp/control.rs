//! Base and control URLs of a camera.
//!
//! Cameras write these in every way: the rule is what ffmpeg and live555 do (append to the base), not RFC 3986, since that is what cameras
//! are tried with. The host in a camera's URL is its own idea: we never connect to it, all of it is sent back as text.

use crate::url::{append, split};

/// The base of all control URLs: `Content-Base`, else `Content-Location`, else the request URL (RFC 2326 C.1.1).
///
/// Quirks: `Content-Base` without a scheme (Reolink and others) gets the request's; a path gets the request's host; an empty one
/// counts as absent.
#[must_use]
pub fn base(
    request_url: &str,
    content_base: Option<&str>,
    content_location: Option<&str>,
) -> String {
    let said = [content_base, content_location]
        .into_iter()
        .flatten()
        .map(str::trim)
        .find(|text| !text.is_empty());
    let Some(said) = said else {
        return request_url.to_owned();
    };
    if said.contains("://") {
        return if split(said).is_some() {
            said.to_owned()
        } else {
            request_url.to_owned()
        };
    }
    let Some(request) = split(request_url) else {
        return said.to_owned();
    };
    if said.starts_with('/') {
        return format!("{}://{}{said}", request.scheme, request.authority);
    }
    let first = said.split(['/', '?']).next().unwrap_or_default();
    let request_host = request
        .authority
        .rsplit_once(':')
        .map_or(request.authority, |(host, _)| host);
    let said_host = first.rsplit_once(':').map_or(first, |(host, _)| host);
    if said_host == request_host || first.contains(':') || is_address(said_host) {
        format!("{}://{said}", request.scheme)
    } else {
        append(&format!("{}://{}", request.scheme, request.authority), said)
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::Ipv4Addr>().is_ok()
}

/// A control URL: absolute as it is, `*` or nothing is the base, all else is appended to the base with one slash.
#[must_use]
pub fn resolve(base: &str, control: Option<&str>) -> String {
    match control.map(str::trim) {
        None | Some("" | "*") => base.to_owned(),
        Some(absolute) if absolute.contains("://") => absolute.to_owned(),
        Some(query) if query.starts_with('?') => format!("{base}{query}"),
        Some(relative) => append(base, relative),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "rtsp://127.0.0.1:554/ch0";

    #[test]
    fn content_base_variants() {
        for (content_base, expected) in [
            (None, REQUEST),
            (Some(""), REQUEST),
            (Some("rtsp://10.0.0.2/ch0/"), "rtsp://10.0.0.2/ch0/"),
            (Some(" rtsp://10.0.0.2/ch0/ "), "rtsp://10.0.0.2/ch0/"),
            (Some("127.0.0.1/ch0/"), "rtsp://127.0.0.1/ch0/"),
            (Some("192.168.1.9:8554/ch0"), "rtsp://192.168.1.9:8554/ch0"),
            (Some("/live/"), "rtsp://127.0.0.1:554/live/"),
            (Some("live"), "rtsp://127.0.0.1:554/live"),
            (Some("rtsp://"), REQUEST),
        ] {
            assert_eq!(
                base(REQUEST, content_base, None),
                expected,
                "{content_base:?}"
            );
        }
        assert_eq!(base(REQUEST, None, Some("rtsp://x/y")), "rtsp://x/y");
        assert_eq!(
            base(REQUEST, Some("rtsp://a/b"), Some("rtsp://x/y")),
            "rtsp://a/b"
        );
    }

    #[test]
    fn control_variants() {
        let base = "rtsp://h/ch0/";
        for (control, expected) in [
            (None, "rtsp://h/ch0/"),
            (Some("*"), "rtsp://h/ch0/"),
            (Some(""), "rtsp://h/ch0/"),
            (Some("trackID=1"), "rtsp://h/ch0/trackID=1"),
            (Some("/trackID=1"), "rtsp://h/ch0/trackID=1"),
            (Some("rtsp://other/x"), "rtsp://other/x"),
        ] {
            assert_eq!(resolve(base, control), expected, "{control:?}");
        }
        assert_eq!(
            resolve("rtsp://h/cam?channel=1", Some("trackID=1")),
            "rtsp://h/cam?channel=1/trackID=1"
        );
        assert_eq!(
            resolve("rtsp://h/cam", Some("?ctype=video")),
            "rtsp://h/cam?ctype=video"
        );
    }
}
