//! Plots: each server's ratio to the reference as bars, a panel for each work; and how rate and
//! memory grow with connections and cores, as lines.

use std::path::Path;

use plotters::prelude::*;

use crate::report::{Row, Table, readable};
use crate::still::BYTES_EACH;

const WIDTH: u32 = 900;
const BAR: u32 = 22;
const HEAD: u32 = 60;

const OURS: RGBColor = RGBColor(0xb3, 0x5c, 0x1e);
const OTHERS: RGBColor = RGBColor(0x8a, 0x9a, 0xa8);
const REFERENCE: RGBColor = RGBColor(0x4a, 0x5a, 0x68);

/// Draws `tables`, one below the other, into a new file.
pub fn bars(tables: &[&Table], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let heights: Vec<u32> = tables
        .iter()
        .map(|table| HEAD + BAR * table.sorted().len() as u32 + 10)
        .collect();
    let root = SVGBackend::new(path, (WIDTH, heights.iter().sum())).into_drawing_area();
    root.fill(&WHITE)?;
    let mut top = 0;
    for (table, height) in tables.iter().zip(heights) {
        let panel = root.clone().shrink((0, top), (WIDTH, height));
        panel_of(table, &panel)?;
        top += height;
    }
    root.present()?;
    Ok(())
}

fn panel_of<B>(
    table: &Table,
    panel: &DrawingArea<B, plotters::coord::Shift>,
) -> Result<(), Box<dyn std::error::Error>>
where
    B: DrawingBackend,
    B::ErrorType: 'static,
{
    let rows = table.sorted();
    let ratio = |row: &Row| table.ratio(row).unwrap_or_default();
    let most = rows.iter().map(|row| ratio(row)).fold(1.0, f64::max);
    let title = format!(
        "{}: {} (ratio to {})",
        table.suite, table.work, table.reference
    );
    let text = |size| ("sans-serif", size).into_font().color(&BLACK);
    panel.draw(&Text::new(title, (10, 18), text(18)))?;
    let left = 130;
    let scale = f64::from(WIDTH - 230) / most;
    for (at, row) in rows.iter().enumerate() {
        let ratio = ratio(row);
        let y = (HEAD - 12 + BAR * at as u32) as i32;
        let color = match row.server.as_str() {
            "ropewalk" => OURS,
            name if name == table.reference => REFERENCE,
            _ => OTHERS,
        };
        let end = left + (ratio * scale) as i32;
        panel.draw(&Text::new(row.server.clone(), (10, y + 2), text(14)))?;
        panel.draw(&Rectangle::new(
            [(left, y), (end, y + BAR as i32 - 6)],
            color.filled(),
        ))?;
        panel.draw(&Text::new(
            format!("{ratio:.2}"),
            (end + 6, y + 2),
            text(14),
        ))?;
    }
    Ok(())
}

/// Draws the suite `growth` into a new file: what becomes of rate and memory as connections become
/// many and, if there is more than one count of them, of the rate as cores do.
pub fn growth(tables: &[&Table], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let of_memory = |table: &Table| table.unit == BYTES_EACH;
    let rates = |cores| {
        let with = tables.iter().filter(move |table| table.cores == cores);
        with.filter(|table| !of_memory(table)).copied()
    };
    let one: Vec<Point> = rates(1).flat_map(|table| points(table, |n| n)).collect();
    let memory: Vec<Point> = tables
        .iter()
        .filter(|table| of_memory(table))
        .flat_map(|table| points(table, |n| n * connections(table) / 1024.0))
        .collect();
    let most = one.iter().map(|point| point.x).fold(1.0, f64::max);
    let by_cores: Vec<Point> = [1, 2, 4]
        .into_iter()
        .flat_map(|cores| rates(cores).map(move |table| (cores, table)))
        .filter(|(_, table)| connections(table) == 64.0)
        .flat_map(|(cores, table)| {
            let at_cores = move |point: Point| Point {
                x: cores as f64,
                ..point
            };
            points(table, |n| n).into_iter().map(at_cores)
        })
        .collect();
    let several = by_cores.iter().any(|point| point.x > 1.0);
    let root = SVGBackend::new(path, (WIDTH, if several { 1260 } else { 840 })).into_drawing_area();
    root.fill(&WHITE)?;
    let panels = root.split_evenly((if several { 3 } else { 2 }, 1));
    let (below, above) = (
        SeriesLabelPosition::LowerRight,
        SeriesLabelPosition::UpperLeft,
    );
    let (rate, held) = ("requests a second", "KiB of idle connections");
    lines(&panels[0], [rate, "connections"], &one, most, below)?;
    lines(
        &panels[1],
        [held, "connections"],
        &memory,
        most,
        above.clone(),
    )?;
    if let Some(panel) = panels.get(2) {
        lines(panel, [rate, "cores"], &by_cores, 4.0, above)?;
    }
    root.present()?;
    Ok(())
}

/// What a server reached.
struct Point {
    server: String,
    x: f64,
    y: f64,
}

/// The number of connections that is in the name of a work of the suite `growth`.
fn connections(table: &Table) -> f64 {
    let digits: String = table.work.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

fn points(table: &Table, figure: impl Fn(f64) -> f64) -> Vec<Point> {
    let point = |row: &Row| {
        let y = row.series.figure().filter(|y| *y > 0.0)?;
        Some(Point {
            server: row.server.clone(),
            x: connections(table),
            y: figure(y),
        })
    };
    table.rows.iter().filter_map(point).collect()
}

/// A line for each server, with the first axis logarithmic.
fn lines<B>(
    panel: &DrawingArea<B, plotters::coord::Shift>,
    [what, by]: [&str; 2],
    points: &[Point],
    last: f64,
    legend: SeriesLabelPosition,
) -> Result<(), Box<dyn std::error::Error>>
where
    B: DrawingBackend,
    B::ErrorType: 'static,
{
    let highest = points.iter().map(|point| point.y).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(panel)
        .margin(20)
        .caption(format!("{what} by {by}"), ("sans-serif", 18))
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((1.0..last.max(2.0)).log_scale(), 0.0..highest * 1.1)?;
    chart
        .configure_mesh()
        .x_desc(by)
        .y_label_formatter(&|y| readable(*y))
        .draw()?;
    for (server, color) in [("ropewalk", OURS), ("hyper", OTHERS), ("nginx", REFERENCE)] {
        let of_server = points.iter().filter(|point| point.server == server);
        let line = of_server.map(|point| (point.x, point.y));
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(3)))?
            .label(server)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 14, y + 4)], color.filled()));
    }
    let (border, background) = (BLACK.mix(0.3), WHITE.mix(0.8));
    chart
        .configure_series_labels()
        .position(legend)
        .border_style(border)
        .background_style(background)
        .draw()?;
    Ok(())
}
