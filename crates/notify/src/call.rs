//! One outgoing HTTP call under the guard (rule S17). A client for each call: it dials the one address that was checked, through no proxy,
//! follows nothing, and its answer is a status; the body is never read.

use std::error::Error;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};
use url::Url;

use crate::guard::{Guard, Refused};
use crate::retry::Failure;

/// The deadline of one call.
const LIMIT: Duration = Duration::from_secs(10);

/// Calls a URL once. A status of 200 to 299 is success.
pub(crate) async fn call(guard: &Guard, url: &Url, body: Option<Vec<u8>>) -> Result<(), Failure> {
    let address = guard.address(url).await.map_err(|refused| match refused {
        Refused::Unresolved => Failure::passing(refused),
        Refused::Private => Failure::lasting(refused),
    })?;
    let client = reqwest::Client::builder()
        .user_agent(concat!("moorline/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(Policy::none())
        .https_only(!guard.allows_http())
        .timeout(LIMIT)
        .pool_max_idle_per_host(0)
        .resolve(url.host_str().unwrap_or_default(), address)
        .build()
        .map_err(|error| Failure::passing(reason(&error)))?;
    let method = if body.is_some() {
        Method::POST
    } else {
        Method::GET
    };
    let mut request = client.request(method, url.clone());
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body);
    }
    let status = request
        .send()
        .await
        .map_err(|error| Failure::passing(reason(&error)))?
        .status();
    judge(status)
}

fn judge(status: StatusCode) -> Result<(), Failure> {
    let said = format!("it answered {}", status.as_u16());
    if status.is_success() {
        Ok(())
    } else if status.is_redirection() {
        Err(Failure::lasting(format!(
            "{said}: redirects are not followed, give the final URL"
        )))
    } else if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
        Err(Failure::passing(said))
    } else {
        Err(Failure::lasting(said))
    }
}

/// Why a call failed, without its URL.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.is_timeout() {
        format!("no answer within {} s", LIMIT.as_secs())
    } else if std::ptr::addr_eq(cause, std::ptr::from_ref(error)) {
        "the call failed".into()
    } else if error.is_connect() {
        format!("no connection: {cause}")
    } else {
        format!("the call failed: {cause}")
    }
}
