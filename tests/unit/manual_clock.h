// A wall clock that a test moves.
#pragma once

#include <functional>
#include <mutex>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace segmentd {

class ManualClock {
 public:
  absl::Time now() const {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  void Advance(absl::Duration by) {
    const std::lock_guard lock(mutex_);
    now_ += by;
  }
  void AdvanceTo(absl::Time time) {
    const std::lock_guard lock(mutex_);
    if (time > now_) now_ = time;
  }
  // The clock outlives it.
  std::function<absl::Time()> function() const {
    return [this] { return now(); };
  }

 private:
  mutable std::mutex mutex_;
  // Not long ago, so that real deadlines of clients stay ahead of it.
  absl::Time now_ = absl::FromUnixSeconds(absl::ToUnixSeconds(absl::Now()));
};

}  // namespace segmentd
