//! A reader at the server's end of the tunnel: RTSP by hand, pictures by their stamps.

use moorline_agent::relay::{Cutter, Piece};
use moorline_core::port::ByteStream;
use moorline_simcam::video::Stamp;
use moorline_testkit::patience;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::SOON;

pub(crate) struct Reader {
    stream: ByteStream,
    cutter: Cutter,
    ready: std::collections::VecDeque<Piece>,
}

impl Reader {
    pub(crate) fn over(stream: ByteStream) -> Self {
        Reader {
            stream,
            cutter: Cutter::default(),
            ready: std::collections::VecDeque::new(),
        }
    }

    pub(crate) async fn piece(&mut self) -> Option<Piece> {
        let mut room = vec![0; 65_536];
        while self.ready.is_empty() {
            let read = tokio::time::timeout(patience(SOON), self.stream.read(&mut room));
            let count = read.await.expect("the streamer fell silent").ok()?;
            if count == 0 {
                return None;
            }
            self.cutter
                .push(&room[..count], |piece| self.ready.push_back(piece));
        }
        self.ready.pop_front()
    }

    pub(crate) async fn ask(&mut self, request: &str) -> String {
        self.stream.write_all(request.as_bytes()).await.unwrap();
        loop {
            match self.piece().await.expect("the connection ended") {
                Piece::Text(answer) => return String::from_utf8(answer).unwrap(),
                Piece::Frame { .. } => {}
                Piece::Raw(bytes) => panic!("framing was lost: {bytes:?}"),
            }
        }
    }

    pub(crate) async fn play(&mut self) {
        for (number, request) in [
            "DESCRIBE rtsp://c/main RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n",
            "SETUP rtsp://c/main/trackID=0 RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
        ]
        .iter()
        .enumerate()
        {
            let answer = self.ask(request).await;
            assert!(answer.starts_with("RTSP/1.0 200"), "{number}: {answer}");
            if let Some(session) = answer.lines().find_map(|line| line.strip_prefix("Session: ")) {
                let session = session.split(';').next().unwrap().to_owned();
                let play = format!("PLAY rtsp://c/main/ RTSP/1.0\r\nCSeq: 3\r\nSession: {session}\r\n\r\n");
                assert!(self.ask(&play).await.starts_with("RTSP/1.0 200"));
            }
        }
    }

    /// The number of the next picture.
    pub(crate) async fn picture(&mut self) -> Option<u64> {
        loop {
            match self.piece().await? {
                Piece::Frame { channel: 0, bytes } => {
                    if let Some(stamp) = Stamp::from_nal(bytes.get(16..)?) {
                        return Some(stamp.frame);
                    }
                }
                Piece::Raw(bytes) => panic!("framing was lost: {bytes:?}"),
                _ => {}
            }
        }
    }
}
