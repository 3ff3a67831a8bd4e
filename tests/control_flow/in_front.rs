//! Values that are computed in front of a branch and differentiated in it: where it is not taken they have no derivative.

use super::{ENGINE, compiled, dynamic};
use autograd::{Engine, prelude::*, with_engine};

#[track_caller]
fn alike(a: f64, b: f64, what: &str) {
    let same = a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * (1.0 + b.abs());
    assert!(same, "{what}: {a}, the other engine gives {b}");
}

/// Checks value and gradient of both engines, and the product of the Hessian with a direction.
macro_rules! same {
    ($f:ident at $($x:expr),+) => {
        $({
            let x: &[f64] = &$x;
            let v: Vec<f64> = (0..x.len()).map(|i| 1.0 + 0.5 * i as f64).collect();
            let (value, grad) = with_engine(ENGINE, || $f::value_and_grad(x)).unwrap();
            let (value_wanted, wanted) = dynamic(|| $f::value_and_grad(x));
            alike(value, value_wanted, stringify!($f));
            alike(value, $f(x), stringify!($f));
            let hvp = compiled(|| $f::hvp(x, &v));
            let hvp_wanted = dynamic(|| $f::hvp(x, &v));
            for i in 0..x.len() {
                alike(grad[i], wanted[i], stringify!($f gradient));
                alike(hvp[i], hvp_wanted[i], stringify!($f hvp));
            }
        })+
    };
}

#[differentiable]
fn root(x: &[f64]) -> f64 {
    let r = x[0].sqrt();
    if x[0] > 0.0 { r } else { x[0] * x[1] }
}

#[differentiable]
fn direction(x: &[f64]) -> f64 {
    let n = (x[0] * x[0] + x[1] * x[1]).sqrt();
    let inverse = 1.0 / n;
    if n > 0.0 { x[0] * inverse } else { x[1] }
}

#[differentiable]
fn skipped(x: &[f64]) -> f64 {
    let mut sum = 0.0;
    for v in x {
        let l = v.ln();
        let shifted = l * 2.0 + 1.0;
        if *v <= 0.0 {
            sum += v;
            continue;
        }
        sum += shifted * l;
    }
    sum
}

#[differentiable]
fn early(x: &[f64]) -> f64 {
    let ratio = x[0] / x[1];
    if x[1] == 0.0 {
        return x[0];
    }
    let r = (1.0 - ratio * ratio).sqrt();
    if ratio > 1.0 {
        return ratio;
    }
    r + ratio
}

#[differentiable]
fn arms(x: &[f64]) -> f64 {
    let l = x[0].ln();
    let a = (1.0 - x[1] * x[1]).sqrt();
    if x[0] < 0.0 {
        x[1]
    } else if x[1] > 1.0 {
        l * x[1]
    } else if x[1] < -1.0 {
        l - x[0]
    } else {
        a * l
    }
}

#[differentiable]
fn paths(x: &[f64]) -> f64 {
    let sigma = x[0].sqrt();
    let mut s = x[1];
    for _ in 0..4 {
        s = s * (1.0 + 0.1 * sigma);
    }
    let doubled = s * 2.0;
    if x[0] > 0.0 { doubled.sin() } else { x[0] + x[1] }
}

#[differentiable]
fn list(x: &[f64]) -> f64 {
    let roots: Vec<f64> = x.iter().map(|v| v.sqrt()).collect();
    if x[0] > 0.0 { roots.iter().sum::<f64>() * roots[1] } else { x[0] * x[1] }
}

#[differentiable]
fn logarithm(x: &[f64]) -> f64 {
    let mut sum = 0.0;
    for v in x {
        sum += v.abs().sqrt();
    }
    if sum > 0.0 { sum.ln() } else { 3.0 * x[0] }
}

#[differentiable]
fn overflow(x: &[f64]) -> f64 {
    let e = (x[0] * x[0]).exp();
    let p = x[1] * x[1] * x[1] * x[1];
    let first = if e < 1e200 { e.ln() } else { x[0] };
    first + if p < 1e200 { p / x[1] } else { x[1] }
}

/// Read in a branch of two choices, and in both branches of one.
#[differentiable]
fn twice(x: &[f64]) -> f64 {
    let r = x[0].sqrt();
    let mut y = if x[0] > 0.0 { r * x[1] } else { x[1] };
    if x[1] > 0.0 {
        y += if x[0] >= 1.0 { r } else { x[0] };
    }
    let l = x[1].ln();
    y + if x[0] > 2.0 { if x[1] > 0.0 { l } else { 0.0 } } else { if x[1] > 1.0 { l * l } else { x[1] } }
}

/// A choice in front of a choice.
#[differentiable]
fn choices(x: &[f64]) -> f64 {
    let r = if x[1] > 0.0 { x[0].sqrt() } else { 1.0 / x[1] };
    let s = if r > 1.0 { r.ln() } else { x[0] };
    if x[0] == 0.0 || x[1] == 0.0 { x[0] + x[1] } else { s * r }
}

/// Of trips of a loop, with a branch inside a branch.
#[differentiable]
fn trips(x: &[f64]) -> f64 {
    let (mut sum, mut last) = (0.0, 1.0);
    for i in 1..x.len() {
        let step = x[i] - x[i - 1];
        let slope = 1.0 / step;
        let angle = slope.atan() + step.abs().sqrt();
        if step != 0.0 {
            sum += angle * last;
            if slope > 0.0 {
                last = slope;
            }
        } else {
            sum += x[i] * last;
        }
    }
    sum
}

/// Read in both branches of a choice that moves.
#[differentiable]
fn both(x: &[f64]) -> f64 {
    let q = x[0].sqrt();
    let r = if x[1] > 0.0 { q * 2.0 } else { q * 3.0 };
    if x[0] > 0.0 { r.ln() } else { x[1] }
}

/// In front of a loop whose trips read it in a branch: in each trip again, where it is little.
#[differentiable]
fn before(x: &[f64]) -> f64 {
    let sigma = x[0].sqrt();
    let ratio = x[1] / sigma;
    let mut sum = 0.0;
    for i in 0..x.len() {
        if x[0] > 0.0 {
            sum += ratio * x[i] + sigma;
        } else if x[i] > 0.5 {
            sum += x[i] * x[i];
        }
        for j in 0..i {
            let root = (x[j] - 1.0).sqrt();
            for k in 0..2 {
                if x[j] > 1.0 && k == 1 {
                    sum *= root;
                }
            }
        }
    }
    sum
}

/// Choices that are made of choices, which would double from one to the next.
#[differentiable]
fn deep(x: &[f64]) -> f64 {
    let mut y = x[0];
    for _ in 0..12 {
        let a = if x[0] > 1.0 { y.sqrt() } else { 1.0 };
        let b = if x[1] < 5.0 { (y + 2.0).ln() } else { 2.0 };
        y = a * b;
    }
    y
}

#[differentiable]
fn gains(x: &[f64], strike: f64) -> f64 {
    let mut sum = 0.0;
    for v in x {
        let gain = v.exp() - strike;
        let log = v.ln();
        if gain > 0.0 {
            sum += gain * log;
        }
    }
    sum
}

#[test]
fn trips_with_choices_run_side_by_side() {
    for n in [0, 1, 3, 4, 8, 37] {
        let x: Vec<f64> = (0..n).map(|i| (i * 7 % 11) as f64 * 0.3 - 0.6).collect();
        let (value, grad) = compiled(|| gains::value_and_grad(&x, 1.5));
        let (value_wanted, wanted) = dynamic(|| gains::value_and_grad(&x, 1.5));
        alike(value, value_wanted, "gains");
        alike(value, gains(&x, 1.5), "gains");
        grad.0.iter().zip(&wanted.0).for_each(|(a, b)| alike(*a, *b, "gains"));
        alike(grad.1, wanted.1, "gains");
    }
    let loops = gains::explain(&[1.0], 1.5).unwrap().kernels.iter().filter(|k| k.kind == "vector loop").count();
    assert_eq!(loops, 2);
}

#[test]
fn what_is_not_taken_has_no_derivative() {
    same!(root at [2.0, 3.0], [-3.0, 1.5], [0.0, 2.0]);
    same!(direction at [3.0, 4.0], [0.0, 0.0], [0.0, -2.0]);
    same!(skipped at [1.0, 2.0], [-1.0, 2.0, 0.0], [0.0]);
    same!(early at [0.5, 2.0], [3.0, 0.0], [3.0, 1.0], [0.0, 0.0]);
    same!(arms at [2.0, 0.5], [-1.0, 3.0], [0.0, 0.0], [0.5, 2.0], [0.5, -2.0], [-1.0, 0.3]);
    same!(paths at [0.04, 1.5], [-1.0, 2.0], [0.0, 1.0]);
    same!(list at [1.0, 2.0, 3.0], [-1.0, -2.0, 4.0], [0.0, 1.0]);
    same!(logarithm at [1.0, -2.0], [0.0, 0.0]);
    same!(overflow at [1.0, 2.0], [30.0, 1e90], [0.5, 1e100]);
    same!(twice at [2.0, 3.0], [-2.0, -3.0], [-2.0, 3.0], [0.0, 0.0], [4.0, -1.0], [4.0, 2.0], [0.5, 1.0]);
    same!(choices at [4.0, 1.0], [-4.0, 0.0], [0.0, 2.0], [0.5, -3.0], [0.0, 0.0]);
    same!(both at [-1.0, 2.0], [1.0, 2.0], [4.0, -2.0], [0.0, 0.0]);
    same!(before at [2.0, 1.5, 0.5], [-2.0, 1.0, 3.0, 2.0], [0.0, 1.0], [0.5, 2.5, 1.0]);
    same!(deep at [3.0, 1.0], [0.5, 1.0], [3.0, 9.0]);
    assert!(deep::explain(&[3.0, 1.0]).unwrap().nodes.0 < 2000);
    same!(trips at [1.0, 3.0, 2.0, 2.0, 5.0], [0.0, 0.0, 0.0], [1.0, 1.0, 2.0]);
}

/// Where the branch is taken a derivative that is none stays none.
#[test]
fn what_is_taken_keeps_its_derivative() {
    for engine in [Engine::Compiled, Engine::Dynamic] {
        let at = |x: &[f64]| with_engine(engine, || zero_times::grad(x)).unwrap()[0];
        assert!(at(&[0.0]).is_nan());
        assert_eq!(at(&[-1.0]), 2.0);
    }
}

#[differentiable]
fn zero_times(x: &[f64]) -> f64 {
    let r = x[0].sqrt();
    if x[0] >= 0.0 { r * r } else { 2.0 * x[0] }
}
