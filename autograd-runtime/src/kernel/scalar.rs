//! Turns a program over scalars and lists into one function: straight-line parts, choices and loops. Invariant: every
//! value passes in and out as u64 slots, a scalar zero-extended, a list as its address and length, so callers need no
//! knowledge of dtypes to move them.

use super::emit::missing;
use super::facts::{self, Facts};
use super::frame::{self, Frame};
use super::lanes::{Lane, Lanes, mem, scalar_type};
use super::{CompileError, Id, MAX_NODES, Node, NodeKind, Vector, jit, node, size_of, validate, vector};
use crate::{op::list::Sorting, ty::DType};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, FuncRef, InstBuilder, Signature, StackSlotData, StackSlotKind, Type, Value, types,
};
use cranelift_codegen::isa::CallConv;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::{cell::RefCell, sync::Arc};

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One element.
    Scalar(DType),
    /// Elements whose number is known at run time.
    List(DType),
}

impl Form {
    /// Slots that it passes through.
    pub fn slots(self) -> usize {
        match self {
            Form::Scalar(_) => 1,
            Form::List(_) => 2,
        }
    }
}

/// A scalar function, or a sub-graph of one: `Load { buffer: k, .. }` reads argument `k` (the access is ignored).
#[derive(Clone, Debug, Default)]
pub struct ScalarProgram {
    /// The arguments.
    pub inputs: Vec<Form>,
    /// In an order in which lists may be written in place; no reductions.
    pub insts: Vec<Inst>,
    /// The values to return.
    pub outputs: Vec<Id>,
}

/// One instruction; its number is its [`Id`]. Those that write to a list give it under a new number, and the old one is
/// not used again.
#[derive(Clone, Debug)]
pub enum Inst {
    /// A scalar.
    Node(Node),
    /// An argument that is a list.
    Argument(usize),
    /// A result of an earlier choice or loop.
    Result {
        /// Which.
        of: Id,
        /// The number of the result.
        index: usize,
        /// Its type.
        form: Form,
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
    /// A loop. With a record, two more results: the number of trips, and where the record ends.
    While {
        /// Takes all arguments, gives a Bool.
        cond: Box<ScalarProgram>,
        /// Takes all arguments, gives the next carried ones, then what is recorded.
        body: Box<ScalarProgram>,
        /// Carried values, then captures.
        args: Vec<Id>,
        /// How many are carried.
        carried: usize,
        /// What is recorded of its trips.
        record: Option<Record>,
        /// How its trips run side by side.
        vector: Option<Box<Vector>>,
    },
    /// A loop backwards over a record.
    Back {
        /// Takes a record, the number of the trip, captures and carried values; gives the next carried ones.
        step: Box<ScalarProgram>,
        /// Trips, the end of the record, captures, carried values.
        args: Vec<Id>,
        /// How many are carried.
        carried: usize,
        /// Where the record is.
        arena: usize,
        /// What is in it.
        record: Vec<DType>,
        /// Whether nobody reads the record afterwards.
        last: bool,
        /// As of the loop that recorded.
        linked: bool,
        /// How its trips run side by side.
        vector: Option<Box<Vector>>,
    },
    /// A call of a function.
    Call {
        /// Which; none is the one that this is in.
        function: Option<Arc<Function>>,
        /// What it takes. Lists that it adds to come last.
        args: Vec<Id>,
        /// What it gives.
        results: Vec<Form>,
    },
    /// The length of a list.
    Len(Id),
    /// An element.
    Get {
        /// The list.
        list: Id,
        /// Its number.
        index: Id,
        /// The number of the place in the source.
        place: i64,
    },
    /// Writes an element, or adds to it.
    Put {
        /// The list.
        list: Id,
        /// Its number.
        index: Id,
        /// What is written or added.
        value: Id,
        /// Whether it is added.
        add: bool,
        /// The number of the place in the source.
        place: i64,
    },
    /// A list of its own with the same elements.
    Copy(Id),
    /// Writes the elements of a list over those of another one of the same length.
    Overwrite {
        /// The other list.
        list: Id,
        /// The elements.
        from: Id,
    },
    /// Equal elements.
    Fill {
        /// The element.
        value: Id,
        /// How many.
        len: Id,
    },
    /// A list of scalars.
    Of(DType, Vec<Id>),
    /// The numbers of the elements of a list in order, which is a fault where there is none.
    Order {
        /// The list.
        list: Id,
        /// The order.
        sorting: Sorting,
        /// The number of the place in the source.
        place: i64,
    },
    /// The sum of a list.
    Sum(Id),
    /// Adds the elements of a list to those of another one of the same length.
    AddTo {
        /// The other list.
        list: Id,
        /// What is added.
        term: Id,
    },
    /// An index, which is a fault unless it is below `limit`, or a bound of a range, which is one above it.
    Within {
        /// The index or bound.
        number: Id,
        /// The limit.
        limit: Id,
        /// Whether it is a bound.
        range: bool,
        /// The number of the place in the source.
        place: i64,
    },
    /// A condition, which is a fault where it does not hold.
    Holds {
        /// The condition.
        cond: Id,
        /// The number of the place in the source.
        place: i64,
    },
    /// The number of a trip, which is a fault from `limit` on.
    Trip {
        /// The number.
        number: Id,
        /// The limit.
        limit: i64,
        /// The number of the place in the source.
        place: i64,
    },
    /// Division of integers.
    Divide {
        /// Dividend and divisor.
        args: [Id; 2],
        /// Whether they are signed.
        signed: bool,
        /// Whether the remainder is wanted.
        remainder: bool,
        /// The number of the place in the source.
        place: i64,
    },
}

/// What a loop does with what its body gives besides carried values.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The arena to record in.
    pub arena: usize,
    /// Whether other records may come between those of its trips: each then tells where the one before it is.
    pub linked: bool,
    /// Whether the body says last if the trip is recorded at all.
    pub taken: bool,
}

/// A function of a scalar program, which may call itself.
#[derive(Clone, Debug)]
pub struct Function {
    /// What it computes.
    pub program: ScalarProgram,
    /// And what of that is recorded or read.
    pub how: How,
    /// The types of what it gives.
    pub results: Vec<Form>,
}

/// What a function does with a record.
#[derive(Clone, Debug)]
pub enum How {
    /// Nothing.
    Plain,
    /// The program gives its results, then what is recorded of the call. One more result: where the record ends.
    Save {
        /// How many are results.
        results: usize,
        /// Where to record.
        arena: usize,
    },
    /// The program takes a record, then all arguments but the first, which is where the record ends.
    Back {
        /// What is in the record.
        record: Vec<DType>,
        /// How many lists, its last arguments and first results, it adds to.
        sums: usize,
        /// Where the record is.
        arena: usize,
    },
}

impl Function {
    /// The types of what it takes.
    fn takes(&self) -> Vec<Form> {
        let ins = &self.program.inputs;
        match &self.how {
            How::Plain | How::Save { .. } => ins.clone(),
            How::Back { record, .. } => {
                [&[Form::Scalar(DType::I64)], ins.get(record.len()..).unwrap_or_default()].concat()
            }
        }
    }
    /// The types of what it gives where its program gives these.
    fn gives(&self, outs: &[Form]) -> Vec<Form> {
        match &self.how {
            How::Plain | How::Back { .. } => outs.to_vec(),
            How::Save { results, .. } => {
                [outs.get(..*results).unwrap_or_default(), &[Form::Scalar(DType::I64)]].concat()
            }
        }
    }
    fn sums(&self) -> usize {
        if let How::Back { sums, .. } = self.how { sums } else { 0 }
    }
    /// Which results come back in registers, those that are lists left out. The others go through memory: conventions have a
    /// register for one integer beside the status, and for two floats, or none.
    fn in_registers(&self, convention: CallConv) -> Vec<bool> {
        let known = matches!(convention, CallConv::SystemV | CallConv::AppleAarch64);
        let (mut integers, mut floats) = if known { (1, 2) } else { (0, 0) };
        let mut free = |form: &Form| {
            let left: &mut usize = match form {
                Form::Scalar(dtype) if dtype.is_float() => &mut floats,
                _ => &mut integers,
            };
            let free = *left > 0;
            *left = left.saturating_sub(1);
            free
        };
        self.results.iter().skip(self.sums()).map(&mut free).collect()
    }
    /// Its machine signature: the memory to work in, where results go that come back in memory, if some do, then arguments. It
    /// returns its status, then results. Results that are lists are arguments, so that they go nowhere.
    pub(super) fn signature(&self, convention: CallConv) -> Signature {
        let mut signature = Signature::new(convention);
        let registers = self.in_registers(convention);
        let mut types: Vec<Type> = vec![types::I64; if registers.contains(&false) { 2 } else { 1 }];
        for form in self.takes() {
            match form {
                Form::Scalar(dtype) => types.push(scalar_type(dtype)),
                Form::List(_) => types.extend([types::I64; 2]),
            }
        }
        signature.params.extend(types.into_iter().map(AbiParam::new));
        signature.returns.push(AbiParam::new(types::I32));
        let results = self.results.iter().skip(self.sums()).zip(registers).filter(|(_, register)| *register);
        signature.returns.extend(results.map(|(form, _)| match *form {
            Form::Scalar(dtype) => AbiParam::new(scalar_type(dtype)),
            Form::List(_) => AbiParam::new(types::I64),
        }));
        signature
    }
}

/// Machine code of a scalar program: argument slots in, output slots out, with the memory to work in, null for one that
/// needs none. The result is 0, or what [`Frame::fault`] tells of; then the outputs are not written.
pub type ScalarFn = unsafe extern "C" fn(args: *const u64, outs: *mut u64, frame: *mut Frame) -> u32;

fn malformed<T>(message: impl Into<String>) -> Result<T, CompileError> {
    Err(CompileError::Malformed(message.into()))
}

impl Inst {
    fn is_control(&self) -> bool {
        matches!(self, Inst::If { .. } | Inst::While { .. } | Inst::Back { .. } | Inst::Call { .. })
    }
}

impl ScalarProgram {
    /// Whether it needs memory to work in.
    pub fn needs_frame(&self) -> bool {
        self.insts.iter().any(|i| match i {
            Inst::Node(_) | Inst::Argument(_) | Inst::Result { .. } | Inst::Len(_) | Inst::Sum(_) => false,
            // its status says it all
            Inst::Holds { .. } => false,
            Inst::If { branches, .. } => branches.iter().any(ScalarProgram::needs_frame),
            Inst::While { cond, body, record, vector, .. } => {
                record.is_some() || vector.is_some() || cond.needs_frame() || body.needs_frame()
            }
            _ => true,
        })
    }
    /// Whether it calls functions.
    pub fn calls(&self) -> bool {
        !self.functions().is_empty()
    }
    /// The functions that it calls, those that they call included, each once.
    pub(super) fn functions(&self) -> Vec<&Arc<Function>> {
        let mut all: Vec<&Arc<Function>> = Vec::new();
        let mut todo = vec![self];
        while let Some(p) = todo.pop() {
            for i in &p.insts {
                match i {
                    Inst::If { branches, .. } => todo.extend(branches.iter()),
                    Inst::While { cond, body, .. } => todo.extend([&**cond, &**body]),
                    Inst::Back { step, .. } => todo.push(step),
                    Inst::Call { function: Some(f), .. } if !all.iter().any(|x| Arc::ptr_eq(x, f)) => {
                        all.push(f);
                        todo.push(&f.program);
                    }
                    _ => {}
                }
            }
        }
        all
    }
    /// The loops that have a form for trips side by side, sub-programs included.
    pub fn vectors<'a>(&'a self) -> Vec<&'a Vector> {
        let of = |i: &'a Inst| match i {
            Inst::If { branches, .. } => branches.iter().flat_map(ScalarProgram::vectors).collect(),
            Inst::While { vector: Some(v), .. } | Inst::Back { vector: Some(v), .. } => vec![&**v],
            Inst::While { cond, body, .. } => [cond.vectors(), body.vectors()].concat(),
            Inst::Back { step, .. } => step.vectors(),
            Inst::Call { function: Some(f), .. } => f.program.vectors(),
            _ => Vec::new(),
        };
        self.insts.iter().flat_map(of).collect()
    }
    /// The last choice, if little and nothing but straight-line code comes after it: its number, its condition, what it takes and
    /// its branches.
    fn last_choice(&self) -> Option<(usize, Id, &[Id], &[ScalarProgram; 2])> {
        const FEW: usize = 16;
        let (id, cond, args, branches) = self.insts.iter().enumerate().rev().find_map(|(id, i)| match i {
            Inst::If { cond, args, branches } => Some((id, *cond, &args[..], &**branches)),
            _ => None,
        })?;
        let after = &self.insts[id + 1..];
        let few = after.len() <= FEW + branches[0].outputs.len() && !after.iter().any(Inst::is_control);
        // lists of a trip go at its end, which there is one of elsewhere
        (few && !self.makes_lists()).then_some((id, cond, args, branches))
    }
    /// Which argument an output is: that argument itself, or the list that it is, written in place.
    fn origin(&self, output: usize) -> Option<usize> {
        let mut id = *self.outputs.get(output)?;
        loop {
            id = match self.insts.get(id as usize)? {
                Inst::Node(Node { kind: NodeKind::Load { buffer, .. }, .. }) => return Some(usize::from(*buffer)),
                Inst::Argument(k) => return Some(*k),
                Inst::Put { list, .. } | Inst::Overwrite { list, .. } | Inst::AddTo { list, .. } => *list,
                Inst::Within { number, .. } | Inst::Trip { number, .. } => *number,
                &Inst::Result { of, index, .. } => match self.insts.get(of as usize)? {
                    Inst::If { args, branches, .. } => args[common(branches, index)?],
                    Inst::While { body, args, carried, .. } if index < *carried => {
                        (body.origin(index)? == index).then(|| args[index])?
                    }
                    Inst::Back { step, args, carried, .. } => {
                        let first = step.inputs.len() - carried;
                        (step.origin(index)? == first + index).then(|| args[args.len() - carried + index])?
                    }
                    Inst::Call { function: Some(f), args, .. } if index < f.sums() => {
                        args[args.len() - f.sums() + index]
                    }
                    _ => return None,
                },
                _ => return None,
            };
        }
    }
    /// Whether it is so little straight-line code that it may be written several times.
    fn is_little(&self) -> bool {
        const LITTLE: usize = 8;
        self.insts.len() <= LITTLE && !self.insts.iter().any(Inst::is_control)
    }
    /// Whether it makes lists, sub-programs included.
    fn makes_lists(&self) -> bool {
        self.insts.iter().any(|i| match i {
            Inst::Copy(_) | Inst::Fill { .. } | Inst::Of(..) | Inst::Order { .. } => true,
            Inst::If { branches, .. } => branches.iter().any(ScalarProgram::makes_lists),
            Inst::While { cond, body, .. } => cond.makes_lists() || body.makes_lists(),
            Inst::Back { step, .. } => step.makes_lists(),
            _ => false,
        })
    }
}

/// Which argument the outputs of both branches are, if they are the same one.
fn common(branches: &[ScalarProgram; 2], output: usize) -> Option<usize> {
    let [a, b] = branches.each_ref().map(|b| b.origin(output));
    a.filter(|_| a == b)
}

/// Checks what [`emit`] relies on; gives the types of the outputs.
pub(super) fn check(program: &ScalarProgram) -> Result<Vec<Form>, CompileError> {
    check_in(program, None)
}

/// As [`check`], of a part of a function.
fn check_in(program: &ScalarProgram, own: Option<&Function>) -> Result<Vec<Form>, CompileError> {
    let check = |program: &ScalarProgram| check_in(program, own);
    if program.insts.len() > MAX_NODES {
        return Err(CompileError::TooLarge(program.insts.len()));
    }
    let mut forms: Vec<Form> = Vec::with_capacity(program.insts.len());
    let mut results: FxHashMap<Id, Vec<Form>> = FxHashMap::default();
    let of = |forms: &[Form], ids: &[Id]| -> Result<Vec<Form>, CompileError> {
        let form = |&id: &Id| forms.get(id as usize).copied();
        ids.iter()
            .map(form)
            .collect::<Option<_>>()
            .map_or_else(|| malformed("an argument does not precede its user"), Ok)
    };
    let integer = Form::Scalar(DType::I64);
    for (id, inst) in program.insts.iter().enumerate() {
        let wrong = || malformed(format!("instruction {id}: {inst:?}"));
        let list = |a: &Id| match of(&forms, &[*a])?[0] {
            Form::List(d) => Ok(d),
            Form::Scalar(_) => malformed(format!("{id} takes a list")),
        };
        let form = match inst {
            Inst::Node(n) => {
                let scalar = |a: Id| match forms.get(a as usize) {
                    Some(Form::Scalar(d)) => Some(*d),
                    _ => None,
                };
                match &n.kind {
                    NodeKind::Reduce { .. } | NodeKind::Delay { .. } => {
                        return malformed("no scalar in a scalar program");
                    }
                    NodeKind::Load { buffer, .. }
                        if program.inputs.get(usize::from(*buffer)) != Some(&Form::Scalar(n.dtype)) =>
                    {
                        return malformed(format!("{id} reads argument {buffer} of another type"));
                    }
                    _ => validate::node(n, id, scalar)?,
                }
                Form::Scalar(n.dtype)
            }
            Inst::Argument(k) => match program.inputs.get(*k) {
                Some(&form @ Form::List(_)) => form,
                _ => return wrong(),
            },
            Inst::Result { of, index, form } => {
                if results.get(of).and_then(|r| r.get(*index)) != Some(form) {
                    return malformed(format!("{id} is no result of {of}"));
                }
                *form
            }
            Inst::If { cond, args, branches } => {
                let ins = of(&forms, args)?;
                let outs = check(&branches[0])?;
                let fits = branches.iter().all(|b| b.inputs == ins);
                if !fits || of(&forms, &[*cond])? != [Form::Scalar(DType::Bool)] || check(&branches[1])? != outs {
                    return wrong();
                }
                results.insert(id as Id, outs);
                Form::Scalar(DType::Bool)
            }
            Inst::While { cond, body, args, carried, record, vector } => {
                let ins = of(&forms, args)?;
                let outs = check(body)?;
                vector.as_ref().map_or(Ok(()), |v| vector::check(v, &ins, 0..*carried))?;
                let recorded = outs.get(*carried..).unwrap_or_default();
                let fits = cond.inputs == ins && body.inputs == ins && check(cond)? == [Form::Scalar(DType::Bool)];
                let scalars = recorded.iter().all(|f| matches!(f, Form::Scalar(_)));
                let bit = recorded.last() == Some(&Form::Scalar(DType::Bool));
                let extra = !scalars || record.map_or(!recorded.is_empty(), |r| r.taken && !bit);
                if !fits || ins.get(..*carried) != outs.get(..*carried) || extra {
                    return wrong();
                }
                let more: &[Form] = if record.is_some() { &[integer; 2] } else { &[] };
                results.insert(id as Id, [&outs[..*carried], more].concat());
                Form::Scalar(DType::Bool)
            }
            Inst::Back { step, args, carried, record, vector, .. } => {
                let given = of(&forms, args)?;
                let saved: Vec<Form> = record.iter().map(|&d| Form::Scalar(d)).collect();
                let Some(state) = given.len().checked_sub(*carried).filter(|&n| n >= 2) else { return wrong() };
                let ins = [&saved[..], &[integer], &given[2..]].concat();
                let outs = check(step)?;
                vector.as_ref().map_or(Ok(()), |v| vector::check(v, &ins, ins.len() - carried..ins.len()))?;
                if given[..2] != [integer; 2] || step.inputs != ins || outs != given[state..] {
                    return wrong();
                }
                results.insert(id as Id, outs);
                Form::Scalar(DType::Bool)
            }
            Inst::Call { function, args, results: outs } => {
                let given = of(&forms, args)?;
                let f = match (function, own) {
                    (Some(f), _) if f.gives(&check_in(&f.program, Some(f))?) == f.results => &**f,
                    (None, Some(f)) => f,
                    _ => return wrong(),
                };
                let first = given.len().checked_sub(f.sums());
                let sums = first.is_some_and(|n| outs.get(..f.sums()) == Some(&given[n..]));
                let lists = outs.iter().skip(f.sums()).any(|o| matches!(o, Form::List(_)));
                if f.takes() != given || f.results != *outs || !sums || lists {
                    return wrong();
                }
                results.insert(id as Id, outs.clone());
                Form::Scalar(DType::Bool)
            }
            Inst::Len(a) => {
                list(a)?;
                integer
            }
            Inst::Get { list: a, index, .. } => {
                if of(&forms, &[*index])? != [integer] {
                    return wrong();
                }
                Form::Scalar(list(a)?)
            }
            Inst::Put { list: a, index, value, add, .. } => {
                let d = list(a)?;
                if of(&forms, &[*index, *value])? != [integer, Form::Scalar(d)] || *add && d == DType::Bool {
                    return wrong();
                }
                Form::List(d)
            }
            Inst::Copy(a) => Form::List(list(a)?),
            Inst::Overwrite { list: a, from: b } | Inst::AddTo { list: a, term: b } => {
                let d = list(a)?;
                if d != list(b)? || matches!(inst, Inst::AddTo { .. }) && !d.is_float() {
                    return wrong();
                }
                Form::List(d)
            }
            Inst::Fill { value, len } => match of(&forms, &[*value, *len])?[..] {
                [Form::Scalar(d), Form::Scalar(DType::I64)] => Form::List(d),
                _ => return wrong(),
            },
            Inst::Of(d, items) => {
                if of(&forms, items)?.iter().any(|f| *f != Form::Scalar(*d)) {
                    return wrong();
                }
                Form::List(*d)
            }
            Inst::Order { list: a, .. } => match list(a)? {
                d if d.is_float() => Form::List(DType::I64),
                _ => return wrong(),
            },
            Inst::Sum(a) => match list(a)? {
                d if d.is_float() => Form::Scalar(d),
                _ => return wrong(),
            },
            Inst::Holds { cond, .. } => {
                if of(&forms, &[*cond])? != [Form::Scalar(DType::Bool)] {
                    return wrong();
                }
                Form::Scalar(DType::Bool)
            }
            Inst::Trip { number, .. } => {
                if of(&forms, &[*number])? != [integer] {
                    return wrong();
                }
                integer
            }
            Inst::Within { number: a, limit: b, .. } | Inst::Divide { args: [a, b], .. } => {
                if of(&forms, &[*a, *b])? != [integer; 2] {
                    return wrong();
                }
                integer
            }
        };
        forms.push(form);
    }
    if program.outputs.iter().any(|o| results.contains_key(o)) {
        return malformed("an output is a choice or loop");
    }
    of(&forms, &program.outputs)
}

/// A value in generated code.
#[derive(Clone, Copy)]
pub(super) enum Val {
    Scalar(Lane),
    List { at: Value, len: Value, dtype: DType },
}

impl Val {
    pub(super) fn lane(self) -> Lane {
        match self {
            Val::Scalar(l) => l,
            Val::List { len, .. } => Lane { value: len, dtype: DType::I64 },
        }
    }
    fn form(self) -> Form {
        match self {
            Val::Scalar(l) => Form::Scalar(l.dtype),
            Val::List { dtype, .. } => Form::List(dtype),
        }
    }
    fn values(self) -> SmallVec<[Value; 2]> {
        match self {
            Val::Scalar(l) => SmallVec::from_slice(&[l.value]),
            Val::List { at, len, .. } => SmallVec::from_slice(&[at, len]),
        }
    }
}

/// What all parts of a function share.
pub(super) struct Cx<'f> {
    pub(super) frame: Value,
    /// Returns that memory is lacking.
    lacking: Block,
    /// Notes a fault, its parameters, and returns that there is one.
    fault: Block,
    /// Returns the status, its parameter, of a function that was called.
    failed: Block,
    /// Functions, and the one that this is.
    functions: &'f [(Arc<Function>, FuncRef)],
    own: Option<(&'f Function, FuncRef)>,
    /// What is known at the current position.
    pub(super) facts: RefCell<Facts>,
}

/// What stands around the code of a function: where it leaves from.
fn context<'f>(
    l: &mut Lanes<'_, '_>,
    frame: Value,
    functions: &'f [(Arc<Function>, FuncRef)],
    own: Option<(&'f Function, FuncRef)>,
) -> Cx<'f> {
    let [lacking, fault, failed] = [0; 3].map(|_| l.b.create_block());
    l.b.append_block_param(failed, types::I32);
    [lacking, fault, failed].into_iter().for_each(|b| l.b.set_cold_block(b));
    Cx { frame, lacking, fault, failed, functions, own, facts: RefCell::default() }
}

/// Ends a function: everything went well where the current position is. It also returns these results.
fn leave(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, results: &[Lane]) -> Result<(), CompileError> {
    let give = |l: &mut Lanes<'_, '_>, status: Value, results: &[Lane]| {
        let all: Vec<Value> = std::iter::once(status).chain(results.iter().map(|r| r.value)).collect();
        l.b.ins().return_(&all);
    };
    let done = l.b.ins().iconst(types::I32, 0);
    give(l, done, results);
    // nobody reads what comes with another status
    for (block, status) in [(cx.lacking, Some(1)), (cx.fault, Some(2)), (cx.failed, None)] {
        enter(l, block);
        let nothing: Vec<Lane> = results.iter().map(|r| l.constant_bits(0, r.dtype)).collect();
        let status = match status {
            Some(status) => l.b.ins().iconst(types::I32, status),
            None => l.b.block_params(block)[0],
        };
        give(l, status, &nothing);
    }
    match l.error.take() {
        Some(message) => Err(CompileError::Unsupported(message)),
        None => Ok(()),
    }
}

/// Stores scalars as words.
fn store_words(l: &mut Lanes<'_, '_>, to: Value, values: impl IntoIterator<Item = Lane>) {
    for (k, lane) in values.into_iter().enumerate() {
        let word = to_word(l, lane);
        l.b.ins().store(mem(), word, to, (k * 8) as i32);
    }
}

/// Writes the body of a scalar program, whose entry block is current and has the parameters.
pub(super) fn emit(
    program: &ScalarProgram,
    mut l: Lanes<'_, '_>,
    params: &[Value],
    functions: &[(Arc<Function>, FuncRef)],
) -> Result<(), CompileError> {
    let &[args, outs, frame] = params else {
        return malformed("scalar functions take three parameters");
    };
    let cx = context(&mut l, frame, functions, None);
    let mut slot = 0;
    let mut given = Vec::new();
    for &form in &program.inputs {
        given.push((form, slot));
        slot += form.slots() as i32 * 8;
    }
    let values = region(&mut l, &cx, program, &mut |l, k| {
        let (form, slot) = given[k];
        match form {
            Form::Scalar(dtype) => {
                let value = l.b.ins().load(scalar_type(dtype), mem(), args, slot);
                Val::Scalar(Lane { value, dtype })
            }
            Form::List(dtype) => {
                let at = l.b.ins().load(types::I64, mem(), args, slot);
                let len = l.b.ins().load(types::I64, mem(), args, slot + 8);
                Val::List { at, len, dtype }
            }
        }
    })?;
    let words = values.into_iter().flat_map(|v| match v {
        Val::Scalar(lane) => SmallVec::from_elem(to_word(&mut l, lane), 1),
        list @ Val::List { .. } => list.values(),
    });
    let words: Vec<Value> = words.collect();
    for (slot, word) in words.into_iter().enumerate() {
        l.b.ins().store(mem(), word, outs, (slot * 8) as i32);
    }
    leave(&mut l, &cx, &[])
}

/// Writes the body of a function, whose entry block is current and has the parameters.
pub(super) fn emit_function(
    f: &Function,
    mut l: Lanes<'_, '_>,
    params: &[Value],
    functions: &[(Arc<Function>, FuncRef)],
    own: FuncRef,
) -> Result<(), CompileError> {
    let registers = f.in_registers(l.call_conv);
    let (frame, outs, words) = match *params {
        [frame, ref words @ ..] if !registers.contains(&false) => (frame, None, words),
        [frame, outs, ref words @ ..] => (frame, Some(outs), words),
        _ => return malformed("functions take a frame and a place for results"),
    };
    let cx = context(&mut l, frame, functions, Some((f, own)));
    // the stack ends somewhere
    let (limit, at) = (l.b.ins().load(types::I64, mem(), frame, frame::STACK), l.b.ins().get_stack_pointer(types::I64));
    let over = l.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, at, limit);
    guard(&mut l, &cx, over, frame::DEPTH, -1, [at, limit]);
    let mut args = of_words(&f.takes(), words)?;
    if let How::Back { record, arena, .. } = &f.how {
        let saved = if record.is_empty() {
            Vec::new()
        } else {
            let at = address(&mut l, &cx, *arena);
            let records = l.b.ins().load(types::I64, mem(), at, frame::RECORDS);
            let from = before(&mut l, records, args[0].lane().value, record.len());
            recorded(&mut l, from, record)
        };
        args.splice(..1, saved);
    }
    let mut values = trip(&mut l, &cx, &f.program, &args)?;
    let mut end = None;
    if let How::Save { results, arena } = &f.how {
        let left = values.split_off(*results);
        let at = address(&mut l, &cx, *arena);
        let value = record(&mut l, &cx, at, left.into_iter().map(Val::lane).collect())?;
        end = Some(Lane { value, dtype: DType::I64 });
    }
    let results: Vec<Lane> = values.into_iter().skip(f.sums()).map(Val::lane).chain(end).collect();
    let in_registers =
        |wanted| results.iter().zip(&registers).filter(move |(_, r)| **r == wanted).map(|(lane, _)| *lane);
    if let Some(outs) = outs {
        store_words(&mut l, outs, in_registers(false));
    }
    leave(&mut l, &cx, &in_registers(true).collect::<Vec<_>>())
}

/// Records values behind all records of an arena: where the record ends.
fn record(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, at: Value, values: Vec<Lane>) -> Result<Value, CompileError> {
    if values.is_empty() {
        // a record of nothing ends anywhere
        return Ok(l.b.ins().iconst(types::I64, 0));
    }
    let bytes = l.b.ins().iconst(types::I64, (values.len() * 8) as i64);
    let len = l.b.ins().load(types::I64, mem(), at, frame::LEN);
    let room = Room::after(l, at, len);
    let room = room.of(l, cx, at, bytes)?;
    store_words(l, room.to, values);
    let end = l.b.ins().iadd(len, bytes);
    l.b.ins().store(mem(), end, at, frame::LEN);
    Ok(end)
}

/// The address of a record of so many values that ends there.
fn before(l: &mut Lanes<'_, '_>, records: Value, end: Value, values: usize) -> Value {
    let end = l.b.ins().iadd(records, end);
    l.b.ins().iadd_imm_s(end, -(values as i64 * 8))
}

/// The values of the record at an address.
fn recorded(l: &mut Lanes<'_, '_>, from: Value, record: &[DType]) -> Vec<Val> {
    let mut read = |(k, &dtype): (usize, &DType)| {
        let value = l.b.ins().load(scalar_type(dtype), mem(), from, (k * 8) as i32);
        Val::Scalar(Lane { value, dtype })
    };
    record.iter().enumerate().map(&mut read).collect()
}

/// Calls a function: its results.
fn call(
    l: &mut Lanes<'_, '_>,
    cx: &Cx<'_>,
    function: Option<&Arc<Function>>,
    args: &[Val],
    results: &[Form],
) -> Result<Vec<Val>, CompileError> {
    let (f, target) = match function {
        Some(f) => match cx.functions.iter().find(|x| Arc::ptr_eq(&x.0, f)) {
            Some((f, target)) => (&**f, *target),
            None => return malformed("a function that is called is not declared"),
        },
        None => match cx.own {
            Some(own) => own,
            None => return malformed("a call of a function around, of which there is none"),
        },
    };
    let sums = f.sums();
    let registers = f.in_registers(l.call_conv);
    let size = 8 * registers.iter().filter(|r| !**r).count() as u32;
    let slot =
        (size > 0).then(|| l.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 3)));
    let outs = slot.map(|slot| l.b.ins().stack_addr(types::I64, slot, 0));
    let given: Vec<Value> = std::iter::once(cx.frame).chain(outs).chain(words(args)).collect();
    let call = l.b.ins().call(target, &given);
    let (status, returned) = match *l.b.inst_results(call) {
        [status, ref returned @ ..] => (status, returned.to_vec()),
        [] => return malformed("a function without a status"),
    };
    let go = l.b.create_block();
    l.b.ins().brif(status, cx.failed, &[BlockArg::Value(status)], go, &[]);
    enter(l, go);
    let mut all = args[args.len() - sums..].to_vec();
    let (mut returned, mut offset) = (returned.into_iter(), 0);
    for (form, register) in results[sums..].iter().zip(registers) {
        let Form::Scalar(dtype) = *form else { return malformed("a list that a function gives") };
        let value = match slot {
            Some(slot) if !register => {
                offset += 8;
                l.b.ins().stack_load(types::I64, scalar_type(dtype), slot, offset - 8)
            }
            _ => returned.next().ok_or_else(|| CompileError::Malformed("a function lacks a result".into()))?,
        };
        all.push(Val::Scalar(Lane { value, dtype }));
    }
    Ok(all)
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
/// The bits of a scalar as an integer of 64 bits.
fn bits(l: &mut Lanes<'_, '_>, lane: Lane) -> Value {
    if lane.dtype == DType::F64 { l.bitcast(types::I64, lane.value) } else { to_word(l, lane) }
}

/// Reads an argument.
type Load<'f> = &'f mut dyn FnMut(&mut Lanes<'_, '_>, usize) -> Val;

/// Writes a program at the current position; its outputs.
fn region(
    l: &mut Lanes<'_, '_>,
    cx: &Cx<'_>,
    program: &ScalarProgram,
    load: Load<'_>,
) -> Result<Vec<Val>, CompileError> {
    let mut done = Done::default();
    done.go_on(l, cx, program, program.insts.len(), load)?;
    Ok(done.outputs(program))
}

/// What is known of a program's instructions, up to where its code has been written.
#[derive(Clone, Default)]
struct Done {
    values: Vec<Val>,
    results: FxHashMap<Id, Vec<Val>>,
}

impl Done {
    fn outputs(&self, program: &ScalarProgram) -> Vec<Val> {
        program.outputs.iter().map(|&o| self.values[o as usize]).collect()
    }
    /// Sets what a choice, a loop or a call gives.
    fn control(&mut self, l: &mut Lanes<'_, '_>, outs: Vec<Val>) {
        // the value is not read: results are
        let first = outs.first().copied().unwrap_or_else(|| Val::Scalar(l.constant_bits(0, DType::Bool)));
        self.results.insert(self.values.len() as Id, outs);
        self.values.push(first);
    }
    /// Writes the instructions up to one.
    fn go_on(
        &mut self,
        l: &mut Lanes<'_, '_>,
        cx: &Cx<'_>,
        program: &ScalarProgram,
        end: usize,
        load: Load<'_>,
    ) -> Result<(), CompileError> {
        for (id, inst) in program.insts[..end].iter().enumerate().skip(self.values.len()) {
            let Done { values, results } = &*self;
            let at = |a: Id| values[a as usize];
            let of = |ids: &[Id]| ids.iter().map(|&a| at(a)).collect::<Vec<Val>>();
            let lane = |a: Id| at(a).lane();
            let value = match inst {
                Inst::Node(n) => Val::Scalar(single(l, n, id, values, load)?),
                Inst::Argument(k) => {
                    let list = load(l, *k);
                    exists(l, cx, list.lane().value);
                    list
                }
                Inst::Result { of, index, .. } => results[of][*index],
                Inst::If { .. } | Inst::While { .. } | Inst::Back { .. } | Inst::Call { .. } => {
                    let outs = match inst {
                        Inst::Call { function, args, results } => call(l, cx, function.as_ref(), &of(args), results)?,
                        Inst::If { cond, args, branches } => choice(l, cx, lane(*cond), &of(args), branches)?,
                        Inst::While { cond, body, args, carried, record: Some(record), .. } if record.linked => {
                            repeat_linked(l, cx, [cond, body], &of(args), *carried, *record)?
                        }
                        Inst::While { cond, body, args, carried, record, vector } => {
                            repeat(l, cx, [cond, body], &of(args), *carried, *record, vector.as_deref())?
                        }
                        Inst::Back { step, args, carried, arena, record, linked: true, .. } => {
                            back_linked(l, cx, step, &of(args), *carried, *arena, record)?
                        }
                        Inst::Back { step, args, carried, arena, record, last, vector, .. } => {
                            let outs = back(l, cx, step, &of(args), *carried, *arena, record, vector.as_deref())?;
                            if *last {
                                // the record makes room for the next one
                                let [trips, end] = [args[0], args[1]].map(|a| lane(a).value);
                                let by = l.b.ins().imul_imm_s(trips, record.len() as i64 * 8);
                                let (at, start) = (address(l, cx, *arena), l.b.ins().isub(end, by));
                                l.b.ins().store(mem(), start, at, frame::LEN);
                            }
                            outs
                        }
                        _ => Vec::new(),
                    };
                    self.control(l, outs);
                    continue;
                }
                Inst::Len(list) => Val::Scalar(lane(*list)),
                Inst::Get { list, index, place } => {
                    let (address, dtype) = element(l, cx, at(*list), lane(*index).value, *place);
                    let value = l.b.ins().load(scalar_type(dtype), mem(), address, 0);
                    Val::Scalar(Lane { value, dtype })
                }
                Inst::Put { list, index, value, add, place } => {
                    let (address, dtype) = element(l, cx, at(*list), lane(*index).value, *place);
                    let mut new = lane(*value);
                    if *add {
                        let value = l.b.ins().load(scalar_type(dtype), mem(), address, 0);
                        new = l.add(Lane { value, dtype }, new);
                    }
                    l.b.ins().store(mem(), new.value, address, 0);
                    at(*list)
                }
                Inst::Copy(list) => {
                    let (from, len, dtype) = parts(at(*list));
                    let to = take(l, cx, len, dtype);
                    moved(l, frame::copy as *const () as usize, to, from, len, dtype);
                    Val::List { at: to, len, dtype }
                }
                Inst::Overwrite { list, from } => {
                    let ((to, len, dtype), (from, other, _)) = (parts(at(*list)), parts(at(*from)));
                    as_long(l, cx, len, other);
                    moved(l, frame::copy as *const () as usize, to, from, len, dtype);
                    at(*list)
                }
                Inst::AddTo { list, term } => {
                    let ((to, len, dtype), (from, other, _)) = (parts(at(*list)), parts(at(*term)));
                    as_long(l, cx, len, other);
                    moved(l, frame::add as *const () as usize, to, from, len, dtype);
                    at(*list)
                }
                Inst::Fill { value, len } => {
                    let (value, len) = (lane(*value), lane(*len).value);
                    let to = take(l, cx, len, value.dtype);
                    exists(l, cx, len);
                    let size = l.b.ins().iconst(types::I64, size_of(value.dtype) as i64);
                    let bits = bits(l, value);
                    let p = types::I64;
                    l.call(frame::fill as *const () as usize, &[p, p, p, p], None, &[to, len, size, bits]);
                    Val::List { at: to, len, dtype: value.dtype }
                }
                Inst::Of(dtype, items) => {
                    let len = l.b.ins().iconst(types::I64, items.len() as i64);
                    let to = take(l, cx, len, *dtype);
                    for (k, &item) in items.iter().enumerate() {
                        l.b.ins().store(mem(), lane(item).value, to, (k * size_of(*dtype)) as i32);
                    }
                    Val::List { at: to, len, dtype: *dtype }
                }
                Inst::Order { list, sorting, place } => {
                    let (from, len, dtype) = parts(at(*list));
                    let to = take(l, cx, len, DType::I64);
                    let how = frame::how(*sorting, dtype == DType::F64);
                    let how = l.b.ins().iconst(types::I64, how as i64);
                    let (p, address) = (types::I64, frame::order as *const () as usize);
                    let sorted = l.call(address, &[p, p, p, p], Some(p), &[to, from, len, how]).unwrap_or(len);
                    let none = l.b.ins().icmp_imm_s(IntCC::Equal, sorted, 0);
                    unless(l, none, |l| breaks(l, cx, *place));
                    Val::List { at: to, len, dtype: DType::I64 }
                }
                Inst::Sum(list) => Val::Scalar(sum(l, cx, at(*list))?),
                Inst::Within { number, limit, range, place } => {
                    let (number, limit) = (lane(*number), lane(*limit).value);
                    if *range {
                        let above = l.b.ins().icmp(IntCC::UnsignedGreaterThan, number.value, limit);
                        guard(l, cx, above, frame::RANGE, *place, [number.value, limit]);
                    } else {
                        below(l, cx, number.value, limit, *place);
                    }
                    Val::Scalar(number)
                }
                Inst::Holds { cond, place } => {
                    let cond = lane(*cond);
                    let not = l.not(cond);
                    unless(l, not.value, |l| breaks(l, cx, *place));
                    Val::Scalar(cond)
                }
                Inst::Trip { number, limit, place } => {
                    let number = lane(*number);
                    let limit = l.b.ins().iconst(types::I64, *limit);
                    let over = l.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, number.value, limit);
                    guard(l, cx, over, frame::TRIPS, *place, [number.value, limit]);
                    Val::Scalar(number)
                }
                Inst::Divide { args, signed, remainder, place } => {
                    Val::Scalar(divide(l, cx, args.map(lane), *signed, *remainder, *place))
                }
            };
            self.values.push(value);
        }
        Ok(())
    }
}

pub(super) fn parts(v: Val) -> (Value, Value, DType) {
    match v {
        Val::List { at, len, dtype } => (at, len, dtype),
        Val::Scalar(l) => (l.value, l.value, l.dtype),
    }
}

/// Goes on unless something is `bad`; how it is left then is written out of line: as arguments of a block that all share it what is
/// wrong would be put in place in front of the branch. Of the two ways Cranelift comes to the second one first: if that were the one
/// out of a loop, nothing would be moved out of what is left of the loop.
fn unless(l: &mut Lanes<'_, '_>, bad: Value, leave: impl FnOnce(&mut Lanes<'_, '_>)) {
    let (go, wrong) = (l.b.create_block(), l.b.create_block());
    l.b.set_cold_block(wrong);
    l.b.ins().brif(bad, wrong, &[], go, &[]);
    enter(l, wrong);
    leave(l);
    enter(l, go);
}

/// Leaves with a fault if `bad`.
fn guard(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, bad: Value, kind: i64, place: i64, numbers: [Value; 2]) {
    unless(l, bad, |l| {
        let [kind, place] = [kind, place].map(|n| l.b.ins().iconst(types::I64, n));
        for (k, n) in [kind, place, numbers[0], numbers[1]].into_iter().enumerate() {
            l.b.ins().store(mem(), n, cx.frame, frame::FAULT + 8 * k as i32);
        }
        l.b.ins().jump(cx.fault, &[]);
    });
}

/// Leaves: an assertion does not hold.
fn breaks(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, place: i64) {
    let status = l.b.ins().iconst(types::I32, i64::from(frame::broken(place).cast_signed()));
    jump(l, cx.failed, [status]);
}

/// Leaves with a fault unless two lists are as long.
fn as_long(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, a: Value, b: Value) {
    let other = l.b.ins().icmp(IntCC::NotEqual, a, b);
    guard(l, cx, other, frame::LENGTH, -1, [b, a]);
}

/// Notes that there is a list of this length, so that it is not negative.
fn exists(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, len: Value) {
    if !cx.facts.borrow().natural(l, len) {
        let most = l.b.ins().iconst(types::I64, i64::MAX);
        cx.facts.borrow_mut().is_below(len, most);
    }
}

/// The address of an element, which is there.
fn element(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, list: Val, index: Value, place: i64) -> (Value, DType) {
    let (at, len, dtype) = parts(list);
    below(l, cx, index, len, place);
    let by = l.b.ins().imul_imm_s(index, size_of(dtype) as i64);
    (l.b.ins().iadd(at, by), dtype)
}

/// Leaves with a fault unless an index is below a length.
fn below(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, index: Value, len: Value, place: i64) {
    // what is compared is the length of a list, as a rule, or below one
    if !cx.facts.borrow().below(l, index, len) {
        let outside = l.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, len);
        guard(l, cx, outside, frame::INDEX, place, [index, len]);
        cx.facts.borrow_mut().is_below(index, len);
    }
}

/// Memory for a list.
fn take(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, len: Value, dtype: DType) -> Value {
    let size = l.b.ins().iconst(types::I64, size_of(dtype) as i64);
    let p = types::I64;
    let at = l.call(frame::take as *const () as usize, &[p, p, p], Some(p), &[cx.frame, len, size]).unwrap_or(len);
    let go = l.b.create_block();
    l.b.ins().brif(at, go, &[], cx.lacking, &[]);
    enter(l, go);
    at
}

fn moved(l: &mut Lanes<'_, '_>, by: usize, to: Value, from: Value, len: Value, dtype: DType) {
    let size = l.b.ins().iconst(types::I64, size_of(dtype) as i64);
    let p = types::I64;
    l.call(by, &[p, p, p, p], None, &[to, from, len, size]);
}

/// The sum in order, as the interpreter's.
fn sum(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, list: Val) -> Result<Lane, CompileError> {
    let (at, len, dtype) = parts(list);
    let (zero, none) = (l.constant_bits(0, dtype), l.b.ins().iconst(types::I64, 0));
    let like = [Form::Scalar(DType::I64), Form::Scalar(dtype)];
    let below =
        |l: &mut Lanes<'_, '_>, vals: &[Val]| Ok(l.b.ins().icmp(IntCC::UnsignedLessThan, vals[0].lane().value, len));
    let vals = cycle(
        l,
        cx,
        &like,
        [none, zero.value],
        |_| false,
        true,
        below,
        |l, vals, go_on| {
            let (i, sum) = (vals[0].lane().value, vals[1].lane());
            let by = l.b.ins().imul_imm_s(i, size_of(dtype) as i64);
            let address = l.b.ins().iadd(at, by);
            let value = l.b.ins().load(scalar_type(dtype), mem(), address, 0);
            let (next, sum) = (l.b.ins().iadd_imm_s(i, 1), l.add(sum, Lane { value, dtype }));
            go_on(l, &[next, sum.value])
        },
    )?;
    Ok(vals[1].lane())
}

/// The machine's division traps at zero, which is a fault, and at the least number by −1, which wraps.
fn divide(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, [a, b]: [Lane; 2], signed: bool, remainder: bool, place: i64) -> Lane {
    let none = l.b.ins().iconst(types::I64, 0);
    let zero = l.b.ins().icmp(IntCC::Equal, b.value, none);
    guard(l, cx, zero, frame::ZERO, place, [a.value, none]);
    let value = if !signed {
        if remainder { l.b.ins().urem(a.value, b.value) } else { l.b.ins().udiv(a.value, b.value) }
    } else {
        let minus = l.b.ins().icmp_imm_s(IntCC::Equal, b.value, -1);
        let one = l.b.ins().iconst(types::I64, 1);
        let safe = l.b.ins().select(minus, one, b.value);
        let (quotient, special) = if remainder {
            (l.b.ins().srem(a.value, safe), none)
        } else {
            (l.b.ins().sdiv(a.value, safe), l.b.ins().ineg(a.value))
        };
        l.b.ins().select(minus, special, quotient)
    };
    Lane { value, dtype: DType::I64 }
}

fn single(l: &mut Lanes<'_, '_>, n: &Node, id: usize, values: &[Val], load: Load<'_>) -> Result<Lane, CompileError> {
    Ok(match &n.kind {
        NodeKind::Load { buffer, .. } => load(l, usize::from(*buffer)).lane(),
        NodeKind::Iota { access } => {
            let value = l.b.ins().iconst(types::I64, access.offset);
            l.cast(Lane { value, dtype: DType::I64 }, n.dtype)
        }
        NodeKind::Elementwise { args, .. } => {
            let args: SmallVec<[Lane; 4]> = args.iter().map(|&a| values[a as usize].lane()).collect();
            node::emit(l, n, &args).ok_or_else(|| missing(id as Id))?
        }
        _ => node::emit(l, n, &[]).ok_or_else(|| missing(id as Id))?,
    })
}

/// A sub-program over these arguments.
pub(super) fn inner(
    l: &mut Lanes<'_, '_>,
    cx: &Cx<'_>,
    program: &ScalarProgram,
    args: &[Val],
) -> Result<Vec<Val>, CompileError> {
    // what is compared inside is not known to hold afterwards
    let mark = cx.facts.borrow().mark();
    let outs = region(l, cx, program, &mut |_, k| args[k]);
    cx.facts.borrow_mut().forget(mark);
    outs
}

/// A block with parameters for values of these forms, and the values. Those that are `known` need none.
fn block(l: &mut Lanes<'_, '_>, like: &[Form], known: impl Fn(usize) -> Option<Val>) -> (Block, Vec<Val>) {
    let block = l.b.create_block();
    let val = |(k, &form): (usize, &Form)| match (known(k), form) {
        (Some(val), _) => val,
        (None, Form::Scalar(dtype)) => {
            Val::Scalar(Lane { value: l.b.append_block_param(block, scalar_type(dtype)), dtype })
        }
        (None, Form::List(dtype)) => {
            let at = l.b.append_block_param(block, types::I64);
            Val::List { at, len: l.b.append_block_param(block, types::I64), dtype }
        }
    };
    let vals = like.iter().enumerate().map(val).collect();
    (block, vals)
}
fn forms(vals: &[Val]) -> Vec<Form> {
    vals.iter().map(|v| v.form()).collect()
}
pub(super) fn words(vals: &[Val]) -> Vec<Value> {
    vals.iter().flat_map(|v| v.values()).collect()
}
/// Values of these forms from their words.
fn of_words(like: &[Form], words: &[Value]) -> Result<Vec<Val>, CompileError> {
    let mut words = words.iter().copied();
    let mut next = || words.next().ok_or_else(|| CompileError::Malformed("a value is lacking".into()));
    let val = |&form: &Form| {
        Ok(match form {
            Form::Scalar(dtype) => Val::Scalar(Lane { value: next()?, dtype }),
            Form::List(dtype) => Val::List { at: next()?, len: next()?, dtype },
        })
    };
    like.iter().map(val).collect()
}
pub(super) fn jump(l: &mut Lanes<'_, '_>, to: Block, values: impl IntoIterator<Item = Value>) {
    let args: Vec<BlockArg> = values.into_iter().map(BlockArg::Value).collect();
    l.b.ins().jump(to, &args);
}
pub(super) fn enter(l: &mut Lanes<'_, '_>, block: Block) {
    l.b.switch_to_block(block);
    l.b.seal_block(block);
}

/// What comes behind the body of a trip: it is told what that gives, and behind which branch it is written.
type End<'f, 'a, 'b> = &'f mut dyn FnMut(&mut Lanes<'a, 'b>, Vec<Val>, Option<(Id, bool)>) -> Result<(), CompileError>;

/// Goes on with the next trip, or behind the loop, with these words.
type Next<'f, 'a, 'b> = &'f dyn Fn(&mut Lanes<'a, 'b>, &[Value]) -> Result<(), CompileError>;

/// A loop over values of these forms: while `test` gives something for them, `trip` gives the next ones to what it ends with,
/// once or behind each of several branches. The values at the loop's end.
///
/// It is tested in front of the first trip and at the end of each, behind each of those branches if the test is `little`. With one
/// test at its head the way out would be reached from there, and Cranelift, which leaves a loop behind when it comes to its way
/// out, would move nothing out of the trips that come after that.
///
/// What `stays` the same in all trips is passed on to none of them. What is known in a trip is not known behind the loop.
#[allow(clippy::too_many_arguments)] // the parts of one loop
fn cycle<'a, 'b>(
    l: &mut Lanes<'a, 'b>,
    cx: &Cx<'_>,
    like: &[Form],
    start: impl IntoIterator<Item = Value>,
    stays: impl Fn(usize) -> bool,
    little: bool,
    test: impl Fn(&mut Lanes<'a, 'b>, &[Val]) -> Result<Value, CompileError>,
    trip: impl FnOnce(&mut Lanes<'a, 'b>, &[Val], Next<'_, 'a, 'b>) -> Result<(), CompileError>,
) -> Result<Vec<Val>, CompileError> {
    let start: Vec<Value> = start.into_iter().collect();
    let begin = of_words(like, &start)?;
    let outside = cx.facts.borrow().mark();
    let stays: Vec<bool> = (0..like.len()).map(stays).collect();
    let known = |k: usize| stays[k].then(|| begin[k]);
    let (first, (head, vals), (exit, ends)) = (l.b.create_block(), block(l, like, known), block(l, like, known));
    // the same of each word
    let stay: Vec<bool> = like.iter().zip(&stays).flat_map(|(f, &s)| std::iter::repeat_n(s, f.slots())).collect();
    let pass = |values: &[Value]| {
        let mut passed = Vec::with_capacity(values.len());
        for (k, &value) in values.iter().enumerate() {
            match stay[k] {
                false => passed.push(value),
                true if value == start[k] => {}
                true => return malformed("a value that stays the same has changed"),
            }
        }
        Ok(passed)
    };
    let args = |values: &[Value]| Ok(pass(values)?.into_iter().map(BlockArg::Value).collect::<Vec<_>>());
    let end = |l: &mut Lanes<'a, 'b>, next: &[Value]| {
        let (more, next) = (test(l, &of_words(like, next)?)?, args(next)?);
        l.b.ins().brif(more, head, &next, exit, &next);
        Ok(())
    };
    let some = test(l, &begin)?;
    let started = args(&start)?;
    l.b.ins().brif(some, first, &[], exit, &started);
    // what all trips have in common goes here
    enter(l, first);
    l.b.ins().jump(head, &started);
    l.b.switch_to_block(head);
    if little {
        trip(l, &vals, &end)?;
    } else {
        let (tail, nexts) = block(l, like, known);
        trip(l, &vals, &|l, next| {
            jump(l, tail, pass(next)?);
            Ok(())
        })?;
        enter(l, tail);
        end(l, &words(&nexts))?;
    }
    l.b.seal_block(head);
    cx.facts.borrow_mut().forget(outside);
    enter(l, exit);
    Ok(ends)
}
/// The first value, which counts the trips that are left.
fn left(_: &mut Lanes<'_, '_>, vals: &[Val]) -> Result<Value, CompileError> {
    Ok(vals[0].lane().value)
}

fn choice(
    l: &mut Lanes<'_, '_>,
    cx: &Cx<'_>,
    cond: Lane,
    args: &[Val],
    branches: &[ScalarProgram; 2],
) -> Result<Vec<Val>, CompileError> {
    let starts = [l.b.create_block(), l.b.create_block()];
    l.b.ins().brif(cond.value, starts[0], &[], starts[1], &[]);
    let known = |k: usize| common(branches, k).map(|from| args[from]);
    let known: Vec<Option<Val>> = (0..branches[0].outputs.len()).map(known).collect();
    let mut end: Option<(Block, Vec<Val>)> = None;
    for (start, branch) in starts.into_iter().zip(branches) {
        enter(l, start);
        let outs = inner(l, cx, branch, args)?;
        let to = end.get_or_insert_with(|| block(l, &forms(&outs), |k| known[k])).0;
        let open = outs.iter().zip(&known).filter(|(_, known)| known.is_none());
        jump(l, to, open.flat_map(|(v, _)| v.values()));
    }
    let Some((end, vals)) = end else { return malformed("a choice without branches") };
    enter(l, end);
    Ok(vals)
}

/// The address of an arena.
fn address(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, arena: usize) -> Value {
    // they stay where they are while a program runs
    let arenas = l.b.ins().load(types::I64, mem().with_readonly().with_can_move(), cx.frame, frame::ARENAS);
    let by = l.b.ins().iconst(types::I64, arena as i64 * i64::from(frame::ARENA_SIZE));
    l.b.ins().iadd(arenas, by)
}

/// The body of a trip; the lists that it makes for itself go at its end.
fn trip(l: &mut Lanes<'_, '_>, cx: &Cx<'_>, body: &ScalarProgram, args: &[Val]) -> Result<Vec<Val>, CompileError> {
    let p = types::I64;
    let makes = body.makes_lists();
    let mark = makes.then(|| l.call(frame::mark as *const () as usize, &[p], Some(p), &[cx.frame])).flatten();
    let outs = inner(l, cx, body, args)?;
    if let Some(mark) = mark {
        l.call(frame::release as *const () as usize, &[p, p], None, &[cx.frame, mark]);
    }
    Ok(outs)
}

/// The body of a trip of a loop, and behind it `end`: behind both branches of a choice that it ends with, so that what a branch
/// leaves alone stays where it is; `end` is told which branch it is then, and what decides.
fn ending<'a, 'b>(
    l: &mut Lanes<'a, 'b>,
    cx: &Cx<'_>,
    body: &ScalarProgram,
    args: &[Val],
    end: End<'_, 'a, 'b>,
) -> Result<(), CompileError> {
    let Some((choice, cond, ids, branches)) = body.last_choice() else {
        let outs = trip(l, cx, body, args)?;
        return end(l, outs, None);
    };
    let outside = cx.facts.borrow().mark();
    let mut before = Done::default();
    before.go_on(l, cx, body, choice, &mut |_, k| args[k])?;
    let given: Vec<Val> = ids.iter().map(|&a| before.values[a as usize]).collect();
    let starts = [l.b.create_block(), l.b.create_block()];
    l.b.ins().brif(before.values[cond as usize].lane().value, starts[0], &[], starts[1], &[]);
    let known = cx.facts.borrow().mark();
    for (holds, (start, branch)) in [true, false].into_iter().zip(starts.into_iter().zip(branches)) {
        enter(l, start);
        // what is compared behind one branch is not known behind the other
        cx.facts.borrow_mut().forget(known);
        let mut done = before.clone();
        let outs = inner(l, cx, branch, &given)?;
        done.control(l, outs);
        done.go_on(l, cx, body, body.insts.len(), &mut |_, k| args[k])?;
        end(l, done.outputs(body), Some((cond, holds)))?;
    }
    cx.facts.borrow_mut().forget(outside);
    Ok(())
}

/// A trip with a record, which ends with what is carried, then with where the record is. `record` writes what the body gives
/// behind what is carried. With `stay` the body says last whether that is done at all; if not, `stay` goes on.
#[allow(clippy::too_many_arguments)] // the parts of one trip
fn recorded_trip<'a, 'b>(
    l: &mut Lanes<'a, 'b>,
    cx: &Cx<'_>,
    body: &ScalarProgram,
    args: &[Val],
    carried: usize,
    stay: Option<&[Val]>,
    record: impl Fn(&mut Lanes<'a, 'b>, &[Val]) -> Result<SmallVec<[Value; 2]>, CompileError>,
    next: Next<'_, 'a, 'b>,
) -> Result<(), CompileError> {
    let parts = |outs: &[Val], place: &[Value]| [&words(&outs[..carried]), place].concat();
    let (Some(stay), Some((&taken, recorded))) = (stay, body.outputs.split_last()) else {
        let outs = trip(l, cx, body, args)?;
        let place = record(l, &outs[carried..])?;
        return next(l, &parts(&outs, &place));
    };
    let recorded = carried..recorded.len();
    ending(l, cx, body, args, &mut |l, outs, branch| {
        let stays = parts(&outs, &words(stay));
        match branch {
            Some((cond, false)) if cond == taken => return next(l, &stays),
            Some((cond, true)) if cond == taken => {}
            _ => {
                let (go, leave) = (l.b.create_block(), l.b.create_block());
                l.b.ins().brif(outs[recorded.end].lane().value, go, &[], leave, &[]);
                enter(l, leave);
                next(l, &stays)?;
                enter(l, go);
            }
        }
        let place = record(l, &outs[recorded.clone()])?;
        next(l, &parts(&outs, &place))
    })
}

/// Notes at the start of a trip what its condition says of the values that it takes, `now`; `args` are those of the first trip.
fn learn(
    l: &mut Lanes<'_, '_>,
    cx: &Cx<'_>,
    [cond, body]: [&ScalarProgram; 2],
    args: &[Val],
    now: &[Val],
    carried: usize,
) -> Result<(), CompileError> {
    // of integers alone: Cranelift keeps calls, also of those that nobody reads
    let plain = |i: &Inst| match i {
        Inst::Node(n) => !n.dtype.is_float(),
        Inst::Argument(_) | Inst::Len(_) => true,
        _ => false,
    };
    if !cond.insts.iter().all(plain) {
        return Ok(());
    }
    // written for what can be read off it: nothing of this stays in the code
    let holds = inner(l, cx, cond, now)?[0].lane().value;
    for k in 0..carried {
        let (first, x) = (args[k].lane().value, now[k].lane().value);
        // a number that is not negative at first, is below another and one more in the next trip
        let counts = cx.facts.borrow().bounded(l, holds, x) && cx.facts.borrow().natural(l, first);
        if counts && arithmetic(l, body, body.outputs[k], now, 3).is_some_and(|next| facts::follows(l, x, next)) {
            cx.facts.borrow_mut().is_natural(x);
        }
    }
    cx.facts.borrow_mut().holds(l, holds);
    Ok(())
}

/// A value of a program over these arguments, if it takes no more than so many operations one after the other.
fn arithmetic(l: &mut Lanes<'_, '_>, program: &ScalarProgram, id: Id, args: &[Val], depth: usize) -> Option<Value> {
    let Inst::Node(n) = &program.insts[id as usize] else { return None };
    let lanes = match &n.kind {
        NodeKind::Load { buffer, .. } => return Some(args[usize::from(*buffer)].lane().value),
        NodeKind::Elementwise { args: ids, lowering: super::Lowering::Inline(_) } if depth > 0 => {
            let lane = |&a: &Id| {
                let Inst::Node(n) = &program.insts[a as usize] else { return None };
                let dtype = n.dtype;
                arithmetic(l, program, a, args, depth - 1).map(|value| Lane { value, dtype })
            };
            ids.iter().map(lane).collect::<Option<SmallVec<[Lane; 4]>>>()?
        }
        NodeKind::Const { .. } => SmallVec::new(),
        _ => return None,
    };
    node::emit(l, n, &lanes).map(|lane| lane.value)
}

fn repeat<'a, 'b>(
    l: &mut Lanes<'a, 'b>,
    cx: &Cx<'_>,
    [cond, body]: [&ScalarProgram; 2],
    args: &[Val],
    carried: usize,
    record: Option<Record>,
    vector: Option<&Vector>,
) -> Result<Vec<Val>, CompileError> {
    let integer = Form::Scalar(DType::I64);
    // carried values; with a record where the next one goes, and up to where there is room
    let mut like = forms(&args[..carried]);
    let mut start = words(&args[..carried]);
    // of trips that leave nothing the number is all there is
    let taken = record.is_some_and(|r| r.taken);
    let width = body.outputs.len() - carried - usize::from(taken);
    let bytes = width as i64 * 8;
    let counted = record.is_some() && width == 0;
    let at = record.filter(|_| width > 0).map(|r| {
        let at = address(l, cx, r.arena);
        (at, l.b.ins().load(types::I64, mem(), at, frame::LEN))
    });
    if counted {
        like.push(integer);
        start.push(l.b.ins().iconst(types::I64, 0));
    }
    // where the records of all trips begin and end, if the number of trips is known
    let mut whole = None;
    if let Some(v) = vector {
        let trips = vector::trips(l, cx, v, args)?;
        let mut place = counted.then_some(trips);
        let mut after = None;
        if let Some((at, len)) = at {
            let most = vector::at_most(l, v, args, trips, cx.lacking);
            let [need, all] = [most, trips].map(|n| l.b.ins().imul_imm_s(n, bytes));
            let to = Room::after(l, at, len).of(l, cx, at, need)?.to;
            place = Some(to);
            after = Some(l.b.ins().iadd(to, all));
            whole = Some((trips, l.b.ins().iadd(len, all)));
            like.push(integer);
            start.push(to);
        }
        let attempt = vector::begin(l, cx, v, args, &args[..carried], trips)?;
        let outs = vector::run(l, cx, v, args, &args[..carried], &attempt, place)?;
        let done = words(&outs).into_iter().chain(counted.then_some(trips)).chain(after).collect();
        start = vector::end(l, attempt, done, start);
    } else if let Some((at, len)) = at {
        like.extend([integer; 2]);
        start.extend(Room::after(l, at, len).words());
    }
    let now = |vals: &[Val]| [&vals[..carried], &args[carried..]].concat();
    let test = |l: &mut Lanes<'_, '_>, vals: &[Val]| Ok(inner(l, cx, cond, &now(vals))?[0].lane().value);
    let stays = |k: usize| k < carried && body.origin(k) == Some(k);
    let mut vals = cycle(l, cx, &like, start, stays, cond.is_little(), test, |l, vals, next| {
        learn(l, cx, [cond, body], args, &now(vals), carried)?;
        let room = [0, 1].map(|k| vals.get(carried + k).map(|v| v.lane().value));
        if let ([Some(to), limit], Some((at, _))) = (room, at) {
            let stay = taken.then_some(&vals[carried..]);
            let record = |l: &mut Lanes<'a, 'b>, recorded: &[Val]| {
                let by = l.b.ins().iconst(types::I64, bytes);
                let room = match limit {
                    Some(limit) => Some(Room { to, limit }.of(l, cx, at, by)?),
                    None => None,
                };
                let to = room.map_or(to, |r| r.to);
                store_words(l, to, recorded.iter().map(|v| v.lane()));
                Ok(std::iter::once(l.b.ins().iadd(to, by)).chain(room.map(|r| r.limit)).collect())
            };
            return recorded_trip(l, cx, body, &now(vals), carried, stay, record, next);
        }
        ending(l, cx, body, &now(vals), &mut |l, outs, _| {
            let mut all = words(&outs[..carried]);
            if counted {
                let trips = vals[carried].lane().value;
                all.push(match outs.get(carried) {
                    Some(taken) => {
                        let one = l.b.ins().uextend(types::I64, taken.lane().value);
                        l.b.ins().iadd(trips, one)
                    }
                    None => l.b.ins().iadd_imm_s(trips, 1),
                });
            }
            next(l, &all)
        })
    })?;
    if let Some((at, len)) = at {
        let (trips, end) = match whole {
            Some(whole) => whole,
            None => {
                let records = l.b.ins().load(types::I64, mem(), at, frame::RECORDS);
                let end = l.b.ins().isub(vals[carried].lane().value, records);
                let all = l.b.ins().isub(end, len);
                (l.b.ins().udiv_imm_u(all, bytes), end)
            }
        };
        // the next run of this loop records after these
        l.b.ins().store(mem(), end, at, frame::LEN);
        vals.truncate(carried);
        vals.extend([trips, end].map(|value| Val::Scalar(Lane { value, dtype: DType::I64 })));
    }
    vals.extend(counted.then(|| vals[carried]));
    Ok(vals)
}

/// As [`repeat`] with a record, where the records of inner calls come between those of the trips: each ends with where the
/// one before it ends.
fn repeat_linked<'a, 'b>(
    l: &mut Lanes<'a, 'b>,
    cx: &Cx<'_>,
    [cond, body]: [&ScalarProgram; 2],
    args: &[Val],
    carried: usize,
    how: Record,
) -> Result<Vec<Val>, CompileError> {
    let at = address(l, cx, how.arena);
    let none = l.b.ins().iconst(types::I64, 0);
    let mut like = forms(&args[..carried]);
    like.extend([Form::Scalar(DType::I64); 2]);
    let start = words(&args[..carried]).into_iter().chain([none, none]);
    let now = |vals: &[Val]| [&vals[..carried], &args[carried..]].concat();
    let test = |l: &mut Lanes<'_, '_>, vals: &[Val]| Ok(inner(l, cx, cond, &now(vals))?[0].lane().value);
    let stays = |k: usize| k < carried && body.origin(k) == Some(k);
    cycle(l, cx, &like, start, stays, cond.is_little(), test, |l, vals, next| {
        learn(l, cx, [cond, body], args, &now(vals), carried)?;
        let [trips, before] = [0, 1].map(|k| vals[carried + k].lane());
        let stay = how.taken.then_some(&vals[carried..]);
        let write = |l: &mut Lanes<'a, 'b>, recorded: &[Val]| {
            let end = record(l, cx, at, recorded.iter().map(|v| v.lane()).chain([before]).collect())?;
            Ok(SmallVec::from_buf([l.b.ins().iadd_imm_s(trips.value, 1), end]))
        };
        recorded_trip(l, cx, body, &now(vals), carried, stay, write, next)
    })
}

/// The loop back over what [`repeat_linked`] recorded.
fn back_linked(
    l: &mut Lanes<'_, '_>,
    cx: &Cx<'_>,
    step: &ScalarProgram,
    args: &[Val],
    carried: usize,
    arena: usize,
    record: &[DType],
) -> Result<Vec<Val>, CompileError> {
    let (captures, state) = args[2..].split_at(args.len() - 2 - carried);
    let at = address(l, cx, arena);
    let records = l.b.ins().load(types::I64, mem(), at, frame::RECORDS);
    let mut like = vec![Form::Scalar(DType::I64); 2];
    like.extend(forms(state));
    let start = words(&args[..2]).into_iter().chain(words(state));
    let first = step.inputs.len() - carried;
    let stays = |k: usize| k >= 2 && step.origin(k - 2) == Some(first + k - 2);
    let vals = cycle(l, cx, &like, start, stays, true, left, |l, vals, next| {
        let number = l.b.ins().iadd_imm_s(vals[0].lane().value, -1);
        cx.facts.borrow_mut().is_below(number, args[0].lane().value);
        let from = before(l, records, vals[1].lane().value, record.len() + 1);
        let mut now = recorded(l, from, record);
        let before = l.b.ins().load(types::I64, mem(), from, (record.len() * 8) as i32);
        now.push(Val::Scalar(Lane { value: number, dtype: DType::I64 }));
        now.extend_from_slice(captures);
        now.extend_from_slice(&vals[2..]);
        ending(l, cx, step, &now, &mut |l, outs, _| next(l, &[&[number, before], &words(&outs)[..]].concat()))
    })?;
    Ok(vals[2..].to_vec())
}

/// Where the next record of an arena goes, and up to where there is room.
#[derive(Clone, Copy)]
struct Room {
    to: Value,
    limit: Value,
}

impl Room {
    /// Behind records of so many bytes.
    fn after(l: &mut Lanes<'_, '_>, at: Value, len: Value) -> Room {
        let [records, capacity] = [frame::RECORDS, frame::CAPACITY].map(|o| l.b.ins().load(types::I64, mem(), at, o));
        Room { to: l.b.ins().iadd(records, len), limit: l.b.ins().iadd(records, capacity) }
    }
    fn words(self) -> [Value; 2] {
        [self.to, self.limit]
    }
    /// Makes sure that so many bytes fit. If they did not, the records have moved.
    fn of(self, l: &mut Lanes<'_, '_>, cx: &Cx<'_>, at: Value, bytes: Value) -> Result<Room, CompileError> {
        let args = |room: Room| room.words().map(BlockArg::Value);
        let lacks = |l: &mut Lanes<'_, '_>, room: Room| {
            let end = l.b.ins().iadd(room.to, bytes);
            l.b.ins().icmp(IntCC::UnsignedGreaterThan, end, room.limit)
        };
        let (full, (go, vals)) = (l.b.create_block(), block(l, &[Form::Scalar(DType::I64); 2], |_| None));
        l.b.set_cold_block(full);
        // as in `unless`
        let lack = lacks(l, self);
        l.b.ins().brif(lack, full, &[], go, &args(self));
        enter(l, full);
        let records = l.b.ins().load(types::I64, mem(), at, frame::RECORDS);
        let len = l.b.ins().isub(self.to, records);
        let need = l.b.ins().iadd(len, bytes);
        let mut signature = Signature::new(CallConv::PreserveAll);
        signature.params.extend([AbiParam::new(types::I64); 2]);
        let signature = l.b.import_signature(signature);
        let target = l.b.ins().iconst(types::I64, jit::grow()? as i64);
        l.b.ins().call_indirect(signature, target, &[at, need]);
        let now = Room::after(l, at, len);
        let lack = lacks(l, now);
        l.b.ins().brif(lack, cx.lacking, &[], go, &args(now));
        enter(l, go);
        Ok(Room { to: vals[0].lane().value, limit: vals[1].lane().value })
    }
}

#[allow(clippy::too_many_arguments)] // the parts of one instruction
fn back(
    l: &mut Lanes<'_, '_>,
    cx: &Cx<'_>,
    step: &ScalarProgram,
    args: &[Val],
    carried: usize,
    arena: usize,
    record: &[DType],
    vector: Option<&Vector>,
) -> Result<Vec<Val>, CompileError> {
    let (trips, end) = (args[0].lane().value, args[1].lane().value);
    let (captures, state) = args[2..].split_at(args.len() - 2 - carried);
    let at = address(l, cx, arena);
    let records = l.b.ins().load(types::I64, mem(), at, frame::RECORDS);
    // where the record of trip 0 is
    let by = l.b.ins().imul_imm_s(trips, (record.len() * 8) as i64);
    let first = l.b.ins().isub(end, by);
    let first = l.b.ins().iadd(records, first);
    let mut like = vec![Form::Scalar(DType::I64)];
    like.extend(forms(state));
    let mut start: Vec<Value> = std::iter::once(trips).chain(words(state)).collect();
    if let Some(v) = vector {
        // the arguments of trip 0, without what was recorded of it
        let none = l.b.ins().iconst(types::I64, 0);
        let number = Val::Scalar(Lane { value: none, dtype: DType::I64 });
        let now = [&vec![number; record.len() + 1], &args[2..]].concat();
        let attempt = vector::begin(l, cx, v, &now, state, trips)?;
        let outs = vector::run(l, cx, v, &now, state, &attempt, Some(first))?;
        let done = std::iter::once(none).chain(words(&outs)).collect();
        start = vector::end(l, attempt, done, start);
    }
    let inputs = step.inputs.len() - carried;
    let stays = |k: usize| k >= 1 && step.origin(k - 1) == Some(inputs + k - 1);
    let vals = cycle(l, cx, &like, start, stays, true, left, |l, vals, next| {
        let number = l.b.ins().iadd_imm_s(vals[0].lane().value, -1);
        cx.facts.borrow_mut().is_below(number, trips);
        let by = l.b.ins().imul_imm_s(number, (record.len() * 8) as i64);
        let from = l.b.ins().iadd(first, by);
        let mut now = recorded(l, from, record);
        now.push(Val::Scalar(Lane { value: number, dtype: DType::I64 }));
        now.extend_from_slice(captures);
        now.extend_from_slice(&vals[1..]);
        ending(l, cx, step, &now, &mut |l, outs, _| next(l, &[&[number], &words(&outs)[..]].concat()))
    })?;
    Ok(vals[1..].to_vec())
}
