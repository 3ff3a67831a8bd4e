//! The values at the edges that `docs/numerics.md` promises, row by row: on the tape, in the interpreted graph and
//! compiled, in f64 and f32; elementwise functions on scalars and in vectors that leave a remainder.

#![allow(missing_docs)]

use autograd::{
    AttentionOptions, Error, Float, PoolOptions, Reduction, Scalar, Tensor, TriangularOptions,
    array::{Array, Data},
    diff, grad,
    graph::Graph,
    interp,
    prelude::*,
    program::Program,
};

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

/// An operation by name, of the floats `x` and the integers `i`.
fn call<T: Float + Scalar<T>>(op: &str, x: &[Tensor<T>], i: &[Tensor<i64>]) -> Tensor<T> {
    let dims = [0];
    match op {
        "sqrt" => x[0].sqrt(),
        "rsqrt" => x[0].rsqrt(),
        "abs" => x[0].abs(),
        "relu" => x[0].relu(),
        "maximum" => x[0].maximum(&x[1]),
        "minimum" => x[0].minimum(&x[1]),
        "pow" => x[0].pow(&x[1]),
        "xlogy" => x[0].xlogy(&x[1]),
        "ln" => x[0].ln(),
        "log2" => x[0].log2(),
        "log10" => x[0].log10(),
        "log1p" => x[0].log1p(),
        "expm1" => x[0].expm1(),
        "sigmoid" => x[0].sigmoid(),
        "tanh" => x[0].tanh(),
        "softplus" => x[0].softplus(),
        "clamp" => x[0].clamp(T::of(-1.0), T::of(1.0)),
        "clamp_min" => x[0].clamp_min(T::of(-1.0)),
        "sign" => x[0].sign(),
        "floor" => x[0].floor(),
        "ceil" => x[0].ceil(),
        "round" => x[0].round(),
        "trunc" => x[0].trunc(),
        "atan2" => x[0].atan2(&x[1]),
        "hypot" => x[0].hypot(&x[1]),
        "asin" => x[0].asin(),
        "acos" => x[0].acos(),
        "div" => &x[0] / &x[1],
        "mul" => &x[0] * &x[1],
        "add" => &x[0] + &x[1],
        "where" => x[0].gt(T::of(0.0)).where_(&x[0].sqrt(), &Tensor::full([], T::of(0.0))),
        "elu" => x[0].elu(1.0),
        "rem" => x[0].rem(&x[1]),
        "softmax" => x[0].softmax(0),
        "log_softmax" => x[0].log_softmax(0),
        "attention" => x[0].scaled_dot_product_attention_masked(&x[1], &x[2], &i[0].gt(0), AttentionOptions::default()),
        "amax" => x[0].amax(&dims, false),
        "amin" => x[0].amin(&dims, false),
        "max" => x[0].max(),
        "min" => x[0].min(),
        "median" => x[0].median(),
        "max_dim" => x[0].max_dim(0, false).0,
        "max_pool2d" => x[0].max_pool2d(PoolOptions::new(2)),
        "topk" => x[0].topk(2, 0, true).0,
        "cummax" => x[0].cummax(0).0,
        "cummin" => x[0].cummin(0).0,
        "norm2" => x[0].norm(),
        "norm1" => x[0].norm_dim(1.0, &[], false),
        "norm3" => x[0].norm_dim(3.0, &[], false),
        "logsumexp" => x[0].logsumexp(&dims, false),
        "mean" => x[0].mean(),
        "sum" => x[0].sum(),
        "prod" => x[0].prod(),
        "var" => x[0].var(),
        "std" => x[0].std(),
        "std0" => x[0].std_dim(&[0], 0.0, false),
        "cumprod" => x[0].cumprod(0),
        "gather" => x[0].gather(0, &i[0]),
        "scatter" => x[0].scatter(0, &i[0], &x[1]),
        "scatter_add" => x[0].scatter_add(0, &i[0], &x[1]),
        "matmul" => x[0].matmul(&x[1]),
        "det" => x[0].det(),
        "logabsdet" => x[0].logabsdet(),
        "inv" => x[0].inv(),
        "solve" => x[0].solve(&x[1]),
        "solve_triangular" => x[0].solve_triangular(&x[1], TriangularOptions::default()),
        "cholesky" => x[0].cholesky(),
        "eigvalsh" => x[0].eigvalsh(),
        "recip" => x[0].recip(),
        "exp2" => x[0].exp2(),
        "sinh" => x[0].sinh(),
        "cosh" => x[0].cosh(),
        "acosh" => x[0].acosh(),
        "atanh" => x[0].atanh(),
        "cbrt" => x[0].cbrt(),
        "erf" => x[0].erf(),
        "lgamma" => x[0].lgamma(),
        "digamma" => x[0].digamma(),
        "polygamma" => x[0].polygamma(1),
        "powi" => x[0].powi(-1),
        "powi3" => x[0].powi(3),
        "kl_div" => x[0].kl_div(&x[1], Reduction::Sum, false),
        other => panic!("no operation {other}"),
    }
}

macro_rules! typed {
    ($($name:ident $t:ty;)*) => {$(
        #[differentiable]
        fn $name(op: &str, x: &[Tensor<$t>], i: &[Tensor<i64>]) -> Tensor<$t> {
            named(op, x, i)
        }
        impl Typed for $t {
            fn trace(op: &str, x: &[Tensor<$t>], i: &[Tensor<i64>]) -> Result<Graph, Error> {
                let e = $name::explain(op, x, i)?;
                Ok(e.source.unwrap_or_else(|| panic!("{op} is not compiled: {:?}", e.reason)))
            }
        }
    )*};
}
typed! { row_f32 f32; row_f64 f64; }

trait Typed: Float + Scalar<Self> {
    fn trace(op: &str, x: &[Tensor<Self>], i: &[Tensor<i64>]) -> Result<Graph, Error>;
}
fn named<T: Float + Scalar<T>>(
    op: impl AsRef<str>,
    x: impl AsRef<[Tensor<T>]>,
    i: impl AsRef<[Tensor<i64>]>,
) -> Tensor<T> {
    call(op.as_ref(), x.as_ref(), i.as_ref())
}

/// A tensor of a row.
#[derive(Clone, Debug)]
struct Of {
    shape: Vec<usize>,
    data: Vec<f64>,
}
fn of(shape: &[usize], data: &[f64]) -> Of {
    Of { shape: shape.to_vec(), data: data.to_vec() }
}
fn vector(data: &[f64]) -> Of {
    of(&[data.len()], data)
}

/// What an operation gives: its value, and its gradient under a cotangent of ones; and that of the gradient's sum.
struct Row {
    op: &'static str,
    x: Vec<Of>,
    index: Option<(Vec<usize>, Vec<i64>)>,
    value: Vec<f64>,
    grads: Vec<Vec<f64>>,
    second: Option<Vec<Vec<f64>>>,
    /// Units in the last place that a result may be away.
    ulps: f64,
    /// f32 cannot hold what it is about.
    only_f64: bool,
}
fn row(op: &'static str, x: &[Of], value: &[f64], grads: &[&[f64]]) -> Row {
    Row {
        op,
        x: x.to_vec(),
        index: None,
        value: value.to_vec(),
        grads: grads.iter().map(|g| g.to_vec()).collect(),
        second: None,
        ulps: 0.0,
        only_f64: false,
    }
}
impl Row {
    fn within(self, ulps: f64) -> Row {
        Row { ulps, ..self }
    }
    fn at(self, shape: &[usize], index: &[i64]) -> Row {
        Row { index: Some((shape.to_vec(), index.to_vec())), ..self }
    }
    fn twice(self, second: &[&[f64]]) -> Row {
        Row { second: Some(second.iter().map(|g| g.to_vec()).collect()), ..self }
    }
    fn in_f64(self) -> Row {
        Row { only_f64: true, ..self }
    }
}

/// Of one argument or two, elementwise: as a scalar, in a vector of 19, and in one of another length behind a stride.
fn point(op: &'static str, x: &[f64], value: f64, grads: &[f64]) -> [Row; 2] {
    let wide = |n: usize| {
        let spread = |v: f64| vec![v; n];
        row(
            op,
            &x.iter().map(|&v| vector(&spread(v))).collect::<Vec<_>>(),
            &spread(value),
            &grads.iter().map(|&g| spread(g)).collect::<Vec<_>>().iter().map(Vec::as_slice).collect::<Vec<_>>(),
        )
    };
    let scalars: Vec<Of> = x.iter().map(|&v| of(&[], &[v])).collect();
    let each: Vec<[f64; 1]> = grads.iter().map(|&g| [g]).collect();
    [row(op, &scalars, &[value], &each.iter().map(<[f64; 1]>::as_slice).collect::<Vec<_>>()), wide(19)]
}

/// An engine: value, gradients and second gradients of an operation.
type Found = (Vec<f64>, Vec<Vec<f64>>, Vec<Vec<f64>>);

fn tape<T: Typed>(r: &Row) -> Result<Found, Error> {
    let x: Vec<Tensor<T>> = tensors(r).into_iter().map(|t| t.requires_grad_(true)).collect();
    let y = try_eval(|| call(r.op, &x, &indices(r)))?;
    let inputs: Vec<&Tensor<T>> = x.iter().collect();
    let zeros = |x: &&Tensor<T>| Tensor::<T>::zeros(x.shape());
    let gradient = |y: &Tensor<T>| -> Result<Vec<Tensor<T>>, Error> {
        if !y.requires_grad() {
            return Ok(inputs.iter().map(zeros).collect());
        }
        let ones = Tensor::ones(y.shape());
        let found = grad(&[y], &inputs, &[Some(&ones)], true, true, true)?;
        Ok(found.into_iter().zip(&inputs).map(|(g, x)| g.unwrap_or_else(|| zeros(x))).collect())
    };
    let first = gradient(&y)?;
    let mut total = Tensor::<T>::zeros([]);
    for g in &first {
        total += g.sum();
    }
    let second = gradient(&total)?;
    let wide = |t: &Tensor<T>| t.to_vec().iter().map(|x| x.f64()).collect::<Vec<f64>>();
    Ok((wide(&y), first.iter().map(wide).collect(), second.iter().map(wide).collect()))
}
fn through_graph<T: Typed>(r: &Row, run: fn(&Graph, &[Array]) -> Result<Vec<Array>, Error>) -> Result<Found, Error> {
    let source = T::trace(r.op, &tensors(r), &indices(r))?;
    let wrt: Vec<usize> = (0..r.x.len()).collect();
    let vjp = diff::vjp(&source, &wrt)?;
    let gradients = vjp.clone().with_outputs(vjp.outputs()[1..].to_vec());
    let twice = diff::vjp(&gradients, &wrt)?;
    let data = |v: &[f64]| T::data(v.iter().map(|&x| T::of(x)).collect());
    let mut args: Vec<Array> = r.x.iter().map(|x| Array::from_data(data(&x.data), &x.shape)).collect();
    args.extend(r.index.iter().map(|(s, i)| Array::from_data(Data::I64(i.clone()), s)));
    let out = source.ty(source.outputs()[0]);
    args.push(Array::from_data(data(&vec![1.0; out.numel()]), &out.shape));
    let y = run(&vjp, &args)?;
    args.extend(r.x.iter().map(|x| Array::from_data(data(&vec![1.0; x.data.len()]), &x.shape)));
    let second = run(&twice, &args)?;
    let wide = |a: &[Array]| a.iter().map(Array::to_f64_vec).collect::<Vec<_>>();
    Ok((y[0].to_f64_vec(), wide(&y[1..]), wide(&second[r.x.len()..])))
}
fn interpreted(g: &Graph, x: &[Array]) -> Result<Vec<Array>, Error> {
    interp::run(g, x)
}
fn compiled(g: &Graph, x: &[Array]) -> Result<Vec<Array>, Error> {
    Program::compile(g, false)?.run_arrays(x)
}

fn tensors<T: Float>(r: &Row) -> Vec<Tensor<T>> {
    r.x.iter().map(|x| Tensor::from_vec(x.data.iter().map(|&v| T::of(v)).collect(), &x.shape)).collect()
}
fn indices(r: &Row) -> Vec<Tensor<i64>> {
    r.index.iter().map(|(s, i)| Tensor::from_vec(i.clone(), s)).collect()
}

fn check<T: Typed>(r: &Row, errors: &mut Vec<String>) {
    let engines: [(&str, Result<Found, Error>); 3] = [
        ("tape", tape::<T>(r)),
        ("interpreted", through_graph::<T>(r, interpreted)),
        ("compiled", through_graph::<T>(r, compiled)),
    ];
    for (engine, found) in engines {
        let what = format!("{} of {:?}, {}, {engine}", r.op, r.x, T::DTYPE.name());
        match found {
            Err(e) => errors.push(format!("{what}: {e}")),
            Ok((value, first, second)) => {
                let mut near = |what: &str, want: &[f64], got: &[f64]| {
                    let close = |(w, g): (&f64, &f64)| {
                        let w = T::of(*w);
                        let ulp = T::epsilon().f64() * w.f64().abs();
                        *g == w.f64() || (g.is_nan() && w.f64().is_nan()) || (g - w.f64()).abs() <= r.ulps * ulp
                    };
                    if want.len() != got.len() || !want.iter().zip(got).all(close) {
                        errors.push(format!("{what}: expected {want:?}, found {got:?}"));
                    }
                };
                near(&format!("{what}, value"), &r.value, &value);
                r.grads.iter().zip(&first).for_each(|(w, g)| near(&format!("{what}, gradient"), w, g));
                if let Some(want) = &r.second {
                    want.iter().zip(&second).for_each(|(w, g)| near(&format!("{what}, second"), w, g));
                }
            }
        }
    }
}

fn points() -> Vec<Row> {
    let sigma = (-20f64).exp() / (1.0 + (-20f64).exp()).powi(2);
    let sech2 = 4.0 * (-34f64).exp() / (1.0 + (-34f64).exp()).powi(2);
    let tiny = f64::from(f32::MIN_POSITIVE);
    let exact: Vec<[Row; 2]> = vec![
        point("sqrt", &[0.0], 0.0, &[INF]),
        point("rsqrt", &[0.0], INF, &[-INF]),
        point("abs", &[0.0], 0.0, &[0.0]),
        point("abs", &[NAN], NAN, &[NAN]),
        point("relu", &[0.0], 0.0, &[0.0]),
        point("relu", &[NAN], NAN, &[NAN]),
        point("maximum", &[2.0, 2.0], 2.0, &[0.5, 0.5]),
        point("minimum", &[2.0, 2.0], 2.0, &[0.5, 0.5]),
        point("maximum", &[NAN, 1.0], NAN, &[1.0, 0.0]),
        point("maximum", &[1.0, NAN], NAN, &[0.0, 1.0]),
        point("minimum", &[1.0, NAN], NAN, &[0.0, 1.0]),
        point("pow", &[0.0, 0.0], 1.0, &[0.0, 0.0]),
        point("pow", &[0.0, -1.0], INF, &[-INF, -INF]),
        point("pow", &[0.0, 0.5], 0.0, &[INF, 0.0]),
        point("pow", &[-2.0, 2.0], 4.0, &[-4.0, NAN]),
        point("xlogy", &[0.0, 0.0], 0.0, &[0.0, NAN]),
        point("xlogy", &[0.0, 2.0], 0.0, &[2f64.ln(), 0.0]),
        point("xlogy", &[0.0, NAN], NAN, &[NAN, NAN]),
        point("ln", &[0.0], -INF, &[INF]),
        point("ln", &[-1.0], NAN, &[NAN]),
        point("log2", &[-1.0], NAN, &[NAN]),
        point("log10", &[-1.0], NAN, &[NAN]),
        point("log1p", &[-1.5], NAN, &[NAN]),
        point("where", &[0.0], 0.0, &[NAN]),
        point("where", &[-1.0], 0.0, &[NAN]),
        point("where", &[4.0], 2.0, &[0.25]),
        point("clamp", &[1.0], 1.0, &[0.0]),
        point("clamp", &[-1.0], -1.0, &[0.0]),
        point("clamp", &[NAN], NAN, &[0.0]),
        point("clamp_min", &[-1.0], -1.0, &[0.0]),
        point("clamp_min", &[3.0], 3.0, &[1.0]),
        point("sign", &[-0.5], -1.0, &[0.0]),
        point("floor", &[2.5], 2.0, &[0.0]),
        point("ceil", &[2.5], 3.0, &[0.0]),
        point("round", &[2.5], 2.0, &[0.0]),
        point("trunc", &[-2.5], -2.0, &[0.0]),
        point("atan2", &[0.0, 0.0], 0.0, &[0.0, 0.0]),
        point("hypot", &[0.0, 0.0], 0.0, &[0.0, 0.0]),
        point("asin", &[1.0], std::f64::consts::FRAC_PI_2, &[INF]),
        point("asin", &[-1.0], -std::f64::consts::FRAC_PI_2, &[INF]),
        point("acos", &[1.0], 0.0, &[-INF]),
        point("acos", &[-1.0], std::f64::consts::PI, &[-INF]),
        point("acos", &[2.0], NAN, &[NAN]),
        point("div", &[1.0, 0.0], INF, &[INF, -INF]),
        point("div", &[0.0, 0.0], NAN, &[INF, NAN]),
        point("rem", &[5.0, 0.0], NAN, &[1.0, -INF]),
        point("recip", &[0.0], INF, &[-INF]),
        point("powi", &[0.0], INF, &[-INF]),
        point("powi3", &[0.0], 0.0, &[0.0]),
        point("cbrt", &[0.0], 0.0, &[INF]),
        point("exp2", &[-INF], 0.0, &[0.0]),
        point("sinh", &[INF], INF, &[INF]),
        point("cosh", &[-INF], INF, &[-INF]),
        point("acosh", &[1.0], 0.0, &[INF]),
        point("acosh", &[0.5], NAN, &[NAN]),
        point("atanh", &[1.0], INF, &[INF]),
        point("atanh", &[-1.0], -INF, &[INF]),
        point("erf", &[INF], 1.0, &[0.0]),
        point("lgamma", &[0.0], INF, &[-INF]),
        point("digamma", &[0.0], -INF, &[INF]),
        point("polygamma", &[0.0], INF, &[-INF]),
        point("elu", &[1000.0], 1000.0, &[1.0]),
        point("elu", &[0.0], 0.0, &[1.0]),
    ];
    let close = [
        point("log1p", &[1e-18], 1e-18, &[1.0]),
        point("log1p", &[f64::from(1e-5f32)], f64::from(1e-5f32).ln_1p(), &[1.0 / (1.0 + f64::from(1e-5f32))]),
        point("expm1", &[-1e-18], -1e-18, &[1.0]),
        point("expm1", &[f64::from(1e-5f32)], f64::from(1e-5f32).exp_m1(), &[f64::from(1e-5f32).exp()]),
    ];
    let saturated = [
        point("sigmoid", &[20.0], 1.0 / (1.0 + (-20f64).exp()), &[sigma]),
        point("tanh", &[17.0], 17f64.tanh(), &[sech2]),
        point("softplus", &[25.0], 25.0 + (-25f64).exp().ln_1p(), &[1.0 / (1.0 + (-25f64).exp())]),
    ];
    let subnormal = [
        point("mul", &[tiny, 0.5], tiny / 2.0, &[0.5, tiny]),
        point("add", &[tiny / 4.0, tiny / 2.0], 0.75 * tiny, &[1.0, 1.0]),
    ];
    let smallest = [point("mul", &[f64::MIN_POSITIVE, 0.25], f64::MIN_POSITIVE / 4.0, &[0.25, f64::MIN_POSITIVE])];
    exact
        .into_iter()
        .flatten()
        .chain(close.into_iter().flatten().map(|r| r.within(2.0)))
        .chain(saturated.into_iter().flatten().map(|r| r.within(4.0)))
        .chain(subnormal.into_iter().flatten())
        .chain(smallest.into_iter().flatten().map(Row::in_f64))
        .collect()
}

fn wholes() -> Vec<Row> {
    let v = |d: &[f64]| [vector(d)];
    let third = 1.0 / 3.0;
    let nothing = [of(&[0], &[])];
    let tie = [3.0, 1.0, 3.0];
    vec![
        row("amax", &v(&tie), &[3.0], &[&[0.5, 0.0, 0.5]]),
        row("amin", &v(&[1.0, 1.0, 2.0]), &[1.0], &[&[0.5, 0.5, 0.0]]),
        row("max", &v(&tie), &[3.0], &[&[0.5, 0.0, 0.5]]),
        row("min", &v(&[1.0, 1.0, 2.0]), &[1.0], &[&[0.5, 0.5, 0.0]]),
        row("median", &v(&[2.0, 1.0, 2.0, 3.0, 2.0]), &[2.0], &[&[third, 0.0, third, 0.0, third]]).within(1.0),
        row("median", &v(&[2.0, NAN, 1.0]), &[NAN], &[&[0.0, 1.0, 0.0]]),
        row("max_dim", &v(&tie), &[3.0], &[&[1.0, 0.0, 0.0]]),
        row("max_dim", &v(&[1.0, NAN, NAN]), &[NAN], &[&[0.0, 1.0, 0.0]]),
        row("max_pool2d", &[of(&[1, 1, 2, 2], &[5.0; 4])], &[5.0], &[&[1.0, 0.0, 0.0, 0.0]]),
        row("topk", &v(&[2.0, 3.0, 3.0, 3.0]), &[3.0, 3.0], &[&[0.0, 1.0, 1.0, 0.0]]),
        row("cummax", &v(&[2.0, 1.0, 2.0]), &[2.0, 2.0, 2.0], &[&[2.0, 0.0, 1.0]]),
        row("cummin", &v(&[2.0, 1.0, 1.0]), &[2.0, 1.0, 1.0], &[&[1.0, 1.0, 1.0]]),
        row("norm2", &v(&[0.0; 3]), &[0.0], &[&[0.0; 3]]).twice(&[&[0.0; 3]]),
        row("norm1", &v(&[0.0; 3]), &[0.0], &[&[0.0; 3]]).twice(&[&[0.0; 3]]),
        row("norm3", &v(&[0.0; 3]), &[0.0], &[&[0.0; 3]]).twice(&[&[0.0; 3]]),
        row("logsumexp", &v(&[1000.0; 2]), &[1000.0 + 2f64.ln()], &[&[0.5; 2]]).within(2.0),
        row("logsumexp", &v(&[-INF; 2]), &[-INF], &[&[NAN; 2]]),
        row("logsumexp", &nothing, &[-INF], &[&[]]),
        row("softmax", &v(&[INF, 0.0]), &[NAN; 2], &[&[NAN; 2]]),
        row("softmax", &v(&[-INF, 0.0]), &[0.0, 1.0], &[&[0.0; 2]]),
        row("log_softmax", &v(&[1e4, -1e4]), &[0.0, -2e4], &[&[-1.0, 1.0]]),
        // the second query sees nothing
        row(
            "attention",
            &[of(&[2, 1], &[1.0, 1.0]), of(&[2, 1], &[0.0, 0.0]), of(&[2, 1], &[1.0, 3.0])],
            &[2.0, 0.0],
            &[&[0.0; 2], &[-0.5, 0.5], &[0.5; 2]],
        )
        .at(&[2, 2], &[1, 1, 0, 0]),
        row("mean", &nothing, &[NAN], &[&[]]),
        row("sum", &nothing, &[0.0], &[&[]]),
        row("prod", &nothing, &[1.0], &[&[]]),
        row("var", &v(&[7.0]), &[NAN], &[&[NAN]]),
        row("std", &v(&[5.0; 4]), &[0.0], &[&[0.0; 4]]).twice(&[&[0.0; 4]]),
        row("std0", &v(&[5.0; 4]), &[0.0], &[&[0.0; 4]]),
        // the Hessians of the products times ones
        row("prod", &v(&[2.0, 0.0, 3.0]), &[0.0], &[&[0.0, 6.0, 0.0]]).twice(&[&[3.0, 5.0, 2.0]]),
        row("prod", &v(&[2.0, 0.0, 0.0]), &[0.0], &[&[0.0; 3]]).twice(&[&[0.0, 2.0, 2.0]]),
        row("cumprod", &v(&[2.0, 0.0, 3.0]), &[2.0, 0.0, 0.0], &[&[1.0, 8.0, 0.0]]),
        row("gather", &v(&[5.0, 6.0]), &[6.0, 6.0, 5.0], &[&[1.0, 2.0]]).at(&[3], &[1, 1, 0]),
        row("scatter", &[vector(&[7.0, 8.0]), vector(&[1.0, 2.0, 3.0])], &[7.0, 3.0], &[&[1.0, 0.0], &[0.0, 0.0, 1.0]])
            .at(&[3], &[1, 1, 1]),
        row("scatter_add", &[vector(&[7.0, 8.0]), vector(&[1.0, 2.0, 3.0])], &[7.0, 14.0], &[&[1.0; 2], &[1.0; 3]])
            .at(&[3], &[1, 1, 1]),
        row("matmul", &[of(&[2, 0], &[]), of(&[0, 3], &[])], &[0.0; 6], &[&[], &[]]),
        row("add", &[of(&[4, 0], &[]), of(&[4, 1], &[1.0; 4])], &[], &[&[], &[0.0; 4]]),
        row("det", &[of(&[2, 2], &[1.0, 2.0, 2.0, 4.0])], &[0.0], &[&[4.0, -2.0, -2.0, 1.0]])
            .twice(&[&[1.0, -1.0, -1.0, 1.0]])
            .within(16.0),
        row("logabsdet", &[of(&[2, 2], &[1.0, 2.0, 2.0, 4.0])], &[-INF], &[&[NAN; 4]]),
        row("inv", &[of(&[2, 2], &[2.0, 0.0, 0.0, 4.0])], &[0.5, 0.0, 0.0, 0.25], &[&[-0.25, -0.125, -0.125, -0.0625]]),
        row(
            "solve",
            &[of(&[2, 2], &[2.0, 0.0, 0.0, 4.0]), vector(&[2.0, 4.0])],
            &[1.0, 1.0],
            &[&[-0.5, -0.5, -0.25, -0.25], &[0.5, 0.25]],
        ),
        row("solve_triangular", &[of(&[2, 2], &[1.0, 0.0, 0.0, 0.0]), of(&[2, 1], &[1.0, 1.0])], &[1.0, INF], &[]),
        row("cholesky", &[of(&[2, 2], &[4.0, 2.0, 2.0, 2.0])], &[2.0, 0.0, 1.0, 1.0], &[]).within(2.0),
        row("eigvalsh", &[of(&[2, 2], &[1.0, 0.0, 0.0, 1.0])], &[1.0, 1.0], &[&[1.0, 0.0, 0.0, 1.0]]),
        row("kl_div", &[vector(&[-1.0, -2.0]), vector(&[0.0, 1.0])], &[2.0], &[&[0.0, -1.0]]),
    ]
}

#[test]
fn values_at_the_edges() {
    let mut errors = Vec::new();
    for r in points().iter().chain(&wholes()) {
        check::<f64>(r, &mut errors);
        if !r.only_f64 {
            check::<f32>(r, &mut errors);
        }
    }
    assert!(errors.is_empty(), "{} wrong:\n{}", errors.len(), errors.join("\n"));
}

/// The error of an operation in each engine.
fn errors(r: &Row) -> Vec<String> {
    let of = |f: Result<Found, Error>| f.map(|_| ()).expect_err("an error").to_string();
    vec![of(tape::<f64>(r)), of(through_graph::<f64>(r, interpreted)), of(through_graph::<f32>(r, compiled))]
}

#[test]
fn the_maximum_of_nothing_is_an_error() {
    for op in ["max", "amin", "median"] {
        for e in errors(&row(op, &[of(&[0], &[])], &[], &[])) {
            assert!(e.contains("at least one element"), "{op}: {e}");
        }
    }
}

#[test]
fn an_index_out_of_range_names_index_axis_and_extent() {
    for index in [2, -1] {
        for e in errors(&row("gather", &[vector(&[5.0, 6.0])], &[], &[]).at(&[1], &[index])) {
            assert!(e.contains(&index.to_string()) && e.contains("axis 0") && e.contains("below 2"), "{e}");
        }
    }
    let sources = [vector(&[5.0, 6.0]), vector(&[1.0])];
    for op in ["scatter", "scatter_add"] {
        for e in errors(&row(op, &sources, &[], &[]).at(&[1], &[2])) {
            assert!(e.contains("axis 0") && e.contains("below 2") && e.contains("found 2"), "{op}: {e}");
        }
    }
}

#[differentiable]
fn guarded(x: f64) -> f64 {
    if x > 0.0 { x.sqrt() } else { 0.0 }
}

#[test]
fn a_staged_choice_never_runs_the_branch_that_is_not_taken() -> Result<(), Error> {
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, || {
            assert_eq!((guarded::grad(0.0)?, guarded::grad(-1.0)?, guarded::grad(4.0)?), (0.0, 0.0, 0.25));
            Ok::<(), Error>(())
        })?;
    }
    Ok(())
}

#[test]
fn of_equals_the_index_is_the_first_and_so_far_the_last() {
    let x = Tensor::from_vec(vec![3.0, 1.0, 3.0, 1.0], [4]);
    assert_eq!((x.argmax(0, false).item(), x.argmin(0, false).item()), (0, 1));
    assert_eq!((x.max_dim(0, false).1.item(), x.min_dim(0, false).1.item()), (0, 1));
    assert_eq!((x.topk(2, 0, true).1.to_vec(), x.topk(2, 0, false).1.to_vec()), (vec![0, 2], vec![1, 3]));
    assert_eq!((x.sort(0, false).1.to_vec(), x.sort(0, true).1.to_vec()), (vec![1, 3, 0, 2], vec![0, 2, 1, 3]));
    assert_eq!((x.cummax(0).1.to_vec(), x.cummin(0).1.to_vec()), (vec![0, 0, 2, 2], vec![0, 1, 1, 3]));
    let y = Tensor::from_vec(vec![1.0, f64::NAN, 5.0], [3]);
    assert_eq!((y.argmax(0, false).item(), y.argmin(0, false).item()), (1, 1));
    assert_eq!((y.cummax(0).1.to_vec(), y.sort(0, false).1.to_vec()), (vec![0, 1, 1], vec![0, 2, 1]));
}

/// Declared operations without a row above, and why none is needed.
const ELSEWHERE: &[(&str, &[&str])] = &[
    (
        "smooth on all numbers: no kink, no tie, no pole that is a number",
        &["neg", "sin", "cos", "tan", "atan", "asinh", "sech2", "sigmoid_grad", "erfc"],
    ),
    (
        "truth values: they have no derivative, and what compares equal is in their documentation",
        &["le", "ne", "and", "xor"],
    ),
    ("an index: its ties are those of max, min and topk", &["argmin"]),
    (
        "elements are moved or counted, none is calculated",
        &["iota", "copy", "flip", "concat", "window", "window_add", "set_window"],
    ),
    (
        "sums of products or of functions above",
        &["convolution", "convolution_input", "convolution_weight", "cumsum", "logcumsumexp"],
    ),
    ("numbers by chance: tests/random", &["rand", "randn", "randint", "randperm", "bernoulli"]),
    (
        "control flow, its lists and integers: tests/control_flow, and the tests of lists and integers of the runtime",
        &[
            "if",
            "while",
            "while_vjp",
            "while_record",
            "while_save",
            "while_back",
            "call",
            "call_vjp",
            "call_record",
            "call_save",
            "call_back",
            "proj",
            "int_div",
            "int_rem",
            "uint_div",
            "uint_rem",
            "int_and",
            "int_or",
            "int_xor",
            "int_count_ones",
            "int_leading_zeros",
            "int_trailing_zeros",
            "int_shl",
            "int_shr",
            "uint_shr",
            "trip",
            "list_len",
            "list_within",
            "list_get",
            "list_set",
            "list_add",
            "list_fill",
            "list_of",
            "list_sum",
            "list_order",
        ],
    ),
    ("a derivative of the user's", &["custom_vjp"]),
    ("assertions, and values that pass them as they are: tests/control_flow", &["holds", "after"]),
    ("part of rounding and of signs, which have rows", &["copysign"]),
    ("parts of det and its derivatives", &["cofactor", "cofactor_slope"]),
    ("methods of Rust's floats: tests/vector_loops/main.rs has NaN and ties", &["fmax", "fmin"]),
];

#[test]
fn every_operation_has_a_row_or_a_reason() {
    let mut reached = std::collections::BTreeSet::new();
    for r in points().iter().chain(&wholes()) {
        let source = f64::trace(r.op, &tensors(r), &indices(r)).unwrap();
        reached.extend(source.nodes().map(|(_, n)| n.op.name()));
    }
    let excused = |name: &str| ELSEWHERE.iter().any(|(_, names)| names.contains(&name));
    let missing: Vec<&str> =
        autograd::op::all().map(|d| d.name).filter(|name| !reached.contains(name) && !excused(name)).collect();
    assert!(missing.is_empty(), "no row and no reason: {missing:?}");
    for name in ELSEWHERE.iter().flat_map(|(_, names)| *names) {
        assert!(autograd::op::find(name).is_some() && !reached.contains(name), "{name} needs no reason");
    }
}

#[test]
fn matrices_without_a_result_are_errors() {
    let singular = of(&[2, 2], &[1.0, 2.0, 2.0, 4.0]);
    for (op, x) in [("inv", vec![singular.clone()]), ("solve", vec![singular, vector(&[1.0, 1.0])])] {
        for e in errors(&row(op, &x, &[], &[])) {
            assert!(e.contains("singular"), "{op}: {e}");
        }
    }
    for e in errors(&row("cholesky", &[of(&[2, 2], &[1.0, 2.0, 2.0, 1.0])], &[], &[])) {
        assert!(e.contains("positive"), "{e}");
    }
}
