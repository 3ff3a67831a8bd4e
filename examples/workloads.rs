//! Times value and gradient of common workloads on both engines.
//!
//! `cargo run --release --example workloads -- [--json] [--only NAME] [--quick] [--kept]`
//!
//! Prints a table, or with `--json` a line per workload and engine. A call is timed as the best of five batches
//! (about a second together; less with `--quick`); what the first call takes longer is compiling. The timed
//! call is the entry point, which returns fresh results; with `--kept` it is a kept object that writes into
//! reused buffers. `RAYON_NUM_THREADS=1` in the environment keeps to one thread.

use anyhow::{Context, Result, bail};
use autograd::prelude::*;
use std::{process::ExitCode, time::Instant};

#[differentiable]
fn scalar_rosenbrock(x: f64, y: f64) -> f64 {
    (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2)
}

#[differentiable]
fn scalar_loop(x: f64, y: f64) -> f64 {
    let mut s = 0.1;
    for _ in 0..1000 {
        s = (s * x + y).sin();
    }
    s
}

#[differentiable(wrt(x, w, b))]
fn elementwise(x: &Tensor<f32>, w: &Tensor<f32>, b: &Tensor<f32>, y: &Tensor<f32>) -> Tensor<f32> {
    let z = x * w + b;
    let inner = 0.797_884_6 * (&z + 0.044715 * &z * &z * &z);
    (0.5 * z * (1.0 + inner.tanh()) * y).sum()
}

#[differentiable]
fn softmax_xent(x: &Tensor<f32>, targets: &Tensor<i64>) -> Tensor<f32> {
    x.cross_entropy(targets)
}

#[differentiable(wrt(x, g, b))]
fn layernorm(x: &Tensor<f32>, g: &Tensor<f32>, b: &Tensor<f32>, y: &Tensor<f32>) -> Tensor<f32> {
    let d = x - x.mean_dim(&[-1], true);
    let v = d.square().mean_dim(&[-1], true);
    ((d / (v + 1e-5).sqrt() * g + b) * y).sum()
}

/// A fully connected layer.
#[derive(Differentiable)]
struct Linear {
    weight: Tensor<f32>,
    bias: Tensor<f32>,
}

#[differentiable(wrt(layers))]
fn mlp(layers: &[Linear; 3], x: &Tensor<f32>, targets: &Tensor<i64>) -> Tensor<f32> {
    let [first, second, last] = layers;
    let x = (x.matmul(&first.weight) + &first.bias).relu();
    let x = (x.matmul(&second.weight) + &second.bias).relu();
    (x.matmul(&last.weight) + &last.bias).cross_entropy(targets)
}

#[differentiable(wrt(w))]
fn linreg(w: &Tensor<f64>, x: &Tensor<f64>, y: &Tensor<f64>) -> Tensor<f64> {
    (x.matmul(w) - y).square().mean()
}

#[differentiable(wrt(q, k, v))]
fn attention(q: &Tensor<f32>, k: &Tensor<f32>, v: &Tensor<f32>, y: &Tensor<f32>) -> Tensor<f32> {
    let scores = q.matmul(&k.transpose(-1, -2)) * 32f32.powf(-0.5);
    let position = Tensor::<i64>::arange(128);
    let causal = position.unsqueeze(1).ge(&position);
    let scores = causal.where_(&scores, &Tensor::full([], -1e30));
    (scores.softmax(-1).matmul(v) * y).sum()
}

/// A 5 × 5 convolution of `[n, channels, h, w]` as a matrix product with the shifted images.
fn conv(x: &Tensor<f32>, w: &Tensor<f32>) -> Tensor<f32> {
    let (n, h, wide) = (x.shape()[0], x.shape()[2] - 4, x.shape()[3] - 4);
    let shifted: Vec<Tensor<f32>> = (0..25).map(|i| x.narrow(2, i / 5, h).narrow(3, i % 5, wide)).collect();
    let columns = Tensor::stack(&shifted.iter().collect::<Vec<_>>(), 2);
    let k = x.shape()[1] * 25;
    let product = w.reshape(&[-1, k as i64]).matmul(&columns.reshape(&[n as i64, k as i64, -1]));
    product.reshape(&[n as i64, -1, h as i64, wide as i64])
}

/// The maximum of each 2 × 2 square.
fn pool(x: &Tensor<f32>) -> Tensor<f32> {
    let [n, c, h, w] = [0, 1, 2, 3].map(|i| x.shape()[i] as i64);
    x.reshape(&[n, c, h / 2, 2, w / 2, 2]).amax(&[3, 5], false)
}

#[differentiable(wrt(c1, c2, dense))]
fn lenet(
    c1: &Tensor<f32>,
    c2: &Tensor<f32>,
    dense: &[Tensor<f32>; 3],
    x: &Tensor<f32>,
    targets: &Tensor<i64>,
) -> Tensor<f32> {
    let x = pool(&conv(x, c1).relu());
    let x = pool(&conv(&x, c2).relu()).reshape(&[32, 256]);
    x.matmul(&dense[0]).relu().matmul(&dense[1]).relu().matmul(&dense[2]).cross_entropy(targets)
}

#[differentiable]
fn nbody(x: &Tensor<f64>, v: &Tensor<f64>, steps: usize) -> Tensor<f64> {
    let (mut x, mut v) = (x.clone(), v.clone());
    for _ in 0..steps {
        let d = x.unsqueeze(0) - x.unsqueeze(1);
        let r2 = d.square().sum_dim(&[-1], true) + 0.1;
        let acceleration = (d / (&r2 * r2.sqrt())).sum_dim(&[1], false);
        v += 0.001 * acceleration;
        x += 0.001 * &v;
    }
    x.square().sum()
}

#[differentiable(wrt(wx, wh, b))]
fn rnn(xs: &Tensor<f32>, wx: &Tensor<f32>, wh: &Tensor<f32>, b: &Tensor<f32>) -> Tensor<f32> {
    let mut h = Tensor::<f32>::zeros([32, 128]);
    for i in 0..64 {
        h = (xs.select(0, i).matmul(wx) + h.matmul(wh) + b).tanh();
    }
    h.square().sum()
}

/// Times an entry point, or with `--kept` a kept object that writes into buffers.
macro_rules! time {
    ($session:ident, $name:expr, $f:ident($($arg:expr),*), into($($buffer:expr),*)) => {
        if $session.kept {
            let mut buffers = ($($buffer,)*);
            let mut kept = None;
            $session.time($name, || {
                if kept.is_none() {
                    kept = Some($f::compile($($arg),*)?);
                }
                let Some(kept) = &kept else { return Ok(()) };
                time!(@into buffers, kept.value_and_grad_into($($arg),*), $($buffer),*)
            })
        } else {
            $session.time($name, || $f::value_and_grad($($arg),*).map(drop))
        }
    };
    (@into $b:ident, $c:ident.$m:ident($($arg:expr),*), $b0:expr) => { $c.$m($($arg),*, &mut $b.0).map(drop) };
    (@into $b:ident, $c:ident.$m:ident($($arg:expr),*), $b0:expr, $b1:expr) => { $c.$m($($arg),*, &mut $b.0, &mut $b.1).map(drop) };
    (@into $b:ident, $c:ident.$m:ident($($arg:expr),*), $b0:expr, $b1:expr, $b2:expr) => {
        $c.$m($($arg),*, &mut $b.0, &mut $b.1, &mut $b.2).map(drop)
    };
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let s = Session::from_args()?;
    if s.wants("scalar_rosenbrock") {
        time!(s, "scalar_rosenbrock", scalar_rosenbrock(1.2, 0.5), into(0.0, 0.0));
    }
    if s.wants("scalar_loop_1000") {
        time!(s, "scalar_loop_1000", scalar_loop(0.7, 0.3), into(0.0, 0.0));
    }
    for (name, n) in [("elementwise_16k", 1 << 14), ("elementwise_4m", 1 << 22)] {
        if s.wants(name) {
            let [x, w, b, y] = std::array::from_fn(|i| normal([n], 1.0, i as u64));
            time!(s, name, elementwise(&x, &w, &b, &y), into(zeros(&x), zeros(&w), zeros(&b)));
        }
    }
    if s.wants("softmax_xent") {
        let (x, t) = (normal([1024, 1000], 1.0, 0), classes(1024, 1000));
        time!(s, "softmax_xent", softmax_xent(&x, &t), into(zeros(&x)));
    }
    if s.wants("layernorm") {
        let (x, g, b, y) =
            (normal([2048, 768], 1.0, 0), normal([768], 1.0, 1), normal([768], 1.0, 2), normal([2048, 768], 1.0, 3));
        time!(s, "layernorm", layernorm(&x, &g, &b, &y), into(zeros(&x), zeros(&g), zeros(&b)));
    }
    for (name, batch, dims) in [("mlp_784", 128, [784, 512, 256, 10]), ("mlp_digits", 64, [64, 64, 32, 10])] {
        if s.wants(name) {
            let (x, t) = (normal([batch, dims[0]], 1.0, 0), classes(batch, dims[3]));
            let layers = std::array::from_fn(|i| Linear {
                weight: normal([dims[i], dims[i + 1]], (dims[i] as f32).powf(-0.5), 1 + i as u64),
                bias: Tensor::zeros([dims[i + 1]]),
            });
            let zeros = layers.each_ref().map(|l: &Linear| Linear { weight: zeros(&l.weight), bias: zeros(&l.bias) });
            time!(s, name, mlp(&layers, &x, &t), into(zeros));
        }
    }
    if s.wants("linreg_f64") {
        let [w, x, y] =
            [normal([100], 1.0, 0), normal([10_000, 100], 1.0, 1), normal([10_000], 1.0, 2)].map(|t| t.to::<f64>());
        time!(s, "linreg_f64", linreg(&w, &x, &y), into(Tensor::<f64>::zeros([100])));
    }
    if s.wants("attention") {
        let [q, k, v, y] = std::array::from_fn(|i| normal([16, 128, 32], 1.0, i as u64));
        time!(s, "attention", attention(&q, &k, &v, &y), into(zeros(&q), zeros(&k), zeros(&v)));
    }
    if s.wants("lenet") {
        let (x, t) = (normal([32, 1, 28, 28], 1.0, 0), classes(32, 10));
        let (c1, c2) = (normal([6, 1, 5, 5], 0.2, 1), normal([16, 6, 5, 5], 0.1, 2));
        let dense = [normal([256, 120], 0.06, 3), normal([120, 84], 0.09, 4), normal([84, 10], 0.1, 5)];
        let buffers = dense.each_ref().map(zeros);
        time!(s, "lenet", lenet(&c1, &c2, &dense, &x, &t), into(zeros(&c1), zeros(&c2), buffers));
    }
    if s.wants("rnn_64") {
        let (xs, wx) = (normal([64, 32, 64], 1.0, 0), normal([64, 128], 0.1, 1));
        let (wh, b) = (normal([128, 128], 0.08, 2), normal([128], 0.1, 3));
        time!(s, "rnn_64", rnn(&xs, &wx, &wh, &b), into(zeros(&wx), zeros(&wh), zeros(&b)));
    }
    if s.wants("nbody_1000") {
        let (x, v) = (normal([5, 3], 1.0, 0).to::<f64>(), normal([5, 3], 0.1, 1).to::<f64>());
        let zeros = || Tensor::<f64>::zeros([5, 3]);
        time!(s, "nbody_1000", nbody(&x, &v, 1000), into(zeros(), zeros()));
    }
    s.finish()
}

/// What was asked for.
struct Session {
    json: bool,
    quick: bool,
    kept: bool,
    only: Option<String>,
    found: std::cell::Cell<bool>,
}

impl Session {
    fn from_args() -> Result<Session> {
        let mut session = Session { json: false, quick: false, kept: false, only: None, found: false.into() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--json" => session.json = true,
                "--quick" => session.quick = true,
                "--kept" => session.kept = true,
                "--only" => session.only = Some(args.next().context("--only takes the name of a workload")?),
                _ => bail!("usage: workloads [--json] [--only NAME] [--quick] [--kept]"),
            }
        }
        if !session.json {
            println!(
                "{:<18} {:>13} {:>13} {:>8} {:>13}",
                "workload", "compiled, ms", "dynamic, ms", "ratio", "compiling, ms"
            );
        }
        Ok(session)
    }

    fn wants(&self, name: &str) -> bool {
        let wants = self.only.as_deref().is_none_or(|only| only == name);
        self.found.set(self.found.get() || wants);
        wants
    }

    fn finish(&self) -> Result<()> {
        match &self.only {
            Some(name) if !self.found.get() => bail!("no workload is called {name}"),
            _ => Ok(()),
        }
    }

    /// Times the call on both engines and prints it.
    fn time(&self, name: &str, mut call: impl FnMut() -> Result<(), Error>) {
        let budget = if self.quick { 0.05 } else { 1.0 };
        let mut time = |engine| with_engine(engine, || measure(budget, &mut call));
        let engines = [("compiled", time(Engine::Compiled)), ("dynamic", time(Engine::Dynamic))];
        if self.json {
            for (engine, times) in engines {
                match times {
                    Ok((seconds, compiling)) => println!(
                        r#"{{"workload":"{name}","engine":"{engine}","seconds":{seconds:e},"compile_seconds":{compiling:e}}}"#
                    ),
                    // Rust's quoting of a message on one line is JSON's
                    Err(e) => println!(r#"{{"workload":"{name}","engine":"{engine}","error":{:?}}}"#, e.to_string()),
                }
            }
            return;
        }
        let ms = |seconds: f64| format!("{:.5}", seconds * 1e3);
        match engines.map(|e| e.1) {
            [Ok((compiled, compiling)), Ok((dynamic, _))] => println!(
                "{name:<18} {:>13} {:>13} {:>8.1} {:>13.1}",
                ms(compiled),
                ms(dynamic),
                dynamic / compiled,
                compiling * 1e3
            ),
            [Err(e), Ok((dynamic, _))] => println!("{name:<18} {:>13} {:>13}  {e}", "-", ms(dynamic)),
            [_, Err(e)] => println!("{name:<18} {e}"),
        }
    }
}

/// Seconds a call, the best of five batches, and how much longer the first call took.
fn measure(budget: f64, mut call: impl FnMut() -> Result<(), Error>) -> Result<(f64, f64), Error> {
    let mut seconds = |calls: usize| -> Result<f64, Error> {
        let clock = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        Ok(clock.elapsed().as_secs_f64() / calls as f64)
    };
    let first = seconds(1)?;
    let calls = (budget / 5.0 / seconds(1)?.max(1e-7)) as usize;
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        best = best.min(seconds(calls.max(1))?);
    }
    Ok((best, (first - best).max(0.0)))
}

/// Normally distributed numbers (Box and Muller).
fn normal<const R: usize>(shape: [usize; R], scale: f32, seed: u64) -> Tensor<f32> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut one = || scale * (-2.0 * (1.0 - rng.f32()).ln()).sqrt() * (std::f32::consts::TAU * rng.f32()).cos();
    Tensor::from_vec((0..shape.iter().product()).map(|_| one()).collect(), shape)
}

/// Classes, evenly distributed.
fn classes(n: usize, classes: usize) -> Tensor<i64> {
    let mut rng = fastrand::Rng::with_seed(9);
    Tensor::from_vec((0..n).map(|_| rng.i64(0..classes as i64)).collect(), [n])
}

fn zeros(like: &Tensor<f32>) -> Tensor<f32> {
    Tensor::zeros(like.shape())
}
