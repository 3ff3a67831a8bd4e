//! The forms of Jacobians and Hessians: rows, each a gradient, are put together as the value that they belong to says.
//! A row of `[f64; N]` over a value of `[f64; M]` gives `[[f64; N]; M]`, over a tensor a tensor, of slices a matrix.

use super::arrays::{NdArray, dimension, extents};
use crate::{array::Float, real::Real, tensor::Tensor, ty::Shape};
use ndarray::{Array, Array2, Dimension, Ix0, Ix1, Ix2, Ix3, Ix4, Ix5, Ix6, IxDyn};

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
    /// See [`Block::Fixed`]. Each row is asked for once.
    fn fixed<const N: usize>(row: impl FnMut(usize) -> Self) -> Self::Fixed<N>;
    /// See [`Block::Shaped`].
    fn shaped(rows: Vec<Self>, shape: &[usize]) -> Self::Shaped;
    /// See [`Block::Cube`].
    fn cube(rows: Vec<Vec<Self>>, shape: &[usize]) -> Self::Cube;
    /// See [`Block::Under`].
    fn under<V: Rank>(rows: Vec<Self>, dim: &V) -> Self::Under<V>;
    /// What has a row for each of its floats, which are those from `first` on.
    fn over<H: Block>(&self, first: usize, row: &impl Fn(usize) -> H) -> Self::Over<H>;
}

/// As many rows with parts lie on the stack before they are taken apart.
const FEW: usize = 4;

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
        fn fixed<const __N: usize>(row: impl ::core::ops::FnMut(usize) -> Self) -> [Self; __N] {
            ::core::array::from_fn(row)
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
            #[inline]
            fn fixed<const N: usize>(row: impl FnMut(usize) -> $f) -> [$f; N] { std::array::from_fn(row) }
            fn shaped(rows: Vec<$f>, shape: &[usize]) -> Tensor<$f> { Tensor::from_vec(rows, shape) }
            fn cube(rows: Vec<Vec<$f>>, shape: &[usize]) -> Tensor<$f> {
                let n = rows.first().map_or(0, Vec::len);
                Tensor::from_vec(rows.concat(), &[shape, &[n]].concat()[..])
            }
            fn under<V: Rank>(rows: Vec<$f>, dim: &V) -> Array<$f, V> { shaped(rows, dim.slice()) }
            #[inline]
            fn over<H: Block>(&self, first: usize, row: &impl Fn(usize) -> H) -> H { row(first) }
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
    fn fixed<const N: usize>(row: impl FnMut(usize) -> Self) -> [Self; N] {
        std::array::from_fn(row)
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
    fn over<H: Block>(&self, first: usize, row: &impl Fn(usize) -> H) -> H {
        row(first)
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
    fn fixed<const N: usize>(row: impl FnMut(usize) -> Self) -> Self::Fixed<N> {
        A::matrix((0..N).map(row).collect())
    }
    fn shaped(rows: Vec<Self>, shape: &[usize]) -> Self::Shaped {
        A::cube(rows, shape)
    }
    fn cube(rows: Vec<Vec<Self>>, _: &[usize]) -> Self::Cube {
        rows
    }
    fn over<H: Block>(&self, first: usize, row: &impl Fn(usize) -> H) -> Self::Over<H> {
        let mut next = first;
        let of_item = |a: &A| {
            let at = next;
            next += a.count();
            a.over(at, row)
        };
        Block::stacked(self.iter().map(of_item).collect())
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
    fn fixed<const N: usize>(row: impl FnMut(usize) -> Self) -> [Self; N] {
        std::array::from_fn(row)
    }
    fn shaped(rows: Vec<Self>, shape: &[usize]) -> Self::Shaped {
        A::cube(rows.into_iter().map(Vec::from).collect(), shape)
    }
    fn cube(rows: Vec<Vec<Self>>, _: &[usize]) -> Self::Cube {
        rows
    }
    #[inline]
    fn over<H: Block>(&self, first: usize, row: &impl Fn(usize) -> H) -> Self::Over<H> {
        let mut next = first;
        let starts = self.each_ref().map(|a| {
            next += a.count();
            next - a.count()
        });
        Block::fixed(|k| self[k].over(starts[k], row))
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
    fn fixed<const N: usize>(row: impl FnMut(usize) -> Self) -> [Self; N] {
        std::array::from_fn(row)
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
    fn over<H: Block>(&self, first: usize, row: &impl Fn(usize) -> H) -> H::Shaped {
        H::shaped((first..first + self.numel()).map(row).collect(), self.shape())
    }
}

impl<A: Block> Block for Option<A> {
    crate::__plain_block!();
    type Over<H: Block> = Option<A::Over<H>>;
    fn count(&self) -> usize {
        self.as_ref().map_or(0, A::count)
    }
    fn over<H: Block>(&self, first: usize, row: &impl Fn(usize) -> H) -> Self::Over<H> {
        self.as_ref().map(|a| a.over(first, row))
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
    fn over<H: Block>(&self, first: usize, row: &impl Fn(usize) -> H) -> Self::Over<H> {
        H::under((first..first + self.len()).map(row).collect(), &self.raw_dim())
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
    fn over<H: Block>(&self, first: usize, row: &impl Fn(usize) -> H) -> Self::Over<H> {
        H::under((first..first + self.count()).map(row).collect(), &self.raw_dim())
    }
}

/// What has no derivative.
macro_rules! statics {
    ($($t:ty),*) => {$(
        impl Block for $t {
            crate::__plain_block!();
            type Over<H: Block> = ();
            fn count(&self) -> usize { 0 }
            fn over<H: Block>(&self, _: usize, _: &impl Fn(usize) -> H) {}
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
            #[inline]
            fn fixed<const N: usize>(mut row: impl FnMut(usize) -> Self) -> Self::Fixed<N> {
                let mut apart = |k| {
                    let row = row(k);
                    ($(Some(row.$i),)+)
                };
                let parts = |rows: &mut [($(Option<$t>,)+)]| {
                    ($($t::fixed(|k| rows[k].$i.take().expect("each is asked for once")),)+)
                };
                if N > FEW {
                    return parts(&mut (0..N).map(apart).collect::<Vec<_>>());
                }
                parts(&mut std::array::from_fn::<_, N, _>(&mut apart))
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
            #[inline]
            fn over<Rows: Block>(&self, first: usize, row: &impl Fn(usize) -> Rows) -> Self::Over<Rows> {
                let mut end = first;
                ($({
                    let n = self.$i.count();
                    end += n;
                    self.$i.over(end - n, row)
                },)+)
            }
        }
    )*};
}
tuples! {
    A 0; A 0, B 1; A 0, B 1, C 2; A 0, B 1, C 2, D 3; A 0, B 1, C 2, D 3, E 4; A 0, B 1, C 2, D 3, E 4, F 5;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6; A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
}
