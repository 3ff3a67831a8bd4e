//! Hand-written kernels against the interpreter.

use crate::common::*;
use autograd_runtime::elementary::*;
use autograd_runtime::kernel::*;
use autograd_runtime::ty::DType::{self, *};

#[test]
fn map_with_broadcast_and_transpose() {
    for n in [1, 3, 4, 5, 16, 17, 37, 64, 700] {
        let mut r = Rng(n as u64 + 1);
        let m = 5;
        let mut t = T::new(&[m], 1, n);
        let (x, row, col, tr) = (r.vec(m * n), r.vec(n), r.vec(m), r.vec(m * n));
        let (x, row, col, tr) = (t.buffer(F32, x), t.buffer(F32, row), t.buffer(F32, col), t.buffer(F32, tr));
        let x = t.load(x, 0, &[n as i64], 1);
        let row = t.load(row, n as i64 - 1, &[0], -1);
        let col = t.load(col, m as i64 - 1, &[-1], 0);
        let tr = t.load(tr, 0, &[1], m as i64);
        let a = t.o(Op::Fma, &[x, row, col]);
        let b = t.o(Op::Mul, &[a, tr]);
        t.store(b, m * n, 0, &[n as i64], 1);
        let c = t.o(Op::Copysign, &[a, tr]);
        t.store(c, m * n, 0, &[1], m as i64);
        t.store(col, m, 0, &[1], 0);
        t.store(col, m * n, 0, &[n as i64], 1);
        t.check(0.0);
    }
}

#[test]
fn transposed_operands_are_tiled() {
    for (m, n) in [(8, 64), (20, 100), (9, 700), (600, 1000)] {
        let mut r = Rng(n as u64 + 1);
        let mut t = T::new(&[2, m], 1, n);
        let (x, y) = (r.vec(2 * m * n), r.vec(2 * m * n));
        let (x, y) = (t.buffer(F32, x), t.buffer(F32, y));
        let whole = (m * n) as i64;
        let x = t.load(x, 0, &[whole, 1], m as i64);
        let y = t.load(y, 0, &[whole, n as i64], 1);
        let e = t.un(Unary::Tanh, x);
        let v = t.o(Op::Fma, &[e, y, x]);
        let w = t.un(Unary::Sin, v);
        t.store(w, 2 * m * n, 0, &[whole, n as i64], 1);
        t.store(v, 2 * m * n, whole, &[-whole, 1], m as i64);
        let s = t.reduce(ReduceKind::Max, Scope::Outer, w);
        t.store(s, 2 * n, 0, &[n as i64, 0], 1);
        t.check(0.0);
    }
}

fn softmax(m: usize, n: usize, dt: DType) -> T {
    let mut r = Rng(n as u64 + 7);
    let mut t = T::new(&[m], 1, n);
    let x = r.vec(m * n);
    let x = t.buffer(dt, x);
    let x = t.load(x, 0, &[n as i64], 1);
    let top = t.reduce(ReduceKind::Max, Scope::Inner, x);
    let d = t.o(Op::Sub, &[x, top]);
    let e = t.un(Unary::Exp, d);
    let s = t.reduce(ReduceKind::Sum, Scope::Inner, e);
    let y = t.o(Op::Div, &[e, s]);
    t.store(y, m * n, 0, &[n as i64], 1);
    let log = t.un(Unary::Ln, s);
    let lse = t.o(Op::Add, &[log, top]);
    t.store(lse, m, 0, &[1], 0);
    t
}

#[test]
fn softmax_rows() {
    for n in (1..70).chain([511, 512, 513, 1025]) {
        softmax(3, n, F32).check(1e-5);
        softmax(2, n, F64).check(1e-13);
    }
    let mut t = softmax(3, 1, F32);
    t.k.inner = 0;
    t.check(0.0);
}

#[test]
fn layer_norm() {
    for n in [1, 2, 5, 33, 768, 3000] {
        let mut r = Rng(n as u64);
        let mut t = T::new(&[2, 3], 1, n);
        let (x, g) = (r.vec(6 * n), r.vec(n));
        let (x, g) = (t.buffer(F32, x), t.buffer(F32, g));
        let x = t.load(x, 0, &[3 * n as i64, n as i64], 1);
        let g = t.load(g, 0, &[0, 0], 1);
        let c = t.constant(1.0 / n as f64, F32);
        let eps = t.constant(1e-3, F32);
        let s = t.reduce(ReduceKind::Sum, Scope::Inner, x);
        let mean = t.o(Op::Mul, &[s, c]);
        let d = t.o(Op::Sub, &[x, mean]);
        let d2 = t.o(Op::Mul, &[d, d]);
        let v = t.reduce(ReduceKind::Sum, Scope::Inner, d2);
        let v = t.o(Op::Fma, &[v, c, eps]);
        let v = t.o(Op::Sqrt, &[v]);
        let y = t.o(Op::Div, &[d, v]);
        let z = t.o(Op::Mul, &[y, g]);
        t.store(z, 6 * n, 0, &[3 * n as i64, n as i64], 1);
        let gz = t.reduce(ReduceKind::Sum, Scope::Outer, z);
        t.store(gz, 2 * n, 0, &[n as i64, 0], 1);
        let all = t.reduce(ReduceKind::Sum, Scope::All, d2);
        t.store(all, 2, 0, &[1, 0], 0);
        t.store(mean, 6, 0, &[3, 1], 0);
        t.check(1e-4);
    }
}

#[test]
fn column_reductions() {
    for (m, n) in [(1, 1), (7, 3), (100, 17), (3000, 40), (40000, 33), (64, 40000)] {
        for kind in [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min] {
            let mut r = Rng(n as u64);
            let mut t = T::new(&[m], 0, n);
            let x = r.vec(m * n);
            let x = t.buffer(F32, x);
            let x = t.load(x, 0, &[n as i64], 1);
            let s = t.reduce(kind, Scope::Outer, x);
            t.store(s, 2 * n, 2 * n as i64 - 1, &[0], -2);
            let s = t.reduce(kind, Scope::All, x);
            t.store(s, 1, 0, &[0], 0);
            t.check(if kind == ReduceKind::Sum { 2e-2 } else { 0.0 });
        }
    }
}

#[test]
fn sums_of_all_lengths() {
    for n in [0, 1, 3, 4, 5, 511, 512, 513, 100_000, 3_000_001] {
        for dt in [F32, F64, I64] {
            let mut r = Rng(n as u64 + 3);
            let mut t = T::new(&[], 0, n);
            let x = r.vec(n);
            let x = t.buffer(dt, x);
            let x = t.load(x, 0, &[], 1);
            let x2 = t.o(Op::Mul, &[x, x]);
            for (v, kind) in [(x, ReduceKind::Sum), (x2, ReduceKind::Sum), (x, ReduceKind::Max), (x, ReduceKind::Min)] {
                let s = t.reduce(kind, Scope::All, v);
                t.store(s, 1, 0, &[], 0);
            }
            t.store(x2, n, 0, &[], 1);
            t.check(if dt == F32 { 1e-5 } else { 1e-12 });
        }
    }
}

#[test]
fn empty_domains() {
    for (outer, parallel, inner) in [(vec![0, 3], 1, 4), (vec![3, 0], 1, 4), (vec![3, 2], 1, 0)] {
        let mut t = T::new(&outer, parallel, inner);
        let x = t.buffer(F64, vec![]);
        let x = t.load(x, 0, &[0, 0], 1);
        for kind in [ReduceKind::Sum, ReduceKind::Prod, ReduceKind::Max, ReduceKind::Min] {
            let o = t.reduce(kind, Scope::Outer, x);
            t.store(o, outer[0] * inner, 0, &[inner as i64, 0], 1);
            let a = t.reduce(kind, Scope::All, x);
            t.store(a, outer[0], 0, &[1, 0], 0);
            let i = t.reduce(kind, Scope::Inner, x);
            t.store(i, outer[0] * outer[1], 0, &[outer[1] as i64, 1], 0);
        }
        t.store(x, 0, 0, &[0, 0], 1);
        t.check(0.0);
    }
}

#[test]
fn masks() {
    for dt in [F32, F64, I64] {
        for n in [1, 2, 3, 4, 5, 9, 63, 100] {
            let mut r = Rng(n as u64 + 9);
            let mut t = T::new(&[2], 1, n);
            let (x, y) = (r.vec(2 * n), r.vec(2 * n));
            let m: Vec<f64> = (0..2 * n).map(|_| r.below(2) as f64).collect();
            let (x, y, m) = (t.buffer(dt, x), t.buffer(dt, y), t.buffer(Bool, m));
            let s = [n as i64];
            let (x, y) = (t.load(x, 0, &s, 1), t.load(y, 0, &s, 1));
            let m1 = t.load(m, 0, &s, 1);
            let m2 = t.load(m, 2 * n as i64 - 1, &[-s[0]], -1);
            let m3 = t.load(m, 0, &[1], 0);
            let mut ms = vec![m1, m2, m3];
            for op in [Op::Lt, Op::Le, Op::Gt, Op::Ge, Op::Eq, Op::Ne] {
                ms.push(t.op(op, Bool, &[x, y]));
                ms.push(t.op(op, Bool, &[m1, m2]));
            }
            let mut all = m1;
            for (i, &m) in ms.iter().enumerate() {
                all = t.op([Op::And, Op::Or, Op::Xor][i % 3], Bool, &[all, m]);
                let not = t.op(Op::Not, Bool, &[m]);
                t.store(not, 2 * n, 0, &s, 1);
                let sel = t.op(Op::Select, dt, &[m, x, y]);
                t.store(sel, 2 * n, 0, &[1], 2);
            }
            t.store(all, 2 * n, 0, &[1], 2);
            for kind in [ReduceKind::Max, ReduceKind::Min] {
                let q = t.reduce(kind, Scope::Inner, all);
                t.store(q, 2, 0, &[1], 0);
                let q = t.reduce(kind, Scope::All, m1);
                t.store(q, 2, 0, &[1], 0);
                let q = t.reduce(kind, Scope::Outer, all);
                t.store(q, 2 * n, 0, &s, 1);
            }
            let f = t.op(Op::Cast, dt, &[all]);
            let b = t.op(Op::Cast, Bool, &[x]);
            t.store(f, 2 * n, 0, &s, 1);
            t.store(b, 2 * n, 0, &s, 1);
            t.check(0.0);
        }
    }
}

#[test]
fn mixed_dtypes_and_iota() {
    for n in [1, 2, 3, 4, 7, 40, 600] {
        let mut r = Rng(n as u64 + 5);
        let mut t = T::new(&[3, 2], 1, n);
        let len = 6 * n;
        let s = [2 * n as i64, n as i64];
        let mut special = r.vec(len);
        special[0] = f64::NAN;
        special[len / 2] = 1e30;
        special[len - 1] = -1e30;
        let x = t.buffer(F32, special.clone());
        let y = t.buffer(F64, special);
        let (x, y) = (t.load(x, 0, &s, 1), t.load(y, 0, &s, 1));
        let x64 = t.op(Op::Cast, F64, &[x]);
        let z = t.o(Op::Add, &[x64, y]);
        let e = t.un(Unary::Tanh, z);
        let e32 = t.op(Op::Cast, F32, &[e]);
        let g = t.un(Unary::Atan, e32);
        let i = t.op(Op::Cast, I64, &[x]);
        let b = t.op(Op::Cast, Bool, &[i]);
        let p = t.call(Lowering::Powi(3), &[g]);
        let two = t.constant(2.0, F32);
        let h = t.call(Lowering::Binary(Binary::Hypot), &[p, two]);
        let at = t.call(Lowering::Binary(Binary::Atan2), &[x, h]);
        for v in [x64, z, e, e32, g, i, b, p, h, at] {
            t.store(v, len, 0, &s, 1);
        }
        for dt in [F32, F64, I64, Bool] {
            let v = t.iota(dt, 5, &[-1, 0], 3);
            t.store(v, len, 0, &s, 1);
            let v = t.iota(dt, 5, &[-1, 4], 0);
            t.store(v, 6, 0, &[2, 1], 0);
        }
        let m = t.reduce(ReduceKind::Max, Scope::All, at);
        t.store(m, 3, 0, &[1, 0], 0);
        t.check(0.0);
        // The same iotas and casts in vector shapes.
        for dts in [&[F32, Bool][..], &[F64, I64, Bool]] {
            let mut t = T::new(&[3, 2], 1, n);
            for &a in dts {
                let v = t.iota(a, -3, &[1, 1], 2);
                for &b in dts {
                    let w = t.op(Op::Cast, b, &[v]);
                    t.store(w, len, 0, &s, 1);
                }
            }
            let y = r.vec(len);
            let y = t.buffer(dts[0], y);
            let y = t.load(y, 0, &s, 1);
            for op in [Op::Floor, Op::Ceil, Op::Trunc, Op::Nearest, Op::Sqrt, Op::Abs, Op::Neg] {
                let v = t.o(op, &[y]);
                t.store(v, len, 0, &s, 1);
                let b = t.op(Op::IsNan, Bool, &[v]);
                t.store(b, len, 0, &s, 1);
                if dts.contains(&I64) {
                    let c = t.op(Op::Cast, I64, &[v]);
                    t.store(c, len, 0, &s, 1);
                }
            }
            t.check(0.0);
        }
    }
}

#[test]
fn nan_propagates() {
    for n in [1, 4, 5, 16, 35, 600] {
        for at in [0, n / 2, n - 1] {
            let mut r = Rng(n as u64 + 5);
            let (mut x, y) = (r.vec(n), r.vec(n));
            x[at] = f64::NAN;
            let mut t = T::new(&[1], 1, n);
            let (x, y) = (t.buffer(F32, x), t.buffer(F32, y));
            let (x, y) = (t.load(x, 0, &[0], 1), t.load(y, 0, &[0], 1));
            for op in [Op::Max, Op::Min] {
                for args in [[x, y], [y, x]] {
                    let v = t.o(op, &args);
                    t.store(v, n, 0, &[0], 1);
                }
            }
            for kind in [ReduceKind::Max, ReduceKind::Min] {
                for scope in [Scope::Inner, Scope::Outer, Scope::All] {
                    let q = t.reduce(kind, scope, x);
                    let wide = scope == Scope::Outer;
                    t.store(q, if wide { n } else { 1 }, 0, &[0], i64::from(wide));
                }
            }
            t.check(0.0);
        }
    }
}

#[test]
fn chained_calls_across_phases_and_stages() {
    for n in [1, 5, 511, 513, 1300] {
        let mut r = Rng(n as u64 + 11);
        let mut t = T::new(&[2], 1, n);
        let (x, y) = (r.vec(2 * n), r.vec(2 * n));
        let (x, y) = (t.buffer(F32, x), t.buffer(F32, y));
        let s = [n as i64];
        let (x, y) = (t.load(x, 0, &s, 1), t.load(y, 0, &[1], 2));
        let a = t.un(Unary::Sin, x);
        let p = t.o(Op::Mul, &[a, y]);
        let m = t.op(Op::Lt, Bool, &[p, x]);
        let b = t.un(Unary::Cos, p);
        let c = t.un(Unary::Tanh, b);
        let d = t.o(Op::Fma, &[a, b, c]);
        let e = t.un(Unary::Sigmoid, d);
        let mx = t.reduce(ReduceKind::Max, Scope::Inner, e);
        let f = t.o(Op::Sub, &[e, mx]);
        let g = t.un(Unary::Exp, f);
        let h = t.op(Op::Select, F32, &[m, g, c]);
        let mn = t.reduce(ReduceKind::Min, Scope::Inner, h);
        let i = t.call(Lowering::Binary(Binary::Pow), &[g, mx]);
        let j = t.o(Op::Add, &[i, mn]);
        let k = t.o(Op::Mul, &[j, a]);
        let l = t.un(Unary::Cbrt, k);
        for v in [h, k, l, p] {
            t.store(v, 2 * n, 0, &s, 1);
        }
        t.store(m, 2 * n, 0, &s, 1);
        t.check(0.0);
    }
}

#[test]
fn large_and_parallel() {
    // Rows, inner ranges and reduced rows split over threads, each with a remainder.
    for (outer, parallel, inner) in [
        (vec![], 0, 2_000_003),
        (vec![2], 1, 600_001),
        (vec![3000], 1, 301),
        (vec![3, 5000], 1, 101),
        (vec![30_011], 0, 30),
    ] {
        let mut r = Rng(inner as u64);
        let rows: usize = outer.iter().product();
        let mut strides = vec![0; outer.len()];
        let mut step = inner as i64;
        for axis in (0..outer.len()).rev() {
            strides[axis] = step;
            step *= outer[axis] as i64;
        }
        let mut t = T::new(&outer, parallel, inner);
        let x = r.vec(rows * inner);
        let x = t.buffer(F32, x);
        let x = t.load(x, 0, &strides, 1);
        let y = t.un(Unary::Sin, x);
        let z = t.o(Op::Fma, &[y, x, y]);
        t.store(z, rows * inner, 0, &strides, 1);
        let p = t.k.parallel_rows();
        let kept = |unit: i64| -> Vec<i64> { (0..outer.len()).map(|a| if a < parallel { unit } else { 0 }).collect() };
        for kind in [ReduceKind::Sum, ReduceKind::Max] {
            let s = t.reduce(kind, Scope::All, z);
            t.store(s, p, 0, &kept(1), 0);
            let s = t.reduce(kind, Scope::Outer, z);
            t.store(s, p * inner, 0, &kept(inner as i64), 1);
        }
        assert!(t.compile().is_parallel());
        t.check(5e-4);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let three = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let bits = |v: Vec<Vec<f64>>| v.concat().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(one.install(|| t.execute())), bits(three.install(|| t.execute())));
    }
}

#[test]
fn in_place() {
    for n in [5, 700, 20_000] {
        let mut r = Rng(n as u64 + 2);
        let mut t = T::new(&[40], 1, n);
        let (x, y) = (r.vec(40 * n), r.vec(40 * n));
        let (xb, y) = (t.buffer(F32, x), t.buffer(F32, y));
        let s = [n as i64];
        let (x, y) = (t.load(xb, 0, &s, 1), t.load(y, 0, &s, 1));
        let e = t.un(Unary::Sin, x);
        let p = t.o(Op::Fma, &[e, y, x]);
        let q = t.un(Unary::Tanh, p);
        let q = t.o(Op::Mul, &[q, x]);
        let access = t.access(0, &s, 1);
        t.k.stores.push(Store { node: q, buffer: xb, access });
        t.check(0.0);
    }
}

#[test]
fn large_kernels_compile() {
    let mut r = Rng(3);
    for call in [false, true] {
        let mut t = T::new(&[2], 1, 70);
        let x = r.vec(140);
        let x = t.buffer(F32, x);
        let x = t.load(x, 0, &[70], 1);
        let mut all = vec![x];
        while t.k.nodes.len() < MAX_NODES - 2 {
            let (a, b) = (all[all.len() - 1], all[r.below(all.len())]);
            let v = if call && r.below(8) == 0 { t.un(Unary::Sin, a) } else { t.o(Op::Sub, &[a, b]) };
            let v = t.o(Op::Min, &[v, x]);
            all.push(v);
        }
        t.store(all[all.len() - 1], 140, 0, &[70], 1);
        let start = std::time::Instant::now();
        drop(t.compile());
        println!("{call}: {:?}", start.elapsed());
        t.check(0.0);
    }
}

#[test]
fn scalar_programs() {
    let mut t = T::new(&[], 0, 1);
    let (a, b, c) = (t.buffer(F32, vec![]), t.buffer(F64, vec![]), t.buffer(Bool, vec![]));
    let (a, b, c) = (t.load(a, 0, &[], 0), t.load(b, 0, &[], 0), t.load(c, 0, &[], 0));
    let a64 = t.op(Op::Cast, F64, &[a]);
    let s = t.o(Op::Mul, &[a64, b]);
    let e = t.un(Unary::Exp, s);
    let x = t.op(Op::Select, F64, &[c, e, s]);
    let i = t.op(Op::Cast, I64, &[x]);
    let q = t.op(Op::Cast, F32, &[x]);
    let n = t.op(Op::Not, Bool, &[c]);
    let inputs = [F32, F64, Bool].map(Form::Scalar).to_vec();
    let program =
        ScalarProgram { inputs, insts: t.k.nodes.iter().cloned().map(Inst::Node).collect(), outputs: vec![x, i, q, n] };
    let mut builder = Builder::new(false).unwrap();
    let index = builder.add_scalar(&program).unwrap();
    let code = builder.finish().unwrap();
    let f = code.scalar(index).unwrap();
    let mut out = [0u64; 4];
    // SAFETY: three argument and four output slots, as the program says.
    let status =
        unsafe { f([u64::from(1.5f32.to_bits()), 2f64.to_bits(), 1].as_ptr(), out.as_mut_ptr(), std::ptr::null_mut()) };
    assert_eq!(status, 0);
    let want = 3f64.exp();
    assert_eq!(out, [want.to_bits(), 20, u64::from((want as f32).to_bits()), 0]);
    assert!(code.kernel_count() == 0 && code.bytes() > 0);
}

#[test]
fn errors_are_reported() {
    let mut t = T::new(&[], 0, 4);
    let c = t.constant(1.0, I64);
    let d = t.op(Op::Div, I64, &[c, c]);
    t.store(d, 4, 0, &[], 1);
    let mut b = Builder::new(false).unwrap();
    assert!(matches!(b.add_kernel(&t.k), Err(CompileError::Unsupported(_))));
    // The builder stays usable.
    assert!(b.add_kernel(&softmax(2, 5, F32).k).is_ok());
    t.k.nodes = vec![t.k.nodes[0].clone(); MAX_NODES + 1];
    assert!(matches!(b.add_kernel(&t.k), Err(CompileError::TooLarge(_))));
    t.k.nodes.truncate(1);
    assert!(matches!(b.add_kernel(&t.k), Err(CompileError::Malformed(_))));
}

#[test]
fn memory_is_freed() {
    let t = softmax(2, 5, F32);
    let maps =
        || std::fs::read_to_string("/proc/self/maps").map_or(0, |m| m.lines().filter(|l| l.contains("r-xp")).count());
    let before = maps();
    for _ in 0..400 {
        let k = t.compile();
        let other = k.clone();
        drop(k);
        assert!(!other.code().clif(0).is_empty());
        // A builder that is never finished.
        Builder::new(false).unwrap().add_kernel(&t.k).unwrap();
    }
    // Other tests run beside this one.
    assert!(maps() < before + 100, "{before} -> {}", maps());
}
