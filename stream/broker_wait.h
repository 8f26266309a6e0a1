// How long a worker has been in a call that waits for the broker.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "absl/time/time.h"

namespace segmentd {

// One thread waits, any asks. By the steady clock and not the worker's: nothing is decided by it
// but what those are told who wait for the worker.
class BrokerWait {
 public:
  // For the time of one call. One within another is part of it.
  class Call {
   public:
    explicit Call(BrokerWait& wait) : wait_(wait), outer_(wait.since_ != 0) {
      if (!outer_) wait_.since_ = Now();
    }
    ~Call() {
      if (!outer_) wait_.since_ = 0;
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    BrokerWait& wait_;
    const bool outer_;
  };

  // Zero outside of a call.
  absl::Duration so_far() const {
    const int64_t since = since_;
    return since == 0 ? absl::ZeroDuration() : absl::Nanoseconds(Now() - since);
  }

 private:
  static int64_t Now() {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  std::atomic<int64_t> since_{0};
};

}  // namespace segmentd
