//! What twins of functions that call themselves go through: in a trace, the function is traced once, into a graph of its
//! own, in which its calls of itself are calls of that graph, and the call becomes a `call` of it
//! ([`crate::op::control`]). If its calls differ in what a trace knows, as in a static integer, they are traced one
//! inside the other.

use super::{
    flow::Blank,
    rolled::List,
    staged::Inputs,
    twins::{Fixed, Leaf, LeafReader, Leaves, Outcome, Twinned},
};
use crate::{
    array::Float,
    op::{Attr, Op, Signature, control},
    session::{self, TraceEnd},
    tensor::Value,
    ty::Ty,
};
use std::{any::TypeId, cell::RefCell, sync::Arc};

/// A function whose body is being traced; none hides those before it.
struct Frame(Option<Body>);
struct Body {
    function: TypeId,
    constants: Vec<Fixed>,
    types: Vec<Ty>,
    /// What it gives.
    outs: Vec<Ty>,
    /// The tensors that it reads besides its arguments.
    captures: Vec<Value>,
    /// Whether it calls itself.
    recurs: bool,
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Takes the frame away again, also when the twin unwinds.
struct Leave;
impl Drop for Leave {
    fn drop(&mut self) {
        FRAMES.with_borrow_mut(Vec::pop);
    }
}
fn enter(frame: Frame) -> Leave {
    FRAMES.with_borrow_mut(|f| f.push(frame));
    Leave
}

/// Runs `f` as if no function were being traced: what is traced there is differentiated by itself.
pub(crate) fn apart<R>(f: impl FnOnce() -> R) -> R {
    let _leave = enter(Frame(None));
    f()
}

/// Adds a list to the arguments: a part of one as that one, where it begins and how long it is.
pub fn push_list<T: Float>(inputs: &mut Inputs, x: &List<T>) {
    match x.as_part() {
        Some((all, from, len)) => {
            inputs.push_leaf(Leaf::List(all));
            inputs.push(&from, false);
            inputs.push(&len, false);
        }
        None => inputs.push(x, true),
    }
}
/// The list of the next leaves, in the role of `x`.
pub fn read_list<T: Float>(x: &List<T>, next: &mut LeafReader<'_>) -> List<T> {
    match x.as_part() {
        Some((_, from, len)) => {
            let all = next.next().expect("as many leaves as were reported").value().clone();
            let (from, len) = (from.from_leaves(next), len.from_leaves(next));
            List::of_part(all, from, len)
        }
        None => x.from_leaves(next),
    }
}

/// A call of a function that calls itself.
pub fn recurse<R: Outcome<Value = R> + Twinned + Blank>(
    function: TypeId,
    inputs: Inputs,
    twin: impl Fn(&mut LeafReader<'_>) -> R,
) -> R {
    // nobody reads it, and what would end the calls may be a placeholder
    if session::has_failed() {
        return R::blank();
    }
    let leaves: Vec<Leaf> = inputs.leaves().cloned().collect();
    let traced = leaves.iter().any(|l| l.value().is_traced());
    if !traced || !session::is_tracing() || session::is_elementwise() {
        return twin(&mut leaves.into_iter());
    }
    match called(function, &inputs, &leaves, &twin) {
        Ok(out) => out,
        Err(why) => {
            session::unstaged(&why);
            if session::has_failed() { R::blank() } else { twin(&mut leaves.into_iter()) }
        }
    }
}

/// Calls that are traced deeper than this are traced where they stand: they differ in what a trace knows, as in lengths, and
/// come to an end, or choices in them do not ([`super::flow::DEPTH`]).
const DEEP: usize = super::flow::DEPTH / 2;

/// The types of the results `roles`, as far as they can be known before the function has been traced: those of numbers, and for
/// tensors a guess, the types of the tensors among the arguments in turn. Whether there is one.
fn supposed(roles: &[Leaf], arguments: &[Leaf]) -> (Vec<Ty>, bool) {
    let tensors: Vec<&Ty> =
        arguments.iter().filter_map(|l| if let Leaf::Tensor(v) = l { Some(v.ty()) } else { None }).collect();
    let mut next = 0;
    let outs = roles.iter().map(|l| {
        let ty = l.value().ty();
        let Leaf::Tensor(_) = l else { return ty.clone() };
        next += 1;
        let found = tensors.get(next - 1).or(tensors.first()).filter(|t| t.dtype == ty.dtype);
        found.map_or_else(|| ty.clone(), |t| (*t).clone())
    });
    let outs = outs.collect();
    (outs, next > 0)
}

fn called<R: Outcome<Value = R> + Twinned + Blank>(
    function: TypeId,
    inputs: &Inputs,
    leaves: &[Leaf],
    twin: &impl Fn(&mut LeafReader<'_>) -> R,
) -> Result<R, String> {
    let values: Vec<Value> = leaves.iter().map(|l| l.value().clone()).collect();
    let types: Vec<Ty> = values.iter().map(|v| v.ty().clone()).collect();
    let like = R::blank();
    let roles = Leaves::of(&like).leaves;
    let own = FRAMES.with_borrow_mut(|frames| {
        let body = frames.last_mut()?.0.as_mut()?;
        let same = body.function == function && body.types == types && body.constants == inputs.constants;
        body.recurs |= same;
        same.then(|| (body.outs.clone(), body.captures.clone()))
    });
    let run = |callee: Attr, captures: &[Value], like: &R, roles: &[Leaf]| {
        let all: Vec<Value> = values.iter().chain(captures).cloned().collect();
        let results = session::control(&Op::with(&control::CALL, [callee]), &all).map_err(|e| e.to_string())?;
        Ok(like.from_leaves(&mut roles.iter().zip(results).map(|(l, v)| l.with(v))))
    };
    let with = |captures: &[Value]| types.iter().chain(captures.iter().map(Value::ty)).cloned().collect();
    if let Some((outs, captures)) = own {
        return run(Attr::Own(Arc::new(Signature { ins: with(&captures), outs })), &captures, &like, &roles);
    }
    if session::depth() > DEEP {
        return Ok(twin(&mut leaves.iter().cloned()));
    }
    let (mut outs, mut guessed) = supposed(&roles, leaves);
    if guessed && cfg!(panic = "abort") {
        return Err(
            "a function over tensors calls itself, whose results' shapes are tried out where panics unwind only".into(),
        );
    }
    // tensors that are none of its arguments, which its calls of itself hand on
    let mut captures: Vec<Value> = Vec::new();
    loop {
        let (constants, types) = (inputs.constants.clone(), types.clone());
        let body = Body { function, constants, types, outs: outs.clone(), captures: captures.clone(), recurs: false };
        let leave = enter(Frame(Some(body)));
        let all: Vec<Value> = values.iter().chain(&captures).cloned().collect();
        let trace = || {
            session::trace(all, |mut fresh| {
                captures.iter().zip(fresh.split_off(values.len())).for_each(|(c, v)| session::capture_as(c, &v));
                let value = twin(&mut leaves.iter().zip(fresh).map(|(l, v)| l.with(v)));
                let out = Leaves::of(&value);
                Ok((out.values(), (out, value)))
            })
        };
        let (end, doubted) = session::supposing(guessed, || session::function(trace));
        let recurs = FRAMES.with_borrow(|f| f.last().and_then(|f| f.0.as_ref()).is_some_and(|b| b.recurs));
        drop(leave);
        let (traced, out, value) = match end {
            Ok(TraceEnd::Graph(traced, (out, value))) => (traced, out, value),
            Ok(TraceEnd::Opaque(why)) => return Err(why),
            Err(e) => return Err(format!("a function that calls itself: {e}")),
        };
        let fits = traced.graph.output_types().eq(&outs);
        if guessed && (doubted || recurs && !fits) {
            outs = traced.graph.output_types().cloned().collect();
            guessed = false;
            continue;
        }
        if !traced.draws.is_empty() {
            return Err("random numbers are drawn in a function that calls itself".into());
        }
        if !recurs {
            // what it reads of the outside is read there
            let all: Vec<Value> = values.iter().chain(&captures).chain(&traced.captures).cloned().collect();
            let results = session::inline(&traced.graph, &all).map_err(|e| e.to_string())?;
            return Ok(value.from_leaves(&mut out.leaves.iter().zip(results).map(|(l, v)| l.with(v))));
        }
        if !fits {
            return Err("a function that calls itself gives another type than its calls are taken to give".into());
        }
        if traced.captures.is_empty() {
            return run(Attr::Graph(Arc::new(traced.graph)), &captures, &value, &out.leaves);
        }
        if !captures.is_empty() {
            return Err("a function that calls itself reads tensors that are others in each call".into());
        }
        captures = traced.captures;
    }
}
