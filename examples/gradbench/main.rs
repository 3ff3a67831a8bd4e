//! A [GradBench](https://github.com/gradbench/gradbench) tool: one JSON message a line on standard input, one response a line
//! on standard output. Every module is ordinary Rust under `#[differentiable]`; no derivative is written by hand.
//!
//! ```text
//! echo '{"id": 0, "kind": "evaluate", "module": "hello", "function": "double", "input": 1.5}' |
//!     cargo run --release --example gradbench
//! ```

mod ba;
mod descent;
mod det;
mod gmm;
mod hello;
mod ht;
mod input;
mod kmeans;
mod llsq;
mod lse;
mod lstm;
mod ode;
mod particle;
mod saddle;

use anyhow::{Context, Result, bail};
use input::Input;
use serde_json::{Value, json};
use std::io::{BufRead, Write};

/// What a function gave, and how long each run of it took, in nanoseconds.
struct Run {
    output: Value,
    nanoseconds: Vec<u64>,
}

/// Evaluates a function of a module by its name.
type Evaluate = fn(&str, &Input) -> Result<Run>;

fn module(name: &str) -> Option<Evaluate> {
    Some(match name {
        "ba" => ba::evaluate,
        "det" => det::evaluate,
        "gmm" => gmm::evaluate,
        "hello" => hello::evaluate,
        "ht" => ht::evaluate,
        "kmeans" => kmeans::evaluate,
        "llsq" => llsq::evaluate,
        "lse" => lse::evaluate,
        "lstm" => lstm::evaluate,
        "ode" => ode::evaluate,
        "particle" => particle::evaluate,
        "saddle" => saddle::evaluate,
        _ => return None,
    })
}

/// The error of a function that a module does not have.
fn unknown(function: &str) -> Result<Run> {
    bail!("expected a function of this module, found {function:?}")
}

fn evaluate(message: &Value) -> Result<Run> {
    let text = |key: &str| message[key].as_str().with_context(|| format!("expected a string as {key:?}"));
    let (name, function) = (text("module")?, text("function")?);
    let evaluate = module(name).with_context(|| format!("expected a module that this tool has, found {name:?}"))?;
    evaluate(function, &Input(&message["input"]))
}

fn respond(line: &str) -> Value {
    let message: Value = match serde_json::from_str(line) {
        Ok(message) => message,
        Err(e) => return json!({ "id": null, "success": false, "error": format!("expected a message in JSON: {e}") }),
    };
    let id = &message["id"];
    match message["kind"].as_str() {
        Some("start") => json!({ "id": id, "tool": "autograd-jit" }),
        Some("define") => match message["module"].as_str() {
            Some(name) if module(name).is_some() => json!({ "id": id, "success": true }),
            name => json!({ "id": id, "success": false, "error": format!("no module {}", name.unwrap_or("is named")) }),
        },
        Some("evaluate") => match evaluate(&message) {
            Ok(run) => {
                let timing = |n: &u64| json!({ "name": "evaluate", "nanoseconds": n });
                let timings: Vec<Value> = run.nanoseconds.iter().map(timing).collect();
                json!({ "id": id, "success": true, "output": run.output, "timings": timings })
            }
            Err(e) => json!({ "id": id, "success": false, "error": format!("{e:#}") }),
        },
        _ => json!({ "id": id }),
    }
}

fn main() -> Result<()> {
    let (stdin, stdout) = (std::io::stdin().lock(), std::io::stdout());
    for line in stdin.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let mut out = stdout.lock();
        serde_json::to_writer(&mut out, &respond(&line))?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}
