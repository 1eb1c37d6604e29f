//! What a store's error means to whoever waits for it.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use moorline_base::Untrusted;
use moorline_core::port::StoreError;

use super::authority;

/// The error of an operation on `key`.
pub(super) fn stored<E>(key: &str, error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => answered(
            key,
            answer.raw().status().as_u16(),
            answer.err().code().unwrap_or_default(),
            answer.err().message().unwrap_or_default(),
        ),
        SdkError::ResponseError(answer) => answered(
            key,
            answer.raw().status().as_u16(),
            "",
            "the answer cannot be read",
        ),
        SdkError::ConstructionFailure(_) => StoreError::Refused(told(key, error)),
        _ if authority::is_unknown(error) => StoreError::Unavailable(authority::UNKNOWN.to_owned()),
        _ => StoreError::Unavailable(told(key, error)),
    }
}

/// Whether a read began behind the end of its object.
pub(super) fn invalid_range<E>(error: &SdkError<E, HttpResponse>) -> bool {
    error
        .raw_response()
        .is_some_and(|answer| answer.status().as_u16() == 416)
}

/// A body that ended too early, or a file that could not be read for one.
pub(super) fn unavailable(key: &str, error: &(dyn std::error::Error + 'static)) -> StoreError {
    StoreError::Unavailable(told(key, error))
}

/// The error with its causes, which the SDK's own text leaves out.
fn told(key: &str, error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{key}: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    Untrusted::new(text).to_string()
}

/// Codes go before the status: stores agree on codes more than on numbers.
fn answered(key: &str, status: u16, code: &str, message: &str) -> StoreError {
    let text = || {
        let code = if code.is_empty() { "no code" } else { code };
        let message = if message.is_empty() {
            "no message"
        } else {
            message
        };
        Untrusted::new(format!("{status} {code}: {message}")).to_string()
    };
    match (code, status) {
        ("NoSuchKey" | "NotFound", _) => StoreError::Missing(Untrusted::new(key).to_string()),
        ("NoSuchBucket", _) => StoreError::Refused("the bucket does not exist".to_owned()),
        (
            "BadDigest"
            | "InvalidDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch"
            | "IncompleteBody",
            _,
        ) => StoreError::Digest(Untrusted::new(key).to_string()),
        ("RequestTimeTooSkewed", _) => {
            StoreError::Refused(format!("this machine's clock is wrong: {}", text()))
        }
        ("PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed", _) => {
            StoreError::Refused(format!("the region or the endpoint is wrong: {}", text()))
        }
        (
            "SlowDown" | "RequestTimeout" | "InternalError" | "ServiceUnavailable"
            | "OperationAborted",
            _,
        ) => StoreError::Unavailable(text()),
        (code, _) if is_full(code) => StoreError::Full(text()),
        (_, 507) => StoreError::Full(text()),
        (_, 404) => StoreError::Missing(Untrusted::new(key).to_string()),
        (_, 408 | 425 | 429 | 500..) => StoreError::Unavailable(text()),
        _ => StoreError::Refused(text()),
    }
}

/// AWS has no such code; those that have a bound name it each in their own way.
fn is_full(code: &str) -> bool {
    [
        "Quota",
        "StorageFull",
        "InsufficientCapacity",
        "InsufficientStorage",
    ]
    .iter()
    .any(|part| code.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_by_what_the_waiting_one_can_do() {
        let kind = |status, code| match answered("k", status, code, "m") {
            StoreError::Missing(_) => "missing",
            StoreError::Full(_) => "full",
            StoreError::Refused(_) => "refused",
            StoreError::Digest(_) => "digest",
            StoreError::Unavailable(_) => "unavailable",
        };
        for (status, code, expected) in [
            (404, "NoSuchKey", "missing"),
            (404, "", "missing"),
            (404, "NoSuchBucket", "refused"),
            (403, "AccessDenied", "refused"),
            (403, "SignatureDoesNotMatch", "refused"),
            (403, "RequestTimeTooSkewed", "refused"),
            (301, "PermanentRedirect", "refused"),
            (400, "BadDigest", "digest"),
            (400, "InvalidDigest", "digest"),
            (503, "SlowDown", "unavailable"),
            (500, "", "unavailable"),
            (429, "TooManyRequests", "unavailable"),
            (507, "", "full"),
            (403, "QuotaExceeded", "full"),
            (400, "XMinioStorageFull", "full"),
        ] {
            assert_eq!(kind(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn what_a_store_says_cannot_harm_a_terminal() {
        let told = answered("k", 400, "Odd", "\u{1b}[2J").to_string();
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }
}
