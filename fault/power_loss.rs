// SPDX-License-Identifier: GPL-2.0

//! What a power failure takes.
//!
//! A drive holds in its volatile cache what was written and not flushed. When the power fails, any
//! part of that may have reached the medium, and with a large write it may be a piece of it; but in
//! a sequential zone nothing is there without all that is before it, since the write pointer is
//! where the data ends.
//!
//! So what is left of a sequential zone is said by one number, how many of the blocks that were not
//! flushed are there; in a conventional zone each block has the new data or the old. By default
//! nothing is left. With a seed it is random, yet follows from the seed, the zone's number and the
//! number of blocks, or of the block, alone: who repeats the run, gets it again.

/// What of the data that was not flushed is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All of it.
    All,
    /// A part that follows from this seed.
    Part(u32),
}

impl Loss {
    /// Whether block `block` of conventional zone `zone`, which was overwritten and not flushed,
    /// has the new data.
    pub(crate) fn leaves_block(self, zone: u32, block: u64) -> bool {
        match self {
            Self::All => false,
            Self::Part(seed) => random(&[seed.into(), zone.into(), block]) & 1 != 0,
        }
    }

    /// How many of `blocks` that were not flushed are left in sequential zone `zone`, from the
    /// first one on.
    pub(crate) fn left(self, zone: u32, blocks: u64) -> u64 {
        match self {
            Self::All => 0,
            Self::Part(seed) => {
                let random = random(&[u64::from(seed), u64::from(zone)]);
                // From none to all: one more than there are blocks.
                blocks
                    .checked_add(1)
                    .map_or(random, |results| random.checked_rem(results).unwrap_or(0))
            }
        }
    }
}

/// A number without a pattern for each series of inputs: the finaliser of SplitMix64, once for
/// each.
fn random(inputs: &[u64]) -> u64 {
    inputs.iter().fold(0, |state, input| {
        let x = (state ^ input).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    })
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_power_failure))]
mod tests {
    use super::*;

    #[test]
    fn all_is_lost() {
        for blocks in [0, 1, 1000, u64::MAX] {
            assert_eq!(Loss::All.left(3, blocks), 0);
        }
    }

    #[test]
    fn part_is_within_what_there_was() {
        for seed in [0, 1, 2, u32::MAX] {
            for zone in 0..100 {
                for blocks in [0, 1, 2, 63, 64, u64::MAX] {
                    assert!(Loss::Part(seed).left(zone, blocks) <= blocks);
                }
            }
        }
        assert_eq!(Loss::Part(7).left(3, 0), 0);
    }

    #[test]
    fn every_part_is_possible() {
        let mut found = [0; 5];
        for zone in 0..500 {
            let left = Loss::Part(1).left(zone, 4);
            if let Some(count) = found.get_mut(left as usize) {
                *count += 1;
            }
        }
        assert!(found.iter().all(|&count| count > 60));
    }

    #[test]
    fn each_block_is_left_or_not() {
        let left = |loss: Loss| {
            (0..1000)
                .filter(|&block| loss.leaves_block(1, block))
                .count()
        };
        assert_eq!(left(Loss::All), 0);
        assert!((400..600).contains(&left(Loss::Part(3))));
        let same = (0..1000)
            .filter(|&block| {
                Loss::Part(3).leaves_block(1, block) == Loss::Part(4).leaves_block(1, block)
            })
            .count();
        assert!((400..600).contains(&same));
    }

    #[test]
    fn seed_decides() {
        let run = |seed, zone| Loss::Part(seed).left(zone, 1 << 40);
        for zone in 0..10 {
            assert_eq!(run(5, zone), run(5, zone));
            assert!(run(5, zone) != run(6, zone));
            assert!(run(5, zone) != run(5, zone + 1));
        }
    }
}
