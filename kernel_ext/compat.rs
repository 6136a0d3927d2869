// SPDX-License-Identifier: GPL-2.0

//! Parts of the kernel crate of Linux 7.3, also for Linux 7.2.
//!
//! The names and the paths are those of the newest kernel, for which this re-exports the kernel
//! crate itself. For 7.2 (Kbuild sets `linux_7_2`) the folder `linux_7_2` has the same names, in a
//! file for each difference. The only other difference is a type in the trait of a misc device:
//! `grep -rw linux_7_2` finds it.
//!
//! `patch/make` makes the patches for a kernel tree without this module: it replaces
//! `crate::kernel_ext::compat` with `kernel`, or with nothing before `pin_init`, and
//! [`bi_offset`] with the field.
//!
//! To end the support of 7.2, delete the folder and each item with `#[cfg(linux_7_2)]`, and the
//! attribute `#[cfg(not(linux_7_2))]` of the others. `grep -rw -e linux_7_2 -e '7[.]2'` finds the
//! rest: Kbuild, the tests, the package, the documents.

#[cfg(not(linux_7_2))]
mod bvec;
#[cfg(linux_7_2)]
mod linux_7_2;

#[cfg(not(linux_7_2))]
pub(crate) use self::bvec::bi_offset;
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
    bvec::bi_offset,
    miscdevice,
    module,
    pin_init,
    sync, //
};
