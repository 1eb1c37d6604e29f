//! A bounded queue from many threads to one, as `std::sync::mpsc` has it with a fraction of its code: that one is compiled for each type in three
//! forms, which are 20 KB of a camera's flash.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::moment::Moments;

#[derive(Debug)]
struct Shared<T> {
    inside: Mutex<Inside<T>>,
    /// Something came in, went out, or an end is gone.
    changed: Condvar,
}

#[derive(Debug)]
struct Inside<T> {
    waiting: Vec<T>,
    room: usize,
    senders: usize,
    /// Nobody takes anything out any more.
    closed: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Inside<T>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A mailbox with room for so many.
pub(crate) fn mailbox<T>(room: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        inside: Mutex::new(Inside {
            waiting: Vec::new(),
            room,
            senders: 1,
            closed: false,
        }),
        changed: Condvar::new(),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// Where it is put in.
#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Puts one in; waits for room. False when nobody takes it.
    pub(crate) fn send(&self, one: T) -> bool {
        self.put(one, true)
    }

    /// The same; without room it is lost.
    pub(crate) fn try_send(&self, one: T) -> bool {
        self.put(one, false)
    }

    fn put(&self, one: T, waits: bool) -> bool {
        let mut inside = self.0.lock();
        while inside.waiting.len() >= inside.room && !inside.closed {
            if !waits {
                return false;
            }
            inside = wait(&self.0.changed, inside, None);
        }
        if inside.closed {
            return false;
        }
        inside.waiting.push(one);
        self.0.changed.notify_all();
        true
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

/// Why nothing came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    /// Not in time.
    Late,
    /// Nobody is left who could send.
    Over,
}

/// Where it is taken out.
#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

impl<T> Receiver<T> {
    /// The next one; `None` when nobody is left who could send.
    pub(crate) fn take(&self) -> Option<T> {
        self.within(None).ok()
    }

    /// The next one, within a time.
    pub(crate) fn take_within(&self, patience: Duration) -> Result<T, Empty> {
        self.within(Some(patience))
    }

    fn within(&self, patience: Option<Duration>) -> Result<T, Empty> {
        let begin = Moments::begin();
        let mut inside = self.0.lock();
        loop {
            if !inside.waiting.is_empty() {
                let one = inside.waiting.remove(0);
                self.0.changed.notify_all();
                return Ok(one);
            }
            if inside.senders == 0 {
                return Err(Empty::Over);
            }
            let left = patience.map(|patience| patience.saturating_sub(begin.now()));
            if left == Some(Duration::ZERO) {
                return Err(Empty::Late);
            }
            inside = wait(&self.0.changed, inside, left);
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut inside = self.0.lock();
        inside.closed = true;
        // What nobody takes any more may hold pipes and keys.
        inside.waiting.clear();
        self.0.changed.notify_all();
    }
}

fn wait<'shared, T>(
    changed: &Condvar,
    inside: MutexGuard<'shared, Inside<T>>,
    patience: Option<Duration>,
) -> MutexGuard<'shared, Inside<T>> {
    match patience {
        None => changed.wait(inside).unwrap_or_else(PoisonError::into_inner),
        Some(patience) => {
            let waited = changed.wait_timeout(inside, patience);
            waited.unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_put_in_comes_out_in_its_order_and_then_the_end() {
        let (sender, receiver) = mailbox(2);
        let sending = thread::spawn(move || (0..1000).all(|number| sender.send(number)));
        for number in 0..1000 {
            assert_eq!(receiver.take_within(LONG), Ok(number));
        }
        assert!(sending.join().unwrap());
        assert_eq!(receiver.take(), None);
        assert_eq!(receiver.take_within(LONG), Err(Empty::Over));
    }

    #[test]
    fn a_full_one_refuses_or_makes_wait_and_nobody_waits_for_who_is_gone() {
        let (sender, receiver) = mailbox(1);
        assert_eq!(
            receiver.take_within(Duration::from_millis(1)),
            Err(Empty::Late)
        );
        assert!(sender.try_send(1));
        assert!(!sender.try_send(2));
        let second = sender.clone();
        let waiting = thread::spawn(move || second.send(3));
        assert_eq!(receiver.take(), Some(1));
        assert!(waiting.join().unwrap());
        let second = sender.clone();
        let waiting = thread::spawn(move || second.send(4));
        drop(receiver);
        assert!(!waiting.join().unwrap());
        assert!(!sender.send(5));
    }
}
