//! Reductions: row-major elements as `[outer, reduced, inner]`, folded along the middle.
//!
//! Invariant: the order in which elements are combined is a function of the three extents. Threads share
//! whole results, or chunks whose length is fixed.

use super::{Operand, copied, fresh, nest::share};
use crate::{
    array::{Data, Element},
    elementary::{Loop, vectorised},
    error::Result,
    op::Op,
    tensor::pool,
    ty::Ty,
};
use smallvec::SmallVec;
use std::convert::Infallible;

/// An associative operation with a neutral element.
pub(crate) trait Fold<T>: Copy + Sync {
    /// Combines with anything to give that.
    fn neutral(self) -> T;
    /// `a` is what came before `b`.
    fn combine(self, a: T, b: T) -> T;
}

/// Accumulators of a row: a few registers full, so that additions do not wait for one another.
const LANES: usize = 32;
/// Rows no longer than this are folded one by one.
const SHORT: usize = 16;
/// Longer rows are folded in chunks of this length.
const CHUNK: usize = 1 << 16;
/// Columns that are folded together: their accumulators stay in the first cache.
const COLUMNS: usize = 2048;
/// Elements from which a second thread pays.
const PARALLEL: usize = 1 << 17;

/// Folds the dims of an operation's attribute 0, neighbouring ones together, the last first.
pub(crate) fn fold<T: Element, F: Fold<T>>(op: &Op, x: Operand<'_>, out: &Ty, f: F) -> Result<Data> {
    let dims = op.dims(0);
    // runs of axes that are all reduced, or all kept
    let mut runs: SmallVec<[(usize, bool); 6]> = SmallVec::new();
    for (d, &n) in x.layout.shape.iter().enumerate().filter(|p| *p.1 != 1) {
        match runs.last_mut() {
            Some((m, reduced)) if *reduced == dims.contains(&d) => *m *= n,
            _ => runs.push((n, dims.contains(&d))),
        }
    }
    let mut held = x.dense().is_none().then(|| copied(x));
    while let Some(at) = runs.iter().rposition(|r| r.1) {
        let product = |r: &[(usize, bool)]| r.iter().map(|r| r.0).product::<usize>();
        let extents = [product(&runs[..at]), runs[at].0, product(&runs[at + 1..])];
        let whole = || x.data.part(x.layout.offset, extents.iter().product());
        let from = held.as_ref().map_or_else(whole, Data::slice);
        let mut y = fresh(out.dtype, extents[0] * extents[2]);
        middle(from.typed(op.name())?, extents, T::slice_mut(&mut y).expect("of the result's type"), f);
        if let Some(old) = held.replace(y) {
            pool::give(old);
        }
        runs.remove(at);
    }
    Ok(held.unwrap_or_else(|| copied(x)))
}

/// Does the parts of a piece of work of `n` elements, on several threads if it is large.
fn each<P: Send>(n: usize, parts: impl Iterator<Item = P> + Send, work: impl Fn(P) + Sync) {
    if n < PARALLEL || rayon::current_num_threads() == 1 {
        return parts.for_each(work);
    }
    let done: Result<(), Infallible> = share(parts, |p| {
        work(p);
        Ok(())
    });
    done.unwrap_or_else(|e| match e {});
}

/// Folds the middle axis.
fn middle<T: Element, F: Fold<T>>(x: &[T], [outer, n, inner]: [usize; 3], out: &mut [T], f: F) {
    if x.is_empty() || inner == 0 {
        out.fill(f.neutral());
        return;
    }
    // few long columns, or few long rows: chunks, then what they gave
    let chunk = (CHUNK / inner).max(1);
    if inner < COLUMNS && n >= 2 * chunk {
        let (whole, rest) = (n / chunk, n % chunk);
        let count = whole + usize::from(rest > 0);
        let mut partial = vec![f.neutral(); outer * count * inner];
        let parts = partial.chunks_mut(inner).enumerate().map(|(k, to)| {
            let (o, c) = (k / count, k % count);
            let rows = if c < whole { chunk } else { rest };
            (&x[(o * n + c * chunk) * inner..][..rows * inner], to)
        });
        each(x.len(), parts, |(from, to)| one(from, inner, 0, to, f));
        return middle(&partial, [outer, count, inner], out, f);
    }
    if inner == 1 {
        let rows = (CHUNK / 4 / n).max(1);
        each(x.len(), x.chunks(rows * n).zip(out.chunks_mut(rows)), |(from, to)| {
            vectorised(Rows { x: from, n, out: to, f })
        });
        return;
    }
    let parts = x.chunks(n * inner).zip(out.chunks_mut(inner)).flat_map(|(from, to)| {
        to.chunks_mut(COLUMNS / 2).enumerate().map(move |(k, to)| (from, k * (COLUMNS / 2), to))
    });
    each(x.len(), parts, |(from, first, to)| one(from, inner, first, to, f));
}

/// Folds the columns of one array that begin at `first`, as many as `out` has.
fn one<T: Element, F: Fold<T>>(x: &[T], inner: usize, first: usize, out: &mut [T], f: F) {
    if inner == 1 {
        vectorised(Rows { x, n: x.len(), out, f });
    } else if inner <= LANES && x.len() >= 4 * LANES {
        vectorised(Narrow { x, out, f });
    } else {
        vectorised(Columns { x, inner, first, out, f });
    }
}

/// `out[i]` = the fold of the `i`-th row of `n`.
struct Rows<'a, T, F> {
    x: &'a [T],
    n: usize,
    out: &'a mut [T],
    f: F,
}
impl<T: Element, F: Fold<T>> Loop for Rows<'_, T, F> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Rows { x, n, out, f } = self;
        for (y, row) in out.iter_mut().zip(x.chunks_exact(n)) {
            *y = if n <= SHORT { row.iter().fold(f.neutral(), |a, &b| f.combine(a, b)) } else { lanes(row, f) };
        }
    }
}
/// One row: element `i` goes to accumulator `i` modulo their number, neighbouring halves of them are combined.
#[inline(always)]
fn lanes<T: Element, F: Fold<T>>(row: &[T], f: F) -> T {
    let mut acc = [f.neutral(); LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for c in chunks {
        for (a, &b) in acc.iter_mut().zip(c) {
            *a = f.combine(*a, b);
        }
    }
    for (a, &b) in acc.iter_mut().zip(rest) {
        *a = f.combine(*a, b);
    }
    halves(&mut acc, 1, f);
    acc[0]
}
/// Folds groups of `width` accumulators onto the first one, halving their number each time.
#[inline(always)]
fn halves<T: Element, F: Fold<T>>(acc: &mut [T], width: usize, f: F) {
    let mut groups = acc.len() / width;
    while groups > 1 {
        let half = groups.div_ceil(2);
        let (a, b) = acc[..groups * width].split_at_mut(half * width);
        for (a, &b) in a.iter_mut().zip(b.iter()) {
            *a = f.combine(*a, b);
        }
        groups = half;
    }
}

/// Columns of an array of few columns: several rows at a time as one.
struct Narrow<'a, T, F> {
    x: &'a [T],
    out: &'a mut [T],
    f: F,
}
impl<T: Element, F: Fold<T>> Loop for Narrow<'_, T, F> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Narrow { x, out, f } = self;
        let inner = out.len();
        let width = LANES / inner * inner;
        let mut acc = [f.neutral(); LANES];
        for rows in x.chunks(width) {
            for (a, &b) in acc[..width].iter_mut().zip(rows) {
                *a = f.combine(*a, b);
            }
        }
        halves(&mut acc[..width], inner, f);
        out.copy_from_slice(&acc[..inner]);
    }
}

/// Columns, row after row.
struct Columns<'a, T, F> {
    x: &'a [T],
    inner: usize,
    first: usize,
    out: &'a mut [T],
    f: F,
}
impl<T: Element, F: Fold<T>> Loop for Columns<'_, T, F> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Columns { x, inner, first, out, f } = self;
        out.fill(f.neutral());
        let n = out.len();
        // four rows at a time, so that accumulators are read and written less often
        let quads = x.chunks_exact(4 * inner);
        let rest = quads.remainder();
        for quad in quads {
            let [a, b, c, d] = [0, 1, 2, 3].map(|k| &quad[k * inner + first..][..n]);
            for ((((y, &a), &b), &c), &d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *y = f.combine(f.combine(f.combine(f.combine(*y, a), b), c), d);
            }
        }
        for row in rest.chunks_exact(inner) {
            for (y, &a) in out.iter_mut().zip(&row[first..first + n]) {
                *y = f.combine(*y, a);
            }
        }
    }
}

/// The first index along one dim of what the fold of that dim gives; `is` compares an element with it.
pub(crate) fn position<T: Element, F: Fold<T>>(
    op: &Op,
    x: Operand<'_>,
    out: &Ty,
    f: F,
    is: impl Fn(T, T) -> bool + Copy + Sync,
) -> Result<Data> {
    let shape = &x.layout.shape;
    let d = op.dims(0)[0];
    let (n, inner): (usize, usize) = (shape[d], shape[d + 1..].iter().product());
    let mut y = fresh(out.dtype, out.numel());
    if out.numel() == 0 {
        return Ok(y);
    }
    let copy;
    let from = match x.dense() {
        Some(s) => s,
        None => {
            copy = copied(x);
            copy.slice()
        }
    };
    let from: &[T] = from.typed(op.name())?;
    let to = i64::slice_mut(&mut y).expect("of the result's type");
    if inner == 1 {
        let rows = (CHUNK / 4 / n).max(1);
        let parts = from.chunks(rows * n).zip(to.chunks_mut(rows));
        each(from.len(), parts, |(x, out)| vectorised(RowPositions { x, n, out, f, is }));
    } else {
        let parts = from
            .chunks(n * inner)
            .zip(to.chunks_mut(inner))
            .flat_map(|(x, to)| to.chunks_mut(COLUMNS / 8).enumerate().map(move |(k, to)| (x, k * (COLUMNS / 8), to)));
        each(from.len(), parts, |(x, first, out)| vectorised(ColumnPositions { x, inner, first, out, f, is }));
    }
    Ok(y)
}

/// In a row the best of each stretch is compared with the best so far; the winning stretch is searched.
struct RowPositions<'a, T, F, G> {
    x: &'a [T],
    n: usize,
    out: &'a mut [i64],
    f: F,
    is: G,
}
impl<T: Element, F: Fold<T>, G: Fn(T, T) -> bool> Loop for RowPositions<'_, T, F, G> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let RowPositions { x, n, out, f, is } = self;
        const STRETCH: usize = 1024;
        for (y, row) in out.iter_mut().zip(x.chunks_exact(n)) {
            let (mut best, mut at) = (row[0], 0);
            for (k, stretch) in row.chunks(STRETCH).enumerate() {
                let m = lanes(stretch, f);
                if !is(f.combine(best, m), best) {
                    (best, at) = (m, k * STRETCH);
                }
            }
            *y = row[at..].iter().position(|&v| is(v, best)).map_or(0, |i| (at + i) as i64);
        }
    }
}

/// Columns side by side: the best of each so far, and where it was.
struct ColumnPositions<'a, T, F, G> {
    x: &'a [T],
    inner: usize,
    first: usize,
    out: &'a mut [i64],
    f: F,
    is: G,
}
impl<T: Element, F: Fold<T>, G: Fn(T, T) -> bool> Loop for ColumnPositions<'_, T, F, G> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let ColumnPositions { x, inner, first, out, f, is } = self;
        let mut best = [f.neutral(); COLUMNS / 8];
        let n = out.len();
        best[..n].copy_from_slice(&x[first..first + n]);
        out.fill(0);
        for (r, row) in x.chunks_exact(inner).enumerate().skip(1) {
            for ((b, y), &v) in best.iter_mut().zip(out.iter_mut()).zip(&row[first..first + n]) {
                let keeps = is(f.combine(*b, v), *b);
                *y = if keeps { *y } else { r as i64 };
                *b = if keeps { *b } else { v };
            }
        }
    }
}
