//! Tables of twins: `&[[f64; 3]]` becomes `&Table<[Real<f64>; 3]>`, one list of all elements, row by row. A row is a part
//! of that list.

use super::super::{
    args::Arg,
    twins::{AsTwin, IntoTwin, LeafReader, Leaves, Slot, Twinned},
};
use super::Int;
use super::list::{Form, List, Read, Unrolled, within};
use crate::{
    array::Float,
    real::{Real, literal},
};
use std::{cell::OnceCell, ops};

/// What a row is to plain code.
pub trait Row: Clone + 'static {
    /// The type of its elements.
    type Float: Float;
    #[doc(hidden)]
    fn of(items: &[Real<Self::Float>]) -> Self;
    #[doc(hidden)]
    fn items(&self) -> &[Real<Self::Float>];
}
impl<T: Float, const N: usize> Row for [Real<T>; N] {
    type Float = T;
    fn of(items: &[Real<T>]) -> Self {
        std::array::from_fn(|i| items.get(i).copied().unwrap_or_else(|| literal(T::zero())))
    }
    fn items(&self) -> &[Real<T>] {
        self
    }
}
impl<T: Float> Row for Vec<Real<T>> {
    type Float = T;
    fn of(items: &[Real<T>]) -> Self {
        items.to_vec()
    }
    fn items(&self) -> &[Real<T>] {
        self
    }
}

/// A table of floats of a twin: rows of equal lengths.
#[derive(Clone)]
pub struct Table<R: Row> {
    list: List<R::Float>,
    rows: Int<usize>,
    cols: Int<usize>,
    /// The rows, for plain code that has asked for them.
    read: OnceCell<Box<Read<R>>>,
}

impl<R: Row> Table<R> {
    pub(in crate::entry) fn of_list(list: List<R::Float>, rows: Int<usize>, cols: Int<usize>) -> Table<R> {
        Table { list, rows, cols, read: OnceCell::new() }
    }
    /// Of rows as long as the first.
    fn of_rows(rows: &[R], cols: usize) -> Table<R> {
        let items = rows.iter().flat_map(|row| row.items().iter().copied());
        Table::of_list(List::of(items), Int::number(rows.len()), Int::number(cols))
    }
    /// `rows` times `cols` times the same.
    #[track_caller]
    pub fn filled(x: impl Into<Real<R::Float>>, cols: impl Into<Int<usize>>, rows: impl Into<Int<usize>>) -> Table<R> {
        let (cols, rows) = (cols.into(), rows.into());
        Table::of_list(List::repeat(x, rows * cols), rows, cols)
    }
    /// The number of rows.
    #[allow(clippy::len_without_is_empty)] // a slice's, through Deref
    pub fn len(&self) -> Int<usize> {
        self.rows
    }
    /// The length of the rows.
    pub fn cols(&self) -> Int<usize> {
        self.cols
    }
    /// Row `i`, as a list.
    #[track_caller]
    pub fn row(&self, i: Int<usize>) -> List<R::Float> {
        self.item(within(i, self.rows, false))
    }
    /// Row `i`, which is known to be one.
    #[track_caller]
    pub fn item(&self, i: Int<usize>) -> List<R::Float> {
        self.list.part(i * self.cols, self.cols)
    }
    /// Row `i`, as it is to plain code.
    #[track_caller]
    pub fn at(&self, i: Int<usize>) -> R {
        R::of(&self.row(i))
    }
    /// Some of the rows.
    #[track_caller]
    pub fn slice<B: ops::RangeBounds<Int<usize>>>(&self, range: B) -> Table<R> {
        let (start, rows) = super::list::bounds(&range, self.rows);
        Table::of_list(self.list.part(start * self.cols, rows * self.cols), rows, self.cols)
    }
    /// As [`List::each`].
    #[track_caller]
    pub fn each(&self) -> Table<R> {
        Table::of_list(self.list.each(), Int::number(self.rows.plain()), Int::number(self.cols.plain()))
    }
    /// Makes `x` element `j` of row `i`.
    #[track_caller]
    pub fn set(&mut self, i: Int<usize>, j: Int<usize>, x: impl Into<Real<R::Float>>) {
        let (i, j) = (within(i, self.rows, false), within(j, self.cols, false));
        self.list.set(i * self.cols + j, x);
        self.read = OnceCell::new();
    }
    /// Makes `x` row `i`, which is as long.
    #[track_caller]
    pub fn set_row<X: Into<Real<R::Float>>>(&mut self, i: Int<usize>, x: impl IntoIterator<Item = X>) {
        let start = within(i, self.rows, false) * self.cols;
        for (j, x) in x.into_iter().enumerate() {
            self.list.set(start + within(Int::number(j), self.cols, false), x);
        }
        self.read = OnceCell::new();
    }
    /// The rows, each by itself. Of a table whose extents are not known the trace is given up.
    #[track_caller]
    fn rows(&self) -> &[R] {
        let items = self.list.items();
        Read::of(&self.read, || {
            let (rows, cols) = (self.rows.plain(), self.cols.plain());
            (0..rows).map(|i| R::of(items.get(i * cols..(i + 1) * cols).unwrap_or_default())).collect()
        })
    }
}

impl<R: Row> ops::Deref for Table<R> {
    type Target = [R];
    #[track_caller]
    fn deref(&self) -> &[R] {
        self.rows()
    }
}
impl<'a, R: Row> IntoIterator for &'a Table<R> {
    type Item = &'a R;
    type IntoIter = std::slice::Iter<'a, R>;
    #[track_caller]
    fn into_iter(self) -> Self::IntoIter {
        self.rows().iter()
    }
}
impl<R: Row> Twinned for Table<R> {
    fn leaves(&self, out: &mut Leaves) {
        out.constant(&[Form::of_value(self.rows), Form::of_value(self.cols)]);
        self.list.leaves(out);
    }
    fn from_leaves(&self, next: &mut LeafReader<'_>) -> Self {
        Table::of_list(self.list.from_leaves(next), self.rows, self.cols)
    }
}

impl<R: Row> Unrolled<Vec<R>> for Table<R> {
    fn unrolled(&self) -> Vec<R> {
        self.rows().to_vec()
    }
}
impl<R: Row, const M: usize> Unrolled<[R; M]> for Table<R> {
    fn unrolled(&self) -> [R; M] {
        let rows = self.rows();
        std::array::from_fn(|i| rows.get(i).cloned().unwrap_or_else(|| Row::of(&[])))
    }
}

/// What an annotated function takes where it is declared to take a slice of arrays of floats.
#[diagnostic::on_unimplemented(message = "`{Self}` is not the twin of `[{R}]`")]
pub trait AsTable<R: Row> {
    /// The table, or one that is kept in the slot.
    fn as_table<'s>(&'s self, slot: &'s Slot) -> &'s Table<R>;
}
impl<R: Row> AsTable<R> for Table<R> {
    fn as_table<'s>(&'s self, _: &'s Slot) -> &'s Table<R> {
        self
    }
}
macro_rules! as_tables {
    ($([$($g:tt)*] $t:ty;)*) => {$(
        impl<X: Into<Real<T>> + Clone, T: Float, const N: usize, $($g)*> AsTable<[Real<T>; N]> for $t {
            fn as_table<'s>(&'s self, slot: &'s Slot) -> &'s Table<[Real<T>; N]> {
                slot.keep(|| Table::of_rows(&self.iter().map(|r| r.clone().map(Into::into)).collect::<Vec<_>>(), N))
            }
        }
    )*};
}
as_tables! { [] [[X; N]]; [] Vec<[X; N]>; [const M: usize] [[X; N]; M]; }
impl<S: AsTable<R> + ?Sized, R: Row> AsTable<R> for &S {
    fn as_table<'s>(&'s self, slot: &'s Slot) -> &'s Table<R> {
        (**self).as_table(slot)
    }
}

impl<R: Row, A: Arg<Twin = R, GradBuf: Sized>> AsTwin<[A]> for Table<R> {
    fn as_twin<'s>(&'s self, slot: &'s Slot) -> &'s Vec<R> {
        slot.keep(|| self.rows().to_vec())
    }
}
impl<T: Float + Arg<Twin = Real<T>, GradBuf = T>, const N: usize, const M: usize> AsTwin<[[T; N]; M]>
    for Table<[Real<T>; N]>
{
    fn as_twin<'s>(&'s self, slot: &'s Slot) -> &'s [[Real<T>; N]; M] {
        slot.keep(|| self.unrolled())
    }
}
impl<T: Float + Arg<Twin = Real<T>, GradBuf = T>, const N: usize> IntoTwin<[T; N]> for List<T> {
    fn into_twin(self) -> [Real<T>; N] {
        Row::of(&self)
    }
}
