//! What every answer carries and every request must pass (rule S13): Host and Origin, strict headers, small bodies.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::access::Local;
use crate::problem::Problem;
use crate::site::Site;

const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Checks Host on everything, and Origin on writes and WebSocket upgrades; adds the headers.
pub(crate) async fn guard(State(site): State<Site>, request: Request, next: Next) -> Response {
    let local = request.extensions().get::<Local>().is_some();
    let checked = if local {
        Ok(())
    } else {
        check(&site, &request)
    };
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn check(site: &Site, request: &Request) -> Result<(), Problem> {
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let host = authority
        .or_else(|| text(request.headers(), &header::HOST))
        .unwrap_or_default();
    if !is_ours(site, host) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host",
            "this server is not known under that name",
        )
        .hint(
            "set server.public_host, or server.public_viewer_host, to the name that people use",
        ));
    }
    let upgrade = text(request.headers(), &header::UPGRADE)
        .is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let writes = !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if !writes && !upgrade {
        return Ok(());
    }
    let same = text(request.headers(), &header::ORIGIN)
        .is_some_and(|origin| origin == format!("https://{host}"));
    if same {
        Ok(())
    } else {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "origin",
            "another page may not do that",
        ))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a Host is one of ours. Literal addresses are: a rebinding attack needs a name.
fn is_ours(site: &Site, host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() =>
        {
            name
        }
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<std::net::IpAddr>().is_ok()
        || bare.eq_ignore_ascii_case("localhost")
        || bare.eq_ignore_ascii_case(&site.place.public_host)
        || bare.eq_ignore_ascii_case(&site.place.viewer_host)
        || site
            .place
            .hosts
            .iter()
            .any(|known| known.eq_ignore_ascii_case(bare))
}
