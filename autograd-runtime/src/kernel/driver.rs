//! Runs compiled kernels: initialises accumulators, runs the jobs the domain is split into on
//! rayon's pool, and combines partial results in the order of the jobs. Invariant: at any time a
//! thread runs at most one job, in its own part of scratch.

use super::jit::{Code, KernelFn};
use super::split::{ALIGN, INNER_CHUNK, Meta};
use super::{ReduceKind, identity, size_of};
use crate::ty::DType;
use std::ops::Range;
use std::sync::Arc;

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
    /// are bytes 0 or 1. Slots may overlap only as [`Kernel`](super::Kernel) allows, and nothing else may touch
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
                    self.call(buffers.as_ptr(), memory, 0..p * r, 0..meta.inner);
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

impl CompiledKernel {
    /// Calls the generated code for a part of the domain, tile by tile.
    ///
    /// # Safety
    /// As [`Self::run`], for the buffers of the table; `scratch` has the bytes of one job.
    unsafe fn call(&self, buffers: *const *mut u8, scratch: *mut u8, rows: Range<usize>, inner: Range<usize>) {
        let mut at = inner.start;
        loop {
            let end = inner.end.min(at.saturating_add(self.meta.tile));
            let (o0, o1) = (rows.start as u64, rows.end as u64);
            // SAFETY: the entry is mapped while `self.code` lives; the rest is the caller's.
            unsafe { (self.entry)(buffers, scratch, o0, o1, at as u64, end as u64) };
            if end >= inner.end {
                return;
            }
            at = end;
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
            self.kernel.call(buffers, scratch, rows, inner);
        }
    }
}

impl Meta {
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
