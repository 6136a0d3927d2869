// SPDX-License-Identifier: GPL-2.0

//! Which zone is closed to make room for another one: the implicitly open zone that was written
//! least recently, and never one that a command opened.

use crate::zone::{
    Condition,
    Refusal,
    Target, //
};
use crate::zone_device::{
    limits,
    Device,
    CAPACITY, //
};

/// A device of eight zones of which three can be open.
fn device() -> Device {
    Device::new(8, limits(3, 0))
}

/// Writes one sector to each of these zones.
fn write(device: &mut Device, zones: &[usize]) {
    for &zone in zones {
        device.write(zone, 1).expect("a write that fits");
    }
}

/// The zones in this condition.
fn those(device: &Device, condition: Condition) -> Vec<usize> {
    let zones = 0..device.zones.len();
    zones
        .filter(|&zone| device.condition(zone) == condition)
        .collect()
}

fn open(device: &Device) -> Vec<usize> {
    those(device, Condition::ImplicitOpen)
}

#[test]
fn oldest_first() {
    let mut device = device();
    write(&mut device, &[2, 0, 1, 3]);
    assert_eq!(open(&device), [0, 1, 3]);
    write(&mut device, &[4]);
    assert_eq!(open(&device), [1, 3, 4]);
    write(&mut device, &[2]);
    assert_eq!(open(&device), [2, 3, 4]);
    assert_eq!(those(&device, Condition::Closed), [0, 1]);
    assert_eq!((device.set.nr_open(), device.set.nr_active()), (3, 5));
}

#[test]
fn each_write_is_a_use() {
    let mut device = device();
    write(&mut device, &[0, 1, 2, 0]);
    device.append(1, 1).expect("an append that fits");
    write(&mut device, &[3]);
    assert_eq!(open(&device), [0, 1, 3]);
    // The newest and one in the middle, again.
    write(&mut device, &[3, 1, 4]);
    assert_eq!(open(&device), [1, 3, 4]);
}

#[test]
fn refused_write_is_no_use() {
    let mut device = device();
    write(&mut device, &[0, 1, 2]);
    assert!(device.write_at(0, 0, 1).is_err());
    assert!(device.append(0, CAPACITY).is_err());
    assert!(device.write(0, u64::MAX).is_err());
    write(&mut device, &[3]);
    assert_eq!(open(&device), [1, 2, 3]);
}

#[test]
fn open_command_evicts_too() {
    let mut device = device();
    write(&mut device, &[0, 1, 2]);
    device.open(3).expect("an open of an empty zone");
    assert_eq!(open(&device), [1, 2]);
    device.open(0).expect("an open of a closed zone");
    assert_eq!(open(&device), [2]);
    device.finish(1).expect("a finish of a closed zone");
    assert_eq!(open(&device), []);
    assert_eq!(those(&device, Condition::ExplicitOpen), [0, 3]);
    // The finished zone holds nothing, so there is room again.
    write(&mut device, &[4]);
    assert_eq!(device.open(5), Ok(()));
    assert_eq!(device.write(6, 1), Err(Refusal::TooManyOpen));
    assert_eq!(device.open(6), Err(Refusal::TooManyOpen));
    assert_eq!(device.finish(6), Err(Refusal::TooManyOpen));
}

#[test]
fn explicitly_open_zone_is_never_evicted() {
    let mut device = device();
    write(&mut device, &[0, 1, 2]);
    device.open(0).expect("an open of an open zone");
    device.open(1).expect("an open of an open zone");
    write(&mut device, &[0, 1, 3, 4, 5]);
    assert_eq!(open(&device), [5]);
    assert_eq!(those(&device, Condition::ExplicitOpen), [0, 1]);
    assert_eq!(those(&device, Condition::Closed), [2, 3, 4]);
    // Once closed, a write opens it like any other zone.
    device.close(0).expect("a close of an open zone");
    write(&mut device, &[0, 3]);
    assert_eq!(open(&device), [0, 3]);
}

#[test]
fn leaving_the_set_keeps_the_order_of_the_others() {
    type Leave = fn(&mut Device, usize) -> Result<(), Refusal>;
    let ways: [Leave; 6] = [
        |device, zone| device.close(zone),
        |device, zone| device.reset(zone),
        |device, zone| device.finish(zone),
        |device, zone| device.write(zone, CAPACITY - 1),
        |device, zone| {
            device.repair(zone, CAPACITY);
            Ok(())
        },
        |device, zone| {
            device.fail(zone, crate::zone::Failure::Offline);
            Ok(())
        },
    ];
    for (nr, leave) in ways.into_iter().enumerate() {
        for gone in 0..3 {
            let mut device = device();
            write(&mut device, &[0, 1, 2]);
            leave(&mut device, gone).expect("an open zone can leave");
            assert_eq!(device.set.nr_open(), 2, "way {nr}, zone {gone}");
            write(&mut device, &[3, 4]);
            let mut left = vec![0, 1, 2];
            left.retain(|&zone| zone != gone);
            assert_eq!(open(&device), [left[1], 3, 4], "way {nr}, zone {gone}");
            write(&mut device, &[5]);
            assert_eq!(open(&device), [3, 4, 5], "way {nr}, zone {gone}");
        }
    }
}

#[test]
fn victim_without_data_becomes_empty() {
    let mut device = Device::new(3, limits(1, 1));
    // The only write to the zone fails.
    device
        .reserve(0, Target::WritePointer, 8)
        .expect("an append to an empty zone");
    device.repair(0, 0);
    assert_eq!(device.condition(0), Condition::ImplicitOpen);
    assert_eq!((device.set.nr_open(), device.set.nr_active()), (1, 1));
    // It gives back both slots, so there is room although both limits are reached.
    write(&mut device, &[1]);
    assert_eq!(device.condition(0), Condition::Empty);
    assert_eq!((device.set.nr_open(), device.set.nr_active()), (1, 1));
    // This one keeps the active slot.
    assert_eq!(device.write(2, 1), Err(Refusal::TooManyActive));
    assert_eq!(device.condition(1), Condition::ImplicitOpen);
}

#[test]
fn victim_with_a_write_in_flight_has_data() {
    let mut device = Device::new(3, limits(1, 2));
    device
        .reserve(0, Target::WritePointer, 8)
        .expect("an append to an empty zone");
    write(&mut device, &[1]);
    assert_eq!(device.condition(0), Condition::Closed);
    assert_eq!((device.set.nr_open(), device.set.nr_active()), (1, 2));
    assert_eq!(device.write(2, 1), Err(Refusal::TooManyActive));
    // The write fails, and the repair finds nothing: now the zone gives back its active slot.
    device.repair(0, 0);
    assert_eq!(device.condition(0), Condition::Empty);
    assert_eq!((device.set.nr_open(), device.set.nr_active()), (1, 1));
    write(&mut device, &[2]);
}

#[test]
fn victim_that_is_being_filled_is_full_when_written() {
    let mut device = Device::new(2, limits(1, 0));
    device
        .reserve(0, Target::WritePointer, CAPACITY)
        .expect("an append to an empty zone");
    write(&mut device, &[1]);
    assert_eq!(device.condition(0), Condition::Full);
    device.written(0);
    assert_eq!(device.condition(0), Condition::Full);
    assert_eq!((device.set.nr_open(), device.set.nr_active()), (1, 1));
}

#[test]
fn without_a_limit_nothing_is_evicted() {
    let mut device = Device::new(8, limits(0, 0));
    write(&mut device, &[0, 1, 2, 3, 4, 5, 6, 7, 0, 3]);
    assert_eq!(open(&device).len(), 8);
    assert_eq!((device.set.nr_open(), device.set.nr_active()), (8, 8));
}
