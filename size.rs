// SPDX-License-Identifier: GPL-2.0

//! Sizes, and other numbers, as commands give them.
//!
//! A size has two options. The one whose name ends in `_mb` counts MiB; the C driver has it. The
//! other one counts bytes, with a suffix if wanted, as the kernel's `memparse()` reads it: `64K`,
//! `4M`, `16G`. Both mean the same afterwards, but what is said of a size is said in the unit that
//! it was given in.

use core::fmt;

/// Binary logarithm of the bytes of a MiB.
const MIB_SHIFT: u32 = 20;

/// The suffixes of a size in bytes, each 1024 times the one before it.
const SUFFIXES: &[u8; 6] = b"KMGTPE";

/// The two options of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeName {
    /// The one that counts MiB.
    pub(crate) mebibytes: &'static str,
    /// The one that counts bytes.
    pub(crate) bytes: &'static str,
}

/// What a size is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// MiB.
    Mebibyte,
    /// Bytes.
    Byte,
}

/// A size as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    bytes: u64,
    unit: Unit,
}

impl Size {
    /// So many MiB.
    pub(crate) const fn mebibytes(mebibytes: u32) -> Self {
        Self {
            // OVERFLOW: 32 bits, shifted by 20. CAST: to more bits.
            bytes: (mebibytes as u64) << MIB_SHIFT,
            unit: Unit::Mebibyte,
        }
    }

    /// So many bytes.
    pub(crate) const fn bytes(bytes: u64) -> Self {
        Self {
            bytes,
            unit: Unit::Byte,
        }
    }

    /// A size to be written: in MiB if it is a whole number of them that the option takes.
    pub(crate) fn of(bytes: u64) -> Self {
        let unit = match u32::try_from(bytes >> MIB_SHIFT) {
            Ok(1..) if bytes % (1 << MIB_SHIFT) == 0 => Unit::Mebibyte,
            _ => Unit::Byte,
        };
        Self { bytes, unit }
    }

    /// The size in bytes.
    pub(crate) fn get(self) -> u64 {
        self.bytes
    }

    /// What it was given in.
    pub(crate) fn unit(self) -> Unit {
        self.unit
    }

    /// The option that it was given for.
    pub(crate) fn option(self, name: SizeName) -> &'static str {
        match self.unit {
            Unit::Mebibyte => name.mebibytes,
            Unit::Byte => name.bytes,
        }
    }

    /// The number that was given.
    pub(crate) fn quantity(self) -> Quantity {
        match self.unit {
            Unit::Mebibyte => Quantity::Number(self.bytes >> MIB_SHIFT),
            Unit::Byte => Quantity::Bytes(self.bytes),
        }
    }
}

/// A number with what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// Whatever the option counts.
    Number(u64),
    /// Bytes.
    Bytes(u64),
}

/// Writes it as the option takes it; bytes with the largest suffix that leaves a whole number.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = match *self {
            Self::Number(number) => return write!(f, "{number}"),
            Self::Bytes(bytes) => bytes,
        };
        let mut suffix = None;
        for &next in SUFFIXES {
            if number == 0 || number % 1024 != 0 {
                break;
            }
            number /= 1024;
            suffix = Some(char::from(next));
        }
        write!(f, "{number}")?;
        suffix.map_or(Ok(()), |suffix| write!(f, "{suffix}"))
    }
}

/// The factor of a suffix.
pub(crate) fn factor_of(suffix: u8) -> Option<u64> {
    let nr = SUFFIXES
        .iter()
        .position(|&known| known == suffix.to_ascii_uppercase())?;
    // OVERFLOW: 1024 to the power of six at most.
    Some(1 << (10 * (nr + 1)))
}

/// The numbers that an option accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// All numbers from `min` to `max`, both included.
    Range { min: u64, max: u64 },
    /// All powers of two from `min` to `max`, both included.
    PowerOfTwo { min: u64, max: u64 },
    /// Sizes in bytes from `min` to `max`, both included.
    Sizes { min: u64, max: u64, step: Step },
}

/// Which of the sizes in a range are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Multiples of this, in bytes.
    Multiple(u64),
    /// Powers of two.
    PowerOfTwo,
}

impl Allowed {
    /// These sizes in bytes, for an option that counts in `unit`.
    pub(crate) fn sizes(unit: Unit, min: u64, max: u64, step: Step) -> Self {
        let (min_mib, max_mib) = (min.div_ceil(1 << MIB_SHIFT), max >> MIB_SHIFT);
        // If there is no such number of MiB, only bytes can tell what there is.
        if unit == Unit::Byte || min_mib > max_mib {
            return Self::Sizes { min, max, step };
        }
        let (min, max) = (min_mib, max_mib);
        match step {
            Step::Multiple(_) => Self::Range { min, max },
            Step::PowerOfTwo => Self::PowerOfTwo { min, max },
        }
    }

    /// Whether `number` is one of them.
    pub(crate) fn contains(self, number: u64) -> bool {
        match self {
            Self::Range { min, max } => (min..=max).contains(&number),
            Self::PowerOfTwo { min, max }
            | Self::Sizes {
                min,
                max,
                step: Step::PowerOfTwo,
            } => (min..=max).contains(&number) && number.is_power_of_two(),
            Self::Sizes {
                min,
                max,
                step: Step::Multiple(of),
            } => (min..=max).contains(&number) && number.checked_rem(of) == Some(0),
        }
    }
}

/// Writes what follows "must be" in a message.
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Range { min, max } if min == max => write!(f, "{min}"),
            Self::Range { min, max } => write!(f, "from {min} to {max}"),
            Self::PowerOfTwo { min, max } => write!(f, "a power of two from {min} to {max}"),
            Self::Sizes { min, max, step } => {
                let (min, max) = (Quantity::Bytes(min), Quantity::Bytes(max));
                match step {
                    Step::PowerOfTwo => write!(f, "a power of two from {min} to {max}"),
                    Step::Multiple(_) if min == max => write!(f, "{min}"),
                    Step::Multiple(of) => write!(f, "a multiple of {of} from {min} to {max}"),
                }
            }
        }
    }
}

/// A value that can't be, given the other values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Name of the option whose value is refused.
    pub(crate) option: &'static str,
    /// The value.
    pub(crate) given: Quantity,
    /// The values that the other options leave.
    pub(crate) allowed: Allowed,
    /// The rule behind `allowed`, for the message.
    pub(crate) rule: &'static str,
}

impl Refused {
    /// Gives `Ok` if `allowed` contains `given`, and what there is to say about it if not.
    pub(crate) fn unless(
        option: &'static str,
        given: u32,
        allowed: Allowed,
        rule: &'static str,
    ) -> Result<(), Self> {
        let given = u64::from(given);
        if allowed.contains(given) {
            return Ok(());
        }
        Err(Self {
            option,
            given: Quantity::Number(given),
            allowed,
            rule,
        })
    }

    /// The same for a size, which must be one of those from `min` to `max` bytes.
    pub(crate) fn unless_size(
        name: SizeName,
        given: Size,
        (min, max, step): (u64, u64, Step),
        rule: &'static str,
    ) -> Result<(), Self> {
        if (Allowed::Sizes { min, max, step }).contains(given.bytes) {
            return Ok(());
        }
        Err(Self {
            option: given.option(name),
            given: given.quantity(),
            allowed: Allowed::sizes(given.unit, min, max, step),
            rule,
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            option,
            given,
            allowed,
            rule,
        } = self;
        write!(f, "{option}={given}: must be {allowed}, {rule}")
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_size))]
mod tests {
    use super::*;
    use crate::geometry::tests::says;

    #[test]
    fn bytes_have_suffixes() {
        for (bytes, expected) in [
            (0, "0"),
            (1, "1"),
            (512, "512"),
            (1023, "1023"),
            (1024, "1K"),
            (1536, "1536"),
            (1 << 20, "1M"),
            ((1 << 20) + 1024, "1025K"),
            (3 << 30, "3G"),
            (1 << 40, "1T"),
            (64 << 50, "64P"),
            (1 << 60, "1E"),
        ] {
            assert!(says(Quantity::Bytes(bytes), expected));
        }
        assert!(says(Quantity::Number(1024), "1024"));
    }

    #[test]
    fn suffixes_have_factors() {
        for (suffix, factor) in [
            (b'k', Some(1 << 10)),
            (b'K', Some(1 << 10)),
            (b'm', Some(1 << 20)),
            (b'G', Some(1 << 30)),
            (b't', Some(1 << 40)),
            (b'P', Some(1 << 50)),
            (b'E', Some(1 << 60)),
            (b'B', None),
            (b'0', None),
        ] {
            assert_eq!(factor_of(suffix), factor);
        }
    }

    #[test]
    fn whole_mebibytes_are_written_as_such() {
        assert_eq!(Size::of(5 << 20), Size::mebibytes(5));
        assert_eq!(Size::of((5 << 20) + 512), Size::bytes((5 << 20) + 512));
        assert_eq!(Size::of(1 << 52).unit(), Unit::Byte);
        assert_eq!(Size::of(0).unit(), Unit::Byte);
    }

    #[test]
    fn limits_in_the_unit_of_the_option() {
        let allowed = |unit, min, max, step| Allowed::sizes(unit, min, max, step);
        let multiple = Step::Multiple(512);
        assert!(says(
            allowed(Unit::Mebibyte, 512, 5 << 20, multiple),
            "from 1 to 5"
        ));
        assert!(says(
            allowed(Unit::Mebibyte, 512, (5 << 20) - 1, Step::PowerOfTwo),
            "a power of two from 1 to 4",
        ));
        assert!(says(
            allowed(Unit::Byte, 512, 5 << 20, multiple),
            "a multiple of 512 from 512 to 5M",
        ));
        // There is no number of MiB that would do.
        assert!(says(
            allowed(Unit::Mebibyte, 512, 65536, multiple),
            "a multiple of 512 from 512 to 64K",
        ));
        let sizes = allowed(Unit::Byte, 512, 4096, multiple);
        assert!(sizes.contains(512) && sizes.contains(1536) && sizes.contains(4096));
        assert!(!sizes.contains(0) && !sizes.contains(513) && !sizes.contains(4608));
    }
}
