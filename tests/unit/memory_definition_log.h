// Stored segments in memory, with doors for a test to stand in.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "state/definition_log.h"

namespace segmentd {

class MemoryDefinitionLog final : public DefinitionLog {
 public:
  using Segments = std::vector<segments::v1::Segment>;

  std::shared_ptr<const Segments> All() const override {
    const std::lock_guard lock(mutex_);
    auto all = std::make_shared<Segments>();
    for (const auto& [id, segment] : segments_) all->push_back(segment);
    if (on_read) on_read(all.get());
    return all;
  }

  absl::Status Append(const std::vector<Write>& writes, absl::Time) override {
    if (before_append) {
      if (absl::Status status = before_append(); !status.ok()) return status;
    }
    const std::lock_guard lock(mutex_);
    for (const Write& write : writes) {
      appended_.push_back(write.id);
      if (write.segment) {
        segments_[write.id] = *write.segment;
        segments_[write.id].set_status(segments::v1::SEGMENT_STATUS_ACTIVE);
        if (on_stored) on_stored(&segments_[write.id]);
      } else {
        segments_.erase(write.id);
      }
    }
    return absl::OkStatus();
  }

  bool WaitsForBuild(std::string_view, int64_t) const override { return waits_for_build; }
  bool WaitApplied(std::string_view, int64_t, absl::Time deadline) override {
    return !on_wait || on_wait(deadline);
  }

  // As if it had been there before.
  void Put(segments::v1::Segment segment) {
    const std::lock_guard lock(mutex_);
    std::string id = segment.id();
    segments_[id] = std::move(segment);
  }

  // IDs in the order in which they were written or deleted.
  std::vector<std::string> appended() const {
    const std::lock_guard lock(mutex_);
    return appended_;
  }

  // Set before the calls begin. An error of the first fails the append; the second may set another
  // status than ACTIVE, the third one that is only read; the last says whether the tasks have
  // applied.
  std::function<absl::Status()> before_append;
  std::function<void(segments::v1::Segment*)> on_stored;
  std::function<void(Segments*)> on_read;
  std::function<bool(absl::Time deadline)> on_wait;
  bool waits_for_build = false;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, segments::v1::Segment> segments_;
  std::vector<std::string> appended_;
};

}  // namespace segmentd
