//! From whole data sets to mini-batches: a [`DataLoader`] gives the batches of a [`Dataset`] in turn, in an
//! order that depends on its seed and the number of the epoch alone. Arrays in NumPy's files are read by
//! [`Tensor::load_npy`] and [`crate::StateDict::load_npz`].

use crate::{Element, Error, Result, Tensor, op::random::shuffled, tensor_report as report};
use ndarray::{ArrayBase, Dimension, OwnedRepr};
use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

/// Samples that can be put together to batches. A program may have its own:
///
/// ```
/// use autograd_runtime::{Tensor, data::{DataLoader, Dataset}};
///
/// /// The squares of the first numbers, computed when they are asked for.
/// struct Squares(usize);
/// impl Dataset for Squares {
///     type Batch = Tensor<f32>;
///     fn len(&self) -> usize {
///         self.0
///     }
///     fn batch(&self, indices: &[usize]) -> Tensor<f32> {
///         Tensor::from_vec(indices.iter().map(|&i| (i * i) as f32).collect(), [indices.len()])
///     }
/// }
/// let sums: Vec<f32> = DataLoader::new(Squares(5), 2)?.iter().map(|batch| batch.sum().item()).collect();
/// assert_eq!(sums, [1.0, 13.0, 16.0]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
pub trait Dataset {
    /// Several samples.
    type Batch;
    /// The number of samples.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The samples of these indices, all below [`Dataset::len`].
    fn batch(&self, indices: &[usize]) -> Self::Batch;
}

/// Tensors, one or a tuple, whose leading axes count the same samples.
pub trait Columns {
    #[doc(hidden)]
    fn each(&self, visit: &mut dyn FnMut(&[usize]));
    #[doc(hidden)]
    fn rows(&self, indices: &[usize]) -> Self;
}
/// What becomes [`Columns`]: tensors, ndarray arrays, and tuples of them.
pub trait IntoColumns {
    /// The tensors.
    type Columns: Columns;
    #[doc(hidden)]
    fn into_columns(self) -> Self::Columns;
}

impl<T: Element> Columns for Tensor<T> {
    fn each(&self, visit: &mut dyn FnMut(&[usize])) {
        visit(self.shape());
    }
    fn rows(&self, indices: &[usize]) -> Self {
        let mut shape = self.shape().to_vec();
        let size: usize = shape.iter().skip(1).product();
        let gather = |all: &[T]| indices.iter().flat_map(|&i| &all[i * size..][..size]).copied().collect();
        let rows = self.detach().with_data(gather);
        shape[0] = indices.len();
        Tensor::from_vec(rows, &shape)
    }
}
impl<T: Element> IntoColumns for Tensor<T> {
    type Columns = Tensor<T>;
    fn into_columns(self) -> Tensor<T> {
        self
    }
}
impl<T: Element> IntoColumns for &Tensor<T> {
    type Columns = Tensor<T>;
    fn into_columns(self) -> Tensor<T> {
        self.clone()
    }
}
impl<T: Element, D: Dimension> IntoColumns for ArrayBase<OwnedRepr<T>, D> {
    type Columns = Tensor<T>;
    fn into_columns(self) -> Tensor<T> {
        Tensor::from(self)
    }
}
macro_rules! tuples {
    ($($($t:ident $i:tt),+;)*) => {$(
        impl<$($t: Columns),+> Columns for ($($t,)+) {
            fn each(&self, visit: &mut dyn FnMut(&[usize])) { $(self.$i.each(visit);)+ }
            fn rows(&self, indices: &[usize]) -> Self { ($(self.$i.rows(indices),)+) }
        }
        impl<$($t: IntoColumns),+> IntoColumns for ($($t,)+) {
            type Columns = ($($t::Columns,)+);
            fn into_columns(self) -> Self::Columns { ($(self.$i.into_columns(),)+) }
        }
    )*};
}
tuples! { A 0; A 0, B 1; A 0, B 1, C 2; A 0, B 1, C 2, D 3; }

/// Tensors whose leading axes count the same samples; a batch is rows of each.
///
/// ```
/// use autograd_runtime::{Tensor, data::{Dataset, TensorDataset}, ndarray::arr2};
/// let features = arr2(&[[0.0f32, 1.0], [2.0, 3.0], [4.0, 5.0]]);
/// let set = TensorDataset::new((features, Tensor::from_vec(vec![7i64, 8, 9], [3])))?;
/// let (x, y) = set.batch(&[2, 0]);
/// assert_eq!((x.to_vec(), y.to_vec()), (vec![4.0, 5.0, 0.0, 1.0], vec![9, 7]));
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TensorDataset<C> {
    columns: C,
    len: usize,
}
impl<C: Columns> TensorDataset<C> {
    /// Of a tensor or ndarray array, or a tuple of up to four.
    ///
    /// # Errors
    /// If one has no axis, or their leading extents differ.
    pub fn new(columns: impl IntoColumns<Columns = C>) -> Result<Self> {
        let columns = columns.into_columns();
        let mut shapes = Vec::new();
        columns.each(&mut |shape| shapes.push(shape.to_vec()));
        let lens: Vec<Option<usize>> = shapes.iter().map(|s| s.first().copied()).collect();
        match lens.first() {
            Some(&Some(len)) if lens.iter().all(|l| *l == Some(len)) => Ok(TensorDataset { columns, len }),
            _ => {
                let found = shapes.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
                Err(Error::shape("TensorDataset", "tensors of one leading extent", found))
            }
        }
    }
    /// The whole tensors.
    pub fn columns(&self) -> &C {
        &self.columns
    }
}
impl<C: Columns> Dataset for TensorDataset<C> {
    type Batch = C;
    fn len(&self) -> usize {
        self.len
    }
    /// Rows of each tensor, copied. Panics (or fails the running entry point) for an index that is too large.
    #[track_caller]
    fn batch(&self, indices: &[usize]) -> C {
        if let Some(i) = indices.iter().find(|&&i| i >= self.len) {
            report(Error::value("TensorDataset", format!("expected indices below {}, found {i}", self.len)));
            return self.columns.rows(&[]);
        }
        self.columns.rows(indices)
    }
}

/// Mini-batches of a data set. Each pass over it is an epoch; a shuffling one takes another order each time,
/// given by the seed and the number of the epoch.
///
/// ```
/// use autograd_runtime::{Tensor, data::{DataLoader, TensorDataset}};
/// let set = TensorDataset::new((Tensor::<f32>::arange(10), Tensor::<i64>::arange(10)))?;
/// let loader = DataLoader::new(set, 4)?.shuffle(1);
/// for epoch in 0..2 {
///     let sizes: Vec<usize> = loader.iter().map(|(x, _)| x.numel()).collect();
///     assert_eq!(sizes, [4, 4, 2]);
/// }
/// for (x, y) in &loader {
///     assert_eq!(x.to::<i64>().to_vec(), y.to_vec());
/// }
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Debug)]
pub struct DataLoader<D> {
    dataset: D,
    batch_size: usize,
    seed: Option<u64>,
    drop_last: bool,
    epoch: AtomicU64,
}
impl<D: Dataset> DataLoader<D> {
    /// Batches of `batch_size` samples in order, the last one perhaps smaller.
    ///
    /// # Errors
    /// If the size is 0.
    pub fn new(dataset: D, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::value("DataLoader", "expected a batch size of at least 1, found 0"));
        }
        Ok(DataLoader { dataset, batch_size, seed: None, drop_last: false, epoch: AtomicU64::new(0) })
    }
    /// In another order in each epoch, given by the seed and the number of the epoch.
    #[must_use]
    pub fn shuffle(self, seed: u64) -> Self {
        DataLoader { seed: Some(seed), ..self }
    }
    /// Without a last batch that is smaller, or with it.
    #[must_use]
    pub fn drop_last(self, on: bool) -> Self {
        DataLoader { drop_last: on, ..self }
    }
    /// The data set.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }
    /// The number of batches in an epoch.
    pub fn len(&self) -> usize {
        let n = self.dataset.len();
        if self.drop_last { n / self.batch_size } else { n.div_ceil(self.batch_size) }
    }
    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The batches of the next epoch.
    pub fn iter(&self) -> Batches<'_, D> {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        let n = self.dataset.len();
        let order = self.seed.map_or_else(|| (0..n).collect(), |seed| shuffled(seed, epoch, n));
        Batches { loader: self, order, next: 0..self.len() }
    }
}
impl<'a, D: Dataset> IntoIterator for &'a DataLoader<D> {
    type Item = D::Batch;
    type IntoIter = Batches<'a, D>;
    fn into_iter(self) -> Batches<'a, D> {
        self.iter()
    }
}

/// The batches of one epoch.
#[derive(Debug)]
pub struct Batches<'a, D> {
    loader: &'a DataLoader<D>,
    order: Vec<usize>,
    next: Range<usize>,
}
impl<D: Dataset> Iterator for Batches<'_, D> {
    type Item = D::Batch;
    fn next(&mut self) -> Option<D::Batch> {
        let start = self.next.next()? * self.loader.batch_size;
        let end = start.saturating_add(self.loader.batch_size).min(self.order.len());
        Some(self.loader.dataset.batch(&self.order[start..end]))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.next.size_hint()
    }
}
impl<D: Dataset> ExactSizeIterator for Batches<'_, D> {}
