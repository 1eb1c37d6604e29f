//! One client: a task that reads requests, sends what is due and writes what waits.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use moorline_rtsp::interleaved::{Item, StrictDemux};
use moorline_rtsp::message::{Message, Method, Request};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::answer::{Conversation, Step, audio_of};
use super::player::Player;
use crate::fault::{Event, Fault};

/// A client whose answers pile up to this is not read further.
const MAX_OUTPUT: usize = 8 << 20;

/// How long the last bytes may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// The connection is over; nobody needs the reason.
struct Over;

struct Connection {
    shared: Arc<Shared>,
    conversation: Conversation,
    demux: StrictDemux,
    input: BytesMut,
    output: BytesMut,
    player: Option<Player>,
    own_cseq: u32,
    closing: bool,
}

/// Serves `stream` until it ends, is closed by a fault, or `stop` is cancelled.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Send>(
    shared: Arc<Shared>,
    stream: S,
    stop: CancellationToken,
) {
    count(&shared.counting.connections, 1);
    let mut events = shared.faults.events();
    let mut faults = shared.faults.changes();
    let mut connection = Connection {
        conversation: Conversation::new(&shared),
        demux: StrictDemux::default(),
        input: BytesMut::with_capacity(4096),
        output: BytesMut::new(),
        player: None,
        own_cseq: 0,
        closing: false,
        shared,
    };
    let (mut reader, mut writer) = tokio::io::split(Box::pin(stream));
    loop {
        let due = connection.due();
        let clock = connection.shared.clock.clone();
        let room = connection.output.len() < MAX_OUTPUT;
        let result = tokio::select! {
            biased;
            () = stop.cancelled() => Err(Over),
            event = events.recv() => match event {
                Ok(event) => connection.event(event),
                Err(RecvError::Lagged(_)) => Ok(()),
                Err(RecvError::Closed) => Err(Over),
            },
            written = writer.write_buf(&mut connection.output), if !connection.output.is_empty() => match written {
                Ok(1..) => Ok(()),
                Ok(0) | Err(_) => Err(Over),
            },
            read = reader.read_buf(&mut connection.input), if room => match read {
                Ok(1..) => connection.read(),
                Ok(0) | Err(_) => Err(Over),
            },
            () = sleep_until(&clock, due) => { connection.play(); Ok(()) }
            // What is due depends on the faults.
            _ = faults.changed() => Ok(()),
        };
        if result.is_err() {
            break;
        }
    }
    // Of a connection that an event closes, what waits goes out first: its last frame is a half one.
    if connection.closing {
        let _ = tokio::time::timeout(FAREWELL, writer.write_all_buf(&mut connection.output)).await;
    }
    let _ = tokio::time::timeout(FAREWELL, writer.shutdown()).await;
}

fn sleep_until(
    clock: &moorline_base::clock::SharedClock,
    due: Option<Instant>,
) -> impl Future<Output = ()> + Send + use<> {
    let sleep = due.map(|due| clock.sleep_until(due));
    async move {
        match sleep {
            Some(sleep) => sleep.await,
            None => std::future::pending().await,
        }
    }
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Connection {
    fn now(&self) -> Instant {
        self.shared.clock.monotonic()
    }

    fn due(&mut self) -> Option<Instant> {
        let player = self.player.as_mut()?;
        if self.shared.faults.is_on(Fault::Silence) {
            player.silent = true;
            return None;
        }
        player.due()
    }

    /// Takes requests off the input.
    fn read(&mut self) -> Result<(), Over> {
        loop {
            match self.demux.next(&mut self.input) {
                Ok(None) => return Ok(()),
                Ok(Some(Item::Message(Message::Request(request)))) => self.request(&request),
                // Receiver reports and answers to our own request.
                Ok(Some(_)) => {}
                Err(_) => return Err(Over),
            }
        }
    }

    fn request(&mut self, request: &Request) {
        count(&self.shared.counting.requests, 1);
        match self
            .conversation
            .answer(&self.shared, request, &mut self.output)
        {
            Step::Answered => {}
            Step::Stop => self.player = None,
            Step::Play => self.start(request),
        }
    }

    fn start(&mut self, request: &Request) {
        let now = self.now();
        let Some(stream) = self.conversation.stream(&self.shared) else {
            return;
        };
        if self.player.is_none() {
            let audio = audio_of(&self.shared, stream);
            self.player = Some(Player::new(
                self.shared.clone(),
                stream,
                audio,
                self.conversation.tracks,
                now,
            ));
        }
        count(&self.shared.counting.plays, 1);
        let Some(player) = &self.player else {
            return;
        };
        if self.shared.faults.is_on(Fault::RtcpFirst) {
            self.output.unsplit(player.early_report(now).bytes);
        }
        self.conversation
            .play(&self.shared, request, &player.first(), &mut self.output);
    }

    /// Queues what is due, or drops it where the client is too slow.
    fn play(&mut self) {
        let now = self.now();
        let Some(player) = &mut self.player else {
            return;
        };
        while let Some(due) = player.take(now) {
            let counting = &self.shared.counting;
            if self.output.len() + due.frames.bytes.len()
                > self.shared.config.queue.max(due.frames.bytes.len())
            {
                count(&counting.dropped, 1);
                continue;
            }
            if let Some(number) = due.picture {
                count(&counting.pictures, 1);
                counting.newest.fetch_max(number, Ordering::Relaxed);
            }
            count(&counting.bytes, due.frames.bytes.len() as u64);
            self.output.unsplit(due.frames.bytes);
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Over> {
        match event {
            Event::Close => {
                // A frame of 1,280 bytes, of which 16 come.
                self.output.extend_from_slice(&[b'$', 0, 5, 0]);
                self.output.extend_from_slice(&[0x80; 16]);
                self.closing = true;
                return Err(Over);
            }
            Event::Request => {
                self.own_cseq += 1;
                let request =
                    Request::new(Method::Options, "*").header("CSeq", self.own_cseq.to_string());
                request.encode(&mut self.output);
            }
            Event::Nonce => self.conversation.renew_nonce(&self.shared),
            other => {
                if let Some(player) = &mut self.player {
                    player.event(other);
                }
            }
        }
        Ok(())
    }
}
