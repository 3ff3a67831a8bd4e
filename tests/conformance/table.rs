//! The operations of the file: a name and options become a method of tensors.

use crate::options::Options;
use autograd::{
    AttentionOptions, ConvOptions, CrossEntropyOptions, Float, Padding, PoolOptions, Reduction, Scalar, Tensor,
    TriangularOptions,
};

type Result<T> = std::result::Result<T, String>;

/// What an operation is called with: inputs by type, in the order of the file.
struct Call<'a, T: Float> {
    floats: &'a [Tensor<T>],
    ints: &'a [Tensor<i64>],
    bools: &'a [Tensor<bool>],
    o: &'a Options,
}

fn nth<'a, T>(all: &'a [T], k: usize, what: &str) -> Result<&'a T> {
    all.get(k).ok_or_else(|| format!("expected at least {} inputs of {what}, found {}", k + 1, all.len()))
}

impl<T: Float + Scalar<T>> Call<'_, T> {
    fn x(&self) -> Result<&Tensor<T>> {
        self.f(0)
    }
    fn f(&self, k: usize) -> Result<&Tensor<T>> {
        nth(self.floats, k, "floats")
    }
    fn i(&self) -> Result<&Tensor<i64>> {
        nth(self.ints, 0, "integers")
    }
    /// Dims to reduce; null is all of them, as the empty list.
    fn dims(&self) -> Result<Vec<i64>> {
        match (self.o.maybe_ints("dims")?, self.o.maybe_ints("dim")?) {
            (Some(_), Some(_)) => Err("expected one of \"dims\" and \"dim\", found both".into()),
            (a, b) => Ok(a.or(b).unwrap_or_default()),
        }
    }
    fn dim(&self) -> Result<i64> {
        self.o.int("dim")
    }
    /// One dim, or all elements as one axis.
    fn line(&self) -> Result<(Tensor<T>, i64)> {
        let x = self.x()?;
        Ok(match self.o.maybe_int("dim")? {
            Some(d) => (x.clone(), d),
            None => (x.reshape(&[-1]), 0),
        })
    }
    fn keep(&self) -> Result<bool> {
        self.o.flag("keepdim")
    }
    fn reduction(&self) -> Result<Reduction> {
        match self.o.text_or("reduction", "mean")?.as_str() {
            "mean" => Ok(Reduction::Mean),
            "sum" => Ok(Reduction::Sum),
            "none" => Ok(Reduction::None),
            "batchmean" => Ok(Reduction::BatchMean),
            other => Err(format!("option \"reduction\": found {other:?}")),
        }
    }
    /// An argument after the function that the case says it comes from.
    fn from(&self, k: usize, dim: i64) -> Result<Tensor<T>> {
        let text = self.o.text_or("from", "")?;
        let x = self.f(k)?;
        match text.split(',').map(str::trim).nth(k).unwrap_or("") {
            "" => Ok(x.clone()),
            "log_softmax" => Ok(x.log_softmax(dim)),
            "softmax" => Ok(x.softmax(dim)),
            "sigmoid" => Ok(x.sigmoid()),
            other => Err(format!("option \"from\": found {other:?}")),
        }
    }
    /// (x + xᵀ)/2 where the case says so.
    fn symmetric(&self) -> Result<Tensor<T>> {
        let x = self.x()?;
        Ok(if self.o.flag("symmetrize")? {
            Tensor::full([], T::of(0.5)) * (x + x.transpose(-2, -1))
        } else {
            x.clone()
        })
    }
    fn conv<const N: usize>(&self) -> Result<ConvOptions<N>> {
        let groups = usize::try_from(self.o.int_or("groups", 1)?).map_err(|e| e.to_string())?;
        Ok(ConvOptions::new()
            .stride(self.o.spread("stride", 1)?)
            .padding(match self.o.named("padding").as_deref() {
                Some("same") => Padding::Same,
                Some("valid") => Padding::VALID,
                _ => Padding::Zeros(self.o.spread("padding", 0)?),
            })
            .dilation(self.o.spread("dilation", 1)?)
            .groups(groups))
    }
    fn pool(&self) -> Result<PoolOptions<2>> {
        let o = PoolOptions::new(self.o.spread::<2>("kernel", 0)?);
        Ok(o.stride(match self.o.maybe_ints("stride")? {
            Some(_) => self.o.spread("stride", 1)?,
            None => o.kernel,
        })
        .padding(self.o.spread("padding", 0)?)
        .dilation(self.o.spread("dilation", 1)?)
        .ceil_mode(self.o.flag("ceil_mode")?)
        .count_include_pad(self.o.flag_or("count_include_pad", true)?))
    }
    fn classes(&self) -> Result<CrossEntropyOptions> {
        let o = CrossEntropyOptions::default()
            .reduction(self.reduction()?)
            .label_smoothing(self.o.float_or("label_smoothing", 0.0)?);
        Ok(match self.o.maybe_int("ignore_index")? {
            Some(i) => o.ignore_index(i),
            None => o,
        })
    }
}

/// The rows: `"name" |call| tensor;`.
macro_rules! table {
    ($($name:literal |$c:ident| $e:expr;)*) => {
        /// The operations that there are.
        pub(crate) const NAMES: &[&str] = &[$($name),*];
        fn run<T: Float + Scalar<T>>(op: &str, c: &Call<'_, T>) -> Result<Tensor<T>> {
            Ok(match op {
                $($name => { let $c = c; $e })*
                _ => return Err(format!("unknown operation {op:?}")),
            })
        }
    };
}

table! {
    // elementwise, of one argument
    "neg" |c| {
        let x = c.x()?;
        -x
    };
    "abs" |c| c.x()?.abs();
    "exp" |c| c.x()?.exp();
    "exp2" |c| c.x()?.exp2();
    "expm1" |c| c.x()?.expm1();
    "ln" |c| c.x()?.ln();
    "log2" |c| c.x()?.log2();
    "log10" |c| c.x()?.log10();
    "log1p" |c| c.x()?.log1p();
    "sqrt" |c| c.x()?.sqrt();
    "rsqrt" |c| c.x()?.rsqrt();
    "recip" |c| c.x()?.recip();
    "square" |c| c.x()?.square();
    "sin" |c| c.x()?.sin();
    "cos" |c| c.x()?.cos();
    "tan" |c| c.x()?.tan();
    "asin" |c| c.x()?.asin();
    "acos" |c| c.x()?.acos();
    "atan" |c| c.x()?.atan();
    "sinh" |c| c.x()?.sinh();
    "cosh" |c| c.x()?.cosh();
    "tanh" |c| c.x()?.tanh();
    "asinh" |c| c.x()?.asinh();
    "acosh" |c| c.x()?.acosh();
    "atanh" |c| c.x()?.atanh();
    "erf" |c| c.x()?.erf();
    "erfc" |c| c.x()?.erfc();
    "lgamma" |c| c.x()?.lgamma();
    "digamma" |c| c.x()?.digamma();
    "sigmoid" |c| c.x()?.sigmoid();
    "softplus" |c| match (c.o.maybe_float("beta")?, c.o.maybe_float("threshold")?) {
        (None, None) => c.x()?.softplus(),
        (beta, threshold) => c.x()?.softplus_with(beta.unwrap_or(1.0), threshold.unwrap_or(20.0)),
    };
    "relu" |c| c.x()?.relu();
    "silu" |c| c.x()?.silu();
    "gelu" |c| c.x()?.gelu();
    "gelu_tanh" |c| c.x()?.gelu_tanh();
    "mish" |c| c.x()?.mish();
    "log_sigmoid" |c| c.x()?.log_sigmoid();
    "softsign" |c| c.x()?.softsign();
    "sign" |c| c.x()?.sign();
    "floor" |c| c.x()?.floor();
    "ceil" |c| c.x()?.ceil();
    "round" |c| c.x()?.round();
    "trunc" |c| c.x()?.trunc();
    "leaky_relu" |c| c.x()?.leaky_relu(c.o.float_or("slope", 0.01)?);
    "elu" |c| c.x()?.elu(c.o.float_or("alpha", 1.0)?);
    "clamp" |c| match (c.o.maybe_float("min")?, c.o.maybe_float("max")?) {
        (Some(lo), Some(hi)) => c.x()?.clamp(T::of(lo), T::of(hi)),
        (Some(lo), None) => c.x()?.clamp_min(T::of(lo)),
        (None, Some(hi)) => c.x()?.clamp_max(T::of(hi)),
        (None, None) => return Err("expected \"min\" or \"max\", found neither".into()),
    };
    "powi" |c| c.x()?.powi(i32::try_from(c.o.int("n")?).map_err(|e| e.to_string())?);
    "powf" |c| c.x()?.powf(T::of(c.o.maybe_float("p")?.ok_or("expected an option \"p\", found none")?));
    // of two
    "add" |c| c.x()? + c.f(1)?;
    "sub" |c| c.x()? - c.f(1)?;
    "mul" |c| c.x()? * c.f(1)?;
    "div" |c| c.x()? / c.f(1)?;
    "pow" |c| c.x()?.pow(c.f(1)?);
    "atan2" |c| c.x()?.atan2(c.f(1)?);
    "hypot" |c| c.x()?.hypot(c.f(1)?);
    "maximum" |c| c.x()?.maximum(c.f(1)?);
    "minimum" |c| c.x()?.minimum(c.f(1)?);
    "rem" |c| c.x()?.rem(c.f(1)?);
    "select" |c| nth(c.bools, 0, "truth values")?.where_(c.x()?, c.f(1)?);
    // reductions
    "sum" |c| c.x()?.sum_dim(&c.dims()?, c.keep()?);
    "mean" |c| c.x()?.mean_dim(&c.dims()?, c.keep()?);
    "var" |c| c.x()?.var_dim(&c.dims()?, c.o.float_or("correction", 1.0)?, c.keep()?);
    "std" |c| c.x()?.std_dim(&c.dims()?, c.o.float_or("correction", 1.0)?, c.keep()?);
    "max" |c| c.x()?.amax(&c.dims()?, c.keep()?);
    "min" |c| c.x()?.amin(&c.dims()?, c.keep()?);
    "logsumexp" |c| c.x()?.logsumexp(&c.dims()?, c.keep()?);
    "norm" |c| c.x()?.norm_dim(c.o.float_or("p", 2.0)?, &c.dims()?, c.keep()?);
    "prod" |c| {
        let (x, dim) = c.line()?;
        x.prod_dim(dim, c.keep()?)
    };
    "softmax" |c| c.x()?.softmax(c.dim()?);
    "log_softmax" |c| c.x()?.log_softmax(c.dim()?);
    "argmax" |c| {
        let (x, dim) = c.line()?;
        x.argmax(dim, c.keep()?).to::<T>()
    };
    "argmin" |c| {
        let (x, dim) = c.line()?;
        x.argmin(dim, c.keep()?).to::<T>()
    };
    // along an axis
    "cumsum" |c| c.x()?.cumsum(c.dim()?);
    "cumprod" |c| c.x()?.cumprod(c.dim()?);
    "logcumsumexp" |c| c.x()?.logcumsumexp(c.dim()?);
    "sort" |c| {
        let _ = c.o.flag("stable")?;
        c.x()?.sort(c.o.int_or("dim", -1)?, c.o.flag("descending")?).0
    };
    "topk" |c| {
        let _ = c.o.flag("sorted")?;
        let k = usize::try_from(c.o.int("k")?).map_err(|e| e.to_string())?;
        c.x()?.topk(k, c.o.int_or("dim", -1)?, c.o.flag_or("largest", true)?).0
    };
    "flip" |c| c.x()?.flip(&c.dims()?);
    // layout
    "reshape" |c| c.x()?.reshape(&c.o.ints("shape")?);
    "permute" |c| c.x()?.permute(&c.o.ints("dims")?);
    "transpose" |c| c.x()?.transpose(c.o.int("dim0")?, c.o.int("dim1")?);
    "broadcast_to" |c| c.x()?.broadcast_to(&c.o.ints("shape")?);
    "squeeze" |c| match c.o.maybe_ints("dim")? {
        None => c.x()?.squeeze_all(),
        Some(d) => c.x()?.squeeze_dims(&d),
    };
    "unsqueeze" |c| c.x()?.unsqueeze(c.dim()?);
    "slice" |c| {
        let step = usize::try_from(c.o.int_or("step", 1)?).map_err(|e| e.to_string())?;
        c.x()?.slice(c.dim()?, c.o.int_or("start", 0)?, c.o.int_or("end", i64::MAX)?, step)
    };
    "index" |c| c.x()?.select(c.dim()?, c.o.int("index")?);
    "index_select" |c| c.x()?.index_select(c.dim()?, c.i()?);
    "gather" |c| c.x()?.gather(c.dim()?, c.i()?);
    "scatter_add" |c| c.x()?.scatter_add(c.dim()?, c.i()?, c.f(1)?);
    "concat" |c| Tensor::cat(&c.floats.iter().collect::<Vec<_>>(), c.o.int_or("dim", 0)?);
    "stack" |c| Tensor::stack(&c.floats.iter().collect::<Vec<_>>(), c.o.int_or("dim", 0)?);
    "pad" |c| c.x()?.pad(&c.o.pairs("pads")?, T::of(c.o.float_or("value", 0.0)?));
    "tile" |c| c.x()?.tile(&c.o.extents("reps")?);
    "diag" |c| c.x()?.diag(c.o.int_or("k", 0)?);
    "tril" |c| c.x()?.tril(c.o.int_or("k", 0)?);
    "triu" |c| c.x()?.triu(c.o.int_or("k", 0)?);
    "roll" |c| c.x()?.roll(&c.o.ints("shift")?, &c.dims()?);
    // products and linear algebra
    "matmul" |c| c.x()?.matmul(c.f(1)?);
    "dot" |c| c.x()?.dot(c.f(1)?);
    "outer" |c| c.x()?.outer(c.f(1)?);
    "einsum" |c| Tensor::einsum(&c.o.text("equation")?, &c.floats.iter().collect::<Vec<_>>());
    "inv" |c| c.x()?.inv();
    "det" |c| c.x()?.det();
    "logabsdet" |c| c.x()?.logabsdet();
    "solve" |c| c.x()?.solve(c.f(1)?);
    "cholesky" |c| {
        let l = c.symmetric()?.cholesky();
        if c.o.flag("upper")? { l.transpose(-2, -1) } else { l }
    };
    "solve_triangular" |c| {
        let unit = c.o.flag("unitriangular")? | c.o.flag("unit_triangular")? | c.o.flag("unit")? | c.o.flag("unit_diagonal")?;
        let o = TriangularOptions { upper: c.o.flag("upper")?, left: c.o.flag_or("left", true)?, unit };
        let transposed = c.o.flag("transpose")? | c.o.flag("transpose_a")?;
        if transposed {
            c.x()?.transpose(-2, -1).solve_triangular(c.f(1)?, TriangularOptions { upper: !o.upper, ..o })
        } else {
            c.x()?.solve_triangular(c.f(1)?, o)
        }
    };
    "eigvalsh" |c| {
        let lower = c.o.text_or("uplo", "L")? != "U";
        let a = c.symmetric()?;
        if lower { a.eigvalsh() } else { a.transpose(-2, -1).eigvalsh() }
    };
    "trace" |c| c.x()?.trace();
    // layers and losses
    "conv1d" |c| c.x()?.conv1d(c.f(1)?, c.floats.get(2), &c.conv()?);
    "conv2d" |c| c.x()?.conv2d(c.f(1)?, c.floats.get(2), &c.conv()?);
    "max_pool2d" |c| c.x()?.max_pool2d(c.pool()?);
    "avg_pool2d" |c| c.x()?.avg_pool2d(c.pool()?);
    "linear" |c| c.x()?.linear(c.f(1)?, c.floats.get(2));
    "layer_norm" |c| {
        c.x()?.layer_norm(&c.o.extents("normalized_shape")?, c.floats.get(1), c.floats.get(2), c.o.float_or("eps", 1e-5)?)
    };
    "batch_norm" |c| {
        let eps = c.o.float_or("eps", 1e-5)?;
        if c.o.flag("training")? {
            c.x()?.batch_norm(None, c.floats.get(1), c.floats.get(2), eps)
        } else {
            c.x()?.batch_norm(Some((c.f(1)?, c.f(2)?)), c.floats.get(3), c.floats.get(4), eps)
        }
    };
    "embedding" |c| match c.o.maybe_int("padding_idx")? {
        Some(p) => c.x()?.embedding_padded(c.i()?, p),
        None => c.x()?.embedding(c.i()?),
    };
    "cross_entropy" |c| match c.ints.first() {
        Some(target) => c.x()?.cross_entropy_with(target, c.floats.get(1), &c.classes()?),
        None => c.x()?.cross_entropy_soft(c.f(1)?, c.floats.get(2), &c.classes()?),
    };
    "nll_loss" |c| {
        let x = c.from(0, if c.x()?.ndim() > 1 { 1 } else { 0 })?;
        x.nll_loss(c.i()?, c.floats.get(1), &c.classes()?)
    };
    "mse_loss" |c| c.x()?.mse_loss_with(c.f(1)?, c.reduction()?);
    "l1_loss" |c| c.x()?.l1_loss(c.f(1)?, c.reduction()?);
    "huber_loss" |c| c.x()?.huber_loss(c.f(1)?, c.o.float_or("delta", 1.0)?, c.reduction()?);
    "bce_with_logits" |c| c.x()?.bce_with_logits(c.f(1)?, c.floats.get(2), None, c.reduction()?);
    "kl_div" |c| c.from(0, -1)?.kl_div(&c.from(1, -1)?, c.reduction()?, c.o.flag("log_target")?);
    "scaled_dot_product_attention" |c| {
        let o = AttentionOptions { causal: c.o.flag("causal")?, scale: c.o.maybe_float("scale")? };
        match (c.bools.first(), c.floats.get(3)) {
            (Some(mask), _) => c.x()?.scaled_dot_product_attention_masked(c.f(1)?, c.f(2)?, mask, o),
            (None, Some(bias)) => c.x()?.scaled_dot_product_attention_biased(c.f(1)?, c.f(2)?, bias, o),
            (None, None) => c.x()?.scaled_dot_product_attention(c.f(1)?, c.f(2)?, o),
        }
    };
}

/// The operation on inputs; an option that it does not read is an error.
pub(crate) fn call<T: Float + Scalar<T>>(
    op: &str,
    options: &str,
    floats: &[Tensor<T>],
    ints: &[Tensor<i64>],
    bools: &[Tensor<bool>],
) -> Result<Tensor<T>> {
    let o = Options::parse(options)?;
    let y = run(op, &Call { floats, ints, bools, o: &o })?;
    match o.unread().as_slice() {
        [] => Ok(y),
        rest => Err(format!("options that {op} does not have: {rest:?}")),
    }
}
