//! Learning rates over time: from an epoch to the rate of each group, with the values of PyTorch's schedulers.
//!
//! A [`Policy`] computes the rate from the epoch, the first rate and the last one; [`Schedule`] applies it. Policies
//! that multiply the last rate can be chained: several schedules act on one optimiser, one after the other.

use super::{Scheduled, StateDict, require};
use crate::error::{Error, Result};
use std::f64::consts::PI;

/// Where a schedule is, for one group.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// The epoch: 0 when the schedule is made, one more at each step.
    pub epoch: u64,
    /// The number of the group.
    pub group: usize,
    /// The group's rate before any schedule.
    pub initial_lr: f64,
    /// The group's rate now.
    pub lr: f64,
}

/// How a rate depends on the epoch. The types beside this trait are PyTorch's; a program may have its own.
///
/// ```
/// use autograd_runtime::{Result, Tensor, optim::{At, Policy, Schedule, Sgd}};
///
/// /// The first rate over √(1 + epoch).
/// struct InverseRoot;
/// impl Policy for InverseRoot {
///     fn check(&self, _groups: usize) -> Result<()> {
///         Ok(())
///     }
///     fn lr(&self, at: At) -> f64 {
///         at.initial_lr / (1.0 + at.epoch as f64).sqrt()
///     }
/// }
/// let mut sgd = Sgd::new([&Tensor::<f64>::ones([2])], 1.0);
/// let mut schedule = Schedule::new(&mut sgd, InverseRoot)?;
/// (0..3).try_for_each(|_| schedule.step(&mut sgd))?;
/// assert_eq!(sgd.groups()[0].options.lr, 0.5);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
pub trait Policy {
    /// Checks the options, for a number of groups.
    ///
    /// # Errors
    /// If an option is outside what the policy takes.
    fn check(&self, groups: usize) -> Result<()>;
    /// The rate at an epoch.
    fn lr(&self, at: At) -> f64;
    /// The momentum at an epoch, if the policy moves that too.
    fn momentum(&self, _epoch: u64) -> Option<f64> {
        None
    }
    /// The last epoch that there is a rate for, if there is a last one.
    fn last_epoch(&self) -> Option<u64> {
        None
    }
}

/// A policy at work on an optimiser.
///
/// ```
/// use autograd_runtime::{Tensor, optim::{Schedule, Sgd, StepLr}};
/// let w = Tensor::<f64>::ones([2]);
/// let mut sgd = Sgd::new([&w], 1.0);
/// let mut schedule = Schedule::new(&mut sgd, StepLr { step_size: 2, ..StepLr::default() })?;
/// let mut rates = Vec::new();
/// for _epoch in 0..4 {
///     sgd.step_with([&w])?;
///     rates.push(sgd.groups()[0].options.lr);
///     schedule.step(&mut sgd)?;
/// }
/// assert_eq!(rates, [1.0, 1.0, 0.1, 0.1]);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Schedule<P> {
    policy: P,
    epoch: u64,
}

impl<P: Policy> Schedule<P> {
    /// Starts a schedule: sets the rates of epoch 0.
    ///
    /// # Errors
    /// If an option is outside what the policy takes.
    pub fn new(optimizer: &mut dyn Scheduled, policy: P) -> Result<Self> {
        policy.check(optimizer.rates().len())?;
        let schedule = Schedule { policy, epoch: 0 };
        schedule.apply(optimizer, 0)?;
        Ok(schedule)
    }
    /// Sets the rates of the next epoch. Called after the optimiser's steps of an epoch (or, with a policy that counts
    /// batches, of a batch).
    ///
    /// # Errors
    /// After the last epoch of the policy, and if groups were added that it has no rate for.
    pub fn step(&mut self, optimizer: &mut dyn Scheduled) -> Result<()> {
        let next = self.epoch.saturating_add(1);
        if let Some(last) = self.policy.last_epoch().filter(|&last| next > last) {
            return Err(Error::value("Schedule::step", format!("expected at most {last} steps, found one more")));
        }
        self.policy.check(optimizer.rates().len())?;
        self.apply(optimizer, next)?;
        self.epoch = next;
        Ok(())
    }
    fn apply(&self, optimizer: &mut dyn Scheduled, epoch: u64) -> Result<()> {
        let momentum = self.policy.momentum(epoch);
        let mut rates = optimizer.rates();
        if momentum.is_some() && rates.iter().any(|r| r.momentum.is_none()) {
            return Err(Error::value(
                "Schedule",
                "cycle_momentum: expected an optimiser with momentum, found one without",
            ));
        }
        for (group, rates) in rates.iter_mut().enumerate() {
            let initial_lr = *rates.initial_lr.get_or_insert(*rates.lr);
            *rates.lr = self.policy.lr(At { epoch, group, initial_lr, lr: *rates.lr });
            if let (Some(to), Some(from)) = (momentum, &mut rates.momentum) {
                **from = to;
            }
        }
        Ok(())
    }
    /// The number of steps so far.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
    /// What the schedule remembers: its epoch. Rates are in the optimiser's state.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::default();
        state.insert("epoch", self.epoch);
        state
    }
    /// Goes on at another schedule's epoch. The optimiser's state is loaded by itself.
    ///
    /// # Errors
    /// If the state has no epoch. Nothing is changed then.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        self.epoch = state.get("epoch")?;
        Ok(())
    }
}

fn positive(op: &str, name: &str, n: u64) -> Result<()> {
    require(op, name, n as f64, n > 0, "a number above 0")
}

/// The rate times `gamma` every `step_size` epochs.
#[derive(Clone, Copy, Debug)]
pub struct StepLr {
    /// Epochs between two changes.
    pub step_size: u64,
    /// The factor.
    pub gamma: f64,
}
impl Default for StepLr {
    fn default() -> Self {
        StepLr { step_size: 30, gamma: 0.1 }
    }
}
impl Policy for StepLr {
    fn check(&self, _: usize) -> Result<()> {
        positive("StepLr", "step_size", self.step_size)
    }
    fn lr(&self, at: At) -> f64 {
        if at.epoch > 0 && at.epoch.is_multiple_of(self.step_size) { at.lr * self.gamma } else { at.lr }
    }
}

/// The rate times `gamma` at each milestone.
#[derive(Clone, Debug)]
pub struct MultiStepLr {
    /// Epochs of change; one that stands twice counts twice.
    pub milestones: Vec<u64>,
    /// The factor.
    pub gamma: f64,
}
impl Default for MultiStepLr {
    fn default() -> Self {
        MultiStepLr { milestones: Vec::new(), gamma: 0.1 }
    }
}
impl Policy for MultiStepLr {
    fn check(&self, _: usize) -> Result<()> {
        Ok(())
    }
    fn lr(&self, at: At) -> f64 {
        at.lr * self.gamma.powf(self.milestones.iter().filter(|&&m| m == at.epoch).count() as f64)
    }
}

/// The rate times `gamma` every epoch.
#[derive(Clone, Copy, Debug)]
pub struct ExponentialLr {
    /// The factor.
    pub gamma: f64,
}
impl Policy for ExponentialLr {
    fn check(&self, _: usize) -> Result<()> {
        Ok(())
    }
    fn lr(&self, at: At) -> f64 {
        if at.epoch > 0 { at.lr * self.gamma } else { at.lr }
    }
}

/// From `start_factor` to `end_factor` times the rate, in equal parts over `total_iters` epochs.
#[derive(Clone, Copy, Debug)]
pub struct LinearLr {
    /// The factor of epoch 0, above 0 and at most 1.
    pub start_factor: f64,
    /// The factor at the end, 0 to 1.
    pub end_factor: f64,
    /// Epochs until the end.
    pub total_iters: u64,
}
impl Default for LinearLr {
    fn default() -> Self {
        LinearLr { start_factor: 1.0 / 3.0, end_factor: 1.0, total_iters: 5 }
    }
}
impl Policy for LinearLr {
    fn check(&self, _: usize) -> Result<()> {
        let (start, end) = (self.start_factor, self.end_factor);
        require("LinearLr", "start_factor", start, start > 0.0 && start <= 1.0, "a number in (0, 1]")?;
        require("LinearLr", "end_factor", end, (0.0..=1.0).contains(&end), "a number in [0, 1]")
    }
    fn lr(&self, at: At) -> f64 {
        if at.epoch == 0 {
            return at.lr * self.start_factor;
        }
        if at.epoch > self.total_iters {
            return at.lr;
        }
        // the factor of this epoch over that of the last
        let change = self.end_factor - self.start_factor;
        at.lr * (1.0 + change / (self.total_iters as f64 * self.start_factor + (at.epoch - 1) as f64 * change))
    }
}

/// Half a cosine from the rate down to `eta_min` in `t_max` epochs, then up again, and so on.
///
/// ```
/// use autograd_runtime::{Tensor, optim::{CosineAnnealingLr, Schedule, Sgd}};
/// let mut sgd = Sgd::new([&Tensor::<f64>::ones([2])], 1.0);
/// let mut schedule = Schedule::new(&mut sgd, CosineAnnealingLr { t_max: 4, eta_min: 0.2 })?;
/// (0..2).try_for_each(|_| schedule.step(&mut sgd))?;
/// assert!((sgd.groups()[0].options.lr - 0.6).abs() < 1e-12);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CosineAnnealingLr {
    /// Epochs of half a period.
    pub t_max: u64,
    /// The least rate.
    pub eta_min: f64,
}
impl Default for CosineAnnealingLr {
    fn default() -> Self {
        CosineAnnealingLr { t_max: 50, eta_min: 0.0 }
    }
}
impl Policy for CosineAnnealingLr {
    fn check(&self, _: usize) -> Result<()> {
        positive("CosineAnnealingLr", "t_max", self.t_max)
    }
    fn lr(&self, at: At) -> f64 {
        let t = self.t_max as f64;
        let height = |epoch: u64| 1.0 + (PI * epoch as f64 / t).cos();
        match at.epoch {
            0 => at.lr,
            // from the bottom, where the quotient below is 0/0
            e if (e - 1) % self.t_max.saturating_mul(2) == self.t_max => {
                at.lr + (at.initial_lr - self.eta_min) * (1.0 - (PI / t).cos()) / 2.0
            }
            e => height(e) / height(e - 1) * (at.lr - self.eta_min) + self.eta_min,
        }
    }
}

/// The first rate times a function of the epoch and the number of the group.
///
/// ```
/// use autograd_runtime::{Tensor, optim::{LambdaLr, Schedule, Sgd}};
/// let mut sgd = Sgd::new([&Tensor::<f64>::ones([2])], 0.5);
/// let mut schedule = Schedule::new(&mut sgd, LambdaLr(|epoch, _group| 0.5f64.powi(epoch as i32)))?;
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.groups()[0].options.lr, 0.25);
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LambdaLr<F>(
    /// The factor.
    pub F,
);
impl<F: Fn(u64, usize) -> f64> Policy for LambdaLr<F> {
    fn check(&self, _: usize) -> Result<()> {
        Ok(())
    }
    fn lr(&self, at: At) -> f64 {
        at.initial_lr * self.0(at.epoch, at.group)
    }
}

/// The way between two rates of [`OneCycleLr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anneal {
    /// Half a cosine.
    Cos,
    /// A line.
    Linear,
}
impl Anneal {
    fn between(self, start: f64, end: f64, part: f64) -> f64 {
        match self {
            Anneal::Cos => end + (start - end) / 2.0 * ((PI * part).cos() + 1.0),
            Anneal::Linear => (end - start) * part + start,
        }
    }
}

/// One cycle (Smith and Topin, 2018), stepped after every batch: up to `max_lr`, then down to far below the first
/// rate; the momentum (or β₁) goes the other way.
///
/// ```
/// use autograd_runtime::{Tensor, optim::{OneCycleLr, Schedule, Sgd}};
/// let mut sgd = Sgd::new([&Tensor::<f64>::ones([2])], 0.1).momentum(0.9);
/// let cycle = OneCycleLr { max_lr: vec![1.0], total_steps: 10, ..OneCycleLr::default() };
/// let mut schedule = Schedule::new(&mut sgd, cycle)?;
/// let mut rates = vec![sgd.groups()[0].options.lr];
/// for _batch in 0..9 {
///     schedule.step(&mut sgd)?;
///     rates.push(sgd.groups()[0].options.lr);
/// }
/// let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
/// assert!(close(rates[0], 1.0 / 25.0) && close(rates[2], 1.0) && close(rates[9], 1.0 / 25.0 / 1e4));
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OneCycleLr {
    /// The highest rate: one for all groups, or one for each.
    pub max_lr: Vec<f64>,
    /// Steps of the cycle.
    pub total_steps: u64,
    /// The part of the cycle that goes up.
    pub pct_start: f64,
    /// The way between the rates.
    pub anneal_strategy: Anneal,
    /// Whether the momentum is cycled too.
    pub cycle_momentum: bool,
    /// The momentum at the highest rate.
    pub base_momentum: f64,
    /// The momentum at the lowest rates.
    pub max_momentum: f64,
    /// The first rate is the highest over this.
    pub div_factor: f64,
    /// The last rate is the first over this.
    pub final_div_factor: f64,
    /// Whether to go down as long as up, and only then far down.
    pub three_phase: bool,
}
impl Default for OneCycleLr {
    fn default() -> Self {
        OneCycleLr {
            max_lr: Vec::new(),
            total_steps: 0,
            pct_start: 0.3,
            anneal_strategy: Anneal::Cos,
            cycle_momentum: true,
            base_momentum: 0.85,
            max_momentum: 0.95,
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
        }
    }
}
impl OneCycleLr {
    /// A value at an epoch, which starts low, goes high and ends at `last`.
    fn at(&self, epoch: u64, low: f64, high: f64, last: f64) -> f64 {
        let (epoch, total) = (epoch as f64, self.total_steps as f64);
        let up = self.pct_start * total - 1.0;
        let phases: &[(f64, f64, f64)] = if self.three_phase {
            &[(up, low, high), (2.0 * self.pct_start * total - 2.0, high, low), (total - 1.0, low, last)]
        } else {
            &[(up, low, high), (total - 1.0, high, last)]
        };
        let mut from = 0.0;
        for (i, &(to, start, end)) in phases.iter().enumerate() {
            if epoch <= to || i + 1 == phases.len() {
                // a phase of no length is at its end
                let part = if to == from { 1.0 } else { (epoch - from) / (to - from) };
                return self.anneal_strategy.between(start, end, part);
            }
            from = to;
        }
        last
    }
}
impl Policy for OneCycleLr {
    fn check(&self, groups: usize) -> Result<()> {
        let found = self.max_lr.len();
        if found != 1 && found != groups {
            let what = format!("max_lr: expected 1 rate or {groups}, one a group, found {found}");
            return Err(Error::value("OneCycleLr", what));
        }
        positive("OneCycleLr", "total_steps", self.total_steps)?;
        let part = self.pct_start;
        require("OneCycleLr", "pct_start", part, (0.0..=1.0).contains(&part), "a number in [0, 1]")
    }
    fn lr(&self, at: At) -> f64 {
        let high = self.max_lr.get(at.group).or(self.max_lr.first()).copied().unwrap_or(at.lr);
        let low = high / self.div_factor;
        self.at(at.epoch, low, high, low / self.final_div_factor)
    }
    fn momentum(&self, epoch: u64) -> Option<f64> {
        self.cycle_momentum.then(|| self.at(epoch, self.max_momentum, self.base_momentum, self.max_momentum))
    }
    fn last_epoch(&self) -> Option<u64> {
        Some(self.total_steps)
    }
}
