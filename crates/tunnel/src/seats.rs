//! Which session is the landing of a camera (promises P1, P2).
//!
//! One seat per camera, taken by a session under a generation: a newer generation takes it from an older one, never the other way round.
//! Streams are found by camera and generation and by nothing else.
//!
//! Owns: the seats and waking those who wait for one. Does not own: ending the session that lost its seat; the caller does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use moorline_core::{CameraId, Generation, SessionId};
use tokio::sync::watch;

use crate::session::Session;

/// Who serves.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    pub(crate) session: Arc<Session>,
    pub(crate) generation: Generation,
}

type Seat = watch::Sender<Option<Serving>>;

/// What taking a seat led to.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The seat was free, or was this session's.
    Free,
    /// This session had it: end it.
    From(Arc<Session>),
    /// A newer generation has it.
    TooLate,
}

/// The seats. There is one for each camera that serves or is waited for.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<HashMap<CameraId, Seat>>);

impl Seats {
    fn with<T>(&self, look: impl FnOnce(&mut HashMap<CameraId, Seat>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The session serves from now on, unless a newer one does.
    pub(crate) fn take(
        &self,
        camera: &CameraId,
        session: Arc<Session>,
        generation: Generation,
    ) -> Taken {
        self.with(|seats| {
            let seat = seats
                .entry(camera.clone())
                .or_insert_with(|| watch::Sender::new(None));
            let mut taken = Taken::Free;
            seat.send_if_modified(|serving| {
                match serving {
                    Some(old) if old.generation > generation => {
                        taken = Taken::TooLate;
                        return false;
                    }
                    Some(old) if old.session.id != session.id => {
                        taken = Taken::From(Arc::clone(&old.session));
                    }
                    _ => {}
                }
                *serving = Some(Serving {
                    session,
                    generation,
                });
                true
            });
            taken
        })
    }

    /// The session is over: its seat, if it has it still, is free.
    pub(crate) fn leave(&self, camera: &CameraId, session: SessionId) {
        self.with(|seats| {
            let Some(seat) = seats.get(camera) else {
                return;
            };
            seat.send_if_modified(|serving| {
                let ours = serving
                    .as_ref()
                    .is_some_and(|serving| serving.session.id == session);
                if ours {
                    *serving = None;
                }
                ours
            });
            if seat.borrow().is_none() && seat.receiver_count() == 0 {
                seats.remove(camera);
            }
        });
    }

    /// Watches a camera's seat. Call [`Seats::tidy`] when done.
    pub(crate) fn watch(&self, camera: &CameraId) -> watch::Receiver<Option<Serving>> {
        self.with(|seats| {
            let seat = seats
                .entry(camera.clone())
                .or_insert_with(|| watch::Sender::new(None));
            seat.subscribe()
        })
    }

    /// Forgets a free seat that nobody watches.
    pub(crate) fn tidy(&self, camera: &CameraId) {
        self.with(|seats| {
            let idle = |seat: &Seat| seat.borrow().is_none() && seat.receiver_count() == 0;
            if seats.get(camera).is_some_and(idle) {
                seats.remove(camera);
            }
        });
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.with(|seats| seats.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: u64) -> Arc<Session> {
        Session::new(SessionId(id), "127.0.0.1:1".parse().unwrap())
    }

    fn camera() -> CameraId {
        "yard".parse().unwrap()
    }

    #[test]
    fn a_newer_generation_takes_the_seat_and_an_older_one_never_does() {
        let seats = Seats::default();
        let watching = seats.watch(&camera());
        assert!(matches!(
            seats.take(&camera(), session(2), Generation(2)),
            Taken::Free
        ));
        assert!(matches!(
            seats.take(&camera(), session(1), Generation(1)),
            Taken::TooLate
        ));
        let taken = seats.take(&camera(), session(3), Generation(3));
        assert!(matches!(taken, Taken::From(old) if old.id == SessionId(2)));
        seats.leave(&camera(), SessionId(2));
        let serving = watching.borrow().clone().unwrap();
        assert_eq!(
            (serving.session.id, serving.generation),
            (SessionId(3), Generation(3)),
            "the end of the old session does not free the new one's seat"
        );
    }

    #[test]
    fn seats_that_nobody_needs_are_forgotten() {
        let seats = Seats::default();
        seats.take(&camera(), session(1), Generation(1));
        seats.leave(&camera(), SessionId(1));
        assert_eq!(seats.len(), 0);
        let watching = seats.watch(&camera());
        seats.tidy(&camera());
        assert_eq!(seats.len(), 1);
        drop(watching);
        seats.tidy(&camera());
        assert_eq!(seats.len(), 0);
    }
}
