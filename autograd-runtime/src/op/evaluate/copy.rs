//! Copies between strided windows: whole ones, and the rectangles that pointwise operations gather their
//! arguments from and write results to.

use super::{Nest, fresh, nest::share};
use crate::{
    array::{Data, Element, Slice, SliceMut},
    elementary::{Loop, vectorised},
    error::Result,
    op::Operand,
    ty::Layout,
};
use std::convert::Infallible;

/// A rectangle in a store: where it begins, and the steps between its rows and its columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rect {
    pub at: usize,
    pub row: isize,
    pub col: isize,
}

impl Rect {
    fn index(self, r: usize, c: usize) -> usize {
        self.at.wrapping_add_signed(self.row * r as isize + self.col * c as isize)
    }
    fn transposed(self) -> Rect {
        Rect { row: self.col, col: self.row, ..self }
    }
}

/// Elements from which a second thread pays.
const PARALLEL: usize = 1 << 18;
/// Elements of one part.
const GRAIN: usize = 1 << 16;

/// The row-major elements of a window.
pub(crate) fn copied(x: Operand<'_>) -> Data {
    let mut out = fresh(x.dtype(), x.layout.shape.iter().product());
    copy_window(x.data, x.layout, out.slice_mut(), &Layout::contiguous(&x.layout.shape));
    out
}

/// The row-major elements of a window: those stored, or a copy that `hold` keeps.
pub(crate) fn elements<'a, T: Element>(x: Operand<'a>, hold: &'a mut Option<Data>, op: &str) -> Result<&'a [T]> {
    match x.dense() {
        Some(s) => s.typed(op),
        None => hold.insert(copied(x)).slice().typed(op),
    }
}

/// Copies a window, broadcast to the shape of the other, whose elements are distinct and of the same type.
pub(crate) fn copy_window(src: Slice<'_>, from: &Layout, out: SliceMut<'_>, to: &Layout) {
    if to.shape.contains(&0) {
        return;
    }
    let nest = Nest::new(&to.shape, std::iter::once(from), Some(to));
    if nest.numel() < PARALLEL || rayon::current_num_threads() == 1 {
        return part(&nest, src, out);
    }
    let mut parts = Vec::new();
    nest.split(out, GRAIN, &mut parts);
    let done: Result<(), Infallible> = share(parts, |(nest, out)| {
        part(&nest, src, out);
        Ok(())
    });
    done.unwrap_or_else(|e| match e {});
}

fn part(nest: &Nest, src: Slice<'_>, mut out: SliceMut<'_>) {
    let (row, _) = nest.rows(1);
    let inner = nest.axes[0];
    let (rows, r_out, r_src) = row.map_or((1, 0, 0), |r| (nest.axes[r].n, nest.axes[r].out, nest.axes[r].args[0]));
    let done: Result<(), Infallible> = nest.outer(row, |at, args| {
        let to = Rect { at, row: r_out, col: inner.out };
        let from = Rect { at: args[0], row: r_src, col: inner.args[0] };
        rectangle(out.by_ref(), to, src, from, rows, inner.n);
        Ok(())
    });
    done.unwrap_or_else(|e| match e {});
}

/// Copies a rectangle of elements of one type.
pub(super) fn rectangle(out: SliceMut<'_>, to: Rect, src: Slice<'_>, from: Rect, rows: usize, cols: usize) {
    match (out, src) {
        (SliceMut::F32(o), Slice::F32(s)) => typed(o, to, s, from, rows, cols),
        (SliceMut::F64(o), Slice::F64(s)) => typed(o, to, s, from, rows, cols),
        (SliceMut::I64(o), Slice::I64(s)) => typed(o, to, s, from, rows, cols),
        (SliceMut::Bool(o), Slice::Bool(s)) => typed(o, to, s, from, rows, cols),
        (o, s) => panic!("bug: a copy from {} to {}", s.dtype(), o.dtype()),
    }
}

fn typed<T: Copy>(out: &mut [T], to: Rect, src: &[T], from: Rect, rows: usize, cols: usize) {
    match (to.col, from.col) {
        (1, 1) if to.row == cols as isize && from.row == to.row => {
            out[to.at..][..rows * cols].copy_from_slice(&src[from.at..][..rows * cols]);
        }
        (1, 1) if cols >= 8 || rows < 8 => {
            for r in 0..rows {
                out[to.index(r, 0)..][..cols].copy_from_slice(&src[from.index(r, 0)..][..cols]);
            }
        }
        (1, 0) if cols >= 8 || rows < 8 => {
            for r in 0..rows {
                out[to.index(r, 0)..][..cols].fill(src[from.index(r, 0)]);
            }
        }
        (1, _) if from.row == 1 && rows >= TILE && cols >= TILE => {
            vectorised(Transpose { out, to, src, from, rows, cols });
        }
        // the longer loop inside
        _ if rows > cols => elementwise(out, to.transposed(), src, from.transposed(), cols, rows),
        _ => elementwise(out, to, src, from, rows, cols),
    }
}

fn elementwise<T: Copy>(out: &mut [T], to: Rect, src: &[T], from: Rect, rows: usize, cols: usize) {
    for r in 0..rows {
        let (mut o, mut s) = (to.index(r, 0), from.index(r, 0));
        for _ in 0..cols {
            out[o] = src[s];
            o = o.wrapping_add_signed(to.col);
            s = s.wrapping_add_signed(from.col);
        }
    }
}

/// Side of the squares that a transposing copy moves at a time.
const TILE: usize = 8;

/// A copy of rows from columns.
struct Transpose<'a, T> {
    out: &'a mut [T],
    to: Rect,
    src: &'a [T],
    from: Rect,
    rows: usize,
    cols: usize,
}

impl<T: Copy> Loop for Transpose<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Transpose { out, to, src, from, rows, cols } = self;
        let (whole_rows, whole_cols) = (rows / TILE * TILE, cols / TILE * TILE);
        for r in (0..whole_rows).step_by(TILE) {
            for c in (0..whole_cols).step_by(TILE) {
                // the source's lines are columns here
                let line = |i: usize| *src[from.index(r, c + i)..].first_chunk::<TILE>().expect("inside");
                let lines: [[T; TILE]; TILE] = std::array::from_fn(line);
                for i in 0..TILE {
                    let row: [T; TILE] = std::array::from_fn(|j| lines[j][i]);
                    out[to.index(r + i, c)..][..TILE].copy_from_slice(&row);
                }
            }
        }
        for r in 0..rows {
            let first = if r < whole_rows { whole_cols } else { 0 };
            for c in first..cols {
                out[to.index(r, c)] = src[from.index(r, c)];
            }
        }
    }
}
