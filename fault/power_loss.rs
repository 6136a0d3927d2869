// SPDX-License-Identifier: GPL-2.0

//! The data that a power failure takes.
//!
//! A drive keeps unflushed data in its volatile cache. When the power fails, any part of this data
//! may have reached the medium, and so may a part of a large write. In a sequential zone, a block
//! can only survive together with all blocks before it, because the data ends at the write pointer.
//!
//! So one number describes the loss in a sequential zone: the number of unflushed blocks that
//! survive. In a conventional zone, each block has either the new data or the old data. By default,
//! no unflushed block survives. With a seed, the choice is random but reproducible. It depends only
//! on the seed, the zone's number, and the number of unflushed blocks in a sequential zone or the
//! number of the block in a conventional zone.

/// The part of the unflushed data that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PowerLoss {
    /// All of it.
    All,
    /// A part that depends on this seed.
    Part(u32),
}

impl PowerLoss {
    /// Whether block `block` of conventional zone `zone` has the new data. It was overwritten and
    /// not flushed.
    pub(crate) fn leaves_block(self, zone: u32, block: u64) -> bool {
        match self {
            Self::All => false,
            Self::Part(seed) => random(&[seed.into(), zone.into(), block]) & 1 != 0,
        }
    }

    /// The number of blocks that survive in sequential zone `zone`. They are the first of `blocks`
    /// unflushed ones.
    pub(crate) fn left(self, zone: u32, blocks: u64) -> u64 {
        match self {
            Self::All => 0,
            Self::Part(seed) => {
                let random = random(&[u64::from(seed), u64::from(zone)]);
                // From none to all blocks: `blocks + 1` possible results.
                blocks
                    .checked_add(1)
                    .map_or(random, |results| random.checked_rem(results).unwrap_or(0))
            }
        }
    }
}

/// A pseudorandom number for a series of inputs. The finaliser of SplitMix64 mixes in each input.
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
            assert_eq!(PowerLoss::All.left(3, blocks), 0);
        }
    }

    #[test]
    fn part_is_within_what_there_was() {
        for seed in [0, 1, 2, u32::MAX] {
            for zone in 0..100 {
                for blocks in [0, 1, 2, 63, 64, u64::MAX] {
                    assert!(PowerLoss::Part(seed).left(zone, blocks) <= blocks);
                }
            }
        }
        assert_eq!(PowerLoss::Part(7).left(3, 0), 0);
    }

    #[test]
    fn every_part_is_possible() {
        let mut found = [0; 5];
        for zone in 0..500 {
            let left = PowerLoss::Part(1).left(zone, 4);
            if let Some(count) = found.get_mut(left as usize) {
                *count += 1;
            }
        }
        assert!(found.iter().all(|&count| count > 60));
    }

    #[test]
    fn each_block_is_left_or_not() {
        let left = |loss: PowerLoss| {
            (0..1000)
                .filter(|&block| loss.leaves_block(1, block))
                .count()
        };
        assert_eq!(left(PowerLoss::All), 0);
        assert!((400..600).contains(&left(PowerLoss::Part(3))));
        let same = (0..1000)
            .filter(|&block| {
                PowerLoss::Part(3).leaves_block(1, block)
                    == PowerLoss::Part(4).leaves_block(1, block)
            })
            .count();
        assert!((400..600).contains(&same));
    }

    #[test]
    fn seed_decides() {
        let run = |seed, zone| PowerLoss::Part(seed).left(zone, 1 << 40);
        for zone in 0..10 {
            assert_eq!(run(5, zone), run(5, zone));
            assert!(run(5, zone) != run(6, zone));
            assert!(run(5, zone) != run(5, zone + 1));
        }
    }
}
