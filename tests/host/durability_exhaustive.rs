// SPDX-License-Identifier: GPL-2.0

//! The table of `zone/durability.rs`: each of its rows in each state of a small zone.

use crate::{
    core_atomics::CoreAtomics,
    zone::durability::{
        Durability,
        Length,
        SyncState,
        Unreported, //
    },
};
use std::cell::Cell;

const CAPACITY: u64 = 2;

/// All that the table has.
#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    written: u64,
    flushed: u64,
    length: Length,
    unreported: bool,
    resets: u64,
    dirty: bool,
}

/// The rows of the table: an event with its condition, and the cells.
fn rows() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let (_, table) = include_str!("../../zone/durability.rs")
        .split_once("//! event ")
        .expect("a table");
    let (table, _) = table.split_once("//! ```").expect("its end");
    table.lines().skip(1).map(|row| {
        let mut cells = row.trim_start_matches("//!").split('|').map(str::trim);
        let event = cells.next().expect("an event");
        (event, cells.collect())
    })
}

fn states() -> impl Iterator<Item = State> {
    let sectors = || 0..=CAPACITY;
    let bools = [false, true];
    sectors().flat_map(move |written| {
        sectors().flat_map(move |flushed| {
            bools.into_iter().flat_map(move |certain| {
                bools.into_iter().flat_map(move |unreported| {
                    [0, 1, u64::MAX].map(|resets| State {
                        written,
                        flushed,
                        length: match certain {
                            true => Length::Certain,
                            false => Length::Uncertain,
                        },
                        unreported,
                        resets,
                        dirty: false,
                    })
                })
            })
        })
    })
}

/// The values that a row says, for an event with this `end`.
fn expected(before: State, cells: &[&str], end: u64, at_begin: u64) -> State {
    let [written, flushed, length, unreported, resets, dirty] = cells else {
        panic!("six cells, not {cells:?}");
    };
    State {
        written: match *written {
            "" => before.written,
            "end" => end,
            "0" => 0,
            cell => panic!("written: {cell}"),
        },
        flushed: match *flushed {
            "" => before.flushed,
            "end" => end,
            "0" => 0,
            "min" => before.flushed.min(end),
            "max" => before.flushed.max(at_begin),
            cell => panic!("flushed: {cell}"),
        },
        length: match *length {
            "" => before.length,
            "certain" => Length::Certain,
            "uncertain" => Length::Uncertain,
            cell => panic!("length: {cell}"),
        },
        unreported: match *unreported {
            "" => before.unreported,
            "yes" => true,
            "no" => false,
            cell => panic!("unreported: {cell}"),
        },
        resets: match *resets {
            "" => before.resets,
            "+1" => before.resets.wrapping_add(1),
            cell => panic!("resets: {cell}"),
        },
        dirty: match *dirty {
            "" => before.dirty,
            "set" => true,
            cell => panic!("dirty: {cell}"),
        },
    }
}

/// The state after an event, if its condition is true.
fn after(before: State, event: &str, end: u64, at_begin: u64) -> Option<State> {
    let durability = Durability::<CoreAtomics>::new(before.written);
    let mut sync = SyncState::of(
        before.flushed,
        before.length,
        before.unreported,
        before.resets,
    );
    let dirty = Cell::new(false);
    let mark = || {
        // Whoever takes the mark sees the change.
        assert_eq!(durability.written(), end);
        dirty.set(true);
    };
    // A flush that began with another `written`.
    let flush = || Durability::<CoreAtomics>::new(at_begin).begin_flush();
    let has_data = before.flushed < before.written;
    let is_met = match event {
        "fill_failed, data" => has_data,
        "fill_failed, no data" => !has_data,
        "end_flush" => !before.unreported,
        "end_flush, unreported" => before.unreported,
        _ => true,
    };
    is_met.then_some(())?;
    match event {
        "write_done" => durability.write_done(end, mark),
        "fua_done" => sync.fua_done(end),
        "begin_fill" => assert_eq!(sync.begin_fill(), before.length),
        "fill_synced, direct" => sync.fill_synced(true),
        "fill_synced, buffered" => sync.fill_synced(false),
        "fill_failed, data" | "fill_failed, no data" => sync.fill_failed(before.written),
        "filled" => durability.filled(&mut sync, end),
        "begin_reset" => durability.begin_reset(),
        "cut" => sync.cut(),
        "cut_failed" => sync.cut_failed(),
        "reset_done" => sync.reset_done(),
        "repaired" => durability.repaired(&mut sync, end, mark),
        "end_flush" => assert_eq!(sync.end_flush(flush()), Ok(())),
        "end_flush, unreported" => assert_eq!(sync.end_flush(flush()), Err(Unreported)),
        "flush_failed" => sync.flush_failed(),
        "discarded" => sync.discarded(),
        _ => panic!("no such event: {event}"),
    }
    Some(State {
        written: durability.written(),
        flushed: sync.flushed(),
        length: sync.length(),
        unreported: sync.is_unreported(),
        resets: sync.resets(),
        dirty: dirty.get(),
    })
}

#[test]
fn each_row_in_each_state() {
    assert_eq!(rows().count(), 17);
    for (event, cells) in rows() {
        let mut tried = 0;
        for before in states() {
            for (end, at_begin) in [(0, 0), (1, 0), (1, 2), (2, 1), (2, 2)] {
                let Some(after) = after(before, event, end, at_begin) else {
                    continue;
                };
                let expected = expected(before, &cells, end, at_begin);
                assert_eq!(after, expected, "{event} in {before:?}, end {end}");
                tried += 1;
            }
        }
        assert!(tried > 100, "{event} was tried in {tried} states");
    }
}

#[test]
fn reads_get_zeros_behind_what_is_written() {
    let durability = Durability::<CoreAtomics>::new(1);
    assert_eq!(durability.reads_zeroes_from(), Some(1));
    durability.write_done(2, || {});
    assert_eq!(durability.reads_zeroes_from(), Some(2));
    durability.begin_reset();
    assert_eq!(durability.reads_zeroes_from(), Some(0));
}
