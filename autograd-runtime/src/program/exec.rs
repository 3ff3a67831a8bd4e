//! Runs compiled programs. Together with `kernel`'s driver and `matmul` this is where raw pointers are: the
//! addresses of arguments, results and the arena are handed to machine code.
//!
//! Invariant: a pointer in the table of buffers comes from a borrowed argument, a result that this call owns
//! or locks for writing, or this call's workspace, each as large as the type in the plan says.

use super::{
    compile::{Body, Program},
    plan::Place,
    slots::{Results, SLOTS, Slots},
    steps::{Context, Flow, Records},
};
use crate::{
    array::{Array, Data, View},
    error::{Error, Result},
    kernel::{
        CompiledKernel, Scratch,
        frame::{Fault, Frame},
    },
    matmul::{Matrix, MatrixMut, matmul},
    op::{Attr, Op, control, hold, integer, list},
    ty::{DType, Ty},
};
use ndarray::{ArrayViewD, IxDyn};
use parking_lot::Mutex;
use smallvec::SmallVec;

/// One step with buffers by number.
pub(super) enum Step {
    Kernel {
        kernel: CompiledKernel,
        buffers: SmallVec<[usize; 8]>,
    },
    MatMul {
        dtype: DType,
        a: usize,
        b: usize,
        out: usize,
        offsets: Vec<[isize; 3]>,
        mkn: [usize; 3],
        sa: [isize; 2],
        sb: [isize; 2],
    },
    /// Results are given by number, with their buffers and bytes.
    Flow {
        flow: Box<Flow>,
        tys: Vec<Ty>,
        args: Vec<usize>,
        outs: Vec<(usize, usize, usize)>,
    },
    Library {
        op: Op,
        tys: Vec<Ty>,
        args: Vec<usize>,
        ty: Ty,
        out: usize,
    },
}

/// What went wrong in generated code, as an error.
fn failure(fault: Fault) -> Error {
    let op = |def, place| Op::with(def, [Attr::Int(place)]);
    match fault {
        Fault::Memory => Error::value("program", LACKING),
        Fault::Index { place, index, len } => list::out_of_range(&op(&list::GET, place), index, len),
        Fault::Range { place, bound, limit } => list::no_part(&op(&list::GET, place), bound, limit),
        Fault::Trips { place, limit } => integer::too_many(&op(&integer::DIV, place), limit),
        Fault::Length { found, expected } => {
            Error::shape("list", format!("a list of length {expected}"), found.to_string())
        }
        Fault::Depth => control::too_deep(),
        Fault::Broken { place } => hold::broken(&op(&hold::HOLDS, place)),
        Fault::Zero { place } => integer::by_zero(&op(&integer::DIV, place)),
    }
}

const LACKING: &str =
    "expected memory for lists and for what the reverse mode of loops reads of each trip, found none left";

/// Working memory of one running call.
#[derive(Default)]
pub(super) struct Workspace {
    arena: Vec<Line>,
    scratch: Scratch,
    pub(super) records: Records,
    table: Vec<*mut u8>,
}
// SAFETY: the pointers in `table` are written anew at the start of each run and not read outside it.
unsafe impl Send for Workspace {}

/// So many workspaces are kept: a function that calls itself needs one for each call that is running.
const KEPT: usize = 64;

/// Bytes of the stack for functions that call themselves so often that the thread's own is too small.
const DEEP: usize = 1 << 26;

/// A cache line, for its alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// An argument: the bits of a scalar, or borrowed elements in row-major order.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a> {
    Bits(u64),
    Data(&'a Data, usize),
}

/// A result: the bits of a scalar, or elements to be written in row-major order.
pub(crate) enum Output<'a> {
    Bits(&'a mut u64),
    Data(&'a mut Data),
    /// A list, which comes with its length.
    List(&'a mut Option<Data>),
}

impl Program {
    /// Runs the program.
    ///
    /// # Errors
    /// If the number of arguments or results differs, or a buffer has another dtype or too few elements, or an
    /// operation of the library finds something wrong with its values.
    pub(crate) fn run(&self, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
        self.check(inputs, outputs)?;
        let Body::Steps { workspaces, .. } = &self.body else { return self.run_scalar(inputs, outputs) };
        let mut w = workspaces.lock().pop().unwrap_or_default();
        let mut cx = Context::new(std::mem::take(&mut w.records));
        let done = self.run_steps(&mut w, inputs, outputs, &mut cx);
        w.records = cx.records;
        w.records.clear();
        keep(workspaces, w);
        done
    }

    /// Runs the program as a part of another one, whose records it shares; `check` unless it has run with values of the same types
    /// and numbers of elements, and no larger offsets.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub(super) fn run_in<'p>(
        &'p self,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
        cx: &mut Context<'p>,
        check: bool,
    ) -> Result<()> {
        if check || cfg!(debug_assertions) {
            self.check(inputs, outputs)?;
        }
        let Body::Steps { workspaces, .. } = &self.body else { return self.run_scalar(inputs, outputs) };
        let mut w = workspaces.lock().pop().unwrap_or_default();
        let done = self.run_steps(&mut w, inputs, outputs, cx);
        keep(workspaces, w);
        done
    }

    fn check(&self, inputs: &[Input<'_>], outputs: &[Output<'_>]) -> Result<()> {
        if inputs.len() != self.inputs.len() || outputs.len() != self.outputs.len() {
            let want = format!("{} arguments and {} results", self.inputs.len(), self.outputs.len());
            return Err(Error::value(
                "program",
                format!("expected {want}, found {} and {}", inputs.len(), outputs.len()),
            ));
        }
        for (x, ty) in inputs.iter().zip(&self.inputs) {
            if let Input::Data(d, offset) = x {
                if ty.is_list() && d.dtype() == ty.dtype && *offset <= d.len() {
                    continue;
                }
                fits(d, *offset, ty)?;
            } else if ty.numel() != 1 {
                return Err(Error::shape("program", ty.to_string(), "a scalar"));
            }
        }
        for (y, ty) in outputs.iter().zip(&self.outputs) {
            match y {
                Output::List(_) if ty.is_list() => {}
                Output::Data(d) => fits(d, 0, ty)?,
                Output::Bits(_) if ty.numel() == 1 => {}
                Output::Bits(_) | Output::List(_) => return Err(Error::shape("program", ty.to_string(), "a scalar")),
            }
        }
        Ok(())
    }

    /// Runs a program of scalars over slots; `false` if this is none, the slots are not as many, or something went
    /// wrong: [`Program::run`] says what.
    #[inline]
    pub(crate) fn run_slots(&self, args: &[u64], outs: &mut [u64]) -> bool {
        let Body::Scalar { f, frame, slots, .. } = &self.body else { return false };
        if (args.len(), outs.len()) != *slots || slots.0 != self.inputs.len() || slots.1 != self.outputs.len() {
            return false;
        }
        if !frame {
            // SAFETY: the function reads one slot for each argument and writes one for each result; it uses no memory.
            return unsafe { f(args.as_ptr(), outs.as_mut_ptr(), std::ptr::null_mut()) } == 0;
        }
        // SAFETY: no argument is a list.
        unsafe { self.run_frame(args, outs, |_| ()) }.is_ok()
    }

    /// Runs a program over slots of this form; `read` reads the results. `None` if it takes others, or something went wrong:
    /// [`Program::run`] says what.
    #[inline]
    pub(crate) fn run_borrowed<R>(&self, args: &Slots<'_>, read: impl FnOnce(Results<'_>) -> R) -> Option<R> {
        let Body::Scalar { f, frame, forms: Some([takes, gives]), .. } = &self.body else { return None };
        let (bits, form) = args.filled()?;
        if form != *takes {
            return None;
        }
        let mut outs = [0; SLOTS];
        let outs = outs.get_mut(..gives.slots())?;
        // SAFETY: lists that the program gives are as long as they say, and are there while its memory and its arguments are.
        let read = |outs: &[u64]| read(unsafe { Results::new(outs, *gives) });
        if !frame {
            // SAFETY: the slots are those of the arguments and results; the function uses no memory of its own.
            let status = unsafe { f(bits.as_ptr(), outs.as_mut_ptr(), std::ptr::null_mut()) };
            return (status == 0).then(|| read(outs));
        }
        // SAFETY: lists among the arguments are borrowed for as long as `args` is, and as long as they say.
        unsafe { self.run_frame(bits, outs, read) }.ok()
    }

    /// Runs a scalar program in memory of its own; `read` reads the results while that is there.
    ///
    /// # Safety
    /// The slots are those of the program's arguments and results, and the lists among them are as long as they say.
    unsafe fn run_frame<R>(&self, args: &[u64], outs: &mut [u64], read: impl FnOnce(&[u64]) -> R) -> Result<R, Fault> {
        let Body::Scalar { f, arenas, scratch, calls, .. } = &self.body else { return Err(Fault::Memory) };
        let mut read = Some(read);
        let mut attempt = || {
            Frame::with(*arenas, *scratch, *calls, |frame| {
                // SAFETY: the caller's word for the slots; the frame has as many arenas and as much scratch as the program uses,
                // and is this run's alone.
                let status = unsafe { f(args.as_ptr(), outs.as_mut_ptr(), frame) };
                if status == 0 { Ok(read.take().map(|read| read(outs))) } else { Err(frame.fault(status)) }
            })
        };
        let done = match attempt() {
            // once more, with a stack of its own: a program has changed nothing until it ends well
            Err(Fault::Depth) => stacker::grow(DEEP, attempt),
            done => done,
        };
        done.and_then(|read| read.ok_or(Fault::Memory))
    }

    fn run_scalar(&self, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
        let Body::Scalar { f, frame, slots, .. } = &self.body else { return Ok(()) };
        let mut args: SmallVec<[u64; 64]> = SmallVec::new();
        for (x, ty) in inputs.iter().zip(&self.inputs) {
            match x {
                Input::Bits(b) => args.push(*b),
                Input::Data(d, offset) if ty.is_list() => {
                    // SAFETY: the offset lies inside, as has been checked.
                    let at = unsafe { d.as_ptr().add(offset * d.dtype().size()) };
                    args.extend([at as u64, (d.len() - offset) as u64]);
                }
                // one that no result needs may have no element
                Input::Data(d, offset) => args.extend((*offset..offset + ty.numel()).map(|i| d.bits(i).unwrap_or(0))),
            }
        }
        let mut outs: SmallVec<[u64; 64]> = SmallVec::from_elem(0, slots.1);
        let mut write = |outs: &[u64]| {
            let mut rest = outs;
            for (y, ty) in outputs.iter_mut().zip(&self.outputs) {
                let (slots, after) = rest.split_at(if ty.is_list() { 2 } else { ty.numel() });
                rest = after;
                match y {
                    Output::Bits(b) => **b = slots[0],
                    Output::Data(d) => slots.iter().enumerate().for_each(|(i, &bits)| d.set_bits(i, bits)),
                    Output::List(d) => {
                        let mut list = crate::tensor::pool::take(ty.dtype, slots[1] as usize);
                        // SAFETY: a list that the program gives is as long as it says, and is there while its memory is.
                        unsafe {
                            let bytes = list.len() * ty.dtype.size();
                            std::ptr::copy_nonoverlapping(slots[0] as *const u8, list.as_mut_ptr(), bytes);
                        }
                        **d = Some(list);
                    }
                }
            }
        };
        if !frame {
            // SAFETY: the slots are those of the arguments and results; the function uses no memory of its own.
            let status = unsafe { f(args.as_ptr(), outs.as_mut_ptr(), std::ptr::null_mut()) };
            if status != 0 {
                return Err(failure(Fault::of(status)));
            }
            write(&outs);
            return Ok(());
        }
        // SAFETY: lists among the arguments are borrowed for as long as this runs, and as long as they say.
        unsafe { self.run_frame(&args, &mut outs, write) }.map_err(failure)
    }

    fn run_steps<'p>(
        &'p self,
        w: &mut Workspace,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
        cx: &mut Context<'p>,
    ) -> Result<()> {
        let Body::Steps { steps, places, copies, arena, .. } = &self.body else { return Ok(()) };
        let lines = arena.div_ceil(64);
        if w.arena.len() < lines {
            w.arena.resize(lines, Line([0; 64]));
        }
        let base: *mut u8 = w.arena.as_mut_ptr().cast();
        w.table.clear();
        for place in places {
            w.table.push(match place {
                Place::Input(i) => match &inputs[*i] {
                    Input::Bits(b) => std::ptr::from_ref(b).cast_mut().cast(),
                    // SAFETY: `fits` has checked that the offset lies inside.
                    Input::Data(d, offset) => unsafe { d.as_ptr().add(offset * d.dtype().size()).cast_mut() },
                },
                Place::Output(i) => match &mut outputs[*i] {
                    Output::Bits(b) => std::ptr::from_mut::<u64>(b).cast(),
                    Output::Data(d) => d.as_mut_ptr(),
                    Output::List(_) => {
                        return Err(Error::value("program", "expected no list in a program over tensors"));
                    }
                },
                // SAFETY: the plan's offsets lie inside the arena, which has just been made large enough.
                Place::Arena(at) => unsafe { base.add(*at) },
            });
        }
        for step in steps {
            match step {
                Step::Kernel { kernel, buffers } => {
                    let ptrs: SmallVec<[*mut u8; 12]> = buffers.iter().map(|&b| w.table[b]).collect();
                    // SAFETY: the kernel was made from the same graph and plan as the table: each pointer is
                    // valid for the value's extents, and values written by one step overlap none it reads.
                    unsafe { kernel.run(&ptrs, &mut w.scratch) };
                }
                Step::MatMul { dtype, a, b, out, offsets, mkn, sa, sb } => {
                    let (a, b, c) = (w.table[*a], w.table[*b], w.table[*out]);
                    for at in offsets {
                        match dtype {
                            DType::F32 => product::<f32>(a, b, c, *at, *mkn, *sa, *sb),
                            _ => product::<f64>(a, b, c, *at, *mkn, *sa, *sb),
                        }
                    }
                }
                Step::Flow { flow, tys, args, outs } => {
                    let args: Vec<Data> = args.iter().zip(tys).map(|(&a, ty)| copy(w.table[a], ty)).collect();
                    let results = flow.run(args, cx)?;
                    for &(i, out, bytes) in outs {
                        // SAFETY: both have the bytes of the result's type, and the result is no program buffer.
                        unsafe { std::ptr::copy_nonoverlapping(results[i].as_ptr(), w.table[out], bytes) };
                    }
                }
                Step::Library { op, tys, args, ty, out } => {
                    let views: Vec<View<'_>> = args.iter().zip(tys).map(|(&a, ty)| view(w.table[a], ty)).collect();
                    let y = op.eval(&views, ty)?;
                    if y.ty() != *ty {
                        return Err(Error::shape(op.name(), format!("a result of type {ty}"), y.ty().to_string()));
                    }
                    let y = y.into_data();
                    // SAFETY: both have the bytes of the result's type, and the new array is no program buffer.
                    unsafe { std::ptr::copy_nonoverlapping(y.as_ptr(), w.table[*out], ty.bytes()) };
                }
            }
        }
        for &(k, from) in copies {
            let bytes = self.outputs[k].bytes();
            let to = match &mut outputs[k] {
                Output::Bits(b) => std::ptr::from_mut::<u64>(b).cast(),
                Output::Data(d) => d.as_mut_ptr(),
                Output::List(_) => continue,
            };
            // SAFETY: both hold the bytes of the result's type; a result is never an argument's buffer.
            unsafe { std::ptr::copy_nonoverlapping(w.table[from], to, bytes) };
        }
        Ok(())
    }
}

fn keep(workspaces: &Mutex<Vec<Workspace>>, w: Workspace) {
    let mut all = workspaces.lock();
    if all.len() < KEPT {
        all.push(w);
    }
}

fn fits(d: &Data, offset: usize, ty: &Ty) -> Result<()> {
    if d.dtype() == ty.dtype && d.len().checked_sub(offset).is_some_and(|n| n >= ty.numel()) {
        return Ok(());
    }
    Err(Error::shape("program", ty.to_string(), format!("{} elements of {} from {offset}", d.len(), d.dtype())))
}

/// A copy of a stored value.
fn copy(p: *const u8, ty: &Ty) -> Data {
    let mut d = Data::zeros(ty.dtype, ty.numel());
    // SAFETY: the table's pointers are valid for the value's extents while the step runs, and the copy is as large.
    unsafe { std::ptr::copy_nonoverlapping(p, d.as_mut_ptr(), ty.bytes()) };
    d
}

/// A stored value as the library sees it.
fn view<'a>(p: *const u8, ty: &Ty) -> View<'a> {
    fn of<'a, T>(p: *const u8, ty: &Ty) -> ArrayViewD<'a, T> {
        let empty = ty.numel() == 0;
        let p: *const T = if empty { std::ptr::NonNull::dangling().as_ptr() } else { p.cast() };
        // SAFETY: the table's pointers are aligned and valid for the value's extents while the step runs.
        unsafe { ArrayViewD::from_shape_ptr(IxDyn(&ty.shape), p) }
    }
    match ty.dtype {
        DType::F32 => View::F32(of(p, ty)),
        DType::F64 => View::F64(of(p, ty)),
        DType::I64 => View::I64(of(p, ty)),
        DType::Bool => View::Bool(of(p, ty)),
    }
}

fn product<T: crate::array::Float>(
    a: *mut u8,
    b: *mut u8,
    c: *mut u8,
    at: [isize; 3],
    mkn: [usize; 3],
    sa: [isize; 2],
    sb: [isize; 2],
) {
    let [m, k, n] = mkn;
    // SAFETY: the operands' offsets and strides were computed from their index maps, which stay inside.
    let (pa, pb, pc) =
        unsafe { (a.cast::<T>().offset(at[0]), b.cast::<T>().offset(at[1]), c.cast::<T>().offset(at[2])) };
    let a = Matrix { ptr: pa, rows: m, cols: k, row_stride: sa[0], col_stride: sa[1] };
    let b = Matrix { ptr: pb, rows: k, cols: n, row_stride: sb[0], col_stride: sb[1] };
    matmul(a, b, MatrixMut { ptr: pc, rows: m, cols: n, row_stride: n as isize, col_stride: 1 });
}

impl Program {
    /// Runs the program on host arrays: what tests compare with the interpreter.
    ///
    /// # Errors
    /// As the operations.
    pub fn run_arrays(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let data: Vec<Data> = inputs.iter().map(|a| a.clone().into_data()).collect();
        let inputs: Vec<Input<'_>> = data.iter().map(|d| Input::Data(d, 0)).collect();
        let mut outs: Vec<Option<Data>> =
            self.outputs.iter().map(|t| (!t.is_list()).then(|| Data::zeros(t.dtype, t.numel()))).collect();
        let output = |d| match d {
            &mut Some(ref mut d) => Output::Data(d),
            d => Output::List(d),
        };
        let mut refs: Vec<Output<'_>> = outs.iter_mut().map(output).collect();
        self.run(&inputs, &mut refs)?;
        drop(refs);
        let array = |(d, t): (Option<Data>, &Ty)| {
            let d = d.unwrap_or_else(|| Data::zeros(t.dtype, 0));
            let n = [d.len()];
            Array::from_data(d, if t.is_list() { &n } else { &t.shape })
        };
        Ok(outs.into_iter().zip(&self.outputs).map(array).collect())
    }
}
