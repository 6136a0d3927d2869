// SPDX-License-Identifier: GPL-2.0

//! Files and directories that the kernel itself opens.

mod directory;
mod freeze;
mod open_file;

pub(crate) use self::{
    directory::Directory,
    freeze::{
        end_write,
        try_start_write, //
    },
    open_file::{
        flush_delayed_fput,
        FileExt,
        FileSize,
        IoAlignment,
        OpenFile,
        FMODE_READ,
        FMODE_WRITE, //
    },
};
