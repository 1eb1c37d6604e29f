//! `moorline camera web`: a port of loopback that leads to a camera's own web server (rule S14).
//!
//! Each connection of a browser has a stream of its own from the server; more than it gives wait. It ends by Ctrl-C.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use hyper_util::rt::TokioIo;
use moorline_base::clock::SystemClock;
use moorline_base::net::{self, Acceptor};
use moorline_base::shutdown::Signals;
use moorline_base::{CancellationToken, error};
use moorline_core::CameraId;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;

use crate::args::{CameraWeb, Output};
use crate::client::{Client, reach_in_path};
use crate::output;

/// As many as the server gives.
const STREAMS: usize = 8;

/// How long a browser may take for a refusal.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// Opens the port, says where, and leads to the camera whoever connects, until it is told to stop.
///
/// # Errors
/// The camera cannot be reached, in the server's words, or the port cannot be opened.
pub async fn run(client: &Client, asked: &CameraWeb, format: Output) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    let camera: CameraId = asked.camera.parse()?;
    let path = reach_in_path(&asked.camera)?;
    // What stands in the way is told here, and not first in a browser.
    drop(client.reach_in(&path).await?);
    let listener = net::listen(asked.listen)?;
    announce(&camera, listener.local_addr()?, format)?;
    let never = CancellationToken::new();
    let mut browsers = Acceptor::new("camera web", listener, SystemClock::shared(), never);
    let mut streams: FuturesUnordered<LocalBoxFuture<'_, ()>> = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = signals.stopped() => return Ok(()),
            browser = browsers.next(), if streams.len() < STREAMS => match browser {
                Some((browser, _)) => streams.push(Box::pin(lead(client, &path, browser))),
                None => return Ok(()),
            },
            Some(()) = streams.next(), if !streams.is_empty() => {}
        }
    }
}

fn announce(camera: &CameraId, address: SocketAddr, format: Output) -> anyhow::Result<()> {
    let url = format!("http://{address}/");
    if format == Output::Json {
        return output::print_line(&json!({"id": camera, "url": url}));
    }
    let text = format!(
        "{url} is {}'s own page, until Ctrl-C\n\
         From another machine: ssh -L {}:{address} to this one, and then the same URL there\n",
        camera.typed(),
        address.port(),
    );
    output::write_all(text.as_bytes())
}

/// Leads one connection to the camera. When that cannot be, the browser shows why, and so does the terminal.
async fn lead(client: &Client, path: &str, mut browser: TcpStream) {
    match client.reach_in(path).await {
        Ok(camera) => {
            let mut camera = TokioIo::new(camera);
            // That one side broke off is told to the other by the end of its connection.
            let _ = copy_bidirectional(&mut browser, &mut camera).await;
        }
        Err(refused) => {
            let why = error::report(refused.as_ref());
            output::say(&why);
            refuse(browser, &why).await;
        }
    }
}

/// Answers whatever was asked with the reason.
async fn refuse(mut browser: TcpStream, why: &str) {
    let answer = format!(
        "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{why}\n",
        why.len() + 1
    );
    let told = async {
        // A connection that ends before it was read is reset, and its answer lost.
        let mut request = [0; 4096];
        let _asked = browser.read(&mut request).await?;
        browser.write_all(answer.as_bytes()).await?;
        browser.shutdown().await
    };
    let _ = tokio::time::timeout(REFUSED_WITHIN, told).await;
}
