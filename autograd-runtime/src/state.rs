//! What training keeps, as named values and tensors: in memory, in a safetensors file, and (in `npy`) in NumPy's files.
//!
//! In a safetensors file the values are the metadata, the tensors its tensors. No file is trusted: every length is
//! checked against what the file really has before anything is allocated by it.

mod npy;

use crate::{
    array::{Data, Element},
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

/// Named values and tensors: the parameters and buffers of a module, the state of an optimiser or a schedule, or a
/// whole checkpoint of them.
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

/// Why a state has not the tensor that is asked for.
pub(crate) enum Mismatch {
    Missing,
    Other(String),
}

pub(crate) const LOAD: &str = "load_state_dict";

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
    pub fn insert_tensor<T: Element>(&mut self, name: impl Into<String>, tensor: &Tensor<T>) {
        self.insert_elements(name, tensor.shape(), tensor.to_vec());
    }
    pub(crate) fn insert_elements<T: Element>(&mut self, name: impl Into<String>, shape: &[usize], elements: Vec<T>) {
        self.tensors.insert(name.into(), Stored { shape: shape.to_vec(), data: T::data(elements) });
    }
    /// A copy of the tensor under a name.
    ///
    /// # Errors
    /// If there is none, or one of another element type.
    pub fn tensor<T: Element>(&self, name: &str) -> Result<Tensor<T>> {
        let stored = self.tensors.get(name).ok_or_else(|| missing("tensor", name))?;
        Ok(Tensor::from_vec(stored.elements::<T>(name)?.to_vec(), &stored.shape))
    }
    /// The names of the tensors, in alphabetical order.
    ///
    /// ```
    /// use autograd_runtime::{StateDict, Tensor};
    /// let mut state = StateDict::default();
    /// state.insert_tensor("weight", &Tensor::<f32>::zeros([2, 3]));
    /// state.insert_tensor("steps", &Tensor::<i64>::scalar(7));
    /// assert_eq!(state.tensor_names().collect::<Vec<_>>(), ["steps", "weight"]);
    /// assert_eq!(state.tensor::<i64>("steps")?.item(), 7);
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
    pub(crate) fn has_value(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
    /// The elements of a tensor of a shape.
    pub(crate) fn elements<T: Element>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>> {
        let stored = self.tensors.get(name).ok_or_else(|| missing("tensor", name))?;
        if stored.shape != shape {
            let want = format!("{name} of shape {shape:?}");
            return Err(Error::shape(LOAD, want, format!("{:?}", stored.shape)));
        }
        Ok(stored.elements::<T>(name)?.to_vec())
    }
    /// As [`StateDict::elements`], for a list of all that does not match.
    pub(crate) fn matching<T: Element>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>, Mismatch> {
        let stored = self.tensors.get(name).ok_or(Mismatch::Missing)?;
        match T::slice(&stored.data) {
            Some(elements) if stored.shape == shape => Ok(elements.to_vec()),
            _ => {
                let found = format!("{} {:?}", stored.data.dtype(), stored.shape);
                Err(Mismatch::Other(format!("{name} of {found} for {} {shape:?}", T::DTYPE)))
            }
        }
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
        let at = std::path::absolute(path).map_err(|e| file_error("StateDict::save", path, e))?;
        let values: HashMap<String, String> = self.values.clone().into_iter().collect();
        serialize_to_file(&self.tensors, Some(values), &at).map_err(|e| file_error("StateDict::save", path, e))
    }
    /// Reads a file that [`StateDict::save`] wrote, or another safetensors file.
    ///
    /// # Errors
    /// If the file cannot be read or is not a whole safetensors file of `f32`, `f64`, `i64` and `bool` tensors.
    pub fn load(path: impl AsRef<Path>) -> Result<StateDict> {
        let path = path.as_ref();
        let read = || Self::from_bytes(&read(path)?);
        read().map_err(|e| file_error("StateDict::load", path, e))
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
                Dtype::I64 => (DType::I64, Data::I64(from_le(bytes, i64::from_le_bytes))),
                Dtype::BOOL => (DType::Bool, Data::Bool(truths(bytes).map_err(|e| format!("{name}: {e}"))?)),
                other => return Err(format!("{name}: expected F32, F64, I64 or BOOL, found {other:?}")),
            };
            Ty::new(dtype, &info.shape).map_err(|e| format!("{name}: {e}"))?;
            state.tensors.insert(name, Stored { shape: info.shape.clone(), data });
        }
        Ok(state)
    }
}

fn to_le(data: &Data) -> Vec<u8> {
    match data {
        Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::Bool(v) => v.iter().map(|&x| u8::from(x)).collect(),
    }
}

fn from_le<T, const N: usize>(bytes: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&b| of(b)).collect()
}

fn truths(bytes: &[u8]) -> Result<Vec<bool>, String> {
    let truth = |&b| if b < 2 { Ok(b == 1) } else { Err(format!("expected truth values of 0 and 1, found {b}")) };
    bytes.iter().map(truth).collect()
}

/// All bytes of a file. A device or a pipe has no length and perhaps no end.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    if !std::fs::metadata(path).map_err(|e| e.to_string())?.is_file() {
        return Err("not a file".into());
    }
    std::fs::read(path).map_err(|e| e.to_string())
}

fn missing(what: &str, name: &str) -> Error {
    Error::value(LOAD, format!("expected the {what} {name:?}, found none"))
}

fn file_error(what: &str, path: &Path, e: impl Display) -> Error {
    Error::value(what, format!("{}: {e}", path.display()))
}

impl Stored {
    fn elements<T: Element>(&self, name: &str) -> Result<&[T]> {
        let found = self.data.dtype();
        T::slice(&self.data).ok_or_else(|| Error::dtype(LOAD, format!("{} for {name}", T::DTYPE), found))
    }
}

impl View for &Stored {
    fn dtype(&self) -> Dtype {
        match self.data.dtype() {
            DType::F32 => Dtype::F32,
            DType::F64 => Dtype::F64,
            DType::I64 => Dtype::I64,
            DType::Bool => Dtype::BOOL,
        }
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(to_le(&self.data))
    }
    fn data_len(&self) -> usize {
        self.data.len() * self.data.dtype().size()
    }
}
