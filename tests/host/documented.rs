// SPDX-License-Identifier: GPL-2.0

//! The manual page has each command and each option, and no other. The other documents are made
//! from it or refer to it.

use crate::options::{
    table::options,
    Command, //
};

const PAGE: &str = include_str!("../../Documentation/zloop.4");

/// The options that have an entry: `.It Cm read_nsec Ns = Ns Ar N , Cm write_nsec , flush_nsec`.
fn documented_options() -> Vec<&'static str> {
    let mut names = Vec::new();
    for entry in PAGE.lines().filter_map(|line| line.strip_prefix(".It ")) {
        let mut before = "";
        for word in entry.split(' ') {
            if before == "Cm" || before == "," && word != "Cm" {
                names.push(word);
            }
            before = word;
        }
    }
    names
}

#[test]
fn all_options_are_documented() {
    let documented = documented_options();
    for option in options() {
        let name = option.name;
        assert!(documented.contains(&name), "zloop.4 does not have {name}");
    }
}

#[test]
fn all_documented_options_exist() {
    for name in documented_options() {
        let exists = options().any(|option| option.name == name);
        assert!(exists, "zloop.4 has {name}, which is no option");
    }
}

/// The message about an unknown command lists all commands.
#[test]
fn all_commands_are_documented() {
    let message = Command::parse(b"unknown").unwrap_err().to_string();
    let (_, list) = message.split_once("must be ").unwrap();
    let list = list.replace(" or ", ", ");
    let mut commands: Vec<_> = list.split(", ").collect();
    let mut documented: Vec<_> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix(".Ss "))
        .flat_map(|names| names.split(", "))
        .collect();
    commands.sort_unstable();
    documented.sort_unstable();
    assert_eq!(commands, documented);
}
