//! Functions whose derivative the user writes: PyTorch's `torch.autograd.Function`.
//!
//! Outside a trace the forward runs unrecorded and its results get one node, whose backward is the user's. Inside a
//! trace forward and backward are traced both: the results become `custom_vjp` nodes, which are the forward's
//! results with the user's backward as their derivative, so that the compiled path has it too.

use super::{
    dispatch::eager,
    inplace::rebase,
    mode::{is_grad_enabled, no_grad},
    node::{Edge, Edges, Node, Owned, Parts},
    typed::Tensor,
    value::Value,
};
use crate::{
    array::{Array, Float},
    emit::{Ex, V},
    error::{Error, Place, Result},
    op::{Attr, Op, arith, custom as op},
    session::{self, TraceEnd},
    ty::{DType, Ty, broadcast},
};
use parking_lot::Mutex;
use std::{any::Any, sync::Arc};

/// A function with a derivative of its own, from tensors to tensors of one element type.
///
/// ```
/// use autograd_runtime::{Context, Function, Result, Tensor};
///
/// /// eˣ, whose derivative is its value.
/// struct Exp;
/// impl Function<f64> for Exp {
///     fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
///         let y = inputs[0].exp();
///         ctx.save_for_backward(&[&y]);
///         Ok(vec![y])
///     }
///     fn backward(&self, ctx: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
///         Ok(vec![Some(&grads[0] * &ctx.saved_tensors()?[0])])
///     }
/// }
/// let x = Tensor::from_vec(vec![0.0, 1.0], [2]).requires_grad_(true);
/// let y = Exp.apply(&[&x])?;
/// assert_eq!(y.grad_fn().unwrap().name(), "ExpBackward");
/// y.sum().backward()?;
/// assert!((x.grad().unwrap().to_vec()[1] - std::f64::consts::E).abs() < 1e-15);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
pub trait Function<T: Float>: Send + Sync + 'static {
    /// The results from the inputs. Nothing is recorded meanwhile; what backward needs goes into `ctx`.
    ///
    /// # Errors
    /// The function's own; they reach the caller of [`Function::apply`] unchanged.
    fn forward(&self, ctx: &mut Context<T>, inputs: &[Tensor<T>]) -> Result<Vec<Tensor<T>>>;
    /// The gradients of the inputs, in order, from those of the results (zeros where there is none); `None` for an
    /// input without one. Written with operations on tensors, it is differentiable itself.
    ///
    /// # Errors
    /// The function's own; they reach the caller of backward unchanged.
    fn backward(&self, ctx: &Context<T>, grads: &[Tensor<T>]) -> Result<Vec<Option<Tensor<T>>>>;
    /// The name in graphs and messages; the name of the type if not given.
    fn name(&self) -> &'static str {
        let path = std::any::type_name::<Self>();
        let end = path.find('<').unwrap_or(path.len());
        path[..end].rsplit("::").next().unwrap_or(path)
    }
    /// Applies the function, which has one result.
    ///
    /// # Errors
    /// Those of the forward; another number of results.
    #[track_caller]
    fn apply(self, inputs: &[&Tensor<T>]) -> Result<Tensor<T>>
    where
        Self: Sized,
    {
        let name = self.name();
        let mut outs = self.apply_all(inputs)?;
        match outs.pop() {
            Some(y) if outs.is_empty() => Ok(y),
            _ => Err(Error::value(name, "expected a function of one result; use apply_all")),
        }
    }
    /// Applies the function: its results, in the order in which the forward gives them.
    ///
    /// # Errors
    /// Those of the forward; writing to an input that must not be written to.
    #[track_caller]
    fn apply_all(self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>>
    where
        Self: Sized,
    {
        apply(Arc::new(self), inputs, Place::caller())
    }
}

/// What a [`Function`] keeps from its forward for its backward.
pub struct Context<T> {
    saved: Vec<Tensor<T>>,
    /// Whether saved values are still there.
    freed: Option<Error>,
    needs: Vec<bool>,
    defined: Vec<bool>,
    non_differentiable: Vec<Value>,
    dirty: Vec<Value>,
    data: Option<Arc<dyn Any + Send + Sync>>,
}

impl<T: Float> Context<T> {
    fn new(needs: Vec<bool>) -> Self {
        Context {
            saved: Vec::new(),
            freed: None,
            needs,
            defined: Vec::new(),
            non_differentiable: Vec::new(),
            dirty: Vec::new(),
            data: None,
        }
    }
    /// Keeps tensors for the backward. Inputs and results may be saved freely; through an intermediate tensor there
    /// is no second derivative (an error in double backward).
    pub fn save_for_backward(&mut self, tensors: &[&Tensor<T>]) {
        self.saved = tensors.iter().map(|&t| t.clone()).collect();
    }
    /// The saved tensors, in order.
    ///
    /// # Errors
    /// If an earlier backward has freed them, or if one of them was written to since.
    pub fn saved_tensors(&self) -> Result<&[Tensor<T>]> {
        match &self.freed {
            Some(e) => Err(e.clone()),
            None => Ok(&self.saved),
        }
    }
    /// Keeps something else for the backward, in the place of what was kept so before.
    pub fn save_data(&mut self, data: impl Any + Send + Sync) {
        self.data = Some(Arc::new(data));
    }
    /// What [`Context::save_data`] kept, if it is of this type.
    ///
    /// ```
    /// use autograd_runtime::{Context, Function, Result, Tensor};
    ///
    /// /// The sum, which remembers how many elements there were.
    /// struct Sum;
    /// impl Function<f64> for Sum {
    ///     fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
    ///         ctx.save_data(inputs[0].shape().to_vec());
    ///         Ok(vec![inputs[0].sum()])
    ///     }
    ///     fn backward(&self, ctx: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
    ///         Ok(vec![ctx.data::<Vec<usize>>().map(|shape| grads[0].expand(shape))])
    ///     }
    /// }
    /// let x = Tensor::<f64>::ones([2, 2]).requires_grad_(true);
    /// Sum.apply(&[&x])?.backward()?;
    /// assert_eq!(x.grad().unwrap().to_vec(), [1.0; 4]);
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    pub fn data<D: Any>(&self) -> Option<&D> {
        self.data.as_ref()?.downcast_ref()
    }
    /// Whether input `i` wants a gradient.
    pub fn needs_input_grad(&self, i: usize) -> bool {
        self.needs.get(i).copied().unwrap_or(false)
    }
    /// Whether result `i` has a gradient, or zeros stand for none.
    pub fn has_grad(&self, i: usize) -> bool {
        self.defined.get(i).copied().unwrap_or(false)
    }
    /// Marks results through which no gradient flows: they are untracked, and backward gets zeros for them.
    pub fn mark_non_differentiable(&mut self, outputs: &[&Tensor<T>]) {
        self.non_differentiable.extend(outputs.iter().map(|t| t.value().clone()));
    }
    /// Marks inputs that the forward has written to. They must be among the results.
    ///
    /// ```
    /// use autograd_runtime::{Context, Function, Result, Tensor};
    ///
    /// struct DoubleInPlace;
    /// impl Function<f64> for DoubleInPlace {
    ///     fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
    ///         ctx.mark_dirty(&[inputs[0].mul_(2.0)]);
    ///         Ok(vec![inputs[0].clone()])
    ///     }
    ///     fn backward(&self, _: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
    ///         Ok(vec![Some(&grads[0] * 2.0)])
    ///     }
    /// }
    /// let x = Tensor::<f64>::ones([2]).requires_grad_(true);
    /// let y = &x * 3.0;
    /// DoubleInPlace.apply(&[&y])?;
    /// y.sum().backward()?;
    /// assert_eq!((y.to_vec(), x.grad().unwrap().to_vec()), (vec![6.0; 2], vec![6.0; 2]));
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    pub fn mark_dirty(&mut self, inputs: &[&Tensor<T>]) {
        self.dirty.extend(inputs.iter().map(|t| t.value().clone()));
    }
}

/// Where a saved tensor comes from.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    Input(usize),
    Output(usize),
    /// Made by the forward and not returned.
    Intermediate,
}

struct Saved {
    origin: Origin,
    value: Value,
    version: u64,
}

/// The node of an applied function.
pub(super) struct CustomNode {
    name: &'static str,
    out_types: Vec<Ty>,
    arg_types: Vec<Ty>,
    saved: Mutex<Option<Vec<Saved>>>,
    run: Box<Run>,
}
/// The user's backward: saved tensors (or why there are none), gradients, which inputs want one.
pub(super) type Run = dyn Fn(Result<Vec<Value>>, &[Option<Value>], &[bool]) -> Result<Vec<Option<Value>>> + Send + Sync;

impl CustomNode {
    /// The node of results with a derivative of the library's own, which reads what is saved, results as aliases.
    pub fn derived(
        name: &'static str,
        out_types: Vec<Ty>,
        arg_types: Vec<Ty>,
        saved: impl IntoIterator<Item = Value>,
        run: Box<Run>,
    ) -> CustomNode {
        let of = |value: Value| Saved { origin: Origin::Intermediate, version: value.version(), value };
        CustomNode { name, out_types, arg_types, saved: Mutex::new(Some(saved.into_iter().map(of).collect())), run }
    }
    pub fn name(&self) -> String {
        format!("{}Backward", self.name)
    }
    pub fn results(&self) -> usize {
        self.out_types.len()
    }
    pub fn dtype(&self) -> DType {
        self.out_types.first().map_or(DType::F64, |t| t.dtype)
    }
    /// Whether there are saved tensors, or were before they were freed.
    pub fn saves(&self) -> bool {
        self.saved.lock().as_ref().is_none_or(|s| !s.is_empty())
    }
    pub fn take_values(&mut self, sink: &mut Parts) {
        sink.extend(self.saved.get_mut().take().into_iter().flatten().map(|s| Owned::Value(s.value)));
    }
    pub fn pull_back(
        &self,
        node: &Arc<Node>,
        cts: &[Option<Value>],
        wanted: &dyn Fn(usize) -> bool,
        release: bool,
    ) -> Result<Vec<Option<Value>>> {
        let saved = self.unpack(node, release);
        let needs: Vec<bool> = (0..self.arg_types.len()).map(wanted).collect();
        let mut grads = (self.run)(saved, cts, &needs)?;
        let (want, got) = (self.arg_types.len(), grads.len());
        if got < want || grads[want..].iter().any(Option::is_some) {
            return Err(Error::Autograd(format!(
                "function {} returned an incorrect number of gradients (expected {want}, got {got}){}",
                self.name(),
                node.at()
            )));
        }
        grads.truncate(want);
        for (i, (g, ty)) in grads.iter_mut().zip(&self.arg_types).enumerate() {
            if let Some(v) = g.take() {
                *g = Some(self.fit(node, i, v, ty)?);
            }
        }
        Ok(grads)
    }
    /// A gradient in the input's shape: summed over what was broadcast.
    fn fit(&self, node: &Node, i: usize, g: Value, ty: &Ty) -> Result<Value> {
        if g.ty() == ty {
            return Ok(g);
        }
        if g.ty().dtype != ty.dtype || broadcast(&ty.shape, &g.ty().shape).is_none_or(|s| s != g.ty().shape) {
            return Err(Error::Autograd(format!(
                "Function {} returned an invalid gradient at index {i} - got {:?} but expected shape compatible with \
                 {:?}{}",
                self.name(),
                g.ty().shape.as_slice(),
                ty.shape.as_slice(),
                node.at()
            )));
        }
        let d = super::dispatch::Dispatch::default();
        let V::Tensor(v) = Ex::new(&d, V::Tensor(g)).sum_to(&ty.shape).v else {
            panic!("bug: a gradient left the tape")
        };
        d.take_error().map_or(Ok(v), Err)
    }
    /// The saved tensors with their past, for a backward that is recorded.
    pub fn unpack(&self, node: &Arc<Node>, release: bool) -> Result<Vec<Value>> {
        let mut guard = self.saved.lock();
        let Some(saved) = guard.as_ref() else { return Err(node.freed()) };
        if let Some(s) = saved.iter().find(|s| s.value.version() != s.version) {
            return Err(node.modified(&s.value, s.version));
        }
        let record = is_grad_enabled();
        let of = |s: &Saved| {
            if !record {
                return s.value.clone();
            }
            let alias = s.value.alias();
            match s.origin {
                Origin::Input(i) => match node.edges().get(i).and_then(Clone::clone) {
                    Some(Edge::Leaf(leaf)) => return leaf,
                    Some(Edge::Node(n, i)) => alias.set_grad_fn(n, i),
                    None => {}
                },
                Origin::Output(i) => alias.set_grad_fn(node.clone(), i as u32),
                Origin::Intermediate => {
                    alias.set_grad_fn(
                        Node::custom(CustomNode::dead_end(self.name, s.value.ty()), node.edges().clone(), None),
                        0,
                    );
                }
            }
            alias
        };
        let out = saved.iter().map(of).collect();
        if release && !saved.is_empty() {
            *guard = None;
        }
        Ok(out)
    }
    /// What stands behind a saved intermediate tensor: a derivative that nobody has written.
    fn dead_end(name: &'static str, ty: &Ty) -> CustomNode {
        CustomNode {
            name,
            out_types: vec![ty.clone()],
            arg_types: Vec::new(),
            saved: Mutex::new(Some(Vec::new())),
            run: Box::new(move |_, _, _| {
                Err(Error::Autograd(format!(
                    "{name}Backward saved an intermediate tensor of its forward, neither an input nor a result: there is \
                     no derivative through it, so double backward cannot go on. Save inputs or results instead"
                )))
            }),
        }
    }
}

fn apply<T: Float, F: Function<T>>(f: Arc<F>, inputs: &[&Tensor<T>], place: Place) -> Result<Vec<Tensor<T>>> {
    let args: Vec<Tensor<T>> = inputs.iter().map(|&t| t.clone()).collect();
    if session::is_tracing() {
        return traced(&*f, &args);
    }
    let args: Vec<Tensor<T>> = args.iter().map(|a| Tensor::from_value(session::concrete(a.value()))).collect();
    let record = is_grad_enabled();
    let needs: Vec<bool> = args.iter().map(|a| record && a.requires_grad()).collect();
    // the past of the inputs before the forward may write to them
    let edges: Edges = args.iter().map(|a| a.value().edge()).collect::<Result<_>>()?;
    let mut ctx = Context::new(needs.clone());
    let outs = no_grad(|| session::collect_errors(|| f.forward(&mut ctx, &args)))?;
    let tracked = needs.contains(&true);
    let is = |list: &[Value], t: &Tensor<T>| list.iter().any(|v| v.same(t.value()));
    for v in &ctx.dirty {
        if !outs.iter().any(|o| o.value().same(v)) {
            return Err(Error::Autograd(format!(
                "{}: Some elements marked as dirty during the forward method were not returned as output. The inputs that \
                 are modified inplace must all be outputs of the function",
                f.name()
            )));
        }
        if record {
            v.check_in_place()?;
        }
        if tracked {
            v.check_view_kind()?;
        }
        v.bump();
    }
    let mut values: Vec<Value> = Vec::with_capacity(outs.len());
    for out in &outs {
        let v = out.value();
        values.push(if is(&ctx.dirty, out) {
            v.clone()
        } else if args.iter().any(|a| a.value().same(v)) || v.settled().0.view.is_some() || v.requires_grad() {
            // a result of its own, so that it can have another past than what it shares elements with
            no_grad(|| eager(Op::new(&arith::COPY), &[v]))?
        } else {
            v.clone()
        });
    }
    if tracked {
        let name = f.name();
        let origin = |t: &Tensor<T>| {
            let at = |list: &[Tensor<T>]| list.iter().position(|x| x.value().same(t.value()));
            match (at(&outs), at(&args)) {
                (Some(i), _) => Origin::Output(i),
                (None, Some(i)) => Origin::Input(i),
                (None, None) => Origin::Intermediate,
            }
        };
        let saved = ctx.saved.drain(..).map(|t| {
            let origin = origin(&t);
            let value = match origin {
                // an alias without a tape: the result itself will hold the node that holds this
                Origin::Output(i) => values[i].alias(),
                _ => t.value().clone(),
            };
            Saved { origin, version: value.version(), value }
        });
        let saved: Vec<Saved> = saved.collect();
        let out_types: Vec<Ty> = values.iter().map(|v| v.ty().clone()).collect();
        let data = ctx.data.take();
        let types = out_types.clone();
        let run = move |saved: Result<Vec<Value>>, cts: &[Option<Value>], needs: &[bool]| {
            let mut ctx = Context::<T>::new(needs.to_vec());
            match saved {
                Ok(s) => ctx.saved = s.into_iter().map(Tensor::from_value).collect(),
                Err(e) => ctx.freed = Some(e),
            }
            ctx.defined = cts.iter().map(Option::is_some).collect();
            let zeros = |ty: &Ty| Value::stored(Array::full(ty, 0));
            let grads: Vec<Tensor<T>> = cts
                .iter()
                .zip(&types)
                .map(|(c, ty)| Tensor::from_value(c.clone().unwrap_or_else(|| zeros(ty))))
                .collect();
            ctx.data.clone_from(&data);
            let grads = session::collect_errors(|| f.backward(&ctx, &grads))?;
            Ok(grads.into_iter().map(|g| g.map(|t| t.value().clone())).collect())
        };
        let custom = CustomNode {
            name,
            out_types,
            arg_types: args.iter().map(|a| a.value().ty().clone()).collect(),
            saved: Mutex::new(Some(saved)),
            run: Box::new(run),
        };
        let node = Node::custom(custom, edges, Some(place));
        for (i, v) in values.iter().enumerate() {
            if is(&ctx.non_differentiable, &outs[i]) {
                continue;
            }
            if is(&ctx.dirty, &outs[i]) {
                rebase(v, node.clone(), i as u32, place)?;
            } else {
                v.set_grad_fn(node.clone(), i as u32);
            }
        }
    }
    Ok(values.into_iter().map(Tensor::from_value).collect())
}

/// Values of a trace, one after the other in one vector.
fn pack<T: Float>(parts: &[Tensor<T>]) -> Tensor<T> {
    match parts {
        [one] => one.clone(),
        many => Tensor::cat(&many.iter().map(|t| t.reshape(&[-1])).collect::<Vec<_>>().iter().collect::<Vec<_>>(), 0),
    }
}
/// The parts of [`pack`].
fn unpack<T: Float>(packed: &Tensor<T>, types: &[Ty]) -> Vec<Tensor<T>> {
    if types.len() == 1 {
        return vec![packed.clone()];
    }
    let mut start = 0;
    let part = |ty: &Ty| {
        let n = ty.numel();
        start += n;
        let shape: Vec<i64> = ty.shape.iter().map(|&n| n as i64).collect();
        packed.narrow(0, start - n, n).reshape(&shape)
    };
    types.iter().map(part).collect()
}

/// Applies a function inside the running trace.
fn traced<T: Float>(f: &impl Function<T>, args: &[Tensor<T>]) -> Result<Vec<Tensor<T>>> {
    let mut ctx = Context::new(vec![true; args.len()]);
    let outs = f.forward(&mut ctx, args)?;
    if !session::is_tracing() {
        // the forward read a value: this run is for nothing, the call is run again
        return Ok(outs);
    }
    let is = |list: &[Value], t: &Tensor<T>| list.iter().any(|v| v.same(t.value()));
    let at = |list: &[Tensor<T>], t: &Tensor<T>| list.iter().position(|x| x.value().same(t.value()));
    let differentiable: Vec<Tensor<T>> = outs.iter().filter(|o| !is(&ctx.non_differentiable, o)).cloned().collect();
    if differentiable.is_empty() {
        return Ok(outs);
    }
    let intermediates: Vec<Tensor<T>> =
        ctx.saved.iter().filter(|t| at(args, t).is_none() && at(&differentiable, t).is_none()).cloned().collect();
    let primal = pack(&differentiable);
    let types: Vec<Ty> = differentiable.iter().map(|t| t.value().ty().clone()).collect();
    // the backward as a graph of: inputs, intermediates, results, cotangents
    let (n, m) = (args.len(), intermediates.len());
    let values = || args.iter().chain(&intermediates).chain([&primal, &primal]).map(|t| t.value().clone()).collect();
    let backward = |fresh: Vec<Value>| -> Result<(Vec<Value>, ())> {
        let fresh: Vec<Tensor<T>> = fresh.into_iter().map(Tensor::from_value).collect();
        let (results, cts) = (unpack(&fresh[n + m], &types), unpack(&fresh[n + m + 1], &types));
        let here = |t: &Tensor<T>| match (at(args, t), at(&differentiable, t), at(&intermediates, t)) {
            (Some(i), _, _) => fresh[i].clone(),
            (_, Some(i), _) => results[i].clone(),
            (_, _, Some(i)) => fresh[n + i].clone(),
            _ => t.clone(),
        };
        let mut inner = Context::new(vec![true; n]);
        inner.saved = ctx.saved.iter().map(here).collect();
        inner.data.clone_from(&ctx.data);
        let mut cts = cts.into_iter();
        let mut all = Vec::with_capacity(outs.len());
        for o in &outs {
            let flows = at(&differentiable, o).is_some();
            inner.defined.push(flows);
            all.push(match cts.next().filter(|_| flows) {
                Some(ct) => ct,
                None => Tensor::zeros(o.shape()),
            });
        }
        let grads = f.backward(&inner, &all)?;
        if grads.len() != n {
            return Err(Error::Autograd(format!(
                "function {}Backward returned an incorrect number of gradients (expected {n}, got {})",
                f.name(),
                grads.len()
            )));
        }
        let of = |(g, a): (&Option<Tensor<T>>, &Tensor<T>)| match g {
            None => Ok(Tensor::<T>::zeros(a.shape()).value().clone()),
            Some(g) if g.shape() == a.shape() => Ok(g.value().clone()),
            Some(g) => Err(Error::Autograd(format!(
                "Function {}Backward returned an invalid gradient - got {:?} but expected shape {:?}",
                f.name(),
                g.shape(),
                a.shape()
            ))),
        };
        Ok((grads.iter().zip(args).map(of).collect::<Result<_>>()?, ()))
    };
    let TraceEnd::Graph(g, ()) = session::trace(values(), backward)? else { return Ok(outs) };
    let node = Op::with(&op::CUSTOM_VJP, [Attr::Graph(Arc::new(g.graph)), Attr::Int(n as i64), Attr::Int(m as i64)]);
    let keys = g.draws.keys();
    let operands: Vec<&Value> = [primal.value()]
        .into_iter()
        .chain(args.iter().chain(&intermediates).map(Tensor::value))
        .chain(&g.captures)
        .chain(&keys)
        .collect();
    let wrapped = match session::record(&node, &operands) {
        Some(v) => Tensor::<T>::from_value(v?),
        None => primal.clone(),
    };
    let mut wrapped = unpack(&wrapped, &types).into_iter();
    let of = |o: &Tensor<T>| if is(&ctx.non_differentiable, o) { Some(o.detach()) } else { wrapped.next() };
    Ok(outs.iter().filter_map(of).collect())
}
