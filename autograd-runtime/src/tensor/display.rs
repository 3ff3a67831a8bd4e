//! Printing as PyTorch prints: four digits in one width for all elements, rows aligned under the bracket,
//! large tensors summarised by three elements at each end, and what the tape knows at the end.

use super::{Tensor, Value};
use crate::{
    array::{Array, Element},
    session,
    ty::DType,
};
use std::fmt;

/// More elements than this are summarised.
const SUMMARISE: usize = 1000;
/// Elements shown at each end of a summarised axis.
const EDGE: usize = 3;
/// Columns of a line.
const WIDTH: usize = 80;

impl<T: Element> fmt::Display for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(self.value(), f)
    }
}
impl<T: Element> fmt::Debug for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(self.value(), f)
    }
}

fn write_value(v: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    session::opaque_read(v, "a tensor is printed", crate::error::Place::caller());
    let ty = v.ty();
    let cells = Cells::new(&v.to_array(), &ty.shape);
    let mut text = String::from("tensor(");
    cells.write(&ty.shape, &mut text);
    let mut tail = Vec::new();
    if ty.numel() == 0 && ty.rank() != 1 {
        tail.push(format!("size=({})", ty.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")));
    }
    if ty.dtype == DType::F64 {
        tail.push("dtype=torch.float64".into());
    } else if ty.numel() == 0 && ty.dtype != DType::F32 {
        tail.push(format!("dtype=torch.{}", if ty.dtype == DType::I64 { "int64" } else { "bool" }));
    }
    match v.grad_fn() {
        Some(g) => tail.push(format!("grad_fn=<{}>", g.name())),
        None if v.requires_grad() => tail.push("requires_grad=True".into()),
        None => {}
    }
    for t in tail {
        let column = text.len() - text.rfind('\n').map_or(0, |i| i + 1);
        let gap = if column + t.len() + 4 > WIDTH { ",\n       " } else { ", " };
        text.push_str(gap);
        text.push_str(&t);
    }
    f.write_str(&text)?;
    f.write_str(")")
}

/// The printed elements, all of one width.
struct Cells {
    text: Vec<String>,
    width: usize,
    summarised: bool,
}

impl Cells {
    fn new(a: &Array, shape: &[usize]) -> Cells {
        let summarised = shape.iter().product::<usize>() > SUMMARISE;
        let xs = a.to_f64_vec();
        let seen: Vec<usize> = if summarised { shown(shape) } else { (0..xs.len()).collect() };
        let text: Vec<String> = match a {
            Array::Bool(b) => b.iter().map(|&b| if b { "True" } else { "False" }.into()).collect(),
            Array::I64(v) => v.iter().map(i64::to_string).collect(),
            Array::F32(_) | Array::F64(_) => {
                let style = Style::of(&seen.iter().map(|&i| xs[i]).collect::<Vec<_>>());
                xs.iter().map(|&x| style.print(x)).collect()
            }
        };
        // zeros, infinities and NaN do not widen a column of floats
        let floats = matches!(a, Array::F32(_) | Array::F64(_));
        let counts = |i: &usize| !floats || (xs[*i].is_finite() && xs[*i] != 0.0);
        let width = seen.into_iter().filter(counts).map(|i| text[i].len()).max().unwrap_or(1);
        Cells { text, width: if shape.is_empty() { 0 } else { width }, summarised }
    }
    /// Nested brackets over the axes. One loop over the rows: what opens and closes between two rows follows
    /// from their indices.
    fn write(&self, shape: &[usize], out: &mut String) {
        let rank = shape.len();
        if rank == 0 {
            out.push_str(&self.text[0]);
            return;
        }
        if shape.contains(&0) {
            out.push_str("[]");
            return;
        }
        let kept: Vec<Vec<Option<usize>>> = shape.iter().map(|&n| indices(n, self.summarised)).collect();
        let mut at = vec![0usize; rank - 1];
        out.push_str(&"[".repeat(rank - 1));
        'rows: loop {
            self.write_row(shape, &kept, &at, out, rank);
            // the next row: the last axis that can step; deeper ones start again
            let mut d = rank - 1;
            loop {
                if d == 0 {
                    break 'rows;
                }
                d -= 1;
                out.push_str(if d + 1 < rank - 1 { "]" } else { "" });
                at[d] += 1;
                if at[d] < kept[d].len() {
                    let newlines = "\n".repeat(rank - 1 - d);
                    let indent = " ".repeat("tensor(".len() + d + 1);
                    if kept[d][at[d]].is_none() {
                        out.push_str(&format!(",{newlines}{indent}..."));
                        at[d] += 1;
                    }
                    out.push_str(&format!(",{newlines}{indent}{}", "[".repeat(rank - 2 - d)));
                    break;
                }
                at[d] = 0;
            }
        }
        out.push_str(if rank > 1 { "]" } else { "" });
    }
    fn write_row(&self, shape: &[usize], kept: &[Vec<Option<usize>>], at: &[usize], out: &mut String, rank: usize) {
        let row = at.iter().zip(kept).zip(shape).fold(0, |i, ((&a, k), &n)| i * n + k[a].unwrap_or(0));
        out.push('[');
        let indent = "tensor(".len() + rank;
        let per_line = ((WIDTH + 1 - indent) / (self.width + 2)).max(1);
        for (j, cell) in kept[rank - 1].iter().enumerate() {
            let text = match cell {
                Some(c) => format!("{:>w$}", self.text[row * shape[rank - 1] + c], w = self.width),
                None => " ...".into(),
            };
            if j > 0 {
                out.push(',');
                if j % per_line == 0 {
                    out.push('\n');
                    out.push_str(&" ".repeat(indent));
                } else {
                    out.push(' ');
                }
            }
            out.push_str(&text);
        }
        out.push(']');
    }
}

/// Indices of an axis that are shown; `None` stands for the gap.
fn indices(n: usize, summarised: bool) -> Vec<Option<usize>> {
    if !summarised || n <= 2 * EDGE {
        return (0..n).map(Some).collect();
    }
    (0..EDGE).map(Some).chain([None]).chain((n - EDGE..n).map(Some)).collect()
}
/// Linear indices of the elements that a summary shows.
fn shown(shape: &[usize]) -> Vec<usize> {
    shape.iter().fold(vec![0], |at, &n| {
        let keep: Vec<usize> = indices(n, true).into_iter().flatten().collect();
        at.iter().flat_map(|&i| keep.iter().map(move |&k| i * n + k)).collect()
    })
}

/// How all floats of a tensor are printed.
enum Style {
    Integer,
    Fixed,
    Scientific,
}
impl Style {
    fn of(xs: &[f64]) -> Style {
        let finite = xs.iter().copied().filter(|x| x.is_finite() && *x != 0.0).map(f64::abs);
        let (lo, hi) = finite.clone().fold((f64::INFINITY, 0.0f64), |(lo, hi), x| (lo.min(x), hi.max(x)));
        let spread = hi > 0.0 && hi / lo > 1000.0;
        if finite.clone().all(|x| x == x.ceil()) {
            if spread || hi > 1e8 { Style::Scientific } else { Style::Integer }
        } else if spread || hi > 1e8 || lo < 1e-4 {
            Style::Scientific
        } else {
            Style::Fixed
        }
    }
    fn print(&self, x: f64) -> String {
        if !x.is_finite() {
            return if x.is_nan() {
                "nan".into()
            } else if x > 0.0 {
                "inf".into()
            } else {
                "-inf".into()
            };
        }
        match self {
            Style::Integer => format!("{x:.0}."),
            Style::Fixed => format!("{x:.4}"),
            Style::Scientific => {
                let s = format!("{x:.4e}");
                let (m, e) = s.split_once('e').unwrap_or((&s, "0"));
                let (sign, digits) = e.strip_prefix('-').map_or(("+", e), |d| ("-", d));
                format!("{m}e{sign}{digits:0>2}")
            }
        }
    }
}
