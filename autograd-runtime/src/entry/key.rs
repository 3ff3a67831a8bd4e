//! The key of a compiled program: the function, the derivative asked for, and for the arguments everything
//! that the program depends on and that their types do not tell: shapes and static values. A scalar adds nothing,
//! its dtype is the parameter's. Two calls share a program only if their keys are equal in full; the hash only finds
//! candidates.

use crate::ty::{DType, Ty};
use rustc_hash::FxHasher;
use smallvec::SmallVec;
use std::{
    any::{Any, TypeId},
    hash::{Hash, Hasher},
    sync::Arc,
};

/// See the module's documentation.
#[derive(Clone)]
pub(crate) struct Key {
    function: TypeId,
    pub kind: super::Kind,
    words: SmallVec<[u64; 8]>,
    constants: SmallVec<[Arc<dyn Static>; 1]>,
}

impl Key {
    pub fn new(function: TypeId, kind: super::Kind) -> Key {
        Key { function, kind, words: SmallVec::new(), constants: SmallVec::new() }
    }
    /// The key of another derivative at the same arguments.
    pub fn with_kind(&self, kind: super::Kind) -> Key {
        Key { kind, ..self.clone() }
    }
    pub fn hash(&self) -> u64 {
        let mut h = FxHasher::default();
        self.function.hash(&mut h);
        h.write_u8(self.kind as u8);
        self.words.iter().for_each(|&w| h.write_u64(w));
        self.constants.iter().for_each(|c| c.digest(&mut h));
        h.finish()
    }
}

/// What the arguments are reported to: a key that is built, or one that they are compared with as they come,
/// which a kept compiled function does and which stores nothing.
pub(crate) enum Sink<'k> {
    Build(Key),
    Match { key: &'k Key, words: usize, constants: usize, equal: bool },
}

impl<'k> Sink<'k> {
    #[inline]
    pub fn compare(key: &'k Key) -> Sink<'k> {
        Sink::Match { key, words: 0, constants: 0, equal: true }
    }
    #[inline]
    fn word(&mut self, w: u64) {
        match self {
            Sink::Build(k) => k.words.push(w),
            Sink::Match { key, words, equal, .. } => {
                *equal &= key.words.get(*words) == Some(&w);
                *words += 1;
            }
        }
    }
    /// A list of any length.
    pub fn list(&mut self, dtype: DType) {
        self.word(4 << 8 | dtype as u64);
    }
    /// Lists are items of their own, integers and lengths static.
    #[cold]
    pub fn mark_listed(&mut self) {
        self.word(5 << 8);
    }
    pub fn tensor(&mut self, ty: &Ty) {
        self.word(1 << 8 | (ty.rank() as u64) << 16 | ty.dtype as u64);
        ty.shape.iter().for_each(|&n| self.word(n as u64));
    }
    /// A static value that fits a word.
    pub fn fixed(&mut self, x: impl Fixed) {
        self.word(2 << 8);
        self.word(x.word());
    }
    pub fn text(&mut self, s: &str) {
        self.word(3 << 8 | (s.len() as u64) << 16);
        s.as_bytes().chunks(8).for_each(|c| self.word(c.iter().fold(0, |w, &b| w << 8 | u64::from(b))));
    }
    pub fn constant<T: Hash + Eq + Clone + Send + Sync + 'static>(&mut self, x: &T) {
        match self {
            Sink::Build(k) => k.constants.push(Arc::new(x.clone())),
            Sink::Match { key, constants, equal, .. } => {
                *equal &= key.constants.get(*constants).is_some_and(|c| c.same(x));
                *constants += 1;
            }
        }
    }
    /// Whether all that was reported is what the key has.
    #[inline]
    pub fn matched(&self) -> bool {
        match self {
            Sink::Build(_) => true,
            Sink::Match { key, words, constants, equal } => {
                *equal && *words == key.words.len() && *constants == key.constants.len()
            }
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, o: &Key) -> bool {
        self.function == o.function
            && self.kind == o.kind
            && self.words == o.words
            && self.constants.len() == o.constants.len()
            && self.constants.iter().zip(&o.constants).all(|(a, b)| a.same(&**b))
    }
}

/// A static value of a user's type.
trait Static: Send + Sync {
    fn any(&self) -> &dyn Any;
    fn same(&self, o: &dyn Static) -> bool;
    fn digest(&self, h: &mut FxHasher);
}
impl<T: Hash + Eq + Send + Sync + 'static> Static for T {
    fn any(&self) -> &dyn Any {
        self
    }
    fn same(&self, o: &dyn Static) -> bool {
        o.any().downcast_ref::<T>().is_some_and(|x| x == self)
    }
    fn digest(&self, h: &mut FxHasher) {
        self.hash(h);
    }
}

/// Static values of one word.
pub(crate) trait Fixed {
    fn word(self) -> u64;
}
macro_rules! fixed {
    ($($t:ty),*) => {$( impl Fixed for $t { fn word(self) -> u64 { self as u64 } } )*};
}
fixed!(bool, char, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);
