//! The command line, word by word.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use clap::{CommandFactory, Parser};

use bursar::domain::fault::Class;

use super::args::{Args, Command, Format};
use super::exit::Exit;
use super::output::table;

#[test]
fn the_command_tree_makes_sense() {
    Args::command().debug_assert();
}

#[test]
fn every_command_of_the_tree_parses() {
    for line in [
        "up --sandbox --listen 127.0.0.1:0 --metrics 127.0.0.1:0",
        "demo --json --seed 7 --keep out",
        "provider",
        "provider scribe",
        "directory --listen 127.0.0.1:0",
        "wallet new main --passphrase-file p",
        "wallet import main --key-file k --keys d",
        "wallet address",
        "agent add scout-1 --role scout --group research --wallet main",
        "agent list",
        "agent token scout-1",
        "budget",
        "budget fleet-day",
        "payments --agent scout-1 --state captured --limit 3",
        "usage",
        "networks --ledger x.db",
        "usage --by group --since 24h --until 2026-11-23T10:00:00Z --provider scribe --ledger x.db",
        "why pay_00000000000000000000000000000000",
        "pause role/scout --reason leak",
        "resume all",
        "apply --reason more --dry-run",
        "check",
        "ledger verify ledger.db",
        "sandbox fund 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 2.5",
        "wallet delegate till --service 0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "bench durable --seconds 1 --dir .",
        "bench overload --seconds 1 --json",
        "bench soak --minutes 1 --seed 7 --dir . --json",
    ] {
        let words = ["bursar"].into_iter().chain(line.split(' '));
        assert!(Args::try_parse_from(words).is_ok(), "{line}");
    }
    for line in ["", "up --port 3", "why 3", "pause team/x --reason y", "pause all", "agent add x"]
    {
        let words = ["bursar"].into_iter().chain(line.split(' ').filter(|word| !word.is_empty()));
        assert!(Args::try_parse_from(words).is_err(), "{line}");
    }
    let args = Args::parse_from(["bursar", "check", "--format", "json", "--config", "x.toml"]);
    assert_eq!((args.format, args.config.to_str()), (Some(Format::Json), Some("x.toml")));
    assert!(matches!(args.command, Command::Check));
}

#[test]
fn exit_codes_stay_what_they_are() {
    let codes = [
        (Exit::Done, 0),
        (Exit::Failed, 1),
        (Exit::Config, 3),
        (Exit::Refused, 4),
        (Exit::Later, 5),
        (Exit::InDoubt, 6),
        (Exit::Damaged, 9),
    ];
    for (exit, code) in codes {
        assert_eq!(exit.code(), code);
    }
    assert_eq!(Exit::from(Class::Final), Exit::Refused);
    assert_eq!(Exit::from(Class::Later), Exit::Later);
    assert_eq!(Exit::from(Class::InDoubt), Exit::InDoubt);
}

#[test]
fn a_table_has_its_numbers_on_the_right() {
    let rows = [["a".to_owned(), "1.00".to_owned()], ["bb".to_owned(), "12.50".to_owned()]];
    assert_eq!(table(["name", "left>"], rows), "NAME   LEFT\na      1.00\nbb    12.50");
}
