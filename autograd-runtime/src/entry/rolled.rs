//! Integers and lists in twins: what `usize` and `&[f64]` are there where the macro understands all their uses. In a
//! trace, a parameter's length and value are inputs, so that a function is traced once for all of them, and loops over
//! them stay loops. Where plain code needs the number or the elements, [`known`] or `Deref`, the trace is given up and
//! made again for these lengths and integers alone: lists are then items of their own, integers numbers.

mod int;
mod list;
mod table;

pub use int::{Int, Integer, Known, convert, int, known, truncated};
pub use list::{AsList, List, Parts, looked_up};
pub(super) use list::{Read, length_of};
pub use table::{AsTable, Row, Table};

use super::args::{Arg, Binder, GradReader, Lifter, Slots, Visitor};
use crate::{
    array::Float,
    emit::{Emit, Ex},
    real::Real,
    tensor::Value,
};
use ndarray::{Array1, Array2, ArrayBase, Data, Ix1, Ix2};
use num_traits::AsPrimitive;

fn emitted(f: impl for<'e> FnOnce(&'e dyn Emit) -> Ex<'e>) -> Value {
    crate::tensor_evaluate(f)
}

/// A parameter that is an integer or list of its trace: its value and length are inputs.
pub struct Rolled<'a, A: ?Sized>(pub &'a A);

macro_rules! rolled_integers {
    ($($t:ty),*) => {$(
        impl Arg for Rolled<'_, $t> {
            type Twin = Int<$t>;
            type Grad = ();
            type GradBuf = ();
            #[inline]
            fn visit(&self, v: &mut Visitor<'_>) {
                if v.listed { v.key.fixed(*self.0) } else { v.integer((*self.0).as_()) }
            }
            #[inline]
            fn slots(&self, s: &mut Slots) {
                let x: i64 = (*self.0).as_();
                s.scalar(x.cast_unsigned());
            }
            fn lift(&self, l: &mut Lifter<'_>) -> Int<$t> {
                if l.listed { Int::number(*self.0) } else { Int::from_value(l.next()) }
            }
            fn collect(&self, _: &mut GradReader<'_>) {}
            fn bind(_: &mut (), _: &mut Binder<'_>) {}
        }
    )*};
}
rolled_integers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

macro_rules! rolled_lists {
    ($([$($g:tt)*] $t:ty, $grad:ty, $buf:ty, |$v:ident| $form:expr;)*) => {$(
        impl<T: Float + Arg<Twin = Real<T>, Grad = T, GradBuf = T>, $($g)*> Arg for Rolled<'_, $t> {
            type Twin = List<T>;
            type Grad = $grad;
            type GradBuf = $buf;
            fn visit(&self, v: &mut Visitor<'_>) {
                if v.listed { self.0.visit(v) } else { v.list(&self.0[..]) }
            }
            fn lift(&self, l: &mut Lifter<'_>) -> List<T> {
                if l.listed {
                    return List::of_items(self.0.iter().map(|x| x.lift(l)).collect());
                }
                List::lifted(l.next())
            }
            fn collect(&self, g: &mut GradReader<'_>) -> $grad {
                if g.listed {
                    return self.0.collect(g);
                }
                let $v: Vec<T> = g.list();
                $form
            }
            fn bind(out: &mut $buf, b: &mut Binder<'_>) {
                if b.listed() { <$t as Arg>::bind(out, b) } else { b.list(&mut out[..]) }
            }
            fn fits(&self, out: &$buf) -> bool {
                self.0.len() == out.len()
            }
        }
    )*};
}
rolled_lists! {
    [] [T], Vec<T>, [T], |v| v;
    [] Vec<T>, Vec<T>, Vec<T>, |v| v;
    [const N: usize] [T; N], [T; N], [T; N], |v| std::array::from_fn(|i| v.get(i).copied().unwrap_or_default());
}

macro_rules! rolled_tables {
    ($([$($g:tt)*] $t:ty, $grad:ty, $buf:ty, |$rows:ident| $form:expr;)*) => {$(
        impl<T: Float + Arg<Twin = Real<T>, Grad = T, GradBuf = T>, const N: usize, $($g)*> Arg for Rolled<'_, $t> {
            type Twin = Table<[Real<T>; N]>;
            type Grad = $grad;
            type GradBuf = $buf;
            fn visit(&self, v: &mut Visitor<'_>) {
                if v.listed {
                    return self.0.visit(v);
                }
                // of empty rows the elements do not tell how many there are
                if N == 0 {
                    v.key.fixed(self.0.len());
                }
                v.list(self.0.as_flattened());
            }
            fn lift(&self, l: &mut Lifter<'_>) -> Self::Twin {
                if l.listed {
                    let items = self.0.as_flattened().iter().map(|x| x.lift(l)).collect();
                    return Table::of_list(List::of_items(items), Int::number(self.0.len()), Int::number(N));
                }
                let list = List::lifted(l.next());
                let rows = if N == 0 { Int::number(self.0.len()) } else { list.len() / N };
                Table::of_list(list, rows, Int::number(N))
            }
            fn collect(&self, g: &mut GradReader<'_>) -> $grad {
                if g.listed {
                    return self.0.collect(g);
                }
                let all: Vec<T> = g.list();
                let mut $rows = all.chunks_exact(N.max(1)).map(|row| std::array::from_fn(|j| row[j]));
                $form
            }
            fn bind(out: &mut $buf, b: &mut Binder<'_>) {
                if b.listed() { <$t as Arg>::bind(out, b) } else { b.list(out.as_flattened_mut()) }
            }
            fn fits(&self, out: &$buf) -> bool {
                self.0.len() == out.len()
            }
        }
    )*};
}
rolled_tables! {
    [] [[T; N]], Vec<[T; N]>, [[T; N]], |rows| rows.by_ref().collect();
    [] Vec<[T; N]>, Vec<[T; N]>, Vec<[T; N]>, |rows| rows.by_ref().collect();
    [const M: usize] [[T; N]; M], [[T; N]; M], [[T; N]; M],
        |rows| std::array::from_fn(|_| rows.next().unwrap_or([T::zero(); N]));
}

/// Arrays of which a body reads elements and lengths: those of a vector as of a slice.
impl<S, T> Arg for Rolled<'_, ArrayBase<S, Ix1>>
where
    S: Data<Elem = T>,
    T: Float + Arg<Twin = Real<T>, Grad = T, GradBuf = T>,
{
    type Twin = List<T>;
    type Grad = Array1<T>;
    type GradBuf = Array1<T>;
    fn visit(&self, v: &mut Visitor<'_>) {
        match self.0.as_slice() {
            Some(all) => Rolled(all).visit(v),
            None => Rolled(&self.0.to_vec()[..]).visit(v),
        }
    }
    fn lift(&self, l: &mut Lifter<'_>) -> List<T> {
        Rolled(&self.0.to_vec()).lift(l)
    }
    fn collect(&self, g: &mut GradReader<'_>) -> Array1<T> {
        Rolled(&self.0.to_vec()).collect(g).into()
    }
    fn bind(out: &mut Array1<T>, b: &mut Binder<'_>) {
        match out.as_slice_mut() {
            Some(out) => Rolled::<[T]>::bind(out, b),
            None => {
                let mut all = out.to_vec();
                Rolled::<[T]>::bind(&mut all, b);
                out.iter_mut().zip(all).for_each(|(o, x)| *o = x);
            }
        }
    }
    fn fits(&self, out: &Array1<T>) -> bool {
        self.0.len() == out.len()
    }
}
/// A matrix as the list of its elements, row by row, and two lengths.
impl<S, T> Arg for Rolled<'_, ArrayBase<S, Ix2>>
where
    S: Data<Elem = T>,
    T: Float + Arg<Twin = Real<T>, Grad = T, GradBuf = T>,
{
    type Twin = Table<Vec<Real<T>>>;
    type Grad = Array2<T>;
    type GradBuf = Array2<T>;
    fn visit(&self, v: &mut Visitor<'_>) {
        Rolled(&self.0.nrows()).visit(v);
        Rolled(&self.0.ncols()).visit(v);
        match self.0.as_slice() {
            Some(all) => Rolled(all).visit(v),
            None => Rolled(&self.0.iter().copied().collect::<Vec<T>>()[..]).visit(v),
        }
    }
    fn lift(&self, l: &mut Lifter<'_>) -> Self::Twin {
        let (rows, cols) = (Rolled(&self.0.nrows()).lift(l), Rolled(&self.0.ncols()).lift(l));
        let list = Rolled(&self.0.iter().copied().collect::<Vec<T>>()).lift(l);
        Table::of_list(list, rows, cols)
    }
    fn collect(&self, g: &mut GradReader<'_>) -> Array2<T> {
        let all = Rolled(&self.0.iter().copied().collect::<Vec<T>>()).collect(g);
        Array2::from_shape_vec(self.0.raw_dim(), all).unwrap_or_else(|_| Array2::zeros(self.0.raw_dim()))
    }
    fn bind(out: &mut Array2<T>, b: &mut Binder<'_>) {
        match out.as_slice_mut() {
            Some(out) => Rolled::<[T]>::bind(out, b),
            None => {
                let mut all: Vec<T> = out.iter().copied().collect();
                Rolled::<[T]>::bind(&mut all, b);
                out.iter_mut().zip(all).for_each(|(o, x)| *o = x);
            }
        }
    }
    fn fits(&self, out: &Array2<T>) -> bool {
        self.0.dim() == out.dim()
    }
}
