//! A probe is sent between planets so that it meets a point at a given time: the derivative of an end in a start.
//!
//! `flight` moves a sun, two planets and a probe by a symplectic integrator (leapfrog), with loops as one writes them;
//! its Jacobian in the probe's first velocity, through all steps, is exact. Newton's method takes it to hit the point.
//! That the integrator keeps the energy of sun and planets is checked too.
//!
//! `cargo run --release --example nbody`

mod plot;

use anyhow::{Context, Result, ensure};
use autograd::prelude::*;
use nalgebra::{Matrix2, Vector2};

/// Masses times the constant of gravitation, in AU³ / year²: with 4π² in the middle, the Earth's year is one.
const MASSES: [f64; 3] = [39.478, 0.12, 0.04];

/// A sun, two planets and a probe.
#[derive(Clone, Copy, Debug, Differentiable)]
struct System {
    at: [[f64; 2]; 4],
    speed: [[f64; 2]; 4],
}

/// How the masses pull at each body.
#[differentiable]
fn pull(at: [[f64; 2]; 4]) -> [[f64; 2]; 4] {
    let mut all = [[0.0; 2]; 4];
    for i in 0..4 {
        for j in 0..3 {
            if i != j {
                let (dx, dy) = (at[j][0] - at[i][0], at[j][1] - at[i][1]);
                let square = dx * dx + dy * dy;
                let force = MASSES[j] / (square * square.sqrt());
                all[i][0] += force * dx;
                all[i][1] += force * dy;
            }
        }
    }
    all
}

/// a + t b
#[differentiable]
fn along(a: [[f64; 2]; 4], t: f64, b: [[f64; 2]; 4]) -> [[f64; 2]; 4] {
    let mut all = a;
    for i in 0..4 {
        for k in 0..2 {
            all[i][k] += t * b[i][k];
        }
    }
    all
}

/// The system after some steps: half a step of the velocities, one of the places, half a step of the velocities.
#[differentiable]
fn later(system: System, dt: f64, steps: usize) -> System {
    let (mut at, mut speed) = (system.at, system.speed);
    let mut force = pull(at);
    for _ in 0..steps {
        speed = along(speed, 0.5 * dt, force);
        at = along(at, dt, speed);
        force = pull(at);
        speed = along(speed, 0.5 * dt, force);
    }
    System { at, speed }
}

/// Where the probe is in the end, if it starts with a velocity.
#[differentiable(wrt(velocity))]
fn flight(velocity: [f64; 2], start: System, dt: f64, steps: usize) -> [f64; 2] {
    let mut speed = start.speed;
    speed[3] = velocity;
    let end = later(System { at: start.at, speed }, dt, steps);
    end.at[3]
}

/// How far that is from a point, squared.
#[differentiable(wrt(velocity))]
fn miss(velocity: [f64; 2], start: System, dt: f64, steps: usize, point: [f64; 2]) -> f64 {
    let [x, y] = flight(velocity, start, dt, steps);
    (x - point[0]).powi(2) + (y - point[1]).powi(2)
}

/// The energy of the sun and the planets, which the probe does not change.
fn energy(s: &System) -> f64 {
    let kinetic = |i: usize| 0.5 * MASSES[i] * (s.speed[i][0].powi(2) + s.speed[i][1].powi(2));
    let apart = |i: usize, j: usize| (s.at[i][0] - s.at[j][0]).hypot(s.at[i][1] - s.at[j][1]);
    let potential = |i: usize, j: usize| -MASSES[i] * MASSES[j] / apart(i, j);
    (0..3).map(kinetic).sum::<f64>() + potential(0, 1) + potential(0, 2) + potential(1, 2)
}

fn main() -> Result<()> {
    // planets on circles of radius 2.2 and 3.4, the probe on one of radius 1
    let round = |radius: f64, angle: f64| {
        let speed = (MASSES[0] / radius).sqrt();
        ([radius * angle.cos(), radius * angle.sin()], [-speed * angle.sin(), speed * angle.cos()])
    };
    let bodies = [([0.0; 2], [0.0; 2]), round(2.2, 1.5), round(3.4, 4.0), round(1.0, 0.0)];
    let start = System { at: bodies.map(|b| b.0), speed: bodies.map(|b| b.1) };
    let (dt, steps) = (0.001, 1500);
    let point = Vector2::new(-3.0, 0.5);

    println!("{:<6}{:>12}{:>12}{:>12}{:>12}{:>14}", "step", "speed x", "speed y", "end x", "end y", "miss, AU");
    let mut velocity = Vector2::new(0.0, 8.0);
    let mut flown = Vec::new();
    let mut distance = f64::INFINITY;
    for step in 0..40 {
        let end = Vector2::from(flight(velocity.into(), start, dt, steps));
        distance = (point - end).norm();
        println!("{step:<6}{:>12.6}{:>12.6}{:>12.6}{:>12.6}{distance:>14.3e}", velocity.x, velocity.y, end.x, end.y);
        flown.push(velocity);
        if distance < 1e-10 {
            break;
        }
        // rows of the result are columns of a nalgebra matrix
        let jacobian = Matrix2::from(flight::jacobian(velocity.into(), start, dt, steps)?).transpose();
        let change = jacobian.lu().solve(&(point - end)).context("the end does not depend on the start")?;
        // the end bends: no change that takes it further away
        let better = |t: &f64| {
            let end = Vector2::from(flight((velocity + change * *t).into(), start, dt, steps));
            (point - end).norm() < distance
        };
        let t = (0..30).map(|k| 0.5_f64.powi(k)).find(better).context("no step leads nearer")?;
        velocity += change * t;
    }
    ensure!(distance < 1e-10, "the point was not hit");

    let mut sent = start;
    sent.speed[3] = velocity.into();
    let end = later(sent, dt, steps);
    let drift = (energy(&end) / energy(&start) - 1.0).abs();
    println!("\nthe energy of sun and planets has changed by {drift:.1e} of itself");
    ensure!(drift < 1e-6, "the integrator does not keep the energy");
    println!("miss after 200 steps: {}", miss::bench(velocity.into(), start, dt, 200, point.into())?);

    let path = |velocity: Vector2<f64>, body: usize| {
        let mut now = start;
        now.speed[3] = velocity.into();
        let each = (0..=steps / 10).map(move |_| {
            let at = now.at[body];
            now = later(now, dt, 10);
            (at[0], at[1])
        });
        each.collect::<Vec<_>>()
    };
    plot::draw(
        "nbody.svg",
        "a probe that meets a point",
        ["x, AU", "y, AU"],
        plot::Scale::Equal,
        &[
            plot::line("inner planet", path(velocity, 1)),
            plot::line("outer planet", path(velocity, 2)),
            plot::line("first try", path(flown[0], 3)),
            plot::line("probe", path(velocity, 3)),
            plot::dots("sun", [(0.0, 0.0)]),
            plot::dots("point", [(point.x, point.y)]),
        ],
    )
}
