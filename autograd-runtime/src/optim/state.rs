//! What an optimiser remembers, as named numbers and tensors, in memory and in a safetensors file.
//!
//! The numbers are the file's metadata, the tensors its tensors. A file is not trusted: every length is checked
//! against what the file really has before anything is allocated by it.

use super::group::{Algorithm, Field, Memory, Optimizer, Options};
use crate::{
    array::{Data, Float},
    error::{Error, Result},
    tensor::Tensor,
    ty::{DType, Ty},
};
use safetensors::{
    Dtype, View,
    tensor::{Metadata, serialize_to_file},
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt::Display,
    path::Path,
    str::FromStr,
};

/// Named numbers and tensors: the state of an optimiser or a schedule, or a whole checkpoint of them.
///
/// ```
/// use autograd_runtime::{Tensor, optim::{Adam, StateDict}};
/// let w = Tensor::<f32>::ones([2]);
/// let mut adam = Adam::new([&w], 0.1);
/// adam.step_with([&w.square()])?;
///
/// let mut checkpoint = StateDict::default();
/// checkpoint.insert_tensor("w", &w);
/// checkpoint.insert_all("adam", adam.state_dict());
/// # let dir = std::env::temp_dir().join(format!("autograd-state-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("checkpoint.safetensors");
/// checkpoint.save(&path)?;
///
/// let checkpoint = StateDict::load(&path)?;
/// let w = checkpoint.tensor::<f32>("w")?;
/// let mut adam = Adam::new([&w], 0.1);
/// adam.load_state_dict(&checkpoint.part("adam"))?;
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct StateDict {
    values: BTreeMap<String, String>,
    tensors: BTreeMap<String, Stored>,
}

/// Elements with their shape.
#[derive(Clone, Debug)]
struct Stored {
    shape: Vec<usize>,
    data: Data,
}

const LOAD: &str = "load_state_dict";

impl StateDict {
    /// Puts a number, a truth value or a text under a name, replacing what was there.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Display) {
        self.values.insert(name.into(), value.to_string());
    }
    /// What [`StateDict::insert`] put under a name.
    ///
    /// # Errors
    /// If there is nothing, or something of another kind.
    pub fn get<V: FromStr>(&self, name: &str) -> Result<V> {
        let text = self.values.get(name).ok_or_else(|| missing("value", name))?;
        let kind = std::any::type_name::<V>();
        text.parse().map_err(|_| Error::value(LOAD, format!("{name}: expected {kind}, found {text:?}")))
    }
    /// Puts a copy of a tensor under a name, replacing what was there.
    pub fn insert_tensor<T: Float>(&mut self, name: impl Into<String>, tensor: &Tensor<T>) {
        self.insert_elements(name, tensor.shape(), tensor.to_vec());
    }
    pub(crate) fn insert_elements<T: Float>(&mut self, name: impl Into<String>, shape: &[usize], elements: Vec<T>) {
        self.tensors.insert(name.into(), Stored { shape: shape.to_vec(), data: T::data(elements) });
    }
    /// A copy of the tensor under a name.
    ///
    /// # Errors
    /// If there is none, or one of another element type.
    pub fn tensor<T: Float>(&self, name: &str) -> Result<Tensor<T>> {
        let stored = self.tensors.get(name).ok_or_else(|| missing("tensor", name))?;
        Ok(Tensor::from_vec(stored.elements::<T>(name)?.to_vec(), &stored.shape))
    }
    pub(crate) fn has_value(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
    /// The elements of a tensor of a shape.
    pub(crate) fn elements<T: Float>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>> {
        let stored = self.tensors.get(name).ok_or_else(|| missing("tensor", name))?;
        if stored.shape != shape {
            let want = format!("{name} of shape {shape:?}");
            return Err(Error::shape(LOAD, want, format!("{:?}", stored.shape)));
        }
        Ok(stored.elements::<T>(name)?.to_vec())
    }
    /// Takes everything of another state in, each name behind `part` and a dot.
    pub fn insert_all(&mut self, part: &str, other: StateDict) {
        self.values.extend(other.values.into_iter().map(|(name, v)| (format!("{part}.{name}"), v)));
        self.tensors.extend(other.tensors.into_iter().map(|(name, t)| (format!("{part}.{name}"), t)));
    }
    /// What [`StateDict::insert_all`] took in.
    pub fn part(&self, part: &str) -> StateDict {
        fn of<V: Clone>(all: &BTreeMap<String, V>, part: &str) -> BTreeMap<String, V> {
            let inner = all.iter().filter_map(|(name, v)| Some((name.strip_prefix(part)?.strip_prefix('.')?, v)));
            inner.map(|(name, v)| (name.to_owned(), v.clone())).collect()
        }
        StateDict { values: of(&self.values, part), tensors: of(&self.tensors, part) }
    }

    /// Writes a safetensors file. A file that is there is replaced at the end, at once.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        // made absolute: the temporary file stands beside it
        let at = std::path::absolute(path).map_err(|e| file_error("save", path, e))?;
        let values: HashMap<String, String> = self.values.clone().into_iter().collect();
        serialize_to_file(&self.tensors, Some(values), &at).map_err(|e| file_error("save", path, e))
    }
    /// Reads a file that [`StateDict::save`] wrote.
    ///
    /// # Errors
    /// If the file cannot be read or is not a whole safetensors file of `f32` and `f64` tensors.
    pub fn load(path: impl AsRef<Path>) -> Result<StateDict> {
        let path = path.as_ref();
        let wrong = |e: &dyn Display| file_error("load", path, e);
        // a device or a pipe has no length and perhaps no end
        if !std::fs::metadata(path).map_err(|e| wrong(&e))?.is_file() {
            return Err(wrong(&"not a file"));
        }
        let bytes = std::fs::read(path).map_err(|e| wrong(&e))?;
        Self::from_bytes(&bytes).map_err(|e| wrong(&e))
    }

    /// The layout: the header's length as eight bytes, the header, the elements.
    fn from_bytes(bytes: &[u8]) -> Result<StateDict, String> {
        let cut = || "the file is cut off".to_owned();
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
        let (header, elements) = rest.split_at_checked(length).ok_or_else(cut)?;
        // checks that the tensors follow one another and are as long as their shapes say
        let header: Metadata = serde_json::from_slice(header).map_err(|e| format!("the header is wrong: {e}"))?;
        if header.data_len() != elements.len() {
            return Err(format!("expected {} bytes of elements, found {}", header.data_len(), elements.len()));
        }
        let mut state = StateDict::default();
        state.values.extend(header.metadata().clone().unwrap_or_default());
        for (name, info) in header.tensors() {
            let bytes = elements.get(info.data_offsets.0..info.data_offsets.1).ok_or_else(cut)?;
            let (dtype, data) = match info.dtype {
                Dtype::F32 => (DType::F32, Data::F32(from_le(bytes, f32::from_le_bytes))),
                Dtype::F64 => (DType::F64, Data::F64(from_le(bytes, f64::from_le_bytes))),
                other => return Err(format!("{name}: expected F32 or F64, found {other:?}")),
            };
            Ty::new(dtype, &info.shape).map_err(|e| format!("{name}: {e}"))?;
            state.tensors.insert(name, Stored { shape: info.shape.clone(), data });
        }
        Ok(state)
    }
}

fn from_le<T, const N: usize>(bytes: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&b| of(b)).collect()
}

fn missing(what: &str, name: &str) -> Error {
    Error::value(LOAD, format!("expected the {what} {name:?}, found none"))
}

fn file_error(what: &str, path: &Path, e: impl Display) -> Error {
    Error::value(format!("StateDict::{what}"), format!("{}: {e}", path.display()))
}

impl Stored {
    fn elements<T: Float>(&self, name: &str) -> Result<&[T]> {
        let found = self.data.dtype();
        T::slice(&self.data).ok_or_else(|| Error::dtype(LOAD, format!("{} for {name}", T::DTYPE), found))
    }
}

impl View for &Stored {
    fn dtype(&self) -> Dtype {
        if self.data.dtype() == DType::F32 { Dtype::F32 } else { Dtype::F64 }
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        match &self.data {
            Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::I64(_) | Data::Bool(_) => Cow::Borrowed(&[]), // `insert_elements` takes floats only
        }
    }
    fn data_len(&self) -> usize {
        self.data.len() * self.data.dtype().size()
    }
}

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
