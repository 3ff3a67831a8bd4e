//! Many threads: hooks and functions that run backward themselves, over shared leaves and shared graphs, end and add up.

use super::{close, done, fails, gradient, tracked};
use autograd::{
    Context, Error, Function, Result, Tensor, backward, backward_inputs, checkpoint, enable_grad, grad, no_grad,
};
use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

/// Runs on so many threads at once and fails, rather than hangs, if they do not end.
fn on_threads(n: usize, f: impl Fn(usize) + Send + Sync + 'static) {
    let (f, barrier) = (Arc::new(f), Arc::new(Barrier::new(n)));
    let (send, ended) = mpsc::channel();
    for k in 0..n {
        let (f, barrier, send) = (f.clone(), barrier.clone(), send.clone());
        std::thread::spawn(move || {
            barrier.wait();
            let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(k)));
            let _ = send.send(r.is_ok());
        });
    }
    drop(send);
    for _ in 0..n {
        match ended.recv_timeout(Duration::from_secs(300)) {
            Ok(ok) => assert!(ok, "a thread panicked"),
            Err(e) => panic!("a deadlock: {e}"),
        }
    }
}

/// The identity, whose backward runs a backward into a leaf that all threads share.
struct IntoShared(Tensor<f64>);
impl Function<f64> for IntoShared {
    fn forward(&self, _: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        Ok(vec![&inputs[0] * 1.0])
    }
    fn backward(&self, _: &Context<f64>, g: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        enable_grad(|| (&self.0 * 2.0).sum()).backward()?;
        Ok(vec![Some(g[0].clone())])
    }
}

#[test]
fn functions_that_run_backward_into_a_shared_leaf_do_not_deadlock() {
    let (shared, other) = (tracked(&[1.0, 1.0]), tracked(&[1.0]));
    let (s, o) = (shared.clone(), other.clone());
    on_threads(8, move |_| {
        for _ in 0..50 {
            // the shared leaf is behind the function as well as in it
            let y = IntoShared(s.clone()).apply(&[&(&s * 3.0)]).unwrap();
            (y.sum() + &o).sum().backward().unwrap();
        }
    });
    assert_eq!((gradient(&shared), gradient(&other)), (vec![8.0 * 50.0 * 5.0; 2], vec![400.0]));
}

#[test]
fn hooks_that_run_backward_over_one_another_do_not_deadlock() {
    let (a, b) = (tracked(&[1.0]), tracked(&[1.0]));
    let weak = [a.downgrade(), b.downgrade()];
    let depth = Arc::new(AtomicUsize::new(0));
    // each leaf's hook runs a backward into the other, so many in all
    for (leaf, other) in [(&a, 1), (&b, 0)] {
        let (other, depth) = (weak[other].clone(), depth.clone());
        leaf.register_hook(move |_: &Tensor<f64>| -> Result<()> {
            if depth.fetch_add(1, Ordering::Relaxed) % 7 != 6 {
                enable_grad(|| &other.upgrade().unwrap() * 1.0).backward()?;
            }
            Ok(())
        })
        .unwrap();
    }
    let (x, y) = (a.clone(), b.clone());
    on_threads(8, move |k| {
        for _ in 0..20 {
            (if k % 2 == 0 { &x } else { &y } * 1.0).backward().unwrap();
        }
    });
    // every run of a hook came with one accumulation
    let total = gradient(&a)[0] + gradient(&b)[0];
    assert_eq!(total, depth.load(Ordering::Relaxed) as f64);
}

#[test]
fn hooks_after_accumulation_of_one_leaf_from_many_threads() {
    let x = tracked(&[0.0]);
    let calls = Arc::new(AtomicUsize::new(0));
    let c = calls.clone();
    x.register_post_accumulate_grad_hook(move |x| {
        c.fetch_add(1, Ordering::Relaxed);
        no_grad(|| done(x.grad().map(|g| g.to_vec())));
    })
    .unwrap();
    let leaf = x.clone();
    on_threads(10, move |_| (0..50).for_each(|_| (&leaf * 2.0).backward().unwrap()));
    assert_eq!((calls.load(Ordering::Relaxed), gradient(&x)), (500, vec![1000.0]));
}

#[test]
fn simple_backward_each_thread_its_own() {
    on_threads(10, |_| {
        let x = Tensor::<f64>::ones([5, 5]).requires_grad_(true);
        let y = (&x + 3.0) * (&x + 4.0) * 0.5;
        y.sum().backward().unwrap();
        assert_eq!(gradient(&x), [4.5; 25]);
    });
}

#[test]
fn simple_backward_same_input() {
    let x = Tensor::<f64>::ones([5, 5]).requires_grad_(true);
    let f = |x: &Tensor<f64>| ((x + 3.0) * (x + 4.0) * 0.5).sum();
    let leaf = x.clone();
    on_threads(10, move |_| f(&leaf).backward().unwrap());
    assert_eq!(gradient(&x), [45.0; 25]);
    // gradients that are given to the caller do not meet
    let leaf = x.clone();
    on_threads(10, move |_| {
        let g = grad(&[&f(&leaf)], &[&leaf], &[], false, false, false).unwrap();
        assert_eq!(g[0].as_ref().unwrap().to_vec(), [4.5; 25]);
    });
    assert_eq!(gradient(&x), [45.0; 25]);
}

#[test]
fn threads_that_go_on_from_one_middle_need_a_retained_graph() {
    let x = Tensor::<f64>::ones([5, 5]).requires_grad_(true);
    let middle = &x + x.square();
    let (ok, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (a, b, m) = (ok.clone(), failed.clone(), middle.clone());
    on_threads(5, move |_| match (&m + m.square()).sum().backward() {
        Ok(()) => done(a.fetch_add(1, Ordering::Relaxed)),
        Err(e) => {
            assert!(e.to_string().contains("Specify retain_graph=true"), "{e}");
            b.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert_eq!((ok.load(Ordering::Relaxed), failed.load(Ordering::Relaxed)), (1, 4));
    let x = Tensor::<f64>::ones([5, 5]).requires_grad_(true);
    let middle = &x + x.square();
    on_threads(5, move |_| backward(&[&(&middle + middle.square()).sum()], &[], true, false).unwrap());
    // 5 · (4x³ + 6x² + 4x + 1)
    assert_eq!(gradient(&x), [75.0; 25]);
}

#[test]
fn restricted_backwards_of_one_graph_from_many_threads() {
    let (a, b) = (tracked(&[2.0]), tracked(&[3.0]));
    let y = &a * &b;
    let (p, q) = (a.clone(), b.clone());
    on_threads(6, move |k| {
        let input = if k % 2 == 0 { &p } else { &q };
        (0..40).for_each(|_| backward_inputs(&[&y], &[], &[input], true, false).unwrap());
    });
    assert_eq!((gradient(&a), gradient(&b)), (vec![3.0 * 120.0], vec![2.0 * 120.0]));
}

#[test]
fn a_checkpointed_stretch_is_run_again_from_many_threads() {
    let (x, w) = (tracked(&[0.5, 0.25]), tracked(&[1.5, -0.5]));
    let captured = w.clone();
    let y = checkpoint(move |x| (&x[0] * &captured).sin().exp(), &[&x]).sum();
    let out = y.clone();
    on_threads(6, move |_| (0..20).for_each(|_| backward(&[&out], &[], true, false).unwrap()));
    let once = grad(&[&(&x * &w).sin().exp().sum()], &[&x, &w], &[], false, false, false).unwrap();
    close(&gradient(&x), &(once[0].as_ref().unwrap() * 120.0).to_vec());
    close(&gradient(&w), &(once[1].as_ref().unwrap() * 120.0).to_vec());
}

/// Fails the first time.
struct FailsOnce(Arc<AtomicUsize>);
impl Function<f64> for FailsOnce {
    fn forward(&self, _: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        Ok(vec![&inputs[0] * 1.0])
    }
    fn backward(&self, _: &Context<f64>, g: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(Error::Autograd("error message".into()));
        }
        Ok(vec![Some(g[0].clone())])
    }
}

#[test]
fn an_error_on_one_thread_is_that_threads_alone() {
    let (x, y) = (tracked(&[2.0]), tracked(&[3.0]));
    let out = FailsOnce(Arc::default()).apply(&[&x]).unwrap() * &y;
    let errors = Arc::new(AtomicUsize::new(0));
    let (e, o) = (errors.clone(), out.clone());
    on_threads(5, move |_| {
        if let Err(error) = backward(&[&o], &[], true, false) {
            assert_eq!(error.to_string(), "error message");
            e.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert_eq!((errors.load(Ordering::Relaxed), gradient(&x), gradient(&y)), (1, vec![12.0], vec![8.0]));
}

#[test]
fn a_write_while_another_thread_runs_backward_is_noticed_or_came_too_late() {
    for _ in 0..50 {
        let (x, w) = (tracked(&[1.0; 100]), Tensor::<f64>::ones([100]));
        let y = (&x * &w).sum();
        let written = w.clone();
        let ran = std::thread::scope(|s| {
            s.spawn(move || done(written.fill_(5.0)));
            s.spawn(|| y.backward()).join().unwrap()
        });
        match ran {
            Ok(()) => assert!(gradient(&x).iter().all(|g| *g == 1.0 || *g == 5.0)),
            Err(e) => fails::<()>(Err(e), &["modified by an inplace operation"]),
        }
    }
}
