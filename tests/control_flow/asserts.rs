//! Assertions on what depends on data: the functions compile, and each call says what does not hold, whatever is asked of it.

use super::{agrees, compiled};
use autograd::{Engine, prelude::*, with_engine};

#[differentiable]
fn price(spot: f64, sigma: f64) -> f64 {
    assert!(sigma > 0.0);
    assert!(spot.is_finite() && spot >= 0.0, "spot is {spot}");
    spot * sigma.sqrt()
}

/// A derivative that does not depend on what is asserted.
#[differentiable]
fn linear(x: f64, k: f64) -> f64 {
    if x <= 0.0 {
        panic!("x is {x}")
    }
    2.0 * x + k
}

#[differentiable]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "{} values", "other");
    let mut s = 0.0;
    for i in 0..a.len() {
        s += a[i] * b[i];
    }
    s
}

#[differentiable]
fn in_loop(x: &[f64]) -> f64 {
    let mut s = 0.0;
    for i in 0..x.len() {
        assert!(x[i] >= 0.0, "element {i} is {}", x[i]);
        s += x[i].sqrt() * x[i];
    }
    s
}

#[differentiable]
fn inverse(x: f64) -> f64 {
    debug_assert!(x != 0.0, "zero");
    1.0 / x
}

#[differentiable]
fn calls(x: &[f64]) -> f64 {
    let mut s = 0.0;
    for v in x {
        s += inverse(*v);
    }
    s
}

#[differentiable]
fn branches(x: &[f64]) -> f64 {
    let y = if x[0] > 1.0 {
        assert!(x[1] > 0.0, "no logarithm of {}", x[1]);
        x[0] * x[1].ln()
    } else if x[0] < 0.0 {
        unreachable!("below 0")
    } else {
        x[0] * x[0]
    };
    y * 3.0
}

#[differentiable]
fn implied(x: &[f64], strict: bool) -> f64 {
    if strict {
        assert!(x[0] > 0.0, "strictly");
    }
    if x[1] > 5.0 {
        if x[0] > 7.0 {
            panic!("both");
        }
    }
    x[0] * x[0] * x[1]
}

#[differentiable]
fn early(x: &[f64]) -> f64 {
    if x[0] < 0.0 {
        return x[1] * x[1];
    }
    assert!(x[1] > 0.0, "later");
    x[0] * x[1].ln()
}

/// Would not end where the step is none.
#[differentiable]
fn march(x: f64, h: f64) -> f64 {
    assert!(h > 0.0, "a step of {h}");
    let (mut t, mut y) = (0.0, x);
    while t < 1.0 {
        y += h * (-y * y);
        t += h;
    }
    y
}

#[differentiable]
fn scaled(x: &[f64], h: f64) -> Vec<f64> {
    assert!(h > 0.0, "a step of {h}");
    let mut y = vec![0.0; x.len()];
    for i in 0..x.len() {
        y[i] = x[i] * h;
    }
    y
}

#[differentiable]
fn simulate(x: &[f64], dt: f64, steps: usize) -> f64 {
    let n = x.len();
    let mut u = x.to_vec();
    let mut v = vec![0.0; n];
    for _ in 0..steps {
        for i in 0..n {
            v[i] -= dt * u[i];
        }
        for i in 0..n {
            u[i] += dt * v[i];
        }
        let e: f64 = u.iter().map(|a| a * a).sum();
        assert!(e < 1e6, "blew up");
    }
    u.iter().sum()
}

#[differentiable]
fn root(a: f64) -> f64 {
    let (mut x, mut n) = (a, 0);
    while (x * x - a).abs() > 1e-12 {
        x = 0.5 * (x + a / x);
        n += 1;
        assert!(n < 50, "does not settle");
    }
    x
}

#[differentiable]
fn mapped(x: &[f64]) -> f64 {
    let sum = |v: &f64| {
        assert!(*v > 0.0, "no logarithm of {v}");
        v.ln()
    };
    x.iter().map(sum).sum()
}

/// A loop that only asserts something, and questions of all items.
#[differentiable]
fn checked(x: &[f64]) -> f64 {
    for v in x {
        assert!(*v > 0.0, "{v} is not positive");
    }
    for i in 1..x.len() {
        if x[i] < x[i - 1] {
            panic!("not in order at {i}");
        }
    }
    assert!(x.iter().all(|v| v.is_finite()), "not finite");
    assert!((1..=3).contains(&x.len()), "{} values", x.len());
    x.iter().map(|v| v.ln()).sum()
}

/// The derivative needs nothing of what asserts.
#[differentiable]
fn beside(x: f64, k: f64) -> f64 {
    let c = if k > 1.0 {
        assert!(x > 0.0, "in a branch");
        2.0
    } else {
        3.0
    };
    let _unread = if k > 5.0 && inverse(x) > 0.0 { inverse(k - 6.0) } else { 0.0 };
    c + x * x
}

/// What is no statement of the function's own, and what is about other things than numbers.
#[differentiable]
fn others(x: f64, n: usize) -> f64 {
    const N: usize = 3;
    const _: () = assert!(N > 2);
    fn inner(n: usize) -> usize {
        assert!(n < 10);
        n
    }
    #[cfg(any())]
    assert!(is_not_there > 0);
    let items = [1usize, 2, 3];
    assert!(items[..2] == [1, 2]);
    let name = String::from("n");
    assert!(n > 0, "{}", name.clone() + " is none");
    assert_eq!(name.len(), 1, "{name}");
    let yes = &true;
    assert!(yes);
    assert!(matches!(n, 1..=9));
    let none: Option<usize> = None;
    assert_eq!(none, None);
    let seed = 5_000_000_000u64;
    assert_eq!(seed, 5_000_000_000);
    x * (inner(n) + const { N }) as f64
}

#[differentiable]
fn unit(x: [f64; 3]) -> [f64; 3] {
    let n = (x[0] * x[0] + x[1] * x[1] + x[2] * x[2]).sqrt();
    assert_ne!(n, 0.0, "no direction");
    [x[0] / n, x[1] / n, x[2] / n]
}

#[differentiable]
fn tensors(x: &Tensor<f64>) -> Tensor<f64> {
    assert!(x.min() > 0.0, "not positive");
    (x.log() * x).sum()
}

#[test]
fn what_holds_changes_nothing() {
    let two = |g: (f64, (f64, f64))| (g.0, vec![g.1.0, g.1.1]);
    agrees(&[2.0, 0.25], |x| price(x[0], x[1]), |x| price::value_and_grad(x[0], x[1]).map(two));
    agrees(&[2.0, 0.25], |x| linear(x[0], x[1]), |x| linear::value_and_grad(x[0], x[1]).map(two));
    agrees(&[2.0, 0.13], |x| march(x[0], x[1]), |x| march::value_and_grad(x[0], x[1]).map(two));
    agrees(&[1.0, 4.0, 9.0], in_loop, in_loop::value_and_grad);
    agrees(&[1.0, 4.0, -9.0], calls, calls::value_and_grad);
    agrees(&[1.0, 4.0, 9.0], mapped, mapped::value_and_grad);
    agrees(&[2.0, 3.0], branches, branches::value_and_grad);
    agrees(&[0.5, -3.0], branches, branches::value_and_grad);
    agrees(&[2.0, 3.0], early, early::value_and_grad);
    agrees(&[-2.0, -3.0], early, early::value_and_grad);
    agrees(&[1.0, 4.0, 9.0], checked, checked::value_and_grad);
    agrees(&[2.0, 3.0], |x| beside(x[0], x[1]), |x| beside::value_and_grad(x[0], x[1]).map(two));
    agrees(&[2.0], |x| others(x[0], 4), |x| others::value_and_grad(x[0], 4).map(|(y, g)| (y, vec![g])));
    agrees(&[2.0], |x| root(x[0]), |x| root::value_and_grad(x[0]).map(|(y, g)| (y, vec![g])));
    for (x, strict) in [([3.0, 6.0], true), ([-3.0, 6.0], false), ([8.0, 2.0], true)] {
        agrees(&x, |x| implied(x, strict), |x| implied::value_and_grad(x, strict));
    }
    let of = |x: &[f64]| simulate::value_and_grad(x, 0.1, 10).map(|(y, g)| (y, g.0));
    agrees(&[1.0, 2.0, 3.0], |x| simulate(x, 0.1, 10), of);
    let of = |x: &[f64]| dot::value_and_grad(x, &[2.0, 3.0]).map(|(y, g)| (y, g.0));
    agrees(&[1.0, 2.0], |x| dot(x, &[2.0, 3.0]), of);
    let x = Tensor::from_vec(vec![1.0, 2.0], [2]);
    assert_eq!(compiled(|| tensors::grad(&x)).to_vec(), [1.0, 1.0 + 2f64.ln()]);
    assert_eq!(compiled(|| scaled::jvp(&[1.0, 2.0], 0.5, &[1.0, 0.0], 1.0)), (vec![0.5, 1.0], vec![1.5, 2.0]));
    // they stand outside of the derivatives of the second order too
    assert_eq!(compiled(|| mapped::hvp(&[1.0, 2.0], &[1.0, 1.0])), [-1.0, -0.25]);
    assert_eq!(compiled(|| mapped::hessian_sparse(&[1.0, 2.0])).nnz(), 2);
    assert_eq!(compiled(|| price::hessian(2.0, 0.25)), ((0.0, 1.0), (1.0, -4.0)));
}

#[test]
fn what_does_not_hold_is_said() {
    fn says<T>(found: autograd::Result<T>, what: &str) {
        let e = found.map(drop).unwrap_err().to_string();
        assert!(e.contains("panicked") && e.contains(what), "{e}");
    }
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, || {
            says(price::value(2.0, -1.0), "price panicked: assertion failed: sigma > 0.0");
            says(price::grad(f64::NAN, 1.0), "price panicked: spot is NaN");
            says(price::hessian(1.0, 0.0), "sigma > 0.0");
            says(price::vmap_grad(&[1.0, 2.0], &[1.0, 0.0]), "sigma > 0.0");
            says(linear::grad(-1.0, 1.0), "x is -1");
            says(linear::jvp(-1.0, 1.0, 1.0, 0.0), "x is -1");
            says(dot::grad(&[1.0], &[1.0, 2.0]), "failed: other values\n  left: 1\n right: 2");
            says(in_loop::grad(&[1.0, -2.0]), "element 1 is -2");
            says(calls::value(&[1.0, 0.0]), "zero");
            says(branches::grad(&[2.0, -1.0]), "no logarithm of -1");
            says(branches::value(&[-2.0, -1.0]), "unreachable code: below 0");
            says(implied::grad(&[-1.0, 1.0], true), "strictly");
            says(implied::value(&[8.0, 6.0], false), "both");
            says(early::grad(&[1.0, -1.0]), "later");
            says(march::value(1.0, 0.0), "a step of 0");
            says(march::grad(1.0, -1.0), "a step of -1");
            says(scaled::value(&[1.0], 0.0), "a step of 0");
            says(scaled::jacobian(&[1.0], 0.0), "a step of 0");
            says(simulate::grad(&[1e4, 1.0], 0.1, 5), "blew up");
            says(root::grad(-2.0), "does not settle");
            says(mapped::hessian_sparse(&[1.0, -2.0]), "no logarithm of -2");
            says(mapped::vjp(&[1.0, -2.0]), "no logarithm of -2");
            says(checked::grad(&[1.0, -2.0]), "-2 is not positive");
            says(checked::value(&[3.0, 2.0]), "not in order at 1");
            says(checked::grad(&[1.0; 4]), "4 values");
            says(beside::grad(-1.0, 2.0), "in a branch");
            says(beside::hessian(-1.0, 2.0), "in a branch");
            says(beside::grad(1.0, 6.0), "zero");
            says(others::value(1.0, 0), "n is none");
            says(unit::jacobian([0.0; 3]), "no direction");
            says(tensors::grad(&Tensor::from_vec(vec![1.0, -2.0], [2])), "not positive");
        });
    }
    // a kept function is none the worse for it
    let kept = price::compile(1.0, 1.0).unwrap();
    says(kept.grad(1.0, -1.0), "sigma > 0.0");
    assert_eq!(kept.grad(2.0, 4.0).unwrap(), (2.0, 0.5));
}
