//! Results with a derivative of the user's: see [`crate::Function`].

use super::{Cx, Derivative, Eval, Lower, OpDef, VARIADIC, evaluate::copied};
use crate::{
    diff,
    emit::{Ex, emit_graph},
    error::Error,
};
use smallvec::SmallVec;

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&CUSTOM_VJP];

/// What the backward graph takes: inputs, intermediates, the result, its cotangent, captures.
fn operands<'e>(cx: &Cx<'e>, ct: &Ex<'e>) -> Vec<Ex<'e>> {
    let n = (cx.op.int(1) + cx.op.int(2)) as usize;
    let (before, after) = cx.args[1..].split_at(n);
    before.iter().chain([cx.out, ct]).chain(after).cloned().collect()
}

/// y = the first argument: the result of a user's forward.  The further arguments are its inputs, intermediate values
/// and captures; dx for input `x` is what the user's backward, a graph, makes of ct.  Forward mode transposes that
/// graph in ct, in which it is linear: ẏ = Σ Bₓᵀ ẋ.
pub static CUSTOM_VJP: OpDef = OpDef {
    name: "custom_vjp",
    attrs: &["backward", "inputs", "saved"],
    arity: VARIADIC,
    infer: |op, a| {
        let n = usize::try_from(op.int(1).saturating_add(op.int(2))).unwrap_or(usize::MAX);
        let g = op.graph(0);
        let fits = a.len() > n && g.inputs().len() == a.len() + 1 && g.outputs().len() as i64 == op.int(1);
        if !fits || g.output_types().ne(a[1..=op.int(1) as usize].iter().copied()) {
            let want = format!("arguments for a backward of {} inputs", g.inputs().len());
            return Err(Error::value(op.name(), format!("expected {want}, found {}", a.len())));
        }
        Ok(a[0].clone())
    },
    eval: Eval::Windows(|_, a, _| Ok(copied(a[0]))),
    derivative: Derivative::General(
        |cx, i, t| {
            let n = cx.op.int(1) as usize;
            // nothing flows past the user's derivative: not into the result itself, nor what was kept of the forward
            (1..=n).contains(&i).then(|| emit_graph(cx.op.graph(0), &operands(cx, t)).swap_remove(i - 1))
        },
        |cx, t| {
            let (g, n) = (cx.op.graph(0), cx.op.int(1) as usize);
            let ct = n + cx.op.int(2) as usize + 1;
            let zero = cx.out.full_like(0.0);
            let transposed = match diff::vjp(g, &[ct]) {
                Ok(t) => t,
                Err(e) => return Some(cx.out.fail(e)),
            };
            let mut all = operands(cx, &zero);
            let seeds = (1..=n).map(|i| t[i].clone().unwrap_or_else(|| cx.args[i].full_like(0.0)));
            all.extend(seeds.collect::<SmallVec<[_; 4]>>());
            emit_graph(&transposed, &all).pop()
        },
    ),
    saves: u32::MAX >> 2 | super::SAVE_OUT,
    lower: Lower::Library,
};
