//! An index is compared with the length of its list unless loops show that it is inside. Entry points fail exactly where the plain
//! function would: bounds are drawn so that many calls go wrong by one, forwards and backwards.

use autograd::prelude::*;
use std::panic::catch_unwind;

#[differentiable]
fn range(x: &[f64], from: usize, to: usize) -> f64 {
    let mut sum = 0.0;
    for i in from..to {
        sum += x[i] * x[i];
    }
    sum
}

#[differentiable]
fn matrix(x: &[f64], rows: usize, columns: usize) -> f64 {
    let mut product = 1.0;
    for r in 0..rows {
        for c in 0..columns {
            product *= 1.0 + x[r * columns + c];
        }
    }
    product
}

/// `more` rows than there are.
#[differentiable]
fn divided(x: &[f64], y: &[f64], rows: usize, more: usize) -> f64 {
    let columns = x.len() / rows;
    let mut sums = vec![0.0; rows];
    let mut total = 0.0;
    for r in 0..rows + more {
        for c in 0..columns {
            sums[r] += x[r * columns + c] * y[c];
        }
        total += sums[r] * sums[r];
    }
    total
}

#[differentiable]
fn filled(x: &[f64], rows: usize, columns: usize, more: usize) -> f64 {
    let mut squares = vec![0.0; rows * columns];
    for i in 0..x.len() {
        squares[i] = x[i] * x[i];
    }
    let mut sum = 0.0;
    for r in 0..rows {
        for c in 0..columns + more {
            sum += squares[r * columns + c] * (r + c) as f64;
        }
    }
    sum
}

#[differentiable]
fn triangle(x: &[f64], n: usize, more: usize) -> f64 {
    let mut below = vec![0.0; n];
    let mut at = 0;
    for column in 0..n {
        for row in column + 1..n + more {
            below[row] += x[at] * x[column];
            at += 1;
        }
    }
    let mut sum = 0.0;
    for row in (0..n).rev() {
        sum += below[row] * below[row];
    }
    sum
}

#[differentiable]
fn steps(x: &[f64], from: usize, to: usize, by: usize) -> f64 {
    let mut i = from;
    let mut product = 1.0;
    while i < to {
        product *= x[i].sin() + 2.0;
        i += by;
    }
    product
}

#[differentiable]
fn signed(x: &[f64], from: i64, to: i64) -> f64 {
    let mut sum = 0.0;
    for i in from..to {
        sum += x[i as usize].exp();
    }
    sum
}

/// The list is another one in each trip.
#[differentiable]
fn shorter(x: &[f64], n: usize) -> f64 {
    let mut now = x.to_vec();
    for k in 0..n {
        let mut next = vec![0.0; n - k];
        for i in 0..n - k {
            next[i] = now[i] * x[k];
        }
        now = next;
    }
    let mut sum = 0.0;
    for i in 0..n {
        sum += now[i];
    }
    sum
}

/// A branch in which the length is fine says nothing of the other one.
#[differentiable]
fn branches(x: &[f64], n: usize, which: f64) -> f64 {
    let mut sum = 0.0;
    for i in 0..n {
        if x[0] * which > 0.0 {
            sum += x[i] * which;
        } else if i > 0 {
            sum += x[i - 1] * x[i];
        }
    }
    sum
}

#[differentiable]
fn swapped(x: &[f64], y: &[f64], n: usize) -> f64 {
    let mut a = x.to_vec();
    let mut b = y.to_vec();
    for i in 0..n {
        for j in 0..a.len() {
            a[j] = a[j] * 0.5 + x[0];
        }
        if i == 0 {
            let c = a;
            a = b;
            b = c;
        }
    }
    a[a.len() - 1] * b[b.len() - 1]
}

/// What a loop compares in each of its trips, of values that are the same in all of them, does not hold behind it.
#[differentiable]
fn behind(x: &[f64], k: usize, m: usize) -> f64 {
    let (mut sum, mut i) = (0.0, 0);
    while k < x.len() && i < m {
        sum += x[k] * x[0];
        i += 1;
    }
    sum + x[k]
}

#[differentiable]
fn written(x: &[f64], n: usize, k: usize, m: usize) -> f64 {
    let mut a = vec![0.0; n];
    for i in 0..n {
        a[i] = x[0] * i as f64;
    }
    let (mut s, mut i) = (0.0, 0);
    while i < m && k < n {
        s += x[0];
        i += 1;
    }
    for j in 0..m {
        a[k] += s * x[j];
    }
    a[k] * a[k]
}

/// The same numbers again and again.
struct Draw(u64);
impl Draw {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
    fn floats(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.next(100) as f64 / 50.0 - 0.9).collect()
    }
}

/// Calls a function that many times, plainly and through its entry points: how many calls went well.
macro_rules! compare {
    ($f:ident, $times:expr, |$draw:ident| ($($name:ident = $arg:expr),*) => ($($call:expr),*)) => {{
        let mut $draw = Draw(7);
        let mut fine = 0;
        for _ in 0..$times {
            $(let $name = $arg;)*
            let plain = catch_unwind(|| $f($($call),*)).ok();
            let value = $f::value($($call),*);
            let compiled = with_engine(Engine::Compiled, || $f::value_and_grad($($call),*));
            let what = (stringify!($f), $(&$name),*);
            assert_eq!(plain.is_some(), value.is_ok(), "{what:?}: {plain:?}, {value:?}");
            assert_eq!(plain.is_some(), compiled.is_ok(), "{what:?}: {plain:?}, {compiled:?}");
            if let (Some(plain), Ok(value), Ok(compiled)) = (plain, value, compiled) {
                fine += 1;
                assert!((value - plain).abs() <= 1e-12 * plain.abs().max(1.0), "{what:?}: {plain}, {value}");
                let dynamic = with_engine(Engine::Dynamic, || $f::value_and_grad($($call),*)).unwrap();
                let close = |a: &str, b: &str| {
                    let numbers = |s: &str| -> Vec<f64> {
                        s.split(|c: char| !matches!(c, '0'..='9' | '.' | '-' | 'e')).filter_map(|x| x.parse().ok()).collect()
                    };
                    let (a, b) = (numbers(a), numbers(b));
                    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs().max(1.0))
                };
                let (a, b) = (format!("{compiled:?}"), format!("{dynamic:?}"));
                assert!(close(&a, &b), "{what:?}: {a}, {b}");
            }
        }
        assert!(fine > $times / 8 && fine < $times, "{}: {fine} of {}", stringify!($f), $times);
    }};
}

#[test]
fn entry_points_fail_where_the_function_would() {
    compare!(range, 200, |d| (n = d.next(24), x = d.floats(n), a = d.next(6), b = d.next(24)) => (&x, a, b));
    compare!(matrix, 200, |d| (r = d.next(5), c = d.next(12), n = (r * c + d.next(3)).saturating_sub(1), x = d.floats(n)) => (&x, r, c));
    compare!(divided, 200, |d| (r = d.next(4) + 1, n = d.next(40), x = d.floats(n), m = d.next(20), y = d.floats(m), more = d.next(5) / 4) => (&x, &y, r, more));
    compare!(filled, 200, |d| (r = d.next(5), c = d.next(12), n = d.next(24), x = d.floats(n), more = d.next(3) / 2) => (&x, r, c, more));
    compare!(triangle, 200, |d| (n = d.next(12), m = n * n / 2 + d.next(3), x = d.floats(m), more = d.next(4) / 3) => (&x, n, more));
    compare!(steps, 200, |d| (n = d.next(24), x = d.floats(n), a = d.next(6), b = d.next(28), by = d.next(3) + 1) => (&x, a, b, by));
    compare!(signed, 200, |d| (n = d.next(24), x = d.floats(n), a = d.next(6) as i64 - 1, b = d.next(24) as i64 - 2) => (&x, a, b));
    compare!(shorter, 200, |d| (n = d.next(14), x = d.floats(n), m = d.next(3) / 2 + d.next(3)) => (&x, m));
    compare!(branches, 200, |d| (n = d.next(16) + 1, x = d.floats(n), m = d.next(18), w = d.next(2) as f64 * 2.0 - 1.0) => (&x, m, w));
    compare!(behind, 200, |d| (n = d.next(9) + 1, x = d.floats(n), k = d.next(14), m = d.next(12)) => (&x, k, m));
    compare!(written, 200, |d| (n = d.next(12), x = d.floats(12), k = d.next(14), m = d.next(12)) => (&x, n, k, m));
    compare!(swapped, 200, |d| (n = d.next(14), x = d.floats(n), m = d.next(14), y = d.floats(m), t = d.next(4)) => (&x, &y, t));
}

/// What wraps is inside of nothing.
#[test]
fn products_that_wrap_are_compared() {
    let x = [1.0; 4];
    for (rows, columns) in [(1 << 32, 1 << 32), (1 << 33, 1 << 31), (3, usize::MAX), (usize::MAX, 2)] {
        assert!(matrix::grad(&x, rows, columns).is_err(), "{rows}, {columns}");
        assert!(rows < 4 || divided::grad(&x, &x, rows, 0).is_err(), "{rows}");
    }
    for (from, to) in [(3, usize::MAX), (usize::MAX - 1, usize::MAX), (1 << 63, (1 << 63) + 2)] {
        assert!(range::grad(&x, from, to).is_err(), "{from}..{to}");
        assert!(steps::grad(&x, from, to, 1).is_err(), "{from}..{to}");
    }
    assert_eq!(range::grad(&x, usize::MAX, 3).unwrap(), [0.0; 4]);
    assert!(signed::grad(&x, i64::MIN, i64::MIN + 1).is_err());
}
