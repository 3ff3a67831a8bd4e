//! Indexing with PyTorch's (NumPy's) rules: integers, ranges, new axes, index tensors and masks, for reading and for
//! writing.
//!
//! Integers and ranges give views. Index tensors pick elements, duplicates included; writing through them the last of
//! several writers of an element wins, in the value and in the gradient.

use super::typed::Tensor;
use crate::{
    array::{Element, Float},
    emit::{Emit, Ex, V},
    error::{Error, Result},
    ty::{Shape, broadcast, contiguous_strides},
};
use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// One place of an index.
#[derive(Clone, Debug)]
pub enum Index {
    /// One index; the axis disappears. Negative ones count from the end.
    At(i64),
    /// A range of an axis in steps, bounds clamped as Python does; `None` is the end.
    Range(i64, Option<i64>, usize),
    /// A new axis of extent 1.
    NewAxis,
    /// As many whole axes as are left over: Python's `...`.
    Rest,
    /// Elements by their indices; several such places broadcast together.
    Tensor(Tensor<i64>),
    /// Elements where the mask holds; it covers as many axes as it has.
    Mask(Tensor<bool>),
}

/// A new axis in an index: Python's `None`.
#[derive(Clone, Copy, Debug)]
pub struct NewAxis;
/// The axes that are left over in an index: Python's `...`.
#[derive(Clone, Copy, Debug)]
pub struct Rest;

/// An index, or one place of one: integers, ranges, [`NewAxis`], [`Rest`], index tensors and masks, and tuples of
/// them.
pub trait IntoIndex {
    /// The places.
    fn into_index(self) -> Vec<Index>;
}
macro_rules! places {
    ($($t:ty, |$x:ident| $e:expr;)*) => {$(
        impl IntoIndex for $t {
            fn into_index(self) -> Vec<Index> { let $x = self; vec![$e] }
        }
    )*};
}
fn bound(b: Bound<&i64>, inclusive: i64) -> Option<i64> {
    match b {
        Bound::Included(&i) => i.checked_add(inclusive).filter(|&e| e != 0 || inclusive == 0),
        Bound::Excluded(&i) => Some(i),
        Bound::Unbounded => None,
    }
}
places! {
    i64, |i| Index::At(i);
    i32, |i| Index::At(i64::from(i));
    usize, |i| Index::At(i64::try_from(i).unwrap_or(i64::MAX));
    Range<i64>, |r| Index::Range(r.start, Some(r.end), 1);
    RangeFrom<i64>, |r| Index::Range(r.start, None, 1);
    RangeTo<i64>, |r| Index::Range(0, Some(r.end), 1);
    RangeInclusive<i64>, |r| Index::Range(*r.start(), bound(Bound::Included(r.end()), 1), 1);
    RangeToInclusive<i64>, |r| Index::Range(0, bound(Bound::Included(&r.end), 1), 1);
    RangeFull, |_r| Index::Range(0, None, 1);
    NewAxis, |_n| Index::NewAxis;
    Rest, |_r| Index::Rest;
    Tensor<i64>, |t| Index::Tensor(t);
    &Tensor<i64>, |t| Index::Tensor(t.clone());
    Tensor<bool>, |t| Index::Mask(t);
    &Tensor<bool>, |t| Index::Mask(t.clone());
    Index, |i| i;
}
impl IntoIndex for Vec<Index> {
    fn into_index(self) -> Vec<Index> {
        self
    }
}
impl<const N: usize> IntoIndex for [i64; N] {
    fn into_index(self) -> Vec<Index> {
        self.into_iter().map(Index::At).collect()
    }
}
macro_rules! tuples {
    ($($($t:ident)+;)*) => {$(
        impl<$($t: IntoIndex),+> IntoIndex for ($($t,)+) {
            #[allow(non_snake_case)]
            fn into_index(self) -> Vec<Index> {
                let ($($t,)+) = self;
                let mut all = Vec::new();
                $(all.extend($t.into_index());)+
                all
            }
        }
    )*};
}
tuples! { A; A B; A B C; A B C D; A B C D E; A B C D E F; }

/// The basic part of an index applied, and the places of index tensors: for each axis of the view at most one.
struct Resolved<'e> {
    view: Ex<'e>,
    /// Axis of the view and its indices, one index tensor an axis.
    picks: Vec<(usize, Tensor<i64>)>,
}

/// The indices that a mask holds at, an index tensor an axis.
fn positions(mask: &Tensor<bool>) -> Vec<Tensor<i64>> {
    let strides = contiguous_strides(mask.shape());
    let at: Vec<usize> = mask.to_vec().iter().enumerate().filter(|(_, b)| **b).map(|p| p.0).collect();
    let axis = |(&s, &n): (&isize, &usize)| {
        let of = |&p: &usize| (p / s.max(1) as usize % n.max(1)) as i64;
        Tensor::from_vec(at.iter().map(of).collect(), [at.len()])
    };
    strides.iter().zip(mask.shape()).map(axis).collect()
}

fn resolve<'e>(x: &Ex<'e>, index: &[Index]) -> Result<Resolved<'e>> {
    let rank = x.rank();
    let axes = |i: &Index| match i {
        Index::At(_) | Index::Range(..) | Index::Tensor(_) => 1,
        Index::Mask(m) => m.ndim(),
        Index::NewAxis | Index::Rest => 0,
    };
    let used: usize = index.iter().map(axes).sum();
    let rests = index.iter().filter(|i| matches!(i, Index::Rest)).count();
    if used > rank || rests > 1 {
        let want = format!("an index of at most {rank} places and one rest");
        return Err(Error::value("index", format!("expected {want}, found {used} places and {rests} rests")));
    }
    let (mut view, mut picks, mut axis) = (x.clone(), Vec::new(), 0);
    for i in index {
        match i {
            Index::At(i) => view = view.select_dim(axis as i64, *i),
            Index::Range(start, end, step) => {
                view = view.slice_dim(axis as i64, *start, end.unwrap_or(i64::MAX), *step);
                axis += 1;
            }
            Index::NewAxis => {
                view = view.unsqueeze(axis as i64);
                axis += 1;
            }
            Index::Rest => axis += rank - used,
            Index::Tensor(t) => {
                picks.push((axis, t.clone()));
                axis += 1;
            }
            Index::Mask(m) if m.ndim() == 0 => {
                // all or nothing, on a new axis
                view = view.unsqueeze(axis as i64);
                let at = if m.item() { vec![0] } else { vec![] };
                picks.push((axis, Tensor::from_vec(at.clone(), [at.len()])));
                axis += 1;
            }
            Index::Mask(m) => {
                let shape = view.shape();
                if shape.get(axis..axis + m.ndim()) != Some(m.shape()) {
                    let want = format!("a mask that fits {:?} from axis {axis}", shape.as_slice());
                    return Err(Error::shape("index", want, format!("{:?}", m.shape())));
                }
                for t in positions(m) {
                    picks.push((axis, t));
                    axis += 1;
                }
            }
        }
    }
    Ok(Resolved { view, picks })
}

/// How elements are picked from the view: its picked axes in front as one, their positions in it, and where the axes
/// of the picks go in the result.
struct Picked {
    /// Axes of the view: picked ones, then the others.
    order: Shape,
    /// Extents of the others.
    rest: Shape,
    /// The shape of the picks together.
    shape: Shape,
    /// Position of each pick in the picked axes taken together.
    at: Vec<i64>,
    /// The axis of the result where the picks stand.
    front: usize,
}

fn picked(view: &[usize], picks: &[(usize, Tensor<i64>)]) -> Result<Picked> {
    let mut shape = Shape::new();
    for (_, t) in picks {
        shape = broadcast(&shape, t.shape()).ok_or_else(|| {
            let found: Vec<&[usize]> = picks.iter().map(|p| p.1.shape()).collect();
            Error::shape("index", "index tensors that broadcast together", format!("{found:?}"))
        })?;
    }
    let n: usize = shape.iter().product();
    let mut at = vec![0i64; n];
    for (axis, t) in picks {
        let extent = view[*axis] as i64;
        for (p, i) in at.iter_mut().zip(t.expand(shape.as_slice()).to_vec()) {
            if !(-extent..extent).contains(&i) {
                return Err(Error::value(
                    "index",
                    format!("index {i} is out of bounds for axis {axis} with size {extent}"),
                ));
            }
            *p = *p * extent + i.rem_euclid(extent);
        }
    }
    let axes: Shape = picks.iter().map(|p| p.0).collect();
    let others: Shape = (0..view.len()).filter(|a| !axes.contains(a)).collect();
    // picks that stand side by side keep their place, others come first
    let adjacent = axes.windows(2).all(|w| w[1] == w[0] + 1);
    let front = if adjacent { axes.first().copied().unwrap_or(0) } else { 0 };
    let rest = others.iter().map(|&a| view[a]).collect();
    Ok(Picked { order: axes.iter().chain(&others).copied().collect(), rest, shape, at, front })
}

impl Picked {
    fn rows(&self, view: &[usize], picks: usize) -> usize {
        self.order[..picks].iter().map(|&a| view[a]).product()
    }
    /// The axes of picks from the front to their place: a permutation of the result that has them in front.
    fn to_place(&self) -> Shape {
        let (k, m) = (self.shape.len(), self.rest.len());
        let front = self.front.min(m);
        (k..k + front).chain(0..k).chain(k + front..k + m).collect()
    }
    fn index<'e>(&self, e: &'e dyn Emit, width: usize) -> Ex<'e> {
        let n = self.at.len();
        let t = Tensor::from_vec(self.at.clone(), [n, 1]);
        Ex::new(e, V::Tensor(t.value().clone())).expand(&[n, width])
    }
}

fn take<'e>(x: &Ex<'e>, index: &[Index]) -> Result<Ex<'e>> {
    let Resolved { view, picks } = resolve(x, index)?;
    if picks.is_empty() {
        return Ok(view);
    }
    let shape = view.shape();
    let p = picked(&shape, &picks)?;
    let width: usize = p.rest.iter().product();
    let rows = p.rows(&shape, picks.len());
    let flat = view.permute(&p.order).reshape(&[rows, width]);
    let out: Shape = p.shape.iter().chain(&p.rest).copied().collect();
    Ok(flat.gather(0, &p.index(x.e, width)).reshape(&out).permute(&p.to_place()))
}

/// x with the picked elements of a view replaced by `v`, the last writer winning.
fn put<'e>(view: &Ex<'e>, picks: &[(usize, Tensor<i64>)], v: &Ex<'e>) -> Result<Ex<'e>> {
    let shape = view.shape();
    let p = picked(&shape, picks)?;
    let width: usize = p.rest.iter().product();
    let rows = p.rows(&shape, picks.len());
    // the value in the shape of the result of reading, picks in front
    let front: Shape = p.shape.iter().chain(&p.rest).copied().collect();
    let perm = p.to_place();
    let read: Shape = perm.iter().map(|&a| front[a]).collect();
    let found = v.shape();
    if broadcast(&found, &read).is_none_or(|s| s != read) {
        let want = format!("a value that broadcasts to {:?}", read.as_slice());
        return Err(Error::shape("index_put_", want, format!("{:?}", found.as_slice())));
    }
    let mut inverse: Shape = perm.clone();
    perm.iter().enumerate().for_each(|(i, &a)| inverse[a] = i);
    let n = p.at.len();
    let v = v.expand(&read).permute(&inverse).reshape(&[n, width]);
    let flat = view.permute(&p.order).reshape(&[rows, width]);
    // for each row the last pick that writes it
    let mut writer = vec![-1i64; rows];
    p.at.iter().zip(0..).for_each(|(&r, k)| writer[r as usize] = k);
    let e = view.e;
    let column = |data: Vec<i64>| {
        Ex::new(e, V::Tensor(Tensor::from_vec(data, [rows, 1]).value().clone())).expand(&[rows, width])
    };
    let written = column(writer.iter().map(|&k| i64::from(k >= 0)).collect()).cast(crate::ty::DType::Bool);
    let new = if n == 0 { flat.clone() } else { v.gather(0, &column(writer.iter().map(|&k| k.max(0)).collect())) };
    let out = Ex::select(&written, &new, &flat);
    let ordered: Shape = p.order.iter().map(|&a| shape[a]).collect();
    let mut back: Shape = p.order.clone();
    p.order.iter().enumerate().for_each(|(i, &a)| back[a] = i);
    Ok(out.reshape(&ordered).permute(&back))
}

impl<T: Element> Tensor<T> {
    /// Elements by an index with PyTorch's rules: a view for integers and ranges, a copy for index tensors and masks.
    ///
    /// ```
    /// use autograd_runtime::{NewAxis, Rest, Tensor};
    /// let x = Tensor::<f64>::arange(12).reshape(&[3, 4]);
    /// assert_eq!(x.index((1, 1..3)).to_vec(), [5.0, 6.0]);
    /// assert_eq!(x.index((Rest, -1)).to_vec(), [3.0, 7.0, 11.0]);
    /// assert_eq!(x.index((NewAxis, 0)).shape(), [1, 4]);
    /// assert_eq!(x.index(&x.gt(&Tensor::scalar(9.0))).to_vec(), [10.0, 11.0]);
    /// let rows = Tensor::from_vec(vec![2, 0, 2], [3]);
    /// assert_eq!(x.index((&rows, 0)).to_vec(), [8.0, 0.0, 8.0]);
    /// ```
    #[track_caller]
    pub fn index(&self, index: impl IntoIndex) -> Self {
        let index = index.into_index();
        let picks = |i: &Index| matches!(i, Index::Tensor(_) | Index::Mask(_));
        // the last place that does something gives the name, as there one view is made after the other
        let name = match index.iter().rev().find(|i| !matches!(i, Index::Rest)) {
            _ if index.iter().any(picks) => "IndexBackward0",
            Some(Index::At(_)) => "SelectBackward0",
            Some(Index::NewAxis) => "UnsqueezeBackward0",
            Some(Index::Range(..)) => "SliceBackward0",
            _ => "AliasBackward0",
        };
        self.viewed(name, |x| take(&x, &index).unwrap_or_else(|err| x.fail(err)))
    }
    /// Elements by their positions along an axis, in the order of `index` (one axis), duplicates allowed: the axis gets
    /// the index's length. A copy.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::arange(6).reshape(&[2, 3]);
    /// let columns = Tensor::from_vec(vec![2, 0], [2]);
    /// assert_eq!(x.index_select(1, &columns).to_vec(), [2.0, 0.0, 5.0, 3.0]);
    /// ```
    #[track_caller]
    pub fn index_select(&self, dim: i64, index: &Tensor<i64>) -> Self {
        self.zip_named("IndexSelectBackward0", index, |x, i| x.index_select(dim, &i))
    }
    /// The elements where the mask holds, in row-major order, as one axis; mask and tensor broadcast. A copy.
    #[track_caller]
    pub fn masked_select(&self, mask: &Tensor<bool>) -> Self {
        match broadcast(self.shape(), mask.shape()) {
            Some(s) => self.expand(s.as_slice()).index(mask.expand(s.as_slice())),
            None => self.index(mask),
        }
    }
    /// Writes to the elements of an index, in place: `x[index] = value`. Integers and ranges write through the view;
    /// with index tensors the last of several writers of an element wins, in the gradient too.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::zeros([2, 3]);
    /// x.index_put_((0, 0), 111.0);
    /// x.index_put_((1, ..), &Tensor::ones([3]));
    /// assert_eq!(x.to_vec(), [111.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn index_put_(&self, index: impl IntoIndex, value: impl super::Operand<T>) -> &Self {
        let index = index.into_index();
        let picks = index.iter().any(|i| matches!(i, Index::Tensor(_) | Index::Mask(_)));
        let basic: Vec<Index> = index
            .iter()
            .flat_map(|i| match i {
                Index::Mask(m) if m.ndim() == 0 => vec![Index::NewAxis],
                Index::Mask(m) => vec![Index::Range(0, None, 1); m.ndim()],
                Index::Tensor(_) => vec![Index::Range(0, None, 1)],
                other => vec![other.clone()],
            })
            .collect();
        // index tensors on whole axes write to the tensor itself, ranges through a view
        let whole = |i: &Index| matches!(i, Index::Range(0, None, 1) | Index::Rest);
        let view =
            if index.is_empty() || (picks && basic.iter().all(whole)) { self.clone() } else { self.index(basic) };
        view.assign("index_put_", |e, x| {
            let v = value.operand(e);
            if !picks {
                return v.copy().expand(&x.shape());
            }
            // the basic places have been applied: what is left are the picks, at their axes of the view
            let old = Ex::new(e, V::Tensor(self.value().clone()));
            let of = || put(&x, &resolve_types(&old, &index)?, &v);
            of().unwrap_or_else(|err| x.fail(err))
        });
        self
    }
    /// Adds to elements by their positions along an axis, in place; duplicates sum: `x[.., index[i], ..] += source[.., i,
    /// ..]`. The source has the tensor's shape but for the axis, which is as long as the index.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f64>::zeros([3]);
    /// let at = Tensor::from_vec(vec![0, 2, 0], [3]);
    /// x.index_add_(0, &at, &Tensor::from_vec(vec![1.0, 2.0, 4.0], [3]));
    /// assert_eq!(x.to_vec(), [5.0, 0.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn index_add_(&self, dim: i64, index: &Tensor<i64>, source: &Tensor<T>) -> &Self
    where
        T: Float,
    {
        self.assign("index_add_", |e, x| {
            let shape = x.shape();
            let of = || -> Result<Ex<'_>> {
                let d = crate::ty::resolve_dim("index_add_", dim, shape.len())?;
                let s = Ex::new(e, V::Tensor(source.value().clone()));
                let mut want = shape.clone();
                want[d] = index.numel();
                if s.shape() != want || index.ndim() != 1 {
                    let found = format!("{:?} and an index of {:?}", s.shape().as_slice(), index.shape());
                    return Err(Error::shape("index_add_", format!("a source of shape {:?}", want.as_slice()), found));
                }
                let mut along = vec![1; shape.len()];
                along[d] = index.numel();
                let i = Ex::new(e, V::Tensor(index.value().clone())).reshape(&along).expand(&want);
                Ok(&x + s.scatter_add(d, &i, shape[d]))
            };
            of().unwrap_or_else(|err| x.fail(err))
        })
    }
}

/// The picks of an index with their axes in the view that its basic places give.
fn resolve_types(x: &Ex<'_>, index: &[Index]) -> Result<Vec<(usize, Tensor<i64>)>> {
    // the places are cheap views; only the axes are wanted
    Ok(resolve(x, index)?.picks)
}
