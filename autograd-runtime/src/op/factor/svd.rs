//! The singular value decomposition A = U·S·Vᵀ of a square matrix, by one-sided Jacobi rotations (Hestenes 1958; Golub and
//! Van Loan, "Matrix Computations", section 8.6.3): columns of A·V are rotated against each other until all are orthogonal.
//! It is slower than the usual method and more exact, and it is here because `nalgebra`'s gives wrong vectors for some
//! matrices of low rank.

use super::dense::Scalar;
use nalgebra::DMatrix;

/// U, the singular values in no order and with signs, and Vᵀ, with U and V orthogonal; `None` if the rotations do not come
/// to an end.
pub(super) fn svd<T: Scalar>(a: &DMatrix<T>) -> Option<(DMatrix<T>, Vec<T>, DMatrix<T>)> {
    let n = a.ncols();
    let (mut u, mut v) = (a.clone(), DMatrix::identity(n, n));
    let tolerance = T::default_epsilon() * nalgebra::convert(2.0 * n as f64);
    let two: T = nalgebra::convert(2.0);
    // columns below this are rounding errors, whose angles mean nothing
    let dust = (tolerance * a.norm()).powi(2);
    // a handful of sweeps is enough: convergence is quadratic
    let settled = (0..60).any(|_| {
        let mut still = true;
        for p in 0..n {
            for q in p + 1..n {
                let (x, y) = (u.column(p), u.column(q));
                let (pp, qq, pq) = (x.norm_squared(), y.norm_squared(), x.dot(&y));
                if pp.min(qq) <= dust || pq.abs() <= tolerance * (pp * qq).sqrt() {
                    continue;
                }
                still = false;
                // the smaller root of t² + 2ζt − 1, ζ = (qq − pp)/2pq, is the tangent of the angle
                let z = (qq - pp) / (two * pq);
                let t = T::one().copysign(z) / (z.abs() + (T::one() + z * z).sqrt());
                let c = T::one() / (T::one() + t * t).sqrt();
                for m in [&mut u, &mut v] {
                    for r in 0..n {
                        let (x, y) = (m[(r, p)], m[(r, q)]);
                        m[(r, p)] = c * (x - t * y);
                        m[(r, q)] = c * (t * x + y);
                    }
                }
            }
        }
        still
    });
    if !settled {
        return None;
    }
    let mut s: Vec<T> = u.column_iter().map(|c| c.norm()).collect();
    let mut done = Vec::with_capacity(n);
    for k in (0..n).filter(|&k| s[k] * s[k] > dust) {
        u.column_mut(k).unscale_mut(s[k]);
        done.push(k);
    }
    // the others stand for the directions that are left
    for k in (0..n).filter(|&k| s[k] * s[k] <= dust).collect::<Vec<_>>() {
        // of the axes the one that sticks out most, made orthogonal twice
        let outside = |r: usize| done.iter().fold(T::one(), |d, &j| d - u[(r, j)] * u[(r, j)]);
        let axis = (0..n).max_by(|&a, &b| outside(a).partial_cmp(&outside(b)).unwrap_or(std::cmp::Ordering::Equal))?;
        let mut w = nalgebra::DVector::zeros(n);
        w[axis] = T::one();
        for _ in 0..2 {
            for &j in &done {
                let d = u.column(j).dot(&w);
                w -= u.column(j) * d;
            }
        }
        let norm = w.norm();
        w.unscale_mut(norm);
        s[k] = u.column(k).dot(&w);
        u.set_column(k, &w);
        done.push(k);
    }
    Some((u, s, v.transpose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Matrices of every rank, with integers, repeated columns and very different sizes.
    #[test]
    fn it_decomposes_and_the_factors_are_orthogonal() {
        let mut seed = 1u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as f64 / (1u64 << 31) as f64 - 0.5
        };
        for case in 0..3000usize {
            let n = 1 + case % 6;
            let mut a = DMatrix::<f64>::zeros(n, n);
            match case % 3 {
                0 => (0..case / 6 % (n + 1)).for_each(|_| {
                    let (x, y) = (DMatrix::from_fn(n, 1, |_, _| next()), DMatrix::from_fn(1, n, |_, _| next()));
                    a += x * y;
                }),
                1 => a = DMatrix::from_fn(n, n, |_, _| (next() * 4.0).round()),
                _ => a = DMatrix::from_fn(n, n, |i, j| next() * 10f64.powi((i * 7 + j * 3) as i32 % 16 - 8)),
            }
            let (u, s, vt) = svd(&a).expect("convergence");
            let one = DMatrix::identity(n, n);
            let far = |x: DMatrix<f64>| x.norm() / 1e-13;
            assert!(far(u.transpose() * &u - &one) < 1.0 && far(&vt * vt.transpose() - &one) < 1.0, "{a}");
            let back = &u * DMatrix::from_diagonal(&s.into()) * &vt;
            assert!((back - &a).norm() <= 1e-13 * a.norm(), "{a}");
        }
    }
}
