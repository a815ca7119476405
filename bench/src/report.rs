//! What came of a run: tables for people, JSON for programs.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::rounds::Series;

/// A whole run.
#[derive(Debug, Deserialize, Serialize)]
pub struct Report {
    pub date: String,
    pub machine: Machine,
    pub versions: Vec<(String, String)>,
    pub rounds: usize,
    pub seconds: f64,
    pub tables: Vec<Table>,
    /// What could not be run, and why.
    pub missing: Vec<String>,
}

/// One work: all servers side by side.
#[derive(Debug, Deserialize, Serialize)]
pub struct Table {
    pub suite: String,
    pub work: String,
    pub unit: String,
    pub reference: String,
    pub cores: usize,
    pub less_is_better: bool,
    pub rows: Vec<Row>,
    pub missing: Vec<String>,
}

/// One server.
#[derive(Debug, Deserialize, Serialize)]
pub struct Row {
    pub server: String,
    pub series: Series,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    /// Cores in use, by the server and by the load.
    pub server_cpu: Option<f64>,
    pub load_cpu: Option<f64>,
    pub note: Option<String>,
}

impl Row {
    /// A row of figures that were taken one by one, with no neighbours to be divided by.
    pub fn of_figures(server: &str, figures: Vec<f64>, reference: Option<f64>) -> Self {
        let ratios = reference.map_or_else(Vec::new, |reference| {
            figures.iter().map(|figure| figure / reference).collect()
        });
        Self {
            server: server.to_owned(),
            series: Series {
                figures,
                ratios,
                dropped: 0,
            },
            p50_us: None,
            p99_us: None,
            server_cpu: None,
            load_cpu: None,
            note: None,
        }
    }
}

impl Table {
    /// Those that answered, the best first.
    pub fn sorted(&self) -> Vec<&Row> {
        let figure = |row: &&Row| row.series.figure().unwrap_or_default();
        let order = |row: &&Row| self.ratio(row).unwrap_or_else(|| figure(row));
        let mut rows: Vec<&Row> = self.rows.iter().filter(|row| figure(row) > 0.0).collect();
        rows.sort_by(|one, other| match self.less_is_better {
            true => order(one).total_cmp(&order(other)),
            false => order(other).total_cmp(&order(one)),
        });
        rows
    }

    /// The reference has ratio 1; there is none where there is no reference.
    pub fn ratio(&self, row: &Row) -> Option<f64> {
        match row.server == self.reference {
            true => Some(1.0),
            false => row.series.ratio(),
        }
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("### {}: {}", self.suite, self.work);
        if self.cores > 1 {
            let _ = write!(text, ", {} cores", self.cores);
        }
        let direction = if self.less_is_better {
            "less is better"
        } else {
            "more is better"
        };
        let _ = write!(
            text,
            "\n\n| server | {} ({direction}) | ratio to {} | min-max | n | p50 / p99 µs | cores: server / load | |\n\
             |---|---|---|---|---|---|---|---|\n",
            self.unit, self.reference
        );
        for row in self.sorted() {
            let pair = |one: Option<f64>, other: Option<f64>, digits: usize| match (one, other) {
                (Some(one), Some(other)) => format!("{one:.digits$} / {other:.digits$}"),
                _ => String::new(),
            };
            let spread = row.series.spread();
            let spread = spread.filter(|(least, most)| least < most);
            let spread = spread.map_or(String::new(), |(least, most)| {
                format!("{least:.2}-{most:.2}")
            });
            let ratio = self.ratio(row);
            let ratio = ratio.map_or(String::new(), |ratio| format!("**{}**", ratio_text(ratio)));
            let _ = writeln!(
                text,
                "| {} | {} | {ratio} | {spread} | {} | {} | {} | {} |",
                row.server,
                row.series.figure().map_or(String::new(), readable),
                row.series.figures.len(),
                pair(row.p50_us, row.p99_us, 0),
                pair(row.server_cpu, row.load_cpu, 2),
                row.note.as_deref().unwrap_or_default()
            );
        }
        for row in &self.rows {
            if row.series.figure().is_none_or(|figure| figure <= 0.0) {
                let _ = writeln!(text, "\n{} answered nothing.", row.server);
            }
        }
        for missing in &self.missing {
            let _ = writeln!(text, "\nMissing or dropped: {missing}");
        }
        text
    }
}

impl Report {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "# Benchmark of {}\n\n{} cores, {}, {}, {} MiB. {} rounds of {} s.\n\n",
            self.date,
            machine.cores,
            machine.processor,
            machine.system,
            machine.memory_mib,
            self.rounds,
            self.seconds
        );
        let versions = self.versions.iter();
        let versions: Vec<_> = versions
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        let _ = writeln!(text, "{}.\n", versions.join(", "));
        for missing in &self.missing {
            let _ = writeln!(text, "Note: {missing}\n");
        }
        for table in &self.tables {
            let _ = writeln!(text, "{}", table.markdown());
        }
        text
    }
}

/// Two digits behind the point, and three where they would be nothing.
pub fn ratio_text(ratio: f64) -> String {
    match ratio {
        0.1.. => format!("{ratio:.2}"),
        _ => format!("{ratio:.3}"),
    }
}

/// Three significant digits, with a unit for thousands.
pub fn readable(figure: f64) -> String {
    let (scaled, unit) = match figure {
        1e9.. => (figure / 1e9, "G"),
        1e6.. => (figure / 1e6, "M"),
        1e4.. => (figure / 1e3, "k"),
        _ => (figure, ""),
    };
    let digits = match scaled {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{scaled:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_can_be_read() {
        let all = [0.5, 12.34, 1234.0, 45_678.0, 1_500_000.0, 2.5e9];
        let all = all.map(readable);
        assert_eq!(all, ["0.50", "12.3", "1234", "45.7k", "1.50M", "2.50G"]);
    }

    #[test]
    fn the_best_stands_first_whichever_way_is_better() {
        let rows = || {
            vec![
                Row::of_figures("nginx", vec![10.0], Some(10.0)),
                Row::of_figures("ropewalk", vec![20.0], Some(10.0)),
            ]
        };
        let mut table = Table {
            suite: "http".to_owned(),
            work: "hello".to_owned(),
            unit: "/s".to_owned(),
            reference: "nginx".to_owned(),
            cores: 1,
            less_is_better: false,
            rows: rows(),
            missing: Vec::new(),
        };
        assert_eq!(table.sorted()[0].server, "ropewalk");
        table.less_is_better = true;
        assert_eq!(table.sorted()[0].server, "nginx");
        assert!(table.markdown().contains("| ropewalk | 20.0 | **2.00** |"));
    }
}
