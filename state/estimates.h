// How many users a definition that is not stored would have as members.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"

#include "proto/segments/v1/definition.pb.h"

namespace segmentd {

class Estimates {
 public:
  virtual ~Estimates() = default;

  // Reads what the input still holds, beside the running tasks, up to its end at the call. Sets
  // *members, the users who would be in the past-behaviour segment then, of *users known. `report`
  // is called on the caller's thread with the share that is read, from 0 to 1, some times a second
  // even while nothing comes; false ends the work with CANCELLED. The segment has passed the check
  // but for its references to stored segments, whose memberships count as they are;
  // FAILED_PRECONDITION while one of these, or one that these refer to, is being built. Any thread
  // may call.
  virtual absl::Status estimate(const segments::v1::Segment& segment,
                                const std::function<bool(double progress)>& report,
                                int64_t* members, int64_t* users) = 0;
};

}  // namespace segmentd
