//! Sets of numbers, as a store of many that share their parts: what a value depends on becomes a number of a set here.
//!
//! A small set is the sorted list of its members and is there once. A larger one is the union of earlier sets, which is
//! written out only when somebody asks for its members: a sum over n elements, made one after another, takes n unions and
//! not n² / 2 members. Every set is made of earlier ones.

use crate::{Error, Result};
use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;
use std::hash::Hasher;

/// A set, by its number.
pub type Set = u32;
/// The set without members.
pub const EMPTY: Set = 0;
/// Members up to which a set is written out, and numbers up to which every set is: then a loop that goes on and on makes no
/// new ones, once all depends on all.
const SMALL: usize = 48;
const FEW: usize = 256;
/// Most members, or parts, of all sets together, and most elements of a matrix: 0.5 GB of them.
pub const LIMIT: usize = 1 << 26;

/// What a pattern that is too large says.
pub fn too_large(what: &str, n: usize) -> Error {
    Error::value("sparse", format!("expected at most {LIMIT} {what}, found {n}: use jvp, vjp or hvp for products"))
}

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
    /// Whether the items are members and not sets.
    small: bool,
}

/// The store.
pub struct Sets {
    spans: Vec<Span>,
    items: Vec<u32>,
    known: FxHashMap<u64, Set>,
    /// Members up to which a set is written out.
    small: usize,
}

impl Sets {
    /// With the set {i} as number i + 1 for each i below `n`.
    ///
    /// # Errors
    /// If these are too many.
    pub fn new(n: usize) -> Result<Sets> {
        if n > LIMIT {
            return Err(too_large("parameters", n));
        }
        let one = |i: u32| Span { start: i, len: 1, small: true };
        let spans = std::iter::once(Span { start: 0, len: 0, small: true }).chain((0..n as u32).map(one)).collect();
        let small = if n <= FEW { n } else { SMALL };
        let mut sets = Sets { spans, items: (0..n as u32).collect(), known: FxHashMap::default(), small };
        for i in 0..n as u32 {
            sets.known.insert(digest(&[i]), i + 1);
        }
        Ok(sets)
    }
    fn items(&self, set: Set) -> &[u32] {
        let s = self.spans[set as usize];
        &self.items[s.start as usize..s.start as usize + s.len as usize]
    }
    /// The union of two sets.
    ///
    /// # Errors
    /// If the store is full.
    pub fn union(&mut self, a: Set, b: Set) -> Result<Set> {
        if a == b || b == EMPTY {
            return Ok(a);
        }
        if a == EMPTY { Ok(b) } else { self.join(&[a, b]) }
    }
    /// The union of many sets.
    ///
    /// # Errors
    /// If the store is full.
    pub fn union_all(&mut self, sets: impl IntoIterator<Item = Set>) -> Result<Set> {
        let mut parts: SmallVec<[Set; 8]> = SmallVec::new();
        for s in sets {
            if s != EMPTY && parts.last() != Some(&s) {
                parts.push(s);
            }
        }
        parts.sort_unstable();
        parts.dedup();
        match parts[..] {
            [] => Ok(EMPTY),
            [one] => Ok(one),
            _ => self.join(&parts),
        }
    }
    /// The union of distinct sets that have members.
    fn join(&mut self, parts: &[Set]) -> Result<Set> {
        let written = |&p: &Set| self.spans[p as usize].small;
        let most = parts.iter().map(|&p| self.items(p).len()).max().unwrap_or(0);
        if most <= self.small && parts.len() <= 2 * self.small && parts.iter().all(written) {
            let mut all: SmallVec<[u32; 2 * SMALL]> = SmallVec::new();
            match *parts {
                [a, b] => merge(self.items(a), self.items(b), &mut all),
                _ => {
                    parts.iter().for_each(|&p| all.extend_from_slice(self.items(p)));
                    all.sort_unstable();
                    all.dedup();
                }
            }
            if all.len() <= self.small {
                return self.intern(&all);
            }
        }
        self.push(parts, false)
    }
    fn intern(&mut self, members: &[u32]) -> Result<Set> {
        let key = digest(members);
        if let Some(&s) = self.known.get(&key)
            && self.items(s) == members
        {
            return Ok(s);
        }
        let new = self.push(members, true)?;
        self.known.insert(key, new);
        Ok(new)
    }
    fn push(&mut self, items: &[u32], small: bool) -> Result<Set> {
        let (start, total) = (self.items.len(), self.items.len() + items.len());
        if total > LIMIT || self.spans.len() > LIMIT {
            return Err(too_large("entries of sets that values depend on", total));
        }
        self.items.extend_from_slice(items);
        self.spans.push(Span { start: start as u32, len: items.len() as u32, small });
        Ok((self.spans.len() - 1) as Set)
    }
}

/// Two ascending lists as one, without duplicates.
fn merge(a: &[u32], b: &[u32], to: &mut SmallVec<[u32; 2 * SMALL]>) {
    let (mut i, mut j) = (0, 0);
    while let (Some(&x), Some(&y)) = (a.get(i), b.get(j)) {
        to.push(x.min(y));
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    to.extend_from_slice(&a[i..]);
    to.extend_from_slice(&b[j..]);
}

fn digest(members: &[u32]) -> u64 {
    let mut h = FxHasher::default();
    members.iter().for_each(|&m| h.write_u32(m));
    h.finish()
}

/// Writes sets out. It keeps what it has seen, each thing marked with the number of the question.
pub struct Reader<'s> {
    sets: &'s Sets,
    seen: Vec<u32>,
    members: Vec<u32>,
    question: u32,
    todo: Vec<Set>,
}

impl<'s> Reader<'s> {
    /// Of a store over `n` numbers.
    pub fn new(sets: &'s Sets, n: usize) -> Reader<'s> {
        Reader { sets, seen: vec![0; sets.spans.len()], members: vec![0; n], question: 0, todo: Vec::new() }
    }
    /// Calls `f` with each member of the union of some sets, once, in no order.
    pub fn members(&mut self, of: impl IntoIterator<Item = Set>, mut f: impl FnMut(u32)) {
        if self.question == u32::MAX {
            self.seen.fill(0);
            self.members.fill(0);
            self.question = 0;
        }
        self.question += 1;
        self.todo.extend(of);
        while let Some(set) = self.todo.pop() {
            if std::mem::replace(&mut self.seen[set as usize], self.question) == self.question {
                continue;
            }
            let items = self.sets.items(set);
            if !self.sets.spans[set as usize].small {
                self.todo.extend_from_slice(items);
                continue;
            }
            for &i in items {
                if std::mem::replace(&mut self.members[i as usize], self.question) != self.question {
                    f(i);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(sets: &Sets, n: usize, set: Set) -> Vec<u32> {
        let mut all = Vec::new();
        Reader::new(sets, n).members([set], |i| all.push(i));
        all.sort_unstable();
        all
    }

    #[test]
    fn unions_are_those_of_plain_sets() {
        for n in [1, 5, 60, 300, 1000] {
            let mut sets = Sets::new(n).unwrap();
            let mut known: Vec<(Set, std::collections::BTreeSet<u32>)> =
                (0..n as u32).map(|i| (i + 1, [i].into())).chain([(EMPTY, Default::default())]).collect();
            let mut seed = 1usize;
            let mut random = |below: usize| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) % below
            };
            for _ in 0..400 {
                let parts: Vec<usize> = (0..random(5)).map(|_| random(known.len())).collect();
                let union = sets.union_all(parts.iter().map(|&p| known[p].0)).unwrap();
                let want = parts.iter().flat_map(|&p| known[p].1.iter().copied()).collect();
                known.push((union, want));
            }
            for (set, want) in &known {
                assert_eq!(members(&sets, n, *set), want.iter().copied().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn what_depends_on_all_of_few_stays_one_set() {
        let mut sets = Sets::new(100).unwrap();
        let mut all = EMPTY;
        for i in 0..100_000 {
            all = sets.union(all, i % 100 + 1).unwrap();
        }
        assert!(sets.spans.len() <= 300);
        assert_eq!(members(&sets, 100, all).len(), 100);
    }
}
