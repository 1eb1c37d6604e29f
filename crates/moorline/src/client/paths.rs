//! Names as parts of a path of the API.

/// One path segment, percent-encoded.
pub fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().fold(String::new(), |mut out, byte| {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// What [`segment`] has encoded.
pub(super) fn plain(segment: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = segment.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *byte == b'%');
        let decoded = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(decoded.unwrap_or(*byte));
        rest = decoded.map_or(after, |_| after.get(2..).unwrap_or_default());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The path of a camera, given as `camera` or `tenant/camera`.
///
/// # Errors
/// It is not a name.
pub fn camera_path(camera: &str) -> anyhow::Result<String> {
    let id: moorline_core::CameraId = camera.parse()?;
    Ok(format!("/tenants/{}/cameras/{}", id.tenant(), id.name()))
}

/// The path by which a camera's own web server is reached.
///
/// # Errors
/// It is not a name.
pub fn reach_in_path(camera: &str) -> anyhow::Result<String> {
    Ok(format!("{}/reach-in", camera_path(camera)?))
}
