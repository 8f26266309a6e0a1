// Changes in memory, of partition 0.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "state/change_feed.h"

namespace segmentd {

class MemoryChangeFeed final : public ChangeFeed {
 public:
  // Numbers start at 0.
  void Add(segments::v1::MembershipChange change) {
    const std::lock_guard lock(mutex_);
    changes_.push_back(std::move(change));
    changed_.notify_all();
  }

  absl::Status Follow(const std::map<int32_t, int64_t>& from,
                      absl::FunctionRef<bool(const segments::v1::MembershipChange&)> change,
                      absl::FunctionRef<bool()> idle) override {
    const auto found = from.find(0);
    std::unique_lock lock(mutex_);
    size_t next = found == from.end() ? changes_.size() : static_cast<size_t>(found->second);
    if (static_cast<int64_t>(next) < oldest) {
      return absl::OutOfRangeError("this change of partition 0 is no longer held");
    }
    if (next > changes_.size()) {
      return absl::OutOfRangeError("this change of partition 0 is not the next to come");
    }
    ++followers_;
    changed_.notify_all();
    for (bool on = true; on;) {
      const bool any = changed_.wait_for(lock, std::chrono::milliseconds(20),
                                         [&] { return next < changes_.size(); });
      std::optional<segments::v1::MembershipChange> present;
      if (any) present = changes_[next++];
      lock.unlock();
      on = present ? change(*present) : idle();
      lock.lock();
    }
    --followers_;
    changed_.notify_all();
    return absl::OkStatus();
  }

  void AwaitFollowers(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return followers_ == count; });
  }

  // The number of the first change still held. Set before the calls begin.
  int64_t oldest = 0;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<segments::v1::MembershipChange> changes_;
  int followers_ = 0;
};

}  // namespace segmentd
