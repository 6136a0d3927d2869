// SPDX-License-Identifier: GPL-2.0

//! `kernel::module`.

use kernel::{
    ModuleMetadata,
    ThisModule, //
};

/// Returns `THIS_MODULE` of the module `M`, which is this one.
///
/// There is no other that the driver could name, and its metadata does not have it yet.
#[expect(
    clippy::extra_unused_type_parameters,
    reason = "Linux 7.3 finds the module by it"
)]
pub(crate) const fn this_module<M: ModuleMetadata>() -> &'static ThisModule {
    &crate::THIS_MODULE
}
