use autograd::prelude::*;
#[differentiable]
fn newton_sqrt(x: f64) -> f64 {
    let mut y = x;
    while (y * y - x).abs() > 1e-12 {
        y = 0.5 * (y + x / y);
    }
    y
}
#[differentiable]
fn recurrence(x: &[f64]) -> f64 {
    let n = x.len();
    let mut v = vec![1.0; n + 1];
    for i in 0..n {
        v[i + 1] = v[i] * x[i] + 0.5;
    }
    let mut sum = 0.0;
    for i in 0..n {
        sum += v[i] * v[i];
    }
    sum
}
fn main() {
    let e = newton_sqrt::explain(2.0).unwrap();
    println!("{}", e.clif[0]);
    let x = [0.5; 10];
    let e = recurrence::explain(&x).unwrap();
    println!("{e}\n{}\n{}", e.graph.as_ref().unwrap(), e.clif[0]);
}
