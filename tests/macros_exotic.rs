//! Rarer forms, in a crate that forbids what it can.
#![deny(missing_docs, warnings, unreachable_pub, unused_qualifications, clippy::all)]
#![allow(clippy::manual_clamp, clippy::needless_late_init)] // the text under test
#![forbid(unsafe_code)]

mod common;

use autograd::prelude::*;
use common::{close, each_engine, every_way};
use std::collections::HashMap;

/// Documented.
#[differentiable]
pub fn entry(x: f64) -> f64 {
    x * x
}

#[differentiable]
fn control(x: f64, flags: &[bool], limit: Option<u32>, mode: char) -> f64 {
    let Some(&flag) = flags.first() else {
        return -1.0;
    };
    let mut total = 0.0;
    'outer: for i in 0.. {
        let mut j = 0;
        while let Some(k) = limit.and_then(|l| l.checked_sub(j)) {
            j += 1;
            if k % 2 == 0
                && let 'a'..='f' = mode
            {
                continue;
            }
            total += x * k as f64;
            if total > 50.0 {
                break 'outer;
            }
        }
        if i > 3 {
            break;
        }
    }
    let scaled = |s: f64, by: f64| -> f64 { if s > by { s * by } else { 0.5 } };
    let mut table: HashMap<u32, f64> = HashMap::new();
    table.insert(1, 0.25);
    *table.entry(1).or_insert(0.0) += x;
    let (lo, mut hi) = (x.min(1.0), 2.0);
    hi -= lo;
    total = match mode {
        'z' => 0.0,
        'a' if flag => scaled(total, 2.0),
        _ => total,
    };
    let values: Vec<f64> = vec![x, 1.0, hi];
    let max = values.iter().copied().fold(f64::NEG_INFINITY, |m, v| m.max(v));
    let clipped = if max < 1e-9 {
        1e-9
    } else if max > 1e9 {
        1e9
    } else {
        max
    };
    let best = values.iter().max_by(|a, b| a.partial_cmp(b).unwrap()).unwrap();
    total + table[&1] + hi + clipped + *best
}

fn parse(text: &str) -> Result<f64, std::num::ParseFloatError> {
    text.parse::<f64>()
}

#[differentiable]
fn fallible(x: f64, text: &str) -> Result<(f64, f64), std::num::ParseFloatError> {
    let scale = parse(text)?;
    let twice = text.trim().parse::<f64>()? * 2.0;
    if x < 0.0 {
        return Ok((0.0, x));
    }
    Ok((x * scale, twice))
}

#[differentiable]
fn mixed(x: f32, y: f64, v: &[[f64; 2]]) -> f64 {
    let mut s = 0.0;
    for [a, b] in v {
        s += a * b;
    }
    let z = x as f64 * y;
    let w = (z as f32).max(0.5) * x;
    s + z + f64::from(3) + w as f64
}

#[differentiable]
fn assigned(mut x: f64, t: &Tensor<f64>) -> f64 {
    let c = 4.0;
    let root = c * t.item();
    let mut s = 0.0;
    s = if s > 1.0 { s } else { t.item() };
    let u: f64;
    u = root;
    if t.item() > 100.0 {
        x = root;
    }
    s * x + u
}

macro_rules! polynomial {
    ($name:ident, $ty:ty, $c:expr) => {
        #[differentiable]
        fn $name(x: $ty) -> $ty {
            let mut s: $ty = $c;
            s += x * $c;
            s
        }
    };
}
polynomial!(linear, f64, 3.0);

#[differentiable]
fn inputs(inputs: &[f64], leaves: f64, args: f64, g: f64, binder: f64) -> f64 {
    let r#type = inputs[0] * leaves;
    r#type * args * g * binder
}

#[differentiable]
fn r#match(x: f64) -> f64 {
    inputs(&[x, 2.0], 2.0, x, 1.0, 1.0) + inputs::value(&[x], 1.0, 1.0, x, 1.0).unwrap()
}

type Vec3 = [f64; 3];

#[differentiable]
fn cross(a: Vec3, b: &Vec3) -> Vec3 {
    let c: Vec3 = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], 0.0];
    [c[0], c[1], a[0] * b[1] - a[1] * b[0]]
}

#[differentiable]
fn first(a: [f64; 2], b: &[f64; 2]) -> f64 {
    a[0] * b[0]
}

#[differentiable]
fn norm(p: (f64, f64), w: &[f64]) -> f64 {
    p.0 * w[0] + p.1 * w[1]
}

#[differentiable]
fn spin(v: &[Vec3], t: f64) -> f64 {
    let y = first([1.0, 0.0], &[2.0, 1.0])
        + first([t, 0.0], &[t, t])
        + first::grad([2.0, t], &[1.0, 0.0]).unwrap().0[0]
        + first::hvp([2.0, t], &[1.0, 0.0], [1.0, 0.0], &[0.0, t]).unwrap().1[1]
        + norm((t, 1.0), &[1.0, 2.0]);
    y + v.iter().map(|w| cross(*w, &[t, 0.0, t])[1]).sum::<f64>()
}

#[test]
fn forms() {
    each_engine(|_| {
        for (x, mode) in [(1.5, 'a'), (0.1, 'q'), (3.0, 'z')] {
            let f = control(x, &[true], Some(4), mode);
            close(control::value(x, &[true], Some(4), mode).unwrap(), f);
        }
        close(control::value(1.0, &[], None, 'a').unwrap(), -1.0);
        assert_eq!(fallible::value(2.0, "1.5").unwrap(), (3.0, 3.0));
        assert!(fallible::value(2.0, "one").unwrap_err().to_string().contains("invalid float"));
        let v = [[1.0, 2.0], [3.0, 4.0]];
        close(mixed::value(2.0, 3.0, &v).unwrap(), mixed(2.0, 3.0, &v));
        let t = Tensor::from_vec(vec![3.0], [1]);
        close(assigned::value(2.0, &t).unwrap(), 18.0);
        close(linear::grad(2.0).unwrap(), 3.0);
        close(r#match::grad(3.0).unwrap(), 12.0 + 6.0);
        let w = [[1.0, 2.0, 3.0]];
        close(spin::value(&w, 0.5).unwrap(), spin(&w, 0.5));
        assert_eq!(cross::value(w[0], &[1.0, 0.0, 0.0]).unwrap(), cross(w[0], &[1.0, 0.0, 0.0]));
        close(entry::grad(2.0).unwrap(), 4.0);
    });
    every_way(false, || control::check(1.5, &[true], Some(4), 'a'));
    every_way(false, || assigned::check(2.0, &Tensor::from_vec(vec![3.0], [1])));
    every_way(true, || r#match::check(3.0));
    every_way(true, || spin::check(&[[1.0, 2.0, 3.0]], 0.5));
}
