//! The dynamic engine as PyTorch's autograd: tracking, printing, the graph, backward in all its forms.

mod common;

use autograd::{Error, Tensor, backward, grad, is_grad_enabled, no_grad, set_grad_enabled, try_eval};
use common::{close, same};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn t(data: &[f64]) -> Tensor<f64> {
    Tensor::from_vec(data.to_vec(), [data.len()])
}
fn tracked(data: &[f64]) -> Tensor<f64> {
    t(data).requires_grad_(true)
}
fn gradient(x: &Tensor<f64>) -> Vec<f64> {
    x.grad().expect("a gradient").to_vec()
}
#[track_caller]
fn fails<T>(r: Result<T, Error>, with: &str) {
    let Err(e) = r else { panic!("expected an error with {with:?}") };
    assert!(e.to_string().contains(with), "{e}");
}
/// The message of a panic.
fn panic_of<T>(f: impl FnOnce() -> T) -> String {
    let Err(p) = catch_unwind(AssertUnwindSafe(f)) else { panic!("expected a panic") };
    p.downcast_ref::<String>().cloned().or_else(|| p.downcast_ref::<&str>().map(ToString::to_string)).expect("a text")
}

#[test]
fn tracking() {
    let x = Tensor::<f32>::ones([2, 2]).requires_grad_(true);
    assert_eq!(x.to_string(), "tensor([[1., 1.],\n        [1., 1.]], requires_grad=True)");
    let y = &x + 2.0;
    assert_eq!(y.to_string(), "tensor([[3., 3.],\n        [3., 3.]], grad_fn=<AddBackward0>)");
    let z = &y * &y * 3.0;
    assert_eq!(z.to_string(), "tensor([[27., 27.],\n        [27., 27.]], grad_fn=<MulBackward0>)");
    let out = z.mean();
    assert_eq!(format!("{out:?}"), "tensor(27., grad_fn=<MeanBackward0>)");
    out.backward().unwrap();
    assert_eq!(x.grad().unwrap().to_string(), "tensor([[4.5000, 4.5000],\n        [4.5000, 4.5000]])");
}

/// Texts as PyTorch 2 prints them.
#[test]
fn printing() {
    let f = |data: &[f32]| Tensor::from_vec(data.to_vec(), [data.len()]).to_string();
    let cases: [(String, &str); 20] = [
        (f(&[1.0, 2.5]), "tensor([1.0000, 2.5000])"),
        (f(&[-1.0, 10.0]), "tensor([-1., 10.])"),
        (f(&[1.0, 2000.0]), "tensor([1.0000e+00, 2.0000e+03])"),
        (f(&[0.5, 2000.0]), "tensor([5.0000e-01, 2.0000e+03])"),
        (f(&[1e-5]), "tensor([1.0000e-05])"),
        (f(&[f32::NAN, 1.0]), "tensor([nan, 1.])"),
        (f(&[f32::INFINITY, -f32::INFINITY, 0.5]), "tensor([   inf,   -inf, 0.5000])"),
        (f(&[0.0, 0.0]), "tensor([0., 0.])"),
        (f(&[]), "tensor([])"),
        (t(&[1.0, 2.0]).to_string(), "tensor([1., 2.], dtype=torch.float64)"),
        (tracked(&[0.5]).to_string(), "tensor([0.5000], dtype=torch.float64, requires_grad=True)"),
        ((&tracked(&[1.0]) * 2.0).to_string(), "tensor([2.], dtype=torch.float64, grad_fn=<MulBackward0>)"),
        (Tensor::scalar(3.25f32).to_string(), "tensor(3.2500)"),
        (Tensor::<f32>::zeros([0, 3]).to_string(), "tensor([], size=(0, 3))"),
        (Tensor::<i64>::arange(3).to_string(), "tensor([0, 1, 2])"),
        (t(&[0.0, 4.0, 8.0, 12.0]).eq(t(&[0.0, 4.0, 8.0, 12.0])).to_string(), "tensor([True, True, True, True])"),
        (t(&[0.0, 4.0]).eq(t(&[0.0, 5.0])).to_string(), "tensor([ True, False])"),
        (Tensor::<i64>::arange(1001).to_string(), "tensor([   0,    1,    2,  ...,  998,  999, 1000])"),
        (
            Tensor::<f32>::arange(2000).to_string(),
            "tensor([0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 1.9970e+03, 1.9980e+03,\n        1.9990e+03])",
        ),
        (
            Tensor::<f32>::eye(3).unsqueeze(0).to_string(),
            "tensor([[[1., 0., 0.],\n         [0., 1., 0.],\n         [0., 0., 1.]]])",
        ),
    ];
    for (i, (got, want)) in cases.iter().enumerate() {
        assert_eq!(got, want, "case {i}");
    }
    // what does not fit the line goes under the bracket
    let long = Tensor::<f32>::linspace(0.0, 1.0, 10).requires_grad_(true);
    assert_eq!(
        long.to_string(),
        "tensor([0.0000, 0.1111, 0.2222, 0.3333, 0.4444, 0.5556, 0.6667, 0.7778, 0.8889,\n        1.0000], requires_grad=True)"
    );
    let nine = Tensor::<f64>::linspace(0.0, 1.0, 9);
    assert_eq!(
        nine.to_string(),
        "tensor([0.0000, 0.1250, 0.2500, 0.3750, 0.5000, 0.6250, 0.7500, 0.8750, 1.0000],\n       dtype=torch.float64)"
    );
    // blocks of a tensor of rank 3 are apart by a line; large axes are summarised
    let x = Tensor::<f32>::zeros([2, 1, 2]);
    assert_eq!(x.to_string(), "tensor([[[0., 0.]],\n\n        [[0., 0.]]])");
    let rows = Tensor::<f32>::ones([500, 4]).to_string();
    let row = "[1., 1., 1., 1.]";
    assert_eq!(
        rows,
        format!(
            "tensor([{row},\n        {row},\n        {row},\n        ...,\n        {row},\n        {row},\n        {row}])"
        )
    );
}

#[test]
fn the_graph() {
    let (w, x) = (tracked(&[1.0]), tracked(&[2.0]));
    let (a, b) = (&w + &x, &w + 1.0);
    let y = &a * &b;
    y.backward().unwrap();
    assert_eq!(gradient(&w), [5.0]);
    assert_eq!([&w, &x, &a, &b, &y].map(Tensor::is_leaf), [true, true, false, false, false]);
    assert!(w.grad_fn().is_none() && a.grad().is_none() && y.grad().is_none());
    let root = y.grad_fn().unwrap();
    assert_eq!(format!("{root:?}"), "<MulBackward0>");
    let next: Vec<String> = root.next_functions().iter().map(|n| n.as_ref().unwrap().name()).collect();
    assert_eq!(next, ["AddBackward0", "AddBackward0"]);
    let leaves = root.next_functions()[1].as_ref().unwrap().next_functions();
    let leaves: Vec<Option<String>> = leaves.iter().map(|n| n.as_ref().map(|n| n.name())).collect();
    assert_eq!(leaves, [Some("AccumulateGrad".to_string()), None]);
}

#[test]
fn requires_grad_spreads() {
    let (x, y) = (t(&[1.0]), tracked(&[2.0]));
    assert!(!(&x + &x).requires_grad() && (&x + &y).requires_grad());
    x.set_requires_grad(true).unwrap();
    let z = &x * 2.0;
    assert!(z.requires_grad());
    fails(z.set_requires_grad(false), "you can only change requires_grad flags of leaf variables");
    fails(z.set_requires_grad(false), "detach()");
    x.set_requires_grad(false).unwrap();
    assert!(!(&x + &x).requires_grad());
    let i = Tensor::<i64>::arange(3);
    fails(i.set_requires_grad(true), "only Tensors of floating point dtype can require gradients");
    assert!(!z.gt(&x).requires_grad());
    fails(x.backward(), "does not require grad");
}

#[test]
fn accumulation() {
    let x = tracked(&[1.0, 2.0]);
    assert!(x.grad().is_none());
    x.square().sum().backward().unwrap();
    assert_eq!(gradient(&x), [2.0, 4.0]);
    (&x * 3.0).sum().backward().unwrap();
    assert_eq!(gradient(&x), [5.0, 7.0]);
    x.set_grad(None).unwrap();
    assert!(x.grad().is_none());
    x.set_grad(Some(&t(&[10.0, 20.0]))).unwrap();
    x.sum().backward().unwrap();
    assert_eq!(gradient(&x), [11.0, 21.0]);
    fails(x.set_grad(Some(&t(&[1.0]))), "[2]");
    fails(x.set_grad(Some(&x)), "its own grad");
    assert!(!x.data().requires_grad());
    close(x.data().norm().item(), 5f64.sqrt());
    // the caller's cotangent is neither kept nor changed
    let ct = t(&[1.0, 1.0]);
    x.set_grad(None).unwrap();
    (&x * 1.0).backward_with(&ct).unwrap();
    (&x * 1.0).backward_with(&ct).unwrap();
    assert_eq!((gradient(&x), ct.to_vec()), (vec![2.0, 2.0], vec![1.0, 1.0]));
}

#[test]
fn one_backward_per_graph() {
    let x = tracked(&[3.0]);
    let y = &x * &x;
    y.backward().unwrap();
    fails(y.backward(), "second time");
    fails(y.backward(), "retain_graph");
    assert_eq!(gradient(&x), [6.0]);
    let y = &x * &x;
    backward(&[&y], &[], true, false).unwrap();
    y.backward().unwrap();
    assert_eq!(gradient(&x), [18.0]);
    // nothing saved: as often as one likes
    let y = x.sum();
    y.backward().unwrap();
    y.backward().unwrap();
    assert_eq!(gradient(&x), [20.0]);
}

#[test]
fn vector_outputs() {
    let x = tracked(&[0.0, 1.0, 2.0, 3.0]);
    fails((&x * &x).backward(), "grad can be implicitly created only for scalar outputs");
    (&x * &x).sum().backward().unwrap();
    assert_eq!(gradient(&x), [0.0, 2.0, 4.0, 6.0]);
    x.set_grad(None).unwrap();
    (&x * &x).backward_with(&Tensor::ones([4])).unwrap();
    assert_eq!(gradient(&x), [0.0, 2.0, 4.0, 6.0]);
    x.set_grad(None).unwrap();
    let y = x.dot(&x) * 2.0;
    assert_eq!(y.item(), 28.0);
    y.backward().unwrap();
    let is = x.grad().unwrap().eq(&(&x * 4.0));
    assert_eq!(is.to_string(), "tensor([True, True, True, True])");
    assert!(is.all());
    fails((&x * 1.0).backward_with(&t(&[1.0])), "Mismatch in shape");
}

#[test]
fn control_flow() {
    let x = tracked(&[0.5, -1.0, 2.0]);
    let mut y = &x * 2.0;
    let mut power = 2.0;
    while y.norm() < 1000.0 {
        y *= 2.0;
        power *= 2.0;
    }
    y.backward_with(&t(&[0.1, 1.0, 0.0001])).unwrap();
    x.grad().unwrap().to_vec().iter().zip([0.1, 1.0, 0.0001]).for_each(|(g, v)| close(*g, v * power));

    for start in [-0.3, 0.7] {
        let a = tracked(&[start]);
        let mut b = &a * 2.0;
        while b.norm() < 1000.0 {
            b *= 2.0;
        }
        let d = if b.sum() > 0.0 { b } else { b * 100.0 };
        d.backward().unwrap();
        assert!(a.grad().unwrap().eq(&(&d / &a)).all());
    }
    for message in [
        panic_of(|| x < 0.0),
        panic_of(|| x >= 1.0),
        panic_of(|| x > t(&[1.0, 2.0, 3.0])),
        panic_of(|| x <= t(&[1.0])),
        panic_of(|| x == t(&[1.0, 2.0, 3.0])),
    ] {
        assert!(message.contains("Boolean value of Tensor with more than one value is ambiguous"), "{message}");
    }
    assert_eq!(x.lt(t(&[1.0, -2.0, 3.0])).to_vec(), [true, false, true]);
}

#[autograd::no_grad]
fn doubled(x: &Tensor<f64>) -> Tensor<f64> {
    x * 2.0
}

#[test]
fn stopping() {
    let x = tracked(&[1.0]);
    no_grad(|| {
        assert!(!is_grad_enabled() && !(&x * 2.0).requires_grad());
        set_grad_enabled(true, || {
            assert!((&x * 2.0).requires_grad());
            no_grad(|| assert!(!(&x * 2.0).requires_grad()));
            assert!(is_grad_enabled());
        });
        assert!(!is_grad_enabled());
    });
    assert!(is_grad_enabled() && (&x * 2.0).requires_grad());
    assert!(!doubled(&x).requires_grad() && is_grad_enabled());
    panic_of(|| no_grad(|| panic!("on purpose")));
    assert!(is_grad_enabled());
    set_grad_enabled(false, || {
        panic_of(|| set_grad_enabled(true, || panic!("on purpose")));
        assert!(!is_grad_enabled());
        // the switch is this thread's
        std::thread::scope(|s| s.spawn(|| assert!(is_grad_enabled())).join().unwrap());
    });
    // leaves made inside can be tracked
    assert!(no_grad(|| tracked(&[1.0])).requires_grad());
}

#[test]
fn detach_shares_storage() {
    let x = t(&[1.0, 2.0]);
    let mut d = x.detach();
    square_into(&t(&[3.0, 4.0]), &mut d);
    assert_eq!(x.to_vec(), [6.0, 8.0], "written through the detached tensor");

    let x = tracked(&[1.0, 2.0]);
    let y = &x * &x;
    let u = y.detach();
    assert!(!u.requires_grad() && u.is_leaf());
    (&u * &x).sum().backward().unwrap();
    assert!(x.grad().unwrap().eq(&u).all());
    x.set_grad(None).unwrap();
    y.sum().backward().unwrap();
    assert_eq!(gradient(&x), [2.0, 4.0]);
}

/// Writes into a tensor: the gradient 2x of Σx².
fn square_into(x: &Tensor<f64>, out: &mut Tensor<f64>) {
    use autograd::prelude::*;
    #[differentiable]
    fn squares(x: &Tensor<f64>) -> Tensor<f64> {
        x.square().sum()
    }
    squares::grad_into(x, out).unwrap();
}

#[test]
fn overwritten_values_are_noticed() {
    let x = tracked(&[1.0, 2.0]);
    let mut saved = t(&[1.0, 1.0]);
    let y = (&x * &saved).sum();
    square_into(&t(&[3.0, 4.0]), &mut saved);
    fails(y.backward(), "modified by an inplace operation");
    fails(y.backward(), "MulBackward0");
}

#[test]
fn autograd_backward() {
    let (a, b) = (tracked(&[1.0, 2.0]), tracked(&[1.0, 2.0]));
    let c = &a * 2.0 + &b * 3.0 + 1.0;
    let ones = t(&[1.0, 1.0]);
    backward(&[&c], &[Some(&ones)], false, false).unwrap();
    assert_eq!((gradient(&a), gradient(&b)), (vec![2.0, 2.0], vec![3.0, 3.0]));
    fails(backward(&[&c], &[Some(&ones)], false, false), "second time");
    // several roots, and one root twice
    let (y, z) = ((&a * 5.0).sum(), (&a * 7.0).sum());
    a.set_grad(None).unwrap();
    backward(&[&y, &z], &[], true, false).unwrap();
    assert_eq!(gradient(&a), [12.0, 12.0]);
    backward(&[&y, &y], &[], false, false).unwrap();
    assert_eq!(gradient(&a), [22.0, 22.0]);
    fails(backward(&[&y], &[None, None], false, false), "expected 1 gradients, found 2");
}

#[test]
fn autograd_grad() {
    let (a, b) = (tracked(&[1.0, 2.0]), tracked(&[1.0, 2.0]));
    let c = &a * 2.0 + &b * 3.0 + 1.0;
    let d = &c * 2.0 + 1.0;
    let ones = t(&[1.0, 1.0]);
    let g = grad(&[&d], &[&a, &b, &c], &[Some(&ones)], false, false, false).unwrap();
    let g: Vec<Vec<f64>> = g.into_iter().map(|g| g.unwrap().to_vec()).collect();
    assert_eq!(g, [[4.0, 4.0], [6.0, 6.0], [2.0, 2.0]]);
    assert!(a.grad().is_none() && b.grad().is_none() && c.grad().is_none());
    fails(grad(&[&d], &[&a], &[Some(&ones)], false, false, false), "second time");
    let e = tracked(&[1.0]);
    let y = (&a * &a).sum();
    fails(grad(&[&y], &[&a, &e], &[], true, false, false), "allow_unused");
    let g = grad(&[&y], &[&a, &e], &[], true, false, true).unwrap();
    assert!(g[0].is_some() && g[1].is_none());
    fails(grad(&[&y], &[&t(&[1.0])], &[], true, false, false), "does not require grad");
    // the same output twice counts twice
    let g = grad(&[&y, &y], &[&a], &[], false, false, false).unwrap();
    assert_eq!(g[0].as_ref().unwrap().to_vec(), [4.0, 8.0]);
}

#[test]
fn higher_orders() {
    let x = tracked(&[1.5]);
    let mut y = x.powi(4);
    let want = [4.0 * 1.5f64.powi(3), 12.0 * 1.5f64.powi(2), 24.0 * 1.5, 24.0];
    for (order, want) in want.into_iter().enumerate() {
        y = grad(&[&y], &[&x], &[], false, true, false).unwrap().remove(0).unwrap();
        assert!(y.requires_grad() || order == 3);
        close(y.item(), want);
    }
    // through backward: the gradient of the gradient's norm
    let x = tracked(&[1.0, -2.0]);
    backward(&[&x.powi(3).sum()], &[], false, true).unwrap();
    let g = x.grad().unwrap();
    x.set_grad(None).unwrap();
    g.square().sum().backward().unwrap();
    // d/dx (3x²)² = 36 x³
    same(&x.grad().unwrap(), &[2], &[36.0, -288.0]);
}

#[test]
fn deep_graphs_need_no_stack() {
    let deep = || {
        let x = tracked(&[1.0]);
        let mut y = &x * 1.0;
        for i in 0..100_000 {
            y = if i % 2 == 0 { &y + 1e-9 } else { &y * 1.0 };
        }
        let kept = y.clone();
        y.backward().unwrap();
        assert_eq!(gradient(&x), [1.0]);
        drop((y, kept));
        // one that is dropped without a backward, its values still saved
        let mut y = x.clone();
        for _ in 0..100_000 {
            y = &y * &x;
        }
        drop(y);
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(deep).unwrap().join().unwrap();
}

#[test]
fn ten_threads_over_one_leaf() {
    let x = tracked(&[1.0, 2.0]);
    let y = (&x * 1.0).sum();
    std::thread::scope(|s| {
        for _ in 0..10 {
            s.spawn(|| {
                for _ in 0..200 {
                    (&x * 3.0).sum().backward().unwrap();
                    backward(&[&y], &[], true, false).unwrap();
                }
            });
        }
    });
    assert_eq!(gradient(&x), [8000.0, 8000.0]);
}

#[test]
fn failing_operators() {
    let (a, b) = (t(&[1.0, 2.0]), t(&[1.0, 2.0, 3.0]));
    let line = line!() + 1;
    let message = panic_of(|| &a + &b);
    assert!(message.contains("add: expected shapes that broadcast, found [2] and [3]"), "{message}");
    assert!(message.contains(&format!("dynamic_engine.rs:{line}:")), "{message}");
    for (message, op) in [
        (panic_of(|| a.matmul(&b)), "matmul"),
        (panic_of(|| a.reshape(&[3])), "reshape"),
        (panic_of(|| a.sum_dim(&[1], false)), "sum"),
        (panic_of(|| Tensor::<f64>::from_vec(vec![1.0], [2])), "from_vec"),
        (panic_of(|| a.item()), "item"),
        (panic_of(|| Tensor::<f64>::cat(&[], 0)), "cat"),
        (panic_of(|| a.select(0, 2)), "select"),
    ] {
        assert!(message.starts_with(op) && message.contains("dynamic_engine.rs"), "{message}");
    }
    // nothing panics under try_eval: the first error comes back, with its place
    let line = line!() + 1;
    let e = try_eval(|| ((&a + &b) * a.matmul(&b)).sum().item() > 0.0).unwrap_err().to_string();
    assert!(e.contains("add") && e.contains(&format!("dynamic_engine.rs:{line}:")), "{e}");
    assert_eq!(try_eval(|| (&a + &a).to_vec()).unwrap(), [2.0, 4.0]);
    fails(try_eval(|| &a + &b).map(drop), "[2] and [3]");
    // an outer one sees its own errors only
    let both = try_eval(|| try_eval(|| &a + &b).is_err()).unwrap();
    assert!(both);
}
