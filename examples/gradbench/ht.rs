//! Hand tracking: a hand of 22 bones is bent by 26 parameters, its vertices follow the bones that they are weighted with, and
//! the error is how far observed points are from the vertices, or from places in triangles of vertices. The Jacobian is dense
//! in the parameters; the two coordinates in a triangle move one point each, so that two directions give all their
//! derivatives.

use crate::{Run, input::Input, input::rows, unknown};
use anyhow::{Context, Result, ensure};
use autograd::prelude::*;
use serde_json::Value;

/// What does not depend on the parameters.
#[derive(Clone, Differentiable)]
struct Hand {
    /// Each bone in the frame of its parent, (bones, 4, 4), and the inverse of where it is at rest.
    relatives: Tensor<f64>,
    inverses: Tensor<f64>,
    /// Vertices at rest, (4, vertices), and how much each bone moves them, (bones, 1, vertices).
    positions: Tensor<f64>,
    weights: Tensor<f64>,
    /// Which parameters bend and spread each bone, (bones, 26).
    bends: Tensor<f64>,
    spreads: Tensor<f64>,
    /// Observed points, (points, 3).
    points: Tensor<f64>,
    /// -1 for a mirrored hand, (3, 1).
    mirror: Tensor<f64>,
    /// The parent of each bone, which comes before it; the number of bones for none.
    #[constant]
    parents: Vec<usize>,
}

/// Rows of tensors without axes as a matrix.
fn matrix(rows: [[&Tensor<f64>; 3]; 3]) -> Tensor<f64> {
    let rows = rows.map(|row| Tensor::stack(&row, 0));
    Tensor::stack(&[&rows[0], &rows[1], &rows[2]], 0)
}

/// A rotation about an axis by its length as the angle.
#[differentiable]
fn rotation(axis: &Tensor<f64>) -> Tensor<f64> {
    let angle = axis.square().sum().sqrt();
    if angle < 1e-4 {
        return Tensor::eye(3);
    }
    let unit = axis / &angle;
    let (x, y, z) = (&unit.select(0, 0), &unit.select(0, 1), &unit.select(0, 2));
    let (s, c) = (&angle.sin(), &angle.cos());
    let rest = &(1.0 - c);
    matrix([
        [&(x * x + (1.0 - x * x) * c), &(x * y * rest - z * s), &(x * z * rest + y * s)],
        [&(x * y * rest + z * s), &(y * y + (1.0 - y * y) * c), &(y * z * rest - x * s)],
        [&(x * z * rest - y * s), &(z * y * rest + x * s), &(z * z + (1.0 - z * z) * c)],
    ])
}

/// All vertices for parameters: global rotation and translation, then the fingers'. (3, vertices)
#[differentiable(wrt(theta))]
fn vertices(theta: &Tensor<f64>, hand: &Hand) -> Tensor<f64> {
    let bones = hand.parents.len();
    let (bend, spread) = (hand.bends.matmul(theta), hand.spreads.matmul(theta));
    let (sx, cx, sz, cz) = (&bend.sin(), &bend.cos(), &spread.sin(), &spread.cos());
    let (zero, one) = (&Tensor::zeros([bones]), &Tensor::ones([bones]));
    let cells = [
        cz,
        &(-sz * cx),
        &(sz * sx),
        zero, //
        sz,
        &(cz * cx),
        &(-cz * sx),
        zero, //
        zero,
        sx,
        cx,
        zero, //
        zero,
        zero,
        zero,
        one,
    ];
    let turned = hand.relatives.matmul(&Tensor::stack(&cells, 1).reshape(&[-1, 4, 4]));
    let mut absolutes: Vec<Tensor<f64>> = Vec::with_capacity(bones);
    for (bone, &parent) in hand.parents.iter().enumerate() {
        let own = turned.select(0, bone as i64);
        absolutes.push(if parent < bone { absolutes[parent].matmul(&own) } else { own });
    }
    let absolutes = Tensor::stack(&absolutes.iter().collect::<Vec<_>>(), 0);
    let transforms = absolutes.matmul(&hand.inverses).narrow(1, 0, 3).reshape(&[-1, 4]);
    let moved = transforms.matmul(&hand.positions).reshape(&[bones as i64, 3, -1]);
    let skin = (moved * &hand.weights).sum_dim(&[0], false) * &hand.mirror;
    rotation(&theta.narrow(0, 0, 3)).matmul(&skin) + theta.narrow(0, 3, 3).unsqueeze(1)
}

/// The errors where each point belongs to a vertex. (3 · points)
#[differentiable(wrt(theta))]
fn at_vertices(theta: &Tensor<f64>, hand: &Hand, vertex: &Tensor<i64>) -> Tensor<f64> {
    (&hand.points - vertices(theta, hand).index_select(1, vertex).t()).flatten(0, -1)
}

/// The errors where each point belongs to a place in a triangle. (3 · points)
#[differentiable(wrt(theta, u))]
fn in_triangles(
    theta: &Tensor<f64>,
    u: &Tensor<f64>,
    hand: &Hand,
    a: &Tensor<i64>,
    b: &Tensor<i64>,
    c: &Tensor<i64>,
) -> Tensor<f64> {
    let all = vertices(theta, hand);
    let (first, second) = (u.select(1, 0), u.select(1, 1));
    let third = 1.0 - &first - &second;
    let place = first * all.index_select(1, a) + second * all.index_select(1, b) + third * all.index_select(1, c);
    (&hand.points - place.t()).flatten(0, -1)
}

struct Problem {
    theta: Tensor<f64>,
    u: Option<Tensor<f64>>,
    hand: Hand,
    /// The vertex of each point, or those of its triangle.
    places: Vec<Tensor<i64>>,
}

fn tensor(input: &Input, key: &str, shape: impl Fn([usize; 2]) -> Vec<usize>) -> Result<Tensor<f64>> {
    let (all, size) = input.matrix(key)?;
    Ok(autograd::try_eval(|| Tensor::from_vec(all, &shape(size)[..]))?)
}

fn read(input: &Input) -> Result<Problem> {
    let data = input.part("data")?;
    let model = data.part("model")?;
    let parents = model.integers("parents")?;
    let bones = parents.len();
    let theta = input.floats("theta")?;
    ensure!(bones >= 21 && theta.len() == 26, "expected a hand of at least 21 bones and 26 parameters");
    let (mut bends, mut spreads) = (vec![0.0; 26 * bones], vec![0.0; 26 * bones]);
    let mut parameter = 6;
    for finger in 0..5 {
        for joint in 0..3 {
            let bone = 4 * finger + joint + 2;
            bends[26 * bone + parameter] = 1.0;
            parameter += 1;
            if joint == 0 {
                spreads[26 * bone + parameter] = 1.0;
                parameter += 1;
            }
        }
    }
    let mirrored = model.0["is_mirrored"].as_bool().context("expected whether the hand \"is_mirrored\"")?;
    let hand = Hand {
        relatives: tensor(&model, "base_relatives", |_| vec![bones, 4, 4])?,
        inverses: tensor(&model, "inverse_base_absolutes", |_| vec![bones, 4, 4])?,
        positions: tensor(&model, "base_positions", Vec::from)?.t().contiguous(),
        weights: tensor(&model, "weights", Vec::from)?.t().contiguous().unsqueeze(1),
        bends: Tensor::from_vec(bends, [bones, 26]),
        spreads: Tensor::from_vec(spreads, [bones, 26]),
        points: tensor(&data, "points", Vec::from)?,
        mirror: Tensor::from_vec(vec![if mirrored { -1.0 } else { 1.0 }, 1.0, 1.0], [3, 1]),
        parents: parents.iter().map(|&p| usize::try_from(p).unwrap_or(bones)).collect(),
    };
    let of = data.integers("correspondences")?;
    let count = of.len();
    let (us, [rows, _]) = input.matrix("us")?;
    let places = if rows == 0 {
        vec![Tensor::from_vec(of, [count])]
    } else {
        let triangles = model.integers("triangles")?;
        let corner = |k: usize| {
            let at = |&t: &i64| usize::try_from(t).ok().and_then(|t| triangles.get(3 * t + k)).copied();
            let all: Option<Vec<i64>> = of.iter().map(at).collect();
            all.map(|all| Tensor::from_vec(all, [count])).context("expected correspondences to triangles of the hand")
        };
        (0..3).map(corner).collect::<Result<_>>()?
    };
    let u = (rows > 0).then(|| Tensor::from_vec(us, [rows, 2]));
    Ok(Problem { theta: Tensor::from_vec(theta, [26]), u, hand, places })
}

fn objective(p: &Problem) -> Result<Vec<f64>> {
    Ok(match (&p.u, &p.places[..]) {
        (Some(u), [a, b, c]) => in_triangles::value(&p.theta, u, &p.hand, a, b, c)?,
        _ => at_vertices::value(&p.theta, &p.hand, &p.places[0])?,
    }
    .to_vec())
}

/// The columns of the Jacobian: those of the two coordinates, if there are any, then those of the parameters.
fn columns(p: &Problem) -> Result<Vec<Vec<f64>>> {
    let one = |i: usize| Tensor::from_vec((0..26).map(|k| f64::from(u8::from(k == i))).collect(), [26]);
    let (Some(u), [a, b, c]) = (&p.u, &p.places[..]) else {
        let column = |i| Ok(at_vertices::jvp(&p.theta, &p.hand, &p.places[0], &one(i))?.1.to_vec());
        return (0..26).map(column).collect();
    };
    let zero = Tensor::zeros(u.shape());
    let along =
        |dt: &Tensor<f64>, du: &Tensor<f64>| Ok(in_triangles::jvp(&p.theta, u, &p.hand, a, b, c, dt, du)?.1.to_vec());
    let coordinate = |k: usize| {
        let each = (0..u.numel()).map(|i| f64::from(u8::from(i % 2 == k))).collect();
        along(&Tensor::zeros([26]), &Tensor::from_vec(each, u.shape()))
    };
    (0..2).map(coordinate).chain((0..26).map(|i| along(&one(i), &zero))).collect()
}

pub fn evaluate(function: &str, input: &Input) -> Result<Run> {
    let p = read(input)?;
    match function {
        "objective" => input.run(|| objective(&p), Value::from),
        "jacobian" => input.run(
            || columns(&p),
            |columns| {
                let height = columns.first().map_or(0, Vec::len);
                let all: Vec<f64> = (0..height).flat_map(|i| columns.iter().map(move |c| c[i])).collect();
                rows(&all, columns.len())
            },
        ),
        _ => unknown(function),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A small hand of 22 bones, each the child of the one before or of the wrist, with points in triangles or not.
    fn hand(triangles: bool) -> Value {
        let wave = |i: usize| ((i * 7919) % 101) as f64 / 101.0 - 0.5;
        let (bones, vertices, points) = (22, 9, 5);
        let turned = |i: usize| {
            let (s, c) = (0.3 * i as f64).sin_cos();
            json!([[c, -s, 0.0, wave(i)], [s, c, 0.0, 0.5], [0.0, 0.0, 1.0, 0.1], [0.0, 0.0, 0.0, 1.0]])
        };
        let row = |n: usize, seed: usize| (0..n).map(|k| wave(seed + k)).collect::<Vec<f64>>();
        json!({
            "theta": row(26, 3),
            "us": if triangles { json!((0..points).map(|i| row(2, 40 * i)).collect::<Vec<_>>()) } else { json!([]) },
            "data": {
                "correspondences": (0..points).map(|i| i % 4).collect::<Vec<_>>(),
                "points": (0..points).map(|i| row(3, 11 * i)).collect::<Vec<_>>(),
                "model": {
                    "is_mirrored": true,
                    "parents": (0..bones).map(|i| if i == 0 { -1 } else if i % 4 == 1 { 0 } else { i - 1 }).collect::<Vec<i64>>(),
                    "base_relatives": (0..bones as usize).map(turned).collect::<Vec<_>>(),
                    "inverse_base_absolutes": (0..bones as usize).map(|i| turned(i + 5)).collect::<Vec<_>>(),
                    "base_positions": (0..vertices).map(|i| row(4, 13 * i)).collect::<Vec<_>>(),
                    "weights": (0..vertices).map(|i| row(bones as usize, 17 * i)).collect::<Vec<_>>(),
                    "triangles": (0..4).map(|i| [i, i + 2, i + 4]).collect::<Vec<_>>(),
                },
            },
        })
    }

    #[test]
    fn columns_are_differences_of_the_objective() {
        for triangles in [false, true] {
            let p = read(&Input(&hand(triangles))).unwrap();
            let columns = columns(&p).unwrap();
            let moved = |step: f64, column: usize| {
                let first = if triangles { 2 } else { 0 };
                let shift = |x: &Tensor<f64>, at: &dyn Fn(usize) -> bool| {
                    let all =
                        x.to_vec().into_iter().enumerate().map(|(i, x)| if at(i) { x + step } else { x }).collect();
                    Tensor::from_vec(all, x.shape())
                };
                let theta = shift(&p.theta, &|i| column == i + first);
                let u = p.u.as_ref().map(|u| shift(u, &|i| column < first && i % 2 == column));
                objective(&Problem { theta, u, hand: p.hand.clone(), places: p.places.clone() }).unwrap()
            };
            assert_eq!(columns.len(), if triangles { 28 } else { 26 });
            for (i, column) in columns.iter().enumerate() {
                let (up, down) = (moved(1e-6, i), moved(-1e-6, i));
                for ((u, d), got) in up.iter().zip(down).zip(column) {
                    let want = (u - d) / 2e-6;
                    assert!((got - want).abs() < 1e-6 * want.abs().max(1.0), "column {i}: {got} instead of {want}");
                }
            }
        }
    }
}
