//! A kernel builder with a naive interpreter beside it, for comparing generated code against.
#![allow(dead_code)]
#![allow(clippy::needless_range_loop)]

use autograd_runtime::elementary::*;
use autograd_runtime::kernel::*;
use autograd_runtime::ty::DType;
use smallvec::SmallVec;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Neg,
    Abs,
    Sqrt,
    Fma,
    Floor,
    Ceil,
    Trunc,
    Nearest,
    Max,
    Min,
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
    Select,
    And,
    Or,
    Xor,
    Not,
    Cast,
    Copysign,
    IsNan,
}

pub fn inline(op: Op) -> InlineFn {
    match op {
        Op::Add => |l, a, _| l.add(a[0], a[1]),
        Op::Sub => |l, a, _| l.sub(a[0], a[1]),
        Op::Mul => |l, a, _| l.mul(a[0], a[1]),
        Op::Div => |l, a, _| l.div(a[0], a[1]),
        Op::Neg => |l, a, _| l.neg(a[0]),
        Op::Abs => |l, a, _| l.abs(a[0]),
        Op::Sqrt => |l, a, _| l.sqrt(a[0]),
        Op::Fma => |l, a, _| l.fma(a[0], a[1], a[2]),
        Op::Floor => |l, a, _| l.floor(a[0]),
        Op::Ceil => |l, a, _| l.ceil(a[0]),
        Op::Trunc => |l, a, _| l.trunc(a[0]),
        Op::Nearest => |l, a, _| l.nearest_even(a[0]),
        Op::Max => |l, a, _| l.max(a[0], a[1]),
        Op::Min => |l, a, _| l.min(a[0], a[1]),
        Op::Lt => |l, a, _| l.lt(a[0], a[1]),
        Op::Le => |l, a, _| l.le(a[0], a[1]),
        Op::Gt => |l, a, _| l.gt(a[0], a[1]),
        Op::Ge => |l, a, _| l.ge(a[0], a[1]),
        Op::Eq => |l, a, _| l.eq(a[0], a[1]),
        Op::Ne => |l, a, _| l.ne(a[0], a[1]),
        Op::Select => |l, a, _| l.select(a[0], a[1], a[2]),
        Op::And => |l, a, _| l.and(a[0], a[1]),
        Op::Or => |l, a, _| l.or(a[0], a[1]),
        Op::Xor => |l, a, _| l.xor(a[0], a[1]),
        Op::Not => |l, a, _| l.not(a[0]),
        Op::Cast => |l, a, t| l.cast(a[0], t),
        Op::Copysign => |l, a, _| l.copysign(a[0], a[1]),
        Op::IsNan => |l, a, _| l.is_nan(a[0]),
    }
}

pub fn round(x: f64, t: DType) -> f64 {
    match t {
        DType::F32 => f64::from(x as f32),
        DType::F64 => x,
        DType::I64 => x as i64 as f64,
        DType::Bool => f64::from(u8::from(x != 0.0)),
    }
}

fn fold(kind: ReduceKind, a: f64, x: f64) -> f64 {
    match kind {
        ReduceKind::Sum => a + x,
        ReduceKind::Prod => a * x,
        _ if a.is_nan() || x.is_nan() => f64::NAN,
        ReduceKind::Max => a.max(x),
        ReduceKind::Min => a.min(x),
    }
}

fn start(kind: ReduceKind, t: DType) -> f64 {
    match (kind, t) {
        (ReduceKind::Sum, _) => 0.0,
        (ReduceKind::Prod, _) => 1.0,
        (ReduceKind::Max, DType::Bool) => 0.0,
        (ReduceKind::Min, DType::Bool) => 1.0,
        (ReduceKind::Max, DType::I64) => i64::MIN as f64,
        (ReduceKind::Min, DType::I64) => i64::MAX as f64,
        (ReduceKind::Max, _) => f64::NEG_INFINITY,
        (ReduceKind::Min, _) => f64::INFINITY,
    }
}

fn eval(op: Op, a: &[f64], at: DType, t: DType) -> f64 {
    let b = |c: bool| f64::from(u8::from(c));
    let r = match op {
        Op::Add => a[0] + a[1],
        Op::Sub => a[0] - a[1],
        Op::Mul => a[0] * a[1],
        Op::Div => a[0] / a[1],
        Op::Neg => -a[0],
        Op::Abs => a[0].abs(),
        Op::Sqrt => a[0].sqrt(),
        Op::Fma if t == DType::F32 => f64::from((a[0] as f32).mul_add(a[1] as f32, a[2] as f32)),
        Op::Fma => a[0].mul_add(a[1], a[2]),
        Op::Floor => a[0].floor(),
        Op::Ceil => a[0].ceil(),
        Op::Trunc => a[0].trunc(),
        Op::Nearest => a[0].round_ties_even(),
        Op::Max => fold(ReduceKind::Max, a[0], a[1]),
        Op::Min => fold(ReduceKind::Min, a[0], a[1]),
        Op::Lt => b(a[0] < a[1]),
        Op::Le => b(a[0] <= a[1]),
        Op::Gt => b(a[0] > a[1]),
        Op::Ge => b(a[0] >= a[1]),
        Op::Eq => b(a[0] == a[1]),
        Op::Ne => b(a[0] != a[1]),
        Op::Select => {
            if a[0] != 0.0 {
                a[1]
            } else {
                a[2]
            }
        }
        Op::And if at == DType::I64 => (a[0] as i64 & a[1] as i64) as f64,
        Op::And => b(a[0] != 0.0 && a[1] != 0.0),
        Op::Or => b(a[0] != 0.0 || a[1] != 0.0),
        Op::Xor => b((a[0] != 0.0) != (a[1] != 0.0)),
        Op::Not => b(a[0] == 0.0),
        Op::Cast => a[0],
        Op::Copysign => a[0].copysign(a[1]),
        Op::IsNan => b(a[0].is_nan()),
    };
    round(r, t)
}

/// A kernel under construction with its reference meaning and buffer contents.
#[derive(Clone, Debug)]
pub struct T {
    pub k: Kernel,
    pub ops: Vec<Option<Op>>,
    pub data: Vec<Vec<f64>>,
    pub out: Vec<bool>,
}

impl T {
    pub fn new(outer: &[usize], parallel: usize, inner: usize) -> T {
        let k = Kernel { outer: outer.into(), parallel, inner, nodes: vec![], stores: vec![], buffers: vec![] };
        T { k, ops: vec![], data: vec![], out: vec![] }
    }
    fn push(&mut self, kind: NodeKind, dtype: DType, op: Option<Op>) -> Id {
        self.k.nodes.push(Node { kind, dtype });
        self.ops.push(op);
        self.k.nodes.len() as Id - 1
    }
    pub fn buffer(&mut self, t: DType, data: Vec<f64>) -> u16 {
        self.k.buffers.push(t);
        self.data.push(data.into_iter().map(|x| round(x, t)).collect());
        self.out.push(false);
        self.k.buffers.len() as u16 - 1
    }
    pub fn access(&self, offset: i64, outer: &[i64], inner: i64) -> Access {
        Access { offset, outer: outer.into(), inner }
    }
    pub fn load(&mut self, buffer: u16, offset: i64, outer: &[i64], inner: i64) -> Id {
        let access = self.access(offset, outer, inner);
        let t = self.k.buffers[buffer as usize];
        self.push(NodeKind::Load { buffer, access }, t, None)
    }
    pub fn iota(&mut self, t: DType, offset: i64, outer: &[i64], inner: i64) -> Id {
        let access = self.access(offset, outer, inner);
        self.push(NodeKind::Iota { access }, t, None)
    }
    pub fn constant(&mut self, x: f64, t: DType) -> Id {
        let bits = match t {
            DType::F32 => (x as f32).to_bits().into(),
            DType::F64 => x.to_bits(),
            DType::I64 => x as i64 as u64,
            DType::Bool => u64::from(x != 0.0),
        };
        self.push(NodeKind::Const { bits }, t, None)
    }
    pub fn op(&mut self, op: Op, t: DType, args: &[Id]) -> Id {
        let kind = NodeKind::Elementwise { lowering: Lowering::Inline(inline(op)), args: args.into() };
        self.push(kind, t, Some(op))
    }
    /// An arithmetic operation: same dtype as its last argument.
    pub fn o(&mut self, op: Op, args: &[Id]) -> Id {
        let t = self.k.nodes[*args.last().unwrap() as usize].dtype;
        self.op(op, t, args)
    }
    pub fn call(&mut self, lowering: Lowering, args: &[Id]) -> Id {
        let t = self.k.nodes[args[0] as usize].dtype;
        self.push(NodeKind::Elementwise { lowering, args: args.into() }, t, None)
    }
    pub fn un(&mut self, u: Unary, a: Id) -> Id {
        self.call(Lowering::Unary(u), &[a])
    }
    pub fn reduce(&mut self, kind: ReduceKind, scope: Scope, arg: Id) -> Id {
        let t = self.k.nodes[arg as usize].dtype;
        self.push(NodeKind::Reduce { kind, arg, scope }, t, None)
    }
    /// Stores to a new buffer of `len` elements.
    pub fn store(&mut self, node: Id, len: usize, offset: i64, outer: &[i64], inner: i64) -> u16 {
        let t = self.k.nodes[node as usize].dtype;
        let buffer = self.buffer(t, vec![0.0; len]);
        self.out[buffer as usize] = true;
        let access = self.access(offset, outer, inner);
        self.k.stores.push(Store { node, buffer, access });
        buffer
    }

    pub fn interpret(&self) -> Vec<Vec<f64>> {
        let mut data = self.data.clone();
        let k = &self.k;
        let at = |a: &Access, row: &[usize], i: usize| {
            let o: i64 = a.outer.iter().zip(row).map(|(s, &x)| s * x as i64).sum();
            a.offset + o + a.inner * i as i64
        };
        let index_of = |mut row: usize| {
            let mut ix: SmallVec<[usize; 4]> = SmallVec::from_elem(0, k.outer.len());
            for (axis, &d) in k.outer.iter().enumerate().rev() {
                ix[axis] = row % d;
                row /= d;
            }
            ix
        };
        // Accumulators are kept in f64 and rounded at the end.
        let mut sums: Vec<std::collections::BTreeMap<i64, f64>> = vec![Default::default(); k.stores.len()];
        let mut reduced: Vec<bool> = vec![];
        for n in &k.nodes {
            reduced.push(match &n.kind {
                NodeKind::Reduce { scope, .. } => *scope == Scope::Inner,
                NodeKind::Elementwise { args, .. } => args.iter().any(|&a| reduced[a as usize]),
                _ => false,
            });
        }
        let prows = k.parallel_rows();
        let dims: SmallVec<[usize; 4]> = k.outer[..k.parallel].into();
        for (s, store) in k.stores.iter().enumerate() {
            if let NodeKind::Reduce { kind, scope, .. } = k.nodes[store.node as usize].kind {
                if scope == Scope::Inner {
                    continue;
                }
                for p in 0..prows {
                    let (mut ix, mut rest) = (vec![0; k.outer.len()], p);
                    for (axis, &d) in dims.iter().enumerate().rev() {
                        ix[axis] = rest % d;
                        rest /= d;
                    }
                    for i in 0..if scope == Scope::Outer { k.inner } else { 1 } {
                        sums[s].insert(at(&store.access, &ix, i), start(kind, k.nodes[store.node as usize].dtype));
                    }
                }
            }
        }
        for row in 0..k.outer.iter().product::<usize>() {
            let ix = index_of(row);
            let mut vals: Vec<Vec<f64>> = vec![];
            for (id, n) in k.nodes.iter().enumerate() {
                let v = match &n.kind {
                    NodeKind::Reduce { kind, arg, scope: Scope::Inner } => {
                        let r = vals[*arg as usize][..k.inner]
                            .iter()
                            .fold(start(*kind, n.dtype), |a, &x| fold(*kind, a, x));
                        vec![round(r, n.dtype); k.inner.max(1)]
                    }
                    NodeKind::Reduce { .. } => vec![],
                    kind => (0..k.inner.max(1))
                        .map(|i| match kind {
                            NodeKind::Load { buffer, access } => self.data[*buffer as usize]
                                .get(at(access, &ix, i) as usize)
                                .copied()
                                .unwrap_or_else(|| {
                                    assert_eq!(k.inner, 0);
                                    0.0
                                }),
                            NodeKind::Const { bits } => match n.dtype {
                                DType::F32 => f32::from_bits(*bits as u32).into(),
                                DType::F64 => f64::from_bits(*bits),
                                DType::I64 => *bits as i64 as f64,
                                DType::Bool => *bits as f64,
                            },
                            NodeKind::Iota { access } => round(at(access, &ix, i) as f64, n.dtype),
                            NodeKind::Elementwise { lowering, args } => {
                                let a: Vec<f64> = args.iter().map(|&a| vals[a as usize][i]).collect();
                                let f = n.dtype == DType::F32;
                                match *lowering {
                                    Lowering::Inline(_) => {
                                        eval(self.ops[id].unwrap(), &a, k.nodes[args[0] as usize].dtype, n.dtype)
                                    }
                                    Lowering::Unary(u) if f => scalar_fn_f32(u)(a[0] as f32).into(),
                                    Lowering::Unary(u) => scalar_fn_f64(u)(a[0]),
                                    Lowering::Binary(b) if f => scalar_fn2_f32(b)(a[0] as f32, a[1] as f32).into(),
                                    Lowering::Binary(b) => scalar_fn2_f64(b)(a[0], a[1]),
                                    Lowering::Powi(p) if f => scalar_powi_f32()(a[0] as f32, p).into(),
                                    Lowering::Powi(p) => scalar_powi_f64()(a[0], p),
                                }
                            }
                            _ => unreachable!(),
                        })
                        .collect(),
                };
                vals.push(v);
            }
            for (s, store) in k.stores.iter().enumerate() {
                match k.nodes[store.node as usize].kind {
                    NodeKind::Reduce { kind, arg, scope } if scope != Scope::Inner => {
                        for i in 0..k.inner {
                            let e = sums[s].get_mut(&at(&store.access, &ix, i)).unwrap();
                            *e = fold(kind, *e, vals[arg as usize][i]);
                        }
                    }
                    _ if k.inner == 0 && store.access.inner == 0 && reduced[store.node as usize] => {
                        data[store.buffer as usize][at(&store.access, &ix, 0) as usize] = vals[store.node as usize][0];
                    }
                    _ => {
                        for i in 0..k.inner {
                            data[store.buffer as usize][at(&store.access, &ix, i) as usize] =
                                vals[store.node as usize][i];
                        }
                    }
                }
            }
        }
        for (s, store) in k.stores.iter().enumerate() {
            for (&at, &x) in &sums[s] {
                data[store.buffer as usize][at as usize] = round(x, k.nodes[store.node as usize].dtype);
            }
        }
        data
    }

    pub fn compile(&self) -> CompiledKernel {
        let mut b = Builder::new(true).unwrap();
        let index = b.add_kernel(&self.k).unwrap();
        CompiledKernel::new(&b.finish().unwrap(), index).unwrap()
    }

    /// Runs the generated code; guard bytes around each buffer must stay.
    pub fn execute(&self) -> Vec<Vec<f64>> {
        let c = self.compile();
        let mut raw: Vec<Vec<u64>> = vec![];
        let size = |t| match t {
            DType::F32 => 4,
            DType::F64 | DType::I64 => 8,
            DType::Bool => 1,
        };
        const G: usize = 64;
        for (d, &t) in self.data.iter().zip(&self.k.buffers) {
            let mut bytes = vec![0xa5u8; G];
            for &x in d {
                match t {
                    DType::F32 => bytes.extend((x as f32).to_le_bytes()),
                    DType::F64 => bytes.extend(x.to_le_bytes()),
                    DType::I64 => bytes.extend((x as i64).to_le_bytes()),
                    DType::Bool => bytes.push(x as u8),
                }
            }
            bytes.extend([0x5a; G]);
            while !bytes.len().is_multiple_of(8) {
                bytes.push(0x5a);
            }
            raw.push(bytes.chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect());
        }
        let pointers: Vec<*mut u8> = raw.iter_mut().map(|r| r.as_mut_ptr().cast::<u8>().wrapping_add(G)).collect();
        let mut scratch = Scratch::default();
        // SAFETY: the tests' accesses stay within the buffers they made.
        unsafe { c.run(&pointers, &mut scratch) };
        raw.iter()
            .zip(&self.k.buffers)
            .zip(&self.data)
            .map(|((r, &t), d)| {
                let bytes: Vec<u8> = r.iter().flat_map(|x| x.to_le_bytes()).collect();
                assert!(bytes[..G].iter().all(|&x| x == 0xa5), "guard before");
                assert!(bytes[G + d.len() * size(t)..].iter().all(|&x| x == 0x5a), "guard after");
                (0..d.len())
                    .map(|i| {
                        let b = &bytes[G + i * size(t)..][..size(t)];
                        match t {
                            DType::F32 => f32::from_le_bytes(b.try_into().unwrap()).into(),
                            DType::F64 => f64::from_le_bytes(b.try_into().unwrap()),
                            DType::I64 => i64::from_le_bytes(b.try_into().unwrap()) as f64,
                            DType::Bool => {
                                assert!(b[0] < 2);
                                b[0].into()
                            }
                        }
                    })
                    .collect()
            })
            .collect()
    }

    /// Compares generated code with the interpreter, within `tol` relative to at least 1.
    pub fn check(&self, tol: f64) {
        let want = self.interpret();
        let got = self.execute();
        for (slot, (w, g)) in want.iter().zip(&got).enumerate() {
            for (i, (&w, &g)) in w.iter().zip(g).enumerate() {
                let same = w == g || (w.is_nan() && g.is_nan()) || (w - g).abs() <= tol * w.abs().max(1.0);
                assert!(same, "slot {slot} element {i}: want {w}, got {g}\n{:?}", self.k);
            }
        }
    }
}

pub struct Rng(pub u64);
impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    pub fn unit(&mut self) -> f64 {
        (self.next() % 4096) as f64 / 1024.0 - 2.0
    }
    pub fn vec(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.unit()).collect()
    }
}
