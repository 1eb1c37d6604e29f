//! The socket of a session, with a switch: frozen as by SIGSTOP, or cut as by `kill -9`.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Frozen,
    Cut,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The switch of a [`Wire`]. Clones are the same switch.
#[derive(Debug, Clone, Default)]
pub(super) struct Switch(Arc<Mutex<Inner>>);

impl Switch {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        let mut inner = self.inner();
        if inner.state == State::Cut {
            return;
        }
        inner.state = state;
        let wakers = [inner.reader.take(), inner.writer.take()];
        drop(inner);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Nothing is read or written until thawed; the socket stays open.
    pub(super) fn freeze(&self) {
        self.set(State::Frozen);
    }

    pub(super) fn thaw(&self) {
        self.set(State::Open);
    }

    /// Every read and write fails from now on.
    pub(super) fn cut(&self) {
        self.set(State::Cut);
    }

    /// Remembers who waits, and says whether the socket may be used.
    fn pass(
        &self,
        waker: &Waker,
        place: fn(&mut Inner) -> &mut Option<Waker>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.inner();
        let kept = place(&mut inner);
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
        match inner.state {
            State::Open => Poll::Ready(Ok(())),
            State::Frozen => Poll::Pending,
            State::Cut => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }
}

/// A socket that its switch can freeze and cut.
#[derive(Debug)]
pub(super) struct Wire {
    socket: TcpStream,
    switch: Switch,
}

impl Wire {
    pub(super) fn new(socket: TcpStream, switch: Switch) -> Self {
        Self { socket, switch }
    }

    fn writable(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.switch.pass(context.waker(), |inner| &mut inner.writer)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.switch.pass(context.waker(), |inner| &mut inner.reader) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.socket).poll_read(context, buffer),
            other => other,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.writable(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.socket).poll_write(context, bytes),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.writable(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.socket).poll_flush(context),
            other => other,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.writable(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.socket).poll_shutdown(context),
            other => other,
        }
    }
}
