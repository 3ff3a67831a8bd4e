//! Functions given as roots: derivatives by the implicit function theorem, whatever the method that finds the root.

use autograd::prelude::*;

/// Kepler's equation.
#[differentiable]
fn kepler_residual(e: f64, mean: f64, eccentricity: f64) -> f64 {
    e - eccentricity * e.sin() - mean
}

/// By bisection, which has no derivative of its own.
#[differentiable(root_of(kepler_residual))]
fn kepler(mean: f64, eccentricity: f64) -> f64 {
    let (mut lo, mut hi) = (mean - 1.0, mean + 1.0);
    while hi - lo > 1e-14 {
        let mid = 0.5 * (lo + hi);
        if mid - eccentricity * mid.sin() - mean < 0.0 {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    0.5 * (lo + hi)
}

#[differentiable]
fn position(mean: f64, eccentricity: f64) -> f64 {
    let e = kepler(mean, eccentricity);
    e.cos() - eccentricity
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-8 * (1.0 + b.abs()), "{a} and {b}");
}

#[test]
fn one_unknown_to_the_third_order() {
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, || {
            let (m, c) = (0.7, 0.3);
            let (e, (dm, dc)) = kepler::value_and_grad(m, c).unwrap();
            near(e, kepler(m, c));
            let d = 1.0 - c * e.cos();
            near(dm, 1.0 / d);
            near(dc, e.sin() / d);
            // e′ = 1/(1 − c cos e), so e″ = −c sin e · e′³
            let h = kepler::hessian(m, c).unwrap();
            near(h.0.0, -c * e.sin() / d.powi(3));
            near(h.0.1, h.1.0);
            let (g, _) = position::grad(m, c).unwrap();
            near(g, -e.sin() / d);
        });
    }
    #[differentiable]
    fn second(m: f64, c: f64) -> f64 {
        let (dm, _) = kepler::hvp(m, c, 1.0, 0.0).unwrap();
        dm
    }
    let (m, c, h) = (0.7, 0.3, 1e-5);
    let difference = (second(m + h, c) - second(m - h, c)) / (2.0 * h);
    let (third, _) = second::grad(m, c).unwrap();
    assert!((third - difference).abs() < 1e-5 * difference.abs(), "{third} and {difference}");
}

/// The points where a circle about the origin and a line meet.
#[differentiable]
fn crossing_residual(p: [f64; 2], radius: f64, slope: f64, at: &[f64; 2]) -> [f64; 2] {
    [p[0] * p[0] + p[1] * p[1] - radius * radius, p[1] - at[1] - slope * (p[0] - at[0])]
}

/// In closed form here; what matters is that no derivative is taken of it.
#[differentiable(root_of(crossing_residual))]
fn crossing(radius: f64, slope: f64, at: &[f64; 2]) -> [f64; 2] {
    let b = at[1] - slope * at[0];
    let a = 1.0 + slope * slope;
    let x = (-slope * b + (a * radius * radius - b * b).sqrt()) / a;
    [x, slope * x + b]
}

#[test]
fn several_unknowns() {
    let (radius, slope, at) = (2.0, 0.5, [0.3, -0.2]);
    for engine in [Engine::Compiled, Engine::Dynamic] {
        let (dr, ds, da) = with_engine(engine, || crossing::jacobian(radius, slope, &at)).unwrap();
        let along = |d: &dyn Fn(f64) -> [f64; 2], found: [f64; 2]| {
            let (up, down) = (d(1e-6), d(-1e-6));
            for i in 0..2 {
                let difference = (up[i] - down[i]) / 2e-6;
                assert!((found[i] - difference).abs() < 1e-7, "{found:?} and {difference}");
            }
        };
        along(&|h| crossing(radius + h, slope, &at), dr);
        along(&|h| crossing(radius, slope + h, &at), ds);
        along(&|h| crossing(radius, slope, &[at[0], at[1] + h]), [da[0][1], da[1][1]]);
    }
    #[differentiable]
    fn height(radius: f64, slope: f64) -> f64 {
        crossing(radius, slope, &[0.3, -0.2])[1]
    }
    height::check(radius, slope).unwrap();
}

#[differentiable]
fn relaxed_residual(x: Vec<f64>, rates: &[f64], coupling: f64) -> Vec<f64> {
    let mut out = Vec::new();
    for i in 0..x.len() {
        out.push(x[i] - coupling * (rates[i] * x[(i + 1) % x.len()]).cos());
    }
    out
}

/// A fixed point by iteration.
#[differentiable(root_of(relaxed_residual))]
fn relaxed(rates: &[f64], coupling: f64) -> Vec<f64> {
    let mut x = vec![0.0; rates.len()];
    for _ in 0..200 {
        let old = x.clone();
        for i in 0..old.len() {
            x[i] = coupling * (rates[i] * old[(i + 1) % old.len()]).cos();
        }
    }
    x
}

#[differentiable]
fn energy(rates: &[f64], coupling: f64) -> f64 {
    let x = relaxed(rates, coupling);
    x.iter().map(|v| v * v).sum::<f64>()
}

#[test]
fn fixed_points_of_vectors() {
    let rates = [0.5, 1.2, -0.7];
    let (dr, dc) = energy::grad(&rates, 0.4).unwrap();
    let h = 1e-6;
    near((dc * 1e3).round(), ((energy(&rates, 0.4 + h) - energy(&rates, 0.4 - h)) / (2.0 * h) * 1e3).round());
    for i in 0..3 {
        let moved = |h: f64| {
            let mut r = rates;
            r[i] += h;
            energy(&r, 0.4)
        };
        assert!((dr[i] - (moved(h) - moved(-h)) / (2.0 * h)).abs() < 1e-8);
    }
}

#[differentiable]
fn roots_residual(x: Tensor<f64>, a: &Tensor<f64>) -> Tensor<f64> {
    &x * &x - a
}
#[differentiable(root_of(roots_residual))]
fn roots(a: &Tensor<f64>) -> Tensor<f64> {
    let mut x = a + 1.0;
    for _ in 0..40 {
        x = (&x + a / &x) * 0.5;
    }
    x
}

#[test]
fn tensors_of_unknowns() {
    let a = Tensor::from_vec(vec![2.0, 3.0, 0.5, 7.0], [2, 2]);
    for engine in [Engine::Auto, Engine::Dynamic] {
        let (x, pull) = with_engine(engine, || roots::vjp(&a)).unwrap();
        let g = pull(&Tensor::ones([2, 2])).unwrap().to_vec();
        for (g, x) in g.iter().zip(x.to_vec()) {
            near(*g, 0.5 / x);
        }
    }
}

#[differentiable]
fn wrong_residual(x: f64, a: f64) -> [f64; 2] {
    [x - a, x]
}
#[differentiable(root_of(wrong_residual))]
fn wrong(a: f64) -> f64 {
    a * 1.0
}

#[test]
fn as_many_equations_as_unknowns() {
    for engine in [Engine::Auto, Engine::Dynamic] {
        let e = with_engine(engine, || wrong::grad(1.0)).unwrap_err().to_string();
        assert!(e.contains("wrong") && e.contains("equations") && e.contains("[2]"), "{e}");
    }
}

/// The derivative that is given by the theorem has the residual's loops inside.
#[test]
fn a_residual_with_two_loops() {
    #[differentiable]
    fn residual(x: f64, p: f64, n: usize) -> f64 {
        let mut s = 0.0;
        for _ in 0..n {
            s = (s + x * p).sin();
        }
        let mut t = 0.0;
        for _ in 0..n {
            t = 0.5 * (t + x).sin();
        }
        s + t + 2.0 * x - p
    }
    #[differentiable(root_of(residual))]
    fn root(p: f64, n: usize) -> f64 {
        let (mut low, mut high) = (-4.0, 4.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if residual(middle, p, n) > 0.0 {
                high = middle;
            } else {
                low = middle;
            }
        }
        0.5 * (low + high)
    }
    let (value, slope) = root::value_and_grad(0.3, 4).unwrap();
    let h = 1e-5;
    let wanted = (root(0.3 + h, 4) - root(0.3 - h, 4)) / (2.0 * h);
    assert!((value - root(0.3, 4)).abs() < 1e-12 && (slope - wanted).abs() < 1e-7, "{value} {slope} {wanted}");
}
