//! Integers and lists in twins: what `usize` and `&[f64]` are there where the macro understands all their uses. In a
//! trace, a parameter's length and value are inputs, so that a function is traced once for all of them, and loops over
//! them stay loops. Where plain code needs the number or the elements, [`known`] or `Deref`, the trace is given up and
//! made again for these lengths and integers alone: lists are then items of their own, integers numbers.

mod int;
mod list;
mod table;

pub use int::{Int, Integer, Known, convert, int, known, truncated};
pub use list::{AsList, IntoList, List, Parts, Unrolled, found, listed, looked_up};
pub(super) use list::{Read, length_of};
pub use table::{AsTable, Row, Table};

use super::{
    args::{Arg, Binder, GradReader, Lifter, Slots, Visitor},
    blocks::shaped,
};
use crate::{
    array::Float,
    emit::{Emit, Ex},
    real::Real,
    tensor::Value,
};
use ndarray::{Array, ArrayBase, ArrayRef, Data, Dimension, Ix1, Ix2};
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
            fn slots<'s>(&self, s: &mut Slots<'s>)
            where
                Self: 's,
            {
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
            #[inline]
            fn slots<'s>(&self, s: &mut Slots<'s>)
            where
                Self: 's,
            {
                let all: &'s $t = self.0;
                s.list(&all[..]);
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
            #[inline]
            fn slots<'s>(&self, s: &mut Slots<'s>)
            where
                Self: 's,
            {
                let all: &'s $t = self.0;
                if N == 0 { s.refuse() } else { s.list(all.as_flattened()) }
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

/// The elements of an array as a list; nothing is copied of one that is row-major.
fn visit_elements<T: Float + Arg, D: Dimension>(a: &ArrayRef<T, D>, v: &mut Visitor<'_>) {
    match a.as_slice() {
        _ if v.listed => {
            v.key.fixed(a.len());
            a.iter().for_each(|x| x.visit(v));
        }
        Some(all) => v.list(all),
        None => v.list(&a.iter().copied().collect::<Vec<T>>()),
    }
}
fn lift_elements<T: Float + Arg<Twin = Real<T>>, D: Dimension>(a: &ArrayRef<T, D>, l: &mut Lifter<'_>) -> List<T> {
    if l.listed { List::of_items(a.iter().map(|x| x.lift(l)).collect()) } else { List::lifted(l.next()) }
}
fn collect_elements<T, D: Dimension>(a: &ArrayRef<T, D>, g: &mut GradReader<'_>) -> Array<T, D>
where
    T: Float + Arg<Grad = T>,
{
    let all = if g.listed { a.iter().map(|x| x.collect(g)).collect() } else { g.list() };
    shaped(all, a.shape())
}
fn bind_elements<T: Float + Arg<GradBuf = T>, D: Dimension>(out: &mut Array<T, D>, b: &mut Binder<'_>) {
    if b.listed() {
        return out.iter_mut().for_each(|x| T::bind(x, b));
    }
    match out.as_slice_mut() {
        Some(out) => b.list(out),
        None => {
            let mut all: Vec<T> = out.iter().copied().collect();
            b.list(&mut all);
            out.iter_mut().zip(all).for_each(|(o, x)| *o = x);
        }
    }
}

/// A vector of which a body reads elements and its length, as a slice.
impl<S, T> Arg for Rolled<'_, ArrayBase<S, Ix1>>
where
    S: Data<Elem = T>,
    T: Float + Arg<Twin = Real<T>, Grad = T, GradBuf = T>,
{
    type Twin = List<T>;
    type Grad = Array<T, Ix1>;
    type GradBuf = Array<T, Ix1>;
    fn visit(&self, v: &mut Visitor<'_>) {
        visit_elements(self.0, v);
    }
    fn lift(&self, l: &mut Lifter<'_>) -> List<T> {
        lift_elements(self.0, l)
    }
    fn collect(&self, g: &mut GradReader<'_>) -> Self::Grad {
        collect_elements(self.0, g)
    }
    fn bind(out: &mut Self::GradBuf, b: &mut Binder<'_>) {
        bind_elements(out, b);
    }
    fn fits(&self, out: &Self::GradBuf) -> bool {
        self.0.shape() == out.shape()
    }
}
/// A matrix as two lengths and the list of its elements, row by row.
impl<S, T> Arg for Rolled<'_, ArrayBase<S, Ix2>>
where
    S: Data<Elem = T>,
    T: Float + Arg<Twin = Real<T>, Grad = T, GradBuf = T>,
{
    type Twin = Table<Vec<Real<T>>>;
    type Grad = Array<T, Ix2>;
    type GradBuf = Array<T, Ix2>;
    fn visit(&self, v: &mut Visitor<'_>) {
        Rolled(&self.0.nrows()).visit(v);
        Rolled(&self.0.ncols()).visit(v);
        visit_elements(self.0, v);
    }
    fn lift(&self, l: &mut Lifter<'_>) -> Self::Twin {
        let (rows, cols) = (Rolled(&self.0.nrows()).lift(l), Rolled(&self.0.ncols()).lift(l));
        Table::of_list(lift_elements(self.0, l), rows, cols)
    }
    fn collect(&self, g: &mut GradReader<'_>) -> Self::Grad {
        collect_elements(self.0, g)
    }
    fn bind(out: &mut Self::GradBuf, b: &mut Binder<'_>) {
        bind_elements(out, b);
    }
    fn fits(&self, out: &Self::GradBuf) -> bool {
        self.0.shape() == out.shape()
    }
}
