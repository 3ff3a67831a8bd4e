//! A line search for the strong Wolfe conditions (Nocedal and Wright, 2006, algorithms 3.5 and 3.6), with cubic
//! interpolation: from a direction to how far to go along it.

use crate::error::Result;
use std::mem;

/// The loss along a direction d at x + t·d: its value, its gradient, and the slope gradient·d.
#[derive(Clone, Debug)]
pub(crate) struct Probe<T> {
    pub t: f64,
    pub loss: f64,
    pub gradient: Vec<T>,
    pub slope: f64,
}

/// The least point between `lo` and `hi` of the cubic with the values and slopes of two probes.
fn cubic<T>(a: &Probe<T>, b: &Probe<T>, lo: f64, hi: f64) -> f64 {
    let (a, b) = if a.t <= b.t { (a, b) } else { (b, a) };
    let mean = a.slope + b.slope - 3.0 * (a.loss - b.loss) / (a.t - b.t);
    let square = mean * mean - a.slope * b.slope;
    if square >= 0.0 {
        let root = square.sqrt();
        let t = b.t - (b.t - a.t) * ((b.slope + root - mean) / (b.slope - a.slope + 2.0 * root));
        t.max(lo).min(hi)
    } else {
        (lo + hi) / 2.0
    }
}

/// A point that fulfils the strong Wolfe conditions, or the best one found. `start` is where t = 0, `t` the first
/// try, `reach` the largest element of the direction.
pub(crate) fn strong_wolfe<T: Clone>(
    start: Probe<T>,
    t: f64,
    reach: f64,
    max_probes: usize,
    probe: &mut dyn FnMut(f64) -> Result<Probe<T>>,
) -> Result<Probe<T>> {
    /// A bracket is not divided below this length.
    const SHORTEST: f64 = 1e-9;
    let (loss, slope) = (start.loss, start.slope);
    let too_high = |p: &Probe<T>| p.loss > loss + 1e-4 * p.t * slope;
    let flat_enough = |p: &Probe<T>| p.slope.abs() <= -0.9 * slope;

    // go further until a good point lies behind
    let (mut last, mut next) = (start.clone(), probe(t)?);
    let mut probes = 0;
    let mut bracket = loop {
        if probes >= max_probes {
            break [start, next];
        }
        if too_high(&next) || (probes > 1 && next.loss >= last.loss) {
            break [last, next];
        }
        if flat_enough(&next) {
            return Ok(next);
        }
        if next.slope >= 0.0 {
            break [last, next];
        }
        let t = cubic(&last, &next, next.t + 0.01 * (next.t - last.t), next.t * 10.0);
        last = mem::replace(&mut next, probe(t)?);
        probes += 1;
    };

    // divide the bracket; the good point lies between its ends
    let lower = |bracket: &[Probe<T>; 2]| if bracket[0].loss <= bracket[1].loss { 0 } else { 1 };
    let mut low = lower(&bracket);
    let mut stuck = false;
    while probes < max_probes {
        let (left, right) = (bracket[0].t.min(bracket[1].t), bracket[0].t.max(bracket[1].t));
        if (right - left) * reach < SHORTEST {
            break;
        }
        let mut t = cubic(&bracket[0], &bracket[1], left, right);
        let margin = 0.1 * (right - left);
        let near_end = (right - t).min(t - left) < margin;
        // twice near an end, or at it: a tenth of the bracket away from it
        let push = near_end && (stuck || t >= right || t <= left);
        if push {
            t = if (t - right).abs() < (t - left).abs() { right - margin } else { left + margin };
        }
        stuck = near_end && !push;
        let next = probe(t)?;
        probes += 1;
        if too_high(&next) || next.loss >= bracket[low].loss {
            bracket[1 - low] = next;
            low = lower(&bracket);
        } else if flat_enough(&next) {
            return Ok(next);
        } else {
            let crossed = next.slope * (bracket[1 - low].t - bracket[low].t) >= 0.0;
            let old = mem::replace(&mut bracket[low], next);
            if crossed {
                bracket[1 - low] = old;
            }
        }
    }
    let [a, b] = bracket;
    Ok(if low == 0 { a } else { b })
}
