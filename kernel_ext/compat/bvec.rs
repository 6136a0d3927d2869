// SPDX-License-Identifier: GPL-2.0

//! The position in an array of segments: `struct bvec_iter`.
//!
//! C header: [`include/linux/bvec.h`](srctree/include/linux/bvec.h)

/// The field `bi_offset` of a `struct bvec_iter`.
macro_rules! bi_offset {
    ($iter:expr) => {
        $iter.bi_offset
    };
}
pub(crate) use bi_offset;
