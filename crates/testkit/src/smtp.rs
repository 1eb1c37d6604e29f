//! A mail server that keeps what it gets: for alarm mails.
//!
//! Plain SMTP (RFC 5321) with AUTH PLAIN (RFC 4954) offered, no TLS: it listens on loopback only.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::watch,
};

use crate::{
    Error,
    eventually::counted,
    serving::{Task, loopback, serve},
};

/// A mail that was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Header and body as sent, dots unstuffed, lines ended by LF.
    pub text: String,
    /// User name and password of AUTH PLAIN, if the client sent them.
    pub login: Option<(String, String)>,
}

#[derive(Debug, Default)]
struct State {
    mails: watch::Sender<Vec<Mail>>,
    refusing: AtomicBool,
}

/// The running server.
#[derive(Debug)]
pub struct SmtpSink {
    address: SocketAddr,
    state: Arc<State>,
    _serving: Task,
}

impl SmtpSink {
    /// Listens on 127.0.0.1:0.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn start() -> Result<Self, Error> {
        let (listener, address) = loopback().await?;
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let serving = serve(listener, move |stream| {
            let state = Arc::clone(&shared);
            async move {
                let _ = talk(stream, &state).await;
            }
        });
        Ok(Self {
            address,
            state,
            _serving: serving,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// While true, every recipient is refused for now (451).
    pub fn refuse(&self, refuse: bool) {
        self.state.refusing.store(refuse, Ordering::Relaxed);
    }

    /// What was accepted so far.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.state.mails.borrow().clone()
    }

    /// Waits until `count` mails were accepted in all, and returns them.
    ///
    /// # Errors
    /// [`Error::Timeout`], with what came.
    pub async fn wait_for(&self, count: usize, deadline: Duration) -> Result<Vec<Mail>, Error> {
        counted(&self.state.mails, "mail", count, deadline).await
    }
}

async fn talk(stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut mail = Mail::default();
    stream.write_all(b"220 sink ESMTP\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let command = line.trim_end().to_owned();
        let upper = command.to_ascii_uppercase();
        let answer = if upper.starts_with("EHLO") {
            "250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n".to_owned()
        } else if upper.starts_with("HELO") || upper == "NOOP" {
            "250 ok\r\n".to_owned()
        } else if upper.starts_with("AUTH PLAIN") {
            mail.login = plain_login(command.get(10..).unwrap_or_default().trim());
            if mail.login.is_some() {
                "235 ok\r\n"
            } else {
                "535 what?\r\n"
            }
            .to_owned()
        } else if upper.starts_with("MAIL FROM:") {
            mail.from = path_in(&command);
            "250 ok\r\n".to_owned()
        } else if upper.starts_with("RCPT TO:") {
            if state.refusing.load(Ordering::Relaxed) {
                "451 not now\r\n".to_owned()
            } else {
                mail.to.push(path_in(&command));
                "250 ok\r\n".to_owned()
            }
        } else if upper == "RSET" {
            mail = Mail {
                login: mail.login,
                ..Mail::default()
            };
            "250 ok\r\n".to_owned()
        } else if upper == "DATA" && mail.to.is_empty() {
            "503 no recipients\r\n".to_owned()
        } else if upper == "DATA" {
            stream.write_all(b"354 go on\r\n").await?;
            mail.text = data(&mut stream).await?;
            let login = mail.login.clone();
            state
                .mails
                .send_modify(|all| all.push(std::mem::take(&mut mail)));
            mail.login = login;
            "250 kept\r\n".to_owned()
        } else if upper == "QUIT" {
            stream.write_all(b"221 bye\r\n").await?;
            return stream.shutdown().await;
        } else {
            "502 unknown\r\n".to_owned()
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// The lines up to a lone dot, unstuffed (RFC 5321 section 4.5.2).
async fn data(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut text = String::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let content = String::from_utf8_lossy(&line);
        let content = content.trim_end_matches(['\r', '\n']);
        if content == "." {
            return Ok(text);
        }
        text.push_str(content.strip_prefix('.').unwrap_or(content));
        text.push('\n');
    }
}

/// What stands between `<` and `>`.
fn path_in(command: &str) -> String {
    let inner = command
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inner.map(|(path, _)| path.to_owned()).unwrap_or_default()
}

/// User and password of an initial response: `base64(authzid NUL user NUL password)`.
fn plain_login(response: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(STANDARD.decode(response).ok()?).ok()?;
    let mut parts = decoded.split('\0').skip(1).map(str::to_owned);
    Some((parts.next()?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    const SOON: Duration = Duration::from_secs(30);

    async fn converse(sink: &SmtpSink, text: &str) -> String {
        let mut stream = TcpStream::connect(sink.address()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(SOON, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    }

    const MAIL: &str = "EHLO me\r\nAUTH PLAIN AG1vb3IAc2VjcmV0\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n\
                        Subject: camera yard\r\n\r\n..two dots\r\n.\r\nQUIT\r\n";

    #[tokio::test]
    async fn keeps_a_mail_with_its_envelope_and_login() {
        let sink = SmtpSink::start().await.unwrap();
        let answer = converse(&sink, MAIL).await;
        assert!(answer.contains("250 kept"), "{answer}");
        let mails = sink.wait_for(1, SOON).await.unwrap();
        assert_eq!(
            mails,
            [Mail {
                from: "a@example.com".to_owned(),
                to: vec!["b@example.com".to_owned()],
                text: "Subject: camera yard\n\n.two dots\n".to_owned(),
                login: Some(("moor".to_owned(), "secret".to_owned())),
            }]
        );
    }

    #[tokio::test]
    async fn refuses_when_told() {
        let sink = SmtpSink::start().await.unwrap();
        sink.refuse(true);
        assert!(converse(&sink, MAIL).await.contains("451"));
        assert!(sink.mails().is_empty());
    }
}
