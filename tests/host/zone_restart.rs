// SPDX-License-Identifier: GPL-2.0

//! What a device is after it was removed and added again: what is on the medium decides.

use crate::zone::{
    Condition,
    Limits,
    OpenZones,
    Refusal,
    Slot,
    WritePointer,
    Zone, //
};
use crate::zone_device::{
    limits,
    wp,
    Device,
    CAPACITY, //
};

/// A device that finds these write pointers on its medium.
fn found(sectors: &[u64], limits: Limits) -> Device {
    let mut device = Device::new(u32::try_from(sectors.len()).expect("few zones"), limits);
    for (nr, &sector) in (0..).zip(sectors) {
        device.zones[nr as usize] = Zone::new(nr, wp(sector));
        if sector > 0 && sector < CAPACITY {
            device.set.admit(nr);
        }
    }
    device
}

#[test]
fn open_zones_come_back_closed() {
    let mut before = Device::new(6, limits(4, 5));
    before.write(1, 8).expect("a write to an empty zone");
    before.open(2).expect("an open of an empty zone");
    before.write(3, 8).expect("a write to an empty zone");
    before.open(3).expect("an open of an open zone");
    before.write(4, 8).expect("a write to an empty zone");
    before.close(4).expect("a close of an open zone");
    before.finish(5).expect("a finish of an empty zone");

    let sectors: Vec<_> = (0..6).map(|zone| before.wp(zone)).collect();
    let after = found(&sectors, limits(4, 5));
    let conditions: Vec<_> = (0..6).map(|zone| after.condition(zone)).collect();
    assert_eq!(
        conditions,
        [
            Condition::Empty,
            Condition::Closed,
            Condition::Empty,
            Condition::Closed,
            Condition::Closed,
            Condition::Full,
        ]
    );
    assert_eq!((after.set.nr_open(), after.set.nr_active()), (0, 3));
}

#[test]
fn more_closed_zones_than_may_be_active() {
    let mut device = found(&[8, 8, 8, 0], limits(1, 2));
    assert_eq!((device.set.nr_open(), device.set.nr_active()), (0, 3));
    assert_eq!(device.write(3, 1), Err(Refusal::TooManyActive));
    // Closed zones open as before, one after the other.
    assert_eq!(device.write(0, 1), Ok(()));
    assert_eq!(device.write(1, 1), Ok(()));
    assert_eq!(device.condition(0), Condition::Closed);
    assert_eq!(device.open(3), Err(Refusal::TooManyActive));
    device.reset(2).expect("a reset of a closed zone");
    assert_eq!(device.finish(3), Err(Refusal::TooManyActive));
    device.finish(0).expect("a finish of a closed zone");
    assert_eq!((device.set.nr_open(), device.set.nr_active()), (0, 1));
    assert_eq!(device.write(3, 1), Ok(()));
}

#[test]
fn write_pointers_are_within_the_capacity() {
    assert_eq!(WritePointer::new(CAPACITY + 1, CAPACITY), None);
    assert_eq!(WritePointer::new(u64::MAX, CAPACITY), None);
    assert!(WritePointer::new(CAPACITY, CAPACITY).is_some_and(WritePointer::is_full));
    assert!(WritePointer::new(0, CAPACITY).is_some_and(WritePointer::is_empty));
    assert!(WritePointer::new(u64::MAX, u64::MAX).is_some_and(WritePointer::is_full));
}

#[test]
fn set_of_no_zones() {
    let set = OpenZones::new(Vec::<Slot>::new(), limits(1, 1)).expect("no zones are not many");
    assert_eq!((set.nr_open(), set.nr_active()), (0, 0));
}
