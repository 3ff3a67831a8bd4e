//! Layers that are products with a matrix: the affine map and the table of rows, and the change of shape before them.

use super::{Module, affine, fresh, init, parameter};
use crate::{Error, Float, Result, Tensor};

/// x·Wᵀ + b for x `[.., in]`.
///
/// ```
/// use autograd_runtime::{Tensor, nn::{Linear, Module}};
/// let layer = Linear::<f32>::new(3, 2);
/// assert_eq!(layer.forward(&Tensor::ones([5, 3])).shape(), [5, 2]);
/// assert_eq!((layer.weight.shape(), layer.bias.as_ref().unwrap().shape()), (&[2, 3][..], &[2][..]));
/// ```
#[derive(Debug)]
pub struct Linear<T: Float> {
    /// W, `[out, in]`.
    pub weight: Tensor<T>,
    /// b, `[out]`.
    pub bias: Option<Tensor<T>>,
}
impl<T: Float> Linear<T> {
    /// Weight and bias uniform within ±1/√in, from this thread's generator.
    pub fn new(inputs: usize, outputs: usize) -> Self {
        Linear { bias: Some(fresh(&[outputs], inputs)), ..Linear::without_bias(inputs, outputs) }
    }
    /// As [`Linear::new`] without b.
    pub fn without_bias(inputs: usize, outputs: usize) -> Self {
        Linear { weight: fresh(&[outputs, inputs], inputs), bias: None }
    }
}
impl<T: Float> Module<T> for Linear<T> {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        let y = x.matmul(&self.weight.t());
        if let Some(b) = &self.bias { y + b } else { y }
    }
    fn each_parameter(&self, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
        affine(Some(&self.weight), self.bias.as_ref(), visit);
    }
}

/// Rows of a table by their numbers: an index of any shape gives its axes, then the row's.
///
/// [`Embedding::lookup`] takes integers. As a module, in front of other layers, it takes whole numbers as floats and
/// cuts off what is behind their point.
///
/// ```
/// use autograd_runtime::{Tensor, nn::{Embedding, Module}};
/// let words = Embedding::<f32>::with_padding(10, 3, 0)?;
/// let y = words.lookup(&Tensor::from_vec(vec![4, 0], [2]));
/// assert_eq!((y.shape(), y.select(0, 1).to_vec()), (&[2, 3][..], vec![0.0; 3]));
/// assert_eq!(words.forward(&Tensor::from_vec(vec![4.0, 0.0], [2])).to_vec(), y.to_vec());
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Debug)]
pub struct Embedding<T: Float> {
    /// The table, `[rows, width]`.
    pub weight: Tensor<T>,
    /// The row that gets no gradient.
    pub padding_idx: Option<usize>,
}
impl<T: Float> Embedding<T> {
    /// Normal numbers, from this thread's generator.
    pub fn new(rows: usize, width: usize) -> Self {
        let weight = Tensor::zeros([rows, width]);
        init::normal_(&weight, 0.0, 1.0).expect("a new tensor can be written");
        Embedding { weight: parameter(&weight), padding_idx: None }
    }
    /// As [`Embedding::new`] with a row of zeros that stays what it is: no gradient flows to it.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn with_padding(rows: usize, width: usize, padding_idx: usize) -> Result<Self> {
        if padding_idx >= rows {
            return Err(Error::value("Embedding", format!("expected a padding row below {rows}, found {padding_idx}")));
        }
        let table = Embedding::new(rows, width);
        // the parameter shares its elements with what it was made of
        let row = table.weight.detach().narrow(0, padding_idx, 1);
        init::zeros_(&row)?;
        Ok(Embedding { padding_idx: Some(padding_idx), ..table })
    }
    /// The rows. An index out of range panics (or fails the running entry point).
    #[track_caller]
    pub fn lookup(&self, index: &Tensor<i64>) -> Tensor<T> {
        match self.padding_idx {
            Some(p) => self.weight.embedding_padded(index, i64::try_from(p).unwrap_or(i64::MAX)),
            None => self.weight.embedding(index),
        }
    }
}
impl<T: Float> Module<T> for Embedding<T> {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        self.lookup(&x.to())
    }
    fn each_parameter(&self, visit: &mut dyn FnMut(&str, &Tensor<T>)) {
        visit("weight", &self.weight);
    }
}

/// `[n, ..]` as `[n, elements]`: the axes after the first become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flatten;
impl<T: Float> Module<T> for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor<T>) -> Tensor<T> {
        let shape = x.shape();
        let rest: usize = shape.iter().skip(1).product();
        x.reshape(&[shape.first().map_or(1, |&n| n as i64), rest as i64])
    }
}
