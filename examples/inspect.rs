//! What the compiler makes of a function: its graph, the derivative's graph, the kernels and their code.
//!
//! `cargo run --release --example inspect [-- rosenbrock|softmax|digits]`
//!
//! The default is the loss that the example `digits` trains with. Writes the derivative's graph to
//! `target/NAME.dot` and tells how to draw it.

#[path = "digits/model.rs"]
#[allow(dead_code)] // the parts for training
mod model;

use anyhow::{Result, bail};
use autograd::{Explanation, prelude::*};
use std::{path::Path, process::ExitCode};

#[differentiable]
fn rosenbrock(x: f64, y: f64) -> f64 {
    (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2)
}

#[differentiable(wrt(scores))]
fn softmax(scores: &Tensor<f32>, weights: &Tensor<f32>) -> Tensor<f32> {
    (scores.softmax(-1) * weights).sum()
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
    let name = std::env::args().nth(1).unwrap_or_else(|| "digits".into());
    let how = match name.as_str() {
        "rosenbrock" => rosenbrock::explain(1.2, 0.5)?,
        "softmax" => softmax::explain(&Tensor::ones([32, 10]), &Tensor::ones([32, 10]))?,
        "digits" => {
            let net = model::Mlp::new(&mut fastrand::Rng::with_seed(0));
            model::loss::explain(&net, &Tensor::ones([64, model::PIXELS]), &Tensor::zeros([64]))?
        }
        _ => bail!("usage: inspect [rosenbrock|softmax|digits]"),
    };
    println!("# How it is computed\n\n{how}");
    let (Some(source), Some(raw), Some(derivative)) = (&how.source, &how.differentiated, &how.graph) else {
        return Ok(());
    };
    println!("\n# The function's graph, as traced: {} nodes\n\n{source}", source.size());
    println!("# The graph of value and gradient before the passes: {} nodes\n\n{raw}", raw.size());
    println!(
        "# The graph of value and gradient after the passes: {} nodes of {}\n\n{derivative}",
        how.nodes.1, how.nodes.0
    );
    for (i, clif) in how.clif.iter().enumerate() {
        println!("# Kernel {i} of {}, as Cranelift takes it\n\n{clif}", how.clif.len());
    }
    save(&name, &how)
}

fn save(name: &str, how: &Explanation) -> Result<()> {
    let dot = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/{name}.dot"));
    std::fs::create_dir_all(dot.parent().unwrap_or(Path::new("")))?;
    std::fs::write(&dot, how.dot())?;
    let dot = dot.display();
    println!("# The derivative's graph, to be drawn by Graphviz\n\ndot -Tsvg {dot} -o {name}.svg");
    Ok(())
}
