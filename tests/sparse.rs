//! Sparse Jacobians and Hessians against the dense ones: their values, their patterns, and how many products they take.

mod common;

use autograd::{
    Tensor,
    ndarray::{Array1, Array2, array},
    prelude::*,
    sprs::CsMat,
};
use common::Flat;
use std::{cell::Cell, sync::Once};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Parts beside one another in the columns of a matrix with `m` rows.
fn beside(m: usize, parts: &[Vec<f64>]) -> Vec<f64> {
    let width = |p: &Vec<f64>| p.len().checked_div(m).unwrap_or(0);
    (0..m).flat_map(|r| parts.iter().flat_map(move |p| p[r * width(p)..(r + 1) * width(p)].to_vec())).collect()
}

#[track_caller]
fn same(sparse: &CsMat<f64>, dense: &[f64]) {
    assert!(sparse.is_csr());
    let got: Vec<f64> = sparse.to_dense().iter().copied().collect();
    assert_eq!(got.len(), dense.len(), "{} x {}", sparse.rows(), sparse.cols());
    for (i, (g, w)) in got.iter().zip(dense).enumerate() {
        let near = (g - w).abs() <= 1e-9 * w.abs().max(1.0) || (g.is_nan() && w.is_nan());
        assert!(near, "element {i}: {g} {w}\n{sparse:?}\n{dense:?}");
    }
}

/// Runs a test on both engines.
fn both(test: impl Fn() -> autograd::Result<()>) {
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, &test).unwrap_or_else(|e| panic!("{engine:?}: {e}"));
    }
}

thread_local! {
    /// What the last event of the library on this thread said of a sparse matrix.
    static LAST: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Listens to the library's events.
struct Listener;
impl Visit for Listener {
    fn record_u64(&mut self, field: &Field, value: u64) {
        let (products, elements) = LAST.get();
        match field.name() {
            "products" => LAST.set((value, elements)),
            "elements" => LAST.set((products, value)),
            _ => {}
        }
    }
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Listener);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// How many products a sparse matrix took, and how many elements it has, as the library's events tell.
fn observed<R>(f: impl FnOnce() -> R) -> (R, u64, u64) {
    static LISTENS: Once = Once::new();
    LISTENS.call_once(|| tracing::subscriber::set_global_default(Listener).unwrap());
    let result = f();
    let (products, elements) = LAST.replace((0, 0));
    (result, products, elements)
}

fn points(n: usize) -> Vec<f64> {
    (0..n).map(|i| ((i * 37 + 11) % 101) as f64 / 70.0 - 0.6).collect()
}

#[differentiable]
fn rosenbrock(x: &[f64]) -> f64 {
    let mut s = 0.0;
    for i in 0..x.len() - 1 {
        s += (x[i + 1] - x[i] * x[i]).powi(2);
    }
    s
}

#[differentiable]
fn residuals(x: &[f64]) -> Vec<f64> {
    let n = x.len();
    let mut r = vec![0.0; n];
    for i in 0..n {
        let left = if i == 0 { 0.0 } else { x[i - 1] };
        let right = if i + 1 == n { 1.0 } else { x[i + 1] };
        r[i] = left - 2.0 * x[i] + right + 0.01 * x[i].exp();
    }
    r
}

#[test]
fn a_loop_over_a_slice_has_a_band() {
    both(|| {
        for n in [2, 3, 7, 20] {
            let x = points(n);
            same(&rosenbrock::hessian_sparse(&x)?, &rosenbrock::hessian(&x)?.flat());
            same(&rosenbrock::jacobian_sparse(&x)?, &rosenbrock::grad(&x)?);
            same(&residuals::jacobian_sparse(&x)?, &residuals::jacobian(&x)?.flat());
        }
        Ok(())
    });
}

#[test]
fn a_band_takes_as_many_products_as_it_is_wide() {
    let x = points(60);
    let (h, products, elements) = observed(|| rosenbrock::hessian_sparse(&x).unwrap());
    same(&h, &rosenbrock::hessian(&x).unwrap().flat());
    assert_eq!((products, elements), (3, 60 * 3 - 2));
    let (j, products, elements) = observed(|| residuals::jacobian_sparse(&x).unwrap());
    assert_eq!((j.rows(), j.cols(), products, elements), (60, 60, 3, 60 * 3 - 2));
    // a row alone, by the product with the transpose
    let (j, products, _) = observed(|| rosenbrock::jacobian_sparse(&x).unwrap());
    assert_eq!((j.rows(), j.nnz(), products), (1, 60, 1));
}

#[test]
fn long_slices_take_a_moment() {
    let n = 100_000;
    let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.37).sin()).collect();
    for call in ["first", "second"] {
        let clock = std::time::Instant::now();
        let (h, products, elements) = observed(|| rosenbrock::hessian_sparse(&x).unwrap());
        println!("tridiagonal Hessian, {call} call: {:?}, {products} products", clock.elapsed());
        assert_eq!((products, elements), (3, 3 * n as u64 - 2));
        for i in [0, 1, 777, n - 2, n - 1] {
            let mut want = if i + 1 < n { 12.0 * x[i] * x[i] - 4.0 * x[i + 1] } else { 0.0 };
            want += if i > 0 { 2.0 } else { 0.0 };
            assert!((h.get(i, i).unwrap() - want).abs() < 1e-9);
            if i + 1 < n {
                assert!((h.get(i, i + 1).unwrap() + 4.0 * x[i]).abs() < 1e-9);
                assert_eq!(h.get(i, i + 1), h.get(i + 1, i));
            }
        }
        let clock = std::time::Instant::now();
        let (j, products, _) = observed(|| residuals::jacobian_sparse(&x).unwrap());
        println!("tridiagonal Jacobian, {call} call: {:?}, {products} products", clock.elapsed());
        assert_eq!((j.nnz(), products), (3 * n - 2, 3));
    }
}

#[differentiable]
fn shared(p: f64, q: f64, x: &[f64]) -> f64 {
    let mut s = 0.0;
    for v in x {
        s += (p * v - q).sin() + v * v * v;
    }
    s
}

#[test]
fn an_arrow_takes_a_product_for_each_parameter_that_all_share() {
    let (h, products, _) = observed(|| shared::hessian_sparse(0.3, 0.7, &points(40)).unwrap());
    assert_eq!((h.rows(), products), (42, 3));
    both(|| {
        let x = points(9);
        let ((pp, pq, px), (qp, qq, qx), (xp, xq, xx)) = shared::hessian(0.3, 0.7, &x)?;
        let rows = [
            beside(1, &[pp.flat(), pq.flat(), px.flat()]),
            beside(1, &[qp.flat(), qq.flat(), qx.flat()]),
            beside(9, &[xp.flat(), xq.flat(), xx.flat()]),
        ];
        same(&shared::hessian_sparse(0.3, 0.7, &x)?, &rows.concat());
        Ok(())
    });
}

/// Cameras and points in the plane, of which each observation sees two.
#[differentiable]
fn reprojections(cameras: &[f64], points: &[f64], of: &[usize]) -> Vec<f64> {
    let mut r = vec![0.0; of.len()];
    for k in 0..of.len() {
        let (c, p) = (of[k] % 3, of[k] / 3);
        r[k] = cameras[2 * c] * points[p].sin() - cameras[2 * c + 1];
    }
    r
}

#[test]
fn integers_decide_where_elements_are() {
    let (cameras, at) = (points(6), points(5));
    for of in [vec![0, 4, 8, 14], vec![14, 1, 0, 2], vec![3]] {
        with_engine(Engine::Auto, || {
            let j = reprojections::jacobian_sparse(&cameras, &at, &of).unwrap();
            let (jc, jp) = reprojections::jacobian(&cameras, &at, &of).unwrap();
            same(&j, &beside(of.len(), &[jc.flat(), jp.flat()]));
            assert_eq!(j.nnz(), 3 * of.len());
        });
    }
}

#[differentiable]
fn permuted(x: &[f64], step: usize) -> Vec<f64> {
    let n = x.len();
    let mut y = vec![0.0; n];
    for i in 0..n {
        y[(i * step) % n] = x[i] * x[(i + step) % n];
    }
    y
}

#[test]
fn an_integer_is_part_of_what_a_pattern_is_kept_for() {
    both(|| {
        let x = points(7);
        for step in [1, 2, 3, 1, 5] {
            same(&permuted::jacobian_sparse(&x, step)?, &permuted::jacobian(&x, step)?.flat());
        }
        Ok(())
    });
}

#[differentiable]
fn shuffled(x: &[f64], k: usize) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    for i in 0..x.len() {
        y[i] = if i < k { x[0] * x[i] } else { x[i] };
    }
    y
}

#[test]
fn plans_outlive_neither_their_bounds_nor_a_cleared_cache() {
    let x = points(5);
    for round in 0..3 {
        for k in 0..5 {
            let j = shuffled::jacobian_sparse(&x, k).unwrap();
            same(&j, &shuffled::jacobian(&x, k).unwrap().flat());
        }
        if round == 1 {
            autograd::clear_cache();
        }
    }
    for k in 0..200 {
        let n = k % 90 + 1;
        let j = shuffled::jacobian_sparse(&points(n), k).unwrap();
        assert_eq!(j.nnz(), n + k.min(n).saturating_sub(1));
    }
}

#[test]
fn threads_share_plans() {
    std::thread::scope(|s| {
        for t in 0..4 {
            s.spawn(move || {
                for n in 2..30 {
                    let x = points(n + t % 2);
                    let h = rosenbrock::hessian_sparse(&x).unwrap();
                    assert_eq!(h.nnz(), 3 * x.len() - 2);
                }
            });
        }
    });
}

#[differentiable]
fn branching(x: &[f64]) -> Vec<f64> {
    let n = x.len();
    let mut y = vec![0.0; n];
    for i in 0..n {
        if x[i] > 0.0 {
            y[i] = x[i] * x[n - 1 - i];
        } else {
            y[i] = x[0].cos() - x[i];
        }
    }
    y
}

#[differentiable]
fn choosing(x: &[f64]) -> f64 {
    let mut s = 0.0;
    for i in 1..x.len() {
        s += if x[i] > x[i - 1] { x[i] * x[i - 1] } else { x[i].powi(3) };
    }
    s
}

#[differentiable]
fn walking(x: &[f64]) -> Vec<f64> {
    let mut y = Vec::new();
    let mut s = x[0];
    let mut k = 0;
    while s < 2.0 && k < 50 {
        s += 0.3 + 0.1 * x[k % x.len()];
        k += 1;
    }
    for (i, v) in x.iter().enumerate() {
        y.push(if i < k { s * v } else { *v });
    }
    y
}

#[test]
fn values_decide_which_way_a_branch_goes() {
    both(|| {
        for n in [3, 6, 9] {
            for turn in 0..4 {
                let x: Vec<f64> = points(n).into_iter().map(|v| (v + turn as f64).sin()).collect();
                same(&branching::jacobian_sparse(&x)?, &branching::jacobian(&x)?.flat());
                same(&choosing::hessian_sparse(&x)?, &choosing::hessian(&x)?.flat());
                same(&walking::jacobian_sparse(&x)?, &walking::jacobian(&x)?.flat());
            }
        }
        Ok(())
    });
}

#[test]
fn only_what_is_taken_is_in_the_pattern() {
    let j = branching::jacobian_sparse(&[1.0, -1.0, 2.0]).unwrap();
    assert_eq!(j.nnz(), 2 + 2 + 2);
    let j = branching::jacobian_sparse(&[-1.0, -1.0, -2.0]).unwrap();
    assert_eq!(j.nnz(), 1 + 2 + 2);
}

#[differentiable]
fn recurrence(x: &[f64], a: f64) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    let mut s = 0.0;
    for i in 0..x.len() {
        s = a * s + x[i];
        y[i] = s.sin();
    }
    y
}

#[differentiable]
fn heat(u: &[f64], steps: usize) -> Vec<f64> {
    let n = u.len();
    let mut now = vec![0.0; n];
    for i in 0..n {
        now[i] = 1.0 * u[i];
    }
    for _ in 0..steps {
        let mut next = vec![0.0; n];
        for i in 1..n - 1 {
            next[i] = now[i] + 0.1 * (now[i - 1] - 2.0 * now[i] + now[i + 1]) - 0.01 * now[i].powi(3);
        }
        now = next;
    }
    now
}

#[test]
fn loops_carry_what_they_depend_on() {
    both(|| {
        let x = points(8);
        let (jx, ja) = recurrence::jacobian(&x, 0.9)?;
        same(&recurrence::jacobian_sparse(&x, 0.9)?, &beside(8, &[jx.flat(), ja]));
        for steps in [0, 1, 3] {
            same(&heat::jacobian_sparse(&x, steps)?, &heat::jacobian(&x, steps)?.flat());
        }
        Ok(())
    });
    let (j, products, _) = observed(|| heat::jacobian_sparse(&points(200), 4).unwrap());
    assert_eq!((j.rows(), products), (200, 9));
}

#[differentiable]
fn layer(w: &Tensor<f64>, x: &Tensor<f64>) -> Tensor<f64> {
    w.matmul(x).tanh()
}

#[differentiable]
fn energy(x: &Tensor<f64>) -> Tensor<f64> {
    let d = x.narrow(0, 1, 5) - x.narrow(0, 0, 5);
    (&d * &d * &d).sum() + x.flip(&[0]).sin().sum() * 0.5
}

#[differentiable]
fn rows_alone(x: &Tensor<f64>) -> Tensor<f64> {
    x.softmax(1)
}

#[differentiable]
fn picked(x: &Tensor<f64>) -> Tensor<f64> {
    let idx = Tensor::<i64>::from_vec(vec![3, 0, 0, 2], [4]);
    let y = x.index_select(0, &idx);
    Tensor::cat(&[&y.square(), &x.transpose(0, 1).reshape(&[4, 2])], 0)
}

#[differentiable]
fn convolved(x: &Tensor<f64>, w: &Tensor<f64>) -> Tensor<f64> {
    x.conv1d(w, None, &autograd::ConvOptions::default())
}

#[differentiable]
fn reduced(x: &Tensor<f64>) -> Tensor<f64> {
    x.sum_dim(&[0], false) * x.max().relu() + x.cumsum(0).mean_dim(&[0], false)
}

#[differentiable]
fn summed(x: &Tensor<f64>) -> Tensor<f64> {
    x.cumsum(0)
}

#[differentiable]
fn attention(q: &Tensor<f64>) -> Tensor<f64> {
    let s = q.matmul(&q.transpose(0, 1)).softmax(1);
    s.matmul(q).square().sum()
}

#[test]
fn tensors_have_rows_and_columns_in_their_order() {
    both(|| {
        let w = Tensor::from_vec(points(6), [2, 3]);
        let x = Tensor::from_vec(points(12), [3, 4]);
        let (jw, jx) = layer::jacobian(&w, &x)?;
        let j = layer::jacobian_sparse(&w, &x)?;
        same(&j, &beside(8, &[jw.flat(), jx.flat()]));
        assert_eq!(j.nnz(), 8 * 6);
        let v = Tensor::from_vec(points(6), [6]);
        same(&energy::hessian_sparse(&v)?, &energy::hessian(&v)?.flat());
        let m = Tensor::from_vec(points(8), [4, 2]);
        same(&rows_alone::jacobian_sparse(&m)?, &rows_alone::jacobian(&m)?.flat());
        same(&picked::jacobian_sparse(&m)?, &picked::jacobian(&m)?.flat());
        same(&reduced::jacobian_sparse(&m)?, &reduced::jacobian(&m)?.flat());
        same(&attention::hessian_sparse(&m)?, &attention::hessian(&m)?.flat());
        let (c, k) = (Tensor::from_vec(points(10), [1, 2, 5]), Tensor::from_vec(points(12), [3, 2, 2]));
        let (jc, jk) = convolved::jacobian(&c, &k)?;
        same(&convolved::jacobian_sparse(&c, &k)?, &beside(12, &[jc.flat(), jk.flat()]));
        Ok(())
    });
    let (c, k) = (Tensor::from_vec(points(60), [1, 1, 60]), Tensor::from_vec(points(3), [1, 1, 3]));
    assert_eq!(convolved::jacobian_sparse(&c, &k).unwrap().nnz(), 58 * 6);
    let s = Tensor::from_vec(points(9), [9]);
    assert_eq!(summed::jacobian_sparse(&s).unwrap().nnz(), 45);
    let m = Tensor::from_vec(points(40), [20, 2]);
    assert_eq!(observed(|| rows_alone::jacobian_sparse(&m).unwrap()).1, 2);
    let v = Tensor::from_vec(points(6), [6]);
    assert_eq!(energy::hessian_sparse(&v).unwrap().nnz(), 6 + 2 * 5);
}

#[differentiable]
fn of_arrays(a: &Array2<f64>, b: &Array1<f64>) -> Array1<f64> {
    a.dot(b) + b.mapv(|v| v * v)
}

#[differentiable]
fn grid(u: &Array2<f64>) -> f64 {
    let (m, n) = u.dim();
    let mut s = 0.0;
    for i in 0..m - 1 {
        for j in 0..n - 1 {
            let (a, b) = (u[[i + 1, j]] - u[[i, j]], u[[i, j + 1]] - u[[i, j]]);
            s += (1.0 + a * a + b * b).sqrt();
        }
    }
    s
}

#[test]
fn arrays_of_ndarray_are_read_row_by_row() {
    both(|| {
        let (a, b) = (array![[1.0, 2.0, 0.5], [0.0, -1.0, 3.0], [0.3, 0.2, 0.1]], array![0.5, -0.25, 2.0]);
        let (ja, jb) = of_arrays::jacobian(&a, &b)?;
        let (ja, jb) = (ja.iter().copied().collect::<Vec<_>>(), jb.iter().copied().collect::<Vec<_>>());
        same(&of_arrays::jacobian_sparse(&a, &b)?, &beside(3, &[ja, jb]));
        let u = Array2::from_shape_vec((4, 5), points(20)).unwrap();
        let dense: Vec<f64> = grid::hessian(&u)?.iter().copied().collect();
        same(&grid::hessian_sparse(&u)?, &dense);
        Ok(())
    });
    let u = Array2::from_shape_vec((30, 40), points(1200)).unwrap();
    let (h, products, _) = observed(|| grid::hessian_sparse(&u).unwrap());
    assert_eq!(h.rows(), 1200);
    assert!(products <= 10, "{products}");
}

#[derive(Differentiable, Clone)]
struct Model {
    scale: f64,
    shift: [f64; 2],
    #[constant]
    power: i32,
}

#[differentiable]
impl Model {
    fn at(&self, x: f64, y: f64) -> [f64; 3] {
        [self.scale * x, self.shift[0] + y.powi(self.power), self.shift[1] * self.shift[1]]
    }
    fn loss(&self, x: &[f64]) -> f64 {
        let mut s = self.shift[0] * self.shift[0];
        for v in x {
            s += (self.scale * v).exp();
        }
        s
    }
}

#[differentiable]
fn several(x: f64, y: [f64; 2]) -> (f64, [f64; 2], Vec<f64>) {
    (x * x, [y[0], x * y[1]], vec![y[1].sin(), 1.0])
}

#[differentiable(wrt(y))]
fn in_one(x: f64, y: f64, n: usize) -> f64 {
    x * y.powi(3) + n as f64
}

#[test]
fn structs_arrays_and_several_results() {
    let model = Model { scale: 1.5, shift: [0.25, -2.0], power: 3 };
    both(|| {
        let j = Model::at_jacobian_sparse(&model, 0.5, 2.0)?;
        // scale, shift, x, y
        same(&j, &[0.5, 0.0, 0.0, 1.5, 0.0, 0.0, 1.0, 0.0, 0.0, 12.0, 0.0, 0.0, -4.0, 0.0, 0.0]);
        assert_eq!(j.nnz(), 5);
        let h = Model::loss_hessian_sparse(&model, &[0.1, 0.2])?;
        let e = |v: f64| (1.5 * v).exp();
        let (c, d) = (|v: f64| e(v) * (1.0 + 1.5 * v), |v: f64| 2.25 * e(v));
        let ss = 0.01 * e(0.1) + 0.04 * e(0.2);
        #[rustfmt::skip]
        same(&h, &[
            ss, 0.0, 0.0, c(0.1), c(0.2),
            0.0, 2.0, 0.0, 0.0, 0.0,
            0.0, 0.0, 0.0, 0.0, 0.0,
            c(0.1), 0.0, 0.0, d(0.1), 0.0,
            c(0.2), 0.0, 0.0, 0.0, d(0.2),
        ]);
        let c = 2.0_f64.cos();
        #[rustfmt::skip]
        same(&several::jacobian_sparse(3.0, [5.0, 2.0])?, &[
            6.0, 0.0, 0.0,
            0.0, 1.0, 0.0,
            2.0, 0.0, 3.0,
            0.0, 0.0, c,
            0.0, 0.0, 0.0,
        ]);
        same(&in_one::hessian_sparse(2.0, 3.0, 4)?, &[36.0]);
        same(&in_one::jacobian_sparse(2.0, 3.0, 4)?, &[54.0]);
        Ok(())
    });
}

#[differentiable]
fn single(x: &[f32]) -> Vec<f32> {
    x.iter().map(|v| v * v + 1.0).collect()
}

#[differentiable]
fn stopped(x: &[f64]) -> Vec<f64> {
    x.iter().map(|v| detach(*v) * v + v.floor()).collect()
}

#[differentiable]
fn roots(x: &[f64]) -> Vec<f64> {
    x.iter().map(|v| v.sqrt()).collect()
}

#[test]
fn single_precision_detached_parts_and_poles() {
    both(|| {
        same(&single::jacobian_sparse(&[1.0, 2.0, 0.5])?, &single::jacobian(&[1.0, 2.0, 0.5])?.flat());
        let x = points(5);
        same(&stopped::jacobian_sparse(&x)?, &stopped::jacobian(&x)?.flat());
        let j = roots::jacobian_sparse(&[4.0, -1.0, 0.0])?;
        assert_eq!(j.get(0, 0), Some(&0.25));
        assert!(j.get(1, 1).unwrap().is_nan() && *j.get(2, 2).unwrap() == f64::INFINITY);
        assert_eq!(j.get(0, 1).copied().unwrap_or(0.0), 0.0);
        Ok(())
    });
}

#[differentiable]
fn nothing(x: &[f64]) -> Vec<f64> {
    x.iter().map(|_| 1.0).collect()
}

#[test]
fn empty_matrices_and_errors() {
    both(|| {
        let j = residuals::jacobian_sparse(&[])?;
        assert_eq!((j.rows(), j.cols(), j.nnz()), (0, 0, 0));
        let j = nothing::jacobian_sparse(&[1.0, 2.0])?;
        assert_eq!((j.rows(), j.cols(), j.nnz()), (2, 2, 0));
        let e = residuals::hessian_sparse(&[1.0, 2.0]).unwrap_err().to_string();
        assert!(e.contains("expected one float"), "{e}");
        Ok(())
    });
    let e = dense::hessian_sparse(&points(20_000)).unwrap_err().to_string();
    assert!(e.contains("expected at most"), "{e}");
}

#[differentiable]
fn dense(x: &[f64]) -> f64 {
    let mut s = 0.0;
    for v in x {
        s += v;
    }
    s.exp()
}

#[differentiable]
fn inner(x: f64, y: f64) -> f64 {
    x * x * y
}

#[differentiable]
fn slopes(x: &[f64]) -> Vec<f64> {
    let mut r = vec![0.0; x.len()];
    for i in 0..x.len() {
        let (a, b) = inner::grad(x[i], x[(i + 1) % x.len()]).unwrap_or((0.0, 0.0));
        r[i] = a + b;
    }
    r
}

#[test]
fn derivatives_inside_of_functions() {
    let x = points(6);
    let j = slopes::jacobian_sparse(&x).unwrap();
    same(&j, &slopes::jacobian(&x).unwrap().flat());
}
