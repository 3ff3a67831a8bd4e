//! What is known of integers where code is being written: turns an index and a length into whether they need no comparison.
//! Invariant: what is said to hold does hold wherever the values themselves are defined, or until it is forgotten.
//!
//! A loop says of its counter that it is below the loop's limit, a comparison of an index that it is below the length. The rest is
//! read off the instructions that make the values. With t below a limit T and all numbers unsigned, s + t is below e if T is
//! e − s for s ≤ e, as of a range s..e; and c·d + t is below a length if T is d, c is below k, and k·d is at most that length,
//! as of a matrix of rows of d: k·d is the length itself, or d is the length divided by k.

use super::lanes::Lanes;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{DataFlowGraph, InstructionData, Opcode, Value};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::{SmallVec, smallvec};

/// How deep instructions are read.
const DEPTH: usize = 6;

/// What is known.
#[derive(Default)]
pub(super) struct Facts {
    /// Counters, which are not negative.
    natural: FxHashSet<Value>,
    /// For an integer what it is below, both as unsigned numbers.
    limits: FxHashMap<Value, SmallVec<[Value; 2]>>,
    /// Of which integers limits came to be known, in that order.
    order: Vec<Value>,
}

/// A sum of values and a constant.
#[derive(PartialEq, Eq)]
struct Terms {
    values: SmallVec<[Value; 4]>,
    constant: i64,
}

impl Facts {
    /// Notes that an integer is not negative wherever it is defined.
    pub(super) fn is_natural(&mut self, x: Value) {
        self.natural.insert(x);
    }
    /// Notes that `x` is below `limit`.
    pub(super) fn is_below(&mut self, x: Value, limit: Value) {
        self.limits.entry(x).or_default().push(limit);
        self.order.push(x);
    }
    /// A mark to go back to.
    pub(super) fn mark(&self) -> usize {
        self.order.len()
    }
    /// Forgets the limits that came to be known after a mark.
    pub(super) fn forget(&mut self, mark: usize) {
        for x in self.order.drain(mark..) {
            self.limits.get_mut(&x).map(SmallVec::pop);
        }
    }
    /// Notes what a condition that holds says.
    pub(super) fn holds(&mut self, l: &Lanes<'_, '_>, cond: Value) {
        let dfg = &l.b.func.dfg;
        match made(dfg, cond) {
            Some(InstructionData::Binary { opcode: Opcode::Band, args }) => {
                args.into_iter().for_each(|a| self.holds(l, a));
            }
            _ => {
                if let Some([a, b]) = unsigned_less(dfg, cond) {
                    self.is_below(a, b);
                } else if let Some([a, b]) = less(dfg, cond)
                    && self.natural(l, a)
                {
                    self.is_below(a, b);
                }
            }
        }
    }
    /// Whether a condition that holds says that a number is below another one, both with their signs.
    pub(super) fn bounded(&self, l: &Lanes<'_, '_>, cond: Value, x: Value) -> bool {
        let dfg = &l.b.func.dfg;
        match made(dfg, cond) {
            Some(InstructionData::Binary { opcode: Opcode::Band, args }) => {
                args.into_iter().any(|a| self.bounded(l, a, x))
            }
            _ => less(dfg, cond).is_some_and(|[a, _]| a == x),
        }
    }
    /// Whether an integer is known not to be negative.
    pub(super) fn natural(&self, l: &Lanes<'_, '_>, x: Value) -> bool {
        self.natural_in(&l.b.func.dfg, x, DEPTH)
    }
    fn natural_in(&self, dfg: &DataFlowGraph, x: Value, depth: usize) -> bool {
        if self.natural.contains(&x) {
            return true;
        }
        let Some(depth) = depth.checked_sub(1) else { return false };
        let natural = |x: Value| self.natural_in(dfg, x, depth);
        if self.limits(x).any(natural) {
            return true;
        }
        match made(dfg, x) {
            Some(InstructionData::UnaryImm { opcode: Opcode::Iconst, imm }) => imm.bits() >= 0,
            // a quotient of unsigned numbers is no larger than what is divided
            Some(InstructionData::Binary { opcode: Opcode::Udiv, args }) => natural(args[0]),
            Some(InstructionData::Binary { opcode: Opcode::Smax, args }) => args.into_iter().any(natural),
            // one above what is below some number
            Some(InstructionData::Binary { opcode: Opcode::Iadd, args: [a, b] }) => {
                constant(dfg, b) == Some(1) && self.limits(a).any(natural)
            }
            Some(InstructionData::Ternary { opcode: Opcode::Select, args: [_, a, b] }) => natural(a) && natural(b),
            _ => false,
        }
    }
    fn limits(&self, x: Value) -> impl Iterator<Item = Value> {
        self.limits.get(&x).into_iter().flatten().copied()
    }
    /// A value as a sum of what has limits or is no sum.
    fn terms(&self, dfg: &DataFlowGraph, x: Value) -> Terms {
        let mut terms = Terms::none();
        self.add_terms(dfg, x, &mut terms, DEPTH);
        terms.values.sort_unstable();
        terms
    }
    fn add_terms(&self, dfg: &DataFlowGraph, x: Value, terms: &mut Terms, depth: usize) {
        match made(dfg, x) {
            Some(InstructionData::Binary { opcode: Opcode::Iadd, args })
                if depth > 0 && self.limits(x).next().is_none() =>
            {
                args.into_iter().for_each(|a| self.add_terms(dfg, a, terms, depth - 1));
            }
            _ => match constant(dfg, x) {
                Some(c) => terms.constant = terms.constant.wrapping_add(c),
                None => terms.values.push(x),
            },
        }
    }
    /// Whether an index is known to be below a length.
    pub(super) fn below(&self, l: &Lanes<'_, '_>, index: Value, len: Value) -> bool {
        let dfg = &l.b.func.dfg;
        if self.limits(index).any(|limit| self.fits(dfg, &Terms::none(), limit, len)) {
            return true;
        }
        let terms = self.terms(dfg, index);
        (0..terms.values.len()).any(|k| {
            let (t, rest) = terms.without(k);
            self.limits(t).any(|limit| self.fits(dfg, &rest, limit, len))
        })
    }
    /// Whether `first` + t is known to be below a length for every t below `limit`.
    pub(super) fn all_below(&self, l: &Lanes<'_, '_>, first: Value, limit: Value, len: Value) -> bool {
        let dfg = &l.b.func.dfg;
        self.fits(dfg, &self.terms(dfg, first), limit, len)
    }
    /// Whether what t < `limit` is added to stays below a length.
    fn fits(&self, dfg: &DataFlowGraph, rest: &Terms, limit: Value, len: Value) -> bool {
        self.ranges(dfg, limit, DEPTH).into_iter().any(|(end, start)| match start {
            Some(start) => same(dfg, end, len) && *rest == self.terms(dfg, start),
            None if rest.values.is_empty() && rest.constant == 0 => same(dfg, end, len),
            None => match *rest.values {
                [row] if rest.constant == 0 => self.row(dfg, row, end, len),
                _ => false,
            },
        })
    }
    /// Whether `row` is c·d, and c and d are of a matrix that has no more elements than a length.
    fn row(&self, dfg: &DataFlowGraph, row: Value, d: Value, len: Value) -> bool {
        let Some(InstructionData::Binary { opcode: Opcode::Imul, args: [a, b] }) = made(dfg, row) else { return false };
        [[a, b], [b, a]].into_iter().any(|[c, x]| {
            let rows = |limit| self.ranges(dfg, limit, DEPTH).into_iter().filter(|r| r.1.is_none()).map(|r| r.0);
            same(dfg, x, d) && self.limits(c).flat_map(rows).any(|k| self.holds_matrix(dfg, k, d, len))
        })
    }
    /// Whether k·d, not wrapped, is at most a length.
    fn holds_matrix(&self, dfg: &DataFlowGraph, k: Value, d: Value, len: Value) -> bool {
        // one of them is some number divided by the other one, so that the product is at most that number
        let mut wholes = [[k, d], [d, k]].into_iter().filter_map(|[a, b]| match made(dfg, a) {
            Some(InstructionData::Binary { opcode: Opcode::Udiv, args: [whole, by] }) if same(dfg, by, b) => {
                Some(whole)
            }
            _ => None,
        });
        let product = match made(dfg, len) {
            Some(InstructionData::Binary { opcode: Opcode::Imul, args: [a, b] }) => {
                [[a, b], [b, a]].into_iter().any(|[a, b]| same(dfg, a, k) && same(dfg, b, d))
            }
            _ => false,
        };
        wholes.any(|whole| product || same(dfg, whole, len))
    }
    /// What t < `limit` says: t < end, or of a start that is at most the end, start + t < end.
    fn ranges(&self, dfg: &DataFlowGraph, limit: Value, depth: usize) -> SmallVec<[(Value, Option<Value>); 4]> {
        let mut all = smallvec![(limit, None)];
        let Some(depth) = depth.checked_sub(1) else { return all };
        match made(dfg, limit) {
            Some(InstructionData::Ternary { opcode: Opcode::Select, args: [cond, a, b] }) => {
                let less = less(dfg, cond);
                match (constant(dfg, a), constant(dfg, b)) {
                    // nothing is below 0; and a number that is negative is above all that are not
                    (_, Some(0)) => match (less, difference(dfg, a)) {
                        (Some([from, to]), Some([end, start]))
                            if [from, to] == [start, end] && self.natural_in(dfg, start, depth) =>
                        {
                            all.push((end, Some(start)));
                        }
                        _ => all.extend(self.ranges(dfg, a, depth)),
                    },
                    (Some(i64::MAX), _) if less.is_some_and(|[x, zero]| x == b && constant(dfg, zero) == Some(0)) => {
                        all.extend(self.ranges(dfg, b, depth));
                    }
                    _ => {}
                }
            }
            Some(InstructionData::Binary { opcode: Opcode::Smax, args: [a, b] }) if constant(dfg, b) == Some(0) => {
                all.extend(self.ranges(dfg, a, depth));
            }
            // the larger one of two numbers without the smaller one
            Some(InstructionData::Binary { opcode: Opcode::Isub, args: [larger, start] }) => {
                if let Some(InstructionData::Ternary { opcode: Opcode::Select, args: [cond, end, other] }) =
                    made(dfg, larger)
                    && other == start
                    && unsigned_less(dfg, cond) == Some([start, end])
                {
                    all.push((end, Some(start)));
                }
            }
            _ => {}
        }
        all
    }
}

impl Terms {
    fn none() -> Terms {
        Terms { values: SmallVec::new(), constant: 0 }
    }
    /// One of the values, and the rest.
    fn without(&self, k: usize) -> (Value, Terms) {
        let mut values = self.values.clone();
        (values.remove(k), Terms { values, constant: self.constant })
    }
}

/// Whether `next` is one more than `x`.
pub(super) fn follows(l: &Lanes<'_, '_>, x: Value, next: Value) -> bool {
    let dfg = &l.b.func.dfg;
    match made(dfg, next) {
        Some(InstructionData::Binary { opcode: Opcode::Iadd, args: [a, b] }) => {
            [[a, b], [b, a]].into_iter().any(|[a, b]| a == x && constant(dfg, b) == Some(1))
        }
        _ => false,
    }
}

/// The instruction that makes a value, if one does.
fn made(dfg: &DataFlowGraph, x: Value) -> Option<InstructionData> {
    dfg.value_def(x).inst().map(|i| dfg.insts[i])
}
/// The value of a constant.
pub(super) fn constant(dfg: &DataFlowGraph, x: Value) -> Option<i64> {
    match made(dfg, x) {
        Some(InstructionData::UnaryImm { opcode: Opcode::Iconst, imm }) => Some(imm.bits()),
        _ => None,
    }
}
/// Whether a float is written as nought.
pub(super) fn is_nought(dfg: &DataFlowGraph, x: Value) -> bool {
    match made(dfg, x) {
        Some(InstructionData::UnaryIeee32 { imm, .. }) => imm.bits() == 0,
        Some(InstructionData::UnaryIeee64 { imm, .. }) => imm.bits() == 0,
        _ => false,
    }
}
/// The two sides of a − b.
fn difference(dfg: &DataFlowGraph, x: Value) -> Option<[Value; 2]> {
    match made(dfg, x) {
        Some(InstructionData::Binary { opcode: Opcode::Isub, args }) => Some(args),
        _ => None,
    }
}
/// The two sides of a < b.
fn less(dfg: &DataFlowGraph, x: Value) -> Option<[Value; 2]> {
    match made(dfg, x) {
        Some(InstructionData::IntCompare { cond: IntCC::SignedLessThan, args, .. }) => Some(args),
        _ => None,
    }
}
/// The two sides of a < b as unsigned numbers, which are compared with their signs flipped.
fn unsigned_less(dfg: &DataFlowGraph, x: Value) -> Option<[Value; 2]> {
    let flipped = |x: Value| match made(dfg, x) {
        Some(InstructionData::Binary { opcode: Opcode::Bxor, args: [a, b] }) => {
            let sign = [a, b].map(|x| constant(dfg, x) == Some(i64::MIN));
            (sign == [false, true]).then_some(a).or_else(|| (sign == [true, false]).then_some(b))
        }
        _ => None,
    };
    let [a, b] = less(dfg, x)?;
    Some([flipped(a)?, flipped(b)?])
}
/// Whether two values are the same, as values or as products of the same.
fn same(dfg: &DataFlowGraph, a: Value, b: Value) -> bool {
    a == b
        || match (made(dfg, a), made(dfg, b)) {
            (
                Some(InstructionData::Binary { opcode: Opcode::Imul, args: x }),
                Some(InstructionData::Binary { opcode: Opcode::Imul, args: y }),
            ) => x == y || x[0] == y[1] && x[1] == y[0],
            _ => false,
        }
}
