//! "Do you hold it?": what replicas ask each other while the API server is away and their caches are stale. Mutual TLS under the gateway CA
//! (rule S24), since tokens cannot be reviewed then.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use moorline_base::clock::timeout;
use moorline_core::port::Holder;
use moorline_core::{CameraId, Generation};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Shared, answer, refuse};
use crate::head::{self, Head};
use crate::serving::{Answer, Tls};

/// For asking all of them, once.
const PATIENCE: Duration = Duration::from_secs(2);
/// Replicas that are asked.
const MOST: usize = 16;

/// Answers a peer.
pub(super) async fn answer_peer(shared: &Shared, stream: Tls, camera: &CameraId) {
    let Holder::Here(generation) = shared.parts.holders.holder(camera) else {
        return answer(shared, stream, &refuse(404, "not_here")).await;
    };
    let since = shared.parts.holders.since(camera).unwrap_or_default();
    let since = since.as_millis();
    let held = Answer {
        headers: format!("Moorline-Generation: {generation}\r\nMoorline-Since: {since}\r\n"),
        ..refuse(200, "held_here")
    };
    answer(shared, stream, &held).await;
}

/// The peer that holds the camera under at least this generation: of several the one with the highest generation, then the latest session.
pub(super) async fn ask(
    shared: &Shared,
    camera: &CameraId,
    least: Generation,
) -> Option<SocketAddr> {
    let clock = &*shared.parts.clock;
    let asking = async {
        let _place = shared.questions.acquire().await.ok()?;
        let mut addresses = Vec::new();
        for peer in &shared.config.peers {
            match tokio::net::lookup_host(peer).await {
                Ok(found) => addresses.extend(found),
                Err(error) => tracing::debug!(%peer, %error, "no peers are known"),
            }
        }
        addresses.truncate(MOST);
        let questions = addresses.into_iter().map(|address| async move {
            // One that hangs must not take the others' answers with it.
            let answered = timeout(clock, PATIENCE, question(shared, address, camera)).await;
            answered
                .ok()
                .flatten()
                .map(|(generation, since)| (generation, since, address))
        });
        let held = join_all(questions).await.into_iter().flatten();
        held.filter(|(generation, _, _)| *generation >= least).max()
    };
    let best = timeout(clock, PATIENCE * 2, asking).await.ok().flatten();
    best.map(|(_, _, address)| address)
}

async fn question(
    shared: &Shared,
    address: SocketAddr,
    camera: &CameraId,
) -> Option<(Generation, i64)> {
    let stream = TcpStream::connect(address).await.ok()?;
    let connector = TlsConnector::from(shared.parts.tls.peer());
    let stream = connector.connect(shared.name.clone(), stream).await.ok()?;
    let mut stream = BufReader::new(stream);
    let service = &shared.config.service;
    let text = format!("GET /v1/holds/{camera} HTTP/1.1\r\nHost: {service}\r\n\r\n");
    stream.write_all(text.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    let bytes = head::read(&mut stream).await.ok()?;
    let head = Head::parse(&bytes).ok()?;
    if head.status().ok()? != 200 {
        return None;
    }
    let generation = head.header("Moorline-Generation").ok()??.parse().ok()?;
    let since = head.header("Moorline-Since").ok()??.parse().ok()?;
    Some((Generation(generation), since))
}
