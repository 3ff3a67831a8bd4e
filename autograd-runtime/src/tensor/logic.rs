//! Truth values combined elementwise, as methods of tensors.

use super::{Tensor, typed::evaluate};

impl Tensor<bool> {
    /// Whether both hold; the shapes broadcast.
    ///
    /// ```
    /// use autograd_runtime::Tensor;
    /// let (a, b) = (Tensor::from_vec(vec![true, true], [2]), Tensor::from_vec(vec![true, false], [2]));
    /// assert_eq!(a.logical_and(&b).to_vec(), [true, false]);
    /// assert_eq!(a.logical_xor(&b).logical_or(&b.logical_not()).to_vec(), [false, true]);
    /// ```
    #[track_caller]
    pub fn logical_and(&self, o: &Tensor<bool>) -> Self {
        Tensor::from_value(evaluate(|e| self.ex(e).logical_and(&o.ex(e))))
    }
    /// Whether one or both hold; the shapes broadcast.
    #[track_caller]
    pub fn logical_or(&self, o: &Tensor<bool>) -> Self {
        Tensor::from_value(evaluate(|e| self.ex(e).logical_or(&o.ex(e))))
    }
    /// Whether one alone holds; the shapes broadcast.
    #[track_caller]
    pub fn logical_xor(&self, o: &Tensor<bool>) -> Self {
        Tensor::from_value(evaluate(|e| self.ex(e).logical_xor(&o.ex(e))))
    }
    /// Whether it does not hold.
    #[track_caller]
    pub fn logical_not(&self) -> Self {
        Tensor::from_value(evaluate(|e| self.ex(e).logical_not()))
    }
}
