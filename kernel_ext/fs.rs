// SPDX-License-Identifier: GPL-2.0

//! Files and directories, as the kernel itself uses them.

pub(crate) mod file;

pub(crate) use self::file::{
    Directory,
    FileExt,
    FileSize,
    IoAlignment,
    OpenFile, //
};
