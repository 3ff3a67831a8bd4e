//! Functions over tensors that call themselves: compiled as functions, in all derivatives, against the dynamic engine and
//! differences.

// bodies are written as their users would
#![allow(clippy::assign_op_pattern, clippy::manual_is_multiple_of)]

mod common;

use autograd::prelude::*;
use common::Flat;

fn wave(shape: &[usize]) -> Tensor<f64> {
    let n: usize = shape.iter().product();
    Tensor::from_vec((0..n).map(|i| (i as f64 * 0.7 + 0.3).sin()).collect(), shape)
}

/// The norm by halves.
#[differentiable]
fn halved(x: &Tensor<f64>) -> Tensor<f64> {
    if x.norm() < 1.0 { (x * x).sum() } else { halved(&(x * 0.5)) * 2.0 + x.sum() }
}

/// A result of the type of the argument.
#[differentiable]
fn settled(x: &Tensor<f64>, y: &Tensor<f64>) -> Tensor<f64> {
    if (x * x).sum() < 0.5 {
        return x * y;
    }
    let inner = settled(&(x.sin() * 0.8), &(y + x));
    inner.tanh() * 0.5 + x
}
#[differentiable]
fn of_settled(x: &Tensor<f64>, y: &Tensor<f64>) -> Tensor<f64> {
    (settled(x, y) * y).sum()
}

/// A power of a matrix by repeated squaring.
#[differentiable]
fn power(a: &Tensor<f64>, n: usize) -> Tensor<f64> {
    if n == 1 {
        return a.clone();
    }
    let half = power(a, n / 2);
    let square = half.matmul(&half);
    if n % 2 == 0 { square } else { square.matmul(a) }
}
#[differentiable]
fn trace_of_power(a: &Tensor<f64>, n: usize) -> Tensor<f64> {
    (power(a, n) * a).sum()
}

/// Two calls each, a number beside a tensor.
#[differentiable]
fn fibonacci(x: &Tensor<f64>, s: f64, n: u32) -> Tensor<f64> {
    if n < 2 {
        x * s
    } else {
        let left = fibonacci(x, s * 0.9, n - 1);
        let right = fibonacci(&(x + &left), s, n - 2);
        left.tanh() + right * s
    }
}
#[differentiable]
fn of_fibonacci(x: &Tensor<f64>, s: f64, n: u32) -> f64 {
    fibonacci(x, s, n).sum().item()
}

/// Several results, of types that no argument has.
#[differentiable]
fn several(x: &Tensor<f64>, s: f64) -> (Tensor<f64>, f64, [Tensor<f64>; 2]) {
    if s < 0.2 {
        return (x.outer(x), s, [x.sum(), x.clone()]);
    }
    let (a, t, [b, c]) = several(&x.sin(), s * 0.5);
    let scaled = &a * s;
    (a.tanh() + x.outer(&c), t + s * t, [b + scaled.sum(), c * x])
}
#[differentiable]
fn of_several(x: &Tensor<f64>, s: f64) -> Tensor<f64> {
    let (a, t, [b, c]) = several(x, s);
    (a.sum() * t + b) * c.sum()
}

/// The first branch is the one that calls; what it does with the result tells nothing of its type.
#[differentiable]
fn row(m: &Tensor<f64>) -> Tensor<f64> {
    if m.norm() > 1.0 { row(&(m * 0.5)) * 1.5 } else { m.sum_dim(&[0], false) }
}
#[differentiable]
fn of_row(m: &Tensor<f64>) -> Tensor<f64> {
    let r = row(m);
    (&r * &r).sum()
}

/// Loops and choices inside, around calls and beside them.
#[differentiable]
fn nested(x: &Tensor<f64>, n: usize) -> Tensor<f64> {
    let mut y = x.clone();
    for i in 0..n {
        y = y.sin() + nested(&(&y * 0.7), i) * 0.3;
        if y.sum() > 0.5 {
            y = y * 0.9;
        }
    }
    for _ in 0..n {
        y = (y * x).tanh() + x;
    }
    y
}
#[differentiable]
fn of_nested(x: &Tensor<f64>, n: usize) -> Tensor<f64> {
    (nested(x, n) * x).sum()
}

/// Called in loops and choices of another function.
#[differentiable]
fn around(x: &Tensor<f64>, n: usize) -> Tensor<f64> {
    let mut y = x.clone();
    let mut left = n;
    while left > 0 {
        if y.sum() > 0.1 {
            y = &y * 0.5 + settled(&y, x);
        } else {
            y = &y + halved(&y) * 0.1;
        }
        left -= 1;
    }
    halved(&y)
}

/// Numbers alone, called beside tensors.
#[differentiable]
fn numbers(x: f64, n: u32) -> f64 {
    if n == 0 { 1.0 } else { x * numbers(x, n - 1) + 0.1 }
}
#[differentiable]
fn mixed(x: &Tensor<f64>, s: f64, n: u32) -> Tensor<f64> {
    (x * numbers(s, n)).sum() * numbers(0.5, n)
}

/// One call each, many levels.
#[differentiable]
fn chain(x: &Tensor<f64>, n: usize) -> Tensor<f64> {
    if n == 0 { x.sum() } else { chain(&(x.sin() + 0.01), n - 1) * 0.999 }
}
#[differentiable]
fn endless(x: &Tensor<f64>) -> Tensor<f64> {
    if x.sum() > 1e300 { x.sum() } else { endless(&(x * 0.999)) + 1.0 }
}

thread_local! {
    static WEIGHTS: Tensor<f64> = wave(&[3, 3]);
}
fn weights() -> Tensor<f64> {
    WEIGHTS.with(Clone::clone)
}
/// Reads a tensor that is none of its arguments, in a loop and in a choice.
#[differentiable]
fn captures(x: &Tensor<f64>, n: usize) -> Tensor<f64> {
    let mut y = x.clone();
    if n > 0 {
        for _ in 0..n {
            y = &y + captures(&(weights().matmul(&y) * 0.3), n - 1).tanh();
        }
    }
    y
}
#[differentiable]
fn of_captures(x: &Tensor<f64>, n: usize) -> Tensor<f64> {
    (captures(x, n) * x).sum()
}

macro_rules! agrees {
    ($f:ident($($arg:expr),*)) => {{
        let compiled = with_engine(Engine::Compiled, || $f::value_and_grad($($arg),*)).unwrap();
        let dynamic = with_engine(Engine::Dynamic, || $f::value_and_grad($($arg),*)).unwrap();
        alike(&compiled.0.flat(), &dynamic.0.flat());
        alike(&compiled.1.flat(), &dynamic.1.flat());
        let report = $f::check($($arg),*).unwrap();
        assert!(report.passed(), "{report}");
        let said = $f::explain($($arg),*).unwrap();
        assert!(said.reason.is_none() && said.per_length.is_none(), "{said}");
    }};
}
#[track_caller]
fn alike(a: &[f64], b: &[f64]) {
    let near = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-10 * b.abs().max(1.0));
    assert!(near, "{a:?} {b:?}");
}

#[test]
fn data_end_it() {
    for k in [0.1, 1.0, 30.0] {
        agrees!(halved(&(wave(&[5]) * k)));
        agrees!(of_settled(&(wave(&[2, 3]) * k), &wave(&[2, 3])));
    }
}
#[test]
fn integers_end_it() {
    for n in [1, 2, 7, 12] {
        agrees!(trace_of_power(&wave(&[3, 3]), n));
    }
    for n in [0, 1, 2, 5] {
        agrees!(of_fibonacci(&wave(&[4]), 0.7, n));
    }
}
#[test]
fn results_of_other_types() {
    for s in [0.1, 0.3, 1.0] {
        agrees!(of_several(&wave(&[3]), s));
    }
    for k in [0.1, 5.0] {
        agrees!(of_row(&(wave(&[2, 3]) * k)));
    }
}
#[test]
fn loops_and_choices() {
    for n in [0, 1, 2, 4] {
        agrees!(of_nested(&wave(&[3]), n));
    }
    for n in [0, 1, 5] {
        agrees!(around(&wave(&[3]), n));
        agrees!(mixed(&wave(&[3]), 0.8, n as u32));
    }
}
#[test]
fn what_it_reads_besides_its_arguments() {
    for n in [0, 1, 3] {
        agrees!(of_captures(&wave(&[3]), n));
    }
}

/// The functions above over few elements are native functions over these; over more their calls are steps.
#[test]
fn larger_tensors() {
    agrees!(halved(&(wave(&[120]) * 3.0)));
    agrees!(of_settled(&wave(&[11, 10]), &wave(&[11, 10])));
    agrees!(trace_of_power(&(wave(&[11, 11]) * 0.3), 7));
    agrees!(of_fibonacci(&wave(&[110]), 0.7, 4));
    agrees!(of_several(&wave(&[110]), 0.3));
    agrees!(of_nested(&wave(&[110]), 3));
    agrees!(around(&wave(&[110]), 3));
    agrees!(mixed(&wave(&[110]), 0.8, 3));
    for (small, large) in [
        (halved::explain(&wave(&[5])), halved::explain(&wave(&[120]))),
        (around::explain(&wave(&[3]), 3), around::explain(&wave(&[110]), 3)),
    ] {
        let native = |e: autograd::Explanation| e.kernels.len() == 1 && e.kernels[0].kind == "scalar function";
        assert!(native(small.unwrap()) && !native(large.unwrap()));
    }
}

/// Hessian times direction against differences of gradients, and both engines' forward modes.
macro_rules! orders {
    ($f:ident(|$x:ident| $($arg:expr),*), $at:expr, [$($zero:expr),*]) => {{
        let (x, d) = ($at, wave($at.shape()).cos());
        let grad = |t: f64| { let $x = &(&x + &d * t); $f::grad($($arg),*).unwrap().flat() };
        let difference: Vec<f64> = grad(1e-5).iter().zip(grad(-1e-5)).map(|(a, b)| (a - b) / 2e-5).collect();
        let [compiled, dynamic] = [Engine::Compiled, Engine::Dynamic].map(|engine| {
            let $x = &x;
            with_engine(engine, || {
                let hvp = $f::hvp($($arg),*, &d $(, $zero)*).unwrap().flat();
                let (value, tangent) = $f::jvp($($arg),*, &d $(, $zero)*).unwrap();
                (hvp, value.flat(), tangent.flat())
            })
        });
        alike(&compiled.0, &dynamic.0);
        alike(&compiled.1, &dynamic.1);
        alike(&compiled.2, &dynamic.2);
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * b.abs().max(1.0);
        assert!(compiled.0.iter().zip(&difference).all(near), "{:?} {difference:?}", compiled.0);
    }};
}
#[test]
fn higher_orders() {
    orders!(halved(|x| x), wave(&[5]) * 7.0, []);
    orders!(of_settled(|x| x, &wave(&[4])), wave(&[4]), [&Tensor::zeros([4])]);
    orders!(trace_of_power(|x| x, 5), wave(&[3, 3]), []);
    orders!(of_fibonacci(|x| x, 0.7, 4), wave(&[3]), [0.0]);
    orders!(of_several(|x| x, 0.6), wave(&[3]), [0.0]);
    orders!(of_row(|x| x), wave(&[2, 3]) * 5.0, []);
    orders!(of_nested(|x| x, 3), wave(&[3]), []);
    orders!(around(|x| x, 3), wave(&[3]), []);
    orders!(mixed(|x| x, 0.8, 3), wave(&[3]), [0.0]);
    orders!(of_captures(|x| x, 2), wave(&[3]), []);
    orders!(halved(|x| x), wave(&[120]) * 2.0, []);
    orders!(of_settled(|x| x, &wave(&[110])), wave(&[110]), [&Tensor::zeros([110])]);
    orders!(of_fibonacci(|x| x, 0.7, 3), wave(&[110]), [0.0]);
    orders!(around(|x| x, 3), wave(&[110]), []);
}

#[differentiable]
fn steps(x: &Tensor<f64>) -> autograd::Result<Tensor<f64>> {
    Ok((halved::grad(x)? * x).sum())
}
#[test]
fn derivatives_of_derivatives() {
    agrees!(steps(&(wave(&[3]) * 4.0)));
}

/// Each call runs once in each direction: a level more costs as much as the one before.
#[test]
fn many_levels() {
    let x = wave(&[3]);
    // native calls pass all elements on the stack, which has room for that many; steps have stacks of their own
    for size in [3, 60, 120] {
        let x = wave(&[size]);
        let (value, grad) = with_engine(Engine::Compiled, || chain::value_and_grad(&x, 3000)).unwrap();
        let (mut y, mut slope) = (x.to_vec(), vec![1.0; size]);
        for _ in 0..3000 {
            slope.iter_mut().zip(&y).for_each(|(s, y)| *s *= 0.999 * y.cos());
            y.iter_mut().for_each(|y| *y = y.sin() + 0.01);
        }
        alike(&value.flat(), &[y.iter().sum::<f64>() * 0.999f64.powi(3000)]);
        alike(&grad.flat(), &slope);
    }
    let [deep, flat] = [1000, 3].map(|n| chain::explain(&x, n).unwrap());
    assert_eq!((deep.nodes, deep.code_bytes), (flat.nodes, flat.code_bytes));
}

#[test]
fn kept_programs_and_many_threads() {
    let kept = of_nested::compile(&wave(&[3]), 1).unwrap();
    let first: Vec<Vec<f64>> = (0..4).map(|n| kept.grad(&wave(&[3]), n).unwrap().flat()).collect();
    std::thread::scope(|s| {
        for _ in 0..4 {
            let (kept, first) = (&kept, &first);
            s.spawn(move || {
                for n in (0..20).map(|k| k % 4) {
                    assert_eq!(kept.grad(&wave(&[3]), n).unwrap().flat(), first[n]);
                }
            });
        }
    });
}

#[test]
fn a_recursion_without_end_is_an_error() {
    let run = || {
        for _ in 0..2 {
            let error = with_engine(Engine::Compiled, || endless::grad(&wave(&[2]))).unwrap_err().to_string();
            assert!(error.contains("call") && error.contains("stack"), "{error}");
            let error = with_engine(Engine::Compiled, || endless::value(&wave(&[2]))).unwrap_err().to_string();
            assert!(error.contains("stack"), "{error}");
            // and the next call is well
            agrees!(halved(&(wave(&[5]) * 3.0)));
        }
    };
    run();
    std::thread::Builder::new().stack_size(512 << 10).spawn(run).unwrap().join().unwrap();
}
