//! Runs compiled kernels: initialises accumulators, splits the domain into chunks, runs them on
//! rayon's pool when that pays, and combines partial results. Invariant: how the domain is split
//! is a function of the kernel alone, so results do not depend on the number of threads.

use super::jit::{Code, KernelFn};
use super::plan::Plan;
use super::{Access, Kernel, NodeKind, ReduceKind, Scope, identity, size_of};
use crate::ty::DType;
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

/// Inner ranges are split at multiples of this, so that chunks meet at block and vector bounds.
pub(super) const INNER_CHUNK: usize = 16 * 1024;
/// Work (elements × steps, about 0.08 ns each) below which a kernel runs on the calling thread.
const SERIAL_WORK: usize = 1_250_000;
/// Work of one chunk at least.
const CHUNK_WORK: usize = 400_000;
/// Chunks at most.
const MAX_CHUNKS: usize = 64;
/// Partial accumulators take at most this many bytes.
const MAX_PARTIALS: usize = 1 << 25;
/// Alignment of everything in scratch.
const ALIGN: usize = 64;

/// A store that accumulates.
struct Accumulator {
    buffer: usize,
    access: Access,
    kind: ReduceKind,
    dtype: DType,
    /// Outer scope: one value for each inner index; else one value.
    wide: bool,
    /// Where in a job's partials its own begin, if jobs share it.
    partial: Option<usize>,
}

/// How the domain is split: each dimension in even parts; one job for each combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Split {
    parallel: usize,
    reduced: usize,
    inner: usize,
}

/// What the driver knows of a kernel.
pub(super) struct Meta {
    parallel_dims: SmallVec<[usize; 4]>,
    /// Rows of P and of R; without accumulators everything counts as P.
    rows: (usize, usize),
    inner: usize,
    /// Whether anything but accumulators is left to do when the inner range is empty.
    runs_empty: bool,
    buffers: usize,
    accumulators: Vec<Accumulator>,
    split: Split,
    scratch_bytes: usize,
    /// Bytes of one job's partial accumulators.
    partial_bytes: usize,
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
        let inner_reductions =
            k.nodes.iter().any(|n| matches!(n.kind, NodeKind::Reduce { scope: Scope::Inner, .. }));
        let mut meta = Meta {
            parallel_dims: k.outer[..k.parallel].into(),
            rows,
            inner: k.inner,
            runs_empty: inner_reductions,
            buffers: k.buffers.len(),
            accumulators,
            split: Split { parallel: 1, reduced: 1, inner: 1 },
            scratch_bytes: plan.scratch_bytes.next_multiple_of(ALIGN),
            partial_bytes: 0,
        };
        // Row-level stores would be done by every part of a split inner range.
        let row_stores = plan.stages.iter().any(|s| !s.row_stores.is_empty());
        let per_row: usize = 20 + plan.stages.iter().map(|s| s.row_nodes.len()).sum::<usize>();
        let per_element = plan.steps + 8 * plan.calls;
        let work =
            (rows.0 * rows.1).saturating_mul(k.inner.saturating_mul(per_element).saturating_add(per_row));
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
            let loaded = k.nodes.iter().any(
                |n| matches!(&n.kind, NodeKind::Load { buffer, .. } if usize::from(*buffer) == a.buffer),
            );
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

    fn jobs(&self) -> usize {
        self.split.parallel * self.split.reduced * self.split.inner
    }

    /// Bytes of scratch of one running job: its own, and room for a table of buffers.
    fn job_bytes(&self) -> usize {
        let table = if self.partial_bytes > 0 { self.buffers * std::mem::size_of::<*mut u8>() } else { 0 };
        self.scratch_bytes + table.next_multiple_of(ALIGN)
    }
}

/// Elements from the first to the last one an accumulator touches in one row of P.
fn span(a: &Accumulator, inner: usize) -> usize {
    if a.wide { (inner.max(1) - 1) * a.access.inner.unsigned_abs() as usize + 1 } else { 1 }
}

/// Reusable working memory of [`CompiledKernel::run`]; grows to what a kernel needs and stays.
#[derive(Default)]
pub struct Scratch {
    lines: Vec<Line>,
}

/// A cache line, for its alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; ALIGN]);

impl Scratch {
    /// Memory that holds `bytes` without growing.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut scratch = Scratch::default();
        scratch.reserve(bytes);
        scratch
    }

    fn reserve(&mut self, bytes: usize) -> *mut u8 {
        let lines = bytes.div_ceil(ALIGN);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0; ALIGN]));
        }
        self.lines.as_mut_ptr().cast()
    }
}

/// A kernel ready to run.
#[derive(Clone)]
pub struct CompiledKernel {
    /// Keeps the machine code mapped.
    code: Code,
    entry: KernelFn,
    meta: Arc<Meta>,
}

/// What the jobs of one run share.
struct Run<'r> {
    kernel: &'r CompiledKernel,
    buffers: *const *mut u8,
    scratch: *mut u8,
    /// Partial accumulators, after the scratch of all threads.
    partials: *mut u8,
}

// SAFETY: jobs read the table of buffers, write disjoint elements of the buffers or their own
// partials, and use the part of scratch that belongs to the thread they run on.
unsafe impl Sync for Run<'_> {}

impl CompiledKernel {
    /// The kernel with this index in `code`, if it is one.
    pub fn new(code: &Code, index: usize) -> Option<Self> {
        let (entry, meta) = code.kernel(index)?;
        Some(CompiledKernel { code: code.clone(), entry, meta })
    }

    /// The code this kernel is part of.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// Whether the kernel is large enough to be split in jobs.
    pub fn is_parallel(&self) -> bool {
        self.meta.jobs() > 1
    }

    /// Bytes of scratch a run needs on a pool of `threads` threads.
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        if self.is_parallel() {
            self.meta.job_bytes() * threads.max(1) + self.meta.partial_bytes * self.meta.jobs()
        } else {
            self.meta.scratch_bytes
        }
    }

    /// Runs the kernel.
    ///
    /// # Safety
    /// Each pointer must be aligned for, and valid for every element that an access of the kernel
    /// reaches in its slot: for reads if it is loaded, for reads and writes if it is stored. Bools
    /// are bytes 0 or 1. Slots may overlap only as [`Kernel`] allows, and nothing else may touch
    /// the buffers meanwhile.
    ///
    /// # Panics
    /// If the number of pointers differs from the number of buffer slots.
    pub unsafe fn run(&self, buffers: &[*mut u8], scratch: &mut Scratch) {
        let meta = &*self.meta;
        assert_eq!(buffers.len(), meta.buffers, "one pointer for each buffer slot");
        let (p, r) = meta.rows;
        let parallel = self.is_parallel();
        let threads = if parallel { rayon::current_num_threads() } else { 1 };
        let memory = scratch.reserve(self.scratch_bytes(threads));
        if !parallel {
            // SAFETY: the caller vouches for the buffers; scratch has been reserved for one job.
            unsafe {
                meta.initialise(buffers.as_ptr(), 0..p, 0..meta.inner);
                if p * r > 0 && (meta.inner > 0 || meta.runs_empty) {
                    let (rows, inner) = ((p * r) as u64, meta.inner as u64);
                    (self.entry)(buffers.as_ptr(), memory, 0, rows, 0, inner);
                }
            }
            return;
        }
        // SAFETY: scratch has been reserved for one job a thread and the partials after those.
        let partials = unsafe { memory.add(meta.job_bytes() * threads) };
        let run = Run { kernel: self, buffers: buffers.as_ptr(), scratch: memory, partials };
        run.spread(0..meta.jobs());
        if meta.partial_bytes > 0 {
            // SAFETY: all jobs are done; accumulators are the caller's, partials ours.
            unsafe { meta.collect(buffers, partials) };
        }
    }
}

impl Run<'_> {
    /// Runs jobs, halving their range among threads.
    fn spread(&self, jobs: Range<usize>) {
        if jobs.len() > 1 {
            let half = jobs.start + jobs.len() / 2;
            rayon::join(|| self.spread(jobs.start..half), || self.spread(half..jobs.end));
        } else if !jobs.is_empty() {
            // SAFETY: called once for each job, on a thread of the pool the scratch was sized for.
            unsafe { self.job(jobs.start) }
        }
    }

    /// # Safety
    /// At most one call runs for each job, and at most one on each thread of the pool.
    unsafe fn job(&self, job: usize) {
        let meta = &*self.kernel.meta;
        let split = meta.split;
        let (p, r) = meta.rows;
        let part = |n: usize, parts: usize, k: usize| (n * k / parts)..(n * (k + 1) / parts);
        let at_p = job / (split.reduced * split.inner);
        let ps = part(p, split.parallel, at_p);
        let rs = part(r, split.reduced, job / split.inner % split.reduced);
        let mut inner = part(meta.inner / INNER_CHUNK, split.inner, job % split.inner);
        inner = (inner.start * INNER_CHUNK)..(inner.end * INNER_CHUNK);
        if job % split.inner == split.inner - 1 {
            inner.end = meta.inner;
        }
        let thread = rayon::current_thread_index().unwrap_or(0);
        // SAFETY: the part of this thread lies within the reserved scratch, and a thread runs one
        // job at a time (generated code never enters the pool). The table of buffers has room
        // behind the job's scratch; partials of this job are used by it alone, and pointers into
        // them are wrapped so that the elements this job accumulates fall inside.
        unsafe {
            let scratch = self.scratch.add(thread * meta.job_bytes());
            let mut buffers = self.buffers;
            if meta.partial_bytes > 0 {
                let table: *mut *mut u8 = scratch.add(meta.scratch_bytes).cast();
                std::ptr::copy_nonoverlapping(self.buffers, table, meta.buffers);
                let own = self.partials.add(job * meta.partial_bytes);
                for a in &meta.accumulators {
                    if let Some(offset) = a.partial {
                        let size = size_of(a.dtype) as isize;
                        let first = meta.first(a, ps.start) as isize;
                        *table.add(a.buffer) = own.add(offset).wrapping_offset(-first * size);
                    }
                }
                buffers = table;
            }
            meta.initialise(buffers, ps.clone(), inner.clone());
            // A job of part of R has one row of P.
            let rows = if split.reduced > 1 {
                (ps.start * r + rs.start)..(ps.start * r + rs.end)
            } else {
                (ps.start * r)..(ps.end * r)
            };
            let (i0, i1) = (inner.start as u64, inner.end as u64);
            (self.kernel.entry)(buffers, scratch, rows.start as u64, rows.end as u64, i0, i1);
        }
    }
}

impl Meta {
    /// Element index of an accumulator at row `p` of P, inner index 0.
    fn origin(&self, a: &Accumulator, mut p: usize) -> i64 {
        let mut at = a.access.offset;
        for (&size, &stride) in self.parallel_dims.iter().zip(&a.access.outer).rev() {
            at += (p % size) as i64 * stride;
            p /= size;
        }
        at
    }

    /// The least element index an accumulator touches at row `p` of P.
    fn first(&self, a: &Accumulator, p: usize) -> i64 {
        let back = if a.wide { a.access.inner.min(0) * (self.inner.max(1) as i64 - 1) } else { 0 };
        self.origin(a, p) + back
    }

    /// Sets the accumulators of some rows of P to the identity.
    ///
    /// # Safety
    /// The elements must be the caller's to write.
    unsafe fn initialise(&self, buffers: *const *mut u8, ps: Range<usize>, inner: Range<usize>) {
        for a in &self.accumulators {
            let bits = identity(a.kind, a.dtype);
            let (inner, stride) = if a.wide { (inner.clone(), a.access.inner) } else { (0..1, 0) };
            for p in ps.clone() {
                let origin = self.origin(a, p) + inner.start as i64 * stride;
                // SAFETY: the table has an entry for each slot; the elements are the caller's.
                unsafe {
                    let base = *buffers.add(a.buffer);
                    let n = inner.len();
                    match a.dtype {
                        DType::F32 => fill(base.cast::<u32>(), origin, stride, n, bits as u32),
                        DType::F64 | DType::I64 => fill(base.cast::<u64>(), origin, stride, n, bits),
                        DType::Bool => fill(base, origin, stride, n, bits as u8),
                    }
                }
            }
        }
    }

    /// Combines the partials of all jobs, in their order, into the accumulators.
    ///
    /// # Safety
    /// No job may run any more.
    unsafe fn collect(&self, buffers: &[*mut u8], partials: *const u8) {
        let parts = self.split.reduced * self.split.inner;
        for a in &self.accumulators {
            let Some(offset) = a.partial else { continue };
            let inner = if a.wide { self.inner } else { 1 };
            for p in 0..self.rows.0 {
                let (origin, first) = (self.origin(a, p), self.first(a, p));
                for i in 0..inner {
                    let at = origin + i as i64 * a.access.inner;
                    let to = buffers[a.buffer];
                    // SAFETY: `at` is an element of the accumulator, and of the span of each
                    // job's partials when counted from the first.
                    unsafe {
                        let part = |k: usize| {
                            let job = p * parts + k;
                            partials.add(job * self.partial_bytes + offset)
                        };
                        match a.dtype {
                            DType::F32 => fold::<f32>(a.kind, to, at, part, at - first, parts),
                            DType::F64 => fold::<f64>(a.kind, to, at, part, at - first, parts),
                            DType::I64 => fold::<i64>(a.kind, to, at, part, at - first, parts),
                            DType::Bool => fold::<u8>(a.kind, to, at, part, at - first, parts),
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// The `n` elements from `origin`, `stride` apart, must be the caller's to write.
unsafe fn fill<T: Copy>(base: *mut T, origin: i64, stride: i64, n: usize, value: T) {
    // SAFETY: as above; wrapping because a base of partials may lie outside of their allocation.
    unsafe {
        let start = base.wrapping_offset(origin as isize);
        if stride == 1 {
            std::slice::from_raw_parts_mut(start, n).fill(value);
        } else {
            for i in 0..n {
                *start.wrapping_offset(i as isize * stride as isize) = value;
            }
        }
    }
}

/// Combines element `from` of each part, in order, and writes element `at`.
///
/// # Safety
/// Those elements must be valid.
unsafe fn fold<T: Element>(
    kind: ReduceKind,
    to: *mut u8,
    at: i64,
    part: impl Fn(usize) -> *const u8,
    from: i64,
    parts: usize,
) {
    // SAFETY: as above.
    unsafe {
        let get = |k: usize| *part(k).cast::<T>().offset(from as isize);
        let value = (1..parts).fold(get(0), |acc, k| acc.combine(kind, get(k)));
        *to.cast::<T>().offset(at as isize) = value;
    }
}

/// The element types of buffers; `u8` is Bool.
trait Element: Copy {
    /// As `Lanes::combine`.
    fn combine(self, kind: ReduceKind, x: Self) -> Self;
}

macro_rules! element {
    ($t:ty, $add:expr, $mul:expr) => {
        impl Element for $t {
            #[allow(clippy::eq_op)] // asks whether a float is NaN
            fn combine(self, kind: ReduceKind, x: Self) -> Self {
                let (add, mul): (fn($t, $t) -> $t, fn($t, $t) -> $t) = ($add, $mul);
                match kind {
                    ReduceKind::Sum => add(self, x),
                    ReduceKind::Prod => mul(self, x),
                    ReduceKind::Max if x > self || x != x => x,
                    ReduceKind::Min if x < self || x != x => x,
                    ReduceKind::Max | ReduceKind::Min => self,
                }
            }
        }
    };
}
element!(f32, |a, b| a + b, |a, b| a * b);
element!(f64, |a, b| a + b, |a, b| a * b);
element!(i64, i64::wrapping_add, i64::wrapping_mul);
element!(u8, |a, b| a | b, |a, b| a & b);
