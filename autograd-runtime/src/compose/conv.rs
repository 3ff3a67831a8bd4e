//! Convolutions, transposed convolutions and pooling as PyTorch defines them, over the operations of
//! `op::conv`: batches or single images, bias, named options.

use super::attempt;
use crate::{
    emit::{Ex, apply},
    error::{Error, Result},
    op::{Attr, conv},
    ty::Shape,
};

/// One number for each of `N` spatial axes: from one number for all of them, or an array.
///
/// ```
/// use autograd_runtime::Extents;
/// assert_eq!(Extents::<2>::from(3), Extents::from([3, 3]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extents<const N: usize>(pub [usize; N]);
impl<const N: usize> From<usize> for Extents<N> {
    fn from(n: usize) -> Self {
        Extents([n; N])
    }
}
impl<const N: usize> From<[usize; N]> for Extents<N> {
    fn from(n: [usize; N]) -> Self {
        Extents(n)
    }
}

/// The zeros around the input of a convolution over `N` spatial axes.
///
/// ```
/// use autograd_runtime::{ConvOptions, Padding, Tensor};
/// let (x, w) = (Tensor::from_vec(vec![1.0, 2.0, 4.0], [1, 1, 3]), Tensor::ones([1, 1, 2]));
/// let same = x.conv1d(&w, None, &ConvOptions::new().padding(Padding::Same));
/// assert_eq!(same.to_vec(), [3.0, 6.0, 4.0]);
/// assert_eq!(x.conv1d(&w, None, &ConvOptions::new().padding(Padding::VALID)).to_vec(), [3.0, 6.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Padding<const N: usize> {
    /// So many on either side of each axis.
    Zeros([usize; N]),
    /// So many that the result has the extents of the input, an odd one at the far end: PyTorch's `"same"`. The
    /// stride is 1.
    Same,
}
impl<const N: usize> Padding<N> {
    /// None: PyTorch's `"valid"`.
    pub const VALID: Self = Padding::Zeros([0; N]);
}
impl<const N: usize, E: Into<Extents<N>>> From<E> for Padding<N> {
    fn from(zeros: E) -> Self {
        Padding::Zeros(zeros.into().0)
    }
}

/// How a convolution over `N` spatial axes slides, with PyTorch's defaults.
///
/// ```
/// use autograd_runtime::{ConvOptions, Padding};
/// let o = ConvOptions::<2>::new().stride(2).padding([0, 1]);
/// assert_eq!((o.stride, o.padding, o.dilation, o.groups), ([2, 2], Padding::Zeros([0, 1]), [1, 1], 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvOptions<const N: usize> {
    /// Steps of the kernel; 1.
    pub stride: [usize; N],
    /// Zeros around the input; none.
    pub padding: Padding<N>,
    /// Steps between elements of the kernel; 1.
    pub dilation: [usize; N],
    /// Channels in this many groups, each convolved on its own; 1.
    pub groups: usize,
    /// Elements that a transposed convolution adds at the far end, fewer than `stride`; 0.
    pub output_padding: [usize; N],
}
impl<const N: usize> Default for ConvOptions<N> {
    fn default() -> Self {
        ConvOptions { stride: [1; N], padding: Padding::VALID, dilation: [1; N], groups: 1, output_padding: [0; N] }
    }
}
impl<const N: usize> ConvOptions<N> {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }
    /// With other steps of the kernel.
    #[must_use]
    pub fn stride(self, stride: impl Into<Extents<N>>) -> Self {
        ConvOptions { stride: stride.into().0, ..self }
    }
    /// With zeros around the input: a number, one for each axis, or [`Padding::Same`].
    #[must_use]
    pub fn padding(self, padding: impl Into<Padding<N>>) -> Self {
        ConvOptions { padding: padding.into(), ..self }
    }
    /// With steps between elements of the kernel.
    #[must_use]
    pub fn dilation(self, dilation: impl Into<Extents<N>>) -> Self {
        ConvOptions { dilation: dilation.into().0, ..self }
    }
    /// With channels in groups.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        ConvOptions { groups, ..self }
    }
    /// With a larger result of the transposed convolution.
    #[must_use]
    pub fn output_padding(self, padding: impl Into<Extents<N>>) -> Self {
        ConvOptions { output_padding: padding.into().0, ..self }
    }
    /// The zeros on either side for a kernel, and how many more there are at the far end.
    fn zeros(&self, name: &str, kernel: &[usize]) -> Result<([usize; N], [usize; N])> {
        let mut more = [0; N];
        match self.padding {
            Padding::Zeros(zeros) => Ok((zeros, more)),
            Padding::Same if self.stride == [1; N] => {
                // a weight of too few axes is refused with the shapes
                let extent = |i: usize| kernel.get(i).map_or(0, |k| k.saturating_sub(1));
                let total: [usize; N] = std::array::from_fn(|i| self.dilation[i].saturating_mul(extent(i)));
                more = total.map(|n| n % 2);
                Ok((total.map(|n| n / 2), more))
            }
            Padding::Same => {
                let want = "expected a stride of 1 for the padding that keeps extents";
                Err(Error::value(name, format!("{want}, found {:?}", self.stride)))
            }
        }
    }
    fn attrs(&self, zeros: &[usize; N]) -> [Attr; 4] {
        window(&self.stride, zeros, &self.dilation, Attr::Int(integer(self.groups)))
    }
}

/// How pooling over `N` spatial axes slides, with PyTorch's defaults: windows side by side.
///
/// ```
/// use autograd_runtime::PoolOptions;
/// assert_eq!(PoolOptions::<2>::new(3).padding(1).stride, [3, 3]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolOptions<const N: usize> {
    /// Extents of the window.
    pub kernel: [usize; N],
    /// Steps of the window; its extents.
    pub stride: [usize; N],
    /// Elements on either side of the input, which a maximum leaves out and a mean counts as zeros; 0.
    pub padding: [usize; N],
    /// Steps between elements of the window, for maxima; 1.
    pub dilation: [usize; N],
    /// Whether a window that begins inside and ends beyond the far side counts, with what it covers; no.
    pub ceil_mode: bool,
    /// Whether a mean divides by the elements of the padding too; yes.
    pub count_include_pad: bool,
}
impl<const N: usize> PoolOptions<N> {
    /// Windows of these extents, side by side.
    pub fn new(kernel: impl Into<Extents<N>>) -> Self {
        let kernel = kernel.into().0;
        PoolOptions {
            kernel,
            stride: kernel,
            padding: [0; N],
            dilation: [1; N],
            ceil_mode: false,
            count_include_pad: true,
        }
    }
    /// With other steps.
    #[must_use]
    pub fn stride(self, stride: impl Into<Extents<N>>) -> Self {
        PoolOptions { stride: stride.into().0, ..self }
    }
    /// With elements on either side of the input.
    #[must_use]
    pub fn padding(self, padding: impl Into<Extents<N>>) -> Self {
        PoolOptions { padding: padding.into().0, ..self }
    }
    /// With steps between elements of the window.
    #[must_use]
    pub fn dilation(self, dilation: impl Into<Extents<N>>) -> Self {
        PoolOptions { dilation: dilation.into().0, ..self }
    }
    /// With windows that end beyond the far side, or without.
    #[must_use]
    pub fn ceil_mode(self, ceil_mode: bool) -> Self {
        PoolOptions { ceil_mode, ..self }
    }
    /// With the padding counted in a mean, or without.
    #[must_use]
    pub fn count_include_pad(self, count_include_pad: bool) -> Self {
        PoolOptions { count_include_pad, ..self }
    }
    /// For each spatial axis the elements that windows reach beyond the far padding.
    fn beyond(&self, shape: &[usize]) -> [usize; N] {
        let mut beyond = [0; N];
        for (i, beyond) in beyond.iter_mut().enumerate().filter(|_| self.ceil_mode) {
            let (k, s, p) = (self.kernel[i] as i128, self.stride[i] as i128, self.padding[i] as i128);
            let (n, span) = (shape[i] as i128, self.dilation[i] as i128 * (k - 1) + 1);
            let room = n + 2 * p - span;
            if s > 0 && room >= 0 && room % s != 0 {
                // one more window, unless it begins beyond the input and the near padding
                let last = (room / s + 1) * s;
                *beyond = if last < n + p { usize::try_from(last + span - n - 2 * p).unwrap_or(0) } else { 0 };
            }
        }
        beyond
    }
}
impl<const N: usize> From<usize> for PoolOptions<N> {
    fn from(kernel: usize) -> Self {
        PoolOptions::new(kernel)
    }
}
impl<const N: usize> From<[usize; N]> for PoolOptions<N> {
    fn from(kernel: [usize; N]) -> Self {
        PoolOptions::new(kernel)
    }
}

/// Too large a number stays too large, so that the shape rule refuses it.
fn integer(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
fn ints(v: &[usize]) -> Attr {
    Attr::Ints(v.iter().map(|&n| integer(n)).collect())
}
fn window(stride: &[usize], padding: &[usize], dilation: &[usize], last: Attr) -> [Attr; 4] {
    [ints(stride), ints(padding), ints(dilation), last]
}

/// The input as a batch, and whether it was one.
fn batched<'e>(name: &str, x: &Ex<'e>, spatial: usize) -> Result<(Ex<'e>, bool)> {
    match x.rank() {
        n if n == spatial + 2 => Ok((x.clone(), true)),
        n if n == spatial + 1 => Ok((x.unsqueeze(0), false)),
        _ => {
            let want = format!("an input [n, c, ..] or [c, ..] with {spatial} spatial axes");
            Err(Error::shape(name, want, format!("{:?}", x.shape().as_slice())))
        }
    }
}
/// Adds the bias of each channel and takes the batch axis off again.
fn finish<'e>(name: &str, y: &Ex<'e>, bias: Option<&Ex<'e>>, batch: bool) -> Result<Ex<'e>> {
    let shape = y.shape();
    let y = match bias {
        None => y.clone(),
        Some(b) if b.shape().as_slice() == &shape[1..2] => {
            let spread: Shape = shape.iter().enumerate().skip(1).map(|(d, &n)| if d == 1 { n } else { 1 }).collect();
            y + b.reshape(&spread)
        }
        Some(b) => {
            let found = format!("{:?}", b.shape().as_slice());
            return Err(Error::shape(name, format!("a bias [{}]", shape[1]), found));
        }
    };
    Ok(if batch { y } else { y.squeeze(0) })
}

#[allow(missing_docs)] // documented on `Tensor`
impl<'e> Ex<'e> {
    pub fn conv<const N: usize>(&self, weight: &Ex<'e>, bias: Option<&Ex<'e>>, o: &ConvOptions<N>) -> Ex<'e> {
        attempt(self, || {
            let name = format!("conv{N}d");
            let (mut x, batch) = batched(&name, self, N)?;
            let (zeros, more) = o.zeros(&name, weight.shape().get(2..).unwrap_or_default())?;
            for (i, &n) in more.iter().enumerate().filter(|m| *m.1 > 0) {
                let extent = x.shape()[i + 2] + n;
                x = x.unslice(i + 2, 0, 1, extent);
            }
            let op = conv::convolution(&name, o.attrs(&zeros), &x.shape(), &weight.shape())?;
            finish(&name, &apply(op, &[&x, weight]), bias, batch)
        })
    }
    pub fn conv_transpose<const N: usize>(&self, weight: &Ex<'e>, bias: Option<&Ex<'e>>, o: &ConvOptions<N>) -> Ex<'e> {
        attempt(self, || {
            let name = format!("conv_transpose{N}d");
            let (d, batch) = batched(&name, self, N)?;
            let (ds, ws) = (d.shape(), weight.shape());
            if ws.len() != N + 2 || ws[0] != ds[1] {
                let want = format!("an input [n, c, ..] and a weight [c, o/groups, ..] with {N} spatial axes each");
                return Err(Error::shape(&name, want, format!("{:?} and {:?}", ds.as_slice(), ws.as_slice())));
            }
            let Padding::Zeros(zeros) = o.padding else {
                let want = "expected a number of zeros as padding";
                return Err(Error::value(&name, format!("{want}, found that which keeps extents")));
            };
            let mut extents = Shape::new();
            for i in 0..N {
                if o.output_padding[i] >= o.stride[i] {
                    let want = "expected an output_padding below the stride";
                    let found = format!("{:?} and {:?}", o.output_padding, o.stride);
                    return Err(Error::value(&name, format!("{want}, found {found}")));
                }
                // the input of the convolution with these positions
                let wide = |n: usize| n as i128;
                let n = (wide(ds[i + 2]) - 1) * wide(o.stride[i]) - 2 * wide(zeros[i])
                    + wide(o.dilation[i]) * (wide(ws[i + 2]) - 1)
                    + wide(o.output_padding[i])
                    + 1;
                let Some(n) = usize::try_from(n).ok().filter(|&n| n > 0) else {
                    let want = format!("a result of at least one element along axis {i}");
                    return Err(Error::shape(&name, want, format!("{n} from {:?}", ds.as_slice())));
                };
                extents.push(n);
            }
            let op = conv::transposed(&name, o.attrs(&zeros), &extents, &ds, &ws)?;
            finish(&name, &apply(op, &[&d, weight]), bias, batch)
        })
    }
    /// The index of each maximum is found once; the values are picked by it, so that derivatives of any order
    /// are those of picking.
    pub fn max_pool<const N: usize>(&self, o: &PoolOptions<N>) -> Ex<'e> {
        attempt(self, || {
            let name = format!("max_pool{N}d");
            let (mut x, batch) = batched(&name, self, N)?;
            let beyond = o.beyond(&x.shape()[2..]);
            if beyond != [0; N] {
                // what no maximum picks
                let pads = beyond.map(|n| (0, n as i64));
                x = x.pad(&pads, &x.lit(f64::NEG_INFINITY));
            }
            let shape = x.shape();
            let op = conv::max_pool(&name, window(&o.stride, &o.padding, &o.dilation, ints(&o.kernel)), &shape)?;
            let index = apply(op, &[&x]);
            let out = index.shape();
            let flat = |s: &[usize]| [s[0], s[1], s[2..].iter().product()];
            let y = x.reshape(&flat(&shape)).gather(2, &index.reshape(&flat(&out))).reshape(&out);
            finish(&name, &y, None, batch)
        })
    }
    /// A convolution of each channel with a constant kernel; where windows count different numbers of elements, one
    /// with ones divided by one of the numbers.
    pub fn avg_pool<const N: usize>(&self, o: &PoolOptions<N>) -> Ex<'e> {
        attempt(self, || {
            let name = format!("avg_pool{N}d");
            let (x, batch) = batched(&name, self, N)?;
            let shape = x.shape();
            if o.padding.iter().zip(&o.kernel).any(|(p, k)| *p > k / 2) {
                let want = format!("expected a padding of at most half the kernel {:?}", o.kernel);
                return Err(Error::value(&name, format!("{want}, found {:?}", o.padding)));
            }
            if o.dilation != [1; N] {
                return Err(Error::value(&name, format!("expected a dilation of 1, found {:?}", o.dilation)));
            }
            let images = [&[shape[0].saturating_mul(shape[1]), 1], &shape[2..]].concat();
            let kernel = [&[1, 1], &o.kernel[..]].concat();
            let beyond = o.beyond(&shape[2..]);
            let even = beyond == [0; N] && (o.count_include_pad || o.padding == [0; N]);
            let summed = |x: &Ex<'e>, padding: &[usize; N], weight: f64| {
                let attrs = window(&o.stride, padding, &[1; N], Attr::Int(1));
                let op = conv::convolution(&name, attrs, &x.shape(), &kernel)?;
                Ok(apply(op, &[x, &x.lit(weight).expand(&kernel)]))
            };
            let x = x.reshape(&images);
            let y = if even {
                summed(&x, &o.padding, 1.0 / o.kernel.iter().map(|&k| k as f64).product::<f64>())?
            } else {
                // explicit zeros on all sides, and ones where elements count
                let padded = |x: &Ex<'e>, counted: bool| {
                    (0..N).fold(x.clone(), |x, i| {
                        let (n, near) = (shape[i + 2] + 2 * o.padding[i], if counted { 0 } else { o.padding[i] });
                        x.unslice(i + 2, near, 1, n + beyond[i])
                    })
                };
                let wide = o.count_include_pad;
                let counted: Shape = (0..N).map(|i| shape[i + 2] + if wide { 2 * o.padding[i] } else { 0 }).collect();
                let ones = x.lit(1.0).expand(&[&[1, 1], &counted[..]].concat());
                summed(&padded(&x, false), &[0; N], 1.0)? / summed(&padded(&ones, wide), &[0; N], 1.0)?
            };
            let out = [&shape[..2], &y.shape()[2..]].concat();
            finish(&name, &y.reshape(&out), None, batch)
        })
    }
}
