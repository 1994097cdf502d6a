//! A page that shows it: which faults there were when, and each cap with what was used beneath it. It
//! needs nothing from anywhere else.

use std::fmt::Write;

use bursar::domain::time::Timestamp;

use super::super::closing::Point;
use super::report::Report;

/// The width of every picture, and the heights of a row of faults and of a curve.
const WIDTH: u64 = 960;
const ROW: u64 = 18;
const CURVE: u64 = 160;
/// Where pictures begin, beside their labels.
const LEFT: u64 = 150;

/// The page.
pub fn page(report: &Report) -> String {
    let mut html = String::from(HEAD);
    let verdict = if report.is_sound() { "No cap was passed" } else { "SOMETHING IS WRONG" };
    let minutes = report.minutes;
    let _ = write!(
        html,
        "<h1>{verdict}</h1><p>{minutes} minutes of faults, seed {}, a cap of {} USD over all agents.</p>",
        report.seed,
        escape(&report.budget)
    );
    html.push_str("<h2>Faults</h2>");
    faults(&mut html, report);
    html.push_str("<h2>Caps, and what was spent or held beneath them</h2>");
    for (name, curve) in &report.books.curves {
        picture(&mut html, name, curve, (report.began, report.ended));
    }
    let _ = write!(html, "<h2>Books</h2><pre>{}</pre></body></html>", escape(&report.to_text()));
    html
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<title>bursar prove</title><style>\
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#223}\
h1{font-size:1.6em}h2{font-size:1.1em;margin-top:1.6em}pre{background:#f4f5f7;padding:1em;overflow:auto}\
svg{display:block;width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#445}\
.fault{fill:#d1495b}.cap{stroke:#d1495b;stroke-width:1.5;fill:none}\
.used{fill:#7aa6c2;fill-opacity:.55;stroke:#30638e;stroke-width:1}.line{stroke:#dde;stroke-width:1}\
</style></head><body>";

fn faults(html: &mut String, report: &Report) {
    let kinds = report.kinds();
    let height = ROW.saturating_mul(u64::try_from(kinds.len()).unwrap_or(1)).saturating_add(4);
    let _ = write!(html, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">");
    for (row, (kind, count)) in (0..).zip(&kinds) {
        let top = ROW.saturating_mul(row);
        let base = top.saturating_add(13);
        let line = top.saturating_add(ROW);
        let _ = write!(
            html,
            "<text x=\"0\" y=\"{base}\">{kind} ({count})</text>\
             <line class=\"line\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{line}\" y2=\"{line}\"/>"
        );
        for fault in report.faults.iter().filter(|fault| fault.kind.as_str() == *kind) {
            let span = (report.began, report.ended);
            let (from, until) = (across(fault.from, span), across(fault.until, span));
            let width = until.saturating_sub(from).max(2);
            let (y, height) = (top.saturating_add(3), ROW.saturating_sub(6));
            let _ = write!(
                html,
                "<rect class=\"fault\" x=\"{from}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
            );
        }
    }
    html.push_str("</svg>");
}

/// One budget: what was used as an area, its cap as a line.
fn picture(html: &mut String, name: &str, curve: &[Point], span: (Timestamp, Timestamp)) {
    let most = curve.iter().map(|point| point.used.max(point.limit)).max().unwrap_or(1).max(1);
    let y = |value: u64| {
        let part = u128::from(value).saturating_mul(u128::from(CURVE)).checked_div(most.into());
        let part = part.and_then(|part| u64::try_from(part).ok()).unwrap_or(CURVE);
        CURVE.saturating_add(8).saturating_sub(part)
    };
    let (mut used, mut cap) = (String::new(), String::new());
    let mut last = None;
    for point in curve {
        let x = across(point.at, span);
        if let Some((used_before, cap_before)) = last {
            let _ = write!(used, " {x},{used_before}");
            let _ = write!(cap, " {x},{cap_before}");
        }
        let (used_here, cap_here) = (y(point.used), y(point.limit));
        let _ = write!(used, " {x},{used_here}");
        let _ = write!(cap, " {x},{cap_here}");
        last = Some((used_here, cap_here));
    }
    let first = curve.first().map_or(LEFT, |point| across(point.at, span));
    let end = curve.last().map_or(LEFT, |point| across(point.at, span));
    let (base, height) = (CURVE.saturating_add(8), CURVE.saturating_add(16));
    let _ = write!(
        html,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"><text x=\"0\" y=\"20\">{}</text>\
         <polygon class=\"used\" points=\"{first},{base}{used} {end},{base}\"/>\
         <polyline class=\"cap\" points=\"{cap}\"/></svg>",
        escape(name)
    );
}

/// Where an instant stands, from left to right.
fn across(at: Timestamp, (from, until): (Timestamp, Timestamp)) -> u64 {
    let whole = until.since(from).as_millis().max(1);
    let part = at.since(from).as_millis().min(whole);
    let room = u128::from(WIDTH.saturating_sub(LEFT));
    let moved = part.saturating_mul(room).checked_div(whole).unwrap_or(0);
    LEFT.saturating_add(u64::try_from(moved).unwrap_or(0))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
