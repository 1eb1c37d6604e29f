//! What all cameras of the process share (S4, S5): how many claims begin in a second, per tenant and in all, and how many notices are sent.
//!
//! Pure: instants are arguments. A claim passes the camera's own damper first ([`crate::damper`]), then its tenant's gate, then the gate
//! of the process, which is asked only when the tenant's slot has come: a tenant that floods waits at its own gate and takes nothing
//! from the others. A claim is never refused here, it is given its turn, so that a thousand that wait are woken twice each and no more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use moorline_base::rate::TokenBucket;
use moorline_core::TenantId;

/// Claims of one tenant that begin at once, and one more in so long (200 a second). A thousand cameras that come back together wait for
/// nothing; ten thousand are back within a minute.
const TENANT_BURST: u32 = 2_000;
const TENANT_EVERY: Duration = Duration::from_millis(5);
/// Claims of all tenants: twice as many.
const PROCESS_BURST: u32 = 4_000;
const PROCESS_EVERY: Duration = Duration::from_micros(2_500);
/// Tenants whose gate is remembered before those that have nothing to remember are forgotten.
const TENANTS: usize = 1_024;
/// Notices that are sent at once over all cameras, and one more in a minute: a flood of them must not hide an alarm.
const NOTICES: u32 = 20;
const NOTICE_PER_SECOND: f64 = 1.0 / 60.0;

/// Gives turns: a burst at once, then one every so long.
#[derive(Debug, Clone, Copy)]
struct Turns {
    every: Duration,
    burst: u32,
    /// When all turns that were given have been earned.
    settled: Instant,
}

impl Turns {
    fn new(burst: u32, every: Duration, now: Instant) -> Self {
        Self {
            every,
            burst,
            settled: now,
        }
    }

    /// How long to wait for the turn that is given now.
    fn take(&mut self, now: Instant) -> Duration {
        self.settled = self.settled.max(now) + self.every;
        let ahead = self.settled.saturating_duration_since(now);
        ahead.saturating_sub(self.every * self.burst)
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.settled <= now
    }
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Gates {
    tenants: HashMap<TenantId, Turns>,
    process: Turns,
    notices: TokenBucket,
}

impl Gates {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            tenants: HashMap::new(),
            process: Turns::new(PROCESS_BURST, PROCESS_EVERY, now),
            notices: TokenBucket::new(NOTICES, NOTICE_PER_SECOND, now),
        }
    }

    /// A claim of this tenant wants to begin: how long until it may ask for the process's turn.
    pub(crate) fn tenant(&mut self, tenant: &TenantId, now: Instant) -> Duration {
        if self.tenants.len() >= TENANTS && !self.tenants.contains_key(tenant) {
            self.tenants.retain(|_, turns| !turns.is_idle(now));
        }
        let fresh = || Turns::new(TENANT_BURST, TENANT_EVERY, now);
        self.tenants
            .entry(tenant.clone())
            .or_insert_with(fresh)
            .take(now)
    }

    /// A claim whose tenant's slot has come wants to begin: how long until it may.
    pub(crate) fn process(&mut self, now: Instant) -> Duration {
        self.process.take(now)
    }

    /// Whether one more notice may be sent.
    pub(crate) fn notice(&mut self, now: Instant) -> bool {
        self.notices.try_take(now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// When each of so many claims of a tenant, all wanted at `at`, begins: through both gates, in milliseconds.
    fn begins(gates: &mut Gates, start: Instant, tenant: &str, at: u64, count: u32) -> Vec<u64> {
        let tenant: TenantId = tenant.parse().unwrap();
        let wanted = start + Duration::from_millis(at);
        let mut slots: Vec<Instant> = (0..count)
            .map(|_| wanted + gates.tenant(&tenant, wanted))
            .collect();
        slots.sort();
        let begun = slots.into_iter().map(|slot| slot + gates.process(slot));
        begun.map(|at| (at - start).as_millis() as u64).collect()
    }

    #[test]
    fn s5_a_thousand_cameras_at_once_wait_for_nothing_and_ten_thousand_a_minute() {
        let start = Instant::now();
        let mut gates = Gates::new(start);
        assert!(
            begins(&mut gates, start, "home", 0, 1_000)
                .iter()
                .all(|at| *at == 0)
        );
        let mut gates = Gates::new(start);
        let begun = begins(&mut gates, start, "home", 0, 10_000);
        assert_eq!(begun.iter().filter(|at| **at == 0).count(), 2_000);
        assert_eq!(begun.last(), Some(&40_000));
    }

    #[test]
    fn s5_a_tenant_that_floods_takes_nothing_from_the_others() {
        let start = Instant::now();
        let mut gates = Gates::new(start);
        let flooding: TenantId = "flood".parse().unwrap();
        for _ in 0..100_000 {
            gates.tenant(&flooding, start);
        }
        // The slots that have come ask for the process's turn; the others still wait at their own gate.
        for _ in 0..TENANT_BURST {
            assert_eq!(gates.process(start), Duration::ZERO);
        }
        assert!(
            begins(&mut gates, start, "home", 0, 1_000)
                .iter()
                .all(|at| *at == 0)
        );
    }

    #[test]
    fn tenants_that_are_idle_are_forgotten() {
        let start = Instant::now();
        let mut gates = Gates::new(start);
        for index in 0..3_000_u64 {
            let tenant: TenantId = format!("t{index}").parse().unwrap();
            gates.tenant(&tenant, start + Duration::from_millis(index * 10));
        }
        assert!(gates.tenants.len() <= TENANTS);
    }

    #[test]
    fn s4_notices_are_limited_over_all_cameras() {
        let start = Instant::now();
        let mut gates = Gates::new(start);
        assert_eq!((0..100).filter(|_| gates.notice(start)).count(), 20);
        assert!(gates.notice(start + Duration::from_secs(61)));
        assert!(!gates.notice(start + Duration::from_secs(61)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whoever wants whatever when: in no stretch of time do more claims begin than burst and rate allow, per tenant and in all.
        #[test]
        fn s5_no_stretch_of_time_sees_more_claims_than_its_gates_allow(
            wants in proptest::collection::vec((0_u8..3, 0_u64..20_000, 1_u32..6_000), 1..12),
        ) {
            let start = Instant::now();
            let (mut gates, mut wants) = (Gates::new(start), wants);
            wants.sort_by_key(|(_, at, _)| *at);
            let mut slots: [Vec<Instant>; 3] = Default::default();
            for (tenant, at, count) in wants {
                let id: TenantId = format!("t{tenant}").parse().unwrap();
                let wanted = start + Duration::from_millis(at);
                let own = &mut slots[usize::from(tenant)];
                own.extend((0..count).map(|_| wanted + gates.tenant(&id, wanted)));
            }
            for own in &mut slots {
                own.sort();
                prop_assert!(holds(own, TENANT_BURST, TENANT_EVERY));
            }
            let mut all = slots.concat();
            all.sort();
            let begun: Vec<Instant> = all.into_iter().map(|slot| slot + gates.process(slot)).collect();
            prop_assert!(holds(&begun, PROCESS_BURST, PROCESS_EVERY));
        }
    }

    /// From each to the one that is the burst and `more` behind it, `more` turns have passed.
    fn holds(times: &[Instant], burst: u32, every: Duration) -> bool {
        [1_u32, 2, 7, 50, 500].into_iter().all(|more| {
            let behind = times.iter().skip((burst + more - 1) as usize);
            times
                .iter()
                .zip(behind)
                .all(|(first, later)| *later - *first >= every * more)
        })
    }
}
