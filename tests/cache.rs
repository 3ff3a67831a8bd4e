//! The store of compiled programs and its bounds. It is the process's own, so these tests are one.

mod common;

use autograd::{cache_stats, clear_cache, prelude::*, set_cache_limits};
use common::close;

#[differentiable]
fn square(x: &Tensor<f64>) -> Tensor<f64> {
    (x * x).sum()
}

#[differentiable]
fn polynomial(x: f64, n: usize) -> f64 {
    if n == 0 { 1.0 } else { x * polynomial(x, n - 1) + 1.0 }
}

#[test]
fn bounds_and_kept_programs() -> Result<(), Error> {
    clear_cache();
    assert_eq!(cache_stats().entries, 0);
    let ones = |n| Tensor::<f64>::ones([n]);
    square::grad(&ones(3))?;
    let one = cache_stats();
    assert!(one.entries == 1 && one.bytes > 0, "{one:?}");
    square::grad(&(ones(3) * 2.0))?;
    assert_eq!(cache_stats(), one, "another value of the same shape takes the same program");
    square::value(&ones(3))?;
    square::grad(&ones(4))?;
    assert_eq!(cache_stats().entries, 3, "another entry point and another shape take their own");

    // bounded by number: the least recently used go first, and evicted ones are built again
    set_cache_limits(2, usize::MAX);
    assert_eq!(cache_stats().entries, 2);
    for n in 1..20 {
        assert_eq!(square::grad(&ones(n))?.to_vec(), vec![2.0; n]);
        assert!(cache_stats().entries <= 2);
    }
    // bounded by bytes; the last program always stays
    set_cache_limits(1024, 1);
    assert_eq!(cache_stats().entries, 1);
    close(polynomial::grad(2.0, 3)?, 3.0 * 4.0 + 2.0 * 2.0 + 1.0);
    assert_eq!(cache_stats().entries, 1);
    set_cache_limits(1024, 256 << 20);

    // a kept function outlives the cache
    let kept = square::compile(&ones(5))?;
    assert_eq!(kept.grad(&ones(5))?.to_vec(), [2.0; 5]);
    clear_cache();
    assert_eq!((cache_stats().entries, cache_stats().bytes), (0, 0));
    let x = ones(5) * 3.0;
    assert_eq!(kept.value_and_grad(&x)?.1.to_vec(), [6.0; 5]);
    assert_eq!(kept.value(&x)?.item(), 45.0);

    // threads that use and clear it at once
    std::thread::scope(|s| {
        for t in 0..4 {
            s.spawn(move || {
                for i in 0..20 {
                    let n = 1 + (i + t) % 5;
                    assert_eq!(square::grad(&Tensor::<f64>::ones([n])).unwrap().to_vec(), vec![2.0; n]);
                    if i % 7 == t {
                        clear_cache();
                    }
                }
            });
        }
    });
    Ok(())
}
