//! Tensors and states into NumPy's files, and back: `.npy` holds one array, `.npz` is a zip archive of them.
//!
//! The header of an array is a literal of Python's, a dictionary with three keys. It is read by a scanner that knows
//! no nesting, so that no header makes it recurse, and nothing is allocated by what a header says: the elements are
//! those that the file has, and must be as many as the shape wants.

use super::{StateDict, Stored, file_error, read, to_le, truths};
use crate::{
    array::{Data, Element},
    error::{Error, Result},
    tensor::Tensor,
    ty::{DType, Ty},
};
use ndarray::{ArrayD, ShapeBuilder};
use std::{
    io::{Cursor, Read, Write},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// What goes wrong, in words; the file is named by who opened it.
type Parsed<T> = std::result::Result<T, String>;

const MAGIC: &[u8] = b"\x93NUMPY";

impl<T: Element> Tensor<T> {
    /// Writes a `.npy` file, as `numpy.save`. A file that is there is replaced at the end, at once.
    ///
    /// # Errors
    /// If the file cannot be written.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// # let dir = std::env::temp_dir().join(format!("autograd-npy-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let path = dir.join("x.npy");
    /// let x = Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]);
    /// x.save_npy(&path)?;
    /// let y = Tensor::<f32>::load_npy(&path)?;
    /// assert_eq!((y.shape(), y.to_vec()), (x.shape(), x.to_vec()));
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    pub fn save_npy(&self, path: impl AsRef<Path>) -> Result<()> {
        let data = T::data(self.to_vec());
        let bytes = array(descriptor(data.dtype()), self.shape(), &to_le(&data));
        replace(path.as_ref(), &bytes).map_err(|e| file_error("save_npy", path.as_ref(), e))
    }
    /// Reads a `.npy` file. Integers of all widths become `i64`; floats keep their width.
    ///
    /// # Errors
    /// If the file cannot be read, is not a whole `.npy` file or has elements of another type.
    pub fn load_npy(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let of_file = || match parse(&read(path)?)? {
            Found::Tensor(t) => Ok(t),
            Found::Text(_) => Err("expected numbers or truth values, found a text".to_owned()),
        };
        let Stored { shape, data } = of_file().map_err(|e| file_error("load_npy", path, e))?;
        match T::slice(&data) {
            Some(elements) => Ok(Tensor::from_vec(elements.to_vec(), &shape)),
            None => Err(Error::dtype("load_npy", format!("{} in {}", T::DTYPE, path.display()), data.dtype())),
        }
    }
}

impl StateDict {
    /// Writes a `.npz` file, as `numpy.savez`: each tensor is an array, each value an array of one text. A file that is
    /// there is replaced at the end, at once.
    ///
    /// # Errors
    /// If the file cannot be written, or a value and a tensor have one name.
    ///
    /// ```
    /// use autograd_runtime::{StateDict, Tensor};
    /// # let dir = std::env::temp_dir().join(format!("autograd-npz-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let path = dir.join("state.npz");
    /// let mut state = StateDict::default();
    /// state.insert_tensor("images", &Tensor::<f32>::zeros([10, 4]));
    /// state.insert("epoch", 3);
    /// state.save_npz(&path)?;
    /// let state = StateDict::load_npz(&path)?;
    /// assert_eq!((state.tensor::<f32>("images")?.shape(), state.get::<u32>("epoch")?), (&[10, 4][..], 3));
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    pub fn save_npz(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = self.to_npz().map_err(|e| e.to_string());
        bytes.and_then(|b| replace(path, &b)).map_err(|e| file_error("StateDict::save_npz", path, e))
    }
    /// Reads a `.npz` file, compressed or not, with elements as [`Tensor::load_npy`] takes them; single texts become
    /// values. What is compressed may take up to a thousand times the memory that the file has bytes.
    ///
    /// # Errors
    /// If the file cannot be read or is not a whole archive of `.npy` files.
    pub fn load_npz(path: impl AsRef<Path>) -> Result<StateDict> {
        let path = path.as_ref();
        let of_file = || Self::of_npz(&read(path)?);
        of_file().map_err(|e| file_error("StateDict::load_npz", path, e))
    }

    fn to_npz(&self) -> zip::result::ZipResult<Vec<u8>> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let mut put = |name: &str, bytes: &[u8]| {
            let large = u32::try_from(bytes.len()).is_err();
            let o = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(large);
            archive.start_file(format!("{name}.npy"), o)?;
            archive.write_all(bytes)?;
            Ok::<(), zip::result::ZipError>(())
        };
        for (name, t) in &self.tensors {
            put(name, &array(descriptor(t.data.dtype()), &t.shape, &to_le(&t.data)))?;
        }
        for (name, text) in &self.values {
            // an empty text is one of nothing but padding
            let units: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
            let units = if units.is_empty() { vec![0; 4] } else { units };
            put(name, &array(&format!("<U{}", units.len() / 4), &[], &units))?;
        }
        Ok(archive.finish()?.into_inner())
    }
    fn of_npz(bytes: &[u8]) -> Parsed<StateDict> {
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
        let mut state = StateDict::default();
        for i in 0..archive.len() {
            let mut entry = archive.by_index(i).map_err(|e| e.to_string())?;
            let file = entry.name().map_err(|e| e.to_string())?.into_owned();
            let wrong = |e: String| format!("{file}: {e}");
            let name = file.strip_suffix(".npy").ok_or_else(|| wrong("expected a name that ends in .npy".into()))?;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
            match parse(&bytes).map_err(wrong)? {
                Found::Tensor(t) => drop(state.tensors.insert(name.to_owned(), t)),
                Found::Text(text) => state.insert(name, text),
            }
        }
        Ok(state)
    }
}

/// Writes beside the file, then puts it in its place.
fn replace(path: &Path, bytes: &[u8]) -> Parsed<()> {
    let mut beside = path.to_owned();
    let name = path.file_name().ok_or("expected the path of a file")?;
    static PARTS: AtomicU64 = AtomicU64::new(0);
    let part = PARTS.fetch_add(1, Ordering::Relaxed);
    beside.set_file_name(format!(".{}.{}-{part}.part", name.to_string_lossy(), std::process::id()));
    let written = std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|e| {
        // it may never have come to be
        let _ = std::fs::remove_file(&beside);
        e.to_string()
    })
}

fn descriptor(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::I64 => "<i8",
        DType::Bool => "|b1",
    }
}

/// A whole `.npy` file: the magic bytes and version, the header's length, the header, filled up with spaces so that the
/// elements begin at a multiple of 64, and the elements.
fn array(descriptor: &str, shape: &[usize], elements: &[u8]) -> Vec<u8> {
    let extents: String = shape.iter().map(|n| format!("{n},")).collect();
    let header = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': ({extents}), }}");
    // version 2 is for shapes that are too long for version 1's length of two bytes
    let filled = |prefix: usize| (prefix + header.len() + 1).next_multiple_of(64) - prefix;
    let (version, length) = match u16::try_from(filled(10)) {
        Ok(n) => ([1, 0], n.to_le_bytes().to_vec()),
        Err(_) => ([2, 0], (filled(12) as u32).to_le_bytes().to_vec()),
    };
    let spaces = filled(8 + length.len()) - header.len() - 1;
    [MAGIC, &version, &length, header.as_bytes(), &vec![b' '; spaces], b"\n", elements].concat()
}

enum Found {
    Tensor(Stored),
    Text(String),
}

fn parse(bytes: &[u8]) -> Parsed<Found> {
    let cut = || "the file is cut off".to_owned();
    let rest = bytes.strip_prefix(MAGIC).ok_or("expected an array of NumPy's")?;
    let (&[major, _], rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let (length, rest) = match major {
        1 => rest.split_first_chunk().map(|(n, rest)| (u32::from(u16::from_le_bytes(*n)), rest)),
        2 | 3 => rest.split_first_chunk().map(|(n, rest)| (u32::from_le_bytes(*n), rest)),
        other => return Err(format!("expected version 1, 2 or 3 of the format, found {other}")),
    }
    .ok_or_else(cut)?;
    let (header, elements) = rest.split_at_checked(length as usize).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|e| format!("the header is no text: {e}"))?;
    let Header { descriptor, fortran, shape } =
        Header::parse(header).map_err(|e| format!("the header is wrong: {e}"))?;
    // every element becomes one of at most eight bytes
    let n = Ty::new(DType::F64, &shape).map_err(|e| e.to_string())?.numel();
    let (kind, size, big) = kind_of(&descriptor)?;
    if n.checked_mul(size) != Some(elements.len()) {
        return Err(format!("expected {n} elements of {size} bytes, found {} bytes", elements.len()));
    }
    if matches!(kind, 'U' | 'S') {
        return text(kind, big, elements, &shape).map(Found::Text);
    }
    let data = decode(kind, size, big, elements)?;
    let data = if fortran { crate::map_each!(Data => Data, data, v => row_major(v, &shape)?) } else { data };
    Ok(Found::Tensor(Stored { shape, data }))
}

/// The letter of a type, the bytes of an element and whether the first is the largest.
fn kind_of(descriptor: &str) -> Parsed<(char, usize, bool)> {
    let wrong = || format!("expected a float, an integer or a truth value, found the type {descriptor:?}");
    let mut letters = descriptor.chars();
    let (order, kind) = letters.next().zip(letters.next()).ok_or_else(wrong)?;
    let size: usize = letters.as_str().parse().map_err(|_| wrong())?;
    let known = match kind {
        'f' => matches!(size, 4 | 8),
        'i' | 'u' => matches!(size, 1 | 2 | 4 | 8),
        'b' => size == 1,
        'U' | 'S' => true,
        _ => false,
    };
    let size = if kind == 'U' { size.checked_mul(4).ok_or_else(wrong)? } else { size };
    if known && "<>|=".contains(order) { Ok((kind, size, order == '>')) } else { Err(wrong()) }
}

fn numbers<T, const N: usize>(bytes: &[u8], big: bool, of: impl Fn([u8; N]) -> T) -> Vec<T> {
    let number = |&(mut b): &[u8; N]| {
        if big {
            b.reverse();
        }
        of(b)
    };
    bytes.as_chunks().0.iter().map(number).collect()
}

fn decode(kind: char, size: usize, big: bool, b: &[u8]) -> Parsed<Data> {
    Ok(match (kind, size) {
        ('f', 4) => Data::F32(numbers(b, big, f32::from_le_bytes)),
        ('f', _) => Data::F64(numbers(b, big, f64::from_le_bytes)),
        ('i', 1) => Data::I64(numbers(b, big, |n| i8::from_le_bytes(n).into())),
        ('i', 2) => Data::I64(numbers(b, big, |n| i16::from_le_bytes(n).into())),
        ('i', 4) => Data::I64(numbers(b, big, |n| i32::from_le_bytes(n).into())),
        ('i', _) => Data::I64(numbers(b, big, i64::from_le_bytes)),
        ('u', 1) => Data::I64(numbers(b, big, |n| u8::from_le_bytes(n).into())),
        ('u', 2) => Data::I64(numbers(b, big, |n| u16::from_le_bytes(n).into())),
        ('u', 4) => Data::I64(numbers(b, big, |n| u32::from_le_bytes(n).into())),
        ('u', _) => {
            let fits = |n: u64| i64::try_from(n).map_err(|_| format!("expected integers that fit i64, found {n}"));
            Data::I64(numbers(b, big, u64::from_le_bytes).into_iter().map(fits).collect::<Parsed<_>>()?)
        }
        _ => Data::Bool(truths(b)?),
    })
}

/// The elements of an array whose first axis runs fastest.
fn row_major<T: Element>(elements: Vec<T>, shape: &[usize]) -> Parsed<Vec<T>> {
    let a = ArrayD::from_shape_vec(shape.f(), elements).map_err(|e| e.to_string())?;
    Ok(a.iter().copied().collect())
}

fn text(kind: char, big: bool, bytes: &[u8], shape: &[usize]) -> Parsed<String> {
    if !shape.is_empty() {
        return Err(format!("expected a single text, found an array {shape:?} of them"));
    }
    let found = || "expected a text, found other bytes".to_owned();
    let text = if kind == 'S' {
        String::from_utf8(bytes.to_vec()).map_err(|_| found())?
    } else {
        let units = numbers(bytes, big, u32::from_le_bytes);
        units.into_iter().map(char::from_u32).collect::<Option<String>>().ok_or_else(found)?
    };
    Ok(text.trim_end_matches('\0').to_owned())
}

struct Header {
    descriptor: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    /// `{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }`
    fn parse(text: &str) -> Parsed<Header> {
        let mut s = Scanner(text);
        let (mut descriptor, mut fortran, mut shape) = (None, None, None);
        s.expect('{')?;
        while !s.accept('}') {
            match s.quoted()? {
                "descr" => descriptor = Some(s.after_colon()?.quoted()?.to_owned()),
                "fortran_order" => fortran = Some(s.after_colon()?.truth()?),
                "shape" => shape = Some(s.after_colon()?.extents()?),
                other => return Err(format!("found the key {other:?}")),
            }
            if !s.accept(',') {
                s.expect('}')?;
                break;
            }
        }
        if !s.0.trim().is_empty() {
            return Err(format!("expected its end, {}", s.found()));
        }
        match (descriptor, fortran, shape) {
            (Some(descriptor), Some(fortran), Some(shape)) => Ok(Header { descriptor, fortran, shape }),
            _ => Err("expected the keys descr, fortran_order and shape".into()),
        }
    }
}

/// What is left of a header.
struct Scanner<'a>(&'a str);
impl<'a> Scanner<'a> {
    fn found(&self) -> String {
        match self.0.trim_start().chars().next() {
            Some(c) => format!("found {c:?}"),
            None => "found its end".into(),
        }
    }
    fn accept(&mut self, c: char) -> bool {
        match self.0.trim_start().strip_prefix(c) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }
    fn expect(&mut self, c: char) -> Parsed<()> {
        if self.accept(c) { Ok(()) } else { Err(format!("expected {c:?}, {}", self.found())) }
    }
    fn after_colon(&mut self) -> Parsed<&mut Self> {
        self.expect(':')?;
        Ok(self)
    }
    /// The text up to the next quote; the texts that count have none inside.
    fn quoted(&mut self) -> Parsed<&'a str> {
        let quote = if self.accept('"') { '"' } else { '\'' };
        if quote == '\'' {
            self.expect(quote)?;
        }
        let (text, rest) = self.0.split_once(quote).ok_or("expected the end of a text, found its own")?;
        self.0 = rest;
        Ok(text)
    }
    fn truth(&mut self) -> Parsed<bool> {
        let text = self.0.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = text.strip_prefix(word) {
                self.0 = rest;
                return Ok(value);
            }
        }
        Err(format!("expected True or False, {}", self.found()))
    }
    fn extents(&mut self) -> Parsed<Vec<usize>> {
        let mut extents = Vec::new();
        self.expect('(')?;
        while !self.accept(')') {
            let text = self.0.trim_start();
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let (digits, rest) = text.split_at(end);
            extents.push(digits.parse().map_err(|_| format!("expected an extent, {}", self.found()))?);
            self.0 = rest;
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(extents)
    }
}
