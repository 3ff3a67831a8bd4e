//! Strided windows over one shape as a nest of loops over as few axes as possible, and its parts for
//! several threads.

use crate::{array::SliceMut, ty::Layout};
use parking_lot::Mutex;
use smallvec::SmallVec;

/// Arguments of a pointwise operation at the most.
pub(crate) const ARGS: usize = 3;

/// One loop: its length, and the steps of the result and of each argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub n: usize,
    pub out: isize,
    pub args: [isize; ARGS],
}

/// Loops, the innermost first, ordered by the step of the result, none of length 1 unless it is alone; and
/// where the first elements are.
#[derive(Clone, Debug)]
pub(crate) struct Nest {
    pub axes: SmallVec<[Axis; 4]>,
    pub out: usize,
    pub args: [usize; ARGS],
}

impl Nest {
    /// The nest of windows that broadcast to a shape without an extent of zero. The result is row-major
    /// unless a window is given, whose elements are distinct.
    pub fn new<'a>(shape: &[usize], args: impl Iterator<Item = &'a Layout> + Clone, out: Option<&Layout>) -> Nest {
        let mut nest = Nest { axes: SmallVec::new(), out: out.map_or(0, |l| l.offset), args: [0; ARGS] };
        for (o, l) in nest.args.iter_mut().zip(args.clone()) {
            *o = l.offset;
        }
        let mut step = 1;
        for (d, &n) in shape.iter().enumerate().rev() {
            let mut axis = Axis { n, out: out.map_or(step, |l| l.strides[d]), args: [0; ARGS] };
            step *= n as isize;
            if n == 1 {
                continue;
            }
            for (s, l) in axis.args.iter_mut().zip(args.clone()) {
                // aligned at the last axis
                if let Some(a) = (d + l.shape.len()).checked_sub(shape.len())
                    && l.shape[a] != 1
                {
                    *s = l.strides[a];
                }
            }
            if axis.out < 0 {
                nest.reverse(&mut axis);
            }
            nest.axes.push(axis);
        }
        if out.is_some() {
            nest.axes.sort_by_key(|a| a.out);
        }
        nest.merge();
        if nest.axes.is_empty() {
            nest.axes.push(Axis { n: 1, out: 1, args: [1; ARGS] });
        }
        nest
    }
    /// Walks an axis from its other end.
    fn reverse(&mut self, axis: &mut Axis) {
        let last = axis.n as isize - 1;
        self.out = self.out.wrapping_add_signed(axis.out * last);
        axis.out = -axis.out;
        for (o, s) in self.args.iter_mut().zip(&mut axis.args) {
            *o = o.wrapping_add_signed(*s * last);
            *s = -*s;
        }
    }
    /// Joins neighbouring axes that every window steps over evenly.
    fn merge(&mut self) {
        let mut kept = 0;
        for i in 1..self.axes.len() {
            let (inner, axis) = (self.axes[kept], self.axes[i]);
            let joins = |a: isize, i: isize| a == i * inner.n as isize;
            if joins(axis.out, inner.out) && axis.args.iter().zip(&inner.args).all(|(&a, &i)| joins(a, i)) {
                self.axes[kept].n *= axis.n;
            } else {
                kept += 1;
                self.axes[kept] = axis;
            }
        }
        self.axes.truncate(kept + 1);
    }
    pub fn numel(&self) -> usize {
        self.axes.iter().map(|a| a.n).product()
    }
    /// The axis beside the innermost that blocks extend over, and whether an argument is read across its
    /// rows: then it is the one along which that argument's elements are neighbours.
    pub fn rows(&self, args: usize) -> (Option<usize>, bool) {
        let inner = &self.axes[0];
        for k in 0..args {
            let closest = (1..self.axes.len())
                .filter(|&j| self.axes[j].args[k] != 0)
                .min_by_key(|&j| self.axes[j].args[k].unsigned_abs());
            if let Some(j) = closest
                && self.axes[j].args[k].unsigned_abs() < inner.args[k].unsigned_abs()
            {
                return (Some(j), true);
            }
        }
        match self.axes.get(1) {
            // a block of a few elements is not worth its preparation
            Some(row) if row.n * inner.n < 64 => ((1..self.axes.len()).max_by_key(|&j| self.axes[j].n), false),
            row => (row.map(|_| 1), false),
        }
    }
    /// Calls `f` with where the result and the arguments begin, for each position of the axes that are
    /// neither the innermost nor `row`.
    pub fn outer<E>(
        &self,
        row: Option<usize>,
        mut f: impl FnMut(usize, [usize; ARGS]) -> Result<(), E>,
    ) -> Result<(), E> {
        let axes: SmallVec<[Axis; 4]> =
            self.axes.iter().enumerate().skip(1).filter(|p| Some(p.0) != row).map(|p| *p.1).collect();
        let (mut out, mut args) = (self.out, self.args);
        let mut at: SmallVec<[usize; 4]> = SmallVec::from_elem(0, axes.len());
        loop {
            f(out, args)?;
            let mut d = 0;
            loop {
                let Some(axis) = axes.get(d) else { return Ok(()) };
                at[d] += 1;
                let steps = if at[d] < axis.n { 1 } else { 1 - axis.n as isize };
                out = out.wrapping_add_signed(axis.out * steps);
                for (o, s) in args.iter_mut().zip(&axis.args) {
                    *o = o.wrapping_add_signed(s * steps);
                }
                if at[d] < axis.n {
                    break;
                }
                at[d] = 0;
                d += 1;
            }
        }
    }
    /// Parts of about `grain` elements whose results lie apart, each with its part of the result's store.
    pub fn split<'o>(mut self, out: SliceMut<'o>, grain: usize, parts: &mut Vec<(Nest, SliceMut<'o>)>) {
        let last = self.axes.len() - 1;
        let axis = self.axes[last];
        let inside: isize = self.axes[..last].iter().map(|a| (a.n as isize - 1) * a.out).sum();
        if axis.n == 1 && last > 0 {
            self.axes.pop();
            return self.split(out, grain, parts);
        }
        if self.numel() < 2 * grain || axis.n == 1 || axis.out <= inside {
            return parts.push((self, out));
        }
        // whole cache lines, where the axis is long
        let half = if axis.n >= 256 { axis.n / 2 / 64 * 64 } else { axis.n / 2 };
        let mut other = self.clone();
        self.axes[last].n = half;
        other.axes[last].n -= half;
        for (o, s) in other.args.iter_mut().zip(&axis.args) {
            *o = o.wrapping_add_signed(s * half as isize);
        }
        let (a, b) = out.split_at(self.out + axis.out as usize * half);
        other.out = 0;
        self.split(a, grain, parts);
        other.split(b, grain, parts);
    }
}

/// Does all parts of a piece of work, on the calling thread and those of rayon's pool, each part once.
pub(crate) fn share<P: Send, E: Send>(
    parts: impl IntoIterator<Item = P, IntoIter: Send>,
    work: impl Fn(P) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let parts = Mutex::new(parts.into_iter());
    let failed = Mutex::new(None);
    let next = || parts.lock().next();
    let run = || {
        while let Some(p) = next() {
            if let Err(e) = work(p) {
                failed.lock().get_or_insert(e);
                return;
            }
        }
    };
    rayon::in_place_scope(|s| {
        for _ in 1..rayon::current_num_threads() {
            s.spawn(|_| run());
        }
        run();
    });
    failed.into_inner().map_or(Ok(()), Err)
}
