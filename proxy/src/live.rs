//! Pictures for browsers.
use crate::hub::Found;
use crate::reader::Environment;
use crate::source::Source;
use moorline_core::port::{LiveFeed, LiveItem, Poster, RelayError};
pub(crate) fn poster(_source: &Source) -> Option<Poster> {
    None
}
pub(crate) struct Feed;
#[async_trait::async_trait]
impl LiveFeed for Feed {
    async fn next(&mut self) -> Result<LiveItem, RelayError> {
        Err(RelayError::Ended)
    }
}
pub(crate) async fn open(_found: Found, _environment: Environment) -> Result<Feed, RelayError> {
    Err(RelayError::Ended)
}
