//! Conditions that are kept in variables.

use super::{agrees, one_program};
use autograd::prelude::*;

/// A path that ends where it meets a barrier.
#[differentiable]
fn knocked_out(x: &[f64], barrier: f64) -> f64 {
    let mut alive = true;
    let mut s = 1.0;
    for i in 0..x.len() {
        s *= (0.1 * x[i]).exp();
        if s < barrier {
            alive = false;
        }
    }
    if alive { s * s - 0.5 } else { 0.25 * s }
}

#[differentiable]
fn ordered(x: &[f64]) -> f64 {
    let rising = x[0] < x[1];
    let positive: bool = x[0] > 0.0 && !(x[1] <= 0.0);
    let both = rising && positive;
    if both {
        x[0] * x[1]
    } else if rising || x[0] > 5.0 {
        x[0].sin()
    } else {
        x[1].exp()
    }
}

#[differentiable]
fn toggled(x: &[f64]) -> f64 {
    let (mut sum, mut up, mut any) = (0.0, 1.0, 0.0);
    let mut add = true;
    let mut seen = false;
    let mut all = true;
    for v in x {
        if add {
            sum += v * v;
        } else {
            sum -= v.exp();
        }
        add = !add;
        seen |= *v > 1.0;
        all &= *v > -1.0;
        if seen && add {
            up *= 1.0 + v * v;
        }
    }
    if seen != all {
        any = x[0] * x[0];
    }
    if !all {
        sum *= 2.0;
    }
    sum * up + any
}

/// A condition that ends a loop, and one that follows another.
#[differentiable]
fn searched(x: f64, y: f64, most: usize) -> f64 {
    let mut near = false;
    let mut r = x;
    let mut n = 0;
    while !near && n < most {
        let next = 0.5 * (r + y / r);
        near = (next - r).abs() < 1e-9;
        let last = near;
        if last {
            r = next * 1.0;
        } else {
            r = next;
        }
        n += 1;
    }
    let enough = n >= 2;
    if enough { r } else { r * r }
}

/// Integers, other lists, and a condition inside a condition.
#[differentiable]
fn sorted_of(x: &[f64], at: &[usize]) -> f64 {
    let mut sum = 0.0;
    let mut first = true;
    for i in 0..at.len() {
        let last = i + 1 == at.len();
        let far = at[i] > 2;
        let nan = x[at[i]].is_nan();
        if first || last {
            sum += x[at[i]];
        }
        if far && !nan {
            sum *= x[at[i]];
        }
        first = false;
    }
    sum
}

/// Several at once, compared, and joined without short circuits.
#[differentiable]
fn joined(x: &[f64]) -> f64 {
    let (mut sum, mut up, low) = (0.0, false, x[0] < x[1]);
    for i in 1..x.len() {
        let same = up == (x[i] > x[i - 1]);
        up = x[i] > x[i - 1];
        let either = low | up;
        sum += if same ^ low { x[i] * x[i - 1] } else { x[i].sin() };
        if either & (x[i] > 0.0) {
            sum *= 1.5;
        }
        if (x[i] > 0.0) != (x[i - 1] > 0.0) {
            sum -= x[0];
        }
    }
    sum
}

/// What is no condition only: borrowed, printed, given to a function.
#[differentiable]
fn otherwise(x: f64, strict: bool) -> f64 {
    let above = x > 1.0;
    let text = format!("{above}");
    let wide = strict && x < 10.0;
    let r = if text.len() > 4 { x } else { x * x };
    if wide { r * 3.0 } else { helper(x, strict) * f64::from(strict) + r }
}

/// Names that are taken from others, written in closures or shared with functions; what may end early or moves something.
#[differentiable]
fn tangled(x: f64, n: usize) -> Result<f64, String> {
    let many = n > 2;
    let copied = many;
    let text = format!("{many}");
    let mut seen = false;
    (0..n).for_each(|k| {
        if k > 3 {
            seen = true;
        }
    });
    let ok = x > -100.0 && bounded(n)? > 0;
    let even = even(n) && ok;
    let v = vec![1.0; n];
    let mut items = v.iter();
    let first = x > 0.0 && items.next().is_some();
    let second = items.next().is_some();
    let mut y = if copied && seen { x * text.len() as f64 } else { x * x };
    if even {
        y *= 2.0;
    }
    if let Some(w) = v.last()
        && second
    {
        y += w * x;
    }
    Ok(if first { y } else { y * y })
}

fn bounded(n: usize) -> Result<usize, String> {
    if n > 50 { Err(format!("{n} is too many")) } else { Ok(n + 1) }
}
fn even(n: usize) -> bool {
    n.is_multiple_of(2)
}

fn helper_plain(flag: bool) -> f64 {
    if flag { 2.0 } else { 1.0 }
}

#[differentiable]
fn helper(x: f64, flag: bool) -> f64 {
    let on = flag;
    x * helper_plain(on)
}

#[test]
fn conditions_in_variables() {
    for x in [&[0.5, -0.5, 1.0][..], &[-2.0, 1.0], &[], &[-9.0, -9.0, 30.0, 1.0]] {
        agrees(x, |x| knocked_out(x, 0.8), |x| knocked_out::value_and_grad(x, 0.8).map(|(v, g)| (v, g.0)));
    }
    for x in [[1.0, 2.0], [-1.0, 2.0], [2.0, 1.0], [6.0, 1.0], [-3.0, -2.0]] {
        agrees(&x, ordered, ordered::value_and_grad);
    }
    for x in [&[0.5, 1.5, -0.5, 2.0][..], &[0.1, 0.2], &[-2.0, 0.5, 3.0], &[2.0, 2.0, 0.0]] {
        agrees(x, toggled, toggled::value_and_grad);
    }
    for x in [&[0.5, 1.5, -0.5, 2.0][..], &[0.2, 0.1, 0.3, -1.0, -2.0], &[-2.0, 0.5, 3.0, 4.0]] {
        agrees(x, joined, joined::value_and_grad);
    }
    for most in [0, 1, 3, 40] {
        let both = |x: &[f64]| searched::value_and_grad(x[0], x[1], most).map(|(v, (a, b))| (v, vec![a, b]));
        agrees(&[3.0, 2.0], |x| searched(x[0], x[1], most), both);
    }
    let x = [1.0, -2.0, 3.0, 4.0, 0.5];
    for at in [&[0, 3, 4, 1][..], &[2], &[4, 4, 0]] {
        agrees(&x, |x| sorted_of(x, at), |x| sorted_of::value_and_grad(x, at));
    }
    one_program(&[knocked_out::explain(&[1.0], 0.5).unwrap(), knocked_out::explain(&[1.0, 2.0, 3.0], 0.5).unwrap()]);
}

#[test]
fn other_uses_stay_plain() {
    for (x, strict) in [(0.5, true), (2.0, true), (20.0, true), (2.0, false), (0.5, false)] {
        let (value, grad) = otherwise::value_and_grad(x, strict).unwrap();
        let h = 1e-6;
        let slope = (otherwise(x + h, strict) - otherwise(x - h, strict)) / (2.0 * h);
        assert!((value - otherwise(x, strict)).abs() < 1e-12 && (grad - slope).abs() < 1e-6, "{x} {strict}");
    }
    for (x, n) in [(0.5, 0), (2.0, 1), (-0.5, 2), (3.0, 3), (-2.0, 5), (1.5, 6)] {
        let (value, grad) = tangled::value_and_grad(x, n).unwrap();
        let (h, at) = (1e-6, |x: f64| tangled(x, n).unwrap());
        let slope = (at(x + h) - at(x - h)) / (2.0 * h);
        assert!((value - at(x)).abs() < 1e-12 && (grad - slope).abs() < 1e-4 * (1.0 + slope.abs()), "{x} {n}");
    }
    assert!(tangled::grad(1.0, 51).unwrap_err().to_string().contains("51 is too many"));
}
