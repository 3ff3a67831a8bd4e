//! Choices and loops over tensors: one step of a program that runs programs of its own. Values are handed over once a
//! trip, the work between is compiled. Loops over scalars alone are native instead (see `program/scalar.rs`).

use super::{Input, Output, Program};
use crate::{
    array::Data,
    error::Result,
    op::{
        Op,
        control::{IF, WHILE_BACK, WHILE_SAVE},
    },
};

/// What a loop recorded: the kept values of each trip, one after the other.
pub(super) type Record = Vec<Data>;

/// A choice or loop with its compiled parts.
pub(super) enum Flow {
    If {
        branches: [Program; 2],
    },
    /// With the record that it writes.
    While {
        cond: Program,
        body: Program,
        carried: usize,
        record: Option<usize>,
    },
    /// With the record that it reads, and how many values of it belong to a trip.
    Back {
        step: Program,
        carried: usize,
        record: usize,
        width: usize,
    },
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
            Flow::Back { step: part(0)?, carried: op.int(2) as usize, record, width: op.int(1) as usize }
        } else {
            let record = op.is(&WHILE_SAVE).then_some(record);
            Flow::While { cond: part(0)?, body: part(1)?, carried: op.int(2) as usize, record }
        })
    }

    /// The results for these arguments.
    ///
    /// # Errors
    /// As the programs.
    pub fn run(&self, mut args: Vec<Data>, records: &mut [Record]) -> Result<Vec<Data>> {
        match self {
            Flow::If { branches } => call(&branches[usize::from(!truth(&args[0]))], &args[1..]),
            Flow::While { cond, body, carried, record } => {
                let mut trips = 0;
                let mut next = fresh(body);
                while truth(&call(cond, &args)?[0]) {
                    call_into(body, &args, &mut next)?;
                    if let Some(r) = record {
                        records[*r].extend(next[*carried..].iter().cloned());
                    }
                    args[..*carried].swap_with_slice(&mut next[..*carried]);
                    trips += 1;
                }
                args.truncate(*carried);
                if let Some(r) = record {
                    let width = body.outputs().len() - carried;
                    let end = records[*r].len().checked_div(width).unwrap_or(0);
                    args.extend([Data::I64(vec![trips]), Data::I64(vec![end as i64])]);
                }
                Ok(args)
            }
            Flow::Back { step, carried, record, width } => {
                // the arguments: trips, end, captures, carried values; those of the step: a record, the trip, captures, ..
                let number = |d: &Data| if let Data::I64(n) = d { n[0] as usize } else { 0 };
                let (trips, end) = (number(&args[0]), number(&args[1]));
                let cut = args.len() - carried;
                let mut next = fresh(step);
                let all = &records[*record];
                let start = end.saturating_sub(trips);
                for trip in (0..trips).rev() {
                    let kept = &all[(start + trip) * width..(start + trip + 1) * width];
                    let number = Data::I64(vec![trip as i64]);
                    call_into(step, kept.iter().chain([&number]).chain(&args[2..]), &mut next)?;
                    args[cut..].swap_with_slice(&mut next);
                }
                Ok(args.split_off(cut))
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
