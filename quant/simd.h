// PTQ_SIMD_CLONES: builds a function once for each instruction set and picks one when the program starts.
// Only for loops whose elements are independent: without contraction (see CMakeLists.txt) every clone then
// gives the same bits.
#pragma once

// Sanitizers run before the resolvers of such functions may.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define PTQ_SIMD_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define PTQ_SIMD_CLONES
#endif
