//! What `explain` returns: the engine and why, the sizes of the graphs, the kernels and what each fuses, the
//! memory, and the time of each stage.

use super::{
    Function, Kind,
    args::Visitor,
    build::{Body, Entry, build, derive},
    cache,
    call::{visit, visit_as},
    key::Sink,
};
use crate::{Error, Result, graph::Graph, program::KernelInfo};
use std::{fmt, time::Duration};

/// The engine that runs a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// Native code.
    Compiled,
    /// The tape.
    Dynamic,
}

/// How a function is differentiated at some arguments. `Display` prints all of it.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The function.
    pub function: &'static str,
    /// Its source file and line.
    pub place: (&'static str, u32),
    /// The derivative explained: `value_and_grad`, or `value` for a function without a scalar result.
    pub entry_point: &'static str,
    /// What runs it.
    pub engine: Engine,
    /// Why the dynamic engine runs it.
    pub reason: Option<String>,
    /// How many stretches of operations between reads of a function that the dynamic engine runs are compiled by now;
    /// `None` if it runs operation by operation.
    pub stretches: Option<usize>,
    /// Why there is a program for each length of a list and each integer, where that is so.
    pub per_length: Option<String>,
    /// Nodes of the function as traced.
    pub traced_nodes: usize,
    /// Nodes of the derivative before and after the passes.
    pub nodes: (usize, usize),
    /// The steps of the program.
    pub kernels: Vec<KernelInfo>,
    /// Intermediate values kept in memory.
    pub buffers: usize,
    /// Bytes they take at the most.
    pub peak_bytes: usize,
    /// Bytes of machine code.
    pub code_bytes: usize,
    /// The time of each stage of compiling, in order.
    pub stages: Vec<(&'static str, Duration)>,
    /// The function as traced.
    pub source: Option<Graph>,
    /// The derivative before the passes.
    pub differentiated: Option<Graph>,
    /// The derivative after all passes.
    pub graph: Option<Graph>,
    /// Cranelift's text of each kernel.
    pub clif: Vec<String>,
}

/// An entry and its key.
fn built<'v, F: Function>(args: F::Args<'_>, v: Visitor<'v>, kind: Kind) -> Result<(Entry, Sink<'v>)> {
    Ok((build::<F>(args, &v, kind, true)?, v.key))
}

pub(super) fn explain<F: Function>(args: F::Args<'_>) -> Result<Explanation> {
    let attempt = |kind: Kind| {
        let entry = built::<F>(args, visit::<F>(args, kind), kind)?;
        if let Body::PerLength { reason } = entry.0.body {
            return built::<F>(args, visit_as::<F>(args, kind, true), kind).map(|e| (kind, e, Some(reason)));
        }
        Ok((kind, entry, None))
    };
    let (kind, (entry, key), per_length) = match attempt(Kind::ValueAndGrad) {
        // no gradient of such a result: explain the value
        Err(Error::Autograd(_)) => attempt(Kind::Value)?,
        other => other?,
    };
    let meta = const { &F::META };
    let mut x = Explanation {
        function: meta.name,
        place: (meta.file, meta.line),
        entry_point: kind.name(),
        engine: Engine::Dynamic,
        reason: None,
        stretches: None,
        per_length,
        traced_nodes: 0,
        nodes: (0, 0),
        kernels: Vec::new(),
        buffers: 0,
        peak_bytes: 0,
        code_bytes: 0,
        stages: vec![("trace", entry.trace_time), ("differentiate", entry.diff_time)],
        source: None,
        differentiated: None,
        graph: None,
        clif: Vec::new(),
    };
    match entry.body {
        Body::Dynamic { reason, .. } | Body::PerLength { reason } => {
            x.reason = Some(reason);
            // the entry that calls use knows what they have met
            let used = if let Sink::Build(key) = &key { cache::get(key) } else { None };
            x.stretches = match used.as_ref().map(|e| &e.body) {
                Some(Body::Dynamic { stretches, .. }) => (!stretches.is_plain()).then(|| stretches.compiled()),
                _ => Some(0),
            };
        }
        Body::Compiled { program, source, .. } => {
            let s = program.stats();
            x.engine = Engine::Compiled;
            x.traced_nodes = source.size();
            x.nodes = s.nodes;
            x.kernels = s.kernels.clone();
            (x.buffers, x.peak_bytes, x.code_bytes) = (s.buffers, s.peak_bytes, s.code_bytes);
            x.stages.extend(s.stages.iter().copied());
            x.differentiated = Some(derive(&source, &entry.wrt, kind)?);
            x.source = Some(source);
            x.graph = s.graph.as_deref().cloned();
            x.clif = s.clif.clone();
        }
    }
    Ok(x)
}

impl Explanation {
    /// The time from the call to the finished program.
    pub fn compile_time(&self) -> Duration {
        self.stages.iter().map(|s| s.1).sum()
    }
    /// The derivative's graph as Graphviz input; empty on the dynamic engine.
    pub fn dot(&self) -> String {
        self.graph.as_ref().map_or_else(String::new, Graph::dot)
    }
    /// All of it as one JSON object, without the graphs' and kernels' texts.
    pub fn to_json(&self) -> String {
        let kernels: Vec<String> = self
            .kernels
            .iter()
            .map(|k| {
                let ops: Vec<String> = k.ops.iter().map(|o| quoted(o)).collect();
                format!("{{\"kind\":{},\"ops\":[{}],\"domain\":{:?}}}", quoted(k.kind), ops.join(","), k.domain)
            })
            .collect();
        let stages: Vec<String> =
            self.stages.iter().map(|(n, t)| format!("{}:{}", quoted(n), t.as_secs_f64())).collect();
        let engine = if self.engine == Engine::Compiled { "compiled" } else { "dynamic" };
        format!(
            "{{\"function\":{},\"file\":{},\"line\":{},\"entry_point\":{},\"engine\":\"{engine}\",\"reason\":{},\"stretches\":{},\"per_length\":{},\"traced_nodes\":{},\
             \"nodes_before\":{},\"nodes_after\":{},\"kernels\":[{}],\"buffers\":{},\"peak_bytes\":{},\"code_bytes\":{},\"seconds\":{{{}}}}}",
            quoted(self.function),
            quoted(self.place.0),
            self.place.1,
            quoted(self.entry_point),
            self.reason.as_deref().map_or_else(|| "null".into(), quoted),
            self.stretches.map_or_else(|| "null".into(), |n| n.to_string()),
            self.per_length.as_deref().map_or_else(|| "null".into(), quoted),
            self.traced_nodes,
            self.nodes.0,
            self.nodes.1,
            kernels.join(","),
            self.buffers,
            self.peak_bytes,
            self.code_bytes,
            stages.join(",")
        )
    }
}

/// A JSON string.
pub(super) fn quoted(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out + "\""
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}::{} ({}:{})", self.function, self.entry_point, self.place.0, self.place.1)?;
        match (&self.engine, &self.reason) {
            (Engine::Compiled, _) => writeln!(f, "  engine: compiled")?,
            (_, reason) => {
                writeln!(f, "  engine: dynamic, because {}", reason.as_deref().unwrap_or("it was asked for"))?;
                if let Some(n) = self.stretches {
                    writeln!(
                        f,
                        "  between such reads operations on tensors run compiled from the third call on, where that pays: \
                         {n} stretches by now"
                    )?;
                }
                writeln!(
                    f,
                    "  to compile it, keep plain code from reading traced values: select with where_(), maximum() or clamp()"
                )?;
            }
        }
        if let Some(reason) = &self.per_length {
            writeln!(f, "  compiled for these lengths and integers alone, because {reason}")?;
        }
        if self.engine == Engine::Compiled {
            writeln!(
                f,
                "  graph: {} nodes traced, {} differentiated, {} after the passes",
                self.traced_nodes, self.nodes.0, self.nodes.1
            )?;
            for (i, k) in self.kernels.iter().enumerate() {
                let domain = if k.domain.is_empty() { String::new() } else { format!(" over {:?}", k.domain) };
                writeln!(f, "  {i:>3}. {}{domain}: {}", k.kind, k.ops.join(", "))?;
            }
            writeln!(
                f,
                "  memory: {} intermediate values in {} bytes; {} bytes of code",
                self.buffers, self.peak_bytes, self.code_bytes
            )?;
        }
        let stages: Vec<String> =
            self.stages.iter().map(|(n, t)| format!("{n} {:.2} ms", t.as_secs_f64() * 1e3)).collect();
        write!(f, "  compiled in {:.2} ms ({})", self.compile_time().as_secs_f64() * 1e3, stages.join(", "))
    }
}
