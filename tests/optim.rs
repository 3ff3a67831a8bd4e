//! Optimisers: trajectories against PyTorch's (`data/optim.json`, written by `data/optim.py`), then what PyTorch
//! cannot say: groups, saved states, wrong use, both engines.

mod common;

use autograd::{Float, optim::*, prelude::*};
use common::near;
use serde_json::Value as Json;
use std::path::PathBuf;

const STEPS: usize = 100;

// --- the problem: see the head of data/optim.py ---

type Params<T> = [Tensor<T>; 3];

fn start<T: Float>() -> Params<T> {
    let t = |v: &[f64]| v.iter().map(|&x| T::of(x)).collect::<Vec<T>>();
    [
        Tensor::from_vec(t(&[0.3, 0.7, -1.1]), [3]),
        Tensor::from_vec(t(&[0.2, -0.4, 1.3, 0.8]), [2, 2]),
        Tensor::from_vec(t(&[-0.6, 0.9]), [2]),
    ]
}

fn elements<T: Float>(p: &[Tensor<T>]) -> Vec<f64> {
    p.iter().flat_map(|t| t.to_vec()).map(T::f64).collect()
}

const W: [f64; 3] = [1.0, 10.0, 0.1];
const TARGET: [f64; 3] = [1.0, -2.0, 0.5];

fn loss_of(x: &[f64]) -> f64 {
    let r = x[8] - x[7] * x[7];
    let quadratic: f64 = (0..3).map(|i| W[i] * (x[i] - TARGET[i]).powi(2)).sum::<f64>() / 2.0;
    let quartic: f64 = x[3..7].iter().map(|b| b.powi(4) / 4.0 - b).sum();
    quadratic + quartic + (1.0 - x[7]).powi(2) + 5.0 * r * r + x[0] * x[3] / 10.0
}

fn gradients<T: Float>(p: &[Tensor<T>]) -> Params<T> {
    let x = elements(p);
    let mut g = [0.0; 9];
    (0..3).for_each(|i| g[i] = W[i] * (x[i] - TARGET[i]));
    (3..7).for_each(|i| g[i] = x[i].powi(3) - 1.0);
    g[0] += x[3] / 10.0;
    g[3] += x[0] / 10.0;
    let r = x[8] - x[7] * x[7];
    (g[7], g[8]) = (-2.0 * (1.0 - x[7]) - 20.0 * x[7] * r, 10.0 * r);
    let t = |r: std::ops::Range<usize>| g[r].iter().map(|&x| T::of(x)).collect::<Vec<T>>();
    [Tensor::from_vec(t(0..3), [3]), Tensor::from_vec(t(3..7), [2, 2]), Tensor::from_vec(t(7..9), [2])]
}

fn set_gradients<T: Float>(p: &[Tensor<T>]) {
    p.iter().zip(&gradients(p)).for_each(|(p, g)| p.set_grad(Some(g)).expect("shapes agree"));
}

#[differentiable]
fn loss(a: &Tensor<f64>, b: &Tensor<f64>, c: &Tensor<f64>) -> Tensor<f64> {
    let w = Tensor::from_vec(vec![1.0, 10.0, 0.1], [3]);
    let target = Tensor::from_vec(vec![1.0, -2.0, 0.5], [3]);
    let (c0, c1) = (c.select(0, 0), c.select(0, 1));
    let quadratic = (w * (a - &target).square()).sum() * 0.5;
    let quartic = (b.powi(4) * 0.25 - b).sum();
    let valley = (1.0 - &c0).square() + (&c1 - c0.square()).square() * 5.0;
    quadratic + quartic + valley + a.select(0, 0) * b.select(0, 0).select(0, 0) * 0.1
}

// --- reading the data ---

fn data() -> Json {
    serde_json::from_str(include_str!("data/optim.json")).expect("JSON")
}
fn runs(part: &str) -> Vec<Json> {
    data()[part].as_array().expect("a list").clone()
}
fn number(x: &Json) -> f64 {
    x.as_f64().expect("a number")
}
fn numbers(x: &Json) -> Vec<f64> {
    x.as_array().expect("a list").iter().map(number).collect()
}
/// Calls a function with each option's name and value.
fn options(of: &Json, mut f: impl FnMut(&str, &Json)) {
    of.as_object().expect("options").iter().for_each(|(name, value)| f(name, value));
}
#[track_caller]
fn agree(found: &[f64], want: &Json, tolerance: f64, what: &Json) {
    let want = numbers(want);
    assert_eq!(found.len(), want.len());
    for (a, b) in found.iter().zip(&want) {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{what}: {found:?} is not {want:?}");
    }
}

// --- trajectories ---

/// An algorithm that the data has runs of.
trait FromJson: Algorithm {
    fn set(&mut self, name: &str, value: &Json);
}
impl FromJson for SgdOptions {
    fn set(&mut self, name: &str, v: &Json) {
        match name {
            "lr" => self.lr = number(v),
            "momentum" => self.momentum = number(v),
            "dampening" => self.dampening = number(v),
            "weight_decay" => self.weight_decay = number(v),
            "nesterov" => self.nesterov = v == true,
            "maximize" => self.maximize = v == true,
            _ => panic!("{name}"),
        }
    }
}
impl<const DECOUPLED: bool> FromJson for AdamOptions<DECOUPLED> {
    fn set(&mut self, name: &str, v: &Json) {
        match name {
            "lr" => self.lr = number(v),
            "betas" => self.betas = (number(&v[0]), number(&v[1])),
            "eps" => self.eps = number(v),
            "weight_decay" => self.weight_decay = number(v),
            "amsgrad" => self.amsgrad = v == true,
            "maximize" => self.maximize = v == true,
            _ => panic!("{name}"),
        }
    }
}
impl FromJson for RmsPropOptions {
    fn set(&mut self, name: &str, v: &Json) {
        match name {
            "lr" => self.lr = number(v),
            "alpha" => self.alpha = number(v),
            "eps" => self.eps = number(v),
            "weight_decay" => self.weight_decay = number(v),
            "momentum" => self.momentum = number(v),
            "centered" => self.centered = v == true,
            "maximize" => self.maximize = v == true,
            _ => panic!("{name}"),
        }
    }
}

fn kept(step: usize) -> bool {
    step.is_multiple_of(5) || step == 1 || step == STEPS
}

/// Follows a run of the data with the two groups of the problem.
fn follow<T: Float, A: FromJson>(run: &Json, make: impl Fn(&[Tensor<T>]) -> Optimizer<T, A>, tolerance: f64) {
    let p = start::<T>();
    let mut optimizer = make(&p[..2]);
    let mut first = *optimizer.defaults();
    options(&run["options"], |name, value| first.set(name, value));
    optimizer.groups_mut()[0].options = first;
    let mut second = first;
    options(&run["second"], |name, value| second.set(name, value));
    optimizer.add_param_group(&p[2..], second).unwrap();

    let points = run["points"].as_array().unwrap();
    let what = &Json::from(format!("{} {}", run["optimizer"], run["options"]));
    agree(&elements(&p), &points[0], tolerance, what);
    let mut next = points[1..].iter();
    for step in 1..=STEPS {
        set_gradients(&p);
        optimizer.step().unwrap();
        if kept(step) {
            agree(&elements(&p), next.next().unwrap(), tolerance, what);
        }
    }
    assert!(next.next().is_none());
}

fn follow_all<T: Float>(tolerance: f64) {
    let all = runs("optimizers");
    assert!(all.len() > 20);
    for run in &all {
        let lr = number(&run["lr"]);
        match run["optimizer"].as_str().unwrap() {
            "Sgd" => follow::<T, _>(run, |p| Sgd::new(p, lr), tolerance),
            "Adam" => follow::<T, _>(run, |p| Adam::new(p, lr), tolerance),
            "AdamW" => follow::<T, _>(run, |p| AdamW::new(p, lr), tolerance),
            "RmsProp" => follow::<T, _>(run, |p| RmsProp::new(p, lr), tolerance),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn trajectories_are_pytorchs() {
    follow_all::<f64>(1e-12);
}

#[test]
fn f32_trajectories_are_close() {
    follow_all::<f32>(2e-4);
}

#[test]
fn builders_set_options_of_all_groups() {
    let p = start::<f64>();
    let sgd = Sgd::new(&p, 0.1).momentum(0.9).dampening(0.2).weight_decay(0.3).nesterov(false).maximize(true);
    let want =
        SgdOptions { lr: 0.1, momentum: 0.9, dampening: 0.2, weight_decay: 0.3, nesterov: false, maximize: true };
    assert_eq!((sgd.groups()[0].options, *sgd.defaults()), (want, want));
    let adam = AdamW::new(&p, 0.1).betas(0.5, 0.6).eps(1e-3).weight_decay(0.7).amsgrad(true).maximize(true);
    let (betas, weight_decay) = ((0.5, 0.6), 0.7);
    let want = AdamOptions { lr: 0.1, betas, eps: 1e-3, weight_decay, amsgrad: true, maximize: true };
    assert_eq!(adam.groups()[0].options, want);
    let rms = RmsProp::new(&p, 0.1).alpha(0.8).eps(1e-4).weight_decay(0.2).momentum(0.4).centered(true).maximize(true);
    let (eps, momentum) = (1e-4, 0.4);
    let want = RmsPropOptions { lr: 0.1, alpha: 0.8, eps, weight_decay: 0.2, momentum, centered: true, maximize: true };
    assert_eq!(rms.groups()[0].options, want);
    assert_eq!(AdamOptions::<true>::default().weight_decay, 0.01);
    assert_eq!(RmsPropOptions::default().lr, 0.01);
}

#[test]
fn long_parameters_move_as_short_ones() {
    const N: usize = 200_003;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut random = || (0..N).map(|_| rng.f32() - 0.5).collect::<Vec<f32>>();
    let (x, g) = (random(), random());
    fn moved<A: Algorithm>(
        x: &[f32],
        g: &[f32],
        part: usize,
        make: impl Fn(&[Tensor<f32>]) -> Optimizer<f32, A>,
    ) -> Vec<u32> {
        let tensors = |v: &[f32]| v.chunks(part).map(|v| Tensor::from_vec(v.to_vec(), [v.len()])).collect::<Vec<_>>();
        let (x, g) = (tensors(x), tensors(g));
        let mut optimizer = make(&x);
        (0..3).for_each(|_| optimizer.step_with(&g).unwrap());
        x.iter().flat_map(|t| t.to_vec()).map(f32::to_bits).collect()
    }
    macro_rules! check {
        ($make:expr) => {
            assert!(moved(&x, &g, N, $make) == moved(&x, &g, 1001, $make));
        };
    }
    check!(|p| Sgd::new(p, 0.1));
    check!(|p| Sgd::new(p, 0.1).momentum(0.9).nesterov(true));
    check!(|p| Adam::new(p, 0.1).amsgrad(true));
    check!(|p| AdamW::new(p, 0.1));
    check!(|p| RmsProp::new(p, 0.1).centered(true).momentum(0.5));
}

// --- schedules ---

fn follow_schedule(run: &Json, optimizer: &mut impl Steps, step: &mut dyn FnMut(&mut dyn Scheduled, usize)) {
    let p = optimizer.params();
    for (epoch, want) in run["lrs"].as_array().unwrap().iter().enumerate() {
        if epoch > 0 {
            set_gradients(&p);
            optimizer.go();
            step(optimizer, epoch);
        }
        let lrs: Vec<f64> = optimizer.rates().iter().map(|r| *r.lr).collect();
        let want = numbers(want);
        assert_eq!(lrs.len(), want.len());
        for (a, b) in lrs.iter().zip(&want) {
            // near a rate of 0 the recursions of both sides leave a rounding error of the first rate
            assert!(
                (a - b).abs() <= 1e-12 * b.abs() + 1e-17,
                "{}, epoch {epoch}: {lrs:?} is not {want:?}",
                run["schedule"]
            );
        }
    }
    agree(&elements(&p), &run["points"][0], 1e-11, &run["options"]);
}

/// What the schedule tests need of an optimiser.
trait Steps: Scheduled {
    fn params(&self) -> Vec<Tensor<f64>>;
    fn go(&mut self);
}
impl<A: Algorithm> Steps for Optimizer<f64, A> {
    fn params(&self) -> Vec<Tensor<f64>> {
        self.groups().iter().flat_map(|g| g.params().to_vec()).collect()
    }
    fn go(&mut self) {
        self.step().unwrap();
    }
}

fn follow_policy<P: Policy>(run: &Json, policy: impl Fn() -> P) {
    let p = start();
    if run["optimizer"] == "Sgd" {
        let mut sgd = Sgd::new(&p[..2], 0.02).momentum(0.9);
        sgd.add_param_group(&p[2..], SgdOptions { lr: 0.01, ..*sgd.defaults() }).unwrap();
        let mut schedule = Schedule::new(&mut sgd, policy()).unwrap();
        follow_schedule(run, &mut sgd, &mut |o, _| schedule.step(o).unwrap());
        assert_eq!(schedule.epoch(), STEPS as u64);
    } else {
        let mut adam = Adam::new(&p[..2], 0.02);
        adam.add_param_group(&p[2..], AdamOptions { lr: 0.01, ..*adam.defaults() }).unwrap();
        let mut schedule = Schedule::new(&mut adam, policy()).unwrap();
        follow_schedule(run, &mut adam, &mut |o, _| schedule.step(o).unwrap());
    }
}

#[test]
fn schedules_are_pytorchs() {
    let mut seen = std::collections::BTreeSet::new();
    for run in &runs("schedules") {
        let o = &run["options"];
        let or = |name: &str, default: f64| o.get(name).map_or(default, number);
        let count = |x: &Json| x.as_u64().unwrap();
        let name = run["schedule"].as_str().unwrap();
        seen.insert(name.to_owned());
        match name {
            "StepLr" => follow_policy(run, || StepLr { step_size: count(&o["step_size"]), gamma: number(&o["gamma"]) }),
            "MultiStepLr" => follow_policy(run, || MultiStepLr {
                milestones: o["milestones"].as_array().unwrap().iter().map(count).collect(),
                gamma: number(&o["gamma"]),
            }),
            "ExponentialLr" => follow_policy(run, || ExponentialLr { gamma: number(&o["gamma"]) }),
            "CosineAnnealingLr" => {
                follow_policy(run, || CosineAnnealingLr { t_max: count(&o["T_max"]), eta_min: or("eta_min", 0.0) })
            }
            "LinearLr" => {
                let d = LinearLr::default();
                follow_policy(run, || LinearLr {
                    start_factor: or("start_factor", d.start_factor),
                    end_factor: or("end_factor", d.end_factor),
                    total_iters: o.get("total_iters").map_or(d.total_iters, count),
                });
            }
            "OneCycleLr" => {
                let d = OneCycleLr::default();
                follow_policy(run, || OneCycleLr {
                    max_lr: numbers(&o["max_lr"]),
                    total_steps: count(&o["total_steps"]),
                    pct_start: or("pct_start", d.pct_start),
                    anneal_strategy: if o.get("anneal_strategy").is_some() { Anneal::Linear } else { Anneal::Cos },
                    cycle_momentum: o.get("cycle_momentum").is_none(),
                    div_factor: or("div_factor", d.div_factor),
                    final_div_factor: or("final_div_factor", d.final_div_factor),
                    three_phase: o.get("three_phase").is_some(),
                    ..d
                });
            }
            "LambdaLr" => follow_policy(run, || {
                LambdaLr(|epoch: u64, group: usize| {
                    let e = epoch as f64;
                    if group == 0 { 1.0 / (1.0 + e / 10.0) } else { (e / 100.0).cos() }
                })
            }),
            "chained" | "ReduceLrOnPlateau" => {
                let p = start();
                let mut sgd = Sgd::new(&p[..2], 0.02).momentum(0.9);
                sgd.add_param_group(&p[2..], SgdOptions { lr: 0.01, ..*sgd.defaults() }).unwrap();
                if name == "chained" {
                    let warm_up = LinearLr { start_factor: 0.1, end_factor: 1.0, total_iters: 10 };
                    let mut warm_up = Schedule::new(&mut sgd, warm_up).unwrap();
                    let decay = CosineAnnealingLr { t_max: 60, eta_min: 1e-4 };
                    let mut decay = Schedule::new(&mut sgd, decay).unwrap();
                    follow_schedule(run, &mut sgd, &mut |o, _| {
                        warm_up.step(o).unwrap();
                        decay.step(o).unwrap();
                    });
                } else {
                    let by = or("threshold", 1e-4);
                    let absolute = o.get("threshold_mode").is_some();
                    let mut plateau = ReduceLrOnPlateau::new()
                        .maximize(o.get("mode").is_some())
                        .factor(or("factor", 0.1))
                        .patience(or("patience", 10.0) as u64)
                        .threshold(if absolute { Threshold::Abs(by) } else { Threshold::Rel(by) })
                        .cooldown(or("cooldown", 0.0) as u64)
                        .min_lr(or("min_lr", 0.0));
                    follow_schedule(run, &mut sgd, &mut |o, step| {
                        let step = step as f64;
                        plateau.step(o, 1.0 / step + 0.1 * step.sin()).unwrap();
                    });
                }
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(seen.len(), 9);
}

#[test]
fn wrong_schedules_are_errors() {
    let p = start::<f64>();
    let mut sgd = Sgd::new(&p, 0.1);
    assert!(Schedule::new(&mut sgd, StepLr { step_size: 0, gamma: 0.1 }).is_err());
    assert!(Schedule::new(&mut sgd, LinearLr { start_factor: 0.0, ..LinearLr::default() }).is_err());
    assert!(Schedule::new(&mut sgd, CosineAnnealingLr { t_max: 0, eta_min: 0.0 }).is_err());
    assert!(
        Schedule::new(&mut sgd, OneCycleLr { max_lr: vec![0.1; 3], total_steps: 3, ..OneCycleLr::default() }).is_err()
    );
    assert!(ReduceLrOnPlateau::new().factor(1.0).step(&mut sgd, 1.0).is_err());
    let mut lbfgs = Lbfgs::new(&p, 1.0);
    let cycle = OneCycleLr { max_lr: vec![0.1], total_steps: 2, ..OneCycleLr::default() };
    let e = Schedule::new(&mut lbfgs, cycle.clone()).unwrap_err();
    assert!(e.to_string().contains("momentum"), "{e}");
    assert_eq!(lbfgs.options.lr, 1.0);

    let mut schedule = Schedule::new(&mut sgd, cycle).unwrap();
    schedule.step(&mut sgd).unwrap();
    schedule.step(&mut sgd).unwrap();
    let lr = sgd.groups()[0].options.lr;
    assert!(schedule.step(&mut sgd).unwrap_err().to_string().contains("at most 2 steps"));
    assert_eq!((schedule.epoch(), sgd.groups()[0].options.lr), (2, lr));
}

// --- L-BFGS ---

fn lbfgs_of(p: &[Tensor<f64>], o: &Json) -> Lbfgs<f64> {
    let mut lbfgs = Lbfgs::new(p, 1.0);
    options(o, |name, v| match name {
        "lr" => lbfgs.options.lr = number(v),
        "max_iter" => lbfgs.options.max_iter = number(v) as usize,
        "max_eval" => lbfgs.options.max_eval = Some(number(v) as usize),
        "history_size" => lbfgs.options.history_size = number(v) as usize,
        "tolerance_change" => lbfgs.options.tolerance_change = number(v),
        "line_search_fn" => lbfgs.options.line_search = LineSearch::StrongWolfe,
        _ => panic!("{name}"),
    });
    lbfgs
}

#[test]
fn lbfgs_is_pytorchs() {
    for run in &runs("lbfgs") {
        let p = start::<f64>();
        let mut lbfgs = lbfgs_of(&p, &run["options"]);
        for (i, want) in numbers(&run["losses"]).into_iter().enumerate() {
            let loss = lbfgs.step(|| {
                set_gradients(&p);
                Ok(Tensor::scalar(loss_of(&elements(&p))))
            });
            near(loss.unwrap(), want, 1e-11);
            agree(&elements(&p), &run["points"][i + 1], 1e-11, &run["options"]);
            assert_eq!(lbfgs.evaluations(), run["evaluations"][i].as_u64().unwrap(), "{}", run["options"]);
        }
    }
}

#[test]
fn lbfgs_minimises_with_either_engine() -> Result<(), Error> {
    let p = start::<f64>();
    let mut lbfgs = Lbfgs::new(&p, 1.0).max_iter(60).line_search(LineSearch::StrongWolfe);
    lbfgs.step_with(|| {
        let (value, (a, b, c)) = loss::value_and_grad(&p[0], &p[1], &p[2])?;
        Ok((value.item(), [a, b, c]))
    })?;
    let q = start::<f64>().map(|t| t.requires_grad_(true));
    let mut lbfgs = Lbfgs::new(&q, 1.0).max_iter(60).line_search(LineSearch::StrongWolfe);
    lbfgs.step(|| {
        q.iter().try_for_each(|p| p.set_grad(None))?;
        let value = loss(&q[0], &q[1], &q[2]);
        value.backward()?;
        Ok(value)
    })?;
    elements(&p).iter().zip(elements(&q)).for_each(|(a, b)| near(*a, b, 1e-6));
    assert!(elements(&gradients(&p)).iter().all(|g| g.abs() < 1e-5));
    Ok(())
}

#[test]
fn a_failing_closure_leaves_lbfgs_as_it_was() {
    let p = start::<f64>();
    let step = |lbfgs: &mut Lbfgs<f64>, fail_at: usize| {
        let mut calls = 0;
        lbfgs.step_with(|| {
            calls += 1;
            let failed = Err(Error::Autograd("told to fail".into()));
            if calls == fail_at { failed } else { Ok((loss_of(&elements(&p)), gradients(&p))) }
        })
    };
    let mut lbfgs = Lbfgs::new(&p, 1.0).max_iter(4).line_search(LineSearch::StrongWolfe);
    step(&mut lbfgs, 0).unwrap();
    let before = (elements(&p), format!("{:?}", lbfgs.state_dict()));
    assert!(step(&mut lbfgs, 3).is_err());
    assert_eq!(before, (elements(&p), format!("{:?}", lbfgs.state_dict())));
    let e = lbfgs.step_with(|| Ok((1.0, vec![Tensor::ones([3])]))).unwrap_err();
    assert!(e.to_string().contains("a gradient for each of 3 parameters, found 1"), "{e}");
    assert!(lbfgs.step(|| Ok(Tensor::ones([2]))).unwrap_err().to_string().contains("one element"));
    assert_eq!(before, (elements(&p), format!("{:?}", lbfgs.state_dict())));
    assert!(Lbfgs::new(&p, 1.0).history_size(0).step(|| Ok(Tensor::scalar(0.0))).is_err());
}

// --- clipping ---

#[test]
fn clipping_is_pytorchs() {
    for run in &runs("clipping") {
        let p = start::<f64>();
        let mut sgd = Sgd::new(&p, 0.02).momentum(0.9);
        let points = run["points"].as_array().unwrap();
        let mut next = points[1..].iter();
        for step in 1..=STEPS {
            set_gradients(&p);
            let limit = number(&run["limit"]);
            if run["kind"] == "norm" {
                near(clip_grad_norm_(&p, limit).unwrap(), number(&run["norms"][step - 1]), 1e-12);
            } else {
                clip_grad_value_(&p, limit).unwrap();
            }
            sgd.step().unwrap();
            if kept(step) {
                agree(&elements(&p), next.next().unwrap(), 1e-12, &run["limit"]);
            }
        }
    }
}

#[test]
fn clipping_at_the_edges() -> Result<(), Error> {
    let t = |v: &[f64]| Tensor::from_vec(v.to_vec(), [v.len()]);
    // what has no gradient is left out, also when nothing has one
    let x = t(&[1.0, 2.0]);
    assert_eq!(clip_grad_norm_([&x], 1.0)?, 0.0);
    clip_grad_value_([&x], 1.0)?;
    // given gradients, over several tensors
    let (a, b) = (t(&[2.0, 3.0]), t(&[6.0]));
    assert_eq!(clip_grad_norm([&a, &b], 3.5)?, 7.0);
    near(a.norm().item().hypot(b.item()), 3.5, 1e-6);
    clip_grad_value([&a, &b], 1.2)?;
    assert_eq!((a.to_vec()[1], b.item()), (1.2, 1.2));
    // infinity and NaN
    let g = t(&[1.0, f64::INFINITY]);
    assert_eq!(clip_grad_norm([&g], 1.0)?, f64::INFINITY);
    assert!(g.to_vec()[0] == 0.0 && g.to_vec()[1].is_nan());
    let g = t(&[1.0, f64::NAN]);
    assert!(clip_grad_norm([&g], 1.0)?.is_nan());
    assert!(g.to_vec().iter().all(|g| g.is_nan()));
    let g = t(&[f64::NAN, -5.0]);
    clip_grad_value([&g], 1.0)?;
    assert!(g.to_vec()[0].is_nan() && g.to_vec()[1] == -1.0);
    // strided gradients: replaced in a parameter, refused when given, and then nothing is changed
    let x = Tensor::<f64>::ones([2, 3]);
    x.set_grad(Some(&Tensor::from_vec(vec![3.0; 6], [3, 2]).t()))?;
    clip_grad_value_([&x], 1.0)?;
    assert_eq!(x.grad().unwrap().to_vec(), [1.0; 6]);
    let (g, strided) = (t(&[9.0]), Tensor::from_vec(vec![3.0; 6], [3, 2]).t());
    assert!(clip_grad_norm([&g, &strided], 1.0).is_err());
    assert_eq!(g.item(), 9.0);
    assert!(clip_grad_norm([&g], f64::NAN).is_err());
    assert!(clip_grad_value_([&g], -1.0).is_err());
    Ok(())
}

// --- gradients: where they come from, and wrong ones ---

#[test]
fn both_engines_feed_one_optimiser() -> Result<(), Error> {
    type Step<'s> = &'s dyn Fn(&Params<f64>, &mut Adam<f64>) -> Result<(), Error>;
    let run = |step: Step<'_>| {
        let p = start().map(|t| t.requires_grad_(true));
        let mut adam = Adam::new(&p, 0.03);
        (0..STEPS).try_for_each(|_| step(&p, &mut adam)).map(|()| elements(&p))
    };
    let by_tape = run(&|p, adam| {
        adam.zero_grad();
        loss(&p[0], &p[1], &p[2]).backward()?;
        adam.step()
    })?;
    let compiled = run(&|p, adam| {
        let (a, b, c) = loss::grad(&p[0], &p[1], &p[2])?;
        adam.step_with([&a, &b, &c])
    })?;
    let by_hand = run(&|p, adam| adam.step_with(gradients(p)))?;
    for (x, y) in by_tape.iter().zip(&compiled).chain(compiled.iter().zip(&by_hand)) {
        near(*x, *y, 1e-10);
    }
    Ok(())
}

#[test]
fn zero_grad_clears_or_zeroes() -> Result<(), Error> {
    let x = Tensor::<f64>::ones([2]).requires_grad_(true);
    let mut sgd = Sgd::new([&x], 0.1).momentum(0.5);
    x.sum().backward()?;
    let g = x.grad().unwrap();
    sgd.zero_grad_in_place()?;
    assert_eq!((g.to_vec(), x.grad().unwrap().to_vec()), (vec![0.0; 2], vec![0.0; 2]));
    x.set_grad(Some(&Tensor::ones([1]).expand([2])))?;
    sgd.zero_grad_in_place()?;
    assert_eq!(x.grad().unwrap().to_vec(), [0.0; 2]);
    sgd.zero_grad();
    assert!(x.grad().is_none());
    // without a gradient nothing moves and no step is counted
    sgd.step()?;
    assert_eq!(x.to_vec(), [1.0; 2]);
    assert_eq!(sgd.state_dict().get::<u64>("params.0.step")?, 0);
    Ok(())
}

#[test]
fn a_parameter_without_a_gradient_is_skipped() -> Result<(), Error> {
    let (x, y) = (Tensor::<f32>::ones([2]), Tensor::<f32>::ones([2]));
    let mut adam = Adam::new([&x, &y], 0.5);
    x.set_grad(Some(&Tensor::ones([2])))?;
    adam.step()?;
    assert_eq!((x.to_vec()[0] < 1.0, y.to_vec()), (true, vec![1.0; 2]));
    Ok(())
}

#[test]
fn a_gradient_may_be_a_view_or_the_parameter() -> Result<(), Error> {
    let x = Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], [2, 2]);
    let mut sgd = Sgd::new([&x], 1.0);
    sgd.step_with([Tensor::from_vec(vec![0.0, 1.0, 2.0, 3.0], [2, 2]).t()])?;
    assert_eq!(x.to_vec(), [1.0, 0.0, 2.0, 1.0]);
    sgd.step_with([&x])?;
    assert_eq!(x.to_vec(), [0.0; 4]);
    // nothing, and a scalar
    let (none, one) = (Tensor::<f64>::ones([0, 3]), Tensor::scalar(2.0));
    let mut adam = Adam::new([&none, &one], 1.0);
    adam.step_with([&none, &Tensor::scalar(1.0)])?;
    near(one.item(), 1.0, 1e-7);
    adam.load_state_dict(&adam.state_dict())
}

#[test]
fn a_wrong_step_changes_nothing() {
    let p = start::<f64>();
    let mut adam = Adam::new(&p, 0.1);
    adam.step_with(gradients(&p)).unwrap();
    let state = |adam: &Adam<f64>| format!("{:?} {:?}", elements(&p), adam.state_dict());
    let before = state(&adam);
    let wrong = |e: Error, text: &str| assert!(e.to_string().contains(text), "{e}");

    let [a, b, _] = gradients(&p);
    wrong(
        adam.step_with([&a, &b, &Tensor::ones([3])]).unwrap_err(),
        "expected a gradient of shape [2] for parameter 2, found [3]",
    );
    wrong(adam.step_with([&a, &b]).unwrap_err(), "a gradient for each of 3 parameters, found 2");
    wrong(adam.step_with([&a, &b, &a, &b]).unwrap_err(), "found 4");
    set_gradients(&p);
    let good = adam.groups()[0].options;
    for (options, text) in [
        (AdamOptions { lr: -1.0, ..good }, "lr: expected a number of 0 or more, found -1"),
        (AdamOptions { lr: f64::NAN, ..good }, "lr"),
        (AdamOptions { betas: (1.0, 0.9), ..good }, "beta1: expected a number in [0, 1), found 1"),
        (AdamOptions { eps: f64::INFINITY, ..good }, "eps"),
    ] {
        adam.groups_mut()[0].options = options;
        wrong(adam.step().unwrap_err(), text);
    }
    adam.groups_mut()[0].options = good;
    assert_eq!(state(&adam), before);
    adam.step().unwrap();
    assert_ne!(state(&adam), before);

    wrong(Sgd::new(&p, 0.1).nesterov(true).step().unwrap_err(), "nesterov");
    wrong(RmsProp::new(&p, 0.1).alpha(1.5).step().unwrap_err(), "alpha");
}

#[test]
fn wrong_parameters_are_errors() {
    let x = Tensor::<f64>::ones([2, 3]).requires_grad_(true);
    let wrong = |e: Error, text: &str| assert!(e.to_string().contains(text), "{e}");
    wrong(Sgd::new([&x * 2.0], 0.1).step().unwrap_err(), "parameter 0: expected a leaf");
    wrong(Sgd::new([x.detach().t()], 0.1).step().unwrap_err(), "strided view");
    wrong(Adam::new([&x, &x], 0.1).step().unwrap_err(), "parameter 1: expected each parameter once");
    wrong(Adam::<f64>::new::<Tensor<f64>>([], 0.1).step().unwrap_err(), "at least one parameter");
    wrong(Lbfgs::new([&x, &x], 0.1).step(|| Ok(Tensor::scalar(0.0))).unwrap_err(), "once");
    let mut sgd = Sgd::new([&x], 0.1);
    wrong(sgd.add_param_group([&x], SgdOptions::default()).unwrap_err(), "once");
    let y = Tensor::<f64>::ones([1]);
    wrong(sgd.add_param_group([&y], SgdOptions { lr: -1.0, ..SgdOptions::default() }).unwrap_err(), "lr");
    assert_eq!(sgd.groups().len(), 1);
}

// --- saved states ---

/// A folder that goes when dropped.
struct Folder(PathBuf);
impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("autograd-optim-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}
impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn bits<T: Float>(p: &[Tensor<T>]) -> Vec<u64> {
    elements(p).into_iter().map(f64::to_bits).collect()
}

/// Training that is saved after some steps and resumed from the file gives the bits of training in one go.
fn resumes<T: Float, A: Algorithm>(name: &str, make: impl Fn(&[Tensor<T>]) -> Optimizer<T, A>) {
    let folder = Folder::new(name);
    let file = folder.0.join("state.safetensors");
    let begin = |p: &[Tensor<T>]| {
        let mut optimizer = make(&p[..2]);
        optimizer.add_param_group(&p[2..], *optimizer.defaults()).unwrap();
        let schedule = Schedule::new(&mut optimizer, CosineAnnealingLr { t_max: 12, eta_min: 1e-3 }).unwrap();
        (optimizer, schedule, ReduceLrOnPlateau::new().patience(2).factor(0.7))
    };
    type Parts<T, A> = (Optimizer<T, A>, Schedule<CosineAnnealingLr>, ReduceLrOnPlateau);
    let go = |p: &[Tensor<T>], (optimizer, schedule, plateau): &mut Parts<T, A>, steps: std::ops::Range<usize>| {
        for step in steps {
            set_gradients(p);
            optimizer.step().unwrap();
            schedule.step(optimizer).unwrap();
            plateau.step(optimizer, (step as f64).sin()).unwrap();
        }
    };
    let p = start::<T>();
    let mut whole = begin(&p);
    go(&p, &mut whole, 0..7);
    let mut checkpoint = StateDict::default();
    p.iter().enumerate().for_each(|(i, p)| checkpoint.insert_tensor(format!("p{i}"), p));
    checkpoint.insert_all("optimizer", whole.0.state_dict());
    checkpoint.insert_all("schedule", whole.1.state_dict());
    checkpoint.insert_all("plateau", whole.2.state_dict());
    checkpoint.save(&file).unwrap();
    go(&p, &mut whole, 7..25);

    let saved = StateDict::load(&file).unwrap();
    let q = [0, 1, 2].map(|i| saved.tensor::<T>(&format!("p{i}")).unwrap());
    let mut resumed = begin(&q);
    resumed.0.load_state_dict(&saved.part("optimizer")).unwrap();
    resumed.1.load_state_dict(&saved.part("schedule")).unwrap();
    resumed.2.load_state_dict(&saved.part("plateau")).unwrap();
    go(&q, &mut resumed, 7..25);
    assert_eq!(bits(&p), bits(&q), "{name}");
    assert_eq!(format!("{:?}", whole.0.state_dict()), format!("{:?}", resumed.0.state_dict()), "{name}");
}

#[test]
fn resumed_training_gives_the_same_bits() {
    resumes::<f64, _>("sgd", |p| Sgd::new(p, 0.02).momentum(0.9).dampening(0.1));
    resumes::<f64, _>("sgd-plain", |p| Sgd::new(p, 0.02));
    resumes::<f32, _>("adam", |p| Adam::new(p, 0.1 / 3.0).amsgrad(true));
    resumes::<f64, _>("adamw", |p| AdamW::new(p, 0.03));
    resumes::<f32, _>("rmsprop", |p| RmsProp::new(p, 0.01).momentum(0.5).centered(true));
}

#[test]
fn a_resumed_lbfgs_gives_the_same_bits() -> Result<(), Error> {
    let folder = Folder::new("lbfgs");
    let file = folder.0.join("state.safetensors");
    let make = |p: &[Tensor<f64>]| Lbfgs::new(p, 0.9).max_iter(3).history_size(4).line_search(LineSearch::StrongWolfe);
    let go = |p: &[Tensor<f64>], lbfgs: &mut Lbfgs<f64>, steps: usize| {
        (0..steps).try_for_each(|_| lbfgs.step_with(|| Ok((loss_of(&elements(p)), gradients(p)))).map(drop))
    };
    let p = start();
    let mut whole = make(&p);
    whole.state_dict().save(&file)?;
    make(&p).load_state_dict(&StateDict::load(&file)?)?;
    go(&p, &mut whole, 2)?;
    whole.state_dict().save(&file)?;
    let q = p.each_ref().map(|t| Tensor::from_vec(t.to_vec(), t.shape()));
    go(&p, &mut whole, 3)?;

    let mut resumed = Lbfgs::new(&q, 0.1);
    let saved = StateDict::load(&file)?;
    resumed.load_state_dict(&saved)?;
    assert_eq!(resumed.options.history_size, 4);
    go(&q, &mut resumed, 3)?;
    assert_eq!(bits(&p), bits(&q));

    let before = format!("{:?}", resumed.state_dict());
    let mut incomplete = saved.clone();
    incomplete.insert("changes", u64::MAX);
    assert!(resumed.load_state_dict(&incomplete).is_err());
    assert!(Lbfgs::new(&q[..1], 0.1).load_state_dict(&saved).is_err());
    assert_eq!(before, format!("{:?}", resumed.state_dict()));
    Ok(())
}

#[test]
fn states_that_do_not_fit_change_nothing() -> Result<(), Error> {
    let p = start::<f64>();
    let mut adam = Adam::new(&p, 0.1);
    adam.step_with(gradients(&p))?;
    let good = adam.state_dict();
    let q = start::<f64>();
    let mut other = Adam::new(&q, 0.2);
    other.step_with(gradients(&q))?;
    other.step_with(gradients(&q))?;
    let before = format!("{:?}", other.state_dict());
    let mut refused = |state: &StateDict, text: &str| {
        let e = other.load_state_dict(state).unwrap_err();
        assert!(e.to_string().contains(text), "{e}");
        assert_eq!(format!("{:?}", other.state_dict()), before);
    };
    let with = |f: &dyn Fn(&mut StateDict)| {
        let mut state = good.clone();
        f(&mut state);
        state
    };
    refused(&AdamW::new(&p, 0.1).state_dict(), "algorithm: expected Adam, found AdamW");
    refused(&StateDict::default(), "expected the value \"algorithm\"");
    refused(&with(&|s| s.insert("groups", 2)), "groups: expected 1, found 2");
    refused(&with(&|s| s.insert("groups.0.params", 4)), "groups.0.params: expected 3, found 4");
    refused(&with(&|s| s.insert("groups.0.lr", "fast")), "groups.0.lr: expected f64, found \"fast\"");
    refused(&with(&|s| s.insert("groups.0.lr", -1.0)), "lr: expected a number of 0 or more");
    refused(&with(&|s| s.insert("params.2.step", -1)), "params.2.step");
    let exp_avg = "params.2.exp_avg";
    refused(
        &with(&|s| s.insert_tensor(exp_avg, &Tensor::<f64>::ones([3]))),
        "params.2.exp_avg of shape [2], found [3]",
    );
    refused(&with(&|s| s.insert_tensor(exp_avg, &Tensor::<f32>::ones([2]))), "expected dtype f64 for params.2.exp_avg");
    // a parameter that was moved must bring its moments
    let mut state = Adam::new(&p, 0.1).state_dict();
    state.insert("params.1.step", 3);
    refused(&state, "expected the tensor \"params.1.exp_avg\"");
    other.load_state_dict(&good)?;
    assert_eq!(format!("{:?}", other.state_dict()), format!("{good:?}"));
    // the number of steps cannot overflow
    other.load_state_dict(&with(&|s| s.insert("params.0.step", u64::MAX)))?;
    other.step_with(gradients(&q))
}

#[test]
fn broken_files_are_errors() {
    let folder = Folder::new("broken");
    let file = folder.0.join("state.safetensors");
    let load = |bytes: &[u8]| {
        std::fs::write(&file, bytes).expect("written");
        StateDict::load(&file)
    };
    let p = start::<f64>();
    let mut adam = Adam::new(&p, 0.1);
    adam.step_with(gradients(&p)).unwrap();
    adam.state_dict().save(&file).unwrap();
    let whole = std::fs::read(&file).unwrap();
    assert!(load(&whole).is_ok());
    for n in 0..whole.len() {
        assert!(load(&whole[..n]).is_err(), "cut off after {n} bytes");
    }
    assert!(load(&[&whole[..], &[0]].concat()).is_err());
    // other bytes: an error or another state, but never a panic
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..300 {
        let mut bytes = whole.clone();
        (0..rng.usize(1..4)).for_each(|_| bytes[rng.usize(0..whole.len() / 2)] = rng.u8(..));
        if let Ok(state) = load(&bytes) {
            let _ = Adam::new(&p, 0.1).load_state_dict(&state);
        }
    }
    let header = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let tensor = |i: u64, from: u64, to: u64| {
        let shape = (to - from) / 8;
        format!(r#""t{i}":{{"dtype":"F64","shape":[{shape}],"data_offsets":[{from},{to}]}}"#)
    };
    // lengths that only arithmetic knows
    for n in [1 << 30, 1 << 40, 1 << 60, 1 << 61] {
        assert!(load(&header(&format!("{{{}}}", tensor(0, 0, n)))).is_err());
    }
    let huge: Vec<String> = (0..7).map(|i| tensor(i, i << 61, (i + 1) << 61)).collect();
    assert!(load(&header(&format!("{{{},{}}}", huge.join(","), tensor(7, 7 << 61, u64::MAX - 7)))).is_err());
    let max = u64::MAX;
    for shape in [format!("[0,{max}]"), format!("[0,{max},{max}]"), format!("[{max},0]")] {
        assert!(load(&header(&format!(r#"{{"t":{{"dtype":"F64","shape":{shape},"data_offsets":[0,0]}}}}"#))).is_err());
    }
    assert!(load(&header(r#"{"t":{"dtype":"BF16","shape":[0],"data_offsets":[0,0]}}"#)).is_err());
    assert!(load(&max.to_le_bytes()).is_err());
    assert!(load(&header("[")).is_err());
    assert!(StateDict::load(&folder.0).unwrap_err().to_string().contains("not a file"));
    assert!(StateDict::load(folder.0.join("absent")).is_err());
    assert!(adam.state_dict().save(folder.0.join("absent/state")).is_err());
}
