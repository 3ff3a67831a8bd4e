//! The operations as annotated functions: what a user writes, which gives the graph and the compiled derivatives.

use crate::table;
use autograd::prelude::*;

macro_rules! typed {
    ($($name:ident $t:ty;)*) => {$(
        #[differentiable]
        pub(crate) fn $name(
            op: &str,
            options: &str,
            floats: &[Tensor<$t>],
            ints: &[Tensor<i64>],
            bools: &[Tensor<bool>],
        ) -> Tensor<$t> {
            plain(op, options, floats, ints, bools)
        }
    )*};
}
typed! { apply_f32 f32; apply_f64 f64; }

/// The tape has run the same before: what is wrong with the options is known.
fn plain<T: Float + Scalar<T>>(
    op: impl AsRef<str>,
    options: impl AsRef<str>,
    floats: impl AsRef<[Tensor<T>]>,
    ints: impl AsRef<[Tensor<i64>]>,
    bools: impl AsRef<[Tensor<bool>]>,
) -> Tensor<T> {
    table::call(op.as_ref(), options.as_ref(), floats.as_ref(), ints.as_ref(), bools.as_ref())
        .expect("options that fit")
}
use autograd::{Float, Scalar};
