//! Jacobians and Hessians: their forms, and their values against ones by hand, on both engines.

use autograd::{ndarray::Array2, prelude::*};

/// Runs a test on both engines.
fn both(test: impl Fn() -> autograd::Result<()>) {
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, &test).unwrap_or_else(|e| panic!("{engine:?}: {e}"));
    }
}

fn near(got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-12 * want.abs().max(1.0), "{got} {want}");
}

#[differentiable]
fn polar(p: [f64; 2]) -> [f64; 3] {
    let [r, t] = p;
    [r * t.cos(), r * t.sin(), r * r]
}

#[differentiable]
fn scaled(x: &[f64], a: f64) -> Vec<f64> {
    x.iter().map(|v| a * v * v).collect()
}

#[differentiable]
fn pair(x: f64, y: f64) -> (f64, f64) {
    (x * y, x.sin())
}

#[differentiable]
fn rosenbrock(x: &[f64]) -> f64 {
    let mut s = 0.0;
    for i in 0..x.len() - 1 {
        s += 100.0 * (x[i + 1] - x[i] * x[i]).powi(2) + (1.0 - x[i]).powi(2);
    }
    s
}

#[differentiable]
fn product(p: [f64; 3]) -> f64 {
    p[0] * p[1] * p[2].exp()
}

#[differentiable]
fn cube(x: f64) -> f64 {
    x.powi(3)
}

#[differentiable]
fn mixed(x: f64, p: [f64; 2]) -> f64 {
    x * x * p[0] + p[0] * p[1]
}

#[differentiable]
fn layer(w: &Tensor<f64>, x: &Tensor<f64>) -> Tensor<f64> {
    w.matmul(x).tanh()
}

#[differentiable]
fn energy(x: &Tensor<f64>) -> Tensor<f64> {
    (x.powi(3)).sum()
}

#[test]
fn arrays_give_arrays() {
    both(|| {
        let (r, t) = (1.5, 0.4_f64);
        let j: [[f64; 2]; 3] = polar::jacobian([r, t])?;
        let want = [[t.cos(), -r * t.sin()], [t.sin(), r * t.cos()], [2.0 * r, 0.0]];
        j.iter().flatten().zip(want.iter().flatten()).for_each(|(g, w)| near(*g, *w));
        let h: [[f64; 3]; 3] = product::hessian([2.0, 3.0, 0.5])?;
        let e = 0.5_f64.exp();
        let want = [[0.0, e, 3.0 * e], [e, 0.0, 2.0 * e], [3.0 * e, 2.0 * e, 6.0 * e]];
        h.iter().flatten().zip(want.iter().flatten()).for_each(|(g, w)| near(*g, *w));
        Ok(())
    });
}

#[test]
fn slices_give_matrices_and_scalars_vectors() {
    both(|| {
        for n in [0, 1, 4] {
            let x: Vec<f64> = (0..n).map(|i| i as f64 + 0.5).collect();
            let (jx, ja): (Array2<f64>, Vec<f64>) = scaled::jacobian(&x, 3.0)?;
            assert_eq!((jx.nrows(), ja.len()), (n, n));
            for i in 0..n {
                near(ja[i], x[i] * x[i]);
                (0..n).for_each(|k| near(jx[[i, k]], if i == k { 6.0 * x[i] } else { 0.0 }));
            }
        }
        Ok(())
    });
}

#[test]
fn a_hessian_of_a_slice_is_a_matrix_of_any_length() {
    both(|| {
        for n in [2, 3, 6] {
            let x: Vec<f64> = (0..n).map(|i| 0.3 * i as f64 - 0.5).collect();
            let h: Array2<f64> = rosenbrock::hessian(&x)?;
            assert_eq!(h.dim(), (n, n));
            for i in 0..n {
                let mut want = vec![0.0; n];
                if i + 1 < n {
                    want[i] += 1200.0 * x[i] * x[i] - 400.0 * x[i + 1] + 2.0;
                    want[i + 1] -= 400.0 * x[i];
                }
                if i > 0 {
                    want[i] += 200.0;
                    want[i - 1] -= 400.0 * x[i - 1];
                }
                (0..n).for_each(|k| near(h[[i, k]], want[k]));
            }
        }
        Ok(())
    });
}

#[test]
fn several_parameters_and_results_give_nested_blocks() {
    both(|| {
        let ((xx, xy), (sx, sy)): ((f64, f64), (f64, f64)) = pair::jacobian(0.7, 2.0)?;
        [(xx, 2.0), (xy, 0.7), (sx, 0.7_f64.cos()), (sy, 0.0)].iter().for_each(|(g, w)| near(*g, *w));
        near(cube::hessian(2.0)?, 12.0);
        near(cube::jacobian(2.0)?, 12.0);
        type Row<X> = (X, [X; 2]);
        let ((hxx, hxp), (hpx, hpp)): (Row<f64>, Row<[f64; 2]>) = mixed::hessian(3.0, [2.0, 5.0])?;
        assert_eq!((hxx, hxp, hpx, hpp), (4.0, [6.0, 0.0], [6.0, 0.0], [[0.0, 1.0], [1.0, 0.0]]));
        Ok(())
    });
}

#[test]
fn tensors_give_tensors_of_both_shapes() {
    both(|| {
        let w = Tensor::from_vec(vec![0.1, -0.2, 0.3, 0.4, 0.5, -0.6], [2, 3]);
        let x = Tensor::from_vec(vec![1.0, -1.0, 0.5], [3]);
        let (jw, jx) = layer::jacobian(&w, &x)?;
        assert_eq!((jw.shape(), jx.shape()), (&[2, 2, 3][..], &[2, 3][..]));
        let (y, w, x) = (layer(&w, &x).to_vec(), w.to_vec(), x.to_vec());
        for i in 0..2 {
            let slope = 1.0 - y[i] * y[i];
            for k in 0..3 {
                near(jx.to_vec()[i * 3 + k], slope * w[i * 3 + k]);
                (0..2).for_each(|r| near(jw.to_vec()[(i * 2 + r) * 3 + k], if r == i { slope * x[k] } else { 0.0 }));
            }
        }
        let h = energy::hessian(&Tensor::from_vec(vec![1.0, 2.0], [2]))?;
        assert_eq!((h.shape(), h.to_vec()), (&[2, 2][..], vec![6.0, 0.0, 0.0, 12.0]));
        Ok(())
    });
}

#[derive(Clone, Debug, PartialEq, Differentiable)]
struct Arm {
    lengths: [f64; 2],
    base: f64,
}

#[differentiable]
fn tip(arm: &Arm, angles: [f64; 2]) -> [f64; 2] {
    let (a, b) = (angles[0], angles[0] + angles[1]);
    [
        arm.base + arm.lengths[0] * a.cos() + arm.lengths[1] * b.cos(),
        arm.lengths[0] * a.sin() + arm.lengths[1] * b.sin(),
    ]
}

#[test]
fn a_struct_gives_rows_that_are_structs() {
    both(|| {
        let arm = Arm { lengths: [1.0, 0.5], base: 0.2 };
        let [(x, dx), (y, _)] = {
            let (arms, angles): ([Arm; 2], [[f64; 2]; 2]) = tip::jacobian(&arm, [0.3, 0.4])?;
            let [a, b] = arms;
            [(a, angles[0]), (b, angles[1])]
        };
        assert_eq!((x.base, y.base), (1.0, 0.0));
        near(x.lengths[1], 0.7_f64.cos());
        near(dx[0], -(0.3_f64.sin()) - 0.5 * 0.7_f64.sin());
        Ok(())
    });
}

#[differentiable]
fn noisy(x: &Tensor<f64>) -> Tensor<f64> {
    x * &Tensor::<f64>::rand([3])
}

#[test]
fn every_row_sees_the_same_random_numbers() {
    both(|| {
        autograd::manual_seed(3);
        let factors = noisy(&Tensor::ones([3])).to_vec();
        autograd::manual_seed(3);
        let j = noisy::jacobian(&Tensor::ones([3]))?.to_vec();
        let diagonal: Vec<f64> = (0..3).map(|i| j[4 * i]).collect();
        assert_eq!(diagonal, factors);
        assert_ne!(noisy(&Tensor::ones([3])).to_vec(), factors);
        Ok(())
    });
}

#[test]
fn a_hessian_wants_one_float() {
    let e = scaled::hessian(&[1.0, 2.0], 1.0).unwrap_err().to_string();
    assert!(e.contains("expected one float"), "{e}");
}

#[differentiable]
fn powers(p: [f64; 2], a: f64) -> [[f64; 2]; 3] {
    [[p[0] * a, p[1]], [p[0] * p[1], a * a], [p[1] * p[1], p[0]]]
}
#[differentiable]
fn ramp(p: [f64; 2], a: f64) -> [f64; 6] {
    [a, p[0], 2.0 * p[0], p[1] * a, p[0] * p[1], a * a * a]
}

#[test]
fn many_rows_of_several_parameters() {
    both(|| {
        let (in_p, in_a): ([[[f64; 2]; 2]; 3], [[f64; 2]; 3]) = powers::jacobian([2.0, 3.0], 5.0)?;
        assert_eq!(in_p, [[[5.0, 0.0], [0.0, 1.0]], [[3.0, 2.0], [0.0, 0.0]], [[0.0, 6.0], [1.0, 0.0]]]);
        assert_eq!(in_a, [[2.0, 0.0], [0.0, 10.0], [0.0, 0.0]]);
        let (in_p, in_a): ([[f64; 2]; 6], [f64; 6]) = ramp::jacobian([2.0, 3.0], 5.0)?;
        assert_eq!(in_p, [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 5.0], [3.0, 2.0], [0.0, 0.0]]);
        assert_eq!(in_a, [1.0, 0.0, 0.0, 3.0, 0.0, 75.0]);
        Ok(())
    });
}

/// Of a large product few rows and columns are read.
#[differentiable(wrt(w, x))]
fn picked(w: &Tensor<f64>, x: &Tensor<f64>, rows: &Tensor<i64>, columns: &Tensor<i64>) -> Tensor<f64> {
    let all = (w.matmul(x).tanh() * x.sum_dim(&[0], true)).reshape(&[2, 3, -1]);
    let moved = all.sum_dim(&[0], false);
    moved.index_select(1, columns).square().sum() + w.matmul(x).sin().index_select(0, rows).sum()
}

#[test]
fn rows_that_are_picked_have_the_derivatives_of_the_whole() {
    let wave = |n: usize, seed: f64| (0..n).map(|i| (i as f64 * 0.7 + seed).sin()).collect::<Vec<f64>>();
    let (w, x) = (Tensor::from_vec(wave(24, 0.1), [6, 4]), Tensor::from_vec(wave(120, 0.4), [4, 30]));
    let (dw, dx) = (Tensor::from_vec(wave(24, 0.9), [6, 4]), Tensor::from_vec(wave(120, 0.2), [4, 30]));
    let rows = Tensor::from_vec(vec![5i64, 0], [2]);
    let columns = Tensor::from_vec(vec![29i64, 3, 3, 0], [4]);
    let on = |engine| {
        with_engine(engine, || {
            let (value, (gw, gx)) = picked::value_and_grad(&w, &x, &rows, &columns)?;
            let (_, along) = picked::jvp(&w, &x, &rows, &columns, &dw, &dx)?;
            let (hw, hx) = picked::hvp(&w, &x, &rows, &columns, &dw, &dx)?;
            Ok::<_, autograd::Error>([value, gw, gx, along, hw, hx].map(|t| t.to_vec()))
        })
        .unwrap()
    };
    for (got, want) in on(Engine::Compiled).iter().zip(&on(Engine::Dynamic)) {
        assert_eq!(got.len(), want.len());
        got.iter().zip(want).for_each(|(g, w)| near(*g, *w));
    }
    // the number of a row that there is not is an error in either
    let beyond = Tensor::from_vec(vec![30i64], [1]);
    for engine in [Engine::Compiled, Engine::Dynamic] {
        let error = with_engine(engine, || picked::value(&w, &x, &rows, &beyond)).unwrap_err().to_string();
        assert!(error.contains("indices below 30") && error.contains("found 30"), "{error}");
    }
}

/// Rows that are all the same, and one of which there is only one.
#[differentiable(wrt(x))]
fn repeated(x: &Tensor<f64>, rows: &Tensor<i64>) -> Tensor<f64> {
    x.expand([50, 4]).index_select(0, rows).sin() * 2.0
}
#[differentiable(wrt(x))]
fn single(x: &Tensor<f64>, rows: &Tensor<i64>) -> Tensor<f64> {
    x.sin().index_select(0, rows)
}
/// The slope of the root of nothing is infinite; nobody reads it.
#[differentiable(wrt(x))]
fn roots(x: &Tensor<f64>, rows: &Tensor<i64>) -> Tensor<f64> {
    x.sqrt().index_select(0, rows).sum()
}

#[test]
fn picks_of_none_of_one_and_of_too_many() {
    let x = Tensor::from_vec(vec![0.5, 1.0, 1.5, 2.0], [1, 4]);
    let rows = |all: &[i64]| Tensor::from_vec(all.to_vec(), [all.len()]);
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, || {
            assert_eq!(single::value(&x, &rows(&[])).unwrap().shape(), [0, 4], "{engine:?}");
            assert_eq!(single::value(&x, &rows(&[0, 0])).unwrap().shape(), [2, 4], "{engine:?}");
            assert_eq!(repeated::value(&x, &rows(&[49, 0])).unwrap().shape(), [2, 4], "{engine:?}");
            for error in [repeated::value(&x, &rows(&[60])), single::value(&x, &rows(&[1]))] {
                assert!(error.unwrap_err().to_string().contains("expected indices below"), "{engine:?}");
            }
            for n in [3, 4, 9] {
                let x = Tensor::from_vec((0..n).map(f64::from).collect(), [n as usize]);
                let g = roots::grad(&x, &rows(&[1])).unwrap().to_vec();
                assert!(g[0].is_nan() && g[1] == 0.5, "{engine:?}: {g:?}");
            }
        });
    }
}

#[differentiable]
fn widened(x: f32, y: f64) -> f64 {
    f64::from(x) * y * y
}
#[differentiable]
fn narrowed(x: f64, y: f32) -> f32 {
    (x * x) as f32 * y
}
#[differentiable]
fn of_both(x: [f32; 2], y: f64) -> (f64, [f32; 2]) {
    (x[0] as f64 * y, [x[1] * y as f32, x[0] * x[1]])
}

/// A derivative is as wide as what it is taken in.
#[test]
fn both_widths_of_floats_in_one_function() {
    both(|| {
        assert_eq!(widened::jacobian(1.5, 2.0)?, (4.0, 6.0));
        assert_eq!(widened::hessian(1.5, 2.0)?, ((0.0, 4.0), (4.0, 3.0)));
        assert_eq!(widened::vmap_jacobian(&[1.5, 0.5], &[2.0, 3.0])?, [(4.0, 6.0), (9.0, 3.0)]);
        assert_eq!(narrowed::jacobian(1.5, 2.0)?, (6.0, 2.25));
        assert_eq!(narrowed::hessian(1.5, 2.0)?, ((4.0, 3.0), (3.0, 0.0)));
        let (first, rest) = of_both::jacobian([1.5, 2.0], 3.0)?;
        assert_eq!(first, ([3.0, 0.0], 1.5));
        assert_eq!(rest, ([[0.0, 3.0], [2.0, 1.5]], [2.0, 0.0]));
        Ok(())
    });
}
