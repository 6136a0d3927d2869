// SPDX-License-Identifier: GPL-2.0

//! The block layer.

#[cfg(CONFIG_BLK_CGROUP)]
mod cgroup;
pub(crate) mod mq;
pub(crate) mod zoned;

/// The same where I/O is charged to nobody.
#[cfg(not(CONFIG_BLK_CGROUP))]
mod cgroup {
    use kernel::bindings::bio;

    /// # Safety
    ///
    /// None.
    pub(super) unsafe fn charge<R>(_bio: *mut bio, f: impl FnOnce() -> R) -> R {
        f()
    }

    /// # Safety
    ///
    /// None.
    pub(super) unsafe fn is_of_current(_bio: *mut bio) -> bool {
        true
    }

    /// # Safety
    ///
    /// None.
    pub(super) unsafe fn is_same(_one: *const bio, _other: *const bio) -> bool {
        true
    }
}

use kernel::{
    bindings,
    error::Error, //
};

/// How a request ended: a `blk_status_t`.
///
/// It is a type of its own because errnos don't all have the meaning here that they have elsewhere:
/// some of them would make the block layer try the request again for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(bindings::blk_status_t);

// The values of `include/linux/blk_types.h`, whose macros `bindgen` can't evaluate.
impl Status {
    /// The request succeeded.
    pub(crate) const OK: Self = Self(0);
    /// The device doesn't know the operation.
    pub(crate) const NOTSUPP: Self = Self(1);
    /// The request took too long, ETIMEDOUT.
    pub(crate) const TIMEOUT: Self = Self(2);
    /// There is no memory or the like for the request: the block layer tries it again.
    const RESOURCE: Self = Self(9);
    /// The request failed, EIO.
    pub(crate) const IOERR: Self = Self(10);
    /// The request is to be queued again by a device mapper, EREMCHG.
    const DM_REQUEUE: Self = Self(11);
    /// The request would have to wait and may not, EAGAIN.
    const AGAIN: Self = Self(12);
    /// Too many zones are open, ETOOMANYREFS.
    pub(crate) const ZONE_OPEN_RESOURCE: Self = Self(14);
    /// Too many zones are active, EOVERFLOW.
    pub(crate) const ZONE_ACTIVE_RESOURCE: Self = Self(15);

    /// The raw value.
    fn into_raw(self) -> bindings::blk_status_t {
        self.0
    }
}

impl From<Error> for Status {
    /// How a request ends that failed with an errno of somebody else's, a file system's for one.
    ///
    /// What asks the submitter to do something about it, and to come again, is the device's own to
    /// say: by such an errno a file system means something else, and the request has just failed.
    fn from(error: Error) -> Self {
        // SAFETY: The function looks up a table and may be called anywhere.
        match Self(unsafe { bindings::errno_to_blk_status(error.to_errno()) }) {
            Self::AGAIN
            | Self::DM_REQUEUE
            | Self::ZONE_OPEN_RESOURCE
            | Self::ZONE_ACTIVE_RESOURCE => Self::IOERR,
            status => status,
        }
    }
}
