#include "segment/number_condition.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace segmentd {

namespace {

constexpr double kMaxWhole = 9'007'199'254'740'992;  // 2^53

// NaN, which the check of definitions refuses, becomes 0.
int64_t Whole(double number) {
  return number > 0 ? static_cast<int64_t>(std::min(number, kMaxWhole)) : 0;
}

}  // namespace

template <typename Message>
NumberTest NumberTest::FromOperators(const Message& message) {
  NumberTest test;
  // The counts at which the outcome may change.
  std::vector<int64_t> edges = {0};
  const auto add = [&](bool has, Operator op, double operand, double* of) {
    if (!has) return;
    test.operators_ |= op;
    *of = operand;
    edges.push_back(Whole(std::ceil(operand)));
    edges.push_back(Whole(std::floor(operand) + 1));
  };
  add(message.has_equals(), kEquals, message.equals(), &test.equals_);
  add(message.has_not_equals(), kNotEquals, message.not_equals(), &test.not_equals_);
  add(message.has_greater_than(), kGreaterThan, message.greater_than(), &test.greater_than_);
  add(message.has_at_least(), kAtLeast, message.at_least(), &test.at_least_);
  add(message.has_less_than(), kLessThan, message.less_than(), &test.less_than_);
  add(message.has_at_most(), kAtMost, message.at_most(), &test.at_most_);
  if (test.empty()) return test;

  std::sort(edges.begin(), edges.end(), std::greater<>());
  const auto holds = [&](int64_t n) { return test.holds(static_cast<double>(n)); };
  test.deciding_count_ = edges.front();
  for (const int64_t edge : edges) {
    if (holds(edge) != holds(edges.front())) break;
    test.deciding_count_ = edge;
  }
  return test;
}

NumberTest NumberTest::Of(const segments::v1::NumberCondition& condition) {
  return FromOperators(condition);
}

NumberTest NumberTest::Of(const segments::v1::Aggregate& aggregate) {
  return FromOperators(aggregate);
}

bool NumberTest::holds(double number) const {
  return ((operators_ & kEquals) == 0 || number == equals_) &&
         ((operators_ & kNotEquals) == 0 || number != not_equals_) &&
         ((operators_ & kGreaterThan) == 0 || number > greater_than_) &&
         ((operators_ & kAtLeast) == 0 || number >= at_least_) &&
         ((operators_ & kLessThan) == 0 || number < less_than_) &&
         ((operators_ & kAtMost) == 0 || number <= at_most_);
}

}  // namespace segmentd
