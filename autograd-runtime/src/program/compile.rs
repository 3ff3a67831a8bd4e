//! Turns a graph into a [`Program`]: passes, fusion, plan, machine code. A graph of scalars becomes one native
//! function, anything else a short list of steps.

use super::{
    elements::elements,
    exec::{Step, Workspace},
    flow,
    fuse::{Fused, StepKind, fuse},
    plan::{Place, plan, resolve},
    scalar::{is_scalar, scalar_program},
    slots::Form,
    steps::{Flow, Functions, is_closed},
};
use crate::{
    error::{Error, Result},
    graph::{Graph, NodeId},
    kernel::{self, Code, CompiledKernel, ScalarProgram},
    op::{Attr, create},
    pass,
    ty::Ty,
};
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// A compiled graph. Running it allocates nothing but its results, and less where the caller brings buffers.
pub struct Program {
    pub(super) inputs: Vec<Ty>,
    pub(super) outputs: Vec<Ty>,
    pub(super) body: Body,
    /// Keeps the machine code mapped.
    code: Option<Code>,
    stats: Stats,
}

pub(super) enum Body {
    /// One native function over slots, and the memory that it works in, if it needs some.
    Scalar {
        f: kernel::scalar::ScalarFn,
        frame: bool,
        /// Loops that record.
        arenas: usize,
        /// Bytes that blocks of vector code need.
        scratch: usize,
        /// Whether it calls functions.
        calls: bool,
        /// Slots of the arguments and of the results: one for each element, two for a list.
        slots: (usize, usize),
        /// What is in them, if they fit the stack.
        forms: Option<[Form; 2]>,
    },
    /// Steps over buffers.
    Steps {
        steps: Vec<Step>,
        places: Vec<Place>,
        copies: Vec<(usize, usize)>,
        arena: usize,
        /// Working memory between runs; as many as ran at once.
        workspaces: Mutex<Vec<Workspace>>,
    },
}

/// What `explain` tells of a kernel or step.
#[derive(Clone, Debug)]
pub struct KernelInfo {
    /// `kernel`, `matmul`, `library`, `control flow`, `scalar function`, or `vector loop` for a loop of one whose trips run
    /// side by side.
    pub kind: &'static str,
    /// The operations it computes.
    pub ops: Vec<String>,
    /// The iteration domain or the extents of a product.
    pub domain: Vec<usize>,
}

/// Figures of a compilation.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Nodes before and after the passes, sub-graphs included.
    pub nodes: (usize, usize),
    /// The steps, in order.
    pub kernels: Vec<KernelInfo>,
    /// Intermediate values in memory.
    pub buffers: usize,
    /// Bytes they take at the most.
    pub peak_bytes: usize,
    /// Bytes of machine code.
    pub code_bytes: usize,
    /// Wall time of each stage.
    pub stages: Vec<(&'static str, Duration)>,
    /// The graph after the passes.
    pub graph: Option<std::sync::Arc<Graph>>,
    /// Cranelift's text of each kernel, if it was asked for.
    pub clif: Vec<String>,
}

fn failed(e: kernel::CompileError) -> Error {
    Error::Compile(e.to_string())
}

impl Program {
    /// Compiles a graph.
    ///
    /// # Errors
    /// [`Error::Compile`] if the graph has nodes without a compiled form, or is too large.
    pub fn compile(g: &Graph, keep_clif: bool) -> Result<Program> {
        Program::compile_within(g, keep_clif, None)
    }
    /// As [`Program::compile`], with a bound for the bytes that a loop records for its reverse mode: what does not fit is
    /// computed again. There is none for a program that would be too large for one function with it.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn compile_within(g: &Graph, keep_clif: bool, memory: Option<u64>) -> Result<Program> {
        let clock = Instant::now();
        let optimised = pass::optimise(g)?;
        let passes = clock.elapsed();
        let function = match is_scalar(&optimised) {
            true => function(&optimised, memory)?,
            false => match elements(&optimised)? {
                Some(g) => function(&pass::optimise(&g)?, memory)?,
                None => None,
            },
        };
        let (lowered, scalar) = match function {
            Some((lowered, scalar)) => (lowered, Some(scalar)),
            None => {
                // without what only derivatives depended on it may be one over scalars after all
                let lowered = flow::lower(&optimised, false, None)?;
                let scalar = scalar_program(&lowered);
                if scalar.is_none() && lowered.has_lists() {
                    return Err(Error::Compile("lists and tensors, or very many operations, in one function".into()));
                }
                (lowered, scalar)
            }
        };
        let mut program = Program::of(&lowered, scalar.as_ref(), keep_clif, &mut Functions::new())?;
        // those of the graph, where the function is one over elements
        program.inputs = optimised.input_types().cloned().collect();
        program.outputs = optimised.output_types().cloned().collect();
        // a tensor's elements have slots of their own, but are one argument or result
        let plain = |ty: &Ty| ty.is_list() || ty.rank() == 0;
        if let Body::Scalar { forms, .. } = &mut program.body
            && !program.inputs.iter().chain(&program.outputs).all(plain)
        {
            *forms = None;
        }
        program.stats.stages.insert(0, ("passes", passes));
        program.stats.nodes = (g.size(), optimised.size());
        program.stats.graph = Some(std::sync::Arc::new(optimised));
        Ok(program)
    }
    /// Compiles a part of a program over tensors, which has been lowered with it.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub(super) fn part(g: &Graph, functions: &mut Functions) -> Result<Program> {
        let g = pass::optimise(g)?;
        if is_scalar(&g) && is_closed(&g) {
            return Program::compile(&g, false);
        }
        Program::of(&g, None, false, functions)
    }
    /// Machine code for a lowered graph, of the scalar program if there is one.
    fn of(
        g: &Graph,
        scalar: Option<&(ScalarProgram, usize)>,
        keep_clif: bool,
        functions: &mut Functions,
    ) -> Result<Program> {
        let mut stages = Vec::new();
        let mut clock = Instant::now();
        let mut lap = |name, stages: &mut Vec<(&'static str, Duration)>| {
            stages.push((name, clock.elapsed()));
            clock = Instant::now();
        };
        let mut stats = Stats::default();
        let mut builder = kernel::Builder::new(keep_clif).map_err(failed)?;
        let (body, code) = match scalar {
            Some((program, arenas)) => {
                let index = builder.add_scalar(program).map_err(failed)?;
                lap("lowering", &mut stages);
                let code = builder.finish().map_err(failed)?;
                let f = code.scalar(index).ok_or_else(|| Error::Compile("the scalar function is missing".into()))?;
                let ops = op_names(g);
                stats.kernels.push(KernelInfo { kind: "scalar function", ops, domain: Vec::new() });
                let count = |tys: &mut dyn Iterator<Item = &Ty>| tys.map(|t| if t.is_list() { 2 } else { 1 }).sum();
                let slots = (count(&mut g.input_types()), count(&mut g.output_types()));
                let frame = program.needs_frame();
                let vectors = program.vectors();
                let loops = vectors.iter().map(|v| KernelInfo {
                    kind: "vector loop",
                    ops: v.ops.iter().map(|&o| o.into()).collect(),
                    domain: Vec::new(),
                });
                stats.kernels.extend(loops);
                let scratch = vectors.iter().map(|v| v.plan.scratch_bytes).max().unwrap_or(0);
                let calls = program.calls();
                let of = |tys: &mut dyn Iterator<Item = &Ty>| Form::of(&tys.cloned().collect::<Vec<Ty>>());
                let forms = of(&mut g.input_types()).zip(of(&mut g.output_types())).map(<[Form; 2]>::from);
                (Body::Scalar { f, frame, arenas: *arenas, scratch, calls, slots, forms }, code)
            }
            None => {
                let fused = fuse(g)?;
                lap("fusion", &mut stages);
                let plan = plan(g, &fused);
                stats.buffers = plan.values;
                stats.peak_bytes = plan.bytes;
                stats.kernels = fused.steps.iter().map(info).collect();
                for s in &fused.steps {
                    if let StepKind::Kernel { kernel, .. } = s {
                        builder.add_kernel(kernel).map_err(failed)?;
                    }
                }
                lap("lowering", &mut stages);
                let code = builder.finish().map_err(failed)?;
                (steps(g, fused, &plan, &code, functions)?, code)
            }
        };
        lap("machine code", &mut stages);
        stats.code_bytes = code.bytes();
        stats.stages = stages;
        if keep_clif {
            let n = if scalar.is_some() { 1 } else { code.kernel_count() };
            stats.clif = (0..n).map(|i| code.clif(i).to_owned()).collect();
        }
        let outputs = g.output_types().cloned().collect();
        let inputs = g.input_types().cloned().collect();
        Ok(Program { inputs, outputs, body, code: Some(code), stats })
    }
    /// Types of the arguments.
    #[inline]
    pub fn inputs(&self) -> &[Ty] {
        &self.inputs
    }
    /// Types of the results.
    #[inline]
    pub fn outputs(&self) -> &[Ty] {
        &self.outputs
    }
    /// Figures of the compilation.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
    /// Bytes that the program holds: code and working memory.
    pub fn bytes(&self) -> usize {
        let arena = match &self.body {
            Body::Scalar { .. } => 0,
            Body::Steps { arena, .. } => *arena,
        };
        self.code.as_ref().map_or(0, Code::bytes) + arena
    }
}

/// A graph over scalars and lists as one native function, lowered, unless that would be too large.
fn function(g: &Graph, memory: Option<u64>) -> Result<Option<(Graph, (ScalarProgram, usize))>> {
    let within = |memory| {
        let lowered = flow::lower(g, true, memory)?;
        Ok(scalar_program(&lowered).map(|program| (lowered, program))) as Result<_>
    };
    Ok(match (within(memory)?, memory) {
        // loops in loops that are run again come to be in the program several times: then rather more memory than no program
        (None, Some(_)) => within(None)?,
        (found, _) => found,
    })
}

fn op_names(g: &Graph) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (_, n) in g.nodes() {
        let name = n.op.name();
        if !n.op.is(&create::INPUT) && !n.op.is(&create::CONST) && !names.iter().any(|x| x == name) {
            names.push(name.into());
        }
    }
    names
}

fn info(step: &StepKind) -> KernelInfo {
    match step {
        StepKind::Kernel { kernel, ops, .. } => KernelInfo {
            kind: "kernel",
            ops: ops.iter().map(|&o| o.into()).collect(),
            domain: kernel.outer.iter().copied().chain([kernel.inner]).collect(),
        },
        StepKind::MatMul { batch, mkn, .. } => KernelInfo {
            kind: "matmul",
            ops: vec!["matmul".into()],
            domain: batch.iter().chain(mkn).copied().collect(),
        },
        StepKind::Library { op, .. } => KernelInfo { kind: "library", ops: vec![op.name().into()], domain: Vec::new() },
        StepKind::Flow { op, .. } => {
            let graphs = op.attrs.iter().filter_map(|a| if let Attr::Graph(g) = a { Some(g) } else { None });
            let ops = std::iter::once(op.name().to_owned()).chain(graphs.flat_map(|g| op_names(g))).collect();
            KernelInfo { kind: "control flow", ops, domain: Vec::new() }
        }
    }
}

/// Steps with buffers by number in place of nodes.
fn steps(g: &Graph, fused: Fused, plan: &super::plan::Plan, code: &Code, functions: &mut Functions) -> Result<Body> {
    let mut places: Vec<Place> = Vec::new();
    let mut number: rustc_hash::FxHashMap<NodeId, usize> = rustc_hash::FxHashMap::default();
    let alias = &fused.alias;
    let mut buffer = |id: NodeId| -> Result<usize> {
        let id = resolve(alias, id);
        let place = plan.places.get(&id).copied();
        let place = place.ok_or_else(|| Error::Compile(format!("bug: %{} is read but never stored", id.index())))?;
        Ok(*number.entry(id).or_insert_with(|| {
            places.push(place);
            places.len() - 1
        }))
    };
    let mut kernels = 0;
    let mut steps = Vec::new();
    for s in fused.steps {
        steps.push(match s {
            StepKind::Kernel { slots, .. } => {
                let kernel =
                    CompiledKernel::new(code, kernels).ok_or_else(|| Error::Compile("a kernel is missing".into()))?;
                kernels += 1;
                Step::Kernel { kernel, buffers: slots.into_iter().map(&mut buffer).collect::<Result<_>>()? }
            }
            StepKind::MatMul { a, b, batch, mkn, out } => {
                let dtype = g.ty(out).dtype;
                let offsets = batch_offsets(&batch, &a, &b, mkn[0] * mkn[2]);
                let rank = a.strides.len();
                let strides = |s: &[i64]| [s[rank - 2] as isize, s[rank - 1] as isize];
                let (sa, sb) = (strides(&a.strides), strides(&b.strides));
                Step::MatMul { dtype, a: buffer(a.node)?, b: buffer(b.node)?, out: buffer(out)?, offsets, mkn, sa, sb }
            }
            StepKind::Flow { op, args, outs, .. } => {
                let outs =
                    outs.into_iter().map(|(i, id)| Ok((i, buffer(id)?, g.ty(id).bytes()))).collect::<Result<_>>()?;
                let tys = args.iter().map(|&a| g.ty(a).clone()).collect();
                let args = args.into_iter().map(&mut buffer).collect::<Result<_>>()?;
                Step::Flow { flow: Box::new(Flow::new(&op, functions)?), tys, args, outs }
            }
            StepKind::Library { op, args, out } => Step::Library {
                tys: args.iter().map(|&a| g.ty(a).clone()).collect(),
                args: args.into_iter().map(&mut buffer).collect::<Result<_>>()?,
                ty: g.ty(out).clone(),
                out: buffer(out)?,
                op,
            },
        });
    }
    let copies = plan.copies.iter().map(|&(k, id)| Ok((k, buffer(id)?))).collect::<Result<_>>()?;
    Ok(Body::Steps { steps, places, copies, arena: plan.bytes, workspaces: Mutex::default() })
}

/// Element offsets of A, B and C for each product of a batch.
fn batch_offsets(batch: &[usize], a: &super::fuse::Operand, b: &super::fuse::Operand, size: usize) -> Vec<[isize; 3]> {
    let n: usize = batch.iter().product();
    (0..n)
        .map(|i| {
            let mut rest = i;
            let mut at = [a.offset as isize, b.offset as isize, (i * size) as isize];
            for d in (0..batch.len()).rev() {
                let j = (rest % batch[d]) as isize;
                rest /= batch[d];
                at[0] += j * a.strides[d] as isize;
                at[1] += j * b.strides[d] as isize;
            }
            at
        })
        .collect()
}
