//! `nalgebra`'s vectors and matrices of static size as parameters, results and values of twins. The twin is the same
//! matrix over traced scalars, so that a body has what `nalgebra` gives to any numbers: elements, `+`, `-`, products,
//! `dot`, `cross`, `map`. What `nalgebra` asks a real field for (`norm`, decompositions) is not there, and a literal
//! does not scale a matrix: `v.dot(&v).sqrt()` and `v.map(|x| 2.0 * x)` do.

use super::{
    args::{Arg, Binder, GradReader, Lifter, Slots, Visitor},
    blocks::Block,
    twins::{AsTwin, IntoTwin, LeafReader, Leaves, Out, OutReader, Outcome, Slot, Twinned},
};
use crate::{
    Result,
    array::Float,
    real::{Real, literal},
};
use nalgebra::{DMatrix, SMatrix, Scalar};
use num_traits::{One, Zero};

impl<T: Float> Zero for Real<T> {
    fn zero() -> Self {
        literal(T::zero())
    }
    fn is_zero(&self) -> bool {
        *self == T::zero()
    }
}
impl<T: Float> One for Real<T> {
    fn one() -> Self {
        literal(T::one())
    }
}

/// A matrix of what is made for each element of another, column by column.
fn each<A: Scalar, B: Scalar, const R: usize, const C: usize>(
    m: &SMatrix<A, R, C>,
    mut f: impl FnMut(&A) -> B,
) -> SMatrix<B, R, C> {
    SMatrix::from_fn(|i, j| f(&m[(i, j)]))
}

impl<T, const R: usize, const C: usize> Arg for SMatrix<T, R, C>
where
    T: Float + Arg<Twin = Real<T>, Grad = T, GradBuf = T>,
{
    type Twin = SMatrix<Real<T>, R, C>;
    type Grad = Self;
    type GradBuf = Self;
    fn visit(&self, v: &mut Visitor<'_>) {
        self.iter().for_each(|x| x.visit(v));
    }
    fn slots<'s>(&self, s: &mut Slots<'s>)
    where
        Self: 's,
    {
        self.iter().for_each(|x| x.slots(s));
    }
    fn lift(&self, l: &mut Lifter<'_>) -> Self::Twin {
        each(self, |x| x.lift(l))
    }
    fn collect(&self, g: &mut GradReader<'_>) -> Self {
        each(self, |x| x.collect(g))
    }
    fn bind(out: &mut Self, b: &mut Binder<'_>) {
        out.iter_mut().for_each(|x| T::bind(x, b));
    }
}
impl<T, const R: usize, const C: usize> Out for SMatrix<T, R, C>
where
    T: Float + Arg<Twin = Real<T>, Grad = T, GradBuf = T> + Out<Value = T>,
{
    type Value = Self;
    type Ct<'c> = &'c Self;
    fn read(r: &mut OutReader<'_>) -> Self {
        SMatrix::from_fn(|_, _| T::read(r))
    }
}
impl<T: Float, const R: usize, const C: usize> Twinned for SMatrix<Real<T>, R, C> {
    fn leaves(&self, out: &mut Leaves) {
        self.iter().for_each(|x| x.leaves(out));
    }
    fn from_leaves(&self, next: &mut LeafReader<'_>) -> Self {
        each(self, |x| x.from_leaves(next))
    }
}
impl<T: Float, const R: usize, const C: usize> Outcome for SMatrix<Real<T>, R, C> {
    type Value = Self;
    fn outcome(self) -> Result<Self> {
        Ok(self)
    }
}
impl<T, const R: usize, const C: usize> IntoTwin<SMatrix<T, R, C>> for SMatrix<Real<T>, R, C>
where
    SMatrix<T, R, C>: Arg<Twin = Self>,
{
    fn into_twin(self) -> Self {
        self
    }
}
impl<A: Arg<Twin = Self> + ?Sized, T: Float, const R: usize, const C: usize> AsTwin<A> for SMatrix<Real<T>, R, C> {
    fn as_twin<'s>(&'s self, _: &'s Slot) -> &'s Self {
        self
    }
}

/// As many rows of a matrix's elements, column by column: what `nalgebra` solves with.
fn rows<T: Scalar + Copy, const R: usize, const C: usize>(rows: &[SMatrix<T, R, C>]) -> DMatrix<T> {
    DMatrix::from_row_iterator(rows.len(), R * C, rows.iter().flatten().copied())
}

/// A row of derivatives becomes a row of a matrix.
impl<T: Scalar + Copy, const R: usize, const C: usize> Block for SMatrix<T, R, C> {
    type Stacked = DMatrix<T>;
    type Matrix = Vec<Vec<Self>>;
    type Fixed<const N: usize> = DMatrix<T>;
    type Shaped = DMatrix<T>;
    type Cube = Vec<Vec<Self>>;
    crate::__block_under!();
    type Over<H: Block> = H::Stacked;
    fn count(&self) -> usize {
        R * C
    }
    fn stacked(all: Vec<Self>) -> DMatrix<T> {
        rows(&all)
    }
    fn matrix(rows: Vec<Vec<Self>>) -> Vec<Vec<Self>> {
        rows
    }
    fn fixed<const N: usize>(row: impl FnMut(usize) -> Self) -> DMatrix<T> {
        rows(&std::array::from_fn::<Self, N, _>(row))
    }
    fn shaped(all: Vec<Self>, _: &[usize]) -> DMatrix<T> {
        rows(&all)
    }
    fn cube(rows: Vec<Vec<Self>>, _: &[usize]) -> Vec<Vec<Self>> {
        rows
    }
    fn over<H: Block>(&self, first: usize, row: &impl Fn(usize) -> H) -> H::Stacked {
        H::stacked((first..first + R * C).map(row).collect())
    }
}
impl<T: Scalar + Copy> Block for DMatrix<T> {
    crate::__plain_block!();
    type Over<H: Block> = H::Stacked;
    fn count(&self) -> usize {
        self.len()
    }
    fn over<H: Block>(&self, first: usize, row: &impl Fn(usize) -> H) -> H::Stacked {
        H::stacked((first..first + self.len()).map(row).collect())
    }
}
