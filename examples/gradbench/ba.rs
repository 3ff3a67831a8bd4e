//! Bundle adjustment: the errors of n cameras' views of m points in p observations, and their sparse Jacobian, a block of
//! 2 × 15 for each observation and a row of one element for each weight.

use crate::{Run, input::Input, unknown};
use anyhow::{Context, Result, anyhow, ensure};
use autograd::prelude::*;
use serde_json::json;

#[differentiable]
fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// A point turned about an axis by its length as the angle (Rodrigues).
#[differentiable]
fn rotate(axis: [f64; 3], p: [f64; 3]) -> [f64; 3] {
    let square = axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2];
    if square == 0.0 {
        let c = cross(axis, p);
        return [p[0] + c[0], p[1] + c[1], p[2] + c[2]];
    }
    let angle = square.sqrt();
    let (sin, cos) = (angle.sin(), angle.cos());
    let w = [axis[0] / angle, axis[1] / angle, axis[2] / angle];
    let c = cross(w, p);
    let along = (w[0] * p[0] + w[1] * p[1] + w[2] * p[2]) * (1.0 - cos);
    [
        p[0] * cos + c[0] * sin + w[0] * along,
        p[1] * cos + c[1] * sin + w[1] * along,
        p[2] * cos + c[2] * sin + w[2] * along,
    ]
}

/// A camera is a rotation, a centre, a focal length, a principal point and two coefficients of radial distortion.
#[differentiable(wrt(camera, point, weight))]
fn reprojection(camera: [f64; 11], point: [f64; 3], weight: f64, seen: [f64; 2]) -> [f64; 2] {
    let offset = [point[0] - camera[3], point[1] - camera[4], point[2] - camera[5]];
    let p = rotate([camera[0], camera[1], camera[2]], offset);
    let (x, y) = (p[0] / p[2], p[1] / p[2]);
    let square = x * x + y * y;
    let distortion = 1.0 + camera[9] * square + camera[10] * square * square;
    let (x, y) = (x * distortion * camera[6] + camera[7], y * distortion * camera[6] + camera[8]);
    [weight * (x - seen[0]), weight * (y - seen[1])]
}

#[differentiable]
fn weight_error(weight: f64) -> f64 {
    1.0 - weight * weight
}

struct Problem {
    cameras: Vec<[f64; 11]>,
    points: Vec<[f64; 3]>,
    weights: Vec<f64>,
    seen: Vec<[f64; 2]>,
}

fn read(input: &Input) -> Result<Problem> {
    fn fixed<const N: usize>(input: &Input, key: &str) -> Result<[f64; N]> {
        input.floats(key)?.try_into().map_err(|_| anyhow!("expected {N} numbers as {key:?}"))
    }
    let [n, m, p] = ["n", "m", "p"].map(|key| input.integer(key));
    let (n, m, p) = (n?, m?, p?);
    ensure!(n > 0 && m > 0 && p > 0, "expected cameras, points and observations");
    Ok(Problem {
        cameras: vec![fixed(input, "cam")?; n],
        points: vec![fixed(input, "x")?; m],
        weights: vec![input.float("w")?; p],
        seen: vec![fixed(input, "feat")?; p],
    })
}

/// A sparse matrix by rows: where each row begins, the columns and values of its elements.
#[derive(Default)]
struct Rows {
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f64>,
}

/// Observations that are differentiated in one call.
const BATCH: usize = 1024;

/// Writes the Jacobian over the last one, as a solver does in each of its steps.
fn jacobian(of: &Problem, out: &mut Rows) -> Result<()> {
    let (n, m, p) = (of.cameras.len(), of.points.len(), of.weights.len());
    // columns of cameras, then of points, then of weights
    let column = |block: usize| u32::try_from(block).context("expected fewer columns");
    let (points_at, weights_at) = (column(11 * n)?, column(11 * n + 3 * m)?);
    column(11 * n + 3 * m + p)?;
    out.starts.resize(3 * p + 1, 0);
    out.columns.resize(31 * p, 0);
    out.values.resize(31 * p, 0.0);
    // two rows of 15 elements for each observation, then one of one element
    let (starts, starts_of_weights) = out.starts.split_at_mut(2 * p);
    let (columns, columns_of_weights) = out.columns.split_at_mut(30 * p);
    let (values, values_of_weights) = out.values.split_at_mut(30 * p);
    starts.iter_mut().enumerate().for_each(|(row, start)| *start = 15 * row);
    starts_of_weights.iter_mut().enumerate().for_each(|(row, start)| *start = 30 * p + row);
    let mut rows = columns.as_chunks_mut::<15>().0.iter_mut().zip(values.as_chunks_mut::<15>().0);
    // as many observations at a time as stay in the cache on their way into the matrix
    for first in (0..p).step_by(BATCH) {
        let batch = first..(first + BATCH).min(p);
        let cameras: Vec<&[f64; 11]> = batch.clone().map(|i| &of.cameras[i % n]).collect();
        let points: Vec<&[f64; 3]> = batch.clone().map(|i| &of.points[i % m]).collect();
        let (weights, seen) = (&of.weights[batch.clone()], &of.seen[batch.clone()]);
        let blocks = reprojection::vmap_jacobian(&cameras, &points, weights, seen)?;
        for (i, (in_camera, in_point, in_weight)) in batch.zip(&blocks) {
            let (camera, point) = (11 * (i % n) as u32, points_at + 3 * (i % m) as u32);
            for (row, (columns, values)) in rows.by_ref().take(2).enumerate() {
                (0..11).for_each(|k| columns[k] = camera + k as u32);
                (0..3).for_each(|k| columns[11 + k] = point + k as u32);
                columns[14] = weights_at + i as u32;
                values[..11].copy_from_slice(&in_camera[row]);
                values[11..14].copy_from_slice(&in_point[row]);
                values[14] = in_weight[row];
            }
        }
    }
    columns_of_weights.iter_mut().zip(weights_at..).for_each(|(to, column)| *to = column);
    values_of_weights.copy_from_slice(&weight_error::vmap_grad(&of.weights)?);
    Ok(())
}

/// The first thirty elements and the last: the rest repeats them.
fn ends<T: Clone>(all: &[T]) -> Vec<T> {
    all.iter().take(30).chain(all.last()).cloned().collect()
}

pub fn evaluate(function: &str, input: &Input) -> Result<Run> {
    let of = read(input)?;
    let p = of.weights.len();
    let error = |i: usize| {
        let (camera, point) = (of.cameras[i % of.cameras.len()], of.points[i % of.points.len()]);
        reprojection(camera, point, of.weights[i], of.seen[i])
    };
    match function {
        "objective" => input.run(
            || {
                let errors: Vec<[f64; 2]> = (0..p).map(error).collect();
                Ok((errors, of.weights.iter().map(|&w| weight_error(w)).collect::<Vec<f64>>()))
            },
            |(errors, weights)| {
                json!({
                    "reproj_error": { "elements": errors[0], "repeated": p },
                    "w_err": { "element": weights[0], "repeated": p },
                })
            },
        ),
        "jacobian" => {
            let mut j = Rows::default();
            input.run(
                || {
                    jacobian(&of, &mut j)?;
                    Ok((ends(&j.starts), ends(&j.columns), ends(&j.values)))
                },
                |(rows, columns, values)| json!({ "rows": rows, "cols": columns, "vals": values }),
            )
        }
        _ => unknown(function),
    }
}
