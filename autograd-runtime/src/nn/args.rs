//! Layers as parameters of annotated functions and as fields of structs that are: the protocol of
//! `#[derive(Differentiable)]`, whose expansion names the root crate and so cannot be used here.
//!
//! The tensors of a layer are leaves, its numbers are static, its gradient is the same layer with gradients in the
//! place of tensors. A layer is its own twin: what it does in an annotated function is its own code.
//! [`super::BatchNorm`] is no such parameter, as it writes to its buffers.

use super::{
    Conv, Dropout, Embedding, GroupNorm, GruCell, LayerNorm, Linear, LstmCell, MultiheadAttention, Recurrent,
    RnnActivation, RnnCell, Training,
};
use crate::{
    Float, Result, Tensor,
    compose::ConvOptions,
    entry::{
        Arg, Binder, Block, GradReader, IntoTwin, LeafReader, Leaves, Lifter, Out, OutReader, Outcome, Twinned, Visitor,
    },
};
use std::hash::Hash;

/// A number or option of a layer: part of the key of a compiled function.
trait Fixed: Clone {
    /// What it is in a key.
    type Key: Hash + Eq + Clone + Send + Sync + 'static;
    fn key(&self) -> Self::Key;
    fn of(key: Self::Key) -> Self;
}
impl Fixed for f64 {
    type Key = u64;
    fn key(&self) -> u64 {
        self.to_bits()
    }
    fn of(key: u64) -> f64 {
        f64::from_bits(key)
    }
}
impl Fixed for Training {
    type Key = bool;
    fn key(&self) -> bool {
        self.is_on()
    }
    fn of(key: bool) -> Training {
        let training = Training::default();
        training.set(key);
        training
    }
}
macro_rules! fixed {
    ($([$($g:tt)*] $t:ty;)*) => {$(
        impl<$($g)*> Fixed for $t {
            type Key = $t;
            fn key(&self) -> $t { self.clone() }
            fn of(key: $t) -> $t { key }
        }
    )*};
}
fixed! { [] bool; [] usize; [] Option<usize>; [] Vec<usize>; [] RnnActivation; [const N: usize] ConvOptions<N>; }

/// The protocol of a struct with `traced` fields, each a parameter whose gradient is of its own type, and `fixed` ones.
macro_rules! layers {
    ($([$($g:tt)*] $name:ty { $($traced:ident: $type:ty),*; $($fixed:ident),* };)*) => {$(
        #[allow(unused_variables)] // of a layer without tensors
        impl<$($g)*> Arg for $name {
            type Twin = Self;
            type Grad = Self;
            type GradBuf = Self;
            fn visit(&self, v: &mut Visitor<'_>) {
                $(self.$traced.visit(v);)*
                $(v.key.constant(&self.$fixed.key());)*
            }
            fn lift(&self, l: &mut Lifter<'_>) -> Self {
                Self { $($traced: Arg::lift(&self.$traced, l),)* $($fixed: self.$fixed.clone(),)* }
            }
            fn collect(&self, g: &mut GradReader<'_>) -> Self {
                Self { $($traced: Arg::collect(&self.$traced, g),)* $($fixed: self.$fixed.clone(),)* }
            }
            fn bind(out: &mut Self, b: &mut Binder<'_>) {
                $(<$type as Arg>::bind(&mut out.$traced, b);)*
            }
            fn fits(&self, out: &Self) -> bool {
                true $(&& Arg::fits(&self.$traced, &out.$traced))*
            }
        }
        #[allow(unused_variables)]
        impl<$($g)*> Twinned for $name {
            fn leaves(&self, out: &mut Leaves) {
                $(self.$traced.leaves(out);)*
                $(out.constant(&self.$fixed.key());)*
            }
            fn from_leaves(&self, next: &mut LeafReader<'_>) -> Self {
                Self { $($traced: self.$traced.from_leaves(next),)* $($fixed: self.$fixed.clone(),)* }
            }
        }
        impl<$($g)*> IntoTwin<$name> for $name {
            fn into_twin(self) -> Self { self }
        }
        impl<$($g)*> Outcome for $name {
            type Value = Self;
            fn outcome(self) -> Result<Self> { Ok(self) }
        }
        impl<$($g)*> Out for $name {
            type Value = Self;
            type Ct<'c> = &'c Self;
            fn read(r: &mut OutReader<'_>) -> Self {
                Self { $($traced: <$type as Out>::read(r),)* $($fixed: Fixed::of(r.constant()),)* }
            }
        }
        impl<$($g)*> Block for $name {
            crate::__plain_block!();
            type Over<H: Block> = Vec<H>;
            fn count(&self) -> usize { 0 $(+ Block::count(&self.$traced))* }
            fn over<H: Block>(&self, first: usize, row: &impl Fn(usize) -> H) -> Vec<H> {
                (first..first + self.count()).map(row).collect()
            }
        }
    )*};
}
layers! {
    [T: Float] Linear<T> { weight: Tensor<T>, bias: Option<Tensor<T>>; };
    [T: Float] Embedding<T> { weight: Tensor<T>; padding_idx };
    [T: Float, const N: usize] Conv<T, N> { weight: Tensor<T>, bias: Option<Tensor<T>>; options };
    [T: Float] LayerNorm<T> { weight: Option<Tensor<T>>, bias: Option<Tensor<T>>; shape, eps };
    [T: Float] GroupNorm<T> { weight: Option<Tensor<T>>, bias: Option<Tensor<T>>; groups, channels, eps };
    [T: Float] RnnCell<T> {
        weight_ih: Tensor<T>, weight_hh: Tensor<T>, bias_ih: Option<Tensor<T>>, bias_hh: Option<Tensor<T>>; activation
    };
    [T: Float] LstmCell<T> {
        weight_ih: Tensor<T>, weight_hh: Tensor<T>, bias_ih: Option<Tensor<T>>, bias_hh: Option<Tensor<T>>;
    };
    [T: Float] GruCell<T> {
        weight_ih: Tensor<T>, weight_hh: Tensor<T>, bias_ih: Option<Tensor<T>>, bias_hh: Option<Tensor<T>>;
    };
    [C: Arg<Twin = C, Grad = C, GradBuf = C> + Twinned + Block + Out<Value = C>] Recurrent<C> {
        cells: Vec<C>; batch_first
    };
    [T: Float] MultiheadAttention<T> {
        in_proj_weight: Tensor<T>, in_proj_bias: Option<Tensor<T>>, out_proj: Linear<T>; heads, batch_first
    };
    [] Dropout { ; p, training };
}
