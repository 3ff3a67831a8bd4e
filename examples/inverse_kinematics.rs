//! A robot arm reaches for points along a path: damped least squares with the compiled Jacobian.
//!
//! `tip` is forward kinematics as one writes it: a loop over six joints, each a struct, turns and moves a frame. From
//! it `tip::jacobian` gives how the hand moves with the joints, `[[f64; 6]; 6]`, and `nalgebra` solves (Jᵀ J + λ²) Δ =
//! Jᵀ e for the next change Δ of the angles, where e is how far the hand is from its place and direction.
//!
//! `cargo run --release --example inverse_kinematics`

mod plot;

use anyhow::{Result, ensure};
use autograd::prelude::*;
use nalgebra::{Matrix6, Vector6};

/// A joint and the link behind it, after Denavit and Hartenberg: a turn about z by the joint's angle, a move along it
/// by `offset`, a move along the new x by `length`, a turn about it by `twist`.
#[derive(Clone, Copy, Debug, Differentiable)]
struct Joint {
    offset: f64,
    length: f64,
    twist: f64,
}

/// Where a link ends, and its x and z axes.
#[derive(Clone, Copy, Debug, Differentiable)]
struct Frame {
    at: [f64; 3],
    x: [f64; 3],
    z: [f64; 3],
}

#[derive(Clone, Copy, Debug, Differentiable)]
struct Arm {
    base: Frame,
    joints: [Joint; 6],
}

#[differentiable]
fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// a u + b v
#[differentiable]
fn mix(a: f64, u: [f64; 3], b: f64, v: [f64; 3]) -> [f64; 3] {
    [a * u[0] + b * v[0], a * u[1] + b * v[1], a * u[2] + b * v[2]]
}

/// The frame after a joint.
#[differentiable]
fn moved(frame: Frame, joint: Joint, angle: f64) -> Frame {
    let (y, (s, c)) = (cross(frame.z, frame.x), angle.sin_cos());
    let (x, side) = (mix(c, frame.x, s, y), mix(-s, frame.x, c, y));
    let (s, c) = joint.twist.sin_cos();
    let step = mix(joint.offset, frame.z, joint.length, x);
    Frame { at: mix(1.0, frame.at, 1.0, step), x, z: mix(c, frame.z, -s, side) }
}

/// Where the hand is, and where it points.
#[differentiable(wrt(angles))]
fn tip(angles: [f64; 6], arm: &Arm) -> [f64; 6] {
    let mut frame = arm.base;
    for (&joint, angle) in arm.joints.iter().zip(angles) {
        frame = moved(frame, joint, angle);
    }
    let [px, py, pz] = frame.at;
    let [dx, dy, dz] = frame.z;
    [px, py, pz, dx, dy, dz]
}

/// How far the hand is from a target, half the square.
#[differentiable(wrt(angles))]
fn distance(angles: [f64; 6], arm: &Arm, target: [f64; 6]) -> f64 {
    let hand = tip(angles, arm);
    let mut sum = 0.0;
    for i in 0..6 {
        sum += (hand[i] - target[i]).powi(2);
    }
    0.5 * sum
}

/// The angles that bring the hand to a target, from others; the number of steps and the error that remains.
fn reach(mut angles: [f64; 6], arm: &Arm, target: &[f64; 6]) -> Result<([f64; 6], usize, f64)> {
    let error = |angles| Vector6::from(*target) - Vector6::from(tip(angles, arm));
    let mut damping: f64 = 0.1;
    for step in 0..100 {
        let e = error(angles);
        if e.norm() < 1e-10 {
            return Ok((angles, step, e.norm()));
        }
        // rows of the result are columns of a nalgebra matrix
        let j = Matrix6::from(tip::jacobian(angles, arm)?).transpose();
        let normal = j.transpose() * j + Matrix6::identity() * damping.powi(2);
        let Some(factor) = normal.cholesky() else { break };
        let change = factor.solve(&(j.transpose() * e));
        let next: [f64; 6] = (Vector6::from(angles) + change).into();
        if error(next).norm() < e.norm() {
            (angles, damping) = (next, damping * 0.3);
        } else {
            damping *= 4.0;
        }
    }
    Ok((angles, 100, error(angles).norm()))
}

/// The ends of all links, seen from the side.
fn outline(angles: [f64; 6], arm: &Arm) -> Vec<(f64, f64)> {
    let mut frame = arm.base;
    let mut all = vec![(0.0, 0.0)];
    for (&joint, angle) in arm.joints.iter().zip(angles) {
        // the move along z and the one along x
        let between = moved(frame, Joint { length: 0.0, ..joint }, angle);
        frame = moved(frame, joint, angle);
        all.extend([between, frame].map(|f| (f.at[0], f.at[2])));
    }
    all
}

fn main() -> Result<()> {
    let quarter = std::f64::consts::FRAC_PI_2;
    // an arm with a wrist of three axes, in metres
    let joint = |offset, length, twist| Joint { offset, length, twist };
    let arm = Arm {
        base: Frame { at: [0.0; 3], x: [1.0, 0.0, 0.0], z: [0.0, 0.0, 1.0] },
        joints: [
            joint(0.4, 0.05, -quarter),
            joint(0.0, 0.45, 0.0),
            joint(0.0, 0.05, -quarter),
            joint(0.4, 0.0, quarter),
            joint(0.0, 0.0, -quarter),
            joint(0.1, 0.0, 0.0),
        ],
    };
    let mut angles = [0.2, -1.2, 0.6, 0.1, 0.5, 0.0];
    let mut shapes = vec![("start".to_owned(), outline(angles, &arm))];
    println!("{:<6}{:>26}{:>8}{:>12}   joints, degrees", "target", "place, m", "steps", "error");
    // along an arc, the hand pointing down
    for i in 0..5 {
        let t = -0.8 + 0.4 * f64::from(i);
        let target = [0.6 + 0.1 * t.cos(), 0.5 * t, 0.25 + 0.1 * f64::from(i), 0.0, 0.0, -1.0];
        let (found, steps, error) = reach(angles, &arm, &target)?;
        angles = found;
        let degrees = angles.map(|a| format!("{:7.1}", a.to_degrees())).concat();
        let place = target[..3].iter().map(|x| format!("{x:8.3}")).collect::<String>();
        println!("{i:<6}{place:>26}{steps:>8}{error:>12.1e}{degrees}");
        ensure!(error < 1e-10, "target {i} was not reached");
        shapes.push((format!("target {i}"), outline(angles, &arm)));
    }
    let other = [0.6, 0.1, 0.4, 0.0, 0.0, -1.0];
    let check = distance::check(angles, &arm, other)?;
    ensure!(check.passed(), "{check}");

    println!("\ndistance: {}", distance::bench(angles, &arm, other)?);
    let lines: Vec<_> = shapes.iter().map(|(name, shape)| plot::line(name, shape.iter().copied())).collect();
    plot::draw("inverse_kinematics.svg", "an arm, from the side", ["x, m", "z, m"], plot::Scale::Equal, &lines)
}
