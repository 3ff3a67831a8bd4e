//! The store of compiled programs: shared by all threads, bounded by number and bytes, least recently used out
//! first. Machine code is freed with the last handle, so an evicted program that still runs stays mapped.

use super::{build::Entry, key::Key};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

struct Slot {
    key: Key,
    entry: Arc<Entry>,
    used: AtomicU64,
}

#[derive(Default)]
struct Store {
    slots: FxHashMap<u64, Vec<Slot>>,
    entries: usize,
    bytes: usize,
}

static STORE: LazyLock<RwLock<Store>> = LazyLock::new(RwLock::default);
static CLOCK: AtomicU64 = AtomicU64::new(0);
static MAX_ENTRIES: AtomicUsize = AtomicUsize::new(1024);
static MAX_BYTES: AtomicUsize = AtomicUsize::new(256 << 20);

/// Looks a program up.
pub(crate) fn get(key: &Key) -> Option<Arc<Entry>> {
    let store = STORE.read();
    let slot = store.slots.get(&key.hash())?.iter().find(|s| s.key == *key)?;
    slot.used.store(CLOCK.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    Some(slot.entry.clone())
}

/// Stores a program, unless another thread was faster; returns the one that is stored.
pub(crate) fn put(key: Key, entry: Entry) -> Arc<Entry> {
    let hash = key.hash();
    let mut store = STORE.write();
    if let Some(s) = store.slots.get(&hash).and_then(|v| v.iter().find(|s| s.key == key)) {
        return s.entry.clone();
    }
    let entry = Arc::new(entry);
    store.entries += 1;
    store.bytes += entry.bytes();
    let used = AtomicU64::new(CLOCK.fetch_add(1, Ordering::Relaxed));
    store.slots.entry(hash).or_default().push(Slot { key, entry: entry.clone(), used });
    store.trim();
    entry
}

/// Stores a program in place of the one of its key.
pub(crate) fn replace(key: Key, entry: Entry) -> Arc<Entry> {
    let hash = key.hash();
    {
        let mut store = STORE.write();
        let store = &mut *store;
        if let Some(v) = store.slots.get_mut(&hash)
            && let Some(i) = v.iter().position(|s| s.key == key)
        {
            let old = v.remove(i);
            store.entries -= 1;
            store.bytes -= old.entry.bytes();
        }
    }
    put(key, entry)
}

impl Store {
    /// Evicts the least recently used down to the limits, but never the last one.
    fn trim(&mut self) {
        let (entries, bytes) = (MAX_ENTRIES.load(Ordering::Relaxed), MAX_BYTES.load(Ordering::Relaxed));
        while self.entries > 1 && (self.entries > entries || self.bytes > bytes) {
            let age = |s: &Slot| s.used.load(Ordering::Relaxed);
            let oldest = self.slots.iter().flat_map(|(h, v)| v.iter().map(|s| (age(s), *h))).min();
            let Some((used, hash)) = oldest else { return };
            let Some(v) = self.slots.get_mut(&hash) else { return };
            v.retain(|s| {
                let keep = age(s) != used;
                if !keep {
                    self.entries -= 1;
                    self.bytes -= s.entry.bytes();
                }
                keep
            });
            if v.is_empty() {
                self.slots.remove(&hash);
            }
        }
    }
}

/// What the cache of compiled programs holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStats {
    /// Number of programs.
    pub entries: usize,
    /// Bytes of code and working memory.
    pub bytes: usize,
}

/// The current size of the cache of compiled programs.
pub fn cache_stats() -> CacheStats {
    let s = STORE.read();
    CacheStats { entries: s.entries, bytes: s.bytes }
}

/// Drops all compiled programs; those that run or are kept by a [`Compiled`](super::Compiled) live on.
pub fn clear_cache() {
    super::sparse::clear();
    *STORE.write() = Store::default();
}

/// Bounds the cache of compiled programs, which drops the least recently used.
///
/// ```
/// autograd_runtime::set_cache_limits(64, 16 << 20);
/// assert!(autograd_runtime::cache_stats().entries <= 64);
/// ```
///
/// The bounds: at most `entries` programs and `bytes` bytes (1024 and 256 MiB at the start).
pub fn set_cache_limits(entries: usize, bytes: usize) {
    MAX_ENTRIES.store(entries, Ordering::Relaxed);
    MAX_BYTES.store(bytes, Ordering::Relaxed);
    STORE.write().trim();
}
