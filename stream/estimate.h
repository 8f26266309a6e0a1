// How many users of one partition a past-behaviour segment that is not stored would have.
//
// The past is read as for a segment that is created; then the users are gone through in portions
// between the worker's steps, each evaluated on what the segment needs of their state, which stays
// as it is.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "proto/segments/v1/definition.pb.h"
#include "segment/engine.h"
#include "stream/backfill.h"
#include "stream/task.h"
#include "stream/worker.h"

namespace segmentd {

// But for progress(), the worker's thread calls, between steps.
class Estimate {
 public:
  // FAILED_PRECONDITION while a segment that is referred to, at any depth, is not run yet or is
  // being built.
  static absl::StatusOr<std::shared_ptr<Estimate>> Begin(Worker& worker, const Task& task,
                                                         const segments::v1::Segment& segment);

  // Whether the past was read; any thread.
  bool read() const { return !reading_ || reading_->done(); }
  // How much of it, from 0 to 1; any thread.
  double progress() const { return reading_ ? reading_->progress() : 1; }

  // Once read: the next users. True when all were gone through. ABORTED when a segment that is
  // referred to is another by now, FAILED_PRECONDITION as from Begin().
  absl::StatusOr<bool> go_on(const Task& task);
  int64_t members() const { return members_; }
  int64_t users() const { return users_; }

 private:
  Estimate() = default;

  // Whether those that are referred to are the ones there were, and built.
  absl::Status check_inner(const Task& task) const;

  std::shared_ptr<HistoryReading> reading_;
  std::optional<Engine> engine_;
  segments::v1::Segment segment_;
  Slot slot_ = 0;
  // Those that are referred to, by slot.
  std::vector<std::pair<Slot, std::string>> inner_;
  // The task's, when these were last looked at.
  std::shared_ptr<const RuleSet> looked_at_;
  // Of the task gone through.
  uint64_t life_ = 0;
  UserIndex at_ = 0;
  int64_t members_ = 0;
  int64_t users_ = 0;
  // Scratch.
  Changes changes_;
  Past past_;
};

}  // namespace segmentd
