//! The digits: a gzipped CSV file, a row of 64 pixel values 0..=16 and the label 0..=9 for each image.

use crate::model::{CLASSES, PIXELS};
use anyhow::{Context, Result, bail};
use autograd::Tensor;
use flate2::read::GzDecoder;
use std::{fs::File, path::Path};

/// Images and what they show.
pub struct Digits {
    pixels: Vec<f32>,
    labels: Vec<i64>,
}

impl Digits {
    /// Reads a file. An error tells the line.
    pub fn read(path: &Path) -> Result<Digits> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut rows = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(GzDecoder::new(file));
        let mut digits = Digits { pixels: Vec::new(), labels: Vec::new() };
        let mut row = csv::StringRecord::new();
        while rows.read_record(&mut row).with_context(|| format!("cannot read {}", path.display()))? {
            let line = row.position().map_or(0, csv::Position::line);
            digits.push(&row).with_context(|| format!("{}, line {line}", path.display()))?;
        }
        Ok(digits)
    }

    fn push(&mut self, row: &csv::StringRecord) -> Result<()> {
        if row.len() != PIXELS + 1 {
            bail!("expected {PIXELS} pixels and a label, found {} columns", row.len());
        }
        for (column, field) in row.iter().enumerate() {
            let (what, max) = if column < PIXELS { ("a pixel", 16) } else { ("the label", CLASSES - 1) };
            match field.trim().parse::<usize>() {
                Ok(x) if x > max => bail!("column {}: expected {what} of 0 to {max}, found {x}", column + 1),
                Ok(x) if column < PIXELS => self.pixels.push(x as f32 / 16.0),
                Ok(x) => self.labels.push(x as i64),
                Err(_) => bail!("column {}: expected {what} of 0 to {max}, found {field:?}", column + 1),
            }
        }
        Ok(())
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Some of the images, as tensors `[n, 64]` and `[n]`.
    pub fn batch(&self, images: &[usize]) -> (Tensor<f32>, Tensor<i64>) {
        let n = images.len();
        let mut pixels = Vec::with_capacity(n * PIXELS);
        images.iter().for_each(|&i| pixels.extend_from_slice(&self.pixels[i * PIXELS..(i + 1) * PIXELS]));
        let labels = images.iter().map(|&i| self.labels[i]).collect();
        (Tensor::from_vec(pixels, [n, PIXELS]), Tensor::from_vec(labels, [n]))
    }
}
