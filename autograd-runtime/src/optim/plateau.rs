//! Lower rates when a metric stops getting better: what is scheduled by results, not by time.

use super::{Scheduled, StateDict, require};
use crate::error::Result;

/// By how much a metric must be better to count: a share of the best so far, or a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// A share of the best.
    Rel(f64),
    /// A number.
    Abs(f64),
}

/// Lowers the rates when a metric has not become better for some epochs.
///
/// ```
/// use autograd_runtime::{Tensor, optim::{ReduceLrOnPlateau, Sgd}};
/// let mut sgd = Sgd::new([&Tensor::<f64>::ones([2])], 1.0);
/// let mut plateau = ReduceLrOnPlateau::new().factor(0.5).patience(1);
/// for loss in [3.0, 2.0, 2.0, 2.0] {
///     plateau.step(&mut sgd, loss)?;
/// }
/// assert_eq!(sgd.groups()[0].options.lr, 0.5);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReduceLrOnPlateau {
    maximize: bool,
    factor: f64,
    patience: u64,
    threshold: Threshold,
    cooldown: u64,
    min_lr: f64,
    eps: f64,
    best: Option<f64>,
    bad_epochs: u64,
    cooling: u64,
}
impl Default for ReduceLrOnPlateau {
    fn default() -> Self {
        ReduceLrOnPlateau {
            maximize: false,
            factor: 0.1,
            patience: 10,
            threshold: Threshold::Rel(1e-4),
            cooldown: 0,
            min_lr: 0.0,
            eps: 1e-8,
            best: None,
            bad_epochs: 0,
            cooling: 0,
        }
    }
}
impl ReduceLrOnPlateau {
    /// With PyTorch's defaults: a smaller metric is better, a tenth of the rate after ten bad epochs.
    pub fn new() -> Self {
        Self::default()
    }
    /// Whether a larger metric is better.
    pub fn maximize(self, maximize: bool) -> Self {
        Self { maximize, ..self }
    }
    /// What a rate is multiplied by, below 1.
    pub fn factor(self, factor: f64) -> Self {
        Self { factor, ..self }
    }
    /// How many bad epochs are borne.
    pub fn patience(self, patience: u64) -> Self {
        Self { patience, ..self }
    }
    /// By how much a metric must be better to count.
    pub fn threshold(self, threshold: Threshold) -> Self {
        Self { threshold, ..self }
    }
    /// For how many epochs after a change bad ones are not counted.
    pub fn cooldown(self, cooldown: u64) -> Self {
        Self { cooldown, ..self }
    }
    /// The least rate.
    pub fn min_lr(self, min_lr: f64) -> Self {
        Self { min_lr, ..self }
    }
    /// The least change of a rate that is made.
    pub fn eps(self, eps: f64) -> Self {
        Self { eps, ..self }
    }

    fn is_better(&self, metric: f64) -> bool {
        let best = self.best.unwrap_or(if self.maximize { f64::NEG_INFINITY } else { f64::INFINITY });
        match (self.maximize, self.threshold) {
            (false, Threshold::Rel(by)) => metric < best * (1.0 - by),
            (false, Threshold::Abs(by)) => metric < best - by,
            (true, Threshold::Rel(by)) => metric > best * (1.0 + by),
            (true, Threshold::Abs(by)) => metric > best + by,
        }
    }
    /// Takes the metric of an epoch.
    ///
    /// # Errors
    /// If the factor is 1 or more.
    pub fn step(&mut self, optimizer: &mut dyn Scheduled, metric: f64) -> Result<()> {
        require("ReduceLrOnPlateau", "factor", self.factor, self.factor < 1.0, "a number below 1")?;
        if self.is_better(metric) {
            (self.best, self.bad_epochs) = (Some(metric), 0);
        } else {
            self.bad_epochs = self.bad_epochs.saturating_add(1);
        }
        if self.cooling > 0 {
            (self.cooling, self.bad_epochs) = (self.cooling - 1, 0);
        }
        if self.bad_epochs > self.patience {
            (self.cooling, self.bad_epochs) = (self.cooldown, 0);
            for rates in optimizer.rates() {
                let lower = (*rates.lr * self.factor).max(self.min_lr);
                if *rates.lr - lower > self.eps {
                    *rates.lr = lower;
                }
            }
        }
        Ok(())
    }
    /// What is remembered: the best metric, and the epochs counted.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::default();
        if let Some(best) = self.best {
            state.insert("best", best);
        }
        state.insert("bad_epochs", self.bad_epochs);
        state.insert("cooling", self.cooling);
        state
    }
    /// Goes on where another was. The optimiser's state is loaded by itself.
    ///
    /// # Errors
    /// If the state is incomplete. Nothing is changed then.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let best = state.has_value("best").then(|| state.get("best")).transpose()?;
        (self.best, self.bad_epochs, self.cooling) = (best, state.get("bad_epochs")?, state.get("cooling")?);
        Ok(())
    }
}
