//! The memory in which a loop records what its reverse mode reads: one growable array of records a loop, kept between
//! runs so that a steady-state run allocates nothing.
//!
//! Generated code reads `records` and `capacity` of its [`Arena`] and asks `grow` for more when it is full.

/// One loop's records, as generated code sees them.
#[repr(C)]
#[derive(Default)]
pub struct Arena {
    records: *mut u64,
    /// In records.
    capacity: u64,
    memory: Vec<u64>,
}

// SAFETY: `records` points into `memory`, which moves with it.
unsafe impl Send for Arena {}

/// Bytes of an arena, and where its fields are.
pub(super) const SIZE: i32 = size_of::<Arena>() as i32;
pub(super) const RECORDS: i32 = std::mem::offset_of!(Arena, records) as i32;
pub(super) const CAPACITY: i32 = std::mem::offset_of!(Arena, capacity) as i32;

/// The arenas of one run of a program.
#[derive(Default)]
pub struct Arenas(Vec<Arena>);

/// Memory above this is given back after a run, in words.
const KEPT: usize = 1 << 21;

impl Arenas {
    /// As many as a program has loops that record.
    pub fn new(n: usize) -> Arenas {
        Arenas((0..n).map(|_| Arena::default()).collect())
    }
    /// What generated code is given.
    pub fn as_mut_ptr(&mut self) -> *mut Arena {
        self.0.as_mut_ptr()
    }
    /// Gives back what an unusually long run took.
    pub fn trim(&mut self) {
        self.0.iter_mut().filter(|a| a.memory.capacity() > KEPT).for_each(|a| *a = Arena::default());
    }
}

/// Room for more records than `arena` has, of `stride` (not 0) words each: 1, or 0 if there is no memory.
///
/// # Safety
/// `arena` is one of the run's.
pub(super) unsafe extern "C" fn grow(arena: *mut Arena, stride: u64) -> u32 {
    // SAFETY: generated code passes the address it was given, which nothing else uses meanwhile.
    let arena = unsafe { &mut *arena };
    let (stride, len) = (stride as usize, arena.memory.len());
    let Some(want) = len.checked_mul(2).map(|n| n.max(64 * stride).next_multiple_of(stride)) else { return 0 };
    if arena.memory.try_reserve_exact(want - len).is_err() {
        return 0;
    }
    arena.memory.resize(want, 0);
    arena.records = arena.memory.as_mut_ptr();
    arena.capacity = (want / stride) as u64;
    1
}
