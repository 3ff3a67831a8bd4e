//! Conformance: the values of PyTorch, case by case, in every engine. Each case of the file runs on the tape, and traced
//! into a graph, which is interpreted and compiled; value, gradient and the gradient of the gradient, in f64 and f32.
//!
//! `AUTOGRAD_CONFORMANCE=FILE` names another file than the project's own copy; the format is described beside that.

#![allow(missing_docs)]

mod format;
mod options;
mod run;
mod table;
mod traced;
mod variants;

use std::{collections::BTreeMap, path::PathBuf};

fn file() -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/conformance/ops.jsonl");
    std::env::var_os("AUTOGRAD_CONFORMANCE").map_or_else(own, PathBuf::from)
}

/// How many cases passed where.
#[derive(Default)]
struct Counts {
    cases: usize,
    dynamic: usize,
    compiled: usize,
    second: usize,
    failed: usize,
    skipped: usize,
    native: usize,
    library: usize,
}

#[test]
fn conformance() {
    let path = file();
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let cases = format::read(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut counts = Counts { cases: cases.len(), ..Counts::default() };
    // of each operation the cases and how many of them passed
    let mut ops: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for case in &cases {
        let entry = ops.entry(&case.op).or_default();
        entry.0 += 1;
        if !table::NAMES.contains(&case.op.as_str()) {
            println!("{}: skipped, the operation {:?} is unknown", case.id, case.op);
            counts.skipped += 1;
            continue;
        }
        let outcome = run::run(case);
        for e in &outcome.errors {
            println!("{}: {e}", case.id);
        }
        counts.dynamic += usize::from(outcome.dynamic);
        counts.compiled += usize::from(outcome.compiled);
        counts.second += usize::from(outcome.second);
        counts.failed += usize::from(!outcome.errors.is_empty());
        entry.1 += usize::from(outcome.errors.is_empty());
        match outcome.native {
            Some(true) => counts.native += 1,
            Some(false) => counts.library += 1,
            None => {}
        }
    }
    let bad: Vec<_> = ops.iter().filter(|(_, (n, ok))| n != ok).map(|(op, (n, ok))| format!("{op} {ok}/{n}")).collect();
    if !bad.is_empty() {
        println!("failing: {}", bad.join(", "));
    }
    println!("{} operations in {}", ops.len(), path.display());
    println!("compiled: native={} library={}", counts.native, counts.library);
    println!(
        "conformance: cases={} dynamic={} compiled={} second={} failed={} skipped={}",
        counts.cases, counts.dynamic, counts.compiled, counts.second, counts.failed, counts.skipped
    );
    assert!(counts.cases > 0, "{}: no cases", path.display());
    assert!(counts.failed == 0 && counts.skipped == 0, "{} failed, {} skipped", counts.failed, counts.skipped);
}

/// The project's own file has a case of every operation of the table.
#[test]
fn every_operation_of_the_table_has_a_case() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/conformance/ops.jsonl");
    let text = std::fs::read_to_string(path).expect("the project's own cases");
    let cases = format::read(&text).expect("well-formed cases");
    for name in table::NAMES {
        assert!(cases.iter().any(|c| c.op == *name), "{name} has no case");
    }
}

/// Declared operations that no case of the file reaches, and where they are tested instead. Each has a row in
/// `autograd-runtime/tests/rules.rs`, unless that says why not.
const ELSEWHERE: &[(&str, &str)] = &[
    ("random", "draws: tests/random.rs"),
    ("control", "structure: tests/control_flow"),
    ("list", "structure: autograd-runtime/tests/lists.rs"),
    ("hold", "assertions: tests/control_flow/asserts.rs"),
    ("integer", "of counters and bits: tests/control_flow/integers.rs"),
    ("window", "writes through views: tests/autograd/inplace_and_views.rs"),
    ("custom", "a user's: tests/autograd"),
    ("copysign", "a method of Rust's floats: tests/entry_points.rs"),
    ("fmax", "a method of Rust's floats: tests/vector_loops/main.rs"),
    ("fmin", "a method of Rust's floats: tests/vector_loops/main.rs"),
    ("cbrt", "a method of Rust's floats: autograd-runtime/src/elementary/tests.rs"),
    ("ne", "truth values: autograd-runtime/tests/rules.rs"),
    ("xor", "truth values: autograd-runtime/tests/rules.rs"),
    ("cummax_index", "tests/numerics.rs"),
    ("cummin_index", "tests/numerics.rs"),
    ("last_writer", "tests/numerics.rs"),
];

#[test]
fn every_declared_operation_has_a_case_or_a_reason() {
    use autograd::op::{self, OpDef, control, custom, hold, integer, list, random, window};
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/conformance/ops.jsonl");
    let text = std::fs::read_to_string(path).expect("the project's own cases");
    let cases = format::read(&text).expect("well-formed cases");
    let mut reached = std::collections::BTreeSet::new();
    let mut seen = std::collections::BTreeSet::new();
    for c in &cases {
        // the operations depend on the name, the options and the ranks, not on the numbers
        if seen.insert((&c.op, &c.attrs, c.inputs.iter().map(|i| i.shape.len()).collect::<Vec<_>>())) {
            reached.extend(run::operations(c).unwrap_or_else(|e| panic!("{}: {e}", c.id)));
        }
    }
    let families: [(&str, &[&OpDef]); 7] = [
        ("random", random::ALL),
        ("control", control::ALL),
        ("list", list::ALL),
        ("hold", hold::ALL),
        ("integer", integer::ALL),
        ("window", window::ALL),
        ("custom", custom::ALL),
    ];
    let excused = |name: &str| {
        let family = families.iter().find(|f| f.1.iter().any(|d| d.name == name)).map_or(name, |f| f.0);
        ELSEWHERE.iter().any(|e| e.0 == family)
    };
    let missing: Vec<&str> =
        op::all().map(|d| d.name).filter(|name| !reached.contains(name) && !excused(name)).collect();
    assert!(
        missing.is_empty(),
        "in no case of the file; add one, or a reason why they are tested elsewhere: {missing:?}"
    );
    for (name, reason) in ELSEWHERE {
        let known = families.iter().any(|f| f.0 == *name) || op::find(name).is_some();
        assert!(known && !reached.contains(name), "{name} needs no excuse ({reason})");
    }
}

#[test]
fn malformed_lines_are_named() {
    let good = r#"{"id":"neg/0","op":"neg","attrs":{},"inputs":[{"shape":[],"dtype":"f64","data":[1.5],"grad":false}],"output":{"shape":[],"dtype":"f64","data":["-inf"]},"rtol":1e-8,"atol":1e-8}"#;
    assert_eq!(format::read(good).expect("well-formed")[0].output.data, [f64::NEG_INFINITY]);
    for (bad, what) in [
        (r#"{"id":"#, "EOF"),
        (&good.replace(r#""op":"neg","#, ""), "\"op\""),
        (&good.replace("1.5", "1.5,2"), "1 elements"),
        (&good.replace(r#""dtype":"f64","data":[1.5]"#, r#""dtype":"f16","data":[1.5]"#), "f16"),
        (&good.replace(r#""-inf""#, r#""minus""#), "minus"),
        (&good.replace("1.5", "true"), "true"),
        (&good.replace(r#""rtol""#, r#""cotangent":{"shape":[],"dtype":"f64","data":[1]},"rtol""#), "\"grads\""),
    ] {
        let e = format::read(&format!("{good}\n\n{bad}\n")).expect_err("malformed");
        assert!(e.starts_with("line 3: ") && e.contains(what), "{e}");
    }
}
