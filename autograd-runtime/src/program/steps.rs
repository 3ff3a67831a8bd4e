//! Choices and loops over tensors: one step of a program that runs programs of its own. Values are handed over once a
//! trip, the work between is compiled. Loops over scalars alone are native instead (see `program/scalar.rs`).

use super::{Input, Output, Program};
use crate::{
    array::{Array, Data},
    error::Result,
    op::{
        Op, arith,
        control::{IF, WHILE_BACK, WHILE_SAVE},
    },
    ty::Ty,
};

/// What a loop recorded: the kept values of each trip, one after the other.
pub(super) type Record = Vec<Data>;

/// A choice or loop with its compiled parts.
pub(super) enum Flow {
    If { branches: [Program; 2] },
    While { cond: Program, body: Program, carried: usize, save: Option<(usize, Vec<usize>)> },
    Back { step: Program, record: usize, width: usize, cotangents: usize },
}

impl Flow {
    /// Compiles the parts of a lowered operation. `record` is the number of the record that it writes or reads.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn new(op: &Op, record: usize) -> Result<Flow> {
        let part = |i: usize| Program::compile(op.graph(i), false);
        Ok(if op.is(&IF) {
            Flow::If { branches: [part(0)?, part(1)?] }
        } else if op.is(&WHILE_BACK) {
            Flow::Back { step: part(0)?, record, width: op.int(1) as usize, cotangents: op.int(2) as usize }
        } else {
            let save = op.is(&WHILE_SAVE).then(|| (record, op.ints(3).iter().map(|&i| i as usize).collect()));
            Flow::While { cond: part(0)?, body: part(1)?, carried: op.int(2) as usize, save }
        })
    }

    /// The results for these arguments.
    ///
    /// # Errors
    /// As the programs.
    pub fn run(&self, mut args: Vec<Data>, records: &mut [Record]) -> Result<Vec<Data>> {
        match self {
            Flow::If { branches } => call(&branches[usize::from(!truth(&args[0]))], &args[1..]),
            Flow::While { cond, body, carried, save } => {
                let mut trips = 0;
                if let Some((r, _)) = save {
                    records[*r].clear();
                }
                let mut next = fresh(body);
                while truth(&call(cond, &args)?[0]) {
                    if let Some((r, kept)) = save {
                        records[*r].extend(kept.iter().map(|&i| args[i].clone()));
                    }
                    call_into(body, &args, &mut next)?;
                    args[..*carried].swap_with_slice(&mut next);
                    trips += 1;
                }
                args.truncate(*carried);
                args.extend(save.iter().map(|_| Data::I64(vec![trips])));
                Ok(args)
            }
            Flow::Back { step, record, width, cotangents } => {
                // the arguments: trips, captures, cotangents; those of the step: a record, captures, cotangents
                let trips = if let Data::I64(n) = &args[0] { n[0] } else { 0 };
                let cut = args.len() - cotangents;
                let outs = step.outputs();
                let mut sums: Vec<Data> = outs[*cotangents..].iter().map(|t| Data::zeros(t.dtype, t.numel())).collect();
                let mut next = fresh(step);
                let all = &records[*record];
                for trip in (0..trips as usize).rev() {
                    let kept = &all[trip * width..(trip + 1) * width];
                    call_into(step, kept.iter().chain(&args[1..]), &mut next)?;
                    args[cut..].swap_with_slice(&mut next[..*cotangents]);
                    for ((sum, term), ty) in sums.iter_mut().zip(&next[*cotangents..]).zip(&outs[*cotangents..]) {
                        add(sum, term, ty)?;
                    }
                }
                let mut out = args.split_off(cut);
                out.append(&mut sums);
                Ok(out)
            }
        }
    }
}

fn truth(d: &Data) -> bool {
    matches!(d, Data::Bool(b) if b.iter().all(|&x| x))
}

fn fresh(p: &Program) -> Vec<Data> {
    p.outputs().iter().map(|t| Data::zeros(t.dtype, t.numel())).collect()
}

fn call(p: &Program, args: &[Data]) -> Result<Vec<Data>> {
    let mut outs = fresh(p);
    call_into(p, args, &mut outs)?;
    Ok(outs)
}

fn call_into<'a>(p: &Program, args: impl IntoIterator<Item = &'a Data>, outs: &mut [Data]) -> Result<()> {
    let inputs: Vec<Input<'_>> = args.into_iter().map(|d| Input::Data(d, 0)).collect();
    let mut outputs: Vec<Output<'_>> = outs.iter_mut().map(Output::Data).collect();
    p.run(&inputs, &mut outputs)
}

/// `sum += term`.
fn add(sum: &mut Data, term: &Data, ty: &Ty) -> Result<()> {
    let (a, b) = (
        Array::from_data(std::mem::replace(sum, Data::zeros(ty.dtype, 0)), &ty.shape),
        Array::from_data(term.clone(), &ty.shape),
    );
    *sum = Op::new(&arith::ADD).eval(&[a.view(), b.view()], ty)?.into_data();
    Ok(())
}
