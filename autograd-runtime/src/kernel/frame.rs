//! The memory that a scalar program works in: one growable array of records for each loop that its reverse mode runs
//! back over, a heap for the lists that it makes, scratch for blocks of vector code, and a note of what went wrong. It is kept between runs, so that a
//! steady-state run allocates nothing.
//!
//! Generated code reads and writes the fields of [`Frame`] and [`Arena`] by their offsets, and calls the functions here when it
//! needs more memory.

use crate::op::list::Sorting;
use std::{
    cell::Cell,
    mem::{MaybeUninit, offset_of},
};

/// One loop's records, as generated code sees them.
#[repr(C)]
#[derive(Default)]
pub struct Arena {
    records: *mut u64,
    /// In bytes: programs with records of other sizes use it too.
    capacity: u64,
    /// Of the records so far, in bytes.
    len: u64,
    memory: Words,
}

/// Memory that is written before it is read.
type Words = Vec<MaybeUninit<u64>>;

/// Makes it so many words long, what is in it included; whether there is memory. New pages are not touched: the system need not
/// give one that nobody writes to.
fn extend(memory: &mut Words, words: usize) -> bool {
    let before = memory.len();
    let fits = memory.try_reserve_exact(words.saturating_sub(before)).is_ok();
    if fits && words > before {
        // SAFETY: there is room for as many, and they may hold anything.
        unsafe { memory.set_len(words) };
        if before <= KEPT && KEPT < words {
            memory[KEPT] = MaybeUninit::new(UNTOUCHED);
        }
        large_pages(memory);
    }
    fits
}

/// Asks for large pages, where there is much memory: fewer of them have to be asked for and looked up.
#[cfg(target_os = "linux")]
fn large_pages(words: &mut [MaybeUninit<u64>]) {
    const LARGE: usize = 1 << 20;
    const PAGE: usize = 1 << 12;
    if words.len() >= LARGE {
        // with the pages that it begins and ends in: of one mapping that becomes several the system does not move the pages
        // when it grows, but copies what is in them
        let start = words.as_mut_ptr().cast::<libc::c_void>();
        let before = start.addr() % PAGE;
        // SAFETY: such advice changes nothing that is in memory.
        unsafe { libc::madvise(start.wrapping_byte_sub(before), 8 * words.len() + before, libc::MADV_HUGEPAGE) };
    }
}
#[cfg(not(target_os = "linux"))]
fn large_pages(_: &mut [MaybeUninit<u64>]) {}

/// What stands in the word [`KEPT`] of memory that has more, until a run writes to it.
const UNTOUCHED: u64 = 0x7ff4_a1b2_c3d4_e5f6;

/// After a run: memory above [`KEPT`] that it took is lent to the system, which takes its pages when it needs them and not
/// before, so that the next run, which will take as much, does not have to ask for them; what it did not take is given back.
fn settle(memory: &mut Words) {
    let Some(&word) = memory.get(KEPT) else { return };
    // SAFETY: it was written when the memory became so long, or after the last run.
    let touched = unsafe { word.assume_init() } != UNTOUCHED;
    if touched && lend(&mut memory[KEPT..]) {
        memory[KEPT] = MaybeUninit::new(UNTOUCHED);
    } else {
        *memory = Vec::new();
    }
}

/// Lends pages to the system; whether it takes them. What is in them is lost.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn lend(words: &mut [MaybeUninit<u64>]) -> bool {
    // a multiple of all pages' sizes
    const PAGE: usize = 1 << 16;
    let start = words.as_mut_ptr().cast::<u8>();
    let before = start.align_offset(PAGE);
    let bytes = (8 * words.len()).saturating_sub(before) / PAGE * PAGE;
    // SAFETY: these are whole pages of memory that is ours alone, and nothing in them is read again.
    bytes == 0 || unsafe { libc::madvise(start.add(before).cast(), bytes, libc::MADV_FREE) } == 0
}
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn lend(_: &mut [MaybeUninit<u64>]) -> bool {
    false
}

/// What generated code works in.
#[repr(C)]
#[derive(Default)]
pub struct Frame {
    arenas: *mut Arena,
    /// Kind, place, and two numbers.
    fault: [i64; 4],
    scratch: *mut Line,
    /// Functions may not be called with less of the stack left: its address.
    stack: usize,
    all: Vec<Arena>,
    heap: Heap,
    lines: Vec<Line>,
}

/// A cache line of scratch, for its alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes of an arena, and where the fields are.
pub(super) const ARENA_SIZE: i32 = size_of::<Arena>() as i32;
pub(super) const RECORDS: i32 = offset_of!(Arena, records) as i32;
pub(super) const CAPACITY: i32 = offset_of!(Arena, capacity) as i32;
pub(super) const LEN: i32 = offset_of!(Arena, len) as i32;
pub(super) const ARENAS: i32 = offset_of!(Frame, arenas) as i32;
pub(super) const FAULT: i32 = offset_of!(Frame, fault) as i32;
pub(super) const STACK: i32 = offset_of!(Frame, stack) as i32;
pub(super) const SCRATCH: i32 = offset_of!(Frame, scratch) as i32;

/// What a program found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no memory for records or lists.
    Memory,
    /// An index and the length it is not below, and the number of the place.
    Index {
        /// The number of the place.
        place: i64,
        /// The index.
        index: i64,
        /// The length.
        len: i64,
    },
    /// A bound of a range and what it is above, and the number of the place.
    Range {
        /// The number of the place.
        place: i64,
        /// The bound.
        bound: i64,
        /// The limit.
        limit: i64,
    },
    /// A loop that goes on after so many trips, and the number of the place.
    Trips {
        /// The number of the place.
        place: i64,
        /// The largest number of trips.
        limit: i64,
    },
    /// A list of another length than the one whose place it takes.
    Length {
        /// Its length.
        found: i64,
        /// That of the other one.
        expected: i64,
    },
    /// Functions that call one another until the stack ends.
    Depth,
    /// An assertion that does not hold, and the number of the place.
    Broken {
        /// The number of the place.
        place: i64,
    },
    /// A division by zero, and the number of the place.
    Zero {
        /// The number of the place.
        place: i64,
    },
}

/// The kinds of faults in generated code.
pub(super) const INDEX: i64 = 0;
pub(super) const ZERO: i64 = 1;
pub(super) const TRIPS: i64 = 2;
pub(super) const LENGTH: i64 = 3;
pub(super) const RANGE: i64 = 4;
pub(super) const DEPTH: i64 = 5;

/// The least status of an assertion that does not hold: programs without a frame have those too.
const BROKEN: u32 = 16;
/// The status of an assertion that does not hold, at the place with this number.
pub(super) fn broken(place: i64) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX).saturating_add(BROKEN)
}

impl Fault {
    /// What the status of a program without a frame says.
    pub fn of(status: u32) -> Fault {
        match status.checked_sub(BROKEN) {
            Some(place) => Fault::Broken { place: place.into() },
            None => Fault::Memory,
        }
    }
}

/// Bytes of the stack that functions leave to what they call. A function looks at where the stack is once it has taken its
/// own part of it, which for a program of the largest size is less than this.
const MARGIN: usize = 1 << 17;
/// And what they take where nobody knows how much there is.
const LITTLE: usize = 1 << 18;

/// The address below which functions do not go: the stack grows down.
fn stack_limit() -> usize {
    let mark = 0u8;
    let here = std::ptr::from_ref(&mark).addr();
    let left = stacker::remaining_stack().map_or(LITTLE, |n| n.saturating_sub(MARGIN));
    here.saturating_sub(left)
}

/// Memory above this is lent or given back after a run, in words.
const KEPT: usize = 1 << 23;

thread_local! {
    /// Every run of a thread works in the same memory, one after the other.
    static FRAME: Cell<Option<Box<Frame>>> = const { Cell::new(None) };
}

impl Frame {
    /// Runs `f` with memory for a program with so many loops that record, that needs so many bytes of scratch, and that
    /// may call functions.
    #[inline]
    pub fn with<R>(arenas: usize, scratch: usize, calls: bool, f: impl FnOnce(&mut Frame) -> R) -> R {
        // one that is in use is not here: a run inside a run gets its own
        let mut frame = FRAME.take().unwrap_or_default();
        if frame.all.len() < arenas {
            frame.all.resize_with(arenas, Arena::default);
        }
        frame.heap.release(0);
        frame.all[..arenas].iter_mut().for_each(|a| a.len = 0);
        frame.arenas = frame.all.as_mut_ptr();
        if frame.lines.len() < scratch.div_ceil(64) {
            frame.lines.resize(scratch.div_ceil(64), Line([0; 64]));
        }
        frame.scratch = frame.lines.as_mut_ptr();
        if calls {
            frame.stack = stack_limit();
        }
        let out = f(&mut frame);
        frame.trim(arenas);
        FRAME.set(Some(frame));
        out
    }
    /// What a run that has failed found: by its status.
    pub fn fault(&self, status: u32) -> Fault {
        let [kind, place, index, len] = self.fault;
        match (status, kind) {
            (BROKEN.., _) => Fault::of(status),
            (1, _) => Fault::Memory,
            (_, ZERO) => Fault::Zero { place },
            (_, LENGTH) => Fault::Length { found: index, expected: len },
            (_, RANGE) => Fault::Range { place, bound: index, limit: len },
            (_, DEPTH) => Fault::Depth,
            (_, TRIPS) => Fault::Trips { place, limit: len },
            _ => Fault::Index { place, index, len },
        }
    }
    /// Gives back what an unusually long run took.
    #[inline]
    fn trim(&mut self, arenas: usize) {
        // a run that records nothing may stand between two that do
        let all = if arenas > 0 { &mut self.all[..] } else { &mut [] };
        for arena in all.iter_mut().filter(|a| a.memory.len() > KEPT) {
            settle(&mut arena.memory);
            if arena.memory.is_empty() {
                *arena = Arena::default();
            }
        }
        self.heap.trim();
    }
}

/// Bytes that this thread keeps for records and lists.
#[cfg(test)]
pub(crate) fn held() -> usize {
    let frame = FRAME.take().unwrap_or_default();
    let (arenas, blocks) = (frame.all.iter().map(|a| a.memory.capacity()), frame.heap.blocks.iter().map(Vec::capacity));
    let words: usize = arenas.chain(blocks).sum();
    FRAME.set(Some(frame));
    8 * words
}

/// Room for `bytes` of records; if there is no memory, it stays as it is.
///
/// # Safety
/// `arena` is one of the run's.
pub(super) unsafe extern "C" fn grow(arena: *mut Arena, bytes: u64) {
    // SAFETY: generated code passes the address it was given, which nothing else uses meanwhile.
    let arena = unsafe { &mut *arena };
    let want = arena.memory.len().saturating_mul(2).max(FIRST).max(bytes.div_ceil(8) as usize);
    if !extend(&mut arena.memory, want) {
        return;
    }
    arena.records = arena.memory.as_mut_ptr().cast();
    arena.capacity = 8 * want as u64;
}

/// Words of an arena at first.
const FIRST: usize = 256;

/// A stack of lists: what is made in a trip of a loop goes when the trip ends. Blocks do not move.
#[derive(Default)]
struct Heap {
    blocks: Vec<Words>,
    /// The block that is in use, and the words taken of it.
    block: usize,
    top: usize,
}

/// Words of the first block.
const BLOCK: usize = 1 << 13;
/// Bits of a mark for the words taken.
const TOP_BITS: u32 = 40;

impl Heap {
    fn take(&mut self, words: usize) -> Option<*mut u64> {
        loop {
            if self.blocks.get(self.block).is_some_and(|b| b.len() - self.top >= words) {
                let at = &mut self.blocks[self.block][self.top..];
                self.top += words;
                return Some(at.as_mut_ptr().cast());
            }
            let next = if self.blocks.is_empty() { 0 } else { self.block + 1 };
            // a later block that is too small makes room for one that is not
            if self.blocks.get(next).is_some_and(|b| b.len() < words) {
                self.blocks.truncate(next);
            }
            if next == self.blocks.len() {
                let size = self.blocks.last().map_or(BLOCK, |b| b.len().saturating_mul(2)).max(words);
                let mut block = Vec::new();
                if !extend(&mut block, size) {
                    return None;
                }
                self.blocks.push(block);
            }
            (self.block, self.top) = (next, 0);
        }
    }
    fn mark(&self) -> u64 {
        (self.block as u64) << TOP_BITS | self.top as u64
    }
    fn release(&mut self, mark: u64) {
        self.block = (mark >> TOP_BITS) as usize;
        self.top = (mark & ((1 << TOP_BITS) - 1)) as usize;
    }
    fn trim(&mut self) {
        // blocks get larger: the last one tells
        if self.blocks.last().is_some_and(|b| b.len() > KEPT) {
            self.blocks.iter_mut().for_each(settle);
            self.blocks.retain(|b| !b.is_empty());
        }
    }
}

/// Longest list, in elements.
const LONGEST: u64 = 1 << 40;

/// Memory for `n` elements of `size` bytes; null if there is none, or `n` is no length.
///
/// # Safety
/// `frame` is that of the run.
pub(super) unsafe extern "C" fn take(frame: *mut Frame, n: u64, size: u64) -> *mut u64 {
    // SAFETY: generated code passes the address it was given, which nothing else uses meanwhile.
    let frame = unsafe { &mut *frame };
    if n >= LONGEST {
        return std::ptr::null_mut();
    }
    frame.heap.take((n * size).div_ceil(8) as usize).unwrap_or(std::ptr::null_mut())
}
/// Where the heap stands.
///
/// # Safety
/// As [`take`].
pub(super) unsafe extern "C" fn mark(frame: *mut Frame) -> u64 {
    // SAFETY: as in `take`.
    unsafe { &*frame }.heap.mark()
}
/// Gives back what was taken since a mark.
///
/// # Safety
/// As [`take`]; what is given back is not used any more.
pub(super) unsafe extern "C" fn release(frame: *mut Frame, mark: u64) {
    // SAFETY: as in `take`.
    unsafe { &mut *frame }.heap.release(mark);
}

/// Writes `n` elements of `size` bytes, all with these bits.
///
/// # Safety
/// They are the program's own.
pub(super) unsafe extern "C" fn fill(to: *mut u8, n: u64, size: u64, bits: u64) {
    let n = n as usize;
    // SAFETY: generated code passes memory for as many elements, aligned for them.
    unsafe {
        match size {
            _ if bits == 0 => std::ptr::write_bytes(to, 0, n * size as usize),
            8 => std::slice::from_raw_parts_mut(to.cast::<u64>(), n).fill(bits),
            4 => std::slice::from_raw_parts_mut(to.cast::<u32>(), n).fill(bits as u32),
            _ => std::slice::from_raw_parts_mut(to, n).fill(bits as u8),
        }
    }
}
/// Copies `n` elements of `size` bytes.
///
/// # Safety
/// Both have as many.
pub(super) unsafe extern "C" fn copy(to: *mut u8, from: *const u8, n: u64, size: u64) {
    // SAFETY: generated code passes lists of the same length; they may be one list.
    unsafe { std::ptr::copy(from, to, (n * size) as usize) }
}
/// How [`order`] sorts floats, those of 64 bits if they are `wide`.
pub(super) fn how(sorting: Sorting, wide: bool) -> u64 {
    u64::from(sorting.descending) | u64::from(sorting.total) << 1 | u64::from(wide) << 2
}
/// Writes the numbers of `n` floats in order; 0 if there is none.
///
/// # Safety
/// There are as many, and room for as many numbers.
pub(super) unsafe extern "C" fn order(to: *mut i64, from: *const u8, n: u64, how: u64) -> u64 {
    let (n, sorting) = (n as usize, Sorting { descending: how & 1 != 0, total: how & 2 != 0 });
    // SAFETY: generated code passes a list of these floats and another one of its own, of the same length.
    let sorted = unsafe {
        let to = std::slice::from_raw_parts_mut(to, n);
        match how & 4 {
            0 => sorting.sort(std::slice::from_raw_parts(from.cast::<f32>(), n), to),
            _ => sorting.sort(std::slice::from_raw_parts(from.cast::<f64>(), n), to),
        }
    };
    sorted.into()
}
/// Adds `n` floats of `size` bytes to others.
///
/// # Safety
/// Both have as many, and are not one list.
pub(super) unsafe extern "C" fn add(to: *mut u8, term: *const u8, n: u64, size: u64) {
    let n = n as usize;
    // SAFETY: generated code passes a list of its own and another of the same length.
    unsafe {
        if size == 8 {
            let (to, term) = (
                std::slice::from_raw_parts_mut(to.cast::<f64>(), n),
                std::slice::from_raw_parts(term.cast::<f64>(), n),
            );
            to.iter_mut().zip(term).for_each(|(t, x)| *t += x);
        } else {
            let (to, term) = (
                std::slice::from_raw_parts_mut(to.cast::<f32>(), n),
                std::slice::from_raw_parts(term.cast::<f32>(), n),
            );
            to.iter_mut().zip(term).for_each(|(t, x)| *t += x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What generated code does that records so many words: each is written, then read.
    fn record(frame: &mut Frame, words: usize) {
        let arena = &mut frame.all[0];
        if arena.capacity < 8 * words as u64 {
            // SAFETY: it is this run's.
            unsafe { grow(arena, 8 * words as u64) };
        }
        assert_eq!(arena.records, arena.memory.as_mut_ptr().cast());
        assert!(arena.capacity >= 8 * words as u64);
        for (k, word) in arena.memory[..words].iter_mut().enumerate().step_by(512) {
            word.write(k as u64);
        }
        // SAFETY: these have just been written.
        let same = |(k, word): (usize, &MaybeUninit<u64>)| unsafe { word.assume_init() } == k as u64;
        assert!(arena.memory[..words].iter().enumerate().step_by(512).all(same));
    }
    fn run(words: usize, list: u64) {
        Frame::with(1, 0, false, |frame| {
            record(frame, words);
            // SAFETY: it is that of the run.
            let at = unsafe { take(frame, list, 8) };
            assert!(!at.is_null());
            // SAFETY: there is room for so many words.
            unsafe { std::slice::from_raw_parts_mut(at, list as usize) }.fill(1);
        });
    }

    #[test]
    fn memory_that_is_not_used_is_given_back() {
        let held = std::thread::spawn(|| {
            let large = KEPT + (1 << 16);
            let held_after = |words, list| {
                run(words, list);
                held()
            };
            [
                held_after(100, 10),
                held_after(large, 10),
                held_after(large, 10),
                held_after(large, 10),
                held_after(1000, large as u64),
                held_after(1000, large as u64),
                held_after(1000, 10),
            ]
        });
        let [small, first, second, third, list, again, last] = held.join().unwrap();
        assert!(small < 1 << 20, "{small}");
        // what runs use again and again stays, whether the system takes its pages or not
        let lends = cfg!(any(target_os = "linux", target_vendor = "apple"));
        for held in [first, second, third, list, again] {
            assert_eq!(held > 8 * KEPT, lends, "{held}");
        }
        assert!(last <= 8 * KEPT, "{last}");
    }
}
