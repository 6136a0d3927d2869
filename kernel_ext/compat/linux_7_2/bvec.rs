// SPDX-License-Identifier: GPL-2.0

//! The position in an array of segments: `struct bvec_iter`.
//!
//! C header: [`include/linux/bvec.h`](srctree/include/linux/bvec.h)

/// The field `bi_offset` of a `struct bvec_iter`. Its name in Linux 7.2 is `bi_bvec_done`.
macro_rules! bi_offset {
    ($iter:expr) => {
        $iter.bi_bvec_done
    };
}
pub(crate) use bi_offset;
