//! A streamer without a camera, for one that is emulated: a film with a running clock at `rtsp://127.0.0.1:8555/main`, until Ctrl-C.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::net::SocketAddr;

use moorline_base::SystemClock;
use moorline_simcam::{Source, SourceConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = SocketAddr::from(([127, 0, 0, 1], 8555));
    let listener = moorline_base::net::listen(address)?;
    let source = Source::new(SourceConfig::clip(1), SystemClock::shared());
    source.listen(listener);
    println!("rtsp://{address}/main and /sub");
    tokio::signal::ctrl_c().await?;
    source.stop().await;
    Ok(())
}
