//! From a graph to where its derivatives have elements, and to how few products tell them.
//!
//! * `pattern`: a graph is run over sets of its inputs; `sets` stores them, `routine` says what has to be done for each node;
//! * `colour`: from a pattern to groups of columns that share a product.
//!
//! The entry points of annotated functions are made of these (`entry::sparse`).

pub(crate) mod colour;
pub(crate) mod pattern;
pub(crate) mod routine;
mod sets;

use crate::{Error, Result, array::Array, graph::Graph};
use pattern::{Input, Number};
use routine::Routine;

/// Where a matrix may have elements, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pattern {
    /// Number of columns.
    pub columns: usize,
    /// Where rows begin among the indices, and where the last one ends.
    pub starts: Vec<usize>,
    /// The columns of the elements, ascending in each row.
    pub indices: Vec<usize>,
}

/// Which order of derivatives a pattern is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The Jacobian: a row for each float of the results.
    First,
    /// The Hessian of the sum of all results.
    Second,
}

/// The pattern of the derivative of a graph in the floats of its inputs `wrt`, ascending, at these inputs. It has every
/// element that may differ from zero there, and may have more.
///
/// ```
/// use autograd_runtime::{array::{Array, Data}, graph::Graph, sparse::{Order, pattern}};
/// let g: Graph = "
///     %0 = input : f64[3]
///     %1 = mul(%0, %0) : f64[3]
///     return %1
/// "
/// .parse()?;
/// let x = Array::from_data(Data::F64(vec![1.0, 2.0, 3.0]), &[3]);
/// assert_eq!(pattern(&g, &[x], &[0], Order::First)?.indices, [0, 1, 2]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
///
/// # Errors
/// Too few inputs, what an operation finds wrong with its values, or that there are too many elements.
pub fn pattern(g: &Graph, inputs: &[Array], wrt: &[usize], order: Order) -> Result<Pattern> {
    if inputs.len() != g.inputs().len() {
        let (want, got) = (g.inputs().len(), inputs.len());
        return Err(Error::value("sparse", format!("expected {want} inputs, found {got}")));
    }
    let routine = Routine::new(g, &vec![false; g.outputs().len()]);
    let (mut all, mut n) = (Vec::with_capacity(inputs.len()), 0);
    for (i, x) in inputs.iter().enumerate() {
        let ty = x.ty();
        let first = (wrt.contains(&i) && ty.dtype.is_float()).then_some(n);
        n += if first.is_some() { ty.numel() } else { 0 };
        let number = if routine.reads[i] { Number::array(x.clone()) } else { Number::Unknown };
        all.push(Input { len: ty.numel(), first, number });
    }
    pattern::find(&routine, all, n, order)
}
