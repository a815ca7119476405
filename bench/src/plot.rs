//! Plots: each server's ratio to the reference as bars, a panel for each work; and how the rate
//! holds as connections become many, as lines.

use std::path::Path;

use plotters::prelude::*;

use crate::report::{Row, Table, readable};

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

/// Draws the rates of the suite `growth`, a line for each server, into a new file.
pub fn growth(tables: &[&Table], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let points = |server: &str| -> Vec<(f64, f64)> {
        let point = |table: &&Table| {
            let digits: String = table.work.chars().filter(char::is_ascii_digit).collect();
            let row = table.rows.iter().find(|row| row.server == server)?;
            let rate = row.series.figure().filter(|rate| *rate > 0.0)?;
            Some((digits.parse().ok()?, rate))
        };
        tables.iter().filter_map(point).collect()
    };
    let lines = [("ropewalk", OURS), ("hyper", OTHERS), ("nginx", REFERENCE)];
    let all: Vec<(f64, f64)> = lines
        .iter()
        .flat_map(|(server, _)| points(server))
        .collect();
    let most = all.iter().map(|(_, rate)| *rate).fold(1.0, f64::max);
    let last = all
        .iter()
        .map(|(connections, _)| *connections)
        .fold(2.0, f64::max);
    let root = SVGBackend::new(path, (WIDTH, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(20)
        .caption("requests a second by connections", ("sans-serif", 18))
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((1.0..last).log_scale(), 0.0..most * 1.1)?;
    chart
        .configure_mesh()
        .x_desc("connections")
        .y_label_formatter(&|rate| readable(*rate))
        .draw()?;
    for (server, color) in lines {
        chart
            .draw_series(LineSeries::new(points(server), color.stroke_width(3)))?
            .label(server)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 14, y + 4)], color.filled()));
    }
    let (border, background) = (BLACK.mix(0.3), WHITE.mix(0.8));
    chart
        .configure_series_labels()
        .border_style(border)
        .background_style(background)
        .draw()?;
    root.present()?;
    Ok(())
}
