//! The operations with other shapes and options than the file has: scalars, nothing, broadcasting, negative dims, every
//! option. There are no values of PyTorch's here; the tape's gradient is held against differences, and its values, first
//! and second derivatives become a case that every engine must reproduce.

use crate::{
    format::{Case, First, Given, Second},
    run, table,
};
use autograd::{Tensor, grad, try_eval, ty::DType};

/// An operation, its options, and its inputs: `f` normal numbers, `p` positive ones, `g` numbers far apart, `u` between −1
/// and 1, `s` a well-conditioned symmetric positive-definite matrix, `m` a well-conditioned one, `b` truth values, `i` and
/// a number: integers below it. Inputs with `*` are differentiated.
type Row = (&'static str, &'static str, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("powi", r#"{"n":1}"#, &["*f[3]"]),
    ("powi", r#"{"n":-1}"#, &["*p[3]"]),
    ("powf", r#"{"p":-1.5}"#, &["*p[2,2]"]),
    ("powf", r#"{"p":2.0}"#, &["*f[2,0]"]),
    ("clamp", r#"{"min":-0.5}"#, &["*f[7]"]),
    ("clamp", r#"{"min":null,"max":0.25}"#, &["*f[7]"]),
    ("elu", r#"{"alpha":0.4}"#, &["*f[7]"]),
    ("leaky_relu", r#"{"slope":0.3}"#, &["*f[]"]),
    ("add", "{}", &["*f[4,0]", "*f[4,1]"]),
    ("mul", "{}", &["*f[]", "*f[]"]),
    ("hypot", "{}", &["*f[2,1,3]", "*f[]"]),
    ("pow", "{}", &["*p[2,1]", "*f[1,3]"]),
    ("select", "{}", &["b[2,1]", "*f[3]", "*f[]"]),
    ("sum", r#"{"dims":[],"keepdim":true}"#, &["*f[2,3]"]),
    ("sum", r#"{"dims":[-2,0],"keepdim":true}"#, &["*f[2,3,2]"]),
    ("sum", r#"{"dims":[0]}"#, &["*f[]"]),
    ("sum", r#"{"dims":[1]}"#, &["*f[3,0,2]"]),
    ("mean", r#"{"dims":null,"keepdim":true}"#, &["*f[2,3]"]),
    ("var", r#"{"dims":[-1,0],"correction":2,"keepdim":false}"#, &["*f[2,3,2]"]),
    ("var", r#"{"dims":null,"correction":0}"#, &["*f[4]"]),
    ("std", r#"{"dims":[-1],"keepdim":true}"#, &["*f[2,5]"]),
    ("max", r#"{"dims":[0,-1],"keepdim":true}"#, &["*g[2,3,2]"]),
    ("min", r#"{"dims":null}"#, &["*g[]"]),
    ("logsumexp", r#"{"dims":null,"keepdim":true}"#, &["*f[2,2]"]),
    ("norm", r#"{"dims":[0],"p":"inf"}"#, &["*g[3,2]"]),
    ("norm", r#"{"dims":[0],"p":"-inf","keepdim":true}"#, &["*g[3,2]"]),
    ("norm", r#"{"dims":null,"p":0.5}"#, &["*f[3,2]"]),
    ("norm", r#"{"dims":[-1],"p":4}"#, &["*f[3,2]"]),
    ("norm", r#"{"p":2.0,"dims":[0]}"#, &["*f[]"]),
    ("norm", r#"{"p":0.0,"dims":[1]}"#, &["*f[2,3]"]),
    ("prod", r#"{"dim":null}"#, &["*f[2,3]"]),
    ("prod", r#"{"dim":0,"keepdim":true}"#, &["*f[3,2]"]),
    ("prod", r#"{"dim":0}"#, &["*f[0,2]"]),
    ("prod", r#"{"dim":-1}"#, &["*f[]"]),
    ("softmax", r#"{"dim":0}"#, &["*f[]"]),
    ("softmax", r#"{"dim":1}"#, &["*f[2,0]"]),
    ("log_softmax", r#"{"dim":-3}"#, &["*f[2,3,1]"]),
    ("cumsum", r#"{"dim":0}"#, &["*f[]"]),
    ("cumsum", r#"{"dim":1}"#, &["*f[2,0,3]"]),
    ("cumprod", r#"{"dim":-2}"#, &["*f[3,1]"]),
    ("logcumsumexp", r#"{"dim":-1}"#, &["*f[]"]),
    ("logcumsumexp", r#"{"dim":0}"#, &["*f[1,4]"]),
    ("argmax", r#"{"dim":null}"#, &["g[2,3]"]),
    ("argmin", r#"{"dim":-1,"keepdim":true}"#, &["g[2,3]"]),
    ("argmax", r#"{"dim":0}"#, &["g[]"]),
    ("sort", r#"{"dim":0}"#, &["*g[]"]),
    ("sort", r#"{"dim":-2,"descending":true}"#, &["*g[3,2]"]),
    ("topk", r#"{"dim":-1,"k":0}"#, &["*g[2,3]"]),
    ("topk", r#"{"dim":0,"k":3,"largest":false}"#, &["*g[3,2]"]),
    ("flip", r#"{"dims":[0,-1]}"#, &["*f[2,3,2]"]),
    ("flip", r#"{"dims":[]}"#, &["*f[2]"]),
    ("reshape", r#"{"shape":[3,-1]}"#, &["*f[2,3]"]),
    ("reshape", r#"{"shape":[]}"#, &["*f[1,1]"]),
    ("permute", r#"{"dims":[-1,0]}"#, &["*f[2,3]"]),
    ("transpose", r#"{"dim0":-1,"dim1":0}"#, &["*f[]"]),
    ("broadcast_to", r#"{"shape":[2,-1,3]}"#, &["*f[4,1]"]),
    ("squeeze", r#"{"dim":null}"#, &["*f[1,2,1]"]),
    ("squeeze", r#"{"dim":[0,1]}"#, &["*f[1,2,1]"]),
    ("unsqueeze", r#"{"dim":-1}"#, &["*f[]"]),
    ("squeeze", r#"{"dim":-1}"#, &["*f[]"]),
    ("permute", r#"{"dims":[]}"#, &["*f[]"]),
    ("slice", r#"{"dim":-1,"start":-3,"end":-1,"step":1}"#, &["*f[2,4]"]),
    ("slice", r#"{"dim":0,"start":3,"end":1,"step":2}"#, &["*f[4]"]),
    ("index", r#"{"dim":-2,"index":-1}"#, &["*f[3,2]"]),
    ("index_select", r#"{"dim":-1}"#, &["*f[2,4]", "i4[6]"]),
    ("index_select", r#"{"dim":0}"#, &["*f[2,4]", "i2[0]"]),
    ("gather", r#"{"dim":-1}"#, &["*f[3,4]", "i4[2,6]"]),
    ("gather", r#"{"dim":0}"#, &["*f[3,2]", "i3[0,2]"]),
    ("scatter_add", r#"{"dim":0}"#, &["*f[3,4]", "i3[5,2]", "*f[5,3]"]),
    ("scatter_add", r#"{"dim":-1}"#, &["*f[2,3]", "i3[0,2]", "*f[1,2]"]),
    ("concat", r#"{"dim":-1}"#, &["*f[2,0]", "*f[2,3]"]),
    ("concat", r#"{"dim":0}"#, &["*f[3]"]),
    ("stack", r#"{"dim":-1}"#, &["*f[]", "*f[]", "*f[]"]),
    ("pad", r#"{"pads":[[2,0]],"value":-1.0}"#, &["*f[2,3]"]),
    ("pad", r#"{"pads":[[0,0],[-1,-1]]}"#, &["*f[2,3]"]),
    ("tile", r#"{"reps":[2]}"#, &["*f[2,3]"]),
    ("tile", r#"{"reps":[2,0,1]}"#, &["*f[2,3]"]),
    ("tile", r#"{"reps":[]}"#, &["*f[]"]),
    ("diag", r#"{"k":2}"#, &["*f[3]"]),
    ("diag", r#"{"k":-1}"#, &["*f[4,2]"]),
    ("diag", r#"{"k":5}"#, &["*f[4,2]"]),
    ("tril", r#"{"k":-1}"#, &["*f[2,3,2]"]),
    ("triu", r#"{"k":-7}"#, &["*f[3,4]"]),
    ("triu", r#"{"k":9}"#, &["*f[3,4]"]),
    ("roll", r#"{"shift":-7,"dim":null}"#, &["*f[2,3]"]),
    ("roll", r#"{"shift":[1,-2],"dims":[0,1]}"#, &["*f[2,3]"]),
    ("roll", r#"{"shift":3,"dim":0}"#, &["*f[0,2]"]),
    ("matmul", "{}", &["*f[2,0]", "*f[0,3]"]),
    ("matmul", "{}", &["*f[0,3]", "*f[3]"]),
    ("matmul", "{}", &["*f[2,1,3,2]", "*f[2]"]),
    ("matmul", "{}", &["*f[3]", "*f[4,3,2]"]),
    ("dot", "{}", &["*f[0]", "*f[0]"]),
    ("outer", "{}", &["*f[2]", "*f[0]"]),
    ("einsum", r#"{"equation":"ij"}"#, &["*f[2,3]"]),
    ("einsum", r#"{"equation":"ba"}"#, &["*f[2,3]"]),
    ("einsum", r#"{"equation":"ii->i"}"#, &["*f[3,3]"]),
    ("einsum", r#"{"equation":"i,i"}"#, &["*f[3]", "*f[3]"]),
    ("einsum", r#"{"equation":"ij,ij->"}"#, &["*f[2,3]", "*f[2,3]"]),
    ("einsum", r#"{"equation":"ij,kj->ik"}"#, &["*f[2,3]", "*f[4,3]"]),
    ("einsum", r#"{"equation":"...ij,...jk->...ik"}"#, &["*f[2,1,2,3]", "*f[4,3,2]"]),
    ("einsum", r#"{"equation":"bi,oij,bj->bo"}"#, &["*f[2,3]", "*f[4,3,2]", "*f[2,2]"]),
    ("einsum", r#"{"equation":"ij->"}"#, &["*f[2,0]"]),
    ("einsum", r#"{"equation":"i...->..."}"#, &["*f[2,3,2]"]),
    ("einsum", r#"{"equation":" iij , jk -> k i "}"#, &["*f[2,2,3]", "*f[3,1]"]),
    ("inv", "{}", &["*m[2,3,3]"]),
    ("inv", "{}", &["*m[0,0]"]),
    ("inv", "{}", &["*m[1,1]"]),
    ("det", "{}", &["*m[2,1,2,2]"]),
    ("det", "{}", &["*m[0,0]"]),
    ("det", "{}", &["*m[1,1]"]),
    ("logabsdet", "{}", &["*m[2,5,5]"]),
    ("solve", "{}", &["*m[2,3,3]", "*f[3,2]"]),
    ("solve", "{}", &["*m[2,3,3]", "*f[2,3]"]),
    ("solve", "{}", &["*m[3,3]", "*f[3,0]"]),
    ("cholesky", r#"{"symmetrize":true}"#, &["*s[2,3,3]"]),
    ("cholesky", r#"{"symmetrize":false,"upper":true}"#, &["*s[1,1]"]),
    ("solve_triangular", r#"{"upper":true,"unitriangular":true}"#, &["*m[3,3]", "*f[2,3,2]"]),
    ("solve_triangular", r#"{"upper":true,"left":false}"#, &["*m[3,3]", "*f[2,3]"]),
    ("solve_triangular", r#"{"upper":false,"transpose":true}"#, &["*m[3,3]", "*f[3,1]"]),
    ("eigvalsh", r#"{"symmetrize":true}"#, &["*s[2,3,3]"]),
    ("trace", "{}", &["*f[2,4]"]),
    ("trace", "{}", &["*f[0,4]"]),
    ("conv2d", r#"{"stride":[2,1],"padding":[0,2],"dilation":[1,2],"groups":2}"#, &["*f[1,4,5,4]", "*f[2,2,2,3]"]),
    ("conv2d", "{}", &["*f[2,3,3]", "*f[1,2,1,1]", "*f[1]"]),
    ("conv2d", "{}", &["*f[0,2,3,3]", "*f[1,2,2,2]", "*f[1]"]),
    ("conv1d", r#"{"stride":3,"padding":2,"groups":3}"#, &["*f[2,3,7]", "*f[3,1,2]", "*f[3]"]),
    ("max_pool2d", r#"{"kernel":[2,3],"stride":null,"padding":[1,1]}"#, &["*g[1,1,5,6]"]),
    ("max_pool2d", r#"{"kernel":2,"stride":2,"padding":0,"dilation":2,"ceil_mode":true}"#, &["*g[2,6,6]"]),
    ("avg_pool2d", r#"{"kernel":3,"stride":2,"padding":1,"count_include_pad":false}"#, &["*f[1,1,6,5]"]),
    ("avg_pool2d", r#"{"kernel":[3,2],"stride":2,"padding":[1,0],"ceil_mode":true}"#, &["*f[1,2,6,5]"]),
    ("linear", "{}", &["*f[2,3,4]", "*f[5,4]"]),
    ("linear", "{}", &["*f[4]", "*f[5,4]", "*f[5]"]),
    ("layer_norm", r#"{"normalized_shape":[3,2],"eps":0.001}"#, &["*f[2,3,2]", "*f[3,2]"]),
    ("layer_norm", r#"{"normalized_shape":[5]}"#, &["*f[3,5]"]),
    ("batch_norm", r#"{"training":true,"eps":0.001}"#, &["*f[2,3,2]", "*f[3]", "*f[3]"]),
    ("batch_norm", r#"{"training":false}"#, &["*f[2,3]", "*f[3]", "*p[3]", "*f[3]", "*f[3]"]),
    ("embedding", "{}", &["*f[3,2]", "i3[]"]),
    ("embedding", r#"{"padding_idx":-1}"#, &["*f[3,2]", "i2[2,2]"]),
    ("cross_entropy", r#"{"reduction":"none","label_smoothing":0.1}"#, &["*f[2,3,2]", "i3[2,2]"]),
    ("cross_entropy", r#"{"reduction":"sum","ignore_index":1}"#, &["*f[4,3]", "i3[4]", "p[3]"]),
    ("cross_entropy", r#"{"reduction":"mean"}"#, &["*f[3]", "i3[]"]),
    ("cross_entropy", r#"{"reduction":"mean","label_smoothing":0.1}"#, &["*f[2,3]", "*p[2,3]"]),
    ("nll_loss", r#"{"reduction":"sum","from":"log_softmax"}"#, &["*f[2,3,2]", "i3[2,2]"]),
    ("mse_loss", r#"{"reduction":"none"}"#, &["*f[2,3]", "*f[3]"]),
    ("l1_loss", r#"{"reduction":"sum"}"#, &["*f[2,3]", "*f[2,3]"]),
    ("huber_loss", r#"{"reduction":"none","delta":0.3}"#, &["*f[2,3]", "*f[2,3]"]),
    ("bce_with_logits", r#"{"reduction":"sum"}"#, &["*f[2,3]", "*p[2,3]"]),
    ("kl_div", r#"{"reduction":"sum"}"#, &["*f[2,3]", "*p[2,3]"]),
    ("kl_div", r#"{"reduction":"mean","log_target":true}"#, &["*f[2,3]", "*f[2,3]"]),
    ("scaled_dot_product_attention", r#"{"scale":0.5}"#, &["*f[2,3,4]", "*f[5,4]", "*f[5,2]", "b[3,5]"]),
    ("scaled_dot_product_attention", r#"{"causal":true}"#, &["*f[3,4]", "*f[5,4]", "*f[5,2]"]),
    ("scaled_dot_product_attention", "{}", &["*f[1,3,4]", "*f[2,5,4]", "*f[2,5,1]", "*f[3,5]"]),
    ("softplus", r#"{"beta":2.5,"threshold":1.5}"#, &["*f[7]"]),
    ("softplus", r#"{"beta":-0.5}"#, &["*f[2,2]"]),
    ("conv1d", r#"{"padding":"same","dilation":3}"#, &["*f[2,2,5]", "*f[3,2,2]"]),
    ("conv2d", r#"{"padding":"same"}"#, &["*f[2,4,3]", "*f[1,2,4,3]", "*f[1]"]),
    ("conv2d", r#"{"padding":"valid"}"#, &["*f[2,4,3]", "*f[1,2,4,3]"]),
];

/// What a method must refuse, in both engines alike, naming itself.
const REFUSED: &[Row] = &[
    ("sum", r#"{"dims":[0,-2]}"#, &["f[2,3]"]),
    ("sum", r#"{"dims":[2]}"#, &["f[2,3]"]),
    ("max", r#"{"dims":null}"#, &["f[0]"]),
    ("argmax", r#"{"dim":1}"#, &["f[2,0]"]),
    ("topk", r#"{"dim":0,"k":4}"#, &["f[3]"]),
    ("cumsum", r#"{"dim":2}"#, &["f[2,3]"]),
    ("reshape", r#"{"shape":[4]}"#, &["f[2,3]"]),
    ("broadcast_to", r#"{"shape":[2,2]}"#, &["f[2,3]"]),
    ("index", r#"{"dim":0,"index":2}"#, &["f[2,3]"]),
    ("index_select", r#"{"dim":0}"#, &["f[2,3]", "i9[40]"]),
    ("gather", r#"{"dim":0}"#, &["f[2,3]", "i9[9,3]"]),
    ("scatter_add", r#"{"dim":0}"#, &["f[2,3]", "i9[9,3]", "f[9,3]"]),
    ("scatter_add", r#"{"dim":0}"#, &["f[2,3]", "i2[2,3]", "f[1,3]"]),
    ("pad", r#"{"pads":[[-3,0]]}"#, &["f[2]"]),
    ("diag", "{}", &["f[2,2,2]"]),
    ("roll", r#"{"shift":[1,2],"dims":[0]}"#, &["f[2]"]),
    ("dot", "{}", &["f[2]", "f[3]"]),
    ("einsum", r#"{"equation":"ij,jk->ik"}"#, &["f[2,3]", "f[2,3]"]),
    ("einsum", r#"{"equation":"ij->ik"}"#, &["f[2,3]"]),
    ("einsum", r#"{"equation":"i->"}"#, &["f[2,3]"]),
    ("inv", "{}", &["f[2,3]"]),
    ("det", "{}", &["f[3]"]),
    ("solve", "{}", &["m[3,3]", "f[2]"]),
    ("cholesky", "{}", &["f[3,2]"]),
    ("conv2d", r#"{"groups":2}"#, &["f[1,3,4,4]", "f[2,1,2,2]"]),
    ("layer_norm", r#"{"normalized_shape":[3]}"#, &["f[3,2]"]),
    ("batch_norm", r#"{"training":true}"#, &["f[1,3]"]),
    ("embedding", "{}", &["f[2,3]", "i9[40]"]),
    ("cross_entropy", "{}", &["f[2,3]", "i3[3]"]),
    ("linear", "{}", &["f[2,3]", "f[2,2]"]),
    ("trace", "{}", &["f[2]"]),
];

struct Numbers(u64);
impl Numbers {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
    fn normal(&mut self) -> f64 {
        (0..4).map(|_| self.unit()).sum::<f64>() * 1.7 - 3.4
    }
    fn given(&mut self, text: &str) -> Given {
        let (grad, text) = text.strip_prefix('*').map_or((false, text), |t| (true, t));
        let (kind, shape) = text.split_once('[').expect("a shape");
        let shape: Vec<usize> = shape
            .trim_end_matches(']')
            .split(',')
            .filter(|s| !s.is_empty())
            .map(|s| s.parse().expect("an extent"))
            .collect();
        let n: usize = shape.iter().product();
        let side = shape.last().copied().unwrap_or(1).max(1);
        let mut order: Vec<f64> = (0..n).map(|i| i as f64 * 0.375 - 1.0).collect();
        (1..n).rev().for_each(|i| order.swap(i, (self.unit() * (i + 1) as f64) as usize));
        let mut data: Vec<f64> = (0..n)
            .map(|i| {
                let (row, column) = (i / side % side, i % side);
                // f32 holds all of them, so that both element types see the same numbers
                let x = match kind {
                    "f" => self.normal(),
                    "p" => 0.2 + self.unit() * 2.0,
                    "u" => self.unit() * 1.8 - 0.9,
                    "g" => order[i],
                    "m" | "s" => self.normal() * 0.2 + if row == column { 2.0 + row as f64 } else { 0.0 },
                    "b" => (self.unit() * 2.0).floor(),
                    i => (self.unit() * i[1..].parse::<f64>().expect("a bound")).floor(),
                };
                f64::from(x as f32)
            })
            .collect();
        if kind == "s" {
            for m in data.chunks_exact_mut(side * side) {
                for (i, j) in (0..side).flat_map(|i| (0..i).map(move |j| (i, j))) {
                    m[i * side + j] = m[j * side + i];
                }
            }
        }
        let dtype = match kind {
            "b" => DType::Bool,
            k if k.starts_with('i') => DType::I64,
            _ => DType::F64,
        };
        Given { shape, dtype, data, grad }
    }
    fn like(&mut self, g: &Given) -> Given {
        Given { data: g.data.iter().map(|_| f64::from(self.normal() as f32)).collect(), grad: false, ..g.clone() }
    }
}

/// The operation on inputs, and the differentiated ones of them on the tape.
fn call(op: &str, options: &str, inputs: &[Given]) -> Result<(Tensor<f64>, Vec<Tensor<f64>>), String> {
    let of = |d: DType| inputs.iter().filter(move |g| g.dtype == d);
    let f: Vec<Tensor<f64>> =
        of(DType::F64).map(|g| Tensor::from_vec(g.data.clone(), &g.shape).requires_grad_(g.grad)).collect();
    let whole = |g: &Given| Tensor::from_vec(g.data.iter().map(|&x| x as i64).collect(), &g.shape);
    let i: Vec<Tensor<i64>> = of(DType::I64).map(whole).collect();
    let b: Vec<Tensor<bool>> = of(DType::Bool).map(|g| whole(g).to::<bool>()).collect();
    match try_eval(|| table::call(op, options, &f, &i, &b)) {
        Ok(y) => Ok((y?, f.into_iter().filter(Tensor::requires_grad).collect())),
        Err(e) => Err(e.to_string()),
    }
}
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
fn from(t: &Tensor<f64>) -> Given {
    Given { shape: t.shape().to_vec(), dtype: DType::F64, data: t.to_vec(), grad: false }
}

/// The case that the tape makes of a row, its first derivative held against differences.
fn case(row: &Row, id: String) -> Result<Case, String> {
    let (op, options, inputs) = *row;
    let mut numbers = Numbers(id.bytes().fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b))));
    let inputs: Vec<Given> = inputs.iter().map(|t| numbers.given(t)).collect();
    let (y, leaves) = call(op, options, &inputs)?;
    let output = from(&y);
    let ct = numbers.like(&output);
    let direction: Vec<Option<Given>> = inputs.iter().map(|g| g.grad.then(|| numbers.like(g))).collect();
    let failed = |e: autograd::Error| e.to_string();
    let gradient = |y: &Tensor<f64>, ct: Option<&Tensor<f64>>| -> Result<Vec<Tensor<f64>>, String> {
        let zeros = |x: &Tensor<f64>| Tensor::zeros(x.shape());
        if !y.requires_grad() {
            return Ok(leaves.iter().map(zeros).collect());
        }
        let cts: Vec<Option<&Tensor<f64>>> = ct.map(Some).into_iter().collect();
        let found = grad(&[y], &leaves.iter().collect::<Vec<_>>(), &cts, true, true, true).map_err(failed)?;
        Ok(found.into_iter().zip(&leaves).map(|(g, x)| g.unwrap_or_else(|| zeros(x))).collect())
    };
    let grads = gradient(&y, Some(&Tensor::from_vec(ct.data.clone(), &ct.shape)))?;
    let along: Vec<&Given> = direction.iter().flatten().collect();
    // against differences
    let at = |h: f64| -> Result<f64, String> {
        let mut moved = inputs.clone();
        for (g, d) in moved.iter_mut().zip(&direction).filter_map(|(g, d)| d.as_ref().map(|d| (g, d))) {
            g.data.iter_mut().zip(&d.data).for_each(|(x, d)| *x += h * d);
        }
        Ok(dot(&call(op, options, &moved)?.0.to_vec(), &ct.data))
    };
    let central = |h: f64| Ok::<_, String>((at(h)? - at(-h)?) / (2.0 * h));
    let slope = (4.0 * central(5e-5)? - central(1e-4)?) / 3.0;
    let total: f64 = grads.iter().zip(&along).map(|(g, d)| dot(&g.to_vec(), &d.data)).sum();
    let piecewise =
        ["argmax", "argmin"].contains(&op) || options.contains(r#""p":0.0"#) || options.contains("padding_idx");
    if !piecewise && (total - slope).abs() > 1e-6 * (1.0 + total.abs().max(slope.abs())) {
        return Err(format!("gradient: {total} against differences: {slope}"));
    }
    let mut g = Tensor::<f64>::scalar(0.0);
    for (grad, d) in grads.iter().zip(&along) {
        g += (grad * Tensor::from_vec(d.data.clone(), &d.shape)).sum();
    }
    let second = gradient(&g, None)?;
    // back to one of each input
    let spread = |t: &[Tensor<f64>]| {
        let mut t = t.iter();
        inputs.iter().map(|i| if i.grad { t.next().map(from) } else { None }).collect::<Vec<_>>()
    };
    let second = Some(Second { direction: direction.clone(), grads: spread(&second) });
    let first = Some(First { cotangent: ct, grads: spread(&grads), second });
    let (op, attrs) = (op.to_owned(), options.to_owned());
    Ok(Case { id, op, attrs, inputs, output, first, rtol: 1e-9, atol: 1e-10 })
}

#[test]
fn every_engine_agrees_on_other_shapes_and_options() {
    let mut errors = Vec::new();
    for (i, row) in ROWS.iter().enumerate() {
        let id = format!("{}/{} {}", row.0, i, row.1);
        match case(row, id.clone()) {
            Ok(c) => errors.extend(run::run(&c).errors.into_iter().map(|e| format!("{id}: {e}"))),
            Err(e) => errors.push(format!("{id}: {e}")),
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

/// A write to a result reaches no argument.
#[test]
fn results_own_their_elements() {
    let x = Tensor::<f64>::arange(4).reshape(&[2, 2]);
    let index = Tensor::from_vec(Vec::<i64>::new(), [0, 2]);
    let results = [
        x.roll(&[0], &[]),
        x.roll(&[2], &[0]),
        x.pad(&[(0, 0), (0, 0)], 0.0),
        x.pad(&[(-1, 0), (0, 0)], 0.0),
        x.tile(&[1]),
        x.flip(&[]),
        x.diag(0),
        x.prod_dim(0, false),
        x.scatter(0, &index, &x),
        Tensor::einsum("ij->ij", &[&x]),
        Tensor::einsum("ij->ji", &[&x]),
        x.cumsum(0),
        x.sum_dim(&[], false),
    ];
    for y in &results {
        autograd::no_grad(|| y.index_put_(autograd::Rest, -9.0));
    }
    assert_eq!(x.to_vec(), [0.0, 1.0, 2.0, 3.0]);
}

#[test]
fn what_does_not_fit_is_an_error_that_names_the_operation() {
    for (op, options, inputs) in REFUSED {
        let mut numbers = Numbers(3);
        let inputs: Vec<Given> = inputs.iter().map(|t| numbers.given(t)).collect();
        let e = call(op, options, &inputs).map(|y| y.0.to_vec()).expect_err(op);
        assert!(e.contains("expected") || e.contains("cannot"), "{op} {options}: {e}");
        let compiled = run::refused(op, options, &inputs);
        assert!(compiled.contains("expected"), "{op} {options}, compiled: {compiled}");
    }
}
