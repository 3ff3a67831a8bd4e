//! Bodies of every form: the twin's value is the plain function's, its gradient that of differences.

// written as a user would write them, indices and all
#![allow(clippy::needless_range_loop, clippy::never_loop)]

mod common;

use autograd::prelude::*;
use common::{close, each_engine, every_way};
use std::f64::consts::PI;

const WIDTH: f64 = 3.0;

#[differentiable]
fn literals(x: f64) -> f64 {
    let mut s = 0.0;
    s += x;
    let mut best = f64::NEG_INFINITY;
    if s > best {
        best = s;
    }
    let mut pair = (0.0, [1.0; 2]);
    pair.0 = x;
    pair.1[0] = x;
    pair.1[1] = 2.0 * PI;
    let mut grid = vec![vec![0.0; 2]; 2];
    grid[1][0] = x * 2.0;
    grid[0][0] = 1.0;
    let k = if x > 1.0 { 1.0 } else { x };
    let c = 2.0;
    let d = match 3 {
        0 => c,
        1 => -1.0,
        _ => k * k,
    };
    let mix = [0.0, x, 1.0];
    let plain = [0.5, 0.25];
    let mut t = c * WIDTH / 2.0;
    t += x;
    let m = c.max(x) + 2.0_f64.max(x).min(9.0);
    let total: f64 = mix.iter().map(|v| v * 2.0).sum();
    let folded = mix.iter().fold(0.0, |a, b| a + b);
    let biggest = mix.iter().cloned().fold(f64::NEG_INFINITY, f64::max);
    let turbo = mix.iter().sum::<f64>() + (0..3).map(|i| i as f64 * x).sum::<f64>();
    let v: Vec<f64> = (0..3).map(|i| if i == 1 { 0.0 } else { x }).collect();
    let w = (0..2).map(|_| 1.0).collect::<Vec<f64>>();
    let mut best_of = None;
    for &e in &v {
        best_of = Some(best_of.unwrap_or(0.0) + e);
    }
    let first = loop {
        if x < 100.0 {
            break 1.0;
        }
        break x;
    };
    if x < -5.0 {
        return 0.0;
    }
    assert!(x > -6.0, "x is {x} {}", x * 2.0);
    let _text = format!("{:.2} {y}", x, y = x * 2.0);
    best + pair.0
        + pair.1[0] * pair.1[1]
        + grid[1][0]
        + grid[0][0]
        + k
        + d
        + t
        + m
        + total
        + folded
        + biggest
        + turbo
        + v.iter().sum::<f64>()
        + w[0]
        + plain[0] * x
        + best_of.unwrap_or(0.0)
        + first
}

#[differentiable]
fn conversions(x: f64, n: usize) -> f64 {
    let a = n as f64 * x;
    let b = (n as i32 - 3) as f64;
    let c = f64::max(0.0, x) + f64::sin(x) + f64::from(2) * 3_f64;
    let i = (x as usize).min(n);
    let p = x.powi(n as i32);
    let y: f64 = i as f64;
    let z: f64 = 2.0;
    let q: (f64, f64) = (1.0, x);
    a + b + c + y + p + z.sin() + q.0 + f64::EPSILON + z.max(1.0)
}

#[differentiable]
fn constant(x: f64) -> f64 {
    let c = 3.0;
    if x > 0.0 { c } else { -PI }
}

#[differentiable]
fn pair((a, b): (f64, f64), mut x: f64, _: f64, v: [f64; 2]) -> (f64, [f64; 2]) {
    x *= 2.0;
    let [p, q] = v;
    (a * b + x, [p, if q > 0.0 { q } else { 0.0 }])
}

#[test]
fn literal_positions() {
    each_engine(|_| {
        for x in [0.3, 1.7, -5.5] {
            close(literals::value(x).unwrap(), literals(x));
        }
        close(conversions::value(1.3, 4).unwrap(), conversions(1.3, 4));
        close(conversions::grad(1.3, 4).unwrap(), 4.0 + 1.0 + 1.3f64.cos() + 4.0 * 1.3f64.powi(3));
        close(constant::value(1.0).unwrap(), 3.0);
        let (value, [p, q]) = pair::value((2.0, 3.0), 1.0, 9.0, [1.0, -1.0]).unwrap();
        assert_eq!((value, [p, q]), pair((2.0, 3.0), 1.0, 9.0, [1.0, -1.0]));
    });
    for x in [0.3, 1.7, -5.5] {
        every_way(false, || literals::check(x));
    }
    every_way(false, || conversions::check(1.3, 4));
    every_way(false, || constant::check(1.0));
}

mod m {
    use autograd::prelude::*;
    #[differentiable]
    pub fn square(x: f64) -> f64 {
        x * x
    }
    pub mod deep {
        use super::square as sq;
        use autograd::prelude::*;
        #[differentiable]
        pub(crate) fn scaled(x: f64, c: f64) -> f64 {
            c * sq(x) + self::shift(x) + super::square(0.0)
        }
        #[differentiable]
        fn shift(x: f64) -> f64 {
            x + 1.0
        }
    }
    pub fn count(n: usize) -> usize {
        n + 1
    }
}

#[differentiable]
fn softplus(x: f64) -> f64 {
    (1.0 + x.exp()).ln()
}

fn same<T: Clone>(x: T) -> T {
    x.clone()
}

fn repeat(x: &Tensor<f64>, n: usize, c: f64) -> Tensor<f64> {
    x * (n as f64 * c)
}

fn size(v: &[Tensor<f64>]) -> usize {
    v.len()
}

fn double(x: &Tensor<f64>) -> Tensor<f64> {
    x * 2.0
}

fn apply(f: impl Fn(&Tensor<f64>) -> Tensor<f64>, x: &Tensor<f64>, times: usize) -> Tensor<f64> {
    (0..times).fold(x.clone(), |x, _| f(&x))
}

#[differentiable]
fn calls(x: f64) -> f64 {
    use m::deep;
    let square = |v: f64| -> f64 { v * v + 1.0 };
    let n = m::count(2);
    let twice: Vec<f64> = [x, 2.0].iter().copied().map(softplus).collect();
    let mut a = x;
    let mut b = 1.0;
    std::mem::swap(&mut a, &mut b);
    square(x)
        + m::square(x)
        + softplus(2.0)
        + softplus(x)
        + deep::scaled(x, 3.0)
        + n as f64
        + same(n) as f64
        + twice[0]
        + twice[1]
        + a * b
        + detach(x)
}

#[differentiable]
fn tensors(x: &Tensor<f64>, s: f64) -> Tensor<f64> {
    let list = vec![x.clone(), double(x)];
    let n = size(&list);
    let y = apply(|t| t * 1.5, &list[1], 2);
    let (three, half) = (3, 0.5);
    let y = repeat(&y, three, half) + repeat(&y, 2, 0.5);
    let mut rate = 0.1;
    if n > 1 {
        rate = 0.2;
    }
    ((double(&y) + x) * rate * s).sum()
}

#[differentiable]
fn power(x: f64, n: usize) -> f64 {
    if n == 0 { 1.0 } else { x * power(x, n - 1) }
}

#[test]
fn calls_of_functions() {
    each_engine(|_| {
        close(calls::value(0.7).unwrap(), calls(0.7));
        let x = Tensor::from_vec(vec![1.0, -2.0], [2]);
        assert_eq!(tensors::value(&x, 3.0).unwrap(), tensors(&x, 3.0));
        let (dx, ds) = tensors::grad(&x, 3.0).unwrap();
        assert_eq!(dx.numel(), 2);
        close(ds, tensors(&x, 1.0).item());
        close(power::value(1.5, 5).unwrap(), 1.5f64.powi(5));
        close(power::grad(1.5, 5).unwrap(), 5.0 * 1.5f64.powi(4));
    });
    let x = Tensor::from_vec(vec![1.0, -2.0], [2]);
    every_way(true, || tensors::check(&x, 3.0));
    every_way(true, || power::check(1.5, 5));
}

#[test]
fn block_scope() {
    fn plain(n: usize) -> usize {
        n * 2
    }
    #[differentiable]
    fn helper(x: f64) -> f64 {
        x.sin() * 2.0
    }
    #[differentiable]
    fn outer(x: f64, n: usize) -> f64 {
        fn inner(n: usize) -> usize {
            n + 7
        }
        let y = {
            #[differentiable]
            fn nested(x: f64, c: f64) -> f64 {
                x + c
            }
            nested(x, 1.5)
        };
        helper(y) + helper(0.5) + plain(n) as f64 + inner(n) as f64
    }
    close(outer::value(0.3, 2).unwrap(), outer(0.3, 2));
    close(outer::grad(0.3, 2).unwrap(), 2.0 * 1.8f64.cos());
    every_way(true, || outer::check(0.3, 2));
}

#[differentiable]
fn cubic(x: f64, c: &[f64]) -> f64 {
    c[0] * x * x * x
}

#[differentiable(wrt(x))]
fn slope(x: f64, c: &[f64]) -> autograd::Result<f64> {
    let (dx, dc) = cubic::grad(x, c)?;
    let (value, _) = cubic::value_and_grad(2.0, c)?;
    Ok(dx + dc[0] + value + cubic::value(x, c)?)
}

#[test]
fn derivatives_inside() {
    each_engine(|_| {
        let c = [2.0];
        let x = 1.5f64;
        let expected = 6.0 * x * x + x.powi(3) + 16.0 + 2.0 * x.powi(3);
        close(slope::value(x, &c).unwrap(), expected);
        close(slope::grad(x, &c).unwrap(), 12.0 * x + 9.0 * x * x);
    });
    every_way(true, || slope::check(1.5, &[2.0]));
}

#[differentiable]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut s = 0.0;
    for (x, y) in a.iter().zip(b) {
        s += x * y;
    }
    s
}

#[differentiable]
fn windows(v: &[f64], x: f64) -> f64 {
    let row: &[f64] = &v[1..];
    let copy = v.to_vec();
    let (dx, _) = dot::grad(row, &[1.0, x]).unwrap();
    dot(&v[..2], row) + dot(&[x, 1.0], &copy[..2]) + dot(v, &copy) + dx[1]
}

#[test]
fn slices() {
    each_engine(|_| {
        let v = [1.0, 2.0, 3.0];
        close(windows::value(&v, 5.0).unwrap(), 8.0 + 7.0 + 14.0 + 5.0);
    });
    every_way(true, || windows::check(&[1.0, 2.0, 3.0], 5.0));
}

#[derive(Clone, Hash, PartialEq, Eq)]
struct Config {
    power: i32,
}

#[derive(Differentiable, Clone, Debug, PartialEq)]
struct Arm {
    length: f64,
    joints: Vec<f64>,
    segments: usize,
    #[constant]
    name: String,
}

#[derive(Differentiable, Clone, Copy, Debug, PartialEq)]
struct Point(f64, pub f64);

#[derive(Differentiable, Clone)]
struct Layer<T> {
    w: Tensor<T>,
    b: Tensor<T>,
}

#[derive(Differentiable, Clone)]
struct Pair<A> {
    first: A,
    point: Point,
}

/// Neither it nor its twin can be cloned.
#[derive(Differentiable)]
struct Mlp {
    first: Layer<f64>,
    rate: f64,
    nested: Nested,
}

#[derive(Differentiable)]
struct Nested {
    w: Tensor<f64>,
}

#[derive(Differentiable, Clone, Copy)]
struct Segment {
    from: Point,
    to: Point,
}

#[differentiable]
fn length(s: Segment, mlp: &Mlp) -> f64 {
    let copy = s;
    let Segment { from, to } = s;
    let (x, y) = (to.0, to.1);
    let moved = Segment { from: to, ..copy };
    (x - from.0).powi(2) + (y - from.1).powi(2) + moved.from.1 * mlp.rate
}

/// The rest of a struct inside a loop.
#[differentiable]
fn beside(s: Segment, arm: Sides, n: usize) -> f64 {
    let mut total = 0.0;
    for i in 0..n {
        let by = i as f64;
        total += perimeter(Sides { a: arm.a + by, ..arm }) * s.from.0;
    }
    total
}

#[derive(Differentiable, Clone, Copy)]
struct Sides {
    a: f64,
    b: [f64; 2],
}

#[differentiable]
fn perimeter(s: Sides) -> f64 {
    s.a + s.b[0] * s.b[1]
}

impl<T> Layer<T> {
    fn bias(&self) -> &Tensor<T> {
        &self.b
    }
}

#[differentiable]
fn reach(arm: &Arm, at: Point, #[constant] config: &Config, unit: &str) -> f64 {
    let Point(x, y) = at;
    let copy = at;
    let moved = Point(copy.0 * 2.0, 0.0);
    let unit = if unit == "cm" { 0.01 } else { 1.0 };
    let joints: f64 = arm.joints.iter().map(|j| j.cos()).sum();
    (joints * arm.length * arm.segments as f64 + x * y + moved.0 + moved.1).powi(config.power) * unit
}

#[differentiable]
fn grown(arm: &Arm, by: f64) -> Arm {
    let joints: Vec<f64> = arm.joints.iter().map(|j| j * by).collect();
    Arm { length: 1.0, joints, ..arm.clone() }
}

#[differentiable]
fn forward(layers: &[Layer<f64>], x: &Tensor<f64>) -> Tensor<f64> {
    let mut y = x.clone();
    for layer in layers {
        y = (y * &layer.w + layer.bias()).tanh();
    }
    y.sum()
}

#[test]
fn structs() {
    each_engine(|_| {
        let arm = Arm { length: 2.0, joints: vec![0.1, 0.2], segments: 3, name: "a".into() };
        let (at, config) = (Point(1.0, 2.0), Config { power: 2 });
        close(reach::value(&arm, at, &config, "cm").unwrap(), reach(&arm, at, &config, "cm"));
        let (darm, Point(dx, _)) = reach::grad(&arm, at, &config, "m").unwrap();
        assert_eq!((darm.joints.len(), &darm.name[..], darm.segments), (2, "a", 3));
        let inner = (reach(&arm, at, &config, "m")).sqrt();
        close(dx, 2.0 * inner * 4.0);
        assert_eq!(grown::value(&arm, 2.0).unwrap(), grown(&arm, 2.0));
        let one = |v| Tensor::from_vec(vec![v], [1]);
        let layers = vec![Layer { w: one(0.5), b: one(0.1) }, Layer { w: one(0.7), b: one(-0.1) }];
        assert_eq!(forward::value(&layers, &one(1.0)).unwrap(), forward(&layers, &one(1.0)));
        let (dlayers, _) = forward::grad(&layers, &one(1.0)).unwrap();
        assert_eq!(dlayers.len(), 2);
        let _ = Pair { first: one(1.0), point: at };
        let s = Segment { from: at, to: Point(4.0, 6.0) };
        let sides = Sides { a: 1.0, b: [2.0, 3.0] };
        close(beside::value(s, sides, 4).unwrap(), 4.0 * 7.0 + 6.0);
        assert_eq!(beside::grad(s, sides, 4).unwrap().1.b, [12.0, 8.0]);
        let mlp = Mlp { first: layers[0].clone(), rate: 2.0, nested: Nested { w: one(0.0) } };
        close(length::value(s, &mlp).unwrap(), length(s, &mlp));
        close(length::grad(s, &mlp).unwrap().1.rate, 6.0);
        assert_eq!(mlp.first.b.numel() + mlp.nested.w.numel(), 2);
    });
}

#[differentiable(wrt(b))]
fn affine<'a>(a: &'a [f64], b: &'a f64, d_b: bool, v: f64, l: f64) -> f64 {
    if d_b { a[0] * b + v } else { *b + l }
}

#[test]
fn entry_points() {
    each_engine(|_| {
        let a = [2.0];
        let (value, tangent) = affine::jvp(&a, &3.0, true, 1.0, 1.0, &1.0).unwrap();
        assert_eq!((value, tangent), (7.0, 2.0));
        close(affine::hvp(&a, &3.0, true, 1.0, 1.0, &1.0).unwrap(), 0.0);
        let mut d = 0.0;
        close(affine::value_and_grad_into(&a, &3.0, true, 1.0, 1.0, &mut d).unwrap(), 7.0);
        close(d, 2.0);
        let how = affine::explain(&a, &3.0, true, 1.0, 1.0).unwrap();
        assert_eq!((how.function, how.entry_point), ("affine", "value_and_grad"));
        assert!(how.place.0.ends_with("macros_bodies.rs") && how.place.1 > 250, "{how}");
        let kept = affine::compile(&a, &3.0, true, 1.0, 1.0).unwrap();
        close(kept.grad_into(&a, &3.0, true, 1.0, 1.0, &mut d).map(|()| d).unwrap(), 2.0);
        assert!(affine::vjp(&a, &3.0, true, 1.0, 1.0).is_ok());
    });
}

#[no_grad]
fn quiet(x: &mut Vec<f64>, n: usize) -> Result<&mut f64, String> {
    if n > 9 {
        return Err("too far".into());
    }
    x.push(f64::from(u8::from(autograd::is_grad_enabled())));
    let at: u8 = n.try_into().map_err(|_| "unfit".to_string())?;
    Ok(&mut x[at as usize])
}

#[test]
fn without_gradients() {
    let mut v = vec![];
    assert_eq!(*quiet(&mut v, 0).unwrap(), 0.0);
    assert!(quiet(&mut v, 10).is_err());
    assert!(autograd::is_grad_enabled());
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
fn doubling(a: &Tensor<f64>) -> Tensor<f64> {
    let mut b = a * 2.0;
    while b.norm() < 1000.0 {
        b *= 2.0;
    }
    if b.sum() > 0.0 { b } else { b * 100.0 }
}

#[differentiable]
fn single(x: f32, t: &Tensor<f32>) -> f32 {
    let mut s = 0.0;
    s += x;
    let k: f32 = t.norm().item();
    s * k
}

#[test]
fn loops() {
    each_engine(|_| {
        close(newton_sqrt::value(2.0).unwrap(), 2f64.sqrt());
        let a = Tensor::from_vec(vec![1.0, 2.0], [2]);
        assert_eq!(doubling::value(&a).unwrap().to_vec(), doubling(&a).to_vec());
    });
}

#[differentiable]
fn item_of_a_field(p: &Layer<f64>, x: f64) -> f64 {
    let total = p.w.sum().item();
    let count = Tensor::<i64>::arange(4).select(0, 3).item();
    if p.b.lt(&p.w).all() { total * x } else { total * count as f64 }
}

#[test]
fn items_are_traced() {
    let layer = Layer { w: Tensor::from_vec(vec![1.0, 2.0], [2]), b: Tensor::from_vec(vec![3.0, 4.0], [2]) };
    each_engine(|_| {
        let (d, dx) = item_of_a_field::grad(&layer, 5.0).unwrap();
        assert_eq!((d.w.to_vec(), d.b.to_vec(), dx), (vec![3.0; 2], vec![0.0; 2], 0.0));
    });
}
