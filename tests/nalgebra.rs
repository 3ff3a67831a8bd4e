//! `nalgebra`'s matrices as parameters and results, and from and to tensors: `cargo test --features nalgebra`.
#![cfg(feature = "nalgebra")]

use autograd::{
    nalgebra::{DMatrix, DVector, Matrix2, Matrix2x3, SMatrix, SVector, Vector2, Vector3},
    prelude::*,
};

/// Runs a test on both engines.
fn both(test: impl Fn() -> autograd::Result<()>) {
    for engine in [Engine::Compiled, Engine::Dynamic] {
        with_engine(engine, &test).unwrap_or_else(|e| panic!("{engine:?}: {e}"));
    }
}

#[differentiable]
fn apart(p: Vector3<f64>, q: &Vector3<f64>) -> f64 {
    let d = p - q;
    d.dot(&d).sqrt()
}

#[differentiable(wrt(p))]
fn turned(m: &Matrix2<f64>, p: Vector2<f64>, by: f64) -> Vector2<f64> {
    let q = m * p;
    Vector2::new(q.x * by.cos() - q[1] * by.sin(), q.x * by.sin() + q.y * by.cos())
}

#[differentiable]
fn energy(p: Vector2<f64>) -> f64 {
    p.x.powi(3) * p.y
}

#[differentiable]
fn twice(m: &Matrix2<f64>, p: Vector2<f64>) -> f64 {
    let mut q = p;
    for _ in 0..2 {
        q = turned(m, q, 0.5);
    }
    apart(Vector3::new(q.x, q.y, 0.0), &Vector3::new(p.x, p.y, 1.0)) + (m.transpose() * m).trace()
}

#[derive(Clone, Copy, Debug, PartialEq, Differentiable)]
struct Body {
    at: Vector3<f64>,
    mass: f64,
}

#[differentiable]
fn moment(b: &Body, force: Vector3<f64>) -> Vector3<f64> {
    (b.at.cross(&force) * b.mass).map(|x| 0.5 * x)
}

#[test]
fn vectors_are_parameters() {
    both(|| {
        let (p, q) = (Vector3::new(1.0, 2.0, 3.0), Vector3::new(1.0, 5.0, 7.0));
        assert_eq!(apart::value(p, &q)?, 5.0);
        let (dp, dq): (Vector3<f64>, Vector3<f64>) = apart::grad(p, &q)?;
        assert!((dp - Vector3::new(0.0, -0.6, -0.8)).norm() < 1e-15 && (dp + dq).norm() == 0.0);
        let (mut into, mut other) = (Vector3::zeros(), Vector3::zeros());
        apart::grad_into(p, &q, &mut into, &mut other)?;
        assert_eq!((into, other), (dp, dq));
        assert!(twice::check(&Matrix2::new(1.0, 0.3, -0.2, 0.8), Vector2::new(0.4, -0.7))?.passed());
        assert_eq!(twice::value(&Matrix2::identity(), p.xy())?, twice(&Matrix2::identity(), p.xy()));
        Ok(())
    });
}

#[test]
fn a_matrix_has_the_derivatives() {
    both(|| {
        let m = Matrix2::new(1.0, 2.0, 3.0, 4.0);
        let j: DMatrix<f64> = turned::jacobian(&m, Vector2::new(0.3, 0.4), 0.0)?;
        assert_eq!(j, DMatrix::from_row_slice(2, 2, &[1.0, 2.0, 3.0, 4.0]));
        let h: DMatrix<f64> = energy::hessian(Vector2::new(2.0, 5.0))?;
        assert!((h - DMatrix::from_row_slice(2, 2, &[60.0, 12.0, 12.0, 0.0])).norm() < 1e-12);
        let b = Body { at: Vector3::new(1.0, 0.0, 0.0), mass: 4.0 };
        let (value, pull) = moment::vjp(&b, Vector3::new(0.0, 3.0, 0.0))?;
        assert_eq!(value, Vector3::new(0.0, 0.0, 6.0));
        let (db, df) = pull(&Vector3::new(0.0, 0.0, 1.0))?;
        assert_eq!((db.at.x, db.mass, df), (6.0, 1.5, Vector3::new(0.0, 2.0, 0.0)));
        Ok(())
    });
}

#[test]
fn tensors_are_matrices() -> autograd::Result<()> {
    let m = Matrix2x3::new(1.0, 2.0, 3.0, 4.0, 5.0, 6.0);
    let t = Tensor::from(m);
    assert_eq!((t.shape(), t.to_vec()), (&[2, 3][..], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    assert_eq!(t.to_smatrix::<2, 3>()?, m);
    assert_eq!(t.t().to_dmatrix()?, m.transpose());
    // a part of a matrix, and vectors
    assert_eq!(Tensor::from(&m.columns(1, 2)).to_vec(), [2.0, 3.0, 5.0, 6.0]);
    assert_eq!(Tensor::from(m.row(1)).shape(), [1, 3]);
    let v = Tensor::from(DVector::from_vec(vec![1.0_f32, 2.0]));
    assert_eq!((v.shape(), v.to_dvector()?.len(), v.to_svector::<2>()?), (&[2][..], 2, SVector::from([1.0, 2.0])));
    assert_eq!(Tensor::from(SMatrix::<f64, 0, 3>::zeros()).shape(), [0, 3]);
    let errors = [t.to_dvector().err(), v.to_dmatrix().err(), t.to_smatrix::<3, 2>().err(), t.to_svector::<6>().err()];
    assert!(errors.iter().all(Option::is_some), "{errors:?}");
    let text = t.to_svector::<6>().map_err(|e| e.to_string()).unwrap_err();
    assert!(text.contains("[6]") && text.contains("[2, 3]"), "{text}");
    Ok(())
}
