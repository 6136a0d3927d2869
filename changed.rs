// SPDX-License-Identifier: GPL-2.0

//! Which zones were changed since the last flush.
//!
//! A flush must not look at every zone of a device that may have a million. So each zone has a bit
//! here, which a completion can set in any context, and which a flush takes.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
};

/// A set of zones, by their number.
pub(crate) struct ChangedZones(KVVec<Atomic<u64>>);

impl ChangedZones {
    /// An empty set of zones with numbers below `nr_zones`.
    pub(crate) fn new(nr_zones: u32) -> Result<Self> {
        let nr_words = nr_zones.div_ceil(u64::BITS) as usize;
        let mut words = KVVec::with_capacity(nr_words, GFP_KERNEL)?;
        for _ in 0..nr_words {
            words.push(Atomic::new(0), GFP_KERNEL)?;
        }
        Ok(Self(words))
    }

    /// Adds a zone. It must be added after the change and before anybody is told of it.
    pub(crate) fn mark(&self, zone: u32) {
        let Some(word) = self.0.get((zone / u64::BITS) as usize) else {
            return;
        };
        let bit = 1 << (zone % u64::BITS);
        let mut old = word.load(Relaxed);
        // `Full`: whoever takes the bit sees the change. The bit may be there already, but be about
        // to be taken, so that it must be set all the same.
        while let Err(now) = word.cmpxchg(old, old | bit, Full) {
            old = now;
        }
    }

    /// How many zones there are in the set, or `limit` if there are more. It may change meanwhile.
    pub(crate) fn count(&self, limit: usize) -> usize {
        let mut count = 0;
        for word in &self.0 {
            // CAST: To more bits.
            count += word.load(Relaxed).count_ones() as usize;
            if count >= limit {
                return limit;
            }
        }
        count
    }

    /// Begins to take all zones out of the set.
    pub(crate) fn take_all(&self) -> Taken<'_> {
        Taken {
            set: self,
            word: 0,
            bits: 0,
        }
    }
}

/// Takes the zones out of a set, each of them once. What it has not given out when it is dropped
/// stays in the set.
pub(crate) struct Taken<'a> {
    set: &'a ChangedZones,
    /// The index of the next word to be looked at.
    word: usize,
    /// What was taken from the word before it and not given out.
    bits: u64,
}

impl Iterator for Taken<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.bits == 0 {
            let word = self.set.0.get(self.word)?;
            self.word += 1;
            if word.load(Relaxed) != 0 {
                self.bits = word.xchg(0, Full);
            }
        }
        let bit = self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        // CAST, OVERFLOW: It is the number of a zone.
        Some((self.word as u32 - 1) * u64::BITS + bit)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        // The words that were not looked at are as they were.
        while self.bits != 0 {
            if let Some(zone) = self.next() {
                self.set.mark(zone);
            }
        }
    }
}
