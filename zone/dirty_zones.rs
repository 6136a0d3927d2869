// SPDX-License-Identifier: GPL-2.0

//! The zones that were changed since the last flush.
//!
//! A device may have a million zones, so a flush must not look at each of them. Each zone has a bit
//! here. A completion sets it, in any context. A flush takes it.

use super::atomics::AtomicBits;
use core::{
    marker::PhantomData,
    ops::Deref, //
};

/// Storage for one bit per zone.
pub(crate) trait Words<W>: Deref<Target = [W]> {}

impl<W, S: Deref<Target = [W]>> Words<W> for S {}

/// A set of zones, by their numbers.
pub(crate) struct DirtyZones<W, S>(S, PhantomData<W>);

impl<W: AtomicBits, S: Words<W>> DirtyZones<W, S> {
    /// The number of words for zones with numbers below `nr_zones`.
    pub(crate) fn nr_words(nr_zones: u32) -> usize {
        // CAST: To no fewer bits.
        nr_zones.div_ceil(u64::BITS) as usize
    }

    /// An empty set in `words`, which are all zero.
    pub(crate) fn new(words: S) -> Self {
        Self(words, PhantomData)
    }

    /// Adds a zone. The caller must add it after the change, and before it reports the change to
    /// another task.
    pub(crate) fn mark(&self, zone: u32) {
        // CAST: To no fewer bits.
        if let Some(word) = self.0.get((zone / u64::BITS) as usize) {
            // ORDERING: Pairs with `take` in `Taken::next`: the task that takes the bit sees the
            // change. A bit that is already set needs this, too: a flush may be about to take it.
            word.set(1 << (zone % u64::BITS));
        }
    }

    /// The number of zones in the set, but at most `limit`. The set may change meanwhile.
    pub(crate) fn count(&self, limit: usize) -> usize {
        let mut count = 0;
        for word in self.0.iter() {
            // ORDERING: `Relaxed`, because it is an estimate. CAST: To more bits.
            count += word.load_relaxed().count_ones() as usize;
            if count >= limit {
                return limit;
            }
        }
        count
    }

    /// Begins to take all zones out of the set.
    pub(crate) fn take_all(&self) -> Taken<'_, W, S> {
        Taken {
            set: self,
            word: 0,
            bits: 0,
        }
    }
}

/// Takes the zones out of a set, each of them once. If this is dropped early, the remaining zones
/// stay in the set.
pub(crate) struct Taken<'a, W: AtomicBits, S: Words<W>> {
    set: &'a DirtyZones<W, S>,
    /// The index of the next word.
    word: usize,
    /// The zones of the previous word that were not returned yet.
    bits: u64,
}

impl<W: AtomicBits, S: Words<W>> Iterator for Taken<'_, W, S> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.bits == 0 {
            let word = self.set.0.get(self.word)?;
            self.word += 1;
            // ORDERING: `Relaxed`. A flush must find the changes that were reported before it
            // began, and their marks happened before that report. `take` pairs with `mark`.
            if word.load_relaxed() != 0 {
                self.bits = word.take();
            }
        }
        let bit = self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        // CAST, OVERFLOW: The result is the number of a zone.
        Some((self.word as u32 - 1) * u64::BITS + bit)
    }
}

impl<W: AtomicBits, S: Words<W>> Drop for Taken<'_, W, S> {
    fn drop(&mut self) {
        // Only the current word has taken bits to put back. Later words are unchanged.
        while self.bits != 0 {
            if let Some(zone) = self.next() {
                self.set.mark(zone);
            }
        }
    }
}
