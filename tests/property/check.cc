#include "tests/property/check.h"

#include <cstdint>
#include <cstdlib>
#include <random>
#include <string_view>

#include "gtest/gtest.h"

namespace segmentd::property {
namespace {

uint64_t FirstSeed() {
  const char* text = std::getenv("SEGMENTD_SEED");
  if (text == nullptr) return 1;
  if (std::string_view(text) == "random") return std::random_device()();
  return std::strtoull(text, nullptr, 10);
}

}  // namespace

void Check(const Shape& shape, int cases, const std::function<std::string(const History&)>& wrong) {
  const uint64_t first = FirstSeed();
  if (const char* text = std::getenv("SEGMENTD_CASES")) cases = std::atoi(text);
  ASSERT_GT(cases, 0) << "SEGMENTD_CASES must be a number of histories";
  for (uint64_t seed = first; seed < first + static_cast<uint64_t>(cases); ++seed) {
    const History history = Generate(seed, shape);
    if (wrong(history).empty()) continue;
    const History small =
        Shrink(history, [&](const History& candidate) { return !wrong(candidate).empty(); });
    FAIL() << "seed " << seed << " (again: SEGMENTD_SEED=" << seed << " SEGMENTD_CASES=1), shrunk\n"
           << Describe(small) << wrong(small);
  }
}

}  // namespace segmentd::property
