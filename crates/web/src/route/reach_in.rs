//! Reaching into a camera: a byte stream to its own web server, for the machine's operator alone (rule S14).
//!
//! It is spoken over the Unix socket: `GET …/reach-in` with `Upgrade: moorline-stream` is answered by 101, and from then on each byte goes to
//! the camera's forward `http` and back as it is. Nothing of it is a page of ours: the command line gives the stream to a port of loopback.
//!
//! How a stream ends: both sides have said all; one of them fails, as the camera's does when its tunnel ends; nothing moved for 5 minutes;
//! or the camera's record allows it no longer.

use std::io;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::future::try_join;
use hyper_util::rt::TokioIo;
use moorline_base::clock::{Clock, timeout};
use moorline_core::camera::{self, Camera};
use moorline_core::id::ForwardName;
use moorline_core::port::{AuditEvent, ByteStream, LandingError, Landings};
use moorline_core::user::Role;
use moorline_core::{CameraId, Generation};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

use super::archive::known;
use super::cameras::audit;
use crate::access::Access;
use crate::problem::Problem;
use crate::seats::House;
use crate::site::Site;

/// What a connection is upgraded to: bytes as they are.
pub const PROTOCOL: &str = "moorline-stream";

/// The forward behind which a camera's web server is.
const FORWARD: &str = "http";

/// Somebody waits for it. A camera has 10 s of them to answer.
const REACHED_WITHIN: Duration = Duration::from_secs(15);

/// A browser leaves connections open; each is a place, and a channel of the tunnel.
const IDLE: Duration = Duration::from_secs(300);

/// Bytes that are carried at once.
const PIECE: usize = 16 << 10;

/// `GET …/reach-in`
pub(super) async fn reach_in(
    State(site): State<Site>,
    access: Access,
    Extension(house): Extension<House>,
    Path((tenant, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    access.local()?;
    let id = access.camera(&tenant, &name, Role::Admin)?;
    let camera = known(&site, &id)?;
    may_be_reached(&camera)?;
    if !asks_for_a_stream(request.headers()) {
        let title = "a camera's own page comes over a stream";
        let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "no_stream", title);
        return Err(problem.hint(format!("moorline camera web {} opens it", id.in_command())));
    }
    let upgrade = hyper::upgrade::on(request);
    let seat = house.reach_ins.sit(&access)?;
    let theirs = open(&site, &id).await?;
    if house.visits.begins(&id, site.clock.monotonic()) {
        audit(&site, &access, AuditEvent::ReachIn, &id);
    }
    tokio::spawn(async move {
        let _seat = seat;
        let Ok(ours) = upgrade.await else {
            return;
        };
        tokio::select! {
            () = carry(&*site.clock, TokioIo::new(ours), theirs) => {}
            () = taken_away(&site, &id) => {}
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

fn asks_for_a_stream(headers: &HeaderMap) -> bool {
    let asked = headers.get(header::UPGRADE);
    asked.is_some_and(|asked| asked.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes()))
}

/// Whether the camera's record lets anybody reach into it.
///
/// # Errors
/// Why it does not, with the cure.
fn may_be_reached(camera: &Camera) -> Result<(), Problem> {
    let (typed, command) = (camera.id.typed(), camera.id.in_command());
    let refused = |kind: &str, title: String, hint: String| {
        Err(Problem::new(StatusCode::CONFLICT, kind, title).hint(hint))
    };
    if !camera.enabled.is_yes() {
        return refused(
            "disabled",
            format!("camera {typed} is disabled"),
            format!("moorline camera enable {command} lets it in again"),
        );
    }
    match &camera.access {
        camera::Access::Lan { .. } => refused(
            "no_tunnel",
            format!("camera {typed} is in your own network, and has no tunnel"),
            "open its own address in a browser there".to_owned(),
        ),
        camera::Access::Tunnel { .. } if camera.streampoint.is_some() => refused(
            "elsewhere",
            format!("camera {typed} has its tunnel to another server"),
            format!("moorline camera refer {command} --here takes it back"),
        ),
        camera::Access::Tunnel { forwards }
            if forwards.iter().any(|forward| forward.as_str() == FORWARD) =>
        {
            Ok(())
        }
        camera::Access::Tunnel { .. } => refused(
            "no_forward",
            format!("camera {typed} is granted no forward {FORWARD}"),
            format!(
                "moorline camera set {command} --forward {FORWARD} here, and {}",
                on_the_camera(&command)
            ),
        ),
    }
}

/// The camera's half, which no server can do (rule S7).
fn on_the_camera(command: &str) -> String {
    format!(
        "on the camera {FORWARD} 80 in local.conf and a restart of its agent (a plain dbclient: a second -R, such as -R 0:127.0.0.1:80); \
         then moorline camera hang-up {command}, since it counts from its next call on"
    )
}

/// A stream to the camera's web server.
async fn open(site: &Site, id: &CameraId) -> Result<ByteStream, Problem> {
    let Some(landings) = site.landings.as_deref() else {
        let title = "the cameras' tunnels do not end here";
        let problem = Problem::new(StatusCode::NOT_IMPLEMENTED, "one_server_only", title);
        return Err(problem.hint(format!(
            "moorline camera web {} --cluster goes to the replica that holds its tunnel, by your own rights",
            id.typed()
        )));
    };
    let forward = FORWARD
        .parse::<ForwardName>()
        .map_err(|error| Problem::internal(&error))?;
    let connecting = connect(landings, id, &forward);
    let connected = timeout(&*site.clock, REACHED_WITHIN, connecting).await;
    let typed = id.typed();
    connected
        .unwrap_or(Err(LandingError::Away))
        .map_err(|error| match error {
            LandingError::Away | LandingError::Superseded => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "away",
                format!("camera {typed} is away"),
            )
            .hint(format!(
                "moorline camera show {} tells since when, and what to do",
                id.in_command()
            )),
            LandingError::RefusedByCamera => Problem::new(
                StatusCode::BAD_GATEWAY,
                "refused_by_camera",
                format!("camera {typed} opens no connection to its web server"),
            )
            .hint("nothing listens at the port of http in its local.conf, or at the end of its second -R"),
            LandingError::Unknown => Problem::new(
                StatusCode::CONFLICT,
                "no_forward",
                format!("camera {typed} has not asked for a forward {FORWARD}"),
            )
            .hint(on_the_camera(&id.in_command())),
        })
}

/// Asks again for as long as newer tunnels take over.
async fn connect(
    landings: &dyn Landings,
    id: &CameraId,
    forward: &ForwardName,
) -> Result<ByteStream, LandingError> {
    loop {
        match landings.connect(id, forward, Generation::default()).await {
            Ok((stream, _)) => return Ok(stream),
            Err(LandingError::Superseded) => tokio::task::yield_now().await,
            Err(error) => return Err(error),
        }
    }
}

/// Returns once the camera's record allows it no longer, or is gone.
async fn taken_away(site: &Site, id: &CameraId) {
    loop {
        let seen = site.cameras.version();
        let camera = known(site, id);
        if !camera.is_ok_and(|camera| may_be_reached(&camera).is_ok()) {
            return;
        }
        site.cameras.changed(seen).await;
    }
}

/// Carries bytes both ways, until both sides have said all, one fails, or nothing moved for [`IDLE`].
async fn carry<A, B>(clock: &dyn Clock, ours: A, theirs: B)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let moved = Notify::new();
    let (from_us, to_us) = tokio::io::split(ours);
    let (from_them, to_them) = tokio::io::split(theirs);
    let there = pass(from_us, to_them, &moved);
    let back = pass(from_them, to_us, &moved);
    let quiet = async { while timeout(clock, IDLE, moved.notified()).await.is_ok() {} };
    tokio::select! {
        // In this order, so that what has just moved begins the wait anew.
        biased;
        _ = try_join(there, back) => {}
        () = quiet => {}
    }
}

/// Carries bytes one way, and its end with them.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &Notify,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        moved.notify_one();
        to.write_all(&piece[..length]).await?;
        to.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use moorline_base::clock::SimulatedClock;
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn a_stream_on_which_nothing_moves_ends_after_5_minutes() {
        let clock = SimulatedClock::new(0);
        let ((mut browser, ours), (mut camera, theirs)) = (duplex(64), duplex(64));
        let ended = {
            let clock = clock.clone();
            tokio::spawn(async move { carry(&clock, ours, theirs).await })
        };
        clock.sleepers(1).await;
        let mut piece = [0; 3];
        clock.advance(Duration::from_secs(299));
        browser.write_all(b"GET").await.unwrap();
        camera.read_exact(&mut piece).await.unwrap();
        clock.advance(Duration::from_secs(299));
        camera.write_all(b"200").await.unwrap();
        browser.read_exact(&mut piece).await.unwrap();
        assert_eq!(&piece, b"200", "each byte begins the wait anew");
        let over = async {
            while !ended.is_finished() {
                clock.advance(IDLE);
                tokio::task::yield_now().await;
            }
        };
        let over = tokio::time::timeout(Duration::from_secs(30), over).await;
        over.expect("it has ended");
        assert_eq!(browser.read(&mut piece).await.unwrap(), 0);
    }
}
