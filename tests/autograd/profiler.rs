//! The profiler: which events there are, how they nest, the table, the Chrome trace.

use super::{matrix, tracked};
use autograd::{
    Context, Function, Result, Tensor, no_grad,
    profiler::{Event, Phase, Profile, profile, record_function},
};
use std::time::Duration;

/// The events of a name and phase.
fn of<'p>(p: &'p Profile, name: &str, phase: Phase) -> Vec<&'p Event> {
    p.events().iter().filter(|e| e.name == name && e.phase == phase).collect()
}
fn example() -> Profile {
    let (a, b) = (matrix(&[[0.5, 1.5], [2.5, 0.7]]), matrix(&[[1.2, 0.4], [0.1, 0.9]]));
    let (done, p) = profile(|| {
        let y = record_function("layer", || record_function("product", || a.matmul(&b)).tanh());
        y.sum().backward()
    });
    done.unwrap();
    p
}

#[test]
fn forward_and_backward_are_apart() {
    let p = example();
    for (name, n) in [("matmul", 1), ("tanh", 1), ("sum", 1)] {
        assert_eq!(of(&p, name, Phase::Forward).len(), n, "{name}");
    }
    for name in ["MmBackward0", "TanhBackward0", "SumBackward0"] {
        assert_eq!(of(&p, name, Phase::Backward).len(), 1, "{name}");
    }
    // the products of backward belong to backward
    assert_eq!(of(&p, "matmul", Phase::Backward).len(), 2);
    assert!(p.events().iter().all(|e| e.phase != Phase::Forward || !e.name.ends_with("Backward0")));
}

#[test]
fn events_nest_and_own_time_is_what_the_events_inside_leave() {
    let p = example();
    let events = p.events();
    for (i, e) in events.iter().enumerate() {
        assert!(e.own <= e.total);
        // those inside begin after it, end before it, and are one deeper
        let inside: Vec<&Event> =
            events[i + 1..].iter().take_while(|f| f.depth > e.depth).filter(|f| f.depth == e.depth + 1).collect();
        let end = e.start + e.total;
        assert!(inside.iter().all(|f| f.start >= e.start && f.start + f.total <= end));
        let sum: Duration = inside.iter().map(|f| f.total).sum();
        assert_eq!(e.total - sum, e.own, "{}", e.name);
    }
    let at = |name: &str| events.iter().position(|e| e.name == name).unwrap();
    assert_eq!(["layer", "product", "matmul"].map(|n| events[at(n)].depth), [0, 1, 2]);
    assert_eq!(events[at("tanh")].depth, 1);
}

#[test]
fn rows_count_calls_and_add_up_to_the_events() {
    let x = tracked(&[1.0, 2.0]);
    let (_, p) = profile(|| (0..5).fold(x.exp(), |y, _| y.sin()));
    let rows = p.rows();
    let sin = rows.iter().find(|r| r.name == "sin").unwrap();
    assert_eq!((sin.calls, sin.phase), (5, Phase::Forward));
    assert_eq!(sin.total, of(&p, "sin", Phase::Forward).iter().map(|e| e.total).sum());
    let sum: Duration = rows.iter().map(|r| r.own).sum();
    assert_eq!(sum, p.events().iter().map(|e| e.own).sum());
    assert!(rows.windows(2).all(|w| w[0].phase < w[1].phase || w[0].own >= w[1].own));
}

#[test]
fn the_table_has_a_line_for_each_operation_under_the_heads_of_pytorch() {
    let p = example();
    let table = p.to_string();
    let heads = ["Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls"];
    for phase in ["forward", "backward", "named ranges"] {
        let head = table.lines().find(|l| l.starts_with(phase)).unwrap();
        assert!(heads.iter().all(|h| head.contains(h)), "{head}");
    }
    assert!(table.lines().last().unwrap().starts_with("Self CPU time total: "));
    for row in p.rows() {
        let line = table.lines().any(|l| l.starts_with(&row.name) && l.ends_with(&format!(" {}", row.calls)));
        assert!(line, "{} in\n{table}", row.name);
    }
    // shares of own time are those of the whole
    let percent = |l: &str| l.split_whitespace().find_map(|w| w.strip_suffix('%')?.parse::<f64>().ok());
    let sum: f64 = table.lines().filter_map(percent).sum();
    assert!((sum - 100.0).abs() < 0.01 * p.rows().len() as f64, "{sum}\n{table}");
}

#[test]
fn the_chrome_trace_is_json_with_one_complete_event_for_each() {
    let p = example();
    let path = std::env::temp_dir().join(format!("trace_{}.json", std::process::id()));
    p.export_chrome_trace(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let trace: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events.len(), p.events().len());
    for (e, of) in events.iter().zip(p.events()) {
        assert_eq!((e["name"].as_str().unwrap(), e["ph"].as_str().unwrap()), (&*of.name, "X"));
        assert_eq!(e["cat"].as_str().unwrap(), format!("{:?}", of.phase).to_lowercase());
        let micros = |k: &str| e[k].as_f64().unwrap();
        assert!((micros("ts") - of.start.as_secs_f64() * 1e6).abs() < 1e-6 * micros("ts").max(1.0));
        assert!(micros("dur") >= 0.0 && e["pid"].is_number() && e["tid"].is_number());
    }
    let cats = |c: &str| events.iter().filter(|e| e["cat"] == c).count();
    assert!(cats("forward") > 0 && cats("backward") > 0 && cats("user") == 2);
    let missing = std::env::temp_dir().join("no such directory").join("trace.json");
    super::fails(p.export_chrome_trace(missing), &["export_chrome_trace", "no such directory"]);
}

#[test]
fn profiles_nest_end_with_their_closure_and_belong_to_a_thread() {
    let x = tracked(&[1.0]);
    let (inner, outer) = profile(|| {
        drop(x.exp());
        let ((), inner) = profile(|| drop(x.sin()));
        std::thread::scope(|s| s.spawn(|| drop(x.cos())).join().unwrap());
        drop(x.tanh());
        inner
    });
    let names = |p: &Profile| p.events().iter().map(|e| e.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&inner), ["sin"]);
    assert_eq!(names(&outer), ["exp", "tanh"]);
    super::panics(|| profile(|| panic!("on purpose")), &["on purpose"]);
    drop(x.exp());
    assert!(profile(|| ()).1.events().is_empty());
    // a range without a profile is its closure
    assert_eq!(record_function("nobody looks", || 7), 7);
}

/// A function of the user's whose backward computes.
struct Twice;
impl Function<f64> for Twice {
    fn forward(&self, _: &mut Context<f64>, inputs: &[Tensor<f64>]) -> Result<Vec<Tensor<f64>>> {
        Ok(vec![&inputs[0] * 2.0])
    }
    fn backward(&self, _: &Context<f64>, g: &[Tensor<f64>]) -> Result<Vec<Option<Tensor<f64>>>> {
        Ok(vec![Some(record_function("of the user", || &g[0] * 2.0))])
    }
}

#[test]
fn custom_functions_hooks_and_writes_are_events_too() {
    let x = tracked(&[1.0, 2.0]);
    let (done, p) = profile(|| {
        let y = Twice.apply(&[&x])?;
        y.register_hook(|g: &Tensor<f64>| g.exp())?;
        y.add_(1.0);
        no_grad(|| drop(y.detach().sqrt()));
        y.sum().backward()
    });
    done.unwrap();
    assert_eq!(of(&p, "TwiceBackward", Phase::Backward).len(), 1);
    let user = of(&p, "of the user", Phase::User);
    assert_eq!(user.len(), 1);
    assert!(user[0].depth > of(&p, "TwiceBackward", Phase::Backward)[0].depth);
    for name in ["mul", "add", "sqrt"] {
        assert!(!of(&p, name, Phase::Forward).is_empty(), "{name}");
    }
    assert!(p.events().iter().any(|e| e.name == "exp"));
}
