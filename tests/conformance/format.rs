//! The file: lines of JSON become cases, and what is malformed an error that names the line.

use autograd::ty::DType;
use serde_json::Value as Json;

/// A tensor with its numbers as they stand in the file.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: DType,
    pub(crate) data: Vec<f64>,
    pub(crate) grad: bool,
}

/// One operation at one input.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) op: String,
    /// The options, as JSON.
    pub(crate) attrs: String,
    pub(crate) inputs: Vec<Given>,
    pub(crate) output: Given,
    pub(crate) first: Option<First>,
    pub(crate) rtol: f64,
    pub(crate) atol: f64,
}

/// Of a case that is differentiated.
#[derive(Debug)]
pub(crate) struct First {
    pub(crate) cotangent: Given,
    /// As many as inputs.
    pub(crate) grads: Vec<Option<Given>>,
    pub(crate) second: Option<Second>,
}

/// Of a case that is differentiated twice.
#[derive(Debug)]
pub(crate) struct Second {
    pub(crate) direction: Vec<Option<Given>>,
    pub(crate) grads: Vec<Option<Given>>,
}

/// The cases of a file; empty lines are left out.
pub(crate) fn read(text: &str) -> Result<Vec<Case>, String> {
    let lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
    lines.map(|(i, l)| case(l).map_err(|e| format!("line {}: {e}", i + 1))).collect()
}

fn case(line: &str) -> Result<Case, String> {
    let json: Json = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let text =
        |key: &str| field(&json, key)?.as_str().map(str::to_owned).ok_or_else(|| expected(key, "a string", &json));
    let number = |key: &str| float(field(&json, key)?);
    let inputs = list(&json, "inputs", tensor)?;
    let optional = |key: &str| -> Result<Option<Vec<Option<Given>>>, String> {
        if json.get(key).is_none_or(Json::is_null) {
            return Ok(None);
        }
        let all = list(&json, key, |j| if j.is_null() { Ok(None) } else { tensor(j).map(Some) })?;
        if all.len() != inputs.len() {
            return Err(format!("{key}: expected one of each of {} inputs, found {}", inputs.len(), all.len()));
        }
        for (g, x) in all.iter().zip(&inputs).filter_map(|(g, x)| g.as_ref().map(|g| (g, x))) {
            if g.shape != x.shape {
                return Err(format!("{key}: expected the shape {:?} of the input, found {:?}", x.shape, g.shape));
            }
        }
        Ok(Some(all))
    };
    let output = tensor(field(&json, "output")?)?;
    let first = match json.get("cotangent") {
        None | Some(Json::Null) => None,
        Some(c) => {
            let cotangent = tensor(c)?;
            if cotangent.shape != output.shape {
                return Err(format!(
                    "cotangent: expected the shape {:?} of the output, found {:?}",
                    output.shape, cotangent.shape
                ));
            }
            let grads = optional("grads")?.ok_or("expected \"grads\" beside \"cotangent\", found none")?;
            let second = match (optional("direction")?, optional("second")?) {
                (Some(direction), Some(grads)) => Some(Second { direction, grads }),
                (None, None) => None,
                _ => return Err("expected \"direction\" and \"second\" together, found one of them".into()),
            };
            Some(First { cotangent, grads, second })
        }
    };
    let attrs = match field(&json, "attrs")? {
        a @ Json::Object(_) => a.to_string(),
        other => return Err(format!("attrs: expected an object, found {other}")),
    };
    Ok(Case {
        id: text("id")?,
        op: text("op")?,
        attrs,
        inputs,
        output,
        first,
        rtol: number("rtol")?,
        atol: number("atol")?,
    })
}

fn field<'j>(json: &'j Json, key: &str) -> Result<&'j Json, String> {
    json.get(key).ok_or_else(|| format!("expected a field {key:?}, found none"))
}
fn expected(key: &str, what: &str, json: &Json) -> String {
    format!("{key}: expected {what}, found {}", json.get(key).unwrap_or(&Json::Null))
}
fn list<T>(json: &Json, key: &str, f: impl Fn(&Json) -> Result<T, String>) -> Result<Vec<T>, String> {
    let items = field(json, key)?.as_array().ok_or_else(|| expected(key, "an array", json))?;
    items.iter().map(|j| f(j).map_err(|e| format!("{key}: {e}"))).collect()
}
/// A number, or the name of one that is not finite.
fn float(json: &Json) -> Result<f64, String> {
    match json {
        Json::Number(n) => n.as_f64().ok_or_else(|| format!("expected a number that f64 holds, found {n}")),
        Json::String(s) if s == "nan" => Ok(f64::NAN),
        Json::String(s) if s == "inf" => Ok(f64::INFINITY),
        Json::String(s) if s == "-inf" => Ok(f64::NEG_INFINITY),
        other => Err(format!("expected a number, found {other}")),
    }
}
fn tensor(json: &Json) -> Result<Given, String> {
    let extent = |j: &Json| {
        j.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| format!("expected an extent, found {j}"))
    };
    let shape = list(json, "shape", extent)?;
    let dtype = match field(json, "dtype")?.as_str() {
        Some("f64") => DType::F64,
        Some("i64") => DType::I64,
        Some("bool") => DType::Bool,
        _ => return Err(expected("dtype", "f64, i64 or bool", json)),
    };
    let element = |j: &Json| match (dtype, j) {
        (DType::Bool, Json::Bool(b)) => Ok(f64::from(u8::from(*b))),
        (DType::I64, Json::Number(n)) if n.is_i64() => float(j),
        (DType::F64, _) => float(j),
        (_, other) => Err(format!("expected an element of {dtype}, found {other}")),
    };
    let data = list(json, "data", element)?;
    let n = shape.iter().try_fold(1usize, |n, &k| n.checked_mul(k));
    if n != Some(data.len()) {
        return Err(format!(
            "data: expected {} elements for shape {shape:?}, found {}",
            n.unwrap_or(usize::MAX),
            data.len()
        ));
    }
    let grad = match json.get("grad") {
        None => false,
        Some(g) => g.as_bool().ok_or_else(|| expected("grad", "true or false", json))?,
    };
    if grad && dtype != DType::F64 {
        return Err(format!("grad: expected a differentiated input of f64, found {dtype}"));
    }
    Ok(Given { shape, dtype, data, grad })
}
