//! Random kernels against the interpreter.

use crate::common::*;
use autograd_runtime::elementary::*;
use autograd_runtime::kernel::*;
use autograd_runtime::ty::DType::{self, *};

struct Gen {
    r: Rng,
    t: T,
    /// Nodes by availability: (id, exact).
    pool: Vec<(Id, bool)>,
}

impl Gen {
    /// Strides of a dense tensor over a random order of the dims, some broadcast or reversed.
    fn layout(&mut self, keep: usize, broadcast: bool, whole: bool) -> (i64, Vec<i64>, i64, usize) {
        let mut dims: Vec<usize> = self.t.k.outer.to_vec();
        dims.push(self.t.k.inner);
        let n = dims.len();
        let mut order: Vec<usize> = (0..n).collect();
        if self.r.below(2) == 0 {
            for i in (1..n).rev() {
                order.swap(i, self.r.below(i + 1));
            }
        }
        let (mut strides, mut offset, mut step) = (vec![0i64; n], 0, 1i64);
        for &d in order.iter().rev() {
            if (d >= keep && d < n - 1) || (d == n - 1 && !whole) || (broadcast && self.r.below(4) == 0) {
                continue;
            }
            strides[d] = step;
            if self.r.below(6) == 0 {
                strides[d] = -step;
                offset += step * (dims[d] as i64 - 1);
            }
            step *= dims[d] as i64;
            if self.r.below(8) == 0 {
                step += 1;
            }
        }
        let inner = strides.pop().unwrap();
        (offset, strides, inner, step as usize + 2)
    }
    fn t(&self, id: Id) -> DType {
        self.t.k.nodes[id as usize].dtype
    }
    fn pick(&mut self, want: impl Fn(DType) -> bool, exact: bool) -> Option<(Id, bool)> {
        let c: Vec<_> = self.pool.iter().copied().filter(|&(id, e)| want(self.t(id)) && (e || !exact)).collect();
        if c.is_empty() {
            None
        } else {
            let i = self.r.below(c.len());
            Some(c[i])
        }
    }
    fn step(&mut self, dts: &[DType]) -> Option<()> {
        use Op::*;
        let float = |d| matches!(d, F32 | F64);
        let made = match self.r.below(20) {
            0..8 => {
                let (a, ea) = self.pick(|d| d != Bool, false)?;
                let dt = self.t(a);
                let (b, eb) = self.pick(|d| d == dt, false)?;
                let (c, ec) = self.pick(|d| d == dt, false)?;
                let ops = [Add, Sub, Mul, Max, Min, Neg, Abs];
                match self.r.below(9) {
                    i @ 0..5 => (self.t.o(ops[i], &[a, b]), ea && eb),
                    i @ 5..7 => (self.t.o(ops[i], &[a]), ea),
                    _ if float(dt) => (self.t.o(Fma, &[a, b, c]), ea && eb && ec),
                    _ => return None,
                }
            }
            8..10 => {
                let (a, _) = self.pick(|d| d != Bool, true)?;
                let dt = self.t(a);
                let (b, _) = self.pick(|d| d == dt, true)?;
                let op = [Lt, Le, Gt, Ge, Eq, Ne][self.r.below(6)];
                (self.t.op(op, Bool, &[a, b]), true)
            }
            10..12 => {
                let (m, _) = self.pick(|d| d == Bool, true)?;
                let (a, ea) = self.pick(|_| true, false)?;
                let dt = self.t(a);
                let (b, eb) = self.pick(|d| d == dt, false)?;
                (self.t.op(Select, dt, &[m, a, b]), ea && eb)
            }
            12 => {
                let (a, _) = self.pick(|_| true, true)?;
                let to = dts[self.r.below(dts.len())];
                (self.t.op(Cast, to, &[a]), true)
            }
            13..16 => {
                let (a, e) = self.pick(float, false)?;
                let u = [Unary::Tanh, Unary::Sin, Unary::Cos, Unary::Atan, Unary::Sigmoid][self.r.below(5)];
                (self.t.un(u, a), e)
            }
            16 => {
                let (a, _) = self.pick(float, true)?;
                let dt = self.t(a);
                let (b, _) = self.pick(|d| d == dt, true)?;
                let f = [Binary::Hypot, Binary::Atan2][self.r.below(2)];
                (self.t.call(Lowering::Binary(f), &[a, b]), true)
            }
            17 => {
                let (a, e) = self.pick(float, false)?;
                (self.t.call(Lowering::Powi(2), &[a]), e)
            }
            18 => {
                let (a, e) = self.pick(float, false)?;
                let k = self.t.reduce([ReduceKind::Max, ReduceKind::Min][self.r.below(2)], Scope::Inner, a);
                (k, e)
            }
            _ => {
                let (a, _) = self.pick(float, false)?;
                let s = self.t.reduce(ReduceKind::Sum, Scope::Inner, a);
                let dt = self.t(a);
                let c = self.t.constant(1.0 / self.t.k.inner as f64, dt);
                (self.t.o(Mul, &[s, c]), false)
            }
        };
        self.pool.push(made);
        Some(())
    }
}

fn random(seed: u64) -> T {
    let mut r = Rng(seed * 7919 + 13);
    (0..3).for_each(|_| {
        r.next();
    });
    let outer: Vec<usize> = (0..r.below(4)).map(|_| 1 + r.below(4)).collect();
    let parallel = r.below(outer.len() + 1);
    let sizes = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 100, 257, 511, 513, 1030];
    let inner = sizes[r.below(sizes.len())];
    let dts: &[DType] = [&[F32, Bool][..], &[F32], &[F64, Bool], &[F64, I64, Bool], &[F32, F64, I64, Bool]][r.below(5)];
    let mut g = Gen { r, t: T::new(&outer, parallel, inner), pool: vec![] };
    for _ in 0..1 + g.r.below(4) {
        let dt = dts[g.r.below(dts.len())];
        let (offset, strides, inner, len) = g.layout(usize::MAX, true, true);
        let data = (0..len).map(|_| if dt == Bool { g.r.below(2) as f64 } else { g.r.unit() }).collect();
        let b = g.t.buffer(dt, data);
        let id = g.t.load(b, offset, &strides, inner);
        g.pool.push((id, true));
    }
    let dt = dts[g.r.below(dts.len())];
    let c = g.t.constant(0.5, dt);
    g.pool.push((c, true));
    if g.r.below(3) == 0 {
        let strides: Vec<i64> = outer.iter().map(|_| g.r.below(3) as i64 - 1).collect();
        let step = g.r.below(3) as i64 - 1;
        let id = g.t.iota(dt, 1, &strides, step);
        g.pool.push((id, true));
    }
    for _ in 0..3 + g.r.below(25) {
        g.step(dts);
    }
    for n in 0..1 + g.r.below(4) {
        let (id, _) = if n == 0 { *g.pool.last().unwrap() } else { g.pick(|_| true, false).unwrap() };
        let dt = g.t(id);
        let kind = [ReduceKind::Max, ReduceKind::Min, ReduceKind::Sum][g.r.below(if dt == Bool { 2 } else { 3 })];
        let choice = g.r.below(6);
        if choice == 0 {
            let (o, s, i, len) = g.layout(parallel, false, true);
            let id = g.t.reduce(kind, Scope::Outer, id);
            g.t.store(id, len, o, &s, i);
        } else if choice == 1 {
            let (o, s, i, len) = g.layout(parallel, false, false);
            let id = g.t.reduce(kind, Scope::All, id);
            g.t.store(id, len, o, &s, i);
        } else {
            let (o, s, i, len) = g.layout(usize::MAX, false, true);
            g.t.store(id, len, o, &s, i);
        }
    }
    g.t
}

#[test]
fn random_kernels() {
    let count = std::env::var("RANDOM_KERNELS").ok().and_then(|v| v.parse().ok()).unwrap_or(600);
    for seed in 1..=count {
        let t = random(seed);
        let want = t.interpret();
        // Values that have grown out of hand say nothing about rounding.
        if want.iter().flatten().any(|x| x.abs() > 1e5) {
            continue;
        }
        let result = std::panic::catch_unwind(|| t.check(2e-3));
        assert!(result.is_ok(), "seed {seed}");
    }
}
