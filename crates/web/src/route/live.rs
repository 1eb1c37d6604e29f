//! Pictures for a browser: live and recorded, as fragmented MP4 over a WebSocket, and the poster.
//!
//! A text message is JSON: `{"init": mime}` announces that the next binary message is an init; `{"gap": {from, to, cause}}`,
//! `{"end": true}`, `{"error": title}`. A binary message has a head of 21 bytes, then MP4 boxes:
//! `kind (0 init, 1 fragment) u8, wall clock ms i64, media time ms u64, duration ms u32`, all big-endian.
//!
//! Live pictures come as they come; a browser that does not keep up skips to the next key frame (P5). Recorded pictures wait for credit:
//! the browser sends `{"want": n}` for n more fragments, so that it holds seconds and not days.
//!
//! How a stream ends: the browser closes, the relay ends, the user is removed or signed out (checked every second: rule
//! S15), or nothing was heard for 60 s, not even the answer to a ping.

use std::time::Duration;

use axum::Extension;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::future::BoxFuture;
use moorline_core::port::{AuditEntry, AuditEvent, LiveItem, PlayItem, Playback, RecordingsError};
use moorline_core::segment::ObjectKey;
use moorline_core::user::Role;
use moorline_core::{SourceName, Timestamp};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{interval, timeout};

use super::archive::{camera, instant};
use crate::access::Access;
use crate::extract::Asked;
use crate::guest::Guest;
use crate::problem::Problem;
use crate::seats::House;
use crate::site::Site;

/// Largest message from a browser: it only sends credit.
const LARGEST_MESSAGE: usize = 1024;
/// Most fragments that a browser may ask for ahead.
const MOST_CREDIT: u32 = 64;
/// A browser that takes nothing for this long is gone.
const STALLED: Duration = Duration::from_secs(10);
/// How often it is checked that the user may still watch.
const RECHECK: Duration = Duration::from_millis(500);

/// So many damaged recordings in a row, more than an hour of them, are not a minute to be jumped over: the store is at fault.
const MOST_DAMAGED: u32 = 100;

/// The longest pause between two questions whether more was recorded, in looks: 10 s.
const LONGEST_PAUSE: u32 = 20;

/// Which stream of a camera.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    source: Option<SourceName>,
}

/// Looks after which a browser that said nothing is asked whether it is there: 20 s.
const ASKED_AFTER: u32 = 40;
/// Looks after which one that still said nothing is gone: 60 s. A paused player asks for nothing, and a phone that left its network says no
/// goodbye.
const GONE_AFTER: u32 = 120;

/// `GET …/poster`
pub(super) async fn poster(
    State(site): State<Site>,
    access: Access,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let camera = camera(&site, &access, &tenant, &name, Role::Viewer)?;
    let sources = [SourceName::Sub, SourceName::Main];
    let poster = sources
        .into_iter()
        .find_map(|source| site.relays.poster(&camera.id, source));
    let poster = poster.ok_or_else(|| Problem::unknown("picture yet"))?;
    let mut response = poster.bytes.into_response();
    let headers = response.headers_mut();
    let mime = HeaderValue::from_str(&poster.mime).map_err(|error| Problem::internal(&error))?;
    headers.insert(header::CONTENT_TYPE, mime);
    headers.insert("x-wall", HeaderValue::from(poster.wall.as_millis()));
    Ok(response)
}

/// `GET …/live`
pub(super) async fn live(
    State(site): State<Site>,
    access: Access,
    headers: HeaderMap,
    Path((tenant, name)): Path<(String, String)>,
    which: Result<Asked<Which>, Problem>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let camera = camera(&site, &access, &tenant, &name, Role::Viewer)?;
    let (Asked(which), upgrade) = (which?, upgrade.map_err(no_socket)?);
    let source = which.source.unwrap_or(SourceName::Main);
    let guest = Guest::new(&site, &access, &headers);
    view(&site, &access, format!("{} live", camera.id));
    let login = access.login().to_owned();
    Ok(upgrade
        .max_message_size(LARGEST_MESSAGE)
        .on_upgrade(move |mut socket| async move {
            match site.relays.live(&camera.id, source, &login).await {
                Ok(mut feed) => {
                    let mut recheck = interval(RECHECK);
                    let mut pulse = Pulse::default();
                    loop {
                        let item = tokio::select! {
                            item = feed.next() => item,
                            message = socket.recv() => match message {
                                Some(Ok(_)) => {
                                    pulse = Pulse::default();
                                    continue;
                                }
                                _ => return,
                            },
                            _ = recheck.tick() => {
                                if guest.may_stay() && pulse.look(&mut socket).await {
                                    continue;
                                }
                                return;
                            }
                        };
                        let sent = match item {
                            Ok(item) => send_live(&mut socket, item).await,
                            Err(error) => return farewell(&mut socket, &error.to_string()).await,
                        };
                        if !sent {
                            return;
                        }
                    }
                }
                Err(error) => farewell(&mut socket, &error.to_string()).await,
            }
        }))
}

fn no_socket(_: WebSocketUpgradeRejection) -> Problem {
    let title = "pictures come over a WebSocket";
    Problem::new(StatusCode::UPGRADE_REQUIRED, "no_websocket", title)
}

async fn send_live(socket: &mut WebSocket, item: LiveItem) -> bool {
    match item {
        LiveItem::Init { mime, bytes } => send_init(socket, &mime, &bytes).await,
        LiveItem::Fragment { bytes, wall, .. } => send(socket, framed(1, wall, 0, 0, &bytes)).await,
    }
}

/// Where a playback begins.
#[derive(Debug, Deserialize)]
pub(super) struct From {
    from: String,
}

/// `GET …/play`
pub(super) async fn play(
    State(site): State<Site>,
    access: Access,
    Extension(house): Extension<House>,
    headers: HeaderMap,
    Path((tenant, name)): Path<(String, String)>,
    from: Result<Asked<From>, Problem>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let camera = camera(&site, &access, &tenant, &name, Role::Viewer)?;
    let (Asked(from), upgrade) = (from?, upgrade.map_err(no_socket)?);
    let from: Timestamp = from.from.parse().map_err(|_| instant("from", &from.from))?;
    let from = from.max(access.shown_from(camera.created));
    let seat = house.playbacks.sit(&access)?;
    let guest = Guest::new(&site, &access, &headers);
    view(&site, &access, format!("{} {from}", camera.id));
    Ok(upgrade
        .max_message_size(LARGEST_MESSAGE)
        .on_upgrade(move |mut socket| async move {
            let _seat = seat;
            let mut reading = match site.recordings.play(&camera.id, None, from).await {
                Ok(playback) => Reading::Rests(playback),
                Err(error) => return farewell(&mut socket, &error.to_string()).await,
            };
            let mut recheck = interval(RECHECK);
            let (mut credit, mut edge) = (0, Edge::default());
            let mut pulse = Pulse::default();
            let mut damaged = 0;
            loop {
                if credit > 0 && edge.may_look() {
                    reading = reading.begin();
                }
                tokio::select! {
                    message = socket.recv() => match message {
                        Some(Ok(message)) => {
                            pulse = Pulse::default();
                            credit = (credit + wanted(&message)).min(MOST_CREDIT);
                        }
                        _ => return,
                    },
                    _ = recheck.tick() => {
                        if !guest.may_stay() || !pulse.look(&mut socket).await {
                            return;
                        }
                        edge.look();
                    }
                    (playback, item) = reading.done() => {
                        reading = Reading::Rests(playback);
                        let sent = match item {
                            Ok(PlayItem::End) => {
                                edge.reached();
                                say(&mut socket, json!({"end": true})).await
                            }
                            Ok(item) => {
                                edge = Edge::default();
                                damaged = 0;
                                credit -= u32::from(matches!(item, PlayItem::Fragment { .. }));
                                send_play(&mut socket, item).await
                            }
                            // The playback goes on behind it.
                            Err(RecordingsError::Damaged { key, why }) if damaged < MOST_DAMAGED => {
                                damaged += 1;
                                tracing::warn!(%key, why, "a recording cannot be played");
                                jumped_over(&mut socket, &key).await
                            }
                            Err(error) => return farewell(&mut socket, &error.to_string()).await,
                        };
                        if !sent {
                            return;
                        }
                    }
                }
            }
        }))
}

type Item = (Box<dyn Playback>, Result<PlayItem, RecordingsError>);

/// A playback, and the item that is fetched from it: a read from a slow store goes on whatever else happens meanwhile. Dropped and begun again at
/// each look it would never end.
enum Reading {
    Rests(Box<dyn Playback>),
    Fetches(BoxFuture<'static, Item>),
}

impl Reading {
    /// Fetches the next item, unless one is being fetched.
    fn begin(self) -> Self {
        match self {
            Self::Rests(mut playback) => Self::Fetches(Box::pin(async move {
                let item = playback.next().await;
                (playback, item)
            })),
            fetches @ Self::Fetches(_) => fetches,
        }
    }

    /// Waits for the item; for ever if none is fetched. Cancel-safe.
    async fn done(&mut self) -> Item {
        match self {
            Self::Rests(_) => std::future::pending().await,
            Self::Fetches(item) => item.await,
        }
    }
}

/// The end of what is recorded: whether there is more is asked of the store, so of a camera that stays away less and less often.
#[derive(Debug)]
struct Edge {
    /// Looks until the next question.
    left: u32,
    /// The pause after this one, in looks.
    pause: u32,
}

impl Default for Edge {
    fn default() -> Self {
        Self { left: 0, pause: 1 }
    }
}

impl Edge {
    fn reached(&mut self) {
        self.left = self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn look(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    fn may_look(&self) -> bool {
        self.left == 0
    }
}

/// How many more fragments a message asks for.
fn wanted(message: &Message) -> u32 {
    #[derive(Deserialize)]
    struct Want {
        want: u32,
    }
    match message {
        Message::Text(text) => {
            serde_json::from_str::<Want>(text).map_or(0, |want| want.want.min(MOST_CREDIT))
        }
        _ => 0,
    }
}

async fn send_play(socket: &mut WebSocket, item: PlayItem) -> bool {
    match item {
        PlayItem::Init { mime, bytes } => send_init(socket, &mime, &bytes).await,
        PlayItem::Fragment {
            bytes,
            wall,
            media_ms,
            duration_ms,
        } => send(socket, framed(1, wall, media_ms, duration_ms, &bytes)).await,
        PlayItem::Gap { range, cause } => {
            let words = cause.map(moorline_core::Cause::explanation);
            say(socket, json!({"gap": {"from": range.from, "to": range.to, "cause": cause, "words": words}})).await
        }
        PlayItem::End => true,
    }
}

/// Says that a recording is left out, and which stretch that is.
async fn jumped_over(socket: &mut WebSocket, key: &str) -> bool {
    let Ok(key) = key.parse::<ObjectKey>() else {
        return true;
    };
    let range = key.range();
    let words = "what was recorded there is damaged or gone";
    let gap = json!({"from": range.from, "to": range.to, "cause": null, "words": words});
    say(socket, json!({ "gap": gap })).await
}

async fn send_init(socket: &mut WebSocket, mime: &str, bytes: &Bytes) -> bool {
    say(socket, json!({"init": mime})).await
        && send(socket, framed(0, Timestamp::default(), 0, 0, bytes)).await
}

fn framed(kind: u8, wall: Timestamp, media_ms: u64, duration_ms: u32, bytes: &Bytes) -> Message {
    let mut message = BytesMut::with_capacity(21 + bytes.len());
    message.put_u8(kind);
    message.put_i64(wall.as_millis());
    message.put_u64(media_ms);
    message.put_u32(duration_ms);
    message.extend_from_slice(bytes);
    Message::Binary(message.freeze())
}

async fn say(socket: &mut WebSocket, value: serde_json::Value) -> bool {
    send(socket, Message::Text(value.to_string().into())).await
}

async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(STALLED, socket.send(message)).await, Ok(Ok(())))
}

async fn farewell(socket: &mut WebSocket, title: &str) {
    if say(socket, json!({"error": title})).await {
        let _ = timeout(STALLED, socket.send(Message::Close(None))).await;
    }
}

fn view(site: &Site, access: &Access, subject: String) {
    site.audit.write(AuditEntry {
        at: site.now(),
        actor: access.actor(),
        event: AuditEvent::View,
        subject,
    });
}

/// How long a browser has said nothing, in looks.
#[derive(Debug, Default)]
struct Pulse(u32);

/// What is to be done about a silence.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    Ping,
    Leave,
}

impl Pulse {
    fn due(&mut self) -> Due {
        self.0 += 1;
        match self.0 {
            GONE_AFTER.. => Due::Leave,
            looks if looks.is_multiple_of(ASKED_AFTER) => Due::Ping,
            _ => Due::Nothing,
        }
    }

    /// Looks once more; `false`: nobody is there.
    async fn look(&mut self, socket: &mut WebSocket) -> bool {
        match self.due() {
            Due::Nothing => true,
            Due::Ping => send(socket, Message::Ping(Bytes::new())).await,
            Due::Leave => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_at_the_end_asks_less_and_less_often() {
        let (mut edge, mut asked) = (Edge::default(), Vec::new());
        for look in 0..1_000_u32 {
            if edge.may_look() {
                edge.reached();
                asked.push(look);
            }
            edge.look();
        }
        assert_eq!(asked[..7], [0, 1, 3, 7, 15, 31, 51]);
        assert_eq!(asked.len(), 54);
        assert!(Edge::default().may_look(), "more was recorded: at once");
    }

    #[test]
    fn a_silent_browser_is_asked_after_20_s_and_gone_after_60() {
        let mut pulse = Pulse::default();
        let due: Vec<Due> = (0..120).map(|_| pulse.due()).collect();
        let at = |look: usize| RECHECK * u32::try_from(look + 1).unwrap();
        let told = (0..).zip(&due).filter(|(_, due)| **due != Due::Nothing);
        let told: Vec<_> = told.map(|(look, due)| (at(look).as_secs(), due)).collect();
        assert_eq!(
            told,
            [(20, &Due::Ping), (40, &Due::Ping), (60, &Due::Leave)]
        );
    }
}
