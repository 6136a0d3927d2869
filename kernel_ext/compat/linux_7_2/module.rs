// SPDX-License-Identifier: GPL-2.0

//! `kernel::module`.

use kernel::{
    ModuleMetadata,
    ThisModule, //
};

/// Returns `THIS_MODULE` of the module `M`, which is this module.
///
/// The driver can name no other module. In Linux 7.2, the metadata of a module does not contain
/// `THIS_MODULE`.
#[expect(
    clippy::extra_unused_type_parameters,
    reason = "Linux 7.3 finds the module by it"
)]
pub(crate) const fn this_module<M: ModuleMetadata>() -> &'static ThisModule {
    &crate::THIS_MODULE
}
