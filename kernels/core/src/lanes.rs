//! Vectors of four words, for the loops that the compiler does not vectorise well by itself.

/// Words in a vector.
pub(crate) const LANES: usize = 4;

/// The words of one vector.
pub(crate) type Lanes = [u64; LANES];

/// The multiplier of a vector unit reads the low half of a word.
pub(crate) const HALF_BITS: u32 = 32;
pub(crate) const HALF_MASK: u64 = (1 << HALF_BITS) - 1;

/// Arithmetic on one word of each lane, modulo `2^64`.
pub(crate) trait Vectors: Copy {
    /// [`LANES`] words.
    type Words: Copy;
    fn join(self, lanes: Lanes) -> Self::Words;
    fn split(self, words: Self::Words) -> Lanes;
    fn add(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// The low 32 bits.
    fn low_half(self, a: Self::Words) -> Self::Words;
    /// The high 32 bits.
    fn high_half(self, a: Self::Words) -> Self::Words;
    /// The product of the low 32 bits.
    fn multiply_low_halves(self, a: Self::Words, b: Self::Words) -> Self::Words;

    #[inline(always)]
    fn splat(self, word: u64) -> Self::Words {
        self.join([word; LANES])
    }
}

/// The reference: no vector instructions needed.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Vectors for Portable {
    type Words = Lanes;

    #[inline(always)]
    fn join(self, lanes: Lanes) -> Lanes {
        lanes
    }

    #[inline(always)]
    fn split(self, words: Lanes) -> Lanes {
        words
    }

    #[inline(always)]
    fn add(self, a: Lanes, b: Lanes) -> Lanes {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }

    #[inline(always)]
    fn low_half(self, a: Lanes) -> Lanes {
        a.map(|word| word & HALF_MASK)
    }

    #[inline(always)]
    fn high_half(self, a: Lanes) -> Lanes {
        a.map(|word| word >> HALF_BITS)
    }

    #[inline(always)]
    fn multiply_low_halves(self, a: Lanes, b: Lanes) -> Lanes {
        std::array::from_fn(|i| (a[i] & HALF_MASK) * (b[i] & HALF_MASK))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::__m256i;

    use pulp::x86::V3;

    use super::{HALF_MASK, Lanes, Vectorised, Vectors};

    /// Not a closure: its shim might grow too large to be inlined below `vectorize`.
    pub(super) struct Run<W> {
        pub(super) simd: V3,
        pub(super) work: W,
    }

    impl<W: Vectorised> pulp::NullaryFnOnce for Run<W> {
        type Output = W::Output;

        #[inline(always)]
        fn call(self) -> W::Output {
            self.work.run(self.simd)
        }
    }

    impl Vectors for V3 {
        type Words = __m256i;

        #[inline(always)]
        fn join(self, lanes: Lanes) -> __m256i {
            pulp::cast(lanes)
        }

        #[inline(always)]
        fn split(self, words: __m256i) -> Lanes {
            pulp::cast(words)
        }

        #[inline(always)]
        fn add(self, a: __m256i, b: __m256i) -> __m256i {
            self.avx2._mm256_add_epi64(a, b)
        }

        #[inline(always)]
        fn low_half(self, a: __m256i) -> __m256i {
            self.avx2._mm256_and_si256(a, self.splat(HALF_MASK))
        }

        #[inline(always)]
        fn high_half(self, a: __m256i) -> __m256i {
            self.avx2._mm256_srli_epi64::<32>(a)
        }

        #[inline(always)]
        fn multiply_low_halves(self, a: __m256i, b: __m256i) -> __m256i {
            self.avx2._mm256_mul_epu32(a, b)
        }
    }
}

/// Work that is written once for every kind of vectors.
pub(crate) trait Vectorised {
    /// What it returns.
    type Output;
    /// To be marked `inline(always)`, as everything called from it.
    fn run<V: Vectors>(self, simd: V) -> Self::Output;
}

/// Runs `work` with the best vectors of this machine.
#[inline(always)]
pub(crate) fn dispatch<W: Vectorised>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(avx2::Run { simd, work });
    }
    work.run(Portable)
}
