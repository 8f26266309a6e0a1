// What can be asked of the running tasks. The API asks; the workers answer between steps, from
// committed state.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "proto/segments/v1/membership_service.pb.h"
#include "segment/time.h"

namespace segmentd {

// Any thread may call; a call waits for the worker at most until `deadline` (DEADLINE_EXCEEDED),
// and is UNAVAILABLE, naming the partition, while the task that it needs is not running here.
class Queries {
 public:
  virtual ~Queries() = default;

  struct Membership {
    std::string segment_id;
    Time since;
  };
  // The segments that each user is in, sorted by ID; a user may be unknown. In the order of
  // `users`.
  virtual absl::StatusOr<std::vector<std::vector<Membership>>> MembershipsOf(
      const std::vector<std::string>& users, absl::Time deadline) = 0;

  // The members of a segment, in portions; `next_change` (partition -> number) is told once, before
  // the first. They are what the changes before those numbers give, but of a shadow segment, which
  // has none. `portion` returns false to stop. ABORTED when a task was restored meanwhile.
  virtual absl::Status ListMembers(
      std::string_view segment_id, absl::Time deadline,
      absl::FunctionRef<void(const std::map<int32_t, int64_t>& next_change)> begin,
      absl::FunctionRef<bool(std::vector<std::string> users)> portion) = 0;

  // In the order of `segment_ids`.
  virtual absl::StatusOr<std::vector<int64_t>> CountMembers(
      const std::vector<std::string>& segment_ids, absl::Time deadline) = 0;

  virtual absl::StatusOr<segments::v1::Explanation> Explain(std::string_view segment_id,
                                                            std::string_view user,
                                                            absl::Time deadline) = 0;
};

}  // namespace segmentd
