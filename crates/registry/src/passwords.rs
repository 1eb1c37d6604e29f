//! Argon2id in a pool of two with a short queue (rule S11): strangers who sign in cannot take the machine's cores or memory.
//!
//! Full queue: `UsersError::Busy`, at once. Of its places one network (/24, /48) has half at most, and so have changes of passwords: whoever tries
//! invented logins all the time, which no throttle holds back, keeps nobody else out. An unknown login costs the same as a known one: it is hashed
//! too, and never matches.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use moorline_base::Counted;
use moorline_base::clock::{SharedClock, timeout};
use moorline_base::rate::Prefix;
use moorline_core::Masked;
use moorline_core::port::{PortError, UsersError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Runs at once: at most 2 cores and 2 × 19 MiB.
const RUNS: usize = 2;
/// Sign-ins that wait: about a third of a second of work.
const QUEUE: usize = 16;
/// Sign-ins of one network that wait or run.
const PER_NETWORK: usize = QUEUE / 2;
/// How long one waits at most.
const WAIT: Duration = Duration::from_secs(5);
/// Shorter and longer passwords are refused when they are set (in characters).
const LENGTH: std::ops::RangeInclusive<usize> = 10..=200;
/// What is hashed of a password that is tried: a stranger's megabyte costs no more than a word.
const TRIED_BYTES: usize = 1_024;

/// The pool.
#[derive(Debug)]
pub(crate) struct Passwords {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    asking: Arc<Mutex<Asking>>,
    clock: SharedClock,
}

/// How many wait or run, by network; `None`: changes of passwords.
type Asking = Counted<Option<Prefix>>;

/// A place in the pool.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _asked: Asked,
}

/// Somebody who waits or runs; counted until dropped.
struct Asked {
    asking: Arc<Mutex<Asking>>,
    network: Option<Prefix>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.remove(&self.network);
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Passwords {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(RUNS)),
            waiting: AtomicUsize::new(0),
            asking: Arc::default(),
            clock,
        }
    }

    /// Waits for a place: for a sign-in from there, or for a change.
    ///
    /// # Errors
    /// [`UsersError::Busy`] when 16 wait already, 8 of that network, or after 5 s.
    pub(crate) async fn place(&self, from: Option<IpAddr>) -> Result<Place, UsersError> {
        let asked = self.asks(from.map(Prefix::wide))?;
        let taken = |permit| Place {
            _permit: permit,
            _asked: asked,
        };
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(taken(permit));
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= QUEUE {
            return Err(UsersError::Busy);
        }
        let permit = Arc::clone(&self.permits).acquire_owned();
        match timeout(&*self.clock, WAIT, permit).await {
            Ok(Ok(permit)) => Ok(taken(permit)),
            _ => Err(UsersError::Busy),
        }
    }

    fn asks(&self, network: Option<Prefix>) -> Result<Asked, UsersError> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if asking.of(&network) >= PER_NETWORK {
            return Err(UsersError::Busy);
        }
        asking.add(network);
        Ok(Asked {
            asking: Arc::clone(&self.asking),
            network,
        })
    }
}

impl Place {
    /// Whether `password` is the one of `hash`; without a hash it costs the same and is `false`.
    pub(crate) async fn verify(
        self,
        hash: Option<Masked<String>>,
        password: Masked<String>,
    ) -> Result<bool, UsersError> {
        self.run(move || {
            let tried = password.reveal().as_bytes();
            let tried = tried.get(..TRIED_BYTES).unwrap_or(tried);
            let parsed = hash
                .as_ref()
                .and_then(|hash| PasswordHash::new(hash.reveal()).ok());
            match parsed {
                Some(hash) => Ok(argon2()?.verify_password(tried, &hash).is_ok()),
                None => hash_bytes(tried).map(|_| false),
            }
        })
        .await
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`UsersError::Password`] for fewer than 10 or more than 200 characters.
    pub(crate) async fn hash(self, password: Masked<String>) -> Result<Masked<String>, UsersError> {
        let length = password.reveal().chars().count();
        if !LENGTH.contains(&length) {
            return Err(UsersError::Password(length));
        }
        self.run(move || hash_bytes(password.reveal().as_bytes()).map(Masked::new))
            .await
    }

    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, argon2::password_hash::Error> + Send + 'static,
    ) -> Result<T, UsersError> {
        let operation = "hash a password";
        // The place goes along: a caller that gives up does not make room while its hash still runs.
        let run = tokio::task::spawn_blocking(move || (work(), self));
        let (result, _place) = run
            .await
            .map_err(|error| PortError::new(operation, error))?;
        result.map_err(|error| PortError::new(operation, error).into())
    }
}

/// 19 MiB, two passes, one lane: OWASP's first choice for Argon2id (2024), 20 to 40 ms on a small server.
fn argon2() -> Result<Argon2<'static>, argon2::password_hash::Error> {
    let params = Params::new(19 * 1024, 2, 1, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_bytes(password: &[u8]) -> Result<String, argon2::password_hash::Error> {
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>())?;
    argon2()?
        .hash_password(password, &salt)
        .map(|hash| hash.to_string())
}

#[cfg(test)]
mod tests {
    use moorline_base::SystemClock;

    use super::*;

    fn network(number: u8) -> Option<IpAddr> {
        Some(IpAddr::from([198, 51, number, 1]))
    }

    /// S11.
    #[tokio::test]
    async fn a_full_queue_is_refused_at_once_and_empties() {
        let pool = Arc::new(Passwords::new(SystemClock::shared()));
        let running = (
            pool.place(network(0)).await.unwrap(),
            pool.place(network(1)).await.unwrap(),
        );
        let mut waiting: Vec<_> = (0..QUEUE)
            .map(|nth| Box::pin(pool.place(network(nth as u8))))
            .collect();
        for place in &mut waiting {
            assert!(futures_poll(place).await.is_none(), "waits");
        }
        assert!(matches!(
            pool.place(network(99)).await,
            Err(UsersError::Busy)
        ));
        drop(running);
        for place in waiting {
            drop(place.await.unwrap());
        }
        assert!(pool.place(network(0)).await.is_ok());
        assert_eq!(pool.waiting.load(Ordering::Relaxed), 0);
        assert!(pool.asking.lock().unwrap().is_empty());
    }

    /// S11: nobody is locked out by others.
    #[tokio::test]
    async fn who_invents_logins_all_the_time_keeps_nobody_else_from_signing_in() {
        let pool = Arc::new(Passwords::new(SystemClock::shared()));
        let flood = || pool.place(Some(IpAddr::from([203, 0, 113, rand::random::<u8>()])));
        let running = (flood().await.unwrap(), flood().await.unwrap());
        let mut waiting: Vec<_> = (RUNS..PER_NETWORK).map(|_| Box::pin(flood())).collect();
        for place in &mut waiting {
            assert!(futures_poll(place).await.is_none(), "waits");
        }
        assert!(matches!(flood().await, Err(UsersError::Busy)));
        let mut anna = Box::pin(pool.place(network(1)));
        assert!(futures_poll(&mut anna).await.is_none(), "waits");
        let mut change = Box::pin(pool.place(None));
        assert!(futures_poll(&mut change).await.is_none(), "waits");
        drop(running);
        for place in waiting {
            drop(place.await.unwrap());
        }
        drop(anna.await.unwrap());
        assert!(change.await.is_ok());
    }

    /// Polls once.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                std::task::Poll::Ready(value) => Some(value),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn a_password_is_its_own_alone() {
        let pool = Passwords::new(SystemClock::shared());
        let word = |text: &str| Masked::new(text.to_owned());
        let hash = pool
            .place(None)
            .await
            .unwrap()
            .hash(word("correct horse"))
            .await
            .unwrap();
        assert!(
            hash.reveal().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            hash.reveal()
        );
        let verify = async |hash: Option<Masked<String>>, text: &str| {
            pool.place(None)
                .await
                .unwrap()
                .verify(hash, word(text))
                .await
                .unwrap()
        };
        assert!(verify(Some(hash.clone()), "correct horse").await);
        assert!(!verify(Some(hash.clone()), "correct hors").await);
        assert!(!verify(Some(hash), &"x".repeat(1 << 20)).await);
        assert!(!verify(None, "correct horse").await);
    }
}
