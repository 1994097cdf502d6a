//! `bursar networks`: what settling is expected to take and to cost, and beside it what was measured.

use bursar::domain::money::Nano;
use bursar::edge::config::Expected;
use bursar::edge::journal::{SettledRow, Views};
use serde::Serialize;

use super::args::{Args, NetworksArgs};
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, table};

#[derive(Serialize)]
struct Line {
    name: String,
    network: Option<String>,
    configured: bool,
    expected: Option<Bounds>,
    measured: Vec<SettledRow>,
}

#[derive(Serialize)]
struct Bounds {
    fastest_ms: u64,
    slowest_ms: u64,
    cost_min_nano: Nano,
    cost_max_nano: Nano,
}

/// Shows every network of the table and of the configuration.
pub fn run(args: &Args, asked: &NetworksArgs, output: &Output) -> Result<Exit, Failure> {
    let config = config::load(args)?;
    let path = asked.ledger.as_ref().unwrap_or(&config.ledger.path);
    let measured = if path.exists() { Views::open(path)?.settled()? } else { Vec::new() };
    let of = |network: Option<String>| -> Vec<SettledRow> {
        let same = |row: &&SettledRow| Some(&row.network) == network.as_ref();
        measured.iter().filter(same).cloned().collect()
    };
    let mut lines = Vec::new();
    for (name, expected) in &config.expected {
        let network = expected.network.map(|network| network.to_string());
        let is_there = |settings: &bursar::edge::config::NetworkSettings| {
            Some(settings.network()) == expected.network
        };
        lines.push(Line {
            name: name.to_string(),
            network: network.clone(),
            configured: config.networks.values().any(is_there),
            expected: Some(bounds(expected)),
            measured: of(network),
        });
    }
    for (name, settings) in &config.networks {
        let known = |expected: &Expected| expected.network == Some(settings.network());
        if !config.expected.values().any(known) {
            let network = Some(settings.network().to_string());
            let (name, measured) = (name.to_string(), of(network.clone()));
            lines.push(Line { name, network, configured: true, expected: None, measured });
        }
    }
    output.show(&lines, || {
        let heads = [
            "network",
            "chain",
            "configured",
            "settles in",
            "costs",
            "side",
            "seen>",
            "mean ms>",
            "worst ms>",
            "gas>",
        ];
        table(heads, lines.iter().flat_map(rows))
    });
    Ok(Exit::Done)
}

fn bounds(expected: &Expected) -> Bounds {
    let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Bounds {
        fastest_ms: ms(expected.fastest),
        slowest_ms: ms(expected.slowest),
        cost_min_nano: expected.cost_min,
        cost_max_nano: expected.cost_max,
    }
}

/// A row for each side that was measured, and one where none was.
fn rows(line: &Line) -> Vec<[String; 10]> {
    let expected = line.expected.as_ref();
    let time = expected.map_or_else(
        || "-".to_owned(),
        |expected| format!("{}-{} ms", expected.fastest_ms, expected.slowest_ms),
    );
    let cost = expected.map_or_else(
        || "-".to_owned(),
        |expected| format!("{}-{}", expected.cost_min_nano, expected.cost_max_nano),
    );
    let head = [
        line.name.clone(),
        line.network.clone().unwrap_or_else(|| "-".to_owned()),
        if line.configured { "yes" } else { "no" }.to_owned(),
        time,
        cost,
    ];
    let row = |measured: [String; 5]| {
        let [name, chain, configured, time, cost] = head.clone();
        let [side, seen, mean, worst, gas] = measured;
        [name, chain, configured, time, cost, side, seen, mean, worst, gas]
    };
    if line.measured.is_empty() {
        return vec![row([(); 5].map(|()| "-".to_owned()))];
    }
    let shown = line.measured.iter().map(|seen| {
        row([
            seen.side.clone(),
            seen.settlements.to_string(),
            seen.mean_ms.to_string(),
            seen.worst_ms.to_string(),
            seen.gas_mean.map_or_else(|| "-".to_owned(), |gas| gas.to_string()),
        ])
    });
    shown.collect()
}
