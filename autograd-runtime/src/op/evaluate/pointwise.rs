//! Pointwise operations: declared as a loop over slices for each element type, driven over windows of any
//! strides. Contiguous arguments are read where they are; others go through small buffers, a block at a time.

use super::{
    Operand,
    copy::{Rect, rectangle},
    nest::{ARGS, Axis, Nest, share},
};
use crate::{
    array::{Slice, SliceMut},
    elementary::{Loop, vectorised},
    error::{Error, Result},
    op::{Lower, Op},
    ty::{DType, Layout, same_shape},
};

/// Computes `out[i]` from `args[..][i]`, all of one length.
pub type Kernel = fn(&Op, &[Slice<'_>], SliceMut<'_>) -> Result<()>;

/// The error of a kernel for element types that it has no loop for.
#[cold]
pub(crate) fn mismatch(op: &Op, args: &[Slice<'_>], out: &SliceMut<'_>) -> Error {
    let found = args.first().map_or(out.dtype(), |a| a.dtype());
    Error::dtype(op.name(), "arguments and a result as its shape rule has them", found)
}

struct Map<'a, T, U, F>(&'a [T], &'a mut [U], F);
impl<T: Copy, U, F: Fn(T) -> U> Loop for Map<'_, T, U, F> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Map(x, out, f) = self;
        for (o, &x) in out.iter_mut().zip(x) {
            *o = f(x);
        }
    }
}
/// `out[i] = f(x[i])`
pub(crate) fn map<T: Copy, U>(x: &[T], out: &mut [U], f: impl Fn(T) -> U) -> Result<()> {
    vectorised(Map(x, out, f));
    Ok(())
}

struct Zip<'a, T, U, V, F>(&'a [T], &'a [U], &'a mut [V], F);
impl<T: Copy, U: Copy, V, F: Fn(T, U) -> V> Loop for Zip<'_, T, U, V, F> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Zip(a, b, out, f) = self;
        for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *o = f(a, b);
        }
    }
}
/// `out[i] = f(a[i], b[i])`
pub(crate) fn zip<T: Copy, U: Copy, V>(a: &[T], b: &[U], out: &mut [V], f: impl Fn(T, U) -> V) -> Result<()> {
    vectorised(Zip(a, b, out, f));
    Ok(())
}

struct Zip3<'a, T, U, V, F>(&'a [T], &'a [U], &'a [U], &'a mut [V], F);
impl<T: Copy, U: Copy, V, F: Fn(T, U, U) -> V> Loop for Zip3<'_, T, U, V, F> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Zip3(a, b, c, out, f) = self;
        for (((o, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
            *o = f(a, b, c);
        }
    }
}
/// `out[i] = f(a[i], b[i], c[i])`
pub(crate) fn zip3<T: Copy, U: Copy, V>(
    a: &[T],
    b: &[U],
    c: &[U],
    out: &mut [V],
    f: impl Fn(T, U, U) -> V,
) -> Result<()> {
    vectorised(Zip3(a, b, c, out, f));
    Ok(())
}

/// Elements of a buffer; a small one for small results.
const BLOCK: usize = 1024;
const SMALL: usize = 64;

/// Elements from which a second thread pays, and elements of one part: of cheap operations, which wait for
/// memory, and of elementary functions.
fn grains(op: &Op) -> (usize, usize) {
    match op.def.lower {
        Lower::Unary(_) | Lower::Binary(_) | Lower::Powi => (1 << 15, 1 << 13),
        _ => (1 << 17, 1 << 15),
    }
}

/// Evaluates over windows that broadcast to a shape, into a row-major store or a window of one.
pub(super) fn run(
    op: &Op,
    kernel: Kernel,
    args: &[Operand<'_>],
    shape: &[usize],
    out: SliceMut<'_>,
    window: Option<&Layout>,
) -> Result<()> {
    let n: usize = shape.iter().product();
    if n == 0 {
        return Ok(());
    }
    assert!(args.len() <= ARGS, "bug: {} has {} arguments", op.name(), args.len());
    let (least, grain) = grains(op);
    if n < least
        && window.is_none()
        && args.iter().all(|a| same_shape(&a.layout.shape, shape) && a.layout.is_contiguous())
    {
        let mut slices = [Slice::Bool(&[]); ARGS];
        for (s, a) in slices.iter_mut().zip(args) {
            *s = a.data.part(a.layout.offset, n);
        }
        return kernel(op, &slices[..args.len()], out);
    }
    let nest = Nest::new(shape, args.iter().map(|a| a.layout), window);
    let mut slices = [Slice::Bool(&[]); ARGS];
    for (s, a) in slices.iter_mut().zip(args) {
        *s = a.data;
    }
    let slices = &slices[..args.len()];
    if n <= SMALL {
        return Part::<SMALL>::new(op, kernel, slices, &nest).run(out);
    }
    if n < least || rayon::current_num_threads() == 1 {
        return Part::<BLOCK>::new(op, kernel, slices, &nest).run(out);
    }
    let mut parts = Vec::new();
    nest.split(out, grain.max(n / 16), &mut parts);
    share(parts, |(nest, out)| Part::<BLOCK>::new(op, kernel, slices, &nest).run(out))
}

/// Elements of any type on the stack.
enum Buffer<const B: usize> {
    None,
    F32([f32; B]),
    F64([f64; B]),
    I64([i64; B]),
    Bool([bool; B]),
}

impl<const B: usize> Buffer<B> {
    fn new(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Buffer::F32([0.0; B]),
            DType::F64 => Buffer::F64([0.0; B]),
            DType::I64 => Buffer::I64([0; B]),
            DType::Bool => Buffer::Bool([false; B]),
        }
    }
    fn part(&self, at: usize, n: usize) -> Slice<'_> {
        match self {
            Buffer::None => Slice::Bool(&[]),
            Buffer::F32(b) => Slice::F32(&b[at..at + n]),
            Buffer::F64(b) => Slice::F64(&b[at..at + n]),
            Buffer::I64(b) => Slice::I64(&b[at..at + n]),
            Buffer::Bool(b) => Slice::Bool(&b[at..at + n]),
        }
    }
    fn part_mut(&mut self, at: usize, n: usize) -> SliceMut<'_> {
        match self {
            Buffer::None => SliceMut::Bool(&mut []),
            Buffer::F32(b) => SliceMut::F32(&mut b[at..at + n]),
            Buffer::F64(b) => SliceMut::F64(&mut b[at..at + n]),
            Buffer::I64(b) => SliceMut::I64(&mut b[at..at + n]),
            Buffer::Bool(b) => SliceMut::Bool(&mut b[at..at + n]),
        }
    }
}

/// How an argument reaches the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Where it is.
    Direct,
    /// From a buffer that is filled once, every block being the same.
    Once,
    /// From a buffer that is filled for each block.
    Gather,
}

/// One thread's part of the work: blocks of `rows` by `cols` elements over the innermost axis and another.
struct Part<'a, const B: usize> {
    op: &'a Op,
    kernel: Kernel,
    args: &'a [Slice<'a>],
    nest: &'a Nest,
    /// The axis of the rows.
    row: Option<usize>,
    rows: usize,
    cols: usize,
    /// Whether the kernel runs over a whole block at once, or row by row.
    joined: bool,
    forms: [Form; ARGS],
    /// Whether results are written where they belong, and not through a buffer.
    direct: bool,
}

impl<'a, const B: usize> Part<'a, B> {
    fn new(op: &'a Op, kernel: Kernel, args: &'a [Slice<'a>], nest: &'a Nest) -> Self {
        let inner = nest.axes[0];
        let (row, across) = nest.rows(args.len());
        let dense = inner.out == 1 && inner.args[..args.len()].iter().all(|&s| s == 1);
        let (row, rows, cols) = match row {
            // a square or so, so that every line of memory that is touched is used whole
            Some(r) if across => {
                let cols = inner.n.min(B.isqrt().next_power_of_two() * 2);
                (row, nest.axes[r].n.min(B / cols), cols)
            }
            Some(r) if inner.n * 2 <= B && !(dense && inner.n >= 256) => {
                (row, nest.axes[r].n.min(B / inner.n), inner.n)
            }
            _ => (None, 1, if dense { inner.n } else { inner.n.min(B) }),
        };
        let axis = row.map_or(Axis { n: 1, out: 0, args: [0; ARGS] }, |r| nest.axes[r]);
        let joined = !across;
        let direct = |col: isize, step: isize| col == 1 && (!joined || rows == 1 || step == cols as isize);
        let mut forms = [Form::Gather; ARGS];
        for (k, form) in forms.iter_mut().enumerate() {
            let same = nest.axes[1..].iter().all(|a| a.args[k] == 0) && (inner.args[k] == 0 || cols == inner.n);
            *form = match () {
                () if direct(inner.args[k], axis.args[k]) => Form::Direct,
                () if same => Form::Once,
                () => Form::Gather,
            };
        }
        Part { op, kernel, args, nest, row, rows, cols, joined, forms, direct: direct(inner.out, axis.out) }
    }

    fn run(self, mut out: SliceMut<'_>) -> Result<()> {
        let mut buffers = [const { Buffer::<B>::None }; ARGS];
        for ((b, a), form) in buffers.iter_mut().zip(self.args).zip(&self.forms) {
            if *form != Form::Direct {
                *b = Buffer::new(a.dtype());
            }
        }
        let mut result: Buffer<B> = if self.direct { Buffer::None } else { Buffer::new(out.dtype()) };
        let inner = self.nest.axes[0];
        let row = self.row.map_or(Axis { n: 1, out: 0, args: [0; ARGS] }, |r| self.nest.axes[r]);
        let mut first = true;
        self.nest.outer(self.row, |o, a| {
            for r in (0..row.n).step_by(self.rows) {
                for c in (0..inner.n).step_by(self.cols) {
                    let (rows, cols) = (self.rows.min(row.n - r), self.cols.min(inner.n - c));
                    let at = |start: usize, row: isize, col: isize| Rect {
                        at: start.wrapping_add_signed(row * r as isize + col * c as isize),
                        row,
                        col,
                    };
                    let mut from = [Rect { at: 0, row: 0, col: 0 }; ARGS];
                    for (k, (x, b)) in self.args.iter().zip(&mut buffers).enumerate() {
                        from[k] = at(a[k], row.args[k], inner.args[k]);
                        if self.forms[k] == Form::Gather || (first && self.forms[k] == Form::Once) {
                            let to = Rect { at: 0, row: cols as isize, col: 1 };
                            rectangle(b.part_mut(0, rows * cols), to, *x, from[k], rows, cols);
                        }
                    }
                    first = false;
                    let to = at(o, row.out, inner.out);
                    let (calls, len) = if self.joined { (1, rows * cols) } else { (rows, cols) };
                    for i in 0..calls {
                        let mut slices = [Slice::Bool(&[]); ARGS];
                        for (k, s) in slices[..self.args.len()].iter_mut().enumerate() {
                            *s = match self.forms[k] {
                                Form::Direct => {
                                    self.args[k].part(from[k].at.wrapping_add_signed(from[k].row * i as isize), len)
                                }
                                _ => buffers[k].part(i * cols, len),
                            };
                        }
                        let y = if self.direct {
                            out.by_ref().part(to.at.wrapping_add_signed(to.row * i as isize), len)
                        } else {
                            result.part_mut(i * cols, len)
                        };
                        (self.kernel)(self.op, &slices[..self.args.len()], y)?;
                    }
                    if !self.direct {
                        let buffer = Rect { at: 0, row: cols as isize, col: 1 };
                        rectangle(out.by_ref(), to, result.part(0, rows * cols), buffer, rows, cols);
                    }
                }
            }
            Ok(())
        })
    }
}
