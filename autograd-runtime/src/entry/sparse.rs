//! Jacobians and Hessians that are mostly zeros: a pattern, columns or rows that share a product, and these products
//! become one matrix. It has a row for each float of the results and a column for each float of the differentiated
//! parameters, in order.
//!
//! Patterns are kept, with their colourings: a pattern is a function of the graph, the lengths of lists, and the values that
//! decide where elements go, and all these are compared in full.

use super::{
    Function, Kind,
    args::{LeafIn, LeafList, OutVal},
    build::{self, Body, Entry},
    matrices::{Products, extent, floats, seeded},
};
use crate::{
    Error, Result,
    array::Data,
    graph::Graph,
    op::{create::bits_of, custom::CUSTOM_VJP},
    random::States,
    sparse::{
        Order, Pattern,
        colour::{self, Colouring},
        pattern::{self, Input, Number},
        routine::Routine,
    },
    tensor::Value,
    ty::{DType, Ty},
};
use parking_lot::Mutex;
use sprs::CsMat;
use std::sync::{Arc, Weak};

/// Where a matrix has elements, and the products that it is made of.
struct Plan {
    pattern: Pattern,
    /// The transpose.
    across: Pattern,
    colouring: Colouring,
    /// What the groups of the colouring are of.
    form: Form,
    /// Whether floats decided where elements are, as in a branch.
    by_values: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Form {
    /// Columns of a Jacobian; rows that are alone are products with its transpose.
    Columns,
    /// Rows of a Jacobian; columns that are alone are products with it.
    Rows,
    /// Columns of a Hessian, which is symmetric.
    Symmetric,
}

impl Plan {
    fn new(pattern: Pattern, form: Option<Form>, by_values: bool) -> Plan {
        let across = pattern.transposed();
        let (colouring, form) = match form {
            Some(Form::Symmetric) => (colour::symmetric(&pattern), Form::Symmetric),
            Some(Form::Columns) => (colour::columns_only(&pattern, &across), Form::Columns),
            Some(Form::Rows) => (colour::columns_only(&across, &pattern), Form::Rows),
            None => match colour::cheaper(&pattern, &across) {
                (c, true) => (c, Form::Columns),
                (c, false) => (c, Form::Rows),
            },
        };
        Plan { pattern, across, colouring, form, by_values }
    }
    fn bytes(&self) -> usize {
        let words = |p: &Pattern| p.indices.len() + p.starts.len();
        let grouped: usize = self.colouring.groups.iter().map(Vec::len).sum();
        (words(&self.pattern) + words(&self.across) + grouped + self.colouring.alone.len()) * size_of::<usize>()
    }
}

/// A plan that is kept, and what it is for.
struct Kept {
    entry: Weak<Entry>,
    key: Vec<u64>,
    plan: Arc<Plan>,
}

/// The plans of the last calls, latest last.
static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());
/// Most plans that are kept, and most bytes of them.
const MOST: usize = 64;
const MOST_BYTES: usize = 256 << 20;

/// Drops all plans.
pub(super) fn clear() {
    KEPT.lock().clear();
}

fn kept(entry: &Arc<Entry>, key: &[u64]) -> Option<Arc<Plan>> {
    let mut all = KEPT.lock();
    let at = all.iter().position(|k| std::ptr::eq(k.entry.as_ptr(), Arc::as_ptr(entry)) && k.key == key)?;
    let found = all.remove(at);
    let plan = found.plan.clone();
    all.push(found);
    Some(plan)
}

fn keep(entry: &Arc<Entry>, key: Vec<u64>, plan: &Arc<Plan>) {
    let mut all = KEPT.lock();
    // an entry that is gone is asked for no more
    all.retain(|k| k.entry.strong_count() > 0);
    all.push(Kept { entry: Arc::downgrade(entry), key, plan: plan.clone() });
    let bytes = |k: &Kept| k.plan.bytes() + k.key.len() * size_of::<u64>();
    let mut total: usize = all.iter().map(bytes).sum();
    while all.len() > 1 && (all.len() > MOST || total > MOST_BYTES) {
        total -= bytes(&all.remove(0));
    }
}

/// The inputs of the graph of an entry, and what a plan for them is kept under: the lengths of lists and the values that the
/// routine reads.
fn inputs(routine: &Routine<'_>, given: &LeafList, wrt: &[usize]) -> (Vec<Input>, Vec<u64>) {
    let (mut all, mut key, mut floats) = (Vec::with_capacity(given.len()), Vec::new(), 0);
    let mut differentiated = wrt.iter().peekable();
    for (i, (leaf, &read)) in given.iter().zip(&routine.reads).enumerate() {
        let len = leaf.tensor().map_or(1, |v| v.ty().numel());
        let first = differentiated.next_if_eq(&&i).map(|_| floats);
        if first.is_some() {
            floats += len;
        }
        if let LeafIn::List(_) = leaf {
            key.push(len as u64);
        }
        let number = match leaf {
            _ if !read => Number::Unknown,
            LeafIn::Bits(d, bits) => {
                key.push(*bits);
                Number::bits(*d, *bits)
            }
            LeafIn::Tensor(v) | LeafIn::List(v) => {
                let array = v.to_array();
                let data = array.clone().into_data();
                key.extend((0..data.len()).filter_map(|k| data.bits(k)));
                Number::array(array)
            }
        };
        all.push(Input { len, first, number });
    }
    (all, key)
}

/// The plan of a matrix at these arguments, if the function is compiled.
fn plan<F: Function>(p: &Products<'_, F>, states: &States) -> Result<Option<Arc<Plan>>> {
    let Some(entry) = &p.entry else { return Ok(None) };
    let Body::Compiled { captures, draws, .. } = &entry.body else { return Ok(None) };
    let mut given = p.v.leaves.clone();
    let fresh;
    let mut entry = entry;
    if !captures.is_empty() || !draws.is_empty() {
        fresh = states.again(|| {
            let fresh = build::refresh::<F>(entry, p.args, &p.v, p.kind)?;
            let keys = fresh.draws.keys();
            Ok::<_, Error>((fresh, keys))
        })?;
        given.extend(fresh.0.captures.iter().chain(&fresh.1).map(|v| LeafIn::Tensor(v.clone())));
        entry = &fresh.0.entry;
    }
    let Body::Compiled { source, .. } = &entry.body else { return Ok(None) };
    let second = p.kind == Kind::Hvp;
    let routine = Routine::new(source, &vec![false; source.outputs().len()]);
    let (all, key) = inputs(&routine, &given, &p.wrt);
    if let Some(found) = kept(entry, &key) {
        return Ok(Some(found));
    }
    let n = p.wrt.iter().map(|&i| extent(&p.v.leaves[i])).sum();
    let order = if second { Order::Second } else { Order::First };
    let found = pattern::find(&routine, all, n, order)?;
    // with a user's derivative the second derivatives need not be symmetric
    let form = second.then(|| if has_custom(source) { Form::Columns } else { Form::Symmetric });
    let by_values = given.iter().zip(&routine.reads).any(|(leaf, &read)| read && leaf.dtype().is_float());
    let plan = Arc::new(Plan::new(found, form, by_values));
    keep(entry, key, &plan);
    Ok(Some(plan))
}

/// Whether a derivative of the user's is part of a graph.
fn has_custom(g: &Graph) -> bool {
    let mut todo = vec![g];
    while let Some(g) = todo.pop() {
        if g.nodes().any(|(_, n)| n.op.is(&CUSTOM_VJP)) {
            return true;
        }
        todo.extend(g.nodes().flat_map(|(_, n)| n.subgraphs()));
    }
    false
}

/// Products with a matrix at the arguments of a function.
struct Times<'a, 's, F: Function> {
    products: Products<'a, F>,
    zeros: LeafList,
    /// How many floats come before each leaf.
    starts: Vec<usize>,
    states: &'s States,
}

impl<'a, 's, F: Function> Times<'a, 's, F> {
    fn new(products: Products<'a, F>, states: &'s States) -> Result<Self> {
        let zeros = match products.kind {
            Kind::Vjp => states.again(|| products.cotangents())?,
            _ => products.tangents(),
        };
        let mut starts = vec![0];
        zeros.iter().for_each(|leaf| starts.push(starts[starts.len() - 1] + extent(leaf)));
        Ok(Times { products, zeros, starts, states })
    }
    /// The number of floats of a direction.
    fn len(&self) -> usize {
        self.starts[self.zeros.len()]
    }
    /// The product with ones in these places, which ascend, and zeros elsewhere.
    fn at(&self, places: &[usize]) -> Result<Vec<f64>> {
        let mut direction = self.zeros.clone();
        for group in places.chunk_by(|a, b| self.leaf(*a) == self.leaf(*b)) {
            let k = self.leaf(group[0]);
            let inside: Vec<usize> = group.iter().map(|p| p - self.starts[k]).collect();
            direction[k] = seeded(&direction[k], &inside);
        }
        self.along(&direction)
    }
    /// The product with a direction.
    fn along(&self, direction: &[LeafIn]) -> Result<Vec<f64>> {
        let o = self.states.again(|| self.products.times(direction))?;
        let types: Vec<Ty> = self.products.derivative_types(&o);
        Ok(o.outs[o.values..].iter().zip(&types).flat_map(|(out, ty): (&OutVal, &Ty)| floats(out, ty)).collect())
    }
    /// The product with a direction given by its floats.
    fn with(&self, floats: &[f64]) -> Result<Vec<f64>> {
        let mut all = floats.iter().copied();
        let direction: LeafList = self.zeros.iter().map(|leaf| filled(leaf, &mut all)).collect();
        self.along(&direction)
    }
    /// The leaf that a float is in.
    fn leaf(&self, place: usize) -> usize {
        self.starts.partition_point(|&s| s <= place).saturating_sub(1)
    }
}

/// A leaf of the next floats.
fn filled(like: &LeafIn, from: &mut impl Iterator<Item = f64>) -> LeafIn {
    let dtype = like.dtype();
    if !dtype.is_float() {
        return like.clone();
    }
    let of = |v: &Value, from: &mut dyn Iterator<Item = f64>| {
        let mut data = Data::zeros(dtype, v.ty().numel());
        (0..data.len()).zip(from).for_each(|(i, x)| data.set_bits(i, bits_of(dtype, x)));
        Value::from_data(v.ty().clone(), data)
    };
    match like {
        LeafIn::Bits(..) => LeafIn::Bits(dtype, bits_of(dtype, from.next().unwrap_or(0.0))),
        LeafIn::Tensor(v) => LeafIn::Tensor(of(v, from)),
        LeafIn::List(v) => LeafIn::List(of(v, from)),
    }
}

/// The elements of a matrix as products tell them.
struct Elements<'p> {
    plan: &'p Plan,
    values: Vec<f64>,
}

impl Elements<'_> {
    fn put(&mut self, r: usize, c: usize, x: f64) {
        if let Ok(k) = self.plan.pattern.row(r).binary_search(&c) {
            self.values[self.plan.pattern.starts[r] + k] = x;
        }
    }
    /// The product with ones for some columns, outside of some rows.
    fn columns(&mut self, columns: &[usize], product: &[f64], skip: &[bool]) -> Result<()> {
        let plan = self.plan;
        fits(product, plan.pattern.rows())?;
        for &c in columns {
            for &r in plan.across.row(c).iter().filter(|r| !skip[**r]) {
                self.put(r, c, product[r]);
            }
        }
        Ok(())
    }
    /// The product of the transpose with ones for some rows, outside of some columns.
    fn rows(&mut self, rows: &[usize], product: &[f64], skip: &[bool]) -> Result<()> {
        let plan = self.plan;
        fits(product, plan.pattern.columns)?;
        for &r in rows {
            for (k, &c) in plan.pattern.row(r).iter().enumerate().filter(|(_, c)| !skip[**c]) {
                self.values[plan.pattern.starts[r] + k] = product[c];
            }
        }
        Ok(())
    }
}

fn fits(product: &[f64], n: usize) -> Result<()> {
    if product.len() == n {
        return Ok(());
    }
    Err(Error::shape("sparse", format!("a product of {n} floats"), product.len().to_string()))
}

/// The elements of a matrix whose plan is known. `forward` gives products with it, `backward` with its transpose.
fn elements(
    plan: &Plan,
    mut forward: impl FnMut(&[usize]) -> Result<Vec<f64>>,
    mut backward: impl FnMut(&[usize]) -> Result<Vec<f64>>,
) -> Result<Vec<f64>> {
    let (alone, groups) = (&plan.colouring.alone, &plan.colouring.groups);
    let (rows, columns) = (plan.pattern.rows(), plan.pattern.columns);
    let mut all = Elements { plan, values: vec![0.0; plan.pattern.indices.len()] };
    let none = vec![false; rows.max(columns)];
    let skip = colour::marked(alone, rows.max(columns));
    for &i in alone {
        match plan.form {
            Form::Columns => all.rows(&[i], &backward(&[i])?, &none)?,
            Form::Rows => all.columns(&[i], &forward(&[i])?, &none)?,
            Form::Symmetric => {
                let product = forward(&[i])?;
                all.columns(&[i], &product, &none)?;
                all.rows(&[i], &product, &none)?;
            }
        }
    }
    for group in groups {
        match plan.form {
            Form::Rows => all.rows(group, &backward(group)?, &skip)?,
            Form::Columns | Form::Symmetric => all.columns(group, &forward(group)?, &skip)?,
        }
    }
    Ok(all.values)
}

/// A value that is made when it is first asked for.
fn once<T>(slot: &mut Option<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if slot.is_none() {
        *slot = Some(make()?);
    }
    slot.as_ref().ok_or_else(|| Error::value("sparse", "expected a value"))
}

/// The elements of a Jacobian, or none if they are not all that a product has.
fn of_jacobian<'a, 's, F: Function>(args: F::Args<'a>, plan: &Plan, states: &'s States) -> Result<Option<Vec<f64>>> {
    let make = |kind: Kind, n: usize| {
        let times = Times::new(Products::<F>::new(args, kind, None)?, states)?;
        if times.len() != n {
            return Err(Error::shape("sparse", format!("directions of {n} floats"), times.len().to_string()));
        }
        Ok(times)
    };
    let (rows, columns) = (plan.pattern.rows(), plan.pattern.columns);
    let (mut forward, mut backward): (Option<Times<'a, 's, F>>, Option<Times<'a, 's, F>>) = (None, None);
    let values = elements(
        plan,
        |places| once(&mut forward, || make(Kind::Jvp, columns))?.at(places),
        |places| once(&mut backward, || make(Kind::Vjp, rows))?.at(places),
    )?;
    let times = match plan.form {
        Form::Rows => once(&mut backward, || make(Kind::Vjp, rows)),
        _ => once(&mut forward, || make(Kind::Jvp, columns)),
    };
    Ok(if !plan.by_values || complete(plan, &values, times?)? { Some(values) } else { None })
}

/// Whether the elements are all that a matrix has, as one more product tells. Where floats decide on a branch or on the end of
/// a loop, the pattern is that of the branch which the interpreter takes; a compiled program may add up in another order and
/// take the other one, if they all but agree.
fn complete<F: Function>(plan: &Plan, values: &[f64], times: &Times<'_, '_, F>) -> Result<bool> {
    if times.len() == 0 {
        return Ok(true);
    }
    let pattern = &plan.pattern;
    let transposed = plan.form == Form::Rows;
    // irregular, so that sums of other elements do not look like the right ones
    let weight = |i: usize| {
        let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        0.5 + (mixed >> 40) as f64 / (1u64 << 24) as f64
    };
    let weights: Vec<f64> = (0..times.len()).map(weight).collect();
    let product = times.with(&weights)?;
    fits(&product, if transposed { pattern.columns } else { pattern.rows() })?;
    let (mut sums, mut sizes) = (vec![0.0; product.len()], vec![0.0; product.len()]);
    for r in 0..pattern.rows() {
        for (k, &c) in pattern.row(r).iter().enumerate() {
            let (to, from) = if transposed { (c, r) } else { (r, c) };
            let term = values[pattern.starts[r] + k] * weights[from];
            sums[to] += term;
            sizes[to] += term.abs();
        }
    }
    let single = times.zeros.iter().any(|leaf| leaf.dtype() == DType::F32);
    let tolerance = if single { 1e-2 } else { 1e-6 };
    let agrees = |((p, sum), size): ((&f64, &f64), &f64)| {
        !p.is_finite() || !sum.is_finite() || (p - sum).abs() <= tolerance * size
    };
    Ok(product.iter().zip(&sums).zip(&sizes).all(agrees))
}

fn matrix(shape: (usize, usize), starts: Vec<usize>, indices: Vec<usize>, values: Vec<f64>) -> Result<CsMat<f64>> {
    CsMat::try_new(shape, starts, indices, values).map_err(|e| Error::value("sparse", e.3.to_string()))
}

fn of_plan<F: Function>(plan: &Plan, kind: Kind, values: Vec<f64>) -> Result<CsMat<f64>> {
    let (rows, columns) = (plan.pattern.rows(), plan.pattern.columns);
    tracing::debug!(
        function = F::META.name,
        kind = kind.name(),
        rows,
        columns,
        elements = values.len(),
        products = plan.colouring.products(),
        "sparse matrix"
    );
    matrix((rows, columns), plan.pattern.starts.clone(), plan.pattern.indices.clone(), values)
}

pub(super) fn jacobian<F: Function>(args: F::Args<'_>) -> Result<CsMat<f64>> {
    let states = States::now();
    let p = Products::<F>::new(args, Kind::Value, None)?;
    let Some(plan) = plan(&p, &states)? else { return dense_jacobian::<F>(args, &states) };
    let (values, plan) = match of_jacobian::<F>(args, &plan, &states) {
        // a function with a derivative of the user's may have a reverse mode alone
        Err(Error::NoDerivative { .. }) => {
            let plan = Arc::new(Plan::new(plan.pattern.clone(), Some(Form::Rows), plan.by_values));
            (of_jacobian::<F>(args, &plan, &states)?, plan)
        }
        done => (done?, plan),
    };
    match values {
        Some(values) => of_plan::<F>(&plan, Kind::Jacobian, values),
        None => dense_jacobian::<F>(args, &states),
    }
}

pub(super) fn hessian<F: Function>(args: F::Args<'_>) -> Result<CsMat<f64>> {
    let states = States::now();
    let p = Products::<F>::new(args, Kind::Hvp, None)?;
    let found = plan(&p, &states)?;
    let times = Times::new(p, &states)?;
    let n = times.len();
    let Some(plan) = found else { return by_columns((n, n), &times) };
    let transposed = |_: &[usize]| Err(Error::value("sparse", "expected no product with the transpose of a Hessian"));
    let values = elements(&plan, |places| times.at(places), transposed)?;
    if plan.by_values && !complete(&plan, &values, &times)? {
        return by_columns((n, n), &times);
    }
    of_plan::<F>(&plan, Kind::Hessian, values)
}

/// A Jacobian of which nothing is known: all of it, without the zeros.
fn dense_jacobian<F: Function>(args: F::Args<'_>, states: &States) -> Result<CsMat<f64>> {
    let rows = Times::new(Products::<F>::new(args, Kind::Vjp, None)?, states)?;
    let (m, n) = (rows.len(), rows.products.tangents().iter().map(extent).sum());
    if n <= m {
        let columns = Products::<F>::new(args, Kind::Jvp, None).and_then(|p| Times::new(p, states));
        match columns.and_then(|columns| by_columns((m, n), &columns)) {
            Err(Error::NoDerivative { .. }) => {}
            done => return done,
        }
    }
    let (mut starts, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
    for r in 0..m {
        let row = rows.at(&[r])?;
        fits(&row, n)?;
        for (c, x) in row.into_iter().enumerate().filter(|(_, x)| *x != 0.0) {
            indices.push(c);
            values.push(x);
        }
        starts.push(indices.len());
    }
    matrix((m, n), starts, indices, values)
}

/// A matrix column by column, without the zeros.
fn by_columns<F: Function>((m, n): (usize, usize), times: &Times<'_, '_, F>) -> Result<CsMat<f64>> {
    let mut rows: Vec<Vec<(usize, f64)>> = vec![Vec::new(); m];
    for c in 0..n {
        let column = times.at(&[c])?;
        fits(&column, m)?;
        rows.iter_mut().zip(column).filter(|(_, x)| *x != 0.0).for_each(|(row, x)| row.push((c, x)));
    }
    let mut starts = vec![0];
    rows.iter().for_each(|r| starts.push(starts[starts.len() - 1] + r.len()));
    let (indices, values) = rows.into_iter().flatten().unzip();
    matrix((m, n), starts, indices, values)
}
