//! Lines and points as an SVG picture in `target/`.

use anyhow::{Context, Result};
use plotters::prelude::*;
use std::path::Path;

/// What is drawn under one name, in the next colour.
pub struct Series<'s> {
    pub name: &'s str,
    pub points: Vec<(f64, f64)>,
    /// Joined by a line, or dots.
    pub joined: bool,
}

/// A line through points.
pub fn line(name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Series<'_> {
    Series { name, points: points.into_iter().collect(), joined: true }
}

/// Points as dots.
#[allow(dead_code, reason = "not every example has points")]
pub fn dots(name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Series<'_> {
    Series { name, points: points.into_iter().collect(), joined: false }
}

/// How long a unit of each axis is.
#[derive(PartialEq)]
#[allow(dead_code, reason = "an example has one of them")]
pub enum Scale {
    /// Each axis fills the picture.
    Free,
    /// The same on both axes, as on a map.
    Equal,
}

const SIZE: (u32, u32) = (720, 480);

/// Draws series over the axes that are named, and says where.
pub fn draw(file: &str, title: &str, axes: [&str; 2], scale: Scale, series: &[Series<'_>]) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(file);
    let all = || series.iter().flat_map(|s| &s.points);
    let range = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) = all().map(of).fold((f64::INFINITY, -f64::INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let margin = 0.05 * (high - low).max(1e-9);
        (low - margin, high + margin)
    };
    let (mut x, mut y) = (range(|p| p.0), range(|p| p.1));
    if scale == Scale::Equal {
        let (width, height) = (f64::from(SIZE.0 - 92), f64::from(SIZE.1 - 92));
        let unit = ((x.1 - x.0) / width).max((y.1 - y.0) / height);
        let widened = |(low, high): (f64, f64), pixels: f64| {
            let (middle, half) = (0.5 * (low + high), 0.5 * unit * pixels);
            (middle - half, middle + half)
        };
        (x, y) = (widened(x, width), widened(y, height));
    }
    let picture = SVGBackend::new(&path, SIZE).into_drawing_area();
    picture.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&picture)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
    chart.configure_mesh().x_desc(axes[0]).y_desc(axes[1]).light_line_style(WHITE).draw()?;
    for (i, s) in series.iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        if s.joined {
            let drawn = chart.draw_series(LineSeries::new(s.points.iter().copied(), colour.stroke_width(2)))?;
            drawn.label(s.name).legend(move |(x, y)| Circle::new((x + 8, y), 4, colour.filled()));
        } else {
            let drawn = chart.draw_series(s.points.iter().map(|&p| Circle::new(p, 4, colour.filled())))?;
            drawn.label(s.name).legend(move |(x, y)| Circle::new((x + 8, y), 4, colour.filled()));
        }
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
    picture.present().with_context(|| format!("cannot write {}", path.display()))?;
    println!("drawn in {}", path.display());
    Ok(())
}
