//! Lists: values of one axis whose length is known only when a program runs, as slices of the user's are and what loops
//! write to. Their operations are functions: a write gives another list. Programs write in place where nobody reads
//! the old list any more.
//!
//! An index out of range is an error at run time, with the place in the source: it is the attribute `place`, a number of
//! [`Place`]. The reverse mode of a read is an addition to one element, [`ADD`], of which many to one list cost no copy.

use super::{Attr, Derivative, Eval, Lower, Op, OpDef, VARIADIC, hold, infer};
use crate::{
    array::{Array, Data, Element, View, each},
    emit::{Ex, apply},
    error::{Error, Place, Result},
    ty::{DType, Ty},
};
use num_traits::float::{Float, TotalOrder};
use std::cmp::Ordering;

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&LEN, &WITHIN, &GET, &SET, &ADD, &FILL, &OF, &SUM, &ORDER];

const fn op(
    name: &'static str,
    attrs: &'static [&'static str],
    arity: usize,
    infer: fn(&Op, &[&Ty]) -> Result<Ty>,
    eval: fn(&Op, &[View<'_>], &Ty) -> Result<Array>,
    derivative: Derivative,
) -> OpDef {
    OpDef { name, attrs, arity, infer, eval: Eval::Views(eval), derivative, saves: 7, lower: Lower::Library }
}

fn list(op: &Op, ty: &Ty) -> Result<()> {
    if ty.rank() == 1 { Ok(()) } else { Err(Error::shape(op.name(), "a list", ty.to_string())) }
}
fn integer(op: &Op, ty: &Ty) -> Result<()> {
    if *ty == Ty::scalar(DType::I64) { Ok(()) } else { Err(Error::shape(op.name(), "an integer", ty.to_string())) }
}
/// `(list, index, element) -> list`.
fn write(op: &Op, a: &[&Ty]) -> Result<Ty> {
    list(op, a[0])?;
    integer(op, a[1])?;
    if *a[2] != Ty::scalar(a[0].dtype) {
        return Err(Error::shape(op.name(), format!("an element of type {}", a[0].dtype), a[2].to_string()));
    }
    Ok(a[0].clone())
}

/// What an index out of range says.
pub(crate) fn out_of_range(op: &Op, index: i64, len: i64) -> Error {
    let e = Error::value("index", format!("expected an index below the length {len}, found {index}"));
    Place::numbered(op.int(0)).map_or(e.clone(), |p| e.at(p))
}

/// What a part of a list that ends beyond it, or before it begins, says.
pub(crate) fn no_part(op: &Op, bound: i64, limit: i64) -> Error {
    let e = Error::value("index", format!("expected a range up to {limit} at the most, found {bound}"));
    Place::numbered(op.int(0)).map_or(e.clone(), |p| e.at(p))
}

fn int(v: &View<'_>) -> Result<i64> {
    v.typed::<i64>("list")?.first().copied().ok_or_else(|| Error::value("list", "expected an integer"))
}
fn index(op: &Op, list: &View<'_>, i: &View<'_>) -> Result<usize> {
    let (i, n) = (int(i)?, list.shape()[0]);
    usize::try_from(i).ok().filter(|&i| i < n).ok_or_else(|| out_of_range(op, i, n as i64))
}
fn bits(d: &Data, i: usize) -> u64 {
    each!(Data, d, v => v[i].bits())
}
fn change(op: &Op, a: &[View<'_>], add: bool) -> Result<Array> {
    let i = index(op, &a[0], &a[1])?;
    let (mut x, v) = (a[0].to_array().into_data(), a[2].to_array().into_data());
    match (&mut x, &v) {
        (Data::F32(x), Data::F32(v)) => x[i] = if add { x[i] + v[0] } else { v[0] },
        (Data::F64(x), Data::F64(v)) => x[i] = if add { x[i] + v[0] } else { v[0] },
        (Data::I64(x), Data::I64(v)) => x[i] = if add { x[i].wrapping_add(v[0]) } else { v[0] },
        (Data::Bool(x), Data::Bool(v)) => x[i] = v[0],
        _ => return Err(Error::dtype(op.name(), a[0].dtype().name(), a[2].dtype())),
    }
    Ok(Array::from_data(x, &[a[0].shape()[0]]))
}

/// The operation with the place that a rule's own operation carries.
fn placed(def: &'static OpDef, op: &Op) -> Op {
    Op::with(def, [Attr::Int(op.int(0))])
}

/// The number of elements
pub static LEN: OpDef = op(
    "list_len",
    &[],
    1,
    |op, a| list(op, a[0]).map(|()| Ty::scalar(DType::I64)),
    |_, a, _| Ok(Array::full(&Ty::scalar(DType::I64), a[0].shape()[0] as u64)),
    Derivative::Zero,
);

/// The index, which is below a length, or a bound of a range, which is not above another one
pub static WITHIN: OpDef = op(
    "list_within",
    &["place", "range"],
    2,
    |op, a| {
        integer(op, a[0])?;
        integer(op, a[1])?;
        Ok(a[0].clone())
    },
    |op, a, ty| {
        let (i, n) = (int(&a[0])?, int(&a[1])?);
        within(op, i, n)?;
        Ok(Array::full(ty, i.cast_unsigned()))
    },
    Derivative::Zero,
);

/// Checks what [`WITHIN`] says of its arguments, which are unsigned.
pub(crate) fn within(op: &Op, i: i64, n: i64) -> Result<()> {
    let (x, y, range) = (i.cast_unsigned(), n.cast_unsigned(), op.int(1) != 0);
    match range {
        true if x > y => Err(no_part(op, i, n)),
        false if x >= y => Err(out_of_range(op, i, n)),
        _ => Ok(()),
    }
}

/// y = xᵢ;  dx = ct added to element i of zeros
pub static GET: OpDef = op(
    "list_get",
    &["place"],
    2,
    |op, a| {
        list(op, a[0])?;
        integer(op, a[1])?;
        Ok(Ty::scalar(a[0].dtype))
    },
    |op, a, ty| {
        let i = index(op, &a[0], &a[1])?;
        Ok(Array::full(ty, bits(&a[0].to_array().into_data(), i)))
    },
    Derivative::Linear(|cx, _, t| Some(apply(placed(&ADD, cx.op), &[&cx.args[0].full_like(0.0), &cx.args[1], t]))),
);

/// y = x with v as element i;  dx = ct with 0 there, dv = ctᵢ
pub static SET: OpDef = op(
    "list_set",
    &["place"],
    3,
    write,
    |op, a, _| change(op, a, false),
    Derivative::General(
        |cx, k, t| {
            Some(match k {
                0 => apply(placed(&SET, cx.op), &[t, &cx.args[1], &t.lit(0.0)]),
                _ => apply(placed(&GET, cx.op), &[t, &cx.args[1]]),
            })
        },
        |cx, t| Some(moved(&SET, cx, t)),
    ),
);

/// y = x with v added to element i;  dx = ct, dv = ctᵢ
pub static ADD: OpDef = op(
    "list_add",
    &["place"],
    3,
    write,
    |op, a, _| change(op, a, true),
    Derivative::General(
        |cx, k, t| Some(if k == 0 { t.clone() } else { apply(placed(&GET, cx.op), &[t, &cx.args[1]]) }),
        |cx, t| Some(moved(&ADD, cx, t)),
    ),
);

/// The tangent of a write: the write of the tangents.
fn moved<'e>(def: &'static OpDef, cx: &super::Cx<'e>, t: &[Option<Ex<'e>>]) -> Ex<'e> {
    let of = |i: usize| t[i].clone().unwrap_or_else(|| cx.args[i].full_like(0.0));
    apply(placed(def, cx.op), &[&of(0), &cx.args[1], &of(2)])
}

/// n elements v;  dv = Σ ct
pub static FILL: OpDef = op(
    "list_fill",
    &[],
    2,
    |op, a| {
        integer(op, a[1])?;
        match a[0].rank() {
            0 => Ok(Ty::list(a[0].dtype)),
            _ => Err(Error::shape(op.name(), "a scalar", a[0].to_string())),
        }
    },
    |op, a, _| {
        let n = length(int(&a[1])?, op)?;
        let v = a[0].to_array().into_data();
        Ok(Array::full(&Ty::new(a[0].dtype(), &[n])?, bits(&v, 0)))
    },
    Derivative::Linear(|_, _, t| Some(t.op1(&SUM))),
);

/// Longest list that a program makes.
pub(crate) const LONGEST: i64 = 1 << 40;

/// A length that can be one.
pub(crate) fn length(n: i64, op: &Op) -> Result<usize> {
    let wrong = || Error::value(op.name(), format!("expected a length that fits in memory, found {n}"));
    usize::try_from(n).ok().filter(|_| n < LONGEST).ok_or_else(wrong)
}

/// The list of the arguments;  each gets its element of ct
pub static OF: OpDef = op(
    "list_of",
    &["dtype", "place"],
    VARIADIC,
    |op, a| {
        let want = Ty::scalar(op.dtype(0));
        match a.iter().find(|&&t| *t != want) {
            Some(t) => Err(Error::shape(op.name(), want.to_string(), t.to_string())),
            None => Ok(Ty::list(op.dtype(0))),
        }
    },
    |op, a, _| {
        let mut all = Data::zeros(op.dtype(0), a.len());
        for (i, v) in a.iter().enumerate() {
            match (&mut all, &v.to_array().into_data()) {
                (Data::F32(x), Data::F32(v)) => x[i] = v[0],
                (Data::F64(x), Data::F64(v)) => x[i] = v[0],
                (Data::I64(x), Data::I64(v)) => x[i] = v[0],
                (Data::Bool(x), Data::Bool(v)) => x[i] = v[0],
                _ => return Err(Error::dtype(op.name(), op.dtype(0).name(), v.dtype())),
            }
        }
        Ok(Array::from_data(all, &[a.len()]))
    },
    Derivative::General(
        |cx, k, t| {
            let i = crate::emit::constant(t.e, DType::I64, k as f64);
            Some(apply(Op::with(&GET, [Attr::Int(cx.op.int(1))]), &[t, &i]))
        },
        |cx, t| {
            let items: Vec<Ex<'_>> =
                cx.args.iter().zip(t).map(|(x, t)| t.clone().unwrap_or_else(|| x.full_like(0.0))).collect();
            Some(apply(cx.op.clone(), &items.iter().collect::<Vec<_>>()))
        },
    ),
);

/// The sum of the elements, in order;  dx = ct in every element
pub static SUM: OpDef = op(
    "list_sum",
    &[],
    1,
    |op, a| {
        list(op, a[0])?;
        infer::float(op, a[0])?;
        Ok(Ty::scalar(a[0].dtype))
    },
    |_, a, ty| {
        Ok(match a[0].to_array().into_data() {
            Data::F32(x) => Array::full(ty, x.iter().fold(0.0, |s, x| s + x).bits()),
            Data::F64(x) => Array::full(ty, x.iter().fold(0.0, |s, x| s + x).bits()),
            _ => Array::full(ty, 0),
        })
    },
    Derivative::Linear(|cx, _, t| Some(apply(Op::new(&FILL), &[t, &cx.args[0].op1(&LEN)]))),
);

/// How floats are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sorting {
    /// From the largest down.
    pub descending: bool,
    /// By the total order of floats (IEEE 754, section 5.10), in which a NaN has a place.
    pub total: bool,
}

impl Sorting {
    /// Writes the numbers of the elements in order, equal ones in theirs, and allocates nothing; whether there is such an order.
    pub(crate) fn sort<T: Float + TotalOrder>(self, x: &[T], numbers: &mut [i64]) -> bool {
        // one by itself is compared with nothing
        if !self.total && x.len() > 1 && x.iter().any(|x| x.is_nan()) {
            return false;
        }
        numbers.iter_mut().zip(0..).for_each(|(to, k)| *to = k);
        let compare = |a: i64, b: i64| {
            let (a, b) = (&x[a as usize], &x[b as usize]);
            let (a, b) = if self.descending { (b, a) } else { (a, b) };
            if self.total { a.total_cmp(b) } else { a.partial_cmp(b).unwrap_or(Ordering::Equal) }
        };
        numbers.sort_unstable_by(|&a, &b| compare(a, b).then(a.cmp(&b)));
        true
    }
}

/// How [`ORDER`] sorts.
pub(crate) fn sorting(op: &Op) -> Sorting {
    Sorting { descending: op.int(1) != 0, total: op.int(2) != 0 }
}

/// The numbers of the elements in order, equal ones in theirs; an error for a NaN, unless the order is total. Elements are picked by
/// them, so that derivatives are those of picking;  its own is zero
pub static ORDER: OpDef = op(
    "list_order",
    &["place", "descending", "total"],
    1,
    |op, a| {
        list(op, a[0])?;
        infer::float(op, a[0])?;
        Ok(a[0].with_dtype(DType::I64))
    },
    |op, a, _| {
        let mut numbers = vec![0; a[0].shape()[0]];
        let sorted = match a[0].to_array().into_data() {
            Data::F32(x) => sorting(op).sort(&x, &mut numbers),
            Data::F64(x) => sorting(op).sort(&x, &mut numbers),
            _ => false,
        };
        if !sorted {
            return Err(hold::broken(op));
        }
        let n = numbers.len();
        Ok(Array::from_data(Data::I64(numbers), &[n]))
    },
    Derivative::Zero,
);
