//! Ways out: labels, values, returns from loops, and choices of an integer.

use super::{agrees, joined};
use autograd::prelude::*;

/// The first pair, row by row, whose product is over a limit; rows that begin too low are passed over.
#[differentiable]
fn first_pair(x: &[f64], limit: f64) -> f64 {
    let mut found = 0.0;
    let mut seen = 0.0;
    'rows: for i in 0..x.len() {
        if x[i] < -0.5 {
            continue 'rows;
        }
        for j in 0..i {
            seen += 0.01 * x[j];
            if x[j] < -0.9 {
                continue 'rows;
            }
            if x[i] * x[j] > limit {
                found = x[i] * x[j] + i as f64 * x[j];
                break 'rows;
            }
        }
        seen += x[i];
    }
    found * found + seen
}

/// Where a walk leaves a strip, in a loop in a loop.
#[differentiable]
fn walk(x: f64, drift: f64) -> f64 {
    let mut at = x;
    let mut day = 0;
    loop {
        for hour in 0..24 {
            at += drift * (at + hour as f64).sin();
            if at > 2.0 {
                return at + 0.1 * x * day as f64;
            }
            if at < -2.0 {
                return -at * drift;
            }
        }
        day += 1;
        if day > 5 {
            return at * at;
        }
    }
}

/// A loop with a value, and one with a label and a value.
#[differentiable]
fn valued(x: f64) -> f64 {
    let mut y = x;
    let first = loop {
        y = 0.5 * (y + 2.0 / y);
        if (y * y - 2.0).abs() < 1e-10 {
            break y * x;
        }
        if y > 100.0 {
            break 1.0 + x;
        }
    };
    let mut z = first;
    let second = 'outer: loop {
        let mut k = 0;
        while k < 10 {
            z = z * 1.1 + 0.1;
            if z > 30.0 {
                break 'outer z * x;
            }
            k += 1;
        }
        z -= 0.5;
    };
    first + second
}

#[test]
fn labels_and_values() {
    let rows: Vec<f64> = (0..30).map(|i| (i as f64 * 1.7).sin()).collect();
    for limit in [0.3, 0.95, 5.0] {
        let x = joined(&[&rows, &[limit]]);
        agrees(
            &x,
            |x| first_pair(&x[..30], x[30]),
            |x| first_pair::value_and_grad(&x[..30], x[30]).map(|(v, (a, b))| (v, joined(&[&a, &[b]]))),
        );
    }
    for (x, drift) in [(0.3, 0.2), (-1.0, 0.4), (0.0, 0.01), (0.1, -0.3)] {
        let both = |x: &[f64]| walk::value_and_grad(x[0], x[1]).map(|(v, (a, b))| (v, vec![a, b]));
        agrees(&[x, drift], |x| walk(x[0], x[1]), both);
    }
    for x in [0.4, 3.0] {
        agrees(&[x], |x| valued(x[0]), |x| valued::value_and_grad(x[0]).map(|(v, d)| (v, vec![d])));
    }
}

/// Several results, returned from deep inside.
#[differentiable]
fn crossing(a: f64, b: f64) -> (f64, [f64; 2]) {
    for i in 0..100 {
        let mut t = a * i as f64 * 0.1;
        while t < 4.0 {
            t += b;
            if t * t - t > 5.0 {
                return (t, [a * t, b]);
            }
        }
    }
    (a, [b, 0.0])
}

#[test]
fn several_results_from_inside() {
    for (a, b) in [(0.5, 0.3), (0.2, 0.7)] {
        let of = |r: (f64, [f64; 2])| r.0 + 2.0 * r.1[0] + 3.0 * r.1[1];
        agrees(
            &[a, b],
            |x| of(crossing(x[0], x[1])),
            |x| {
                let (v, pull) = crossing::vjp(x[0], x[1])?;
                let (a, b) = pull((1.0, &[2.0, 3.0]))?;
                Ok((of(v), vec![a, b]))
            },
        );
    }
}

/// A program of few instructions, picked by an integer.
#[differentiable]
fn machine(x: f64, program: u32, steps: usize) -> f64 {
    let mut y = x;
    let mut code = program;
    for step in 0..steps {
        y = match code % 7 {
            0 => y.sin(),
            1 | 2 => y * x + 0.1,
            3..=4 if step > 2 => y - 0.5 * x,
            k @ 3..=5 => y + 0.01 * k as f64,
            _ => y.cos() * x,
        };
        match y > 0.8 {
            true => code = code * 3 + 1,
            false => code = code / 2 + 5,
        }
        code %= 1000;
    }
    y
}

/// A choice with a value that ends the function, and one that leaves a loop.
#[differentiable]
fn phases(x: f64, kind: i32) -> f64 {
    let mut y = x;
    let mut phase = 0;
    loop {
        match phase {
            0 => y += 1.0,
            1 => y *= 1.5,
            2 => {
                if y > 10.0 {
                    break;
                }
            }
            _ => phase = -1,
        }
        phase += 1;
    }
    match kind {
        -1 => -y,
        0 => y * y,
        1..=9 => y * kind as f64,
        _ => 0.5,
    }
}

#[test]
fn an_integer_chooses() {
    for program in [0, 5, 123] {
        for steps in [0, 4, 25] {
            let both = |x: &[f64]| machine::value_and_grad(x[0], program, steps).map(|(v, d)| (v, vec![d]));
            agrees(&[0.6], |x| machine(x[0], program, steps), both);
        }
    }
    for kind in [-1, 0, 4, 77] {
        agrees(&[0.6], |x| phases(x[0], kind), |x| phases::value_and_grad(x[0], kind).map(|(v, d)| (v, vec![d])));
    }
}

/// What is known stays ordinary Rust: exits from matches, `while let` and plain conditions.
#[differentiable]
fn plain_ways(x: f64, words: &str, limit: Option<usize>) -> f64 {
    let mut total = 0.0;
    let mut chars = words.chars();
    'all: while let Some(c) = chars.next() {
        match c {
            'a' => total += x,
            'b' => continue,
            'c' => break 'all,
            _ => {
                for k in 0..3 {
                    if k == 2 {
                        continue 'all;
                    }
                    total += x * x * k as f64;
                }
            }
        }
    }
    let Some(limit) = limit else { return total };
    for i in 0..limit {
        if total > 100.0 {
            return total * x;
        }
        total += x * i as f64;
    }
    total
}

#[test]
fn known_ways_stay() {
    for (words, limit) in [("abzc", None), ("aazzzaca", Some(3)), ("", Some(40))] {
        let both = |x: &[f64]| plain_ways::value_and_grad(x[0], words, limit).map(|(v, d)| (v, vec![d]));
        agrees(&[1.3], |x| plain_ways(x[0], words, limit), both);
    }
}
