//! What optimisers remember into a [`StateDict`], and back.

use super::group::{Algorithm, Field, Memory, Optimizer, Options};
use crate::{
    array::Float,
    error::{Error, Result},
    state::{LOAD, StateDict},
};
use std::{fmt::Display, str::FromStr};

/// Puts options under `prefix.name`.
pub(crate) fn save_options(
    state: &mut StateDict,
    prefix: &str,
    visit: impl FnOnce(&mut dyn FnMut(&'static str, Field<'_>)),
) {
    visit(&mut |name, field| {
        let name = format!("{prefix}.{name}");
        match field {
            Field::Number(x) => state.insert(name, x),
            Field::Count(n) => state.insert(name, n),
            Field::Flag(on) => state.insert(name, on),
        }
    });
}

/// Sets options to what [`save_options`] put.
pub(crate) fn load_options(
    state: &StateDict,
    prefix: &str,
    visit: impl FnOnce(&mut dyn FnMut(&'static str, Field<'_>)),
) -> Result<()> {
    let mut result = Ok(());
    visit(&mut |name, field| {
        let name = format!("{prefix}.{name}");
        let set = match field {
            Field::Number(x) => state.get(&name).map(|v| *x = v),
            Field::Count(n) => state.get(&name).map(|v| *n = v),
            Field::Flag(on) => state.get(&name).map(|v| *on = v),
        };
        if result.is_ok() {
            result = set;
        }
    });
    result
}

/// That a state has a number or name that the optimiser has.
pub(crate) fn expect<V: FromStr + PartialEq + Display>(state: &StateDict, name: &str, want: V) -> Result<()> {
    let found: V = state.get(name)?;
    if found == want {
        return Ok(());
    }
    Err(Error::value(LOAD, format!("{name}: expected {want}, found {found}")))
}

impl<T: Float, A: Algorithm> Optimizer<T, A> {
    /// What the optimiser remembers: the options of its groups, and steps and buffers of its parameters. The
    /// parameters are not in it.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::default();
        state.insert("algorithm", A::NAME);
        state.insert("groups", self.groups.len());
        let mut first = 0;
        for (g, group) in self.groups.iter().enumerate() {
            let prefix = format!("groups.{g}");
            state.insert(format!("{prefix}.params"), group.params.len());
            save_options(&mut state, &prefix, |visit| { group.options }.visit(visit));
            if let Some(lr) = group.initial_lr {
                state.insert(format!("{prefix}.initial_lr"), lr);
            }
            for (i, (p, memory)) in group.params.iter().zip(&group.memories).enumerate() {
                let prefix = format!("params.{}", first + i);
                state.insert(format!("{prefix}.step"), memory.step);
                for (buffer, name) in memory.buffers.iter().zip(A::BUFFER_NAMES).filter(|(b, _)| !b.is_empty()) {
                    state.insert_elements(format!("{prefix}.{name}"), p.shape(), buffer.clone());
                }
            }
            first += group.params.len();
        }
        state
    }
    /// Goes on where another optimiser over parameters of the same shapes in the same groups was. The parameters
    /// themselves are not touched.
    ///
    /// # Errors
    /// If the state is of another algorithm, other groups, shapes or element types, or incomplete. Nothing is changed
    /// then.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        expect(state, "algorithm", A::NAME.to_owned())?;
        expect(state, "groups", self.groups.len())?;
        let (mut loaded, mut first) = (Vec::new(), 0);
        for (g, group) in self.groups.iter().enumerate() {
            let prefix = format!("groups.{g}");
            expect(state, &format!("{prefix}.params"), group.params.len())?;
            let mut options = group.options;
            load_options(state, &prefix, |visit| options.visit(visit))?;
            options.check()?;
            let initial = format!("{prefix}.initial_lr");
            let initial_lr = state.has_value(&initial).then(|| state.get(&initial)).transpose()?;
            let memories: Result<Vec<_>> = group
                .params
                .iter()
                .enumerate()
                .map(|(i, p)| load_memory::<T, A>(state, first + i, p.shape()))
                .collect();
            loaded.push((options, initial_lr, memories?));
            first += group.params.len();
        }
        for (group, (options, initial_lr, memories)) in self.groups.iter_mut().zip(loaded) {
            (group.options, group.initial_lr, group.memories) = (options, initial_lr, memories);
        }
        Ok(())
    }
}

fn load_memory<T: Float, A: Options>(state: &StateDict, param: usize, shape: &[usize]) -> Result<Memory<T>> {
    let mut memory = Memory::new();
    memory.step = state.get(&format!("params.{param}.step"))?;
    let empty = shape.contains(&0);
    for (b, (buffer, name)) in memory.buffers.iter_mut().zip(A::BUFFER_NAMES).enumerate() {
        let name = format!("params.{param}.{name}");
        if state.has_tensor(&name) || (b < A::ALWAYS && memory.step > 0 && !empty) {
            *buffer = state.elements(&name, shape)?;
        }
    }
    Ok(memory)
}
