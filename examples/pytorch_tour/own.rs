//! Rows 15 to 17: functions with a derivative of the user's, their checks, the profiler.

use crate::{close, fails, gradient, show, tracked};
use anyhow::{Result, ensure};
use autograd::{Context, Error, Function, Tensor, gradcheck, gradgradcheck, profiler};

/// 3x + 2y + eˣ + eʸ. It saves the exponentials: right in first order; in second order something is missing.
pub struct Sums;

impl Function<f64> for Sums {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>, Error> {
        let (ex, ey) = (inputs[0].exp(), inputs[1].exp());
        ctx.save_for_backward(&[&ex, &ey]);
        Ok(vec![&inputs[0] * 3.0 + &inputs[1] * 2.0 + ex + ey])
    }
    fn backward(&self, ctx: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>, Error> {
        let saved = ctx.saved_tensors()?;
        Ok(vec![Some(&grads[0] * (&saved[0] + 3.0)), Some(&grads[0] * (&saved[1] + 2.0))])
    }
}

pub fn custom_functions() -> Result<()> {
    let (x, y) = (tracked(&[1.0, 2.0]), tracked(&[3.0, 4.0]));
    let z = Sums.apply(&[&x, &y])?;
    show("z.grad_fn", z.grad_fn().map_or_else(String::new, |f| f.to_string()), "<SumsBackward>")?;
    z.sum().backward()?;
    close("x.grad", &gradient(&x)?, &[5.7183, 10.3891])?;
    close("y.grad", &gradient(&y)?, &[22.0855, 56.5981])
}

pub fn checks() -> Result<()> {
    let (x, y) = (tracked(&[1.0, 2.0]), tracked(&[3.0, 4.0]));
    let f = |t: &[Tensor<f64>]| Sums.apply(&[&t[0], &t[1]]);
    gradcheck(f, &[&x, &y])?;
    println!("gradcheck(Sums.apply, (x, y))\n  True");
    fails("gradgradcheck(Sums.apply, (x, y))", gradgradcheck(f, &[&x, &y]), "SumsBackward saved an intermediate")?;
    let wrong = |t: &[Tensor<f64>]| t[0].square() + t[0].detach();
    fails("gradcheck of a function that hides a part", gradcheck(wrong, &[&x]), "Jacobian mismatch")?;
    let single = Tensor::<f32>::ones([2]).requires_grad_(true);
    fails("gradcheck in single precision", gradcheck(|t: &[Tensor<f32>]| t[0].exp(), &[&single]), "expected dtype f64")
}

pub fn profiler() -> Result<()> {
    let (a, b) = (Tensor::<f32>::rand([64, 64]).requires_grad_(true), Tensor::<f32>::rand([64, 64]));
    let (done, profile) =
        profiler::profile(|| profiler::record_function("layer", || a.matmul(&b).tanh()).sum().backward());
    done?;
    println!("{profile}");
    let trace = std::env::temp_dir().join("tour_trace.json");
    profile.export_chrome_trace(&trace)?;
    println!("Chrome trace: {}", trace.display());
    let names: Vec<String> = profile.rows().into_iter().map(|r| r.name).collect();
    for name in ["matmul", "tanh", "sum", "TanhBackward0", "MmBackward0", "layer"] {
        ensure!(names.iter().any(|n| n == name), "{name} in the profile, found {names:?}");
    }
    let text = std::fs::read_to_string(&trace)?;
    ensure!(text.contains("\"traceEvents\"") && text.contains("TanhBackward0"), "a trace with events");
    Ok(())
}
