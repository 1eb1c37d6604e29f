//! The SDK's client, and the requests that need more than one line.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use bytes::Bytes;
use moorline_base::Secret;
use moorline_core::outside::Outside;
use moorline_core::port::{Page, StoreError};

use super::bounded::Bounded;
use super::config::S3Config;
use super::error::{invalid_range, stored, unavailable};
use super::listing;
use super::outside::connections;

/// Pages of folders, of 1,000 each: more than one level of keys ever has.
const MOST_PAGES: usize = 100;

/// A host that does not answer at all is away; the whole call has its own deadline.
const CONNECT: Duration = Duration::from_secs(10);

/// The client that signs. `outside`: it reaches nothing but what this allows.
pub(super) fn signed(config: &S3Config, outside: Option<&Outside>) -> Client {
    Client::from_conf(
        settings(config, outside)
            .credentials_provider(key(&config.access_key, &config.secret_key))
            .build(),
    )
}

/// The same client with another key.
pub(super) fn with_key(client: &Client, access_key: &str, secret_key: &Secret<String>) -> Client {
    let settings = client.config().to_builder();
    Client::from_conf(
        settings
            .credentials_provider(key(access_key, secret_key))
            .build(),
    )
}

fn key(access_key: &str, secret_key: &Secret<String>) -> Credentials {
    let secret = secret_key.expose().clone();
    Credentials::new(access_key, secret, None, None, "moorline")
}

/// A client without a key, as a stranger has it (S30).
pub(super) fn anonymous(config: &S3Config, outside: Option<&Outside>) -> Client {
    Client::from_conf(settings(config, outside).allow_no_auth().build())
}

fn settings(config: &S3Config, outside: Option<&Outside>) -> Builder {
    let mut settings = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .region(Region::new(config.region.clone()))
        .force_path_style(config.uses_path_style())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build())
        .interceptor(Bounded);
    settings.set_endpoint_url(config.endpoint.clone());
    settings.set_http_client(connections(config.authority.as_deref(), outside));
    settings
}

/// Up to `limit` objects under `prefix` after `after`.
pub(super) async fn list(
    client: &Client,
    bucket: &str,
    prefix: &str,
    after: &str,
    limit: usize,
) -> Result<Page, StoreError> {
    let request = client
        .list_objects_v2()
        .bucket(bucket)
        .prefix(prefix)
        .max_keys(i32::try_from(limit).unwrap_or(i32::MAX))
        .set_start_after((!after.is_empty()).then(|| after.to_owned()));
    let answer = request
        .send()
        .await
        .map_err(|cause| stored(prefix, &cause))?;
    let objects = answer.contents().iter();
    listing::page(
        prefix,
        after,
        objects.map(|object| (object.key(), object.size())),
        answer.is_truncated().unwrap_or(false),
    )
}

/// The names of the folders right under `prefix`.
pub(super) async fn folders(
    client: &Client,
    bucket: &str,
    prefix: &str,
) -> Result<Vec<String>, StoreError> {
    let (mut found, mut token) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let request = client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .delimiter("/")
            .set_continuation_token(token.take());
        let answer = request
            .send()
            .await
            .map_err(|cause| stored(prefix, &cause))?;
        let names = answer
            .common_prefixes()
            .iter()
            .filter_map(|folder| folder.prefix());
        found.extend(listing::folders(prefix, names)?);
        token = answer.next_continuation_token().map(str::to_owned);
        if token.is_none() || !answer.is_truncated().unwrap_or(false) {
            found.sort_unstable();
            return Ok(found);
        }
    }
    Err(StoreError::Refused(format!(
        "the store lists folders without an end under {prefix}"
    )))
}

/// The bytes of a range that is not empty, at most 64 MiB.
pub(super) async fn get(
    client: &Client,
    bucket: &str,
    key: &str,
    range: Range<u64>,
) -> Result<Bytes, StoreError> {
    let header = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
    let request = client.get_object().bucket(bucket).key(key).range(header);
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(cause) if invalid_range(&cause) => return Ok(Bytes::new()),
        Err(cause) => return Err(stored(key, &cause)),
    };
    let wanted = range.end.saturating_sub(range.start);
    let announced = answer
        .content_length()
        .and_then(|length| u64::try_from(length).ok());
    // A store that ignores ranges must not fill our memory, nor shift what we read.
    if announced.is_none_or(|length| length > wanted)
        || (range.start > 0 && answer.content_range().is_none())
    {
        return Err(StoreError::Refused(
            "the store ignores range requests".to_owned(),
        ));
    }
    let body = answer
        .body
        .collect()
        .await
        .map_err(|cause| unavailable(key, &cause))?;
    Ok(body.into_bytes())
}

/// `bucket/key`, percent-encoded as the header wants it.
pub(super) fn copy_source(bucket: &str, key: &str) -> String {
    let mut text = format!("{bucket}/");
    for byte in key.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
