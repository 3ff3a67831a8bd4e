//! Choices and loops as graphs: the interpreter, compiled programs and derivatives of up to third order agree.

mod common;

use autograd_runtime::{array::Array, diff, graph::Graph, interp, program::Program};
use common::{IF, Rng, WHILE, array, close, ty};

/// x ← x·y + i, four times, on vectors.
const HORNER: &str = "
%0 = input : f64[2]
%1 = input : f64[2]
%2 = const 0 : i64[]
%3 = while(%0, %2, %1) {cond={
  %0 = input : f64[2]
  %1 = input : i64[]
  %2 = input : f64[2]
  %3 = const 4 : i64[]
  %4 = lt(%1, %3) : bool[]
  return %4
}, body={
  %0 = input : f64[2]
  %1 = input : i64[]
  %2 = input : f64[2]
  %3 = mul(%0, %2) : f64[2]
  %4 = cast(%1) {dtype=f64} : f64[]
  %5 = add(%3, %4) : f64[2]
  %6 = const 1 : i64[]
  %7 = add(%1, %6) : i64[]
  return %5, %7
}, carried=2} : f64[2]
%4 = proj(%3) {index=0, dtype=f64, shape=[2]} : f64[2]
return %4
";

/// A loop whose body has a loop and a choice: t is raised until it is large, s goes on from it.
const NESTED: &str = "
%0 = input : f64[]
%1 = input : f64[]
%2 = const 0 : i64[]
%3 = while(%0, %2, %1) {cond={
  %0 = input : f64[]
  %1 = input : i64[]
  %2 = input : f64[]
  %3 = const 3 : i64[]
  %4 = lt(%1, %3) : bool[]
  return %4
}, body={
  %0 = input : f64[]
  %1 = input : i64[]
  %2 = input : f64[]
  %3 = sin(%0) : f64[]
  %4 = while(%0, %2, %3) {cond={
    %0 = input : f64[]
    %1 = input : f64[]
    %2 = input : f64[]
    %3 = const 9.0 : f64[]
    %4 = lt(%0, %3) : bool[]
    return %4
  }, body={
    %0 = input : f64[]
    %1 = input : f64[]
    %2 = input : f64[]
    %3 = mul(%0, %1) : f64[]
    %4 = add(%3, %2) : f64[]
    return %4
  }, carried=1} : f64[]
  %5 = proj(%4) {index=0, dtype=f64, shape=[]} : f64[]
  %6 = const 1.2 : f64[]
  %7 = lt(%0, %6) : bool[]
  %8 = if(%7, %0, %5) {then={
    %0 = input : f64[]
    %1 = input : f64[]
    %2 = const 0.1 : f64[]
    %3 = mul(%1, %2) : f64[]
    %4 = add(%0, %3) : f64[]
    return %4
  }, else={
    %0 = input : f64[]
    %1 = input : f64[]
    %2 = neg(%1) : f64[]
    %3 = const 0.3 : f64[]
    %4 = mul(%2, %3) : f64[]
    %5 = exp(%4) : f64[]
    %6 = add(%0, %5) : f64[]
    return %6
  }} : f64[]
  %9 = proj(%8) {index=0, dtype=f64, shape=[]} : f64[]
  %10 = const 1 : i64[]
  %11 = add(%1, %10) : i64[]
  return %9, %11
}, carried=2} : f64[]
%4 = proj(%3) {index=0, dtype=f64, shape=[]} : f64[]
%5 = mul(%4, %0) : f64[]
return %5, %4
";

/// A loop over a list of any length: s <- s*r + sin(x[i]).
const DECAY: &str = "
%0 = input : f64[?]
%1 = input : f64[]
%2 = const 0 : i64[]
%3 = const 0.0 : f64[]
%4 = list_len(%0) : i64[]
%5 = while(%2, %3, %0, %1, %4) {cond={
  %0 = input : i64[]
  %1 = input : f64[]
  %2 = input : f64[?]
  %3 = input : f64[]
  %4 = input : i64[]
  %5 = lt(%0, %4) : bool[]
  return %5
}, body={
  %0 = input : i64[]
  %1 = input : f64[]
  %2 = input : f64[?]
  %3 = input : f64[]
  %4 = input : i64[]
  %5 = list_get(%2, %0) {place=0} : f64[]
  %6 = sin(%5) : f64[]
  %7 = mul(%1, %3) : f64[]
  %8 = add(%7, %6) : f64[]
  %9 = const 1 : i64[]
  %10 = add(%0, %9) : i64[]
  return %10, %8
}, carried=2} : i64[]
%6 = proj(%5) {index=1, dtype=f64, shape=[]} : f64[]
return %6
";

/// A loop that writes to a list of its own: v[i] <- v[i-1] * x[i] + v[i], v[0] = r; the sum of squares of v, times v[2].
const WRITES: &str = "
%0 = input : f64[?]
%1 = input : f64[]
%2 = const 1 : i64[]
%3 = list_len(%0) : i64[]
%4 = const 0.5 : f64[]
%5 = list_fill(%4, %3) : f64[?]
%6 = const 0 : i64[]
%7 = list_set(%5, %6, %1) {place=0} : f64[?]
%8 = while(%2, %7, %0, %3) {cond={
  %0 = input : i64[]
  %1 = input : f64[?]
  %2 = input : f64[?]
  %3 = input : i64[]
  %4 = lt(%0, %3) : bool[]
  return %4
}, body={
  %0 = input : i64[]
  %1 = input : f64[?]
  %2 = input : f64[?]
  %3 = input : i64[]
  %4 = const 1 : i64[]
  %5 = sub(%0, %4) : i64[]
  %6 = list_get(%1, %5) {place=0} : f64[]
  %7 = list_get(%2, %0) {place=0} : f64[]
  %8 = mul(%6, %7) : f64[]
  %9 = list_get(%1, %0) {place=0} : f64[]
  %10 = add(%8, %9) : f64[]
  %11 = const 0.0 : f64[]
  %12 = lt(%11, %7) : bool[]
  %13 = if(%12, %1, %0, %10) {then={
    %0 = input : f64[?]
    %1 = input : i64[]
    %2 = input : f64[]
    %3 = list_set(%0, %1, %2) {place=0} : f64[?]
    return %3
  }, else={
    %0 = input : f64[?]
    %1 = input : i64[]
    %2 = input : f64[]
    %3 = list_add(%0, %1, %2) {place=0} : f64[?]
    return %3
  }} : f64[?]
  %14 = proj(%13) {index=0, dtype=f64, shape=[?]} : f64[?]
  %15 = add(%0, %4) : i64[]
  return %15, %14
}, carried=2} : i64[]
%9 = proj(%8) {index=1, dtype=f64, shape=[?]} : f64[?]
%10 = const 0.0 : f64[]
%11 = while(%6, %10, %9, %3) {cond={
  %0 = input : i64[]
  %1 = input : f64[]
  %2 = input : f64[?]
  %3 = input : i64[]
  %4 = lt(%0, %3) : bool[]
  return %4
}, body={
  %0 = input : i64[]
  %1 = input : f64[]
  %2 = input : f64[?]
  %3 = input : i64[]
  %4 = list_get(%2, %0) {place=0} : f64[]
  %5 = square(%4) : f64[]
  %6 = add(%1, %5) : f64[]
  %7 = const 1 : i64[]
  %8 = add(%0, %7) : i64[]
  return %8, %6
}, carried=2} : i64[]
%12 = proj(%11) {index=1, dtype=f64, shape=[]} : f64[]
%13 = const 2 : i64[]
%14 = list_get(%9, %13) {place=0} : f64[]
%15 = mul(%12, %14) : f64[]
%16 = list_sum(%9) : f64[]
%17 = add(%15, %16) : f64[]
return %17
";

/// Two lists that change places in an outer loop, filled by an inner one: new[j] <- sin(old[j]) * x[j] + new[j]*old[0].
const SWAPS: &str = "
%0 = input : f64[?]
%1 = input : f64[]
%2 = const 0 : i64[]
%3 = list_len(%0) : i64[]
%4 = list_fill(%1, %3) : f64[?]
%5 = const 0.25 : f64[]
%6 = list_fill(%5, %3) : f64[?]
%7 = while(%2, %4, %6, %0, %3) {cond={
  %0 = input : i64[]
  %1 = input : f64[?]
  %2 = input : f64[?]
  %3 = input : f64[?]
  %4 = input : i64[]
  %5 = const 3 : i64[]
  %6 = lt(%0, %5) : bool[]
  return %6
}, body={
  %0 = input : i64[]
  %1 = input : f64[?]
  %2 = input : f64[?]
  %3 = input : f64[?]
  %4 = input : i64[]
  %5 = const 0 : i64[]
  %6 = while(%5, %2, %1, %3, %4) {cond={
    %0 = input : i64[]
    %1 = input : f64[?]
    %2 = input : f64[?]
    %3 = input : f64[?]
    %4 = input : i64[]
    %5 = lt(%0, %4) : bool[]
    return %5
  }, body={
    %0 = input : i64[]
    %1 = input : f64[?]
    %2 = input : f64[?]
    %3 = input : f64[?]
    %4 = input : i64[]
    %5 = list_get(%2, %0) {place=0} : f64[]
    %6 = sin(%5) : f64[]
    %7 = list_get(%3, %0) {place=0} : f64[]
    %8 = mul(%6, %7) : f64[]
    %9 = list_get(%1, %0) {place=0} : f64[]
    %10 = const 0 : i64[]
    %11 = list_get(%2, %10) {place=0} : f64[]
    %12 = mul(%9, %11) : f64[]
    %13 = add(%8, %12) : f64[]
    %14 = list_set(%1, %0, %13) {place=0} : f64[?]
    %15 = const 1 : i64[]
    %16 = add(%0, %15) : i64[]
    return %16, %14
  }, carried=2} : i64[]
  %7 = proj(%6) {index=1, dtype=f64, shape=[?]} : f64[?]
  %8 = const 1 : i64[]
  %9 = add(%0, %8) : i64[]
  return %9, %7, %1
}, carried=3} : i64[]
%8 = proj(%7) {index=1, dtype=f64, shape=[?]} : f64[?]
%9 = proj(%7) {index=2, dtype=f64, shape=[?]} : f64[?]
%10 = const 1 : i64[]
%11 = list_get(%8, %10) {place=0} : f64[]
%12 = list_get(%9, %2) {place=0} : f64[]
%13 = mul(%11, %12) : f64[]
%14 = list_sum(%8) : f64[]
%15 = add(%13, %14) : f64[]
return %15
";

/// A list of scalars, one of which is picked by a number.
const PICKS: &str = "
%0 = input : f64[]
%1 = input : f64[]
%2 = input : i64[]
%3 = sin(%0) : f64[]
%4 = mul(%0, %1) : f64[]
%5 = list_of(%3, %4, %1) {dtype=f64, place=0} : f64[?]
%6 = list_get(%5, %2) {place=0} : f64[]
%7 = square(%6) : f64[]
%8 = list_add(%5, %2, %7) {place=0} : f64[?]
%9 = list_sum(%8) : f64[]
%10 = mul(%9, %6) : f64[]
return %10
";

/// A choice that gives one new list twice; then one of its results is written to, and both are read.
const TWICE: &str = "
%0 = input : f64[?]
%1 = input : f64[]
%2 = list_len(%0) : i64[]
%3 = const 0 : i64[]
%4 = list_get(%0, %3) {place=0} : f64[]
%5 = lt(%4, %1) : bool[]
%6 = if(%5, %1, %2) {then={
  %0 = input : f64[]
  %1 = input : i64[]
  %2 = list_fill(%0, %1) : f64[?]
  return %2, %2
}, else={
  %0 = input : f64[]
  %1 = input : i64[]
  %2 = sin(%0) : f64[]
  %3 = list_fill(%2, %1) : f64[?]
  %4 = list_fill(%0, %1) : f64[?]
  return %3, %4
}} : f64[?]
%7 = proj(%6) {index=0, dtype=f64, shape=[?]} : f64[?]
%8 = proj(%6) {index=1, dtype=f64, shape=[?]} : f64[?]
%9 = mul(%4, %1) : f64[]
%10 = list_set(%7, %3, %9) {place=0} : f64[?]
%11 = list_get(%10, %3) {place=0} : f64[]
%12 = list_add(%8, %3, %11) {place=0} : f64[?]
%13 = list_sum(%12) : f64[]
%14 = list_sum(%10) : f64[]
%15 = mul(%13, %14) : f64[]
return %15
";

fn graph(text: &str) -> Graph {
    let g: Graph = text.parse().unwrap();
    g.verify().unwrap();
    g
}

fn floats(g: &Graph) -> Vec<usize> {
    g.input_types().enumerate().filter(|(_, t)| t.dtype.is_float()).map(|(i, _)| i).collect()
}

/// Random values of the types of these.
fn like<'a>(rng: &mut Rng, these: impl Iterator<Item = &'a Array>) -> Vec<Array> {
    these.map(|x| array(&x.ty(), (0..x.ty().numel()).map(|_| rng.float(-1.0, 1.0)).collect::<Vec<_>>())).collect()
}

fn inner(a: &[Array], b: &[Array]) -> f64 {
    let flat = |x: &[Array]| x.iter().flat_map(Array::to_f64_vec).collect::<Vec<f64>>();
    flat(a).iter().zip(flat(b)).map(|(x, y)| x * y).sum()
}

/// Compiled and interpreted agree; forward mode agrees with finite differences, reverse mode with forward mode.
fn check(name: &str, g: &Graph, x: &[Array], orders: usize) {
    let tol = if g.output_types().any(|t| t.dtype == ty("f32[]").dtype) { 2e-4 } else { 1e-11 };
    let want = interp::run(g, x).unwrap();
    // with a bound for what is recorded too, under which a stretch has the fewest trips
    for memory in [None, Some(1)] {
        let program = Program::compile_within(g, false, memory).unwrap_or_else(|e| panic!("{name}: {e}\n{g}"));
        // twice: working memory is used again
        for _ in 0..2 {
            for (a, b) in want.iter().zip(program.run_arrays(x).unwrap()) {
                close(a, &b, tol).unwrap_or_else(|e| panic!("{name}, {memory:?}: compiled: {e}\n{g}"));
            }
        }
    }
    if orders == 0 {
        return;
    }
    let mut rng = Rng(orders as u64);
    let wrt = floats(g);
    let (forward, reverse) = (diff::jvp(g, &wrt).unwrap(), diff::vjp(g, &wrt).unwrap());
    forward.verify().unwrap();
    reverse.verify().unwrap();
    let t = like(&mut rng, wrt.iter().map(|&i| &x[i]));
    let v = like(&mut rng, want.iter());
    let (xt, xv) = ([x, &t[..]].concat(), [x, &v[..]].concat());
    let n = g.outputs().len();
    let tangents = interp::run(&forward, &xt).unwrap().split_off(n);
    let cotangents = interp::run(&reverse, &xv).unwrap().split_off(n);
    let (a, b) = (inner(&v, &tangents), inner(&cotangents, &t));
    assert!((a - b).abs() <= 100.0 * tol * (1.0 + a.abs()), "{name}: forward {a}, reverse {b}\n{g}");
    if tol < 1e-6 {
        let h = 1e-6;
        let at = |sign: f64| {
            let mut x = x.to_vec();
            for (&i, t) in wrt.iter().zip(&t) {
                let moved = x[i].to_f64_vec().into_iter().zip(t.to_f64_vec()).map(|(x, t)| x + sign * h * t);
                x[i] = array(&x[i].ty(), moved.collect::<Vec<_>>());
            }
            interp::run(g, &x).unwrap()
        };
        let fd = (inner(&v, &at(1.0)) - inner(&v, &at(-1.0))) / (2.0 * h);
        assert!((fd - a).abs() <= 1e-5 * (1.0 + a.abs()), "{name}: finite differences {fd}, forward {a}\n{g}");
    }
    check(&format!("{name}, forward"), &forward, &xt, orders - 1);
    check(&format!("{name}, reverse"), &reverse, &xv, orders - 1);
}

#[test]
fn all_orders_of_a_choice() {
    let g = graph(IF);
    for taken in [0.0, 1.0] {
        check("if", &g, &[array(&ty("bool[]"), [taken]), array(&ty("f64[3]"), [0.1, -0.4, 0.7])], 3);
    }
}

#[test]
fn all_orders_of_a_loop_over_vectors() {
    let v = |x: [f64; 2]| array(&ty("f64[2]"), x);
    check("horner", &graph(HORNER), &[v([1.0, -0.5]), v([0.7, 1.3])], 3);
    // of more elements, a loop is a step that runs programs
    let wide = |from: f64| array(&ty("f64[101]"), (0..101).map(|i| from + 0.01 * f64::from(i)));
    check("horner in steps", &graph(&HORNER.replace("[2]", "[101]")), &[wide(-0.5), wide(0.3)], 3);
}

#[test]
fn all_orders_of_loops_over_lists() {
    let list = |x: &[f64]| array(&ty(&format!("f64[{}]", x.len())), x.to_vec());
    let v = |x: f64| array(&ty("f64[]"), [x]);
    for (name, text) in [("decay", DECAY), ("writes", WRITES), ("swaps", SWAPS)] {
        let g = graph(text);
        for x in [&[0.3, -0.8, 0.4, 1.1, -0.2][..], &[0.5, 0.1, 0.9], &[]] {
            if name == "decay" || !x.is_empty() {
                check(name, &g, &[list(x), v(0.7)], if x.len() > 3 { 3 } else { 2 });
            }
        }
        assert_eq!(g.to_string().parse::<Graph>().unwrap(), g);
    }
}

#[test]
fn results_of_a_choice_in_one_list() {
    let v = |x: f64| array(&ty("f64[]"), [x]);
    for x in [0.3, 1.2] {
        check("twice", &graph(TWICE), &[array(&ty("f64[3]"), [x, -0.8, 0.4]), v(0.7)], 2);
    }
}

#[test]
fn all_orders_of_a_list_of_scalars() {
    for k in [0.0, 1.0, 2.0] {
        let v = |x: f64| array(&ty("f64[]"), [x]);
        check("picks", &graph(PICKS), &[v(0.4), v(-1.3), array(&ty("i64[]"), [k])], 3);
    }
}

#[test]
fn indices_out_of_range_are_errors() {
    let program = Program::compile(&graph(WRITES), false).unwrap();
    let list = |x: &[f64]| array(&ty(&format!("f64[{}]", x.len())), x.to_vec());
    for x in [&[][..], &[1.0, 2.0]] {
        let e = program.run_arrays(&[list(x), array(&ty("f64[]"), [0.7])]).unwrap_err().to_string();
        assert!(e.contains(&format!("expected an index below the length {}, found", x.len())), "{e}");
        assert_eq!(e, interp::run(&graph(WRITES), &[list(x), array(&ty("f64[]"), [0.7])]).unwrap_err().to_string());
    }
}

#[test]
fn all_orders_of_a_loop_that_counts() {
    check("while", &graph(WHILE), &[array(&ty("f64[]"), [3.0])], 3);
}

#[test]
fn all_orders_of_nested_loops_and_choices() {
    let v = |x: f64| array(&ty("f64[]"), [x]);
    let g = graph(NESTED);
    for (x, y) in [(0.6, 1.7), (1.1, 2.4), (2.0, 1.5)] {
        check("nested", &g, &[v(x), v(y)], 2);
    }
    check("nested", &g, &[v(0.6), v(1.7)], 3);
    // a loop that does not run at all
    check("nested", &g, &[v(10.0), v(1.7)], 2);
}

#[test]
fn loops_in_single_precision_and_in_steps() {
    let g = graph(&NESTED.replace("f64", "f32"));
    let v = |x: f64| array(&ty("f32[]"), [x]);
    check("nested f32", &g, &[v(0.6), v(1.7)], 2);
    // beside a tensor of several elements the same loops are over elements, and beside a larger one steps
    let wide = NESTED
        .replace("return %5, %4\n", "%6 = iota {dtype=f64, n=3} : f64[3]\n%7 = mul(%6, %4) : f64[3]\nreturn %5, %7\n");
    assert_ne!(wide, NESTED);
    let v = |x: f64| array(&ty("f64[]"), [x]);
    check("nested over elements", &graph(&wide), &[v(0.6), v(1.7)], 2);
    let wide = wide.replace("n=3", "n=101").replace("f64[3]", "f64[101]");
    check("nested in steps", &graph(&wide), &[v(0.6), v(1.7)], 2);
}

#[test]
fn a_branch_that_is_not_taken_gives_no_nan() {
    let g = graph(
        "
%0 = input : f64[]
%1 = const 0.0 : f64[]
%2 = lt(%1, %0) : bool[]
%3 = if(%2, %0) {then={
  %0 = input : f64[]
  %1 = ln(%0) : f64[]
  %2 = sqrt(%0) : f64[]
  %3 = mul(%1, %2) : f64[]
  return %3
}, else={
  %0 = input : f64[]
  %1 = mul(%0, %0) : f64[]
  return %1
}} : f64[]
%4 = proj(%3) {index=0, dtype=f64, shape=[]} : f64[]
return %4
",
    );
    for x in [-2.0, 0.0] {
        let d = diff::gradient(&g, &[0]).unwrap();
        let out = Program::compile(&d, false).unwrap().run_arrays(&[array(&ty("f64[]"), [x])]).unwrap();
        assert_eq!(out[1].to_f64_vec(), [2.0 * x]);
    }
}

#[test]
fn long_loops_record_beyond_the_first_block_and_run_again() {
    let g = graph(
        &HORNER
            .replace("f64[2]", "f64[]")
            .replace("shape=[2]", "shape=[]")
            .replace("const 4 : i64", "const 100000 : i64"),
    );
    let x = [0.3, 0.5].map(|x| array(&ty("f64[]"), [x]));
    let d = diff::gradient(&g, &[0, 1]).unwrap();
    let p = Program::compile(&d, false).unwrap();
    // s' = s·y + i: ds/dy by the same recurrence
    let (mut s, mut t) = (0.3f64, 0.0f64);
    for i in 0..100_000 {
        (s, t) = (s * 0.5 + f64::from(i), t * 0.5 + s);
    }
    for _ in 0..2 {
        let out = p.run_arrays(&x).unwrap();
        assert_eq!(out[0].to_f64_vec(), [s]);
        assert!((out[2].to_f64_vec()[0] - t).abs() <= 1e-12 * t, "{} {t}", out[2].to_f64_vec()[0]);
    }
}

#[test]
fn code_does_not_grow_with_the_number_of_trips() {
    let size = |n: &str| {
        let g = graph(
            &HORNER
                .replace("f64[2]", "f64[]")
                .replace("shape=[2]", "shape=[]")
                .replace("const 4 : i64", &format!("const {n} : i64")),
        );
        let p = Program::compile(&diff::gradient(&g, &[0, 1]).unwrap(), false).unwrap();
        (p.stats().nodes, p.stats().code_bytes)
    };
    assert_eq!(size("10").0, size("10000000").0);
    assert!(size("10").1.abs_diff(size("10000000").1) < 64);
}
