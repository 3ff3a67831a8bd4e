//! The options of a case, read by name. One that nobody reads is an error: a case that is run without it proves nothing.

use serde_json::{Map, Value as Json};
use std::{cell::RefCell, collections::BTreeSet};

type Result<T> = std::result::Result<T, String>;

pub(crate) struct Options {
    all: Map<String, Json>,
    read: RefCell<BTreeSet<String>>,
}

impl Options {
    pub(crate) fn parse(text: &str) -> Result<Options> {
        let all = serde_json::from_str(text).map_err(|e| format!("options: {e}"))?;
        Ok(Options { all, read: RefCell::default() })
    }
    /// An option that is there and is not null.
    fn get(&self, key: &str) -> Option<&Json> {
        self.read.borrow_mut().insert(key.to_owned());
        self.all.get(key).filter(|j| !j.is_null())
    }
    fn want<T>(&self, key: &str, what: &str, f: impl Fn(&Json) -> Option<T>) -> Result<Option<T>> {
        let bad = |j: &Json| format!("option {key:?}: expected {what}, found {j}");
        self.get(key).map(|j| f(j).ok_or_else(|| bad(j))).transpose()
    }
    fn needed<T>(&self, key: &str, x: Option<T>) -> Result<T> {
        x.ok_or_else(|| format!("expected an option {key:?}, found none"))
    }
    /// The names of options that nobody has read.
    pub(crate) fn unread(&self) -> Vec<&str> {
        let read = self.read.borrow();
        self.all.keys().filter(|k| !read.contains(*k)).map(String::as_str).collect()
    }

    pub(crate) fn flag(&self, key: &str) -> Result<bool> {
        self.flag_or(key, false)
    }
    pub(crate) fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.want(key, "true or false", Json::as_bool)?.unwrap_or(default))
    }
    pub(crate) fn int_or(&self, key: &str, default: i64) -> Result<i64> {
        Ok(self.maybe_int(key)?.unwrap_or(default))
    }
    pub(crate) fn int(&self, key: &str) -> Result<i64> {
        self.needed(key, self.maybe_int(key)?)
    }
    pub(crate) fn maybe_int(&self, key: &str) -> Result<Option<i64>> {
        self.want(key, "an integer", Json::as_i64)
    }
    pub(crate) fn float_or(&self, key: &str, default: f64) -> Result<f64> {
        Ok(self.maybe_float(key)?.unwrap_or(default))
    }
    pub(crate) fn maybe_float(&self, key: &str) -> Result<Option<f64>> {
        self.want(key, "a number", |j| match j.as_str() {
            Some("inf") => Some(f64::INFINITY),
            Some("-inf") => Some(f64::NEG_INFINITY),
            Some("nan") => Some(f64::NAN),
            _ => j.as_f64(),
        })
    }
    pub(crate) fn text_or(&self, key: &str, default: &str) -> Result<String> {
        Ok(self.want(key, "a string", |j| j.as_str().map(str::to_owned))?.unwrap_or_else(|| default.to_owned()))
    }
    /// An option that is a string, where it may be something else.
    pub(crate) fn named(&self, key: &str) -> Option<String> {
        self.get(key).and_then(Json::as_str).map(str::to_owned)
    }
    pub(crate) fn text(&self, key: &str) -> Result<String> {
        self.needed(key, self.want(key, "a string", |j| j.as_str().map(str::to_owned))?)
    }
    /// Integers: an array of them, or one alone.
    pub(crate) fn maybe_ints(&self, key: &str) -> Result<Option<Vec<i64>>> {
        self.want(key, "integers", |j| match j {
            Json::Array(a) => a.iter().map(Json::as_i64).collect(),
            other => other.as_i64().map(|n| vec![n]),
        })
    }
    pub(crate) fn ints(&self, key: &str) -> Result<Vec<i64>> {
        self.needed(key, self.maybe_ints(key)?)
    }
    pub(crate) fn extents(&self, key: &str) -> Result<Vec<usize>> {
        let extent = |&n: &i64| usize::try_from(n).map_err(|_| format!("option {key:?}: expected extents, found {n}"));
        self.ints(key)?.iter().map(extent).collect()
    }
    /// One number for each of `N` axes, or one for all.
    pub(crate) fn spread<const N: usize>(&self, key: &str, default: usize) -> Result<[usize; N]> {
        let Some(v) = self.maybe_ints(key)? else { return Ok([default; N]) };
        let v: Vec<usize> = v.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
        match v.len() {
            1 => Ok([v[0]; N]),
            n => v.try_into().map_err(|_| format!("option {key:?}: expected {N} numbers, found {n}")),
        }
    }
    /// Pairs of integers.
    pub(crate) fn pairs(&self, key: &str) -> Result<Vec<(i64, i64)>> {
        let pair = |j: &Json| match j.as_array().map(Vec::as_slice) {
            Some([a, b]) => Some((a.as_i64()?, b.as_i64()?)),
            _ => None,
        };
        let pairs = |j: &Json| j.as_array()?.iter().map(pair).collect();
        self.needed(key, self.want(key, "pairs of integers", pairs)?)
    }
}
