//! What a DESCRIBE finds: the camera, if this reader may see it, and its stream, once it plays.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use moorline_core::port::RelayError;
use moorline_core::{CameraId, SourceName};
use moorline_rtsp::sdp::Rewrite;
use moorline_rtsp::server::{DescribeRequest, Description};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::Desk;
use super::start::Wanted;
use crate::hub::{Found, Hub, Seat};
use crate::source::{Layout, Lease, ReaderKind, Source};

/// A stream that a reader holds.
pub(super) struct Described {
    pub(super) lease: Lease,
    pub(super) layout: Arc<Layout>,
    pub(super) wanted: Wanted,
    /// Comes when the relay ends.
    pub(super) ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    title: String,
    _seat: Option<Seat>,
}

moorline_core::words! {
    /// Why a reader that is known gets no stream; the word is the status.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Refusal {
        /// No such camera or stream, or none of its user.
        Unknown = "404",
        /// Not in the codec that it is in.
        NotPlayable = "415",
        /// Too many readers.
        TooMany = "453",
        /// Not now, or the user has too many connections.
        Unavailable = "503",
    }
}

impl Refusal {
    /// As the answer has it.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Unknown => 404,
            Self::NotPlayable => 415,
            Self::TooMany => 453,
            Self::Unavailable => 503,
        }
    }
}

/// A refusal, and after how many seconds another try makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) retry_after: Option<u32>,
}

/// A DESCRIBE that is being answered.
pub(super) type Describing = Pin<Box<dyn Future<Output = Result<Described, Refused>> + Send>>;

impl From<RelayError> for Refused {
    fn from(error: RelayError) -> Self {
        let (refusal, retry_after) = match error {
            RelayError::Unknown => (Refusal::Unknown, None),
            RelayError::TooMany => (Refusal::TooMany, None),
            RelayError::Away | RelayError::Ended | RelayError::Stalled => {
                (Refusal::Unavailable, Some(5))
            }
            RelayError::NotPlayable(_) => (Refusal::NotPlayable, None),
        };
        Self {
            refusal,
            retry_after,
        }
    }
}

/// Begins to answer.
pub(super) fn describe(desk: &Desk, request: &DescribeRequest) -> Describing {
    let wanted = match request.target.parameter("start") {
        Some("idr") => Wanted::NextKey,
        _ => Wanted::Group,
    };
    match desk {
        Desk::Archiver(source) => Box::pin(of_archiver(Arc::clone(source))),
        Desk::Viewer {
            hub,
            camera,
            source,
            login,
        } => Box::pin(of_viewer(
            hub.clone(),
            camera.clone(),
            *source,
            login.clone(),
            None,
            wanted,
        )),
        Desk::Public(visitor) => {
            let found = visitor.user().and_then(|user| {
                let (camera, source) = parse_path(&request.target.path)?;
                Some((user, CameraId::new(user.tenant.clone(), camera), source))
            });
            match found {
                Some((user, camera, source)) => Box::pin(of_viewer(
                    visitor.hub().clone(),
                    camera,
                    source,
                    user.login.to_string(),
                    Some(visitor.address()),
                    wanted,
                )),
                // A foreign camera, an unknown one and what is no name: the same answer (S1's spirit: names are not told).
                None => Box::pin(async { Err(RelayError::Unknown.into()) }),
            }
        }
    }
}

/// `camera`, `camera/main`, `camera/sub`.
fn parse_path(path: &str) -> Option<(moorline_core::id::Label, SourceName)> {
    let (camera, source) = match path.split_once('/') {
        None | Some((_, "main")) => (path.split('/').next()?, SourceName::Main),
        Some((camera, "sub")) => (camera, SourceName::Sub),
        Some(_) => return None,
    };
    Some((camera.parse().ok()?, source))
}

/// Waits as long as it takes: the archiver asks once and is answered when its camera is back.
async fn of_archiver(source: Arc<Source>) -> Result<Described, Refused> {
    let lease = Lease::new(&source, ReaderKind::Archiver);
    match source.until_ready().await {
        Some(layout) => Ok(Described {
            lease,
            layout,
            wanted: Wanted::Unread,
            ending: None,
            title: String::new(),
            _seat: None,
        }),
        None => Err(RelayError::Ended.into()),
    }
}

async fn of_viewer(
    hub: Hub,
    camera: CameraId,
    source: SourceName,
    login: String,
    address: Option<std::net::IpAddr>,
    wanted: Wanted,
) -> Result<Described, Refused> {
    let found = hub
        .find(&camera, source, ReaderKind::Viewer, &login, address)
        .await?;
    let Found {
        lease,
        layout,
        ending,
        title,
        seat,
    } = found;
    Ok(Described {
        lease,
        layout,
        wanted,
        ending: Some(Box::pin(ending.cancelled_owned())),
        title,
        _seat: seat,
    })
}

impl Described {
    /// The SDP for this reader. What only the archiver may know stands in the archiver's alone.
    pub(super) fn description(&self, base: &str) -> Description {
        let source = self.lease.source();
        let extras = match self.lease.kind() {
            ReaderKind::Archiver => vec![
                ("camera", source.camera.to_string()),
                ("source", source.name.to_string()),
                ("generation", source.generation().to_string()),
            ],
            ReaderKind::Viewer | ReaderKind::Browser => Vec::new(),
        };
        let rewrite = Rewrite {
            base,
            title: &self.title,
            session_id: u64::from(rand::random::<u32>()),
            extras: &extras,
        };
        Description {
            sdp: rewrite.print(&self.layout.media),
            tracks: self.layout.ssrcs.iter().copied().map(Some).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_counted_by_its_status() {
        for refusal in Refusal::ALL {
            assert_eq!(refusal.as_str(), refusal.status().to_string());
        }
    }

    #[test]
    fn paths_name_camera_and_source() {
        let parsed = |path| parse_path(path).map(|(camera, source)| (camera.to_string(), source));
        assert_eq!(parsed("yard"), Some(("yard".into(), SourceName::Main)));
        assert_eq!(parsed("yard/main"), Some(("yard".into(), SourceName::Main)));
        assert_eq!(parsed("yard/sub"), Some(("yard".into(), SourceName::Sub)));
        for bad in ["", "yard/x", "yard/sub/sub", "acme/yard", "../yard", "Yard"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
