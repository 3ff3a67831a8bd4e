//! Einstein's summation: an equation of axis labels becomes transpositions, products and sums. Operands are contracted from
//! left to right; what two of them share and nobody needs later is summed by one matrix product.

use crate::{
    emit::Ex,
    error::{Error, Result},
    ty::Shape,
};
use smallvec::SmallVec;

/// A letter, or the number of an axis that `...` stands for, counted from the right.
type Label = u32;
type Labels = SmallVec<[Label; 4]>;
const REST: Label = 1 << 16;

/// An operand with a label for each axis, each once.
#[derive(Clone)]
struct Term<'e> {
    x: Ex<'e>,
    labels: Labels,
}

impl<'e> Ex<'e> {
    /// The sum that an equation such as `bij,bjk->bik` names.
    pub fn einsum(equation: &str, operands: &[Ex<'e>]) -> Ex<'e> {
        let Some(first) = operands.first() else { unreachable!("tensors come before the equation is read") };
        sum_of(equation, operands).unwrap_or_else(|e| first.fail(e))
    }
}

fn wrong(what: impl Into<String>) -> Error {
    Error::value("einsum", what)
}

/// The labels of one operand of the given rank; `None` is one of any rank, whose dots stand for `rest` axes.
fn labels(text: &str, rank: Option<usize>, rest: usize) -> Result<Labels> {
    let (front, back) = text.split_once("...").map_or((text, None), |(a, b)| (a, Some(b)));
    let letters = |s: &str| -> Result<Labels> {
        s.chars()
            .map(|c| {
                if c.is_ascii_alphabetic() {
                    Ok(c as Label)
                } else {
                    Err(wrong(format!("expected letters, found {c:?} in {text:?}")))
                }
            })
            .collect()
    };
    let (mut all, back) = (letters(front)?, back.map(letters).transpose()?);
    let named = all.len() + back.as_ref().map_or(0, SmallVec::len);
    let dots = match (rank, &back) {
        (Some(r), None) if r != named => {
            return Err(wrong(format!("expected {r} labels for an operand of {r} axes, found {text:?}")));
        }
        (Some(r), Some(_)) => r
            .checked_sub(named)
            .ok_or_else(|| wrong(format!("expected at most {r} labels for an operand of {r} axes, found {text:?}")))?,
        (_, None) => 0,
        (None, Some(_)) => rest,
    };
    all.extend((0..dots as Label).rev().map(|k| REST + k));
    all.extend(back.into_iter().flatten());
    Ok(all)
}

fn sum_of<'e>(equation: &str, operands: &[Ex<'e>]) -> Result<Ex<'e>> {
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = text.split_once("->").map_or((text.as_str(), None), |(l, r)| (l, Some(r)));
    let parts: Vec<&str> = left.split(',').collect();
    if parts.len() != operands.len() {
        return Err(wrong(format!("expected {} operands for {equation:?}, found {}", parts.len(), operands.len())));
    }
    let named: Vec<Labels> =
        parts.iter().zip(operands).map(|(p, x)| labels(p, Some(x.rank()), 0)).collect::<Result<_>>()?;
    let dots = named.iter().flatten().filter(|l| **l >= REST).map(|l| l - REST + 1).max().unwrap_or(0) as usize;
    let out = match right {
        Some(r) => labels(r, None, dots)?,
        None => implied(&named, dots),
    };
    for (i, l) in out.iter().enumerate() {
        if out[..i].contains(l) || (*l < REST && !named.iter().any(|n| n.contains(l))) {
            return Err(wrong(format!(
                "expected each label of the result once, and in an operand, found {equation:?}"
            )));
        }
    }
    // the extent of each label; 1 broadcasts
    let mut extents: Vec<(Label, usize)> = Vec::new();
    for (n, x) in named.iter().zip(operands) {
        for (&l, &e) in n.iter().zip(&x.shape()) {
            match extents.iter_mut().find(|p| p.0 == l) {
                None => extents.push((l, e)),
                Some(p) if p.1 == 1 => p.1 = e,
                Some(p) if p.1 == e || e == 1 => {}
                Some(p) => {
                    let found = format!("{} and {e} in {equation:?}", p.1);
                    return Err(Error::shape("einsum", "one extent for each label", found));
                }
            }
        }
    }
    let extent = |l: Label| extents.iter().find(|p| p.0 == l).map_or(1, |p| p.1);
    let mut terms = Vec::new();
    for (n, x) in named.into_iter().zip(operands) {
        terms.push(distinct(Term { x: x.clone(), labels: n }, &extent)?);
    }
    let mut rest = terms.into_iter();
    let Some(mut sum) = rest.next() else { return Err(wrong("expected an operand, found none")) };
    let later: Vec<Term<'e>> = rest.collect();
    for (k, t) in later.iter().enumerate() {
        let needed = |l: &Label| out.contains(l) || later[k + 1..].iter().any(|t| t.labels.contains(l));
        sum = product(sum, t.clone(), &needed);
    }
    let sum = summed(sum, &|l| out.contains(l));
    // labels of extent 1 that were dropped come back
    let mut shape: Shape = sum.x.shape();
    let mut have = sum.labels.clone();
    for l in out.iter().filter(|l| !sum.labels.contains(l)) {
        have.push(*l);
        shape.push(1);
    }
    let perm: Shape = out.iter().filter_map(|l| have.iter().position(|h| h == l)).collect();
    let full: Shape = out.iter().map(|l| extent(*l)).collect();
    Ok(sum.x.reshape(&shape).permute(&perm).expand(&full))
}

/// Without `->`: the dots, then the labels that occur once, in alphabetical order.
fn implied(named: &[Labels], dots: usize) -> Labels {
    let mut once: Labels = named.iter().flatten().copied().filter(|l| *l < REST).collect();
    once.sort_unstable();
    let all = once.clone();
    once.retain(|l| all.iter().filter(|a| *a == l).count() == 1);
    (0..dots as Label).rev().map(|k| REST + k).chain(once).collect()
}

/// Repeated labels become diagonals; axes of extent 1 that broadcast are dropped.
fn distinct<'e>(t: Term<'e>, extent: &dyn Fn(Label) -> usize) -> Result<Term<'e>> {
    let Term { mut x, mut labels } = t;
    let mut d = 0;
    while d < labels.len() {
        let shape = x.shape();
        if shape[d] == 1 && extent(labels[d]) != 1 {
            let mut less = shape.clone();
            less.remove(d);
            labels.remove(d);
            x = x.reshape(&less);
            continue;
        }
        match labels[d + 1..].iter().position(|l| *l == labels[d]) {
            None => d += 1,
            Some(k) => {
                let other = d + 1 + k;
                if shape[other] != shape[d] {
                    // the one that broadcasts is dropped when its turn comes
                    let mut less = shape.clone();
                    less.remove(other);
                    if shape[other] != 1 {
                        return Err(wrong("expected equal extents of a repeated label"));
                    }
                    labels.remove(other);
                    x = x.reshape(&less);
                    continue;
                }
                let mut perm: Shape = (0..labels.len()).filter(|a| *a != d && *a != other).collect();
                perm.extend([d, other]);
                let label = labels[d];
                labels = perm[..perm.len() - 2].iter().map(|&a| labels[a]).collect();
                labels.push(label);
                x = x.permute(&perm).diagonal(0);
            }
        }
    }
    Ok(Term { x, labels })
}

/// Labels that nobody needs, summed.
fn summed<'e>(t: Term<'e>, needed: &dyn Fn(&Label) -> bool) -> Term<'e> {
    let gone: Shape = (0..t.labels.len()).filter(|&d| !needed(&t.labels[d])).collect();
    if gone.is_empty() {
        return t;
    }
    let shape = t.x.shape();
    let left: Shape = (0..shape.len()).filter(|d| !gone.contains(d)).collect();
    let kept: Shape = left.iter().map(|&d| shape[d]).collect();
    Term { x: t.x.sum_keep(&gone).reshape(&kept), labels: left.iter().map(|&d| t.labels[d]).collect() }
}

/// The product of two, summed over what they share and nobody needs later.
fn product<'e>(a: Term<'e>, b: Term<'e>, needed: &dyn Fn(&Label) -> bool) -> Term<'e> {
    let a = summed(a, &|l| needed(l) || b.labels.contains(l));
    let b = summed(b, &|l| needed(l) || a.labels.contains(l));
    let pick = |from: &Labels, f: &dyn Fn(&Label) -> bool| from.iter().copied().filter(f).collect::<Labels>();
    let shared = pick(&a.labels, &|l| b.labels.contains(l));
    let (batch, inner) = (pick(&shared, &|l| needed(l)), pick(&shared, &|l| !needed(l)));
    let (left, right) = (pick(&a.labels, &|l| !shared.contains(l)), pick(&b.labels, &|l| !shared.contains(l)));
    // axes in an order of labels
    let ordered = |t: &Term<'e>, order: &[&Labels]| {
        let perm: Shape =
            order.iter().copied().flatten().filter_map(|l| t.labels.iter().position(|m| m == l)).collect();
        t.x.permute(&perm)
    };
    let labels: Labels = batch.iter().chain(&left).chain(&right).copied().collect();
    let (x, y) = (ordered(&a, &[&batch, &left, &inner]), ordered(&b, &[&batch, &inner, &right]));
    let (xs, ys) = (x.shape(), y.shape());
    let (nb, nl) = (batch.len(), left.len());
    if inner.is_empty() {
        // side by side, each with axes of extent 1 where the other has its own
        let wide: Shape = xs.iter().copied().chain(right.iter().map(|_| 1)).collect();
        let tall: Shape =
            ys[..nb].iter().copied().chain(left.iter().map(|_| 1)).chain(ys[nb..].iter().copied()).collect();
        return Term { x: x.reshape(&wide) * y.reshape(&tall), labels };
    }
    let size = |s: &[usize]| s.iter().product::<usize>();
    let (m, k, n) = (size(&xs[nb..nb + nl]), size(&xs[nb + nl..]), size(&ys[nb + inner.len()..]));
    let lead: Shape = if nb == 0 { Shape::new() } else { Shape::from_slice(&[size(&xs[..nb])]) };
    let matrix = |x: &Ex<'e>, r: usize, c: usize| x.reshape(&lead.iter().copied().chain([r, c]).collect::<Shape>());
    let shape: Shape = xs[..nb + nl].iter().chain(&ys[nb + inner.len()..]).copied().collect();
    Term { x: matrix(&x, m, k).matmul_2d(&matrix(&y, k, n)).reshape(&shape), labels }
}
