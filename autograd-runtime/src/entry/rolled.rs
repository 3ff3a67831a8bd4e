//! Integers and lists in twins: what `usize` and `&[f64]` are there where the macro understands all their uses. In a
//! trace, a parameter's length and value are inputs, so that a function is traced once for all of them, and loops over
//! them stay loops. Where plain code needs the number or the elements, [`known`] or `Deref`, the trace is given up and
//! made again for these lengths and integers alone: lists are then items of their own, integers numbers.

mod int;
mod list;

pub use int::{Int, Integer, Known, convert, int, known};
pub use list::{AsList, List, Parts};

use super::args::{Arg, Binder, GradReader, Lifter, Visitor};
use crate::{
    array::Float,
    emit::{Emit, Ex},
    real::Real,
    tensor::Value,
};
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
