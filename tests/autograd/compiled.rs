//! Functions with a derivative of the user's inside annotated functions: compiled, to every order, forward and reverse,
//! as on the tape.

use super::{close, fails, t};
use autograd::{Context, Engine, EngineUsed, Error, Function, Result, Tensor, differentiable, with_engine};

/// x³ from its saved input, with a factor that shows whose derivative it is.
struct Cube(f64);
impl Function<f64> for Cube {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        ctx.save_for_backward(&[&inputs[0]]);
        Ok(vec![inputs[0].powi(3)])
    }
    fn backward(&self, ctx: &Context<f64>, grads: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        Ok(vec![Some(&grads[0] * ctx.saved_tensors()?[0].square() * self.0)])
    }
}

/// (x, y) ↦ (x·y, x + y), by saved inputs and one saved result.
struct ProductAndSum;
impl Function<f64> for ProductAndSum {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        let (p, s) = (&inputs[0] * &inputs[1], &inputs[0] + &inputs[1]);
        ctx.save_for_backward(&[&inputs[0], &inputs[1], &p]);
        Ok(vec![p, s])
    }
    fn backward(&self, ctx: &Context<f64>, g: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        let saved = ctx.saved_tensors()?;
        // the product divided by the one is the other
        Ok(vec![Some(&g[0] * (&saved[2] / &saved[0]) + &g[1]), Some(&g[0] * &saved[0] + &g[1])])
    }
}

/// eˣ, saved as an intermediate: its first derivative is right, a second one is missing.
struct Intermediate;
impl Function<f64> for Intermediate {
    fn forward(&self, ctx: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        let e = inputs[0].exp();
        ctx.save_for_backward(&[&e]);
        Ok(vec![&e * 1.0])
    }
    fn backward(&self, ctx: &Context<f64>, g: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        Ok(vec![Some(&g[0] * &ctx.saved_tensors()?[0])])
    }
}

#[differentiable]
fn cubes(x: &Tensor<f64>) -> Result<Tensor<f64>, Error> {
    Ok((Cube(30.0).apply(&[&x.sin()])? * x).sum())
}
#[differentiable]
fn right_cubes(x: &Tensor<f64>) -> Result<Tensor<f64>, Error> {
    Ok((Cube(3.0).apply(&[&x.sin()])? * x).sum())
}
#[differentiable]
fn plain_cubes(x: &Tensor<f64>) -> Tensor<f64> {
    (x.sin().powi(3) * x).sum()
}
#[differentiable]
fn both(x: &Tensor<f64>, y: &Tensor<f64>) -> Result<Tensor<f64>, Error> {
    let outs = ProductAndSum.apply_all(&[x, y])?;
    Ok((outs[0].sin() * &outs[1]).sum())
}
#[differentiable]
fn plain_both(x: &Tensor<f64>, y: &Tensor<f64>) -> Tensor<f64> {
    ((x * y).sin() * (x + y)).sum()
}
#[differentiable]
fn intermediate(x: &Tensor<f64>) -> Result<Tensor<f64>, Error> {
    Ok(Intermediate.apply(&[x])?.sum())
}
/// The gradient's squared norm, through a function of the user's.
#[differentiable]
fn slope(x: &Tensor<f64>) -> Result<Tensor<f64>, Error> {
    Ok(right_cubes::grad(x)?.square().sum())
}
#[differentiable]
fn plain_slope(x: &Tensor<f64>) -> Result<Tensor<f64>, Error> {
    Ok(plain_cubes::grad(x)?.square().sum())
}

const ENGINES: [Engine; 2] = [Engine::Compiled, Engine::Dynamic];

#[test]
fn the_users_derivative_is_used_not_that_of_the_forward() {
    let x = t(&[0.5, -0.25, 1.5]);
    for engine in ENGINES {
        with_engine(engine, || {
            let want = (x.sin().powi(3) + x.sin().square() * 30.0 * x.cos() * &x).to_vec();
            close(&cubes::grad(&x).unwrap().to_vec(), &want);
            let (value, g) = cubes::value_and_grad(&x).unwrap();
            close(&value.to_vec(), &(x.sin().powi(3) * &x).sum().to_vec());
            close(&g.to_vec(), &want);
        });
    }
    with_engine(Engine::Compiled, || {
        assert_eq!(cubes::explain(&x).unwrap().engine, EngineUsed::Compiled);
    });
}

#[test]
fn several_inputs_and_results_are_differentiated() {
    let (x, y) = (t(&[0.5, -0.25, 1.5]), t(&[1.5, 2.0, -0.5]));
    for engine in ENGINES {
        with_engine(engine, || {
            let (gx, gy) = both::grad(&x, &y).unwrap();
            let (wx, wy) = plain_both::grad(&x, &y).unwrap();
            close(&gx.to_vec(), &wx.to_vec());
            close(&gy.to_vec(), &wy.to_vec());
        });
    }
}

#[test]
fn second_orders_go_through_what_was_saved() {
    let (x, y) = (t(&[0.5, -0.25, 1.5]), t(&[1.5, 2.0, -0.5]));
    let (dx, dy) = (t(&[1.0, 0.5, -2.0]), t(&[0.25, -1.0, 3.0]));
    for engine in ENGINES {
        with_engine(engine, || {
            close(&right_cubes::hvp(&x, &dx).unwrap().to_vec(), &plain_cubes::hvp(&x, &dx).unwrap().to_vec());
            let (hx, hy) = both::hvp(&x, &y, &dx, &dy).unwrap();
            let (wx, wy) = plain_both::hvp(&x, &y, &dx, &dy).unwrap();
            close(&hx.to_vec(), &wx.to_vec());
            close(&hy.to_vec(), &wy.to_vec());
            close(&slope::grad(&x).unwrap().to_vec(), &plain_slope::grad(&x).unwrap().to_vec());
            // and once more
            close(&slope::hvp(&x, &dx).unwrap().to_vec(), &plain_slope::hvp(&x, &dx).unwrap().to_vec());
        });
    }
}

#[test]
fn forward_mode_has_the_users_derivative_too() {
    let (x, y) = (t(&[0.5, -0.25, 1.5]), t(&[1.5, 2.0, -0.5]));
    let (dx, dy) = (t(&[1.0, 0.5, -2.0]), t(&[0.25, -1.0, 3.0]));
    for engine in ENGINES {
        with_engine(engine, || {
            let (value, tangent) = cubes::jvp(&x, &dx).unwrap();
            let want: f64 = cubes::grad(&x).unwrap().dot(&dx).item();
            close(&[value.item(), tangent.item()], &[cubes(&x).unwrap().item(), want]);
            let (_, tangent) = both::jvp(&x, &y, &dx, &dy).unwrap();
            close(&tangent.to_vec(), &plain_both::jvp(&x, &y, &dx, &dy).unwrap().1.to_vec());
        });
    }
}

#[test]
fn a_saved_intermediate_has_the_derivative_of_its_operations_or_an_error_names_it() {
    let (x, d) = (t(&[0.5, -0.25]), t(&[1.0, 2.0]));
    for engine in ENGINES {
        with_engine(engine, || {
            close(&intermediate::grad(&x).unwrap().to_vec(), &x.exp().to_vec());
        });
    }
    // the compiled path has the intermediate's operations, the tape has not
    let second = with_engine(Engine::Compiled, || intermediate::hvp(&x, &d)).unwrap();
    close(&second.to_vec(), &(x.exp() * &d).to_vec());
    fails(with_engine(Engine::Dynamic, || intermediate::hvp(&x, &d)), &["Intermediate", "no derivative through it"]);
}

/// Fails on inputs of more than two elements, and in backward when told to.
struct Picky(bool);
impl Function<f64> for Picky {
    fn forward(&self, _: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        if inputs[0].numel() > 2 {
            return Err(Error::Autograd("too many elements for this function".into()));
        }
        Ok(vec![&inputs[0] * 2.0])
    }
    fn backward(&self, _: &Context<f64>, g: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        if self.0 { Err(Error::Autograd("no way back".into())) } else { Ok(vec![Some(&g[0] * 2.0)]) }
    }
}
#[differentiable]
fn picky(x: &Tensor<f64>, way_back: bool) -> Result<Tensor<f64>, Error> {
    Ok(Picky(!way_back).apply(&[x])?.sum())
}

#[test]
fn a_users_errors_come_through_entry_points_unchanged() {
    for engine in ENGINES {
        with_engine(engine, || {
            assert_eq!(picky::grad(&t(&[1.0, 2.0]), true).unwrap().to_vec(), [2.0, 2.0]);
            fails(picky::grad(&t(&[1.0, 2.0, 3.0]), true), &["too many elements for this function"]);
            fails(picky::grad(&t(&[1.0, 2.0]), false), &["no way back"]);
            fails(picky::value(&t(&[1.0, 2.0, 3.0]), true), &["too many elements for this function"]);
        });
    }
}
