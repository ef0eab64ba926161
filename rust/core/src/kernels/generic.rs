//! The loops, written once over [`Vector`]. Each instruction set only instantiates them.
//!
//! The scalar instance (`V = f32`, one lane) is the specification the others are tested against.

use super::vector::{Value, Vector};
use crate::top::Top;

/// Rows that one pass of [`axpy_rows`] adds: eight streams keep the hardware prefetchers fed and the
/// target is loaded and stored once for all of them.
const GROUP: usize = 8;

/// Vectors looked at together in [`scan`]; one branch for all of them.
const UNROLL: usize = 4;

/// `Σ a_i b_i`, in four independent sums added in a fixed order.
///
/// # Safety
/// As [`Vector`]; `a` and `b` have the same length.
#[inline(always)]
pub(super) unsafe fn dot<V: Vector>(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let (n, step) = (a.len(), V::LANES);
    let (pa, pb) = (a.as_ptr(), b.as_ptr());
    let mut i = 0;
    // SAFETY: every load starts at `i + u * LANES` with `i + 4 * LANES <= n` (first loop) or
    // `i + LANES <= n` (second); the caller vouches for the instruction set.
    unsafe {
        let mut sums = [V::splat(0.0); 4];
        while i + 4 * step <= n {
            for (u, sum) in sums.iter_mut().enumerate() {
                let at = i + u * step;
                *sum = V::load(pa.add(at)).mul_add(V::load(pb.add(at)), *sum);
            }
            i += 4 * step;
        }
        while i + step <= n {
            sums[0] = V::load(pa.add(i)).mul_add(V::load(pb.add(i)), sums[0]);
            i += step;
        }
        let total = sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum();
        a[i..].iter().zip(&b[i..]).fold(total, |t, (x, y)| x.mul_add(*y, t))
    }
}

/// Inner products of all pairs (i, j), i < j, by ascending j and then i.
///
/// # Safety
/// As [`Vector`]; the vectors have one length, and `out` has a value for every pair.
#[inline(always)]
pub(super) unsafe fn pair_products<V: Vector>(vectors: &[&[f32]], out: &mut [f32]) {
    debug_assert_eq!(out.len(), vectors.len() * vectors.len().saturating_sub(1) / 2);
    // SAFETY: forwarded from the caller.
    unsafe {
        match vectors.len() {
            0 | 1 => {}
            2 => pair_products_of::<V, 2>(vectors, out),
            3 => pair_products_of::<V, 3>(vectors, out),
            4 => pair_products_of::<V, 4>(vectors, out),
            5 => pair_products_of::<V, 5>(vectors, out),
            6 => pair_products_of::<V, 6>(vectors, out),
            n => {
                let pairs = (1..n).flat_map(|j| (0..j).map(move |i| (i, j)));
                for (product, (i, j)) in out.iter_mut().zip(pairs) {
                    *product = dot::<V>(vectors[i], vectors[j]);
                }
            }
        }
    }
}

/// [`pair_products`] of `N` vectors in one pass: each is loaded once for all its pairs. With six, five
/// atoms and a residual, fifteen sums, the registers of AVX-512 suffice, and one pass loads six vectors where
/// fifteen calls of [`dot`] load thirty.
///
/// # Safety
/// As [`pair_products`], with exactly `N` vectors.
#[inline(always)]
unsafe fn pair_products_of<V: Vector, const N: usize>(vectors: &[&[f32]], out: &mut [f32]) {
    let n = vectors[0].len();
    let mut i = 0;
    // SAFETY: every load starts at `i` with `i + LANES <= n`.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; N];
        while i + V::LANES <= n {
            let values: [V; N] = std::array::from_fn(|v| V::load(vectors.get_unchecked(v).as_ptr().add(i)));
            for b in 1..N {
                for a in 0..b {
                    sums[b][a] = values[a].mul_add(values[b], sums[b][a]);
                }
            }
            i += V::LANES;
        }
        let mut at = 0;
        for b in 1..N {
            for a in 0..b {
                let rest = vectors[a][i..].iter().zip(&vectors[b][i..]);
                out[at] = rest.fold(sums[b][a].sum(), |sum, (x, y)| sum + x * y);
                at += 1;
            }
        }
    }
}

/// `y += Σ_l coefficients[l] * row(l)[offset .. offset + y.len()]`.
///
/// # Safety
/// As [`Vector`]; every row has at least `offset + y.len()` values.
#[inline(always)]
pub(super) unsafe fn axpy_rows<V: Vector, T: Value>(
    coefficients: &[f32],
    rows: &[&[T]],
    offset: usize,
    y: &mut [f32],
) {
    debug_assert_eq!(coefficients.len(), rows.len());
    debug_assert!(rows.iter().all(|row| row.len() >= offset + y.len()));
    for (coefficients, rows) in coefficients.chunks(GROUP).zip(rows.chunks(GROUP)) {
        // SAFETY: forwarded from the caller.
        unsafe {
            match rows.len() {
                1 => axpy_group::<V, T, 1>(coefficients, rows, offset, y),
                2 => axpy_group::<V, T, 2>(coefficients, rows, offset, y),
                3 => axpy_group::<V, T, 3>(coefficients, rows, offset, y),
                4 => axpy_group::<V, T, 4>(coefficients, rows, offset, y),
                5 => axpy_group::<V, T, 5>(coefficients, rows, offset, y),
                6 => axpy_group::<V, T, 6>(coefficients, rows, offset, y),
                7 => axpy_group::<V, T, 7>(coefficients, rows, offset, y),
                _ => axpy_group::<V, T, 8>(coefficients, rows, offset, y),
            }
        }
    }
}

/// One pass of [`axpy_rows`] over `N` rows.
///
/// # Safety
/// As [`axpy_rows`], with exactly `N` rows and coefficients.
#[inline(always)]
unsafe fn axpy_group<V: Vector, T: Value, const N: usize>(
    coefficients: &[f32],
    rows: &[&[T]],
    offset: usize,
    y: &mut [f32],
) {
    let n = y.len();
    let py = y.as_mut_ptr();
    let mut i = 0;
    // SAFETY: `i + LANES <= n` for every vector access to `y`, and rows are `offset + n` long.
    unsafe {
        let a: [V; N] = std::array::from_fn(|l| V::splat(*coefficients.get_unchecked(l)));
        let p: [*const T; N] = std::array::from_fn(|l| rows.get_unchecked(l).as_ptr().add(offset));
        while i + 2 * V::LANES <= n {
            let mut first = V::load(py.add(i));
            let mut second = V::load(py.add(i + V::LANES));
            for (&a, &p) in a.iter().zip(&p) {
                first = T::load::<V>(p.add(i)).mul_add(a, first);
                second = T::load::<V>(p.add(i + V::LANES)).mul_add(a, second);
            }
            first.store(py.add(i));
            second.store(py.add(i + V::LANES));
            i += 2 * V::LANES;
        }
        while i + V::LANES <= n {
            let mut value = V::load(py.add(i));
            for (&a, &p) in a.iter().zip(&p) {
                value = T::load::<V>(p.add(i)).mul_add(a, value);
            }
            value.store(py.add(i));
            i += V::LANES;
        }
        // Fused like the lanes before it, so that equal columns stay equal; one lane leaves no tail.
        while i < n {
            let mut value = *py.add(i);
            for (&a, &p) in coefficients.iter().zip(&p) {
                value = T::value(*p.add(i)).mul_add(a, value);
            }
            *py.add(i) = value;
            i += 1;
        }
    }
}

/// Offers every value of `y` (or its magnitude, when `ABSOLUTE`) to `top` under index `first + i`.
///
/// Blocks of `UNROLL` vectors are skipped with one comparison against the weakest kept score; after
/// the first few hundred values nearly every block is.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(super) unsafe fn scan<V: Vector, const ABSOLUTE: bool>(y: &[f32], first: u32, top: &mut Top) {
    let (n, block) = (y.len(), UNROLL * V::LANES);
    let p = y.as_ptr();
    let score = |x: f32| if ABSOLUTE { x.abs() } else { x };
    let mut i = 0;
    // SAFETY: `i + block <= n` for every vector load.
    unsafe {
        while i + block <= n {
            let mut best = V::load(p.add(i));
            if ABSOLUTE {
                best = best.abs();
            }
            for u in 1..UNROLL {
                let next = V::load(p.add(i + u * V::LANES));
                best = best.max(if ABSOLUTE { next.abs() } else { next });
            }
            if best.any_gt(V::splat(top.entry_score())) {
                for at in i..i + block {
                    top.offer(score(*p.add(at)), first + at as u32);
                }
            }
            i += block;
        }
    }
    for (at, &x) in y.iter().enumerate().skip(i) {
        top.offer(score(x), first + at as u32);
    }
}

/// Calls `found(i, y[i])` (or with its magnitude, when `ABSOLUTE`) where that exceeds `limit`, in order.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(super) unsafe fn above<V: Vector, const ABSOLUTE: bool>(
    y: &[f32],
    limit: f32,
    found: &mut impl FnMut(usize, f32),
) {
    let (n, block) = (y.len(), UNROLL * V::LANES);
    let p = y.as_ptr();
    let score = |x: f32| if ABSOLUTE { x.abs() } else { x };
    let mut i = 0;
    // SAFETY: `i + block <= n` for every vector load; lanes below LANES are within the block.
    unsafe {
        let limits = V::splat(limit);
        while i + block <= n {
            let mut bits = 0u64;
            for u in 0..UNROLL {
                let next = V::load(p.add(i + u * V::LANES));
                let next = if ABSOLUTE { next.abs() } else { next };
                bits |= u64::from(next.gt_bits(limits)) << (u * V::LANES);
            }
            while bits != 0 {
                let at = i + bits.trailing_zeros() as usize;
                found(at, score(*p.add(at)));
                bits &= bits - 1;
            }
            i += block;
        }
    }
    for (at, &x) in y.iter().enumerate().skip(i) {
        if score(x) > limit {
            found(at, score(x));
        }
    }
}

/// How many values exceed `limit`.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(super) unsafe fn count_above<V: Vector>(y: &[f32], limit: f32) -> usize {
    let (chunks, rest) = (y.chunks_exact(V::LANES), y.chunks_exact(V::LANES).remainder());
    let mut count = rest.iter().filter(|&&x| x > limit).count();
    // SAFETY: every chunk has LANES values.
    unsafe {
        let limits = V::splat(limit);
        for chunk in chunks {
            count += V::load(chunk.as_ptr()).gt_bits(limits).count_ones() as usize;
        }
    }
    count
}

/// max |x_i|, zero for none; NaN is passed over.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(super) unsafe fn largest<V: Vector>(x: &[f32]) -> f32 {
    let (chunks, rest) = (x.chunks_exact(V::LANES), x.chunks_exact(V::LANES).remainder());
    let mut lanes = [0.0f32; 16];
    // SAFETY: every chunk has LANES values, and no instruction set has more than sixteen lanes.
    unsafe {
        let mut most = V::splat(0.0);
        for chunk in chunks {
            most = V::load(chunk.as_ptr()).abs().max(most);
        }
        most.store(lanes.as_mut_ptr());
    }
    let lanes = lanes.into_iter().fold(0.0, f32::max);
    rest.iter().fold(lanes, |most, x| most.max(x.abs()))
}
