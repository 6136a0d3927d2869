// SPDX-License-Identifier: GPL-2.0

//! A set of the blocks of a zone: a bitmap.
//!
//! The user chooses the type that holds the words, so that host tests can run without a kernel.

use core::ops::{
    DerefMut,
    Range, //
};

/// A set of blocks, by their number in the zone. In the kernel `W` is a vector of words.
pub(crate) struct BlockSet<W>(W);

/// The number of words that a set of blocks with numbers below `nr_blocks` needs.
pub(crate) const fn words(nr_blocks: u64) -> u64 {
    nr_blocks.div_ceil(u64::BITS as u64)
}

impl<W: DerefMut<Target = [u64]>> BlockSet<W> {
    /// A set of the blocks whose bits are set in `words`.
    pub(crate) fn new(words: W) -> Self {
        Self(words)
    }

    /// The index of a block's word, and its bit in the word.
    fn place(block: u64) -> (Option<usize>, u64) {
        let word = block / u64::from(u64::BITS);
        (
            usize::try_from(word).ok(),
            1 << (block % u64::from(u64::BITS)),
        )
    }

    /// Whether a block is in the set. A block without a bit is not.
    pub(crate) fn contains(&self, block: u64) -> bool {
        let (index, bit) = Self::place(block);
        let word = index.and_then(|index| self.0.get(index));
        word.is_some_and(|word| word & bit != 0)
    }

    /// Adds the blocks that have bits.
    pub(crate) fn insert(&mut self, blocks: Range<u64>) {
        for block in blocks {
            let (index, bit) = Self::place(block);
            if let Some(word) = index.and_then(|index| self.0.get_mut(index)) {
                *word |= bit;
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    pub(crate) fn clear(&mut self) {
        self.0.fill(0);
    }
}

/// The first run of blocks within `range` for which `wanted` holds.
pub(crate) fn first_run(mut range: Range<u64>, wanted: impl Fn(u64) -> bool) -> Option<Range<u64>> {
    let end = range.end;
    let start = range.find(|&block| wanted(block))?;
    // From the next block on.
    Some(start..range.find(|&block| !wanted(block)).unwrap_or(end))
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_block_set))]
mod tests {
    use super::*;

    #[test]
    fn members() {
        let mut words = [0u64; 3];
        let mut set = BlockSet::new(&mut words[..]);
        assert!(set.is_empty());
        set.insert(62..67);
        assert!(!set.is_empty());
        for block in 0..192 {
            assert_eq!(set.contains(block), (62..67).contains(&block));
        }
        set.clear();
        assert!(set.is_empty() && !set.contains(62));
    }

    #[test]
    fn without_bits() {
        let mut words = [0u64; 3];
        let mut set = BlockSet::new(&mut words[..]);
        set.insert(192..200);
        set.insert(u64::MAX - 1..u64::MAX);
        assert!(set.is_empty());
        set.insert(191..193);
        assert!(set.contains(191) && !set.contains(192) && !set.contains(u64::MAX - 1));
    }

    #[test]
    fn sizes() {
        assert_eq!([0, 1, 64, 65, u64::MAX].map(words), [0, 1, 1, 2, 1 << 58]);
    }

    #[test]
    fn runs() {
        let first = |range, wanted: &[u64]| first_run(range, |block| wanted.contains(&block));
        assert_eq!(first(0..10, &[]), None);
        assert_eq!(first(5..5, &[5]), None);
        assert_eq!(first(2..10, &[1, 2, 3, 5]), Some(2..4));
        assert_eq!(first(4..10, &[1, 2, 3, 5, 7]), Some(5..6));
        assert_eq!(first(8..10, &[8, 9, 10]), Some(8..10));
        assert_eq!(first(9..10, &[9]), Some(9..10));
    }
}
