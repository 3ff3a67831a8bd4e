//! One case in every engine: the tape, the graph interpreted, the graph compiled, and the entry points of an annotated
//! function; in f64 and in f32.

use crate::{
    format::{Case, First, Given},
    table,
    traced::{apply_f32, apply_f64},
};
use autograd::{
    Engine, Explanation, Float, Scalar, Tensor,
    array::{Array, Data},
    diff, grad,
    graph::Graph,
    interp,
    program::Program,
    try_eval,
    ty::DType,
    with_engine,
};

use std::collections::BTreeSet;

type Result<T> = std::result::Result<T, String>;

/// What became of a case.
pub(crate) struct Outcome {
    pub(crate) dynamic: bool,
    pub(crate) compiled: bool,
    /// The case has a second order, and every engine has it right.
    pub(crate) second: bool,
    /// Whether the compiled operation is generated code throughout; `None` if it was not compiled.
    pub(crate) native: Option<bool>,
    pub(crate) errors: Vec<String>,
}

const LINEAR_ALGEBRA: &[&str] = &["inv", "det", "logabsdet", "solve", "cholesky", "solve_triangular", "eigvalsh"];

/// The case at one element type: what is handed in, and how close results have to be.
struct Setting<'a, T: Float> {
    case: &'a Case,
    floats: Vec<Tensor<T>>,
    ints: Vec<Tensor<i64>>,
    bools: Vec<Tensor<bool>>,
    /// Of each input of the case its place among the graph's inputs: floats, integers, truth values.
    places: Vec<usize>,
}

/// Whether a trap is about numbers that f32 does not have: they become an infinity or a zero, or move so far that a periodic
/// function has another value there.
fn beyond_f32(case: &Case) -> bool {
    let lost = |&x: &f64| {
        let near = x as f32;
        x.is_finite() && (near.is_infinite() || (x != 0.0 && near == 0.0) || (f64::from(near) - x).abs() > 1e-4)
    };
    case.id.contains("/trap") && case.inputs.iter().any(|i| i.data.iter().any(lost))
}

pub(crate) fn run(case: &Case) -> Outcome {
    let mut out = Outcome { dynamic: true, compiled: true, second: true, native: None, errors: Vec::new() };
    at::<f64>(case, &mut out);
    if !beyond_f32(case) {
        at::<f32>(case, &mut out);
    }
    out.second &= case.first.as_ref().is_some_and(|f| f.second.is_some());
    out
}

/// An element type with its annotated function.
trait Typed: Float + Scalar<Self> {
    fn explain(op: &str, o: &str, f: &[Tensor<Self>], i: &[Tensor<i64>], b: &[Tensor<bool>]) -> Result<Explanation>;
    fn vjp(s: &Setting<'_, Self>, ct: &Tensor<Self>) -> Result<(Tensor<Self>, Vec<Tensor<Self>>)>;
}
macro_rules! typed {
    ($($t:ty, $f:ident;)*) => {$(
        impl Typed for $t {
            fn explain(op: &str, o: &str, f: &[Tensor<$t>], i: &[Tensor<i64>], b: &[Tensor<bool>]) -> Result<Explanation> {
                $f::explain(op, o, f, i, b).map_err(|e| e.to_string())
            }
            fn vjp(s: &Setting<'_, $t>, ct: &Tensor<$t>) -> Result<(Tensor<$t>, Vec<Tensor<$t>>)> {
                let (op, o) = (s.case.op.as_str(), s.case.attrs.as_str());
                with_engine(Engine::Compiled, || {
                    let (y, pull) = $f::vjp(op, o, &s.floats[..], &s.ints[..], &s.bools[..])?;
                    Ok((y, pull(ct)?))
                })
                .map_err(|e: autograd::Error| e.to_string())
            }
        }
    )*};
}
typed! { f32, apply_f32; f64, apply_f64; }

fn at<T: Typed>(case: &Case, out: &mut Outcome) {
    let s = Setting::<T>::new(case);
    let name = T::DTYPE.name();
    let errors = s.tape();
    out.dynamic &= errors.is_empty();
    let wrong_options = errors.iter().any(|e| e.1.contains("option"));
    out.note(&format!("dynamic, {name}"), errors);
    if wrong_options {
        out.compiled = false;
        return;
    }
    let source = match T::explain(&case.op, &case.attrs, &s.floats, &s.ints, &s.bools) {
        Ok(Explanation { source: Some(g), .. }) => Ok(g),
        Ok(x) => Err(format!("not compiled, because {}", x.reason.unwrap_or_default())),
        Err(e) => Err(e),
    };
    let mut compiled_errors = |what: &str, errors: Errors| {
        out.compiled &= errors.is_empty();
        out.note(&format!("{what}, {name}"), errors);
    };
    let source = match source {
        Ok(g) => g,
        Err(e) => return compiled_errors("traced", vec![(0, e)]),
    };
    for (what, engine) in [("interpreted", &interpreted as &Engines), ("compiled", &compiled)] {
        compiled_errors(what, s.graph(&source, engine));
    }
    if let Some(first) = &case.first {
        compiled_errors("entry points", s.entry(first));
    }
    if let Ok(p) = Program::compile(&source, false) {
        let own = p.stats().kernels.iter().all(|k| k.kind == "kernel" || k.kind == "scalar function");
        out.native.get_or_insert(own);
    }
}

/// The error of the compiled operation, or what it gave instead.
pub(crate) fn refused(op: &str, options: &str, inputs: &[Given]) -> String {
    let none = || Given { shape: vec![], dtype: DType::F64, data: vec![0.0], grad: false };
    let (op, attrs) = (op.to_owned(), options.to_owned());
    let case = Case {
        id: String::new(),
        op,
        attrs,
        inputs: inputs.to_vec(),
        output: none(),
        first: None,
        rtol: 0.0,
        atol: 0.0,
    };
    let s = Setting::<f64>::new(&case);
    let (op, o) = (case.op.as_str(), case.attrs.as_str());
    match with_engine(Engine::Compiled, || apply_f64::value(op, o, &s.floats[..], &s.ints[..], &s.bools[..])) {
        Ok(y) => format!("{:?}", y.to_vec()),
        Err(e) => e.to_string(),
    }
}

/// The operations in the graphs of a case: of its value, its gradient and the gradient of that.
pub(crate) fn operations(case: &Case) -> Result<BTreeSet<&'static str>> {
    let s = Setting::<f64>::new(case);
    let x = f64::explain(&case.op, &case.attrs, &s.floats, &s.ints, &s.bools)?;
    let source = x.source.ok_or("not compiled")?;
    let places: Vec<usize> = s.wrt().iter().map(|w| w.1).collect();
    let mut names = BTreeSet::new();
    let mut add = |g: &Graph| names.extend(g.nodes().map(|(_, n)| n.op.name()));
    add(&source);
    if case.first.is_some() {
        let failed = |e: autograd::Error| e.to_string();
        let vjp = diff::vjp(&source, &places).map_err(failed)?;
        add(&vjp);
        let gradients = vjp.clone().with_outputs(vjp.outputs()[1..].to_vec());
        add(&diff::vjp(&gradients, &places).map_err(failed)?);
    }
    Ok(names)
}

impl Outcome {
    fn note(&mut self, what: &str, errors: Errors) {
        self.second &= errors.is_empty();
        self.errors.extend(errors.into_iter().map(|(_, e)| format!("{what}: {e}")));
    }
}

type Engines = dyn Fn(&Graph, &[Array]) -> Result<Vec<Array>>;
fn interpreted(g: &Graph, x: &[Array]) -> Result<Vec<Array>> {
    interp::run(g, x).map_err(|e| e.to_string())
}
fn compiled(g: &Graph, x: &[Array]) -> Result<Vec<Array>> {
    Program::compile(g, false).and_then(|p| p.run_arrays(x)).map_err(|e| e.to_string())
}

/// Errors with the order of the derivative they are in.
type Errors = Vec<(u8, String)>;

impl<'a, T: Typed> Setting<'a, T> {
    fn new(case: &'a Case) -> Self {
        let of = |d: DType| case.inputs.iter().filter(move |i| i.dtype == d);
        let kinds = [DType::F64, DType::I64, DType::Bool];
        let mut next = [0, of(DType::F64).count(), case.inputs.len() - of(DType::Bool).count()];
        let place = |i: &Given| {
            let n = &mut next[kinds.iter().position(|k| *k == i.dtype).expect("one of the three")];
            *n += 1;
            *n - 1
        };
        Setting {
            case,
            floats: of(DType::F64).map(tensor).collect(),
            ints: of(DType::I64)
                .map(|i| Tensor::from_vec(i.data.iter().map(|&x| x as i64).collect(), &i.shape))
                .collect(),
            bools: of(DType::Bool)
                .map(|i| Tensor::from_vec(i.data.iter().map(|&x| x != 0.0).collect(), &i.shape))
                .collect(),
            places: case.inputs.iter().map(place).collect(),
        }
    }
    /// Inputs that are differentiated: their numbers in the case and among the graph's inputs.
    fn wrt(&self) -> Vec<(usize, usize)> {
        (0..self.case.inputs.len()).filter(|&i| self.case.inputs[i].grad).map(|i| (i, self.places[i])).collect()
    }

    fn tape(&self) -> Errors {
        let wrt = self.wrt();
        let mut floats: Vec<Tensor<T>> = self.floats.iter().map(Tensor::copy).collect();
        for &(_, p) in &wrt {
            floats[p] = floats[p].clone().requires_grad_(true);
        }
        let (op, o) = (&self.case.op, &self.case.attrs);
        let y = match try_eval(|| table::call(op, o, &floats, &self.ints, &self.bools)) {
            Ok(Ok(y)) => y,
            Ok(Err(e)) => return vec![(0, e)],
            Err(e) => return vec![(0, e.to_string())],
        };
        let mut errors = Errors::new();
        self.compare(0, "value", &self.case.output, y.shape(), &y.to_vec(), &mut errors);
        let Some(first) = self.case.first.as_ref().filter(|_| errors.is_empty()) else { return errors };
        let inputs: Vec<&Tensor<T>> = wrt.iter().map(|&(_, p)| &floats[p]).collect();
        // the gradient of what is not tracked is zero
        let gradient = |y: &Tensor<T>, ct: Option<&Tensor<T>>, twice: bool| -> autograd::Result<Vec<Tensor<T>>> {
            let zeros = |x: &&Tensor<T>| Tensor::zeros(x.shape());
            if !y.requires_grad() {
                return Ok(inputs.iter().map(zeros).collect());
            }
            let cts: Vec<Option<&Tensor<T>>> = ct.map(Some).into_iter().collect();
            let found = grad(&[y], &inputs, &cts, true, twice, true)?;
            Ok(found.into_iter().zip(&inputs).map(|(g, x)| g.unwrap_or_else(|| zeros(x))).collect())
        };
        let grads = match gradient(&y, Some(&tensor(&first.cotangent)), true) {
            Ok(g) => g,
            Err(e) => return vec![(1, e.to_string())],
        };
        self.each(1, &first.grads, &grads, &mut errors);
        let Some(second) = &first.second else { return errors };
        let mut total = Tensor::<T>::zeros([]);
        for (&(i, _), g) in wrt.iter().zip(&grads) {
            if let Some(d) = &second.direction[i] {
                total += (g * tensor::<T>(d)).sum();
            }
        }
        match gradient(&total, None, false) {
            Ok(g) => self.each(2, &second.grads, &g, &mut errors),
            Err(e) => errors.push((2, e.to_string())),
        }
        errors
    }

    fn graph(&self, source: &Graph, run: &Engines) -> Errors {
        let mut errors = Errors::new();
        if let Err(e) = self.through_graph(source, run, &mut errors) {
            errors.push((2, e));
        }
        errors
    }
    fn through_graph(&self, source: &Graph, run: &Engines, errors: &mut Errors) -> Result<()> {
        let failed = |e: autograd::Error| e.to_string();
        let mut args: Vec<Array> = vec![Array::from_data(Data::Bool(vec![false]), &[]); self.case.inputs.len()];
        for (i, &p) in self.case.inputs.iter().zip(&self.places) {
            args[p] = array::<T>(i);
        }
        if source.inputs().len() != args.len() {
            return Err(format!("expected a graph of {} inputs, found {}", args.len(), source.inputs().len()));
        }
        let y = run(source, &args)?;
        self.array(0, "value", &self.case.output, &y[0], errors);
        let Some(first) = self.case.first.as_ref().filter(|_| errors.is_empty()) else { return Ok(()) };
        let wrt = self.wrt();
        let places: Vec<usize> = wrt.iter().map(|w| w.1).collect();
        let vjp = diff::vjp(source, &places).map_err(failed)?;
        args.push(array::<T>(&first.cotangent));
        let grads = run(&vjp, &args)?;
        self.arrays(1, &first.grads, &grads[1..], errors);
        let Some(second) = &first.second else { return Ok(()) };
        let gradients = vjp.clone().with_outputs(vjp.outputs()[1..].to_vec());
        let twice = diff::vjp(&gradients, &places).map_err(failed)?;
        for &(i, _) in &wrt {
            let zero = || Given { data: vec![0.0; self.case.inputs[i].data.len()], ..self.case.inputs[i].clone() };
            args.push(array::<T>(&second.direction[i].clone().unwrap_or_else(zero)));
        }
        let found = run(&twice, &args)?;
        self.arrays(2, &second.grads, &found[wrt.len()..], errors);
        Ok(())
    }

    /// Value and pull-back of the annotated function, as a user calls them.
    fn entry(&self, first: &First) -> Errors {
        let mut errors = Errors::new();
        match T::vjp(self, &tensor(&first.cotangent)) {
            Ok((y, grads)) => {
                self.compare(0, "value", &self.case.output, y.shape(), &y.to_vec(), &mut errors);
                let grads: Vec<Tensor<T>> = self.wrt().iter().map(|w| grads[w.1].clone()).collect();
                self.each(1, &first.grads, &grads, &mut errors);
            }
            Err(e) => errors.push((1, e)),
        }
        errors
    }

    fn each(&self, order: u8, want: &[Option<Given>], got: &[Tensor<T>], errors: &mut Errors) {
        for ((i, _), got) in self.wrt().into_iter().zip(got) {
            if let Some(want) = &want[i] {
                self.compare(order, &format!("order {order} in input {i}"), want, got.shape(), &got.to_vec(), errors);
            }
        }
    }
    fn arrays(&self, order: u8, want: &[Option<Given>], got: &[Array], errors: &mut Errors) {
        for ((i, _), got) in self.wrt().into_iter().zip(got) {
            if let Some(want) = &want[i] {
                self.array(order, &format!("order {order} in input {i}"), want, got, errors);
            }
        }
    }
    fn array(&self, order: u8, what: &str, want: &Given, got: &Array, errors: &mut Errors) {
        let data: Vec<T> = got.to_f64_vec().into_iter().map(T::of).collect();
        self.compare(order, what, want, &got.ty().shape, &data, errors);
    }

    /// Notes a shape that is another, or the first element that is too far away.
    fn compare(&self, order: u8, what: &str, want: &Given, shape: &[usize], got: &[T], errors: &mut Errors) {
        if shape != want.shape {
            errors.push((order, format!("{what}: expected shape {:?}, found {shape:?}", want.shape)));
            return;
        }
        let (rtol, atol) = self.tolerance(want);
        for (k, (&w, &g)) in want.data.iter().zip(got).enumerate() {
            let (w, g) = (T::of(w).f64(), g.f64());
            let near = if w.is_finite() {
                (g - w).abs() <= atol + rtol * w.abs()
            } else {
                g == w || (g.is_nan() && w.is_nan())
            };
            if !near {
                errors.push((order, format!("{what}: element {k}: expected {w:e}, found {g:e}")));
                return;
            }
        }
    }
    fn tolerance(&self, want: &Given) -> (f64, f64) {
        if T::DTYPE == DType::F64 {
            return (self.case.rtol, self.case.atol);
        }
        let finite = want.data.iter().map(|x| x.abs()).filter(|x| x.is_finite() && (*x as f32).is_finite());
        let rtol = if LINEAR_ALGEBRA.contains(&self.case.op.as_str()) { 1e-3 } else { 2e-5 };
        (rtol, 1e-6 * finite.fold(1.0, f64::max))
    }
}

fn tensor<T: Float>(g: &Given) -> Tensor<T> {
    Tensor::from_vec(g.data.iter().map(|&x| T::of(x)).collect(), &g.shape)
}
fn array<T: Float>(g: &Given) -> Array {
    let data = match g.dtype {
        DType::F64 => T::data(g.data.iter().map(|&x| T::of(x)).collect()),
        DType::I64 => Data::I64(g.data.iter().map(|&x| x as i64).collect()),
        _ => Data::Bool(g.data.iter().map(|&x| x != 0.0).collect()),
    };
    Array::from_data(data, &g.shape)
}
