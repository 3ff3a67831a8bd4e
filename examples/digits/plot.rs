//! The loss curve as an SVG picture.

use anyhow::Result;
use plotters::prelude::*;
use std::path::Path;

/// Draws the mean loss of each epoch.
pub fn loss_curve(path: &Path, losses: &[f32]) -> Result<()> {
    let highest = losses.iter().copied().fold(0.0, f32::max);
    let picture = SVGBackend::new(path, (720, 420)).into_drawing_area();
    picture.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&picture)
        .caption("digits: training loss", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..losses.len() as f32, 0.0..highest * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .y_desc("cross-entropy")
        .light_line_style(WHITE)
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .draw()?;
    let points = losses.iter().enumerate().map(|(epoch, &loss)| ((epoch + 1) as f32, loss));
    chart.draw_series(LineSeries::new(points.clone(), BLUE.stroke_width(2)).point_size(3))?;
    picture.present()?;
    Ok(())
}
