//! Compiled programs as things that live: run from many threads, dropped, and compiled from large graphs.

mod common;

use autograd_runtime::{
    graph::{Builder, Graph},
    interp,
    op::{Attr, Op, find},
    program::Program,
};
use common::{Rng, close, inputs, ty};

const NET: &str = "
%0 = input : f32[64,32]
%1 = input : f32[32,48]
%2 = input : f32[48]
%3 = input : i64[64,3]
%4 = matmul(%0, %1) : f32[64,48]
%5 = add(%4, %2) : f32[64,48]
%6 = tanh(%5) : f32[64,48]
%7 = amax(%6) {dims=[1]} : f32[64,1]
%8 = sub(%6, %7) : f32[64,48]
%9 = exp(%8) : f32[64,48]
%10 = sum(%9) {dims=[1]} : f32[64,1]
%11 = div(%9, %10) : f32[64,48]
%12 = gather(%11, %3) {dim=1} : f32[64,3]
%13 = sum(%12) {dims=[0,1]} : f32[1,1]
return %11, %13, %0
";

#[test]
fn eight_threads_at_once_get_the_same_bits() {
    let g: Graph = NET.parse().unwrap();
    let p = Program::compile(&g, false).unwrap();
    let sets: Vec<_> = (0..4).map(|s| inputs(&g, &mut Rng(s), false)).collect();
    let want: Vec<_> = sets.iter().map(|x| p.run_arrays(x).unwrap()).collect();
    std::thread::scope(|scope| {
        for t in 0..8 {
            let (p, sets, want) = (&p, &sets, &want);
            scope.spawn(move || {
                for i in 0..200 {
                    let k = (t + i) % sets.len();
                    assert_eq!(p.run_arrays(&sets[k]).unwrap(), want[k]);
                }
            });
        }
    });
}

/// Resident memory of this process in bytes; 0 where the system does not say.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|s| s.parse::<usize>().ok()).unwrap_or(0) * 4096
}

#[test]
fn dropped_programs_free_their_code() {
    let g: Graph = "%0 = input : f64[8]\n%1 = sin(%0) : f64[8]\n%2 = mul(%1, %0) : f64[8]\nreturn %2".parse().unwrap();
    let scalar: Graph =
        "%0 = input : f64[]\n%1 = sin(%0) : f64[]\n%2 = mul(%1, %0) : f64[]\nreturn %2".parse().unwrap();
    let x = inputs(&g, &mut Rng(0), false);
    let want = interp::run(&g, &x).unwrap();
    let mut before = 0;
    for i in 0..1000 {
        let p = Program::compile(&g, false).unwrap();
        drop(Program::compile(&scalar, false).unwrap());
        assert_eq!(p.run_arrays(&x).unwrap(), want);
        if i == 200 {
            before = resident();
        }
    }
    let grown = resident().saturating_sub(before);
    // a leaked page of code a program would be 6 MB
    assert!(grown < 4 << 20, "1600 programs left {grown} bytes behind");
}

/// x ← x·c + y, n times: cheap nodes only; or sin x + y: n calls.
fn chain(t: &str, n: usize, calls: bool) -> Graph {
    let b = Builder::new();
    let (mut x, y) = (b.input(&ty(t)), b.input(&ty(t)));
    for i in 0..n / 2 {
        let name = if calls { "sin" } else { "neg" };
        x = b.add(Op::new(find(name).unwrap()), &[x]).unwrap();
        let other = if i % 2 == 0 { "add" } else { "mul" };
        x = b.add(Op::new(find(other).unwrap()), &[x, y]).unwrap();
    }
    b.finish(vec![x]).unwrap()
}

#[test]
fn large_chains_are_right() {
    for (t, calls, n) in [("f64[3]", false, 9000), ("f64[]", false, 6000), ("f64[3]", true, 900)] {
        let g = chain(t, n, calls);
        let x = inputs(&g, &mut Rng(3), false);
        let (want, got) = (interp::run(&g, &x).unwrap(), Program::compile(&g, false).unwrap().run_arrays(&x).unwrap());
        close(&want[0], &got[0], 0.0).unwrap();
    }
    // many outputs of many shapes, so that groups are many
    let b = Builder::new();
    let x = b.input(&ty("f64[40]"));
    let mut outs = Vec::new();
    for i in 0..300 {
        let s = b.add(Op::with(find("slice").unwrap(), [0, i % 20, 1 + i % 17, 1].map(Attr::Int)), &[x]).unwrap();
        let f = b.add(Op::new(find(["sin", "cos", "exp"][i as usize % 3]).unwrap()), &[s]).unwrap();
        outs.push(b.add(Op::with(find("powi").unwrap(), [Attr::Int(2 + i / 60)]), &[f]).unwrap());
    }
    let g = b.finish(outs).unwrap();
    let x = inputs(&g, &mut Rng(3), false);
    let (want, got) = (interp::run(&g, &x).unwrap(), Program::compile(&g, false).unwrap().run_arrays(&x).unwrap());
    want.iter().zip(&got).for_each(|(a, b)| close(a, b, 0.0).unwrap());
}
