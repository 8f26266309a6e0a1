// Random numbers that a seed fixes, the same on every machine.
#pragma once

#include <cstdint>

namespace segmentd::simulation {

// SplitMix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  // 0 to n - 1.
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  // True `n` times in ten thousand.
  bool in_10000(int64_t n) { return below(10'000) < n; }
  bool percent(int64_t n) { return below(100) < n; }

 private:
  uint64_t state_;
};

}  // namespace segmentd::simulation
