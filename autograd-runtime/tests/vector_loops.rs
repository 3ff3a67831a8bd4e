//! Loops whose trips do not depend on one another: which ones run as vector code, and that they compute what the
//! interpreter does, at lengths around those of vectors and blocks, in three orders; indices out of range, NaN, zeros.

mod common;

use autograd_runtime::{
    array::Array,
    diff,
    emit::{Ex, apply, constant},
    graph::{Builder, Graph, NodeId},
    interp,
    op::{Attr, Op, OpDef, control, integer, list},
    program::Program,
    ty::{DType, Ty},
};
use common::{Rng, array, close, ty};
use std::sync::Arc;

fn id(x: &Ex<'_>) -> NodeId {
    x.node().expect("a node")
}
fn op<'b>(def: &'static OpDef, args: &[&Ex<'b>]) -> Ex<'b> {
    apply(Op::with(def, def.attrs.iter().map(|_| Attr::Int(0))), args)
}
fn get<'b>(x: &Ex<'b>, i: &Ex<'b>) -> Ex<'b> {
    op(&list::GET, &[x, i])
}
fn set<'b>(x: &Ex<'b>, i: &Ex<'b>, v: &Ex<'b>) -> Ex<'b> {
    op(&list::SET, &[x, i, v])
}
fn add<'b>(x: &Ex<'b>, i: &Ex<'b>, v: &Ex<'b>) -> Ex<'b> {
    op(&list::ADD, &[x, i, v])
}
fn len<'b>(x: &Ex<'b>) -> Ex<'b> {
    op(&list::LEN, &[x])
}
fn fill<'b>(v: &Ex<'b>, n: &Ex<'b>) -> Ex<'b> {
    op(&list::FILL, &[v, n])
}
fn int(b: &Builder, n: i64) -> Ex<'_> {
    constant(b, DType::I64, n as f64)
}
fn float(b: &Builder, x: f64) -> Ex<'_> {
    constant(b, DType::F64, x)
}
/// `select`.
fn choose<'b>(mask: &Ex<'b>, yes: &Ex<'b>, no: &Ex<'b>) -> Ex<'b> {
    Ex::select(mask, yes, no)
}
/// Rust's `x.max(t)` of floats.
fn float_max<'b>(x: &Ex<'b>, t: &Ex<'b>) -> Ex<'b> {
    x.fmax(t)
}

/// From the counter, the state and what is captured to the next state.
type Body = for<'b> fn(&'b Builder, &Ex<'b>, &[Ex<'b>], &[Ex<'b>]) -> Vec<Ex<'b>>;

/// `for i in 0..n { state = body(i, state) }`.
fn each<'b>(b: &'b Builder, n: &Ex<'b>, state: &[Ex<'b>], captured: &[Ex<'b>], body: Body) -> Vec<Ex<'b>> {
    let zero = int(b, 0);
    let args: Vec<&Ex<'b>> = std::iter::once(&zero).chain(state).chain([n]).chain(captured).collect();
    let carried = state.len() + 1;
    let part = |f: &dyn for<'p> Fn(&'p Builder, &[Ex<'p>]) -> Vec<NodeId>| {
        let p = Builder::new();
        let ins: Vec<NodeId> = args.iter().map(|a| p.input(&a.ty())).collect();
        let outs = f(&p, &ins.iter().map(|&i| p.ex(i)).collect::<Vec<_>>());
        Attr::Graph(Arc::new(p.finish(outs).unwrap()))
    };
    let cond = part(&|_, x| vec![id(&x[0].lt(&x[carried]))]);
    let body = part(&|p, x| {
        let next = body(p, &x[0], &x[1..carried], &x[carried + 1..]);
        std::iter::once(&(&x[0] + int(p, 1))).chain(&next).map(id).collect()
    });
    let node = apply(Op::with(&control::WHILE, [cond, body, Attr::Int(carried as i64)]), &args);
    let result = |(k, x): (usize, &Ex<'b>)| {
        let ty = x.ty();
        let attrs = [Attr::Int(k as i64 + 1), Attr::DType(ty.dtype), Attr::dims(&ty.shape)];
        apply(Op::with(&control::PROJ, attrs), &[&node])
    };
    state.iter().enumerate().map(result).collect()
}

/// From two lists of the same length and a number to results.
type Make = for<'b> fn(&'b Builder, &Ex<'b>, &Ex<'b>, &Ex<'b>) -> Vec<Ex<'b>>;

struct Case {
    name: &'static str,
    make: Make,
    /// How many loops are vector code, in the function and in its reverse mode.
    loops: [usize; 2],
    /// The shortest list that its indices are inside of.
    least: usize,
}

fn graph(make: Make) -> Graph {
    let b = Builder::new();
    let ins = [b.input(&Ty::list(DType::F64)), b.input(&Ty::list(DType::F64)), b.input(&Ty::scalar(DType::F64))];
    let [x, y, w] = ins.map(|i| b.ex(i));
    let outs = make(&b, &x, &y, &w).iter().map(id).collect();
    let g = b.finish(outs).unwrap();
    g.verify().unwrap();
    g
}

const RECOGNISED: &[Case] = &[
    Case {
        name: "a sum of function values",
        make: |b, x, _, w| {
            let args = [x.clone(), w.clone()];
            each(b, &len(x), &[float(b, 0.0)], &args, |_, i, s, c| vec![&s[0] + (get(&c[0], i) * &c[1]).sin()])
        },
        loops: [1, 2],
        least: 0,
    },
    Case {
        name: "two sums, of two terms and of differences",
        make: |b, x, y, w| {
            let args = [x.clone(), y.clone()];
            each(b, &len(x), &[w.clone(), float(b, 1.0)], &args, |_, i, s, c| {
                let (u, v) = (get(&c[0], i), get(&c[1], i));
                vec![&s[0] + u.square() + v.tanh(), &s[1] - &u * &v]
            })
        },
        loops: [1, 2],
        least: 0,
    },
    Case {
        name: "elements of a list of its own",
        make: |b, x, _, w| {
            let n = len(x);
            let out = each(b, &n, &[fill(w, &n)], std::slice::from_ref(x), |_, i, s, c| {
                let u = get(&c[0], i);
                vec![set(&s[0], i, &(&u * u.exp()))]
            });
            let sum = each(b, &n, &[float(b, 0.0)], &out, |_, i, s, c| vec![&s[0] + get(&c[0], i)]);
            vec![sum[0].clone(), out[0].clone()]
        },
        loops: [2, 4],
        least: 0,
    },
    Case {
        name: "elements that are read and written",
        make: |b, x, y, w| {
            let args = [y.clone(), w.clone()];
            each(b, &len(x), std::slice::from_ref(x), &args, |_, i, s, c| {
                let old = get(&s[0], i);
                let once = set(&s[0], i, &(old.sigmoid() * get(&c[0], i)));
                vec![add(&once, i, &(get(&once, i).tanh() * &c[1] + old))]
            })
        },
        loops: [1, 2],
        least: 0,
    },
    Case {
        name: "a polynomial with coefficients in a list",
        make: |b, x, y, w| {
            let args = [x.clone(), y.clone(), w.clone()];
            each(b, &len(x), &[float(b, 0.0)], &args, |b, i, s, c| {
                let [k0, k1, k2] = [0, 1, 2].map(|k| get(&c[1], &int(b, k)));
                let u = get(&c[0], i);
                let r = k0 + (k1 + k2 * &u) * &u - &c[2];
                vec![&s[0] + r.square()]
            })
        },
        loops: [1, 2],
        least: 3,
    },
    Case {
        name: "products of rows with a list",
        make: |b, x, y, w| {
            let args = [x.clone(), y.clone(), w.clone()];
            each(b, &int(b, 3), &[float(b, 0.0)], &args, |b, row, s, c| {
                let args = [c[0].clone(), c[1].clone(), row.clone()];
                let d = op(&integer::DIV, &[&len(&c[0]), &int(b, 3)]);
                let t = each(b, &d, &[c[2].clone()], &args, |b, j, s, c| {
                    vec![&s[0] + get(&c[0], &(&c[2] * int(b, 2) + j)) * get(&c[1], j)]
                });
                vec![&s[0] + t[0].square()]
            })
        },
        loops: [1, 2],
        least: 6,
    },
    Case {
        name: "backwards, and every other element",
        make: |b, x, y, w| {
            let args = [x.clone(), y.clone(), w.clone()];
            let half = op(&integer::DIV, &[&len(x), &int(b, 2)]);
            each(b, &half, &[float(b, 0.0)], &args, |b, i, s, c| {
                let last = len(&c[0]) - int(b, 1) - i;
                let (u, v) = (get(&c[0], &last), get(&c[1], &(i * int(b, 2) + int(b, 1))));
                vec![&s[0] + (u * v + &c[2]).cos()]
            })
        },
        loops: [1, 2],
        least: 0,
    },
    Case {
        name: "differences of neighbours",
        make: |b, x, _, w| {
            let args = [x.clone(), w.clone()];
            each(b, &(len(x) - int(b, 1)), &[float(b, 0.0)], &args, |b, i, s, c| {
                let d = get(&c[0], &(i + int(b, 1))) - get(&c[0], i) * &c[1];
                vec![&s[0] + d.square() * get(&c[0], &int(b, 0))]
            })
        },
        loops: [1, 2],
        least: 0,
    },
    Case {
        name: "an extremum of terms",
        make: |b, x, y, w| {
            let args = [x.clone(), y.clone()];
            each(b, &len(x), &[w.clone(), w.clone(), w.clone()], &args, |_, i, s, c| {
                let t = get(&c[0], i).sin() + get(&c[1], i);
                let larger = choose(&t.gt(&s[1]), &t, &s[1]);
                vec![float_max(&s[0], &t), larger, s[2].minimum(&t)]
            })
        },
        loops: [1, 0],
        least: 0,
    },
    Case {
        name: "terms under conditions",
        make: |b, x, y, w| {
            let args = [x.clone(), y.clone(), w.clone()];
            let all = each(b, &len(x), &[w.clone(), float(b, 0.0), int(b, 0)], &args, |b, i, s, c| {
                let (t, u) = (get(&c[0], i), get(&c[1], i));
                let positive = t.gt(&t.lit(0.0));
                let once = choose(&positive, &(&s[0] + &t * &c[2]), &s[0]);
                let near = choose(&u.lt(&t), &(&s[1] + (&u * &t)), &(&s[1] - t.square() - &u));
                vec![once + u.sin(), near, choose(&positive, &(&s[2] + int(b, 1)), &s[2])]
            });
            vec![all[0].clone(), &all[1] * all[2].cast(DType::F64)]
        },
        // backwards the cotangent of a sum is a sum of two choices, not what it was
        loops: [1, 1],
        least: 0,
    },
    Case {
        name: "a sum beside an extremum",
        make: |b, x, y, w| {
            let args = [x.clone(), y.clone()];
            each(b, &len(x), &[w.clone(), w.clone()], &args, |_, i, s, c| {
                let t = get(&c[0], i) * get(&c[1], i);
                vec![s[0].minimum(&t), &s[1] + t.exp()]
            })
        },
        loops: [1, 0],
        least: 0,
    },
    Case {
        name: "counters among the values",
        make: |b, x, _, w| {
            let state = [float(b, 0.0), int(b, 5)];
            let args = [x.clone(), w.clone()];
            let all = each(b, &len(x), &state, &args, |b, i, s, c| {
                let at = i.cast(DType::F64) * 0.25 + (&s[1] * i).cast(DType::F64) * 0.0625;
                let t = get(&c[0], i) * (&c[1] * at).cos();
                let t = choose(&(i + int(b, 3)).lt(&s[1]), &t, &(&t * 2.0));
                vec![&s[0] + t, &s[1] + int(b, -2)]
            });
            vec![all[0].clone()]
        },
        loops: [1, 2],
        least: 0,
    },
];

const OTHERS: &[Case] = &[
    Case {
        name: "a recurrence",
        make: |b, x, _, w| {
            let args = [x.clone(), w.clone()];
            each(b, &len(x), &[float(b, 0.0)], &args, |_, i, s, c| vec![&s[0] * &c[1] + get(&c[0], i).sin()])
        },
        loops: [0, 0],
        least: 0,
    },
    Case {
        name: "sums up to each element",
        make: |b, x, _, w| {
            let state = [w.clone(), x.clone()];
            each(b, &len(x), &state, &[], |_, i, s, _| {
                let sum = &s[0] + get(&s[1], i);
                vec![sum.clone(), set(&s[1], i, &sum)]
            })
        },
        loops: [0, 0],
        least: 0,
    },
    Case {
        name: "a product",
        make: |b, x, _, w| {
            let args = std::slice::from_ref(x);
            each(b, &len(x), std::slice::from_ref(w), args, |_, i, s, c| vec![&s[0] * (get(&c[0], i) * 0.01 + 1.0)])
        },
        loops: [0, 0],
        least: 0,
    },
    Case {
        name: "the element before",
        make: |b, x, _, w| {
            let args = std::slice::from_ref(w);
            each(b, &(len(x) - int(b, 1)), std::slice::from_ref(x), args, |b, i, s, c| {
                let next = i + int(b, 1);
                vec![set(&s[0], &next, &(get(&s[0], i) * &c[0] * 0.5))]
            })
        },
        loops: [0, 0],
        least: 0,
    },
    Case {
        name: "indices that wrap",
        make: |b, x, _, w| {
            let args = [x.clone(), w.clone()];
            each(b, &len(x), &[float(b, 0.0)], &args, |b, i, s, c| {
                let at = op(&integer::REM, &[&(i * int(b, 3)), &len(&c[0])]);
                vec![&s[0] + get(&c[0], &at) * &c[1]]
            })
        },
        loops: [0, 0],
        least: 0,
    },
    Case {
        name: "a sum that is read",
        make: |b, x, _, w| {
            let state = [float(b, 0.0), float(b, 0.0)];
            let args = [x.clone(), w.clone()];
            each(b, &len(x), &state, &args, |_, i, s, c| {
                let t = &s[0] + get(&c[0], i) * &c[1];
                vec![t.clone(), &s[1] + t.sin()]
            })
        },
        loops: [0, 0],
        least: 0,
    },
    Case {
        name: "lists that change places",
        make: |b, x, y, _| {
            let state = [x.clone(), y.clone()];
            each(b, &len(x), &state, &[], |_, i, s, _| vec![s[1].clone(), set(&s[0], i, &get(&s[0], i).sin())])
        },
        loops: [0, 0],
        least: 0,
    },
];

/// The loops of a graph's program that are vector code.
fn count(g: &Graph) -> usize {
    let p = Program::compile(g, false).unwrap();
    p.stats().kernels.iter().filter(|k| k.kind == "vector loop").count()
}

fn arguments(n: usize, rng: &mut Rng) -> Vec<Array> {
    let list = ty(&format!("f64[{n}]"));
    [&list, &list, &ty("f64[]")].map(|t| like(rng, t)).to_vec()
}
fn like(rng: &mut Rng, t: &Ty) -> Array {
    array(t, (0..t.numel()).map(|_| rng.float(-1.0, 1.0)).collect::<Vec<_>>())
}

/// Compiled and interpreted agree, and so do their derivatives.
fn check(name: &str, g: &Graph, x: &[Array], orders: usize) {
    let want = interp::run(g, x).unwrap_or_else(|e| panic!("{name}: {e}\n{g}"));
    for memory in [None, Some(1)] {
        let p = Program::compile_within(g, false, memory).unwrap_or_else(|e| panic!("{name}: {e}\n{g}"));
        for _ in 0..2 {
            let found = p.run_arrays(x).unwrap_or_else(|e| panic!("{name}: {e}\n{g}"));
            for (a, b) in want.iter().zip(&found) {
                close(a, b, 1e-11).unwrap_or_else(|e| panic!("{name}, {memory:?}: {e}\n{g}"));
            }
        }
    }
    if orders == 0 {
        return;
    }
    let mut rng = Rng(orders as u64);
    let wrt: Vec<usize> = (0..x.len()).collect();
    let (forward, reverse) = (diff::jvp(g, &wrt).unwrap(), diff::vjp(g, &wrt).unwrap());
    let t: Vec<Array> = x.iter().map(|x| like(&mut rng, &x.ty())).collect();
    let v: Vec<Array> = want.iter().map(|x| like(&mut rng, &x.ty())).collect();
    check(&format!("{name}, forward"), &forward, &[x, &t[..]].concat(), orders - 1);
    check(&format!("{name}, reverse"), &reverse, &[x, &v[..]].concat(), orders - 1);
}

/// Lengths around those of vectors, of the fewest trips and of blocks.
const LENGTHS: [usize; 10] = [0, 1, 2, 3, 7, 8, 16, 33, 257, 1000];

/// As many loops are vector code, forwards and in reverse, as the cases say.
fn recognised(cases: &[Case]) {
    for c in cases {
        let g = graph(c.make);
        let reverse = diff::vjp(&g, &[0, 1, 2]).unwrap();
        assert_eq!([count(&g), count(&reverse)], c.loops, "{}\n{g}", c.name);
    }
}

#[test]
fn independent_trips_are_vector_code() {
    recognised(RECOGNISED);
}

#[test]
fn others_stay_loops() {
    recognised(OTHERS);
}

#[test]
fn values_and_derivatives_are_the_interpreters() {
    let mut rng = Rng(3);
    for c in RECOGNISED.iter().chain(OTHERS) {
        let g = graph(c.make);
        for n in LENGTHS.into_iter().filter(|&n| n >= c.least) {
            check(
                &format!("{} of {n}", c.name),
                &g,
                &arguments(n, &mut rng),
                match n {
                    0..=33 => 2,
                    257 => 1,
                    _ => 0,
                },
            );
        }
    }
}

#[test]
fn elements_have_the_bits_of_the_loop() {
    let mut rng = Rng(5);
    for c in RECOGNISED.iter().filter(|c| c.name.starts_with("elements")) {
        let g = graph(c.make);
        for n in LENGTHS {
            let x = arguments(n, &mut rng);
            let want = interp::run(&g, &x).unwrap();
            let found = Program::compile(&g, false).unwrap().run_arrays(&x).unwrap();
            let last = want.len() - 1;
            close(&want[last], &found[last], 0.0).unwrap_or_else(|e| panic!("{} of {n}: {e}", c.name));
        }
    }
}

/// A function of one list at these elements.
fn at(g: &Graph, x: &[f64], w: f64) -> [autograd_runtime::Result<Vec<Array>>; 2] {
    let list = ty(&format!("f64[{}]", x.len()));
    let x = [array(&list, x.to_vec()), array(&list, x.to_vec()), array(&ty("f64[]"), [w])];
    [interp::run(g, &x), Program::compile(g, false).unwrap().run_arrays(&x)]
}

#[test]
fn nan_and_zeros_in_extrema() {
    let g = graph(|b, x, _, w| {
        each(b, &len(x), &[w.clone(), w.clone(), w.clone(), w.clone()], std::slice::from_ref(x), |_, i, s, c| {
            let t = get(&c[0], i);
            let larger = choose(&t.gt(&s[1]), &t, &s[1]);
            let smaller = choose(&s[2].ge(&t), &t, &s[2]);
            vec![float_max(&s[0], &t), larger, smaller, s[3].maximum(&t)]
        })
    });
    assert_eq!(count(&g), 1);
    let mut rng = Rng(11);
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let some = [nan, inf, -inf, 0.0, -0.0, 1.0, -1.0, 2.5];
    for _ in 0..600 {
        let few = &some[rng.below(some.len())..];
        let x: Vec<f64> = (0..8 + rng.below(13)).map(|_| few[rng.below(few.len())]).collect();
        let w = some[rng.below(some.len())];
        let [want, found] = at(&g, &x, w).map(Result::unwrap);
        for (k, (a, b)) in want.iter().zip(&found).enumerate() {
            // equal bits: which of two zeros it is, too
            close(a, b, 0.0).unwrap_or_else(|e| panic!("{k} of {x:?} from {w}: {e}"));
        }
    }
}

#[test]
fn the_share_of_each_element_in_an_extremum() {
    let makes: [Make; 5] = [
        |b, x, _, w| {
            each(b, &len(x), std::slice::from_ref(w), std::slice::from_ref(x), |_, i, s, c| {
                vec![float_max(&s[0], &get(&c[0], i))]
            })
        },
        |b, x, _, w| {
            each(b, &len(x), std::slice::from_ref(w), std::slice::from_ref(x), |_, i, s, c| {
                let t = get(&c[0], i);
                vec![choose(&t.gt(&s[0]), &t, &s[0])]
            })
        },
        |b, x, _, w| {
            each(b, &len(x), std::slice::from_ref(w), std::slice::from_ref(x), |b, i, s, c| {
                let t = get(&c[0], &(len(&c[0]) - int(b, 1) - i));
                vec![choose(&s[0].ge(&t), &t, &s[0])]
            })
        },
        |b, x, _, w| {
            each(b, &len(x), std::slice::from_ref(w), std::slice::from_ref(x), |_, i, s, c| {
                let (x, t) = (&s[0], get(&c[0], i));
                vec![t.fmin(x)]
            })
        },
        // in a loop, and over elements that the loop around has changed
        |b, x, _, w| {
            let args = [w.clone()];
            let out = each(b, &int(b, 2), &[float(b, 0.0), x.clone()], &args, |b, i, s, c| {
                let m = each(b, &len(&s[1]), &[c[0].clone()], &[s[1].clone()], |_, i, s, c| {
                    vec![float_max(&s[0], &get(&c[0], i))]
                });
                vec![&s[0] + &m[0] * 0.5, set(&s[1], i, &(&m[0] * 0.25))]
            });
            vec![out[0].clone()]
        },
    ];
    let mut rng = Rng(13);
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let some = [nan, inf, -inf, 0.0, -0.0, 1.0, -1.0, 2.5];
    for (k, make) in makes.into_iter().enumerate() {
        let g = graph(make);
        let reverse = diff::vjp(&g, &[0, 2]).unwrap();
        // the loop itself, and the one that looks for the elements
        assert!(k == 4 || count(&reverse) == 2, "{k}: {}", count(&reverse));
        let program = Program::compile(&reverse, false).unwrap();
        let second = diff::vjp(&reverse, &[0, 2]).unwrap();
        let program_2 = Program::compile(&second, false).unwrap();
        for run in 0..300 {
            let few = &some[if k == 4 { 3 } else { rng.below(some.len()) }..];
            let n = 2 + rng.below(if run % 2 == 0 { 6 } else { 20 });
            let list = ty(&format!("f64[{n}]"));
            let x = array(&list, (0..n).map(|_| few[rng.below(few.len())]).collect::<Vec<_>>());
            let w = array(&ty("f64[]"), [few[rng.below(few.len())]]);
            let x = [x, array(&list, vec![0.0; n]), w, array(&ty("f64[]"), [-1.5])];
            let (want, found) = (interp::run(&reverse, &x).unwrap(), program.run_arrays(&x).unwrap());
            for (a, b) in want.iter().zip(&found) {
                close(a, b, 1e-15).unwrap_or_else(|e| panic!("{k}: {x:?}: {e}"));
            }
            let v = [like(&mut rng, &ty("f64[]")), like(&mut rng, &list), like(&mut rng, &ty("f64[]"))];
            let x = [&x[..], &v[..]].concat();
            let (want, found) = (interp::run(&second, &x).unwrap(), program_2.run_arrays(&x).unwrap());
            for (a, b) in want.iter().zip(&found) {
                close(a, b, 1e-15).unwrap_or_else(|e| panic!("{k}: {x:?}: {e}"));
            }
        }
    }
}

#[test]
fn sums_of_negative_zeros_keep_their_sign() {
    let g = graph(|b, x, _, w| {
        each(b, &len(x), std::slice::from_ref(w), std::slice::from_ref(x), |_, i, s, c| vec![&s[0] + get(&c[0], i)])
    });
    assert_eq!(count(&g), 1);
    for n in [7, 8, 16, 2000] {
        let [want, found] = at(&g, &vec![-0.0; n], -0.0).map(Result::unwrap);
        close(&want[0], &found[0], 0.0).unwrap();
    }
}

#[test]
fn indices_out_of_range_are_errors_at_their_place() {
    let cases: [(&str, Make); 4] = [
        ("beyond the end", |b, x, _, w| {
            let n = len(x) + int(b, 1);
            each(b, &n, std::slice::from_ref(w), std::slice::from_ref(x), |_, i, s, c| vec![&s[0] + get(&c[0], i)])
        }),
        ("before the start", |b, x, _, w| {
            let args = std::slice::from_ref(x);
            each(b, &len(x), std::slice::from_ref(w), args, |b, i, s, c| vec![&s[0] + get(&c[0], &(i - int(b, 1)))])
        }),
        ("a write", |b, x, _, w| {
            let n = len(x);
            let short = fill(w, &(&n - int(b, 1)));
            each(b, &n, &[short], std::slice::from_ref(x), |_, i, s, c| vec![set(&s[0], i, &get(&c[0], i).exp())])
        }),
        ("the same one in each trip", |b, x, _, w| {
            let args = std::slice::from_ref(x);
            each(b, &len(x), std::slice::from_ref(w), args, |_, i, s, c| {
                vec![&s[0] + get(&c[0], i) * get(&c[0], &len(&c[0]))]
            })
        }),
    ];
    for (name, make) in cases {
        let g = graph(make);
        for n in [1, 8, 40] {
            let x: Vec<f64> = (0..n).map(f64::from).collect();
            let [want, found] = at(&g, &x, 0.5).map(|r| r.unwrap_err().to_string());
            assert!(want.contains("expected an index below the length"), "{want}");
            assert_eq!(want, found, "{name} of {n}");
        }
        assert_eq!(count(&g), 1, "{name}");
    }
}

#[test]
fn a_difference_that_wraps_is_no_number_of_trips() {
    // from 2^63 - 4 to -2^63 + 9 there is no trip, though the difference is 13
    let text = "
%0 = input : f64[?]
%1 = const 9223372036854775804 : i64[]
%2 = const -9223372036854775799 : i64[]
%3 = const 0.5 : f64[]
%4 = while(%1, %3, %2, %0) {cond={
  %0 = input : i64[]
  %1 = input : f64[]
  %2 = input : i64[]
  %3 = input : f64[?]
  %4 = lt(%0, %2) : bool[]
  return %4
}, body={
  %0 = input : i64[]
  %1 = input : f64[]
  %2 = input : i64[]
  %3 = input : f64[?]
  %4 = const 9223372036854775804 : i64[]
  %5 = sub(%0, %4) : i64[]
  %6 = list_get(%3, %5) {place=0} : f64[]
  %7 = add(%1, %6) : f64[]
  %8 = const 1 : i64[]
  %9 = add(%0, %8) : i64[]
  return %9, %7
}, carried=2} : i64[]
%5 = proj(%4) {index=1, dtype=f64, shape=[]} : f64[]
return %5
";
    let g: Graph = text.parse().unwrap();
    assert_eq!(count(&g), 1);
    let p = Program::compile(&g, false).unwrap();
    let out = p.run_arrays(&[array(&ty("f64[20]"), vec![1.0; 20])]).unwrap();
    assert_eq!(out[0].to_f64_vec(), [0.5]);
}

#[test]
fn single_precision() {
    let text = "
%0 = input : f32[?]
%1 = input : f32[]
%2 = const 0 : i64[]
%3 = list_len(%0) : i64[]
%4 = const 0.0 : f32[]
%5 = list_fill(%4, %3) : f32[?]
%6 = while(%2, %4, %5, %0, %1, %3) {cond={
  %0 = input : i64[]
  %1 = input : f32[]
  %2 = input : f32[?]
  %3 = input : f32[?]
  %4 = input : f32[]
  %5 = input : i64[]
  %6 = lt(%0, %5) : bool[]
  return %6
}, body={
  %0 = input : i64[]
  %1 = input : f32[]
  %2 = input : f32[?]
  %3 = input : f32[?]
  %4 = input : f32[]
  %5 = input : i64[]
  %6 = list_get(%3, %0) {place=0} : f32[]
  %7 = mul(%6, %4) : f32[]
  %8 = sin(%7) : f32[]
  %9 = lt(%8, %6) : bool[]
  %10 = select(%9, %8, %6) : f32[]
  %11 = add(%1, %10) : f32[]
  %12 = exp(%10) : f32[]
  %13 = list_set(%2, %0, %12) {place=0} : f32[?]
  %14 = const 1 : i64[]
  %15 = add(%0, %14) : i64[]
  return %15, %11, %13
}, carried=3} : i64[]
%7 = proj(%6) {index=1, dtype=f32, shape=[]} : f32[]
%8 = proj(%6) {index=2, dtype=f32, shape=[?]} : f32[?]
return %7, %8
";
    let g: Graph = text.parse().unwrap();
    assert_eq!(count(&g), 1);
    let reverse = diff::vjp(&g, &[0, 1]).unwrap();
    assert_eq!(count(&reverse), 2);
    let mut rng = Rng(9);
    for n in LENGTHS {
        let list = ty(&format!("f32[{n}]"));
        let x = [like(&mut rng, &list), like(&mut rng, &ty("f32[]"))];
        let v = [like(&mut rng, &ty("f32[]")), like(&mut rng, &list)];
        for (g, x) in [(&g, x.to_vec()), (&reverse, [&x[..], &v[..]].concat())] {
            let want = interp::run(g, &x).unwrap();
            let found = Program::compile(g, false).unwrap().run_arrays(&x).unwrap();
            for (k, (a, b)) in want.iter().zip(&found).enumerate() {
                let elements = a.ty().rank() == 1;
                let tol = if elements { 0.0 } else { 1e-4 };
                close(a, b, tol).unwrap_or_else(|e| panic!("{k} of {n}: {e}"));
            }
        }
    }
}
