//! Turns a program over scalars into one function: straight-line parts, choices and loops. Invariant: every value
//! passes in and out as a u64 slot, zero-extended, so callers need no knowledge of dtypes to move them.

use super::arena::{self, Arena};
use super::emit::missing;
use super::lanes::{Lane, Lanes, mem, scalar_type};
use super::{CompileError, Id, MAX_NODES, Node, NodeKind, node, validate};
use crate::ty::DType;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, types};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// A scalar function, or a sub-graph of one: `Load { buffer: k, .. }` reads argument `k` (the access is ignored).
#[derive(Clone, Debug, Default)]
pub struct ScalarProgram {
    /// In topological order; no reductions.
    pub insts: Vec<Inst>,
    /// The values to return, one output slot each.
    pub outputs: Vec<Id>,
}

/// One instruction; its number is its [`Id`].
#[derive(Clone, Debug)]
pub enum Inst {
    /// A value.
    Node(Node),
    /// A result of an earlier choice or loop.
    Result {
        /// Which.
        of: Id,
        /// The number of the result.
        index: usize,
        /// Its type.
        dtype: DType,
    },
    /// One of two sub-programs.
    If {
        /// A Bool.
        cond: Id,
        /// What both take.
        args: Vec<Id>,
        /// Where `cond` holds, and where not.
        branches: Box<[ScalarProgram; 2]>,
    },
    /// A loop. With a record, one more result: the number of trips.
    While {
        /// Takes all arguments, gives a Bool.
        cond: Box<ScalarProgram>,
        /// Takes all arguments, gives the next carried ones.
        body: Box<ScalarProgram>,
        /// Carried values, then captures.
        args: Vec<Id>,
        /// How many are carried.
        carried: usize,
        /// The arena and the arguments to record before each trip.
        save: Option<(usize, Vec<usize>)>,
    },
    /// A loop backwards over a record.
    Back {
        /// Takes a record, captures and cotangents; gives cotangents, then terms of sums.
        step: Box<ScalarProgram>,
        /// The number of trips.
        trips: Id,
        /// Captures.
        captures: Vec<Id>,
        /// Cotangents to begin with.
        cotangents: Vec<Id>,
        /// Where the record is.
        arena: usize,
        /// What is in it.
        record: Vec<DType>,
    },
}

/// Machine code of a scalar program: argument slots in, output slots out, with the arenas of its loops. The result is
/// 0, or 1 if memory for a record is lacking; then the outputs are not written.
pub type ScalarFn = unsafe extern "C" fn(args: *const u64, outs: *mut u64, arenas: *mut Arena) -> u32;

fn malformed<T>(message: impl Into<String>) -> Result<T, CompileError> {
    Err(CompileError::Malformed(message.into()))
}

/// Checks what [`emit`] relies on; gives the types of the outputs. `inputs` are those of a sub-program.
pub(super) fn check(program: &ScalarProgram, inputs: Option<&[DType]>) -> Result<Vec<DType>, CompileError> {
    if program.insts.len() > MAX_NODES {
        return Err(CompileError::TooLarge(program.insts.len()));
    }
    let mut types: Vec<DType> = Vec::with_capacity(program.insts.len());
    let mut results: FxHashMap<Id, Vec<DType>> = FxHashMap::default();
    let of = |types: &[DType], ids: &[Id]| -> Result<Vec<DType>, CompileError> {
        let ty = |&id: &Id| types.get(id as usize).copied();
        ids.iter().map(ty).collect::<Option<_>>().map_or_else(|| malformed("an argument does not precede its user"), Ok)
    };
    for (id, inst) in program.insts.iter().enumerate() {
        let outs = match inst {
            Inst::Node(n) => {
                match (&n.kind, inputs) {
                    (NodeKind::Reduce { .. }, _) => return malformed("reduction in a scalar program"),
                    (NodeKind::Load { buffer, .. }, Some(ins)) if ins.get(usize::from(*buffer)) != Some(&n.dtype) => {
                        return malformed(format!("{id} reads argument {buffer} of another type"));
                    }
                    _ => validate::node(n, id, |a| types.get(a as usize).copied())?,
                }
                types.push(n.dtype);
                continue;
            }
            Inst::Result { of, index, dtype } => {
                if results.get(of).and_then(|r| r.get(*index)) != Some(dtype) {
                    return malformed(format!("{id} is no result of {of}"));
                }
                types.push(*dtype);
                continue;
            }
            Inst::If { cond, args, branches } => {
                let ins = of(&types, args)?;
                let outs = check(&branches[0], Some(&ins))?;
                if of(&types, &[*cond])? != [DType::Bool] || check(&branches[1], Some(&ins))? != outs {
                    return malformed(format!("choice {id}"));
                }
                outs
            }
            Inst::While { cond, body, args, carried, save } => {
                let ins = of(&types, args)?;
                let mut outs = check(body, Some(&ins))?;
                let kept = save.iter().all(|(_, kept)| kept.iter().all(|&k| k < ins.len()));
                if check(cond, Some(&ins))? != [DType::Bool] || ins.get(..*carried) != Some(&outs) || !kept {
                    return malformed(format!("loop {id}"));
                }
                outs.extend(save.iter().map(|_| DType::I64));
                outs
            }
            Inst::Back { step, trips, captures, cotangents, record, .. } => {
                let cts = of(&types, cotangents)?;
                let ins = [&record[..], &of(&types, captures)?, &cts].concat();
                let outs = check(step, Some(&ins))?;
                if of(&types, &[*trips])? != [DType::I64] || outs.get(..cts.len()) != Some(&cts) {
                    return malformed(format!("backward loop {id}"));
                }
                outs
            }
        };
        types.push(outs.first().copied().unwrap_or(DType::Bool));
        results.insert(id as Id, outs);
    }
    if program.outputs.iter().any(|o| results.contains_key(o)) {
        return malformed("an output is a choice or loop");
    }
    of(&types, &program.outputs)
}

/// What all parts of a function share.
struct Frame {
    arenas: Value,
    /// Returns that memory is lacking.
    failed: Block,
}

/// Writes the body of a scalar program, whose entry block is current and has the parameters.
pub(super) fn emit(program: &ScalarProgram, mut l: Lanes<'_, '_>, params: &[Value]) -> Result<(), CompileError> {
    let &[args, outs, arenas] = params else {
        return malformed("scalar functions take three parameters");
    };
    let frame = Frame { arenas, failed: l.b.create_block() };
    let values = region(&mut l, &frame, program, &mut |l, slot, dtype| {
        let value = l.b.ins().load(scalar_type(dtype), mem(), args, i32::from(slot) * 8);
        Lane { value, dtype }
    })?;
    for (slot, lane) in values.into_iter().enumerate() {
        let bits = to_word(&mut l, lane);
        l.b.ins().store(mem(), bits, outs, (slot * 8) as i32);
    }
    let done = l.b.ins().iconst(types::I32, 0);
    l.b.ins().return_(&[done]);
    l.b.switch_to_block(frame.failed);
    l.b.seal_block(frame.failed);
    let failed = l.b.ins().iconst(types::I32, 1);
    l.b.ins().return_(&[failed]);
    match l.error.take() {
        Some(message) => Err(CompileError::Unsupported(message)),
        None => Ok(()),
    }
}

fn to_word(l: &mut Lanes<'_, '_>, lane: Lane) -> Value {
    match lane.dtype {
        DType::F32 => {
            let bits = l.bitcast(types::I32, lane.value);
            l.b.ins().uextend(types::I64, bits)
        }
        DType::Bool => l.b.ins().uextend(types::I64, lane.value),
        DType::F64 | DType::I64 => lane.value,
    }
}

/// Reads an argument.
type Load<'f> = &'f mut dyn FnMut(&mut Lanes<'_, '_>, u16, DType) -> Lane;

/// Writes a program at the current position; its outputs.
fn region(
    l: &mut Lanes<'_, '_>,
    frame: &Frame,
    program: &ScalarProgram,
    load: Load<'_>,
) -> Result<Vec<Lane>, CompileError> {
    let mut values: Vec<Lane> = Vec::with_capacity(program.insts.len());
    let mut results: FxHashMap<Id, Vec<Lane>> = FxHashMap::default();
    for (id, inst) in program.insts.iter().enumerate() {
        let of = |values: &[Lane], ids: &[Id]| ids.iter().map(|&a| values[a as usize]).collect::<Vec<Lane>>();
        let outs = match inst {
            Inst::Node(n) => {
                values.push(single(l, n, id, &values, load)?);
                continue;
            }
            Inst::Result { of, index, .. } => {
                values.push(results[of][*index]);
                continue;
            }
            Inst::If { cond, args, branches } => {
                let args = of(&values, args);
                choice(l, frame, values[*cond as usize], &args, branches)?
            }
            Inst::While { cond, body, args, carried, save } => {
                let args = of(&values, args);
                repeat(l, frame, [cond, body], &args, *carried, save.as_ref())?
            }
            Inst::Back { step, trips, captures, cotangents, arena, record } => {
                let (captures, cts) = (of(&values, captures), of(&values, cotangents));
                let record = Record { arena: *arena, types: record };
                back(l, frame, step, values[*trips as usize].value, &captures, &cts, &record)?
            }
        };
        // not read: results are
        let first = outs.first().copied();
        values.push(first.unwrap_or_else(|| l.constant_bits(0, DType::Bool)));
        results.insert(id as Id, outs);
    }
    Ok(program.outputs.iter().map(|&o| values[o as usize]).collect())
}

fn single(l: &mut Lanes<'_, '_>, n: &Node, id: usize, values: &[Lane], load: Load<'_>) -> Result<Lane, CompileError> {
    Ok(match &n.kind {
        NodeKind::Load { buffer, .. } => load(l, *buffer, n.dtype),
        NodeKind::Iota { access } => {
            let value = l.b.ins().iconst(types::I64, access.offset);
            l.cast(Lane { value, dtype: DType::I64 }, n.dtype)
        }
        NodeKind::Elementwise { args, .. } => {
            let args: SmallVec<[Lane; 4]> = args.iter().map(|&a| values[a as usize]).collect();
            node::emit(l, n, &args).ok_or_else(|| missing(id as Id))?
        }
        _ => node::emit(l, n, &[]).ok_or_else(|| missing(id as Id))?,
    })
}

/// A sub-program over these arguments.
fn inner(
    l: &mut Lanes<'_, '_>,
    frame: &Frame,
    program: &ScalarProgram,
    args: &[Lane],
) -> Result<Vec<Lane>, CompileError> {
    region(l, frame, program, &mut |_, slot, _| args[usize::from(slot)])
}

/// A block with a parameter for each lane, and its lanes.
fn block(l: &mut Lanes<'_, '_>, like: &[DType]) -> (Block, Vec<Lane>) {
    let block = l.b.create_block();
    let lane = |&dtype: &DType| Lane { value: l.b.append_block_param(block, scalar_type(dtype)), dtype };
    let lanes = like.iter().map(lane).collect();
    (block, lanes)
}
fn dtypes(lanes: &[Lane]) -> Vec<DType> {
    lanes.iter().map(|l| l.dtype).collect()
}
fn jump(l: &mut Lanes<'_, '_>, to: Block, values: impl IntoIterator<Item = Value>) {
    let args: Vec<BlockArg> = values.into_iter().map(BlockArg::Value).collect();
    l.b.ins().jump(to, &args);
}
fn enter(l: &mut Lanes<'_, '_>, block: Block) {
    l.b.switch_to_block(block);
    l.b.seal_block(block);
}

fn choice(
    l: &mut Lanes<'_, '_>,
    frame: &Frame,
    cond: Lane,
    args: &[Lane],
    branches: &[ScalarProgram; 2],
) -> Result<Vec<Lane>, CompileError> {
    let starts = [l.b.create_block(), l.b.create_block()];
    l.b.ins().brif(cond.value, starts[0], &[], starts[1], &[]);
    let mut end: Option<(Block, Vec<Lane>)> = None;
    for (start, branch) in starts.into_iter().zip(branches) {
        enter(l, start);
        let outs = inner(l, frame, branch, args)?;
        let to = end.get_or_insert_with(|| block(l, &dtypes(&outs))).0;
        jump(l, to, outs.into_iter().map(|o| o.value));
    }
    let Some((end, lanes)) = end else { return malformed("a choice without branches") };
    enter(l, end);
    Ok(lanes)
}

/// The address of an arena.
fn address(l: &mut Lanes<'_, '_>, frame: &Frame, arena: usize) -> Value {
    let offset = arena as i64 * i64::from(arena::SIZE);
    let by = l.b.ins().iconst(types::I64, offset);
    l.b.ins().iadd(frame.arenas, by)
}

fn repeat(
    l: &mut Lanes<'_, '_>,
    frame: &Frame,
    [cond, body]: [&ScalarProgram; 2],
    args: &[Lane],
    carried: usize,
    save: Option<&(usize, Vec<usize>)>,
) -> Result<Vec<Lane>, CompileError> {
    // carried values, and with a record the number of trips, where records are and how many fit
    let mut types = dtypes(&args[..carried]);
    let mut start: Vec<Value> = args[..carried].iter().map(|a| a.value).collect();
    let at = save.map(|(arena, _)| address(l, frame, *arena));
    if let Some(at) = at {
        types.extend([DType::I64; 3]);
        start.push(l.b.ins().iconst(types::I64, 0));
        start.push(l.b.ins().load(types::I64, mem(), at, arena::RECORDS));
        start.push(l.b.ins().load(types::I64, mem(), at, arena::CAPACITY));
    }
    let (head, lanes) = block(l, &types);
    jump(l, head, start);
    l.b.switch_to_block(head);
    let mut now: Vec<Lane> = lanes[..carried].to_vec();
    now.extend_from_slice(&args[carried..]);
    let test = inner(l, frame, cond, &now)?[0];
    let (trip, exit) = (l.b.create_block(), l.b.create_block());
    l.b.ins().brif(test.value, trip, &[], exit, &[]);
    enter(l, trip);
    let mut next = Vec::new();
    if let (Some(at), Some((_, kept))) = (at, save) {
        let (n, records, capacity) = (lanes[carried].value, lanes[carried + 1].value, lanes[carried + 2].value);
        let (records, capacity) =
            if kept.is_empty() { (records, capacity) } else { room(l, frame, at, kept.len(), n, records, capacity) };
        let stride = (kept.len() * 8) as i64;
        let by = l.b.ins().imul_imm_s(n, stride);
        let to = l.b.ins().iadd(records, by);
        for (k, &i) in kept.iter().enumerate() {
            let word = to_word(l, now[i]);
            l.b.ins().store(mem(), word, to, (k * 8) as i32);
        }
        next.extend([l.b.ins().iadd_imm_s(n, 1), records, capacity]);
    }
    let mut values: Vec<Value> = inner(l, frame, body, &now)?.into_iter().map(|o| o.value).collect();
    values.extend(next);
    jump(l, head, values);
    l.b.seal_block(head);
    enter(l, exit);
    Ok(lanes[..carried + usize::from(save.is_some())].to_vec())
}

/// Makes sure that record `n` fits: where the records are now, and how many fit.
fn room(
    l: &mut Lanes<'_, '_>,
    frame: &Frame,
    at: Value,
    stride: usize,
    n: Value,
    records: Value,
    capacity: Value,
) -> (Value, Value) {
    let (full, (go, lanes)) = (l.b.create_block(), block(l, &[DType::I64; 2]));
    l.b.set_cold_block(full);
    let fits = l.b.ins().icmp(IntCC::UnsignedLessThan, n, capacity);
    l.b.ins().brif(fits, go, &[BlockArg::Value(records), BlockArg::Value(capacity)], full, &[]);
    enter(l, full);
    let stride = l.b.ins().iconst(types::I64, stride as i64);
    let (word, grow) = (types::I64, arena::grow as *const () as usize);
    let grown = l.call(grow, &[word, word], Some(types::I32), &[at, stride]);
    let grown = grown.unwrap_or(n);
    let more = l.b.create_block();
    l.b.ins().brif(grown, more, &[], frame.failed, &[]);
    enter(l, more);
    let records = l.b.ins().load(types::I64, mem(), at, arena::RECORDS);
    let capacity = l.b.ins().load(types::I64, mem(), at, arena::CAPACITY);
    jump(l, go, [records, capacity]);
    enter(l, go);
    (lanes[0].value, lanes[1].value)
}

/// Where a record is and what it holds.
struct Record<'a> {
    arena: usize,
    types: &'a [DType],
}

fn back(
    l: &mut Lanes<'_, '_>,
    frame: &Frame,
    step: &ScalarProgram,
    trips: Value,
    captures: &[Lane],
    cts: &[Lane],
    record: &Record<'_>,
) -> Result<Vec<Lane>, CompileError> {
    let at = address(l, frame, record.arena);
    let records = l.b.ins().load(types::I64, mem(), at, arena::RECORDS);
    let outs = check(step, None)?;
    let zeros: Vec<Value> = outs[cts.len()..].iter().map(|&d| l.constant_bits(0, d).value).collect();
    let mut types = outs;
    types.push(DType::I64);
    let (head, lanes) = block(l, &types);
    jump(l, head, cts.iter().map(|c| c.value).chain(zeros).chain([trips]));
    l.b.switch_to_block(head);
    let left = lanes[lanes.len() - 1].value;
    let (trip, exit) = (l.b.create_block(), l.b.create_block());
    l.b.ins().brif(left, trip, &[], exit, &[]);
    enter(l, trip);
    let left = l.b.ins().iadd_imm_s(left, -1);
    let by = l.b.ins().imul_imm_s(left, (record.types.len() * 8) as i64);
    let from = l.b.ins().iadd(records, by);
    let mut now: Vec<Lane> = Vec::new();
    for (k, &dtype) in record.types.iter().enumerate() {
        // the low bytes of a word are the value: machines are little-endian
        let value = l.b.ins().load(scalar_type(dtype), mem(), from, (k * 8) as i32);
        now.push(Lane { value, dtype });
    }
    now.extend_from_slice(captures);
    now.extend_from_slice(&lanes[..cts.len()]);
    let next = inner(l, frame, step, &now)?;
    let mut values: Vec<Value> = next[..cts.len()].iter().map(|o| o.value).collect();
    for (sum, term) in lanes[cts.len()..].iter().zip(&next[cts.len()..]) {
        values.push(l.add(*sum, *term).value);
    }
    values.push(left);
    jump(l, head, values);
    l.b.seal_block(head);
    enter(l, exit);
    Ok(lanes[..lanes.len() - 1].to_vec())
}
