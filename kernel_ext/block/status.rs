// SPDX-License-Identifier: GPL-2.0

//! The status of a request.
//!
//! C header: [`include/linux/blk_types.h`](srctree/include/linux/blk_types.h)

use kernel::{
    bindings,
    error::Error, //
};

/// How a request ended, or why `queue_rq` has not started it: a `blk_status_t`.
///
/// This is a separate type because some errnos have a special meaning for the submitters of
/// requests, which only the device itself may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(bindings::blk_status_t);

// The values of `include/linux/blk_types.h`, whose macros `bindgen` can't evaluate.
impl Status {
    /// The request succeeded.
    pub(crate) const OK: Self = Self(0);
    /// The device does not support the operation.
    pub(crate) const NOTSUPP: Self = Self(1);
    /// The request took too long, ETIMEDOUT.
    pub(crate) const TIMEOUT: Self = Self(2);
    /// A resource for the request is missing, for example memory. As the result of `queue_rq` it
    /// makes the block layer queue the request again. A request that ends with it has failed.
    pub(crate) const RESOURCE: Self = Self(9);
    /// The request failed, EIO.
    pub(crate) const IOERR: Self = Self(10);
    /// A device mapper must queue the request again, EREMCHG.
    const DM_REQUEUE: Self = Self(11);
    /// The request must not wait but would have to, EAGAIN.
    const AGAIN: Self = Self(12);
    /// Too many zones are open, ETOOMANYREFS.
    pub(crate) const ZONE_OPEN_RESOURCE: Self = Self(14);
    /// Too many zones are active, EOVERFLOW.
    pub(crate) const ZONE_ACTIVE_RESOURCE: Self = Self(15);

    /// The raw value.
    pub(crate) fn into_raw(self) -> bindings::blk_status_t {
        self.0
    }
}

impl From<Error> for Status {
    /// Returns the status of a request that failed with a foreign errno, for example from a file
    /// system.
    ///
    /// Some statuses ask the submitter to act and to retry. Only the device itself may report them.
    /// A file system means something else by such an errno, so the request ends with
    /// [`Self::IOERR`].
    fn from(error: Error) -> Self {
        // SAFETY: The function only reads a table, and may be called in any context.
        match Self(unsafe { bindings::errno_to_blk_status(error.to_errno()) }) {
            Self::AGAIN
            | Self::DM_REQUEUE
            | Self::ZONE_OPEN_RESOURCE
            | Self::ZONE_ACTIVE_RESOURCE => Self::IOERR,
            status => status,
        }
    }
}
