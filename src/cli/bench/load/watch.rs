//! What processes hold while they run: memory, open files, and what their ledgers take on disk. Linux alone
//! says it here.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::super::failed;
use crate::cli::failure::Failure;
use crate::cli::house::part::Part;

const HOUR_MS: i128 = 3_600_000;

/// One process at one instant.
#[derive(Copy, Clone, Debug, Default, Serialize)]
pub struct Held {
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// Open file handles.
    pub handles: u64,
    /// What its ledger's files take.
    pub ledger_bytes: u64,
}

impl Held {
    /// What `part` holds now; its ledger's files are those in `folder` whose names begin like that.
    pub fn by(part: &Part, folder: &Path, ledger: &str) -> Result<Self, Failure> {
        let pid = part.pid().ok_or_else(|| failed(&format!("{} does not run", part.name())))?;
        let process = Path::new("/proc").join(pid.to_string());
        let status = fs::read_to_string(process.join("status")).map_err(|it| failed(&it))?;
        let handles = fs::read_dir(process.join("fd")).map_err(|it| failed(&it))?.count();
        let mut ledger_bytes: u64 = 0;
        for file in fs::read_dir(folder).map_err(|it| failed(&it))?.flatten() {
            if file.file_name().to_string_lossy().starts_with(ledger) {
                // A file that went away a moment ago takes nothing.
                let len = file.metadata().map_or(0, |found| found.len());
                ledger_bytes = ledger_bytes.saturating_add(len);
            }
        }
        let rss_kib = resident_kib(&status).ok_or_else(|| failed(&"no VmRSS in /proc"))?;
        let handles = u64::try_from(handles).unwrap_or(u64::MAX);
        Ok(Self { rss_kib, handles, ledger_bytes })
    }
}

/// Source: proc(5), `VmRSS` in /proc/PID/status.
fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Everything at one instant.
#[derive(Copy, Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// Since the load began.
    pub at_ms: u64,
    /// Calls paid so far.
    pub paid: u64,
    /// The payers' node.
    pub node: Held,
    /// The provider that is never killed.
    pub provider: Held,
}

/// How one process went over a run.
#[derive(Copy, Clone, Debug, Default, Serialize)]
pub struct Course {
    /// Memory in the beginning, at its most, and in the end, in KiB.
    pub rss_kib: [u64; 3],
    /// What memory gained an hour, over the second half.
    pub rss_kib_an_hour: i128,
    /// The fewest and the most open handles of the first half, and of the second.
    pub handles: [[u64; 2]; 2],
    /// What they gained an hour, over the second half.
    pub handles_an_hour: i128,
    /// What the ledger's files gained an hour, over the second half.
    pub ledger_bytes_an_hour: i128,
    /// What they gained for each call that was paid, over all and over the second half.
    pub ledger_bytes_a_call: [u64; 2],
}

impl Course {
    /// Of the process that `of` picks from each sample.
    pub fn of(samples: &[Sample], of: fn(&Sample) -> Held) -> Self {
        let (first, second) = samples.split_at(samples.len() / 2);
        let slope = |what: fn(Held) -> u64| {
            let points = second.iter().map(|one| (one.at_ms.into(), what(of(one)).into()));
            slope_an_hour(&points.collect::<Vec<(i128, i128)>>())
        };
        let rss = |one: Option<&Sample>| one.map_or(0, |one| of(one).rss_kib);
        let most = samples.iter().map(|one| of(one).rss_kib).max().unwrap_or(0);
        Self {
            rss_kib: [rss(samples.first()), most, rss(samples.last())],
            rss_kib_an_hour: slope(|held| held.rss_kib),
            handles: [first, second].map(|half| {
                let all = half.iter().map(|one| of(one).handles);
                [all.clone().min().unwrap_or(0), all.max().unwrap_or(0)]
            }),
            handles_an_hour: slope(|held| held.handles),
            ledger_bytes_an_hour: slope(|held| held.ledger_bytes),
            ledger_bytes_a_call: [samples, second].map(|some| a_call(some, of)),
        }
    }
}

fn a_call(samples: &[Sample], of: fn(&Sample) -> Held) -> u64 {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return 0 };
    let grown = of(last).ledger_bytes.saturating_sub(of(first).ledger_bytes);
    grown.checked_div(last.paid.saturating_sub(first.paid)).unwrap_or(0)
}

/// What the second of each pair gains an hour, the first being milliseconds: the line of least squares
/// through all of them, rounded toward zero. Nothing where there are not two instants.
pub fn slope_an_hour(points: &[(i128, i128)]) -> i128 {
    let many = i128::try_from(points.len()).unwrap_or(i128::MAX);
    let sum = |of: fn(&(i128, i128)) -> i128| points.iter().map(of).fold(0, i128::saturating_add);
    let (x, y) = (sum(|(x, _)| *x), sum(|(_, y)| *y));
    let xx = sum(|(x, _)| x.saturating_mul(*x));
    let xy = sum(|(x, y)| x.saturating_mul(*y));
    let above = many.saturating_mul(xy).saturating_sub(x.saturating_mul(y));
    let below = many.saturating_mul(xx).saturating_sub(x.saturating_mul(x));
    above.saturating_mul(HOUR_MS).checked_div(below).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{resident_kib, slope_an_hour};

    #[test]
    fn a_line_has_its_slope() {
        let line = |gain: i128| (0..10).map(move |at| (at * 60_000, 5 + at * gain));
        for gain in [0, 1, 100, -3] {
            let points: Vec<_> = line(gain).collect();
            assert_eq!(slope_an_hour(&points), gain * 60, "{gain} a minute");
        }
        let noisy: Vec<_> =
            line(10).map(|(x, y)| (x, if x % 120_000 == 0 { y + 1 } else { y - 1 })).collect();
        assert!((590..=610).contains(&slope_an_hour(&noisy)), "noise on both sides is none");
        assert_eq!(slope_an_hour(&[]), 0);
        assert_eq!(slope_an_hour(&[(7, 9)]), 0, "one instant has no slope");
        let day: Vec<_> =
            (0..17_280).map(|at| (at * 5_000, 100_000_000_000 + at * 1_000)).collect();
        assert_eq!(slope_an_hour(&day), 720_000, "a day of large files stays within the integers");
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let status = "Name:\tbursar\nVmPeak:\t  9 kB\nVmRSS:\t   12345 kB\nThreads:\t3\n";
        assert_eq!(resident_kib(status), Some(12_345));
        assert_eq!(resident_kib("Name:\tgone\n"), None);
    }
}
