// SPDX-License-Identifier: GPL-2.0

//! Whoever adds an option writes it down for its users, too.

use crate::options::table::{options, OPTIONS};

#[test]
fn options_are_documented() {
    // A file, what is before an option's name there, and what is behind it if the option has a
    // value or has none.
    let texts = [
        (
            "README.md",
            include_str!("../../README.md"),
            "| `",
            "=",
            "`",
        ),
        (
            "Documentation/zloop.4",
            include_str!("../../Documentation/zloop.4"),
            ".It Cm ",
            " Ns = Ns ",
            "\n",
        ),
        (
            "Documentation/zoned_loop_rust.rst",
            include_str!("../../Documentation/zoned_loop_rust.rst"),
            "\n``",
            "=",
            "``\n",
        ),
    ];
    for option in &OPTIONS {
        for (file, text, before, value, end) in texts {
            let there = [value, end]
                .iter()
                .any(|behind| text.contains(&[before, option.name, behind].concat()));
            assert!(there, "{file} does not have {}", option.name);
        }
    }
}

/// What is injected may share a line with others of its kind, but not be missing.
#[test]
fn faults_are_documented() {
    let texts = [
        ("README.md", include_str!("../../README.md"), "`"),
        (
            "Documentation/zloop.4",
            include_str!("../../Documentation/zloop.4"),
            "Cm ",
        ),
        (
            "Documentation/zoned_loop_rust.rst",
            include_str!("../../Documentation/zoned_loop_rust.rst"),
            "\n``",
        ),
    ];
    for option in options() {
        for (file, text, before) in texts {
            let there = ["=", "`", " ", "\n"]
                .iter()
                .any(|behind| text.contains(&[before, option.name, behind].concat()));
            assert!(there, "{file} does not have {}", option.name);
        }
    }
}
