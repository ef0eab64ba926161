//! A hint to the memory system: no result depends on it.

/// Asks for the cache lines of `values`, which the next step will read.
///
/// Hardware prefetchers follow streams; they do not see the next of many short runs of memory coming.
#[inline]
pub fn prefetch<T>(values: &[T]) {
    ask::<T, 64>(values);
}

/// Asks for one cache line of every page of `values`: the address translations are then at hand when a
/// stream through them begins, and hardware prefetchers do the rest.
///
/// For the rows of a Gram matrix of 64 MiB, asking for all their lines was slower, because it occupies the line
/// fill buffers; one line a page was never slower than none, and faster by no more than the noise.
#[inline]
pub fn prefetch_pages<T>(values: &[T]) {
    const PAGE: usize = 4096;
    ask::<T, PAGE>(values);
}

/// Asks for a line every `STEP` bytes.
#[inline(always)]
fn ask<T, const STEP: usize>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = values.as_ptr().cast::<i8>();
        for at in (0..size_of_val(values)).step_by(STEP) {
            // SAFETY: SSE is part of x86-64, the address lies inside the slice, and a prefetch never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(at)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}
