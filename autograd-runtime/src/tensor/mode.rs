//! Modes of the running thread: whether operations are recorded, and whether backward looks for NaN.

use std::cell::Cell;

thread_local! {
    static GRAD_ENABLED: Cell<bool> = const { Cell::new(true) };
    static ANOMALY: Cell<bool> = const { Cell::new(false) };
}

/// Sets a mode for a scope; it is restored afterwards, also when the scope unwinds.
fn scoped<R>(mode: &'static std::thread::LocalKey<Cell<bool>>, on: bool, f: impl FnOnce() -> R) -> R {
    struct Restore(&'static std::thread::LocalKey<Cell<bool>>, bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _restore = Restore(mode, mode.replace(on));
    f()
}

/// Whether operations on this thread are recorded for backward.
pub fn is_grad_enabled() -> bool {
    GRAD_ENABLED.get()
}

/// Runs a closure with recording switched on or off; restored afterwards, also when it unwinds.
///
/// ```
/// use autograd_runtime::{Tensor, no_grad, set_grad_enabled};
/// let x = Tensor::<f64>::ones(&[2]).requires_grad_(true);
/// no_grad(|| {
///     assert!(!(&x * 2.0).requires_grad());
///     assert!(set_grad_enabled(true, || &x * 2.0).requires_grad());
/// });
/// ```
pub fn set_grad_enabled<R>(on: bool, f: impl FnOnce() -> R) -> R {
    scoped(&GRAD_ENABLED, on, f)
}

/// Runs a closure without recording: its results are not tracked.
///
/// ```
/// use autograd_runtime::{Tensor, no_grad};
/// let x = Tensor::<f64>::ones(&[2]).requires_grad_(true);
/// assert!(!no_grad(|| &x * 2.0).requires_grad());
/// ```
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    set_grad_enabled(false, f)
}

/// Runs a closure with recording: what [`no_grad`] switched off is on again inside.
///
/// ```
/// use autograd_runtime::{Tensor, enable_grad, no_grad};
/// let x = Tensor::<f64>::ones([2]).requires_grad_(true);
/// assert!(no_grad(|| enable_grad(|| &x * 2.0)).requires_grad());
/// ```
pub fn enable_grad<R>(f: impl FnOnce() -> R) -> R {
    set_grad_enabled(true, f)
}

/// Switches recording on this thread for good, until the next call or the end of an enclosing scope; returns
/// what it was: the switch beside the scopes, as PyTorch's `torch.set_grad_enabled` called as a function.
///
/// ```
/// use autograd_runtime::{is_grad_enabled, switch_grad};
/// let was = switch_grad(false);
/// assert!(was && !is_grad_enabled());
/// switch_grad(was);
/// ```
pub fn switch_grad(on: bool) -> bool {
    GRAD_ENABLED.replace(on)
}

/// Whether backward on this thread looks for NaN.
pub fn is_anomaly_enabled() -> bool {
    ANOMALY.get()
}

/// Runs a closure in anomaly mode: a backward in which a derivative turns NaN is an error that names the
/// operation of the forward and the line that called it. It reads every gradient once more: for finding faults.
///
/// ```
/// use autograd_runtime::{Tensor, detect_anomaly};
/// let x = Tensor::<f64>::zeros([1]).requires_grad_(true);
/// let y = (&x * 0.0).sqrt() * 0.0;
/// let error = detect_anomaly(|| y.sum().backward()).unwrap_err().to_string();
/// assert!(error.contains("'SqrtBackward0' returned nan values in its 0th output"), "{error}");
/// ```
pub fn detect_anomaly<R>(f: impl FnOnce() -> R) -> R {
    scoped(&ANOMALY, true, f)
}

/// Switches anomaly mode on this thread; returns what it was. See [`detect_anomaly`].
pub fn set_detect_anomaly(on: bool) -> bool {
    ANOMALY.replace(on)
}
