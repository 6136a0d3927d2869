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

    /// Takes all zones out of the set and gives them to `f`. Those for which it fails are put
    /// back; its last error is returned.
    pub(crate) fn take_each(&self, mut f: impl FnMut(u32) -> Result) -> Result {
        let mut result = Ok(());
        for (word, first) in self.0.iter().zip((0u32..).step_by(u64::BITS as usize)) {
            if word.load(Relaxed) == 0 {
                continue;
            }
            let mut bits = word.xchg(0, Full);
            while bits != 0 {
                // OVERFLOW: The sum is the number of a zone.
                let zone = first + bits.trailing_zeros();
                bits &= bits - 1;
                if let Err(err) = f(zone) {
                    self.mark(zone);
                    result = Err(err);
                }
            }
        }
        result
    }
}
