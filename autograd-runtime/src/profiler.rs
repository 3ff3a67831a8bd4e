//! The profiler: what each operation of the dynamic engine costs, forward and backward apart.
//!
//! While [`profile`] runs, every operation, every node of backward and every [`record_function`] on the thread is an
//! event with a start and an end; events nest, and the time of an event less that of the events inside is its own.
//! The result prints as a table and writes a Chrome trace (`chrome://tracing`, Perfetto).

use crate::error::{Error, Result};
use std::{
    borrow::Cow,
    cell::RefCell,
    fmt,
    io::Write,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// How many threads profile: asking costs one load while nobody does.
static ACTIVE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

struct Recorder {
    start: Instant,
    events: Vec<Event>,
    /// The events that are running, with the time of the events inside so far.
    open: Vec<(usize, Duration)>,
}

/// The part of the work that an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Operations as the program calls them.
    Forward,
    /// Nodes of backward and what they compute.
    Backward,
    /// Ranges that the program names itself.
    User,
}

/// One timed stretch.
#[derive(Clone, Debug)]
pub struct Event {
    /// The operation, the node, or the user's name.
    pub name: Cow<'static, str>,
    /// The part of the work.
    pub phase: Phase,
    /// When it began, since the profile did.
    pub start: Duration,
    /// How long it took, with the events inside.
    pub total: Duration,
    /// How long it took, without the events inside.
    pub own: Duration,
    /// How many events it is inside of.
    pub depth: usize,
}

/// Ends an event when dropped.
pub(crate) struct Guard(usize);

fn begin(name: impl FnOnce() -> Cow<'static, str>, phase: Phase) -> Option<Guard> {
    RECORDER.with_borrow_mut(|r| {
        let r = r.as_mut()?;
        // what a node of backward computes belongs to backward
        let inside = r.open.iter().rev().map(|o| r.events[o.0].phase).find(|p| *p != Phase::User);
        let phase = if phase == Phase::Forward { inside.unwrap_or(phase) } else { phase };
        let index = r.events.len();
        let zero = Duration::ZERO;
        let (start, depth) = (r.start.elapsed(), r.open.len());
        r.events.push(Event { name: name(), phase, start, total: zero, own: zero, depth });
        r.open.push((index, zero));
        Some(Guard(index))
    })
}
impl Drop for Guard {
    fn drop(&mut self) {
        RECORDER.with_borrow_mut(|r| {
            let Some(r) = r.as_mut() else { return };
            let end = r.start.elapsed();
            let total = end.saturating_sub(r.events[self.0].start);
            let inside = match r.open.iter().position(|o| o.0 == self.0) {
                Some(at) => r.open.remove(at).1,
                None => Duration::ZERO,
            };
            let event = &mut r.events[self.0];
            (event.total, event.own) = (total, total.saturating_sub(inside));
            if let Some(outer) = r.open.last_mut() {
                outer.1 += total;
            }
        });
    }
}

/// Whether anyone profiles.
pub(crate) fn is_active() -> bool {
    ACTIVE.load(Ordering::Relaxed) > 0
}
/// An operation of the dynamic engine begins.
#[inline]
pub(crate) fn forward(name: &'static str) -> Option<Guard> {
    if is_active() { begin(|| Cow::Borrowed(name), Phase::Forward) } else { None }
}
/// A node of backward begins.
#[inline]
pub(crate) fn backward(name: impl FnOnce() -> String) -> Option<Guard> {
    if is_active() { begin(|| Cow::Owned(name()), Phase::Backward) } else { None }
}

/// Runs a closure as one named event of the profile that is running, if one is.
///
/// ```
/// use autograd_runtime::{Tensor, profiler};
/// let ((), profile) = profiler::profile(|| {
///     profiler::record_function("layer", || drop(Tensor::<f64>::ones([8]).exp()));
/// });
/// assert_eq!(profile.rows().iter().find(|r| r.name == "layer").unwrap().calls, 1);
/// ```
pub fn record_function<R>(name: &str, f: impl FnOnce() -> R) -> R {
    let _event = if is_active() { begin(|| Cow::Owned(name.into()), Phase::User) } else { None };
    f()
}

/// What a profiled closure did: prints as a table, [`rows`](Profile::rows) gives its numbers.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    events: Vec<Event>,
}

/// All events of one name and phase.
#[derive(Clone, Debug)]
pub struct Row {
    /// The operation, the node, or the user's name.
    pub name: String,
    /// The part of the work.
    pub phase: Phase,
    /// How often it ran.
    pub calls: usize,
    /// Its time, with what it called.
    pub total: Duration,
    /// Its time, without what it called.
    pub own: Duration,
}

/// Runs a closure and records what the dynamic engine does on this thread: PyTorch's `torch.autograd.profiler`.
/// Profiles nest; the inner one takes its events.
///
/// ```
/// use autograd_runtime::{Tensor, profiler};
/// let x = Tensor::<f64>::ones([4]).requires_grad_(true);
/// let (done, profile) = profiler::profile(|| (&x * &x).sum().backward());
/// done?;
/// let table = profile.to_string();
/// assert!(table.contains("mul") && table.contains("MulBackward0"), "{table}");
/// # Ok::<(), autograd_runtime::Error>(())
/// ```
pub fn profile<R>(f: impl FnOnce() -> R) -> (R, Profile) {
    /// Ends the profile also when the closure unwinds.
    struct End(Option<Recorder>);
    impl Drop for End {
        fn drop(&mut self) {
            ACTIVE.fetch_sub(1, Ordering::Relaxed);
            RECORDER.replace(self.0.take());
        }
    }
    ACTIVE.fetch_add(1, Ordering::Relaxed);
    let fresh = Recorder { start: Instant::now(), events: Vec::new(), open: Vec::new() };
    let end = End(RECORDER.replace(Some(fresh)));
    let out = f();
    let events = RECORDER.take().map(|r| r.events).unwrap_or_default();
    drop(end);
    (out, Profile { events })
}

impl Profile {
    /// The events, in the order of their beginnings.
    pub fn events(&self) -> &[Event] {
        &self.events
    }
    /// The events of each name, forward before backward before the user's, the costliest first.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        let mut at = rustc_hash::FxHashMap::default();
        for e in &self.events {
            let i = *at.entry((e.phase, &*e.name)).or_insert_with(|| {
                let zero = Duration::ZERO;
                rows.push(Row { name: e.name.to_string(), phase: e.phase, calls: 0, total: zero, own: zero });
                rows.len() - 1
            });
            let row = &mut rows[i];
            (row.calls, row.total, row.own) = (row.calls + 1, row.total + e.total, row.own + e.own);
        }
        rows.sort_by(|a, b| a.phase.cmp(&b.phase).then(b.own.cmp(&a.own)).then(a.name.cmp(&b.name)));
        rows
    }
    /// Writes the events in the format of Chrome's trace viewer.
    ///
    /// ```
    /// use autograd_runtime::{Tensor, profiler};
    /// let ((), profile) = profiler::profile(|| drop(Tensor::<f64>::ones([8]).exp()));
    /// let file = std::env::temp_dir().join(format!("autograd-trace-{}.json", std::process::id()));
    /// profile.export_chrome_trace(&file)?;
    /// assert!(std::fs::read_to_string(&file).unwrap().contains("traceEvents"));
    /// # std::fs::remove_file(&file).unwrap();
    /// # Ok::<(), autograd_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn export_chrome_trace(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let fail = |e: &dyn fmt::Display| Error::value("export_chrome_trace", format!("{}: {e}", path.display()));
        let file = std::fs::File::create(path).map_err(|e| fail(&e))?;
        let mut out = std::io::BufWriter::new(file);
        serde_json::to_writer(&mut out, &self.chrome_trace()).map_err(|e| fail(&e))?;
        out.flush().map_err(|e| fail(&e))
    }
    fn chrome_trace(&self) -> serde_json::Value {
        let micros = |d: Duration| d.as_secs_f64() * 1e6;
        let event = |e: &Event| {
            serde_json::json!({
                "name": e.name, "cat": format!("{:?}", e.phase).to_lowercase(), "ph": "X",
                "ts": micros(e.start), "dur": micros(e.total), "pid": std::process::id(), "tid": 0,
            })
        };
        serde_json::json!({ "displayTimeUnit": "ns", "traceEvents": self.events.iter().map(event).collect::<Vec<_>>() })
    }
}

impl fmt::Display for Profile {
    /// The table: self and total CPU time, average and number of calls by operation, forward and backward apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = rows.iter().map(|r| r.name.len()).max().unwrap_or(0).max(24);
        let sum: Duration = rows.iter().map(|r| r.own).sum();
        let percent = |d: Duration| if sum.is_zero() { 0.0 } else { 100.0 * d.as_secs_f64() / sum.as_secs_f64() };
        let line = "-".repeat(width + 78);
        let heads = ["Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls"];
        for (phase, title) in
            [(Phase::Forward, "forward"), (Phase::Backward, "backward"), (Phase::User, "named ranges")]
        {
            let mut of_phase = rows.iter().filter(|r| r.phase == phase).peekable();
            if of_phase.peek().is_none() {
                continue;
            }
            writeln!(f, "{line}\n{title:<width$}{}", heads.map(|h| format!("{h:>13}")).concat())?;
            writeln!(f, "{line}")?;
            for r in of_phase {
                let average = r.total / u32::try_from(r.calls).unwrap_or(u32::MAX).max(1);
                let cells = [
                    format!("{:.2}%", percent(r.own)),
                    time(r.own),
                    format!("{:.2}%", percent(r.total)),
                    time(r.total),
                    time(average),
                    r.calls.to_string(),
                ];
                writeln!(f, "{:<width$}{}", r.name, cells.map(|c| format!("{c:>13}")).concat())?;
            }
        }
        writeln!(f, "{line}")?;
        write!(f, "Self CPU time total: {}", time(sum))
    }
}

/// With a unit, three decimals, as PyTorch's profiler prints.
fn time(d: Duration) -> String {
    match d.as_secs_f64() * 1e6 {
        us if us >= 1e6 => format!("{:.3}s", us * 1e-6),
        us if us >= 1e3 => format!("{:.3}ms", us * 1e-3),
        us => format!("{us:.3}us"),
    }
}
