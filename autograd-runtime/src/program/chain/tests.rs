//! Random loops over lists, one after the other and in a loop around them: fused and without dead stores they are what they were, in
//! value, in what is out of range, compiled and differentiated.

use super::{super::stores, *};
use crate::op::OpDef;
use crate::{
    array::{Array, Data},
    diff, interp,
    program::Program,
};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};

const LISTS: usize = 4;

/// What a program is drawn from: numbers, and zeros after them.
struct Tape<'t>(std::slice::Iter<'t, u8>);
impl Tape<'_> {
    fn below(&mut self, n: u8) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0) % n)
    }
}

thread_local! {
    /// Each operation has a place of its own.
    static PLACE: Cell<i64> = const { Cell::new(0) };
}

fn op(b: &Builder, def: &'static OpDef, args: &[NodeId]) -> NodeId {
    let place = PLACE.get() + 1;
    PLACE.set(place);
    b.add(Op::with(def, def.attrs.iter().map(|_| Attr::Int(place))), args).unwrap()
}
fn float(b: &Builder, x: f64) -> NodeId {
    b.add(create::constant(DType::F64, x), &[]).unwrap()
}

/// Lists, a sum, and what loops read besides: another list, a number and a limit.
#[derive(Clone)]
struct State {
    lists: [NodeId; LISTS],
    sum: NodeId,
    given: [NodeId; 3],
}

impl State {
    fn all(&self) -> Vec<NodeId> {
        [&self.lists[..], &[self.sum], &self.given].concat()
    }
    fn of(all: &[NodeId]) -> State {
        let lists = std::array::from_fn(|k| all[k]);
        State { lists, sum: all[LISTS], given: std::array::from_fn(|k| all[LISTS + 1 + k]) }
    }
}

/// A loop that writes some lists and adds to the sum, over a range that begins near 0.
fn one(b: &Builder, s: &mut State, t: &mut Tape<'_>) {
    let start = t.below(4) as i64;
    let writes: Vec<usize> = (0..=t.below(2)).map(|_| t.below(LISTS as u8)).collect();
    let sums = t.below(3) == 0;
    let mut carried: Vec<usize> = writes.clone();
    carried.sort_unstable();
    carried.dedup();
    carried.extend(sums.then_some(LISTS));
    // each write, and the sum, of elements so far from the counter
    let mut terms: Vec<Vec<(usize, i64)>> = Vec::new();
    for _ in 0..=writes.len() {
        let read = |t: &mut Tape<'_>| {
            let behind = start.min(3) + i64::from(t.below(16) == 15);
            (t.below(LISTS as u8 + 1), i64::from(t.below(12) == 11) - t.below(8) as i64 % (behind + 1))
        };
        terms.push((0..=t.below(2)).map(|_| read(t)).collect());
    }
    let shift = if t.below(6) == 5 { -1 } else { 0 } * i64::from(start > 0);
    let around = s.all();
    let captured: Vec<usize> = (0..around.len()).filter(|k| !carried.contains(k)).collect();
    let order: Vec<usize> = carried.iter().chain(&captured).copied().collect();
    let mut args = vec![integer(b, start).unwrap()];
    args.extend(order.iter().map(|&k| around[k]));
    let tys: Vec<Ty> = args.iter().map(|&a| b.ty_of(a)).collect();
    let at = |k: usize| 1 + order.iter().position(|&o| o == k).unwrap();
    let limit = at(LISTS + 3);
    let cond = graph(&tys, &|b, x| Ok(vec![op(b, &compare::LT, &[x[0], x[limit]])])).unwrap();
    let body = graph(&tys, &|b, x| {
        let mut now: Vec<NodeId> = (0..around.len()).map(|k| x[at(k)]).collect();
        let value = |b: &Builder, now: &[NodeId], terms: &[(usize, i64)]| {
            terms.iter().fold(now[LISTS + 2], |v, &(list, by)| {
                let list = now[if list == LISTS { LISTS + 1 } else { list }];
                let index = op(b, &arith::ADD, &[x[0], integer(b, by).unwrap()]);
                let element = op(b, &list::GET, &[list, index]);
                let scaled = op(b, &arith::MUL, &[element, float(b, 0.75)]);
                op(b, &arith::ADD, &[op(b, &arith::MUL, &[v, float(b, 0.5)]), op(b, &arith::MUL, &[scaled, v])])
            })
        };
        for (&list, terms) in writes.iter().zip(&terms) {
            let v = value(b, &now, terms);
            let index = op(b, &arith::ADD, &[x[0], integer(b, shift).unwrap()]);
            now[list] = op(b, &list::SET, &[now[list], index, v]);
        }
        if sums {
            let v = value(b, &now, &terms[writes.len()]);
            now[LISTS] = op(b, &arith::ADD, &[now[LISTS], v]);
        }
        let next = op(b, &arith::ADD, &[x[0], integer(b, 1).unwrap()]);
        Ok(std::iter::once(next).chain(carried.iter().map(|&k| now[k])).collect())
    })
    .unwrap();
    let outs = b.add_control(&while_op(Arc::new(cond), Arc::new(body), 1 + carried.len()), &args).unwrap();
    let mut all = around;
    carried.iter().zip(&outs[1..]).for_each(|(&k, &x)| all[k] = x);
    *s = State::of(&all);
}

fn several(b: &Builder, s: &mut State, t: &mut Tape<'_>) {
    for _ in 0..2 + t.below(3) {
        one(b, s, t);
        if t.below(6) == 5 {
            let k = t.below(LISTS as u8);
            s.lists[k] = op(b, &list::SET, &[s.lists[k], integer(b, 0).unwrap(), s.given[1]]);
        }
    }
}

/// A function of a list, a number and a limit.
fn program(numbers: &[u8]) -> Graph {
    PLACE.set(0);
    let mut t = Tape(numbers.iter());
    let b = Builder::new();
    let (x, w, limit) =
        (b.input(&Ty::list(DType::F64)), b.input(&Ty::scalar(DType::F64)), b.input(&Ty::scalar(DType::I64)));
    let n = op(&b, &list::LEN, &[x]);
    let filled = |v: f64| op(&b, &list::FILL, &[float(&b, v), n]);
    let marked = op(&b, &list::SET, &[filled(0.25), integer(&b, 0).unwrap(), w]);
    let lists = [filled(0.5), filled(0.5), marked, if t.below(2) == 0 { x } else { marked }];
    let mut s = State { lists, sum: w, given: [x, w, limit] };
    if t.below(2) == 0 {
        several(&b, &mut s, &mut t);
    } else {
        // two trips of a loop around them
        let args: Vec<NodeId> = std::iter::once(integer(&b, 0).unwrap()).chain(s.all()).collect();
        let tys: Vec<Ty> = args.iter().map(|&a| b.ty_of(a)).collect();
        let cond = graph(&tys, &|b, x| Ok(vec![op(b, &compare::LT, &[x[0], integer(b, 2)?])])).unwrap();
        let t = RefCell::new(&mut t);
        let body = graph(&tys, &|b, x| {
            let mut s = State::of(&x[1..]);
            several(b, &mut s, *t.borrow_mut());
            let next = op(b, &arith::ADD, &[x[0], integer(b, 1)?]);
            Ok([&[next], &s.all()[..=LISTS]].concat())
        })
        .unwrap();
        let outs = b.add_control(&while_op(Arc::new(cond), Arc::new(body), LISTS + 2), &args).unwrap();
        s = State::of(&[&outs[1..], &s.given].concat());
    }
    // some lists are read, others are not
    let mut total = s.sum;
    for &list in s.lists.iter().take(t.below(LISTS as u8 + 1)) {
        total = op(&b, &arith::ADD, &[total, op(&b, &list::SUM, &[list])]);
    }
    b.finish(vec![total]).unwrap()
}

fn near(a: &[Array], b: &[Array]) -> bool {
    let flat = |x: &[Array]| x.iter().flat_map(Array::to_f64_vec).collect::<Vec<_>>();
    let (a, b) = (flat(a), flat(b));
    let size = a.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    a.len() == b.len() && a.iter().zip(&b).all(|(x, y)| (x - y).abs() <= 1e-9 * size)
}

fn check(numbers: &[u8]) -> std::result::Result<[usize; 2], String> {
    // what nobody reads is nobody's business
    let g = pass::simplify(&program(numbers)).unwrap();
    let fused = chain(&g).unwrap().into_owned();
    let done = stores(&fused).unwrap().into_owned();
    for g in [&fused, &done] {
        g.verify().map_err(|e| format!("{e}\n{g}"))?;
    }
    let compiled = |g: &Graph| {
        let back = diff::vjp(g, &[0, 1]).unwrap();
        [g, &back].map(|g| Program::compile(g, false).map_err(|e| e.to_string()))
    };
    let programs = compiled(&g).into_iter().zip(compiled(&done)).map(|(was, is)| match (was, is) {
        (Ok(was), Ok(is)) => Ok(Some((was, is))),
        (Err(_), _) => Ok(None),
        (_, Err(e)) => Err(format!("{e}\n{done}")),
    });
    let programs: Vec<_> = programs.collect::<std::result::Result<_, _>>()?;
    for n in [1usize, 2, 3, 5, 12, 21] {
        for limit in [0, 1, 2, 3, n as i64 - 1, n as i64, n as i64 + 1] {
            let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7 + 0.3).sin()).collect();
            let number = |x: f64| Array::from_data(Data::F64(vec![x]), &[]);
            let limits = Array::from_data(Data::I64(vec![limit]), &[]);
            let mut ins = vec![Array::from_data(Data::F64(x), &[n]), number(0.6), limits];
            let want = interp::run(&g, &ins);
            for g in [&fused, &done] {
                match (&want, interp::run(g, &ins)) {
                    (Ok(want), Ok(found)) if want == &found => {}
                    (Err(_), Err(_)) => {}
                    (want, found) => return Err(format!("n {n}, limit {limit}: {found:?} is not {want:?}\n{g}")),
                }
            }
            for programs in &programs {
                let Some((was, is)) = programs else { continue };
                match (was.run_arrays(&ins), is.run_arrays(&ins)) {
                    (Ok(want), Ok(found)) if near(&want, &found) => {}
                    // what is overwritten may fail, or not
                    (was, Err(_)) if was.is_err() || want.is_err() => {}
                    (want, found) => {
                        return Err(format!("compiled, n {n}, limit {limit}: {found:?} is not {want:?}\n{done}"));
                    }
                }
                ins.push(number(1.0));
            }
        }
    }
    let loops = |g: &Graph| {
        let inside = g.nodes().flat_map(|(_, n)| n.subgraphs()).flat_map(Graph::nodes);
        g.nodes().chain(inside).filter(|(_, n)| n.op.is(&WHILE)).count()
    };
    Ok([loops(&g), loops(&done)])
}

proptest! {
    #[test]
    fn loops_that_are_one_are_what_they_were(numbers in proptest::collection::vec(any::<u8>(), 0..120)) {
        if let Err(why) = check(&numbers) {
            prop_assert!(false, "{}\n{why}", program(&numbers));
        }
    }
}

#[test]
fn many_loops_become_one() {
    let mut x = 7u32;
    let mut number = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    };
    let (mut before, mut after) = (0, 0);
    for _ in 0..100 {
        let numbers: Vec<u8> = (0..120).map(|_| number()).collect();
        let [was, is] = check(&numbers).unwrap_or_else(|why| panic!("{why}"));
        (before, after) = (before + was, after + is);
    }
    assert!(after * 20 < before * 19, "{after} of {before} loops are left");
}
