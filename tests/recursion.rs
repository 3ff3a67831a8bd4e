//! Functions that call themselves: compiled as functions, in all derivatives, against the dynamic engine and differences.

// bodies index as their users would
#![allow(clippy::manual_is_multiple_of, clippy::needless_range_loop)]

mod common;

use autograd::prelude::*;
use common::Flat;

/// x to the n, by squaring.
#[differentiable]
fn power(x: f64, n: u32) -> f64 {
    if n == 0 {
        return 1.0;
    }
    let half = power(x, n / 2);
    if n % 2 == 0 { half * half } else { half * half * x }
}

/// A recursion that data end.
#[differentiable]
fn shrink(x: f64, y: f64) -> f64 {
    if x < 0.1 { x * y } else { (x * y).sin() + shrink(0.5 * x, y + x) }
}

/// Two calls each.
#[differentiable]
fn tree(x: f64, depth: usize) -> f64 {
    if depth == 0 {
        return x.cos();
    }
    let left = tree(x * 1.1, depth - 1);
    left * 0.5 + (tree(x + left, depth - 1)).tanh()
}

/// A sum of squares by halves of a slice.
#[differentiable]
fn halves(x: &[f64]) -> f64 {
    let n = x.len();
    if n == 0 {
        return 0.0;
    }
    if n == 1 {
        return x[0] * x[0].exp();
    }
    halves(&x[..n / 2]) + 2.0 * halves(&x[n / 2..])
}

/// The determinant by expansion in minors, the columns that are taken as a set of bits.
#[differentiable]
fn minor(a: &[f64], n: usize, row: usize, taken: u64) -> f64 {
    if row == n {
        return 1.0;
    }
    let mut sum = 0.0;
    let mut sign = 1.0;
    for column in 0..n {
        if (taken >> column) & 1 == 0 {
            sum += sign * a[row * n + column] * minor(a, n, row + 1, taken | (1 << column));
            sign = -sign;
        }
    }
    sum
}

/// Several results, of which one is an array.
#[differentiable]
fn pair(x: f64, n: u32) -> (f64, [f64; 2]) {
    if n == 0 {
        return (x, [1.0, x * x]);
    }
    let (a, [b, c]) = pair(x.sin(), n - 1);
    (a + b * x, [c, a * x])
}
#[differentiable]
fn of_pair(x: f64, n: u32) -> f64 {
    let (a, b) = pair(x, n);
    a * b[0] - b[1]
}

/// A loop around each call, and what it carries.
#[differentiable]
fn nested(x: f64, y: f64, n: usize) -> f64 {
    let mut s = x;
    for i in 0..n {
        s = (s * y + i as f64).sin() + 0.3 * nested(s * 0.7, y, i);
    }
    s
}

/// Called in a loop of another function.
#[differentiable]
fn around(x: &[f64], n: u32) -> f64 {
    let mut s = 0.0;
    for i in 0..x.len() {
        s += power(x[i], n) * shrink(x[i] + 1.0, s);
    }
    s
}

#[differentiable]
fn single(x: f32, n: i32) -> f32 {
    if n <= 0 { x } else { single(x * x + 0.1, n - 1).sqrt() + x }
}

/// Its own record is a list that it has made.
#[differentiable]
fn filtered(x: f64, n: usize) -> f64 {
    if n == 0 {
        return x;
    }
    let mut v = vec![0.0; n + 20];
    for i in 0..n + 20 {
        v[i] = (x * i as f64).sin();
    }
    let mut s = 0.0;
    for i in 0..n + 20 {
        s += v[i] * v[i] * x;
    }
    filtered(s / 10.0, n - 1) + s
}

/// Calls that never end.
#[differentiable]
fn endless(x: f64) -> f64 {
    if x > 1e300 { x } else { 1.0 + endless(x * 0.999) }
}

macro_rules! agrees {
    ($f:ident($($arg:expr),*)) => {{
        let compiled = with_engine(Engine::Compiled, || $f::value_and_grad($($arg),*)).unwrap();
        let dynamic = with_engine(Engine::Dynamic, || $f::value_and_grad($($arg),*)).unwrap();
        let value: f64 = $f($($arg),*);
        assert!((compiled.0 - value).abs() <= 1e-13 * value.abs().max(1.0), "{} {value}", compiled.0);
        let (a, b) = (compiled.1.flat(), dynamic.1.flat());
        let near = a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-10 * b.abs());
        assert!(near, "{a:?} {b:?}");
        let report = $f::check($($arg),*).unwrap();
        assert!(report.passed(), "{report}");
    }};
}
#[test]
fn integers_end_it() {
    for n in 0..12 {
        agrees!(power(1.1, n));
    }
    let deep = with_engine(Engine::Compiled, || power::grad(1.000_001, 100_000)).unwrap();
    assert!((deep / (1e5 * 1.000_001f64.powi(99_999)) - 1.0).abs() < 1e-9, "{deep}");
    agrees!(tree(0.4, 0));
    agrees!(tree(0.4, 5));
}
#[test]
fn data_end_it() {
    agrees!(shrink(0.05, 2.0));
    agrees!(shrink(3.0, 0.7));
    agrees!(shrink(2.0, 0.4));
}
#[test]
fn parts_of_slices() {
    for n in [0, 1, 2, 3, 17, 100] {
        let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7).sin()).collect();
        agrees!(halves(&x));
    }
}
#[test]
fn loops_around_calls() {
    let a: Vec<f64> = (0..16).map(|i| ((i * i + 3) as f64 * 0.37).sin()).collect();
    for n in 0..=4 {
        agrees!(minor(&a[..n * n], n, 0, 0));
    }
    // Jacobi: the gradient of the determinant times the transpose is the determinant times the identity
    let (value, grad) = minor::value_and_grad(&a, 4, 0, 0).unwrap();
    for (i, j) in (0..16).map(|k| (k / 4, k % 4)) {
        let product: f64 = (0..4).map(|k| grad[i * 4 + k] * a[j * 4 + k]).sum();
        assert!((product - if i == j { value } else { 0.0 }).abs() < 1e-12);
    }
    for n in [0, 1, 3, 6] {
        agrees!(nested(0.3, 0.8, n));
    }
    agrees!(filtered(0.1, 0));
    agrees!(filtered(0.1, 3));
}
#[test]
fn several_results() {
    for n in [0, 1, 5] {
        agrees!(of_pair(0.7, n));
        let (value, tangent) = with_engine(Engine::Compiled, || pair::jvp(0.7, n, 1.0)).unwrap();
        let (other, expected) = with_engine(Engine::Dynamic, || pair::jvp(0.7, n, 1.0)).unwrap();
        assert!((value.0 - pair(0.7, n).0).abs() < 1e-14);
        assert_eq!(value, other);
        assert!((tangent.0 - expected.0).abs() < 1e-12 && (tangent.1[1] - expected.1[1]).abs() < 1e-12);
    }
}
#[test]
fn called_in_a_loop() {
    let x: Vec<f64> = (0..30).map(|i| 0.3 * (i as f64 * 0.3).sin()).collect();
    agrees!(around(&x, 2));
    agrees!(around(&x[..2], 0));
}
#[test]
fn single_precision() {
    let compiled = with_engine(Engine::Compiled, || single::value_and_grad(0.6, 4)).unwrap();
    let dynamic = with_engine(Engine::Dynamic, || single::value_and_grad(0.6, 4)).unwrap();
    assert_eq!(compiled.0, dynamic.0);
    assert!((compiled.1 - dynamic.1).abs() < 1e-5);
}

#[test]
fn higher_orders() {
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs().max(1.0));
    let a: Vec<f64> = (0..9).map(|i| ((i * i + 3) as f64 * 0.37).sin()).collect();
    let d: Vec<f64> = (0..9).map(|i| (i as f64).cos()).collect();
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, || {
            // x⁷: 42 x⁵
            assert!((power::hvp(1.1, 7, 1.0).unwrap() - 42.0 * 1.1f64.powi(5)).abs() < 1e-9);
            let h = |x: f64| tree::grad(x, 4).unwrap();
            let second = tree::hvp(0.4, 4, 1.0).unwrap();
            assert!((second - (h(0.4 + 1e-5) - h(0.4 - 1e-5)) / 2e-5).abs() < 1e-6 * second.abs().max(1.0));
            let h =
                |t: f64| minor::grad(&a.iter().zip(&d).map(|(a, d)| a + t * d).collect::<Vec<_>>(), 3, 0, 0).unwrap();
            let difference: Vec<f64> = h(1e-5).iter().zip(h(-1e-5)).map(|(a, b)| (a - b) / 2e-5).collect();
            assert!(near(&minor::hvp(&a, 3, 0, 0, &d).unwrap(), &difference));
            let hessian = shrink::hessian(3.0, 0.7).unwrap();
            let (xx, yx) = shrink::hvp(3.0, 0.7, 1.0, 0.0).unwrap();
            assert!(((hessian.0).0 - xx).abs() < 1e-9 && ((hessian.1).0 - yx).abs() < 1e-9);
        });
    }
    let (compiled, dynamic) = (
        with_engine(Engine::Compiled, || nested::hvp(0.3, 0.8, 4, 1.0, -0.5)).unwrap(),
        with_engine(Engine::Dynamic, || nested::hvp(0.3, 0.8, 4, 1.0, -0.5)).unwrap(),
    );
    assert!(near(&[compiled.0, compiled.1], &[dynamic.0, dynamic.1]), "{compiled:?} {dynamic:?}");
}

#[test]
fn sparse_matrices() {
    let x: Vec<f64> = (0..6).map(|i| (f64::from(i) * 0.7).sin()).collect();
    let (sparse, dense) = (halves::hessian_sparse(&x).unwrap(), halves::hessian(&x).unwrap());
    for (k, &h) in dense.iter().enumerate() {
        assert!((sparse.get(k / 6, k % 6).copied().unwrap_or(0.0) - h).abs() < 1e-12);
    }
}

/// A loop that is run in stretches, around calls whose records lie between one another.
#[differentiable]
fn along(x: f64, y: f64, n: usize) -> f64 {
    let mut s = x;
    for i in 0..n {
        s = 0.9 * s.sin() + power(y, 3) + 0.01 * tree(s, i % 3);
    }
    s
}
#[differentiable(checkpoint(memory = "4 KB"))]
fn bounded(x: f64, y: f64, n: usize) -> f64 {
    along(x, y, n)
}
#[test]
fn less_memory_gives_the_same() {
    for n in [0, 1, 40, 1000] {
        let free = with_engine(Engine::Compiled, || along::value_and_grad(0.3, 0.4, n)).unwrap();
        assert_eq!(free, with_engine(Engine::Compiled, || bounded::value_and_grad(0.3, 0.4, n)).unwrap());
    }
    agrees!(bounded(0.3, 0.4, 40));
    let (a, b) = (along::hvp(0.3, 0.4, 50, 1.0, 0.5).unwrap(), bounded::hvp(0.3, 0.4, 50, 1.0, 0.5).unwrap());
    assert!((a.0 - b.0).abs() < 1e-12 && (a.1 - b.1).abs() < 1e-12);
}

#[test]
fn many_arguments_and_kept_programs() {
    let x: Vec<f64> = (0..100).map(|i| 1.0 + f64::from(i) / 100.0).collect();
    for (x, slope) in x.iter().zip(power::vmap_grad(&x, &[7]).unwrap()) {
        assert!((slope - 7.0 * x.powi(6)).abs() < 1e-9);
    }
    let kept = shrink::compile(3.0, 0.7).unwrap();
    for x in &x {
        assert_eq!(kept.value_and_grad(*x, 0.7).unwrap(), shrink::value_and_grad(*x, 0.7).unwrap());
    }
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..20).for_each(|n| assert!(tree::grad(0.3, n % 6).is_ok_and(f64::is_finite))));
        }
    });
}

#[differentiable]
fn slope(x: f64, n: u32) -> f64 {
    power::grad(x, n).unwrap_or(f64::NAN) * x
}
#[test]
fn derivatives_of_derivatives() {
    // x · 5 x⁴
    agrees!(slope(1.3, 5));
    assert!((slope::grad(1.3, 5).unwrap() - 25.0 * 1.3f64.powi(4)).abs() < 1e-9);
}

#[test]
fn one_program_for_all_depths() {
    let [deep, flat] = [1000, 3].map(|n| power::explain(1.1, n).unwrap());
    assert_eq!((deep.nodes, deep.code_bytes), (flat.nodes, flat.code_bytes));
    assert!(deep.per_length.is_none() && deep.reason.is_none(), "{deep}");
}

#[test]
fn a_recursion_without_end_is_an_error() {
    let run = || {
        let error = with_engine(Engine::Compiled, || endless::grad(1.0)).unwrap_err().to_string();
        assert!(error.contains("call") && error.contains("stack"), "{error}");
        let error = with_engine(Engine::Compiled, || endless::value(1.0)).unwrap_err().to_string();
        assert!(error.contains("stack"), "{error}");
        // and the next call is well
        assert_eq!(power::grad(2.0, 3).unwrap(), 12.0);
    };
    run();
    std::thread::Builder::new().stack_size(512 << 10).spawn(run).unwrap().join().unwrap();
}
