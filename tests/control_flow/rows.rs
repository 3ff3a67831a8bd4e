//! Lists of arrays and of vectors, indexed twice: points in space, tables.

use super::{agrees, one_program};
use autograd::prelude::*;

fn points(x: &[f64]) -> Vec<[f64; 3]> {
    x.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect()
}
fn numbers(n: usize) -> Vec<f64> {
    (0..3 * n).map(|i| (i as f64 * 1.7 + 0.3).sin() * (1.0 + 0.1 * i as f64)).collect()
}

/// The potential of point charges.
#[differentiable]
fn potential(p: &[[f64; 3]], softening: f64) -> f64 {
    let mut e = 0.0;
    for i in 0..p.len() {
        for j in 0..i {
            let mut far = softening * softening;
            for k in 0..3 {
                let d = p[i][k] - p[j][k];
                far += d * d;
            }
            e += 1.0 / far.sqrt();
        }
    }
    e
}

/// A step of a body in each direction, by a table of the function's own.
#[differentiable]
fn bodies(p: &[[f64; 3]], dt: f64, steps: usize) -> f64 {
    let n = p.len();
    let mut x = p.to_vec();
    let mut v = vec![[0.0; 3]; n];
    for _ in 0..steps {
        let mut a = vec![[0.0; 3]; n];
        for i in 0..n {
            for j in 0..n {
                if i == j {
                    continue;
                }
                let far = 1.0 + (0..3).map(|k| (x[i][k] - x[j][k]).powi(2)).sum::<f64>();
                for k in 0..3 {
                    a[i][k] += (x[j][k] - x[i][k]) / (far * far.sqrt());
                }
            }
        }
        for i in 0..n {
            for k in 0..3 {
                v[i][k] += dt * a[i][k];
                x[i][k] += dt * v[i][k];
            }
        }
    }
    let mut e = 0.0;
    for row in &v {
        e += row[0] * row[0] + row[1] * row[1] + row[2] * row[2];
    }
    e
}

#[test]
fn points_in_space() {
    let (mut all, mut of_bodies) = (Vec::new(), Vec::new());
    for n in [0, 1, 2, 5, 12] {
        let x = numbers(n);
        let flat = |(v, (d, _)): (f64, (Vec<[f64; 3]>, f64))| (v, d.concat());
        agrees(&x, |x| potential(&points(x), 0.4), |x| potential::value_and_grad(&points(x), 0.4).map(flat));
        all.push(potential::explain(&points(&x), 0.4).unwrap());
        for steps in [1, 3] {
            let both = |x: &[f64]| bodies::value_and_grad(&points(x), 0.1, steps).map(flat);
            agrees(&x, |x| bodies(&points(x), 0.1, steps), both);
            of_bodies.push(bodies::explain(&points(&x), 0.1, steps).unwrap());
        }
    }
    one_program(&all);
    one_program(&of_bodies);
    let p = points(&numbers(7));
    let (mut d, mut s) = (vec![[0.0; 3]; 7], 0.0);
    potential::grad_into(&p, 0.4, &mut d, &mut s).unwrap();
    assert_eq!((d, s), potential::grad(&p, 0.4).unwrap());
    assert!(potential::grad_into(&p, 0.4, &mut [[0.0; 3]; 6], &mut s).is_err());
}

#[differentiable]
fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}
#[differentiable]
fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}
#[differentiable]
fn norm(a: &[f64]) -> f64 {
    a.iter().map(|v| v * v).sum::<f64>().sqrt()
}
#[differentiable]
fn weight(m: [f64; 4], k: usize) -> f64 {
    let mut s = 0.0;
    for i in 0..k {
        s += m[i % 4];
    }
    s
}
#[differentiable]
fn total(p: &[[f64; 3]], k: usize) -> f64 {
    let mut s = 0.0;
    for row in p {
        s += row[k % 3];
    }
    s
}

/// Everything that is done with rows.
#[differentiable]
fn rows(p: &Vec<[f64; 3]>, k: usize) -> f64 {
    let mut s = 0.0;
    for (i, q) in p.iter().enumerate() {
        s += q[i % 3] + norm(q) + dot(q, &p[0]);
    }
    for [x, y, z] in p {
        s += x * y.sin() - z;
    }
    for (&[x, _, z], q) in p.iter().zip(&p[1..]) {
        s += x * q[k % 3] - z;
    }
    for q in p[..p.len() - 1].iter().rev() {
        let [a, b, c] = cross([q[0], 0.5, q[2]], p[k % p.len()]);
        s = 0.9 * s + a * b - c + weight([q[0], 1.0, q[1], 2.0], k);
    }
    let last = p[p.len() - 1];
    let first = &p[0];
    s += (last[k % 3] * first[k % 3]).sin() + first.len() as f64;
    s += p.iter().map(|q| q[0] * q[k % 3]).sum::<f64>();
    let mut w = p.clone();
    w[0] = [s, 1.0, last[0]];
    w[k % p.len()][1] *= 2.0;
    for i in 1..p.len() {
        w[i][0] = w[i - 1][(i + k) % 3].cos();
    }
    total(&w, k) + total(p, 1) + total(&[[s, 0.5, 0.25]], k) + total(&p[1..], 2)
}

#[test]
fn rows_are_lists_and_arrays() {
    let mut all = Vec::new();
    for n in [2, 3, 11] {
        for k in [0, 1, 5] {
            let x = numbers(n);
            let both = |x: &[f64]| rows::value_and_grad(&points(x), k).map(|(v, d)| (v, d.concat()));
            agrees(&x, |x| rows(&points(x), k), both);
            all.push(rows::explain(&points(&x), k).unwrap());
        }
    }
    one_program(&all);
}

/// The distance of two texts, smoothed, over a table of vectors.
#[differentiable]
fn edits(a: &[f64], b: &[f64]) -> f64 {
    let (n, m) = (a.len(), b.len());
    let mut t = vec![vec![0.0; m + 1]; n + 1];
    for i in 0..=n {
        t[i][0] = i as f64;
    }
    for j in 0..=m {
        t[0][j] = j as f64;
    }
    for i in 1..=n {
        for j in 1..=m {
            let change = (a[i - 1] - b[j - 1]).powi(2);
            t[i][j] =
                -((-t[i - 1][j - 1] - change).exp() + (-t[i - 1][j] - 1.0).exp() + (-t[i][j - 1] - 1.0).exp()).ln();
        }
    }
    t[t.len() - 1][t[0].len() - 1]
}

/// Powers of a matrix, whose tables change places.
#[differentiable]
fn powers(m: [[f64; 2]; 2], n: usize) -> f64 {
    let mut p = [[0.0; 2]; 2];
    p[0][0] = 1.0;
    p[1][1] = 1.0;
    for _ in 0..n {
        let mut q = [[0.0; 2]; 2];
        for i in 0..p.len() {
            for j in 0..p.len() {
                for k in 0..p.len() {
                    q[i][j] += p[i][k] * m[k][j];
                }
            }
        }
        std::mem::swap(&mut p, &mut q);
    }
    p[0][n % 2] + p[1][0]
}

#[test]
fn tables_of_the_function_itself() {
    let mut all = Vec::new();
    for (n, m) in [(0, 2), (3, 2), (6, 9)] {
        let x: Vec<f64> = (0..n + m).map(|i| (i as f64 * 1.3).sin()).collect();
        let joined = |(v, (a, b)): (f64, (Vec<f64>, Vec<f64>))| (v, [a, b].concat());
        agrees(&x, |x| edits(&x[..n], &x[n..]), |x| edits::value_and_grad(&x[..n], &x[n..]).map(joined));
        all.push(edits::explain(&x[..n], &x[n..]).unwrap());
    }
    one_program(&all);
    let mut all = Vec::new();
    for n in [0, 1, 7, 30] {
        let matrix = |x: &[f64]| [[x[0], x[1]], [x[2], x[3]]];
        let both = |x: &[f64]| powers::value_and_grad(matrix(x), n).map(|(v, d)| (v, d.concat()));
        agrees(&[0.8, 0.1, -0.2, 0.9], |x| powers(matrix(x), n), both);
        all.push(powers::explain(matrix(&[0.8, 0.1, -0.2, 0.9]), n).unwrap());
    }
    one_program(&all);
}

#[differentiable]
fn element(p: &[[f64; 3]], i: usize, j: usize) -> f64 {
    p[i][j]
}
/// What is done with whole rows is not understood.
#[differentiable]
fn transposed(p: &[[f64; 3]]) -> f64 {
    let rows: Vec<[f64; 3]> = p.iter().map(|[x, y, z]| [*z, *x, *y]).collect();
    rows.iter().enumerate().map(|(i, r)| r[i % 3]).sum()
}

#[test]
fn indices_of_rows_are_checked() {
    let p = points(&numbers(4));
    for engine in [Engine::Compiled, Engine::Dynamic] {
        let text = |i, j| autograd::with_engine(engine, || element::grad(&p, i, j)).unwrap_err().to_string();
        assert!(text(4, 0).contains("below the length 4, found 4"));
        // inside of the list, but not of the row
        assert!(text(1, 3).contains("below the length 3, found 3") && text(1, 3).contains("rows.rs:"));
        assert_eq!(autograd::with_engine(engine, || element::grad(&p, 2, 1)).unwrap()[2], [0.0, 1.0, 0.0]);
    }
    let both = |x: &[f64]| transposed::value_and_grad(&points(x)).map(|(v, d)| (v, d.concat()));
    agrees(&numbers(4), |x| transposed(&points(x)), both);
}
