// SPDX-License-Identifier: GPL-2.0

//! Formatting.

use core::fmt;

/// Formats a value that only implements [`core::fmt::Display`] with the kernel's `fmt!`. Code that
/// is also built outside of the kernel can't implement the kernel's own trait.
pub(crate) struct CoreDisplay<T>(pub(crate) T);

impl<T: fmt::Display> kernel::fmt::Display for CoreDisplay<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
