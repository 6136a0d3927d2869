// SPDX-License-Identifier: GPL-2.0

//! Files and directories that the kernel itself opens.

pub(crate) mod file;
mod freeze;

pub(crate) use self::file::{
    Directory,
    FileExt,
    FileSize,
    IoAlignment,
    OpenFile, //
};
pub(super) use self::{
    file::{
        FMODE_READ,
        FMODE_WRITE, //
    },
    freeze::{
        end_write,
        try_start_write, //
    },
};
