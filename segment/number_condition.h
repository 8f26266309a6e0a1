// The condition on a number of a `did`: of its count, sum or average.
#pragma once

#include <cstdint>

#include "proto/segments/v1/definition.pb.h"

namespace segmentd {

class NumberTest {
 public:
  // Without operators.
  NumberTest() = default;
  static NumberTest Of(const segments::v1::NumberCondition& condition);
  static NumberTest Of(const segments::v1::Aggregate& aggregate);

  // Whether all the operators hold; true without any.
  bool holds(double number) const;

  // Of a count: the least c >= 0 such that holds(n) is the same for all whole numbers n >= c, so
  // that counting may end at c. 1 without operators: that there is one is all that is asked. Counts
  // end at 2^53.
  int64_t deciding_count() const { return deciding_count_; }

  bool empty() const { return operators_ == 0; }

 private:
  template <typename Message>
  static NumberTest FromOperators(const Message& message);

  enum Operator : uint8_t {
    kEquals = 1,
    kNotEquals = 2,
    kGreaterThan = 4,
    kAtLeast = 8,
    kLessThan = 16,
    kAtMost = 32,
  };
  // A set of Operator.
  uint8_t operators_ = 0;
  double equals_ = 0;
  double not_equals_ = 0;
  double greater_than_ = 0;
  double at_least_ = 0;
  double less_than_ = 0;
  double at_most_ = 0;
  int64_t deciding_count_ = 1;
};

}  // namespace segmentd
