//! Views: other ways to walk over the same elements. The dynamic engine shares storage, the compiler
//! turns them into strides; nothing is copied unless a reshape meets strides it cannot express.

use super::{Affine, Derivative, Eval, Lower, Op, OpDef, Operand, evaluate::copied, view_layout};
use crate::{
    array::Data,
    error::{Error, Result},
    ty::{Layout, Shape, Ty, broadcast, contiguous_strides},
};

/// All operations of this family.
pub static ALL: &[&OpDef] = &[&RESHAPE, &EXPAND, &PERMUTE, &SLICE, &FLIP];

const fn view(
    name: &'static str,
    attrs: &'static [&'static str],
    infer: fn(&Op, &[&Ty]) -> Result<Ty>,
    derivative: Derivative,
    lower: super::ViewFn,
) -> OpDef {
    let eval = Eval::Windows(copy);
    OpDef { name, attrs, arity: 1, infer, eval, derivative, saves: 0, lower: Lower::View(lower) }
}

/// The elements of a view, copied. A reshape keeps their order whatever the strides are.
fn copy(op: &Op, args: &[Operand<'_>], out: &Ty) -> Result<Data> {
    let x = args[0];
    let ty = Ty { dtype: x.dtype(), shape: x.layout.shape.clone() };
    let layout = if op.is(&RESHAPE) { None } else { view_layout(op, x.layout, &ty, out) };
    Ok(copied(Operand { layout: layout.as_ref().unwrap_or(x.layout), ..x }))
}

fn bad_dims(op: &Op, ty: &Ty) -> Error {
    Error::shape(op.name(), format!("dims of a rank-{} tensor, each once", ty.rank()), format!("{:?}", op.attrs))
}

/// y has the elements of x in row-major order under another shape;  dx = ct in the old shape
pub static RESHAPE: OpDef = view(
    "reshape",
    &["shape"],
    |op, a| {
        let ty = Ty::new(a[0].dtype, &op.dims(0))?;
        if ty.numel() == a[0].numel() {
            return Ok(ty);
        }
        let want = format!("a shape of {} elements for {:?}", a[0].numel(), a[0].shape.as_slice());
        Err(Error::shape("reshape", want, format!("{:?}", ty.shape.as_slice())))
    },
    Derivative::Linear(|cx, _, t| Some(t.reshape(&cx.args[0].shape()))),
    |_, from, to| {
        // only unit axes come and go, or an axis splits: then indices stay affine
        let n = to.rank();
        let mut map = Vec::with_capacity(from.rank());
        let mut j = 0;
        for &extent in &from.shape {
            let mut a = Affine::constant(0, n);
            let (start, mut size) = (j, 1);
            while j < n && (size < extent || to.shape[j] == 1) && size * to.shape[j] <= extent {
                size *= to.shape[j];
                j += 1;
            }
            if size != extent {
                return None;
            }
            let mut step = 1;
            for d in (start..j).rev() {
                a.coef[d] = if to.shape[d] == 1 { 0 } else { step };
                step *= to.shape[d] as i64;
            }
            map.push(a);
        }
        to.shape[j..].iter().all(|&e| e == 1).then_some(map)
    },
);

/// y repeats x along axes of extent 1 and new leading axes;  dx = the sum of ct over them
pub static EXPAND: OpDef = view(
    "expand",
    &["shape"],
    |op, a| {
        let to = Ty::new(a[0].dtype, &op.dims(0))?;
        if broadcast(&a[0].shape, &to.shape).as_ref() == Some(&to.shape) {
            return Ok(to);
        }
        let want = format!("a shape that {:?} broadcasts to", a[0].shape.as_slice());
        Err(Error::shape("expand", want, format!("{:?}", to.shape.as_slice())))
    },
    Derivative::Linear(|cx, _, t| Some(t.sum_to(&cx.args[0].shape()))),
    |_, from, to| Some(broadcast_map(&from.shape, to.rank())),
);

/// The index map under which a smaller shape is read by broadcasting to a rank.
pub fn broadcast_map(shape: &[usize], rank: usize) -> Vec<Affine> {
    let lead = rank - shape.len();
    let axis = |(d, &n): (usize, &usize)| Affine::axis(d + lead, rank, 0, i64::from(n != 1));
    shape.iter().enumerate().map(|p| if rank == 0 { Affine::constant(0, 0) } else { axis(p) }).collect()
}

/// y has the axes of x in another order;  dx = ct in the inverse order
pub static PERMUTE: OpDef = view(
    "permute",
    &["perm"],
    |op, a| {
        let perm = op.dims(0);
        let mut seen: Shape = perm.clone();
        seen.sort_unstable();
        if seen.iter().copied().eq(0..a[0].rank()) {
            Ok(a[0].with_shape(perm.iter().map(|&p| a[0].shape[p]).collect::<Shape>()))
        } else {
            Err(bad_dims(op, a[0]))
        }
    },
    Derivative::Linear(|cx, _, t| {
        let perm = cx.op.dims(0);
        let mut inverse = perm.clone();
        for (i, &p) in perm.iter().enumerate() {
            inverse[p] = i;
        }
        Some(t.permute(&inverse))
    }),
    |op, from, to| {
        let perm = op.dims(0);
        let at = |axis| perm.iter().position(|&p| p == axis);
        (0..from.rank()).map(|axis| at(axis).map(|d| Affine::axis(d, to.rank(), 0, 1))).collect()
    },
);

/// y = every `step`-th of `len` elements of axis `dim` from `start`;  dx = zeros with ct placed back
pub static SLICE: OpDef = view(
    "slice",
    &["dim", "start", "len", "step"],
    |op, a| {
        let [dim, start, len, step] = [0, 1, 2, 3].map(|i| usize::try_from(op.int(i)));
        let (Ok(dim), Ok(start), Ok(len), Ok(step)) = (dim, start, len, step) else {
            return Err(Error::value("slice", format!("expected non-negative bounds, found {:?}", op.attrs)));
        };
        let Some(&n) = a[0].shape.get(dim) else { return Err(bad_dims(op, a[0])) };
        let end = len.checked_sub(1).map_or(Some(start), |k| k.checked_mul(step)?.checked_add(start)?.checked_add(1));
        if step == 0 || end.is_none_or(|e| e > n) {
            let found = format!("{len} from {start} in steps of {step}");
            return Err(Error::value(
                "slice",
                format!("expected a range inside axis {dim} of extent {n}, found {found}"),
            ));
        }
        let mut shape = a[0].shape.clone();
        shape[dim] = len;
        Ok(a[0].with_shape(shape))
    },
    Derivative::Linear(|cx, _, t| {
        let [dim, start, _, step] = [0, 1, 2, 3].map(|i| cx.op.int(i) as usize);
        Some(t.unslice(dim, start, step, cx.args[0].shape()[dim]))
    }),
    |op, from, to| {
        let (dim, start, step) = (op.int(0) as usize, op.int(1), op.int(3));
        let of = |d| if d == dim { Affine::axis(d, to.rank(), start, step) } else { Affine::axis(d, to.rank(), 0, 1) };
        Some((0..from.rank()).map(of).collect())
    },
);

/// y = x read backwards along `dims`;  dx = ct read backwards
pub static FLIP: OpDef = view(
    "flip",
    &["dims"],
    |op, a| {
        let dims = op.dims(0);
        let distinct = (0..dims.len()).all(|i| dims[i] < a[0].rank() && !dims[..i].contains(&dims[i]));
        if distinct { Ok(a[0].clone()) } else { Err(bad_dims(op, a[0])) }
    },
    Derivative::Linear(|cx, _, t| Some(t.flip(&cx.op.dims(0)))),
    |op, from, to| {
        let dims = op.dims(0);
        let of = |d: usize| {
            let n = from.shape[d] as i64;
            if dims.contains(&d) { Affine::axis(d, to.rank(), n - 1, -1) } else { Affine::axis(d, to.rank(), 0, 1) }
        };
        Some((0..from.rank()).map(of).collect())
    },
);

/// The layout of a reshape on strided storage, or `None` where the elements have to be copied: each
/// group of axes that merges must step evenly.
pub fn reshape_layout(from: &Layout, to: &[usize]) -> Option<Layout> {
    let mut out = Layout { shape: to.into(), strides: contiguous_strides(to), offset: from.offset };
    if to.contains(&0) || from.is_contiguous() {
        return Some(out);
    }
    let old: Vec<(usize, isize)> =
        from.shape.iter().copied().zip(from.strides.iter().copied()).filter(|p| p.0 != 1).collect();
    let (mut i, mut j) = (0, 0);
    while i < old.len() {
        let (mut have, mut want) = (old[i].0, 1);
        let (i0, j0) = (i, j);
        i += 1;
        while have != want {
            if have < want {
                have *= old.get(i)?.0;
                i += 1;
            } else {
                want *= *to.get(j)?;
                j += 1;
            }
        }
        if old[i0..i].windows(2).any(|w| w[0].1 != w[1].1 * w[1].0 as isize) {
            return None;
        }
        let mut step = old[i - 1].1;
        for d in (j0..j).rev() {
            out.strides[d] = step;
            step *= to[d] as isize;
        }
    }
    out.strides[j..].iter_mut().for_each(|s| *s = 0);
    Some(out)
}
