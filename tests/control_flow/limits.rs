//! What does not end, does not fit or is not there is an error with its place; one program serves all lengths.

use super::{agrees, compiled, dynamic, near};
use autograd::{Engine, cache_stats, prelude::*};

#[differentiable]
fn decay(x: &[f64], rate: f64, steps: usize) -> f64 {
    let mut state = 0.0;
    for i in 0..x.len() {
        state = state * rate + x[i].sin();
    }
    for _ in 0..steps {
        state = state - 0.01 * state.powi(3);
    }
    state
}

#[test]
fn one_program_for_all_lengths() {
    let x: Vec<f64> = (0..100).map(|i| f64::from(i).cos()).collect();
    let (g, _) = compiled(|| decay::grad(&x, 0.9, 3));
    assert_eq!(g.len(), 100);
    // other tests compile beside this one: what this function compiles shows in its own times
    let first = decay::explain(&x[..1], 0.9, 3).unwrap();
    assert!(first.per_length.is_none(), "{first}");
    for n in 0..100 {
        let (value, (g, r)) = compiled(|| decay::value_and_grad(&x[..n], 0.9, n));
        let (wanted, (h, s)) = dynamic(|| decay::value_and_grad(&x[..n], 0.9, n));
        near(value, wanted, 1e-13);
        near(r, s, 1e-12);
        assert_eq!(g.len(), n);
        g.iter().zip(&h).for_each(|(a, b)| near(*a, *b, 1e-12));
        let all = decay::explain(&x[..n], 0.9, n).unwrap();
        assert_eq!((all.nodes, all.code_bytes), (first.nodes, first.code_bytes));
    }
    agrees(&[0.3, 0.4, 0.5], |x| decay(x, 0.9, 30), |x| decay::value_and_grad(x, 0.9, 30).map(|(v, (d, _))| (v, d)));
    let kept = decay::compile(&x, 0.9, 1).unwrap();
    for n in [1usize, 20, 100] {
        let (value, (dx, drate)) = kept.value_and_grad(&x[..n], 0.5, 2 * n).unwrap();
        near(value, decay(&x[..n], 0.5, 2 * n), 1e-12);
        let (want, dwant) = dynamic(|| decay::grad(&x[..n], 0.5, 2 * n));
        near(drate, dwant, 1e-10);
        dx.iter().zip(&want).for_each(|(a, b)| near(*a, *b, 1e-10));
    }
    let mut out = [0.0; 7];
    kept.grad_into(&x[..7], 0.5, 11, &mut out, &mut 0.0).unwrap();
    assert_eq!(out.to_vec(), compiled(|| decay::grad(&x[..7], 0.5, 11)).0);
    assert!(kept.grad_into(&x[..6], 0.5, 11, &mut out, &mut 0.0).is_err());
    assert!(cache_stats().entries > 0);
}

#[differentiable]
fn picked(x: &[f64], k: usize, d: i64) -> f64 {
    let mut sum = 0.0;
    for i in 0..x.len() {
        sum += x[i] * ((i as i64 + 7) / d) as f64;
    }
    sum * x[k]
}

#[test]
fn indices_and_divisors_are_checked() {
    let x = [0.5, 1.5, -2.0];
    let (v, _) = compiled(|| picked::value_and_grad(&x, 2, 2));
    assert_eq!(v, picked(&x, 2, 2));
    for engine in [Engine::Compiled, Engine::Dynamic] {
        let text = |k, d| with_engine(engine, || picked::grad(&x, k, d)).unwrap_err().to_string();
        let e = text(3, 2);
        assert!(e.contains("below the length 3, found 3") && e.contains("limits.rs:"), "{e}");
        let e = text(0, 0);
        assert!(e.contains("divisor other than 0") && e.contains("limits.rs:"), "{e}");
    }
}

#[differentiable(wrt(x), max_trips = 1000)]
fn halves(x: f64, by: f64) -> f64 {
    let mut y = x;
    while y > 1.0 {
        y *= by;
    }
    y
}

#[test]
fn a_loop_that_never_ends_is_an_error() {
    assert_eq!(compiled(|| halves::value_and_grad(40.0, 0.5)), (0.625, 1.0 / 64.0));
    for engine in [Engine::Compiled, Engine::Dynamic] {
        let e = with_engine(engine, || halves::grad(40.0, 1.0)).unwrap_err().to_string();
        assert!(e.contains("at most 1000 trips") && e.contains("limits.rs:"), "{e}");
    }
}

#[differentiable]
fn wander(x: f64, y: f64, n: usize) -> f64 {
    let mut s = x;
    let mut t = 0.0;
    for i in 0..n {
        s = (s * x + y).sin() + 0.01 * (i % 7) as f64;
        if s > 0.5 {
            t += s * y;
        }
    }
    s + t
}
#[differentiable(checkpoint(memory = "4 KB"))]
fn bounded(x: f64, y: f64, n: usize) -> f64 {
    wander(x, y, n)
}

#[test]
fn less_memory_gives_the_same_gradient() {
    for n in [0, 1, 15, 16, 17, 1000, 20_000] {
        assert_eq!(compiled(|| wander::value_and_grad(0.7, 0.4, n)), compiled(|| bounded::value_and_grad(0.7, 0.4, n)));
        let (a, b) =
            (compiled(|| wander::hvp(0.7, 0.4, n, 1.0, -0.5)), compiled(|| bounded::hvp(0.7, 0.4, n, 1.0, -0.5)));
        near(a.0, b.0, 1e-12);
        near(a.1, b.1, 1e-12);
    }
    let (v, (dx, dy)) = compiled(|| bounded::value_and_grad(0.7, 0.4, 1000));
    near(v, wander(0.7, 0.4, 1000), 1e-12);
    let (_, (ex, ey)) = dynamic(|| bounded::value_and_grad(0.7, 0.4, 1000));
    near(dx, ex, 1e-10);
    near(dy, ey, 1e-10);
}

/// A loop whose trips nobody knows, around one over a slice, with flags among what it carries.
#[differentiable]
fn settles(x: &[f64], y: f64, n: usize) -> f64 {
    let (mut s, mut t) = (1.0, 0.0);
    let mut k = 0;
    while s > 1e-4 && k < n {
        for i in 0..x.len() {
            if s * x[i] > 2.0 {
                break;
            }
            s = (s * x[i] + y).sin() * 0.999;
        }
        t = t * 0.5 + s * y.exp();
        k += 1;
    }
    s + t
}
#[differentiable(checkpoint(memory = "2 KB"))]
fn settles_within(x: &[f64], y: f64, n: usize) -> f64 {
    settles(x, y, n)
}

#[test]
fn loops_in_loops_keep_their_bits_in_less_memory() {
    let x: Vec<f64> = (0..40).map(|i| 1.0 + 0.3 * f64::from(i).cos()).collect();
    for (m, n) in [(40, 0), (0, 9), (1, 700), (17, 40), (40, 1000)] {
        let whole = compiled(|| settles::value_and_grad(&x[..m], 0.1, n));
        assert_eq!(whole, compiled(|| settles_within::value_and_grad(&x[..m], 0.1, n)));
        let h = compiled(|| settles::hvp(&x[..m], 0.1, n, &x[..m], 1.0));
        let bounded = compiled(|| settles_within::hvp(&x[..m], 0.1, n, &x[..m], 1.0));
        near(h.1, bounded.1, 1e-12);
        h.0.iter().zip(&bounded.0).for_each(|(a, b)| near(*a, *b, 1e-12));
    }
    let (v, (dx, dy)) = dynamic(|| settles::value_and_grad(&x[..5], 0.1, 60));
    let (w, (ex, ey)) = compiled(|| settles_within::value_and_grad(&x[..5], 0.1, 60));
    near(w, v, 1e-12);
    near(ey, dy, 1e-9);
    ex.iter().zip(&dx).for_each(|(a, b)| near(*a, *b, 1e-9));
}

/// Calls itself as often as the data say.
#[differentiable]
fn halving(x: f64) -> f64 {
    if x < 1.0 { x * x } else { 0.5 * halving(x * 0.5) + 1.0 }
}
#[differentiable]
fn even(x: f64, n: u32) -> f64 {
    if n == 0 { x } else { odd(x * 1.5, n - 1) }
}
#[differentiable]
fn odd(x: f64, n: u32) -> f64 {
    if n == 0 { -x } else { even(x.sin(), n - 1) }
}

#[differentiable]
fn ping(x: f64) -> f64 {
    if x < 1.0 { x * x } else { pong(x * 0.5) + x }
}
#[differentiable]
fn pong(x: f64) -> f64 {
    if x < 1.0 { x.sin() } else { ping(x * 0.5) * 0.5 }
}

#[test]
fn functions_that_call_themselves_end() {
    let (v, g) = halving::value_and_grad(700.0).unwrap();
    assert_eq!(v, halving(700.0));
    assert_eq!(g, dynamic(|| halving::grad(700.0)));
    assert_eq!(g, compiled(|| halving::grad(700.0)));
    // one through the other is not followed, where data end it
    assert_eq!(ping::grad(700.0).unwrap(), dynamic(|| ping::grad(700.0)));
    let e = with_engine(Engine::Compiled, || ping::grad(700.0)).unwrap_err().to_string();
    assert!(e.contains("calls itself"), "{e}");
    for n in [0, 1, 6] {
        let (v, g) = even::value_and_grad(0.4, n).unwrap();
        assert_eq!(v, even(0.4, n));
        near(g, dynamic(|| even::grad(0.4, n)), 1e-14);
    }
}

#[differentiable]
fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}
#[differentiable]
fn filled(x: &[f64; 3], n: usize, k: usize) -> f64 {
    let mut v = [0.5; 3];
    for i in 0..n {
        v[i % 3] += x[(i + &k) % 3];
    }
    dot(&v, x)
}

#[test]
fn lists_go_where_arrays_are_taken() {
    let x = [0.3, -1.0, 2.0];
    for n in [0, 2, 50] {
        let (v, g) = compiled(|| filled::value_and_grad(&x, n, 1));
        assert_eq!(v, filled(&x, n, 1));
        let h = dynamic(|| filled::grad(&x, n, 1));
        g.iter().zip(&h).for_each(|(a, b)| near(*a, *b, 1e-12));
    }
}

const TABLE: [f64; 4] = [0.5, 1.5, -1.0, 2.0];

/// Plain code in a branch that does not run must not be asked about values that are not there.
#[differentiable]
fn looked_up(x: f64, v: &[f64], n: usize) -> f64 {
    let mut y = x;
    if x >= 0.0 && x < 4.0 {
        let i = x.floor() as usize;
        y = x * TABLE[i];
    }
    if v.len() > 2 {
        let m = v.len() - 3;
        y += x * TABLE[m.min(3)];
    }
    if n > 0 {
        y *= TABLE[(n - 1) % 4];
    }
    y
}

#[test]
fn what_does_not_run_reads_nothing() {
    for (x, v, n) in [(-3.0, &[1.0][..], 0), (1.2, &[1.0, 2.0, 3.0], 3), (1e9, &[], 1), (f64::NAN, &[0.0; 5], 0)] {
        let (y, g) = looked_up::value_and_grad(x, v, n).unwrap();
        assert_eq!(y.to_bits(), looked_up(x, v, n).to_bits());
        let (_, h) = dynamic(|| looked_up::value_and_grad(x, v, n));
        assert_eq!((g.0.to_bits(), g.1), (h.0.to_bits(), h.1));
    }
}

/// A list that gets longer from trip to trip.
#[differentiable]
fn grows(x: &[f64]) -> f64 {
    let mut v: Vec<f64> = vec![0.5; 1];
    for i in 0..x.len() {
        let s = v[0].sin() + v[v.len() - 1] * x[i];
        v = vec![0.5; i + 2];
        v[i + 1] = s;
        v[0] = s;
    }
    let mut t = 0.0;
    for i in 0..v.len() {
        t += v[i] * v[i];
    }
    t
}
/// Lists of two lengths that change places.
#[differentiable]
fn exchanged(x: &[f64]) -> f64 {
    let mut v: Vec<f64> = vec![0.5; x.len()];
    let mut w: Vec<f64> = vec![0.25; x.len() + 3];
    for i in 0..x.len() {
        v[0] += w[1].sin() * x[i];
        std::mem::swap(&mut v, &mut w);
    }
    let mut t = 0.0;
    for i in 0..v.len() {
        t += v[i] * v[i];
    }
    t
}

#[test]
fn lists_may_change_their_length() {
    for n in [1, 2, 5, 40] {
        let x: Vec<f64> = (0..n).map(|i| f64::from(i).cos()).collect();
        for (f, plain) in [
            (grows::value_and_grad as fn(&[f64]) -> autograd::Result<(f64, Vec<f64>)>, grows as fn(&[f64]) -> f64),
            (exchanged::value_and_grad, exchanged),
        ] {
            let (v, g) = f(&x).unwrap();
            near(v, plain(&x), 1e-13);
            let (_, h) = dynamic(|| f(&x));
            g.iter().zip(&h).for_each(|(a, b)| near(*a, *b, 1e-12));
        }
    }
}

/// Nobody reads what is written.
#[differentiable]
fn written_for_nobody(x: &[f64], n: usize, d: i64) -> f64 {
    let mut seen = [0.0; 3];
    let mut sum = 0.0;
    for i in 0..n {
        seen[i] = (i as i64 / d) as f64;
        sum += x[0] * x[0];
    }
    sum
}

#[test]
fn what_fails_in_a_loop_fails_though_nobody_reads_it() {
    let run = |n, d| with_engine(Engine::Compiled, || written_for_nobody::value_and_grad(&[0.7], n, d));
    assert_eq!(run(3, 2).unwrap().1, vec![0.7 * 6.0]);
    let out = run(4, 2).unwrap_err().to_string();
    assert!(out.contains("limits.rs") && out.contains('3'), "{out}");
    let zero = run(2, 0).unwrap_err().to_string();
    assert!(zero.contains("limits.rs") && zero.contains("divisor"), "{zero}");
}
