//! What a module saves, and loads again: all of it or nothing.

use super::{Buffer, Module};
use crate::{
    Element, Error, Float, Result, StateDict, Tensor, no_grad,
    state::{LOAD, Mismatch},
};

/// Calls `visit` with the path and value of each parameter and buffer, shared ones at each of their places.
fn each<T: Float, M: Module<T> + ?Sized>(module: &M, path: &str, visit: &mut dyn FnMut(String, Buffer<T>)) {
    module.each_parameter(&mut |name, p| visit(format!("{path}{name}"), p.into()));
    module.each_buffer(&mut |name, b| visit(format!("{path}{name}"), b));
    module.each_child(&mut |name, child| each(child, &format!("{path}{name}."), visit));
}

pub(super) fn save<T: Float, M: Module<T> + ?Sized>(module: &M) -> StateDict {
    let mut state = StateDict::default();
    each(module, "", &mut |name, b| match b {
        Buffer::Float(t) => state.insert_tensor(name, &t.detach()),
        Buffer::Int(t) => state.insert_tensor(name, &t),
    });
    state
}

pub(super) fn load<T: Float, M: Module<T> + ?Sized>(module: &M, state: &StateDict) -> Result<()> {
    let (mut writes, mut names, mut missing, mut wrong) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    each(module, "", &mut |name, b| {
        let write = match b {
            Buffer::Float(t) => prepare(state, &name, t),
            Buffer::Int(t) => prepare(state, &name, t),
        };
        match write {
            Ok(write) => writes.push(write),
            Err(Mismatch::Missing) => missing.push(name.clone()),
            Err(Mismatch::Other(e)) => wrong.push(e),
        }
        names.push(name);
    });
    let unexpected: Vec<&str> = state.tensor_names().filter(|n| !names.iter().any(|known| known == n)).collect();
    for (what, names) in [("missing", missing.join(", ")), ("unexpected", unexpected.join(", "))] {
        if !names.is_empty() {
            wrong.push(format!("{what}: {names}"));
        }
    }
    if !wrong.is_empty() {
        return Err(Error::value(LOAD, format!("expected the module's tensors, found {}", wrong.join("; "))));
    }
    no_grad(|| {
        // a tensor that cannot be written is found before any is
        writes.iter().try_for_each(|write| write(false))?;
        writes.iter().try_for_each(|write| write(true))
    })
}

/// Writes a tensor, or only asks whether it can be written.
type Write = Box<dyn Fn(bool) -> Result<()>>;

fn prepare<E: Element>(state: &StateDict, name: &str, t: Tensor<E>) -> std::result::Result<Write, Mismatch> {
    let elements: Vec<E> = state.matching(name, t.shape())?;
    Ok(Box::new(move |now| {
        t.update(|own| {
            if now {
                own.copy_from_slice(&elements);
            }
        })
    }))
}
