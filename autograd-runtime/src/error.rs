//! Everything that can go wrong, as one enum: each message names the operation, what was expected and
//! what was found. Library code returns these and never panics on a user's data; the operators of
//! tensors used outside an entry point are the documented exception.

use crate::ty::DType;
use std::{fmt, panic::Location};

/// The result of every fallible call of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
///
/// ```
/// use autograd_runtime::{Error, Tensor};
/// let (a, b) = (Tensor::<f32>::ones(&[2, 3]), Tensor::<f32>::ones(&[4]));
/// let err: Error = autograd_runtime::try_eval(|| &a + &b).unwrap_err();
/// assert!(err.to_string().contains("add: expected shapes that broadcast, found [2, 3] and [4]"));
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shapes that an operation cannot take.
    #[error("{op}: expected {expected}, found {found}{}", at(.place))]
    Shape {
        /// The operation.
        op: String,
        /// What it takes.
        expected: String,
        /// What it was given.
        found: String,
        /// Where it was called.
        place: Option<Place>,
    },
    /// Element types that an operation cannot take.
    #[error("{op}: expected dtype {expected}, found {found}{}", at(.place))]
    DType {
        /// The operation.
        op: String,
        /// What it takes.
        expected: String,
        /// What it was given.
        found: DType,
        /// Where it was called.
        place: Option<Place>,
    },
    /// A value (an index, a dim, an option) outside what an operation takes.
    #[error("{op}: {message}{}", at(.place))]
    Value {
        /// The operation.
        op: String,
        /// What is wrong, expected against found.
        message: String,
        /// Where it was called.
        place: Option<Place>,
    },
    /// The operation has no derivative rule.
    #[error("the derivative for '{op}' is not implemented")]
    NoDerivative {
        /// The operation.
        op: String,
    },
    /// Wrong use of the dynamic engine's tape or of an entry point.
    #[error("{0}")]
    Autograd(String),
    /// A function that the compiled engine was asked for cannot be staged.
    #[error("{function} cannot be compiled: {reason}")]
    NotCompilable {
        /// The annotated function.
        function: String,
        /// Where and why.
        reason: String,
    },
    /// The annotated function panicked, as it does where it is called by itself: an index that is out of range, an `assert!`.
    #[error("{function} panicked: {message}")]
    Panicked {
        /// The function.
        function: String,
        /// What it said.
        message: String,
    },
    /// The code generator refused a program.
    #[error("code generation failed: {0}")]
    Compile(String),
    /// Text that is not a graph.
    #[error("line {line}: {message}")]
    Parse {
        /// One-based line of the text.
        line: usize,
        /// Expected against found.
        message: String,
    },
}

/// A place in the user's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place(&'static Location<'static>);

impl Place {
    /// The place that called the function this is called in, through `#[track_caller]`.
    #[track_caller]
    pub fn caller() -> Self {
        Place(Location::caller())
    }
}

/// The places that operations carry as attributes: as many as there are such lines in the source.
static NUMBERED: parking_lot::Mutex<Vec<Place>> = parking_lot::Mutex::new(Vec::new());

impl Place {
    /// The number of this place, the same for equal places.
    pub(crate) fn number(self) -> i64 {
        let mut all = NUMBERED.lock();
        let at = all.iter().position(|&p| p == self).unwrap_or_else(|| {
            all.push(self);
            all.len() - 1
        });
        at as i64
    }
    /// The place of a number.
    pub(crate) fn numbered(n: i64) -> Option<Place> {
        NUMBERED.lock().get(usize::try_from(n).ok()?).copied()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.0.file(), self.0.line(), self.0.column())
    }
}

fn at(place: &Option<Place>) -> String {
    place.map_or_else(String::new, |p| format!(" (at {p})"))
}

impl Error {
    pub(crate) fn shape(op: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Error::Shape { op: op.into(), expected: expected.into(), found: found.into(), place: None }
    }
    pub(crate) fn dtype(op: impl Into<String>, expected: impl Into<String>, found: DType) -> Self {
        Error::DType { op: op.into(), expected: expected.into(), found, place: None }
    }
    pub(crate) fn value(op: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Value { op: op.into(), message: message.into(), place: None }
    }
    /// The same error with the place where the operation was called, unless it has one already.
    pub(crate) fn at(mut self, here: Place) -> Self {
        if let Error::Shape { place, .. } | Error::DType { place, .. } | Error::Value { place, .. } = &mut self {
            place.get_or_insert(here);
        }
        self
    }
}
