//! Random tensors, from this thread's generator or a given one; dropout.

use super::{IntoShape, Tensor, Value, evaluate};
use crate::{
    array::Float,
    emit::{Emit, Ex, V, apply},
    op::{Attr, Op, OpDef, random},
    random::Generator,
};

fn ex(v: Value, e: &dyn Emit) -> Ex<'_> {
    Ex::new(e, V::Tensor(v))
}

/// A random operation under the generator's next key.
#[track_caller]
fn draw(g: &Generator, def: &'static OpDef, attrs: impl IntoIterator<Item = Attr>) -> Value {
    let (key, op) = (g.key(), Op::with(def, attrs));
    evaluate(|e| apply(op, &[&ex(key, e)]))
}

impl<T: Float> Tensor<T> {
    /// Numbers uniform in 0..1, from this thread's generator. Inside an annotated function every call draws
    /// anew.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, manual_seed};
    /// manual_seed(1);
    /// let x = Tensor::<f64>::rand([1000]);
    /// assert!(x.min().item() >= 0.0 && x.max().item() < 1.0 && (x.mean().item() - 0.5).abs() < 0.05);
    /// ```
    #[track_caller]
    pub fn rand(shape: impl IntoShape) -> Self {
        Self::rand_with(&Generator::default(), shape)
    }
    /// As [`Tensor::rand`] from a given generator.
    #[track_caller]
    pub fn rand_with(generator: &Generator, shape: impl IntoShape) -> Self {
        let attrs = [Attr::DType(T::DTYPE), Attr::dims(&shape.into_shape())];
        Tensor::from_value(draw(generator, &random::RAND, attrs))
    }
    /// Normal numbers of mean 0 and variance 1, from this thread's generator. Inside an annotated function
    /// every call draws anew.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, manual_seed};
    /// manual_seed(1);
    /// let x = Tensor::<f64>::randn([1000]);
    /// assert!(x.mean().item().abs() < 0.1 && (x.var().item() - 1.0).abs() < 0.1);
    /// ```
    #[track_caller]
    pub fn randn(shape: impl IntoShape) -> Self {
        Self::randn_with(&Generator::default(), shape)
    }
    /// As [`Tensor::randn`] from a given generator.
    #[track_caller]
    pub fn randn_with(generator: &Generator, shape: impl IntoShape) -> Self {
        let attrs = [Attr::DType(T::DTYPE), Attr::dims(&shape.into_shape())];
        Tensor::from_value(draw(generator, &random::RANDN, attrs))
    }
    /// 1 with the probability that this tensor gives for each element, else 0; from this thread's generator.
    /// Nothing is differentiated.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// assert_eq!(Tensor::from_vec(vec![0.0, 1.0, 1.0], [3]).bernoulli().to_vec(), [0.0, 1.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn bernoulli(&self) -> Self {
        self.bernoulli_with(&Generator::default())
    }
    /// As [`Tensor::bernoulli`] from a given generator.
    #[track_caller]
    pub fn bernoulli_with(&self, generator: &Generator) -> Self {
        Self::rand_with(generator, self.shape()).lt(self).to()
    }
    /// While training, zero with probability `p` and elsewhere divided by 1 − p; unchanged otherwise. From this
    /// thread's generator; the gradient meets the same mask.
    ///
    /// Panics (or fails the running entry point) unless `p` is in 0..=1.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let x = Tensor::<f32>::ones([100]).requires_grad_(true);
    /// let y = x.dropout(0.5, true);
    /// y.sum().backward()?;
    /// assert_eq!(x.grad().unwrap().to_vec(), y.to_vec());
    /// assert_eq!(x.dropout(0.5, false).to_vec(), x.to_vec());
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    #[track_caller]
    pub fn dropout(&self, p: f64, train: bool) -> Self {
        self.dropout_with(&Generator::default(), p, train)
    }
    /// As [`Tensor::dropout`] from a given generator.
    #[track_caller]
    pub fn dropout_with(&self, generator: &Generator, p: f64, train: bool) -> Self {
        if !train {
            return self.clone();
        }
        let key = generator.key();
        Tensor::from_value(evaluate(|e| ex(self.value().clone(), e).dropout(&ex(key, e), p)))
    }
}

impl Tensor<i64> {
    /// Whole numbers of `low..high`, each as likely, from this thread's generator.
    ///
    /// Panics (or fails the running entry point) if the range is empty.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// assert!(Tensor::randint(-2, 3, [50]).to_vec().iter().all(|n| (-2..3).contains(n)));
    /// ```
    #[track_caller]
    pub fn randint(low: i64, high: i64, shape: impl IntoShape) -> Self {
        Self::randint_with(&Generator::default(), low, high, shape)
    }
    /// As [`Tensor::randint`] from a given generator.
    #[track_caller]
    pub fn randint_with(generator: &Generator, low: i64, high: i64, shape: impl IntoShape) -> Self {
        let attrs = [Attr::Int(low), Attr::Int(high), Attr::dims(&shape.into_shape())];
        Tensor::from_value(draw(generator, &random::RANDINT, attrs))
    }
    /// The numbers 0, 1, … n−1 in a random order, from this thread's generator.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let mut order = Tensor::randperm(10).to_vec();
    /// order.sort();
    /// assert_eq!(order, Vec::from_iter(0..10));
    /// ```
    #[track_caller]
    pub fn randperm(n: usize) -> Self {
        Self::randperm_with(&Generator::default(), n)
    }
    /// As [`Tensor::randperm`] from a given generator.
    #[track_caller]
    pub fn randperm_with(generator: &Generator, n: usize) -> Self {
        Tensor::from_value(draw(generator, &random::RANDPERM, [Attr::Int(n as i64)]))
    }
}
