//! Entry points at many arguments: loops over lists where the function is one of scalars, calls otherwise.

use autograd::prelude::*;

#[differentiable]
fn wave(x: f64, k: [f64; 2]) -> f64 {
    (k[0] * x).sin() * (-x * x * k[1]).exp()
}

#[differentiable]
fn newton(x: f64) -> f64 {
    let mut y = x;
    while (y * y - x).abs() > 1e-12 {
        y = 0.5 * (y + x / y);
    }
    y
}

#[differentiable]
fn polar(r: f64, angle: f64) -> [f64; 2] {
    [r * angle.cos(), r * angle.sin()]
}

#[differentiable]
fn length(x: &[f64], scale: f64) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt() * scale
}

#[differentiable(wrt(x))]
fn chosen(x: f32, positive: bool) -> f32 {
    if positive { x.exp() } else { x * x }
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-12 * (1.0 + b.abs()), "{a} and {b}");
}

#[test]
fn every_entry_point_gives_what_calls_one_by_one_give() {
    for n in [0usize, 1, 2, 7, 1000, 5000] {
        let xs: Vec<f64> = (0..n).map(|i| (i as f64 * 0.37).sin() * 2.0).collect();
        let ks: Vec<[f64; 2]> = (0..n).map(|i| [1.0 + i as f64 * 0.001, 0.5]).collect();
        let (dxs, dks) = (vec![0.5; n], vec![[1.0, -1.0]; n]);
        let values = wave::vmap_value(&xs, &ks).unwrap();
        let grads = wave::vmap_grad(&xs, &ks).unwrap();
        let both = wave::vmap_value_and_grad(&xs, &ks).unwrap();
        let jvps = wave::vmap_jvp(&xs, &ks, &dxs, &dks).unwrap();
        let hvps = wave::vmap_hvp(&xs, &ks, &dxs, &dks).unwrap();
        let hessians = wave::vmap_hessian(&xs, &ks).unwrap();
        assert_eq!((values.len(), grads.len(), both.len(), hessians.len()), (n, n, n, n));
        for i in (0..n).step_by(1 + n / 50) {
            let (x, k) = (xs[i], ks[i]);
            close(values[i], wave(x, k));
            let (value, (dx, dk)) = wave::value_and_grad(x, k).unwrap();
            let (dx2, dk2) = (grads[i], both[i]);
            close(dx2.0, dx);
            close(dx2.1[0], dk[0]);
            close(dk2.0, value);
            close(dk2.1.1[1], dk[1]);
            let (_, tangent) = wave::jvp(x, k, 0.5, [1.0, -1.0]).unwrap();
            close(jvps[i].1, tangent);
            let h = wave::hvp(x, k, 0.5, [1.0, -1.0]).unwrap();
            close(hvps[i].0, h.0);
            close(hvps[i].1[0], h.1[0]);
            let whole = wave::hessian(x, k).unwrap();
            close(hessians[i].0.0, whole.0.0);
            close(hessians[i].1.1[1][0], whole.1.1[1][0]);
        }
    }
}

#[test]
fn one_item_stands_for_all() {
    let xs = [0.1, 0.2, 0.3];
    let grads = wave::vmap_grad(&xs, &[[2.0, 1.0]]).unwrap();
    for (x, g) in xs.iter().zip(&grads) {
        assert_eq!(*g, wave::grad(*x, [2.0, 1.0]).unwrap());
    }
    let e = wave::vmap_grad(&xs, &[[2.0, 1.0]; 2]).unwrap_err().to_string();
    assert!(e.contains("wave") && e.contains('3') && e.contains('2'), "{e}");
}

#[test]
fn loops_and_matrices() {
    let xs: Vec<f64> = (2..3000).map(f64::from).collect();
    for (x, g) in xs.iter().zip(newton::vmap_grad(&xs).unwrap()) {
        assert!((g - 0.5 / x.sqrt()).abs() < 1e-9, "{x}: {g}");
    }
    let (r, angle) = ([1.0, 2.0], [0.3, -0.4]);
    let all = polar::vmap_jacobian(&r, &angle).unwrap();
    for i in 0..2 {
        assert_eq!(all[i], polar::jacobian(r[i], angle[i]).unwrap());
    }
}

#[test]
fn other_functions_are_called_one_by_one() {
    let rows = [vec![3.0, 4.0], vec![1.0], vec![]];
    let values = length::vmap_value(&rows, &[2.0]).unwrap();
    assert_eq!(values, [10.0, 2.0, 0.0]);
    let slices: Vec<&[f64]> = rows[..2].iter().map(Vec::as_slice).collect();
    let grads = length::vmap_grad(&slices, &[2.0]).unwrap();
    close(grads[0].0[1], 1.6);
    let g = chosen::vmap_grad(&[1.0f32, 2.0], &[true, false]).unwrap();
    assert_eq!(g, [1.0f32.exp(), 4.0]);
    let dynamic = with_engine(Engine::Dynamic, || wave::vmap_grad(&[0.5], &[[1.0, 2.0]])).unwrap();
    close(dynamic[0].0, wave::grad(0.5, [1.0, 2.0]).unwrap().0);
}

#[test]
fn the_first_error_is_returned() {
    #[differentiable(max_trips = 5)]
    fn endless(x: f64) -> f64 {
        let mut y = x;
        while y > 0.0 {
            y *= 1.5;
        }
        y
    }
    let e = endless::vmap_grad(&[-1.0, 2.0, -3.0]).unwrap_err().to_string();
    assert!(e.contains("trips"), "{e}");
}

/// Branches of every form: an early return, one inside another, one around a function that is costly, an extremum.
#[differentiable]
fn branches(x: f64, p: [f64; 2]) -> [f64; 2] {
    if x == 0.0 {
        return [p[0] * 3.0, p[1]];
    }
    let mut y = (x * x).sqrt();
    if x > 1.0 {
        y *= if p[0] > p[1] { p[0].exp() } else { p[1] / x };
    } else if y < 0.5 {
        y += (x * p[1]).sin();
    }
    [y.max(p[0]), y / x]
}

#[test]
fn branches_give_what_calls_one_by_one_give() {
    let n = 700;
    let xs: Vec<f64> = (0..n).map(|i| f64::from(i % 41 - 20) * 0.13).collect();
    let ps: Vec<[f64; 2]> = (0..n).map(|i| [f64::from(i % 7) - 3.0, f64::from(i % 5) - 1.5]).collect();
    let (dxs, dps) = (vec![0.5; xs.len()], vec![[1.0, -1.0]; xs.len()]);
    let values = branches::vmap_value(&xs, &ps).unwrap();
    let jacobians = branches::vmap_jacobian(&xs, &ps).unwrap();
    let jvps = branches::vmap_jvp(&xs, &ps, &dxs, &dps).unwrap();
    let bits = |all: &[f64]| all.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for i in 0..xs.len() {
        let (x, p) = (xs[i], ps[i]);
        assert_eq!(bits(&values[i]), bits(&branches::value(x, p).unwrap()), "at {x} and {p:?}");
        let (in_x, in_p) = branches::jacobian(x, p).unwrap();
        assert_eq!(bits(&jacobians[i].0), bits(&in_x), "at {x} and {p:?}");
        assert_eq!(bits(jacobians[i].1.as_flattened()), bits(in_p.as_flattened()), "at {x} and {p:?}");
        assert_eq!(bits(&jvps[i].1), bits(&branches::jvp(x, p, 0.5, [1.0, -1.0]).unwrap().1), "at {x} and {p:?}");
    }
}
