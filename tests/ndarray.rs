//! ndarray's arrays as parameters, results and values of annotated functions: ndarray's own vocabulary.

use autograd::ndarray::{self, Array, Array1, Array2, Array3, ArrayD, ArrayView1, ArrayView2, Axis, Ix2, array, s};
use autograd::prelude::*;

fn close(a: &ArrayD<f64>, b: &ArrayD<f64>) {
    assert_eq!(a.shape(), b.shape());
    a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() <= 1e-9 * (1.0 + b.abs()), "{a} and {b}"));
}

#[differentiable]
fn ridge(x: &Array2<f64>, w: &Array1<f64>, y: &Array1<f64>) -> f64 {
    let r = x.dot(w) - y;
    (&r * &r).sum() + 0.1 * w.mapv(|v| v * v).sum()
}

#[test]
fn a_least_squares_problem() {
    let x = array![[1.0, 2.0], [3.0, -4.0], [0.5, 0.25]];
    let (w, y) = (array![0.3, -0.7], array![1.0, 2.0, 3.0]);
    let (value, (dx, dw, dy)) = ridge::value_and_grad(&x, &w, &y).unwrap();
    assert!((value - ridge(&x, &w, &y)).abs() < 1e-12);
    let r = x.dot(&w) - &y;
    close(&dw.into_dyn(), &(2.0 * x.t().dot(&r) + 0.2 * &w).into_dyn());
    close(&dy.into_dyn(), &(-2.0 * &r).into_dyn());
    let outer = Array2::from_shape_fn((3, 2), |(i, j)| 2.0 * r[i] * w[j]);
    close(&dx.into_dyn(), &outer.into_dyn());
    let dynamic = with_engine(Engine::Dynamic, || ridge::grad(&x, &w, &y)).unwrap();
    close(&dynamic.0.into_dyn(), &Array2::from_shape_fn((3, 2), |(i, j)| 2.0 * r[i] * w[j]).into_dyn());
    ridge::check(&x, &w, &y).unwrap();
}

#[differentiable]
fn relu_sum(x: &Array2<f64>, alpha: f64) -> f64 {
    x.mapv(|v| if v > 0.0 { v.ln() } else { alpha * v }).sum()
}

#[test]
fn choices_are_made_element_by_element() {
    let x = array![[1.0, -2.0, 0.5], [3.0, -1.0, -4.0]];
    for engine in [Engine::Compiled, Engine::Dynamic] {
        let (dx, da) = with_engine(engine, || relu_sum::grad(&x, 0.1)).unwrap();
        close(&dx.into_dyn(), &x.mapv(|v| if v > 0.0 { 1.0 / v } else { 0.1 }).into_dyn());
        assert!((da + 7.0).abs() < 1e-12, "{da}");
        let h = with_engine(engine, || relu_sum::hvp(&x, 0.1, &Array2::ones((2, 3)), 0.0)).unwrap();
        close(&h.0.into_dyn(), &x.mapv(|v| if v > 0.0 { -1.0 / (v * v) } else { 0.0 }).into_dyn());
    }
}

#[differentiable]
fn log_softmax(x: ArrayView2<f64>) -> Array2<f64> {
    let e = x.exp();
    let total = e.sum_axis(Axis(1)).ln().insert_axis(Axis(1));
    &x - &total
}

#[test]
fn arrays_are_results_and_views_parameters() {
    let x = array![[0.1, 0.2, 0.3], [1.0, -1.0, 0.0]];
    let (value, pull) = log_softmax::vjp(x.view()).unwrap();
    close(&value.clone().into_dyn(), &log_softmax(x.view()).into_dyn());
    let ct = array![[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]];
    let dx = pull(&ct).unwrap();
    let p = value.exp();
    let expected = &ct - &(&p * &ct.sum_axis(Axis(1)).insert_axis(Axis(1)));
    close(&dx.into_dyn(), &expected.into_dyn());
    let j = log_softmax::jacobian(x.view()).unwrap();
    assert_eq!(j.shape(), [2, 3, 2, 3]);
    // a view that is not contiguous
    let y = array![[0.1, 1.0], [0.2, -1.0], [0.3, 0.0]];
    let (again, _) = log_softmax::vjp(y.t()).unwrap();
    close(&again.into_dyn(), &value.into_dyn());
}

#[differentiable]
fn trace_of_square(a: &Array2<f64>) -> f64 {
    let mut total = 0.0;
    for i in 0..a.nrows() {
        for j in 0..a.ncols() {
            total += a[[i, j]] * a[[j, i]];
        }
    }
    total
}

#[differentiable]
fn written(x: &Array1<f64>) -> f64 {
    let mut y = Array1::zeros(x.len());
    for i in 0..x.len() {
        y[i] = x[i] * x[(i + 1) % x.len()];
    }
    y[0] += 1.0;
    y *= 2.0;
    y.sum() * y[1]
}

#[test]
fn elements_are_read_and_written_by_index() {
    let a = Array2::from_shape_fn((3, 3), |(i, j)| (i as f64 + 0.5) * (j as f64 - 0.7));
    let g = trace_of_square::grad(&a).unwrap();
    close(&g.into_dyn(), &(2.0 * &a.t()).into_dyn());
    let x = array![0.5, -1.0, 2.0, 0.25];
    assert!((written::value(&x).unwrap() - written(&x)).abs() < 1e-12);
    written::check(&x).unwrap();
    let h = written::hessian(&x).unwrap();
    assert_eq!(h.shape(), [4, 4]);
}

#[differentiable]
fn parts(x: &Array3<f64>, k: usize) -> Array1<f64> {
    let page = x.index_axis(Axis(0), k);
    let left = page.slice(s![.., ..2]);
    let last = page.slice(s![-1, ..;-1]);
    let rows: Array1<f64> = left.outer_iter().map(|row| row.dot(&row)).collect();
    let m = page.mean_axis(Axis(1)).unwrap();
    rows * m + last.sum() * array![1.0, 2.0]
}

#[test]
fn parts_and_axes() {
    let x = Array::from_shape_fn((2, 2, 3), |(i, j, k)| (i * 6 + j * 3 + k) as f64 * 0.3 - 1.0);
    for k in 0..2 {
        close(&parts::value(&x, k).unwrap().into_dyn(), &parts(&x, k).into_dyn());
        let j = parts::jacobian(&x, k).unwrap();
        assert_eq!(j.shape(), [2, 2, 2, 3]);
        for (at, _) in x.indexed_iter() {
            let moved = |h: f64| {
                let mut x = x.clone();
                x[at] += h;
                parts(&x, k)
            };
            let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            let column = j.slice(s![.., at.0, at.1, at.2]);
            column.iter().zip(&difference).for_each(|(a, b)| assert!((a - b).abs() < 1e-7, "{at:?}: {a} and {b}"));
        }
    }
}

#[derive(Differentiable, Clone, Debug)]
struct Model {
    w: Array2<f32>,
    b: Array1<f32>,
    #[constant]
    name: String,
}

#[differentiable]
fn forward(m: &Model, x: &Array2<f32>) -> Array2<f32> {
    (x.dot(&m.w) + &m.b).mapv(|v| v.tanh())
}

#[differentiable(wrt(m))]
fn loss(m: &Model, x: &Array2<f32>, y: ArrayView2<'_, f32>) -> f32 {
    let d = forward(m, x) - y;
    d.powi(2).mean().unwrap()
}

#[test]
fn structs_of_arrays() {
    let m = Model { w: array![[0.5, -0.5], [1.0, 0.25]], b: array![0.1, -0.1], name: "layer".into() };
    let (x, y) = (array![[1.0f32, 2.0], [3.0, -1.0], [0.5, 0.5]], array![[0.0f32, 1.0], [1.0, 0.0], [0.5, 0.5]]);
    let (value, g) = loss::value_and_grad(&m, &x, y.view()).unwrap();
    assert!((value - loss(&m, &x, y.view())).abs() < 1e-6);
    assert_eq!((g.w.shape(), g.b.shape(), g.name.as_str()), (&[2usize, 2][..], &[2usize][..], "layer"));
    let dynamic = with_engine(Engine::Dynamic, || loss::grad(&m, &x, y.view())).unwrap();
    g.w.iter().zip(&dynamic.w).for_each(|(a, b)| assert!((a - b).abs() < 1e-6));
    assert!(g.b.iter().any(|x| *x != 0.0));
}

#[test]
fn gradients_are_written_into_buffers() {
    let x = array![[1.0, 2.0], [3.0, -4.0], [0.5, 0.25]];
    let (w, y) = (array![0.3, -0.7], array![1.0, 2.0, 3.0]);
    let (mut dx, mut dw, mut dy) = (Array2::zeros((3, 2)), Array1::zeros(2), Array1::zeros(3));
    let value = ridge::value_and_grad_into(&x, &w, &y, &mut dx, &mut dw, &mut dy).unwrap();
    let (expected, g) = ridge::value_and_grad(&x, &w, &y).unwrap();
    assert_eq!(value, expected);
    assert_eq!((dx, dw, dy), g);
    let e = ridge::grad_into(&x, &w, &y, &mut Array2::zeros((2, 2)), &mut Array1::zeros(2), &mut Array1::zeros(3));
    assert!(e.is_err());
}

#[differentiable]
fn pairwise(x: &Array1<f64>) -> f64 {
    x.mapv(|a| x.mapv(|b| (a - b) * (a - b)).sum()).sum()
}
#[differentiable]
fn counted(x: &Array1<f64>) -> f64 {
    x.mapv(|v| {
        let mut y = v;
        while y.abs() > 1.0 {
            y /= 2.0;
        }
        y * y
    })
    .sum()
}

#[test]
fn functions_of_single_elements() {
    let x = array![0.5, -1.0, 7.0];
    for engine in [Engine::Auto, Engine::Dynamic] {
        let g = with_engine(engine, || pairwise::grad(&x)).unwrap();
        let expected = x.mapv(|a| x.iter().map(|b| 4.0 * (a - b)).sum::<f64>());
        close(&g.into_dyn(), &expected.into_dyn());
        let g = with_engine(engine, || counted::grad(&x)).unwrap();
        close(&g.into_dyn(), &array![1.0, -2.0, 2.0 * 7.0 / 64.0].into_dyn());
    }
}

#[differentiable]
fn any_rank(x: &ArrayD<f64>, y: &Array<f64, Ix2>) -> f64 {
    x.sin().sum() + y.std(1.0) + y.var_axis(Axis(0), 0.0).sum()
}

#[test]
fn any_number_of_axes() {
    let x = ArrayD::from_shape_fn(vec![2, 1, 2], |i| (i[0] + 2 * i[2]) as f64);
    let y = array![[1.0, 2.0], [4.0, -1.0]];
    assert!((any_rank::value(&x, &y).unwrap() - any_rank(&x, &y)).abs() < 1e-12);
    any_rank::check(&x, &y).unwrap();
    assert_eq!(any_rank::grad(&x, &y).unwrap().0.shape(), [2, 1, 2]);
}

#[differentiable]
fn norm(x: ArrayView1<f64>) -> f64 {
    x.dot(&x).sqrt()
}
#[differentiable]
fn beyond(x: &Array1<f64>, i: usize) -> f64 {
    x[i] * 2.0
}
#[differentiable]
fn mismatched(x: &Array1<f64>, y: &Array1<f64>) -> f64 {
    x.dot(y)
}

#[test]
fn wrong_arguments_are_errors() {
    let x = array![3.0, 4.0];
    let (value, g) = norm::value_and_grad(x.view()).unwrap();
    assert_eq!(value, 5.0);
    close(&g.into_dyn(), &array![0.6, 0.8].into_dyn());
    for engine in [Engine::Auto, Engine::Dynamic] {
        with_engine(engine, || {
            let e = beyond::grad(&x, 2).unwrap_err().to_string();
            assert!(e.contains("index") && e.contains('2'), "{e}");
            let e = mismatched::grad(&x, &array![1.0, 2.0, 3.0]).unwrap_err().to_string();
            assert!(e.contains("[2]") && e.contains("[3]"), "{e}");
        });
    }
    let empty = Array1::<f64>::zeros(0);
    assert_eq!(mismatched::value(&empty, &empty).unwrap(), 0.0);
    let _ = ndarray::arr0(1.0);
}

#[differentiable]
fn smooth(a: ArrayView2<f64>, x: &Array1<f64>) -> f64 {
    let (n, m) = a.dim();
    let mut total = 0.0;
    for i in 1..n {
        for j in 0..m {
            let d = a[[i, j]] - a[(i - 1, j)];
            total += (d * d + 1.0).sqrt() * x[j];
        }
    }
    total
}

#[differentiable]
fn through(a: &Array2<f64>) -> f64 {
    let b = a.mapv(|v| v.sin());
    let g = trace_of_square::grad(&b).unwrap();
    trace_of_square(&b) + g.sum() + smooth(b.t(), &b.row(0).to_owned())
}

#[test]
fn elements_by_index_leave_the_shape_open() {
    // a kept function takes the arguments that it was compiled for, and those that need no other program
    let kept = smooth::compile(Array2::ones((2, 2)).view(), &Array1::ones(2)).unwrap();
    for (n, m) in [(3, 4), (30, 7), (1, 1), (0, 0)] {
        let a = Array2::from_shape_fn((n, m), |(i, j)| ((i * 7 + j * 3) % 11) as f64 * 0.2);
        let x = Array1::from_shape_fn(m, |j| 1.0 + j as f64);
        let (da, dx) = kept.grad(a.view(), &x).unwrap();
        let dynamic = with_engine(Engine::Dynamic, || smooth::grad(a.view(), &x)).unwrap();
        close(&da.into_dyn(), &dynamic.0.into_dyn());
        close(&dx.into_dyn(), &dynamic.1.into_dyn());
        // rows of a view that is not contiguous
        let t = Array2::from_shape_fn((m, n), |(j, i)| a[[i, j]]);
        let (again, _) = smooth::grad(t.t(), &x).unwrap();
        assert_eq!(again.shape(), [n, m]);
        smooth::check(t.t(), &x).unwrap();
    }
    let a = Array2::from_shape_fn((3, 3), |(i, j)| (i as f64 - 0.5) * (j as f64 + 0.2));
    assert!(through::explain(&a).unwrap().to_string().contains("compiled"));
    let b = a.mapv(f64::sin);
    let expected = trace_of_square(&b) + 2.0 * b.sum() + smooth(b.t(), &b.row(0).to_owned());
    assert!((through::value(&a).unwrap() - expected).abs() < 1e-9);
    through::check(&a).unwrap();
}

#[test]
fn functions_of_elements_stay_whole() {
    let nodes = |n: usize| {
        let x = Array2::from_shape_fn((n, n), |(i, j)| (i as f64 - j as f64) * 0.1 + 0.05);
        relu_sum::explain(&x, 0.1).unwrap().nodes
    };
    assert_eq!(nodes(3), nodes(300));
}

#[differentiable]
fn distances(x: &Array1<f64>, y: &Array1<f64>) -> f64 {
    let near = x.mapv(|v| (y - v).mapv(|d| d * d).sum());
    let both = x.mapv(|v| (Array1::from_elem(y.len(), v) * y).sum());
    (near + both).sum()
}

#[test]
fn an_element_beside_an_array_is_one_number() {
    // as many elements in one as in the other: element by element would fit, and be wrong
    let (x, y) = (array![0.5, -1.0, 2.0], array![1.0, 3.0, -2.0]);
    for engine in [Engine::Auto, Engine::Dynamic] {
        with_engine(engine, || {
            assert!((distances::value(&x, &y).unwrap() - distances(&x, &y)).abs() < 1e-12);
            let (dx, _) = distances::grad(&x, &y).unwrap();
            close(&dx.into_dyn(), &x.mapv(|v| y.iter().map(|y| 2.0 * (v - y) + y).sum::<f64>()).into_dyn());
        });
    }
}
