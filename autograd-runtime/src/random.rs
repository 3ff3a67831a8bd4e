//! Generators of random numbers: a seed and a count of draws. A draw takes a key, `[seed, count]`, and the
//! random operations (`op::random`) are pure functions of it.
//!
//! On the tape the key is taken at once. A trace notes instead how many draws after its start the key is
//! taken: the key is an input of the program, every call computes it from the generator's state and then
//! advances the generator as the function would have. Tracing itself leaves generators as they were.

use crate::{
    array::{Array, Data},
    graph::NodeId,
    session,
    tensor::Value,
};
use parking_lot::Mutex;
use std::{
    cell::{Cell, RefCell},
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
};

/// The state of a generator: what was drawn after it is drawn again after it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RngState {
    seed: u64,
    count: u64,
    /// The running trace that `count` goes on from the start of; 0 for none.
    trace: u64,
}

impl RngState {
    fn seeded(seed: u64) -> RngState {
        RngState { seed, count: 0, trace: 0 }
    }
    pub(crate) fn key(self) -> Value {
        Value::stored(Array::from_data(Data::I64(vec![self.seed as i64, self.count as i64]), &[2]))
    }
}

thread_local! {
    static STATE: Cell<RngState> = Cell::new(RngState::seeded(RandomState::new().build_hasher().finish()));
}

/// A source of random numbers; clones are the same source. [`Generator::default`] stands for the generator
/// of the thread that calls, which is the one that functions without a generator draw from.
///
/// ```
/// use autograd_runtime::{Generator, Tensor};
/// let g = Generator::new(7);
/// let a = Tensor::<f32>::rand_with(&g, [3]);
/// let b = Tensor::<f32>::rand_with(&g, [3]);
/// g.manual_seed(7);
/// assert_eq!(Tensor::<f32>::rand_with(&g, [3]).to_vec(), a.to_vec());
/// assert_ne!(a.to_vec(), b.to_vec());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Generator(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Thread,
    Own(Arc<Mutex<RngState>>),
}

impl Generator {
    /// A generator of its own.
    pub fn new(seed: u64) -> Generator {
        Generator(Source::Own(Arc::new(Mutex::new(RngState::seeded(seed)))))
    }
    fn with<R>(&self, f: impl FnOnce(&mut RngState) -> R) -> R {
        match &self.0 {
            Source::Own(s) => f(&mut s.lock()),
            Source::Thread => {
                let mut s = STATE.get();
                let r = f(&mut s);
                STATE.set(s);
                r
            }
        }
    }
    fn same(&self, other: &Generator) -> bool {
        match (&self.0, &other.0) {
            (Source::Thread, Source::Thread) => true,
            (Source::Own(a), Source::Own(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
    /// Starts the sequence of a seed.
    pub fn manual_seed(&self, seed: u64) {
        self.set_state(RngState::seeded(seed));
    }
    /// The state now.
    pub fn get_state(&self) -> RngState {
        session::meet(self);
        self.with(|s| *s)
    }
    /// Goes on from a state.
    pub fn set_state(&self, state: RngState) {
        session::meet(self);
        self.with(|s| *s = state);
    }
    /// The key of the next draw.
    pub(crate) fn key(&self) -> Value {
        let state = self.get_state();
        self.with(|s| s.count = s.count.wrapping_add(1));
        session::key(self, state)
    }
}

/// Seeds this thread's generator. Other threads have generators of their own, which start from a seed of the
/// system's.
///
/// ```
/// use autograd_runtime::{Tensor, manual_seed};
/// manual_seed(0);
/// let a = Tensor::<f64>::randn([2, 2]).to_vec();
/// manual_seed(0);
/// assert_eq!(Tensor::<f64>::randn([2, 2]).to_vec(), a);
/// ```
pub fn manual_seed(seed: u64) {
    Generator::default().manual_seed(seed);
}
/// The state of this thread's generator.
///
/// ```
/// use autograd_runtime::{Tensor, get_rng_state, set_rng_state};
/// let x = Tensor::<f32>::ones([8]);
/// let state = get_rng_state();
/// let once = x.dropout(0.5, true);
/// set_rng_state(state);
/// assert_eq!(x.dropout(0.5, true).to_vec(), once.to_vec());
/// ```
pub fn get_rng_state() -> RngState {
    Generator::default().get_state()
}
/// Lets this thread's generator go on from a state. Inside an annotated function, a state got there stands for
/// the same draw at every call.
pub fn set_rng_state(state: RngState) {
    Generator::default().set_state(state);
}

/// A state as a function of the state when the function began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draw {
    /// So many draws later.
    After(u64),
    /// This one, whatever it was.
    Fixed(RngState),
}

impl Draw {
    fn from(self, start: RngState) -> RngState {
        match self {
            Draw::After(n) => RngState { count: start.count.wrapping_add(n), ..start },
            Draw::Fixed(s) => s,
        }
    }
}

/// What a running session knows of generators. That of a trace puts them back when it ends.
pub(crate) struct Log {
    /// The trace's number; 0 for a session that computes at once.
    trace: u64,
    /// The generators met, each with its state at that time.
    met: RefCell<Vec<(Generator, RngState)>>,
    /// The keys drawn: generator and draw, and the input that stands for the key.
    keys: RefCell<Vec<(usize, Draw, NodeId)>>,
}

impl Log {
    pub fn new(trace: u64) -> Log {
        Log { trace, met: RefCell::default(), keys: RefCell::default() }
    }
    pub fn meet(&self, g: &Generator) {
        let mut met = self.met.borrow_mut();
        if met.iter().any(|(m, _)| m.same(g)) {
            return;
        }
        met.push((g.clone(), g.with(|s| *s)));
        if self.trace != 0 {
            g.with(|s| s.trace = self.trace);
        }
    }
    /// The generators met, with the states that drew what was drawn since.
    pub fn starts(&self) -> Vec<(Generator, RngState)> {
        let mark = |s: RngState| if self.trace == 0 { s } else { RngState { trace: self.trace, ..s } };
        self.met.borrow().iter().map(|(g, s)| (g.clone(), mark(*s))).collect()
    }
    fn draw(&self, generator: usize, state: RngState) -> Draw {
        let start = self.met.borrow()[generator].1;
        if state.trace == self.trace { Draw::After(state.count.wrapping_sub(start.count)) } else { Draw::Fixed(state) }
    }
    /// The input that stands for a key, made by `input` if there is none.
    pub fn key(&self, g: &Generator, state: RngState, input: impl FnOnce(Value) -> NodeId) -> NodeId {
        let generator = self.met.borrow().iter().position(|(m, _)| m.same(g)).expect("met before it draws");
        let draw = self.draw(generator, state);
        let known = self.keys.borrow().iter().find(|k| (k.0, k.1) == (generator, draw)).map(|k| k.2);
        known.unwrap_or_else(|| {
            let node = input(state.key());
            self.keys.borrow_mut().push((generator, draw, node));
            node
        })
    }
    /// The inputs that stand for keys, in the order of [`Draws::keys`].
    pub fn inputs(&self) -> Vec<NodeId> {
        self.keys.borrow().iter().map(|k| k.2).collect()
    }
    /// What each call of the traced function does.
    pub fn draws(&self) -> Draws {
        let met = self.met.borrow();
        let end = |i: usize, g: &Generator| (g.clone(), self.draw(i, g.with(|s| *s)));
        Draws {
            generators: met.iter().enumerate().map(|(i, (g, _))| end(i, g)).collect(),
            keys: self.keys.borrow().iter().map(|k| (k.0, k.1)).collect(),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.trace != 0 {
            self.met.get_mut().drain(..).for_each(|(g, start)| g.with(|s| *s = start));
        }
    }
}

/// What a call of a traced function draws.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draws {
    /// The generators, with their states after the call.
    generators: Vec<(Generator, Draw)>,
    keys: Vec<(usize, Draw)>,
}

impl Draws {
    /// The keys of one call; advances the generators.
    pub fn keys(&self) -> Vec<Value> {
        let starts: Vec<RngState> = self.generators.iter().map(|(g, _)| g.get_state()).collect();
        let key = |&(i, draw): &(usize, Draw)| session::key(&self.generators[i].0, draw.from(starts[i]));
        let keys = self.keys.iter().map(key).collect();
        for ((g, end), start) in self.generators.iter().zip(&starts) {
            g.set_state(end.from(*start));
        }
        keys
    }
    /// Whether a call leaves all generators alone.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.generators.iter().all(|(_, end)| *end == Draw::After(0))
    }
    /// Whether only a new trace knows what the next call draws: of a generator that was met like a tensor, or
    /// from a state that came from elsewhere.
    pub fn may_change(&self) -> bool {
        let fixed = |d: &Draw| matches!(d, Draw::Fixed(_));
        self.generators.iter().any(|(g, end)| matches!(g.0, Source::Own(_)) || fixed(end))
            || self.keys.iter().any(|(_, d)| fixed(d))
    }
    /// The states of the generators, and of this thread's, before a call that is to be repeated.
    pub fn states(&self) -> States {
        let all = self.generators.iter().map(|(g, _)| g.clone()).chain([Generator::default()]);
        States(all.map(|g| (g.clone(), g.get_state())).collect())
    }
}

/// States of generators, to repeat what was drawn after them.
#[derive(Clone, Debug)]
pub(crate) struct States(Vec<(Generator, RngState)>);

impl States {
    /// Those of the generators that this session has met so far, and of this thread's.
    pub fn now() -> States {
        let mut met: Vec<Generator> = session::starts(Log::starts).into_iter().map(|m| m.0).collect();
        met.push(Generator::default());
        States(met.into_iter().map(|g| (g.clone(), g.get_state())).collect())
    }
    /// With those that were met first since then.
    pub fn with_new(mut self) -> States {
        for (g, start) in session::starts(Log::starts) {
            if !self.0.iter().any(|(m, _)| m.same(&g)) {
                self.0.push((g, start));
            }
        }
        self
    }
    /// Sets the generators to them.
    pub fn restore(&self) {
        self.0.iter().for_each(|(g, s)| g.set_state(*s));
    }
    /// Those of the generators that this session has met, each as it was then: what it drew is drawn again from them.
    pub fn started() -> States {
        States(session::starts(Log::starts))
    }
    /// Runs `f` from these states; afterwards the generators are as before, also when it unwinds.
    pub fn again<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Restore(States);
        impl Drop for Restore {
            fn drop(&mut self) {
                self.0.restore();
            }
        }
        let _now = Restore(States(self.0.iter().map(|(g, _)| (g.clone(), g.get_state())).collect()));
        self.restore();
        f()
    }
}
