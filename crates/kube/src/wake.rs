//! Who is woken by what: whoever waits for one camera, by that camera alone. Each has several waiting (its pods' task, the connections of its
//! relay and its archiver), so that of thousands that change together each would be looked at thousands of times.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use moorline_core::CameraId;
use tokio::sync::{Notify, watch};

/// Cameras that somebody waited for, before those that nobody waits for any more are forgotten.
const KEPT: usize = 1_024;

/// Changes of one kind, by camera.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<CameraId, watch::Sender<u64>>,
    /// At so many, those that nobody waits for are forgotten.
    full: usize,
    followers: Vec<Weak<Touched>>,
}

impl State {
    /// Tells whoever follows all cameras.
    fn tell(&mut self, tell: impl Fn(&Touched)) {
        self.followers.retain(|follower| {
            let follower = follower.upgrade();
            follower.is_some_and(|follower| {
                tell(&follower);
                true
            })
        });
    }
}

impl Wakes {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes with this camera. Ask for it before you look.
    pub(crate) fn of(&self, camera: &CameraId) -> watch::Receiver<u64> {
        self.with(|state| {
            if state.waiting.len() >= state.full.max(KEPT) {
                state
                    .waiting
                    .retain(|_, waiting| waiting.receiver_count() > 0);
                state.full = state.waiting.len() * 2;
            }
            let waiting = state.waiting.entry(camera.clone()).or_default();
            waiting.subscribe()
        })
    }

    /// Collects in `touched` which cameras change, for as long as it lives.
    pub(crate) fn follow(&self, touched: &Arc<Touched>) {
        self.with(|state| state.followers.push(Arc::downgrade(touched)));
    }

    /// This camera has changed.
    pub(crate) fn ring(&self, camera: &CameraId) {
        self.with(|state| {
            if let Some(waiting) = state.waiting.get(camera) {
                ring(waiting);
            }
            state.tell(|follower| follower.add(camera));
        });
    }

    /// What these cameras go by has changed, and nothing of themselves.
    pub(crate) fn ring_where(&self, is_meant: impl Fn(&CameraId) -> bool) {
        self.with(|state| {
            let meant = state.waiting.iter().filter(|(camera, _)| is_meant(camera));
            meant.for_each(|(_, waiting)| ring(waiting));
        });
    }

    /// Any camera may have changed.
    pub(crate) fn ring_all(&self) {
        self.ring_where(|_| true);
        self.with(|state| state.tell(Touched::add_all));
    }
}

fn ring(waiting: &watch::Sender<u64>) {
    waiting.send_modify(|count| *count += 1);
}

/// Which cameras were touched since they were looked at last: each once, so as many as there are.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    which: Mutex<Which>,
    bell: Notify,
}

/// Cameras.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// These alone.
    These(HashSet<CameraId>),
    /// Any.
    All,
}

impl Default for Which {
    fn default() -> Self {
        Self::These(HashSet::new())
    }
}

impl Touched {
    fn change(&self, change: impl FnOnce(&mut Which)) {
        change(&mut self.which.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_one();
    }

    fn add(&self, camera: &CameraId) {
        self.change(|which| {
            if let Which::These(cameras) = which {
                cameras.insert(camera.clone());
            }
        });
    }

    /// All are to be looked at.
    pub(crate) fn add_all(&self) {
        self.change(|which| *which = Which::All);
    }

    /// Waits until there are any, and takes them. For one waiter; cancel-safe.
    pub(crate) async fn next(&self) -> Which {
        loop {
            let which =
                std::mem::take(&mut *self.which.lock().unwrap_or_else(PoisonError::into_inner));
            if which != Which::default() {
                return which;
            }
            self.bell.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> CameraId {
        format!("acme/{name}").parse().unwrap()
    }

    #[test]
    fn a_change_of_one_camera_wakes_whoever_waits_for_it_and_nobody_else() {
        let wakes = Wakes::default();
        let (yard, gate) = (wakes.of(&id("yard")), wakes.of(&id("gate")));
        wakes.ring(&id("yard"));
        assert!(yard.has_changed().unwrap());
        assert!(!gate.has_changed().unwrap());
        wakes.ring_where(|camera| camera.name() == "gate");
        assert!(gate.has_changed().unwrap());
    }

    #[tokio::test]
    async fn who_follows_all_hears_of_each_camera_once_until_it_looks() {
        let (wakes, touched) = (Wakes::default(), Arc::new(Touched::default()));
        wakes.follow(&touched);
        for _ in 0..3 {
            wakes.ring(&id("yard"));
        }
        wakes.ring(&id("gate"));
        let both = HashSet::from([id("yard"), id("gate")]);
        assert_eq!(touched.next().await, Which::These(both));
        wakes.ring(&id("yard"));
        wakes.ring_all();
        assert_eq!(touched.next().await, Which::All);
        drop(touched);
        wakes.ring(&id("yard"));
        assert!(wakes.with(|state| state.followers.is_empty()));
    }

    #[test]
    fn names_that_nobody_waits_for_do_not_fill_the_memory() {
        let wakes = Wakes::default();
        let stays = wakes.of(&id("stays"));
        for number in 0..KEPT * 3 {
            drop(wakes.of(&id(&format!("cam-{number}"))));
        }
        assert!(wakes.with(|state| state.waiting.len()) <= KEPT);
        wakes.ring(&id("stays"));
        assert!(stays.has_changed().unwrap());
    }
}
