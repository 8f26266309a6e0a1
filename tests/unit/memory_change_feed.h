// Changes in memory, of partition 0.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "state/change_feed.h"

namespace segmentd {

class MemoryChangeFeed final : public ChangeFeed {
 public:
  // Numbers start at 0.
  void Add(segments::v1::MembershipChange change) {
    absl::MutexLock lock(&mutex_);
    changes_.push_back(std::move(change));
  }

  absl::Status Follow(const std::map<int32_t, int64_t>& from,
                      absl::FunctionRef<bool(const segments::v1::MembershipChange&)> change,
                      absl::FunctionRef<bool()> idle) override {
    const auto found = from.find(0);
    size_t next = 0;
    {
      absl::MutexLock lock(&mutex_);
      next = found == from.end() ? changes_.size() : static_cast<size_t>(found->second);
      ++followers_;
    }
    absl::Status status = absl::OkStatus();
    for (;;) {
      segments::v1::MembershipChange present;
      bool any = false;
      {
        absl::MutexLock lock(&mutex_);
        const auto more = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
          return next < changes_.size();
        };
        if ((any = mutex_.AwaitWithTimeout(absl::Condition(&more), absl::Milliseconds(20)))) {
          if (static_cast<int64_t>(next) < oldest) {
            status = absl::OutOfRangeError("change 0 of partition 0 is no longer held");
          } else {
            present = changes_[next++];
          }
        }
      }
      if (!status.ok() || !(any ? change(present) : idle())) break;
    }
    absl::MutexLock lock(&mutex_);
    --followers_;
    return status;
  }

  void AwaitFollowers(int count) {
    absl::MutexLock lock(&mutex_);
    const auto so_many = [&] { return followers_ == count; };
    mutex_.Await(absl::Condition(&so_many));
  }

  // The number of the first change still held. Set before the calls begin.
  int64_t oldest = 0;

 private:
  absl::Mutex mutex_;
  std::vector<segments::v1::MembershipChange> changes_;
  int followers_ = 0;
};

}  // namespace segmentd
