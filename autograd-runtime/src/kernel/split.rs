//! Decides how the domain of a kernel is split among threads, and where partial accumulators go.
//! Invariant: the decision is a function of the kernel alone, never of the number of threads.

use super::plan::Plan;
use super::{Access, Kernel, NodeKind, ReduceKind, Scope, size_of};
use crate::ty::DType;
use smallvec::SmallVec;

/// Inner ranges are split at multiples of this, so that chunks meet at block and vector bounds.
pub(super) const INNER_CHUNK: usize = 16 * 1024;
/// Work (elements × steps, measured at 0.03 to 0.1 ns each) below which a kernel runs on the calling thread.
const SERIAL_WORK: usize = 1_250_000;
/// Work of one chunk at least.
const CHUNK_WORK: usize = 400_000;
/// Chunks at most.
const MAX_CHUNKS: usize = 64;
/// Partial accumulators take at most this many bytes.
const MAX_PARTIALS: usize = 1 << 25;
/// Alignment of everything in scratch.
pub(super) const ALIGN: usize = 64;

/// A store that accumulates.
pub(super) struct Accumulator {
    pub(super) buffer: usize,
    pub(super) access: Access,
    pub(super) kind: ReduceKind,
    pub(super) dtype: DType,
    /// Outer scope: one value for each inner index; else one value.
    pub(super) wide: bool,
    /// Where in a job's partials its own begin, if jobs share it.
    pub(super) partial: Option<usize>,
}

/// How the domain is split: each dimension in even parts; one job for each combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) parallel: usize,
    pub(super) reduced: usize,
    pub(super) inner: usize,
}

/// What the driver knows of a kernel.
pub(super) struct Meta {
    pub(super) parallel_dims: SmallVec<[usize; 4]>,
    /// Rows of P and of R; without accumulators everything counts as P.
    pub(super) rows: (usize, usize),
    pub(super) inner: usize,
    /// Whether anything but accumulators is left to do when the inner range is empty.
    pub(super) runs_empty: bool,
    pub(super) buffers: usize,
    /// Inner elements of one call.
    pub(super) tile: usize,
    pub(super) accumulators: Vec<Accumulator>,
    pub(super) split: Split,
    pub(super) scratch_bytes: usize,
    /// Bytes of one job's partial accumulators.
    pub(super) partial_bytes: usize,
}

impl Meta {
    pub(super) fn new(k: &Kernel, plan: &Plan) -> Self {
        let mut accumulators = Vec::new();
        for s in &k.stores {
            if let Some((kind, scope)) = k.accumulates(s) {
                let dtype = k.nodes[s.node as usize].dtype;
                let buffer = usize::from(s.buffer);
                let wide = scope == Scope::Outer;
                let access = s.access.clone();
                accumulators.push(Accumulator { buffer, access, kind, dtype, wide, partial: None });
            }
        }
        let rows = if accumulators.is_empty() {
            (k.parallel_rows() * k.reduced_rows(), 1)
        } else {
            (k.parallel_rows(), k.reduced_rows())
        };
        let inner_reductions = k.nodes.iter().any(|n| matches!(n.kind, NodeKind::Reduce { scope: Scope::Inner, .. }));
        let mut meta = Meta {
            parallel_dims: k.outer[..k.parallel].into(),
            rows,
            inner: k.inner,
            runs_empty: inner_reductions,
            buffers: k.buffers.len(),
            tile: plan.tile.unwrap_or(usize::MAX),
            accumulators,
            split: Split { parallel: 1, reduced: 1, inner: 1 },
            scratch_bytes: plan.scratch_bytes.next_multiple_of(ALIGN),
            partial_bytes: 0,
        };
        // Row-level stores would be done by every part of a split inner range.
        let row_stores = plan.stages.iter().any(|s| !s.row_stores.is_empty());
        let per_row: usize = 20 + plan.stages.iter().map(|s| s.row_nodes.len()).sum::<usize>();
        let per_element = plan.steps + 8 * plan.calls;
        let work = (rows.0 * rows.1).saturating_mul(k.inner.saturating_mul(per_element).saturating_add(per_row));
        if work > SERIAL_WORK && k.inner > 0 {
            meta.split(k, work, !inner_reductions && !row_stores);
        }
        meta
    }

    fn split(&mut self, k: &Kernel, work: usize, inner_splits: bool) {
        let wanted = (work / CHUNK_WORK).clamp(2, MAX_CHUNKS);
        let (p, r) = self.rows;
        if p >= wanted.min(16) {
            self.split.parallel = wanted.min(p);
            return;
        }
        // Few rows of P: one job for each and each part of the inner range or of R. Partial
        // accumulators stand in for a whole buffer slot, so nothing else may use it.
        let each = wanted.div_ceil(p);
        let alone = |a: &Accumulator| {
            let stores = k.stores.iter().filter(|s| usize::from(s.buffer) == a.buffer).count();
            let loaded = k
                .nodes
                .iter()
                .any(|n| matches!(&n.kind, NodeKind::Load { buffer, .. } if usize::from(*buffer) == a.buffer));
            stores == 1 && !loaded && a.access.inner.unsigned_abs() <= 4
        };
        let replaceable = |wide: bool| self.accumulators.iter().all(|a| (a.wide && !wide) || alone(a));
        let inner_parts = each.min(self.inner / INNER_CHUNK);
        if inner_splits && inner_parts >= each.min(4) && inner_parts > 1 && replaceable(false) {
            self.split = Split { parallel: p, reduced: 1, inner: inner_parts };
            self.place_partials(false);
            return;
        }
        if r >= 32 && replaceable(true) {
            self.place_partials(true);
            let most = MAX_PARTIALS / (self.partial_bytes * p).max(1);
            let parts = each.min(r / 16).min(most);
            if parts > 1 {
                self.split = Split { parallel: p, reduced: parts, inner: 1 };
                return;
            }
            self.partial_bytes = 0;
            self.accumulators.iter_mut().for_each(|a| a.partial = None);
        }
        self.split.parallel = wanted.min(p);
    }

    /// Gives the accumulators that several jobs of one row of P share a place in the partials.
    fn place_partials(&mut self, wide: bool) {
        for a in &mut self.accumulators {
            if a.wide && !wide {
                continue;
            }
            a.partial = Some(self.partial_bytes);
            let span = span(a, self.inner) * size_of(a.dtype);
            self.partial_bytes += span.next_multiple_of(ALIGN);
        }
    }

    pub(super) fn jobs(&self) -> usize {
        self.split.parallel * self.split.reduced * self.split.inner
    }

    /// Bytes of scratch of one running job: its own, and room for a table of buffers.
    pub(super) fn job_bytes(&self) -> usize {
        let table = if self.partial_bytes > 0 { self.buffers * std::mem::size_of::<*mut u8>() } else { 0 };
        self.scratch_bytes + table.next_multiple_of(ALIGN)
    }
}

impl Meta {
    /// Element index of an accumulator at row `p` of P, inner index 0.
    pub(super) fn origin(&self, a: &Accumulator, mut p: usize) -> i64 {
        let mut at = a.access.offset;
        for (&size, &stride) in self.parallel_dims.iter().zip(&a.access.outer).rev() {
            at += (p % size) as i64 * stride;
            p /= size;
        }
        at
    }

    /// The least element index an accumulator touches at row `p` of P.
    pub(super) fn first(&self, a: &Accumulator, p: usize) -> i64 {
        let back = if a.wide { a.access.inner.min(0) * (self.inner.max(1) as i64 - 1) } else { 0 };
        self.origin(a, p) + back
    }
}

/// Elements from the first to the last one an accumulator touches in one row of P.
fn span(a: &Accumulator, inner: usize) -> usize {
    if a.wide { (inner.max(1) - 1) * a.access.inner.unsigned_abs() as usize + 1 } else { 1 }
}
