//! Every entry point, at every form of parameter and result, on both engines and against finite differences.

mod common;

use autograd::{EngineUsed, backward, no_grad, prelude::*};
use common::{Flat, alike, close, each_engine, near, same};
use std::cell::RefCell;

/// Runs every entry point of a function with a scalar result on each engine. All of them must agree with the
/// plain function, with differences and with each other; gives the gradient and the Hessian's product.
macro_rules! tour {
    ($f:ident($($arg:expr),*) along($($dir:expr),*) ct $ct:expr, within $tol:expr) => {{
        let mut seen: Vec<[Vec<f64>; 3]> = Vec::new();
        each_engine(|_| {
            let value = $f::value($($arg),*).unwrap().flat();
            alike(&value, &$f($($arg),*).flat(), $tol);
            let grad = $f::grad($($arg),*).unwrap().flat();
            let (v, g) = $f::value_and_grad($($arg),*).unwrap();
            alike(&[v.flat(), g.flat()].concat(), &[&value[..], &grad].concat(), 0.0);
            let (v, pull) = $f::vjp($($arg),*).unwrap();
            alike(&v.flat(), &value, $tol);
            alike(&pull($ct).unwrap().flat(), &grad, $tol);
            alike(&pull($ct).unwrap().flat(), &grad, $tol);
            let (v, tangent) = $f::jvp($($arg,)* $($dir),*).unwrap();
            alike(&v.flat(), &value, $tol);
            let along: Vec<f64> = [$($dir.flat()),*].concat();
            near(tangent.flat()[0], grad.iter().zip(&along).map(|(g, d)| g * d).sum::<f64>(), 10.0 * $tol);
            let hvp = $f::hvp($($arg,)* $($dir),*).unwrap().flat();
            let report = $f::check($($arg),*).unwrap();
            assert!(report.passed() && report.compared >= grad.len().min(8), "{report}");
            let kept = $f::compile($($arg),*).unwrap();
            alike(&kept.value($($arg),*).unwrap().flat(), &value, $tol);
            alike(&kept.grad($($arg),*).unwrap().flat(), &grad, $tol);
            alike(&kept.value_and_grad($($arg),*).unwrap().1.flat(), &grad, $tol);
            // the first call of a program takes another way than the ones that find it
            for _ in 0..2 {
                let (v, t) = $f::jvp($($arg,)* $($dir),*).unwrap();
                alike(&[v.flat(), t.flat()].concat(), &[&value[..], &tangent.flat()].concat(), $tol);
                let (v, t) = kept.jvp($($arg,)* $($dir),*).unwrap();
                alike(&[v.flat(), t.flat()].concat(), &[&value[..], &tangent.flat()].concat(), $tol);
                for product in [$f::hvp($($arg,)* $($dir),*), kept.hvp($($arg,)* $($dir),*)] {
                    alike(&product.unwrap().flat(), &hvp, $tol);
                }
                for both in [$f::grad_and_hvp($($arg,)* $($dir),*), kept.grad_and_hvp($($arg,)* $($dir),*)] {
                    let (g, h) = both.unwrap();
                    alike(&[g.flat(), h.flat()].concat(), &[&grad[..], &hvp].concat(), 10.0 * $tol);
                }
            }
            let how = $f::explain($($arg),*).unwrap();
            assert_eq!((how.function, how.engine), (stringify!($f), EngineUsed::Compiled), "{how}");
            seen.push([value, grad, hvp]);
        });
        let [a, b] = &seen[..] else { panic!("two engines") };
        a.iter().zip(b).for_each(|(a, b)| alike(a, b, $tol));
        let [_, grad, hvp] = seen.remove(0);
        (grad, hvp)
    }};
}

#[differentiable]
fn double(x: f64, y: f64) -> f64 {
    x.sin() * y + y.powi(3)
}

#[differentiable]
fn single(x: f32, y: f32) -> f32 {
    x.sin() * y + y.powi(3)
}

#[test]
fn scalars() {
    let (x, y) = (0.7, 1.3f64);
    let (grad, hvp) = tour!(double(x, y) along(1.0, 2.0) ct 1.0, within 1e-13);
    alike(&grad, &[x.cos() * y, x.sin() + 3.0 * y * y], 1e-13);
    alike(&hvp, &[-x.sin() * y + 2.0 * x.cos(), x.cos() + 12.0 * y], 1e-13);
    let (grad, _) = tour!(single(0.7f32, 1.3f32) along(1.0f32, 2.0f32) ct 1.0, within 1e-6);
    alike(&grad, &[x.cos() * y, x.sin() + 3.0 * y * y], 1e-6);
}

#[differentiable(wrt(w, b))]
fn loss(w: &Tensor<f64>, b: &Tensor<f64>, x: &Tensor<f64>, y: &Tensor<f64>) -> Tensor<f64> {
    ((x.matmul(w) + b).tanh() - y).powi(2).mean()
}

#[differentiable(wrt(w, b))]
fn loss32(w: &Tensor<f32>, b: &Tensor<f32>, x: &Tensor<f32>) -> Tensor<f32> {
    (x.matmul(w) + b).sigmoid().square().mean()
}

fn wave(shape: &[usize]) -> Tensor<f64> {
    let n: usize = shape.iter().product();
    Tensor::from_vec((0..n).map(|i| (i as f64 * 0.7 + 0.3).sin()).collect(), shape)
}

#[test]
fn tensors() {
    let (w, b, x, y) = (wave(&[3, 2]), wave(&[2]), wave(&[4, 3]), wave(&[4, 2]));
    let (dw, db) = (wave(&[3, 2]) * 0.5, wave(&[2]) * 2.0);
    let one = Tensor::scalar(1.0);
    tour!(loss(&w, &b, &x, &y) along(&dw, &db) ct &one, within 1e-12);
    let (w, b, x) = (w.to::<f32>(), b.to::<f32>(), x.to::<f32>());
    let one = Tensor::scalar(1.0);
    tour!(loss32(&w, &b, &x) along(&w, &b) ct &one, within 1e-5);
    // views are as good as what they show
    let wide = wave(&[2, 3]);
    let (t, copy) = (wide.t(), Tensor::from_vec(wide.t().to_vec(), [3, 2]));
    let (b, x, y) = (wave(&[2]), wave(&[4, 6]).slice(1, 0, 6, 2), wave(&[4, 2]));
    each_engine(|_| {
        let (a, c) = (loss::grad(&t, &b, &x, &y).unwrap(), loss::grad(&copy, &b, &x, &y).unwrap());
        alike(&a.flat(), &c.flat(), 1e-14);
    });
}

#[differentiable]
fn tuple(p: (f64, f64), q: &(f64, (f64, f64))) -> f64 {
    p.0 * p.1 + q.0 * q.1.0 * q.1.1
}

#[differentiable]
fn arrays(a: [f64; 3], m: &[[f64; 2]; 2], v: Vec<f64>, s: &[f64]) -> f64 {
    let mut total = a[0] * a[1] + a[2].exp();
    for row in m {
        total += row[0] * row[1];
    }
    for (x, y) in v.iter().zip(s) {
        total += x * y * y;
    }
    total
}

#[differentiable]
fn rows(v: &[Vec<f64>], t: &[Tensor<f64>]) -> f64 {
    let mut total = 0.0;
    for row in v {
        for x in row {
            total += x * x;
        }
    }
    total + Tensor::cat(&t.iter().collect::<Vec<_>>(), 0).square().sum().item()
}

#[test]
fn tuples_arrays_slices() {
    let q = (2.0, (3.0, 5.0));
    let (grad, hvp) = tour!(tuple((1.0, 4.0), &q) along((1.0, 0.0), &(0.0, (1.0, 0.0))) ct 1.0, within 1e-14);
    assert_eq!(grad, [4.0, 1.0, 15.0, 10.0, 6.0]);
    assert_eq!(hvp, [0.0, 1.0, 5.0, 0.0, 2.0]);
    let (a, m, v, s) = ([1.0, 2.0, 0.0], [[1.0, 2.0], [3.0, 4.0]], vec![2.0, 3.0], [5.0, 7.0]);
    let (grad, _) = tour!(arrays(a, &m, v.clone(), &s) along(a, &m, v.clone(), &s) ct 1.0, within 1e-13);
    assert_eq!(grad, [2.0, 1.0, 1.0, 2.0, 1.0, 4.0, 3.0, 25.0, 49.0, 20.0, 42.0]);
    let (v, t) = (vec![vec![1.0], vec![], vec![2.0, 3.0]], [wave(&[2]), wave(&[3])]);
    let (grad, _) = tour!(rows(&v, &t) along(&v, &t) ct 1.0, within 1e-13);
    alike(&grad, &(v.flat().into_iter().chain(t.flat()).map(|x| 2.0 * x).collect::<Vec<_>>()), 1e-14);
    // the length is part of the form: each is another program
    for n in 0..4 {
        let grad = arrays::grad([0.0; 3], &m, vec![1.0; n], &vec![2.0; n]).unwrap();
        assert_eq!((grad.2, grad.3), (vec![4.0; n], vec![4.0; n]));
    }
}

#[derive(Differentiable, Clone, Debug, PartialEq)]
struct Joint {
    angle: f64,
    #[constant]
    name: String,
}
#[derive(Differentiable, Clone, Debug, PartialEq)]
struct Arm {
    joints: Vec<Joint>,
    base: (f64, [f64; 2]),
    segments: usize,
    #[constant]
    id: u8,
}
#[derive(Differentiable, Clone)]
struct Linear {
    w: Tensor<f64>,
    b: Tensor<f64>,
}
#[derive(Differentiable, Clone)]
struct Net {
    layers: Vec<Linear>,
    scale: f64,
}

impl Flat for Joint {
    fn flat(&self) -> Vec<f64> {
        vec![self.angle]
    }
}
impl Flat for Arm {
    fn flat(&self) -> Vec<f64> {
        [self.joints.flat(), self.base.flat()].concat()
    }
}
impl Flat for Linear {
    fn flat(&self) -> Vec<f64> {
        (&self.w, &self.b).flat()
    }
}
impl Flat for Net {
    fn flat(&self) -> Vec<f64> {
        (&self.layers, self.scale).flat()
    }
}

#[differentiable]
fn reach(arm: &Arm, x: f64) -> f64 {
    let mut total = arm.base.0 * x + arm.base.1[0] * arm.base.1[1];
    for joint in &arm.joints {
        total += joint.angle.cos() * arm.segments as f64;
    }
    total
}

#[differentiable(wrt(net))]
fn forward(net: &Net, x: &Tensor<f64>) -> Tensor<f64> {
    let mut y = x.clone();
    for layer in &net.layers {
        y = (y.matmul(&layer.w) + &layer.b).tanh();
    }
    y.sum() * net.scale
}

#[test]
fn structs() {
    let joint = |angle, name: &str| Joint { angle, name: name.into() };
    let arm = Arm { joints: vec![joint(0.1, "a"), joint(0.2, "b")], base: (2.0, [3.0, 5.0]), segments: 3, id: 7 };
    let (grad, _) = tour!(reach(&arm, 0.5) along(&arm, 1.0) ct 1.0, within 1e-13);
    alike(&grad, &[-0.1f64.sin() * 3.0, -0.2f64.sin() * 3.0, 0.5, 5.0, 3.0, 2.0], 1e-14);
    each_engine(|_| {
        let (d, _) = reach::grad(&arm, 0.5).unwrap();
        assert_eq!((d.segments, d.id, &d.joints[1].name[..]), (3, 7, "b"), "constants are cloned");
        let mut buffer = arm.clone();
        let mut dx = 0.0;
        reach::grad_into(&arm, 0.5, &mut buffer, &mut dx).unwrap();
        assert_eq!((buffer, dx), (d, 2.0));
        // a constant is part of the key: another value is another program
        assert_eq!(reach::value(&Arm { segments: 0, id: 9, ..arm.clone() }, 0.0).unwrap(), 15.0);
    });
    let layer = || Linear { w: wave(&[3, 3]), b: wave(&[3]) };
    let net = Net { layers: vec![layer(), layer()], scale: 0.5 };
    let (x, one) = (wave(&[2, 3]), Tensor::scalar(1.0));
    tour!(forward(&net, &x) along(&net) ct &one, within 1e-12);
}

#[differentiable]
fn outputs(x: f64, v: &[f64], t: &Tensor<f64>) -> (f64, [f64; 2], Vec<f64>, Tensor<f64>) {
    (x * x, [x, v[0]], v.iter().map(|a| a * x).collect(), t * x)
}

#[test]
fn structured_results() {
    let (v, t) = ([2.0, 3.0], wave(&[2, 2]));
    each_engine(|_| {
        let (a, b, c, d) = outputs::value(3.0, &v, &t).unwrap();
        assert_eq!((a, b, c), (9.0, [3.0, 2.0], vec![6.0, 9.0]));
        same(&d, &[2, 2], &t.to_vec().iter().map(|e| e * 3.0).collect::<Vec<_>>());
        let (_, pull) = outputs::vjp(3.0, &v, &t).unwrap();
        let ones = Tensor::ones([2, 2]);
        let (dx, dv, dt) = pull((1.0, &[1.0, 10.0], &vec![100.0, 1000.0], &ones)).unwrap();
        close(dx, 6.0 + 1.0 + 200.0 + 3000.0 + t.sum().item());
        assert_eq!(dv, [10.0 + 300.0, 3000.0]);
        same(&dt, &[2, 2], &[3.0; 4]);
        let ((a, ..), (da, db, dc, dd)) = outputs::jvp(3.0, &v, &t, 1.0, &[0.0, 1.0], &ones).unwrap();
        assert_eq!((a, da, db, dc), (9.0, 6.0, [1.0, 0.0], vec![2.0, 3.0 + 3.0]));
        same(&dd, &[2, 2], &t.to_vec().iter().map(|e| e + 3.0).collect::<Vec<_>>());
        let e = outputs::grad(3.0, &v, &t).unwrap_err().to_string();
        assert!(e.contains("outputs::grad") && e.contains("jacobian") && e.contains("vjp"), "{e}");
    });
}

#[differentiable]
fn scaled(x: &[f64], by: Vec<f64>) -> Vec<f64> {
    x.iter().map(|v| v * by[0] * by[1]).collect()
}
#[differentiable]
fn energy(x: &[f64], by: Vec<f64>) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>() * by[0] * by[1]
}

/// What is along or against a derivative and of another length is refused with both lengths, also where the numbers would be
/// as many in all.
#[test]
fn directions_of_other_lengths_are_refused() {
    let (x, by) = (vec![0.5; 40], vec![2.0, 3.0]);
    let error = |r: autograd::Result<()>, wanted: &str| {
        let e = r.unwrap_err().to_string();
        assert!(e.starts_with(wanted), "{e}");
    };
    each_engine(|_| {
        let (_, pull) = scaled::vjp(&x, by.clone()).unwrap();
        for n in [0, 1, 39, 41] {
            let wanted = format!("scaled::vjp: expected 40 numbers as cotangent of the result, found {n}");
            error(pull(&vec![1.0; n]).map(drop), &wanted);
        }
        pull(&x).unwrap();
        for (n, m, wanted) in [
            (39, 2, "expected 40 numbers as direction of `x`, found 39"),
            (41, 1, "expected 40 numbers as direction of `x`, found 41"),
            (40, 3, "expected 2 numbers as direction of `by`, found 3"),
        ] {
            let (d, e) = (vec![1.0; n], vec![1.0; m]);
            let named = |entry: &str, f: &str| format!("{f}::{entry}: {wanted}");
            error(scaled::jvp(&x, by.clone(), &d, e.clone()).map(drop), &named("jvp", "scaled"));
            error(energy::hvp(&x, by.clone(), &d, e.clone()).map(drop), &named("hvp", "energy"));
            error(energy::grad_and_hvp(&x, by.clone(), &d, e).map(drop), &named("grad_and_hvp", "energy"));
        }
        let d = vec![1.0; 40];
        for _ in 0..2 {
            scaled::jvp(&x, by.clone(), &d, vec![1.0; 2]).unwrap();
            let wanted = "scaled::jvp: expected 40 numbers as direction of `x`, found 39";
            error(scaled::jvp(&x, by.clone(), &d[..39], vec![1.0; 2]).map(drop), wanted);
        }
        let (t, u) = (Tensor::<f64>::ones([3]), Tensor::<f64>::ones([2, 3]));
        let e = elementwise::jvp(&t, &u).unwrap_err().to_string();
        assert!(e.starts_with("elementwise::jvp: expected types f64[3] as direction of `x`, found f64[2,3]"), "{e}");
    });
}

#[differentiable]
fn elementwise(x: &Tensor<f64>) -> Tensor<f64> {
    x.exp()
}

#[test]
fn results_that_are_no_scalars_have_no_gradient() {
    let x = wave(&[3]);
    each_engine(|_| {
        let errors = [
            elementwise::grad(&x).map(drop),
            elementwise::value_and_grad(&x).map(drop),
            elementwise::hvp(&x, &x).map(drop),
            elementwise::check(&x).map(drop),
        ];
        for e in errors {
            let e = e.unwrap_err().to_string();
            assert!(e.contains("jacobian") && e.contains("vjp") && e.contains("f64[3]"), "{e}");
        }
        // what needs no scalar works
        same(&elementwise::value(&x).unwrap(), &[3], &x.exp().to_vec());
        same(&elementwise::jvp(&x, &x).unwrap().1, &[3], &(&x * x.exp()).to_vec());
        same(&elementwise::compile(&x).unwrap().value(&x).unwrap(), &[3], &x.exp().to_vec());
        assert_eq!(elementwise::explain(&x).unwrap().entry_point, "value");
        let (_, pull) = elementwise::vjp(&x).unwrap();
        let e = pull(&wave(&[2])).unwrap_err().to_string();
        assert!(e.contains("f64[3]") && e.contains("f64[2]"), "{e}");
        let e = elementwise::jvp(&x, &wave(&[2])).unwrap_err().to_string();
        assert!(e.contains("f64[3]") && e.contains("f64[2]"), "{e}");
    });
}

#[test]
fn kept_functions_refuse_other_forms() {
    let (w, b, x, y) = (wave(&[3, 2]), wave(&[2]), wave(&[4, 3]), wave(&[4, 2]));
    let kept = loss::compile(&w, &b, &x, &y).unwrap();
    let want = loss::grad(&w, &b, &x, &y).unwrap();
    assert_eq!(kept.grad(&w, &b, &x, &y).unwrap().flat(), want.flat());
    let (x, y) = (wave(&[5, 3]), wave(&[5, 2]));
    let e = kept.grad(&w, &b, &x, &y).unwrap_err().to_string();
    assert!(e.contains("loss::compile") && e.contains("shapes"), "{e}");
    let kept = power::compile(2.0, 3).unwrap();
    close(kept.grad(3.0, 3).unwrap(), 27.0);
    // an integer that ends a recursion is an argument like others
    close(kept.grad(3.0, 4).unwrap(), 108.0);
}

#[test]
fn gradients_go_into_the_callers_buffers() {
    let (w, b, x, y) = (wave(&[3, 2]), wave(&[2]), wave(&[4, 3]), wave(&[4, 2]));
    each_engine(|_| {
        let (value, (dw, db)) = loss::value_and_grad(&w, &b, &x, &y).unwrap();
        let (mut bw, mut bb) = (Tensor::<f64>::zeros([3, 2]), Tensor::<f64>::ones([2]));
        let seen = bw.clone();
        loss::grad_into(&w, &b, &x, &y, &mut bw, &mut bb).unwrap();
        assert_eq!((bw.flat(), bb.flat()), (dw.flat(), db.flat()));
        assert_eq!(seen.flat(), dw.flat(), "written in place: who shares the buffer sees it");
        let (mut bw, mut bb) = (Tensor::<f64>::zeros([3, 2]), Tensor::<f64>::ones([2]));
        assert_eq!(loss::value_and_grad_into(&w, &b, &x, &y, &mut bw, &mut bb).unwrap().item(), value.item());
        assert_eq!((bw.flat(), bb.flat()), (dw.flat(), db.flat()));
        let kept = loss::compile(&w, &b, &x, &y).unwrap();
        let (mut bw, mut bb) = (Tensor::<f64>::zeros([3, 2]), Tensor::<f64>::ones([2]));
        kept.grad_into(&w, &b, &x, &y, &mut bw, &mut bb).unwrap();
        assert_eq!((bw.flat(), bb.flat()), (dw.flat(), db.flat()));

        // buffers of another shape, of the arguments, of each other, or that are views
        let before = w.to_vec();
        let mut alias = w.clone();
        let e = loss::grad_into(&w, &b, &x, &y, &mut alias, &mut bb).unwrap_err().to_string();
        assert!(e.contains("apart from the arguments"), "{e}");
        assert_eq!(w.to_vec(), before);
        let e = loss::grad_into(&w, &b, &x, &y, &mut wave(&[2, 3]), &mut bb).unwrap_err().to_string();
        assert!(e.contains("f64[3,2]") && e.contains("f64[2,3]"), "{e}");
        let e = loss::grad_into(&w, &b, &x, &y, &mut wave(&[2, 3]).t(), &mut bb).unwrap_err().to_string();
        assert!(e.contains("contiguous"), "{e}");
        let e = loss::grad_into(&w, &b, &x, &y, &mut wave(&[5, 2]).narrow(0, 1, 3), &mut bb).unwrap_err().to_string();
        assert!(e.contains("found a view"), "{e}");
        let mut one = wave(&[2]);
        let e = product::grad_into(&b, &wave(&[2]), &mut one.clone(), &mut one).unwrap_err().to_string();
        assert!(e.contains("share storage"), "{e}");

        let (mut da, mut dm, mut dv, mut ds) = ([0.0; 3], [[0.0; 2]; 2], vec![0.0; 2], [0.0; 2]);
        let m = [[1.0, 2.0], [3.0, 4.0]];
        arrays::grad_into([1.0, 2.0, 0.0], &m, vec![2.0, 3.0], &[5.0, 7.0], &mut da, &mut dm, &mut dv, &mut ds)
            .unwrap();
        assert_eq!((da, dm, dv, ds), ([2.0, 1.0, 1.0], [[2.0, 1.0], [4.0, 3.0]], vec![25.0, 49.0], [20.0, 42.0]));
    });
}

#[differentiable]
fn product(a: &Tensor<f64>, b: &Tensor<f64>) -> Tensor<f64> {
    (a * b).sum()
}

#[test]
fn buffers_of_another_length_are_refused() {
    each_engine(|_| {
        let mut short = [9.0; 1];
        assert!(sum::grad_into(&[1.0, 2.0], &mut short[..]).is_err());
        assert_eq!(short, [9.0]);
        let mut long = [9.0; 3];
        assert!(sum::grad_into(&[1.0, 2.0], &mut long[..]).is_err());
        assert_eq!(long, [9.0; 3]);
    });
}

#[differentiable]
fn sum(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() * 2.0
}

#[test]
fn bench_and_explain() {
    let report = double::bench(0.5, 1.5).unwrap();
    assert!(report.compiled.is_some_and(|s| s > 0.0) && report.dynamic > 0.0, "{report}");
    assert!(report.difference < 1e-13 && report.reason.is_none(), "{report}");
    assert!(newton_sqrt::bench(2.0).unwrap().reason.is_none());
    assert!(signed::bench(2.0).unwrap().reason.is_some());

    let (w, b, x, y) = (wave(&[3, 2]), wave(&[2]), wave(&[4, 3]), wave(&[4, 2]));
    for how in [loss::explain(&w, &b, &x, &y).unwrap(), newton_sqrt::explain(2.0).unwrap()] {
        json(&how.to_json());
        assert!(how.to_json().contains(how.function) && how.to_string().contains("entry_points.rs"), "{how}");
    }
    let how = loss::explain(&w, &b, &x, &y).unwrap();
    assert!(how.to_string().contains("engine: compiled"), "{how}");
    assert!(how.dot().starts_with("digraph") && how.dot().trim_end().ends_with('}'), "{}", how.dot());
    assert!(how.source.is_some() && how.graph.is_some() && !how.kernels.is_empty() && how.code_bytes > 0);
}

/// Fails unless the text is one JSON value.
fn json(text: &str) {
    fn value(s: &[u8], mut i: usize) -> usize {
        let space = |mut i: usize| {
            while s[i].is_ascii_whitespace() {
                i += 1;
            }
            i
        };
        i = space(i);
        match s[i] {
            b'{' | b'[' => {
                let (open, close) = if s[i] == b'{' { (true, b'}') } else { (false, b']') };
                i = space(i + 1);
                if s[i] == close {
                    return i + 1;
                }
                loop {
                    if open {
                        assert_eq!(s[space(i)], b'"', "a key");
                        i = space(value(s, i));
                        assert_eq!(s[i], b':');
                        i += 1;
                    }
                    i = space(value(s, i));
                    if s[i] == close {
                        return i + 1;
                    }
                    assert_eq!(s[i], b',');
                    i += 1;
                }
            }
            b'"' => {
                i += 1;
                while s[i] != b'"' {
                    assert!(s[i] >= b' ', "control characters are escaped");
                    i += if s[i] == b'\\' { 2 } else { 1 };
                }
                i + 1
            }
            _ => {
                let end = (i..s.len()).find(|&j| b",}] \n".contains(&s[j])).unwrap_or(s.len());
                let word = std::str::from_utf8(&s[i..end]).unwrap();
                assert!(
                    matches!(word, "null" | "true" | "false") || word.parse::<f64>().is_ok_and(f64::is_finite),
                    "{word}"
                );
                end
            }
        }
    }
    assert_eq!(value(text.as_bytes(), 0), text.len(), "{text}");
}

#[differentiable]
fn wiggle(x: f64) -> f64 {
    (x * x).sin() * x.exp()
}
#[differentiable]
fn wiggle1(x: f64) -> autograd::Result<f64> {
    wiggle::grad(x)
}
#[differentiable]
fn wiggle2(x: f64) -> autograd::Result<f64> {
    Ok(wiggle1::value_and_grad(x)?.1)
}

#[differentiable]
fn waves(x: &Tensor<f64>) -> Tensor<f64> {
    (x.sin() * x.exp()).sum()
}
#[differentiable]
fn waves1(x: &Tensor<f64>) -> autograd::Result<Tensor<f64>> {
    Ok(waves::grad(x)?.sum())
}
#[differentiable]
fn waves2(x: &Tensor<f64>) -> autograd::Result<Tensor<f64>> {
    Ok(waves1::grad(x)?.sum())
}
#[differentiable]
fn curvature(x: &Tensor<f64>, v: &Tensor<f64>) -> autograd::Result<Tensor<f64>> {
    let product = waves::hvp(x, v)?;
    let (_, slope) = waves::jvp(x, v)?;
    Ok((product * v).sum() + slope)
}

#[test]
fn third_derivatives() {
    each_engine(|_| {
        for x in [-1.1f64, 0.0, 0.4, 1.7] {
            let (s, c) = (x * x).sin_cos();
            close(wiggle2::value(x).unwrap(), x.exp() * (s * (1.0 - 4.0 * x * x) + c * (4.0 * x + 2.0)));
            let third = x.exp() * (s * (1.0 - 12.0 * x - 12.0 * x * x) + c * (6.0 * x + 6.0 - 8.0 * x.powi(3)));
            near(wiggle2::grad(x).unwrap(), third, 1e-11);
        }
        let x = wave(&[5]);
        let third: Vec<f64> = x.to_vec().iter().map(|x| 2.0 * x.exp() * (x.cos() - x.sin())).collect();
        alike(&waves2::grad(&x).unwrap().to_vec(), &third, 1e-12);
        // v² f″ + v f′ summed: gradients through hvp and jvp, to both arguments
        let v = wave(&[5]) * 0.5 + 1.0;
        let (dx, dv) = curvature::grad(&x, &v).unwrap();
        for (i, (x, v)) in x.to_vec().into_iter().zip(v.to_vec()).enumerate() {
            let (e, s, c) = (x.exp(), x.sin(), x.cos());
            near(dx.to_vec()[i], v * v * 2.0 * e * (c - s) + v * 2.0 * e * c, 1e-12);
            near(dv.to_vec()[i], 2.0 * v * 2.0 * e * c + e * (s + c), 1e-12);
        }
    });
}

#[differentiable]
fn smooth(x: f64) -> f64 {
    (1.0 + x.exp()).ln()
}
fn normalized(x: &Tensor<f64>) -> Tensor<f64> {
    x / x.norm()
}
#[differentiable]
fn helpers(x: &Tensor<f64>, s: f64) -> Tensor<f64> {
    normalized(&(x * smooth(s))).select(0, 1) * smooth(s)
}
#[differentiable]
fn power(x: f64, n: usize) -> f64 {
    if n == 0 { 1.0 } else { x * power(x, n - 1) }
}
#[differentiable]
fn horner(x: f64, c: &[f64], steps: usize) -> f64 {
    let mut y = 0.0;
    for i in (0..c.len()).rev() {
        y = y * x + c[i];
    }
    for _ in 0..steps {
        y = y - 0.1 * y.powi(3);
    }
    y
}

#[test]
fn helpers_recursion_and_loops() {
    let x = wave(&[3]);
    let one = Tensor::scalar(1.0);
    tour!(helpers(&x, 0.3) along(&x, 1.0) ct &one, within 1e-12);
    let (grad, hvp) = tour!(power(1.5, 7) along(1.0) ct 1.0, within 1e-13);
    alike(&[grad, hvp].concat(), &[7.0 * 1.5f64.powi(6), 42.0 * 1.5f64.powi(5)], 1e-13);
    let c = [0.5, -0.25, 0.125];
    tour!(horner(0.5, &c, 4) along(1.0, &c) ct 1.0, within 1e-12);
    let none: [f64; 0] = [];
    tour!(horner(0.5, &none, 0) along(1.0, &none) ct 1.0, within 1e-12);
}

#[differentiable]
fn reduce(x: &Tensor<f64>, y: &Tensor<f64>) -> Tensor<f64> {
    (x * y).sum() + y.sum() * 2.0
}

#[test]
fn zero_sizes_and_rank_0() {
    each_engine(|_| {
        let (x, y) = (Tensor::<f64>::zeros([0, 3]), Tensor::<f64>::ones([3]));
        let (value, (dx, dy)) = reduce::value_and_grad(&x, &y).unwrap();
        assert_eq!(value.item(), 6.0);
        same(&dx, &[0, 3], &[]);
        same(&dy, &[3], &[2.0; 3]);
        let (x, y) = (Tensor::scalar(3.0), Tensor::scalar(4.0));
        let (value, (dx, dy)) = reduce::value_and_grad(&x, &y).unwrap();
        assert_eq!((value.item(), value.shape().len()), (20.0, 0));
        same(&dx, &[], &[4.0]);
        same(&dy, &[], &[5.0]);
        let (mut a, mut b) = (Tensor::scalar(0.0), Tensor::scalar(0.0));
        reduce::grad_into(&x, &y, &mut a, &mut b).unwrap();
        assert_eq!((a.item(), b.item()), (4.0, 5.0));
    });
}

thread_local! {
    static WEIGHT: RefCell<Tensor<f64>> = RefCell::new(Tensor::from_vec(vec![1.0, 2.0], [2]));
}

#[differentiable]
fn weighted(x: &Tensor<f64>) -> Tensor<f64> {
    WEIGHT.with_borrow(|w| (x * w).sum())
}

#[test]
fn captured_tensors_are_read_at_every_call() {
    let x = Tensor::from_vec(vec![3.0, 4.0], [2]);
    same(&weighted::grad(&x).unwrap(), &[2], &[1.0, 2.0]);
    let kept = weighted::compile(&x).unwrap();
    for scale in [2.0, 3.0] {
        // its elements are overwritten
        WEIGHT.with_borrow_mut(|w| product::grad_into(&x, &(&x * scale), w, &mut wave(&[2])).unwrap());
        let want = [3.0 * scale, 4.0 * scale];
        each_engine(|_| {
            same(&weighted::grad(&x).unwrap(), &[2], &want);
            close(weighted::value(&x).unwrap().item(), 25.0 * scale);
            same(&kept.grad(&x).unwrap(), &[2], &want);
        });
    }
}

#[differentiable]
fn stopped(x: f64, t: &Tensor<f64>) -> Tensor<f64> {
    (t.detach() * t).sum() * detach(x) * x
}

#[test]
fn detach_stops_the_derivative() {
    let t = Tensor::from_vec(vec![1.0, 2.0], [2]);
    each_engine(|_| {
        let (dx, dt) = stopped::grad(3.0, &t).unwrap();
        close(dx, 15.0);
        same(&dt, &[2], &[9.0, 18.0]);
        close(stopped::jvp(3.0, &t, 1.0, &Tensor::zeros([2])).unwrap().1.item(), 15.0);
    });
}

#[differentiable]
fn mismatch(a: &Tensor<f64>, b: &Tensor<f64>) -> Tensor<f64> {
    let y = a.matmul(b);
    let first = y.select(0, 0).sum();
    if first.item() > 0.0 { y.sum() * 2.0 } else { y.sum() }
}

#[differentiable]
fn inner(a: &Tensor<f64>, b: &Tensor<f64>) -> autograd::Result<Tensor<f64>> {
    let (da, _) = product::grad(a, b)?;
    Ok((da + b).sum())
}

#[test]
fn a_failing_operation_is_the_entry_points_error() {
    let (a, b) = (wave(&[2, 3]), wave(&[4, 5]));
    let one = Tensor::scalar(1.0);
    for engine in [Engine::Auto, Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, || {
            macro_rules! errors {
                ($f:ident) => {
                    [
                        $f::value(&a, &b).map(drop),
                        $f::grad(&a, &b).map(drop),
                        $f::value_and_grad(&a, &b).map(drop),
                        $f::vjp(&a, &b).and_then(|(_, pull)| pull(&one).map(drop)),
                        $f::jvp(&a, &b, &a, &b).map(drop),
                        $f::hvp(&a, &b, &a, &b).map(drop),
                        $f::check(&a, &b).map(drop),
                        $f::bench(&a, &b).map(drop),
                        $f::explain(&a, &b).map(drop),
                        $f::compile(&a, &b).map(drop),
                        $f::grad_into(&a, &b, &mut wave(&[2, 3]), &mut wave(&[4, 5])),
                        $f::value_and_grad_into(&a, &b, &mut wave(&[2, 3]), &mut wave(&[4, 5])).map(drop),
                    ]
                };
            }
            for (i, e) in errors!(mismatch).into_iter().enumerate() {
                let e = e.unwrap_err().to_string();
                assert!(e.contains("matmul") && e.contains("[2, 3] and [4, 5]"), "{engine:?} {i}: {e}");
                assert!(e.contains("entry_points.rs"), "{engine:?} {i}: {e}");
            }
            for (i, e) in errors!(inner).into_iter().enumerate() {
                let e = e.unwrap_err().to_string();
                assert!(e.contains("mul") && e.contains("[2, 3] and [4, 5]"), "{engine:?} {i}: {e}");
            }
        });
    }
    // the engines are as good as before
    same(&product::grad(&one, &one).unwrap().0, &[], &[1.0]);
}

#[differentiable]
fn newton_sqrt(x: f64) -> f64 {
    let mut y = x;
    while (y * y - x).abs() > 1e-12 {
        y = 0.5 * (y + x / y);
    }
    y
}

#[differentiable]
fn kinked(x: f64, y: f64) -> f64 {
    if x > y { x * x } else { y * 3.0 }
}

#[test]
fn control_flow_on_data() {
    for engine in [Engine::Auto, Engine::Dynamic] {
        with_engine(engine, || {
            close(newton_sqrt::value(2.0).unwrap(), 2f64.sqrt());
            near(newton_sqrt::grad(2.0).unwrap(), 0.5 / 2f64.sqrt(), 1e-9);
            assert_eq!(kinked::grad(3.0, 1.0).unwrap(), (6.0, 0.0));
            assert_eq!(kinked::grad(1.0, 3.0).unwrap(), (0.0, 3.0));
            assert_eq!(kinked::value_and_grad(1.0, 3.0).unwrap(), (9.0, (0.0, 3.0)));
            let (v, pull) = kinked::vjp(3.0, 1.0).unwrap();
            assert_eq!((v, pull(2.0).unwrap()), (9.0, (12.0, 0.0)));
            assert_eq!(kinked::jvp(3.0, 1.0, 0.5, 1.0).unwrap(), (9.0, 3.0));
            assert_eq!(kinked::hvp(3.0, 1.0, 1.0, 1.0).unwrap(), (2.0, 0.0));
            assert_eq!(kinked::compile(3.0, 1.0).unwrap().grad(1.0, 3.0).unwrap(), (0.0, 3.0));
            assert!(kinked::check(3.0, 1.0).unwrap().passed());
        });
    }
}

/// Asks for a property of a number that is no condition of the compiler's.
#[differentiable]
fn signed(x: f64) -> f64 {
    if !x.is_normal() { -x } else { x * x }
}

#[test]
fn explain_gives_the_line_that_is_not_compiled() {
    let how = signed::explain(3.0).unwrap();
    let line = line!() - 6; // of the `if` in `signed`
    let reason = how.reason.clone().unwrap();
    assert!(reason.contains(&format!("entry_points.rs:{line}:")), "{reason} should name line {line}");
    assert!(how.to_string().contains(&reason), "{how}");
    let e = with_engine(Engine::Compiled, || signed::grad(3.0)).unwrap_err();
    assert!(matches!(e, Error::NotCompilable { .. }), "{e}");
    assert!(e.to_string().contains("signed") && e.to_string().contains(&reason), "{e}");
    assert_eq!((signed::grad(3.0).unwrap(), signed::grad(0.0).unwrap()), (6.0, -1.0));
}

#[test]
fn engines_are_restored() {
    assert_eq!(autograd::current_engine(), Engine::Auto);
    let caught = std::panic::catch_unwind(|| with_engine(Engine::Dynamic, || panic!("on purpose")));
    assert!(caught.is_err());
    assert_eq!(autograd::current_engine(), Engine::Auto);
    let inner = with_engine(Engine::Compiled, || with_engine(Engine::Dynamic, autograd::current_engine));
    assert_eq!(inner, Engine::Dynamic);
    // a function that panics leaves nothing running
    let e = panics::grad(1.0, 0).unwrap_err();
    assert!(matches!(&e, Error::Panicked { message, .. } if message == "on purpose"), "{e}");
    assert_eq!(panics::grad(1.0, 1).unwrap(), 2.0);
    assert!(std::panic::catch_unwind(|| wave(&[2]) + wave(&[3])).is_err(), "operators outside still panic");
}

#[differentiable]
fn panics(x: f64, n: usize) -> f64 {
    assert!(n > 0, "on purpose");
    x * x
}

#[differentiable]
fn fallible(x: f64, n: usize) -> Result<f64, String> {
    if n > 3 {
        return Err(format!("{n} is too many"));
    }
    Ok(x * x * n as f64)
}

#[derive(Debug)]
struct Odd;
impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an odd thing")
    }
}
#[differentiable]
fn fallible_tensor(x: &Tensor<f64>) -> Result<Tensor<f64>, Odd> {
    if x.shape().len() != 1 { Err(Odd) } else { Ok(x.square().sum()) }
}

#[test]
fn a_functions_own_error_comes_back() {
    each_engine(|_| {
        close(fallible::grad(3.0, 2).unwrap(), 12.0);
        close(fallible::value(3.0, 2).unwrap(), 18.0);
        let errors = [
            fallible::value(3.0, 4).map(drop),
            fallible::grad(3.0, 4).map(drop),
            fallible::vjp(3.0, 4).map(drop),
            fallible::jvp(3.0, 4, 1.0).map(drop),
            fallible::hvp(3.0, 4, 1.0).map(drop),
            fallible::compile(3.0, 4).map(drop),
            fallible::explain(3.0, 4).map(drop),
            fallible::grad_into(3.0, 4, &mut 0.0),
        ];
        for e in errors {
            assert_eq!(e.unwrap_err().to_string(), "4 is too many");
        }
        same(&fallible_tensor::grad(&wave(&[1])).unwrap(), &[1], &[2.0 * 0.3f64.sin()]);
        assert_eq!(fallible_tensor::grad(&wave(&[1, 1])).unwrap_err().to_string(), "an odd thing");
    });
}

#[test]
fn eight_threads_at_once() {
    let (w, b, y) = (wave(&[3, 2]), wave(&[2]), wave(&[4, 2]));
    let x = wave(&[4, 3]);
    let want = loss::grad(&w, &b, &x, &y).unwrap().flat();
    std::thread::scope(|s| {
        for t in 0..8 {
            let (w, b, x, y, want) = (&w, &b, &x, &y, &want);
            s.spawn(move || {
                let engine = if t % 4 == 3 { Engine::Dynamic } else { Engine::Auto };
                with_engine(engine, || {
                    for i in 0..30usize {
                        alike(&loss::grad(w, b, x, y).unwrap().flat(), want, 1e-13);
                        let n = 1 + (i + t) % 6;
                        assert_eq!(power::grad(2.0, n).unwrap(), n as f64 * 2f64.powi(n as i32 - 1));
                        near(newton_sqrt::grad(4.0).unwrap(), 0.25, 1e-9);
                    }
                });
            });
        }
    });
}

#[differentiable]
fn by_item(x: &Tensor<f64>, s: f64) -> f64 {
    let norm = x.norm().item();
    norm * s + (x * x).sum().item()
}

#[test]
fn item_carries_the_derivative() {
    let x = Tensor::from_vec(vec![3.0, 4.0], [2]);
    let (grad, _) = tour!(by_item(&x, 2.0) along(&x, 1.0) ct 1.0, within 1e-13);
    alike(&grad, &[2.0 * 0.6 + 6.0, 2.0 * 0.8 + 8.0, 5.0], 1e-14);
}

#[test]
fn entry_points_beside_the_tape() {
    // an entry point called with a tracked tensor outside a trace leaves its tape alone
    let x = wave(&[3]).requires_grad_(true);
    let g = waves::grad(&x).unwrap();
    assert!(!g.requires_grad() && x.grad().is_none());
    backward(&[&waves(&x)], &[], false, false).unwrap();
    alike(&x.grad().unwrap().to_vec(), &g.to_vec(), 1e-13);
    // gradients are computed also where nothing is recorded
    each_engine(|_| alike(&no_grad(|| waves::grad(&x)).unwrap().to_vec(), &g.to_vec(), 1e-13));
}

/// Slices of both widths, a table, an integer and a number: all that goes through slots, in an order of its own.
#[differentiable]
fn blend(x: &[f64], n: usize, rows: &[[f64; 2]], s: f64, y: &[f32]) -> f64 {
    let mut sum = 0.0;
    for i in 0..n {
        sum += x[i] * x[i] * s + rows[i][0] * rows[i][1];
    }
    for v in y.iter() {
        sum += *v as f64 * s;
    }
    sum
}

#[test]
fn slices_of_any_length_through_slots() {
    let kept = blend::compile(&[1.0, 2.0], 2, &[[1.0, 2.0]; 2], 0.5, &[1.0]).unwrap();
    let mut rows = [[0.0; 2]; 40];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = [i as f64 + 0.5, 2.0 - i as f64];
    }
    let x: Vec<f64> = (0..40).map(|i| f64::from(i) * 0.3 - 1.0).collect();
    let y: Vec<f32> = (0..40).map(|i| i as f32 * 0.25).collect();
    for (n, of_y) in [(0, 0), (1, 0), (3, 5), (0, 2), (40, 40), (17, 1)] {
        let (x, rows, y, s) = (&x[..n], &rows[..n], &y[..of_y], 0.75);
        let wanted = blend(x, n, rows, s, y);
        let check = |(dx, drows, ds, dy): (Vec<f64>, Vec<[f64; 2]>, f64, Vec<f32>)| {
            assert_eq!(dx, x.iter().map(|x| 2.0 * x * s).collect::<Vec<_>>());
            assert_eq!(drows, rows.iter().map(|&[a, b]| [b, a]).collect::<Vec<_>>());
            let all = x.iter().map(|x| x * x).sum::<f64>() + y.iter().map(|&y| f64::from(y)).sum::<f64>();
            near(ds, all, 1e-12);
            assert_eq!(dy, vec![s as f32; of_y]);
        };
        near(blend::value(x, n, rows, s, y).unwrap(), wanted, 1e-12);
        near(kept.value(x, n, rows, s, y).unwrap(), wanted, 1e-12);
        check(blend::grad(x, n, rows, s, y).unwrap());
        check(kept.grad(x, n, rows, s, y).unwrap());
        let (value, grads) = kept.value_and_grad(x, n, rows, s, y).unwrap();
        near(value, wanted, 1e-12);
        check(grads);
        let (mut dx, mut drows, mut ds, mut dy) = (vec![9.0; n], vec![[9.0; 2]; n], 9.0, vec![9.0f32; of_y]);
        let value = blend::value_and_grad_into(x, n, rows, s, y, &mut dx, &mut drows, &mut ds, &mut dy).unwrap();
        near(value, wanted, 1e-12);
        check((dx.clone(), drows.clone(), ds, dy.clone()));
        kept.grad_into(x, n, rows, s, y, &mut dx, &mut drows, &mut ds, &mut dy).unwrap();
        check((dx, drows, ds, dy));
    }
    // what goes wrong is said, and changes nothing
    let mut buffers = (vec![9.0; 3], vec![[9.0; 2]; 2], 9.0, vec![9.0f32; 1]);
    let error = kept.grad_into(
        &x[..3],
        3,
        &rows[..2],
        1.0,
        &y[..1],
        &mut buffers.0,
        &mut buffers.1,
        &mut buffers.2,
        &mut buffers.3,
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("below the length 2, found 2"), "{error}");
    assert_eq!(buffers, (vec![9.0; 3], vec![[9.0; 2]; 2], 9.0, vec![9.0; 1]));
    assert!(blend::grad(&x[..3], 4, &rows, 1.0, &y[..1]).is_err());
    let short =
        kept.grad_into(&x[..3], 3, &rows[..3], 1.0, &y[..1], &mut [0.0; 2], &mut [[0.0; 2]; 3], &mut 0.0, &mut [0.0]);
    assert!(short.is_err());
}

/// Tensors of one element and of several have their shape, however often and however a function is called.
#[test]
fn tensors_of_numbers_keep_their_shape() {
    #[differentiable]
    fn ones(x: f64) -> Tensor<f64> {
        Tensor::ones([1]) * x
    }
    #[differentiable]
    fn pair(x: f64, n: usize) -> (Tensor<f64>, f64) {
        let mut s = Tensor::from_vec(vec![1.0, 2.0], [2]) * x;
        for _ in 0..n {
            s = &s * x;
        }
        (s, 3.0 * x)
    }
    let kept = (ones::compile(2.0).unwrap(), pair::compile(2.0, 2).unwrap());
    for _ in 0..3 {
        let all = [ones::value(2.0).unwrap(), ones::value_and_grad(2.0).unwrap().0, kept.0.value(2.0).unwrap()];
        for y in all {
            assert_eq!((y.shape().to_vec(), y.to_vec()), (vec![1], vec![2.0]));
        }
        for (t, s) in [pair::value(2.0, 2).unwrap(), kept.1.value(2.0, 2).unwrap()] {
            assert_eq!((t.to_vec(), s), (vec![8.0, 16.0], 6.0));
        }
    }
}

/// Results of all sorts from slices.
#[differentiable]
fn sorts(x: &[f64], s: f64) -> (Vec<f64>, f64, [f64; 2]) {
    let mut all = vec![0.0; x.len()];
    let mut sum = 0.0;
    for i in 0..x.len() {
        all[i] = x[i] * s;
        sum += x[i];
    }
    (all, sum, [sum * s, s])
}

#[test]
fn results_of_several_sorts_through_slots() {
    for n in [0, 1, 4, 33] {
        let x: Vec<f64> = (0..n).map(|i| f64::from(i) - 1.5).collect();
        let wanted = sorts(&x, 0.5);
        for _ in 0..2 {
            assert_eq!(sorts::value(&x, 0.5).unwrap(), wanted);
        }
        assert_eq!(sorts::compile(&x, 0.5).unwrap().value(&x, 0.5).unwrap(), wanted);
    }
}
