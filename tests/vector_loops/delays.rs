//! Numbers that are what another was a trip before, and loops that become one though the second reads what earlier trips of the
//! first have written, or begins elsewhere: values, derivatives and faults.

use super::{LENGTHS, agrees, numbers, vectors};
use autograd::{Engine, prelude::*, with_engine};

/// As [`LENGTHS`], around four trips and over several blocks of a sum too.
const MORE: [usize; 12] = [0, 1, 2, 3, 4, 5, 6, 9, 10, 33, 1000, 3001];

#[differentiable]
fn neighbours(x: &[f64]) -> f64 {
    let (mut before, mut s) = (0.5, 0.0);
    for i in 0..x.len() {
        s += before * x[i];
        before = x[i] * x[i];
    }
    s * before
}

#[test]
fn a_number_of_the_trip_before() {
    assert_eq!(vectors(&neighbours::explain(&[1.0, 2.0]).unwrap()), 2);
    for n in MORE {
        agrees(&numbers(n, 0.3), neighbours, neighbours::value_and_grad);
    }
}

#[differentiable]
fn third_differences(x: &[f64]) -> f64 {
    let (mut a, mut b, mut c) = (0.0, 0.0, 0.0);
    let mut s = 0.0;
    for &v in x {
        let d = v * v - 3.0 * a + 3.0 * b - c;
        s += d * d;
        c = b;
        b = a;
        a = v * v;
    }
    s
}

#[test]
fn numbers_of_three_trips_before() {
    assert_eq!(vectors(&third_differences::explain(&[1.0, 2.0]).unwrap()), 2);
    for n in MORE {
        agrees(&numbers(n, 0.1), third_differences, third_differences::value_and_grad);
    }
}

#[differentiable]
fn single_precision(x: &[f32]) -> f32 {
    let (mut a, mut b, mut s) = (1.0f32, 0.0f32, 0.0f32);
    for &v in x {
        s += (v - a) * (a - b);
        b = a;
        a = v * 0.5;
    }
    s
}

#[test]
fn delays_of_four_lanes() {
    assert_eq!(vectors(&single_precision::explain(&[1.0, 2.0]).unwrap()), 2);
    for n in MORE {
        let x: Vec<f32> = numbers(n, 0.7).into_iter().map(|x| x as f32).collect();
        let (value, grad) = single_precision::value_and_grad(&x).unwrap();
        let want = single_precision(&x);
        assert!((value - want).abs() <= 2e-4 * (1.0 + want.abs()), "{value} {want}");
        let tape = with_engine(Engine::Dynamic, || single_precision::grad(&x)).unwrap();
        for (a, b) in grad.iter().zip(&tape) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} {b}");
        }
    }
}

#[differentiable]
fn after_a_rise(x: &[f64], k: usize) -> f64 {
    let mut rises = false;
    let mut number = k;
    let mut s = 0.0;
    for i in 0..x.len() {
        if rises {
            s += x[i] * number as f64;
        }
        rises = x[i] > 0.0;
        number = i * 2;
    }
    s
}

#[test]
fn truths_and_integers_of_the_trip_before() {
    for n in MORE {
        let x = numbers(n, 0.9);
        let both = |x: &[f64]| after_a_rise::value_and_grad(x, 3);
        agrees(&x, |x| after_a_rise(x, 3), both);
    }
}

#[differentiable]
fn fluxes(u: &[f64], c: f64) -> f64 {
    let n = u.len();
    let mut f = vec![0.0; n];
    let mut d = vec![0.0; n];
    for i in 0..n {
        f[i] = c * u[i] * u[i];
    }
    for i in 1..n {
        d[i] = f[i] - f[i - 1];
    }
    let mut s = 0.0;
    for i in 0..n {
        s += d[i] * d[i] * u[i];
    }
    s
}

#[test]
fn differences_of_a_list_of_the_loop_before() {
    assert_eq!(vectors(&fluxes::explain(&[1.0, 2.0], 0.5).unwrap()), 2, "one loop there and one back");
    for n in MORE {
        let both = |x: &[f64]| fluxes::value_and_grad(x, 0.7).map(|(v, (d, _))| (v, d));
        agrees(&numbers(n, 0.2), |x| fluxes(x, 0.7), both);
    }
}

#[differentiable]
fn transported(u: &[f64], steps: usize) -> f64 {
    let n = u.len();
    let mut y = u.to_vec();
    let mut f = vec![0.0; n];
    for _ in 0..steps {
        f[0] = y[0] * 0.1;
        // y is read an element behind before it is written, and f two
        for i in 1..n {
            f[i] = y[i - 1] * y[i] * u[i];
        }
        for i in 2..n {
            y[i] += 0.3 * (f[i - 2] - f[i]);
        }
    }
    let mut s = 0.0;
    for i in 0..n {
        s += y[i] * y[i];
    }
    s
}

#[test]
fn a_list_that_is_written_where_it_has_been_read() {
    for n in MORE.into_iter().filter(|&n| n > 0) {
        for steps in [0, 1, 3] {
            let x: Vec<f64> = numbers(n, 0.6).iter().map(|x| 0.5 * x).collect();
            agrees(&x, |x| transported(x, steps), |x| transported::value_and_grad(x, steps));
        }
    }
}

/// y' = x · (y shifted), by the classical Runge-Kutta method.
#[differentiable]
fn runge_kutta(x: &[f64], steps: usize) -> Vec<f64> {
    let n = x.len();
    let h = 2.0 / steps as f64;
    let mut y = vec![0.0; n];
    let mut k1 = vec![0.0; n];
    let mut k2 = vec![0.0; n];
    let mut k3 = vec![0.0; n];
    let mut k4 = vec![0.0; n];
    for _ in 0..steps {
        k1[0] = x[0];
        k2[0] = x[0];
        k3[0] = x[0];
        k4[0] = x[0];
        for i in 1..n {
            k1[i] = x[i] * y[i - 1];
        }
        for i in 1..n {
            k2[i] = x[i] * (y[i - 1] + 0.5 * h * k1[i - 1]);
        }
        for i in 1..n {
            k3[i] = x[i] * (y[i - 1] + 0.5 * h * k2[i - 1]);
        }
        for i in 1..n {
            k4[i] = x[i] * (y[i - 1] + h * k3[i - 1]);
        }
        for i in 0..n {
            y[i] += h * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]) / 6.0;
        }
    }
    y
}

#[differentiable]
fn energy(x: &[f64], steps: usize) -> f64 {
    let y: Vec<f64> = runge_kutta(x, steps);
    let mut s = 0.0;
    for v in &y {
        s += v * v;
    }
    s
}

#[test]
fn the_stages_of_a_step_are_one_loop() {
    let how = energy::explain(&[1.0, 2.0, 3.0], 2).unwrap();
    assert_eq!(vectors(&how), 4, "the stages and the sum, there and back");
    assert!(energy::value(&[], 2).is_err() && energy::grad(&[], 2).is_err());
    for n in [1, 2, 3, 5, 8, 9, 10, 11, 34, 200] {
        let x: Vec<f64> = numbers(n, 0.8).iter().map(|x| x.abs() + 0.2).collect();
        for steps in [1, 2, 5] {
            agrees(&x, |x| energy(x, steps), |x| energy::value_and_grad(x, steps));
        }
        // forwards, and forwards over backwards
        let v = numbers(n, 0.4);
        let (_, along) = energy::jvp(&x, 3, &v).unwrap();
        let grad = energy::grad(&x, 3).unwrap();
        let want: f64 = grad.iter().zip(&v).map(|(g, v)| g * v).sum();
        assert!((along - want).abs() <= 1e-10 * (1.0 + want.abs()), "{along} {want}");
        let twice = energy::hvp(&x, 3, &v).unwrap();
        let h = 1e-5;
        let at = |by: f64| energy::grad(&x.iter().zip(&v).map(|(x, v)| x + by * v).collect::<Vec<_>>(), 3).unwrap();
        for ((got, above), below) in twice.iter().zip(at(h)).zip(at(-h)) {
            let want = (above - below) / (2.0 * h);
            assert!((got - want).abs() <= 1e-5 * (1.0 + want.abs()), "{got} {want}");
        }
    }
}

#[differentiable]
fn shorter(x: &[f64], m: usize) -> f64 {
    let mut k = vec![0.0; m];
    let mut y = vec![0.0; x.len()];
    for _ in 0..2 {
        for i in 0..x.len() {
            k[i] = x[i] * 2.0;
        }
        for i in 0..x.len() {
            y[i] += k[i];
        }
    }
    let mut s = 0.0;
    for i in 0..x.len() {
        s += y[i] * x[i];
    }
    s
}

#[test]
fn a_list_that_nobody_reads_has_its_length() {
    for n in LENGTHS.into_iter().filter(|&n| n > 0) {
        let x = numbers(n, 0.5);
        agrees(&x, |x| shorter(x, x.len()), |x| shorter::value_and_grad(x, x.len()));
        agrees(&x, |x| shorter(x, x.len() + 3), |x| shorter::value_and_grad(x, x.len() + 3));
        for error in [shorter::value(&x, n - 1).unwrap_err(), shorter::grad(&x, n - 1).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains(&format!("length {}", n - 1)) && text.contains("delays.rs"), "{text}");
        }
    }
}

#[differentiable]
fn divided(x: &[f64], by: &[i64]) -> f64 {
    let mut k = vec![0.0; x.len()];
    let mut s = 0.0;
    for _ in 0..2 {
        for i in 0..x.len() {
            // nobody reads it, but it may fail
            k[i] = (10 / by[i]) as f64;
            s += x[i];
        }
    }
    s
}

#[test]
fn what_may_fail_in_a_list_that_nobody_reads_still_does() {
    let x = numbers(20, 0.5);
    let mut by = vec![2i64; 20];
    assert_eq!(divided::value(&x, &by).unwrap(), divided(&x, &by));
    by[19] = 0;
    for error in [divided::value(&x, &by).unwrap_err(), divided::grad(&x, &by).unwrap_err()] {
        assert!(error.to_string().contains("divide by zero"), "{error}");
    }
    assert!(divided::grad(&x, &by[..19]).is_err());
}

#[differentiable]
fn behind_the_beginning(x: &[f64], from: usize) -> f64 {
    let n = x.len();
    let mut a = vec![1.0; n];
    let mut s = 0.0;
    for i in from..n {
        a[i] = x[i] * x[i];
    }
    for i in from..n {
        // the first trip reads in front of what the first loop writes, which may be nothing
        s += a[i - 1] * x[i];
    }
    s
}

#[test]
fn the_first_trip_reads_what_was_there() {
    for n in MORE {
        for from in [1, 2, 5] {
            agrees(
                &numbers(n, 0.5),
                |x| behind_the_beginning(x, from),
                |x| behind_the_beginning::value_and_grad(x, from),
            );
        }
    }
    assert!(behind_the_beginning::grad(&numbers(9, 0.1), 0).is_err());
    assert_eq!(behind_the_beginning::value(&[], 0).unwrap(), 0.0);
}

#[differentiable]
fn apart(x: &[f64]) -> (f64, Vec<f64>) {
    let n = x.len();
    let mut a = vec![0.5; n];
    let mut b = vec![0.25; n];
    let mut s = 0.0;
    for i in 3..n {
        a[i] = x[i] * x[i - 3];
    }
    for i in 1..n {
        b[i] = a[i] + a[i - 1] * x[i];
        s += b[i];
    }
    for i in 2..n {
        s += b[i - 2] * a[i - 1] * b[i];
    }
    (s, a)
}

#[differentiable]
fn apart_in_one(x: &[f64]) -> f64 {
    let (s, a): (f64, Vec<f64>) = apart(x);
    let mut t = s;
    for v in &a {
        t += v * v;
    }
    t
}

#[test]
fn loops_that_begin_apart() {
    for n in MORE {
        let x = numbers(n, 0.35);
        agrees(&x, apart_in_one, apart_in_one::value_and_grad);
        let (s, a) = apart::value(&x).unwrap();
        let (want, list) = apart(&x);
        assert!((s - want).abs() <= 1e-12 * (1.0 + want.abs()) && a == list, "{s} {want}");
    }
}

#[differentiable]
fn inclusive(x: &[f64]) -> f64 {
    let n = x.len();
    let mut s = 0.0;
    for i in 1..=n {
        for j in 1..i {
            s += x[i - 1] * x[j - 1] * j as f64;
        }
    }
    for i in (1..n).rev() {
        s += x[i] - x[i - 1] * i as f64;
    }
    for i in (1..n).step_by(3) {
        s += x[i] * x[i - 1];
    }
    for i in 5..=n.min(4) {
        s += x[i];
    }
    s
}

#[differentiable]
fn signed(x: &[f64], to: i64) -> f64 {
    let mut s = 0.0;
    for i in 2..to {
        s += x[i as usize] * i as f64;
    }
    for i in 2..=to {
        s += x[i as usize - 1];
    }
    s
}

#[test]
fn ranges_that_begin_above_nought() {
    for n in LENGTHS.into_iter().filter(|&n| n < 100) {
        agrees(&numbers(n, 0.45), inclusive, inclusive::value_and_grad);
    }
    let x = numbers(40, 0.2);
    for to in [-3, 0, 1, 2, 3, 4, 17, 40] {
        agrees(&x, |x| signed(x, to), |x| signed::value_and_grad(x, to));
    }
    assert!(signed::grad(&x, 41).is_err());
}

#[differentiable]
fn both_carry(x: &[f64]) -> f64 {
    let n = x.len();
    let mut a = x.to_vec();
    let mut b = a.clone();
    for i in 1..n {
        a[i] = a[i] * 2.0 + x[i - 1];
    }
    for i in 1..n {
        b[i] = b[i] * a[i - 1] + a[i];
    }
    let mut s = 0.0;
    for i in 0..n {
        s += a[i] * b[i];
    }
    s
}

#[differentiable]
fn reads_ahead(x: &[f64]) -> f64 {
    let n = x.len();
    let mut a = vec![0.0; n];
    let mut y = x.to_vec();
    for i in 1..n {
        a[i] = y[i] * y[i - 1];
    }
    for i in 1..n - 1 {
        y[i] = a[i + 1] - a[i - 1] + y[i + 1];
    }
    let mut s = 0.0;
    for i in 0..n {
        s += y[i] * y[i];
    }
    s
}

#[test]
fn lists_that_begin_alike_and_elements_ahead() {
    for n in MORE.into_iter().filter(|&n| n > 0) {
        agrees(&numbers(n, 0.15), both_carry, both_carry::value_and_grad);
        agrees(&numbers(n, 0.55), reads_ahead, reads_ahead::value_and_grad);
    }
}

#[differentiable]
fn within_a_row(m: &[[f64; 3]], k: usize) -> f64 {
    let mut s = 0.0;
    for j in 0..k {
        s += 2.0 * m[0][j];
    }
    s
}

#[differentiable]
fn within_a_part(x: &[f64], m: usize) -> f64 {
    let part = &x[..m];
    let mut s = 0.0;
    for i in 0..x.len() {
        s += 3.0 * part[i];
    }
    s
}

#[differentiable]
fn linear_and_shorter(x: &[f64], m: usize) -> f64 {
    let mut k = vec![0.0; m];
    let mut s = 0.0;
    for i in 0..x.len() {
        k[i] = 2.0 * x[i];
    }
    for i in 0..x.len() {
        s += k[i];
    }
    s
}

#[test]
fn a_way_back_without_a_way_forwards_finds_what_is_out_of_range() {
    let rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
    assert!(within_a_row::grad(&rows, 3).is_ok());
    assert!(within_a_row::value(&rows, 5).is_err() && within_a_row::grad(&rows, 5).is_err());
    for n in [5, 20] {
        let x = numbers(n, 0.1);
        assert!(within_a_part::grad(&x, n).is_ok() && linear_and_shorter::grad(&x, n).is_ok());
        assert!(within_a_part::value(&x, n - 1).is_err() && within_a_part::grad(&x, n - 1).is_err());
        assert!(linear_and_shorter::value(&x, n - 1).is_err() && linear_and_shorter::grad(&x, n - 1).is_err());
    }
}

#[differentiable]
fn beginning_with_one(x: &[f64]) -> Vec<f64> {
    let mut v = vec![0.0; x.len()];
    v[0] = 1.0;
    v
}

#[differentiable]
fn the_same_list_twice(x: &[f64]) -> f64 {
    let p: Vec<f64> = beginning_with_one(x);
    let q: Vec<f64> = beginning_with_one(x);
    let mut r: Vec<f64> = beginning_with_one(x);
    let n = x.len();
    let mut c = vec![0.0; n];
    for i in 4..n {
        c[i] = x[i] * x[i] + p[i - 1] + q[i - 3];
    }
    for i in 4..n {
        r[i] = c[i] * x[i];
    }
    let mut s = 0.0;
    for i in 0..n {
        s += r[i] * c[i] + p[i] * q[i];
    }
    s
}

#[test]
fn one_list_under_several_names() {
    for n in MORE.into_iter().filter(|&n| n > 0) {
        agrees(&numbers(n, 0.25), the_same_list_twice, the_same_list_twice::value_and_grad);
    }
}

#[differentiable]
fn fails_in_its_first_trip(x: &[f64], m: usize) -> f64 {
    let n = x.len();
    let mut a = vec![0.0; m];
    for i in 1..n {
        a[i] = 2.0 * x[i];
    }
    let mut s = 0.0;
    for i in 0..n {
        s += a[i] * x[i];
    }
    s
}

#[differentiable]
fn writes_in_front(x: &[f64], m: usize) -> f64 {
    let mut k = vec![0.0; m];
    k[7] = 0.5;
    let mut s = 0.0;
    for i in 0..x.len() {
        k[i] = 2.0 * x[i];
        s += x[i] * x[i];
    }
    s
}

const WRITE: u32 = line!() + 10;
#[differentiable]
fn writes_beyond(x: &[f64], m: usize) -> f64 {
    let n = x.len();
    let mut y = vec![0.5; m];
    let mut c = vec![0.0; n];
    for i in 1..n {
        c[i] = y[i - 1] * x[i];
    }
    for i in 1..n {
        y[i] = c[i] + x[i];
    }
    y[0] + c[n - 1]
}

#[test]
fn what_is_out_of_range_in_front_of_a_loop_and_where_a_list_is_written() {
    assert!(fails_in_its_first_trip::value(&[1.0], 0).is_err() && fails_in_its_first_trip::grad(&[1.0], 0).is_err());
    assert_eq!(fails_in_its_first_trip::value(&[1.0], 1).unwrap(), 0.0);
    for n in [3, 9] {
        let x = numbers(n, 0.2);
        agrees(&x, |x| writes_in_front(x, 12), |x| writes_in_front::value_and_grad(x, 12));
        assert!(writes_in_front::value(&x, 7.min(n)).is_err() && writes_in_front::grad(&x, 7.min(n)).is_err());
    }
    for n in [4, 30] {
        let x = numbers(n, 0.2);
        agrees(&x, |x| writes_beyond(x, n), |x| writes_beyond::value_and_grad(x, n));
        let error = writes_beyond::value(&x, n - 1).unwrap_err().to_string();
        assert!(
            error.contains(&format!("found {}", n - 1)) && error.contains(&format!("delays.rs:{WRITE}")),
            "{error}"
        );
    }
}

#[test]
fn batches_of_them() {
    let rows: Vec<Vec<f64>> = (0..5).map(|k| numbers(20, k as f64)).collect();
    let all: Vec<&[f64]> = rows.iter().map(|x| &x[..]).collect();
    let grads = fluxes::vmap_grad(&all, &[0.3]).unwrap();
    for (x, grad) in rows.iter().zip(&grads) {
        assert_eq!(format!("{:?}", fluxes::grad(x, 0.3).unwrap()), format!("{grad:?}"));
    }
}
