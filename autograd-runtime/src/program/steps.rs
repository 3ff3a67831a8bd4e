//! Choices, loops and calls over tensors: one step of a program that runs programs of its own. Values are handed over once a
//! trip or call, the work between is compiled. Control flow over scalars alone is native instead (see `program/scalar.rs`).
//!
//! What a loop or call records is a block of its own, and where its record ends the number of that block and one: inner calls
//! and the loops in them may record in between.

use super::{Input, Output, Program};
use crate::{
    array::Data,
    error::{Error, Result},
    graph::{Builder, Graph},
    op::{
        Attr, Op,
        control::{self, CALL, CALL_BACK, CALL_SAVE, IF, MAX_CALLS, WHILE_BACK, WHILE_SAVE, is_call},
    },
    ty::{DType, Ty},
};
use smallvec::SmallVec;
use std::sync::Arc;

/// Of each arena the blocks that were recorded: for each kept value the elements of all trips one after the other, or those of a
/// call.
#[derive(Default)]
pub(super) struct Records(Vec<Vec<Arc<Vec<Data>>>>);

impl Records {
    /// Adds a block; where it ends.
    fn push(&mut self, arena: usize, block: Vec<Data>) -> Data {
        if self.0.len() <= arena {
            self.0.resize_with(arena + 1, Vec::new);
        }
        self.0[arena].push(Arc::new(block));
        number(self.0[arena].len())
    }
    /// The block that ends there.
    fn block(&self, arena: usize, end: &Data) -> Result<Arc<Vec<Data>>> {
        let at = count(end).checked_sub(1);
        let found = at.and_then(|at| self.0.get(arena)?.get(at));
        found.cloned().ok_or_else(|| Error::Compile("bug: a record is read that is not there".into()))
    }
    /// Drops everything.
    pub fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }
}

/// What the programs of one run share.
#[derive(Default)]
pub(super) struct Context<'p> {
    pub records: Records,
    /// The function that is running, and its arena.
    own: Option<(&'p Program, usize)>,
    /// Calls inside one another.
    calls: usize,
}

impl<'p> Context<'p> {
    pub fn new(records: Records) -> Context<'p> {
        Context { records, ..Context::default() }
    }
    /// Runs a part. Unless it `keeps` what it records, because somebody reads that later, the records are as before. What the
    /// `first` trip of a loop has checked holds for all: later ones take the same, and records of trips before it.
    fn part(
        &mut self,
        keeps: bool,
        first: bool,
        p: &'p Program,
        args: &mut dyn Iterator<Item = Input<'_>>,
        outs: &mut [Data],
    ) -> Result<()> {
        let inputs: SmallVec<[Input<'_>; 8]> = args.collect();
        let mut outputs: SmallVec<[Output<'_>; 8]> = outs.iter_mut().map(Output::Data).collect();
        if keeps {
            return p.run_in(&inputs, &mut outputs, self, first);
        }
        let before: SmallVec<[usize; 8]> = self.records.0.iter().map(Vec::len).collect();
        p.run_in(&inputs, &mut outputs, self, first)?;
        for (k, arena) in self.records.0.iter_mut().enumerate() {
            arena.truncate(before.get(k).copied().unwrap_or(0));
        }
        Ok(())
    }
}

/// The functions of a program that have been compiled.
pub(super) type Functions = Vec<(Arc<Graph>, Arc<Program>)>;

/// What a call is besides one.
pub(super) enum How {
    Plain,
    /// It records what comes after so many results.
    Save(usize),
    /// It begins with what was recorded.
    Back,
}

/// A choice, loop or call with its compiled parts.
pub(super) enum Flow {
    If {
        branches: [Program; 2],
    },
    /// With the arena that it records in.
    While {
        cond: Program,
        body: Program,
        carried: usize,
        arena: Option<usize>,
    },
    /// With the arena that it reads, and how many values of it belong to a trip.
    Back {
        step: Program,
        carried: usize,
        arena: usize,
        width: usize,
    },
    /// Of a function from outside, with the arena that it records in or reads, or of the one that is running.
    Call {
        function: Option<(Arc<Program>, usize)>,
        how: How,
    },
}

impl Flow {
    /// Compiles the parts of a lowered operation.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn new(op: &Op, functions: &mut Functions) -> Result<Flow> {
        let int = |i: usize| usize::try_from(op.int(i)).unwrap_or(0);
        if is_call(op) {
            let (how, arena) = match () {
                () if op.is(&CALL_SAVE) => (How::Save(int(1)), int(2)),
                () if op.is(&CALL_BACK) => (How::Back, int(3)),
                () => (How::Plain, 0),
            };
            let function = match &op.attrs[0] {
                Attr::Graph(g) => Some((function(op, g, functions)?, arena)),
                _ => None,
            };
            return Ok(Flow::Call { function, how });
        }
        let mut part = |i: usize| Program::part(op.graph(i), functions);
        Ok(if op.is(&IF) {
            Flow::If { branches: [part(0)?, part(1)?] }
        } else if op.is(&WHILE_BACK) {
            Flow::Back { step: part(0)?, carried: int(2), arena: int(3), width: int(1) }
        } else {
            let arena = op.is(&WHILE_SAVE).then(|| int(3));
            Flow::While { cond: part(0)?, body: part(1)?, carried: int(2), arena }
        })
    }

    /// The results for these arguments.
    ///
    /// # Errors
    /// As the programs.
    pub fn run<'p>(&'p self, mut args: Vec<Data>, cx: &mut Context<'p>) -> Result<Vec<Data>> {
        match self {
            Flow::If { branches } => {
                let branch = &branches[usize::from(!truth(&args[0]))];
                let mut outs = fresh(branch);
                cx.part(gives_ends(branch.outputs()), true, branch, &mut args[1..].iter().map(whole), &mut outs)?;
                Ok(outs)
            }
            Flow::While { cond, body, carried, arena } => {
                let mut trips = 0;
                let (mut goes_on, mut next) = (fresh(cond), fresh(body));
                let mut block: Vec<Data> = next[*carried..].iter().map(|d| Data::zeros(d.dtype(), 0)).collect();
                let keeps = gives_ends(&body.outputs()[*carried..]);
                loop {
                    cx.part(false, trips == 0, cond, &mut args.iter().map(whole), &mut goes_on)?;
                    if !truth(&goes_on[0]) {
                        break;
                    }
                    cx.part(keeps, trips == 0, body, &mut args.iter().map(whole), &mut next)?;
                    block.iter_mut().zip(&next[*carried..]).for_each(|(all, d)| all.append(d));
                    args[..*carried].swap_with_slice(&mut next[..*carried]);
                    trips += 1;
                }
                args.truncate(*carried);
                if let Some(arena) = arena {
                    args.extend([number(trips), cx.records.push(*arena, block)]);
                }
                Ok(args)
            }
            Flow::Back { step, carried, arena, width } => {
                // the arguments: trips, end, captures, carried values; those of the step: a record, the trip, captures, ..
                let block = cx.records.block(*arena, &args[1])?;
                let cut = args.len() - carried;
                let (mut next, trips) = (fresh(step), count(&args[0]));
                let sizes: SmallVec<[usize; 8]> = step.inputs()[..*width].iter().map(Ty::numel).collect();
                for trip in (0..trips).rev() {
                    let kept = block.iter().zip(&sizes).map(|(all, n)| Input::Data(all, trip * n));
                    let number = number(trip);
                    let rest = [&number].into_iter().chain(&args[2..]).map(whole);
                    cx.part(false, trip + 1 == trips, step, &mut kept.chain(rest), &mut next)?;
                    args[cut..].swap_with_slice(&mut next);
                }
                Ok(args.split_off(cut))
            }
            Flow::Call { function, how } => {
                let own = function.as_ref().map(|(p, arena)| (&**p, *arena)).or(cx.own);
                let (program, arena) = own.ok_or_else(|| Error::Compile("bug: a call of no function".into()))?;
                if cx.calls >= MAX_CALLS {
                    return Err(control::too_deep());
                }
                let block = if let How::Back = how { Some(cx.records.block(arena, &args[0])?) } else { None };
                let (kept, given) = block.as_ref().map_or((&[][..], &args[..]), |b| (&b[..], &args[1..]));
                let mut outs = fresh(program);
                let outside = cx.own.replace((program, arena));
                cx.calls += 1;
                let keeps = matches!(how, How::Save(_));
                let run = || cx.part(keeps, true, program, &mut kept.iter().chain(given).map(whole), &mut outs);
                stacker::maybe_grow(1 << 17, 1 << 21, run)?;
                cx.calls -= 1;
                cx.own = outside;
                if let How::Save(results) = how {
                    let block = outs.split_off(*results);
                    outs.push(cx.records.push(arena, block));
                }
                Ok(outs)
            }
        }
    }
}

/// A function, compiled once. One over scalars that is called and no more is native, its calls of itself included.
fn function(op: &Op, g: &Arc<Graph>, functions: &mut Functions) -> Result<Arc<Program>> {
    if let Some((_, known)) = functions.iter().find(|(f, _)| f == g) {
        return Ok(known.clone());
    }
    let b = Builder::new();
    let args: Vec<_> = g.input_types().map(|ty| b.input(ty)).collect();
    let results = b.add_control(op, &args);
    let alone = if op.is(&CALL) { Some(b.finish(results?)?) } else { None };
    let program = Arc::new(match alone.filter(super::scalar::is_scalar) {
        Some(alone) => Program::compile(&alone, false)?,
        None => Program::part(g, functions)?,
    });
    functions.push((g.clone(), program.clone()));
    Ok(program)
}

/// Whether a graph reads all that it records and nothing else: it can be a program by itself. Where a record ends is an integer,
/// so that of a graph that gives none nobody reads a record.
pub(super) fn is_closed(g: &Graph) -> bool {
    let (mut saved, mut read) = (Vec::new(), Vec::new());
    let mut todo = vec![g];
    while let Some(g) = todo.pop() {
        for (_, n) in g.nodes() {
            let at = |i: usize| if let Attr::Own(_) = n.op.attrs[0] { None } else { Some(n.op.int(i)) };
            match () {
                () if n.op.is(&WHILE_SAVE) => saved.push(n.op.int(3)),
                () if n.op.is(&WHILE_BACK) => read.push(n.op.int(3)),
                () if n.op.is(&CALL_SAVE) => saved.extend(at(2)),
                () if n.op.is(&CALL_BACK) => read.extend(at(3)),
                () => {}
            }
            todo.extend(n.subgraphs());
        }
    }
    let gives = g.output_types().any(|t| *t == Ty::scalar(DType::I64));
    !control::calls_itself(g) && (saved.is_empty() || !gives) && read.iter().all(|a| saved.contains(a))
}

/// Whether there may be ends of records among results.
fn gives_ends(tys: &[Ty]) -> bool {
    tys.iter().any(|t| *t == Ty::scalar(DType::I64))
}

fn whole(d: &Data) -> Input<'_> {
    Input::Data(d, 0)
}
fn truth(d: &Data) -> bool {
    matches!(d, Data::Bool(b) if b.iter().all(|&x| x))
}
fn number(n: usize) -> Data {
    Data::I64(vec![n as i64])
}
fn count(d: &Data) -> usize {
    if let Data::I64(n) = d { n[0] as usize } else { 0 }
}

fn fresh(p: &Program) -> Vec<Data> {
    p.outputs().iter().map(|t| Data::zeros(t.dtype, t.numel())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::compile::Body;
    use super::*;
    use crate::{array::Array, diff};

    /// f(x, n) = x where n < 1, else sin(f(x·x, n − 1)), and its sum.
    const RECURSION: &str = "%0 = input : f64[101]
%1 = input : i64[]
%2 = call(%0, %1) {function={
  %0 = input : f64[101]
  %1 = input : i64[]
  %2 = const 1 : i64[]
  %3 = lt(%1, %2) : bool[]
  %4 = if(%3, %0, %1) {then={
    %0 = input : f64[101]
    %1 = input : i64[]
    return %0
  }, else={
    %0 = input : f64[101]
    %1 = input : i64[]
    %2 = const 1 : i64[]
    %3 = sub(%1, %2) : i64[]
    %4 = mul(%0, %0) : f64[101]
    %5 = call(%4, %3) {function=(f64[101], i64[]) -> (f64[101])} : f64[101]
    %6 = proj(%5) {index=0, dtype=f64, shape=[101]} : f64[101]
    %7 = sin(%6) : f64[101]
    return %7
  }} : f64[101]
  %5 = proj(%4) {index=0, dtype=f64, shape=[101]} : f64[101]
  return %5
}} : f64[101]
%3 = proj(%2) {index=0, dtype=f64, shape=[101]} : f64[101]
%4 = sum(%3) {dims=[0]} : f64[1]
return %4
";

    #[test]
    fn a_run_leaves_no_records() {
        let g: Graph = RECURSION.parse().unwrap();
        let program = Program::compile(&diff::gradient(&g, &[0]).unwrap(), false).unwrap();
        let run = |n: i64| {
            // more elements than those for which it would be one native function
            let x = [&[0.5, 1.5][..], &[0.0; 99]].concat();
            let x = Array::from_data(Data::F64(x), &[101]);
            program.run_arrays(&[x, Array::from_data(number(n as usize), &[])])
        };
        let all = |n: i64| run(n).map(|all| all.iter().flat_map(|a| a.to_f64_vec()).collect::<Vec<_>>());
        let first = all(3).unwrap();
        let cos = |x: f64| (x.sin().sin().cos() * x.sin().cos() * x.cos() * 8.0, x.sin().sin().sin());
        let (da, a) = cos(0.5f64.powi(8));
        let (db, b) = cos(1.5f64.powi(8));
        let expected = [a + b, da * 0.5f64.powi(7), db * 1.5f64.powi(7)];
        assert!(first.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{first:?} {expected:?}");
        for n in [0, 50, 20_000, 3] {
            // more calls inside one another than there may be leave nothing either
            assert_eq!(run(n).is_err(), n > MAX_CALLS as i64);
            let Body::Steps { workspaces, .. } = &program.body else { panic!("no program over tensors") };
            assert!(workspaces.lock().iter().all(|w| w.records.0.iter().all(Vec::is_empty)));
        }
        assert_eq!(all(3).unwrap(), first);
    }
}
