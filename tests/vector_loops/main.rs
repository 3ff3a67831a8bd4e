//! Loops over slices whose trips do not depend on one another run as vector code: what they compute is what the function
//! itself, the tape and central differences say, at lengths around those of vectors and blocks.

#![allow(missing_docs, clippy::needless_range_loop)] // the forms that a user may write

mod delays;

use autograd::{Engine, Explanation, prelude::*, with_engine};

/// Checks value and gradient at `x`: both engines, the function itself, central differences of some elements.
#[track_caller]
fn agrees(x: &[f64], plain: impl Fn(&[f64]) -> f64, both: impl Fn(&[f64]) -> autograd::Result<(f64, Vec<f64>)>) {
    let near = |a: f64, b: f64, tol: f64, what: &str| {
        assert!((a - b).abs() <= tol * (1.0 + b.abs()), "{what} at length {}: {a} is not {b}", x.len());
    };
    let (value, grad) = with_engine(Engine::Compiled, || both(x)).unwrap();
    let (wanted, grad_wanted) = with_engine(Engine::Dynamic, || both(x)).unwrap();
    near(value, plain(x), 1e-12, "value");
    near(value, wanted, 1e-12, "value");
    assert_eq!((grad.len(), grad_wanted.len()), (x.len(), x.len()));
    for i in 0..x.len() {
        near(grad[i], grad_wanted[i], 1e-11, "gradient");
    }
    for i in (0..x.len()).step_by(1 + x.len() / 40) {
        let h = 1e-6 * (1.0 + x[i].abs());
        let at = |d: f64| {
            let mut x = x.to_vec();
            x[i] += d;
            plain(&x)
        };
        near(grad[i], (at(h) - at(-h)) / (2.0 * h), 1e-5, "gradient against differences");
    }
}

fn numbers(n: usize, shift: f64) -> Vec<f64> {
    (0..n).map(|i| (i as f64 * 1.37 + shift).sin()).collect()
}

/// How many loops of the gradient are vector code.
fn vectors(how: &Explanation) -> usize {
    how.kernels.iter().filter(|k| k.kind == "vector loop").count()
}

const LENGTHS: [usize; 9] = [0, 1, 2, 3, 7, 8, 16, 33, 1000];

#[differentiable]
fn sines(x: &[f64], w: f64) -> f64 {
    let mut s = 0.0;
    for i in 0..x.len() {
        s += (x[i] * w).sin();
    }
    s
}

#[test]
fn a_sum_of_function_values() {
    assert_eq!(vectors(&sines::explain(&[1.0, 2.0], 0.3).unwrap()), 2);
    for n in LENGTHS {
        let both = |x: &[f64]| sines::value_and_grad(x, 0.7).map(|(v, (d, _))| (v, d));
        agrees(&numbers(n, 0.2), |x| sines(x, 0.7), both);
        let x = numbers(n, 0.2);
        let (_, (_, dw)) = sines::value_and_grad(&x, 0.7).unwrap();
        let want: f64 = x.iter().map(|x| x * (x * 0.7).cos()).sum();
        assert!((dw - want).abs() <= 1e-12 * (1.0 + want.abs()), "{dw} {want}");
    }
}

#[differentiable]
fn log_sum_exp(x: &[f64]) -> f64 {
    let mut m = f64::NEG_INFINITY;
    for i in 0..x.len() {
        m = m.max(x[i]);
    }
    let mut s = 0.0;
    for &v in x {
        s += (v - m).exp();
    }
    m + s.ln()
}

#[test]
fn the_logarithm_of_a_sum_of_exponentials() {
    assert!(vectors(&log_sum_exp::explain(&[1.0, 2.0]).unwrap()) >= 2);
    for n in LENGTHS.into_iter().filter(|&n| n > 0) {
        agrees(&numbers(n, 0.1), log_sum_exp, log_sum_exp::value_and_grad);
        let x = numbers(n, 0.1);
        assert_eq!(log_sum_exp::value(&x).unwrap().is_nan(), log_sum_exp(&x).is_nan());
    }
}

#[differentiable]
fn elementwise(x: &[f64]) -> f64 {
    let n = x.len();
    let mut out = vec![0.0; n];
    for i in 0..n {
        out[i] = x[i] * x[i].exp();
    }
    let mut s = 0.0;
    for v in out.iter() {
        s += v;
    }
    s
}

#[test]
fn elements_of_a_list_of_its_own() {
    assert_eq!(vectors(&elementwise::explain(&[1.0, 2.0]).unwrap()), 2, "both loops are one, there and back");
    for n in LENGTHS {
        agrees(&numbers(n, 0.4), elementwise, elementwise::value_and_grad);
    }
}

#[differentiable]
fn rows(a: &[f64], d: usize) -> f64 {
    // the last row is the vector
    let n = a.len() / d - 1;
    let mut total = 0.0;
    for i in 0..n {
        let mut s = 0.0;
        for j in 0..d {
            s += a[i * d + j] * a[n * d + j];
        }
        total += s * s;
    }
    total
}

#[test]
fn inner_products_in_a_loop() {
    assert_eq!(vectors(&rows::explain(&numbers(12, 0.0), 3).unwrap()), 2);
    for (n, d) in [(1, 1), (2, 3), (3, 8), (4, 9), (5, 16), (2, 300)] {
        agrees(&numbers(n * d, 0.3), |a| rows(a, d), |a| rows::value_and_grad(a, d));
    }
}

/// The sum over points in the plane of the squared distance to the nearest of some centres, which come first.
#[differentiable]
fn k_means(x: &[f64], k: usize) -> f64 {
    let n = x.len() / 2;
    let mut total = 0.0;
    for i in k..n {
        let mut best = f64::INFINITY;
        for c in 0..k {
            let (u, v) = (x[2 * i] - x[2 * c], x[2 * i + 1] - x[2 * c + 1]);
            best = best.min(u * u + v * v);
        }
        total += best;
    }
    total
}

/// The sum of squared distances to one centre, which comes last.
#[differentiable]
fn spread(x: &[f64]) -> f64 {
    let n = x.len() / 2 - 1;
    let mut total = 0.0;
    for i in 0..n {
        let (u, v) = (x[2 * i] - x[2 * n], x[2 * i + 1] - x[2 * n + 1]);
        total += u * u + v * v;
    }
    total
}

#[test]
fn squared_distances() {
    assert!(vectors(&spread::explain(&numbers(6, 0.0)).unwrap()) >= 1);
    for n in [2, 3, 9, 20, 100] {
        agrees(&numbers(2 * n, 0.6), spread, spread::value_and_grad);
        agrees(&numbers(2 * n, 0.6), |x| k_means(x, 2), |x| k_means::value_and_grad(x, 2));
    }
    agrees(&numbers(60, 0.6), |x| k_means(x, 12), |x| k_means::value_and_grad(x, 12));
}

/// The residuals of a cubic whose coefficients come first.
#[differentiable]
fn cubic(p: &[f64], t: &[f64], y: &[f64]) -> f64 {
    let mut s = 0.0;
    for i in 0..t.len() {
        let r = ((p[3] * t[i] + p[2]) * t[i] + p[1]) * t[i] + p[0] - y[i];
        s += r.powi(2);
    }
    s / t.len() as f64
}

#[test]
fn least_squares() {
    assert_eq!(vectors(&cubic::explain(&[0.1; 4], &[0.1, 0.2], &[0.3, 0.4]).unwrap()), 2);
    for n in LENGTHS.into_iter().filter(|&n| n > 0) {
        let (t, y) = (numbers(n, 0.7), numbers(n, 1.9));
        let both = |p: &[f64]| cubic::value_and_grad(p, &t, &y).map(|(v, (d, ..))| (v, d));
        agrees(&numbers(4, 0.5), |p| cubic(p, &t, &y), both);
        let p = numbers(4, 0.5);
        agrees(&y, |y| cubic(&p, &t, y), |y| cubic::value_and_grad(&p, &t, y).map(|(v, (_, _, d))| (v, d)));
    }
}

#[differentiable]
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The elementwise part of an LSTM cell: the gates come one after the other, then the cell's state.
#[differentiable]
fn cell(x: &[f64]) -> f64 {
    let n = x.len() / 5;
    let mut c = vec![0.0; n];
    let mut h = vec![0.0; n];
    for i in 0..n {
        let (input, forget) = (sigmoid(x[i]), sigmoid(x[n + i]));
        let (gate, output) = (x[2 * n + i].tanh(), sigmoid(x[3 * n + i]));
        c[i] = forget * x[4 * n + i] + input * gate;
        h[i] = output * c[i].tanh();
    }
    let mut s = 0.0;
    for i in 0..n {
        s += h[i] * h[i] + 0.1 * c[i];
    }
    s
}

#[test]
fn an_lstm_cell() {
    for n in [1, 7, 8, 20, 300] {
        agrees(&numbers(5 * n, 0.8), cell, cell::value_and_grad);
    }
}

/// Elements in place, from the last one to the first.
#[differentiable]
fn in_place(x: &[f64], w: f64) -> f64 {
    let mut v = x.to_vec();
    for i in (0..v.len()).rev() {
        v[i] = v[i].tanh() * w + i as f64 * 0.01;
    }
    for i in 0..v.len() {
        v[i] *= v[i];
    }
    v.iter().sum()
}

#[test]
fn elements_in_place() {
    for n in LENGTHS {
        let both = |x: &[f64]| in_place::value_and_grad(x, 1.3).map(|(v, (d, _))| (v, d));
        agrees(&numbers(n, 0.9), |x| in_place(x, 1.3), both);
    }
}

/// Second differences: neighbours of each element are read.
#[differentiable]
fn roughness(x: &[f64]) -> f64 {
    let mut s = 0.0;
    for i in 1..x.len() - 1 {
        s += (x[i + 1] - 2.0 * x[i] + x[i - 1]).powi(2);
    }
    s
}

#[test]
fn neighbours() {
    assert_eq!(vectors(&roughness::explain(&numbers(6, 0.0)).unwrap()), 2);
    for n in [2, 3, 9, 10, 11, 40, 1000] {
        agrees(&numbers(n, 1.0), roughness, roughness::value_and_grad);
    }
}

/// The hinge loss: terms under a condition; the last element is the weight.
#[differentiable]
fn hinge(x: &[f64]) -> f64 {
    let n = x.len() - 1;
    let mut s = 0.0;
    let mut missed = 0;
    for i in 0..n {
        let margin = x[i] * x[n];
        if margin < 0.3 {
            s += 0.3 - margin;
            missed += 1;
        }
    }
    s * (1.0 + missed as f64)
}

#[test]
fn terms_under_a_condition() {
    assert_eq!(vectors(&hinge::explain(&numbers(6, 0.0)).unwrap()), 2);
    for n in [1, 2, 8, 9, 17, 40, 1000] {
        agrees(&numbers(n, 0.05), hinge, hinge::value_and_grad);
    }
}

/// Not of this kind: every trip reads what the one before has written.
#[differentiable]
fn running(x: &[f64]) -> f64 {
    let mut v = x.to_vec();
    for i in 1..v.len() {
        v[i] += 0.5 * v[i - 1].sin();
    }
    let mut p = 1.0;
    for i in 0..v.len() {
        p *= 1.0 + 0.01 * v[i];
    }
    p
}

#[test]
fn what_depends_on_the_trip_before_stays_a_loop() {
    assert_eq!(vectors(&running::explain(&[1.0, 2.0]).unwrap()), 0);
    for n in [1, 8, 40] {
        agrees(&numbers(n, 1.1), running, running::value_and_grad);
    }
}

#[test]
fn an_index_beyond_the_end_is_an_error_with_its_place() {
    #[differentiable]
    fn beyond(x: &[f64], n: usize) -> f64 {
        let mut s = 0.0;
        for i in 0..n {
            s += x[i].exp();
        }
        s
    }
    let x = numbers(20, 0.0);
    assert!(beyond::value_and_grad(&x, 20).is_ok());
    let e = beyond::value_and_grad(&x, 21).unwrap_err().to_string();
    assert!(e.contains("expected an index below the length 20, found 20") && e.contains("vector_loops/main.rs"), "{e}");
}

#[test]
fn second_order_and_bounded_memory() {
    #[differentiable(checkpoint(memory = "1 KB"))]
    fn bounded(x: &[f64], w: f64) -> f64 {
        let mut s = 0.0;
        for i in 0..x.len() {
            s += (x[i] * w).sin();
        }
        s
    }
    for n in [0, 3, 8, 50, 700] {
        let x = numbers(n, 0.3);
        let (a, b) = (sines::value_and_grad(&x, 0.7).unwrap(), bounded::value_and_grad(&x, 0.7).unwrap());
        assert!((a.0 - b.0).abs() <= 1e-12 * (1.0 + a.0.abs()));
        assert!(a.1.0.iter().zip(&b.1.0).all(|(a, b)| (a - b).abs() <= 1e-13));
        // the second derivative of Σ sin(w x) along a direction
        let d = numbers(n, 1.4);
        let (hx, hw) = sines::hvp(&x, 0.7, &d, 0.2).unwrap();
        for i in 0..n {
            let s = (x[i] * 0.7).sin();
            let want = -0.49 * s * d[i] + 0.2 * ((x[i] * 0.7).cos() - 0.7 * x[i] * s);
            assert!((hx[i] - want).abs() <= 1e-12, "{} {want}", hx[i]);
        }
        let mixed: f64 = (0..n).map(|i| d[i] * ((x[i] * 0.7).cos() - 0.7 * x[i] * (x[i] * 0.7).sin())).sum();
        let want = mixed - (0..n).map(|i| 0.2 * x[i] * x[i] * (x[i] * 0.7).sin()).sum::<f64>();
        assert!((hw - want).abs() <= 1e-11 * (1.0 + want.abs()), "{hw} {want}");
    }
}

/// A polynomial at points, each by a recurrence of its own.
#[differentiable]
fn polynomial(x: &[f64], points: usize) -> f64 {
    let mut sum = 0.0;
    let mut last = 0.0;
    for i in 0..points {
        let t = -1.0 + 2.0 * i as f64 / (points as f64 + 1.0);
        let mut rest = if t > 0.25 { 1.0 } else { t };
        let mut power = 1.0;
        for j in 0..x.len() {
            rest -= x[j] * power;
            power *= t;
        }
        sum += rest * rest;
        last -= power;
    }
    sum + 0.5 * last
}

/// Paths that damp and turn, from starts of their own, for as many steps as there are rates.
#[differentiable]
fn paths(rates: &[f64], starts: &[f64]) -> f64 {
    let mut total = 0.0;
    for start in starts {
        let (mut x, mut v) = (*start, 1.0);
        for rate in rates {
            (x, v) = (x + 0.1 * v, v - 0.1 * (rate * x + 0.3 * v));
        }
        total += x * v;
    }
    total
}

/// The inner loop is as long as the number of the trip says.
#[differentiable]
fn triangle(x: &[f64], rows: usize) -> f64 {
    let mut sum = 0.0;
    for i in 0..rows {
        let mut y = 0.5;
        for j in 0..i {
            y = y * x[j % x.len()] + 0.1;
        }
        sum += y;
    }
    sum
}

#[test]
fn recurrences_inside_loops() {
    let second = |f: &dyn Fn() -> autograd::Result<Vec<f64>>| {
        let [got, want] = [Engine::Compiled, Engine::Dynamic].map(|engine| with_engine(engine, f).unwrap());
        assert_eq!(got.len(), want.len());
        for (a, b) in got.iter().zip(&want) {
            assert!((a - b).abs() <= 1e-11 * (1.0 + b.abs()), "{a} is not {b}");
        }
    };
    for n in [0, 1, 2, 3, 4, 5, 7, 8, 13] {
        for m in [0, 1, 2, 9, 20] {
            let (x, d) = (numbers(m, 0.4), numbers(m, 1.1));
            agrees(&x, |x| polynomial(x, n), |x| polynomial::value_and_grad(x, n));
            assert_eq!(polynomial::value(&x, n).unwrap().to_bits(), polynomial(&x, n).to_bits());
            second(&|| polynomial::hvp(&x, n, &d));
            let starts = numbers(n, 0.9);
            agrees(&x, |x| paths(x, &starts), |x| paths::value_and_grad(x, &starts).map(|(v, g)| (v, g.0)));
            agrees(&starts, |s| paths(&x, s), |s| paths::value_and_grad(&x, s).map(|(v, g)| (v, g.1)));
            second(&|| paths::hvp(&x, &starts, &d, &starts).map(|(a, b)| [a, b].concat()));
            if m > 0 {
                agrees(&x, |x| triangle(x, n), |x| triangle::value_and_grad(x, n));
            }
        }
    }
}

/// Two loops over one range, of which the second reads what the same trip of the first has written.
#[differentiable]
fn in_two_loops(x: &[f64]) -> f64 {
    let n = x.len();
    let mut a = vec![0.0; n];
    let mut b = vec![0.0; n];
    let mut total = 0.0;
    for round in 0..3 {
        for j in 0..n {
            a[j] = x[j] - 0.1 * round as f64;
        }
        for j in 0..n {
            b[j] += a[j] * x[j];
        }
        for j in 0..n {
            total += b[j] * b[j];
        }
    }
    total
}

/// The second loop writes the list of the first, and reads another one as it was.
#[differentiable]
fn written_twice(x: &[f64]) -> f64 {
    let n = x.len();
    let mut a = vec![0.5; n];
    for j in 0..n {
        a[j] *= x[j];
    }
    for j in 0..n {
        a[j] = a[j] * a[j] + x[j].cos();
    }
    let mut s = 0.0;
    for j in 0..n {
        s += a[j];
    }
    s
}

/// Loops that must stay apart: they read an element before or behind, the sum of the first, or what the second writes over.
#[differentiable]
fn apart(x: &[f64]) -> f64 {
    let n = x.len();
    let mut a = vec![0.0; n];
    let mut b = vec![1.0; n];
    let mut sum = 0.0;
    for j in 0..n {
        a[j] = x[j] * x[j];
        sum += x[j];
    }
    for j in 0..n {
        b[j] = a[n - 1 - j] * sum;
    }
    for j in 0..n {
        a[j] += b[n - 1 - j];
    }
    for j in 0..n {
        b[j] = 2.0 * a[j] + x[j];
    }
    for j in 0..n {
        a[j] = b[j] * b[j];
    }
    let mut s = 0.0;
    for j in 0..n {
        s += a[j] + b[n - 1 - j];
    }
    s
}

#[test]
fn loops_over_one_range() {
    assert_eq!(vectors(&written_twice::explain(&[1.0, 2.0]).unwrap()), 2, "one there and one back");
    for n in LENGTHS {
        agrees(&numbers(n, 0.4), in_two_loops, in_two_loops::value_and_grad);
        agrees(&numbers(n, 0.9), written_twice, written_twice::value_and_grad);
        agrees(&numbers(n, 0.1), apart, apart::value_and_grad);
    }
    let (x, direction) = (numbers(11, 0.3), numbers(11, 1.7));
    let [compiled, tape] = [Engine::Compiled, Engine::Dynamic]
        .map(|engine| with_engine(engine, || in_two_loops::hvp(&x, &direction)).unwrap());
    for (a, b) in compiled.iter().zip(tape) {
        assert!((a - b).abs() <= 1e-10 * (1.0 + b.abs()), "{a} {b}");
    }
}

#[test]
fn an_error_in_one_of_two_loops_is_one() {
    #[differentiable]
    fn short(x: &[f64], y: &[f64]) -> f64 {
        let mut a = vec![0.0; x.len()];
        let mut s = 0.0;
        for j in 0..x.len() {
            a[j] = x[j] + 1.0;
        }
        for j in 0..x.len() {
            s += a[j] * y[j];
        }
        s
    }
    for n in [1, 9, 40] {
        let x = numbers(n, 0.0);
        assert!(short::grad(&x, &x).is_ok());
        let error = short::grad(&x, &x[1..]).unwrap_err().to_string();
        assert!(error.contains("index"), "{error}");
    }
}

/// The larger of two numbers in a loop over a list that is written again: NaN loses, and equal ones share.
#[differentiable]
fn largest_each(x: &[f64], rounds: usize) -> f64 {
    let n = x.len();
    let mut terms = vec![0.0; n];
    let mut total = 0.0;
    for round in 0..rounds {
        for j in 0..n {
            terms[j] = x[j] * (1.0 + round as f64);
        }
        let mut most = f64::NEG_INFINITY;
        let mut least = f64::INFINITY;
        for j in 0..n {
            most = most.max(terms[j]);
            least = terms[j].min(least);
        }
        total += most - 2.0 * least;
    }
    total
}

#[test]
fn extrema_of_a_list_that_is_written_again() {
    for n in [1, 2, 7, 8, 33] {
        agrees(&numbers(n, 0.6), |x| largest_each(x, 3), |x| largest_each::value_and_grad(x, 3));
    }
    for x in [vec![2.0, 2.0, 1.0, 1.0], vec![f64::NAN, 3.0, 1.0], vec![3.0, f64::NAN, 3.0], vec![f64::NAN; 9]] {
        let of = |engine| with_engine(engine, || largest_each::value_and_grad(&x, 2)).unwrap();
        let bits = |(v, d): (f64, Vec<f64>)| {
            d.into_iter().chain([v]).map(|x| (x.is_nan(), x.to_bits() << 1)).collect::<Vec<_>>()
        };
        let (compiled, tape) = (bits(of(Engine::Compiled)), bits(of(Engine::Dynamic)));
        for (a, b) in compiled.iter().zip(&tape) {
            assert!(a == b || a.0 && b.0, "{x:?}: {compiled:?} {tape:?}");
        }
    }
    assert_eq!(largest_each::grad(&[2.0, 2.0], 1).unwrap(), [-0.5, -0.5]);
}
