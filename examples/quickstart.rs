//! The gradient of an ordinary function: value, gradient, the graph and the gradient's graph.
//!
//! `cargo run --release --example quickstart`

use autograd::prelude::*;

#[differentiable]
fn rosenbrock(x: f64, y: f64) -> f64 {
    (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2)
}

fn main() -> Result<(), Error> {
    let (value, (dx, dy)) = rosenbrock::value_and_grad(1.2, 0.5)?;
    println!("f(1.2, 0.5) = {value:.2}, gradient ({dx:.2}, {dy:.2})");
    let how = rosenbrock::explain(1.2, 0.5)?;
    println!("\n{how}");
    if let (Some(graph), Some(gradient)) = (&how.source, &how.graph) {
        println!("\nthe function's graph\n{graph}\nthe graph of value and gradient\n{gradient}");
    }
    Ok(())
}
