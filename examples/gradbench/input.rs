//! The inputs of functions, read from JSON, and their timed runs.

use crate::Run;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The `input` of a message.
#[derive(Clone, Copy)]
pub struct Input<'a>(pub &'a Value);

impl<'a> Input<'a> {
    fn get(self, key: &str) -> Result<&'a Value> {
        self.0.get(key).with_context(|| format!("expected a field {key:?} in the input"))
    }
    /// The field `key` as an input of its own.
    pub fn part(self, key: &str) -> Result<Input<'a>> {
        self.get(key).map(Input)
    }
    pub fn float(self, key: &str) -> Result<f64> {
        self.get(key)?.as_f64().with_context(|| format!("expected a number as {key:?}"))
    }
    pub fn integer(self, key: &str) -> Result<usize> {
        let n = self.get(key)?.as_u64().and_then(|n| usize::try_from(n).ok());
        n.with_context(|| format!("expected a natural number as {key:?}"))
    }
    /// All numbers in nested lists, row by row.
    pub fn floats(self, key: &str) -> Result<Vec<f64>> {
        let mut all = Vec::new();
        flatten(self.get(key)?, &mut all).with_context(|| format!("expected numbers in lists as {key:?}"))?;
        Ok(all)
    }
    /// As [`Input::floats`], for a matrix: its rows and columns too.
    pub fn matrix(self, key: &str) -> Result<(Vec<f64>, [usize; 2])> {
        let rows = self.get(key)?.as_array().map_or(0, Vec::len);
        let all = self.floats(key)?;
        let columns = all.len().checked_div(rows).unwrap_or(0);
        ensure!(rows * columns == all.len(), "expected rows of equal lengths as {key:?}");
        Ok((all, [rows, columns]))
    }
    pub fn integers(self, key: &str) -> Result<Vec<i64>> {
        let wrong = || format!("expected integers as {key:?}");
        let mut all = Vec::new();
        flatten(self.get(key)?, &mut all).with_context(wrong)?;
        ensure!(all.iter().all(|x| x.fract() == 0.0), wrong());
        Ok(all.into_iter().map(|x| x as i64).collect())
    }
    /// Runs a function as often and as long as the input says; the output is made of the last result.
    pub fn run<T>(self, mut f: impl FnMut() -> Result<T>, output: impl FnOnce(T) -> Value) -> Result<Run> {
        let runs = self.0["min_runs"].as_u64().unwrap_or(1).max(1);
        let enough = Duration::try_from_secs_f64(self.0["min_seconds"].as_f64().unwrap_or(0.0)).unwrap_or_default();
        let (mut nanoseconds, mut elapsed) = (Vec::new(), Duration::ZERO);
        loop {
            let start = Instant::now();
            let result = f()?;
            let took = start.elapsed();
            nanoseconds.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            elapsed += took;
            if nanoseconds.len() as u64 >= runs && elapsed >= enough {
                return Ok(Run { output: output(result), nanoseconds });
            }
        }
    }
}

fn flatten(value: &Value, all: &mut Vec<f64>) -> Result<()> {
    if let Some(list) = value.as_array() {
        return list.iter().try_for_each(|value| flatten(value, all));
    }
    all.push(value.as_f64().context("expected a number")?);
    Ok(())
}

/// A matrix as a list of its rows.
pub fn rows(all: &[f64], columns: usize) -> Value {
    if columns == 0 { Value::Array(Vec::new()) } else { all.chunks(columns).map(Value::from).collect() }
}
