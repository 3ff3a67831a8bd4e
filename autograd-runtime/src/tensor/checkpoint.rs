//! Checkpointing: a stretch of the forward whose saved values are not kept but computed again when backward first
//! needs one (the non-reentrant form of PyTorch's `torch.utils.checkpoint`; Chen et al., Training Deep Nets with
//! Sublinear Memory Cost, 2016).
//!
//! While the stretch runs, each recorded node gets a hole instead of values, numbered in order. Filling a hole runs
//! the stretch again and puts the values of the second run into the holes of the first. Parameters that the closure
//! captures get their gradients like any other tensor.

use super::{
    mode::enable_grad,
    typed::{Tensor, report},
    value::Value,
};
use crate::{
    array::Float,
    error::{Error, Result},
    op::Op,
    random::States,
    session,
    ty::Ty,
};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::{
    cell::RefCell,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Values that a node saves: argument, value, version.
type Kept = SmallVec<[(u8, Value, u64); 2]>;

/// What a run again gives for the holes, in order.
type Filled = Vec<(Op, Kept)>;

/// One checkpointed stretch.
struct Frame {
    rerun: Box<dyn Fn() -> Result<()> + Send + Sync>,
    /// The generators that the first run drew from, as they were before; known when it has ended.
    random: OnceLock<States>,
    holes: AtomicUsize,
    /// What the last run again gave, by hole, with the operation.
    filled: Mutex<FxHashMap<usize, (Op, Kept)>>,
}

/// What a node of a checkpointed stretch has instead of values.
#[derive(Clone)]
pub(super) struct Hole {
    frame: Arc<Frame>,
    index: usize,
    /// Identity and version of what would have been saved: values that existed before must not have changed.
    seen: SmallVec<[(usize, u64); 2]>,
}

thread_local! {
    /// Stretches that are running: for the first time, or again with the values for the holes so far.
    static RUNNING: RefCell<Vec<(Arc<Frame>, Option<Filled>)>> = const { RefCell::new(Vec::new()) };
}

/// Takes a stretch off the list also when it unwinds.
struct Running;
impl Running {
    fn start(frame: &Arc<Frame>, again: bool) -> Running {
        RUNNING.with_borrow_mut(|r| r.push((frame.clone(), again.then(Filled::new))));
        Running
    }
    /// Ends a run again: what it gave.
    fn end(self) -> Filled {
        RUNNING.with_borrow_mut(|r| r.last_mut().and_then(|r| r.1.take())).unwrap_or_default()
    }
}
impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.with_borrow_mut(|r| drop(r.pop()));
    }
}

/// Inside a stretch: the hole for what a node would save. Nothing to save is no hole.
pub(super) fn swallow(op: &Op, kept: &mut Kept) -> Option<Hole> {
    if kept.is_empty() {
        return None;
    }
    RUNNING.with_borrow_mut(|r| {
        let (frame, again) = r.last_mut()?;
        match again {
            None => {
                let seen = kept.iter().map(|(_, v, version)| (v.address(), *version)).collect();
                kept.clear();
                Some(Hole { index: frame.holes.fetch_add(1, Ordering::Relaxed), frame: frame.clone(), seen })
            }
            Some(filled) => {
                filled.push((op.clone(), kept.clone()));
                None
            }
        }
    })
}

impl Hole {
    /// The values, computed again if that has not been done.
    pub fn fill(&self, op: &Op, name: &str) -> Result<Kept> {
        let ready = self.frame.filled.lock().remove(&self.index);
        let (made_by, kept) = match ready {
            Some(r) => r,
            None => {
                let running = Running::start(&self.frame, true);
                // a backward inside the first run finds what has been drawn so far
                let random = self.frame.random.get().cloned().unwrap_or_else(States::started);
                random.again(|| enable_grad(|| (self.frame.rerun)()))?;
                // other threads may run it again meanwhile, and take what they need: this hole has its own
                let mut own = None;
                let mut others = self.frame.filled.lock();
                for (i, filled) in running.end().into_iter().enumerate() {
                    if i == self.index { own = Some(filled) } else { drop(others.insert(i, filled)) }
                }
                drop(others);
                own.ok_or_else(|| different(name, "fewer operations"))?
            }
        };
        if made_by != *op {
            return Err(different(name, &format!("{} instead", made_by.name())));
        }
        for (_, v, _) in &kept {
            if let Some((_, was)) =
                self.seen.iter().find(|(address, version)| *address == v.address() && *version != v.version())
            {
                return Err(Error::Autograd(format!(
                    "checkpoint: one of the variables needed for gradient computation has been modified by an inplace \
                     operation between forward and recomputation: it is at version {}; expected version {was} instead \
                     (read by {name})",
                    v.version()
                )));
            }
        }
        Ok(kept)
    }
}

fn different(name: &str, what: &str) -> Error {
    Error::Autograd(format!(
        "checkpoint: the recomputation for {name} recorded {what}; the function must do the same each time it runs"
    ))
}

/// Runs `f` on `inputs` without keeping what its backward needs: that is computed again, by running `f` once more,
/// when backward gets there. Random numbers are those of the first run, from
/// whichever generators. Trades one more forward for memory; the
/// gradients are the same. Inside an annotated function this is `f(inputs)`: memory is planned there.
///
/// ```
/// use autograd_runtime::{Tensor, checkpoint};
/// let w = Tensor::from_vec(vec![2.0, 3.0], [2]).requires_grad_(true);
/// let x = Tensor::from_vec(vec![0.5, 0.1], [2]).requires_grad_(true);
/// let captured = w.clone();
/// let y = checkpoint(move |x| (&x[0] * &captured).sin(), &[&x]);
/// y.sum().backward()?;
/// let expected = (&x * &w).cos() * &x;
/// assert_eq!(w.grad().unwrap().to_vec(), expected.to_vec());
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// Panics where `f` does. Backward fails if `f` does something else when it runs again, or if a value that it read has
/// been written to since.
#[track_caller]
pub fn checkpoint<T: Float>(
    f: impl Fn(&[Tensor<T>]) -> Tensor<T> + Send + Sync + 'static,
    inputs: &[&Tensor<T>],
) -> Tensor<T> {
    let inputs: Vec<Tensor<T>> = inputs.iter().map(|&t| t.clone()).collect();
    if session::is_tracing() || !super::mode::is_grad_enabled() {
        return f(&inputs);
    }
    // its nodes are made twice, one by one
    session::needs_tape();
    let f = Arc::new(f);
    let (again, args) = (f.clone(), inputs.clone());
    let rerun = move || session::try_eval(|| drop(again(&args)));
    let (rerun, holes) = (Box::new(rerun), AtomicUsize::new(0));
    let frame = Arc::new(Frame { rerun, random: OnceLock::new(), holes, filled: Mutex::default() });
    let _running = Running::start(&frame, false);
    // a session notes the generators
    let ran = session::try_eval(|| {
        let y = f(&inputs);
        let _ = frame.random.set(States::started());
        y
    });
    ran.unwrap_or_else(|e| {
        report(e);
        Tensor::from_value(Value::absent(Ty::scalar(T::DTYPE)))
    })
}
