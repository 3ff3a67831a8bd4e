//! Loops and branches that depend on data: compiled, equal to the dynamic engine and to finite differences, of every
//! order.

use super::{compiled, dynamic};
use autograd::{Engine, Tensor, prelude::*, with_engine};

#[differentiable]
fn doubling(a: &Tensor<f64>) -> Tensor<f64> {
    let mut b = a * 2.0;
    while b.norm() < 1000.0 {
        b = b * 2.0;
    }
    if b.sum() > 0.0 { b } else { b * 100.0 }
}

#[differentiable]
fn newton_sqrt(x: f64) -> f64 {
    let mut y = x;
    while (y * y - x).abs() > 1e-12 {
        y = 0.5 * (y + x / y);
    }
    y
}

#[test]
fn a_loop_over_a_tensor_and_a_branch() {
    for sign in [1.0, -1.0] {
        let a = Tensor::<f64>::from_vec(vec![0.5 * sign, -1.25, 3.0 * sign], [3]);
        let (y, pull) = compiled(|| doubling::vjp(&a));
        let (want, _) = dynamic(|| doubling::vjp(&a));
        assert_eq!(y.to_vec(), want.to_vec());
        let v = Tensor::<f64>::from_vec(vec![0.1, 1.0, 0.0001], [3]);
        let g = compiled(|| pull(&v));
        let scale = y.to_vec()[0] / a.to_vec()[0];
        let expected: Vec<f64> = v.to_vec().iter().map(|v| v * scale).collect();
        assert_eq!(g.to_vec(), expected);
        let (y2, t) = compiled(|| doubling::jvp(&a, &v));
        assert_eq!(y2.to_vec(), y.to_vec());
        assert_eq!(t.to_vec(), expected);
        compiled(|| doubling::value(&a));
    }
}

#[test]
fn a_loop_over_scalars() {
    for x in [0.3, 2.0, 1e4] {
        let (y, g) = compiled(|| newton_sqrt::value_and_grad(x));
        assert!((y - x.sqrt()).abs() < 1e-11);
        assert!((g - 0.5 / x.sqrt()).abs() < 1e-6 * g, "{g}");
        assert_eq!(compiled(|| newton_sqrt::grad(x)), g);
        let (yd, gd) = dynamic(|| newton_sqrt::value_and_grad(x));
        assert_eq!((y, g), (yd, gd));
        let (_, t) = compiled(|| newton_sqrt::jvp(x, 1.0));
        assert!((t - g).abs() <= 1e-12 * g);
        let h = compiled(|| newton_sqrt::hvp(x, 1.0));
        let hd = dynamic(|| newton_sqrt::hvp(x, 1.0));
        assert!((h - hd).abs() <= 1e-9 * hd.abs(), "{h} {hd}");
    }
}

/// A step size that is adapted: the length of the loop and its steps depend on the data.
#[differentiable]
fn adaptive(rate: f64, tolerance: f64) -> f64 {
    let mut t = 0.0;
    let mut y = 1.0;
    let mut h = 0.1;
    while t < 1.0 {
        let slope = -rate * y + t;
        let error = (0.5 * h * h * rate * slope).abs();
        if error > tolerance {
            h *= 0.5;
        } else {
            y += h * slope;
            t += h;
            h = if error < 0.1 * tolerance { 1.5 * h } else { h };
        }
    }
    y
}

/// The root of x³ + x = a between bounds, by halving, with a last Newton step that carries the derivative.
#[differentiable]
fn bisection(a: f64) -> f64 {
    let (mut lo, mut hi) = (0.0, 10.0);
    while hi - lo > 1e-9 {
        let mid = 0.5 * (lo + hi);
        if mid * mid * mid + mid < a {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    let x = 0.5 * (lo + hi);
    x - (x * x * x + x - a) / (3.0 * x * x + 1.0)
}

/// Loops in loops, a tuple and an array as state.
#[differentiable]
fn nested(x: f64, y: f64) -> f64 {
    let mut pair = (x, y);
    let mut sums = [0.0, 0.0];
    while pair.0 < 20.0 {
        let mut inner = pair.1;
        while inner * inner < 4.0 + pair.0 {
            inner = inner * 1.3 + 0.1 * x;
        }
        pair.0 += inner;
        sums[0] += inner.sin();
        sums[1] = if sums[0] > 0.5 && inner > 2.0 || x < 0.0 { sums[1] + y } else { sums[1] * 0.5 };
    }
    sums[0] * pair.0 + sums[1]
}

/// Tensors of the caller are moved in branches, and captured.
#[differentiable]
fn branches(w: &Tensor<f64>, x: &Tensor<f64>) -> Tensor<f64> {
    let h = w.matmul(x);
    let scaled = h.tanh();
    let out = if !(h.sum() > 0.0) {
        scaled
    } else if h.max() < 3.0 {
        h * scaled
    } else {
        (h + w).exp()
    };
    (out * x).sum()
}

/// A leaky rectifier as it is written by hand.
#[differentiable]
fn leaky(v: &[f64]) -> f64 {
    v.iter().map(|&x| if x > 0.0 { x } else { 0.1 * x }).sum()
}

#[test]
fn a_gallery_compiles_and_agrees() {
    let near = |a: f64, b: f64| assert!((a - b).abs() <= 1e-10 * (1.0 + b.abs()), "{a} {b}");
    for rate in [0.7, 3.0] {
        let (y, (d, _)) = compiled(|| adaptive::value_and_grad(rate, 1e-4));
        let (want, (wanted, _)) = dynamic(|| adaptive::value_and_grad(rate, 1e-4));
        near(y, want);
        near(d, wanted);
        near(y, adaptive(rate, 1e-4));
    }
    for a in [0.5, 30.0] {
        let g = compiled(|| bisection::grad(a));
        let x = bisection(a);
        near(g, dynamic(|| bisection::grad(a)));
        // the last step has the derivative of the root
        assert!((g - 1.0 / (3.0 * x * x + 1.0)).abs() < 1e-6, "{g}");
    }
    for (x, y) in [(0.5, 1.2), (3.0, 0.4), (-0.4, 1.0)] {
        let (v, (dx, dy)) = compiled(|| nested::value_and_grad(x, y));
        let (w, (ex, ey)) = dynamic(|| nested::value_and_grad(x, y));
        near(v, w);
        near(dx, ex);
        near(dy, ey);
        let h = 1e-6;
        near(v, nested(x, y));
        let fd = (nested(x + h, y) - nested(x - h, y)) / (2.0 * h);
        assert!((fd - dx).abs() < 1e-4 * (1.0 + dx.abs()), "{fd} {dx}");
        let (a, b) = (compiled(|| nested::hvp(x, y, 1.0, -2.0)), dynamic(|| nested::hvp(x, y, 1.0, -2.0)));
        assert!((a.0 - b.0).abs() <= 1e-8 * (1.0 + b.0.abs()) && (a.1 - b.1).abs() <= 1e-8 * (1.0 + b.1.abs()));
    }
    for scale in [-0.4, 0.2, 2.0] {
        let w = Tensor::<f64>::arange(9).reshape(&[3, 3]) * (scale * 0.1);
        let x = Tensor::<f64>::eye(3) + 0.5;
        let (a, b) = compiled(|| branches::grad(&w, &x));
        let (c, d) = dynamic(|| branches::grad(&w, &x));
        let all = |t: &Tensor<f64>| t.to_vec();
        for (p, q) in all(&a).into_iter().chain(all(&b)).zip(all(&c).into_iter().chain(all(&d))) {
            near(p, q);
        }
    }
    assert_eq!(compiled(|| leaky::grad(&[1.0, -2.0, 3.0])), [1.0, 0.1, 1.0]);
}

/// A limit on the number of trips, which goes into the result.
#[differentiable]
fn counted(x: f64, most: usize) -> f64 {
    let mut y = x;
    let mut trips = 0;
    while y < 100.0 && trips < most {
        y *= x;
        trips += 1;
    }
    if trips == most { y } else { y / trips as f64 }
}

#[test]
fn integers_that_count_are_carried() {
    for most in [2, 50] {
        let (v, g) = compiled(|| counted::value_and_grad(3.0, most));
        assert_eq!(v, counted(3.0, most));
        assert_eq!((v, g), dynamic(|| counted::value_and_grad(3.0, most)));
        assert_eq!(g, if most == 2 { 27.0 } else { 405.0 / 4.0 });
    }
}

/// Every other trip is another one: an integer in arithmetic.
#[differentiable]
fn alternating(x: f64) -> f64 {
    let mut y = x;
    let mut trips = 0;
    while y < 100.0 {
        y *= if trips % 2 == 0 { x } else { 2.0 };
        trips += 1;
    }
    y
}

/// A list of as many items as the data say.
#[differentiable]
fn listed_until(x: f64) -> f64 {
    let mut all = vec![x];
    let mut last = x;
    while last < 100.0 {
        last *= 3.0;
        all.push(last);
    }
    all.iter().sum()
}

#[test]
fn what_cannot_be_staged_runs_dynamically_and_says_why() {
    let (v, g) = compiled(|| alternating::value_and_grad(3.0));
    assert_eq!((v, g), (108.0, 108.0));
    let (v, g) = listed_until::value_and_grad(3.0).unwrap();
    assert_eq!((v, g), (363.0, 121.0));
    let e = with_engine(Engine::Compiled, || listed_until::grad(3.0)).unwrap_err().to_string();
    assert!(e.contains("static value changes in a loop") && e.contains("basics.rs:"), "{e}");
}

#[differentiable]
fn growing(x: &Tensor<f64>) -> Tensor<f64> {
    let mut y = x.clone();
    while y.sum() < 100.0 {
        y = y.matmul(&Tensor::ones([3, 3]));
    }
    y
}

#[test]
fn an_error_inside_a_loop_is_an_error_of_the_call() {
    assert!(growing::value(&Tensor::<f64>::ones([2, 3])).is_ok());
    let e = growing::value(&Tensor::<f64>::ones([2, 2])).unwrap_err().to_string();
    assert!(e.contains("matmul"), "{e}");
}

#[test]
fn one_program_serves_all_numbers_of_trips() {
    let explained = newton_sqrt::explain(2.0).unwrap().to_string();
    assert!(explained.contains("while"), "{explained}");
    let kept = newton_sqrt::compile(2.0).unwrap();
    for x in [1e-3, 1.0, 1e6] {
        let (g, want) = (kept.grad(x).unwrap(), dynamic(|| newton_sqrt::grad(x)));
        assert!((g - want).abs() <= 1e-12 * want.abs(), "{x}: {g}, {want}");
    }
}

#[differentiable]
fn scalar_loop(x: f64, y: f64, n: usize) -> f64 {
    let mut s = 0.0;
    for _ in 0..n {
        s = (s * x + y).sin();
    }
    s
}

#[differentiable]
fn series(x: f64, n: usize) -> f64 {
    let mut sum = 0.0;
    let mut power = 1.0;
    for k in 1..=n {
        power = power * x / k as f64;
        if power.abs() > 1e-3 {
            sum += power * k as f64;
        }
    }
    sum
}

/// Grows a list: unrolled, since its length changes from trip to trip.
#[differentiable]
fn listed(x: f64, n: usize) -> f64 {
    let mut all = vec![x];
    for _ in 0..n {
        all.push(0.5 * all[all.len() - 1] + 1.0);
    }
    all.iter().map(|v| v * v).sum()
}

/// A pendulum over tensors.
#[differentiable]
fn pendulum(state: &Tensor<f64>, steps: usize) -> Tensor<f64> {
    let mut x = state.clone();
    let mut v = state * 0.0;
    for _ in 0..steps {
        v = v - x.sin() * 0.01;
        x = x + &v * 0.01;
    }
    (x * v).sum()
}

#[test]
fn loops_of_known_counts_are_rolled_and_agree() {
    let near = |a: f64, b: f64| assert!((a - b).abs() <= 1e-9 * (1.0 + b.abs()), "{a} {b}");
    for n in [0, 3, 40] {
        let (v, (a, b)) = compiled(|| scalar_loop::value_and_grad(0.7, 0.3, n));
        let (w, (c, d)) = dynamic(|| scalar_loop::value_and_grad(0.7, 0.3, n));
        near(v, w);
        near(a, c);
        near(b, d);
        near(v, scalar_loop(0.7, 0.3, n));
        near(compiled(|| series::grad(1.3, n)), dynamic(|| series::grad(1.3, n)));
        near(compiled(|| series::value(1.3, n)), series(1.3, n));
        near(compiled(|| listed::grad(1.3, n)), dynamic(|| listed::grad(1.3, n)));
        // over a few elements, and over more, for which a trip runs kernels
        for size in [3, 130] {
            let x = Tensor::<f64>::linspace(-1.0, 2.0, size);
            let (p, q) = (compiled(|| pendulum::grad(&x, n)), dynamic(|| pendulum::grad(&x, n)));
            p.to_vec().into_iter().zip(q.to_vec()).for_each(|(a, b)| near(a, b));
            let t = Tensor::<f64>::ones([size]);
            let (p, q) = (compiled(|| pendulum::hvp(&x, n, &t)), dynamic(|| pendulum::hvp(&x, n, &t)));
            p.to_vec().into_iter().zip(q.to_vec()).for_each(|(a, b)| near(a, b));
        }
    }
    let explained = |n: usize| {
        let text = scalar_loop::explain(0.7, 0.3, n).unwrap().to_json();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let nodes = |n: usize| explained(n)["nodes_after"].clone();
    assert_eq!(nodes(20), nodes(10_000_000));
    assert_eq!(nodes(3), nodes(20));
}

/// A search that stops where the data say, with trips that are skipped.
#[differentiable]
fn search(x: f64, limit: f64) -> f64 {
    let mut sum = 0.0;
    let mut step = x;
    loop {
        step *= 1.1;
        if step < 1.5 {
            continue;
        }
        sum += step.sin().abs();
        if sum > limit {
            break;
        }
        step += 0.01 * sum;
    }
    let mut left = sum;
    while left > 0.1 {
        left *= 0.5;
        if left * x < 0.3 {
            left -= 0.01 * x;
            break;
        }
    }
    sum * left
}

/// Newton's method that gives up early, on more than one way.
#[differentiable]
fn guarded(x: f64) -> f64 {
    if x < 0.0 {
        return -x;
    }
    if x > 100.0 {
        let far = x.ln();
        return far * 2.0;
    }
    let mut y = x;
    for _ in 0..100 {
        let next = 0.5 * (y + x / y);
        let change = (next - y).abs();
        y = next;
        if change < 1e-9 {
            break;
        }
    }
    y
}

/// Items that are passed over, and a last one.
#[differentiable]
fn filtered(v: &[f64], limit: f64) -> f64 {
    let mut sum = 0.0;
    for &x in v {
        if x < 0.0 {
            continue;
        }
        if x > limit {
            break;
        }
        sum += x * x;
    }
    sum
}

#[test]
fn break_continue_and_early_return_compile() {
    let near = |a: f64, b: f64| assert!((a - b).abs() <= 1e-9 * (1.0 + b.abs()), "{a} {b}");
    for (x, limit) in [(0.3, 4.0), (2.0, 9.0), (1.7, 0.1)] {
        let (v, (a, _)) = compiled(|| search::value_and_grad(x, limit));
        near(v, search(x, limit));
        near(a, dynamic(|| search::grad(x, limit)).0);
        let h = 1e-7;
        let fd = (search(x + h, limit) - search(x - h, limit)) / (2.0 * h);
        assert!((fd - a).abs() < 1e-4 * (1.0 + a.abs()), "{fd} {a}");
    }
    for x in [-3.0, 0.5, 9.0, 1000.0] {
        let (v, g) = compiled(|| guarded::value_and_grad(x));
        near(v, guarded(x));
        near(g, dynamic(|| guarded::grad(x)));
        near(compiled(|| guarded::hvp(x, 1.0)), dynamic(|| guarded::hvp(x, 1.0)));
    }
    for v in [vec![1.0, -2.0, 3.0, 9.0, 1.0], vec![0.5; 5]] {
        let (g, d) = compiled(|| filtered::grad(&v, 5.0));
        let (want, wanted) = dynamic(|| filtered::grad(&v, 5.0));
        assert_eq!((g, d), (want, wanted));
        near(compiled(|| filtered::value(&v, 5.0)), filtered(&v, 5.0));
    }
}

/// A choice for each pair, in a loop that is unrolled.
#[differentiable]
fn ascents(v: &[f64]) -> f64 {
    let mut sum = 0.0;
    for pair in v.rchunks(2) {
        if pair[1] > pair[0] {
            sum += pair[1].sin() - pair[0];
        }
    }
    sum
}

#[test]
fn very_many_choices_run_dynamically() {
    let v: Vec<f64> = (0..3000).map(|i| f64::from(i).sin()).collect();
    let g = ascents::grad(&v).unwrap();
    assert_eq!(g, dynamic(|| ascents::grad(&v)));
    let e = with_engine(Engine::Compiled, || ascents::grad(&v)).unwrap_err().to_string();
    assert!(e.contains("more than 512 choices"), "{e}");
}
