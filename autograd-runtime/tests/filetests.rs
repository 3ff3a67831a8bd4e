//! Passes, fusion and plan on graphs written as text, and the text form and the verifier themselves.
//!
//! A file of `tests/filetests` says on its first line what is run on the graph below it: `pass: NAME`,
//! `fuse:` (prints the steps: kind, domain, operations, stored nodes) or `plan:` (prints where values are).
//! After a line `---` comes what is expected. `AUTOGRAD_BLESS=1 cargo test --test filetests` writes what comes
//! out now in its place; look at the difference before you commit it.

mod common;

use autograd_runtime::{
    Error, diff,
    graph::{Builder, Graph},
    interp,
    op::{Attr, Op, create, find},
    pass,
    program::{
        fuse::{Fused, StepKind, fuse},
        plan::{Place, plan},
    },
    ty::DType,
};
use common::{IF, Rng, WHILE, array, inputs, ty};
use std::{fmt::Write, path::PathBuf, sync::Arc};

fn folder(name: &str) -> Vec<PathBuf> {
    let folder = format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

fn print_steps(f: &Fused) -> String {
    let mut s = String::new();
    for step in &f.steps {
        match step {
            StepKind::Kernel { kernel, slots, ops } => {
                let domain: Vec<usize> = kernel.outer.iter().copied().chain([kernel.inner]).collect();
                let stored: Vec<usize> = kernel.stores.iter().map(|s| slots[usize::from(s.buffer)].index()).collect();
                writeln!(s, "kernel {domain:?}, {} kept: {} stores {stored:?}", kernel.parallel, ops.join(" "))
                    .unwrap();
            }
            StepKind::MatMul { a, b, batch, mkn, out } => {
                let (sa, sb) = (a.strides.as_slice(), b.strides.as_slice());
                let (a, b) = (a.node.index(), b.node.index());
                writeln!(
                    s,
                    "matmul {:?}{mkn:?}: %{a} by {sa:?}, %{b} by {sb:?} stores [{}]",
                    batch.as_slice(),
                    out.index()
                )
                .unwrap();
            }
            StepKind::Library { op, args, out } => {
                let args: Vec<usize> = args.iter().map(|a| a.index()).collect();
                writeln!(s, "library {} of {args:?} stores [{}]", op.name(), out.index()).unwrap();
            }
            StepKind::Flow { op, args, outs, .. } => {
                let args: Vec<usize> = args.iter().map(|a| a.index()).collect();
                let outs: Vec<usize> = outs.iter().map(|o| o.1.index()).collect();
                writeln!(s, "flow {} of {args:?} stores {outs:?}", op.name()).unwrap();
            }
        }
    }
    s
}

fn print_plan(g: &Graph, f: &Fused) -> String {
    let p = plan(g, f);
    let mut places: Vec<_> = p.places.iter().collect();
    places.sort_by_key(|p| *p.0);
    let mut s = String::new();
    for (id, place) in places {
        let text = match place {
            Place::Input(i) => format!("input {i}"),
            Place::Output(i) => format!("output {i}"),
            Place::Arena(at) => format!("arena {at}"),
        };
        writeln!(s, "%{}: {text}", id.index()).unwrap();
    }
    p.copies.iter().for_each(|(k, id)| writeln!(s, "output {k} is a copy of %{}", id.index()).unwrap());
    writeln!(s, "{} bytes, {} values", p.bytes, p.values).unwrap();
    s
}

fn output(directive: &str, g: &Graph) -> String {
    let (kind, name) = directive.split_once(':').expect("a first line `pass: NAME`");
    match kind {
        "pass" => {
            let pass = pass::PASSES.iter().find(|p| p.name == name.trim()).expect("the name of a pass");
            pass.run(g).unwrap().to_string()
        }
        "fuse" => print_steps(&fuse(g).unwrap()),
        "plan" => print_plan(g, &fuse(g).unwrap()),
        other => panic!("expected pass, fuse or plan, found {other}"),
    }
}

#[test]
fn files() {
    let mut wrong = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for path in folder("filetests") {
        let text = std::fs::read_to_string(&path).unwrap();
        let (directive, rest) = text.split_once('\n').unwrap();
        let (before, expected) = rest.split_once("---\n").unwrap_or((rest, ""));
        let g: Graph = before.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        g.verify().unwrap();
        let got = output(directive, &g);
        seen.push(directive.trim().into());
        if std::env::var_os("AUTOGRAD_BLESS").is_some() {
            std::fs::write(&path, format!("{directive}\n{before}---\n{got}")).unwrap();
        } else if got != expected {
            wrong.push(format!("{}:\nexpected\n{expected}\nfound\n{got}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let wanted = pass::PASSES.iter().map(|p| format!("pass: {}", p.name)).chain(["fuse:".into(), "plan:".into()]);
    for w in wanted {
        assert!(seen.iter().filter(|s| **s == w).count() >= 2, "{w} has fewer than two files");
    }
}

/// All graphs written down for tests, and gradients of those that have one.
fn corpus() -> Vec<Graph> {
    let mut all: Vec<Graph> = Vec::new();
    for path in folder("filetests").into_iter().chain(folder("regressions")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let text = if path.parent().unwrap().ends_with("filetests") {
            text.split_once('\n').unwrap().1.to_owned()
        } else {
            text
        };
        all.push(text.split("---\n").next().unwrap().parse().unwrap());
    }
    let of = |g: &Graph| diff::vjp(g, &(0..g.inputs().len()).collect::<Vec<_>>()).ok();
    let more: Vec<Graph> = all.iter().filter_map(of).collect();
    let twice: Vec<Graph> = more.iter().filter_map(of).collect();
    all.extend(more);
    all.extend(twice);
    all
}

#[test]
fn passes_are_idempotent_and_exact() {
    let mut all = corpus();
    all.extend([IF, WHILE].map(|t| t.parse().unwrap()));
    for g in all {
        let x = inputs(&g, &mut Rng(7), true);
        let want = interp::run(&g, &x).unwrap();
        for p in pass::PASSES {
            let once = p.run(&g).unwrap();
            once.verify().unwrap();
            assert_eq!(p.run(&once).unwrap(), once, "{} twice on\n{g}", p.name);
            for (a, b) in want.iter().zip(interp::run(&once, &x).unwrap()) {
                // the one pass that may change the order of a sum
                let tol = if p.name == "reductions" { 1e-6 } else { 0.0 };
                common::close(a, &b, tol).unwrap_or_else(|e| panic!("{}: {e}\n{g}\n{once}", p.name));
            }
        }
        let best = pass::optimise(&g).unwrap();
        assert_eq!(pass::optimise(&best).unwrap(), best, "optimised twice\n{g}");
    }
}

#[test]
fn control_flow_is_interpreted() {
    let run = |text: &str, x: &[autograd_runtime::array::Array]| -> Vec<Vec<f64>> {
        let g: Graph = text.parse().unwrap();
        g.verify().unwrap();
        interp::run(&g, x).unwrap().iter().map(|y| y.to_f64_vec()).collect()
    };
    let v = |t: &str, x: &[f64]| array(&ty(t), x.to_vec());
    let x = [1.0, 2.0, 3.0];
    assert_eq!(run(IF, &[v("bool[]", &[1.0]), v("f64[3]", &x)])[1], [6.0]);
    assert_eq!(run(IF, &[v("bool[]", &[0.0]), v("f64[3]", &x)]), [x.to_vec(), vec![2.0]]);
    assert_eq!(run(WHILE, &[v("f64[]", &[3.0])]), [[192.0], [6.0]]);
    assert_eq!(run(WHILE, &[v("f64[]", &[-3.0])]), [[-3.0], [0.0]]);
}

#[test]
fn a_choice_whose_first_result_is_no_float_has_a_derivative() {
    let swapped = IF
        .replace("return %1, %2", "%3 = cast(%0) {dtype=i64} : i64[3]\n return %3, %1")
        .replace("return %0, %2", "%3 = cast(%0) {dtype=i64} : i64[3]\n return %3, %0")
        .replace("}} : f64[3]", "}} : i64[3]")
        .replace(
            "%3 = proj(%2) {index=0, dtype=f64, shape=[3]} : f64[3]",
            "%3 = proj(%2) {index=0, dtype=i64, shape=[3]} : i64[3]",
        )
        .replace(
            "%4 = proj(%2) {index=1, dtype=f64, shape=[1]} : f64[1]",
            "%4 = proj(%2) {index=1, dtype=f64, shape=[3]} : f64[3]",
        );
    let g: Graph = swapped.parse().unwrap();
    let x = [array(&ty("bool[]"), [0.0]), array(&ty("f64[3]"), [1.0, 2.0, 3.0])];
    let given = [&x[..], &[array(&ty("i64[3]"), [0.0; 3]), array(&ty("f64[3]"), [4.0, 5.0, 6.0])]].concat();
    let d = diff::vjp(&g, &[1]).unwrap();
    assert_eq!(interp::run(&d, &given).unwrap()[2].to_f64_vec(), [4.0, 5.0, 6.0]);
    let d = diff::jvp(&g, &[1]).unwrap();
    let given = [&x[..], &[array(&ty("f64[3]"), [4.0, 5.0, 6.0])]].concat();
    assert_eq!(interp::run(&d, &given).unwrap()[3].to_f64_vec(), [4.0, 5.0, 6.0]);
}

#[test]
fn text_reads_back_to_the_same_graph() {
    let mut all = corpus();
    all.extend([IF, WHILE].map(|t| t.parse().unwrap()));
    let b = Builder::new();
    let bits = [
        f64::NAN.to_bits(),
        f64::INFINITY.to_bits(),
        (-0.0f64).to_bits(),
        1,
        0x7ff0_0000_0000_0001,
        f64::MAX.to_bits(),
        0.1f64.to_bits(),
    ];
    let f64s = bits.map(|x| (DType::F64, x));
    let f32s =
        [f32::NAN.to_bits(), f32::NEG_INFINITY.to_bits(), 1, 0.1f32.to_bits()].map(|x| (DType::F32, u64::from(x)));
    let rest = [(DType::I64, i64::MIN as u64), (DType::I64, u64::MAX), (DType::Bool, 0), (DType::Bool, 1)];
    let constants = f64s.into_iter().chain(f32s).chain(rest);
    let ids = constants
        .map(|(d, x)| b.add(Op::with(&create::CONST, [Attr::DType(d), Attr::Bits(x)]), &[]).unwrap())
        .collect();
    all.push(b.finish(ids).unwrap());
    for g in all {
        let text = g.to_string();
        let again: Graph = text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(again, g, "{text}");
        assert_eq!(again.to_string(), text);
    }
}

#[test]
fn the_verifier_rejects() {
    let x = ty("f64[2]");
    let rejects = |g: Graph, what: &str| {
        let e = g.verify().expect_err(what).to_string();
        assert!(e.contains(what), "{e}");
        let text = g.to_string();
        // a dangling output has no text that parses; the others are refused as text too
        assert!(text.parse::<Graph>().is_err(), "{text}");
        g
    };
    // 4: an input that is not in the list
    let b = Builder::new();
    let i = b.add(create::input(3, &x), &[]).unwrap();
    assert!(b.finish(vec![i]).unwrap().verify().unwrap_err().to_string().contains("list of inputs"));
    // 5: a projection of something else, of a result that is not there, and of another type
    let b = Builder::new();
    let i = b.input(&x);
    let proj = |k: i64, t: &autograd_runtime::ty::Ty| {
        Op::with(find("proj").unwrap(), [Attr::Int(k), Attr::DType(t.dtype), Attr::dims(&t.shape)])
    };
    let p = b.add(proj(0, &x), &[i]).unwrap();
    rejects(b.finish(vec![p]).unwrap(), "control-flow node");
    for (k, t) in [(2, x.clone()), (-1, x.clone()), (0, x.clone())] {
        let g: Graph = IF.parse().unwrap();
        let b = Builder::new();
        let ins: Vec<_> = g.inputs().iter().map(|&i| b.input(g.ty(i))).collect();
        let n = b.inline(&g, &ins).unwrap()[0];
        let node = b.node(n).args[0];
        let p = b.add(proj(k, &t), &[node]).unwrap();
        rejects(b.finish(vec![p]).unwrap(), "control-flow node");
    }
    // 6: an output that is no node, and a sub-graph with one
    let b = Builder::new();
    let i = b.input(&x);
    let far = (0..5).fold(i, |i, _| b.add(Op::new(find("sin").unwrap()), &[i]).unwrap());
    let b = Builder::new();
    let i = b.input(&x);
    let g = b.finish(vec![i]).unwrap();
    rejects(g.with_outputs(vec![far]), "outputs to be nodes");
    let b = Builder::new();
    let i = b.input(&x);
    let p = b.add(proj(0, &x), &[i]).unwrap();
    let body = b.finish(vec![p]).unwrap();
    let b = Builder::new();
    let (c, i) = (b.input(&ty("bool[]")), b.input(&x));
    let body = Attr::Graph(Arc::new(body));
    let f = b.add(Op::with(find("if").unwrap(), [body.clone(), body]), &[c, i]).unwrap();
    rejects(b.finish(vec![f]).unwrap(), "control-flow node");
}

#[test]
fn parse_errors_name_the_line() {
    let cases = [
        ("%0 = input : f32[2]\n%1 = frobnicate(%0) : f32[2]\nreturn %1", 2),
        ("%0 = input : f32[2]\n%1 = sin(%9) : f32[2]\nreturn %1", 2),
        ("%0 = input : f32[2]\n\n%1 = sin(%0) : f64[2]\nreturn %1", 3),
        ("%0 = input : f16[2]\nreturn %0", 1),
        ("%0 = input : f32[2\nreturn %0", 2),
        ("%0 = input : f32[2]\n%1 = sum(%0) : f32[1]\nreturn %1", 2),
        ("%0 = input : f32[2]\n%1 = sum(%0) {dims=[3]} : f32[1]\nreturn %1", 2),
        ("%0 = input : f32[2]\n%1 = sum(%0) {dims=0} : f32[1]\nreturn %1", 2),
        ("%0 = input : f32[2]\n%1 = sum(%0) {axes=[0]} : f32[1]\nreturn %1", 2),
        ("%0 = input : f32[2]\n%1 = add(%0) : f32[2]\nreturn %1", 2),
        ("%0 = input : f32[2]\nreturn %0\n%1 = sin(%0) : f32[2]", 3),
        ("%0 = input : f32[2]\n%1 = sin(%0) : f32[2]", 2),
        ("%0 = const zero : f32[]\nreturn %0", 1),
        ("%0 = const 0x1ffffffff : f32[]\nreturn %0", 1),
        ("%0 = const 1.0 : f32[3]\nreturn %0", 1),
        ("// only\n%0 = input : f64[4611686018427387904,4]\nreturn %0", 2),
        ("%0 = input : f32[2]\nreturn %0, %7", 2),
        ("%0 = iota 3.0 : i64[3]\nreturn %0", 1),
        ("%0 = iota {dtype=bool, n=3} : bool[3]\nreturn %0", 1),
        ("%0 = iota {dtype=i64, n=-3} : i64[3]\nreturn %0", 1),
        ("%0 = input : f32[2]\n%1 = powi(%0) {n=99999999999} : f32[2]\nreturn %1", 2),
        (
            "%0 = input : f32[2]\n%1 = slice(%0) {dim=0, start=9223372036854775807, len=2, step=9223372036854775807} : f32[2]\nreturn %1",
            2,
        ),
        (
            "%0 = input : f32[2]\n%1 = unslice(%0) {dim=0, start=9223372036854775807, step=9223372036854775807, size=3} : f32[3]\nreturn %1",
            2,
        ),
        (
            "%0 = input : f32[2]\n%1 = unslice(%0) {dim=0, start=0, step=1, size=9223372036854775807} : f32[3]\nreturn %1",
            2,
        ),
        ("%0 = input : f32[2]\n%1 = expand(%0) {shape=[-1,2]} : f32[2,2]\nreturn %1", 2),
        ("%0 = input : f32[2]\n%1 = proj(%0) {index=0, dtype=f32, shape=[2]} : f32[2]\nreturn %1", 2),
        ("%0 = input(%0) : f32[2]\nreturn %0", 1),
        ("%0 = input {index=0} : f32[2]\nreturn %0", 1),
        ("%0 = input : f32[0]\n%1 = amax(%0) {dims=[0]} : f32[1]\nreturn %1", 2),
        ("", 1),
    ];
    for (text, line) in cases {
        match text.parse::<Graph>() {
            Err(Error::Parse { line: found, message }) => assert_eq!(found, line, "{message}\n{text}"),
            other => panic!("{other:?}\n{text}"),
        }
    }
}

#[test]
fn hostile_text_is_an_error() {
    let deep = |n: usize| {
        let open = "%0 = input : f64[]\n%2 = const true : bool[]\n%1 = if(%2, %0) {then={\n".repeat(n);
        let close = "return %0\n}, else={\n%0 = input : f64[]\nreturn %0\n}} : f64[]\n".repeat(n);
        format!("{open}%0 = input : f64[]\n{close}return %1\n")
    };
    assert!(deep(1).parse::<Graph>().is_ok());
    for n in [1000, 100_000] {
        assert!(deep(n).parse::<Graph>().is_err());
    }
    for open in ["(", "[", "{", "{body={", "%", "=", "return "] {
        assert!(format!("%0 = sum{}", open.repeat(50_000)).parse::<Graph>().is_err());
    }
    // a good text with bytes changed or cut
    let mut rng = Rng(1);
    let texts: Vec<String> = corpus().iter().map(ToString::to_string).chain([IF, WHILE].map(String::from)).collect();
    let junk = [
        "%",
        "{",
        "}",
        "[",
        "]",
        ",",
        "=",
        ":",
        "-",
        "0",
        "9",
        "99999999999999999999",
        "-1",
        "é",
        "\u{0}",
        "f32",
        "return",
        "\n",
        "0x",
        "e",
        "input",
        "proj",
        "sum",
        "9223372036854775807",
    ];
    for round in 0..6000 {
        let text = &texts[round % texts.len()];
        let mut chars: Vec<String> = text.chars().map(String::from).collect();
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(chars.len());
            match rng.below(3) {
                0 => chars[at] = junk[rng.below(junk.len())].into(),
                1 => chars.insert(at, junk[rng.below(junk.len())].into()),
                _ => drop(chars.remove(at)),
            }
        }
        if let Ok(g) = chars.concat().parse::<Graph>() {
            g.verify().unwrap_or_else(|e| panic!("parsed but wrong: {e}\n{g}"));
            let _ = pass::optimise(&g).unwrap();
            let _ = diff::vjp(&g, &(0..g.inputs().len()).collect::<Vec<_>>());
        }
    }
    // no text at all
    for _ in 0..2000 {
        let text: String = (0..rng.below(60)).map(|_| junk[rng.below(junk.len())]).collect();
        let _ = text.parse::<Graph>();
    }
}
