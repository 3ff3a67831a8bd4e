//! Work that comes to the same in all trips is done in front of the loop: values and derivatives do not change by that.

use super::{agrees, compiled, dynamic, near};
use autograd::{Tensor, prelude::*};

#[differentiable]
fn scaled(x: f64, y: f64, n: usize) -> f64 {
    let mut s = x;
    for i in 0..n {
        s = (s * (1.0 / y) + y.ln() * 0.1).sin() + 0.01 * (i % 3) as f64;
    }
    s
}

#[test]
fn a_loop_of_no_trips_has_no_poles() {
    for y in [0.0, -1.0] {
        let (v, g) = compiled(|| scaled::value_and_grad(0.7, y, 0));
        assert_eq!((v, g), (0.7, (1.0, 0.0)));
        assert_eq!(compiled(|| scaled::hvp(0.7, y, 0, 1.0, 1.0)), (0.0, 0.0));
        assert_eq!(compiled(|| scaled::jvp(0.7, y, 0, 0.5, 1.0)), (0.7, 0.5));
    }
    // and in one of some trips they are where they were
    assert!(compiled(|| scaled::value_and_grad(0.7, 0.0, 1)).0.is_nan());
}

#[test]
fn values_keep_their_bits() {
    for n in [1, 2, 9, 100] {
        let (v, (dx, dy)) = compiled(|| scaled::value_and_grad(0.7, 1.3, n));
        assert_eq!(v.to_bits(), compiled(|| scaled::value(0.7, 1.3, n)).to_bits());
        near(v, scaled(0.7, 1.3, n), 1e-14);
        let (ex, ey) = dynamic(|| scaled::grad(0.7, 1.3, n));
        near(dx, ex, 1e-12);
        near(dy, ey, 1e-12);
        let (a, b) =
            (compiled(|| scaled::hvp(0.7, 1.3, n, 1.0, -0.5)), dynamic(|| scaled::hvp(0.7, 1.3, n, 1.0, -0.5)));
        near(a.0, b.0, 1e-9);
        near(a.1, b.1, 1e-9);
    }
}

/// Work that leaves two loops, work that leaves one, and a choice on what does not change.
#[differentiable]
fn nested(x: &[f64], a: f64, b: f64) -> f64 {
    let mut s = 0.0;
    for i in 0..x.len() {
        let mut t = x[i];
        for _ in 0..i {
            t = t * a.exp() + b.sin() / (1.0 + x[i].exp());
            if a > 0.0 {
                t += b.tanh().cosh().sqrt();
            } else if t > b {
                t = t / b;
            }
        }
        s += t / (a * a + b);
    }
    s
}

#[test]
fn loops_in_loops() {
    for (a, b) in [(-0.3, 0.8), (0.2, 0.4)] {
        for n in [1, 2, 6] {
            let x: Vec<f64> = (0..n).map(|i| f64::from(i).sin()).chain([a, b]).collect();
            let parts = |x: &[f64]| (x[..x.len() - 2].to_vec(), x[x.len() - 2], x[x.len() - 1]);
            agrees(
                &x,
                |x| {
                    let (x, a, b) = parts(x);
                    nested(&x, a, b)
                },
                |x| {
                    let (x, a, b) = parts(x);
                    let (v, (mut g, da, db)) = nested::value_and_grad(&x, a, b)?;
                    g.extend([da, db]);
                    Ok((v, g))
                },
            );
            let v = &x[..n as usize];
            let c = compiled(|| nested::hvp(v, a, b, v, 1.0, 0.5));
            let d = dynamic(|| nested::hvp(v, a, b, v, 1.0, 0.5));
            c.0.iter().chain([&c.1, &c.2]).zip(d.0.iter().chain([&d.1, &d.2])).for_each(|(c, d)| near(*c, *d, 1e-8));
        }
    }
}

/// The condition's root leaves.
#[differentiable]
fn root(x: f64, tol: f64) -> f64 {
    let mut y = x;
    while (y * y - x).abs() > tol * x.sqrt() {
        y = 0.5 * (y + x / y);
    }
    y
}

#[test]
fn conditions_are_as_they_were() {
    for x in [0.5, 1.0, 7.0, 1e6] {
        let (v, (dx, _)) = compiled(|| root::value_and_grad(x, 1e-10));
        assert_eq!(v, root(x, 1e-10));
        near(dx, dynamic(|| root::grad(x, 1e-10)).0, 1e-12);
    }
    assert_eq!(compiled(|| root::grad(-1.0, 1e-3)), (1.0, 0.0), "no number is above NaN");
}

/// What may fail is not asked about in front of a loop of no trips.
#[differentiable(wrt(x))]
fn picks(x: &[f64], k: usize, d: usize, n: usize) -> f64 {
    let mut s = 0.0;
    for _ in 0..n {
        s = s * 0.5 + x[k].exp() * (7 / d) as f64;
    }
    s
}

#[test]
fn what_may_fail_stays() {
    let x = [0.5, 0.2];
    assert_eq!(compiled(|| picks::value_and_grad(&x, 9, 0, 0)), (0.0, vec![0.0; 2]));
    let (v, g) = compiled(|| picks::value_and_grad(&x, 1, 2, 5));
    near(v, picks(&x, 1, 2, 5), 1e-14);
    assert_eq!(g, dynamic(|| picks::grad(&x, 1, 2, 5)));
}

/// The product is the same in all trips.
#[differentiable]
fn recurrent(w: &Tensor<f64>, u: &Tensor<f64>, x: &Tensor<f64>) -> Tensor<f64> {
    let mut h = x * 1.5;
    while h.norm() < 100.0 {
        h = (h.matmul(&w.matmul(u).exp()) + x.exp().mean()) * 1.1;
    }
    h.sum()
}

#[test]
fn products_leave_loops_over_tensors() {
    // of so many elements that the loop is none of scalars
    let tensor = |s: f64| (Tensor::<f64>::arange(121).reshape(&[11, 11]) * (0.07 * s)).sin() * 0.3;
    let (w, u) = (tensor(1.0), tensor(2.5));
    let all = |t: &[&Tensor<f64>]| t.iter().flat_map(|t| t.to_vec()).collect::<Vec<f64>>();
    // no trips, one, some
    for scale in [200.0, 20.0, 0.4] {
        let x = tensor(1.0) * scale;
        let e = recurrent::explain(&w, &u, &x).unwrap();
        assert!(e.kernels.iter().any(|k| k.kind == "matmul"), "{e}");
        let (v, g) = compiled(|| recurrent::value_and_grad(&w, &u, &x));
        let (vd, gd) = dynamic(|| recurrent::value_and_grad(&w, &u, &x));
        let h = compiled(|| recurrent::hvp(&w, &u, &x, &u, &x, &w));
        let hd = dynamic(|| recurrent::hvp(&w, &u, &x, &u, &x, &w));
        let found = all(&[&v, &g.0, &g.1, &g.2, &h.0, &h.1, &h.2]);
        let wanted = all(&[&vd, &gd.0, &gd.1, &gd.2, &hd.0, &hd.1, &hd.2]);
        found.iter().zip(&wanted).for_each(|(a, b)| near(*a, *b, 1e-9));
    }
}
