//! L-BFGS (Liu and Nocedal, 1989): directions from the last changes of the parameters and of the gradient.
//!
//! All parameters are one flat vector x. A step works on a copy of what is remembered, which takes the place of the
//! old only if no evaluation failed.

use super::{
    Rates, Scheduled, StateDict, check_gradient, dot,
    group::{Field, Visit},
    parameters, require, require_nonnegative,
    state::{expect, load_options, save_options},
    wolfe::{Probe, strong_wolfe},
};
use crate::{
    array::Float,
    error::{Error, Result},
    tensor::{Tensor, no_grad, set_grad_enabled},
};
use std::{borrow::Borrow, collections::VecDeque, mem, sync::Arc};

const NAME: &str = "Lbfgs";

/// How far to go along a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineSearch {
    /// By the learning rate.
    None,
    /// Until the loss and its slope have fallen enough: f(t) ≤ f(0) + 10⁻⁴·t·f′(0) and |f′(t)| ≤ 0.9·|f′(0)|.
    StrongWolfe,
}

/// The options of [`Lbfgs`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LbfgsOptions {
    /// The length of a step, or where the line search begins.
    pub lr: f64,
    /// Iterations of one call of `step`.
    pub max_iter: usize,
    /// Evaluations of one call of `step`; by default a quarter more than iterations.
    pub max_eval: Option<usize>,
    /// Stops where no element of the gradient is larger.
    pub tolerance_grad: f64,
    /// Stops where neither the loss nor a parameter changes by more.
    pub tolerance_change: f64,
    /// How many changes are remembered.
    pub history_size: usize,
    /// How far to go along a direction.
    pub line_search: LineSearch,
}

impl Default for LbfgsOptions {
    fn default() -> Self {
        LbfgsOptions {
            lr: 1.0,
            max_iter: 20,
            max_eval: None,
            tolerance_grad: 1e-7,
            tolerance_change: 1e-9,
            history_size: 100,
            line_search: LineSearch::None,
        }
    }
}

impl LbfgsOptions {
    fn max_eval(&self) -> usize {
        self.max_eval.unwrap_or(self.max_iter.saturating_mul(5) / 4)
    }
    fn check(&self) -> Result<()> {
        let tolerances = [("tolerance_grad", self.tolerance_grad), ("tolerance_change", self.tolerance_change)];
        require_nonnegative(NAME, &[("lr", self.lr)])?;
        require_nonnegative(NAME, &tolerances)?;
        require(NAME, "history_size", self.history_size as f64, self.history_size > 0, "a number above 0")
    }
    fn visit(&mut self, visit: Visit<'_>) {
        let mut max_eval = self.max_eval();
        let mut wolfe = self.line_search == LineSearch::StrongWolfe;
        visit("lr", Field::Number(&mut self.lr));
        visit("max_iter", Field::Count(&mut self.max_iter));
        visit("max_eval", Field::Count(&mut max_eval));
        visit("tolerance_grad", Field::Number(&mut self.tolerance_grad));
        visit("tolerance_change", Field::Number(&mut self.tolerance_change));
        visit("history_size", Field::Count(&mut self.history_size));
        visit("strong_wolfe", Field::Flag(&mut wolfe));
        self.max_eval = Some(max_eval);
        self.line_search = if wolfe { LineSearch::StrongWolfe } else { LineSearch::None };
    }
}

/// L-BFGS over one group of parameters, for losses that are the same at every evaluation.
///
/// ```
/// use autograd_runtime::{Tensor, optim::{Lbfgs, LineSearch}};
/// let x = Tensor::from_vec(vec![-1.5f64, 2.0], [2]).requires_grad_(true);
/// let mut optimizer = Lbfgs::new([&x], 1.0).max_iter(100).line_search(LineSearch::StrongWolfe);
/// optimizer.step(|| {
///     x.set_grad(None)?;
///     let (a, b) = (x.select(0, 0), x.select(0, 1));
///     let loss = (1.0 - &a).square() + (&b - a.square()).square() * 100.0;
///     loss.backward()?;
///     Ok(loss)
/// })?;
/// assert!((&x - 1.0).norm().item() < 1e-5);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Debug)]
pub struct Lbfgs<T: Float> {
    params: Vec<Tensor<T>>,
    /// The options, free to be changed between steps.
    pub options: LbfgsOptions,
    initial_lr: Option<f64>,
    memory: Memory<T>,
    /// What was wrong with the parameters.
    invalid: Option<Error>,
}

/// A change s of the parameters, the change y of the gradient with it, and 1/(y·s).
#[derive(Debug)]
struct Change<T> {
    y: Vec<T>,
    s: Vec<T>,
    rho: f64,
}

/// What one iteration leaves for the next.
#[derive(Clone, Debug)]
struct Memory<T> {
    iterations: u64,
    evaluations: u64,
    direction: Vec<T>,
    t: f64,
    changes: VecDeque<Arc<Change<T>>>,
    /// The first approximation of the inverse Hessian is this times the identity.
    scale: f64,
    gradient: Vec<T>,
}

/// Gives the loss where the parameters are, and fills in its gradient.
type Evaluate<'e, T> = &'e mut dyn FnMut(&mut Vec<T>) -> Result<f64>;
/// The same at a point.
type EvaluateAt<'e, T> = &'e mut dyn FnMut(&[T], &mut Vec<T>) -> Result<f64>;

impl<T: Float> Lbfgs<T> {
    /// L-BFGS over leaves, without a line search.
    pub fn new<P: Borrow<Tensor<T>>>(params: impl IntoIterator<Item = P>, lr: f64) -> Self {
        let (params, invalid) = match parameters(params, std::iter::empty()) {
            Ok(params) if params.is_empty() => {
                (params, Some(Error::value(NAME, "expected at least one parameter, found none")))
            }
            Ok(params) => (params, None),
            Err(e) => (Vec::new(), Some(e)),
        };
        let options = LbfgsOptions { lr, ..LbfgsOptions::default() };
        Lbfgs { params, options, initial_lr: None, memory: Memory::new(), invalid }
    }
    /// Sets [`LbfgsOptions::max_iter`].
    pub fn max_iter(mut self, max_iter: usize) -> Self {
        self.options.max_iter = max_iter;
        self
    }
    /// Sets [`LbfgsOptions::max_eval`](field@LbfgsOptions::max_eval).
    pub fn max_eval(mut self, max_eval: usize) -> Self {
        self.options.max_eval = Some(max_eval);
        self
    }
    /// Sets [`LbfgsOptions::tolerance_grad`].
    pub fn tolerance_grad(mut self, tolerance: f64) -> Self {
        self.options.tolerance_grad = tolerance;
        self
    }
    /// Sets [`LbfgsOptions::tolerance_change`].
    pub fn tolerance_change(mut self, tolerance: f64) -> Self {
        self.options.tolerance_change = tolerance;
        self
    }
    /// Sets [`LbfgsOptions::history_size`].
    pub fn history_size(mut self, n: usize) -> Self {
        self.options.history_size = n;
        self
    }
    /// Sets [`LbfgsOptions::line_search`].
    pub fn line_search(mut self, line_search: LineSearch) -> Self {
        self.options.line_search = line_search;
        self
    }
    /// The parameters.
    pub fn params(&self) -> &[Tensor<T>] {
        &self.params
    }
    /// How often the loss was evaluated so far.
    pub fn evaluations(&self) -> u64 {
        self.memory.evaluations
    }
    /// Clears the gradient of every parameter: it is none until the next `backward`.
    pub fn zero_grad(&self) {
        super::zero_grad(&self.params);
    }
    /// Sets the elements of the gradients to 0 and keeps their buffers.
    ///
    /// # Errors
    /// None that a gradient of `backward` can cause.
    pub fn zero_grad_in_place(&self) -> Result<()> {
        super::zero_grad_in_place(&self.params)
    }

    /// Iterates until an option says to stop, and gives the loss at the start. The closure clears the gradients,
    /// computes the loss and calls `backward` on it. A parameter without a gradient stays.
    ///
    /// # Errors
    /// On wrong options or parameters, on a loss that is no scalar, and with the closure's own error. The parameters
    /// and the optimiser are then as before.
    pub fn step(&mut self, mut closure: impl FnMut() -> Result<Tensor<T>>) -> Result<T> {
        let params = self.params.clone();
        self.run(&mut |flat| {
            let loss = set_grad_enabled(true, &mut closure)?;
            gather(flat, &params, params.iter().map(Tensor::grad))?;
            scalar(&loss)
        })
    }
    /// As [`Lbfgs::step`], with a closure that gives the loss and a gradient for each parameter, as a compiled entry
    /// point does.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, optim::Lbfgs};
    /// let x = Tensor::from_vec(vec![3.0, -4.0], [2]);
    /// let mut optimizer = Lbfgs::new([&x], 1.0);
    /// let first = optimizer.step_with(|| Ok((x.square().sum().item(), [&x * 2.0])))?;
    /// assert_eq!(first, 25.0);
    /// assert!(x.norm().item() < 1e-6);
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Lbfgs::step`], and if the number of gradients or a shape differs.
    pub fn step_with<G: IntoIterator<Item: Borrow<Tensor<T>>>>(
        &mut self,
        mut closure: impl FnMut() -> Result<(T, G)>,
    ) -> Result<T> {
        let params = self.params.clone();
        self.run(&mut |flat| {
            let (loss, gradients) = set_grad_enabled(true, &mut closure)?;
            gather(flat, &params, gradients.into_iter().map(|g| Some(g.borrow().clone())))?;
            Ok(loss.f64())
        })
    }

    fn run(&mut self, evaluate: Evaluate<'_, T>) -> Result<T> {
        if let Some(e) = &self.invalid {
            return Err(e.clone());
        }
        self.options.check()?;
        let mut x = Vec::new();
        no_grad(|| self.params.iter().for_each(|p| p.with_data(|v| x.extend_from_slice(v))));
        let mut memory = self.memory.clone();
        let done = iterate(&self.options, &mut memory, x.clone(), &mut |x, gradient| {
            place(&self.params, x)?;
            evaluate(gradient)
        });
        match done {
            Ok((loss, x)) => {
                place(&self.params, &x)?;
                self.memory = memory;
                Ok(T::of(loss))
            }
            Err(e) => {
                place(&self.params, &x)?;
                Err(e)
            }
        }
    }

    /// What the optimiser remembers: its options and the last changes. The parameters are not in it.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::default();
        let m = &self.memory;
        state.insert("algorithm", NAME);
        save_options(&mut state, "options", |visit| { self.options }.visit(visit));
        if let Some(lr) = self.initial_lr {
            state.insert("options.initial_lr", lr);
        }
        state.insert("iterations", m.iterations);
        state.insert("evaluations", m.evaluations);
        state.insert("t", m.t);
        state.insert("scale", m.scale);
        state.insert("changes", m.changes.len());
        let mut put = |name: String, v: &[T]| state.insert_elements(name, &[v.len()], v.to_vec());
        put("direction".into(), &m.direction);
        put("gradient".into(), &m.gradient);
        for (i, change) in m.changes.iter().enumerate() {
            put(format!("changes.{i}.y"), &change.y);
            put(format!("changes.{i}.s"), &change.s);
        }
        m.changes.iter().enumerate().for_each(|(i, c)| state.insert(format!("changes.{i}.rho"), c.rho));
        state
    }
    /// Goes on where another L-BFGS over as many parameters was. The parameters themselves are not touched.
    ///
    /// # Errors
    /// If the state is of another algorithm, size or element type, or incomplete. Nothing is changed then.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        expect(state, "algorithm", NAME.to_owned())?;
        let mut options = self.options;
        load_options(state, "options", |visit| options.visit(visit))?;
        options.check()?;
        let initial = "options.initial_lr";
        let initial_lr = state.has_value(initial).then(|| state.get(initial)).transpose()?;
        let iterations = state.get("iterations")?;
        let n = if iterations == 0 { 0 } else { self.params.iter().map(Tensor::numel).sum() };
        let changes: usize = state.get("changes")?;
        let change = |i: usize| -> Result<Arc<Change<T>>> {
            let (y, s) = (format!("changes.{i}.y"), format!("changes.{i}.s"));
            let (y, s) = (state.elements(&y, &[n])?, state.elements(&s, &[n])?);
            Ok(Arc::new(Change { y, s, rho: state.get(&format!("changes.{i}.rho"))? }))
        };
        let memory = Memory {
            iterations,
            evaluations: state.get("evaluations")?,
            direction: state.elements("direction", &[n])?,
            t: state.get("t")?,
            // one by one: a wrong number ends at the first that is missing
            changes: (0..changes).map(change).collect::<Result<_>>()?,
            scale: state.get("scale")?,
            gradient: state.elements("gradient", &[n])?,
        };
        (self.options, self.initial_lr, self.memory) = (options, initial_lr, memory);
        Ok(())
    }
}

impl<T: Float> Scheduled for Lbfgs<T> {
    fn rates(&mut self) -> Vec<Rates<'_>> {
        vec![Rates { lr: &mut self.options.lr, initial_lr: &mut self.initial_lr, momentum: None }]
    }
}

fn scalar<T: Float>(loss: &Tensor<T>) -> Result<f64> {
    if loss.numel() != 1 {
        return Err(Error::shape(NAME, "a loss with one element", format!("shape {:?}", loss.shape())));
    }
    Ok(no_grad(|| loss.item()).f64())
}

/// Moves the parameters to x.
fn place<T: Float>(params: &[Tensor<T>], x: &[T]) -> Result<()> {
    let mut rest = x;
    params.iter().try_for_each(|p| {
        let (here, after) = rest.split_at(p.numel());
        rest = after;
        no_grad(|| p.update(|x| x.copy_from_slice(here)))
    })
}

/// One flat vector of gradients, zeros where there are none.
fn gather<T: Float>(
    flat: &mut Vec<T>,
    params: &[Tensor<T>],
    gradients: impl Iterator<Item = Option<Tensor<T>>>,
) -> Result<()> {
    flat.clear();
    let mut found = 0;
    for (i, g) in gradients.enumerate() {
        found += 1;
        match (params.get(i), g) {
            (Some(p), Some(g)) => {
                check_gradient(i, p, &g)?;
                no_grad(|| g.with_data(|g| flat.extend_from_slice(g)));
            }
            (Some(p), None) => flat.resize(flat.len() + p.numel(), T::ZERO),
            (None, _) => {}
        }
    }
    if found != params.len() {
        return Err(Error::shape(
            NAME,
            format!("a gradient for each of {} parameters", params.len()),
            found.to_string(),
        ));
    }
    Ok(())
}

/// max |xᵢ|; NaN if there is one.
fn largest<T: Float>(x: &[T]) -> f64 {
    x.iter().map(|x| x.f64().abs()).fold(0.0, |a, x| if x > a || x.is_nan() { x } else { a })
}

/// x + t·d
fn along<T: Float>(x: &[T], t: f64, d: &[T]) -> Vec<T> {
    let t = T::of(t);
    x.iter().zip(d).map(|(&x, &d)| x + t * d).collect()
}

/// y += a·x
fn add_scaled<T: Float>(y: &mut [T], a: f64, x: &[T]) {
    let a = T::of(a);
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = *y + a * x);
}

/// The iterations of one step from x. Gives the loss at the start and where they end.
fn iterate<T: Float>(
    options: &LbfgsOptions,
    memory: &mut Memory<T>,
    mut x: Vec<T>,
    evaluate: EvaluateAt<'_, T>,
) -> Result<(f64, Vec<T>)> {
    let max_eval = options.max_eval();
    let mut gradient = Vec::with_capacity(x.len());
    let mut loss = evaluate(&x, &mut gradient)?;
    let first = loss;
    let mut evaluations = 1;
    memory.evaluations = memory.evaluations.saturating_add(1);
    let mut flat = largest(&gradient) <= options.tolerance_grad;
    if flat {
        return Ok((first, x));
    }
    for n in 1..=options.max_iter {
        memory.turn(&gradient, options.history_size);
        let before = loss;
        let d = &memory.direction;
        // a first step of unknown scale is short
        let steepest: f64 = gradient.iter().map(|g| g.f64().abs()).sum();
        memory.t = if memory.iterations == 1 { (1.0 / steepest).min(1.0) * options.lr } else { options.lr };
        let slope = dot(&gradient, d);
        if slope > -options.tolerance_change {
            break;
        }
        let mut used = 0;
        match options.line_search {
            LineSearch::StrongWolfe => {
                let start = Probe { t: 0.0, loss, gradient: mem::take(&mut gradient), slope };
                let end = strong_wolfe(start, memory.t, largest(d), max_eval.saturating_sub(evaluations), &mut |t| {
                    used += 1;
                    let mut gradient = Vec::with_capacity(x.len());
                    let loss = evaluate(&along(&x, t, d), &mut gradient)?;
                    Ok(Probe { t, loss, slope: dot(&gradient, d), gradient })
                })?;
                (memory.t, loss, gradient) = (end.t, end.loss, end.gradient);
                x = along(&x, memory.t, d);
                flat = largest(&gradient) <= options.tolerance_grad;
            }
            LineSearch::None => {
                x = along(&x, memory.t, d);
                // where the last iteration ends is evaluated by the next step
                if n != options.max_iter {
                    loss = evaluate(&x, &mut gradient)?;
                    flat = largest(&gradient) <= options.tolerance_grad;
                    used = 1;
                }
            }
        }
        evaluations += used;
        memory.evaluations = memory.evaluations.saturating_add(used as u64);
        let moved = largest(d) * memory.t.abs();
        let still = moved <= options.tolerance_change || (loss - before).abs() < options.tolerance_change;
        if evaluations >= max_eval || flat || still {
            break;
        }
    }
    Ok((first, x))
}

impl<T: Float> Memory<T> {
    fn new() -> Self {
        Memory {
            iterations: 0,
            evaluations: 0,
            direction: Vec::new(),
            t: 0.0,
            changes: VecDeque::new(),
            scale: 1.0,
            gradient: Vec::new(),
        }
    }
    /// Takes the last move into account and turns the direction to −H·gradient, H approximating the inverse Hessian.
    fn turn(&mut self, gradient: &[T], history: usize) {
        self.iterations = self.iterations.saturating_add(1);
        if self.iterations == 1 {
            self.direction = gradient.iter().map(|&g| -g).collect();
        } else {
            self.remember(gradient, history);
            self.two_loops(gradient);
        }
        self.gradient.clear();
        self.gradient.extend_from_slice(gradient);
    }
    fn remember(&mut self, gradient: &[T], history: usize) {
        let t = T::of(self.t);
        let y: Vec<T> = gradient.iter().zip(&self.gradient).map(|(&now, &then)| now - then).collect();
        let s: Vec<T> = self.direction.iter().map(|&d| d * t).collect();
        let ys = dot(&y, &s);
        // positive curvature keeps H positive definite
        if ys > 1e-10 {
            while self.changes.len() >= history {
                self.changes.pop_front();
            }
            self.scale = ys / dot(&y, &y);
            self.changes.push_back(Arc::new(Change { y, s, rho: 1.0 / ys }));
        }
    }
    /// Nocedal and Wright, algorithm 7.4.
    fn two_loops(&mut self, gradient: &[T]) {
        let mut q: Vec<T> = gradient.iter().map(|&g| -g).collect();
        let mut alphas = Vec::with_capacity(self.changes.len());
        for c in self.changes.iter().rev() {
            let alpha = dot(&c.s, &q) * c.rho;
            add_scaled(&mut q, -alpha, &c.y);
            alphas.push(alpha);
        }
        let scale = T::of(self.scale);
        q.iter_mut().for_each(|q| *q = *q * scale);
        for (c, alpha) in self.changes.iter().zip(alphas.iter().rev()) {
            let beta = dot(&c.y, &q) * c.rho;
            add_scaled(&mut q, alpha - beta, &c.s);
        }
        self.direction = q;
    }
}
