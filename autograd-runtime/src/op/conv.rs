//! Convolution over any number of spatial axes, and the choice that max-pooling makes.
//!
//! One trilinear form lies behind all three operations: with cross-correlation `∗`,
//! `T(x, w, d) = ⟨x ∗ w, d⟩`. `convolution` is its derivative in `d`, `convolution_input` in `x`,
//! `convolution_weight` in `w`; so the derivatives of each are the other two, to every order.
//!
//! Evaluation is by matrix products on the library: the patches under the kernel become columns of a matrix,
//! a block of positions at a time (a kernel of one element needs no copy). Images are spread over threads;
//! the order of every sum is a function of the shapes alone.

use super::{Attr, Derivative, Eval, Lower, Op, OpDef, infer};
use crate::{
    array::{Array, Element, Float, View},
    emit::{Ex, apply},
    error::{Error, Result},
    matmul::{Matrix, MatrixMut, matmul, matmul_add},
    ty::{DType, Shape, Ty},
};
use ndarray::{ArrayD, IxDyn};
use rayon::prelude::*;
use std::ops::Range;

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&CONV, &CONV_INPUT, &CONV_WEIGHT, &MAX_POOL_INDEX];

/// The extents of one convolution, those of channels per group.
#[derive(Debug)]
struct Geometry {
    images: usize,
    groups: usize,
    from: usize,
    to: usize,
    window: Window,
}

/// How a kernel slides over the spatial axes.
#[derive(Debug)]
struct Window {
    /// Extents of the input, of the kernel, and of the positions it takes.
    input: Shape,
    kernel: Shape,
    output: Shape,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
}

impl Window {
    /// The window of an operation whose first attributes are stride, padding and dilation.
    fn new(name: &str, op: &Op, input: &[usize], kernel: &[usize]) -> Result<Window> {
        let n = input.len();
        let attr = |i: usize, what: &str, least: i64| -> Result<Shape> {
            let v = op.ints(i);
            let fits = v.len() == n && v.iter().all(|&a| a >= least && a <= i64::from(i32::MAX));
            let want = || format!("expected a {what} of at least {least} for each of {n} axes, found {v:?}");
            if fits { Ok(op.dims(i)) } else { Err(Error::value(name, want())) }
        };
        let (stride, padding, dilation) = (attr(0, "stride", 1)?, attr(1, "padding", 0)?, attr(2, "dilation", 1)?);
        if kernel.len() != n || kernel.contains(&0) {
            let want = format!("a kernel of {n} positive extents");
            return Err(Error::shape(name, want, format!("{kernel:?}")));
        }
        let mut output = Shape::new();
        for d in 0..n {
            // wide enough for any extents
            let padded = input[d] as u128 + 2 * padding[d] as u128;
            let reach = (kernel[d] as u128 - 1) * dilation[d] as u128 + 1;
            if reach > padded {
                let want = format!("a kernel that spans at most the padded input of {padded} along axis {d}");
                return Err(Error::shape(name, want, format!("{kernel:?} with dilation {:?}", op.ints(2))));
            }
            output.push(((padded - reach) / stride[d] as u128 + 1) as usize);
        }
        Ok(Window { input: input.into(), kernel: kernel.into(), output, stride, padding, dilation })
    }
    /// The input's index along axis `d` under element `k` of the kernel at position 0.
    fn start(&self, d: usize, k: usize) -> isize {
        (k * self.dilation[d]) as isize - self.padding[d] as isize
    }
    /// Whether the kernel has one element and visits each element of the input once, in order.
    fn is_pointwise(&self) -> bool {
        let all = |s: &Shape, n: usize| s.iter().all(|&e| e == n);
        all(&self.kernel, 1) && all(&self.stride, 1) && all(&self.padding, 0)
    }
    /// Walks over a range of positions, row by row, for each element of the kernel.
    fn lines(&self, positions: Range<usize>, mut f: impl FnMut(Line)) {
        let last = self.output.len() - 1;
        let (width, step) = (self.output[last], self.stride[last] as isize);
        for (k, tap) in ndarray::indices(IxDyn(&self.kernel)).into_iter().enumerate() {
            let mut at = positions.start;
            while at < positions.end {
                let (mut row, lo) = (at / width, at % width);
                let hi = width.min(lo + positions.end - at);
                // the row of the input, unless it is padding
                let (mut base, mut extent) = (Some(0), self.input[last]);
                for d in (0..last).rev() {
                    let i = ((row % self.output[d]) * self.stride[d]) as isize + self.start(d, tap[d]);
                    row /= self.output[d];
                    let inside = i >= 0 && (i as usize) < self.input[d];
                    base = if inside { base.map(|b| b + i as usize * extent) } else { None };
                    extent *= self.input[d];
                }
                // positions o with 0 ≤ o·stride + start < extent of the input
                let start = self.start(last, tap[last]);
                let bound = |x: isize| (x.max(0) as usize).div_ceil(step as usize);
                let first = bound(-start).clamp(lo, hi);
                let end = bound(self.input[last] as isize - start).clamp(first, hi);
                let source = base.filter(|_| end > first).map(|b| {
                    let i = first as isize * step + start;
                    b + i as usize
                });
                let valid = if source.is_some() { first - lo..end - lo } else { 0..0 };
                f(Line { k, at: at - positions.start, len: hi - lo, valid, source: source.unwrap_or(0) });
                at += hi - lo;
            }
        }
    }
}

/// Positions in one row, seen through one element of the kernel.
struct Line {
    /// The element of the kernel.
    k: usize,
    /// The first position, counted in the block, and how many there are.
    at: usize,
    len: usize,
    /// Those of them that meet the input and not its padding.
    valid: Range<usize>,
    /// Where the first of these is in the input.
    source: usize,
}

fn numel(s: &[usize]) -> usize {
    s.iter().product()
}

/// Bytes of a block of columns: it stays in the second level of cache.
const BLOCK: usize = 256 << 10;
/// Multiply-adds from which other threads help.
const PARALLEL: usize = 1 << 18;
/// Partial sums of a weight's gradient at most, and elements in them together.
const PARTS: usize = 16;
const PART_ELEMENTS: usize = 1 << 22;

impl Geometry {
    fn new(name: &str, op: &Op, x: &[usize], w: &[usize]) -> Result<Geometry> {
        let found = || format!("{x:?} and {w:?}");
        let spatial = op.ints(0).len();
        if spatial == 0 || x.len() != spatial + 2 || w.len() != spatial + 2 {
            let want = format!("an input [n, c, ..] and a weight [o, c/groups, ..] with {spatial} spatial axes each");
            return Err(Error::shape(name, want, found()));
        }
        let groups = usize::try_from(op.int(3)).unwrap_or(0);
        if groups == 0 || !x[1].is_multiple_of(groups) || !w[0].is_multiple_of(groups) {
            let want = format!("channels of the input and of the result in {groups} equal groups");
            return Err(Error::shape(name, want, found()));
        }
        if w[1] != x[1] / groups {
            let want = format!("a weight [o, {}, ..] for {} channels in {groups} groups", x[1] / groups, x[1]);
            return Err(Error::shape(name, want, found()));
        }
        let window = Window::new(name, op, &x[2..], &w[2..])?;
        Ok(Geometry { images: x[0], groups, from: w[1], to: w[0] / groups, window })
    }
    fn input(&self) -> Shape {
        [&[self.images, self.groups * self.from], &self.window.input[..]].concat().into()
    }
    fn output(&self) -> Shape {
        [&[self.images, self.groups * self.to], &self.window.output[..]].concat().into()
    }
    fn weight(&self) -> Shape {
        [&[self.groups * self.to, self.from], &self.window.kernel[..]].concat().into()
    }
    /// Elements of one group of one image of the input, of the result, and of a group of the weight's rows.
    fn sizes(&self) -> [usize; 3] {
        let w = &self.window;
        [self.from * numel(&w.input), self.to * numel(&w.output), self.from * numel(&w.kernel)]
    }
    /// Multiply-adds of the whole.
    fn work(&self) -> usize {
        let [_, y, k] = self.sizes();
        self.images.saturating_mul(self.groups).saturating_mul(y).saturating_mul(k)
    }
    /// Ranges of positions whose columns fit a block.
    fn blocks<T>(&self) -> impl Iterator<Item = Range<usize>> {
        let n = numel(&self.window.output);
        let most = (BLOCK / size_of::<T>().max(1) / self.sizes()[2].max(1)).max(128);
        let size = n.div_ceil(n.div_ceil(most).max(1)).max(1);
        (0..n).step_by(size).map(move |at| at..(at + size).min(n))
    }
    /// The columns of some positions: row (channel, kernel element), one column a position.
    fn gather<T: Float>(&self, x: &[T], positions: Range<usize>, columns: &mut Vec<T>) {
        let (len, kernel, plane) = (positions.len(), numel(&self.window.kernel), numel(&self.window.input));
        columns.resize(self.from * kernel * len, T::zero());
        let step = self.window.stride.last().copied().unwrap_or(1);
        self.window.lines(positions, |l| {
            for c in 0..self.from {
                let to = &mut columns[(c * kernel + l.k) * len + l.at..][..l.len];
                to[..l.valid.start].fill(T::zero());
                to[l.valid.end..].fill(T::zero());
                let from = &x[c * plane + l.source..];
                let to = &mut to[l.valid.clone()];
                if step == 1 {
                    to.copy_from_slice(&from[..to.len()]);
                } else {
                    to.iter_mut().zip(from.iter().step_by(step)).for_each(|(t, f)| *t = *f);
                }
            }
        });
    }
    /// The transpose of [`Geometry::gather`]: adds columns to the elements they come from.
    fn scatter<T: Float>(&self, columns: &[T], positions: Range<usize>, x: &mut [T]) {
        let (len, kernel, plane) = (positions.len(), numel(&self.window.kernel), numel(&self.window.input));
        let step = self.window.stride.last().copied().unwrap_or(1);
        self.window.lines(positions, |l| {
            for c in 0..self.from {
                let from = &columns[(c * kernel + l.k) * len + l.at..][..l.len][l.valid.clone()];
                let to = &mut x[c * plane + l.source..];
                if step == 1 {
                    to.iter_mut().zip(from).for_each(|(t, f)| *t = *t + *f);
                } else {
                    to.iter_mut().step_by(step).zip(from).for_each(|(t, f)| *t = *t + *f);
                }
            }
        });
    }
    /// Y = W · columns(x), image by image.
    fn forward<T: Float>(&self, x: &[T], w: &[T]) -> Vec<T> {
        let ([xs, ys, ks], width) = (self.sizes(), numel(&self.window.output));
        let mut y = vec![T::zero(); self.images * self.groups * ys];
        spread(&mut y, ys, self.work(), |columns, i, y| {
            let x = &x[i * xs..][..xs];
            let w = Matrix::rows(&w[i % self.groups * self.to * ks..], self.to, ks, ks);
            if self.window.is_pointwise() {
                return matmul(w, Matrix::rows(x, ks, width, width), MatrixMut::rows(y, self.to, width));
            }
            for block in self.blocks::<T>() {
                self.gather(x, block.clone(), columns);
                let columns = Matrix::rows(columns, ks, block.len(), block.len());
                matmul(w, columns, MatrixMut::window(&mut y[block.start..], self.to, block.len(), width));
            }
        });
        y
    }
    /// columns(X) = Wᵀ · d, added up where they overlap, image by image.
    fn backward_input<T: Float>(&self, d: &[T], w: &[T]) -> Vec<T> {
        let ([xs, ys, ks], width) = (self.sizes(), numel(&self.window.output));
        let mut x = vec![T::zero(); self.images * self.groups * xs];
        spread(&mut x, xs, self.work(), |columns, i, x| {
            let d = &d[i * ys..][..ys];
            let w = Matrix::rows(&w[i % self.groups * self.to * ks..], self.to, ks, ks).t();
            if self.window.is_pointwise() {
                return matmul(w, Matrix::rows(d, self.to, width, width), MatrixMut::rows(x, ks, width));
            }
            for block in self.blocks::<T>() {
                let d = Matrix::rows(&d[block.start..], self.to, block.len(), width);
                columns.resize(ks * block.len(), T::zero());
                matmul(w, d, MatrixMut::rows(columns, ks, block.len()));
                self.scatter(columns, block, x);
            }
        });
        x
    }
    /// W = Σ d · columns(x)ᵀ over images, in a fixed number of partial sums.
    fn backward_weight<T: Float>(&self, x: &[T], d: &[T]) -> Vec<T> {
        let ([xs, ys, ks], width) = (self.sizes(), numel(&self.window.output));
        let size = self.to * ks;
        let mut w = vec![T::zero(); self.groups * size];
        if w.is_empty() {
            return w;
        }
        let parts = PARTS.min(self.images).min(PART_ELEMENTS / w.len()).max(1);
        let each = self.images.div_ceil(parts);
        let mut sums = vec![T::zero(); parts * w.len()];
        spread(&mut sums, size, self.work(), |columns, i, sum| {
            let (part, group) = (i / self.groups, i % self.groups);
            for image in part * each..((part + 1) * each).min(self.images) {
                let i = image * self.groups + group;
                let (x, d) = (&x[i * xs..][..xs], &d[i * ys..][..ys]);
                if self.window.is_pointwise() {
                    let (d, x) = (Matrix::rows(d, self.to, width, width), Matrix::rows(x, ks, width, width));
                    matmul_add(d, x.t(), MatrixMut::rows(sum, self.to, ks));
                    continue;
                }
                for block in self.blocks::<T>() {
                    self.gather(x, block.clone(), columns);
                    let columns = Matrix::rows(columns, ks, block.len(), block.len());
                    let d = Matrix::rows(&d[block.start..], self.to, block.len(), width);
                    matmul_add(d, columns.t(), MatrixMut::rows(sum, self.to, ks));
                }
            }
        });
        for part in sums.chunks_exact(w.len()) {
            w.iter_mut().zip(part).for_each(|(w, p)| *w = *w + *p);
        }
        w
    }
}

/// Runs `f(scratch, index, part)` for each part of `size` elements of a result, on other threads too if the
/// work is worth it.
fn spread<T: Float>(out: &mut [T], size: usize, work: usize, f: impl Fn(&mut Vec<T>, usize, &mut [T]) + Sync) {
    if size == 0 {
        return;
    }
    if work < PARALLEL {
        let mut scratch = Vec::new();
        return out.chunks_exact_mut(size).enumerate().for_each(|(i, part)| f(&mut scratch, i, part));
    }
    out.par_chunks_exact_mut(size).enumerate().for_each_init(Vec::new, |scratch, (i, part)| f(scratch, i, part));
}

/// Runs a function of two dense arguments for their dtype.
fn evaluate(g: &Geometry, args: &[View<'_>], out: &Ty, which: Which) -> Result<Array> {
    fn go<T: Float>(g: &Geometry, args: &[View<'_>], out: &Ty, which: Which) -> Result<Array> {
        let (a, b) = (args[0].typed::<T>("convolution")?, args[1].typed::<T>("convolution")?);
        let (a, b) = (a.as_standard_layout(), b.as_standard_layout());
        let (a, b) = (a.as_slice().expect("row-major"), b.as_slice().expect("row-major"));
        let y = match which {
            Which::Output => g.forward(a, b),
            Which::Input => g.backward_input(a, b),
            Which::Weight => g.backward_weight(a, b),
        };
        Ok(T::into_array(ArrayD::from_shape_vec(IxDyn(&out.shape), y).expect("as many elements")))
    }
    match out.dtype {
        DType::F32 => go::<f32>(g, args, out, which),
        _ => go::<f64>(g, args, out, which),
    }
}
#[derive(Clone, Copy)]
enum Which {
    Output,
    Input,
    Weight,
}

/// The static arguments of another operation of the three for the same window.
fn window_attrs(op: &Op) -> impl Iterator<Item = Attr> + '_ {
    op.attrs[..4].iter().cloned()
}
fn output<'e>(op: &Op, x: &Ex<'e>, w: &Ex<'e>) -> Ex<'e> {
    apply(Op::with(&CONV, window_attrs(op)), &[x, w])
}
fn input<'e>(op: &Op, d: &Ex<'e>, w: &Ex<'e>, extents: &[usize]) -> Ex<'e> {
    apply(Op::with(&CONV_INPUT, window_attrs(op).chain([Attr::dims(extents)])), &[d, w])
}
fn weight<'e>(op: &Op, x: &Ex<'e>, d: &Ex<'e>, extents: &[usize]) -> Ex<'e> {
    apply(Op::with(&CONV_WEIGHT, window_attrs(op).chain([Attr::dims(extents)])), &[x, d])
}

const fn declare(
    name: &'static str,
    attrs: &'static [&'static str],
    infer: fn(&Op, &[&Ty]) -> Result<Ty>,
    eval: fn(&Op, &[View<'_>], &Ty) -> Result<Array>,
    derivative: super::Rule,
) -> OpDef {
    let derivative = Derivative::Multilinear(derivative);
    let eval = Eval::Views(eval);
    OpDef { name, attrs, arity: 2, infer, eval, derivative, saves: super::each(2, 1), lower: Lower::Library }
}

fn floats(op: &Op, a: &[&Ty]) -> Result<DType> {
    infer::float(op, a[0])?;
    infer::same_dtype(op, a)
}

/// y = x ∗ w for x `[n, c, ..]` and w `[o, c/groups, ..]`;  dx = ct ∗ᵀ w,  dw = Σ ct·x under the kernel
pub static CONV: OpDef = declare(
    "convolution",
    &["stride", "padding", "dilation", "groups"],
    |op, a| Ty::new(floats(op, a)?, &Geometry::new(op.name(), op, &a[0].shape, &a[1].shape)?.output()),
    |op, args, out| {
        evaluate(&Geometry::new(op.name(), op, args[0].shape(), args[1].shape())?, args, out, Which::Output)
    },
    |cx, i, t| {
        let (x, w) = (&cx.args[0], &cx.args[1]);
        Some(if i == 0 { input(cx.op, t, w, &x.shape()[2..]) } else { weight(cx.op, x, t, &w.shape()[2..]) })
    },
);

/// The geometry of a transposed convolution: the given extents are those of the convolution's input.
fn of_input(name: &str, op: &Op, d: &[usize], w: &[usize]) -> Result<Geometry> {
    let groups = usize::try_from(op.int(3)).unwrap_or(0);
    let channels = w.get(1).map_or(0, |c| c.saturating_mul(groups));
    let x = [&[d.first().copied().unwrap_or(0), channels], &op.dims(4)[..]].concat();
    let g = Geometry::new(name, op, &x, w)?;
    if g.output().as_slice() != d {
        let want = format!("a cotangent {:?} of an input {x:?} under a weight {w:?}", g.output().as_slice());
        return Err(Error::shape(name, want, format!("{d:?}")));
    }
    Ok(g)
}
/// x = d ∗ᵀ w, of spatial extents `shape`: the transpose of x ↦ x ∗ w;  dd = ct ∗ w,  dw = Σ d·ct under the kernel
pub static CONV_INPUT: OpDef = declare(
    "convolution_input",
    &["stride", "padding", "dilation", "groups", "shape"],
    |op, a| Ty::new(floats(op, a)?, &of_input(op.name(), op, &a[0].shape, &a[1].shape)?.input()),
    |op, args, out| evaluate(&of_input(op.name(), op, args[0].shape(), args[1].shape())?, args, out, Which::Input),
    |cx, i, t| {
        let (d, w) = (&cx.args[0], &cx.args[1]);
        Some(if i == 0 { output(cx.op, t, w) } else { weight(cx.op, t, d, &w.shape()[2..]) })
    },
);

/// The geometry of a weight's gradient: the given extents are those of the kernel.
fn of_weight(op: &Op, x: &[usize], d: &[usize]) -> Result<Geometry> {
    let groups = usize::try_from(op.int(3)).unwrap_or(0).max(1);
    let channels = x.get(1).map_or(0, |c| c / groups);
    let w = [&[d.get(1).copied().unwrap_or(0), channels], &op.dims(4)[..]].concat();
    let g = Geometry::new(op.name(), op, x, &w)?;
    if g.output().as_slice() != d {
        let want = format!("a cotangent {:?} of an input {x:?} under a weight {w:?}", g.output().as_slice());
        return Err(Error::shape(op.name(), want, format!("{d:?}")));
    }
    Ok(g)
}
/// w = Σ d·x under a kernel of extents `shape`: the transpose of w ↦ x ∗ w;  dx = d ∗ᵀ ct,  dd = x ∗ ct
pub static CONV_WEIGHT: OpDef = declare(
    "convolution_weight",
    &["stride", "padding", "dilation", "groups", "shape"],
    |op, a| Ty::new(floats(op, a)?, &of_weight(op, &a[0].shape, &a[1].shape)?.weight()),
    |op, args, out| evaluate(&of_weight(op, args[0].shape(), args[1].shape())?, args, out, Which::Weight),
    |cx, i, t| {
        let (x, d) = (&cx.args[0], &cx.args[1]);
        Some(if i == 0 { input(cx.op, d, t, &x.shape()[2..]) } else { output(cx.op, x, t) })
    },
);

fn pooled(name: &str, op: &Op, x: &[usize]) -> Result<(Window, Shape)> {
    let n = op.ints(0).len();
    if n == 0 || x.len() != n + 2 {
        let want = format!("an input [n, c, ..] with {n} spatial axes");
        return Err(Error::shape(name, want, format!("{x:?}")));
    }
    let kernel = op.dims(3);
    let w = Window::new(name, op, &x[2..], &kernel)?;
    if w.padding.iter().zip(&kernel).any(|(p, k)| *p > k / 2) {
        let want = format!("expected a padding of at most half the kernel {:?}", kernel.as_slice());
        return Err(Error::value(name, format!("{want}, found {:?}", op.ints(1))));
    }
    let shape = x[..2].iter().chain(&w.output).copied().collect();
    Ok((w, shape))
}
fn largest<T: Element>(w: &Window, x: &View<'_>, out: &Ty, beats: impl Fn(T, T) -> bool + Sync) -> Result<Array> {
    let x = x.typed::<T>("max_pool_index")?;
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("row-major");
    let (plane, size) = (numel(&w.input), numel(&w.output));
    let mut y = vec![-1i64; out.numel()];
    let one = |(p, y): (usize, &mut [i64])| {
        let x = &x[p * plane..][..plane];
        let step = w.stride.last().copied().unwrap_or(1);
        w.lines(0..size, |l| {
            for (o, i) in l.valid.clone().zip((l.source..).step_by(step)) {
                let best = &mut y[l.at + o];
                // kernel elements come in row-major order: the first of equals stays
                if *best < 0 || beats(x[*best as usize], x[i]) {
                    *best = i as i64;
                }
            }
        });
    };
    if size > 0 && out.numel().saturating_mul(numel(&w.kernel)) < PARALLEL {
        y.chunks_exact_mut(size).enumerate().for_each(one);
    } else if size > 0 {
        y.par_chunks_exact_mut(size).enumerate().for_each(one);
    }
    Ok(Array::I64(ArrayD::from_shape_vec(IxDyn(&out.shape), y).expect("as many elements")))
}
/// For x `[n, c, ..]` the index of the largest element under a kernel of extents `shape`, in the flattened
/// spatial axes: the first of equals, NaN being the largest;  the derivative is zero
pub static MAX_POOL_INDEX: OpDef = OpDef {
    name: "max_pool_index",
    attrs: &["stride", "padding", "dilation", "shape"],
    arity: 1,
    infer: |op, a| {
        infer::float(op, a[0])?;
        Ty::new(DType::I64, &pooled(op.name(), op, &a[0].shape)?.1)
    },
    eval: Eval::Views(|op, args, out| {
        let w = pooled(op.name(), op, args[0].shape())?.0;
        match args[0] {
            View::F32(_) => largest(&w, &args[0], out, |a: f32, b| !a.is_nan() && (b > a || b.is_nan())),
            _ => largest(&w, &args[0], out, |a: f64, b| !a.is_nan() && (b > a || b.is_nan())),
        }
    }),
    derivative: Derivative::Zero,
    saves: 0,
    lower: Lower::Library,
};

/// The operation of a convolution, checked for an input and a weight: errors carry the caller's name.
pub(crate) fn convolution(name: &str, window: [Attr; 4], x: &[usize], w: &[usize]) -> Result<Op> {
    let op = Op::with(&CONV, window);
    Geometry::new(name, &op, x, w).map(|_| op)
}
/// As [`convolution`], of a transposed one with a result of the given spatial extents.
pub(crate) fn transposed(name: &str, window: [Attr; 4], extents: &[usize], d: &[usize], w: &[usize]) -> Result<Op> {
    let op = Op::with(&CONV_INPUT, window.into_iter().chain([Attr::dims(extents)]));
    of_input(name, &op, d, w).map(|_| op)
}
/// As [`convolution`], of the choice that max-pooling makes.
pub(crate) fn max_pool(name: &str, window: [Attr; 4], x: &[usize]) -> Result<Op> {
    let op = Op::with(&MAX_POOL_INDEX, window);
    pooled(name, &op, x).map(|_| op)
}
