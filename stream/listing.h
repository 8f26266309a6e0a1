// The members of a segment in one partition as they were at one moment, told in portions while the
// stream goes on.
//
// The users are gone through between the worker's steps. What the first change of a user since that
// moment did, undone, is how the user stood at it: noted until it is their turn. That takes two
// bits for each user, however much changes and however long the listing takes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "state/timing_wheel.h"
#include "stream/io.h"
#include "stream/task.h"

namespace segmentd {

// The worker's thread calls.
class Listing {
 public:
  // Between steps.
  Listing(const Task& task, std::string segment_id);

  // Number of the partition's first change that is not in the listing.
  int64_t next_change() const { return next_change_; }

  // A change of the partition on its way into a transaction: when that is not committed, the task
  // is another one afterwards.
  void note(const Task& task, const Write& change);

  // Between steps: appends the members of whom consumers were told among the next `count` users; of
  // a shadow segment all, as they are now. True when all users were gone through. ABORTED when the
  // task is another one: its users have another order.
  absl::StatusOr<bool> go_on(const Task& task, UserIndex count, std::vector<std::string>* members);

 private:
  const std::string segment_id_;
  const uint64_t life_;
  const int64_t next_change_;
  // Nobody is told of its members' changes, so that none can be noted.
  const bool shadow_;
  // Users that there were; later ones are no members.
  const UserIndex users_;
  UserIndex at_ = 0;
  // By user: whether a change was noted, and whether they were a member before it.
  std::vector<bool> noted_;
  std::vector<bool> was_member_;
};

}  // namespace segmentd
