//! From a pattern to groups of its columns that share a product. Two columns may share one if no row has elements in both: a
//! colouring of the columns at distance 2 in the bipartite graph of rows and columns, greedy and largest first
//! (Gebremedhin, Manne and Pothen, What color is your Jacobian?, SIAM Review 47, 2005, section 3).
//!
//! A few rows with many elements would need a colour for each of them. Such rows are left to products of their own: with the
//! transpose for a Jacobian; for a symmetric matrix their columns tell them. (For a matrix in the form of an arrow, two
//! products do.)

use super::Pattern;

impl Pattern {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }
    /// The columns of a row.
    pub fn row(&self, r: usize) -> &[usize] {
        &self.indices[self.starts[r]..self.starts[r + 1]]
    }
    /// The transpose.
    pub fn transposed(&self) -> Pattern {
        let mut starts = vec![0; self.columns + 1];
        self.indices.iter().for_each(|&c| starts[c + 1] += 1);
        (0..self.columns).for_each(|c| starts[c + 1] += starts[c]);
        let (mut next, mut indices) = (starts.clone(), vec![0; self.indices.len()]);
        for r in 0..self.rows() {
            for &c in self.row(r) {
                indices[next[c]] = r;
                next[c] += 1;
            }
        }
        Pattern { columns: self.rows(), starts, indices }
    }
}

/// How the elements of a matrix come out of products.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Colouring {
    /// Rows that have a product each.
    pub alone: Vec<usize>,
    /// Columns of each product with the matrix; what it gives for rows that are alone is nothing.
    pub groups: Vec<Vec<usize>>,
}

impl Colouring {
    /// The number of products.
    pub fn products(&self) -> usize {
        self.alone.len() + self.groups.len()
    }
}

/// Most steps that finding groups may take; with more, each column is one.
const WORK: usize = 1 << 33;

/// A flag for each of `n`, set for some.
pub fn marked(which: &[usize], n: usize) -> Vec<bool> {
    let mut all = vec![false; n];
    which.iter().for_each(|&i| all[i] = true);
    all
}

/// The rows that are best alone: the k longest of which the sum of k and the length of the next one is least; and that sum,
/// which no number of products is below.
fn longest_rows(p: &Pattern) -> (Vec<usize>, usize) {
    let mut rows: Vec<usize> = (0..p.rows()).collect();
    rows.sort_by_key(|&r| std::cmp::Reverse(p.row(r).len()));
    let cost = |k: usize| k + rows.get(k).map_or(0, |&r| p.row(r).len());
    let best = (0..=rows.len()).min_by_key(|&k| (cost(k), k)).unwrap_or(0);
    let least = cost(best);
    rows.truncate(best);
    (rows, least)
}

/// Groups of columns, beside rows that are alone.
pub fn columns(p: &Pattern, across: &Pattern) -> Colouring {
    let alone = longest_rows(p).0;
    let skip = marked(&alone, p.rows());
    let groups = grouped(p, across, &skip, |_| true);
    Colouring { alone, groups }
}

/// Groups of columns alone.
pub fn columns_only(p: &Pattern, across: &Pattern) -> Colouring {
    let groups = grouped(p, across, &vec![false; p.rows()], |_| true);
    Colouring { alone: Vec::new(), groups }
}

/// As [`columns`] for a symmetric matrix, whose rows that are alone are columns too, in no group.
pub fn symmetric(p: &Pattern) -> Colouring {
    let alone = longest_rows(p).0;
    let skip = marked(&alone, p.rows());
    let groups = grouped(p, p, &skip, |c| !skip[c]);
    Colouring { alone, groups }
}

/// The groups by the greedy algorithm. `across` is the transpose; rows to `skip` do not count, columns that are not taken
/// part in none.
fn grouped(p: &Pattern, across: &Pattern, skip: &[bool], takes: impl Fn(usize) -> bool) -> Vec<Vec<usize>> {
    let rows = |c: usize| across.row(c).iter().copied().filter(|&r| !skip[r]);
    let reach = |c: usize| rows(c).map(|r| p.row(r).len() - 1).fold(0usize, usize::saturating_add);
    let mut order: Vec<(usize, usize)> = (0..p.columns)
        .filter(|&c| takes(c))
        .map(|c| (reach(c), c))
        .filter(|&(_, c)| rows(c).next().is_some())
        .collect();
    if order.iter().fold(0usize, |sum, o| sum.saturating_add(o.0)) > WORK {
        return order.into_iter().map(|(_, c)| vec![c]).collect();
    }
    order.sort_by_key(|&(reach, c)| (std::cmp::Reverse(reach), c));
    const NONE: usize = usize::MAX;
    let mut colour = vec![NONE; p.columns];
    // the column that a colour was last forbidden for
    let mut forbidden: Vec<usize> = Vec::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (_, c) in order {
        for other in rows(c).flat_map(|r| p.row(r)).filter(|&&o| colour[o] != NONE) {
            forbidden[colour[*other]] = c;
        }
        let free = forbidden.iter().position(|&f| f != c).unwrap_or(groups.len());
        if free == groups.len() {
            groups.push(Vec::new());
            forbidden.push(NONE);
        }
        colour[c] = free;
        groups[free].push(c);
    }
    groups.iter_mut().for_each(|g| g.sort_unstable());
    groups
}

/// The colouring of a Jacobian with the fewer products: of its columns, or of its rows, which are the columns of the
/// transpose. The other one is not looked for if it cannot have fewer.
pub fn cheaper(p: &Pattern, across: &Pattern) -> (Colouring, bool) {
    let by_columns = columns(p, across);
    if by_columns.products() <= longest_rows(across).1 {
        return (by_columns, true);
    }
    let by_rows = columns(across, p);
    if by_rows.products() < by_columns.products() { (by_rows, false) } else { (by_columns, true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(columns: usize, rows: &[Vec<usize>]) -> Pattern {
        let mut starts = vec![0];
        rows.iter().for_each(|r| starts.push(starts[starts.len() - 1] + r.len()));
        Pattern { columns, starts, indices: rows.concat() }
    }
    fn band(n: usize, width: usize) -> Pattern {
        let rows: Vec<Vec<usize>> =
            (0..n).map(|i: usize| (i.saturating_sub(width)..(i + width + 1).min(n)).collect()).collect();
        pattern(n, &rows)
    }
    /// Each row that is not alone meets each group once at most.
    fn check(p: &Pattern, c: &Colouring) {
        for group in &c.groups {
            for r in (0..p.rows()).filter(|r| !c.alone.contains(r)) {
                assert!(p.row(r).iter().filter(|c| group.contains(c)).count() <= 1, "{p:?} {c:?}");
            }
        }
    }

    #[test]
    fn bands_take_their_width() {
        for n in [1, 2, 3, 10, 101] {
            for width in 0..4 {
                let p = band(n, width);
                for c in [columns(&p, &p.transposed()), columns_only(&p, &p.transposed()), symmetric(&p)] {
                    check(&p, &c);
                    assert!(c.products() <= n.min(2 * width + 1), "{n} {width} {c:?}");
                }
            }
        }
    }

    #[test]
    fn an_arrow_takes_two() {
        let n = 50;
        let rows: Vec<Vec<usize>> = (0..n).map(|i| if i == 0 { (0..n).collect() } else { vec![0, i] }).collect();
        let c = symmetric(&pattern(n, &rows));
        assert_eq!((c.alone, c.groups.len()), (vec![0], 1));
        let p = pattern(n, &rows);
        let c = columns(&p, &p.transposed());
        assert_eq!((c.alone.len(), c.groups.len()), (1, 2));
    }

    #[test]
    fn a_full_row_is_one_product_and_so_is_a_full_column() {
        let row = pattern(9, &[(0..9).collect()]);
        let column = row.transposed();
        assert_eq!(cheaper(&row, &column).0.products(), 1);
        assert_eq!(cheaper(&column, &row).0.products(), 1);
        let none = pattern(5, &[]);
        assert_eq!(cheaper(&none, &none.transposed()).0.products(), 0);
    }
}
