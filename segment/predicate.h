// One property condition, compiled: an operator and its operand, tested against a value.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "proto/segments/v1/definition.pb.h"
#include "segment/time.h"
#include "segment/value.h"

namespace segmentd {

class Predicate {
 public:
  // INVALID_ARGUMENT says what is wrong with the operand (a regex, a date, a window), without the
  // path; bounds on length are the check's. The condition has exactly one operator (the check of
  // definitions has seen to it).
  static absl::StatusOr<Predicate> Compile(const segments::v1::PropertyCondition& condition);

  // `now` is the moment of evaluation, for within_last and within_next. A list holds when any
  // element does; a missing value never, but for `exists: false`. A value of another type than the
  // operand's meets not_equals, not_in and not_contains, and nothing else. Does not allocate, but
  // for texts over 340 bytes whose case is ignored, and while RE2 learns.
  bool holds(const Value& value, Time now) const;

  // Equal texts mean equal predicates (the property is not part of it): the key for sharing one
  // evaluation. The same in every version, because fingerprints of it are kept in users' states.
  const std::string& canonical() const;

  // For a predicate that is an equality (`equals`, `in`, case not ignored): the fingerprints of its
  // values, one of which a value (of a list: an element) must have to meet it; empty otherwise.
  absl::Span<const uint64_t> equal_to() const;

  // Whether the outcome depends on `now`: such a condition has deadlines of its own in past
  // behaviour.
  bool moves_with_time() const;
  // The earliest moment after `now` at which holds() may turn; Time::Max() for none.
  Time next_change(const Value& value, Time now) const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace segmentd
