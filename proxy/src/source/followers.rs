//! Readers that keep up, to whom new media is handed at once.
//!
//! **Owns** the list of a source's followers, and in which order they are served. **Does not own** what becomes of the media (`reader`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Source;

/// So many get their media in the publisher's own turn, some 10 µs each on a plain socket; the tasks of the others are called, so that a crowd
/// does not keep the publisher from reading the camera (P6), and is served by all cores.
const AT_ONCE: usize = 64;

/// Who wants media as soon as it is there. Neither call may wait for anything.
pub(crate) trait Follower: Send + Sync {
    /// New media is there: takes it, as far as that goes without waiting.
    fn offer(&self, now: Instant);

    /// Something is new: has a look in a turn of its own.
    fn call(&self);
}

type List = Arc<Vec<Arc<dyn Follower>>>;

/// The followers of one source. The list is replaced when it changes, so that nobody who comes or goes waits for one who is being served.
#[derive(Default)]
pub(super) struct Followers(Mutex<List>);

impl fmt::Debug for Followers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Followers")
            .field(&self.list().len())
            .finish()
    }
}

impl Followers {
    fn list(&self) -> List {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<dyn Follower>>)) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut list));
    }

    /// Hands out new media.
    pub(super) fn offer(&self, now: Instant) {
        for (index, follower) in self.list().iter().enumerate() {
            if index < AT_ONCE {
                follower.offer(now);
            } else {
                follower.call();
            }
        }
    }

    /// Tells all of a change that is no media.
    pub(super) fn call(&self) {
        for follower in self.list().iter() {
            follower.call();
        }
    }
}

/// A follower's place in its source's list, given back when dropped.
pub(crate) struct Following {
    source: Arc<Source>,
    follower: Arc<dyn Follower>,
}

impl Following {
    /// From now on it is offered what is new; what is there already it has to look for itself.
    pub(crate) fn new(source: &Arc<Source>, follower: Arc<dyn Follower>) -> Self {
        source
            .followers
            .change(|list| list.push(Arc::clone(&follower)));
        Self {
            source: Arc::clone(source),
            follower,
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.source
            .followers
            .change(|list| list.retain(|other| !Arc::ptr_eq(other, &self.follower)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting {
        offered: AtomicUsize,
        called: AtomicUsize,
    }

    impl Follower for Counting {
        fn offer(&self, _: Instant) {
            self.offered.fetch_add(1, Ordering::Relaxed);
        }

        fn call(&self) {
            self.called.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_crowd_is_served_by_its_own_tasks() {
        let followers = Followers::default();
        let all: Vec<Arc<Counting>> = (0..AT_ONCE + 3).map(|_| Arc::default()).collect();
        for follower in &all {
            followers.change(|list| list.push(Arc::clone(follower) as Arc<dyn Follower>));
        }
        followers.offer(Instant::now());
        let count = |of: fn(&Counting) -> &AtomicUsize| {
            all.iter()
                .map(|follower| of(follower).load(Ordering::Relaxed))
                .sum::<usize>()
        };
        assert_eq!(
            (count(|one| &one.offered), count(|one| &one.called)),
            (AT_ONCE, 3)
        );
    }
}
