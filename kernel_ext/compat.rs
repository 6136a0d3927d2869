// SPDX-License-Identifier: GPL-2.0

//! Parts of the kernel crate of Linux 7.3, also for Linux 7.2.
//!
//! For 7.3 this re-exports the kernel crate itself. For 7.2 (Kbuild sets `linux_7_2`) it has the
//! same names at the same paths. It will go away together with the support of 7.2. `patch/make`
//! makes the patches for a kernel tree without it: it replaces `crate::kernel_ext::compat` with
//! `kernel`, or with nothing before `pin_init`, and [`bi_offset`] with the field.

#[cfg(linux_7_2)]
mod linux_7_2;

#[cfg(not(linux_7_2))]
pub(crate) use ::pin_init;
#[cfg(not(linux_7_2))]
pub(crate) use kernel::{
    miscdevice,
    module,
    sync, //
};
#[cfg(linux_7_2)]
pub(crate) use linux_7_2::{
    miscdevice,
    module,
    pin_init,
    sync, //
};

/// The field `bi_offset` of a `struct bvec_iter`. Linux 7.2 has another name for it.
#[cfg(not(linux_7_2))]
macro_rules! bi_offset {
    ($iter:expr) => {
        $iter.bi_offset
    };
}
/// The field `bi_offset` of a `struct bvec_iter`. Its name in Linux 7.2 is `bi_bvec_done`.
#[cfg(linux_7_2)]
macro_rules! bi_offset {
    ($iter:expr) => {
        $iter.bi_bvec_done
    };
}
pub(crate) use bi_offset;
