//! One line of body in, one line of twin out; white space is normalised.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ItemFn;

use crate::ast::{Form, Function, Role};
use crate::options::{self, Options};
use crate::twin::{self, types::Types};
use crate::{differentiable_item, no_grad};

/// Runtime paths are written `__p::x` in expectations.
fn normal(tokens: impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    // How tokens are spaced depends on where they come from.
    let text = text.split_whitespace().collect::<String>();
    text.replace("::autograd::__private::", "__p::")
}

fn read(source: &str) -> Function {
    let item: ItemFn = syn::parse_str(source).expect("the test's function parses");
    Function::read(item, &Options::default())
}

/// Checks the twin of `fn f(x: f64, n: usize, v: &[f64]) -> f64 { body }`.
#[track_caller]
fn check(body: &str, expected: &str) {
    check_function(&format!("fn f(x: f64, n: usize, v: &[f64]) -> f64 {{ {body} }}"), &format!("{{ {expected} }}"));
}

#[track_caller]
fn check_function(source: &str, expected: &str) {
    let mut function = read(source);
    let types = Types::of(&function);
    let twin = twin::expand(&mut function, &types);
    let expected: TokenStream = expected.parse().expect("the expectation is made of tokens");
    let (twin, expected) = (normal(twin), normal(expected));
    let found = twin.strip_suffix('}').unwrap_or(&twin);
    assert!(found.ends_with(&expected), "\nexpected: {expected}\n   found: {found}");
}

#[test]
fn literals_are_lifted_where_a_traced_value_may_follow() {
    check("let mut s = 0.0; s", "let mut s = __p::literal::<f64>(0.0); __p::lift::<f64, _>(s)");
    check("let c = 2.0; c * x", "let c = 2.0; __p::lift::<f64, _>(c * x)");
    check("let mut s = [-1.0; 3]; s[0]", "let mut s = [__p::literal::<f64>(-1.0); 3]; __p::lift::<f64, _>(s[0])");
    check(
        "let mut s = vec![0.0; n]; s.push(1.0); 1.0",
        "let mut s = vec![__p::literal::<f64>(0.0); n]; s.push(__p::literal::<f64>(1.0)); __p::literal::<f64>(1.0)",
    );
    check("let mut s; s = f64::MAX; x", "let mut s; s = __p::literal::<f64>(f64::MAX); __p::lift::<f64, _>(x)");
    check("let mut i = 0; g(&mut i); x", "let mut i = 0; g(&mut i); __p::lift::<f64, _>(x)");
    check("2.0_f64.max(x)", "__p::lift::<f64, _>(__p::literal::<f64>(2.0_f64).max(x))");
    check("x.max(0.0)", "__p::lift::<f64, _>(x.max(0.0))");
    check("return 0.0;", "__p::literal::<f64>(0.0)");
    check("w.iter().sum()", "w.iter().sum()");
    check(
        "w.iter().fold(0.0, |a, b| a + b)",
        "__p::lift::<f64, _>(w.iter().fold(__p::literal::<f64>(0.0), |a, b| a + b))",
    );
}

#[test]
fn a_literal_branch_lifts_the_others() {
    check(
        "let k = if q { 1.0 } else { x }; k * 2.0",
        "let k = if q { __p::literal::<f64>(1.0) } else { __p::lift::<f64, _>(x) };
         __p::lift::<f64, _>(k * 2.0)",
    );
    check(
        "let a = [0.5, x]; a[1]",
        "let a = [__p::literal::<f64>(0.5), __p::lift::<f64, _>(x)]; __p::lift::<f64, _>(a[1])",
    );
    check("let a = [0.5, 0.25]; x", "let a = [0.5, 0.25]; __p::lift::<f64, _>(x)");
    check(
        "let c = 2.0; let y = c.max(x); y",
        "let c = 2.0; let y = __p::literal::<f64>(c).max(x); __p::lift::<f64, _>(y)",
    );
    check("let c = 2.0; { let c = x; c.max(x) }", "let c = 2.0; { let c = x; __p::lift::<f64, _>(c.max(x)) }");
}

#[test]
fn annotations_and_conversions() {
    check("let s: f64 = x; return s;", "let s: __p::Real<f64> = __p::lift::<f64, _>(x); __p::lift::<f64, _>(s)");
    check(
        "let s: Vec<&[f64]> = w(); return x;",
        "use __p::fallback::*; use w as __h0; let s: Vec<&[__p::Real<f64>]> = __h0::__call(w)(); __p::lift::<f64, _>(x)",
    );
    check("return n as f64;", "__p::cast::<f64, _>(n)");
    check("return x * (2 as f64);", "__p::lift::<f64, _>(x * (2 as f64))");
    check(
        "v[x as usize].powi(n as i32); x",
        "v.at(__p::truncated::<usize, _>(x)).powi(__p::cast::<i32, _>(n)); __p::lift::<f64, _>(x)",
    );
    check(
        "let y = f64::max(1.0, x) * f64::EPSILON; y",
        "let y = <__p::Real<f64> >::max(__p::lift::<f64, _>(1.0), x) * f64::EPSILON; __p::lift::<f64, _>(y)",
    );
    check("let y = w.iter().sum::<f64>(); y", "let y = w.iter().sum::<__p::Real<f64> >(); __p::lift::<f64, _>(y)");
    check("let z = [0; 3 as usize]; x", "let z = [0; 3 as usize]; __p::lift::<f64, _>(x)");
}

/// Checks the forms of `x`, `n` and `v` as well.
#[track_caller]
fn check_open(form: Form, body: &str, expected: &str) {
    check(body, &format!("{expected} __p::lift::<f64, _>(x)"));
    let mut function = read(&format!("fn f(x: f64, n: usize, v: &[f64]) -> f64 {{ {body} }}"));
    let types = Types::of(&function);
    twin::expand(&mut function, &types);
    let forms: Vec<Form> = function.params.iter().map(|param| param.form).collect();
    assert_eq!(forms, [Form::Plain, form, Form::List]);
}

#[test]
fn integers_whose_uses_are_understood_are_open() {
    let check = |body, expected| check_open(Form::Int, body, expected);
    check(
        "let k = (n + 1) % 3; g(k); x",
        "use __p::fallback::*; use g as __h0; let k = (n + 1) % 3; __h0::__call(g)(__h0::__arg0(&__p::Slot::new(), k));",
    );
    check(
        "let mut k: i32 = 0; k += n as i32; x",
        "let mut k: __p::Int<i32> = __p::Int::number(0); k += __p::convert::<i32, _>(n);",
    );
    check(
        "let (mut a, mut b) = (n, 1u64); (a, b) = (2, b.pow(2)); x",
        "let (mut a, mut b) = (n, __p::Int::number(1u64)); (a, b) = (__p::Int::number(2), b.pow(2));",
    );
    check("let k = n as f64; x", "let k = __p::cast::<f64, _>(n);");
    check("let k = usize::min(3, n).max(v.len()); x", "let k = __p::Int::number(3).min(n).max(v.len());");
    check(
        "while n.is_multiple_of(2) { w.foo(); } x",
        "while __p::int((n) % 2) == 0 { if __p::flow::has_failed() { break; } w.foo(); }",
    );
    // another name of the same spelling is another variable
    check(
        "let k = n; { let n = w(); n.foo(); } x",
        "use __p::fallback::*; use w as __h0; let k = n; { let n = __h0::__call(w)(); n.foo(); }",
    );
}

#[test]
fn integers_with_other_uses_are_known() {
    let check = |body, expected| check_open(Form::Plain, body, expected);
    check("w.foo(n); x", "w.foo(n);");
    check("let k = n + 1; w[k]; x", "let k = n + 1; w[k];");
    check("let s = [0; 3]; s[n % 3]; x", "let s = [0; 3]; s[n % 3];");
    check("other!(n); x", "other!(n);");
    check("format!(\"{n}\"); x", "format!(\"{n}\");");
    check("let f = |k: usize| k + n; w.foo(f); x", "let f = |k: usize| k + n; w.foo(f);");
    check("w.foo(v.len()); x", "w.foo(__p::known(v.len()));");
    check("let k = v.len(); w.foo(k); x", "let k = __p::known(v.len()); w.foo(k);");
    check("for i in 0..n { w[i]; } x", "for i in 0..n { w[i]; }");
}

#[test]
fn lists_are_read_and_written_at_indices() {
    let check = |body, expected| check_open(Form::Int, body, expected);
    check("v[n] + v[0]; x", "v.at(n) + v.at(__p::Int::number(0));");
    check(
        "let mut s = vec![0.0; n]; s[n] = x; s[0] += v[n]; x",
        "let mut s = __p::List::<f64>::repeat(__p::literal::<f64>(0.0), n); s.set(n, x);
         { let (__value, __at) = (v.at(n), __p::Int::number(0)); s.set(__at, s.at(__at) + __value) };",
    );
    check("let mut s = v.to_vec(); s.fill(x); s.swap(0, n); x",
        "let mut s = __p::List::<f64>::clone(&v); s = __p::List::repeat(x, s.len());
         { let (__a, __b) = (__p::Int::number(0), n); let (__at_a, __at_b) = (s.at(__a), s.at(__b)); s.set(__a, __at_b); s.set(__b, __at_a) };");
    check("let r = &v[1..n]; g(r, &v[n..]); r[n].sin(); x",
        "use __p::fallback::*; use g as __h0; let r = &v.slice(__p::Int::number(1)..__p::int(n));
         __h0::__call(g)(__h0::__arg0(&__p::Slot::new(), r), __h0::__arg1(&__p::Slot::new(), &v.slice(__p::int(n)..))); r.at(n).sin();");
    check(
        "let mut a = [x; 3]; let mut b = a.clone(); std::mem::swap(&mut a, &mut b); b[n]; x",
        "let mut a = __p::List::<f64>::repeat(x, 3); let mut b = __p::List::<f64>::clone(&a); (a, b) = (b, a); b.at(n);",
    );
    check(
        "let s: Vec<f64> = g(x); let mut t = v.to_vec(); t = g(x); s[n]; x",
        "use __p::fallback::*; use g as __h0;
         let s: __p::List<f64> = __p::listed(__h0::__list(g)(__h0::__arg0(&__p::Slot::new(), x)));
         let mut t = __p::List::<f64>::clone(&v);
         t = __p::listed(__h0::__list(g)(__h0::__arg0(&__p::Slot::new(), x))); s.at(n);",
    );
    check(
        "let s: Vec<f64> = g(x); s.foo(); h(&g(x)); v[n]; x",
        "use __p::fallback::*; use g as __h0; use h as __h1;
         let s: Vec<__p::Real<f64>> = __h0::__call(g)(__h0::__arg0(&__p::Slot::new(), x)); s.foo();
         __h1::__call(h)(__h1::__arg0(&__p::Slot::new(), &__h0::__list(g)(__h0::__arg0(&__p::Slot::new(), x)))); v.at(n);",
    );
    // one that grows is a vector, and an array that only numbers index an array
    check(
        "let mut s = vec![x; v.len()]; s.push(x); v[n]; x",
        "let mut s = vec![x; __p::known(v.len())]; s.push(x); v.at(n);",
    );
    check(
        "let s = [x, 1.0]; s[0]; v[n]; x",
        "let s = [__p::lift::<f64, _>(x), __p::literal::<f64>(1.0)]; s[0]; v.at(n);",
    );
    check("w.foo(v); v.iter().foo(&v[1..2]); v[n]; x", "w.foo((&v[..])); v.iter().foo(&v[1..2]); v.at(n);");
}

#[test]
fn loops_over_counters_and_lists_count() {
    let check = |body, expected| check_open(Form::Int, body, expected);
    check(
        "for i in (0..n).rev().step_by(2) { x.foo(v[i]); } x",
        "for i in __p::flow::trips(__p::Int::number(0), n).rev().step_by(2) { x.foo(v.at(i)); }",
    );
    check("for _ in 1..=n { x.foo(); } x", "for _ in __p::flow::trips_to(__p::Int::number(1), n) { x.foo(); }");
    check(
        "for (a, &b) in v.iter().zip(v[n..].iter().rev()) { x.foo(a, b); } x",
        "{ let __slice0 = v.slice(__p::int(n)..);
           for __item in __p::flow::trips(__p::Int::number(0), v.len().min(__slice0.len())) {
             let (a, &b) = (&v.item(__item), &__slice0.item((__slice0.len() - 1 - __item)));
             x.foo(a, b); } }",
    );
    // what is short is unrolled, and what names an index elsewhere goes over the items
    check("for i in 0..3 { x.foo(v[i + n]); } x", "for i in 0..3 { x.foo(v.at(i + n)); }");
    check(
        "for (i, a) in v.iter().enumerate() { w[i]; } v[n]; x",
        "for (i, a) in v.iter().enumerate() { w[i]; } v.at(n);",
    );
}

#[test]
fn items_are_written_by_their_places() {
    check(
        "let mut w = vec![0.0; n]; for (i, a) in w.iter_mut().enumerate() { *a = v[i] * a.abs(); } x",
        "let mut w = __p::List::<f64>::repeat(__p::literal::<f64>(0.0), n);
         { (w, ()) = (&__p::flow::For::new(__p::flow::trips(__p::Int::number(0), w.len()), (w, ()),
             |&(ref w, ())| __p::flow::Cond::known(false),
             |__index, (mut w, ())| {
                 let __item = __index; { let (i, a) = (__item, __item); w.set(a, v.at(i) * w.at(a).abs()); } (w, ())
             })).run(); }
         __p::lift::<f64, _>(x)",
    );
    // another variable of the name: the loop stays as it is
    check(
        "let mut w = vec![0.0; n]; for a in w.iter_mut() { let a = a.abs(); x.foo(a.sqrt()); } x",
        "let mut w = vec![__p::literal::<f64>(0.0); n]; for a in w.iter_mut() { let a = a.abs(); x.foo(a.sqrt()); }
         __p::lift::<f64, _>(x)",
    );
    check(
        "let mut w = vec![0.0; n]; for a in &mut w { let a = &mut *a; *a = x; } x",
        "let mut w = vec![__p::literal::<f64>(0.0); n]; for a in &mut w { let a = &mut *a; *a = x; }
         __p::lift::<f64, _>(x)",
    );
}

#[test]
fn a_match_of_an_integer_is_a_chain() {
    check(
        "let k = match n { 0 | 7 => v.len(), k => k + 1 }; v[k]; x",
        "let k = { let __match = n; {
             let (__value, __state) = (&__p::flow::If::new(
                 (&__p::flow::Same(&(__p::int(__match)), &(0), __p::flow::Test::Eq)).cond().or(
                     || (&__p::flow::Same(&(__p::int(__match)), &(7), __p::flow::Test::Eq)).cond()),
                 (), |__then: bool, ()| {
                     let __value = if __then { __p::int(v.len()) } else { let k = __p::flow::copy(&__match); __p::int(k + 1) };
                     (__value, ())
                 })).run();
             __value } };
         v.at(k); __p::lift::<f64, _>(x)",
    );
    check(
        "match n { N => w(), _ => g() }; x",
        "use __p::fallback::*; use w as __h0; use g as __h1; match n { N => __h0::__call(w)(), _ => __h1::__call(g)() }; __p::lift::<f64, _>(x)",
    );
}

/// Checks what becomes of the exits in a body, before anything is staged.
#[track_caller]
fn check_exits(body: &str, expected: &str) {
    let mut body: syn::Block = syn::parse_str(&format!("{{ {body} }}")).expect("the test's body parses");
    let (declared, ret) = (syn::parse_quote!(f64), syn::parse_quote!(R));
    twin::exits::rewrite(Some(&declared), &ret, &mut body);
    let expected: TokenStream = format!("{{ {expected} }}").parse().expect("the expectation is made of tokens");
    let short = |tokens: String| tokens.replace("__p::flow::Flag::", "").replace("__leave_", "");
    assert_eq!(short(normal(body)), short(normal(expected)));
}

#[test]
fn exits_are_flags() {
    check_exits(
        "'a: while p { for j in 0..n { if q { continue 'a; } if r { break; } g(); } h(); } x",
        "while p {
             let mut skip0 = unset();
             {
                 let mut stop1 = unset();
                 for j in 0..n { if !skip0.is_set() && !stop1.is_set() {
                     if q { skip0 = set(); };
                     if !skip0.is_set() { if r { stop1 = set(); }; if !stop1.is_set() { g(); } }
                 } }
             };
             if !skip0.is_set() { h(); }
         } x",
    );
    check_exits(
        "for i in 0..n { while p { if q { return a; } } g(); } x",
        "let mut function = unset(); let mut __result: R = __p::flow::Blank::blank();
         for i in 0..n { if !function.is_set() {
             while !function.is_set() && (p) { if q { { __result = a; function = set(); }; }; };
             if !function.is_set() { g(); }
         } };
         if function.is_set() { __result } else { x }",
    );
    check_exits(
        "let y = loop { if p { break ::literal(1.0); } }; x",
        "let y = {
             let mut stop0 = unset();
             let mut __value0 = __p::flow::Blank::blank();
             while !stop0.is_set() { if p { { __value0 = ::literal(1.0); stop0 = set(); }; }; }
             __value0
         }; x",
    );
    check_exits(
        "if p { return a; } else { g(); } if q { return b; } x",
        "if p { a } else { { g(); }; if q { b } else { x } }",
    );
    // what cannot be rewritten stays: no value to stand for it, items without end, `while let`, an expression
    check_exits("let y = loop { break g(); }; x", "let y = loop { break g(); }; x");
    check_exits("for i in 0.. { if p { break; } } x", "for i in 0.. { if p { break; } } x");
    check_exits("'a: while let P = p { g(break 'a); } x", "'a: while let P = p { g(break 'a); } x");
    check_exits("let P(y) = p else { return a; }; x", "let P(y) = p else { return a; }; x");
    check_exits("let f = || { if p { return a; } b }; x", "let f = || { if p { return a; } b }; x");
}

#[test]
fn calls_go_through_name_resolution() {
    check(
        "let y = m::g(x, 2.0, n) + m::g(x, 1.0, 3); y",
        "use __p::fallback::*; use m::g as __h0;
         let y = __h0::__call(m::g)(__h0::__arg0(&__p::Slot::new(), x), __h0::__arg1(&__p::Slot::new(), 2.0), __h0::__arg2(&__p::Slot::new(), n))
               + __h0::__call(m::g)(__h0::__arg0(&__p::Slot::new(), x), __h0::__arg1(&__p::Slot::new(), 1.0), __h0::__inferred2(3));
         __p::lift::<f64, _>(y)",
    );
    check("let g = |a| a; let y = g(x); y", "let g = |a| a; let y = g(x); __p::lift::<f64, _>(y)");
    check(
        "let g = g(x); return g(1.0);",
        "use __p::fallback::*; use g as __h0; let g = __h0::__call(g)(__h0::__arg0(&__p::Slot::new(), x)); __p::lift::<f64, _>(g(__p::literal::<f64>(1.0)))",
    );
    check("std::mem::drop(Some(x)); Kind::new(n); x", "std::mem::drop(Some(x)); Kind::new(n); __p::lift::<f64, _>(x)");
    check(
        "let y = v.iter().copied().map(g); x",
        "use __p::fallback::*; use g as __h0; let y = v.iter().copied().map(__h0::__call(g)); __p::lift::<f64, _>(x)",
    );
    check(
        "let y = { fn g() {} g() }; x",
        "use __p::fallback::*; let y = { use g as __h0; fn g() {} __h0::__call(g)() }; __p::lift::<f64, _>(x)",
    );
    check(
        "let y = g::grad(x)?; let z = Model::grad(x); y",
        "let y = g::__staged_grad(x)?; let z = Model::grad(x); __p::lift::<f64, _>(y)",
    );
}

#[test]
fn macros_with_expressions_are_opened() {
    check(
        "assert!(g(x) > 0.0, \"{y} {}\", n as f64, y = x); other!(g(x)); x",
        "use __p::fallback::*; use g as __h0;
         if !__p::flow::ensure((&__p::flow::Order(&(__h0::__call(g)(__h0::__arg0(&__p::Slot::new(), x))), &(0.0), \
         __p::flow::Test::Gt)).cond()) { ::core::panic!(\"{y} {}\", __p::cast::<f64, _>(n), y = x); };
         other!(g(x)); __p::lift::<f64, _>(x)",
    );
    check(
        "matches!(n as i32, 1 | 2 if true); x",
        "matches!(__p::cast::<i32, _>(n), 1 | 2 if true); __p::lift::<f64, _>(x)",
    );
}

#[test]
fn structs_of_the_signature_are_built_as_twins() {
    check_function(
        "fn f(p: &m::P, w: Tensor<f32>) -> (f64, Vec<m::P>) { let m::P(a, ..) = p; (*a, vec![m::P(0.0, *a)]) }",
        "type __t0 = <m::P as __p::Arg>::Twin;
         { let __t0 { 0: a, .. } = p;
           (__p::lift::<f64, _>(*a), vec![(__t0 { 0: __p::literal(0.0), 1: *a })]) }",
    );
}

#[test]
fn roles_and_names_of_parameters() {
    let function = read(
        "fn f((a, b): (f64, f64), n: usize, s: &str, #[constant] c: &C, t: &Tensor<bool>, \
         mut w: Vec<f64>) -> f64 { a }",
    );
    let roles: Vec<_> = function.params.iter().map(|p| (p.name.to_string(), p.role)).collect();
    let expected = [
        ("arg0", Role::Differentiable),
        ("n", Role::Static),
        ("s", Role::Static),
        ("c", Role::Constant),
        ("t", Role::Static),
        ("w", Role::Differentiable),
    ];
    assert_eq!(roles, expected.map(|(name, role)| (name.to_string(), role)));
    assert!(!normal(&function.original).contains("constant"));
}

#[test]
fn twins_of_types() {
    let function = read("fn f(p: P) -> f64 { 0.0 }");
    let types = Types::of(&function);
    let twin = |text: &str| normal(types.result(&syn::parse_str(text).expect("a type")));
    let same = |text: &str| normal(text.parse::<TokenStream>().expect("tokens"));
    assert_eq!(twin("Result<(f32, [f64; 2]), f64>"), same("Result<(__p::Real<f32>, [__p::Real<f64>; 2]), f64>"));
    assert_eq!(twin("Tensor<f64>"), same("Tensor<f64>"));
    assert_eq!(twin("Vec<P>"), same("Vec<<P as __p::Arg>::Twin>"));
    assert_eq!(twin("Array2<f64>"), same("__p::arrays::Array2<__p::Real<f64>>"));
    assert_eq!(twin("nd::ArrayView<'_, f32, Ix3>"), same("__p::arrays::ArrayView<__p::Real<f32>, Ix3>"));
}

#[test]
fn options_are_parsed() {
    let wrt = options::parse(quote!(wrt(a, b))).expect("valid").wrt.expect("given");
    assert_eq!(wrt, ["a", "b"]);
    assert!(options::parse(quote!(fast)).is_err());
}

#[test]
fn entry_points_that_bodies_do_not_have_are_errors() {
    let out = normal(differentiable_item(
        quote!(),
        quote!(
            fn f(x: f64) -> f64 {
                let h = g::hessian_sparse(x).unwrap();
                let all = m::g::vmap_grad(&[x]).unwrap();
                let own = sparse::vmap(x);
                g::hessian(x).unwrap()
            }
        ),
    ));
    assert_eq!(out.matches("compile_error").count(), 2, "{out}");
    assert!(out.contains("`hessian_sparse`insideanannotatedbody:call`hessian`"), "{out}");
}

#[test]
fn the_original_survives_errors() {
    let out = normal(differentiable_item(
        quote!(),
        quote!(
            fn f(#[constant] n: &mut f64) {}
        ),
    ));
    assert!(out.starts_with("fnf(n:&mutf64){}"), "{out}");
    assert_eq!(out.matches("compile_error").count(), 3, "{out}");
    let method = quote!(
        impl M {
            fn f(&mut self) -> f64 {
                0.5
            }
        }
    );
    let out = normal(differentiable_item(quote!(), method));
    assert!(out.starts_with("implM{fnf(&mutself)->f64{0.5}}"), "{out}");
    assert_eq!(out.matches("compile_error").count(), 1, "{out}");
    let out = normal(no_grad::expand(
        quote!(),
        quote!(
            fn f() -> u8 {
                1
            }
        ),
    ));
    assert_eq!(out, "fnf()->u8{::autograd::no_grad(move||->u8{1})}");
}
