//! A hint to the memory system: no result depends on it.

/// Asks for the cache lines of `values`, which a later step will read.
///
/// Hardware prefetchers follow streams; they do not see the next of many short runs of memory coming.
#[inline]
pub fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const LINE: usize = 64;
        let bytes = size_of_val(values);
        let start = values.as_ptr().cast::<i8>();
        for line in (0..bytes).step_by(LINE) {
            // SAFETY: SSE is part of x86-64, the address lies inside the slice, and a prefetch never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(line)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}
