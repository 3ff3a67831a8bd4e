//! A [GradBench](https://github.com/gradbench/gradbench) tool: one JSON message a line on standard input, one response a line
//! on standard output. Every module is ordinary Rust under `#[differentiable]`; no derivative is written by hand.
//!
//! ```text
//! echo '{"id": 0, "kind": "evaluate", "module": "hello", "function": "double", "input": 1.5}' |
//!     cargo run --release --example gradbench
//! ```

// loops over indices, as the formulas have them
#![allow(clippy::needless_range_loop)]

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn near(got: &Value, want: &Value) -> bool {
        match (got, want) {
            (Value::Array(g), Value::Array(w)) => g.len() == w.len() && g.iter().zip(w).all(|(g, w)| near(g, w)),
            (Value::Object(g), Value::Object(w)) => g.len() == w.len() && w.iter().all(|(k, w)| near(&g[k], w)),
            _ => match (got.as_f64(), want.as_f64()) {
                (Some(g), Some(w)) => (g - w).abs() <= 1e-9 * w.abs().max(1e-3),
                _ => false,
            },
        }
    }

    fn ask(message: Value) -> Value {
        respond(&message.to_string())
    }

    /// Outputs of the suite's reference tool, in `tests/data/gradbench`.
    #[test]
    fn every_sample_is_what_the_reference_gives() {
        let mut samples = String::new();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gradbench/samples.jsonl.gz");
        flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_string(&mut samples).unwrap();
        let mut count = 0;
        for (id, line) in samples.lines().enumerate() {
            let mut sample: Value = serde_json::from_str(line).unwrap();
            let want = sample["output"].take();
            (sample["kind"], sample["id"]) = ("evaluate".into(), id.into());
            let name = format!("{} {}", sample["module"], sample["function"]);
            let got = ask(sample);
            assert_eq!((&got["id"], &got["success"]), (&json!(id), &json!(true)), "{name}: {}", got["error"]);
            assert!(near(&got["output"], &want), "{name}: {} instead of {want}", got["output"]);
            assert!(got["timings"][0]["nanoseconds"].is_u64());
            count += 1;
        }
        assert_eq!(count, 22);
    }

    /// f is least over x and largest over y at the origin, and descent stops where its steps are short.
    #[test]
    fn all_modes_find_the_saddle() {
        let find = |function: &str| {
            let input = json!({ "start": [1.0, 1.0] });
            let got =
                ask(json!({ "id": 1, "kind": "evaluate", "module": "saddle", "function": function, "input": input }));
            assert_eq!(got["success"], json!(true), "{}", got["error"]);
            got["output"].clone()
        };
        let first = find("rr");
        assert!(first.as_array().unwrap().iter().all(|x| x.as_f64().unwrap().abs() < 1e-3), "{first}");
        ["ff", "fr", "rf"].iter().for_each(|mode| assert!(near(&find(mode), &first), "{mode}"));
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert_eq!(ask(json!({ "id": 3, "kind": "start" })), json!({ "id": 3, "tool": "autograd-jit" }));
        assert_eq!(ask(json!({ "id": 4, "kind": "define", "module": "ba" })), json!({ "id": 4, "success": true }));
        assert_eq!(ask(json!({ "id": 5, "kind": "analysis", "of": 4, "valid": true })), json!({ "id": 5 }));
        let refused = |message: Value, text: &str| {
            let got = ask(message);
            assert_eq!(got["success"], json!(false));
            assert!(got["error"].as_str().unwrap().contains(text), "{got}");
        };
        refused(json!({ "id": 6, "kind": "define", "module": "nothing" }), "nothing");
        let call = |module: &str, function: &str, input: Value| json!({ "id": 7, "kind": "evaluate", "module": module, "function": function, "input": input });
        refused(call("nothing", "f", json!(1)), "nothing");
        refused(call("hello", "triple", json!(1.0)), "triple");
        refused(call("hello", "square", json!("x")), "number");
        refused(call("llsq", "primal", json!({ "x": [1.0, [2.0, "y"]], "n": 4 })), "\"x\"");
        refused(call("det", "primal", json!({ "A": [1.0, 2.0], "ell": 2 })), "square");
        refused(json!({ "id": 8, "kind": "evaluate" }), "module");
        assert_eq!(respond("{ no json")["success"], json!(false));
    }
}
