//! What was measured, as a table for people and as JSON for programs.

use serde_json::json;
use std::fmt;

/// What stands between the load generator and the vendor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// Nothing.
    Direct,
    /// axum and reqwest with nothing in between: the floor for this stack.
    Floor,
    /// Tidegate, before a vendor who speaks as the client does.
    Tidegate,
    /// Tidegate, before a vendor of another dialect.
    Translated,
    /// Tidegate, with a line in the ledger for each attempt.
    Ledger,
}

/// One measurement of a second or so.
pub(crate) struct Sample {
    pub(crate) per_s: f64,
    /// CPU time of the gateway process for one request; for [`Through::Direct`] that is the vendor.
    pub(crate) cpu_us: Option<f64>,
    /// What of that the thread has taken that writes the ledger.
    pub(crate) writer_us: Option<f64>,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// All rounds for one kind of request and one number of connections.
pub(crate) struct Cell {
    stream: bool,
    connections: u32,
    /// By [`Through`], in the order of [`Through::ALL`]; the rounds stand at the same index in each.
    samples: [Vec<Sample>; 5],
}

/// Everything.
pub(crate) struct Report {
    pub(crate) cells: Vec<Cell>,
    pub(crate) one_cpu: bool,
    pub(crate) decision: Option<String>,
    /// A million lines of the ledger.
    pub(crate) ledger: String,
}

impl Through {
    pub(crate) const ALL: [Self; 5] = [Self::Direct, Self::Floor, Self::Tidegate, Self::Translated, Self::Ledger];

    /// What the load asks for as its model. Only Tidegate knows routes, and has two of them.
    pub(crate) fn route(self) -> &'static str {
        if self == Self::Translated { "translated" } else { "bench" }
    }
}

impl fmt::Display for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Floor => "pass-through",
            Self::Tidegate => "tidegate",
            Self::Translated => "translated",
            Self::Ledger => "with ledger",
        })
    }
}

impl Cell {
    pub(crate) fn new(stream: bool, connections: u32) -> Self {
        Self { stream, connections, samples: Default::default() }
    }

    pub(crate) fn add(&mut self, through: Through, sample: Sample) {
        self.samples[through as usize].push(sample);
    }

    fn kind(&self) -> &'static str {
        if self.stream { "stream" } else { "plain" }
    }

    fn median_of(&self, through: Through, figure: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        median(self.samples[through as usize].iter().filter_map(figure).collect())
    }

    /// The median over rounds of one's figure compared with another's in the same round.
    fn compared(
        &self,
        one: Through,
        with: Through,
        figure: impl Fn(&Sample) -> Option<f64>,
        compare: impl Fn(f64, f64) -> f64,
    ) -> Option<f64> {
        let pairs = self.samples[one as usize].iter().zip(&self.samples[with as usize]);
        median(pairs.filter_map(|(one, other)| Some(compare(figure(one)?, figure(other)?))).collect())
    }

    fn cpu_ratio(&self, of: Through, to: Through) -> Option<f64> {
        self.compared(of, to, |sample| sample.cpu_us, |one, other| one / other)
    }

    /// What the ledger's writer takes, to what all the rest of the same process does: two processes differ by more than this.
    fn writer_ratio(&self) -> Option<f64> {
        self.median_of(Through::Ledger, |sample| {
            let writer = sample.writer_us?;
            Some(writer / (sample.cpu_us? - writer))
        })
    }

    fn added_p50_us(&self, over: Through) -> Option<f64> {
        self.compared(Through::Tidegate, over, |sample| Some(sample.p50_us), |ours, other| ours - other)
    }

    fn json(&self) -> serde_json::Value {
        let figures = |through| {
            json!({
                "requests_per_s": self.median_of(through, |sample| Some(sample.per_s)),
                "cpu_us": self.median_of(through, |sample| sample.cpu_us),
                "p50_us": self.median_of(through, |sample| Some(sample.p50_us)),
                "p99_us": self.median_of(through, |sample| Some(sample.p99_us)),
            })
        };
        json!({
            "kind": self.kind(),
            "connections": self.connections,
            "direct": figures(Through::Direct),
            "pass_through": figures(Through::Floor),
            "tidegate": figures(Through::Tidegate),
            "translated": figures(Through::Translated),
            "with_ledger": figures(Through::Ledger),
            "cpu_ratio": self.cpu_ratio(Through::Tidegate, Through::Floor),
            "cpu_ratio_of_translating": self.cpu_ratio(Through::Translated, Through::Tidegate),
            "cpu_ratio_of_the_ledger": self.cpu_ratio(Through::Ledger, Through::Tidegate),
            "cpu_ratio_of_its_writer": self.writer_ratio(),
            "added_p50_us_over_direct": self.added_p50_us(Through::Direct),
            "added_p50_us_over_pass_through": self.added_p50_us(Through::Floor),
        })
    }
}

impl Report {
    pub(crate) fn json(&self) -> serde_json::Value {
        let cells: Vec<_> = self.cells.iter().map(Cell::json).collect();
        json!({ "one_cpu": self.one_cpu, "cells": cells, "decision": self.decision, "ledger": self.ledger })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.one_cpu { "all on one CPU" } else { "not pinned" };
        writeln!(f, "medians; client, gateway and vendor {place}; CPU is the gateway's own (direct: the vendor's)\n")?;
        writeln!(f, "| kind   | connections | through      | requests/s | CPU µs/request |   p50 µs |   p99 µs |")?;
        writeln!(f, "|--------|------------:|--------------|-----------:|---------------:|---------:|---------:|")?;
        for cell in &self.cells {
            for through in Through::ALL {
                let per_s = Shown(cell.median_of(through, |sample| Some(sample.per_s)), 0);
                let cpu = Shown(cell.median_of(through, |sample| sample.cpu_us), 1);
                let p50 = Shown(cell.median_of(through, |sample| Some(sample.p50_us)), 0);
                let p99 = Shown(cell.median_of(through, |sample| Some(sample.p99_us)), 0);
                let (kind, connections) = (cell.kind(), cell.connections);
                writeln!(
                    f,
                    "| {kind:<6} | {connections:>11} | {through:<12} | {per_s:>10} | {cpu:>14} | {p50:>8} | {p99:>8} |"
                )?;
            }
        }
        writeln!(
            f,
            "\n| kind   | connections | CPU, tidegate : pass-through | translated : tidegate | with ledger : without | its writer : the rest | added p50 µs, to direct | to pass-through |"
        )?;
        writeln!(
            f,
            "|--------|------------:|-----------------------------:|----------------------:|----------------------:|----------------------:|------------------------:|----------------:|"
        )?;
        for cell in &self.cells {
            let (kind, connections) = (cell.kind(), cell.connections);
            let ratio = Shown(cell.cpu_ratio(Through::Tidegate, Through::Floor), 2);
            let translating = Shown(cell.cpu_ratio(Through::Translated, Through::Tidegate), 2);
            let ledger = Shown(cell.cpu_ratio(Through::Ledger, Through::Tidegate), 3);
            let writer = Shown(cell.writer_ratio(), 3);
            let direct = Shown(cell.added_p50_us(Through::Direct), 0);
            let floor = Shown(cell.added_p50_us(Through::Floor), 0);
            writeln!(
                f,
                "| {kind:<6} | {connections:>11} | {ratio:>28} | {translating:>21} | {ledger:>21} | {writer:>21} | {direct:>23} | {floor:>15} |"
            )?;
        }
        if let Some(text) = &self.decision {
            writeln!(f, "\n{text}")?;
        }
        writeln!(f, "\n{}", self.ledger)
    }
}

/// A figure with so many decimals, or a dash.
struct Shown(Option<f64>, usize);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(figure) => f.pad(&format!("{figure:.*}", self.1)),
            None => f.pad("–"),
        }
    }
}

/// The middle one; of an even number, the mean of the two in the middle.
fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures.len().checked_sub(1)? / 2, figures.len() / 2);
    Some(f64::midpoint(figures[low], figures[high]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_us: f64, p50_us: f64) -> Sample {
        Sample { per_s: 1000.0, cpu_us: Some(cpu_us), writer_us: Some(cpu_us / 9.0), p50_us, p99_us: 2.0 * p50_us }
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![7.0]), Some(7.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn figures_are_compared_within_their_round() {
        let mut cell = Cell::new(false, 1);
        // The machine is twice as slow in the second round; the ratio is not.
        for slow in [1.0, 2.0] {
            cell.add(Through::Direct, sample(10.0 * slow, 20.0 * slow));
            cell.add(Through::Floor, sample(20.0 * slow, 50.0 * slow));
            cell.add(Through::Tidegate, sample(22.0 * slow, 60.0 * slow));
            cell.add(Through::Translated, sample(33.0 * slow, 70.0 * slow));
            cell.add(Through::Ledger, sample(22.5 * slow, 60.0 * slow));
        }
        let is_near = |ratio: Option<f64>, expected: f64| (ratio.expect("two rounds") - expected).abs() < 1e-9;
        assert!(is_near(cell.cpu_ratio(Through::Tidegate, Through::Floor), 1.1));
        assert!(is_near(cell.cpu_ratio(Through::Translated, Through::Tidegate), 1.5));
        assert!(is_near(cell.writer_ratio(), 0.125));
        assert_eq!(cell.added_p50_us(Through::Floor), Some(15.0));
        assert_eq!(cell.added_p50_us(Through::Direct), Some(60.0));
    }

    #[test]
    fn what_could_not_be_measured_is_a_dash() {
        let mut cell = Cell::new(true, 16);
        for through in Through::ALL {
            cell.add(through, Sample { cpu_us: None, ..sample(0.0, 1.0) });
        }
        let table = Report { cells: vec![cell], one_cpu: false, decision: None, ledger: String::new() }.to_string();
        assert!(
            table.contains(
                "| stream |          16 | tidegate     |       1000 |              – |        1 |        2 |"
            ),
            "{table}"
        );
    }
}
