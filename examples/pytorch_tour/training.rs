//! Row 18: the training loop, by hand and with optimisers.

use crate::near;
use anyhow::{Context, Result, ensure};
use autograd::{
    Error, Tensor,
    data::{DataLoader, TensorDataset},
    manual_seed, no_grad,
    optim::{Adam, AdamW, Lbfgs, LineSearch, RmsProp, Sgd},
};
use plotters::prelude::*;
use std::path::Path;

/// The points: y = 3x² + 2 and a fifth of uniform noise, whose mean lifts the fit by 0.1.
fn points() -> (Tensor<f64>, Tensor<f64>) {
    manual_seed(100);
    let x = Tensor::linspace(-1.0, 1.0, 100).reshape(&[100, 1]);
    let y = x.square() * 3.0 + 2.0 + Tensor::rand([100, 1]) * 0.2;
    (x, y)
}
/// The squared errors of w·x² + b, halved and summed.
fn loss(w: &Tensor<f64>, b: &Tensor<f64>, x: &Tensor<f64>, y: &Tensor<f64>) -> Tensor<f64> {
    ((x.square() * w + b - y).square() * 0.5).sum()
}
fn start() -> (Tensor<f64>, Tensor<f64>) {
    let at = |v: f64| Tensor::from_vec(vec![v], [1, 1]).requires_grad_(true);
    (at(0.3), at(0.0))
}

pub fn loops() -> Result<()> {
    let (x, y) = points();
    let (w, b) = start();
    for _ in 0..800 {
        loss(&w, &b, &x, &y).backward()?;
        no_grad(|| -> Result<()> {
            for p in [&w, &b] {
                p.sub_(p.grad().context("a gradient")? * 0.001);
                p.grad().context("a gradient")?.zero_();
            }
            Ok(())
        })?;
    }
    near("800 steps by hand under no_grad: w", w.item(), 2.97, 0.04)?;
    near("b", b.item(), 2.11, 0.03)?;
    let picture = std::env::temp_dir().join("tour_fit.svg");
    plot(&picture, &x, &y, w.item(), b.item())?;
    println!("points and fit: {}", picture.display());

    // the least squares that all of them look for
    let best = {
        let (w, b) = start();
        let mut optimizer = Lbfgs::new([&w, &b], 1.0).line_search(LineSearch::StrongWolfe);
        let closure = || -> Result<Tensor<f64>, Error> {
            w.zero_grad();
            b.zero_grad();
            let l = loss(&w, &b, &x, &y);
            l.backward()?;
            Ok(l)
        };
        for _ in 0..20 {
            optimizer.step(closure)?;
        }
        near("L-BFGS: w", w.item(), 2.97, 0.04)?;
        w.item()
    };
    macro_rules! train {
        ($name:literal, $steps:literal, |$p:ident| $optimizer:expr) => {{
            let (w, b) = start();
            let $p = [w.clone(), b.clone()];
            let mut optimizer = $optimizer;
            for _ in 0..$steps {
                optimizer.zero_grad();
                loss(&w, &b, &x, &y).backward()?;
                optimizer.step()?;
            }
            near(concat!($name, ": w"), w.item(), best, 0.02)?;
        }};
    }
    train!("SGD", 800, |p| Sgd::new(&p, 0.005));
    train!("SGD with momentum and Nesterov", 800, |p| Sgd::new(&p, 0.001).momentum(0.9).nesterov(true));
    train!("SGD with weight decay", 800, |p| Sgd::new(&p, 0.005).weight_decay(1e-4));
    train!("Adam", 800, |p| Adam::new(&p, 0.05));
    train!("AdamW", 800, |p| AdamW::new(&p, 0.05).weight_decay(1e-4));
    train!("RMSprop", 800, |p| RmsProp::new(&p, 0.01));
    // mini-batches
    let (w, b) = start();
    let loader = DataLoader::new(TensorDataset::new((&x, &y))?, 10)?.shuffle(0);
    let mut optimizer = Sgd::new([&w, &b], 0.01);
    for _ in 0..200 {
        for (x, y) in &loader {
            optimizer.zero_grad();
            loss(&w, &b, &x, &y).backward()?;
            optimizer.step()?;
        }
    }
    near("mini-batches of 10 from a shuffling DataLoader: w", w.item(), best, 0.05)?;
    ensure!(loader.len() == 10, "ten batches");
    Ok(())
}

fn plot(path: &Path, x: &Tensor<f64>, y: &Tensor<f64>, w: f64, b: f64) -> Result<()> {
    let picture = SVGBackend::new(path, (640, 420)).into_drawing_area();
    picture.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&picture)
        .caption("y = 3x² + 2 with noise, and the fit", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(40)
        .build_cartesian_2d(-1.05..1.05, 1.8..5.6)?;
    chart.configure_mesh().light_line_style(WHITE).draw()?;
    let points = x.to_vec().into_iter().zip(y.to_vec());
    chart.draw_series(points.map(|p| Circle::new(p, 3, BLUE.mix(0.5).filled())))?;
    let line = (-100..=100).map(|i| f64::from(i) / 100.0).map(|x| (x, w * x * x + b));
    chart.draw_series(LineSeries::new(line, RED.stroke_width(2)))?;
    picture.present()?;
    Ok(())
}
