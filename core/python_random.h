// Python's random.Random(seed) for what lm-eval draws from it: the sample of documents shown as shots.
// MT19937 (Matsumoto & Nishimura 1998), seeded by its array initialiser as CPython 3 does; sample() makes the
// choices of CPython 3.11+. Everything else of the project uses CounterRng (core/rng.h): this is a stream
// whose state moves with each draw.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ptq {

class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);

  uint32_t word();                 // 32 uniform bits
  uint64_t below(uint64_t bound);  // random.randrange(bound), 1 <= bound < 2^32
  // random.sample(range(population), count): `count` different indices in selection order. count <=
  // population < 2^32.
  std::vector<size_t> sample(size_t population, size_t count);

 private:
  std::array<uint32_t, 624> state_;
  size_t next_ = 624;
};

}  // namespace ptq
