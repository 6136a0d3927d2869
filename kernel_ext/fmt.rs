// SPDX-License-Identifier: GPL-2.0

//! Formatting.

use core::fmt;

/// Shows with the kernel's `fmt!` what only knows [`core::fmt::Display`]: code that is also built
/// outside of the kernel can't know the kernel's own trait.
pub(crate) struct Shown<T>(pub(crate) T);

impl<T: fmt::Display> kernel::fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
