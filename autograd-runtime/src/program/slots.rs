//! Arguments and results of a scalar program as slots on the stack: what a call of a small function moves. A scalar is its bits, a
//! list the address and the number of its elements, which are borrowed.
//!
//! Invariant: what is marked as a list in [`Slots`] or [`Results`] is one, of that many elements of that type, for as long as
//! they live.

use crate::{
    array::Float,
    ty::{DType, Ty},
};
use std::marker::PhantomData;

/// So many arguments or results fit the stack.
pub(super) const SLOTS: usize = 24;

/// Which slots hold what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    slots: usize,
    /// Slots in which a list begins, a bit for each.
    lists: u32,
    /// Those of them whose elements are `f32`.
    single: u32,
}

impl Form {
    /// Of values of these types; none if they do not fit, or are neither scalars nor lists of floats.
    pub fn of(tys: &[Ty]) -> Option<Form> {
        let mut form = Form::default();
        for ty in tys {
            match ty.dtype {
                DType::F32 | DType::F64 if ty.is_list() => form.list(ty.dtype),
                _ if !ty.is_list() && ty.rank() == 0 => form.slots += 1,
                _ => return None,
            }
            if form.slots > SLOTS {
                return None;
            }
        }
        Some(form)
    }
    fn list(&mut self, dtype: DType) {
        let bit = 1u32.checked_shl(self.slots as u32).unwrap_or(0);
        self.lists |= bit;
        self.single |= if dtype == DType::F32 { bit } else { 0 };
        self.slots += 2;
    }
    #[inline]
    pub fn slots(self) -> usize {
        self.slots
    }
    /// Whether a list begins in a slot, and of which elements.
    #[inline]
    fn list_at(self, slot: usize) -> Option<DType> {
        let bit = 1u32.checked_shl(slot as u32).unwrap_or(0);
        let dtype = if self.single & bit == 0 { DType::F64 } else { DType::F32 };
        (self.lists & bit != 0).then_some(dtype)
    }
}

/// Arguments on the stack.
#[derive(Clone)]
pub struct Slots<'a> {
    bits: [u64; SLOTS],
    form: Form,
    fits: bool,
    /// The elements of lists.
    borrowed: PhantomData<&'a [u8]>,
}

impl<'a> Slots<'a> {
    #[inline]
    pub(crate) fn new() -> Self {
        Slots { bits: [0; SLOTS], form: Form::default(), fits: true, borrowed: PhantomData }
    }
    /// There is something that is neither a scalar nor a list.
    #[doc(hidden)]
    #[inline]
    pub fn refuse(&mut self) {
        self.fits = false;
    }
    #[inline]
    pub(crate) fn scalar(&mut self, bits: u64) {
        match self.bits.get_mut(self.form.slots) {
            Some(slot) => *slot = bits,
            None => self.fits = false,
        }
        self.form.slots += 1;
    }
    #[inline]
    pub(crate) fn scalars<T: Float>(&mut self, all: &[T]) {
        let n = self.form.slots;
        match self.bits.get_mut(n..n + all.len()) {
            Some(slots) => slots.iter_mut().zip(all).for_each(|(slot, x)| *slot = x.bits()),
            None => self.fits = false,
        }
        self.form.slots += all.len();
    }
    #[inline]
    pub(crate) fn list<T: Float>(&mut self, x: &'a [T]) {
        match self.bits.get_mut(self.form.slots..self.form.slots + 2) {
            Some(slots) => slots.copy_from_slice(&[x.as_ptr() as u64, x.len() as u64]),
            None => self.fits = false,
        }
        self.form.list(T::DTYPE);
    }
    /// Adds directions after the arguments: one for each of these, in ascending order, and as long as it is. Whether they are.
    pub(crate) fn add_directions(&mut self, of: &[usize], given: &Slots<'a>) -> bool {
        let (Some((own, form)), Some((bits, like))) = (self.filled(), given.filled()) else { return false };
        let (mut k, mut slot, mut at) = (0, 0, 0);
        let wide = |form: Form, slot| if form.list_at(slot).is_some() { 2 } else { 1 };
        for &argument in of {
            while k < argument && slot < form.slots {
                slot += wide(form, slot);
                k += 1;
            }
            let list = form.list_at(slot);
            if k != argument || slot >= form.slots || at >= like.slots || list != like.list_at(at) {
                return false;
            }
            if list.is_some() && own[slot + 1] != bits[at + 1] {
                return false;
            }
            at += wide(like, at);
        }
        let n = form.slots;
        let Some(free) = self.bits.get_mut(n..n + bits.len()).filter(|_| at == like.slots) else { return false };
        free.copy_from_slice(bits);
        self.form.lists |= like.lists << n;
        self.form.single |= like.single << n;
        self.form.slots += like.slots;
        true
    }
    /// All arguments, if they are few, and scalars or lists; and which is what.
    #[inline]
    pub(crate) fn filled(&self) -> Option<(&[u64], Form)> {
        if self.fits { Some((self.bits.get(..self.form.slots)?, self.form)) } else { None }
    }
    /// All arguments, if they are few and scalars.
    #[inline]
    pub(crate) fn scalars_only(&self) -> Option<&[u64]> {
        if self.form.lists == 0 { Some(self.filled()?.0) } else { None }
    }
}

/// Results on the stack, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Results<'a> {
    bits: &'a [u64],
    form: Form,
    next: usize,
}

impl<'a> Results<'a> {
    /// Of a run that has written them.
    ///
    /// # Safety
    /// The lists among them, as the form says, are as long as they say, for `'a`.
    #[inline]
    pub(super) unsafe fn new(bits: &'a [u64], form: Form) -> Self {
        Results { bits, form, next: 0 }
    }
    /// Scalars alone.
    #[inline]
    pub fn of_scalars(bits: &'a [u64]) -> Self {
        Results { bits, form: Form::default(), next: 0 }
    }
    /// Whether the next one is a list, and of which elements.
    #[inline]
    pub fn is_list(&self) -> Option<DType> {
        self.form.list_at(self.next)
    }
    /// Goes on where another reader of the same results has come to.
    #[inline]
    pub fn skip_to(&mut self, other: Results<'_>) {
        self.next = other.next;
    }
    /// The next slot, if there is one.
    #[inline]
    pub fn scalar(&mut self) -> Option<u64> {
        self.next += 1;
        self.bits.get(self.next - 1).copied()
    }
    /// The next slots, if there are so many.
    #[inline]
    pub fn scalars<const N: usize>(&mut self) -> Option<&'a [u64; N]> {
        let all = self.bits.get(self.next..).and_then(<[u64]>::first_chunk)?;
        self.next += N;
        Some(all)
    }
    /// The next list; nothing if it is none of such elements.
    pub fn list<T: Float>(&mut self) -> &'a [T] {
        if self.is_list() != Some(T::DTYPE) {
            return &[];
        }
        let Some(&[at, len]) = self.bits.get(self.next..).and_then(<[u64]>::first_chunk::<2>) else { return &[] };
        self.next += 2;
        if len == 0 {
            return &[];
        }
        // SAFETY: it is a list of such elements, which lives for 'a.
        unsafe { std::slice::from_raw_parts(at as *const T, len as usize) }
    }
}
