//! Sums of rows of bytes, four rows at a time.
//!
//! Four rows lie side by side: the bytes of a column make 32 bits, a *quad*. One instruction multiplies sixteen
//! quads by four factors of a byte each and adds the products to int32, where rows of float32 factors take a
//! conversion and a product for every row. Bytes of rows are shifted up by 128, since the instruction takes
//! one operand without sign; sums start 128 Σ factors below zero instead.

use super::integers::Integers;

/// Registers of sums in a pass over all quads.
const UNROLL: usize = 4;

/// What a byte is shifted by.
const SHIFT: i32 = 128;

/// Lays four rows side by side.
///
/// # Safety
/// As [`Integers`].
#[inline(always)]
pub(super) unsafe fn interleave(rows: [&[i8]; 4], out: &mut [i32]) {
    let n = out.len();
    let [a, b, c, d] = rows.map(|row| &row[..n]);
    let up = |byte: i8| u32::from(byte.cast_unsigned() ^ SHIFT as u8);
    for (i, quad) in out.iter_mut().enumerate() {
        *quad = (up(a[i]) | up(b[i]) << 8 | up(c[i]) << 16 | up(d[i]) << 24).cast_signed();
    }
}

/// `y[j] += scale * Σ_q factors[q] · quads[q][offset + j]`: four bytes by four bytes.
///
/// # Safety
/// As [`Integers`]; every row of quads has at least `offset + y.len()` of them.
#[inline(always)]
pub(super) unsafe fn add_quads<I: Integers>(
    factors: &[[i8; 4]],
    quads: &[&[i32]],
    offset: usize,
    scale: f32,
    y: &mut [f32],
) {
    let start = -SHIFT * factors.as_flattened().iter().map(|&factor| i32::from(factor)).sum::<i32>();
    let mut at = 0;
    // SAFETY: columns at .. at + R * LANES lie within y and, `offset` on, within the quads.
    unsafe {
        while at + UNROLL * I::LANES <= y.len() {
            columns::<I, UNROLL>(factors, quads, offset + at, start, scale, y.as_mut_ptr().add(at));
            at += UNROLL * I::LANES;
        }
        while at + I::LANES <= y.len() {
            columns::<I, 1>(factors, quads, offset + at, start, scale, y.as_mut_ptr().add(at));
            at += I::LANES;
        }
        while at < y.len() {
            columns::<i32, 1>(factors, quads, offset + at, start, scale, y.as_mut_ptr().add(at));
            at += 1;
        }
    }
}

/// [`add_quads`] for `R` registers of columns; `start` is what sums begin with.
///
/// # Safety
/// As there, for these columns.
#[inline(always)]
unsafe fn columns<I: Integers, const R: usize>(
    factors: &[[i8; 4]],
    quads: &[&[i32]],
    first: usize,
    start: i32,
    scale: f32,
    y: *mut f32,
) {
    // SAFETY: forwarded from the caller.
    unsafe {
        let mut sums = [I::splat(start); R];
        for (&factors, quads) in factors.iter().zip(quads) {
            let factors = I::splat(i32::from_le_bytes(factors.map(i8::cast_unsigned)));
            let from = quads.as_ptr().add(first);
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add_quads(I::load(from.add(r * I::LANES)), factors);
            }
        }
        for (r, sum) in sums.into_iter().enumerate() {
            sum.add_scaled(scale, y.add(r * I::LANES));
        }
    }
}
