//! Every derivative rule against finite differences: one table, one row an operation, one check. An
//! operation of `op::all()` without a row fails `every_operation_has_a_row`. The patterns of their derivatives are checked
//! with them.

mod common;

use autograd_runtime::{
    AttentionOptions, ConvOptions, CrossEntropyOptions, PoolOptions, Reduction, Tensor, TriangularOptions,
    array::Array,
    diff,
    emit::{Ex, apply},
    grad,
    graph::{Builder, Graph},
    interp, op,
    op::{Attr, Derivative, Op},
    program::Program,
    ty::{DType, Ty},
};
use common::{Rng, array, ty};

/// The numbers an argument is drawn from.
#[derive(Clone, Copy)]
enum Draw {
    /// Uniform in a range.
    Range(f64, f64),
    /// Uniform in ±[lo, hi]: away from a kink or pole at zero.
    Both(f64, f64),
    /// Distinct numbers in a random order, so that extrema have no near ties.
    Distinct,
    /// Whole numbers below.
    Below(usize),
    /// These, repeated: integer arguments with duplicates.
    Given(&'static [f64]),
}
use Draw::{Below, Both, Distinct, Given, Range};

/// Arguments on the tape.
struct Args {
    f: Vec<Tensor<f64>>,
    i: Vec<Tensor<i64>>,
    b: Vec<Tensor<bool>>,
}
type Tape = fn(&Args) -> Tensor<f64>;

/// What a row tests: an operation of the table, or a composite.
#[derive(Clone)]
enum What {
    Op(Vec<Attr>),
    Composite(for<'e> fn(&[Ex<'e>]) -> Ex<'e>),
}

struct Row {
    name: &'static str,
    args: Vec<(&'static str, Draw)>,
    what: What,
    /// How often it is differentiated: 0 for operations whose derivative is zero or that have no real values.
    order: u32,
    tape: Option<Tape>,
}

fn int(n: i64) -> Attr {
    Attr::Int(n)
}
fn dims(d: &[usize]) -> Attr {
    Attr::dims(d)
}
/// The window of a convolution: stride, padding, dilation and groups.
fn window(stride: &[usize], padding: &[usize], dilation: &[usize], groups: i64) -> Vec<Attr> {
    vec![dims(stride), dims(padding), dims(dilation), int(groups)]
}
fn op_row(name: &'static str, args: &[(&'static str, Draw)], attrs: Vec<Attr>, order: u32, tape: Option<Tape>) -> Row {
    Row { name, args: args.to_vec(), what: What::Op(attrs), order, tape }
}
fn composite(
    name: &'static str,
    args: &[(&'static str, Draw)],
    f: for<'e> fn(&[Ex<'e>]) -> Ex<'e>,
    order: u32,
    tape: Option<Tape>,
) -> Row {
    Row { name, args: args.to_vec(), what: What::Composite(f), order, tape }
}

/// A row of a function of one argument; of two; with the tensor method of the same name.
macro_rules! unary {
    ($name:literal, $from:expr, $order:literal, $method:ident) => {
        op_row($name, &[("f64[2,3]", $from)], vec![], $order, Some(|a| a.f[0].$method()))
    };
    ($name:literal, $from:expr, $order:literal) => {
        op_row($name, &[("f64[2,3]", $from)], vec![], $order, None)
    };
}
macro_rules! binary {
    ($name:literal, $a:expr, $b:expr, $order:literal, $tape:expr) => {
        op_row($name, &[("f64[2,3]", $a), ("f64[3]", $b)], vec![], $order, $tape)
    };
}
macro_rules! compare {
    ($name:literal, $method:ident) => {
        op_row($name, &[("f64[2,3]", Below(3)), ("f64[3]", Below(3))], vec![], 0, None)
    };
}

const R2: Draw = Range(-2.0, 2.0);
const POS: Draw = Range(0.3, 3.0);
const UNIT: Draw = Range(-0.9, 0.9);
const OFF: Draw = Both(0.2, 2.0);

/// Well-conditioned matrices, and symmetric positive-definite ones with eigenvalues apart.
const SQUARE: Draw =
    Given(&[2.1, 0.4, -0.7, 0.3, -1.8, 0.5, 0.6, -0.2, 1.5, 0.2, 1.7, 0.3, -2.2, 0.1, 0.8, 0.4, 0.9, 1.9]);
const POSITIVE: Draw =
    Given(&[4.0, 0.5, -0.3, 0.5, 2.0, 0.4, -0.3, 0.4, 1.0, 3.0, 1.0, 0.2, 1.0, 5.0, -0.6, 0.2, -0.6, 7.0]);

const KEY: (&str, Draw) = ("i64[2]", Given(&[17.0, 3.0]));

fn rows() -> Vec<Row> {
    vec![
        // arithmetic
        unary!("neg", R2, 2),
        unary!("abs", OFF, 2, abs),
        unary!("sign", OFF, 0, sign),
        unary!("floor", OFF, 0, floor),
        unary!("ceil", OFF, 0, ceil),
        unary!("trunc", OFF, 0, trunc),
        unary!("round", OFF, 0, round),
        unary!("sqrt", POS, 2, sqrt),
        unary!("rsqrt", POS, 2, rsqrt),
        unary!("recip", OFF, 2, recip),
        unary!("square", R2, 2, square),
        unary!("relu", OFF, 2, relu),
        op_row("detach", &[("f64[2,3]", R2)], vec![], 0, None),
        unary!("copy", R2, 2, copy),
        binary!("add", R2, R2, 2, Some(|a| &a.f[0] + &a.f[1])),
        binary!("sub", R2, R2, 2, Some(|a| &a.f[0] - &a.f[1])),
        binary!("mul", R2, R2, 2, Some(|a| &a.f[0] * &a.f[1])),
        binary!("div", R2, OFF, 2, Some(|a| &a.f[0] / &a.f[1])),
        op_row(
            "maximum",
            &[("f64[2,1]", Given(&[0.3, -0.7])), ("f64[3]", Given(&[0.1, 0.9, -1.0]))],
            vec![],
            2,
            Some(|a| a.f[0].maximum(&a.f[1])),
        ),
        op_row(
            "minimum",
            &[("f64[2,1]", Given(&[0.3, -0.7])), ("f64[3]", Given(&[0.1, 0.9, -1.0]))],
            vec![],
            2,
            Some(|a| a.f[0].minimum(&a.f[1])),
        ),
        op_row("fmax", &[("f64[2,1]", Given(&[0.3, -0.7])), ("f64[3]", Given(&[0.1, 0.9, -1.0]))], vec![], 2, None),
        op_row("fmin", &[("f64[2,1]", Given(&[0.3, -0.7])), ("f64[3]", Given(&[0.1, 0.9, -1.0]))], vec![], 2, None),
        binary!("copysign", OFF, OFF, 2, None),
        binary!("rem", Given(&[5.3, -7.9, 2.2, 8.8, -3.1, 6.4]), Given(&[2.0, 3.0, 0.9, -2.5, 0.8, 1.7]), 2, None),
        op_row(
            "clamp",
            &[
                ("f64[4]", Given(&[-1.5, 0.2, 1.7, -0.4])),
                ("f64[]", Given(&[-0.9])),
                ("f64[4]", Given(&[0.8, 0.9, 1.1, -1.3])),
            ],
            vec![],
            2,
            None,
        ),
        // elementary functions
        unary!("exp", R2, 2, exp),
        unary!("exp2", R2, 2, exp2),
        unary!("expm1", R2, 2, expm1),
        unary!("ln", POS, 2, ln),
        unary!("log2", POS, 2, log2),
        unary!("log10", POS, 2, log10),
        unary!("log1p", Range(-0.7, 3.0), 2, log1p),
        unary!("sin", R2, 2, sin),
        unary!("cos", R2, 2, cos),
        unary!("tan", Range(-1.2, 1.2), 2, tan),
        unary!("asin", UNIT, 2, asin),
        unary!("acos", UNIT, 2, acos),
        unary!("atan", R2, 2, atan),
        unary!("sinh", R2, 2, sinh),
        unary!("cosh", R2, 2, cosh),
        unary!("tanh", R2, 2, tanh),
        unary!("asinh", R2, 2, asinh),
        unary!("acosh", Range(1.3, 3.0), 2, acosh),
        unary!("atanh", UNIT, 2, atanh),
        unary!("sigmoid", R2, 2, sigmoid),
        unary!("softplus", R2, 2, softplus),
        unary!("cbrt", OFF, 2, cbrt),
        unary!("erf", R2, 2, erf),
        unary!("erfc", R2, 2, erfc),
        unary!("lgamma", POS, 2, lgamma),
        unary!("lgamma", Given(&[-0.3, -1.6, -2.45, 0.2]), 2, lgamma),
        unary!("digamma", POS, 2, digamma),
        unary!("digamma", Given(&[-0.3, -1.6, -2.45, 0.2]), 2, digamma),
        op_row("polygamma", &[("f64[2,3]", POS)], vec![int(1)], 2, Some(|a| a.f[0].polygamma(1))),
        op_row("polygamma", &[("f64[4]", Given(&[-0.3, -1.6, -2.45, 14.0]))], vec![int(2)], 2, None),
        binary!("xlogy", R2, POS, 2, Some(|a| a.f[0].xlogy(&a.f[1]))),
        unary!("sech2", R2, 2),
        unary!("sigmoid_grad", R2, 2),
        binary!("pow", POS, R2, 2, Some(|a| a.f[0].pow(&a.f[1]))),
        binary!("atan2", OFF, OFF, 2, Some(|a| a.f[0].atan2(&a.f[1]))),
        binary!("hypot", OFF, OFF, 2, Some(|a| a.f[0].hypot(&a.f[1]))),
        op_row("powi", &[("f64[2,3]", OFF)], vec![int(0)], 2, Some(|a| a.f[0].powi(0))),
        op_row("powi", &[("f64[2,3]", OFF)], vec![int(1)], 2, Some(|a| a.f[0].powi(1))),
        op_row("powi", &[("f64[2,3]", OFF)], vec![int(2)], 2, Some(|a| a.f[0].powi(2))),
        op_row("powi", &[("f64[2,3]", OFF)], vec![int(5)], 2, Some(|a| a.f[0].powi(5))),
        op_row("powi", &[("f64[2,3]", OFF)], vec![int(-2)], 2, Some(|a| a.f[0].powi(-2))),
        // comparisons and selection
        compare!("lt", lt),
        compare!("le", le),
        compare!("gt", gt),
        compare!("ge", ge),
        compare!("eq", eq),
        compare!("ne", ne),
        op_row("and", &[("bool[4]", Below(2)), ("bool[]", Below(2))], vec![], 0, None),
        op_row("or", &[("bool[4]", Below(2)), ("bool[]", Below(2))], vec![], 0, None),
        op_row("xor", &[("bool[4]", Below(2)), ("bool[4]", Below(2))], vec![], 0, None),
        op_row("not", &[("bool[4]", Below(2))], vec![], 0, None),
        op_row("is_nan", &[("f64[4]", R2)], vec![], 0, None),
        op_row(
            "select",
            &[("bool[2,1]", Given(&[1.0, 0.0])), ("f64[3]", R2), ("f64[2,3]", R2)],
            vec![],
            2,
            Some(|a| a.b[0].where_(&a.f[0], &a.f[1])),
        ),
        op_row("cast", &[("f64[3]", R2)], vec![Attr::DType(DType::F64)], 2, None),
        op_row("cast", &[("f64[3]", R2)], vec![Attr::DType(DType::I64)], 0, None),
        composite("cast through f32", &[("f64[3]", R2)], |x| x[0].cast(DType::F32).cast(DType::F64), 0, None),
        // reductions
        op_row("sum", &[("f64[2,3,4]", R2)], vec![dims(&[0, 2])], 2, Some(|a| a.f[0].sum_dim(&[0, 2], true))),
        op_row("sum", &[("f64[2,3,4]", R2)], vec![dims(&[0, 1, 2])], 2, None),
        op_row("amax", &[("f64[2,3,4]", Distinct)], vec![dims(&[2])], 2, Some(|a| a.f[0].amax(&[2], true))),
        op_row("amax", &[("f64[2,3,4]", Distinct)], vec![dims(&[0, 2])], 2, Some(|a| a.f[0].amax(&[0, 2], true))),
        op_row("amin", &[("f64[2,3,4]", Distinct)], vec![dims(&[1])], 2, Some(|a| a.f[0].amin(&[1], true))),
        op_row("argmax", &[("f64[2,3,4]", Distinct)], vec![dims(&[1])], 0, None),
        op_row("argmin", &[("f64[2,3,4]", Distinct)], vec![dims(&[1])], 0, None),
        // along an axis
        op_row("cumsum", &[("f64[2,3,2]", R2)], vec![int(1), int(0)], 2, Some(|a| a.f[0].cumsum(1))),
        op_row("cumsum", &[("f64[2,3]", R2)], vec![int(0), int(1)], 2, None),
        op_row("recurrence", &[("f64[2,4,2]", R2), ("f64[2,4,2]", R2)], vec![int(1), int(0)], 2, None),
        op_row(
            "recurrence",
            &[("f64[5]", Given(&[0.0, 1.5, 0.0, -0.7, 2.0])), ("f64[5]", R2)],
            vec![int(0), int(1)],
            2,
            None,
        ),
        op_row("recurrence", &[("f64[2,0]", R2), ("f64[2,0]", R2)], vec![int(1), int(0)], 2, None),
        op_row("logcumsumexp", &[("f64[2,4,2]", R2)], vec![int(1)], 2, Some(|a| a.f[0].logcumsumexp(1))),
        op_row("cummax_index", &[("f64[2,4]", Distinct)], vec![int(1)], 0, None),
        op_row("cummin_index", &[("f64[2,4]", Distinct)], vec![int(0)], 0, None),
        op_row("argsort", &[("f64[2,4]", Distinct)], vec![int(1), int(1)], 0, None),
        op_row("last_writer", &[("i64[2,3]", Given(&[1.0, 1.0, 4.0]))], vec![int(1), dims(&[2, 5])], 0, None),
        // linear algebra
        op_row("solve", &[("f64[2,3,3]", SQUARE), ("f64[2,3,2]", R2)], vec![], 2, Some(|a| a.f[0].solve(&a.f[1]))),
        op_row("solve_triangular", &[("f64[3,3]", SQUARE), ("f64[3,2]", R2)], vec![int(0), int(0)], 2, None),
        op_row("solve_triangular", &[("f64[2,3,3]", SQUARE), ("f64[2,3,1]", R2)], vec![int(1), int(1)], 2, None),
        op_row("inv", &[("f64[2,3,3]", SQUARE)], vec![int(1)], 2, Some(|a| a.f[0].inv())),
        op_row("det", &[("f64[2,3,3]", SQUARE)], vec![], 2, Some(|a| a.f[0].det())),
        // of rank 2 and 1: first and second derivatives are there
        op_row("det", &[("f64[3,3]", Given(&[1.0, 2.0, 3.0, 2.0, 4.0, 6.0, 0.5, -1.0, 2.0]))], vec![], 2, None),
        op_row("det", &[("f64[3,3]", Given(&[1.0, 2.0, 3.0, 2.0, 4.0, 6.0, -1.0, -2.0, -3.0]))], vec![], 2, None),
        op_row("det", &[("f64[2,0,0]", R2)], vec![], 2, None),
        op_row("cofactor", &[("f64[3,3]", SQUARE)], vec![], 2, None),
        op_row("cofactor_slope", &[("f64[3,3]", SQUARE), ("f64[3,3]", R2)], vec![], 2, None),
        op_row("logabsdet", &[("f64[2,3,3]", SQUARE)], vec![], 2, Some(|a| a.f[0].logabsdet())),
        op_row("cholesky", &[("f64[2,3,3]", POSITIVE)], vec![], 2, Some(|a| a.f[0].cholesky())),
        op_row("eigh", &[("f64[2,3,3]", POSITIVE)], vec![], 2, None),
        composite(
            "eigvalsh",
            &[("f64[3,3]", POSITIVE)],
            |x| x[0].eigh_parts().1.squeeze(-1),
            2,
            Some(|a| a.f[0].eigvalsh()),
        ),
        composite(
            "solve_triangular right",
            &[("f64[3,3]", SQUARE), ("f64[2,2,3]", R2)],
            |x| x[0].solve_triangular(&x[1], TriangularOptions { upper: true, left: false, unit: false }),
            2,
            Some(|a| a.f[0].solve_triangular(&a.f[1], TriangularOptions { upper: true, left: false, unit: false })),
        ),
        // views
        op_row("reshape", &[("f64[2,3,4]", R2)], vec![dims(&[4, 6])], 2, Some(|a| a.f[0].reshape(&[4, 6]))),
        op_row(
            "reshape",
            &[("f64[2,3,4]", R2)],
            vec![dims(&[2, 3, 2, 1, 2])],
            2,
            Some(|a| a.f[0].reshape(&[2, 3, 2, 1, 2])),
        ),
        op_row("expand", &[("f64[3,1]", R2)], vec![dims(&[2, 3, 4])], 2, Some(|a| a.f[0].expand([2, 3, 4]))),
        op_row("permute", &[("f64[2,3,4]", R2)], vec![dims(&[2, 0, 1])], 2, Some(|a| a.f[0].permute(&[2, 0, 1]))),
        op_row(
            "slice",
            &[("f64[3,7]", R2)],
            vec![int(1), int(1), int(3), int(2)],
            2,
            Some(|a| a.f[0].slice(1, 1, 6, 2)),
        ),
        op_row(
            "slice",
            &[("f64[3,7]", R2)],
            vec![int(1), int(7), int(0), int(1)],
            2,
            Some(|a| a.f[0].slice(1, 7, 7, 1)),
        ),
        op_row("flip", &[("f64[2,3,4]", R2)], vec![dims(&[0, 2])], 2, None),
        // products and indices
        op_row("matmul", &[("f64[2,3]", R2), ("f64[3,4]", R2)], vec![], 2, Some(|a| a.f[0].matmul(&a.f[1]))),
        op_row("matmul", &[("f64[2,2,3]", R2), ("f64[2,3,1]", R2)], vec![], 2, Some(|a| a.f[0].matmul(&a.f[1]))),
        op_row("matmul", &[("f64[2,0]", R2), ("f64[0,3]", R2)], vec![], 2, Some(|a| a.f[0].matmul(&a.f[1]))),
        op_row(
            "concat",
            &[("f64[2,3]", R2), ("f64[2,0]", R2), ("f64[2,2]", R2)],
            vec![int(1)],
            2,
            Some(|a| Tensor::cat(&[&a.f[0], &a.f[1], &a.f[2]], 1)),
        ),
        // windows: on a row-major base; with repeats on a transposed one; written to a transposed one
        op_row("window", &[("f64[3,4]", R2)], vec![dims(&[2, 2]), dims(&[8, 1]), int(1), dims(&[4, 1])], 2, None),
        op_row("window", &[("f64[3,4]", R2)], vec![dims(&[2, 2]), dims(&[0, 3]), int(2), dims(&[1, 3])], 2, None),
        op_row("window_add", &[("f64[2,2]", R2)], vec![dims(&[3, 4]), dims(&[0, 3]), int(2), dims(&[1, 3])], 2, None),
        op_row(
            "set_window",
            &[("f64[3,4]", R2), ("f64[2,2]", R2)],
            vec![dims(&[1, 6]), int(1), dims(&[1, 3])],
            2,
            None,
        ),
        op_row("unslice", &[("f64[2,3]", R2)], vec![int(1), int(1), int(2), int(7)], 2, None),
        // integers
        op_row(
            "int_div",
            &[("i64[4]", Given(&[7.0, -7.0, 7.0, -7.0])), ("i64[4]", Given(&[2.0, 2.0, -2.0, -1.0]))],
            vec![int(0)],
            0,
            None,
        ),
        op_row(
            "int_rem",
            &[("i64[4]", Given(&[7.0, -7.0, 7.0, -7.0])), ("i64[4]", Given(&[2.0, 2.0, -2.0, -1.0]))],
            vec![int(0)],
            0,
            None,
        ),
        op_row("uint_div", &[("i64[2]", Given(&[7.0, -7.0])), ("i64[2]", Given(&[2.0, 2.0]))], vec![int(0)], 0, None),
        op_row("uint_rem", &[("i64[2]", Given(&[7.0, -7.0])), ("i64[2]", Given(&[2.0, 5.0]))], vec![int(0)], 0, None),
        op_row("int_and", &[("i64[2]", Given(&[13.0, -7.0])), ("i64[2]", Given(&[6.0, 5.0]))], vec![], 0, None),
        op_row("int_or", &[("i64[2]", Given(&[13.0, -7.0])), ("i64[2]", Given(&[6.0, 5.0]))], vec![], 0, None),
        op_row("int_xor", &[("i64[2]", Given(&[13.0, -7.0])), ("i64[2]", Given(&[6.0, 5.0]))], vec![], 0, None),
        op_row("int_count_ones", &[("i64[2]", Given(&[13.0, -7.0]))], vec![], 0, None),
        op_row("int_leading_zeros", &[("i64[2]", Given(&[13.0, -7.0]))], vec![], 0, None),
        op_row("int_trailing_zeros", &[("i64[2]", Given(&[12.0, -8.0]))], vec![], 0, None),
        op_row("int_shl", &[("i64[2]", Given(&[13.0, -7.0])), ("i64[2]", Given(&[2.0, 1.0]))], vec![], 0, None),
        op_row("int_shr", &[("i64[2]", Given(&[13.0, -7.0])), ("i64[2]", Given(&[2.0, 1.0]))], vec![], 0, None),
        op_row("uint_shr", &[("i64[2]", Given(&[13.0, -7.0])), ("i64[2]", Given(&[2.0, 1.0]))], vec![], 0, None),
        op_row("trip", &[("i64[]", Given(&[3.0]))], vec![int(0), int(4)], 0, None),
        op_row("holds", &[("bool[]", Given(&[1.0]))], vec![int(0)], 0, None),
        op_row("after", &[("f64[2,3]", R2), ("bool[]", Given(&[1.0]))], vec![], 2, None),
        // lists, of a known length here
        op_row("list_len", &[("f64[4]", R2)], vec![], 0, None),
        op_row("list_within", &[("i64[]", Given(&[2.0])), ("i64[]", Given(&[3.0]))], vec![int(0), int(0)], 0, None),
        op_row("list_order", &[("f64[4]", R2)], vec![int(0), int(1), int(0)], 0, None),
        op_row("list_get", &[("f64[4]", R2), ("i64[]", Given(&[2.0]))], vec![int(0)], 2, None),
        op_row("list_set", &[("f64[4]", R2), ("i64[]", Given(&[2.0])), ("f64[]", R2)], vec![int(0)], 2, None),
        op_row("list_add", &[("f64[4]", R2), ("i64[]", Given(&[2.0])), ("f64[]", R2)], vec![int(0)], 2, None),
        op_row(
            "gather",
            &[("f64[3,4]", R2), ("i64[2,5]", Given(&[0.0, 3.0, 3.0, 1.0, 2.0]))],
            vec![int(1)],
            2,
            Some(|a| a.f[0].gather(1, &a.i[0])),
        ),
        op_row(
            "scatter_add",
            &[("f64[2,3]", R2), ("i64[2,3]", Given(&[1.0, 1.0, 4.0]))],
            vec![int(1), int(5)],
            2,
            None,
        ),
        // convolution: plain, then strided, padded, dilated and in groups, over one, two and three axes
        op_row(
            "convolution",
            &[("f64[2,2,5,4]", R2), ("f64[3,2,3,2]", R2)],
            window(&[1, 1], &[0, 0], &[1, 1], 1),
            2,
            None,
        ),
        op_row("convolution", &[("f64[2,4,7]", R2), ("f64[6,2,3]", R2)], window(&[2], &[3], &[2], 2), 2, None),
        op_row(
            "convolution",
            &[("f64[1,2,3,4]", R2), ("f64[3,2,1,1]", R2)],
            window(&[1, 1], &[0, 0], &[1, 1], 1),
            2,
            None,
        ),
        op_row(
            "convolution",
            &[("f64[1,2,3,2,4]", R2), ("f64[2,1,2,1,3]", R2)],
            window(&[1, 2, 3], &[1, 0, 2], &[1, 1, 2], 2),
            2,
            None,
        ),
        op_row("convolution", &[("f64[0,2,3]", R2), ("f64[3,2,2]", R2)], window(&[1], &[0], &[1], 1), 2, None),
        op_row(
            "convolution_input",
            &[("f64[2,4,2,3]", R2), ("f64[4,1,3,2]", R2)],
            [window(&[2, 1], &[1, 0], &[1, 2], 2), vec![dims(&[4, 5])]].concat(),
            2,
            None,
        ),
        op_row(
            "convolution_weight",
            &[("f64[2,4,6]", R2), ("f64[2,2,3]", R2)],
            [window(&[2], &[1], &[2], 2), vec![dims(&[2])]].concat(),
            2,
            None,
        ),
        op_row(
            "max_pool_index",
            &[("f64[2,2,5,5]", Distinct)],
            vec![dims(&[2, 1]), dims(&[1, 0]), dims(&[1, 2]), dims(&[3, 2])],
            0,
            None,
        ),
        composite(
            "conv2d",
            &[("f64[2,2,4,5]", R2), ("f64[4,1,3,2]", R2), ("f64[4]", R2)],
            |x| x[0].conv(&x[1], Some(&x[2]), &ConvOptions::<2>::new().stride([1, 2]).padding(1).groups(2)),
            2,
            Some(|a| {
                let o = ConvOptions::new().stride([1, 2]).padding(1).groups(2);
                a.f[0].conv2d(&a.f[1], Some(&a.f[2]), &o)
            }),
        ),
        composite(
            "conv1d",
            &[("f64[3,6]", R2), ("f64[2,3,2]", R2)],
            |x| x[0].conv(&x[1], None, &ConvOptions::<1>::new()),
            2,
            Some(|a| a.f[0].conv1d(&a.f[1], None, &ConvOptions::new())),
        ),
        composite(
            "conv_transpose2d",
            &[("f64[2,4,2,3]", R2), ("f64[4,1,3,2]", R2), ("f64[2]", R2)],
            |x| x[0].conv_transpose(&x[1], Some(&x[2]), &ConvOptions::<2>::new().stride(2).output_padding(1).groups(2)),
            2,
            Some(|a| {
                let o = ConvOptions::new().stride(2).output_padding(1).groups(2);
                a.f[0].conv_transpose2d(&a.f[1], Some(&a.f[2]), &o)
            }),
        ),
        composite(
            "max_pool2d",
            &[("f64[2,2,5,4]", Distinct)],
            |x| x[0].max_pool(&PoolOptions::<2>::new([3, 2]).stride(2).padding(1)),
            2,
            Some(|a| a.f[0].max_pool2d(PoolOptions::new([3, 2]).stride(2).padding(1))),
        ),
        composite(
            "avg_pool2d",
            &[("f64[2,5,4]", R2)],
            |x| x[0].avg_pool(&PoolOptions::<2>::new([3, 2]).stride(2).padding(1)),
            2,
            Some(|a| a.f[0].avg_pool2d(PoolOptions::new([3, 2]).stride(2).padding(1))),
        ),
        // random numbers under a key
        op_row("rand", &[KEY], vec![Attr::DType(DType::F64), dims(&[3, 2])], 0, None),
        op_row("randn", &[KEY], vec![Attr::DType(DType::F32), dims(&[5])], 0, None),
        op_row("randint", &[KEY], vec![int(-3), int(9), dims(&[2, 2])], 0, None),
        op_row("randperm", &[KEY], vec![int(7)], 0, None),
        op_row("bernoulli", &[KEY], vec![int(1 << 31), dims(&[9])], 0, None),
        composite("dropout", &[("f64[2,3]", R2), KEY], |x| x[0].dropout(&x[1], 0.4), 2, None),
        composite("dropout all", &[("f64[2,3]", R2), KEY], |x| x[0].dropout(&x[1], 1.0), 2, None),
        // composites
        composite(
            "sum",
            &[("f64[2,3]", R2)],
            |x| x[0].sum(Some(&[-1]), false),
            2,
            Some(|a| a.f[0].sum_dim(&[-1], false)),
        ),
        composite("amax", &[("f64[2,3]", Distinct)], |x| x[0].amax(None, false), 2, Some(|a| a.f[0].max())),
        composite("amin", &[("f64[2,3]", Distinct)], |x| x[0].amin(None, false), 2, Some(|a| a.f[0].min())),
        composite("argmax", &[("f64[2,3]", Distinct)], |x| x[0].argmax(0, false), 0, None),
        composite(
            "mean",
            &[("f64[2,3]", R2)],
            |x| x[0].mean(Some(&[0]), false),
            2,
            Some(|a| a.f[0].mean_dim(&[0], false)),
        ),
        composite(
            "var",
            &[("f64[2,3]", R2)],
            |x| x[0].var(Some(&[1]), 1.0, true),
            2,
            Some(|a| a.f[0].var_dim(&[1], 1.0, true)),
        ),
        composite("norm", &[("f64[2,3]", R2)], |x| x[0].norm(2.0, None, false), 2, Some(|a| a.f[0].norm())),
        composite("norm 1", &[("f64[2,3]", OFF)], |x| x[0].norm(1.0, Some(&[1]), true), 2, None),
        composite("norm 1.5", &[("f64[2,3]", OFF)], |x| x[0].norm(1.5, Some(&[0]), false), 2, None),
        composite("norm -2", &[("f64[2,3]", OFF)], |x| x[0].norm(-2.0, None, false), 2, None),
        composite("norm of the largest", &[("f64[2,3]", Distinct)], |x| x[0].norm(f64::INFINITY, None, false), 2, None),
        composite("norm 0", &[("f64[2,3]", OFF)], |x| x[0].norm(0.0, None, false), 0, None),
        composite(
            "std",
            &[("f64[2,3]", R2)],
            |x| x[0].std(Some(&[-1]), 0.0, true),
            2,
            Some(|a| a.f[0].std_dim(&[-1], 0.0, true)),
        ),
        composite(
            "prod",
            &[("f64[2,4]", Given(&[1.5, 0.0, -0.7, 2.0, 0.0, 0.3, 0.0, 0.9]))],
            |x| x[0].prod(1, false),
            2,
            Some(|a| a.f[0].prod_dim(1, false)),
        ),
        composite(
            "cumprod",
            &[("f64[2,4]", Given(&[1.5, 0.0, -0.7, 2.0, 0.0, 0.3, 0.0, 0.9]))],
            |x| x[0].cumprod(1),
            2,
            Some(|a| a.f[0].cumprod(1)),
        ),
        composite("median", &[("f64[7]", Distinct)], |x| x[0].median(), 2, Some(|a| a.f[0].median())),
        composite(
            "scatter",
            &[("f64[2,3]", R2), ("i64[2,2]", Given(&[1.0, 1.0, 0.0, 2.0])), ("f64[2,4]", R2)],
            |x| x[0].scatter(1, &x[1], &x[2]),
            2,
            Some(|a| a.f[0].scatter(1, &a.i[0], &a.f[1])),
        ),
        composite(
            "scatter_added",
            &[("f64[3,3]", R2), ("i64[2,2]", Given(&[1.0, 1.0, 0.0, 2.0])), ("f64[2,4]", R2)],
            |x| x[0].scatter_added(1, &x[1], &x[2]),
            2,
            Some(|a| a.f[0].scatter_add(1, &a.i[0], &a.f[1])),
        ),
        composite(
            "logsumexp",
            &[("f64[2,3]", R2)],
            |x| x[0].logsumexp(Some(&[1]), false),
            2,
            Some(|a| a.f[0].logsumexp(&[1], false)),
        ),
        composite(
            "logsumexp0",
            &[("f64[2,3]", R2)],
            |x| x[0].logsumexp(Some(&[0]), false),
            2,
            Some(|a| a.f[0].logsumexp(&[0], false)),
        ),
        composite("softmax", &[("f64[2,3]", R2)], |x| x[0].softmax(-1), 2, Some(|a| a.f[0].softmax(-1))),
        composite("softmax0", &[("f64[2,3]", R2)], |x| x[0].softmax(0), 2, Some(|a| a.f[0].softmax(0))),
        composite("log_softmax", &[("f64[2,3]", R2)], |x| x[0].log_softmax(1), 2, Some(|a| a.f[0].log_softmax(1))),
        composite(
            "cross_entropy",
            &[("f64[4,3]", R2), ("i64[4]", Below(3))],
            |x| x[0].cross_entropy(&x[1], None, &CrossEntropyOptions::default()),
            2,
            Some(|a| a.f[0].cross_entropy(&a.i[0])),
        ),
        composite(
            "mse_loss",
            &[("f64[2,3]", R2), ("f64[2,3]", R2)],
            |x| x[0].mse_loss(&x[1], Reduction::Mean),
            2,
            Some(|a| a.f[0].mse_loss(&a.f[1])),
        ),
        composite(
            "cross_entropy of images",
            &[("f64[2,3,2]", R2), ("i64[2,2]", Given(&[0.0, 2.0, -100.0, 1.0])), ("f64[3]", POS)],
            |x| x[0].cross_entropy(&x[1], Some(&x[2]), &CrossEntropyOptions::default().label_smoothing(0.2)),
            2,
            Some(|a| {
                let o = CrossEntropyOptions::default().label_smoothing(0.2);
                a.f[0].cross_entropy_with(&a.i[0], Some(&a.f[1]), &o)
            }),
        ),
        composite(
            "cross_entropy_soft",
            &[("f64[2,3]", R2), ("f64[2,3]", POS), ("f64[3]", POS)],
            |x| x[0].cross_entropy_soft(&x[1], Some(&x[2]), &CrossEntropyOptions::default().label_smoothing(0.2)),
            2,
            Some(|a| {
                let o = CrossEntropyOptions::default().label_smoothing(0.2);
                a.f[0].cross_entropy_soft(&a.f[1], Some(&a.f[2]), &o)
            }),
        ),
        composite(
            "bce_with_logits",
            &[("f64[2,3]", R2), ("f64[2,3]", UNIT), ("f64[3]", POS), ("f64[3]", POS)],
            |x| x[0].bce_with_logits(&x[1], Some(&x[2]), Some(&x[3]), Reduction::Sum),
            2,
            Some(|a| a.f[0].bce_with_logits(&a.f[1], Some(&a.f[2]), Some(&a.f[3]), Reduction::Sum)),
        ),
        composite(
            "kl_div",
            &[("f64[2,3]", R2), ("f64[2,3]", POS)],
            |x| x[0].kl_div(&x[1], Reduction::BatchMean, false),
            2,
            Some(|a| a.f[0].kl_div(&a.f[1], Reduction::BatchMean, false)),
        ),
        composite(
            "batch_norm given",
            &[("f64[2,3,2]", R2), ("f64[3]", R2), ("f64[3]", POS), ("f64[3]", R2)],
            |x| x[0].batch_norm(Some((&x[1], &x[2])), Some(&x[3]), None, 1e-5),
            2,
            Some(|a| a.f[0].batch_norm(Some((&a.f[1], &a.f[2])), Some(&a.f[3]), None, 1e-5)),
        ),
        composite(
            "attention",
            &[("f64[2,3,4]", R2), ("f64[2,5,4]", R2), ("f64[2,5,2]", R2), ("bool[3,5]", Given(&[1.0, 0.0, 1.0, 1.0]))],
            |x| {
                let o = AttentionOptions { causal: false, scale: Some(0.7) };
                x[0].attention(&x[1], &x[2], Some(&x[3]), o)
            },
            2,
            Some(|a| {
                let o = AttentionOptions { causal: false, scale: Some(0.7) };
                a.f[0].scaled_dot_product_attention_masked(&a.f[1], &a.f[2], &a.b[0], o)
            }),
        ),
        composite(
            "max_pool2d beyond",
            &[("f64[1,2,5,6]", Distinct)],
            |x| x[0].max_pool(&PoolOptions::<2>::new([2, 3]).padding(1).dilation([2, 1]).ceil_mode(true)),
            2,
            Some(|a| a.f[0].max_pool2d(PoolOptions::new([2, 3]).padding(1).dilation([2, 1]).ceil_mode(true))),
        ),
        composite(
            "avg_pool2d beyond",
            &[("f64[1,2,5,6]", R2)],
            |x| x[0].avg_pool(&PoolOptions::<2>::new(3).stride(2).padding(1).ceil_mode(true).count_include_pad(false)),
            2,
            Some(|a| {
                let o = PoolOptions::new(3).stride(2).padding(1).ceil_mode(true).count_include_pad(false);
                a.f[0].avg_pool2d(o)
            }),
        ),
        composite(
            "einsum",
            &[("f64[2,3,3]", R2), ("f64[3,1,4]", R2), ("f64[4]", R2)],
            |x| Ex::einsum("...ii,ijk,k->...j", x),
            2,
            Some(|a| Tensor::einsum("...ii,ijk,k->...j", &[&a.f[0], &a.f[1], &a.f[2]])),
        ),
        composite(
            "pad",
            &[("f64[3,4]", R2)],
            |x| x[0].pad(&[(-1, 2), (1, 0)], &x[0].lit(7.0)),
            2,
            Some(|a| a.f[0].pad(&[(-1, 2), (1, 0)], 7.0)),
        ),
        composite(
            "roll",
            &[("f64[3,4]", R2)],
            |x| x[0].roll(&[-1, 6], &[0, -1]),
            2,
            Some(|a| a.f[0].roll(&[-1, 6], &[0, -1])),
        ),
        composite("tile", &[("f64[3,2]", R2)], |x| x[0].tile(&[2, 1, 3]), 2, Some(|a| a.f[0].tile(&[2, 1, 3]))),
        composite("diag", &[("f64[3]", R2)], |x| x[0].diag(-2), 2, Some(|a| a.f[0].diag(-2))),
        composite("diagonal", &[("f64[2,3,4]", R2)], |x| x[0].diagonal(1), 2, Some(|a| a.f[0].diagonal(1))),
        composite("triu", &[("f64[2,3,4]", R2)], |x| x[0].triu(-1), 2, Some(|a| a.f[0].triu(-1))),
        composite("elu", &[("f64[2,3]", OFF)], |x| x[0].elu(0.7), 2, Some(|a| a.f[0].elu(0.7))),
        composite("gelu_tanh", &[("f64[2,3]", R2)], |x| x[0].gelu_tanh(), 2, Some(|a| a.f[0].gelu_tanh())),
        composite("mish", &[("f64[2,3]", R2)], |x| x[0].mish(), 2, Some(|a| a.f[0].mish())),
        composite(
            "sort",
            &[("f64[2,4]", Distinct)],
            |x| x[0].pick(-1, &x[0].argsort(-1, true)),
            2,
            Some(|a| a.f[0].sort(-1, true).0),
        ),
        composite(
            "topk",
            &[("f64[2,4]", Distinct)],
            |x| x[0].pick(0, &x[0].topk_index(1, 0, false)),
            2,
            Some(|a| a.f[0].topk(1, 0, false).0),
        ),
        composite("silu", &[("f64[2,3]", R2)], |x| x[0].silu(), 2, Some(|a| a.f[0].silu())),
        composite("gelu", &[("f64[2,3]", R2)], |x| x[0].gelu(), 2, Some(|a| a.f[0].gelu())),
        composite("leaky_relu", &[("f64[2,3]", OFF)], |x| x[0].leaky_relu(0.1), 2, Some(|a| a.f[0].leaky_relu(0.1))),
        composite(
            "matmul vectors",
            &[("f64[3]", R2), ("f64[3]", R2)],
            |x| x[0].matmul(&x[1]),
            2,
            Some(|a| a.f[0].matmul(&a.f[1])),
        ),
        composite(
            "matmul row",
            &[("f64[3]", R2), ("f64[2,3,4]", R2)],
            |x| x[0].matmul(&x[1]),
            2,
            Some(|a| a.f[0].matmul(&a.f[1])),
        ),
        composite(
            "matmul column",
            &[("f64[2,4,3]", R2), ("f64[3]", R2)],
            |x| x[0].matmul(&x[1]),
            2,
            Some(|a| a.f[0].matmul(&a.f[1])),
        ),
        composite(
            "matmul shared",
            &[("f64[2,4,3]", R2), ("f64[3,2]", R2)],
            |x| x[0].matmul(&x[1]),
            2,
            Some(|a| a.f[0].matmul(&a.f[1])),
        ),
        composite(
            "matmul broadcast",
            &[("f64[2,1,2,3]", R2), ("f64[4,3,2]", R2)],
            |x| x[0].matmul(&x[1]),
            2,
            Some(|a| a.f[0].matmul(&a.f[1])),
        ),
        composite("dot", &[("f64[3]", R2), ("f64[3]", R2)], |x| x[0].dot(&x[1]), 2, Some(|a| a.f[0].dot(&a.f[1]))),
        composite(
            "unsqueeze",
            &[("f64[2,3]", R2)],
            |x| x[0].unsqueeze(1).squeeze(1).transpose(0, 1),
            2,
            Some(|a| a.f[0].unsqueeze(1).squeeze(1).transpose(0, 1)),
        ),
        composite("view_as", &[("f64[2,3]", R2)], |x| x[0].view_as(&[-1, 2]), 2, Some(|a| a.f[0].reshape(&[-1, 2]))),
        composite(
            "slice_dim",
            &[("f64[2,5]", R2)],
            |x| x[0].slice_dim(-1, -4, -1, 2),
            2,
            Some(|a| a.f[0].slice(-1, -4, -1, 2)),
        ),
        composite("select_dim", &[("f64[2,5]", R2)], |x| x[0].select_dim(1, -2), 2, Some(|a| a.f[0].select(1, -2))),
        composite(
            "cat",
            &[("f64[2,3]", R2), ("f64[1,3]", R2)],
            |x| Ex::cat(x, 0),
            2,
            Some(|a| Tensor::cat(&[&a.f[0], &a.f[1]], 0)),
        ),
        composite(
            "stack",
            &[("f64[2,3]", R2), ("f64[2,3]", R2)],
            |x| Ex::stack(x, 1),
            2,
            Some(|a| Tensor::stack(&[&a.f[0], &a.f[1]], 1)),
        ),
        composite("powf", &[("f64[2,3]", POS)], |x| x[0].powf(2.5), 2, Some(|a| a.f[0].powf(2.5))),
        composite(
            "clamp",
            &[("f64[3]", Given(&[-2.0, 0.5, 2.0]))],
            |x| x[0].clamp(&x[0].lit(-1.0), &x[0].lit(1.0)),
            2,
            Some(|a| a.f[0].clamp(-1.0, 1.0)),
        ),
    ]
}

impl Row {
    fn graph(&self) -> Graph {
        let b = Builder::new();
        let ids: Vec<_> = self.args.iter().map(|a| b.input(&ty(a.0))).collect();
        let ex: Vec<Ex<'_>> = ids.iter().map(|&i| b.ex(i)).collect();
        let out = match &self.what {
            What::Op(attrs) => {
                let def = op::find(self.name).unwrap_or_else(|| panic!("{} is no operation", self.name));
                apply(Op::with(def, attrs.clone()), &ex.iter().collect::<Vec<_>>())
            }
            What::Composite(f) => f(&ex),
        };
        let id = node(&out);
        b.finish(vec![id]).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
    fn sample(&self, rng: &mut Rng) -> Vec<Array> {
        self.args
            .iter()
            .map(|(t, from)| {
                let t = ty(t);
                let n = t.numel();
                let mut order: Vec<usize> = (0..n).collect();
                (1..n).rev().for_each(|i| order.swap(i, rng.below(i + 1)));
                let v: Vec<f64> = (0..n)
                    .map(|i| match *from {
                        Range(lo, hi) => rng.float(lo, hi),
                        Both(lo, hi) => rng.float(lo, hi) * if rng.below(2) == 0 { 1.0 } else { -1.0 },
                        Distinct => order[i] as f64 * 0.25 - 1.0,
                        Below(k) => rng.below(k) as f64,
                        Given(v) => v[i % v.len()],
                    })
                    .collect();
                array(&t, v)
            })
            .collect()
    }
}

fn node(x: &Ex<'_>) -> autograd_runtime::graph::NodeId {
    x.node().expect("a node of a graph")
}

/// A way to run a graph.
type Engine = (&'static str, fn(&Graph, &[Array]) -> Vec<Array>);
const ENGINES: [Engine; 3] = [
    ("interpreted", |g, x| interp::run(g, x).unwrap_or_else(|e| panic!("{e}\n{g}"))),
    ("compiled", compiled),
    // where tensors are small, such a program is one over their elements
    (IN_A_LOOP, compiled),
];
const IN_A_LOOP: &str = "compiled in a loop";

fn compiled(g: &Graph, x: &[Array]) -> Vec<Array> {
    let p = Program::compile(g, false).unwrap_or_else(|e| panic!("{e}\n{g}"));
    p.run_arrays(x).unwrap_or_else(|e| panic!("{e}\n{g}"))
}

/// The graph as the only trip of a loop.
fn in_a_loop(g: &Graph) -> Graph {
    let (count, outs) = (ty("i64[]"), g.outputs().len());
    let part = |cond: bool| {
        let b = Builder::new();
        let trip = b.input(&count);
        g.output_types().for_each(|t| _ = b.input(t));
        let args: Vec<_> = g.input_types().map(|t| b.input(t)).collect();
        let one = b.add(op::create::constant(DType::I64, 1.0), &[]).unwrap();
        let node = |def, args: &[_]| b.add(Op::new(def), args).unwrap();
        let all = match cond {
            true => vec![node(&op::compare::LT, &[trip, one])],
            false => [vec![node(&op::arith::ADD, &[trip, one])], b.inline(g, &args).unwrap()].concat(),
        };
        Attr::Graph(std::sync::Arc::new(b.finish(all).unwrap()))
    };
    let b = Builder::new();
    let args: Vec<_> = g.input_types().map(|t| b.input(t)).collect();
    let zero = |t: &Ty| b.add(op::create::constant(t.dtype, 0.0), &[]).unwrap();
    let mut given = vec![zero(&count)];
    given.extend(g.output_types().map(|t| node(&b.ex(zero(t)).expand(&t.shape))));
    given.extend(args);
    let repeated = Op::with(&op::control::WHILE, [part(true), part(false), Attr::Int(outs as i64 + 1)]);
    let all = b.add(repeated, &given).unwrap();
    let result = |(i, t): (usize, &Ty)| {
        let attrs = [Attr::Int(i as i64 + 1), Attr::DType(t.dtype), Attr::dims(&t.shape)];
        b.add(Op::with(&op::control::PROJ, attrs), &[all]).unwrap()
    };
    let results = g.output_types().enumerate().map(result).collect();
    b.finish(results).unwrap()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
fn moved(x: &[Array], wrt: &[usize], dir: &[Vec<f64>], h: f64) -> Vec<Array> {
    let mut y = x.to_vec();
    for (&i, d) in wrt.iter().zip(dir) {
        y[i] = array(&x[i].ty(), x[i].to_f64_vec().iter().zip(d).map(|(a, b)| a + h * b).collect::<Vec<_>>());
    }
    y
}
/// The derivative of `f` at 0 by central differences of two widths, the error of the second order removed.
fn slope(f: impl Fn(f64) -> f64) -> f64 {
    let h = 1e-3;
    let d = |h: f64| (f(h) - f(-h)) / (2.0 * h);
    (4.0 * d(h / 2.0) - d(h)) / 3.0
}
#[track_caller]
fn near(what: &str, a: f64, b: f64, tol: f64) {
    assert!((a - b).abs() <= tol * (1.0 + a.abs().max(b.abs())), "{what}: {a} and {b}");
}
fn normal(t: &Ty, rng: &mut Rng) -> Vec<f64> {
    (0..t.numel()).map(|_| rng.float(-1.0, 1.0)).collect()
}

fn check(row: &Row) {
    let name = row.name;
    let g = row.graph();
    g.verify().unwrap();
    let mut rng = Rng(name.bytes().map(u64::from).sum::<u64>() + row.args.len() as u64);
    let wrt: Vec<usize> = (0..row.args.len()).filter(|&i| g.ty(g.inputs()[i]).dtype.is_float()).collect();
    let out_ty = g.ty(g.outputs()[0]).clone();
    for _ in 0..3 {
        let x = row.sample(&mut rng);
        let dir: Vec<Vec<f64>> = wrt.iter().map(|&i| normal(&x[i].ty(), &mut rng)).collect();
        let ct = normal(&out_ty, &mut rng);
        for (engine, run) in &ENGINES {
            let g = if *engine == IN_A_LOOP { in_a_loop(&g) } else { g.clone() };
            let what = |s: &str| format!("{name}, {engine}, {s}");
            let y = run(&g, &x);
            common::close(&y[0], &interp::run(&g, &x).unwrap()[0], 1e-13)
                .unwrap_or_else(|e| panic!("{}: {e}", what("value")));
            // reverse
            let vjp = diff::vjp(&g, &wrt).unwrap();
            vjp.verify().unwrap();
            let with_ct: Vec<Array> = x.iter().cloned().chain([array(&out_ty, ct.clone())]).collect();
            let grads = run(&vjp, &with_ct)[1..].to_vec();
            let total: f64 = grads.iter().zip(&dir).map(|(g, d)| dot(&g.to_f64_vec(), d)).sum();
            if row.order == 0 {
                assert!(
                    name.starts_with("cast through") || grads.iter().all(|g| g.to_f64_vec().iter().all(|&v| v == 0.0)),
                    "{}",
                    what("zero")
                );
                continue;
            }
            let along = |h: f64| dot(&run(&g, &moved(&x, &wrt, &dir, h))[0].to_f64_vec(), &ct);
            near(&what("reverse against differences"), total, slope(along), 1e-7);
            // forward
            let jvp = diff::jvp(&g, &wrt).unwrap();
            jvp.verify().unwrap();
            let tangents = wrt.iter().zip(&dir).map(|(&i, d)| array(&x[i].ty(), d.clone()));
            let with_t: Vec<Array> = x.iter().cloned().chain(tangents).collect();
            let t = run(&jvp, &with_t)[1].clone();
            near(&what("forward against reverse"), dot(&t.to_f64_vec(), &ct), total, 1e-11);
            if row.order < 2 {
                continue;
            }
            // reverse over reverse: the derivative of the gradient's product with a direction, in the arguments
            // and in the cotangent
            let all: Vec<usize> = wrt.iter().copied().chain([x.len()]).collect();
            let first = vjp.clone().with_outputs(vjp.outputs()[1..].to_vec());
            let second = diff::vjp(&first, &all).unwrap();
            second.verify().unwrap();
            let v: Vec<Array> = wrt.iter().map(|&i| array(&x[i].ty(), normal(&x[i].ty(), &mut rng))).collect();
            let full: Vec<Array> = with_ct.iter().chain(&v).cloned().collect();
            let gg = run(&second, &full)[wrt.len()..].to_vec();
            let mut dir2 = dir.clone();
            dir2.push(normal(&out_ty, &mut rng));
            let product: f64 = gg.iter().zip(&dir2).map(|(g, d)| dot(&g.to_f64_vec(), d)).sum();
            let along = |h: f64| -> f64 {
                let at = run(&first, &moved(&with_ct, &all, &dir2, h));
                at.iter().zip(&v).map(|(g, v)| dot(&g.to_f64_vec(), &v.to_f64_vec())).sum()
            };
            near(&what("second order against differences"), product, slope(along), 1e-6);
        }
        common::patterns_cover(&g, &x, &wrt, &[array(&out_ty, ct.clone())]).unwrap_or_else(|e| panic!("{name}: {e}"));
        if let Some(tape) = row.tape {
            check_tape(row, tape, &g, &wrt, &x, &ct);
        }
    }
}

fn leaf(a: &Array) -> Tensor<f64> {
    Tensor::from_vec(a.to_f64_vec(), &a.ty().shape[..]).requires_grad_(true)
}

/// The tape gives the gradients of the graph, and with `create_graph` those of the gradients.
fn check_tape(row: &Row, tape: Tape, g: &Graph, wrt: &[usize], x: &[Array], ct: &[f64]) {
    let name = row.name;
    let of = |d: DType| x.iter().filter(move |a| a.ty().dtype == d);
    let args = Args {
        f: of(DType::F64).map(leaf).collect(),
        i: of(DType::I64)
            .map(|a| Tensor::from_vec(a.to_f64_vec().iter().map(|&v| v as i64).collect(), &a.ty().shape[..]))
            .collect(),
        b: of(DType::Bool)
            .map(|a| Tensor::from_vec(a.to_f64_vec().iter().map(|&v| v != 0.0).collect(), &a.ty().shape[..]))
            .collect(),
    };
    let y = tape(&args);
    let out = interp::run(g, x).unwrap();
    common::close(&array(&out[0].ty(), y.to_vec()), &out[0], 1e-14).unwrap_or_else(|e| panic!("{name}, tape: {e}"));
    if row.order == 0 {
        return;
    }
    let inputs: Vec<&Tensor<f64>> = args.f.iter().collect();
    let seed = Tensor::from_vec(ct.to_vec(), y.shape()).requires_grad_(true);
    let grads = grad(&[&y], &inputs, &[Some(&seed)], true, true, true).unwrap_or_else(|e| panic!("{name}, tape: {e}"));
    let vjp = diff::vjp(g, wrt).unwrap();
    let with_ct: Vec<Array> = x.iter().cloned().chain([array(&out[0].ty(), ct.to_vec())]).collect();
    let want = interp::run(&vjp, &with_ct).unwrap();
    let zeros = |t: &Tensor<f64>| Tensor::<f64>::zeros(t.shape());
    let grads: Vec<Tensor<f64>> = grads.into_iter().zip(&inputs).map(|(g, x)| g.unwrap_or_else(|| zeros(x))).collect();
    for (got, want) in grads.iter().zip(&want[1..]) {
        common::close(&array(&want.ty(), got.to_vec()), want, 1e-12).unwrap_or_else(|e| panic!("{name}, tape: {e}"));
    }
    if row.order < 2 {
        return;
    }
    let first = vjp.clone().with_outputs(vjp.outputs()[1..].to_vec());
    let second = diff::vjp(&first, wrt).unwrap();
    let ones: Vec<Array> = wrt.iter().map(|&i| array(&x[i].ty(), vec![1.0; x[i].ty().numel()])).collect();
    let want = interp::run(&second, &with_ct.iter().chain(&ones).cloned().collect::<Vec<_>>()).unwrap();
    let mut total = Tensor::<f64>::scalar(0.0);
    for g in grads.iter().filter(|g| g.requires_grad()) {
        total += g.sum();
    }
    if !total.requires_grad() {
        return;
    }
    let got = grad(&[&total], &inputs, &[], true, false, true).unwrap_or_else(|e| panic!("{name}, tape: {e}"));
    for ((got, x), want) in got.into_iter().zip(&inputs).zip(&want[wrt.len()..]) {
        let got = got.unwrap_or_else(|| zeros(x));
        common::close(&array(&want.ty(), got.to_vec()), want, 1e-11)
            .unwrap_or_else(|e| panic!("{name}, tape twice: {e}"));
    }
}

#[test]
fn derivatives_are_right_in_every_engine() {
    let failed: Vec<String> = rows()
        .iter()
        .filter_map(|row| {
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(row))).err()?;
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Some(format!("{}: {}", row.name, text.unwrap_or_default()))
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn operations_on_small_tensors_in_loops_are_native() {
    let such = [
        "add",
        "exp",
        "sum",
        "matmul",
        "concat",
        "unslice",
        "slice",
        "permute",
        "reshape",
        "expand",
        "flip",
        "window",
        "set_window",
        "window_add",
        "select",
        "clamp",
    ];
    for name in such {
        let row = rows().into_iter().find(|r| r.name == name && matches!(r.what, What::Op(_)));
        let g = in_a_loop(&row.unwrap_or_else(|| panic!("{name} has no row")).graph());
        let wrt: Vec<usize> = (0..g.inputs().len()).filter(|&i| g.ty(g.inputs()[i]).dtype.is_float()).collect();
        for g in [diff::vjp(&g, &wrt).unwrap(), g] {
            let steps = Program::compile(&g, false).unwrap().stats().kernels.clone();
            let native = steps.iter().all(|s| s.kind == "scalar function" || s.kind == "vector loop");
            assert!(native && steps[0].kind == "scalar function", "{name}: {steps:?}");
        }
    }
}

#[test]
fn every_operation_has_a_row() {
    let rows = rows();
    for def in op::all() {
        // the derivative of `custom_vjp` is whatever its user says: see the tests of custom functions
        // those that make lists, themselves or in their derivative, have results of no tensor's type: see `control_flow.rs`
        let lists = [&op::list::FILL, &op::list::OF, &op::list::SUM].iter().any(|d| std::ptr::eq(def, *d));
        let exempt = matches!(def.derivative, Derivative::Control)
            || lists
            || def.arity == 0
            || std::ptr::eq(def, &op::custom::CUSTOM_VJP);
        let found = rows.iter().any(|r| r.name == def.name && matches!(r.what, What::Op(_)));
        assert!(exempt || found, "{} has no row in rules.rs", def.name);
    }
}
