//! The forms of Jacobians and Hessians: rows, each a gradient, are put together as the value that they belong to says.
//! A row of `[f64; N]` over a value of `[f64; M]` gives `[[f64; N]; M]`, over a tensor a tensor, of slices a matrix.

use super::arrays::{NdArray, dimension, extents};
use crate::{array::Float, real::Real, tensor::Tensor, ty::Shape};
use ndarray::{Array, Array2, Dimension, Ix0, Ix1, Ix2, Ix3, Ix4, Ix5, Ix6, IxDyn};
use smallvec::SmallVec;

/// A value or gradient that matrices of derivatives are made of. "As many" below is a number of rows.
pub trait Block: Sized {
    /// As many, which is known at run time.
    type Stacked: Block;
    /// As many rows of a sequence of it.
    type Matrix: Block;
    /// `N` of it.
    type Fixed<const N: usize>: Block;
    /// As many as a tensor has elements.
    type Shaped: Block;
    /// As many rows of a sequence of it as a tensor has elements.
    type Cube: Block;
    /// As many as an array of this rank has elements.
    type Under<V: Rank>: Block;
    /// One `H` for each of its floats.
    type Over<H: Block>: Block;
    /// Its floats.
    fn count(&self) -> usize;
    /// See [`Block::Stacked`].
    fn stacked(rows: Vec<Self>) -> Self::Stacked;
    /// See [`Block::Matrix`].
    fn matrix(rows: Vec<Vec<Self>>) -> Self::Matrix;
    /// See [`Block::Fixed`].
    fn fixed<const N: usize>(rows: [Self; N]) -> Self::Fixed<N>;
    /// See [`Block::Shaped`].
    fn shaped(rows: Vec<Self>, shape: &[usize]) -> Self::Shaped;
    /// See [`Block::Cube`].
    fn cube(rows: Vec<Vec<Self>>, shape: &[usize]) -> Self::Cube;
    /// See [`Block::Under`].
    fn under<V: Rank>(rows: Vec<Self>, dim: &V) -> Self::Under<V>;
    /// Takes a row for each of its floats; `None` if they run out.
    fn over<H: Block>(&self, rows: &mut impl Iterator<Item = H>) -> Option<Self::Over<H>>;
}

/// The number of axes of an array: what it is with those of another one behind.
pub trait Rank: Dimension {
    /// One more.
    type After1: Rank;
    /// Two more.
    type After2: Rank;
    /// Those of both.
    type Then<D: Rank>: Rank;
}
macro_rules! ranks {
    ($($d:ty: $one:ty, $two:ty, |$b:ident| $then:ty;)*) => {$(
        impl Rank for $d {
            type After1 = $one;
            type After2 = $two;
            type Then<$b: Rank> = $then;
        }
    )*};
}
ranks! {
    Ix0: Ix1, Ix2, |D| D; Ix1: Ix2, Ix3, |D| D::After1; Ix2: Ix3, Ix4, |D| D::After2; Ix3: Ix4, Ix5, |D| IxDyn;
    Ix4: Ix5, Ix6, |D| IxDyn; Ix5: Ix6, IxDyn, |D| IxDyn; Ix6: IxDyn, IxDyn, |D| IxDyn; IxDyn: IxDyn, IxDyn, |D| IxDyn;
}

/// Forms of types that nothing more compact is known for: sequences of them, under arrays too.
#[doc(hidden)]
#[macro_export]
macro_rules! __plain_block {
    () => {
        $crate::__plain_rows!();
        $crate::__block_under!();
    };
}

/// The same without those under arrays.
#[doc(hidden)]
#[macro_export]
macro_rules! __plain_rows {
    // a struct may have an N of its own
    () => {
        type Stacked = ::std::vec::Vec<Self>;
        type Matrix = ::std::vec::Vec<::std::vec::Vec<Self>>;
        type Fixed<const __N: usize> = [Self; __N];
        type Shaped = ::std::vec::Vec<Self>;
        type Cube = ::std::vec::Vec<::std::vec::Vec<Self>>;
        fn stacked(rows: ::std::vec::Vec<Self>) -> ::std::vec::Vec<Self> {
            rows
        }
        fn matrix(rows: ::std::vec::Vec<::std::vec::Vec<Self>>) -> ::std::vec::Vec<::std::vec::Vec<Self>> {
            rows
        }
        fn fixed<const __N: usize>(rows: [Self; __N]) -> [Self; __N] {
            rows
        }
        fn shaped(rows: ::std::vec::Vec<Self>, _: &[usize]) -> ::std::vec::Vec<Self> {
            rows
        }
        fn cube(rows: ::std::vec::Vec<::std::vec::Vec<Self>>, _: &[usize]) -> ::std::vec::Vec<::std::vec::Vec<Self>> {
            rows
        }
    };
}

/// The forms of rows under an array where they are those of rows under a sequence.
#[doc(hidden)]
#[macro_export]
macro_rules! __block_under {
    () => {
        type Under<V: $crate::entry::Rank> = <Self as $crate::entry::Block>::Stacked;
        fn under<V: $crate::entry::Rank>(rows: ::std::vec::Vec<Self>, _: &V) -> Self::Under<V> {
            <Self as $crate::entry::Block>::stacked(rows)
        }
    };
}

fn rectangle<T: Float>(rows: Vec<Vec<T>>) -> Array2<T> {
    let (m, n) = (rows.len(), rows.first().map_or(0, Vec::len));
    let all: Vec<T> = rows.into_iter().flatten().collect();
    Array2::from_shape_vec((m, n), all).unwrap_or_else(|_| Array2::zeros((0, 0)))
}

/// An array of these elements, if there are as many as its shape says.
pub(super) fn shaped<T: Float, D: Dimension>(all: Vec<T>, shape: &[usize]) -> Array<T, D> {
    let dim: D = dimension(shape);
    Array::from_shape_vec(dim.clone(), all).unwrap_or_else(|_| Array::zeros(dim))
}

macro_rules! floats {
    ($($f:ty),*) => {$(
        impl Block for $f {
            type Stacked = Vec<$f>;
            type Matrix = Array2<$f>;
            type Fixed<const N: usize> = [$f; N];
            type Shaped = Tensor<$f>;
            type Cube = Tensor<$f>;
            type Under<V: Rank> = Array<$f, V>;
            type Over<H: Block> = H;
            fn count(&self) -> usize { 1 }
            fn stacked(rows: Vec<$f>) -> Vec<$f> { rows }
            fn matrix(rows: Vec<Vec<$f>>) -> Array2<$f> { rectangle(rows) }
            fn fixed<const N: usize>(rows: [$f; N]) -> [$f; N] { rows }
            fn shaped(rows: Vec<$f>, shape: &[usize]) -> Tensor<$f> { Tensor::from_vec(rows, shape) }
            fn cube(rows: Vec<Vec<$f>>, shape: &[usize]) -> Tensor<$f> {
                let n = rows.first().map_or(0, Vec::len);
                Tensor::from_vec(rows.concat(), &[shape, &[n]].concat()[..])
            }
            fn under<V: Rank>(rows: Vec<$f>, dim: &V) -> Array<$f, V> { shaped(rows, dim.slice()) }
            fn over<H: Block>(&self, rows: &mut impl Iterator<Item = H>) -> Option<H> { rows.next() }
        }
    )*};
}
floats!(f32, f64);

/// The floats of an annotated body, as plain ones are.
impl<T: Float> Block for Real<T> {
    type Stacked = Vec<Self>;
    type Matrix = NdArray<Self, Ix2>;
    type Fixed<const N: usize> = [Self; N];
    type Shaped = Tensor<T>;
    type Cube = Tensor<T>;
    type Under<V: Rank> = NdArray<Self, V>;
    type Over<H: Block> = H;
    fn count(&self) -> usize {
        1
    }
    fn stacked(rows: Vec<Self>) -> Vec<Self> {
        rows
    }
    fn matrix(rows: Vec<Vec<Self>>) -> Self::Matrix {
        let dim = ndarray::Dim([rows.len(), rows.first().map_or(0, Vec::len)]);
        NdArray::of_elements(rows.concat(), dim)
    }
    fn fixed<const N: usize>(rows: [Self; N]) -> [Self; N] {
        rows
    }
    fn shaped(rows: Vec<Self>, shape: &[usize]) -> Tensor<T> {
        NdArray::of_elements(rows, IxDyn(shape)).whole()
    }
    fn cube(rows: Vec<Vec<Self>>, shape: &[usize]) -> Tensor<T> {
        let n = rows.first().map_or(0, Vec::len);
        Self::shaped(rows.concat(), &[shape, &[n]].concat())
    }
    fn under<V: Rank>(rows: Vec<Self>, dim: &V) -> Self::Under<V> {
        NdArray::of_elements(rows, dim.clone())
    }
    fn over<H: Block>(&self, rows: &mut impl Iterator<Item = H>) -> Option<H> {
        rows.next()
    }
}

impl<A: Block> Block for Vec<A> {
    type Stacked = A::Matrix;
    type Matrix = Vec<Vec<Vec<A>>>;
    type Fixed<const N: usize> = A::Matrix;
    type Shaped = A::Cube;
    type Cube = Vec<Vec<Vec<A>>>;
    crate::__block_under!();
    type Over<H: Block> = <A::Over<H> as Block>::Stacked;
    fn count(&self) -> usize {
        self.iter().map(A::count).sum()
    }
    fn stacked(rows: Vec<Self>) -> Self::Stacked {
        A::matrix(rows)
    }
    fn matrix(rows: Vec<Vec<Self>>) -> Self::Matrix {
        rows
    }
    fn fixed<const N: usize>(rows: [Self; N]) -> Self::Fixed<N> {
        A::matrix(rows.into())
    }
    fn shaped(rows: Vec<Self>, shape: &[usize]) -> Self::Shaped {
        A::cube(rows, shape)
    }
    fn cube(rows: Vec<Vec<Self>>, _: &[usize]) -> Self::Cube {
        rows
    }
    fn over<H: Block>(&self, rows: &mut impl Iterator<Item = H>) -> Option<Self::Over<H>> {
        self.iter().map(|a| a.over(rows)).collect::<Option<Vec<_>>>().map(Block::stacked)
    }
}

impl<A: Block, const K: usize> Block for [A; K] {
    type Stacked = A::Matrix;
    type Matrix = Vec<Vec<[A; K]>>;
    type Fixed<const N: usize> = [[A; K]; N];
    type Shaped = A::Cube;
    type Cube = Vec<Vec<[A; K]>>;
    crate::__block_under!();
    type Over<H: Block> = <A::Over<H> as Block>::Fixed<K>;
    fn count(&self) -> usize {
        self.iter().map(A::count).sum()
    }
    fn stacked(rows: Vec<Self>) -> Self::Stacked {
        A::matrix(rows.into_iter().map(Vec::from).collect())
    }
    fn matrix(rows: Vec<Vec<Self>>) -> Self::Matrix {
        rows
    }
    fn fixed<const N: usize>(rows: [Self; N]) -> [Self; N] {
        rows
    }
    fn shaped(rows: Vec<Self>, shape: &[usize]) -> Self::Shaped {
        A::cube(rows.into_iter().map(Vec::from).collect(), shape)
    }
    fn cube(rows: Vec<Vec<Self>>, _: &[usize]) -> Self::Cube {
        rows
    }
    fn over<H: Block>(&self, rows: &mut impl Iterator<Item = H>) -> Option<Self::Over<H>> {
        let all = self.each_ref().map(|a| a.over(rows));
        all.iter().all(Option::is_some).then(|| Block::fixed(all.map(|row| row.expect("all are there"))))
    }
}

impl<T: Float> Block for Tensor<T> {
    type Stacked = Tensor<T>;
    type Matrix = Vec<Vec<Tensor<T>>>;
    type Fixed<const N: usize> = [Tensor<T>; N];
    type Shaped = Tensor<T>;
    type Cube = Vec<Vec<Tensor<T>>>;
    crate::__block_under!();
    type Over<H: Block> = H::Shaped;
    fn count(&self) -> usize {
        self.numel()
    }
    fn stacked(rows: Vec<Self>) -> Self {
        let n = rows.len();
        Self::shaped(rows, &[n])
    }
    fn matrix(rows: Vec<Vec<Self>>) -> Self::Matrix {
        rows
    }
    fn fixed<const N: usize>(rows: [Self; N]) -> [Self; N] {
        rows
    }
    fn shaped(rows: Vec<Self>, shape: &[usize]) -> Self {
        let own: Shape = rows.first().map_or_else(Shape::new, |r| Shape::from_slice(r.shape()));
        let whole = [shape, &own].concat();
        if !rows.iter().any(|r| r.value().is_traced() || r.requires_grad()) {
            let mut all: Vec<T> = Vec::with_capacity(rows.iter().map(Tensor::numel).sum());
            rows.iter().for_each(|r| all.extend(r.to_vec()));
            return Tensor::from_vec(all, &whole[..]);
        }
        // in an annotated body the rows are values of a trace or of the tape
        Tensor::stack(&rows.iter().collect::<Vec<_>>(), 0).reshape(&extents(&whole))
    }
    fn cube(rows: Vec<Vec<Self>>, _: &[usize]) -> Self::Cube {
        rows
    }
    fn over<H: Block>(&self, rows: &mut impl Iterator<Item = H>) -> Option<H::Shaped> {
        let rows: Vec<H> = rows.take(self.numel()).collect();
        (rows.len() == self.numel()).then(|| H::shaped(rows, self.shape()))
    }
}

impl<A: Block> Block for Option<A> {
    crate::__plain_block!();
    type Over<H: Block> = Option<A::Over<H>>;
    fn count(&self) -> usize {
        self.as_ref().map_or(0, A::count)
    }
    fn over<H: Block>(&self, rows: &mut impl Iterator<Item = H>) -> Option<Self::Over<H>> {
        match self {
            Some(a) => a.over(rows).map(Some),
            None => Some(None),
        }
    }
}

/// A Jacobian of arrays has the axes of the value, then those of the argument.
impl<T: Float, D: Rank> Block for Array<T, D> {
    crate::__plain_rows!();
    type Under<V: Rank> = Array<T, V::Then<D>>;
    type Over<H: Block> = H::Under<D>;
    fn count(&self) -> usize {
        self.len()
    }
    fn under<V: Rank>(rows: Vec<Self>, dim: &V) -> Self::Under<V> {
        let own = rows.first().map_or_else(D::default, Self::raw_dim);
        let all = rows.into_iter().flatten().collect();
        shaped(all, &[dim.slice(), own.slice()].concat())
    }
    fn over<H: Block>(&self, rows: &mut impl Iterator<Item = H>) -> Option<Self::Over<H>> {
        let rows: Vec<H> = rows.take(self.len()).collect();
        (rows.len() == self.len()).then(|| H::under(rows, &self.raw_dim()))
    }
}

/// The same of the arrays of an annotated body.
impl<T: Float, D: Rank> Block for NdArray<Real<T>, D> {
    crate::__plain_rows!();
    type Under<V: Rank> = NdArray<Real<T>, V::Then<D>>;
    type Over<H: Block> = H::Under<D>;
    fn count(&self) -> usize {
        self.raw_dim().size()
    }
    fn under<V: Rank>(rows: Vec<Self>, dim: &V) -> Self::Under<V> {
        let own = rows.first().map_or_else(D::default, Self::raw_dim);
        let rows: Vec<Tensor<T>> = rows.iter().map(NdArray::whole).collect();
        NdArray::wrap(Tensor::shaped(rows, dim.slice()).reshape(&extents(&[dim.slice(), own.slice()].concat())))
    }
    fn over<H: Block>(&self, rows: &mut impl Iterator<Item = H>) -> Option<Self::Over<H>> {
        let n = self.count();
        let rows: Vec<H> = rows.take(n).collect();
        (rows.len() == n).then(|| H::under(rows, &self.raw_dim()))
    }
}

/// What has no derivative.
macro_rules! statics {
    ($($t:ty),*) => {$(
        impl Block for $t {
            crate::__plain_block!();
            type Over<H: Block> = ();
            fn count(&self) -> usize { 0 }
            fn over<H: Block>(&self, _: &mut impl Iterator<Item = H>) -> Option<()> { Some(()) }
        }
    )*};
}
statics!((), bool, char, String, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, Tensor<i64>, Tensor<bool>);

macro_rules! tuples {
    ($($($t:ident $i:tt),+;)*) => {$(
        impl<$($t: Block),+> Block for ($($t,)+) {
            type Stacked = ($($t::Stacked,)+);
            type Matrix = ($($t::Matrix,)+);
            type Fixed<const N: usize> = ($($t::Fixed<N>,)+);
            type Shaped = ($($t::Shaped,)+);
            type Cube = ($($t::Cube,)+);
            type Under<Dim: Rank> = ($($t::Under<Dim>,)+);
            type Over<Rows: Block> = ($($t::Over<Rows>,)+);
            fn count(&self) -> usize { 0 $(+ self.$i.count())+ }
            fn stacked(rows: Vec<Self>) -> Self::Stacked {
                let mut parts = ($(Vec::<$t>::new(),)+);
                rows.into_iter().for_each(|r| { $(parts.$i.push(r.$i);)+ });
                ($($t::stacked(parts.$i),)+)
            }
            fn matrix(rows: Vec<Vec<Self>>) -> Self::Matrix {
                let mut parts = ($(Vec::<Vec<$t>>::new(),)+);
                for row in rows {
                    let mut now = ($(Vec::<$t>::with_capacity(row.len()),)+);
                    row.into_iter().for_each(|r| { $(now.$i.push(r.$i);)+ });
                    $(parts.$i.push(now.$i);)+
                }
                ($($t::matrix(parts.$i),)+)
            }
            fn fixed<const N: usize>(rows: [Self; N]) -> Self::Fixed<N> {
                // many of them do not lie on the stack once more
                let mut rows: SmallVec<[_; 4]> = rows.into_iter().map(|r| ($(Some(r.$i),)+)).collect();
                ($($t::fixed(std::array::from_fn(|k| rows[k].$i.take().expect("each is taken once"))),)+)
            }
            fn shaped(rows: Vec<Self>, shape: &[usize]) -> Self::Shaped {
                let mut parts = ($(Vec::<$t>::new(),)+);
                rows.into_iter().for_each(|r| { $(parts.$i.push(r.$i);)+ });
                ($($t::shaped(parts.$i, shape),)+)
            }
            fn cube(rows: Vec<Vec<Self>>, shape: &[usize]) -> Self::Cube {
                let mut parts = ($(Vec::<Vec<$t>>::new(),)+);
                for row in rows {
                    let mut now = ($(Vec::<$t>::with_capacity(row.len()),)+);
                    row.into_iter().for_each(|r| { $(now.$i.push(r.$i);)+ });
                    $(parts.$i.push(now.$i);)+
                }
                ($($t::cube(parts.$i, shape),)+)
            }
            fn under<Dim: Rank>(rows: Vec<Self>, dim: &Dim) -> Self::Under<Dim> {
                let mut parts = ($(Vec::<$t>::new(),)+);
                rows.into_iter().for_each(|r| { $(parts.$i.push(r.$i);)+ });
                ($($t::under(parts.$i, dim),)+)
            }
            fn over<Rows: Block>(&self, rows: &mut impl Iterator<Item = Rows>) -> Option<Self::Over<Rows>> {
                Some(($(self.$i.over(rows)?,)+))
            }
        }
    )*};
}
tuples! {
    A 0; A 0, B 1; A 0, B 1, C 2; A 0, B 1, C 2, D 3; A 0, B 1, C 2, D 3, E 4; A 0, B 1, C 2, D 3, E 4, F 5;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6; A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
}
