//! The evaluation of operations on strided windows against one element at a time: every pointwise
//! operation, element type and form of operand, sizes around the borders of vectors and blocks, and any
//! number of threads, to the bit; reductions, copies, gathers and products against plain loops.

mod common;

use autograd_runtime::{
    array::{Data, Element, Slice, each},
    op::{self, Attr, Eval, Op, OpDef, Operand, arith, compare, elementary, index, linalg, reduce},
    ty::{DType, Layout, Ty},
};
use common::Rng;

const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::I64, DType::Bool];

/// A window on elements of its own.
#[derive(Clone, Debug)]
struct Window {
    data: Data,
    layout: Layout,
}

impl Window {
    fn operand(&self) -> Operand<'_> {
        Operand::new(&self.data, &self.layout)
    }
    fn ty(&self) -> Ty {
        Ty { dtype: self.data.dtype(), shape: self.layout.shape.clone() }
    }
    /// The elements, row-major, found by index arithmetic alone.
    fn dense(&self) -> Data {
        let at = positions(&self.layout);
        match &self.data {
            Data::F32(v) => Data::F32(at.map(|i| v[i]).collect()),
            Data::F64(v) => Data::F64(at.map(|i| v[i]).collect()),
            Data::I64(v) => Data::I64(at.map(|i| v[i]).collect()),
            Data::Bool(v) => Data::Bool(at.map(|i| v[i]).collect()),
        }
    }
}

/// Where the elements of a window are, row-major.
fn positions(l: &Layout) -> impl Iterator<Item = usize> + '_ {
    let n: usize = l.shape.iter().product();
    (0..n).map(move |mut i| {
        let mut at = l.offset as isize;
        for (&n, &s) in l.shape.iter().zip(&l.strides).rev() {
            at += s * (i % n) as isize;
            i /= n;
        }
        at as usize
    })
}

fn bits(d: &Data, i: usize) -> u64 {
    each!(Data, d, v => v[i].bits())
}
/// Equal bits; NaNs equal each other.
fn same(a: &Data, b: &Data) -> bool {
    let nan = |d: &Data, i: usize| match d {
        Data::F32(v) => v[i].is_nan(),
        Data::F64(v) => v[i].is_nan(),
        _ => false,
    };
    a.dtype() == b.dtype()
        && a.len() == b.len()
        && (0..a.len()).all(|i| bits(a, i) == bits(b, i) || (nan(a, i) && nan(b, i)))
}

/// `n` numbers with ties, both zeros, infinities, NaNs, large and small.
fn data(dtype: DType, n: usize, rng: &mut Rng) -> Data {
    let mut one = || match rng.below(16) {
        0 => 0.0,
        1 => -0.0,
        2 => 1.0,
        3 => f64::NAN,
        4 => f64::INFINITY,
        5 => f64::NEG_INFINITY,
        6 => rng.float(-1e3, 1e3),
        _ => (rng.float(-4.0, 4.0) * 16.0).round() / 16.0,
    };
    match dtype {
        DType::F32 => Data::F32((0..n).map(|_| one() as f32).collect()),
        DType::F64 => Data::F64((0..n).map(|_| one()).collect()),
        DType::I64 => Data::I64((0..n).map(|_| one() as i64).collect()),
        DType::Bool => Data::Bool((0..n).map(|_| one() > 0.0).collect()),
    }
}

/// Forms of a window of a shape; those from [`REPEATING`] on do not have distinct elements.
const FORMS: usize = 10;
const REPEATING: usize = 6;
fn window(dtype: DType, shape: &[usize], form: usize, rng: &mut Rng) -> Window {
    let rank = shape.len();
    let mut l = Layout::contiguous(shape);
    match form {
        // as it is; in the middle of a larger store
        0 => {}
        1 => l.offset = 3,
        // axes in reverse order; every second or third element; backwards; part of wider rows
        2 => {
            let back: Vec<usize> = shape.iter().rev().copied().collect();
            l.strides = Layout::contiguous(&back).strides.into_iter().rev().collect();
        }
        3 => l.strides.iter_mut().for_each(|s| *s *= 3),
        4 => {
            for (s, &n) in l.strides.iter_mut().zip(shape) {
                l.offset += *s as usize * n.saturating_sub(1);
                *s = -*s;
            }
        }
        5 => {
            let mut wide = shape.to_vec();
            if let Some(n) = wide.last_mut() {
                *n += 5;
            }
            l = Layout { shape: shape.into(), offset: 2, ..Layout::contiguous(&wide) };
        }
        // one element; a row; a column; an expanded first axis
        6 => l = Layout::contiguous(&[]),
        7 => l = Layout::contiguous(&shape[rank.saturating_sub(1)..]),
        8 => {
            let mut column = shape.to_vec();
            if let Some(n) = column.last_mut() {
                *n = 1;
            }
            l = Layout::contiguous(&column);
        }
        _ => {
            if let Some(s) = l.strides.first_mut() {
                *s = 0;
            }
        }
    }
    let n = positions(&l).max().map_or(0, |m| m + 1) + rng.below(3);
    Window { data: data(dtype, n.max(l.offset), rng), layout: l }
}

/// The window as a whole shape, by repetition.
fn expanded(w: &Window, shape: &[usize]) -> Window {
    let lead = shape.len() - w.layout.shape.len();
    let mut l = Layout { shape: shape.into(), ..Layout::contiguous(shape) };
    for d in 0..shape.len() {
        let of = d.checked_sub(lead).filter(|&d| w.layout.shape[d] != 1);
        l.strides[d] = of.map_or(0, |d| w.layout.strides[d]);
    }
    l.offset = w.layout.offset;
    Window { data: w.data.clone(), layout: l }
}

fn infer(op: &Op, args: &[Window]) -> Option<Ty> {
    let tys: Vec<Ty> = args.iter().map(Window::ty).collect();
    op.infer(&tys.iter().collect::<Vec<_>>()).ok()
}
fn run(op: &Op, args: &[Window], ty: &Ty) -> Data {
    let operands: Vec<Operand<'_>> = args.iter().map(Window::operand).collect();
    let y = op::evaluate(op, &operands, ty).unwrap_or_else(|e| panic!("{op:?}: {e}"));
    assert_eq!((y.dtype(), y.len()), (ty.dtype, ty.numel()), "{op:?}");
    y
}

/// A pointwise result, one element after the other.
fn naive(op: &Op, args: &[Window], ty: &Ty) -> Data {
    let dense: Vec<Data> = args.iter().map(|a| expanded(a, &ty.shape).dense()).collect();
    let (one, scalar) = (Layout::contiguous(&[]), Ty::scalar(ty.dtype));
    let mut y = Data::zeros(ty.dtype, ty.numel());
    for i in 0..ty.numel() {
        let operands: Vec<Operand<'_>> =
            dense.iter().map(|d| Operand { data: d.slice().part(i, 1), layout: &one }).collect();
        let e = op::evaluate(op, &operands, &scalar).expect("evaluates");
        match (&mut y, e) {
            (Data::F32(y), Data::F32(e)) => y[i] = e[0],
            (Data::F64(y), Data::F64(e)) => y[i] = e[0],
            (Data::I64(y), Data::I64(e)) => y[i] = e[0],
            (Data::Bool(y), Data::Bool(e)) => y[i] = e[0],
            (y, e) => panic!("{op:?}: {} and {}", y.dtype(), e.dtype()),
        }
    }
    y
}

/// The pointwise operations, with attributes.
fn pointwise() -> Vec<Op> {
    let mut ops = Vec::new();
    for def in op::all().filter(|d| matches!(d.eval, Eval::Pointwise(_))) {
        match def.name {
            "powi" => ops.extend([-3, -1, 0, 1, 2, 3, 7].map(|n| Op::with(def, [Attr::Int(n)]))),
            "polygamma" => ops.extend([1, 2, 5].map(|n| Op::with(def, [Attr::Int(n)]))),
            "cast" => ops.extend(DTYPES.map(|d| Op::with(def, [Attr::DType(d)]))),
            // they fail at some values: see `rules.rs`
            "int_div" | "int_rem" | "uint_div" | "uint_rem" | "trip" => {}
            _ => {
                assert!(def.attrs.is_empty(), "{} needs attributes here", def.name);
                ops.push(Op::new(def));
            }
        }
    }
    assert!(ops.len() > 60, "{ops:?}");
    ops
}

/// The combinations of element types that an operation takes.
fn signatures(op: &Op) -> Vec<Vec<DType>> {
    let mut all = vec![vec![]];
    for _ in 0..op.def.arity {
        all = all.iter().flat_map(|v| DTYPES.map(|d| v.iter().copied().chain([d]).collect())).collect();
    }
    all.retain(|v: &Vec<DType>| {
        let tys: Vec<Ty> = v.iter().map(|&d| Ty::scalar(d)).collect();
        op.infer(&tys.iter().collect::<Vec<_>>()).is_ok()
    });
    assert!(!all.is_empty(), "{op:?}");
    all
}

const SHAPES: &[&[usize]] = &[
    &[],
    &[1],
    &[0],
    &[7],
    &[8],
    &[16],
    &[17],
    &[63],
    &[64],
    &[65],
    &[127],
    &[1023],
    &[1025],
    &[2, 3],
    &[3, 0],
    &[1, 70],
    &[70, 1],
    &[5, 13],
    &[33, 40],
    &[260, 5],
    &[3, 600],
    &[2, 3, 4],
    &[50, 2, 3],
    &[4, 1, 9, 8],
];

#[test]
fn pointwise_operations_equal_their_elements() {
    let mut rng = Rng(1);
    for op in pointwise() {
        for dtypes in signatures(&op) {
            for &shape in SHAPES {
                for round in 0..3 {
                    let mut args: Vec<Window> = Vec::new();
                    for &d in &dtypes {
                        let form = if round == 0 { rng.below(2) * 6 } else { rng.below(FORMS) };
                        args.push(window(d, shape, form, &mut rng));
                    }
                    let ty = infer(&op, &args).unwrap_or_else(|| panic!("{op:?} {args:?}"));
                    let (y, want) = (run(&op, &args, &ty), naive(&op, &args, &ty));
                    assert!(same(&y, &want), "{op:?} {args:?}: {y:?} and {want:?}");
                }
            }
        }
    }
}

/// Formulas written here once more, so that a loop cannot agree with itself.
#[test]
fn pointwise_operations_are_what_they_say() {
    let mut rng = Rng(2);
    let (a, b) = (window(DType::F64, &[9, 31], 2, &mut rng), window(DType::F64, &[31], 3, &mut rng));
    let (Data::F64(x), Data::F64(y)) = (a.dense(), expanded(&b, &[9, 31]).dense()) else { panic!("floats") };
    let check = |def: &'static OpDef, f: fn(f64, f64) -> f64| {
        let (op, args) = (Op::new(def), [a.clone(), b.clone()]);
        let want = Data::F64(x.iter().zip(&y).map(|(&x, &y)| f(x, y)).collect());
        assert!(same(&run(&op, &args, &infer(&op, &args).expect("fits")), &want), "{}", def.name);
    };
    check(&arith::ADD, |a, b| a + b);
    check(&arith::SUB, |a, b| a - b);
    check(&arith::MUL, |a, b| a * b);
    check(&arith::DIV, |a, b| a / b);
    check(&arith::REM, |a, b| a % b);
    check(&arith::COPYSIGN, |a, b| a.copysign(b));
    check(&arith::MAXIMUM, |a, b| if a.is_nan() || a > b { a } else { b });
    check(&arith::MINIMUM, |a, b| if a.is_nan() || a < b { a } else { b });
    check(&arith::FMAX, |a, b| if a > b || b.is_nan() { a } else { b });
    check(&arith::FMIN, |a, b| if a < b || b.is_nan() { a } else { b });
    check(&elementary::ATAN2, |a, b| {
        <f64 as autograd_runtime::elementary::Element>::binary(autograd_runtime::elementary::Binary::Atan2, a, b)
    });
    let lt = Op::new(&compare::LT);
    let want = Data::Bool(x.iter().zip(&y).map(|(x, y)| x < y).collect());
    let args = [a.clone(), b.clone()];
    assert!(same(&run(&lt, &args, &infer(&lt, &args).expect("fits")), &want));
}

#[test]
fn windows_are_written_and_nothing_beside_them() {
    let mut rng = Rng(3);
    let all = pointwise();
    for round in 0..600 {
        let op = &all[rng.below(all.len())];
        let signatures = signatures(op);
        let shape = SHAPES[rng.below(SHAPES.len())];
        let args: Vec<Window> = signatures[rng.below(signatures.len())]
            .iter()
            .map(|&d| window(d, shape, rng.below(FORMS), &mut rng))
            .collect();
        let ty = infer(op, &args).expect("fits");
        let mut out = window(ty.dtype, &ty.shape, round % REPEATING, &mut rng);
        let mut want = out.data.clone();
        let y = naive(op, &args, &ty);
        for (i, at) in positions(&out.layout).enumerate() {
            match (&mut want, &y) {
                (Data::F32(w), Data::F32(y)) => w[at] = y[i],
                (Data::F64(w), Data::F64(y)) => w[at] = y[i],
                (Data::I64(w), Data::I64(y)) => w[at] = y[i],
                (Data::Bool(w), Data::Bool(y)) => w[at] = y[i],
                (w, y) => panic!("{} and {}", w.dtype(), y.dtype()),
            }
        }
        let operands: Vec<Operand<'_>> = args.iter().map(Window::operand).collect();
        op::evaluate_into(op, &operands, &ty, &mut out.data, &out.layout).expect("evaluates");
        assert!(same(&out.data, &want), "{op:?} {args:?} into {:?}", out.layout);
    }
}

#[test]
fn copies_convert_and_broadcast() {
    let mut rng = Rng(4);
    for round in 0..400 {
        let (from, to) = (DTYPES[rng.below(4)], DTYPES[rng.below(4)]);
        let shape = SHAPES[rng.below(SHAPES.len())];
        let src = window(from, shape, rng.below(FORMS), &mut rng);
        let mut out = window(to, shape, round % REPEATING, &mut rng);
        op::copy_into(src.operand(), &mut out.data, &out.layout).expect("copies");
        let cast = Op::with(&compare::CAST, [Attr::DType(to)]);
        let want = naive(&cast, std::slice::from_ref(&src), &Ty::new(to, shape).expect("small"));
        assert!(same(&out.dense(), &want), "{src:?} into {:?}", out.layout);
    }
    let (src, mut out) = (window(DType::F32, &[3], 0, &mut rng), window(DType::F32, &[4], 0, &mut rng));
    assert!(op::copy_into(src.operand(), &mut out.data, &out.layout).is_err());
    // transposes of whole and of ragged tiles
    for shape in [[64, 72], [67, 41], [8, 300], [1000, 600]] {
        let src = window(DType::F32, &shape, 2, &mut rng);
        let mut out = window(DType::F32, &shape, 0, &mut rng);
        op::copy_into(src.operand(), &mut out.data, &out.layout).expect("copies");
        assert!(same(&out.dense(), &src.dense()), "{shape:?}");
    }
}

fn on_threads<R: Send>(n: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool").install(f)
}

#[test]
fn threads_and_chunks_do_not_change_a_bit() {
    let mut rng = Rng(5);
    let binary = [&arith::ADD, &arith::MAXIMUM, &compare::LE, &elementary::HYPOT].map(Op::new);
    let unary = [&elementary::EXP, &arith::FLOOR].map(Op::new);
    let long = 300_001;
    for (shape, forms) in [
        (vec![long], vec![(0, 0), (1, 3), (4, 0), (0, 6)]),
        (vec![600, 501], vec![(0, 2), (2, 2), (7, 8), (5, 4), (0, 9)]),
        (vec![3, 100_001], vec![(0, 0), (0, 7), (8, 5)]),
        (vec![100_001, 3], vec![(0, 7), (8, 2), (5, 0)]),
        (vec![40, 70, 111], vec![(0, 2), (2, 9), (4, 7)]),
    ] {
        for (f, g) in forms {
            let args = [window(DType::F32, &shape, f, &mut rng), window(DType::F32, &shape, g, &mut rng)];
            for op in binary.iter().chain(&unary) {
                let args = &args[..op.def.arity];
                let ty = infer(op, args).expect("fits");
                let one = on_threads(1, || run(op, args, &ty));
                let three = on_threads(3, || run(op, args, &ty));
                assert!(same(&one, &three), "{op:?} {shape:?} {f} {g}");
                // the same elements in row-major pieces
                let dense: Vec<Data> = args.iter().map(|a| expanded(a, &ty.shape).dense()).collect();
                for start in (0..ty.numel()).step_by(997) {
                    let n = 997.min(ty.numel() - start);
                    let piece = Layout::contiguous(&[n]);
                    let part: Vec<Operand<'_>> =
                        dense.iter().map(|d| Operand { data: d.slice().part(start, n), layout: &piece }).collect();
                    let y = op::evaluate(op, &part, &Ty::new(ty.dtype, &[n]).expect("small")).expect("evaluates");
                    assert!(
                        (0..n).all(|i| bits(&y, i) == bits(&one, start + i) || each!(Data, &y, v => v[i] != v[i])),
                        "{op:?} {shape:?} at {start}"
                    );
                }
            }
        }
    }
}

/// Elements whose sums are exact in any order.
fn whole(dtype: DType, n: usize, rng: &mut Rng) -> Data {
    let mut one = || rng.below(64) as i64 - 32;
    match dtype {
        DType::F32 => Data::F32((0..n).map(|_| one() as f32).collect()),
        DType::F64 => Data::F64((0..n).map(|_| one() as f64).collect()),
        _ => Data::I64((0..n).map(|_| one()).collect()),
    }
}
fn as_f64(d: &Data) -> Vec<f64> {
    match d {
        Data::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
        Data::F64(v) => v.clone(),
        Data::I64(v) => v.iter().map(|&x| x as f64).collect(),
        Data::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
    }
}

/// For each result the elements that are reduced to it, in row-major order.
fn groups(w: &Window, dims: &[usize]) -> Vec<Vec<f64>> {
    let shape = &w.layout.shape;
    let out: Vec<usize> = shape.iter().enumerate().map(|(d, &n)| if dims.contains(&d) { 1 } else { n }).collect();
    let mut groups = vec![vec![]; out.iter().product()];
    for (i, x) in as_f64(&w.dense()).into_iter().enumerate() {
        let (mut rest, mut at, mut step) = (i, 0, 1);
        for d in (0..shape.len()).rev() {
            at += if out[d] == 1 { 0 } else { rest % shape[d] * step };
            rest /= shape[d];
            step *= out[d];
        }
        groups[at].push(x);
    }
    groups
}

#[test]
fn reductions_equal_plain_loops() {
    let mut rng = Rng(6);
    let shapes: &[&[usize]] = &[
        &[1],
        &[5],
        &[17],
        &[33],
        &[1000],
        &[200_003],
        &[2, 3],
        &[7, 40],
        &[40, 7],
        &[300, 5],
        &[5, 300],
        &[3, 70_001],
        &[70_001, 3],
        &[130, 2500],
        &[2, 2, 2],
        &[9, 20, 33],
        &[3, 1, 50, 6],
        &[0, 4],
        &[64, 64, 33],
    ];
    let max = |g: &[f64]| g.iter().fold(f64::NEG_INFINITY, |a, &b| if a.is_nan() || a > b { a } else { b });
    for &shape in shapes {
        for dtype in [DType::F32, DType::F64, DType::I64] {
            for set in 0..1usize << shape.len() {
                let dims: Vec<usize> = (0..shape.len()).filter(|d| set >> d & 1 == 1).collect();
                let mut w = window(dtype, shape, rng.below(REPEATING), &mut rng);
                w.data = whole(dtype, w.data.len(), &mut rng);
                let sum = Op::with(&reduce::SUM, [Attr::dims(&dims)]);
                let ty = infer(&sum, &[w.clone()]).expect("fits");
                let want: Vec<f64> = groups(&w, &dims).iter().map(|g| g.iter().sum()).collect();
                assert_eq!(
                    as_f64(&run(&sum, &[w.clone()], &ty)),
                    want,
                    "sum {shape:?} over {dims:?} of {:?}",
                    w.layout
                );

                // extrema with NaNs and infinities
                w.data = data(dtype, w.data.len(), &mut rng);
                for (def, sign) in [(&reduce::AMAX, 1.0), (&reduce::AMIN, -1.0)] {
                    let op = Op::with(def, [Attr::dims(&dims)]);
                    let Some(ty) = infer(&op, &[w.clone()]) else { continue };
                    let y = as_f64(&run(&op, &[w.clone()], &ty));
                    let want = groups(&w, &dims);
                    let want = want.iter().map(|g| sign * max(&g.iter().map(|x| sign * x).collect::<Vec<_>>()));
                    for (a, b) in y.iter().zip(want) {
                        assert!(*a == b || (a.is_nan() && b.is_nan()), "{} {shape:?} over {dims:?}: {a} {b}", def.name);
                    }
                }
                if let [_] = dims[..] {
                    let op = Op::with(&reduce::ARGMAX, [Attr::dims(&dims)]);
                    let Some(ty) = infer(&op, &[w.clone()]) else { continue };
                    let first = |g: &Vec<f64>| {
                        let m = max(g);
                        g.iter().position(|x| *x == m || (x.is_nan() && m.is_nan())).expect("one is") as f64
                    };
                    let want: Vec<f64> = groups(&w, &dims).iter().map(first).collect();
                    assert_eq!(as_f64(&run(&op, &[w.clone()], &ty)), want, "argmax {shape:?} over {dims:?}");
                }
            }
        }
    }
}

#[test]
fn reductions_depend_on_the_shape_alone() {
    let mut rng = Rng(7);
    for shape in [vec![400_000], vec![600, 700], vec![3, 150_000], vec![150_000, 3], vec![30, 400, 20]] {
        for set in 1..1usize << shape.len() {
            let dims: Vec<usize> = (0..shape.len()).filter(|d| set >> d & 1 == 1).collect();
            let op = Op::with(&reduce::SUM, [Attr::dims(&dims)]);
            let mut w = window(DType::F32, &shape, 2, &mut rng);
            w.data = Data::F32((0..w.data.len()).map(|_| rng.float(-1.0, 1.0) as f32).collect());
            let dense = Window { data: w.dense(), layout: Layout::contiguous(&shape) };
            let ty = infer(&op, &[w.clone()]).expect("fits");
            let one = on_threads(1, || run(&op, std::slice::from_ref(&dense), &ty));
            assert!(
                same(&one, &on_threads(3, || run(&op, std::slice::from_ref(&dense), &ty))),
                "{shape:?} over {dims:?}"
            );
            assert!(same(&one, &on_threads(2, || run(&op, &[w.clone()], &ty))), "{shape:?} over {dims:?}, transposed");
            let exact: Vec<f64> = groups(&dense, &dims).iter().map(|g| g.iter().sum()).collect();
            for (a, b) in as_f64(&one).iter().zip(exact) {
                assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{shape:?} over {dims:?}: {a} {b}");
            }
        }
    }
}

#[test]
fn gathers_and_scatters_equal_plain_loops() {
    let mut rng = Rng(8);
    for _ in 0..300 {
        let rank = 1 + rng.below(3);
        let shape: Vec<usize> = (0..rank).map(|_| 1 + rng.below(12)).collect();
        let dim = rng.below(rank);
        let mut picks: Vec<usize> = shape.iter().map(|&n| 1 + rng.below(n)).collect();
        picks[dim] = rng.below(20);
        let x = window(DType::F64, &shape, rng.below(REPEATING), &mut rng);
        let mut idx = window(DType::I64, &picks, [0, 2, 3, 9][rng.below(4)], &mut rng);
        // an index repeated along another axis reads whole rows
        if rank > 1 && dim == 0 && rng.below(2) == 0 {
            idx.layout.strides[rank - 1] = 0;
        }
        idx.data = Data::I64((0..idx.data.len()).map(|_| rng.below(shape[dim]) as i64).collect());
        let i = as_f64(&idx.dense());
        let step: usize = shape[dim + 1..].iter().product();
        let at = |k: usize, j: i64| {
            let (mut rest, mut at, mut stride) = (k, 0, 1);
            for d in (0..rank).rev() {
                at += if d == dim { j as usize * step } else { rest % picks[d] * stride };
                rest /= picks[d];
                stride *= shape[d];
            }
            at
        };
        let gather = Op::with(&index::GATHER, [Attr::Int(dim as i64)]);
        let args = [x.clone(), idx.clone()];
        let ty = infer(&gather, &args).expect("fits");
        let from = as_f64(&x.dense());
        let want = Data::F64((0..i.len()).map(|k| from[at(k, i[k] as i64)]).collect());
        assert!(same(&run(&gather, &args, &ty), &want), "{shape:?} {picks:?} {dim}");

        // back again; the other extents are those of the index
        let mut ct = window(DType::F64, &picks, rng.below(REPEATING), &mut rng);
        ct.data = whole(DType::F64, ct.data.len(), &mut rng);
        let scatter = Op::with(&index::SCATTER_ADD, [Attr::Int(dim as i64), Attr::Int(shape[dim] as i64)]);
        let args = [ct.clone(), idx.clone()];
        let ty = infer(&scatter, &args).expect("fits");
        let mut want = vec![0.0; ty.numel()];
        let step: usize = picks[dim + 1..].iter().product();
        for (k, v) in as_f64(&ct.dense()).into_iter().enumerate() {
            let (outer, inner) = (k / (step * picks[dim]), k % step);
            want[(outer * shape[dim] + i[k] as usize) * step + inner] += v;
        }
        assert_eq!(as_f64(&run(&scatter, &args, &ty)), want, "{shape:?} {picks:?} {dim}");
    }
    let x = Window { data: Data::F64(vec![0.0; 6]), layout: Layout::contiguous(&[2, 3]) };
    let idx = Window { data: Data::I64(vec![0, 3]), layout: Layout::contiguous(&[2, 1]) };
    let op = Op::with(&index::GATHER, [Attr::Int(1)]);
    let e = op::evaluate(&op, &[x.operand(), idx.operand()], &Ty::new(DType::F64, &[2, 1]).expect("small"));
    assert!(e.expect_err("out of range").to_string().contains("expected indices below 3 along axis 1, found 3"));
}

#[test]
fn parts_join_and_products_read_any_strides() {
    let mut rng = Rng(9);
    for form in 0..FORMS - 4 {
        let parts = [window(DType::F32, &[4, 3, 5], form, &mut rng), window(DType::F32, &[4, 2, 5], 2, &mut rng)];
        let op = Op::with(&index::CONCAT, [Attr::Int(1)]);
        let y = run(&op, &parts, &infer(&op, &parts).expect("fits"));
        let dense = parts.each_ref().map(Window::dense);
        let want = (0..4 * 5 * 5).map(|k| match (k / 25, k / 5 % 5, k % 5) {
            (i, j, l) if j < 3 => bits(&dense[0], (i * 3 + j) * 5 + l),
            (i, j, l) => bits(&dense[1], (i * 2 + j - 3) * 5 + l),
        });
        assert!(want.enumerate().all(|(k, w)| bits(&y, k) == w), "form {form}");
    }
    let matmul = Op::new(&linalg::MATMUL);
    for (batch, m, k, n) in
        [(vec![], 3, 4, 2), (vec![2, 3], 5, 1, 7), (vec![4], 0, 3, 2), (vec![], 9, 0, 8), (vec![], 33, 65, 17)]
    {
        for (f, g) in [(0, 0), (0, 2), (2, 0), (3, 4), (4, 5), (9, 1), (5, 9)] {
            let shape = |r: usize, c: usize| [&batch[..], &[r, c]].concat();
            let mut args =
                [window(DType::F64, &shape(m, k), f, &mut rng), window(DType::F64, &shape(k, n), g, &mut rng)];
            for a in &mut args {
                a.data = whole(DType::F64, a.data.len(), &mut rng);
            }
            let ty = infer(&matmul, &args).expect("fits");
            let [a, b] = args.each_ref().map(|a| as_f64(&a.dense()));
            let want: Vec<f64> = (0..ty.numel())
                .map(|i| {
                    let (e, r, c) = (i / (m * n).max(1), i / n % m, i % n);
                    (0..k).map(|j| a[(e * m + r) * k + j] * b[(e * k + j) * n + c]).sum()
                })
                .collect();
            assert_eq!(as_f64(&run(&matmul, &args, &ty)), want, "{batch:?} {m} {k} {n}, forms {f} {g}");
        }
    }
}

#[test]
fn wrong_places_are_errors() {
    let mut rng = Rng(10);
    let (a, b) = (window(DType::F32, &[4], 0, &mut rng), window(DType::F32, &[4], 0, &mut rng));
    let (op, ty) = (Op::new(&arith::ADD), Ty::new(DType::F32, &[4]).expect("small"));
    let args = [a.operand(), b.operand()];
    let mut f64s = Data::zeros(DType::F64, 4);
    assert!(op::evaluate_into(&op, &args, &ty, &mut f64s, &Layout::contiguous(&[4])).is_err());
    let mut f32s = Data::zeros(DType::F32, 8);
    assert!(op::evaluate_into(&op, &args, &ty, &mut f32s, &Layout::contiguous(&[2, 4])).is_err());
    let mixed = [a.operand(), Operand { data: Slice::I64(&[1, 2, 3, 4]), layout: &b.layout }];
    assert!(op::evaluate(&op, &mixed, &ty).is_err());
}
