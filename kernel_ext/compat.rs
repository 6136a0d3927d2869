// SPDX-License-Identifier: GPL-2.0

//! What Linux 7.3 offers, for Linux 7.2, too.
//!
//! With 7.3 this is the kernel crate itself. With 7.2, which Kbuild tells by `linux_7_2`, it has
//! the same names at the same paths. It goes away with the support of 7.2: the patch for the
//! kernel's tree (`patch/make`) is made without it, by replacing `crate::kernel_ext::compat` with
//! `kernel`, or nothing before `pin_init`, and [`bi_offset`] with the field.

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

/// The field `bi_offset` of a `struct bvec_iter`, which had another name.
#[cfg(not(linux_7_2))]
macro_rules! bi_offset {
    ($iter:expr) => {
        $iter.bi_offset
    };
}
/// The field `bi_offset` of a `struct bvec_iter`, which has another name here.
#[cfg(linux_7_2)]
macro_rules! bi_offset {
    ($iter:expr) => {
        $iter.bi_bvec_done
    };
}
pub(crate) use bi_offset;
