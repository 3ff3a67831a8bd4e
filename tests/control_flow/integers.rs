//! Integers in arithmetic, in all the forms that are written.

use super::{agrees, dynamic, joined};
use autograd::prelude::*;

/// Counting with remainders, quotients, shifts and bits.
#[differentiable]
fn counting(x: f64, n: usize) -> f64 {
    let mut y = x;
    let mut fives = 0;
    let mut bits = 0u32;
    for i in 0..n {
        if i % 5 == 4 {
            fives += 1;
            y = y.sin() + 0.1;
        } else if (i / 3) % 2 == 0 && !(i & 1 == 1 || i > 1000) {
            y += 0.01 * x;
        }
        bits = (bits ^ (i as u32)) >> 1;
        y += 0.001 * bits as f64 * x;
    }
    y + x * fives as f64 + x * (n.min(7) + n.saturating_sub(3)) as f64
}

/// A loop that goes down, one in steps, and one to its end.
#[differentiable]
fn directions(x: &[f64], by: usize) -> f64 {
    let mut s = 0.0;
    for i in (0..x.len()).rev() {
        s = 0.9 * s + x[i];
    }
    for i in (1..x.len()).step_by(by) {
        s += x[i] * x[i - 1];
    }
    for i in 1..=x.len() {
        s += x[x.len() - i] / i as f64;
    }
    for (i, v) in x.iter().enumerate().rev() {
        s += v * (i % 3) as f64;
    }
    let last = x.len().max(1) - 1;
    for i in 0..last {
        let j = if i % 2 == 0 { i + 1 } else { std::cmp::min(i + 3, last) };
        s += x[i] * x[j];
    }
    s
}

/// The greatest common divisor decides the exponent.
#[differentiable]
fn euclid(x: f64, a: i64, b: i64) -> f64 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let mut y = 1.0;
    for _ in 0..a {
        y *= x;
    }
    y + a as f64 * x
}

#[test]
fn arithmetic() {
    for n in [0, 4, 60] {
        agrees(&[0.4], |x| counting(x[0], n), |x| counting::value_and_grad(x[0], n).map(|(v, d)| (v, vec![d])));
    }
    for n in [1, 2, 9, 40] {
        let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.9).cos()).collect();
        agrees(&x, |x| directions(x, 3), |x| directions::value_and_grad(x, 3));
    }
    for (a, b) in [(12, -18), (7, 0), (35, 64)] {
        agrees(&[1.1], |x| euclid(x[0], a, b), |x| euclid::value_and_grad(x[0], a, b).map(|(v, d)| (v, vec![d])));
    }
}

/// Integers that plain code needs: in messages, other containers, and functions that are not annotated.
fn doubled(n: usize) -> usize {
    2 * n
}
#[differentiable]
fn mixed(x: &[f64], n: usize, k: i32) -> f64 {
    let names = format!("{n} of {}", x.len());
    let marks = vec![true; n + 1];
    let mut counts = [0usize; 4];
    for i in 0..x.len() {
        counts[i % 4] += 1;
    }
    let first = x.first().copied().unwrap_or(0.0);
    let largest = x.iter().cloned().fold(f64::NEG_INFINITY, f64::max);
    let windows: f64 = x.windows(2).map(|w| w[0] * w[1]).sum();
    let range = 1..x.len().min(3);
    let some: f64 = x[range].iter().sum();
    first.powi(k) + largest + windows + some + (names.len() + doubled(x.len()) + counts[1] + marks.len()) as f64 * first
}

#[test]
fn plain_code_reads_them() {
    for n in [2, 5, 20] {
        let x: Vec<f64> = (0..n).map(|i| 1.0 + (i as f64 * 0.9).cos()).collect();
        agrees(&x, |x| mixed(x, n, 3), |x| mixed::value_and_grad(x, n, 3));
    }
}

/// Weights of a quadrature, from a table that is written out.
#[differentiable]
fn simpson(a: f64, b: f64, n: usize) -> f64 {
    let weights = [2.0, 4.0];
    let h = (b - a) / n as f64;
    let f = |x: f64| (x * x).sin() * (-x).exp();
    let mut sum = f(a) + f(b);
    for i in 1..n {
        sum += weights[i % 2] * f(a + i as f64 * h);
    }
    sum * h / 3.0
}

#[test]
fn quadrature() {
    for n in [2, 10, 200] {
        agrees(
            &[0.2, 1.9],
            |x| simpson(x[0], x[1], n),
            |x| simpson::value_and_grad(x[0], x[1], n).map(|(v, (a, b))| (v, vec![a, b])),
        );
    }
}

/// Iterators over lists that end in a number.
#[differentiable]
fn chains(x: &[f64], y: &[f64], n: usize) -> f64 {
    let dot: f64 = x.iter().zip(y.iter()).map(|(a, b)| a * b).sum();
    let squares = x.iter().map(|v| v * v).sum::<f64>();
    let product = y.iter().map(|&v| 1.0 + 0.1 * v).product::<f64>();
    let largest = x.iter().fold(0.0, |m, &v| if v > m { v } else { m });
    let weighted: f64 = x.iter().enumerate().map(|(i, v)| v * i as f64).sum();
    let powers: f64 = (1..n).map(|k| (x[0] * k as f64).sin()).sum();
    let back = x.iter().rev().fold(0.5, |s, v| 0.7 * s + v);
    dot + squares + product + largest + weighted + powers + back
}

#[test]
fn chains_of_iterators() {
    for n in [1, 3, 25] {
        let x: Vec<f64> = (0..2 * n).map(|i| (i as f64 * 0.7 + 0.3).sin()).collect();
        agrees(
            &x,
            |x| chains(&x[..n], &x[n..], n),
            |x| chains::value_and_grad(&x[..n], &x[n..], n).map(|(v, (a, b))| (v, joined(&[&a, &b]))),
        );
    }
}

/// Ranges whose length does not fit the type of their counters, or whose end is the type's last number.
#[differentiable]
fn narrow(x: f64, by: usize) -> f64 {
    let mut s = 0.0;
    for i in -100i8..100 {
        s += x * i as f64 + 1.0;
    }
    for i in 0..=255u8 {
        s = s * 0.5 + x * i as f64;
    }
    for i in (0..200u8).step_by(100) {
        s += x * i as f64;
    }
    for i in (0..200u8).rev().step_by(by) {
        s += (x * i as f64).sin();
    }
    s
}

/// The largest number stands for no limit.
#[differentiable]
fn up_to(x: &[f64], limit: usize) -> f64 {
    let mut s = 0.0;
    for i in 0..limit {
        if i >= x.len() {
            break;
        }
        s += x[i] * x[i];
    }
    s
}

/// The largest number stands for none. It is state of a kind that is not staged: a loop without end stops there too.
#[differentiable]
fn first_above(x: &[f64], limit: usize) -> f64 {
    let mut found = usize::MAX;
    for i in 0..limit {
        if i >= x.len() {
            break;
        }
        if x[i] > 1.0 && i < found {
            found = i;
        }
    }
    if found == usize::MAX { x[0] } else { x[found] * found as f64 }
}

#[test]
fn integers_at_the_ends_of_their_types() {
    for by in [1, 7, 300] {
        let both = |x: &[f64]| narrow::value_and_grad(x[0], by).map(|(v, d)| (v, vec![d]));
        agrees(&[0.013], |x| narrow(x[0], by), both);
    }
    for (x, limit) in [(vec![0.5, 0.2], usize::MAX), (vec![0.5, 1.5, 3.0], usize::MAX), (vec![0.5, 1.5], 1)] {
        agrees(&x, |x| up_to(x, limit), |x| up_to::value_and_grad(x, limit));
        let (value, gradient) = first_above::value_and_grad(&x, limit).unwrap();
        assert_eq!(value, first_above(&x, limit));
        assert_eq!(gradient, dynamic(|| first_above::grad(&x, limit)));
    }
}

/// A short list that is read by a counter in one loop after another, and written to in between.
#[differentiable]
fn weighted(x: &[f64], k: usize) -> f64 {
    let mut w = [0.5, -1.0, 0.25];
    let mut s = x[0] * w[k % 3];
    for i in 0..x.len() {
        s += w[i % 3] * x[i];
    }
    w[k % 3] = s;
    for i in 0..x.len() {
        s += w[(i + k) % 3] * x[i].sin();
        w[i % 3] += 0.1 * x[i];
    }
    let all = w.iter().map(|v| v * v).sum::<f64>();
    for i in 0..x.len() {
        s += w[i % 3] * x[i] * all;
    }
    s + w[0]
}

#[test]
fn short_lists_are_read_in_one_loop_after_another() {
    for (n, k) in [(1, 0), (4, 1), (30, 2)] {
        let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7).cos()).collect();
        agrees(&x, |x| weighted(x, k), |x| weighted::value_and_grad(x, k));
    }
}

/// Bits that are counted, of integers of all widths.
#[differentiable]
fn counted(x: f64, a: u64, b: i32, c: u8, n: usize) -> f64 {
    let all =
        a.count_ones() + 3 * a.leading_zeros() + 5 * a.trailing_zeros() + 7 * a.trailing_ones() + 11 * a.leading_ones();
    let narrow = b.count_ones() + 3 * b.leading_zeros() + 5 * b.trailing_zeros() + 7 * b.count_zeros();
    let byte =
        c.count_ones() + 3 * c.leading_zeros() + 5 * c.trailing_zeros() + 7 * c.count_zeros() + 11 * c.leading_ones();
    let mut y = x;
    let mut left = n;
    while left != 0 {
        let k = left.trailing_zeros();
        y = (y * (1.0 + 0.01 * k as f64)).sin() + 0.1 * (left.count_ones() as f64) * x;
        left &= left - 1;
    }
    y + x * all as f64 + x * x * (narrow + byte) as f64
}

#[test]
fn bits_are_counted() {
    for (a, b, c, n) in [
        (0, 0, 0, 0),
        (u64::MAX, -1, u8::MAX, 1),
        (1 << 63, i32::MIN, 128, 0b1011_0010),
        (12_345_678_901, -96, 0b0110, usize::MAX >> 40),
    ] {
        let f = |x: f64| counted(x, a, b, c, n);
        agrees(&[0.4], |x| f(x[0]), |x| counted::value_and_grad(x[0], a, b, c, n).map(|(v, d)| (v, vec![d])));
    }
    let all = [(5, 7), (1, 0), (1 << 40, 9)].map(|(a, n)| counted::explain(0.3, a, -5, 3, n).unwrap());
    super::one_program(&all);
}
