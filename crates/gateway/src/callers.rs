//! Who shows a token, and how often somebody may be wrong about it.
//!
//! The API server is asked about each token that is not known yet, with the account that also renews leases and claims. A pod that makes tokens up
//! would spend that account's share for everybody: so an address has so many wrong tokens, and then few. In a cluster an address is a pod's.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use moorline_base::SharedClock;
use moorline_base::rate::Limiter;
use moorline_core::Masked;
use moorline_core::port::{Audience, Caller, Identities, IdentityError};

use crate::serving::Answer;

/// Wrong tokens at once, of one address.
const WRONG: u32 = 30;
/// And then per second.
const WRONG_PER_SECOND: f64 = 0.5;
/// Addresses that are remembered.
const ADDRESSES: usize = 8_192;

/// The callers of one server.
pub(crate) struct Callers {
    identities: Arc<dyn Identities>,
    clock: SharedClock,
    audience: Audience,
    wrong: Mutex<Limiter<IpAddr>>,
}

impl Callers {
    pub(crate) fn new(
        identities: Arc<dyn Identities>,
        clock: SharedClock,
        audience: Audience,
    ) -> Self {
        Self {
            identities,
            clock,
            audience,
            wrong: Mutex::new(Limiter::new(WRONG, WRONG_PER_SECOND, ADDRESSES)),
        }
    }

    /// Who shows `token`.
    ///
    /// # Errors
    /// The answer: 401 and 403 by what is wrong with it, 429 after too many wrong ones, 503 while nobody can tell.
    pub(crate) async fn of(
        &self,
        address: IpAddr,
        token: &Masked<String>,
    ) -> Result<Caller, Answer> {
        let address = address.to_canonical();
        let now = self.clock.monotonic();
        // Taken before it is known, so that many at once are not all let through; given back to whoever was right.
        if let Err(wait) = self.wrong(|wrong| wrong.try_take(address, now)) {
            let mut answer = Answer::refusal(429, "wrong_tokens");
            answer.headers = format!("Retry-After: {}\r\n", wait.as_secs().clamp(1, 60));
            return Err(answer);
        }
        match self.identities.caller(token, self.audience).await {
            Ok(caller) => {
                self.wrong(|wrong| wrong.give_back(&address));
                Ok(caller)
            }
            Err(IdentityError::Refused(reason)) => Err(Answer::refusal(401, reason)),
            Err(IdentityError::Forbidden(reason)) => Err(Answer::refusal(403, reason)),
            Err(IdentityError::Unavailable(cause)) => {
                self.wrong(|wrong| wrong.give_back(&address));
                tracing::debug!(cause, "nobody tells who shows the token");
                Err(Answer::refusal(503, "cluster"))
            }
        }
    }

    fn wrong<T>(&self, change: impl FnOnce(&mut Limiter<IpAddr>) -> T) -> T {
        change(&mut self.wrong.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use moorline_base::clock::SimulatedClock;
    use moorline_core::Timestamp;
    use moorline_core::port::PodUid;

    use super::*;

    /// Knows the token `good`, and counts what it is asked.
    #[derive(Default)]
    struct One(AtomicUsize);

    #[async_trait]
    impl Identities for One {
        async fn caller(
            &self,
            token: &Masked<String>,
            _audience: Audience,
        ) -> Result<Caller, IdentityError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            match token.reveal().as_str() {
                "good" => Ok(Caller::FrontDoor {
                    pod: PodUid("p".into()),
                }),
                _ => Err(IdentityError::Refused("token")),
            }
        }

        fn is_alive(&self, _pod: &PodUid) -> bool {
            true
        }

        fn created(&self, _pod: &PodUid) -> Option<Timestamp> {
            None
        }
    }

    #[tokio::test]
    async fn an_address_has_so_many_wrong_tokens_and_no_other_pays_for_it() {
        let one = Arc::new(One::default());
        let clock = Arc::new(SimulatedClock::new(0));
        let callers = Callers::new(one.clone(), clock.clone(), Audience::Signer);
        let status = async |last: u8, token: &str| {
            let address = IpAddr::from([10, 0, 0, last]);
            let answer = callers.of(address, &Masked::new(token.to_owned())).await;
            answer.map_or_else(|answer| answer.status, |_| 200)
        };
        // Good ones cost nothing, however many, and do not pay for wrong ones.
        for _ in 0..100 {
            assert_eq!(status(1, "good").await, 200);
        }
        for _ in 0..WRONG {
            assert_eq!(status(1, "wrong").await, 401);
        }
        let asked = one.0.load(Ordering::Relaxed);
        assert_eq!(status(1, "wrong").await, 429);
        assert_eq!(one.0.load(Ordering::Relaxed), asked, "nobody was asked");
        assert_eq!(status(2, "wrong").await, 401);
        clock.advance(Duration::from_secs(2));
        assert_eq!(status(1, "good").await, 200);
        assert_eq!(status(1, "wrong").await, 401);
        assert_eq!(status(1, "wrong").await, 429);
    }
}
