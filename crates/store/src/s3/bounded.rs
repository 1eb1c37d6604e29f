//! Answers of a bounded size: whatever answers behind an endpoint, it does not fill our memory (rules S17, S32).
//!
//! The SDK collects an answer whole before it looks at it. The longest honest one is a page of 1,000 keys of 1,024 bytes each, with their dates,
//! digests and owners. Only GET has longer ones, which are bounded where they are read.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use http_body_util::Limited;

/// The longest answer that is read, in bytes.
const LONGEST: usize = 8 << 20;

/// Ends the body of an answer that is too long.
#[derive(Debug)]
pub(super) struct Bounded;

impl Intercept for Bounded {
    fn name(&self) -> &'static str {
        "bounded answers"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_media = settings
            .load::<Metadata>()
            .is_some_and(|request| request.name() == "GetObject");
        if !is_media || !context.response().status().is_success() {
            let body = context.response_mut().take_body();
            *context.response_mut().body_mut() =
                SdkBody::from_body_1_x(Limited::new(body, LONGEST));
        }
        Ok(())
    }
}
