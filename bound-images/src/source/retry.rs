//! Trying again: which failures, how often, after how long.

use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use binding::pull::PullOptions;

use super::error::Refusal;

/// How often and how fast to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Further attempts after the first.
    pub count: u32,
    /// Delay before the first of them; doubled each time unless `fixed`.
    pub delay: Duration,
    /// Whether the delay stays the same.
    pub fixed: bool,
}

/// Longest delay between two attempts.
const LONGEST: Duration = Duration::from_secs(30);
/// Most further attempts, whatever a Quadlet says.
const MOST: u32 = 100;

impl Retries {
    /// `Retry=` and `RetryDelay=` of a Quadlet over the configured values.
    #[must_use]
    pub fn of(pull: &PullOptions, count: u32, delay: Duration) -> Self {
        Self {
            count: pull.retry.unwrap_or(count).min(MOST),
            delay: pull.retry_delay.unwrap_or(delay),
            fixed: pull.retry_delay.is_some(),
        }
    }

    /// The delay before further attempt `number` (from 0), stretched by up to a quarter:
    /// `jitter` is in 0..=255. A delay that a Quadlet asks for is kept as it is.
    #[must_use]
    pub fn delay_before(&self, number: u32, jitter: u8) -> Duration {
        if self.fixed {
            return self.delay;
        }
        let doubled = self.delay.saturating_mul(1 << number.min(16)).min(LONGEST);
        doubled.saturating_add(doubled / 1024 * u32::from(jitter))
    }

    /// Runs `attempt` until it succeeds, fails for good, or the attempts are used up. The error is
    /// that of the last attempt.
    ///
    /// # Errors
    /// As `attempt`.
    pub async fn run<T, F>(&self, what: &str, mut attempt: impl FnMut() -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let mut number = 0;
        loop {
            match attempt().await {
                Err(refusal) if refusal.kind.is_retryable() && number < self.count => {
                    let delay = self.delay_before(number, random_byte());
                    log::info!("{what}: {}; trying again in {delay:.1?}", refusal.why);
                    tokio::time::sleep(delay).await;
                    number += 1;
                }
                Err(mut refusal) if number > 0 => {
                    refusal.why = format!("{} (after {} attempts)", refusal.why, number + 1);
                    return Err(refusal);
                }
                done => return done,
            }
        }
    }
}

/// Hosts that failed together must not come back together.
fn random_byte() -> u8 {
    let hash = std::collections::hash_map::RandomState::new().build_hasher().finish();
    hash.to_le_bytes().first().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::error::Kind;
    use std::cell::Cell;

    #[test]
    fn delays_double_up_to_a_limit_unless_fixed() {
        let retries = Retries { count: 3, delay: Duration::from_secs(1), fixed: false };
        assert_eq!(retries.delay_before(0, 0), Duration::from_secs(1));
        assert_eq!(retries.delay_before(3, 0), Duration::from_secs(8));
        assert_eq!(retries.delay_before(4_000_000_000, 0), LONGEST);
        assert!(retries.delay_before(0, 255) < Duration::from_millis(1250));
        let fixed = Retries { fixed: true, ..retries };
        assert_eq!(fixed.delay_before(9, 255), Duration::from_secs(1));
    }

    #[tokio::test]
    async fn only_what_may_pass_is_tried_again() {
        let retries = Retries { count: 2, delay: Duration::ZERO, fixed: true };
        for (kind, attempts) in
            [(Kind::Network, 3), (Kind::Stalled, 3), (Kind::NotFound, 1), (Kind::Corrupt, 1)]
        {
            let seen = Cell::new(0);
            let result: Result<(), _> = retries
                .run("test", || {
                    seen.set(seen.get() + 1);
                    async move { Err(Refusal::new(kind, "no")) }
                })
                .await;
            assert_eq!(result.unwrap_err().kind, kind);
            assert_eq!(seen.get(), attempts, "{kind:?}");
        }
    }
}
