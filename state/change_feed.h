// The committed changes, read from their topic.
#pragma once

#include <cstdint>
#include <map>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

#include "proto/segments/v1/change.pb.h"

namespace segmentd {

class ChangeFeed {
 public:
  virtual ~ChangeFeed() = default;

  // Follows the changes of all partitions as they are committed, calling `change` for each, in
  // order within a partition; partitions in `from` start at that change number, the others at the
  // next change. Calls `idle` at least every 200 ms when there is nothing. Returns OK when either
  // returns false; OUT_OF_RANGE when a number is no longer held, or beyond the next change to come.
  // Any thread may call; each call reads on its own.
  virtual absl::Status Follow(const std::map<int32_t, int64_t>& from,
                              absl::FunctionRef<bool(const segments::v1::MembershipChange&)> change,
                              absl::FunctionRef<bool()> idle) = 0;
};

}  // namespace segmentd
