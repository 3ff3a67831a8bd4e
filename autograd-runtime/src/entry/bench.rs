//! `f::bench`: both engines at the same arguments, by turns.

use super::{
    Engine, Function, Kind,
    args::OutVal,
    call::{Extra, run, visit},
    with_engine,
};
use crate::{Result, random::States};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// How long each engine takes for value and gradient, and whether they agree.
#[derive(Clone, Debug)]
pub struct BenchReport {
    /// Seconds a call, compiled; none if the function cannot be compiled.
    pub compiled: Option<f64>,
    /// Seconds a call on the dynamic engine.
    pub dynamic: f64,
    /// The largest difference between the engines' results, relative to 1 + the value.
    pub difference: f64,
    /// Why there is no compiled figure.
    pub reason: Option<String>,
}

impl BenchReport {
    /// How many times faster the compiled engine is.
    pub fn ratio(&self) -> Option<f64> {
        self.compiled.map(|c| self.dynamic / c)
    }
}
impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.compiled, self.ratio()) {
            (Some(c), Some(r)) => write!(
                f,
                "compiled {:.3} µs, dynamic {:.3} µs, {r:.1} times faster; largest difference {:.1e}",
                c * 1e6,
                self.dynamic * 1e6,
                self.difference
            ),
            _ => write!(
                f,
                "dynamic {:.3} µs; not compiled: {}",
                self.dynamic * 1e6,
                self.reason.as_deref().unwrap_or("")
            ),
        }
    }
}

/// The best of five batches of about 20 ms.
fn best(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    call()?;
    let clock = Instant::now();
    call()?;
    let n = (Duration::from_millis(20).as_secs_f64() / clock.elapsed().as_secs_f64().max(1e-8)).clamp(1.0, 1e6) as u32;
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let clock = Instant::now();
        for _ in 0..n {
            call()?;
        }
        best = best.min(clock.elapsed().as_secs_f64() / f64::from(n));
    }
    Ok(best)
}

pub(super) fn bench<F: Function>(args: F::Args<'_>) -> Result<BenchReport> {
    let kind = Kind::ValueAndGrad;
    let call = || run::<F>(args, visit::<F>(args, kind), kind, Extra::None, None);
    let numbers = |outs: &[OutVal], like: &[OutVal]| -> Vec<f64> {
        let one = |(o, l): (&OutVal, &OutVal)| match (o, l) {
            (OutVal::Tensor(v), _) => v.to_array().to_f64_vec(),
            (OutVal::Bits(b), OutVal::Tensor(t)) => vec![crate::op::create::number(t.ty().dtype, *b)],
            _ => Vec::new(),
        };
        outs.iter().zip(like).flat_map(one).collect()
    };
    // the results that are compared draw the same random numbers
    let start = States::now();
    let (reference, dynamic) =
        with_engine(Engine::Dynamic, || Ok::<_, crate::Error>((call()?, best(|| call().map(drop))?)))?;
    start.restore();
    let compiled = with_engine(Engine::Compiled, || Ok::<_, crate::Error>((call()?, best(|| call().map(drop))?)));
    Ok(match compiled {
        Ok((outs, seconds)) => {
            let (a, b) = (numbers(&outs.outs, &reference.outs), numbers(&reference.outs, &reference.outs));
            let apart = a.iter().zip(&b).map(|(a, b)| (a - b).abs() / (1.0 + b.abs()));
            BenchReport { compiled: Some(seconds), dynamic, difference: apart.fold(0.0, f64::max), reason: None }
        }
        Err(e) => BenchReport { compiled: None, dynamic, difference: 0.0, reason: Some(e.to_string()) },
    })
}
