//! How many there are of each: connections by user, places by who sits on them. What has none is not remembered, so that whoever came once takes
//! no memory for ever (P9).

use std::collections::HashMap;
use std::hash::Hash;

/// Counts by key.
#[derive(Debug, Clone)]
pub struct Counted<K>(HashMap<K, usize>);

impl<K> Default for Counted<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Counted<K> {
    /// How many there are of this.
    #[must_use]
    pub fn of(&self, key: &K) -> usize {
        self.0.get(key).copied().unwrap_or(0)
    }

    /// How many there are of all for which this holds.
    #[must_use]
    pub fn of_all(&self, holds: impl Fn(&K) -> bool) -> usize {
        let those = self.0.iter().filter(|(key, _)| holds(key));
        those.map(|(_, count)| count).sum()
    }

    /// One more of this.
    pub fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    /// One less, if there is any.
    pub fn remove(&mut self, key: &K) {
        if let Some(count) = self.0.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }

    /// Whether there is nothing, and nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_counted_and_then_forgotten() {
        let mut counted = Counted::default();
        for user in ["vera", "vera", "anna"] {
            counted.add(user);
        }
        assert_eq!(counted.of(&"vera"), 2);
        assert_eq!(counted.of_all(|_| true), 3);
        assert_eq!(counted.of_all(|user| *user != "vera"), 1);
        for user in ["vera", "anna", "vera", "vera", "olga"] {
            counted.remove(&user);
        }
        assert_eq!(counted.of(&"vera"), 0);
        assert!(counted.is_empty());
    }
}
