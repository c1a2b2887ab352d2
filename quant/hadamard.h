// Hadamard matrices, and the orthogonal matrices that mix n channels with them at little cost.
//
// H is a Hadamard matrix of order n: entries +-1, H H^T = n I. Those that are made here:
//   Sylvester          order 2^p: H_ij = (-1)^popcount(i & j)
//   Paley I            order q + 1, q a prime power, q = 3 mod 4
//   Paley II           order 2 (q + 1), q a prime power, q = 1 mod 4
//   Kronecker products of them
// over GF(p^k), so that 11008 = 344 x 32 is reached by 343 = 7^3. Up to 512 they reach every multiple of 4
// but 92, 116, 156, 172, 184, 188, 232, 236, 260, 268, 292, 324, 356, 372, 376, 404, 412, 428, 436, 452, 472,
// 476 and 508 (other constructions are not here). One Paley matrix is of order 4096 at most; larger orders
// are products.
//
// All of it is a function of the arguments: no state, the same bits on every rank of one kind of machine.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string_view>

#include "quant/rotation.h"

namespace ptq {

bool hadamard_reaches(int64_t order);
// [n, n] float64 of +-1. Throws InternalError for an order that is not reached.
at::Tensor hadamard(int64_t order);

// A matrix of the uniform (Haar) distribution over orthogonal matrices: Q of the QR decomposition of standard
// normal draws, columns signed so that R's diagonal is positive. [n, n] float64. Cost: 4/3 n^3.
at::Tensor random_orthogonal(int64_t order, uint64_t seed, std::string_view purpose);

// What takes the place of a Hadamard matrix whose order is not reached: n = m b, b the largest order that
// divides n and is reached.
enum class MixingFallback {
  orthogonal,  // Q_m (x) H_b: a seeded orthogonal matrix of order m; every channel meets every other one
  blocks       // I_m (x) H_b: block-diagonal; channels of a block of b meet
};

// An orthogonal matrix of order hadamard * orthogonal * blocks. Of the ways to split it into factors [A, A]
// and [B, B] the one with the least A + B, which is what it costs for each number; of powers of two the
// product is Sylvester's matrix.
struct Mixing {
  Rotation rotation;
  int64_t hadamard = 1;    // order of the Hadamard part, b above
  int64_t orthogonal = 1;  // order of the seeded orthogonal part
  int64_t blocks = 1;      // how many blocks do not meet
};
Mixing hadamard_mixing(int64_t order, MixingFallback fallback, uint64_t seed, std::string_view purpose);

// +-1 by seeded bits, [n] float32.
at::Tensor random_signs(int64_t order, uint64_t seed, std::string_view purpose);

}  // namespace ptq
