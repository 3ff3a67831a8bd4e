//! Derivatives inside annotated bodies: matrices, products and pull-backs, and derivatives through them; and those of kept
//! functions.

// the forms that a user may write
#![allow(clippy::needless_range_loop)]

mod common;

use autograd::{
    Engine,
    ndarray::{self, Array1, Array2},
    prelude::*,
    with_engine,
};
use common::{Flat, alike, each_engine};

/// Value, gradient and Hessian's product on both engines, against central differences of the function itself.
macro_rules! through {
    ($f:ident($($arg:expr),*) along($($dir:expr),*)) => {{
        let plain = $f($($arg),*).unwrap();
        let run = |engine| with_engine(engine, || {
            let (value, grad) = $f::value_and_grad($($arg),*).unwrap();
            alike(&[value], &[plain], 1e-12);
            let report = $f::check($($arg),*).unwrap();
            assert!(report.passed(), "{engine:?}: {report}");
            [grad.flat(), $f::hvp($($arg,)* $($dir),*).unwrap().flat()].concat()
        });
        alike(&run(Engine::Compiled), &run(Engine::Dynamic), 1e-10);
        run(Engine::Auto)
    }};
}

#[differentiable]
fn pair(x: f64, y: f64) -> [f64; 2] {
    [x.sin() * y, x * x + (x * y).exp()]
}
#[differentiable]
fn saddle(x: f64, y: f64) -> f64 {
    x * x * y + (x * y).sin()
}
/// The determinant of a Jacobian, which is what a change of variables has, and the trace of a Hessian.
#[differentiable]
fn determinant(x: f64, y: f64) -> autograd::Result<f64> {
    let (dx, dy) = pair::jacobian(x, y)?;
    Ok(dx[0] * dy[1] - dx[1] * dy[0])
}
#[differentiable]
fn laplacian(x: f64, y: f64) -> autograd::Result<f64> {
    let ((xx, xy), (yx, yy)) = saddle::hessian(2.0 * x, y)?;
    Ok(xx + yy + 0.5 * (xy + yx))
}

#[test]
fn matrices_of_scalars() {
    let (x, y) = (0.7f64, -0.4f64);
    through!(determinant(x, y) along(1.0, 2.0));
    let seen = laplacian::value(x, y).unwrap();
    let u = 2.0 * x;
    let (s, c) = (u * y).sin_cos();
    let want = 2.0 * y - y * y * s - u * u * s + (2.0 * u + c - u * y * s);
    alike(&[seen], &[want], 1e-13);
    through!(laplacian(x, y) along(-1.0, 0.5));
    assert!(determinant::explain(x, y).unwrap().engine == autograd::EngineUsed::Compiled);
}

#[differentiable]
fn turned(p: [f64; 3], s: f64) -> [f64; 2] {
    [p[0] * p[1] * s, (p[2] - p[0]).powi(3)]
}
#[differentiable]
fn bowl(p: &[f64; 3]) -> f64 {
    (p[0] * p[1]).sin() + p[1] * p[2] * p[2] * p[0]
}
#[differentiable]
fn gram(p: [f64; 3], s: f64) -> autograd::Result<f64> {
    let (j, ds) = turned::jacobian(p, s * s)?;
    let mut sum = 0.0;
    for i in 0..3 {
        sum += j[0][i] * j[1][i];
    }
    let h: [[f64; 3]; 3] = bowl::hessian(&p)?;
    for i in 0..3 {
        for k in 0..3 {
            sum += h[i][k] * h[i][k] * s;
        }
    }
    Ok(sum + ds[0] * ds[0])
}

#[test]
fn matrices_of_arrays() {
    let p = [0.3, -0.8, 1.1];
    through!(gram(p, 1.3) along([1.0, 0.5, -0.3], 0.2));
}

#[differentiable]
fn mixed(x: &[f64], s: f64) -> Vec<f64> {
    x.iter().map(|v| v * v * s + s.sin()).collect()
}
#[differentiable]
fn coupled(x: &[f64]) -> f64 {
    let mut sum = 0.0;
    for i in 1..x.len() {
        sum += x[i] * x[i] * x[i - 1];
    }
    sum
}
/// Slices: a program for each length.
#[differentiable]
fn by_slices(x: &[f64], s: f64) -> autograd::Result<f64> {
    let (dx, ds) = mixed::jacobian(x, s)?;
    let h: Array2<f64> = coupled::hessian(x)?;
    let mut sum = 0.0;
    for i in 0..x.len() {
        sum += dx[[i, i]] * ds[i];
        for k in 0..x.len() {
            sum += h[[i, k]] * h[[i, k]] + dx[[i, k]];
        }
    }
    Ok(sum)
}

#[test]
fn matrices_of_slices() {
    for x in [&[0.5, -1.2][..], &[0.3, 0.9, -0.4, 1.5]] {
        let d: Vec<f64> = x.iter().map(|v| v.cos()).collect();
        through!(by_slices(x, 0.6) along(&d, -0.5));
        let why = by_slices::explain(x, 0.6).unwrap().per_length.unwrap();
        assert!(why.contains("a matrix of derivatives takes the length of a list"), "{why}");
    }
}

#[differentiable]
fn layer(w: &Tensor<f64>, x: &Tensor<f64>) -> Tensor<f64> {
    w.matmul(x).tanh()
}
#[differentiable]
fn cubes(x: &Tensor<f64>, s: f64) -> Tensor<f64> {
    (x.powi(3) * s).sum()
}
#[differentiable]
fn by_tensors(w: &Tensor<f64>, x: &Tensor<f64>) -> autograd::Result<Tensor<f64>> {
    let (dw, dx) = layer::jacobian(w, x)?;
    let ((xx, xs), _) = cubes::hessian(x, 2.0)?;
    Ok(dw.powi(2).sum() + (dx.matmul(x)).sin().sum() + xx.powi(2).sum() + xs.sum())
}

#[test]
fn matrices_of_tensors() {
    let w = Tensor::from_vec(vec![0.3, -0.5, 0.8, 0.1, 1.2, -0.7], [2, 3]);
    let x = Tensor::from_vec(vec![0.6, -0.2, 0.9], [3]);
    each_engine(|_| {
        let report = by_tensors::check(&w, &x).unwrap();
        assert!(report.passed(), "{report}");
        let (dw, dx) = layer::jacobian(&w, &x).unwrap();
        assert_eq!((dw.shape(), dx.shape()), (&[2, 2, 3][..], &[2, 3][..]));
        let want = dw.powi(2).sum() + dx.matmul(&x).sin().sum() + (&x * 12.0).powi(2).sum() + (x.powi(2) * 3.0).sum();
        alike(&by_tensors::value(&w, &x).unwrap().flat(), &want.flat(), 1e-12);
    });
    let grads = |engine| with_engine(engine, || by_tensors::hvp(&w, &x, &w, &x).unwrap().flat());
    alike(&grads(Engine::Compiled), &grads(Engine::Dynamic), 1e-10);
}

#[derive(Differentiable, Clone, Debug)]
struct Point {
    x: f64,
    at: [f64; 2],
    #[constant]
    n: usize,
}
#[differentiable]
fn moved(p: &Point, s: f64) -> [f64; 2] {
    [p.x * p.at[0] * s, (p.at[1] * p.x).sin() * p.n as f64]
}
#[differentiable]
fn by_structs(p: &Point, s: f64) -> autograd::Result<f64> {
    let (rows, ds) = moved::jacobian(p, s)?;
    Ok(rows[0].x * rows[1].at[1] + rows[0].at[0] + ds[0] + rows[1].x)
}

#[test]
fn matrices_of_structs() {
    let p = Point { x: 0.4, at: [1.3, -0.6], n: 2 };
    each_engine(|_| {
        let report = by_structs::check(&p, 0.8).unwrap();
        assert!(report.passed(), "{report}");
    });
    let (x, [a, b], s) = (p.x, p.at, 0.8);
    let want = a * s * (b * x).cos() * x * 2.0 + x * s + x * a + (b * x).cos() * b * 2.0;
    alike(&[by_structs::value(&p, s).unwrap()], &[want], 1e-13);
}

/// Arrays of ndarray's, whole and read by index.
#[differentiable]
fn waves(x: &Array1<f64>, s: f64) -> Array1<f64> {
    x.mapv(|v| (v * s).sin()) * x
}
#[differentiable]
fn neighbours(x: &Array1<f64>) -> f64 {
    let mut sum = 0.0;
    for i in 1..x.len() {
        sum += x[i] * x[i - 1] * x[i];
    }
    sum
}
#[differentiable]
fn by_arrays(x: &Array1<f64>, s: f64) -> autograd::Result<f64> {
    let (j, ds) = waves::jacobian(x, s)?;
    let h: Array2<f64> = neighbours::hessian(x)?;
    Ok((&j * &h).sum() + ds.dot(x) + h[[0, 1]] * j[[1, 1]])
}

#[test]
fn matrices_of_ndarrays() {
    let x = ndarray::arr1(&[0.4, -0.9, 1.3]);
    through!(by_arrays(&x, 0.7) along(&ndarray::arr1(&[1.0, 0.3, -0.5]), 0.4));
}

#[differentiable]
fn valley(x: f64, y: f64, s: f64) -> f64 {
    (x - s).exp() - x + y * y * (2.0 + x.sin()) + x * y
}
/// Newton's method on a gradient, with a number of steps that is an argument.
#[differentiable]
fn lowest(s: f64, n: usize) -> autograd::Result<f64> {
    let (mut x, mut y) = (0.0, 0.0);
    for _ in 0..n {
        let (gx, gy, _) = valley::grad(x, y, s).unwrap();
        let ((a, b, _), (_, d, _), _) = valley::hessian(x, y, s).unwrap();
        let det = a * d - b * b;
        x -= (d * gx - b * gy) / det;
        y -= (a * gy - b * gx) / det;
    }
    Ok(x + y * s)
}

#[test]
fn matrices_in_loops() {
    for n in [0, 1, 6] {
        through!(lowest(0.3, n) along(1.0));
        assert!(lowest::explain(0.3, n).unwrap().per_length.is_none());
    }
}

/// Products of every kind, to every argument.
#[differentiable]
fn products(x: f64, y: f64) -> autograd::Result<f64> {
    let (v, pull) = pair::vjp(x, y)?;
    let (a, b) = pull(&[v[1], x])?;
    let (w, t) = pair::jvp(x, y, y, a)?;
    let ((gx, gy), (hx, hy)) = saddle::grad_and_hvp(x, y, t[0], w[1])?;
    let (_, pull) = saddle::vjp(a, y)?;
    let (c, d) = pull(2.0)?;
    Ok(b * t[1] + gx * hy - gy * hx + c * d)
}
#[differentiable]
fn pulled(x: &[f64], w: &[f64], s: f64) -> autograd::Result<f64> {
    let (v, pull) = mixed::vjp(x, s)?;
    let (dx, ds) = pull(&w.to_vec())?;
    let mut sum = ds * v[0];
    for (d, v) in dx.iter().zip(x) {
        sum += d * v;
    }
    Ok(sum)
}
/// A gradient that is said to be a vector is a list: one program for all lengths.
#[differentiable]
fn steepness(x: &[f64]) -> autograd::Result<f64> {
    let g: Vec<f64> = coupled::grad(x)?;
    let mut sum = 0.0;
    for i in 0..g.len() {
        sum += g[i] * g[i] * x[i];
    }
    Ok(sum)
}
#[differentiable]
fn misfits(x: &[f64], s: f64) -> autograd::Result<f64> {
    let (_, pull) = mixed::vjp(x, s)?;
    let (_, ds) = pull(&vec![s, s, s])?;
    Ok(ds)
}

#[test]
fn products_of_every_kind() {
    through!(products(0.7, -0.4) along(0.5, 1.0));
    let (x, w) = ([0.3, -0.8, 1.2], [1.0, 0.4, -0.6]);
    through!(pulled(&x, &w, 0.9) along(&[1.0, 0.0, 0.5], &w, 0.3));
    through!(steepness(&x) along(&w));
    assert!(steepness::explain(&x).unwrap().per_length.is_none());
    each_engine(|_| {
        let e = misfits::value(&x[..2], 0.5).unwrap_err().to_string();
        assert!(e.contains("mixed::vjp: expected 2 numbers as cotangent of the result, found 3"), "{e}");
    });
}

#[test]
fn kept_functions_have_every_derivative() {
    let x = [0.4, -0.9, 1.3];
    each_engine(|_| {
        let kept = saddle::compile(1.0, 1.0).unwrap();
        assert_eq!(kept.hessian(0.3, 0.5).unwrap(), saddle::hessian(0.3, 0.5).unwrap());
        assert_eq!(kept.hvp(0.3, 0.5, 1.0, 2.0).unwrap(), saddle::hvp(0.3, 0.5, 1.0, 2.0).unwrap());
        assert_eq!(kept.jvp(0.3, 0.5, 1.0, 2.0).unwrap(), saddle::jvp(0.3, 0.5, 1.0, 2.0).unwrap());
        assert_eq!(kept.grad_and_hvp(0.3, 0.5, 1.0, 2.0).unwrap(), saddle::grad_and_hvp(0.3, 0.5, 1.0, 2.0).unwrap());
        let (v, pull) = kept.vjp(0.3, 0.5).unwrap();
        assert_eq!((v, pull(1.0).unwrap()), saddle::value_and_grad(0.3, 0.5).unwrap());
        let kept = pair::compile(1.0, 1.0).unwrap();
        assert_eq!(kept.jacobian(0.3, 0.5).unwrap(), pair::jacobian(0.3, 0.5).unwrap());
        // of other lengths too
        let kept = mixed::compile(&x[..2], 1.0).unwrap();
        let (j, wanted) = (kept.jacobian(&x, 0.5).unwrap(), mixed::jacobian(&x, 0.5).unwrap());
        assert_eq!(j, wanted);
        let (v, pull) = kept.vjp(&x, 0.5).unwrap();
        assert_eq!(v, mixed(&x, 0.5));
        assert_eq!(pull(&x.to_vec()).unwrap(), mixed::vjp(&x, 0.5).unwrap().1(&x.to_vec()).unwrap());
        let kept = coupled::compile(&x[..2]).unwrap();
        assert_eq!(kept.hessian(&x).unwrap(), coupled::hessian(&x).unwrap());
    });
    let (w, x) = (Tensor::<f64>::ones([2, 3]), Tensor::<f64>::ones([3]));
    let kept = layer::compile(&w, &x).unwrap();
    assert_eq!(kept.jacobian(&w, &x).unwrap().flat(), layer::jacobian(&w, &x).unwrap().flat());
    let other = Tensor::<f64>::ones([4, 3]);
    let errors = [
        kept.jacobian(&other, &x).map(drop),
        kept.vjp(&other, &x).map(drop),
        kept.jvp(&other, &x, &other, &x).map(drop),
    ];
    for e in errors.map(|r| r.unwrap_err().to_string()) {
        assert!(e.starts_with("layer::compile: expected arguments of the dtypes, shapes"), "{e}");
    }
}
